# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The meaning of responses: the client recognizes each situation on each kind of server."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Callable
from unittest.mock import patch

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import listing, transport
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api, read_status
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.transport import Call
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.answers import Operation
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.plan import Action
from contract.targets import SEED, Controlled, Target, error_of

pytestmark = pytest.mark.kinds("2024", "2026-07", "2026-10")
EACH_2026 = pytest.mark.kinds("2026-07", "2026-10")

A = Secret("A", "value of a")
B = Secret("B", "value of b")
NAMED = ("get", "update", "delete")


def ask(api: Api, operation: str, scope: Location) -> Any:
    """Send one request for the secret A."""
    calls: dict[str, Callable[[], Any]] = {
        "list": lambda: api.list_secrets(scope),
        "get": lambda: api.get_secret(scope, "A"),
        "create": lambda: api.write("create", scope, A),
        "update": lambda: api.write("update", scope, A),
        "delete": lambda: api.write("delete", scope, A),
    }
    return calls[operation]()


def test_existing_secret_cannot_be_created(target: Target) -> None:
    api = target.api()
    api.write("create", target.scope, A)
    error = error_of(api.write, "create", target.scope, A)
    assert error.conclusion == "conflict"
    assert "'A'" in str(error)
    assert "Run this again" in str(error)


def test_batch_with_an_existing_secret_creates_no_secrets(target: Target) -> None:
    api = target.api()
    api.write("create", target.scope, A)
    error = error_of(api.batch, "create", target.scope, [Secret("NEW", "x"), A])
    assert error.conclusion == "conflict"
    assert [secret.key for secret in api.list_secrets(target.scope).secrets] == ["A"]


@pytest.mark.parametrize("operation", NAMED)
def test_missing_secret_is_reported_as_missing(target: Target, operation: str) -> None:
    error = error_of(ask, target.api(), operation, target.scope)
    assert error.conclusion == "secret_missing"
    assert "'A'" in str(error)
    assert "case-sensitive" in str(error)


@pytest.mark.parametrize("action", ["update", "delete"])
def test_batch_with_a_missing_secret_changes_nothing(target: Target, action: Action) -> None:
    api = target.api()
    api.write("create", target.scope, A)
    error = error_of(api.batch, action, target.scope, [A._replace(value="other"), Secret("B", "x")])
    assert error.conclusion == "secret_missing"
    assert api.get_secret(target.scope, "A").value == A.value


@pytest.mark.parametrize("missing", ["folder", "environment"])
@pytest.mark.parametrize("operation", ["create", *NAMED])
def test_missing_folder_or_environment_is_reported_as_missing(target: Target, operation: str, missing: str) -> None:
    scope = replace(target.scope, secret_path=target.below("none"))
    if missing == "environment":
        scope = replace(target.scope, environment="none")
    error = error_of(ask, target.api(), operation, scope)
    assert error.conclusion == "scope_missing"
    assert "secret_path" in str(error)


@pytest.mark.parametrize("missing", ["folder", "environment"])
def test_listing_a_missing_location_raises_an_error(target: Target, missing: str) -> None:
    place: dict[str, Any] = {"path": target.below("none")} if missing == "folder" else {"environment": "none"}
    store = target.remote(**place)
    if target.kind == "2024":
        assert store.api.list_secrets(store.location).secrets == ()
    else:
        assert error_of(store.api.list_secrets, store.location).conclusion == "scope_missing"
    error = error_of(store.listing)
    assert error.conclusion == "scope_missing"
    if missing == "environment":
        assert "has no environment 'none'" in str(error)
        assert target.scope.environment in str(error)
    else:
        assert "create_path" in str(error)
        reading = error_of(listing.Store(store.api, store.location).listing)
        assert reading.hint == "Check secret_path, or create the folder."


def test_existing_empty_folder_returns_an_empty_listing(target: Target) -> None:
    assert target.remote().listing().secrets == ()


@pytest.mark.parametrize("operation", ["create", "list", *NAMED])
def test_missing_project_is_reported_as_missing(controlled: Controlled, operation: str) -> None:
    error = error_of(ask, controlled.api(), operation, replace(controlled.scope, project_id="none"))
    assert error.conclusion == "scope_missing"
    assert "project none" in str(error)


def test_missing_route_is_reported_as_missing(target: Target) -> None:
    call = Call("GET", "/api/v9/nothing", Operation.OTHER, "ask for nothing")
    error = error_of(target.api().transport.send, call)
    assert error.conclusion == "route_missing"
    assert "Check url" in str(error)


@pytest.mark.kinds("2024")
@pytest.mark.parametrize(("kind", "version"), [("reference", "v3"), ("2024", "v4")])
def test_unsupported_api_version_is_reported_as_a_missing_route(
    controlled: Controlled, kind: str, version: str
) -> None:
    controlled.server.use_profile(kind)
    error = error_of(controlled.api(api_version=version).list_secrets, controlled.scope)
    assert error.conclusion == "route_missing"


def token_of(controlled: Controlled, who: str) -> str:
    return controlled.api(who).tokens.current()


def forged(token: str) -> str:
    head, claims, signature = token.split(".")
    return f"{head}.{claims}.{signature[::-1]}"


@pytest.mark.parametrize(
    "situation", ["older than its TTL", "older than its maximum", "revoked", "used up", "malformed", "junk", "forged"]
)
@pytest.mark.parametrize("operation", ["list", "create"])
def test_expired_or_revoked_token_is_rejected(controlled: Controlled, situation: str, operation: str) -> None:
    server = controlled.server
    token = token_of(controlled, "once" if situation == "used up" else "brief")
    if situation == "older than its TTL":
        server.advance(61)
    elif situation == "older than its maximum":
        server.advance(601)
    elif situation == "revoked":
        server.revoke_tokens()
    elif situation == "malformed":
        token = "malformed"
    elif situation == "junk":
        token = "junk.junk.junk"
    elif situation == "forged":
        token = forged(token)
    # The API version is configured, so that the last use of the token is not spent on its detection.
    version = "v3" if controlled.kind == "2024" else "v4"
    api = controlled.api(auth_method="token", token=token, api_version=version)
    if situation == "used up":
        api.list_secrets(controlled.scope)
    server.clear_requests()
    error = error_of(ask, api, operation, controlled.scope)
    assert error.conclusion == "token_rejected"
    assert "et a new token" in str(error)
    assert len(server.requests()) == 1
    assert controlled.clock.waits == []


@EACH_2026
def test_token_has_the_permissions_of_its_identity(controlled: Controlled) -> None:
    seed = copy.deepcopy(SEED)
    seed["identities"][0]["manages_identities"] = True
    controlled.server.seed(seed)
    [viewer] = [one["id"] for one in controlled.server.state()["identities"] if one["name"] == "viewer"]
    method = f"/api/v1/auth/token-auth/identities/{viewer}"
    send = controlled.api().transport.send
    send(Call("POST", method, Operation.OTHER, "attach token auth", body={}))
    made = send(Call("POST", f"{method}/tokens", Operation.OTHER, "make a token", body={"name": "ci"}))
    api = controlled.api(auth_method="token", token=(made.data or {})["accessToken"])
    assert api.list_secrets(controlled.scope).secrets == ()
    assert error_of(api.write, "create", controlled.scope, A).conclusion == "forbidden"
    assert controlled.logins() == 1


@pytest.mark.parametrize("wrong", ["client_id", "client_secret"])
def test_wrong_credentials_are_rejected(controlled: Controlled, wrong: str) -> None:
    error = error_of(controlled.api(**{wrong: "wrong"}).list_secrets, controlled.scope)
    assert error.conclusion == "credentials_rejected"
    assert "client_id and client_secret" in str(error)


@EACH_2026
def test_three_wrong_client_secrets_lock_out_the_valid_secret(controlled: Controlled) -> None:
    for _attempt in range(3):
        error_of(controlled.api(client_secret="wrong").list_secrets, controlled.scope)
    error = error_of(controlled.api().list_secrets, controlled.scope)
    assert error.conclusion == "locked_out"
    assert "lockout" in str(error)
    controlled.server.advance(301)
    assert controlled.api().list_secrets(controlled.scope).secrets == ()


PERMISSIONS = {"list": "'Read Value'", "get": "'Read Value'", "create": "'Create'", "update": "'Modify'",
               "delete": "'Remove'"}  # fmt: skip


@pytest.mark.parametrize("operation", list(PERMISSIONS))
def test_forbidden_operation_names_the_missing_permission(controlled: Controlled, operation: str) -> None:
    controlled.put("A", "value")
    error = error_of(ask, controlled.api("nobody"), operation, controlled.scope)
    assert error.conclusion == "forbidden"
    # Servers from 2026 first check the permission to see the secret, and their message names it.
    reads = operation in ("list", "get") and controlled.kind != "2024"
    assert ("'Describe Secret'" if reads else PERMISSIONS[operation]) in str(error)
    assert "Access Control" in str(error)
    # A 401 from 2024 must not be mistaken for an expired token.
    assert controlled.logins() == 1


def test_refused_request_is_reported_as_invalid(target: Target) -> None:
    api = target.api()
    api.list_secrets(target.scope)
    path = "/api/v3/secrets/raw" if api.version == "v3" else "/api/v4/secrets"
    query = {"projectId": target.scope.project_id, "workspaceId": target.scope.project_id, "recursive": "True"}
    error = error_of(api.transport.send, Call("GET", path, Operation.LIST, "list", query))
    assert error.conclusion == "invalid"


@EACH_2026
def test_refused_name_is_reported_as_an_invalid_request(controlled: Controlled) -> None:
    error = error_of(controlled.remote().put, Secret("a:b", "value"))
    assert error.conclusion == "invalid"
    assert "'a:b'" in str(error)


def test_value_over_the_servers_limit_is_reported_as_too_large(target: Target) -> None:
    error = error_of(target.api().write, "create", target.scope, Secret("A", "x" * 1_100_000))
    assert error.conclusion == "too_large"
    assert "1 MiB" in str(error)
    assert len(str(error)) < 1000


@EACH_2026
def test_value_over_the_limit_is_not_sent_twice(controlled: Controlled) -> None:
    error = error_of(controlled.api().write, "create", controlled.scope, Secret("A", "x" * 1_100_000))
    assert (error.conclusion, error.status) == ("too_large", 500)
    assert controlled.methods() == ["POST"]
    assert controlled.clock.waits == []


def test_request_over_the_rate_limit_is_reported_as_rate_limited(controlled: Controlled) -> None:
    limited = copy.deepcopy(SEED)
    limited["settings"] = {"rate_limit": {"secrets": 1, "login": 200, "window": 58}}
    controlled.server.seed(limited)
    api = controlled.api(api_version="v3" if controlled.kind == "2024" else "v4")
    api.list_secrets(controlled.scope)
    error = error_of(api.list_secrets, controlled.scope)
    assert error.conclusion == "rate_limited"
    assert "rate_limit_wait" in str(error)
    [wait] = controlled.clock.waits
    assert 50 <= wait <= 58


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("kind", ["status", "html"])
def test_two_server_failures_are_reported_as_a_server_error(controlled: Controlled, status: int, kind: str) -> None:
    controlled.server.arm(kind, status=status, path="/secrets", times=2)
    error = error_of(controlled.api(api_version="v4").list_secrets, controlled.scope)
    assert error.conclusion == "server_error"
    assert error.status == status
    assert "log of the server" in str(error)


@pytest.mark.parametrize(
    ("kind", "fields", "conclusion", "words"),
    [
        ("html", {}, "not_json", "not from an Infisical API"),
        ("malformed", {}, "not_json", "not from an Infisical API"),
        ("html", {"status": 403}, "not_json", "proxy"),
        ("redirect", {}, "redirected", "Redirects are not followed"),
        ("redirect", {"status": 308}, "redirected", "Set url"),
    ],
)
def test_response_of_a_server_that_is_not_infisical_is_detected(
    controlled: Controlled, kind: str, fields: dict[str, Any], conclusion: str, words: str
) -> None:
    controlled.put("A", "canary-0815")
    controlled.server.arm(kind, path="/secrets", times=2, **fields)
    error = error_of(controlled.api().list_secrets, controlled.scope)
    assert error.conclusion == conclusion
    assert words in str(error)
    assert "canary-0815" not in str(error)


def test_login_at_a_server_that_is_not_infisical_is_detected(controlled: Controlled) -> None:
    controlled.server.arm("html", path="/login", times=1)
    error = error_of(controlled.api().list_secrets, controlled.scope)
    assert error.conclusion == "not_json"
    assert controlled.methods() == []


def test_server_status_is_read_without_a_login(target: Target) -> None:
    assert read_status(target.api().transport)
    if isinstance(target, Controlled):
        assert target.logins() == 0


# Situations that only some kinds of server have


def rename(at: Controlled) -> Any:
    api = at.api()
    api.write("create", at.scope, A)
    api.write("create", at.scope, B)
    body = {**scope_of(at), "newSecretName": "B"}
    return api.transport.send(Call("PATCH", "/api/v4/secrets/A", Operation.UPDATE, "rename A", body=body))


def scope_of(at: Controlled) -> dict[str, str]:
    scope = at.scope
    return {"projectId": scope.project_id, "environment": scope.environment, "secretPath": scope.secret_path}


def delete_twice(at: Controlled) -> Any:
    at.put("A", "value")
    return at.api().batch("delete", at.scope, [A, A])


def delete_full_folder(at: Controlled) -> Any:
    path = "/api/v2/folders/app"
    body = {**scope_of(at), "path": "/"}
    return at.api().transport.send(Call("DELETE", path, Operation.FOLDER, "delete the folder app", body=body))


def list_without_project(at: Controlled) -> Any:
    query = {"environment": "dev"}
    return at.api().transport.send(Call("GET", "/api/v4/secrets", Operation.LIST, "list", query))


def use_unknown_tag(at: Controlled) -> Any:
    return at.api().write("create", at.scope, A, ["7e1c1d4b-0000-4000-8000-000000000000"])


def use_other_type(at: Controlled) -> Any:
    seed = copy.deepcopy(SEED)
    seed["projects"].append({"id": "certificates", "type": "cert-manager", "environments": [{"slug": "dev"}]})
    seed["identities"][0]["permissions"]["certificates"] = "admin"
    at.server.seed(seed)
    return at.api().list_secrets(replace(at.scope, project_id="certificates"))


def lease(at: Controlled) -> Any:
    path = "/api/v1/dynamic-secrets/leases"
    return at.api().transport.send(Call("POST", path, Operation.OTHER, "lease", body={"path": "/"}))


def get_hidden(at: Controlled) -> Any:
    at.put("A", "value")
    return at.api("names-only").get_secret(at.scope, "A")


def refer_to_hidden(at: Controlled, listed: bool) -> Any:
    at.put("TARGET", "canary-0816", "/app")
    at.put("A", "${dev.app.TARGET}")
    api = at.api("root-only")
    if listed:
        return api.list_secrets(at.scope, expand_references=True)
    return api.get_secret(at.scope, "A", expand_references=True)


def log_in_with(at: Controlled, **secret: int) -> Any:
    seed = copy.deepcopy(SEED)
    seed["identities"][0].update(secret)
    at.server.seed(seed)
    if "client_secret_uses" in secret:
        at.api().list_secrets(at.scope)
    at.server.advance(2)
    return at.api().list_secrets(at.scope)


def log_in_among_many(at: Controlled) -> Any:
    message = "Failed to acquire lock: rate limit exceeded"
    at.server.arm("status", status=429, error="TooManyRequests", message=message, path="/login", times=2)
    return at.api().list_secrets(at.scope)


def send_no_json(at: Controlled) -> Any:
    api = at.api()
    api.list_secrets(at.scope)
    with patch.object(transport, "encode_body", lambda body: b"{"):
        return api.write("create", at.scope, A)


# name, kinds of server, action, conclusion, part of the message
SITUATIONS: list[tuple[str, tuple[str, ...], Callable[[Controlled], Any], str, str]] = [
    ("rename onto an existing name", ("2026-07", "2026-10"), rename, "conflict", "It already exists"),
    ("one named twice to delete", ("2026-07",), delete_twice, "secret_missing", "does not exist: A"),
    ("one named twice to delete", ("2026-10",), delete_twice, "invalid", "only be deleted once"),
    ("folder that is not empty", ("2026-07", "2026-10"), delete_full_folder, "invalid", "forceDelete"),
    ("folder that exists", ("2026-07", "2026-10"),
     lambda at: at.api().create_folder(replace(at.scope, secret_path="/app")), "conflict", "already exists"),
    ("folder to delete missing", ("2024", "2026-07", "2026-10"),
     lambda at: at.api().delete_folder(replace(at.scope, secret_path="/none"), "none", force=True),
     "scope_missing", ""),
    ("folders of a missing environment", ("2024", "2026-07", "2026-10"),
     lambda at: at.api().folders(replace(at.scope, environment="none")), "scope_missing", "secret_path"),
    ("no project given", ("2026-07", "2026-10"), list_without_project, "invalid", "Set project_id"),
    ("tag missing", ("2024", "2026-07", "2026-10"), use_unknown_tag, "invalid", "Create the tag"),
    ("project of another type", ("2026-07", "2026-10"), use_other_type, "invalid",
     "Set project_id to a project of the type secret-manager"),
    ("plan", ("2026-07", "2026-10"), lease, "invalid", "Upgrade the plan"),
    ("not a member", ("2024", "2026-07", "2026-10"), lambda at: at.api("stranger").list_secrets(at.scope),
     "forbidden", "Add the machine identity to the project"),
    ("names, not values: list", ("2026-07", "2026-10"), lambda at: at.api("names-only").list_secrets(at.scope),
     "forbidden", "Grant 'Read Value' on 'Secrets'"),
    ("names, not values: get", ("2026-07", "2026-10"), get_hidden,
     "forbidden", "Grant 'Read Value' on 'Secrets'"),
    ("unreadable reference: list", ("2026-07", "2026-10"), lambda at: refer_to_hidden(at, listed=True),
     "forbidden", "expand_references: false"),
    ("unreadable reference: get", ("2026-07", "2026-10"), lambda at: refer_to_hidden(at, listed=False),
     "forbidden", "expand_references: false"),
    ("client secret expired", ("2024",), lambda at: log_in_with(at, client_secret_ttl=1),
     "credentials_rejected", "Check client_id and client_secret"),
    ("client secret expired", ("2026-07", "2026-10"), lambda at: log_in_with(at, client_secret_ttl=1),
     "credentials_rejected", "Create a new client secret"),
    ("client secret spent", ("2024",), lambda at: log_in_with(at, client_secret_uses=1),
     "credentials_rejected", "Check client_id and client_secret"),
    ("client secret spent", ("2026-07", "2026-10"), lambda at: log_in_with(at, client_secret_uses=1),
     "credentials_rejected", "Create a new client secret"),
    ("many logins at once", ("2024", "2026-07", "2026-10"), log_in_among_many,
     "rate_limited", "rate_limit_wait"),
    ("body that is not JSON", ("2026-07", "2026-10"), send_no_json, "server_error", "log of the server"),
]  # fmt: skip


@pytest.mark.kinds("2024")
@pytest.mark.parametrize(
    ("kind", "act", "conclusion", "words"),
    [
        pytest.param(kind, act, conclusion, words, id=f"{name}, {kind}")
        for name, kinds, act, conclusion, words in SITUATIONS
        for kind in kinds
    ],
)
def test_every_error_has_the_documented_conclusion(
    controlled: Controlled, kind: str, act: Callable[[Controlled], Any], conclusion: str, words: str
) -> None:
    controlled.server.use_profile(kind)
    error = error_of(act, controlled)
    assert error.conclusion == conclusion
    assert words in str(error)
    assert "canary-0816" not in str(error)


@EACH_2026
def test_request_refused_by_the_licence_plan_is_not_retried(controlled: Controlled) -> None:
    error_of(lease, controlled)
    assert controlled.methods("leases") == ["POST"]


@EACH_2026
@pytest.mark.parametrize("kind", ["PATCH", "batch"])
def test_update_without_a_value_does_not_change_the_value(target: Target, kind: str) -> None:
    api = target.api()
    api.write("create", target.scope, A)
    change = Secret("A", comment="new")
    if kind == "PATCH":
        written = api.write("update", target.scope, change)
    else:
        written = api.batch("update", target.scope, [change])
    assert [(secret.value, secret.version) for secret in written.secrets] == [(None, 2)]
    assert api.get_secret(target.scope, "A").value == A.value
