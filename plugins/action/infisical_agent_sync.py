# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the module infisical_agent_sync; with a rate limit, on one host after the other."""

from __future__ import annotations

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import pace
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    """See InfisicalAction."""

    shared = False

    def _execute(self, arguments: dict[str, Any], task_vars: dict[str, Any], wrap_async: bool) -> dict[str, Any]:
        requests, rate_limit = (_read_number(arguments, name) for name in ("requests", "rate_limit"))
        if not self._task.check_mode:
            pace.await_turn(pace.seconds_apart(requests or 1, rate_limit))
        return super()._execute(arguments, task_vars, wrap_async)


def _read_number(arguments: dict[str, Any], name: str) -> int:
    given = arguments.get(name)
    try:
        number = 0 if given is None else int(given)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise ConfigurationError(name, "must be a whole number, 0 or more.")
    return number
