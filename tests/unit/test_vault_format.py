# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual page about the vault's format: a reader based on it opens new vaults, and its vectors are correct."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import plan
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import format as vault_format
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import store as vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.contents import Contents
from unit.vault_reader import Opened, Unreadable, open_vault

PAGE = Path(__file__).parents[2] / "docs" / "docsite" / "rst" / "vault_format.rst"
TIME = "2026-01-01T00:00:00Z"
WORDS = "correct horse battery"

BLOCK = re.compile(r"^\.\. code-block:: text\n\n((?:   .*\n)+)", re.MULTILINE)
FIELD = re.compile(r"^   (\S.*?)  +(\S.*)$")


def blocks() -> tuple[str, dict[str, str], dict[str, str]]:
    """Return the text and the fields of both test vectors on the page."""
    text, *vectors = BLOCK.findall(PAGE.read_text("utf-8").partition("\nTest vectors\n")[2])
    found: list[dict[str, str]] = []
    for vector in vectors:
        fields: dict[str, str] = {}
        for line in vector.splitlines():
            field = FIELD.match(line)
            if field:
                name, value = field.groups()
            else:
                value = line.strip()
            fields[name] = fields.get(name, "") + value
        found.append(fields)
    first, second = found
    return "\n".join(line[3:] for line in text.splitlines()), first, second


TEXT, BY_KEY, BY_PASSPHRASE = blocks()
VECTORS = pytest.mark.parametrize("vector", [BY_KEY, BY_PASSPHRASE], ids=["key", "passphrase"])


def put_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def source_of(vector: dict[str, str], directory: Path) -> keys.KeySource:
    if "passphrase" in vector:
        return keys.Passphrase(vector["passphrase"])
    return keys.KeyFile(str(put_file(directory / "key", bytes.fromhex(vector["key"]))))


def read_by_page(path: Path, source: keys.KeySource) -> Opened:
    if source.kind == "key":
        return open_vault(path, key=source.secret())
    return open_vault(path, passphrase=source.secret().decode())


def as_the_library_says(contents: Contents) -> dict[str, dict[str, object]]:
    names = ("value", "job", "project_id", "environment", "secret_path", "key", "id", "version", "synced_at")
    return {name: {of: getattr(secret, of) for of in names} for name, secret in contents.secrets.items()}


def test_manual_page_contains_both_test_vectors() -> None:
    common = {
        "vault id", "salt", "check value", "wrapping key", "wrap nonce", "data key", "wrapped data key", "hash key",
        "data nonce", "file",
    }  # fmt: skip
    assert set(BY_KEY) == common | {"key"}
    assert set(BY_PASSPHRASE) == common | {"passphrase", "wrapping secret"}
    assert TEXT.count("\n") == 1


@VECTORS
def test_reader_based_on_the_manual_opens_the_test_vectors(tmp_path: Path, vector: dict[str, str]) -> None:
    path = put_file(tmp_path / "vault", bytes.fromhex(vector["file"]))
    opened = read_by_page(path, source_of(vector, tmp_path))
    assert opened.text == TEXT
    assert opened.generation == 2
    for name in set(vector) - {"key", "passphrase", "file"}:
        assert opened.keys[name].hex() == vector[name], name


@VECTORS
def test_library_opens_the_test_vectors(tmp_path: Path, vector: dict[str, str]) -> None:
    path = put_file(tmp_path / "vault", bytes.fromhex(vector["file"]))
    source = source_of(vector, tmp_path)
    contents = vault.Vault(str(path), source).verify()
    assert (contents.generation, contents.vault_id) == (2, vector["vault id"])
    assert contents.hash_key.hex() == vector["hash key"]
    opened = read_by_page(path, source)
    assert as_the_library_says(contents) == opened.entries
    assert contents.jobs == opened.jobs == {"app": {"etag": 'W/"1"'}}


@VECTORS
def test_library_writes_the_test_vectors_byte_for_byte(
    tmp_path: Path, vector: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = [bytes.fromhex(vector[name]) for name in ("vault id", "data key", "salt", "wrap nonce", "data nonce")]
    random.insert(4, bytes(12))  # the first generation's, which is gone
    monkeypatch.setattr(vault_format, "random_bytes", lambda count: random.pop(0))
    monkeypatch.setattr(vault, "now", lambda: TIME)
    made = vault.Vault(str(tmp_path / "vault"), source_of(vector, tmp_path))
    token = Secret("token", 's3cr"et\n☃', 3, "id-1", "/web", "prod", project_id="p1")
    with made.writing(create=True) as draft:
        draft.apply(plan.build({}, {"TOKEN": token}), job="app", record={"etag": 'W/"1"'})
    made.put("EMPTY", "")
    assert (tmp_path / "vault").read_bytes().hex() == vector["file"]
    assert random == []


@pytest.mark.parametrize("kind", ["key", "passphrase"])
def test_reader_based_on_the_manual_opens_new_vaults(tmp_path: Path, kind: str) -> None:
    keys.make_key_file(str(tmp_path / "key"))
    by_key, words = keys.KeyFile(str(tmp_path / "key")), keys.Passphrase(WORDS)
    source: keys.KeySource = by_key if kind == "key" else words
    made = vault.Vault(str(tmp_path / "vault"), source)
    wanted = {
        name: Secret("other" if number % 2 else name, name * number, number, f"id {number}", f"/{number % 3}", "dev",
                     project_id=f"p{number % 2}")
        for number, name in enumerate(["", "a", "\n", "\0", "é\u2028🦊", '"\\', "\x7f", "\ufeff"])
    }  # fmt: skip
    with made.writing(create=True) as draft:
        draft.apply(plan.build({}, wanted), job="app", record={"x": [1, None, {"y": True}]})
    made.put("ONE", "by a person")
    made.remove("a")
    for step in ("written", "rekeyed", "rekeyed with data"):
        if step != "written":
            source = words if source is by_key else by_key
            made.rekey(source, data=step.endswith("data"))
        contents, opened = made.read(), read_by_page(tmp_path / "vault", source)
        assert opened.entries == as_the_library_says(contents), step
        assert len(opened.entries) == len(wanted)
        assert (opened.jobs, opened.generation) == (contents.jobs, contents.generation)
        assert opened.vault_id.hex() == contents.vault_id
        assert opened.keys["hash key"] == contents.hash_key


@pytest.mark.parametrize("mask", [0x01, 0x80])
@pytest.mark.parametrize("kind", ["key", "passphrase"])
def test_library_and_example_program_report_the_same_damage(
    tmp_path: Path, kind: str, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_format, "NEW_COST", (4, 1, 1))
    keys.make_key_file(str(tmp_path / "key"))
    source: keys.KeySource = keys.KeyFile(str(tmp_path / "key")) if kind == "key" else keys.Passphrase(WORDS)
    made, path = vault.Vault(str(tmp_path / "vault"), source), tmp_path / "vault"
    made.put("A", "1")
    whole = path.read_bytes()

    def compare(data: bytes, what: str) -> None:
        path.write_bytes(data)
        with pytest.raises(Unreadable) as by_page:
            read_by_page(path, source)
        with pytest.raises(InfisicalError) as by_library:
            made.read()
        assert by_library.value.conclusion == str(by_page.value), what

    for offset in range(len(whole)):
        compare(whole[:offset] + bytes([whole[offset] ^ mask]) + whole[offset + 1 :], f"byte {offset}")
    for length in range(len(whole)):
        compare(whole[:length], f"cut after {length}")
