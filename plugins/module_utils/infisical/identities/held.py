# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host reports about the identity that its agent uses: ids and times, but never a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..core.model import is_whole
from ..core.options import LOGIN_METHODS
from ..core.times import YEAR_10000

_ID = re.compile(r"[A-Za-z0-9_.:-]{0,128}\Z")
_PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----\n(?:[A-Za-z0-9+/=]{1,76}\n){1,30}-----END PUBLIC KEY-----\n?\Z")


class HeldIdentity(NamedTuple):
    """The identity that a host's agent uses. Unknown texts are empty. A compromised host may report anything.

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


def parse_held(data: Any) -> HeldIdentity:
    """Return the identity in plain data from a host, which may be compromised, or NOTHING if any field is invalid."""
    if not isinstance(data, Mapping):
        return NOTHING
    found = HeldIdentity(**{name: data.get(name, default) for name, default in NOTHING._asdict().items()})
    is_valid = (
        all(isinstance(text, str) and _ID.match(text) for text in found[:3])
        and is_whole(found.expires_at)
        and 0 <= found.expires_at < YEAR_10000
        and found.auth_method in ("", *LOGIN_METHODS)
        and isinstance(found.rejected, bool)
        and isinstance(found.public_key, str)
        and (not found.public_key or bool(_PUBLIC_KEY.match(found.public_key)))
    )
    return found if is_valid else NOTHING
