# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays against a server, on hosts whose connection is local."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

# Runs a command and prints the peak memory in kB of any process that the command has started. The program is small
# and has a process of its own, because the peak of a process includes the memory of its parent before its exec.
PEAK = """\
import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
raise SystemExit(ended.returncode)
"""


class Plays:
    """Writes the files of plays to a folder. `path` is the folder in Infisical, `collections` a further search path."""

    def __init__(self, folder: Path, url: str, path: str = "/", collections: str = "") -> None:
        self._folder = folder
        self._environment = dict(os.environ)
        if collections:
            self._environment["ANSIBLE_COLLECTIONS_PATH"] += os.pathsep + collections
        self._variables = {
            "infisical_url": url,
            "infisical_client_id": "demo-client-id",
            "infisical_client_secret": "demo-client-secret",
            "infisical_project_id": "demo-project",
            "infisical_environment": "dev",
            "infisical_secret_path": path,
            "ansible_python_interpreter": sys.executable,
        }

    def play(
        self,
        tasks: str,
        hosts: int = 1,
        forks: int = 5,
        variables: dict[str, object] | None = None,
        environment: dict[str, str] | None = None,
    ) -> Play:
        """Return a play with YAML tasks, indented by four blanks, on a number of hosts."""
        place = self._folder / f"play{len(list(self._folder.iterdir()))}"
        place.mkdir()
        play, inventory, values = place / "play.yml", place / "hosts", place / "variables.json"
        play.write_text(f"- hosts: all\n  gather_facts: false\n  connection: local\n  tasks:\n{tasks}", "utf-8")
        inventory.write_text("".join(f"host{number:02}\n" for number in range(hosts)), "utf-8")
        values.write_text(json.dumps({**self._variables, **(variables or {})}), "utf-8")
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", str(inventory), "-f", str(forks), "-e", f"@{values}", str(play)]
        return Play(command, {**self._environment, **(environment or {})})


class Play:
    """A play; a call runs it and ends the bench if a task fails."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment

    def __call__(self) -> str:
        """Run the play and return its output."""
        return self._run(self._command)

    def peak_megabytes(self) -> float:
        """Run the play and return the peak memory of its largest process."""
        return int(self._run([sys.executable, "-c", PEAK, *self._command])) / 1024

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"bench: a playbook failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout
