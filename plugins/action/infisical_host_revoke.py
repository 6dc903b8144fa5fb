# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revokes the access of compromised hosts, always on the controller, because nothing on these hosts can be trusted."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
    join_hints,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import revocation
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import Graph
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.host import NEW_KEY_HINT
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_graph, options, run_cache
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    """See InfisicalAction. No module is run."""

    _supports_async = False

    def _run_module(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        given = self.validate_options()
        hosts = _names("hosts", given["hosts"])
        shared = options.resolve(dict(self._task.args), task_vars, self._templar.template, options.SHARED)
        settings = Settings.from_options(shared)
        project_ids = _names("project_ids", given["project_ids"] or filter(None, [settings.project_id]))
        api = run_cache.RunCache(settings, log=self._display.v).api()
        revoker = revocation.Revoker(api, inventory=given["identity_inventory"] or "")
        graph = self._graph(given["graph_file"], revoker.warnings)
        found = revoker.find(hosts, project_ids)
        before = {host: revocation.recall(graph, host) for host in hosts if not found[host]}
        missing = [host for host, revoked in before.items() if revoked is None]
        check = bool(self._task.check_mode)
        error: InfisicalError | None = None
        try:
            revoker.revoke({host: identities for host, identities in found.items() if identities}, check=check)
        except InfisicalError as failure:
            error = failure
        revoked = [*revoker.revoked, *filter(None, before.values())]
        result = self._build_result(graph, revoker, revoked, missing if error is None else [])
        for warning in revoker.warnings:
            self._display.warning(warning)
        done = " ".join(one.describe(check=check) for one in revoked)
        if error is None and missing:
            inventory_hosts = (task_vars.get("groups") or {}).get("all", ())
            error = revocation.explain_missing(missing, graph, inventory_hosts, revoker.elsewhere)
            error = error.reworded(f"{done or 'Nothing was changed.'} {error.problem}")
        if revoker.unlisted and not check:
            unlisted = revocation.explain_unlisted(revoker.unlisted)
            error = (
                unlisted.reworded(f"{done} {unlisted.problem}")
                if error is None
                else error.reworded(f"{error.problem} {unlisted.problem}", join_hints([error.hint, unlisted.hint]))
            )
        if error is not None:
            error.details = {**result, **error.details}
            raise error
        advice = f"Secrets to rotate: {len(result['rotate']):,}. Before you use a host again: {NEW_KEY_HINT}"
        return {**result, "msg": f"{done} {advice}"}

    def _build_result(
        self,
        graph: Graph,
        revoker: revocation.Revoker,
        revoked: list[revocation.Revocation],
        missing: list[str],
    ) -> dict[str, Any]:
        listed = revoker.list_readable(graph, revoked)
        return {
            "changed": any(one.client_secrets or one.deleted for one in revoked),
            "hosts": [
                {
                    "host": one.host,
                    "identities": [
                        {"id": own.id, "name": own.name, "project_id": own.project_id} for own in one.deleted
                    ],
                    "client_secrets": one.client_secrets,
                }
                for one in revoked
            ],
            **_list_exposed(listed, [*revoked, *map(revocation.Revocation, missing)]),
            "graph_time": graph.time,
            "problems": revoker.warnings,
        }

    def _graph(self, given: str | None, warnings: list[str]) -> Graph:
        """Return the graph, or an empty one if there is no report yet, or if it cannot be read: revoking is urgent."""
        if given is None:
            return Graph()
        try:
            return fleet_graph.read(self.controller_path(given), missing_is_empty=True)
        except InfisicalError as error:
            warnings.append(f"The content of the hosts' vaults is unknown. {error}")
            return Graph()


def _list_exposed(graph: Graph, revoked: list[revocation.Revocation]) -> dict[str, Any]:
    now = time.time()
    exposed = [row for one in revoked for row in revocation.find_exposed(graph, now, one.host, one.access)]
    return {"exposed": exposed, "rotate": revocation.find_rotation(exposed, {one.host for one in revoked})}


def _names(option: str, given: Iterable[Any]) -> list[str]:
    """Return names without duplicates and white space around them. Raises ConfigurationError."""
    names = list(dict.fromkeys(options.as_text(option, name).strip() for name in given))
    if option == "hosts" and not any(names):
        raise ConfigurationError(
            option, "must contain at least one host (got none).",
            hint="Set it to the names of the compromised hosts, such as web1,web2.",
        )  # fmt: skip
    if "" in names:
        raise ConfigurationError(
            option, f"must not contain an empty name (got '{','.join(names)}').",
            hint="On the command line, write the names without spaces, such as web1,web2: Ansible ignores what follows "
            "a space.",
        )  # fmt: skip
    return names
