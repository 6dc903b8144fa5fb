# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Timestamps in reports and vaults: ISO 8601 in UTC, to the second."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

YEAR_10000 = 253_402_300_800
"""The beginning of the year 10000, in seconds since the epoch."""


def now() -> str:
    """Return the current time as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(time: Any) -> float | None:
    """Return an ISO 8601 date and time as seconds since the epoch, or None for anything else.

    A time without an offset is in UTC.
    """
    if not isinstance(time, str) or not 19 <= len(time) <= 40:
        return None
    try:
        moment = datetime.fromisoformat(time[:-1] + "+00:00" if time.endswith("Z") else time)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
    # After the offset is applied, the year may be out of range.
    return seconds if 0 <= seconds < YEAR_10000 else None


def age_of(time: Any, now: float) -> int | None:
    """Return the seconds since an ISO 8601 time, 0 if it is in the future, or None if it is not a time."""
    seconds = parse_time(time)
    return None if seconds is None else max(0, int(now - seconds))


def normalize_time(time: Any) -> str | None:
    """Return an ISO 8601 time in the format of reports, or None for anything else."""
    seconds = parse_time(time)
    return None if seconds is None else format_time(seconds)


def format_time(seconds: float) -> str:
    """Return a time, given in seconds since the epoch, in the format of reports."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_duration(seconds: float) -> str:
    """Return a duration in the largest unit in which it is at least 2, such as "90 s", "12 min" or "3 d"."""
    seconds = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
