# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that a test arms: errors and delays for the next matching requests."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from aiohttp import web

from .seed import SECRET_FIELDS, Node

HTML = "<!DOCTYPE html><html><head><title>Proxy</title></head><body><h1>This is not the API</h1></body></html>"


class Exchange(Protocol):
    """The actions that a fault can take on a request."""

    request: web.Request
    with_etags: bool

    def handle(self) -> web.Response:
        """Handle the request and return the normal response."""

    def refuse(self, status: int, error: str, message: str) -> web.Response:
        """Return an error in the form of the profile, without any effect."""

    def put_secret(self, secret: Node) -> None:
        """Store a secret as another writer would."""

    def drop_secret(self, secret: Node) -> None:
        """Delete a secret as another writer would."""


@dataclass
class Fault:
    """An armed fault; `left` is the number of requests it still affects, or None for no limit."""

    id: int
    kind: str
    left: int | None
    status: int | None = None
    error: str | None = None
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 30.0
    method: str | None = None
    path: str = ""
    secret: Mapping[str, Any] = field(default_factory=dict)
    after_handling: bool = False

    def fits(self, method: str, raw_path: str) -> bool:
        return self.left != 0 and self.method in (None, method) and re.search(self.path, raw_path) is not None

    def show(self) -> dict[str, Any]:
        shown = {"id": self.id, "kind": self.kind, "times": self.left, "method": self.method, "path": self.path}
        return {**shown, "status": self.status, "seconds": self.seconds, "after_handling": self.after_handling}


async def answer_status(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    if fault.after_handling:
        exchange.handle()
    status = fault.status or 500
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error"
    message = fault.message if fault.message is not None else "Something went wrong" if status >= 500 else phrase
    return exchange.refuse(status, fault.error or phrase, message)


async def answer_html(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    return web.Response(status=fault.status or 200, text=HTML, content_type="text/html")


async def answer_redirect(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    return web.Response(status=fault.status or 302, headers={"Location": "/elsewhere"})


async def answer_malformed(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    whole = exchange.handle()
    half = get_body(whole)[: len(get_body(whole)) // 2]
    return web.Response(status=fault.status or whole.status, body=half, content_type="application/json")


async def cut_before(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    if fault.after_handling:
        exchange.handle()
    return abort(exchange)


async def cut_middle(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    whole = exchange.handle()
    body = get_body(whole)
    response = web.StreamResponse(status=whole.status, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(exchange.request)
    await response.write(body[: len(body) // 2])
    # No abort here: the written bytes must arrive before the connection closes.
    if exchange.request.transport is not None:
        exchange.request.transport.close()
    return response


async def time_out(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    await asyncio.sleep(fault.seconds)
    return abort(exchange)


async def delay(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    await asyncio.sleep(fault.seconds)
    return exchange.handle()


async def write_first(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    exchange.put_secret(Node(fault.secret, "secret"))
    return exchange.handle()


async def delete_first(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    exchange.drop_secret(Node(fault.secret, "secret"))
    return exchange.handle()


async def leave_out_etag(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    exchange.with_etags = False
    return exchange.handle()


class Cut(web.Response):
    """A response whose connection was closed before its first byte."""


def get_body(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def abort(exchange: Exchange) -> web.StreamResponse:
    if exchange.request.transport is not None:
        exchange.request.transport.abort()
    return Cut()


KINDS: Mapping[str, Callable[[Exchange, Fault], Awaitable[web.StreamResponse]]] = {
    "status": answer_status,
    "html": answer_html,
    "redirect": answer_redirect,
    "malformed": answer_malformed,
    "cut_before": cut_before,
    "cut_middle": cut_middle,
    "timeout": time_out,
    "delay": delay,
    "write_first": write_first,
    "delete_first": delete_first,
    "no_etag": leave_out_etag,
}


FAULT_FIELDS = {
    "write_first": f"project {SECRET_FIELDS} repeat",
    "delete_first": "project environment path key",
}
"""The fields of a control request that stores or deletes a secret."""


class Faults:
    """The armed faults, oldest first."""

    def __init__(self) -> None:
        self.armed: list[Fault] = []
        self.ids = itertools.count(1)

    def arm(self, node: Node) -> Fault:
        """Arm the fault of a control request. Raises SeedError with the name of a wrong field."""
        node.fields("kind times status message error headers seconds method path secret after_handling")
        fault = Fault(next(self.ids), node.known("kind", KINDS, "kind"), 1)
        if node.has("times"):
            fault.left = None if node.get("times").value is None else node.number("times", 1, 1)
        if node.has("status"):
            fault.status = node.number("status", 500, 100)
        for name in ("error", "message", "method"):
            setattr(fault, name, node.text(name) if node.has(name) else None)
        fault.path = node.text("path", "")
        try:
            re.compile(fault.path)
        except re.error as error:
            raise node.get("path").fail(f"is not a valid regular expression: {error}") from None
        seconds, headers = node.get("seconds"), node.get("headers")
        if node.has("seconds"):
            if not isinstance(seconds.value, (int, float)) or seconds.value < 0:
                raise seconds.fail("must be a number of seconds")
            fault.seconds = float(seconds.value)
        if node.has("headers"):
            if not isinstance(headers.value, dict):
                raise headers.fail("must be an object")
            fault.headers = {name: str(text) for name, text in headers.value.items()}
        if fault.kind in FAULT_FIELDS:
            node.get("secret").fields(FAULT_FIELDS[fault.kind])
        fault.secret = node.get("secret").value or {}
        fault.after_handling = node.get("after_handling").value is True
        self.armed.append(fault)
        return fault

    def take(self, method: str, raw_path: str) -> Fault | None:
        """Return the first fault that matches a request and count it down; None if none matches."""
        for fault in self.armed:
            if fault.fits(method, raw_path):
                fault.left = None if fault.left is None else fault.left - 1
                return fault
        return None

    def disarm(self) -> None:
        self.armed.clear()
