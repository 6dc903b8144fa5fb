# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures times of functions in alternating rounds."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass


def processor_time() -> float:
    """Return the processor time in seconds that this process and its ended children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


clock: Callable[[], float] = time.perf_counter
"""The clock of `best`. Processor time is better if the machine also does other work."""


@dataclass(frozen=True)
class Prepared:
    """A function to measure. `before` is called before each round, and its time does not count."""

    before: Callable[[], object]
    run: Callable[[], object]


def best(rounds: int, *runs: Callable[[], object] | Prepared) -> list[float]:
    """Return the shortest time of each function; run them alternately so that all see the same load."""
    times: list[list[float]] = [[] for _run in runs]
    for _round in range(rounds):
        for place, run in enumerate(runs):
            if isinstance(run, Prepared):
                run.before()
            measured = run.run if isinstance(run, Prepared) else run
            started = clock()
            measured()
            times[place].append(clock() - started)
    return [min(of_one) for of_one in times]
