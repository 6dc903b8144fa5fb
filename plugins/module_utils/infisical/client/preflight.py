# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Before the work: whether Infisical answers and takes the login, and which projects the identity can see."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable

from ..core.errors import Forbidden, InfisicalError, RequestInvalid, TokenRejected, no_project
from ..core.model import Settings
from .api import Api, Project, read_status
from .auth import Login
from .transport import Clock, Transport


@dataclass(frozen=True)
class Probe:
    """How far one gets with the options: `reachable` says that an Infisical answered, with `status_message`.

    Where something is wrong, `conclusion` and `problem` say what, as an InfisicalError would.
    """

    api_url: str = ""
    reachable: bool = False
    status_message: str = ""
    login_accepted: bool = False
    conclusion: str | None = None
    problem: str = ""
    http_status: int | None = None


def visible_projects(api: Api, project_id: str = "") -> list[Project]:
    """The projects that the identity can see, or the one that `project_id` names.

    Raises InfisicalError, with the remedy, on servers that tell a machine identity about one project at a time only.
    """
    if project_id:
        project = api.project(project_id)
        if project is None:
            raise no_project(project_id)
        return [project]
    try:
        return api.projects()
    except (Forbidden, TokenRejected):
        pass
    # Servers of 2024 refuse the list in the very words in which they refuse a revoked token.
    check_token(api)
    raise Forbidden(
        f"{api.transport.settings.url} does not list projects to machine identities. Set project_id, and that one is "
        "read.",
    )


def check_token(api: Api) -> None:
    """Raise InfisicalError where the token is not accepted, by a question that every server answers with any token."""
    with contextlib.suppress(Forbidden, RequestInvalid):
        api.project(api.transport.settings.project_id or "none")


def probe(options: Mapping[str, Any], *, clock: Clock | None = None, log: Callable[[str], None] | None = None) -> Probe:
    """Whether the Infisical that `options` name (see Settings) answers and takes the login; raises nothing of ours."""
    found = Probe()
    try:
        settings = Settings.from_options(options)
        found = replace(found, api_url=settings.url)
        transport = Transport(settings, clock=clock, log=log)
        # Before the credentials are looked at, so that a wrong url is told from wrong credentials.
        found = replace(found, status_message=read_status(transport), reachable=True)
        login = Login(transport)
        login.current()
        if not login.method.renewable:
            check_token(Api(transport, login))
    except InfisicalError as error:
        return replace(found, conclusion=error.conclusion, problem=str(error), http_status=error.status)
    return replace(found, login_accepted=True)
