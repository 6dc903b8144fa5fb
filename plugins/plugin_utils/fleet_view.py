# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report's page shows of a fleet's graph: a row for a vault, a column for a secret, and what to act on."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    AgentVault,
    Graph,
    KnownSecret,
    parse_time,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.rows import (
    Facts,
    problems,
    unknown_hosts,
)

NAMED = 3
"""How many names a sentence of the summary has before it counts the rest."""


class State(IntEnum):
    """What a vault has of a secret; the numbers stand in the page's data.

    STALE is a version that was the current one when the vault was last heard of, too long ago to be sure of it;
    UNKNOWN one of which no Infisical has told.
    """

    CURRENT = 1
    BEHIND = 2
    MISSING = 3
    STALE = 4
    GONE = 5
    UNKNOWN = 6


class VaultState(IntEnum):
    """How a vault is, by the names that queries give; the numbers stand in the page's data."""

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

    @property
    def words(self) -> tuple[str, str, str, str]:
        """What tells it from all others, as the page's filter takes it."""
        return (self.name, self.project, self.environment, self.path)


class Cell(NamedTuple):
    """What a vault has of the secret of column `column`: a version since `synced` (0 where it has none)."""

    column: int
    state: State
    version: int = 0
    synced: float = 0


@dataclass(frozen=True)
class Row:
    """A vault. Times are in seconds since the epoch, 0 for never; `intervals` is how many intervals the last sync is
    ago, None where that cannot be told; `reason` is in a few words why it fails, `why` in a sentence. Cells are in the
    order of their columns."""

    host: str
    job: str
    state: VaultState
    why: str
    last_sync: float
    answered: float
    intervals: float | None
    reason: str
    cells: Sequence[Cell] = field(repr=False)


@dataclass(frozen=True)
class Sentence:
    """Part of the summary, and what the page then shows: a state, of vaults, or of a secret or all of them."""

    text: str
    kind: str
    state: State | None = None
    vault_state: VaultState | None = None
    column: Column | None = None


@dataclass(frozen=True)
class Trouble:
    """A secret that some hosts have not, or not as it is now: the hosts by what is wrong."""

    column: Column
    hosts: Mapping[State, Sequence[str]]


@dataclass(frozen=True)
class View:
    """All that the page shows, as of `now`; `unknown` is the number of hosts with a vault of which nobody knows what it
    holds."""

    now: float
    services: Sequence[str]
    rows: Sequence[Row]
    columns: Sequence[Column]
    problems: Sequence[str]
    unknown: int

    @cached_property
    def hosts(self) -> int:
        """How many hosts there are: one may have several vaults."""
        return len({row.host for row in self.rows})

    @cached_property
    def unused(self) -> list[Column]:
        """The secrets that are on no host."""
        held = {cell.column for row in self.rows for cell in row.cells if cell.state is not State.MISSING}
        return [column for number, column in enumerate(self.columns) if number not in held]

    @cached_property
    def all_is_well(self) -> bool:
        """Whether there is nothing to do, as far as anybody knows, and nothing that is not known."""
        is_good = not any(self.counts[state] for state in State if state is not State.CURRENT)
        return is_good and not self.problems and all(row.state is VaultState.OK for row in self.rows)

    @cached_property
    def counts(self) -> Counter[State]:
        """How many cells have which state."""
        return Counter(cell.state for row in self.rows for cell in row.cells)

    @cached_property
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


def view(graph: Graph, now: float) -> View:
    """What the page shows of a graph at `now` (seconds since the epoch)."""
    facts = Facts(graph, now)
    numbers = {id_: number for number, id_ in enumerate(graph.secrets)}
    rows = [_row(facts, vault, numbers) for vault in graph.vaults.values()]
    return View(
        now=now,
        services=list(map(_plain, graph.services)),
        rows=sorted(rows, key=lambda row: (row.host, row.job)),
        columns=[_column(graph, secret) for secret in graph.secrets.values()],
        problems=problems(graph),
        unknown=len(unknown_hosts(graph)),
    )


def _column(graph: Graph, secret: KnownSecret) -> Column:
    place = secret.place
    project = graph.projects.get(place.project)
    return Column(
        name=_plain(secret.name),
        service=_plain(project.service) if project else "",
        project=_plain(place.project),
        project_name=_plain((project and (project.name or project.slug)) or place.project),
        environment=_plain(place.environment),
        path=_plain(place.path),
        version=secret.version,
        updated=_seconds(secret.updated_at),
        gone=secret.gone,
    )


def _row(facts: Facts, vault: AgentVault, numbers: Mapping[str, int]) -> Row:
    states = {state.name.lower(): state for state in State}
    if vault.silent or vault.problem is not None or facts.is_late(vault):
        states["current"] = State.STALE
    cells = [
        Cell(numbers[hold.secret], states[facts.state_of_hold(hold)], hold.version, _seconds(hold.synced_at))
        for hold in vault.holds
    ]
    cells += [Cell(numbers[id_], State.MISSING) for id_ in facts.missing(vault)]
    why = "" if vault.conclusion == "ok" else ": ".join(filter(None, (vault.conclusion, vault.message)))
    # What a host gives as a word could be a sentence of the summary.
    reason = vault.conclusion if re.fullmatch(r"[a-z][a-z_-]{1,30}", vault.conclusion) else "for a reason of its own"
    return Row(
        host=_plain(vault.host),
        job=_plain(vault.job),
        state=VaultState[facts.state_of_vault(vault).upper()],
        why=_plain(vault.problem or why),
        reason=reason if vault.problem is None else "the vault cannot be opened",
        last_sync=_seconds(vault.last_sync),
        answered=_seconds(vault.answered_at),
        intervals=facts.intervals_since(vault),
        cells=sorted(cells),
    )


_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _plain(text: str) -> str:
    """A text without the characters that turn the direction of those around them, and make it read as another one, and
    with the sign for one that is none in place of half a character, which JSON can hold, and UTF-8 cannot."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _TURNS.sub(lambda turn: f"\\u{ord(turn[0]):04x}", whole)


def _seconds(time: str | None) -> float:
    return parse_time(time) or 0


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
    sentences = [
        *_of_secrets(view, State.BEHIND, "behind on", "warn"),
        *_of_secrets(view, State.MISSING, "without", "warn"),
        *_of_vaults(view),
        *_of_secrets(view, State.GONE, "still with", "note"),
        *_of_unknown(view),
    ]
    if view.all_is_well:
        secrets = pluralize(len({cell.column for row in view.rows for cell in row.cells}), "secret")
        everyone = "The only host holds" if view.hosts == 1 else f"All {view.hosts:,} hosts hold"
        sentences = [Sentence(f"{everyone} the current version of what belongs there: {secrets}", "good")]
    unused = len(view.unused)
    if unused:
        but = f" but perhaps on {pluralize(view.unknown, 'host')} of which nothing is known" if view.unknown else ""
        sentences.append(Sentence(f"{pluralize(unused, 'secret')} {_are(unused)} on no host{but}", "note"))
    if view.problems:
        asked = "; ".join(view.problems)
        sentences.append(Sentence(f"Infisical did not tell all, so that more may be behind: {asked}", "bad"))
    return sentences


def _of_secrets(view: View, state: State, said: str, kind: str) -> Iterable[Sentence]:
    these = sorted((one for one in view.troubles if state in one.hosts), key=lambda one: -len(one.hosts[state]))
    names = Counter(column.name for column in view.columns)
    for one in these[:NAMED]:
        column = one.column
        where = f" ({column.environment} {column.path})" if names[column.name] > 1 else ""
        hosts, tail = one.hosts[state], ""
        if state is State.GONE:
            tail = ", which Infisical no longer has"
        elif state is State.BEHIND and column.updated:
            tail = f" for {duration(view.now - column.updated)}"
        who = f"{_share(view, len(hosts))} {_are(len(hosts))}"
        yield Sentence(f"{who} {said} {column.name}{where}{tail}{_named(hosts)}", kind, state, column=column)
    rest = {host for one in these[NAMED:] for host in one.hosts[state]}
    if rest:
        who = f"{_share(view, len(rest))} {_are(len(rest))}"
        yield Sentence(f"{who} {said} {pluralize(len(these) - NAMED, 'more secret')}", kind, state)


def _of_unknown(view: View) -> Iterable[Sentence]:
    columns = {cell.column for row in view.rows for cell in row.cells if cell.state is State.UNKNOWN}
    if columns:
        these = pluralize(len(columns), "secret")
        text = f"Whether the version of {these} is current is not known: Infisical has told of no such version"
        yield Sentence(text, "bad", State.UNKNOWN)


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
        reasons = Counter(row.reason for row in rows).most_common(NAMED)
        return f"{'fails' if one else 'fail'} to sync, {', '.join(reason for reason, _count in reasons)}"
    if state is VaultState.STALE:
        ago = sorted(int(row.intervals or 0) for row in rows)
        least = f"{ago[0]}" if ago[0] == ago[-1] else f"{ago[0]:,} to {ago[-1]:,}"
        return f"{'has' if one else 'have'} not synced for {least} intervals"
    if state is VaultState.NEVER and not any(row.job for row in rows):
        return f"{'has' if one else 'have'} no job"
    if state is VaultState.NEVER:
        return f"{'has' if one else 'have'} never synced"
    heard = [row.answered for row in rows if row.answered]
    return f"did not answer{f', last heard of {duration(now - min(heard))} ago' if heard else ''}"


def _share(view: View, hosts: int) -> str:
    return f"{hosts:,} of {pluralize(view.hosts, 'host')}"


def _named(hosts: Sequence[str]) -> str:
    return f": {', '.join(hosts)}" if len(hosts) <= NAMED else ""


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
