# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_agent_sync. If a rate limit is set, delays each host's start to stay below the limit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction

_LOCK_WAIT = 60.0
"""Seconds to wait for the lock. Other forks keep the lock only for a moment."""


class ActionModule(InfisicalAction):
    shared = False

    def _execute(self, arguments: dict[str, Any], task_vars: dict[str, Any], wrap_async: bool) -> dict[str, Any]:
        requests, rate_limit = (_read_number(arguments, name) for name in ("requests", "rate_limit"))
        if rate_limit and not self._task.check_mode:
            # All hosts of a run together use half of the rate limit.
            _await_turn(120 * (requests or 1) / rate_limit)
        return super()._execute(arguments, task_vars, wrap_async)


def _read_number(arguments: dict[str, Any], name: str) -> int:
    given = arguments.get(name)
    try:
        number = 0 if given is None else int(given)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise ConfigurationError(name, f"must be a whole number that is not negative (got '{given}').")
    return number


def _await_turn(seconds: float) -> None:
    """Wait until `seconds` after the start of the previous host, whichever fork that host is in."""
    path = Path(C.DEFAULT_LOCAL_TMP, "keyfleet.infisical.pace")
    with files.lock_file(f"{path}.lock", _LOCK_WAIT):
        now = time.monotonic()  # comparable, because all forks are on one machine
        try:
            turn = max(now, float(path.read_text("ascii")))
        except (FileNotFoundError, ValueError):
            turn = now
        path.write_text(repr(turn + seconds), "ascii")
    time.sleep(turn - now)
