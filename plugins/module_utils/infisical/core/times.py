# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as reports and vaults have them: ISO 8601 in UTC, to the second."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

_YEAR_10000 = 253_402_300_800
"""Seconds since the epoch at which the year 10000 begins."""


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(time: Any) -> float | None:
    """Seconds since the epoch of a date and time in ISO 8601 (UTC if it has no offset), or None for anything else."""
    if not isinstance(time, str) or not 19 <= len(time) <= 40:
        return None
    try:
        moment = datetime.fromisoformat(time[:-1] + "+00:00" if time.endswith("Z") else time)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
    # An offset can lead to a year that cannot be written.
    return seconds if 0 <= seconds < _YEAR_10000 else None


def normalize_time(time: Any) -> str | None:
    """A time in ISO 8601 as reports have it, or None for anything else."""
    seconds = parse_time(time)
    return None if seconds is None else format_time(seconds)


def format_time(seconds: float) -> str:
    """The time as reports have it, from seconds since the epoch."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
