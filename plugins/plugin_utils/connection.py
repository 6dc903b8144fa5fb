# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's connection to Infisical: one login for all processes of a run, and the reads for the run cache."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Callable

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import wire
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api, connect
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.auth import (
    Login,
    Token,
    authenticate,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.listing import Store, merge
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ScopeMissing
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Merged, Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login.methods import method_for
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import run_end

if TYPE_CHECKING:
    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import transport as http
    from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_files import SealedFiles


def load() -> None:
    """Import the HTTP library, in addition to the client that this file imports. Raises MissingLibrary."""
    wire.library()


def connect_shared(settings: Settings, shared: SealedFiles, log: Callable[[str], None] | None) -> Api:
    """Return an API that uses the run's login. Raises ConfigurationError."""

    def login(transport: http.Transport) -> http.TokenSource:
        return Login(transport) if settings.auth_method == "token" else _SharedLogin(shared, transport)

    return connect(settings, tokens=login, log=log)


def read_all(api: Api, scope: Location, **reading: bool) -> Merged:
    """Return all secrets in a folder keyed by name, like `Store.listing`."""
    return merge(Store(api, scope).listing(**reading))


def read_one(api: Api, scope: Location, key: str, **reading: bool) -> Merged:
    """Return one secret keyed by name, like `Store.find`."""
    remote = Store(api, scope)
    found = remote.find(key, **reading)
    return Merged({} if found is None else {key: found}, tuple(remote.warnings))


def read_stored(api: Api, scope: Location) -> Merged:
    """Return all secrets in a folder as they are stored, or none if the folder does not exist."""
    try:
        return merge(Store(api, scope).stored())
    except ScopeMissing:
        return Merged({})  # older servers return this error for a missing folder


class _SharedLogin:
    """The token of a run. The first process that needs a token logs in, and the other processes wait for it."""

    def __init__(self, shared: SealedFiles, transport: http.Transport) -> None:
        self._shared = shared
        self._transport = transport
        self._method = method_for(transport.settings)
        self._token: Token | None = None

    def current(self) -> str:
        """Return a valid token."""
        if self._token is None or not self._token.usable(self._transport.clock.time()):
            self._token = self._share()
        return self._token.value

    def renew(self, rejected: str) -> str:
        """Return another token than `rejected`, either from another process or by logging in again."""
        self._token = self._share(rejected)
        return self._token.value

    def revoke(self) -> None:
        """Do nothing: the token belongs to the run, and is revoked at its end."""

    def _share(self, rejected: str = "") -> Token:
        def find() -> Token | None:
            entry = self._shared.recall("token")
            token = None if entry is None else Token(**entry)
            usable = token is not None and token.value != rejected and token.usable(self._transport.clock.time())
            return token if usable else None

        def log_in() -> Token:
            token = authenticate(self._method, self._transport)
            try:
                self._shared.note("token", asdict(token))
            finally:
                run_end.revoke_at_end(self._transport.settings, token)
            return token

        return self._shared.once("token", find, log_in)
