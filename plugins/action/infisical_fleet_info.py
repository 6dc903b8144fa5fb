# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers a query or question on the controller, from the graph file that infisical_fleet_report writes."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.garbage import pause_garbage_collection
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import escape, pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.plan import join_names
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.rows import ask
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.snapshot import problems, unknown_hosts
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_graph
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    """See InfisicalAction. No module is run."""

    _supports_async = False
    shared = False

    def _run_module(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        given = self.validate_options()
        with pause_garbage_collection():
            graph = fleet_graph.read(self.controller_path(given.pop("graph_file")))
            rows = ask(graph, time.time(), **given)
        incomplete, unknown = problems(graph), unknown_hosts(graph)
        if incomplete:
            self._display.warning(f"Infisical did not list everything: {'; '.join(incomplete)}")
        if unknown:
            names = join_names(map(escape, unknown), 3)
            self._display.warning(f"These hosts have vaults with unknown content, which may be any secret: {names}.")
        return {
            "changed": False,
            "rows": rows,
            "count": len(rows),
            "time": graph.time,
            "problems": incomplete,
            "unknown_hosts": unknown,
            "msg": f"{pluralize(len(rows), 'row')}.",
        }
