# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that the hosts run on: whether it can, its processes, its mounts, and where all that runs is kept."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from failure import Failure

# One place for all checkouts: a run that died is found by whoever comes next. A reboot empties it like all it is about.
ROOM = Path("/run/keyfleet-hosts")
LOCK = ROOM / ".lock"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")
# What is needed, and Debian's package of it.
PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SECONDS_TO_END = 15.0


def missing() -> str | None:
    """Say in one line why hosts cannot be made here; None where they can."""
    if os.geteuid() != 0:
        return "it boots systemd hosts, for which it must be run as root"
    if not Path("/sys/fs/cgroup").is_dir() or not shutil.which("apt-get"):
        return "it boots systemd hosts, which is written for Debian and what is made of it"
    packages = [package for program, package in PROGRAMS.items() if not find(program)]
    packages += [] if KEYRING.exists() else ["debian-archive-keyring"]
    if packages:
        return f"it boots systemd hosts, and these are missing: apt-get install {' '.join(packages)}"
    return None


def find(program: str) -> str | None:
    # Root's tools are not on everybody's PATH.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")


def run(*command: object, check: bool = True, text: str | None = None) -> str:
    """Run a program to its end and return what it printed; raises Failure with what it says about an error."""
    words = [str(word) for word in command]
    words[0] = find(words[0]) or words[0]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode:
        shown = " ".join(words[:6])
        raise Failure(f"{shown} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def until(true: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Ask until it is true or the time is over; whether it became true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file, which its holder may remove: who waited for one that is gone takes the new one."""
    while True:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = path.open("w", encoding="ascii")
        except FileNotFoundError:  # the folder has just been removed
            continue
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _same(lock.fileno(), path):
                yield
                return


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class Process:
    """A process that cannot be taken for another one: a number is used again, a number with its start is not."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process of that number, or None if it has ended."""
        try:
            # The name in parentheses may hold anything.
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @classmethod
    def read(cls, path: Path) -> Process | None:
        """What `write` wrote there; None if there is nothing."""
        try:
            pid, started = path.read_text("ascii").split()
        except (OSError, ValueError):
            return None
        return cls(int(pid), int(started))

    def write(self, path: Path) -> None:
        path.write_text(f"{self.pid} {self.started}\n", "ascii")

    def alive(self) -> bool:
        return Process.of(self.pid) == self

    def open(self) -> int | None:
        """A file descriptor that becomes readable at its end; None if it has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.alive():
            return descriptor
        os.close(descriptor)
        return None

    def send(self, number: int) -> None:
        descriptor = self.open()
        if descriptor is not None:
            try:
                signal.pidfd_send_signal(descriptor, number)
            except ProcessLookupError:
                pass
            finally:
                os.close(descriptor)

    def end(self, number: int = signal.SIGTERM, seconds: float = SECONDS_TO_END) -> None:
        """Ask it to end, and kill it if it does not."""
        self.send(number)
        if not until(lambda: not self.alive(), seconds):
            self.send(signal.SIGKILL)
            until(lambda: not self.alive(), seconds)


def _mounts_below(folder: Path) -> list[Path]:
    places = []
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        place = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4]))
        if place == folder or folder in place.parents:
            places.append(place)
    return places


def remove(folder: Path) -> None:
    """Unmount what is mounted in a folder and remove it, never what is mounted there."""
    for place in reversed(_mounts_below(folder)):
        run("umount", place, check=False)
        if place in _mounts_below(folder):
            run("umount", "--lazy", place, check=False)
    if _mounts_below(folder):
        raise Failure(f"{folder} is still in use: something is mounted there that cannot be unmounted")
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # A process that ended this very moment may have written a file meanwhile.
        shutil.rmtree(folder)


class Cgroup:
    """The control group that knows every process of one host, whoever has died in between."""

    def __init__(self, label: str) -> None:
        roots = [Path("/sys/fs/cgroup", part) for part in ("unified", "systemd", "")]
        # A hybrid machine has one for systemd's old hierarchy and one for the new, a unified one just that.
        self.folders = [root / label for root in roots if (root / "cgroup.procs").exists()]

    @classmethod
    def all(cls, label: str) -> Iterator[str]:
        """The names of all control groups that fit a pattern."""
        for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"):
            yield from (path.name for path in Path(root).glob(label) if path.is_dir())

    def make(self) -> None:
        for folder in self.folders:
            folder.mkdir(exist_ok=True)

    def processes(self) -> list[int]:
        found = []
        for folder in self.folders:
            for path in folder.rglob("cgroup.procs"):
                try:
                    found += [int(line) for line in path.read_text("ascii").split()]
                except OSError:  # it was removed meanwhile
                    continue
        return found

    def leader(self) -> int | None:
        """The host's first process, as the machine counts; None before it is there."""
        for folder in self.folders:
            for path in (folder / "payload" / "init.scope" / "cgroup.procs", folder / "init.scope" / "cgroup.procs"):
                try:
                    pids = path.read_text("ascii").split()
                except OSError:
                    continue
                for pid in pids:
                    try:
                        status = Path(f"/proc/{pid}/status").read_text("utf-8")
                    except OSError:
                        continue
                    if re.search(r"^NSpid:.*\t1$", status, re.MULTILINE):
                        return int(pid)
        return None

    def remove(self) -> None:
        """Kill every process in it, and remove it."""
        if not until(self._killed, SECONDS_TO_END):
            raise Failure(f"these processes do not die: {self.processes()}")
        if not until(self._removed, SECONDS_TO_END):
            raise Failure(f"these control groups cannot be removed: {[str(path) for path in self.folders]}")

    def _killed(self) -> bool:
        pids = self.processes()
        if not pids:
            return True
        for folder in self.folders:
            if (folder / "cgroup.kill").exists():
                (folder / "cgroup.kill").write_text("1", "ascii")
                return False
        for pid in pids:
            process = Process.of(pid)
            if process:
                process.send(signal.SIGKILL)
        return False

    def _removed(self) -> bool:
        for folder in self.folders:
            for path, _folders, _files in os.walk(folder, topdown=False):
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    continue
                except OSError:  # still busy: the last process has not been reaped
                    return False
        return True


def in_host(leader: int, command: Sequence[str]) -> list[str]:
    """A command line that runs a command inside of a host."""
    return [find("nsenter") or "nsenter", "--target", str(leader), "--all", "--wd", "--", *command]
