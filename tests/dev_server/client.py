# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, controls and stops the test server as a process; uses the standard library only."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

START_SECONDS = 20.0
SWITCH_SECONDS = 10.0


def is_listening(url: str) -> bool:
    """Return whether the address of a URL accepts connections."""
    place = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((place.hostname or "", place.port or 0), timeout=2).close()
    except OSError:
        return False
    return True


def switch(send: Callable[[int], None], url: str, listen: bool) -> None:
    """Let the server at a URL accept or refuse connections; `send` sends a signal to its process."""
    if is_listening(url) == listen:
        return  # two pending signals may arrive in either order
    send(signal.SIGUSR2 if listen else signal.SIGUSR1)
    deadline = time.monotonic() + SWITCH_SECONDS
    while is_listening(url) != listen:
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"the test server at {url} did not react to a signal within {SWITCH_SECONDS:.0f} seconds"
            )
        time.sleep(0.02)


class DevServer:
    """A running test server; as a context manager it stops at the end of the block.

    `profile` is 2026-07, 2026-07-paid, 2026-10, 2024 or reference. `seed` is a mapping; None means the default seed.
    `tls` turns on HTTPS, with a certificate that `ca_path` verifies. `client_ca` is a file with CAs, and implies `tls`:
    the server demands a client certificate from one of these CAs, and hands it on for tls-cert-auth as a proxy does.
    `python` is an interpreter with aiohttp; the default is `KEYFLEET_SERVER_PYTHON` or else the running interpreter.
    `arguments` are appended to the server's command line. A server that is `killable` keeps its contents in a file.
    """

    def __init__(
        self,
        profile: str = "2026-07",
        seed: Mapping[str, Any] | None = None,
        *,
        tls: bool = False,
        client_ca: str | Path | None = None,
        python: str | None = None,
        arguments: Sequence[str] = (),
        killable: bool = False,
    ) -> None:
        self.profile = profile
        self._directory = tempfile.TemporaryDirectory(prefix="dev_server_")
        room = Path(self._directory.name)
        tls = tls or client_ca is not None
        self.ca_path = str(room / "ca.pem") if tls else None
        python = python or os.environ.get("KEYFLEET_SERVER_PYTHON") or sys.executable
        command = [python, str(Path(__file__).resolve().parent), "--port", "0", "--profile", profile]
        if seed is not None:
            (room / "seed.json").write_text(json.dumps(seed), "utf-8")
            command += ["--seed", str(room / "seed.json")]
        if tls:
            command += ["--self-signed", str(room)]
        if client_ca is not None:
            command += ["--client-ca", str(client_ca)]
        if killable:
            command += ["--state", str(room / "state")]
        self._command = [*command, "--ready-file", str(room / "ready.json"), *arguments]
        self._errors = room / "errors.txt"
        self.url = ""
        self.start()
        context = ssl.create_default_context(cafile=self.ca_path) if tls else None
        if context is not None:
            context.load_cert_chain(room / "client.pem")
        # Control requests stay on this machine, even if the environment sets a proxy.
        handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
        self._opener = urllib.request.build_opener(*handlers)

    def start(self) -> None:
        """Start the process, at the same address as before if it was killed."""
        ready = Path(self._directory.name) / "ready.json"
        ready.unlink(missing_ok=True)
        # The last of several options counts.
        port = ["--port", str(urllib.parse.urlsplit(self.url).port)] if self.url else []
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen([*self._command, *port], stdout=subprocess.DEVNULL, stderr=errors)
        try:
            self.url = self._wait_until_ready(ready)["url"]
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Kill the process, in the middle of whatever it does."""
        self.process.kill()
        self.process.wait()

    def _wait_until_ready(self, ready: Path) -> dict[str, Any]:
        deadline = time.monotonic() + START_SECONDS
        while not ready.exists():
            if self.process.poll() is not None:
                raise RuntimeError(f"the test server did not start: {self._errors.read_text('utf-8').strip()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the test server did not listen within {START_SECONDS:.0f} seconds")
            time.sleep(0.02)
        return dict(json.loads(ready.read_text("utf-8")))

    def __enter__(self) -> DevServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the process and remove its files; a second call does nothing."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._directory.cleanup()

    def refuse(self) -> None:
        """Close all connections and refuse new connections; keep the stored data."""
        switch(self.process.send_signal, self.url, listen=False)

    def listen(self) -> None:
        """Accept connections again at the same address."""
        switch(self.process.send_signal, self.url, listen=True)

    def control(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a control request. Raises ValueError with the server's message if the request is refused."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_control{path}", data, method=method)
        try:
            with self._opener.open(request, timeout=30) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def seed(self, document: Mapping[str, Any]) -> None:
        """Replace everything by the contents of a seed; also disarm the faults and clear the log."""
        self.control("POST", "/seed", document)

    def reset(self) -> None:
        """Load the last seed again; also disarm the faults and clear the log."""
        self.control("POST", "/reset")

    def state(self) -> dict[str, Any]:
        """Return everything stored, including values."""
        return self.control("GET", "/state")

    def requests(self, path_regex: str | None = None) -> list[dict[str, Any]]:
        """Return the logged requests whose raw path matches the expression."""
        entries = self.control("GET", "/requests")["requests"]
        return [entry for entry in entries if path_regex is None or re.search(path_regex, entry["path"])]

    def clear_requests(self) -> None:
        self.control("DELETE", "/requests")

    def arm(self, kind: str, **fields: Any) -> None:
        """Arm a fault for the next matching request, or for the next `times` matching requests."""
        self.control("POST", "/faults", {"kind": kind, **fields})

    def disarm(self) -> None:
        self.control("DELETE", "/faults")

    def put_secret(self, project: str, environment: str, path: str, key: str, value: str, **fields: Any) -> None:
        """Store a secret as another writer would. `fields` are fields of a secret in a seed, or `repeat`."""
        place = {"project": project, "environment": environment, "path": path}
        self.control("PUT", "/secret", {**place, "key": key, "value": value, **fields})

    def delete_secret(self, project: str, environment: str, path: str, key: str) -> int:
        """Delete all secrets with this name and return their number."""
        place = {"project": project, "environment": environment, "path": path}
        return int(self.control("DELETE", "/secret", {**place, "key": key})["deleted"])

    def delete_environment(self, project: str, environment: str, cached: bool = False) -> None:
        """Delete an environment. With `cached`, lists still return its secrets until a call without `cached`."""
        place = {"project": project, "environment": environment}
        self.control("POST", "/delete-environment", {**place, "cached": cached})

    def advance(self, seconds: float) -> None:
        """Advance the server's clock."""
        self.control("POST", "/clock", {"advance": seconds})

    def trust(self, **facts: Any) -> None:
        """Add to what logins are verified against: `issuer_keys`, `aws` and `ldap_users` as in a seed's settings."""
        self.control("POST", "/trust", facts)

    def living_tokens(self) -> list[dict[str, Any]]:
        """Return the tokens that the server still accepts, each with `identity`, the name of its identity."""
        return list(self.control("GET", "/tokens")["tokens"])

    def revoke_tokens(self) -> None:
        self.control("POST", "/tokens/revoke")

    def use_profile(self, name: str) -> None:
        """Respond like another version of Infisical from now on; keep the stored data."""
        self.control("POST", "/profile", {"profile": name})
        self.profile = name

    def values(self, project: str, environment: str, path: str = "/") -> dict[str, list[str]]:
        """Return a folder's stored values by name, several if a name occurs twice; empty if the folder is missing."""
        found: dict[str, list[str]] = {}
        for one in self.state()["projects"]:
            for place in one["environments"]:
                for folder in place["folders"]:
                    if (one["id"], place["slug"], folder["path"]) == (project, environment, path):
                        for secret in folder["secrets"]:
                            found.setdefault(secret["key"], []).append(secret["value"])
        return found
