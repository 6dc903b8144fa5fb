# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of values keyed by name. Each value is encrypted by itself, so reading one takes the same time in a file of
any size.

The file consists of a header, the encrypted values sorted by the keyed hashes of their names, these hashes, the offsets
of the values, and the encrypted list of names. Every file has a new key, so the position of a value is its nonce. The
folder and the name are associated data (AES-GCM), so a value that was moved elsewhere cannot be decrypted.

This module is imported in every process that reads a secret. So it imports little.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
from array import array
from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = struct.Struct(">QQQ")
"""The number of names, the offset of the first hash, and the length of the encrypted list of names in bytes."""
_TAG = 16
"""Length of a keyed hash in bytes."""
_OFFSET = 8
"""Length of an offset in bytes. There is one more offset than values, for the end of the last value."""
_KEY = 32
_NONCE_OF_NAMES = b"\xff" * 12
_BETWEEN_NAMES = b"\0"
"""The database of the server cannot store this character."""


class Damaged(Exception):
    """The file is not the one that was written with this key, or is not whole."""


def get_run_secret() -> str:
    """Return text that is the same in all processes of this run of Ansible, and that no file contains.

    Python keys the hash of text with random bytes when it starts, and forks inherit them. A process that is not a fork
    gets another text, so it cannot read the run's files. If PYTHONHASHSEED is set, only the mode of the run's directory
    protects files whose key is derived from this text alone.
    """
    return ".".join(f"{hash(f'keyfleet.infisical {number}'):x}" for number in range(4))


def make_key() -> bytes:
    """Return a key for one table: 32 bytes for AES-GCM, and 32 bytes for the index."""
    return secrets.token_bytes(2 * _KEY)


def build(rows: Mapping[str, bytes], key: bytes, folder: bytes) -> bytearray:
    """Return a table's content. `folder` identifies the folder. The key must not be used for another table."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    encrypt, salt = AESGCM(key[:_KEY]).encrypt, key[_KEY:]
    names, values = list(map(_encode, rows)), list(rows.values())
    hashes = [_hash(salt, name) for name in names]
    order = sorted(range(len(names)), key=hashes.__getitem__)  # equal hashes of two names do not occur
    content = bytearray(_HEADER.size)  # one buffer, because the values of a folder can be many megabytes
    offsets = array("Q", [len(content)])
    for position, k in enumerate(order):
        content += encrypt(position.to_bytes(12, "big"), values[k], folder + names[k])
        offsets.append(len(content))
    sealed_names = encrypt(_NONCE_OF_NAMES, _BETWEEN_NAMES.join([b"", *[names[k] for k in order], b""]), folder)
    _HEADER.pack_into(content, 0, len(order), len(content), len(sealed_names))
    content += b"".join([hashes[k] for k in order]) + offsets.tobytes() + sealed_names
    return content


class Table:
    """Reads a file with the content from `build`. Methods raise Damaged."""

    def __init__(self, path: str, key: bytes, folder: bytes) -> None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._decrypt, self._invalid = AESGCM(key[:_KEY]).decrypt, InvalidTag
        self._salt, self._folder = key[_KEY:], folder
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - stays open for later reads
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError:
            raise Damaged from None
        self._count, self._hashes, names_length = _HEADER.unpack(self._read(0, _HEADER.size))
        self._offsets = self._hashes + self._count * _TAG
        self._names_at = self._offsets + (self._count + 1) * _OFFSET
        if self._names_at + names_length != self._size:
            raise Damaged

    def get(self, name: str) -> bytes | None:
        """Return the value with this name, or None."""
        tag = _hash(self._salt, _encode(name))
        position = bisect_left(range(self._count), tag, key=self._tag_at)
        if position < self._count and self._tag_at(position) == tag:
            return self._open(position, name, self._read(self._offsets + position * _OFFSET, 2 * _OFFSET))
        # A changed index must not hide a name.
        if _BETWEEN_NAMES + _encode(name) + _BETWEEN_NAMES in self._names:
            raise Damaged
        return None

    def read_all(self) -> dict[str, bytes]:
        """Return all values keyed by name."""
        offsets = self._read(self._offsets, (self._count + 1) * _OFFSET)
        return {
            name: self._open(position, name, offsets[position * _OFFSET : (position + 2) * _OFFSET])
            for position, name in enumerate(self._names.decode("utf-8", "surrogatepass").split("\0")[1:-1])
        }

    @cached_property
    def _names(self) -> bytes:
        """All names in the order of the index, with `_BETWEEN_NAMES` around each."""
        sealed = self._read(self._names_at, self._size - self._names_at)
        try:
            names = self._decrypt(_NONCE_OF_NAMES, sealed, self._folder)
        except self._invalid:
            raise Damaged from None
        if names.count(_BETWEEN_NAMES) != self._count + 1:
            raise Damaged
        return names

    def _tag_at(self, position: int) -> bytes:
        return self._read(self._hashes + position * _TAG, _TAG)

    def _open(self, position: int, name: str, offsets: bytes) -> bytes:
        begin, end = array("Q", offsets)
        sealed = self._read(begin, end - begin)
        try:
            return self._decrypt(position.to_bytes(12, "big"), sealed, self._folder + _encode(name))
        except self._invalid:
            raise Damaged from None

    def _read(self, offset: int, length: int) -> bytes:
        if length < 0 or offset + length > self._size:
            raise Damaged
        content = os.pread(self._file.fileno(), length, offset)
        if len(content) != length:
            raise Damaged
        return content


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _hash(salt: bytes, name: bytes) -> bytes:
    return hashlib.sha256(salt + name).digest()[:_TAG]
