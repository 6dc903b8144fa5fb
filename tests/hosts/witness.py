# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspects hosts from outside: their disks, memory, journals and processes."""

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
    """Return each path that the host changed on its disk since it was made, with a hash of its content."""
    upper = host.folder / "upper"
    return {str(path.relative_to(upper)): hashlib.sha256(content).hexdigest() for path, content in _files(upper)}


def places(host: Host) -> Iterator[tuple[str, bytes]]:
    """Yield each place that could hold a value: files on disk and in memory, and the unpacked journal."""
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
            except FileNotFoundError:  # it was removed in the meantime
                continue


def _content(file: Path) -> bytes:
    # Skip sockets and pipes, which block, and the devices by which overlayfs marks removed files.
    return file.read_bytes() if file.is_file() else b""


class Watch:
    """Collects the arguments and environments of processes and their children, except in control groups that match
    `apart`."""

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
            # Look at each process a limited number of times: after a while it no longer executes another program.
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


def run_watched(hosts: Sequence[Host], command: Sequence[str], printed: Path, seen: Path, apart: str) -> int:
    """Run a command and return its exit status. Write its output to one file, and the arguments and environments of its
    processes and of the hosts' processes to another, except in control groups that match `apart`."""
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
    """Search hosts and further files for canaries of letters and digits. Places are `HOST:/PATH` or the path of a file.
    `leaks` omits the places that match the regular expression `meant`; `searched` is the number of all places."""
    from integration.leaks import Canary, leaks

    found = {str(path): path.read_bytes() for path in further}
    for host in hosts:
        found.update(places(host))
    hits = leaks([Canary(core) for core in canaries], found)
    allowed = {place for place in hits if re.search(meant, place)}
    return {
        "searched": len(found),
        "meant": sorted(allowed),
        # The surrounding text helps to find the cause of a leak.
        "leaks": {place: repr(around) for place, around in sorted(hits.items()) if place not in allowed},
    }
