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
    PartialFailure,
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
    "Check first whether it was revoked before, and whether identity_inventory and project_ids are correct. Only if "
    "the host uses the shared identity, create a new client secret for this identity, run the role scheduled_sync "
    "with it on all other hosts, and then revoke the old client secret."
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
    """Finds the identities of hosts, and then revokes their access. Methods raise InfisicalError.

    `revoked` are the hosts so far, also after an error. `unlisted` describes the access whose secrets could not be
    listed. `elsewhere` are identities of other inventories, keyed by host, of hosts without an identity in this one.
    """

    def __init__(self, api: Api, *, inventory: str = "") -> None:
        self.api = api
        self.identities = IdentityApi(api)
        self.inventory = inventory
        self.warnings: list[str] = []
        self.revoked: list[Revocation] = []
        self.unlisted: list[str] = []
        self.elsewhere: dict[str, list[Identity]] = {}
        self.projects: dict[str, KnownProject] = {}

    # Find

    def find(self, hosts: Sequence[str], project_ids: Sequence[str]) -> dict[str, list[Identity]]:
        """Return the identities of each host in these projects, or in all visible projects if there are none.

        Raises Ambiguous if a host has identities in several inventories or projects, unless both are given, and
        GuardStopped if an identity must not be deleted. Nothing has been changed yet.
        """
        listed = list(self._list(project_ids))
        everywhere, ours = group_by_host(listed), group_by_host(listed, self.inventory)
        found = {host: ours.get(host, []) for host in hosts}
        self.elsewhere = {host: everywhere[host] for host in hosts if not found[host] and host in everywhere}
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
        if len(places) > 1:
            raise Ambiguous(
                f"Several hosts with the name {host} have an identity: {_show(identities)}. Nothing was changed.",
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
        for number, (host, identities) in enumerate(found.items()):
            self.revoked.append(Revocation(host, identities))
            try:
                self._revoke(self.revoked[-1], check)
            except InfisicalError as error:
                done = [one.describe() for one in self.revoked if not check and (one.client_secrets or one.deleted)]
                left = f"Then run this again for {escape(', '.join(list(found)[number:]))}."
                with after_writing(" ".join(done)):
                    raise error.reworded(error.problem, f"{error.hint} {left}".lstrip()) from None
        return self.revoked

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
            self.unlisted.append(f"{done.host}: unknown secrets of project {identity.project_id}")
        else:
            done.access.setdefault(identity.project_id, []).append(access)

    # List

    def list_readable(self, graph: Graph, revoked: Iterable[Revocation]) -> Graph:
        """Return the graph with the names of all secrets in the environments that the identities could read."""
        secrets = dict(graph.secrets)
        access: dict[str, list[tuple[str, Access]]] = {}
        for one in revoked:
            for project_id, accesses in one.access.items():
                access.setdefault(project_id, []).extend((one.host, each) for each in accesses)
        for project_id, owners in access.items():
            try:
                roots = list(self._environments(project_id, [each for _host, each in owners]))
            except InfisicalError as error:
                self._note_unlisted(project_id, owners, error)
                continue
            for root in roots:
                try:
                    listing = Store(self.api, root).listing(recursive=True, view_values=False)
                except InfisicalError as error:
                    self._note_unlisted(project_id, owners, error, root.environment)
                    continue
                names = without_values(root, listing.secrets)
                secrets.update({secret_id(known.location, known.name): known for known in names})
        projects = {**self.projects, **{id_: one for id_, one in graph.projects.items() if one.name}}
        return replace(graph, secrets={id_: secrets[id_] for id_ in sorted(secrets)}, projects=projects)

    def _note_unlisted(
        self, project_id: str, owners: Iterable[tuple[str, Access]], error: InfisicalError, environment: str = ""
    ) -> None:
        """Note the access of hosts in an environment, or in all if it is empty, whose secrets could not be listed."""
        self.warnings.append(f"Could not list the names of secrets that are exposed: {error}")
        for host, access in owners:
            grants = [str(one) for one in access.grants if not environment or one.environment in (environment, ANY)]
            what = [f"all secrets of {environment or 'all environments'}"] if access.is_wide else grants
            if what:
                self.unlisted.append(escape(f"{host}: {', '.join(what)} in project {project_id}"))

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


def explain_missing(
    hosts: Sequence[str], graph: Graph, inventory_hosts: Collection[str], elsewhere: Mapping[str, Sequence[Identity]]
) -> InfisicalError:
    """Return the error for hosts without an identity: unknown ones, those with an identity of another inventory
    (`elsewhere`), or those that were revoked before or share an identity with others."""
    unknown = [
        host for host in hosts if host not in inventory_hosts and host not in elsewhere and not _has_job(graph, host)
    ]
    if unknown:
        names = ", ".join(f"'{host}'" for host in unknown)
        return ConfigurationError(
            "hosts", f"must be names of hosts in the inventory, in the graph, or with an identity (got {names}).",
            hint="Write the names as in the inventory, without patterns, or set project_ids to the project of the "
            "host's identity.",
        )  # fmt: skip
    others = [f"{host} has an identity of another inventory: {_show(elsewhere[host])}" for host in hosts
              if host in elsewhere]  # fmt: skip
    left = [host for host in hosts if host not in elsewhere]
    if not left:
        return IdentityMissing(f"{'. '.join(others)}.", hint="Set identity_inventory to the label of its inventory.")
    has, its = ("has", "Its identity") if len(left) == 1 else ("have", "Their identities")
    others.append(
        f"{escape(', '.join(left))} {has} no separate identity. {its} may have been revoked before, or may have "
        "another label or project. If the agent uses the identity that all hosts share, the shared client secret is "
        "exposed"
    )
    return IdentityMissing(f"{'. '.join(others)}.", hint=_SHARED_HINT)


def explain_unlisted(unlisted: Iterable[str]) -> InfisicalError:
    """Return the error for secrets that could not be listed after the revocation, so that nobody takes the list for
    complete."""
    return PartialFailure(
        f"Some of the exposed secrets could not be listed. The host could read: {'; '.join(unlisted)}.",
        hint="Note these folders: the identity with its grants no longer exists. Rotate all secrets in them.",
    )


def _show(identities: Iterable[Identity]) -> str:
    return escape(
        ", ".join(
            f"{one.name} ({one.id}, project {one.project_id}, inventory '{one.metadata_value('inventory')}')"
            for one in identities
        )
    )


def _has_job(graph: Graph, host: str) -> bool:
    return any(vault.host == host and vault.job for vault in graph.vaults.values())


def find_exposed(graph: Graph, now: float, host: str, access: Mapping[str, Sequence[Access]]) -> list[Row]:
    """Return a row for each secret that a host has in its vaults or could read, like the question `exposed`, with the
    keys `held` and `readable`. `held` is None if the host may have the secret in a vault whose content is unknown, and
    `readable` is None if the access in the secret's project is unknown."""
    snapshot = Snapshot(graph, now)
    is_known = any(vault.host == host for vault in graph.vaults.values())
    rows = ask(graph, now, question="exposed", host=host) if is_known else []
    held = {row["id"] for row in rows}
    otherwise = None if not is_known or "" in held else False
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
            found.append({**row, "held": otherwise, "readable": True})
    return found


def find_rotation(exposed: Iterable[Row], revoked: Collection[str]) -> list[Row]:
    """Return a row for each exposed secret that needs a new value, with the other hosts that have it in a vault."""
    found: dict[str, Row] = {}
    for row in exposed:
        if row["id"]:
            keys = ("id", "name", "project", "project_name", "environment", "path")
            known = found.setdefault(row["id"], {**{key: row[key] for key in keys}, "held": False, "hosts": set()})
            known["held"] = known["held"] or bool(row["held"])
            known["hosts"].update(row["also_on"])
    return [{**row, "hosts": sorted(row["hosts"] - set(revoked))} for id_, row in sorted(found.items())]
