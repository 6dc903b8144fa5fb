# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the key of a vault comes from, and how keys are derived."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from ..core import files, systemd
from ..core.errors import ConfigurationError, InfisicalError, KeyLost, MissingLibrary

KEY_BYTES = 32
"""Bytes of a vault's key."""

_PAIR = b"keyfleet two keys\n"
"""What a key file or credential with two keys begins with; the newer key follows, and then the older one."""

_LONGEST_KEY = len(_PAIR) + 2 * KEY_BYTES

SHORTEST_PASSPHRASE = 8
"""Characters that a passphrase must have where a vault is made or gets a new one."""

LONGEST_PASSPHRASE = 4096
"""Bytes of a passphrase: a longer one is the wrong file."""

HIGHEST_COST = (20, 16, 4)
"""The largest scrypt cost that is used: log2 N, r, p. A larger one in a file is an attack on its reader's memory."""

KEY_OPTIONS = ("key_file", "key_credential", "passphrase", "passphrase_file")
"""The options of which a vault has one: the parameters of `key_source`."""

Kind = Literal["key", "passphrase"]


class KeySource(Protocol):
    """Where a vault's key comes from."""

    @property
    def kind(self) -> Kind:
        """What `secret` gives: 32 bytes of a key, or a passphrase in UTF-8."""

    def secret(self) -> bytes:
        """The key (or two, see `keys_in`) or passphrase, read once and then remembered. Raises InfisicalError."""


def credentials_directory() -> str:
    """The directory of the credentials of the service that this process belongs to (systemd.exec(5)), or empty."""
    return os.environ.get("CREDENTIALS_DIRECTORY", "")


@dataclass(frozen=True)
class KeyFile:
    """A file with a key that is its owner's alone, or a systemd credential's file in the directory `credentials`."""

    path: str
    credentials: str = field(default_factory=credentials_directory, repr=False)
    kind: Literal["key"] = field(default="key", init=False, repr=False)

    def secret(self) -> bytes:
        return self._secret

    @cached_property
    def _secret(self) -> bytes:
        data = _read("key_file", "key file", self.path, _LONGEST_KEY + 1, self.credentials)
        if not keys_in(data):
            size = "is longer" if len(data) > KEY_BYTES else f"has {len(data)}"
            raise ConfigurationError(
                "key_file", f"'{self.path}' is no key file: that has {KEY_BYTES} bytes, and this one {size}."
            )
        return data


@dataclass(frozen=True)
class Credential:
    """A systemd credential with a key, by name: from the directory `credentials`, else as root decrypted."""

    name: str
    credentials: str = field(default_factory=credentials_directory, repr=False)
    kind: Literal["key"] = field(default="key", init=False, repr=False)

    def secret(self) -> bytes:
        if isinstance(self._found, InfisicalError):
            raise self._found
        return self._found

    @cached_property
    def _found(self) -> bytes | InfisicalError:
        # Remembered too where it failed: once root has become the vault's owner, another try would fail for that.
        try:
            return self._read()
        except InfisicalError as error:
            return error

    def _read(self) -> bytes:
        if not re.fullmatch(r"(?!\.)[A-Za-z0-9_.-]{1,255}", self.name):
            raise ConfigurationError(
                "key_credential", "must be a credential's name, of letters, digits, '_', '-' and '.', and no path."
            )
        data = self._of_service()
        if data is None:
            data = self._decrypted()
        if not keys_in(data):
            raise ConfigurationError(
                "key_credential", f"The credential '{self.name}' holds no key: that has exactly {KEY_BYTES} bytes."
            )
        return data

    def _of_service(self) -> bytes | None:
        if not self.credentials:
            return None
        path = os.path.join(self.credentials, self.name)
        try:
            return files.read_private(path, "credential", most=_LONGEST_KEY + 1, credential=True)
        except FileNotFoundError:
            return None

    def _decrypted(self) -> bytes:
        systemd.refuse_other_machine()
        if os.geteuid() != 0:
            raise ConfigurationError(
                "key_credential",
                f"there is no credential '{self.name}' in $CREDENTIALS_DIRECTORY, and only root can decrypt it from "
                f"{systemd.CREDSTORE}. Run this in the service that loads the credential, or as root: put sudo before "
                f"the command. Whether it can be decrypted is told by: sudo systemd-creds decrypt --name={self.name} "
                f"{systemd.CREDSTORE}/{self.name} - | wc -c",
            )
        try:
            return systemd.decrypted(self.name)
        except InfisicalError as error:
            if isinstance(error, KeyLost):
                raise
            raise ConfigurationError("key_credential", str(error)) from None


@dataclass(frozen=True)
class Passphrase:
    """A passphrase that the caller has."""

    text: str = field(repr=False)
    kind: Literal["passphrase"] = field(default="passphrase", init=False, repr=False)

    def secret(self) -> bytes:
        try:
            return _checked_passphrase("passphrase", self.text.encode("utf-8"))
        except UnicodeEncodeError:
            # Its text would quote the passphrase.
            raise ConfigurationError("passphrase", "is no Unicode text.") from None


@dataclass(frozen=True)
class PassphraseFile:
    """A file that holds a passphrase, with or without a newline at the end, and is its owner's alone.

    A byte-order mark is part of it: vaults may have been sealed with one.
    """

    path: str
    credentials: str = field(default_factory=credentials_directory, repr=False)
    kind: Literal["passphrase"] = field(default="passphrase", init=False, repr=False)

    def secret(self) -> bytes:
        return self._secret

    @cached_property
    def _secret(self) -> bytes:
        data = _read("passphrase_file", "passphrase file", self.path, LONGEST_PASSPHRASE + 2, self.credentials)
        return _checked_passphrase("passphrase_file", data[:-1] if data.endswith(b"\n") else data)


def key_source(
    *,
    key_file: str | None = "",
    key_credential: str | None = "",
    passphrase: str | None = "",
    passphrase_file: str | None = "",
    credentials: str | None = None,
) -> KeySource:
    """The one source that is given; empty text and None count as not given. `credentials` is the directory of systemd's
    credentials, by default the one that the environment names. Raises ConfigurationError."""
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
            "a vault has one key, and " + ("none is" if not sources else "more than one are") + " given. Set exactly "
            "one of key_file, key_credential, passphrase and passphrase_file.",
        )
    return sources[0]


def keys_in(data: bytes) -> tuple[bytes, ...]:
    """The keys that a key file or credential holds: one of 32 bytes, or while the agent rotates it the newer and the
    older one; none if it holds something else. A vault is sealed with the first, and opens with either."""
    if data.startswith(_PAIR) and len(data) == _LONGEST_KEY:
        return data[-2 * KEY_BYTES : -KEY_BYTES], data[-KEY_BYTES:]
    return (data,) if len(data) == KEY_BYTES else ()


def two_keys(newer: bytes, older: bytes) -> bytes:
    """The content of a key file or credential with which vaults open that are sealed with either key."""
    return _PAIR + newer + older


def make_key_file(path: str) -> bool:
    """Make a key file of 32 random bytes; False where there is a file already, which is left as it is.

    Raises InfisicalError (UNSAFE_FILE, STORAGE).
    """
    path = os.path.abspath(path)
    try:
        return files.write_new(path, os.urandom(KEY_BYTES))
    except OSError as error:
        raise files.explained(error, f"The key file {path} cannot be made", path) from None


def check_new_key(source: KeySource) -> None:
    """Refuse a passphrase that is too short to protect a vault. Raises ConfigurationError."""
    if source.kind == "passphrase" and len(source.secret().decode("utf-8")) < SHORTEST_PASSPHRASE:
        raise ConfigurationError(
            "passphrase", f"has fewer than {SHORTEST_PASSPHRASE} characters. Take a longer one, or better a key file."
        )


def is_credential(path: str, directory: str) -> bool:
    """Whether a file is in the directory in which systemd puts the credentials of a service, if there is one."""
    # Of the directories, because /run may be reached by another name; the file itself must not be a link.
    return bool(directory) and os.path.realpath(os.path.dirname(os.path.abspath(path))) == os.path.realpath(directory)


def derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """`length` bytes derived from a strong secret: HKDF with SHA-256 (RFC 5869)."""
    try:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError:
        raise MissingLibrary("cryptography") from None
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def stretch(passphrase: bytes, salt: bytes, n_log2: int, r: int, p: int) -> bytes:
    """32 bytes from a passphrase: scrypt (RFC 7914) with N = 2^n_log2.

    Raises ValueError where the cost is not allowed, MemoryError where there is too little memory for it, and
    ConfigurationError where OpenSSL has no scrypt.
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
            "needs scrypt, which OpenSSL does not offer on this host, as in FIPS mode. Use key_file or key_credential.",
        ) from None


def is_allowed_cost(n_log2: int, r: int, p: int) -> bool:
    """Whether a scrypt cost is one that may be used."""
    return all(1 <= cost <= highest for cost, highest in zip((n_log2, r, p), HIGHEST_COST))


def _read(option: str, what: str, path: str, most: int, credentials: str) -> bytes:
    path = os.path.abspath(path)
    try:
        return files.read_private(path, what, most=most, credential=is_credential(path, credentials))
    except FileNotFoundError:
        raise ConfigurationError(
            option,
            f"'{path}' does not exist."
            + (f" Make a new key with: infisical-sync vault keygen --key-file '{path}'. A vault that is there already "
               "opens only with the key that it was made with." if option == "key_file" else ""),
        ) from None  # fmt: skip


def _checked_passphrase(option: str, data: bytes) -> bytes:
    problem = ""
    if not data:
        problem = "is empty."
    elif len(data) > LONGEST_PASSPHRASE:
        problem = f"is longer than {LONGEST_PASSPHRASE} bytes. Is it the right file?"
    else:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            problem = "is no UTF-8 text. For random bytes use key_file."
    if problem:
        raise ConfigurationError(option, problem)
    return data
