# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits and retries with the default waits and a fake clock; logins; API versions."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any, Callable

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import read_status
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.job import Push
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.push import push
from contract.targets import ENVIRONMENT, PROJECT, SEED, Controlled, Target, error_of, identity

A = Secret("A", "one")
LIST = {"method": "GET", "path": "/secrets$|/secrets/raw$"}


@pytest.fixture
def version(controlled: Controlled) -> str:
    """Return the API version to configure, so that no detection requests are counted."""
    return "v3" if controlled.kind == "2024" else "v4"


RETRIED = {
    "429": ({"kind": "status", "status": 429}, 60, "rate_limited"),
    "500": ({"kind": "status", "status": 500}, 30, "server_error"),
    "502": ({"kind": "html", "status": 502}, 30, "server_error"),
    "503": ({"kind": "status", "status": 503}, 30, "server_error"),
    "504": ({"kind": "html", "status": 504}, 30, "server_error"),
    "cut before the answer": ({"kind": "cut_before"}, 10, "unreachable"),
    "cut in the middle": ({"kind": "cut_middle"}, 10, "unreachable"),
    "timed out": ({"kind": "timeout", "seconds": 3}, 10, "unreachable"),
}


@pytest.mark.parametrize(("fault", "wait", "conclusion"), RETRIED.values(), ids=RETRIED)
def test_failed_request_is_retried_once_after_a_wait(
    controlled: Controlled, version: str, fault: dict[str, Any], wait: float, conclusion: str
) -> None:
    controlled.put("A", "one")
    controlled.server.arm(**fault, **LIST)
    [secret] = controlled.api(api_version=version, timeout=1.0).list_secrets(controlled.scope).secrets
    assert secret.value == "one"
    assert controlled.clock.waits == [wait]
    assert controlled.methods() == ["GET", "GET"]
    assert len(controlled.log) == 1
    assert f"Waiting {wait} s" in controlled.log[0]
    # Checks that apply only to a second failure.
    assert "once more" not in controlled.log[0] and "after waiting" not in controlled.log[0]


@pytest.mark.parametrize(("fault", "wait", "conclusion"), RETRIED.values(), ids=RETRIED)
def test_request_that_fails_twice_raises_after_one_wait(
    controlled: Controlled, version: str, fault: dict[str, Any], wait: float, conclusion: str
) -> None:
    controlled.server.arm(**fault, **LIST, times=3)
    error = error_of(controlled.api(api_version=version, timeout=1.0).list_secrets, controlled.scope)
    assert error.conclusion == conclusion
    assert controlled.clock.waits == [wait]
    assert controlled.methods() == ["GET", "GET"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize(("fault", "wait", "conclusion"), RETRIED.values(), ids=RETRIED)
def test_failed_update_or_delete_is_retried_once(
    controlled: Controlled, version: str, method: str, fault: dict[str, Any], wait: float, conclusion: str
) -> None:
    controlled.put("A", "old")
    controlled.server.arm(**fault, method=method, path="/secrets")
    store = controlled.remote(api_version=version, timeout=1.0)
    if method == "PATCH":
        assert store.put(A).action == "update"
        assert [one["value"] for one in controlled.stored("A")] == ["one"]
    else:
        store.remove("A")
        assert controlled.stored("A") == []
    assert controlled.clock.waits == [wait]
    assert controlled.methods().count(method) == 2


def test_refused_connection_is_retried_once(controlled: Controlled) -> None:
    import socket

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        error = error_of(read_status, controlled.api(url=url).transport)
    assert error.conclusion == "unreachable"
    assert "refused" in str(error)
    assert url in str(error)
    assert controlled.clock.waits == [10]


def test_unknown_host_error_names_the_problem(controlled: Controlled) -> None:
    error = error_of(read_status, controlled.api(url="https://nothing.invalid").transport)
    assert error.conclusion == "unreachable"
    assert "host name" in str(error)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", 7),
        ("0", 0),
        ("299", 299),
        ("301", 300),
        ("86400", 300),
        ("date 42", 42),
        ("date 4000", 300),
        ("date -50", 0),
        ("soon", 60),
        ("-5", 60),
        ("", 60),
    ],
)
def test_retry_after_seconds_or_date_is_capped_at_max_wait(
    controlled: Controlled, version: str, header: str, wait: float
) -> None:
    if header.startswith("date"):
        header = formatdate(controlled.clock.now + float(header.split()[1]), usegmt=True)
    controlled.server.arm("status", status=429, headers={"Retry-After": header}, **LIST)
    controlled.api(api_version=version).list_secrets(controlled.scope)
    assert controlled.clock.waits == [wait]


def test_retry_after_header_of_unavailable_server_is_respected(controlled: Controlled, version: str) -> None:
    controlled.server.arm("status", status=503, headers={"Retry-After": "7"}, **LIST)
    controlled.api(api_version=version).list_secrets(controlled.scope)
    assert controlled.clock.waits == [7]


def test_waits_are_configured_by_options(controlled: Controlled, version: str) -> None:
    options: dict[str, Any] = {
        "rate_limit_wait": 1.0,
        "server_error_wait": 2.0,
        "connection_wait": 3.0,
        "max_wait": 4.0,
    }
    for fault in ({"kind": "status", "status": 429}, {"kind": "status", "status": 500}, {"kind": "cut_before"}):
        controlled.server.arm(**fault, **LIST)
        controlled.api(api_version=version, **options).list_secrets(controlled.scope)
    controlled.server.arm("status", status=429, headers={"Retry-After": "100"}, **LIST)
    controlled.api(api_version=version, **options).list_secrets(controlled.scope)
    assert controlled.clock.waits == [1, 2, 3, 4]


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422])
def test_permanent_error_is_not_retried(controlled: Controlled, version: str, status: int) -> None:
    controlled.server.arm("status", status=status, **LIST, times=3)
    error_of(controlled.api(api_version=version).list_secrets, controlled.scope)
    assert controlled.clock.waits == []
    assert controlled.methods() == ["GET"]


def test_rate_limited_create_is_retried_without_a_lookup(controlled: Controlled, version: str) -> None:
    controlled.server.arm("status", status=429, method="POST", path="/secrets")
    assert controlled.remote(api_version=version).put(A).action == "create"
    assert controlled.methods() == ["GET", "POST", "POST"]


def test_failed_login_is_retried_once_after_a_wait(controlled: Controlled) -> None:
    controlled.server.arm("status", status=500, path="/login")
    controlled.api().list_secrets(controlled.scope)
    assert controlled.clock.waits == [30]
    assert controlled.logins() == 2


# Logins


def test_many_requests_share_one_login(controlled: Controlled) -> None:
    store = controlled.remote()
    for _round in range(5):
        store.listing()
    assert controlled.logins() == 1


@pytest.mark.parametrize("situation", ["revoked", "outlived", "expired"])
def test_expired_token_causes_one_login_and_one_retry(controlled: Controlled, version: str, situation: str) -> None:
    api = controlled.api("brief", api_version=version)
    api.list_secrets(controlled.scope)
    if situation == "revoked":
        controlled.server.revoke_tokens()
    else:
        controlled.server.advance(61 if situation == "outlived" else 601)
    controlled.server.clear_requests()
    assert api.list_secrets(controlled.scope).secrets == ()
    assert controlled.logins() == 1
    assert controlled.methods() == ["GET", "GET"]
    assert controlled.clock.waits == []


def test_create_with_a_rejected_token_is_retried_once(controlled: Controlled, version: str) -> None:
    api = controlled.api(api_version=version)
    api.list_secrets(controlled.scope)
    controlled.server.revoke_tokens()
    api.write("create", controlled.scope, A)
    assert [one["value"] for one in controlled.stored("A")] == ["one"]


def test_token_rejected_after_a_new_login_raises_an_error(controlled: Controlled, version: str) -> None:
    message = "jwt expired" if controlled.kind == "2024" else "Token expired"
    controlled.server.arm("status", status=500 if controlled.kind == "2024" else 401, message=message, **LIST, times=5)
    error = error_of(controlled.api(api_version=version).list_secrets, controlled.scope)
    assert error.conclusion == "token_rejected"
    assert controlled.logins() == 2
    assert controlled.methods() == ["GET", "GET"]
    assert controlled.clock.waits == []


def test_token_is_renewed_before_it_expires(controlled: Controlled, version: str) -> None:
    api = controlled.api("brief", api_version=version)
    api.list_secrets(controlled.scope)
    controlled.clock.now += 40
    api.list_secrets(controlled.scope)
    assert controlled.logins() == 1
    controlled.clock.now += 10
    api.list_secrets(controlled.scope)
    assert controlled.logins() == 2
    assert all(status == 200 for _method, status in controlled.sent())


def test_configured_token_is_used_without_a_login(controlled: Controlled) -> None:
    api = controlled.api(auth_method="token", token="fixed-token-of-admin", client_id="", client_secret="")
    assert api.list_secrets(controlled.scope).secrets == ()
    assert controlled.logins() == 0


def test_rejected_configured_token_causes_no_login(controlled: Controlled, version: str) -> None:
    controlled.server.revoke_tokens()
    api = controlled.api(auth_method="token", token="fixed-token-of-admin", api_version=version)
    for _attempt in range(2):
        assert error_of(api.list_secrets, controlled.scope).conclusion == "token_rejected"
    assert controlled.logins() == 0
    assert controlled.methods() == ["GET", "GET"]


def test_rejected_credentials_are_sent_only_once(controlled: Controlled) -> None:
    store = controlled.remote(client_secret="wrong")
    for call in (store.listing, lambda: store.put(A), lambda: store.remove("A"), store.api.tokens.current):
        assert error_of(call).conclusion == "credentials_rejected"
    assert error_of(store.api.tokens.renew, "x").conclusion == "credentials_rejected"
    assert controlled.logins() == 1
    assert controlled.methods() == []
    assert controlled.clock.waits == []


# Revocations


REVOKE = "/api/v1/auth/token/revoke$"


def revocations(controlled: Controlled) -> int:
    return len(controlled.server.requests(REVOKE))


def test_closed_api_has_revoked_its_token(controlled: Controlled) -> None:
    others = len(controlled.server.living_tokens())
    with controlled.api() as api:
        api.list_secrets(controlled.scope)
        assert len(controlled.server.living_tokens()) == others + 1
    api.close()
    assert len(controlled.server.living_tokens()) == others
    assert revocations(controlled) == 1


def test_token_is_revoked_after_an_error(controlled: Controlled) -> None:
    others = len(controlled.server.living_tokens())
    with pytest.raises(ZeroDivisionError), controlled.api() as api:
        api.tokens.current()
        raise ZeroDivisionError
    assert len(controlled.server.living_tokens()) == others


def test_api_that_has_not_logged_in_sends_no_revocation(controlled: Controlled) -> None:
    controlled.api().close()
    with controlled.api(client_secret="wrong") as api:
        error_of(api.tokens.current)
    assert revocations(controlled) == 0


def test_given_token_is_not_revoked(controlled: Controlled) -> None:
    with controlled.api(auth_method="token", token="fixed-token-of-admin") as api:
        api.list_secrets(controlled.scope)
    assert revocations(controlled) == 0


def test_replaced_tokens_are_revoked_too(controlled: Controlled, version: str) -> None:
    # A server may also reject a token that is still valid.
    message = "jwt expired" if controlled.kind == "2024" else "Token expired"
    controlled.server.arm("status", status=500 if controlled.kind == "2024" else 401, message=message, **LIST)
    others = len(controlled.server.living_tokens())
    with controlled.api(api_version=version) as api:
        api.list_secrets(controlled.scope)
        assert len(controlled.server.living_tokens()) == others + 2
    assert (controlled.logins(), revocations(controlled)) == (2, 2)
    assert len(controlled.server.living_tokens()) == others


def test_expired_token_is_not_revoked(controlled: Controlled) -> None:
    with controlled.api("brief") as api:
        api.list_secrets(controlled.scope)
        controlled.clock.now += 61
    assert revocations(controlled) == 0


@pytest.mark.parametrize(
    "fault",
    [*({"kind": "status", "status": status} for status in (401, 404, 429, 500, 503)),
     {"kind": "cut_before"}, {"kind": "html"}, {"kind": "timeout", "seconds": 2}],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)  # fmt: skip
def test_failed_revocation_is_logged_and_not_repeated(controlled: Controlled, fault: dict[str, Any]) -> None:
    api = controlled.api(timeout=0.5)
    api.tokens.current()
    controlled.server.arm(**fault, path=REVOKE)
    api.close()
    assert len(controlled.log) == 1 and controlled.log[0].startswith("Could not revoke the access token")
    assert revocations(controlled) == 1
    assert controlled.clock.waits == []


@pytest.mark.kinds("2026-07")
def test_lockout_is_reported_after_one_login(controlled: Controlled) -> None:
    for _attempt in range(3):
        error_of(controlled.api(client_secret="wrong").tokens.current)
    controlled.server.clear_requests()
    api = controlled.api()
    for _attempt in range(3):
        assert error_of(api.list_secrets, controlled.scope).conclusion == "locked_out"
    assert controlled.logins() == 1


def test_credentials_revoked_during_a_run_are_sent_only_once(controlled: Controlled, version: str) -> None:
    seed = {**SEED, "identities": [{**SEED["identities"][0], "client_secret_uses": 1}]}
    seed.pop("tokens", None)
    controlled.server.seed(seed)
    api = controlled.api(api_version=version)
    api.list_secrets(controlled.scope)
    controlled.server.revoke_tokens()
    for _attempt in range(2):
        assert error_of(api.list_secrets, controlled.scope).conclusion == "credentials_rejected"
    assert controlled.logins() == 2


# Tokens with a limited number of uses

NEW = Location(PROJECT, ENVIRONMENT, "/new")
SOURCE = {"A": "one", "B": "two", "C": "three"}


def seed_few(controlled: Controlled, uses: int) -> None:
    """Create the identity `few`, whose tokens have this number of uses."""
    few = identity("few", "admin", token_uses=uses)
    controlled.server.seed({**SEED, "identities": [few], "tokens": []})


def push_with_token(controlled: Controlled, version: str) -> None:
    """Push like a module on a host, with a new token from the controller."""
    token = controlled.api("few").tokens.current()
    api = controlled.api(auth_method="token", token=token, client_id="", client_secret="", api_version=version)
    push(api, NEW, SOURCE, Push(create_path=True))


@pytest.mark.kinds("2024", "2026-07")
@pytest.mark.parametrize("uses", [1, 2, 3])
def test_push_reads_only_one_listing(controlled: Controlled, version: str, uses: int) -> None:
    seed_few(controlled, uses)
    outcome = push(controlled.api("few", api_version=version), NEW, SOURCE, Push(create_path=True))
    assert outcome.created == ("A", "B", "C")
    assert [one["value"] for one in controlled.stored("C", "/new")] == ["three"]
    accepted = [entry for entry in controlled.server.requests() if entry["identity"] and "login" not in entry["path"]]
    assert [entry["method"] for entry in accepted].count("GET") == 1
    assert [entry["path"] for entry in accepted if "folders" in entry["path"] and entry["status"] == 200] != []
    assert len(accepted) <= 4  # the listing, the folder and the batch; 2024 refuses a batch to learn of the folder


@pytest.mark.kinds("2024", "2026-07")
def test_push_completes_in_two_runs_with_three_uses_per_token(controlled: Controlled, version: str) -> None:
    seed_few(controlled, 3)
    try:
        push_with_token(controlled, version)
    except InfisicalError as error:
        assert error.conclusion == "token_rejected"
        push_with_token(controlled, version)
    assert [one["value"] for one in controlled.stored("A", "/new")] == ["one"]


@pytest.mark.kinds("2024", "2026-07")
def test_used_up_token_error_states_the_number_of_uses(controlled: Controlled, version: str) -> None:
    seed_few(controlled, 1)
    for _run in range(2):
        error = error_of(push_with_token, controlled, version)
        assert error.conclusion == "token_rejected"
        assert "The identity's tokens allow 1 use, and this needs more." in str(error)
        assert "maximum number of uses" in str(error)


@pytest.mark.kinds("reference")
def test_rejected_token_error_states_the_number_of_uses(controlled: Controlled) -> None:
    seed_few(controlled, 2)
    token = controlled.api("few").tokens.current()
    api = controlled.api(auth_method="token", token=token, client_id="", client_secret="", api_version="v4")
    api.list_secrets(controlled.scope)
    api.list_secrets(controlled.scope)
    controlled.server.arm("status", status=401, message="You are not allowed to access this resource")
    error = error_of(api.list_secrets, controlled.scope)
    assert "If it is neither expired nor revoked, the identity's tokens allow 2 uses." in str(error)


@pytest.mark.kinds("2026-07")
def test_used_up_token_error_suggests_raising_the_use_limit(controlled: Controlled, version: str) -> None:
    seed_few(controlled, 1)
    token = controlled.api("few").tokens.current()
    given = {"auth_method": "token", "token": token, "api_version": version}
    controlled.api(**given).list_secrets(controlled.scope)
    assert "tokens allow few uses" in str(error_of(controlled.api(**given).list_secrets, controlled.scope))


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Location(PROJECT, "none", "/new"), f"Project {PROJECT} has no environment 'none'"),
        (Location("none", ENVIRONMENT, "/new"), "Project 'none' does not exist"),
    ],
)
@pytest.mark.parametrize("create_path", [True, False])
@pytest.mark.parametrize(("source", "check"), [(SOURCE, False), (SOURCE, True), ({}, False)])
@pytest.mark.kinds("2024", "2026-07")
def test_push_to_a_missing_location_error_names_the_missing_part(
    controlled: Controlled, place: Location, words: str, create_path: bool, source: dict[str, str], check: bool
) -> None:
    error = error_of(push, controlled.api(), place, source, Push(create_path=create_path), check=check)
    assert error.conclusion == "scope_missing"
    assert str(error).startswith(words)
    assert controlled.server.state()["projects"][0]["environments"][0]["folders"]


# API versions


def test_api_version_is_detected_once(controlled: Controlled) -> None:
    controlled.put("A", "one")
    store = controlled.remote()
    for _round in range(3):
        store.listing()
        store.find("A")
    asked_v4 = controlled.sent("^/api/v4/")
    asked_v3 = controlled.sent("^/api/v3/")
    if controlled.kind == "2024":
        assert asked_v4 == [("GET", 404)]
        assert asked_v3 == [("GET", 200)] * 6
    else:
        assert asked_v4 == [("GET", 200)] * 6
        assert asked_v3 == []


@pytest.mark.parametrize("first", ["put", "remove", "find"])
def test_first_request_of_any_kind_detects_the_api_version(controlled: Controlled, first: str) -> None:
    store = controlled.remote()
    calls: dict[str, Callable[[], Any]] = {
        "put": lambda: store.put(A),
        "remove": lambda: store.remove("A"),
        "find": lambda: store.find("A"),
    }
    calls[first]()
    calls["put"]()
    assert len(controlled.sent("^/api/v4/")) <= 1 or controlled.kind != "2024"
    assert store.api.version == ("v3" if controlled.kind == "2024" else "v4")


@pytest.mark.kinds("2024", "2026-07")
def test_configured_api_version_is_not_probed(controlled: Controlled) -> None:
    store = controlled.remote(api_version="v3")
    store.put(A)
    store.listing()
    store.remove("A")
    assert controlled.sent("^/api/v4/") == []
    assert {status for _method, status in controlled.sent("^/api/v3/")} <= {200, 400, 404}


def test_unknown_api_version_is_refused(target: Target) -> None:
    error = error_of(target.api, api_version="v5")
    assert error.conclusion == "configuration"
    assert "v3, v4" in str(error)
