# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of the API: which profiles have them, and what the routes of secrets do with the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from . import logins, management, places
from .calls import Answer, Call, Route
from .places import scope_of
from .profiles import ALL, CURRENT, REAL, Profile, ecmascript_trim
from .reading import Reader
from .refusals import Conclusion, Refusal
from .shapes import (
    Place,
    View,
    may_see,
    read_action,
    show_approval,
    show_import,
    show_secret,
)
from .store import Approval, Draft, Folder, Metadata, Project, Secret, Tag, normal_path, shuffle

LONGEST_NAME = 500


@dataclass(frozen=True)
class Scope:
    """The project, environment and path of a request on secrets, exactly as sent."""

    project: str
    environment: str
    path: str


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


# The first matching route is used, so batch routes come before routes with a name.
ROUTES = (
    Route("POST", "/api/v1/auth/universal-auth/login", logins.log_in, ALL, limit="login", needs_token=False),
    Route("POST", "/api/v1/auth/token/renew", logins.renew_token, REAL, needs_token=False),
    Route("POST", "/api/v1/auth/token/revoke", logins.revoke_token, REAL, needs_token=False),
    *places.ROUTES,
    *batch_routes("/api/v4/secrets/batch", "projectId", CURRENT),
    *secret_routes("/api/v4/secrets", "projectId", CURRENT | {"reference"}),
    # The vendor's API pages put the v3 batch at the first of these paths; older descriptions use the second.
    *batch_routes("/api/v3/secrets/batch/raw", "workspaceId", REAL),
    *batch_routes("/api/v3/secrets/raw/batch", "workspaceId", REAL),
    *secret_routes("/api/v3/secrets/raw", "workspaceId", REAL),
    *management.ROUTES,
)


@lru_cache
def routes_of(profile: str, method: str) -> tuple[Route, ...]:
    return tuple(route for route in ROUTES if route.method == method and profile in route.profiles)


def find_route(profile: Profile, method: str, raw_path: str, raw_query: str = "") -> tuple[Route, dict[str, str]]:
    """Return the route of a request and the segments of its path. Raises Refusal if the profile lacks the route."""
    for route in routes_of(profile.name, method):
        segments = route.match(raw_path)
        if segments is not None:
            return route, segments
    raise Refusal(Conclusion.ROUTE_MISSING, route=f"{method}:{raw_path}" + (raw_query and f"?{raw_query}"))
