# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of a vault's key, and key derivation."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from ..core import files, systemd
from ..core.errors import ConfigurationError, InfisicalError, MissingLibrary

KEY_BYTES = 32
"""Length of a vault's key in bytes."""

_PAIR = b"keyfleet two keys\n"
"""The beginning of a key file or credential with two keys. The newer key follows, then the older one."""

_LONGEST_KEY = len(_PAIR) + 2 * KEY_BYTES

SHORTEST_PASSPHRASE = 8
"""Minimum length of a passphrase for a new vault or a rekey, in characters."""

LONGEST_PASSPHRASE = 4096
"""Maximum length of a passphrase in bytes. A longer file is probably the wrong file."""

HIGHEST_COST = (20, 16, 4)
"""Maximum scrypt cost: log2 N, r, p. A file with a higher cost could exhaust the reader's memory."""

KEY_OPTIONS = ("key_file", "key_credential", "passphrase", "passphrase_file")
"""The options that set the key, which are also parameters of `key_source`. A vault needs exactly one of them."""

Kind = Literal["key", "passphrase"]


class KeySource(Protocol):
    """A source of a vault's key."""

    @property
    def kind(self) -> Kind:
        """The type of the secret: a key (32 bytes) or a passphrase (UTF-8)."""

    def secret(self) -> bytes:
        """Return the passphrase, the key, or both keys during a rotation (see `split_keys`).

        The source is read only once. Raises InfisicalError.
        """


def credentials_directory() -> str:
    """Return the directory with this service's credentials (systemd.exec(5)). Empty outside of a service."""
    return os.environ.get("CREDENTIALS_DIRECTORY", "")


class _ReadOnce:
    """Base class: read the secret once, and cache it.

    An error is cached too. After the process has switched from root to the vault's owner, a retry would fail for lack
    of permission and hide the cause.
    """

    def secret(self) -> bytes:
        if isinstance(self._found, InfisicalError):
            raise self._found
        return self._found

    @cached_property
    def _found(self) -> bytes | InfisicalError:
        try:
            return self._read()
        except InfisicalError as error:
            return error

    def _read(self) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True)
class KeyFile(_ReadOnce):
    """A key file that only its owner can access, or a credential's file in the directory `credentials`."""

    path: str
    credentials: str = field(default_factory=credentials_directory, repr=False)
    kind: Literal["key"] = field(default="key", init=False, repr=False)

    def _read(self) -> bytes:
        data = _read("key_file", "key file", self.path, _LONGEST_KEY + 1, self.credentials)
        if not split_keys(data):
            size = "more" if len(data) > KEY_BYTES else len(data)
            raise ConfigurationError("key_file", f"'{self.path}' must have exactly {KEY_BYTES} bytes (got {size}).")
        return data


@dataclass(frozen=True)
class Credential(_ReadOnce):
    """A systemd credential that contains a key. It is read from the directory `credentials`, or decrypted by root."""

    name: str
    credentials: str = field(default_factory=credentials_directory, repr=False)
    kind: Literal["key"] = field(default="key", init=False, repr=False)

    def _read(self) -> bytes:
        if not re.fullmatch(r"(?!\.)[A-Za-z0-9_.-]{1,255}", self.name):
            raise ConfigurationError(
                "key_credential", "must be a credential's name: letters, digits, '_', '-' and '.', but not a path."
            )
        data = None
        if self.credentials:
            path = os.path.join(self.credentials, self.name)
            with contextlib.suppress(FileNotFoundError):
                data = files.read_private(path, "credential", most=_LONGEST_KEY + 1, credential=True)
        if data is None:
            data = self._decrypt()
        if not split_keys(data):
            raise ConfigurationError(
                "key_credential", f"the credential '{self.name}' must have exactly {KEY_BYTES} bytes."
            )
        return data

    def _decrypt(self) -> bytes:
        systemd.refuse_other_machine()
        if os.geteuid() != 0:
            raise ConfigurationError(
                "key_credential",
                f"$CREDENTIALS_DIRECTORY contains no credential '{self.name}', and only root can decrypt it from "
                f"{systemd.CREDSTORE}.",
                hint="Run this with sudo, or in the service that loads the credential. To check the credential, run: "
                f"sudo systemd-creds decrypt --name={self.name} {systemd.CREDSTORE}/{self.name} - | wc -c",
            )
        try:
            return systemd.decrypt(self.name)
        except InfisicalError as error:
            raise ConfigurationError("key_credential", error.problem, hint=error.hint) from None


@dataclass(frozen=True)
class Passphrase:
    text: str = field(repr=False)
    kind: Literal["passphrase"] = field(default="passphrase", init=False, repr=False)

    def secret(self) -> bytes:
        return _check_passphrase("passphrase", self.text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class PassphraseFile(_ReadOnce):
    """A passphrase file that only its owner can access. One trailing newline is removed.

    A byte-order mark is part of the passphrase, because a vault may have been sealed with it.
    """

    path: str
    credentials: str = field(default_factory=credentials_directory, repr=False)
    kind: Literal["passphrase"] = field(default="passphrase", init=False, repr=False)

    def _read(self) -> bytes:
        data = _read("passphrase_file", "passphrase file", self.path, LONGEST_PASSPHRASE + 2, self.credentials)
        return _check_passphrase("passphrase_file", data[:-1] if data.endswith(b"\n") else data)


def key_source(
    *,
    key_file: str | None = "",
    key_credential: str | None = "",
    passphrase: str | None = "",
    passphrase_file: str | None = "",
    credentials: str | None = None,
) -> KeySource:
    """Return the key source for the one option that is set (not empty and not None). Raises ConfigurationError.

    `credentials` is the directory with systemd credentials, by default from the process's environment.
    """
    if credentials is None:
        credentials = credentials_directory()
    sources: list[KeySource] = []
    if key_file:
        sources.append(KeyFile(key_file, credentials))
    if key_credential:
        sources.append(Credential(key_credential, credentials))
    if passphrase:
        sources.append(Passphrase(passphrase))
    if passphrase_file:
        sources.append(PassphraseFile(passphrase_file, credentials))
    if len(sources) != 1:
        raise ConfigurationError(
            "key_file",
            f"a vault needs exactly one key (got {len(sources)}).",
            hint="Set one of key_file, key_credential, passphrase or passphrase_file.",
        )
    return sources[0]


def split_keys(data: bytes) -> tuple[bytes, ...]:
    """Return the keys in a key file or credential.

    There is one key, or the newer and the older key while the agent rotates the key. The result is empty if `data` is
    not a key. A vault is sealed with the first key, and opens with either of them.
    """
    if data.startswith(_PAIR) and len(data) == _LONGEST_KEY:
        return data[-2 * KEY_BYTES : -KEY_BYTES], data[-KEY_BYTES:]
    return (data,) if len(data) == KEY_BYTES else ()


def join_keys(newer: bytes, older: bytes) -> bytes:
    """Return the content of a key file or credential that contains two keys."""
    return _PAIR + newer + older


def make_key_file(path: str) -> bool:
    """Create a key file with 32 random bytes. Returns False if the file already exists.

    Raises UnsafeFile or StorageFailed.
    """
    path = os.path.abspath(path)
    try:
        return files.write_new(path, os.urandom(KEY_BYTES))
    except OSError as error:
        raise files.explain(error, f"The key file {path} cannot be created", path) from None


def check_new_key(source: KeySource) -> None:
    """Raise ConfigurationError if a passphrase is too short to protect a vault."""
    if source.kind == "passphrase" and len(source.secret().decode("utf-8")) < SHORTEST_PASSPHRASE:
        raise ConfigurationError(
            "passphrase",
            f"must have at least {SHORTEST_PASSPHRASE} characters.",
            hint="Use a longer passphrase, or a key file.",
        )


def is_credential(path: str, directory: str) -> bool:
    """Return whether a file is in `directory`, the service's credentials directory (empty if there is none)."""
    # Links to the directory are resolved, because /run may have another name. The file itself must not be a link.
    return bool(directory) and os.path.realpath(os.path.dirname(os.path.abspath(path))) == os.path.realpath(directory)


def derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Derive `length` bytes from a strong secret: HKDF with SHA-256 (RFC 5869)."""
    try:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError:
        raise MissingLibrary("cryptography") from None
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def stretch(passphrase: bytes, salt: bytes, n_log2: int, r: int, p: int) -> bytes:
    """Derive 32 bytes from a passphrase: scrypt (RFC 7914) with N = 2^n_log2.

    Raises ValueError if the cost is not allowed, MemoryError if there is not enough memory for it, and
    ConfigurationError if OpenSSL does not support scrypt.
    """
    if not is_allowed_cost(n_log2, r, p):
        raise ValueError("scrypt cost out of bounds")
    try:
        from cryptography.exceptions import InternalError, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError:
        raise MissingLibrary("cryptography") from None
    try:
        return Scrypt(salt=salt, length=KEY_BYTES, n=1 << n_log2, r=r, p=p).derive(passphrase)
    except (UnsupportedAlgorithm, InternalError):
        raise ConfigurationError(
            "passphrase",
            "needs scrypt, which OpenSSL does not support on this host, for example in FIPS mode.",
            hint="Use key_file or key_credential.",
        ) from None


def is_allowed_cost(n_log2: int, r: int, p: int) -> bool:
    """Return whether a scrypt cost is within the limits."""
    return all(1 <= cost <= highest for cost, highest in zip((n_log2, r, p), HIGHEST_COST))


def _read(option: str, what: str, path: str, most: int, credentials: str) -> bytes:
    path = os.path.abspath(path)
    try:
        return files.read_private(path, what, most=most, credential=is_credential(path, credentials))
    except FileNotFoundError:
        raise ConfigurationError(
            option,
            f"'{path}' does not exist.",
            hint="For an existing vault, restore its key file. For a new vault, set create_key: true in the "
            f"task, or run: infisical-sync vault keygen --key-file '{path}'" if option == "key_file" else "",
        ) from None  # fmt: skip


def _check_passphrase(option: str, data: bytes) -> bytes:
    if not data:
        raise ConfigurationError(option, "must not be empty.")
    if len(data) > LONGEST_PASSPHRASE:
        raise ConfigurationError(
            option, f"must have at most {LONGEST_PASSPHRASE} bytes.", hint="Check the file's path."
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(option, "must be valid UTF-8 text.", hint="Use key_file for random bytes.") from None
    return data
