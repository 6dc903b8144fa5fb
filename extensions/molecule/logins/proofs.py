# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the proofs of identity of the hosts in a folder: a CA with certificates, and an issuer with tokens.

Usage: proofs.py FOLDER HOST…
"""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests"))

from dev_server.tls import Authority, write_private

DAY = 86_400


def main(folder: Path, hosts: list[str]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority.make("Hosts CA")
    (folder / "hosts_ca.pem").write_bytes(authority.pem)
    issuer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = issuer.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "issuer.pem").write_bytes(public)
    now = int(time.time())
    for host in hosts:
        certificate, key = authority.issue(host)
        (folder / f"{host}.crt").write_bytes(certificate)
        write_private(folder / f"{host}.key", key)
        claims = {"iss": "https://issuer.example.com", "aud": "infisical", "iat": now - 60, "exp": now + DAY}
        tokens = {
            "token": {**claims, "sub": f"host:{host}"},
            "other": {**claims, "sub": "host:other"},
            "expired": {**claims, "sub": f"host:{host}", "iat": now - DAY, "exp": now - 60},
            "gcp": {
                "iss": "https://accounts.google.com", "aud": "identity-of-cloud", "iat": now - 60, "exp": now + DAY,
                "email": f"{host}@shop.iam.gserviceaccount.com", "google": {"compute_engine": {"project_id": "shop"}},
            },
        }  # fmt: skip
        for name, each in tokens.items():
            write_private(folder / f"{host}.{name}", sign(issuer, each).encode("ascii"))


def sign(key: rsa.RSAPrivateKey, claims: dict[str, Any]) -> str:
    signed = ".".join(map(encode, ({"alg": "RS256", "typ": "JWT"}, claims)))
    signature = key.sign(signed.encode("ascii"), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{encode_bytes(signature)}"


def encode(part: dict[str, Any]) -> str:
    return encode_bytes(json.dumps(part, separators=(",", ":")).encode("utf-8"))


def encode_bytes(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
