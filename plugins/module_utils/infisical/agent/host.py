# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's files, directories, user and units. Each is compared with the desired state, and changed only if it
differs."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

from ..core import files, systemd
from ..core.errors import InfisicalError, StorageFailed, UnsafeFile, WrongUse, after_writing
from ..core.plan import join_names
from .units import OLDEST_SYSTEMD

_COMMAND_SECONDS = 120.0


_LOCK = "/run/infisical-agent.lock"
_LOCK_WAIT = 300.0
"""Seconds to wait for another run that is changing the agent on this host."""


class HostFacts(NamedTuple):
    """The machine ID, and the major version of systemd, or 0 if systemd does not run the host."""

    systemd: int
    machine_id: str

    @classmethod
    def read(cls) -> HostFacts:
        """Return the facts of this host."""
        return cls(systemd.version(), systemd.machine_id())

    def check(self) -> None:
        """Raise WrongUse if the agent cannot run on the host."""
        if self.systemd < OLDEST_SYSTEMD:
            found = f"this host runs {self.systemd}" if self.systemd else "systemd does not run this host"
            raise WrongUse(
                f"The agent requires systemd {OLDEST_SYSTEMD} or later, and {found}.",
                hint="Without the agent, run infisical-sync sync with cron.",
            )
        if not self.machine_id:
            hint = "Run: systemd-machine-id-setup"
            raise WrongUse(f"This host has no machine id ({systemd.MACHINE_ID}).", hint=hint)


@dataclass
class Changes:
    """The changes of a run, or in check mode the changes that it would make: one line for each, and `diffs` (path,
    before, after) of files without secrets."""

    lines: list[str] = field(default_factory=list)
    diffs: list[tuple[str, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Host:
    """Makes the changes that are necessary and notes them in `changes`. If `check` is true, it only notes them."""

    def __init__(self, check: bool, changes: Changes | None = None) -> None:
        self.check = check
        self.changes = changes or Changes()
        self.withdrawn: set[str] = set()
        """Paths of delivered files that were removed or, in check mode, would be removed."""
        self._units_changed = False

    def note(self, change: str) -> bool:
        """Note a change. Return whether to make the change: false in check mode."""
        self.changes.lines.append(change)
        return not self.check

    def run(self, *command: str) -> systemd.Ended:
        """Run a program. Raises InfisicalError if it fails."""
        ended = systemd.run(command, seconds=_COMMAND_SECONDS)
        if ended.status != 0:
            reason = ended.said or "no output"
            raise StorageFailed(f"'{' '.join(command)}' failed with status {ended.status}: {reason}")
        return ended

    def user(self, name: str, home: str) -> tuple[int, int]:
        """Create a system user and group if they are missing. Return their IDs. In check mode, return root's IDs for a
        missing user."""
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            if not self.note(f"user {name} is created"):
                return 0, 0
            shells = ("/usr/sbin/nologin", "/sbin/nologin")
            shell = next(filter(os.path.exists, shells), "/bin/false")
            self.run("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home,
                     "--shell", shell, "--comment", "Sync of secrets from Infisical", name)  # fmt: skip
            found = pwd.getpwnam(name)
        return found.pw_uid, found.pw_gid

    def user_absent(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            if self.note(f"user {name} is removed"):
                self.run("userdel", name)

    def directory(self, path: str, mode: int, owner: tuple[int, int] = (0, 0)) -> None:
        """Create a directory with this mode and owner, or correct both."""
        try:
            found = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            if self.note(f"{path} is created"):
                with self.explain_errors(path):
                    _make_parents(path)
                    os.mkdir(path, mode)
                    _set_attributes(path, mode, owner)
            return
        if not stat.S_ISDIR(found.st_mode):
            raise UnsafeFile(f"{path} is not a directory.", hint="Move it away.")
        if ((found.st_uid, found.st_gid), stat.S_IMODE(found.st_mode)) == (owner, mode):
            return
        if self.note(f"owner and mode of {path} are corrected"):
            with self.explain_errors(path):
                _set_attributes(path, mode, owner)

    def directory_of_root(self, path: str) -> None:
        """Create a directory that the configuration refers to, if it is missing.

        Raises InfisicalError if any user other than root can change the directory or one of its parents.
        """
        with self.explain_errors(path):
            try:
                if self.check and any(path == gone or path.startswith(gone + "/") for gone in self.withdrawn):
                    raise FileNotFoundError
                with files.directory_of_root(path):
                    return
            except FileNotFoundError:
                if self.note(f"{path} is created"):
                    with files.directory_of_root(path, create=True):
                        pass

    def file(
        self, path: str, content: str | bytes, mode: int, owner: tuple[int, int] = (0, 0), *, unit: bool = False
    ) -> bool:
        """Write a file with this content, mode and owner. Return whether it changed.

        Only text appears in diffs, because bytes may be a secret.
        """
        data = content.encode("utf-8") if isinstance(content, str) else content
        before: bytes | None = None
        with files.explain_errors(f"{path} cannot be read", path), contextlib.suppress(FileNotFoundError):
            before, found = files.read_regular(path), os.lstat(path)
            if before == data and ((found.st_uid, found.st_gid), stat.S_IMODE(found.st_mode)) == (owner, mode):
                return False
        if isinstance(content, str) and before != data:
            self.changes.diffs.append((path, (before or b"").decode("utf-8", "replace"), content))
        self._units_changed = self._units_changed or unit
        if self.note(f"{path} is {'created' if before is None else 'changed'}"):
            with self.explain_errors(path):
                files.write_atomic(path, data, mode, owner=owner)
        return True

    def link(self, path: str, target: str) -> bool:
        """Create or change a symbolic link atomically. Return whether it changed."""
        try:
            if os.readlink(path) == target:
                return False
        except OSError:
            pass
        if self.note(f"{path} links to {target}"):
            with self.explain_errors(path):
                temporary = f"{path}.new"
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                os.symlink(target, temporary)
                os.rename(temporary, path)
        return True

    def absent(self, path: str, *, unit: bool = False, tree: bool = False) -> None:
        """Remove a file or, with `tree`, also a directory with everything below it. If the path is a link, remove only
        the link."""
        if not os.path.lexists(path):
            return
        self._units_changed = self._units_changed or unit
        if self.note(f"{path} is removed"):
            with self.explain_errors(path):
                if tree and os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)

    def enable_units(self, names: Sequence[str]) -> None:
        """Enable units at boot. This needs no reload, because systemd reads all units at boot."""
        for name in names:
            self.note(f"{name} is enabled")
        if names and not self.check:
            self.run("systemctl", "enable", "--quiet", "--no-reload", *names)

    def reload_units(self, names: Sequence[str] = ()) -> None:
        """Reload systemd's units if this run changed any, or if an interrupted run did.

        If `names` are given, ask systemd whether it has loaded an old version of one of these. systemd itself reads the
        files of units that it has not loaded, and a reload takes longer than the rest of an installation's changes.
        """
        needed = self._units_changed
        if names:
            with contextlib.suppress(systemd.CannotRun):
                shown = systemd.run(["systemctl", "show", "--property=NeedDaemonReload", "--value", *names])
                needed = b"yes" in shown.out
        if needed and not self._units_changed:
            self.note("systemd reloads its units")
        if needed and not self.check:
            self.run("systemctl", "daemon-reload")
        self._units_changed = False

    @staticmethod
    def explain_errors(path: str) -> AbstractContextManager[None]:
        return files.explain_errors(f"{path} cannot be changed", path)


@contextlib.contextmanager
def change_host(host: Host) -> Iterator[None]:
    """Context manager: exclude other runs, which would write the same files, and add the changes made so far to an
    InfisicalError. Check mode writes nothing and takes no lock."""
    busy = f"Another run is changing the agent on this host, and did not end within {_LOCK_WAIT:g} seconds."
    lock = files.hold_lock(_LOCK, _LOCK_WAIT, busy, f"{_LOCK} cannot be locked")
    try:
        with contextlib.nullcontext() if host.check else lock:
            yield
    except InfisicalError as error:
        changes, warnings = host.changes.lines, host.changes.warnings
        error.details = {"changed": False, **error.details, "changes": changes, "warnings": warnings}
        before = ""
        if changes and host.check:
            before = f"Changes that a run would make before this error: {len(changes)}."
        elif changes:
            before = f"Changes made before this error: {len(changes)} (the last one may be incomplete)."
            if host.withdrawn:
                before += f" Delivered files removed: {join_names(host.withdrawn)}."
        with after_writing(before, changed=True):
            raise


def _make_parents(path: str) -> None:
    """Create the missing parents of `path`. They are accessible to everybody, regardless of the umask."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        _make_parents(parent)
        os.mkdir(parent)
        _set_attributes(parent, 0o755)


def _set_attributes(path: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    # Use a descriptor: the parent's owner could replace the path with a link at any moment, and the link's target must
    # not be changed.
    with files.open_directory(path) as directory:
        if owner is not None:
            os.fchown(directory, *owner)
        os.fchmod(directory, mode)
