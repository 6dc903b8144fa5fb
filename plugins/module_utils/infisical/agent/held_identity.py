# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's note about the identity that its agent uses: ids and times, but never a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..core import files, systemd
from ..core.errors import CredentialsRejected
from ..core.model import is_whole, parse_json
from ..core.options import LOGIN_METHODS
from . import credential_files, units

_LARGEST_NOTE = 4096
_LARGEST_RECORD = 1 << 16
_ID = re.compile(r"[A-Za-z0-9_.:-]{0,128}\Z")
_PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----\n(?:[A-Za-z0-9+/=]{1,76}\n){1,30}-----END PUBLIC KEY-----\n?\Z")
_LATEST = 253_402_300_800
"""The beginning of the year 10000, in seconds since the epoch."""


class HeldIdentity(NamedTuple):
    """The identity that a host's agent uses. Unknown texts are empty.

    `expires_at` is the time in seconds since the epoch at which the client secret expires, or 0 if it does not expire
    or is unknown. The note does not contain the last two fields: the public key (PEM) of the host's own key pair, and
    whether the server has rejected the host's last login.
    """

    identity_id: str = ""
    client_id: str = ""
    client_secret_id: str = ""
    expires_at: int = 0
    auth_method: str = ""
    public_key: str = ""
    rejected: bool = False

    def as_data(self) -> dict[str, Any]:
        """Return the fields of the note."""
        return {name: value for name, value in self._asdict().items() if name not in ("public_key", "rejected")}

    def as_note(self) -> str:
        """Return the text of the note."""
        return json.dumps(self.as_data(), indent=2) + "\n"


NOTHING = HeldIdentity()


def note_file() -> str:
    """Return the path of the note."""
    return f"{units.CONFIGURATION}/identity.json"


def parse_held(data: Any) -> HeldIdentity:
    """Return the identity in plain data from a host, which may be compromised, or NOTHING if any field is invalid."""
    if not isinstance(data, Mapping):
        return NOTHING
    found = HeldIdentity(**{name: data.get(name, default) for name, default in NOTHING._asdict().items()})
    is_valid = (
        all(isinstance(text, str) and _ID.match(text) for text in found[:3])
        and is_whole(found.expires_at)
        and 0 <= found.expires_at < _LATEST
        and found.auth_method in ("", *LOGIN_METHODS)
        and isinstance(found.rejected, bool)
        and isinstance(found.public_key, str)
        and (not found.public_key or bool(_PUBLIC_KEY.match(found.public_key)))
    )
    return found if is_valid else NOTHING


def read_note() -> HeldIdentity:
    """Return the identity in this host's note. Return NOTHING if there is no valid note, or if the agent was installed
    on a machine with another id, because this machine cannot use that machine's credentials."""
    if systemd.machine_id(systemd.INSTALLED_MACHINE_ID) != systemd.machine_id():
        return NOTHING
    try:
        return parse_held(parse_json(files.read_regular(note_file(), most=_LARGEST_NOTE)))
    except (OSError, ValueError):
        return NOTHING


def read_usable() -> HeldIdentity:
    """As root, return the identity in this host's note, or NOTHING if the host cannot read the identity's client
    secret. Raises InfisicalError if systemd-creds cannot be run."""
    held = read_note()
    if held.client_secret_id and credential_files.find("infisical_client_secret") is None:
        return NOTHING
    return held._replace(rejected=held.auth_method == "universal_auth" and _is_rejected())


def login_file() -> str:
    """Return the path of the record of a rejected login (see login_backoff). The agent's user owns the record."""
    return f"{units.STATE}/login.json"


def _is_rejected() -> bool:
    """Return whether the agent has recorded a rejected login since the identity in the note was stored."""
    try:
        found = parse_json(files.read_regular(login_file(), most=_LARGEST_RECORD))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("conclusion") == CredentialsRejected.conclusion
