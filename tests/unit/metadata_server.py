# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata services of clouds as small HTTP servers on this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROLE = {"AccessKeyId": "ASIAOFROLE", "SecretAccessKey": "cAnAryKeyOfRole5f1c", "Token": "cAnArySessionOfRole9e7b"}


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.0
    """Seconds between two bytes of the body."""


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]


class MetadataServer:
    """Answers with `answer`, which gets each request. As a context manager, it stops at the end of the block."""

    def __init__(self, answer: Callable[[Received], Reply]) -> None:
        self.answer = answer
        self.requests: list[Received] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(self.command, parts.path, parse_qs(parts.query), headers)
                outer.requests.append(received)
                reply = outer.answer(received)
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    if not reply.pause:
                        self.wfile.write(reply.body)
                    for start in range(len(reply.body) if reply.pause else 0):
                        self.wfile.write(reply.body[start : start + 1])
                        time.sleep(reply.pause)
                except OSError:  # the client has closed the connection
                    pass

            do_GET = do_PUT = do

            def log_message(self, *arguments: object) -> None:
                """Print nothing to the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def __enter__(self) -> MetadataServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def as_json(document: Any) -> Reply:
    return Reply(body=json.dumps(document).encode(), headers={"Content-Type": "application/json"})


def aws(received: Received, role: Mapping[str, str] | None = None) -> Reply:
    """Answer like the metadata service of an EC2 instance, version 2 only."""
    if received.path == "/latest/api/token":
        seconds = received.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        valid = received.method == "PUT" and seconds.isdecimal() and 1 <= int(seconds) <= 21600
        return Reply(body=b"session-of-imds") if valid else Reply(400)
    if received.headers.get("x-aws-ec2-metadata-token") != "session-of-imds":
        return Reply(401)
    found = {
        "/latest/meta-data/iam/security-credentials/": Reply(body=b"web-role"),
        "/latest/meta-data/iam/security-credentials/web-role": as_json({"Code": "Success", **(role or ROLE)}),
        "/latest/dynamic/instance-identity/document": as_json({"region": "eu-west-3", "accountId": "1"}),
    }
    return found.get(received.path, Reply(404))


def azure(token: str) -> Callable[[Received], Reply]:
    """Answer like the instance metadata service of Azure."""

    def answer(received: Received) -> Reply:
        asked = {"api-version": ["2018-02-01"], "resource": ["https://management.azure.com/"]}
        if received.path != "/metadata/identity/oauth2/token":
            return Reply(404)
        if received.headers.get("metadata") != "true" or {**received.query, **asked} != received.query:
            return Reply(400)
        return as_json({"access_token": token, "token_type": "Bearer"})

    return answer


def gcp(token: str) -> Callable[[Received], Reply]:
    """Answer like the metadata server of Google Cloud."""

    def answer(received: Received) -> Reply:
        if received.headers.get("metadata-flavor") != "Google":
            return Reply(403)
        if received.path != "/computeMetadata/v1/instance/service-accounts/default/identity":
            return Reply(404)
        if received.query.get("format") != ["full"] or not received.query.get("audience"):
            return Reply(400)
        return Reply(body=token.encode(), headers={"Metadata-Flavor": "Google"})

    return answer
