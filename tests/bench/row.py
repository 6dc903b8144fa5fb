# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line of the bench's table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table; `floor` and `measured` in seconds, or in MB of memory where `what` says so.

    `at_most` is what the ratio is meant to stay under, or the number of requests, MB or seconds where there is no
    floor.
    """

    what: str
    floor: float | None
    measured: float | None
    requests: int | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.floor is None or self.measured is None else self.measured / self.floor
