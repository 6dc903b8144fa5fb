# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be seen of hosts from outside: their disks, their memory, their journals, and the processes of a run."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .host import Host

IN_MEMORY = ("run", "tmp", "dev/shm")
SECONDS_BETWEEN_LOOKS = 0.02
LOOKS = 25


def disk(host: Host) -> dict[str, str]:
    """What the host has changed on its disk since it was made: each path with a hash of what is there."""
    upper = host.folder / "upper"
    return {str(path.relative_to(upper)): hashlib.sha256(content).hexdigest() for path, content in _files(upper)}


def places(host: Host) -> Iterator[tuple[str, bytes]]:
    """All that could hold a value: the disk, what lies in memory, and the journal, whose files are compressed."""
    for path, content in _files(host.folder / "upper"):
        yield f"{host.name}:/{path.relative_to(host.folder / 'upper')}", os.fsencode(path) + b"\n" + content
    root = Path(f"/proc/{host.cgroup.leader()}/root")
    for folder in IN_MEMORY:
        for path, content in _files(root / folder):
            yield f"{host.name}:/{path.relative_to(root)}", os.fsencode(path) + b"\n" + content
    yield f"{host.name}:journal", host.run("journalctl", "--all", "--output=export").encode()


def _files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path, _folders, names in os.walk(folder):
        for name in names:
            file = Path(path, name)
            try:
                yield file, os.readlink(file).encode() if file.is_symlink() else _content(file)
            except FileNotFoundError:  # it was removed meanwhile
                continue


def _content(file: Path) -> bytes:
    # Not what would wait for somebody else: sockets, pipes, and the devices that stand for removed files.
    return file.read_bytes() if file.is_file() else b""


class Watch:
    """Collects the arguments and environments of processes and all that they start, but for those in control groups
    that fit `apart`."""

    def __init__(self, processes: Iterable[int], apart: re.Pattern[bytes]) -> None:
        self.seen: set[bytes] = set()
        self._roots = list(processes)
        self._apart = apart
        self._looks: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            # One that has run for a while becomes no other program any more.
            looks = self._looks
            self._looks = {pid: looks.get(pid, 0) + 1 for root in self._roots for pid in _with_children(root)}
            for pid, number in self._looks.items():
                if number <= LOOKS:
                    self._look(pid)

    def _look(self, pid: int) -> None:
        try:
            shown = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cgroup", "cmdline", "environ")]
        except OSError:  # it has ended
            return
        if not self._apart.search(shown[0]):
            self.seen.add(b"\n".join(shown[1:]))


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text("ascii").split()
        except OSError:  # it has ended
            continue
        for child in found:
            yield from _with_children(int(child))


def watched(hosts: Sequence[Host], command: Sequence[str], printed: Path, seen: Path, apart: str) -> int:
    """Run a command; keep what it printed, and what its processes and those of the hosts showed, in two files. Control
    groups that fit the regular expression `apart` are not looked at. Returns the command's exit status."""
    leaders = [leader for leader in (host.cgroup.leader() for host in hosts) if leader is not None]
    with printed.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        watch = Watch([process.pid, *leaders], re.compile(apart.encode(), re.MULTILINE))
        try:
            status = process.wait()
        finally:
            watch.end()
    seen.write_bytes(b"\n".join(sorted(watch.seen)))
    return status


def search(hosts: Iterable[Host], canaries: Iterable[str], meant: str, further: Iterable[Path]) -> dict[str, Any]:
    """Where canaries are, which are letters and digits: `leaks` but for the places that fit the regular expression
    `meant`, which are `HOST:/PATH`, and for further files just their path; and how many places were searched."""
    from integration.leaks import Canary, leaks

    found = {str(path): path.read_bytes() for path in further}
    for host in hosts:
        found.update(places(host))
    hits = leaks([Canary(core) for core in canaries], found)
    allowed = {place for place in hits if re.search(meant, place)}
    return {
        "searched": len(found),
        "meant": sorted(allowed),
        # What stands around it helps whoever looks for the leak.
        "leaks": {place: repr(around) for place, around in sorted(hits.items()) if place not in allowed},
    }
