# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the metadata services of clouds, which prove the identity of a machine: never through a proxy, without
redirects, and with short timeouts."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from ..core.errors import ConfigurationError, InfisicalError, MetadataUnreachable
from ..core.model import escape

_CONNECT_SECONDS = 2.0
_TOTAL_SECONDS = 5.0
"""Maximum seconds to wait for the connection, and for the complete response. A metadata service is on this host or next
to it."""

_LARGEST = 65_536
"""Maximum size of a response in bytes."""

_AZURE = "http://169.254.169.254"
_GCP = "metadata.google.internal"


class Service(NamedTuple):
    """A metadata service: its name for messages, the hint for a service that does not respond, and the environment
    variable that sets its address, with an example."""

    name: str
    hint: str
    variable: str
    example: str = "http://169.254.169.254"


class Reply(NamedTuple):
    """A successful response; the names of `headers` are in lower case."""

    headers: Mapping[str, str]
    body: bytes


AZURE = Service(
    "Azure instance metadata service",
    "Use azure_auth only on a machine in Azure that has a managed identity, and let it reach 169.254.169.254.",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
)
GCP = Service(
    "Google Cloud metadata server",
    "Use gcp_auth only on a machine in Google Cloud that has a service account, and let it reach "
    "metadata.google.internal.",
    "GCE_METADATA_HOST",
    "metadata.google.internal",
)


def fetch(
    url: str, service: Service, what: str, *, method: str = "GET", headers: Mapping[str, str], missing: str = ""
) -> Reply:
    """Send one request to a metadata service, and return its response if the status is 200.

    `what` completes the sentence "Could not read …". `missing` is the hint for a 404. Raises MetadataUnreachable, whose
    text never quotes the response, or ConfigurationError if the URL is not valid.
    """
    address, parts = url.partition("?")[0], _split(url, service)
    problem = f"Could not read {what} from the {service.name} at {address}"
    connection = (HTTPSConnection if parts.scheme == "https" else HTTPConnection)(
        str(parts.hostname), parts.port, timeout=_CONNECT_SECONDS
    )
    reason, status, reply = "", 0, Reply({}, b"")
    try:
        with contextlib.closing(connection):
            connection.connect()
            with _deadline(connection.sock):
                target = parts.path + (f"?{parts.query}" if parts.query else "")
                connection.request(method, target, headers=dict(headers))
                response = connection.getresponse()
                found = {name.lower(): value for name, value in response.getheaders()}
                status, reply = response.status, Reply(found, response.read(_LARGEST + 1))
                if response.length and len(reply.body) <= _LARGEST:
                    raise _Incomplete
    except (OSError, HTTPException, ValueError) as error:
        reason = _explain(error)
    if reason:
        raise MetadataUnreachable(f"{problem}: {reason}.", hint=service.hint)
    if status != 200:
        hint = missing if status == 404 and missing else service.hint
        raise MetadataUnreachable(f"{problem}: it responded with HTTP {status}.", hint=hint, status=status)
    if len(reply.body) > _LARGEST:
        raise MetadataUnreachable(f"{problem}: the response is larger than {_LARGEST} bytes.", hint=_OTHER_SERVER)
    if reply.body.lstrip()[:1] == b"<":
        raise MetadataUnreachable(f"{problem}: it responded with HTML or XML.", hint=_OTHER_SERVER)
    return reply


_OTHER_SERVER = "Check that no proxy or other server responds at this address instead."


def parse_json(reply: Reply, service: Service, *names: str) -> dict[str, str]:
    """Return the texts with these names in a JSON response. Raises MetadataUnreachable if one is missing."""
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(_is_plain(found.get(name)) for name in names):
        raise unusable(service, f"has no {' and '.join(names)}")
    return {name: found[name] for name in names}


def unusable(service: Service, problem: str) -> InfisicalError:
    """Return the error for a response that does not contain a proof."""
    return MetadataUnreachable(f"The response of the {service.name} {problem}.", hint=_OTHER_SERVER)


def read_text(reply: Reply, service: Service) -> str:
    """Return a response that is one line of text. Raises MetadataUnreachable for anything else."""
    text = reply.body.decode("utf-8", "replace").strip()
    if not _is_plain(text):
        raise unusable(service, "is not one line of text")
    return text


def _is_plain(text: Any) -> bool:
    return isinstance(text, str) and bool(text) and text.isascii() and text.isprintable() and " " not in text


def _split(url: str, service: Service) -> Any:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and _is_plain(url)
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(
            service.variable,
            f"must be the address of the {service.name} (got '{escape(os.environ.get(service.variable, ''))}').",
            hint=f"Write it like {service.example}, or remove the variable.",
        )  # fmt: skip
    return parts


class _Incomplete(HTTPException):
    """The response ended too early."""


@contextlib.contextmanager
def _deadline(connected: socket.socket) -> Iterator[None]:
    """Context manager: end a connection after `_TOTAL_SECONDS`, and raise `_Incomplete` then.

    A service that sends one byte at a time never exceeds the timeout of a single read.
    """
    ended: list[bool] = []

    def end() -> None:
        ended.append(True)
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(_TOTAL_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if ended:
        raise _Incomplete


def _explain(error: Exception) -> str:
    if isinstance(error, socket.timeout):
        return f"no response within {_CONNECT_SECONDS:g} seconds"
    if isinstance(error, socket.gaierror):
        return "the host name is unknown"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, OSError) and error.strerror:
        return f"the connection failed ({error.strerror})"
    return f"no complete response within {_TOTAL_SECONDS:g} seconds"


def read_azure_token() -> str:
    """Return an access token of this machine's managed identity for Azure's management API.

    Environment variables, as in Azure's own libraries: AZURE_POD_IDENTITY_AUTHORITY_HOST is the address of the service,
    and AZURE_CLIENT_ID selects one of several managed identities. Raises InfisicalError.
    """
    query = {"api-version": "2018-02-01", "resource": "https://management.azure.com/"}
    if os.environ.get("AZURE_CLIENT_ID"):
        query["client_id"] = os.environ["AZURE_CLIENT_ID"]
    host = os.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or _AZURE
    url = f"{host.rstrip('/')}/metadata/identity/oauth2/token?{urlencode(query)}"
    reply = fetch(
        url, AZURE, "a token", headers={"Metadata": "true"}, missing="Assign a managed identity to this machine."
    )
    return parse_json(reply, AZURE, "access_token")["access_token"]


def read_gcp_token(audience: str) -> str:
    """Return an identity token of this machine's default service account.

    The environment variable GCE_METADATA_HOST is the host and port of the service, as in Google's own libraries. Raises
    InfisicalError.
    """
    host = os.environ.get("GCE_METADATA_HOST") or _GCP
    url = (
        f"http://{host}/computeMetadata/v1/instance/service-accounts/default/identity"
        f"?audience={quote(audience, safe='')}&format=full"
    )
    reply = fetch(
        url, GCP, "an identity token", headers={"Metadata-Flavor": "Google"},
        missing="Attach a service account to this machine.",
    )  # fmt: skip
    if reply.headers.get("metadata-flavor") != "Google":
        raise unusable(GCP, "has no header Metadata-Flavor")
    return read_text(reply, GCP)
