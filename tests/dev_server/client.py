# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test server as a test uses it: a process that is started, controlled and ended; standard library only."""

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
    """Whether anything takes connections at the address of a URL."""
    place = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((place.hostname or "", place.port or 0), timeout=2).close()
    except OSError:
        return False
    return True


def switch(send: Callable[[int], None], url: str, listen: bool) -> None:
    """Have a server at a URL listen or not; `send` gives its process a signal. Raises `RuntimeError` if it does not."""
    if is_listening(url) == listen:
        return  # two signals that are both under way may arrive in either order
    send(signal.SIGUSR2 if listen else signal.SIGUSR1)
    deadline = time.monotonic() + SWITCH_SECONDS
    while is_listening(url) != listen:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the test server at {url} did not do as it was told")
        time.sleep(0.02)


class DevServer:
    """A running test server; as a context manager it ends with its block.

    `profile` is 2026-07, 2026-10, 2024 or reference; `seed` a seed as a mapping, None for the default one; `tls` makes
    it speak HTTPS with a certificate that `ca_path` verifies; `python` is an interpreter that has aiohttp, by
    default the one that `KEYFLEET_SERVER_PYTHON` names, else the running one; `arguments` are further ones of the
    command line.
    """

    def __init__(
        self,
        profile: str = "2026-07",
        seed: Mapping[str, Any] | None = None,
        *,
        tls: bool = False,
        python: str | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.profile = profile
        self._directory = tempfile.TemporaryDirectory(prefix="dev_server_")
        room = Path(self._directory.name)
        self.ca_path = str(room / "ca.pem") if tls else None
        python = python or os.environ.get("KEYFLEET_SERVER_PYTHON") or sys.executable
        command = [python, str(Path(__file__).resolve().parent), "--port", "0", "--profile", profile]
        if seed is not None:
            (room / "seed.json").write_text(json.dumps(seed), "utf-8")
            command += ["--seed", str(room / "seed.json")]
        if tls:
            command += ["--self-signed", str(room)]
        command += ["--ready-file", str(room / "ready.json"), *arguments]
        self._errors = room / "errors.txt"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            self.url: str = self._wait_until_ready(room / "ready.json")["url"]
        except BaseException:
            self.stop()
            raise
        context = ssl.create_default_context(cafile=self.ca_path) if tls else None
        # No proxy: control requests go to this machine, whatever the environment says.
        handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
        self._opener = urllib.request.build_opener(*handlers)

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
        """End the process and remove its files; a second call does nothing."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._directory.cleanup()

    def refuse(self) -> None:
        """Refuse connections from now on, and cut those that there are; what is stored stays."""
        switch(self.process.send_signal, self.url, listen=False)

    def listen(self) -> None:
        """Take connections again, at the same address."""
        switch(self.process.send_signal, self.url, listen=True)

    def control(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One control request; raises `ValueError` with the server's sentence if it is refused."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_control{path}", data, method=method)
        try:
            with self._opener.open(request, timeout=30) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def seed(self, document: Mapping[str, Any]) -> None:
        """Replace everything by what a seed describes; disarms the faults and clears the log too."""
        self.control("POST", "/seed", document)

    def reset(self) -> None:
        """Back to the last seed; disarms the faults and clears the log too."""
        self.control("POST", "/reset")

    def state(self) -> dict[str, Any]:
        """Everything stored, with values."""
        return self.control("GET", "/state")

    def requests(self, path_regex: str | None = None) -> list[dict[str, Any]]:
        """The logged requests, those whose raw path the expression finds."""
        entries = self.control("GET", "/requests")["requests"]
        return [entry for entry in entries if path_regex is None or re.search(path_regex, entry["path"])]

    def clear_requests(self) -> None:
        self.control("DELETE", "/requests")

    def arm(self, kind: str, **fields: Any) -> None:
        """Arm a fault for the next request that fits, or for `times` of them."""
        self.control("POST", "/faults", {"kind": kind, **fields})

    def disarm(self) -> None:
        self.control("DELETE", "/faults")

    def put_secret(self, project: str, environment: str, path: str, key: str, value: str, **fields: Any) -> None:
        """Store a secret as another writer would; further fields as in a seed, and `repeat`."""
        place = {"project": project, "environment": environment, "path": path}
        self.control("PUT", "/secret", {**place, "key": key, "value": value, **fields})

    def delete_secret(self, project: str, environment: str, path: str, key: str) -> int:
        """Delete all secrets of that name; how many there were."""
        place = {"project": project, "environment": environment, "path": path}
        return int(self.control("DELETE", "/secret", {**place, "key": key})["deleted"])

    def delete_environment(self, project: str, environment: str, cached: bool = False) -> None:
        """Delete an environment; with `cached`, lists of secrets answer as before, until a call without it."""
        place = {"project": project, "environment": environment}
        self.control("POST", "/delete-environment", {**place, "cached": cached})

    def advance(self, seconds: float) -> None:
        """Move the server's clock on."""
        self.control("POST", "/clock", {"advance": seconds})

    def revoke_tokens(self) -> None:
        self.control("POST", "/tokens/revoke")

    def use_profile(self, name: str) -> None:
        """Answer as another kind of server from now on; what is stored stays."""
        self.control("POST", "/profile", {"profile": name})
        self.profile = name

    def values(self, project: str, environment: str, path: str = "/") -> dict[str, list[str]]:
        """The stored values of a folder by name, more than one where a name is there twice; empty if it is missing."""
        found: dict[str, list[str]] = {}
        for one in self.state()["projects"]:
            for place in one["environments"]:
                for folder in place["folders"]:
                    if (one["id"], place["slug"], folder["path"]) == (project, environment, path):
                        for secret in folder["secrets"]:
                            found.setdefault(secret["key"], []).append(secret["value"])
        return found
