# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivery of files: formats, refused names, changes, units, killed deliveries and unsafe directories."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import deliver
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.deliver import Delivery, File, Record
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
)
from unit.programs import Programs

VALUES = {"DB_HOST": "db.internal", "DB_PASSWORD": 'CANARY "quoted" $HOME `id` \\ end\nsecond line', "FLAG": "true"}
OTHERS = 65534
"""The user id of nobody's files."""


class Host:
    """Deliveries to a temporary folder, with a job's record."""

    def __init__(self, room: Path, programs: Programs) -> None:
        self.room, self.programs = room, programs
        self.record_file = room / "record.json"
        programs.put("systemctl")

    def deliver(self, values: dict[str, str], *wanted: File) -> Delivery:
        """Run one delivery."""
        with deliver.open_record(str(self.record_file)) as record:
            return deliver.deliver(values, [deliver.check_file(file) for file in wanted], record)

    def delivered(self, values: dict[str, str], *wanted: File) -> Delivery:
        """Run one delivery without problems."""
        done = self.deliver(values, *wanted)
        assert not done.problems
        return done

    def file(self, name: str, **options: Any) -> File:
        return File(str(self.room / name), **options)

    def left(self) -> list[str]:
        """Return all paths in the folder, except the record and its lock."""
        own = {self.record_file.name, self.record_file.name + deliver.LOCK}
        return sorted(str(path.relative_to(self.room)) for path in self.room.rglob("*") if path.name not in own)


@pytest.fixture
def host(room: Path, programs: Programs) -> Host:
    return Host(room, programs)


def problem(done: Delivery, path: object) -> str:
    assert list(done.problems) == [str(path)]
    text = str(done.problems[str(path)])
    assert "CANARY" not in text
    return text


def what(path: Path) -> tuple[int, int, int, str]:
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), path.read_text("utf-8")


def touched(path: Path) -> tuple[int, int, int]:
    """Return the properties of a file that change with a write, but not with a read."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


# Formats


def test_shell_reads_the_exact_values_from_a_dotenv_file(host: Host) -> None:
    done = host.delivered(VALUES, host.file("app.env"))
    path = host.room / "app.env"
    assert done.written == [str(path)]
    for name, value in VALUES.items():
        shown = subprocess.run(
            ["sh", "-c", f'. {path}; printf %s "${name}"'], capture_output=True, text=True, check=True, env={}
        )
        assert shown.stdout == value
    assert what(path)[:3] == (0, 0, 0o400)


def test_env_file_has_no_quotes_and_refuses_newlines(host: Host) -> None:
    wanted = host.file("app.list", format="env_file")
    host.delivered({"A": ' "x" ', "B": "y=z"}, wanted)
    assert (host.room / "app.list").read_text() == 'A= "x" \nB=y=z\n'
    assert "'MAKEFLAGS'" in problem(host.deliver({"MAKEFLAGS": "x"}, wanted), host.room / "app.list")
    assert "contains a newline" in problem(host.deliver({"A": "CANARY\nx"}, wanted), host.room / "app.list")
    assert (host.room / "app.list").read_text().startswith("A=")
    host.delivered({"A": "x\ny", "B": "z"}, host.file("app.list", format="env_file", names=("B",)))


def test_json_contains_exact_values_with_any_name(host: Host) -> None:
    values = {**VALUES, "not a variable": "1", "../up": "2", "LD_PRELOAD": "3"}
    host.delivered(values, host.file("app.json", format="json"))
    assert json.loads((host.room / "app.json").read_text("utf-8")) == values


def test_file_in_a_directory_contains_exactly_the_value(host: Host) -> None:
    host.delivered(VALUES, host.file("values", format="files", mode=0o440, owner="nobody", group="root"))
    assert {path.name: path.read_text("utf-8") for path in (host.room / "values").iterdir()} == VALUES
    assert what(host.room / "values" / "FLAG")[:3] == (OTHERS, 0, 0o440)


def test_missing_directory_is_created_with_mode_0755(host: Host) -> None:
    before = os.umask(0o077)
    try:
        host.delivered(VALUES, host.file("a/b/app.env"))
    finally:
        os.umask(before)
    assert [stat.S_IMODE((host.room / name).stat().st_mode) for name in ("a", "a/b")] == [0o755, 0o755]


def test_name_patterns_select_the_secrets_to_write(host: Host) -> None:
    host.delivered(VALUES, host.file("db", format="files", names=("DB_*", "NOTHING")))
    assert host.left() == ["db", "db/DB_HOST", "db/DB_PASSWORD"]


@pytest.mark.parametrize(
    ("owner", "group", "expected"), [("nobody", "", (OTHERS, OTHERS)), ("nobody", "root", (OTHERS, 0))]
)
def test_group_defaults_to_the_owners_primary_group(
    host: Host, owner: str, group: str, expected: tuple[int, int]
) -> None:
    host.delivered(VALUES, host.file("app.env", owner=owner, group=group))
    assert what(host.room / "app.env")[:2] == expected


# Refusals


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "BASH_ENV", "a b", "a$(id)", "1A", "A\nB", "INFISICAL_TOKEN"])
def test_unsafe_environment_name_leaves_the_file_unchanged(host: Host, name: str) -> None:
    host.delivered({"A": "old"}, host.file("app.env"))
    before = what(host.room / "app.env")
    done = host.deliver({"A": "CANARY", name: "CANARY"}, host.file("app.env", reload=("app.service",)))
    text = problem(done, host.room / "app.env")
    assert "refusing to write" in text and f"'{name}'" in text and "allow" in text and "format: json" in text
    assert what(host.room / "app.env") == before
    assert (done.written, done.notified, host.programs.calls()) == ([], [], [])


def test_allowed_unsafe_name_is_written(host: Host) -> None:
    host.delivered({"PATH": "/opt/bin"}, host.file("app.env", allow=("PATH",)))
    assert (host.room / "app.env").read_text() == 'PATH="/opt/bin"\n'


@pytest.mark.parametrize(
    "name", ["../passwd", "a/b", "..", ".", ".hidden", "-rf", "", "A\n", "A\0", "é", "A" * 238, "a b", "$(id)"]
)
def test_unsafe_file_name_leaves_the_directory_unchanged(host: Host, name: str) -> None:
    host.delivered({"A": "old"}, host.file("values", format="files"))
    done = host.deliver({"A": "CANARY", name: "CANARY"}, host.file("values", format="files"))
    text = problem(done, host.room / "values")
    assert "unsafe names" in text and "rename it in Infisical" in text
    assert host.left() == ["values", "values/A"]
    assert (host.room / "values" / "A").read_text() == "old"


def test_longest_file_name_can_be_written(host: Host) -> None:
    host.delivered({"A" * 237: "1"}, host.file("values", format="files"))
    assert host.left() == ["values", "values/" + "A" * 237]


def test_error_lists_five_unsafe_names_and_counts_the_rest(host: Host) -> None:
    text = problem(host.deliver({f"LD_{n}": "1" for n in range(9)}, host.file("app.env")), host.room / "app.env")
    assert "'LD_4'" in text and "'LD_5'" not in text and "and 4 more" in text


def test_value_with_a_nul_byte_is_only_allowed_as_a_file(host: Host) -> None:
    values = {"BINARY": "CANARY\0end"}
    assert "'BINARY'" in problem(host.deliver(values, host.file("app.env")), host.room / "app.env")
    host.delivered(values, host.file("values", format="files"))
    assert (host.room / "values" / "BINARY").read_bytes() == b"CANARY\0end"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"owner": "no-such-user"}, "user 'no-such-user' does not exist"),
        ({"group": "no-such-group"}, "group 'no-such-group' does not exist"),
    ],
)
def test_unknown_owner_error_names_the_owner(host: Host, options: dict[str, str], words: str) -> None:
    assert words in problem(host.deliver(VALUES, host.file("app.env", **options)), host.room / "app.env")
    assert host.left() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": ""}, "must be absolute"),
        ({"path": "app.env"}, "must be absolute"),
        ({"path": "/"}, "root directory"),
        ({"path": "//"}, "root directory"),
        ({"path": "/srv/.."}, "root directory"),
        ({"path": "/srv/a\nb"}, "must be absolute"),
        ({"path": "/srv/a\0b"}, "must be absolute"),
        ({"format": "yaml"}, "one of dotenv, env_file, json, files"),
        ({"mode": 0o666}, "everybody write"),
        ({"mode": 0o402}, "everybody write"),
        ({"mode": 0o4755}, "everybody write"),
        ({"mode": -1}, "everybody write"),
        ({"reload": ("app",)}, "'app' is not a unit name"),
        ({"restart": ("--force.service --now",)}, "is not a unit name"),
        ({"restart": ("a/b.service",)}, "is not a unit name"),
        ({"reload": ("app.service\n",)}, "is not a unit name"),
    ],
)
def test_invalid_file_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refused:
        deliver.check_file(File(**{"path": "/srv/app.env", **options}))
    assert refused.value.option == "files"


def test_path_is_normalized() -> None:
    assert deliver.check_file(File("//srv/./x/../app.env")).path == "/srv/app.env"


# Only differences


@pytest.mark.parametrize("kind", ["dotenv", "json", "files"])
def test_second_delivery_changes_nothing(host: Host, kind: str) -> None:
    wanted = host.file("app", format=kind, owner="nobody", reload=("app.service",))
    host.delivered(VALUES, wanted)
    assert host.programs.calls() == ["systemctl --no-block try-reload-or-restart -- app.service"]
    paths = [host.record_file, *(path for path in host.room.rglob("*") if path.is_file())]
    before = [touched(path) for path in paths]
    assert host.delivered(VALUES, wanted) == Delivery()
    assert [touched(path) for path in paths] == before
    assert host.programs.calls() == []


def test_only_the_changed_value_is_written(host: Host) -> None:
    wanted = host.file("values", format="files")
    host.delivered(VALUES, wanted)
    before = (host.room / "values" / "DB_HOST").stat()
    done = host.delivered({**VALUES, "FLAG": "false"}, wanted)
    assert done.written == [str(host.room / "values" / "FLAG")]
    after = (host.room / "values" / "DB_HOST").stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)  # not the time it was read


def test_open_reader_still_sees_the_old_content(host: Host) -> None:
    host.delivered({"A": "old"}, host.file("app.env"))
    with (host.room / "app.env").open() as reader:
        host.delivered({"A": "new"}, host.file("app.env"))
        assert reader.read() == 'A="old"\n'


@pytest.mark.parametrize("change", ["mode", "owner", "content", "same length", "gone", "link", "pipe"])
def test_changed_file_is_repaired_and_its_unit_restarted(host: Host, change: str, tmp_path: Path) -> None:
    wanted, path = host.file("app.env", mode=0o440, restart=("app.service",)), host.room / "app.env"
    host.delivered(VALUES, wanted)
    before = what(path)
    host.programs.calls()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(path.read_text())
    if change == "mode":
        path.chmod(0o444)
    elif change == "owner":
        os.chown(path, OTHERS, 0)
    elif change == "content":
        path.write_text("x")
    elif change == "same length":
        path.write_text("x" * len(before[3]))
    else:
        path.unlink()
        if change == "link":
            path.symlink_to(elsewhere)
        elif change == "pipe":
            os.mkfifo(path)
    done = host.delivered(VALUES, wanted)
    assert done.written == [str(path)]
    assert not path.is_symlink() and what(path) == before
    assert elsewhere.read_text() == before[3]
    assert host.programs.calls() == ["systemctl --no-block try-restart -- app.service"]


# Removal


def test_other_files_in_a_delivered_directory_are_kept(host: Host) -> None:
    wanted = host.file("values", format="files", reload=("app.service",))
    host.delivered(VALUES, wanted)
    (host.room / "values" / "OF_A_PERSON").write_text("mine")
    host.programs.calls()
    done = host.delivered({"DB_HOST": "db.internal"}, wanted)
    assert sorted(done.removed) == [str(host.room / "values" / name) for name in ("DB_PASSWORD", "FLAG")]
    assert host.left() == ["values", "values/DB_HOST", "values/OF_A_PERSON"]
    assert len(host.programs.calls()) == 1


def test_files_that_are_no_longer_configured_are_removed(host: Host) -> None:
    host.delivered(VALUES, host.file("a.env"), host.file("b", format="files"), host.file("c.json", format="json"))
    done = host.delivered(VALUES, host.file("c.json", format="json"))
    assert host.left() == ["c.json"]
    assert len(done.removed) == 1 + len(VALUES)
    assert host.delivered(VALUES, host.file("c.json", format="json")) == Delivery()


def test_removed_directory_is_kept_if_it_contains_other_files(host: Host) -> None:
    host.delivered(VALUES, host.file("values", format="files"))
    (host.room / "values" / "OF_A_PERSON").write_text("mine")
    host.delivered(VALUES)
    assert host.left() == ["values", "values/OF_A_PERSON"]
    assert Record(str(host.record_file)).files == {}


def test_withdrawing_removes_all_delivered_files(host: Host) -> None:
    host.delivered(VALUES, host.file("a.env"), host.file("b", format="files"))
    record = Record(str(host.record_file))
    done = deliver.withdraw(record, list(record.files))
    assert not done.problems and record.files == {}
    assert host.left() == []


def test_delivered_files_that_others_removed_are_not_an_error(host: Host) -> None:
    host.delivered(VALUES, host.file("a.env"), host.file("deep/b", format="files"))
    (host.room / "a.env").unlink()
    for path in (host.room / "deep" / "b").iterdir():
        path.unlink()
    (host.room / "deep" / "b").rmdir()
    (host.room / "deep").rmdir()
    host.delivered(VALUES)
    assert Record(str(host.record_file)).files == {}


def test_manipulated_record_cannot_remove_files_elsewhere(host: Host) -> None:
    (host.room / "values").mkdir()
    (host.room / "precious").write_text("precious")
    entry = {"format": "files", "names": ["../precious", "..", ".", "/etc/hostname"]}
    record = {"files": {str(host.room / "values"): entry}, "pending": {}}
    host.record_file.write_text(json.dumps(record))
    host.record_file.chmod(0o600)
    host.delivered({})
    assert host.left() == ["precious"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"files": []}', '{"files": {"/x": 1}, "pending": 7}', '{"files": {}, "pending": 7}']
)
def test_damaged_record_is_replaced(host: Host, text: str) -> None:
    host.record_file.write_text(text)
    host.record_file.chmod(0o600)
    host.delivered(VALUES, host.file("app.env"))
    assert list(Record(str(host.record_file)).files) == [str(host.room / "app.env")]


def test_record_that_others_can_write_is_refused(host: Host) -> None:
    host.record_file.write_text("{}")
    host.record_file.chmod(0o666)
    with pytest.raises(InfisicalError, match="chmod 600") as refused:
        host.deliver(VALUES, host.file("app.env"))
    assert refused.value.conclusion == "unsafe_file"
    assert host.left() == []


# Units


def test_unit_that_uses_several_changed_files_is_notified_once(host: Host) -> None:
    wanted = (
        host.file("a.env", reload=("app.service", "other.service")),
        host.file("b.env", restart=("app.service",)),
        host.file("c.env", reload=("other.service",)),
    )
    done = host.delivered(VALUES, *wanted)
    assert done.notified == ["app.service", "other.service"]
    assert host.programs.calls() == [
        "systemctl --no-block try-restart -- app.service",
        "systemctl --no-block try-reload-or-restart -- other.service",
    ]
    assert Record(str(host.record_file)).pending == {}


def test_unknown_unit_is_not_an_error(host: Host) -> None:
    # systemctl ends with 5 for an unknown unit.
    host.programs.put("systemctl", '[ "$4" != later.service ] || exit 5')
    wanted = host.file("a.env", reload=("later.service", "app.service"))
    done = host.delivered(VALUES, wanted)
    assert (done.unknown, done.notified, done.problems) == (["later.service"], ["app.service"], {})
    host.programs.calls()
    assert host.delivered(VALUES, wanted).unknown == []
    assert host.programs.calls() == []


def test_only_units_of_changed_files_are_notified(host: Host) -> None:
    wanted = (
        host.file("a.env", names=("DB_*",), reload=("a.service",)),
        host.file("b.env", names=("FLAG",), reload=("b.service",)),
    )
    host.delivered(VALUES, *wanted)
    host.programs.calls()
    assert host.delivered({**VALUES, "FLAG": "false"}, *wanted).notified == ["b.service"]
    assert host.programs.calls() == ["systemctl --no-block try-reload-or-restart -- b.service"]


def test_failed_file_does_not_block_the_others(host: Host) -> None:
    wanted = (
        host.file("a.env", owner="no-such-user", reload=("a.service",)),
        host.file("b.env", reload=("b.service",)),
    )
    done = host.deliver(VALUES, *wanted)
    problem(done, host.room / "a.env")
    assert (done.written, done.notified) == ([str(host.room / "b.env")], ["b.service"])
    again = host.deliver(VALUES, *wanted)
    problem(again, host.room / "a.env")
    assert (again.written, again.notified) == ([], [])
    assert host.programs.calls() == ["systemctl --no-block try-reload-or-restart -- b.service"]


def test_failed_unit_notification_is_retried_by_next_delivery(host: Host) -> None:
    host.programs.put("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    wanted = host.file("a.env", reload=("app.service",), restart=("db.service",))
    done = host.deliver(VALUES, wanted)
    assert sorted(done.problems) == ["app.service", "db.service"]
    assert "Failed to connect to bus" in str(done.problems["app.service"]) and not done.notified
    host.programs.put("systemctl")
    host.programs.calls()
    done = host.delivered(VALUES, wanted)
    assert (done.written, done.notified) == ([], ["db.service", "app.service"])
    assert len(host.programs.calls()) == 2
    assert host.delivered(VALUES, wanted).notified == []


def test_removed_unit_option_drops_its_pending_restart(host: Host) -> None:
    host.programs.put("systemctl", "exit 1")
    host.deliver(VALUES, host.file("a.env", reload=("app.service",)))
    host.programs.put("systemctl")
    host.programs.calls()
    assert host.delivered(VALUES, host.file("a.env")).notified == []
    assert host.programs.calls() == []


def test_missing_systemctl_does_not_block_the_files(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = host.deliver(VALUES, host.file("a.env", reload=("app.service",)))
    assert "systemctl cannot be started" in problem(done, "app.service")
    assert done.written == [str(host.room / "a.env")]


# Killed deliveries and full disks

DIES = """
import os, sys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import deliver
room, step, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
real = getattr(os, step)
def dying(*arguments, **names):
    global left
    left -= 1
    if left < 0:
        os._exit(42)
    return real(*arguments, **names)
setattr(os, step, dying)
wanted = [deliver.File(room + "/values", format="files", reload=("app.service",)),
          deliver.File(room + "/app.env", restart=("db.service",))]
deliver.deliver({"A": "new", "C": "new"}, wanted, deliver.Record(room + "/record.json"))
"""


@pytest.mark.parametrize("step", ["rename", "unlink", "fchown"])
def test_killed_delivery_is_completed_by_the_next_delivery(host: Host, start: Any, step: str) -> None:
    wanted = (
        host.file("values", format="files", reload=("app.service",)),
        host.file("app.env", restart=("db.service",)),
    )
    deaths = 0
    for left in range(60):
        host.delivered({"A": "old", "B": "old"}, *wanted)
        host.programs.calls()
        process = start(DIES, host.room, step, left)
        process.communicate()
        died, told = process.returncode, set(host.programs.calls())
        assert died in (0, 42)
        deaths += died == 42
        assert {path.read_text() for path in (host.room / "values").glob("[ABC]")} <= {"old", "new"}
        assert (host.room / "app.env").read_text() in ('A="old"\nB="old"\n', 'A="new"\nC="new"\n')
        host.delivered({"A": "new", "C": "new"}, *wanted)
        told |= set(host.programs.calls())
        assert host.left() == ["app.env", "values", "values/A", "values/C"]
        assert told == {
            "systemctl --no-block try-restart -- db.service",
            "systemctl --no-block try-reload-or-restart -- app.service",
        }
        if died == 0:
            break
    else:
        pytest.fail("no delivery got through")
    assert deaths >= 1


def test_orphaned_file_from_a_killed_delivery_is_removed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*arguments: object, **names: object) -> None:
        raise KeyboardInterrupt

    wanted = host.file("values", format="files")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(deliver, "_notify_units", die)
        host.deliver({"A": "1"}, wanted)
    assert host.left() == ["values", "values/A"]
    host.delivered({}, wanted)
    assert host.left() == ["values"]


@pytest.mark.parametrize("how", ["wanted", "not wanted"])
def test_orphaned_temporary_file_is_removed(host: Host, how: str) -> None:
    wanted = host.file("app.env"), host.file("values", format="files")
    host.delivered({"A": "1"}, *wanted)
    foreign = host.room / f".other.env.{'0' * 16}"
    for path in (host.room / f".app.env.{'0' * 16}", host.room / "values" / f".A.{'0' * 16}", foreign):
        path.write_text("CANARY")
    host.delivered({"A": "2"}, *(wanted if how == "wanted" else ()))
    assert host.left() == [foreign.name, *(["app.env", "values", "values/A"] if how == "wanted" else [])]


def test_two_deliveries_of_one_job_do_not_run_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "_LOCK_WAIT", 0.0)
    path = str(host.record_file)
    with deliver.open_record(path), pytest.raises(InfisicalError) as refused, deliver.open_record(path):
        pass
    assert refused.value.conclusion == "busy"


def test_unwritable_record_prevents_any_change(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **names: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomic", full)
    with pytest.raises(InfisicalError, match=r"The record .* cannot be written: the disk is full"):
        host.deliver(VALUES, host.file("app.env", reload=("app.service",)))
    assert host.left() == []
    assert host.programs.calls() == []


def test_directory_at_a_files_path_is_not_replaced(host: Host) -> None:
    (host.room / "app.env").mkdir()
    done = host.deliver(VALUES, host.file("app.env"))
    assert "is a directory" in problem(done, host.room / "app.env")
    assert done.problems[str(host.room / "app.env")].conclusion == "unsafe_file"


# Another format at the same path


@pytest.mark.parametrize(("before", "after"), [("dotenv", "files"), ("files", "dotenv")])
def test_format_change_without_installation_is_refused(host: Host, before: str, after: str) -> None:
    host.delivered({"A": "1"}, host.file("x", format=before))
    left = host.left()
    assert "is a directory" in problem(host.deliver({"A": "1"}, host.file("x", format=after)), host.room / "x") or (
        after == "files"
    )
    assert host.left() == left
    assert len(host.delivered({}).removed) == 1
    assert host.left() == []


def test_outdated_record_does_not_remove_files_of_others(host: Host) -> None:
    host.delivered({"A": "1"}, host.file("x", format="files"))
    (host.room / "x" / "A").unlink()
    (host.room / "x").rmdir()
    (host.room / "A").write_text("not delivered")
    host.delivered({"A": "1"}, host.file("x"))
    host.delivered({})
    assert host.left() == ["A"]


def test_error_for_unwritable_record_lists_units_and_problems(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    real, records = files.write_atomic, iter([True, False])

    def full(path: str, *arguments: Any, **names: Any) -> None:
        if path == str(host.record_file) and not next(records):
            raise OSError(28, "No space left on device")
        real(path, *arguments, **names)

    monkeypatch.setattr(files, "write_atomic", full)
    wanted = host.file("x", restart=("app.service",)), host.file("y", owner="no-such-user")
    with pytest.raises(InfisicalError, match=r"^Files written: 1, removed: 0\. .*no-such-user.* The record ") as caught:
        host.deliver({"A": "1"}, *wanted)
    assert caught.value.details == {
        "changed": True, "written": [str(host.room / "x")], "removed": [], "notified": ["app.service"], "unknown": []
    }  # fmt: skip


# Hostile directories


@pytest.mark.parametrize("how", ["group", "everybody", "owner"])
@pytest.mark.parametrize("kind", ["dotenv", "files"])
def test_directory_that_others_can_write_to_is_refused(host: Host, how: str, kind: str) -> None:
    (host.room / "loose" / "below").mkdir(parents=True)
    loose = host.room / "loose"
    if how == "owner":
        os.chown(loose, OTHERS, 0)
    else:
        loose.chmod(0o775 if how == "group" else 0o1777)
    path = loose / "below" / "app"
    text = problem(host.deliver(VALUES, File(str(path), kind)), path)
    assert f"Nothing is written below {loose}" in text
    assert (f"chown root '{loose}'" in text) == (how != "everybody")  # such as /tmp, which must stay writable
    assert host.left() == ["loose", "loose/below"]


@pytest.mark.parametrize("where", ["last", "middle"])
@pytest.mark.parametrize("kind", ["dotenv", "files"])
def test_symbolic_link_to_a_directory_is_refused(host: Host, where: str, kind: str) -> None:
    target = host.room / "target"
    (target / "below").mkdir(parents=True)
    if where == "last":
        (host.room / "link").symlink_to(target / "below")
        path = host.room / "link" / "app"
    else:
        (host.room / "link").symlink_to(target)
        path = host.room / "link" / "below" / "app"
    text = problem(host.deliver(VALUES, File(str(path), kind)), path)
    assert "symbolic link" in text
    assert host.left() == ["link", "target", "target/below"]


def test_link_placed_after_the_check_is_not_followed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link replaces the directory just before the write."""
    (host.room / "values").mkdir()
    (host.room / "target").mkdir()
    real = files.write_atomic

    def late(path: str, *arguments: Any, **names: Any) -> None:
        if names.get("directory") is not None and (host.room / "values").is_dir():
            (host.room / "values").rename(host.room / "moved")
            (host.room / "values").symlink_to(host.room / "target")
        real(path, *arguments, **names)

    monkeypatch.setattr(files, "write_atomic", late)
    host.deliver({"A": "1"}, host.file("values", format="files"))
    assert not list((host.room / "target").iterdir())
    assert (host.room / "moved" / "A").read_text() == "1"


def test_link_at_the_temporary_files_path_is_not_followed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0" * 2 * size)
    monkeypatch.setattr(files, "sweep", lambda *paths: None)
    precious = host.room / "precious"
    precious.write_text("precious")
    host.delivered({}, host.file("other.env"))
    (host.room / f".app.env.{'0' * 16}").symlink_to(precious)
    done = host.deliver(VALUES, host.file("app.env"))
    problem(done, host.room / "app.env")
    assert precious.read_text() == "precious"


def test_removing_a_link_keeps_its_target(host: Host) -> None:
    host.delivered({"A": "1"}, host.file("values", format="files"))
    precious = host.room / "precious"
    precious.write_text("precious")
    (host.room / "values" / "A").unlink()
    (host.room / "values" / "A").symlink_to(precious)
    host.delivered({}, host.file("values", format="files"))
    assert host.left() == ["precious", "values"]


def test_removal_does_not_follow_a_linked_directory(host: Host) -> None:
    host.delivered({"A": "1"}, host.file("values", format="files"))
    (host.room / "values").rename(host.room / "target")
    (host.room / "values").symlink_to(host.room / "target")
    assert "symbolic link" in problem(host.deliver({}), host.room / "values")
    assert (host.room / "target" / "A").read_text() == "1"
    assert list(Record(str(host.record_file)).files) == [str(host.room / "values")]


def test_pipe_at_a_files_path_is_replaced(host: Host) -> None:
    os.mkfifo(host.room / "app.env", 0o400)
    began = time.monotonic()
    host.delivered(VALUES, host.file("app.env"))
    assert time.monotonic() - began < 5
    assert (host.room / "app.env").is_file()
