# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of the HTTP library that limit each response, trusted certificates, and the meaning of errors."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import time
import zlib
from collections.abc import Iterator
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import CertificateInvalid, ConfigurationError, InfisicalError, MissingLibrary, Unreachable, WrongUse

if TYPE_CHECKING:
    import requests

_PLAIN = (OSError,)
"""The class that http.client raises if a proxy refuses a tunnel. The HTTP library raises subclasses."""

CHUNK = 1 << 20
"""Number of bytes read from a response at a time."""

_GZIP = 31
"""The window bits that select the gzip format in zlib."""

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""The file names that `openssl rehash` creates in a directory with certificates."""


class TooLong(Exception):
    """The response is larger than allowed."""


class CutShort(Exception):
    """The response is incomplete."""


class Trouble(NamedTuple):
    """The reason for a missing response, its error class, and a hint.

    `arrived` is true if the server may have received the request.
    """

    error: type[InfisicalError]
    reason: str
    hint: str
    arrived: bool


class Trust(NamedTuple):
    """The trusted CAs: the `verify` option of the HTTP library, and a TLS context or None."""

    verify: str | bool
    context: ssl.SSLContext | None = None


def library() -> Any:
    """Import the HTTP library. Raises MissingLibrary."""
    try:
        import requests
    except ImportError:
        raise MissingLibrary("requests") from None
    return requests


# Sessions


def new_session(proxy: str, most: int, trust: Trust) -> requests.Session:
    """Return a session that limits each response to `most` bytes, and the time for the whole response to its timeout.
    The session stores no cookies.

    A response over a limit raises TooLong, or a timeout exception of the HTTP library.
    """

    from http.cookiejar import DefaultCookiePolicy

    class OneHop(library().Session):  # type: ignore[misc]
        """Follows no redirects. Otherwise, the library reads and unpacks their bodies even with
        `allow_redirects=False`."""

        def get_redirect_target(self, resp: Any) -> None:
            return None

    session: requests.Session = OneHop()
    # Otherwise, .netrc would replace the token, and http_proxy and REQUESTS_CA_BUNDLE from the environment would apply.
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))  # none, because identities share a session
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
    adapter = _limited_adapter(most, trust.context)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


def _limited_adapter(most: int, context: ssl.SSLContext | None) -> Any:
    """Return an adapter whose connections read each response through `_Limited`, in all versions of the library."""
    from http.client import HTTPResponse

    class Response(HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
            super().__init__(sock, *arguments, **options)
            # The extra chunk is for the headers, which Python limits itself.
            self.fp = BufferedReader(_Limited(self.fp.detach(), sock, most + CHUNK))

    def limited(pool: Any) -> Any:
        connection = type(pool.ConnectionCls.__name__, (pool.ConnectionCls,), {"response_class": Response})
        return type(pool.__name__, (pool,), {"ConnectionCls": connection})

    pools = library().packages.urllib3.connectionpool
    classes = {"http": limited(pools.HTTPConnectionPool), "https": limited(pools.HTTPSConnectionPool)}
    given = {} if context is None else {"ssl_context": context}

    class Adapter(library().adapters.HTTPAdapter):  # type: ignore[misc]
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **given, **options)
            self.poolmanager.pool_classes_by_scheme = classes

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            manager = super().proxy_manager_for(proxy, **given, **options)
            manager.pool_classes_by_scheme = classes
            return manager

    return Adapter()


class _Limited(RawIOBase):
    """The bytes of one response: at most `most`, and all within the timeout that the socket has for a single read."""

    def __init__(self, raw: Any, sock: socket.socket, most: int) -> None:
        self._raw = raw
        self._sock = sock
        self._left = most
        self._seconds = sock.gettimeout() or 0.0
        self._end = time.monotonic() + self._seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise socket.timeout("timed out")
        self._sock.settimeout(seconds)
        try:
            count: int | None = self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(self._seconds)
        self._left -= count or 0
        if self._left < 0:
            raise TooLong
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def read_body(response: requests.Response, most: int) -> bytes:
    """Return a response's body, unpacked if it is gzip, the only encoding that we accept.

    Raises TooLong for more than `most` bytes, CutShort for an incomplete body, and the errors of the library. The
    library itself would unpack a megabyte into a gigabyte before the size could be checked.
    """
    packed = response.headers.get("Content-Encoding", "").strip().lower() == "gzip"
    inflater = zlib.decompressobj(_GZIP) if packed else None
    parts: list[bytes] = []
    received = size = 0
    for chunk in response.raw.stream(CHUNK, decode_content=False):
        received += len(chunk)
        parts.append(chunk if inflater is None else inflater.decompress(chunk, most - size + 1))
        size += len(parts[-1])
        if size > most:
            raise TooLong
    # A 304 may announce the length of a body that it does not contain (RFC 9110, 8.6). Old library versions do not
    # compare the length.
    announced = response.headers.get("Content-Length", "") if response.status_code != 304 else ""
    if announced.isdecimal() and received < int(announced):
        raise CutShort
    if inflater is not None and received and not inflater.eof:
        raise CutShort
    return b"".join(parts)


# Trust


def find_trust(ca_path: str) -> Trust:
    """Return the CAs in a file or directory, or the HTTP library's default CAs if `ca_path` is empty.

    OpenSSL looks up certificates in a directory that `openssl rehash` has prepared. In any other directory, every file
    with certificates is loaded. Raises ConfigurationError.
    """
    if not ca_path:
        return Trust(True)
    path = os.path.expanduser(os.path.expandvars(ca_path))
    if not os.path.exists(path):
        hint = None
        if not os.path.isabs(path):
            hint = (
                "Set an absolute path, in a playbook for example {{ playbook_dir }}/ca.pem. Relative paths are "
                f"relative to the working directory {os.getcwd()}."
            )
        raise ConfigurationError("ca_path", f"'{path}' does not exist on the host that connects.", hint=hint)
    if not os.path.isdir(path):
        problem = _load_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path)
        if problem:
            raise ConfigurationError("ca_path", f"'{path}' {problem}.", hint=_NO_CERTIFICATE)
        return Trust(path)
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise ConfigurationError("ca_path", f"'{path}' cannot be read: {error.strerror}.") from None
    if any(map(_HASHED.fullmatch, names)):
        return Trust(path)
    context: ssl.SSLContext = library().packages.urllib3.util.ssl_.create_urllib3_context()
    paths = (os.path.join(path, name) for name in names)
    problems = [_load_certificates(context, file) for file in paths if os.path.isfile(file)]
    if all(problems):  # also if the directory has no such file
        problem = f"no file in '{path}' contains a certificate that can be read."
        raise ConfigurationError("ca_path", problem, hint=_NO_CERTIFICATE)
    return Trust(path, context)


_NO_CERTIFICATE = "Put the CA certificate there in PEM format (-----BEGIN CERTIFICATE-----), or set another ca_path."


def _load_certificates(context: ssl.SSLContext, file: str) -> str:
    """Load a file's certificates into the context. Returns the reason if that is not possible."""
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:  # other text, or a private key
        return "contains no certificate, or a damaged one"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


# Errors


PROXY_LOGIN = Trouble(
    WrongUse,
    "the proxy requires a login (407)",
    "Set proxy to http://USER:PASSWORD@HOST:PORT, with special characters percent-encoded.",
    False,
)
_REACH = "Check url, proxy and timeout, and that the server is up."
_NO_WAY = {
    errno.ECONNREFUSED: "the connection was refused",
    errno.ENETUNREACH: "the network is unreachable",
    errno.EHOSTUNREACH: "there is no route to the host",
    errno.ENETDOWN: "the network is down",
    errno.EADDRNOTAVAIL: "this host has no address for the connection",
}
# OpenSSL's error numbers (X509_V_ERR_*) are used because its texts differ between versions.
_NOT_VALID_NOW = (9, 10)
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
_OTHER_NAME = (62, 64)


def failures() -> tuple[type[Exception], ...]:
    """Return the exceptions that a request, or reading its response, can raise."""
    from http.client import HTTPException

    urllib3 = library().packages.urllib3.exceptions.HTTPError
    return (library().exceptions.RequestException, urllib3, HTTPException, OSError, ValueError, zlib.error, TooLong,
            CutShort)  # fmt: skip


def explain(error: Exception, ca_path: str = "") -> Trouble:
    """Return the meaning of one of the `failures`, from its classes and numbers. Its text can be in any language.

    A request counts as possibly arrived unless the error proves that nothing was sent.
    """
    causes = list(_causes(error))
    requests, urllib3 = library().exceptions, library().packages.urllib3
    mismatch = urllib3.connection.CertificateError

    def cause(*classes: Any) -> Any:
        return next((one for one in causes if isinstance(one, classes)), None)

    unverified = cause(ssl.SSLCertVerificationError, mismatch)
    if unverified is not None:
        return _explain_certificate(unverified, ca_path)
    alert = next(filter(None, map(_find_alert, causes)), "")
    if alert:
        return _explain_alert(alert)
    if cause(ssl.SSLError, requests.SSLError) and not cause(ssl.SSLEOFError, ssl.SSLZeroReturnError):
        hint = "Check url, which must have the right scheme and port."
        return Trouble(CertificateInvalid, "the TLS connection failed", hint, True)
    if cause(requests.ProxyError):
        # http.client has the status of a refused tunnel only in the exception's text.
        if any(re.search(r"\b407\b", str(one)) for one in causes if type(one) in _PLAIN):
            return PROXY_LOGIN
        # The HTTP library raises ProxyError even after the request was sent.
        unsent = cause(urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) or any(
            isinstance(one, OSError) and type(one) in _PLAIN and one.errno is None
            for one in causes  # a refused tunnel
        )
        hint = "Check proxy, and that the proxy allows connections to url."
        return Trouble(Unreachable, "the proxy refused or closed the connection", hint, not unsent)
    if cause(requests.InvalidURL, requests.InvalidSchema, requests.MissingSchema):
        return explain_unsent(error)
    if cause(urllib3.exceptions.NewConnectionError):
        return Trouble(Unreachable, _explain_connection(causes), _REACH, False)
    if cause(requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError):
        return Trouble(Unreachable, "no connection within the timeout", _REACH, False)
    if cause(requests.Timeout, urllib3.exceptions.TimeoutError, socket.timeout):
        return Trouble(Unreachable, "no complete response within the timeout", _REACH, True)
    reason = "the connection was closed before the response was complete"
    if not cause(CutShort, ConnectionError, ssl.SSLError, urllib3.exceptions.IncompleteRead):
        reason = "the response is not valid HTTP"
    return Trouble(Unreachable, reason, _REACH, True)


def explain_unsent(error: Exception) -> Trouble:
    """Return the meaning of an error that occurred before the request was sent."""
    return Trouble(WrongUse, f"the request is not valid ({type(error).__name__})", "Check url and proxy.", False)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes, which libraries store in several places."""
    seen: set[int] = set()
    left: list[Any] = [error]
    while left:
        one = left.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            left += [getattr(one, "reason", None), *one.args, one.__cause__, one.__context__]


def _explain_connection(causes: list[BaseException]) -> str:
    for one in causes:
        if isinstance(one, socket.gaierror):
            unknown = {getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")}
            return "the host name is unknown" if one.errno in unknown else "the host name could not be looked up"
        if isinstance(one, OSError) and one.errno in _NO_WAY:
            return _NO_WAY[one.errno]
    return "the connection failed"


def _find_alert(error: BaseException) -> str:
    """Return the TLS alert with which the server ended the connection, such as `UNKNOWN_CA`, or an empty text."""
    found = (
        re.search(r"ALERT_(\w+)$", getattr(error, "reason", None) or "") if isinstance(error, ssl.SSLError) else None
    )
    return found[1] if found else ""


def _explain_alert(alert: str) -> Trouble:
    """Return the meaning of an alert (RFC 8446, 6.2)."""
    if alert == "CERTIFICATE_REQUIRED":
        reason, hint = "it requires a TLS client certificate", "Set client_cert and client_key."
    elif alert == "UNKNOWN_CA":
        reason = "it does not trust the CA of the client certificate"
        hint = "Set client_cert to a certificate of a CA that the server or the proxy before it trusts."
    elif "CERTIFICATE" in alert:
        reason = f"it rejected the client certificate ({alert.lower().replace('_', ' ')})"
        hint = "Check client_cert, which may have expired or been revoked, and this host's clock."
    else:  # before TLS 1.3, also if a client certificate is missing
        reason = f"it ended the TLS connection ({alert.lower().replace('_', ' ')})"
        hint = "Check url, which must have the right scheme and port. If the server requires a TLS client certificate, "
        hint += "set client_cert and client_key."
    return Trouble(CertificateInvalid, reason, hint, True)


def _explain_certificate(error: BaseException, ca_path: str) -> Trouble:
    # Old library versions compare the host name themselves, and their error has no number.
    number = getattr(error, "verify_code", _OTHER_NAME[0])
    if number in _OTHER_NAME:
        reason, hint = "it was issued for another host name", "Check url, which must have the right host name."
    elif number in _NOT_VALID_NOW:
        reason, hint = "it has expired, or is not valid yet", "Renew it, or correct this host's clock."
    elif number in _UNKNOWN_AUTHORITY:
        reason = "no trusted CA has signed it"
        hint = "Set ca_path to the certificate of the CA that signed it."
        if ca_path:
            hint = f"Add the certificate of the CA that signed it to '{ca_path}'."
            if os.path.isdir(ca_path):
                hint += f" If it already contains it, run: openssl rehash {ca_path}"
    else:
        reason = f"OpenSSL's reason is number {number}"
        hint = "Check ca_path and the certificate of the server."
    return Trouble(CertificateInvalid, f"its certificate cannot be verified: {reason}", hint, False)
