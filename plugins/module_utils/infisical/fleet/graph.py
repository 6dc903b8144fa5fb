# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata graph of a fleet: its projects, secrets and vaults, and the version of each secret in each vault; never
values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Optional
from urllib.parse import quote

from ..core.model import Location
from ..core.times import format_time
from ..identities.held import NOTHING, HeldIdentity
from .access import Access, Need


class KnownProject(NamedTuple):
    """A project. If no server has listed the project, all fields except `id` are empty."""

    id: str
    name: str = ""
    slug: str = ""
    service: str = ""


class KnownSecret(NamedTuple):
    """A secret's name and current version.

    `updated_at` is the time of that version. If no server has listed the secret, `updated_at` is None, and `version` is
    the highest version in a vault. `gone` means that the secret was deleted in Infisical, but is still in a vault. `id`
    is the ID in Infisical. If a secret is deleted and created again, its ID changes, and its versions start from 1.
    """

    location: Location
    name: str
    version: int = 0
    updated_at: Optional[str] = None  # noqa: UP045 - evaluated on Python 3.9
    gone: bool = False
    id: str = ""


class Hold(NamedTuple):
    """A secret in a vault: the secret's key in the graph, the version in the vault, and since when. `name` is the name
    in the vault, or None if it is the same as in Infisical. `id` is the same as in KnownSecret."""

    secret: str
    version: int
    synced_at: str
    name: Optional[str] = None  # noqa: UP045
    id: str = ""


class DeliveredFile(NamedTuple):
    """A file that a job delivers to an application. `names` are patterns of names in the vault. If empty, all names
    match."""

    path: str
    format: str
    owner: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobScope:
    """The location of the secrets that a job pulls, and the rules for their names in its vault."""

    project_ids: tuple[str, ...] = ()
    environment: str = ""
    secret_path: str = "/"
    recursive: bool = False
    key_format: str = "{key}"
    normalize_names: bool = False

    @property
    def locations(self) -> list[Location]:
        """The folders that the job pulls, without their subfolders."""
        return [Location(project, self.environment, self.secret_path) for project in self.project_ids]


@dataclass(frozen=True)
class AgentVault:
    """A host's vault and its job. Times are ISO 8601 in UTC, or None for never.

    `host` is the name in the inventory. `environment_checked` is the last time that the job's environment was known to
    exist. `conclusion` and `message` describe the last sync. `problem` is the reason if the vault could not be opened.
    `silent` means that the host has not responded since `answered_at`. A host that has no job, or has never responded,
    has one vault with an empty `job`.
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
        """The ID `host/job`, with both parts percent-encoded."""
        return f"{_encode(self.host)}/{_encode(self.job)}"


@dataclass(frozen=True)
class Source:
    """The requests to list a folder with its subfolders: the time of the last success (None for never), and the problem
    if the latest request failed."""

    location: Location
    listed_at: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class HostIdentity:
    """The machine identity with which a host logs in.

    `auth_method`, `reported_id` and `expires_at` (the end of the client secret's lifetime, None if unknown or never)
    come from the host. The other fields come from Infisical: `id` is empty if no identity belongs to the host.
    `checked_at` is the time of Infisical's last answer, or None for never. `imports` are folders that the host's jobs
    import. `access` is None if unknown.
    """

    auth_method: str = ""
    reported_id: str = ""
    expires_at: str | None = None
    id: str = ""
    name: str = ""
    project: str = ""
    checked_at: str | None = None
    imports: tuple[Location, ...] = ()
    access: Access | None = None

    @property
    def kind(self) -> str:
        """Return `own` if the identity belongs to this host alone, `shared` if not, or `unknown`."""
        if self.id and self.reported_id in ("", self.id):
            return "own"
        return "shared" if self.checked_at else "unknown"


@dataclass(frozen=True)
class Graph:
    """Everything that is known about a fleet at `time`. Secrets and vaults are keyed by ID, identities by host."""

    time: str = ""
    projects: Mapping[str, KnownProject] = field(default_factory=dict)
    secrets: Mapping[str, KnownSecret] = field(default_factory=dict)
    vaults: Mapping[str, AgentVault] = field(default_factory=dict)
    sources: Mapping[Location, Source] = field(default_factory=dict)
    identities: Mapping[str, HostIdentity] = field(default_factory=dict)

    @property
    def services(self) -> list[str]:
        """The addresses of the servers of all projects, and of vaults whose projects no server has listed."""
        found = {project.service for project in self.projects.values() if project.service}
        for vault in self.vaults.values():
            known = [self.projects[id_].service for id_ in vault.scope.project_ids if id_ in self.projects]
            if vault.service and not any(known):
                found.add(vault.service)
        return sorted(found)


@dataclass(frozen=True)
class HostAnswer:
    """The data from a host: its vaults (with an empty `host`), the secrets in them, and the identity that it uses."""

    vaults: tuple[AgentVault, ...] = ()
    secrets: Mapping[str, KnownSecret] = field(default_factory=dict)
    identity: HeldIdentity = NOTHING


@dataclass(frozen=True)
class FolderListing:
    """A server's listing of a folder, including its subfolders if `recursive` is true. If there was a `problem`, it is
    empty.

    `left_out` contains subfolders that may be incomplete because the identity has no access to them.
    """

    location: Location
    recursive: bool = True
    secrets: Sequence[KnownSecret] = ()
    problem: str | None = None
    left_out: frozenset[str] = frozenset()


def secret_id(location: Location, name: str) -> str:
    """Return the ID PROJECT/ENVIRONMENT/PATH/NAME, with each part percent-encoded."""
    folders = [part for part in location.secret_path.split("/") if part]
    return "/".join(_encode(part) for part in (location.project_id, location.environment, *folders, name))


def _encode(part: str) -> str:
    return quote(part, safe="", errors="surrogatepass")


def root_of(location: Location) -> Location:
    """Return the root folder of a location's environment."""
    return Location(location.project_id, location.environment)


def covers(folder: Location, other: Location, recursive: bool) -> bool:
    """Return whether a listing of `folder` contains the secrets in `other`."""
    if root_of(folder) != root_of(other):
        return False
    path, below = folder.secret_path, other.secret_path
    return path == below or (recursive and (path == "/" or below.startswith(path + "/")))


def needs_of(vaults: Iterable[AgentVault], identity: HostIdentity) -> list[Need]:
    """Return the folders that the jobs of a host pull from the project of its identity."""
    pulled = [Need(place, vault.scope.recursive) for vault in vaults for place in vault.scope.locations]
    needs = [*pulled, *map(Need, identity.imports)]
    return [need for need in needs if need.location.project_id == identity.project]


def merge_hosts(
    graph: Graph, answers: Mapping[str, HostAnswer | None], time: str, *, forget_absent: bool = False
) -> Graph:
    """Return the graph updated with the hosts' data at `time`: {inventory name: data, or None if the host did not
    respond}.

    If a host did not respond, its last known vaults are kept and marked as silent. The vaults of a host that is not in
    `answers` are kept unchanged, or removed if `forget_absent` is true.
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
    identities = dict(graph.identities)
    for host, answer in answers.items():
        if answer is None:
            merged = [] if host in known else [AgentVault(host, "", silent=True)]
        else:
            merged = [_with_known_holds(replace(vault, host=host), graph) for vault in answer.vaults]
            merged = merged or [AgentVault(host, "", message="The host has no job.", answered_at=time)]
            for id_, secret in answer.secrets.items():
                secrets.setdefault(id_, secret)
            held = answer.identity
            identities[host] = replace(
                identities.get(host, HostIdentity()),
                auth_method=held.auth_method,
                reported_id=held.identity_id,
                expires_at=format_time(held.expires_at) if held.expires_at else None,
            )
        vaults.update({vault.id: vault for vault in merged})
    return _clean(replace(graph, time=time, vaults=vaults, secrets=secrets, identities=identities))


def _with_known_holds(vault: AgentVault, graph: Graph) -> AgentVault:
    """Return the vault, with its last known secrets if it cannot be opened. If its configuration cannot be read either,
    its other last known data are kept too."""
    before = graph.vaults.get(vault.id)
    if before is None:
        return vault
    if vault.problem is None:
        # Usually nothing has changed, and sharing the secrets halves the memory.
        return replace(vault, holds=before.holds) if vault.holds == before.holds else vault
    if vault.scope != JobScope() or vault.files:
        return replace(vault, holds=before.holds)
    return replace(before, answered_at=vault.answered_at, silent=False, problem=vault.problem, agent=vault.agent)


def merge_server(
    graph: Graph, service: str, projects: Iterable[KnownProject], listings: Iterable[FolderListing], time: str
) -> Graph:
    """Return the graph updated with the listings of the server `service` at `time`.

    A secret that is missing from the listing of its folder is marked as gone. If a folder could not be listed, its
    secrets are kept unchanged, and its source contains the problem until the folder is listed again.
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
            # The folder may have been listed earlier as part of its environment.
            before = graph.sources.get(location) or graph.sources.get(root)
            sources[location] = Source(location, before.listed_at if before else None, listing.problem)
            continue
        sources[location] = Source(location, time)
        # If the server lists a secret twice, use the newest version.
        oldest_first = sorted(listing.secrets, key=lambda secret: (secret.updated_at or "", secret.version))
        found = {secret_id(secret.location, secret.name): secret for secret in oldest_first}
        for id_ in by_environment.get(root, ()):
            other = secrets[id_].location
            complete = other.secret_path not in listing.left_out and covers(location, other, listing.recursive)
            if complete and id_ not in found:
                secrets[id_] = secrets[id_]._replace(gone=True)
        secrets.update(found)
    return _clean(replace(graph, time=time, projects=known_projects, secrets=secrets, sources=sources))


def _clean(graph: Graph) -> Graph:
    """Sort the graph, and remove everything that is on no server, in no vault, or no longer pulled by a job.

    If no server has listed a secret, its version becomes the highest version in a vault.
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
    hosts = {vault.host for vault in graph.vaults.values()}
    used = {secret.location.project_id for secret in secrets.values()}
    used.update(project for vault in graph.vaults.values() for project in vault.scope.project_ids)
    return replace(
        graph,
        projects={id_: graph.projects.get(id_) or KnownProject(id_) for id_ in sorted(used)},
        secrets=secrets,
        vaults={id_: graph.vaults[id_] for id_ in sorted(graph.vaults)},
        sources={location: graph.sources[location] for location in sorted(graph.sources) if root_of(location) in asked},
        identities={host: graph.identities[host] for host in sorted(hosts & graph.identities.keys())},
    )


def locations_to_list(graph: Graph) -> dict[Location, list[Location]]:
    """Return the environments (their root folders) that jobs pull from or vaults contain secrets from, each with these
    folders."""
    found: dict[Location, list[Location]] = {}
    wanted = {location for vault in graph.vaults.values() for location in vault.scope.locations if location.environment}
    held = {hold.secret for vault in graph.vaults.values() for hold in vault.holds}
    wanted.update(graph.secrets[id_].location for id_ in held)
    for location in sorted(wanted):
        found.setdefault(root_of(location), []).append(location)
    return found


def is_same(one: Graph, other: Graph) -> bool:
    """Return whether two graphs are equal except for the times of responses and listings."""

    def without_times(graph: Graph) -> Graph:
        return replace(
            graph,
            time="",
            vaults={id_: replace(vault, answered_at=None) for id_, vault in graph.vaults.items()},
            sources={location: replace(source, listed_at=None) for location, source in graph.sources.items()},
            identities={host: replace(one, checked_at=one.checked_at and "") for host, one in graph.identities.items()},
        )

    return without_times(one) == without_times(other)
