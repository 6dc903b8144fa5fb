# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module that checks a host before the agent is installed, and the connection only if that is possible."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ansible")

from ansible_collections.keyfleet.infisical.plugins.action.infisical_agent_preflight import ActionModule
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.host import Host, HostFacts
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.preflight import check_route
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import Unreachable, WrongUse
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.held import HeldIdentity
from ansible_collections.keyfleet.infisical.plugins.modules import infisical_agent_preflight as preflight

GOOD = HostFacts(252, "a" * 32)


def check(
    monkeypatch: pytest.MonkeyPatch, *, facts: HostFacts = GOOD, missing: list[str] | None = None, reach: bool = True,
    **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """Run the module on a host with these facts, with a server that refuses connections."""
    monkeypatch.setattr(HostFacts, "read", classmethod(lambda cls: facts))
    monkeypatch.setattr(preflight, "inspect_python", lambda path: ((3, 11), missing or []))
    params = {"url": "http://127.0.0.1:9", "allow_http": True, "client_id": "id", "client_secret": "canary-secret",
              "connection_wait": 0, "require_reachable": reach, **options}  # fmt: skip
    return preflight.work(SimpleNamespace(params=params, warn=lambda text: None, debug=lambda text: None,
                                          check_mode=False))  # fmt: skip


def test_host_that_cannot_reach_infisical_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreachable, match="connection was refused") as caught:
        check(monkeypatch)
    assert "canary" not in str(caught.value.as_failure())


@pytest.mark.parametrize("options", [{"missing": ["requests"]}, {"reach": False}])
def test_connection_is_checked_only_if_possible_and_required(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    found = check(monkeypatch, **options)
    assert (found["changed"], found["machine_id"], found["systemd_version"]) == (False, "a" * 32, 252)
    assert found["missing_libraries"] == options.get("missing", [])


def test_unsuitable_host_is_refused_before_any_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WrongUse, match="requires systemd 249"):
        check(monkeypatch, facts=HostFacts(248, "a" * 32))


@pytest.mark.parametrize(("given", "connects"), [({}, True), ({"require_reachable": "no"}, False)])
def test_credentials_are_sent_only_for_the_connection_check(given: dict[str, Any], connects: bool) -> None:
    plugin = ActionModule.__new__(ActionModule)
    assert plugin.connects(given) == connects


def test_host_with_its_own_identity_sends_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        check(monkeypatch, url=url, identity="per_host")
        connection, _address = server.accept()
        with connection:
            assert connection.recv(1) == b""


@pytest.mark.parametrize(("identity", "rotates"), [("per_host", True), ("shared", False)])
def test_key_is_replaced_only_for_an_identity_of_the_host(
    monkeypatch: pytest.MonkeyPatch, identity: str, rotates: bool
) -> None:
    asked: list[bool] = []

    def ensure_key(host: Host, _machine: str, **options: Any) -> bytes:
        asked.append(options["rotates"])
        if options["rotates"]:
            host.note("the host's key pair is replaced")
        return b"PEM"

    monkeypatch.setattr(preflight.own_key, "ensure_key", ensure_key)
    monkeypatch.setattr(preflight, "public_key_of", lambda key: key.decode())
    monkeypatch.setattr(preflight, "read_usable", lambda: HeldIdentity("id-1", auth_method="jwt_auth"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    login = {"identity": identity, "host_auth_method": "jwt_auth", "credentials": "file", "credential_key": "host"}
    found = check(monkeypatch, reach=False, rotate_key=True, **login)
    assert asked == [rotates]
    # No identity trusts the new key yet.
    assert (found["identity"]["identity_id"], found["identity"]["public_key"]) == ("" if rotates else "id-1", "PEM")


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"url": "http://127.0.0.1:9"}, "127.0.0.1:9"),
        ({"url": "https://infisical.example.com", "proxy": "http://user:canary@127.0.0.1:9"}, "127.0.0.1:9"),
        ({"url": "https://infisical.example.com", "proxy": "127.0.0.1:9"}, "127.0.0.1:9"),
    ],
)
def test_unreachable_server_or_proxy_is_named(options: dict[str, Any], place: str) -> None:
    with pytest.raises(Unreachable, match=f"Could not connect to {place}: Connection refused") as caught:
        check_route(options)
    assert "canary" not in str(caught.value.as_failure())
