# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An identity for each login method on the test server, and the proof of each identity."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from dev_server.tls import Authority, write_private
from unit import metadata_server
from unit.metadata_server import ROLE, MetadataServer, Received, Reply

METHODS = (
    "oidc_auth", "jwt_auth", "kubernetes_auth", "aws_auth", "azure_auth", "gcp_auth", "tls_cert_auth", "ldap_auth",
    "spiffe_auth",
)  # fmt: skip
ISSUER = "https://ci.example.com"
CLUSTER = "https://kubernetes.example.com"
TENANT = "00000000-0000-4000-8000-000000000001"
PASSWORD = "cAnAryOfDirectory7f3a"
LOCAL = ("127.0.0.1", "localhost")


def id_of(method: str) -> str:
    return f"identity-of-{method}"


class Proofs:
    """The keys, files and services of the identities, in a folder. `close` stops the services."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private, self.public = jwt.generate_key()
        self.authority = Authority.make("Fleet CA")
        (folder / "clients.pem").write_bytes(self.authority.pem)
        self.certificate = self.write_certificate("web1", self.authority)
        self.services = MetadataServer(self._answer)

    def close(self) -> None:
        self.services.__exit__(None, None, None)

    def _answer(self, received: Received) -> Reply:
        if received.path.startswith("/latest/"):
            return metadata_server.aws(received)
        if received.path.startswith("/metadata/"):
            return metadata_server.azure(self.sign("azure_auth"))(received)
        return metadata_server.gcp(self.sign("gcp_auth"))(received)

    def write(self, name: str, content: str | bytes, mode: int = 0o600) -> str:
        path = self.folder / name
        write_private(path, content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return str(path)

    def write_certificate(self, name: str, authority: Authority, ends: float = 60) -> str:
        """Write a client certificate with its key, valid for `ends` minutes, and return the path of the file."""
        return self.write(f"{name}-{authority.name}.pem".replace(" ", "-"), b"".join(authority.issue(name, ends=ends)))

    def sign(self, method: str, *, key: bytes = b"", **changed: Any) -> str:
        """Return the token of a method with some claims changed, signed with RS256."""
        now = time.time()
        claims = {
            "iss": ISSUER, "aud": "infisical", "sub": "repo:shop", "exp": now + 300, "iat": now,
            **CLAIMS.get(method, {}), **changed,
        }  # fmt: skip
        parts = ({"alg": "RS256", "typ": "JWT"}, claims)
        signed = ".".join(_encode(json.dumps(part).encode()) for part in parts)
        private: Any = serialization.load_pem_private_key(key or self.private, None)
        return f"{signed}.{_encode(private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def options(self, method: str) -> dict[str, str]:
        """Return the options with which the identity of a method logs in."""
        options = {"auth_method": method, "identity_id": id_of(method)}
        if method in ("oidc_auth", "jwt_auth", "spiffe_auth", "kubernetes_auth"):
            options["jwt_path"] = self.write(f"{method}.jwt", self.sign(method))
        if method == "ldap_auth":
            options.update(username="web1", password=PASSWORD)
        if method == "tls_cert_auth":
            options["client_cert"] = self.certificate
        return options

    def environment(self) -> dict[str, str]:
        """Return the variables that lead to the metadata services."""
        return {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.services.url,
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.services.url,
            "GCE_METADATA_HOST": self.services.address,
        }

    def identities(self, permissions: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the identities for a seed, and an identity `bare` without a method for which there is a proof."""
        bound = {"boundIssuer": ISSUER, "boundSubject": "repo:shop", "boundAudiences": "infisical"}
        methods: dict[str, dict[str, Any]] = {
            "jwt-auth": {"configurationType": "static", "publicKeys": [self.public], **bound},
            "oidc-auth": {"oidcDiscoveryUrl": ISSUER, **bound},
            "kubernetes-auth": {"kubernetesHost": CLUSTER, "allowedNamespaces": "shop"},
            "azure-auth": {"tenantId": TENANT},
            "gcp-auth": {"allowedProjects": "shop"},
            "aws-auth": {"allowedPrincipalArns": "arn:aws:iam::123456789012:role/web-role"},
            "tls-cert-auth": {"caCertificate": self.authority.pem.decode(), "allowedCommonNames": "web1"},
            "spiffe-auth": {"trustDomain": "example.com", "allowedSpiffeIds": "spiffe://example.com/*",
                            "allowedAudiences": "infisical"},
            "ldap-auth": {"url": "ldaps://directory.example.com"},
        }  # fmt: skip
        rows = [
            {"name": method, "id": id_of(method), "methods": {route: settings}, "permissions": dict(permissions)}
            for route, settings in methods.items()
            for method in [route.replace("-", "_")]
        ]
        bare = {"name": "bare", "id": "bare", "client_id": "bare", "client_secret": "bare", "permissions": {}}
        return [*rows, bare]

    def trust(self) -> dict[str, Any]:
        """Return the settings for a seed with which the test server verifies the proofs."""
        issuers = (ISSUER, CLUSTER, f"https://sts.windows.net/{TENANT}/", "https://accounts.google.com", "example.com")
        principal = "arn:aws:sts::123456789012:assumed-role/web-role/i-0123456789"
        return {
            "issuer_keys": {issuer: [self.public] for issuer in issuers},
            "aws": [
                {"access_key_id": ROLE["AccessKeyId"], "secret_access_key": ROLE["SecretAccessKey"],
                 "session_token": ROLE["Token"], "arn": principal, "account": "123456789012"},
                {"access_key_id": "AKIAOTHER", "secret_access_key": "cAnAry-of-other",
                 "arn": "arn:aws:iam::123456789012:user/other", "account": "123456789012"},
            ],
            "ldap_users": {"web1": PASSWORD},
        }  # fmt: skip

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return texts that no message, log or result may contain."""
        token = self.sign("jwt_auth").partition(".")[0]
        lines = self.private.decode().splitlines()
        return ("cAnAry", token, lines[1], lines[-2])


CLAIMS: dict[str, dict[str, Any]] = {
    "kubernetes_auth": {"iss": CLUSTER, "sub": "system:serviceaccount:shop:web"},
    "azure_auth": {"tid": TENANT, "oid": "principal", "aud": "https://management.azure.com/"},
    "gcp_auth": {
        "iss": "https://accounts.google.com", "aud": id_of("gcp_auth"), "email": "web@shop.example.com",
        "google": {"compute_engine": {"project_id": "shop", "zone": "europe-west1-b"}},
    },
    "spiffe_auth": {"sub": "spiffe://example.com/web"},
}  # fmt: skip


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
