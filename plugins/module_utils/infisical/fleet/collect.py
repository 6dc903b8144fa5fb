# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests the names and versions of secrets and the names of projects from Infisical, for the metadata graph.

The requests ask Infisical to hide the values. Any values in a response are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..client.api import Api
from ..client.listing import Store
from ..client.parsing import Project
from ..core.errors import (
    Forbidden,
    InfisicalError,
    NotJson,
    RateLimited,
    RequestInvalid,
    RouteMissing,
    ScopeMissing,
    ServerFailed,
    TokenRejected,
    Unreachable,
    no_environment,
    no_project,
)
from ..core.model import Location, Secret
from ..core.times import normalize_time
from .graph import (
    FolderListing,
    Graph,
    KnownProject,
    KnownSecret,
    covers,
    locations_to_list,
    root_of,
)

_Secrets = Sequence[KnownSecret]

_OF_ONE_REQUEST = (Forbidden, ScopeMissing, RequestInvalid, ServerFailed, RateLimited, NotJson, RouteMissing)
"""Errors that affect only a single request. The other locations are still listed."""

_CANNOT_LIST_PROJECTS = (Forbidden, TokenRejected)
"""Errors with which servers from 2024 refuse to list a machine identity's projects. They do return a project by its
ID."""

_MOST_SERVER_ERRORS = 2
"""The number of server errors after which no more requests are sent, because each error includes long waits."""

_MOST_WARNINGS = 20

_MISSING = "Correct the job that pulls from there, or give the machine identity access."


@dataclass
class ServerAnswer:
    """The server's projects and listings, for `graph.merge_server`, and warnings. `stopped` is true if the server is
    unreachable or overloaded, so that it must get no further requests."""

    projects: list[KnownProject] = field(default_factory=list)
    listings: list[FolderListing] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stopped: bool = False


def ask_server(api: Api, graph: Graph) -> ServerAnswer:
    """List all locations that jobs pull from or that vaults contain secrets from.

    If a location cannot be listed, its listing contains the problem, and a warning is added. Raises InfisicalError if
    the credentials, options or certificates are wrong.
    """
    return _Lister(api, graph).run()


class _Lister:
    def __init__(self, api: Api, graph: Graph) -> None:
        self.api = api
        self.graph = graph
        self.answer = ServerAnswer()
        self.listed: list[tuple[Location, _Secrets]] = []
        self.stopped: InfisicalError | None = None
        self.server_errors = 0
        self.projects: dict[str, Project | None] = {}
        self.must_ask_for_each = False
        self.rejected: InfisicalError | None = None
        secrets = graph.secrets
        held = {hold.secret for vault in graph.vaults.values() for hold in vault.holds}
        self.held = {secrets[id_].location for id_ in held}
        listed = {secret.location for secret in secrets.values() if secret.updated_at is not None}
        self.listed_before = listed | {root_of(location) for location in listed}

    def _in_order(self, locations: Iterable[Location]) -> list[Location]:
        """Sort locations that the server has listed before to the front, because a host may have invented the
        others."""
        return sorted(locations, key=lambda location: (location not in self.listed_before, location))

    def run(self) -> ServerAnswer:
        asked = locations_to_list(self.graph)
        if asked:
            self._list_projects({root.project_id for root in asked})
        for root in self._in_order(asked):
            try:
                self._check_environment(root)
                self._list_environment(root, asked[root])
            except InfisicalError as error:
                self._fail(root, error)
        if self.rejected is not None and not self.listed and not any(self.projects.values()):
            raise self.rejected  # the server rejects the token for every project
        self.answer.projects = [KnownProject(one.id, one.name, one.slug) for one in self.projects.values() if one]
        for location, secrets in self.listed:
            unseen = self._find_unseen(location, secrets)
            left_out = frozenset(one.secret_path for one in unseen)
            self.answer.listings.append(FolderListing(location, True, secrets, left_out=left_out))
            for folder in unseen:
                self._list_folder(folder, recursive=False)
        left = len(self.answer.warnings) - _MOST_WARNINGS
        if left > 0:
            self.answer.warnings[_MOST_WARNINGS:] = [
                f"{left} more locations could not be listed. See sources in the graph file."
            ]
        return self.answer

    def _list_projects(self, ids: Iterable[str]) -> None:
        """Find out which of these projects exist, if the server can list projects."""
        try:
            listed = {project.id: project for project in self.api.projects()}
            self.projects = {id_: listed.get(id_) for id_ in ids}
        except _CANNOT_LIST_PROJECTS:
            self.must_ask_for_each = True
        except InfisicalError as error:
            if self._tolerate(error):
                self.answer.warnings.append(f"Could not update the names of projects: {error}")

    def _check_environment(self, root: Location) -> None:
        """Raise InfisicalError if Infisical does not know the environment, because a host may have invented it."""
        if self.stopped is not None:
            raise self.stopped
        id_ = root.project_id
        if self.must_ask_for_each and id_ not in self.projects:
            self.projects[id_] = self._ask_for_project(id_)
        if id_ in self.projects:
            project = self.projects[id_]
            if project is None:
                raise no_project(id_)
            slugs = [environment.slug for environment in project.environments]
            if slugs and root.environment not in slugs:
                raise no_environment(root.environment, id_, slugs)

    def _ask_for_project(self, id_: str) -> Project | None:
        if not id_.strip("."):  # would change the request's path
            return None
        try:
            return self.api.project(id_)
        except Forbidden:
            return None
        except TokenRejected as error:  # also the error for a project to which the identity has no access
            self.rejected = error
            return None

    def _list_environment(self, root: Location, folders: Sequence[Location]) -> None:
        """List an environment. If the identity has no access to its root folder, list only these folders."""
        try:
            listing = Store(self.api, root).listing(recursive=True, view_values=False)
            self.listed.append((root, without_values(root, listing.secrets)))
        except Forbidden:
            if folders == [root]:
                raise
            for folder in self._in_order(folders):
                if not any(covers(other, folder, recursive=True) for other, _secrets in self.listed):
                    self._list_folder(folder, recursive=True)

    def _list_folder(self, folder: Location, *, recursive: bool) -> None:
        """List a folder. If the folder does not exist, its listing is empty."""
        secrets: _Secrets = ()
        try:
            if self.stopped is not None:
                raise self.stopped
            listing = self.api.list_secrets(folder, recursive=recursive, view_values=False)
            secrets = without_values(folder, listing.secrets)
        except ScopeMissing:
            pass
        except InfisicalError as error:
            self._fail(folder, error)
            return
        if recursive:
            self.listed.append((folder, secrets))
        else:
            self.answer.listings.append(FolderListing(folder, False, secrets))

    def _find_unseen(self, listed: Location, secrets: _Secrets) -> list[Location]:
        """Return the folders that vaults contain secrets from, but for which a listing shows no secrets.

        A listing omits folders that the identity has no access to, so these folders are listed separately.
        """
        seen = {listed.secret_path, *(secret.location.secret_path for secret in secrets)}
        return self._in_order(
            location for location in self.held if location.secret_path not in seen and covers(listed, location, True)
        )

    def _fail(self, location: Location, error: InfisicalError) -> None:
        """Record that a location could not be listed, and continue. Raises an error that affects other requests."""
        needs_warning = self._tolerate(error)
        # The usual hint mentions options that this report does not use.
        hint = _MISSING if isinstance(error, ScopeMissing) else error.hint
        problem = f"{error.problem} {hint}".rstrip()
        self.answer.listings.append(FolderListing(location, problem=problem))
        if needs_warning:
            self.answer.warnings.append(problem)

    def _tolerate(self, error: InfisicalError) -> bool:
        """Return whether the error needs its own warning. If Infisical is unreachable or overloaded, send no more
        requests. Raises an error that affects more than a single request."""
        if not isinstance(error, (Unreachable, *_OF_ONE_REQUEST)):
            raise error
        self.server_errors += isinstance(error, ServerFailed)
        overloaded = isinstance(error, RateLimited) or self.server_errors >= _MOST_SERVER_ERRORS
        if self.stopped is None and (overloaded or isinstance(error, Unreachable)):
            self.stopped = error
            self.answer.stopped = True
            reason = "overloaded or fails" if overloaded else "unreachable"
            self.answer.warnings.insert(0, f"Infisical is {reason}, so some secrets were not listed: {error}")
        return error is not self.stopped


def without_values(listed: Location, secrets: Iterable[Secret]) -> _Secrets:
    """Return the names and versions of listed secrets."""
    project, environment = listed.project_id, listed.environment
    return [
        KnownSecret(
            Location(project, environment, one.secret_path), one.key, one.version,
            normalize_time(one.updated_at) or "", id=one.id,
        )
        for one in secrets
    ]  # fmt: skip
