# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes the identity of a host on the server in two steps: before and after the delivery to the host.

After an interruption at any point, the host can still log in, and the next run completes the change. Therefore:

- Grants are first added. Grants that are no longer needed are removed after the host has its new jobs.
- While a client secret is replaced, the metadata has the key `rotation`. Older client secrets are revoked after a sync
  with the new one has worked.
- The metadata describe the desired state only after it has been reached. A new identity is an exception, but its host
  does not hold it until the first step is complete.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

from ..client.identities import ClientSecret, Identity, IdentityApi, Privilege
from ..core.times import format_time
from . import client_secrets
from .apply import ensure, read, remove
from .grants import normalize, to_permissions
from .host import HeldNote, HostEntry, HostPlan, method_of
from .plan import SLUG, Current, Desired
from .plan import plan as compare

GRANT_SECONDS = 15.0
"""Seconds after which a server has applied a changed grant (recorded)."""

_NEWEST = 3
"""Number of the newest client secrets that are kept until a sync works. If runs were interrupted after the delivery
and before the host wrote its note, the host may use one of them."""


@dataclass
class Delivery:
    """What the host gets, and what is left to do after that.

    `secret` is a new client secret with its id and expiry (seconds since the epoch), or empty if the host keeps its
    own. `granted` is the time by `time.monotonic()` at which a grant was added, or None. If `widened` is true, the
    identity had other grants before. `surplus` is the privilege if it contains permissions that must be removed.
    `before` is the identity's state before the change, and `removed` are the deleted spare identities.
    """

    entry: HostEntry
    client_id: str = ""
    secret: str = field(default="", repr=False)
    client_secret_id: str = ""
    expires_at: int = 0
    granted: float | None = None
    widened: bool = False
    surplus: Privilege | None = None
    before: Current = field(default_factory=Current)
    removed: list[HostEntry] = field(default_factory=list)


class Provisioner:
    """Makes one host's identity match the desired one. Methods raise InfisicalError.

    `entry` contains the desired metadata and no id, `desired` the desired grants and login method, and `ttl` the
    lifetime of a client secret in seconds.
    """

    def __init__(self, api: IdentityApi, project_id: str, entry: HostEntry, desired: Desired, ttl: int) -> None:
        self.api = api
        self.project_id = project_id
        self.entry = entry
        self.desired = desired
        self.method = method_of(entry)
        self.ttl = ttl

    def read(self, entry: HostEntry) -> Current:
        """Return the state of the host's identity on the server."""
        return read(self.api, self._identity(entry), self.desired)

    def prepare(self, plan: HostPlan, held: HeldNote) -> Delivery:
        """Create or change the identity, before the delivery to the host."""
        if plan.entry is None:
            delivery = self._create()
        else:
            delivery = Delivery(plan.entry, held.client_id, client_secret_id=held.client_secret_id,
                                expires_at=held.expires_at)  # fmt: skip
            if plan.adjusts:
                self._adjust(delivery)
            if plan.mints:
                self._start_rotation(delivery, held)
        if plan.mints:
            self._mint(delivery)
        return delivery

    def finish(self, plan: HostPlan, delivery: Delivery, *, installed: bool, worked: bool) -> HostEntry:
        """Complete the change after the delivery, and return the entry that the server has then.

        `installed` is true if the host has its jobs and its credential, and `worked` if a sync with them has worked.
        """
        entry, is_proven = delivery.entry, worked or not (plan.mints or plan.entry is None)
        if not installed:
            return entry
        if delivery.surplus is not None:
            self.api.change_privilege(delivery.surplus.id, SLUG, to_permissions(self.desired.grants or ()))
        if entry.rotating and worked:
            self._revoke(entry, keep=(delivery.client_secret_id,))
        for spare in plan.spare if is_proven else ():
            remove(self.api, self._identity(spare))
            delivery.removed.append(spare)
        done = self.entry._replace(id=entry.id, rotating=entry.rotating and not worked)
        if done != entry:
            self.api.change(self.project_id, entry.id, metadata=sorted(done.metadata().items()))
        return done

    def _identity(self, entry: HostEntry) -> Identity:
        return Identity(entry.id, entry.name, self.project_id)

    def _create(self) -> Delivery:
        desired = replace(self.desired, metadata=self.entry.metadata())
        current = ensure(self.api, self.project_id, None, desired, check=False).current
        settings, identity = current.methods[self.method], current.identity
        if settings is None or identity is None:
            raise AssertionError("a created identity has its login method")
        return Delivery(self.entry._replace(id=identity.id), settings.client_id, granted=time.monotonic())

    def _adjust(self, delivery: Delivery) -> None:
        current = delivery.before = self.read(delivery.entry)
        settings = current.methods[self.method]
        for change in compare(current, Desired(methods=self.desired.methods)):
            values = change.after or {}
            settings = (
                self.api.attach_method(delivery.entry.id, self.method, values)
                if settings is None
                else self.api.change_method(delivery.entry.id, self.method, values, settings)
            )
        delivery.client_id = "" if settings is None else settings.client_id
        self._widen(delivery, current)

    def _widen(self, delivery: Delivery, current: Current) -> None:
        """Add the missing grants, and note whether there are grants to remove later.

        Until the host has its new jobs, it needs the grants of the old ones. Without them, a sync could find fewer
        secrets, and delete the others from the vault.
        """
        stored, privilege = current.permissions, current.privilege
        desired = normalize(self.desired.grants or ())
        wide = normalize((*stored.grants, *desired))
        if privilege is None:
            self.api.create_privilege(self.project_id, delivery.entry.id, SLUG, to_permissions(desired))
        elif wide != stored.grants or privilege.temporary:
            self.api.change_privilege(privilege.id, SLUG, [*to_permissions(wide), *stored.foreign])
        if privilege is None or wide != stored.grants:
            delivery.granted, delivery.widened = time.monotonic(), True
        if wide != desired or stored.foreign:
            delivery.surplus = privilege

    def _start_rotation(self, delivery: Delivery, held: HeldNote) -> None:
        entry = delivery.entry
        if entry.rotating:
            self._revoke(entry, keep=(held.client_secret_id,), newest=_NEWEST)
            return
        delivery.entry = entry._replace(rotating=True)
        self.api.change(self.project_id, entry.id, metadata=sorted(delivery.entry.metadata().items()))

    def _mint(self, delivery: Delivery) -> None:
        identity_id, now = delivery.entry.id, time.time()
        # The description is unique, so that a client secret can be found if the response with its text is lost.
        description = f"{self.entry.name} {format_time(now)}"
        new = client_secrets.create(self.api, identity_id, description, ttl=self.ttl, uses_limit=0, known=())
        delivery.secret, delivery.client_secret_id = new.secret, new.data.id
        delivery.expires_at = int(now) + self.ttl

    def _revoke(self, entry: HostEntry, *, keep: tuple[str, ...], newest: int = 0) -> None:
        """Revoke the client secrets of an identity, except those with the ids `keep`, and the `newest` ones."""
        found: list[ClientSecret] = sorted(self.api.client_secrets(entry.id), key=_created_at)
        others = client_secrets.select(found, _is_any, keep)
        client_secrets.revoke(self.api, entry.id, others[: len(others) - newest])


def _created_at(secret: ClientSecret) -> str:
    return secret.created_at


def _is_any(secret: ClientSecret) -> bool:
    return True


def hand_over(delivery: Delivery) -> dict[str, Any]:
    """Return the arguments of the module infisical_agent with the host's identity and its new client secret, if any."""
    left = 0.0 if delivery.granted is None else delivery.granted + GRANT_SECONDS - time.monotonic()
    given: dict[str, Any] = {
        "host_identity": {
            "identity_id": delivery.entry.id,
            "client_id": delivery.client_id,
            "client_secret_id": delivery.client_secret_id,
            "expires_at": delivery.expires_at,
            "grant_wait": max(0.0, left),
            "changed_grants": delivery.widened,
        }
    }
    return {**given, "client_secret": delivery.secret} if delivery.secret else given
