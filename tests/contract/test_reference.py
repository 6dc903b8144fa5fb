# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind of server "reference": it behaves like the API reference, unlike any real server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.plan import build
from contract.targets import Controlled, error_of
from contract.test_apply import VALUE, done, plan_of, push, stored, wanted
from contract.test_meaning import NAMED, A, ask, forged, token_of

pytestmark = pytest.mark.kinds("reference")


def there(at: Controlled) -> Any:
    at.put("A", "value")
    return at.api().write("create", at.scope, A)


def revoked(at: Controlled) -> Any:
    api = at.api(auth_method="token", token=token_of(at, "brief"))
    at.server.revoke_tokens()
    return api.list_secrets(at.scope)


def limited(at: Controlled) -> Any:
    at.server.arm("status", status=429, path="/secrets", times=2)
    return at.api().list_secrets(at.scope)


def failing(at: Controlled) -> Any:
    at.server.arm("status", status=503, path="/secrets", times=2)
    return at.api().list_secrets(at.scope)


SITUATIONS: list[tuple[str, Callable[[Controlled], Any], str]] = [
    ("already exists", there, "conflict"),
    *((f"secret missing: {operation}", lambda at, name=operation: ask(at.api(), name, at.scope), "secret_missing")
      for operation in NAMED),
    *((f"folder missing: {operation}",
       lambda at, name=operation: ask(at.api(), name, replace(at.scope, secret_path="/none")), "scope_missing")
      for operation in ("create", "list")),
    # It specifies the same 404 without text for a missing secret and a missing folder.
    *((f"folder missing: {operation}",
       lambda at, name=operation: ask(at.api(), name, replace(at.scope, secret_path="/none")), "secret_missing")
      for operation in NAMED),
    *((f"environment missing: {operation}",
       lambda at, name=operation: ask(at.api(), name, replace(at.scope, environment="none")), "scope_missing")
      for operation in ("create", "list")),
    *((f"project missing: {operation}",
       lambda at, name=operation: ask(at.api(), name, replace(at.scope, project_id="none")), "scope_missing")
      for operation in ("create", "list")),
    ("not a member", lambda at: at.api("stranger").list_secrets(at.scope), "forbidden"),
    ("no permission", lambda at: at.api("viewer").write("create", at.scope, A), "forbidden"),
    ("no such route", lambda at: at.api(api_version="v3").list_secrets(at.scope), "route_missing"),
    ("token revoked", revoked, "token_rejected"),
    ("token forged", lambda at: at.api(auth_method="token", token=forged(token_of(at, "brief"))).list_secrets(at.scope),
     "token_rejected"),
    ("bad client id", lambda at: at.api(client_id="wrong").list_secrets(at.scope), "credentials_rejected"),
    ("bad client secret", lambda at: at.api(client_secret="wrong").list_secrets(at.scope), "credentials_rejected"),
    ("invalid request", lambda at: at.api().write("create", at.scope, Secret("lower", "x")), "invalid"),
    ("too large", lambda at: at.api().write("create", at.scope, Secret("A", "x" * 1_100_000)), "too_large"),
    ("rate limited", limited, "rate_limited"),
    ("server error", failing, "server_error"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "conclusion"), [row[1:] for row in SITUATIONS], ids=[row[0] for row in SITUATIONS])
def test_every_error_has_the_documented_conclusion(
    controlled: Controlled, act: Callable[[Controlled], Any], conclusion: str
) -> None:
    assert error_of(act, controlled).conclusion == conclusion


def test_secret_is_created_updated_and_deleted(controlled: Controlled) -> None:
    store = controlled.remote()
    assert [store.put(A).action, store.put(A).action] == ["create", None]
    # This server does not trim values.
    assert store.put(Secret("A", " x ")).action == "update"
    found = store.find("A")
    assert found is not None
    assert found.value == " x "
    assert [store.remove("A").action, store.remove("A").action] == ["delete", None]


def test_rate_limit_without_retry_after_waits_60_seconds(controlled: Controlled) -> None:
    error_of(limited, controlled)
    assert controlled.clock.waits == [60]


def test_server_without_batches_gets_one_request_per_secret(controlled: Controlled) -> None:
    store = controlled.remote(api_version="v4")
    plan = plan_of(store, wanted(50))
    controlled.server.clear_requests()
    assert len(done(store.apply(plan))) == 50
    # A batch, two batches of one secret, which show that the server treats `batch` as a name, and then the secrets.
    assert controlled.methods() == ["POST"] * 53
    controlled.server.clear_requests()
    assert len(done(push(store, {}, prune=True))) == 50
    assert controlled.methods() == ["GET", *["DELETE"] * 50]


def test_refused_secret_does_not_stop_other_secrets(controlled: Controlled) -> None:
    applied = push(controlled.remote(), {**wanted(4), "lower-case": VALUE})
    assert (applied.written, list(applied.failed), applied.left) == (tuple(wanted(4)), ["lower-case"], ())


def test_push_to_a_missing_folder_writes_nothing(controlled: Controlled) -> None:
    plan = build({}, {name: Secret(name, value) for name, value in wanted(4).items()})
    applied = controlled.remote(path="/new/one").apply(plan)
    assert applied.error is not None
    assert applied.error.conclusion == "scope_missing"
    assert applied.left == tuple(wanted(4))


def test_create_with_a_lost_response_is_completed(controlled: Controlled) -> None:
    store = controlled.remote(api_version="v4")
    plan = plan_of(store, wanted(4))
    controlled.server.arm("cut_before", after_handling=True, method="POST", path="NAME_0003")
    assert done(store.apply(plan)) == tuple(wanted(4))
    assert stored(controlled) == wanted(4)


def test_batch_only_name_does_not_stop_other_secrets(controlled: Controlled) -> None:
    applied = push(controlled.remote(), {**wanted(3), "A" * 101: VALUE, "batch": VALUE})
    assert (applied.written, set(applied.failed)) == (tuple(wanted(3)), {"A" * 101, "batch"})


@pytest.mark.parametrize("name", ["N" * 101, "N" * 500])
def test_name_that_cannot_be_part_of_a_path_is_refused(controlled: Controlled, name: str) -> None:
    error = error_of(controlled.remote().put, Secret(name, "one"))
    assert str(error).startswith("name: ")
    assert "need the server's batch routes" in str(error)
    assert error.status is not None


def test_tags_are_refused_if_the_server_does_not_support_them(controlled: Controlled) -> None:
    error = error_of(controlled.remote().put, A._replace(tags=("web",)))
    assert "tags" in str(error)
    assert controlled.stored("A") == []


def test_missing_folder_support_is_reported(controlled: Controlled) -> None:
    store = controlled.remote(path="/x")
    for action in (store.put_folder, store.remove_folder):
        error = error_of(action)
        assert error.conclusion == "route_missing"
        assert "no routes for folders" in str(error)


def test_missing_folder_is_an_error_if_folders_are_unsupported(controlled: Controlled) -> None:
    error = error_of(controlled.remote(path="/x", create_path=True).put, Secret("A", "one"))
    assert error.conclusion in ("scope_missing", "route_missing")
    assert "/x" in str(error)
