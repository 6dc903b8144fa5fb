# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping secrets out of text: a server's message is searched for every secret that this process knows."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote

from .model import trim

MASK = "********"
_LONGEST_QUOTE = 300
"""Characters of a server's message that are quoted: enough for every known message, too few for a dump."""
_LONGEST_SEARCHED = 65_536
"""Characters of the longest message that is searched for secrets. A longer text is not quoted at all."""
_SHORTEST_MASKED = 8
"""Characters of the shortest secret that is masked. A message with a shorter one is not quoted at all, because a reader
who knows the message could guess what the asterisks hide."""
_PART, _SHORT_PART, _LONG = 8, 5, 12
"""A message must not show `_PART` characters of a secret in a row. Of a secret shorter than `_LONG`, it must not show
`_SHORT_PART`."""
_SHORTEST_LINE = 8
"""Characters of the shortest line that counts as secret by itself: shorter ones (`}`, `---`) are in many messages."""


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
    # Servers quote a reference in a value, which is a part of it, even if the value only looks like a reference.
    spelled.update(re.findall(r"\$\{([^}]+)\}", secret))
    spelled.update(line.strip() for line in secret.splitlines() if len(line.strip()) >= _SHORTEST_LINE)
    return spelled - {""}


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()


def _decoded(line: str) -> Iterator[str]:
    """Yield a line, and what it decodes to from each encoding in which servers and proxies may quote a secret.

    These are HTML, percent encoding, JSON escapes, base64, hex, and the numbers of a Node buffer.
    """
    yield line
    yield unquote(html.unescape(line))
    yield re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), line)
    raw = [bytes.fromhex(run[: len(run) // 2 * 2]) for run in re.findall(r"[0-9a-fA-F]{10,}", line)]
    raw += [
        bytes(byte for byte in map(int, run.split(",")) if byte < 256)
        for run in re.findall(r"\d{1,3}(?: ?, ?\d{1,3}){4,}", line)
    ]
    for run in re.findall(r"[A-Za-z0-9+/_-]{8,}", line):
        run = run.replace("-", "+").replace("_", "/")
        for start in range(4):  # the cut may be at any of four places
            part = run[start:]
            raw.append(base64.b64decode(part[: len(part) // 4 * 4]))
    yield from (one.decode("utf-8", "replace") for one in raw)


class Sent:
    """The secrets that a process has sent or read, to be removed from text of others.

    Nothing is forgotten, because an answer may quote an earlier request. Our own messages contain no values and are not
    searched: a value such as `1` or `prod` would damage names and counts.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._new: dict[str, None] = {}
        self._known: set[str] = set()
        self._read: list[Iterable[str | None]] = []
        self._short: set[str] = set()
        self._plain: dict[int, set[str]] = {_PART: set(), _SHORT_PART: set()}
        self._spellings: set[str] = set()
        self.remember(secrets)

    def remember(self, secrets: Iterable[str]) -> None:
        """Keep these out of every text from now on."""
        # Their spellings are computed when a text is quoted, which is rare.
        self._new.update(dict.fromkeys(secret for secret in secrets if secret not in self._known))

    def remember_read(self, values: Iterable[str | None]) -> None:
        """Keep values that were read from a server out of every text from now on.

        The iterable is consumed when the next text is quoted, which is rare.
        """
        self._read.append(values)

    def _learn(self) -> None:
        for secret in self._new:
            self._spellings |= _spellings(secret)
        read = {value for values in self._read for value in values if value} - self._known - set(self._new)
        for secret in read:
            spelled = _spellings(secret)
            self._short.update(spelling for spelling in spelled if len(spelling) < _SHORTEST_MASKED)
            self._spellings.update(spelling for spelling in spelled if len(spelling) >= _SHORTEST_MASKED)
        # Short parts of read values are not compared, because they are ordinary words in nearly every message.
        for plain in map(_plain, self._new):
            self._plain[_PART if len(plain) >= _LONG else _SHORT_PART].add(plain)
        self._plain[_PART].update(map(_plain, read))
        self._known.update(self._new, read)
        self._new.clear()
        self._read.clear()

    def redact(self, text: str) -> str:
        """Replace every secret in `text` by asterisks, also in JSON, percent or base64 encoding.

        The result is empty if one of the secrets is so short that a reader could guess it from the asterisks.
        """
        self._learn()
        if min(map(len, self._spellings), default=_SHORTEST_MASKED) < _SHORTEST_MASKED:
            return ""
        if any(short in text for short in self._short):
            return ""
        for spelling in sorted((one for one in self._spellings if one in text), key=len, reverse=True):
            text = text.replace(spelling, MASK)
        return text

    def _shows_part(self, line: str) -> bool:
        """Return whether a line still shows a part of a secret, ignoring case and white space.

        Servers shorten what they quote, and proxies escape it in different ways.
        """
        texts = set(map(_plain, _decoded(line)))
        for size, secrets in self._plain.items():
            parts = {text[start : start + size] for text in texts for start in range(len(text) - size + 1)}
            parts = {part for part in parts if "\ufffd" not in part}  # bytes that are not text
            if any(part in secret for secret in secrets for part in parts):
                return True
        return False

    def quote(self, text: str) -> str:
        """Return a server's message redacted, in one line, of limited length, without a period at the end."""
        if len(text) > _LONGEST_SEARCHED:
            return ""
        line = " ".join(self.redact(text).split()).rstrip(".")
        line = "".join(character if character.isprintable() else "?" for character in line)
        line = line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…"
        return "" if self._shows_part(line) else line


def describe_unexpected(error: BaseException) -> str:
    """Describe an unexpected exception by its type and place, without its text, which may quote a secret."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else "an unknown place"
    return (
        f"Unexpected {type(error).__name__} at {where}. Its text is withheld because it might contain a secret. This "
        "is a bug in the collection keyfleet.infisical: please report it."
    )
