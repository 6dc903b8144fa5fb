# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP server that sends a response chosen by the test, and records requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Request:
    """A recorded request."""

    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Web:
    """The server; as a context manager it stops at the end of the block. It answers every request with `status`,
    `document` and `headers`, but waits while the event `go_on` is not set."""

    def __init__(self) -> None:
        self.status, self.document, self.headers = 200, dict[str, Any](), dict[str, str]()
        self.requests: list[Request] = []
        self.go_on = threading.Event()
        self.go_on.set()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                web.requests.append(Request(self.path, dict(self.headers), body))
                web.go_on.wait(30)
                answer = json.dumps(web.document).encode()
                self.send_response(web.status)
                for name, value in {"Content-Length": str(len(answer)), **web.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *arguments: object) -> None:
                """Print nothing to the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def __enter__(self) -> Web:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
