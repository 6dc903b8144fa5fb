# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ansible-playbook and ansible, and records their output and processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.release import __version__ as ansible_version

CORE = tuple(int(part) for part in ansible_version.split(".")[:2])
LOOKUP = "keyfleet.infisical.infisical_secret"
MODULE_PYTHON = os.environ.get("KEYFLEET_MODULE_PYTHON", sys.executable)
IMPORT_MODULES = os.environ.get("KEYFLEET_IMPORT_MODULES", "")
"""The option import_modules in all runs. `make cores` turns it off on one version of ansible-core."""
WORKER = IMPORT_MODULES != "false" and sys.executable == MODULE_PYTHON
"""Whether modules run in Ansible's worker process, unless a test turns this off."""
SECONDS_FOR_A_RUN = 240
"""The limit of a run that hangs. A run with many tasks sets its own."""
SECONDS_FOR_A_TASK = 15
SECONDS_BETWEEN_LOOKS = 0.01


@dataclass(frozen=True)
class Event:
    """A result as callbacks receive it; `status` is ok, failed, skipped, unreachable, item or retry."""

    status: str
    host: str
    task: str
    result: dict[str, Any]


def _hear_signals() -> None:
    """Do not ignore SIGINT and SIGHUP, even if the tests were started by a shell that ignores them, as nohup does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass(frozen=True)
class Run:
    """A finished run: `text` is its output, `seen` the arguments and environments of its processes."""

    rc: int
    text: str
    events: tuple[Event, ...]
    recap: Mapping[str, Mapping[str, int]]
    record: str
    seen: frozenset[bytes] = field(default=frozenset(), repr=False)

    def results(self, task: str, host: str = "") -> list[dict[str, Any]]:
        """Return the results of tasks with this name, on one host or all, without items and retries."""
        return [
            event.result
            for event in self.events
            if event.task == task and host in ("", event.host) and event.status not in ("item", "retry")
        ]

    def result(self, task: str, host: str = "") -> dict[str, Any]:
        """Return the only result of a task with this name."""
        found = self.results(task, host)
        assert len(found) == 1, f"{len(found)} results of '{task}':\n{self.text}"
        return found[0]

    def failure(self, task: str, host: str = "") -> dict[str, Any]:
        """Return the only result of a task with this name, which must have failed."""
        result = self.result(task, host)
        assert any(event.result is result and event.status == "failed" for event in self.events), (
            f"'{task}' did not fail:\n{self.text}"
        )
        return result

    def items(self, task: str) -> list[dict[str, Any]]:
        """Return the results of the items of a loop."""
        return [event.result for event in self.events if event.task == task and event.status == "item"]

    def succeeded(self) -> Run:
        """Return the run after a check that it succeeded."""
        assert self.rc == 0, f"ended with {self.rc}:\n{self.text}"
        return self

    @property
    def changed(self) -> int:
        """Return the number of changed tasks on all hosts."""
        return sum(host["changed"] for host in self.recap.values())


class Controller:
    """Ansible with a folder for its home, temporary files, inventory and playbooks.

    `variables` apply to all hosts of the inventory.
    """

    def __init__(self, folder: Path, variables: Mapping[str, Any]) -> None:
        self.folder = folder
        self.variables = dict(variables)
        self.python = MODULE_PYTHON
        for name in ("home", "tmp", "local", "remote"):
            (folder / name).mkdir()

    def tasks(self, tasks: str, **options: Any) -> Run:
        """Run a list of tasks in YAML on all hosts; takes the options of `play`."""
        play = "- hosts: all\n  gather_facts: false\n  tasks:\n"
        return self.play(play + textwrap.indent(textwrap.dedent(tasks).strip("\n"), "    "), **options)

    def play(self, playbook: str, *, arguments: Sequence[str] = (), **options: Any) -> Run:
        """Run a playbook in YAML; takes the options of `run`."""
        (self.folder / "play.yml").write_text(textwrap.dedent(playbook) + "\n", "utf-8")
        return self.run("ansible-playbook", ["play.yml", *arguments], **options)

    def run(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        hosts: int | Sequence[str] | Mapping[str, Mapping[str, Any]] = 1,
        variables: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        config: str = "",
        watch: bool = False,
        typed: str | None = None,
        during: Callable[[subprocess.Popen[bytes]], None] | None = None,
        seconds: float = SECONDS_FOR_A_RUN,
    ) -> Run:
        """Run one of Ansible's programs.

        `hosts`: their number, names, or {name: variables}; `variables`: replace the controller's variables;
        `extra`: for --extra-vars; `config`: added to ansible.cfg; `watch`: record arguments and environments; `typed`:
        the standard input; `during`: called while the program runs in a session of its own, as it does in a terminal;
        `seconds`: after which a run that hangs is ended.
        """
        (self.folder / "inventory.json").write_text(self._inventory(hosts, variables), "utf-8")
        (self.folder / "ansible.cfg").write_text(config, "utf-8")
        record = self.folder / "record.jsonl"
        record.unlink(missing_ok=True)
        command = [str(Path(sys.executable).parent / program), "-i", "inventory.json", *arguments]
        if extra:
            (self.folder / "extra.json").write_text(json.dumps(extra), "utf-8")
            command += ["--extra-vars", "@extra.json"]
        mark = f"KEYFLEET_RUN={uuid.uuid4()}"
        surroundings = {**self._environment(record), **(environment or {}), **dict([mark.split("=")])}
        watcher = Watcher(mark.encode()) if watch else None
        process = subprocess.Popen(
            command, cwd=self.folder, env=surroundings, stdin=subprocess.DEVNULL if typed is None else subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=during is not None,
            preexec_fn=_hear_signals,
        )  # fmt: skip
        try:
            if during is not None:
                during(process)
            given = None if typed is None else typed.encode()
            output, _nothing = process.communicate(given, timeout=seconds)
        finally:
            process.kill()
            seen = watcher.end() if watcher else frozenset()
        lines = record.read_text("utf-8") if record.exists() else ""
        events = [json.loads(line) for line in lines.splitlines()]
        recap = next((event["hosts"] for event in events if event["status"] == "recap"), {})
        results = tuple(Event(**event) for event in events if event["status"] != "recap")
        return Run(process.returncode, output.decode("utf-8", "replace"), results, recap, lines, seen)

    def left(self) -> list[Path]:
        """Return all files in the folder except for the inputs of the run."""
        own = ("play.yml", "inventory.json", "ansible.cfg", "extra.json", "record.jsonl")
        return [path for path in self.folder.rglob("*") if path.is_file() and path.name not in own]

    def _inventory(self, hosts: Any, variables: Mapping[str, Any] | None) -> str:
        if isinstance(hosts, int):
            hosts = [f"host{number}" for number in range(1, hosts + 1)]
        if not isinstance(hosts, Mapping):
            hosts = {name: {} for name in hosts}
        usual = {"ansible_connection": "local", "ansible_python_interpreter": self.python}
        used = {**usual, **(self.variables if variables is None else variables)}
        return json.dumps({"all": {"hosts": hosts, "vars": used}})

    def _environment(self, record: Path) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "ANSIBLE_COLLECTIONS_PATH": os.environ["ANSIBLE_COLLECTIONS_PATH"],
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "local"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "remote"),
            "ANSIBLE_ASYNC_DIR": str(self.folder / "async"),
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "recorder",
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
            "ANSIBLE_PIPELINING": "true",  # saves time
            "ANSIBLE_NOCOLOR": "true",
            "INFISICAL_IMPORT_MODULES": IMPORT_MODULES,
            "KEYFLEET_RECORD": str(record),
        }


class Watcher:
    """Collects the arguments and environments of new processes with a mark in their environment."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        # Reading the environment of every process takes long.
        self._older = set(os.listdir("/proc"))
        self._seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def end(self) -> frozenset[bytes]:
        """Stop, and return the collected arguments and environments."""
        self._stop.set()
        self._thread.join()
        return frozenset(self._seen)

    def _watch(self) -> None:
        while not self._stop.is_set():
            for process in set(os.listdir("/proc")) - self._older:
                try:
                    environment = Path("/proc", process, "environ").read_bytes()
                    if self._mark in environment:
                        self._seen.update((Path("/proc", process, "cmdline").read_bytes(), environment))
                except OSError:  # it has ended
                    continue
            time.sleep(SECONDS_BETWEEN_LOOKS)
