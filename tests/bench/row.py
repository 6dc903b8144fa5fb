# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A row of the benchmark's table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row of the table; `floor` and `measured` are in seconds, or in MB or ms if `what` says so.

    `at_most` is the limit of the ratio or, without a floor, of the requests, MB, ms or seconds. `size` is the number of
    secrets in the folder and `count` the number of lookups, if the row is a point of the curve.
    """

    what: str
    floor: float | None
    measured: float | None
    requests: int | None = None
    at_most: float | None = None
    size: int | None = None
    count: int | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.floor is None or self.measured is None else self.measured / self.floor
