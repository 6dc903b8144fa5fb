# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the parameters of a request's query and body, with one issue for each that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from .refusals import Issues

_ABSENT = object()
FLAGS = {"true": True, "false": False}


class Reader:
    """Takes parameters one by one, keeps what is wrong, and refuses all of it at once in `check`.

    What nobody asks for is ignored, as every server does. A parameter that is wrong reads as its empty
    value until `check` is called.
    """

    def __init__(
        self,
        source: Any,
        issues: list[dict[str, Any]] | None = None,
        path: tuple[str | int, ...] = (),
    ) -> None:
        self.issues: list[dict[str, Any]] = [] if issues is None else issues
        self.path = path
        self.source: Mapping[str, Any] = source if isinstance(source, dict) else {}
        if not isinstance(source, dict):
            self.wrong("object", "Expected an object")

    def wrong(self, expected: str, message: str, name: str | None = None, code: str = "invalid_type") -> None:
        path = [*self.path, name] if name else [*self.path]
        self.issues.append({"code": code, "expected": expected, "path": path, "message": message})

    def _take(self, name: str, expected: str, kind: type, required: bool) -> Any:
        """The parameter, or `_ABSENT` with an issue if it should be there or has the wrong type."""
        value = self.source.get(name, _ABSENT)
        if value is _ABSENT:
            if required:
                self.wrong(expected, "Required", name)
        elif not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            self.wrong(expected, f"Expected {expected}", name)
            return _ABSENT
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self._take(name, "string", str, default is None)
        return (default or "") if value is _ABSENT else value

    def optional_text(self, name: str) -> str | None:
        value = self._take(name, "string", str, False)
        return None if value is _ABSENT else value

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean of a query: the words `true` and `false`, and no others."""
        word = self._take(name, "'true' | 'false'", str, False)
        if word is _ABSENT:
            return default
        if word not in FLAGS:
            self.wrong("'true' | 'false'", "Expected 'true' or 'false'", name, "invalid_enum_value")
        return FLAGS.get(word, default)

    def number(self, name: str) -> int | None:
        word = self.optional_text(name)
        if word is not None and not word.isdecimal():
            self.wrong("number", "Expected number", name)
            return None
        return None if word is None else int(word)

    def one_of(self, name: str, words: tuple[str, ...]) -> str:
        """One of the words; the first is the default."""
        word = self.text(name, words[0])
        if word not in words:
            self.wrong(" | ".join(words), f"Expected one of {', '.join(words)}", name, "invalid_enum_value")
        return word

    def texts(self, name: str) -> tuple[str, ...] | None:
        values = self._take(name, "array", list, False)
        if values is _ABSENT:
            return None
        if not all(isinstance(value, str) for value in values):
            self.wrong("string", "Expected strings", name)
            return None
        return tuple(values)

    def records(self, name: str, required: bool = False) -> list[Reader] | None:
        """A reader for each object of a list; their issues are this reader's too."""
        values = self._take(name, "array", list, required)
        if values is _ABSENT:
            return None
        if required and not values:
            self.wrong("array", "Must contain at least 1 element", name, "too_small")
        return [Reader(value, self.issues, (*self.path, name, place)) for place, value in enumerate(values)]

    def boolean(self, name: str) -> bool:
        """A boolean of a JSON body, false if it is not there."""
        return self.optional_boolean(name) or False

    def optional_boolean(self, name: str) -> bool | None:
        value = self._take(name, "boolean", bool, False)
        return None if value is _ABSENT else value

    def check(self) -> None:
        if self.issues:
            self.refuse()

    def refuse(self) -> NoReturn:
        raise Issues(self.issues)
