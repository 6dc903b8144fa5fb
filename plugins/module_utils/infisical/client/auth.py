# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in, and the token that a process uses until it is revoked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..core.answers import Operation
from ..core.errors import CredentialsRejected, InfisicalError, LockedOut, NotJson
from ..core.model import Settings
from ..login.methods import GivenToken, Method, can_be_sent, method_for
from .transport import Call, Transport

_EXPIRY_MARGIN = 15.0
"""Seconds before its expiry at which a token counts as expired, so that it does not expire during a request. The margin
is at most half of the token's lifetime."""

_LONGEST_LIFETIME = 1e10
"""Maximum lifetime in seconds that can be added to a time."""

_REVOCATION_SECONDS = 5.0
"""Maximum timeout of a revocation. A server that does not respond must not delay the end of a process."""


@dataclass(frozen=True)
class Token:
    """An access token.

    `expires_at` is the time at which it counts as expired, in seconds since the epoch by our clock. It is None if
    unknown.
    """

    value: str = field(repr=False)
    expires_at: float | None = None

    def usable(self, now: float) -> bool:
        """Return whether the token has not expired at `now` (seconds since the epoch)."""
        return self.expires_at is None or now < self.expires_at

    def is_dead(self, now: float) -> bool:
        """Return whether the server no longer accepts the token at `now`, so that it need not be revoked."""
        return self.expires_at is not None and now >= self.expires_at + _EXPIRY_MARGIN


def authenticate(method: Method, transport: Transport) -> Token:
    """Log in with one request. Raises InfisicalError, such as CredentialsRejected and LockedOut."""
    if isinstance(method, GivenToken):
        return Token(method.token)
    login = method.prepare(transport.clock.time())
    what, secrets = login.what, login.secrets
    call = Call("POST", login.path, Operation.LOGIN, what, body=login.body, secrets=secrets, authenticated=False)
    try:
        data = transport.send(call).data or {}
    except CredentialsRejected as error:
        hint = error.hint.replace(CredentialsRejected.hint, login.hint)
        raise error.reworded(error.problem, f"{hint} {login.facts}".strip()) from None
    token: Any = data.get("accessToken")
    lifetime: Any = data.get("expiresIn")
    if not isinstance(token, str) or not can_be_sent(token):
        raise NotJson(f"Could not {what}: the response contains no access token.", hint="Check url and proxy.")
    # Python's JSON parser accepts NaN, and integers that are too large to add to a time.
    number = isinstance(lifetime, (int, float)) and not isinstance(lifetime, bool)
    if not number or not 0 < lifetime < _LONGEST_LIFETIME:
        return Token(token)
    return Token(token, transport.clock.time() + lifetime - min(_EXPIRY_MARGIN, lifetime / 2))


def revoke(token: str, settings: Settings) -> InfisicalError | None:
    """Revoke an access token with one request, without a retry. Return the error if that failed.

    The login options in `settings` are not used.
    """
    transport = Transport(replace(settings, timeout=min(settings.timeout, _REVOCATION_SECONDS)))
    path, body = "/api/v1/auth/token/revoke", {"accessToken": token}
    call = Call("POST", path, Operation.OTHER, "revoke the access token", {}, body, (token,), authenticated=False)
    return transport.send_once(call)


class Login:
    """The token that a process uses.

    The process logs in when a token is first needed, and after a token has expired or was rejected. If the server has
    rejected the credentials, it does not log in again, but raises the same error. It keeps all tokens until they are
    revoked, because a server may also reject a valid token.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.method = method_for(transport.settings)
        self._token: Token | None = None
        self._made: list[Token] = []
        self._failure: InfisicalError | None = None

    def current(self) -> str:
        """Return the token. Raises InfisicalError if the login fails or has failed before."""
        if self._token is None or not self._token.usable(self._transport.clock.time()):
            self._token = self._authenticate()
        return self._token.value

    def renew(self, rejected: str) -> str | None:
        """Return a new token, or None if the method has only one token."""
        if not self.method.renewable:
            return None
        self._token = self._authenticate()
        return self._token.value

    def revoke(self) -> InfisicalError | None:
        """Revoke the tokens from the logins of this process. Return the first error, or None."""
        now, made, self._made, self._token = self._transport.clock.time(), self._made, [], None
        failures = [revoke(token.value, self._transport.settings) for token in made if not token.is_dead(now)]
        return next(filter(None, failures), None)

    def _authenticate(self) -> Token:
        if self._failure is not None:
            raise self._failure
        try:
            token = authenticate(self.method, self._transport)
        except (CredentialsRejected, LockedOut) as error:
            self._failure = error
            raise
        if self.method.renewable:
            self._made.append(token)
        return token
