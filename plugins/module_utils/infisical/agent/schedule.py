# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The intervals of jobs, and their notation in systemd timers."""

from __future__ import annotations

import re

from ..core.errors import ConfigurationError

HOUR = 60
DAY = 24 * HOUR
INTERVALS = (
    *(1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30),
    *(hours * HOUR for hours in (1, 2, 3, 4, 6, 8, 12, 24)),
)
"""The allowed intervals in minutes. Each divides an hour or a day evenly, so that runs are at the same times every
day."""

ACCURACY = 1
"""How many seconds late systemd may start a run (`AccuracySec=`)."""

_TEXT = re.compile(r"([0-9]{1,6})([a-z])\Z")
_UNITS = {"m": 1, "h": HOUR, "d": DAY}


def parse_interval(text: str) -> int:
    """Return the minutes of an interval such as `15m`, `6h` or `1d`. Raises ConfigurationError."""
    found = _TEXT.match(text)
    if not found or found[2] not in _UNITS:
        raise ConfigurationError(
            "interval",
            f"must be a number of minutes, hours or days (got '{text}').",
            hint="Write it with the unit, such as 15m, 6h or 1d.",
        )
    minutes = int(found[1]) * _UNITS[found[2]]
    if minutes not in INTERVALS:
        shorter = [each for each in INTERVALS if each < minutes][-1:]
        longer = [each for each in INTERVALS if each > minutes][:1]
        raise ConfigurationError(
            "interval",
            f"{text} does not divide evenly into an hour or a day.",
            hint=f"Use {' or '.join(map(format_interval, shorter + longer))}.",
        )
    return minutes


def format_interval(minutes: int) -> str:
    """Return an interval in the notation of the options, such as `15m`, `6h` or `1d`."""
    for letter, unit in (("d", DAY), ("h", HOUR)):
        if minutes and minutes % unit == 0:
            return f"{minutes // unit}{letter}"
    return f"{minutes}m"


def render_calendar(minutes: int) -> str:
    """Return the `OnCalendar=` setting (systemd.time(7)) for an interval in minutes, counted from the full hour or
    midnight.

    The times are in UTC: on a day with only 23 hours of local time, hosts with a long delay would miss a run.
    """
    if minutes == 1:
        clock = "*:*"
    elif minutes < HOUR:
        clock = f"*:00/{minutes}"
    elif minutes == HOUR:
        clock = "*:00"
    else:
        clock = f"00/{minutes // HOUR}:00" if minutes < DAY else "00:00"
    return f"*-*-* {clock}:00 UTC"


def compute_delay(minutes: int) -> int:
    """Return the `RandomizedDelaySec=` setting for an interval in minutes: the interval minus the time that a start can
    take.

    systemd computes the next run from the start of the last run. If the last run started after the end of its interval,
    systemd skips the next run. With a delay that reached into the last second, only every other run started (observed
    with systemd 252 and 257).
    """
    return minutes * 60 - 2 * ACCURACY
