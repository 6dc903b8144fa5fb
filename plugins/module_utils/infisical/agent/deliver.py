# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files for applications: rendered from a vault as root, only where they differ, and the units to tell about it."""

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
from ..core.errors import ConfigurationError, InfisicalError, PartialFailure, StorageFailed, UnsafeFile, after_writing
from ..core.model import parse_json

FORMATS = ("dotenv", "env_file", "json", "files")
"""Of `File.format`: lines for `sh` and EnvironmentFile=, lines without quotes for `docker run --env-file`, one JSON
object, or a directory with one value a file."""

DELIVERED = ".delivered"
"""The file in a job's runtime directory that says that everything has been delivered since the last boot."""

LOCK = ".lock"
"""What the name of a record's lock ends with."""

_LOCK_WAIT = 120.0
"""Seconds to wait for another delivery, which waits for systemctl at most."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_LONGEST_FILE_NAME = 237
"""Bytes of a file's name: a file system takes 255, and the temporary file's name is longer than that by 18."""

_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.@\\-]+\.(service|socket|target|timer|path|slice|mount)\Z")


class File(NamedTuple):
    """What one application gets: a file, or with the format `files` a directory of them.

    `names` are patterns as a shell's (`DB_*`), all names where there are none. `allow` are names that a dotenv file or
    env_file may hold although they are dangerous in an environment. `mode` is of each file. The units in `reload` are
    reloaded, or restarted where they cannot reload, the ones in `restart` restarted, after a change and only if they
    run.
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
        """The directory that what is written lies in."""
        return self.path if self.format == "files" else os.path.dirname(self.path)

    def replaces(self, entry: Mapping[str, Any] | None) -> bool:
        """Whether a record's entry of this path is a directory where this is a file, or the reverse."""
        return entry is not None and (entry["format"] == "files") != (self.format == "files")


def checked(file: File) -> File:
    """The same with its path in one spelling. Raises ConfigurationError naming what is wrong."""
    path = file.path
    if not path.startswith("/") or os.path.normpath(path) in ("/", "//") or "\0" in path or "\n" in path:
        raise ConfigurationError("files", f"the path '{path}' must be absolute, and not the root directory.")
    if file.format not in FORMATS:
        raise ConfigurationError("files", f"{path}: the format '{file.format}' is not one of {', '.join(FORMATS)}.")
    if not 0 <= file.mode <= 0o777 or file.mode & 0o002:
        raise ConfigurationError("files", f"{path}: the mode {file.mode:04o} must not let everybody write.")
    for unit in (*file.reload, *file.restart):
        if not _UNIT_NAME.match(unit):
            raise ConfigurationError("files", f"{path}: '{unit}' is no name of a unit, such as app.service.")
    return file._replace(path="/" + os.path.normpath(path).lstrip("/"))


@dataclass
class Delivery:
    """What came of it: the paths that were written and removed, the units that were told, those that systemd does not
    know, because an application may be installed after its secrets, and problems by path."""

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    problems: dict[str, InfisicalError] = field(default_factory=dict)

    def as_result(self) -> dict[str, Any]:
        """What was delivered, as plain data."""
        return {"changed": bool(self.written or self.removed), "written": self.written, "removed": self.removed,
                "told": self.told, "unknown": self.unknown}  # fmt: skip

    def failure(self) -> InfisicalError | None:
        """All problems as one error, None if there is none."""
        if len(self.problems) < 2:
            return next(iter(self.problems.values()), None)
        return PartialFailure(" ".join(str(problem) for problem in self.problems.values()))


Untold = dict[str, list[str]]
"""Units by what they are to be told: `reload` or `restart`."""


class Record:
    """What has been delivered before, in a file of root's: {path of a File: {"format", "names"}}, and the units that a
    delivery was to tell and may not have told. A damaged record is an empty one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.files: dict[str, dict[str, Any]] = {}
        self.untold: Untold = {"reload": [], "restart": []}
        try:
            found = parse_json(files.read_private(path, "record of deliveries", most=1 << 24))
            self.files = {str(name): _sound(entry) for name, entry in found["files"].items()}
            self.untold = {verb: [str(unit) for unit in found["untold"][verb]] for verb in self.untold}
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return

    def write(self) -> None:
        """Keep it. Raises InfisicalError."""
        document = json.dumps({"files": self.files, "untold": self.untold}, indent=2, sort_keys=True) + "\n"
        try:
            files.write_atomic(self._path, document.encode("utf-8"))
        except OSError as error:
            raise files.explained(error, f"The record {self._path} cannot be written", self._path) from None


def _sound(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": str(entry["format"]), "names": [str(name) for name in entry["names"]]}


@contextlib.contextmanager
def recorded(path: str) -> Iterator[Record]:
    """The record at `path`, while no other delivery of the job has it: two at once would lose what one has noted, and
    could put older values in the place of newer ones.

    Raises InfisicalError, BUSY where another one does not end.
    """
    busy = f"Another delivery of this job did not end within {_LOCK_WAIT:g} seconds."
    with files.held(path + LOCK, _LOCK_WAIT, busy, f"The record {path} cannot be locked"):
        files.sweep(path)
        yield Record(path)


def deliver(values: Mapping[str, str], wanted: Sequence[File], record: Record) -> Delivery:
    """Bring the files to what `values` ({name: value}) hold, remove what `record` knows and nobody wants any more, and
    tell the units. Only root can.

    A file that cannot be written is a problem of its own, and stays as it was while the others are written. Raises
    InfisicalError if the record cannot be written: before any file is written or removed, or with the result so far.
    """
    done = Delivery()
    plans = [_planned(values, file, record, done) for file in wanted]
    work = [plan for plan in plans if plan is not None and plan.changes]
    gone = {path: entry for path, entry in record.files.items() if path not in {file.path for file in wanted}}
    kept = dict(record.untold)
    record.untold = _units(wanted, record.untold)
    untold = record.untold
    if work or gone:
        # Known before it is done, so that a file is removed and a unit told some day whatever comes in between.
        record.untold = _units([plan.file for plan in work], untold, every=True)
        in_place = [plan for plan in work if not plan.replaces]
        _note(in_place, record)
        replacing = [plan for plan in work if plan.replaces and _make_way(plan, record, done)]
        if replacing:
            with after_delivery(done):
                _note(replacing, record)
        changed = [plan.file for plan in (*in_place, *replacing) if _apply(plan, record, done) or plan.replaces]
        record.untold = _units(changed, untold, every=True)
        for path, entry in gone.items():
            _remove(path, entry, record, done)
    _tell(record, done)
    if work or gone or record.untold != kept:
        with after_delivery(done):
            record.write()
    return done


def after_delivery(done: Delivery) -> AbstractContextManager[None]:
    """`after_writing` for what is written after a delivery: its error reports the delivery, and the problems of it."""
    counts = f"Files written: {len(done.written)}, removed: {len(done.removed)}."
    return after_writing(" ".join([counts, *map(str, done.problems.values())]), **done.as_result())


def _note(work: Sequence[_Work], record: Record) -> None:
    """Write the record with all that these plans may leave."""
    for plan in work:
        before = record.files.get(plan.file.path, {}).get("names", [])
        record.files[plan.file.path] = {"format": plan.file.format, "names": sorted({*before, *plan.contents})}
    record.write()


def _units(wanted: Iterable[File], untold: Untold, *, every: bool = False) -> Untold:
    """The units of `untold` that are still wanted, or with `every` all of them and those of the files `wanted`."""
    wanted = tuple(wanted)
    found: Untold = {}
    for verb, before in untold.items():
        units = [unit for file in wanted for unit in getattr(file, verb)]
        found[verb] = list(dict.fromkeys([*before, *units])) if every else [unit for unit in before if unit in units]
    return found


def withdraw(record: Record, paths: Iterable[str]) -> Delivery:
    """Remove what was delivered at these paths of the record, which is not written."""
    done = Delivery()
    for path in paths:
        _remove(path, record.files[path], record, done)
    return done


class _Work(NamedTuple):
    """The work on one File: `contents` ({name: bytes}) of the files below `directory`, the names of those to write and
    to remove, and whether it `replaces` a directory with a file or a file with a directory."""

    file: File
    directory: str
    contents: dict[str, bytes]
    owner: tuple[int, int]
    write: tuple[str, ...]
    remove: tuple[str, ...]
    replaces: bool

    @property
    def changes(self) -> bool:
        return bool(self.write or self.remove or self.replaces)


def _planned(values: Mapping[str, str], file: File, record: Record, done: Delivery) -> _Work | None:
    try:
        contents = _rendered(dotenv.matching(values, file.names), file)
        owner = _owner(file)
        directory = file.directory
        gone: list[str] = []
        with contextlib.ExitStack() as stack:
            before = record.files.get(file.path)
            opened: int | None = None
            if file.replaces(before):
                check_all_delivered(file.path, before)
            else:
                with contextlib.suppress(FileNotFoundError):
                    opened = stack.enter_context(files.directory_of_root(directory))
            write = [
                name for name, data in contents.items() if opened is None or not _is(opened, name, data, owner, file)
            ]
            if before is not None and before["format"] == file.format == "files" and opened is not None:
                gone = [name for name in before["names"] if name not in contents and _is_there(opened, name)]
        return _Work(file, directory, contents, owner, tuple(write), tuple(gone), file.replaces(before))
    except InfisicalError as error:
        done.problems[file.path] = error
    except OSError as error:
        done.problems[file.path] = files.explained(error, f"{file.path} cannot be read", file.path)
    return None


def check_all_delivered(path: str, entry: Mapping[str, Any] | None) -> None:
    """Raise InfisicalError if a directory that is to become a file holds what was not delivered there."""
    if entry is None or entry["format"] != "files":
        return
    try:
        with files.directory_of_root(path) as directory:
            others = files.others_in(directory, entry["names"])
    except FileNotFoundError:
        return
    if others:
        raise UnsafeFile(
            f"{path} is not written: the directory there holds files that were not delivered, such as '{others[0]}'. "
            "Move them away, or name another path.",
        )


def _make_way(plan: _Work, record: Record, done: Delivery) -> bool:
    """Remove the directory that is to become a file, or the reverse; whether the path is free."""
    _remove(plan.file.path, record.files[plan.file.path], record, done)
    return plan.file.path not in done.problems


def _rendered(values: Mapping[str, str], file: File) -> dict[str, bytes]:
    """The files below the File's directory, {name: bytes}. Raises ConfigurationError for names that are refused."""
    name = os.path.basename(file.path)
    if file.format == "json":
        return {name: (json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode("utf-8")}
    if file.format in ("dotenv", "env_file"):
        refused = dotenv.refused(values, file.allow)
        if refused:
            raise _refused(
                file, refused, "Choose the names by patterns in names, allow each in allow, or use the format json"
            )
        dump = dotenv.dump if file.format == "dotenv" else dotenv.dump_env_file
        return {name: dump(values).encode("utf-8")}
    bad = {key: "it is no name of a file: that has letters, digits, '.', '_' and '-', begins with none of '.-', and is "
           f"not longer than {_LONGEST_FILE_NAME}"
           for key in values if not _FILE_NAME.match(key) or len(key) > _LONGEST_FILE_NAME}  # fmt: skip
    if bad:
        raise _refused(file, bad, "Leave it out by names, rename it in Infisical, or use the format json")
    return {key: value.encode("utf-8") for key, value in values.items()}


def _refused(file: File, refused: Mapping[str, str], remedy: str) -> ConfigurationError:
    reason = "; ".join(f"'{name}', because {why}" for name, why in sorted(refused.items())[:5])
    more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
    return ConfigurationError(
        "files", f"{file.path} stays as it is, because it is not to hold {reason}{more}. {remedy}."
    )  # fmt: skip


def _owner(file: File) -> tuple[int, int]:
    try:
        user = pwd.getpwnam(file.owner)
    except KeyError:
        raise ConfigurationError("files", f"{file.path}: there is no user '{file.owner}' on this host.") from None
    if not file.group:
        return user.pw_uid, user.pw_gid
    try:
        return user.pw_uid, grp.getgrnam(file.group).gr_gid
    except KeyError:
        raise ConfigurationError("files", f"{file.path}: there is no group '{file.group}' on this host.") from None


def _is(directory: int, name: str, data: bytes, owner: tuple[int, int], file: File) -> bool:
    """Whether a file is what it should be already."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise UnsafeFile(
            f"{file.path} is not written: '{name}' is a directory. For one value a file, set the format files; else "
            "name a file in it.",
        )
    same = (found.st_uid, found.st_gid) == owner and stat.S_IMODE(found.st_mode) == file.mode
    if not stat.S_ISREG(found.st_mode) or not same or found.st_size != len(data):
        return False
    return files.read_regular(name, directory=directory) == data


def _is_there(directory: int, name: str) -> bool:
    try:
        return not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _apply(plan: _Work, record: Record, done: Delivery) -> bool:
    """Write and remove what the plan says; whether anything has changed."""
    file, before = plan.file, (len(done.written), len(done.removed))
    # What lies in memory is gone with the power anyway.
    durable = not plan.directory.startswith("/run/")
    try:
        with files.directory_of_root(plan.directory, create=True) as directory:
            _sweep(plan.directory, record.files[file.path]["names"])
            for name in plan.write:
                files.write_atomic(
                    name, plan.contents[name], file.mode, owner=plan.owner, durable=durable, directory=directory
                )
                done.written.append(os.path.join(plan.directory, name))
            for name in plan.remove:
                os.unlink(name, dir_fd=directory)
                done.removed.append(os.path.join(plan.directory, name))
    except InfisicalError as error:
        done.problems[file.path] = error
    except OSError as error:
        what = f"{file.path} cannot be written"
        if plan.replaces:
            what += ", and the files of its former format are removed"
        done.problems[file.path] = files.explained(error, what, file.path)
    else:
        record.files[file.path]["names"] = sorted(plan.contents)
    return (len(done.written), len(done.removed)) != before


def _sweep(directory: str, names: Iterable[str]) -> None:
    # A delivery that was killed, or lost its power, leaves a value in clear under a name that nobody looks for.
    files.sweep(*(os.path.join(directory, name) for name in names if "/" not in name))


def _remove(path: str, entry: Mapping[str, Any], record: Record, done: Delivery) -> None:
    """Remove what was delivered at `path`, and its directory where that was made for it and is empty."""
    is_directory = entry["format"] == "files"
    try:
        with (
            contextlib.suppress(FileNotFoundError),
            files.directory_of_root(path if is_directory else os.path.dirname(path)) as directory,
        ):
            for name in entry["names"]:
                if "/" not in name and _is_there(directory, name):
                    os.unlink(name, dir_fd=directory)
                    done.removed.append(os.path.join(path, name) if is_directory else path)
            _sweep(path if is_directory else os.path.dirname(path), entry["names"])
        if is_directory:
            try:
                os.rmdir(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EACCES, errno.EROFS):
                    raise
    except InfisicalError as error:
        done.problems[path] = error
    except OSError as error:
        done.problems[path] = files.explained(error, f"{path} cannot be removed", path)
    else:
        record.files.pop(path, None)


_VERBS = (("restart", "try-restart"), ("reload", "try-reload-or-restart"))


def _tell(record: Record, done: Delivery) -> None:
    """Reload or restart the units of the record, each once, without waiting for it: a unit that is ordered after this
    delivery would wait for its end."""
    for verb, command in _VERBS:
        left = []
        for unit in record.untold[verb]:
            if unit in (*done.told, *done.unknown):
                continue
            problem, is_known = _problem_of(["systemctl", "--no-block", command, "--", unit])
            if not is_known:
                done.unknown.append(unit)
            elif problem:
                left.append(unit)
                done.problems[unit] = StorageFailed(
                    f"The unit {unit} could not be told to {verb}: {problem}. It is told with the next delivery."
                )
            else:
                done.told.append(unit)
        record.untold[verb] = left


_NO_SUCH_UNIT = 5
"""What systemctl ends with where no unit is of this name."""


def _problem_of(command: Sequence[str]) -> tuple[str, bool]:
    """Why a unit could not be told, empty where it was; and whether systemd knows it."""
    try:
        ended = systemd.run(command)
    except systemd.CannotRun as error:
        return f"{command[0]} {error}", True
    if ended.status == 0:
        return "", True
    return f"{command[0]} says: {ended.said or 'no reason given'}", ended.status != _NO_SUCH_UNIT
