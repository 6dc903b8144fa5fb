# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values with references: warnings about unresolved references, and removal of quotes that the server has added."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Callable

from ..core.errors import InfisicalError
from ..core.model import Location, Secret
from ..core.plan import join_names
from .api import Api
from .parsing import Listing

_ANY = re.compile(r"\$\{[^{}]+\}")

_QUOTED = re.compile(r'"[^\n]*\\n[^\n]*"')
"""Multi-line text that came through a reference with `skipMultilineEncoding`, as recorded on a server from July 2026.

It is in quotes, with a backslash and an n for each line end. Quotes and backslashes are not escaped, so it is not JSON.
We assume that the flag belongs to the secret that contains the reference; in the recording, both secrets have it.
"""

_DEEPEST = 14
"""Maximum number of secrets in a chain of references. Servers follow fewer."""

_Place = tuple[str, str, str]
"""Environment, path and name of a secret."""


def restore_values(api: Api, location: Location, listing: Listing, read_raw: Callable[[], Listing]) -> Listing:
    """Return the listing with multi-line values as they are stored, and with warnings about references.

    A server from July 2026 adds quotes to such a value if it comes through a reference. If a value looks quoted,
    `read_raw` reads the same secrets without expanding references, and the referenced value is looked up to be sure.
    """
    secrets = listing.all_secrets
    unresolved = [secret.key for secret in secrets if _is_unresolved(secret.value)]
    quoted = [secret for secret in secrets if secret.quotes_lines and _QUOTED.fullmatch(secret.value or "")]
    restored: dict[Secret, str] = {}
    assumed: list[str] = []
    if quoted:
        texts: dict[_Place, str | None] = {_place(secret): secret.value for secret in read_raw().all_secrets}
        for secret in quoted:
            value = secret.value or ""
            if not _may_be_quoted_of(value, texts.get(_place(secret)) or ""):
                continue
            text = _find_referred(api, location, secret, texts)
            if text == value:
                continue  # the quotes are part of the referenced text
            if text is None or value != f'"{_join_lines(text)}"':
                text = value[1:-1].replace("\\n", "\n")
                assumed.append(secret.key)
            restored[secret] = text
    warnings = _warn(location, unresolved, [one.key for one in restored if one.key not in assumed], assumed)

    def restore(rows: Iterable[Secret]) -> tuple[Secret, ...]:
        return tuple(row._replace(value=restored.get(row, row.value)) for row in rows)

    if restored:
        imports = tuple(replace(one, secrets=restore(one.secrets)) for one in listing.imports)
        listing = replace(listing, secrets=restore(listing.secrets), imports=imports)
    return replace(listing, warnings=(*listing.warnings, *warnings))


def _place(secret: Secret) -> _Place:
    return secret.environment, secret.secret_path, secret.key


def _is_unresolved(value: str | None) -> bool:
    """Return whether a value still contains a reference.

    Servers from late 2026 leave a reference in place if it is unknown, circular or too deep.
    """
    return value is not None and "${" in value and _ANY.search(value) is not None


def _may_be_quoted_of(value: str, raw: str) -> bool:
    """Return whether a server may have made the quoted value from `raw` by expanding its references.

    That is not the case if `raw` has no reference, or if the quotes are part of `raw`.
    """
    found = list(_ANY.finditer(raw))
    if not found:
        return False
    before, after = raw[: found[0].start()], raw[found[-1].end() :]
    return value[1:-1].startswith(_join_lines(before)) and value[1:-1].endswith(_join_lines(after))


def _join_lines(text: str) -> str:
    return text.replace("\n", "\\n")


def _find_referred(api: Api, location: Location, secret: Secret, texts: dict[_Place, str | None]) -> str | None:
    """Follow the references from a secret to the text at their end, and return this text.

    Returns None if a value cannot be read, or if a value on the way contains anything besides a single reference.
    `texts` contains known raw values, and values that are read are added to it.
    """
    place = _place(secret)
    for _step in range(_DEEPEST):
        if place not in texts:
            environment, path, key = place
            try:
                at = replace(location, environment=environment, secret_path=path)
                texts[place] = api.get_secret(at, key).value
            except InfisicalError:
                texts[place] = None  # this identity may have no permission to read it
        text = texts[place]
        if text is None or not _is_unresolved(text):
            return text
        if not _ANY.fullmatch(text):
            return None
        *where, name = text[2:-1].split(".")
        place = (where[0], "/" + "/".join(where[1:]), name) if where else (*place[:2], name)
    return None


def _warn(location: Location, unresolved: Iterable[str], restored: Iterable[str], assumed: Iterable[str]) -> list[str]:
    found = []
    if names := join_names(unresolved):
        found.append(
            f"Values of {location} still contain a reference, which is unknown, circular or too deep: {names}. Correct "
            "it in Infisical, or set expand_references: false."
        )
    for secrets, more in ((restored, ""), (assumed, " Each \\n in them was replaced by a line end.")):
        if names := join_names(secrets):
            found.append(
                f"Infisical quoted these values in {location} when it inserted them through references, and encoded "
                f"their line ends: {names}.{more} The original values are used instead. Turn off the multi-line "
                "encoding (skipMultilineEncoding) of the referenced secrets in Infisical."
            )
    return found
