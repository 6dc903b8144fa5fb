# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the secrets in a location, or one of them, with imports and duplicates merged."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ..core.answers import Validator
from ..core.errors import Forbidden, InfisicalError, SecretMissing
from ..core.model import Location, Merged, Secret
from ..vault.state import StateFile
from .api import Api, needs_batch
from .missing import explain, find_problem
from .parsing import Listing
from .references import restore_values


def merge(listing: Listing) -> Merged:
    """Choose one secret for each name.

    A folder's own secrets take precedence over imported ones, and later imports over earlier ones. If a server lists a
    name twice in one folder, the newest row is used, with a warning. If a recursive listing has a name in several
    folders, the secret is used only if all values are the same.
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


def merge_each_folder(listing: Listing) -> Listing:
    """Choose one secret for each environment, path and name in a recursive listing, including its imports.

    The result is sorted by environment, path and name.
    """
    chosen: dict[tuple[str, str, str], Secret] = {}
    warnings: list[str] = []
    folders: dict[tuple[str, str], list[Secret]] = {}
    for secret in listing.all_secrets:
        folders.setdefault((secret.environment, secret.secret_path), []).append(secret)
    for place, secrets in folders.items():
        # If several folders import the same folder, its rows are repeated.
        rows = {secret.id or str(n): secret for n, secret in enumerate(secrets)}.values()
        by_name, more_warnings, _none = _choose(rows)
        warnings += more_warnings
        chosen.update({(*place, key): secret for key, secret in by_name.items()})
    return Listing(tuple(chosen[place] for place in sorted(chosen)), warnings=(*listing.warnings, *warnings))


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
                "To remove the older one, delete the secret and write it again."
            )
    return chosen, warnings, ambiguous


@dataclass(eq=False)
class Store:
    """One location, for reading. Methods raise InfisicalError.

    If an environment or folder is missing, the error lists the existing ones. `create_path`, `overwrite_rotated` and
    `state` are for writing (see remote.Remote). `warnings` are about the values that `find` has returned. The
    parameters `reading` are the fields of the class api.Reading.
    """

    writes: ClassVar[bool] = False

    api: Api
    location: Location
    create_path: bool = False
    overwrite_rotated: bool = False
    state: StateFile | None = None
    warnings: list[str] = field(default_factory=list)
    _names_refused: bool = False

    def problem(self) -> InfisicalError | None:
        """Return the error for the missing part of the location, or None (see missing.find_problem)."""
        return find_problem(self.api, self.location, writes=self.writes)

    def check_location(self) -> None:
        """Raise the error for a missing project, environment or, unless `create_path` is true, folder."""
        path = "/" if self.create_path else self.location.secret_path
        problem = find_problem(self.api, replace(self.location, secret_path=path), writes=self.writes)
        if problem is not None:
            raise problem

    def listing(self, **reading: bool) -> Listing:
        """Return everything in the location.

        Real servers return an empty listing for a mistyped environment or path, so this method checks whether an empty
        location exists.
        """
        return self.list_changes(None, **reading) or Listing(())

    def list_changes(self, known: Validator | None, **reading: bool) -> Listing | None:
        """Return the same as `listing`, or None if nothing has changed since the listing with the validator `known`
        (see `Api.list_changes`)."""
        try:
            listing = self.api.list_changes(self.location, known, **reading)
        except InfisicalError as error:
            raise explain(self.api, self.location, error, writes=self.writes) from None
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
        """Return one secret, or None if it does not exist. This takes one request, unless the name `needs_batch`."""
        try:
            return self._find(key, **reading)
        except InfisicalError as error:
            raise explain(self.api, self.location, error, writes=self.writes) from None

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

    def overview(self, key: str = "", **reading: bool) -> Listing:
        """Return one secret for each name and folder or, if `key` is given, only the secrets with that name.

        The result is sorted by environment, path and name. By default, values are not read.
        """
        recursive = reading.pop("recursive", False)
        reading.setdefault("view_values", False)
        if key and not recursive:
            found = self.find(key, **reading)
            return Listing(() if found is None else (found,), warnings=tuple(self.warnings))
        listing = self.listing(recursive=recursive, **reading)
        if recursive:
            every = merge_each_folder(listing)
            return replace(every, secrets=tuple(secret for secret in every.secrets if key in ("", secret.key)))
        merged = merge(listing)
        ordered = sorted(merged.secrets.values(), key=lambda one: (one.environment, one.secret_path, one.key))
        return Listing(tuple(ordered), warnings=merged.warnings)

    # For a comparison before writing

    def read_stored(self, secret: Secret) -> Secret | None:
        """Return the stored secret with the name of `secret`, for a comparison.

        It is `hidden` if the identity is allowed to see the secret, but not to read its value. Raises Forbidden if the
        identity is not even allowed to see it.
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
        # Servers from 2024 return a secret's tags only in a listing.
        listed = merge(self.listing(view_values=view_values)).secrets.get(secret.key)
        return found._replace(tags=listed.tags if listed is not None else ())

    def stored(self) -> Listing:
        """Return the folder's own secrets, for a comparison.

        They are `hidden` if the identity is allowed to see the secrets, but not to read their values. If the listing is
        empty, this method does not check whether the location exists. Raises Forbidden if the identity is not even
        allowed to see the secrets.
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
    """Return the secret without its value, which was not requested from the server."""
    return secret._replace(value=None, hidden=True)
