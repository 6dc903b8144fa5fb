# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The binary format of a vault file: its header, and sealing and opening its text; see vault_format.rst."""

from __future__ import annotations

import hmac
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

from ..core.errors import MissingLibrary
from . import keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"KFVAULT\n"
FORMAT = 1

NEW_COST = (15, 8, 1)
"""The scrypt cost for new vaults: log2 N, r, p. It takes 32 MiB of memory and about 60 ms."""

_HEADER = struct.Struct(">8sHBBBB16s16sQ16s12s48s12s")
_FIXED = 46
"""Length in bytes of the header up to and including the salt. These bytes authenticate the wrapped data key."""
_TAG = 16
OVERHEAD = _HEADER.size + _TAG
"""Number of bytes in a vault file in addition to its text."""
_KINDS: tuple[keys.Kind, ...] = ("key", "passphrase")


class Malformed(Exception):
    """The bytes do not follow the format. The message completes the sentence "The vault is damaged: …"."""


class Header(NamedTuple):
    kind: keys.Kind
    cost: tuple[int, int, int]
    vault_id: bytes
    salt: bytes
    generation: int
    check: bytes
    wrap_nonce: bytes
    wrapped: bytes
    data_nonce: bytes

    def pack(self) -> bytes:
        return _HEADER.pack(
            MAGIC, FORMAT, _KINDS.index(self.kind), *self.cost, self.vault_id, self.salt, self.generation, self.check,
            self.wrap_nonce, self.wrapped, self.data_nonce,
        )  # fmt: skip


def read_version(raw: bytes) -> int:
    """Return the format version of a vault file, or 0 if the file ends before the version."""
    return int.from_bytes(raw[8:10], "big") if len(raw) >= 10 else 0


def read_header(raw: bytes) -> Header:
    """Return the header of a vault file. Raises Malformed."""
    if len(raw) < OVERHEAD:
        raise Malformed(f"it ends after {len(raw)} bytes")
    _magic, version, kind, n_log2, r, p, *rest = _HEADER.unpack_from(raw)
    cost = (n_log2, r, p)
    if version != FORMAT or kind >= len(_KINDS):
        raise Malformed("its header contains an unknown format or kind of key")
    if _KINDS[kind] == "key" and cost != (0, 0, 0):
        raise Malformed("its header contains a scrypt cost, although the vault is sealed with a key")
    if _KINDS[kind] == "passphrase" and not keys.is_allowed_cost(*cost):
        raise Malformed(
            f"its header contains an excessive scrypt cost (N=2^{n_log2}, r={r}, p={p}), which could exhaust this "
            "machine's memory"
        )
    return Header(_KINDS[kind], cost, *rest)


def new_header(kind: keys.Kind, vault_id: bytes) -> Header:
    """Return a header for generation 0 with a new salt, but without a wrapped data key."""
    cost = NEW_COST if kind == "passphrase" else (0, 0, 0)
    return Header(kind, cost, vault_id, random_bytes(16), 0, bytes(16), random_bytes(12), bytes(48), bytes(12))


def wrap(header: Header, wrapping: bytes, data_key: bytes) -> Header:
    """Return the header with the data key wrapped by `wrapping`, which is a key or a stretched passphrase."""
    cipher = _cipher()(keys.derive(wrapping, header.salt, b"keyfleet vault wrap", 32))
    wrapped = cipher.encrypt(header.wrap_nonce, data_key, header.pack()[:_FIXED])
    return header._replace(check=keys.derive(wrapping, header.salt, b"keyfleet vault check", 16), wrapped=wrapped)


def is_wrapped_by(header: Header, wrapping: bytes) -> bool:
    """Return whether `wrapping` is the secret that wraps the data key."""
    return hmac.compare_digest(keys.derive(wrapping, header.salt, b"keyfleet vault check", 16), header.check)


def unseal(raw: bytes, header: Header, wrapping: bytes) -> tuple[bytes, bytes]:
    """Return the data key and the text in a vault file. Raises Malformed."""
    cipher, packed = _cipher(), raw[: _HEADER.size]
    from cryptography.exceptions import InvalidTag

    try:
        wrapping_key = keys.derive(wrapping, header.salt, b"keyfleet vault wrap", 32)
        data_key = cipher(wrapping_key).decrypt(header.wrap_nonce, header.wrapped, packed[:_FIXED])
        # The slice is a copy, because cryptography 3.4 does not accept a memoryview.
        text = cipher(data_key).decrypt(header.data_nonce, raw[_HEADER.size :], packed)
    except InvalidTag:
        raise Malformed("the key is correct, but the content was changed") from None
    if header.generation == 0:
        raise Malformed("its generation is 0")
    return data_key, text


def seal(header: Header, data_key: bytes, text: bytes) -> bytes:
    """Seal the text, and return the bytes of the vault file."""
    header = header._replace(data_nonce=random_bytes(12))
    packed = header.pack()
    return packed + _cipher()(data_key).encrypt(header.data_nonce, text, packed)


def derive_hash_key(data_key: bytes, vault_id: bytes) -> bytes:
    """Return the key for the hashes in a state file."""
    return keys.derive(data_key, vault_id, b"keyfleet vault state hash", 32)


def random_bytes(count: int) -> bytes:
    # Tests replace this function to write the test vectors of vault_format.rst.
    return os.urandom(count)


def _cipher() -> type[AESGCM]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise MissingLibrary("cryptography") from None
    return AESGCM
