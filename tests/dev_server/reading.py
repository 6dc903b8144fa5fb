# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the parameters of a query or body and collects an issue for each invalid parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from .refusals import Conclusion, Issues

_ABSENT = object()
FLAGS = {"true": True, "false": False}


def _type_of(value: Any) -> str:
    """Return JavaScript's name for the type of a value."""
    if value is _ABSENT:
        return "undefined"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return names[type(value)]


class Reader:
    """Reads parameters one by one and collects their issues; `check` refuses the request with all of them.

    Unknown parameters are ignored, as on real servers. An invalid parameter reads as an empty value.
    """

    def __init__(
        self,
        source: Any,
        issues: list[dict[str, Any]] | None = None,
        path: tuple[str | int, ...] = (),
    ) -> None:
        self.issues: list[dict[str, Any]] = [] if issues is None else issues
        self.path = path
        self.is_object = isinstance(source, dict)
        self.source: Mapping[str, Any] = source if self.is_object else {}
        if not self.is_object:
            self.wrong_type("object", source)

    def issue(self, code: str, message: str, name: str | None = None, **facts: Any) -> None:
        """Add an issue in the format of zod, the validation library of real servers."""
        self.issues.append({"code": code, **facts, "path": [*self.path, *([name] if name else [])], "message": message})

    def wrong_type(self, expected: str, value: Any, name: str | None = None) -> None:
        received = _type_of(value)
        message = "Required" if value is _ABSENT else f"Expected {expected}, received {received}"
        self.issue("invalid_type", message, name, expected=expected, received=received)

    def _take(self, name: str, expected: str, required: bool) -> Any:
        """Return the parameter, or `_ABSENT`; add an issue if it is required or has the wrong type."""
        value = self.source.get(name, _ABSENT)
        missing = value is _ABSENT and required and self.is_object
        if missing or (value is not _ABSENT and _type_of(value) != expected):
            self.wrong_type(expected, value, name)
            return _ABSENT
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self._take(name, "string", default is None)
        return (default or "") if value is _ABSENT else value

    def optional_text(self, name: str) -> str | None:
        value = self._take(name, "string", False)
        return None if value is _ABSENT else value

    def flag(self, name: str, default: bool = False) -> bool:
        """Read a boolean of a query: `true` or `false`."""
        word = self._take(name, "string", False)
        if word is _ABSENT:
            return default
        if word not in FLAGS:
            self.wrong_word(name, word, tuple(FLAGS))
        return FLAGS.get(word, default)

    def wrong_word(self, name: str, word: str, words: tuple[str, ...]) -> None:
        known = " | ".join(f"'{one}'" for one in words)
        message = f"Invalid enum value. Expected {known}, received '{word}'"
        self.issue("invalid_enum_value", message, name, received=word, options=list(words))

    def number(self, name: str) -> int | None:
        word = self.optional_text(name)
        if word is not None and not word.isdecimal():
            self.issue("invalid_type", "Expected number, received nan", name, expected="number", received="nan")
            return None
        return None if word is None else int(word)

    def whole(self, name: str, default: int = 0) -> int:
        """Read a number of a JSON body."""
        value = self._take(name, "number", False)
        return default if value is _ABSENT else int(value)

    def one_of(self, name: str, words: tuple[str, ...]) -> str:
        """Read one of the words; the first word is the default."""
        word = self.text(name, words[0])
        if word not in words:
            self.wrong_word(name, word, words)
        return word

    def texts(self, name: str) -> tuple[str, ...] | None:
        values = self._take(name, "array", False)
        if values is _ABSENT:
            return None
        if not all(isinstance(value, str) for value in values):
            self.issue("invalid_type", "Expected string", name, expected="string")
            return None
        return tuple(values)

    def records(self, name: str, required: bool = False) -> list[Reader] | None:
        """Return a reader for each object of a list; they share the issues of this reader."""
        values = self._take(name, "array", required)
        if values is _ABSENT:
            return None
        if required and not values:
            facts = {"minimum": 1, "type": "array", "inclusive": True, "exact": False}
            self.issue("too_small", "Array must contain at least 1 element(s)", name, **facts)
        return [Reader(value, self.issues, (*self.path, name, place)) for place, value in enumerate(values)]

    def boolean(self, name: str) -> bool:
        """Read a boolean of a JSON body, false by default."""
        return self.optional_boolean(name) or False

    def part(self, name: str) -> Reader:
        """Return a reader for a nested object; it shares the issues of this reader."""
        value = self._take(name, "object", True)
        return Reader({} if value is _ABSENT else value, self.issues, (*self.path, name))

    def optional_boolean(self, name: str) -> bool | None:
        value = self._take(name, "boolean", False)
        return None if value is _ABSENT else value

    def check(self) -> None:
        if self.issues:
            self.refuse()

    def refuse(self, conclusion: Conclusion = Conclusion.INVALID) -> NoReturn:
        raise Issues(self.issues, conclusion)
