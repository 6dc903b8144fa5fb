# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files from which units load the agent's own secrets: encrypted by systemd, or plain with mode 0600."""

from __future__ import annotations

import contextlib
import os
import shutil

from ..core import files, systemd
from ..core.errors import ConfigurationError, InfisicalError
from . import units


def plain_directory() -> str:
    """Return the directory of unencrypted credentials."""
    return f"{units.CONFIGURATION}/credentials"


def directory_for(*, encrypted: bool) -> str:
    """Return the directory of encrypted or of unencrypted credentials."""
    return systemd.CREDSTORE if encrypted else plain_directory()


def can_encrypt(version: int, storage: str) -> bool:
    """Return whether credentials are encrypted, given systemd's major version and the option `storage`: `auto`,
    `encrypted` or `file`. Raises ConfigurationError."""
    if storage == "encrypted" and version < units.DECRYPTS_CREDENTIALS:
        raise ConfigurationError(
            "credentials",
            f"'encrypted' requires systemd {units.DECRYPTS_CREDENTIALS} or later, and this host runs {version}.",
            hint="Set credentials: file.",
        )
    return storage == "encrypted" or (
        storage == "auto" and version >= units.DECRYPTS_CREDENTIALS and bool(shutil.which("systemd-creds"))
    )


def locate(name: str) -> tuple[str, bool]:
    """Return the path of a credential, and whether it is encrypted. The path is empty if the credential does not
    exist."""
    plain, sealed = (f"{directory_for(encrypted=each)}/{name}" for each in (False, True))
    # Both exist only if a run was interrupted that changed the kind of storage. The newer one is current.
    if os.path.exists(sealed) and not (
        os.path.exists(plain) and os.path.getmtime(plain) > os.path.getmtime(sealed)
    ):  # fmt: skip
        return sealed, True
    return (plain, False) if os.path.exists(plain) else ("", False)


def find(name: str, *, moved: bool = False) -> bytes | None:
    """Return the value of a credential, or None if it does not exist or this machine cannot decrypt it.

    If `moved`, the agent was installed on another machine, so that nothing is decrypted. Raises InfisicalError like
    `decrypt`.
    """
    path, is_encrypted = locate(name)
    if is_encrypted:
        return None if moved else decrypt(name, path)
    with contextlib.suppress(OSError):
        return files.read_regular(path)
    return None


def decrypt(name: str, path: str, *, own: bool = False) -> bytes | None:
    """Return the value of an encrypted credential, or None if it does not exist or this machine cannot decrypt it.

    Raises InfisicalError if systemd-creds cannot be run: a key is replaced only if it is known to be lost.
    """
    if not os.path.exists(path):
        return None
    try:
        return systemd.decrypt(name, path, own=own)
    except systemd.CannotRun:
        if shutil.which("systemd-creds"):
            raise
        return None
    except InfisicalError:
        return None


def read_text(path: str) -> str:
    """Return the text in a small file of the agent, or an empty text if it does not exist."""
    try:
        return files.read_regular(path).decode("ascii", "replace").strip()
    except OSError:
        return ""
