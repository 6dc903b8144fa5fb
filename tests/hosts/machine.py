# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that runs the hosts: its requirements, processes, mounts, control groups and locks."""

from __future__ import annotations

import contextlib
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

# One folder for all checkouts, so that the next run finds the remains of a dead run. A reboot empties it.
ROOM = Path("/run/keyfleet-hosts")
LOCK = ROOM / ".lock"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")
# The required programs and their Debian packages.
PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SECONDS_TO_END = 15.0


def find_obstacle() -> str | None:
    """Return in one line why this machine cannot boot hosts, or None if it can."""
    if os.geteuid() != 0:
        return "systemd hosts can be booted by root only"
    if not Path("/sys/fs/cgroup").is_dir() or not shutil.which("apt-get"):
        return "systemd hosts can be booted on Debian and its derivatives only"
    packages = [package for program, package in PROGRAMS.items() if not find(program)]
    packages += [] if KEYRING.exists() else ["debian-archive-keyring"]
    if packages:
        return f"packages that boot systemd hosts are missing: apt-get install {' '.join(packages)}"
    return None


def find(program: str) -> str | None:
    # The PATH may lack the folders of root's programs.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")


def run(*command: object, check: bool = True, text: str | None = None) -> str:
    """Run a program and return its output. Raises Failure with its error output."""
    words = [str(word) for word in command]
    words[0] = find(words[0]) or words[0]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode:
        shown = " ".join(words[:6])
        raise Failure(f"{shown} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def wait_until(true: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Wait until a condition is true; return False after so many seconds."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold a lock file. The holder may remove it; a waiting process then locks the new file."""
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
    """A process, identified by pid and start time because pids are reused."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process with this pid, or None if it has ended."""
        try:
            # The name in parentheses may contain any character.
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @classmethod
    def read(cls, path: Path) -> Process | None:
        """Return the process that `write` stored in a file, or None."""
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
        """Return a file descriptor that becomes readable when the process ends; None if it has ended."""
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
        """Send a signal, and kill the process if it does not end in time."""
        self.send(number)
        if not wait_until(lambda: not self.alive(), seconds):
            self.send(signal.SIGKILL)
            wait_until(lambda: not self.alive(), seconds)


def _mounts_below(folder: Path) -> list[Path]:
    places = []
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        place = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4]))
        if place == folder or folder in place.parents:
            places.append(place)
    return places


def remove(folder: Path) -> None:
    """Unmount everything in a folder and remove the folder, but never the contents of a mount."""
    for place in reversed(_mounts_below(folder)):
        run("umount", place, check=False)
        if place in _mounts_below(folder):
            run("umount", "--lazy", place, check=False)
    if _mounts_below(folder):
        raise Failure(f"{folder} is still in use: a mount in it cannot be unmounted")
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # A process that has just ended may have written a file in the meantime.
        shutil.rmtree(folder)


class Cgroup:
    """The control group with every process of one host, also if a parent process has ended."""

    def __init__(self, label: str) -> None:
        roots = [Path("/sys/fs/cgroup", part) for part in ("unified", "systemd", "")]
        # A machine in hybrid mode has a folder in the old and one in the unified hierarchy.
        self.folders = [root / label for root in roots if (root / "cgroup.procs").exists()]

    @classmethod
    def all(cls, label: str) -> Iterator[str]:
        """Return the names of all control groups that match a glob."""
        for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"):
            yield from (path.name for path in Path(root).glob(label) if path.is_dir())

    def make(self) -> None:
        for folder in self.folders:
            folder.mkdir(exist_ok=True)

    def processes(self) -> list[int]:
        found = []
        for folder in self.folders:
            # Groups disappear during the search. os.walk skips them; Path.rglob would raise FileNotFoundError.
            for path, _folders, _files in os.walk(folder):
                try:
                    found += [int(line) for line in Path(path, "cgroup.procs").read_text("ascii").split()]
                except OSError:
                    continue
        return found

    def cpu_seconds(self) -> float:
        """Return the CPU time that the processes of the host have used."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                found = re.search(r"^usage_usec (\d+)$", Path(folder, "cpu.stat").read_text("ascii"), re.MULTILINE)
                if found:
                    return int(found[1]) / 1e6
        return 0.0

    def leader(self) -> int | None:
        """Return the pid of the host's init on this machine; None before it runs."""
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
        """Kill every process in the control group, and remove it."""
        if not wait_until(self._killed, SECONDS_TO_END):
            raise Failure(f"these processes do not die: {self.processes()}")
        if not wait_until(self._removed, SECONDS_TO_END):
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
    """Return a command line that runs a command inside a host."""
    return [find("nsenter") or "nsenter", "--target", str(leader), "--all", "--wd", "--", *command]
