# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the project's test server for a group of hosts, at the controller's address on the bridge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from dev_server.client import switch
from failure import Failure

from .machine import Process, wait_until
from .network import CONTROLLER

SECONDS_TO_START = 30.0


class GroupServer:
    """The test server with its files in a folder; it may not run yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, seed: str, arguments: list[str]) -> dict[str, Any]:
        """Start the server with a seed as JSON unless it runs; return its `url` and `control_url`."""
        running = self.process()
        if running and running.alive():
            return self.description()
        self.folder.mkdir(parents=True, exist_ok=True)
        ready, errors = self.folder / "ready.json", self.folder / "errors.log"
        ready.unlink(missing_ok=True)
        (self.folder / "seed.json").write_text(seed, "utf-8")
        program = [sys.executable, str(Path(__file__).resolve().parents[1] / "dev_server")]
        options = ["--host", CONTROLLER, "--port", "0", "--seed", str(self.folder / "seed.json")]
        with errors.open("wb") as log:
            process = subprocess.Popen(
                [*program, *options, "--ready-file", str(ready), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        identity = Process.of(process.pid)
        if identity:
            identity.write(self.folder / "process")
        wait_until(lambda: ready.exists() or process.poll() is not None, SECONDS_TO_START)
        if not ready.exists():
            self.stop()
            raise Failure(f"the test server did not start: {errors.read_text('utf-8', 'replace').strip()}")
        return self.description()

    def process(self) -> Process | None:
        return Process.read(self.folder / "process")

    def description(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "ready.json").read_text("utf-8")))

    def listen(self, wanted: bool) -> None:
        """Make the server refuse connections, or accept them again at the same address; keep its data."""
        process = self.process()
        if process is None or not process.alive():
            raise Failure("the test server is not running")
        try:
            switch(process.send, self.description()["url"], wanted)
        except RuntimeError as error:
            raise Failure(str(error)) from None

    def stop(self) -> None:
        """Stop the process of the server, and never another process with the same pid."""
        process = self.process()
        if process:
            process.end()
