# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server with a rate limit sees of a fleet: simulated with the delays that systemd really gives to its hosts.

Prints the table of the manual, and how often random fleets of the sizes in it exceed the limit. It ends with 1 where a
fleet does that the library takes, or where none does that the library refuses by far.
"""

from __future__ import annotations

import argparse
import itertools
import random
import struct
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import schedule

LIMITS = (40, 60, 120, 200, 600, 1200)
REQUESTS = (1, 2, 3, 5, 10)
INTERVALS = (5, 15, 30, 60)
FEW = 200
MINUTE = 60.0

UNIT = "infisical-sync@default.timer"
SECOND = 1_000_000
# What systemd hashes with, and SipHash's own four constants.
SYSTEMD_KEY = bytes.fromhex("510adb76295142c28035eae68e3a37bd")
SIPHASH_START = b"somepseudorandomlygeneratedbytes"
WORD = 2**64 - 1


def siphash(key: bytes, heads: Sequence[bytes], tail: bytes) -> list[int]:
    """SipHash-2-4 of `head + tail` for each head, which are 16 bytes long.

    Each of its four words is one large integer here with a lane of 128 bits for each head, so that a thousand heads
    take as many steps of the interpreter as one: what an addition or a shift carries over a lane's 64 bits lands in the
    unused half of a lane and is masked away.
    """
    ones = int.from_bytes((b"\1" + bytes(15)) * len(heads), "little")
    mask = ones * WORD

    def rotate(word: int, bits: int) -> int:
        return (word << bits | word >> (64 - bits)) & mask

    def mix(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
        a, c = (a + b) & mask, (c + d) & mask
        b, d = rotate(b, 13) ^ a, rotate(d, 16) ^ c
        a, c = (rotate(a, 32) + d) & mask, (c + b) & mask
        b, d = rotate(b, 17) ^ c, rotate(d, 21) ^ a
        return a, b, rotate(c, 32), d

    half = struct.unpack("<2Q", key)
    a, b, c, d = (
        ones * (start ^ word) for start, word in zip(struct.unpack(">4Q", SIPHASH_START), itertools.cycle(half))
    )
    length = 16 + len(tail)
    end = tail + bytes(7 - length % 8) + bytes([length % 256])
    words = [int.from_bytes(b"".join(head[at : at + 8] + bytes(8) for head in heads), "little") for at in (0, 8)]
    words += [ones * word for (word,) in struct.iter_unpack("<Q", end)]
    for word in words:
        a, b, c, d = mix(*mix(a, b, c, d ^ word))
        a ^= word
    c ^= ones * 0xFF
    for _round in range(4):
        a, b, c, d = mix(a, b, c, d)
    return list(struct.unpack(f"<{2 * len(heads)}Q", (a ^ b ^ c ^ d).to_bytes(16 * len(heads), "little"))[::2])


def hashes(machine_ids: Sequence[bytes], unit: str = UNIT) -> list[int]:
    """What systemd makes of each machine id (16 bytes) for a timer of the system's manager, which runs as root.

    From systemd 247 on: machine id, one byte that is 1 for the system's manager, the manager's uid in 4 bytes and the
    unit's name.
    """
    return siphash(SYSTEMD_KEY, machine_ids, b"\1" + struct.pack("<I", 0) + unit.encode())


def delays(machine_ids: Sequence[bytes], minutes: int, unit: str = UNIT) -> list[float]:
    """The seconds by which `FixedRandomDelay=yes` delays a timer of an interval in minutes."""
    window = schedule.longest_delay(minutes) * SECOND
    return [number % window / SECOND for number in hashes(machine_ids, unit)]


@dataclass(frozen=True)
class Fleet:
    """Hosts by their delays in seconds, each of them with `requests` at once every so many minutes."""

    delays: tuple[float, ...]
    minutes: int
    requests: int

    def arrivals(self, dice: random.Random, cycles: int = 4, late: float = 2.0) -> list[float]:
        """When hosts come, in seconds: each of them in each cycle, and up to `late` seconds after it is due.

        It is late because systemd is told to be exact to a second, and a Python has to start.
        """
        starts = [cycle * self.minutes * MINUTE for cycle in range(cycles)]
        return sorted(start + delay + late * dice.random() for start in starts for delay in self.delays)


def random_fleet(dice: random.Random, hosts: int, minutes: int, requests: int) -> Fleet:
    """A fleet of hosts with random machine ids."""
    machine_ids = [dice.getrandbits(128).to_bytes(16, "little") for _host in range(hosts)]
    return Fleet(tuple(delays(machine_ids, minutes)), minutes, requests)


def refused_by_sliding_window(arrivals: Sequence[float], requests: int, limit: int) -> int:
    """How many hosts get a 429 from a server that counts the requests of the last minute, the refused ones too."""
    at_once = limit // requests
    if not at_once:
        return len(arrivals)
    earlier = zip(arrivals[at_once:], arrivals)
    return sum(after - before < MINUTE for after, before in earlier)


def refused_by_fixed_window(arrivals: Sequence[float], requests: int, limit: int) -> int:
    """How many hosts get a 429 from a server that counts by the minute, from the first request after the last one."""
    at_once, refused, first = limit // requests, 0, 0
    while first < len(arrivals):
        after = bisect_left(arrivals, arrivals[first] + MINUTE, first)
        refused += max(0, after - first - at_once)
        first = after
    return refused


@dataclass(frozen=True)
class Outcome:
    """Of so many fleets, those in which a host got a 429, and how many of a host's cycles ended so in all."""

    fleets: int
    refused_fleets: int
    refused_cycles: int
    cycles: int


def simulate(hosts: int, requests: int, minutes: int, limit: int, fleets: int, seed: int, cycles: int = 4) -> Outcome:
    """Random fleets against both kinds of limiter; a fleet counts as refused where either refuses a request."""
    dice = random.Random(seed)
    bad = refused = 0
    for _fleet in range(fleets):
        arrivals = random_fleet(dice, hosts, minutes, requests).arrivals(dice, cycles)
        worse = max(
            refused_by_sliding_window(arrivals, requests, limit), refused_by_fixed_window(arrivals, requests, limit)
        )
        bad += worse > 0
        refused += worse
    return Outcome(fleets, bad, refused, fleets * hosts * cycles)


def rows() -> Iterator[tuple[int, int, list[int]]]:
    """The manual's table: limit, requests a host, and the most hosts at each of INTERVALS."""
    for limit in LIMITS:
        for requests in REQUESTS:
            yield limit, requests, [schedule.most_hosts(limit, requests, minutes) or 0 for minutes in INTERVALS]


def table() -> str:
    """The same as reStructuredText."""
    titles = ", ".join(f"every {schedule.interval_text(minutes)}" for minutes in INTERVALS)
    lines = [".. csv-table::", f"   :header: requests a minute, requests a host, {titles}", "   :align: right", ""]
    for limit, requests, hosts in rows():
        lines.append(
            "   " + ", ".join(f'"{number:,}"' if number > 999 else str(number) for number in (limit, requests, *hosts))
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fleets", type=int, default=50, help="random fleets for each number in the table")
    parser.add_argument("--seed", type=int, default=1, help="another number makes other fleets")
    options = parser.parse_args()
    started, wrong = time.monotonic(), False
    print(table())

    for hosts in (1000, 1080, 1440, 1800):
        share = hosts / 15 / 120
        outcome = simulate(hosts, 1, 15, 120, 200, options.seed)
        print(
            f"{hosts:,} hosts with 1 request every 15m at 120 a minute ({share:.0%}): {outcome.refused_fleets} of "
            f"{outcome.fleets} random fleets got a 429, in {outcome.refused_cycles / outcome.cycles:.2%} of all cycles"
        )
        wrong |= (outcome.refused_fleets == 0) != (hosts <= (schedule.most_hosts(120, 1, 15) or 0))

    number = refused = 0
    for limit, requests, hosts_of in rows():
        for minutes, hosts in zip(INTERVALS, hosts_of):
            # A few fleets do where the average bounds them: a minute over the limit is out of reach then.
            fleets = options.fleets if limit <= FEW else max(options.fleets // 40, 1)
            outcome = simulate(hosts, requests, minutes, limit, fleets, options.seed, cycles=2)
            number += fleets
            refused += outcome.refused_fleets
            if outcome.refused_fleets:
                print(
                    f"{hosts:,} hosts with {requests} requests every {minutes}m at {limit} a minute: "
                    f"{outcome.refused_fleets} of {fleets}, {outcome.refused_cycles} of {outcome.cycles:,} cycles"
                )
    print(f"{refused} of {number:,} fleets as large as the table allows got a 429")
    wrong |= refused * 1000 > number
    print(f"{time.monotonic() - started:.1f} s")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
