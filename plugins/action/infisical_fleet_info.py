# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers a query from the metadata graph's file, on the controller, where infisical_fleet_report has written it."""

from __future__ import annotations

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize, shown
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.plan import named
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import rows as fleet_query
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_graph
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction

OPTIONS = {"graph_file": {"type": "str", "required": True}, "query": {"type": "str", "required": True}}


class ActionModule(InfisicalAction):
    """See InfisicalAction; there is no module to run."""

    _supports_async = False
    shared = False

    def _run_module(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        given = self.checked_options(OPTIONS)
        graph = fleet_graph.read(self.controller_path(given["graph_file"]))
        rows = fleet_graph.ask(graph, given["query"])
        problems = fleet_query.problems(graph)
        if problems:
            self._display.warning(f"Infisical did not tell all of what the graph is about: {'; '.join(problems)}")
        unknown = fleet_query.unknown_hosts(graph)
        if unknown:
            self._display.warning(f"Nothing is known of what these hosts hold: {named(map(shown, unknown), 3)}.")
        return {
            "changed": False,
            "rows": rows,
            "count": len(rows),
            "time": graph.time,
            "problems": problems,
            "unknown_hosts": unknown,
            "msg": f"{pluralize(len(rows), 'row')}.",
        }
