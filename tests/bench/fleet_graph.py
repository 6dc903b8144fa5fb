# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures an update of the metadata graph of a large fleet, from the answers of hosts and server to the report.

Each figure is measured in its own process. The second figure is the usual case: an existing graph is updated.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple
from pathlib import Path

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import documents
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.snapshot import Snapshot
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.table import render_table
from row import Row
from simulated_fleet import NOW, SERVICE, Simulated

HOSTS, SECRETS = 1000, 300
MOST_SECONDS, MOST_MEGABYTES = 10, 500


def build(folder: Path) -> None:
    """Update the graph in `folder` and write the table; print the processor time in seconds and the peak memory in MB.

    The documents of the simulated hosts are read before, because Ansible does that in a run.
    """
    lines = (folder / "told.jsonl").read_text("utf-8").splitlines()
    listings = [
        fleet.FolderListing(Location(*root), secrets=[fleet.KnownSecret(Location(*row[0]), *row[1:]) for row in rows])
        for root, rows in json.loads((folder / "listings.json").read_text("utf-8"))
    ]
    graph_file = folder / "graph.json"
    started = time.process_time()
    before = documents.parse_graph(json.loads(graph_file.read_bytes())) if graph_file.exists() else fleet.Graph()
    answers: dict[str, fleet.HostAnswer | None] = {}
    for line in lines:
        host, told = line.split("\t", 1)
        answers[host] = documents.parse_host(json.loads(told), "2027-01-15T08:00:00Z") if told else None
    graph = fleet.merge_hosts(before, answers, "2027-01-15T08:00:00Z")
    graph = fleet.merge_server(graph, SERVICE, [], listings, "2027-01-15T08:00:00Z")
    graph_file.write_text(json.dumps(documents.render_graph(graph), separators=(",", ":")), "utf-8")
    built = time.process_time() - started
    (folder / "report.csv").write_bytes(render_table(Snapshot(graph, NOW)))
    Snapshot(graph, NOW).summary()
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(built, time.process_time() - started, int(peak.split()[1]) / 1024)


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
            command = [sys.executable, str(Path(__file__)), name]
            ended = subprocess.run(command, capture_output=True, text=True, check=True)
            built, written, megabytes = map(float, ended.stdout.split())
            what = f"{which} of {HOSTS:,} hosts with {SECRETS} secrets each"
            found += [
                Row(f"{what}, in seconds", None, built, None, MOST_SECONDS),
                Row("the same with table and counts, in seconds", None, written),
                Row("peak memory of that process in MB", None, megabytes, None, MOST_MEGABYTES),
            ]
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        build(Path(sys.argv[1]))
    else:
        for row in rows():
            print(f"{row.what:98} {row.measured:8.2f} {row.at_most or ''}")
