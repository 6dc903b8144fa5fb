# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seed, which is a server's initial contents: checks its JSON, and has the default seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .grants import ACTIONS, ROLES, Grant
from .identities import UNIVERSAL_AUTH, ClientSecret, Directory, Identity, Lockout, Method
from .methods import KINDS, read_own_settings
from .proofs import AwsCredential, Trust
from .reading import Reader
from .refusals import Issues
from .store import Draft, Environment, Import, Metadata, Project, Store, Tag, new_id, normal_path

DEFAULT_SEED: dict[str, Any] = {
    "projects": [
        {
            "id": "demo-project",
            "name": "Demo",
            "slug": "demo",
            "environments": [
                {"slug": "dev", "name": "Development"},
                {"slug": "staging", "name": "Staging"},
                {"slug": "prod", "name": "Production"},
            ],
            "folders": [
                {"environment": "dev", "path": "/app"},
                {"environment": "staging", "path": "/app"},
                {"environment": "prod", "path": "/app"},
            ],
            "tags": [{"slug": "database", "name": "Database"}],
            "secrets": [
                {"environment": "dev", "path": "/", "key": "LOG_LEVEL", "value": "debug"},
                {"environment": "dev", "path": "/app", "key": "DB_HOST", "value": "db.dev.example.com"},
                {
                    "environment": "dev",
                    "path": "/app",
                    "key": "DB_PASSWORD",
                    "value": "correct horse battery staple",
                    "comment": "of the application's database",
                    "tags": ["database"],
                },
                {"environment": "prod", "path": "/", "key": "LOG_LEVEL", "value": "warning"},
            ],
        }
    ],
    "identities": [
        {
            "name": "demo",
            "client_id": "demo-client-id",
            "client_secret": "demo-client-secret",
            "permissions": {"demo-project": "admin"},
        }
    ],
}


SECRET_FIELDS = "environment path key value comment tags metadata skip_multiline_encoding rotated"
"""The fields of a secret in a seed."""


SETTINGS = "rate_limit lockout permission_cache issuer_keys aws ldap_users"


class SeedError(ValueError):
    """An invalid seed; the message begins with the path of the wrong key."""


@dataclass(frozen=True)
class Node:
    """A part of the seed and its path of keys."""

    value: Any
    where: str = ""

    def fail(self, message: str) -> SeedError:
        return SeedError(f"{self.where or 'the seed'}: {message}")

    def fields(self, known: str) -> Node:
        """Check that the node is an object with known keys only, and return it."""
        if not isinstance(self.value, dict):
            raise self.fail("must be an object")
        names = known.split()
        for key in self.value:
            if key not in names:
                raise Node(None, self.at(key)).fail(f"unknown key (known: {', '.join(names)})")
        return self

    def at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def get(self, key: str) -> Node:
        return Node(self.value.get(key), self.at(key))

    def has(self, key: str) -> bool:
        return key in self.value

    def text(self, key: str, default: str | None = None) -> str:
        if default is not None and not self.has(key):
            return default
        node = self.get(key)
        if not isinstance(node.value, str):
            raise node.fail("must be a string" if self.has(key) else "is missing")
        return node.value

    def filled(self, key: str) -> str:
        text = self.text(key)
        if not text:
            raise self.get(key).fail("must not be empty")
        return text

    def number(self, key: str, default: int, least: int = 0) -> int:
        node = self.get(key)
        value = default if not self.has(key) else node.value
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise node.fail(f"must be a whole number, {least} or more")
        return value

    def flag(self, key: str) -> bool:
        """Read a boolean, false by default."""
        node = self.get(key)
        if self.has(key) and not isinstance(node.value, bool):
            raise node.fail("must be true or false")
        return bool(node.value)

    def path(self, key: str, default: str | None = None) -> str:
        text = self.text(key, default)
        if not text.startswith("/"):
            raise self.get(key).fail("must begin with /")
        return normal_path(text)

    def known(self, key: str, names: Any, what: str) -> str:
        text = self.text(key)
        if text not in names:
            raise self.get(key).fail(f"{what} {text!r} does not exist")
        return text

    def names(self, key: str) -> list[str]:
        """Return the keys of an object, which may be missing."""
        node = self.get(key)
        if self.has(key) and not isinstance(node.value, dict):
            raise node.fail("must be an object")
        return list(node.value) if self.has(key) else []

    def each(self, key: str) -> list[Node]:
        node = self.get(key)
        if not self.has(key):
            return []
        if not isinstance(node.value, list):
            raise node.fail("must be a list")
        return [Node(item, f"{node.where}[{place}]") for place, item in enumerate(node.value)]


@dataclass(frozen=True)
class RateLimits:
    """The requests that one address may send to one route in a window of some seconds."""

    secrets: int
    login: int
    window: int


@dataclass
class World:
    """Everything that a seed describes."""

    store: Store
    directory: Directory
    limits: RateLimits | None


def build(document: Any, clock: Callable[[], float]) -> World:
    """Build the contents of a seed. Raises SeedError with the path of the first wrong key."""
    seed = Node(document).fields("projects identities tokens settings")
    world = World(Store(clock), Directory(clock, Lockout(3, 300)), None)
    for node in seed.each("projects"):
        project = build_project(node, clock())
        if project.id in world.store.projects:
            raise node.get("id").fail(f"{project.id!r} is used twice")
        world.store.projects[project.id] = project
    for node in seed.each("identities"):
        identity = build_identity(node, world.store, clock())
        if identity.client_id in world.directory.by_client_id:
            raise node.get("client_id").fail(f"{identity.client_id!r} is used twice")
        world.directory.add(identity)
    named = {identity.name: identity for identity in world.directory.identities.values()}
    for node in seed.each("tokens"):
        node.fields("identity token")
        owner = named[node.known("identity", named, "identity")]
        world.directory.issue(owner, next(iter(owner.methods.values())), text=node.filled("token"))
    if seed.has("settings"):
        apply_settings(seed.get("settings").fields(SETTINGS), world)
    return world


def apply_settings(settings: Node, world: World) -> None:
    limits, lockout = settings.get("rate_limit"), settings.get("lockout")
    if limits.value is not None:
        limits.fields("secrets login window")
        world.limits = RateLimits(
            limits.number("secrets", 40, 1), limits.number("login", 200, 1), limits.number("window", 60, 1)
        )
    add_trust(settings, world.directory.trust)
    world.directory.cache_seconds = settings.number("permission_cache", 15)
    if settings.has("lockout"):
        world.directory.lockout = None
        if lockout.value is not None:
            lockout.fields("after seconds")
            world.directory.lockout = Lockout(lockout.number("after", 3, 1), lockout.number("seconds", 300, 1))


def add_trust(node: Node, trust: Trust) -> None:
    """Add the public keys, access keys and users of a node that has the keys of a seed's settings."""
    for issuer in node.names("issuer_keys"):
        trust.issuer_keys[issuer] = [str(item.value) for item in node.get("issuer_keys").each(issuer)]
    for item in node.each("aws"):
        item.fields("access_key_id secret_access_key session_token arn account")
        key_id, arn = item.filled("access_key_id"), item.filled("arn")
        trust.aws[key_id] = AwsCredential(
            key_id, item.filled("secret_access_key"), arn, item.filled("account"), item.text("session_token", "")
        )
    for user in node.names("ldap_users"):
        trust.ldap_users[user] = node.get("ldap_users").filled(user)


def build_project(node: Node, now: float) -> Project:
    node.fields("id name slug type environments folders tags secrets imports approvals")
    project_id = node.filled("id")
    project = Project(project_id, node.text("name", project_id), node.text("slug", project_id), created=now)
    project.type = node.text("type", project.type)
    for item in node.each("environments"):
        slug = item.fields("slug name").filled("slug")
        project.environments[slug] = Environment(slug, item.text("name", slug))
    for item in node.each("tags"):
        slug = item.fields("slug name color").filled("slug")
        project.tags.append(Tag(new_id(), slug, item.text("name", slug), item.text("color", ""), now))
    for item in node.each("folders"):
        find_environment(item.fields("environment path"), project).make(item.path("path"))
    for item in node.each("secrets"):
        item.fields(SECRET_FIELDS)
        put_secret(item, project, now)
    for item in node.each("imports"):
        item.fields("environment path from_environment from_path")
        folder = find_environment(item, project).make(item.path("path", "/"))
        source = item.known("from_environment", project.environments, "environment")
        folder.imports.append(Import(source, item.path("from_path", "/"), now))
    for item in node.each("approvals"):
        item.fields("environment path")
        find_environment(item, project).protected_paths.append(item.path("path", "/"))
    return project


def find_environment(node: Node, project: Project) -> Environment:
    return project.environments[node.known("environment", project.environments, "environment")]


def put_secret(node: Node, project: Project, now: float, replace: bool = False) -> None:
    """Add the secret of a node and its folder; with `replace`, first remove all secrets with its name."""
    folder = find_environment(node, project).make(node.path("path", "/"))
    tags = {tag.slug: tag for tag in project.tags}
    slugs = node.each("tags")
    for slug in slugs:
        if slug.value not in tags:
            raise slug.fail(f"tag {slug.value!r} does not exist")
    draft = Draft(
        node.filled("key"),
        node.text("value"),
        node.text("comment", "") if node.has("comment") else None,
        tuple(tags[slug.value] for slug in slugs) if node.has("tags") else None,
        tuple(read_metadata(item) for item in node.each("metadata")) if node.has("metadata") else None,
        node.flag("skip_multiline_encoding") if node.has("skip_multiline_encoding") else None,
        node.flag("rotated") if node.has("rotated") else None,
    )
    if replace and folder.named(draft.key):
        folder.named(draft.key)[0].update(draft, now)
    else:
        folder.put(draft, now)


def read_metadata(node: Node) -> Metadata:
    return Metadata(node.fields("key value encrypted").filled("key"), node.text("value"), node.flag("encrypted"))


def build_identity(node: Node, store: Store, now: float) -> Identity:
    node.fields(
        "id name client_id client_secret client_secret_uses client_secret_ttl permissions token_ttl token_max_ttl "
        "token_uses manages_identities project metadata methods"
    )
    permissions = node.get("permissions")
    if not isinstance(permissions.value, dict):
        raise permissions.fail("must be an object of project ids")
    # An identity with other login methods needs no universal auth.
    universal = node.has("client_id") or not node.has("methods")
    client_id = node.filled("client_id") if universal else new_id()
    identity = Identity(
        node.text("name", client_id),
        {project: read_grants(permissions, project, store) for project in permissions.value},
        now,
        node.known("project", permissions.value, "project") if node.has("project") else "",
        roles=read_roles(node, permissions),
        metadata=[
            {"key": key, "value": node.get("metadata").text(key), "id": new_id()} for key in node.names("metadata")
        ],
        manages_identities=node.flag("manages_identities"),
        client_id=client_id,
        id=node.filled("id") if node.has("id") else new_id(),
        updated=now,
    )
    if universal:
        uses, ttl = node.number("client_secret_uses", 0), node.number("client_secret_ttl", 0)
        identity.client_secrets.append(ClientSecret(node.filled("client_secret"), now, uses, ttl))
        identity.methods[UNIVERSAL_AUTH] = build_method(node, UNIVERSAL_AUTH, now)
    for name in node.names("methods"):
        identity.methods[name] = build_method(node, name, now)
    return identity


def build_method(node: Node, name: str, now: float) -> Method:
    """Return a login method with the settings in `methods` and the limits of the identity in a seed."""
    limits = node.number("token_ttl", 7200), node.number("token_max_ttl", 7200), node.number("token_uses", 0)
    method = Method(name, now, *limits, updated=now)
    if name == UNIVERSAL_AUTH:
        return method
    settings = node.get("methods").get(name)
    kinds = {kind.slug: kind for kind in KINDS}
    if name not in kinds:
        raise settings.fail(f"unknown method (known: {', '.join(kinds)})")
    reader = Reader(settings.fields(" ".join(kinds[name].settings)).value)
    read_own_settings(reader, kinds[name], method, attach=True)
    try:
        reader.check()
    except Issues as issues:
        raise settings.fail(issues.facts["summary"]) from None
    return method


def read_roles(node: Node, permissions: Node) -> tuple[str, ...]:
    """Return the roles of an identity of a project; a list of actions counts as no role."""
    role = permissions.value[node.text("project")] if node.has("project") else None
    return (role if isinstance(role, str) else "no-access",)


def read_grants(permissions: Node, project: str, store: Store) -> tuple[Grant, ...]:
    node = permissions.get(project)
    if project not in store.projects:
        raise node.fail(f"project {project!r} does not exist")
    if isinstance(node.value, str) and node.value in ROLES:
        return ROLES[node.value]
    items = permissions.each(project) if isinstance(node.value, list) else []
    if items and all(isinstance(item.value, dict) for item in items):
        return tuple(grant for item in items for grant in read_grant(item))
    return (Grant(read_actions(node)),)


def read_grant(node: Node) -> list[Grant]:
    """Return a grant for each path of the node, or one grant for all paths if it names no path."""
    actions = read_actions(node.fields("actions paths").get("actions"))
    paths = [str(item.value) for item in node.each("paths")]
    conditions = [{"secretPath": {"$glob" if "*" in path else "$eq": path}} for path in paths]
    return [Grant(actions, condition) for condition in conditions or [{}]]


def read_actions(node: Node) -> frozenset[str]:
    if not isinstance(node.value, list) or not all(isinstance(word, str) and word in ACTIONS for word in node.value):
        raise node.fail(f"must be a role ({', '.join(ROLES)}) or a list of actions ({', '.join(sorted(ACTIONS))})")
    # The permission to read a value includes the permission to see the secret.
    return frozenset(node.value) | (frozenset({"describe"}) if "read" in node.value else frozenset())
