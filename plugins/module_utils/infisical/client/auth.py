# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in: a class for each method, and the token that one process keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ..core.answers import Operation
from ..core.errors import ConfigurationError, CredentialsRejected, InfisicalError, LockedOut, NotJson
from ..core.model import Settings, require
from .transport import Call, Transport

EXPIRY_MARGIN = 15.0
"""Seconds before its end at which a token counts as expired, so that it does not expire on the way; at most half of
its lifetime."""

LONGEST_LIFETIME = 1e10
"""Seconds of a token's lifetime from which on it is not believed."""


@dataclass(frozen=True)
class Token:
    """An access token; `expires_at` is when it counts as expired, in seconds since the epoch by our clock, None where
    that is not known."""

    value: str = field(repr=False)
    expires_at: float | None = None

    def usable(self, now: float) -> bool:
        """Whether it is worth sending at `now` (seconds since the epoch)."""
        return self.expires_at is None or now < self.expires_at


class Method(Protocol):
    """A way to get a token."""

    renewable: bool

    def __init__(self, settings: Settings) -> None:
        """Take the options the method needs. Raises ConfigurationError where one is missing."""

    def authenticate(self, transport: Transport) -> Token:
        """Get a token. Raises InfisicalError."""


class UniversalAuth:
    """Client id and client secret of a machine identity (`POST /api/v1/auth/universal-auth/login`)."""

    renewable = True

    def __init__(self, settings: Settings) -> None:
        if settings.token and not (settings.client_id or settings.client_secret):
            raise ConfigurationError("auth_method", "a token is given, but not used. Set auth_method: token to use it.")
        self.client_id = require(settings, "client_id", "the client id of the machine identity's universal auth")
        self.client_secret = require(settings, "client_secret", "a client secret of the same machine identity")

    def authenticate(self, transport: Transport) -> Token:
        """Log in: one request. Raises InfisicalError, CREDENTIALS_REJECTED or LOCKED_OUT among others."""
        answer = transport.send(
            Call(
                "POST",
                "/api/v1/auth/universal-auth/login",
                Operation.LOGIN,
                "log in with universal auth",
                body={"clientId": self.client_id, "clientSecret": self.client_secret},
                secrets=(self.client_secret,),
                authenticated=False,
            )
        )
        data = answer.data or {}
        token, lifetime = data.get("accessToken"), data.get("expiresIn")
        if not isinstance(token, str) or not _can_be_sent(token):
            raise NotJson(
                "Could not log in with universal auth: the answer holds no access token.",
                hint="Check url and proxy: what answered does not speak the Infisical API.",
            )
        # JSON has NaN, and integers that are too large to add to a time, for Python at least.
        if isinstance(lifetime, bool) or not isinstance(lifetime, (int, float)):
            return Token(token)
        if not 0 < lifetime < LONGEST_LIFETIME:
            return Token(token)
        return Token(token, transport.clock.time() + lifetime - min(EXPIRY_MARGIN, lifetime / 2))


def _can_be_sent(token: str) -> bool:
    return token.isascii() and token.isprintable() and bool(token) and " " not in token


class GivenToken:
    """An access token that somebody else got."""

    renewable = False

    def __init__(self, settings: Settings) -> None:
        self.token = require(settings, "token", "an access token, for auth_method: token")
        if not _can_be_sent(self.token):
            raise ConfigurationError("token", "holds white space or characters that no token has.")

    def authenticate(self, transport: Transport) -> Token:
        """The token as it is: no request."""
        return Token(self.token)


METHODS: dict[str, type[Method]] = {"universal_auth": UniversalAuth, "token": GivenToken}


def method_for(settings: Settings) -> Method:
    """The method that `auth_method` names, with its options checked. Raises ConfigurationError."""
    if settings.auth_method not in METHODS:
        raise ConfigurationError(
            "auth_method", f"'{settings.auth_method}' is not one of {', '.join(sorted(METHODS))}."
        )  # fmt: skip
    return METHODS[settings.auth_method](settings)


class Login:
    """The token of one process: fetched when first needed, renewed once it is expired or rejected.

    A login that failed is not tried again: the same error is raised whenever a token is asked for.
    """

    def __init__(self, transport: Transport, method: Method | None = None) -> None:
        self._transport = transport
        self.method = method or method_for(transport.settings)
        self._token: Token | None = None
        self._failure: InfisicalError | None = None

    def current(self) -> str:
        """The token's text. Raises InfisicalError where the login fails, or has failed before."""
        if self._token is None or not self._token.usable(self._transport.clock.time()):
            self._token = self._authenticate()
        return self._token.value

    def renew(self, rejected: str) -> str | None:
        """A new token, or None where the method has but one."""
        if not self.method.renewable:
            return None
        self._token = self._authenticate()
        return self._token.value

    def _authenticate(self) -> Token:
        if self._failure is not None:
            raise self._failure
        try:
            return self.method.authenticate(self._transport)
        except InfisicalError as error:
            if isinstance(error, (CredentialsRejected, LockedOut)):
                self._failure = error
            raise
