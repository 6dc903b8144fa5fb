# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way of a lookup: read values from the run cache if an earlier lookup of the run had the same options.

The options of the earlier lookup have been checked, so the library, the HTTP client and most of Ansible's configuration
are not needed. That matters because Ansible starts a new process for each task and host. This module imports little.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible import constants as C
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_table import Damaged, Table

try:  # ansible-core 2.18: text that native Jinja does not convert
    from ansible.utils.native_jinja import NativeJinjaText as _Exact
except ImportError:
    _Exact = str

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

NAMES = (
    "allow_http", "api_version", "auth_method", "ca_path", "client_id", "client_secret", "connection_wait",
    "environment", "max_response_size", "max_wait", "project_id", "proxy", "rate_limit_wait", "secret_path",
    "server_error_wait", "timeout", "token", "url", "validate_certs",
)  # fmt: skip
"""The shared options, without their definitions."""
_VARIABLES = tuple(f"infisical_{name}" for name in NAMES)

_NONCE = 12

_OPEN: dict[bytes, _Place] = {}
"""The listings that this process has opened, keyed by the digest of the options."""


class Listing(NamedTuple):
    """The location of a listing in the run cache. It is valid while `generation_file` contains `generation`."""

    generation_file: str
    generation: str
    table: str
    key: str
    place: str
    warnings: list[str]


class _Place(NamedTuple):
    listing: Listing
    table: Table


def run_directory() -> str:
    """Return the directory of the run cache. Ansible removes it at the end of the run."""
    return os.path.join(C.DEFAULT_LOCAL_TMP, "keyfleet.infisical")


class Shortcut:
    """The short way for one lookup's options.

    `given` are the lookup's arguments, `variables` the variables of the task, and `template` evaluates a variable. The
    values come from the same sources as in `options.resolve`, but are not checked.
    """

    def __init__(
        self, given: Mapping[str, Any], variables: Mapping[str, Any], template: Callable[[Any], Any], directory: str
    ) -> None:
        self._directory = directory
        sources = [
            # A default does not change which values are read, and it can be anything.
            sorted(item for item in given.items() if item[0] != "default"),
            [(name, _evaluate(variables[name], template)) for name in _VARIABLES if name in variables],
            sorted(item for item in os.environ.items() if item[0].startswith("INFISICAL_")),
        ]
        try:
            self._text = json.dumps([directory, sources], default=_decrypt)
        except (TypeError, ValueError):  # not from JSON or YAML; the long way refuses it
            self._text = ""
        self._digest = hashlib.sha512(self._text.encode()).digest()

    def find(self, names: Iterable[Any]) -> tuple[list[str], list[str]] | None:
        """Return the values of the names, and the listing's warnings. Return None if the long way is needed."""
        place = self._open() if self._text else None
        if place is None:
            return None
        values = []
        try:
            for name in names:
                row = place.table.get(name) if isinstance(name, str) else None
                if not row or row[:1] != VALUE:
                    return None
                values.append(row[1:].decode())
        except Damaged:
            return None
        return values, place.listing.warnings

    def keep(self, listing: Listing, credential: str) -> None:
        """Record where the values are for these options.

        The record is encrypted with a key that is derived from the options. So it is not written if `credential`, a
        client secret or token, is not among them, because it is in ansible.cfg. A full disk does not matter, because
        the record can be missing.
        """
        from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if not credential or json.dumps(credential)[1:-1] not in self._text:
            return
        place = self._open()
        if place is None or place.listing != listing:
            nonce = secrets.token_bytes(_NONCE)
            content = json.dumps(listing).encode()
            with contextlib.suppress(OSError):
                files.write_atomic(self._path, nonce + AESGCM(self._key).encrypt(nonce, content, None), durable=False)

    def _open(self) -> _Place | None:
        place = _OPEN.get(self._digest)
        if place is None or not _is_current(place.listing):
            listing = self._read()
            if listing is None or not _is_current(listing):
                return None
            try:
                place = _Place(listing, Table(listing.table, bytes.fromhex(listing.key), listing.place.encode()))
            except Damaged:
                return None
            _OPEN[self._digest] = place
        return place

    def _read(self) -> Listing | None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            with open(self._path, "rb") as stream:
                sealed = stream.read()
            return Listing(*json.loads(AESGCM(self._key).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)))
        except (OSError, InvalidTag, ValueError):
            return None

    @property
    def _key(self) -> bytes:
        return self._digest[:32]

    @property
    def _path(self) -> str:
        return os.path.join(self._directory, f"{self._digest[32:48].hex()}.shortcut")


def _evaluate(value: Any, template: Callable[[Any], Any]) -> Any:
    return value if isinstance(value, str) and "{" not in value else template(value)


def _decrypt(value: Any) -> str:
    """Return the text of a value that is encrypted with ansible-vault. Newer versions of ansible-core pass text."""
    if getattr(value, "__ENCRYPTED__", False):
        return str(value)
    raise TypeError


VALUE, HIDDEN = b"v", b"h"
"""The first byte of a row in a table of values: a value follows, or the server hides the value."""


def _is_current(listing: Listing) -> bool:
    try:
        with open(listing.generation_file, encoding="ascii") as stream:
            return stream.read() == listing.generation
    except OSError:
        return False


def exact(value: Any) -> Any:
    """Return a value that Jinja does not convert."""
    if isinstance(value, dict):
        return {key: exact(inner) for key, inner in value.items()}
    return _Exact(value) if isinstance(value, str) else value
