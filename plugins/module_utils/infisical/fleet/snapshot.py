# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of vaults and secrets at a point in time, such as late vaults and outdated or missing secrets."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from functools import cached_property

from ..core.errors import ConfigurationError
from ..core.model import Location, escape, normalize_name, pluralize
from ..core.times import age_of, parse_time
from .graph import AgentVault, Graph, Hold, HostIdentity, JobScope, KnownSecret, covers, needs_of, root_of

LATE_INTERVALS = 2.0
"""The number of intervals without a successful sync after which a vault is late."""
LEAST_PRIVILEGE = ("kept", "exceeded", "shared", "unknown")
"""The results of `Snapshot.least_privilege`."""
_MOST_PROBLEMS = 3

_NameInVault = tuple[str, str, str]


class Snapshot:
    """A graph at a point in time (seconds since the epoch)."""

    def __init__(self, graph: Graph, now: float) -> None:
        self.graph = graph
        self.now = now
        self._wanted: dict[JobScope, dict[str, _NameInVault]] = {}

    @cached_property
    def hosts_of(self) -> dict[str, set[str]]:
        """The hosts that have each secret, keyed by the secret's ID."""
        found: dict[str, set[str]] = {}
        for vault in self.graph.vaults.values():
            for hold in vault.holds:
                found.setdefault(hold.secret, set()).add(vault.host)
        return found

    @cached_property
    def unknown_vaults(self) -> dict[str, AgentVault]:
        """The vaults whose content is unknown, keyed by ID. They may contain any secret."""
        return {
            id_: vault
            for id_, vault in self.graph.vaults.items()
            if not vault.holds and (vault.silent or vault.answered_at is None or vault.problem is not None)
        }

    @cached_property
    def ages(self) -> dict[str, int | None]:
        """The seconds since the current version of each secret was written, keyed by the secret's ID."""
        return {id_: self.age(secret.updated_at) for id_, secret in self.graph.secrets.items()}

    @cached_property
    def _by_environment(self) -> dict[Location, list[tuple[str, KnownSecret]]]:
        found: dict[Location, list[tuple[str, KnownSecret]]] = {}
        for id_, secret in self.graph.secrets.items():
            if not secret.gone and secret.updated_at is not None:
                found.setdefault(root_of(secret.location), []).append((id_, secret))
        return found

    def age(self, time: str | None) -> int | None:
        """Return the seconds since a time, 0 if it is in the future, or None if it is unknown."""
        return age_of(time, self.now)

    def days_left(self, host: str) -> int | None:
        """Return the full days until the client secret of a host expires, negative if it has expired, or None if it
        does not expire or is unknown."""
        identity = self.graph.identities.get(host)
        expires_at = parse_time(identity.expires_at) if identity else None
        return None if expires_at is None else math.floor((expires_at - self.now) / 86_400)

    @cached_property
    def excess(self) -> dict[str, list[str] | None]:
        """What the own identity of each host may do beyond reading what the host's jobs pull, or None if unknown."""
        vaults: dict[str, list[AgentVault]] = {}
        for vault in self.graph.vaults.values():
            vaults.setdefault(vault.host, []).append(vault)
        return {
            host: None if one.access is None else one.access.find_excess(needs_of(vaults.get(host, ()), one))
            for host, one in self.graph.identities.items()
            if one.kind == "own"
        }

    def least_privilege(self, host: str) -> str:
        """Return whether a host may read only what its jobs pull: `kept`, `exceeded`, `shared` (it may read everything
        that the hosts with the same identity may read) or `unknown`."""
        excess = self.excess.get(host)
        if excess is not None:
            return "exceeded" if excess else "kept"
        return "shared" if self.graph.identities.get(host, HostIdentity()).kind == "shared" else "unknown"

    def state_of_hold(self, hold: Hold) -> str:
        """Return the state of a secret in a vault: `gone` if it was deleted in Infisical; `behind` if Infisical has a
        newer version, or the secret was created again; `unknown` if Infisical has not listed this version; otherwise
        `current`."""
        secret = self.graph.secrets[hold.secret]
        if secret.gone:
            return "gone"
        is_listed = secret.updated_at is not None
        created_again = is_listed and hold.id != secret.id and bool(hold.id and secret.id)
        if hold.version < secret.version or created_again:
            return "behind"
        return "current" if is_listed and hold.version == secret.version else "unknown"

    def state_of_secret(self, id_: str) -> str:
        """Return `held` if a vault has the secret, `unused` if none has it, or `gone` if it was deleted in
        Infisical."""
        if self.graph.secrets[id_].gone:
            return "gone"
        return "held" if id_ in self.hosts_of else "unused"

    def state_of_vault(self, vault: AgentVault) -> str:
        """Return the first state that applies: `silent` (the host does not respond), `failed`, `never` (no sync has
        succeeded), `stale` (late), or `ok`."""
        if vault.silent:
            return "silent"
        if vault.problem is not None or vault.conclusion not in ("", "ok"):
            return "failed"
        if vault.last_sync is None:
            return "never"
        return "stale" if self.is_late(vault) else "ok"

    def is_late(self, vault: AgentVault) -> bool:
        """Return whether no sync has ever succeeded, or none within LATE_INTERVALS, regardless of the vault's state."""
        passed = self.intervals_since(vault)
        return vault.last_sync is None or (passed is not None and passed > LATE_INTERVALS)

    def intervals_since(self, vault: AgentVault) -> float | None:
        """Return the number of intervals since the last successful sync, or None if it is unknown."""
        age = self.age(vault.last_sync)
        return None if age is None or vault.interval_minutes <= 0 else round(age / (60 * vault.interval_minutes), 2)

    def missing(self, vault: AgentVault) -> list[str]:
        """Return the IDs of secrets that Infisical lists in the job's scope, but that are not in the vault.

        If several secrets have the same name in the vault, none of them is missing as long as one is in the vault.
        """
        if vault.scope not in self._wanted:
            self._wanted[vault.scope] = {
                id_: _name_in_vault(vault.scope, secret)
                for location in vault.scope.locations
                for id_, secret in self._by_environment.get(root_of(location), ())
                if covers(location, secret.location, vault.scope.recursive)
            }
        wanted = self._wanted[vault.scope]
        held = {hold.secret for hold in vault.holds}
        left = [id_ for id_ in wanted if id_ not in held]
        if not left:
            return []
        taken = {_name_in_vault(vault.scope, self.graph.secrets[id_]) for id_ in held}
        return [id_ for id_ in left if wanted[id_] not in taken]

    def summary(self) -> dict[str, int]:
        """Return the size of the graph, and the numbers of vaults and secrets in each state."""
        graph, vaults = self.graph, self.graph.vaults.values()
        of_secrets = Counter(map(self.state_of_secret, graph.secrets))
        of_vaults = Counter(map(self.state_of_vault, vaults))
        of_holds = Counter(self.state_of_hold(hold) for vault in vaults for hold in vault.holds)
        of_access = Counter(map(self.least_privilege, {vault.host for vault in vaults}))
        return {
            "services": len(graph.services),
            "projects": len(graph.projects),
            "secrets": len(graph.secrets),
            **{f"secrets_{state}": of_secrets[state] for state in ("unused", "gone")},
            "hosts": len({vault.host for vault in vaults}),
            "vaults": len(vaults),
            **{f"vaults_{state}": of_vaults[state] for state in ("ok", "failed", "stale", "never", "silent")},
            "held": sum(of_holds.values()),
            **{state: of_holds[state] for state in ("behind", "gone", "unknown")},
            "missing": sum(len(self.missing(vault)) for vault in vaults),
            **{f"least_privilege_{state}": of_access[state] for state in LEAST_PRIVILEGE},
        }


def _name_in_vault(scope: JobScope, secret: KnownSecret) -> _NameInVault:
    """Return a key that is equal for all secrets that would have the same name in a vault."""
    name = secret.name
    if scope.normalize_names:
        with contextlib.suppress(ConfigurationError):
            name = normalize_name(name)
    return (
        name,
        secret.location.secret_path if "{path}" in scope.key_format else "",
        secret.location.project_id if "{project}" in scope.key_format else "",
    )


def problems(graph: Graph) -> list[str]:
    """Return why Infisical could not list some locations that it has listed before, with their number for each reason,
    and the number of locations that it has never listed. A host may have invented the latter, so their reasons are left
    out."""
    reasons = Counter(source.problem for source in graph.sources.values() if source.problem and source.listed_at)
    found = [
        f"{escape(reason)} ({pluralize(count, 'location')})" for reason, count in reasons.most_common(_MOST_PROBLEMS)
    ]
    if len(reasons) > _MOST_PROBLEMS:
        found.append(f"{pluralize(len(reasons) - _MOST_PROBLEMS, 'more reason')}")
    never = sum(source.problem is not None and source.listed_at is None for source in graph.sources.values())
    if never:
        found.append(f"{pluralize(never, 'location')} never listed (the reasons are in the graph file, under sources)")
    return found


def unknown_hosts(graph: Graph) -> list[str]:
    """Return the hosts that have a vault whose content is unknown."""
    return sorted({vault.host for vault in Snapshot(graph, 0.0).unknown_vaults.values()})
