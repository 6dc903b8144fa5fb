# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stored data, without HTTP: projects, environments, folders, secrets, imports and references."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from .refusals import Conclusion, Refusal

REFERENCE = re.compile(r"\$\{([A-Za-z0-9_.-]+)\}")
# References may be circular; beyond this depth a reference counts as unknown.
REFERENCE_DEPTH = 10


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Tag:
    id: str
    slug: str
    name: str
    color: str = ""
    created: float = 0.0
    # The id of the identity that created the tag.
    creator: str = field(default_factory=new_id)


@dataclass(frozen=True)
class Metadata:
    key: str
    value: str
    encrypted: bool = False


@dataclass(frozen=True)
class Draft:
    """A secret as a writer sends it; fields that are None stay unchanged."""

    key: str
    value: str | None = None
    comment: str | None = None
    tags: tuple[Tag, ...] | None = None
    metadata: tuple[Metadata, ...] | None = None
    skip_multiline_encoding: bool | None = None
    rotated: bool | None = None
    # The new name of the secret.
    new_key: str | None = None
    # The folder of this secret, if a batch names it.
    path: str | None = None


@dataclass
class Secret:
    key: str
    value: str
    created: float
    updated: float
    comment: str = ""
    tags: tuple[Tag, ...] = ()
    metadata: tuple[Metadata, ...] = ()
    skip_multiline_encoding: bool = False
    # Whether Infisical rotates the secret.
    rotated: bool = False
    id: str = field(default_factory=new_id)
    earlier_values: list[str] = field(default_factory=list)

    @property
    def version(self) -> int:
        return len(self.earlier_values) + 1

    def value_of(self, version: int) -> str | None:
        """Return the value of a version, counted from 1, or None if there is no such version."""
        values = [*self.earlier_values, self.value]
        return values[version - 1] if 1 <= version <= len(values) else None

    def update(self, draft: Draft, now: float) -> None:
        """Apply the draft and increase the version, even if nothing differs."""
        self.earlier_values.append(self.value)
        self.apply(draft)
        self.updated = now

    def apply(self, draft: Draft) -> None:
        self.key = draft.new_key or self.key
        for name in ("value", "comment", "tags", "metadata", "skip_multiline_encoding", "rotated"):
            wanted = getattr(draft, name)
            if wanted is not None:
                setattr(self, name, wanted)


@dataclass(frozen=True)
class Import:
    environment: str
    path: str
    created: float = 0.0
    id: str = field(default_factory=new_id)


@dataclass
class Folder:
    path: str
    created: float = 0.0
    id: str = field(default_factory=new_id)
    secrets: list[Secret] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[1] or "root"

    @property
    def parent(self) -> str:
        return self.path.rsplit("/", 1)[0] or "/"

    def named(self, key: str) -> list[Secret]:
        """Return all secrets with this name; a folder can hold several."""
        return [secret for secret in self.secrets if secret.key == key]

    def put(self, draft: Draft, now: float) -> Secret:
        """Add a secret, even if its name exists."""
        secret = Secret(draft.key, "", now, now)
        secret.apply(draft)
        self.secrets.append(secret)
        return secret

    def drop(self, keys: Iterable[str]) -> list[Secret]:
        """Remove all secrets with these names and return them."""
        names = set(keys)
        dropped = [secret for secret in self.secrets if secret.key in names]
        self.secrets = [secret for secret in self.secrets if secret.key not in names]
        return dropped


@dataclass
class Environment:
    slug: str
    name: str
    id: str = field(default_factory=new_id)
    folders: dict[str, Folder] = field(default_factory=lambda: {"/": Folder("/")})
    protected_paths: list[str] = field(default_factory=list)

    def make(self, path: str, now: float = 0.0) -> Folder:
        """Return the folder at the path; create it and its parents if they are missing."""
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts)):
            parent = "/" + "/".join(parts[: depth + 1])
            self.folders.setdefault(parent, Folder(parent, now))
        return self.folders[normal_path(path)]

    def below(self, path: str) -> list[Folder]:
        """Return the folder at the path and all folders below it."""
        return [folder for folder in self.folders.values() if lies_in(folder.path, path)]

    def children(self, path: str) -> list[Folder]:
        depth = len(path.rstrip("/").split("/")) + 1
        return [folder for folder in self.below(path) if folder.path != path and folder.path.count("/") + 1 == depth]

    def is_protected(self, path: str) -> bool:
        return any(lies_in(path, protected) for protected in self.protected_paths)


@dataclass
class Project:
    id: str
    name: str
    slug: str
    type: str = "secret-manager"
    created: float = 0.0
    environments: dict[str, Environment] = field(default_factory=dict)
    # Deleted environments that lists still show from the server's cache; other routes do not find them.
    cached: dict[str, Environment] = field(default_factory=dict)
    tags: list[Tag] = field(default_factory=list)

    def folder(self, environment: str, path: str) -> Folder:
        """Return the folder. Raises Refusal if it or its environment does not exist."""
        found = self.find_folder(environment, path)
        if found is None:
            # Assumed: the name of the error, for routes that are not about secrets.
            facts = {"path": normal_path(path), "environment": environment, "operation": "NotFound"}
            raise Refusal(Conclusion.FOLDER_MISSING, **facts)
        return found

    def listed_environment(self, slug: str) -> Environment | None:
        """Return the environment as a list of secrets finds it, which includes deleted environments in the cache."""
        return self.environments.get(slug) or self.cached.get(slug)

    def find_folder(self, environment: str, path: str) -> Folder | None:
        known = self.environments.get(environment)
        return known.folders.get(normal_path(path)) if known else None

    def find_imports(self, folder: Folder) -> list[tuple[Import, Folder]]:
        """Return the existing folders that a folder imports, in the order of import."""
        found = ((link, self.find_folder(link.environment, link.path)) for link in folder.imports)
        return [(link, target) for link, target in found if target is not None]

    def split_reference(self, reference: str, environment: str, path: str) -> tuple[str, str, str]:
        """Return environment, path and key of a reference in a secret of the given environment and path."""
        parts = reference.split(".")
        if len(parts) == 1:
            return environment, path, reference
        return parts[0], normal_path("/".join(parts[1:-1])), parts[-1]

    def expand(
        self,
        value: str,
        environment: str,
        path: str,
        keep_unknown: bool,
        check: Callable[[str, str, str], None],
        depth: int = 0,
    ) -> str:
        """Return the value with its references resolved. Unknown references are kept or become empty.

        `check` is called with environment, path and key of each referenced secret, and may refuse it.
        """

        def resolve(match: re.Match[str]) -> str:
            where, folder_path, key = self.split_reference(match[1], environment, path)
            folder = self.find_folder(where, folder_path)
            found = folder.named(key) if folder else []
            if not found or depth >= REFERENCE_DEPTH:
                return match[0] if keep_unknown else ""
            check(where, folder_path, key)
            return self.expand(found[0].value, where, folder_path, keep_unknown, check, depth + 1)

        return REFERENCE.sub(resolve, value)


@dataclass(frozen=True)
class Approval:
    """A change that needs approval and is not stored yet."""

    project: str
    environment: str
    path: str
    change: str
    keys: tuple[str, ...]
    created: float
    id: str = field(default_factory=new_id)


@dataclass
class Store:
    """All projects and the clock of the server (seconds since 1970)."""

    clock: Callable[[], float]
    projects: dict[str, Project] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)

    def project(self, project_id: str) -> Project:
        if project_id not in self.projects:
            raise Refusal(Conclusion.PROJECT_MISSING, project=project_id)
        return self.projects[project_id]

    def all_folders(self) -> Iterator[tuple[Project, Environment, Folder]]:
        for project in self.projects.values():
            for environment in project.environments.values():
                for folder in environment.folders.values():
                    yield project, environment, folder


def normal_path(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part)


def lies_in(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent.rstrip("/") + "/")


def shuffle(secrets: Iterable[Secret]) -> list[Secret]:
    """Return the secrets in a fixed but arbitrary order, so that no client relies on the order."""
    return sorted(secrets, key=lambda secret: hashlib.sha256(secret.key.encode("utf-8", "replace")).digest())
