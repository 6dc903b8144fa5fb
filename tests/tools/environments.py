# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes virtual environments from the files in requirements/ and keeps them outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from failure import Failure
from interpreters import Interpreter


@dataclass(frozen=True)
class Environment:
    """A complete virtual environment: its folder and its base Python."""

    folder: Path
    interpreter: Interpreter

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def tool(self, name: str) -> Path:
        """Return the path of a command in the environment."""
        return self.folder / "bin" / name


def cache_folder() -> Path:
    """Return the cache folder of all environments, which is outside the checkout."""
    chosen = os.environ.get("KEYFLEET_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyfleet-infisical"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two runs of make do not build the same environment at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _requirement_files(path: Path) -> list[Path]:
    files = [path]
    for line in path.read_text(encoding="utf-8").splitlines():
        option, _space, included = line.partition(" ")
        if option in ("-r", "-c"):
            files += _requirement_files(path.parent / included.strip())
    return files


def _fingerprint(requirements: Path, interpreter: Interpreter) -> str:
    digest = hashlib.sha256(f"{interpreter.executable} {interpreter.release}".encode())
    for path in _requirement_files(requirements):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _starts(python: Path) -> bool:
    try:
        return subprocess.run([python, "-c", ""], check=False).returncode == 0
    except OSError:
        return False


def environment(requirements: Path, interpreter: Interpreter) -> Environment:
    """Return the environment of a requirements file for an interpreter; make it if it is missing."""
    name = f"{requirements.stem}-py{interpreter.version}-{_fingerprint(requirements, interpreter)}"
    made = Environment(cache_folder() / name, interpreter)
    with locked(cache_folder() / f"{name}.lock"):
        # The mark is written last, so an interrupted install has no mark. The folder cannot be renamed
        # into place, because the commands in it contain its path.
        complete = made.folder / "complete"
        if not complete.exists() or not _starts(made.python):
            shutil.rmtree(made.folder, ignore_errors=True)
            install(made, requirements)
            complete.touch()
    return made


def install(made: Environment, requirements: Path) -> None:
    """Make an environment's folder and install a requirements file into it."""
    version = made.interpreter.version
    print(f"Installing requirements/{requirements.name} for Python {version} (first time only)", flush=True)
    _quietly(
        [made.interpreter.executable, "-m", "venv", made.folder],
        f"Python {version} cannot make virtual environments: install its venv module, "
        f"on Debian with: apt-get install python{version}-venv",
    )
    _quietly(
        [made.python, "-m", "pip", "install", "--disable-pip-version-check", "--requirement", requirements],
        f"pip could not install requirements/{requirements.name}: see its message above",
    )


def _quietly(command: list[str | Path], failure: str) -> None:
    """Run a command and show its output only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise Failure(failure)
