# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata graph on the controller: reads and updates the graph file, and writes the file and its reports."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import escape
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import format_time
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import documents
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.collect import ask_server
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    Graph,
    HostAnswer,
    is_same,
    locations_to_list,
    merge_hosts,
    merge_server,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.host_identities import ask_identities
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.snapshot import Snapshot
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.table import render_table
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_page
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_view import View, view
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.options import as_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api


@dataclass
class Collected:
    """The graph before and after an update at the time `now` (seconds since the epoch), the content of the page, and
    the problems during the update."""

    before: Graph
    after: Graph
    now: float
    view: View
    problems: list[str]

    @property
    def changed(self) -> bool:
        """True if anything has changed besides the times of responses and listings."""
        return not is_same(self.before, self.after)

    def summarize(self, graph: Graph) -> dict[str, int]:
        """Return the summary of the graph before or after the update."""
        return Snapshot(graph, self.now).summary()

    def content(self, option: str) -> bytes:
        """Return the content of the output file in this option, such as `csv_file`."""
        if option == "graph_file":
            return documents.dump_graph(self.after)
        if option == "csv_file":
            return render_table(Snapshot(self.after, self.now))
        return fleet_page.page(self.view).encode("utf-8")


def collect(
    before: Graph,
    hosts: Mapping[str, Any],
    api: Callable[[], Api],
    *,
    forget_absent: bool,
    most_identities: int = 0,
    inventory: str = "",
) -> Collected:
    """Update the graph with the metadata of hosts ({name: metadata, or None if the host did not respond}), with
    listings from the server, and with the access of up to `most_identities` identities. Raises InfisicalError."""
    now = time.time()
    moment = format_time(now)
    problems: list[str] = []
    answers = {str(host): _answer(str(host), metadata, moment, problems) for host, metadata in hosts.items()}
    after = merge_hosts(before, answers, moment, forget_absent=forget_absent)
    if locations_to_list(after):
        server = api()
        found = ask_server(server, after)
        problems += found.warnings
        after = merge_server(after, server.transport.settings.url, found.projects, found.listings, moment)
        if most_identities and not found.stopped:
            asked = ask_identities(server, after, moment, most=most_identities, inventory=inventory)
            problems += asked.warnings
            after = replace(after, identities=asked.identities)
    return Collected(before, after, now, view(after, now), list(map(escape, problems)))


def _answer(host: str, metadata: Any, moment: str, problems: list[str]) -> HostAnswer | None:
    """Return a host's data, or None if the host did not respond. Because a host may be compromised, invalid metadata
    counts as no response."""
    if metadata is None or metadata == "":
        return None
    try:
        return documents.parse_host(_data(metadata, "metadata"), moment)
    except ConfigurationError as error:
        reason = error.problem.partition(": ")[2]
        problems.append(f"Host {host} counts as not responding. Its metadata {reason} {error.hint}".rstrip())
        return None


def parse_graph(data: Any, option: str) -> Graph:
    """Return the graph in a document or in its JSON text. Errors refer to the option `option`. Raises
    ConfigurationError."""
    return documents.parse_graph(_data(data, option), option)


def _data(given: Any, option: str) -> Any:
    try:
        return json.loads(given) if isinstance(given, (str, bytes)) else as_plain(given)
    except (ValueError, RecursionError):
        raise ConfigurationError(option, "must be valid JSON.") from None


def read(path: str, *, missing_is_empty: bool = False) -> Graph:
    """Return the graph in a file. Raises InfisicalError."""
    try:
        raw = files.read_regular(path)
    except FileNotFoundError:
        if missing_is_empty:
            return Graph()
        problem = f"'{path}' does not exist."
        raise ConfigurationError("graph_file", problem, hint="Write it with infisical_fleet_report.") from None
    except OSError as error:
        raise files.explain(error, f"The graph {path} cannot be read", path) from None
    try:
        return parse_graph(raw, "graph_file")
    except ConfigurationError as error:
        raise error.reworded(error.problem.replace(": ", f": '{path}' ", 1)) from None


def make_folder(path: str) -> None:
    """Create a folder that only its owner can open, unless it exists. Its parent must exist. Raises InfisicalError."""
    try:
        Path(path).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise files.explain(error, f"The folder {path} cannot be created", path) from None


def mode_of(path: str) -> int | None:
    """Return the mode of a file, or None if the file does not exist or cannot be read."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None


def write(path: str, data: bytes, mode: int) -> None:
    """Replace the content of a file with `data`. Raises InfisicalError."""
    try:
        files.write_atomic(path, data, mode)
    except OSError as error:
        raise files.explain(error, f"{path} cannot be written", path) from None
