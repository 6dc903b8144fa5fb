# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login methods: each checks its options, and reads the proof of the identity for each login."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Union

from ..core.errors import ConfigurationError
from ..core.model import Settings, require


class LoginRequest(NamedTuple):
    """The body of a login at `path`. `what` completes the sentence "Could not …". No message may quote `secrets`."""

    path: str
    what: str
    body: Mapping[str, Any]
    secrets: tuple[str, ...]


class UniversalAuth:
    """Login with a machine identity's client id and client secret.

    Raises ConfigurationError if an option is missing, like the other methods.
    """

    renewable = True

    def __init__(self, settings: Settings) -> None:
        if settings.token and not (settings.client_id or settings.client_secret):
            raise ConfigurationError("auth_method", "a token is given, but not used.", hint="Set auth_method: token.")
        self.client_id = require(settings, "client_id", "the client id of the machine identity's universal auth")
        self.client_secret = require(settings, "client_secret", "a client secret of the same machine identity")

    def prepare(self, now: float) -> LoginRequest:
        """Return the login at `now`, in seconds since the epoch."""
        body, secrets = {"clientId": self.client_id, "clientSecret": self.client_secret}, (self.client_secret,)
        return LoginRequest("/api/v1/auth/universal-auth/login", "log in with universal auth", body, secrets)


class GivenToken:
    """An access token from the options. There is no login."""

    renewable = False

    def __init__(self, settings: Settings) -> None:
        self.token = require(settings, "token", "an access token, for auth_method: token")
        if not can_be_sent(self.token):
            raise ConfigurationError("token", "contains white space or other characters that are not allowed.")


Method = Union[UniversalAuth, GivenToken]
METHODS: dict[str, type[Method]] = {"universal_auth": UniversalAuth, "token": GivenToken}


def method_for(settings: Settings) -> Method:
    """Return the login method that the option `auth_method` selects. Raises ConfigurationError."""
    if settings.auth_method not in METHODS:
        names = ", ".join(sorted(METHODS))
        raise ConfigurationError("auth_method", f"must be one of {names} (got {settings.auth_method}).")
    return METHODS[settings.auth_method](settings)


def can_be_sent(token: str) -> bool:
    """Return whether a token can be sent in a header."""
    return token.isascii() and token.isprintable() and bool(token) and " " not in token
