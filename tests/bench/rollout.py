# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures a rollout to ten systemd hosts and a cycle of the agent on each of them.

The floor of the rollout is a playbook with as many round trips that do nothing. The floor of a cycle is a Python
process that imports the same two libraries, logs in, lists the secrets, and decrypts with AES-GCM.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dev_server.client import DevServer
from row import Row

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "tools")]

NUMBER = 10
SECRETS = 100
CYCLES = 5
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
            bench = _Bench(Path(folder), server, names, lambda host, words: _in_host(group, host, words))
            return [*bench.rollout(), *bench.cycle()]


def _in_host(group: Any, host: str, words: Sequence[str]) -> str:
    from hosts.machine import in_host, run

    return str(run(*in_host(group.host(host).cgroup.leader(), words)))


class _Bench:
    def __init__(
        self, folder: Path, server: DevServer, names: Sequence[str], on: Callable[[str, Sequence[str]], str]
    ) -> None:
        self.folder = folder
        self.server = server
        self.names = names
        self.on = on

    def rollout(self) -> list[Row]:
        play = [
            {
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
                },
            }
        ]
        self.server.clear_requests()
        first = self._play(play)
        asked = self.server.requests()
        again = self._play(play)
        calls, tasks = _round_trips(first.text), _tasks(first.text)
        ping = {"name": "Nothing", "ansible.builtin.ping": {}, "become": True}
        floor = self._play([{"hosts": "all", "gather_facts": False, "tasks": [ping] * round(calls / NUMBER)}])
        return [
            Row(f"rollout to {NUMBER} hosts, seconds a host (floor: as many ansible.builtin.ping)",
                floor.seconds / NUMBER, first.seconds / NUMBER, len(asked)),
            Row(f"the same again, which changes nothing: {_round_trips(again.text) / NUMBER:g} round trips a host",
                floor.seconds / NUMBER, again.seconds / NUMBER),
            Row(f"a rollout has {tasks} tasks that run; round trips to a host in all (as requests)", None, None,
                round(calls / NUMBER)),
        ]  # fmt: skip

    def _play(self, play: list[dict[str, Any]]) -> _Ended:
        path = self.folder / "play.json"
        path.write_text(json.dumps(play), "utf-8")
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", str(self.folder / "inventory.json"), "--forks", str(NUMBER), "-vvv", str(path)]
        variables = {**os.environ, "ANSIBLE_PIPELINING": "true", "ANSIBLE_NOCOLOR": "true"}
        started = time.monotonic()
        done = subprocess.run(command, env=variables, text=True, capture_output=True, check=False)
        if done.returncode:
            sys.exit(f"bench: the rollout failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
        return _Ended(time.monotonic() - started, done.stdout)

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
    def __init__(self, seconds: float, text: str) -> None:
        self.seconds = seconds
        self.text = text


def _round_trips(text: str) -> int:
    """Return the number of ssh commands in Ansible's output with -vvv."""
    return len(re.findall(r"^<[^>]+> SSH: EXEC ", text, re.MULTILINE))


def _tasks(text: str) -> int:
    """Return the number of tasks that ran on the first host without being skipped."""
    found = re.search(r"^host1 +: ok=(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _least(text: str) -> tuple[float, float]:
    """Return the lowest CPU time and memory in the output of USED."""
    used = [(float(cpu), float(memory)) for cpu, memory in re.findall(r"^used ([\d.]+) ([\d.]+)$", text, re.MULTILINE)]
    if not used:
        sys.exit(f"bench: no measurement in the output: {text[-1000:]}")
    return min(cpu for cpu, _memory in used), min(memory for _cpu, memory in used)
