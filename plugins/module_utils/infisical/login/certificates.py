# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS client certificates: find and check the files before OpenSSL opens them, and describe a certificate."""

from __future__ import annotations

import os
import ssl
from typing import Any

from ..core.errors import ConfigurationError
from ..core.model import Settings, escape
from ..core.times import YEAR_10000, format_time
from .proof_files import read_proof


def find_pair(settings: Settings) -> tuple[str, str] | None:
    """Return the paths of the client certificate and its key, or None if no certificate is set.

    Raises ConfigurationError, which never quotes the files. Otherwise, OpenSSL would ask for a passphrase on the
    terminal, and would report other problems without the name of the file.
    """
    if not settings.client_cert:
        if settings.client_key:
            raise ConfigurationError("client_key", "must be set together with client_cert.")
        return None
    certificate = os.path.expanduser(settings.client_cert)
    key, key_option = os.path.expanduser(settings.client_key), "client_key"
    if not key:
        key, key_option = certificate, "client_cert"
    if b"-----BEGIN CERTIFICATE-----" not in read_proof(certificate, "client_cert", private=key == certificate):
        raise ConfigurationError(
            "client_cert", f"'{certificate}' contains no certificate in PEM format.",
            hint="Set client_cert to the file of the certificate. If it is in DER format, convert it: "
            f"openssl x509 -inform der -in '{certificate}' -out NEW_FILE",
        )  # fmt: skip
    if b"PRIVATE KEY-----" not in read_proof(key, key_option):
        raise ConfigurationError(
            key_option, f"'{key}' contains no private key in PEM format.", hint="Set client_key to the file of the key."
        )
    problem, hint = _try_to_load(certificate, key)
    if problem:  # outside of the handlers, because OpenSSL's error may quote the file
        raise ConfigurationError(key_option, problem, hint=hint)
    return certificate, key


def _try_to_load(certificate: str, key: str) -> tuple[str, str | None]:
    """Return the problem with a certificate and its key, and a hint. The problem is empty if there is none."""
    asked = []

    def refuse() -> str:
        asked.append(True)
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=refuse)
    except ssl.SSLError as error:
        if asked:
            hint = f"Remove it, and keep the file private: openssl pkey -in '{key}' -out NEW_FILE"
            return f"the key '{key}' is encrypted with a passphrase.", hint
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key '{key}' does not belong to the certificate '{certificate}'.", "Set client_key to its key."
        reason = f" ({error.reason})" if error.reason else ""
        return (
            f"OpenSSL cannot use '{certificate}' with the key '{key}'{reason}.",
            "Check that both files are complete.",
        )
    except OSError as error:
        return f"'{certificate}' or '{key}' cannot be read: {error.strerror}.", "Check the paths."
    return "", None


def describe(certificate: str) -> str:
    """Return a sentence with the subject, the issuer and the end of a certificate, or an empty text if cryptography is
    missing or cannot parse it."""
    try:
        from cryptography import x509

        with open(certificate, "rb") as stream:
            found = x509.load_pem_x509_certificate(stream.read())
        subject, issuer = (escape(name.rfc4514_string()) for name in (found.subject, found.issuer))
        expires = _find_end(found)
    except (ImportError, OSError, ValueError):
        return ""
    end = f", and expires at {format_time(expires)}" if 0 <= expires < YEAR_10000 else ""
    return f"The certificate has the subject '{subject}' and the issuer '{issuer}'{end}."


def _find_end(found: Any) -> float:
    """Return the end of a certificate in seconds since the epoch."""
    from datetime import timezone

    if hasattr(found, "not_valid_after_utc"):
        return float(found.not_valid_after_utc.timestamp())
    return float(found.not_valid_after.replace(tzinfo=timezone.utc).timestamp())  # cryptography before 42
