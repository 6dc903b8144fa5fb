# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that talks HTTP: one session a process, the waits and repeats, and errors in a person's words."""

from __future__ import annotations

import base64
import json
import random
import re
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Callable, Protocol
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
    WrongUse,
)
from ..core.model import Settings, is_loopback, pluralize
from ..core.redact import Sent
from . import wire

if TYPE_CHECKING:
    import requests

_MEBIBYTE = 1 << 20


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
        self._trust = wire.Trust(False)
        self._sent = Sent((settings.client_secret, settings.token, *_passwords(settings.proxy)))
        self._uses: dict[str, int] = {}

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
        spent: set[type[InfisicalError]] = set()
        while True:
            token = self.tokens.current() if call.authenticated and self.tokens is not None else ""
            outcome = self._attempt(call, token)
            if isinstance(outcome, Answer):
                return outcome
            error = outcome.error
            error.after_loss = bool(spent & {ServerFailed, Unreachable})
            if type(error) in spent:
                raise error
            spent.add(type(error))
            if isinstance(error, TokenRejected) and call.authenticated and self.tokens is not None:
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

    def keep_out(self, read: Iterable[str | None]) -> None:
        """Keep values that were read from the server out of all messages."""
        self._sent.remember_read(read)

    def pause(self, error: InfisicalError) -> None:
        """Wait as long as the policy says before the request that ended with `error` may be sent once more."""
        self._log(f"Waiting {error.wait:g} s before one more try: {error.problem}")
        self.clock.sleep(error.wait)

    def _wait_before_repeat(self, failure: _Failure) -> float | None:
        settings = self.settings
        waits: dict[type[InfisicalError], float] = {
            RateLimited: settings.rate_limit_wait,
            ServerFailed: settings.server_error_wait,
            Unreachable: settings.connection_wait,
        }
        wait = waits.get(type(failure.error))
        asked = self._retry_after(failure.answer) if wait is not None and failure.answer is not None else None
        wait = wait if asked is None else min(asked, settings.max_wait)
        if isinstance(failure.error, RateLimited) and wait is not None:
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
        self._sent.remember((*call.secrets, token))
        session = self._opened()
        failures = wire.failures()
        try:
            request = self._prepared(session, call, token)
        except failures as error:
            reason = f"the request could not be made ({type(error).__name__})"
            return self._failed(call, wire.Trouble(WrongUse, reason, "Check url and proxy.", False))
        try:
            answer = self._exchange(session, request, call)
        except wire.TooLong:
            trouble = wire.Trouble(
                NotJson,
                f"the answer is larger than {self.settings.max_response_size:g} MiB",
                "Check url and proxy. If there is so much to read, raise max_response_size.",
                True,
            )
        except failures as error:
            trouble = wire.explain(error, self.settings.ca_path)
        else:
            failure = self._error(call, token, answer)
            if failure is None or isinstance(failure, _ACCEPTED):
                self._uses[token] = self._uses.get(token, 0) + 1
            return answer if failure is None else _Failure(failure, answer)
        return self._failed(call, trouble)

    def _failed(self, call: Call, trouble: wire.Trouble, status: int | None = None) -> _Failure:
        problem = f"Could not {call.what}: {self.settings.url}: {trouble.reason}."
        uncertain = trouble.arrived and not call.repeatable
        return _Failure(trouble.error(problem, hint=trouble.hint, status=status, uncertain=uncertain))

    def _prepared(self, session: requests.Session, call: Call, token: str) -> requests.PreparedRequest:
        # Other encodings would be unpacked by the HTTP library, which has no limit.
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "keyfleet.infisical"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if call.known is not None and call.known.etag:
            headers["If-None-Match"] = call.known.etag
        body = None
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            body = encoded(call.body)
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
            content = wire.read_body(response, self._most)
            return Answer(
                response.status_code,
                dict(response.headers),
                content,
                call.operation,
                len(request.body or b""),
                call.known,
            )

    @property
    def _most(self) -> int:
        return int(self.settings.max_response_size * _MEBIBYTE)

    def _opened(self) -> requests.Session:
        if self._session is None:
            settings = self.settings
            if settings.validate_certs:
                self._trust = wire.find_trust(settings.ca_path)
            else:
                # Whoever set the option knows; the warning would go to the terminal with every request.
                warnings.filterwarnings("ignore", message="Unverified HTTPS request")
            self._session = wire.new_session(settings.proxy, self._most, self._trust)
        return self._session

    def _error(self, call: Call, token: str, answer: Answer) -> InfisicalError | None:
        if answer.status == 407:
            return self._failed(call, wire.PROXY_LOGIN, answer.status).error
        kind = conclude(answer)
        if kind is None:
            return None
        # Searching for all that was sent takes time, and a conflict, which many creations meet, says it all.
        said = "" if kind is Conflict else self._sent.quote(answer.text())
        if kind is NotJson and answer.data is not None:
            said = "with text that is not valid Unicode"
        came_back = f"HTTP {answer.status}" + (f", {said}" if said else "")
        # Something between may have spoilt the answer to a request that was done.
        uncertain = kind in (ServerFailed, NotJson) and not call.repeatable
        problem = f"Could not {call.what}: {self.settings.url} answered {came_back}."
        hint = hint_for(kind, call.operation, answer.text())
        if kind is TokenRejected and not _ENDED.search(answer.text()):
            hint = self._about_uses(token, is_used_up(answer), hint)
        return kind(problem, hint=hint, status=answer.status, uncertain=uncertain)

    def _about_uses(self, token: str, used_up: bool, hint: str) -> str:
        """What to do about a rejected token, with the number of its uses if that may be the reason."""
        uses = self._uses.get(token, 0)
        if not used_up and not uses:
            return hint
        # Another process may have used this one up; then the one before it was counted here, if any.
        uses = uses or max(self._uses.values(), default=0)
        allow = (
            f"the identity's tokens allow {pluralize(uses, 'use')}" if uses else "the identity's tokens allow few uses"
        )
        mend = (
            "Raise the maximum number of uses of its access tokens (0 is no limit) in Infisical, under the identity's "
            "universal auth"
        )
        if used_up:
            return f"{allow[0].upper()}{allow[1:]}, and this needs more. {mend}, or set a new token."
        return f"{hint} If it is neither expired nor revoked, {allow}. {mend}."


_ENDED = re.compile("revoked|expired", re.IGNORECASE)
"""Why a token is rejected, if it is not for its uses."""

_ACCEPTED = (
    Conflict,
    SecretMissing,
    ScopeMissing,
    Forbidden,
    RequestInvalid,
)
"""Conclusions of answers before which the server has accepted the token."""


@dataclass(frozen=True)
class _Failure:
    """An error, and the answer that it was made of, where there was one."""

    error: InfisicalError
    answer: Answer | None = None


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
    trust = wire.find_trust(ca_path)
    try:
        with wire.new_session(proxy, _WEBHOOK_BYTES, trust) as session:
            status = session.post(
                url,
                data=encoded(document),
                headers={"Content-Type": "application/json", "User-Agent": "keyfleet.infisical"},
                timeout=_WEBHOOK_SECONDS,
                allow_redirects=False,
                verify=trust.verify,
                stream=True,  # what it says besides is not waited for
            ).status_code
        problem = "" if 200 <= status < 300 else f"answered HTTP {status}"
    except wire.failures() as error:
        trouble = wire.explain(error, ca_path)
        problem = f"{'did not answer' if trouble.arrived else 'cannot be reached'}: {trouble.reason}"
    if problem:
        raise Unreachable(f"the webhook {problem}")


_WEBHOOK_SECONDS = 20.0
_WEBHOOK_BYTES = 1 << 20
"""Bytes of its answer, of which only the status is looked at."""


def _passwords(proxy: str) -> tuple[str, ...]:
    """The password in a proxy's URL in three forms: as written, percent-decoded, and base64 of `user:password`, which
    the proxy is sent (RFC 7617)."""
    try:
        parts = urlsplit(proxy)
    except ValueError:
        return ()
    user, password = parts.username or "", parts.password or ""
    header = f"{unquote(user)}:{unquote(password)}".encode("utf-8", "surrogatepass")
    return password, unquote(password), base64.b64encode(header).decode("ascii") if password else ""
