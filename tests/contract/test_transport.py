# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP: TLS, redirects, environment variables, proxies, connections, and a missing library."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import transport, wire
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import read_status
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret, check_url
from contract.targets import SEED, SERVER_PYTHON, Controlled, Target, error_of
from dev_server.client import DevServer

# One kind of server is enough, because HTTP does not depend on the API.
pytestmark = pytest.mark.kinds("2026-07")


@pytest.fixture(scope="module")
def tls_server() -> Iterator[DevServer]:
    with DevServer("2026-07", SEED, tls=True, python=SERVER_PYTHON) as server:
        yield server


class Recorder(http.server.BaseHTTPRequestHandler):
    """Records every request and, as a proxy, forwards it."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, dict[str, str]]]

    def answer(self) -> None:
        self.seen.append((self.command, self.path, dict(self.headers.items())))
        if not self.path.startswith("http://"):
            self.respond(200, b"{}")
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        headers = {name: value for name, value in self.headers.items() if name in ("Authorization", "Content-Type")}
        request = urllib.request.Request(self.path, body, headers, method=self.command)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as response:
                self.respond(response.status, response.read())
        except urllib.error.HTTPError as error:
            self.respond(error.code, error.read())

    def respond(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "session=of-another-identity; Path=/")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = do_CONNECT = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing, because `seen` is the log."""


class Recording:
    """An HTTP server on this machine that records its requests."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        handler = type("Bound", (Recorder,), {"seen": self.seen})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def recorder() -> Iterator[Recording]:
    recording = Recording()
    yield recording
    recording.stop()


class Counting:
    """Forwards bytes between the client and the server, and counts the connections."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self.connections = 0
        self.port = port
        self.listener = socket.create_server((address, 0))
        self.url = f"http://{address}:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self) -> None:
        while True:
            try:
                client, _address = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.port))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.pass_on, args=(source, sink), daemon=True).start()

    @staticmethod
    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with source, sink:
            while True:
                try:
                    data = source.recv(65536)
                    sink.sendall(data)
                except OSError:
                    return
                if not data:
                    return


class Raw:
    """Start a server that responds to each request with the given bytes, even invalid ones, and counts the requests."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.stopping = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _address = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            received = b""
            while b"\r\n\r\n" not in received:
                received += client.recv(65536)
            head, _end, body = received.partition(b"\r\n\r\n")
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")), 0)
            while len(body) < length:
                body += client.recv(65536)
            self.requests.append(head.split(b" ")[0].decode())
            self.answer(client)

    def stop(self) -> None:
        self.stopping.set()
        self.listener.close()


@contextlib.contextmanager
def raw(*parts: bytes, again: bytes = b"", pause: float = 0.0) -> Iterator[Raw]:
    """Start a server that sends `parts`, and then repeats `again` until the client disconnects."""

    def answer(client: socket.socket) -> None:
        for part in parts:
            client.sendall(part)
            server.stopping.wait(pause)
        while again and not server.stopping.wait(pause):
            client.sendall(again)

    server = Raw(answer)
    try:
        yield server
    finally:
        server.stop()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CLOSE = b"Connection: close\r\n\r\n"


def chunked(body: bytes) -> bytes:
    return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


# Limits of a complete response


def bomb(mebibytes: int) -> bytes:
    """Return a JSON object of this size in MiB, compressed with gzip."""
    return gzip.compress(b'{"message": "' + b"0" * (mebibytes << 20) + b'"}', 5)


@pytest.fixture(scope="module")
def packed() -> bytes:
    return bomb(400)


PACKED_HEAD = HEAD + b"Content-Encoding: gzip\r\n"


@pytest.mark.parametrize("status", [b"200 OK", b"302 Found\r\nLocation: /", b"500 Failed", b"429 Slow"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_gzip_bomb_is_refused_without_using_memory(
    controlled: Controlled, packed: bytes, framing: str, status: bytes
) -> None:
    head = PACKED_HEAD.replace(b"200 OK", status)
    body = {
        "length": b"Content-Length: %d\r\n\r\n%s" % (len(packed), packed),
        "chunked": chunked(packed),
        "close": CLOSE + packed,
    }[framing]
    with raw(head + body) as server:
        api = controlled.api(url=server.url)
        tracemalloc.start()
        try:
            error = error_of(read_status, api.transport)
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert error.conclusion == "not_json"
    assert "larger than 64 MiB" in str(error)
    assert "raise max_response_size" in str(error)
    assert server.requests == ["GET"]
    assert peak < 150 << 20


@pytest.mark.parametrize(
    "head",
    [CLOSE, b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"Transfer-Encoding: chunked\r\n\r\n7fffffffffff\r\n",
     b"Content-Length: 99999999999999\r\n\r\n"],
    ids=["until the end", "a chunk of -1", "a huge chunk", "a huge length"],
)  # fmt: skip
def test_endless_response_is_stopped_at_the_maximum_size(controlled: Controlled, head: bytes) -> None:
    with raw(HEAD + head, again=b"0" * 65536) as server:
        error = error_of(read_status, controlled.api(url=server.url, max_response_size=0.5).transport)
    assert error.conclusion in ("not_json", "unreachable")
    assert "larger than 0.5 MiB" in str(error) or "not valid HTTP" in str(error)


def test_large_response_is_read_if_max_response_size_allows_it(controlled: Controlled) -> None:
    body = gzip.compress(b'{"message": "' + b"x" * (3 << 19) + b'"}')
    with raw(PACKED_HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)) as server:
        assert len(read_status(controlled.api(url=server.url, max_response_size=2.0).transport)) == 3 << 19
        error = error_of(read_status, controlled.api(url=server.url, max_response_size=1.0).transport)
    assert "larger than 1 MiB" in str(error)


SLOW = {
    "in the body": (HEAD + CLOSE, b"x"),
    "in a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n", b"x"),
    "in many chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "in a body of gzip": (PACKED_HEAD + CLOSE + gzip.compress(b"x")[:10], b"\0"),
    "in a header": (HEAD + b"X-Slow: ", b"x"),
    "in the status line": (b"HTTP/1.1 200 ", b"x"),
    "in informational answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize(("head", "drop"), SLOW.values(), ids=SLOW)
def test_slow_response_is_stopped_at_the_timeout(controlled: Controlled, head: bytes, drop: bytes) -> None:
    with raw(head, again=drop, pause=0.05) as server:
        began = time.monotonic()
        error = error_of(read_status, controlled.api(url=server.url, timeout=0.6).transport)
        seconds = time.monotonic() - began
    assert error.conclusion == "unreachable"
    assert "no complete response within the timeout" in str(error)
    assert server.requests == ["GET", "GET"]
    assert 1.2 <= seconds < 10


def test_slow_webhook_is_stopped_at_its_timeout(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_WEBHOOK_SECONDS", 0.5)
    with raw(HEAD + b"X-Slow: ", again=b"x", pause=0.05) as server:
        error = error_of(transport.post_json, server.url, {}, ca_path="", proxy="", allow_http=False)
    assert "did not respond: no complete response within the timeout" in str(error)


def test_gzip_bomb_from_a_webhook_is_not_decompressed(target: Target, packed: bytes) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Encoding: gzip\r\n"
    with raw(head + b"Content-Length: %d\r\n\r\n%s" % (len(packed), packed)) as server:
        tracemalloc.start()
        try:
            error = error_of(transport.post_json, server.url, {}, ca_path="", proxy="", allow_http=False)
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert "responded with HTTP 302" in str(error)
    assert peak < 20 << 20


# Broken framing

OK = b'{"message": "Ok"}'
BROKEN = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\nContent-Length: 9\r\n\r\n" + OK,
    "a negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + OK,
    "no chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + OK,
    "a chunk that ends early": HEAD + b"Transfer-Encoding: chunked\r\n\r\n40\r\n" + OK,
    "no last chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n11\r\n" + OK + b"\r\n",
    "a length that is not reached": HEAD + b"Content-Length: 18\r\n\r\n" + OK,
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "nothing": b"",
    "headers without end": HEAD,
    "a status line without end": b"HTTP/1.1 200 " + b"x" * 70_000,
    "too many headers": HEAD + b"X-A: b\r\n" * 200 + b"\r\n",
    "gzip that is none": PACKED_HEAD + CLOSE + OK,
    "gzip that is cut": PACKED_HEAD + CLOSE + gzip.compress(OK)[:-9],
    "gzip with a wrong sum": PACKED_HEAD + CLOSE + gzip.compress(OK)[:-8] + b"12345678",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_incomplete_response_is_reported_as_unreachable(controlled: Controlled, answer: bytes) -> None:
    with raw(answer) as server:
        error = error_of(read_status, controlled.api(url=server.url).transport)
    assert error.conclusion in ("unreachable", "not_json")
    assert error.conclusion == "unreachable" or answer == BROKEN["headers without end"]
    assert not error.uncertain
    assert error.conclusion == "not_json" or controlled.clock.waits == [10]


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_create_with_an_incomplete_response_is_uncertain(controlled: Controlled, answer: bytes) -> None:
    given = {"auth_method": "token", "token": "some-token", "api_version": "v4"}
    with raw(answer) as server:
        api = controlled.api(url=server.url, **given)
        error = error_of(api.write, "create", controlled.scope, Secret("A", "one"))
    assert error.conclusion in ("unreachable", "not_json")
    assert error.uncertain
    assert server.requests == ["POST"]


def test_create_with_an_oversized_response_is_uncertain(controlled: Controlled, packed: bytes) -> None:
    given = {"auth_method": "token", "token": "some-token", "api_version": "v4"}
    with raw(PACKED_HEAD + CLOSE + packed) as server:
        api = controlled.api(url=server.url, **given)
        error = error_of(api.write, "create", controlled.scope, Secret("A", "one"))
    assert (error.conclusion, error.uncertain) == ("not_json", True)


NO_WRITE = [b'{"status": "ok"}', b'{"secret": "yes"}', b'{"secret": null}', b'{"secrets": {}}',
            b'{"approval": "yes"}', b'{"approval": {"id": []}}']  # fmt: skip


@pytest.mark.parametrize("body", NO_WRITE)
@pytest.mark.parametrize("batch", [False, True])
def test_success_response_without_a_secret_is_not_a_write(controlled: Controlled, body: bytes, batch: bool) -> None:
    given = {"auth_method": "token", "token": "some-token", "api_version": "v4"}
    for action, uncertain in (("create", True), ("update", False)):
        with raw(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)) as server:
            api = controlled.api(url=server.url, **given)
            if batch:
                error = error_of(api.batch, action, controlled.scope, [Secret("A", "one"), Secret("B", "two")])
            else:
                error = error_of(api.write, action, controlled.scope, Secret("A", "one"))
        assert (error.conclusion, error.uncertain) == ("not_json", uncertain)


# Invalid Unicode


@pytest.mark.parametrize("half", [b"\\ud800", b"\\uDFFF", b"\xed\xa0\x80"])
@pytest.mark.parametrize("place", [b'"secretKey": "A%s", "secretValue": "x"', b'"secretKey": "A", "secretValue": "%s"'])
def test_lone_surrogate_is_reported_as_invalid_unicode(controlled: Controlled, half: bytes, place: bytes) -> None:
    given = {"auth_method": "token", "token": "some-token", "api_version": "v4"}
    body = b'{"secrets": [{%s}], "imports": []}' % (place % half)
    with raw(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)) as server:
        error = error_of(controlled.api(url=server.url, **given).list_secrets, controlled.scope)
    assert error.conclusion == "not_json"
    assert "responded with HTTP 200, with text that is not valid Unicode." in str(error)


def test_escaped_and_plain_characters_are_decoded_alike(controlled: Controlled) -> None:
    given = {"auth_method": "token", "token": "some-token", "api_version": "v4"}
    body = b'{"secrets": [{"secretKey": "A", "secretValue": "\\ud83d\\ude00\\u001b\xed\x95\x9c"}], "imports": []}'
    with raw(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)) as server:
        listing = controlled.api(url=server.url, **given).list_secrets(controlled.scope)
    assert listing.secrets[0].value == "\U0001f600\x1b\ud55c"


# Invalid login responses


@pytest.mark.parametrize("lifetime", [b"null", b'"60"', b"true", b"NaN", b"Infinity", b"1" + b"0" * 400, b"-1", b"{}"])
def test_invalid_token_lifetime_is_ignored(controlled: Controlled, lifetime: bytes) -> None:
    body = b'{"accessToken": "some-token", "expiresIn": %s}' % lifetime
    with raw(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)) as server:
        tokens = controlled.api(url=server.url).tokens
        assert [tokens.current(), tokens.current()] == ["some-token"] * 2
    assert server.requests == ["POST"]


@pytest.mark.parametrize(
    "token", [b"null", b'""', b"true", b"7", b'{"a": 1}', b'" "', b'"canary\\nX: y"', b'"\\u20ac"']
)
def test_invalid_token_is_refused(controlled: Controlled, token: bytes) -> None:
    body = b'{"accessToken": %s, "expiresIn": 60}' % token
    with raw(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)) as server:
        error = error_of(controlled.api(url=server.url).tokens.current)
    assert error.conclusion == "not_json"
    assert "no access token" in str(error) and "canary" not in str(error)


# URLs with a path


class Prefixing(http.server.BaseHTTPRequestHandler):
    """Start a gateway that forwards requests below /tools/infisical, and rejects all others."""

    behind: str
    prefix = "/tools/infisical"

    def answer(self) -> None:
        if not self.path.startswith(self.prefix + "/"):
            self.respond(404, b"<html>no such page</html>", "text/html")
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        headers = {name: value for name, value in self.headers.items() if name in ("Authorization", "Content-Type")}
        url = self.behind + self.path[len(self.prefix) :]
        request = urllib.request.Request(url, body, headers, method=self.command)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
                self.respond(response.status, response.read())
        except urllib.error.HTTPError as error:
            self.respond(error.code, error.read())

    def respond(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def gateway(controlled: Controlled) -> Iterator[str]:
    handler = type("Bound", (Prefixing,), {"behind": controlled.server.url})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/tools/infisical"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.kinds("reference", "2024", "2026-07")
def test_server_url_can_contain_a_path(controlled: Controlled, gateway: str) -> None:
    for url in (gateway, gateway + "/", gateway + "/api"):
        store = controlled.remote(url=check_url(url, allow_http=False))
        assert read_status(store.api.transport) == "Ok"
        store.put(Secret("A", url))
        assert {secret.value for secret in store.listing().secrets} == {url}
    assert error_of(controlled.remote(url=gateway.rpartition("/")[0]).listing).conclusion == "not_json"


# TLS


def test_private_certificate_authority_requires_ca_path(controlled: Controlled, tls_server: DevServer) -> None:
    store = controlled.remote(url=tls_server.url, ca_path=tls_server.ca_path)
    assert store.put(Secret("TLS", "one")).action == "create"
    assert tls_server.values(store.location.project_id, store.location.environment)["TLS"] == ["one"]


def test_unknown_authority_is_refused_before_any_request(controlled: Controlled, tls_server: DevServer) -> None:
    tls_server.clear_requests()
    error = error_of(controlled.remote(url=tls_server.url).listing)
    assert error.conclusion == "certificate"
    assert "cannot be verified: no trusted CA has signed it. Set ca_path" in str(error)
    assert tls_server.requests() == []
    assert controlled.clock.waits == []


def test_certificate_for_another_host_name_is_refused(controlled: Controlled, tls_server: DevServer) -> None:
    counting = Counting(int(tls_server.url.rpartition(":")[2]), "127.0.0.2")
    try:
        api = controlled.api(url=counting.url.replace("http:", "https:"), ca_path=tls_server.ca_path)
        error = error_of(read_status, api.transport)
        assert error.conclusion == "certificate"
        assert "it was issued for another host name. Check url, which must have the right host name." in str(error)
        assert counting.connections == 1
    finally:
        counting.listener.close()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_validate_certs_false_ignores_ca_path(controlled: Controlled, tls_server: DevServer) -> None:
    assert read_status(controlled.api(url=tls_server.url, validate_certs=False).transport) == "Ok"


def test_missing_ca_path_is_reported(controlled: Controlled, tls_server: DevServer) -> None:
    error = error_of(read_status, controlled.api(url=tls_server.url, ca_path="/nowhere/ca.pem").transport)
    assert error.conclusion == "configuration"
    assert "ca_path" in str(error)
    assert "/nowhere/ca.pem" in str(error)


@pytest.mark.parametrize(
    "content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_ca_path_without_a_certificate_is_reported(
    controlled: Controlled, tls_server: DevServer, tmp_path: Path, content: str
) -> None:
    (tmp_path / "ca.pem").write_text(content)
    error = error_of(read_status, controlled.api(url=tls_server.url, ca_path=str(tmp_path / "ca.pem")).transport)
    assert error.conclusion == "configuration"
    assert str(error).startswith(f"ca_path: '{tmp_path}/ca.pem' contains no certificate")
    assert "PEM" in str(error)


def test_certificates_in_a_directory_of_pem_files_are_trusted(
    controlled: Controlled, tls_server: DevServer, tmp_path: Path
) -> None:
    shutil.copy(tls_server.ca_path, tmp_path / "our authority.crt")
    (tmp_path / "README").write_text("A file begins with -----BEGIN CERTIFICATE-----")
    (tmp_path / "server.key").write_text("-----BEGIN PRIVATE KEY-----")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "more").mkdir()
    transport = controlled.api(url=tls_server.url, ca_path=str(tmp_path)).transport
    assert read_status(transport) == "Ok"


@pytest.mark.parametrize("files", [{}, {"README": "no certificate", "server.key": "-----BEGIN PRIVATE KEY-----"}])
def test_directory_without_a_certificate_is_reported(
    controlled: Controlled, tls_server: DevServer, tmp_path: Path, files: dict[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    error = error_of(read_status, controlled.api(url=tls_server.url, ca_path=str(tmp_path)).transport)
    assert error.conclusion == "configuration"
    assert str(error).startswith(f"ca_path: no file in '{tmp_path}' contains a certificate")


def test_hashed_certificate_directory_is_passed_to_openssl(tmp_path: Path, tls_server: DevServer) -> None:
    shutil.copy(tls_server.ca_path, tmp_path / "0123abcd.0")
    assert wire.find_trust(str(tmp_path)) == (str(tmp_path), None)


def test_ca_path_directory_replaces_the_system_authorities(
    controlled: Controlled, tls_server: DevServer, tmp_path: Path
) -> None:
    import certifi

    shutil.copy(certifi.where(), tmp_path / "public.pem")
    error = error_of(read_status, controlled.api(url=tls_server.url, ca_path=str(tmp_path)).transport)
    assert error.conclusion == "certificate"
    assert f"Add the certificate of the CA that signed it to '{tmp_path}'" in str(error)
    assert str(error).endswith(f"run: openssl rehash {tmp_path}")


def test_relative_ca_path_is_reported_as_relative(
    controlled: Controlled, tls_server: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = error_of(read_status, controlled.api(url=tls_server.url, ca_path="certs/ca.pem").transport)
    assert f"relative to the working directory {tmp_path}." in str(error)
    assert "{{ playbook_dir }}" in str(error)


def test_error_for_plain_http_on_a_tls_port_names_the_scheme(controlled: Controlled) -> None:
    error = error_of(read_status, controlled.api(url=controlled.server.url.replace("http:", "https:")).transport)
    assert error.conclusion == "certificate"
    assert "scheme" in str(error)


# Redirects, the environment, proxies


def test_redirect_is_not_followed_and_token_is_not_sent(controlled: Controlled, recorder: Recording) -> None:
    for status in (301, 302, 303, 307, 308):
        headers = {"Location": f"{recorder.url}/stolen"}
        controlled.server.arm("redirect", status=status, headers=headers, path="/secrets")
        error = error_of(controlled.api().list_secrets, controlled.scope)
        assert error.conclusion == "redirected"
    assert recorder.seen == []


def test_redirected_login_does_not_forward_the_client_secret(controlled: Controlled, recorder: Recording) -> None:
    controlled.server.arm("redirect", status=307, headers={"Location": recorder.url}, path="/login")
    assert error_of(controlled.api().list_secrets, controlled.scope).conclusion == "redirected"
    assert recorder.seen == []


def test_environment_proxies_netrc_and_ca_bundles_are_ignored(
    controlled: Controlled,
    tls_server: DevServer,
    recorder: Recording,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, recorder.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\nmachine localhost login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nowhere/ca.pem")
    # If .netrc had replaced the token, the server would reject it. The proxy would have recorded a login.
    assert controlled.remote().put(Secret("A", "one")).action == "create"
    assert read_status(controlled.api(url=tls_server.url, ca_path=tls_server.ca_path).transport) == "Ok"
    assert recorder.seen == []


def test_proxy_option_is_used_for_every_request(controlled: Controlled, recorder: Recording) -> None:
    store = controlled.remote(proxy=recorder.url)
    assert store.put(Secret("A", "one")).action == "create"
    assert {path.partition("/api/")[0] for _method, path, _headers in recorder.seen} == {controlled.server.url}
    assert len(recorder.seen) == len(controlled.server.requests())


def test_unreachable_proxy_error_omits_the_password(controlled: Controlled) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://me:canary-0815@127.0.0.1:{unused.getsockname()[1]}"
        error = error_of(read_status, controlled.api(proxy=proxy).transport)
    assert error.conclusion == "unreachable"
    assert "proxy" in str(error)
    assert "canary-0815" not in str(error) + "".join(controlled.log)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("login", ["", "me:canary-0815@"])
def test_proxy_login_error_explains_the_proxy_option(controlled: Controlled, scheme: str, login: str) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\n{}"
    with raw(refusal) as server:
        proxy = server.url.replace("//", f"//{login}")
        error = error_of(read_status, controlled.api(url=f"{scheme}://nothing.invalid", proxy=proxy).transport)
    assert error.conclusion == "configuration"
    assert "the proxy requires a login (407)" in str(error)
    assert "http://USER:PASSWORD@HOST:PORT" in str(error)
    assert "canary-0815" not in str(error)
    assert server.requests == ["CONNECT" if scheme == "https" else "GET"]


def test_error_for_an_invalid_token_does_not_show_the_token(controlled: Controlled) -> None:
    for token in ("canary-0815\nX: y", "canary-0815-\u20ac"):
        error = error_of(controlled.api, auth_method="token", token=token)
        assert error.conclusion == "configuration"
        assert str(error).startswith("token: ")
        assert "canary-0815" not in str(error)


# Connections


def test_many_requests_use_one_connection_even_after_errors(controlled: Controlled) -> None:
    counting = Counting(int(controlled.server.url.rpartition(":")[2]))
    try:
        store = controlled.remote(url=counting.url)
        for number in range(10):
            store.put(Secret(f"KEY_{number}", "one"))
        error_of(store.api.write, "create", store.location, Secret("KEY_0", "one"))
        store.listing()
        assert counting.connections == 1
        store.api.transport.close()
        store.listing()
        assert counting.connections == 2
    finally:
        counting.listener.close()


def test_cookies_are_never_sent(controlled: Controlled, recorder: Recording) -> None:
    store = controlled.remote(proxy=recorder.url)
    store.listing()
    store.listing()
    assert len(recorder.seen) > 2
    assert not [headers for _method, _path, headers in recorder.seen if "Cookie" in headers]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Ansible forks too
def test_transports_share_a_connection_but_forks_do_not(controlled: Controlled) -> None:
    counting = Counting(int(controlled.server.url.rpartition(":")[2]))
    try:
        for _again in range(3):
            store = controlled.remote(url=counting.url)
            store.listing()
        token = store.api.tokens.current()
        controlled.remote(url=counting.url, auth_method="token", token=token).listing()
        assert counting.connections == 1
        controlled.remote(url=counting.url, max_response_size=1).listing()
        assert counting.connections == 2
        child = os.fork()
        if not child:
            status = 1
            try:
                controlled.remote(url=counting.url).listing()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert counting.connections == 3
        store.listing()
        assert counting.connections == 3
    finally:
        counting.listener.close()


def test_connection_closed_by_the_server_is_reopened(controlled: Controlled) -> None:
    # A closed connection may cause a wait, but never an error.
    store = controlled.remote()
    store.listing()
    controlled.server.arm("cut_before", path="/secrets")
    store.listing()
    store.listing()
    assert controlled.clock.waits == [10]


def test_slow_response_within_the_timeout_is_accepted(controlled: Controlled) -> None:
    controlled.server.arm("delay", seconds=0.3, path="/secrets")
    controlled.api(timeout=2).list_secrets(controlled.scope)
    assert controlled.clock.waits == []


MISSING_REQUESTS = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "requests":
            raise ModuleNotFoundError("No module named 'requests'")
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
from infisical.client import api
from infisical.core import errors, model
try:
    settings = model.Settings(url="http://127.0.0.1:1", client_id="i", client_secret="canary-0815")
    api.read_status(api.connect(settings).transport)
except errors.MissingLibrary as error:
    print(error)
"""


def test_missing_library_error_names_the_interpreter(target: Target, tmp_path: Path) -> None:
    from ansible_collections.keyfleet.infisical.plugins.module_utils import infisical

    (tmp_path / "infisical").symlink_to(Path(str(infisical.__file__)).parent)
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", MISSING_REQUESTS, str(tmp_path)],
        capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "'requests' is missing" in ended.stdout
    assert sys.executable in ended.stdout
    assert "canary-0815" not in ended.stdout
