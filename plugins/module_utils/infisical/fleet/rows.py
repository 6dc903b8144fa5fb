# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to the metadata graph: the rows that there are of each kind, the language that chooses among them, a table.

All rows are made one after the other, because those of a large fleet are more than one wants in memory.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from fnmatch import fnmatchcase, translate
from functools import cache, cached_property
from typing import Any, NamedTuple

from ..core.errors import ConfigurationError
from ..core.model import normalize_name, pluralize, shown
from .graph import AgentVault, Graph, Hold, JobScope, KnownSecret, Place, parse_time

INTERVALS = 2.0
"""After how many intervals without a sync that succeeded a vault is stale."""

Row = dict[str, Any]
_Identity = tuple[str, ...]
_Fits = Mapping[str, Callable[[str], object]]


class Facts:
    """A graph at a point in time (seconds since the epoch), with what follows from it; `intervals` as in INTERVALS."""

    def __init__(self, graph: Graph, now: float, intervals: float = INTERVALS) -> None:
        self.graph = graph
        self.now = now
        self.intervals = intervals
        self._wanted: dict[JobScope, dict[str, _Identity]] = {}

    @cached_property
    def hosts_of(self) -> dict[str, set[str]]:
        """The hosts that hold each secret, by its id."""
        found: dict[str, set[str]] = {}
        for vault in self.graph.vaults.values():
            for hold in vault.holds:
                found.setdefault(hold.secret, set()).add(vault.host)
        return found

    @cached_property
    def unknown_vaults(self) -> dict[str, AgentVault]:
        """The vaults of which nobody knows what they hold, by their ids: it may be anything."""
        return {
            id_: vault
            for id_, vault in self.graph.vaults.items()
            if not vault.holds and (vault.silent or vault.answered_at is None or vault.problem is not None)
        }

    @cached_property
    def _ages(self) -> dict[str, int | None]:
        return {id_: self.age(secret.updated_at) for id_, secret in self.graph.secrets.items()}

    @cached_property
    def _by_environment(self) -> dict[tuple[str, str], list[tuple[str, KnownSecret]]]:
        found: dict[tuple[str, str], list[tuple[str, KnownSecret]]] = {}
        for id_, secret in self.graph.secrets.items():
            if not secret.gone and secret.updated_at is not None:
                found.setdefault(secret.place[:2], []).append((id_, secret))
        return found

    def age(self, time: str | None) -> int | None:
        """Whole seconds since a time, None where there is none. A clock that was set back makes no negative age."""
        seconds = parse_time(time)
        return None if seconds is None else max(0, int(self.now - seconds))

    def state_of_hold(self, hold: Hold) -> str:
        """`current`, `behind` the version in Infisical, also where that belongs to a secret that was made anew, or
        `gone` from it; `unknown` where no Infisical has told of that version."""
        secret = self.graph.secrets[hold.secret]
        if secret.gone:
            return "gone"
        is_told = secret.updated_at is not None
        made_anew = is_told and hold.id != secret.id and bool(hold.id and secret.id)
        if hold.version < secret.version or made_anew:
            return "behind"
        return "current" if is_told and hold.version == secret.version else "unknown"

    def behind_seconds(self, hold: Hold) -> int | None:
        """For how long, at least, a newer version has been in Infisical; None where there is none."""
        return self._ages[hold.secret] if self.state_of_hold(hold) == "behind" else None

    def state_of_secret(self, id_: str) -> str:
        """`held` by a vault, `unused` by all of which it is known, or `gone` from Infisical and held still."""
        if self.graph.secrets[id_].gone:
            return "gone"
        return "held" if id_ in self.hosts_of else "unused"

    def state_of_vault(self, vault: AgentVault) -> str:
        """`silent`: the host does not answer; `failed`; `never` synced; `stale`: not for so many intervals; `ok`."""
        if vault.silent:
            return "silent"
        if vault.problem is not None or vault.conclusion not in ("", "ok"):
            return "failed"
        if vault.last_sync is None:
            return "never"
        return "stale" if self.is_late(vault) else "ok"

    def is_late(self, vault: AgentVault) -> bool:
        """Whether no sync has succeeded for so many intervals, or ever, whatever else is wrong with the vault."""
        passed = self.intervals_since(vault)
        return vault.last_sync is None or (passed is not None and passed > self.intervals)

    def intervals_since(self, vault: AgentVault) -> float | None:
        """How many intervals ago the last sync succeeded, None where that is not known."""
        age = self.age(vault.last_sync)
        return None if age is None or vault.interval_minutes <= 0 else round(age / (60 * vault.interval_minutes), 2)

    def missing(self, vault: AgentVault) -> list[str]:
        """The ids of the secrets in the job's scope, known to be in Infisical, that the vault does not hold.

        Where several secrets get one name in the vault, one that is held stands for all of them.
        """
        if vault.scope not in self._wanted:
            self._wanted[vault.scope] = self._in_scope(vault.scope)
        wanted = self._wanted[vault.scope]
        held = {hold.secret for hold in vault.holds}
        left = [id_ for id_ in wanted if id_ not in held]
        if not left:
            return []
        secrets = self.graph.secrets
        taken = {_identity(vault.scope, secrets[id_]) for id_ in held}
        return [id_ for id_ in left if wanted[id_] not in taken]

    def _in_scope(self, scope: JobScope) -> dict[str, _Identity]:
        return {
            id_: _identity(scope, secret)
            for place in scope.places
            for id_, secret in self._by_environment.get(place[:2], ())
            if place.covers(secret.place, scope.recursive)
        }


def _identity(scope: JobScope, secret: KnownSecret) -> _Identity:
    """What is the same for secrets that get the same name in a vault."""
    name = secret.name
    if scope.normalize_names:
        with contextlib.suppress(ConfigurationError):
            name = normalize_name(name)
    return (
        name,
        secret.place.path if "{path}" in scope.key_format else "",
        secret.place.project if "{project}" in scope.key_format else "",
    )


# Rows


def _services(facts: Facts) -> Iterator[Row]:
    graph = facts.graph
    for service in graph.services:
        yield {"id": service, "projects": sum(project.service == service for project in graph.projects.values())}


def _projects(facts: Facts) -> Iterator[Row]:
    graph = facts.graph
    secrets = Counter(secret.place.project for secret in graph.secrets.values())
    vaults: dict[str, set[str]] = {}
    for vault in graph.vaults.values():
        held = {graph.secrets[hold.secret].place.project for hold in vault.holds}
        for project_id in held.union(vault.scope.project_ids):
            vaults.setdefault(project_id, set()).add(vault.id)
    for id_, project in graph.projects.items():
        yield {
            "id": id_,
            "name": project.name,
            "slug": project.slug,
            "service": project.service,
            "secrets": secrets[id_],
            "vaults": len(vaults.get(id_, ())),
        }


def _about(facts: Facts, id_: str) -> Row:
    secret = facts.graph.secrets[id_]
    return {
        "name": secret.name,
        "project": secret.place.project,
        "project_name": _project_name(facts, secret.place),
        "environment": secret.place.environment,
        "path": secret.place.path,
    }


def _project_name(facts: Facts, place: Place) -> str:
    project = facts.graph.projects.get(place.project)
    return project.name if project else ""


def _secrets(facts: Facts) -> Iterator[Row]:
    for id_, secret in facts.graph.secrets.items():
        yield {
            "id": id_,
            **_about(facts, id_),
            "version": secret.version,
            "updated_at": secret.updated_at,
            "hosts": len(facts.hosts_of.get(id_, ())),
            "state": facts.state_of_secret(id_),
        }


def _vaults(facts: Facts) -> Iterator[Row]:
    for id_, vault in facts.graph.vaults.items():
        yield {
            "id": id_,
            "host": vault.host,
            "job": vault.job,
            "service": vault.service,
            "state": facts.state_of_vault(vault),
            "conclusion": vault.conclusion,
            "message": vault.problem or vault.message,
            "last_sync": vault.last_sync,
            "age_seconds": facts.age(vault.last_sync),
            "intervals": facts.intervals_since(vault),
            "late": facts.is_late(vault),
            "environment_checked": vault.environment_checked,
            "generation": vault.generation,
            "secrets": len(vault.holds),
            "behind": sum(facts.state_of_hold(hold) == "behind" for hold in vault.holds),
            "missing": len(facts.missing(vault)),
            "answered_at": vault.answered_at,
        }


def _sources(facts: Facts) -> Iterator[Row]:
    for source in facts.graph.sources.values():
        yield {
            **source.place._asdict(),
            "project_name": _project_name(facts, source.place),
            "listed_at": source.listed_at,
            "age_seconds": facts.age(source.listed_at),
            "problem": source.problem,
        }


def _belongs_to(facts: Facts) -> Iterator[Row]:
    for id_, secret in facts.graph.secrets.items():
        yield {"source": id_, "target": secret.place.project}


def _hosted_by(facts: Facts) -> Iterator[Row]:
    for id_, project in facts.graph.projects.items():
        if project.service:
            yield {"source": id_, "target": project.service}


def _synced_to(facts: Facts) -> Iterator[Row]:
    for id_, vault in facts.graph.vaults.items():
        for hold in vault.holds:
            secret = facts.graph.secrets[hold.secret]
            place = secret.place
            yield {
                "source": hold.secret,
                "target": id_,
                "host": vault.host,
                "job": vault.job,
                "name": secret.name,
                "path": place.path,
                "environment": place.environment,
                "project": place.project,
                "version": hold.version,
                "current_version": secret.version,
                "synced_at": hold.synced_at,
                "state": facts.state_of_hold(hold),
                "behind_seconds": facts.behind_seconds(hold),
            }


def _missing_on(facts: Facts) -> Iterator[Row]:
    for id_, vault in facts.graph.vaults.items():
        for missing in facts.missing(vault):
            secret = facts.graph.secrets[missing]
            yield {
                "source": missing,
                "target": id_,
                "host": vault.host,
                "job": vault.job,
                "name": secret.name,
                "path": secret.place.path,
                "environment": secret.place.environment,
                "project": secret.place.project,
                "current_version": secret.version,
                "behind_seconds": facts.age(secret.updated_at),
            }


def _rotate(facts: Facts, wanted: str) -> Iterator[Row]:
    """Every host, job and file that has a secret, which is given by name or id; one row where none has it, and one for
    each vault that may have it, because nothing is known of what it holds."""
    chosen = {
        id_ for id_, secret in facts.graph.secrets.items() if _fits(secret.name, wanted) or id_ == wanted
    }  # fmt: skip
    if not chosen:
        raise _none_such("name", wanted)
    nowhere = set(chosen)
    nothing = {"file": "", "format": "", "owner": ""}
    for vault in facts.graph.vaults.values():
        for hold in vault.holds:
            if hold.secret not in chosen:
                continue
            nowhere.discard(hold.secret)
            name = hold.name if hold.name is not None else facts.graph.secrets[hold.secret].name
            files = [
                {"file": file.path, "format": file.format, "owner": file.owner}
                for file in vault.files
                if not file.names or any(fnmatchcase(name, pattern) for pattern in file.names)
            ]
            for file in files or [nothing]:
                yield {
                    "id": hold.secret,
                    **_about(facts, hold.secret),
                    "current_version": facts.graph.secrets[hold.secret].version,
                    "host": vault.host,
                    "job": vault.job,
                    "version": hold.version,
                    "state": facts.state_of_hold(hold),
                    **file,
                }
    for id_ in sorted(nowhere):
        about = {"id": id_, **_about(facts, id_), "current_version": facts.graph.secrets[id_].version}
        yield {**about, "host": "", "job": "", "version": None, "state": facts.state_of_secret(id_), **nothing}
    for vault in facts.unknown_vaults.values():
        about = {**_NO_SECRET, "current_version": None}
        yield {**about, "host": vault.host, "job": vault.job, "version": None, "state": "unknown", **nothing}


def _exposed(facts: Facts, wanted: str) -> Iterator[Row]:
    """Every secret that a host has, with the other hosts that have it too; one row for a vault of which nothing is
    known."""
    hosts = {vault.host for vault in facts.graph.vaults.values() if _fits(vault.host, wanted)}
    if not hosts:
        raise _none_such("host", wanted)

    @cache
    def also_on(secret: str) -> list[str]:
        return sorted(facts.hosts_of[secret] - hosts)

    for id_, vault in facts.graph.vaults.items():
        if vault.host not in hosts:
            continue
        of_vault = {"host": vault.host, "job": vault.job}
        if id_ in facts.unknown_vaults:
            versions = {"version": None, "current_version": None}
            yield {**_NO_SECRET, **of_vault, **versions, "state": "unknown", "also_on": []}
        for hold in vault.holds:
            yield {
                "id": hold.secret,
                **_about(facts, hold.secret),
                **of_vault,
                "version": hold.version,
                "current_version": facts.graph.secrets[hold.secret].version,
                "state": facts.state_of_hold(hold),
                "also_on": also_on(hold.secret),
            }


class Kind(NamedTuple):
    """A kind of rows: how they are made, their keys, and the states that there are."""

    rows: Callable[..., Iterator[Row]]
    keys: tuple[str, ...]
    states: tuple[str, ...] = ()


_HOLD_STATES = ("current", "behind", "gone", "unknown")
_SECRET_STATES = ("held", "unused", "gone")
_PLACE_KEYS = ("project", "project_name", "environment", "path")
_SECRET_KEYS = ("id", "name", "project", "project_name", "environment", "path")
_NO_SECRET = dict.fromkeys(_SECRET_KEYS, "")
TYPES: dict[str, Kind] = {
    "service": Kind(_services, ("id", "projects")),
    "secret_project": Kind(_projects, ("id", "name", "slug", "service", "secrets", "vaults")),
    "secret": Kind(_secrets, (*_SECRET_KEYS, "version", "updated_at", "hosts", "state"), _SECRET_STATES),
    "agent_vault": Kind(
        _vaults,
        ("id", "host", "job", "service", "state", "conclusion", "message", "last_sync", "age_seconds", "intervals",
         "late", "environment_checked", "generation", "secrets", "behind", "missing", "answered_at"),
        ("silent", "failed", "never", "stale", "ok"),
    ),
    "source": Kind(_sources, (*_PLACE_KEYS, "listed_at", "age_seconds", "problem")),
}  # fmt: skip
RELATIONS: dict[str, Kind] = {
    "belongs_to": Kind(_belongs_to, ("source", "target")),
    "hosted_by": Kind(_hosted_by, ("source", "target")),
    "synced_to": Kind(
        _synced_to,
        ("source", "target", "host", "job", "name", "path", "environment", "project", "version", "current_version",
         "synced_at", "state", "behind_seconds"),
        _HOLD_STATES,
    ),
    "missing_on": Kind(
        _missing_on,
        ("source", "target", "host", "job", "name", "path", "environment", "project", "current_version",
         "behind_seconds"),
    ),
}  # fmt: skip
QUESTIONS: dict[str, Kind] = {
    "rotate": Kind(
        _rotate,
        (*_SECRET_KEYS, "current_version", "host", "job", "version", "state", "file", "format", "owner"),
        (*_HOLD_STATES, "unused"),
    ),
    "exposed": Kind(
        _exposed, (*_SECRET_KEYS, "host", "job", "version", "current_version", "state", "also_on"), _HOLD_STATES
    ),
}  # fmt: skip
"""What can be asked, with the keys that each row has; a test compares them with the rows and with the manual."""


# The language


def ask(graph: Graph, query: str, now: float) -> list[Row]:
    """The rows that fit a query, at the time `now` (seconds since the epoch). Raises ConfigurationError.

    A query is a list of `key=value`, quoted as in a shell. One of them is `type`, `relation`, or a named question. A
    row fits where each key has one of the values that were given for it, which are patterns as a shell's. What can fit
    nothing, whatever the fleet does, is an error: an empty answer would read as good news.
    """
    terms = _terms(query)
    asked, kind, argument = _chosen(terms)
    intervals = INTERVALS
    if kind is TYPES["agent_vault"] and "intervals" in terms:
        intervals = _number(terms.pop("intervals"))
    unknown = [key for key in terms if key not in kind.keys]
    if unknown:
        raise ConfigurationError(
            "query", f"'{unknown[0]}' is no key of these rows. They have: {', '.join(kind.keys)}."
        )  # fmt: skip
    _check_known(asked, kind, terms, graph)
    fits = {key: re.compile("|".join(translate(value) for value in values)).match for key, values in terms.items()}
    facts = Facts(graph, now, intervals)
    if argument:
        return _answered(asked, kind, argument[0], facts, fits)
    return [row for row in kind.rows(facts) if _is_chosen(row, fits)]


def _is_chosen(row: Row, fits: _Fits) -> bool:
    return all(_has(row[key], match) for key, match in fits.items())


def _answered(asked: str, kind: Kind, argument: str, facts: Facts, fits: _Fits) -> list[Row]:
    """The rows of a named question. What a vault of which nothing is known may have is not chosen by its secrets."""
    of_vault = {key: match for key, match in fits.items() if key in ("host", "job", "state")}
    about = {key: match for key, match in fits.items() if key in _SECRET_KEYS}
    found, is_there = [], False
    for row in kind.rows(facts, argument):
        is_known = bool(row["id"])
        is_there |= is_known and _is_chosen(row, about)
        if _is_chosen(row, fits if is_known else of_vault):
            found.append(row)
    if asked == "rotate" and not is_there:
        raise ConfigurationError("query", f"no secret '{argument}' fits what is asked of its {' and '.join(about)}.")
    return found


def _check_known(asked: str, kind: Kind, terms: dict[str, list[str]], graph: Graph) -> None:
    """Whether there is, of what is asked for, what there can only be so much of."""
    if "late" in terms:
        terms["late"] = [value.lower() for value in terms["late"]]
    for key, there_are in (("state", kind.states), ("late", ("true", "false"))):
        for value in terms.get(key, ()):
            if not any(_fits(one, value) for one in there_are):
                raise ConfigurationError("query", f"{key} cannot be '{value}', only: {', '.join(there_are)}.")
    named = {key: terms[key] for key in _NAMES if key in terms and not (key == "name" and kind in TYPES.values())}
    if "target" in terms:
        named[_TARGETS[asked]] = terms["target"]
    if "also_on" in terms:
        named["host"] = [*named.get("host", []), *terms["also_on"]]
    for key, values in named.items():
        there_is = _NAMES[key](graph)
        for value in values:
            # The rows of a named question that tell of nothing have these empty.
            if not (value == "" and asked in QUESTIONS) and not any(_fits(one, value) for one in there_is):
                raise _none_such(key, value)


_NAMES: dict[str, Callable[[Graph], Set[str]]] = {
    "host": lambda graph: {vault.host for vault in graph.vaults.values()},
    "job": lambda graph: {vault.job for vault in graph.vaults.values()},
    "project": lambda graph: graph.projects.keys(),
    "project_name": lambda graph: {"", *(project.name for project in graph.projects.values())},
    "path": lambda graph: {
        *(secret.place.path for secret in graph.secrets.values()),
        *(source.path for source in graph.sources),
    },
    "environment": lambda graph: {
        *(secret.place.environment for secret in graph.secrets.values()),
        *(vault.scope.environment for vault in graph.vaults.values()),
    },
    "name": lambda graph: {secret.name for secret in graph.secrets.values()},
    "service": lambda graph: set(graph.services),
    "vault": lambda graph: graph.vaults.keys(),
}
"""What names there are in a graph. Whether there is a secret of a name, `type=secret` may well be asked."""
_TARGETS = {"belongs_to": "project", "hosted_by": "service", "synced_to": "vault", "missing_on": "vault"}


def _none_such(key: str, value: str) -> ConfigurationError:
    what = "secret" if key == "name" else key
    return ConfigurationError("query", f"there is no {what} '{value}' in the graph.")


def _terms(query: str) -> dict[str, list[str]]:
    try:
        words = shlex.split(query)
    except ValueError:
        raise ConfigurationError("query", f"'{query}' has a quote or backslash that nothing follows.") from None
    terms: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ConfigurationError("query", f"'{word}' is not of the form key=value.")
        terms.setdefault(key, []).append(value)
    return terms


def _chosen(terms: dict[str, list[str]]) -> tuple[str, Kind, list[str]]:
    """The kind of rows that is asked for, by its name, taken out of the terms, and what a named question is about."""
    tables = {"type": TYPES, "relation": RELATIONS}
    given = [key for key in terms if key in tables or key in QUESTIONS]
    if len(given) != 1 or len(terms[given[0]]) != 1:
        raise ConfigurationError("query", f"names {'none' if not given else 'more than one'} of {_what_there_is()}.")
    [key] = given
    [value] = terms.pop(key)
    if key in QUESTIONS:
        return key, QUESTIONS[key], [value]
    if value not in tables[key]:
        raise ConfigurationError("query", f"there is no {key} '{value}'. There is {_what_there_is()}.")
    return value, tables[key][value], []


def _what_there_is() -> str:
    named = [f"{key}={value}" for key, table in (("type", TYPES), ("relation", RELATIONS)) for value in table]
    return ", ".join([*named, "rotate=SECRET", "exposed=HOST"])


def _number(values: Sequence[str]) -> float:
    try:
        [number] = map(float, values)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ConfigurationError("query", f"intervals must be one number greater than 0, not '{' '.join(values)}'.")
    return number


def _has(value: Any, match: Callable[[str], object]) -> bool:
    if isinstance(value, list):
        return any(match(str(part)) for part in value)
    if isinstance(value, bool):
        return bool(match(str(value).lower()))
    return bool(match("" if value is None else str(value)))


def _fits(text: str, pattern: str) -> bool:
    """As `ask` matches rows."""
    return fnmatchcase(text, pattern)


# The table

COLUMNS = (
    "host", "job", "vault_state", "project", "project_name", "environment", "path", "name", "version",
    "current_version", "state", "behind_seconds", "synced_at", "last_sync",
)  # fmt: skip

_SIGNS = "=+@\uff1d\uff0b\uff20\uff0d-"
"""What spreadsheets take for the beginning of a formula, also in full width."""
_FORMULA = (*_SIGNS, "\t", "\r", "\n")
_END_OF_CELL = ";,|\t\r\n"
_BEFORE = r"\s\"';,|"
_RUN_BEFORE_SIGN = re.compile(f"(?<![{_BEFORE}])[{_BEFORE}]+(?=[{_SIGNS}])")


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: with an apostrophe before what could be one.

    That may stand inside of it, because spreadsheets of many countries end a cell at something else than a comma.
    """

    def escaped(run: re.Match[str]) -> str:
        return run[0] + "'" if any(sign in run[0] for sign in _END_OF_CELL) else run[0]

    text = _RUN_BEFORE_SIGN.sub(escaped, text)
    return "'" + text if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def table(graph: Graph, now: float) -> bytes:
    """A row in CSV (RFC 4180, UTF-8) for each host, job and secret, held or missing, and its state.

    A vault without either has one row, with no secret.
    """
    facts = Facts(graph, now)
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "utf-8", errors="replace", newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    abouts: dict[str, list[str]] = {}
    for vault in graph.vaults.values():
        head = [cell(vault.host), cell(vault.job), facts.state_of_vault(vault)]
        last_sync = cell(vault.last_sync or "")
        missing = facts.missing(vault)
        for id_ in (*(hold.secret for hold in vault.holds), *missing):
            if id_ not in abouts:
                about = _about(facts, id_)
                abouts[id_] = [cell(about[key]) for key in COLUMNS[3:8]]
        for hold in vault.holds:
            current = graph.secrets[hold.secret].version
            state, behind = facts.state_of_hold(hold), facts.behind_seconds(hold)
            writer.writerow([*head, *abouts[hold.secret], hold.version, current, state, behind, cell(hold.synced_at),
                             last_sync])  # fmt: skip
        for id_ in missing:
            secret = graph.secrets[id_]
            age = facts.age(secret.updated_at)
            writer.writerow([*head, *abouts[id_], None, secret.version, "missing", age, None, last_sync])
        if not vault.holds and not missing:
            writer.writerow([*head, *[None] * 10, last_sync])
    stream.flush()
    return raw.getvalue()


_MOST_PROBLEMS = 3


def problems(graph: Graph) -> list[str]:
    """What Infisical did not tell when it was last asked: why it does not list any more what it listed before, with the
    number of places, and how many places it has never listed, which may be what a host has made up."""
    reasons = Counter(source.problem for source in graph.sources.values() if source.problem and source.listed_at)
    found = [f"{shown(reason)} ({pluralize(count, 'place')})" for reason, count in reasons.most_common(_MOST_PROBLEMS)]
    if len(reasons) > _MOST_PROBLEMS:
        found.append(f"{len(reasons) - _MOST_PROBLEMS} more reasons")
    never = sum(source.problem is not None and source.listed_at is None for source in graph.sources.values())
    return found + [f"{pluralize(never, 'place')} never listed (the query type=source says why)"] * bool(never)


def unknown_hosts(graph: Graph) -> list[str]:
    """The hosts with a vault of which nobody knows what it holds."""
    return sorted({vault.host for vault in Facts(graph, 0.0).unknown_vaults.values()})


def summary(graph: Graph, now: float) -> Mapping[str, int]:
    """How many there are of what one acts on."""
    facts = Facts(graph, now)
    counts = dict.fromkeys(
        ("services", "projects", "secrets", "secrets_unused", "secrets_gone", "hosts", "vaults", "vaults_ok",
         "vaults_failed", "vaults_stale", "vaults_never", "vaults_silent", "held", "behind", "gone", "unknown",
         "missing"), 0
    )  # fmt: skip
    counts.update(services=len(graph.services), projects=len(graph.projects), secrets=len(graph.secrets),
                  hosts=len({vault.host for vault in graph.vaults.values()}), vaults=len(graph.vaults))  # fmt: skip
    for id_ in graph.secrets:
        state = facts.state_of_secret(id_)
        if state != "held":
            counts[f"secrets_{state}"] += 1
    for vault in graph.vaults.values():
        counts[f"vaults_{facts.state_of_vault(vault)}"] += 1
        counts["held"] += len(vault.holds)
        counts["missing"] += len(facts.missing(vault))
        for hold in vault.holds:
            state = facts.state_of_hold(hold)
            if state != "current":
                counts[state] += 1
    return counts
