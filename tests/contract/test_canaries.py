# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Canaries: values, client secrets and tokens are never in messages, logs or the repr of an object."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any, Callable
from urllib.parse import quote

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import read_status
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.listing import merge
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import model, redact
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    InfisicalError,
    RequestInvalid,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    Secret,
    refuse_ambiguous,
)
from contract.targets import PROJECT, SEED, Controlled, error_of

CANARY = 'cAnAry/"qUiNcE"+\u00fc'
MULTI_LINE = "-----BEGIN CANARY-----\ncAnAry4711lineOne\ncAnAry4711lineTwo\n-----END CANARY-----\n"
SPELLINGS = {
    "plain": CANARY,
    "JSON": json.dumps(CANARY),
    "JSON twice": json.dumps(json.dumps(CANARY)),
    "percent": quote(CANARY, safe=""),
    "base64": base64.b64encode(CANARY.encode()).decode(),
}


def traces(*texts: object) -> list[str]:
    """Return the canaries that occur in the texts, in any encoding."""
    text = " ".join(map(str, texts)) + " ".join(map(repr, texts))
    parts = ("cAnAry", "qUiNcE", "4711line", base64.b64encode(CANARY.encode()).decode()[:10])
    return [part for part in parts if part in text]


def chain(error: BaseException | None) -> list[BaseException]:
    """Return everything that a traceback of the exception would print."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


FAULTS: dict[str, dict[str, Any]] = {
    **{str(code): {"kind": "status", "status": code} for code in (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)},
    "already exist": {"kind": "status", "status": 400, "message": "Secret already exist: "},
    "redirect": {"kind": "redirect"},
    "html": {"kind": "html"},
    "malformed": {"kind": "malformed"},
    "cut before": {"kind": "cut_before"},
    "cut after": {"kind": "cut_before", "after_handling": True},
    "cut in the middle": {"kind": "cut_middle"},
    "timed out": {"kind": "timeout", "seconds": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "spelling"),
    [
        (fault, spelling)
        for fault, fields in FAULTS.items()
        for spelling in (SPELLINGS if fields["kind"] == "status" else ["plain"])
    ],
)
@pytest.mark.kinds("2026-07")
def test_value_echoed_by_the_server_is_not_in_the_error(
    controlled: Controlled, fault: str, spelling: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    armed = dict(FAULTS[fault])
    if armed["kind"] == "status":
        armed["message"] = f"{armed.get('message', '')}the value {SPELLINGS[spelling]} is not welcome"
    controlled.put("OLD", "old")
    controlled.server.arm(**armed, method="POST", path="/secrets", times=5)
    controlled.server.arm(**armed, method="PATCH", path="/secrets", times=5)
    store = controlled.remote(timeout=0.3)
    texts: list[object] = [controlled.log, store.api.transport.settings]
    for key in ("NEW", "OLD"):
        try:
            texts.append(store.put(Secret(key, CANARY)))
        except InfisicalError as error:
            texts.extend(chain(error))
            texts.extend(error.args)
    assert traces(*texts, *controlled.log, caplog.text) == []
    assert any(isinstance(text, InfisicalError) for text in texts) or "cut" in fault


@pytest.mark.parametrize("value", [MULTI_LINE, "\ufeff" + CANARY + "\u00a0"], ids=["many lines", "trimmed"])
def test_echoed_part_of_a_value_is_not_in_the_error(controlled: Controlled, value: str) -> None:
    for said in [model.trim(value), *value.split("\n")[:-1]]:
        controlled.server.arm("status", status=422, message=f"bad: {said}", method="POST", path="/secrets")
        error = error_of(controlled.remote().put, Secret("A", value))
        assert redact.MASK in str(error)
        assert traces(error, *controlled.log) == []


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
def test_echoed_client_secret_is_not_in_the_error(controlled: Controlled, status: int) -> None:
    controlled.server.arm("status", status=status, message=f"no login with {CANARY}", path="/login", times=3)
    error = error_of(controlled.api(client_secret=CANARY).list_secrets, controlled.scope)
    assert traces(error, *chain(error), *controlled.log) == []
    assert "no login with" in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_echoed_token_is_not_in_the_error(controlled: Controlled, status: int) -> None:
    token = "cAnAry0815.token.text"
    seed = {**SEED, "tokens": [{"identity": "admin", "token": token}]}
    controlled.server.seed(seed)
    controlled.server.arm("status", status=status, message=f"what is {token}?", path="/secrets", times=3)
    api = controlled.api(auth_method="token", token=token)
    error = error_of(api.list_secrets, controlled.scope)
    assert traces(error, *chain(error), *controlled.log, api.transport.settings) == []
    assert "what is" in str(error)


def test_echoed_token_from_a_login_is_not_in_the_error(controlled: Controlled) -> None:
    api = controlled.api(api_version="v3" if controlled.kind == "2024" else "v4")
    token = api.tokens.current()
    controlled.server.arm("status", status=422, message=f"what is {token}?", path="/secrets")
    error = error_of(api.list_secrets, controlled.scope)
    assert token not in str(error)
    assert redact.MASK in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
def test_earlier_secret_in_a_later_response_is_not_in_the_error(controlled: Controlled, status: int) -> None:
    version = "v3" if controlled.kind == "2024" else "v4"
    controlled.server.seed(
        {**SEED, "identities": [{**SEED["identities"][0], "client_secret": CANARY, "permissions": {PROJECT: "admin"}}],
         "tokens": []}
    )  # fmt: skip
    store = controlled.remote(api_version=version, client_secret=CANARY)
    first = store.api.tokens.current()
    store.put(Secret("A", MULTI_LINE))
    controlled.server.revoke_tokens()
    store.put(Secret("B", CANARY + "second"))
    said = f"{CANARY}, {first}, {MULTI_LINE.splitlines()[1]}, {CANARY}second and {store.api.tokens.current()} are known"
    for path in ("/secrets", "/projects|/workspace", "/status"):
        controlled.server.arm("status", status=status, message=said, path=path, times=9)
        call = {"/secrets": store.listing, "/status": lambda: read_status(store.api.transport)}.get(path)
        error = error_of(call or (lambda: store.api.project(PROJECT)))
        assert traces(error, *chain(error), *controlled.log) == []
        for token in (first, store.api.tokens.current()):
            assert token not in str(error) + "".join(controlled.log)
        assert error.conclusion == "token_rejected" or "are known" in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
def test_token_echoed_by_a_revocation_is_not_in_the_error(controlled: Controlled, status: int) -> None:
    api = controlled.api()
    token = api.tokens.current()
    controlled.server.arm("status", status=status, message=f"what is {token}?", path="/revoke")
    api.close()
    assert controlled.log[-1].startswith("Could not revoke the access token")
    assert token not in "".join(controlled.log)
    assert redact.MASK in controlled.log[-1]


def test_proxy_password_is_not_in_the_error(controlled: Controlled) -> None:
    options = {"proxy": f"http://me:{quote(CANARY, safe='')}@{controlled.server.url[7:]}"}
    controlled.server.arm("status", status=422, message=f"me, {CANARY} and {quote(CANARY, safe='')}", times=3)
    error = error_of(read_status, controlled.api(**options).transport)
    assert traces(error, *chain(error)) == []
    assert "me, ***" in str(error)


def test_value_read_earlier_is_not_in_the_error(controlled: Controlled) -> None:
    controlled.put("A", CANARY)
    for read in (lambda store: store.listing(), lambda store: store.find("A")):
        store = controlled.remote()
        read(store)
        controlled.server.arm("status", status=422, message=f"cannot replace {CANARY}", method="PATCH")
        error = error_of(store.put, Secret("A", "another value"))
        assert traces(error, *chain(error), *controlled.log) == []
        assert f"cannot replace {redact.MASK}" in str(error)


def test_proxy_authorization_is_not_in_the_error(controlled: Controlled) -> None:
    options = {"proxy": f"http://me:{quote(CANARY, safe='')}@{controlled.server.url[7:]}"}
    sent = base64.b64encode(f"me:{CANARY}".encode()).decode()
    controlled.server.arm("status", status=422, message=f"refused: Basic {sent}", times=3)
    error = error_of(read_status, controlled.api(**options).transport)
    assert sent not in str(error)
    assert "refused: Basic ***" in str(error)


@pytest.mark.parametrize("value", ["n", "Denied", "allowed", " a\n"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
@pytest.mark.kinds("2026-07")
def test_error_quotes_no_server_text_if_the_value_is_short(controlled: Controlled, status: int, value: str) -> None:
    controlled.server.arm("status", status=status, message="PermissionDenied: not allowed", path="/secrets/", times=9)
    store = controlled.remote(api_version="v4")
    error = error_of(store.api.write, "create", controlled.scope, Secret("A", value))
    assert f"responded with HTTP {status}. " in str(error)
    assert redact.MASK not in str(error)
    assert "allowed" not in str(error)
    assert len(str(error)) > 150  # the hint is present anyway
    later = error_of(store.api.write, "delete", controlled.scope, Secret("A"))
    assert "allowed" not in str(later)


SITUATIONS: dict[str, Callable[[Controlled], Any]] = {
    "wrong client secret": lambda one: one.remote(client_secret=CANARY).put(Secret("A", CANARY)),
    "forbidden": lambda one: one.remote("nobody").put(Secret("A", CANARY)),
    "no environment": lambda one: one.remote(environment="none").put(Secret("A", CANARY)),
    "no folder": lambda one: one.remote(path="/none").put(Secret("A", CANARY)),
    "no project": lambda one: one.remote(project="none").put(Secret("A", CANARY)),
    "too large": lambda one: one.remote().put(Secret("A", CANARY * 100_000)),
    "no tag": lambda one: one.remote().put(Secret("A", CANARY, tags=("none",))),
    "no text": lambda one: model.check_value(CANARY + "\udc80"),
    "no string": lambda one: model.check_value([CANARY]),
    "no text sent all the same": lambda one: one.api().write("create", one.scope, Secret("A", CANARY + "\udc80")),
    "server down": lambda one: one.remote(url="http://127.0.0.1:1").put(Secret("A", CANARY)),
    "given token refused": lambda one: one.remote(auth_method="token", token=CANARY[:-1]).put(Secret("A", CANARY)),
}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_errors_in_all_situations_contain_no_canary(
    controlled: Controlled, situation: Callable[[Controlled], Any]
) -> None:
    error = error_of(situation, controlled)
    assert traces(*chain(error), *error.args, vars(error), *controlled.log) == []


def test_repr_of_every_object_omits_the_value(controlled: Controlled) -> None:
    store = controlled.remote()
    created = store.put(Secret("A", CANARY))
    updated = store.put(Secret("A", CANARY + "x"))
    listing, found = store.listing(), store.find("A")
    assert found is not None
    assert found.value == CANARY + "x"
    texts = [created, updated, listing, found, store.location, store.api.transport.settings, created.after]
    token = store.api.tokens.current()
    assert traces(*texts) == []
    assert token not in repr(texts)
    assert "admin-secret" not in repr(texts)
    assert "'A'" in repr(found)


def test_leak_search_finds_a_canary() -> None:
    assert traces(Secret(CANARY)) != []
    assert traces(RequestInvalid(f"bad: {CANARY}")) != []
    for spelling in SPELLINGS.values():
        assert traces(spelling) != [], spelling


def test_ambiguous_name_error_omits_the_values(controlled: Controlled) -> None:
    controlled.put("A", CANARY, "/app")
    controlled.put("A", CANARY + "x", "/app/db")
    listing = controlled.remote().listing(recursive=True)
    assert traces(error_of(refuse_ambiguous, merge(listing).ambiguous, ["A"]), listing) == []
