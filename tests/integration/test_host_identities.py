# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that give each host its own identity. The hosts are simulated; Molecule's scenario `identities` boots hosts."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import connect
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import IdentityApi
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.transport import Call
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.answers import Operation
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Settings
from dev_server.client import DevServer
from integration.controller import Controller, Run

TESTS = Path(__file__).resolve().parents[1]
SECRET = "CanaryOfTheControllersClientSecret"
DAY = 86_400
INTERRUPTIONS = 20
SEED: dict[str, Any] = {
    "projects": [
        {
            "id": "p",
            "name": "P",
            "slug": "p",
            "environments": [{"slug": "prod", "name": "Prod"}],
            "folders": [
                {"environment": "prod", "path": f"/{name}"} for name in ("web1", "web2", "web3", "common", "app/x")
            ],
            "secrets": [
                {"environment": "prod", "path": "/web1", "key": "ONE", "value": "1"},
                {"environment": "prod", "path": "/web2", "key": "TWO", "value": "2"},
                {"environment": "prod", "path": "/common", "key": "COMMON", "value": "3"},
            ],
        },
        {"id": "q", "name": "Q", "slug": "q", "environments": [{"slug": "prod", "name": "Prod"}]},
    ],
    "identities": [
        {"name": "fleet", "client_id": "fleet", "client_secret": SECRET, "permissions": {"p": "admin", "q": "admin"}},
        {"name": "reader", "client_id": "reader", "client_secret": SECRET, "permissions": {"p": "viewer"}},
    ],
}
WITH_IMPORTS = json.loads(json.dumps(SEED))
WITH_IMPORTS["projects"][0]["imports"] = [
    {"environment": "prod", "path": "/web1", "from_environment": "prod", "from_path": "/common"},
    {"environment": "prod", "path": "/common", "from_environment": "prod", "from_path": "/web2"},
    {"environment": "prod", "path": "/app/x", "from_environment": "prod", "from_path": "/web2"},
]
HOSTS = ("web1", "web2", "web3")
TASKS = """
- name: preflight
  infisical_agent_preflight:
    identity: per_host
  register: checked
  check_mode: false
- name: agent
  infisical_agent:
    identity: per_host
    held_identity: "{{ checked.identity }}"
    identity_inventory: "{{ label | default(omit) }}"
    client_secret_ttl: "{{ ttl | default(90) }}"
    jobs: "{{ jobs }}"
    sync: true
"""
PRUNE = f"""
- include_tasks: {TESTS.parent}/roles/scheduled_sync/tasks/prune.yml
"""
ABSENT = """
- name: agent
  infisical_agent:
    identity: per_host
    state: absent
"""
INSTALL_AND_PRUNE = """
- name: agent
  infisical_agent:
    identity: per_host
    held_identity: {}
    identity_inventory: east
    jobs: [{name: own}]
    sync: true
  register: scheduled_sync_agent
- name: end
  ansible.builtin.fail:
  when: ends is defined
- name: prune
  ansible.builtin.include_role:
    name: keyfleet.infisical.scheduled_sync
    tasks_from: prune
  vars:
    scheduled_sync_identity_inventory: east
    scheduled_sync_identity_max_delete_percent: 100
"""
"""The steps of the role that concern the identities of former hosts."""


class Fleet:
    """Simulated hosts, and the runs of the controller."""

    def __init__(self, ansible: Controller, server: DevServer, folder: Path) -> None:
        self.ansible, self.server, self.folder = ansible, server, folder
        folder.mkdir()

    def run(self, hosts: Iterable[str] | Mapping[str, Mapping[str, Any]] = HOSTS, tasks: str = TASKS,
            arguments: tuple[str, ...] = (), during: Callable[[subprocess.Popen[bytes]], None] | None = None,
            serial: int = 0, **variables: Any) -> Run:  # fmt: skip
        self.server.clear_requests()
        usual = {
            "infisical_url": self.server.url, "infisical_client_id": "fleet", "infisical_client_secret": SECRET,
            "infisical_project_id": "p", "infisical_environment": "prod", "ansible_connection": "local",
            "infisical_connection_wait": 0, "infisical_server_error_wait": 0,
            "jobs": [{"name": "own", "secret_path": "/{{ inventory_hostname }}"}],
        }  # fmt: skip
        play = f"- hosts: all\n  gather_facts: false\n  serial: {serial}\n  tasks:\n"
        return self.ansible.play(
            play + textwrap.indent(tasks, "    "),
            hosts=hosts if isinstance(hosts, Mapping) else list(hosts),
            variables={**usual, **variables},
            arguments=arguments,
            during=during,
            environment={
                "ANSIBLE_ACTION_PLUGINS": str(TESTS / "bench/simulated_agent"),
                "KEYFLEET_SIMULATED_HOSTS": str(self.folder),
                "KEYFLEET_CONTROLLERS_SECRET": SECRET,
                "ANSIBLE_FORKS": "10",
            },
        )

    def identities(self) -> dict[str, Any]:
        """Return the ids of the hosts' identities by name."""
        found = [one for one in self.server.state()["identities"] if one["project"]]
        assert len({one["name"] for one in found}) == len(found)
        return {one["name"]: one["id"] for one in found}

    def asked(self) -> list[tuple[str, str]]:
        return [(one["method"], one["path"]) for one in self.server.requests()]

    def sync(self) -> int:
        """Let each host log in and read a folder, and return the number of hosts. Raises InfisicalError."""
        paths = list(self.folder.glob("*.json"))
        for path in paths:
            state = json.loads(path.read_text("utf-8"))
            own = {"client_id": state["note"]["client_id"], "client_secret": state["secret"]}
            with contextlib.closing(connect(Settings(url=self.server.url, **own))) as api:
                api.list_secrets(Location("p", "prod", "/common"))
        return len(paths)

    @contextlib.contextmanager
    def admin(self) -> Iterator[IdentityApi]:
        with contextlib.closing(connect(Settings(url=self.server.url, client_id="fleet", client_secret=SECRET))) as api:
            yield IdentityApi(api)

    def count_valid_secrets(self) -> dict[str, int]:
        """Return the number of valid client secrets of each host's identity."""
        with self.admin() as admin:
            found = {name: admin.client_secrets(id_) for name, id_ in self.identities().items()}
        return {name: sum(one.seconds_left(time.time()) > 0 for one in secrets) for name, secrets in found.items()}

    def count_unfinished(self) -> int:
        """Return the number of identities whose rotation has begun and has not ended."""
        with self.admin() as admin:
            return sum("rotation" in dict(one.metadata) for one in admin.identities("p"))

    def add_import(self, path: str, imported: str) -> None:
        """Let a folder import another one."""
        place = {"projectId": "p", "environment": "prod", "path": path}
        body = {**place, "import": {"environment": "prod", "path": imported}}
        with contextlib.closing(connect(Settings(url=self.server.url, client_id="fleet", client_secret=SECRET))) as api:
            api.transport.send(Call("POST", "/api/v2/secret-imports", Operation.OTHER, "import a folder", {}, body))

    def change_notes(self, **fields: Any) -> None:
        """Change the notes of all hosts."""
        for path in self.folder.glob("*.json"):
            state = json.loads(path.read_text("utf-8"))
            state["note"].update(fields)
            path.write_text(json.dumps(state), "utf-8")


@pytest.fixture
def fleet(ansible: Controller, server: DevServer, tmp_path: Path) -> Fleet:
    server.seed(SEED)
    return Fleet(ansible, server, tmp_path / "simulated")


def test_each_host_sees_its_own_folder(fleet: Fleet) -> None:
    run = fleet.run().succeeded()
    found = {host: run.result("agent", host)["reports"]["own"]["secrets"] for host in HOSTS}
    assert found == {"web1": ["ONE"], "web2": ["TWO"], "web3": []}
    assert sorted(fleet.identities()) == ["host:web1", "host:web2", "host:web3"]
    assert run.result("agent", "web1")["changes"][0] == "the identity host:web1 is created"
    # For the run: a login, lists of identities, folders and imported folders, and the revocation of its token. The rest
    # is for each host.
    assert len(fleet.asked()) <= 5 + 7 * 3


def test_unchanged_hosts_change_nothing(fleet: Fleet) -> None:
    fleet.run().succeeded()
    run = fleet.run().succeeded()
    assert run.changed == 0
    assert {method for method, path in fleet.asked() if "/auth/" not in path} == {"GET"}
    assert len(fleet.asked()) <= 5


def test_check_mode_changes_nothing(fleet: Fleet) -> None:
    run = fleet.run(arguments=("--check", "--diff")).succeeded()
    assert fleet.identities() == {}
    assert run.result("agent", "web1")["changed"]
    assert run.result("agent", "web1")["diff"][0]["after"] == "read prod:/web1\n"
    fleet.run().succeeded()
    assert fleet.run(arguments=("--check",)).succeeded().changed == 0
    run = fleet.run(arguments=("--check", "--diff"), jobs=[{"name": "own", "secret_path": "/common"}]).succeeded()
    shown = run.result("agent", "web1")["diff"][0]
    assert (shown["before"], shown["after"]) == ("read prod:/web1\n", "read prod:/common\n")
    assert {method for method, path in fleet.asked() if "/auth/" not in path} == {"GET"}


def test_client_secret_is_rotated_late(fleet: Fleet) -> None:
    fleet.run().succeeded()
    before = fleet.identities()
    assert fleet.run(ttl=89).succeeded().changed == 0
    fleet.change_notes(expires_at=int(time.time()) + 29 * DAY)
    run = fleet.run().succeeded()
    assert [run.result("agent", host)["changed"] for host in HOSTS] == [True] * 3
    assert "client secret of host:web1 is replaced" in run.result("agent", "web1")["msg"]
    assert fleet.identities() == before
    revoked = [path for _method, path in fleet.asked() if path.endswith("/revoke") and "client-secrets" in path]
    assert len(revoked) == 3
    assert fleet.run().succeeded().changed == 0


def test_unreachable_host_gets_its_identity_later(fleet: Fleet) -> None:
    run = fleet.run({"web1": {"simulated_unreachable": True}, "web2": {}})
    assert run.recap["web1"]["unreachable"] == 1
    assert run.recap["web2"]["changed"] == 1
    run = fleet.run(["web1", "web2"]).succeeded()
    assert (run.recap["web1"]["changed"], run.recap["web2"]["changed"]) == (1, 0)
    assert fleet.run(["web1", "web2"]).succeeded().changed == 0


class Interruption:
    """Kills the play or the server at a random moment of a rotation. `seconds` is the duration of a rotation."""

    def __init__(self, fleet: Fleet, chance: random.Random) -> None:
        self.fleet, self.chance = fleet, chance
        self.seconds = 0.0
        self.kills_server = False

    def wait_for_rotation(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None and not any(
            method in ("PATCH", "POST") and "/identities/" in path for method, path in self.fleet.asked()
        ):
            time.sleep(0.02)

    def measure(self, process: subprocess.Popen[bytes]) -> None:
        self.wait_for_rotation(process)
        started, number = time.monotonic(), 0
        while process.poll() is None:
            asked = [path for _method, path in self.fleet.asked() if "/identities/" in path]
            if len(asked) > number:
                self.seconds, number = time.monotonic() - started, len(asked)
            time.sleep(0.02)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        self.wait_for_rotation(process)
        time.sleep(self.chance.uniform(0, self.seconds))
        if self.kills_server:
            self.fleet.server.kill()
        else:
            kill_with_children(process)


def kill_with_children(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all its descendants. Workers of Ansible can have a process group of their own."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGSTOP)  # so that it starts no further process
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text("utf-8").rpartition(")")[2].split()[1])
    doomed = [process.pid]
    for pid in doomed:
        doomed += [child for child, parent in parents.items() if parent == pid]
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_interrupted_rotations_leave_working_hosts(ansible: Controller, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed of the moments: {seed}")
    hosts = {f"host{number}": {} for number in range(10)}
    jobs = [{"name": "own", "secret_path": "/common"}]
    with DevServer(seed=SEED, killable=True) as server:
        fleet = Fleet(ansible, server, tmp_path / "simulated")
        interruption = Interruption(fleet, random.Random(seed))
        fleet.run(hosts, jobs=jobs).succeeded()
        fleet.change_notes(expires_at=0)
        fleet.run(hosts, jobs=jobs, during=interruption.measure).succeeded()
        print(f"a rotation takes {interruption.seconds:.2f} seconds")
        hits = {"play": 0, "server": 0}
        for _attempt in range(2 * INTERRUPTIONS):
            victim = min(hits, key=hits.__getitem__)
            interruption.kills_server = victim == "server"
            fleet.change_notes(expires_at=0)
            fleet.run(hosts, jobs=jobs, during=interruption.kill)
            if interruption.kills_server:
                server.start()
            # A kill that came too late has interrupted nothing, and does not count.
            hits[victim] += fleet.count_unfinished() > 0
            assert fleet.sync() == len(hosts), f"seed {seed}, {hits}"
            if sum(hits.values()) == INTERRUPTIONS:
                break
        assert sum(hits.values()) == INTERRUPTIONS, f"seed {seed}, {hits}"
        fleet.run(hosts, jobs=jobs).succeeded()
        assert fleet.sync() == len(hosts)
        assert list(fleet.count_valid_secrets().values()) == [1] * len(hosts), f"seed {seed}"
        assert fleet.run(hosts, jobs=jobs).succeeded().changed == 0


def test_failed_sync_does_not_revoke(fleet: Fleet) -> None:
    fleet.run(["web1"]).succeeded()
    fleet.change_notes(expires_at=0)
    fleet.run({"web1": {"simulated_sync_failure": True}})
    assert not [path for _method, path in fleet.asked() if path.endswith("/revoke") and "client-secrets" in path]
    run = fleet.run(["web1"]).succeeded()
    assert "an earlier run was interrupted" in run.result("agent")["msg"]


def test_absent_host_loses_its_identity(fleet: Fleet) -> None:
    fleet.run().succeeded()
    fleet.run(["web2"], ABSENT, arguments=("--check",)).succeeded()
    assert len(fleet.identities()) == 3
    run = fleet.run(["web2"], ABSENT).succeeded()
    assert "the identity host:web2" in run.result("agent")["changes"][0]
    assert sorted(fleet.identities()) == ["host:web1", "host:web3"]


def test_absent_keeps_the_identity_of_another_machine(fleet: Fleet) -> None:
    fleet.run(["web1"]).succeeded()
    other = {"web1": {"simulated_machine": "0" * 32}}
    for arguments in (("--check",), ()):
        run = fleet.run(other, ABSENT, arguments=arguments).succeeded()
        assert "is kept, because it may belong to another machine" in run.result("agent")["warnings"][0]
        assert run.result("agent")["changes"] == ["the agent is removed"]
    assert list(fleet.identities()) == ["host:web1"]


def test_absent_refuses_a_protected_identity_first(fleet: Fleet) -> None:
    fleet.run(["web1"]).succeeded()
    with fleet.admin() as admin:
        admin.change("p", fleet.identities()["host:web1"], delete_protection=True)
    run = fleet.run(["web1"], ABSENT)
    assert "is protected from deletion" in run.failure("agent")["msg"]
    assert list(fleet.folder.glob("*.json"))


def test_identities_of_playbooks_are_never_removed(fleet: Fleet) -> None:
    metadata = {"managed_by": "keyfleet.infisical", "host": "web1", "inventory": "east"}
    with fleet.admin() as admin:
        admin.create("p", "ci", metadata.items())
        admin.create("p", "app", [("managed_by", "keyfleet.infisical"), ("inventory", "east")])
        admin.create("p", "renamed", {**metadata, "managed_by": "keyfleet.infisical/host", "host": "former"}.items())
    fleet.run(["web1"], label="east").succeeded()
    assert fleet.run(["web1"], label="east").succeeded().changed == 0
    variables = {"scheduled_sync_identity_inventory": "east", "scheduled_sync_identity_max_delete_percent": 30}
    run = fleet.run(["web1"], PRUNE, **variables, scheduled_sync_agent={"project_id": "p"}).succeeded()
    assert sorted(fleet.identities()) == ["app", "ci", "host:web1"]
    assert "(item=renamed)" in run.text


@pytest.mark.parametrize("serial", [0, 3])
def test_former_hosts_lose_their_identities(fleet: Fleet, serial: int) -> None:
    install, _end, _prune = INSTALL_AND_PRUNE.partition("- name: end")
    in_q = {"infisical_project_id": "q"}
    fleet.run({"web1": {}, "web2": in_q, "old1": {}, "old2": in_q}, install).succeeded()
    assert len(fleet.identities()) == 4
    # The last host of each batch fails or is unreachable. The last batch has no host of the project q.
    others = {"web3": {"ends": True}, "web4": {}, "web5": {"simulated_unreachable": True}}
    run = fleet.run({"web1": {}, "web2": in_q, **others}, INSTALL_AND_PRUNE, serial=serial)
    assert (run.recap["web3"]["failures"], run.recap["web5"]["unreachable"]) == (1, 1)
    assert sorted(fleet.identities()) == [f"host:web{number}" for number in range(1, 6)]
    # One list for each project, only in the last batch.
    assert len([one for one in run.events if one.task.endswith("List the identities of the project")]) == 2


@pytest.mark.parametrize("host", ["wéb", "a b", "x/y", "{'web'}", "h" * 200, "$HOME", "..", "%2e"])
def test_odd_host_name_works(fleet: Fleet, host: str) -> None:
    hosts = {host: {"jobs": [{"name": "own", "secret_path": "/common"}]}}
    fleet.run(hosts).succeeded()
    assert list(fleet.identities()) == [f"host:{host}"]
    assert fleet.run(hosts).succeeded().changed == 0


def test_client_secrets_are_only_on_the_hosts(fleet: Fleet) -> None:
    run = fleet.run(arguments=("-vvvv", "--diff")).succeeded()
    fleet.change_notes(expires_at=0)
    again = fleet.run(arguments=("-vvvv", "--diff")).succeeded()
    minted = [json.loads(path.read_text("utf-8"))["secret"] for path in fleet.folder.glob("*.json")]
    assert len(set(minted)) == len(HOSTS)
    printed = "".join((run.text, run.record, again.text, again.record))
    assert not [secret for secret in (*minted, SECRET) if secret in printed]


def test_imports_are_granted(fleet: Fleet) -> None:
    fleet.server.seed(WITH_IMPORTS)
    run = fleet.run(["web1"], arguments=("--diff",)).succeeded()
    result = run.result("agent")
    assert result["diff"][0]["after"] == "read prod:/common\nread prod:/web1\nread prod:/web2\n"
    jobs = [{"name": "own", "secret_path": "/app", "recursive": True}]
    result = fleet.run(["web1"], arguments=("--diff",), jobs=jobs).succeeded().result("agent")
    assert result["diff"][0]["after"] == "read prod:/app and below\nread prod:/web2\n"


def test_later_imports_are_granted(fleet: Fleet) -> None:
    def read_changes() -> dict[str, bool]:
        run = fleet.run().succeeded()
        return {host: run.result("agent", host)["changed"] for host in HOSTS}

    fleet.run().succeeded()
    fleet.add_import("/web1", "/common")
    assert read_changes() == {"web1": True, "web2": False, "web3": False}
    run = fleet.run().succeeded()
    assert run.changed == 0
    assert len(fleet.asked()) <= 5
    # The environment imports the same folder as before, but once more.
    fleet.add_import("/web2", "/common")
    assert read_changes() == {"web1": False, "web2": True, "web3": False}
    assert fleet.run().succeeded().changed == 0
    assert len(fleet.asked()) <= 5


def test_imports_are_not_read_without_need(fleet: Fleet) -> None:
    fleet.server.seed(WITH_IMPORTS)
    fleet.run(["web1"], jobs=[{"name": "own", "secret_path": "/web1", "include_imports": False}]).succeeded()
    queries = [one["query"] for one in fleet.server.requests("/secrets|/secret-imports")]
    assert [query["includeImports"] for query in queries] == ["false"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "two projects": (
        {"jobs": [{"name": "a"}, {"name": "b", "project_ids": ["q"]}]}, "must be one project, and the same for all jobs"
    ),
    "all projects": ({"jobs": [{"name": "a", "project_ids": ["all"]}]}, "must be one project"),
    "pattern": ({"jobs": [{"name": "a", "secret_path": "/a*"}]}, "must not contain * or ?"),
    "lifetime": ({"ttl": 0}, "client_secret_ttl: must be a number of days between 1"),
    "viewer": ({"infisical_client_id": "reader"}, "not allowed to create"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(fleet: Fleet, name: str) -> None:
    variables, text = REFUSED[name]
    run = fleet.run(["web1"], **variables)
    assert text in run.failure("agent")["msg"]
    assert run.failure("agent")["hint"] or name in ("pattern", "lifetime")
    assert fleet.identities() == {}


def test_old_server_is_refused_before_any_change(fleet: Fleet) -> None:
    fleet.server.use_profile("2024")
    run = fleet.run()
    failures = [run.failure("preflight", host) for host in HOSTS]
    assert all("cannot manage the identities of a project" in one["msg"] for one in failures)
    assert len([path for _method, path in fleet.asked() if "identities" in path]) == 1


def test_missing_folder_is_reported(fleet: Fleet) -> None:
    run = fleet.run(["web1"], jobs=[{"name": "own", "secret_path": "/nope"}])
    [warning] = run.result("agent")["warnings"]
    assert "The grant of this host has no effect yet: Folder '/nope' does not exist" in warning


def test_host_of_another_inventory_is_refused(fleet: Fleet) -> None:
    fleet.run(["web1"], label="east").succeeded()
    run = fleet.run(["web1"], label="west")
    assert "belongs to the inventory 'east' (got 'west')" in run.failure("agent")["msg"]
    assert len(fleet.identities()) == 1
