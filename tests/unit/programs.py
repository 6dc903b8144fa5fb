# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fake programs in place of the host's programs, so that tests do not change the host."""

from __future__ import annotations

import shlex
from pathlib import Path


class Programs:
    """Shell scripts in a folder that is first on the PATH; each first records its arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._calls = folder / "calls"

    def put(self, name: str, script: str = "") -> None:
        """Make a program with this name that records its call and then runs the shell script."""
        note = f'echo {shlex.quote(name)} "$@" >> {shlex.quote(str(self._calls))}'
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{note}\n{script}\n", "utf-8")
        path.chmod(0o755)

    def calls(self) -> list[str]:
        """Return the calls since the last use of this method, a line each."""
        if not self._calls.exists():
            return []
        found = self._calls.read_text("utf-8").splitlines()
        self._calls.unlink()
        return found
