# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids of parametrized tests."""

from __future__ import annotations


def name_text(value: object) -> str:
    """Return a part of a test's id. Random bytes would differ between the processes that collect the tests."""
    return value if isinstance(value, str) else type(value).__name__
