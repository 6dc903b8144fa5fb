# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a job runs, and how many hosts a rate limit bears."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

from ..core.errors import ConfigurationError

HOUR = 60
DAY = 24 * HOUR
INTERVALS = (
    *(1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30),
    *(hours * HOUR for hours in (1, 2, 3, 4, 6, 8, 12, 24)),
)
"""The intervals in minutes that are taken: those that divide an hour or a day, so that every run has its place."""

ACCURACY = 1
"""The seconds by which systemd may be late (`AccuracySec=`)."""

HIGHEST_PERCENT = 60
"""Of a rate limit, what a fleet may use on average; the rest is for people, playbooks and repeated requests."""

EXCESS = 1e-7
"""The chance at which a given minute may hold more requests than the limit: one in ten million. How many such minutes
a fleet has, and that none of 200 random fleets has one, is simulated in tests/bench/fleet_load.py."""

_TEXT = re.compile(r"([0-9]{1,6})([a-z])\Z")
_UNITS = {"m": 1, "h": HOUR, "d": DAY}


def interval_minutes(text: str) -> int:
    """The minutes of an interval such as `15m`, `6h` or `1d`.

    Raises ConfigurationError for what is no interval, and for one that divides neither an hour nor a day.
    """
    found = _TEXT.match(text)
    if not found or found[2] not in _UNITS:
        raise ConfigurationError(
            "interval",
            f"'{text}' is no interval. Write a number of minutes, hours or days with its letter, such as 15m, 6h or "
            "1d.",
        )
    minutes = int(found[1]) * _UNITS[found[2]]
    _check_interval(minutes, text)
    return minutes


def interval_text(minutes: int) -> str:
    """An interval as it is written in options: `15m`, `6h`, `1d`."""
    for letter, unit in (("d", DAY), ("h", HOUR)):
        if minutes and minutes % unit == 0:
            return f"{minutes // unit}{letter}"
    return f"{minutes}m"


def _check_interval(minutes: int, shown: str) -> None:
    if minutes in INTERVALS:
        return
    shorter = [each for each in INTERVALS if each < minutes][-1:]
    longer = [each for each in INTERVALS if each > minutes][:1]
    raise ConfigurationError(
        "interval",
        f"'{shown}' divides neither an hour nor a day, so that its runs would have no fixed places. Take "
        f"{' or '.join(map(interval_text, shorter + longer))}.",
    )


def calendar(minutes: int) -> str:
    """The `OnCalendar=` (systemd.time(7)) of an interval in minutes, from the full hour or midnight on.

    In UTC, because a day of 23 hours in local time would have hosts with a long delay miss a run.
    """
    _check_interval(minutes, interval_text(minutes))
    return shifted_calendar(minutes, 0)


def longest_delay(minutes: int) -> int:
    """The `RandomizedDelaySec=` of an interval in minutes, in seconds: all but what systemd and a host may be late.

    systemd computes the next run from when the last one started. Where that was late, past the end of the interval, it
    leaves the next one out: a delay within its last second meant every other run only (seen with 252 and 257).
    """
    _check_interval(minutes, interval_text(minutes))
    return minutes * 60 - 2 * ACCURACY


def shifted_calendar(minutes: int, offset: int) -> str:
    """The `OnCalendar=` of an interval in minutes, with an offset in seconds from the full hour or midnight.

    For systemd before 247, which has no `FixedRandomDelay=`.
    """
    hour, minute, second = _place(minutes, offset)
    if minutes == 1:
        clock = "*:*"
    elif minutes < HOUR:
        clock = f"*:{minute:02}/{minutes}"
    elif minutes == HOUR:
        clock = f"*:{minute:02}"
    elif minutes < DAY:
        clock = f"{hour:02}/{minutes // HOUR}:{minute:02}"
    else:
        clock = f"{hour:02}:{minute:02}"
    return f"*-*-* {clock}:{second:02} UTC"


def cron(minutes: int, offset: int) -> str:
    """The five fields of a crontab's line for an interval in minutes, with an offset in seconds.

    They give the minute; what is left of the offset, `offset % 60` seconds, is slept by whoever is started. In local
    time, as all of cron is. The list is a range with a step, which every cron knows.
    """
    hour, minute, _second = _place(minutes, offset)
    if minutes < HOUR:
        return f"{_every(minute, 59, minutes)} * * * *"
    if minutes < DAY:
        return f"{minute} {_every(hour, 23, minutes // HOUR)} * * *"
    return f"{minute} {hour} * * *"


def _every(first: int, last: int, step: int) -> str:
    return "*" if step == 1 else f"{first}-{last}/{step}"


def _place(minutes: int, offset: int) -> tuple[int, int, int]:
    """The first (hour, minute, second) of a day at which a job with this offset runs."""
    _check_interval(minutes, interval_text(minutes))
    if not 0 <= offset < minutes * 60:
        raise ConfigurationError("offset", f"{offset} seconds do not lie within {interval_text(minutes)}.")
    return offset // 3600, offset // 60 % 60, offset % 60


def offset(host: str, job: str, minutes: int) -> int:
    """The seconds into an interval at which a job runs on a host (its machine id): fixed, and evenly spread over hosts.

    What `FixedRandomDelay=` does in systemd 247 and later, for those before and for cron.
    """
    digest = hashlib.sha256(f"{host}\0{job}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (minutes * 60)


def bearable(rate_limit: int, requests: int) -> float:
    """The requests a minute that a fleet may send on average through one address that is allowed `rate_limit` of them,
    where each host sends its `requests` at once.

    How many hosts are due in a minute is a matter of chance, so the average lies below the limit: far enough that a
    given minute exceeds it with a chance of EXCESS only, and never over HIGHEST_PERCENT. A rate limit of 0 is none.
    Raises ConfigurationError where a number makes no sense.
    """
    _check_numbers(rate_limit=rate_limit, requests=requests)
    if rate_limit == 0:
        return math.inf
    at_once = rate_limit // requests
    low, high = 0.0, float(at_once)
    while high - low > 1e-9 * at_once:
        middle = (low + high) / 2
        if _chance_of_more(at_once, middle) <= EXCESS:
            low = middle
        else:
            high = middle
    return min(low * requests, rate_limit * HIGHEST_PERCENT / 100)


def _chance_of_more(most: int, average: float) -> float:
    """The chance that a Poisson variable with this average is greater than `most`, which is not less than it."""
    count = most + 1
    term = math.exp(count * math.log(average) - average - math.lgamma(count + 1))
    total = 0.0
    while term > total * 1e-12:
        total += term
        count += 1
        term *= average / count
    return total


def most_hosts(rate_limit: int, requests: int, minutes: int) -> int | None:
    """The hosts that may send so many `requests` every so many minutes under a rate limit; None where there is none."""
    average = bearable(rate_limit, requests)
    if math.isinf(average):
        return None
    # So few that they stay under the limit even when all are due in the same minute.
    never_too_many = min(rate_limit // requests, rate_limit * minutes * HIGHEST_PERCENT // (100 * requests))
    return max(int(average * minutes / requests), never_too_many)


def shortest_interval(hosts: int, requests: int, rate_limit: int) -> int | None:
    """The shortest interval in minutes at which so many hosts may run; None where not even a day would do."""
    _check_numbers(hosts=hosts)
    for minutes in INTERVALS:
        most = most_hosts(rate_limit, requests, minutes)
        if most is None or hosts <= most:
            return minutes
    return None


def check_load(hosts: int, requests: int, minutes: int, rate_limit: int) -> None:
    """Raise ConfigurationError where so many hosts, with so many `requests` each in an interval, are too many.

    It names the interval that would do.
    """
    _check_numbers(hosts=hosts)
    most = most_hosts(rate_limit, requests, minutes)
    if most is None or hosts <= most:
        return
    each = f"{requests} request{'' if requests == 1 else 's'} each"
    problem = (
        f"{hosts} hosts with {each} every {interval_text(minutes)} are too many for a rate_limit of {rate_limit} "
        f"requests a minute, which bears {most} hosts then."
    )
    shortest = shortest_interval(hosts, requests, rate_limit)
    if shortest is not None:
        remedy = f"Set interval to {interval_text(shortest)} or longer, or raise rate_limit here and at the server."
    else:
        remedy = (
            f"No interval would do: once a day, it bears {most_hosts(rate_limit, requests, DAY)}. Raise rate_limit "
            "here and at the server, send fewer requests a host, or let the hosts reach Infisical from several "
            "addresses."
        )
    raise ConfigurationError("interval", f"{problem} {remedy}")


def check_jobs(jobs: Sequence[tuple[int, int]], hosts: int, rate_limit: int) -> None:
    """Raise ConfigurationError where so many hosts, each with these jobs (minutes, requests), are too many.

    All requests are counted as if every job ran as often as the one that runs most, which is on the safe side.
    """
    if jobs:
        shortest = min(minutes for minutes, _requests in jobs)
        check_load(hosts, sum(requests for _minutes, requests in jobs), shortest, rate_limit)


def _check_numbers(hosts: int = 0, requests: int = 1, rate_limit: int = 0) -> None:
    for name, number, least in (("hosts", hosts, 0), ("requests", requests, 1), ("rate_limit", rate_limit, 0)):
        if number < least:
            raise ConfigurationError(name, f"{number} is too small; it is {least} or more.")
