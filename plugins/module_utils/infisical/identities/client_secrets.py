# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client secrets of an identity: find a valid one, create one, and revoke others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from ..client.identities import ClientSecret, IdentityApi, NewClientSecret
from ..core.errors import GuardStopped, IdentityMissing, InfisicalError


def find_valid(secrets: Iterable[ClientSecret], description: str, now: float, min_left: float) -> ClientSecret | None:
    """Return the client secret with this description that is valid for the longest time, or None.

    It must not be revoked, have uses left, and be valid for at least `min_left` seconds after `now` (seconds since the
    epoch).
    """
    named = [one for one in secrets if one.description == description and one.seconds_left(now) > 0]
    longest = max(named, key=lambda one: one.seconds_left(now), default=None)
    return longest if longest is not None and longest.seconds_left(now) >= min_left else None


def create(
    api: IdentityApi, identity_id: str, description: str, *, ttl: int, uses_limit: int, known: Collection[str]
) -> NewClientSecret:
    """Create a client secret that is valid for `ttl` seconds (0 is unlimited).

    `known` are the ids of all client secrets before. If the response is lost, nobody knows the text of the new client
    secret, so it is revoked, and another one is created.
    """
    try:
        return api.create_client_secret(identity_id, description, ttl, uses_limit)
    except InfisicalError as error:
        if not error.uncertain:
            raise
        api.api.transport.pause(error)
        lost = select(api.client_secrets(identity_id), lambda one: one.description == description, known)
        revoke(api, identity_id, lost)
        return api.create_client_secret(identity_id, description, ttl, uses_limit)


def select(
    secrets: Iterable[ClientSecret], which: Callable[[ClientSecret], bool], keep: Collection[str] = ()
) -> list[ClientSecret]:
    """Return those client secrets that are not revoked yet, for which `which` is true, and whose id is not in `keep`.

    Expired client secrets count too, because the access tokens of their logins may still be valid.
    """
    return [one for one in secrets if not one.revoked and one.id not in keep and which(one)]


def revoke(api: IdentityApi, identity_id: str, secrets: Iterable[ClientSecret]) -> None:
    """Revoke client secrets, with one request each. A client secret that does not exist any more is
    ignored."""
    for one in secrets:
        with suppress(IdentityMissing):
            api.revoke_client_secret(identity_id, one.id)


def check_revocation(api: IdentityApi, identity_id: str, secrets: Iterable[ClientSecret]) -> None:
    """Raise GuardStopped if the client secret of the login here is, or may be, among these client secrets."""
    ids = sorted(one.id for one in secrets)
    login = api.login()
    if not ids or login.identity_id != identity_id or (login.client_secret_id and login.client_secret_id not in ids):
        return
    certain = "is" if login.client_secret_id else "may be"
    raise GuardStopped(
        f"Nothing was changed: the client secret that is logged in here {certain} among those to revoke "
        f"({', '.join(ids)}), and everything after its revocation would fail.",
        hint="Log in as another identity to revoke them.",
    )
