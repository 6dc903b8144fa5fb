# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's note about the identity that its agent uses."""

from __future__ import annotations

from ..core import files, systemd
from ..core.errors import CredentialsRejected
from ..core.model import parse_json
from ..identities.held import NOTHING, HeldIdentity, parse_held
from . import credential_files, units

_LARGEST_NOTE = 4096
_LARGEST_RECORD = 1 << 16


def note_file() -> str:
    """Return the path of the note."""
    return f"{units.CONFIGURATION}/identity.json"


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
