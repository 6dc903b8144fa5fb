# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_agent with the controller's options and the credentials that the host stores. They are from
the options or, with identity: per_host, from the host's own identity."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import host_login
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import KNOWN
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import host_identity, pace
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    hands_over = True
    ships_library = True
    texts = ("notify_webhook_url", "identity_inventory")

    def connects(self, arguments: dict[str, Any]) -> bool:
        """Return whether the task needs the connection options. A task that removes only the agent does not."""
        return arguments.get("state") != "absent" or _is_per_host(arguments)

    def _execute(self, arguments: dict[str, Any], task_vars: dict[str, Any], wrap_async: bool) -> dict[str, Any]:
        """Run the module. If the host has its own identity, change the identity before and after that."""
        if not _is_per_host(arguments):
            return self._execute_in_turn(host_login.strip_unused(arguments), task_vars, wrap_async)
        if wrap_async:
            raise ConfigurationError("async", "must be 0 if identity is per_host, because the result must be known.")

        def execute(given: dict[str, Any]) -> dict[str, Any]:
            return self._execute_in_turn(given, task_vars, wrap_async)

        host, check = str(task_vars.get("inventory_hostname")), self._task.check_mode
        if arguments.get("state") == "absent":
            return host_identity.remove_identity(arguments, host, execute, check=check)
        return host_identity.install(arguments, host, execute, check=check, diff=self._task.diff)

    def _execute_in_turn(
        self, arguments: dict[str, Any], task_vars: dict[str, Any], wrap_async: bool
    ) -> dict[str, Any]:
        """Run the module. If a rate limit is set, the host waits for its turn before it syncs."""
        rate_limit = pace.read_number(arguments, "rate_limit")
        syncs = boolean(arguments.get("sync", False), strict=False) and not self._task.check_mode
        if not (rate_limit and syncs) or arguments.get("state") == "absent":
            return super()._execute(arguments, task_vars, wrap_async)
        reserved = pace.compute_turn(count_requests(arguments.get("jobs")), rate_limit)
        unused = reserved
        try:
            known = {**arguments.get(KNOWN, {}), "sync_delay": pace.take_turn(reserved)}
            result = super()._execute({**arguments, KNOWN: known}, task_vars, wrap_async)
            if wrap_async:  # the jobs that sync are not known yet
                unused = 0.0
            elif "reports" in result:
                unused = reserved - pace.compute_turn(result["requests"], rate_limit)
            return result
        finally:
            pace.return_turn(unused)


def _is_per_host(arguments: dict[str, Any]) -> bool:
    return arguments.get("identity") == host_login.PER_HOST


def count_requests(jobs: Any) -> int:
    """Return the number of requests that list the secrets of all `jobs`. Invalid jobs are counted as one request."""
    number = 0
    for job in jobs if isinstance(jobs, list) else ():
        projects = job.get("project_ids") if isinstance(job, dict) else None
        projects = projects.split(",") if isinstance(projects, str) else projects
        number += len(projects) if isinstance(projects, list) and projects else 1
    return number or 1
