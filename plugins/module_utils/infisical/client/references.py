# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that arrive through a reference: which are not what was meant, and what they are without their quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..core.model import Location
from ..core.plan import named

_ANY = re.compile(r"\$\{[^{}]+\}")

DEEPEST = 14
"""Secrets in a chain of references, more than a server follows."""

Place = tuple[str, str, str]
"""Environment, path and name of a secret."""


def is_unresolved(value: str | None) -> bool:
    """Whether a value holds a reference still, as servers of late 2026 leave one that is unknown, circular or deep."""
    return value is not None and "${" in value and _ANY.search(value) is not None


def is_quoted(value: str | None) -> bool:
    """Whether a value looks like one of several lines that came through a reference with `skipMultilineEncoding`.

    Recorded of a server of July 2026: quotes around it, and each line end as a backslash and an n. It escapes neither
    quotes nor backslashes, so that this is no JSON. The flag is that of the secret that refers (assumed: the recording
    has it at both ends).
    """
    return value is not None and value[:1] == value[-1:] == '"' and len(value) > 1 and "\\n" in value and (
        "\n" not in value
    )  # fmt: skip


def is_quoted_of(value: str, text: str) -> bool:
    """Whether a value is what a server makes of `text`."""
    return value == f'"{_in_one_line(text)}"'


def may_be_quoted_of(value: str, raw: str) -> bool:
    """Whether a quoted value can be what a server makes of `raw` and what that refers to: not if the quotes are its
    own, or it refers to nothing."""
    found = list(_ANY.finditer(raw))
    if not found:
        return False
    before, after = raw[: found[0].start()], raw[found[-1].end() :]
    return value[1:-1].startswith(_in_one_line(before)) and value[1:-1].endswith(_in_one_line(after))


def _in_one_line(text: str) -> str:
    return text.replace("\n", "\\n")


def unquoted(value: str) -> str:
    """A quoted value without its quotes and with its line ends; right unless it held a backslash and an n itself."""
    return value[1:-1].replace("\\n", "\n")


def target(value: str, environment: str, path: str) -> Place | None:
    """What a value refers to that is one reference and nothing else; it lies at this environment and path."""
    whole = _ANY.fullmatch(value)
    if whole is None:
        return None
    *where, name = whole[0][2:-1].split(".")
    return (where[0], "/" + "/".join(where[1:]), name) if where else (environment, path, name)


def warnings(scope: Location, unresolved: Iterable[str], restored: Iterable[str], assumed: Iterable[str]) -> list[str]:
    """What a person should know of the secrets with these names, a sentence or two for each kind of finding."""
    found = []
    if names := named(unresolved):
        found.append(
            f"Values of {scope} still contain a reference, which is unknown, circular or too deep: {names}. Correct it "
            "in Infisical, or set expand_references: false."
        )
    for secrets, more in ((restored, ""), (assumed, " Each \\n in them was taken for a line end.")):
        if names := named(secrets):
            found.append(
                f"Values of {scope} came through a reference in quotes and without line ends, and were restored: "
                f"{names}.{more} Turn off their multi-line encoding (skipMultilineEncoding) in Infisical."
            )
    return found
