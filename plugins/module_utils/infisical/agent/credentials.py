# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's own secrets on a host: credentials where units take them from, and the key of its vaults, old and new."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core import files, systemd
from ..core.errors import ConfigurationError, InfisicalError, NotAVault, VaultDamaged, WrongKey
from ..vault.keys import KEY_BYTES, keys_in, two_keys
from ..vault.session import open_vault, rekey
from ..vault.store import Vault
from . import config, units
from .host import Host

KEY = "infisical_vault_key"
VAULT_FILE = "secrets.vault"
_KEY_KIND = "credential-key"
"""The file that says what has encrypted the credentials: a credential itself does not tell."""

_LOST = (WrongKey, VaultDamaged, NotAVault)


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
    """Credentials by name with the file each lies in, and whether encrypted; the vaults' key, or two while vaults are
    sealed with either, and whether it is another one than any before; and whether anything is not what it was."""

    paths: Mapping[str, str]
    encrypted: bool
    key: bytes = field(repr=False)
    new_key: bool
    renewed: bool


@dataclass(frozen=True)
class HeldKey:
    """A vault's key that is at hand, or two."""

    key: bytes = field(repr=False)
    kind: Any = "key"

    def secret(self) -> bytes:
        """The key."""
        return self.key


def vault_of(job: str, key: bytes = b"") -> Vault:
    """A job's vault."""
    return Vault(f"{units.STATE}/{job}/{VAULT_FILE}", HeldKey(key))


def encrypted_by(version: int, how: str) -> bool:
    """Whether systemd of this major version keeps credentials encrypted. Raises ConfigurationError if it cannot."""
    if how == "encrypted" and version < units.DECRYPTS_CREDENTIALS:
        raise ConfigurationError(
            "credentials", f"systemd {version} cannot decrypt credentials of services: that came with "
            f"{units.DECRYPTS_CREDENTIALS}. Set credentials: file."
        )  # fmt: skip
    return how == "encrypted" or (
        how == "auto" and version >= units.DECRYPTS_CREDENTIALS and bool(shutil.which("systemd-creds"))
    )


def keep(host: Host, wanted: Wanted, machine: Machine) -> Kept:
    """Bring the agent's own secrets to where its units take them from. Raises InfisicalError.

    What lies elsewhere stays for the units of now, until `forget` removes it.
    """
    version = machine.version
    encrypts = encrypted_by(version, wanted.how)
    plain = _plain()
    store = systemd.CREDSTORE if encrypts else plain
    owner = (0, 0) if encrypts or version >= units.LOADS_CREDENTIALS else machine.user
    moved = systemd.machine_id(systemd.INSTALLED_MACHINE_ID) not in ("", machine.machine_id)
    found = _found_key(moved)
    host.directory(store, 0o700 if encrypts or version >= units.LOADS_CREDENTIALS else 0o755)
    key = os.urandom(KEY_BYTES) if found is None else _rotated(host, found, wanted)
    values = {**wanted.values, KEY: key}
    renewed = False
    key_kind = f"{units.CONFIGURATION}/{_KEY_KIND}"
    by_other_key = encrypts and (_text_of(key_kind) or wanted.credential_key) != wanted.credential_key
    for name, value in values.items():
        path = f"{store}/{name}"
        # What is encrypted is another text each time.
        if not encrypts or moved or by_other_key or _decrypted(name, path) != value:
            data = (
                systemd.encrypted(name, value, with_key=wanted.credential_key) if encrypts and not host.check else value
            )
            renewed |= host.file(path, data, 0o600, owner)
    if encrypts:
        host.file(key_kind, f"{wanted.credential_key}\n", 0o644)
    return Kept({name: f"{store}/{name}" for name in values}, encrypts, key, found is None, renewed)


def forget(host: Host, kept: Kept) -> None:
    """Remove the credentials that no unit takes any more. For after the units have been changed."""
    for name in config.CREDENTIALS:
        for directory in (systemd.CREDSTORE, _plain()):
            if kept.paths.get(name) != f"{directory}/{name}":
                host.absent(f"{directory}/{name}")


def _plain() -> str:
    """Where credentials are files that are not encrypted."""
    return f"{units.CONFIGURATION}/credentials"


def _rotated(host: Host, kept: bytes, wanted: Wanted) -> bytes:
    """The key with which all vaults of this host are sealed from now on: with `rotate_key` a new one, else `kept`.

    Before a vault is sealed anew, what units load has both keys, and has them until no vault needs the old one. So each
    vault opens at every moment, and a run that was interrupted is completed by the next one.
    """
    new, *older = keys_in(kept)
    if not older:
        if not wanted.rotate_key:
            return kept
        new, older = os.urandom(KEY_BYTES), [new]
    both = two_keys(new, older[0])
    if host.note("the vaults' key is rotated"):
        _put_key(host, both, wanted)
    is_complete = True
    for path in sorted(glob.glob(f"{units.STATE}/*/{VAULT_FILE}")):
        if os.path.islink(os.path.dirname(path)):  # the agent's user may have placed it
            continue
        try:
            with _opened(path) as (_directory, there):
                _seal_anew(host, path, there, new, both)
        except InfisicalError as error:
            if isinstance(error, _LOST):
                host.done.changes.append(f"{path} is not sealed anew: {error}")
                continue
            is_complete = False
            host.done.warnings.append(
                f"The vaults' key is not rotated completely, and the old one stays in use, because {path} could not be "
                f"sealed with the new one: {error} Then run the role again."
            )
    if host.check:
        return kept
    if not is_complete:
        return both
    _put_key(host, new, wanted)
    return new


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[int, str]]:
    """The directory of a vault, open, and a path of the vault that leads there whatever the agent's user, to whom the
    directory above belongs, puts in its place meanwhile (proc(5), /proc/PID/fd). Raises InfisicalError."""
    with contextlib.ExitStack() as stack:
        try:
            directory = stack.enter_context(files.opened(os.path.dirname(path)))
        except OSError as error:
            raise files.explained(error, f"{path} cannot be opened", os.path.dirname(path)) from None
        there = f"/proc/self/fd/{directory}"
        try:
            yield directory, f"{there}/{os.path.basename(path)}"
        except InfisicalError as error:
            raise error.reworded(str(error).replace(there, os.path.dirname(path)), "") from None


def _seal_anew(host: Host, path: str, there: str, new: bytes, both: bytes) -> None:
    """Seal the vault at `path`, opened as `there`, with the new key, if it is not yet. Raises InfisicalError."""
    try:
        open_vault(there, HeldKey(new))[0].read()
        return
    except WrongKey:
        pass
    vault, state = open_vault(there, HeldKey(both))
    vault.read()
    if host.note(f"{path} is sealed with a new key"):
        rekey(vault, state, HeldKey(new), data=True)


def _put_key(host: Host, key: bytes, wanted: Wanted) -> None:
    """Put this key wherever units may load the vaults' key from, in the form and for the owner of what is there."""
    for directory in (_plain(), systemd.CREDSTORE):
        path = f"{directory}/{KEY}"
        is_encrypted = directory == systemd.CREDSTORE
        if not os.path.exists(path) or (is_encrypted and not shutil.which("systemd-creds")):
            continue
        data = systemd.encrypted(KEY, key, with_key=wanted.credential_key) if is_encrypted else key
        with host.explained(path):
            files.write_atomic(path, data, 0o600, owner=files.owner_of(path))


def _found_key(moved: bool) -> bytes | None:
    """The vaults' key, or both while it is rotated; None where there is none that can be had."""
    with contextlib.suppress(OSError):
        key = files.read_regular(f"{_plain()}/{KEY}")
        if keys_in(key):
            return key
    encrypted = None if moved else _decrypted(KEY, f"{systemd.CREDSTORE}/{KEY}")
    return encrypted if encrypted is not None and keys_in(encrypted) else None


def _text_of(path: str) -> str:
    try:
        return files.read_regular(path).decode("ascii", "replace").strip()
    except OSError:
        return ""


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
    with _opened(vault.path) as (directory, there):
        reason = "its key is lost." if kept.new_key else ""
        if not reason:
            try:
                Vault(there, HeldKey(kept.key)).read()
            except InfisicalError as error:
                said = str(error).replace(os.path.dirname(there), os.path.dirname(vault.path))
                reason = said if isinstance(error, _LOST) else ""
        if not reason:
            return []
        aside = f".lost-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        # The vault itself last: if only one of them is moved, the next run finds that one and moves it too.
        for path in (vault.previous, vault.path):
            name = os.path.basename(path)
            if os.path.lexists(path) and host.note(f"{path} is moved to {path}{aside}"):
                with host.explained(path):
                    os.rename(name, name + aside, src_dir_fd=directory, dst_dir_fd=directory)
    return [f"The vault of the job {job} is moved aside and filled anew: {reason}"]


def remove(host: Host, *, keep_key: bool) -> None:
    """Take the credentials off the host, with the vaults' key or without it."""
    for directory in (systemd.CREDSTORE, f"{units.CONFIGURATION}/credentials"):
        for name in config.CREDENTIALS:
            if name != KEY or not keep_key:
                host.absent(f"{directory}/{name}")
