# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the costs of the collection: numbers of requests, and times as a ratio to a floor from the same run.

Each time is the best of several rounds that alternate between the floor and the measured code. The table is printed,
and written as JSON to the file in `--json`. `--publish` also updates the page about speed in the manual. The exit
status is 1 if a row exceeds its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fleet_graph
import identities
import library
import lookups
import rival
import rollout
import speed_page
import timing
import writes
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.version import VERSION
from row import Row

TOPICS: dict[str, tuple[str, Callable[[], list[Row]]]] = {
    "library": ("Library and command", library.rows),
    "lookups": ("Lookups in one template", lookups.rows),
    "hosts": ("Lookups of many hosts", lookups.host_rows),
    "writes": ("Writes in a loop", writes.rows),
    "fleet": ("Fleet report", fleet_graph.rows),
    "identities": ("An identity for each host", identities.rows),
    "rollout": ("Agent: rollout and sync", rollout.rows),
}


def main() -> None:
    # tests/tools must recognize --rival, so it has no abbreviations.
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="+", choices=[*TOPICS, "rival"], help="measure only these topics")
    parser.add_argument("--rival", type=Path, help="absolute path of a checkout of the collection infisical.vault")
    parser.add_argument("--processor-time", action="store_true", help="measure processor time instead of wall time")
    parser.add_argument("--json", type=Path, required=True, help="also write the table as JSON to this file")
    parser.add_argument("--docs", type=Path, required=True, help="the folder docs of the checkout")
    parser.add_argument("--publish", action="store_true", help="update the page about speed in the manual")
    options = parser.parse_args()
    if options.publish and (options.only or options.processor_time):
        parser.error("--publish needs all topics and wall times")
    if "rival" in (options.only or ()) and not options.rival:
        parser.error("the topic rival needs the option --rival")
    if options.processor_time:
        timing.clock = timing.processor_time
    # Plugins are byte-compiled, as on any controller.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    topics = dict(TOPICS)
    if options.rival:
        topics["rival"] = "Compared with infisical.vault", lambda: rival.rows(options.rival)
    chosen = {name: topic for name, topic in topics.items() if not options.only or name in options.only}
    results = {**describe_machine(), "topics": [measure(title, rows) for title, rows in chosen.values()]}
    options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(f"Wrote the table as JSON to {options.json}")
    if options.publish:
        if not all(topic["rows"] for topic in results["topics"]):
            sys.exit("bench: cannot publish, because this machine cannot measure all topics")
        speed_page.publish(results, options.docs)
    over = [row["what"] for topic in results["topics"] for row in topic["rows"] if speed_page.exceeds(row)]
    if over:
        sys.exit("\n  ".join(["bench: these rows exceed their limits:", *over]))


def measure(title: str, rows: Callable[[], list[Row]]) -> dict[str, Any]:
    """Measure a topic, print its table, and return it as JSON."""
    started = time.monotonic()
    found = rows()
    width = max([98, *(len(row.what) for row in found)])
    print(f"\n{title + f' ({time.monotonic() - started:.0f} s)':{width}} {'floor':>8} {'measured':>8}", end="")
    print(f" {'ratio':>6} {'at most':>8} {'requests':>9}")
    shown = [{**asdict(row), "ratio": row.ratio} for row in found]
    for row in shown:
        floor, measured, ratio, at_most, number = speed_page.figures(row)
        mark = " over the limit" if speed_page.exceeds(row) else ""
        print(f"{row['what']:{width}} {floor:>8} {measured:>8} {ratio:>6} {at_most:>8} {number:>9}{mark}", flush=True)
    return {"title": title, "rows": shown}


def describe_machine() -> dict[str, Any]:
    """Return the date, the class of the machine and the versions. Nothing may identify the machine."""
    about = Path("/proc/cpuinfo").read_text("utf-8")
    models = [line.partition(": ")[2] for line in about.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = ("ansible-core", "requests", "cryptography")
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": {
            "cores": os.cpu_count(),
            "processor": models[0] if models else platform.machine(),
            "memory_gb": round(memory / 2**30),
        },
        "versions": {
            "keyfleet.infisical": VERSION,
            "Python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
    }


if __name__ == "__main__":
    main()
