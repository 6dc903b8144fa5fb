# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures runs that give each of 1,000 hosts its own identity: the requests and the time of a first and a second run.

The controller's part is real, including its forks. The hosts are simulated, but send the requests of a first sync. They
read ten folders, so that a hundred hosts have the same jobs.
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
UNCHANGED = 30
SECRET = "demo-client-secret"
SEED: dict[str, Any] = {
    "projects": [
        {
            "id": "demo-project",
            "name": "Demo",
            "slug": "demo",
            "environments": [{"slug": "dev", "name": "Development"}],
            "secrets": [
                {"environment": "dev", "path": f"/team{number}", "key": "PASSWORD", "value": "value"}
                for number in range(FOLDERS)
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
# The tasks of the role scheduled_sync that concern the identity.
TASKS = f"""\
    - infisical_agent_preflight:
        identity: per_host
      register: checked
    - infisical_agent:
        identity: per_host
        held_identity: "{{{{ checked.identity }}}}"
        jobs:
          - name: team
            secret_path: "/team{{{{ inventory_hostname[4:] | int % {FOLDERS} }}}}"
        sync: true
"""


def rows() -> list[Row]:
    """Return the rows of the table."""
    with tempfile.TemporaryDirectory(prefix="bench_") as folder, DevServer(seed=SEED) as server:
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
        play = Plays(plays, server.url).play(TASKS, hosts=HOSTS, forks=FORKS, environment=environment)
        found = []
        for what, at_most in (("first run", PER_HOST * HOSTS + UNCHANGED), ("second run, nothing changed", UNCHANGED)):
            server.clear_requests()
            started = time.monotonic()
            output = play()
            seconds, number = time.monotonic() - started, len(server.requests())
            changed = len(re.findall(r"changed=1 ", output))
            if changed != (HOSTS if not found else 0):
                sys.exit(f"bench: {what}: {changed} hosts were changed")
            found.append(Row(f"{what} on {HOSTS:,} hosts, {FORKS} forks: requests of controller and hosts", None, None,
                             number, at_most))  # fmt: skip
            found.append(Row(f"{what} on {HOSTS:,} hosts, {FORKS} forks: seconds", None, seconds, None, SECONDS))
    return found
