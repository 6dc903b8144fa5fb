# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata graph of a fleet: services, projects, secrets, vaults, and who holds which version; never a value.

Nothing here asks anybody. Both documents, that of a host and that of the graph, are described in the manual's guide to
the fleet.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, Optional
from urllib.parse import quote

from ..core.errors import ConfigurationError
from ..core.model import is_text, shown

METADATA_SCHEMA, GRAPH_SCHEMA = "keyfleet.infisical/metadata", "keyfleet.infisical/fleet"
VERSION = 1
"""Of both documents: one with a greater number is refused, keys that are not known are ignored."""


class Place(NamedTuple):
    """A folder of an environment (slug) of a project (id)."""

    project: str
    environment: str
    path: str

    def covers(self, other: Place, recursive: bool) -> bool:
        """Whether what lies in `other` is listed here."""
        if self[:2] != other[:2]:
            return False
        below = recursive and (self.path == "/" or other.path.startswith(self.path + "/"))
        return self.path == other.path or below


class Project(NamedTuple):
    """A project; all but its id is empty where no server has told of it."""

    id: str
    name: str
    slug: str
    service: str


class KnownSecret(NamedTuple):
    """A secret by name, with the version that is current.

    `updated_at` is the time of that version, None where no server has told of the secret yet: `version` is then the
    highest that a vault holds. `gone` is what the server no longer has, and a vault still holds. `id` is Infisical's,
    which is another one where a secret was deleted and made again, so that its versions begin anew.
    """

    place: Place
    name: str
    version: int = 0
    updated_at: Optional[str] = None  # noqa: UP045 - evaluated on Python 3.9
    gone: bool = False
    id: str = ""


class Hold(NamedTuple):
    """That a vault holds a secret (by its key in the graph), in which version and since when; `name` in the vault where
    it is another one than in Infisical, `id` as in KnownSecret."""

    secret: str
    version: int
    synced_at: str
    name: Optional[str] = None  # noqa: UP045
    id: str = ""


class DeliveredFile(NamedTuple):
    """A file that a job delivers to an application; `names` are patterns of names in the vault, none for all."""

    path: str
    format: str
    owner: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobScope:
    """What a job pulls, and what the names in its vault are made of."""

    project_ids: tuple[str, ...] = ()
    environment: str = ""
    secret_path: str = "/"
    recursive: bool = False
    key_format: str = "{key}"
    normalize_names: bool = False

    @property
    def places(self) -> list[Place]:
        """The folders that it pulls, those below them left out."""
        return [Place(project, self.environment, self.secret_path) for project in self.project_ids]


@dataclass(frozen=True)
class AgentVault:
    """A host's vault with its job. Times are ISO 8601 in UTC, None for never.

    `host` is the name in the inventory. `environment_checked` is when the job's environment was last seen to exist.
    `conclusion` is that of the last sync, `message` says more; `problem` is why the vault could not be opened.
    `silent` is whether the host was asked again since `answered_at`, in vain. A host that has no job, or has never
    answered, has one with an empty job.
    """

    host: str
    job: str
    service: str = ""
    scope: JobScope = field(default_factory=JobScope)
    interval_minutes: int = 0
    last_sync: str | None = None
    environment_checked: str | None = None
    ended: str | None = None
    conclusion: str = ""
    message: str = ""
    problem: str | None = None
    generation: int = 0
    agent: str = ""
    answered_at: str | None = None
    silent: bool = False
    files: tuple[DeliveredFile, ...] = ()
    holds: tuple[Hold, ...] = field(default=(), repr=False)

    @property
    def id(self) -> str:
        """`host/job`, each percent-encoded."""
        return f"{_encoded(self.host)}/{_encoded(self.job)}"


@dataclass(frozen=True)
class Source:
    """A folder, with all below it, that the server was asked for: when it was last listed, None for never, and why it
    could not be this time."""

    place: Place
    listed_at: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Graph:
    """All that is known of a fleet at `time`; secrets by their ids, vaults by theirs."""

    time: str = ""
    projects: Mapping[str, Project] = field(default_factory=dict)
    secrets: Mapping[str, KnownSecret] = field(default_factory=dict)
    vaults: Mapping[str, AgentVault] = field(default_factory=dict)
    sources: Mapping[Place, Source] = field(default_factory=dict)

    @property
    def services(self) -> list[str]:
        """The addresses of the Infisical servers: those of projects, and where a vault's projects are not known to be
        on another one, the vault's."""
        found = {project.service for project in self.projects.values() if project.service}
        for vault in self.vaults.values():
            known = [self.projects[one].service for one in vault.scope.project_ids if one in self.projects]
            if vault.service and not any(known):
                found.add(vault.service)
        return sorted(found)


@dataclass(frozen=True)
class HostAnswer:
    """What a host has told: its vaults (`host` empty), and the secrets in them that nobody else may know of."""

    vaults: tuple[AgentVault, ...] = ()
    secrets: Mapping[str, KnownSecret] = field(default_factory=dict)


class ListedSecret(NamedTuple):
    """A secret as a server lists it, `updated_at` in the server's own form."""

    path: str
    name: str
    version: int
    updated_at: str
    id: str = ""


@dataclass(frozen=True)
class Listed:
    """What a server has told of a folder, with all below it if `recursive`; with a `problem`, nothing.

    `left_out` are folders of which it says nothing, because the identity may not see them.
    """

    place: Place
    recursive: bool = True
    secrets: Sequence[ListedSecret] = ()
    problem: str | None = None
    left_out: frozenset[str] = frozenset()


@lru_cache(maxsize=1 << 16)  # most hosts hold what others hold too
def secret_id(place: Place, name: str) -> str:
    """PROJECT/ENVIRONMENT/PATH/NAME, each part percent-encoded."""
    folders = [part for part in place.path.split("/") if part]
    return "/".join(_encoded(part) for part in (place.project, place.environment, *folders, name))


def _encoded(part: str) -> str:
    return quote(part, safe="", errors="surrogatepass")


def normalize_time(time: Any) -> str | None:
    """A time of whatever precision as graphs have it (ISO 8601, UTC, seconds), None for what is none."""
    seconds = parse_time(time)
    if seconds is None:
        return None
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(time: Any) -> float | None:
    """Seconds since the epoch of a time in ISO 8601, None for what is none."""
    if not isinstance(time, str) or len(time) > 40:
        return None
    try:
        found = datetime.fromisoformat(time[:-1] + "+00:00" if time.endswith("Z") else time)
        seconds = (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
    # An offset may lead out of the years that can be written.
    return seconds if 0 <= seconds < _YEAR_10000 else None


_YEAR_10000 = 253_402_300_800
"""Seconds since the epoch at which the year 10000 begins."""


# Merging


def with_hosts(
    graph: Graph, answers: Mapping[str, HostAnswer | None], time: str, *, forget_absent: bool = False
) -> Graph:
    """The graph after hosts were asked at `time`: {name in the inventory: its answer, None for none}.

    A host that did not answer keeps its last known vaults, marked as silent. So does one that was not asked, with
    `forget_absent` it goes.
    """
    vaults: dict[str, AgentVault] = {}
    secrets = dict(graph.secrets)
    for id_, vault in graph.vaults.items():
        if vault.host in answers:
            if answers[vault.host] is None:
                vaults[id_] = replace(vault, silent=True)
        elif not forget_absent:
            vaults[id_] = vault
    seen = {vault.host for vault in vaults.values()}
    for host, answer in answers.items():
        if answer is None:
            told = [] if host in seen else [AgentVault(host, "", silent=True)]
        else:
            told = [_with_known_holds(replace(vault, host=host), graph) for vault in answer.vaults]
            if not told:
                told = [AgentVault(host, "", message="The host has no job.", answered_at=time)]
            for id_, secret in answer.secrets.items():
                secrets.setdefault(id_, secret)
        vaults.update({vault.id: vault for vault in told})
    return _settled(replace(graph, time=time, vaults=vaults, secrets=secrets))


def _with_known_holds(vault: AgentVault, graph: Graph) -> AgentVault:
    """A vault that cannot be opened holds what it was known to hold, and where its configuration cannot be read either,
    is of the job that it was known to be of."""
    before = graph.vaults.get(vault.id)
    if vault.problem is None or before is None:
        return vault
    if vault.scope != JobScope() or vault.files:
        return replace(vault, holds=before.holds)
    return replace(before, answered_at=vault.answered_at, silent=False, problem=vault.problem, agent=vault.agent)


def with_server(
    graph: Graph, service: str, projects: Iterable[Project], listings: Iterable[Listed], time: str
) -> Graph:
    """The graph after the server `service` was asked at `time`.

    A secret that a listing should have and has not is gone. What could not be listed stays as it was known, and is told
    of as a source with a problem until it is asked for again.
    """
    listings = list(listings)
    named = dict(graph.projects)
    for project in projects:
        named[project.id] = project._replace(service=service)
    secrets = dict(graph.secrets)
    asked = {listed.place[:2] for listed in listings}
    sources = {place: source for place, source in graph.sources.items() if place[:2] not in asked}
    by_environment: dict[tuple[str, str], list[str]] = {}
    for id_, secret in secrets.items():
        by_environment.setdefault(secret.place[:2], []).append(id_)
    for listed in listings:
        if listed.problem is not None:
            # A folder that is asked for by itself now may have been listed with all of its environment.
            before = (graph.sources.get(place) for place in (listed.place, listed.place._replace(path="/")))
            listed_at = next((source.listed_at for source in before if source is not None), None)
            sources[listed.place] = Source(listed.place, listed_at, listed.problem)
            continue
        sources[listed.place] = Source(listed.place, time)
        found = _newest(listed)
        for id_ in by_environment.get(listed.place[:2], ()):
            secret = secrets[id_]
            known = secret.place.path not in listed.left_out and listed.place.covers(secret.place, listed.recursive)
            if known and id_ not in found:
                secrets[id_] = secret._replace(gone=True)
        secrets.update(found)
    return _settled(replace(graph, time=time, projects=named, secrets=secrets, sources=sources))


def _newest(listed: Listed) -> dict[str, KnownSecret]:
    """The secrets of a listing by id; of one that a server lists twice, the newest."""
    found: dict[str, KnownSecret] = {}
    places: dict[str, Place] = {}
    for path, name, version, updated_at, own_id in listed.secrets:
        place = places.get(path) or places.setdefault(path, listed.place._replace(path=path))
        secret = KnownSecret(place, name, version, normalize_time(updated_at) or "", False, own_id)
        id_ = secret_id(place, name)
        other = found.get(id_)
        if other is None or (other.updated_at or "", other.version) < (secret.updated_at or "", version):
            found[id_] = secret
    return found


def _settled(graph: Graph) -> Graph:
    """The same without what nobody holds and no server has, or is not asked for any more; with the highest version
    that is held where no server has told one; and with the projects that anything names."""
    highest: dict[str, int] = {}
    for vault in graph.vaults.values():
        for hold in vault.holds:
            if hold.version > highest.get(hold.secret, -1):
                highest[hold.secret] = hold.version
    asked = set(places_to_ask(graph))
    secrets = {}
    for id_ in sorted(graph.secrets):
        secret = graph.secrets[id_]
        unknown = secret.gone or secret.updated_at is None or secret.place._replace(path="/") not in asked
        if id_ not in highest and unknown:
            continue
        if secret.updated_at is None and secret.version != highest[id_]:
            secret = secret._replace(version=highest[id_])
        secrets[id_] = secret
    used = {secret.place.project for secret in secrets.values()}
    used.update(project for vault in graph.vaults.values() for project in vault.scope.project_ids)
    projects = {id_: graph.projects.get(id_) or Project(id_, "", "", "") for id_ in sorted(used)}
    vaults = {id_: graph.vaults[id_] for id_ in sorted(graph.vaults)}
    sources = {place: graph.sources[place] for place in sorted(graph.sources) if place._replace(path="/") in asked}
    return replace(graph, projects=projects, secrets=secrets, vaults=vaults, sources=sources)


def places_to_ask(graph: Graph) -> dict[Place, list[Place]]:
    """Where the server is to be asked: the root of each environment that a job pulls or a vault's secret is from, with
    the folders that are of interest in it."""
    found: dict[Place, dict[Place, None]] = {}
    wanted = {place: None for vault in graph.vaults.values() for place in vault.scope.places if place.environment}
    held = {hold.secret for vault in graph.vaults.values() for hold in vault.holds}
    wanted.update({graph.secrets[id_].place: None for id_ in held})
    for place in sorted(wanted):
        found.setdefault(place._replace(path="/"), {})[place] = None
    return {root: list(places) for root, places in found.items()}


def same_facts(one: Graph, other: Graph) -> bool:
    """Whether two graphs tell the same but for the times at which was asked."""

    def facts(graph: Graph) -> Graph:
        return replace(
            graph,
            time="",
            vaults={id_: replace(vault, answered_at=None) for id_, vault in graph.vaults.items()},
            sources={place: replace(source, listed_at=None) for place, source in graph.sources.items()},
        )

    return facts(one) == facts(other)


# Documents


def document(graph: Graph) -> dict[str, Any]:
    """The graph as plain data, for JSON."""
    numbers = {id_: number for number, id_ in enumerate(graph.secrets)}
    return {
        "schema": GRAPH_SCHEMA,
        "version": VERSION,
        "time": graph.time,
        "services": [{"id": service} for service in graph.services],
        "projects": [project._asdict() for project in graph.projects.values()],
        "secrets": [
            {
                "id": id_,
                "project": secret.place.project,
                "environment": secret.place.environment,
                "path": secret.place.path,
                "name": secret.name,
                "version": secret.version,
                "updated_at": secret.updated_at,
                "gone": secret.gone,
                "infisical_id": secret.id,
            }
            for id_, secret in graph.secrets.items()
        ],
        "vaults": [_vault_document(id_, vault, numbers, graph.secrets) for id_, vault in graph.vaults.items()],
        "sources": [
            {
                "project": source.place.project,
                "environment": source.place.environment,
                "path": source.place.path,
                "listed_at": source.listed_at,
                "problem": source.problem,
            }
            for source in graph.sources.values()
        ],
    }


def _vault_document(
    id_: str, vault: AgentVault, numbers: Mapping[str, int], secrets: Mapping[str, KnownSecret]
) -> dict[str, Any]:
    def row(hold: Hold) -> list[Any]:
        other_id = [hold.id] * (hold.id != secrets[hold.secret].id)
        name = [hold.name] * (hold.name is not None or bool(other_id))
        return [numbers[hold.secret], hold.version, hold.synced_at, *name, *other_id]

    scope = vault.scope
    return {
        "id": id_,
        "host": vault.host,
        "job": vault.job,
        "service": vault.service,
        "scope": {
            "project_ids": list(scope.project_ids),
            "environment": scope.environment,
            "secret_path": scope.secret_path,
            "recursive": scope.recursive,
            "key_format": scope.key_format,
            "normalize_names": scope.normalize_names,
        },
        "interval_minutes": vault.interval_minutes,
        "last_sync": vault.last_sync,
        "environment_checked": vault.environment_checked,
        "ended": vault.ended,
        "conclusion": vault.conclusion,
        "message": vault.message,
        "problem": vault.problem,
        "generation": vault.generation,
        "agent": vault.agent,
        "answered_at": vault.answered_at,
        "silent": vault.silent,
        "files": [{**file._asdict(), "names": list(file.names)} for file in vault.files],
        "holds": [row(hold) for hold in vault.holds],
    }


def parsed(data: Any, where: str = "graph") -> Graph:
    """The graph of a document. Raises ConfigurationError, with `where` as the option's name, for what is none, is
    damaged, or comes from a later version."""
    _check_schema(data, GRAPH_SCHEMA, where)
    try:
        secrets = [_parsed_secret(row) for row in _rows(data, "secrets")]
        ids = [secret_id(secret.place, secret.name) for secret in secrets]
        projects = [
            Project(*(_text(row, name) for name in ("id", "name", "slug", "service")))
            for row in _rows(data, "projects")
        ]
        vaults = []
        for row in _rows(data, "vaults"):
            vault = _parsed_job(row, _text(row, "host"))
            vaults.append(replace(vault, holds=_parsed_holds(row["holds"], ids, secrets)))
        sources = [
            Source(_place(row), _optional(row, "listed_at"), _optional(row, "problem"))
            for row in _rows(data, "sources")
        ]
        return Graph(
            _text(data, "time"),
            {project.id: project for project in projects},
            dict(zip(ids, secrets)),
            {vault.id: vault for vault in vaults},
            {source.place: source for source in sources},
        )
    except _UNSOUND as error:
        raise ConfigurationError(where, f"is damaged: {_unsound(error)}. Move it away to begin anew.") from None


MOST_JOBS = 100
MOST_PROJECTS = 1000
MOST_FILES = 1000
MOST_SECRETS = 50_000
MOST_PLACES = 2000
MOST_CHARACTERS = 16 << 20
LONGEST_PART, LONGEST = 200, 1000
"""Jobs, then projects and files of a job, then secrets and their folders of a host; characters of the ids of all its
secrets; characters of an id, environment or job, and of any other text. More is not what an agent tells: no host is to
make the report of all others fail or fill the disk."""


def parsed_answer(data: Any, time: str) -> HostAnswer:
    """What a host's metadata document tells that it gave at `time`. Raises ConfigurationError, as `parsed` does."""
    where = "metadata"
    _check_schema(data, METADATA_SCHEMA, where)
    try:
        # JSON may hold half a character, which no request and no file can.
        json.dumps(data, ensure_ascii=False).encode("utf-8")
        agent = _text(data, "agent")
        secrets: dict[str, KnownSecret] = {}
        told_at = parse_time(data["time"])
        if told_at is None:
            raise ValueError("'time' is no time")
        # A clock that is ahead would make a host seem to have synced just now for as long as it is.
        ahead = max(0.0, told_at - (parse_time(time) or math.inf))
        vaults = []
        jobs = _rows(data, "jobs")
        _check_sizes(jobs)
        for row in jobs:
            vault = _parsed_job({**row, **_FLAT, "agent": agent}, "")
            holds = _answered_holds(row, secrets, ahead)
            if sum(map(len, secrets)) > MOST_CHARACTERS:
                raise ValueError("the names in it are too long")
            scope = vault.scope
            _check_lengths(LONGEST_PART, (vault.job, vault.conclusion, agent, scope.environment), scope.project_ids)
            _check_lengths(
                LONGEST, (vault.service, scope.secret_path, scope.key_format),
                *((file.path, file.format, file.owner, *file.names) for file in vault.files),
            )  # fmt: skip
            vaults.append(
                replace(
                    vault,
                    message=_cut(vault.message),
                    problem=None if vault.problem is None else _cut(vault.problem),
                    # One that is yet to come is of a clock that was put right since: nobody knows when it was.
                    last_sync=_earlier(vault.last_sync, ahead)
                    if (parse_time(vault.last_sync) or 0) <= told_at
                    else None,
                    environment_checked=_earlier(vault.environment_checked, ahead),
                    ended=_earlier(vault.ended, ahead),
                    answered_at=time,
                    holds=holds,
                )
            )
        return HostAnswer(tuple(vaults), secrets)
    except _UNSOUND as error:
        raise ConfigurationError(where, f"is not what a host tells: {_unsound(error)}.") from None


def _check_sizes(jobs: Sequence[Mapping[str, Any]]) -> None:
    if len(jobs) > MOST_JOBS or len({row["job"] for row in jobs}) < len(jobs):
        raise ValueError("it has too many jobs, or two of one name")
    for row in jobs:
        if len(row["project_ids"]) > MOST_PROJECTS:
            raise ValueError("a job has too many projects")
        if len(row["files"]) + sum(len(file["names"]) for file in row["files"]) > MOST_FILES:
            raise ValueError("a job has too many files, or patterns of names for them")
    for name, most in (("secrets", MOST_SECRETS), ("places", MOST_PLACES)):
        if sum(len(row[name]) for row in jobs) > most:
            raise ValueError(f"it has too many {name}")


def _check_lengths(longest: int, *texts: Iterable[str]) -> None:
    if max(map(len, chain(*texts)), default=0) > longest:
        raise ValueError("a text in it is too long")


def _cut(text: str) -> str:
    """A sentence of a host's for people, in which nothing is that a terminal would obey."""
    return shown(text if len(text) <= LONGEST else text[:LONGEST] + "…")


def _earlier(time: str | None, seconds: float) -> str | None:
    """A time of a clock that is so many seconds ahead, None for what is none."""
    then = parse_time(time)
    if then is None or not seconds:
        return None if then is None else time
    return normalize_time(datetime.fromtimestamp(max(0.0, then - seconds), timezone.utc).isoformat())


_UNSOUND = (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError)
_FLAT = {"scope": None, "answered_at": None, "silent": False}
"""What a host does not say of a job."""


def _unsound(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__


def _check_schema(data: Any, schema: str, where: str) -> None:
    if not isinstance(data, Mapping) or data.get("schema") != schema:
        raise ConfigurationError(where, f"is no document of the schema {schema}.")
    version = data.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigurationError(where, "has no version of its schema.")
    if version > VERSION:
        raise ConfigurationError(
            where, f"has version {version} of its schema, and {VERSION} is the latest that is known here. Update the "
            "collection keyfleet.infisical."
        )  # fmt: skip


def _rows(data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    rows = data[name]
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise TypeError(f"'{name}' is no list of objects")
    return rows


def _of(kind: type, data: Mapping[str, Any], name: str) -> Any:
    value = data[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"'{name}' is not of the type {kind.__name__}")
    return value


def _text(data: Mapping[str, Any], name: str) -> str:
    # As plain text: Ansible hands over texts of its own kinds.
    return str(_of(str, data, name))


def _optional(data: Mapping[str, Any], name: str) -> str | None:
    return None if data[name] is None else _text(data, name)


def _texts(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = data[name]
    if not isinstance(found, list) or not is_text(found):
        raise TypeError(f"'{name}' is no list of texts")
    return tuple(map(str, found))


def _place(row: Mapping[str, Any]) -> Place:
    return Place(_text(row, "project"), _text(row, "environment"), _text(row, "path"))


def _parsed_secret(row: Mapping[str, Any]) -> KnownSecret:
    return KnownSecret(
        _place(row), _text(row, "name"), int(_of(int, row, "version")), _optional(row, "updated_at"),
        bool(_of(bool, row, "gone")), _text(row, "infisical_id"),
    )  # fmt: skip


def _parsed_job(row: Mapping[str, Any], host: str) -> AgentVault:
    """A vault without what it holds, from a document of either kind."""
    scope = row["scope"] or row
    return AgentVault(
        host=host,
        job=_text(row, "job"),
        service=_text(row, "service"),
        scope=JobScope(
            tuple(dict.fromkeys(_texts(scope, "project_ids"))),
            _text(scope, "environment"),
            _text(scope, "secret_path"),
            bool(_of(bool, scope, "recursive")),
            _text(scope, "key_format"),
            bool(_of(bool, scope, "normalize_names")),
        ),
        interval_minutes=max(0, int(_of(int, row, "interval_minutes"))),
        last_sync=_optional(row, "last_sync"),
        # Older agents do not report it.
        environment_checked=_optional({"environment_checked": None, **row}, "environment_checked"),
        ended=_optional(row, "ended"),
        conclusion=_text(row, "conclusion"),
        message=_text(row, "message"),
        problem=_optional(row, "problem"),
        generation=int(_of(int, row, "generation")),
        agent=_text(row, "agent"),
        answered_at=_optional(row, "answered_at"),
        silent=bool(_of(bool, row, "silent")),
        files=tuple(
            DeliveredFile(_text(file, "path"), _text(file, "format"), _text(file, "owner"), _texts(file, "names"))
            for file in _rows(row, "files")
        ),
    )  # fmt: skip


def _parsed_holds(rows: Any, ids: Sequence[str], secrets: Sequence[KnownSecret]) -> tuple[Hold, ...]:
    if not isinstance(rows, list):
        raise TypeError("'holds' is no list")

    def hold(number: int, version: int, time: str, name: str | None = None, own_id: str | None = None) -> Hold:
        return Hold(ids[number], version, time, name, secrets[number].id if own_id is None else own_id)

    holds = tuple([hold(*row) for row in rows])
    if holds:
        _secrets, versions, times, names, own_ids = zip(*holds)
        if (
            set(map(type, versions)) != {int}
            or not is_text(times)
            or not is_text(own_ids)
            or not set(map(type, names)) <= {str, type(None)}
            or min(row[0] for row in rows) < 0
        ):
            raise TypeError("'holds' has a row that is none")
    return holds


def _answered_holds(job: Mapping[str, Any], secrets: dict[str, KnownSecret], ahead: float) -> tuple[Hold, ...]:
    """What a host whose clock is so many seconds ahead says that a job's vault holds; the secrets are added to
    `secrets`."""
    places = [Place(*_three_texts(row)) for row in _list(job, "places")]
    rows = _list(job, "secrets")
    if not rows:
        return ()
    names, numbers, keys, versions, times, own_ids = zip(*rows)
    if (
        not is_text(names)
        or not is_text(times)
        or not is_text(own_ids)
        or not set(map(type, keys)) <= {str, type(None)}
        or set(map(type, numbers)) != {int}
        or set(map(type, versions)) != {int}
        or min(*numbers, *versions) < 0
    ):
        raise TypeError("'secrets' has a row that is none")
    _check_lengths(LONGEST_PART, times, own_ids, *(place[:2] for place in places))
    _check_lengths(LONGEST, names, filter(None, keys), (place.path for place in places))
    found = []
    for name, number, key, version, time, own_id in rows:
        place, own = places[number], str(name if key is None else key)
        id_ = secret_id(place, own)
        if id_ not in secrets:
            secrets[id_] = KnownSecret(place, own, id=str(own_id))
        synced = _earlier(time, ahead) or "" if ahead else str(time)
        found.append(Hold(id_, version, synced, None if key is None else str(name), str(own_id)))
    return tuple(found)


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    found: list[Any] = _of(list, data, name)
    return found


def _three_texts(row: Any) -> tuple[str, str, str]:
    project, environment, path = row
    if not is_text((project, environment, path)):
        raise TypeError("'places' has a row that is none")
    # Two spellings of a folder would be two folders with one id.
    return str(project), str(environment), "/" + "/".join(part for part in path.split("/") if part)
