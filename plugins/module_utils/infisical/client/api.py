# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoints, one typed function each, on servers with `/api/v4` and on those before it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import attrgetter, itemgetter
from typing import Any, Callable, TypeVar, overload

from ..core.answers import Answer, Operation, Validator
from ..core.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InfisicalError,
    NotJson,
    RouteMissing,
    ScopeMissing,
    SecretMissing,
)
from ..core.model import Location, Secret, Settings, is_text, is_whole
from .auth import Login
from .transport import Call, Clock, TokenSource, Transport, encoded, segment

SECRETS = {"v4": "/api/v4/secrets", "v3": "/api/v3/secrets/raw"}
"""Where secrets live, by API version. Parameters are sent in both versions' spelling: unknown ones are ignored."""
BATCHES = {"v4": "/api/v4/secrets/batch", "v3": "/api/v3/secrets/batch/raw"}
"""Where several secrets are written at once, by API version."""


HIDDEN = "<hidden-by-infisical>"
"""What servers put in place of a value that the identity may not read."""

_NAMED = 3
"""How many secrets of a batch a message names."""


@dataclass(frozen=True)
class Imported:
    """What a folder imports from another one, in the order in which the server lists the imports."""

    environment: str
    secret_path: str
    secrets: tuple[Secret, ...]


@dataclass(frozen=True)
class Listing:
    """The secrets of a scope, in no order to rely on and with a key possibly more than once, and its imports.

    `validator` is what to ask with whether it has changed since; `warnings` are what a person should know of values.
    """

    secrets: tuple[Secret, ...]
    imports: tuple[Imported, ...] = ()
    validator: Validator = field(default_factory=Validator)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """What came of a write: the secret as stored, or the id of the approval that it waits for.

    Of a batch, `secrets` are all that the answer told, and `secret` the first one.
    """

    secret: Secret | None
    approval_id: str = ""
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True)
class Environment:
    """An environment of a project."""

    slug: str
    name: str


@dataclass(frozen=True)
class Project:
    """A project that the identity can see; `slug` is empty where the server does not tell it."""

    id: str
    name: str
    slug: str
    environments: tuple[Environment, ...]


@dataclass(frozen=True)
class Folder:
    """A folder, `path` being its whole path."""

    id: str
    name: str
    path: str


_T = TypeVar("_T")


class Api:
    """The endpoints of one Infisical. Every method sends one request (two where it has to find the API version),
    logs in first where needed, and raises InfisicalError.

    `has_batches` is whether the server has batch routes, None until an answer has told.
    """

    def __init__(self, transport: Transport, tokens: TokenSource) -> None:
        self.transport = transport
        self.tokens = tokens
        transport.tokens = tokens
        pinned = transport.settings.api_version
        if pinned not in ("auto", *SECRETS):
            raise ConfigurationError("api_version", f"'{pinned}' is not one of auto, {', '.join(sorted(SECRETS))}.")
        self.version = "" if pinned == "auto" else pinned
        self.has_batches: bool | None = None
        self._lacking: set[str] = set()

    # Secrets

    @overload
    def list_secrets(
        self,
        scope: Location,
        *,
        recursive: bool = ...,
        include_imports: bool = ...,
        expand_references: bool = ...,
        view_values: bool = ...,
    ) -> Listing: ...

    @overload
    def list_secrets(
        self,
        scope: Location,
        *,
        recursive: bool = ...,
        include_imports: bool = ...,
        expand_references: bool = ...,
        view_values: bool = ...,
        known: Validator | None,
    ) -> Listing | None: ...

    def list_secrets(
        self,
        scope: Location,
        *,
        recursive: bool = False,
        include_imports: bool = False,
        expand_references: bool = False,
        view_values: bool = True,
        known: Validator | None = None,
    ) -> Listing | None:
        """All secrets of a scope. A folder or environment that does not exist is an empty listing on real servers.

        None where nothing has changed since the listing of which `known` is the validator. It must be one of the same
        scope and options, read by an identity that sees the same.
        """
        query = {
            **_scope_fields(scope),
            "recursive": _boolean(recursive),
            **_reading(include_imports, expand_references, view_values),
        }
        what = f"list the secrets of {scope}"
        operation = Operation.LIST if view_values else Operation.NAMES
        answer = self._answer("GET", "", operation, what, query=query, known=known)
        if answer.unchanged:
            return None
        data = _data(answer, what)
        secrets = _secrets(_rows(data, "secrets"), scope, expanded=expand_references)
        imports = tuple(_imported(row, scope, expand_references) for row in _rows(data, "imports", optional=True))
        self._keep_out(secrets, *(one.secrets for one in imports))
        return Listing(secrets, imports, answer.validator)

    def _keep_out(self, *read: Sequence[Secret]) -> None:
        # The texts alone: ten thousand secrets that live on are slow to collect.
        for secrets in read:
            if any(map(_ENCRYPTED, secrets)):
                self.transport.keep_out(tuple(text for secret in secrets for text in _hidden_texts(secret)))
            else:
                self.transport.keep_out(tuple(map(_VALUE, secrets)))

    def get_secret(
        self,
        scope: Location,
        key: str,
        *,
        include_imports: bool = False,
        expand_references: bool = False,
        view_values: bool = True,
    ) -> Secret:
        """One secret by its name. Raises InfisicalError, SECRET_MISSING among others."""
        query = {**_scope_fields(scope), **_reading(include_imports, expand_references, view_values)}
        what = f"read the secret '{key}' of {scope}"
        secret = _secret(_object(self._secrets("GET", key, Operation.GET, what, query=query), "secret"), scope)
        self._keep_out((secret,))
        return secret

    def create_secret(self, scope: Location, secret: Secret, tag_ids: Sequence[str] | None = None) -> Written:
        """Create a secret. Raises InfisicalError, CONFLICT where it exists."""
        what = f"create the secret '{secret.key}' in {scope}"
        body = {**_scope_fields(scope), **_fields(secret, tag_ids)}
        return self._write("POST", secret.key, Operation.CREATE, what, scope, body, secret)

    def update_secret(self, scope: Location, secret: Secret, tag_ids: Sequence[str] | None = None) -> Written:
        """Change a secret in what is not None. Raises InfisicalError, SECRET_MISSING where there is none."""
        what = f"update the secret '{secret.key}' in {scope}"
        body = {**_scope_fields(scope), **_fields(secret, tag_ids)}
        return self._write("PATCH", secret.key, Operation.UPDATE, what, scope, body, secret)

    def delete_secret(self, scope: Location, key: str) -> Written:
        """Delete a secret. Raises InfisicalError, SECRET_MISSING where there is none."""
        what = f"delete the secret '{key}' from {scope}"
        return self._write("DELETE", key, Operation.DELETE, what, scope, _scope_fields(scope), Secret(key))

    def batch(
        self, method: str, scope: Location, secrets: Sequence[Secret], tag_ids: Sequence[str] | None = None
    ) -> Written:
        """Create (POST), update (PATCH) or delete (DELETE) several secrets, all or none, in one request.

        For names that do not fit into a path too: those of more than 100 characters, and `batch`.
        """
        words = {"POST": "create", "PATCH": "update", "DELETE": "delete"}[method]
        names = ", ".join(f"'{secret.key}'" for secret in secrets[:_NAMED])
        which = f"the secrets {names}" if len(secrets) <= _NAMED else f"{len(secrets)} secrets ({names}, …)"
        what = f"{words} {which} in {scope} through the batch route"
        body = {**_scope_fields(scope), "secrets": [_batch_fields(secret, tag_ids) for secret in secrets]}
        values = tuple(text for secret in secrets for text in _hidden_texts(secret))
        try:
            data = self._secrets(method, None, Operation.BATCH, what, body=body, secrets=values)
        except InfisicalError as error:
            if isinstance(error, RouteMissing):
                self.has_batches = False
            elif isinstance(error, (Conflict, SecretMissing)):
                self.has_batches = True
            raise
        self.has_batches = True
        with _answer_to(method):
            approval_id = _approval(data)
            stored = _sent_values(_secrets(_rows(data, "secrets", optional=bool(approval_id)), scope), secrets)
        return Written(stored[0] if stored else None, approval_id, stored)

    def _write(
        self,
        method: str,
        key: str,
        operation: Operation,
        what: str,
        scope: Location,
        body: dict[str, Any],
        secret: Secret,
    ) -> Written:
        # DELETE: the reference wants the scope in the query, real servers in the body; each ignores the other.
        query = _scope_fields(scope) if method == "DELETE" else None
        secrets = _hidden_texts(secret)
        data = self._secrets(method, key, operation, what, query=query, body=body, secrets=secrets)
        with _answer_to(method):
            approval_id = _approval(data)
            if approval_id and not isinstance(data.get("secret"), dict):
                return Written(None, approval_id)
            stored = _secret(_object(data, "secret"), scope)
        return Written(_sent_values((stored,), (secret,))[0], approval_id)

    def _secrets(
        self,
        method: str,
        key: str | None,
        operation: Operation,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        secrets: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        return _data(self._answer(method, key, operation, what, query=query, body=body, secrets=secrets), what)

    def _answer(
        self,
        method: str,
        key: str | None,
        operation: Operation,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        secrets: tuple[str, ...] = (),
        known: Validator | None = None,
    ) -> Answer:
        """One request for a secret by name, for all (`""`) or for the batch in the body (None).

        The first one finds out whether the server has `/api/v4`.
        """
        for version in (self.version,) if self.version else ("v4", "v3"):
            path = BATCHES[version] if key is None else SECRETS[version] + ("/" + segment(key) if key else "")
            repeatable = method != "POST"
            call = Call(method, path, operation, what, query or {}, body, secrets, repeatable=repeatable, known=known)
            try:
                answer = self.transport.send(call)
            except InfisicalError as error:
                if isinstance(error, RouteMissing) and not self.version and version == "v4":
                    continue
                if error.status is not None and isinstance(error, _ROUTE_EXISTS):
                    self.version = version
                raise
            self.version = version
            return answer
        raise AssertionError("the last version either answers or raises")

    # Projects, folders, tags

    def projects(self) -> list[Project]:
        """All projects that the identity can see.

        Raises InfisicalError, FORBIDDEN on servers of 2024, which tell a machine identity about one project at a time.
        """
        rows = self._on_first(
            {
                "/api/v1/projects": lambda path: self._listed(path, "projects", "list the projects"),
                "/api/v1/workspace": lambda path: self._listed(path, "workspaces", "list the projects"),
            }
        )
        return [_project(row) for row in rows]

    def project(self, project_id: str) -> Project | None:
        """One project by its id, None where there is none that the identity can see. One to three requests."""
        what = f"read the project '{project_id}'"

        def one(path: str) -> list[dict[str, Any]]:
            try:
                answer = self.transport.send(Call("GET", path + segment(project_id), Operation.PROJECT, what))
            except ScopeMissing:
                return []
            return [_object(_data(answer, what), "workspace")]

        rows = self._on_first(
            {
                "/api/v1/projects": lambda path: self._listed(path, "projects", what),
                "/api/v1/workspace/": one,
                # The reference has a list here and no single projects.
                "/api/v1/workspace": lambda path: self._listed(path, "workspaces", what),
            }
        )
        return next((_project(row) for row in rows if row.get("id") == project_id), None)

    def folders(self, scope: Location) -> list[Folder]:
        """The folders directly below a scope's path.

        Raises InfisicalError, SCOPE_MISSING where the path or environment does not exist, ROUTE_MISSING on a server
        without folders.
        """
        what = f"list the folders of {scope}"
        data = self._folder_call("GET", "", what, query={**_both_ids(scope), "path": scope.secret_path})
        parent = scope.secret_path.rstrip("/")
        return [
            Folder(_text(row, "id"), _text(row, "name"), f"{parent}/{_text(row, 'name')}")
            for row in _rows(data, "folders")
        ]

    def create_folder(self, scope: Location) -> None:
        """Make the folder that a scope's path names, with its parents; no error where it exists."""
        parent, name = _split(scope.secret_path)
        body = {**_both_ids(scope), "name": name, "path": parent}
        self._folder_call("POST", "", f"create the folder of {scope}", body=body)

    def delete_folder(self, scope: Location, folder_id: str, *, force: bool) -> None:
        """Delete a folder by its id; `scope` names its path.

        Raises InfisicalError, INVALID if it holds anything and not `force`. Servers before `/api/v2/folders` delete
        everything below it in any case.
        """
        parent, _name = _split(scope.secret_path)
        body = {**_both_ids(scope), "path": parent, "forceDelete": force}
        self._folder_call("DELETE", "/" + segment(folder_id), f"delete the folder of {scope}", body=body)

    def _folder_call(
        self,
        method: str,
        below: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        def send(path: str) -> dict[str, Any]:
            call = Call(method, path + below, Operation.FOLDER, what, query or {}, body)
            return _data(self.transport.send(call), what)

        return self._on_first({"/api/v2/folders": send, "/api/v1/folders": send})

    def tags(self, project_id: str) -> dict[str, str]:
        """The tags of a project: {slug: id}. Raises InfisicalError, ROUTE_MISSING on a server without tags."""
        what = f"list the tags of project {project_id}"
        rows = self._on_first(
            {
                f"/api/v1/projects/{segment(project_id)}/tags": lambda path: self._listed(path, "tags", what),
                f"/api/v1/workspace/{segment(project_id)}/tags": lambda path: self._listed(path, "workspaceTags", what),
            }
        )
        return {_text(row, "slug"): _text(row, "id") for row in rows}

    def _on_first(self, routes: Mapping[str, Callable[[str], _T]]) -> _T:
        """What the first route gives that the server has; one that it lacks is not asked for again.

        Raises the ROUTE_MISSING of the last one where it has none.
        """
        oldest = list(routes)[-1]
        for path, ask in routes.items():
            if path in self._lacking and path != oldest:
                continue
            try:
                return ask(path)
            except InfisicalError as error:
                if not isinstance(error, RouteMissing) or path == oldest:
                    raise
                self._lacking.add(path)
        raise AssertionError("the oldest route either answers or raises")

    def _listed(self, path: str, key: str, what: str) -> list[dict[str, Any]]:
        return _rows(_data(self.transport.send(Call("GET", path, Operation.PROJECT, what)), what), key)


def read_status(transport: Transport) -> str:
    """What `/api/status` says, asked without a token: `Ok` where all is well. Raises InfisicalError."""
    what = "ask for the server's status"
    data = _data(transport.send(Call("GET", "/api/status", Operation.OTHER, what, authenticated=False)), what)
    if not isinstance(data.get("message"), str):
        raise _unknown_shape(what)
    return str(data["message"])


_ROUTE_EXISTS = (Conflict, SecretMissing, ScopeMissing, Forbidden)
"""Conclusions only the route itself comes to, so that the API version is known although the request failed."""


def connect(
    settings: Settings,
    *,
    tokens: Callable[[Transport], TokenSource] = Login,
    clock: Clock | None = None,
    log: Callable[[str], None] | None = None,
    rate_limit_jitter: float = 0.0,
) -> Api:
    """The API of the Infisical that `settings` name; nothing is sent yet. Raises ConfigurationError."""
    transport = Transport(settings, clock=clock, log=log, rate_limit_jitter=rate_limit_jitter)
    return Api(transport, tokens(transport))


def _scope_fields(scope: Location) -> dict[str, str]:
    return {**_both_ids(scope), "secretPath": scope.secret_path}


def _both_ids(scope: Location) -> dict[str, str]:
    return {"projectId": scope.project_id, "workspaceId": scope.project_id, "environment": scope.environment}


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _reading(include_imports: bool, expand_references: bool, view_values: bool) -> dict[str, str]:
    return {
        "includeImports": _boolean(include_imports),
        "include_imports": _boolean(include_imports),
        "expandSecretReferences": _boolean(expand_references),
        "viewSecretValue": _boolean(view_values),
    }


def _fields(secret: Secret, tag_ids: Sequence[str] | None) -> dict[str, Any]:
    """A secret's fields in the server's words; what is None is not sent, and so not changed."""
    fields: dict[str, Any] = {}
    if secret.value is not None:
        fields["secretValue"] = secret.value
    if secret.comment is not None:
        fields["secretComment"] = secret.comment
    if secret.metadata is not None:
        fields["secretMetadata"] = [
            {"key": key, "value": value, **({"isEncrypted": True} if key in secret.encrypted_metadata else {})}
            for key, value in secret.metadata
        ]
    if tag_ids is not None:
        fields["tagIds"] = list(tag_ids)
    return fields


def _batch_fields(secret: Secret, tag_ids: Sequence[str] | None) -> dict[str, Any]:
    return {"secretKey": secret.key, **_fields(secret, tag_ids)}


def batch_bytes(secret: Secret) -> int:
    """The bytes that a secret without tags takes in the body of a batch, with what stands between it and the next."""
    return len(encoded(_batch_fields(secret, None))) + len(", ")


def _split(path: str) -> tuple[str, str]:
    parent, _slash, name = path.rpartition("/")
    return parent or "/", name


def _data(answer: Answer, what: str) -> dict[str, Any]:
    data = answer.data
    if data is None:
        raise _unknown_shape(what)
    return data


def _rows(data: Mapping[str, Any], key: str, optional: bool = False) -> list[dict[str, Any]]:
    rows = data.get(key)
    if rows is None and optional:
        return []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _unknown_shape(f"read '{key}' of an answer")
    return rows


def _object(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    row = data.get(key)
    if not isinstance(row, dict):
        raise _unknown_shape(f"read '{key}' of an answer")
    return row


def _unknown_shape(what: str) -> InfisicalError:
    return NotJson(
        f"Could not {what}: the answer is JSON, but not what an Infisical says.",
        hint="Check url and proxy.",
    )


@contextlib.contextmanager
def _answer_to(method: str) -> Iterator[None]:
    """Mark an error of reading the answer to a write: what a POST wanted may have been done (see InfisicalError)."""
    try:
        yield
    except InfisicalError as error:
        error.uncertain = method == "POST"
        raise


def _approval(data: Mapping[str, Any]) -> str:
    # Whatever stands there, nothing is stored yet.
    return "" if data.get("approval") is None else _text(_object(data, "approval"), "id") or "unknown"


_COLUMNS = itemgetter(
    "secretKey", "secretValue", "version", "id", "secretPath", "environment", "secretComment", "tags", "createdAt",
    "updatedAt",
)  # fmt: skip


def _secrets(rows: Sequence[Mapping[str, Any]], scope: Location, *, expanded: bool = False) -> tuple[Secret, ...]:
    """The secrets of a listing, which may be ten thousand: where all rows are as nearly all are, they are looked at
    column by column, which gives the same as `_secret` in a third of the time."""
    try:
        keys, values, versions, ids, paths, environments, comments, tags, *times = zip(*map(_COLUMNS, rows))
    except (KeyError, ValueError):  # a row lacks something, or there is none
        return tuple([_secret(row, scope) for row in rows])
    metadata = [row.get("secretMetadata") for row in rows]
    shown = [row.get("secretValueHidden", False) for row in rows]
    rotated = [row.get("isRotatedSecret", False) for row in rows]
    texts = (keys, values, ids, paths, environments, comments, *times)
    usual = (
        all(map(is_text, texts))
        and set(map(type, versions)) == {int}
        and min(versions) > 0
        and set(map(type, tags)) == {list}
        and set(map(type, metadata)) <= {list, type(None)}
        and not any(tags)
        and not any(metadata)
        and all(paths)
        and all(environments)
        and set(map(type, shown)) == {bool}
        and not any(shown)
        and HIDDEN not in values
        and set(map(type, rotated)) == {bool}
    )
    if not usual:
        return tuple([_secret(row, scope) for row in rows])
    no_tags = repeat(())
    no_metadata = [None if one is None else () for one in metadata]
    quoting = [row.get("skipMultilineEncoding") is True for row in rows] if expanded else repeat(False)
    columns = (keys, values, versions, ids, paths, environments, comments, no_tags, no_metadata, repeat(False), *times,
               repeat(scope.project_id), repeat(""), repeat(""), rotated, repeat(()), quoting)  # fmt: skip
    return tuple(map(Secret._make, zip(*columns)))


def _secret(row: Mapping[str, Any], scope: Location) -> Secret:
    key, value = row.get("secretKey"), row.get("secretValue")
    if not isinstance(key, str) or (value is not None and not isinstance(value, str)):
        raise _unknown_shape("read a secret of an answer")
    # Whatever is no clear "no" hides the value: a placeholder that is taken for it destroys the secret.
    hidden = row.get("secretValueHidden", False) is not False or value == HIDDEN
    tags = None if row.get("tags") is None else _rows(row, "tags")
    metadata = None if row.get("secretMetadata") is None else _rows(row, "secretMetadata")
    return Secret(
        key=key,
        value=None if hidden else value,
        version=_count(row.get("version")),
        id=_text(row, "id"),
        secret_path=_text(row, "secretPath") or scope.secret_path,
        environment=_text(row, "environment") or scope.environment,
        comment=_text(row, "secretComment"),
        tags=None if tags is None else tuple(sorted(_text(tag, "slug") for tag in tags)),
        metadata=None if metadata is None else tuple(sorted((_text(m, "key"), _text(m, "value")) for m in metadata)),
        hidden=hidden,
        created_at=_text(row, "createdAt"),
        updated_at=_text(row, "updatedAt"),
        project_id=scope.project_id,
        rotated=row.get("isRotatedSecret") not in _PLAIN,
        # Whatever is not said to be plain is hidden.
        encrypted_metadata=tuple(sorted(_text(m, "key") for m in metadata or () if m.get("isEncrypted") not in _PLAIN)),
        quotes_lines=row.get("skipMultilineEncoding") is True,
    )


_PLAIN = (None, False)
_VALUE, _ENCRYPTED = attrgetter("value"), attrgetter("encrypted_metadata")


def _hidden_texts(secret: Secret) -> tuple[str, ...]:
    """What no message about a request may quote."""
    encrypted = (value for key, value in secret.metadata or () if key in secret.encrypted_metadata)
    return tuple(text for text in (secret.value, *encrypted) if text)


def _sent_values(stored: tuple[Secret, ...], sent: Sequence[Secret]) -> tuple[Secret, ...]:
    """What a write answered, with a value only if one was sent: servers of 2026 answer an empty one otherwise."""
    valued = {secret.key for secret in sent if secret.value is not None}
    return tuple(secret if secret.key in valued else secret._replace(value=None) for secret in stored)


def _text(row: Mapping[str, Any], key: str) -> str:
    """A text of an answer, or an id that is a number; empty if it is missing or null.

    Raises InfisicalError if it is anything else.
    """
    text = row.get(key)
    if text is None:
        return ""
    if is_whole(text):
        return str(text)
    if not isinstance(text, str):
        raise _unknown_shape(f"read '{key}' of an answer")
    return text


def _count(number: Any) -> int:
    """A version of an answer, 0 if there is none. JSON's `true` is no number, although Python takes it for 1."""
    return int(number) if is_whole(number) and number > 0 else 0


def _imported(row: Mapping[str, Any], scope: Location, expanded: bool) -> Imported:
    source = Location(scope.project_id, _text(row, "environment"), _text(row, "secretPath") or "/")
    secrets = _secrets(_rows(row, "secrets"), source, expanded=expanded)
    return Imported(source.environment, source.secret_path, secrets)


def _project(row: Mapping[str, Any]) -> Project:
    environments = _rows(row, "environments", optional=True)
    return Project(
        _text(row, "id"),
        _text(row, "name"),
        _text(row, "slug"),
        tuple(Environment(_text(one, "slug"), _text(one, "name")) for one in environments),
    )
