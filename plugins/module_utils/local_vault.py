# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that open a vault have in common: their options, the vault itself, and its entries in results."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

from .infisical.core.errors import ConfigurationError, WrongKey, after_writing
from .infisical.core.model import LONGEST_WAIT, NotGiven
from .infisical.vault.keys import KEY_BYTES, KEY_OPTIONS, key_source, make_key_file
from .infisical.vault.session import open_vault

if TYPE_CHECKING:
    from .infisical.core.model import Secret
    from .infisical.vault.keys import KeySource
    from .infisical.vault.state import StateFile
    from .infisical.vault.store import Vault
    from .module import InfisicalModule

VAULT_OPTIONS: dict[str, dict[str, Any]] = {
    "vault_path": {"type": "path"},
    "key_file": {"type": "path", "no_log": False},
    "key_credential": {"type": "str", "no_log": False},
    "passphrase": {"type": "str", "no_log": True},
    "passphrase_file": {"type": "path", "no_log": False},
    "state_file": {"type": "path"},
}
"""Which vault, with which key; the action looks these up on the controller, but for the state file."""

WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    "create_key": {"type": "bool", "default": False, "no_log": False},
    "lock_wait": {"type": "float", "default": 30.0},
}


def opened(
    module: InfisicalModule, state_file: str | None, *, create_key: bool = False
) -> tuple[Vault, StateFile, bool]:
    """The vault that the options name, its state file, and whether its key file was made, or in check mode would be.

    The state file is `state_file`, where that is given, else the one beside the vault.

    The key file is made if `create_key` and the option of that name ask for it, and neither it nor the vault is there.
    Nothing is read yet. Raises InfisicalError.
    """
    options = module.params
    path, lock_wait = options["vault_path"], options.get("lock_wait", 30.0)
    if not path:
        raise NotGiven("vault_path", "an absolute path on the task's host")
    if not 0 <= lock_wait <= LONGEST_WAIT:
        raise ConfigurationError("lock_wait", f"{lock_wait:g} is no number of seconds between 0 and {LONGEST_WAIT:g}.")
    keys = key_source(**{name: options[name] or "" for name in KEY_OPTIONS})

    def with_keys(used: KeySource) -> tuple[Vault, StateFile]:
        return open_vault(path, used, state_file or "", lock_wait=lock_wait, warn=module.warn)

    vault, state = with_keys(keys)
    if not create_key or not options["create_key"]:
        return vault, state, False
    if not options["key_file"]:
        raise ConfigurationError("create_key", "makes a key file, so that it needs key_file.")
    if os.path.lexists(options["key_file"]):
        return vault, state, False
    if vault.exists():
        raise WrongKey(
            f"The vault {path} is there and its key file {options['key_file']} is not. Nothing but the key that it was "
            "made with opens it: put that one back, or move the vault away to begin anew.",
        )
    if module.check_mode:
        return (*with_keys(_KeyThatWouldBeMade()), True)
    return vault, state, make_key_file(options["key_file"])


def after_key(module: InfisicalModule, key_created: bool) -> AbstractContextManager[None]:
    """`after_writing` for what comes after `opened`: its error reports the key file if that was made."""
    made = key_created and not module.check_mode
    return after_writing(f"The key file {module.params['key_file']} was made." if made else "", key_created=True)


class _KeyThatWouldBeMade:
    """A key for the plan of a vault that would be made with a key that would be made."""

    kind: Literal["key"] = "key"

    def secret(self) -> bytes:
        return os.urandom(KEY_BYTES)


def described_entry(secret: Secret | None, name: str) -> dict[str, Any] | None:
    """An entry of a vault as modules return it: everything but the value."""
    if secret is None:
        return None
    return {
        "name": name,
        "secret_name": secret.key,
        "version": secret.version,
        "id": secret.id,
        "project_id": secret.project_id,
        "environment": secret.environment,
        "path": secret.secret_path if secret.project_id else "",
        "job": secret.job,
        "synced_at": secret.synced_at,
    }
