# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_client_secret, which returns a new client secret only to a task with no_log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.release import __version__
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import KNOWN
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    """See InfisicalAction. The module gets the keyword `no_log` of the task from here, because Ansible sends another
    value to modules if the setting `no_target_syslog` is set."""

    hidden_output_hint = (
        "A new client secret may have been created, and its text is lost. Run the task with state: rotated, which "
        "revokes all client secrets with this description and creates another one."
    )
    texts = ("description",)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module. If it fails, print the error, which contains no secret.

        In a task with `no_log`, ansible-core 2.18 hides the whole result. Later versions print the error.
        """
        result = super().run(tmp, task_vars)
        if "problem" in result and self._task.no_log and __version__.startswith("2.18."):
            self._display.warning(f"The task has failed: {result['msg']}")
        return result

    def _returns_values(self, arguments: Mapping[str, Any]) -> bool:
        return bool(self._task.no_log) and arguments.get("state") != "revoked"

    def _refuse_shown_values(self, arguments: dict[str, Any], wrap_async: bool) -> None:
        if wrap_async and self._returns_values(arguments):
            raise ConfigurationError(
                "async",
                "must not be set for this task, because Ansible would store the new client secret in a file.",
                hint="Run the task without async.",
            )

    def _execute(self, arguments: dict[str, Any], task_vars: dict[str, Any], wrap_async: bool) -> dict[str, Any]:
        return super()._execute({**arguments, KNOWN: {"no_log": bool(self._task.no_log)}}, task_vars, wrap_async)
