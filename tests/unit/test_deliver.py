# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files for applications: what is written, what is refused, only differences, and units told once about them."""

from __future__ import annotations

import contextlib
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
    """Deliveries to a room, with the record of a job."""

    def __init__(self, room: Path, programs: Programs) -> None:
        self.room, self.programs = room, programs
        self.record_file = room / "record.json"
        programs.put("systemctl")

    def deliver(self, values: dict[str, str], *wanted: File) -> Delivery:
        """One delivery, as a process of its own would do it."""
        with deliver.recorded(str(self.record_file)) as record:
            return deliver.deliver(values, [deliver.checked(file) for file in wanted], record)

    def delivered(self, values: dict[str, str], *wanted: File) -> Delivery:
        """The same, which must have had no problems."""
        done = self.deliver(values, *wanted)
        assert not done.problems
        return done

    def file(self, name: str, **options: Any) -> File:
        return File(str(self.room / name), **options)

    def left(self) -> list[str]:
        """All that is in the room but for the record and its lock."""
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
    """What changes when a file is written, but not when it is read."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


# Formats


def test_a_shell_that_reads_a_dotenv_file_gets_the_very_values(host: Host) -> None:
    done = host.delivered(VALUES, host.file("app.env"))
    path = host.room / "app.env"
    assert done.written == [str(path)]
    for name, value in VALUES.items():
        shown = subprocess.run(
            ["sh", "-c", f'. {path}; printf %s "${name}"'], capture_output=True, text=True, check=True, env={}
        )
        assert shown.stdout == value
    assert what(path)[:3] == (0, 0, 0o400)


def test_an_env_file_has_no_quotes_and_refuses_lines(host: Host) -> None:
    wanted = host.file("app.list", format="env_file")
    host.delivered({"A": ' "x" ', "B": "y=z"}, wanted)
    assert (host.room / "app.list").read_text() == 'A= "x" \nB=y=z\n'
    assert "'MAKEFLAGS'" in problem(host.deliver({"MAKEFLAGS": "x"}, wanted), host.room / "app.list")
    assert "holds a newline" in problem(host.deliver({"A": "CANARY\nx"}, wanted), host.room / "app.list")
    assert (host.room / "app.list").read_text().startswith("A=")
    host.delivered({"A": "x\ny", "B": "z"}, host.file("app.list", format="env_file", names=("B",)))


def test_json_holds_the_very_values_whatever_their_names(host: Host) -> None:
    values = {**VALUES, "not a variable": "1", "../up": "2", "LD_PRELOAD": "3"}
    host.delivered(values, host.file("app.json", format="json"))
    assert json.loads((host.room / "app.json").read_text("utf-8")) == values


def test_one_value_a_file_is_the_value_and_no_byte_more(host: Host) -> None:
    host.delivered(VALUES, host.file("values", format="files", mode=0o440, owner="nobody", group="root"))
    assert {path.name: path.read_text("utf-8") for path in (host.room / "values").iterdir()} == VALUES
    assert what(host.room / "values" / "FLAG")[:3] == (OTHERS, 0, 0o440)


def test_a_missing_directory_is_made_for_everybody_to_pass_through(host: Host) -> None:
    before = os.umask(0o077)
    try:
        host.delivered(VALUES, host.file("a/b/app.env"))
    finally:
        os.umask(before)
    assert [stat.S_IMODE((host.room / name).stat().st_mode) for name in ("a", "a/b")] == [0o755, 0o755]


def test_patterns_choose_the_names(host: Host) -> None:
    host.delivered(VALUES, host.file("db", format="files", names=("DB_*", "NOTHING")))
    assert host.left() == ["db", "db/DB_HOST", "db/DB_PASSWORD"]


@pytest.mark.parametrize(
    ("owner", "group", "expected"), [("nobody", "", (OTHERS, OTHERS)), ("nobody", "root", (OTHERS, 0))]
)
def test_a_file_belongs_to_its_owner_and_to_the_owners_group_unless_another_is_named(
    host: Host, owner: str, group: str, expected: tuple[int, int]
) -> None:
    host.delivered(VALUES, host.file("app.env", owner=owner, group=group))
    assert what(host.room / "app.env")[:2] == expected


# Refusals


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "BASH_ENV", "a b", "a$(id)", "1A", "A\nB", "INFISICAL_TOKEN"])
def test_a_name_that_could_do_harm_in_an_environment_keeps_the_file_as_it_is(host: Host, name: str) -> None:
    host.delivered({"A": "old"}, host.file("app.env"))
    before = what(host.room / "app.env")
    done = host.deliver({"A": "CANARY", name: "CANARY"}, host.file("app.env", reload=("app.service",)))
    text = problem(done, host.room / "app.env")
    assert "stays as it is" in text and f"'{name}'" in text and "allow" in text and "format json" in text
    assert what(host.room / "app.env") == before
    assert (done.written, done.told, host.programs.calls()) == ([], [], [])


def test_a_dangerous_name_that_is_allowed_is_written(host: Host) -> None:
    host.delivered({"PATH": "/opt/bin"}, host.file("app.env", allow=("PATH",)))
    assert (host.room / "app.env").read_text() == 'PATH="/opt/bin"\n'


@pytest.mark.parametrize(
    "name", ["../passwd", "a/b", "..", ".", ".hidden", "-rf", "", "A\n", "A\0", "é", "A" * 238, "a b", "$(id)"]
)
def test_a_name_that_is_no_safe_name_of_a_file_keeps_the_directory_as_it_is(host: Host, name: str) -> None:
    host.delivered({"A": "old"}, host.file("values", format="files"))
    done = host.deliver({"A": "CANARY", name: "CANARY"}, host.file("values", format="files"))
    text = problem(done, host.room / "values")
    assert "no name of a file" in text and "rename it in Infisical" in text
    assert host.left() == ["values", "values/A"]
    assert (host.room / "values" / "A").read_text() == "old"


def test_the_longest_name_of_a_file_can_be_written(host: Host) -> None:
    host.delivered({"A" * 237: "1"}, host.file("values", format="files"))
    assert host.left() == ["values", "values/" + "A" * 237]


def test_many_refused_names_are_counted_and_only_five_named(host: Host) -> None:
    text = problem(host.deliver({f"LD_{n}": "1" for n in range(9)}, host.file("app.env")), host.room / "app.env")
    assert "'LD_4'" in text and "'LD_5'" not in text and "and 4 more" in text


def test_a_value_with_a_nul_byte_goes_into_files_but_into_no_environment(host: Host) -> None:
    values = {"BINARY": "CANARY\0end"}
    assert "'BINARY'" in problem(host.deliver(values, host.file("app.env")), host.room / "app.env")
    host.delivered(values, host.file("values", format="files"))
    assert (host.room / "values" / "BINARY").read_bytes() == b"CANARY\0end"


@pytest.mark.parametrize(
    ("options", "words"),
    [({"owner": "no-such-user"}, "no user 'no-such-user'"), ({"group": "no-such-group"}, "no group 'no-such-group'")],
)
def test_an_unknown_owner_is_named(host: Host, options: dict[str, str], words: str) -> None:
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
        ({"format": "yaml"}, "not one of dotenv, env_file, json, files"),
        ({"mode": 0o666}, "everybody write"),
        ({"mode": 0o402}, "everybody write"),
        ({"mode": 0o4755}, "everybody write"),
        ({"mode": -1}, "everybody write"),
        ({"reload": ("app",)}, "'app' is no name of a unit"),
        ({"restart": ("--force.service --now",)}, "is no name of a unit"),
        ({"restart": ("a/b.service",)}, "is no name of a unit"),
        ({"reload": ("app.service\n",)}, "is no name of a unit"),
    ],
)
def test_what_no_file_can_be_is_refused_before_anything_happens(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refused:
        deliver.checked(File(**{"path": "/srv/app.env", **options}))
    assert refused.value.option == "files"


def test_one_path_has_one_spelling() -> None:
    assert deliver.checked(File("//srv/./x/../app.env")).path == "/srv/app.env"


# Only differences


@pytest.mark.parametrize("kind", ["dotenv", "json", "files"])
def test_a_second_delivery_touches_nothing(host: Host, kind: str) -> None:
    wanted = host.file("app", format=kind, owner="nobody", reload=("app.service",))
    host.delivered(VALUES, wanted)
    assert host.programs.calls() == ["systemctl --no-block try-reload-or-restart -- app.service"]
    paths = [host.record_file, *(path for path in host.room.rglob("*") if path.is_file())]
    before = [touched(path) for path in paths]
    assert host.delivered(VALUES, wanted) == Delivery()
    assert [touched(path) for path in paths] == before
    assert host.programs.calls() == []


def test_only_the_value_that_changed_is_written(host: Host) -> None:
    wanted = host.file("values", format="files")
    host.delivered(VALUES, wanted)
    before = (host.room / "values" / "DB_HOST").stat()
    done = host.delivered({**VALUES, "FLAG": "false"}, wanted)
    assert done.written == [str(host.room / "values" / "FLAG")]
    after = (host.room / "values" / "DB_HOST").stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)  # not the time it was read


def test_a_reader_that_holds_the_old_file_keeps_all_of_it(host: Host) -> None:
    host.delivered({"A": "old"}, host.file("app.env"))
    with (host.room / "app.env").open() as reader:
        host.delivered({"A": "new"}, host.file("app.env"))
        assert reader.read() == 'A="old"\n'


@pytest.mark.parametrize("change", ["mode", "owner", "content", "same length", "gone", "link", "pipe"])
def test_what_somebody_changed_is_repaired_and_the_unit_told(host: Host, change: str, tmp_path: Path) -> None:
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


# What nobody wants any more


def test_a_name_that_is_gone_from_the_vault_is_gone_from_the_directory_but_nothing_else(host: Host) -> None:
    wanted = host.file("values", format="files", reload=("app.service",))
    host.delivered(VALUES, wanted)
    (host.room / "values" / "OF_A_PERSON").write_text("mine")
    host.programs.calls()
    done = host.delivered({"DB_HOST": "db.internal"}, wanted)
    assert sorted(done.removed) == [str(host.room / "values" / name) for name in ("DB_PASSWORD", "FLAG")]
    assert host.left() == ["values", "values/DB_HOST", "values/OF_A_PERSON"]
    assert len(host.programs.calls()) == 1


def test_files_that_are_not_wanted_any_more_are_removed(host: Host) -> None:
    host.delivered(VALUES, host.file("a.env"), host.file("b", format="files"), host.file("c.json", format="json"))
    done = host.delivered(VALUES, host.file("c.json", format="json"))
    assert host.left() == ["c.json"]
    assert len(done.removed) == 1 + len(VALUES)
    assert host.delivered(VALUES, host.file("c.json", format="json")) == Delivery()


def test_a_directory_in_which_somebody_else_has_a_file_stays_with_it(host: Host) -> None:
    host.delivered(VALUES, host.file("values", format="files"))
    (host.room / "values" / "OF_A_PERSON").write_text("mine")
    host.delivered(VALUES)
    assert host.left() == ["values", "values/OF_A_PERSON"]
    assert Record(str(host.record_file)).files == {}


def test_withdrawing_removes_all_that_was_delivered(host: Host) -> None:
    host.delivered(VALUES, host.file("a.env"), host.file("b", format="files"))
    record = Record(str(host.record_file))
    done = deliver.withdraw(record, list(record.files))
    assert not done.problems and record.files == {}
    assert host.left() == []


def test_what_was_removed_by_somebody_else_is_no_problem(host: Host) -> None:
    host.delivered(VALUES, host.file("a.env"), host.file("deep/b", format="files"))
    (host.room / "a.env").unlink()
    for path in (host.room / "deep" / "b").iterdir():
        path.unlink()
    (host.room / "deep" / "b").rmdir()
    (host.room / "deep").rmdir()
    host.delivered(VALUES)
    assert Record(str(host.record_file)).files == {}


def test_a_record_never_leads_out_of_its_directory(host: Host) -> None:
    (host.room / "values").mkdir()
    (host.room / "precious").write_text("precious")
    entry = {"format": "files", "names": ["../precious", "..", ".", "/etc/hostname"]}
    record = {"files": {str(host.room / "values"): entry}, "untold": {"reload": [], "restart": []}}
    host.record_file.write_text(json.dumps(record))
    host.record_file.chmod(0o600)
    host.delivered({})
    assert host.left() == ["precious"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"files": []}', '{"files": {"/x": 1}, "untold": {}}', '{"files": {}, "untold": {}}']
)
def test_a_damaged_record_is_written_anew(host: Host, text: str) -> None:
    host.record_file.write_text(text)
    host.record_file.chmod(0o600)
    host.delivered(VALUES, host.file("app.env"))
    assert list(Record(str(host.record_file)).files) == [str(host.room / "app.env")]


def test_a_record_that_others_could_have_written_is_refused(host: Host) -> None:
    host.record_file.write_text("{}")
    host.record_file.chmod(0o666)
    with pytest.raises(InfisicalError, match="chmod 600") as refused:
        host.deliver(VALUES, host.file("app.env"))
    assert refused.value.conclusion == "unsafe_file"
    assert host.left() == []


# Units


def test_a_unit_of_several_files_is_told_once_and_restarted_where_one_asks_for_it(host: Host) -> None:
    wanted = (
        host.file("a.env", reload=("app.service", "other.service")),
        host.file("b.env", restart=("app.service",)),
        host.file("c.env", reload=("other.service",)),
    )
    done = host.delivered(VALUES, *wanted)
    assert done.told == ["app.service", "other.service"]
    assert host.programs.calls() == [
        "systemctl --no-block try-restart -- app.service",
        "systemctl --no-block try-reload-or-restart -- other.service",
    ]
    assert Record(str(host.record_file)).untold == {"reload": [], "restart": []}


def test_a_unit_that_is_not_there_yet_is_no_failure_and_not_told_later(host: Host) -> None:
    # systemctl ends with 5 for a unit that is not there, and so it is for one that does not run.
    host.programs.put("systemctl", '[ "$4" != later.service ] || exit 5')
    wanted = host.file("a.env", reload=("later.service", "app.service"))
    done = host.delivered(VALUES, wanted)
    assert (done.unknown, done.told, done.problems) == (["later.service"], ["app.service"], {})
    host.programs.calls()
    assert host.delivered(VALUES, wanted).unknown == []
    assert host.programs.calls() == []


def test_only_units_of_files_that_changed_are_told(host: Host) -> None:
    wanted = (
        host.file("a.env", names=("DB_*",), reload=("a.service",)),
        host.file("b.env", names=("FLAG",), reload=("b.service",)),
    )
    host.delivered(VALUES, *wanted)
    host.programs.calls()
    assert host.delivered({**VALUES, "FLAG": "false"}, *wanted).told == ["b.service"]
    assert host.programs.calls() == ["systemctl --no-block try-reload-or-restart -- b.service"]


def test_a_file_that_fails_keeps_no_other_from_being_written_and_told(host: Host) -> None:
    wanted = (
        host.file("a.env", owner="no-such-user", reload=("a.service",)),
        host.file("b.env", reload=("b.service",)),
    )
    done = host.deliver(VALUES, *wanted)
    problem(done, host.room / "a.env")
    assert (done.written, done.told) == ([str(host.room / "b.env")], ["b.service"])
    again = host.deliver(VALUES, *wanted)
    problem(again, host.room / "a.env")
    assert (again.written, again.told) == ([], [])
    assert host.programs.calls() == ["systemctl --no-block try-reload-or-restart -- b.service"]


def test_a_unit_that_could_not_be_told_is_told_with_the_next_delivery(host: Host) -> None:
    host.programs.put("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    wanted = host.file("a.env", reload=("app.service",), restart=("db.service",))
    done = host.deliver(VALUES, wanted)
    assert sorted(done.problems) == ["app.service", "db.service"]
    assert "Failed to connect to bus" in str(done.problems["app.service"]) and not done.told
    host.programs.put("systemctl")
    host.programs.calls()
    done = host.delivered(VALUES, wanted)
    assert (done.written, done.told) == ([], ["db.service", "app.service"])
    assert len(host.programs.calls()) == 2
    assert host.delivered(VALUES, wanted).told == []


def test_a_unit_that_nobody_names_any_more_is_not_told_later(host: Host) -> None:
    host.programs.put("systemctl", "exit 1")
    host.deliver(VALUES, host.file("a.env", reload=("app.service",)))
    host.programs.put("systemctl")
    host.programs.calls()
    assert host.delivered(VALUES, host.file("a.env")).told == []
    assert host.programs.calls() == []


def test_without_systemctl_the_files_are_there_and_the_unit_is_a_problem(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = host.deliver(VALUES, host.file("a.env", reload=("app.service",)))
    assert "systemctl cannot be started" in problem(done, "app.service")
    assert done.written == [str(host.room / "a.env")]


# Bad luck

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
def test_whenever_a_delivery_dies_the_next_one_completes_it_and_tells_the_units(
    host: Host, start: Any, step: str
) -> None:
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


def test_what_a_dead_delivery_was_about_to_write_is_removed_when_nobody_wants_it_any_more(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object, **names: object) -> None:
        raise KeyboardInterrupt

    wanted = host.file("values", format="files")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(deliver, "_tell", die)
        host.deliver({"A": "1"}, wanted)
    assert host.left() == ["values", "values/A"]
    host.delivered({}, wanted)
    assert host.left() == ["values"]


@pytest.mark.parametrize("how", ["wanted", "not wanted"])
def test_what_a_dead_delivery_had_begun_to_write_is_removed(host: Host, how: str) -> None:
    wanted = host.file("app.env"), host.file("values", format="files")
    host.delivered({"A": "1"}, *wanted)
    foreign = host.room / f".other.env.{'0' * 16}"
    for path in (host.room / f".app.env.{'0' * 16}", host.room / "values" / f".A.{'0' * 16}", foreign):
        path.write_text("CANARY")
    host.delivered({"A": "2"}, *(wanted if how == "wanted" else ()))
    assert host.left() == [foreign.name, *(["app.env", "values", "values/A"] if how == "wanted" else [])]


def test_two_deliveries_of_a_job_do_not_run_at_a_time(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "_LOCK_WAIT", 0.0)
    path = str(host.record_file)
    with deliver.recorded(path), pytest.raises(InfisicalError) as refused, deliver.recorded(path):
        pass
    assert refused.value.conclusion == "busy"


def test_where_the_record_cannot_be_kept_nothing_is_written(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **names: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomic", full)
    with pytest.raises(InfisicalError, match=r"The record .* cannot be written: the disk is full"):
        host.deliver(VALUES, host.file("app.env", reload=("app.service",)))
    assert host.left() == []
    assert host.programs.calls() == []


def test_a_directory_in_place_of_the_file_is_not_touched(host: Host) -> None:
    (host.room / "app.env").mkdir()
    done = host.deliver(VALUES, host.file("app.env"))
    assert "is a directory" in problem(done, host.room / "app.env")
    assert done.problems[str(host.room / "app.env")].conclusion == "unsafe_file"


# Another format at the same path


@pytest.mark.parametrize("before", ["dotenv", "files"])
@pytest.mark.parametrize("after", ["json", "files", "dotenv", "env_file"])
def test_format_can_change_at_the_same_path(host: Host, before: str, after: str) -> None:
    host.delivered({"A": "1"}, host.file("app/x", format=before))
    host.delivered({"A": "1"}, host.file("app/x", format=after, restart=("app.service",)))
    assert host.left() == ["app", "app/x", *(["app/x/A"] if after == "files" else [])]
    assert host.programs.calls() == ["systemctl --no-block try-restart -- app.service"] * (before != after)
    assert not host.delivered({"A": "1"}, host.file("app/x", format=after)).written
    host.delivered({})
    assert host.left() == ["app"]


@pytest.mark.parametrize("step", ["rename", "unlink", "rmdir", "mkdir"])
@pytest.mark.parametrize(("before", "after"), [("dotenv", "files"), ("files", "dotenv")])
def test_change_of_format_that_dies_is_completed(
    host: Host, monkeypatch: pytest.MonkeyPatch, before: str, after: str, step: str
) -> None:
    wanted = host.file("x", format=after, restart=("app.service",))
    real, deaths = getattr(os, step), 0
    for number in range(10):
        host.delivered({"A": "1", "B": "2"}, host.file("x", format=before))
        host.programs.calls()
        left = [number]

        # pylint: disable-next=dangerous-default-value
        def dying(*arguments: Any, left: list[int] = left, **names: Any) -> Any:
            left[0] -= 1
            if left[0] == -1:
                raise KeyboardInterrupt
            return real(*arguments, **names)

        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            patched.setattr(os, step, dying)
            host.deliver({"A": "1", "B": "2"}, wanted)
        deaths += left[0] < 0
        host.delivered({"A": "1", "B": "2"}, wanted)
        assert host.left() == (["x", "x/A", "x/B"] if after == "files" else ["x"])
        assert set(host.programs.calls()) == {"systemctl --no-block try-restart -- app.service"}
        if left[0] >= 0:
            break
    assert deaths or step == ("mkdir" if after == "dotenv" else "rmdir")


def test_directory_with_a_foreign_file_does_not_become_a_file(host: Host) -> None:
    host.delivered({"A": "1"}, host.file("x", format="files"))
    (host.room / "x" / "theirs").touch()
    text = problem(host.deliver({"A": "1"}, host.file("x")), host.room / "x")
    assert "'theirs'" in text and host.left() == ["x", "x/A", "x/theirs"]
    (host.room / "x" / "theirs").unlink()
    host.delivered({"A": "1"}, host.file("x"))
    assert host.left() == ["x"]


@pytest.mark.parametrize(("before", "after"), [("dotenv", "files"), ("files", "json")])
@pytest.mark.parametrize("fails", ["record", "record with the new format", "file"])
def test_full_disk_reports_files_of_the_old_format(
    host: Host, monkeypatch: pytest.MonkeyPatch, before: str, after: str, fails: str
) -> None:
    host.delivered({"A": "1", "B": "2"}, host.file("x", format=before))
    wanted, old = host.file("x", format=after), host.left()
    real, records = files.write_atomic, iter(["record", "record with the new format", "last record"])

    def full(path: str, *arguments: Any, **names: Any) -> None:
        if (next(records) if path == str(host.record_file) else "file") == fails:
            raise OSError(28, "No space left on device")
        real(path, *arguments, **names)

    with monkeypatch.context() as patched:
        patched.setattr(files, "write_atomic", full)
        if fails == "file":
            assert "the files of its former format are removed: the disk is full" in problem(
                host.deliver({"A": "1", "B": "2"}, wanted), host.room / "x"
            )
        else:
            with pytest.raises(InfisicalError, match=r"The record .* cannot be written: the disk is full") as refused:
                host.deliver({"A": "1", "B": "2"}, wanted)
            lost = [] if fails == "record" else [str(host.room / name) for name in old if name != "x" or len(old) == 1]
            assert sorted(refused.value.details.get("removed", [])) == lost
            assert str(refused.value).startswith(f"Files written: 0, removed: {len(lost)}.") is bool(lost)
            assert host.left() == ([] if lost else old)
    host.delivered({"A": "1", "B": "2"}, wanted)
    assert host.left() == (["x", "x/A", "x/B"] if after == "files" else ["x"])


def test_unwritable_record_keeps_units_and_problems(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
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
        "changed": True, "written": [str(host.room / "x")], "removed": [], "told": ["app.service"], "unknown": []
    }  # fmt: skip


def test_new_format_without_values_removes_the_old_file(host: Host) -> None:
    host.delivered({"A": "1"}, host.file("x"))
    empty = host.file("x", format="files", names=("B",), restart=("app.service",))
    assert host.delivered({"A": "1"}, empty).removed == [str(host.room / "x")]
    assert not [path for path in host.left() if (host.room / path).is_file()]
    assert host.programs.calls() == ["systemctl --no-block try-restart -- app.service"]
    assert not host.delivered({"A": "1"}, empty).removed and not host.programs.calls()


def test_refused_name_keeps_the_file_of_the_other_format(host: Host) -> None:
    host.delivered({"PATH": "1"}, host.file("x", format="files"))
    assert "'PATH'" in problem(host.deliver({"PATH": "1"}, host.file("x")), host.room / "x")
    assert host.left() == ["x", "x/PATH"]


# Hostile directories


@pytest.mark.parametrize("how", ["group", "everybody", "owner"])
@pytest.mark.parametrize("kind", ["dotenv", "files"])
def test_nothing_is_written_where_others_may_change_a_directory_above(host: Host, how: str, kind: str) -> None:
    (host.room / "loose" / "below").mkdir(parents=True)
    loose = host.room / "loose"
    if how == "owner":
        os.chown(loose, OTHERS, 0)
    else:
        loose.chmod(0o775 if how == "group" else 0o1777)
    path = loose / "below" / "app"
    text = problem(host.deliver(VALUES, File(str(path), kind)), path)
    assert f"Nothing is written below {loose}" in text and f"chown root '{loose}'" in text
    assert host.left() == ["loose", "loose/below"]


@pytest.mark.parametrize("where", ["last", "middle"])
@pytest.mark.parametrize("kind", ["dotenv", "files"])
def test_a_link_in_place_of_a_directory_is_not_followed(host: Host, where: str, kind: str) -> None:
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


def test_a_link_that_is_placed_after_the_look_leads_nowhere(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is renamed and a link put in its place just before the write."""
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


def test_a_link_in_place_of_the_temporary_file_is_not_followed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0" * 2 * size)
    monkeypatch.setattr(files, "sweep", lambda *paths: None)
    precious = host.room / "precious"
    precious.write_text("precious")
    host.delivered({}, host.file("other.env"))
    (host.room / f".app.env.{'0' * 16}").symlink_to(precious)
    done = host.deliver(VALUES, host.file("app.env"))
    problem(done, host.room / "app.env")
    assert precious.read_text() == "precious"


def test_a_link_in_place_of_what_is_to_be_removed_loses_the_link_only(host: Host) -> None:
    host.delivered({"A": "1"}, host.file("values", format="files"))
    precious = host.room / "precious"
    precious.write_text("precious")
    (host.room / "values" / "A").unlink()
    (host.room / "values" / "A").symlink_to(precious)
    host.delivered({}, host.file("values", format="files"))
    assert host.left() == ["precious", "values"]


def test_removing_goes_through_no_link_either(host: Host) -> None:
    host.delivered({"A": "1"}, host.file("values", format="files"))
    (host.room / "values").rename(host.room / "target")
    (host.room / "values").symlink_to(host.room / "target")
    assert "symbolic link" in problem(host.deliver({}), host.room / "values")
    assert (host.room / "target" / "A").read_text() == "1"
    assert list(Record(str(host.record_file)).files) == [str(host.room / "values")]


def test_a_pipe_keeps_nobody_waiting(host: Host) -> None:
    os.mkfifo(host.room / "app.env", 0o400)
    began = time.monotonic()
    host.delivered(VALUES, host.file("app.env"))
    assert time.monotonic() - began < 5
    assert (host.room / "app.env").is_file()
