# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_agent with the controller's options and credentials, which the host stores."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import KNOWN
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import pace
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    hands_over = True
    ships_library = True
    texts = ("notify_webhook_url",)

    def connects(self, arguments: dict[str, Any]) -> bool:
        """Return whether the task needs the connection options. A task that removes the agent does not."""
        return arguments.get("state") != "absent"

    def _execute(self, arguments: dict[str, Any], task_vars: dict[str, Any], wrap_async: bool) -> dict[str, Any]:
        """Run the module. If a rate limit is set, the host waits for its turn before it syncs."""
        rate_limit = pace.read_number(arguments, "rate_limit")
        syncs = boolean(arguments.get("sync", False), strict=False) and not self._task.check_mode
        if not (rate_limit and syncs and self.connects(arguments)):
            return super()._execute(arguments, task_vars, wrap_async)
        reserved = pace.compute_turn(count_requests(arguments.get("jobs")), rate_limit)
        unused = reserved
        try:
            waits = {**arguments, KNOWN: {"sync_delay": pace.take_turn(reserved)}}
            result = super()._execute(waits, task_vars, wrap_async)
            if wrap_async:  # the jobs that sync are not known yet
                unused = 0.0
            elif "reports" in result:
                unused = reserved - pace.compute_turn(result["requests"], rate_limit)
            return result
        finally:
            pace.return_turn(unused)


def count_requests(jobs: Any) -> int:
    """Return the number of requests that list the secrets of all `jobs`. Invalid jobs are counted as one request."""
    number = 0
    for job in jobs if isinstance(jobs, list) else ():
        projects = job.get("project_ids") if isinstance(job, dict) else None
        projects = projects.split(",") if isinstance(projects, str) else projects
        number += len(projects) if isinstance(projects, list) and projects else 1
    return number or 1
