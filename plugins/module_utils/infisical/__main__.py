# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command infisical-sync, started as `python3 -m` and this package's name."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
