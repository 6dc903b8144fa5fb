# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of the places of secrets: projects, tags, folders and imports; also the server's status."""

from __future__ import annotations

from dataclasses import replace

from .calls import Answer, Call, Route
from .profiles import ALL, CURRENT, REAL, ecmascript_trim
from .reading import Reader
from .refusals import Conclusion, Refusal
from .shapes import show_folder, show_project, show_project_tag, show_secret_import, show_tag, timestamp
from .store import Import, Project, Tag, new_id, normal_path


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


def scope_of(call: Call, reader: Reader) -> tuple[str, str]:
    return ecmascript_trim(reader.text(call.route.project)), ecmascript_trim(reader.text("environment"))


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


# --- routes ---------------------------------------------------------------------------------------------------------


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


ROUTES = (
    Route("GET", "/api/status", status, ALL, needs_token=False),
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
)
