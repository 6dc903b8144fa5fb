# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Key sources: valid and invalid keys, and messages that never contain a key."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="the vault needs cryptography")

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.credentials import HeldKey
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import systemd
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
    MissingLibrary,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.store import Vault
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf import scrypt

KEY = b"CANARY-in-a-key-of-32-bytes-long"
PASSPHRASE = "CANARY passphrase"


def private(path: Path, data: bytes, mode: int = 0o600) -> str:
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def refused(source: keys.KeySource) -> InfisicalError:
    with pytest.raises(InfisicalError) as caught:
        source.secret()
    assert "CANARY" not in f"{caught.value!r} {caught.value}"
    return caught.value


# Derivation


def test_derive_matches_the_rfc_5869_vectors() -> None:
    # Appendix A.1
    derived = keys.derive(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert derived.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )  # fmt: skip


def test_stretch_matches_the_rfc_7914_vectors() -> None:
    # Section 12, third vector; its 64 bytes begin with the 32 that are asked for here
    stretched = keys.stretch(b"pleaseletmein", b"SodiumChloride", 14, 8, 1)
    assert stretched.hex() == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"


@pytest.mark.parametrize("cost", [(0, 8, 1), (21, 8, 1), (15, 0, 1), (15, 17, 1), (15, 8, 0), (15, 8, 5), (-1, 8, 1)])
def test_scrypt_cost_out_of_bounds_is_refused(cost: tuple[int, int, int]) -> None:
    assert not keys.is_allowed_cost(*cost)
    with pytest.raises(ValueError, match="out of bounds"):
        keys.stretch(b"pass", b"salt", *cost)


@pytest.mark.parametrize("cost", [(1, 1, 1), (20, 16, 4), (15, 8, 1)])
def test_scrypt_cost_within_the_bounds_is_allowed(cost: tuple[int, int, int]) -> None:
    assert keys.is_allowed_cost(*cost)


@pytest.mark.parametrize("when", ["__init__", "derive"])
def test_error_about_missing_scrypt_suggests_alternatives(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise UnsupportedAlgorithm("This version of OpenSSL does not support scrypt")

    class Refusing:
        def __init__(self, **_options: object) -> None:
            if when == "__init__":
                refuse()

        derive = refuse

    monkeypatch.setattr(scrypt, "Scrypt", Refusing)
    with pytest.raises(ConfigurationError, match="Use key_file or key_credential") as caught:
        keys.stretch(b"pass", b"salt", 14, 8, 1)
    assert caught.value.option == "passphrase"


def test_missing_library_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.kdf.hkdf", None)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.kdf.scrypt", None)
    with pytest.raises(MissingLibrary, match="python3-cryptography"):
        keys.derive(KEY, b"", b"", 32)
    with pytest.raises(MissingLibrary, match="python3-cryptography"):
        keys.stretch(KEY, b"", 1, 1, 1)


# One source


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("key_file", "/etc/key", keys.KeyFile("/etc/key")),
        ("key_credential", "vault", keys.Credential("vault")),
        ("passphrase", PASSPHRASE, keys.Passphrase(PASSPHRASE)),
        ("passphrase_file", "/etc/pass", keys.PassphraseFile("/etc/pass")),
    ],
)
def test_key_source_depends_on_the_option_that_is_set(option: str, value: str, expected: keys.KeySource) -> None:
    others: dict[str, str | None] = {
        name: "" if index % 2 else None
        for index, name in enumerate(("key_file", "key_credential", "passphrase", "passphrase_file"))
        if name != option
    }
    source = keys.key_source(**{**others, option: value})
    assert source == expected
    assert source.kind == ("key" if option.startswith("key") else "passphrase")


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, "got 0"), ({"key_file": "", "passphrase": None}, "got 0"),
     ({"key_file": "/k", "passphrase": PASSPHRASE}, "got 2"),
     ({"passphrase_file": "/p", "passphrase": PASSPHRASE}, "got 2")],
)  # fmt: skip
def test_error_about_no_or_several_keys_names_all_key_options(given: dict[str, str | None], count: str) -> None:
    with pytest.raises(ConfigurationError, match=count) as caught:
        keys.key_source(**given)
    assert caught.value.option == "key_file"
    for option in ("key_file", "key_credential", "passphrase", "passphrase_file"):
        assert option in str(caught.value)
    assert PASSPHRASE not in str(caught.value)


def test_repr_of_a_key_source_does_not_show_its_secret(tmp_path: Path) -> None:
    sources: list[keys.KeySource] = [
        keys.KeyFile(private(tmp_path / "key", KEY)),
        keys.Passphrase(PASSPHRASE),
        keys.PassphraseFile(private(tmp_path / "pass", PASSPHRASE.encode())),
    ]
    for source in sources:
        assert b"CANARY" in source.secret()  # so that repr() would show a cached secret
        assert "CANARY" not in f"{source!r} {source}"


# Key files


def test_key_file_is_read_once_and_byte_for_byte(tmp_path: Path) -> None:
    source = keys.KeyFile(private(tmp_path / "key", KEY))
    assert source.secret() == KEY
    (tmp_path / "key").unlink()
    assert source.secret() == KEY


@pytest.mark.parametrize("data", [b"", KEY[:31], KEY + b"\n", KEY.hex().encode()])
def test_key_file_of_the_wrong_length_is_refused(tmp_path: Path, data: bytes) -> None:
    error = refused(keys.KeyFile(private(tmp_path / "key", data)))
    assert error.conclusion == "configuration"
    assert "32 bytes" in str(error)


def test_missing_key_file_hint_names_option_and_command(tmp_path: Path) -> None:
    error = refused(keys.KeyFile(str(tmp_path / "key")))
    assert isinstance(error, ConfigurationError)
    assert error.option == "key_file"
    assert "keygen" in error.hint
    assert "create_key: true" in error.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o660])
def test_key_file_that_others_can_access_is_refused(tmp_path: Path, mode: int) -> None:
    for source in (keys.KeyFile(private(tmp_path / "key", KEY, mode)),
                   keys.PassphraseFile(private(tmp_path / "pass", PASSPHRASE.encode(), mode))):  # fmt: skip
        error = refused(source)
        assert error.conclusion == "unsafe_file"
        assert "chmod 600" in str(error)


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "pipe"])
def test_key_path_that_is_not_a_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    if kind == "link":
        path.symlink_to(private(tmp_path / "real", KEY))
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "directory":
        path.mkdir(0o700)
    else:
        os.mkfifo(path, 0o600)
    for source in (keys.KeyFile(str(path)), keys.PassphraseFile(str(path))):
        assert refused(source).conclusion == "unsafe_file"


def test_new_key_file_is_random_and_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert keys.make_key_file(str(tmp_path / "one"))
        assert keys.make_key_file(str(tmp_path / "two"))
    finally:
        os.umask(before)
    one = keys.KeyFile(str(tmp_path / "one")).secret()
    assert len(one) == 32
    assert one != keys.KeyFile(str(tmp_path / "two")).secret()
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_existing_key_file_is_never_replaced(tmp_path: Path) -> None:
    path = private(tmp_path / "key", KEY)
    (tmp_path / "link").symlink_to("nowhere")
    assert not keys.make_key_file(path)
    assert not keys.make_key_file(str(tmp_path / "link"))
    assert keys.KeyFile(path).secret() == KEY
    assert sorted(os.listdir(tmp_path)) == ["key", "link"]


def test_new_key_file_error_names_the_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(InfisicalError, match=f"install -d -m 700 '{tmp_path}/missing'") as caught:
        keys.make_key_file(str(tmp_path / "missing" / "key"))
    assert caught.value.conclusion == "storage"


# Passphrases


def test_passphrase_is_encoded_as_utf8_and_never_trimmed(tmp_path: Path) -> None:
    for text in ("  pässwörd 🗝  ", "\ufeffpässwörd", "x\n", "\n\n"):
        assert keys.Passphrase(text).secret() == text.encode()
        assert keys.PassphraseFile(private(tmp_path / "pass", text.encode() + b"\n")).secret() == text.encode()
    assert keys.PassphraseFile(private(tmp_path / "pass", b"no newline")).secret() == b"no newline"


@pytest.mark.parametrize("data", [b"", b"\n", b"CANARY \xff\xfe", b"CANARY" * 1000])
def test_invalid_passphrase_file_is_not_quoted_in_the_error(tmp_path: Path, data: bytes) -> None:
    error = refused(keys.PassphraseFile(private(tmp_path / "pass", data)))
    assert isinstance(error, ConfigurationError)
    assert error.option == "passphrase_file"


def test_passphrase_of_the_maximum_length_is_accepted(tmp_path: Path) -> None:
    longest = b"x" * keys.LONGEST_PASSPHRASE
    assert keys.PassphraseFile(private(tmp_path / "pass", longest + b"\n")).secret() == longest
    refused(keys.PassphraseFile(private(tmp_path / "longer", longest + b"x")))


@pytest.mark.parametrize("text", ["", "CANARY \ud800", "CANARY" * 1000])
def test_invalid_passphrase_is_not_quoted_in_the_error(text: str) -> None:
    error = refused(keys.Passphrase(text))
    assert isinstance(error, ConfigurationError)
    assert error.option == "passphrase"


def test_short_passphrase_is_refused_for_new_vaults_only() -> None:
    short = keys.Passphrase("ÄÖÜäöü7")  # 7 characters, 13 bytes
    assert len(short.secret()) == 13
    with pytest.raises(ConfigurationError, match="at least 8"):
        keys.check_new_key(short)
    keys.check_new_key(keys.Passphrase("12345678"))


# Credentials of systemd


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_credential_that_the_group_can_read_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    path = private(tmp_path / "vault-key", KEY, mode)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert keys.Credential("vault-key").secret() == KEY
    assert keys.KeyFile(path).secret() == KEY
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nonexistent")
    if mode == 0o440:
        assert refused(keys.KeyFile(path)).conclusion == "unsafe_file"


@pytest.mark.root
def test_key_file_in_the_credentials_directory_is_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = private(tmp_path / "vault-key", KEY, 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for option in ("key_file", "passphrase_file"):
        assert keys.key_source(**{option: path}).secret() == KEY
        assert refused(keys.key_source(**{option: path}, credentials="")).conclusion == "unsafe_file"


@pytest.mark.root
def test_credential_that_everybody_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private(tmp_path / "vault-key", KEY, 0o444)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert refused(keys.Credential("vault-key")).conclusion == "unsafe_file"


def test_credential_of_the_wrong_length_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private(tmp_path / "vault-key", KEY + b"\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert "exactly 32 bytes" in str(refused(keys.Credential("vault-key")))


@pytest.mark.parametrize("name", ["", ".hidden", "../key", "a/b", "a b", "a\n", "ä", "x" * 256])
def test_credential_name_that_is_a_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = tmp_path / "credentials"
    (folder / "a").mkdir(parents=True)
    for there in ("key", "credentials/.hidden", "credentials/a/b", "credentials/a b", "credentials/ä"):
        private(tmp_path / there, KEY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    error = refused(keys.Credential(name))
    assert isinstance(error, ConfigurationError)
    assert error.option == "key_credential"
    assert "must be a credential's name" in str(error)


def systemd_creds(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a fake systemd-creds first in PATH, so that the machine's credentials are not used."""
    program = folder / "systemd-creds"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.mark.root
def test_root_decrypts_a_credential_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd_creds(tmp_path, monkeypatch, f"echo \"$@\" > '{tmp_path}/arguments'; printf %s '{KEY.decode()}'")
    source = keys.Credential("vault.key")
    assert source.secret() == KEY
    assert (tmp_path / "arguments").read_text() == (
        "decrypt --name=vault.key /etc/credstore.encrypted/vault.key -\n"
    )  # fmt: skip
    (tmp_path / "arguments").unlink()
    assert source.secret() == KEY
    assert not (tmp_path / "arguments").exists()


@pytest.mark.root
def test_systemd_creds_error_is_quoted_without_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd_creds(tmp_path, monkeypatch, f"printf %s '{KEY.decode()}'; echo 'No such credential' >&2; exit 1")
    assert "No such credential" in str(refused(keys.Credential("vault-key")))
    systemd_creds(tmp_path, monkeypatch, "printf %s 'CANARY'")
    assert "exactly 32 bytes" in str(refused(keys.Credential("vault-key")))


@pytest.mark.root
def test_decryption_error_is_remembered_after_root_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd_creds(tmp_path, monkeypatch, "echo 'No local key' >&2; exit 1")
    source = keys.Credential("vault-key")
    assert "No local key" in str(refused(source))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "No local key" in str(refused(source))


@pytest.mark.root
def test_credential_is_not_decrypted_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd_creds(tmp_path, monkeypatch, f"touch '{tmp_path}/called'; printf %s '{KEY.decode()}'")
    (tmp_path / "installed").write_text("0" * 31 + "1\n")
    monkeypatch.setattr(systemd, "INSTALLED_MACHINE_ID", str(tmp_path / "installed"))
    error = refused(keys.Credential("vault-key"))
    assert error.conclusion == "key_lost"
    assert "Run the role scheduled_sync again" in str(error)
    assert not (tmp_path / "called").exists()


def test_missing_systemd_creds_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert "cannot be started" in str(refused(keys.Credential("vault-key")))


def test_error_for_other_users_has_the_command_with_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    error = refused(keys.Credential("vault-key"))
    assert isinstance(error, ConfigurationError)
    assert error.option == "key_credential"
    assert "sudo systemd-creds decrypt --name=vault-key /etc/credstore.encrypted/vault-key -" in str(error)


# Two keys, while one is rotated


def test_key_file_with_two_keys_opens_vaults_of_both(tmp_path: Path) -> None:
    newer, older = bytes(range(32)), bytes(range(32, 64))
    path = tmp_path / "key"
    path.write_bytes(keys.join_keys(newer, older))
    path.chmod(0o600)
    both = keys.KeyFile(str(path))
    for name, key in (("newer", newer), ("older", older), ("both", both.secret())):
        vault = Vault(str(tmp_path / name), HeldKey(key))
        vault.put("A", name)
        assert Vault(vault.path, both).read().secrets["A"].value == name
    assert Vault(str(tmp_path / "both"), HeldKey(newer)).read().count == 1, "the newer key seals"


@pytest.mark.parametrize("size", [0, 31, 33, 64, 81, 83])
def test_key_data_of_the_wrong_length_is_refused(size: int) -> None:
    assert keys.split_keys((keys.join_keys(bytes(32), bytes(32)) + b"x")[:size]) == ()
    assert keys.split_keys(bytes(64)) == ()
