# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file: hashes, scope, damage, links, and concurrent writers."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    StorageFailed,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import state as state_module
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import StateFile

SCOPE = Location("project", "dev", "/app")
RECORD = """
import sys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import StateFile
state = StateFile(sys.argv[1], Location("project", "dev", "/app"))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    state.record({f"KEY_{sys.argv[2]}_{number}": (f"value {number}", number)})
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "infisical_sync_state.json")


def content(path: str) -> dict[str, Any]:
    return dict(json.loads(Path(path).read_text()))


def test_state_hash_is_the_sha256sum_of_the_stored_value(path: str) -> None:
    StateFile(path, SCOPE).record({"KEY": (" the value \n", 3)})
    printed = subprocess.run("printf %s 'KEY:the value\n' | sha256sum", shell=True, capture_output=True, check=True)
    entry = content(path)["secrets"]["KEY"]
    assert entry["hash"] == printed.stdout.split()[0].decode()
    assert entry["version"] == 3


def test_state_file_is_private_and_has_the_documented_keys(path: str) -> None:
    StateFile(path, SCOPE).record({"KEY": ("canary-0815", 3)})
    found = content(path)
    assert found["project_ids"] == ["project"]
    assert (found["environment"], found["push_count"], found["pull_count"], found["error_count"]) == ("dev", 1, 0, 0)
    assert found["last_sync"] == found["secrets"]["KEY"]["last_synced"]
    assert found["last_sync"].endswith("Z")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert "canary-0815" not in Path(path).read_text()


def test_comparison_ignores_white_space_that_the_server_trims(path: str) -> None:
    state = StateFile(path, SCOPE)
    state.record({"KEY": ("value", 3)})
    assert state.holds("KEY", "value")
    assert state.holds("KEY", "\u00a0value ")
    assert state.holds("KEY", "value", 3)
    assert not state.holds("KEY", "value", 4)
    assert not state.holds("KEY", "value\n")
    assert not state.holds("KEY", None)
    assert not state.holds("OTHER", "value")


def test_state_file_is_parsed_once_for_many_comparisons(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateFile(path, SCOPE)
    state.record({"A": ("one", 1), "B": ("two", 1)})
    parsed: list[bytes] = []
    parse = state_module._parse
    monkeypatch.setattr(state_module, "_parse", lambda raw: parsed.append(raw) or parse(raw))
    assert state.holds("A", "one") and state.holds("B", "two") and not state.holds("C", "three")
    assert len(parsed) == 1
    StateFile(path, SCOPE).record({"C": ("three", 1)})
    assert state.holds("C", "three")


def test_forget_removes_only_the_given_entries(path: str) -> None:
    state = StateFile(path, SCOPE)
    state.record({"KEY": ("value", 1)})
    state.record({"OTHER": ("value", 1)})
    state.forget(["KEY"])
    state.forget(["NEVER"])
    assert not state.holds("KEY", "value")
    assert state.holds("OTHER", "value")


def test_reading_or_forgetting_does_not_create_a_state_file(path: str, tmp_path: Path) -> None:
    state = StateFile(path, SCOPE)
    assert not state.holds("KEY", "value")
    state.forget(["KEY"])
    assert os.listdir(tmp_path) == []


def test_unknown_fields_of_a_state_file_are_kept(path: str) -> None:
    Path(path).write_text(json.dumps({"secrets": {}, "push_count": 12, "pull_count": 47, "agent": {"x": 1}}))
    os.chmod(path, 0o600)
    StateFile(path, SCOPE).record({"KEY": ("value", 1)})
    found = content(path)
    assert (found["push_count"], found["pull_count"], found["agent"]) == (13, 47, {"x": 1})


@pytest.mark.parametrize(
    "other", [Location("other", "dev", "/app"), Location("project", "prod", "/app"), Location("project", "dev", "/")]
)
def test_state_file_of_another_location_is_refused(path: str, other: Location) -> None:
    StateFile(path, SCOPE).record({"KEY": ("value", 1)})
    before = Path(path).read_bytes()
    mistaken = StateFile(path, other)
    for ask in (lambda: mistaken.holds("KEY", "value"), lambda: mistaken.record({"KEY": ("value", 1)})):
        with pytest.raises(ConfigurationError, match="another location") as caught:
            ask()
        assert caught.value.option == "state_file"
    assert Path(path).read_bytes() == before


BEGINNING = b'{\n  "environment": "dev",'
DAMAGE = {
    "cut short": BEGINNING,
    "empty": b"",
    "no secrets": BEGINNING + b' "push_count": 0}',
    "secrets no object": BEGINNING + b' "secrets": []}',
    "count no number": BEGINNING + b' "secrets": {}, "push_count": "x"}',
    "no text": BEGINNING + b"\xff\x00",
    "deep": BEGINNING + b' "secrets": ' + b"[" * 200_000,
    "cut at its beginning": b'EN", "project_ids": []',
}
FOREIGN = {
    "JSON": b'{"my": "config"}',
    "list": b"[]",
    "YAML": b"---\na: 1\n",
    "passwd": b"root:x:0:0:root:/root:/bin/sh\n",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_file_that_is_not_a_state_file_is_refused_and_unchanged(tmp_path: Path, content: bytes) -> None:
    path = str(tmp_path / "settings.json")
    Path(path).write_bytes(content)
    state = StateFile(path, SCOPE)
    for use in (state.check, lambda: state.holds("KEY", "value"), lambda: state.record({"KEY": ("value", 1)})):
        with pytest.raises(ConfigurationError, match="is not a state file"):
            use()
    assert Path(path).read_bytes() == content
    assert not [name for name in os.listdir(tmp_path) if "damaged" in name]


def test_state_file_in_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must be a directory"):
        StateFile(str(tmp_path / "none" / "state.json"), SCOPE).check()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_state_file_is_moved_aside_with_a_warning(path: str, tmp_path: Path, damage: bytes) -> None:
    Path(path).write_bytes(damage)
    os.chmod(path, 0o600)
    warnings: list[str] = []
    state = StateFile(path, SCOPE, warnings.append)
    assert not state.holds("KEY", "value")
    assert Path(path).read_bytes() == damage
    state.record({"KEY": ("value", 1)})
    assert state.holds("KEY", "value")
    assert len(warnings) == 1
    [aside] = [name for name in os.listdir(tmp_path) if ".damaged-" in name]
    assert aside in warnings[0]
    assert (tmp_path / aside).read_bytes() == damage


def test_error_text_with_a_lone_surrogate_keeps_the_file_valid(path: str) -> None:
    state = StateFile(path)
    state.record({"A": ("one", 1)})
    state.record_error("no environment '\ud800'", "2027-01-15T08:00:00Z")
    assert StateFile(path).head()["last_error"]["message"] == "no environment '\\ud800'"
    assert StateFile(path).is_intact()


def test_damaged_entry_is_replaced(path: str) -> None:
    Path(path).write_text(json.dumps({"secrets": {"KEY": "x", "OTHER": None}}))
    os.chmod(path, 0o600)
    state = StateFile(path, SCOPE)
    assert not state.holds("KEY", "value")
    assert not state.holds("OTHER", "value")
    state.record({"KEY": ("value", 1)})
    assert state.holds("KEY", "value")


def test_state_file_that_others_can_read_causes_a_warning(path: str) -> None:
    warnings: list[str] = []
    state = StateFile(path, SCOPE, warnings.append)
    state.record({"KEY": ("value", 1)})
    state.holds("KEY", "value")
    assert warnings == []
    os.chmod(path, 0o644)
    state.holds("KEY", "value")
    assert "readable by other users" in warnings[0]


def test_concurrent_writes_to_a_state_file_lose_nothing(path: str, start: Callable[..., subprocess.Popen[str]]) -> None:
    writers, each = 4, 15
    processes = [start(RECORD, path, number, each) for number in range(writers)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _output, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
    found = content(path)
    assert len(found["secrets"]) == writers * each
    assert found["push_count"] == writers * each


@pytest.mark.parametrize("linked", ["state", "lock"])
def test_link_in_place_of_the_state_file_or_lock_is_refused(path: str, tmp_path: Path, linked: str) -> None:
    target = tmp_path / "target"
    target.write_text(json.dumps({"secrets": {}}))
    os.symlink(target, path if linked == "state" else path + ".lock")
    with pytest.raises(ConfigurationError, match="symbolic link") as caught:
        StateFile(path, SCOPE).record({"KEY": ("value", 1)})
    assert caught.value.option == "state_file"
    assert json.loads(target.read_text()) == {"secrets": {}}


def test_missing_directory_of_a_state_file_is_reported(tmp_path: Path) -> None:
    state = StateFile(str(tmp_path / "none" / "state.json"), SCOPE)
    assert not state.holds("KEY", "value")
    with pytest.raises(ConfigurationError, match="its directory exists"):
        state.record({"KEY": ("value", 1)})


def test_state_file_without_permission_is_a_storage_error(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    StateFile(path, SCOPE).record({"KEY": ("value", 1)})

    def fail(path: str, **_options: object) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(files, "read_regular", fail)
    for act in (StateFile(path).head, StateFile(path, SCOPE).check, lambda: StateFile(path).update(job="shop")):
        with pytest.raises(StorageFailed, match="has no permission") as caught:
            act()
        assert path in caught.value.problem
        assert f"Give user {os.geteuid()} permission to read" in caught.value.hint


def test_relative_path_of_a_state_file_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="absolute"):
        StateFile("state.json", SCOPE)


def test_lock_timeout_error_names_the_lock(
    path: str, monkeypatch: pytest.MonkeyPatch, start: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start(
        "import fcntl, sys\n"
        "with open(sys.argv[1], 'w') as lock:\n"
        "    fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.readline()",
        path + ".lock",
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    monkeypatch.setattr(state_module, "LOCK_TIMEOUT", 0.2)
    with pytest.raises(ConfigurationError, match="locked by another process"):
        StateFile(path, SCOPE).record({"KEY": ("value", 1)})
    assert not os.path.exists(path)


def test_state_hash_is_the_sha256_of_key_and_value(path: str) -> None:
    StateFile(path, SCOPE).record({"ÜBER": ("straße", 1)})
    assert content(path)["secrets"]["ÜBER"]["hash"] == hashlib.sha256("ÜBER:straße".encode()).hexdigest()
