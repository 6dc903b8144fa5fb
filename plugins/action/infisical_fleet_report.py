# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Updates the metadata graph of a fleet and writes its reports, always on the controller.

No module is run, because the metadata of the hosts are already on the controller.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    after_writing,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.garbage import pause_garbage_collection
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_graph, fleet_page, options, run_cache
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction

FILES = ("graph_file", "csv_file", "html_file")

LOCK_SECONDS = 900.0
"""Seconds to wait while another run updates the same graph file, which takes less time."""


class ActionModule(InfisicalAction):
    """See InfisicalAction. No module is run."""

    _supports_async = False

    def _run_module(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        given = self.validate_options()
        hosts, mode = given["hosts"], _mode(given["mode"])
        if not isinstance(hosts, Mapping):
            raise ConfigurationError("hosts", "must be a mapping from host names to metadata.")
        paths = {name: self._path(name, given[name]) for name in FILES if given[name] is not None}
        places = {**paths, "the lock of graph_file": _lock(paths)}
        for (other, taken), (name, path) in itertools.combinations(places.items(), 2):
            if files.is_same_place(path, taken):
                name, other = (name, other) if name in paths else (other, name)
                raise ConfigurationError(name, f"must be another file than {other} (got '{paths[name]}').")
        shared = options.resolve(dict(self._task.args), task_vars, self._templar.template, options.SHARED)
        settings = Settings.from_options(shared)
        # Garbage collection takes a third of the CPU time of a report about 1,000 hosts (on Python 3.11).
        with self._alone(paths), pause_garbage_collection():
            return self._report(
                settings, hosts, paths, mode, forget_absent=given["forget_absent_hosts"],
                most_identities=max(0, given["max_identities"]), inventory=given["identity_inventory"] or "",
            )  # fmt: skip

    def _path(self, name: str, given: str) -> str:
        if not given:
            raise ConfigurationError(name, "must not be empty.")
        return self.controller_path(given)

    @contextlib.contextmanager
    def _alone(self, paths: Mapping[str, str]) -> Iterator[None]:
        """Context manager: create the parent folders of the files, and lock the graph file during its update."""
        if self._task.check_mode:
            yield
            return
        for path in paths.values():
            fleet_graph.make_folder(os.path.dirname(path))
        lock = _lock(paths)
        busy, hint = f"Another run is updating {paths['graph_file']}.", "Wait until the other run ends."
        with files.hold_lock(lock, LOCK_SECONDS, busy, f"{lock} cannot be locked", hint=hint):
            yield

    def _report(
        self, settings: Settings, hosts: Mapping[str, Any], paths: Mapping[str, str], mode: int, **collecting: Any
    ) -> dict[str, Any]:
        if not hosts:
            raise ConfigurationError("hosts", "must contain at least one host (got none).")
        collected = fleet_graph.collect(
            fleet_graph.read(paths["graph_file"], missing_is_empty=True),
            hosts,
            run_cache.RunCache(settings, log=self._display.v).api,
            **collecting,
        )
        for problem in collected.problems:
            self._display.warning(problem)
        summary = collected.summarize(collected.after)  # before the contents of the files, because it needs memory too
        changed = collected.changed or any(fleet_graph.mode_of(path) != mode for path in paths.values())
        if not self._task.check_mode:
            # Render all files before writing any of them. The next run starts from the graph, so write the graph last.
            contents = {name: collected.content(name) for name in paths}
            written: list[str] = []
            for name in sorted(paths, key="graph_file".__eq__):
                before = f"Written: {', '.join(written)}." if written else ""
                with after_writing(before, changed=changed, written=written):
                    fleet_graph.write(paths[name], contents[name], mode)
                written.append(paths[name])
        headline = fleet_page.headline(collected.view)
        result: dict[str, Any] = {
            "changed": changed,
            "headline": headline,
            "msg": headline,
            "summary": summary,
            "time": collected.after.time,
            "problems": collected.problems,
        }
        if self._task.diff:
            result["diff"] = {"before": collected.summarize(collected.before), "after": result["summary"]}
        return result


def _lock(paths: Mapping[str, str]) -> str:
    return paths["graph_file"] + ".lock"


def _mode(given: Any) -> int:
    try:
        mode = int(options.as_text("mode", given), 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777 or mode & 0o602 != 0o600:
        raise ConfigurationError(
            "mode", "must be an octal mode like '0640': the owner can read and write, and others cannot write "
            f"(got '{given}')."
        )  # fmt: skip
    return mode
