# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP itself: TLS, redirects, the environment's settings, proxies, connections, and a library that is missing."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.api import read_status
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.errors import Conclusion
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.model import Secret
from contract.targets import SEED, SERVER_PYTHON, Controlled, Target, error_of
from dev_server.client import DevServer

# One kind will do for what happens below the API.
pytestmark = pytest.mark.kinds("2026-07")


@pytest.fixture(scope="module")
def tls_server() -> Iterator[DevServer]:
    with DevServer("2026-07", SEED, tls=True, python=SERVER_PYTHON) as server:
        yield server


class Recorder(http.server.BaseHTTPRequestHandler):
    """Notes every request and, as a proxy, passes it on."""

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
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = do_CONNECT = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `seen` is the log."""


class Recording:
    """An HTTP server on this machine that notes what it is asked."""

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
    """Passes bytes on between the client and the server, and counts the connections."""

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


# TLS


def test_a_certificate_of_an_own_authority_verifies_with_ca_path(controlled: Controlled, tls_server: DevServer) -> None:
    store = controlled.remote(url=tls_server.url, ca_path=tls_server.ca_path)
    assert store.put(Secret("TLS", "one")).action == "create"
    assert tls_server.values(store.scope.project_id, store.scope.environment)["TLS"] == ["one"]


def test_a_certificate_of_an_unknown_authority_is_refused_before_anything_is_sent(
    controlled: Controlled, tls_server: DevServer
) -> None:
    tls_server.clear_requests()
    error = error_of(controlled.remote(url=tls_server.url).listing)
    assert error.conclusion is Conclusion.CERTIFICATE
    assert "does not verify" in str(error)
    assert "ca_path" in str(error)
    assert tls_server.requests() == []
    assert controlled.clock.waits == []


def test_a_certificate_for_another_host_name_is_refused(controlled: Controlled, tls_server: DevServer) -> None:
    counting = Counting(int(tls_server.url.rpartition(":")[2]), "127.0.0.2")
    try:
        api = controlled.api(url=counting.url.replace("http:", "https:"), ca_path=tls_server.ca_path)
        assert error_of(read_status, api.transport).conclusion is Conclusion.CERTIFICATE
        assert counting.connections == 1
    finally:
        counting.listener.close()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verification_can_be_turned_off_and_ca_path_does_not_matter_then(
    controlled: Controlled, tls_server: DevServer
) -> None:
    assert read_status(controlled.api(url=tls_server.url, validate_certs=False).transport) == "Ok"


def test_a_ca_path_that_does_not_exist_is_said(controlled: Controlled, tls_server: DevServer) -> None:
    error = error_of(read_status, controlled.api(url=tls_server.url, ca_path="/nowhere/ca.pem").transport)
    assert error.conclusion is Conclusion.CONFIGURATION
    assert "ca_path" in str(error)
    assert "/nowhere/ca.pem" in str(error)


def test_a_ca_path_that_holds_no_certificate_is_an_error_and_not_a_crash(
    controlled: Controlled, tls_server: DevServer, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    error = error_of(read_status, controlled.api(url=tls_server.url, ca_path=str(tmp_path / "ca.pem")).transport)
    assert error.conclusion in (Conclusion.CERTIFICATE, Conclusion.CONFIGURATION)
    assert "ca_path" in str(error)


def test_plain_http_where_tls_is_expected_is_told_apart_from_a_bad_certificate(controlled: Controlled) -> None:
    error = error_of(read_status, controlled.api(url=controlled.server.url.replace("http:", "https:")).transport)
    assert error.conclusion is Conclusion.CERTIFICATE
    assert "scheme" in str(error)


# Redirects, the environment, proxies


def test_a_redirect_is_not_followed_and_no_token_goes_there(controlled: Controlled, recorder: Recording) -> None:
    for status in (301, 302, 303, 307, 308):
        headers = {"Location": f"{recorder.url}/stolen"}
        controlled.server.arm("redirect", status=status, headers=headers, path="/secrets")
        error = error_of(controlled.api().list_secrets, controlled.scope)
        assert error.conclusion is Conclusion.REDIRECTED
    assert recorder.seen == []


def test_a_redirected_login_does_not_take_the_client_secret_along(controlled: Controlled, recorder: Recording) -> None:
    controlled.server.arm("redirect", status=307, headers={"Location": recorder.url}, path="/login")
    assert error_of(controlled.api().list_secrets, controlled.scope).conclusion is Conclusion.REDIRECTED
    assert recorder.seen == []


def test_proxies_netrc_and_ca_bundles_of_the_environment_are_ignored(
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
    # A token that .netrc replaced would be refused, and a login through the proxy would be seen there.
    assert controlled.remote().put(Secret("A", "one")).action == "create"
    assert read_status(controlled.api(url=tls_server.url, ca_path=tls_server.ca_path).transport) == "Ok"
    assert recorder.seen == []


def test_a_proxy_that_the_option_names_is_used_for_every_request(controlled: Controlled, recorder: Recording) -> None:
    store = controlled.remote(proxy=recorder.url)
    assert store.put(Secret("A", "one")).action == "create"
    assert {path.partition("/api/")[0] for _method, path, _headers in recorder.seen} == {controlled.server.url}
    assert len(recorder.seen) == len(controlled.server.requests())


def test_a_proxy_that_is_down_is_named_as_the_option_without_its_password(controlled: Controlled) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://me:canary-0815@127.0.0.1:{unused.getsockname()[1]}"
        error = error_of(read_status, controlled.api(proxy=proxy).transport)
    assert error.conclusion is Conclusion.UNREACHABLE
    assert "proxy" in str(error)
    assert "canary-0815" not in str(error) + "".join(controlled.log)


def test_a_token_that_cannot_stand_in_a_header_is_an_error_that_does_not_quote_it(controlled: Controlled) -> None:
    for token in ("canary-0815\nX: y", "canary-0815-\u20ac"):
        error = error_of(controlled.api, auth_method="token", token=token)
        assert error.conclusion is Conclusion.CONFIGURATION
        assert str(error).startswith("token: ")
        assert "canary-0815" not in str(error)


# Connections


def test_many_requests_use_one_connection_also_after_errors(controlled: Controlled) -> None:
    counting = Counting(int(controlled.server.url.rpartition(":")[2]))
    try:
        store = controlled.remote(url=counting.url)
        for number in range(10):
            store.put(Secret(f"KEY_{number}", "one"))
        error_of(store.api.create_secret, store.scope, Secret("KEY_0", "one"))
        store.listing()
        assert counting.connections == 1
        store.api.transport.close()
        store.listing()
        assert counting.connections == 2
    finally:
        counting.listener.close()


def test_a_connection_that_the_server_closed_in_between_is_opened_again(controlled: Controlled) -> None:
    # A dead connection costs a wait at most; it must never cost the run.
    store = controlled.remote()
    store.listing()
    controlled.server.arm("cut_before", path="/secrets")
    store.listing()
    store.listing()
    assert controlled.clock.waits == [10]


def test_a_slow_answer_within_the_timeout_is_waited_for(controlled: Controlled) -> None:
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
from infisical import api, errors, model
try:
    settings = model.Settings(url="http://127.0.0.1:1", client_id="i", client_secret="canary-0815")
    api.read_status(api.connect(settings).transport)
except errors.MissingLibrary as error:
    print(error)
"""


def test_a_missing_library_is_said_with_the_interpreter_that_lacks_it(target: Target, tmp_path: Path) -> None:
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
