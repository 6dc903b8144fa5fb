# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the machine identities of hosts in Infisical, and what these identities may read, for the metadata graph."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..client.api import Api
from ..client.identities import Identity, IdentityApi
from ..core.errors import Forbidden, IdentityMissing, InfisicalError, RouteMissing, ScopeMissing
from ..core.model import Location
from ..identities.host import read_entry
from ..identities.imports import follow
from .access import Access, Need, parse_access
from .graph import AgentVault, Graph, HostIdentity, covers, needs_of

_CANNOT_SEE = (Forbidden, RouteMissing, ScopeMissing)
"""Errors for a login that is not allowed to see identities, and from servers without identities in projects (2024)."""


@dataclass
class IdentityAnswer:
    """The identities of hosts, keyed by host, for the graph, and warnings."""

    identities: dict[str, HostIdentity] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def group_by_host(listed: Iterable[Identity], inventory: str = "") -> dict[str, list[Identity]]:
    """Return the identities that the role has created, keyed by host. If `inventory` is not empty, leave out identities
    of other inventories."""
    found: dict[str, list[Identity]] = defaultdict(list)
    for identity in listed:
        entry = read_entry(identity)
        if entry is not None and inventory in ("", entry.inventory):
            found[entry.host].append(identity)
    return found


def read_access(api: IdentityApi, identity: Identity) -> Access:
    """Return what an identity may do in its project. Sends two requests, and one for each privilege."""
    roles = api.roles(identity.project_id, identity.id)
    privileges = [api.privilege(one.id) for one in api.privileges(identity.project_id, identity.id)]
    return parse_access(roles, [row for one in privileges for row in one.permissions or ()])


def ask_identities(api: Api, graph: Graph, time: str, *, most: int, inventory: str = "") -> IdentityAnswer:
    """List the identities of the projects that jobs pull from, and read the access of up to `most` identities.

    The access that was read longest ago is read first, so that several runs read everything. If the login is not
    allowed to see identities, or after another error, the rest keeps its last known state. Raises no InfisicalError.
    """
    asker = _Asker(IdentityApi(api), graph, time, inventory)
    try:
        asker.find()
        asker.read(most)
    except _CANNOT_SEE:
        pass
    except InfisicalError as error:
        asker.answer.warnings.append(f"Could not read the identities of all hosts: {error}")
    return asker.answer


class _Asker:
    def __init__(self, api: IdentityApi, graph: Graph, time: str, inventory: str) -> None:
        self.api = api
        self.graph = graph
        self.time = time
        self.inventory = inventory
        self.answer = IdentityAnswer(dict(graph.identities))
        self.vaults: dict[str, list[AgentVault]] = defaultdict(list)
        for vault in graph.vaults.values():
            if vault.job:
                self.vaults[vault.host].append(vault)
        self.own: dict[str, Identity] = {}
        self.imports: dict[Location, Sequence[Location]] = {}

    def find(self) -> None:
        """Find the identities of all hosts that have jobs, in the projects of these jobs."""
        listed: dict[str, dict[str, list[Identity]]] = {}
        for project in self.graph.projects.values():
            # A host may have invented a project that no server has listed.
            if project.service:
                with contextlib.suppress(*_CANNOT_SEE):
                    listed[project.id] = group_by_host(self.api.identities(project.id), self.inventory)
        for host, vaults in self.vaults.items():
            projects = sorted({id_ for vault in vaults for id_ in vault.scope.project_ids})
            if listed.keys() >= set(projects):
                self._note(host, [one for project in projects for one in listed[project].get(host, ())])

    def _note(self, host: str, found: Sequence[Identity]) -> None:
        before = self.answer.identities.get(host, HostIdentity())
        own = next((one for one in found if one.id in (before.reported_id, before.id)), found[0] if found else None)
        if own is None:
            after = HostIdentity(before.auth_method, before.reported_id, before.expires_at, checked_at=self.time)
        else:
            same = before if own.id == before.id else replace(before, checked_at=None, imports=(), access=None)
            after = replace(same, id=own.id, name=own.name, project=own.project_id)
            self.own[host] = own
        self.answer.identities[host] = after
        if len(found) > 1:
            ids = ", ".join(one.id for one in found)
            self.answer.warnings.append(f"Host {host} has {len(found)} identities ({ids}), so the report shows one.")

    def read(self, most: int) -> None:
        """Read the access of up to `most` identities."""
        identities = self.answer.identities
        for host in sorted(self.own, key=lambda host: (identities[host].checked_at or "", host))[:most]:
            with contextlib.suppress(IdentityMissing):  # it was deleted after it was listed
                access = read_access(self.api, self.own[host])
                known = replace(identities[host], checked_at=self.time, imports=(), access=access)
                needs = needs_of(self.vaults[host], known)
                # Only grants can be needed for imports, so most hosts need no further requests.
                if any(access.find_excess(needs)) and access.grants:
                    known = replace(known, imports=self._follow(needs))
                identities[host] = known

    def _follow(self, needs: Iterable[Need]) -> tuple[Location, ...]:
        """Return the folders that these folders import, also through other imports."""
        first = [one for need in needs for folder in self._folders(need) for one in self._imports_of(folder)]
        return tuple(sorted(follow(first, self._imports_of)))

    def _imports_of(self, folder: Location) -> Sequence[Location]:
        if folder not in self.imports:
            self.imports[folder] = self.api.imports(folder)
        return self.imports[folder]

    def _folders(self, need: Need) -> set[Location]:
        """Return a needed folder with its known subfolders, because these can import folders too."""
        if not need.recursive:
            return {need.location}
        places = {secret.location for secret in self.graph.secrets.values()}
        return {need.location, *(place for place in places if covers(need.location, place, True))}
