# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Login methods: their options, the bodies of their logins, and the files with their proofs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    CredentialsRejected,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import LOGIN_METHODS
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import jwt, methods, proof_files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login.methods import (
    LoginMethod,
    LoginRequest,
)
from unit.ids import name_text

NOW = 1_795_903_200.0
"""2026-11-28T22:00:00Z."""

PRIVATE, PUBLIC = jwt.generate_key()
TOKEN = jwt.sign(PRIVATE, "host:web1", NOW)
LATER = jwt.sign(PRIVATE, "host:web1", NOW + 200)
ID = "11111111-2222-4333-8444-555555555555"
WITH_JWT = ("oidc_auth", "jwt_auth", "spiffe_auth", "kubernetes_auth")


def settings(method: str, **given: Any) -> Settings:
    return Settings.from_options({"url": "https://infisical.example.com", "auth_method": method, **given})


def method(name: str, **given: Any) -> LoginMethod:
    made = methods.method_for(settings(name, **given))
    assert isinstance(made, LoginMethod)
    return made


def prepare(name: str, now: float = NOW, **given: Any) -> LoginRequest:
    return method(name, identity_id=ID, **given).prepare(now)


def refuse(name: str, **given: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        method(name, **given).prepare(NOW)
    texts = f"{caught.value!r} {caught.value}"
    assert "CANARY" not in texts and TOKEN[:40] not in texts
    return caught.value


def private(path: Path, content: str | bytes, mode: int = 0o600) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return str(path)


def test_every_method_has_a_class() -> None:
    assert set(methods.METHODS) == set(LOGIN_METHODS)


# Options


def test_universal_auth_sends_the_client_id_and_secret() -> None:
    request = method("universal_auth", client_id="id", client_secret="CANARY").prepare(NOW)
    assert request == LoginRequest(
        "/api/v1/auth/universal-auth/login", "log in with universal auth",
        {"clientId": "id", "clientSecret": "CANARY"}, ("CANARY",), CredentialsRejected.hint, "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "option"),
    [
        ("universal_auth", {}, "client_id"),
        ("universal_auth", {"client_id": "id"}, "client_secret"),
        ("universal_auth", {"token": "CANARY"}, "auth_method"),
        ("universal_auth", {"identity_id": ID}, "auth_method"),
        ("universal_auth", {"jwt": TOKEN}, "auth_method"),
        ("universal_auth", {"client_id": "id", "jwt": TOKEN}, "client_secret"),
        ("token", {}, "token"),
        ("token", {"token": "CANARY two"}, "token"),
        *((name, {"jwt": TOKEN}, "identity_id") for name in WITH_JWT),
        *((name, {"identity_id": ID}, "jwt_path") for name in ("oidc_auth", "jwt_auth", "spiffe_auth")),
        *((name, {"identity_id": ID, "jwt": TOKEN, "jwt_path": "/x"}, "jwt") for name in WITH_JWT),
        ("jwt_auth", {"identity_id": ID, "jwt_key_file": "/x", "jwt_path": "/x", "jwt_subject": "x"}, "jwt_path"),
        ("jwt_auth", {"identity_id": ID, "jwt_key_file": "/x"}, "jwt_subject"),
        ("oidc_auth", {"identity_id": ID, "jwt_key_file": "/x", "jwt_subject": "x"}, "jwt_path"),
        ("ldap_auth", {"username": "u", "password": "CANARY"}, "identity_id"),
        ("ldap_auth", {"identity_id": ID, "password": "CANARY"}, "username"),
        ("ldap_auth", {"identity_id": ID, "username": "u"}, "password"),
    ],
)  # fmt: skip
def test_missing_or_contradicting_option_is_named(name: str, given: dict[str, str], option: str) -> None:
    assert refuse(name, **given).option == option


@pytest.mark.parametrize("name", WITH_JWT)
def test_variables_with_two_tokens_are_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable in ("INFISICAL_JWT", "INFISICAL_OIDC_AUTH_JWT", "INFISICAL_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH"):
        monkeypatch.setenv(variable, "CANARY")
    monkeypatch.setenv("INFISICAL_JWT_PATH", "/CANARY")
    given = {"identity_id": ID, "jwt": TOKEN, "jwt_path": "/x"}
    variables = ["INFISICAL_JWT", "INFISICAL_JWT_PATH"]
    variables[1:1] = ["INFISICAL_OIDC_AUTH_JWT"] if name == "oidc_auth" else []
    variables += ["INFISICAL_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH"] if name == "kubernetes_auth" else []
    assert refuse(name, **given).hint == f"Set only one of them. The environment contains {' and '.join(variables)}."
    for variable in variables:
        monkeypatch.delenv(variable)
    assert refuse(name, **given).hint == "Set only one of them."


def test_missing_token_names_only_options_of_modules() -> None:
    assert "jwt_key_file" not in str(refuse("jwt_auth", identity_id=ID))


def test_options_of_other_methods_are_ignored() -> None:
    request = prepare("oidc_auth", jwt=TOKEN, client_id="id", client_secret="CANARY", token="CANARY", username="u")
    assert request.body == {"identityId": ID, "jwt": TOKEN}
    assert (
        "identity_id" not in method("universal_auth", client_id="i", client_secret="s", identity_id=ID).prepare(0).body
    )


@pytest.mark.parametrize(
    ("name", "given", "path", "body"),
    [
        ("oidc_auth", {"jwt": TOKEN}, "oidc-auth", {"jwt": TOKEN}),
        ("jwt_auth", {"jwt": f"\n{TOKEN} "}, "jwt-auth", {"jwt": TOKEN}),
        ("spiffe_auth", {"jwt": TOKEN}, "spiffe-auth", {"jwt": TOKEN}),
        ("kubernetes_auth", {"jwt": TOKEN}, "kubernetes-auth", {"jwt": TOKEN}),
        ("ldap_auth", {"username": "u", "password": "CANARY"}, "ldap-auth", {"username": "u", "password": "CANARY"}),
    ],
)
def test_login_has_the_documented_body(name: str, given: dict[str, str], path: str, body: dict[str, str]) -> None:
    request = prepare(name, organization_slug="lab", **given)
    assert request.path == f"/api/v1/auth/{path}/login"
    assert request.body == {"identityId": ID, "organizationSlug": "lab", **body}
    assert request.secrets in ((TOKEN,), ("CANARY",))
    assert ID in request.facts and TOKEN not in request.facts and "CANARY" not in request.facts


def test_facts_describe_the_token() -> None:
    facts = prepare("jwt_auth", jwt=TOKEN).facts
    assert facts == (
        f"The identity is {ID}. The token has the issuer 'keyfleet.infisical', the subject 'host:web1' and the "
        "audience 'infisical', and expires at 2026-11-28T22:05:00Z."
    )


def test_only_passwords_and_client_secrets_lock_out() -> None:
    assert {name for name, made in methods.METHODS.items() if made.locks_out} == {"universal_auth", "ldap_auth"}


# Files


def test_token_file_is_read_for_each_login(tmp_path: Path) -> None:
    made = method("oidc_auth", identity_id=ID, jwt_path=private(tmp_path / "token", f"\ufeff{TOKEN}\n"))
    assert made.prepare(NOW).body["jwt"] == TOKEN
    private(tmp_path / "token", LATER)
    assert made.prepare(NOW).body["jwt"] == LATER


def test_key_file_signs_a_new_token_for_each_login(tmp_path: Path) -> None:
    key = private(tmp_path / "key", PRIVATE)
    made = method("jwt_auth", identity_id=ID, jwt_key_file=key, jwt_subject="host:web1")
    first, second = (made.prepare(now) for now in (NOW, NOW + 3600))
    assert first.secrets == (first.body["jwt"],)
    claims = [jwt.read_claims(request.body["jwt"]) for request in (first, second)]
    assert [claim and (claim["sub"], claim["exp"]) for claim in claims] == [
        ("host:web1", NOW + 300), ("host:web1", NOW + 3900),
    ]  # fmt: skip


def test_kubernetes_reads_the_service_account_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Kubernetes mounts the file as a link to a link.
    (tmp_path / "2026").mkdir()
    private(tmp_path / "2026" / "token", TOKEN)
    (tmp_path / "data").symlink_to("2026")
    (tmp_path / "token").symlink_to("data/token")
    assert methods.SERVICE_ACCOUNT_TOKEN == "/var/run/secrets/kubernetes.io/serviceaccount/token"
    monkeypatch.setattr(methods, "SERVICE_ACCOUNT_TOKEN", str(tmp_path / "token"))
    assert prepare("kubernetes_auth").body["jwt"] == TOKEN


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"CANARY", "must be a JSON web token"),
        (b"\xff\xfe", "must be a JSON web token"),
        (TOKEN.encode() + b"\nCANARY", "must be a JSON web token"),
        (b"x" * 65_537, "must have at most 65536 bytes"),
    ],
    ids=name_text,
)
def test_unusable_token_file_error_does_not_quote_it(tmp_path: Path, content: bytes, problem: str) -> None:
    error = refuse("oidc_auth", identity_id=ID, jwt_path=private(tmp_path / "token", content))
    assert error.option == "jwt_path" and problem in error.problem and error.hint


def test_unusable_place_of_a_token_is_described(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, problem in (("missing", "does not exist"), ("pipe", "not a regular file"), ("", "not a regular file")):
        error = refuse("oidc_auth", identity_id=ID, jwt_path=str(tmp_path / path))
        assert problem in error.problem and error.hint


@pytest.mark.parametrize(
    ("name", "option", "more"),
    [
        ("oidc_auth", "jwt_path", {}), ("jwt_auth", "jwt_key_file", {"jwt_subject": "x"}),
        ("tls_cert_auth", "client_cert", {}), ("tls_cert_auth", "client_key", {"client_cert": "CERTIFICATE"}),
    ],
)  # fmt: skip
def test_relative_path_of_a_proof_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, option: str, more: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    private(tmp_path / "proof", TOKEN)
    certificate = private(tmp_path / "certificate", "-----BEGIN CERTIFICATE-----")
    given = {key: certificate if value == "CERTIFICATE" else value for key, value in more.items()}
    error = refuse(name, identity_id=ID, **{**given, option: "proof"})
    assert (error.option, error.problem) == (option, f"{option}: must be an absolute path (got 'proof').")


def test_expired_token_is_not_sent(tmp_path: Path) -> None:
    made = method("oidc_auth", identity_id=ID, jwt_path=private(tmp_path / "token", TOKEN))
    with pytest.raises(ConfigurationError, match=r"jwt_path: the token expired at 2026-11-28T22:05:00Z"):
        made.prepare(NOW + 301)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_own_file_that_others_can_access_is_refused(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "token", TOKEN, mode)
    error = refuse("oidc_auth", identity_id=ID, jwt_path=path)
    assert f"mode 0{mode:o}" in error.problem and f"chmod 600 '{path}'" in error.hint
    error = refuse("jwt_auth", identity_id=ID, jwt_key_file=path, jwt_subject="x")
    assert error.option == "jwt_key_file" and f"mode 0{mode:o}" in error.problem


@pytest.mark.root
def test_file_of_another_user_keeps_its_mode(tmp_path: Path) -> None:
    path = private(tmp_path / "token", TOKEN, 0o644)
    os.chown(path, 65534, 65534)
    assert proof_files.read_proof(path, "jwt_path") == TOKEN.encode()


@pytest.mark.root
def test_file_on_a_read_only_mount_keeps_its_mode(tmp_path: Path) -> None:
    path = private(tmp_path / "token", TOKEN, 0o644)
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", tmp_path], check=True)
        assert proof_files.read_proof(path, "jwt_path") == TOKEN.encode()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
