# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of values keyed by name. Each value is encrypted by itself, so reading one takes the same time in a file of
any size.

The file is: a header, an index of fixed-size records sorted by a keyed hash of the name, the encrypted list of names in
the same order, and the encrypted values. Every file has a new key, so a nonce is the value's place in the index. The
folder and the name are associated data (AES-GCM), so a value that was moved to another place cannot be decrypted.

This module is imported in every process that reads a secret. So it imports little.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
from bisect import bisect_left
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = struct.Struct(">QQ")
"""The number of names, and the length of the encrypted list of names in bytes."""
_RECORD = struct.Struct(">16sQI")
"""The keyed hash of a name, and the offset and length of its value in bytes."""
_TAG = 16
_KEY = 32
_NONCE_OF_NAMES = b"\xff" * 12


class Damaged(Exception):
    """The file is not the one that was written with this key, or is not whole."""


def make_key() -> bytes:
    """Return a key for one table: 32 bytes for AES-GCM, and 32 bytes for the index."""
    return secrets.token_bytes(2 * _KEY)


def build(rows: Mapping[str, bytes], key: bytes, place: bytes) -> bytes:
    """Return a table's content. `place` identifies the folder. The key must not be used for another table."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    encrypt, salt = AESGCM(key[:_KEY]).encrypt, key[_KEY:]
    names = list(map(_encode, rows))
    # Sort by hash. Equal hashes of two names do not occur.
    order = sorted(zip([_hash(salt, name) for name in names], names, rows.values(), strict=True))
    sealed = [encrypt(n.to_bytes(12, "big"), row, place + name) for n, (_tag, name, row) in enumerate(order)]
    ordered = json.dumps([name.decode() for _tag, name, _row in order]).encode()
    sealed_names = encrypt(_NONCE_OF_NAMES, ordered, place)
    lengths = list(map(len, sealed))
    first = _HEADER.size + len(order) * _RECORD.size + len(sealed_names)
    records = map(_RECORD.pack, [row[0] for row in order], accumulate(lengths, initial=first), lengths)
    return b"".join((_HEADER.pack(len(order), len(sealed_names)), *records, sealed_names, *sealed))


class Table:
    """Reads a file with the content from `build`. Methods raise Damaged."""

    def __init__(self, path: str, key: bytes, place: bytes) -> None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._decrypt, self._invalid = AESGCM(key[:_KEY]).decrypt, InvalidTag
        self._salt, self._place = key[_KEY:], place
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - stays open for later reads
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError:
            raise Damaged from None
        self._count, self._names_length = _HEADER.unpack(self._read(0, _HEADER.size))
        if _HEADER.size + self._count * _RECORD.size + self._names_length > self._size:
            raise Damaged

    def get(self, name: str) -> bytes | None:
        """Return the value with this name, or None."""
        tag = _hash(self._salt, _encode(name))
        position = bisect_left(range(self._count), tag, key=self._tag_at)
        if position < self._count and self._tag_at(position) == tag:
            return self._open(position, name, self._record(position))
        if name in self.names:  # the index has been changed
            raise Damaged
        return None

    @cached_property
    def names(self) -> frozenset[str]:
        """All names."""
        return frozenset(self._ordered())

    def read_all(self) -> dict[str, bytes]:
        """Return all values keyed by name."""
        index = self._read(_HEADER.size, self._count * _RECORD.size)
        rows = enumerate(zip(self._ordered(), _RECORD.iter_unpack(index), strict=True))
        return {name: self._open(position, name, record) for position, (name, record) in rows}

    def _ordered(self) -> list[str]:
        sealed = self._read(_HEADER.size + self._count * _RECORD.size, self._names_length)
        try:
            names: list[str] = json.loads(self._decrypt(_NONCE_OF_NAMES, sealed, self._place))
        except self._invalid:
            raise Damaged from None
        if len(names) != self._count:
            raise Damaged
        return names

    def _record(self, position: int) -> tuple[bytes, int, int]:
        return _RECORD.unpack(self._read(_HEADER.size + position * _RECORD.size, _RECORD.size))

    def _tag_at(self, position: int) -> bytes:
        return self._read(_HEADER.size + position * _RECORD.size, _TAG)

    def _open(self, position: int, name: str, record: tuple[bytes, int, int]) -> bytes:
        _tag, offset, length = record
        sealed = self._read(offset, length)
        try:
            return self._decrypt(position.to_bytes(12, "big"), sealed, self._place + _encode(name))
        except self._invalid:
            raise Damaged from None

    def _read(self, offset: int, length: int) -> bytes:
        if offset + length > self._size:
            raise Damaged
        content = os.pread(self._file.fileno(), length, offset)
        if len(content) != length:
            raise Damaged
        return content


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _hash(salt: bytes, name: bytes) -> bytes:
    return hashlib.sha256(salt + name).digest()[:_TAG]
