# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault: values are read back unchanged, each write creates a generation, and errors have a hint."""

from __future__ import annotations

import errno
import os
import stat
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files, plan
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
    MissingLibrary,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.plan import Change, Plan
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import format as vault_format
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import store as vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.contents import Contents

CANARY = "canary-5c1e"
NOW = "2026-01-01T00:00:00Z"
HEADER = 142
WORDS = "correct horse battery"

HOLD = """
import sys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
with files.lock_file(sys.argv[1], 5):
    print("locked", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def little_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a low scrypt cost, because thousands of damaged headers are opened."""
    monkeypatch.setattr(vault_format, "NEW_COST", (4, 1, 1))


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "now", lambda: NOW)


@pytest.fixture
def key(tmp_path: Path) -> keys.KeyFile:
    keys.make_key_file(str(tmp_path / "key"))
    return keys.KeyFile(str(tmp_path / "key"))


@pytest.fixture(params=["key", "passphrase"])
def source(request: pytest.FixtureRequest, key: keys.KeyFile) -> keys.KeySource:
    return key if request.param == "key" else keys.Passphrase(WORDS)


def entry(value: str, job: str = "default", **fields: Any) -> Secret:
    of = {"key": "NAME", "version": 1, "id": "id-1", "environment": "prod", "project_id": "p1", "job": job}
    return Secret(value=value, synced_at=NOW, **{**of, **fields})


def bring(vault_: vault.Vault, wanted: dict[str, Secret], *, job: str = "default", **options: Any) -> Contents:
    """Make the vault contain exactly `wanted`."""
    with vault_.writing(create=True) as draft:
        changes = plan.build(draft.contents.secrets, wanted, prune=True, differs=plan.differs_in_vault)
        return draft.apply(changes, job=job, **options)


def refused(act: Callable[[], Any], conclusion: str, *words: str) -> str:
    """Return the message of the error that `act` raises, which must contain `words` and no value."""
    with pytest.raises(InfisicalError) as caught:
        act()
    told = "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert caught.value.conclusion == conclusion, told
    assert CANARY not in told
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def listed(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


# Values

ODD = {
    "empty": "",
    "newlines": "\n\r\n a \n\n",
    "nul": "\0a\0",
    "controls": "".join(map(chr, range(0x20))) + "\x7f\x85",
    "emoji 🦊": "🦊 \U0010ffff \u2028\u2029 \ufeff ä",
    "quotes": "\"'\\ \\n \\u0041 $(x) `y`",
    "": "the name is empty",
    "a\nname\0": "with odd characters",
    "json": '{"jobs": {}, "count": 0}\n{}',
    "large": "0123456789abcdef" * 65536,
}


def test_every_value_is_read_back_unchanged(tmp_path: Path, source: keys.KeySource) -> None:
    path = str(tmp_path / "vault")
    wanted = {
        name: entry(
            value, key=name if turn % 2 else f"other {name}", version=turn, id=f"id {name}", project_id=value[:9]
        )
        for turn, (name, value) in enumerate(ODD.items())
    }
    written = bring(vault.Vault(path, source), wanted, record={"etag": 'W/"1"', "at": [1, None]})
    read = vault.Vault(path, source).read()
    assert read.secrets == written.secrets == wanted
    assert {name: read.get(name) for name in wanted} == wanted
    assert {name: secret.value for name, secret in read.secrets.items()} == ODD
    assert read.get("not there") is None
    assert read.jobs == written.jobs == {"default": {"etag": 'W/"1"', "at": [1, None]}}
    assert (read.generation, read.vault_id, read.hash_key) == (1, written.vault_id, written.hash_key)
    assert (len(read.vault_id), len(read.hash_key)) == (32, 32)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    sealed = Path(path).read_bytes()
    assert all(value.encode() not in sealed for value in ODD.values() if len(value) > 8)


def test_each_vault_has_its_own_id_keys_and_nonces(tmp_path: Path, key: keys.KeyFile) -> None:
    first, second = (bring(vault.Vault(str(tmp_path / name), key), {"A": entry("1")}) for name in ("one", "two"))
    assert first.vault_id != second.vault_id
    assert first.hash_key != second.hash_key
    sealed = (tmp_path / "one").read_bytes()
    bring(vault.Vault(str(tmp_path / "one"), key), {"A": entry("2")})
    again = (tmp_path / "one").read_bytes()
    assert again[:46] == sealed[:46]  # the wrapping stays
    assert again[70 : HEADER - 12] == sealed[70 : HEADER - 12]
    assert again[HEADER - 12 : HEADER] != sealed[HEADER - 12 : HEADER]


def test_vault_without_secrets_is_valid(tmp_path: Path, key: keys.KeyFile) -> None:
    path = str(tmp_path / "vault")
    bring(vault.Vault(path, key), {"A": entry("1")})
    bring(vault.Vault(path, key), {})
    read = vault.Vault(path, key).read()
    assert (read.secrets, read.count, read.generation) == ({}, 0, 2)


def test_origins_without_secrets_are_removed_from_the_vault(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    wanted = {f"N{turn}": entry("v", project_id=f"p{turn % 2}", secret_path=f"/{turn % 5}") for turn in range(30)}
    assert len(bring(made, wanted).origins) == 10
    few = {name: secret for name, secret in wanted.items() if secret.secret_path == "/4"}
    left = bring(made, few)
    assert made.read().secrets == left.secrets == few
    assert len(made.read().origins) == 2


def test_each_write_creates_one_generation(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    with made.writing(create=True) as draft:
        assert draft.contents.generation == 0
        assert not made.exists()
        assert draft.apply(Plan((Change("create", "A", None, entry("1")),), ()), job="default").generation == 1
        assert draft.apply(Plan((Change("create", "B", None, entry("2")),), ()), job="default").generation == 2
        assert draft.contents.secrets == {"A": entry("1"), "B": entry("2")} == made.read().secrets


# Job records


def test_job_record_is_dropped_if_another_job_changes_entries(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1", "one")}, job="one", record={"etag": "1"})
    bring(made, {"A": entry("1", "one"), "B": entry("2", "two")}, job="two", record={"etag": "2"})
    bring(made, {"A": entry("1", "one"), "B": entry("2", "two"), "C": entry("3", "")}, job="")
    assert made.read().jobs == {"one": {"etag": "1"}, "two": {"etag": "2"}}
    made.put("B", "changed by a person")
    assert made.read().jobs == {"one": {"etag": "1"}}
    bring(made, {"A": entry("0", "one"), "C": entry("3", "")}, job="one")
    assert made.read().jobs == {"one": {"etag": "1"}}  # its own changes leave the record to the job
    made.remove("A")
    assert made.read().jobs == {}


def test_unchanged_job_record_is_not_written_again(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    record = {"etag": "1", "paths": ("/", "/a")}
    for _turn in range(2):
        with made.writing(create=True) as draft:
            assert draft.apply(Plan((), ()), job="one", record=record).generation == 1
    with made.writing() as draft:
        assert draft.apply(Plan((), ()), job="one", record={"etag": "2"}).generation == 2
    assert made.read().jobs == {"one": {"etag": "2"}}


def test_written_entries_belong_to_the_writing_job(
    tmp_path: Path, key: keys.KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1"), "B": entry("1"), "C": entry("1")})
    monkeypatch.setattr(vault, "now", lambda: "2026-02-02T00:00:00Z")
    changes = (Change("update", "A", entry("1"), entry("2")), Change("create", "D", None, entry("2")))
    with made.writing() as draft:
        after = draft.apply(Plan(changes, ("B", "C")), job="other")
    for secrets in (after.secrets, made.read().secrets):
        assert {name: (secret.job, secret.synced_at, secret.value) for name, secret in secrets.items()} == {
            "A": ("other", "2026-02-02T00:00:00Z", "2"),
            "B": ("default", NOW, "1"),
            "C": ("default", NOW, "1"),
            "D": ("other", "2026-02-02T00:00:00Z", "2"),
        }
    assert made.read().of_job("default") == {"B": ("1", 1, NOW), "C": ("1", 1, NOW)}
    assert made.read().of_job("") == {}


# Manual entries


def test_manual_entry_is_added_changed_and_removed(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    assert [change.action for change in made.put("A", "1", check=True)[0].changes] == ["create"]
    assert listed(tmp_path) == ["key"]
    assert [change.action for change in made.put("A", "1")[0].changes] == ["create"]
    stored = made.read().get("A")
    assert stored is not None
    assert (stored.key, stored.value, stored.job, stored.version, stored.project_id) == ("A", "1", "", 0, "")
    assert stored.synced_at == NOW
    assert made.put("A", "1")[0] == made.put("A", "1", check=True)[0] == Plan((), ("A",))
    assert made.read().generation == 1
    assert [(c.action, c.before) for c in made.put("A", "2", check=True)[0].changes] == [("update", stored)]
    assert made.read().generation == 1
    assert [change.action for change in made.put("A", "2")[0].changes] == ["update"]
    assert [change.action for change in made.remove("A", check=True)[0].changes] == ["delete"]
    assert made.read().get("A") is not None
    assert [change.action for change in made.remove("A")[0].changes] == ["delete"]
    assert made.remove("A")[0] == made.remove("A", check=True)[0] == Plan((), ())
    assert made.read().secrets == {}
    assert made.read().generation == 3


def test_unchanged_entry_keeps_its_job(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1")}, record={"etag": "1"})
    assert made.put("A", "1")[0] == Plan((), ("A",))
    assert made.read().jobs == {"default": {"etag": "1"}}
    made.put("A", "2")
    stored = made.read().get("A")
    assert stored is not None
    assert (stored.job, stored.project_id, stored.version) == ("", "", 0)


@pytest.mark.parametrize(
    ("name", "value"), [("", "v"), ("a\nb", "v"), ("a\0", "v"), ("A", 5), ("A", None), ("A", "\ud800")]
)
def test_invalid_name_or_value_is_refused(tmp_path: Path, key: keys.KeyFile, name: str, value: Any) -> None:
    refused(lambda: vault.Vault(str(tmp_path / "vault"), key).put(name, value), "configuration")
    assert listed(tmp_path) == ["key"]


@pytest.mark.parametrize(
    ("change", "conclusion", "word"),
    [
        ({"value": f"{CANARY}\udcff"}, "configuration", "'B'"),
        ({"value": None}, "hidden", "'B'"),
        ({"value": 5}, "configuration", "'B'"),
        ({"version": "3"}, "configuration", "'B'"),
        ({"id": "\udcff"}, "configuration", "'B'"),
        ({"project_id": "\udcff"}, "configuration", "project"),
    ],
)
def test_unreadable_entry_is_not_written(
    tmp_path: Path, key: keys.KeyFile, change: dict[str, Any], conclusion: str, word: str
) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry(CANARY)})
    secret = entry(**{"value": CANARY, **change})
    refused(lambda: bring(made, {"A": entry(CANARY), "B": secret}), conclusion, word)
    assert made.verify().generation == 1


# Writes without changes


def test_plan_without_changes_writes_nothing(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    with made.writing(create=True) as draft:
        assert draft.apply(Plan((), ())).generation == 0
    assert not made.exists()
    bring(made, {"A": entry("1")}, record={"etag": "1"})
    before = os.stat(made.path)
    for record in (None, {"etag": "1"}):
        assert bring(made, {"A": entry("1")}, record=record).generation == 1
    made.put("A", "1")
    after = os.stat(made.path)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert not os.path.exists(made.previous)


def test_entries_are_parsed_on_first_access(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1")}, record={"etag": "1"})
    contents = made.read()
    assert contents.jobs
    assert not {"rows", "secrets"} & set(vars(contents))
    contents.get("A")
    assert "secrets" not in vars(contents)


def test_failed_write_releases_the_lock_and_raises_its_own_error(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key, lock_wait=0)
    with pytest.raises(ConnectionResetError), made.writing(create=True):
        raise ConnectionResetError  # an OSError that has nothing to do with the disk
    made.put("A", "1")


# The previous generation


def test_previous_vault_generation_is_kept(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    for turn in range(1, 4):
        bring(made, {"A": entry(str(turn))})
        assert made.read().generation == turn
    before = vault.Vault(made.previous, key).read()
    assert (before.generation, before.get("A")) == (2, entry("2"))
    assert made.verify().generation == 3
    assert listed(tmp_path) == ["key", "vault", "vault.lock", "vault.previous"]
    assert stat.S_IMODE(os.stat(made.previous).st_mode) == 0o600


def test_command_in_the_hint_restores_the_previous_generation(tmp_path: Path, key: keys.KeyFile) -> None:
    path = tmp_path / "my vault"
    made = vault.Vault(str(path), key)
    for turn in range(1, 3):
        bring(made, {"A": entry(str(turn))})
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = refused(made.read, "vault_damaged", str(path), "cp -p")
    _before, command, _after = told.split('"')
    subprocess.run(command, shell=True, check=True)
    assert made.verify().get("A") == entry("1")


def test_previous_generation_is_a_copy_without_hard_links(
    tmp_path: Path, key: keys.KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1")})
    monkeypatch.setattr(os, "link", no_links)
    bring(made, {"A": entry("2")})
    assert made.verify().generation == 2
    assert vault.Vault(made.previous, key).read().generation == 1
    assert listed(tmp_path) == ["key", "vault", "vault.lock", "vault.previous"]


def test_interrupted_write_is_cleaned_up_by_the_next_write(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1")})
    os.link(made.path, made.previous)  # the state after that death: one file under both names
    bring(made, {"A": entry("2")})
    assert listed(tmp_path) == ["key", "vault", "vault.lock", "vault.previous"]
    assert made.verify().generation == 2


def test_temporary_files_of_killed_writers_are_removed(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1")})
    left = [".vault.0123456789abcdef", ".vault.previous.0123456789abcdef"]
    others = [".vault.0123456789abcdef.0123456789abcdef", ".other.0123456789abcdef", ".vault.0123456789ABCDEF",
              ".vault.0123456789abcde", ".vault.0123456789abcdef0", ".vaultx0123456789abcdef",
              ".vault.012345", "vault.0123456789abcdef"]  # fmt: skip
    for name in (*left, *others):
        (tmp_path / name).write_bytes(b"")
    made.read()
    assert set(left) < set(listed(tmp_path))
    with made.writing():
        pass
    assert not set(left) & set(listed(tmp_path))
    assert set(others) < set(listed(tmp_path))


@pytest.mark.parametrize("bad", ["vault", "vault.previous", "both", "unsafe"])
def test_verify_reads_current_and_previous_generation(tmp_path: Path, key: keys.KeyFile, bad: str) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    for turn in range(1, 3):
        bring(made, {"A": entry(f"{CANARY} {turn}")})
    for name in ("vault", "vault.previous"):
        if bad in (name, "both"):
            data = (tmp_path / name).read_bytes()
            (tmp_path / name).write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    if bad == "unsafe":
        os.chmod(made.previous, 0o644)
        refused(made.verify, "unsafe_file", "is intact (generation 2)", "chmod 600")
    elif bad == "vault":
        refused(made.verify, "vault_damaged", "is intact (generation 1)", "cp -p")
    elif bad == "both":
        refused(made.verify, "vault_damaged", "cannot be used either", f"{made.previous} is damaged")
    else:
        refused(made.verify, "vault_damaged", "is intact (generation 2)", f"{made.previous} is damaged")
        assert made.read().generation == 2


# Keys


def test_wrong_key_or_passphrase_cannot_open_the_vault(tmp_path: Path, source: keys.KeySource) -> None:
    path = str(tmp_path / "vault")
    bring(vault.Vault(path, source), {"A": entry(CANARY)})
    keys.make_key_file(str(tmp_path / "another"))
    other = keys.KeyFile(str(tmp_path / "another")) if source.kind == "key" else keys.Passphrase(f"{CANARY}{WORDS}")
    for act in (vault.Vault(path, other).read, vault.Vault(path, other).verify):
        refused(act, "wrong_key", path, "Wrong key or passphrase", "created with")
    refused(lambda: vault.Vault(path, other).put("B", CANARY), "wrong_key")
    assert vault.Vault(path, source).read().generation == 1


def test_hint_about_a_lost_key_leads_to_a_new_vault(tmp_path: Path, source: keys.KeySource) -> None:
    made = vault.Vault(str(tmp_path / "vault"), source)
    made.put("A", "1")
    made.put("A", "2")
    keys.make_key_file(str(tmp_path / "another"))
    other = keys.KeyFile(str(tmp_path / "another")) if source.kind == "key" else keys.Passphrase(f"{WORDS} {WORDS}")
    told = refused(vault.Vault(made.path, other).read, "wrong_key", "is lost")
    for path in (made.path, made.previous):
        assert f" {path} " in told
        os.rename(path, f"{path}.away")
    vault.Vault(made.path, other).put("A", "3")


def test_missing_vault_hint_names_module_and_command(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    refused(made.read, "vault_missing", "module infisical_vault", "infisical-sync vault set NAME")


def test_mistaking_key_for_passphrase_or_vice_versa_is_reported(tmp_path: Path, key: keys.KeyFile) -> None:
    words = keys.Passphrase(WORDS)
    bring(vault.Vault(str(tmp_path / "one"), key), {"A": entry("1")})
    bring(vault.Vault(str(tmp_path / "two"), words), {"A": entry("1")})
    refused(vault.Vault(str(tmp_path / "one"), words).read, "wrong_key", "with a key", "key_file")
    refused(vault.Vault(str(tmp_path / "two"), key).read, "wrong_key", "with a passphrase", "passphrase_file")


def test_short_passphrase_is_accepted_only_for_existing_vaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = vault.Vault(str(tmp_path / "vault"), keys.Passphrase("short"))
    refused(lambda: made.put("A", "1"), "configuration", "8 characters")
    refused(lambda: made.put("A", "1", check=True), "configuration", "8 characters")
    monkeypatch.setattr(keys, "SHORTEST_PASSPHRASE", 1)
    made.put("A", "1")
    monkeypatch.undo()
    assert made.read().secrets
    refused(lambda: made.rekey(keys.Passphrase("short")), "configuration", "8 characters")


def new_source(kind: str, directory: Path) -> keys.KeySource:
    if kind == "passphrase":
        return keys.Passphrase("another passphrase")
    keys.make_key_file(str(directory / "new-key"))
    return keys.KeyFile(str(directory / "new-key"))


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("kind", ["key", "passphrase"])
def test_only_the_new_key_opens_the_vault_after_rekey(
    tmp_path: Path, source: keys.KeySource, kind: str, data: bool
) -> None:
    path = str(tmp_path / "vault")
    made = vault.Vault(path, source)
    for turn in range(1, 3):
        bring(made, {"A": entry(str(turn))}, record={"etag": str(turn)})
    before, sealed = made.read(), Path(path).read_bytes()
    new = new_source(kind, tmp_path)
    made.rekey(new, data=data)
    for opened in (made, vault.Vault(path, new)):
        after = opened.verify()
        assert (after.secrets, after.jobs) == (before.secrets, before.jobs)
        assert (after.vault_id, after.generation) == (before.vault_id, 3)
        assert (after.hash_key != before.hash_key) is data
    again = Path(path).read_bytes()
    assert again[14:30] == sealed[14:30]
    assert again[30:46] != sealed[30:46]  # a new salt, and with it all that follows
    assert again[54:70] != sealed[54:70]
    refused(vault.Vault(path, source).read, "wrong_key")
    if data:
        assert not os.path.exists(made.previous)
    else:
        assert vault.Vault(made.previous, new).read().get("A") == entry("2")
        refused(vault.Vault(made.previous, source).read, "wrong_key")
    made.put("B", "later")
    assert vault.Vault(path, new).verify().generation == 4


@pytest.mark.parametrize("data", [False, True])
def test_rekey_to_the_same_passphrase_changes_the_salt(tmp_path: Path, data: bool) -> None:
    path = str(tmp_path / "vault")
    made = vault.Vault(path, keys.Passphrase(WORDS))
    made.put("A", "1")
    salt = Path(path).read_bytes()[30:46]
    made.rekey(keys.Passphrase(WORDS), data=data)
    assert Path(path).read_bytes()[30:46] != salt
    assert vault.Vault(path, keys.Passphrase(WORDS)).verify().generation == 2
    assert made.verify().generation == 2


def test_rekey_with_a_wrong_old_key_changes_nothing(tmp_path: Path, key: keys.KeyFile) -> None:
    path = str(tmp_path / "vault")
    bring(vault.Vault(path, key), {"A": entry("1")})
    sealed = Path(path).read_bytes()
    wrong = keys.KeyFile(str(new_source("key", tmp_path).path))  # type: ignore[attr-defined]
    refused(lambda: vault.Vault(path, wrong).rekey(key, data=True), "wrong_key")
    assert Path(path).read_bytes() == sealed


def test_scrypt_is_computed_once_per_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    stretch = keys.stretch
    monkeypatch.setattr(keys, "stretch", lambda *of: calls.append(of) or stretch(*of))  # type: ignore[func-returns-value]
    made = vault.Vault(str(tmp_path / "vault"), keys.Passphrase(WORDS))
    made.put("A", "1")
    made.put("B", "2")
    made.verify()
    assert len(calls) == 1


def test_new_vaults_get_the_full_scrypt_cost() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"from {vault_format.__name__} import NEW_COST; print(NEW_COST)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout == "(15, 8, 1)\n"


def test_insufficient_memory_for_scrypt_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = vault.Vault(str(tmp_path / "vault"), keys.Passphrase(WORDS))
    made.put("A", "1")

    def no_memory(*arguments: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(keys, "stretch", no_memory)
    refused(vault.Vault(made.path, keys.Passphrase(WORDS)).read, "storage", "not enough memory")


# Other files


@pytest.mark.parametrize("data", [b"", b"K", b"KFVAULT", b"KFVAULT\r" + b"x" * 300, b"\0" * 5000, b"{}\n" * 1000])
def test_file_that_is_not_a_vault_is_refused_and_unchanged(tmp_path: Path, key: keys.KeyFile, data: bytes) -> None:
    path = tmp_path / "vault"
    path.write_bytes(data)
    path.chmod(0o600)
    made = vault.Vault(str(path), key)
    refused(made.read, "not_a_vault", str(path))
    refused(lambda: made.put("A", "1"), "not_a_vault")
    refused(lambda: made.rekey(keys.Passphrase(WORDS)), "not_a_vault")
    assert path.read_bytes() == data


def test_missing_vault_is_reported_and_not_created(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    assert not made.exists()
    for act in (made.read, made.verify, lambda: made.remove("A"), lambda: made.rekey(key), made.writing().__enter__):
        refused(act, "vault_missing", made.path)
    assert listed(tmp_path) == ["key"]
    refused(vault.Vault(str(tmp_path / "no" / "vault"), key).read, "vault_missing")
    with pytest.raises(ConfigurationError):
        vault.Vault("", key)


@pytest.mark.parametrize("check", [False, True])
def test_vault_in_a_missing_directory_is_refused(tmp_path: Path, key: keys.KeyFile, check: bool) -> None:
    made = vault.Vault(str(tmp_path / "no" / "vault"), key)
    refused(lambda: made.put("A", "1", check=check), "storage", f"'{tmp_path}/no'", "install -d")
    (tmp_path / "no").write_bytes(b"")
    refused(lambda: made.put("A", "1", check=check), "storage", f"'{tmp_path}/no'")


def craft(path: Path, offset: int, data: bytes) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:offset] + data + raw[offset + len(data) :])


def test_newer_vault_format_is_not_reported_as_damage(tmp_path: Path, source: keys.KeySource) -> None:
    path = tmp_path / "vault"
    made = vault.Vault(str(path), source)
    bring(made, {"A": entry(CANARY)})
    craft(path, 8, struct.pack(">H", 2))
    refused(made.read, "newer_vault", "format 2")
    path.write_bytes(path.read_bytes()[:10])  # a later format may have a shorter header
    refused(made.read, "newer_vault", "format 2")
    refused(lambda: made.put("A", "1"), "newer_vault")
    assert len(path.read_bytes()) == 10
    craft(path, 8, struct.pack(">H", 0))
    refused(made.read, "vault_damaged")


@pytest.mark.parametrize("cost", [(21, 8, 1), (255, 8, 1), (15, 17, 1), (15, 8, 5), (0, 8, 1), (15, 0, 1), (15, 8, 0)])
def test_excessive_scrypt_cost_in_the_header_is_refused(tmp_path: Path, cost: tuple[int, int, int]) -> None:
    path = tmp_path / "vault"
    made = vault.Vault(str(path), keys.Passphrase(WORDS))
    bring(made, {"A": entry(CANARY)})
    craft(path, 11, bytes(cost))
    began = time.monotonic()
    refused(vault.Vault(str(path), keys.Passphrase(WORDS)).read, "vault_damaged", "excessive scrypt cost")
    assert time.monotonic() - began < 0.5


def test_scrypt_cost_in_a_vault_with_a_key_is_refused(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry(CANARY)})
    craft(tmp_path / "vault", 11, b"\4\1\1")
    refused(made.read, "vault_damaged", "contains a scrypt cost, although")


@pytest.mark.parametrize(
    ("offset", "data", "conclusion"),
    [
        (0, b"k", "not_a_vault"),
        (8, b"\0\0", "vault_damaged"),
        (8, b"\0\2", "newer_vault"),
        (10, b"\2", "vault_damaged"),
        (11, b"\4\1\1", "vault_damaged"),
        (10, b"\1\24\21\1", "vault_damaged"),
    ],
)
def test_invalid_header_is_refused_before_the_key_is_read(
    tmp_path: Path, key: keys.KeyFile, offset: int, data: bytes, conclusion: str
) -> None:
    path = tmp_path / "vault"
    bring(vault.Vault(str(path), key), {"A": entry(CANARY)})
    craft(path, offset, data)
    crafted = path.read_bytes()
    without_key = vault.Vault(str(path), keys.KeyFile(str(tmp_path / "absent")))
    refused(without_key.read, conclusion)
    refused(lambda: without_key.put("A", "1"), conclusion)
    assert path.read_bytes() == crafted


def sealed_anew(path: Path, source: keys.KeySource, text: bytes, generation: int = 1) -> None:
    """Seal any text as a vault's contents."""
    opened = vault.Vault(str(path), source)._open()
    path.write_bytes(vault_format.seal(opened.header._replace(generation=generation), opened.data_key, text))


def test_verify_finds_damage_in_the_previous_generation(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    for turn in range(1, 3):
        bring(made, {"A": entry(str(turn))})
    sealed_anew(Path(made.previous), key, b'{"jobs":{},"origins":[],"count":1}\n{}')
    refused(made.verify, "vault_damaged", "is intact (generation 2)", f"{made.previous} is damaged")


ORIGIN = b'[["j","p","e","/"]]'
ROW = b'{"A":["canary-5c1e",0,null,"i",1,"t"]}'


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"{}\n{}",
        b"[]\n[]",
        b"\n",
        b'{"jobs":[],"origins":[],"count":0}\n{}',
        b'{"jobs":{"a":1},"origins":[],"count":0}\n{}',
        b'{"jobs":{},"origins":{},"count":0}\n{}',
        b'{"jobs":{},"origins":[["a","b","c"]],"count":0}\n{}',
        b'{"jobs":{},"origins":[["a","b","c",null]],"count":0}\n{}',
        b'{"jobs":{},"origins":[],"count":false}\n{}',
        b'{"jobs":{},"origins":[],"count":0}',
        b'{"jobs":{},"origins":[],"count":0}\n',
        b'{"jobs":{},"origins":[],"count":0}\n[]',
        b'{"jobs":{},"origins":[],"count":0}\n{"A":',
        b'{"jobs":{},"origins":[],"count":0}\n' + b"[" * 100_000,
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":0}\n' + ROW,
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":2}\n' + ROW,
        b'{"jobs":{},"origins":[],"count":1}\n' + ROW,
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n' + ROW.replace(b",0,", b",-1,"),
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n' + ROW.replace(b",0,", b",true,"),
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n' + ROW.replace(b"null", b"1"),
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n' + ROW.replace(b'"i"', b"null"),
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n' + ROW.replace(b",1,", b",1.0,"),
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n' + ROW.replace(b'"t"', b"5"),
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n' + ROW.replace(b',"t"', b""),
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n' + ROW.replace(b'"canary-5c1e"', b"5"),
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n{"A":"canary-5c1e"}',
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n' + ROW[:-3] + b'\xff"]}',
        b'{"jobs":{},"origins":' + ORIGIN + b',"count":2}\n' + ROW[:-1] + b"," + ROW[1:],
    ],
)
def test_malformed_decrypted_content_is_reported_as_damage(tmp_path: Path, key: keys.KeyFile, text: bytes) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1")})
    sealed_anew(tmp_path / "vault", key, text)
    for act in (lambda: made.read().secrets, lambda: made.read().get("A"), made.verify, lambda: made.put("B", "1")):
        refused(act, "vault_damaged", made.path)


def test_well_formed_decrypted_content_is_accepted(tmp_path: Path, key: keys.KeyFile) -> None:
    # Otherwise, the previous test would prove nothing.
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1")})
    sealed_anew(tmp_path / "vault", key, b'{"jobs":{},"origins":' + ORIGIN + b',"count":1}\n' + ROW)
    stored = made.verify().get("A")
    assert stored is not None
    assert stored.value == CANARY


def test_generation_out_of_range_is_reported_as_damage(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    made.put("A", "1")
    text = made._open().text
    sealed_anew(tmp_path / "vault", key, text, 0)
    refused(made.read, "vault_damaged", "generation")
    (tmp_path / "vault").unlink()
    made.put("A", "1")
    sealed_anew(tmp_path / "vault", key, made._open().text, (1 << 64) - 1)
    assert made.read().generation == (1 << 64) - 1
    refused(lambda: made.put("A", "2"), "vault_damaged", "generation")


# Every byte, every length


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_changed_byte_is_detected(tmp_path: Path, source: keys.KeySource, mask: int) -> None:
    path = tmp_path / "vault"
    bring(vault.Vault(str(path), source), {"A": entry(CANARY), "B": entry(f"{CANARY} b")}, record={"etag": CANARY})
    whole = path.read_bytes()
    seen = set()
    for offset in range(len(whole)):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ mask]) + whole[offset + 1 :])
        with pytest.raises(InfisicalError) as caught:
            vault.Vault(str(path), source).read()
        assert CANARY not in str(caught.value)
        seen.add(caught.value.conclusion)
        if offset >= 54 + 16:
            assert caught.value.conclusion == "vault_damaged"
    assert seen >= {"not_a_vault", "newer_vault", "wrong_key", "vault_damaged"}
    path.write_bytes(whole)
    assert vault.Vault(str(path), source).verify().count == 2


def test_truncated_or_extended_vault_is_an_error(tmp_path: Path, source: keys.KeySource) -> None:
    path = tmp_path / "vault"
    bring(vault.Vault(str(path), source), {"A": entry(CANARY)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        expected = "not_a_vault" if length < 8 else "vault_damaged"
        refused(vault.Vault(str(path), source).read, expected)
    path.write_bytes(whole + b"\0")
    refused(vault.Vault(str(path), source).read, "vault_damaged")


def test_vault_mixed_from_two_generations_is_refused(tmp_path: Path, key: keys.KeyFile) -> None:
    path = tmp_path / "vault"
    made = vault.Vault(str(path), key)
    bring(made, {"A": entry("1")})
    bring(made, {"A": entry("2")})
    new, old = path.read_bytes(), Path(made.previous).read_bytes()
    assert len(new) == len(old)
    for mixed in (new[:HEADER] + old[HEADER:], new[: HEADER - 12] + old[HEADER - 12 :]):
        path.write_bytes(mixed)
        refused(made.read, "vault_damaged")


def test_oversized_file_is_not_read_into_memory(
    tmp_path: Path, key: keys.KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vault"
    made = vault.Vault(str(path), key)
    bring(made, {"A": entry("1" * 2000)})
    monkeypatch.setattr(vault, "LARGEST", 2000)
    refused(made.read, "vault_damaged", "larger")
    monkeypatch.undo()
    sealed = path.read_bytes()
    monkeypatch.setattr(vault, "LARGEST", len(sealed))
    refused(lambda: bring(made, {"A": entry("1" * 2001)}), "too_large")
    assert path.read_bytes() == sealed
    with path.open("wb") as stream:
        stream.truncate(1 << 42)
    monkeypatch.undo()
    refused(made.read, "not_a_vault")


# A restored older file


def test_restored_older_generation_is_refused(tmp_path: Path, key: keys.KeyFile) -> None:
    path = tmp_path / "vault"
    made = vault.Vault(str(path), key)
    for turn in range(1, 4):
        bring(made, {"A": entry(f"{CANARY} {turn}")})
    vault_id = made.read().vault_id
    careful = vault.Vault(str(path), key, recorded=lambda: (vault_id, 3))
    assert careful.verify().generation == 3  # the previous generation is allowed to be older
    os.replace(made.previous, path)
    assert vault.Vault(str(path), key, recorded=lambda: ("another vault", 3)).read().generation == 2
    for act in (careful.read, careful.verify, lambda: careful.put("A", "4"), lambda: careful.rekey(key)):
        refused(act, "older_generation", "generation 2", "generation 3", "state file")
    assert made.read().generation == 2


# Permissions


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644])
def test_vault_that_others_can_access_is_refused(tmp_path: Path, key: keys.KeyFile, mode: int) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry(CANARY)})
    os.chmod(made.path, mode)
    for act in (made.read, lambda: made.put("B", CANARY), made.verify, lambda: made.rekey(key)):
        refused(act, "unsafe_file", made.path, f"{mode:04o}", "chmod 600")
    os.chmod(made.path, 0o600)
    assert made.read().generation == 1


def test_link_in_place_of_vault_or_lock_is_refused(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "real"), key)
    bring(made, {"A": entry(CANARY)})
    (tmp_path / "vault").symlink_to(tmp_path / "real")
    linked = vault.Vault(str(tmp_path / "vault"), key)
    for act in (linked.read, lambda: linked.put("B", "1"), linked.verify, lambda: linked.rekey(key)):
        refused(act, "unsafe_file", linked.path)
    (tmp_path / "vault").unlink()
    (tmp_path / "vault").symlink_to(tmp_path / "nowhere")
    refused(lambda: linked.put("B", "1"), "unsafe_file", linked.path)
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "real.lock").unlink()
    (tmp_path / "real.lock").symlink_to(tmp_path / "nowhere")
    refused(lambda: made.put("B", "1"), "unsafe_file", "real.lock")
    assert not (tmp_path / "nowhere").exists()
    assert made.read().generation == 1  # readers need no lock


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_directory_or_pipe_as_vault_is_refused_without_waiting(tmp_path: Path, key: keys.KeyFile, kind: str) -> None:
    make: Callable[[Path], Any] = Path.mkdir if kind == "directory" else os.mkfifo
    make(tmp_path / "vault")
    made = vault.Vault(str(tmp_path / "vault"), key)
    refused(made.read, "unsafe_file", made.path)
    refused(lambda: made.put("A", "1"), "unsafe_file", made.path)
    other = vault.Vault(str(tmp_path / "other"), key)
    make(tmp_path / "other.lock")
    refused(lambda: other.put("A", "1"), "unsafe_file", "other.lock")


@pytest.mark.root
def test_vault_of_another_user_is_refused_except_for_root(
    tmp_path: Path, key: keys.KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry(CANARY)})
    os.chown(made.path, 4711, 4711)
    assert made.read().generation == 1
    key.secret()
    monkeypatch.setattr(os, "geteuid", lambda: 4712)
    refused(made.read, "unsafe_file", "belongs to user 4711", "user 4712")


@pytest.mark.root
def test_vault_files_that_root_writes_keep_their_owner(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1")})
    os.chown(made.path, 4711, 4712)
    os.unlink(made.path + ".lock")
    made.put("B", "2")
    made.rekey(keys.Passphrase(WORDS))
    for name in ("vault", "vault.previous", "vault.lock"):
        status = (tmp_path / name).stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (4711, 4712, 0o600), name


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_missing_permission_for_the_directory_is_reported(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], mode: int
) -> None:
    directory = tmp_path / "private"
    directory.mkdir()
    program = f"""
import os, sys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import store as vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    InfisicalError,
    MissingLibrary,
)
os.chdir(sys.argv[1])
made = vault.Vault("vault", keys.Passphrase("{WORDS}"))
made.put("A", "1")
os.chown(".", 4711, 4711); os.chown("vault", 4711, 4711); os.chown("vault.lock", 4711, 4711)
os.chmod(".", {mode})
os.unlink("vault.lock")
os.setgroups([]); os.setgid(4711); os.setuid(4711)
for act in (lambda: made.put("B", "1"), made.read):
    try:
        print("done", act() is not None)
    except InfisicalError as error:
        print(error.conclusion, "no permission" in str(error))
"""
    for parent in (directory, *directory.parents):
        if parent == Path(tempfile.gettempdir()):
            break
        parent.chmod(parent.stat().st_mode | 0o011)
    other = start(program, directory)
    output, errors = other.communicate(timeout=30)
    assert output.split("\n")[0] == "storage True", errors
    assert output.split("\n")[1] == ("done True" if mode else "storage True"), errors


# One writer at a time


def test_second_writer_waits_and_names_the_first_on_timeout(
    tmp_path: Path, key: keys.KeyFile, start: Callable[..., subprocess.Popen[str]]
) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key, lock_wait=0.2)
    bring(made, {"A": entry(CANARY)})
    other = start(HOLD, made.path + ".lock")
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    began = time.monotonic()
    refused(lambda: made.put("A", "2"), "busy", "0.2 seconds", "lock_wait", "Nothing was changed")
    assert 0.2 <= time.monotonic() - began < 5
    assert made.read().get("A") == entry(CANARY)
    assert [change.action for change in made.put("A", "2", check=True)[0].changes] == ["update"]
    other.kill()
    other.wait()
    made.put("A", "2")
    assert made.read().generation == 2


# Disk errors


@pytest.mark.parametrize(
    ("code", "conclusion", "word"),
    [
        (errno.ENOSPC, "storage", "full"),
        (errno.EDQUOT, "storage", "quota"),
        (errno.EFBIG, "storage", "LimitFSIZE="),
        (errno.EROFS, "storage", "read-only"),
        (errno.EACCES, "storage", "no permission"),
        (errno.EIO, "storage", "dmesg"),
        (errno.ENOENT, "storage", "install -d"),
        (errno.ELOOP, "unsafe_file", "symbolic link"),
        (errno.ENFILE, "storage", "operating system"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "link", "rename", "sync"])
def test_disk_error_is_reported_with_a_hint(
    tmp_path: Path, key: keys.KeyFile, monkeypatch: pytest.MonkeyPatch, call: str, code: int, conclusion: str,
    word: str,
) -> None:  # fmt: skip
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry(f"{CANARY} 1")})

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    target, name = {"write": (os, "open"), "sync": (files, "sync_directory")}.get(call, (os, call))
    with made.writing() as draft, monkeypatch.context() as broken:
        broken.setattr(target, name, fail)
        outcome = "contains the changes" if call == "sync" else "was not changed"
        changes = Plan((Change("update", "A", entry(f"{CANARY} 1"), entry(f"{CANARY} 2")),), ())
        refused(lambda: draft.apply(changes), conclusion, made.path, word, outcome)
    assert made.verify().generation == (2 if call == "sync" else 1)
    assert not [name for name in listed(tmp_path) if name.startswith(".")]


def test_missing_cryptography_is_reported(tmp_path: Path, key: keys.KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    bring(made, {"A": entry("1")})
    for module in ("ciphers.aead", "kdf.hkdf", "kdf.scrypt"):
        monkeypatch.setitem(sys.modules, f"cryptography.hazmat.primitives.{module}", None)
    for act in (
        made.read,
        lambda: made.put("A", "2"),
        lambda: keys.derive(b"", b"", b"", 1),
        lambda: keys.stretch(b"", b"", 4, 1, 1),
    ):
        with pytest.raises(MissingLibrary, match="python3-cryptography"):
            act()


# Values are never shown


def test_repr_of_vault_objects_shows_no_value_or_key(tmp_path: Path, source: keys.KeySource) -> None:
    made = vault.Vault(str(tmp_path / "vault"), source)
    contents = bring(made, {"A": entry(CANARY)}, record={"etag": CANARY})
    assert contents.get("A") == entry(CANARY)
    with made.writing() as draft:
        shown = [made, contents, made.read(), made.read().get("A"), draft, draft.contents, made._keys]
    for text in map(repr, shown):
        assert CANARY not in text
        assert repr(source.secret())[2:-1] not in text
        assert repr(contents.hash_key)[2:-1] not in text


def test_writes_do_not_change_the_hash_key(tmp_path: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    first = bring(made, {"A": entry("1")}).hash_key
    assert bring(made, {"A": entry("2")}).hash_key == first == made.read().hash_key
    assert first not in Path(made.path).read_bytes()


@pytest.mark.parametrize("failing", [1, 2])
def test_failed_rekey_keeps_the_old_key(
    tmp_path: Path, key: keys.KeyFile, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    made = vault.Vault(str(tmp_path / "vault"), key)
    for turn in range(1, 3):
        bring(made, {"A": entry(str(turn))})
    writes = []
    write = files.write_atomic

    def full(path: str, *arguments: Any, **options: Any) -> None:
        writes.append(path)
        if len(writes) == failing:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write(path, *arguments, **options)

    monkeypatch.setattr(files, "write_atomic", full)
    told = refused(lambda: made.rekey(keys.Passphrase(WORDS)), "storage", "is intact and was not changed")
    assert str(tmp_path) in told
    monkeypatch.undo()
    for opened in (made, vault.Vault(made.path, key)):
        assert opened.read().get("A") == entry("2")
    refused(vault.Vault(made.path, keys.Passphrase(WORDS)).read, "wrong_key")
    made.rekey(keys.Passphrase(WORDS))
    assert vault.Vault(made.path, keys.Passphrase(WORDS)).verify().generation == 3


REKEY_STEPS = ("open", "link", "rename", "unlink", "fsync", "fchmod")


def opening(path: str, sources: dict[str, keys.KeySource]) -> list[str]:
    """Return the names of the sources that open the vault at `path`."""
    found = []
    for name, source in sources.items():
        try:
            vault.Vault(path, source).read()
        except InfisicalError as error:
            assert error.conclusion == "wrong_key", error
        else:
            found.append(name)
    return found


def at_step(number: int, act: Callable[[], None]) -> Callable[..., Any]:
    """Return a wrapper for the functions in REKEY_STEPS. It runs `act` before call `number`; `reached` counts calls."""

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            counted.reached += 1  # type: ignore[attr-defined]
            if counted.reached == number:  # type: ignore[attr-defined]
                act()
            return call(*arguments, **options)

        return step

    counted.reached = 0  # type: ignore[attr-defined]
    return counted


@pytest.mark.parametrize("data", [False, True])
def test_failed_rekey_error_states_which_key_opens_which_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bool
) -> None:
    sources: dict[str, keys.KeySource] = {"old": keys.Passphrase(WORDS), "new": keys.Passphrase(f"{WORDS} anew")}

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    seen = set()
    for number in range(1, 60):
        (tmp_path / str(number)).mkdir()
        made = vault.Vault(str(tmp_path / str(number) / "vault"), sources["old"])
        for turn in range(1, 3):
            bring(made, {"A": entry(str(turn))})
        counted, told = at_step(number, fail), ""
        with monkeypatch.context() as broken:
            for name in REKEY_STEPS:
                broken.setattr(os, name, counted(getattr(os, name)))
            try:
                made.rekey(sources["new"], data=data)
            except InfisicalError as error:
                assert error.conclusion == "storage"
                told = str(error)
        (by,) = opening(made.path, sources)
        assert made._keys is sources[by], number
        assert made.read().get("A") == entry("2")
        if not told:
            assert by == "new"
            if counted.reached < number:  # type: ignore[attr-defined]
                break
            continue  # what fails here is tried again, or does not matter
        before = opening(made.previous, sources) if os.path.exists(made.previous) else []
        if "cannot be written" in told:
            assert f"opens with the {by} key" in told, told
            assert ("was removed" in told) is (before == []), told
            assert before in ([], [by]), told
        else:
            assert (by, before) == ("old", ["old"]), told
        seen.add((by, tuple(before)))
        made.put("LATER", "v")
        assert made.verify().generation in (3, 4)
        assert opening(made.previous, sources) == [by]
    else:
        pytest.fail("never got through")
    assert {by for by, _before in seen} == {"old", "new"}, "some steps failed before and some after the change"


@pytest.mark.parametrize("data", [False, True])
def test_killed_rekey_leaves_a_vault_that_old_or_new_key_opens(tmp_path: Path, data: bool) -> None:
    sources: dict[str, keys.KeySource] = {"old": keys.Passphrase(WORDS), "new": keys.Passphrase(f"{WORDS} anew")}
    seen = []
    for number in range(1, 60):
        (tmp_path / str(number)).mkdir()
        made = vault.Vault(str(tmp_path / str(number) / "vault"), sources["old"])
        for turn in range(1, 3):
            bring(made, {"A": entry(str(turn))})
        child = os.fork()
        if child == 0:
            counted = at_step(number, lambda: os.kill(os.getpid(), 9))
            for name in REKEY_STEPS:
                setattr(os, name, counted(getattr(os, name)))
            try:
                made.rekey(sources["new"], data=data)
            finally:
                os._exit(0)
        through = os.WIFEXITED(os.waitpid(child, 0)[1])
        (by,) = opening(made.path, sources)
        seen.append(by)
        again = vault.Vault(made.path, sources[by])
        assert again.read().get("A") == entry("2")
        again.put("LATER", "v")
        assert again.verify().get("A") == entry("2")
        assert not [name for name in listed(tmp_path / str(number)) if name.startswith(".")]
        if through:
            break
    else:
        pytest.fail("never got through")
    assert seen == sorted(seen, reverse=True)  # up to some step the old key, and from there on the new one
    assert seen[0] == "old"
    assert seen[-2] == "new"
