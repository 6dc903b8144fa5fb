# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two JSON documents: the graph, which is written and read, and a host's metadata, which is only read here.

The manual's guide to the fleet report describes both. A host may be compromised, so its document is limited in size
and validated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from sys import intern
from typing import Any

from ..core.errors import ConfigurationError
from ..core.model import LONGEST_NAME, Location, escape, is_text, is_whole
from ..core.times import format_time, parse_time
from ..identities.grants import Grant
from ..identities.held import NOTHING, HeldIdentity, parse_held
from .access import Access
from .graph import (
    AgentVault,
    DeliveredFile,
    Graph,
    Hold,
    HostAnswer,
    HostIdentity,
    JobScope,
    KnownProject,
    KnownSecret,
    Source,
    secret_id,
)

METADATA_SCHEMA, GRAPH_SCHEMA = "keyfleet.infisical/metadata", "keyfleet.infisical/fleet"
VERSION = 1
"""The version of both schemas. Readers reject a higher version, and ignore unknown keys."""

MOST_BYTES = 16 << 20
"""The maximum size of a host's document, and of all names that it adds to the report, in bytes."""
MOST_LOCATIONS = 2000
"""The maximum number of locations (project, environment and path) in a host's document, for its jobs and their
secrets."""
LONGEST_MESSAGE = 1000
"""The number of characters after which a host's message is cut off."""

# The types of fields in both documents. All data are plain, as from json.loads.
_OPTIONAL = (str, type(None))
_PROJECT = dict.fromkeys(KnownProject._fields, str)
_SECRET = {"name": str, "version": int, "updated_at": _OPTIONAL, "gone": bool}
_SOURCE = {"listed_at": _OPTIONAL, "problem": _OPTIONAL}
_FILE = {"path": str, "format": str, "owner": str}
_SCOPE = {"environment": str, "secret_path": str, "recursive": bool, "key_format": str, "normalize_names": bool}
_JOB = {
    "job": str, "service": str, "interval_minutes": int, "last_sync": _OPTIONAL, "environment_checked": _OPTIONAL,
    "ended": _OPTIONAL, "conclusion": str, "message": str, "problem": _OPTIONAL, "generation": int,
}  # fmt: skip
_IDENTITY = {
    "auth_method": str, "reported_id": str, "expires_at": _OPTIONAL, "id": str, "name": str, "project": str,
    "checked_at": _OPTIONAL,
}  # fmt: skip
_GRANT = {"environment": str, "path": str, "recursive": bool, "access": str}
_VAULT = {"host": str, "agent": str, "answered_at": _OPTIONAL, "silent": bool}

# The types of columns.
_NUMBER: set[Any] = {int}
_TEXT: set[Any] = {str}
_OPTIONAL_TEXT: set[Any] = {str, type(None)}

_INVALID = (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError)


def render_graph(graph: Graph) -> dict[str, Any]:
    """Return the graph as plain data, for JSON."""
    render = _vault_renderer(graph)
    return {**_render_all_but_vaults(graph), "vaults": [render(vault) for vault in graph.vaults.values()]}


def dump_graph(graph: Graph) -> bytes:
    """Return the graph as JSON. Vaults are rendered one after another, because all of them together need much
    memory."""
    document = {**_render_all_but_vaults(graph), "vaults": list(graph.vaults.values())}
    text = json.dumps(document, separators=(",", ":"), default=_vault_renderer(graph))
    text += "\n"  # in place, while adding it to the bytes would copy them
    return text.encode("ascii")


def _vault_renderer(graph: Graph) -> Callable[[AgentVault], dict[str, Any]]:
    numbers = {id_: number for number, id_ in enumerate(graph.secrets)}

    def render(vault: AgentVault) -> dict[str, Any]:
        return {
            "id": vault.id,
            **{name: value for name, value in vars(vault).items() if name not in ("scope", "files", "holds")},
            "scope": {**vars(vault.scope), "project_ids": list(vault.scope.project_ids)},
            "files": [{**file._asdict(), "names": list(file.names)} for file in vault.files],
            "holds": [_render_hold(hold, numbers[hold.secret], graph.secrets[hold.secret]) for hold in vault.holds],
        }

    return render


def _render_all_but_vaults(graph: Graph) -> dict[str, Any]:
    return {
        "schema": GRAPH_SCHEMA,
        "version": VERSION,
        "time": graph.time,
        "services": [{"id": service} for service in graph.services],
        "projects": [project._asdict() for project in graph.projects.values()],
        "secrets": [
            {
                "id": id_,
                **_render_location(secret.location),
                **{name: getattr(secret, name) for name in _SECRET},
                "infisical_id": secret.id,
            }
            for id_, secret in graph.secrets.items()
        ],
        "sources": [
            {**_render_location(source.location), "listed_at": source.listed_at, "problem": source.problem}
            for source in graph.sources.values()
        ],
        "identities": [_render_identity(host, identity) for host, identity in graph.identities.items()],
    }


def _render_identity(host: str, identity: HostIdentity) -> dict[str, Any]:
    access = identity.access
    return {
        "host": host,
        **{name: getattr(identity, name) for name in _IDENTITY},
        "imports": [_render_location(location) for location in identity.imports],
        "access": None if access is None else {
            "roles": list(access.roles),
            "grants": [vars(grant) for grant in access.grants],
            "foreign": list(access.foreign),
        },
    }  # fmt: skip


def _render_location(location: Location) -> dict[str, str]:
    return {"project": location.project_id, "environment": location.environment, "path": location.secret_path}


def _render_hold(hold: Hold, number: int, secret: KnownSecret) -> list[Any]:
    other_id = [hold.id] if hold.id != secret.id else []
    name = [hold.name] if hold.name is not None or other_id else []
    return [number, hold.version, hold.synced_at, *name, *other_id]


def parse_graph(data: Any, option: str = "graph") -> Graph:
    """Return the graph in a document. `option` is the option that errors refer to. Raises ConfigurationError if the
    document is damaged, has another schema, or has a later version."""
    _check_schema(data, GRAPH_SCHEMA, option)
    try:
        secrets = [
            KnownSecret(_location(row), id=_get(str, row, "infisical_id"), **_fields(row, _SECRET))
            for row in _objects(data, "secrets")
        ]
        ids = [secret_id(secret.location, secret.name) for secret in secrets]
        projects = [KnownProject(**_fields(row, _PROJECT)) for row in _objects(data, "projects")]
        vaults = [
            replace(_parse_job(row, row["scope"]), holds=_parse_holds(_get(list, row, "holds"), ids, secrets),
                    **_fields(row, _VAULT))
            for row in _objects(data, "vaults")
        ]  # fmt: skip
        sources = [Source(_location(row), **_fields(row, _SOURCE)) for row in _objects(data, "sources")]
        # Older graphs have no identities.
        identities = _objects({"identities": [], **data}, "identities")
        return Graph(
            _get(str, data, "time"),
            {project.id: project for project in projects},
            dict(zip(ids, secrets)),
            {vault.id: vault for vault in vaults},
            {source.location: source for source in sources},
            {_get(str, row, "host"): _parse_host_identity(row) for row in identities},
        )
    except _INVALID as error:
        problem = f"is damaged: {_explain(error)}."
        raise ConfigurationError(option, problem, hint="Move it away to start with a new one.") from None


def _parse_host_identity(row: Mapping[str, Any]) -> HostIdentity:
    imports = tuple(_location(place) for place in _objects(row, "imports"))
    access = row["access"]
    if access is not None:
        grants = tuple(Grant(**_fields(one, _GRANT)) for one in _objects(access, "grants"))
        access = Access(_texts(access, "roles"), grants, _texts(access, "foreign"))
    return HostIdentity(imports=imports, access=access, **_fields(row, _IDENTITY))


def parse_host(data: Any, time: str) -> HostAnswer:
    """Return the data in a host's metadata document, which arrived at `time`. Raises ConfigurationError, like
    `parse_graph`.

    If the host's clock is ahead, all times are moved back by the difference, so that no sync looks more recent than it
    was.
    """
    _check_schema(data, METADATA_SCHEMA, "metadata")
    try:
        # This also rejects lone surrogates, which are valid in JSON but cannot be written to a file.
        if len(json.dumps(data, ensure_ascii=False).encode("utf-8")) > MOST_BYTES:
            raise ValueError(f"the document is larger than {MOST_BYTES >> 20} MiB")
        agent, jobs = _get(str, data, "agent"), _objects(data, "jobs")
        names = {_get(str, row, "job") for row in jobs}
        if len(names) < len(jobs) or max(map(len, names), default=0) > LONGEST_NAME:
            raise ValueError("two jobs have the same name, or a name is too long")
        if sum(len(row["places"]) + max(1, len(row["project_ids"])) for row in jobs) > MOST_LOCATIONS:
            raise ValueError(f"the document lists more than {MOST_LOCATIONS:,} locations")
        written = parse_time(data["time"])
        if written is None:
            raise ValueError("'time' is not an ISO 8601 time")
        ahead = max(0.0, written - (parse_time(time) or math.inf))
        secrets: dict[str, KnownSecret] = {}
        left, vaults = MOST_BYTES, []
        for row in jobs:
            vault = _parse_job(row, row)
            holds = []
            for hold in _parse_host_holds(row, secrets, ahead):
                # Every row of the table repeats these names, so a short document could make the report very large.
                left -= len(hold.secret) + len(vault.job)
                if left < 0:
                    raise ValueError("the names in the document are too long")
                holds.append(hold)
            # If a sync is later than the document, the host's clock was wrong, so treat the sync's time as unknown.
            is_past = (parse_time(vault.last_sync) or 0) <= written
            vaults.append(
                replace(
                    vault,
                    agent=agent,
                    message=_plain(vault.message),
                    problem=None if vault.problem is None else _plain(vault.problem),
                    last_sync=_earlier(vault.last_sync, ahead) if is_past else None,
                    environment_checked=_earlier(vault.environment_checked, ahead),
                    ended=_earlier(vault.ended, ahead),
                    answered_at=time,
                    holds=tuple(holds),
                )
            )
        return HostAnswer(tuple(vaults), secrets, _parse_identity(data.get("identity")))
    except _INVALID as error:
        problem = f"is invalid: {_explain(error)}."
        raise ConfigurationError("metadata", problem, hint="Run the role scheduled_sync on the host again.") from None


def _parse_identity(data: Any) -> HeldIdentity:
    """Return the identity in a host's document. Agents before 0.4.0 do not report it."""
    if not isinstance(data, Mapping):
        return NOTHING
    return parse_held({**data, "expires_at": int(parse_time(data.get("expires_at")) or 0)})


def _parse_job(row: Mapping[str, Any], scope: Mapping[str, Any]) -> AgentVault:
    """Return a job from the part of a row that is the same in both documents."""
    ids = tuple(dict.fromkeys(_texts(scope, "project_ids")))
    return AgentVault(
        host="",
        scope=JobScope(ids, **_fields(scope, _SCOPE)),
        files=tuple(
            DeliveredFile(names=_texts(file, "names"), **_fields(file, _FILE)) for file in _objects(row, "files")
        ),
        # Older agents do not report `environment_checked`.
        **_fields({"environment_checked": None, **row}, _JOB),
    )


def _parse_holds(rows: list[Any], ids: Sequence[str], secrets: Sequence[KnownSecret]) -> tuple[Hold, ...]:
    full: list[Any] = [(*row, None, None)[:5] for row in rows]
    _check_columns("holds", full, _NUMBER, _NUMBER, _TEXT, _OPTIONAL_TEXT, _OPTIONAL_TEXT)
    # The same times and names occur in many vaults, so they are interned to save memory.
    return tuple(
        Hold(
            ids[number], version, intern(time), name and intern(name),
            secrets[number].id if own_id is None else intern(own_id),
        )
        for number, version, time, name, own_id in full
    )  # fmt: skip


def _parse_host_holds(job: Mapping[str, Any], secrets: dict[str, KnownSecret], ahead: float) -> Iterator[Hold]:
    """Yield the secrets in a job's vault, and add new ones to `secrets`. The host's clock is `ahead` by this many
    seconds."""
    folders = [_folder(_host_location(row)) for row in _get(list, job, "places")]
    rows = _get(list, job, "secrets")
    _check_columns("secrets", rows, _TEXT, _NUMBER, _OPTIONAL_TEXT, _NUMBER, _TEXT, _TEXT)
    times = {row[4]: intern(_earlier(row[4], ahead) or "" if ahead else row[4]) for row in rows}
    for name, number, key, version, time, own_id in rows:
        id_, secret = folders[number][name if key is None else key, own_id]
        secrets.setdefault(id_, secret)
        yield Hold(id_, version, times[time], None if key is None else intern(name), secret.id)


class _Folder(dict[tuple[str, str], tuple[str, KnownSecret]]):
    """The secrets of a folder on all hosts, keyed by name and by the ID in Infisical, with their IDs in the graph.

    Most hosts have the same secrets, so sharing them saves time and memory.
    """

    def __init__(self, location: Location) -> None:
        super().__init__()
        self.location = location

    def __missing__(self, key: tuple[str, str]) -> tuple[str, KnownSecret]:
        name, own_id = key
        found = self[key] = secret_id(self.location, name), KnownSecret(self.location, name, id=own_id)
        return found


_folder = lru_cache(maxsize=1 << 12)(_Folder)


def _check_columns(where: str, rows: Sequence[Sequence[Any]], *columns: set[Any]) -> None:
    """Check the types of rows by column, because there can be hundreds of thousands of rows."""
    for values, types in zip(zip(*rows), columns):
        if not set(map(type, values)) <= types or (types is _NUMBER and min(values) < 0):
            raise TypeError(f"'{where}' has an invalid row")


def _host_location(row: Any) -> Location:
    project, environment, path = row
    if not is_text((project, environment, path)):
        raise TypeError("'places' has an invalid row")
    # Normalize the path, so that two spellings of one folder do not become two folders.
    return Location(project, environment, "/" + "/".join(part for part in path.split("/") if part))


def _plain(text: str) -> str:
    """Return a host's message, shortened and without control characters."""
    return escape(text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + "…")


def _earlier(time: str | None, seconds: float) -> str | None:
    """Return a time moved back by this many seconds, or None if the text is not a time."""
    then = parse_time(time)
    return None if then is None else format_time(max(0.0, then - seconds))


def _explain(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__


def _check_schema(data: Any, schema: str, option: str) -> None:
    if not isinstance(data, Mapping) or data.get("schema") != schema:
        raise ConfigurationError(option, f"must be a document with the schema {schema}.")
    version: Any = data.get("version")
    if not is_whole(version) or version < 1:
        raise ConfigurationError(option, "must contain the version of its schema.")
    if version > VERSION:
        problem = f"has schema version {version}, but the latest supported version is {VERSION}."
        raise ConfigurationError(option, problem, hint="Update the collection keyfleet.infisical.")


def _fields(data: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _get(kind, data, name) for name, kind in kinds.items()}


def _get(kind: Any, data: Mapping[str, Any], name: str) -> Any:
    value = data[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"'{name}' has the wrong type {type(value).__name__}")
    return value


def _texts(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = _get(list, data, name)
    if not is_text(found):
        raise TypeError(f"'{name}' must be a list of strings")
    return tuple(found)


def _objects(data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = _get(list, data, name)
    if not all(isinstance(row, Mapping) for row in rows):
        raise TypeError(f"'{name}' must be a list of objects")
    return rows


def _location(row: Mapping[str, Any]) -> Location:
    return Location(*(_get(str, row, name) for name in ("project", "environment", "path")))
