# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared code of the modules that use a vault: their options, opening the vault, and their results."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

from .infisical.core.errors import ConfigurationError, WrongKey, after_writing
from .infisical.core.model import NotGiven
from .infisical.core.options import argument_spec
from .infisical.vault.keys import KEY_BYTES, KEY_OPTIONS, key_source, make_key_file
from .infisical.vault.session import open_vault

if TYPE_CHECKING:
    from .infisical.core.model import Secret
    from .infisical.vault.keys import KeySource
    from .infisical.vault.state import StateFile
    from .infisical.vault.store import Vault
    from .module import InfisicalModule

_OPTIONS = argument_spec("vault")
WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    "create_key": {"type": "bool", "default": False, "no_log": False},
    "lock_wait": _OPTIONS.pop("lock_wait"),
}
VAULT_OPTIONS = _OPTIONS
"""The options for the vault and its key. The action plugin resolves them on the controller, except for the state
file."""


def open_local(
    module: InfisicalModule, state_file: str | None, *, create_key: bool = False
) -> tuple[Vault, StateFile, bool]:
    """Return the vault in the options, its state file, and whether its key file was created or, in check mode, would be
    created.

    By default, the state file is in the vault's directory. The key file is created if the parameter `create_key` and
    the option `create_key` are true, and neither the key file nor the vault exists. No file is read. Raises
    InfisicalError.
    """
    options = module.params
    path, lock_wait = options["vault_path"], options.get("lock_wait", 30.0)
    if not path:
        raise NotGiven("vault_path", "an absolute path on the task's host")
    keys = key_source(**{name: options[name] or "" for name in KEY_OPTIONS})

    def with_keys(used: KeySource) -> tuple[Vault, StateFile]:
        return open_vault(path, used, state_file or "", lock_wait=lock_wait, warn=module.warn)

    vault, state = with_keys(keys)
    if not create_key or not options["create_key"]:
        return vault, state, False
    if not options["key_file"]:
        raise ConfigurationError("create_key", "needs key_file, the path of the key file to create.")
    if os.path.lexists(options["key_file"]):
        return vault, state, False
    if vault.exists():
        raise WrongKey(
            f"The vault {path} exists, but its key file {options['key_file']} is missing.",
            hint=f"Restore the key file. If it is lost, move {path} and, if it exists, {vault.previous} away, and sync "
            "again.",
        )
    if module.check_mode:
        return (*with_keys(_PlannedKey()), True)
    return vault, state, make_key_file(options["key_file"])


def after_key(module: InfisicalModule, key_created: bool) -> AbstractContextManager[None]:
    """Return a context manager that prefixes errors after `open_local` with the creation of the key file, if it was
    created."""
    created = key_created and not module.check_mode
    return after_writing(
        f"The key file {module.params['key_file']} was created." if created else "",
        changed=True,
        key_created=True,
    )


class _PlannedKey:
    """A random key that check mode uses in place of the key file that it does not create."""

    kind: Literal["key"] = "key"

    def secret(self) -> bytes:
        return os.urandom(KEY_BYTES)


def describe_entry(secret: Secret | None, name: str) -> dict[str, Any] | None:
    """Return a vault entry as result data, without its value."""
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
