# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creating and deleting a folder."""

from __future__ import annotations

from ..core.errors import ConfigurationError, Conflict, RequestInvalid, RouteMissing, ScopeMissing
from ..core.model import Location
from .api import Api
from .missing import check_environment, find_folder
from .parsing import Folder


def put_folder(api: Api, location: Location, *, check: bool = False) -> bool:
    """Create a folder and its parents. Returns whether it was created or, in check mode, would be created."""
    if location.secret_path == "/":
        raise ConfigurationError(
            "secret_path", "'/' is the root of the environment, which always exists.", hint="Name a folder."
        )
    if _find_folder(api, location) is not None:
        return False
    check_environment(api, location)
    return True if check else create_folder(api, location)


def create_folder(api: Api, location: Location) -> bool:
    """Create a folder. Returns False if another writer was faster."""
    try:
        api.create_folder(location)
    except Conflict:
        return False
    return True


def remove_folder(api: Api, location: Location, *, force: bool = False, check: bool = False) -> bool:
    """Delete a folder. Returns whether it was deleted or, in check mode, would be deleted.

    Raises ConfigurationError if the folder contains secrets or folders, unless `force` is true.
    """
    if location.secret_path == "/":
        raise ConfigurationError("secret_path", "'/' is the root of the environment and cannot be deleted.")
    folder = _find_folder(api, location)
    if folder is None:
        check_environment(api, location)  # a mistyped environment has no such folder either
        return False
    if not force:
        secrets = len(api.list_secrets(location, recursive=True, view_values=False).secrets)
        folders = len(api.folders(location))
        if secrets or folders:
            raise _not_empty(location, f"holds {secrets} secrets and {folders} folders, which would be deleted with it")
    if check:
        return True
    try:
        api.delete_folder(location, folder.id, force=force)
    except RequestInvalid as error:
        if force or error.status != 400:
            raise
        raise _not_empty(location, "holds something that this identity may not see") from None
    except ScopeMissing as error:
        return error.after_loss  # deleted by us if an earlier response was lost, otherwise by another writer
    return True


def _not_empty(location: Location, problem: str) -> ConfigurationError:
    return ConfigurationError(
        "force",
        f"the folder '{location.secret_path}' {problem}.",
        hint="Set force: true to delete it with everything in it.",
    )


def _find_folder(api: Api, location: Location) -> Folder | None:
    try:
        return find_folder(api, location)
    except RouteMissing:
        pass
    raise RouteMissing(f"{api.transport.settings.url} has no routes for folders.", hint="")
