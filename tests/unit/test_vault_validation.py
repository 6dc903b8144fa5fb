# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of vaults and state files are validated when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import parse_json
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import format as vault_format
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys, state
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import store as vault

CANARY = "canary-77aa"
TIME = "2026-01-01T00:00:00Z"
HEAD = b'{"jobs":{},"origins":[["","","","/"]],"count":1}'
ROW = f'{{"A":["{CANARY}",0,null,"",0,"{TIME}"]}}'.encode()


def seal(made: vault.Vault, text: bytes) -> None:
    """Replace the vault's text with any text, sealed with the same key."""
    opened = made._open()
    Path(made.path).write_bytes(vault_format.seal(opened.header, opened.data_key, text))


@pytest.fixture
def made(tmp_path: Path) -> vault.Vault:
    keys.make_key_file(str(tmp_path / "key"))
    found = vault.Vault(str(tmp_path / "vault"), keys.KeyFile(str(tmp_path / "key")))
    found.put("A", CANARY)
    return found


def test_valid_decrypted_content_is_read(made: vault.Vault) -> None:
    seal(made, HEAD + b"\n" + ROW)
    assert made.verify().secrets["A"].value == CANARY
    seal(made, HEAD + b"\n" + ROW.replace(CANARY.encode(), b"\\ud83e\\udd8a"))
    assert made.verify().secrets["A"].value == "🦊"


@pytest.mark.parametrize(
    "text",
    [
        HEAD + b"\n" + ROW.replace(CANARY.encode(), b"canary-77aa\\ud800"),
        HEAD + b"\n" + ROW.replace(CANARY.encode(), b"canary-77aa\\uDCFF"),
        HEAD + b"\n" + ROW.replace(CANARY.encode(), b"canary-77aa\xed\xa0\x80"),
        HEAD + b"\n" + ROW.replace(b'"A"', b'"\\udc00"'),
        HEAD + b"\n" + ROW.replace(b'null,""', b'"\\ud800",""'),
        HEAD + b"\n" + ROW.replace(b'null,""', b'null,"\\ud800"'),
        HEAD + b"\n" + b"{" + ROW[1:-1] + b"," + ROW[1:-1] + b"}",
        HEAD + b"\n" + ROW + b"\n",
        HEAD + b"\n" + ROW + b" ",
        HEAD + b"\n" + ROW + b"{}",
        HEAD + b"\n" + b" " + ROW,
        HEAD + b" \n" + ROW,
        b"\xef\xbb\xbf" + HEAD + b"\n" + ROW,
        HEAD.replace(b'"/"', b'"\\ud800"') + b"\n" + ROW,
        HEAD.replace(b'"count":1', b'"count":1,"count":1') + b"\n" + ROW,
        HEAD.replace(b'"jobs":{}', b'"jobs":{"x":{},"x":{}}') + b"\n" + ROW,
        HEAD.replace(b'"jobs":{}', b'"jobs":{"x":{"y":NaN}}') + b"\n" + ROW,
        (HEAD + b"\n" + ROW).decode().encode("utf-16"),
    ],
)  # fmt: skip
def test_invalid_decrypted_content_is_reported_as_damage(made: vault.Vault, text: bytes) -> None:
    seal(made, text)
    state_file = state.StateFile(made.path + ".json", beside=made.path)
    acts: list[Callable[[], object]] = [
        made.verify,
        lambda: made.read().secrets,
        lambda: made.read().get("A"),
        lambda: local.put(made, state_file, "B", "2"),
        lambda: made.remove("A"),
    ]
    for act in acts:
        with pytest.raises(InfisicalError) as caught:
            act()
        assert caught.value.conclusion == "vault_damaged"
        assert made.path in str(caught.value) and CANARY not in str(caught.value)
    assert not Path(state_file.path).exists()


@pytest.mark.parametrize(
    "head",
    [
        {"generation": "7"}, {"generation": True}, {"push_count": True}, {"vault": 5}, {"job": ["x"]}, {"last_sync": 1},
        {"environment_checked": 7}, {"last_error": {"time": 5, "message": "x"}}, {"environment": "\ud800"},
        {"project_ids": ["\udcff"]},
    ],
    ids=lambda head: str(head).encode("ascii", "backslashreplace").decode(),
)  # fmt: skip
def test_state_file_with_an_invalid_field_is_moved_aside(tmp_path: Path, head: dict[str, Any]) -> None:
    path = tmp_path / state.STATE_FILE
    warnings: list[str] = []
    kept = state.StateFile(str(path), warn=warnings.append)
    path.write_text(json.dumps({"project_ids": [], "secrets": {}, "error_count": 3}))
    assert kept.head()["error_count"] == 3
    path.write_text(json.dumps({"project_ids": [], "secrets": {}, "error_count": 3, **head}))
    assert kept.head()["error_count"] == 0
    kept.update(last_sync=TIME)
    assert "was damaged" in warnings[-1]
    assert kept.head()["last_sync"] == TIME


def test_oversized_state_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_LARGEST", 1000)
    path = tmp_path / "state.json"
    path.write_text(" " * 1001)
    with pytest.raises(InfisicalError, match="too large"):
        state.StateFile(str(path)).head()


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100_000, b"NaN", b'["\\ud800"]', b'{"a":1,"a":2}', b"\xff", b"1 2"])
def test_unusable_json_raises_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not JSON that can be used"):
        parse_json(raw)
