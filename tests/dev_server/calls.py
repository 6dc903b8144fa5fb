# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes, the request that a route handles, and its response."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NoReturn
from urllib.parse import unquote

from .grants import Grant, allows
from .identities import Directory, Identity
from .profiles import Profile
from .refusals import Conclusion, Refusal
from .store import Project, Store

LONGEST_NAME_IN_A_PATH = 100


@dataclass(frozen=True)
class Answer:
    """The status and JSON body of a response."""

    body: dict[str, Any]
    status: int = 200
    with_etag: bool = False


@dataclass(frozen=True)
class Route:
    """One endpoint; a name in braces in the template stands for one segment of the path."""

    method: str
    template: str
    handler: Callable[[Call], Answer]
    profiles: frozenset[str]
    # The route's parameter for the project's id.
    project: str = "projectId"
    # The rate limit that counts requests to this route.
    limit: Literal["secrets", "login"] | None = None
    needs_token: bool = True

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.template) + "/?")

    def match(self, raw_path: str) -> dict[str, str] | None:
        """Return the decoded segments of a raw path; None if it does not match or a segment is too long."""
        found = self.pattern.fullmatch(raw_path)
        if found is None:
            return None
        segments = {name: unquote(text) for name, text in found.groupdict().items()}
        return None if any(len(text) > LONGEST_NAME_IN_A_PATH for text in segments.values()) else segments


@dataclass
class Call:
    """One request with its route and identity."""

    profile: Profile
    store: Store
    directory: Directory
    route: Route
    segments: dict[str, str]
    query: dict[str, str]
    body: Any
    identity: Identity | None = None
    # The client's certificate as URL-encoded PEM, as the proxy in front hands it on.
    certificate: str = ""
    # True if the response contains a value, for the request log.
    returned_values: bool = field(default=False)

    # What the identity may do does not change during a request: project id to grants, and place to permission.
    known_grants: dict[str, tuple[Grant, ...]] = field(default_factory=dict)
    permissions: dict[tuple[str | None, ...], bool] = field(default_factory=dict)

    def grants(self, project_id: str) -> tuple[Grant, ...]:
        if self.identity is None:
            return ()
        if project_id not in self.known_grants:
            self.known_grants[project_id] = self.identity.grants(
                project_id, self.store.clock(), self.directory.cache_seconds
            )
        return self.known_grants[project_id]

    def may(
        self,
        action: str,
        project: Project,
        path: str | None = None,
        environment: str | None = None,
        subject: str = "secrets",
    ) -> bool:
        """Return whether the identity may do this at the place. None stands for any path or environment."""
        key = (action, project.id, path, environment, subject)
        if key not in self.permissions:
            self.permissions[key] = allows(self.grants(project.id), action, subject, path, environment)
        return self.permissions[key]

    def member(self, project_id: str) -> Project:
        """Return the project if it exists and the identity is a member of it."""
        project = self.store.project(project_id)
        if self.identity is None or project_id not in self.identity.permissions:
            raise Refusal(Conclusion.NOT_A_MEMBER, project=project_id)
        return project

    def enter(
        self,
        project_id: str,
        *actions: str,
        subject: str = "secrets",
        path: str | None = None,
        environment: str | None = None,
    ) -> Project:
        """Return the project if it holds secrets and the identity may do all these actions at the place."""
        project = self.member(project_id)
        if project.type != "secret-manager" and self.profile.has_project_types:
            raise Refusal(Conclusion.OTHER_TYPE, type=project.type)
        for action in actions:
            if not self.may(action, project, path, environment, subject):
                self.forbid(action, subject, project.id)
        return project

    def forbid(self, action: str, subject: str = "secrets", project_id: str = "") -> NoReturn:
        """Refuse an action; the details list the rules that allow it at other places, the last rule first."""
        word = self.profile.action_words.get(action, action) if subject == "secrets" else action
        details = [
            {
                "action": [self.profile.action_words.get(one, one) for one in sorted(rule.actions)],
                "inverted": rule.inverted,
                "subject": [subject],
                "conditions": rule.conditions,
            }
            for rule in reversed(self.grants(project_id))
            if action in rule.actions and subject in rule.subjects and rule.conditions
        ]
        raise Refusal(Conclusion.FORBIDDEN, action=word, subject=subject, details=details)
