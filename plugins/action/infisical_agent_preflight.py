# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_agent_preflight with the controller's options and the run's login."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import host_login
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import host_identity
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    def connects(self, arguments: dict[str, Any]) -> bool:
        """Return whether the task logs in."""
        return bool(boolean(arguments.get("require_reachable", True), strict=False))

    def _execute_shared(
        self, arguments: dict[str, Any], settings: Settings, task_vars: dict[str, Any], wrap_async: bool
    ) -> dict[str, Any]:
        """Run the module with the run's login, or let the host log in if only the host can prove its identity.

        A host with its own identity does not log in. Instead, check that the controller can manage its identity.
        """
        method = host_login.get_method(arguments)
        is_shared = arguments.get("identity") != host_login.PER_HOST
        if is_shared and method == settings.auth_method and method in _OF_THE_CONTROLLER:
            arguments.pop("host_auth_method", None)
            return super()._execute_shared(arguments, settings, task_vars, wrap_async)
        if not is_shared:
            host_identity.check_server(settings)
            return self._execute(host_login.strip_login(arguments), task_vars, wrap_async)
        return self._execute(host_login.select_options(arguments), task_vars, wrap_async)


_OF_THE_CONTROLLER = ("universal_auth", "token")
"""The methods whose login does not depend on the machine."""
