# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures a report about a large fleet, from the answers of hosts and server to the graph, the table and the page.

Each figure is measured in its own process. The last two figures include everything that `infisical_fleet_report` does
besides Ansible, and the first ones only the graph and the table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.parsing import Listing, Project
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.transport import Call
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.answers import Validator
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.garbage import pause_garbage_collection
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import documents
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.snapshot import Snapshot
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.table import render_table
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import (
    Grant,
    to_permissions,
)
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_graph as plugin
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_page import headline
from row import Row
from simulated_fleet import NOW, SERVICE, Simulated

HOSTS, SECRETS = 1000, 300
MOST_SECONDS, MOST_MEGABYTES = 5, 300


class StaticTransport:
    """Answers the requests for identities. Each host has one in the first project of its jobs, and may read what the
    jobs need.

    `folders` are the environment, path and recursion of these jobs, keyed by host and project.
    """

    def __init__(self, folders: Mapping[str, Mapping[str, list[Any]]]) -> None:
        self.settings = SimpleNamespace(url=SERVICE)
        self.folders = folders
        self.requests = 0

    def send(self, call: Call) -> SimpleNamespace:
        """Return the answer of a server as of July 2026."""
        self.requests += 1
        parts = call.path.strip("/").split("/")
        if parts[-1] == "identities":
            hosts = [host for host, projects in self.folders.items() if parts[3] in projects]
            offset = int(call.query["offset"])
            rows = [self._identity(parts[3], host) for host in hosts[offset : offset + int(call.query["limit"])]]
            return SimpleNamespace(data={"identities": rows, "totalCount": len(hosts)})
        if "memberships" in parts:
            return SimpleNamespace(data={"identityMembership": {"roles": [{"role": "no-access"}]}})
        if call.query:
            return SimpleNamespace(data={"privileges": [{"id": call.query["identityId"], "slug": "keyfleet"}]})
        project, host = parts[-1].split("_")
        permissions = to_permissions(Grant(*folder) for folder in self.folders[host][project])
        return SimpleNamespace(data={"privilege": {"id": parts[-1], "slug": "keyfleet", "permissions": permissions}})

    def _identity(self, project: str, host: str) -> dict[str, Any]:
        metadata = [{"key": "managed_by", "value": "keyfleet.infisical/host"}, {"key": "host", "value": host}]
        return {"id": f"{project}_{host}", "name": f"host:{host}", "metadata": metadata}


class StaticApi:
    """The part of `client.api.Api` that a report uses. The bench does not measure a server, so it responds at once."""

    def __init__(self, listings: Iterable[fleet.FolderListing], told: Mapping[str, str]) -> None:
        self.listings = {listing.location: listing.secrets for listing in listings}
        folders: dict[str, dict[str, list[Any]]] = {}
        for host, text in told.items():
            for job in json.loads(text)["jobs"] if text else ():
                own = folders.setdefault(host, {job["project_ids"][0]: []})
                if set(own) & set(job["project_ids"]):
                    next(iter(own.values())).append((job["environment"], job["secret_path"], job["recursive"]))
        self.transport = StaticTransport(folders)

    def projects(self) -> list[Project]:
        ids = dict.fromkeys(root.project_id for root in self.listings)
        return [Project(id_, f"Project {number}", f"project-{number}", ()) for number, id_ in enumerate(ids)]

    def list_changes(self, location: Location, known: Validator, **reading: bool) -> Listing:
        return Listing(
            tuple(
                Secret(one.name, None, one.version, one.id, one.location.secret_path, updated_at=one.updated_at or "")
                for one in self.listings[location]
            )
        )

    def list_secrets(self, location: Location, **reading: bool) -> Listing:
        return Listing(())


def read_inputs(folder: Path) -> tuple[dict[str, str], list[fleet.FolderListing]]:
    """Return the documents of the hosts as text, and the listings of the server."""
    told = dict(line.rstrip("\n").split("\t", 1) for line in (folder / "told.jsonl").open(encoding="utf-8"))
    listings = [
        fleet.FolderListing(Location(*root), secrets=[fleet.KnownSecret(Location(*row[0]), *row[1:]) for row in rows])
        for root, rows in json.loads((folder / "listings.json").read_text("utf-8"))
    ]
    return told, listings


def report(folder: Path) -> None:
    """Do what a task with `infisical_fleet_report` does, without Ansible; print the processor time in seconds, the peak
    memory in MB, and the number of requests about identities."""
    told, listings = read_inputs(folder)
    server = StaticApi(listings, told)
    started = time.process_time()
    with mock.patch("time.time", lambda: NOW), pause_garbage_collection():
        before = plugin.read(str(folder / "graph.json"), missing_is_empty=True)
        collected = plugin.collect(before, told, lambda: server, forget_absent=False, most_identities=HOSTS)
        if collected.problems:
            raise SystemExit(f"the simulated fleet has problems: {collected.problems}")
        collected.summarize(collected.after)
        names = {"html_file": "report.html", "csv_file": "report.csv", "graph_file": "graph.json"}
        contents = {option: collected.content(option) for option in names}
        for option, name in names.items():
            plugin.write(str(folder / name), contents[option], 0o600)
        headline(collected.view)
    print(time.process_time() - started, peak_megabytes(), server.transport.requests)


def build(folder: Path) -> None:
    """Update the graph in `folder` and write the table; print the processor time in seconds until the graph and until
    the table are written, and the peak memory in MB.

    The documents of the simulated hosts are read before, because Ansible does that in a run.
    """
    told, listings = read_inputs(folder)
    graph_file = folder / "graph.json"
    started = time.process_time()
    with pause_garbage_collection():
        before = documents.parse_graph(json.loads(graph_file.read_bytes())) if graph_file.exists() else fleet.Graph()
        answers = {
            host: documents.parse_host(json.loads(text), "2027-01-15T08:00:00Z") if text else None
            for host, text in told.items()
        }
        graph = fleet.merge_hosts(before, answers, "2027-01-15T08:00:00Z")
        graph = fleet.merge_server(graph, SERVICE, [], listings, "2027-01-15T08:00:00Z")
        graph_file.write_bytes(documents.dump_graph(graph))
        built = time.process_time() - started
        (folder / "report.csv").write_bytes(render_table(Snapshot(graph, NOW)))
        Snapshot(graph, NOW).summary()
    print(built, time.process_time() - started, peak_megabytes())


def peak_megabytes() -> float:
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def rows() -> list[Row]:
    """The lines of the bench's table."""
    found = []
    with tempfile.TemporaryDirectory(prefix="bench_") as name:
        folder = Path(name)
        simulated = Simulated(HOSTS, SECRETS)
        told = (f"{host}\t{'' if data is None else json.dumps(data)}" for host, data in simulated.answers().items())
        (folder / "told.jsonl").write_text("\n".join(told), "utf-8")
        listings = [
            (astuple(one.location), [(astuple(secret.location), *secret[1:]) for secret in one.secrets])
            for one in simulated.listings()
        ]
        (folder / "listings.json").write_text(json.dumps(listings), "utf-8")
        for which in ("a new graph", "a graph brought up to date"):
            built, written, megabytes = measure("build", folder)
            what = f"{which} of {HOSTS:,} hosts with {SECRETS} secrets each"
            found += [
                Row(f"{what}, in seconds", None, built, None, MOST_SECONDS),
                Row("the same with table and counts, in seconds", None, written),
                Row("peak memory of that process in MB", None, megabytes, None, MOST_MEGABYTES),
            ]
        seconds, megabytes, requests = measure("report", folder)
        what = "a report brought up to date: graph, table and page of this fleet, in seconds"
        found += [
            Row(what, None, seconds, None, MOST_SECONDS),
            Row("peak memory of that process in MB", None, megabytes, None, MOST_MEGABYTES),
            Row("requests of that report about identities and their grants", None, requests),
        ]
    return found


def measure(what: str, folder: Path) -> list[float]:
    """Return the figures that a process with `build` or `report` prints."""
    command = [sys.executable, str(Path(__file__)), what, str(folder)]
    return [
        float(word) for word in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    ]


if __name__ == "__main__":
    {"build": build, "report": report}[sys.argv[1]](Path(sys.argv[2]))
