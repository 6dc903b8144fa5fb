# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of a real server (here, the test server) remove their folders, no matter how the run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from contract.targets import PROJECT, SEED, SERVER_PYTHON
from dev_server.client import DevServer

DEADLINE = 60.0


@pytest.fixture
def suite(tmp_path: Path) -> tuple[DevServer, list[str], dict[str, str]]:
    """Return a server, the command of a small test run that treats it as a real server, and its environment."""
    with DevServer("2026-07", SEED, python=SERVER_PYTHON) as server:
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "INFISICAL_"))},
            "INFISICAL_URL": server.url,
            "INFISICAL_CLIENT_ID": "admin-id",
            "INFISICAL_CLIENT_SECRET": "admin-secret",
            "INFISICAL_PROJECT_ID": PROJECT,
        }
        tests = Path(__file__).with_name("test_scopes.py")
        options = ["-p", "no:cacheprovider", "-q", "--basetemp", str(tmp_path / "t"), "-k", "real and folder"]
        yield server, [sys.executable, "-m", "pytest", *options, str(tests)], variables


def rooms(server: DevServer) -> list[str]:
    return [
        folder["path"]
        for project in server.state()["projects"]
        for environment in project["environments"]
        for folder in environment["folders"]
        if folder["path"].startswith("/keyfleet-contract-")
    ]


def test_passing_test_run_leaves_nothing_on_the_server(suite: tuple[DevServer, list[str], dict[str, str]]) -> None:
    server, command, variables = suite
    ended = subprocess.run(command, env=variables, check=False, capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == 0, ended.stdout
    assert rooms(server) == []


def test_failing_test_run_leaves_nothing_on_the_server(suite: tuple[DevServer, list[str], dict[str, str]]) -> None:
    server, command, variables = suite
    # The tests can create their folders, but not list anything in them.
    server.arm("status", status=422, method="GET", path="/secrets", times=None)
    ended = subprocess.run(command, env=variables, check=False, capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == 1, ended.stdout
    assert [entry["status"] for entry in server.requests("/folders") if entry["method"] == "POST"].count(200) > 0
    assert rooms(server) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_test_run_leaves_nothing_on_the_server(
    suite: tuple[DevServer, list[str], dict[str, str]], number: signal.Signals
) -> None:
    server, command, variables = suite
    # A test that hangs in a listing after its folder was created.
    server.arm("delay", seconds=2, method="GET", path="/secrets", times=None)
    # Shells make background jobs ignore SIGINT.
    heard: dict[str, Any] = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **heard)
    try:
        end = time.monotonic() + DEADLINE
        while not rooms(server) and time.monotonic() < end:
            time.sleep(0.05)
        assert rooms(server)
        process.send_signal(number)
        assert process.wait(DEADLINE) == 2
    finally:
        process.kill()
        process.wait()
    assert rooms(server) == []
