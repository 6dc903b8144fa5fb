# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that open a vault have in common: their options, the vault itself, and its entries in results."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .infisical.errors import Conclusion, ConfigurationError, InfisicalError
from .infisical.keys import key_source, make_key_file
from .infisical.sync import open_vault

if TYPE_CHECKING:
    from .infisical.model import Secret
    from .infisical.state import StateFile
    from .infisical.vault import Vault
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


def opened(module: InfisicalModule, *, state_file: str = "") -> tuple[Vault, StateFile]:
    """The vault that the options name, and its state file; nothing is read yet. Raises ConfigurationError."""
    options = module.params
    if not options["vault_path"]:
        raise ConfigurationError(
            "vault_path",
            "not given. Set it (an absolute path on the task's host) as an argument, as the variable "
            "infisical_vault_path, as INFISICAL_VAULT_PATH in the controller's environment, or as vault_path under "
            "[infisical] in ansible.cfg.",
        )
    lock_wait = options.get("lock_wait", 30.0)
    if not 0 <= lock_wait <= 86_400:
        raise ConfigurationError("lock_wait", f"{lock_wait:g} is no number of seconds between 0 and 86400.")
    keys = key_source(**{name: options[name] or "" for name in _KEY_OPTIONS})
    return open_vault(options["vault_path"], keys, state_file, lock_wait=lock_wait, warn=module.warn)


_KEY_OPTIONS = ("key_file", "key_credential", "passphrase", "passphrase_file")


def with_key(module: InfisicalModule, vault: Vault) -> bool:
    """Make the key file if `create_key` asks for it and there is no vault yet; whether it was, or would be, made.

    Raises InfisicalError, also where the vault is there and the key file is not.
    """
    options = module.params
    if not options["create_key"]:
        return False
    path = options["key_file"]
    if not path:
        raise ConfigurationError("create_key", "makes a key file, so that it needs key_file.")
    if os.path.lexists(path):
        return False
    if vault.exists():
        raise InfisicalError(
            Conclusion.WRONG_KEY,
            f"The vault {vault.path} is there and its key file {path} is not. Nothing but the key that it was made "
            "with opens it: put that one back, or move the vault away to begin anew.",
        )
    return True if module.check_mode else make_key_file(path)


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
        "path": secret.secret_path,
        "job": secret.job,
        "synced_at": secret.synced_at,
    }
