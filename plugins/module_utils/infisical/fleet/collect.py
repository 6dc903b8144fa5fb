# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Infisical is asked for the metadata graph: names and versions of secrets, and names of projects; no value.

Values are asked to be hidden; those of a server that does not do that are dropped with its answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..client.api import Api
from ..client.api import Project as ServerProject
from ..client.remote import Remote
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
from .graph import Graph, Listed, ListedSecret, Place, Project, places_to_ask

_Rows = Sequence[ListedSecret]

_OF_ONE = (Forbidden, ScopeMissing, RequestInvalid, ServerFailed, RateLimited, NotJson, RouteMissing)
"""What concerns one question, so that the others are still asked. After anything else, none is."""

_LISTS_NO_PROJECTS = (Forbidden, TokenRejected)
"""How servers of 2024 refuse a machine identity the list of projects; each by its id they tell."""

MOST_IN_VAIN = 50
"""How many questions may be in vain that a host is the cause of, before nothing more is asked that it alone names."""

_COST_OF_AN_ERROR = 25
"""So many of them does an answer count that the server took a while to fail with."""

_MOST_WARNINGS = 20


@dataclass
class Inquiry:
    """What the server told: for `fleet.with_server`, and what a person should know."""

    projects: list[Project] = field(default_factory=list)
    listings: list[Listed] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def inquire(api: Api, graph: Graph) -> Inquiry:
    """Ask the server for all that jobs pull and vaults hold.

    What it cannot list, or an Infisical that is not reached, is a problem of the listing and a warning. Raises
    InfisicalError for what is to be put right first: credentials, options, certificates.
    """
    return _Inquiry(api, graph).run()


class _Inquiry:
    def __init__(self, api: Api, graph: Graph) -> None:
        self.api = api
        self.graph = graph
        self.done = Inquiry()
        self.listed: list[tuple[Place, _Rows]] = []
        self.stopped: InfisicalError | None = None
        self.server_errors = 0
        self.in_vain: Counter[str] = Counter()
        self.over = ScopeMissing(
            f"It was not asked for, because the hosts that name it have named {MOST_IN_VAIN} other projects, "
            "environments or folders, or more, of which Infisical has nothing, or nothing for this identity.",
            hint="",
        )
        self.projects: dict[str, ServerProject | None] = {}
        self.asks_for_each = False
        self.rejected: InfisicalError | None = None
        self.held: set[Place] = set()
        self.named: dict[Place, set[str]] = {}
        self.told: set[Place] = set()
        self._note_who_names_what()

    def _note_who_names_what(self) -> None:
        """The folders that vaults hold something of; the hosts that name each folder, environment and project; and
        which of these the server has told of."""
        secrets = self.graph.secrets
        for vault in self.graph.vaults.values():
            held = {secrets[hold.secret].place for hold in vault.holds}
            self.held |= held
            for place in held.union(vault.scope.places):
                for wider in _and_around(place):
                    self.named.setdefault(wider, set()).add(vault.host)
        for secret in secrets.values():
            if secret.updated_at is not None:
                self.told.update(_and_around(secret.place))

    def _in_order(self, places: Iterable[Place]) -> list[Place]:
        """What the server has told of before comes first, then what most hosts name."""
        return sorted(places, key=lambda place: (place not in self.told, -len(self.named[place]), place))

    def run(self) -> Inquiry:
        asked = places_to_ask(self.graph)
        if asked:
            self._list_projects({root.project for root in asked})
        for root in self._in_order(asked):
            problem = self._problem_of(root)
            if problem is not None:
                self._failed(root, problem)
            else:
                self._environment(root, asked[root])
        if self.rejected is not None and not self.listed and not any(self.projects.values()):
            raise self.rejected  # not of one project, but all of the token
        service = self.api.transport.settings.url
        found = self.projects.values()
        self.done.projects = [Project(one.id, one.name, one.slug, service) for one in found if one]
        for place, rows in self.listed:
            unseen = self._unseen(place, rows)
            self.done.listings.append(Listed(place, True, rows, left_out=frozenset(one.path for one in unseen)))
            for folder in unseen:
                self._folder(folder, recursive=False)
        left = len(self.done.warnings) - _MOST_WARNINGS
        if left > 0:
            self.done.warnings[_MOST_WARNINGS:] = [f"There are {left} more warnings like these."]
        return self.done

    def _list_projects(self, ids: Iterable[str]) -> None:
        """Learn which of these projects there are; where the server does not list them, each is asked for in time."""
        try:
            listed = {project.id: project for project in self.api.projects()}
            self.projects = {id_: listed.get(id_) for id_ in ids}
        except InfisicalError as error:
            self.asks_for_each = isinstance(error, _LISTS_NO_PROJECTS)
            if not self.asks_for_each:
                self._tolerate(error)
                if error is not self.stopped:
                    self.done.warnings.append(f"Names of projects stay as they were known: {error}")

    def _ask_for_project(self, root: Place) -> None:
        try:
            self.projects[root.project] = self.api.project(root.project)
        except InfisicalError as error:
            # The same words mean a project that is none of this identity's, and a token that is none.
            if not isinstance(error, _LISTS_NO_PROJECTS):
                raise
            self.projects[root.project] = None
            if isinstance(error, TokenRejected):
                self.rejected = error
        if self.projects[root.project] is None:
            self._was_in_vain(Place(root.project, "", ""))

    def _problem_of(self, root: Place) -> InfisicalError | None:
        """Why there is nothing to list, as far as that is known without listing: it is hosts that name these places."""
        if root.project not in self.projects and self.asks_for_each and self._may_not_ask(root) is None:
            try:
                self._ask_for_project(root)
            except InfisicalError as error:
                self._tolerate(error, root)
                return error
        if root.project in self.projects:
            project = self.projects[root.project]
            if project is None:
                return no_project(root.project)
            slugs = [environment.slug for environment in project.environments]
            if slugs and root.environment not in slugs:
                return no_environment(root.environment, root.project, slugs)
        return self._may_not_ask(root)

    def _may_not_ask(self, place: Place) -> InfisicalError | None:
        """Why a place is not to be asked for."""
        if self.stopped is None and all(self.in_vain[host] >= MOST_IN_VAIN for host in self.named[place]):
            return self.over
        return self.stopped

    def _environment(self, root: Place, places: Sequence[Place]) -> None:
        """All of an environment, or where the identity may not see that, the folders of interest in it."""
        try:
            listing = Remote(self.api, Location(*root)).listing(recursive=True, view_values=False)
            self.listed.append((root, _rows(listing.secrets)))
        except InfisicalError as error:
            self._tolerate(error, root)
            if not isinstance(error, Forbidden) or places == [root]:
                self._failed(root, error)
                return
            for place in self._in_order(places):
                if not any(other.covers(place, recursive=True) for other, _found in self.listed):
                    self._folder(place, recursive=True)

    def _folder(self, place: Place, *, recursive: bool) -> None:
        """A folder; one that does not exist has nothing in it."""
        problem = self._may_not_ask(place)
        if problem is not None:
            self._failed(place, problem)
            return
        rows: _Rows = ()
        try:
            found = self.api.list_secrets(Location(*place), recursive=recursive, view_values=False)
            rows = _rows(found.secrets)
            if not rows:
                self._was_in_vain(place)
        except InfisicalError as error:
            self._tolerate(error, place)
            if not isinstance(error, ScopeMissing):
                self._failed(place, error)
                return
        if recursive:
            self.listed.append((place, rows))
        else:
            self.done.listings.append(Listed(place, False, rows))

    def _unseen(self, listed: Place, rows: _Rows) -> list[Place]:
        """The folders whose secrets a listing may lack because the identity does not see them: servers leave these out
        without a word. So folders of which it has nothing, and vaults something, are asked for by themselves."""
        seen = {row.path for row in rows}
        return self._in_order(
            place
            for place in self.held
            if place.path not in seen and place.path != listed.path and listed.covers(place, recursive=True)
        )

    def _failed(self, place: Place, error: InfisicalError) -> None:
        self.done.listings.append(Listed(place, problem=str(error)))
        # One that concerns all is told once.
        if error is self.over:
            text = f"Some secrets stay as they were known: {error}"
            if text not in self.done.warnings:
                self.done.warnings.insert(0, text)
        elif error is not self.stopped:
            self.done.warnings.append(f"Secrets of {Location(*place)} stay as they were known: {error}")

    def _tolerate(self, error: InfisicalError, place: Place | None = None) -> None:
        """Go on after an error that concerns one question, and stop asking an Infisical that is not reached or has too
        much to do; raise what else it is."""
        if isinstance(error, Unreachable):
            self._stop(error, "because Infisical is not reached")
        elif not isinstance(error, _OF_ONE):
            raise error
        failed = isinstance(error, ServerFailed)
        # Each of these has waited already, and so would the next one. What a host has made up may be the cause.
        self.server_errors += failed and (place is None or place in self.told)
        if isinstance(error, RateLimited) or self.server_errors > 1:
            self._stop(error, "because Infisical cannot answer now")
        if place is not None:
            self._was_in_vain(place, _COST_OF_AN_ERROR if failed else 1)

    def _was_in_vain(self, place: Place, cost: int = 1) -> None:
        for host in self.named[place]:
            self.in_vain[host] += cost

    def _stop(self, error: InfisicalError, reason: str) -> None:
        if self.stopped is None:
            self.stopped = error
            text = f"Not all was asked for, {reason}; the rest stays as it was known: {error}"
            self.done.warnings.insert(0, text)


def _and_around(place: Place) -> tuple[Place, ...]:
    """A place, its environment, and its project."""
    return place, place._replace(path="/"), Place(place.project, "", "")


def _rows(secrets: Iterable[Secret]) -> _Rows:
    return [ListedSecret(one.secret_path, one.key, one.version, one.updated_at, one.id) for one in secrets]
