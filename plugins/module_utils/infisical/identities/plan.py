# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired state of an identity, and the changes that lead to it: a pure comparison without requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..client.identities import Identity, Privilege
from ..client.identity_methods import METHOD_ROUTES, MethodSettings, changed_settings
from ..core.errors import ConfigurationError
from .grants import Grant, Permissions, fingerprint, from_permissions, normalize

SLUG = "keyfleet"
"""The slug of the privilege that contains an identity's grants. Other privileges are never changed."""

NO_ACCESS = "no-access"
"""The slug of the role of a new identity."""

MANAGED_BY = "managed_by"
OURS = "keyfleet.infisical"
"""The metadata key, and its value, of identities that this collection has created."""


@dataclass(frozen=True)
class Desired:
    """The desired state of an identity. None leaves a part unchanged.

    `metadata` are all pairs of key and value. `methods` maps login methods to their settings, both by the names of our
    options. Methods that it does not contain, and settings that are not given, stay unchanged.
    """

    name: str | None = None
    metadata: Mapping[str, str] | None = None
    role: str | None = None
    delete_protection: bool | None = None
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    grants: tuple[Grant, ...] | None = None

    def fingerprint(self) -> str:
        """Return a hash of everything except the metadata, to find out whether an identity is up to date."""
        grants = None if self.grants is None else [tuple(vars(one).values()) for one in normalize(self.grants)]
        return fingerprint([self.name, self.role, self.delete_protection, self.methods, grants])


@dataclass(frozen=True)
class Current:
    """The state of an identity on the server. If `identity` is None, the identity does not exist.

    Only the parts that a plan needs are read: `roles` is None if not read, and `methods` maps login methods to their
    settings, or to None for a method that the identity does not have. `privilege` is ours, or None.
    """

    identity: Identity | None = None
    roles: tuple[str, ...] | None = None
    methods: Mapping[str, MethodSettings | None] = field(default_factory=dict)
    privilege: Privilege | None = None

    @property
    def permissions(self) -> Permissions:
        """The permissions of our privilege."""
        return from_permissions((self.privilege and self.privilege.permissions) or ())


class Change(NamedTuple):
    """A change of one part of an identity: `identity`, `role`, `grants`, or the name of a login method.

    `before` and `after` are the values that differ, without secrets. `before` is None if the part does not exist, and
    `after` is None if the part is removed.
    """

    part: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def plan(current: Current, desired: Desired) -> tuple[Change, ...]:
    """Return the changes in the order in which they are applied. Raises ConfigurationError."""
    unknown = sorted(set(desired.methods) - set(METHOD_ROUTES))
    if unknown:
        raise ConfigurationError("methods", f"must be among {', '.join(METHOD_ROUTES)} (got {', '.join(unknown)}).")
    if current.identity is None and not desired.name:
        raise ConfigurationError("name", "must be set, because the identity does not exist.")
    changes = [_plan_identity(current.identity, desired), *_plan_role(current, desired)]
    changes += [_plan_method(current, name, wanted) for name, wanted in desired.methods.items()]
    changes.append(_plan_grants(current, desired))
    return tuple(change for change in changes if change is not None)


def _plan_identity(stored: Identity | None, desired: Desired) -> Change | None:
    wanted = {
        "name": desired.name,
        "metadata": None if desired.metadata is None else dict(sorted(desired.metadata.items())),
        "delete_protection": desired.delete_protection,
    }
    wanted = {key: value for key, value in wanted.items() if value is not None}
    if stored is None:
        return Change("identity", None, wanted)
    found = {"name": stored.name, "metadata": dict(stored.metadata), "delete_protection": stored.delete_protection}
    differing = [key for key, value in wanted.items() if found[key] != value]
    if not differing:
        return None
    return Change("identity", {key: found[key] for key in differing}, {key: wanted[key] for key in differing})


def _plan_role(current: Current, desired: Desired) -> list[Change]:
    roles = (NO_ACCESS,) if current.identity is None else current.roles or ()
    if desired.role is None or roles == (desired.role,):
        return []
    before = None if current.identity is None else {"role": ", ".join(roles)}
    return [Change("role", before, {"role": desired.role})]


def _plan_method(current: Current, name: str, wanted: Mapping[str, Any]) -> Change | None:
    stored = current.methods.get(name)
    if stored is None:
        return Change(name, None, dict(wanted))
    differing = changed_settings(name, stored.values, wanted)
    if not differing:
        return None
    return Change(name, {key: stored.values.get(key) for key in differing}, differing)


def _plan_grants(current: Current, desired: Desired) -> Change | None:
    if desired.grants is None:
        return None
    stored, wanted = current.permissions, normalize(desired.grants)
    temporary = current.privilege is not None and current.privilege.temporary
    if stored.grants == wanted and not stored.foreign and not temporary:
        # An empty privilege has the same effect as no privilege.
        return None
    before = None if current.privilege is None else _show(stored, temporary)
    return Change("grants", before, _show(Permissions(wanted)) if wanted else None)


def _show(permissions: Permissions, temporary: bool = False) -> dict[str, Any]:
    shown: dict[str, Any] = {"grants": [str(one) for one in permissions.grants]}
    if permissions.foreign:
        shown["other_permissions"] = list(permissions.foreign)
    return {**shown, "temporary": True} if temporary else shown
