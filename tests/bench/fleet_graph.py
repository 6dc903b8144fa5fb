# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the metadata graph of a large fleet costs: from what hosts and the server told to the files of the report.

Each figure is of a process of its own. The second graph is the one that is usual: the first one is read and brought up
to date.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import rows as fleet_query
from row import Row
from simulated_fleet import NOW, SERVICE, Simulated

HOSTS, SECRETS = 1000, 300
MOST_SECONDS, MOST_MEGABYTES = 10, 500


def build(folder: Path) -> None:
    """Bring the graph in `folder` up to date and write the table; print seconds of the processor, because others use
    it too, and the peak of this process's memory in MB.

    What the simulated hosts tell is read before, because it is Ansible that does that in a run.
    """
    lines = (folder / "told.jsonl").read_text("utf-8").splitlines()
    listings = [
        fleet.Listed(fleet.Place(*place), secrets=[fleet.ListedSecret(*row) for row in rows])
        for place, rows in json.loads((folder / "listings.json").read_text("utf-8"))
    ]
    graph_file = folder / "graph.json"
    started = time.process_time()
    before = fleet.parsed(json.loads(graph_file.read_bytes())) if graph_file.exists() else fleet.Graph()
    answers: dict[str, fleet.HostAnswer | None] = {}
    for line in lines:
        host, told = line.split("\t", 1)
        answers[host] = fleet.parsed_answer(json.loads(told), "2027-01-15T08:00:00Z") if told else None
    graph = fleet.with_hosts(before, answers, "2027-01-15T08:00:00Z")
    graph = fleet.with_server(graph, SERVICE, [], listings, "2027-01-15T08:00:00Z")
    graph_file.write_text(json.dumps(fleet.document(graph), separators=(",", ":")), "utf-8")
    built = time.process_time() - started
    (folder / "report.csv").write_bytes(fleet_query.table(graph, NOW))
    fleet_query.summary(graph, NOW)
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
        listings = [(one.place, one.secrets) for one in simulated.listings()]
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
