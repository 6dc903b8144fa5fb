# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata graph on the controller: its file read, brought up to date, written with its reports, and asked."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import shown
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import format_time
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import rows as fleet_query
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.collect import inquire
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_page
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_view import View, view

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api


_LONGEST = 64 << 20
"""Characters of what one host tells, in JSON: more is not what an agent tells."""


@dataclass
class Collected:
    """The graph as it was and as it is `now` (seconds since the epoch), and what could not be had for it."""

    before: fleet.Graph
    after: fleet.Graph
    now: float
    problems: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything is new but the times at which was asked."""
        return not fleet.same_facts(self.before, self.after)

    def counts(self, graph: fleet.Graph) -> dict[str, int]:
        """How many there are of everything in one of the two."""
        return dict(fleet_query.summary(graph, self.now))

    @cached_property
    def _view(self) -> View:
        return view(self.after, self.now)

    @property
    def headline(self) -> str:
        """What needs attention, in one line."""
        return fleet_page.headline(self._view)

    def content(self, option: str) -> bytes:
        """What the file that an option names is to hold."""
        if option == "graph_file":
            return json.dumps(fleet.document(self.after), separators=(",", ":")).encode("ascii") + b"\n"
        if option == "csv_file":
            return fleet_query.table(self.after, self.now)
        return fleet_page.page(self._view).encode("utf-8")


def collect(before: fleet.Graph, hosts: Mapping[str, Any], api: Callable[[], Api], *, forget_absent: bool) -> Collected:
    """Bring the graph up to date with what hosts told ({name: metadata, or nothing where one did not answer}) and the
    server tells. Raises InfisicalError."""
    now = time.time()
    moment = format_time(now)
    problems: list[str] = []
    answers = {str(host): _answer(str(host), told, moment, problems) for host, told in hosts.items()}
    after = fleet.with_hosts(before, answers, moment, forget_absent=forget_absent)
    if fleet.places_to_ask(after):
        asked = api()
        found = inquire(asked, after)
        problems += found.warnings
        after = fleet.with_server(after, asked.transport.settings.url, found.projects, found.listings, moment)
    return Collected(before, after, now, list(map(shown, problems)))


def _answer(host: str, told: Any, moment: str, problems: list[str]) -> fleet.HostAnswer | None:
    """What a host told; what is no metadata is no answer, because hosts are not trusted to tell the right thing."""
    if told is None or told == "":
        return None
    try:
        if isinstance(told, str) and len(told) > _LONGEST:
            raise ConfigurationError("metadata", "is too long.")
        return fleet.parsed_answer(_data(told, "metadata"), moment)
    except ConfigurationError as error:
        problems.append(f"The host {host} counts as one that did not answer: {error}")
        return None


def graph_of(data: Any, where: str) -> fleet.Graph:
    """The graph of a document, or of its JSON text; `where` names it in errors. Raises ConfigurationError."""
    return fleet.parsed(_data(data, where), where)


def _data(given: Any, where: str) -> Any:
    try:
        return json.loads(given) if isinstance(given, (str, bytes)) else _plain(given)
    except (ValueError, RecursionError):
        raise ConfigurationError(where, "is no JSON.") from None


def _plain(given: Any) -> Any:
    """Data without the types that Ansible gives to what it has read."""
    if isinstance(given, Mapping):
        return {str(key): _plain(value) for key, value in given.items()}
    if isinstance(given, (list, tuple)):
        return [_plain(value) for value in given]
    if isinstance(given, bool) or given is None:
        return given
    return next((kind(given) for kind in (str, int, float) if isinstance(given, kind)), given)


def read(path: str, *, missing_is_empty: bool = False) -> fleet.Graph:
    """The graph in a file. Raises InfisicalError."""
    try:
        raw = files.read_regular(path)
    except FileNotFoundError:
        if missing_is_empty:
            return fleet.Graph()
        raise ConfigurationError("graph_file", f"'{path}' does not exist. infisical_fleet_report writes it.") from None
    except OSError as error:
        raise files.explained(error, f"The graph {path} cannot be read", path) from None
    try:
        return graph_of(raw, "graph_file")
    except ConfigurationError as error:
        raise ConfigurationError("graph_file", f"'{path}' {str(error).partition(': ')[2]}") from None


def make_folder(path: str) -> None:
    """Make a folder for its owner only, where there is none; what it lies in must be there. Raises InfisicalError."""
    try:
        Path(path).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise files.explained(error, f"The folder {path} cannot be made", path) from None


def mode_of(path: str) -> int | None:
    """The mode of a file, None where there is none that can be looked at."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None


def write(path: str, data: bytes, mode: int) -> None:
    """Put `data` in place of a file. Raises InfisicalError."""
    try:
        files.write_atomic(path, data, mode)
    except OSError as error:
        raise files.explained(error, f"{path} cannot be written", path) from None


def ask(graph: fleet.Graph, query: str) -> list[dict[str, Any]]:
    """The rows that fit a query now. Raises ConfigurationError."""
    return fleet_query.ask(graph, query, time.time())
