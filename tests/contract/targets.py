# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server for a contract test: its kind, a folder for this test only, clients, and control of the test server."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import api, remote
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.transport import Clock
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import state
from dev_server.client import DevServer

KINDS = ("2024", "2026-07")
# The test server needs a newer Python than the client, which is also tested on older versions.
SERVER_PYTHON = os.environ.get("KEYFLEET_SERVER_PYTHON", sys.executable)
PROJECT, ENVIRONMENT = "contract-project", "dev"


def identity(name: str, permissions: Any, **more: Any) -> dict[str, Any]:
    given = {} if permissions is None else {PROJECT: permissions}
    return {"name": name, "client_id": f"{name}-id", "client_secret": f"{name}-secret", "permissions": given, **more}


SEED: dict[str, Any] = {
    "projects": [
        {
            "id": PROJECT,
            "name": "Contract",
            "slug": "contract",
            "environments": [
                {"slug": "dev", "name": "Development"},
                {"slug": "prod", "name": "Production"},
                {"slug": "staging", "name": "Staging"},
            ],
            "folders": [
                {"environment": "dev", "path": "/app/db"},
                {"environment": "dev", "path": "/guarded"},
                {"environment": "dev", "path": "/importing"},
            ],
            "tags": [{"slug": "database", "name": "Database"}, {"slug": "web", "name": "Web"}],
            "approvals": [{"environment": "dev", "path": "/guarded"}],
        }
    ],
    "identities": [
        identity("admin", "admin"),
        identity("viewer", "viewer"),
        identity("writer", "writer"),
        identity("deleter", ["delete"]),
        # Listings hide every value from this identity: its permission to read covers no existing secret.
        identity(
            "hidden",
            [{"actions": ["describe", "create", "edit", "delete"]}, {"actions": ["read"], "paths": ["/readable"]}],
        ),
        identity("names-only", "names-only"),
        identity("root-only", [{"actions": ["describe", "read"], "paths": ["/"]}]),
        identity("nobody", []),
        identity("stranger", None),
        identity("brief", "admin", token_ttl=60, token_max_ttl=600),
        identity("once", "admin", token_uses=1),
    ],
    "tokens": [{"identity": "admin", "token": "fixed-token-of-admin"}],
}


class ManualClock(Clock):
    """A clock that advances only by waits, and records them. `meanwhile` is called during each wait."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.waits: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        self.meanwhile()


@dataclass
class Target:
    """A server of one kind, with a folder for this test only. `server` is None for a real server."""

    kind: str
    settings: Settings
    scope: Location
    server: DevServer | None = None
    clock: Clock = field(default_factory=Clock)
    log: list[str] = field(default_factory=list)
    opened: list[api.Api] = field(default_factory=list)

    def api(self, who: str = "", **options: Any) -> api.Api:
        """Return a new client for an identity of the seed, by default for the test's identity. `options` are fields of
        Settings."""
        if who:
            options = {"client_id": f"{who}-id", "client_secret": f"{who}-secret", **options}
        settings, log = replace(self.settings, **options), self.log.append
        connected = api.connect(settings, clock=self.clock, log=log, debug=log)
        self.opened.append(connected)
        return connected

    def remote(
        self,
        who: str = "",
        *,
        path: str = "",
        environment: str = "",
        project: str = "",
        create_path: bool = False,
        state_file: str = "",
        **options: Any,
    ) -> remote.Remote:
        """Return a client for the test's folder, or for another location."""
        scope = Location(
            project or self.scope.project_id,
            environment or self.scope.environment,
            path or self.scope.secret_path,
        )
        kept = state.StateFile(state_file, scope) if state_file else None
        return remote.Remote(self.api(who, **options), scope, create_path=create_path, state=kept)

    def below(self, name: str) -> str:
        """Return the path of a subfolder of the test's folder."""
        return f"{self.scope.secret_path.rstrip('/')}/{name}"


@dataclass
class Controlled(Target):
    """A target whose server the test controls."""

    server: DevServer = field(default=None)  # type: ignore[assignment]
    clock: ManualClock = field(default_factory=ManualClock)

    def stored(self, key: str, path: str = "/") -> list[dict[str, Any]]:
        """Return the secrets with this name that the server stores, bypassing the API."""
        [project] = self.server.state()["projects"]
        environment = next(one for one in project["environments"] if one["slug"] == ENVIRONMENT)
        folder = next(one for one in environment["folders"] if one["path"] == path)
        return [secret for secret in folder["secrets"] if secret["key"] == key]

    def put(self, key: str, value: str, path: str = "/", environment: str = ENVIRONMENT, **fields: Any) -> None:
        """Store a secret like another writer."""
        self.server.put_secret(PROJECT, environment, path, key, value, **fields)

    def sent(self, path_regex: str = "/secrets") -> list[tuple[str, int | None]]:
        """Return method and status of the requests that the server received, by default requests for secrets."""
        return [(entry["method"], entry["status"]) for entry in self.server.requests(path_regex)]

    def methods(self, path_regex: str = "/secrets") -> list[str]:
        return [method for method, _status in self.sent(path_regex)]

    def logins(self) -> int:
        return len(self.server.requests("/universal-auth/login"))


def error_of(call: Any, *arguments: Any, **options: Any) -> InfisicalError:
    """Return the error that a call raises, and fail the test if the call raises no error."""
    try:
        call(*arguments, **options)
    except InfisicalError as error:
        return error
    raise AssertionError("no error was raised")
