# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated fleet: the documents of its hosts and the listings of the server, for benchmarks and the report's page.

    python3 tests/bench/simulated_fleet.py --hosts 1000 --secrets 300 --output fleet.json

writes the fleet's metadata graph. The same numbers of hosts and secrets produce the same fleet.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import uuid
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import parse_time
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import documents
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet

SERVICE = "https://infisical.example.com"
NOW = 1_800_000_000.0
WORDS = ("DATABASE", "CACHE", "MAIL", "PAYMENT", "SEARCH", "QUEUE", "SIGNING", "STORAGE", "METRICS", "BACKUP")
KINDS = ("PASSWORD", "TOKEN", "API_KEY", "URL", "USER", "CERTIFICATE")
TEAMS = ("shop", "billing", "platform", "search", "mobile", "warehouse", "identity", "reports", "partners", "intranet")


@dataclass(frozen=True)
class Secret:
    """A secret of the simulated server."""

    location: Location
    name: str
    version: int
    updated_at: str
    id: str


class Simulated:
    """`hosts` hosts with about `secrets` secrets each, from two folders for each team.

    Most hosts have no problem. Of a hundred hosts, about three are stale, two fail, one does not respond and one has
    never synced. One secret in a hundred was changed within the last hours, so that some hosts are behind. In each
    folder, one secret was deleted on the server, and one secret is not pulled by any host.
    """

    def __init__(self, hosts: int, secrets: int, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.names = [f"{self.random.choice(('web', 'db', 'app', 'job'))}{number:04}" for number in range(1, hosts + 1)]
        self.projects = [
            fleet.KnownProject(str(uuid.UUID(int=number + 1, version=4)), team.title(), team, SERVICE)
            for number, team in enumerate(TEAMS)
        ]
        self.folders = [
            Location(project.id, environment, f"/{project.slug}")
            for project in self.projects
            for environment in ("prod", "staging")
        ]
        self.secrets = {folder: list(self._secrets(folder, secrets)) for folder in self.folders}

    def _secrets(self, folder: Location, count: int) -> Iterator[Secret]:
        for number in range(count):
            name = f"{self.random.choice(WORDS)}_{self.random.choice(KINDS)}_{number:03}"
            recent = self.random.random() < 0.01
            age = self.random.uniform(600, 90_000) if recent else self.random.uniform(1e5, 3e7)
            below = "" if number % 3 else f"/{WORDS[number % len(WORDS)].lower()}"
            location = replace(folder, secret_path=folder.secret_path + below)
            id_ = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
            yield Secret(location, name, self.random.randint(2, 9), self.time(age), id_)

    def time(self, age: float) -> str:
        """Return the time `age` seconds ago."""
        return datetime.fromtimestamp(int(NOW - age), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def metadata(self, number: int, *, always: bool = False) -> dict[str, Any] | None:
        """Return the document of a host, or None if the host does not respond. With `always`, the host responds."""
        luck = self.random.random()
        if luck < 0.01 and not always:
            return None
        # Hosts with adjacent numbers pull the same folder.
        folder = self.folders[number * len(self.folders) // len(self.names)]
        stale, failed, never = luck < 0.04, luck < 0.06, luck < 0.07
        interval = self.random.choice((15, 15, 15, 60))
        age = interval * 60 * self.random.uniform(3, 400) if stale or failed else interval * 60 * self.random.random()
        delay = interval * 60 * self.random.random()  # each host syncs at its own minute
        secrets = [] if never and not (stale or failed) else self.secrets[folder]
        places = sorted({secret.location for secret in secrets})
        rows = []
        for secret in secrets:
            changed = parse_time(secret.updated_at) or 0.0
            fresh = changed < NOW - age
            if not fresh and self.random.random() < 0.1:
                continue  # created after the host's last sync
            received = max(changed, NOW - 1e7) + delay
            synced = min(received, NOW - age) if fresh else NOW - age - self.random.uniform(1e5, 1e6)
            version = secret.version if fresh else secret.version - 1
            place = places.index(secret.location)
            rows.append([secret.name, place, None, version, self.time(NOW - synced), secret.id])
        never_synced = not secrets
        wrong = failed and not stale
        return {
            "schema": documents.METADATA_SCHEMA,
            "version": documents.VERSION,
            "host": self.names[number],
            "time": self.time(0),
            "agent": "0.3.0",
            "jobs": [
                {
                    "job": folder.secret_path.strip("/"),
                    "service": SERVICE,
                    "project_ids": [folder.project_id],
                    "environment": folder.environment,
                    "secret_path": folder.secret_path,
                    "recursive": True,
                    "key_format": "{key}",
                    "normalize_names": False,
                    "interval_minutes": interval,
                    "last_sync": None if never_synced else self.time(age),
                    "ended": None if never_synced else self.time(interval * 30 if wrong else age),
                    "conclusion": "" if never_synced else "unreachable" if wrong else "ok",
                    "message": "Could not connect to infisical.example.com: connection refused." if wrong else "",
                    "problem": None,
                    "generation": 0 if never_synced else self.random.randint(1, 400),
                    "files": [
                        {"path": f"/run/infisical-sync{folder.secret_path}/app.env", "format": "dotenv", "owner": "app",
                         "names": []},
                    ],
                    "places": [list(astuple(place)) for place in places],
                    "secrets": rows,
                }
            ],
        }  # fmt: skip

    def answers(self) -> dict[str, dict[str, Any] | None]:
        """Return the documents of all hosts, keyed by name."""
        return {name: self.metadata(number) for number, name in enumerate(self.names)}

    def listings(self) -> list[fleet.FolderListing]:
        """Return a listing of each environment, as the server would."""
        return [
            fleet.FolderListing(
                fleet.root_of(folder),
                secrets=[
                    *(
                        fleet.KnownSecret(one.location, one.name, one.version, one.updated_at, id=one.id)
                        for one in self.secrets[folder][:-1]
                    ),
                    fleet.KnownSecret(
                        replace(folder, secret_path="/archive"), "OLD_LICENCE_KEY", 1, self.time(4e7), id="old"
                    ),
                ],
            )
            for folder in self.folders
        ]


def graph(simulated: Simulated) -> fleet.Graph:
    """Return the graph of a simulated fleet. Hosts that do not respond have data from the day before."""
    time, before = simulated.time(0), simulated.time(86_400)
    parsed = {
        name: None if data is None else documents.parse_host(data, time) for name, data in simulated.answers().items()
    }
    silent = {
        name: documents.parse_host(simulated.metadata(number, always=True), before)
        for number, name in enumerate(simulated.names)
        if parsed[name] is None
    }
    found = fleet.merge_hosts(fleet.merge_hosts(fleet.Graph(), silent, before), parsed, time)
    return fleet.merge_server(found, SERVICE, simulated.projects, simulated.listings(), time)


def main(arguments: list[str]) -> int:
    """Write the graph of a simulated fleet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--secrets", type=int, default=300, help="secrets of each host")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    found = graph(Simulated(given.hosts, given.secrets, given.seed))
    given.output.write_text(json.dumps(documents.render_graph(found), separators=(",", ":")), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
