# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the JSON of responses. Servers of 2026 show more than older servers, and routes differ in their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .calls import Call
from .refusals import Conclusion, Refusal
from .store import Approval, Environment, Folder, Import, Project, Secret, Tag, new_id, shuffle

HIDDEN = "<hidden-by-infisical>"


@dataclass(frozen=True)
class Place:
    """An existing folder with its project and environment."""

    project: Project
    environment: Environment
    folder: Folder
    # The path in the request, if it lacks the leading slash.
    asked: str = ""

    @property
    def path(self) -> str:
        return self.asked or self.folder.path

    def may(self, call: Call, action: str) -> bool:
        """Return whether the identity of a call may do this with the secrets of the folder."""
        return call.may(action, self.project, self.folder.path, self.environment.slug)

    def linked(self, link: Import, folder: Folder) -> Place:
        return Place(self.project, self.project.environments[link.environment], folder)


@dataclass(frozen=True)
class View:
    """How a response shows secrets: the kind of response, and whether values are included and references resolved."""

    kind: str
    values: bool = True
    expanded: bool = False


_NO_ROTATION = frozenset({"isRotatedSecret", "rotationId"})
_LISTED = frozenset({"secretPath", "tags", "secretMetadata"})
# The fields of a secret that a 2026 server omits in each kind of answer, as recorded.
LEFT_OUT: Mapping[str, frozenset[str]] = {
    "list": frozenset(),
    "get": frozenset(),
    "version": _NO_ROTATION | {"tags", "secretMetadata"},
    "create": _LISTED | {"secretValueHidden"},
    "update": _LISTED,
    "delete": _LISTED | _NO_ROTATION,
    "import": frozenset(
        {"secretReminderNote", "secretReminderRepeatDays", "createdAt", "updatedAt", "secretPath", "tags"}
    ),
}
LEFT_OUT_BEFORE_2026 = frozenset({"_id", "secretReminderNote", "secretReminderRepeatDays"}) | _NO_ROTATION


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def expand(call: Call, place: Place, secret: Secret, text: str) -> str:
    """Return a secret's text with its references resolved.

    A result of several lines is quoted and escaped if the referring secret has `skipMultilineEncoding` (recorded
    with the flag set on both secrets). Servers of 2026 refuse the whole answer if the identity may not read a
    referenced secret.
    """

    def check(environment: str, path: str, key: str) -> None:
        if call.profile.hides_values and not call.may("read", place.project, path, environment):
            raise Refusal(Conclusion.REFERENCE_FORBIDDEN, reference=key, name=secret.key)

    unknown = call.profile.keeps_unknown_references
    whole = place.project.expand(text, place.environment.slug, place.folder.path, unknown, check)
    if whole == text or not secret.skip_multiline_encoding or "\n" not in whole:
        return whole
    return '"' + whole.replace("\n", "\\n") + '"'


def show_secret(
    call: Call, place: Place, secret: Secret, view: View, value: str | None = None, version: int | None = None
) -> dict[str, Any]:
    project, environment = place.project, place.environment
    text = secret.value if value is None else value
    readable = place.may(call, "read")
    # As recorded, the response to the creation of a secret shows the sent value even without permission to read.
    hidden = call.profile.hides_values and not (view.values and (readable or view.kind == "create"))
    if view.expanded and not hidden:
        text = expand(call, place, secret, text)
    shown: dict[str, Any] = {
        "id": secret.id,
        "_id": secret.id,
        "workspace": "" if view.kind == "import" and call.profile.hides_values else project.id,
        "environment": environment.slug,
        "version": secret.version if version is None else version,
        "type": "shared",
        "secretKey": secret.key,
        "secretValue": HIDDEN if hidden else text,
        "secretComment": secret.comment,
        "secretReminderNote": None,
        "secretReminderRepeatDays": None,
        "skipMultilineEncoding": secret.skip_multiline_encoding,
        "createdAt": timestamp(secret.created),
        "updatedAt": timestamp(secret.updated),
        "isRotatedSecret": secret.rotated,
        "rotationId": secret.id if secret.rotated else None,
        "secretPath": place.path,
        "secretValueHidden": hidden,
        "tags": [show_tag(tag) for tag in secret.tags] if call.profile.knows_tags else [],
        "secretMetadata": [
            {"key": item.key, "value": item.value, "isEncrypted": item.encrypted} for item in secret.metadata
        ],
    }
    call.returned_values |= not hidden
    if call.profile.hides_values:
        kind = "create" if view.kind == "create batch" else view.kind
        return {name: part for name, part in shown.items() if name not in LEFT_OUT[kind]}
    left_out = LEFT_OUT_BEFORE_2026 | {"secretValueHidden"}
    if not call.profile.knows_metadata:
        left_out |= {"secretMetadata"}
    if view.kind not in ("list", "import"):
        left_out |= {"secretPath", "tags"}
    return {name: part for name, part in shown.items() if name not in left_out}


def show_import(call: Call, place: Place, view: View) -> dict[str, Any]:
    secrets = shuffle(place.folder.secrets) if may_see(call, place) else []
    return {
        "secretPath": place.folder.path,
        "environment": place.environment.slug,
        "folderId": place.folder.id,
        "secrets": [show_secret(call, place, secret, View("import", view.values, view.expanded)) for secret in secrets],
    }


def may_see(call: Call, place: Place) -> bool:
    """Return whether the identity sees the secrets of a folder; lists silently omit other folders."""
    return place.may(call, read_action(call))


def read_action(call: Call) -> str:
    """Return the permission needed to read: `describe` is enough if the server can hide values."""
    return "describe" if call.profile.hides_values else "read"


def show_project(call: Call, project: Project, deleted: bool = False) -> dict[str, Any]:
    environments = [{"name": e.name, "slug": e.slug, "id": e.id} for e in project.environments.values()]
    shown = {"id": project.id, "name": project.name, "slug": project.slug}
    if not call.profile.hides_values:
        return {**shown, "environments": environments}
    return {
        **shown,
        "description": None,
        "type": project.type,
        "defaultProduct": None,
        "autoCapitalization": False,
        "orgId": call.directory.organisation,
        "createdAt": timestamp(project.created),
        "updatedAt": timestamp(project.created),
        "version": 3,
        "upgradeStatus": None,
        "pitVersionLimit": 10,
        "kmsCertificateKeyId": None,
        "auditLogsRetentionDays": None,
        "hasDeleteProtection": False,
        "secretSharing": True,
        "showSnapshotsLegacy": False,
        "secretDetectionIgnoreValues": None,
        "enforceEncryptedSecretManagerSecretMetadata": None,
        "_id": project.id,
        "environments": environments,
        **({"deletedEnvironments": []} if deleted else {}),
    }


def show_tag(tag: Tag) -> dict[str, Any]:
    return {"id": tag.id, "slug": tag.slug, "name": tag.name, "color": tag.color}


def show_project_tag(tag: Tag, project: Project) -> dict[str, Any]:
    """Return a tag as the tag routes of 2026 show it, without its name, which only a read by slug shows."""
    return {
        "id": tag.id,
        "slug": tag.slug,
        "color": tag.color,
        "createdAt": timestamp(tag.created),
        "updatedAt": timestamp(tag.created),
        "createdBy": tag.creator,
        "projectId": project.id,
        "createdByActorType": "identity",
    }


def show_folder(call: Call, environment: Environment, folder: Folder, **more: str) -> dict[str, Any]:
    if not call.profile.hides_values:
        return {"id": folder.id, "name": folder.name, "path": folder.path}
    return {
        "id": folder.id,
        "name": folder.name,
        "version": 1,
        "createdAt": timestamp(folder.created),
        "updatedAt": timestamp(folder.created),
        "envId": environment.id,
        "parentId": environment.folders[folder.parent].id,
        "isReserved": False,
        "description": None,
        "lastSecretModified": None,
        **more,
    }


def show_secret_import(project: Project, folder: Folder, link: Import, listed: bool) -> dict[str, Any]:
    source = project.environments[link.environment]
    shown: dict[str, Any] = {
        "id": link.id,
        "version": 1,
        "importPath": link.path,
        "position": folder.imports.index(link) + 1,
        "createdAt": timestamp(link.created),
        "updatedAt": timestamp(link.created),
        "folderId": folder.id,
        "isReplication": False,
        "isReplicationSuccess": None,
        "replicationStatus": None,
        "lastReplicated": None,
        "isReserved": False,
        "importEnv": {"name": source.name, "slug": source.slug, "id": source.id},
    }
    if listed:
        shown["importEnv"]["projectId"] = project.id
        shown["sourceProjectName"] = project.name
    return shown


def show_approval(approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.id,
        "slug": new_id()[:8],
        "status": "open",
        "hasMerged": False,
        "environment": approval.environment,
        "secretPath": approval.path,
        "createdAt": timestamp(approval.created),
    }
