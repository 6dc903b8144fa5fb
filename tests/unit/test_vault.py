# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault: what goes in comes out, and whatever is wrong with a file is one clear error that changes nothing."""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

pytest.importorskip("cryptography", reason="the vault needs cryptography")

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical import files, keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical import vault as room
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.errors import (
    Conclusion,
    ConfigurationError,
    InfisicalError,
    MissingLibrary,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.model import Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.plan import Change, Plan, build
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import Contents, Vault

CANARY = "CANARY-value"
PASSPHRASE = keys.Passphrase("CANARY passphrase")
CHEAP = (1, 1, 1)
HEADER = 142
NOBODY = 65534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")

HOLD_LOCK = """
import sys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical import files
with files.locked(sys.argv[1], 5):
    print("locked", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scrypt cost nothing; a bad byte in the header of such a vault asks for no large cost either."""
    monkeypatch.setattr(room, "NEW_COST", CHEAP)


@pytest.fixture
def key(tmp_path: Path) -> keys.KeySource:
    keys.make_key_file(str(tmp_path / "key"))
    return keys.KeyFile(str(tmp_path / "key"))


@pytest.fixture
def vault(tmp_path: Path, key: keys.KeySource) -> Vault:
    """A vault that is no file yet, in a folder of its own."""
    (tmp_path / "v").mkdir(mode=0o700)
    return Vault(str(tmp_path / "v" / "vault"), key)


def secret(key: str, value: str | None = CANARY, **others: Any) -> Secret:
    return Secret(**{"key": key, "value": value, "environment": "prod", "project_id": "p1", **others})


def apply(vault: Vault, wanted: dict[str, Secret], job: str = "", record: dict[str, Any] | None = None) -> Contents:
    """Make these entries all that the vault holds."""
    with vault.writing(create=True) as draft:
        return draft.apply(build(draft.contents.secrets, wanted, prune=True), job=job, record=record)


def values(vault: Vault) -> dict[str, str | None]:
    return {name: entry.value for name, entry in vault.read().secrets.items()}


def listed(vault: Vault) -> list[str]:
    return sorted(os.listdir(os.path.dirname(vault.path)))


def refused(action: Callable[[], object], conclusion: Conclusion | None = None) -> InfisicalError:
    """The error of an action; nothing that would be shown of it may hold a value or passphrase."""
    with pytest.raises(InfisicalError) as caught:
        action()
    error = caught.value
    shown = f"{error!r} {error} {error.args} {error.details} {''.join(traceback.format_exception(error))}"
    assert "CANARY" not in shown
    if conclusion is not None:
        assert error.conclusion is conclusion, error
    return error


def changed(vault: Vault, data: bytes) -> None:
    Path(vault.path).write_bytes(data)


def sealed(vault: Vault, text: bytes, **header: Any) -> None:
    """Put a text into the vault that is sealed as it should be, whatever the text is."""
    opened = vault._open()
    changed(vault, room._sealed(opened.header._replace(**header), opened.data_key, text))


def identity(vault: Vault) -> tuple[int, int, bytes]:
    status = os.stat(vault.path)
    return status.st_ino, status.st_mtime_ns, Path(vault.path).read_bytes()


def as_nobody(action: Callable[[], object]) -> str:
    """Run an action in a process of another user, and give its error's conclusion and text, or 'done'."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "died"
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action()
            said = "done"
        except InfisicalError as error:
            said = f"{error.conclusion.value}: {error}"
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return said


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users can reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


# What goes in comes out

ODD = ["", " ", "\n", "\r\n", "a\nb\n", "\x00", "\x00\x01\x7f", "\u2028\u2029\x85", "\ufeff", "🗝️ ключ 鍵", "\U0010ffff", '"\\/',
       "{}", "null", "\\u0041", "  outer  ", "'", "a" * 1_000_000, "é", "e\u0301"]  # fmt: skip


@pytest.mark.parametrize("kind", ["key", "passphrase"])
def test_odd_names_and_values_come_back_as_they_were(tmp_path: Path, key: keys.KeySource, kind: str) -> None:
    source = key if kind == "key" else PASSPHRASE
    wanted = {name: secret(name, value) for name, value in zip(ODD, reversed(ODD))}
    wanted.update({f"N{index}": secret(f"n{index}", value) for index, value in enumerate(ODD)})
    apply(Vault(str(tmp_path / "vault"), source), wanted)
    vault = Vault(str(tmp_path / "vault"), source)
    assert values(vault) == {name: entry.value for name, entry in wanted.items()}
    assert {name: entry.key for name, entry in vault.read().secrets.items()} == {
        name: entry.key for name, entry in wanted.items()
    }
    for name, entry in wanted.items():
        found = vault.read().get(name)
        assert found is not None
        assert found == vault.read().secrets[name]
        assert (found.key, found.value) == (entry.key, entry.value)
    assert vault.verify().count == len(wanted)


def test_all_that_belongs_to_an_entry_comes_back(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "now", lambda: "2026-01-02T03:04:05Z")
    places = [{"project_id": p, "environment": e, "secret_path": s} for p in "pq" for e in "ab" for s in ("/", "/x/y")]
    wanted = {
        f"NAME_{index}": secret(f"KEY_{index % 3}", f"{CANARY}{index}", version=index, id=f"id-{index}", **place)
        for index, place in enumerate(places * 2)
    }
    apply(vault, wanted, "job", {"etag": 'W/"x"', "nested": {"list": [1, None, "ü"]}})
    contents = vault.read()
    assert contents.secrets == {
        name: Secret(**{**vars(entry), "job": "job", "synced_at": "2026-01-02T03:04:05Z"})
        for name, entry in wanted.items()
    }
    assert contents.jobs == {"job": {"etag": 'W/"x"', "nested": {"list": [1, None, "ü"]}}}
    assert contents.count == len(wanted)
    assert set(contents.of_job("job")) == set(wanted)
    assert contents.of_job("other") == {}


def test_a_vaults_head_is_known_without_its_entries_being_read(vault: Vault) -> None:
    vault.put("NAME", CANARY)
    sealed(vault, b'{"jobs":{"j":{}},"origins":[],"count":7}\nthis is no JSON')
    contents = vault.read()
    assert (contents.count, contents.jobs, contents.generation) == (7, {"j": {}}, 1)
    refused(lambda: contents.secrets, Conclusion.VAULT_DAMAGED)
    refused(lambda: contents.get("NAME"), Conclusion.VAULT_DAMAGED)
    refused(vault.verify, Conclusion.VAULT_DAMAGED)


def test_a_name_that_is_not_there_is_none(vault: Vault) -> None:
    vault.put("NAME", CANARY)
    assert vault.read().get("OTHER") is None


def test_a_vault_has_an_id_of_its_own_that_stays(vault: Vault, tmp_path: Path, key: keys.KeySource) -> None:
    vault.put("NAME", CANARY)
    other = Vault(str(tmp_path / "other"), key)
    other.put("NAME", CANARY)
    first = vault.read()
    vault.put("NAME", "x")
    second = vault.read()
    assert re.fullmatch("[0-9a-f]{32}", first.vault_id)
    assert first.vault_id == second.vault_id != other.read().vault_id
    assert len(first.hash_key) == 32
    assert first.hash_key == second.hash_key != other.read().hash_key
    assert (first.generation, second.generation) == (1, 2)


def test_the_same_entries_never_give_the_same_file(vault: Vault) -> None:
    vault.put("A", CANARY)
    one = Path(vault.path).read_bytes()
    vault.put("A", CANARY + "x")
    two = Path(vault.path).read_bytes()
    nonce = slice(HEADER - 12, HEADER)
    assert one[nonce] != two[nonce]
    assert CANARY.encode() not in one + two


def test_no_text_of_a_vault_holds_a_value(vault: Vault) -> None:
    with vault.writing(create=True) as draft:
        contents = draft.apply(Plan((Change("create", "N", None, secret("N")),), ()), record={"etag": CANARY})
        shown = f"{contents!r} {draft!r} {draft.contents!r} {vault!r}"
    read = vault.read()
    assert read.secrets["N"].value == CANARY
    assert "CANARY" not in f"{shown} {read!r} {read} {read.secrets}"
    assert repr(read.hash_key) not in f"{read!r}"


# Generations


def test_a_plan_without_changes_writes_nothing(vault: Vault) -> None:
    apply(vault, {"A": secret("A")}, "job", {"etag": "1"})
    before = identity(vault)
    for record in (None, {"etag": "1"}):
        with vault.writing() as draft:
            contents = draft.apply(Plan((), ("A",)), job="job", record=record)
        assert contents.generation == 1
        assert identity(vault) == before
    assert listed(vault) == ["vault", "vault.lock"]
    assert apply(vault, {"A": secret("A")}, "job", {"etag": "2"}).generation == 2


def test_each_apply_of_a_draft_is_a_generation_upon_the_one_before(vault: Vault) -> None:
    with vault.writing(create=True) as draft:
        assert (draft.contents.generation, draft.contents.secrets, draft.contents.count) == (0, {}, 0)
        draft.apply(Plan((Change("create", "A", None, secret("A")),), ()))
        assert set(draft.contents.secrets) == {"A"}
        after = draft.apply(Plan((Change("create", "B", None, secret("B")),), ()))
        assert set(after.secrets) == {"A", "B"}
    assert set(vault.read().secrets) == {"A", "B"}
    assert vault.read().generation == 2


def test_a_draft_that_is_not_applied_makes_no_vault(vault: Vault) -> None:
    with vault.writing(create=True) as draft:
        draft.apply(Plan((), ()))
    assert not vault.exists()
    with pytest.raises(RuntimeError), vault.writing(create=True):
        raise RuntimeError
    assert listed(vault) == ["vault.lock"]
    refused(vault.read, Conclusion.VAULT_MISSING)


def test_an_empty_vault_can_be_kept_for_its_record(vault: Vault) -> None:
    apply(vault, {}, "job", {"etag": "1"})
    contents = vault.verify()
    assert (contents.count, contents.secrets, contents.jobs) == (0, {}, {"job": {"etag": "1"}})


def test_the_generation_before_is_kept_whole(vault: Vault) -> None:
    vault.put("A", "one")
    first = Path(vault.path).read_bytes()
    assert not os.path.exists(vault.previous)
    vault.put("A", "two")
    assert Path(vault.previous).read_bytes() == first
    vault.put("A", "three")
    assert values(Vault(vault.previous, vault._keys)) == {"A": "two"}
    assert values(vault) == {"A": "three"}
    assert listed(vault) == ["vault", "vault.lock", "vault.previous"]
    for name in listed(vault):
        assert stat.S_IMODE(os.stat(os.path.join(os.path.dirname(vault.path), name)).st_mode) == 0o600


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_the_generation_before_is_kept_where_there_are_no_hard_links(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def none(*arguments: object, **options: object) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(os, "link", none)
    vault.put("A", "one")
    vault.put("A", "two")
    assert values(Vault(vault.previous, vault._keys)) == {"A": "one"}
    assert values(vault) == {"A": "two"}
    assert listed(vault) == ["vault", "vault.lock", "vault.previous"]


def test_entries_leave_no_origin_behind_that_nothing_uses(vault: Vault) -> None:
    apply(vault, {"A": secret("A", project_id="p1"), "B": secret("B", project_id="p2")}, "one")
    vault.remove("A")
    contents = vault.read()
    assert contents.origins == (("one", "p2", "prod", "/"),)
    assert contents.secrets["B"].project_id == "p2"


# Who owns an entry


def test_what_is_written_belongs_to_the_job_that_wrote_it(vault: Vault) -> None:
    apply(vault, {"A": secret("A", job="somebody else's", synced_at="long ago")}, "one")
    entry = vault.read().secrets["A"]
    assert entry.job == "one"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.synced_at)


def test_a_record_is_dropped_where_another_touches_an_entry_of_its_job(vault: Vault) -> None:
    records = {"one": {"etag": "1"}, "two": {"etag": "2"}, "three": {"etag": "3"}}
    for job, record in records.items():
        with vault.writing(create=True) as draft:
            new = [Change("create", f"{job}-{part}", None, secret("K")) for part in "abc"]
            draft.apply(Plan(tuple(new), ()), job=job, record=record)
    assert vault.read().jobs == records

    vault.put("one-a", "by hand")
    assert set(vault.read().jobs) == {"two", "three"}
    vault.remove("two-a")
    assert set(vault.read().jobs) == {"three"}
    with vault.writing() as draft:
        before = draft.contents.secrets["three-a"]
        draft.apply(Plan((Change("update", "three-a", before, secret("K", "x")),), ()), job="one", record={"etag": "4"})
    assert vault.read().jobs == {"one": {"etag": "4"}}
    assert vault.read().secrets["three-a"].job == "one"


def test_a_record_stays_where_its_own_job_or_nobody_touches_the_entries(vault: Vault) -> None:
    apply(vault, {"A": secret("A")}, "one", {"etag": "1"})
    vault.put("PERSONAL", "x")
    vault.put("PERSONAL", "y")
    vault.remove("PERSONAL")
    assert vault.read().jobs == {"one": {"etag": "1"}}
    apply(vault, {"A": secret("A", "new")}, "one")
    assert vault.read().jobs == {"one": {"etag": "1"}}
    apply(vault, {"A": secret("A", "newer")}, "one", {"etag": "2"})
    assert vault.read().jobs == {"one": {"etag": "2"}}


# Single values


def test_putting_a_value_creates_updates_and_then_changes_nothing(vault: Vault) -> None:
    for value, action in (("one", "create"), ("two", "update")):
        planned = vault.put("A", value, check=True)
        assert [(change.action, change.key) for change in planned.changes] == [(action, "A")]
        assert (action == "create") == (not vault.exists())
        assert [change.action for change in vault.put("A", value).changes] == [action]
        before = identity(vault)
        for check in (True, False):
            assert vault.put("A", value, check=check) == Plan((), ("A",))
        assert identity(vault) == before
    assert values(vault) == {"A": "two"}
    assert vault.read().secrets["A"].job == ""


def test_looking_whether_a_first_value_would_be_new_leaves_nothing_behind(vault: Vault) -> None:
    vault.put("A", "one", check=True)
    assert listed(vault) == []


def test_a_value_that_is_there_already_stays_with_its_job(vault: Vault) -> None:
    apply(vault, {"A": secret("A")}, "one", {"etag": "1"})
    assert not vault.put("A", CANARY).changes
    assert vault.read().secrets["A"].job == "one"
    assert vault.read().jobs == {"one": {"etag": "1"}}


def test_removing_removes_and_then_changes_nothing(vault: Vault) -> None:
    vault.put("A", "one")
    vault.put("B", "two")
    assert [change.action for change in vault.remove("A", check=True).changes] == ["delete"]
    assert set(values(vault)) == {"A", "B"}
    assert [change.key for change in vault.remove("A").changes] == ["A"]
    before = identity(vault)
    assert not vault.remove("A", check=True).changes
    assert not vault.remove("A").changes
    assert identity(vault) == before
    assert values(vault) == {"B": "two"}


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("a\nb", "x"), ("N\ud800", "x"), ("N", f"{CANARY}\udcff")])
def test_a_name_or_value_that_is_no_text_is_refused_and_never_told(vault: Vault, name: str, value: str) -> None:
    refused(lambda: vault.put(name, value), Conclusion.CONFIGURATION)
    refused(lambda: vault.put("N", 7), Conclusion.CONFIGURATION)  # type: ignore[arg-type]
    assert not vault.exists()


@pytest.mark.parametrize(
    "bad",
    [
        {"value": f"{CANARY}\udcff"},
        {"key": "K\ud800"},
        {"project_id": "p\ud800"},
        {"value": None},
        {"version": "7"},
        {"id": None},
    ],
)
def test_an_entry_that_could_not_be_read_again_is_never_written(vault: Vault, bad: dict[str, Any]) -> None:
    vault.put("A", "one")
    before = identity(vault)
    wrong = secret("K", **bad) if "key" not in bad else secret(bad["key"])
    error = refused(lambda: apply(vault, {"NAME": wrong}))
    assert error.conclusion is (Conclusion.HIDDEN if bad.get("value", "") is None else Conclusion.CONFIGURATION)
    assert identity(vault) == before
    assert listed(vault) == ["vault", "vault.lock"]


# Keys


def test_a_wrong_key_and_a_wrong_passphrase_are_told_apart_from_damage(tmp_path: Path, vault: Vault) -> None:
    vault.put("A", CANARY)
    before = identity(vault)
    keys.make_key_file(str(tmp_path / "wrong"))
    with_wrong = Vault(vault.path, keys.KeyFile(str(tmp_path / "wrong")))
    for action in (with_wrong.read, with_wrong.verify, lambda: with_wrong.put("A", "x"), lambda: with_wrong.remove("A"),
                   lambda: with_wrong.rekey(PASSPHRASE)):  # fmt: skip
        assert "rong key" in str(refused(action, Conclusion.WRONG_KEY))
    sealed_by_passphrase = Vault(str(tmp_path / "other"), PASSPHRASE)
    sealed_by_passphrase.put("A", CANARY)
    refused(Vault(sealed_by_passphrase.path, keys.Passphrase("CANARY passphrasf")).read, Conclusion.WRONG_KEY)
    assert identity(vault) == before


def test_the_wrong_kind_of_key_is_said_to_be_that(tmp_path: Path, vault: Vault, key: keys.KeySource) -> None:
    vault.put("A", CANARY)
    error = refused(Vault(vault.path, PASSPHRASE).read, Conclusion.WRONG_KEY)
    assert "sealed with a key, and a passphrase was given" in str(error)
    assert "key_file" in str(error)
    other = Vault(str(tmp_path / "other"), PASSPHRASE)
    other.put("A", CANARY)
    error = refused(Vault(other.path, key).read, Conclusion.WRONG_KEY)
    assert "sealed with a passphrase, and a key was given" in str(error)
    assert "passphrase_file" in str(error)


def test_a_new_vault_refuses_a_short_passphrase_and_an_old_one_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Vault(str(tmp_path / "vault"), keys.Passphrase("short"))
    refused(lambda: short.put("A", "x"), Conclusion.CONFIGURATION)
    assert not short.exists()
    monkeypatch.setattr(keys, "SHORTEST_PASSPHRASE", 5)
    short.put("A", "x")
    monkeypatch.undo()
    assert values(short) == {"A": "x"}


def test_a_new_passphrase_vault_has_the_cost_of_the_manual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    vault = Vault(str(tmp_path / "vault"), PASSPHRASE)
    vault.put("A", CANARY)
    assert Path(vault.path).read_bytes()[8:14] == bytes([0, 1, 1, 15, 8, 1])
    assert values(Vault(vault.path, PASSPHRASE)) == {"A": CANARY}


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("kinds", ["key key", "key passphrase", "passphrase key", "passphrase passphrase"])
def test_a_rekeyed_vault_holds_the_same_and_opens_with_the_new_key_only(tmp_path: Path, kinds: str, data: bool) -> None:
    def source(kind: str, name: str) -> keys.KeySource:
        if kind == "passphrase":
            return keys.Passphrase(f"CANARY {name}")
        keys.make_key_file(str(tmp_path / name))
        return keys.KeyFile(str(tmp_path / name))

    old, new = (source(kind, name) for kind, name in zip(kinds.split(), ("old", "new")))
    vault = Vault(str(tmp_path / "vault"), old)
    apply(vault, {"A": secret("A"), "B": secret("B", "b")}, "one", {"etag": "1"})
    vault.put("A", "two")
    before = vault.read()
    vault.rekey(new, data=data)

    for opened in (vault, Vault(vault.path, new)):
        after = opened.verify()
        assert after.generation == before.generation + 1
        assert (after.secrets, after.jobs, after.vault_id) == (before.secrets, before.jobs, before.vault_id)
        assert (after.hash_key == before.hash_key) is not data
    refused(Vault(vault.path, old).read, Conclusion.WRONG_KEY)
    assert os.path.exists(vault.previous) is not data
    if not data:
        refused(Vault(vault.previous, old).read, Conclusion.WRONG_KEY)
        assert Vault(vault.previous, new).read().generation == before.generation
    vault.put("A", "three")
    assert values(Vault(vault.path, new)) == {"A": "three", "B": "b"}


def test_only_rekeying_the_data_shuts_out_who_had_the_old_file_and_key(vault: Vault, key: keys.KeySource) -> None:
    vault.put("A", "one")
    old = vault._open().data_key
    vault.rekey(PASSPHRASE)
    assert vault._open().data_key == old
    vault.rekey(key, data=True)
    assert vault._open().data_key != old


def test_rekeying_to_a_short_passphrase_or_a_missing_key_changes_nothing(vault: Vault, tmp_path: Path) -> None:
    vault.put("A", "one")
    before = identity(vault)
    refused(lambda: vault.rekey(keys.Passphrase("CANARY")), Conclusion.CONFIGURATION)
    refused(lambda: vault.rekey(keys.KeyFile(str(tmp_path / "nowhere"))), Conclusion.CONFIGURATION)
    assert identity(vault) == before
    assert listed(vault) == ["vault", "vault.lock"]
    vault.put("A", "two")
    assert values(vault) == {"A": "two"}


def test_rekeying_what_is_not_there_leaves_nothing_behind(vault: Vault) -> None:
    refused(lambda: vault.rekey(PASSPHRASE), Conclusion.VAULT_MISSING)
    assert listed(vault) == []


# What is no vault, or not a whole one


def test_a_vault_that_is_not_there_is_missing_and_nothing_is_made(vault: Vault) -> None:
    def write() -> None:
        with vault.writing():
            pass

    for action in (vault.read, vault.verify, lambda: vault.remove("A"), write):
        error = refused(action, Conclusion.VAULT_MISSING)
        assert vault.path in str(error)
    assert listed(vault) == []
    assert not vault.exists()


def test_an_empty_path_is_refused(key: keys.KeySource) -> None:
    refused(lambda: Vault("", key), Conclusion.CONFIGURATION)


@pytest.mark.parametrize("data", [b"", b"\n", b"KFVAUL", b"KFVAULT\r\n" + bytes(200), b"SECRET=CANARY\n", b"\x00" * 500])
def test_a_file_that_is_no_vault_is_said_to_be_that_and_never_overwritten(vault: Vault, data: bytes) -> None:
    changed(vault, data)
    os.chmod(vault.path, 0o600)
    for action in (vault.read, vault.verify, lambda: vault.put("A", "x"), lambda: vault.rekey(PASSPHRASE)):
        error = refused(action, Conclusion.NOT_A_VAULT)
        assert vault.path in str(error)
    assert Path(vault.path).read_bytes() == data
    assert ("empty" in str(error)) is not bool(data)


def with_header(raw: bytes, offset: int, data: bytes) -> bytes:
    return raw[:offset] + data + raw[offset + len(data) :]


@pytest.mark.parametrize(
    ("offset", "data", "conclusion", "words"),
    [
        (8, b"\x00\x02", Conclusion.NEWER_VAULT, "format 2"),
        (8, b"\xff\xff", Conclusion.NEWER_VAULT, "format 65535"),
        (8, b"\x00\x00", Conclusion.VAULT_DAMAGED, "does not exist"),
        (10, b"\x02", Conclusion.VAULT_DAMAGED, "does not exist"),
        (10, b"\x00\x01\x01\x01", Conclusion.VAULT_DAMAGED, "although it is sealed with a key"),
        (10, b"\x01\x15\x08\x01", Conclusion.VAULT_DAMAGED, "absurd"),
        (10, b"\x01\x0f\x11\x01", Conclusion.VAULT_DAMAGED, "absurd"),
        (10, b"\x01\x0f\x08\x05", Conclusion.VAULT_DAMAGED, "absurd"),
        (10, b"\x01\xff\xff\xff", Conclusion.VAULT_DAMAGED, "absurd"),
        (10, b"\x01\x00\x08\x01", Conclusion.VAULT_DAMAGED, "absurd"),
    ],
)
def test_a_header_that_cannot_be_is_refused_before_any_key_is_asked_for(
    vault: Vault, offset: int, data: bytes, conclusion: Conclusion, words: str
) -> None:
    vault.put("A", CANARY)
    raw = with_header(Path(vault.path).read_bytes(), offset, data)
    changed(vault, raw)
    # A source that cannot be read: the header decides first.
    unread = Vault(vault.path, keys.KeyFile("/nonexistent/key"))
    began = time.monotonic()
    for action in (unread.read, lambda: unread.put("A", "x")):
        assert words in str(refused(action, conclusion))
    assert time.monotonic() - began < 1
    assert Path(vault.path).read_bytes() == raw


def test_a_newer_vault_is_told_even_where_its_header_is_shorter(vault: Vault) -> None:
    vault.put("A", CANARY)
    changed(vault, b"KFVAULT\n\x00\x02")
    refused(vault.read, Conclusion.NEWER_VAULT)


@pytest.mark.parametrize("kind", ["key", "passphrase"])
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_changed_byte_is_an_error_and_never_a_value(
    tmp_path: Path, key: keys.KeySource, kind: str, mask: int
) -> None:
    vault = Vault(str(tmp_path / "vault"), key if kind == "key" else PASSPHRASE)
    apply(vault, {"A": secret("A"), "B": secret("B", "", id="i", version=3)}, "one", {"etag": "1"})
    raw = Path(vault.path).read_bytes()
    assert len(raw) > HEADER + 100
    seen: dict[Conclusion, set[int]] = {}
    with open(vault.path, "r+b", buffering=0) as stream:
        for offset, byte in enumerate(raw):
            os.pwrite(stream.fileno(), bytes([byte ^ mask]), offset)
            with pytest.raises(InfisicalError) as caught:
                vault.read()
            seen.setdefault(caught.value.conclusion, set()).add(offset)
            assert "CANARY" not in str(caught.value)
            os.pwrite(stream.fileno(), bytes([byte]), offset)
    assert values(vault) == {"A": CANARY, "B": ""}
    assert seen.pop(Conclusion.NOT_A_VAULT) == set(range(8))
    assert seen.pop(Conclusion.NEWER_VAULT) >= {8}
    wrong_key = seen.pop(Conclusion.WRONG_KEY)
    assert wrong_key - {10} == {*range(30, 46), *range(54, 70)}  # the salt and the check value
    assert seen.pop(Conclusion.VAULT_DAMAGED) >= {*range(14, 30), *range(46, 54), *range(70, len(raw))}
    assert not seen


def test_a_vault_cut_or_lengthened_anywhere_is_an_error(vault: Vault) -> None:
    apply(vault, {"A": secret("A")})
    raw = Path(vault.path).read_bytes()
    for length in range(len(raw)):
        changed(vault, raw[:length])
        error = refused(vault.read, Conclusion.NOT_A_VAULT if length < 8 else Conclusion.VAULT_DAMAGED)
    for more in (b"\x00", b"\n", raw):
        changed(vault, raw + more)
        error = refused(vault.read, Conclusion.VAULT_DAMAGED)
    assert vault.path in str(error)
    changed(vault, raw)
    assert values(vault) == {"A": CANARY}


def test_parts_of_two_generations_do_not_fit_together(vault: Vault) -> None:
    vault.put("A", "one")
    one = Path(vault.path).read_bytes()
    vault.put("A", "two")
    two = Path(vault.path).read_bytes()
    assert len(one) == len(two)
    for raw in (one[:HEADER] + two[HEADER:], two[:HEADER] + one[HEADER:]):
        changed(vault, raw)
        refused(vault.read, Conclusion.VAULT_DAMAGED)
    changed(vault, with_header(one, 46, struct.pack(">Q", 9)))  # an old one that pretends to be new
    refused(vault.read, Conclusion.VAULT_DAMAGED)


HEAD = b'{"jobs":{},"origins":[["","","",""]],"count":1}\n'


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"{}\n{}",
        b"[]\n{}",
        b"null\n{}",
        b"\xff\n{}",
        b'{"jobs":{},"origins":[],"count":0}',
        b'{"jobs":[],"origins":[],"count":0}\n{}',
        b'{"jobs":{"a":1},"origins":[],"count":0}\n{}',
        b'{"jobs":{},"origins":{},"count":0}\n{}',
        b'{"jobs":{},"origins":[["","",""]],"count":0}\n{}',
        b'{"jobs":{},"origins":[["","","",7]],"count":0}\n{}',
        b'{"jobs":{},"origins":["abcd"],"count":0}\n{}',
        b'{"jobs":{},"origins":[],"count":"0"}\n{}',
        b'{"jobs":{},"origins":[],"count":true}\n{"A":1}',
        b'{"jobs":{},"origins":[],"count":1}\n{}',
        b'{"jobs":{},"origins":[],"count":0}\n[]',
        b'{"jobs":{},"origins":[],"count":0}\n{"A":["CANARY",0,null,"",0,""]}',
        b'{"jobs":{},"origins":[],"count":0}\n\xff',
        b"[" * 100_000 + b"\n{}",
        HEAD,
        HEAD + b"{}",
        HEAD + b'{"A":["CANARY",0,null,"",0,""]',
        HEAD + b'{"A":["CANARY",1,null,"",0,""]}',
        HEAD + b'{"A":["CANARY",-1,null,"",0,""]}',
        HEAD + b'{"A":["CANARY",true,null,"",0,""]}',
        HEAD + b'{"A":["CANARY",0.0,null,"",0,""]}',
        HEAD + b'{"A":[null,0,null,"",0,""]}',
        HEAD + b'{"A":[7,0,null,"",0,""]}',
        HEAD + b'{"A":["CANARY",0,7,"",0,""]}',
        HEAD + b'{"A":["CANARY",0,null,null,0,""]}',
        HEAD + b'{"A":["CANARY",0,null,"","0",""]}',
        HEAD + b'{"A":["CANARY",0,null,"",0,0]}',
        HEAD + b'{"A":["CANARY",0,null,"",0]}',
        HEAD + b'{"A":["CANARY",0,null,"",0,"",0]}',
        HEAD + b'{"A":"CANARY"}',
        HEAD + b'{"A":{"value":"CANARY","b":0,"c":0,"d":0,"e":0,"f":0}}',
        HEAD + b'{"A":["CANARY",0,null,"",0,""],"B":["CANARY",0,null,"",0,""]}',
        HEAD + b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_sealed_but_not_of_the_format_is_damage(vault: Vault, text: bytes) -> None:
    vault.put("A", CANARY)
    sealed(vault, text)
    before = Path(vault.path).read_bytes()
    refused(lambda: vault.read().secrets, Conclusion.VAULT_DAMAGED)
    refused(lambda: vault.read().get("A"), Conclusion.VAULT_DAMAGED)
    refused(vault.verify, Conclusion.VAULT_DAMAGED)
    refused(lambda: vault.put("A", "x"), Conclusion.VAULT_DAMAGED)
    assert Path(vault.path).read_bytes() == before


def test_a_generation_that_cannot_be_is_damage(vault: Vault) -> None:
    vault.put("A", CANARY)
    text = vault._open().text
    sealed(vault, text, generation=0)
    refused(vault.read, Conclusion.VAULT_DAMAGED)
    # The last one can be read, but nothing can follow it.
    vault.remove
    os.unlink(vault.path)
    vault.put("A", CANARY)
    sealed(vault, vault._open().text, generation=2**64 - 1)
    assert vault.read().generation == 2**64 - 1
    refused(lambda: vault.put("A", "x"), Conclusion.VAULT_DAMAGED)
    assert values(vault) == {"A": CANARY}


def test_damage_names_the_way_back_and_the_way_works(vault: Vault) -> None:
    vault.put("A", "one")
    vault.put("A", "two")
    changed(vault, Path(vault.path).read_bytes()[:-1])
    said = str(refused(vault.read, Conclusion.VAULT_DAMAGED))
    command = re.search(r"run: (cp -p '[^']+' '[^']+')", said)
    assert command is not None
    subprocess.run(["sh", "-c", command.group(1)], check=True)
    assert values(vault) == {"A": "one"}
    assert vault.put("A", "three").changes


def test_damage_without_a_generation_before_says_that_there_is_no_way_back(vault: Vault) -> None:
    vault.put("A", "one")
    changed(vault, Path(vault.path).read_bytes()[:-1])
    assert "no way back" not in str(refused(vault.read)).lower()
    assert f"There is no {vault.previous}" in str(refused(vault.read))


def test_verifying_reads_the_generation_before_as_well(vault: Vault) -> None:
    vault.put("A", "one")
    vault.put("A", "two")
    assert vault.verify().generation == 2
    good = {path: Path(path).read_bytes() for path in (vault.path, vault.previous)}

    Path(vault.previous).write_bytes(good[vault.previous][:-1])
    said = str(refused(vault.verify, Conclusion.VAULT_DAMAGED))
    assert "itself is whole (generation 2)" in said
    assert values(vault) == {"A": "two"}

    changed(vault, good[vault.path][:-1])
    said = str(refused(vault.verify, Conclusion.VAULT_DAMAGED))
    assert "is no help either" in said

    Path(vault.previous).write_bytes(good[vault.previous])
    said = str(refused(vault.verify, Conclusion.VAULT_DAMAGED))
    assert "it is whole, and is generation 1" in said

    os.unlink(vault.previous)
    assert "generation before" not in str(refused(vault.verify, Conclusion.VAULT_DAMAGED)).replace(
        "There is no", ""
    )  # fmt: skip


# An older generation


def test_an_older_generation_than_is_known_is_refused_with_both_numbers(vault: Vault, key: keys.KeySource) -> None:
    vault.put("A", "one")
    old = Path(vault.path).read_bytes()
    vault.put("A", "two")
    vault.put("A", "three")
    asked: list[str] = []

    def newest(vault_id: str) -> int:
        asked.append(vault_id)
        return 3

    watched = Vault(vault.path, key, newest=newest)
    assert values(watched) == {"A": "three"}
    assert watched.verify().generation == 3  # .previous is older, and may be
    changed(vault, old)
    for action in (watched.read, watched.verify, lambda: watched.put("A", "x"), lambda: watched.rekey(PASSPHRASE)):
        said = str(refused(action, Conclusion.OLDER_GENERATION))
        assert "generation 1" in said
        assert "generation 3" in said
        assert "state file" in said
    assert Path(vault.path).read_bytes() == old
    assert set(asked) == {vault.read().vault_id}
    assert values(Vault(vault.path, key, newest=lambda vault_id: 0)) == {"A": "one"}
    assert values(Vault(vault.path, key, newest=lambda vault_id: 1)) == {"A": "one"}


# Files


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666, 0o4640])
def test_a_vault_that_others_have_rights_to_is_refused_and_left(vault: Vault, mode: int) -> None:
    vault.put("A", "one")
    os.chmod(vault.path, mode)
    before = identity(vault)
    for action in (vault.read, vault.verify, lambda: vault.put("A", "x"), lambda: vault.remove("A")):
        assert f"chmod 600 '{vault.path}'" in str(refused(action, Conclusion.UNSAFE_FILE))
    assert identity(vault) == before
    os.chmod(vault.path, 0o600)
    assert values(vault) == {"A": "one"}


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "pipe"])
def test_what_is_no_file_in_place_of_the_vault_is_refused_and_left(vault: Vault, kind: str, tmp_path: Path) -> None:
    vault.put("A", "one")
    real = tmp_path / "real"
    os.rename(vault.path, real)
    if kind == "link":
        os.symlink(real, vault.path)
    elif kind == "dangling link":
        os.symlink(tmp_path / "nowhere", vault.path)
    elif kind == "directory":
        os.mkdir(vault.path, 0o700)
    else:
        os.mkfifo(vault.path, 0o600)
    before = os.lstat(vault.path)
    for action in (vault.read, vault.verify, lambda: vault.put("A", "x"), lambda: vault.rekey(PASSPHRASE)):
        refused(action, Conclusion.UNSAFE_FILE)
    assert os.lstat(vault.path).st_ino == before.st_ino
    assert not (tmp_path / "nowhere").exists()
    assert values(Vault(str(real), vault._keys)) == {"A": "one"}


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "pipe"])
def test_what_is_no_file_in_place_of_the_lock_is_refused_and_left(vault: Vault, kind: str, tmp_path: Path) -> None:
    vault.put("A", "one")
    lock = vault.path + ".lock"
    os.unlink(lock)
    (tmp_path / "precious").write_bytes(b"precious")
    if kind == "link":
        os.symlink(tmp_path / "precious", lock)
    elif kind == "dangling link":
        os.symlink(tmp_path / "nowhere", lock)
    elif kind == "directory":
        os.mkdir(lock)
    else:
        os.mkfifo(lock)
    refused(lambda: vault.put("A", "x"), Conclusion.UNSAFE_FILE)
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    assert values(vault) == {"A": "one"}  # readers need no lock


def test_a_link_in_place_of_the_generation_before_is_replaced_and_its_target_left(vault: Vault, tmp_path: Path) -> None:
    vault.put("A", "one")
    (tmp_path / "precious").write_bytes(b"precious")
    os.symlink(tmp_path / "precious", vault.previous)
    refused(vault.verify, Conclusion.UNSAFE_FILE)
    vault.put("A", "two")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert values(Vault(vault.previous, vault._keys)) == {"A": "one"}


@only_root
def test_another_users_vault_and_key_are_refused_except_to_root(public: Path) -> None:
    keys.make_key_file(str(public / "key"))
    vault = Vault(str(public / "vault"), PASSPHRASE)
    vault.put("A", "one")
    os.chmod(vault.path, 0o600)
    said = as_nobody(Vault(vault.path, PASSPHRASE).read)
    assert said.startswith(("storage: ", "unsafe_file: "))  # the system refuses to open it
    os.chown(vault.path, NOBODY, NOBODY)
    assert as_nobody(Vault(vault.path, PASSPHRASE).read) == "done"
    assert values(vault) == {"A": "one"}
    # Whoever may read a file of another's by an access list must not use it either.
    other = public / "others-key"
    other.write_bytes(bytes(32))
    os.chown(other, 12345, NOBODY)
    os.chmod(other, 0o440)
    said = as_nobody(keys.KeyFile(str(other)).secret)
    assert said.startswith("unsafe_file: ")
    assert "belongs to user 12345" in said


@only_root
def test_root_leaves_files_that_the_vaults_owner_can_use(public: Path) -> None:
    folder = public / "v"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    vault = Vault(str(folder / "vault"), PASSPHRASE)
    assert as_nobody(lambda: vault.put("A", "one")) == "done"
    os.unlink(vault.path + ".lock")
    vault.put("A", "two")
    vault.rekey(keys.Passphrase("CANARY another"))
    assert listed(vault) == ["vault", "vault.lock", "vault.previous"]
    assert {os.stat(folder / name).st_uid for name in listed(vault)} == {NOBODY}
    assert as_nobody(lambda: vault.put("A", "three")) == "done"
    assert as_nobody(vault.verify) == "done"


def test_a_missing_directory_is_named_with_the_way_to_make_it(tmp_path: Path, key: keys.KeySource) -> None:
    vault = Vault(str(tmp_path / "missing" / "vault"), key)
    for check in (False, True):
        said = str(refused(lambda check=check: vault.put("A", "x", check=check), Conclusion.STORAGE))  # type: ignore[misc]
        assert f"install -d -m 700 '{tmp_path}/missing'" in said
    refused(vault.read, Conclusion.VAULT_MISSING)
    refused(lambda: vault.remove("A"), Conclusion.VAULT_MISSING)
    assert not (tmp_path / "missing").exists()


@only_root
def test_a_directory_without_write_permission_is_said_to_be_that(public: Path) -> None:
    vault = Vault(str(public / "vault"), PASSPHRASE)
    assert as_nobody(lambda: vault.put("A", "x")).startswith("storage: ")
    assert as_nobody(lambda: vault.put("A", "x", check=True)).startswith("storage: ")
    assert "no permission" in as_nobody(lambda: vault.put("A", "x"))
    assert os.listdir(public) == []


def test_the_lock_of_another_process_is_waited_for_and_then_told(
    vault: Vault, key: keys.KeySource, start: Callable[..., subprocess.Popen[str]]
) -> None:
    vault.put("A", "one")
    other = start(HOLD_LOCK, vault.path + ".lock")
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    impatient = Vault(vault.path, key, lock_wait=0.2)
    began = time.monotonic()
    for action in (lambda: impatient.put("A", "two"), lambda: impatient.rekey(PASSPHRASE)):
        error = refused(action, Conclusion.BUSY)
    assert 0.4 <= time.monotonic() - began < 5
    assert vault.path + ".lock" in str(error)
    assert values(impatient) == {"A": "one"}  # readers do not wait
    assert impatient.put("A", "two", check=True).changes
    assert other.stdin is not None
    other.stdin.close()
    assert Vault(vault.path, key, lock_wait=10).put("A", "two").changes


def test_what_dead_writers_left_is_removed_and_nothing_else(vault: Vault) -> None:
    vault.put("A", "one")
    folder = Path(vault.path).parent
    stray = [".vault.0123456789abcdef", ".vault.previous.0123456789abcdef"]
    others = [".vault.0123456789abcdeg", ".vault.0123456789abcde", "vault.0123456789abcdef", ".vault2.0123456789abcdef",
              ".vaultx0123456789abcdef"]  # fmt: skip
    for name in stray + others:
        (folder / name).write_bytes(b"")
    vault.read()
    assert set(stray) <= set(listed(vault))  # they may be a living writer's
    vault.put("A", "two")
    assert set(listed(vault)) == {*others, "vault", "vault.lock", "vault.previous"}


WRITES = ["open", "fchmod", "fsync", "link", "rename"]


@pytest.mark.parametrize("failing", WRITES)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_whichever_step_of_a_write_fails_the_vault_is_whole_and_the_message_true(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, failing: str, code: int
) -> None:
    real = getattr(os, failing)
    vault.put("A", "0")
    vault.put("A", "1")
    seen = set()
    for step in range(20):
        calls = 0

        def fail(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step + 1:  # noqa: B023
                raise OSError(code, os.strerror(code))
            return real(*arguments, **options)

        before = values(vault)
        new = f"{CANARY} {step}"
        with monkeypatch.context() as patched:
            patched.setattr(os, failing, fail)
            try:
                vault.put("A", new)
            except InfisicalError as error:
                assert error.conclusion is Conclusion.STORAGE, error
                assert "CANARY" not in str(error)
                said = str(error)
            else:
                break
        held = values(vault)
        seen.add(held == before)
        if "holds the new entries" in said:
            assert held == {"A": new}
        else:
            assert held == before
        assert vault.verify().count == 1
    else:
        raise AssertionError("it never succeeded")
    assert step > 0
    assert True in seen
    assert values(vault) == {"A": new}
    assert listed(vault) == ["vault", "vault.lock", "vault.previous"]


def test_a_failure_after_the_new_file_is_in_place_is_told_as_that(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put("A", "one")

    def fail(directory: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "sync_directory", fail)
    said = str(refused(lambda: vault.put("A", "two"), Conclusion.STORAGE))
    assert "holds the new entries" in said
    assert values(vault) == {"A": "two"}


def test_a_vault_over_the_limit_is_not_written(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.put("A", "one")
    monkeypatch.setattr(room, "LARGEST", 1000)
    refused(lambda: vault.put("B", "x" * 1000), Conclusion.TOO_LARGE)
    assert values(vault) == {"A": "one"}
    monkeypatch.setattr(room, "LARGEST", 100)
    refused(vault.read, Conclusion.VAULT_DAMAGED)


def test_a_missing_library_is_told_before_anything_is_made(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(MissingLibrary, match="python3-cryptography"):
        vault.put("A", "one")
    assert not vault.exists()


def test_too_little_memory_for_scrypt_is_told_with_the_amount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault(str(tmp_path / "vault"), PASSPHRASE)
    vault.put("A", CANARY)

    def none(*arguments: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(keys, "stretch", none)
    assert "MiB of memory" in str(refused(Vault(vault.path, PASSPHRASE).read, Conclusion.STORAGE))


def test_opening_a_passphrase_vault_again_costs_scrypt_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault(str(tmp_path / "vault"), PASSPHRASE)
    vault.put("A", CANARY)
    calls = []
    real = keys.stretch
    monkeypatch.setattr(keys, "stretch", lambda *given: calls.append(1) or real(*given))
    opened = Vault(vault.path, PASSPHRASE)
    opened.read()
    opened.put("A", "x")
    opened.verify()
    assert len(calls) == 1


def test_every_error_of_the_options_is_a_configuration_error(vault: Vault) -> None:
    with pytest.raises(ConfigurationError):
        vault.put("A", "x\ud800")
