# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file: hashes, versions and counts of written or pulled secrets, but never their values."""

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
from typing import Any, Callable

from ..core import files
from ..core.errors import ConfigurationError
from ..core.model import Location, canonical_value, hash_secret, is_whole, parse_json
from ..core.times import now

LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process that writes the state file. A process locks the file for one write only."""

STATE_FILE = "infisical_sync_state.json"
"""The default name of the state file in the vault's directory."""

_BEGINNING = b'{\n  "environment": '
"""The beginning of every state file. A damaged file that begins differently is probably another file."""
_SECRETS = b',\n  "secrets": '
"""The text between the head (all keys except `secrets`) and the entries. This text occurs nowhere else, because a JSON
string contains no newline."""

_LARGEST = 1 << 28
"""Maximum size of a state file in bytes. The state file for the largest possible vault is smaller."""

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO))
"""Error numbers for a write that failed although the path is valid."""

_Identity = tuple[int, int, int]

SHA256 = "sha256"
HMAC = "hmac-sha256"


def path_beside(vault_path: str) -> str:
    """Return the default path of a vault's state file."""
    return os.path.join(os.path.dirname(vault_path), STATE_FILE)


class StateFile:
    """A state file: JSON, mode 0600.

    It contains `{"last_sync", "project_ids", "environment", "secret_path", "secrets": {name: {"hash", "version",
    "last_synced"}}, "error_count", "push_count", "pull_count"}`, and more keys if it belongs to a job. Times are ISO
    8601 in UTC. `last_synced` is the time at which the version was pulled or written. `hash` is the SHA-256 of
    `name:value` in hex or, with a `hash_key` (bytes), the HMAC-SHA-256, so that nobody without the key can guess the
    value. `state_hash` is the name of the algorithm.

    With a `scope`, the file records the secrets written to that location, and is refused for any other location.
    Without a `scope`, the file belongs to a job of the vault at `beside`, and has the same owner as that vault. The
    next write moves a damaged file aside with a warning. A file that was never a state file is refused. Methods raise
    ConfigurationError for the option `state_file` if the path cannot be used, and StorageFailed if this user has no
    permission for the file.
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
            raise _refuse(f"must be an absolute path on the host (got '{path}').")
        self.path = path
        self.scope = scope
        self.hash_key = hash_key
        self._beside = beside
        self._warn = warn or (lambda text: None)
        self._warned = False
        # The head and the content when they were last read, each with the identity of the file at that time.
        self._last_head: tuple[_Identity | None, dict[str, Any] | None] = (None, None)
        self._last_content: tuple[_Identity | None, dict[str, Any]] = (None, self._empty())

    def check(self) -> None:
        """Raise InfisicalError if the file cannot be used, before anything is written.

        The error is StorageFailed if the file's directory is not writable and is also the vault's directory. Otherwise
        it is ConfigurationError.
        """
        if self.scope is not None:
            self._read()
        else:
            other = self.head().get("vault", "")
            if other and self._beside and not files.is_same_place(other, self._beside) and os.path.lexists(other):
                raise _refuse(
                    f"'{self.path}' is the state file of the vault {other}.",
                    f"Set state_file to another path for {self._beside}.",
                )
        directory = os.path.dirname(self.path)
        problem = files.find_write_problem(directory)
        if problem is not None:
            if self._beside and os.path.dirname(self._beside) == directory:
                # The user has not set state_file, so an error about that option would not help.
                raise files.explain(problem, f"The vault {self._beside} cannot be changed", self._beside)
            raise _refuse(f"'{directory}' must be a directory that this user can write to.")

    # Secrets written to a scope

    def holds(self, key: str, value: str | None, version: int | None = None) -> bool:
        """Return whether `value` was the last value written for `key` and, if `version` is given, became that version.

        Returns False if `value` is None.
        """
        identity = self._identify()
        if identity != self._last_content[0]:
            self._last_content = identity, self._read()
        state = self._last_content[1]
        entry = state["secrets"].get(key)
        if value is None or entry is None or state["state_hash"] != self._algorithm:
            return False
        return entry["hash"] == self._hash(key, canonical_value(value)) and version in (None, entry["version"])

    def record(self, written: Mapping[str, tuple[str, int]]) -> None:
        """Record the secrets that were written: {key: (value, version)}, version 0 if the server did not return it."""
        if not written:
            return
        with self._changing() as state:
            time = now()
            if state["state_hash"] != self._algorithm:  # hashes from different algorithms cannot be compared
                state.update(secrets={}, state_hash=self._algorithm)
            for key, (value, version) in written.items():
                state["secrets"][key] = _entry(self._hash(key, canonical_value(value)), version, time)
            state["last_sync"] = time
            state["push_count"] += len(written)

    def forget(self, keys: Iterable[str]) -> None:
        known = self._read()["secrets"]
        gone = [key for key in keys if key in known]
        if gone:
            with self._changing() as state:
                for key in gone:
                    state["secrets"].pop(key, None)

    # The syncs of a vault's job

    def head(self) -> dict[str, Any]:
        """Return everything except the entries, which are not parsed."""
        head = self._read_head()
        if head is None:
            head = self._read()
            del head["secrets"]
        return {**self._empty(), **head}

    def _read_head(self) -> dict[str, Any] | None:
        """Return the head, or None if the file is missing or damaged."""
        identity = self._identify()
        if identity != self._last_head[0]:
            self._last_head = identity, _split(self._raw())[0]
        return self._last_head[1]

    def _identify(self) -> _Identity | None:
        """Return the inode, the change time and the size, which each write changes, or None if the file is missing."""
        with self._accessible():
            try:
                found = os.stat(self.path, follow_symlinks=False)
            except FileNotFoundError:
                return None
        return found.st_ino, found.st_ctime_ns, found.st_size

    def recorded(self) -> tuple[str, int]:
        """Return the vault's id in hex and its highest generation, or empty text and 0."""
        head = self.head()
        return head.get("vault_id", ""), head.get("generation", 0)

    def is_intact(self) -> bool:
        """Return whether the file, including its entries, is intact."""
        return self._read_head() is not None

    def rewrite(self, about: Mapping[str, Any], secrets: Mapping[str, tuple[str, int, str]], pulled: int = 0) -> None:
        """Update the head with `about`, and replace all entries: {name: (value, version, last_synced)}."""
        with self._changing() as state:
            _update_head(state, about)
            state["state_hash"] = self._algorithm
            state["pull_count"] += pulled
            state["secrets"] = {
                name: _entry(self._hash(name, value), version, time) for name, (value, version, time) in secrets.items()
            }

    def update(self, **about: Any) -> None:
        with self._changing(head_only=True) as state:
            _update_head(state, about)

    def count_pushed(self, count: int) -> None:
        """Add `count` to the number of secrets that were pushed from the vault."""
        with self._changing(head_only=True) as state:
            state["push_count"] += count

    def record_error(self, problem: str, time: str) -> None:
        """Count an error and store its text, which must not contain a value."""
        problem = problem.encode("utf-8", "backslashreplace").decode("utf-8")  # it may quote names from the server
        with self._changing(head_only=True) as state:
            state["error_count"] += 1
            state["last_error"] = {"time": time, "message": problem}

    def _hash(self, name: str, value: str) -> str:
        if self.hash_key is None:
            return hash_secret(name, value)
        return hmac.digest(self.hash_key, f"{name}:{value}".encode(), "sha256").hex()

    @property
    def _algorithm(self) -> str:
        return SHA256 if self.hash_key is None else HMAC

    # The file

    @contextlib.contextmanager
    def _changing(self, *, head_only: bool = False) -> Iterator[dict[str, Any]]:
        """Context manager: lock the file, read its content, and write the content after the caller has changed it.

        With `head_only`, the entries are not parsed, because every sync without changes makes such a write.
        """
        with self._accessible(), files.lock_file(self.path + ".lock", LOCK_TIMEOUT, owner=files.owner_of(self._beside)):
            files.sweep(self.path)
            head, entries = _split(self._raw()) if head_only else (None, b"")
            state = self._read(move_damaged=True) if head is None else {**self._empty(), **head}
            yield state
            self._write(state, entries)

    def _write(self, state: Mapping[str, Any], entries: bytes = b"") -> None:
        """Write the head of `state` and its entries. If `entries` is given, it is the text of the entries."""
        head = {name: value for name, value in state.items() if name != "secrets"}
        if not entries:
            entries = _SECRETS + json.dumps(state["secrets"], sort_keys=True).encode("ascii") + b"\n}\n"
            head["secrets_sha256"] = hashlib.sha256(entries).hexdigest()
        text = json.dumps(head, indent=2, sort_keys=True).encode("ascii")[: -len("\n}")]
        files.write_atomic(self.path, text + entries, owner=files.owner_of(self._beside))

    @contextlib.contextmanager
    def _accessible(self) -> Iterator[None]:
        try:
            yield
        except files.LockTimeout as error:
            raise _refuse(f"{error}.") from None
        except OSError as error:
            if error.errno in _FULL:
                raise files.explain(error, f"The state file {self.path} cannot be written", self.path) from None
            if isinstance(error, PermissionError):
                explained = files.explain(error, f"The state file {self.path} cannot be used", self.path)
                directory = os.path.dirname(self.path)
                raise explained.reworded(
                    explained.problem,
                    f"Give user {os.geteuid()} permission to read and write the file and its directory, or run this as "
                    f"the owner of the file. To see owners and modes, run: ls -ld '{directory}' '{self.path}'*",
                ) from None
            raise _refuse(
                f"'{self.path}' cannot be used: {error.strerror}.",
                "Check that its directory exists and is writable, and that the file is not a symbolic link.",
            ) from None

    def _raw(self) -> bytes:
        with self._accessible():
            try:
                raw = files.read_regular(self.path, most=_LARGEST + 1)
            except FileNotFoundError:
                return b""
            if len(raw) > _LARGEST:
                raise _refuse(f"'{self.path}' is too large for a state file.", "Move the file away.")
            if not self._warned and stat.S_IMODE(os.stat(self.path).st_mode) & 0o077:
                self._warned = True
                self._warn(
                    f"The state file {self.path} is readable by other users, who could guess weak secrets from their "
                    "hashes."
                )
            return raw

    def _read(self, *, move_damaged: bool = False) -> dict[str, Any]:
        raw = self._raw()
        if not raw and not os.path.exists(self.path):
            return self._empty()
        state = _parse(raw)
        if state is None:
            ours = raw.startswith(_BEGINNING) or b'"project_ids"' in raw or os.path.basename(self.path) == STATE_FILE
            if raw and not ours:
                raise _refuse(f"'{self.path}' exists, but is not a state file.", "Set state_file to another path.")
            if move_damaged:
                aside = f"{self.path}.damaged-{datetime.now(timezone.utc).strftime('%Y%m%dT%H%M%SZ')}"
                os.replace(self.path, aside)
                self._warn(f"The state file {self.path} was damaged, and has been moved to {aside}.")
            return self._empty()
        mine = self._empty()
        if self.scope is not None:
            if state.get("vault_id"):
                raise _refuse(f"'{self.path}' is the state file of a vault.", "Set state_file to another path.")
            for name in ("project_ids", "environment", "secret_path"):
                if state.get(name, mine[name]) != mine[name]:
                    raise _refuse(
                        f"'{self.path}' is the state file of another location (its {name} is {state[name]!r}).",
                        "Set a different state_file for each location.",
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


def _refuse(problem: str, hint: str = "") -> ConfigurationError:
    return ConfigurationError("state_file", problem, hint=hint)


def _update_head(state: dict[str, Any], about: Mapping[str, Any]) -> None:
    """Update the head with `about`, but never lower the recorded generation of a vault.

    Another process may have recorded a later generation before this one writes.
    """
    known = state.get("generation", 0)
    same = state.get("vault_id") == about.get("vault_id")
    state.update(about)
    if same and "generation" in about:
        state["generation"] = max(known, about["generation"])


def _split(raw: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """Return the head and the text of the entries. The head is None if the file is damaged."""
    start = raw.find(_SECRETS)
    head = _parse(raw[:start] + _SECRETS + b"{}}") if start >= 0 else None
    entries = raw[start:]
    if head is None or head.get("secrets_sha256") != hashlib.sha256(entries).hexdigest():
        return None, b""
    del head["secrets"]
    return head, entries


_NUMBERS = ("push_count", "pull_count", "error_count", "generation")
_TEXTS = ("environment", "secret_path", "job", "vault", "vault_id", "state_hash", "environment_checked",
          "environment_asked")  # fmt: skip


def _parse(raw: bytes) -> dict[str, Any] | None:
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
    # A damaged entry is ignored, and the other entries are kept.
    return {**state, "secrets": {name: entry for name, entry in state["secrets"].items() if _is_entry(entry)}}


def _entry(hashed: str, version: int, time: str) -> dict[str, Any]:
    return {"hash": hashed, "version": version, "last_synced": time}


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("hash"), str)
        and is_whole(entry.get("version"))
        and isinstance(entry.get("last_synced"), str)
    )
