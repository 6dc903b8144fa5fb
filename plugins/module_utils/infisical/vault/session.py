# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's vault together with its state file: opening, manual changes, rekeying, and status.

This module imports no network code, so that reading a vault stays fast.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, NamedTuple

from ..core import files
from ..core.errors import ConfigurationError, InfisicalError, after_writing
from ..core.model import LONGEST_WAIT, Secret
from ..core.plan import Change, Plan
from ..core.times import age_of
from .contents import Contents
from .keys import KeySource
from .state import HMAC, StateFile, path_beside
from .store import Vault

STATE_BEHIND = "Only its state file could not be written; the next sync or change updates it."
"""Text added to an error if the vault was written but the state file was not."""


class Edit(NamedTuple):
    """A manual change (None if nothing changes), and the entry before and after it."""

    change: Change | None
    before: Secret | None
    after: Secret | None


def open_vault(
    path: str,
    keys: KeySource,
    state_file: str = "",
    *,
    lock_wait: float = 30.0,
    warn: Callable[[str], None] | None = None,
) -> tuple[Vault, StateFile]:
    """Return the vault at `path` and its state file, without reading them.

    The default state file is `infisical_sync_state.json` beside the vault. Reading the vault fails if the state file
    records a later generation. `lock_wait` is in seconds. Raises ConfigurationError if it is out of range, if a path is
    not absolute, or if two of the files are the same.
    """
    if not 0 <= lock_wait <= LONGEST_WAIT:
        raise ConfigurationError("lock_wait", f"must be between 0 and {LONGEST_WAIT:g} seconds (got {lock_wait:g}).")
    if not os.path.isabs(path):
        raise ConfigurationError("vault_path", f"must be an absolute path on the vault's host (got '{path}').")
    path = os.path.abspath(path)  # without a trailing slash, so that the state file is beside the vault
    state = StateFile(state_file or path_beside(path), warn=warn, beside=path)
    vault = Vault(path, keys, lock_wait=lock_wait, recorded=state.recorded)
    key_file = getattr(keys, "path", "")
    for other in (*vault.own_files(), key_file):
        if other and files.is_same_place(state.path, other):
            raise ConfigurationError("state_file", f"must not be the same file as {other}.")
    if key_file and any(files.is_same_place(key_file, own) for own in vault.own_files()):
        raise ConfigurationError("vault_path", f"must not be the same file as the key, {key_file}.")
    return vault, state


def put(vault: Vault, state: StateFile, name: str, value: str, *, check: bool = False) -> Edit:
    """Store one entry in the vault manually. Raises InfisicalError.

    If a job pulls a secret with this name, its next sync replaces the entry.
    """
    if not check:
        state.check()
    return _record(vault, state, *vault.put(name, value, check=check), check=check)


def remove(vault: Vault, state: StateFile, name: str, *, check: bool = False) -> Edit:
    """Delete one entry from the vault for a user, not for a sync. Raises InfisicalError."""
    if not check:
        state.check()
    return _record(vault, state, *vault.remove(name, check=check), check=check)


def _record(vault: Vault, state: StateFile, plan: Plan, contents: Contents, *, check: bool) -> Edit:
    """Record the vault's generation in the state file, so that an older vault file is detected if it is restored."""
    if not plan.changes:
        entry = contents.get(plan.unchanged[0]) if plan.unchanged else None
        return Edit(None, entry, entry)
    [change] = plan.changes
    if not check:
        done = f"'{change.key}' is {'no longer in' if change.after is None else 'in'} the vault {vault.path}."
        with after_writing(f"{done} {STATE_BEHIND}"):
            state.update(vault=vault.path, vault_id=contents.vault_id, generation=contents.generation)
    return Edit(change, change.before, change.after)


def status(vault: Vault, state: StateFile) -> dict[str, Any]:
    """Return the status of a vault and its job, without sending a request to the server.

    Times are in ISO 8601. `age_seconds` is the time since the last successful sync. If the vault cannot be opened,
    `problem` contains the reason, and the other values come from the state file.
    """
    head = state.head()
    found = {"vault": vault.path, "problem": None, "generation": head.get("generation", 0), "secrets": None}
    try:
        contents = vault.read()
        found.update(generation=contents.generation, secrets=contents.count)
    except InfisicalError as error:
        found["problem"] = str(error)
    age = age_of(head.get("last_sync"), time.time())
    names = ("environment", "secret_path", "job", "last_sync", "environment_checked", "last_error", "error_count",
             "pull_count", "push_count")  # fmt: skip
    return {**found, "projects": head["project_ids"], "age_seconds": age, **{name: head.get(name) for name in names}}


def rekey(vault: Vault, state: StateFile, new: KeySource, *, data: bool = False) -> Contents:
    """Seal the vault with another key, and return its contents. Raises InfisicalError.

    With `data`, the entries get a new data key too. The state file is updated, because it records the generation and
    may contain hashes that depend on the data key.
    """
    vault.check_exists()
    state.check()
    contents = vault.rekey(new, data=data)
    with after_writing(f"The vault {vault.path} was sealed with the given key or passphrase. {STATE_BEHIND}"):
        about = {"vault_id": contents.vault_id, "generation": contents.generation}
        head = state.head()
        if data and head["state_hash"] == HMAC:
            state.hash_key = contents.hash_key
            state.rewrite(about, contents.of_job(str(head.get("job"))))
        else:
            state.update(**about)
    return contents
