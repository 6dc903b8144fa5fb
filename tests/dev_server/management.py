# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes that manage identities: identities of a project, their privileges and their login methods."""

from __future__ import annotations

from typing import Any

from . import logins, methods, privileges
from .calls import Answer, Call, Route
from .grants import BUILT_IN_ROLES, ROLES
from .identities import Identity
from .profiles import CURRENT
from .reading import Reader
from .refusals import Conclusion, Refusal
from .shapes import timestamp
from .store import new_id

# Assumed: the most identities in one page, and the number without `limit`.
LONGEST_PAGE, PAGE = 100, 20
# Assumed: the longest value of metadata.
LONGEST_METADATA = 1020


def open_project(call: Call, action: str) -> str:
    """Return the id of the project in the path, if the caller may do this with its identities."""
    project = call.store.project(call.segments["project"])
    logins.check_management(call, action, project.id)
    return project.id


def find_identity(call: Call, action: str) -> Identity:
    """Return the identity of the project in the path. Raises Refusal."""
    project = open_project(call, action)
    identity = call.directory.find(call.segments["identity"])
    if identity.project != project:
        raise Refusal(Conclusion.IDENTITY_MISSING, identity=identity.id)
    return identity


def read_metadata(reader: Reader) -> list[dict[str, str]] | None:
    items = reader.records("metadata")
    if items is None:
        return None
    metadata = [{"key": item.text("key"), "value": item.text("value"), "id": new_id()} for item in items]
    for item, reading in zip(metadata, items):
        for name in ("key", "value"):
            if not item[name] and not reading.issues:
                facts = {"minimum": 1, "type": "string", "inclusive": True, "exact": False}
                reading.issue("too_small", "String must contain at least 1 character(s)", name, **facts)
        if len(item["value"]) > LONGEST_METADATA:
            facts = {"maximum": LONGEST_METADATA, "type": "string", "inclusive": True, "exact": False}
            message = f"String must contain at most {LONGEST_METADATA} character(s)"
            reading.issue("too_big", message, "value", **facts)
    return metadata


def read_roles(reader: Reader) -> tuple[str, ...] | None:
    items = reader.records("roles")
    return None if items is None else tuple(item.text("role") for item in items)


def give_roles(identity: Identity, project: str, roles: tuple[str, ...]) -> None:
    for role in roles:
        if role not in BUILT_IN_ROLES:
            raise Refusal(Conclusion.ROLE_MISSING, role=role)
    identity.permissions[project] = tuple(grant for role in roles for grant in ROLES[role])
    identity.roles = roles


def create_identity(call: Call) -> Answer:
    project = open_project(call, "create")
    reader = Reader(call.body)
    name, metadata, roles = reader.text("name"), read_metadata(reader), read_roles(reader)
    protected = reader.boolean("hasDeleteProtection")
    reader.check()
    now = call.store.clock()
    identity = Identity(name, {}, now, project, metadata=metadata or [], protected=protected, updated=now)
    # As recorded, an identity without roles has the role no-access.
    give_roles(identity, project, roles or ("no-access",))
    call.directory.add(identity)
    return Answer({"identity": show_with_methods(call, identity)})


def list_identities(call: Call) -> Answer:
    project = open_project(call, "read")
    reader = Reader(call.query)
    offset, limit = reader.number("offset") or 0, reader.number("limit")
    search = reader.text("search", "")
    if limit is not None and not 1 <= limit <= LONGEST_PAGE:
        facts = {"maximum": LONGEST_PAGE, "type": "number", "inclusive": True, "exact": False}
        reader.issue("too_big", f"Number must be less than or equal to {LONGEST_PAGE}", "limit", **facts)
    reader.check()
    # Assumed: the search ignores case and finds parts of names; identities are listed by name.
    found = [
        identity
        for identity in call.directory.identities.values()
        if identity.project == project and search.lower() in identity.name.lower()
    ]
    found.sort(key=lambda identity: identity.name)
    page = found[offset : offset + (limit or PAGE)]
    shown = [{**show_identity(call, identity), "metadata": identity.metadata} for identity in page]
    return Answer({"identities": shown, "totalCount": len(found)})


def get_identity(call: Call) -> Answer:
    identity = find_identity(call, "read")
    now = call.store.clock()
    locked = [method.name for method in identity.methods.values() if method.locked_until > now]
    return Answer({"identity": {**show_with_methods(call, identity), "activeLockoutAuthMethods": locked}})


def change_identity(call: Call) -> Answer:
    """Change name or protection, or replace the metadata of an identity. Never recorded: this route is assumed."""
    identity = find_identity(call, "edit")
    reader = Reader(call.body)
    name, metadata = reader.optional_text("name"), read_metadata(reader)
    protected = reader.optional_boolean("hasDeleteProtection")
    reader.check()
    identity.name = name or identity.name
    identity.protected = identity.protected if protected is None else protected
    identity.metadata = identity.metadata if metadata is None else metadata
    identity.updated = call.store.clock()
    return Answer({"identity": show_with_methods(call, identity)})


def delete_identity(call: Call) -> Answer:
    """Delete an identity; its tokens die at once. Assumed: the refusal of an identity with delete protection."""
    identity = find_identity(call, "delete")
    if identity.protected:
        raise Refusal(Conclusion.IDENTITY_PROTECTED)
    call.directory.delete(identity)
    return Answer({"identity": show_identity(call, identity)})


def show_identity(call: Call, identity: Identity) -> dict[str, Any]:
    return {
        "id": identity.id,
        "name": identity.name,
        "orgId": call.directory.organisation,
        "projectId": identity.project,
        "createdAt": timestamp(identity.created),
        "updatedAt": timestamp(identity.updated),
        "hasDeleteProtection": identity.protected,
    }


def show_with_methods(call: Call, identity: Identity) -> dict[str, Any]:
    shown = show_identity(call, identity)
    return {**shown, "authMethods": list(identity.methods), "metadata": identity.metadata}


def find_member(call: Call, action: str) -> Identity:
    """Return the identity in the path, which belongs to the project or is a member of it."""
    project = open_project(call, action)
    identity = call.directory.find(call.segments["identity"])
    if project not in identity.permissions:
        raise Refusal(Conclusion.IDENTITY_MISSING, identity=identity.id)
    return identity


def get_membership(call: Call) -> Answer:
    identity = find_member(call, "read")
    method, time = identity.last_login or (None, None)
    shown = {
        "id": identity.membership,
        "createdAt": timestamp(identity.created),
        "updatedAt": timestamp(identity.updated),
        "roles": show_roles(identity),
        "lastLoginAuthMethod": method,
        "lastLoginTime": None if time is None else timestamp(time),
        "identity": {
            "name": identity.name,
            "id": identity.id,
            "orgId": call.directory.organisation,
            "projectId": identity.project or None,
            "authMethods": list(identity.methods),
            "metadata": identity.metadata,
        },
    }
    return Answer({"identityMembership": shown})


def change_membership(call: Call) -> Answer:
    """Change the roles of an identity in a project. This route was never recorded: it is assumed."""
    identity = find_member(call, "edit")
    reader = Reader(call.body)
    roles = read_roles(reader)
    reader.check()
    give_roles(identity, call.segments["project"], roles or ("no-access",))
    return Answer({"roles": show_roles(identity)})


def show_roles(identity: Identity) -> list[dict[str, Any]]:
    return [
        {
            "id": identity.membership,
            "role": role,
            "customRoleName": None,
            "customRoleSlug": None,
            **privileges.PERMANENT,
        }
        for role in identity.roles
    ]


def create_role(call: Call) -> Answer:
    raise Refusal(Conclusion.ROLE_PLAN)


PROJECT = "/api/v1/projects/{project}"
IDENTITY = f"{PROJECT}/identities/{{identity}}"
MEMBERSHIP = f"{PROJECT}/memberships/identities/{{identity}}"
PRIVILEGE = "/api/v2/identity-project-additional-privilege"
METHOD = "/api/v1/auth/universal-auth/identities/{identity}"
CLIENT_SECRET = f"{METHOD}/client-secrets/{{secret}}"
TOKEN_METHOD = "/api/v1/auth/token-auth/identities/{identity}"

ROUTES = (
    Route("POST", f"{PROJECT}/identities", create_identity, CURRENT),
    Route("GET", f"{PROJECT}/identities", list_identities, CURRENT),
    Route("GET", IDENTITY, get_identity, CURRENT),
    Route("PATCH", IDENTITY, change_identity, CURRENT),
    Route("DELETE", IDENTITY, delete_identity, CURRENT),
    Route("GET", MEMBERSHIP, get_membership, CURRENT),
    Route("PATCH", MEMBERSHIP, change_membership, CURRENT),
    Route("POST", f"{PROJECT}/roles", create_role, CURRENT),
    Route("POST", PRIVILEGE, privileges.create, CURRENT),
    Route("GET", PRIVILEGE, privileges.list_privileges, CURRENT),
    Route("GET", f"{PRIVILEGE}/slug/{{slug}}", privileges.get_by_slug, CURRENT),
    Route("GET", f"{PRIVILEGE}/{{privilege}}", privileges.get, CURRENT),
    Route("PATCH", f"{PRIVILEGE}/{{privilege}}", privileges.change, CURRENT),
    Route("DELETE", f"{PRIVILEGE}/{{privilege}}", privileges.delete, CURRENT),
    Route("POST", METHOD, logins.attach_universal_auth, CURRENT),
    Route("GET", METHOD, logins.get_universal_auth, CURRENT),
    Route("PATCH", METHOD, logins.change_universal_auth, CURRENT),
    Route("DELETE", METHOD, logins.detach_universal_auth, CURRENT),
    Route("POST", f"{METHOD}/clear-lockouts", logins.clear_lockouts, CURRENT),
    Route("POST", f"{METHOD}/client-secrets", logins.create_client_secret, CURRENT),
    Route("GET", f"{METHOD}/client-secrets", logins.list_client_secrets, CURRENT),
    Route("GET", CLIENT_SECRET, logins.get_client_secret, CURRENT),
    Route("POST", f"{CLIENT_SECRET}/revoke", logins.revoke_client_secret, CURRENT),
    Route("POST", TOKEN_METHOD, logins.attach_token_auth, CURRENT),
    Route("POST", f"{TOKEN_METHOD}/tokens", logins.create_token, CURRENT),
    *methods.ROUTES,
    Route("GET", "/api/v1/identities/details", logins.who_am_i, CURRENT),
)
