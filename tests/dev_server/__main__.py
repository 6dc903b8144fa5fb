# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the test server: python3 tests/dev_server."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    # Python looks for modules inside a folder that it runs; the package is one folder up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

if sys.version_info < (3, 11):
    raise SystemExit(f"The test server needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}.")

try:
    from dev_server.command import main
except ModuleNotFoundError as error:
    if error.name != "aiohttp":
        raise
    raise SystemExit(
        f"The test server needs aiohttp for {sys.executable}: "
        f"{sys.executable} -m pip install -r requirements/dev_server.txt"
    ) from None

main()
