# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that no token outlives its login."""

from __future__ import annotations

import json
import urllib.request

from dev_server.client import DevServer

LOGIN = "/universal-auth/login$"
REVOKE = "/auth/token/revoke$"


def living(server: DevServer) -> list[str]:
    """Return the identities of the tokens that the server still accepts."""
    return [token["identity"] for token in server.living_tokens()]


def check_revoked(server: DevServer, logins: int) -> None:
    """Check the number of logins, that there was one revocation for each login, and that no token is left."""
    assert [len(server.requests(path)) for path in (LOGIN, REVOKE)] == [logins, logins]
    assert living(server) == []


def log_in(server: DevServer) -> str:
    """Return a new token of the administrator, and clear the requests."""
    body = json.dumps({"clientId": "admin-id", "clientSecret": "admin-client-secret"}).encode()
    url, headers = f"{server.url}/api/v1/auth/universal-auth/login", {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
        token: str = json.load(response)["accessToken"]
    server.clear_requests()
    return token
