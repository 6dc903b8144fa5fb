# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds Python interpreters by version, first on PATH and then in pyenv, and checks that they start."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROBE = (
    "import os, sys;"
    "print('%d.%d' % sys.version_info[:2]);"
    "print('.'.join(map(str, sys.version_info[:3])));"
    "print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable))"
)


@dataclass(frozen=True)
class Interpreter:
    """A working Python: its minor version ("3.11"), full version ("3.11.7") and real executable."""

    version: str
    release: str
    executable: Path


def _start(command: str) -> Interpreter | None:
    # A name on PATH is not enough, because version managers put stubs there that may not start.
    try:
        answer = subprocess.run([command, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True)
        version, release, executable = answer.stdout.splitlines()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Interpreter(version, release, Path(executable))


def _candidates(version: str) -> Iterator[str]:
    yield sys.executable
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        found = shutil.which(f"python{version}", path=folder) if folder else None
        if found:
            yield found
    yield from _from_pyenv(version)


def _from_pyenv(version: str) -> Iterator[str]:
    if not shutil.which("pyenv"):
        return
    listing = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False)
    installed = [name.strip() for name in listing.stdout.splitlines()]
    matching = [name for name in installed if name.startswith(f"{version}.") and name.replace(".", "").isdigit()]
    for name in sorted(matching, key=lambda each: [int(part) for part in each.split(".")], reverse=True):
        prefix = subprocess.run(["pyenv", "prefix", name], capture_output=True, text=True, check=False)
        if prefix.returncode == 0:
            yield str(Path(prefix.stdout.strip()) / "bin" / f"python{version}")


@functools.cache
def find(version: str) -> Interpreter | None:
    """Return the first interpreter of a minor version ("3.11") that starts, or None."""
    for command in _candidates(version):
        interpreter = _start(command)
        if interpreter and interpreter.version == version:
            return interpreter
    return None


def find_first(versions: tuple[str, ...]) -> Interpreter | None:
    """Return the running interpreter if its version is in the list, else the first interpreter found."""
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    ordered = sorted(versions, key=lambda version: version != running)
    return next((found for found in map(find, ordered) if found), None)
