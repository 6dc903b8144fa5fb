# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast path of a lookup: read values from the run cache if an earlier lookup of the run had the same options.

The options of the earlier lookup have been checked, so the library, the HTTP client and most of Ansible's configuration
are not needed. That matters because Ansible starts a new process for each task and host. This module imports little.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible import constants as C
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_table import Damaged, Table, get_run_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

NAMES = (
    "allow_http", "api_version", "auth_method", "ca_path", "client_cert", "client_id", "client_key", "client_secret",
    "connection_wait", "environment", "identity_id", "jwt", "jwt_path", "max_response_size", "max_wait",
    "organization_slug", "password", "project_id", "proxy", "rate_limit_wait", "secret_path", "server_error_wait",
    "timeout", "token", "url", "username", "validate_certs",
)  # fmt: skip
"""The shared options, without their definitions."""

_Exact: Any = getattr(sys.modules.get("ansible.utils.native_jinja"), "NativeJinjaText", str)
"""Text that Jinja does not convert. In ansible-core 2.18, this is a class that templating has imported. Importing it
here would take most of the time of this file in later versions, which do not have it."""

_NONCE = 12

_HAS_VALUE, _HIDDEN = b"v", b"h"
"""The first byte of a row in a table of values."""

_OPENED: dict[bytes, _Opened] = {}
"""The listings that this process has opened, keyed by the digest of the options."""
_MOST_OPENED = 20
"""Each listing is an open file. A process can open about a thousand files."""


class CachedListing(NamedTuple):
    """The location of a listing in the run cache. It is valid while `generation_file` contains `generation`.

    `key` (in hex) and `folder` are the arguments of `Table`.
    """

    generation_file: str
    generation: str
    table: str
    key: str
    folder: str
    warnings: list[str]


class _Opened(NamedTuple):
    listing: CachedListing
    table: Table


def run_directory() -> str:
    """Return the directory of the run cache. Ansible removes it at the end of the run."""
    return os.path.join(C.DEFAULT_LOCAL_TMP, "keyfleet.infisical")


def pack_value(value: str | None) -> bytes:
    """Return the row of a value, which is None if the server hides it, in a table of values."""
    return _HIDDEN if value is None else _HAS_VALUE + value.encode()


def unpack_value(row: bytes) -> str | None:
    """Return the value in a row."""
    return row[1:].decode() if row[:1] == _HAS_VALUE else None


class FastPath:
    """The fast path for the options of one lookup.

    `given` are the arguments of the lookup, `variables` the variables of the task, and `template` evaluates a variable.
    The values come from the same sources as in `options.resolve`, but are not checked. `variables` contains the
    evaluated variables afterwards.
    """

    def __init__(
        self, given: Mapping[str, Any], variables: Mapping[str, Any], template: Callable[[Any], Any], directory: str
    ) -> None:
        self._directory = directory
        self.variables = {
            f"infisical_{name}": _evaluate(variables[f"infisical_{name}"], template)
            for name in NAMES
            if f"infisical_{name}" in variables and given.get(name) is None
        }
        environment = {name: value for name, value in os.environ.items() if name.startswith("INFISICAL_")}
        # A default does not change which values are read, and it can be anything.
        arguments = {name: value for name, value in given.items() if name != "default"}
        self._sources = (arguments, self.variables, environment)
        try:
            text = json.dumps([directory, self._sources, get_run_secret()], default=_decrypt, sort_keys=True)
        except (TypeError, ValueError):  # not from JSON or YAML; the slow path refuses it
            text = ""
        self._digest = hashlib.sha512(text.encode()).digest() if text else b""

    def find(self, names: Iterable[Any]) -> tuple[list[str], list[str]] | None:
        """Return the values of the names, and the listing's warnings. Return None if the slow path is needed."""
        opened = self._open() if self._digest else None
        if opened is None:
            return None
        values = []
        try:
            for name in names:
                row = opened.table.get(name) if isinstance(name, str) else None
                value = None if row is None else unpack_value(row)
                if value is None:
                    return None
                values.append(value)
        except Damaged:
            del _OPENED[self._digest]
            return None
        return values, opened.listing.warnings

    def keep(self, listing: CachedListing, credential: str) -> None:
        """Let later lookups with these options use the listing. This does nothing if the disk is full.

        The location is stored in a file whose key is derived from the options and from the secret of the run.
        `credential` is the secret in the options, or empty. If it is not among the hashed options, because it comes
        from ansible.cfg, the file is not written.
        """
        from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        texts = (str(value).strip() for source in self._sources for value in source.values())
        if not self._digest or (credential and credential not in texts):
            return
        opened = self._open()
        if opened is None or opened.listing != listing:
            nonce = secrets.token_bytes(_NONCE)
            content = json.dumps(listing).encode()
            with contextlib.suppress(OSError):
                files.write_atomic(self._path, nonce + AESGCM(self._key).encrypt(nonce, content, None), durable=False)

    def _open(self) -> _Opened | None:
        opened = _OPENED.get(self._digest)
        if opened is None or not _is_current(opened.listing):
            listing = self._read()
            if listing is None or not _is_current(listing):
                return None
            try:
                table = Table(listing.table, bytes.fromhex(listing.key), listing.folder.encode())
            except Damaged:
                return None
            opened = _Opened(listing, table)
            if len(_OPENED) >= _MOST_OPENED:
                _OPENED.clear()
            _OPENED[self._digest] = opened
        return opened

    def _read(self) -> CachedListing | None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            with open(self._path, "rb") as stream:
                sealed = stream.read()
            return CachedListing(*json.loads(AESGCM(self._key).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)))
        except (OSError, InvalidTag, ValueError):
            return None

    @property
    def _key(self) -> bytes:
        return self._digest[:32]

    @property
    def _path(self) -> str:
        return os.path.join(self._directory, f"{self._digest[32:48].hex()}.fast")


def _evaluate(value: Any, template: Callable[[Any], Any]) -> Any:
    return value if isinstance(value, str) and "{" not in value else template(value)


def _decrypt(value: Any) -> str:
    """Return the text of a value that is encrypted with ansible-vault. Newer versions of ansible-core pass text."""
    if getattr(value, "__ENCRYPTED__", False):
        return str(value)
    raise TypeError


def _is_current(listing: CachedListing) -> bool:
    try:
        with open(listing.generation_file, encoding="ascii") as stream:
            return stream.read() == listing.generation
    except OSError:
        return False


def protect_from_jinja(value: Any) -> Any:
    """Return a value that Jinja does not convert."""
    if isinstance(value, dict):
        return {key: protect_from_jinja(inner) for key, inner in value.items()}
    return _Exact(value) if isinstance(value, str) else value
