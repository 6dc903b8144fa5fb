# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second part of the demo: install the agent on two systemd hosts, and change a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from steps import count_changed, expect, login, play

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "tools")]

GROUP = f"demo-{os.getpid()}"
HOSTS = {"web1": "bookworm", "web2": "trixie"}
SEED: dict[str, Any] = {
    "projects": [
        {
            "id": "demo-shop",
            "name": "Shop",
            "slug": "shop",
            "environments": [{"slug": "prod", "name": "Production"}],
            "secrets": [
                {"environment": "prod", "path": "/shop", "key": "DB_PASSWORD", "value": "first password"},
                {"environment": "prod", "path": "/shop", "key": "DB_USER", "value": "shop"},
            ],
        }
    ],
    "identities": [
        {
            "name": "fleet",
            "client_id": "fleet-client-id",
            "client_secret": "fleet-client-secret",
            "permissions": {"demo-shop": "viewer"},
        }
    ],
}
FILE = "/run/infisical-sync/shop/secrets.env"
VARIABLES: dict[str, Any] = {
    "infisical_environment": "prod",
    "infisical_allow_http": True,  # only between this machine and its own hosts
    # A long interval, so that no timer syncs before the playbook does.
    "scheduled_sync_jobs": [
        {"name": "shop", "interval": "1d", "secret_path": "/shop", "prune": True, "files": [{"format": "dotenv"}]}
    ],
}


def run(folder: Path) -> None:
    """Run this part, or print in one line why this machine cannot boot hosts."""
    try:
        from hosts.machine import find_obstacle
    except ImportError:
        print("\nSkipping the rollout to two hosts: it needs a checkout of the repository.")
        return
    reason = find_obstacle()
    if reason:
        print(f"\nSkipping the rollout to two hosts: {reason}.")
        return
    print("\n== Boot two hosts, Debian 12 and 13 (the first time, this makes their disks)", flush=True)
    try:
        inventory = _hosts("up", GROUP, *(f"{name}={suite}" for name, suite in HOSTS.items()))
        server = json.loads(_hosts("serve", GROUP, text=json.dumps(SEED)))
        (folder / "hosts.json").write_text(inventory, "utf-8")
        (folder / "rollout.json").write_text(json.dumps(VARIABLES), "utf-8")
        _Rollout(folder, server).run()
    finally:
        _hosts("down", GROUP)


class _Rollout:
    def __init__(self, folder: Path, server: dict[str, Any]) -> None:
        self.folder = folder
        self.server = server

    def run(self) -> None:
        step = "Roll out the agent to one host first, then to the other"
        self.play(step, "keyfleet.infisical.rollout")
        for host in HOSTS:
            expect(step, f"secrets in the vault of {host}", self.status(host)["secrets"], 2)
            expect(step, f"lines in {FILE} of {host}", len(self.delivered(host)), 2)
        again = "The same again"
        expect(again, "changed", count_changed(self.play(again, "keyfleet.infisical.rollout")), 0)
        print("\n== On the server: change DB_PASSWORD", flush=True)
        self.put("DB_PASSWORD", "second password")
        report = "Report the hosts that are behind"
        behind = f"{len(HOSTS)} of {len(HOSTS)} hosts are behind on DB_PASSWORD"
        expect(report, behind, behind in self.report(report), True)
        now = "Sync the hosts now (their timers would do so within a day)"
        expect(now, "changed", count_changed(self.play(now, "keyfleet.infisical.sync_now")), len(HOSTS))
        for host in HOSTS:
            expect(now, f"generation of the vault of {host}", self.status(host)["generation"], 2)
            expect(
                now,
                f"new password in the file of {host}",
                'DB_PASSWORD="second password"' in self.delivered(host),
                True,
            )
        again = "Report again: no host is behind"
        expect(again, behind, behind in self.report(again), False)
        print(f"\n== infisical-sync status on {next(iter(HOSTS))}")
        print(_hosts("enter", GROUP, next(iter(HOSTS)), "infisical-sync", "status"), end="")
        print(f"The fleet report is {self.folder / 'fleet' / 'report.html'}.")

    def play(self, step: str, playbook: str, *more: str) -> str:
        options = ["-i", str(self.folder / "hosts.json"), "-e", f"@{self.folder / 'rollout.json'}"]
        return play(step, playbook, *options, *more, **login(self.server["url"], SEED))

    def report(self, step: str) -> str:
        return self.play(step, "keyfleet.infisical.fleet_report", "-e", f"fleet_report_folder={self.folder / 'fleet'}")

    def put(self, key: str, value: str) -> None:
        body = {"project": "demo-shop", "environment": "prod", "path": "/shop", "key": key, "value": value}
        request = urllib.request.Request(
            f"{self.server['control_url']}/secret", json.dumps(body).encode(), {"Content-Type": "application/json"},
            method="PUT",
        )  # fmt: skip
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()

    @staticmethod
    def status(host: str) -> dict[str, Any]:
        return dict(json.loads(_hosts("enter", GROUP, host, "infisical-sync", "status", "--json")))

    @staticmethod
    def delivered(host: str) -> list[str]:
        return _hosts("enter", GROUP, host, "cat", FILE).splitlines()


def _hosts(*words: str, text: str = "") -> str:
    """Run tests/hosts and return its output. Exits if it fails."""
    command = [sys.executable, str(TESTS / "hosts"), *words]
    # The hosts end with this process, even if it is killed.
    variables = {**os.environ, "KEYFLEET_HOSTS_OWNER": str(os.getpid())}
    done = subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE, check=False, env=variables)
    if done.returncode:
        sys.exit(f"demo: {' '.join(words[:3])} failed with {done.returncode}")
    return done.stdout
