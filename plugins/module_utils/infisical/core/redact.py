# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping secrets out of messages: a server's message is searched for every secret that this process knows."""

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
"""Maximum number of characters quoted from a server's message: enough for every known one, too few for a dump."""
_LONGEST_SEARCHED = 65_536
"""Maximum length, in characters, of a message that is searched for secrets. A longer one is not quoted at all."""
_SHORTEST_MASKED = 8
"""Minimum length, in characters, of a secret that is masked. A message with a shorter secret is not quoted at all: a
reader who knows the message could guess the characters behind the asterisks."""
_PART, _SHORT_PART, _LONG = 8, 5, 12
"""A quoted message must not contain `_PART` consecutive characters of a secret or, if the secret is shorter than
`_LONG`, `_SHORT_PART` consecutive characters."""
_SHORTEST_LINE = 8
"""Minimum length, in characters, of a line that counts as a secret by itself. Shorter lines (`}`, `---`) occur in many
messages."""


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
    # The message may itself be JSON, inside a JSON response.
    spelled.update({json.dumps(once)[1:-1] for once in spelled})
    # Servers quote a reference in a value. It is part of the value, even if it only looks like a reference.
    spelled.update(re.findall(r"\$\{([^}]+)\}", secret))
    spelled.update(line.strip() for line in secret.splitlines() if len(line.strip()) >= _SHORTEST_LINE)
    return spelled - {""}


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()


def _decoded(line: str) -> Iterator[str]:
    """Yield a line, and the results of decoding it.

    Servers and proxies may quote a secret in several encodings: HTML, percent encoding, JSON escapes, base64, hex, and
    the numbers in a Node buffer.
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
        for start in range(4):  # the quoted part may begin at any of four offsets
            part = run[start:]
            raw.append(base64.b64decode(part[: len(part) // 4 * 4]))
    yield from (one.decode("utf-8", "replace") for one in raw)


class Sent:
    """The secrets that a process has sent or read, and that must be removed from other systems' messages.

    Secrets are never removed from this object, because a response may quote an earlier request. Our own messages
    contain no values and are not searched: masking a value such as `1` or `prod` would damage names and counts.
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
        """Keep these secrets out of every message from now on."""
        # The spellings of a secret are computed when a message is quoted, which is rare.
        self._new.update(dict.fromkeys(secret for secret in secrets if secret not in self._known))

    def remember_read(self, values: Iterable[str | None]) -> None:
        """Keep values that were read from a server out of every message from now on.

        The iterable is consumed when the next message is quoted, which is rare.
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
        # Short parts of read values are not searched for, because they occur as ordinary words in almost every message.
        for plain in map(_plain, self._new):
            self._plain[_PART if len(plain) >= _LONG else _SHORT_PART].add(plain)
        self._plain[_PART].update(map(_plain, read))
        self._known.update(self._new, read)
        self._new.clear()
        self._read.clear()

    def redact(self, text: str) -> str:
        """Replace every secret in `text` with asterisks, including secrets in JSON, percent or base64 encoding.

        The result is empty if a secret is so short that a reader could guess it from the asterisks.
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
        """Return whether a line still contains a part of a secret, ignoring case and white space.

        Servers truncate quoted text, and proxies escape it in different ways.
        """
        texts = set(map(_plain, _decoded(line)))
        for size, secrets in self._plain.items():
            parts = {text[start : start + size] for text in texts for start in range(len(text) - size + 1)}
            parts = {part for part in parts if "\ufffd" not in part}  # bytes that are not text
            if any(part in secret for secret in secrets for part in parts):
                return True
        return False

    def quote(self, text: str) -> str:
        """Return a server's message as one redacted line of limited length, without a trailing period.

        The result is empty if the message cannot be quoted safely.
        """
        if len(text) > _LONGEST_SEARCHED:
            return ""
        line = " ".join(self.redact(text).split()).rstrip(".")
        line = "".join(character if character.isprintable() else "?" for character in line)
        line = line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…"
        return "" if self._shows_part(line) else line


def describe_unexpected(error: BaseException) -> str:
    """Describe an unexpected exception by its type and location, without its text, which may quote a secret."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else "an unknown place"
    return (
        f"Unexpected {type(error).__name__} at {where}. Its text is withheld because it might contain a secret. This "
        "is a bug in the collection keyfleet.infisical: please report it."
    )
