# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The meaning of the HTTP library's errors, in any language."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Any

import pytest
import requests
import urllib3
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import wire

NEW = urllib3.exceptions.NewConnectionError


def unconnected(cause: OSError) -> requests.ConnectionError:
    """Return the error that the library raises if the connection fails."""
    reason = NEW(None, "Verbindung nicht möglich")  # type: ignore[arg-type]
    reason.__context__ = cause
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", reason))  # type: ignore[arg-type]


def unverified(number: int) -> requests.exceptions.SSLError:
    error = ssl.SSLCertVerificationError(1, "Zertifikat ungültig")
    error.verify_code = number
    reason = urllib3.exceptions.SSLError(error)
    return requests.exceptions.SSLError(urllib3.exceptions.MaxRetryError(None, "/", reason))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name unbekannt"), "the host name is unknown"),
        (socket.gaierror(socket.EAI_AGAIN, "Später"), "the host name could not be looked up"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Verbindungsaufbau abgelehnt"), "the connection was refused"),
        (OSError(errno.EHOSTUNREACH, "Keine Route zum Zielrechner"), "there is no route to the host"),
        (OSError(errno.ENETUNREACH, "Das Netzwerk ist nicht erreichbar"), "the network is unreachable"),
        (OSError(errno.EMFILE, "Zu viele"), "the connection failed"),
    ],
)
def test_connection_errors_are_recognized_in_every_language(cause: OSError, words: str) -> None:
    trouble = wire.explain(unconnected(cause))
    assert (trouble.error.conclusion, trouble.reason) == ("unreachable", words)
    assert not trouble.arrived


@pytest.mark.parametrize(
    ("number", "words", "advice"),
    [
        (10, "expired", "clock"),
        (9, "not valid yet", "clock"),
        (18, "no trusted CA", "Set ca_path"),
        (20, "no trusted CA", "Set ca_path"),
        (62, "another host name", "url"),
        (64, "another host name", "url"),
        (23, "number 23", "ca_path"),
    ],
)
def test_certificate_error_is_recognized_by_its_error_code(number: int, words: str, advice: str) -> None:
    trouble = wire.explain(unverified(number))
    assert trouble.error.conclusion == "certificate"
    assert words in trouble.reason and advice in trouble.hint
    assert not trouble.arrived


def test_certificate_hint_depends_on_whether_ca_path_is_set() -> None:
    advice = wire.explain(unverified(20), "/etc/ca.pem").hint
    assert advice == "Add the certificate of the CA that signed it to '/etc/ca.pem'."


@pytest.mark.parametrize(
    ("error", "conclusion", "arrived"),
    [
        (requests.exceptions.SSLError(ssl.SSLError(1, "WRONG_VERSION_NUMBER")), "certificate", True),
        (requests.exceptions.SSLError(ssl.SSLEOFError(8, "EOF")), "unreachable", True),
        (requests.ConnectTimeout(), "unreachable", False),
        (requests.ReadTimeout(), "unreachable", True),
        (socket.timeout("abgelaufen"), "unreachable", True),
        (requests.ConnectionError(ConnectionResetError(errno.ECONNRESET, "weg")), "unreachable", True),
        (requests.exceptions.InvalidURL(), "configuration", False),
        (requests.exceptions.InvalidHeader(), "unreachable", True),
        (ValueError("read length must be non-negative or -1"), "unreachable", True),
        (requests.exceptions.ProxyError(), "unreachable", True),
        (requests.exceptions.ProxyError(OSError("Tunnel connection failed: 403")), "unreachable", False),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_error_states_whether_the_request_may_have_arrived(error: Exception, conclusion: str, arrived: bool) -> None:
    assert isinstance(error, wire.failures())
    trouble = wire.explain(error)
    assert (trouble.error.conclusion, trouble.arrived) == (conclusion, arrived)


def test_connection_error_text_is_not_quoted() -> None:
    for made in (OSError, ValueError, requests.ConnectionError, requests.exceptions.SSLError, requests.Timeout):
        text: Any = wire.explain(made("canary-0815"))
        assert "canary" not in str(text)
