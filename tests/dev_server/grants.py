# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an identity may do in a project: grants with conditions, roles and additional privileges."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from .store import new_id

ACTIONS = frozenset({"describe", "read", "create", "edit", "delete"})
CONTENTS = frozenset({"secrets", "secret-folders", "secret-imports", "tags"})
IDENTITY = frozenset({"identity"})


@dataclass(frozen=True)
class Grant:
    """Actions on subjects such as `secrets`, everywhere or under conditions, or their denial if inverted.

    A condition is `{"environment" | "secretPath": {"$eq" | "$ne" | "$in" | "$glob": operand}}`. A condition on
    another field or with another operator is not supported here and allows nothing.
    """

    actions: frozenset[str]
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    subjects: frozenset[str] = CONTENTS
    inverted: bool = False

    @cached_property
    def tests(self) -> tuple[tuple[str, Callable[[str], bool]], ...]:
        return tuple(
            (name, compile_condition(operator, operand))
            for name, operators in self.conditions.items()
            for operator, operand in operators.items()
        )

    def __getstate__(self) -> dict[str, Any]:
        # The tests are functions, which cannot be pickled.
        return {name: value for name, value in vars(self).items() if name != "tests"}

    def applies(self, action: str, subject: str, path: str | None, environment: str | None) -> bool:
        """Return whether the grant is about this action at the place. None stands for any path or environment."""
        if action not in self.actions or subject not in self.subjects:
            return False
        place = {"secretPath": path, "environment": environment}
        if self.inverted and any(place.get(name) is None for name, _test in self.tests):
            return False
        return all(name in place and (place[name] is None or test(place[name] or "")) for name, test in self.tests)


def allows(grants: Iterable[Grant], action: str, subject: str, path: str | None, environment: str | None) -> bool:
    """Return whether the last grant about this action at the place allows it."""
    for grant in reversed(tuple(grants)):
        if grant.applies(action, subject, path, environment):
            return not grant.inverted
    return False


def compile_condition(operator: str, operand: Any) -> Callable[[str], bool]:
    """Return the test of a condition's operator for a path or an environment."""
    if operator == "$glob" and isinstance(operand, str):
        return lambda text: glob(operand).fullmatch(text) is not None
    if operator == "$in" and isinstance(operand, list):
        return lambda text: text in operand
    if operator == "$eq":
        return lambda text: text == operand
    if operator == "$ne":
        return lambda text: text != operand
    return lambda text: False


@lru_cache(maxsize=4096)
def glob(pattern: str) -> re.Pattern[str]:
    """Return the expression for a glob. As on a real server, `/app/**` does not cover `/app` itself."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    pieces = re.split(r"(\*\*/|\*\*|[*?{},])", pattern)
    return re.compile("".join(words.get(piece) or re.escape(piece) for piece in pieces), re.DOTALL)


MANAGE_IDENTITIES = Grant(frozenset({"read", "create", "edit", "delete"}), subjects=IDENTITY)

ROLES: Mapping[str, tuple[Grant, ...]] = {
    "admin": (Grant(ACTIONS), MANAGE_IDENTITIES),
    # Recorded: a member may create identities. Assumed: everything else, as for an admin.
    "member": (Grant(ACTIONS), MANAGE_IDENTITIES),
    # Recorded: a viewer may neither create nor delete identities. Assumed: a viewer may read them.
    "viewer": (Grant(frozenset({"describe", "read"})), Grant(frozenset({"read"}), subjects=IDENTITY)),
    "writer": (Grant(frozenset({"create", "edit"})),),
    "names-only": (Grant(frozenset({"describe"})),),
    # May read values only at a path that does not exist. Lists hide the values, while names-only is refused.
    "hidden": (Grant(frozenset({"describe"})), Grant(frozenset({"read"}), {"secretPath": {"$eq": "/readable"}})),
    "no-access": (),
}
# The roles that a real server has in every project; the others are shorthands of the seed.
BUILT_IN_ROLES = ("admin", "member", "viewer", "no-access")


@dataclass
class Privilege:
    """An additional privilege of an identity in a project, with its permissions as the API shows them."""

    slug: str
    project: str
    permissions: list[dict[str, Any]]
    created: float
    updated: float
    id: str = field(default_factory=new_id)

    def grants(self) -> tuple[Grant, ...]:
        return tuple(
            Grant(
                frozenset(word for name in item["action"] for word in own_words(item["subject"], name)),
                {name: as_operators(wanted) for name, wanted in item.get("conditions", {}).items()},
                frozenset({item["subject"]}),
                item["inverted"],
            )
            for item in self.permissions
        )


def as_operators(condition: Any) -> Mapping[str, Any]:
    return condition if isinstance(condition, dict) else {"$eq": condition}


def own_words(subject: str, action: str) -> tuple[str, ...]:
    """Return our words for an action of the API. The old action `read` of secrets includes both new actions."""
    if subject == "secrets" and action == "read":
        return ("describe", "read")
    return ({"describeSecret": "describe", "readValue": "read"}.get(action, action),)
