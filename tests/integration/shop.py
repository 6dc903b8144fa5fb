# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seed of these tests: the project of a shop, and an identity for each role."""

from __future__ import annotations

from typing import Any

import pytest

PROJECT = "shop-project"
PROFILES = (
    # Differences between servers do not depend on the version of ansible-core.
    pytest.param("2024", marks=pytest.mark.older_server),
    "2026-07",
)

SEED: dict[str, Any] = {
    "projects": [
        {
            "id": PROJECT,
            "name": "Shop",
            "slug": "shop",
            "environments": [{"slug": "dev", "name": "Development"}, {"slug": "prod", "name": "Production"}],
            "folders": [{"environment": "dev", "path": "/app"}, {"environment": "prod", "path": "/app"}],
            "tags": [{"slug": "database"}, {"slug": "web"}],
            "secrets": [
                {"environment": "dev", "path": "/app", "key": "DB_USER", "value": "shop"},
                {"environment": "dev", "path": "/app", "key": "DB_PASSWORD", "value": "seeded password"},
                *(
                    {"environment": "dev", "path": "/", "key": f"SECRET_{number}", "value": f"value {number}"}
                    for number in range(50)
                ),
            ],
        }
    ],
    "identities": [
        {
            "name": role,
            "id": f"{role}-identity",
            "client_id": f"{role}-id",
            "client_secret": f"{role}-client-secret",
            "permissions": {PROJECT: role},
        }
        for role in ("admin", "viewer", "writer", "hidden", "no-access")
    ],
}


def login_of(role: str) -> dict[str, str]:
    """Return the login variables of an identity of the seed."""
    return {"infisical_client_id": f"{role}-id", "infisical_client_secret": f"{role}-client-secret"}
