# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of Ansible shares between tasks, hosts and forks: one login, one listing of each folder, and its writes.

Ansible runs each task and host in a fork, so memory is not shared. The cache is in encrypted files in Ansible's
temporary folder, which exists for one run. Their key is derived from the credentials.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import secrets
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ansible import constants as C
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    CertificateInvalid,
    Forbidden,
    InfisicalError,
    MissingLibrary,
    NotJson,
    Redirected,
    RequestInvalid,
    RouteMissing,
    ScopeMissing,
    Unreachable,
    WrongUse,
    error_class,
    rebuild_error,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    Known,
    Location,
    Merged,
    Settings,
    from_row,
)
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_files import (
    FINAL,
    LOCK_TIMEOUT,
    SealedFiles,
    error_from_row,
    error_row,
    make_private,
    make_tag,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api

Mode = Literal["run", "task", "none"]

_TASK: dict[tuple[Settings, str], Merged | InfisicalError] = {}
"""The cache of the mode `task`: a worker process runs one task of one host."""

UNREACHABLE_SECONDS = 60.0
"""How long the controller does not try again to reach an unreachable server."""

_BETWEEN = (Unreachable, CertificateInvalid, Redirected, NotJson)
"""Errors between the controller and the server. A host may have another route."""

_HOST_MAY_SUCCEED = (*_BETWEEN, WrongUse, MissingLibrary)
"""The same, and local errors, such as a ca_path that only exists on the host."""

_ABOUT_THE_PLACE = (Forbidden, ScopeMissing, RouteMissing, RequestInvalid)
"""Errors about the requested folder or secret, which are the same for all tasks."""

REFUSAL_SECONDS = 60.0
"""How long such an error is kept: a permission may be granted, or a folder created, during the run."""

NO_LISTING_SECONDS = 60.0
"""How long writing tasks do not list a folder after a temporary error."""


class RunCache:
    """The cache for one set of credentials and one server. Every method may raise InfisicalError.

    `mode` is where listings are kept: `run` (files of the whole run), `task` (memory of one task on one host) or
    `none`. The login is always shared by the run, because a rejected login must not be repeated.
    """

    def __init__(
        self,
        settings: Settings,
        mode: Mode = "run",
        *,
        log: Callable[[str], None] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.settings = settings
        self._mode = mode
        self._log = log
        self._directory = directory or _run_directory()
        self._files = SealedFiles(settings, self._directory)
        self._api: Api | None = None

    def api(self) -> Api:
        """Return the API with the run's login."""
        if self._api is None:
            self._api = self._connect(self.settings)
        return self._api

    def secrets(self, scope: Location, **reading: bool) -> Merged:
        """Return all secrets of a folder by name; `reading` are options of `Store.listing`."""
        return self._fetch(
            scope,
            ["list", asdict(scope), reading],
            lambda: self._note_version(self.api(), _connection().read_all(self.api(), scope, **reading)),
        )

    def secret(self, scope: Location, key: str, **reading: bool) -> Merged:
        """Return one secret by name, or an empty mapping; `reading` are options of `Store.find`."""
        return self._fetch(
            scope,
            ["one", asdict(scope), key, reading],
            lambda: self._note_version(self.api(), _connection().read_one(self.api(), scope, key, **reading)),
        )

    # What writing tasks share

    def note_task(self, scope: Location) -> bool:
        """Note that a task writes to a folder; return whether another task of this run did before."""
        name = make_tag("begun", json.dumps(asdict(scope)))
        others: bool = self._files.recall(name) or False
        self._files.note(name, True)
        return others

    def known(self, scope: Location, key: str, *, lists: bool, check: bool) -> Known | None:
        """Return the stored secret as far as this run knows it, or None if the task must read it.

        This is the last write of a task, or else the secret in the folder's listing, which is requested once if `lists`
        is true. In check mode, an empty listing proves nothing: no write would detect that the folder is missing.

        Raises InfisicalError if the credentials are rejected.
        """
        generation = self._generation(scope, written=False)
        if generation is None:
            return None
        noted = self._files.recall(_note_name(scope, key))
        if noted is not None and noted["generation"] == generation:
            return Known.from_row(noted["secret"]) if noted["known"] else None
        folder = make_tag("stored", json.dumps(asdict(scope)))
        entry = self._read_entry(folder, generation)
        if entry is None and lists:
            entry = self._list_stored(folder, scope)
        if entry is None or "refused" in entry or (check and not entry["names"]):
            return None
        place = entry["names"].index(key) if key in entry["names"] else -1
        return Known.from_row(None if place < 0 else entry["secrets"][place])

    def _list_stored(self, folder: str, scope: Location) -> dict[str, Any] | None:
        no_listing = f"no_listing-{folder}"
        if (self._files.recall(no_listing) or 0) > time.time():
            return None

        def fetch() -> Merged:
            api = self._connect(self._impatient())
            return self._note_version(api, _connection().read_stored(api, scope))

        try:
            self._share(folder, lambda: self._generation(scope, written=False), fetch)
        except FINAL:
            raise
        except _ABOUT_THE_PLACE:
            pass
        except InfisicalError:
            self._files.note(no_listing, time.time() + NO_LISTING_SECONDS)
        return self._read_entry(folder, self._generation(scope, written=False))

    @contextlib.contextmanager
    def writing(self, scope: Location, key: str) -> Iterator[None]:
        """Prevent other tasks of this run from writing the same secret."""
        with self._files.lock(_note_name(scope, key)):
            yield

    def note_secret(self, scope: Location, key: str, known: Known | None, generation: str | None = None) -> str | None:
        """Note the stored secret for other writing tasks, None if it is unknown.

        Returns the generation. Pass it again with the result of a write, so that a newer note takes precedence.
        """
        generation = self._generation(scope, written=False) if generation is None else generation
        if generation is not None:
            row = None if known is None else known.row()
            content = {"generation": generation, "known": known is not None, "secret": row}
            self._files.note(_note_name(scope, key), content)
        return generation

    # Logins

    def token(self, rejected: str = "") -> str | None:
        """Return the run's token for a module, not `rejected`, or None if the controller cannot reach the server.

        Raises InfisicalError if the server refuses the login: the module would not get a token either, and another
        rejected login could lock the identity.
        """
        settings = self.settings
        # Other tasks may use another proxy or certificate authority.
        route = (settings.proxy, settings.ca_path, str(settings.validate_certs), str(settings.timeout))
        no_way = f"no_way-{make_tag(*route)}"
        if settings.auth_method == "token" or (self._files.recall(no_way) or 0) > time.time():
            return None
        try:
            api: Api = _connection().connect_shared(self._impatient(), self._files, self._log)
            return api.tokens.renew(rejected) if rejected else api.tokens.current()
        except _HOST_MAY_SUCCEED as error:
            if isinstance(error, _BETWEEN):
                self._files.note(no_way, time.time() + UNREACHABLE_SECONDS)
            return None

    def _impatient(self) -> Settings:
        """Return settings with short waits, because a host may reach the server if the controller cannot."""
        return replace(self.settings, timeout=min(self.settings.timeout, 10.0), connection_wait=0.0)

    @property
    def writer(self) -> str:
        """The identity and server, for `forget`."""
        return self._files.tag

    def refuse_rejected(self) -> None:
        """Raise InfisicalError if these credentials were rejected before in this run, on any host."""
        self._files.raise_final("token")

    def note_rejected(self, conclusion: str, message: str, hint: str, status: int | None) -> None:
        """Note the error of a module if it must prevent other logins."""
        if error_class(conclusion) in FINAL:
            problem = message.removesuffix(hint).strip()
            self._files.note_failure("token", rebuild_error(conclusion, problem, hint=hint, status=status))

    def _connect(self, settings: Settings) -> Api:
        api: Api = _connection().connect_shared(settings, self._files, self._log)
        api.version = api.version or str(self._files.recall("version") or "")
        return api

    def _note_version(self, api: Api, found: Merged) -> Merged:
        """Note the API version for the run, which is known after `found` was read."""
        if self._mode == "run":
            self._files.note("version", api.version)
        return found

    def _fetch(self, scope: Location, wanted: list[Any], fetch: Callable[[], Merged]) -> Merged:
        name = make_tag(json.dumps(wanted))
        if self._mode == "task" and multiprocessing.parent_process() is not None:  # the main process outlives tasks
            key = (self.settings, name)
            if key not in _TASK:
                _TASK[key] = _attempt(fetch)
            return _result(_TASK[key])
        if self._mode != "run":
            return fetch()
        return self._share(name, lambda: self._generation(scope), fetch)

    def _share(self, name: str, generation: Callable[[], str | None], fetch: Callable[[], Merged]) -> Merged:
        """Return what one process of this run fetched in this generation, or raise its error."""

        def look() -> Merged | InfisicalError | None:
            entry = self._read_entry(name, generation())
            if entry is None:
                return None
            if "refused" in entry:
                return error_from_row(entry["refused"])
            found = {key: from_row(row) for key, row in zip(entry["names"], entry["secrets"], strict=True)}
            return Merged(found, tuple(entry["warnings"]), entry["ambiguous"])

        def fetch_and_note() -> Merged | InfisicalError:
            # The generation before the fetch: a write during the fetch makes the result stale.
            began = generation()
            outcome = _attempt(fetch)
            if began is not None:
                self._files.note(name, {"generation": began, **_outcome_row(outcome)})
            return outcome

        return _result(self._files.once(name, look, fetch_and_note))

    def _read_entry(self, name: str, generation: str | None) -> dict[str, Any] | None:
        """Return the entry of this name, if it is of this generation and not an expired error."""
        entry: dict[str, Any] | None = self._files.recall(name)
        if entry is None or generation is None or entry["generation"] != generation:
            return None
        return None if entry.get("until", math.inf) <= time.time() else entry

    def _generation(self, scope: Location, *, written: bool = True) -> str | None:
        """Return the generation of a project's listings, or None while an asynchronous task may write to it.

        Each write starts a new generation. If `written` is false, only the writes of other identities do.
        """
        project = _read_generation(_generation_file(self._directory, scope.project_id))
        if project.volatile_until > time.time():
            return None
        return project.everyone if written else project.of(self.writer)


class _Generation(NamedTuple):
    """The generation of a project's listings. The identity that noted its write keeps its own, older generation."""

    everyone: str = ""
    volatile_until: float = 0.0
    writer: str = ""
    """The identity that wrote last, empty if it notes nothing."""
    writers: str = ""
    """The generation of that identity, until another one writes."""

    def of(self, writer: str) -> str:
        return self.writers if writer == self.writer else self.everyone


def forget(project_id: str, directory: Path | None = None, *, volatile_for: float = 0.0, writer: str = "") -> None:
    """Make all listings of a project stale after a write, for all identities and addresses.

    For `volatile_for` seconds no listing is kept, because an asynchronous task may still write. A `writer` (see
    `RunCache.writer`) has noted its write, so its own listings stay valid. Other identities cannot read these notes.
    """
    _TASK.clear()
    path = _generation_file(directory or _run_directory(), project_id)
    make_private(path.parent)
    with files.lock_file(f"{path}.lock", LOCK_TIMEOUT):
        before = _read_generation(path)
        until = max(before.volatile_until, time.time() + volatile_for)
        after = _Generation(secrets.token_hex(16), until, writer, before.of(writer))
        files.write_atomic(str(path), json.dumps(after).encode(), durable=False)


def _read_generation(path: Path) -> _Generation:
    try:
        return _Generation(*json.loads(files.read_regular(str(path))))
    except FileNotFoundError:
        return _Generation()


def _attempt(fetch: Callable[[], Merged]) -> Merged | InfisicalError:
    """Return the result of `fetch`, or its error if that is about the place. Raise other errors."""
    try:
        return fetch()
    except _ABOUT_THE_PLACE as error:
        return error


def _result(outcome: Merged | InfisicalError) -> Merged:
    if isinstance(outcome, InfisicalError):
        raise outcome
    return outcome


def _outcome_row(outcome: Merged | InfisicalError) -> dict[str, Any]:
    if isinstance(outcome, InfisicalError):
        return {"refused": error_row(outcome), "until": time.time() + REFUSAL_SECONDS}
    return {
        "secrets": [secret._asdict() for secret in outcome.secrets.values()],
        "names": list(outcome.secrets),
        "warnings": list(outcome.warnings),
        "ambiguous": outcome.ambiguous,
    }


def _note_name(scope: Location, key: str) -> str:
    return make_tag("secret", json.dumps(asdict(scope)), key)


def _connection() -> Any:
    """Import `connection` only for a request: each fork imports again, and most tasks find their data in the cache."""
    from ansible_collections.keyfleet.infisical.plugins.plugin_utils import connection

    return connection


def _run_directory() -> Path:
    return Path(C.DEFAULT_LOCAL_TMP) / "keyfleet.infisical"


def _generation_file(directory: Path, project_id: str) -> Path:
    return directory / f"{make_tag(project_id)}.generation"
