# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs Molecule's scenarios in parallel on real systemd hosts, and removes the hosts at the end."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from failure import Failure, Unavailable
from staging import BUILD, CHECKOUT

sys.path.append(str(CHECKOUT / "tests"))

from hosts import group as groups
from hosts.command import OWNER
from hosts.machine import Process, find_obstacle
from hosts.trees import SUITES, base_tree

ROOM = BUILD / "molecule"
# Ends the process when its parent ends, even if the parent is killed.
BOUND = ("setpriv", "--pdeathsig", "KILL")


def check_machine() -> None:
    """Make the base trees and remove the hosts of dead runs. Raises Unavailable if hosts cannot be booted."""
    reason = find_obstacle()
    if reason:
        raise Unavailable(reason)
    groups.sweep()
    for suite in SUITES:
        base_tree(suite)


def run_molecule(molecule: Path, staged: Path, variables: Mapping[str, str], arguments: Sequence[str]) -> None:
    """Test all scenarios or those named with -s. Or run one of Molecule's commands and keep the hosts.

    Raises Failure with the scenarios that failed.
    """
    if arguments and not arguments[0].startswith("-"):
        name = f"by-hand-{hashlib.sha256(bytes(CHECKOUT)).hexdigest()[:6]}"
        _Run(name, molecule, staged, variables).command(arguments)
        return
    parser = argparse.ArgumentParser(prog="make molecule", allow_abbrev=False)
    parser.add_argument("-s", "--scenario-name", action="append", dest="scenarios")
    options, rest = parser.parse_known_args(arguments)
    scenarios = options.scenarios or sorted(
        path.parent.name for path in staged.glob("extensions/molecule/*/molecule.yml")
    )
    _remove_old_rooms()
    run = _Run(f"run-{os.getpid()}", molecule, staged, {**variables, OWNER: str(os.getpid())})
    try:
        run.test(scenarios, rest)
    finally:
        run.end()


def _remove_old_rooms() -> None:
    for room in ROOM.glob("run-*"):
        if Process.of(int(room.name.removeprefix("run-"))) is None:
            shutil.rmtree(room, ignore_errors=True)


class _Run:
    """One run of Molecule, with a prefix for its groups of hosts and a folder for its files."""

    def __init__(self, name: str, molecule: Path, staged: Path, variables: Mapping[str, str]) -> None:
        self.name = name
        self.molecule = molecule
        self.staged = staged
        self.room = ROOM / name
        # Molecule names its files after the folder of the checkout, which is the same for all runs.
        own = {"KEYFLEET_MOLECULE_RUN": name, "ANSIBLE_HOME": str(self.room), "MOLECULE_COMMAND_BORDERS": "false"}
        self.variables = {**variables, **own}
        self._running: list[subprocess.Popen[bytes]] = []

    def command(self, words: Sequence[str]) -> None:
        status = subprocess.run([self.molecule, *words], cwd=self.staged, env=self.variables, check=False).returncode
        if status:
            raise Failure(f"molecule {words[0]} ended with {status}; see its output above")

    def test(self, scenarios: Sequence[str], options: Sequence[str]) -> None:
        # One scenario more than there are cores, because hosts mostly wait for their timers. Molecule's own --workers
        # would make all scenarios share the same hosts.
        self.room.mkdir(parents=True, exist_ok=True)
        failed: list[str] = []
        with ThreadPoolExecutor(min(len(scenarios), (os.cpu_count() or 1) + 1)) as pool:
            testing = {pool.submit(self._test, name, options, len(scenarios) == 1): name for name in scenarios}
            try:
                for done in as_completed(testing):
                    status, seconds = done.result()
                    log = self._log(testing[done])
                    if log.exists():
                        print(f"--- {testing[done]}\n{log.read_text('utf-8', 'replace')}", flush=True)
                    print(f"--- {testing[done]} {'FAILED' if status else 'passed'} after {seconds:.1f} s", flush=True)
                    if status:
                        failed.append(testing[done])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in self._running:
                    process.kill()
                raise
        if failed:
            raise Failure(f"these scenarios failed: {', '.join(sorted(failed))}; see their output above")

    def _test(self, scenario: str, options: Sequence[str], alone: bool) -> tuple[int, float]:
        started = time.monotonic()
        command = [*BOUND, str(self.molecule), "test", "-s", scenario, *options]
        if alone:
            process = subprocess.Popen(command, cwd=self.staged, env=self.variables)
            self._running.append(process)
            return process.wait(), time.monotonic() - started
        with self._log(scenario).open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.staged, env=self.variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            self._running.append(process)
            return process.wait(), time.monotonic() - started

    def _log(self, scenario: str) -> Path:
        return self.room / f"{scenario}.log"

    def end(self) -> None:
        """Remove the remaining hosts and files of the run."""
        for group in groups.groups():
            if group.name.startswith(f"{self.name}-"):
                group.down()
        shutil.rmtree(self.room, ignore_errors=True)
