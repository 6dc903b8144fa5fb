# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own key pair, with which the agent signs its JSON web tokens. The private key never leaves the host."""

from __future__ import annotations

from ..core import files, systemd
from ..core.errors import ConfigurationError, StorageFailed
from ..login import jwt
from . import credential_files, units
from .held_identity import note_file
from .host import Host

JWT_KEY = "infisical_jwt_key"
"""The name of the credential that contains the private key (PEM)."""


def machine_file() -> str:
    """Return the path of the file with the id of the machine that created the key. A clone thus gets its own key."""
    return f"{units.CONFIGURATION}/jwt-key-machine-id"


def find_key(machine_id: str) -> bytes | None:
    """Return the private key (PEM) that this machine created, or None if it has not created a key.

    Raises StorageFailed if the key cannot be read. The cause may be temporary, and the server knows only this key.
    """
    if credential_files.read_text(machine_file()) != machine_id:
        return None
    path, is_encrypted = credential_files.locate(JWT_KEY)
    if not path:
        return None
    try:
        with files.explain_errors("The key cannot be read", path):
            key = systemd.decrypt(JWT_KEY, path, own=True) if is_encrypted else files.read_regular(path)
        jwt.public_key_of(key)
    except (StorageFailed, ConfigurationError) as error:
        raise StorageFailed(
            f"The host's own key cannot be read: {error.problem}",
            hint=f"Run the task again. If the key is lost, delete {path} first, so that a new key pair is created.",
        ) from None
    return key


def ensure_key(
    host: Host, machine_id: str, *, encrypted: bool, credential_key: str, rotates: bool = False
) -> bytes | None:
    """Return the private key, and create the key pair if this machine has not created one, or if `rotates` is true.

    A new key also removes the note about the identity, because no identity trusts this key yet. So after an
    interruption, the next run gives the public key to the server. The key is stored `encrypted` with the machine's key
    `credential_key`, or as a plain file. In check mode, return None instead of creating a key. Raises InfisicalError.
    """
    key = None if rotates else find_key(machine_id)
    if key is not None:
        return key
    if not host.note(f"the host's key pair is {'replaced' if rotates else 'created'}"):
        return None
    key, _public = jwt.generate_key()
    directories = {each: credential_files.directory_for(encrypted=each) for each in (True, False)}
    silent = Host(check=False)
    for path in (note_file(), machine_file(), *(f"{directory}/{JWT_KEY}" for directory in directories.values())):
        silent.absent(path)
    silent.directory(units.CONFIGURATION, 0o755)
    silent.directory(directories[encrypted], 0o700)
    path = f"{directories[encrypted]}/{JWT_KEY}"
    with host.explain_errors(path):
        data = systemd.encrypt(JWT_KEY, key, with_key=credential_key) if encrypted else key
        files.write_atomic(path, data, 0o600, owner=(0, 0))
        # Write this file last: a key without it is replaced.
        files.write_atomic(machine_file(), f"{machine_id}\n".encode("ascii"), 0o644, owner=(0, 0))
    return key
