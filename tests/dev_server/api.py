# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's routes: which profile has which, and what each does with the store."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal
from urllib.parse import unquote

from .identities import Directory, Identity
from .profiles import Profile, ecmascript_trim
from .reading import Reader
from .refusals import Conclusion, Refusal
from .store import (
    Approval,
    Draft,
    Environment,
    Folder,
    Import,
    Metadata,
    Project,
    Secret,
    Store,
    Tag,
    new_id,
    normal_path,
    shuffled,
)

HIDDEN = "<hidden-by-infisical>"
LONGEST_NAME_IN_A_PATH = 100

CURRENT = frozenset({"2026-07", "2026-10"})
REAL = CURRENT | {"2024"}
ALL = REAL | {"reference"}


@dataclass(frozen=True)
class Answer:
    """A status and what goes into the JSON body."""

    body: dict[str, Any]
    status: int = 200
    with_etag: bool = False


@dataclass(frozen=True)
class Route:
    """One endpoint; a name in braces in the template is a segment of the path."""

    method: str
    template: str
    handler: Callable[[Call], Answer]
    profiles: frozenset[str]
    # What the route calls a project's id.
    project: str = "projectId"
    # The rate limit that counts it.
    limit: Literal["secrets", "login"] | None = None
    needs_token: bool = True

    def match(self, method: str, raw_path: str) -> dict[str, str] | None:
        """The decoded segments of a raw path that fits; None if it does not, or if a segment is too long."""
        if method != self.method:
            return None
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.template) + "/?", raw_path)
        if found is None:
            return None
        segments = {name: unquote(text) for name, text in found.groupdict().items()}
        return None if any(len(text) > LONGEST_NAME_IN_A_PATH for text in segments.values()) else segments


@dataclass
class Call:
    """One request on its way through its route."""

    profile: Profile
    store: Store
    directory: Directory
    route: Route
    segments: dict[str, str]
    query: dict[str, str]
    body: Any
    identity: Identity | None = None
    # Whether the answer holds a value, for the log.
    returned_values: bool = field(default=False)

    def may(self, action: str, project: Project) -> bool:
        return self.identity is not None and action in self.identity.permissions.get(project.id, ())

    def enter(self, project_id: str, *actions: str, subject: str = "secrets") -> Project:
        """The project, if it exists, the identity is its member and may do all of these actions."""
        project = self.store.project(project_id)
        if self.identity is None or project_id not in self.identity.permissions:
            raise Refusal(Conclusion.NOT_A_MEMBER, details=[])
        for action in actions:
            if not self.may(action, project):
                details = [{"action": action, "subject": subject, "conditions": {"projectId": project_id}}]
                raise Refusal(Conclusion.FORBIDDEN, action=action, subject=subject, details=details)
        return project


# --- status, login, token -------------------------------------------------------------------------------------------


def status(call: Call) -> Answer:
    return Answer({"date": timestamp(call.store.clock()), "message": "Ok", "redisConfigured": True})


def log_in(call: Call) -> Answer:
    reader = Reader(call.body)
    client_id, client_secret = reader.text("clientId"), reader.text("clientSecret")
    reader.check()
    token = call.directory.log_in(
        ecmascript_trim(client_id), ecmascript_trim(client_secret), locks_out=call.profile.locks_out
    )
    call.identity = token.identity
    return Answer(
        {
            "accessToken": token.text,
            "expiresIn": token.identity.token_ttl,
            "accessTokenMaxTTL": token.identity.token_max_ttl,
            "tokenType": "Bearer",
        }
    )


def revoke_token(call: Call) -> Answer:
    reader = Reader(call.body)
    text = reader.text("accessToken")
    reader.check()
    call.directory.revoke(text)
    return Answer({"message": "Successfully revoked access token"})


# --- projects and tags ----------------------------------------------------------------------------------------------


def own_projects(call: Call) -> list[dict[str, Any]]:
    permissions = call.identity.permissions if call.identity else {}
    return [show_project(project) for project in call.store.projects.values() if project.id in permissions]


def list_workspaces(call: Call) -> Answer:
    return Answer({"workspaces": own_projects(call)})


def refuse_workspaces(call: Call) -> Answer:
    raise Refusal(Conclusion.NOT_FOR_IDENTITIES)


def list_projects(call: Call) -> Answer:
    return Answer({"projects": own_projects(call)})


def get_workspace(call: Call) -> Answer:
    return Answer({"workspace": show_project(call.enter(call.segments["project"]))})


def get_project(call: Call) -> Answer:
    return Answer({"project": show_project(call.enter(call.segments["project"]))})


def list_workspace_tags(call: Call) -> Answer:
    return Answer({"workspaceTags": [show_tag(tag) for tag in call.enter(call.segments["project"]).tags]})


def list_tags(call: Call) -> Answer:
    return Answer({"tags": [show_tag(tag) for tag in call.enter(call.segments["project"]).tags]})


# --- folders --------------------------------------------------------------------------------------------------------


def create_folder(call: Call) -> Answer:
    reader = Reader(call.body)
    project_id, environment = scope_of(call, reader)
    path = normal_path(reader.text("path", "/"))
    name = ecmascript_trim(reader.text("name"))
    if not reader.issues and not call.profile.folder_name.fullmatch(name):
        reader.wrong("string", "Invalid folder name", "name", "custom")
    reader.check()
    project = call.enter(project_id, "create", subject="secret-folders")
    if environment not in project.environments:
        raise Refusal(Conclusion.FOLDER_MISSING, path=path, environment=environment)
    folder = project.environments[environment].make(f"{path}/{name}")
    return Answer({"folder": show_folder(folder)})


def list_folders(call: Call) -> Answer:
    reader = Reader(call.query)
    project_id, environment = scope_of(call, reader)
    path = normal_path(reader.text("path", "/"))
    recursive = call.route.template.startswith("/api/v2/") and reader.flag("recursive")
    reader.check()
    project = call.enter(project_id)
    project.folder(environment, path)
    known = project.environments[environment]
    folders = [f for f in known.below(path) if f.path != path] if recursive else known.children(path)
    return Answer({"folders": [show_folder(folder) for folder in folders]})


def delete_folder(call: Call) -> Answer:
    reader = Reader(call.body)
    project_id, environment = scope_of(call, reader)
    path = normal_path(reader.text("path", "/"))
    force = call.route.template.startswith("/api/v1/") or reader.boolean("forceDelete")
    reader.check()
    project = call.enter(project_id, "delete", subject="secret-folders")
    project.folder(environment, path)
    known, wanted = project.environments[environment], call.segments["folder"]
    for folder in known.children(path):
        if wanted in (folder.id, folder.name):
            if not force and (folder.secrets or known.children(folder.path)):
                raise Refusal(Conclusion.FOLDER_HOLDS_SOMETHING, name=folder.name)
            for gone in known.below(folder.path):
                del known.folders[gone.path]
            return Answer({"folder": show_folder(folder)})
    raise Refusal(Conclusion.FOLDER_MISSING, path=normal_path(f"{path}/{wanted}"), environment=environment)


# --- secrets --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scope:
    """Where a request on secrets goes, as it was sent."""

    project: str
    environment: str
    path: str


@dataclass(frozen=True)
class Place:
    """A folder that exists, and where it lies."""

    project: Project
    environment: Environment
    folder: Folder

    def linked(self, link: Import, folder: Folder) -> Place:
        return Place(self.project, self.project.environments[link.environment], folder)


def scope_of(call: Call, reader: Reader) -> tuple[str, str]:
    return ecmascript_trim(reader.text(call.route.project)), ecmascript_trim(reader.text("environment"))


def read_scope(call: Call, reader: Reader) -> Scope:
    project, environment = scope_of(call, reader)
    return Scope(project, environment, normal_path(ecmascript_trim(reader.text("secretPath", "/"))))


def open_place(call: Call, scope: Scope, *actions: str) -> Place:
    project = call.enter(scope.project, *actions)
    folder = project.folder(scope.environment, scope.path)
    return Place(project, project.environments[scope.environment], folder)


def read_action(call: Call) -> str:
    """The permission that a read needs: where values can be hidden, to describe is enough."""
    return "describe" if call.profile.hides_values else "read"


@dataclass(frozen=True)
class View:
    """How secrets are to be shown."""

    values: bool
    expanded: bool
    listed: bool = True


def read_view(call: Call, reader: Reader, listed: bool) -> View:
    wanted = not call.profile.hides_values or reader.flag("viewSecretValue", True)
    return View(wanted, reader.flag("expandSecretReferences"), listed)


def list_secrets(call: Call) -> Answer:
    reader = Reader(call.query)
    scope = read_scope(call, reader)
    recursive = reader.flag("recursive")
    imports = reader.flag(call.profile.imports_parameter)
    view = read_view(call, reader, listed=True)
    slugs = reader.text("tagSlugs", "") if call.profile.knows_tags else ""
    metadata = reader.text("metadataFilter", "") if call.profile.knows_metadata else ""
    reader.check()
    project = call.enter(scope.project, read_action(call))
    environment = project.listed_environment(scope.environment)
    folder = environment.folders.get(scope.path) if environment else None
    if environment is None or folder is None:
        if call.profile.list_of_nothing is None:
            project.folder(scope.environment, scope.path)
        empty = {"secrets": [], "imports": []} if imports else dict(call.profile.list_of_nothing or {})
        return Answer(empty, with_etag=True)
    folders = environment.below(scope.path) if recursive else [folder]
    places = [Place(project, environment, each) for each in folders]
    body: dict[str, Any] = {
        "secrets": [
            show_secret(call, place, secret, view)
            for place in places
            for secret in shuffled(place.folder.secrets)
            if has_tag(secret, slugs) and has_metadata(secret, metadata)
        ]
    }
    if imports or call.profile.always_lists_imports:
        body["imports"] = [
            show_import(call, place.linked(link, target), view)
            for place in (places if imports else [])
            for link, target in project.imported(place.folder)
        ]
    return Answer(body, with_etag=True)


def get_secret(call: Call) -> Answer:
    reader = Reader(call.query)
    scope = read_scope(call, reader)
    imports = reader.flag(call.profile.imports_parameter)
    version = reader.number("version")
    reader.one_of("type", ("shared", "personal"))
    view = read_view(call, reader, listed=call.profile.full_single)
    reader.check()
    key = ecmascript_trim(call.segments["name"])
    place = open_place(call, scope, read_action(call))
    # The folder's own secret comes before imported ones; of several imports the last wins.
    linked = [place.linked(*pair) for pair in place.project.imported(place.folder)] if imports else []
    for candidate in (place, *reversed(linked)):
        for secret in candidate.folder.named(key):
            value = secret.value if version is None else secret.value_of(version)
            if value is not None:
                return Answer({"secret": show_secret(call, candidate, secret, view, value, version)})
    raise Refusal(Conclusion.SECRET_MISSING, name=key)


def create_secret(call: Call) -> Answer:
    reader = Reader(call.body)
    scope = read_scope(call, reader)
    draft = read_draft(call, reader, call.segments["name"], needs_value=True)
    reader.check()
    secrets = create(call, scope, [draft], listed="")
    return secrets if isinstance(secrets, Answer) else Answer({"secret": secrets[0]}, call.profile.created_status)


def update_secret(call: Call) -> Answer:
    reader = Reader(call.body)
    scope = read_scope(call, reader)
    draft = read_draft(call, reader, call.segments["name"], needs_value=call.profile.update_needs_value)
    reader.check()
    place = open_place(call, scope, "edit")
    if not place.folder.named(draft.key):
        raise Refusal(Conclusion.SECRET_MISSING, name=draft.key)
    secrets = apply(call, place, "update", updates=[draft])
    return secrets if isinstance(secrets, Answer) else Answer({"secret": secrets[0]})


def delete_secret(call: Call) -> Answer:
    reader = Reader(call.query if call.profile.deletes_by_query else call.body)
    scope = read_scope(call, reader)
    reader.check()
    key = ecmascript_trim(call.segments["name"])
    place = open_place(call, scope, "delete")
    if not place.folder.named(key):
        raise Refusal(Conclusion.SECRET_MISSING_ON_DELETE, name=key)
    secrets = apply(call, place, "delete", deletes=[key])
    return secrets if isinstance(secrets, Answer) else Answer({"secret": secrets[0]})


def create_batch(call: Call) -> Answer:
    reader = Reader(call.body)
    scope = read_scope(call, reader)
    drafts = read_drafts(call, reader, needs_value=True)
    reader.check()
    secrets = create(call, scope, drafts, listed=": ")
    return secrets if isinstance(secrets, Answer) else Answer({"secrets": secrets})


def update_batch(call: Call) -> Answer:
    reader = Reader(call.body)
    scope = read_scope(call, reader)
    drafts = read_drafts(call, reader, needs_value=call.profile.update_needs_value)
    modes = ("failOnNotFound", "upsert", "ignore")
    mode = reader.one_of("mode", modes) if call.profile.batch_has_modes else modes[0]
    reader.check()
    place = open_place(call, scope, "edit", *(["create"] if mode == "upsert" else []))
    known, unknown = split(place.folder, drafts)
    if unknown and mode == "failOnNotFound":
        refuse_batch(known, unknown)
    creates = unknown if mode == "upsert" else []
    secrets = apply(call, place, "update", creates=creates, updates=known)
    return secrets if isinstance(secrets, Answer) else Answer({"secrets": secrets})


def delete_batch(call: Call) -> Answer:
    reader = Reader(call.body)
    scope = read_scope(call, reader)
    keys = [item.text("secretKey") for item in reader.records("secrets", required=True) or []]
    reader.check()
    keys = [ecmascript_trim(key) for key in keys]
    place = open_place(call, scope, "delete")
    known, unknown = split(place.folder, [Draft(key) for key in keys])
    if unknown:
        refuse_batch(known, unknown)
    secrets = apply(call, place, "delete", deletes=keys)
    return secrets if isinstance(secrets, Answer) else Answer({"secrets": secrets})


def refuse_batch(known: list[Draft], unknown: list[Draft]) -> None:
    present, missing = (",".join(draft.key for draft in drafts) for drafts in (known, unknown))
    raise Refusal(Conclusion.MISSING_IN_BATCH, present=present, missing=missing)


def split(folder: Folder, drafts: list[Draft]) -> tuple[list[Draft], list[Draft]]:
    """The drafts whose names the folder has, and those it has not."""
    names = {secret.key for secret in folder.secrets}
    return [d for d in drafts if d.key in names], [d for d in drafts if d.key not in names]


def create(call: Call, scope: Scope, drafts: list[Draft], listed: str) -> list[dict[str, Any]] | Answer:
    place = open_place(call, scope, "create")
    taken = [draft.key for draft in split(place.folder, drafts)[0]]
    if not taken and not call.profile.batch_may_repeat:
        taken = [key for key, times in Counter(draft.key for draft in drafts).items() if times > 1]
    if taken:
        raise Refusal(Conclusion.EXISTS, listed=listed and listed + ",".join(taken))
    return apply(call, place, "create", creates=drafts)


def apply(
    call: Call,
    place: Place,
    change: str,
    creates: list[Draft] | None = None,
    updates: list[Draft] | None = None,
    deletes: list[str] | None = None,
) -> list[dict[str, Any]] | Answer:
    """Store changes that were found possible, all of them, and show the secrets; or ask for approval and store none."""
    creates, updates, deletes = creates or [], updates or [], deletes or []
    project, environment, folder = place.project, place.environment, place.folder
    drafts = creates + updates
    require_tags(project, drafts)
    if call.profile.knows_approvals and environment.is_protected(folder.path):
        keys = tuple([draft.key for draft in drafts] + deletes)
        approval = Approval(project.id, environment.slug, folder.path, change, keys, call.store.clock())
        call.store.approvals.append(approval)
        return Answer({"approval": show_approval(approval)})
    now = call.store.clock()
    changed = [folder.put(draft, now) for draft in creates]
    # Of several secrets of one name the first is meant, as in get-one.
    by_name = {secret.key: secret for secret in reversed(folder.secrets)}
    for draft in updates:
        by_name[draft.key].update(draft, now)
        changed.append(by_name[draft.key])
    changed += folder.drop(deletes)
    view = View(values=True, expanded=False, listed=call.profile.full_single)
    return [show_secret(call, place, secret, view) for secret in changed]


def require_tags(project: Project, drafts: Iterable[Draft]) -> None:
    if any(tag not in project.tags for draft in drafts for tag in draft.tags or ()):
        raise Refusal(Conclusion.TAG_MISSING)


def read_drafts(call: Call, reader: Reader, needs_value: bool) -> list[Draft]:
    items = reader.records("secrets", required=True) or []
    return [read_draft(call, item, item.text("secretKey"), needs_value) for item in items]


def read_draft(call: Call, reader: Reader, name: str, needs_value: bool) -> Draft:
    key = ecmascript_trim(name)
    if not call.profile.name_rule.pattern.fullmatch(key):
        reader.wrong("string", call.profile.name_rule.message, "secretName", "custom")
    value = reader.text("secretValue") if needs_value else reader.optional_text("secretValue")
    comment = reader.optional_text("secretComment")
    tag_ids = reader.texts("tagIds") if call.profile.knows_tags else None
    metadata = reader.records("secretMetadata") if call.profile.knows_metadata else None
    return Draft(
        key,
        None if value is None else call.profile.stored_value(value),
        None if comment is None else ecmascript_trim(comment),
        None if tag_ids is None else tuple(find_tag(call, tag_id) for tag_id in tag_ids),
        None if metadata is None else tuple(read_metadata(item) for item in metadata),
        reader.optional_boolean("skipMultilineEncoding"),
    )


def find_tag(call: Call, tag_id: str) -> Tag:
    """The tag of that id in any project; a tag of no project is refused when the project is known."""
    tags = (tag for project in call.store.projects.values() for tag in project.tags)
    return next((tag for tag in tags if tag.id == tag_id), Tag(tag_id, "", ""))


def read_metadata(reader: Reader) -> Metadata:
    return Metadata(reader.text("key"), reader.text("value"), reader.boolean("isEncrypted"))


def has_tag(secret: Secret, slugs: str) -> bool:
    return not slugs or any(tag.slug in slugs.split(",") for tag in secret.tags)


def has_metadata(secret: Secret, wanted: str) -> bool:
    """Whether the secret has every pair of a filter such as `key=owner,value=me|key=tier,value=1`."""
    pairs = [dict(part.partition("=")[::2] for part in pair.split(",")) for pair in wanted.split("|") if pair]
    return all(
        any(
            all({"key": item.key, "value": item.value}.get(name) == text for name, text in pair.items())
            for item in secret.metadata
        )
        for pair in pairs
    )


# --- what things look like ------------------------------------------------------------------------------------------


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def expand(call: Call, place: Place, secret: Secret, text: str) -> str:
    """A secret's text with its references resolved.

    A text of several lines that comes of it is quoted and escaped where the secret that refers has
    `skipMultilineEncoding` (recorded with the flag at both ends).
    """
    unknown = call.profile.keeps_unknown_references
    whole = place.project.expand(text, place.environment.slug, place.folder.path, unknown)
    if whole == text or not secret.skip_multiline_encoding or "\n" not in whole:
        return whole
    return '"' + whole.replace("\n", "\\n") + '"'


def show_secret(
    call: Call, place: Place, secret: Secret, view: View, value: str | None = None, version: int | None = None
) -> dict[str, Any]:
    project, environment, folder = place.project, place.environment, place.folder
    text = secret.value if value is None else value
    if view.expanded:
        text = expand(call, place, secret, text)
    hidden = call.profile.hides_values and not (view.values and call.may("read", project))
    shown: dict[str, Any] = {
        "id": secret.id,
        "workspace": project.id,
        "environment": environment.slug,
        "version": secret.version if version is None else version,
        "type": "shared",
        "secretKey": secret.key,
        "secretValue": HIDDEN if hidden else text,
        "secretComment": secret.comment,
        "skipMultilineEncoding": secret.skip_multiline_encoding,
        "createdAt": timestamp(secret.created),
        "updatedAt": timestamp(secret.updated),
    }
    if view.listed:
        shown["secretPath"] = folder.path
        shown["tags"] = [show_tag(tag) for tag in secret.tags] if call.profile.knows_tags else []
    if call.profile.hides_values:
        shown["secretValueHidden"] = hidden
        shown["isRotatedSecret"] = secret.rotated
        shown["rotationId"] = secret.id if secret.rotated else None
    if call.profile.knows_metadata:
        shown["secretMetadata"] = [
            {"key": item.key, "value": item.value, "isEncrypted": item.encrypted} for item in secret.metadata
        ]
    call.returned_values |= not hidden
    return shown


def show_import(call: Call, place: Place, view: View) -> dict[str, Any]:
    return {
        "secretPath": place.folder.path,
        "environment": place.environment.slug,
        "folderId": place.folder.id,
        "secrets": [show_secret(call, place, secret, view) for secret in shuffled(place.folder.secrets)],
    }


def show_project(project: Project) -> dict[str, Any]:
    environments = [{"name": e.name, "slug": e.slug, "id": e.id} for e in project.environments.values()]
    return {"id": project.id, "name": project.name, "slug": project.slug, "environments": environments}


def show_tag(tag: Tag) -> dict[str, Any]:
    return {"id": tag.id, "slug": tag.slug, "name": tag.name, "color": tag.color}


def show_folder(folder: Folder) -> dict[str, Any]:
    return {"id": folder.id, "name": folder.name, "path": folder.path}


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


# --- routes ---------------------------------------------------------------------------------------------------------


def batch_routes(path: str, project: str, profiles: frozenset[str]) -> tuple[Route, ...]:
    return (
        Route("POST", path, create_batch, profiles, project, "secrets"),
        Route("PATCH", path, update_batch, profiles, project, "secrets"),
        Route("DELETE", path, delete_batch, profiles, project, "secrets"),
    )


def secret_routes(root: str, project: str, profiles: frozenset[str]) -> tuple[Route, ...]:
    one = root + "/{name}"
    return (
        Route("GET", root, list_secrets, profiles, project, "secrets"),
        Route("GET", one, get_secret, profiles, project, "secrets"),
        Route("POST", one, create_secret, profiles, project, "secrets"),
        Route("PATCH", one, update_secret, profiles, project, "secrets"),
        Route("DELETE", one, delete_secret, profiles, project, "secrets"),
    )


def folder_routes(root: str, project: str, profiles: frozenset[str]) -> tuple[Route, ...]:
    return (
        Route("POST", root, create_folder, profiles, project),
        Route("GET", root, list_folders, profiles, project),
        Route("DELETE", root + "/{folder}", delete_folder, profiles, project),
    )


# The first route that fits is taken, so the batch routes come before those with a name.
ROUTES = (
    Route("GET", "/api/status", status, ALL, needs_token=False),
    Route("POST", "/api/v1/auth/universal-auth/login", log_in, ALL, limit="login", needs_token=False),
    Route("POST", "/api/v1/auth/token/revoke", revoke_token, REAL, needs_token=False),
    Route("GET", "/api/v1/workspace", list_workspaces, CURRENT | {"reference"}),
    Route("GET", "/api/v1/workspace", refuse_workspaces, frozenset({"2024"})),
    Route("GET", "/api/v1/workspace/{project}", get_workspace, REAL),
    Route("GET", "/api/v1/workspace/{project}/tags", list_workspace_tags, REAL),
    Route("GET", "/api/v1/projects", list_projects, CURRENT),
    Route("GET", "/api/v1/projects/{project}", get_project, CURRENT),
    Route("GET", "/api/v1/projects/{project}/tags", list_tags, CURRENT),
    *folder_routes("/api/v1/folders", "workspaceId", REAL),
    *folder_routes("/api/v2/folders", "projectId", CURRENT),
    *batch_routes("/api/v4/secrets/batch", "projectId", CURRENT),
    *secret_routes("/api/v4/secrets", "projectId", CURRENT | {"reference"}),
    # The vendor's API pages have the batch of v3 at the first of these; the second is how our API notes read.
    *batch_routes("/api/v3/secrets/batch/raw", "workspaceId", REAL),
    *batch_routes("/api/v3/secrets/raw/batch", "workspaceId", REAL),
    *secret_routes("/api/v3/secrets/raw", "workspaceId", REAL),
)


def find_route(profile: Profile, method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
    """The route and the segments of its path; raises the refusal if the profile has none."""
    for route in ROUTES:
        segments = route.match(method, raw_path) if profile.name in route.profiles else None
        if segments is not None:
            return route, segments
    raise Refusal(Conclusion.ROUTE_MISSING, route=f"{method}:{raw_path}")
