# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures runs that give each of 1,000 hosts its own identity: the requests and the time of a first and a second run.

The controller's part is real, including its forks. The hosts are simulated, but send the requests of a first sync. Each
host has a folder of its own. In the second fleet, this folder imports one of ten shared folders.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dev_server.client import DevServer
from plays import Plays
from row import Row

HOSTS = 1000
FOLDERS = 10
FORKS = 20
SECONDS = 600
"""Limit for a run. It would be exceeded if each host read the list of all identities from the server."""
PER_HOST = 7
"""Requests of a first run for each host: four of the controller, and three of the host."""
UNCHANGED = 30
SECRET = "demo-client-secret"
FLEETS = {
    "own folders": (False, PER_HOST),
    # The controller reads the imports of each folder.
    "own folders with imports": (True, PER_HOST + 1),
}
"""Fleets by name: whether the folder of each host imports a shared one, and the limit of requests for each host."""
SEED: dict[str, Any] = {
    "projects": [
        {
            "id": "demo-project",
            "name": "Demo",
            "slug": "demo",
            "environments": [{"slug": "dev", "name": "Development"}],
            "secrets": [
                {"environment": "dev", "path": path, "key": "PASSWORD", "value": "value"}
                for path in (
                    *(f"/team{number}" for number in range(FOLDERS)),
                    *(f"/hosts/host{number:02}" for number in range(HOSTS)),
                )
            ],
        }
    ],
    "identities": [
        {
            "name": "manager",
            "client_id": "demo-client-id",
            "client_secret": SECRET,
            "permissions": {"demo-project": "admin"},
        }
    ],
}
IMPORTS = [
    {"environment": "dev", "path": f"/hosts/host{number:02}", "from_environment": "dev",
     "from_path": f"/team{number % FOLDERS}"}
    for number in range(HOSTS)
]  # fmt: skip
# The tasks of the role scheduled_sync that concern the identity.
TASKS = """\
    - infisical_agent_preflight:
        identity: per_host
      register: checked
    - infisical_agent:
        identity: per_host
        held_identity: "{{ checked.identity }}"
        jobs:
          - name: own
            secret_path: "/hosts/{{ inventory_hostname }}"
        sync: true
"""


def rows() -> list[Row]:
    """Return the rows of the table."""
    return [row for name in FLEETS for row in measure(name)]


def measure(name: str) -> list[Row]:
    """Return the rows of one fleet."""
    has_imports, per_host = FLEETS[name]
    [project] = SEED["projects"]
    seed = {**SEED, "projects": [{**project, "imports": IMPORTS if has_imports else []}]}
    with tempfile.TemporaryDirectory(prefix="bench_") as folder, DevServer(seed=seed) as server:
        hosts = Path(folder, "hosts")
        hosts.mkdir()
        plugins = Path(__file__).parent / "simulated_agent"
        environment = {
            "ANSIBLE_ACTION_PLUGINS": str(plugins),
            "KEYFLEET_SIMULATED_HOSTS": str(hosts),
            "KEYFLEET_CONTROLLERS_SECRET": SECRET,
        }
        plays = Path(folder, "plays")
        plays.mkdir()
        play = Plays(plays, server.url).play(TASKS, HOSTS, FORKS, environment=environment)
        found = []
        for what, at_most in (("first run", per_host * HOSTS + UNCHANGED), ("second run, nothing changed", UNCHANGED)):
            server.clear_requests()
            started = time.monotonic()
            output = play()
            seconds, number = time.monotonic() - started, len(server.requests())
            changed = len(re.findall(r"changed=1 ", output))
            if changed != (HOSTS if not found else 0):
                sys.exit(f"bench: {name}, {what}: {changed} hosts were changed")
            title = f"{HOSTS:,} hosts with {name}, {FORKS} forks, {what}"
            found.append(Row(f"{title}: requests of controller and hosts", None, None, number, at_most))
            found.append(Row(f"{title}: seconds", None, seconds, None, SECONDS))
    return found
