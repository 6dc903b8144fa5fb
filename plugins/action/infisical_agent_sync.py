# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_agent_sync. If a rate limit is set, delays each host's start to stay below the limit."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.plugin_utils import pace
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    shared = False

    def _execute(self, arguments: dict[str, Any], task_vars: dict[str, Any], wrap_async: bool) -> dict[str, Any]:
        requests, rate_limit = (pace.read_number(arguments, name) for name in ("requests", "rate_limit"))
        if rate_limit and not self._task.check_mode:
            time.sleep(pace.take_turn(pace.compute_turn(requests or 1, rate_limit)))
        return super()._execute(arguments, task_vars, wrap_async)
