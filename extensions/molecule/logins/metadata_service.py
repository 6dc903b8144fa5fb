# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A metadata server like Google Cloud's, with the token in /root/gcp."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        is_right = (
            parts.path == "/computeMetadata/v1/instance/service-accounts/default/identity"
            and parse_qs(parts.query) == {"audience": ["identity-of-cloud"], "format": ["full"]}
            and self.headers.get("Metadata-Flavor") == "Google"
        )
        data = Path("/root/gcp").read_bytes() if is_right else b"no such path"
        self.send_response(200 if is_right else 404)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


HTTPServer(("127.0.0.1", 80), Handler).serve_forever()
