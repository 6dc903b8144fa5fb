# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON web tokens (RFC 7519): read them from files, check and describe them, and sign them with a key."""

from __future__ import annotations

import base64
import json
import math
import secrets
from collections.abc import Mapping
from typing import Any

from ..core.errors import ConfigurationError, MissingLibrary
from ..core.model import escape
from ..core.times import YEAR_10000, format_time

ISSUER = "keyfleet.infisical"
AUDIENCE = "infisical"
"""The issuer and the audience of the tokens that `sign` returns."""

LIFETIME = 300.0
"""Seconds for which such a token is valid."""

_BACKDATE = 60.0
"""Seconds by which such a token is backdated, because the server's clock may be behind this host's."""

_KEY_BITS = 2048
_LONGEST_CLAIM = 200
"""Maximum number of characters of a claim in a description."""


def generate_key() -> tuple[bytes, str]:
    """Return a new RSA key pair: the private key (PKCS#8) and the public key (SubjectPublicKeyInfo), both as PEM.

    Raises MissingLibrary.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError:
        raise MissingLibrary("cryptography") from None
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public.decode("ascii")


def public_key_of(private_key: bytes) -> str:
    """Return the public key of a private RSA key, both as PEM. Raises ConfigurationError and MissingLibrary."""
    key = _load_key(private_key)
    from cryptography.hazmat.primitives import serialization

    public: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public.decode("ascii")


def sign(private_key: bytes, subject: str, now: float) -> str:
    """Return a token for `subject`, signed with RS256 (RFC 7518, 3.3) by a private RSA key in PEM format.

    The token is valid until `LIFETIME` seconds after `now`, in seconds since the epoch. Raises MissingLibrary, and
    ConfigurationError, which never quotes the key.
    """
    key = _load_key(private_key)
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": int(now - _BACKDATE), "exp": int(now + LIFETIME),
        "jti": secrets.token_hex(16),
    }  # fmt: skip
    signed = _encode({"alg": "RS256", "typ": "JWT"}) + b"." + _encode(claims)
    signature: bytes = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return (signed + b"." + _encode_bytes(signature)).decode("ascii")


def _load_key(private_key: bytes) -> Any:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError:
        raise MissingLibrary("cryptography") from None
    problem = ""
    key: Any = None
    try:
        key = serialization.load_pem_private_key(private_key, password=None)
    except TypeError:
        problem = "is encrypted with a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        problem = "is not a private key in PEM format, or is damaged"
    if not problem and not isinstance(key, rsa.RSAPrivateKey):
        problem = "is not an RSA key"
    if problem:  # outside of the handlers, because the library's error may quote the key
        raise ConfigurationError(
            "jwt_key_file", f"the key {problem}.",
            hint="Create a key with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        )  # fmt: skip
    return key


def _encode(part: Mapping[str, Any]) -> bytes:
    return _encode_bytes(json.dumps(part, separators=(",", ":")).encode("utf-8"))


def _encode_bytes(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def read_claims(token: str) -> dict[str, Any] | None:
    """Return the claims in a token, whose signature is not verified, or None if the text is not a token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        header, claims = (json.loads(_decode(part)) for part in parts[:2])
        _decode(parts[2])
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(header, dict) and isinstance(claims, dict) else None


def _decode(part: str) -> bytes:
    return base64.b64decode(part.encode("ascii") + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)


def check(token: str, option: str, now: float) -> dict[str, Any]:
    """Return the claims of a token that is valid at `now`, in seconds since the epoch.

    `option` is the source of the token for errors. Raises ConfigurationError, which never quotes the token, if the text
    is not a token or if the token has expired.
    """
    claims = read_claims(token)
    if claims is None:
        raise ConfigurationError(
            option, "must be a JSON web token: three parts in base64url, separated by dots.",
            hint="Check where the token comes from. The content is not shown, because it may be a secret.",
        )  # fmt: skip
    expires = _find_expiry(claims)
    if expires is not None and expires <= now:
        raise ConfigurationError(
            option, f"the token expired at {format_time(expires)}. This host's clock says {format_time(now)}.",
            hint="Provide a new token, or correct this host's clock.",
        )  # fmt: skip
    return claims


def describe(claims: Mapping[str, Any] | None) -> str:
    """Return a sentence with the claims that the server compares with the identity's settings.

    It is empty for None, the result of `read_claims` for text that is not a token.
    """
    if claims is None:
        return ""
    named = {"issuer": claims.get("iss"), "subject": claims.get("sub"), "audience": claims.get("aud")}
    parts = [f"{name} {_show(value)}" for name, value in named.items()]
    expires = _find_expiry(claims)
    end = f", and expires at {format_time(expires)}" if expires is not None else ""
    return f"The token has the {parts[0]}, the {parts[1]} and the {parts[2]}{end}."


def _show(claim: Any) -> str:
    if not claim:
        return "(none)"
    text = claim if isinstance(claim, str) else json.dumps(claim)
    shown = escape(text[:_LONGEST_CLAIM]) + ("…" if len(text) > _LONGEST_CLAIM else "")
    return f"'{shown}'"


def _find_expiry(claims: Mapping[str, Any]) -> float | None:
    """Return the time after which the token is not valid, in seconds since the epoch, or None if it has no such time
    that can be shown."""
    expires = claims.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, (int, float)) or not math.isfinite(expires):
        return None
    return float(expires) if 0 <= expires < YEAR_10000 else None
