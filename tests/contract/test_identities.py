# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine identities over HTTP: create, change and delete them, their grants and their client secrets."""

from __future__ import annotations

import copy
import json
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import (
    Identity,
    IdentityApi,
    Privilege,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identity_methods import (
    METHOD_ROUTES,
    render_settings,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    Ambiguous,
    GuardStopped,
    InfisicalError,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities import client_secrets
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.apply import (
    Applied,
    check_removal,
    ensure,
    find,
    read,
    remove,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import Grant
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.plan import Desired
from contract.targets import ENVIRONMENT, PROJECT, SEED, Controlled, error_of

pytestmark = pytest.mark.kinds("2026-07")

LIMITS = {"access_token_ttl": 900, "access_token_max_ttl": 900}
GRANT = Grant(ENVIRONMENT, "/app", True)
WEB1 = Desired("web1", {"host": "web1"}, None, None, {"universal_auth": LIMITS}, (GRANT,))


@pytest.fixture
def api(controlled: Controlled) -> IdentityApi:
    controlled.server.reset()
    return IdentityApi(controlled.api())


def make(api: IdentityApi, desired: Desired = WEB1) -> Identity:
    applied = ensure(api, PROJECT, None, desired, check=False)
    assert applied.current.identity is not None
    return applied.current.identity


def managing(controlled: Controlled) -> list[tuple[str, str]]:
    """Return method and path of all requests except logins."""
    sent = controlled.server.requests("/identit|privilege")
    return [(one["method"], one["path"]) for one in sent if "/login" not in one["path"]]


def run(api: IdentityApi, desired: Desired, *, check: bool = False) -> Applied:
    return ensure(api, PROJECT, find(api, PROJECT, name=desired.name or ""), desired, check=check)


def test_new_identity_takes_one_request_for_each_part(api: IdentityApi, controlled: Controlled) -> None:
    applied = ensure(api, PROJECT, None, replace(WEB1, role="viewer"), check=False)
    identity = applied.current.identity
    assert identity is not None
    assert [method for method, _path in managing(controlled)] == ["POST", "PATCH", "POST", "POST"]
    assert api.get(PROJECT, identity.id).metadata == (("host", "web1"),)
    assert api.roles(PROJECT, identity.id) == ("viewer",)
    settings = api.method(identity.id, "universal_auth")
    assert settings is not None
    assert settings == applied.current.methods["universal_auth"]
    assert {name: settings.values[name] for name in LIMITS} == LIMITS
    assert applied.current.permissions.grants == (GRANT,)


CHANGES: dict[str, tuple[Desired, list[str]]] = {
    "metadata": (replace(WEB1, metadata={"host": "web1", "desired": "x"}), ["identity"]),
    "role": (replace(WEB1, role="viewer"), ["role"]),
    "delete protection": (replace(WEB1, delete_protection=True), ["identity"]),
    "limits": (replace(WEB1, methods={"universal_auth": {"access_token_ttl": 60}}), ["universal_auth"]),
    "another method": (
        replace(WEB1, methods={"jwt_auth": {"public_keys": ["k"], "subject": "s", "audiences": ["a", "b"]}}),
        ["jwt_auth"],
    ),
    "grants": (replace(WEB1, grants=(Grant("prod", "/app", access="write"), GRANT)), ["grants"]),
    "no grants": (replace(WEB1, grants=()), ["grants"]),
    "everything": (
        Desired("web1", {}, "member", True, {"universal_auth": {"access_token_num_uses_limit": 5}}, ()),
        ["identity", "role", "universal_auth", "grants"],
    ),
}


@pytest.mark.parametrize(("desired", "parts"), CHANGES.values(), ids=CHANGES)
def test_each_change_is_planned_applied_and_then_done(
    api: IdentityApi, controlled: Controlled, desired: Desired, parts: list[str]
) -> None:
    make(api)
    controlled.server.clear_requests()
    assert [one.part for one in run(api, desired, check=True).changes] == parts
    assert {method for method, _path in managing(controlled)} == {"GET"}
    assert [one.part for one in run(api, desired).changes] == parts
    controlled.server.clear_requests()
    assert run(api, desired, check=True).changes == run(api, desired).changes == ()
    assert {method for method, _path in managing(controlled)} == {"GET"}


def test_result_after_a_change_equals_the_state_on_the_server(api: IdentityApi) -> None:
    make(api)
    for desired, _parts in CHANGES.values():
        applied = run(api, desired).current
        assert applied.identity is not None
        stored = read(api, api.get(PROJECT, applied.identity.id), desired)
        assert stored.identity is not None
        assert (applied.roles, applied.methods, applied.privilege) == (stored.roles, stored.methods, stored.privilege)
        assert replace(applied.identity, auth_methods=None) == replace(stored.identity, auth_methods=None)


def test_other_privileges_and_methods_stay(api: IdentityApi) -> None:
    identity = make(api)
    other = api.create_privilege(PROJECT, identity.id, "theirs", [{"subject": "secrets", "action": ["create"]}])
    run(api, Desired("web1", grants=()))
    assert [one.slug for one in api.privileges(PROJECT, identity.id)] == ["theirs"]
    assert api.privilege(other.id) == other
    assert api.method(identity.id, "universal_auth") is not None


@pytest.mark.parametrize(
    "path", ["/identities$", "/universal-auth/identities/", "/identity-project-additional-privilege$"]
)
@pytest.mark.parametrize("arrives", [True, False])
def test_lost_response_leads_to_one_complete_identity(
    api: IdentityApi, controlled: Controlled, path: str, arrives: bool
) -> None:
    api.identities(PROJECT)  # logs in
    controlled.server.arm("cut_middle" if arrives else "cut_before", method="POST", path=path)
    applied = ensure(api, PROJECT, None, WEB1, check=False)
    assert len(controlled.clock.waits) == 1
    [identity] = api.identities(PROJECT, "web1")
    assert applied.current.identity is not None
    assert applied.current.identity.id == identity.id
    assert run(api, WEB1, check=True).changes == ()


def test_method_added_by_another_process_is_not_an_error(api: IdentityApi, controlled: Controlled) -> None:
    identity = make(api, replace(WEB1, methods={}, grants=None))
    attach = api.attach_method

    def race(*arguments: Any) -> Any:
        attach(identity.id, "universal_auth", {})
        return attach(*arguments)

    api.attach_method = race  # type: ignore[assignment, method-assign]
    settings = run(api, WEB1).current.methods["universal_auth"]
    assert settings is not None
    assert {name: settings.values[name] for name in LIMITS} == LIMITS


def test_failure_names_the_parts_that_were_changed(api: IdentityApi, controlled: Controlled) -> None:
    api.identities(PROJECT)
    controlled.server.arm("status", status=403, method="POST", path="additional-privilege")
    error = error_of(ensure, api, PROJECT, None, WEB1, check=False)
    assert error.problem.startswith("Changed so far: identity, universal_auth. Could not add the privilege 'keyfleet'")
    assert error.details["changed"] is True


def test_long_list_is_read_page_by_page(api: IdentityApi, controlled: Controlled) -> None:
    names = {f"web{number:03}" for number in range(250)}
    for name in names:
        api.create(PROJECT, name)
    controlled.server.clear_requests()
    assert {one.name for one in api.identities(PROJECT)} == names
    assert len(managing(controlled)) == 3


def test_list_by_name_contains_only_this_name(api: IdentityApi) -> None:
    for name in ("web1", "web10", "WEB1"):
        api.create(PROJECT, name)
    assert [one.name for one in api.identities(PROJECT, "web1")] == ["web1"]


@pytest.mark.parametrize("deletes", [True, False])
def test_list_that_changes_between_pages_is_read_again(
    api: IdentityApi, monkeypatch: pytest.MonkeyPatch, deletes: bool
) -> None:
    made = [api.create(PROJECT, f"web{number:03}") for number in range(150)]
    send, sent = api.api.transport.send, []

    def send_and_change(call: Any) -> Any:
        answer = send(call)
        if call.method == "GET" and not sent:
            sent.append(call)
            if deletes:
                api.delete(PROJECT, made[0].id)
            else:
                api.create(PROJECT, "aaa")
        return answer

    monkeypatch.setattr(api.api.transport, "send", send_and_change)
    found = {one.name for one in api.identities(PROJECT)}
    expected = {one.name for one in made}
    assert found == (expected - {"web000"} if deletes else expected | {"aaa"})


def test_list_that_always_changes_is_refused(api: IdentityApi, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(101):
        api.create(PROJECT, f"web{number:03}")
    send, sent = api.api.transport.send, []

    def send_and_create(call: Any) -> Any:
        answer = send(call)
        if call.method == "GET":
            sent.append(call)
            api.create(PROJECT, f"aaa{len(sent)}")
        return answer

    monkeypatch.setattr(api.api.transport, "send", send_and_create)
    assert error_of(api.identities, PROJECT).conclusion == "busy"
    assert len(sent) == 6


def test_identity_is_found_by_id_name_or_metadata(api: IdentityApi) -> None:
    first = api.create(PROJECT, "web1")
    assert find(api, PROJECT, name="web1") == replace(first, auth_methods=None)
    second = api.create(PROJECT, "web1")
    with pytest.raises(Ambiguous) as caught:
        find(api, PROJECT, name="web1")
    assert first.id in caught.value.problem and second.id in caught.value.problem
    ours = api.create(PROJECT, "web1", [("managed_by", "keyfleet.infisical")])
    found = find(api, PROJECT, name="web1")
    assert found is not None
    assert found.id == ours.id
    assert find(api, PROJECT, identity_id=second.id) == second
    assert find(api, PROJECT, identity_id="nope") is None
    assert find(api, PROJECT, name="web2") is None


def test_deleted_identity_is_gone_and_can_be_deleted_again(api: IdentityApi) -> None:
    identity = make(api)
    remove(api, identity)
    remove(api, identity)
    assert api.identities(PROJECT) == []


def test_protected_identity_is_not_deleted(api: IdentityApi) -> None:
    identity = make(api, replace(WEB1, delete_protection=True))
    assert identity.delete_protection
    with pytest.raises(GuardStopped, match="protected from deletion"):
        check_removal(api, identity)
    assert error_of(remove, api, identity).conclusion == "invalid"
    run(api, replace(WEB1, delete_protection=False))
    remove(api, identity)


def logged_in(controlled: Controlled, api: IdentityApi, identity: Identity) -> tuple[IdentityApi, str]:
    """Return an API that is logged in as the identity, which gets the role admin, and its client secret's id."""
    api.change_roles(PROJECT, identity.id, ("admin",))
    settings, new = api.method(identity.id, "universal_auth"), api.create_client_secret(identity.id, "own")
    assert settings is not None
    controlled.server.advance(20)
    return IdentityApi(controlled.api(client_id=settings.client_id, client_secret=new.secret)), new.data.id


def test_own_login_is_neither_deleted_nor_revoked(api: IdentityApi, controlled: Controlled) -> None:
    identity = make(api)
    own, own_id = logged_in(controlled, api, identity)
    api.create_client_secret(identity.id, "other")
    with pytest.raises(GuardStopped, match="logged in here"):
        check_removal(own, identity)
    mine, other = own.client_secrets(identity.id)
    assert mine.id == own_id
    with pytest.raises(GuardStopped, match="logged in here is among"):
        client_secrets.check_revocation(own, identity.id, [mine, other])
    client_secrets.check_revocation(own, identity.id, [other])
    client_secrets.check_revocation(api, identity.id, [mine, other])
    check_removal(api, identity)


def test_grant_lets_the_identity_read_its_folder_only(api: IdentityApi, controlled: Controlled) -> None:
    controlled.put("A", "one", "/app/db")
    identity = make(api)
    settings, new = api.method(identity.id, "universal_auth"), api.create_client_secret(identity.id, "web1")
    assert settings is not None
    host = controlled.api(client_id=settings.client_id, client_secret=new.secret)
    [secret] = host.list_secrets(Location(PROJECT, ENVIRONMENT, "/app/db")).secrets
    assert secret.value == "one"
    assert error_of(host.get_secret, Location(PROJECT, "prod", "/"), "A").conclusion in ("forbidden", "secret_missing")


def test_client_secret_is_created_found_and_revoked(api: IdentityApi) -> None:
    identity = make(api)
    new = api.create_client_secret(identity.id, "web1", ttl=3600, uses_limit=5)
    assert new.secret and new.secret not in repr(new)
    [stored] = api.client_secrets(identity.id)
    assert stored == new.data
    assert (stored.ttl, stored.uses_limit, stored.revoked, stored.expires_at is None) == (3600, 5, False, False)
    client_secrets.revoke(api, identity.id, [stored])
    assert [one.revoked for one in api.client_secrets(identity.id)] == [True]
    client_secrets.revoke(api, identity.id, [replace(stored, id="nope")])


def test_client_secret_of_a_lost_response_is_revoked(api: IdentityApi, controlled: Controlled) -> None:
    identity = make(api)
    other = api.create_client_secret(identity.id, "other")
    controlled.server.arm("cut_middle", method="POST", path="/client-secrets$")
    new = client_secrets.create(api, identity.id, "web1", ttl=60, uses_limit=0, known={other.data.id})
    living = [one.id for one in api.client_secrets(identity.id) if not one.revoked]
    assert living == [other.data.id, new.data.id]
    assert len(api.client_secrets(identity.id)) == 3


@pytest.mark.parametrize("missing", ["clientSecret", "clientSecretData"])
def test_unreadable_client_secret_is_revoked_and_not_quoted(
    api: IdentityApi, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    identity = make(api)
    send, secrets = api.api.transport.send, []

    def send_and_damage(call: Any) -> Any:
        answer = send(call)
        if call.method == "POST" and call.path.endswith("/client-secrets"):
            secrets.append((answer.data or {})["clientSecret"])
            (answer.data or {})[missing] = None
        return answer

    monkeypatch.setattr(api.api.transport, "send", send_and_damage)
    with pytest.raises(InfisicalError) as caught:
        client_secrets.create(api, identity.id, "web1", ttl=60, uses_limit=0, known=())
    shown = "".join(traceback.format_exception(None, caught.value, caught.tb))
    assert caught.value.conclusion == "not_json"
    assert len(secrets) == 2 and not any(secret in shown for secret in secrets)
    assert [one.revoked for one in api.client_secrets(identity.id)] == [True, False]


REFUSED: dict[str, tuple[Callable[[IdentityApi, str], Any], str]] = {
    "create": (lambda api, one: api.create(PROJECT, "x"), "create on identity"),
    "delete": (lambda api, one: api.delete(PROJECT, one), "delete on identity"),
    "mint": (lambda api, one: api.create_client_secret(one, "x"), "create on identity"),
}


@pytest.mark.parametrize(("act", "words"), REFUSED.values(), ids=REFUSED)
def test_missing_right_names_the_identity_and_its_role(
    api: IdentityApi, controlled: Controlled, act: Callable[[IdentityApi, str], Any], words: str
) -> None:
    identity = make(api)
    viewer = IdentityApi(controlled.api("viewer"))
    error = error_of(act, viewer, identity.id)
    assert error.conclusion == "forbidden"
    assert words in error.problem
    assert "role 'admin'" in error.hint
    assert f"the machine identity that is logged in ({viewer.login().identity_id})" in error.hint


def test_missing_project_and_identity_are_named(api: IdentityApi) -> None:
    error = error_of(api.identities, "nope")
    assert (error.conclusion, "'nope'" in error.problem) == ("scope_missing", True)
    for act in (
        lambda: api.get(PROJECT, "gone"),
        lambda: api.attach_method("gone", "universal_auth", {}),
        lambda: api.client_secrets("gone"),
        lambda: api.roles(PROJECT, "gone"),
        lambda: api.privileges(PROJECT, "gone"),
    ):
        error = error_of(act)
        assert (error.conclusion, "gone" in error.problem) == ("identity_missing", True)
    assert api.method("gone", "universal_auth") is None


@pytest.mark.parametrize("method", METHOD_ROUTES)
def test_change_of_one_setting_sends_and_keeps_the_others(
    api: IdentityApi, controlled: Controlled, method: str
) -> None:
    given: dict[str, dict[str, Any]] = {
        "jwt_auth": {"public_keys": ["k"], "audiences": ["a"], "claims": {"x": "y"}},
        "tls_cert_auth": {"ca_certificate": "ca", "allowed_common_names": ["web1"]},
        "aws_auth": {"allowed_account_ids": ["1", "2"]},
        "kubernetes_auth": {"kubernetes_host": "https://k.example", "allowed_namespaces": ["web"]},
        "oidc_auth": {"discovery_url": "https://ci.example", "issuer": "https://ci.example", "subject": "s"},
    }
    identity = api.create(PROJECT, "web1")
    api.attach_method(identity.id, method, given.get(method, {}))
    before = api.method(identity.id, method)
    api.change_method(identity.id, method, {"access_token_ttl": 60})
    after = api.method(identity.id, method)
    assert before is not None and after is not None
    assert after.values == {**before.values, "access_token_ttl": 60}
    [sent] = [one for one in controlled.server.requests("/identities/") if one["method"] == "PATCH"]
    body = json.loads(sent["body"]) if isinstance(sent["body"], str) else sent["body"]
    assert {key for key in body if "Trusted" in key} == set()
    assert set(render_settings(method, given.get(method, {}))) <= set(body)


def test_existing_privilege_and_method_are_conflicts(api: IdentityApi) -> None:
    identity = make(api)
    assert error_of(api.create_privilege, PROJECT, identity.id, "keyfleet", []).conclusion == "conflict"
    assert error_of(api.attach_method, identity.id, "universal_auth", {}).conclusion == "conflict"


def test_plan_restriction_is_final(api: IdentityApi, controlled: Controlled) -> None:
    settings = {"access_token_trusted_ips": ["10.0.0.0/8"]}
    error = error_of(ensure, api, PROJECT, None, Desired("web1", methods={"universal_auth": settings}), check=False)
    assert error.conclusion == "invalid"
    assert "plan restriction" in error.problem and "plan" in error.hint
    assert controlled.clock.waits == []


def test_unknown_role_is_invalid(api: IdentityApi) -> None:
    assert error_of(ensure, api, PROJECT, None, replace(WEB1, role="nope"), check=False).conclusion == "invalid"


@pytest.mark.kinds("2024")
def test_older_server_is_refused_before_anything_is_changed(api: IdentityApi, controlled: Controlled) -> None:
    for act in (lambda: api.identities(PROJECT), lambda: find(api, PROJECT, name="web1"), lambda: make(api)):
        error = error_of(act)
        assert error.conclusion == "route_missing"
        assert "cannot manage the identities" in error.problem and "Upgrade Infisical" in error.hint
    assert {one["status"] for one in controlled.server.requests("/projects/")} == {404}


SHAPES: dict[str, Any] = {
    "no identities": {"totalCount": 0},
    "no total": {"identities": []},
    "identity without id": {"identities": [{"name": "a"}], "totalCount": 1},
    "name is a number": {"identities": [{"id": "a", "name": None}], "totalCount": 1},
    "metadata without key": {"identities": [{"id": "a", "name": "b", "metadata": [{"value": "x"}]}], "totalCount": 1},
    "protection is text": {"identities": [{"id": "a", "name": "b", "hasDeleteProtection": "no"}], "totalCount": 1},
}


@pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES)
def test_unknown_shape_is_refused(api: IdentityApi, monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    class Answered:
        data = body

    monkeypatch.setattr(api.api.transport, "send", lambda call: Answered)
    assert error_of(api.identities, PROJECT).conclusion == "not_json"


def test_imports_of_a_folder_are_listed(api: IdentityApi, controlled: Controlled) -> None:
    seed = copy.deepcopy(SEED)
    seed["projects"][0]["imports"] = [
        {"environment": "dev", "path": "/importing", "from_environment": "prod", "from_path": "/"},
        {"environment": "dev", "path": "/importing", "from_environment": "dev", "from_path": "/app/db"},
    ]
    controlled.server.seed(seed)
    fresh = IdentityApi(controlled.api())
    found = fresh.imports(Location(PROJECT, "dev", "/importing"))
    assert found == (Location(PROJECT, "prod", "/"), Location(PROJECT, "dev", "/app/db"))
    assert fresh.imports(Location(PROJECT, "dev", "/app")) == ()


def test_privilege_without_permissions_is_read_by_its_id(api: IdentityApi) -> None:
    identity = make(api)
    [listed] = api.privileges(PROJECT, identity.id)
    assert listed == Privilege(listed.id, "keyfleet")
    assert len(api.privilege(listed.id).permissions or ()) == 2


def test_unexpected_error_is_not_an_uncertain_one(api: IdentityApi, controlled: Controlled) -> None:
    api.identities(PROJECT)
    controlled.server.arm("status", status=400, method="POST", path="/identities$")
    with pytest.raises(InfisicalError):
        make(api)
    assert api.identities(PROJECT) == []
