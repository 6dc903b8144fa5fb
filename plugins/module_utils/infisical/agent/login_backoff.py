# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the agent may log in: what was refused is not tried again and again, since that locks out the whole fleet."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..client.auth import Login, Token
from ..client.transport import Transport
from ..core import files
from ..core.errors import Busy, CredentialsRejected, InfisicalError, LockedOut, error_class
from ..core.model import is_whole, parse_json
from ..core.times import format_time

_HOUR = 3600.0
_LONGEST = 24 * _HOUR
LOCK_OUT = 300.0
"""Seconds that a lock-out of the identity lasts on servers as they come; as many again are waited at random."""

_LOCK_WAIT = 900.0
"""Seconds to wait for another job of this host that is logging in, which a rate limit may hold up for minutes."""


_NOTHING = b"{}"
_LARGEST = 1 << 20
"""Bytes that are read of what is known of logins."""


@dataclass(frozen=True)
class _Refused:
    """What is known of the last login that was refused; `until` in seconds since the epoch."""

    credential: str
    salt: str
    conclusion: str
    message: str
    until: float
    count: int


class GatedLogin(Login):
    """The login of all jobs of a host: refused credentials are not sent again before they change or 1, 2, 4 … 24 hours
    have passed, and a lock-out is waited out.

    Three wrong logins, from whichever hosts, lock the identity for everybody. `path` is the file that remembers it,
    with a salted hash of the credentials, which the jobs of a host share.
    """

    def __init__(self, transport: Transport, path: str) -> None:
        super().__init__(transport)
        self._path = path

    def _authenticate(self) -> Token:
        try:
            with files.locked(self._path + ".lock", _LOCK_WAIT):
                return self._authenticate_alone()
        except files.LockTimeout:
            raise Busy(f"Another job of this host did not end its login within {_LOCK_WAIT:g} seconds.") from None
        except OSError as error:
            raise files.explained(error, f"What is known of logins ({self._path}) cannot be used", self._path) from None

    def _authenticate_alone(self) -> Token:
        now = self._transport.clock.time()
        refused = self._refused()
        # A clock that was set back must not make a day of it.
        if refused is not None and now < refused.until <= now + _LONGEST:
            raise _still(refused)
        try:
            token = super()._authenticate()
        except InfisicalError as error:
            if isinstance(error, (CredentialsRejected, LockedOut)):
                self._note(error, refused, now)
            raise
        self._forget()
        return token

    def _refused(self) -> _Refused | None:
        """The last login, if it was refused with these credentials."""
        try:
            found: dict[str, Any] = parse_json(files.read_regular(self._path, most=_LARGEST))
            refused = _Refused(**found)
            known = refused.credential == self._hashed(refused.salt)
            numbers = type(refused.until) in (int, float) and is_whole(refused.count)
            sound = (
                numbers
                and isinstance(refused.message, str)
                and error_class(refused.conclusion) in (CredentialsRejected, LockedOut)
            )
            return refused if known and sound else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _note(self, error: InfisicalError, before: _Refused | None, now: float) -> None:
        rejected = isinstance(error, CredentialsRejected)
        count = (before.count if before is not None else 0) + rejected
        wait = min(_LONGEST, _HOUR * 2 ** min(count - 1, 5)) if rejected else LOCK_OUT * random.uniform(1, 2)  # noqa: S311
        salt = os.urandom(16).hex()
        noted = {
            "credential": self._hashed(salt), "salt": salt, "conclusion": error.conclusion,
            "message": str(error), "until": now + wait, "count": count,
        }  # fmt: skip
        error.details = {**error.details, "next_login": format_time(now + wait)}
        self._write(noted)

    def _forget(self) -> None:
        # The file stays: it is room for what is to be remembered when the disk is full.
        with contextlib.suppress(OSError):
            if files.read_regular(self._path) == _NOTHING:
                return
        self._write({})

    def _write(self, noted: Mapping[str, Any]) -> None:
        # A full disk must not hide why the login failed, nor that it did not.
        with contextlib.suppress(OSError):
            files.write_note(self._path, json.dumps(noted, indent=2).encode("utf-8"))

    def _hashed(self, salt: str) -> str:
        settings = self._transport.settings
        text = "\0".join((salt, settings.url, settings.client_id, settings.client_secret))
        return hashlib.sha256(text.encode()).hexdigest()


def _still(refused: _Refused) -> InfisicalError:
    after = format_time(refused.until)
    changed = (
        "as soon as other ones are rolled out" if refused.conclusion == CredentialsRejected.conclusion
        else "by then the lock-out should have ended"
    )  # fmt: skip
    error = error_class(refused.conclusion)(
        f"Did not log in again, so that the identity is not locked for the whole fleet: these credentials are tried "
        f"again after {after}; {changed}. The answer before was: {refused.message}",
        hint="",
    )
    error.details = {"next_login": after}
    return error
