# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with client certificates and keys: each problem names the option and the file, and quotes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="the certificates are made with cryptography")

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.transport import Transport
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import certificates, methods
from cryptography.hazmat.primitives import serialization
from dev_server.tls import Authority, write_private
from unit.ids import name_text

AUTHORITY = Authority.make("Fleet CA")
CERTIFICATE, KEY = AUTHORITY.issue("web1")
OTHER_KEY = AUTHORITY.issue("web2")[1]
BASE = {"url": "https://infisical.example.com", "auth_method": "tls_cert_auth", "identity_id": "id"}


def encrypt(key: bytes) -> bytes:
    loaded: Any = serialization.load_pem_private_key(key, None)
    how = serialization.BestAvailableEncryption(b"passphrase")
    encrypted: bytes = loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    return encrypted


def write(folder: Path, name: str, content: bytes, mode: int = 0o600) -> str:
    write_private(folder / name, content)
    (folder / name).chmod(mode)
    return str(folder / name)


def refuse(**given: str) -> ConfigurationError:
    settings = Settings.from_options({**BASE, **given})
    with pytest.raises(ConfigurationError) as caught:
        certificates.find_pair(settings)
    with pytest.raises(ConfigurationError, match=caught.value.option):
        Transport(settings)._open()
    text = f"{caught.value!r} {caught.value}"
    assert not any(line in text for line in (*KEY.decode().split("\n")[1:-2], *OTHER_KEY.decode().split("\n")[1:-2]))
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


def test_pair_of_files_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = write(tmp_path, "both.pem", KEY + CERTIFICATE)
    assert certificates.find_pair(Settings.from_options({**BASE, "client_cert": both})) == (both, both)
    one, two = write(tmp_path, "c.pem", CERTIFICATE, 0o644), write(tmp_path, "k.pem", KEY)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = certificates.find_pair(Settings.from_options({**BASE, "client_cert": "~/c.pem", "client_key": "~/k.pem"}))
    assert found == (one, two)
    assert certificates.find_pair(Settings.from_options(BASE)) is None


def test_key_without_a_certificate_is_refused(tmp_path: Path) -> None:
    assert refuse(client_key=write(tmp_path, "k.pem", KEY)).option == "client_key"


def test_login_requires_a_certificate_and_https() -> None:
    with pytest.raises(ConfigurationError, match="client_cert"):
        methods.method_for(Settings.from_options(BASE))
    plain = {**BASE, "url": "http://127.0.0.1", "client_cert": "/c.pem"}
    with pytest.raises(ConfigurationError, match="url: must start with https://"):
        methods.method_for(Settings.from_options(plain))


@pytest.mark.parametrize(
    ("certificate", "key", "option", "problem"),
    [
        (None, KEY, "client_cert", "does not exist"),
        (CERTIFICATE, None, "client_key", "does not exist"),
        (b"", KEY, "client_cert", "is empty"),
        (KEY, KEY, "client_cert", "contains no certificate in PEM format"),
        (CERTIFICATE, CERTIFICATE, "client_key", "contains no private key in PEM format"),
        (CERTIFICATE, OTHER_KEY, "client_key", "does not belong to the certificate"),
        (CERTIFICATE, encrypt(KEY), "client_key", "is encrypted with a passphrase"),
        (CERTIFICATE[: len(CERTIFICATE) // 2], KEY, "client_key", "OpenSSL cannot use"),
        (CERTIFICATE, KEY[: len(KEY) // 2], "client_key", "OpenSSL cannot use"),
        (b"x" * 70_000, KEY, "client_cert", "at most 65536 bytes"),
    ],
    ids=name_text,
)
def test_unusable_file_is_named(
    tmp_path: Path, certificate: bytes | None, key: bytes | None, option: str, problem: str
) -> None:
    paths = {"client_cert": str(tmp_path / "c.pem"), "client_key": str(tmp_path / "k.pem")}
    for name, content in (("c.pem", certificate), ("k.pem", key)):
        if content is not None:
            write(tmp_path, name, content)
    error = refuse(**paths)
    assert error.option == option and problem in error.problem and paths[option] in error.problem
    assert error.hint


def test_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    error = refuse(client_cert=write(tmp_path, "both.pem", KEY + CERTIFICATE, 0o644))
    assert error.option == "client_cert" and "mode 0644" in error.problem
    paths = {"client_cert": write(tmp_path, "c.pem", CERTIFICATE), "client_key": write(tmp_path, "k.pem", KEY, 0o640)}
    assert refuse(**paths).option == "client_key"


def test_certificate_without_a_key_needs_client_key(tmp_path: Path) -> None:
    error = refuse(client_cert=write(tmp_path, "c.pem", CERTIFICATE))
    assert error.option == "client_cert" and error.hint == "Set client_key to the file of the key."


def test_description_has_subject_issuer_and_end(tmp_path: Path) -> None:
    described = certificates.describe(write(tmp_path, "c.pem", KEY + CERTIFICATE))
    assert described.startswith(
        "The certificate has the subject 'CN=web1' and the issuer 'CN=Fleet CA', and expires at 2"
    )
    assert certificates.describe(write(tmp_path, "c.pem", b"-----BEGIN CERTIFICATE-----")) == ""
