# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pace at which the hosts of a run start their first syncs, so that they stay below a rate limit."""

from __future__ import annotations

import time
from pathlib import Path

from ansible import constants as C
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files

_LOCK_WAIT = 60.0
"""Seconds to wait for another fork, which holds the lock only to read a clock."""


def seconds_apart(requests: int, rate_limit: int) -> float:
    """Return the seconds between two hosts that send so many `requests` each, so that they use half of a rate limit in
    requests per minute; 0 for no limit."""
    return 120 * requests / rate_limit if rate_limit else 0.0


def await_turn(apart: float, directory: Path | None = None) -> None:
    """Wait until `apart` seconds after the turn of the host before, in whichever fork that was."""
    if apart <= 0:
        return
    folder = directory or Path(C.DEFAULT_LOCAL_TMP)
    kept = folder / "keyfleet.infisical.pace"
    with files.locked(f"{kept}.lock", _LOCK_WAIT):
        now = time.monotonic()  # the forks of a run are on one machine
        try:
            turn = max(now, float(kept.read_text("ascii")))
        except (FileNotFoundError, ValueError):
            turn = now
        kept.write_text(repr(turn + apart), "ascii")
    time.sleep(turn - now)
