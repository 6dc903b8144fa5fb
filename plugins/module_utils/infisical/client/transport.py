# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP requests to one Infisical server: one session per process, waits and retries, and errors with hints."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Callable, Protocol, cast
from urllib.parse import quote, unquote, urlencode, urlsplit

from ..core.answers import Answer, Operation, Validator, conclude, hint_for, is_used_up
from ..core.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InfisicalError,
    NotJson,
    RateLimited,
    RequestInvalid,
    ScopeMissing,
    SecretMissing,
    ServerFailed,
    TokenRejected,
    Unreachable,
)
from ..core.model import Settings, is_loopback, pluralize
from ..core.redact import Sent
from ..core.times import format_duration
from ..login.certificates import find_pair
from . import wire

if TYPE_CHECKING:
    import requests

_MEBIBYTE = 1 << 20

_SESSIONS: dict[tuple[object, ...], tuple[requests.Session, wire.Trust]] = {}
"""The sessions of this process keyed by the settings that they depend on, so that later transports use the same
connections. The process id is part of the key, because a fork must not use the connections of its parent. The identity
is not, because a session keeps nothing of a request: the token is in the header of each request."""


class Clock:
    """Time and waiting, in seconds. Tests replace this class."""

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class TokenSource(Protocol):
    """The source of the bearer token: `auth.Login`, or a source that shares one login between processes."""

    def current(self) -> str:
        """Return a token, after a login if necessary."""

    def renew(self, rejected: str) -> str | None:
        """Return another token after the server rejected this one, or None if there is no way to get one."""

    def revoke(self) -> InfisicalError | None:
        """Revoke the tokens from the logins of this process. Return the first error, or None."""


@dataclass(frozen=True)
class Call:
    """One request. `what` completes the sentence "Could not …".

    No message is allowed to quote `secrets`. Encode the variable parts of `path` with `encode_segment`. `repeatable` is
    false if the effect of the request must be checked before a retry. With `known`, the response may be that nothing
    has changed since the response with that validator.
    """

    method: str
    path: str
    operation: Operation
    what: str
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    authenticated: bool = True
    repeatable: bool = True
    known: Validator | None = None


def encode_segment(name: str) -> str:
    """Percent-encode a name, including its slashes, as one segment of a path."""
    return quote(name, safe="")


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Return a request's body as JSON in UTF-8. Raises UnicodeEncodeError, whose text quotes the body."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8")


class Transport:
    """HTTP requests to one Infisical server: `send` returns a successful response or raises InfisicalError.

    A request is retried at most once after each of these errors. If the token was rejected, log in again. If the
    request was rate-limited, wait `rate_limit_wait` seconds. After a server error, wait `server_error_wait` seconds. If
    the connection was refused, was reset or timed out, wait `connection_wait` seconds. A `Retry-After` header in the
    response takes precedence, up to `max_wait` seconds. After a rate limit, a random time of up to `rate_limit_jitter`
    seconds is added. `log` gets a sentence before each wait. The retry loops of libraries cannot check the effect of a
    POST before the retry.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        log: Callable[[str], None] | None = None,
        rate_limit_jitter: float = 0.0,
    ) -> None:
        self.settings = settings
        self.clock = clock or Clock()
        self._jitter = rate_limit_jitter
        self.tokens: TokenSource | None = None
        self._log = log or (lambda text: None)
        self._session: requests.Session | None = None
        self._trust = wire.Trust(False)
        hidden = settings.client_secret, settings.token, settings.jwt, settings.password
        self._sent = Sent((*hidden, *_passwords(settings.proxy)))
        self._uses: dict[str, int] = {}
        self._most = int(settings.max_response_size * _MEBIBYTE)

    def close(self) -> None:
        """Close the connections; the next `send` opens new ones."""
        if self._session is not None:
            self._session.close()
            self._session = None
            _SESSIONS.pop(self._session_key(), None)

    def send(self, call: Call) -> Answer:
        """Send the request, wait and retry as described above, and return the successful response.

        Raises InfisicalError. Its `uncertain` is true if a request that is not `repeatable` may have taken effect. The
        caller must then wait (`pause`), check the effect, and retry.
        """
        spent: set[type[InfisicalError]] = set()
        while True:
            token = self.tokens.current() if call.authenticated and self.tokens is not None else ""
            answer, error = self._attempt(call, token)
            if error is None:
                return cast(Answer, answer)
            error.after_loss = bool(spent & {ServerFailed, Unreachable})
            if type(error) in spent:
                raise error
            spent.add(type(error))
            if isinstance(error, TokenRejected) and call.authenticated and self.tokens is not None:
                if self.tokens.renew(token) is None:
                    raise error
                continue
            wait = self._find_wait(error, answer)
            if wait is None:
                raise error
            error.wait = wait
            if error.uncertain:
                raise error
            self.pause(error)

    def send_once(self, call: Call) -> InfisicalError | None:
        """Send a request that needs no token, without a retry. Return the error, or None if it was successful."""
        return self._attempt(call, "")[1]

    def keep_out(self, read: Iterable[str | None]) -> None:
        """Keep values that were read from the server out of all messages."""
        self._sent.remember_read(read)

    def pause(self, error: InfisicalError) -> None:
        """Wait until the request that failed with `error` may be retried."""
        self._log(f"Waiting {error.wait:g} s before one more try: {error.problem}")
        self.clock.sleep(error.wait)

    def _find_wait(self, error: InfisicalError, answer: Answer | None) -> float | None:
        """Return the seconds to wait before a retry, or None if a retry cannot help."""
        settings = self.settings
        waits: dict[type[InfisicalError], float] = {
            RateLimited: settings.rate_limit_wait,
            ServerFailed: settings.server_error_wait,
            Unreachable: settings.connection_wait,
        }
        if type(error) not in waits:
            return None
        asked = None if answer is None else self._parse_retry_after(answer.header("retry-after").strip())
        wait = waits[type(error)] if asked is None else min(asked, settings.max_wait)
        if isinstance(error, RateLimited):
            # Otherwise, all hosts behind one address would retry at the same time.
            wait += random.uniform(0, self._jitter)  # noqa: S311 - no secret
        return wait

    def _parse_retry_after(self, text: str) -> float | None:
        """Return the seconds from a Retry-After header, or None if it is not valid.

        The header contains seconds or a date (RFC 9110, 10.2.3).
        """
        if text.isascii() and text.isdecimal():
            return float(text)
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self.clock.time())
        except (TypeError, ValueError, IndexError, OverflowError):
            return None

    def _attempt(self, call: Call, token: str) -> tuple[Answer | None, InfisicalError | None]:
        """Send one request, and return its response and its error.

        Errors are returned instead of raised. Otherwise, their context would be an exception of the HTTP library, which
        may quote the request.
        """
        self._sent.remember((*call.secrets, token))
        session = self._open()
        failures = wire.failures()
        try:
            request = self._prepare(session, call, token)
        except failures as error:
            return None, self._fail(call, wire.explain_unsent(error))
        try:
            answer = self._exchange(session, request, call)
        except wire.TooLong:
            reason = f"the response is larger than {self.settings.max_response_size:g} MiB"
            hint = "Check url and proxy. If the response must be this large, raise max_response_size."
            trouble = wire.Trouble(NotJson, reason, hint, True)
        except failures as error:
            trouble = wire.explain(error, self.settings.ca_path)
        else:
            problem = self._judge(call, token, answer)
            if problem is None or isinstance(problem, _ACCEPTED):
                self._uses[token] = self._uses.get(token, 0) + 1
            return answer, problem
        return None, self._fail(call, trouble)

    def _fail(self, call: Call, trouble: wire.Trouble, status: int | None = None) -> InfisicalError:
        problem = f"Could not {call.what}: {self.settings.url}: {trouble.reason}."
        uncertain = trouble.arrived and not call.repeatable
        return trouble.error(problem, hint=trouble.hint, status=status, uncertain=uncertain)

    def _prepare(self, session: requests.Session, call: Call, token: str) -> requests.PreparedRequest:
        # The HTTP library would unpack other encodings without a limit.
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "keyfleet.infisical"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if call.known is not None and call.known.etag:
            headers["If-None-Match"] = call.known.etag
        body = None
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            body = encode_body(call.body)
        url = self.settings.url + call.path + ("?" + urlencode(call.query) if call.query else "")
        request = wire.library().Request(call.method, url, headers=headers, data=body)
        prepared: requests.PreparedRequest = session.prepare_request(request)
        return prepared

    def _exchange(self, session: requests.Session, request: requests.PreparedRequest, call: Call) -> Answer:
        response = session.send(
            request,
            timeout=self.settings.timeout,
            allow_redirects=False,
            verify=self._trust.verify,
            proxies=session.proxies,
            stream=True,
        )
        with response:
            content, headers = wire.read_body(response, self._most), dict(response.headers)
            sent = len(request.body or b"")
            return Answer(response.status_code, headers, content, call.operation, sent, call.known)

    def _open(self) -> requests.Session:
        if self._session is None:
            settings, key = self.settings, self._session_key()
            if key not in _SESSIONS:
                trust = wire.find_trust(settings.ca_path) if settings.validate_certs else self._trust
                session = wire.new_session(settings.proxy, self._most, trust)
                session.cert = find_pair(settings)
                _SESSIONS[key] = session, trust
            if not settings.validate_certs:
                # The warning would be printed with every request.
                warnings.filterwarnings("ignore", message="Unverified HTTPS request")
            self._session, self._trust = _SESSIONS[key]
        return self._session

    def _session_key(self) -> tuple[object, ...]:
        settings = self.settings
        certificate = settings.client_cert, settings.client_key
        return os.getpid(), settings.proxy, settings.ca_path, settings.validate_certs, *certificate, self._most

    def _judge(self, call: Call, token: str, answer: Answer) -> InfisicalError | None:
        """Return the error that a response means, or None for a success."""
        if answer.status == 407:
            return self._fail(call, wire.PROXY_LOGIN, answer.status)
        kind = conclude(answer)
        if kind is None:
            return None
        # Redacting the text takes time, and conflicts are frequent and clear without it.
        said = "" if kind is Conflict else self._sent.quote(answer.text())
        if kind is NotJson and answer.data is not None:
            said = "with text that is not valid Unicode"
        came_back = f"HTTP {answer.status}" + (f", {said}" if said else "")
        # A proxy may have changed the response to a request that took effect.
        uncertain = kind in (ServerFailed, NotJson) and not call.repeatable
        problem = f"Could not {call.what}: {self.settings.url} responded with {came_back}."
        hint = hint_for(kind, call.operation, answer.text())
        if call.operation is Operation.LOGIN:
            hint = f"{hint} {self._compare_clocks(answer)}".strip()
        if kind is NotJson and answer.status == 400 and self.settings.url.startswith("https://"):
            hint += " If a proxy such as nginx requires a TLS client certificate, check client_cert and client_key."
        if kind is TokenRejected and not _ENDED.search(answer.text()):
            hint = self._explain_uses(token, is_used_up(answer), hint)
        return kind(problem, hint=hint, status=answer.status, uncertain=uncertain)

    def _compare_clocks(self, answer: Answer) -> str:
        """Return a sentence if this host's clock differs from the server's, which can be why a login is rejected."""
        try:
            ahead = self.clock.time() - parsedate_to_datetime(answer.header("date")).timestamp()
        except (TypeError, ValueError, IndexError, OverflowError):
            return ""
        if abs(ahead) < _CLOCK_TOLERANCE:
            return ""
        direction = "ahead of" if ahead > 0 else "behind"
        return f"This host's clock is {format_duration(abs(ahead))} {direction} the server's: correct the wrong clock."

    def _explain_uses(self, token: str, used_up: bool, hint: str) -> str:
        """Return the hint for a rejected token. It gives the number of uses if that may be the reason."""
        # If another process has used up this token, this process may have counted the uses of an earlier token.
        uses = self._uses.get(token, 0) or (max(self._uses.values(), default=0) if used_up else 0)
        if not used_up and not uses:
            return hint
        allowed = f"identity's tokens allow {pluralize(uses, 'use') if uses else 'few uses'}"
        increase = (
            "Raise the maximum number of uses of its access tokens (0 means unlimited) in Infisical, under the "
            "identity's universal auth"
        )
        if used_up:
            return f"{increase}, or set a new token. The {allowed}, and this needs more."
        return f"{hint} If it is neither expired nor revoked, the {allowed}. {increase}."


_CLOCK_TOLERANCE = 60.0
"""Seconds by which two clocks may differ. A response may take some seconds, and the shortest proofs are valid for
minutes."""

_ENDED = re.compile("revoked|expired", re.IGNORECASE)
"""Reasons for a rejected token other than its number of uses."""

_ACCEPTED = (Conflict, SecretMissing, ScopeMissing, Forbidden, RequestInvalid)
"""Errors that a server returns only after it has accepted the token."""


def post_json(url: str, document: Mapping[str, Any], *, ca_path: str, proxy: str, allow_http: bool) -> None:
    """Send `document` to a webhook once. The URL is a secret, so no message contains it.

    Raises ConfigurationError or Unreachable.
    """
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and (allow_http or is_loopback(parts.hostname or ""))
    except ValueError:
        parts, plain = None, False
    if parts is None or not parts.hostname or not (parts.scheme == "https" or plain):
        raise ConfigurationError("notify_webhook_url", "must be a URL with https://")
    trust = wire.find_trust(ca_path)
    try:
        with wire.new_session(proxy, _WEBHOOK_BYTES, trust) as session:
            status = session.post(
                url,
                data=encode_body(document),
                headers={"Content-Type": "application/json", "User-Agent": "keyfleet.infisical"},
                timeout=_WEBHOOK_SECONDS,
                allow_redirects=False,
                verify=trust.verify,
                stream=True,  # do not wait for the body
            ).status_code
        problem = "" if 200 <= status < 300 else f"responded with HTTP {status}"
    except wire.failures() as error:
        trouble = wire.explain(error, ca_path)
        problem = f"{'did not respond' if trouble.arrived else 'cannot be reached'}: {trouble.reason}"
    if problem:
        raise Unreachable(f"the webhook {problem}")


_WEBHOOK_SECONDS = 20.0
_WEBHOOK_BYTES = 1 << 20
"""Maximum size of a webhook's response in bytes. Only its status matters."""


def _passwords(proxy: str) -> tuple[str, ...]:
    """Return the password in a proxy's URL in three forms.

    They are: as written, percent-decoded, and as sent in the header to the proxy (base64 of `user:password`, RFC 7617).
    """
    try:
        parts = urlsplit(proxy)
    except ValueError:
        return ()
    user, password = parts.username or "", parts.password or ""
    header = f"{unquote(user)}:{unquote(password)}".encode("utf-8", "surrogatepass")
    return password, unquote(password), base64.b64encode(header).decode("ascii") if password else ""
