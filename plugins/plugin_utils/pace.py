# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pace that all hosts of a run keep together, for what each of them asks of one server."""

from __future__ import annotations

import time
from pathlib import Path

from ansible import constants as C
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.schedule import HIGHEST_PERCENT
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files

_LOCK_WAIT = 60.0
"""Seconds to wait for another fork, which holds the lock only to look at a clock."""


def seconds_apart(requests: int, rate_limit: int) -> float:
    """How many seconds lie between two hosts that send so many `requests` each, under a limit of requests a minute;
    0 for no limit. Like fleets, a run takes a share of the limit only."""
    return 60 * requests / (rate_limit * HIGHEST_PERCENT / 100) if rate_limit else 0.0


def await_turn(apart: float, directory: Path | None = None) -> None:
    """Wait until it is this host's turn: `apart` seconds after the one before, in whichever fork that was."""
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
