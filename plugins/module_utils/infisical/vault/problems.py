# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors about a vault that cannot be used, with instructions for recovery."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ..core.errors import VaultDamaged, VaultMissing
from .format import Malformed


@contextlib.contextmanager
def report_damage(path: str) -> Iterator[None]:
    """Context manager: raise VaultDamaged for the file at `path` if its bytes are malformed."""
    try:
        yield
    except Malformed as error:
        raise damaged(path, str(error)) from None


def damaged(path: str, problem: str) -> VaultDamaged:
    hint = way_back(path)
    if not hint and not path.endswith(".previous"):
        hint = (
            f"Restore a backup, because {path}.previous does not exist. Or run: mv '{path}' '{path}.damaged', and sync "
            "again; entries that are not in Infisical are then lost."
        )
    return VaultDamaged(f"The vault {path} is damaged: {problem}.", hint=hint.strip())


def missing(path: str) -> VaultMissing:
    back = way_back(path)
    if back:
        return VaultMissing(
            f"The vault {path} does not exist, but its previous generation does.",
            hint=f"{back.strip()} To create a new vault instead, move {path}.previous away.",
        )
    return VaultMissing(
        f"The vault {path} does not exist.",
        hint="Check the path. The first sync creates the vault. To create it now, add an entry with the module "
        "infisical_vault, or run: infisical-sync vault set NAME",
    )


def way_back(path: str) -> str:
    """Return instructions for restoring the previous generation, or empty text if there is none."""
    previous = path + ".previous"
    if path.endswith(".previous") or not os.path.lexists(previous):
        return ""
    return (
        f" To restore the previous generation, run \"cp -p '{previous}' '{path}'\", rename the state file, which "
        "records the newer generation, and run a sync."
    )
