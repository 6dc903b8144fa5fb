# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revokes the access of compromised hosts, always on the controller, because nothing on these hosts can be trusted."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import revocation
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import Graph
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_graph, options, run_cache
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    """See InfisicalAction. No module is run."""

    _supports_async = False

    def _run_module(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        given = self.validate_options()
        hosts = _names("hosts", given["hosts"])
        if not hosts:
            raise ConfigurationError("hosts", "must contain at least one host (got none).")
        graph = self._graph(given["graph_file"])
        shared = options.resolve(dict(self._task.args), task_vars, self._templar.template, options.SHARED)
        settings = Settings.from_options(shared)
        project_ids = _names("project_ids", given["project_ids"] or [settings.project_id])
        api = run_cache.RunCache(settings, log=self._display.v).api()
        revoker = revocation.Revoker(api, inventory=given["identity_inventory"] or "")
        found = revoker.find(hosts, project_ids)
        before = {host: revocation.recall(graph, host) for host in hosts if not found[host]}
        missing = [host for host, revoked in before.items() if revoked is None]
        if missing:
            error = revocation.explain_missing(missing, graph, (task_vars.get("groups") or {}).get("all", ()))
            error.details = _list_exposed(graph, [revocation.Revocation(host) for host in missing])
            raise error
        check = bool(self._task.check_mode)
        now = revoker.revoke({host: identities for host, identities in found.items() if identities}, check=check)
        revoked = [*now, *filter(None, before.values())]
        exposed = _list_exposed(revoker.list_readable(graph, revoked), revoked)
        for warning in revoker.warnings:
            self._display.warning(warning)
        return {
            "changed": bool(now),
            "hosts": [
                {
                    "host": one.host,
                    "identities": [
                        {"id": own.id, "name": own.name, "project_id": own.project_id} for own in one.identities
                    ],
                    "client_secrets": one.client_secrets,
                }
                for one in revoked
            ],
            **exposed,
            "graph_time": graph.time,
            "problems": revoker.warnings,
            "msg": " ".join(
                [*(one.describe(check=check) for one in revoked), f"Secrets to rotate: {len(exposed['rotate']):,}."]
            ),
        }

    def _graph(self, given: str | None) -> Graph:
        """Return the graph, or an empty one if there is no report yet."""
        return Graph() if given is None else fleet_graph.read(self.controller_path(given), missing_is_empty=True)


def _list_exposed(graph: Graph, revoked: list[revocation.Revocation]) -> dict[str, Any]:
    now = time.time()
    exposed = [row for one in revoked for row in revocation.find_exposed(graph, now, one.host, one.access)]
    return {"exposed": exposed, "rotate": revocation.find_rotation(exposed, {one.host for one in revoked})}


def _names(option: str, given: list[Any]) -> list[str]:
    """Return names without duplicates, empty ones and white space around them."""
    return list(dict.fromkeys(filter(None, (options.as_text(option, name).strip() for name in given))))
