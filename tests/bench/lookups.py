# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures lookups in one template, and lookups of many hosts.

The floor of a template is the same template with Ansible's lookup `env`. The floor of a play on many hosts is the same
play with a constant in place of the lookup.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from dev_server.client import DevServer
from plays import Play, Plays
from row import Row
from static_server import StaticServer, name_of, value_of
from timing import best

LOOKUP = "keyfleet.infisical.infisical_secret"
SIZES = (10, 500, 10_000, 50_000)
COUNTS = (1, 50, 500)
HOSTS, TASKS, FORKS, HOSTS_SIZE = (1, 20, 100), 10, 20, 10_000
ROUNDS = 5


def rows() -> list[Row]:
    """Return the rows of lookups in one template."""
    with StaticServer(*SIZES) as server, tempfile.TemporaryDirectory(prefix="bench_") as folder:
        found = _many_lookups(server, Path(folder))
    with DevServer() as dev_server, tempfile.TemporaryDirectory(prefix="bench_") as folder:
        found.append(_fifty_lookups(dev_server, Path(folder)))
    return found


def host_rows() -> list[Row]:
    """Return the rows of plays on many hosts."""
    with DevServer() as dev_server, tempfile.TemporaryDirectory(prefix="bench_") as folder:
        found = [_twenty_hosts(dev_server, Path(folder))]
    with StaticServer(HOSTS_SIZE) as server, tempfile.TemporaryDirectory(prefix="bench_") as folder:
        return found + [_hosts(server, Path(folder), hosts) for hosts in HOSTS]


def template(lookup: str, count: int, size: int) -> str:
    """Return a task whose template calls a lookup for `count` names, from all parts of a folder of `size` secrets.

    `{}` in `lookup` is the expression of the name.
    """
    step = max(1, size // count)
    call = lookup.format(f"'{name_of(0)[:-5]}%05d' % (number * {step} % {size})")
    text = f"{{% for number in range({count}) %}}{{{{ {call} }}}} {{% endfor %}}"
    return f'    - ansible.builtin.debug:\n        msg: "{text}"\n'


def last_value(count: int, size: int) -> str:
    """Return the value of the last lookup in `template`."""
    return value_of((count - 1) * max(1, size // count) % size)


def same_work(value: str, tasks: int = TASKS) -> str:
    """Return tasks that each compare an expression."""
    return "".join(f'    - ansible.builtin.assert:\n        that: "{value}"\n' for _task in range(tasks))


def _many_lookups(server: StaticServer, folder: Path) -> list[Row]:
    most, values = max(COUNTS), {name_of(number): value_of(number) for number in range(max(COUNTS))}
    plays, requests = {}, {}
    for count in COUNTS:
        text = template("lookup('env', {})", count, most)
        plays[0, count] = Plays(folder, server.url).play(text, environment=values)
        for size in SIZES:
            text = template(f"lookup('{LOOKUP}', {{}})", count, size)
            plays[size, count] = Plays(folder, server.url, f"/{size}").play(text)
            requests[size, count] = _count(server, plays[size, count], last_value(count, size))
    # All plays alternate, because the time of a further lookup is a difference.
    time = dict(zip(plays, best(ROUNDS, *plays.values())))
    words = {count: "1 lookup" if count == 1 else f"{count} lookups" for count in COUNTS}
    found = [
        Row(
            f"{words[count]} in one template, folder of {size:,} (floor: lookup('env'))",
            time[0, count],
            time[size, count],
            requests[size, count],
            2.0 if count == most else None,
            size,
            count,
        )
        for count in COUNTS
        for size in SIZES
    ]
    for size in (0, *SIZES):
        further = (time[size, most] - time[size, 1]) / (most - 1) * 1000
        what, limit = (f"folder of {size:,}", 1.0) if size else ("lookup('env')", None)
        found.append(Row(f"each further lookup in ms, {what}", None, further, None, limit))
    size = max(SIZES)
    what = f"peak memory in MB of the largest process in a play with {most} lookups, folder of {size:,}"
    return [*found, Row(what, None, plays[size, most].peak_megabytes(), None, 150)]


def _count(server: StaticServer, play: Play, expected: str = "") -> int:
    """Run a play, end the bench if its output lacks a text, and return the number of its requests."""
    server.take_counts()
    if expected not in play():
        sys.exit(f"bench: a lookup did not return {expected}")
    return sum(server.take_counts().values())


def _fifty_lookups(server: DevServer, folder: Path) -> Row:
    for number in range(50):
        server.put_secret("demo-project", "dev", "/", f"KEY_{number}", f"value {number}")
    names = ", ".join(f"'KEY_{number}'" for number in range(50))
    each = f"{{% for name in [{names}] %}}{{{{ lookup('{LOOKUP}', name) }}}} {{% endfor %}}"
    play = Plays(folder, server.url).play(f'    - ansible.builtin.debug:\n        msg: "{each}"\n')
    return Row("50 lookups of 50 secrets in one template", None, None, count_requests(server, play))


def _twenty_hosts(server: DevServer, folder: Path) -> Row:
    hosts, plays = 20, Plays(folder, server.url)
    subject = plays.play(same_work(f"lookup('{LOOKUP}', 'LOG_LEVEL') == 'debug'"), hosts)
    floor = plays.play(same_work("'debug' == 'debug'"), hosts)
    number = count_requests(server, subject)
    times = best(3, floor, subject)
    return Row(f"{hosts} hosts x {TASKS} tasks with a lookup each (floor: with a constant)", *times, number)


def _hosts(server: StaticServer, folder: Path, hosts: int) -> Row:
    plays, number = Plays(folder, server.url, f"/{HOSTS_SIZE}"), HOSTS_SIZE // 2
    value = value_of(number)
    subject = plays.play(same_work(f"lookup('{LOOKUP}', '{name_of(number)}') == '{value}'"), hosts, FORKS)
    floor = plays.play(same_work(f"'{value}' == '{value}'"), hosts, FORKS)
    requests = _count(server, subject)
    times = best(3, floor, subject)
    what = f"{hosts} {'host' if hosts == 1 else 'hosts'} x {TASKS} tasks with a lookup each"
    limit = 1.3 if hosts == max(HOSTS) else None
    return Row(f"{what}, {FORKS} forks, folder of {HOSTS_SIZE:,} (floor: with a constant)", *times, requests, limit)


def count_requests(server: DevServer, play: Play) -> int:
    """Run a play and return the number of its requests."""
    server.clear_requests()
    play()
    return len(server.requests())
