# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the metadata graph of a fleet up to date and writes its reports, on the controller, whatever the task's host.

What a thousand hosts have told is there already, and need not travel to a module.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.model import Settings
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_graph, fleet_page, options, run_cache
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction

OPTIONS: dict[str, dict[str, Any]] = {
    "hosts": {"type": "raw", "required": True},
    "graph_file": {"type": "str", "required": True},
    "csv_file": {"type": "str"},
    "html_file": {"type": "str"},
    "forget_absent_hosts": {"type": "bool", "default": False},
    "mode": {"type": "raw", "default": "0600"},
}
FILES = ("graph_file", "csv_file", "html_file")


class ActionModule(InfisicalAction):
    """See InfisicalAction; there is no module to run."""

    _supports_async = False

    def _run_module(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        given = self.checked_options(OPTIONS)
        hosts, mode = given["hosts"], _mode(given["mode"])
        if not isinstance(hosts, Mapping):
            raise ConfigurationError("hosts", "must be a mapping of names of hosts to what they told.")
        paths = {name: self.controller_path(given[name]) for name in FILES if given[name]}
        if "html_file" in paths:
            fleet_page.require()  # before anybody is asked
        settings = Settings.from_options(options.resolve(dict(self._task.args), task_vars, self._templar.template))
        collected = fleet_graph.collect(
            fleet_graph.read(paths["graph_file"], missing_is_empty=True),
            hosts,
            run_cache.RunCache(settings, log=self._display.v).api,
            forget_absent=given["forget_absent_hosts"],
        )
        for problem in collected.problems:
            self._display.warning(problem)
        counts = collected.counts()
        changed = collected.changed or not all(map(os.path.exists, paths.values()))
        if not self._task.check_mode:
            # All are made before one is written, and the graph, which the next run begins with, is written last.
            contents = {name: collected.content(name) for name in paths}
            for name in sorted(paths, key="graph_file".__eq__):
                fleet_graph.write(paths[name], contents[name], mode)
        result: dict[str, Any] = {
            "changed": changed,
            "headline": collected.headline,
            "summary": counts["after"],
            "time": collected.after.time,
            "problems": collected.problems,
        }
        return {**result, "diff": counts} if self._task.diff else result


def _mode(given: Any) -> int:
    # YAML makes another number of 0640 without quotes.
    if not isinstance(given, str):
        raise ConfigurationError("mode", f"must be in quotes, such as '0640', and is the number {given}.")
    try:
        mode = int(given, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777 or mode & 0o602 != 0o600:
        raise ConfigurationError(
            "mode", f"'{given}' is no octal mode such as '0640' by which its owner can read and write, and not "
            "everybody write."
        )  # fmt: skip
    return mode
