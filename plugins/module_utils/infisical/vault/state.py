# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file: hashes, versions and counts of what was written or pulled, never a value."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from json.encoder import encode_basestring_ascii as _quoted
from operator import itemgetter
from typing import Any, Callable

from ..core import files
from ..core.errors import ConfigurationError
from ..core.model import Location, canonical_value, is_whole, parse_json, secret_hash
from ..core.times import now

LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process that writes the same state file; it holds the lock for one write."""

STATE_FILE = "infisical_sync_state.json"
"""The state file's name where none is given; it stands beside the vault."""

_BEGINNING = b'{\n  "environment": '
"""How every state file begins, also a damaged one: what does not is left alone."""
_SECRETS = b',\n  "secrets": {'
"""Where the entries begin, behind the head; JSON has no newline within a string, so that this stands there only."""
_END = b"}\n}\n"

_LARGEST = 1 << 28
"""Bytes of a state file: more than one of a vault of the largest size has."""

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO))
"""What keeps a file from being written although its path is right."""

SHA256 = "sha256"
HMAC = "hmac-sha256"


def path_beside(vault_path: str) -> str:
    """Where the state file is if nothing else is named: beside the vault."""
    return os.path.join(os.path.dirname(vault_path), STATE_FILE)


class StateFile:
    """A state file: JSON, mode 0600, hashes and versions by name, never a value.

    `{"last_sync", "project_ids", "environment", "secret_path", "secrets": {name: {"hash", "version", "last_synced"}},
    "error_count", "push_count", "pull_count"}` and what a job puts beside these, times in ISO 8601 and UTC.
    `last_synced` is when this version was taken or written. `hash` is the SHA-256 of `name:value` in hex, or with a
    `hash_key` (bytes) the HMAC-SHA-256 of the same, which cannot be guessed from outside; `state_hash` says which.

    With a `scope` the file belongs to what is written there, and is refused for any other; without, to a job of a
    vault, which says with each cycle what it is about; the file then belongs to whoever owns the vault `beside` it. A
    damaged file is moved aside, with a warning, and rebuilt by
    what is written next; a file that never was a state file is refused. Reading and writing raise ConfigurationError
    where the path cannot be used, naming the option `state_file`.
    """

    def __init__(
        self,
        path: str,
        scope: Location | None = None,
        warn: Callable[[str], None] | None = None,
        *,
        hash_key: bytes | None = None,
        beside: str = "",
    ) -> None:
        if not os.path.isabs(path):
            raise ConfigurationError("state_file", f"'{path}' must be an absolute path on the task's host.")
        self.path = path
        self.scope = scope
        self.hash_key = hash_key
        self._beside = beside
        self._warn = warn or (lambda text: None)
        self._warned = False
        self._seen: tuple[tuple[int, int, int], dict[str, Any] | None] | None = None

    def check(self) -> None:
        """Raise InfisicalError where the file could not be used, before anything is written anywhere: STORAGE where it
        stands beside the vault and nothing can be written there, else ConfigurationError."""
        if self.scope is None:
            self._check_vault(self.head())
        else:
            self._read()
        directory = os.path.dirname(self.path)
        problem = files.unwritable(directory)
        if problem is not None:
            if self._beside and os.path.dirname(self._beside) == directory:
                # Nobody has named a state file, so that an error about that option would be a riddle.
                raise files.explained(problem, f"The vault {self._beside} cannot be changed", self._beside)
            raise ConfigurationError("state_file", f"'{directory}' must be a directory that this user can write to.")

    def _check_vault(self, head: Mapping[str, Any]) -> None:
        other = head.get("vault")
        elsewhere = isinstance(other, str) and self._beside and not files.is_same_place(other, self._beside)
        if elsewhere and os.path.lexists(str(other)):
            raise ConfigurationError(
                "state_file", f"'{self.path}' is the state file of the vault {other}. Set state_file to a file of its "
                f"own for {self._beside}."
            )  # fmt: skip

    # What was written to a scope

    def holds(self, key: str, value: str | None, version: int | None = None) -> bool:
        """Whether `value` (never for None) was the last one written for `key`; as `version`, where that is given."""
        state = self._read()
        hashed, written, _time = state["secrets"].get(key, ("", 0, ""))
        if (
            value is None
            or state["state_hash"] != self._algorithm
            or hashed != self.hashed(key, canonical_value(value))
        ):
            return False
        return version is None or written == version

    def record(self, key: str, value: str, version: int) -> None:
        """Note that `value` has been written for `key` and has become `version` (0 where the server did not say)."""
        self.record_many({key: (value, version)})

    def record_many(self, written: Mapping[str, tuple[str, int]]) -> None:
        """Note what has been written: {key: (value, version)}, as `record`, in one write."""
        if not written:
            return
        with self._changing() as state:
            time = now()
            if state["state_hash"] != self._algorithm:  # what stands there says nothing under another hash
                state.update(secrets={}, state_hash=self._algorithm)
            for key, (value, version) in written.items():
                state["secrets"][key] = (self.hashed(key, canonical_value(value)), version, time)
            state["last_sync"] = time
            state["push_count"] += len(written)

    def forget(self, key: str) -> None:
        """Drop what is known of `key`."""
        self.forget_many([key])

    def forget_many(self, keys: Iterable[str]) -> None:
        """Drop what is known of `keys`, in one write."""
        known = self._read()["secrets"]
        gone = [key for key in keys if key in known]
        if gone:
            with self._changing() as state:
                for key in gone:
                    state["secrets"].pop(key, None)

    # What a job of a vault did

    def head(self) -> dict[str, Any]:
        """Everything but the entries, without parsing these; the same as of an empty file where there is none."""
        head = self._whole_head()
        return {**self._empty(), **head} if head is not None else self._without_secrets(self._read())

    def _whole_head(self) -> dict[str, Any] | None:
        """The head, None where the file is not as it was written. A cycle asks several times, and a file that is
        written is another one, so that it is read once."""
        with self._accessible():
            try:
                found = os.stat(self.path, follow_symlinks=False)
            except FileNotFoundError:
                return None
        which = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._seen is None or self._seen[0] != which:
            self._seen = (which, _head(self._raw()))
        return self._seen[1]

    def newest(self, vault_id: str) -> int:
        """The highest generation of this vault (its id in hex) that is known here, 0 where there is none."""
        head = self.head()
        generation = head.get("generation")
        return generation if head.get("vault_id") == vault_id and isinstance(generation, int) else 0

    def is_whole(self) -> bool:
        """Whether the file is as it was written, the entries too; these are not parsed for it."""
        return self._whole_head() is not None

    def rewrite(self, about: Mapping[str, Any], secrets: Mapping[str, tuple[str, int, str]], pulled: int = 0) -> None:
        """Put `{name: (value, version, last_synced)}` in place of all entries, and `about` into the head."""
        with self._changing() as state:
            _bring(state, about)
            state["state_hash"] = self._algorithm
            state["pull_count"] += pulled
            hashed = secret_hash if self.hash_key is None else self.hashed
            state["secrets"] = {
                name: (hashed(name, value), version, time) for name, (value, version, time) in secrets.items()
            }

    def update(self, **about: Any) -> None:
        """Put `about` into the head, and leave the entries as they are, unread."""
        self._update(lambda state: _bring(state, about))

    def pushed(self, count: int) -> None:
        """Count secrets that were pushed from the vault."""
        self._update(lambda state: state.update(push_count=state["push_count"] + count))

    def failed(self, problem: str, time: str) -> None:
        """Count an error and keep its text, which holds no value."""
        problem = problem.encode("utf-8", "backslashreplace").decode("utf-8")  # names are as the server gave them
        self._update(lambda state: state.update(
            error_count=state["error_count"] + 1, last_error={"time": time, "message": problem}
        ))  # fmt: skip

    def _update(self, change: Callable[[dict[str, Any]], None]) -> None:
        with self._locked():
            raw = self._raw()
            head = _head(raw)
            if head is None:
                state = self._read(move_damaged=True)
                change(state)
                self._write(_document(state))
                return
            state = {**self._empty(), **head}
            change(state)
            self._write(_head_document(state) + raw[raw.index(_SECRETS) :])

    def hashed(self, name: str, value: str) -> str:
        """The hash of a secret as this file has it, in hex."""
        if self.hash_key is None:
            return secret_hash(name, value)
        return hmac.digest(self.hash_key, f"{name}:{value}".encode(), "sha256").hex()

    @property
    def _algorithm(self) -> str:
        return SHA256 if self.hash_key is None else HMAC

    # The file

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        with self._locked():
            state = self._read(move_damaged=True)
            yield state
            self._write(_document(state))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._accessible(), files.locked(self.path + ".lock", LOCK_TIMEOUT, owner=self._owner()):
            files.sweep(self.path)
            yield

    def _write(self, document: bytes) -> None:
        files.write_atomic(self.path, document, owner=self._owner())

    def _owner(self) -> files.Owner:
        return files.owner_of(self._beside) if self._beside else None

    @contextlib.contextmanager
    def _accessible(self) -> Iterator[None]:
        try:
            yield
        except files.LockTimeout as error:
            raise ConfigurationError("state_file", f"{error}.") from None
        except OSError as error:
            if error.errno in _FULL:
                raise files.explained(error, f"The state file {self.path} cannot be written", self.path) from None
            raise ConfigurationError(
                "state_file", f"'{self.path}' cannot be used: {error.strerror}. Its directory must exist and be "
                "writable, and the file must be no symbolic link."
            ) from None  # fmt: skip

    def _raw(self) -> bytes:
        with self._accessible():
            try:
                raw = files.read_regular(self.path, most=_LARGEST + 1)
            except FileNotFoundError:
                return b""
            if len(raw) > _LARGEST:
                raise ConfigurationError("state_file", f"'{self.path}' is too large for a state file. Move it away.")
            if not self._warned and stat.S_IMODE(os.stat(self.path).st_mode) & 0o077:
                self._warned = True
                self._warn(f"The state file {self.path} is readable by others: hashes of weak secrets can be guessed.")
            return raw

    def _read(self, *, move_damaged: bool = False) -> dict[str, Any]:
        raw = self._raw()
        if not raw and not os.path.exists(self.path):
            return self._empty()
        state = _parsed(raw)
        if state is None:
            ours = raw.startswith(_BEGINNING) or b'"project_ids"' in raw or os.path.basename(self.path) == STATE_FILE
            if raw and not ours:
                raise ConfigurationError(
                    "state_file", f"'{self.path}' holds something else than a state file. Name another path."
                )
            if move_damaged:
                aside = f"{self.path}.damaged-{datetime.now(timezone.utc).strftime('%Y%m%dT%H%M%SZ')}"
                os.replace(self.path, aside)
                self._warn(f"The state file {self.path} was damaged and is now {aside}.")
            return self._empty()
        mine = self._empty()
        if self.scope is not None:
            if state.get("vault_id"):
                raise ConfigurationError(
                    "state_file", f"'{self.path}' is the state file of a vault. Name another path for what is pushed."
                )
            for name in ("project_ids", "environment", "secret_path"):
                if state.get(name, mine[name]) != mine[name]:
                    raise ConfigurationError(
                        "state_file",
                        f"'{self.path}' belongs to another scope (its {name} is {state[name]!r}). Use one file for "
                        "each.",
                    )
        return {**mine, **state}

    def _empty(self) -> dict[str, Any]:
        return {
            "last_sync": None,
            "project_ids": [self.scope.project_id] if self.scope is not None else [],
            "environment": self.scope.environment if self.scope is not None else "",
            "secret_path": self.scope.secret_path if self.scope is not None else "/",
            "secrets": {},
            "error_count": 0,
            "push_count": 0,
            "pull_count": 0,
            "state_hash": SHA256,
        }

    @staticmethod
    def _without_secrets(state: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in state.items() if name != "secrets"}


def _bring(state: dict[str, Any], about: Mapping[str, Any]) -> None:
    """Put `about` into the head. The generation of a vault only grows: who read it first may write it last."""
    known = state.get("generation")
    same = state.get("vault_id") == about.get("vault_id")
    state.update(about)
    if same and isinstance(known, int) and "generation" in about:
        state["generation"] = max(known, about["generation"])


def _head_document(state: Mapping[str, Any]) -> bytes:
    head = {name: value for name, value in state.items() if name != "secrets"}
    return json.dumps(head, indent=2, sort_keys=True).encode("utf-8")[: -len("\n}")]


def _document(state: Mapping[str, Any]) -> bytes:
    """The whole file: the head by name, then an entry a line, by name.

    The lines are put together here, because json.dumps makes a line each of every field, or one of everything.
    """
    secrets = sorted(state["secrets"].items(), key=itemgetter(0))
    times = {time: _quoted(time) for time in {time for _name, (_hash, _version, time) in secrets}}
    lines = [
        f'\n    {_quoted(name)}: {{"hash": "{hashed}", "version": {version}, "last_synced": {times[time]}}}'
        for name, (hashed, version, time) in secrets
    ]
    entries = _SECRETS + ",".join(lines).encode("ascii") + b"\n  " + _END
    return _head_document({**state, "secrets_sha256": _digest(entries)}) + entries


def _digest(entries: bytes) -> str:
    return hashlib.sha256(entries).hexdigest()


def _head(raw: bytes) -> dict[str, Any] | None:
    """The head of a whole file as we write it; None where it has to be read as JSON, or is damaged."""
    if not raw.startswith(_BEGINNING) or not raw.endswith(_END) or _SECRETS not in raw:
        return None
    entries = raw.index(_SECRETS)
    head = _parsed(raw[:entries] + b',"secrets": {}}')
    return head if head is not None and head.get("secrets_sha256") == _digest(raw[entries:]) else None


_NUMBERS = ("push_count", "pull_count", "error_count", "generation")
_TEXTS = ("environment", "secret_path", "job", "vault", "vault_id", "state_hash", "environment_checked",
          "environment_asked")  # fmt: skip


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        state = parse_json(raw)
    except ValueError:
        return None
    sound = (
        isinstance(state, dict)
        and isinstance(state.get("secrets"), dict)
        and all(is_whole(state.get(name, 0)) for name in _NUMBERS)
        and all(isinstance(state.get(name, ""), str) for name in _TEXTS)
        and isinstance(state.get("project_ids", []), list)
        and all(isinstance(project_id, str) for project_id in state.get("project_ids", []))
        and isinstance(state.get("last_sync") or "", str)
        and isinstance(state.get("last_error") or {}, dict)
        and all(isinstance(text, str) for text in (state.get("last_error") or {}).values())
    )
    if not sound:
        return None
    # A damaged entry is unknown, and its secret written anew; the others stay known.
    entries = {name: _entry(entry) for name, entry in state["secrets"].items()}
    return {**state, "secrets": {name: entry for name, entry in entries.items() if entry is not None}}


def _entry(entry: Any) -> tuple[str, int, str] | None:
    """An entry as (hash, version, last_synced), None where it is damaged."""
    if not isinstance(entry, dict):
        return None
    hashed, version, time = entry.get("hash"), entry.get("version"), entry.get("last_synced")
    if not isinstance(hashed, str) or not isinstance(version, int) or not isinstance(time, str):
        return None
    return (hashed, version, time) if hashed.isascii() and hashed.isalnum() and not isinstance(version, bool) else None
