# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a run's files: identities do not share files, and login methods without a secret have a key too."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ansible")

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import LOGIN_OPTIONS, Settings
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import sealed_files, sealed_table
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fast_path import CachedListing, FastPath
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_files import SealedFiles

AWS = Settings("https://infisical.example.com", "aws_auth", identity_id="of-aws")


def recall(settings: Settings, folder: Path) -> Any:
    sealed_files._OPENED.clear()
    return SealedFiles(settings, folder).recall("token")


@pytest.mark.parametrize("option", ["url", *LOGIN_OPTIONS])
def test_other_login_options_do_not_open_a_file(tmp_path: Path, option: str) -> None:
    SealedFiles(AWS, tmp_path).note("token", {"value": "CANARY"})
    assert recall(AWS, tmp_path) == {"value": "CANARY"}
    other = replace(AWS, **{option: "another"})
    assert SealedFiles(other, tmp_path).tag != SealedFiles(AWS, tmp_path).tag
    [path] = tmp_path.iterdir()
    path.rename(SealedFiles(other, tmp_path).path("token"))
    assert recall(other, tmp_path) is None


def test_forks_share_the_secret_of_a_run() -> None:
    context = multiprocessing.get_context("fork")  # the one that Ansible uses
    with context.Pool(2) as pool:
        assert {*pool.map(_get, range(4))} == {sealed_table.get_run_secret()}


def _get(number: int) -> str:
    return sealed_table.get_run_secret()


def test_another_run_has_another_secret() -> None:
    printing = f"from {sealed_table.__name__} import get_run_secret; print(get_run_secret())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    others = [subprocess.check_output([sys.executable, "-c", printing], env=environment, text=True) for _each in "ab"]
    assert len({*others, sealed_table.get_run_secret() + "\n"}) == 3
    assert all(len(text) > 40 for text in others)


@pytest.mark.parametrize(
    "given",
    [{}, {"auth_method": "tls_cert_auth", "client_cert": "/c.pem"}, {"auth_method": "ldap_auth", "password": "1234"}],
    ids=str,
)
def test_options_alone_do_not_open_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    settings = replace(AWS, **given)
    SealedFiles(settings, tmp_path).note("token", {"value": "CANARY"})
    [path] = tmp_path.iterdir()
    monkeypatch.setattr(sealed_files, "get_run_secret", lambda: "of another process")
    path.rename(SealedFiles(settings, tmp_path).path("token"))
    assert recall(settings, tmp_path) is None


def test_fast_path_without_a_secret_needs_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"auth_method": "aws_auth", "identity_id": "of-aws"}
    first = FastPath(options, {}, lambda value: value, str(tmp_path))
    first.keep(CachedListing(str(tmp_path / "generation"), "1", "table", "00", "folder", []), "")
    [path] = tmp_path.glob("*.fast")
    assert FastPath(options, {}, lambda value: value, str(tmp_path))._read() is not None
    monkeypatch.setattr(f"{FastPath.__module__}.get_run_secret", lambda: "of another process")
    second = FastPath(options, {}, lambda value: value, str(tmp_path))
    assert second._path != str(path)
    path.rename(second._path)
    assert second._read() is None
