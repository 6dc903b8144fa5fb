# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delays logins after a rejected login, because repeated failures lock the identity for all hosts."""

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
from ..core.errors import CredentialsRejected, InfisicalError, LockedOut, error_class
from ..core.model import is_whole, parse_json
from ..core.times import format_time

_HOUR = 3600.0
_LONGEST = 24 * _HOUR
LOCK_OUT = 300.0
"""Default duration of a lockout on the server in seconds. The wait after a lockout adds a random time of up to this
length."""

_LOCK_WAIT = 900.0
"""Seconds to wait while another job on this host logs in. A rate limit may delay that login for minutes."""

_NOTHING = b"{}"
_LARGEST = 1 << 20
"""The maximum size of the login record in bytes."""


@dataclass(frozen=True)
class _Rejection:
    """The last rejected login. `until` is in seconds since the epoch."""

    credential: str
    salt: str
    conclusion: str
    message: str
    until: float
    count: int


class BackoffLogin(Login):
    """The login that all jobs on a host share, with a delay after a rejection.

    Three failed logins with a client secret or a password, from any hosts, lock the identity for everybody. Other
    methods have no delay. Rejected credentials are sent again only after they have changed, or after 1, 2, 4 … 24
    hours. After a lockout, the next login waits until the lockout ends. The file `path` stores the rejection, with a
    salted hash of the credentials, for all jobs on the host.
    """

    def __init__(self, transport: Transport, path: str) -> None:
        super().__init__(transport)
        self._path = path

    def _authenticate(self) -> Token:
        if not self.method.locks_out:
            # The cause is usually fixed in Infisical, and the next cycle must notice that.
            return super()._authenticate()
        busy = f"Another job of this host did not finish its login within {_LOCK_WAIT:g} seconds."
        with files.hold_lock(self._path + ".lock", _LOCK_WAIT, busy, f"The login record {self._path} cannot be locked"):
            now, before = self._transport.clock.time(), self._read()
            # If `until` is further away than the longest delay, the clock was set back.
            if before is not None and now < before.until <= now + _LONGEST:
                raise _refuse(before)
            try:
                token = super()._authenticate()
            except (CredentialsRejected, LockedOut) as error:
                self._note(error, 0 if before is None else before.count, now)
                raise
            self._forget()
            return token

    def _read(self) -> _Rejection | None:
        """Return the last rejection, if it was for the current credentials."""
        try:
            found: dict[str, Any] = parse_json(files.read_regular(self._path, most=_LARGEST))
            rejection = _Rejection(**found)
            is_valid = (
                rejection.credential == self._hash(rejection.salt)
                and type(rejection.until) in (int, float)
                and is_whole(rejection.count)
                and isinstance(rejection.message, str)
                and error_class(rejection.conclusion) in (CredentialsRejected, LockedOut)
            )
            return rejection if is_valid else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _note(self, error: InfisicalError, count: int, now: float) -> None:
        if isinstance(error, CredentialsRejected):
            count += 1
            wait = min(_LONGEST, _HOUR * 2 ** min(count - 1, 5))
        else:
            wait = LOCK_OUT * random.uniform(1, 2)  # noqa: S311
        salt = os.urandom(16).hex()
        error.details = {**error.details, "next_login": format_time(now + wait)}
        self._write({
            "credential": self._hash(salt), "salt": salt, "conclusion": error.conclusion,
            "message": error.problem, "until": now + wait, "count": count,
        })  # fmt: skip

    def _forget(self) -> None:
        # Keep the file, so that a later rejection can be stored even on a full disk.
        with contextlib.suppress(OSError):
            if files.read_regular(self._path) == _NOTHING:
                return
        self._write({})

    def _write(self, noted: Mapping[str, Any]) -> None:
        # If the disk is full, still report the result of the login.
        with contextlib.suppress(OSError):
            files.write_note(self._path, json.dumps(noted, indent=2).encode("utf-8"))

    def _hash(self, salt: str) -> str:
        text = "\0".join((salt, *self._transport.settings.identity()))
        return hashlib.sha256(text.encode()).hexdigest()


def _refuse(before: _Rejection) -> InfisicalError:
    after, kind = format_time(before.until), error_class(before.conclusion)
    error = kind(
        f"Login skipped until {after}, so that Infisical does not lock the identity for all hosts. "
        f"The last login failed: {before.message}",
        hint="Roll out the correct credentials, which are used immediately." if kind is CredentialsRejected else None,
    )
    error.details = {"next_login": after}
    return error
