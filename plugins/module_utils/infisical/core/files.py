# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only code that writes files: atomically, by default for the owner only, and never through a symbolic link."""

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
"""Seconds between two attempts to get a lock: short at first, because most writes are short, then longer."""

_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV))
"""Error numbers that mean that the file system cannot create a hard link here."""

Owner = Optional[tuple[int, int]]
"""User id and group id of a new file's owner, or None for the user who writes the file."""


class LockTimeout(Exception):
    """Another process held the lock for longer than the time limit."""


_LEFT_BEHIND = re.compile(r"\.(.+)\.[0-9a-f]{16}")
"""The name of a temporary file, which contains the name of the final file."""


def write_atomic(
    path: str,
    data: bytes | bytearray,
    mode: int = 0o600,
    *,
    durable: bool = True,
    owner: Owner = None,
    before_rename: Callable[[], None] | None = None,
    directory: int | None = None,
) -> None:
    """Replace the file `path` with `data` atomically.

    If `durable`, the file and then the directory are fsynced, so that the change survives a power failure.
    `before_rename` is called when the new file is complete, but the old file is still in place. With `directory` (a
    file descriptor), `path` is a name in that directory. Raises OSError; the old file is then unchanged, unless the
    error occurred in the fsync of the directory.
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


def write_note(path: str, data: bytes, *, durable: bool = True) -> None:
    """Write a file like `write_atomic`, but overwrite the existing file in place if the disk is full.

    This is for small data that must be recorded even then. While the file is being overwritten, a reader may find it
    damaged. Raises OSError if the file does not exist, or if there is not enough space to overwrite it.
    """
    try:
        write_atomic(path, data, durable=durable)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not _overwrite(path, data):
            raise


def _overwrite(path: str, data: bytes) -> bool:
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


def write_new(path: str, data: bytes, *, durable: bool = True) -> bool:
    """Create the file `path` with `data`, for its owner only. Returns False if `path` already exists. Raises
    OSError."""
    if os.path.lexists(path):
        return False
    temporary = _temporary(path)
    write_atomic(temporary, data, durable=durable)
    try:
        os.link(temporary, path, follow_symlinks=False)  # unlike rename(2), link(2) never replaces a file
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    if durable:
        sync_directory(os.path.dirname(os.path.abspath(path)))
    return True


def keep(path: str, kept: str, *, owner: Owner = None) -> None:
    """Make the file `path` available under the name `kept` as well, before `path` is replaced. Raises OSError."""
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
        # If an earlier process died after this step and before it replaced `path`, both names already refer to the same
        # file. Then rename(2) does nothing, and the temporary name remains.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def sweep(*paths: str) -> None:
    """Remove temporary files that terminated processes left beside `paths`.

    The caller must hold the writers' lock. Files that cannot be removed do no harm and are ignored.
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


def list_others(directory: int, names: Iterable[str]) -> list[str]:
    """Return the names in an open directory, except `names` and their temporary files."""
    known = set(names)
    left = {found: _LEFT_BEHIND.fullmatch(found) for found in os.listdir(directory)}
    return sorted(name for name, match in left.items() if name not in known and not (match and match[1] in known))


def owner_of(path: str) -> Owner:
    """Return the owner for new files beside `path`, or None for the current user.

    If root writes to another user's vault, that user must still be able to open all of the vault's files.
    """
    if os.geteuid() != 0:
        return None
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return None if status.st_uid == 0 else (status.st_uid, status.st_gid)


def is_same_place(one: str, other: str) -> bool:
    """Return whether two paths refer to the same entry in the same directory, even through links to the directory.

    The entry can be a link, or be missing.
    """
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
    """Flush a directory's entries to the disk (fsync). Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def find_write_problem(directory: str) -> OSError | None:
    """Return the reason why this process cannot create a file in a directory, or None if it can."""
    if not os.path.isdir(directory):
        code = errno.ENOENT
    elif os.access(directory, os.W_OK | os.X_OK):
        return None
    else:
        code = errno.EROFS if os.statvfs(directory).f_flag & os.ST_RDONLY else errno.EACCES
    return OSError(code, os.strerror(code), directory)


@contextlib.contextmanager
def open_directory(directory: str) -> Iterator[int]:
    """Context manager: open a directory that is not a symbolic link. Raises OSError."""
    descriptor = os.open(directory, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def directory_of_root(path: str, *, create: bool = False) -> Iterator[int]:
    """Context manager: open the directory `path` if only root can change it and every directory above it.

    This is for root writing to an absolute path that other users have chosen. The descriptor stays valid even if
    somebody replaces the path with a link later. With `create`, missing directories are created with mode 0755. Raises
    UnsafeFile and OSError.
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
                    f"Nothing is written below {walked}: it is a symbolic link or not a directory.",
                    hint="Set the real path of the directory, not a symbolic link.",
                ) from None
            os.close(descriptor)
            descriptor = below
            status = os.fstat(descriptor)
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
                mend = f", or run: chown root '{walked}' && chmod go-w '{walked}'"
                raise UnsafeFile(
                    f"Nothing is written below {walked}: users other than root can change its content (user "
                    f"{status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}).",
                    # A directory with the sticky bit, such as /tmp, must stay writable.
                    hint="Set a directory that only root can change" + ("." if status.st_mode & stat.S_ISVTX else mend),
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
    os.chmod(name, 0o755, dir_fd=directory)  # noqa: S103 - the owners of files in it must reach them
    return os.open(name, _DIRECTORY, dir_fd=directory)


def read_regular(path: str, *, directory: int | None = None, most: int = -1) -> bytes:
    """Return all bytes of a regular file, or only its first `most` bytes.

    With `directory` (a file descriptor), `path` is a name in that directory. Raises OSError, including for a symbolic
    link (ELOOP) and for anything else that is not a regular file (EINVAL).
    """
    with os.fdopen(open_regular(path, os.O_RDONLY | os.O_NOFOLLOW, directory=directory), "rb") as stream:
        return _read(stream, most)


def _read(stream: IO[bytes], most: int) -> bytes:
    # Reading with a limit of 256 MB would allocate that much memory first, even if the file is short.
    return stream.read() if most < 0 or os.fstat(stream.fileno()).st_size <= most else stream.read(most)


def open_regular(path: str, flags: int, *, directory: int | None = None) -> int:
    """Open a regular file that another user may have created. Suitable as the `opener` of `open`.

    Symbolic links are followed unless the flags forbid it. Raises OSError, with EINVAL for anything else than a file.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for a writer.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a regular file", path)


def read_private(path: str, what: str, *, most: int, begins: bytes = b"", credential: bool = False) -> bytes:
    """Return at most `most` bytes of a regular file that belongs to this user and that nobody else can access.

    `what` describes the file in messages ("vault"). If the file does not begin with `begins`, only its beginning is
    read. With `credential`, a file that belongs to root and is readable by its group is accepted too. systemd passes
    credentials to a service in this way, with an access list for the service's user (systemd.exec(5), LoadCredential=).
    Root is allowed to read other users' files. Raises FileNotFoundError, and UnsafeFile or StorageFailed for any other
    problem.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            _refuse_unsafe(os.fstat(descriptor), what, path, credential)
            beginning = stream.read(len(begins))
            return beginning + _read(stream, most - len(begins)) if beginning == begins else beginning
    except FileNotFoundError:
        raise
    except OSError as error:
        raise explain(error, f"The {what} {path} cannot be read", path) from None


def _refuse_unsafe(status: os.stat_result, what: str, path: str, credential: bool) -> None:
    mode, user = stat.S_IMODE(status.st_mode), os.geteuid()
    if not stat.S_ISREG(status.st_mode):
        problem, hint = (
            "it is not a regular file.",
            "Set the path of a regular file, not of a link, or move this file away.",
        )
    elif credential and status.st_uid == 0 and mode in (0o400, 0o440):
        return
    elif user not in (0, status.st_uid):
        problem = f"it belongs to user {status.st_uid}, and this runs as user {user}."
        hint = f"Run it as that user. If the content of the file is right, run as root: chown {user} '{path}'"
    elif mode & 0o077:
        problem = f"users other than its owner have rights to it (mode {mode:04o})."
        hint = f"Find out who may have read or changed it, then run: chmod 600 '{path}'"
    else:
        return
    raise UnsafeFile(f"The {what} {path} is not used: {problem}", hint=hint)


_NOT_A_FILE = (
    "'{path}' is a symbolic link or not a regular file",
    "Set the path of a regular file, not of a link, or move this file away.",
)
_NO_PERMISSION = (
    "user {user} has no permission",
    "Check the owner and the mode of the file and of '{directory}', or run this as another user.",
)
_NO_DIRECTORY = (
    "'{directory}' is not a directory, or does not exist", "Create it: install -d -m 700 '{directory}'"
)  # fmt: skip
_REASONS = {
    errno.ELOOP: _NOT_A_FILE,
    errno.EISDIR: _NOT_A_FILE,
    errno.ENXIO: _NOT_A_FILE,
    errno.ENOSPC: ("the disk is full", "Free up disk space on the file system of '{directory}' (df -h, df -i)."),
    errno.EDQUOT: ("the disk quota of user {user} is used up", "Free up disk space in '{directory}'."),
    errno.EFBIG: (
        "the file would be larger than this process may write",
        "Raise the limit (ulimit -f in a shell, LimitFSIZE= in a systemd unit).",
    ),
    errno.EROFS: (
        "'{directory}' is on a read-only file system",
        "Mount it writable; in a systemd unit, use ReadWritePaths= or StateDirectory=.",
    ),
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.ENOENT: _NO_DIRECTORY,
    errno.ENOTDIR: _NO_DIRECTORY,
    errno.EIO: ("the disk reports an error", "Read the kernel's log (dmesg), and save your data."),
}
"""The problem and the hint for each error number."""


def explain(error: OSError, problem: str, path: str) -> InfisicalError:
    """Return the InfisicalError for an OSError about `path`; `problem` is a sentence without a period."""
    reason = _REASONS.get(
        error.errno or 0, (f"the operating system reports: {error.strerror or type(error).__name__}", "")
    )
    kind: type[InfisicalError] = UnsafeFile if reason is _NOT_A_FILE else StorageFailed
    values = {"path": path, "directory": os.path.dirname(os.path.abspath(path)), "user": os.geteuid()}
    what, hint = (text.format(**values) for text in reason)
    return kind(f"{problem}: {what}.", hint=hint)


@contextlib.contextmanager
def explain_errors(problem: str, path: str) -> Iterator[None]:
    """Context manager: raise the InfisicalError of `explain` instead of an OSError."""
    try:
        yield
    except OSError as error:
        raise explain(error, problem, path) from None


@contextlib.contextmanager
def lock_file(path: str, timeout: float, *, owner: Owner = None) -> Iterator[None]:
    """Context manager: hold an exclusive lock on the file `path`, which is created if necessary and never removed.

    Raises LockTimeout after `timeout` seconds. The lock is released when the process ends, even if it is killed.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ELOOP, "not a regular file", path)
        # The link count is checked because, in another user's directory, the name may be a hard link to another file.
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
def hold_lock(
    lock: str, timeout: float, busy: str, cannot: str, *, hint: str | None = None, owner: Owner = None
) -> Iterator[None]:
    """Context manager: hold a lock like `lock_file`. Raises Busy with the problem `busy` after a timeout.

    Other errors of the lock are explained with the problem `cannot`. Errors that are raised inside are not changed.
    """
    with contextlib.ExitStack() as stack:
        try:
            with explain_errors(cannot, lock):
                stack.enter_context(lock_file(lock, timeout, owner=owner))
        except LockTimeout:
            raise Busy(busy, hint=hint) from None
        yield
