# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows that are returned for queries and questions about a fleet."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from ..core.errors import ConfigurationError
from ..core.model import Location
from .graph import AgentVault, Graph, Hold, HostIdentity
from .snapshot import Snapshot

Row = dict[str, Any]


def row_of(snapshot: Snapshot, vault: AgentVault | None, id_: str, hold: Hold | None, state: str) -> Row:
    """Return the row for a secret in a vault, with the version that the vault contains. `id_` is empty if it is unknown
    which secret."""
    graph = snapshot.graph
    secret = graph.secrets.get(id_)
    location = secret.location if secret else Location("", "", "")
    project = graph.projects.get(location.project_id)
    return {
        "id": id_,
        "name": secret.name if secret else "",
        "project": location.project_id,
        "project_name": project.name if project else "",
        "environment": location.environment,
        "path": location.secret_path,
        "host": vault.host if vault else "",
        "job": vault.job if vault else "",
        "version": hold.version if hold else None,
        "current_version": secret.version if secret else None,
        "state": state,
        "behind_seconds": snapshot.ages[id_] if state in ("behind", "missing") else None,
        "synced_at": hold.synced_at if hold else None,
    }


def held_rows(snapshot: Snapshot, vault: AgentVault) -> Iterator[Row]:
    """Yield a row for each secret in a vault."""
    for hold in vault.holds:
        yield row_of(snapshot, vault, hold.secret, hold, snapshot.state_of_hold(hold))


def _behind(snapshot: Snapshot) -> Iterator[Row]:
    for vault in snapshot.graph.vaults.values():
        for hold in vault.holds:
            if snapshot.state_of_hold(hold) == "behind":
                yield row_of(snapshot, vault, hold.secret, hold, "behind")


def _missing(snapshot: Snapshot) -> Iterator[Row]:
    for vault in snapshot.graph.vaults.values():
        for id_ in snapshot.missing(vault):
            yield row_of(snapshot, vault, id_, None, "missing")


def _late(snapshot: Snapshot) -> Iterator[Row]:
    for vault in snapshot.graph.vaults.values():
        if snapshot.is_late(vault):
            yield {
                "host": vault.host,
                "job": vault.job,
                "state": snapshot.state_of_vault(vault),
                "conclusion": vault.conclusion,
                "message": vault.problem or vault.message,
                "last_sync": vault.last_sync,
                "age_seconds": snapshot.age(vault.last_sync),
                "intervals": snapshot.intervals_since(vault),
                "environment_checked": vault.environment_checked,
                "answered_at": vault.answered_at,
            }


def _held_by(snapshot: Snapshot, wanted: str) -> Iterator[Row]:
    for vault, hold in _find_holds(snapshot, _find_secrets(snapshot.graph, wanted)):
        yield row_of(snapshot, vault, hold.secret, hold, snapshot.state_of_hold(hold))
    yield from _unknown(snapshot)


def _rotate(snapshot: Snapshot, wanted: str) -> Iterator[Row]:
    """Yield a row for each vault and file that contains the secret, for each matching secret that is in no vault, and
    for each vault whose content is unknown."""
    nothing = {"file": "", "format": "", "owner": ""}
    chosen = _find_secrets(snapshot.graph, wanted)
    for vault, hold in _find_holds(snapshot, chosen):
        row = row_of(snapshot, vault, hold.secret, hold, snapshot.state_of_hold(hold))
        name = row["name"] if hold.name is None else hold.name
        files = [
            {"file": file.path, "format": file.format, "owner": file.owner}
            for file in vault.files
            if not file.names or any(fnmatchcase(name, pattern) for pattern in file.names)
        ]
        yield from ({**row, **file} for file in files or [nothing])
    for id_ in sorted(chosen - snapshot.hosts_of.keys()):
        yield {**row_of(snapshot, None, id_, None, snapshot.state_of_secret(id_)), **nothing}
    yield from ({**row, **nothing} for row in _unknown(snapshot))


def _exposed(snapshot: Snapshot, host: str) -> Iterator[Row]:
    """Yield a row for each secret on a host, with the other hosts that have it, and for each vault whose content is
    unknown."""
    vaults = [vault for vault in snapshot.graph.vaults.values() if vault.host == host]
    if not vaults:
        raise ConfigurationError("host", f"must be a host in the graph (got '{host}').")
    rows = [row for vault in vaults for row in held_rows(snapshot, vault)]
    for row in (*rows, *_unknown(snapshot)):
        if row["host"] == host:
            yield {**row, "also_on": sorted(snapshot.hosts_of.get(row["id"], {host}) - {host})}


def identity_rows(snapshot: Snapshot) -> Iterator[Row]:
    """Yield a row for each host, with its identity."""
    for host in sorted({vault.host for vault in snapshot.graph.vaults.values()}):
        identity = snapshot.graph.identities.get(host, HostIdentity())
        yield {
            "host": host,
            "kind": identity.kind,
            "identity": identity.name,
            "identity_id": identity.id or identity.reported_id,
            "project": identity.project,
            "auth_method": identity.auth_method,
            "expires_at": identity.expires_at,
            "days_left": snapshot.days_left(host),
            "least_privilege": snapshot.least_privilege(host),
            "excess": snapshot.excess.get(host) or [],
            "checked_at": identity.checked_at,
        }


def _unknown(snapshot: Snapshot) -> Iterator[Row]:
    for vault in snapshot.unknown_vaults.values():
        yield row_of(snapshot, vault, "", None, "unknown")


def _find_holds(snapshot: Snapshot, chosen: set[str]) -> Iterator[tuple[AgentVault, Hold]]:
    for vault in snapshot.graph.vaults.values():
        yield from ((vault, hold) for hold in vault.holds if hold.secret in chosen)


def _find_secrets(graph: Graph, wanted: str) -> set[str]:
    """Return the IDs of the secrets with this name or ID."""
    found = {id_ for id_, secret in graph.secrets.items() if wanted in (secret.name, id_)}
    if not found:
        raise ConfigurationError("secret", f"must be the name or id of a secret in the graph (got '{wanted}').")
    return found


QUESTIONS: dict[str, tuple[Callable[..., Iterator[Row]], str]] = {
    "exposed": (_exposed, "host"),
    "rotate": (_rotate, "secret"),
    "held_by": (_held_by, "secret"),
    "behind": (_behind, ""),
    "missing": (_missing, ""),
    "late": (_late, ""),
    "identities": (identity_rows, ""),
}
"""For each question, the function that finds its rows, and the option that it needs."""


def ask(
    graph: Graph, now: float, *, query: str = "", question: str = "", host: str = "", secret: str = ""
) -> list[Row]:
    """Return the rows for a query or a question at the time `now` (seconds since the epoch). Raises ConfigurationError.

    An unknown host, secret or project is an error, because an empty result would look like good news.
    """
    if bool(query) == bool(question):
        raise ConfigurationError("question", "must be set if query is not set, and only then.")
    if question and question not in QUESTIONS:
        raise ConfigurationError("question", f"must be one of {', '.join(QUESTIONS)} (got '{question}').")
    find, needs = QUESTIONS[question] if question else (_query, "")
    given = {name: value for name, value in (("host", host), ("secret", secret)) if value}
    for name in given.keys() - {needs}:
        raise ConfigurationError(name, f"must not be set with {f'the question {question}' if question else 'query'}.")
    if needs and needs not in given:
        raise ConfigurationError(needs, f"is required for the question {question}.")
    snapshot = Snapshot(graph, now)
    return list(_query(snapshot, query) if query else find(snapshot, *given.values()))


def _query(snapshot: Snapshot, query: str) -> Iterator[Row]:
    try:
        words = sorted(shlex.split(query))
    except ValueError:
        words = []
    if words == ["type=secret"]:
        return _secrets(snapshot)
    if words == ["type=secret_project"]:
        return _projects(snapshot)
    if len(words) == 2 and words[0] == "relation=belongs_to" and words[1].startswith("target="):
        return _belongs_to(snapshot, words[1].partition("=")[2])
    raise ConfigurationError(
        "query",
        f"must be type=secret, type=secret_project or relation=belongs_to target=ID (got '{query}').",
        hint="Use question for other questions, and filter the rows with selectattr.",
    )


def _secrets(snapshot: Snapshot) -> Iterator[Row]:
    for id_, secret in snapshot.graph.secrets.items():
        row = row_of(snapshot, None, id_, None, snapshot.state_of_secret(id_))
        yield {
            **{key: row[key] for key in ("id", "name", "project", "project_name", "environment", "path")},
            "version": secret.version,
            "updated_at": secret.updated_at,
            "hosts": len(snapshot.hosts_of.get(id_, ())),
            "state": row["state"],
        }


def _projects(snapshot: Snapshot) -> Iterator[Row]:
    graph = snapshot.graph
    secrets = Counter(secret.location.project_id for secret in graph.secrets.values())
    vaults: Counter[str] = Counter()
    for vault in graph.vaults.values():
        held = {graph.secrets[hold.secret].location.project_id for hold in vault.holds}
        vaults.update(held.union(vault.scope.project_ids))
    for id_, project in graph.projects.items():
        yield {**project._asdict(), "secrets": secrets[id_], "vaults": vaults[id_]}


def _belongs_to(snapshot: Snapshot, target: str) -> Iterator[Row]:
    if target not in snapshot.graph.projects:
        raise ConfigurationError("query", f"target must be the id of a project in the graph (got '{target}').")
    for id_, secret in snapshot.graph.secrets.items():
        if secret.location.project_id == target:
            yield {"source": id_, "target": target}
