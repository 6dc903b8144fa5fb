# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers for contract tests: the test server in each profile, and a real server if INFISICAL_* is set."""

from __future__ import annotations

import copy
import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Settings
from contract.targets import ENVIRONMENT, KINDS, PROJECT, SEED, SERVER_PYTHON, Controlled, Target
from dev_server.client import DevServer

REAL = ("INFISICAL_URL", "INFISICAL_CLIENT_ID", "INFISICAL_CLIENT_SECRET", "INFISICAL_PROJECT_ID")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kinds(*names): the kinds of server on which a test runs; by default all kinds")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("kinds")
        kinds = marker.args if marker else KINDS
        real = ["real"] if all(os.environ.get(name) for name in REAL) else []
        metafunc.parametrize("target", [*kinds, *real], indirect=True)


@pytest.fixture(scope="session")
def dev_server() -> Iterator[DevServer]:
    with DevServer("2026-07", SEED, python=SERVER_PYTHON) as server:
        yield server


@pytest.fixture(scope="session")
def real_room() -> Iterator[Target]:
    """Create a folder on the real server that all tests share, and remove it at the end."""
    texts = ("url", "client_id", "client_secret", "project_id", "environment", "ca_path", "proxy", "api_version")
    values: dict[str, Any] = {name: os.environ.get(f"INFISICAL_{name.upper()}") or None for name in texts}
    for name, usual in (("validate_certs", "true"), ("allow_http", "false")):
        values[name] = os.environ.get(f"INFISICAL_{name.upper()}", usual).lower() in ("true", "yes", "1")
    settings = Settings.from_options({"environment": ENVIRONMENT, **{k: v for k, v in values.items() if v is not None}})
    environment = settings.environment
    scope = Location(settings.project_id, environment, f"/keyfleet-contract-{secrets.token_hex(4)}")
    room = Target("real", settings, scope)
    store = room.remote()
    # Remove the folder even if SIGTERM ends the run, for example after a timeout in CI.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        store.put_folder()
        store.listing()
        room.kind = "2026-07" if store.api.version == "v4" else "2024"
        yield room
    finally:
        store.remove_folder(force=True)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A server in its initial state, with a folder for this test only; the test runs once for each kind of server."""
    if request.param == "real":
        room = request.getfixturevalue("real_room")
        own = replace(room.scope, secret_path=f"{room.scope.secret_path}/{secrets.token_hex(4)}")
        marker = request.node.get_closest_marker("kinds")
        if marker and room.kind not in marker.args:
            pytest.skip(f"the real server is of kind {room.kind}, but the test needs {' or '.join(marker.args)}")
        made = Target(room.kind, room.settings, own)
    else:
        server = request.getfixturevalue("dev_server")
        server.seed(copy.deepcopy(SEED))
        server.use_profile(request.param)
        settings = Settings(
            url=server.url, client_id="admin-id", client_secret="admin-secret", project_id=PROJECT, timeout=10
        )
        made = Controlled(request.param, settings, Location(PROJECT, ENVIRONMENT, "/"), server)
    try:
        if request.param == "real":
            made.remote().put_folder()
        yield made
    finally:
        if request.param == "real":
            made.remote().remove_folder(force=True)
        for connected in made.opened:
            connected.transport.close()


@pytest.fixture
def controlled(target: Target) -> Controlled:
    """A test server that the test controls: it can load a seed, arm faults and read the request log."""
    if not isinstance(target, Controlled):
        pytest.skip("needs control of the server (seed, faults, log), which is impossible for a real server")
    return target
