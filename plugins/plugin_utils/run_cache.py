# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data that all tasks, hosts and forks of one Ansible run share: one login, one listing of each folder, and the
run's writes.

Ansible starts a fork for each task and host, so they do not share memory. Therefore, the cache is stored in encrypted
files in Ansible's temporary directory, which exists for one run. Their key is derived from the credentials or, if these
contain no secret, from random bytes that all processes of the run inherit. A listing is a document with a table, from
which a task reads only the secrets that it needs. Files that cannot be decrypted or written count as missing.
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
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import errors, files, garbage, model
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fast_path, sealed_table
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_files import (
    FINAL,
    LOCK_TIMEOUT,
    SealedFiles,
    error_from_result,
    make_private,
    make_tag,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api

Mode = Literal["run", "task", "none"]

_T = TypeVar("_T")

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


class Values(NamedTuple):
    """The values of secrets keyed by name. A value is None if the server hides it.

    `ambiguous` contains messages keyed by name (see `model.Merged`).
    """

    values: dict[str, str | None]
    warnings: tuple[str, ...] = ()
    ambiguous: Mapping[str, str] = {}


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
        self._directory = directory or Path(fast_path.run_directory())
        self._files = SealedFiles(settings, self._directory)
        self._api: Api | None = None

    def api(self) -> Api:
        """Return an API that uses the run's login."""
        if self._api is None:
            self._api = self._connect(self.settings)
        return self._api

    def values(self, scope: model.Location, names: Collection[str], **reading: bool) -> Values:
        """Return the values of the secrets in a folder that have one of the names, or of all secrets if there are no
        names. `reading` are options for `Store.listing`."""
        name = _listing_name(scope, reading)

        def fetch() -> model.Merged:
            return self._note_version(self.api(), _connection().read_all(self.api(), scope, **reading))

        if self._mode != "run":
            return _choose(self._fetch_alone(name, fetch), names)
        return self._share(
            name,
            lambda: self._generation(scope),
            fetch,
            note=lambda merged: self._note_table(name, merged, _pack_value),
            read=lambda entry: self._read_values(name, entry, names),
            choose=lambda merged: _choose(merged, names),
        )

    def value(self, scope: model.Location, key: str, **reading: bool) -> Values:
        """Return the value of one secret, or no value. `reading` are options for `Store.find`."""
        name = make_tag("one", json.dumps([asdict(scope), key, reading]))

        def fetch() -> model.Merged:
            return self._note_version(self.api(), _connection().read_one(self.api(), scope, key, **reading))

        if self._mode != "run":
            return _choose(self._fetch_alone(name, fetch), ())
        return self._share(
            name,
            lambda: self._generation(scope),
            fetch,
            note=lambda merged: {"values": _choose(merged, ()).values, "warnings": merged.warnings},
            read=lambda entry: Values(entry["values"], tuple(entry["warnings"])),
            choose=lambda merged: _choose(merged, ()),
        )

    def keep(self, fast: fast_path.FastPath, scope: model.Location, **reading: bool) -> None:
        """Let later lookups with the same options read this listing without checking the options again."""
        if self._mode != "run":
            return
        name, path = _listing_name(scope, reading), _generation_file(self._directory, scope.project_id)
        raw = _read_raw(path)
        generation = _parse_generation(raw)
        entry = None if generation is None else self._read_entry(name, generation.everyone)
        if entry is not None and "key" in entry:
            table = self._files.path(name, "table")
            listing = fast_path.CachedListing(str(path), raw, str(table), entry["key"], name, entry["warnings"])
            fast.keep(listing, self.settings.secret())

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
        if entry is not None and "refused" in entry:
            return None
        stored = None if entry is None else self._read_known(folder, entry, key)
        if stored is None and lists:
            stored = self._list_stored(folder, scope, key)
        return None if stored is None or (check and stored.folder_is_empty) else stored.known

    def _list_stored(self, folder: str, scope: model.Location, key: str) -> _Stored | None:
        no_listing = f"no_listing-{folder}"
        if (self._files.recall(no_listing) or 0) > time.time():
            return None

        def fetch() -> model.Merged:
            api = self._connect(self._impatient())
            return self._note_version(api, _connection().read_stored(api, scope))

        try:
            return self._share(
                folder,
                lambda: self._generation(scope, written=False),
                fetch,
                note=lambda merged: self._note_table(folder, merged, _pack_secret),
                read=lambda entry: self._read_known(folder, entry, key),
                choose=lambda merged: _Stored(model.Known(merged.secrets.get(key)), not merged.secrets),
            )
        except FINAL:
            raise
        except _ABOUT_THE_PLACE:
            pass
        except errors.InfisicalError:
            self._files.note(no_listing, time.time() + NO_LISTING_SECONDS)
        return None

    def _read_known(self, folder: str, entry: Mapping[str, Any], key: str) -> _Stored | None:
        rows = self._read_rows(folder, entry, (key,))
        if rows is None:
            return None
        row = json.loads(rows[key]) if key in rows else None
        return _Stored(model.Known.from_row(row), entry["empty"])

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

    def _fetch_alone(self, name: str, fetch: Callable[[], model.Merged]) -> model.Merged:
        """Fetch without sharing the result with other processes."""
        if self._mode == "task" and multiprocessing.parent_process() is not None:  # the main process runs several tasks
            key = (self.settings, name)
            if key not in _TASK:
                _TASK[key] = _attempt(fetch)
            return _result(_TASK[key])
        return fetch()

    def _share(
        self,
        name: str,
        generation: Callable[[], str | None],
        fetch: Callable[[], model.Merged],
        *,
        note: Callable[[model.Merged], dict[str, Any]],
        read: Callable[[dict[str, Any]], _T | None],
        choose: Callable[[model.Merged], _T],
    ) -> _T:
        """Return what one process of this run has fetched in the current generation, or raise its error.

        `choose` takes the result from what was fetched. `note` returns it as a document for the other processes, and
        `read` takes the result from that document, or returns None if the document is damaged.
        """

        def look() -> _T | errors.InfisicalError | None:
            entry = self._read_entry(name, generation())
            if entry is None:
                return None
            return error_from_result(entry["refused"]) if "refused" in entry else read(entry)

        def fetch_and_note() -> _T | errors.InfisicalError:
            # Use the generation from before the fetch, because a write during the fetch makes the result stale.
            began = generation()
            outcome = _attempt(fetch)
            if isinstance(outcome, errors.InfisicalError):
                if began is not None:
                    until = time.time() + REFUSAL_SECONDS
                    self._files.note(name, {"generation": began, "refused": outcome.as_failure(), "until": until})
                return outcome
            if began is not None:
                with contextlib.suppress(OSError):  # a full disk: the next process fetches again
                    self._files.note(name, {"generation": began, **note(outcome)})
            return choose(outcome)

        with garbage.pause_garbage_collection():
            return _result(self._files.once(name, look, fetch_and_note))

    def _note_table(self, name: str, merged: model.Merged, pack: Callable[[model.Secret], bytes]) -> dict[str, Any]:
        """Write the rows of a listing to a new table, and return the document that leads to it."""
        key = sealed_table.make_key()
        rows = {each: pack(secret) for each, secret in merged.secrets.items()}
        make_private(self._directory)
        path = str(self._files.path(name, "table"))
        files.write_atomic(path, sealed_table.build(rows, key, name.encode()), durable=False)
        return {"key": key.hex(), "warnings": merged.warnings, "ambiguous": merged.ambiguous, "empty": not rows}

    def _read_rows(self, name: str, entry: Mapping[str, Any], names: Collection[str]) -> dict[str, bytes] | None:
        """Return the rows with the given names. Without names, return all rows. A damaged table returns None."""
        try:
            table = sealed_table.Table(str(self._files.path(name, "table")), bytes.fromhex(entry["key"]), name.encode())
            if not names:
                return table.read_all()
            found = ((each, table.get(each)) for each in names)
            return {each: row for each, row in found if row is not None}
        except sealed_table.Damaged:
            return None

    def _read_values(self, name: str, entry: Mapping[str, Any], names: Collection[str]) -> Values | None:
        rows = self._read_rows(name, entry, names)
        if rows is None:
            return None
        values = {each: fast_path.unpack_value(row) for each, row in rows.items()}
        return Values(values, tuple(entry["warnings"]), entry["ambiguous"])

    def _read_entry(self, name: str, generation: str | None) -> dict[str, Any] | None:
        """Return the entry with this name, unless it is from another generation or is an expired error."""
        entry: dict[str, Any] | None = self._files.recall(name)
        if entry is None or generation is None or entry["generation"] != generation:
            return None
        return None if entry.get("until", math.inf) <= time.time() else entry

    def _generation(self, scope: model.Location, *, written: bool = True) -> str | None:
        """Return the generation of a project's listings. Return None if nothing may be cached, because a write to
        the project may not have ended, or because the disk is full.

        Each write starts a new generation. If `written` is false, writes that this identity has recorded are ignored.
        """
        project = _parse_generation(_read_raw(_generation_file(self._directory, scope.project_id)))
        if project is None or project.volatile_until > time.time():
            return None
        return project.everyone if written else project.of(self.writer)


class _Stored(NamedTuple):
    """A secret as a listing has it."""

    known: model.Known
    folder_is_empty: bool


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

    For `volatile_for` seconds, no listing is cached, because a task or the server may still be writing. If `writer`
    (see `RunCache.writer`) is given, that identity has recorded its write, so its own listings stay valid. Other
    identities cannot read the record.
    """
    _TASK.clear()
    path = _generation_file(directory or Path(fast_path.run_directory()), project_id)
    make_private(path.parent)
    with files.lock_file(f"{path}.lock", LOCK_TIMEOUT):
        before = _parse_generation(_read_raw(path)) or _Generation()
        until = max(before.volatile_until, time.time() + volatile_for)
        after = _Generation(secrets.token_hex(16), until, writer, before.of(writer))
        if path.exists():  # otherwise, the disk is full, and nothing is cached
            files.write_note(str(path), json.dumps(after).encode(), durable=False)


def _read_raw(generation_file: Path) -> str:
    """Return the content of a generation file, which is written if it does not exist. Empty if the disk is full.

    The file must exist before anything is cached, because an existing file can be changed even if the disk is full.
    """
    with contextlib.suppress(OSError):
        if not generation_file.exists():
            make_private(generation_file.parent)
            first = _Generation(secrets.token_hex(16))
            files.write_new(str(generation_file), json.dumps(first).encode(), durable=False)
        return files.read_regular(str(generation_file)).decode("ascii")
    return ""


def _parse_generation(raw: str) -> _Generation | None:
    try:
        return _Generation(*json.loads(raw))
    except (TypeError, ValueError):  # empty, or another process is writing it
        return None


def _attempt(fetch: Callable[[], model.Merged]) -> model.Merged | errors.InfisicalError:
    """Return the result of `fetch`, or its error if the error is about the requested folder or secret. Raises other
    errors."""
    try:
        return fetch()
    except _ABOUT_THE_PLACE as error:
        return error


def _result(outcome: _T | errors.InfisicalError) -> _T:
    if isinstance(outcome, errors.InfisicalError):
        raise outcome
    return outcome


def _choose(merged: model.Merged, names: Collection[str]) -> Values:
    values = {key: merged.secrets[key].value for key in names or merged.secrets if key in merged.secrets}
    return Values(values, merged.warnings, merged.ambiguous)


def _pack_value(secret: model.Secret) -> bytes:
    return fast_path.pack_value(secret.value)


def _pack_secret(secret: model.Secret) -> bytes:
    return json.dumps(secret._asdict()).encode()


def _listing_name(scope: model.Location, reading: Mapping[str, bool]) -> str:
    return make_tag("list", json.dumps([asdict(scope), sorted(reading.items())]))


def _note_name(scope: model.Location, key: str) -> str:
    return make_tag("secret", json.dumps(asdict(scope)), key)


def _connection() -> Any:
    """Import `connection` only for a request, because each fork imports it again, and most tasks only need cached
    data."""
    from ansible_collections.keyfleet.infisical.plugins.plugin_utils import connection

    return connection


def _generation_file(directory: Path, project_id: str) -> Path:
    return directory / f"{make_tag(project_id)}.generation"
