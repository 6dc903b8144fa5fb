# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata graph of a fleet: projects, secrets, vaults, and which vault holds which version; never a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple, Optional
from urllib.parse import quote

from ..core.model import Location


class KnownProject(NamedTuple):
    """A project; everything but its id is empty if no server has listed it."""

    id: str
    name: str = ""
    slug: str = ""
    service: str = ""


class KnownSecret(NamedTuple):
    """A secret by name, with its current version.

    `updated_at` is the time of that version. It is None if no server has listed the secret; `version` is then the
    highest that a vault holds. `gone` means that the server has deleted it while a vault still holds it. `id` is
    Infisical's: it changes if the secret is deleted and created again, and versions then start from 1.
    """

    location: Location
    name: str
    version: int = 0
    updated_at: Optional[str] = None  # noqa: UP045 - evaluated on Python 3.9
    gone: bool = False
    id: str = ""


class Hold(NamedTuple):
    """A version of a secret (by its key in the graph) in a vault, and since when; `name` is its name in the vault, or
    None if it is the same as in Infisical, and `id` as in KnownSecret."""

    secret: str
    version: int
    synced_at: str
    name: Optional[str] = None  # noqa: UP045
    id: str = ""


class DeliveredFile(NamedTuple):
    """A file that a job delivers to an application; `names` are patterns of names in the vault, or empty for all."""

    path: str
    format: str
    owner: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobScope:
    """What a job pulls, and how it forms the names in its vault."""

    project_ids: tuple[str, ...] = ()
    environment: str = ""
    secret_path: str = "/"
    recursive: bool = False
    key_format: str = "{key}"
    normalize_names: bool = False

    @property
    def locations(self) -> list[Location]:
        """The folders that it pulls, without their subfolders."""
        return [Location(project, self.environment, self.secret_path) for project in self.project_ids]


@dataclass(frozen=True)
class AgentVault:
    """A host's vault with its job. Times are ISO 8601 in UTC, None for never.

    `host` is the name in the inventory. `environment_checked` is when the job's environment was last seen to exist.
    `conclusion` and `message` describe the last sync; `problem` is why the vault could not be opened. `silent` means
    that the host did not answer since `answered_at`. A host that has no job, or has never answered, has one vault with
    an empty job.
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
        return f"{_encode(self.host)}/{_encode(self.job)}"


@dataclass(frozen=True)
class Source:
    """A folder that the server was asked to list with its subfolders: when that last succeeded, None for never, and why
    it failed this time."""

    location: Location
    listed_at: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Graph:
    """Everything known about a fleet at `time`; secrets and vaults by their ids."""

    time: str = ""
    projects: Mapping[str, KnownProject] = field(default_factory=dict)
    secrets: Mapping[str, KnownSecret] = field(default_factory=dict)
    vaults: Mapping[str, AgentVault] = field(default_factory=dict)
    sources: Mapping[Location, Source] = field(default_factory=dict)

    @property
    def services(self) -> list[str]:
        """The addresses of the servers of projects, and of vaults whose projects no server has listed."""
        found = {project.service for project in self.projects.values() if project.service}
        for vault in self.vaults.values():
            known = [self.projects[id_].service for id_ in vault.scope.project_ids if id_ in self.projects]
            if vault.service and not any(known):
                found.add(vault.service)
        return sorted(found)


@dataclass(frozen=True)
class HostAnswer:
    """The answer of a host: its vaults (`host` is empty), and the secrets in them."""

    vaults: tuple[AgentVault, ...] = ()
    secrets: Mapping[str, KnownSecret] = field(default_factory=dict)


@dataclass(frozen=True)
class FolderListing:
    """A server's listing of a folder, with its subfolders if `recursive`; it is empty if there was a `problem`.

    `left_out` are subfolders that it may lack because the identity has no access to them.
    """

    location: Location
    recursive: bool = True
    secrets: Sequence[KnownSecret] = ()
    problem: str | None = None
    left_out: frozenset[str] = frozenset()


@lru_cache(maxsize=1 << 16)  # most hosts hold the same secrets
def secret_id(location: Location, name: str) -> str:
    """PROJECT/ENVIRONMENT/PATH/NAME, each part percent-encoded."""
    folders = [part for part in location.secret_path.split("/") if part]
    return "/".join(_encode(part) for part in (location.project_id, location.environment, *folders, name))


def _encode(part: str) -> str:
    return quote(part, safe="", errors="surrogatepass")


def root_of(location: Location) -> Location:
    """The root folder of a location's environment."""
    return Location(location.project_id, location.environment)


def covers(folder: Location, other: Location, recursive: bool) -> bool:
    """Whether a listing of `folder` contains the secrets in `other`."""
    if root_of(folder) != root_of(other):
        return False
    path, below = folder.secret_path, other.secret_path
    return path == below or (recursive and (path == "/" or below.startswith(path + "/")))


def merge_hosts(
    graph: Graph, answers: Mapping[str, HostAnswer | None], time: str, *, forget_absent: bool = False
) -> Graph:
    """The graph with the answers of hosts at `time`: {name in the inventory: answer, or None if it did not answer}.

    A host that did not answer keeps its last known vaults, marked as silent. A host that is not in `answers` keeps
    them unchanged, or is removed if `forget_absent`.
    """
    vaults: dict[str, AgentVault] = {}
    secrets = dict(graph.secrets)
    for id_, vault in graph.vaults.items():
        if vault.host in answers:
            if answers[vault.host] is None:
                vaults[id_] = replace(vault, silent=True)
        elif not forget_absent:
            vaults[id_] = vault
    known = {vault.host for vault in vaults.values()}
    for host, answer in answers.items():
        if answer is None:
            merged = [] if host in known else [AgentVault(host, "", silent=True)]
        else:
            merged = [_with_known_holds(replace(vault, host=host), graph) for vault in answer.vaults]
            merged = merged or [AgentVault(host, "", message="The host has no job.", answered_at=time)]
            for id_, secret in answer.secrets.items():
                secrets.setdefault(id_, secret)
        vaults.update({vault.id: vault for vault in merged})
    return _clean(replace(graph, time=time, vaults=vaults, secrets=secrets))


def _with_known_holds(vault: AgentVault, graph: Graph) -> AgentVault:
    """A vault that cannot be opened keeps its last known secrets, and also the rest if its configuration cannot be
    read."""
    before = graph.vaults.get(vault.id)
    if vault.problem is None or before is None:
        return vault
    if vault.scope != JobScope() or vault.files:
        return replace(vault, holds=before.holds)
    return replace(before, answered_at=vault.answered_at, silent=False, problem=vault.problem, agent=vault.agent)


def merge_server(
    graph: Graph, service: str, projects: Iterable[KnownProject], listings: Iterable[FolderListing], time: str
) -> Graph:
    """The graph with the listings of the server `service` at `time`.

    A secret that is missing in the listing of its folder is gone. A folder that could not be listed stays as it was,
    and is a source with a problem until it is listed again.
    """
    listings = list(listings)
    known_projects = {**graph.projects, **{project.id: project._replace(service=service) for project in projects}}
    secrets = dict(graph.secrets)
    asked = {root_of(listing.location) for listing in listings}
    sources = {location: source for location, source in graph.sources.items() if root_of(location) not in asked}
    by_environment: dict[Location, list[str]] = {}
    for id_, secret in secrets.items():
        by_environment.setdefault(root_of(secret.location), []).append(id_)
    for listing in listings:
        location, root = listing.location, root_of(listing.location)
        if listing.problem is not None:
            # The folder may have been listed as part of its environment before.
            before = graph.sources.get(location) or graph.sources.get(root)
            sources[location] = Source(location, before.listed_at if before else None, listing.problem)
            continue
        sources[location] = Source(location, time)
        found = _newest(listing.secrets)
        for id_ in by_environment.get(root, ()):
            other = secrets[id_].location
            complete = other.secret_path not in listing.left_out and covers(location, other, listing.recursive)
            if complete and id_ not in found:
                secrets[id_] = secrets[id_]._replace(gone=True)
        secrets.update(found)
    return _clean(replace(graph, time=time, projects=known_projects, secrets=secrets, sources=sources))


def _newest(secrets: Iterable[KnownSecret]) -> dict[str, KnownSecret]:
    """The secrets of a listing by id; the newest, if the server lists a secret twice."""
    oldest_first = sorted(secrets, key=lambda secret: (secret.updated_at or "", secret.version))
    return {secret_id(secret.location, secret.name): secret for secret in oldest_first}


def _clean(graph: Graph) -> Graph:
    """Sort the graph and remove what no vault and no server has, and what no job pulls any more.

    A secret that no server has listed gets the highest version that a vault holds.
    """
    highest: dict[str, int] = {}
    for vault in graph.vaults.values():
        for hold in vault.holds:
            if hold.version > highest.get(hold.secret, -1):
                highest[hold.secret] = hold.version
    asked = locations_to_list(graph)
    secrets = {}
    for id_ in sorted(graph.secrets):
        secret = graph.secrets[id_]
        if id_ not in highest and (secret.gone or secret.updated_at is None or root_of(secret.location) not in asked):
            continue
        if secret.updated_at is None and secret.version != highest[id_]:
            secret = secret._replace(version=highest[id_])
        secrets[id_] = secret
    used = {secret.location.project_id for secret in secrets.values()}
    used.update(project for vault in graph.vaults.values() for project in vault.scope.project_ids)
    return replace(
        graph,
        projects={id_: graph.projects.get(id_) or KnownProject(id_) for id_ in sorted(used)},
        secrets=secrets,
        vaults={id_: graph.vaults[id_] for id_ in sorted(graph.vaults)},
        sources={location: graph.sources[location] for location in sorted(graph.sources) if root_of(location) in asked},
    )


def locations_to_list(graph: Graph) -> dict[Location, list[Location]]:
    """The environments (their root folders) that jobs pull or vaults have secrets from, each with these folders."""
    found: dict[Location, list[Location]] = {}
    wanted = {location for vault in graph.vaults.values() for location in vault.scope.locations if location.environment}
    held = {hold.secret for vault in graph.vaults.values() for hold in vault.holds}
    wanted.update(graph.secrets[id_].location for id_ in held)
    for location in sorted(wanted):
        found.setdefault(root_of(location), []).append(location)
    return found


def is_same(one: Graph, other: Graph) -> bool:
    """Whether two graphs differ only in the times of answers and listings."""

    def without_times(graph: Graph) -> Graph:
        return replace(
            graph,
            time="",
            vaults={id_: replace(vault, answered_at=None) for id_, vault in graph.vaults.items()},
            sources={location: replace(source, listed_at=None) for location, source in graph.sources.items()},
        )

    return without_times(one) == without_times(other)
