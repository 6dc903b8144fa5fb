# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the command of the hosts: python3 tests/hosts."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]
# Python looks for modules inside a folder that it runs. The package is one folder up, and the modules that it shares
# with the tools of the Makefile (the cache and its locks) are in tests/tools.
sys.path[:1] = [str(_TESTS), str(_TESTS / "tools")]

from hosts.command import main  # noqa: E402

raise SystemExit(main(sys.argv[1:]))
