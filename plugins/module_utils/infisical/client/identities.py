# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoints for the machine identities of a project, with one typed method for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.answers import Operation
from ..core.errors import Busy, Forbidden, IdentityMissing, InfisicalError, RouteMissing, ScopeMissing, no_project
from ..core.model import Location, is_whole
from ..core.times import YEAR_10000, parse_time
from ..login.jwt import read_claims
from .api import Api
from .identity_methods import METHOD_ROUTES, MethodSettings, complete_settings, parse_settings, render_settings
from .parsing import parse_object, parse_rows, parse_text, unknown_shape
from .transport import Call, encode_segment

_PRIVILEGES = "/api/v2/identity-project-additional-privilege"

PAGE = 100
"""Number of identities that are requested in one page. Assumed: the largest recorded one is 20."""

_LISTINGS = 3
"""Maximum number of times that a list is read from its beginning, if it changes between two pages."""


@dataclass(frozen=True)
class Identity:
    """A machine identity of a project.

    `metadata` are pairs of key and value in sorted order. `auth_methods` is None if the response does not contain them,
    such as in a list.
    """

    id: str
    name: str
    project_id: str
    metadata: tuple[tuple[str, str], ...] = ()
    delete_protection: bool = False
    auth_methods: tuple[str, ...] | None = None
    created_at: str = ""

    def metadata_value(self, key: str) -> str:
        """Return the value of a metadata key, or empty text if there is none."""
        return dict(self.metadata).get(key, "")


@dataclass(frozen=True)
class Privilege:
    """An additional privilege of an identity; `permissions` is None in a list, which does not contain them."""

    id: str
    slug: str
    permissions: tuple[Mapping[str, Any], ...] | None = None
    temporary: bool = False


@dataclass(frozen=True)
class ClientSecret:
    """A client secret without its text. `ttl` is its lifetime in seconds and `uses_limit` its limit; 0 is unlimited.

    `created_at` is the server's ISO 8601 text.
    """

    id: str
    description: str
    created_at: str
    ttl: int = 0
    uses: int = 0
    uses_limit: int = 0
    revoked: bool = False

    @property
    def expires_at(self) -> float | None:
        """The end of its lifetime in seconds since the epoch, or None if the end is unknown or does not exist.

        An end after the year 9999, which no date can express, counts as its last day.
        """
        created = parse_time(self.created_at)
        return min(created + min(self.ttl, YEAR_10000), YEAR_10000 - 1) if self.ttl and created is not None else None

    def seconds_left(self, now: float) -> float:
        """Return the seconds for which it is still valid: 0 if it is not valid, and infinity if it has no end."""
        if self.revoked or (self.uses_limit and self.uses >= self.uses_limit):
            return 0.0
        if not self.ttl:
            return float("inf")
        return max(0.0, (self.expires_at or 0.0) - now)


@dataclass(frozen=True)
class NewClientSecret:
    """A client secret that was just created, and its text, which no later response contains."""

    secret: str = field(repr=False)
    data: ClientSecret


@dataclass(frozen=True)
class LoginClaims:
    """The ids of the identity and of the client secret in an access token. Empty if the token does not contain them."""

    identity_id: str = ""
    client_secret_id: str = ""


class IdentityApi:
    """The endpoints for machine identities of one server. Methods raise InfisicalError.

    Conclusions that all methods share: RouteMissing if the server is too old, ScopeMissing if the project does not
    exist, IdentityMissing if the identity does not exist, and Forbidden if the login is not allowed to manage
    identities. Servers have had these endpoints since 2026.

    A request that creates something is not repeated. After an error with `uncertain`, read what was created.
    """

    def __init__(self, api: Api) -> None:
        self.api = api

    # Identities

    def identities(self, project_id: str, name: str = "") -> list[Identity]:
        """Return the identities of a project, in the order of the server, in one request for each 100 identities.

        With `name`, only identities with exactly this name. If identities are created or deleted between two pages, the
        list is read again. Raises Busy if it keeps changing.
        """
        for _attempt in range(_LISTINGS):
            found, total = self._list_once(project_id, name)
            if total == len(found):
                return [one for one in found.values() if not name or one.name == name]
        raise Busy(f"The list of the identities of project {project_id} changed each time while it was read.")

    def _list_once(self, project_id: str, name: str) -> tuple[dict[str, Identity], int | None]:
        """Read all pages. The number is None if the list has certainly changed meanwhile."""
        found: dict[str, Identity] = {}
        totals: set[int] = set()
        offset = 0
        while True:
            query = {"offset": str(offset), "limit": str(PAGE), **({"search": name} if name else {})}
            what = f"list the identities of project {project_id}"
            data = self._send("GET", project_id, _identities(project_id), what, query)
            rows = parse_rows(data, "identities")
            total: Any = data.get("totalCount")
            if not is_whole(total):
                raise unknown_shape("read 'totalCount' in a response")
            totals.add(total)
            page = {one.id: one for one in (parse_identity(row, project_id) for row in rows)}
            known = len(found)
            found.update(page)
            offset += len(rows)
            # A page without a new identity must be the last one, even if the total says otherwise.
            if offset >= total or len(found) == known:
                return found, total if len(totals) == 1 else None

    def get(self, project_id: str, identity_id: str) -> Identity:
        """Return one identity."""
        what = f"read the identity {identity_id} of project {project_id}"
        data = self._send("GET", project_id, _identities(project_id, identity_id), what)
        return parse_identity(parse_object(data, "identity"), project_id)

    def create(self, project_id: str, name: str, metadata: Iterable[tuple[str, str]] = ()) -> Identity:
        """Create an identity with the role no-access. Names need not be unique."""
        body = {"name": name, "metadata": _rows(metadata)}
        what = f"create the identity '{name}' in project {project_id}"
        data = self._send("POST", project_id, _identities(project_id), what, {}, body)
        return parse_identity(parse_object(data, "identity"), project_id)

    def change(
        self,
        project_id: str,
        identity_id: str,
        *,
        name: str | None = None,
        metadata: Iterable[tuple[str, str]] | None = None,
        delete_protection: bool | None = None,
    ) -> None:
        """Change an identity. None leaves a part unchanged, and `metadata` replaces all keys.

        This request was never recorded: the route and its fields are assumed.
        """
        body: dict[str, Any] = {"name": name, "hasDeleteProtection": delete_protection}
        body["metadata"] = None if metadata is None else _rows(metadata)
        body = {key: value for key, value in body.items() if value is not None}
        what = f"change the identity {identity_id} of project {project_id}"
        self._send("PATCH", project_id, _identities(project_id, identity_id), what, {}, body)

    def delete(self, project_id: str, identity_id: str) -> None:
        """Delete an identity. Its access tokens are refused from then on."""
        what = f"delete the identity {identity_id} of project {project_id}"
        self._send("DELETE", project_id, _identities(project_id, identity_id), what)

    def roles(self, project_id: str, identity_id: str) -> tuple[str, ...]:
        """Return the slugs of an identity's roles in the project, sorted. A temporary role counts like any other."""
        what = f"read the roles of identity {identity_id} in project {project_id}"
        data = self._send("GET", project_id, _membership(project_id, identity_id), what)
        rows = parse_rows(parse_object(data, "identityMembership"), "roles")
        return tuple(sorted(parse_text(row, "customRoleSlug") or parse_text(row, "role") for row in rows))

    def change_roles(self, project_id: str, identity_id: str, roles: Iterable[str]) -> None:
        """Replace an identity's roles in the project. This request was never recorded: it is assumed."""
        what = f"change the roles of identity {identity_id} in project {project_id}"
        body = {"roles": [{"role": role} for role in roles]}
        self._send("PATCH", project_id, _membership(project_id, identity_id), what, {}, body)

    # Login methods; `method` is a key of METHOD_ROUTES, and `values` is keyed by the names of our options

    def method(self, identity_id: str, method: str) -> MethodSettings | None:
        """Return the settings of a login method, or None if the identity does not have the method."""
        try:
            return self._send_method("GET", identity_id, method, "read")
        except IdentityMissing:  # the server's message is about the method or about the identity
            return None

    def attach_method(self, identity_id: str, method: str, values: Mapping[str, Any]) -> MethodSettings:
        """Add a login method to an identity. Raises Conflict if the identity has it."""
        route = METHOD_ROUTES[method]
        body = {**route.defaults, **route.fixed, **render_settings(method, values)}
        return self._send_method("POST", identity_id, method, "add", body)

    def change_method(
        self, identity_id: str, method: str, values: Mapping[str, Any], stored: MethodSettings | None = None
    ) -> MethodSettings:
        """Change these settings of a login method. Existing access tokens keep their limits.

        Some methods reset a setting that is not sent, so all settings are sent. `stored` are the current ones; without
        them, they are read first.
        """
        known = stored or self._send_method("GET", identity_id, method, "read")
        complete = complete_settings(method, known.values, values)
        body = {**METHOD_ROUTES[method].fixed, **render_settings(method, complete)}
        return self._send_method("PATCH", identity_id, method, "change", body)

    def _send_method(self, verb: str, identity_id: str, method: str, doing: str, body: Any = None) -> MethodSettings:
        route = METHOD_ROUTES[method]
        path = f"/api/v1/auth/{route.path}/identities/{encode_segment(identity_id)}"
        data = self._send(verb, "", path, f"{doing} {method} of identity {identity_id}", {}, body)
        return parse_settings(method, parse_object(data, route.key))

    # Client secrets of universal auth

    def client_secrets(self, identity_id: str) -> list[ClientSecret]:
        """Return the client secrets of an identity without their texts. Revoked ones can be among them."""
        data = self._send("GET", "", _client_secrets(identity_id), f"list the client secrets of identity {identity_id}")
        return [parse_client_secret(row) for row in parse_rows(data, "clientSecretData")]

    def create_client_secret(
        self, identity_id: str, description: str, ttl: int = 0, uses_limit: int = 0
    ) -> NewClientSecret:
        """Create a client secret that is valid for `ttl` seconds; 0 is unlimited."""
        what = f"create a client secret of identity {identity_id}"
        body = {"description": description, "ttl": ttl, "numUsesLimit": uses_limit}
        data = self._send("POST", "", _client_secrets(identity_id), what, {}, body)
        try:
            new = NewClientSecret(
                _required(data, "clientSecret"), parse_client_secret(parse_object(data, "clientSecretData"))
            )
        except InfisicalError as error:
            error.uncertain = True  # it was created, but is unknown
            raise
        self.api.transport.keep_out((new.secret,))
        return new

    def revoke_client_secret(self, identity_id: str, client_secret_id: str) -> None:
        """Revoke a client secret. The access tokens of its logins are refused from then on."""
        what = f"revoke the client secret {client_secret_id} of identity {identity_id}"
        self._send("POST", "", _client_secrets(identity_id, client_secret_id) + "/revoke", what, repeatable=True)

    # Additional privileges

    def privileges(self, project_id: str, identity_id: str) -> list[Privilege]:
        """Return the additional privileges of an identity, without their permissions."""
        query = {"identityId": identity_id, "projectId": project_id}
        what = f"list the privileges of identity {identity_id} in project {project_id}"
        data = self._send("GET", project_id, _PRIVILEGES, what, query)
        return [parse_privilege(row) for row in parse_rows(data, "privileges")]

    def privilege(self, privilege_id: str) -> Privilege:
        """Return a privilege with its permissions."""
        return self._send_privilege("GET", privilege_id, f"read the privilege {privilege_id}")

    def create_privilege(
        self, project_id: str, identity_id: str, slug: str, permissions: Iterable[Mapping[str, Any]]
    ) -> Privilege:
        """Add a permanent privilege to an identity. Raises Conflict if it has one with this slug."""
        body = {"identityId": identity_id, "projectId": project_id, **_privilege_body(slug, permissions)}
        what = f"add the privilege '{slug}' to identity {identity_id} in project {project_id}"
        data = self._send("POST", project_id, _PRIVILEGES, what, {}, body)
        return parse_privilege(parse_object(data, "privilege"))

    def change_privilege(self, privilege_id: str, slug: str, permissions: Iterable[Mapping[str, Any]]) -> Privilege:
        """Replace the permissions of a privilege. The server requires the slug and the type too."""
        body = _privilege_body(slug, permissions)
        return self._send_privilege("PATCH", privilege_id, f"change the privilege '{slug}' ({privilege_id})", body)

    def delete_privilege(self, privilege_id: str) -> None:
        """Remove a privilege."""
        self._send_privilege("DELETE", privilege_id, f"remove the privilege {privilege_id}")

    def _send_privilege(self, verb: str, privilege_id: str, what: str, body: Any = None) -> Privilege:
        data = self._send(verb, "", f"{_PRIVILEGES}/{encode_segment(privilege_id)}", what, {}, body)
        return parse_privilege(parse_object(data, "privilege"))

    # Imports

    def imports(self, location: Location) -> tuple[Location, ...]:
        """Return the folders that a folder imports, in the server's order."""
        project_id = location.project_id
        query = {"projectId": project_id, "environment": location.environment, "path": location.secret_path}
        call = Call("GET", "/api/v2/secret-imports", Operation.LIST, f"list the imports of {location}", query)
        rows = parse_rows(self.api.transport.send(call).data or {}, "secretImports")
        return tuple(
            Location(project_id, _required(parse_object(row, "importEnv"), "slug"), _required(row, "importPath"))
            for row in rows
        )

    # Requests

    def login(self) -> LoginClaims:
        """Return what the access token says about its login."""
        tokens = self.api.transport.tokens
        return LoginClaims() if tokens is None else parse_claims(tokens.current())

    def _send(
        self,
        verb: str,
        project_id: str,
        path: str,
        what: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        repeatable: bool = False,
    ) -> dict[str, Any]:
        """Send a request, and return the JSON object in the response. `project_id` is empty if the path has no project.

        A request that creates something is not `repeatable`.
        """
        call = Call(verb, path, Operation.IDENTITY, what, query or {}, body, repeatable=repeatable or verb != "POST")
        try:
            return self.api.transport.send(call).data or {}
        except RouteMissing as error:
            raise error.reworded(
                f"Could not {what}: this version of Infisical cannot manage the identities of a project.",
                "Upgrade Infisical to a version from 2026. If it is newer, check url.",
            ) from None
        except ScopeMissing as error:
            raise (no_project(project_id) if project_id else error) from None
        except Forbidden as error:
            raise error.reworded(error.problem, self._name_login(error.hint)) from None

    def _name_login(self, hint: str) -> str:
        """Return the hint with the id of the identity that is logged in, if it is known."""
        identity_id = self.login().identity_id
        known = "the machine identity that is logged in"
        return hint.replace(known, f"{known} ({identity_id})") if identity_id else hint


def parse_claims(token: str) -> LoginClaims:
    """Return the ids in an access token.

    Assumed: a token is a JSON web token with the claims `identityId` and, for universal auth, `clientSecretId`. Nothing
    depends on its signature, because the ids only occur in messages and keep a task from ending its own login.
    """
    claims = read_claims(token) or {}
    found = [claims.get(name, "") for name in ("identityId", "clientSecretId")]
    return LoginClaims(*(one if isinstance(one, str) and one.isprintable() else "" for one in found))


def parse_identity(row: Mapping[str, Any], project_id: str) -> Identity:
    """Return an identity in a response. Raises NotJson."""
    methods = row.get("authMethods")
    if methods is not None and not (isinstance(methods, list) and all(isinstance(one, str) for one in methods)):
        raise unknown_shape("read 'authMethods' in a response")
    rows = parse_rows(row, "metadata", optional=True)
    return Identity(
        _required(row, "id"),
        _required(row, "name"),
        project_id,
        tuple(sorted((_required(one, "key"), parse_text(one, "value")) for one in rows)),
        _flag(row, "hasDeleteProtection"),
        None if methods is None else tuple(sorted(methods)),
        parse_text(row, "createdAt"),
    )


def parse_client_secret(row: Mapping[str, Any]) -> ClientSecret:
    """Return a client secret in a response. Raises NotJson."""
    return ClientSecret(
        _required(row, "id"),
        parse_text(row, "description"),
        parse_text(row, "createdAt"),
        _count(row, "clientSecretTTL"),
        _count(row, "clientSecretNumUses"),
        _count(row, "clientSecretNumUsesLimit"),
        _flag(row, "isClientSecretRevoked"),
    )


def parse_privilege(row: Mapping[str, Any]) -> Privilege:
    """Return a privilege in a response. Raises NotJson."""
    permissions = None if row.get("permissions") is None else tuple(parse_rows(row, "permissions"))
    return Privilege(_required(row, "id"), _required(row, "slug"), permissions, _flag(row, "isTemporary"))


def _required(row: Mapping[str, Any], key: str) -> str:
    text = parse_text(row, key)
    if not text:
        raise unknown_shape(f"read '{key}' in a response")
    return text


def _flag(row: Mapping[str, Any], key: str) -> bool:
    value = row.get(key, False)
    if not isinstance(value, bool):
        raise unknown_shape(f"read '{key}' in a response")
    return value


def _count(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key, 0)
    if not is_whole(value) or value < 0:
        raise unknown_shape(f"read '{key}' in a response")
    return int(value)


def _rows(metadata: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in metadata]


def _privilege_body(slug: str, permissions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {"slug": slug, "type": {"isTemporary": False}, "permissions": list(permissions)}


def _identities(project_id: str, identity_id: str = "") -> str:
    below = f"/{encode_segment(identity_id)}" if identity_id else ""
    return f"/api/v1/projects/{encode_segment(project_id)}/identities{below}"


def _membership(project_id: str, identity_id: str) -> str:
    return f"/api/v1/projects/{encode_segment(project_id)}/memberships/identities/{encode_segment(identity_id)}"


def _client_secrets(identity_id: str, client_secret_id: str = "") -> str:
    below = f"/{encode_segment(client_secret_id)}" if client_secret_id else ""
    return f"/api/v1/auth/universal-auth/identities/{encode_segment(identity_id)}/client-secrets{below}"
