# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second reader of vault files, written from the manual's page vault_format alone, without the library."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Unreadable(Exception):
    """A vault that cannot be read; the message is the conclusion in the words of the page."""


class Opened(NamedTuple):
    """A vault as the page describes it, with every key that the test vectors contain."""

    vault_id: bytes
    generation: int
    jobs: dict[str, Any]
    entries: dict[str, dict[str, Any]]
    text: str
    keys: dict[str, bytes]


def hkdf(key: bytes, salt: bytes, info: str, length: int) -> bytes:
    """Derive at most 32 bytes with HKDF-SHA256 (RFC 5869), which takes one step of its expansion."""
    extracted = hmac.digest(salt, key, hashlib.sha256)
    return hmac.digest(extracted, info.encode("ascii") + b"\x01", hashlib.sha256)[:length]


def open_vault(path: Path, *, key: bytes = b"", passphrase: str = "") -> Opened:
    """Open a vault file. Raises Unreadable."""
    data = path.read_bytes()
    if data[:8] != b"KFVAULT\n":
        raise Unreadable("not_a_vault")
    if len(data) >= 10 and struct.unpack(">H", data[8:10])[0] > 1:
        raise Unreadable("newer_vault")
    if len(data) < 158 or data[8:10] == b"\0\0":
        raise Unreadable("vault_damaged")
    kind, n_log2, r, p = data[10:14]
    bounds = (n_log2, r, p) == (0, 0, 0) if kind == 0 else 1 <= n_log2 <= 20 and 1 <= r <= 16 and 1 <= p <= 4
    if kind > 1 or not bounds:
        raise Unreadable("vault_damaged")
    vault_id, salt, check, wrap_nonce = data[14:30], data[30:46], data[54:70], data[70:82]
    wrapped, data_nonce, sealed = data[82:130], data[130:142], data[142:]
    (generation,) = struct.unpack(">Q", data[46:54])
    if bool(passphrase) != (kind == 1):
        raise Unreadable("wrong_key")
    wrapping = key
    if kind == 1:
        wrapping = hashlib.scrypt(
            passphrase.encode(), salt=salt, n=1 << n_log2, r=r, p=p, dklen=32, maxmem=(128 << n_log2) * r + (1 << 20)
        )
    if not hmac.compare_digest(hkdf(wrapping, salt, "keyfleet vault check", 16), check):
        raise Unreadable("wrong_key")
    wrapping_key = hkdf(wrapping, salt, "keyfleet vault wrap", 32)
    try:
        data_key = AESGCM(wrapping_key).decrypt(wrap_nonce, wrapped, data[:46])
        text = AESGCM(data_key).decrypt(data_nonce, sealed, data[:142]).decode()
    except InvalidTag:
        raise Unreadable("vault_damaged") from None
    first, _newline, second = text.partition("\n")
    head, entries = json.loads(first), json.loads(second)
    if generation == 0 or head["count"] != len(entries):
        raise Unreadable("vault_damaged")
    return Opened(
        vault_id,
        generation,
        head["jobs"],
        {
            name: {
                "value": value,
                **dict(zip(("job", "project_id", "environment", "secret_path"), head["origins"][origin])),
                "key": name if own is None else own,
                "id": id_,
                "version": version,
                "synced_at": synced_at,
            }
            for name, (value, origin, own, id_, version, synced_at) in entries.items()
        },
        text,
        {
            "wrapping secret": wrapping,
            "check value": check,
            "wrapping key": wrapping_key,
            "data key": data_key,
            "wrapped data key": wrapped,
            "hash key": hkdf(data_key, vault_id, "keyfleet vault state hash", 32),
            "salt": salt,
            "vault id": vault_id,
            "wrap nonce": wrap_nonce,
            "data nonce": data_nonce,
        },
    )
