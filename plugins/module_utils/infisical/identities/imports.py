# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads which folders of a project import other folders, with few requests if most folders import nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple
from typing import Any, Callable

from ..client import missing
from ..client.identities import IdentityApi
from ..core.errors import ScopeMissing
from ..core.model import Location

Once = Callable[["tuple[str, ...]", Callable[[], Any]], Any]
"""Returns what a function has fetched under this name, as JSON. It is called once, even if several processes ask."""


def follow(first: Iterable[Location], imports_of: Callable[[Location], Iterable[Location]]) -> list[Location]:
    """Return these folders and all folders that they import, directly or through other imports."""
    queue = list(first)
    found: dict[Location, None] = {}
    while queue:
        folder = queue.pop()
        if folder not in found:
            found[folder] = None
            queue += imports_of(folder)
    return list(found)


class FolderImports:
    """The imports of the folders of a project. Methods raise InfisicalError."""

    def __init__(self, api: IdentityApi, project_id: str, once: Once) -> None:
        self.api = api
        self.project_id = project_id
        self._once = once

    def summarize(self, environments: Iterable[str]) -> dict[str, list[list[str]]]:
        """Return the environment and path of all folders that any folder of an environment imports.

        The keys are these environments, and others from which they import. A folder occurs once for each import, in
        sorted order. Sends one request for each environment.
        """
        found: dict[str, list[list[str]]] = {}
        queue = list(environments)
        while queue:
            environment = queue.pop()
            if environment not in found:
                found[environment] = sorted(self._of_environment(environment))
                queue += [imported for imported, _path in found[environment]]
        return found

    def follow(self, start: Location, recursive: bool) -> list[Location]:
        """Return the folders that a folder (and, if `recursive`, each folder below it) imports, also indirectly.

        Sends at most one request for each folder, and none in environments whose folders import nothing.
        """
        first = self._of_tree(start) if recursive else self._of_folder(start)
        return follow(self._locate(first), lambda folder: self._locate(self._of_folder(folder)))

    def _locate(self, rows: Iterable[list[str]]) -> list[Location]:
        return [Location(self.project_id, environment, path) for environment, path in rows]

    def find_problem(self, environment: str, path: str) -> str:
        """Return a sentence if the folder or its environment does not exist, or an empty text.

        Sends one request for each environment.
        """
        known = self._once(("folders", self.project_id, environment), lambda: self._list_folders(environment))
        if known["missing"] or path in known["paths"]:
            return str(known["missing"])
        return f"Folder '{path}' does not exist in environment '{environment}' of project {self.project_id}."

    def _list_folders(self, environment: str) -> dict[str, Any]:
        root = Location(self.project_id, environment, "/")
        try:
            return {"missing": "", "paths": ["/", *(one.path for one in self.api.api.all_folders(root))]}
        except ScopeMissing as error:
            return {"missing": missing.explain(self.api.api, root, error).problem, "paths": []}

    def _of_environment(self, environment: str) -> list[list[str]]:
        return self._of_tree(Location(self.project_id, environment, "/"))

    def _of_tree(self, location: Location) -> list[list[str]]:
        """Return the imports of a folder and of all folders below it.

        A recursive list names the imported folders, but not the folders that import them (recorded). If two folders
        import the same folder, it is assumed to be listed twice.
        """

        def fetch() -> list[list[str]]:
            reading = {"recursive": True, "include_imports": True, "view_values": False}
            try:
                listing = self.api.api.list_secrets(location, **reading)
            except ScopeMissing:
                return []
            return [[one.environment, one.secret_path] for one in listing.imports]

        return list(self._once(("imports below", *astuple(location)), fetch))

    def _of_folder(self, location: Location) -> list[list[str]]:
        def fetch() -> list[list[str]]:
            try:
                return [[one.environment, one.secret_path] for one in self.api.imports(location)]
            except ScopeMissing:
                return []

        if not self._of_environment(location.environment):
            return []
        return list(self._once(("imports", *astuple(location)), fetch))
