# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server: passes each request through log, faults, token check and rate limit to its route."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from aiohttp import web

from . import control
from .api import find_route
from .calls import Answer, Call, Route
from .faults import KINDS, Cut, Fault, Faults, get_body
from .profiles import Profile
from .refusals import Conclusion, Refusal
from .seed import Node, World, build
from .store import new_id

BODY_LIMIT = 1024 * 1024
CREDENTIALS = {"clientSecret", "accessToken", "jwt", "password", "bindPass", "iamRequestHeaders", "tokenReviewerJwt"}
MASKED = frozenset({"secretValue", *CREDENTIALS})
# The header in which a proxy hands the client's certificate on.
CERTIFICATE_HEADER = "x-identity-tls-cert-auth-client-cert"


@dataclass
class Entry:
    n: int
    method: str
    path: str
    query: dict[str, str]
    body: Any = None
    status: int | None = None
    identity: str | None = None
    fault: str | None = None
    returned_values: bool = False

    def show(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Clock:
    """The server's clock, in seconds since 1970; a test can advance it."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Meter:
    """Counts requests by address, method and route, in windows of the server's clock."""

    clock: Clock
    windows: dict[tuple[str, str, str], tuple[float, int]] = field(default_factory=dict)

    def count(self, key: tuple[str, str, str], window: int) -> tuple[int, int]:
        """Count this request; return the number of requests in the window and the seconds until the next window."""
        now = self.clock()
        start, seen = self.windows.get(key, (now, 0))
        if now >= start + window:
            start, seen = now, 0
        self.windows[key] = (start, seen + 1)
        return seen + 1, max(1, math.ceil(start + window - now))


class Server:
    """The state of one server process. With the file `state`, it survives the end of the process."""

    def __init__(self, profile: Profile, seed: Any, state: Path | None = None) -> None:
        self.profile = profile
        # Whether the TLS of this server asks for client certificates and hands them on.
        self.asks_for_certificates = False
        self.faults = Faults()
        self.log: list[Entry] = []
        self.clock = Clock()
        self.state = state
        self.world: World
        self.load(seed)
        if state is not None and state.exists():
            self.world, self.clock = pickle.loads(state.read_bytes())
            self.meter = Meter(self.clock)

    def load(self, seed: Any) -> None:
        """Replace everything by the contents of a seed. Raises SeedError and changes nothing if the seed is wrong."""
        clock = Clock()
        self.world = build(seed, clock)
        self.seed, self.clock, self.meter = seed, clock, Meter(clock)
        self.faults.disarm()
        self.log.clear()

    def application(self) -> web.Application:
        # No limit here: an oversized body is read to its end, so that the client receives the response.
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self.serve)
        return application

    async def serve(self, request: web.Request) -> web.StreamResponse:
        target = re.sub(r"^https?://[^/?]*", "", request.raw_path)
        raw_path, _mark, raw_query = target.partition("?")
        query = dict(parse_qsl(raw_query, keep_blank_values=True))
        body = await request.read()
        if raw_path.startswith(control.PREFIX):
            return control.serve(self, request.method, raw_path, body)
        entry = Entry(len(self.log) + 1, request.method, raw_path, query, mask_body(body))
        self.log.append(entry)
        exchange = Exchange(self, request, entry, body)
        fault = self.faults.take(request.method, raw_path)
        response = await self.spoil(exchange, fault) if fault else exchange.handle()
        if self.state is not None and request.method != "GET":
            draft = self.state.with_suffix(".part")
            draft.write_bytes(pickle.dumps((self.world, self.clock)))
            draft.replace(self.state)
        entry.status = None if isinstance(response, Cut) else response.status
        return response

    async def spoil(self, exchange: Exchange, fault: Fault) -> web.StreamResponse:
        exchange.entry.fault = fault.kind
        response = await KINDS[fault.kind](exchange, fault)
        if not response.prepared:
            response.headers.update(fault.headers)
        return response

    def render(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> web.Response:
        # A lone surrogate cannot be encoded in UTF-8; JSON has an escape for it.
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        return web.Response(status=status, body=text, headers=headers, content_type="application/json", charset="utf-8")

    def error(
        self, status: int, error: str, message: Any, headers: Mapping[str, str], named: bool = True, **more: Any
    ) -> web.Response:
        """Return an error in the form of the profile, with the request's id if `named`."""
        body = {"statusCode": status, "message": message, "error": error, **more}
        if named and self.profile.names_requests:
            body["reqId"] = f"req-{new_id()[:13]}"
        return self.render(status, body, headers)


@dataclass
class Exchange:
    """Handles one request."""

    server: Server
    request: web.Request
    entry: Entry
    body: bytes
    with_etags: bool = True

    def handle(self) -> web.Response:
        headers: dict[str, str] = {}
        try:
            answer = self.answer(headers)
        except Refusal as refusal:
            return self.say(refusal, headers)
        response = self.server.render(answer.status, answer.body, headers)
        if answer.with_etag and self.with_etags:
            etag = '"' + hashlib.sha256(get_body(response)).hexdigest()[:32] + '"'
            if self.request.headers.get("If-None-Match") in (etag, f"W/{etag}"):
                self.entry.returned_values = False
                response = web.Response(status=304, headers=headers)
            response.headers["ETag"] = etag
        return response

    def answer(self, headers: dict[str, str]) -> Answer:
        server = self.server
        route, segments = find_route(
            server.profile, self.entry.method, self.entry.path, self.request.raw_path.partition("?")[2]
        )
        identity = server.world.directory.authenticate(self.token()) if route.needs_token else None
        self.entry.identity = identity.name if identity else None
        self.count(route, headers)
        call = Call(
            server.profile,
            server.world.store,
            server.world.directory,
            route,
            segments,
            self.entry.query,
            self.parse_body(),
            identity,
            self.certificate(),
        )
        answer = route.handler(call)
        self.entry.identity = call.identity.name if call.identity else None
        self.entry.returned_values = call.returned_values
        return answer

    def token(self) -> str:
        scheme, _space, token = self.request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refusal(Conclusion.TOKEN_MISSING)
        return token.strip()

    def certificate(self) -> str:
        """Return the certificate that the client showed to this server's own TLS, or else a certificate in the header.

        A server that asks for client certificates is its own proxy, so it ignores a header that the client sent.
        """
        if not self.server.asks_for_certificates:
            return self.request.headers.get(CERTIFICATE_HEADER, "")
        connection = self.request.get_extra_info("ssl_object")
        shown = connection.getpeercert(binary_form=True) if connection else None
        return quote(ssl.DER_cert_to_PEM_cert(shown), safe="") if shown else ""

    def count(self, route: Route, headers: dict[str, str]) -> None:
        limits = self.server.world.limits
        if limits is None or route.limit is None:
            return
        allowed = limits.login if route.limit == "login" else limits.secrets
        key = (self.request.remote or "", route.method, route.template)
        seen, seconds = self.server.meter.count(key, limits.window)
        if self.server.profile.sends_limit_headers:
            headers["x-ratelimit-limit"] = str(allowed)
            headers["x-ratelimit-remaining"] = str(max(0, allowed - seen))
            headers["x-ratelimit-reset"] = str(seconds)
        if seen > allowed:
            if self.server.profile.sends_limit_headers:
                headers["retry-after"] = str(seconds)
            raise Refusal(Conclusion.RATE_LIMITED, seconds=seconds)

    def parse_body(self) -> Any:
        if len(self.body) > BODY_LIMIT:
            raise Refusal(Conclusion.TOO_LARGE)
        if not self.body or self.entry.method == "GET":
            return None
        if self.request.content_type != "application/json":
            raise Refusal(Conclusion.NOT_DECLARED_JSON)
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refusal(Conclusion.NOT_JSON) from None

    def say(self, refusal: Refusal, headers: Mapping[str, str]) -> web.Response:
        profile, facts = self.server.profile, refusal.facts
        wording = profile.wording(refusal.conclusion)
        facts = {**facts, "url": self.request.raw_path}
        message: Any = wording.message.format(**facts)
        if "issues" in facts and profile.lists_issues and wording.error == "ValidationFailure":
            message = facts["issues"]
        more = {"details": facts["details"]} if profile.hides_values and "details" in facts else {}
        named = refusal.conclusion is not Conclusion.ROUTE_MISSING
        return self.server.error(wording.status, wording.error.format(**facts), message, headers, named, **more)

    def refuse(self, status: int, error: str, message: str) -> web.Response:
        return self.server.error(status, error, message, {})

    def put_secret(self, secret: Node) -> None:
        control.put_secret(self.server, secret)

    def drop_secret(self, secret: Node) -> None:
        control.drop_secret(self.server, secret)


def mask_body(body: bytes) -> Any:
    """Return a request's body for the log, with asterisks for values, client secrets and tokens."""

    def mask(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: "***" if name in MASKED else mask(item) for name, item in part.items()}
        return [mask(item) for item in part] if isinstance(part, list) else part

    try:
        return mask(json.loads(body)) if body else None
    except ValueError:
        return "(not JSON)"
