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
from .fleet import Graph, Listed, Place, Project, places_to_ask
from .model import Scope
from .remote import Remote

_Rows = Sequence[tuple[str, str, int, str]]

_OF_ONE = frozenset(
    (Conclusion.FORBIDDEN, Conclusion.SCOPE_MISSING, Conclusion.INVALID, Conclusion.SERVER_ERROR,
     Conclusion.RATE_LIMITED, Conclusion.NOT_JSON, Conclusion.ROUTE_MISSING)
)  # fmt: skip
"""What concerns one question, so that the others are still asked. After anything else, none is."""

_LISTS_NO_PROJECTS = (Conclusion.FORBIDDEN, Conclusion.TOKEN_REJECTED)
"""How servers of 2024 refuse a machine identity the list of projects; each by its id they tell."""


MOST_FOLDERS = 50
"""How many folders of an environment are asked for by themselves. It is hosts that name them."""


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
        self.stopped: InfisicalError | None = None

    def run(self) -> Inquiry:
        asked = places_to_ask(self.graph)
        projects = self._projects({root.project for root in asked})
        service = self.api.transport.settings.url
        self.done.projects = [Project(one.id, one.name, one.slug, service) for one in projects.values() if one]
        for root, places in asked.items():
            problem = self._problem_of(root, projects)
            if problem is not None:
                self._failed(root, problem)
            else:
                self._environment(root, places)
        return self.done

    def _projects(self, ids: Iterable[str]) -> dict[str, ServerProject | None]:
        """The projects by id, None for those that the server does not have for this identity; not those of which it
        tells nothing."""
        wanted = sorted(ids)
        if not wanted:
            return {}
        try:
            listed = {project.id: project for project in self.api.projects()}
            return {id_: listed.get(id_) for id_ in wanted}
        except InfisicalError as error:
            if error.conclusion not in _LISTS_NO_PROJECTS:
                self._tolerate(error)
                return {}
        found = {}
        for id_ in wanted:
            try:
                if self.stopped is None:
                    found[id_] = self.api.project(id_)
            except InfisicalError as error:
                self._tolerate(error)
        return found

    def _problem_of(self, root: Place, projects: Mapping[str, ServerProject | None]) -> InfisicalError | None:
        """Why there is nothing to list, as far as that is known without asking: it is hosts that name these places."""
        if self.stopped is not None:
            return self.stopped
        if root.project not in projects:
            return None
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
        return None

    def _environment(self, root: Place, places: Sequence[Place]) -> None:
        try:
            rows = self._rows(root)
        except InfisicalError as error:
            self._tolerate(error)
            if error.conclusion is Conclusion.FORBIDDEN and places != [root]:
                self._folders(root, places)
            else:
                self._failed(root, error)
            return
        self.done.listings.append(Listed(root, True, rows, left_out=self._left_out(root, rows)))

    def _folders(self, root: Place, places: Sequence[Place]) -> None:
        """The folders of interest, where the identity may not see the whole environment."""
        listed: list[Place] = []
        for place in places:
            if any(other.covers(place, recursive=True) for other in listed):
                continue
            try:
                self.done.listings.append(Listed(place, True, self._rows(place)))
                listed.append(place)
            except InfisicalError as error:
                self._tolerate(error)
                self._failed(place, error)

    def _left_out(self, root: Place, rows: _Rows) -> frozenset[str]:
        """The folders whose secrets a listing may lack because the identity does not see them: servers leave these out
        without a word. So folders of which it has nothing, and vaults something, are asked for by themselves."""
        seen = {path for path, _name, _version, _time in rows}
        held = {id_ for vault in self.graph.vaults.values() for id_, _version, _time, _name in vault.holds}
        places = {self.graph.secrets[id_].place for id_ in held}
        unseen = [
            place
            for place in sorted(places)
            if place.path not in seen and place.path != "/" and root.covers(place, recursive=True)
        ]
        left_out = {place.path for place in unseen[MOST_FOLDERS:]}
        if left_out:
            self.done.warnings.append(
                f"Secrets of {len(left_out)} folders of {Scope(*root)} stay as they were known: hosts name "
                f"{len(unseen)} folders there of which Infisical lists nothing, and {MOST_FOLDERS} were asked for."
            )
        for place in unseen[:MOST_FOLDERS]:
            try:
                if self.stopped is None:
                    self._rows(place, recursive=False)
                    continue
            except InfisicalError as error:
                if error.conclusion is Conclusion.SCOPE_MISSING:
                    continue
                self._tolerate(error)
                self._failed(place, error)
            left_out.add(place.path)
        return frozenset(left_out)

    def _rows(self, place: Place, *, recursive: bool = True) -> _Rows:
        listing = Remote(self.api, Scope(*place)).listing(recursive=recursive, view_values=False)
        return [(secret.secret_path, secret.key, secret.version, secret.updated_at) for secret in listing.secrets]

    def _failed(self, place: Place, error: InfisicalError) -> None:
        self.done.listings.append(Listed(place, problem=str(error)))
        text = f"Secrets of {Scope(*place)} stay as they were known: {error}"
        # One that concerns all is told once.
        if error is not self.stopped:
            self.done.warnings.append(text)

    def _tolerate(self, error: InfisicalError) -> None:
        """Go on after an error that concerns one question, and stop asking an Infisical that is not reached; raise what
        else it is."""
        if error.conclusion is Conclusion.UNREACHABLE:
            self.stopped = error
            self.done.warnings.append(f"Secrets stay as they were known, because Infisical is not reached: {error}")
        elif error.conclusion not in _OF_ONE:
            raise error
