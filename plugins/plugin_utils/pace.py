# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pace of a run: its hosts start their syncs one after another, to stay below a rate limit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError

_LOCK_WAIT = 60.0
"""Seconds to wait for the lock. Other forks keep the lock only for a moment."""


def read_number(arguments: Mapping[str, Any], name: str) -> int:
    """Return an argument that must be a whole number, or 0 if it is not set. Raises ConfigurationError."""
    given = arguments.get(name)
    try:
        number = 0 if given is None else int(given)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise ConfigurationError(name, f"must be a whole number that is not negative (got '{given}').")
    return number


def compute_turn(requests: int, rate_limit: int) -> float:
    """Return the seconds until the next host may start, after a host that sends `requests`.

    All hosts of a run together use half of `rate_limit`, which is in requests per minute. 0 means that there is no
    limit.
    """
    return 120 * requests / rate_limit if rate_limit else 0.0


def take_turn(seconds: float) -> float:
    """Reserve the next turn, which lasts `seconds`, and return the seconds until it starts.

    All forks share the turns of a run.
    """
    path = Path(C.DEFAULT_LOCAL_TMP, "keyfleet.infisical.pace")
    with files.lock_file(f"{path}.lock", _LOCK_WAIT):
        now = time.monotonic()  # comparable, because all forks are on one machine
        try:
            turn = max(now, float(path.read_text("ascii")))
        except (FileNotFoundError, ValueError):
            turn = now
        path.write_text(repr(turn + seconds), "ascii")
    return turn - now


def return_turn(seconds: float) -> None:
    """Return the unused part of a reserved turn, so that the next host does not wait for it."""
    if seconds > 0:
        take_turn(-seconds)
