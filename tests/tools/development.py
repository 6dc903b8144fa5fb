# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes .venv in the checkout, where plain pytest and Ansible find the collection."""

from __future__ import annotations

import shutil
from pathlib import Path

from environments import Environment, install
from interpreters import Interpreter
from staging import CHECKOUT, PLACE


def make(requirements: Path, interpreter: Interpreter) -> None:
    """Make .venv from a requirements file; replace an existing one."""
    made = Environment(CHECKOUT / ".venv", interpreter)
    shutil.rmtree(made.folder, ignore_errors=True)
    install(made, requirements)
    packages = next(made.folder.glob("lib/python*/site-packages"))
    # Python and Ansible look for collections here, so the folder of the checkout may have any name.
    link = packages / PLACE
    link.parent.mkdir(parents=True)
    link.symlink_to(CHECKOUT)
    (packages / "keyfleet_tests.pth").write_text(f"{CHECKOUT / 'tests'}\n", encoding="utf-8")
    print("Run the tests with .venv/bin/pytest, for example: .venv/bin/pytest tests/unit/test_plan.py")
