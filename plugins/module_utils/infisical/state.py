# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file: hashes and versions of what was written, so that a change shows without reading a value."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, Callable

from . import files
from .errors import ConfigurationError
from .model import Scope, canonical_value, secret_hash

LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process that writes the same state file; it holds the lock for one write."""

_BEGINNING = b'{\n  "environment": '
"""How every state file begins, also a damaged one: what does not is left alone."""


class StateFile:
    """The state file of one scope: JSON, mode 0600, hashes and versions by name, never a value.

    `{"last_sync", "project_ids", "environment", "secret_path", "secrets": {name: {"hash", "version", "last_synced"}},
    "error_count", "push_count", "pull_count"}`, times in ISO 8601 and UTC. A damaged file is moved aside, with a
    warning, and rebuilt by what is written next; a file that never was a state file is refused. Reading and writing
    raise ConfigurationError where the path cannot be used, naming the option `state_file`.
    """

    def __init__(self, path: str, scope: Scope, warn: Callable[[str], None] | None = None) -> None:
        if not os.path.isabs(path):
            raise ConfigurationError("state_file", f"'{path}' must be an absolute path on the task's host.")
        self.path = path
        self.scope = scope
        self._warn = warn or (lambda text: None)

    def check(self) -> None:
        """Raise ConfigurationError where the file could not be used, before anything is written anywhere."""
        self._read()
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory) or not os.access(directory, os.W_OK | os.X_OK):
            raise ConfigurationError("state_file", f"'{directory}' must be a directory that the task can write to.")

    def holds(self, key: str, value: str | None, version: int | None = None) -> bool:
        """Whether `value` (never for None) was the last one written for `key`; as `version`, where that is given."""
        entry = self._read()["secrets"].get(key)
        if (
            value is None
            or not isinstance(entry, dict)
            or entry.get("hash") != secret_hash(key, canonical_value(value))
        ):
            return False
        return version is None or entry.get("version") == version

    def record(self, key: str, value: str, version: int) -> None:
        """Note that `value` has been written for `key` and has become `version` (0 where the server did not say)."""
        with self._changing() as state:
            now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            state["secrets"][key] = {
                "hash": secret_hash(key, canonical_value(value)),
                "version": version,
                "last_synced": now,
            }
            state["last_sync"] = now
            state["push_count"] += 1

    def forget(self, key: str) -> None:
        """Drop what is known of `key`."""
        if key in self._read()["secrets"]:
            with self._changing() as state:
                state["secrets"].pop(key, None)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        with self._accessible(), files.locked(self.path + ".lock", LOCK_TIMEOUT):
            state = self._read(move_damaged=True)
            yield state
            files.write_atomic(self.path, json.dumps(state, indent=2, sort_keys=True).encode("utf-8") + b"\n")

    @contextlib.contextmanager
    def _accessible(self) -> Iterator[None]:
        try:
            yield
        except files.LockTimeout as error:
            raise ConfigurationError("state_file", f"{error}.") from None
        except OSError as error:
            raise ConfigurationError(
                "state_file", f"'{self.path}' cannot be used: {error.strerror}. Its directory must exist and be "
                "writable, and the file must be no symbolic link."
            ) from None  # fmt: skip

    def _read(self, *, move_damaged: bool = False) -> dict[str, Any]:
        with self._accessible():
            try:
                raw = files.read_regular(self.path)
            except FileNotFoundError:
                return self._empty()
            if stat.S_IMODE(os.stat(self.path).st_mode) & 0o077:
                self._warn(f"The state file {self.path} is readable by others: hashes of weak secrets can be guessed.")
        state = _parsed(raw)
        if state is None:
            if raw and not raw.startswith(_BEGINNING) and b'"project_ids"' not in raw:
                raise ConfigurationError(
                    "state_file", f"'{self.path}' holds something else than a state file. Name another path."
                )
            if move_damaged:
                aside = f"{self.path}.damaged-{datetime.now(timezone.utc).strftime('%Y%m%dT%H%M%SZ')}"
                os.replace(self.path, aside)
                self._warn(f"The state file {self.path} was damaged and is now {aside}.")
            return self._empty()
        mine = self._empty()
        for name in ("project_ids", "environment", "secret_path"):
            if state.get(name, mine[name]) != mine[name]:
                raise ConfigurationError(
                    "state_file",
                    f"'{self.path}' belongs to another scope (its {name} is {state[name]!r}). Use one file for each.",
                )
        return {**mine, **state}

    def _empty(self) -> dict[str, Any]:
        return {
            "last_sync": None,
            "project_ids": [self.scope.project_id],
            "environment": self.scope.environment,
            "secret_path": self.scope.secret_path,
            "secrets": {},
            "error_count": 0,
            "push_count": 0,
            "pull_count": 0,
        }


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        state = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    sound = (
        isinstance(state, dict)
        and isinstance(state.get("secrets"), dict)
        and isinstance(state.get("push_count", 0), int)
    )
    return state if sound else None
