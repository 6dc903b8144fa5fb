# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON web tokens: signing with real keys, reading, checking and describing."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from unit.ids import name_text

NOW = 1_795_903_200.0
"""2026-11-28T22:00:00Z."""

PRIVATE, PUBLIC = jwt.generate_key()


def encode(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(claims: Any, header: Any = None) -> str:
    """Return a token with these claims and a signature that no key has made."""
    return ".".join((encode(header or {"alg": "RS256"}), encode(claims), encode(b"signature")))


def verify(token: str, public_key: str) -> None:
    signed, _dot, signature = token.rpartition(".")
    key: Any = serialization.load_pem_public_key(public_key.encode())
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    key.verify(raw, signed.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_signed_token_verifies_with_the_public_key() -> None:
    token = jwt.sign(PRIVATE, "host:wéb1", NOW)
    verify(token, PUBLIC)
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header == {"alg": "RS256", "typ": "JWT"}
    with pytest.raises(InvalidSignature):
        verify(token, jwt.generate_key()[1])


def test_signed_token_is_valid_for_five_minutes() -> None:
    claims = jwt.read_claims(jwt.sign(PRIVATE, "host:web1", NOW))
    assert claims is not None
    assert re.fullmatch("[0-9a-f]{32}", claims.pop("jti"))
    assert claims == {
        "iss": "keyfleet.infisical", "aud": "infisical", "sub": "host:web1", "iat": NOW - 60, "exp": NOW + 300,
    }  # fmt: skip


def test_two_tokens_differ() -> None:
    assert jwt.sign(PRIVATE, "host:web1", NOW) != jwt.sign(PRIVATE, "host:web1", NOW)


def test_public_key_is_derived_from_the_private_key() -> None:
    assert jwt.public_key_of(PRIVATE) == PUBLIC
    assert PUBLIC.startswith("-----BEGIN PUBLIC KEY-----\n")


def encrypted_key() -> bytes:
    key = serialization.load_pem_private_key(PRIVATE, None)
    how = serialization.BestAvailableEncryption(b"passphrase")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def elliptic_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    how = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (b"", "not a private key in PEM format"),
        (b"Canary5f1c2a9e7b", "not a private key in PEM format"),
        (PUBLIC.encode(), "not a private key in PEM format"),
        (PRIVATE[: len(PRIVATE) // 2], "not a private key in PEM format"),
        (PRIVATE.replace(b"A", b"B"), "not a private key in PEM format"),
        (encrypted_key(), "encrypted with a passphrase"),
        (elliptic_key(), "not an RSA key"),
    ],
    ids=name_text,
)
def test_unusable_key_error_does_not_quote_the_key(key: bytes, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        jwt.sign(key, "host:web1", NOW)
    text = str(caught.value)
    assert caught.value.option == "jwt_key_file"
    assert caught.value.__context__ is None
    assert not any(key.decode()[start : start + 12] in text for start in range(0, max(0, len(key) - 12), 4))


@pytest.mark.parametrize(
    "text",
    ["", "Canary5f1c2a9e7b", "a.b", "a.b.c.d", "..", "é.é.é", unsigned([1]), unsigned({}, [1]), encode({}) + ".$.a",
     unsigned(b"\xff"), unsigned(b"[" * 100_000)],
)  # fmt: skip
def test_text_that_is_not_a_token_is_refused_unquoted(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"jwt_path: must be a JSON web token") as caught:
        jwt.check(text, "jwt_path", NOW)
    assert "Canary" not in str(caught.value)


def test_expired_token_error_gives_both_times() -> None:
    with pytest.raises(ConfigurationError) as caught:
        jwt.check(unsigned({"exp": NOW - 3600}), "jwt_path", NOW)
    assert caught.value.problem == (
        "jwt_path: the token expired at 2026-11-28T21:00:00Z. This host's clock says 2026-11-28T22:00:00Z."
    )


@pytest.mark.parametrize("expires", [NOW + 1, None, True, "soon", float("inf"), -1, 10**30])
def test_token_that_has_not_expired_is_accepted(expires: Any) -> None:
    assert jwt.check(unsigned({"exp": expires}), "jwt", NOW) in ({"exp": expires},)


def test_description_has_the_claims_that_the_server_checks() -> None:
    claims = {"iss": "https://ci.example.com", "sub": "repo:shop\x1b[1m", "aud": ["a", "b"], "exp": NOW}
    assert jwt.describe(claims) == (
        "The token has the issuer 'https://ci.example.com', the subject 'repo:shop\\x1b[1m' and the audience "
        '\'["a", "b"]\', and expires at 2026-11-28T22:00:00Z.'
    )
    assert jwt.describe({}) == "The token has the issuer (none), the subject (none) and the audience (none)."
    assert len(jwt.describe({"sub": "x" * 10_000})) < 400
    assert jwt.describe(jwt.read_claims("opaque")) == ""
