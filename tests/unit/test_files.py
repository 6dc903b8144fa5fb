# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing files: atomic, for the owner only, never through a link, and by one writer at a time."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files

HOLD_LOCK = """
import sys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
with files.lock_file(sys.argv[1], 5):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def test_new_file_is_private_with_any_umask(tmp_path: Path) -> None:
    path = tmp_path / "state"
    before = os.umask(0)
    try:
        files.write_atomic(str(path), b"one")
        files.write_atomic(str(path), b"two", 0o640)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        files.write_atomic(str(path), b"three")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"three"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["state"]


def test_restrictive_umask_does_not_limit_the_owner(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        files.write_atomic(str(tmp_path / "state"), b"one")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o600


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_failed_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "state"
    files.write_atomic(str(path), b"old")

    def full(*arguments: object, **names: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_reader_never_sees_a_partially_written_file(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    path = tmp_path / "state"
    size = 1 << 20
    program = f"""
import sys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
print("started", flush=True)
for turn in range(30):
    files.write_atomic(sys.argv[1], b"ab"[turn % 2:turn % 2 + 1] * {size})
"""
    files.write_atomic(str(path), b"a" * size)
    writer = start(program, path)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "started\n"
    seen = set()
    while writer.poll() is None:
        content = files.read_regular(str(path))
        assert content in (b"a" * size, b"b" * size)
        seen.add(content[:1])
    assert writer.returncode == 0
    assert seen == {b"a", b"b"}


def test_link_is_replaced_and_its_target_is_unchanged(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    files.write_atomic(str(link), b"new")
    assert target.read_bytes() == b"precious"
    assert not link.is_symlink()


def test_link_is_neither_read_nor_used_as_a_lock(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    with pytest.raises(OSError) as read:
        files.read_regular(str(link))
    with pytest.raises(OSError) as lock, files.lock_file(str(link), 0):
        pass
    assert read.value.errno == lock.value.errno == errno.ELOOP


def test_lock_blocks_other_processes_until_its_holder_ends(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    path = str(tmp_path / "lock")
    other = start(HOLD_LOCK, path)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    began = time.monotonic()
    with pytest.raises(files.LockTimeout, match="locked by another process") as caught, files.lock_file(path, 0.2):
        pass
    assert path in str(caught.value)
    assert 0.2 <= time.monotonic() - began < 2
    other.kill()
    other.wait()
    with files.lock_file(path, 5):
        pass
    assert os.path.exists(path)


def test_lock_is_released_after_an_exception(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with pytest.raises(RuntimeError), files.lock_file(path, 0):
        raise RuntimeError
    with files.lock_file(path, 0), pytest.raises(files.LockTimeout), files.lock_file(path, 0):
        pass


def ends(call: Callable[[], None]) -> bool:
    """Return whether a call returns without waiting."""
    returned = []
    thread = threading.Thread(target=lambda: returned.append(call()), daemon=True)
    thread.start()
    thread.join(10)
    return bool(returned)


@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "link to pipe"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        os.mkfifo(tmp_path / ("x" if kind == "pipe" else "y"))
        if kind != "pipe":
            path.symlink_to("y")

    def read() -> None:
        with pytest.raises(OSError, match="it is not a regular file"), open(path, opener=files.open_regular):
            pass

    assert ends(read)


def full(*arguments: object, **names: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_note_is_overwritten_in_place_if_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note"
    files.write_note(str(path), b"a note of some length")
    monkeypatch.setattr(files, "write_atomic", full)
    for data in (b"short", b"as long"):
        files.write_note(str(path), data)
        assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_full_disk_without_an_existing_note_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "write_atomic", full)
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(target)
    for name in ("none", "link"):
        with pytest.raises(OSError, match="No space left"):
            files.write_note(str(tmp_path / name), b"x")
    assert target.read_bytes() == b"precious"


def test_full_disk_with_a_pipe_as_note_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "write_atomic", full)
    os.mkfifo(tmp_path / "note")

    def write() -> None:
        with pytest.raises(OSError, match="No space left"):
            files.write_note(str(tmp_path / "note"), b"new")

    assert ends(write)


def test_failed_write_of_a_note_keeps_the_old_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **names: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "note"
    path.write_bytes(b"old")
    monkeypatch.setattr(files, "write_atomic", broken)
    with pytest.raises(OSError, match="Input/output"):
        files.write_note(str(path), b"new")
    assert path.read_bytes() == b"old"
