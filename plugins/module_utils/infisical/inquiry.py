# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Infisical is asked for the metadata graph: names and versions of secrets, and names of projects; no value.

Values are asked to be hidden; those of a server that does not do that are dropped with its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .api import Api
from .api import Project as ServerProject
from .errors import Conclusion, InfisicalError, no_project
from .fleet import Graph, Listed, ListedSecret, Place, Project, places_to_ask
from .model import Scope, Secret
from .remote import Remote

_Rows = Sequence[ListedSecret]

_OF_ONE = frozenset(
    (Conclusion.FORBIDDEN, Conclusion.SCOPE_MISSING, Conclusion.INVALID, Conclusion.SERVER_ERROR,
     Conclusion.RATE_LIMITED, Conclusion.NOT_JSON, Conclusion.ROUTE_MISSING)
)  # fmt: skip
"""What concerns one question, so that the others are still asked. After anything else, none is."""

_LISTS_NO_PROJECTS = (Conclusion.FORBIDDEN, Conclusion.TOKEN_REJECTED)
"""How servers of 2024 refuse a machine identity the list of projects; each by its id they tell."""

MOST_IN_VAIN = 100
"""How many questions may be in vain before no more are asked: it is hosts that name what is asked for."""

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
        self.in_vain = self.server_errors = 0
        held = {hold.secret for vault in graph.vaults.values() for hold in vault.holds}
        self.held = {graph.secrets[id_].place for id_ in held}
        self.ranks = self._ranked()

    def _ranked(self) -> dict[Place, tuple[bool, int]]:
        """What is asked for first, because a budget may end before the last: places in which the server has told of a
        secret before, then those that most hosts name. Of a project and an environment, the same."""
        named: dict[Place, set[str]] = {}
        told: set[Place] = set()
        secrets = self.graph.secrets
        for vault in self.graph.vaults.values():
            for place in {*vault.scope.places, *(secrets[hold.secret].place for hold in vault.holds)}:
                for wider in _and_around(place):
                    named.setdefault(wider, set()).add(vault.host)
        for secret in secrets.values():
            if secret.updated_at is not None:
                told.update(_and_around(secret.place))
        return {place: (place not in told, -len(hosts)) for place, hosts in named.items()}

    def _in_order(self, places: Iterable[Place]) -> list[Place]:
        return sorted(places, key=lambda place: (self.ranks[place], place))

    def run(self) -> Inquiry:
        asked = places_to_ask(self.graph)
        projects = self._projects({root.project for root in asked})
        service = self.api.transport.settings.url
        self.done.projects = [Project(one.id, one.name, one.slug, service) for one in projects.values() if one]
        for root in self._in_order(asked):
            problem = self._problem_of(root, projects)
            if problem is not None:
                self._failed(root, problem)
            else:
                self._environment(root, asked[root])
        for place, rows in self.listed:
            unseen = self._unseen(place, rows)
            self.done.listings.append(Listed(place, True, rows, left_out=frozenset(one.path for one in unseen)))
            for folder in unseen:
                self._folder(folder, recursive=False)
        left = len(self.done.warnings) - _MOST_WARNINGS
        if left > 0:
            self.done.warnings[_MOST_WARNINGS:] = [f"There are {left} more warnings like these."]
        return self.done

    def _projects(self, ids: Iterable[str]) -> dict[str, ServerProject | None]:
        """The projects by id, None for those that the server does not have for this identity; not those of which it
        tells nothing."""
        wanted = [place.project for place in self._in_order(Place(id_, "", "") for id_ in ids)]
        if not wanted:
            return {}
        try:
            listed = {project.id: project for project in self.api.projects()}
            return {id_: listed.get(id_) for id_ in wanted}
        except InfisicalError as error:
            if error.conclusion not in _LISTS_NO_PROJECTS:
                self._tolerate(error)
                return {}
        found: dict[str, ServerProject | None] = {}
        for id_ in wanted:
            try:
                if self.stopped is None:
                    found[id_] = self.api.project(id_)
                    if found[id_] is None:
                        self._was_in_vain()
            except InfisicalError as error:
                self._tolerate(error)
        return found

    def _problem_of(self, root: Place, projects: Mapping[str, ServerProject | None]) -> InfisicalError | None:
        """Why there is nothing to list, as far as that is known without asking: it is hosts that name these places."""
        if root.project in projects:
            project = projects[root.project]
            if project is None:
                return no_project(root.project)
            slugs = [environment.slug for environment in project.environments]
            if slugs and root.environment not in slugs:
                return InfisicalError(
                    Conclusion.SCOPE_MISSING,
                    f"There is no environment '{root.environment}' in project {root.project}. Its environments are: "
                    f"{', '.join(slugs)}.",
                )
        return self.stopped

    def _environment(self, root: Place, places: Sequence[Place]) -> None:
        """All of an environment, or where the identity may not see that, the folders of interest in it."""
        try:
            listing = Remote(self.api, Scope(*root)).listing(recursive=True, view_values=False)
            self.listed.append((root, _rows(listing.secrets)))
        except InfisicalError as error:
            self._tolerate(error)
            if error.conclusion is not Conclusion.FORBIDDEN or places == [root]:
                self._failed(root, error)
                return
            for place in self._in_order(places):
                if not any(other.covers(place, recursive=True) for other, _found in self.listed):
                    self._folder(place, recursive=True)

    def _folder(self, place: Place, *, recursive: bool) -> None:
        """A folder; one that does not exist has nothing in it."""
        rows: _Rows = ()
        try:
            if self.stopped is not None:
                raise self.stopped
            found = self.api.list_secrets(Scope(*place), recursive=recursive, view_values=False)
            rows = _rows(found.secrets)
            if not rows:
                self._was_in_vain()
        except InfisicalError as error:
            if error is not self.stopped:
                self._tolerate(error)
            if error.conclusion is not Conclusion.SCOPE_MISSING or error is self.stopped:
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
        if error is not self.stopped:
            self.done.warnings.append(f"Secrets of {Scope(*place)} stay as they were known: {error}")

    def _tolerate(self, error: InfisicalError) -> None:
        """Go on after an error that concerns one question, and stop asking an Infisical that is not reached or has too
        much to do; raise what else it is."""
        if error.conclusion is Conclusion.UNREACHABLE:
            self._stop(error, "because Infisical is not reached")
        elif error.conclusion not in _OF_ONE:
            raise error
        self.server_errors += error.conclusion is Conclusion.SERVER_ERROR
        # Each of these has waited already, and so would the next one.
        if error.conclusion is Conclusion.RATE_LIMITED or self.server_errors > 1:
            self._stop(error, "because Infisical cannot answer now")
        self._was_in_vain()

    def _was_in_vain(self) -> None:
        self.in_vain += 1
        if self.in_vain == MOST_IN_VAIN:
            error = InfisicalError(
                Conclusion.SCOPE_MISSING,
                f"Hosts name {MOST_IN_VAIN} projects, environments and folders, or more, of which Infisical has "
                "nothing, or nothing for this identity.",
            )
            self._stop(error, "because too much was asked in vain")

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
