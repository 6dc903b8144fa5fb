# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bootstraps pip for ansible-test without its download: Python's own pip installs the one that is asked for.

ansible-test runs this file in a new virtual environment, in the place of the script that it would download.
"""

from __future__ import annotations

import ensurepip
import runpy
import sys
from pathlib import Path

bundled = next(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
# Options of the downloaded script that pip itself does not know.
wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.path.insert(0, str(bundled))
sys.argv = ["pip", "install", "--upgrade", *wanted]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
