# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs several targets, continues after failures, and reports the times and failures at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

from failure import UNAVAILABLE, Failure

SECONDS_TO_END = 60.0


class Result(NamedTuple):
    """The result of a target: its duration and processor time in seconds. `log` is its output if it was not shown."""

    name: str
    status: int
    seconds: float
    cpu: float
    log: IO[bytes] | None = None


class Runner:
    """Runs targets as processes, and can interrupt all of them."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def show(self, name: str) -> Result:
        """Run a target and show its output during the run."""
        print(f"=== {name}", flush=True)
        return self._run(name, None)

    def capture(self, name: str) -> Result:
        """Run a target and keep its output in a file."""
        return self._run(name, tempfile.TemporaryFile())

    def _run(self, name: str, log: IO[bytes] | None) -> Result:
        started = time.monotonic()
        # In a session of its own, so that Ctrl-C reaches it only once, through `end`.
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent), name],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        self._running.append(process)
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return Result(name, process.returncode, time.monotonic() - started, usage.ru_utime + usage.ru_stime, log)

    def end(self) -> None:
        """Interrupt the running targets as Ctrl-C would, and wait for their cleanup."""
        running = [process for process in self._running if process.poll() is None]
        for process in running:
            os.killpg(process.pid, signal.SIGINT)
        for process in running:
            try:
                process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def run_steps(names: Sequence[str], beside: Sequence[str] = ()) -> None:
    """Run the targets in `names` in order and, in parallel to them, the targets in `beside` in order.

    The output of each target in `beside` is printed when it has ended. Raises Failure with the failed targets.
    """
    runner, results = Runner(), []
    with ThreadPoolExecutor(1) as lane:
        waiting = [lane.submit(runner.capture, name) for name in beside]
        try:
            for name in names:
                results.append(runner.show(name))
                while waiting and waiting[0].done():
                    results.append(_print(waiting.pop(0).result()))
            results += [_print(each.result()) for each in waiting]
        except BaseException:
            for each in waiting:
                each.cancel()
            runner.end()
            raise
    print("\n".join(["", *map(_line, results)]), flush=True)
    failed = [result.name for result in results if _word(result) == "FAILED"]
    if failed:
        raise Failure(f"{', '.join(failed)} failed; see their output above")


def _print(result: Result) -> Result:
    print(f"=== {result.name} (ran beside other steps)", flush=True)
    if result.log:
        result.log.seek(0)
        sys.stdout.buffer.write(result.log.read())
        sys.stdout.flush()
    return result


def _line(result: Result) -> str:
    return f"{result.seconds:7.1f} s {result.cpu:7.1f} s CPU  {result.name} {_word(result)}".rstrip()


def _word(result: Result) -> str:
    if result.status == UNAVAILABLE and os.environ.get("REQUIRE_ALL") != "1":
        return "skipped: this machine cannot run it"
    return "FAILED" if result.status else ""
