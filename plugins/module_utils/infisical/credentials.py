# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's own secrets on a host: credentials where units take them from, and the key of its vaults, old and new."""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, NamedTuple

from . import config, files, systemd, units
from .errors import Conclusion, ConfigurationError, InfisicalError
from .host import Host
from .keys import KEY_BYTES
from .local import open_vault, rekey
from .vault import Vault

KEY = "infisical_vault_key"
VAULT_FILE = "secrets.vault"
_NEXT_KEY = f"{KEY}.next"
_KEY_KIND = "credential-key"
"""The file that says what has encrypted the credentials: a credential itself does not tell."""

_LOST = (Conclusion.WRONG_KEY, Conclusion.VAULT_DAMAGED, Conclusion.NOT_A_VAULT)


@dataclass(frozen=True)
class Wanted:
    """How the agent's secrets are to be kept: `auto`, `encrypted` for the key `credential_key` of the machine, or
    `file`; with `rotate_key`, vaults are sealed with a new key. `values` are credentials by name, but for the key."""

    how: str
    credential_key: str
    rotate_key: bool
    values: Mapping[str, bytes] = field(repr=False)


class Machine(NamedTuple):
    """Systemd's major version (0 for none that is used), the machine's id, and the ids of the agent's user."""

    version: int
    machine_id: str
    user: tuple[int, int]


@dataclass(frozen=True)
class Kept:
    """Credentials by name with the file each lies in, and whether encrypted; the vaults' key, and whether it is another
    one than any before; and whether anything is not what it was."""

    paths: Mapping[str, str]
    encrypted: bool
    key: bytes = field(repr=False)
    new_key: bool
    renewed: bool


@dataclass(frozen=True)
class HeldKey:
    """A vault's key that is at hand."""

    key: bytes = field(repr=False)
    kind: Any = "key"

    def secret(self) -> bytes:
        """The key."""
        return self.key


def vault_of(job: str, key: bytes = b"") -> Vault:
    """A job's vault."""
    return Vault(f"{units.STATE}/{job}/{VAULT_FILE}", HeldKey(key))


def keep(host: Host, wanted: Wanted, machine: Machine) -> Kept:
    """Bring the agent's own secrets to where its units take them from. Raises InfisicalError."""
    version = machine.version
    encrypts = wanted.how == "encrypted" or (
        wanted.how == "auto" and version >= units.DECRYPTS_CREDENTIALS and bool(shutil.which("systemd-creds"))
    )
    if encrypts and version < units.DECRYPTS_CREDENTIALS:
        raise ConfigurationError(
            "credentials", f"systemd {version} cannot decrypt credentials of services: that came with "
            f"{units.DECRYPTS_CREDENTIALS}. Set credentials: file."
        )  # fmt: skip
    plain = f"{units.CONFIGURATION}/credentials"
    store = systemd.CREDSTORE if encrypts else plain
    owner = (0, 0) if version >= units.LOADS_CREDENTIALS else machine.user
    moved = systemd.machine_id(systemd.INSTALLED_MACHINE_ID) not in ("", machine.machine_id)
    kept = _kept_key(plain, moved)
    host.directory(store, 0o700 if encrypts or version >= units.LOADS_CREDENTIALS else 0o755)

    def put(file: str, name: str, value: bytes) -> bool:
        data = systemd.encrypted(name, value, with_key=wanted.credential_key) if encrypts and not host.check else value
        return host.file(f"{store}/{file}", data, 0o600, (0, 0) if encrypts else owner)

    key = os.urandom(KEY_BYTES) if kept is None else _rotated(host, kept, wanted.rotate_key, store, put)
    values = {**wanted.values, KEY: key}
    renewed = False
    key_kind = f"{units.CONFIGURATION}/{_KEY_KIND}"
    by_other_key = encrypts and (_text_of(key_kind) or wanted.credential_key) != wanted.credential_key
    for name, value in values.items():
        # What is encrypted is another text each time.
        if not encrypts or moved or by_other_key or _decrypted(name, f"{store}/{name}") != value:
            renewed |= put(name, name, value)
    if encrypts:
        host.file(key_kind, f"{wanted.credential_key}\n", 0o644)
    for name in config.CREDENTIALS:
        for directory in (systemd.CREDSTORE, plain):
            if name not in values or directory != store:
                host.absent(f"{directory}/{name}")
    return Kept({name: f"{store}/{name}" for name in values}, encrypts, key, kept is None, renewed)


def _rotated(host: Host, kept: bytes, rotate: bool, store: str, put: Callable[[str, str, bytes], bool]) -> bytes:
    """The key with which all vaults of this host are sealed from now on: with `rotate` a new one, else `kept`.

    The new key lies beside the old one until every vault has it, so that a run that was interrupted is completed by the
    next one.
    """
    coming = f"{store}/{_NEXT_KEY}"
    new = _key_at(coming, encrypted=store == systemd.CREDSTORE)
    if new is None and not rotate:
        return kept
    if new is None:
        new = os.urandom(KEY_BYTES)
        put(_NEXT_KEY, KEY, new)
    for path in sorted(glob.glob(f"{units.STATE}/*/{VAULT_FILE}")):
        if os.path.islink(os.path.dirname(path)):  # the agent's user may have placed it
            continue
        try:
            open_vault(path, HeldKey(new))[0].read()
            continue
        except InfisicalError as error:
            if error.conclusion is not Conclusion.WRONG_KEY:
                host.done.changes.append(f"{path} is not sealed anew: {error}")
                continue
        if host.note(f"{path} is sealed with a new key"):
            rekey(*open_vault(path, HeldKey(kept)), HeldKey(new), data=True)
    if not host.check:
        with host.explained(coming):
            os.rename(coming, f"{store}/{KEY}")
    return kept if host.check else new


def _key_at(path: str, *, encrypted: bool) -> bytes | None:
    """The key in a file of the agent's, None where it is not there or cannot be had."""
    if encrypted:
        key = _decrypted(KEY, path)
    else:
        try:
            key = files.read_regular(path)
        except OSError:
            key = None
    return key if key is not None and len(key) == KEY_BYTES else None


def _text_of(path: str) -> str:
    try:
        return files.read_regular(path).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _kept_key(plain: str, moved: bool) -> bytes | None:
    """The vaults' key that is there, None where there is none that can be had."""
    key = _key_at(f"{plain}/{KEY}", encrypted=False)
    return key or (None if moved else _key_at(f"{systemd.CREDSTORE}/{KEY}", encrypted=True))


def _decrypted(name: str, path: str) -> bytes | None:
    """What a credential holds, None where it is not there or this machine cannot tell any more.

    Raises InfisicalError where systemd-creds is there and gives no answer: a key counts as lost, and is replaced, only
    where that is known.
    """
    if not os.path.exists(path):
        return None
    try:
        return systemd.decrypted(name, path)
    except systemd.NoAnswer:
        if shutil.which("systemd-creds"):
            raise
        return None
    except InfisicalError:
        return None


def set_aside(host: Host, job: str, kept: Kept) -> list[str]:
    """Move a vault away that nothing opens any more: it is a copy, and a sync fills a new one. What there is to say."""
    vault = vault_of(job, kept.key)
    if not vault.exists():
        return []
    reason = "its key is lost." if kept.new_key else ""
    if not reason:
        try:
            vault.read()
        except InfisicalError as error:
            reason = str(error) if error.conclusion in _LOST else ""
    if not reason:
        return []
    aside = f".lost-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    for path in (vault.path, vault.previous):
        if os.path.lexists(path) and host.note(f"{path} is moved to {path}{aside}"):
            with host.explained(path):
                os.rename(path, path + aside)
    return [f"The vault of the job {job} is moved aside and filled anew: {reason}"]


def remove(host: Host, *, keep_key: bool) -> None:
    """Take the credentials off the host, with the vaults' key or without it."""
    for directory in (systemd.CREDSTORE, f"{units.CONFIGURATION}/credentials"):
        for name in (*config.CREDENTIALS, _NEXT_KEY):
            if name != KEY or not keep_key:
                host.absent(f"{directory}/{name}")
