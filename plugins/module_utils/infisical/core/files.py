# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that writes a file: atomically, for its owner only, and never through a symbolic link."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from typing import IO, Callable, Optional

from .errors import Busy, InfisicalError, StorageFailed, UnsafeFile

_FIRST_POLL, _LOCK_POLL = 0.001, 0.05
"""Seconds between two looks at a lock that another process holds: short at first, because a write is, then longer."""

_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV))
"""What a file system answers that has no hard links, or not for this file."""

Owner = Optional[tuple[int, int]]
"""User and group (ids) to whom a file is to belong, None for whoever writes it."""


class LockTimeout(Exception):
    """Another process held the lock for longer than the caller was ready to wait."""


_LEFT_BEHIND = re.compile(r"\.(.+)\.[0-9a-f]{16}")
"""The name of a temporary file, which holds that of the file it was to become."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a full disk says, and a full quota."""


def write_atomic(
    path: str,
    data: bytes,
    mode: int = 0o600,
    *,
    durable: bool = True,
    owner: Owner = None,
    before_rename: Callable[[], None] | None = None,
    directory: int | None = None,
) -> None:
    """Put `data` (bytes) in place of the file `path`, all or nothing; if `durable`, also when the machine loses power.

    A temporary file in the same directory, fsynced, renamed over `path`, then the directory fsynced. Raises OSError;
    the old file is then untouched and the temporary one gone. `before_rename` is called when the new file is whole and
    on the disk, and the old one still in place. With `directory`, an open one, `path` is a name in it.
    """
    temporary = _temporary(path) if directory is None else os.path.basename(_temporary(path))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        if before_rename is not None:
            before_rename()
        os.rename(temporary, path, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    if durable and directory is not None:
        os.fsync(directory)
    elif durable:
        sync_directory(os.path.dirname(os.path.abspath(path)))


def write_note(path: str, data: bytes, *, durable: bool = True, owner: Owner = None) -> None:
    """As write_atomic; but where the disk is full, put `data` (bytes) where the file that is there has its own already.

    For what must be remembered just then, and is not worth much: a reader at that moment may find it damaged. Raises
    OSError where there is no file yet, or not enough room in it.
    """
    try:
        write_atomic(path, data, durable=durable, owner=owner)
    except OSError as error:
        if error.errno not in _FULL or not _written_over(path, data):
            raise


def _written_over(path: str, data: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        before = os.fstat(descriptor).st_size
        written = os.pwrite(descriptor, data.ljust(before), 0)
        os.ftruncate(descriptor, len(data))
        return written >= len(data)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def write_new(path: str, data: bytes) -> bool:
    """Make the file `path` with `data` (bytes), whole and for its owner only; False where something stands there.

    Raises OSError.
    """
    if os.path.lexists(path):
        return False
    temporary = _temporary(path)
    write_atomic(temporary, data)
    try:
        os.link(temporary, path, follow_symlinks=False)  # unlike rename(2), link(2) replaces nothing
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    sync_directory(os.path.dirname(os.path.abspath(path)))
    return True


def keep(path: str, kept: str, *, owner: Owner = None) -> None:
    """Make what stands at `path` stand at `kept` too, in place of what stood there; `path` is whole all the time.

    To be called before `path` is replaced. Raises OSError.
    """
    temporary = _temporary(path)
    try:
        os.link(path, temporary, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        write_atomic(kept, read_regular(path), owner=owner)
        return
    try:
        os.rename(temporary, kept)
    finally:
        # Where a process died after this step and before the next, both are one file already, and then rename(2) does
        # nothing and leaves the temporary name.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def sweep(*paths: str) -> None:
    """Remove the temporary files that dead processes left beside `paths`. Only for who holds the lock of all writers.

    What cannot be removed stays, because it is in nobody's way.
    """
    names: dict[str, set[str]] = {}
    for path in paths:
        directory, name = os.path.split(os.path.abspath(path))
        names.setdefault(directory, set()).add(name)
    for directory, known in names.items():
        with contextlib.suppress(OSError):
            for found in os.listdir(directory):
                left = _LEFT_BEHIND.fullmatch(found)
                if left and left[1] in known:
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(directory, found))


def others_in(directory: int, names: Iterable[str]) -> list[str]:
    """What an open directory holds besides `names` and the temporary files of these."""
    known = set(names)
    left = {found: _LEFT_BEHIND.fullmatch(found) for found in os.listdir(directory)}
    return sorted(name for name, match in left.items() if name not in known and not (match and match[1] in known))


def owner_of(path: str) -> Owner:
    """Whose files beside `path` are to be: root may work with another user's vault, who must still be able to open all
    of it. None for whoever runs this."""
    if os.geteuid() != 0:
        return None
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return None if status.st_uid == 0 else (status.st_uid, status.st_gid)


def is_same_place(one: str, other: str) -> bool:
    """Whether two paths name the same entry of the same directory, however they are spelled and whatever links lead to
    that directory. The entry itself may be a link, or missing."""
    (folder, name), (other_folder, other_name) = (os.path.split(path.rstrip("/")) for path in (one, other))
    if name != other_name:
        return False
    try:
        return os.path.samefile(folder or ".", other_folder or ".")
    except OSError:
        return os.path.realpath(folder or ".") == os.path.realpath(other_folder or ".")


def _temporary(path: str) -> str:
    directory, name = os.path.split(os.path.abspath(path))
    return os.path.join(directory, f".{name}.{secrets.token_hex(8)}")


def sync_directory(directory: str) -> None:
    """Bring the names in a directory to the disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(directory: str) -> OSError | None:
    """Why this process can make no file in a directory, None where it can."""
    if not os.path.isdir(directory):
        code = errno.ENOENT
    elif os.access(directory, os.W_OK | os.X_OK):
        return None
    else:
        code = errno.EROFS if os.statvfs(directory).f_flag & os.ST_RDONLY else errno.EACCES
    return OSError(code, os.strerror(code), directory)


@contextlib.contextmanager
def opened(directory: str) -> Iterator[int]:
    """A directory, open, that is no symbolic link itself. Raises OSError."""
    descriptor = os.open(directory, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def directory_of_root(path: str, *, create: bool = False) -> Iterator[int]:
    """The directory `path` (absolute), open, after a look that root alone can change what it and every one above it
    holds; with `create`, what is missing is made, for everybody to pass through.

    For who writes as root what others have named: with the descriptor, no link that is placed later leads elsewhere.
    Raises InfisicalError (UNSAFE_FILE) and OSError.
    """
    descriptor = os.open("/", _DIRECTORY)
    try:
        walked = ""
        for part in [part for part in path.split("/") if part]:
            walked += "/" + part
            try:
                below = _below(descriptor, part, create)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                raise UnsafeFile(
                    f"Nothing is written below {walked}: it is a symbolic link or no directory. Name the directory "
                    "that is meant itself.",
                ) from None
            os.close(descriptor)
            descriptor = below
            status = os.fstat(descriptor)
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
                raise UnsafeFile(
                    f"Nothing is written below {walked}: others than root may change what it holds (user "
                    f"{status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}). Name a directory that belongs to "
                    f"root, or run: chown root '{walked}' && chmod go-w '{walked}'",
                )
        yield descriptor
    finally:
        os.close(descriptor)


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _below(directory: int, name: str, create: bool) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=directory)
    except FileNotFoundError:
        if not create:
            raise
    os.mkdir(name, 0o755, dir_fd=directory)
    os.chmod(name, 0o755, dir_fd=directory)  # noqa: S103 - whoever owns a file in it must get there
    return os.open(name, _DIRECTORY, dir_fd=directory)


def read_regular(path: str, *, directory: int | None = None, most: int = -1) -> bytes:
    """All bytes of a regular file, or its first `most`. Raises OSError, also where `path` is a symbolic link (ELOOP) or
    no file (EINVAL).

    With `directory`, an open one, `path` is a name in it.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY | os.O_NOFOLLOW, directory=directory), "rb") as stream:
        return _read(stream, most)


def _read(stream: IO[bytes], most: int) -> bytes:
    # A read of at most 256 MB takes as much memory first, however short the file is.
    return stream.read() if most < 0 or os.fstat(stream.fileno()).st_size <= most else stream.read(most)


def open_regular(path: str, flags: int, *, directory: int | None = None) -> int:
    """Open a regular file that somebody else may have placed; fits `open` as its `opener`. Links are followed unless
    the flags forbid it. Raises OSError for anything else, also EINVAL.

    With `directory`, an open one, `path` is a name in it.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for somebody to write into it.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a regular file", path)


def read_private(path: str, what: str, *, most: int, begins: bytes = b"", credential: bool = False) -> bytes:
    """At most `most` bytes of a regular file that is this user's alone. `what` names it in messages ("vault").

    A file that does not begin with `begins` is not read further than that. With `credential`, a file of root's that
    its group may read is accepted: systemd shows a service its credentials so, with an access list for its user (see
    systemd.exec(5), LoadCredential=). Root may read what belongs to others.
    Raises FileNotFoundError, and InfisicalError (UNSAFE_FILE or STORAGE) for everything else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            problem = _unsafe(os.fstat(descriptor), path, credential)
            if problem:
                raise UnsafeFile(f"The {what} {path} is not used: {problem}")
            beginning = stream.read(len(begins))
            return beginning + _read(stream, most - len(begins)) if beginning == begins else beginning
    except FileNotFoundError:
        raise
    except OSError as error:
        raise explained(error, f"The {what} {path} cannot be read", path) from None


def _unsafe(status: os.stat_result, path: str, credential: bool) -> str:
    mode, user = stat.S_IMODE(status.st_mode), os.geteuid()
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file. Name the file itself, or move away what stands there."
    if credential and status.st_uid == 0 and mode in (0o400, 0o440):
        return ""
    if user not in (0, status.st_uid):
        return (
            f"it belongs to user {status.st_uid}, and this runs as user {user}. Run it as that user, or if the file is "
            f"what it should be, as root: chown {user} '{path}'"
        )
    if mode & 0o077:
        return (
            f"others than its owner have rights to it (mode {mode:04o}). Find out who may have read or changed it, and "
            f"then run: chmod 600 '{path}'"
        )
    return ""


def explained(error: OSError, tried: str, path: str) -> InfisicalError:
    """An OSError about `path` in words: `tried` says what could not be done, without a full stop."""
    kind: type[InfisicalError] = StorageFailed
    code = error.errno or 0
    directory = os.path.dirname(os.path.abspath(path))
    if code in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
        kind = UnsafeFile
        reason = f"'{path}' is a symbolic link or no regular file. Name the file itself, or move away what stands there"
    elif code == errno.ENOSPC:
        reason = f"the disk is full. Make room on the file system of '{directory}' (df -h, df -i)"
    elif code == errno.EDQUOT:
        reason = f"the disk quota of user {os.geteuid()} is used up. Make room in '{directory}'"
    elif code == errno.EFBIG:
        reason = (
            "the file would be larger than this process may write. Raise the limit (ulimit -f in a shell, LimitFSIZE= "
            "in a systemd unit)"
        )
    elif code == errno.EROFS:
        reason = (
            f"'{directory}' is on a read-only file system. Mount it writable; in a systemd unit, ReadWritePaths= or "
            "StateDirectory= makes a directory writable"
        )
    elif code in (errno.EACCES, errno.EPERM):
        reason = (
            f"user {os.geteuid()} has no permission. '{directory}' and the file must belong to the user that runs this"
        )
    elif code in (errno.ENOENT, errno.ENOTDIR):
        reason = f"'{directory}' is not a directory, or does not exist. Make it: install -d -m 700 '{directory}'"
    elif code == errno.EIO:
        reason = "the disk reports an error. Look into the kernel's log (dmesg), and save what can be saved"
    else:
        reason = f"{error.strerror or type(error).__name__}. This comes from the operating system ({path})"
    return kind(f"{tried}: {reason}.")


@contextlib.contextmanager
def locked(path: str, timeout: float, *, owner: Owner = None) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, which is made if need be and never removed.

    Waits at most `timeout` seconds, then raises LockTimeout. The lock ends with the process, however that ends.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ELOOP, "not a regular file", path)
        # The link count, because in a directory of somebody else's the name may lead to another file of ours.
        if owner is not None and status.st_uid == os.geteuid() != owner[0] and status.st_nlink == 1:
            os.fchown(descriptor, *owner)
        end, pause = time.monotonic() + timeout, _FIRST_POLL
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise LockTimeout(f"{path} has been locked by another process for {timeout:g} seconds") from None
                time.sleep(pause)
                pause = min(2 * pause, _LOCK_POLL)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held(lock: str, timeout: float, busy: str, cannot: str, *, owner: Owner = None) -> Iterator[None]:
    """`locked`, with what keeps one from the lock in words: raises InfisicalError, BUSY with the sentences `busy`, or
    what `explained` makes of `cannot`. What happens inside is not looked at."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, timeout, owner=owner))
        except LockTimeout:
            raise Busy(busy) from None
        except OSError as error:
            raise explained(error, cannot, lock) from None
        yield
