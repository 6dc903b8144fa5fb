# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the test server's login methods: which proofs it accepts, and why it refuses the others.

The recorded answers are in test_recording.py; this file tests what follows from them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("aiohttp", reason="the test server needs aiohttp, see requirements/dev_server.txt")
if sys.version_info < (3, 11):
    pytest.skip("the test server needs Python 3.11 or later", allow_module_level=True)

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature  # noqa: E402
from dev_server.client import DevServer  # noqa: E402
from dev_server.tls import Authority  # noqa: E402

RSA_KEY, OTHER_KEY = (rsa.generate_private_key(65537, 2048) for _each in range(2))
EC_KEY = ec.generate_private_key(ec.SECP256R1())
HEADER = "x-identity-tls-cert-auth-client-cert"
AUTHORITY, OTHER_AUTHORITY = Authority.make("Hosts"), Authority.make("Others")


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def make_jwt(
    claims: dict[str, Any], key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = RSA_KEY, algorithm: str = ""
) -> str:
    """Return a JWT that is valid for an hour, unless the claims say otherwise."""
    header = {"alg": algorithm or ("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")}
    parts = (header, {"exp": time.time() + 3600, **claims})
    signed = ".".join(encode(json.dumps(part).encode()) for part in parts)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        pair = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = b"".join(number.to_bytes(32, "big") for number in pair)
    return f"{signed}.{encode(signature)}"


METHODS: dict[str, Any] = {
    "jwt-auth": {
        "configurationType": "static",
        "publicKeys": [pem(OTHER_KEY), pem(RSA_KEY), pem(EC_KEY)],
        "boundIssuer": "keyfleet.infisical",
        "boundAudiences": "infisical,other",
        "boundClaims": {"team": "web,data", "ref": "refs/heads/*"},
        "boundSubject": "host:web*",
    },
    "oidc-auth": {"oidcDiscoveryUrl": "https://ci.example", "boundIssuer": "https://ci.example", "boundSubject": "job"},
    "kubernetes-auth": {
        "kubernetesHost": "https://k8s.example",
        "allowedNamespaces": "apps",
        "allowedNames": "web",
        "allowedAudience": "infisical",
    },
    "azure-auth": {"tenantId": "tenant", "allowedServicePrincipalIds": "principal"},
    "gcp-auth": {"allowedServiceAccounts": "web@shop.example", "allowedProjects": "shop", "allowedZones": "zone-a"},
    "aws-auth": {"allowedAccountIds": "1234", "allowedPrincipalArns": "arn:aws:iam::1234:role/Web*"},
    "tls-cert-auth": {"caCertificate": AUTHORITY.pem.decode(), "allowedCommonNames": "web1,web2"},
    "spiffe-auth": {
        "trustDomain": "shop.example",
        "allowedSpiffeIds": "spiffe://shop.example/web/*",
        "allowedAudiences": "infisical",
    },
    "ldap-auth": {"url": "ldaps://directory.example"},
}
ISSUERS = (
    "https://ci.example",
    "https://k8s.example",
    "https://sts.windows.net/tenant/",
    "https://accounts.google.com",
    "shop.example",
)
ROLE = "arn:aws:sts::1234:assumed-role/WebServer/i-0abc"
SEED: dict[str, Any] = {
    "projects": [{"id": "shop", "environments": [{"slug": "dev"}]}],
    "identities": [
        {"id": "host", "name": "host", "permissions": {"shop": "viewer"}, "methods": METHODS, "project": "shop"},
        {"name": "admin", "client_id": "admin-id", "client_secret": "s", "permissions": {"shop": "admin"}},
    ],
    "tokens": [{"identity": "admin", "token": "admin-token"}],
    "settings": {
        "issuer_keys": {issuer: [pem(RSA_KEY)] for issuer in ISSUERS},
        "aws": [
            {
                "access_key_id": key_id,
                "secret_access_key": "key",
                "session_token": session,
                "arn": arn,
                "account": account,
            }
            for key_id, session, arn, account in (
                ("AKIAWEB", "s", ROLE, "1234"),
                ("AKIAUSER", "", "arn:aws:iam::1234:user/me", "1234"),
                ("AKIAOTHER", "", ROLE, "99"),
            )
        ],
        "ldap_users": {"web1": "ldap-password"},
    },
}


@pytest.fixture(scope="module")
def running() -> Iterator[DevServer]:
    with DevServer(seed=SEED) as server:
        yield server


@pytest.fixture
def server(running: DevServer) -> DevServer:
    running.seed(SEED)
    running.use_profile("2026-07")
    return running


def send(
    server: DevServer,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    own = {"Content-Type": "application/json", "Authorization": "Bearer admin-token", **(headers or {})}
    request = urllib.request.Request(f"{server.url}{path}", data, own, method=method)
    try:
        response = urllib.request.urlopen(request, timeout=10, context=context)
    except urllib.error.HTTPError as error:
        response = error
    return response.status, json.loads(response.read())


def log_in(server: DevServer, method: str, headers: dict[str, str] | None = None, **body: Any) -> str:
    """Return `ok` or the status and message of the refusal."""
    path = f"/api/v1/auth/{method}/login"
    status, answer = send(server, "POST", path, {"identityId": "host", "organizationSlug": "test", **body}, headers)
    if status != 200:
        return f"{status} {answer['message']}"
    reading = send(server, "GET", "/api/v1/projects", headers={"Authorization": f"Bearer {answer['accessToken']}"})
    assert [project["id"] for project in reading[1]["projects"]] == ["shop"]
    return "ok"


def test_token_names_its_login_method(server: DevServer) -> None:
    server.revoke_tokens()
    assert log_in(server, "oidc-auth", jwt=make_jwt({"iss": "https://ci.example", "sub": "job"})) == "ok"
    assert [(one["identity"], one["method"]) for one in server.living_tokens()] == [("host", "oidc-auth")]


JWT = {"iss": "keyfleet.infisical", "sub": "host:web1", "aud": "infisical", "team": "web", "ref": "refs/heads/main"}
VERIFICATION = "401 Access denied: JWT verification failed with all keys. Errors - "


@pytest.mark.parametrize(
    ("claims", "answer"),
    [
        ({}, "ok"),
        ({"aud": ["x", "other"]}, "ok"),
        ({"team": ["ops", "data"]}, "ok"),
        ({"sub": "host:db1"}, "403 Access denied: subject not allowed"),
        ({"iss": "other"}, "403 Access denied: issuer mismatch"),
        ({"aud": "x"}, "401 Access denied: token audience not allowed"),
        ({"team": "ops"}, "401 Access denied: claim mismatch for field team"),
        ({"ref": "refs/tags/v1"}, "401 Access denied: claim mismatch for field ref"),
        ({"exp": 1000}, f"{VERIFICATION}invalid signature, jwt expired, invalid signature"),
        ({"nbf": 9e9}, f"{VERIFICATION}invalid signature, jwt not active, invalid signature"),
        ({"exp": "soon"}, f"{VERIFICATION}invalid signature, invalid exp value, invalid signature"),
    ],
)
def test_claims_of_a_jwt_are_checked(claims: dict[str, Any], answer: str, server: DevServer) -> None:
    assert log_in(server, "jwt-auth", jwt=make_jwt({**JWT, **claims})) == answer


def test_any_key_of_the_identity_verifies_a_jwt(server: DevServer) -> None:
    for key in (OTHER_KEY, EC_KEY):
        assert log_in(server, "jwt-auth", jwt=make_jwt(JWT, key)) == "ok"
    stranger = rsa.generate_private_key(65537, 2048)
    assert "invalid signature" in log_in(server, "jwt-auth", jwt=make_jwt(JWT, stranger))
    for algorithm in ("none", "HS256"):
        assert "invalid algorithm" in log_in(server, "jwt-auth", jwt=make_jwt(JWT, algorithm=algorithm))
    assert "invalid signature" in log_in(server, "jwt-auth", jwt=make_jwt(JWT, algorithm="ES256"))


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "e30.e30", "W10.e30.x", "e30.e30.e30.e30"])
def test_text_that_is_not_a_jwt_is_refused(text: str, server: DevServer) -> None:
    assert log_in(server, "jwt-auth", jwt=text) == "401 Access denied: Invalid JWT"


def test_proofs_are_checked_against_the_servers_clock(server: DevServer) -> None:
    server.advance(3601)
    assert "jwt expired" in log_in(server, "jwt-auth", jwt=make_jwt(JWT))
    assert "Signature expired" in log_in(server, "aws-auth", **sign_aws("AKIAWEB", "s"))


SUBJECT = "system:serviceaccount:apps:web"


@pytest.mark.parametrize(
    ("method", "right", "wrong", "answer"),
    [
        ("oidc-auth", {"iss": "https://ci.example", "sub": "job"}, {"sub": "x"}, "403 Access denied: subject not"),
        ("kubernetes-auth", {"sub": SUBJECT, "aud": ["infisical"]}, {"sub": "x"}, "401 Access denied: K8s service"),
        (
            "kubernetes-auth",
            {"sub": SUBJECT, "aud": ["infisical"]},
            {"sub": "system:serviceaccount:other:web"},
            "401 Access denied: K8s namespace not allowed",
        ),
        (
            "kubernetes-auth",
            {"sub": SUBJECT, "aud": ["infisical"]},
            {"sub": "system:serviceaccount:apps:db"},
            "401 Access denied: K8s name not allowed",
        ),
        ("kubernetes-auth", {"sub": SUBJECT, "aud": "infisical"}, {"aud": "x"}, "401 Access denied: K8s audience not"),
        (
            "azure-auth",
            {"tid": "tenant", "aud": "https://management.azure.com", "oid": "principal"},
            {"oid": "other"},
            "401 Access denied: Azure service principal not allowed",
        ),
        (
            "azure-auth",
            {"tid": "tenant", "aud": "https://management.azure.com/", "oid": "principal"},
            {"tid": "other"},
            "401 Access denied: Azure tenant not allowed",
        ),
        (
            "gcp-auth",
            {"aud": "host", "email": "web@shop.example",
             "google": {"compute_engine": {"project_id": "shop", "zone": "zone-a"}}},
            {"email": "db@shop.example"},
            "401 Access denied: GCP service account not allowed",
        ),
        (
            "gcp-auth",
            {"aud": "host", "email": "web@shop.example",
             "google": {"compute_engine": {"project_id": "shop", "zone": "zone-a"}}},
            {"aud": "another identity"},
            "401 Access denied: token audience not allowed",
        ),
        (
            "spiffe-auth",
            {"sub": "spiffe://shop.example/web/1", "aud": "infisical"},
            {"sub": "spiffe://shop.example/db/1"},
            "403 Access denied: SPIFFE ID not allowed",
        ),
        (
            "spiffe-auth",
            {"sub": "spiffe://shop.example/web/1", "aud": "infisical"},
            {"sub": "spiffe://other.example/web/1"},
            "403 Access denied: SPIFFE trust domain not allowed",
        ),
    ],
)  # fmt: skip
def test_jwt_of_a_platform_is_checked(
    method: str, right: dict[str, Any], wrong: dict[str, Any], answer: str, server: DevServer
) -> None:
    assert log_in(server, method, jwt=make_jwt(right)) == "ok"
    assert log_in(server, method, jwt=make_jwt({**right, **wrong})).startswith(answer)
    assert "invalid signature" in log_in(server, method, jwt=make_jwt(right, OTHER_KEY))


def test_keys_can_be_added_while_the_server_runs(server: DevServer) -> None:
    jwt = make_jwt({"iss": "https://ci.example", "sub": "job"}, OTHER_KEY)
    assert "invalid signature" in log_in(server, "oidc-auth", jwt=jwt)
    server.trust(issuer_keys={"https://ci.example": [pem(OTHER_KEY)]})
    assert log_in(server, "oidc-auth", jwt=jwt) == "ok"


# --- AWS ------------------------------------------------------------------------------------------------------------

BODY = "Action=GetCallerIdentity&Version=2011-06-15"


def sign_aws(
    key_id: str, session: str = "", secret: str = "key", seconds: float = 0, body: str = BODY, **changed: str
) -> dict[str, str]:
    """Return the fields of a login with a request to STS signed `seconds` from now, with headers changed later."""
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + seconds))
    headers = {
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        "Host": "sts.eu-west-1.amazonaws.com",
        "X-Amz-Date": date,
        **({"X-Amz-Security-Token": session} if session else {}),
    }
    names = ";".join(name.lower() for name in headers)
    lines = "".join(f"{name.lower()}:{value}\n" for name, value in headers.items())
    request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body.encode()).hexdigest()}"
    scope = f"{date[:8]}/eu-west-1/sts/aws4_request"
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    headers |= {"Content-Length": str(len(body)), "Authorization": f"AWS4-HMAC-SHA256 {credential}", **changed}
    return {
        "iamHttpRequestMethod": "POST",
        "iamRequestBody": base64.b64encode(body.encode()).decode(),
        "iamRequestHeaders": base64.b64encode(json.dumps(headers).encode()).decode(),
    }


REFUSED_BY_AWS = "401 Access denied: AWS STS: "


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"key_id": "AKIAWEB", "session": "s"}, "ok"),
        ({"key_id": "AKIAWEB", "session": "s", "seconds": -800}, "ok"),
        (
            {"key_id": "AKIAWEB", "session": "s", "seconds": -1000},
            f"{REFUSED_BY_AWS}SignatureDoesNotMatch: Signature expired",
        ),
        (
            {"key_id": "AKIAWEB", "session": "s", "seconds": 1000},
            f"{REFUSED_BY_AWS}SignatureDoesNotMatch: Signature expired",
        ),
        ({"key_id": "AKIAWEB", "session": "s", "secret": "other"}, f"{REFUSED_BY_AWS}SignatureDoesNotMatch"),
        (
            {"key_id": "AKIAWEB", "session": "s", "Host": "sts.us-east-1.amazonaws.com"},
            f"{REFUSED_BY_AWS}SignatureDoesNotMatch",
        ),
        ({"key_id": "AKIAWEB"}, f"{REFUSED_BY_AWS}InvalidClientTokenId"),
        ({"key_id": "AKIAUNKNOWN"}, f"{REFUSED_BY_AWS}InvalidClientTokenId"),
        ({"key_id": "AKIAWEB", "session": "s", "Authorization": "x"}, f"{REFUSED_BY_AWS}IncompleteSignature"),
        ({"key_id": "AKIAWEB", "session": "s", "body": "Action=DeleteAll"}, f"{REFUSED_BY_AWS}InvalidAction"),
        ({"key_id": "AKIAUSER"}, "401 Access denied: AWS principal ARN not allowed"),
        ({"key_id": "AKIAOTHER"}, "401 Access denied: AWS account ID not allowed"),
    ],
)
def test_signed_request_to_aws_is_verified(options: dict[str, Any], answer: str, server: DevServer) -> None:
    # Sign here, because tests are collected minutes before they run on a busy machine.
    assert log_in(server, "aws-auth", **sign_aws(**options)).startswith(answer)


def test_unreadable_headers_of_aws_are_refused(server: DevServer) -> None:
    proof = {**sign_aws("AKIAWEB", "s"), "iamRequestHeaders": "?"}
    assert log_in(server, "aws-auth", **proof).startswith(f"{REFUSED_BY_AWS}InvalidRequest")


# --- client certificates --------------------------------------------------------------------------------------------


def in_header(certificate: bytes) -> dict[str, str]:
    return {HEADER: quote(certificate, safe="")}


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        (in_header(AUTHORITY.issue("web2")[0]), "ok"),
        ({}, "400 Missing TLS certificate in header"),
        (in_header(AUTHORITY.issue("db1")[0]), "401 Access denied: TLS Certificate Auth common name not allowed."),
        (in_header(OTHER_AUTHORITY.issue("web1")[0]), "401 Access denied: Certificate not issued by the provided CA."),
        (in_header(AUTHORITY.issue("web1", ends=-1)[0]), "401 Access denied: Certificate has expired."),
        (in_header(AUTHORITY.issue("web1", starts=60)[0]), "401 Access denied: Certificate not yet valid."),
        ({HEADER: "nothing"}, "401 Access denied: Invalid certificate."),
    ],
)
def test_client_certificate_in_the_header_is_verified(headers: dict[str, str], answer: str, server: DevServer) -> None:
    assert log_in(server, "tls-cert-auth", headers) == answer


def test_server_hands_on_the_certificate_of_its_own_tls(tmp_path: Path) -> None:
    authorities, ours, others = tmp_path / "cas.pem", tmp_path / "ours.pem", tmp_path / "others.pem"
    authorities.write_bytes(AUTHORITY.pem + OTHER_AUTHORITY.pem)
    ours.write_bytes(b"".join(AUTHORITY.issue("web1")))
    others.write_bytes(b"".join(OTHER_AUTHORITY.issue("web1")))
    forged = in_header(AUTHORITY.issue("web1")[0])
    path, body = "/api/v1/auth/tls-cert-auth/login", {"identityId": "host"}
    with DevServer(seed=SEED, client_ca=authorities) as server:
        context = ssl.create_default_context(cafile=server.ca_path)
        with pytest.raises((OSError, urllib.error.URLError)):
            send(server, "POST", path, body, forged, context)
        context.load_cert_chain(others)
        status, answer = send(server, "POST", path, body, forged, context)
        assert (status, answer["message"]) == (401, "Access denied: Certificate not issued by the provided CA.")
        context.load_cert_chain(ours)
        assert send(server, "POST", path, body, context=context)[0] == 200
        assert [one["method"] for one in server.living_tokens()] == ["universal-auth", "tls-cert-auth"]
    with DevServer(seed=SEED, client_ca=authorities, arguments=["--optional-client-cert"]) as server:
        context = ssl.create_default_context(cafile=server.ca_path)
        status, answer = send(server, "POST", path, body, forged, context)
        assert (status, answer["message"]) == (400, "Missing TLS certificate in header")


# --- LDAP, and all methods ------------------------------------------------------------------------------------------


def test_ldap_needs_a_paid_plan_and_locks_out(server: DevServer) -> None:
    right = {"username": "web1", "password": "ldap-password"}
    assert log_in(server, "ldap-auth", **right) == "404 Route POST:/api/v1/auth/ldap-auth/login not found"
    server.use_profile("2026-07-paid")
    assert log_in(server, "ldap-auth", **right) == "ok"
    for wrong in ({"password": "x"}, {"username": "x"}, {"password": ""}):
        assert log_in(server, "ldap-auth", **{**right, **wrong}) == "401 Invalid credentials"
    assert "temporarily locked" in log_in(server, "ldap-auth", **right)
    server.advance(301)
    server.trust(ldap_users={"web1": "changed"})
    assert log_in(server, "ldap-auth", username="web1", password="changed") == "ok"


@pytest.mark.parametrize("method", METHODS)
def test_settings_are_attached_read_changed_and_detached(method: str, server: DevServer) -> None:
    server.use_profile("2026-07-paid")
    made = send(server, "POST", "/api/v1/projects/shop/identities", {"name": "new"})[1]["identity"]["id"]
    path = f"/api/v1/auth/{method}/identities/{made}"
    assert send(server, "GET", path)[0] == 404
    assert send(server, "POST", path, {**METHODS[method], "accessTokenTTL": 100, "accessTokenMaxTTL": 100})[0] == 200
    assert send(server, "POST", path, METHODS[method])[0] == 400
    [settings] = send(server, "GET", path)[1].values()
    shown = dict(METHODS[method])
    if method == "jwt-auth":
        shown |= {"boundAudiences": "infisical, other", "boundClaims": {"team": "web, data", "ref": "refs/heads/*"}}
    assert {**settings, **shown, "accessTokenTTL": 100, "identityId": made} == settings
    [changed] = send(server, "PATCH", path, {"accessTokenTTL": 50})[1].values()
    settings.pop("caCertificate", None)  # shown only by GET
    assert {**changed, "updatedAt": settings["updatedAt"]} == {**settings, "accessTokenTTL": 50}
    identity = send(server, "GET", f"/api/v1/projects/shop/identities/{made}")[1]["identity"]
    assert identity["authMethods"] == [method]
    assert send(server, "DELETE", path)[0] == 200
    assert send(server, "GET", path)[0] == 404


@pytest.mark.parametrize(
    ("method", "field"),
    [("jwt-auth", "configurationType"), ("oidc-auth", "boundIssuer"), ("tls-cert-auth", "caCertificate")],
)
def test_missing_setting_is_refused(method: str, field: str, server: DevServer) -> None:
    made = send(server, "POST", "/api/v1/projects/shop/identities", {"name": "new"})[1]["identity"]["id"]
    body = {name: value for name, value in METHODS[method].items() if name != field}
    status, answer = send(server, "POST", f"/api/v1/auth/{method}/identities/{made}", body)
    assert (status, [issue["path"] for issue in answer["message"]]) == (422, [[field]])


def test_detached_method_ends_its_tokens(server: DevServer) -> None:
    jwt = make_jwt(JWT)
    token = send(server, "POST", "/api/v1/auth/jwt-auth/login", {"identityId": "host", "jwt": jwt})[1]["accessToken"]
    headers = {"Authorization": f"Bearer {token}"}
    assert send(server, "GET", "/api/v1/projects", headers=headers)[0] == 200
    assert send(server, "DELETE", "/api/v1/auth/jwt-auth/identities/host")[0] == 200
    assert send(server, "GET", "/api/v1/projects", headers=headers)[0] == 401
    assert log_in(server, "jwt-auth", jwt=jwt).startswith("404 JWT auth method not found for identity")


def test_request_log_contains_no_proofs(server: DevServer) -> None:
    jwt, proof = make_jwt(JWT), sign_aws("AKIAWEB", "s")
    log_in(server, "jwt-auth", jwt=jwt)
    log_in(server, "aws-auth", **proof)
    log_in(server, "ldap-auth", username="web1", password="ldap-password")
    log = json.dumps(server.requests())
    for text in (jwt, proof["iamRequestHeaders"], "ldap-password"):
        assert text not in log


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"made-up": {}}, r"identities\[0\].methods.made-up: unknown method"),
        ({"jwt-auth": {"x": 1}}, r"identities\[0\].methods.jwt-auth.x: unknown key"),
        ({"jwt-auth": {}}, r"identities\[0\].methods.jwt-auth: configurationType: Required"),
    ],
)
def test_invalid_method_of_a_seed_is_named(methods: dict[str, Any], message: str, server: DevServer) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        server.seed({"identities": [{"permissions": {}, "methods": methods}]})
