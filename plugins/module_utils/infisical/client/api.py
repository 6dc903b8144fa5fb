# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoints of Infisical, with one typed method for each, for servers with `/api/v4` and for older servers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, Callable, NamedTuple, TypeVar

from ..core.answers import Answer, Operation, Validator
from ..core.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InfisicalError,
    RouteMissing,
    ScopeMissing,
    SecretMissing,
)
from ..core.model import LONGEST_NAME_IN_PATH, Location, Secret, Settings
from ..core.plan import Action
from .auth import Login
from .parsing import (
    Folder,
    Listing,
    Project,
    Written,
    parse_imported,
    parse_object,
    parse_project,
    parse_rows,
    parse_secret,
    parse_secrets,
    parse_text,
    parse_written,
    unknown_shape,
)
from .transport import Call, Clock, TokenSource, Transport, encode_body, encode_segment

_SECRETS = {"v4": "/api/v4/secrets", "v3": "/api/v3/secrets/raw"}
_BATCHES = {"v4": "/api/v4/secrets/batch", "v3": "/api/v3/secrets/batch/raw"}
"""The routes for one secret and for several secrets, by API version. Parameters are sent in the spelling of both
versions, because servers ignore unknown parameters."""

_PROJECTS = {"/api/v1/projects": "projects", "/api/v1/workspace": "workspaces"}
"""The routes that list projects, and the key of the list in the response. The newest route is the first."""

_METHODS: dict[Action, str] = {"create": "POST", "update": "PATCH", "delete": "DELETE"}

_NAMED = 3
"""Maximum number of secrets that a message about a batch lists."""

_ROUTE_EXISTS = (Conflict, SecretMissing, ScopeMissing, Forbidden)
"""Errors that prove that the route exists, so that the API version is known although the request failed."""

_VALUE, _ENCRYPTED = attrgetter("value"), attrgetter("encrypted_metadata")

_T = TypeVar("_T")


class Reading(NamedTuple):
    """Options for reading secrets."""

    recursive: bool = False
    include_imports: bool = False
    expand_references: bool = False
    view_values: bool = True

    def query(self) -> dict[str, str]:
        """Return the query parameters for reading one secret."""
        imports = str(self.include_imports).lower()
        return {
            "includeImports": imports,
            "include_imports": imports,
            "expandSecretReferences": str(self.expand_references).lower(),
            "viewSecretValue": str(self.view_values).lower(),
        }


class Api:
    """The endpoints of one Infisical server. Methods raise InfisicalError.

    Each method logs in if there is no token, and usually sends one request. Until the routes of the server are known, a
    method may send more requests. `has_batches` is true if the server has batch routes, and None until a response shows
    it. `**reading` are keyword arguments with the names of the fields of Reading. An Api is a context manager, which
    closes it. `debug` gets the error of a revocation that failed.
    """

    def __init__(
        self, transport: Transport, tokens: TokenSource, *, debug: Callable[[str], None] | None = None
    ) -> None:
        self.transport = transport
        self.tokens = tokens
        self._debug = debug or (lambda text: None)
        transport.tokens = tokens
        pinned = transport.settings.api_version
        if pinned not in ("auto", *_SECRETS):
            raise ConfigurationError(
                "api_version", f"must be one of auto, {', '.join(sorted(_SECRETS))} (got {pinned})."
            )
        self.version = "" if pinned == "auto" else pinned
        self.has_batches: bool | None = None
        self._lacking: set[str] = set()

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()

    def close(self) -> None:
        """Revoke the tokens from the logins of this process. If that fails, they expire later."""
        error = self.tokens.revoke()
        if error is not None:
            self._debug(error.problem)

    # Secrets

    def list_secrets(self, location: Location, **reading: bool) -> Listing:
        """Return all secrets in a location. Real servers return an empty listing if the location does not exist."""
        return self.list_changes(location, None, **reading) or Listing(())

    def list_changes(self, location: Location, known: Validator | None, **reading: bool) -> Listing | None:
        """Return all secrets in a location, or None if nothing has changed since the listing with validator `known`.

        If `known` is None, the listing has no validator. Otherwise, both listings must have the same location and the
        same `reading`, by an identity with the same permissions.
        """
        wanted = Reading(**reading)
        query = {**_location_fields(location), "recursive": str(wanted.recursive).lower(), **wanted.query()}
        what = f"list the secrets of {location}"
        operation = Operation.LIST if wanted.view_values else Operation.NAMES
        answer = self._send("", Call("GET", "", operation, what, query, known=known))
        if answer.unchanged:
            return None
        data, expanded = answer.data or {}, wanted.expand_references
        secrets = parse_secrets(parse_rows(data, "secrets"), location, expanded=expanded)
        rows = parse_rows(data, "imports", optional=True)
        imports = tuple(parse_imported(row, location, expanded=expanded) for row in rows)
        self._keep_out(secrets, *(one.secrets for one in imports))
        return Listing(secrets, imports, answer.validator)

    def _keep_out(self, *read: Sequence[Secret]) -> None:
        # Only the texts are kept: otherwise, the garbage collector would traverse ten thousand secrets again and again.
        for secrets in read:
            if any(map(_ENCRYPTED, secrets)):
                self.transport.keep_out(tuple(text for secret in secrets for text in _hidden_texts(secret)))
            else:
                self.transport.keep_out(tuple(map(_VALUE, secrets)))

    def get_secret(self, location: Location, key: str, **reading: bool) -> Secret:
        """Return one secret by its name. Raises SecretMissing."""
        query = {**_location_fields(location), **Reading(**reading).query()}
        what = f"read the secret '{key}' of {location}"
        answer = self._send(key, Call("GET", "", Operation.GET, what, query))
        secret = parse_secret(parse_object(answer.data or {}, "secret"), location)
        self._keep_out((secret,))
        return secret

    def write(
        self, action: Action, location: Location, secret: Secret, tag_ids: Sequence[str] | None = None
    ) -> Written:
        """Create, update or delete a secret. Fields that are None stay unchanged. Raises Conflict or SecretMissing."""
        place = _location_fields(location)
        what = f"{action} the secret '{secret.key}' {'from' if action == 'delete' else 'in'} {location}"
        # For DELETE, the API reference expects the location in the query, but real servers expect it in the body.
        query = place if action == "delete" else {}
        body, hidden = {**place, **_fields(secret, tag_ids)}, _hidden_texts(secret)
        answer = self._send(secret.key, Call(_METHODS[action], "", Operation(action), what, query, body, hidden))
        return parse_written(action, answer.data or {}, location, [secret], batch=False)

    def batch(
        self, action: Action, location: Location, secrets: Sequence[Secret], tag_ids: Sequence[str] | None = None
    ) -> Written:
        """Create, update or delete several secrets in one request, either all of them or none.

        This is also the only way to write a single secret whose name `needs_batch`.
        """
        names = ", ".join(f"'{secret.key}'" for secret in secrets[:_NAMED])
        which = f"the secrets {names}" if len(secrets) <= _NAMED else f"{len(secrets)} secrets ({names}, …)"
        what = f"{action} {which} in {location} through the batch route"
        body = {**_location_fields(location), "secrets": [_batch_fields(secret, tag_ids) for secret in secrets]}
        values = tuple(text for secret in secrets for text in _hidden_texts(secret))
        try:
            answer = self._send(None, Call(_METHODS[action], "", Operation.BATCH, what, {}, body, values))
        except RouteMissing:
            self.has_batches = False
            raise
        except (Conflict, SecretMissing):
            self.has_batches = True
            raise
        self.has_batches = True
        return parse_written(action, answer.data or {}, location, secrets, batch=True)

    def _send(self, key: str | None, call: Call) -> Answer:
        """Send a call without a path: for the secret `key`, for all secrets (`""`), or for a batch (None).

        The first request finds out whether the server has `/api/v4`.
        """
        for version in (self.version,) if self.version else ("v4", "v3"):
            path = _BATCHES[version] if key is None else _SECRETS[version] + ("/" + encode_segment(key) if key else "")
            try:
                answer = self.transport.send(replace(call, path=path, repeatable=call.method != "POST"))
            except InfisicalError as error:
                if isinstance(error, RouteMissing) and not self.version and version == "v4":
                    continue
                if error.status is not None and isinstance(error, _ROUTE_EXISTS):
                    self.version = version
                raise
            self.version = version
            return answer
        raise AssertionError("the last version either responds or raises")

    # Projects, folders, tags

    def projects(self) -> list[Project]:
        """Return all projects that the identity can see.

        Raises Forbidden on servers from 2024, which let a machine identity read only one project at a time.
        """
        return [parse_project(row) for row in self._list(_PROJECTS, "list the projects")]

    def project(self, project_id: str) -> Project | None:
        """Return a project by its id, or None if the identity cannot see it. Sends one to three requests."""
        what = f"read the project '{project_id}'"
        listed, oldest = _PROJECTS

        def send(path: str) -> list[dict[str, Any]]:
            if path in _PROJECTS:
                return parse_rows(self._request("GET", path, Operation.PROJECT, what), _PROJECTS[path])
            try:
                data = self._request("GET", path + encode_segment(project_id), Operation.PROJECT, what)
            except ScopeMissing:
                return []
            return [parse_object(data, "workspace")]

        # According to the API reference, the oldest route returns a list, and no route returns a single project.
        rows = self._use_first((listed, "/api/v1/workspace/", oldest), send)
        return next((parse_project(row) for row in rows if row.get("id") == project_id), None)

    def folders(self, location: Location) -> list[Folder]:
        """Return the folders directly below a path. Raises ScopeMissing, or RouteMissing on servers without folders."""
        what = f"list the folders of {location}"
        data = self._send_folder("GET", "", what, {**_ids(location), "path": location.secret_path})
        parent = location.secret_path.rstrip("/")
        return [
            Folder(parse_text(row, "id"), parse_text(row, "name"), f"{parent}/{parse_text(row, 'name')}")
            for row in parse_rows(data, "folders")
        ]

    def all_folders(self, location: Location) -> list[Folder]:
        """Return all folders of the location's environment. Raises RouteMissing on servers from 2024."""
        what = f"list the folders of environment {location.environment} in project {location.project_id}"
        query = {**_ids(location), "path": "/", "recursive": "true"}
        rows = parse_rows(self._request("GET", "/api/v2/folders", Operation.FOLDER, what, query), "folders")
        return [Folder(*(parse_text(row, key) for key in ("id", "name", "relativePath"))) for row in rows]

    def create_folder(self, location: Location) -> None:
        """Create the folder at the location's path, including its parents."""
        parent, _slash, name = location.secret_path.rpartition("/")
        body = {**_ids(location), "name": name, "path": parent or "/"}
        self._send_folder("POST", "", f"create the folder of {location}", {}, body)

    def delete_folder(self, location: Location, folder_id: str, *, force: bool) -> None:
        """Delete the folder at the location's path, using its id.

        Raises RequestInvalid if the folder is not empty, unless `force` is true. Servers without `/api/v2/folders`
        always delete everything in the folder.
        """
        body = {**_ids(location), "path": location.secret_path.rpartition("/")[0] or "/", "forceDelete": force}
        self._send_folder("DELETE", "/" + encode_segment(folder_id), f"delete the folder of {location}", {}, body)

    def _send_folder(self, method: str, below: str, what: str, *content: Any) -> dict[str, Any]:
        return self._use_first(
            ("/api/v2/folders", "/api/v1/folders"),
            lambda path: self._request(method, path + below, Operation.FOLDER, what, *content),
        )

    def tags(self, project_id: str) -> dict[str, str]:
        """Return a project's tags as {slug: id}. Raises RouteMissing on a server without tags."""
        below = f"{encode_segment(project_id)}/tags"
        routes = {f"/api/v1/projects/{below}": "tags", f"/api/v1/workspace/{below}": "workspaceTags"}
        rows = self._list(routes, f"list the tags of project {project_id}")
        return {parse_text(row, "slug"): parse_text(row, "id") for row in rows}

    def _list(self, routes: Mapping[str, str], what: str) -> list[dict[str, Any]]:
        """Return the list in the response of the first route that the server has; `routes` is {path: key}."""
        return self._use_first(
            routes, lambda path: parse_rows(self._request("GET", path, Operation.PROJECT, what), routes[path])
        )

    def _use_first(self, paths: Iterable[str], send: Callable[[str], _T]) -> _T:
        """Use the first route that the server has, and skip routes known to be missing. Raises RouteMissing."""
        *newer, oldest = paths
        for path in newer:
            if path not in self._lacking:
                try:
                    return send(path)
                except RouteMissing:
                    self._lacking.add(path)
        return send(oldest)

    def _request(self, method: str, path: str, operation: Operation, what: str, *content: Any) -> dict[str, Any]:
        """Send a request (with a query and a body in `content`), and return the JSON object in the response."""
        return self.transport.send(Call(method, path, operation, what, *content)).data or {}


def connect(
    settings: Settings,
    *,
    tokens: Callable[[Transport], TokenSource] = Login,
    clock: Clock | None = None,
    log: Callable[[str], None] | None = None,
    debug: Callable[[str], None] | None = None,
    rate_limit_jitter: float = 0.0,
) -> Api:
    """Return the API of the Infisical server in `settings`, without sending a request. Raises ConfigurationError.

    `log` gets a sentence before each wait, and `debug` the error of a revocation that failed.
    """
    transport = Transport(settings, clock=clock, log=log, rate_limit_jitter=rate_limit_jitter)
    return Api(transport, tokens(transport), debug=debug)


def read_status(transport: Transport) -> str:
    """Return the message from `/api/status`: `Ok` if all is well. It needs no token. Raises InfisicalError."""
    what = "get the server's status"
    data = transport.send(Call("GET", "/api/status", Operation.OTHER, what, authenticated=False)).data or {}
    if not isinstance(data.get("message"), str):
        raise unknown_shape(what)
    return str(data["message"])


def needs_batch(key: str) -> bool:
    """Return whether a name cannot be part of a request's path.

    It is too long, it is the name of the batch route, or HTTP libraries would resolve it (RFC 3986, 5.2.4).
    """
    return len(key) > LONGEST_NAME_IN_PATH or key in ("batch", ".", "..")


def count_batch_bytes(secret: Secret) -> int:
    """Return the number of bytes that a secret without tags takes up in a batch's body, including the separator."""
    return len(encode_body(_batch_fields(secret, None))) + len(", ")


def _location_fields(location: Location) -> dict[str, str]:
    return {**_ids(location), "secretPath": location.secret_path}


def _ids(location: Location) -> dict[str, str]:
    project_id = location.project_id
    return {"projectId": project_id, "workspaceId": project_id, "environment": location.environment}


def _fields(secret: Secret, tag_ids: Sequence[str] | None) -> dict[str, Any]:
    """Return a secret's fields under the server's names. Fields that are None are not sent, and so not changed."""
    fields: dict[str, Any] = {"secretValue": secret.value, "secretComment": secret.comment}
    if secret.metadata is not None:
        fields["secretMetadata"] = [
            {"key": key, "value": value, **({"isEncrypted": True} if key in secret.encrypted_metadata else {})}
            for key, value in secret.metadata
        ]
    if tag_ids is not None:
        fields["tagIds"] = list(tag_ids)
    return {name: value for name, value in fields.items() if value is not None}


def _batch_fields(secret: Secret, tag_ids: Sequence[str] | None) -> dict[str, Any]:
    return {"secretKey": secret.key, **_fields(secret, tag_ids)}


def _hidden_texts(secret: Secret) -> tuple[str, ...]:
    """Return the texts in a secret that no message about a request is allowed to quote."""
    encrypted = (value for key, value in secret.metadata or () if key in secret.encrypted_metadata)
    return tuple(text for text in (secret.value, *encrypted) if text)
