# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's files, directories, user and units, brought to what is wanted: compared first, changed if they differ."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core import files, systemd
from ..core.errors import StorageFailed, UnsafeFile

_COMMAND_SECONDS = 120.0


@dataclass
class Done:
    """What was changed, or in check mode would be: a line each, and before and after of files that hold no secret, by
    their paths. `warnings` are what a person should know."""

    changes: list[str] = field(default_factory=list)
    texts: list[tuple[str, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Host:
    """Compares, notes what differs, and unless it only checks, changes it."""

    def __init__(self, check: bool) -> None:
        self.check = check
        self.done = Done()
        self.withdrawn: set[str] = set()
        """Paths of delivered files that are removed: in check mode they are still there."""
        self._units_changed = False

    def note(self, change: str) -> bool:
        """Note a change; whether it is to be made."""
        self.done.changes.append(change)
        return not self.check

    def run(self, *command: str) -> systemd.Ended:
        """Run a program. Raises InfisicalError where it fails."""
        try:
            ended = systemd.run(command, seconds=_COMMAND_SECONDS)
        except systemd.CannotRun as error:
            raise StorageFailed(f"The program {command[0]} {error}.") from None
        if ended.status != 0:
            raise StorageFailed(
                f"'{' '.join(command)}' ended with {ended.status}: {ended.said or 'it says nothing'}",
            )
        return ended

    def user(self, name: str, home: str) -> tuple[int, int]:
        """The ids of a system user and its group, made where it is missing (in check mode: root's, for now)."""
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
        if self.note(f"user {name} is made"):
            shell = next(
                (path for path in ("/usr/sbin/nologin", "/sbin/nologin") if os.path.exists(path)), "/bin/false"
            )
            self.run("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home,
                     "--shell", shell, "--comment", "Sync of secrets from Infisical", name)  # fmt: skip
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
        return 0, 0

    def user_absent(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            if self.note(f"user {name} is removed"):
                self.run("userdel", name)

    def directory(self, path: str, mode: int, owner: tuple[int, int] = (0, 0)) -> None:
        """A directory with this mode and owner."""
        try:
            found = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            if self.note(f"{path} is made"):
                with self.explained(path):
                    _make_parents(path)
                    os.mkdir(path, mode)
                    _settle(path, mode, owner)
            return
        if not stat.S_ISDIR(found.st_mode):
            raise UnsafeFile(f"{path} is no directory. Move away what stands there.")
        if ((found.st_uid, found.st_gid), stat.S_IMODE(found.st_mode)) == (owner, mode):
            return
        if self.note(f"{path} gets owner and mode"):
            with self.explained(path):
                _settle(path, mode, owner)

    def directory_of_root(self, path: str) -> None:
        """A directory that somebody has named: made if it is missing, else left as it is, and refused if others than
        root may change it or one above it."""
        with self.explained(path):
            try:
                if self.check and any(path == gone or path.startswith(gone + "/") for gone in self.withdrawn):
                    raise FileNotFoundError
                with files.directory_of_root(path):
                    return
            except FileNotFoundError:
                if self.note(f"{path} is made"):
                    with files.directory_of_root(path, create=True):
                        pass

    def file(
        self, path: str, content: str | bytes, mode: int, owner: tuple[int, int] = (0, 0), *, unit: bool = False
    ) -> bool:
        """A file with this content, mode and owner; whether it changed. Text is no secret, bytes may be one."""
        data = content.encode("utf-8") if isinstance(content, str) else content
        before = self._read(path)
        if before == data and self._is_owned(path, mode, owner):
            return False
        if isinstance(content, str) and before != data:
            self.done.texts.append((path, (before or b"").decode("utf-8", "replace"), content))
        self._units_changed = self._units_changed or unit
        if self.note(f"{path} is {'made' if before is None else 'changed'}"):
            with self.explained(path):
                files.write_atomic(path, data, mode, owner=owner)
        return True

    def link(self, path: str, target: str) -> bool:
        """A symbolic link, changed by one rename; whether it changed."""
        try:
            if os.readlink(path) == target:
                return False
        except OSError:
            pass
        if self.note(f"{path} leads to {target}"):
            with self.explained(path):
                temporary = f"{path}.new"
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                os.symlink(target, temporary)
                os.rename(temporary, path)
        return True

    def absent(self, path: str, *, unit: bool = False) -> bool:
        """No file at this path; whether there was one."""
        if not os.path.lexists(path):
            return False
        self._units_changed = self._units_changed or unit
        if self.note(f"{path} is removed"):
            with self.explained(path):
                os.unlink(path)
        return True

    def tree_absent(self, path: str) -> None:
        """Nothing at this path; of a link in its place, the link only."""
        if os.path.lexists(path) and self.note(f"{path} is removed"):
            with self.explained(path):
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)

    def reload_units(self, names: Sequence[str] = ()) -> None:
        """Let systemd read its units again, if any has changed, or one of `names` is another one on the disk than
        systemd knows, because a run ended in between."""
        if not self._units_changed and self._is_outdated(names):
            self._units_changed = True
            self.note("systemd reads its units again")
        if self._units_changed and not self.check:
            self.run("systemctl", "daemon-reload")
        self._units_changed = False

    @staticmethod
    def _is_outdated(names: Sequence[str]) -> bool:
        if not names:
            return False
        try:
            return b"yes" in systemd.run(["systemctl", "show", "--property=NeedDaemonReload", "--value", *names]).out
        except systemd.CannotRun:
            return False

    @staticmethod
    def _read(path: str) -> bytes | None:
        try:
            return files.read_regular(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise files.explained(error, f"{path} cannot be read", path) from None

    @staticmethod
    def _is_owned(path: str, mode: int, owner: tuple[int, int]) -> bool:
        found = os.lstat(path)
        return (found.st_uid, found.st_gid) == owner and stat.S_IMODE(found.st_mode) == mode

    @staticmethod
    @contextlib.contextmanager
    def explained(path: str) -> Any:
        try:
            yield
        except OSError as error:
            raise files.explained(error, f"{path} cannot be changed", path) from None


def _make_parents(path: str) -> None:
    """What is missing above `path`, for everybody to pass through whatever the umask."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        _make_parents(parent)
        os.mkdir(parent)
        _settle(parent, 0o755)


def _settle(path: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    # By descriptor: whoever owns the directory above may put a link in its place at any moment, and what that leads to
    # must not change hands.
    with files.opened(path) as directory:
        if owner is not None:
            os.fchown(directory, *owner)
        os.fchmod(directory, mode)
