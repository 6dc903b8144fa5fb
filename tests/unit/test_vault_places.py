# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Different paths to the same file, and options of a vault that must not refer to the same file."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import STATE_FILE


def test_different_spellings_of_a_vault_path_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    here = f"{tmp_path}/a/x"
    for other in (f"{tmp_path}//a/x", f"{tmp_path}/a/./x", f"{tmp_path}/link/x", "a/x", f"{tmp_path}/link/../a/x"):
        assert files.is_same_place(here, other)
        assert files.is_same_place(other, here)
    for other in (f"{tmp_path}/a/y", f"{tmp_path}/x", f"{tmp_path}/a/x/x", f"{tmp_path}/none/x"):
        assert not files.is_same_place(here, other)
    assert files.is_same_place(f"{tmp_path}/none/x", f"{tmp_path}/none//x")


@pytest.mark.parametrize("end", ["", ".previous", ".lock", ".cycle.lock"])
@pytest.mark.parametrize("folder", ["", "link/"])
def test_state_file_path_used_by_the_vault_is_refused(tmp_path: Path, folder: str, end: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    key = keys.KeyFile(str(tmp_path / "key"))
    with pytest.raises(ConfigurationError) as caught:
        local.open_vault(str(tmp_path / STATE_FILE), key, f"{tmp_path}/{folder}{STATE_FILE}{end}")
    assert caught.value.option == "state_file"


@pytest.mark.parametrize("spelled", ["{}/v/", "{}/./v", "{}/link/../v", "{}/v//"])
def test_state_file_is_next_to_the_vault(tmp_path: Path, spelled: str) -> None:
    (tmp_path / "elsewhere" / "folder").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "folder")
    (tmp_path / "key").write_bytes(bytes(32))
    (tmp_path / "key").chmod(0o600)
    vault, state = local.open_vault(spelled.format(tmp_path), keys.KeyFile(str(tmp_path / "key")))
    local.put(vault, state, "A", "1")
    assert {"v", STATE_FILE} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("source", [keys.KeyFile, keys.PassphraseFile])
def test_key_file_path_used_by_vault_or_state_file_is_refused(tmp_path: Path, source: type[keys.KeyFile]) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for name, option in (("vault", "vault_path"), ("vault.previous", "vault_path"), ("state", "state_file")):
        with pytest.raises(ConfigurationError) as caught:
            local.open_vault(str(tmp_path / "vault"), source(str(tmp_path / "link" / name)), str(tmp_path / "state"))
        assert caught.value.option == option


def test_missing_directory_is_reported_for_the_vault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    vault, _state = local.open_vault(f"{tmp_path}/file/secrets.vault", keys.KeyFile(str(tmp_path / "key")))
    with pytest.raises(InfisicalError, match=r"^The vault .*/file/secrets\.vault cannot be ") as caught:
        vault.read()
    assert caught.value.conclusion == "storage"
