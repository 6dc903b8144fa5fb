# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by all tests: how plain pytest finds the collection, and which tests need root."""

from __future__ import annotations

import os
import sysconfig
from importlib.util import find_spec

import pytest

NEEDS_ROOT = "needs root"

# Here and not later, because the other conftest.py files import the collection.
if find_spec("ansible_collections") is None or find_spec("dev_server") is None:
    pytest.exit("This Python cannot find the collection. Run: python3 tests/tools dev; .venv/bin/pytest", 4)
# Ansible must find the same collection as Python.
os.environ.setdefault("ANSIBLE_COLLECTIONS_PATH", sysconfig.get_path("purelib"))


@pytest.fixture(scope="session")
def needs_root() -> None:
    """Mark each test that uses this fixture, also through another fixture, as `root`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `root` if the user is not root."""
    for item in items:
        if "needs_root" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.root)
        if os.geteuid() != 0 and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason=NEEDS_ROOT))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were skipped because they need root."""
    count = sum(NEEDS_ROOT in str(report.longrepr) for report in terminalreporter.stats.get("skipped", ()))
    if count:
        terminalreporter.write_line(f"{count} tests were skipped because they need root")
