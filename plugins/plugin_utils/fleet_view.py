# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report's page shows of a fleet's graph: a row for each vault, a column for each secret, and what to act on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple

STALE_INTERVALS = 2.0
"""A vault that has not synced for more of its intervals than this is stale."""

NAMED = 3
"""How many names a sentence of the summary has before it counts the rest."""


class State(IntEnum):
    """What a vault has of a secret; the numbers stand in the page's data.

    STALE is a version that was the current one when the vault was last heard of, too long ago to be sure of it.
    """

    CURRENT = 1
    BEHIND = 2
    MISSING = 3
    STALE = 4
    GONE = 5


class VaultState(IntEnum):
    """How a vault is; the numbers stand in the page's data. A host is SILENT that did not answer when it was asked."""

    OK = 0
    FAILED = 1
    STALE = 2
    NEVER = 3
    SILENT = 4


class Column(NamedTuple):
    """A secret. `updated` is in seconds since the epoch, 0 where it is not known."""

    name: str
    service: str
    project: str
    project_name: str
    environment: str
    path: str
    version: int
    updated: float
    gone: bool

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it is in Infisical, as a person knows it."""
        return (self.project_name, self.environment, self.path)


class Cell(NamedTuple):
    """What a vault has of the secret of column `column`: a version since `synced` (0 where it has none)."""

    column: int
    state: State
    version: int = 0
    synced: float = 0


@dataclass(frozen=True)
class Row:
    """A vault. Times are in seconds since the epoch, 0 for never; `intervals` is how many intervals the last sync is
    ago, None where that cannot be told."""

    host: str
    job: str
    state: VaultState
    why: str
    last_sync: float
    answered: float
    intervals: float | None
    cells: Sequence[Cell] = field(repr=False)


@dataclass(frozen=True)
class Sentence:
    """Part of the summary, and what the page then shows: a state, a host or a secret."""

    text: str
    kind: str
    state: State | None = None
    vault_state: VaultState | None = None
    host: str = ""
    secret: str = ""


@dataclass(frozen=True)
class Trouble:
    """A secret that some hosts have not, or not as it is now: the hosts by what is wrong."""

    column: Column
    hosts: Mapping[State, Sequence[str]]


@dataclass(frozen=True)
class View:
    """All that the page shows; `time` is that of the graph, `now` that of the report."""

    time: float
    now: float
    services: Sequence[str]
    rows: Sequence[Row]
    columns: Sequence[Column]
    problems: Sequence[str]

    @property
    def hosts(self) -> int:
        """How many hosts there are: one may have several vaults."""
        return len({row.host for row in self.rows})

    @property
    def unused(self) -> list[Column]:
        """The secrets that are on no host."""
        held = {cell.column for row in self.rows for cell in row.cells if cell.state is not State.MISSING}
        return [column for number, column in enumerate(self.columns) if number not in held and not column.gone]

    def counts(self) -> Counter[State]:
        """How many cells have which state."""
        return Counter(cell.state for row in self.rows for cell in row.cells)

    def vault_counts(self) -> Counter[VaultState]:
        """How many vaults have which state."""
        return Counter(row.state for row in self.rows)

    def troubles(self) -> list[Trouble]:
        """The secrets with something to do about, those that concern most hosts first."""
        found: dict[int, dict[State, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
        for row in self.rows:
            for cell in row.cells:
                if cell.state in (State.BEHIND, State.MISSING, State.GONE):
                    found[cell.column][cell.state][row.host] = None
        troubles = [
            Trouble(self.columns[number], {state: list(hosts) for state, hosts in sorted(states.items())})
            for number, states in found.items()
        ]
        return sorted(troubles, key=lambda one: (-sum(map(len, one.hosts.values())), one.column.name, one.column))


def view(graph: Mapping[str, Any], now: float) -> View:
    """What the page shows of a graph document at `now` (seconds since the epoch)."""
    projects = {project["id"]: project for project in graph["projects"]}
    columns = [_column(secret, projects) for secret in graph["secrets"]]
    in_scope = _Scopes(columns)
    rows = [_row(vault, columns, in_scope, now) for vault in graph["vaults"]]
    problems = Counter(str(source["problem"]) for source in graph.get("sources", ()) if source.get("problem"))
    return View(
        time=_seconds(graph.get("time")),
        now=now,
        services=[service["id"] for service in graph["services"]],
        rows=sorted(rows, key=lambda row: (row.host, row.job)),
        columns=columns,
        problems=[f"{problem} ({_counted(count, 'place')})" for problem, count in sorted(problems.items())],
    )


def _column(secret: Mapping[str, Any], projects: Mapping[str, Mapping[str, Any]]) -> Column:
    project = projects.get(secret["project"], {})
    return Column(
        name=secret["name"],
        service=project.get("service") or "",
        project=secret["project"],
        project_name=project.get("name") or project.get("slug") or secret["project"],
        environment=secret["environment"],
        path=secret["path"],
        version=int(secret.get("version") or 0),
        updated=_seconds(secret.get("updated_at")),
        gone=bool(secret.get("gone")),
    )


class _Scopes:
    """Which secrets belong into a vault by its job's scope; most vaults of a fleet share a few scopes."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._by_place: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
        for number, column in enumerate(columns):
            if not column.gone:
                self._by_place[column.project, column.environment].append((column.path, number))
        self._known: dict[tuple[object, ...], frozenset[int]] = {}

    def __call__(self, scope: Mapping[str, Any]) -> frozenset[int]:
        projects, environment = tuple(scope.get("project_ids") or ()), scope.get("environment") or ""
        path, recursive = scope.get("secret_path") or "/", bool(scope.get("recursive"))
        key = (projects, environment, path, recursive)
        if key not in self._known:
            below = path.rstrip("/") + "/"
            self._known[key] = frozenset(
                number
                for project in projects
                for place, number in self._by_place.get((project, environment), ())
                if place == path or (recursive and place.startswith(below))
            )
        return self._known[key]


def _row(vault: Mapping[str, Any], columns: Sequence[Column], in_scope: _Scopes, now: float) -> Row:
    last_sync, minutes = _seconds(vault.get("last_sync")), int(vault.get("interval_minutes") or 0)
    intervals = (now - last_sync) / (minutes * 60) if last_sync and minutes else None
    state, why = _vault_state(vault, last_sync, intervals)
    known = State.STALE if state is VaultState.SILENT or _is_old(intervals) else State.CURRENT
    cells = []
    for number, version, synced, *_name in vault["holds"]:
        column = columns[number]
        found = State.GONE if column.gone else State.BEHIND if version < column.version else known
        cells.append(Cell(number, found, version, _seconds(synced)))
    missing = in_scope(vault.get("scope") or {}).difference(cell.column for cell in cells)
    cells += [Cell(number, State.MISSING) for number in sorted(missing)]
    return Row(
        host=vault["host"],
        job=vault.get("job") or "",
        state=state,
        why=why,
        last_sync=last_sync,
        answered=_seconds(vault.get("answered_at")),
        intervals=intervals,
        cells=cells,
    )


def _is_old(intervals: float | None) -> bool:
    return intervals is not None and intervals > STALE_INTERVALS


def _vault_state(vault: Mapping[str, Any], last_sync: float, intervals: float | None) -> tuple[VaultState, str]:
    """The state, and why it is so as far as the host told."""
    conclusion, message = str(vault.get("conclusion") or ""), str(vault.get("message") or "")
    why = vault.get("problem") or ("" if conclusion in ("", "ok") else f"{conclusion}: {message}".rstrip(": "))
    if vault.get("silent"):
        return VaultState.SILENT, str(why)
    if not last_sync:
        return VaultState.NEVER, str(why)
    if why:
        return VaultState.FAILED, str(why)
    return (VaultState.STALE if _is_old(intervals) else VaultState.OK), ""


def _seconds(time: Any) -> float:
    """Seconds since the epoch of a time in ISO 8601, 0 for what is none."""
    try:
        return datetime.fromisoformat(time).timestamp() if time else 0
    except (TypeError, ValueError, OverflowError):
        return 0


# Sentences


def duration(seconds: float) -> str:
    """How long, in the largest unit of which there are two: "90 s", "12 min", "3 d"."""
    seconds = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def summary(view: View) -> list[Sentence]:
    """What a person is to know first, the most urgent first; one sentence that all is well, where it is."""
    if not view.rows:
        return [Sentence("No host has told of a vault yet.", "note")]
    troubles = view.troubles()
    sentences = [
        *_of_secrets(view, troubles, State.BEHIND, "behind on", "warn"),
        *_of_secrets(view, troubles, State.MISSING, "without", "warn"),
        *_of_vaults(view),
        *_of_secrets(view, troubles, State.GONE, "still with", "note"),
    ]
    if not sentences:
        secrets = _counted(len({cell.column for row in view.rows for cell in row.cells}), "secret")
        everyone = "The only host holds" if view.hosts == 1 else f"All {view.hosts:,} hosts hold"
        sentences = [Sentence(f"{everyone} the current version of what belongs there: {secrets}", "good")]
    unused = len(view.unused)
    if unused:
        sentences.append(Sentence(f"{_counted(unused, 'secret')} {_are(unused)} on no host", "note"))
    if view.problems:
        asked = "; ".join(view.problems)
        sentences.append(Sentence(f"Infisical did not tell all, so that more may be behind: {asked}", "bad"))
    return sentences


def _of_secrets(view: View, troubles: Sequence[Trouble], state: State, said: str, kind: str) -> Iterable[Sentence]:
    these = sorted((one for one in troubles if state in one.hosts), key=lambda one: -len(one.hosts[state]))
    for one in these[:NAMED]:
        hosts, tail = one.hosts[state], ""
        if state is State.GONE:
            tail = ", which Infisical no longer has"
        elif state is State.BEHIND and one.column.updated:
            tail = f" for {duration(view.now - one.column.updated)}"
        who = f"{_share(view, len(hosts))} {_are(len(hosts))}"
        yield Sentence(f"{who} {said} {one.column.name}{tail}{_named(hosts)}", kind, state, secret=one.column.name)
    rest = {host for one in these[NAMED:] for host in one.hosts[state]}
    if rest:
        who = f"{_share(view, len(rest))} {_are(len(rest))}"
        yield Sentence(f"{who} {said} {_counted(len(these) - NAMED, 'more secret')}", kind, state)


def _of_vaults(view: View) -> Iterable[Sentence]:
    by_state: dict[VaultState, list[Row]] = defaultdict(list)
    for row in view.rows:
        by_state[row.state].append(row)
    for state in (VaultState.STALE, VaultState.FAILED, VaultState.SILENT, VaultState.NEVER):
        rows = by_state[state]
        if rows:
            hosts = list(dict.fromkeys(row.host for row in rows))
            said = _said(state, rows, len(hosts) == 1, view.now)
            yield Sentence(f"{_share(view, len(hosts))} {said}{_named(hosts)}", "bad", vault_state=state)


def _said(state: VaultState, rows: Sequence[Row], one: bool, now: float) -> str:
    if state is VaultState.FAILED:
        reasons = Counter(row.why.split(":")[0] for row in rows).most_common(NAMED)
        return f"{'fails' if one else 'fail'} to sync, {', '.join(reason for reason, _count in reasons)}"
    if state is VaultState.STALE:
        ago = sorted(int(row.intervals or 0) for row in rows)
        least = f"{ago[0]}" if ago[0] == ago[-1] else f"{ago[0]:,} to {ago[-1]:,}"
        return f"{'has' if one else 'have'} not synced for {least} intervals"
    if state is VaultState.NEVER:
        return f"{'has' if one else 'have'} never synced"
    heard = [row.answered for row in rows if row.answered]
    return f"did not answer{f', last heard of {duration(now - min(heard))} ago' if heard else ''}"


def _share(view: View, hosts: int) -> str:
    return f"{hosts:,} of {_counted(view.hosts, 'host')}"


def _named(hosts: Sequence[str]) -> str:
    return f": {', '.join(hosts)}" if len(hosts) <= NAMED else ""


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
