# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an identity is allowed to do with secrets: grants, and the permissions of a privilege that express them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from ..core.errors import ConfigurationError
from ..core.model import check_path

ANY = "*"
"""The environment of a grant for all environments of the project."""

_ACTIONS = {
    "read": ("describeSecret", "readValue"),
    "write": ("describeSecret", "readValue", "create", "edit", "delete"),
}
_ACCESS = {frozenset(actions): access for access, actions in _ACTIONS.items()}
_SLUG = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*")
_MAGIC = re.compile(r"[*?]")
_UNSUPPORTED = re.compile(r"[\[\](){}!|+@\\]")
"""Characters with a special meaning in the server's globs that grants do not support."""


@dataclass(frozen=True, order=True)
class Grant:
    """Access to the secrets in a folder, and with `recursive` also in all folders below it.

    `environment` is a slug, or `*` for all environments. `path` can be a glob: `*` matches any characters of one
    folder's name, `?` one of them, and `**` any characters, including slashes. `/app/**` does not match `/app`.
    `access` is `read`, or `write`, which includes reading, creating, changing and deleting.
    """

    environment: str
    path: str = "/"
    recursive: bool = False
    access: str = "read"

    def paths(self) -> tuple[str, ...]:
        """Return the paths and globs that the grant consists of."""
        return (self.path, f"{self.path.rstrip('/')}/**") if self.recursive else (self.path,)

    def covers(self, environment: str, path: str) -> bool:
        """Return whether the secrets in this folder can be read with the grant."""
        return self.environment in (environment, ANY) and any(_matches(one, path) for one in self.paths())

    def __str__(self) -> str:
        below = " and below" if self.recursive else ""
        return f"{self.access} {self.environment}:{self.path}{below}"


@dataclass(frozen=True)
class Permissions:
    """The permissions of a privilege: those that are grants, and the other ones (`foreign`) as the server has them."""

    grants: tuple[Grant, ...] = ()
    foreign: tuple[Mapping[str, Any], ...] = ()


def check_grant(environment: str, path: str, recursive: bool = False, access: str = "read") -> Grant:
    """Return a validated grant. Raises ConfigurationError."""
    if environment != ANY and not _SLUG.fullmatch(environment):
        raise ConfigurationError("grants", f"environment must be the slug of an environment, or * (got {environment}).")
    if access not in _ACTIONS:
        raise ConfigurationError("grants", f"access must be one of {', '.join(_ACTIONS)} (got {access}).")
    try:
        path = check_path(path)
    except ConfigurationError as error:
        raise ConfigurationError("grants", error.problem.replace("secret_path: ", "path ")) from None
    if _UNSUPPORTED.search(path):
        raise ConfigurationError("grants", f"path must not contain special characters except * and ? (got {path}).")
    if recursive and _MAGIC.search(path):
        hint = "Write /app/** for all folders below /app, or /app with recursive: true to include /app itself."
        raise ConfigurationError("grants", f"recursive must be false if path is a glob (got {path}).", hint=hint)
    return Grant(environment, path, recursive, access)


def normalize(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """Return grants in sorted order, without those that another one of them includes."""
    return _join({atom for grant in grants for atom in _split(grant)})


def to_permissions(grants: Iterable[Grant]) -> list[dict[str, Any]]:
    """Return the permissions of a privilege with these grants, always in the same order."""
    return [_permission(atom) for grant in normalize(grants) for atom in _split(grant)]


def from_permissions(permissions: Iterable[Mapping[str, Any]]) -> Permissions:
    """Return the grants in the permissions of a privilege.

    A permission with an unknown subject, action, condition or operator, or one that is inverted, is foreign.
    """
    atoms: set[Grant] = set()
    foreign = []
    for permission in permissions:
        found = _parse(permission)
        if found is None:
            foreign.append(permission)
        else:
            atoms |= found
    return Permissions(_join(atoms), tuple(foreign))


def covers(grants: Iterable[Grant], environment: str, path: str) -> bool:
    """Return whether the secrets in a folder can be read with these grants."""
    return any(grant.covers(environment, path) for grant in grants)


def fingerprint(document: Any) -> str:
    """Return the SHA-256 of a JSON document in hex, which does not depend on the order of its keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _split(grant: Grant) -> list[Grant]:
    return [replace(grant, path=path, recursive=False) for path in grant.paths()]


def _join(atoms: set[Grant]) -> tuple[Grant, ...]:
    """Return fewer grants that mean the same: one recursive grant for a path and the glob of all folders below it."""
    kept = {one for one in atoms if one.access == "write" or replace(one, access="write") not in atoms}
    joined = set(kept)
    for one in kept:
        below = replace(one, path=f"{one.path.rstrip('/')}/**")
        if not _MAGIC.search(one.path) and below in kept:
            joined -= {one, below}
            joined.add(replace(one, recursive=True))
    return tuple(sorted(joined))


def _permission(atom: Grant) -> dict[str, Any]:
    conditions: dict[str, Any] = {"secretPath": {"$glob" if _MAGIC.search(atom.path) else "$eq": atom.path}}
    if atom.environment != ANY:
        conditions["environment"] = {"$eq": atom.environment}
    return {"subject": "secrets", "action": list(_ACTIONS[atom.access]), "conditions": conditions}


def _parse(permission: Mapping[str, Any]) -> set[Grant] | None:
    """Return the grants in a permission, for single paths and globs, or None if it is foreign."""
    actions = permission.get("action")
    actions = [actions] if isinstance(actions, str) else actions
    if not isinstance(actions, list) or not all(isinstance(one, str) for one in actions):
        return None
    access = _ACCESS.get(frozenset(actions))
    conditions = permission.get("conditions") or {}
    known = (
        access is not None
        and permission.get("subject") == "secrets"
        and permission.get("inverted", False) is False
        and isinstance(conditions, dict)
        and set(conditions) <= {"environment", "secretPath"}
        and set(permission) <= {"subject", "action", "conditions", "inverted"}
    )
    if not known:
        return None
    environments = _operands(conditions.get("environment"), ANY)
    paths = _operands(conditions.get("secretPath"), "/**")
    if environments is None or paths is None or not all(one == ANY or _SLUG.fullmatch(one) for one in environments):
        return None
    return {Grant(environment, path, False, str(access)) for environment, path in product(environments, paths)}


def _operands(condition: Any, everything: str) -> list[str] | None:
    """Return the texts and globs that a condition allows, or None if it is foreign.

    A missing condition allows `everything`. A text is also the short form of `$eq`.
    """
    if condition is None:
        return [everything]
    if isinstance(condition, str):
        condition = {"$eq": condition}
    if not isinstance(condition, dict) or len(condition) != 1:
        return None
    [(operator, operand)] = condition.items()
    texts = operand if operator == "$in" else [operand]
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
        return None
    special = [one for one in texts if _MAGIC.search(one)]
    if operator == "$glob":
        return None if _UNSUPPORTED.search(operand) else [operand]
    return None if operator not in ("$eq", "$in") or special else list(texts)


def _matches(pattern: str, path: str) -> bool:
    words = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|[*?])", pattern)
    return re.fullmatch("".join(words.get(part) or re.escape(part) for part in parts), path, re.DOTALL) is not None
