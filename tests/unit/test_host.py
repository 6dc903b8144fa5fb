# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's files and directories: a run notes and changes the differences, and check mode only notes them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.host import Changes, Host, HostFacts
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError, WrongUse
from unit.programs import Programs

OWNER = (os.geteuid(), os.getegid())
Change = Callable[[Host, Path], Any]

CHANGES: dict[str, Change] = {
    "new file": lambda host, room: host.file(f"{room}/new", "text\n", 0o640, OWNER),
    "file of another content": lambda host, room: host.file(f"{room}/file", "other\n", 0o600, OWNER),
    "file of another mode": lambda host, room: host.file(f"{room}/file", "text\n", 0o644, OWNER),
    "bytes": lambda host, room: host.file(f"{room}/file", b"CANARY", 0o600, OWNER),
    "new directory": lambda host, room: host.directory(f"{room}/a/b/c", 0o750, OWNER),
    "directory of another mode": lambda host, room: host.directory(f"{room}/directory", 0o711, OWNER),
    "new link": lambda host, room: host.link(f"{room}/new", "file"),
    "link elsewhere": lambda host, room: host.link(f"{room}/link", "elsewhere"),
    "absent file": lambda host, room: host.absent(f"{room}/file"),
    "absent link": lambda host, room: host.absent(f"{room}/link"),
    "absent tree": lambda host, room: host.absent(f"{room}/directory", tree=True),
}


@pytest.fixture
def furnished(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("text\n")
    (tmp_path / "file").chmod(0o600)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "directory" / "below").mkdir(parents=True)
    (tmp_path / "directory" / "below" / "file").write_text("below\n")
    return tmp_path


def everything(room: Path) -> list[tuple[str, int, str]]:
    return [
        (str(path), path.lstat().st_mode, os.readlink(path) if path.is_symlink() else
         path.read_text() if path.is_file() else "")
        for path in sorted(room.rglob("*"))
    ]  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_check_mode_predicts_changes_and_second_run_makes_none(furnished: Path, name: str) -> None:
    change, before = CHANGES[name], everything(furnished)
    foretold, done, again = Host(check=True), Host(check=False), Host(check=False)
    change(foretold, furnished)
    assert everything(furnished) == before
    change(done, furnished)
    assert everything(furnished) != before
    assert foretold.changes == done.changes and len(done.changes.lines) == 1
    after = everything(furnished)
    change(again, furnished)
    assert again.changes == Changes() and everything(furnished) == after


def test_diffs_show_text_but_no_binary_content(furnished: Path) -> None:
    host = Host(check=True)
    host.file(f"{furnished}/file", "other\n", 0o600, OWNER)
    host.file(f"{furnished}/file", b"CANARY", 0o600, OWNER)
    host.file(f"{furnished}/file", "text\n", 0o644, OWNER)
    assert host.changes.diffs == [(f"{furnished}/file", "text\n", "other\n")]
    assert "CANARY" not in repr(host.changes)


@pytest.mark.parametrize("check", [True, False])
def test_configured_directory_is_created_or_kept(room: Path, check: bool) -> None:
    (room / "there").mkdir(mode=0o711)
    host = Host(check)
    host.directory_of_root(f"{room}/there")
    assert host.changes.lines == [] and stat.S_IMODE((room / "there").stat().st_mode) == 0o711
    host.directory_of_root(f"{room}/there/a/b")
    assert host.changes.lines == [f"{room}/there/a/b is created"]
    assert (room / "there" / "a" / "b").is_dir() != check


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("below", ["", "/a/b"])
@pytest.mark.parametrize("how", ["link", "owner", "mode", "file"])
def test_configured_directory_that_others_can_change_is_refused(room: Path, how: str, below: str, check: bool) -> None:
    (room / "elsewhere").mkdir()
    path = room / "named"
    if how == "link":
        path.symlink_to("elsewhere")
    elif how == "file":
        path.touch()
    else:
        path.mkdir()
        path.chmod(0o777 if how == "mode" else 0o755)
        os.chown(path, 65534 if how == "owner" else 0, 0)
    with pytest.raises(InfisicalError, match="Nothing is written below") as refused:
        Host(check).directory_of_root(f"{path}{below}")
    assert refused.value.conclusion == "unsafe_file"
    assert list((room / "elsewhere").iterdir()) == []


def test_link_at_the_path_of_a_directory_is_refused(furnished: Path) -> None:
    (furnished / "behind").symlink_to("directory")
    with pytest.raises(InfisicalError, match="is not a directory"):
        Host(check=False).directory(f"{furnished}/behind", 0o700, OWNER)


def test_created_parent_directories_are_accessible_to_everybody(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        Host(check=False).directory(f"{tmp_path}/a/b/c", 0o700, OWNER)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a", "a/b", "a/b/c")]
    assert modes == [0o755, 0o755, 0o700]


@pytest.mark.parametrize("check", [True, False])
def test_link_at_the_path_of_a_file_is_refused(furnished: Path, check: bool) -> None:
    with pytest.raises(InfisicalError) as refused:
        Host(check).file(f"{furnished}/link", "other\n", 0o600, OWNER)
    assert refused.value.conclusion == "unsafe_file"
    assert (furnished / "file").read_text() == "text\n"


def test_link_can_be_changed_after_an_interrupted_change(furnished: Path) -> None:
    (furnished / "link.new").symlink_to("left")
    Host(check=False).link(f"{furnished}/link", "elsewhere")
    assert os.readlink(furnished / "link") == "elsewhere"
    assert not os.path.lexists(furnished / "link.new")


def test_removing_a_directory_keeps_the_targets_of_its_links(furnished: Path) -> None:
    (furnished / "directory" / "out").symlink_to(furnished / "file")
    Host(check=False).absent(f"{furnished}/directory", tree=True)
    assert (furnished / "file").exists() and not (furnished / "directory").exists()


@pytest.mark.parametrize("target", ["file", "directory", "missing"])
def test_removing_a_link_keeps_its_target(furnished: Path, target: str) -> None:
    (furnished / "tree").symlink_to(target)
    before = everything(furnished / "directory")
    Host(check=False).absent(f"{furnished}/tree", tree=True)
    assert not os.path.lexists(furnished / "tree")
    assert everything(furnished / "directory") == before and (furnished / "file").exists()


def test_units_are_reloaded_once_and_only_after_a_change(furnished: Path, programs: Programs) -> None:
    programs.put("systemctl")
    host = Host(check=False)
    host.file(f"{furnished}/file", "text\n", 0o600, OWNER, unit=True)
    host.file(f"{furnished}/new", "no unit\n", 0o600, OWNER)
    host.reload_units()
    assert programs.calls() == []
    host.file(f"{furnished}/a.service", "a\n", 0o644, OWNER, unit=True)
    host.absent(f"{furnished}/file", unit=True)
    host.reload_units()
    host.reload_units()
    assert programs.calls() == ["systemctl daemon-reload"]
    checked = Host(check=True)
    checked.file(f"{furnished}/b.service", "b\n", 0o644, OWNER, unit=True)
    checked.reload_units()
    assert programs.calls() == []


def test_program_failure_is_reported_with_its_output(programs: Programs) -> None:
    programs.put("useradd", "echo 'cannot lock /etc/passwd' >&2; exit 1")
    with pytest.raises(InfisicalError, match="'useradd -r x' failed with status 1: cannot lock /etc/passwd"):
        Host(check=False).run("useradd", "-r", "x")
    with pytest.raises(InfisicalError, match="no-such-program cannot be started"):
        Host(check=False).run("no-such-program")


def test_missing_user_is_created_without_a_shell(programs: Programs) -> None:
    programs.put("useradd", "exit 1")
    programs.put("userdel")
    host = Host(check=True)
    assert host.user("root", "/root") == (0, 0)
    assert host.user("no-such-user", "/var/lib/x") == (0, 0)
    host.user_absent("no-such-user")
    host.user_absent("nobody")
    assert host.changes.lines == ["user no-such-user is created", "user nobody is removed"]
    assert programs.calls() == []
    with pytest.raises(InfisicalError, match="useradd"):
        Host(check=False).user("no-such-user", "/var/lib/x")
    (call,) = programs.calls()
    assert "--system" in call and "--home-dir /var/lib/x" in call and ("nologin" in call or "/bin/false" in call)


def test_full_disk_is_reported_as_a_storage_error(furnished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **names: object) -> None:
        raise OSError(28, "No space left on device")

    for name, change in (("mkdir", CHANGES["new directory"]), ("unlink", CHANGES["absent file"])):
        with monkeypatch.context() as patched, pytest.raises(InfisicalError, match="the disk is full") as caught:
            patched.setattr(os, name, full)
            change(Host(check=False), furnished)
        assert caught.value.conclusion == "storage"


@pytest.mark.parametrize("place", ["new", "directory", "new/below"])
def test_link_placed_during_a_change_is_not_followed(
    furnished: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's user owns the parent directory, and root changes an entry in it."""
    target = furnished / "target"
    target.mkdir(mode=0o711)
    path, opened = furnished / place.partition("/")[0], files.open_directory

    def swapped(name: str) -> Any:
        if name == str(path):
            path.rename(furnished / "moved")
            path.symlink_to("target")
        return opened(name)

    monkeypatch.setattr(files, "open_directory", swapped)
    with pytest.raises(InfisicalError):
        Host(check=False).directory(f"{furnished}/{place}", 0o700, OWNER)
    assert stat.S_IMODE(target.stat().st_mode) == 0o711


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (HostFacts(248, "a" * 32), "systemd 249 or later, and this host runs 248"),
        (HostFacts(0, "a" * 32), "systemd 249 or later, and systemd does not run this host"),
        (HostFacts(249, ""), "no machine id .* Run: systemd-machine-id-setup"),
    ],
)
def test_unsuitable_host_is_refused(facts: HostFacts, words: str) -> None:
    with pytest.raises(WrongUse, match=words):
        facts.check()


def test_suitable_host_is_accepted() -> None:
    HostFacts(249, "a" * 32).check()
