# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of additional privileges, which give an identity of a project more than its role."""

from __future__ import annotations

from typing import Any

from .calls import Answer, Call
from .grants import Privilege
from .identities import Identity
from .logins import check_management
from .reading import Reader
from .refusals import Conclusion, Refusal
from .shapes import timestamp

PERMANENT = {
    "isTemporary": False,
    "temporaryMode": None,
    "temporaryRange": None,
    "temporaryAccessStartTime": None,
    "temporaryAccessEndTime": None,
}


def find_member(call: Call, action: str, identity_id: str, project_id: str) -> Identity:
    """Return an identity of a project, if the caller may do this with it."""
    project = call.store.project(project_id)
    check_management(call, action, project.id)
    identity = call.directory.find(identity_id)
    if project.id not in identity.permissions:
        raise Refusal(Conclusion.IDENTITY_MISSING, identity=identity_id)
    return identity


def find(call: Call, action: str) -> tuple[Identity, Privilege]:
    """Return the privilege in the path and its identity."""
    wanted = call.segments["privilege"]
    for identity in call.directory.identities.values():
        for privilege in identity.privileges:
            if privilege.id == wanted:
                check_management(call, action, privilege.project)
                return identity, privilege
    raise Refusal(Conclusion.PRIVILEGE_MISSING, key="ID", privilege=wanted)


def read_type(reader: Reader) -> None:
    kind = reader.part("type")
    if kind.boolean("isTemporary"):
        kind.issue("custom", "The test server has no temporary privileges", "isTemporary")


def read_permissions(reader: Reader, required: bool) -> list[dict[str, Any]] | None:
    items = reader.records("permissions")
    if items is None:
        if required:
            reader.issue("invalid_type", "Required", "permissions", expected="array", received="undefined")
        return None
    permissions = []
    for item in items:
        # The API also takes one subject in a list, or one action as a text.
        action = item.source.get("action")
        shown: dict[str, Any] = {
            "subject": item.text("subject"),
            "action": [action] if isinstance(action, str) else list(item.texts("action") or ()),
        }
        if "conditions" in item.source:
            shown["conditions"] = dict(item.part("conditions").source)
        permissions.append({**shown, "inverted": item.boolean("inverted")})
    return permissions


def create(call: Call) -> Answer:
    reader = Reader(call.body)
    identity_id, project_id = reader.text("identityId"), reader.text("projectId")
    slug, permissions = reader.text("slug"), read_permissions(reader, required=True)
    read_type(reader)
    reader.check()
    identity = find_member(call, "edit", identity_id, project_id)
    check_slug(identity, project_id, slug)
    now = call.store.clock()
    privilege = Privilege(slug, project_id, permissions or [], now, now)
    identity.privileges.append(privilege)
    return Answer({"privilege": show(privilege)})


def check_slug(identity: Identity, project: str, slug: str, besides: Privilege | None = None) -> None:
    for other in identity.privileges:
        if other is not besides and (other.project, other.slug) == (project, slug):
            raise Refusal(Conclusion.PRIVILEGE_EXISTS, slug=slug)


def change(call: Call) -> Answer:
    """Replace a privilege. As recorded, the request needs `slug` and `type`, even if only the permissions change."""
    reader = Reader(call.body)
    slug = reader.text("slug")
    read_type(reader)
    permissions = read_permissions(reader, required=False)
    reader.check()
    identity, privilege = find(call, "edit")
    check_slug(identity, privilege.project, slug, privilege)
    privilege.slug, privilege.updated = slug, call.store.clock()
    privilege.permissions = privilege.permissions if permissions is None else permissions
    return Answer({"privilege": show(privilege)})


def delete(call: Call) -> Answer:
    identity, privilege = find(call, "edit")
    identity.privileges.remove(privilege)
    return Answer({"privilege": show(privilege)})


def get(call: Call) -> Answer:
    return Answer({"privilege": show(find(call, "read")[1])})


def get_by_slug(call: Call) -> Answer:
    reader = Reader(call.query)
    identity_id, project_slug = reader.text("identityId"), reader.text("projectSlug")
    reader.check()
    projects = [project.id for project in call.store.projects.values() if project.slug == project_slug]
    if not projects:
        raise Refusal(Conclusion.PROJECT_SLUG_MISSING, slug=project_slug)
    identity = find_member(call, "read", identity_id, projects[0])
    for privilege in identity.privileges:
        if (privilege.project, privilege.slug) == (projects[0], call.segments["slug"]):
            return Answer({"privilege": show(privilege)})
    raise Refusal(Conclusion.PRIVILEGE_MISSING, key="slug", privilege=call.segments["slug"])


def list_privileges(call: Call) -> Answer:
    """List the privileges of an identity in a project, as recorded without their permissions."""
    reader = Reader(call.query)
    identity_id, project_id = reader.text("identityId"), reader.text("projectId")
    reader.check()
    identity = find_member(call, "read", identity_id, project_id)
    shown = [show(one) for one in identity.privileges if one.project == project_id]
    return Answer({"privileges": [{k: v for k, v in one.items() if k != "permissions"} for one in shown]})


def show(privilege: Privilege) -> dict[str, Any]:
    return {
        "id": privilege.id,
        "slug": privilege.slug,
        **PERMANENT,
        "permissions": privilege.permissions,
        "createdAt": timestamp(privilege.created),
        "updatedAt": timestamp(privilege.updated),
    }
