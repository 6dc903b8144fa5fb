# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revokes the access of compromised hosts, and finds the secrets that are exposed; nothing runs on the hosts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..client.api import Api
from ..client.identities import Identity, IdentityApi
from ..client.listing import Store
from ..core.errors import (
    Ambiguous,
    ConfigurationError,
    Forbidden,
    IdentityMissing,
    InfisicalError,
    ScopeMissing,
    after_writing,
)
from ..core.model import Location, escape, pluralize
from ..identities.apply import check_removal, remove
from ..identities.grants import ANY
from .access import Access
from .collect import without_values
from .graph import Graph, KnownProject, secret_id
from .host_identities import group_by_host, read_access
from .rows import Row, ask, row_of
from .snapshot import Snapshot

_SHARED_HINT = (
    "Create a new client secret for the shared identity in Infisical, run the role scheduled_sync with it on all other "
    "hosts, and then revoke the old client secret. To be able to revoke a single host, set scheduled_sync_identity: "
    "per_host."
)


@dataclass
class Revocation:
    """The identities of one host, how many of their client secrets were revoked, which of them were deleted, and what
    they could read ({project id: access}, without projects for which it is unknown)."""

    host: str
    identities: Sequence[Identity] = ()
    client_secrets: int = 0
    deleted: list[Identity] = field(default_factory=list)
    access: dict[str, list[Access]] = field(default_factory=dict)

    def describe(self, *, check: bool = False) -> str:
        """Return a sentence about what was done, or would be done in check mode."""
        if not self.identities:
            return escape(f"{self.host}: its identity was deleted before.")
        verb = "would be " if check else ""
        done = [f"{pluralize(self.client_secrets, 'client secret')} {verb}revoked"] if self.client_secrets else []
        done += [f"identity {one.name} ({one.id}) {verb}deleted" for one in self.deleted]
        return escape(f"{self.host}: {', '.join(done)}.")


class Revoker:
    """Finds the identities of hosts, and then revokes their access. Methods raise InfisicalError."""

    def __init__(self, api: Api, *, inventory: str = "") -> None:
        self.api = api
        self.identities = IdentityApi(api)
        self.inventory = inventory
        self.warnings: list[str] = []
        self.projects: dict[str, KnownProject] = {}

    # Find

    def find(self, hosts: Sequence[str], project_ids: Sequence[str]) -> dict[str, list[Identity]]:
        """Return the identities of each host in these projects, or in all visible projects if there are none.

        Raises Ambiguous if a host has identities in several inventories or projects, unless both are given, and
        GuardStopped if an identity must not be deleted. Nothing has been changed yet.
        """
        listed = group_by_host(self._list(project_ids), self.inventory)
        found = {host: listed.get(host, []) for host in hosts}
        for host, identities in found.items():
            self._check(host, identities, chosen=bool(project_ids))
        return found

    def _list(self, project_ids: Sequence[str]) -> Iterator[Identity]:
        if project_ids:
            for id_ in project_ids:
                yield from self.identities.identities(id_)
            return
        visible = self.api.projects()
        refused: list[InfisicalError] = []
        for project in visible:
            self.projects[project.id] = KnownProject(project.id, project.name, project.slug)
            try:
                yield from self.identities.identities(project.id)
            except (Forbidden, ScopeMissing) as error:
                refused.append(error)
        if refused and len(refused) == len(visible):
            raise refused[0]
        self.warnings += [f"Identities in this project are not revoked: {error}" for error in refused]

    def _check(self, host: str, identities: Sequence[Identity], *, chosen: bool) -> None:
        places = {(one.metadata_value("inventory"), "" if chosen else one.project_id) for one in identities}
        shown = ", ".join(
            f"{one.name} ({one.id}, project {one.project_id}, inventory '{one.metadata_value('inventory')}')"
            for one in identities
        )
        if len(places) > 1:
            raise Ambiguous(
                f"Several hosts with the name {host} have an identity: {shown}. Nothing was changed.",
                hint="Set identity_inventory or project_ids to choose one of them.",
            )
        for one in identities:
            check_removal(self.identities, one)

    # Revoke

    def revoke(self, found: Mapping[str, Sequence[Identity]], *, check: bool) -> list[Revocation]:
        """Revoke all client secrets of these identities, read their access, and delete them.

        A revoked client secret ends its access tokens at once (recorded). Tokens of other login methods end when the
        identity is deleted. So this works for every method, and if it is interrupted, another run finishes it. With
        `check`, nothing is changed.
        """
        revoked: list[Revocation] = []
        for host, identities in found.items():
            revoked.append(Revocation(host, identities))
            try:
                self._revoke(revoked[-1], check)
            except InfisicalError:
                done = [one.describe() for one in revoked if not check and (one.client_secrets or one.deleted)]
                with after_writing(" ".join(done)):
                    raise
        return revoked

    def _revoke(self, done: Revocation, check: bool) -> None:
        for identity in done.identities:
            for client_secret in self._client_secrets(identity):
                if not check:
                    self.identities.revoke_client_secret(identity.id, client_secret)
                done.client_secrets += 1
        for identity in done.identities:
            self._read_access(identity, done)
            if not check:
                remove(self.identities, identity)
            done.deleted.append(identity)

    def _client_secrets(self, identity: Identity) -> list[str]:
        """Return the ids of the client secrets that are not revoked; none if the identity has no universal auth."""
        try:
            return [one.id for one in self.identities.client_secrets(identity.id) if not one.revoked]
        except IdentityMissing:
            return []

    def _read_access(self, identity: Identity, done: Revocation) -> None:
        try:
            access = read_access(self.identities, identity)
        except InfisicalError as error:  # revoking is more urgent
            self.warnings.append(f"Could not find out what {done.host} was allowed to read: {error}")
        else:
            done.access.setdefault(identity.project_id, []).append(access)

    # List

    def list_readable(self, graph: Graph, revoked: Iterable[Revocation]) -> Graph:
        """Return the graph with the names of all secrets in the environments that the identities could read."""
        roots: dict[Location, None] = {}
        for one in revoked:
            for project_id, accesses in one.access.items():
                roots.update(dict.fromkeys(self._environments(project_id, accesses)))
        secrets = dict(graph.secrets)
        for root in roots:
            try:
                listing = Store(self.api, root).listing(recursive=True, view_values=False)
            except InfisicalError as error:
                self.warnings.append(f"Could not list the names of secrets that are exposed: {error}")
                continue
            names = without_values(root, listing.secrets)
            secrets.update({secret_id(known.location, known.name): known for known in names})
        projects = {**self.projects, **{id_: one for id_, one in graph.projects.items() if one.name}}
        return replace(graph, secrets={id_: secrets[id_] for id_ in sorted(secrets)}, projects=projects)

    def _environments(self, project_id: str, accesses: Iterable[Access]) -> Iterator[Location]:
        slugs = {grant.environment for access in accesses for grant in access.grants}
        if ANY in slugs or any(access.is_wide for access in accesses):
            project = self.api.project(project_id)
            slugs = {environment.slug for environment in project.environments} if project else set()
        return (Location(project_id, slug) for slug in sorted(slugs))


def recall(graph: Graph, host: str) -> Revocation | None:
    """Return the revocation of a host whose identity was in the graph but no longer exists, or None."""
    known = graph.identities.get(host)
    if known is None or not known.id:
        return None
    return Revocation(host, access={} if known.access is None else {known.project: [known.access]})


def explain_missing(hosts: Sequence[str], graph: Graph, inventory_hosts: Collection[str]) -> InfisicalError:
    """Return the error for hosts without an identity: unknown ones, or those that share an identity with others."""
    unknown = [host for host in hosts if host not in inventory_hosts and not _has_job(graph, host)]
    if unknown:
        names = ", ".join(f"'{host}'" for host in unknown)
        return ConfigurationError(
            "hosts", f"must be names of hosts in the inventory, in the graph, or with an identity (got {names}).",
            hint="Write the names as in the inventory, without patterns, or set project_ids to the project of the "
            "host's identity. Nothing was changed.",
        )  # fmt: skip
    has, its = ("has", "its") if len(hosts) == 1 else ("have", "their")
    shared = f"{escape(', '.join(hosts))} {has} no identity of {its} own"
    if all(_has_job(graph, host) for host in hosts):
        what = f"{shared}: {its} agent uses an identity that all hosts share, so the shared client secret is exposed"
    else:
        what = f"{shared}. If {its} agent uses the identity that all hosts share, the shared client secret is exposed"
    return IdentityMissing(f"{what}. Nothing was changed.", hint=_SHARED_HINT)


def _has_job(graph: Graph, host: str) -> bool:
    return any(vault.host == host and vault.job for vault in graph.vaults.values())


def find_exposed(graph: Graph, now: float, host: str, access: Mapping[str, Sequence[Access]]) -> list[Row]:
    """Return a row for each secret that a host has in its vaults or could read, like the question `exposed`, with the
    keys `held` and `readable`. `readable` is None if the access in the secret's project is unknown."""
    snapshot = Snapshot(graph, now)
    is_known = any(vault.host == host for vault in graph.vaults.values())
    rows = ask(graph, now, question="exposed", host=host) if is_known else []
    held = {row["id"] for row in rows}
    readable = {
        id_: any(one.may_read(secret.location) for one in access[secret.location.project_id])
        for id_, secret in graph.secrets.items()
        if secret.location.project_id in access
    }
    found = [{**row, "held": bool(row["id"]), "readable": readable.get(row["id"])} for row in rows]
    for id_, may in readable.items():
        if may and id_ not in held and not graph.secrets[id_].gone:
            others = sorted(snapshot.hosts_of.get(id_, set()) - {host})
            row = {**row_of(snapshot, None, id_, None, "readable"), "host": host, "also_on": others}
            found.append({**row, "held": False, "readable": True})
    return found


def find_rotation(exposed: Iterable[Row], revoked: Collection[str]) -> list[Row]:
    """Return a row for each exposed secret that needs a new value, with the other hosts that have it in a vault."""
    found: dict[str, Row] = {}
    for row in exposed:
        if row["id"]:
            keys = ("id", "name", "project", "project_name", "environment", "path")
            known = found.setdefault(row["id"], {**{key: row[key] for key in keys}, "held": False, "hosts": set()})
            known["held"] = known["held"] or row["held"]
            known["hosts"].update(row["also_on"])
    return [{**row, "hosts": sorted(row["hosts"] - set(revoked))} for id_, row in sorted(found.items())]
