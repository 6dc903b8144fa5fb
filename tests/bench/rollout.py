# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures a rollout to ten systemd hosts and a cycle of the agent on each of them.

The floor of a rollout is a playbook with two modules that send and import the same files as the role's modules. They do
nothing, except that the second one starts a cycle if the rollout does. The floor of a cycle is a Python process that
imports the same two libraries, logs in, lists the secrets, and decrypts with AES-GCM.

Rollouts are measured in CPU seconds of Ansible and the hosts, because other work on the machine changes wall times.
"""

from __future__ import annotations

import ast
import json
import os
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dev_server.client import DevServer
from row import Row

TESTS = Path(__file__).resolve().parents[1]
MODULES_FOLDER = TESTS.parent / "plugins/modules"
sys.path[:0] = [str(TESTS), str(TESTS / "tools")]

NUMBER = 10
SECRETS = 100
CYCLES = 5
SETTLED = 1.0
"""Seconds to wait after a run, because the notification of a cycle ends after it."""
PROJECT, CLIENT_ID, CLIENT_SECRET = "bench-project", "bench-client-id", "bench-client-secret"
SEED: dict[str, Any] = {
    "projects": [
        {
            "id": PROJECT,
            "name": "Bench",
            "slug": "bench",
            "environments": [{"slug": "prod", "name": "Production"}],
            "secrets": [
                {"environment": "prod", "path": "/", "key": f"KEY_{number}", "value": f"value {number}"}
                for number in range(SECRETS)
            ],
        }
    ],
    "identities": [
        {
            "name": "fleet",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "permissions": {PROJECT: "viewer"},
        }
    ],
}
# Runs a command and prints its CPU seconds and peak memory in MB to the journal.
USED = """\
import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], check=False, capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("used", used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, flush=True)
raise SystemExit(ended.returncode)
"""
# A module with the files of another module. It only runs a cycle if `cycle` is true.
BARE = """\
from __future__ import annotations
import subprocess
from typing import TYPE_CHECKING
{imports}
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, run_module
def work(module):
    for name in ("sync", "deliver") if module.params["cycle"] else ():
        subprocess.run(["systemctl", "start", f"infisical-{{name}}@bench.service"], check=True)
    return {{"changed": False, "msg": "Done."}}
if __name__ == "__main__":
    run_module(Definition(work, {{"cycle": {{"type": "bool", "default": False}}}}, shared=False))
"""
MODULES = ("infisical_agent_preflight", "infisical_agent", "infisical_agent_sync")
FLOOR = """\
import argparse, base64, configparser, datetime, hashlib, hmac, json, os, struct, sys, time
import requests
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
session = requests.Session()
session.trust_env = False
url, project, client_id, client_secret = sys.argv[1:]
login = {"clientId": client_id, "clientSecret": client_secret}
token = session.post(url + "/api/v1/auth/universal-auth/login", json=login).json()["accessToken"]
query = {"projectId": project, "environment": "prod", "secretPath": "/", "include_imports": "true"}
answer = session.get(url + "/api/v4/secrets", params=query, headers={"Authorization": "Bearer " + token})
answer.raise_for_status()
key = AESGCM.generate_key(256)
AESGCM(key).decrypt(b"n" * 12, AESGCM(key).encrypt(b"n" * 12, json.dumps(answer.json()).encode(), b""), b"")
"""


def rows() -> list[Row]:
    """Return the rows of the table, or print why this machine cannot boot hosts and return none."""
    from hosts.group import Group, HostSpec
    from hosts.machine import Process, find_obstacle
    from hosts.network import CONTROLLER

    reason = find_obstacle()
    if reason:
        print(f"Skipping the rollout: {reason}.")
        return []
    names = [f"host{number}" for number in range(1, NUMBER + 1)]
    wanted = [HostSpec(name, ("bookworm", "trixie")[number % 2]) for number, name in enumerate(names)]
    owner = Process.of(os.getpid())
    with Group(f"bench-{os.getpid()}") as group, tempfile.TemporaryDirectory(prefix="bench_") as folder:
        inventory = group.up(wanted, owner)
        (Path(folder) / "inventory.json").write_text(json.dumps(inventory), "utf-8")
        with DevServer(seed=SEED, arguments=["--host", CONTROLLER]) as server:
            bench = _Bench(Path(folder), server, names, group)
            return [*bench.rollout(pipelining=True), *bench.rollout(pipelining=False), *bench.sync(), *bench.cycle()]


class _Bench:
    def __init__(self, folder: Path, server: DevServer, names: Sequence[str], group: Any) -> None:
        self.folder = folder
        self.server = server
        self.names = names
        self.group = group
        (folder / "library").mkdir()
        for name in MODULES:
            imports = _imports((MODULES_FOLDER / f"{name}.py").read_text("utf-8"))
            (folder / "library" / f"bare_{name}.py").write_text(BARE.format(imports=imports), "utf-8")

    def on(self, host: str, words: Sequence[str]) -> str:
        """Run a command on a host and return its output."""
        from hosts.machine import in_host, run

        return str(run(*in_host(self.group.host(host).cgroup.leader(), words)))

    def rollout(self, *, pipelining: bool) -> list[Row]:
        """Measure an installation and an unchanged run. The hosts keep the agent if `pipelining` is false."""
        preflight, agent, _sync = MODULES
        self.server.clear_requests()
        first = self._play([self._role()], pipelining)
        asked = self.server.requests()
        again = self._play([self._role()], pipelining)
        bare = {f"bare_{preflight}": {}}
        cycle = {f"bare_{agent}": {"cycle": True}, "become": True}
        with_cycle = self._play([_tasks(bare, cycle)], pipelining)
        single = self._play([_tasks(cycle)], pipelining)
        without = self._play([_tasks(bare, {f"bare_{agent}": {}, "become": True})], pipelining)
        found = [
            Row(f"rollout to {NUMBER} hosts, {_describe(first, pipelining)} (floor: 2 bare round trips and a cycle)",
                with_cycle.cpu / NUMBER, first.cpu / NUMBER, len(asked), 2.0),
            Row("the same rollout (floor: 1 bare round trip and a cycle)", single.cpu / NUMBER, first.cpu / NUMBER),
            Row(f"the same again, {_describe(again, pipelining)} (floor: 2 bare round trips)",
                without.cpu / NUMBER, again.cpu / NUMBER, None, 2.0),
        ]  # fmt: skip
        if pipelining:  # one ssh command is one round trip
            calls = max(_round_trips(run.text) for run in (first, again))
            what = f"a rollout has {_count_tasks(first.text)} tasks that run; round trips to a host (as requests)"
            found.append(Row(what, None, None, round(calls / NUMBER), 2))
            self._play([self._role(scheduled_sync_state="absent", scheduled_sync_remove_vault=True)], pipelining)
        return found

    def sync(self) -> list[Row]:
        """Measure infisical_agent_sync on all hosts."""
        module = MODULES[2]
        synced = self._play([_tasks({f"keyfleet.infisical.{module}": {}, "become": True})], True)
        floor = self._play([_tasks({f"bare_{module}": {"cycle": True}, "become": True})], True)
        return [Row(f"{module} on {NUMBER} hosts, {_describe(synced, True)} (floor: a bare round trip and a cycle)",
                    floor.cpu / NUMBER, synced.cpu / NUMBER, None, 2.0)]  # fmt: skip

    def _role(self, **variables: Any) -> dict[str, Any]:
        """Return a play that runs the role on all hosts."""
        return {
            "hosts": "all",
            "gather_facts": False,
            "roles": ["keyfleet.infisical.scheduled_sync"],
            "vars": {
                "infisical_url": self.server.url,
                "infisical_allow_http": True,
                "infisical_client_id": CLIENT_ID,
                "infisical_client_secret": CLIENT_SECRET,
                "infisical_project_id": PROJECT,
                "infisical_environment": "prod",
                # Without this, the pace of the rollout would be measured.
                "scheduled_sync_rate_limit": 0,
                "scheduled_sync_jobs": [{"name": "bench", "prune": True, "files": [{"format": "dotenv"}]}],
                **variables,
            },
        }

    def _play(self, play: list[dict[str, Any]], pipelining: bool) -> _Ended:
        path = self.folder / "play.json"
        path.write_text(json.dumps(play), "utf-8")
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", str(self.folder / "inventory.json"), "--forks", str(NUMBER), "-vvv", str(path)]
        variables = {**os.environ, "ANSIBLE_PIPELINING": str(pipelining), "ANSIBLE_NOCOLOR": "true",
                     "ANSIBLE_LIBRARY": str(self.folder / "library")}  # fmt: skip
        started, cpu = time.monotonic(), self._cpu()
        done = subprocess.run(command, env=variables, text=True, capture_output=True, check=False)
        seconds = time.monotonic() - started
        if done.returncode:
            sys.exit(f"bench: the rollout failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
        time.sleep(SETTLED)
        return _Ended(seconds, self._cpu() - cpu, done.stdout)

    def _cpu(self) -> float:
        """Return the CPU seconds that the hosts and the ended child processes have used so far."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        hosts = sum(self.group.host(name).cgroup.cpu_seconds() for name in self.names)
        return float(used.ru_utime + used.ru_stime + hosts)

    def cycle(self) -> list[Row]:
        """Measure unchanged cycles on all hosts at once, then a cycle of one host against the floor."""
        self.server.clear_requests()
        with ThreadPoolExecutor(NUMBER) as pool:
            for _cycle in range(CYCLES):
                list(pool.map(lambda host: self.on(host, ["systemctl", "start", "infisical-sync@bench"]), self.names))
        number = len(self.server.requests())
        host = self.names[0]
        self._install(host, "used.py", USED)
        self._install(host, "floor.py", FLOOR)
        self.on(host, ["mkdir", "-p", "/etc/systemd/system/infisical-sync@bench.service.d"])
        command = "/usr/local/bin/infisical-sync sync --config /etc/infisical-sync/jobs/bench.ini"
        unit = f"[Service]\nExecStart=\nExecStart=/usr/bin/python3 /opt/used.py {command}\n"
        self._install(host, "measure.conf", unit, "/etc/systemd/system/infisical-sync@bench.service.d")
        self.on(host, ["systemctl", "daemon-reload"])
        for _cycle in range(CYCLES):
            self.on(host, ["systemctl", "start", "infisical-sync@bench"])
        journal = self.on(host, ["journalctl", "-b", "-o", "cat", "-u", "infisical-sync@bench"])
        cpu, memory = _least(journal)
        words = [
            "python3",
            "/opt/used.py",
            "python3",
            "/opt/floor.py",
            self.server.url,
            PROJECT,
            CLIENT_ID,
            CLIENT_SECRET,
        ]
        floor_cpu, floor_memory = _least("".join(self.on(host, words) for _cycle in range(CYCLES)))
        what = "a cycle that finds nothing new"
        return [
            Row(f"{what}, on {NUMBER} hosts at once: requests a host", None, None, round(number / NUMBER / CYCLES), 2),
            Row(f"{what}: seconds of CPU (floor: a bare login and listing)", floor_cpu, cpu),
            Row(f"{what}: MB of memory at most (floor: the same)", floor_memory, memory),
        ]

    def _install(self, host: str, name: str, text: str, folder: str = "/opt") -> None:
        self.on(host, ["sh", "-c", f"printf %s {shlex.quote(text)} > {folder}/{name}"])


class _Ended:
    """A run of ansible-playbook: its wall time and CPU time in seconds, and its output."""

    def __init__(self, seconds: float, cpu: float, text: str) -> None:
        self.seconds = seconds
        self.cpu = cpu
        self.text = text


def _tasks(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {"hosts": "all", "gather_facts": False, "tasks": list(tasks)}


def _describe(run: _Ended, pipelining: bool) -> str:
    way = "with" if pipelining else "without"
    return f"{way} pipelining: CPU seconds a host, {run.seconds / NUMBER:.2f} s of wall time"


def _imports(module: str) -> str:
    """Return all imports of this collection's files in the text of a module, so that Ansible sends the same files."""
    tree = ast.parse(module)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "keyfleet" in str(node.module)]
    late = [node for node in found if node.col_offset]
    lines = [ast.unparse(node) for node in found if not node.col_offset]
    return "\n".join([*lines, *(["if TYPE_CHECKING:", *(f"    {ast.unparse(node)}" for node in late)] if late else [])])


def _round_trips(text: str) -> int:
    """Return the number of ssh commands in Ansible's output with -vvv."""
    return len(re.findall(r"^<[^>]+> SSH: EXEC ", text, re.MULTILINE))


def _count_tasks(text: str) -> int:
    """Return the number of tasks that ran on the first host without being skipped."""
    found = re.search(r"^host1 +: ok=(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _least(text: str) -> tuple[float, float]:
    """Return the lowest CPU time and memory in the output of USED."""
    used = [(float(cpu), float(memory)) for cpu, memory in re.findall(r"^used ([\d.]+) ([\d.]+)$", text, re.MULTILINE)]
    if not used:
        sys.exit(f"bench: no measurement in the output: {text[-1000:]}")
    return min(cpu for cpu, _memory in used), min(memory for _cpu, memory in used)
