# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data that all tasks, hosts and forks of one Ansible run share: one login, one listing of each folder, and the
run's writes.

Ansible starts a fork for each task and host, so they do not share memory. Therefore, the cache is stored in encrypted
files in Ansible's temporary directory, which exists for one run. Their key is derived from the credentials.
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
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import errors, files, model
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_files import (
    FINAL,
    LOCK_TIMEOUT,
    SealedFiles,
    error_from_result,
    make_private,
    make_tag,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api

Mode = Literal["run", "task", "none"]

_TASK: dict[tuple[model.Settings, str], model.Merged | errors.InfisicalError] = {}
"""The cache for the mode `task`. A variable is enough, because a worker process runs one task on one host."""

UNREACHABLE_SECONDS = 60.0
"""Seconds after which the controller tries again to reach an unreachable server."""

_BETWEEN = (errors.Unreachable, errors.CertificateInvalid, errors.Redirected, errors.NotJson)
"""Errors between the controller and the server. They may not occur on a host with another route."""

_HOST_MAY_SUCCEED = (*_BETWEEN, errors.WrongUse, errors.MissingLibrary)
"""The same errors, and local errors that may not occur on a host, such as a `ca_path` that only exists there."""

_ABOUT_THE_PLACE = (errors.Forbidden, errors.ScopeMissing, errors.RouteMissing, errors.RequestInvalid)
"""Errors about the requested folder or secret. They are the same for all tasks."""

REFUSAL_SECONDS = 60.0
"""Seconds to keep an error about a place. Later, a permission may have been granted, or a folder created."""

NO_LISTING_SECONDS = 60.0
"""Seconds after a temporary error during which writing tasks do not list the folder again."""


class RunCache:
    """The cache for one set of credentials and one server. Every method can raise InfisicalError.

    `mode` is where listings are kept: `run` (in files, for the entire run), `task` (in memory, for one task on one
    host) or `none`. All tasks and hosts always share the login, because a rejected login must not be retried.
    """

    def __init__(
        self,
        settings: model.Settings,
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
        """Return an API that uses the run's login."""
        if self._api is None:
            self._api = self._connect(self.settings)
        return self._api

    def secrets(self, scope: model.Location, **reading: bool) -> model.Merged:
        """Return all secrets in a folder keyed by name. `reading` are options for `Store.listing`."""
        return self._fetch(
            scope,
            ["list", asdict(scope), reading],
            lambda: self._note_version(self.api(), _connection().read_all(self.api(), scope, **reading)),
        )

    def secret(self, scope: model.Location, key: str, **reading: bool) -> model.Merged:
        """Return one secret keyed by name, or an empty mapping. `reading` are options for `Store.find`."""
        return self._fetch(
            scope,
            ["one", asdict(scope), key, reading],
            lambda: self._note_version(self.api(), _connection().read_one(self.api(), scope, key, **reading)),
        )

    # Data that writing tasks share

    def note_task(self, scope: model.Location) -> bool:
        """Record that a task writes to a folder. Return whether an earlier task in this run also did."""
        name = make_tag("begun", json.dumps(asdict(scope)))
        others: bool = self._files.recall(name) or False
        self._files.note(name, True)
        return others

    def known(self, scope: model.Location, key: str, *, lists: bool, check: bool) -> model.Known | None:
        """Return what this run knows about the stored secret, or None if the task must read the secret.

        The source is the last write of a task or, if there was none, the folder's listing. If `lists` is true, the
        listing is requested once if necessary. In check mode, an empty listing is not used: the folder may be missing,
        and check mode sends no write that would show this.

        Raises InfisicalError if the credentials are rejected.
        """
        generation = self._generation(scope, written=False)
        if generation is None:
            return None
        noted = self._files.recall(_note_name(scope, key))
        if noted is not None and noted["generation"] == generation:
            return model.Known.from_row(noted["secret"]) if noted["known"] else None
        folder = make_tag("stored", json.dumps(asdict(scope)))
        entry = self._read_entry(folder, generation)
        if entry is None and lists:
            entry = self._list_stored(folder, scope)
        if entry is None or "refused" in entry or (check and not entry["names"]):
            return None
        place = entry["names"].index(key) if key in entry["names"] else -1
        return model.Known.from_row(None if place < 0 else entry["secrets"][place])

    def _list_stored(self, folder: str, scope: model.Location) -> dict[str, Any] | None:
        no_listing = f"no_listing-{folder}"
        if (self._files.recall(no_listing) or 0) > time.time():
            return None

        def fetch() -> model.Merged:
            api = self._connect(self._impatient())
            return self._note_version(api, _connection().read_stored(api, scope))

        try:
            self._share(folder, lambda: self._generation(scope, written=False), fetch)
        except FINAL:
            raise
        except _ABOUT_THE_PLACE:
            pass
        except errors.InfisicalError:
            self._files.note(no_listing, time.time() + NO_LISTING_SECONDS)
        return self._read_entry(folder, self._generation(scope, written=False))

    @contextlib.contextmanager
    def writing(self, scope: model.Location, key: str) -> Iterator[None]:
        """Context manager: prevent other tasks in this run from writing the same secret."""
        with self._files.lock(_note_name(scope, key)):
            yield

    def note_secret(
        self, scope: model.Location, key: str, known: model.Known | None, generation: str | None = None
    ) -> str | None:
        """Record the stored secret for other writing tasks. None means that it is unknown.

        Returns the generation. Pass the generation to the call that records the result of a write, so that newer data
        take precedence.
        """
        generation = self._generation(scope, written=False) if generation is None else generation
        if generation is not None:
            row = None if known is None else known.row()
            content = {"generation": generation, "known": known is not None, "secret": row}
            self._files.note(_note_name(scope, key), content)
        return generation

    # Logins

    def token(self, rejected: str = "") -> str | None:
        """Return the run's token for a module, or None if the controller cannot reach the server. A token that equals
        `rejected` is renewed.

        Raises InfisicalError if the server refuses the login: the module would not get a token either, and another
        rejected login could lock the identity.
        """
        settings = self.settings
        # Tasks with another proxy or certificate authority may still reach the server.
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

    def _impatient(self) -> model.Settings:
        """Return settings with short waits, because the host may reach a server that the controller cannot reach."""
        return replace(self.settings, timeout=min(self.settings.timeout, 10.0), connection_wait=0.0)

    @property
    def writer(self) -> str:
        """An identifier of the identity and server, for `forget`."""
        return self._files.tag

    def refuse_rejected(self) -> None:
        """Raise InfisicalError if these credentials were rejected earlier in this run, on any host."""
        self._files.raise_final("token")

    def note_rejected(self, result: Mapping[str, Any]) -> None:
        """Record the error in a module's result if other logins must not be attempted after it."""
        if errors.error_class(str(result.get("conclusion"))) in FINAL:
            self._files.note_failure("token", error_from_result(result))

    def _connect(self, settings: model.Settings) -> Api:
        api: Api = _connection().connect_shared(settings, self._files, self._log)
        api.version = api.version or str(self._files.recall("version") or "")
        return api

    def _note_version(self, api: Api, found: model.Merged) -> model.Merged:
        """Record the API version for the run, and return `found`. The version is known once `found` has been read."""
        if self._mode == "run":
            self._files.note("version", api.version)
        return found

    def _fetch(self, scope: model.Location, wanted: list[Any], fetch: Callable[[], model.Merged]) -> model.Merged:
        name = make_tag(json.dumps(wanted))
        if self._mode == "task" and multiprocessing.parent_process() is not None:  # the main process runs several tasks
            key = (self.settings, name)
            if key not in _TASK:
                _TASK[key] = _attempt(fetch)
            return _result(_TASK[key])
        if self._mode != "run":
            return fetch()
        return self._share(name, lambda: self._generation(scope), fetch)

    def _share(
        self, name: str, generation: Callable[[], str | None], fetch: Callable[[], model.Merged]
    ) -> model.Merged:
        """Return the result that one process of this run has fetched in the current generation, or raise its error."""

        def look() -> model.Merged | errors.InfisicalError | None:
            entry = self._read_entry(name, generation())
            if entry is None:
                return None
            if "refused" in entry:
                return error_from_result(entry["refused"])
            found = {key: model.from_row(row) for key, row in zip(entry["names"], entry["secrets"], strict=True)}
            return model.Merged(found, tuple(entry["warnings"]), entry["ambiguous"])

        def fetch_and_note() -> model.Merged | errors.InfisicalError:
            # Use the generation from before the fetch, because a write during the fetch makes the result stale.
            began = generation()
            outcome = _attempt(fetch)
            if began is not None:
                self._files.note(name, {"generation": began, **_outcome_row(outcome)})
            return outcome

        return _result(self._files.once(name, look, fetch_and_note))

    def _read_entry(self, name: str, generation: str | None) -> dict[str, Any] | None:
        """Return the entry with this name, unless it is from another generation or is an expired error."""
        entry: dict[str, Any] | None = self._files.recall(name)
        if entry is None or generation is None or entry["generation"] != generation:
            return None
        return None if entry.get("until", math.inf) <= time.time() else entry

    def _generation(self, scope: model.Location, *, written: bool = True) -> str | None:
        """Return the generation of a project's listings, or None while an asynchronous task may be writing to the
        project.

        Each write starts a new generation. If `written` is false, writes that this identity has recorded are ignored.
        """
        project = _read_generation(_generation_file(self._directory, scope.project_id))
        if project.volatile_until > time.time():
            return None
        return project.everyone if written else project.of(self.writer)


class _Generation(NamedTuple):
    """The generation of a project's listings. An identity that records its own writes keeps its older generation."""

    everyone: str = ""
    volatile_until: float = 0.0
    writer: str = ""
    """The identity that wrote last, or empty if it does not record its writes."""
    writers: str = ""
    """The generation for that identity, until another identity writes."""

    def of(self, writer: str) -> str:
        return self.writers if writer == self.writer else self.everyone


def forget(project_id: str, directory: Path | None = None, *, volatile_for: float = 0.0, writer: str = "") -> None:
    """Mark all listings of a project as stale after a write, for all identities and server addresses.

    For `volatile_for` seconds, no listing is cached, because an asynchronous task may still be writing. If `writer`
    (see `RunCache.writer`) is given, that identity has recorded its write, so its own listings stay valid. Other
    identities cannot read the record.
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


def _attempt(fetch: Callable[[], model.Merged]) -> model.Merged | errors.InfisicalError:
    """Return the result of `fetch`, or its error if the error is about the requested folder or secret. Raises other
    errors."""
    try:
        return fetch()
    except _ABOUT_THE_PLACE as error:
        return error


def _result(outcome: model.Merged | errors.InfisicalError) -> model.Merged:
    if isinstance(outcome, errors.InfisicalError):
        raise outcome
    return outcome


def _outcome_row(outcome: model.Merged | errors.InfisicalError) -> dict[str, Any]:
    if isinstance(outcome, errors.InfisicalError):
        return {"refused": outcome.as_failure(), "until": time.time() + REFUSAL_SECONDS}
    return {
        "secrets": [secret._asdict() for secret in outcome.secrets.values()],
        "names": list(outcome.secrets),
        "warnings": list(outcome.warnings),
        "ambiguous": outcome.ambiguous,
    }


def _note_name(scope: model.Location, key: str) -> str:
    return make_tag("secret", json.dumps(asdict(scope)), key)


def _connection() -> Any:
    """Import `connection` only for a request, because each fork imports it again, and most tasks only need cached
    data."""
    from ansible_collections.keyfleet.infisical.plugins.plugin_utils import connection

    return connection


def _run_directory() -> Path:
    return Path(C.DEFAULT_LOCAL_TMP) / "keyfleet.infisical"


def _generation_file(directory: Path, project_id: str) -> Path:
    return directory / f"{make_tag(project_id)}.generation"
