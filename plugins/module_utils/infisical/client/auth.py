# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in: a class for each login method, and the token that a process uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Union

from ..core.answers import Operation
from ..core.errors import ConfigurationError, CredentialsRejected, InfisicalError, LockedOut, NotJson
from ..core.model import Settings, require
from .transport import Call, Transport

_EXPIRY_MARGIN = 15.0
"""Seconds before its expiry at which a token counts as expired, so that it does not expire during a request. The margin
is at most half of the token's lifetime."""

_LONGEST_LIFETIME = 1e10
"""Maximum lifetime in seconds that can be added to a time."""


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


class UniversalAuth:
    """Login with a machine identity's client id and client secret (`POST /api/v1/auth/universal-auth/login`).

    Raises ConfigurationError if an option is missing, like the other methods.
    """

    renewable = True

    def __init__(self, settings: Settings) -> None:
        if settings.token and not (settings.client_id or settings.client_secret):
            raise ConfigurationError("auth_method", "a token is given, but not used.", hint="Set auth_method: token.")
        self.client_id = require(settings, "client_id", "the client id of the machine identity's universal auth")
        self.client_secret = require(settings, "client_secret", "a client secret of the same machine identity")

    def authenticate(self, transport: Transport) -> Token:
        """Log in with one request. Raises CredentialsRejected and LockedOut."""
        body, secrets = {"clientId": self.client_id, "clientSecret": self.client_secret}, (self.client_secret,)
        path, what = "/api/v1/auth/universal-auth/login", "log in with universal auth"
        call = Call("POST", path, Operation.LOGIN, what, body=body, secrets=secrets, authenticated=False)
        data = transport.send(call).data or {}
        token: Any = data.get("accessToken")
        lifetime: Any = data.get("expiresIn")
        if not isinstance(token, str) or not _can_be_sent(token):
            raise NotJson(f"Could not {what}: the response contains no access token.", hint="Check url and proxy.")
        # Python's JSON parser accepts NaN, and integers that are too large to add to a time.
        number = isinstance(lifetime, (int, float)) and not isinstance(lifetime, bool)
        if not number or not 0 < lifetime < _LONGEST_LIFETIME:
            return Token(token)
        return Token(token, transport.clock.time() + lifetime - min(_EXPIRY_MARGIN, lifetime / 2))


def _can_be_sent(token: str) -> bool:
    return token.isascii() and token.isprintable() and bool(token) and " " not in token


class GivenToken:
    """An access token from the options."""

    renewable = False

    def __init__(self, settings: Settings) -> None:
        self.token = require(settings, "token", "an access token, for auth_method: token")
        if not _can_be_sent(self.token):
            raise ConfigurationError("token", "contains white space or other characters that are not allowed.")

    def authenticate(self, transport: Transport) -> Token:
        return Token(self.token)


Method = Union[UniversalAuth, GivenToken]
METHODS: dict[str, type[Method]] = {"universal_auth": UniversalAuth, "token": GivenToken}


def method_for(settings: Settings) -> Method:
    """Return the login method that the option `auth_method` selects. Raises ConfigurationError."""
    if settings.auth_method not in METHODS:
        names = ", ".join(sorted(METHODS))
        raise ConfigurationError("auth_method", f"must be one of {names} (got {settings.auth_method}).")
    return METHODS[settings.auth_method](settings)


class Login:
    """The token that a process uses.

    The process logs in when a token is first needed, and after a token has expired or was rejected. If the server has
    rejected the credentials, it does not log in again, but raises the same error.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.method = method_for(transport.settings)
        self._token: Token | None = None
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

    def _authenticate(self) -> Token:
        if self._failure is not None:
            raise self._failure
        try:
            return self.method.authenticate(self._transport)
        except (CredentialsRejected, LockedOut) as error:
            self._failure = error
            raise
