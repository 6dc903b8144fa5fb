# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of the API: which profiles have them, and what they do with the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from . import logins, management
from .calls import Answer, Call, Route
from .profiles import ALL, CURRENT, REAL, Profile, ecmascript_trim
from .reading import Reader
from .refusals import Conclusion, Refusal
from .shapes import (
    Place,
    View,
    may_see,
    read_action,
    show_approval,
    show_folder,
    show_import,
    show_project,
    show_project_tag,
    show_secret,
    show_secret_import,
    show_tag,
    timestamp,
)
from .store import Approval, Draft, Folder, Import, Metadata, Project, Secret, Tag, new_id, normal_path, shuffle

LONGEST_NAME = 500


def status(call: Call) -> Answer:
    return Answer(
        {
            "date": timestamp(call.store.clock()),
            "message": "Ok",
            "emailConfigured": False,
            "inviteOnlySignup": True,
            "redisConfigured": True,
            "secretScanningConfigured": False,
            "auditLogStorageDisabled": False,
            "maxIdentityAccessTokenTTL": 7776000,
        }
    )


# --- projects and tags ----------------------------------------------------------------------------------------------


def own_projects(call: Call) -> list[Project]:
    permissions = call.identity.permissions if call.identity else {}
    return [project for project in call.store.projects.values() if project.id in permissions]


def list_workspaces(call: Call) -> Answer:
    return Answer({"workspaces": [show_project(call, project) for project in own_projects(call)]})


def refuse_workspaces(call: Call) -> Answer:
    raise Refusal(Conclusion.NOT_FOR_IDENTITIES)


def list_projects(call: Call) -> Answer:
    return Answer({"projects": [show_project(call, project, deleted=True) for project in own_projects(call)]})


def get_workspace(call: Call) -> Answer:
    return Answer({"workspace": show_project(call, call.member(call.segments["project"]))})


def get_project(call: Call) -> Answer:
    return Answer({"project": show_project(call, call.member(call.segments["project"]), deleted=True)})


def get_project_by_slug(call: Call) -> Answer:
    for project in call.store.projects.values():
        if project.slug == call.segments["slug"]:
            return Answer(show_project(call, call.member(project.id), deleted=True))
    raise Refusal(Conclusion.PROJECT_SLUG_MISSING, slug=call.segments["slug"])


def list_workspace_tags(call: Call) -> Answer:
    return Answer({"workspaceTags": [show_tag(tag) for tag in call.member(call.segments["project"]).tags]})


def list_tags(call: Call) -> Answer:
    project = call.member(call.segments["project"])
    return Answer({"tags": [show_project_tag(tag, project) for tag in project.tags]})


def create_tag(call: Call) -> Answer:
    reader = Reader(call.body)
    slug, color = reader.text("slug"), reader.text("color", "")
    reader.check()
    project = call.enter(call.segments["project"], "create", subject="tags")
    tag = Tag(new_id(), slug, slug, color, call.store.clock())
    if call.identity is not None:
        tag = replace(tag, creator=call.identity.id)
    project.tags.append(tag)
    return Answer({"tag": show_project_tag(tag, project)})


def get_tag(call: Call) -> Answer:
    project = call.member(call.segments["project"])
    for tag in project.tags:
        if tag.slug == call.segments["slug"]:
            return Answer({"tag": {**show_project_tag(tag, project), "name": tag.name}})
    raise Refusal(Conclusion.TAG_SLUG_MISSING, slug=call.segments["slug"])


# --- folders and imports --------------------------------------------------------------------------------------------


def create_folder(call: Call) -> Answer:
    reader = Reader(call.body)
    project_id, environment = scope_of(call, reader)
    path = normal_path(reader.text("path", "/"))
    name = ecmascript_trim(reader.text("name"))
    if not reader.issues and not call.profile.folder_name.fullmatch(name):
        rule = "Only alphanumeric characters, dashes, and underscores are allowed."
        reader.issue("custom", f"Invalid folder name. {rule}", "name")
    reader.check()
    project = call.enter(project_id, "create", subject="secret-folders", path=path, environment=environment)
    if environment not in project.environments:
        facts = {"path": path, "environment": environment, "project": project_id}
        raise Refusal(Conclusion.ENVIRONMENT_OF_NEW_FOLDER_MISSING, **facts)
    known = project.environments[environment]
    if call.profile.refuses_known_folders and normal_path(f"{path}/{name}") in known.folders:
        raise Refusal(Conclusion.FOLDER_EXISTS, name=name, path=path)
    folder = known.make(f"{path}/{name}", call.store.clock())
    return Answer({"folder": show_folder(call, known, folder, path=folder.path)})


def list_folders(call: Call) -> Answer:
    reader = Reader(call.query)
    project_id, environment = scope_of(call, reader)
    path = normal_path(reader.text("path", "/"))
    recursive = call.route.template.startswith("/api/v2/") and reader.flag("recursive")
    reader.check()
    project = call.member(project_id)
    if environment not in project.environments:
        raise Refusal(Conclusion.ENVIRONMENT_OF_FOLDERS_MISSING, environment=environment, path=path)
    if not call.profile.lists_missing_folders:
        project.folder(environment, path)
    known = project.environments[environment]
    if recursive:
        folders = [show_folder(call, known, f, relativePath=f.path) for f in known.below(path) if f.path != path]
    else:
        folders = [show_folder(call, known, folder) for folder in known.children(path)]
    return Answer({"folders": folders})


def delete_folder(call: Call) -> Answer:
    reader = Reader(call.body)
    project_id, environment = scope_of(call, reader)
    path = normal_path(reader.text("path", "/"))
    force = call.route.template.startswith("/api/v1/") or reader.boolean("forceDelete")
    reader.check()
    project = call.enter(project_id, "delete", subject="secret-folders", path=path, environment=environment)
    project.folder(environment, path)
    known, wanted = project.environments[environment], call.segments["folder"]
    for folder in known.children(path):
        if wanted in (folder.id, folder.name):
            if not force and (folder.secrets or known.children(folder.path)):
                raise Refusal(Conclusion.FOLDER_HOLDS_SOMETHING, name=folder.name)
            shown = show_folder(call, known, folder)
            for gone in known.below(folder.path):
                del known.folders[gone.path]
            return Answer({"folder": shown})
    whole = normal_path(f"{path}/{wanted}")
    raise Refusal(Conclusion.FOLDER_TO_DELETE_MISSING, folder=wanted, path=whole, environment=environment)


def create_import(call: Call) -> Answer:
    reader = Reader(call.body)
    project_id, environment = scope_of(call, reader)
    path = normal_path(reader.text("path", "/"))
    part = reader.part("import")
    source, source_path = part.text("environment"), normal_path(part.text("path"))
    reader.check()
    project = call.enter(project_id, "create", subject="secret-imports", path=path, environment=environment)
    folder = project.folder(environment, path)
    project.folder(source, source_path)
    link = Import(source, source_path, call.store.clock())
    folder.imports.append(link)
    shown = show_secret_import(project, folder, link, listed=False)
    return Answer({"message": "Successfully created secret import", "secretImport": shown})


def list_imports(call: Call) -> Answer:
    reader = Reader(call.query)
    project_id, environment = scope_of(call, reader)
    path = normal_path(reader.text("path", "/"))
    reader.check()
    project = call.member(project_id)
    folder = project.folder(environment, path)
    shown = [show_secret_import(project, folder, link, listed=True) for link in folder.imports]
    return Answer({"message": "Successfully fetched secret imports", "secretImports": shown})


# --- what the plan lacks --------------------------------------------------------------------------------------------


def lease(call: Call) -> Answer:
    raise Refusal(Conclusion.PLAN, action="create lease", wanted="create dynamic secret")


def make_policy(call: Call) -> Answer:
    policy = "create secret approval policy"
    raise Refusal(Conclusion.PLAN, action=policy, wanted=policy)


def list_dynamic_secrets(call: Call) -> Answer:
    return Answer({"dynamicSecrets": []})


# --- secrets --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scope:
    """The project, environment and path of a request on secrets, exactly as sent."""

    project: str
    environment: str
    path: str


def scope_of(call: Call, reader: Reader) -> tuple[str, str]:
    return ecmascript_trim(reader.text(call.route.project)), ecmascript_trim(reader.text("environment"))


def read_scope(call: Call, reader: Reader) -> Scope:
    project, environment = scope_of(call, reader)
    return Scope(project, environment, ecmascript_trim(reader.text("secretPath", "/")) or "/")


def open_place(call: Call, scope: Scope, operation: str, *actions: str) -> Place:
    """Return the folder of a scope, or refuse if the identity may not do all these actions there."""
    path = normal_path(scope.path)
    project = call.enter(scope.project, *actions, path=path, environment=scope.environment)
    folder = project.find_folder(scope.environment, path)
    if folder is None:
        whole = operation == "UpdateManySecret"
        conclusion = Conclusion.FOLDER_MISSING_IN_BATCH if whole else Conclusion.FOLDER_MISSING
        raise Refusal(conclusion, path=scope.path, environment=scope.environment, operation=operation)
    return Place(project, project.environments[scope.environment], folder)


def require_environment(call: Call, project: Project, slug: str) -> None:
    if call.profile.names_missing_environments and project.listed_environment(slug) is None:
        raise Refusal(Conclusion.ENVIRONMENT_MISSING)


def check_read(reader: Reader) -> None:
    """Refuse a read if it has any issue."""
    if reader.issues:
        reader.refuse(Conclusion.INVALID_READ)


def read_view(call: Call, reader: Reader, kind: str) -> View:
    wanted = not call.profile.hides_values or reader.flag("viewSecretValue", True)
    return View(kind, wanted, reader.flag("expandSecretReferences", call.profile.reads_all_by_default))


def list_secrets(call: Call) -> Answer:
    if call.profile.reads_all_by_default and not (call.query.get(call.route.project) and call.query.get("environment")):
        raise Refusal(Conclusion.NO_SCOPE)
    reader = Reader(call.query)
    scope = read_scope(call, reader)
    recursive = reader.flag("recursive")
    imports = reader.flag(call.profile.imports_parameter, call.profile.reads_all_by_default)
    view = read_view(call, reader, "list")
    slugs = reader.text("tagSlugs", "") if call.profile.knows_tags else ""
    metadata = reader.text("metadataFilter", "") if call.profile.knows_metadata else ""
    check_read(reader)
    path = normal_path(scope.path)
    # On servers of 2026 a permission for any path is enough. The list silently omits what the identity may not see.
    where, slug = (None, None) if call.profile.hides_values else (path, scope.environment)
    actions = (read_action(call), *(["read"] if view.values else []))
    project = call.enter(scope.project, *actions, path=where, environment=slug)
    require_environment(call, project, scope.environment)
    environment = project.listed_environment(scope.environment)
    folder = environment.folders.get(path) if environment else None
    if environment is None or folder is None:
        if call.profile.list_of_nothing is None:
            raise Refusal(Conclusion.LISTED_FOLDER_MISSING, path=scope.path, environment=scope.environment)
        empty = {"secrets": [], "imports": []} if imports else dict(call.profile.list_of_nothing)
        return Answer(empty, with_etag=True)
    folders = environment.below(path) if recursive else [folder]
    asked = scope.path.rstrip("/")
    places = [Place(project, environment, each, asked if each is folder else "") for each in folders]
    body: dict[str, Any] = {
        "secrets": [
            show_secret(call, place, secret, view)
            for place in places
            if may_see(call, place)
            for secret in shuffle(place.folder.secrets)
            if has_tag(secret, slugs) and has_metadata(secret, metadata)
        ]
    }
    if imports or call.profile.always_lists_imports:
        body["imports"] = [
            show_import(call, place.linked(link, target), view)
            for place in (places if imports else [])
            for link, target in project.find_imports(place.folder)
        ]
    return Answer(body, with_etag=True)


def get_secret(call: Call) -> Answer:
    reader = Reader(call.query)
    scope = read_scope(call, reader)
    imports = reader.flag(call.profile.imports_parameter, call.profile.reads_all_by_default)
    version = reader.number("version")
    reader.one_of("type", ("shared", "personal"))
    view = read_view(call, reader, "get" if version is None else "version")
    check_read(reader)
    key = ecmascript_trim(call.segments["name"])
    if scope.project in call.store.projects:
        require_environment(call, call.store.project(scope.project), scope.environment)
    place = open_place(call, scope, "GetSecretByName", read_action(call))
    # The folder's own secret wins over imported secrets, and the last import over earlier imports.
    linked = [place.linked(*pair) for pair in place.project.find_imports(place.folder)] if imports else []
    for candidate in (place, *reversed(linked)):
        for secret in candidate.folder.named(key):
            value = secret.value if version is None else secret.value_of(version)
            if value is not None:
                if view.values and not candidate.may(call, "read"):
                    raise Refusal(Conclusion.VALUE_FORBIDDEN, name=key)
                return Answer({"secret": show_secret(call, candidate, secret, view, value, version)})
    raise Refusal(Conclusion.SECRET_MISSING, name=key)


def create_secret(call: Call) -> Answer:
    reader = Reader(call.body)
    scope = read_scope(call, reader)
    draft = read_draft(call, reader, call.segments["name"], needs_value=True)
    kind = reader.one_of("type", ("shared", "personal"))
    reader.check()
    if kind == "personal" and call.profile.hides_values:
        raise Refusal(Conclusion.PERSONAL)
    secrets = create(call, scope, [draft], "create")
    return secrets if isinstance(secrets, Answer) else Answer({"secret": secrets[0]}, call.profile.created_status)


def update_secret(call: Call) -> Answer:
    reader = Reader(call.body)
    scope = read_scope(call, reader)
    draft = read_draft(call, reader, call.segments["name"], needs_value=call.profile.update_needs_value)
    reader.check()
    place = open_place(call, scope, "UpdateSecret", "edit")
    if not place.folder.named(draft.key):
        raise Refusal(Conclusion.SECRET_MISSING_ON_UPDATE, name=draft.key)
    if draft.new_key not in (None, draft.key) and place.folder.named(draft.new_key or ""):
        raise Refusal(Conclusion.RENAMED_ONTO_ANOTHER, listed="")
    secrets = apply(call, place, "update", updates=[draft])
    return secrets if isinstance(secrets, Answer) else Answer({"secret": secrets[0]})


def delete_secret(call: Call) -> Answer:
    reader = Reader(call.query if call.profile.deletes_by_query else call.body)
    scope = read_scope(call, reader)
    reader.check()
    key = ecmascript_trim(call.segments["name"])
    place = open_place(call, scope, "DeleteSecret", "delete")
    if not place.folder.named(key):
        raise Refusal(Conclusion.SECRET_MISSING_ON_DELETE, name=key)
    secrets = apply(call, place, "delete", deletes=[key])
    return secrets if isinstance(secrets, Answer) else Answer({"secret": secrets[0]})


def create_batch(call: Call) -> Answer:
    reader = Reader(call.body)
    scope = read_scope(call, reader)
    drafts = read_drafts(call, reader, needs_value=True)
    reader.check()
    secrets = create(call, scope, drafts, "create batch")
    return secrets if isinstance(secrets, Answer) else Answer({"secrets": secrets})


def update_batch(call: Call) -> Answer:
    """Change several secrets. In the mode `upsert`, each secret may name its own folder."""
    reader = Reader(call.body)
    scope = read_scope(call, reader)
    drafts = read_drafts(call, reader, needs_value=call.profile.update_needs_value)
    modes = ("failOnNotFound", "upsert", "ignore")
    mode = reader.one_of("mode", modes) if call.profile.batch_has_modes else modes[0]
    reader.check()
    paths = {draft.path or scope.path: None for draft in drafts}
    work = []
    for path in paths:
        place = open_place(
            call, replace(scope, path=path), "UpdateManySecret", "edit", *(["create"] if mode == "upsert" else [])
        )
        known, unknown = split(place.folder, [draft for draft in drafts if (draft.path or scope.path) == path])
        if unknown and mode == "failOnNotFound":
            raise refuse_batch(Conclusion.MISSING_IN_BATCH, known, unknown, path)
        work.append((place, unknown if mode == "upsert" else [], known))
    secrets: list[dict[str, Any]] = []
    for place, creates, updates in work:
        changed = apply(call, place, "update", creates=creates, updates=updates)
        if isinstance(changed, Answer):
            return changed
        secrets += changed
    return Answer({"secrets": secrets})


def delete_batch(call: Call) -> Answer:
    reader = Reader(call.body)
    scope = read_scope(call, reader)
    keys = [item.text("secretKey") for item in reader.records("secrets", required=True) or []]
    reader.check()
    keys = [ecmascript_trim(key) for key in keys]
    place = open_place(call, scope, "DeleteManySecret", "delete")
    known, unknown = split(place.folder, [Draft(key) for key in keys])
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice and call.profile.deletes_a_name_once:
        raise Refusal(Conclusion.TWICE_IN_BATCH, names=", ".join(twice))
    if unknown or (twice and call.profile.batch_writes_a_name_once):
        raise refuse_batch(Conclusion.MISSING_IN_BATCH_ON_DELETE, known, unknown, scope.path)
    secrets = apply(call, place, "delete", deletes=keys)
    return secrets if isinstance(secrets, Answer) else Answer({"secrets": secrets})


def refuse_batch(conclusion: Conclusion, known: list[Draft], unknown: list[Draft], path: str) -> Refusal:
    present, missing = (dict.fromkeys(draft.key for draft in drafts) for drafts in (known, unknown))
    return Refusal(conclusion, present=",".join(present), missing=", ".join(missing), path=path)


def split(folder: Folder, drafts: list[Draft]) -> tuple[list[Draft], list[Draft]]:
    """Split drafts into those whose names exist in the folder and the others."""
    names = {secret.key for secret in folder.secrets}
    return [d for d in drafts if d.key in names], [d for d in drafts if d.key not in names]


def create(call: Call, scope: Scope, drafts: list[Draft], kind: str) -> list[dict[str, Any]] | Answer:
    many = kind == "create batch"
    place = open_place(call, scope, "CreateManySecret" if many else "CreateSecret", "create")
    taken = [draft.key for draft in split(place.folder, drafts)[0]]
    if not taken and not call.profile.batch_may_repeat:
        taken = [key for key, times in Counter(draft.key for draft in drafts).items() if times > 1]
    if taken:
        facts = {"path": place.folder.path, "environment": scope.environment}
        listed, quoted = ",".join(taken), ", ".join(f"'{key}'" for key in taken)
        raise Refusal(Conclusion.EXISTS, listed=f": {listed}" if many else "", quoted=quoted, **facts)
    if any(len(draft.key) > LONGEST_NAME for draft in drafts) and call.profile.hides_values:
        raise Refusal(Conclusion.NAME_TOO_LONG)
    return apply(call, place, kind, creates=drafts)


def apply(
    call: Call,
    place: Place,
    kind: str,
    creates: list[Draft] | None = None,
    updates: list[Draft] | None = None,
    deletes: list[str] | None = None,
) -> list[dict[str, Any]] | Answer:
    """Store all changes and return the secrets, or store nothing and return a request for approval."""
    creates, updates, deletes = creates or [], updates or [], deletes or []
    if call.profile.batch_writes_a_name_once:
        creates, updates = (list({d.key: d for d in drafts}.values()) for drafts in (creates, updates))
    project, environment, folder = place.project, place.environment, place.folder
    drafts = creates + updates
    require_tags(project, drafts)
    if call.profile.knows_approvals and environment.is_protected(folder.path):
        keys = tuple([draft.key for draft in drafts] + deletes)
        change = kind.partition(" ")[0]
        approval = Approval(project.id, environment.slug, folder.path, change, keys, call.store.clock())
        call.store.approvals.append(approval)
        return Answer({"approval": show_approval(approval)})
    now = call.store.clock()
    made = [folder.put(draft, now) for draft in creates]
    # If several secrets have this name, the first counts, as when one secret is read.
    by_name = {secret.key: secret for secret in reversed(folder.secrets)}
    for draft in updates:
        by_name[draft.key].update(draft, now)
    changed = [(by_name[draft.key], draft) for draft in updates]
    gone = folder.drop(deletes)
    view = View(kind)
    return [
        *(show_updated(call, place, secret, draft) for secret, draft in changed),
        *(show_secret(call, place, secret, view) for secret in made + gone),
    ]


def show_updated(call: Call, place: Place, secret: Secret, draft: Draft) -> dict[str, Any]:
    """Return the answer to an update. Real servers of 2026 show only the fields that were sent."""
    shown = show_secret(call, place, secret, View("update"))
    if call.profile.hides_values:
        shown["secretComment"] = draft.comment or ""
        if draft.value is None and not shown["secretValueHidden"]:
            shown["secretValue"] = ""
    return shown


def require_tags(project: Project, drafts: Iterable[Draft]) -> None:
    if any(tag not in project.tags for draft in drafts for tag in draft.tags or ()):
        raise Refusal(Conclusion.TAG_MISSING)


def read_drafts(call: Call, reader: Reader, needs_value: bool) -> list[Draft]:
    items = reader.records("secrets", required=True) or []
    return [read_draft(call, item, item.text("secretKey"), needs_value, in_batch=True) for item in items]


def read_draft(call: Call, reader: Reader, name: str, needs_value: bool, in_batch: bool = False) -> Draft:
    key = ecmascript_trim(name)
    if not call.profile.name_rule.pattern.fullmatch(key):
        reader.issue("custom", call.profile.name_rule.message, "secretName")
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
        new_key=reader.optional_text("newSecretName") if call.profile.hides_values else None,
        path=reader.optional_text("secretPath") if in_batch and call.profile.hides_values else None,
    )


def find_tag(call: Call, tag_id: str) -> Tag:
    """Return the tag with this id from any project, or a tag without a slug, which `require_tags` refuses."""
    tags = (tag for project in call.store.projects.values() for tag in project.tags)
    return next((tag for tag in tags if tag.id == tag_id), Tag(tag_id, "", ""))


def read_metadata(reader: Reader) -> Metadata:
    return Metadata(reader.text("key"), reader.text("value"), reader.boolean("isEncrypted"))


def has_tag(secret: Secret, slugs: str) -> bool:
    return not slugs or any(tag.slug in slugs.split(",") for tag in secret.tags)


def has_metadata(secret: Secret, wanted: str) -> bool:
    """Return whether the secret has every pair of a filter such as `key=owner,value=me|key=tier,value=1`."""
    pairs = [dict(part.partition("=")[::2] for part in pair.split(",")) for pair in wanted.split("|") if pair]
    return all(
        any(
            all({"key": item.key, "value": item.value}.get(name) == text for name, text in pair.items())
            for item in secret.metadata
        )
        for pair in pairs
    )


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


def import_routes(root: str, project: str) -> tuple[Route, ...]:
    return (
        Route("POST", root, create_import, CURRENT, project),
        Route("GET", root, list_imports, CURRENT, project),
    )


# The first matching route is used, so batch routes come before routes with a name.
ROUTES = (
    Route("GET", "/api/status", status, ALL, needs_token=False),
    Route("POST", "/api/v1/auth/universal-auth/login", logins.log_in, ALL, limit="login", needs_token=False),
    Route("POST", "/api/v1/auth/token/renew", logins.renew_token, REAL, needs_token=False),
    Route("POST", "/api/v1/auth/token/revoke", logins.revoke_token, REAL, needs_token=False),
    Route("GET", "/api/v1/workspace", list_workspaces, CURRENT | {"reference"}),
    Route("GET", "/api/v1/workspace", refuse_workspaces, frozenset({"2024"})),
    Route("GET", "/api/v1/workspace/{project}", get_workspace, REAL),
    Route("GET", "/api/v1/workspace/{project}/tags", list_workspace_tags, REAL),
    Route("GET", "/api/v1/projects", list_projects, CURRENT),
    Route("GET", "/api/v1/projects/{project}", get_project, CURRENT),
    Route("GET", "/api/v1/projects/slug/{slug}", get_project_by_slug, CURRENT),
    Route("GET", "/api/v1/projects/{project}/tags", list_tags, CURRENT),
    Route("POST", "/api/v1/projects/{project}/tags", create_tag, CURRENT),
    Route("GET", "/api/v1/projects/{project}/tags/slug/{slug}", get_tag, CURRENT),
    Route("POST", "/api/v1/dynamic-secrets/leases", lease, CURRENT),
    Route("GET", "/api/v1/dynamic-secrets", list_dynamic_secrets, CURRENT),
    Route("POST", "/api/v1/secret-approvals", make_policy, CURRENT),
    *import_routes("/api/v1/secret-imports", "workspaceId"),
    *import_routes("/api/v2/secret-imports", "projectId"),
    *folder_routes("/api/v1/folders", "workspaceId", REAL),
    *folder_routes("/api/v2/folders", "projectId", CURRENT),
    *batch_routes("/api/v4/secrets/batch", "projectId", CURRENT),
    *secret_routes("/api/v4/secrets", "projectId", CURRENT | {"reference"}),
    # The vendor's API pages put the v3 batch at the first of these paths; older descriptions use the second.
    *batch_routes("/api/v3/secrets/batch/raw", "workspaceId", REAL),
    *batch_routes("/api/v3/secrets/raw/batch", "workspaceId", REAL),
    *secret_routes("/api/v3/secrets/raw", "workspaceId", REAL),
    *management.ROUTES,
)


def find_route(profile: Profile, method: str, raw_path: str, raw_query: str = "") -> tuple[Route, dict[str, str]]:
    """Return the route of a request and the segments of its path. Raises Refusal if the profile lacks the route."""
    for route in ROUTES:
        segments = route.match(method, raw_path) if profile.name in route.profiles else None
        if segments is not None:
            return route, segments
    raise Refusal(Conclusion.ROUTE_MISSING, route=f"{method}:{raw_path}" + (raw_query and f"?{raw_query}"))
