# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes the identity of a host on the server in two steps: before and after the delivery to the host.

After an interruption at any point, the host can still log in, and the next run completes the change. Therefore:

- Grants are first added. Grants that are no longer needed are removed after the host has its new jobs.
- While a client secret is replaced, the metadata key `rotation` has the mark of the run. Older client secrets are
  revoked after a sync with the new one has worked, unless another run has set its own mark meanwhile. Then the next run
  completes the change.
- The metadata describe the desired state only after it has been reached. A new identity is an exception, but its host
  does not hold it until the first step is complete.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Any

from ..client.identities import ClientSecret, IdentityApi, Privilege
from ..core.times import format_time
from . import client_secrets
from .apply import check_removal, ensure, read, remove
from .grants import normalize, to_permissions
from .held import HeldIdentity
from .host import HostEntry, HostPlan, identity_of, method_of, read_entry
from .plan import SLUG, Current, Desired

GRANT_SECONDS = 15.0
"""Seconds after which a server has applied a changed grant (recorded)."""

_NEWEST = 3
"""Number of the newest client secrets that are kept until a sync works, beside the one in the host's note. Another run
may be giving one of them to the host."""


@dataclass
class Delivery:
    """What the host gets, and what is left to do after that.

    `secret` is a new client secret with its id and expiry (seconds since the epoch), or empty if the host keeps its
    own. `created_at` is the time of its creation, as the server's text. `granted` is the time by `time.monotonic()` at
    which a grant was added, or None. If `widened` is true, the identity had other grants before. `surplus` is the
    privilege if it contains permissions that must be removed. `before` is the identity's state before the change, and
    `removed` are the deleted spare identities.
    """

    entry: HostEntry
    client_id: str = ""
    secret: str = field(default="", repr=False)
    client_secret_id: str = ""
    expires_at: int = 0
    created_at: str = ""
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
        return read(self.api, identity_of(entry, self.project_id), self.desired)

    def check(self, plan: HostPlan) -> None:
        """Raise GuardStopped if an identity that must be deleted is protected."""
        for spare in plan.spare:
            check_removal(self.api, identity_of(spare, self.project_id))

    def prepare(self, plan: HostPlan, held: HeldIdentity) -> Delivery:
        """Create or change the identity, before the delivery to the host. Raises GuardStopped before any change."""
        self.check(plan)
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

    def finish(self, plan: HostPlan, delivery: Delivery, *, installed: bool, worked: bool) -> HostEntry | None:
        """Complete the change after the delivery, and return the entry that the server has then.

        `installed` is true if the host has its jobs and its credential, and `worked` if a sync with them has worked.
        Returns None if another run is changing the identity too. Then the next run completes the change.
        """
        entry, is_proven = delivery.entry, worked or not (plan.mints or plan.entry is None)
        if not installed:
            return entry
        if delivery.surplus is not None:
            self.api.change_privilege(delivery.surplus.id, SLUG, to_permissions(self.desired.grants or ()))
        names = ("inventory", "desired", "inputs", "machine")
        done = entry._replace(**{name: getattr(self.entry, name) for name in names})
        if entry.rotation and worked:
            if not self._revoke_older(delivery):
                return None
            done = done._replace(rotation="", client_secret=delivery.client_secret_id)
        for spare in plan.spare if is_proven else ():
            remove(self.api, identity_of(spare, self.project_id))
            delivery.removed.append(spare)
        if done != entry:
            self._note(done)
        return done

    def _note(self, entry: HostEntry) -> None:
        self.api.change(self.project_id, entry.id, metadata=sorted(entry.metadata().items()))

    def _create(self) -> Delivery:
        desired = replace(self.desired, metadata=self.entry.metadata())
        current = ensure(self.api, self.project_id, None, desired, check=False).current
        settings, identity = current.methods[self.method], current.identity
        if settings is None or identity is None:
            raise AssertionError("a created identity has its login method")
        return Delivery(self.entry._replace(id=identity.id), settings.client_id, granted=time.monotonic())

    def _adjust(self, delivery: Delivery) -> None:
        identity, method = identity_of(delivery.entry, self.project_id), Desired(methods=self.desired.methods)
        settings = ensure(self.api, self.project_id, identity, method, check=False).current.methods[self.method]
        delivery.client_id = "" if settings is None else settings.client_id
        delivery.before = read(self.api, identity, Desired(grants=self.desired.grants))
        self._widen(delivery, delivery.before)

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

    def _start_rotation(self, delivery: Delivery, held: HeldIdentity) -> None:
        entry = delivery.entry
        if entry.rotation:
            self._revoke_unused(entry, held.client_secret_id)
        delivery.entry = entry._replace(rotation=secrets.token_hex(8))
        self._note(delivery.entry)

    def _mint(self, delivery: Delivery) -> None:
        identity_id, now = delivery.entry.id, time.time()
        # The random mark makes the description unique, so that a client secret can be found if the response with its
        # text is lost.
        mark = delivery.entry.rotation or secrets.token_hex(8)
        description = f"{self.entry.name} {format_time(now)} {mark}"
        new = client_secrets.create(self.api, identity_id, description, ttl=self.ttl, uses_limit=0, known=())
        delivery.secret, delivery.client_secret_id = new.secret, new.data.id
        delivery.created_at, delivery.expires_at = new.data.created_at, int(now) + self.ttl

    def _revoke_unused(self, entry: HostEntry, held_id: str) -> None:
        """Revoke the client secrets of earlier interrupted runs, but neither the newest ones nor the one that the host
        has noted. A host without a valid note may use any client secret, so none is revoked."""
        found = sorted(self.api.client_secrets(entry.id), key=_created_at)
        valid = client_secrets.select(found, lambda one: True)
        if any(one.id == held_id for one in valid):
            others = [one for one in valid if one.id != held_id]
            client_secrets.revoke(self.api, entry.id, others[: max(0, len(others) - _NEWEST)])

    def _revoke_older(self, delivery: Delivery) -> bool:
        """Revoke the client secrets that are older than the new one. If another run has set its mark, return False and
        revoke nothing, because the host may have the client secret of that run."""
        stored = read_entry(self.api.get(self.project_id, delivery.entry.id))
        if stored is None or stored.rotation != delivery.entry.rotation:
            if stored is not None and not stored.rotation:
                # Another run has written metadata that it had read before. With the mark, the next run rotates again.
                self._note(stored._replace(rotation=delivery.entry.rotation))
            return False
        found = self.api.client_secrets(delivery.entry.id)
        older = client_secrets.select(found, lambda one: one.created_at < delivery.created_at)
        client_secrets.revoke(self.api, delivery.entry.id, older)
        return True


def _created_at(secret: ClientSecret) -> str:
    return secret.created_at


def hand_over(delivery: Delivery) -> dict[str, Any]:
    """Return the host's identity, and its new client secret if there is one, for the module infisical_agent."""
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
