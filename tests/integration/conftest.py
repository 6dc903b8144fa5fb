# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One test server for all tests, reset before each, and a controller that uses it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dev_server.client import DevServer
from integration.controller import Controller
from integration.shop import PROJECT, SEED, login_of


@pytest.fixture(scope="session")
def _process() -> Iterator[DevServer]:
    with DevServer(seed=SEED) as process:
        yield process


@pytest.fixture
def server(_process: DevServer, request: pytest.FixtureRequest) -> DevServer:
    """The test server with its seed, in the profile of the test's parameter, by default `2026-07`."""
    _process.use_profile(request.node.callspec.params.get("profile", "2026-07") if _has_params(request) else "2026-07")
    _process.seed(SEED)
    return _process


def _has_params(request: pytest.FixtureRequest) -> bool:
    return hasattr(request.node, "callspec")


@pytest.fixture
def seeded(server: DevServer) -> Callable[..., None]:
    """Extend the seed: `seeded(secrets=[…], imports=[…])` adds to the project's lists; `settings` are added too."""

    def seed(settings: Mapping[str, Any] | None = None, **more: list[Any]) -> None:
        document = copy.deepcopy(SEED)
        for name, rows in more.items():
            document["projects"][0].setdefault(name, []).extend(rows)
        if settings is not None:
            document["settings"] = settings
        server.seed(document)

    return seed


@pytest.fixture
def shop(server: DevServer) -> dict[str, Any]:
    """The variables of hosts that log in as the administrator, with short waits."""
    return {
        "infisical_url": server.url,
        "infisical_project_id": PROJECT,
        "infisical_environment": "dev",
        "infisical_rate_limit_wait": 0.1,
        "infisical_server_error_wait": 0.1,
        "infisical_connection_wait": 0.1,
        **login_of("admin"),
    }


@pytest.fixture
def ansible(tmp_path: Path, shop: dict[str, Any]) -> Controller:
    """A controller whose hosts have the variables of `shop`."""
    return Controller(tmp_path, shop)
