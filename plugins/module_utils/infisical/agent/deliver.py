# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivers secrets from a vault to files, as root: writes the files that differ, and then reloads or restarts units."""

from __future__ import annotations

import contextlib
import errno
import grp
import json
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core import dotenv, files, systemd
from ..core.errors import (
    ConfigurationError,
    InfisicalError,
    PartialFailure,
    StorageFailed,
    UnsafeFile,
    after_writing,
    join_hints,
)
from ..core.model import parse_json

FORMATS = ("dotenv", "env_file", "json", "files")
"""Values of `File.format`: quoted lines for `sh` and EnvironmentFile=, unquoted lines for `docker run --env-file`, one
JSON object, or a directory with one file for each value."""

DELIVERED = ".delivered"
"""The name of the file that marks the first complete delivery since the last boot, in a job's runtime directory."""

LOCK = ".lock"
"""The suffix of the lock file for a record, which lists a job's delivered files."""

_LOCK_WAIT = 120.0
"""Seconds to wait for another delivery. Most of a delivery's time is spent waiting for systemctl."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_LONGEST_FILE_NAME = 237
"""Maximum length of a file name in bytes. File systems allow 255, and the temporary file's name is 18 bytes longer."""

_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.@\\-]+\.(service|socket|target|timer|path|slice|mount)\Z")

_NO_SUCH_UNIT = 5
"""systemctl's exit status for an unknown unit."""


class File(NamedTuple):
    """A file for an application or, with the format `files`, a directory of files.

    `names` are shell patterns, such as `DB_*`. If it is empty, all names are delivered. `allow` lists unsafe names that
    are allowed in an environment file. `mode` applies to each file. After a change, running units in `restart` are
    restarted. Running units in `reload` are reloaded, or restarted if they do not support reloading.
    """

    path: str
    format: str = "dotenv"
    owner: str = "root"
    group: str = ""
    mode: int = 0o400
    names: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    @property
    def directory(self) -> str:
        return self.path if self.format == "files" else os.path.dirname(self.path)


def check_file(file: File) -> File:
    """Return the file with a normalized path. Raises ConfigurationError if a field is invalid."""
    path = file.path
    if not path.startswith("/") or os.path.normpath(path) in ("/", "//") or "\0" in path or "\n" in path:
        raise ConfigurationError("files", f"path must be absolute, and not the root directory (got '{path}').")
    if file.format not in FORMATS:
        raise ConfigurationError("files", f"{path}: format must be one of {', '.join(FORMATS)} (got '{file.format}').")
    if not 0 <= file.mode <= 0o777 or file.mode & 0o002:
        raise ConfigurationError("files", f"{path}: mode must not let everybody write (got {file.mode:04o}).")
    for unit in (*file.reload, *file.restart):
        if not _UNIT_NAME.match(unit):
            raise ConfigurationError(
                "files", f"{path}: '{unit}' is not a unit name.", hint="Use a full name, such as app.service."
            )
    return file._replace(path="/" + os.path.normpath(path).lstrip("/"))


@dataclass
class Delivery:
    """The result of a delivery: the paths written and removed, the units notified, unknown units, and the problems
    keyed by path or unit.

    An unknown unit is not a problem, because an application may be installed after its secrets.
    """

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    notified: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    problems: dict[str, InfisicalError] = field(default_factory=dict)

    def as_result(self) -> dict[str, Any]:
        """Return the delivery as plain data, without its problems."""
        return {"changed": bool(self.written or self.removed), "written": self.written, "removed": self.removed,
                "notified": self.notified, "unknown": self.unknown}  # fmt: skip

    def failure(self) -> InfisicalError | None:
        """Return all problems as one error, or None."""
        if len(self.problems) < 2:
            return next(iter(self.problems.values()), None)
        problems = self.problems.values()
        return PartialFailure(
            " ".join(problem.problem for problem in problems), hint=join_hints(problem.hint for problem in problems)
        )

    @contextlib.contextmanager
    def catch(self, path: str, verb: str) -> Iterator[None]:
        """Context manager: record an error as the problem of `path`. `verb` is the failed operation, such as
        `written`."""
        try:
            with files.explain_errors(f"{path} cannot be {verb}", path):
                yield
        except InfisicalError as error:
            self.problems[path] = error


class Record:
    """A root-owned file that records what a job has delivered.

    `files` maps the path of each File to {"format", "names"}. `pending` maps each unit that may still have to be
    notified to "reload" or "restart". A damaged record counts as empty.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.files: dict[str, dict[str, Any]] = {}
        self.pending: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            found = parse_json(files.read_private(path, "record of deliveries", most=1 << 24))
            pending = {str(unit): verb for unit, verb in found["pending"].items() if verb in _COMMANDS}
            self.files = {str(name): _check_entry(entry) for name, entry in found["files"].items()}
            self.pending = pending

    def names(self, file: File) -> list[str]:
        """Return the names of the files that previous deliveries wrote to the directory of a File."""
        entry = self.files.get(file.path)
        is_same_kind = entry is not None and (entry["format"] == "files") == (file.format == "files")
        return entry["names"] if entry is not None and is_same_kind else []

    def write(self) -> None:
        """Write the record to its file. Raises InfisicalError."""
        document = json.dumps({"files": self.files, "pending": self.pending}, indent=2, sort_keys=True) + "\n"
        with files.explain_errors(f"The record {self._path} cannot be written", self._path):
            files.write_atomic(self._path, document.encode("utf-8"))


def _check_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    names = [str(name) for name in entry["names"]]
    return {"format": str(entry["format"]), "names": [name for name in names if "/" not in name]}


@contextlib.contextmanager
def open_record(path: str) -> Iterator[Record]:
    """Context manager: lock and read a job's record. Without the lock, concurrent deliveries could lose entries of the
    record, or replace newer values with older ones.

    Raises Busy if another delivery does not end in time. Also raises other InfisicalErrors.
    """
    busy = f"Another delivery of this job did not end within {_LOCK_WAIT:g} seconds."
    with files.hold_lock(path + LOCK, _LOCK_WAIT, busy, f"The record {path} cannot be locked"):
        files.sweep(path)
        yield Record(path)


def deliver(values: Mapping[str, str], wanted: Sequence[File], record: Record) -> Delivery:
    """Write `values` ({name: value}) to the `wanted` files, remove the other files in the record, and notify units.

    Only root can do this. If a file cannot be written, it keeps its content, the result contains the problem, and the
    other files are still written. If the record cannot be written, InfisicalError is raised: either before any file
    changes, or later with the result in `details`.
    """
    done = Delivery()
    plans = [plan for file in wanted if (plan := _plan(values, file, record, done)) and (plan.write or plan.remove)]
    gone = {path: entry for path, entry in record.files.items() if path not in {file.path for file in wanted}}
    before, named = record.pending, _add_units({}, wanted)
    pending = record.pending = {unit: verb for unit, verb in before.items() if unit in named}
    if plans or gone:
        # Write the units to the record before the files, so that none is forgotten if the delivery is interrupted.
        record.pending = _add_units(pending, [plan.file for plan in plans])
        for plan in plans:
            names = sorted({*record.names(plan.file), *plan.contents})
            record.files[plan.file.path] = {"format": plan.file.format, "names": names}
        record.write()
        record.pending = _add_units(pending, [plan.file for plan in plans if _apply(plan, record, done)])
        for path, entry in gone.items():
            _remove(path, entry, record, done)
    _notify_units(record, done)
    if plans or gone or record.pending != before:
        with after_delivery(done):
            record.write()
    return done


def after_delivery(done: Delivery) -> AbstractContextManager[None]:
    """Return a context manager that prefixes errors with the numbers of files written and removed, and the problems."""
    counts = f"Files written: {len(done.written)}, removed: {len(done.removed)}."
    return after_writing(" ".join([counts, *(error.problem for error in done.problems.values())]), **done.as_result())


def _add_units(pending: Mapping[str, str], changed: Iterable[File]) -> dict[str, str]:
    """Return the pending units and the units of changed files. If a unit needs both, it is restarted."""
    changed = tuple(changed)
    reloads = {unit: "reload" for file in changed for unit in file.reload}
    return {**reloads, **pending, **{unit: "restart" for file in changed for unit in file.restart}}


def withdraw(record: Record, paths: Iterable[str]) -> Delivery:
    """Remove the files that were delivered to these paths, and their entries in the record. The caller writes the
    record."""
    done = Delivery()
    for path in paths:
        _remove(path, record.files[path], record, done)
    return done


class _Plan(NamedTuple):
    """The changes for one File: the directory's new `contents` ({name: bytes}), and the names to write and to
    remove."""

    file: File
    contents: dict[str, bytes]
    owner: tuple[int, int]
    write: list[str]
    remove: list[str]


def _plan(values: Mapping[str, str], file: File, record: Record, done: Delivery) -> _Plan | None:
    with done.catch(file.path, "read"):
        contents, owner = _render(dotenv.select(values, file.names), file), _owner(file)
        write, remove = list(contents), []
        with contextlib.suppress(FileNotFoundError), files.directory_of_root(file.directory) as directory:
            write = [name for name, data in contents.items() if not _is_current(directory, name, data, owner, file)]
            remove = [name for name in record.names(file) if name not in contents and _exists(directory, name)]
        return _Plan(file, contents, owner, write, remove)
    return None


def check_all_delivered(path: str, names: Iterable[str]) -> None:
    """Raise InfisicalError if a directory contains files other than the delivered `names`."""
    with contextlib.suppress(FileNotFoundError), files.directory_of_root(path) as directory:
        others = files.list_others(directory, names)
        if others:
            raise UnsafeFile(
                f"Refusing to replace the directory {path}: it contains files that were not delivered, such as "
                f"'{others[0]}'.",
                hint="Move them away, or set another path.",
            )


def _render(values: Mapping[str, str], file: File) -> dict[str, bytes]:
    """Return the contents of the File's directory, {name: bytes}. Raises ConfigurationError for unsafe names."""
    name = os.path.basename(file.path)
    if file.format == "json":
        return {name: (json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode("utf-8")}
    if file.format == "files":
        bad = [key for key in values if not _FILE_NAME.match(key) or len(key) > _LONGEST_FILE_NAME]
        hint = "Exclude it with the option names, rename it in Infisical, or set format: json."
        _refuse_names(file, dict.fromkeys(bad, "not a safe file name"), hint)
        return {key: value.encode("utf-8") for key, value in values.items()}
    unsafe = dotenv.find_unsafe(values, file.allow)
    _refuse_names(file, unsafe, "Add it to allow, exclude it with names, or set format: json.")
    dump = dotenv.dump if file.format == "dotenv" else dotenv.dump_env_file
    return {name: dump(values).encode("utf-8")}


def _refuse_names(file: File, bad: Mapping[str, str], hint: str) -> None:
    if bad:
        names = ", ".join(f"'{name}' ({why})" for name, why in sorted(bad.items())[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ConfigurationError("files", f"refusing to write {file.path} with unsafe names: {names}{more}.", hint=hint)


def _owner(file: File) -> tuple[int, int]:
    missing = f"user '{file.owner}'"
    try:
        user = pwd.getpwnam(file.owner)
        missing = f"group '{file.group}'"
        return user.pw_uid, grp.getgrnam(file.group).gr_gid if file.group else user.pw_gid
    except KeyError:
        raise ConfigurationError("files", f"{file.path}: {missing} does not exist on this host.") from None


def _is_current(directory: int, name: str, data: bytes, owner: tuple[int, int], file: File) -> bool:
    """Return whether a file already has this content, owner and mode."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise UnsafeFile(
            f"Refusing to write {file.path}: '{name}' is a directory.",
            hint="Set the path of a file in this directory, or set format: files to write a file for each value.",
        )
    same = (found.st_uid, found.st_gid) == owner and stat.S_IMODE(found.st_mode) == file.mode
    if not stat.S_ISREG(found.st_mode) or not same or found.st_size != len(data):
        return False
    return files.read_regular(name, directory=directory) == data


def _exists(directory: int, name: str) -> bool:
    try:
        return not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _apply(plan: _Plan, record: Record, done: Delivery) -> bool:
    """Write and remove files. Return whether any file changed."""
    file, before = plan.file, len(done.written) + len(done.removed)
    durable = not file.directory.startswith("/run/")  # /run is in memory
    with done.catch(file.path, "written"), files.directory_of_root(file.directory, create=True) as directory:
        # A killed delivery left temporary files with values as plain text.
        files.sweep(*(os.path.join(file.directory, name) for name in record.names(file)))
        for name in plan.write:
            files.write_atomic(
                name, plan.contents[name], file.mode, owner=plan.owner, durable=durable, directory=directory
            )
            done.written.append(os.path.join(file.directory, name))
        for name in plan.remove:
            os.unlink(name, dir_fd=directory)
            done.removed.append(os.path.join(file.directory, name))
        record.files[file.path]["names"] = sorted(plan.contents)
    return len(done.written) + len(done.removed) > before


def _remove(path: str, entry: Mapping[str, Any], record: Record, done: Delivery) -> None:
    """Remove the files that were delivered to a path. If the path is a directory and is empty afterwards, remove it
    too."""
    is_directory = entry["format"] == "files"
    folder = path if is_directory else os.path.dirname(path)
    with done.catch(path, "removed"):
        with contextlib.suppress(FileNotFoundError), files.directory_of_root(folder) as directory:
            for name in entry["names"]:
                if _exists(directory, name):
                    os.unlink(name, dir_fd=directory)
                    done.removed.append(os.path.join(folder, name))
            files.sweep(*(os.path.join(folder, name) for name in entry["names"]))
        try:
            if is_directory:
                os.rmdir(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EACCES, errno.EROFS):
                raise
        record.files.pop(path, None)


_COMMANDS = {"restart": "try-restart", "reload": "try-reload-or-restart"}


def _notify_units(record: Record, done: Delivery) -> None:
    """Restart or reload the pending units without waiting, because a unit may be ordered after the end of this
    delivery."""
    for unit, verb in sorted(record.pending.items(), key=lambda item: item[1] != "restart"):
        try:
            ended = systemd.run(["systemctl", "--no-block", _COMMANDS[verb], "--", unit])
            problem = f"systemctl failed: {ended.said or 'no reason given'}."
            if ended.status in (0, _NO_SUCH_UNIT):
                del record.pending[unit]
                (done.unknown if ended.status else done.notified).append(unit)
                continue
        except systemd.CannotRun as error:
            problem = error.problem
        done.problems[unit] = StorageFailed(
            f"Could not {verb} {unit}: {problem}", hint="Wait for the next delivery, which tries again."
        )
