# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs the Debian packages for the tests if it runs as root, or else prints the missing packages."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys

from failure import Failure
from staging import CHECKOUT

sys.path.append(str(CHECKOUT / "tests"))

from hosts.machine import KEYRING, PROGRAMS, find

# A command of each package, to check whether it is installed, and the packages to install.
OTHERS = {
    "git": ("git",),
    "shellcheck": ("shellcheck",),
    "sshd": ("openssh-server",),
    "chromium": ("chromium", "fonts-dejavu-core"),
}


def missing_packages() -> list[str]:
    """Return the Debian packages for the tests that are missing on this machine."""
    needed = {**OTHERS, **{program: (package,) for program, package in PROGRAMS.items()}}
    packages = [package for program, all_of_it in needed.items() if not find(program) for package in all_of_it]
    packages += [] if KEYRING.exists() else ["debian-archive-keyring"]
    packages += [] if all(map(importlib.util.find_spec, ("ensurepip", "venv"))) else ["python3-venv"]
    return packages


def prepare() -> None:
    """Install missing packages if run as root with apt-get; print the packages that are still missing.

    Raises Failure if something is missing and REQUIRE_ALL is 1.
    """
    packages = missing_packages()
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        variables = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "--quiet", *command], env=variables, check=False)
        packages = missing_packages()
    if packages:
        report = f"some tests cannot run here; install as root: apt-get install {' '.join(packages)}"
        if os.environ.get("REQUIRE_ALL") == "1":
            raise Failure(report)
        print(report, flush=True)
