# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks before the actual work: the server, the login, and the projects that the identity can see."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable
from urllib.parse import urlsplit

from ..core.errors import Forbidden, InfisicalError, RequestInvalid, TokenRejected, Unreachable, no_project
from ..core.model import Settings
from .api import Api, read_status
from .auth import Login
from .parsing import Project
from .transport import Clock, Transport


@dataclass(frozen=True)
class Probe:
    """The result of checking the options.

    `reachable` is true if an Infisical server responded with its status, `status_message`. `error` ended the check; it
    is None if the login was accepted.
    """

    api_url: str = ""
    reachable: bool = False
    status_message: str = ""
    error: InfisicalError | None = None


def visible_projects(api: Api, project_id: str = "") -> list[Project]:
    """Return the projects that the identity can see or, if `project_id` is given, only that project.

    Raises Forbidden on servers that let a machine identity read only one project at a time.
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
    # Servers from 2024 refuse the list with the same text as for a revoked token.
    check_token(api)
    raise Forbidden(
        f"{api.transport.settings.url} does not list projects to machine identities.", hint="Set project_id."
    )


def check_token(api: Api) -> None:
    """Raise InfisicalError if the token is not accepted. Uses a request that every server allows for any token."""
    with contextlib.suppress(Forbidden, RequestInvalid):
        api.project(api.transport.settings.project_id or "none")


def check_route(options: Mapping[str, Any]) -> None:
    """Raise Unreachable if no connection to the server in `options`, or to its proxy, can be opened. Sends no request,
    so that a thousand hosts can be checked."""
    settings = Settings.from_options(options)
    url = settings.proxy or settings.url
    parts = urlsplit(url if "://" in url else f"http://{url}")
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 1080)
    try:
        socket.create_connection((parts.hostname or "", port), settings.timeout).close()
    except OSError as error:
        raise Unreachable(
            f"Could not connect to {parts.hostname}:{port}: {error.strerror or error}.",
            hint="Check url, proxy and timeout, and that no firewall refuses the connection.",
        ) from None


def probe(
    options: Mapping[str, Any],
    *,
    logs_in: bool = True,
    clock: Clock | None = None,
    log: Callable[[str], None] | None = None,
    debug: Callable[[str], None] | None = None,
) -> Probe:
    """Check that the Infisical server in `options` (see Settings) responds and, if `logs_in`, accepts the login.

    The token is revoked afterwards; `debug` gets the error if that fails. Does not raise InfisicalError.
    """
    found = Probe()
    try:
        settings = Settings.from_options(options)
        found = replace(found, api_url=settings.url)
        transport = Transport(settings, clock=clock, log=log)
        # Before the login, to distinguish a wrong url from wrong credentials.
        found = replace(found, status_message=read_status(transport), reachable=True)
        if not logs_in:
            return found
        with Api(transport, Login(transport), debug=debug) as api:
            api.tokens.current()
            if settings.auth_method == "token":
                check_token(api)
    except InfisicalError as error:
        return replace(found, error=error)
    return found
