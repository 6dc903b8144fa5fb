# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of Ansible shares over tasks, hosts and forks: one login, each listing fetched once, and what it wrote.

Ansible evaluates a lookup in a fork for each task and host, so that memory is shared by nobody. Files in the run's own
temporary folder are: Ansible makes the folder when it starts and removes it when the run ends. They are sealed with a
key derived from the credentials, so that whoever finds one without these has nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import multiprocessing
import secrets
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from ansible import constants as C
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    CertificateInvalid,
    CredentialsRejected,
    Forbidden,
    InfisicalError,
    LockedOut,
    MissingLibrary,
    NotJson,
    Redirected,
    RequestInvalid,
    RouteMissing,
    ScopeMissing,
    Unreachable,
    WrongUse,
    error_class,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    Known,
    Location,
    Merged,
    Settings,
    from_row,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Mode = Literal["run", "task", "none"]

LOCK_TIMEOUT = 900.0
"""Seconds to wait for another fork that fetches the same thing: longer than all waits of its requests together. Who
waited gets its result or its failure, so that nobody waits twice."""

_NONCE = 12
"""Bytes of an AES-GCM nonce (NIST SP 800-38D, 8.2.1)."""

_OPENED: dict[str, tuple[tuple[int, int, int], Any]] = {}
"""Opened files by path, with what tells that the file is still the same one."""

_TASK: dict[tuple[Settings, str], Merged | InfisicalError] = {}
"""What `cache: task` keeps: a worker process lives for one task of one host."""

_FINAL = (CredentialsRejected, LockedOut)
"""After these, no task of the run logs in again: three failures lock the identity for everybody."""

NO_WAY_SECONDS = 60.0
"""How long the controller does not try to reach a server again that it could not reach."""

_NO_WAY = (
    Unreachable,
    CertificateInvalid,
    Redirected,
    NotJson,
)
"""What lies between the controller and the server, and may be otherwise on a host."""

_OTHERWISE_ON_A_HOST = (*_NO_WAY, WrongUse, MissingLibrary)
"""The same, and what one finds out again without sending anything, such as a ca_path that only the host has."""

_ABOUT_THE_PLACE = (Forbidden, ScopeMissing, RouteMissing, RequestInvalid)
"""Refusals that are answers about what was asked for, and the same for whichever task asks next."""

REFUSAL_SECONDS = 60.0
"""How long such a refusal is kept: somebody may grant the permission or make the folder while the run goes on."""

NO_LISTING_SECONDS = 60.0
"""How long tasks that write read for themselves after a listing has failed for a passing reason."""

_T = TypeVar("_T")


class SealedFiles:
    """JSON documents of one identity at one Infisical, by name, in files that only its credentials open."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._identity = json.dumps(
            [settings.url, settings.auth_method, settings.client_id, settings.client_secret, settings.token]
        )
        self._directory = directory
        self._cipher = _cipher(self._identity)
        self.tag = _tag(self._identity)

    def recall(self, name: str) -> Any:
        """What was noted under a name, None where nothing was."""
        path = self._path(name)
        try:
            status = path.stat()
            same = (status.st_ino, status.st_mtime_ns, status.st_size)
            opened = _OPENED.get(str(path))
            if opened is not None and opened[0] == same:
                return opened[1]
            sealed = files.read_regular(str(path))
        except OSError:
            return None
        content = json.loads(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], path.name.encode()))
        _OPENED[str(path)] = (same, content)
        return content

    def note(self, name: str, content: Any) -> None:
        """Note something under a name, in place of what was noted before."""
        if self.recall(name) == content:
            return
        _make_private(self._directory)
        path = self._path(name)
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, json.dumps(content).encode(), path.name.encode())
        files.write_atomic(str(path), sealed, durable=False)

    def once(self, name: str, look: Callable[[], _T | None], fetch: Callable[[], _T]) -> _T:
        """What `look` finds, else what `fetch` gives; of several processes one fetches, and the others wait and look.

        A failure is raised in those too that were waiting meanwhile, and a login that was rejected in all that follow.
        """
        asked = time.time()
        found = look()
        if found is not None:
            return found
        with self.lock(name):
            found = look()
            if found is not None:
                return found
            self.raise_final(name, asked)
            try:
                return fetch()
            except InfisicalError as error:
                self.note_failure(name, error)
                raise

    def raise_final(self, name: str, asked: float = math.inf) -> None:
        """Raise the failure that was noted under a name, if it is final, or happened since `asked`."""
        failed = self.recall(f"{name}-failure")
        if failed is not None and (failed["final"] or failed["at"] >= asked):
            raise _error(failed)

    def note_failure(self, name: str, error: InfisicalError) -> None:
        """Note a failure for those who wait for the same thing, and a final one for all that follow."""
        failure = {**_error_row(error), "at": time.time(), "final": isinstance(error, _FINAL)}
        self.note(f"{name}-failure", failure)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        _make_private(self._directory)
        try:
            with files.locked(f"{self._path(name)}.lock", LOCK_TIMEOUT):
                yield
        except files.LockTimeout:
            raise Unreachable(
                f"Another task of this run has waited for Infisical for more than {LOCK_TIMEOUT:g} seconds. Check "
                "that the server is up, and the time-outs and waits that are set.",
            ) from None

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}-{self.tag}.sealed"


class RunCache:
    """The cache of one set of credentials at one Infisical; every method may raise InfisicalError.

    `mode` says where listings are kept: `run` (files shared by the whole run), `task` (memory of one task on one host)
    or `none`. The login is shared by the whole run in every mode: a rejected one must not be tried by each task.
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
        self._directory = directory or _of_this_run()
        self._files = SealedFiles(settings, self._directory)
        self._api: Api | None = None

    def api(self) -> Api:
        """The API, with the run's login."""
        if self._api is None:
            self._api = self._connected(self.settings)
        return self._api

    def secrets(self, scope: Location, **reading: bool) -> Merged:
        """All secrets of a scope by name, as `Remote.listing` with these options and `merged` give them.

        A refusal is kept too, for a while.
        """

        def fetch() -> Merged:
            return self._noted(self.api(), _connection().read_all(self.api(), scope, **reading))

        return self._fetched(scope, ["list", asdict(scope), reading], fetch)

    def secret(self, scope: Location, key: str, **reading: bool) -> Merged:
        """One secret by name (an empty mapping where there is none), as `Remote.find` gives it."""

        def fetch() -> Merged:
            return self._noted(self.api(), _connection().read_one(self.api(), scope, key, **reading))

        return self._fetched(scope, ["one", asdict(scope), key, reading], fetch)

    # What tasks that write share

    def begun(self, scope: Location) -> bool:
        """Whether another task of this run has asked this before, so that several secrets of a folder are written."""
        name = _tag("begun", json.dumps(asdict(scope)))
        others: bool = self._files.recall(name) or False
        self._files.note(name, True)
        return others

    def known(self, scope: Location, key: str, *, lists: bool, check: bool) -> Known | None:
        """What this run knows of a secret that a task is about to write; None if the task is to read it by itself.

        That is what the last task has stored, else what the folder's listing says, of which the run makes one, and only
        if a task `lists`. In `check` mode an empty listing says nothing, because no write would find out that there is
        no such folder.

        Raises InfisicalError if the credentials are rejected.
        """
        generation = self._generation(scope, written=False)
        if generation is None:
            return None
        noted = self._files.recall(_note_name(scope, key))
        if noted is not None and noted["generation"] == generation:
            return Known.from_row(noted["secret"]) if noted["known"] else None
        folder = _tag("stored", json.dumps(asdict(scope)))
        entry = self._entry(folder, generation)
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
            api = self._connected(self._hasty())
            return self._noted(api, _connection().read_stored(api, scope))

        try:
            self._shared(folder, lambda: self._generation(scope, written=False), fetch)
        except InfisicalError as error:
            if isinstance(error, _FINAL):
                raise
            if not isinstance(error, _ABOUT_THE_PLACE):
                self._files.note(no_listing, time.time() + NO_LISTING_SECONDS)
        return self._entry(folder, self._generation(scope, written=False))

    @contextlib.contextmanager
    def writing(self, scope: Location, key: str) -> Iterator[None]:
        """Keep the other tasks of this run from writing the same secret meanwhile."""
        with self._files.lock(_note_name(scope, key)):
            yield

    def note_secret(self, scope: Location, key: str, known: Known | None, generation: str | None = None) -> str | None:
        """Note what is stored under a name now, for other tasks that write; None if nobody knows.

        Returns the generation, to be handed back with what a write has stored: what was noted meanwhile counts then.
        """
        generation = self._generation(scope, written=False) if generation is None else generation
        if generation is not None:
            row = None if known is None else known.row()
            content = {"generation": generation, "known": known is not None, "secret": row}
            self._files.note(_note_name(scope, key), content)
        return generation

    # Logins

    def token(self, rejected: str = "") -> str | None:
        """The run's token for a module on whichever host, None where there is no way from here to the server.

        It is another one than `rejected`. Raises InfisicalError where the server answers and gives no token, because a
        module would fare no better, and would make it worse where the credentials are rejected.
        """
        settings = self.settings
        # Other tasks may have another proxy or certificate authority, and so a way.
        no_way = f"no_way-{_tag(settings.proxy, settings.ca_path, str(settings.validate_certs), str(settings.timeout))}"
        if settings.auth_method == "token" or (self._files.recall(no_way) or 0) > time.time():
            return None
        try:
            api: Api = _connection().connected(self._hasty(), self._files, self._log)
            return api.tokens.renew(rejected) if rejected else api.tokens.current()
        except _OTHERWISE_ON_A_HOST as error:
            if isinstance(error, _NO_WAY):
                self._files.note(no_way, time.time() + NO_WAY_SECONDS)
            return None

    def _hasty(self) -> Settings:
        """The settings with little time for finding out whether the controller has a way: a host may have another."""
        return replace(self.settings, timeout=min(self.settings.timeout, 10.0), connection_wait=0.0)

    @property
    def writer(self) -> str:
        """Who writes, for `forget`: the identity at its address."""
        return self._files.tag

    def refuse_rejected(self) -> None:
        """Raise InfisicalError where these credentials were rejected in this run, on whichever host."""
        self._files.raise_final("token")

    def note_rejected(self, conclusion: str, message: str, status: int | None) -> None:
        """Note what a module was told by the server, if it means that no other task should log in."""
        kind = error_class(conclusion)
        if kind in _FINAL:
            self._files.note_failure("token", kind(message, hint="", status=status))

    def _connected(self, settings: Settings) -> Api:
        api: Api = _connection().connected(settings, self._files, self._log)
        api.version = api.version or str(self._files.recall("version") or "")
        return api

    def _noted(self, api: Api, found: Merged) -> Merged:
        """What was read. The version of the API, which is known then, is noted for the run."""
        if self._mode == "run":
            self._files.note("version", api.version)
        return found

    def _fetched(self, scope: Location, wanted: list[Any], fetch: Callable[[], Merged]) -> Merged:
        name = _tag(json.dumps(wanted))
        if self._mode == "task" and multiprocessing.parent_process() is not None:  # the main process outlives tasks
            key = (self.settings, name)
            if key not in _TASK:
                _TASK[key] = _attempt(fetch)
            return _result(_TASK[key])
        if self._mode != "run":
            return fetch()
        return self._shared(name, lambda: self._generation(scope), fetch)

    def _shared(self, name: str, generation: Callable[[], str | None], fetch: Callable[[], Merged]) -> Merged:
        """What one process of this run fetches for all, since the generation began; also a refusal, for a while."""

        def look() -> Merged | InfisicalError | None:
            entry = self._entry(name, generation())
            if entry is None:
                return None
            if "refused" in entry:
                return _error(entry["refused"])
            secrets = {key: from_row(row) for key, row in zip(entry["names"], entry["secrets"], strict=True)}
            return Merged(secrets, tuple(entry["warnings"]), entry["ambiguous"])

        def fetch_and_note() -> Merged | InfisicalError:
            # The generation from before the fetch: a write during it makes the result stale, also for us next time.
            began = generation()
            outcome = _attempt(fetch)
            if began is not None:
                self._files.note(name, {"generation": began, **_outcome_row(outcome)})
            return outcome

        return _result(self._files.once(name, look, fetch_and_note))

    def _entry(self, name: str, generation: str | None) -> dict[str, Any] | None:
        """What is noted under a name, if it is of this generation, and no refusal of long ago."""
        entry: dict[str, Any] | None = self._files.recall(name)
        if entry is None or generation is None or entry["generation"] != generation:
            return None
        return None if entry.get("until", math.inf) <= time.time() else entry

    def _generation(self, scope: Location, *, written: bool = True) -> str | None:
        """The generation of a project's listings, None while a task that runs on by itself may write at any time.

        Each write begins a new one. If not `written`, only a write does of which this identity has no note.
        """
        project = _read_generation(_generation_file(self._directory, scope.project_id))
        if project.volatile_until > time.time():
            return None
        return project.everyone if written else project.of(self.writer)


class _Generation(NamedTuple):
    """The generation of a project: a write begins a new one for everyone, but whoever noted it keeps an older one."""

    everyone: str = ""
    volatile_until: float = 0.0
    writer: str = ""
    """The identity that wrote last, empty if it keeps no notes."""
    writers: str = ""
    """The generation of that identity, which holds as long as no other one writes."""

    def of(self, writer: str) -> str:
        """The generation of an identity that notes what it writes."""
        return self.writers if writer == self.writer else self.everyone


def forget(project_id: str, directory: Path | None = None, *, volatile_for: float = 0.0, writer: str = "") -> None:
    """Make every listing of a project stale, whoever fetched it from whichever address: something in it was written.

    For `volatile_for` seconds none is kept at all, because a task that runs on by itself may still write. A `writer`
    (see RunCache.writer) has noted what it has written, so that its own tasks go on with what they know. Other
    identities cannot read these notes, so for them this write makes everything stale.
    """
    _TASK.clear()
    path = _generation_file(directory or _of_this_run(), project_id)
    _make_private(path.parent)
    with files.locked(f"{path}.lock", LOCK_TIMEOUT):
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
    """What `fetch` gives, or its error if that is an answer about the place. Raises every other error."""
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
        return {"refused": _error_row(outcome), "until": time.time() + REFUSAL_SECONDS}
    return {
        "secrets": [secret._asdict() for secret in outcome.secrets.values()],
        "names": list(outcome.secrets),
        "warnings": list(outcome.warnings),
        "ambiguous": outcome.ambiguous,
    }


def _error_row(error: InfisicalError) -> dict[str, Any]:
    return {"conclusion": error.conclusion, "message": error.problem, "hint": error.hint, "status": error.status}


def _error(row: dict[str, Any]) -> InfisicalError:
    return error_class(row["conclusion"])(row["message"], hint=row["hint"], status=row["status"])


def _note_name(scope: Location, key: str) -> str:
    return _tag("secret", json.dumps(asdict(scope)), key)


def _connection() -> Any:
    """The module `connection`, imported only when something must be read from the server.

    Ansible compiles imports again in every fork, and most tasks find in the cache what another task has read.
    """
    from ansible_collections.keyfleet.infisical.plugins.plugin_utils import connection

    return connection


def _of_this_run() -> Path:
    return Path(C.DEFAULT_LOCAL_TMP) / "keyfleet.infisical"


def _generation_file(directory: Path, project_id: str) -> Path:
    return directory / f"{_tag(project_id)}.generation"


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _tag(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _cipher(identity: str) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError:
        raise MissingLibrary("cryptography") from None
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"keyfleet.infisical run cache")
    return AESGCM(kdf.derive(identity.encode()))
