# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verifies the proofs of logins: signatures and claims of JWTs, client certificates, and signed requests to AWS."""

from __future__ import annotations

import base64
import calendar
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from .refusals import Conclusion, Refusal


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(frozen=True)
class AwsCredential:
    """An access key and the principal that STS names for it."""

    access_key_id: str
    secret_access_key: str
    arn: str
    account: str
    # Temporary credentials have a session token.
    session_token: str = ""


@dataclass
class Trust:
    """What the services know that a real server asks: public keys of issuers, access keys, users of a directory.

    Assumed: a real server fetches the keys of an issuer from its discovery URL or API; here a seed sets them.
    """

    # Issuer, discovery URL, JWKS URL, Kubernetes host or trust domain to public keys in PEM.
    issuer_keys: dict[str, list[str]] = field(default_factory=dict)
    aws: dict[str, AwsCredential] = field(default_factory=dict)
    # User names to passwords.
    ldap_users: dict[str, str] = field(default_factory=dict)


# --- JWTs -----------------------------------------------------------------------------------------------------------


def split_jwt(text: str) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Return header and claims of a JWT. Raises Refusal if it has another form."""
    parts = text.split(".")
    try:
        header, claims = (json.loads(decode(part)) for part in parts[:2])
        decode(parts[2])
    except (ValueError, IndexError):
        raise Refusal(Conclusion.JWT_MALFORMED) from None
    if len(parts) != 3 or not isinstance(header, dict) or not isinstance(claims, dict):
        raise Refusal(Conclusion.JWT_MALFORMED)
    return header, claims


def verify_jwt(text: str, keys: Iterable[str], now: float) -> dict[str, Any]:
    """Return the claims of a JWT that one of the keys has signed and that is valid now. Raises Refusal."""
    header, claims = split_jwt(text)
    faults = []
    for key in keys:
        fault = find_fault(text, header, claims, key, now)
        if fault is None:
            return claims
        faults.append(fault)
    raise Refusal(Conclusion.JWT_UNVERIFIED, errors=", ".join(faults) or "no matching key")


def find_fault(text: str, header: Mapping[str, Any], claims: Mapping[str, Any], key: str, now: float) -> str | None:
    """Return why a key does not verify a JWT, in the words of the library of real servers, or None if it does."""
    signed, _dot, signature = text.rpartition(".")
    if header.get("alg") not in ("RS256", "ES256"):
        return "invalid algorithm"
    if not is_signed(signed.encode(), decode(signature), key, header["alg"]):
        return "invalid signature"
    for name in ("nbf", "exp"):
        if name in claims and not isinstance(claims[name], (int, float)):
            return f"invalid {name} value"
    if claims.get("nbf", 0) > now:
        return "jwt not active"
    return "jwt expired" if now >= claims.get("exp", float("inf")) else None


def is_signed(signed: bytes, signature: bytes, pem: str, algorithm: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    try:
        key = serialization.load_pem_public_key(pem.encode())
        if isinstance(key, rsa.RSAPublicKey) and algorithm == "RS256":
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm == "ES256":
            half = len(signature) // 2
            pair = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
            key.verify(encode_dss_signature(*pair), signed, ec.ECDSA(hashes.SHA256()))
            return True
    except (InvalidSignature, ValueError):
        pass
    return False


def audiences(claims: Mapping[str, Any]) -> list[str]:
    given = claims.get("aud", [])
    return [str(one) for one in given] if isinstance(given, list) else [str(given)]


# --- client certificates --------------------------------------------------------------------------------------------


def verify_certificate(header: str, authorities: str, now: float) -> str:
    """Return the common name of a URL-encoded PEM certificate that one of the authorities issued. Raises Refusal."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        certificate = x509.load_pem_x509_certificates(unquote(header).encode())[0]
    except ValueError:
        raise Refusal(Conclusion.CERTIFICATE_REFUSED, reason="Invalid certificate") from None
    for authority in x509.load_pem_x509_certificates(authorities.encode()):
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            continue
        break
    else:
        raise Refusal(Conclusion.CERTIFICATE_REFUSED, reason="Certificate not issued by the provided CA")
    if certificate.not_valid_after_utc.timestamp() < now:
        raise Refusal(Conclusion.CERTIFICATE_REFUSED, reason="Certificate has expired")
    if certificate.not_valid_before_utc.timestamp() > now:
        raise Refusal(Conclusion.CERTIFICATE_REFUSED, reason="Certificate not yet valid")
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


# --- AWS ------------------------------------------------------------------------------------------------------------

CALLER_IDENTITY = b"Action=GetCallerIdentity&Version=2011-06-15"
SKEW_SECONDS = 900
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/sts/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


def verify_caller(body: str, headers: str, known: Mapping[str, AwsCredential], now: float) -> AwsCredential:
    """Return the credential that signed a request to STS, given as base64. Raises Refusal in the words of STS.

    Follows the description of Signature Version 4: recompute the signature over the canonical request.
    """
    try:
        payload = base64.b64decode(body, validate=True)
        given = json.loads(base64.b64decode(headers, validate=True))
        sent = {name.lower(): " ".join(str(value).split()) for name, value in given.items()}
    except (ValueError, AttributeError):
        raise Refusal(Conclusion.AWS_REFUSED, reason="InvalidRequest") from None
    if payload != CALLER_IDENTITY:
        raise Refusal(Conclusion.AWS_REFUSED, reason="InvalidAction")
    found = AUTHORIZATION.fullmatch(sent.get("authorization", ""))
    names = found["headers"].split(";") if found else []
    date = sent.get("x-amz-date", "")
    if found is None or names != sorted(names) or not {"host", "x-amz-date"} <= set(names) <= set(sent):
        raise Refusal(Conclusion.AWS_REFUSED, reason="IncompleteSignature")
    hosts = ("sts.amazonaws.com", f"sts.{found['region']}.amazonaws.com")
    try:
        moment = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise Refusal(Conclusion.AWS_REFUSED, reason="IncompleteSignature") from None
    credential = known.get(found["key"])
    if credential is None or sent.get("x-amz-security-token", "") != credential.session_token:
        raise Refusal(Conclusion.AWS_REFUSED, reason="InvalidClientTokenId")
    canonical = "\n".join(
        (
            "POST",
            "/",
            "",
            *(f"{name}:{sent[name]}" for name in names),
            "",
            found["headers"],
            hashlib.sha256(payload).hexdigest(),
        )
    )
    scope = f"{found['day']}/{found['region']}/sts/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{credential.secret_access_key}".encode()
    for word in (*scope.split("/"), text):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    right = hmac.compare_digest(key.hex(), found["signature"])
    if not right or date[:8] != found["day"] or sent["host"] not in hosts:
        raise Refusal(Conclusion.AWS_REFUSED, reason="SignatureDoesNotMatch")
    if credential.session_token and "x-amz-security-token" not in names:
        raise Refusal(Conclusion.AWS_REFUSED, reason="SignatureDoesNotMatch")
    if abs(moment - now) > SKEW_SECONDS:
        raise Refusal(Conclusion.AWS_REFUSED, reason="SignatureDoesNotMatch: Signature expired or not yet current")
    return credential
