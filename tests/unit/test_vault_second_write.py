# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault is written before its state file. If the second write fails, its error reports the first write."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    InfisicalError,
    StorageFailed,
    after_writing,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import store as vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import HMAC, StateFile

STEPS = ("open", "fsync", "fchmod", "link", "rename")
Act = Callable[[vault.Vault, StateFile, keys.KeySource], object]
ACTIONS: dict[str, tuple[Act, str]] = {
    "set": (lambda made, state, new: local.put(made, state, "B", "2"), "'B' is in the vault"),
    "delete": (lambda made, state, new: local.remove(made, state, "A"), "'A' is no longer in the vault"),
    "rekey": (local.rekey, "was sealed with the given key"),
    "rekey --data": (
        lambda made, state, new: local.rekey(made, state, new, data=True), "was sealed with the given key",
    ),
    "data key alone": (
        lambda made, state, new: local.rekey(made, state, made._keys, data=True), "was sealed with the given key",
    ),
}  # fmt: skip
DURABLE = "The vault is intact and contains the changes"
"""The message of the vault if an error occurs after its new file is in place."""


class Disk:
    """Makes one call of a function in `os` fail as if the disk were full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str, number: int) -> None:
        self.left = number
        real = getattr(os, step)

        def call(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        monkeypatch.setattr(os, step, call)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("action", ACTIONS)
def test_every_error_states_whether_the_vault_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, step: str
) -> None:
    act, said = ACTIONS[action]
    behind = 0
    for number in range(1, 60):
        room = tmp_path / str(number)
        room.mkdir()
        for name in ("old", "new"):
            keys.make_key_file(str(room / name))
        old, new = keys.KeyFile(str(room / "old")), keys.KeyFile(str(room / "new"))
        old.secret(), new.secret()
        made, state = local.open_vault(str(room / "vault"), old)
        local.put(made, state, "A", "1")
        state.update(state_hash=HMAC)
        before = (room / "vault").read_bytes()
        with monkeypatch.context() as broken:
            disk = Disk(broken, step, number)
            try:
                act(made, state, new)
            except InfisicalError as error:
                failure: InfisicalError | None = error
            else:
                failure = None
        if failure is None:
            assert disk.left > 0
            break
        told, changed = str(failure), (room / "vault").read_bytes() != before
        assert changed == (said in told or DURABLE in told), told
        if said in told and "Only its state file" in told:
            behind += 1
            assert failure.details["changed"] is True
            assert "Run this again" not in told
            made, state = local.open_vault(str(room / "vault"), new if action.startswith("rekey") else old)
            local.put(made, state, "C", "3")
            assert state.head()["generation"] == made.read().generation
    else:
        raise AssertionError("it never succeeded")
    assert behind or step == "link"


def test_error_after_a_push_states_that_the_vault_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ansible", reason="the module needs ansible-core")
    from ansible_collections.keyfleet.infisical.plugins.modules import infisical_vault

    keys.make_key_file(str(tmp_path / "key"))
    made, state = local.open_vault(str(tmp_path / "vault"), keys.KeyFile(str(tmp_path / "key")))
    pushed = infisical_vault.WriteResult("create")

    def fail(**about: Any) -> None:
        raise StorageFailed("The state file cannot be written: the disk is full.")

    with monkeypatch.context() as broken:
        broken.setattr(state, "update", fail)
        with pytest.raises(InfisicalError) as caught:
            local.put(made, state, "A", "1")
    told = infisical_vault.as_partial_failure(pushed, "A", caught.value)
    assert "changed in Infisical (create)" in str(told)
    assert "'A' is in the vault" in str(told)
    assert "vault was not changed" not in str(told)
    lost = infisical_vault.as_partial_failure(pushed, "A", StorageFailed("The vault cannot be written."))
    assert "vault was not changed" in str(lost)


def test_error_details_of_both_writes_are_kept() -> None:
    with pytest.raises(InfisicalError) as caught, after_writing("First.", created=["A"]):
        error = StorageFailed("Second.", status=500)
        error.details = {"next_login": "x"}
        raise error
    assert str(caught.value) == "First. Second."
    assert (caught.value.conclusion, caught.value.status) == ("storage", 500)
    assert caught.value.details == {"changed": True, "next_login": "x", "created": ["A"]}


def test_each_write_opens_the_vault_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.make_key_file(str(tmp_path / "key"))
    made, state = local.open_vault(str(tmp_path / "vault"), keys.KeyFile(str(tmp_path / "key")))
    local.put(made, state, "A", "1")
    opened: list[str] = []
    open_file = vault.Vault._open_file
    monkeypatch.setattr(vault.Vault, "_open_file", lambda self, path: opened.append(path) or open_file(self, path))
    for write in (
        lambda: local.put(made, state, "A", "2"),
        lambda: local.put(made, state, "A", "2"),
        lambda: local.remove(made, state, "A"),
        lambda: local.rekey(made, state, made._keys, data=True),
    ):
        opened.clear()
        write()
        assert opened == [made.path]
    assert state.head()["generation"] == made.read().generation
