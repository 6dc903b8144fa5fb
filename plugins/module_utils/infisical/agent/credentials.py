# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's own secrets on a host: the credentials that units load, and the vaults' key and its rotation."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core import files, systemd
from ..core.errors import ConfigurationError, InfisicalError, NotAVault, VaultDamaged, WrongKey
from ..identities.held import HeldIdentity
from ..vault.keys import KEY_BYTES, join_keys, split_keys
from ..vault.session import open_vault, rekey
from ..vault.store import Vault
from . import config, units
from .credential_files import decrypt, directory_for, find, plain_directory, read_text
from .held_identity import login_file, note_file
from .host import Host
from .own_key import JWT_KEY, ensure_key, machine_file
from .spec import VAULT_FILE, VAULT_KEY, Agent

_KEY_KIND = "credential-key"
"""The file that records the value of the option `credential_key`, which cannot be read from a credential."""

_LOST = (WrongKey, VaultDamaged, NotAVault)


@dataclass(frozen=True)
class StoredCredentials:
    """The paths of the credentials keyed by name, the vaults' key (or both keys during a rotation), whether this run
    created the key, and whether any credential or the identity changed."""

    paths: Mapping[str, str]
    key: bytes = field(repr=False)
    new_key: bool
    changed: bool


@dataclass(frozen=True)
class HeldKey:
    """A vault's key in memory, or both keys during a rotation."""

    key: bytes = field(repr=False)
    kind: Any = "key"

    def secret(self) -> bytes:
        return self.key


def open_job_vault(job: str, key: bytes = b"") -> Vault:
    return Vault(f"{units.STATE}/{job}/{VAULT_FILE}", HeldKey(key))


def store(host: Host, agent: Agent, machine_id: str, *, encrypted: bool) -> StoredCredentials:
    """Store the agent's own secrets where its units load them, `encrypted` or as plain files. Raises InfisicalError.

    Copies in other places are kept for the current units. Remove them after the units have been changed.
    """
    directory = directory_for(encrypted=encrypted)
    moved = systemd.machine_id(systemd.INSTALLED_MACHINE_ID) not in ("", machine_id)
    found = _find_key(moved)
    host.directory(directory, 0o700)
    key = os.urandom(KEY_BYTES) if found is None else _rotate_key(host, found, agent)
    login = _list_login_secrets(host, agent, machine_id, moved=moved, encrypted=encrypted)
    values: dict[str, bytes | None] = {
        **login,
        **({"infisical_webhook_url": agent.notify_webhook_url.encode("utf-8")} if agent.notify_webhook_url else {}),
        VAULT_KEY: key,
    }
    key_kind = f"{units.CONFIGURATION}/{_KEY_KIND}"
    by_other_key = encrypted and read_text(key_kind) not in ("", agent.credential_key)
    # A host with a new identity or a new key must sync, to prove that it can log in.
    with _rewrite_note(host, agent.identity) as changed:
        for name, value in values.items():
            path = f"{directory}/{name}"
            own = name == JWT_KEY
            if value is None:
                continue
            # Encrypting the same value again gives a different text, so compare the decrypted values.
            if not encrypted or (moved and not own) or by_other_key or decrypt(name, path, own=own) != value:
                encrypts_now = encrypted and not host.check
                data = systemd.encrypt(name, value, with_key=agent.credential_key) if encrypts_now else value
                changed |= host.file(path, data, 0o600)
    if encrypted:
        host.file(key_kind, f"{agent.credential_key}\n", 0o644)
    return StoredCredentials({name: f"{directory}/{name}" for name in values}, key, found is None, changed)


def _list_login_secrets(
    host: Host, agent: Agent, machine_id: str, *, moved: bool, encrypted: bool
) -> dict[str, bytes | None]:
    """Return the secrets of the agent's login method: {credential: value}. Raises InfisicalError.

    In check mode, the host's own key is None if it does not exist yet.
    """
    settings = agent.settings
    if settings.auth_method == "ldap_auth":
        return {"infisical_password": settings.password.encode("utf-8")}
    if settings.auth_method == "jwt_auth" and not settings.jwt_path:
        key = ensure_key(host, machine_id, encrypted=encrypted, credential_key=agent.credential_key)
        return {JWT_KEY: key}
    if settings.auth_method != "universal_auth":
        return {}
    secret: bytes | None = settings.client_secret.encode("utf-8")
    if not secret:
        secret = find("infisical_client_secret", moved=moved)
        if secret is None and not host.check:
            raise ConfigurationError(
                "client_secret", "this host no longer has the client secret of its identity.",
                hint="Run the role scheduled_sync again, which replaces the client secret.",
            )  # fmt: skip
    return {"infisical_client_id": settings.client_id.encode("utf-8"), "infisical_client_secret": secret or b""}


@contextlib.contextmanager
def _rewrite_note(host: Host, identity: HeldIdentity) -> Iterator[bool]:
    """Context manager: store credentials. If the note about the identity changes, it does not exist meanwhile, so that
    it never names a credential that the host does not have. The record of a rejected login is removed if the host has
    its own client secret, because the login was with an earlier one. Yields whether the note changes."""
    path, text, before = note_file(), identity.as_note(), ""
    with contextlib.suppress(OSError):
        before = files.read_regular(path).decode("utf-8", "replace")
    if before == text:
        yield False
        return
    if not host.check:
        Host(check=False).absent(path)
        if identity.client_secret_id:
            with contextlib.suppress(OSError):
                os.unlink(login_file())
    yield True
    host.changes.diffs.append((path, before, text))
    if host.note(f"{path} is {'changed' if before else 'created'}"):
        with host.explain_errors(path):
            files.write_atomic(path, text.encode("ascii"), 0o644, owner=(0, 0))


def remove(host: Host, *, keep: Collection[str] = (), keep_key: bool = False) -> None:
    """Remove the credentials, except at the paths `keep` and, if `keep_key` is true, the vaults' key."""
    if not any(os.path.basename(path) == JWT_KEY for path in keep):
        host.absent(machine_file())
    for directory in (systemd.CREDSTORE, plain_directory()):
        for name in config.CREDENTIALS:
            path = f"{directory}/{name}"
            if path not in keep and not (keep_key and name == VAULT_KEY):
                host.absent(path)


def _rotate_key(host: Host, found: bytes, agent: Agent) -> bytes:
    """Return the vaults' key: a new key if `rotate_key` is true, otherwise the key `found`.

    Units load both keys from before the first vault is sealed with the new key until no vault needs the old key. So
    each vault can be opened at any time, and the next run completes an interrupted rotation.
    """
    new, *older = split_keys(found)
    if not older:
        if not agent.rotate_key:
            return found
        new, older = os.urandom(KEY_BYTES), [new]
    both = join_keys(new, older[0])
    if host.note("the vaults' key is rotated"):
        _write_key(host, both, agent.credential_key)
    is_complete = True
    for path in sorted(glob.glob(f"{units.STATE}/*/{VAULT_FILE}")):
        if os.path.islink(os.path.dirname(path)):  # the agent's user may have created it
            continue
        try:
            with _open_directory(path) as (_directory, descriptor_path):
                _seal(host, path, descriptor_path, new, both)
        except _LOST as error:
            host.changes.lines.append(f"{path} still has its old key: {error.problem}")
        except InfisicalError as error:
            is_complete = False
            host.changes.warnings.append(
                f"The key rotation is incomplete, because {path} could not be sealed with the new key: {error} Then "
                "run the role again."
            )
    if host.check:
        return found
    if not is_complete:
        return both
    _write_key(host, new, agent.credential_key)
    return new


@contextlib.contextmanager
def _open_directory(path: str) -> Iterator[tuple[int, str]]:
    """Context manager: open a vault's directory. Yield its descriptor, and a path of the vault that uses the descriptor
    (/proc/PID/fd, see proc(5)). This path stays valid even if the agent's user replaces the directory. Raises
    InfisicalError."""
    folder = os.path.dirname(path)
    with files.explain_errors(f"{path} cannot be opened", folder), files.open_directory(folder) as directory:
        by_descriptor = f"/proc/self/fd/{directory}"
        try:
            yield directory, f"{by_descriptor}/{os.path.basename(path)}"
        except InfisicalError as error:
            texts = (text.replace(by_descriptor, folder) for text in (error.problem, error.hint))
            raise error.reworded(*texts) from None


def _seal(host: Host, path: str, descriptor_path: str, new: bytes, both: bytes) -> None:
    """Seal the vault at `path` with the key `new`, unless it is sealed with this key.

    `both` contains the old and the new key. `descriptor_path` is the vault's path under /proc. Raises InfisicalError.
    """
    try:
        open_vault(descriptor_path, HeldKey(new))[0].read()
        return
    except WrongKey:
        pass
    vault, state = open_vault(descriptor_path, HeldKey(both))
    vault.read()
    if host.note(f"{path} is sealed with a new key"):
        rekey(vault, state, HeldKey(new), data=True)


def _write_key(host: Host, key: bytes, credential_key: str) -> None:
    """Replace all files from which units can load the vaults' key."""
    for directory in (plain_directory(), systemd.CREDSTORE):
        path = f"{directory}/{VAULT_KEY}"
        is_encrypted = directory == systemd.CREDSTORE
        if not os.path.exists(path) or (is_encrypted and not shutil.which("systemd-creds")):
            continue
        data = systemd.encrypt(VAULT_KEY, key, with_key=credential_key) if is_encrypted else key
        with host.explain_errors(path):
            files.write_atomic(path, data, 0o600, owner=files.owner_of(path))


def _find_key(moved: bool) -> bytes | None:
    """Return the vaults' key, or both keys during a rotation, or None if this machine cannot read a key."""
    with contextlib.suppress(OSError):
        key = files.read_regular(f"{plain_directory()}/{VAULT_KEY}")
        if split_keys(key):
            return key
    encrypted = None if moved else decrypt(VAULT_KEY, f"{systemd.CREDSTORE}/{VAULT_KEY}")
    return encrypted if encrypted is not None and split_keys(encrypted) else None


def move_lost_vault(host: Host, job: str, stored: StoredCredentials) -> list[str]:
    """Rename a vault that cannot be opened, so that the next sync creates a new vault. Return warnings."""
    vault = open_job_vault(job, stored.key)
    if not vault.exists():
        return []
    with _open_directory(vault.path) as (directory, descriptor_path):
        reason = "its key is lost."
        if not stored.new_key:
            try:
                Vault(descriptor_path, HeldKey(stored.key)).read()
                return []
            except _LOST as error:
                reason = error.problem.replace(os.path.dirname(descriptor_path), os.path.dirname(vault.path))
            except InfisicalError:
                return []
        aside = f".lost-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        # Rename the vault last. After an interruption, the next run thus still finds the vault and renames it.
        for path in (vault.previous, vault.path):
            name = os.path.basename(path)
            if os.path.lexists(path) and host.note(f"{path} is moved to {path}{aside}"):
                with host.explain_errors(path):
                    os.rename(name, name + aside, src_dir_fd=directory, dst_dir_fd=directory)
    return [f"The vault of the job {job} is moved aside, and the next sync creates a new vault: {reason}"]
