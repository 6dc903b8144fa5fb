# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds an identity, reads its state, and applies the changes of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ..client.identities import Identity, IdentityApi, Privilege
from ..core.errors import (
    Ambiguous,
    Conflict,
    GuardStopped,
    IdentityMissing,
    InfisicalError,
    RequestInvalid,
    after_writing,
)
from .grants import Grant, to_permissions
from .plan import MANAGED_BY, NO_ACCESS, OURS, SLUG, Change, Current, Desired, plan

ROLE_HINT = "Set role to the slug of a role of the project, such as viewer."


@dataclass(frozen=True)
class Applied:
    """The state of an identity after the changes. In check mode, both are as before the changes."""

    current: Current
    changes: tuple[Change, ...]


def choose(identities: Sequence[Identity], name: str) -> Identity | None:
    """Return the identity with this name, or None if there is none.

    Names are not unique. If there are several, return the one that this collection has created. Raises Ambiguous.
    """
    named = [one for one in identities if one.name == name]
    ours = [one for one in named if one.metadata_value(MANAGED_BY) == OURS]
    left = ours if len(named) > 1 and len(ours) == 1 else named
    if len(left) > 1:
        ids = ", ".join(sorted(one.id for one in left))
        raise Ambiguous(
            f"Project {left[0].project_id} has {len(left)} identities with the name '{name}': {ids}.",
            hint="Select one of them by its id, or delete the others.",
        )
    return left[0] if left else None


def find(api: IdentityApi, project_id: str, *, identity_id: str = "", name: str = "") -> Identity | None:
    """Return the identity with this id or, if the id is empty, with this name. None if it does not exist."""
    if not identity_id:
        return choose(api.identities(project_id, name), name)
    try:
        return api.get(project_id, identity_id)
    except IdentityMissing:
        return None


def read(api: IdentityApi, identity: Identity, desired: Desired) -> Current:
    """Return the parts of an identity's state that `desired` contains."""
    roles = None if desired.role is None else api.roles(identity.project_id, identity.id)
    methods = {name: api.method(identity.id, name) for name in desired.methods}
    current = Current(identity, roles, methods)
    return current if desired.grants is None else replace(current, privilege=_read_privilege(api, identity))


def ensure(api: IdentityApi, project_id: str, identity: Identity | None, desired: Desired, *, check: bool) -> Applied:
    """Create the identity, or change it to its desired state; `identity` is None if it does not exist.

    Creating an identity takes one request, and one more for each login method, for the role and for the grants. If a
    response is lost or another process makes the same change, the state is read again, and the remaining changes are
    applied once more.
    """
    current = Current() if identity is None else read(api, identity, desired)
    changes = plan(current, desired)
    if identity is not None and any(change.part == "role" for change in changes):
        _check_role(api, identity, desired.role)
    if check or not changes:
        return Applied(current, changes)
    work = _Work(api, project_id, current)
    try:
        work.apply(changes, desired)
    except InfisicalError as error:
        if not error.uncertain and not isinstance(error, Conflict):
            raise
        if error.uncertain:
            api.api.transport.pause(error)
        work.read_again(desired)
        work.apply(plan(work.current, desired), desired)
    return Applied(work.current, changes)


class _Work:
    """Applies changes one after the other; `current` is the state of the identity so far."""

    def __init__(self, api: IdentityApi, project_id: str, current: Current) -> None:
        self.api = api
        self.project_id = project_id
        self.current = current
        self._done: list[str] = []

    def apply(self, changes: Sequence[Change], desired: Desired) -> None:
        for change in changes:
            done = f"Changed so far: {', '.join(self._done)}." if self._done else ""
            with after_writing(done):
                self._apply_one(change, desired)
            self._done.append(change.part)

    def read_again(self, desired: Desired) -> None:
        """Read the state after an error, because a request may have taken effect although there was no response."""
        identity = self.current.identity
        if identity is None:  # names are not unique, but our metadata are
            listed = self.api.identities(self.project_id, desired.name or "")
            wanted = dict(desired.metadata or {})
            identity = choose([one for one in listed if dict(one.metadata) == wanted], desired.name or "")
        else:
            identity = self.api.get(self.project_id, identity.id)
        self.current = Current() if identity is None else read(self.api, identity, desired)

    def _apply_one(self, change: Change, desired: Desired) -> None:
        if change.part == "identity":
            self._apply_identity(change, desired)
        elif change.part == "role":
            self._apply_role(desired.role or "")
        elif change.part == "grants":
            self._apply_grants(desired.grants or ())
        else:
            self._apply_method(change, desired.methods[change.part])

    @property
    def _identity(self) -> Identity:
        if self.current.identity is None:
            raise AssertionError("a plan begins with the identity")
        return self.current.identity

    def _apply_identity(self, change: Change, desired: Desired) -> None:
        after = change.after or {}
        if change.before is None:
            metadata = sorted((desired.metadata or {}).items())
            self.current = Current(self.api.create(self.project_id, desired.name or "", metadata), (NO_ACCESS,))
            after = {"delete_protection": True} if desired.delete_protection else {}
        if after:
            metadata_after = after.get("metadata")
            self.api.change(
                self.project_id,
                self._identity.id,
                name=after.get("name"),
                metadata=None if metadata_after is None else sorted(metadata_after.items()),
                delete_protection=after.get("delete_protection"),
            )
            stored = {
                **after,
                **({} if metadata_after is None else {"metadata": tuple(sorted(metadata_after.items()))}),
            }
            self.current = replace(self.current, identity=replace(self._identity, **stored))

    def _apply_role(self, role: str) -> None:
        if self.current.roles != (role,):
            try:
                self.api.change_roles(self.project_id, self._identity.id, (role,))
            except RequestInvalid as error:  # such as an unknown role
                raise error.reworded(error.problem, ROLE_HINT) from None
            self.current = replace(self.current, roles=(role,))

    def _apply_method(self, change: Change, wanted: Mapping[str, Any]) -> None:
        stored = self.current.methods.get(change.part)
        if stored is None:
            settings = self.api.attach_method(self._identity.id, change.part, wanted)
        else:
            settings = self.api.change_method(self._identity.id, change.part, wanted, stored)
        self.current = replace(self.current, methods={**self.current.methods, change.part: settings})

    def _apply_grants(self, grants: Iterable[Grant]) -> None:
        identity, stored = self._identity, self.current.privilege
        permissions = to_permissions(grants)
        if not permissions and stored is not None:
            self.api.delete_privilege(stored.id)
            self.current = replace(self.current, privilege=None)
            return
        privilege = (
            self.api.create_privilege(identity.project_id, identity.id, SLUG, permissions)
            if stored is None
            else self.api.change_privilege(stored.id, SLUG, permissions)
        )
        self.current = replace(self.current, privilege=privilege)


def remove(api: IdentityApi, identity: Identity) -> None:
    """Delete an identity; its access tokens are refused from then on. An identity that does not exist is ignored."""
    with suppress(IdentityMissing):
        api.delete(identity.project_id, identity.id)


def check_removal(api: IdentityApi, identity: Identity) -> None:
    """Raise GuardStopped if the identity is protected, or if it is the one that is logged in here."""
    described = f"identity '{identity.name}' ({identity.id}) of project {identity.project_id}"
    if identity.delete_protection:
        raise GuardStopped(
            f"Nothing was changed: {described} is protected from deletion.",
            hint="Set delete_protection: false for this identity first.",
        )
    if api.login().identity_id == identity.id:
        raise GuardStopped(
            f"Nothing was changed: {described} is the identity that is logged in here, and everything after its "
            "deletion would fail.",
            hint="Log in as another identity to delete it.",
        )


def _check_role(api: IdentityApi, identity: Identity, role: str | None) -> None:
    """Raise GuardStopped if a role other than admin is for the identity that is logged in here."""
    if role != "admin" and api.login().identity_id == identity.id:
        raise GuardStopped(
            f"Nothing was changed: identity '{identity.name}' ({identity.id}) of project {identity.project_id} is the "
            f"identity that is logged in here, and could not manage identities with the role '{role}'.",
            hint="Log in as another identity to change its role.",
        )


def _read_privilege(api: IdentityApi, identity: Identity) -> Privilege | None:
    listed = api.privileges(identity.project_id, identity.id)
    found = next((one for one in listed if one.slug == SLUG), None)
    return found if found is None or found.permissions is not None else api.privilege(found.id)
