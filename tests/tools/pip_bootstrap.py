# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs pip for ansible-test with Python's bundled pip, without a download of get-pip.py.

ansible-test runs this file in a new virtual environment in place of that script.
"""

from __future__ import annotations

import ensurepip
import runpy
import sys
from pathlib import Path

bundled = next(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
# Options of get-pip.py that pip itself lacks.
wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.path.insert(0, str(bundled))
sys.argv = ["pip", "install", "--upgrade", *wanted]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
