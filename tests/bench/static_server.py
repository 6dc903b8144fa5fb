# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server in a process of its own that sends listings rendered in advance, so that its own time is negligible.

The folder /N contains N secrets. The environment `tagged` sends an ETag, other environments do not. Everybody can log
in. Requests are counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

ETAG = '"bench"'
TAGGED = "tagged"
LOGIN = {"accessToken": "bench", "expiresIn": 7200, "accessTokenMaxTTL": 7200, "tokenType": "Bearer"}
LISTS = ("/api/v4/secrets", "/api/v3/secrets/raw")
COUNTS = "/counts"

_counts: Counter[str] = Counter()


def name_of(number: int) -> str:
    """Return the name of a secret. Every folder contains the secrets from 0 to its size."""
    return f"APP_SETTING_{number:05}"


def value_of(number: int) -> str:
    """Return the value of a secret."""
    return f"value {number} {'x' * 60}"


def secret(number: int, size: int) -> dict[str, Any]:
    """Return a secret of a folder with `size` secrets in about 460 bytes, as real servers do."""
    return {
        "id": str(uuid.UUID(int=number)),
        "workspace": str(uuid.UUID(int=size)),
        "environment": "dev",
        "version": 1,
        "type": "shared",
        "secretKey": name_of(number),
        "secretValue": value_of(number),
        "secretComment": "",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "secretPath": f"/{size}",
        "tags": [],
        "secretValueHidden": False,
        "secretMetadata": [],
    }


@cache
def listing(size: int) -> bytes:
    """Return the body of a listing."""
    return json.dumps({"secrets": [secret(number, size) for number in range(size)], "imports": []}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for header and body, because a second small packet would wait for an acknowledgement.
    wbufsize = -1

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        size = int(query.get("secretPath", "/0").strip("/") or 0)
        route, _slash, name = url.path.rpartition("/")
        if url.path == COUNTS:
            self._respond(200, json.dumps(_counts).encode())
            _counts.clear()
        elif url.path in LISTS:
            _counts["list"] += 1
            etag = ETAG if query.get("environment") == TAGGED else ""
            same = bool(etag) and self.headers.get("If-None-Match") == etag
            self._respond(304 if same else 200, b"" if same else listing(size), etag)
        elif route in LISTS:
            _counts["get"] += 1
            found = secret(int(name.rpartition("_")[2]), size)
            self._respond(200, json.dumps({"secret": {**found, "_id": found["id"]}}).encode())
        else:
            _counts["other"] += 1
            self._respond(404, b'{"statusCode": 404, "message": "Route not found", "error": "Not Found"}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _counts["revoke" if self.path.endswith("/revoke") else "login"] += 1
        self._respond(200, json.dumps(LOGIN).encode())

    def _respond(self, status: int, body: bytes, etag: str = "") -> None:
        self.send_response(status)
        if etag:
            self.send_header("ETag", etag)
        if status != 304:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class StaticServer:
    """A running server; as a context manager it stops at the end of the block."""

    def __init__(self, *sizes: int) -> None:
        """Start the server and render the listings of these sizes."""
        command = [sys.executable, str(Path(__file__)), *map(str, sizes)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            sys.exit("bench: the static server did not start")

    def __enter__(self) -> StaticServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()

    def take_counts(self) -> dict[str, int]:
        """Return the number of requests of each kind (login, list, get, revoke, other), and count from zero again."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + COUNTS, timeout=30) as response:
            return dict(json.load(response))


def main(sizes: list[int]) -> None:
    for size in sizes:
        listing(size)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.socket.listen(256)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()  # until the bench closes it or ends


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
