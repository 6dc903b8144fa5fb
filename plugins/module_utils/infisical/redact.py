# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping values out of text: whatever a server says is searched for what we know to be secret."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from .model import trim

MASK = "********"
_LONGEST_QUOTE = 300
"""Characters of a server's message that are quoted: enough for every message known, too little for a dump."""
_LONGEST_SEARCHED = 65_536
"""Characters of a server's message that are searched for secrets: a longer one is no message, and not quoted."""
_SHORTEST_MASKED = 8
"""Characters of a secret from which on it is masked. Asterisks within words of which the reader knows what they were
tell a shorter one, so nothing is quoted then."""
_SHORTEST_LINE = 8
"""A line of a secret of many lines counts as secret from this length on: `}` or `---` would blank half a message."""


def _spellings(secret: str) -> set[str]:
    encoded = secret.encode("utf-8", "surrogatepass")
    spelled = {
        secret,
        secret.strip(),
        trim(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(encoded, safe=""),
        quote(encoded, safe="!'()*~"),  # encodeURIComponent of ECMAScript
        quote_plus(encoded),
        base64.b64encode(encoded).decode("ascii").rstrip("="),
    }
    # A message that is itself JSON, within the JSON of an answer.
    spelled.update({json.dumps(once)[1:-1] for once in spelled})
    # Servers quote the references in a value, which are parts of it, also where no reference was meant.
    spelled.update(re.findall(r"\$\{([^}]+)\}", secret))
    spelled.update(line.strip() for line in secret.splitlines() if len(line.strip()) >= _SHORTEST_LINE)
    return spelled - {""}


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()


class Sent:
    """What a process has sent that is secret, and the words of others without it.

    An answer may quote what an earlier request has sent, so nothing is forgotten. For text that others wrote: our own
    words are built without values, so that names and counts stay whole even if a value is `1` or `prod`.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._new: dict[str, None] = {}
        self._known: set[str] = set()
        self._plain: set[str] = set()
        self._spellings: set[str] = set()
        self.remember(secrets)

    def remember(self, secrets: Iterable[str]) -> None:
        """Keep these out of every text from now on."""
        # Spelled when an answer is to be quoted, which is seldom.
        self._new.update(dict.fromkeys(secret for secret in secrets if secret not in self._known))

    def redact(self, text: str) -> str:
        """`text` with every secret replaced by asterisks, also if it is JSON, percent or base64 encoded; empty if one
        of the secrets is so short that the asterisks would give it away."""
        for secret in self._new:
            self._spellings |= _spellings(secret)
            self._plain.add(_plain(secret))
        self._known.update(self._new)
        self._new.clear()
        if min(map(len, self._spellings), default=_SHORTEST_MASKED) < _SHORTEST_MASKED:
            return ""
        for spelling in sorted((one for one in self._spellings if one in text), key=len, reverse=True):
            text = text.replace(spelling, MASK)
        return text

    def _shows_part(self, line: str) -> bool:
        """Whether eight characters of a secret are left in a line: servers shorten what they quote, and proxies escape
        it in ways of their own. Upper and lower case and white space count for nothing."""
        plain = _plain(html.unescape(line))
        parts = {plain[start : start + _SHORTEST_MASKED] for start in range(len(plain) - _SHORTEST_MASKED + 1)}
        return any(part in secret for secret in self._plain for part in parts)

    def quote(self, text: str) -> str:
        """A server's words fit for a message: redacted, in one line, of bounded length, without a full stop."""
        if len(text) > _LONGEST_SEARCHED:
            return ""
        line = " ".join(self.redact(text).split()).rstrip(".")
        line = "".join(character if character.isprintable() else "?" for character in line)
        line = line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…"
        return "" if self._shows_part(line) else line


def unexpected(error: BaseException) -> str:
    """What can be said of an exception that nobody foresaw: its type and place, not its text, which may quote a
    secret."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else "an unknown place"
    return (
        f"Unexpected {type(error).__name__} at {where}. Its text is withheld because it might hold a secret. This is a "
        "defect of the collection keyfleet.infisical: please report it."
    )
