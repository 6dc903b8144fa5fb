# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins with every method against the test server, and the hints for logins that it rejects."""

from __future__ import annotations

import contextlib
import copy
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="the proofs need cryptography")

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.auth import Login
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.transport import Clock, Transport
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import jwt
from contract.proofs import METHODS, PASSWORD, Proofs, id_of
from contract.targets import PROJECT, SEED, SERVER_PYTHON
from dev_server.client import DevServer
from dev_server.tls import Authority
from unit.metadata_server import ROLE

LOGINS = "/auth/[a-z-]+/login$"


@pytest.fixture(scope="module")
def _proofs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proofs]:
    made = Proofs(tmp_path_factory.mktemp("proofs"))
    yield made
    made.close()


@pytest.fixture
def proofs(_proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> Proofs:
    for name, value in _proofs.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    return _proofs


@pytest.fixture(scope="module")
def _process(_proofs: Proofs) -> Iterator[DevServer]:
    with DevServer("2026-07-paid", python=SERVER_PYTHON) as process:
        yield process


def seed(proofs: Proofs) -> dict[str, Any]:
    document = copy.deepcopy(SEED)
    document["identities"] += proofs.identities({PROJECT: "viewer"})
    document["settings"] = {**document.get("settings", {}), **proofs.trust()}
    return document


@pytest.fixture
def server(_process: DevServer, proofs: Proofs) -> DevServer:
    """The test server with an identity for each method, and with HTTP, on a plan with LDAP."""
    _process.use_profile("2026-07-paid")
    _process.seed(seed(proofs))
    return _process


@pytest.fixture(scope="module")
def _demanding(_proofs: Proofs) -> Iterator[DevServer]:
    clients = _proofs.folder / "clients.pem"
    with DevServer("2026-07", seed(_proofs), client_ca=clients, python=SERVER_PYTHON) as process:
        yield process


@pytest.fixture
def demanding(_demanding: DevServer, proofs: Proofs) -> DevServer:
    """A test server that demands a client certificate."""
    _demanding.seed(seed(proofs))
    return _demanding


class Ahead(Clock):
    """A clock that is wrong by some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def time(self) -> float:
        return time.time() + self.seconds

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a login must not wait")


def login(server: DevServer, ahead: float = 0.0, **options: Any) -> Login:
    given = {"url": server.url, "timeout": 10, "ca_path": server.ca_path or "", **options}
    return Login(Transport(Settings.from_options(given), clock=Ahead(ahead)))


def fail(proofs: Proofs, server: DevServer, ahead: float = 0.0, **options: Any) -> InfisicalError:
    """Return the error of a login that must be sent at most once and must not quote a proof."""
    server.clear_requests()
    one = login(server, ahead, **options)
    with pytest.raises(InfisicalError) as caught:
        one.current()
    if caught.value.conclusion == "credentials_rejected":
        with pytest.raises(InfisicalError):
            one.current()
    assert len(server.requests(LOGINS)) <= 1
    text = f"{caught.value!r} {caught.value} {vars(caught.value)} {one._transport.settings!r}"
    assert not [secret for secret in proofs.secrets if secret in text]
    return caught.value


def server_for(method: str, request: pytest.FixtureRequest) -> DevServer:
    found: DevServer = request.getfixturevalue("demanding" if method == "tls_cert_auth" else "server")
    return found


@pytest.mark.parametrize("method", METHODS)
def test_each_method_logs_in(proofs: Proofs, request: pytest.FixtureRequest, method: str) -> None:
    server = server_for(method, request)
    one = login(server, **proofs.options(method))
    assert one.current() == one.current()
    assert method in {token["identity"] for token in server.living_tokens()}
    assert one.revoke() is None
    assert method not in {token["identity"] for token in server.living_tokens()}


def test_agent_logs_in_with_a_key(proofs: Proofs, server: DevServer) -> None:
    # The agent's own issuer and subject are in the settings of the identity.
    document = seed(proofs)
    [row] = [row for row in document["identities"] if row["name"] == "jwt_auth"]
    row["methods"]["jwt-auth"].update(boundIssuer=jwt.ISSUER, boundSubject="host:web1", boundAudiences=jwt.AUDIENCE)
    server.seed(document)
    key = proofs.write("key.pem", proofs.private)
    options = {"auth_method": "jwt_auth", "identity_id": id_of("jwt_auth"), "jwt_key_file": key}
    assert login(server, jwt_subject="host:web1", **options).current()
    assert login(server, ahead=45, jwt_subject="host:web1", **options).current()
    error = fail(proofs, server, jwt_subject="host:web2", **options)
    assert "the subject 'host:web2'" in error.hint
    error = fail(proofs, server, ahead=-3630, jwt_subject="host:web1", **options)
    assert "jwt expired" in error.problem and "This host's clock is 60 min behind the server's" in error.hint


@pytest.mark.parametrize("method", METHODS)
def test_missing_method_error_names_identity_and_method(
    proofs: Proofs, request: pytest.FixtureRequest, method: str
) -> None:
    server = server_for(method, request)
    error = fail(proofs, server, **{**proofs.options(method), "identity_id": "bare"})
    assert (error.conclusion, error.status) == ("credentials_rejected", 404)
    assert "auth method not found for identity" in error.problem
    assert error.hint.startswith("Add this auth method to the machine identity in Infisical")
    assert "The identity is bare." in error.hint


@pytest.mark.parametrize(
    ("claims", "status", "hint"),
    [
        ({"sub": "repo:other"}, 403, "Set the subject in the identity's auth method"),
        ({"aud": "other"}, 401, "Add the token's audience to the identity's auth method"),
        ({"iss": "https://other.example.com"}, 403, "Set the issuer in the identity's auth method"),
        ({"nbf": 4_000_000_000}, 401, "correct the clock of this host or of the server"),
        ({"key": jwt.generate_key()[0]}, 401, "Add the public key of the token's issuer"),
    ],
    ids=["subject", "audience", "issuer", "not yet", "signature"],
)
@pytest.mark.parametrize("method", ["jwt_auth", "oidc_auth"])
def test_rejected_token_error_shows_its_claims(
    proofs: Proofs, server: DevServer, method: str, claims: dict[str, Any], status: int, hint: str
) -> None:
    options = {**proofs.options(method), "jwt_path": proofs.write("changed.jwt", proofs.sign(method, **claims))}
    error = fail(proofs, server, **options)
    assert (error.conclusion, error.status) == ("credentials_rejected", status)
    assert hint in error.hint and f"The identity is {id_of(method)}. The token has the issuer 'http" in error.hint


def test_token_that_expires_on_the_server_is_explained(proofs: Proofs, server: DevServer) -> None:
    options = proofs.options("jwt_auth")
    server.advance(600)
    error = fail(proofs, server, **options)
    assert "jwt expired" in error.problem and "Provide a new token." in error.hint and "expires at 2" in error.hint


def test_claim_of_a_namespace_that_is_not_allowed_has_a_hint(proofs: Proofs, server: DevServer) -> None:
    path = proofs.write("other.jwt", proofs.sign("kubernetes_auth", sub="system:serviceaccount:other:web"))
    error = fail(proofs, server, **{**proofs.options("kubernetes_auth"), "jwt_path": path})
    assert "namespace not allowed" in error.problem
    assert error.hint.startswith("Compare the settings of the identity's auth method in Infisical with its proof.")


def test_rotated_token_is_used_for_the_next_login(proofs: Proofs, server: DevServer) -> None:
    options = proofs.options("oidc_auth")
    one = login(server, **options)
    first = one.current()
    Path(options["jwt_path"]).write_text(proofs.sign("oidc_auth", jti="second"))
    assert one.renew(first) not in (None, first)
    assert len(server.requests(LOGINS)) == 2
    Path(options["jwt_path"]).write_text("")
    with pytest.raises(InfisicalError, match="is empty"):
        one.renew(first)


# AWS


def test_unknown_principal_and_wrong_clock_are_explained(
    proofs: Proofs, server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = proofs.options("aws_auth")
    assert login(server, ahead=600, **options).current()
    error = fail(proofs, server, ahead=3630, **options)
    assert error.hint.startswith("Correct the clock of this host")
    assert "This host's clock is 60 min ahead of the server's" in error.hint
    for name, value in {
        "ACCESS_KEY_ID": "AKIAOTHER",
        "SECRET_ACCESS_KEY": "cAnAry-of-other",
        "REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    error = fail(proofs, server, **options)
    assert "principal ARN not allowed" in error.problem and error.hint.startswith("Add the AWS principal")
    assert "from the environment variable AWS_ACCESS_KEY_ID" in error.hint
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "cAnAry-wrong")
    error = fail(proofs, server, **options)
    assert error.conclusion == "credentials_rejected"
    assert error.hint.startswith("Correct AWS_SECRET_ACCESS_KEY, which does not belong to AWS_ACCESS_KEY_ID.")


# LDAP


def test_wrong_password_is_sent_once_and_locks_out(proofs: Proofs, server: DevServer) -> None:
    options = {**proofs.options("ldap_auth"), "password": "cAnAry-wrong"}
    for _time in range(3):
        error = fail(proofs, server, **options)
        assert error.conclusion == "credentials_rejected"
        assert error.hint.startswith("Check username and password. The login is not retried")
    for password in ("cAnAry-wrong", PASSWORD):
        error = fail(proofs, server, **{**options, "password": password})
        assert error.conclusion == "locked_out" and "for LDAP auth: password" in error.hint


def test_server_without_ldap_names_the_plan(proofs: Proofs, server: DevServer) -> None:
    server.use_profile("2026-07")
    error = fail(proofs, server, **proofs.options("ldap_auth"))
    assert (error.conclusion, error.status) == ("route_missing", 404)
    assert error.hint.startswith("Upgrade the plan of this Infisical")


def test_old_server_without_the_login_is_explained(proofs: Proofs, server: DevServer) -> None:
    server.use_profile("2024")
    error = fail(proofs, server, **proofs.options("spiffe_auth"))
    assert error.conclusion == "route_missing" and "this version of Infisical does not have this login" in error.hint


# Client certificates


def test_common_name_that_is_not_allowed_is_named(proofs: Proofs, demanding: DevServer) -> None:
    other = proofs.write_certificate("web2", proofs.authority)
    error = fail(proofs, demanding, **{**proofs.options("tls_cert_auth"), "client_cert": other})
    assert "common name not allowed" in error.problem and error.status == 401
    assert "Add the certificate's common name" in error.hint
    assert "The certificate has the subject 'CN=web2' and the issuer 'CN=Fleet CA', and expires at 2" in error.hint


def test_certificate_of_another_ca_is_explained(proofs: Proofs, demanding: DevServer) -> None:
    document = seed(proofs)
    [row] = [row for row in document["identities"] if row["name"] == "tls_cert_auth"]
    row["methods"]["tls-cert-auth"]["caCertificate"] = Authority.make("Other CA").pem.decode()
    demanding.seed(document)
    error = fail(proofs, demanding, **proofs.options("tls_cert_auth"))
    assert "not issued by the provided CA" in error.problem
    assert error.hint.startswith("Set client_cert to a certificate of the CA in the identity's TLS certificate auth")


def test_proxy_that_hides_the_certificate_is_explained(proofs: Proofs) -> None:
    with DevServer("2026-07", seed(proofs), tls=True, python=SERVER_PYTHON) as server:
        error = fail(proofs, server, **proofs.options("tls_cert_auth"))
    assert (error.conclusion, error.status) == ("credentials_rejected", 400)
    assert "IDENTITY_TLS_CERT_AUTH_CLIENT_CERTIFICATE_HEADER_KEY" in error.hint


def test_certificate_is_presented_with_other_methods_too(proofs: Proofs, demanding: DevServer) -> None:
    assert login(demanding, **{**proofs.options("oidc_auth"), "client_cert": proofs.certificate}).current()


def test_html_of_a_proxy_may_be_about_the_certificate(proofs: Proofs, demanding: DevServer) -> None:
    # Assumed: nginx responds with HTML if a client certificate is missing or not valid.
    demanding.arm("html", status=400, path="/login$")
    error = fail(proofs, demanding, **proofs.options("tls_cert_auth"))
    assert error.conclusion == "not_json" and "check client_cert and client_key" in error.hint


class TlsServer:
    """A TLS server that demands a client certificate of the fleet's CA, and sends OpenSSL's alerts."""

    def __init__(self, proofs: Proofs, version: ssl.TLSVersion) -> None:
        own = Authority.make("Server CA")
        self.ca_path = proofs.write("server-ca.pem", own.pem)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.maximum_version = version
        self._context.load_cert_chain(proofs.write("server.pem", b"".join(own.issue("localhost", ["127.0.0.1"]))))
        self._context.load_verify_locations(proofs.folder / "clients.pem")
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            # Read to the end like real servers. Otherwise, a reset could overtake the alert.
            with connection.dup() as rest, contextlib.suppress(OSError):
                with contextlib.suppress(OSError):
                    self._context.wrap_socket(connection, server_side=True).close()
                rest.settimeout(10)
                rest.shutdown(socket.SHUT_WR)
                while rest.recv(65536):
                    pass

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_rejected_handshake_is_explained(proofs: Proofs, version: ssl.TLSVersion) -> None:
    server = TlsServer(proofs, version)
    paths = {
        "": "set client_cert and client_key",
        proofs.write_certificate("web1", Authority.make("Other CA")): "Set client_cert to a certificate of a CA",
        proofs.write_certificate("web2", proofs.authority, ends=-1): "Check client_cert, which may have expired",
    }
    try:
        for path, hint in paths.items():
            one = {**proofs.options("oidc_auth"), "client_cert": path, "url": server.url, "ca_path": server.ca_path}
            transport = Transport(Settings.from_options(one), clock=Ahead(0))
            with pytest.raises(InfisicalError) as caught:
                Login(transport).current()
            assert caught.value.conclusion == "certificate"
            assert hint.lower() in caught.value.hint.lower()
    finally:
        server.close()


def test_certificate_and_key_in_two_files_are_used(proofs: Proofs, demanding: DevServer) -> None:
    certificate, key = proofs.authority.issue("web1")
    given = {"client_cert": proofs.write("c.pem", certificate, 0o644), "client_key": proofs.write("k.pem", key)}
    assert login(demanding, **{**proofs.options("tls_cert_auth"), **given}).current()


# Canaries


@pytest.mark.parametrize("method", [method for method in METHODS if method != "tls_cert_auth"])
def test_proof_echoed_by_the_server_is_not_in_the_error(
    proofs: Proofs, server: DevServer, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    constant = proofs.sign(method)
    monkeypatch.setattr(proofs, "sign", lambda method: constant)
    proof = {"ldap_auth": PASSWORD, "aws_auth": ROLE["Token"]}.get(method, constant)
    server.arm("status", status=401, message=f"Access denied: {proof} is wrong", path="/login$")
    error = fail(proofs, server, **proofs.options(method))
    assert (error.conclusion, error.status) == ("credentials_rejected", 401)
    assert proof[:30] not in f"{error} {error!r}"
