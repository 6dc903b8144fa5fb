# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out what is missing if a location looks empty: the project, the environment or the folder."""

from __future__ import annotations

from dataclasses import replace

from ..core.errors import (
    Forbidden,
    InfisicalError,
    RequestInvalid,
    RouteMissing,
    ScopeMissing,
    no_environment,
    no_project,
)
from ..core.model import Location
from ..core.plan import join_names
from .api import Api
from .parsing import Folder

_CANNOT_TELL = (Forbidden, RouteMissing, RequestInvalid)


def find_problem(api: Api, location: Location, *, writes: bool = False) -> InfisicalError | None:
    """Return the error for the project, environment or folder that is missing.

    Returns None if all of them exist, or if the identity is not allowed to see them. If `writes` is true, the hint
    names the option that creates a folder.
    """
    try:
        project = api.project(location.project_id)
    except _CANNOT_TELL:
        return _find_folder_problem(api, location, writes)
    if project is None:
        return no_project(location.project_id)
    slugs = [environment.slug for environment in project.environments]
    if location.environment not in slugs:
        hint = "Set environment to one of these slugs."
        return no_environment(location.environment, location.project_id, slugs, hint)
    return _find_folder_problem(api, location, writes)


def check_environment(api: Api, location: Location) -> None:
    """Raise ScopeMissing if the project or the environment does not exist. The path is ignored."""
    problem = find_problem(api, replace(location, secret_path="/"))
    if problem is not None:
        raise problem


def explain(api: Api, location: Location, error: InfisicalError, *, writes: bool = False) -> InfisicalError:
    """Return `error` or, if it is ScopeMissing, a more precise error that names the missing part."""
    if not isinstance(error, ScopeMissing):
        return error
    return find_problem(api, location, writes=writes) or error


def find_folder(api: Api, location: Location) -> Folder | None:
    """Return the folder at the location's path, or None if it does not exist."""
    path = location.secret_path
    try:
        siblings = api.folders(replace(location, secret_path=path.rpartition("/")[0] or "/"))
    except ScopeMissing:
        return None
    return next((folder for folder in siblings if folder.path == path), None)


def _find_folder_problem(api: Api, location: Location, writes: bool) -> InfisicalError | None:
    if location.secret_path == "/":
        return None
    try:
        if find_folder(api, location) is not None:
            return None
    except _CANNOT_TELL:
        return None
    return ScopeMissing(
        f"Folder '{location.secret_path}' does not exist in environment '{location.environment}' of project "
        f"{location.project_id}.{_name_nearest_folders(api, location)}",
        hint="Check secret_path, or create the folder" + (": set create_path: true." if writes else "."),
    )


def _name_nearest_folders(api: Api, location: Location) -> str:
    """Return a sentence that lists the folders in the nearest parent that has any."""
    parent = location.secret_path
    while parent != "/":
        parent = parent.rpartition("/")[0] or "/"
        try:
            folders = api.folders(replace(location, secret_path=parent))
        except ScopeMissing:
            continue
        except InfisicalError:
            break
        if folders:  # servers from 2026 return an empty list for a parent that does not exist
            return f" Folders in '{parent}': {join_names(folder.name for folder in folders)}."
    return ""
