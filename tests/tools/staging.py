# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies the collection to a path where Ansible finds it: …/ansible_collections/keyfleet/infisical."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from environments import locked
from failure import Failure

CHECKOUT = Path(__file__).resolve().parents[2]
PLACE = Path("ansible_collections", "keyfleet", "infisical")
BUILD = CHECKOUT / ".build"
# Files that tools write into the copy. Other files that are not in the checkout are removed.
LEFT_ALONE = (".git", ".ansible", "tests/output")


def stage() -> Path:
    """Update the copy of the checkout below an ansible_collections folder, and return its path.

    Copies the changed files among those that git tracks or would track.
    """
    staged = BUILD / PLACE
    with locked(BUILD / "staging.lock"):
        wanted = _files()
        for name in wanted:
            _copy(CHECKOUT / name, staged / name)
        _remove_vanished(staged, set(wanted))
        # A repository of its own, because ansible-test and ansible-lint get the files from git,
        # and the checkout's git ignores everything here.
        if not (staged / ".git").exists():
            subprocess.run(["git", "init", "--quiet", staged], check=True)
    return staged


def _files() -> list[str]:
    if not shutil.which("git"):
        raise Failure("git is missing: it lists the files of the collection")
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        raise Failure(f"this is not a git checkout: {listing.stderr.strip()}")
    # git also lists tracked files that were deleted.
    return [name for name in listing.stdout.split("\0") if name and (CHECKOUT / name).is_file()]


def _copy(source: Path, target: Path) -> None:
    there = source.stat()
    if target.exists():
        here = target.stat()
        if (here.st_size, here.st_mtime_ns, here.st_mode) == (there.st_size, there.st_mtime_ns, there.st_mode):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place, so that a running test never reads half a file.
    unfinished = target.with_name(f"{target.name}.staging")
    shutil.copy2(source, unfinished)
    unfinished.replace(target)


def _remove_vanished(staged: Path, wanted: set[str]) -> None:
    for folder, _folders, names in os.walk(staged, topdown=False):
        place = Path(folder).relative_to(staged)
        if any(place.is_relative_to(left) for left in LEFT_ALONE) or place.name == "__pycache__":
            continue
        for name in names:
            if (place / name).as_posix() not in wanted:
                (Path(folder) / name).unlink()
        if place.parts and not any(Path(folder).iterdir()):
            Path(folder).rmdir()
