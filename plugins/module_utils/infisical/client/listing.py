# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a location: its secrets, one of them, and what they are after imports and duplicates are merged."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ..core.answers import Validator
from ..core.errors import Forbidden, InfisicalError, SecretMissing
from ..core.model import Location, Merged, Secret
from ..vault.state import StateFile
from .api import Api, needs_batch
from .missing import explain, find_problem
from .parsing import Listing
from .references import restore_values


@dataclass(frozen=True)
class Overview:
    """Secrets in the order of environment, path and name, with warnings about them."""

    secrets: tuple[Secret, ...]
    warnings: tuple[str, ...] = ()


def merge(listing: Listing) -> Merged:
    """Choose one secret for each name: a folder's own before imported ones, and the last of several imports first.

    If a server lists a name twice in one folder, the newest row is chosen, with a warning. A name that a recursive
    listing has in several folders is chosen only if its values are the same.
    """
    chosen, warnings, ambiguous = _choose(listing.secrets)
    for imported in reversed(listing.imports):
        more, more_warnings, more_ambiguous = _choose(imported.secrets)
        warnings += more_warnings
        ambiguous.update({key: message for key, message in more_ambiguous.items() if key not in chosen})
        chosen = {**more, **chosen}
    for key in ambiguous:
        del chosen[key]
    return Merged(chosen, (*listing.warnings, *warnings), ambiguous)


def merge_each_folder(listing: Listing) -> Overview:
    """Choose one secret for each environment, path and name of a recursive listing and its imports."""
    chosen: dict[tuple[str, str, str], Secret] = {}
    warnings: list[str] = []
    folders: dict[tuple[str, str], list[Secret]] = {}
    for secret in listing.all_secrets:
        folders.setdefault((secret.environment, secret.secret_path), []).append(secret)
    for place, secrets in folders.items():
        # Several folders may import the same one, whose rows are then repeated.
        rows = {secret.id or str(n): secret for n, secret in enumerate(secrets)}.values()
        by_name, more_warnings, _none = _choose(rows)
        warnings += more_warnings
        chosen.update({(*place, key): secret for key, secret in by_name.items()})
    return Overview(tuple(chosen[place] for place in sorted(chosen)), (*listing.warnings, *warnings))


def _choose(secrets: Collection[Secret]) -> tuple[dict[str, Secret], list[str], dict[str, str]]:
    """Return one secret for each name, warnings, and {name: message} for names with different values."""
    chosen = {secret.key: secret for secret in secrets}
    if len(chosen) == len(secrets):
        return chosen, [], {}
    chosen = {}
    warnings: list[str] = []
    ambiguous: dict[str, str] = {}
    for secret in secrets:
        other = chosen.get(secret.key)
        if other is None:
            chosen[secret.key] = secret
        elif other.secret_path != secret.secret_path:
            if other.value != secret.value or secret.hidden:
                paths = " and ".join(sorted((other.secret_path, secret.secret_path)))
                ambiguous[secret.key] = (
                    f"The secret '{secret.key}' has different values in {paths}. Set secret_path to one of these "
                    "folders, without recursive."
                )
            chosen[secret.key] = min(other, secret, key=lambda one: one.secret_path)
        else:
            chosen[secret.key] = max(other, secret, key=lambda one: (one.updated_at, one.version))
            warnings.append(
                f"The server lists the secret '{secret.key}' twice in {secret.secret_path}: the newest is used. "
                "Delete it and write it again to remove the other."
            )
    return chosen, warnings, ambiguous


class Store:
    """One location, to read. Methods raise InfisicalError, with existing environments and folders if one is missing.

    `create_path`, `overwrite_rotated` and `state` are for writers (see remote.Remote). `warnings` are about the values
    that `find` has returned; `reading` stands for the fields of api.Reading.
    """

    def __init__(
        self,
        api: Api,
        location: Location,
        *,
        create_path: bool = False,
        overwrite_rotated: bool = False,
        state: StateFile | None = None,
    ) -> None:
        self.api = api
        self.location = location
        self.create_path = create_path
        self.overwrite_rotated = overwrite_rotated
        self.state = state
        self.warnings: list[str] = []
        self._names_refused = False

    def problem(self) -> InfisicalError | None:
        """Return the error about what is missing of the location (see missing.find_problem)."""
        return find_problem(self.api, self.location)

    def listing(self, **reading: bool) -> Listing:
        """Return everything in the location.

        Real servers answer a mistyped environment or path with an empty listing, so that one is looked into.
        """
        return self.list_changes(Validator(), **reading) or Listing(())

    def list_changes(self, known: Validator, **reading: bool) -> Listing | None:
        """Return the same, or None if nothing has changed since the listing with the validator `known`."""
        try:
            listing = self.api.list_changes(self.location, known, **reading)
        except InfisicalError as error:
            raise explain(self.api, self.location, error) from None
        if listing is not None and not listing.secrets and not listing.imports:
            problem = self.problem()
            if problem is not None:
                raise problem
        if listing is None or not _expands(reading):
            return listing

        def read_raw() -> Listing:
            return self.api.list_secrets(self.location, **{**reading, "expand_references": False})

        return restore_values(self.api, self.location, listing, read_raw)

    def find(self, key: str, **reading: bool) -> Secret | None:
        """Return one secret, None if it does not exist: by one request, unless its name `needs_batch`."""
        try:
            return self._find(key, **reading)
        except InfisicalError as error:
            raise explain(self.api, self.location, error) from None

    def _find(self, key: str, **reading: bool) -> Secret | None:
        if needs_batch(key):
            merged = merge(self.listing(**reading))
            self.warnings += merged.warnings
            return merged.secrets.get(key)
        try:
            found = self.api.get_secret(self.location, key, **reading)
        except SecretMissing:
            return None
        if not _expands(reading):
            return found

        def read_raw() -> Listing:
            return Listing((self.api.get_secret(self.location, key, **{**reading, "expand_references": False}),))

        listing = restore_values(self.api, self.location, Listing((found,)), read_raw)
        self.warnings += listing.warnings
        return listing.secrets[0]

    def overview(self, key: str = "", **reading: bool) -> Overview:
        """Return the secrets of the location, or those with one name; by default without values."""
        recursive = reading.pop("recursive", False)
        reading.setdefault("view_values", False)
        if key and not recursive:
            found = self.find(key, **reading)
            return Overview(() if found is None else (found,), tuple(self.warnings))
        listing = self.listing(recursive=recursive, **reading)
        if recursive:
            every = merge_each_folder(listing)
            return replace(every, secrets=tuple(secret for secret in every.secrets if key in ("", secret.key)))
        merged = merge(listing)
        ordered = sorted(merged.secrets.values(), key=lambda one: (one.environment, one.secret_path, one.key))
        return Overview(tuple(ordered), merged.warnings)

    # For a writer, who compares

    def read_stored(self, secret: Secret) -> Secret | None:
        """Return the stored secret with this name, to compare it; hidden if the identity may see it, but not read it.

        Raises Forbidden if the identity may not see it either.
        """
        try:
            return self._find_with_tags(secret)
        except Forbidden:
            if self._names_refused:
                raise
        try:
            found = self._find_with_tags(secret, view_values=False)
        except Forbidden:
            self._names_refused = True
            raise
        return None if found is None else _hide(found)

    def _find_with_tags(self, secret: Secret, *, view_values: bool = True) -> Secret | None:
        found = self._find(secret.key, view_values=view_values)
        if found is None or secret.tags is None or found.tags is not None:
            return found
        # Servers of 2024 return a secret's tags in a listing only.
        listed = merge(self.listing(view_values=view_values)).secrets.get(secret.key)
        return found._replace(tags=listed.tags if listed is not None else ())

    def stored(self) -> Listing:
        """Return the folder's own secrets, to compare them; hidden ones if the identity may see, but not read them.

        An empty answer is not looked into. Raises Forbidden if the identity may not see them either.
        """
        try:
            return self.api.list_secrets(self.location)
        except Forbidden:
            pass
        try:
            seen = self.api.list_secrets(self.location, view_values=False)
        except Forbidden:
            self._names_refused = True
            raise
        return replace(seen, secrets=tuple(map(_hide, seen.secrets)))


def _expands(reading: dict[str, bool]) -> bool:
    return reading.get("expand_references", False) and reading.get("view_values", True)


def _hide(secret: Secret) -> Secret:
    """Return the secret without its value, which the server was not asked for."""
    return secret._replace(value=None, hidden=True)
