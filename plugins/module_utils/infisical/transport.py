# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that talks HTTP: one session a process, the waits and repeats, and errors in a person's words."""

from __future__ import annotations

import json
import os
import random
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Callable, Protocol
from urllib.parse import quote, urlencode, urlsplit

from .errors import (
    Answer,
    Conclusion,
    ConfigurationError,
    InfisicalError,
    MissingLibrary,
    Operation,
    Validator,
    conclude,
    remedy,
)
from .model import Settings, is_loopback
from .redact import quoted

if TYPE_CHECKING:
    import requests

CHUNK = 1 << 20
"""Bytes read at a time from an answer."""


class Clock:
    """Time and waiting, in seconds; tests put one of their own in its place."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class TokenSource(Protocol):
    """Where the bearer token comes from (`auth.Login`, or what shares one login among processes)."""

    def current(self) -> str:
        """The token to use now, fetched if need be."""

    def renew(self, rejected: str) -> str | None:
        """Another token after the server rejected this one, or None where there is no way to get one."""


@dataclass(frozen=True)
class Call:
    """One request. `what` completes the sentence "Could not …"; `secrets` are never to appear in a message.

    `path` has its variable parts percent-encoded by `segment`. `repeatable` is false for a request that must not be
    sent twice without looking in between what the first one did. With `known`, the answer may be that nothing has
    changed since.
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


def segment(name: str) -> str:
    """A name as one segment of a path: everything percent-encoded, the slash too."""
    return quote(name, safe="")


def encoded(body: Mapping[str, Any]) -> bytes:
    """A request's body as it is sent. Raises UnicodeEncodeError, which quotes the text, where there is no UTF-8."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8")


class Transport:
    """HTTP to one Infisical: `send` gives the answer that was wanted, or raises InfisicalError.

    Policy, each once for a request: token rejected → log in again and repeat; rate limited → wait `Retry-After`
    (at most `max_wait`), else `rate_limit_wait`, and at random up to `rate_limit_jitter` seconds more; server error →
    wait `server_error_wait`; connection refused, reset or timed out → wait `connection_wait`. `log` is told in a
    sentence whenever it waits. No library's retry loop is used because none waits a different time for each conclusion,
    nor looks before it repeats a POST.
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

    def close(self) -> None:
        """Close the connections; the next `send` opens new ones."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def send(self, call: Call) -> Answer:
        """Send the request, wait and repeat as the policy says, and return the successful answer.

        Raises InfisicalError with a conclusion; `uncertain` is true where a request that is not repeatable may have
        taken effect: then it is the caller who waits (`pause`), looks and repeats.
        """
        spent: set[Conclusion] = set()
        while True:
            token = self.tokens.current() if call.authenticated and self.tokens is not None else ""
            outcome = self._attempt(call, token)
            if isinstance(outcome, Answer):
                return outcome
            error = outcome.error
            error.after_loss = not spent.isdisjoint((Conclusion.SERVER_ERROR, Conclusion.UNREACHABLE))
            if error.conclusion in spent:
                raise error
            spent.add(error.conclusion)
            if error.conclusion is Conclusion.TOKEN_REJECTED and call.authenticated and self.tokens is not None:
                if self.tokens.renew(token) is None:
                    raise error
                continue
            wait = self._wait_before_repeat(outcome)
            if wait is None:
                raise error
            error.wait = wait
            if error.uncertain:
                raise error
            self.pause(error)

    def pause(self, error: InfisicalError) -> None:
        """Wait as long as the policy says before the request that ended with `error` may be sent once more."""
        self._log(f"Waiting {error.wait:g} s before one more try: {error.problem}")
        self.clock.sleep(error.wait)

    def _wait_before_repeat(self, failure: _Failure) -> float | None:
        settings = self.settings
        wait = {
            Conclusion.RATE_LIMITED: settings.rate_limit_wait,
            Conclusion.SERVER_ERROR: settings.server_error_wait,
            Conclusion.UNREACHABLE: settings.connection_wait,
        }.get(failure.error.conclusion)
        asked = self._retry_after(failure.answer) if wait is not None and failure.answer is not None else None
        wait = wait if asked is None else min(asked, settings.max_wait)
        if failure.error.conclusion is Conclusion.RATE_LIMITED and wait is not None:
            # Hosts behind one address that are told the same time would all come back at once.
            wait += random.uniform(0, self._jitter)  # noqa: S311 - no secret
        return wait

    def _retry_after(self, answer: Answer) -> float | None:
        """Seconds that a Retry-After header asks for, given as seconds or as a date (RFC 9110, 10.2.3)."""
        text = answer.header("retry-after").strip()
        if text.isascii() and text.isdecimal():
            return float(text)
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self.clock.time())
        except (TypeError, ValueError, IndexError, OverflowError):
            return None

    def _attempt(self, call: Call, token: str) -> Answer | _Failure:
        """One request and what came of it. Failures are returned, not raised, so that no exception of the HTTP
        library, which may quote what was sent, hangs on them as a context."""
        exceptions = _requests().exceptions
        try:
            answer = self._exchange(call, token)
        except exceptions.SSLError as error:
            problem = Conclusion.CERTIFICATE, self._certificate_problem(error), False
        except exceptions.ProxyError:
            problem = Conclusion.UNREACHABLE, "the proxy refused or closed the connection. Check proxy.", False
        except exceptions.ConnectTimeout:
            problem = Conclusion.UNREACHABLE, self._unreachable("no connection within the timeout"), False
        except exceptions.Timeout:
            problem = Conclusion.UNREACHABLE, self._unreachable("no answer within the timeout"), True
        except (
            exceptions.ConnectionError,
            exceptions.ChunkedEncodingError,
            exceptions.ContentDecodingError,
            _CutShort,
        ) as error:
            reason, arrived = _connection_problem(error)
            problem = Conclusion.UNREACHABLE, self._unreachable(reason), arrived
        except (exceptions.RequestException, ValueError) as error:
            reason = f"the request could not be made ({type(error).__name__}). Check url, proxy and ca_path."
            problem = Conclusion.CONFIGURATION, reason, False
        else:
            failure = self._error(call, token, answer)
            return answer if failure is None else _Failure(failure, answer)
        conclusion, text, arrived = problem
        uncertain = arrived and not call.repeatable
        return _Failure(InfisicalError(conclusion, f"Could not {call.what}: {text}", uncertain=uncertain))

    def _exchange(self, call: Call, token: str) -> Answer:
        settings = self.settings
        headers = {"Accept": "application/json", "User-Agent": "keyfleet.infisical"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if call.known is not None and call.known.etag:
            headers["If-None-Match"] = call.known.etag
        body = None
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            body = encoded(call.body)
        url = settings.url + call.path + ("?" + urlencode(call.query) if call.query else "")
        response = self._opened().request(
            call.method,
            url,
            headers=headers,
            data=body,
            timeout=settings.timeout,
            allow_redirects=False,
            verify=self._verify(),
            stream=True,
        )
        with response:
            content = b"".join(response.iter_content(CHUNK))
            # A 304 may announce the length of what it does not send (RFC 9110, 8.6).
            announced = response.headers.get("Content-Length", "") if response.status_code != 304 else ""
            compressed = "Content-Encoding" in response.headers
            # urllib3 before 2.0 takes a body that is cut short for a whole one
            if announced.isdigit() and not compressed and len(content) < int(announced):
                raise _CutShort
            return Answer(
                response.status_code,
                dict(response.headers),
                content,
                call.operation,
                len(body) if body else 0,
                call.known,
            )

    def _opened(self) -> requests.Session:
        if self._session is None:
            if not self.settings.validate_certs:
                # Whoever set the option knows; the warning would go to the terminal with every request.
                warnings.filterwarnings("ignore", message="Unverified HTTPS request")
            self._session = _new_session(self.settings.proxy)
        return self._session

    def _verify(self) -> str | bool:
        return _authorities(self.settings.ca_path) if self.settings.validate_certs else False

    def _unreachable(self, reason: str) -> str:
        return f"{self.settings.url}: {reason}. Check url, proxy and timeout, and that the server is up."

    def _certificate_problem(self, error: Exception) -> str:
        reason = _innermost(error)
        if "certificate verify failed" not in reason and "CERTIFICATE" not in reason:
            return f"{self.settings.url}: the TLS connection failed. Check the scheme and the port of url."
        detail = reason.rsplit("certificate verify failed: ", maxsplit=1)[-1].split(" (_ssl")[0]
        return (
            f"{self.settings.url}: its certificate does not verify ({quoted(detail, ())}). Set ca_path to the "
            "certificate authority that signed it, and check the host name in url and this host's clock."
        )

    def _error(self, call: Call, token: str, answer: Answer) -> InfisicalError | None:
        conclusion = conclude(answer)
        if conclusion is None:
            return None
        said = quoted(answer.text(), (*call.secrets, token))
        came_back = f"HTTP {answer.status}" + (f", {said}" if said else "")
        uncertain = conclusion is Conclusion.SERVER_ERROR and not call.repeatable
        problem = f"Could not {call.what}: {self.settings.url} answered {came_back}."
        advice = remedy(conclusion, call.operation)
        return InfisicalError(conclusion, problem, advice=advice, status=answer.status, uncertain=uncertain)


@dataclass(frozen=True)
class _Failure:
    """An error, and the answer that it was made of, where there was one."""

    error: InfisicalError
    answer: Answer | None = None


class _CutShort(Exception):
    """The connection ended before the announced number of bytes."""


def post_json(url: str, document: Mapping[str, Any], *, ca_path: str, proxy: str, allow_http: bool) -> None:
    """Send `document` to a webhook, once. Its URL is a secret, and in no message.

    Raises InfisicalError (CONFIGURATION, UNREACHABLE) whose text completes "it could not be told: …".
    """
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and (allow_http or is_loopback(parts.hostname or ""))
    except ValueError:
        parts, plain = None, False
    if parts is None or not parts.hostname or not (parts.scheme == "https" or plain):
        raise ConfigurationError("notify_webhook_url", "is no URL with https://")
    exceptions = _requests().exceptions
    try:
        with _new_session(proxy) as session:
            status = session.post(
                url,
                data=encoded(document),
                headers={"Content-Type": "application/json", "User-Agent": "keyfleet.infisical"},
                timeout=_WEBHOOK_SECONDS,
                allow_redirects=False,
                verify=_authorities(ca_path),
            ).status_code
        problem = "" if 200 <= status < 300 else f"answered HTTP {status}"
    except exceptions.SSLError:
        problem = "has no certificate that verifies; set ca_path"
    except exceptions.Timeout:
        problem = f"did not answer within {_WEBHOOK_SECONDS:g} seconds"
    except (exceptions.RequestException, ValueError) as error:
        problem = f"cannot be reached ({type(error).__name__})"
    if problem:
        raise InfisicalError(Conclusion.UNREACHABLE, f"the webhook {problem}")


_WEBHOOK_SECONDS = 20.0


def _new_session(proxy: str) -> requests.Session:
    session: requests.Session = _requests().Session()
    # Otherwise .netrc replaces the token, and http_proxy and REQUESTS_CA_BUNDLE of whoever runs us decide.
    session.trust_env = False
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
    return session


def _authorities(ca_path: str) -> str | bool:
    """What certificates are verified against: the file or directory, else what the HTTP library brings."""
    if not ca_path:
        return True
    path = os.path.expanduser(os.path.expandvars(ca_path))
    if not os.path.exists(path):
        raise ConfigurationError("ca_path", f"'{path}' does not exist on the host that connects.")
    return path


def _requests() -> Any:
    try:
        import requests
    except ImportError:
        raise MissingLibrary("requests") from None
    return requests


def _innermost(error: BaseException) -> str:
    """The text of the exception at the bottom of what the HTTP library wrapped, which names the reason."""
    seen: dict[int, BaseException] = {}
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen[id(current)] = current
        inner = getattr(current, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((a for a in current.args if isinstance(a, BaseException)), None)
        if inner is None:
            return str(current)
        current = inner
    return ""


_NEVER_SENT = (
    ("Name or service not known", "the host name is not known"),
    ("nodename nor servname", "the host name is not known"),
    ("Temporary failure in name resolution", "the host name could not be looked up"),
    ("No address associated", "the host name has no address"),
    ("Connection refused", "the connection was refused"),
    ("Network is unreachable", "the network is unreachable"),
    ("No route to host", "there is no route to the host"),
)


def _connection_problem(error: Exception) -> tuple[str, bool]:
    """Why there was no whole answer, and whether the request may have arrived."""
    reason = _innermost(error)
    for text, words in _NEVER_SENT:
        if text in reason:
            return words, False
    return "the connection was cut before the answer was complete", True
