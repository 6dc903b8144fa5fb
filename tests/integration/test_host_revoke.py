# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook revoke_host: a leaked host loses its access at once, and the exposed secrets are listed."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils import infisical
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import connect
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import IdentityApi
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import TokenRejected
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import documents, rows
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    AgentVault,
    Graph,
    Hold,
    JobScope,
    KnownProject,
    KnownSecret,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import (
    Grant,
    to_permissions,
)
from dev_server.client import DevServer
from integration.controller import Controller, Run
from integration.leaks import Canary, leaks, places
from integration.shop import PROJECT, login_of

PLAYBOOK = Path(str(infisical.__file__)).parents[3] / "playbooks" / "revoke_host.yml"
VALUE = Canary("CanaryHost5f20ab")
TIME = "2026-01-15T10:00:00Z"
HOSTS = [f"web{number}" for number in range(1, 11)]
NOWHERE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
"""The variables of a host that does not respond."""
HELD = {"web1": ("DB_PASSWORD", "DB_USER"), "web2": ("DB_PASSWORD",), "web3": ("DB_USER",), "shared1": ("DB_USER",)}
SECONDS_UNTIL_REFUSED = 1.0


@dataclass
class HostToken:
    """The access token of a host, with which its agent lists its folder."""

    settings: Settings
    results: list[tuple[float, float, bool]] = field(default_factory=list)

    def reads(self) -> bool:
        api = connect(self.settings)
        try:
            return bool(api.list_secrets(Location(PROJECT, "dev", "/app"), view_values=False).secrets)
        except TokenRejected:
            return False
        finally:
            api.transport.close()

    def read_until(self, stop: threading.Event) -> None:
        """List the folder again and again, and record the start, end and result of each listing."""
        while not stop.is_set():
            start = time.monotonic()
            self.results.append((start, time.monotonic(), self.reads()))
            self.results[-1] = (start, time.monotonic(), self.results[-1][2])


@dataclass
class Fleet:
    """Ten hosts with an identity each and their living tokens, a host with a shared identity, and the graph of all."""

    tokens: dict[str, HostToken]
    secrets: tuple[Canary, ...]
    graph: Graph


@pytest.fixture
def hosts(server: DevServer, ansible: Controller) -> Iterator[Fleet]:
    for name in ("DB_USER", "DB_PASSWORD", "UNUSED"):
        server.put_secret(PROJECT, "dev", "/app", name, f"{name} {VALUE}")
    login = {name.removeprefix("infisical_"): value for name, value in login_of("admin").items()}
    api = connect(Settings(url=server.url, **login))
    admin = IdentityApi(api)
    tokens, texts = {}, []
    for host in HOSTS:
        made = admin.create(PROJECT, f"host:{host}", {"managed_by": "keyfleet.infisical/host", "host": host}.items())
        admin.create_privilege(PROJECT, made.id, "keyfleet", to_permissions([Grant("dev", "/app")]))
        client_id = admin.attach_method(made.id, "universal_auth", {}).client_id
        secret = admin.create_client_secret(made.id, "of the agent").secret
        agent = connect(Settings(url=server.url, client_id=client_id, client_secret=secret))
        token = agent.tokens.current()
        agent.transport.close()
        texts += [Canary(re.sub("[^0-9A-Za-z].*", "", secret))]
        tokens[host] = HostToken(Settings(url=server.url, auth_method="token", token=token))
        assert tokens[host].reads()
    api.transport.close()
    graph = make_graph(server.url)
    (ansible.folder / "fleet").mkdir()
    (ansible.folder / "fleet/graph.json").write_text(json.dumps(documents.render_graph(graph)), "utf-8")
    yield Fleet(tokens, (VALUE, *texts), graph)


def make_graph(url: str) -> Graph:
    folder = Location(PROJECT, "dev", "/app")
    secrets = {fleet.secret_id(folder, name): KnownSecret(folder, name, 1, TIME) for name in ("DB_PASSWORD", "DB_USER")}
    scope = JobScope((PROJECT,), "dev", "/app")
    vaults = [
        AgentVault(
            host, "shop", url, scope, 15, TIME, answered_at=TIME,
            holds=tuple(Hold(fleet.secret_id(folder, name), 1, TIME) for name in names),
        )
        for host, names in HELD.items()
    ]  # fmt: skip
    return Graph(TIME, {PROJECT: KnownProject(PROJECT, "Shop", "shop", url)}, secrets, {one.id: one for one in vaults})


def revoke(ansible: Controller, *arguments: str, watch: bool = False, **extra: Any) -> Run:
    return ansible.run(
        "ansible-playbook", [str(PLAYBOOK), *arguments], hosts=dict.fromkeys([*HOSTS, "shared1"], NOWHERE), watch=watch,
        extra={"revoke_hosts": "web1", "fleet_report_folder": str(ansible.folder / "fleet"), **extra},
        environment={"ANSIBLE_LOG_PATH": str(ansible.folder / "ansible.log")} if watch else None,
    )  # fmt: skip


REVOKE = "Revoke the identities of the hosts"
SHOW = "Show what was revoked, and the exposed secrets"


@pytest.mark.core
def test_token_of_a_revoked_host_is_refused_within_a_second(
    ansible: Controller, hosts: Fleet, server: DevServer
) -> None:
    stop, token = threading.Event(), hosts.tokens["web1"]
    reader = threading.Thread(target=token.read_until, args=(stop,))
    server.clear_requests()
    reader.start()
    try:
        run = revoke(ansible).succeeded()
    finally:
        stop.set()
        reader.join()
    log = server.requests("/(secrets|revoke)$")
    at = next(
        number for number, entry in enumerate(log) if entry["path"].endswith("/revoke") and "client" in entry["path"]
    )
    before = sum(entry["identity"] == "host:web1" or entry["status"] == 401 for entry in log[:at])
    allowed = [reads for _start, _end, reads in token.results]
    assert 0 < before < len(allowed)
    # Requests before the revocation succeed. A request that is being answered meanwhile can have either result.
    assert all(allowed[: before - 1])
    assert not any(allowed[before + 1 :])
    refused_at = token.results[before + 1][1]
    assert refused_at - token.results[before - 1][0] < SECONDS_UNTIL_REFUSED
    assert {host: one.reads() for host, one in hosts.tokens.items()} == {host: host != "web1" for host in HOSTS}
    assert run.changed == 1


def test_printed_list_equals_the_graph(ansible: Controller, hosts: Fleet) -> None:
    run = revoke(ansible, watch=True, rotate=True).succeeded()
    result = run.result(REVOKE)
    expected = rows.ask(hosts.graph, time.time(), question="exposed", host="web1")
    held = [{key: row[key] for key in expected[0]} for row in result["exposed"] if row["held"]]
    for row in (*held, *expected):
        del row["state"], row["current_version"], row["behind_seconds"]  # Infisical was listed again
    assert held == expected
    assert [(row["name"], row["held"], row["readable"]) for row in result["exposed"]] == [
        ("DB_PASSWORD", True, True), ("DB_USER", True, True), ("UNUSED", False, True),
    ]  # fmt: skip
    assert {row["name"]: row["hosts"] for row in result["rotate"]} == {
        "DB_PASSWORD": ["web2"], "DB_USER": ["shared1", "web3"], "UNUSED": [],
    }  # fmt: skip
    assert run.result("Show what was revoked, and the exposed secrets")["msg"][1:] == [
        f"The vaults of the hosts as of {TIME}",
        "web1: DB_PASSWORD (Shop dev /app): in the vault, also on web2",
        "web1: DB_USER (Shop dev /app): in the vault, also on shared1, web3",
        "web1: UNUSED (Shop dev /app): readable, not in the vault",
    ]
    assert run.result("Show the secrets to rotate")["msg"][1:] == [
        f"{PROJECT}/dev/app/DB_PASSWORD: then sync web2",
        f"{PROJECT}/dev/app/DB_USER: then sync shared1, web3",
        f"{PROJECT}/dev/app/UNUSED",
    ]
    assert leaks(hosts.secrets, places(ansible, run)) == {}


def test_check_mode_shows_the_same_and_revokes_nothing(ansible: Controller, hosts: Fleet) -> None:
    planned = revoke(ansible, "--check", revoke_hosts=["web1", "web2"]).succeeded()
    assert planned.changed == 1
    assert all(one.reads() for one in hosts.tokens.values())
    done = revoke(ansible, revoke_hosts="web1, web2").succeeded()
    for key in ("hosts", "exposed", "rotate"):
        one, other = ([{**row, "behind_seconds": 0} for row in run.result(REVOKE)[key]] for run in (done, planned))
        assert one == other
    assert "would be" in planned.result(REVOKE)["msg"]
    assert [one.reads() for one in hosts.tokens.values()] == [False] * 2 + [True] * 8
    # Nothing is left to revoke. The graph does not know that web1 has had an identity, because it is older.
    again = revoke(ansible)
    problem = again.failure(REVOKE)["problem"]
    assert problem.startswith("Nothing was changed. web1 has no separate identity. Its identity may have been revoked")
    assert again.failure(REVOKE)["changed"] is False


def test_host_with_a_shared_identity_does_not_keep_the_others(ansible: Controller, hosts: Fleet) -> None:
    run = revoke(ansible, revoke_hosts="web1,shared1")
    failure = run.failure(REVOKE)
    assert (failure["conclusion"], failure["changed"]) == ("identity_missing", True)
    assert failure["problem"].startswith("web1: 1 client secret revoked, identity host:web1 (")
    assert "deleted. shared1 has no separate identity. Its identity may have been revoked before" in failure["problem"]
    assert failure["hint"].startswith("Check first whether it was revoked before")
    assert [(row["host"], row["name"]) for row in failure["exposed"] if row["host"] == "shared1"] == [
        ("shared1", "DB_USER")
    ]
    assert [one.reads() for one in hosts.tokens.values()] == [False] + [True] * 9
    assert len(run.result(SHOW)["msg"]) == 2 + len(failure["exposed"]) == 6


def test_partial_failure_keeps_the_list_of_the_revoked_hosts(
    ansible: Controller, hosts: Fleet, server: DevServer
) -> None:
    server.arm("status", status=403, error="PermissionDenied", method="DELETE", path="/identities/", times=9)
    run = revoke(ansible, revoke_hosts="web1,web2,web3")
    failure = run.failure(REVOKE)
    assert failure["problem"].startswith("web1: 1 client secret revoked. Could not delete the identity")
    assert failure["hint"].endswith("Then run this again for web1, web2, web3.")
    assert [row["name"] for row in failure["exposed"]] == ["DB_PASSWORD", "DB_USER", "UNUSED"]
    assert len(run.result(SHOW)["msg"]) == 2 + 3
    server.disarm()
    # web1 has an identity without client secrets, and shared1 has no identity.
    again = revoke(ansible, revoke_hosts="web1,web2,web3,shared1").failure(REVOKE)
    assert [one["host"] for one in again["hosts"]] == ["web1", "web2", "web3"]


def test_unlisted_secrets_fail_the_task_after_the_revocation(
    ansible: Controller, hosts: Fleet, server: DevServer
) -> None:
    server.arm("status", status=403, error="PermissionDenied", method="GET", path="/secrets", times=9)
    run = revoke(ansible)
    failure = run.failure(REVOKE)
    assert (failure["conclusion"], failure["changed"]) == ("partial", True)
    assert f"The host could read: web1: read dev:/app in project {PROJECT}." in failure["problem"]
    assert [row["name"] for row in failure["exposed"]] == ["DB_PASSWORD", "DB_USER"]
    assert "Secrets to rotate" not in run.text
    server.disarm()
    assert not hosts.tokens["web1"].reads()


def test_broken_graph_does_not_stop_the_revocation(ansible: Controller, hosts: Fleet) -> None:
    (ansible.folder / "fleet/graph.json").write_text('{"broken', "utf-8")
    run = revoke(ansible).succeeded()
    assert not hosts.tokens["web1"].reads()
    assert "graph.json' must be valid JSON" in run.result(REVOKE)["problems"][0]
    assert run.result(SHOW)["msg"][2].endswith(f"DB_PASSWORD ({PROJECT} dev /app): readable")


def test_other_label_is_named(ansible: Controller, hosts: Fleet) -> None:
    failure = revoke(ansible, scheduled_sync_identity_inventory="west").failure(REVOKE)
    assert "web1 has an identity of another inventory: host:web1 (" in failure["problem"]
    assert failure["hint"] == "Set identity_inventory to the label of its inventory."
    assert all(one.reads() for one in hosts.tokens.values())


@pytest.mark.parametrize(
    ("arguments", "task", "said"),
    [
        (["revoke_hosts=web1, web2"], "Check the names of the hosts", "-e revoke_hosts=web1,web2"),
        (["revoke_hosts=web1 web2"], "Check the names of the hosts", "-e revoke_hosts=web1,web2"),
        ([], "Check the names of the hosts", "-e revoke_hosts=web1,web2"),
        (["revoke_hosts=web1,"], REVOKE, "hosts: must not contain an empty name (got 'web1,')."),
    ],
)
def test_names_on_the_command_line(
    ansible: Controller, hosts: Fleet, arguments: list[str], task: str, said: str
) -> None:
    options = [part for one in arguments for part in ("-e", one)]
    run = ansible.run("ansible-playbook", [str(PLAYBOOK), *options], hosts=dict.fromkeys(HOSTS, NOWHERE))
    assert said in run.failure(task)["msg"]
    assert all(one.reads() for one in hosts.tokens.values())


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"revoke_hosts": "web99"}, "(got 'web99'). Write the names as in the inventory, without patterns"),
        ({"revoke_hosts": "web*"}, "(got 'web*')"),
        ({"revoke_hosts": ""}, "hosts: must contain at least one host (got none)."),
        ({"revoke_hosts": 7}, "hosts"),
        ({"infisical_client_id": "viewer-id", "infisical_client_secret": "viewer-client-secret"}, "the role 'admin'"),
        ({"revoke_project_ids": ["no-such-project"]}, "no-such-project"),
    ],
)
def test_wrong_use_changes_nothing(ansible: Controller, hosts: Fleet, extra: dict[str, Any], said: str) -> None:
    run = revoke(ansible, **extra)
    assert said in run.failure(REVOKE)["msg"]
    assert all(one.reads() for one in hosts.tokens.values())


@pytest.mark.parametrize("profile", ["2024"])
def test_old_server_is_refused(ansible: Controller, server: DevServer, profile: str) -> None:
    failure = revoke(ansible).failure(REVOKE)
    assert failure["conclusion"] == "route_missing"
    assert "cannot manage the identities of a project" in failure["msg"]


def test_host_without_a_fleet_report_exposes_what_it_could_read(ansible: Controller, hosts: Fleet) -> None:
    (ansible.folder / "fleet/graph.json").unlink()
    run = revoke(ansible).succeeded()
    assert [row["name"] for row in run.result(REVOKE)["exposed"]] == ["DB_PASSWORD", "DB_USER", "UNUSED"]
    assert (
        "so the content of the hosts' vaults is unknown"
        in run.result("Show what was revoked, and the exposed secrets")["msg"][1]
    )
    assert all(line.endswith(": readable") for line in run.result(SHOW)["msg"][2:])
