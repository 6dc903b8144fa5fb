# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures loops that write secrets on localhost: a first run, which creates them, and a run that changes nothing.

The floors are the same loop of `ansible.builtin.debug`, which only calls an action plugin, the same loop of
`ansible.builtin.ping`, whose module has a process of its own, and the same writes by a module with its own process.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from dev_server.client import DevServer
from lookups import LOOKUP, count_requests
from plays import Plays
from row import Row
from timing import Prepared, best

# The variable that gives each module a process of its own, as on other hosts.
OWN_PROCESS: dict[str, object] = {"infisical_import_modules": False}
# Keyed by the number of writes. A long loop needs no second round.
ROUNDS = {1: 5, 20: 3, 200: 1}
WRITE = f'{LOOKUP}:\n        name: "WRITTEN_{{{{ item }}}}"\n        value: "value {{{{ item }}}}"'


def rows() -> list[Row]:
    """Return the rows of the table."""
    found = []
    with DevServer() as server, tempfile.TemporaryDirectory(prefix="bench_") as folder:
        for number in ROUNDS:
            found += _loops(server, Path(folder), number)
    return found


def _loops(server: DevServer, folder: Path, number: int) -> list[Row]:
    plays = Plays(folder, server.url)

    def loop(module: str) -> str:
        return f'    - {module}\n      loop: "{{{{ range({number}) | list }}}}"\n'

    debug, ping = plays.play(loop("ansible.builtin.debug:")), plays.play(loop("ansible.builtin.ping:"))
    write, write_apart = plays.play(loop(WRITE)), plays.play(loop(WRITE), variables=OWN_PROCESS)
    server.reset()
    first, again = count_requests(server, write), count_requests(server, write)
    debugs, pings, created, unchanged, created_apart, unchanged_apart = best(
        ROUNDS[number],
        debug,
        ping,
        Prepared(server.reset, write),
        write,
        Prepared(server.reset, write_apart),
        write_apart,
    )
    secrets = "1 secret" if number == 1 else f"{number} secrets"
    first_run, second_run = f"{secrets} created by a loop", f"{secrets.replace(' ', ' unchanged ')} in a loop"
    limits = (2.0, 0.5, 2.0, 2.0, 0.2, 0.12) if number == 20 else (None,) * 6
    own_process = "a process for each module"
    return [
        Row(f"{first_run} (floor: as many ansible.builtin.ping)", pings, created, first, limits[0]),
        Row(f"{second_run} (floor: the same)", pings, unchanged, again, limits[1]),
        Row(f"{first_run} (floor: as many ansible.builtin.debug)", debugs, created, first, limits[2]),
        Row(f"{second_run} (floor: as many ansible.builtin.debug)", debugs, unchanged, again, limits[3]),
        Row(f"{first_run} (floor: with {own_process})", created_apart, created, first, limits[4]),
        Row(f"{second_run} (floor: the first run with {own_process})", created_apart, unchanged, again, limits[5]),
        Row(f"{second_run} (floor: with {own_process})", unchanged_apart, unchanged, again),
    ]
