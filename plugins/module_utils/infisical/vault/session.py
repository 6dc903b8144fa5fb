# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault of a host together with its state file: opened, changed by hand, sealed anew, and what there is to tell.

Nothing here knows the network, so that reading a vault does not load what does.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable

from ..core import files
from ..core.errors import ConfigurationError, InfisicalError, after_writing
from ..core.model import check_name, check_value
from ..core.plan import Plan
from ..core.times import parse_time
from .keys import KeySource
from .state import HMAC, StateFile, path_beside
from .store import Contents, Vault

STATE_BEHIND = "Only its state file could not be written; the next sync or change brings that up to date."
"""What holds when the vault has its new generation and the state file has not."""


def open_vault(
    path: str,
    keys: KeySource,
    state_file: str = "",
    *,
    lock_wait: float = 30.0,
    warn: Callable[[str], None] | None = None,
) -> tuple[Vault, StateFile]:
    """The vault at `path` and its job's state file, by default `infisical_sync_state.json` beside it; nothing is read.

    The vault is refused where the state file knows a later generation of it. `lock_wait` is in seconds. Raises
    ConfigurationError where a path is not absolute.
    """
    if not os.path.isabs(path):
        raise ConfigurationError("vault_path", f"'{path}' must be an absolute path on the host that opens the vault.")
    path = os.path.abspath(path)  # as the vault itself spells it, so that its state file lies beside it
    state = StateFile(state_file or path_beside(path), warn=warn, beside=path)
    vault = Vault(path, keys, lock_wait=lock_wait, newest=state.newest)
    key_file = getattr(keys, "path", "")
    for other in (*vault.own_files(), key_file):
        if other and files.is_same_place(state.path, other):
            raise ConfigurationError("state_file", f"must be another file than {other}.")
    if key_file and any(files.is_same_place(key_file, own) for own in vault.own_files()):
        raise ConfigurationError("vault_path", f"must be another file than the key's, {key_file}.")
    return vault, state


def put(vault: Vault, state: StateFile, name: str, value: str, *, check: bool = False) -> Plan:
    """Put one entry into the vault by hand; the plan of it. Raises InfisicalError.

    What a job pulls under that name again replaces it at the job's next cycle.
    """
    name, value = check_name(name), check_value(value)
    if not check:
        state.check()
    plan = vault.put(name, value, check=check)
    _note_generation(vault, state, plan, check)
    return plan


def remove(vault: Vault, state: StateFile, name: str, *, check: bool = False) -> Plan:
    """Delete one entry from the vault by hand; the plan of it. Raises InfisicalError."""
    if not check:
        state.check()
    plan = vault.remove(name, check=check)
    _note_generation(vault, state, plan, check)
    return plan


def _note_generation(vault: Vault, state: StateFile, plan: Plan, check: bool) -> None:
    """Let the state file know the generation, so that an older file put back is noticed."""
    if not plan.changes or check:
        return
    change = plan.changes[0]
    done = f"'{change.key}' is {'no longer in' if change.after is None else 'in'} the vault {vault.path}."
    with after_writing(f"{done} {STATE_BEHIND}"):
        contents = vault.read()
        state.update(vault=vault.path, vault_id=contents.vault_id, generation=contents.generation)


def status(vault: Vault, state: StateFile) -> dict[str, Any]:
    """What can be said of a vault and its job without asking the server; times in ISO 8601, `age_seconds` since the
    last sync that succeeded. Where the vault cannot be opened, `problem` says why and the rest comes from the state
    file."""
    head = state.head()
    found: dict[str, Any] = {"vault": vault.path, "problem": None, "generation": head.get("generation", 0)}
    found["secrets"] = None
    try:
        contents = vault.read()
        found.update(generation=contents.generation, secrets=contents.count)
    except InfisicalError as error:
        found["problem"] = str(error)
    last = head.get("last_sync")
    return {
        **found,
        "projects": head["project_ids"],
        "environment": head["environment"],
        "secret_path": head["secret_path"],
        "job": head.get("job"),
        "last_sync": last,
        "age_seconds": _age(last),
        "environment_checked": head.get("environment_checked"),
        "last_error": head.get("last_error"),
        "error_count": head["error_count"],
        "pull_count": head["pull_count"],
        "push_count": head["push_count"],
    }


def _age(last: Any) -> int | None:
    then = parse_time(str(last))
    # A clock that was set back makes no negative age.
    return None if then is None else max(0, int(time.time() - then))


def rekey(vault: Vault, state: StateFile, new: KeySource, *, data: bool = False) -> Contents:
    """Seal the vault for another key, with `data` under a new data key too; the contents. Raises InfisicalError.

    The state file goes along: it knows the generation, and its hashes may be keyed from the data key.
    """
    state.check()
    opens = (
        "with the same key or passphrase as before."
        if vault.uses(new)
        else "with the new key or passphrase only. Change the configuration if it names another one."
    )
    vault.rekey(new, data=data)
    with after_writing(f"The vault {vault.path} is sealed anew, and opens {opens} {STATE_BEHIND}"):
        contents = vault.read()
        about = {"vault_id": contents.vault_id, "generation": contents.generation}
        head = state.head()
        if data and head["state_hash"] == HMAC:
            state.hash_key = contents.hash_key
            state.rewrite(about, contents.of_job(str(head.get("job"))))
        else:
            state.update(**about)
    return contents
