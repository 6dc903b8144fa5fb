# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host: its disk, boot, supervising process and removal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from failure import Failure

from . import network
from .machine import ROOM, Cgroup, Process, find, in_host, remove, run, wait_until
from .trees import USER

LABEL = "kfhost"
NSPAWN = Path("/run/systemd/nspawn")
SECONDS_TO_BOOT = 60.0
# The exit status of systemd-nspawn if the host asked for a reboot, which with --keep-unit is up to the caller.
REBOOT = 133
# Joins the control groups before --, then executes the command after it.
JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class Host:
    """A host of a group. `number` is the last part of its address; `machine_id` has 32 hexadecimal digits."""

    group: str
    name: str
    suite: str
    number: int
    machine_id: str

    @property
    def folder(self) -> Path:
        return ROOM / self.group / "hosts" / self.name

    @property
    def address(self) -> str:
        return f"{network.NETWORK}.{self.number}"

    @property
    def label(self) -> str:
        return f"{LABEL}{self.number}"

    @property
    def root(self) -> Path:
        """The host's disk as the host sees it; `upper` beside it has only the changes."""
        return self.folder / "root"

    @property
    def cgroup(self) -> Cgroup:
        return Cgroup(self.label)

    def write(self) -> None:
        (self.folder / "host.json").write_text(json.dumps(asdict(self)) + "\n", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> Host | None:
        """Return the host of a folder, or None if its creation was interrupted."""
        try:
            return cls(**json.loads((folder / "host.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def boot(self, tree: Path, key: str, owner: Process | None) -> None:
        """Boot a new host from a base tree; return when all its units run and ssh answers.

        `key` is the public key that may log in. The host ends with the process `owner`, if given.
        """
        self._make_disk(tree, key)
        network.connect(self.label, self.number, self.folder / "netns")
        command = [sys.executable, str(Path(__file__).parent), "keep", self.group, self.name]
        with (self.folder / "console.log").open("wb") as console:
            keeper = subprocess.Popen(
                [*command, *((str(owner.pid), str(owner.started)) if owner else ())],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                # Ctrl-C must reach only the caller, which ends the hosts in its own order.
                start_new_session=True,
            )
        identity = Process.of(keeper.pid)
        if identity:
            identity.write(self.folder / "keeper")
        self._wait(keeper)

    def _make_disk(self, tree: Path, key: str) -> None:
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir()
        self.root.parent.joinpath("upper").chmod(0o755)
        layers = f"lowerdir={tree},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
        run("mount", "-t", "overlay", self.label, "-o", layers, self.root)
        (self.root / "etc/hostname").write_text(f"{self.name}\n", "ascii")
        (self.root / "etc/machine-id").write_text(f"{self.machine_id}\n", "ascii")
        known = f"127.0.0.1 localhost\n{network.CONTROLLER} controller\n{self.address} {self.name}\n"
        (self.root / "etc/hosts").write_text(known, "ascii")
        home = (self.root / "home" / USER).stat()
        ssh = self.root / "home" / USER / ".ssh"
        ssh.mkdir(mode=0o700)
        (ssh / "authorized_keys").write_text(key, "ascii")
        (ssh / "authorized_keys").chmod(0o600)
        for path in (ssh, ssh / "authorized_keys"):
            os.chown(path, home.st_uid, home.st_gid)

    def _wait(self, keeper: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + SECONDS_TO_BOOT
        state = ""
        while state not in ("running", "degraded"):
            if keeper.poll() is not None or time.monotonic() > deadline:
                console = (self.folder / "console.log").read_text("utf-8", "replace").strip()
                raise Failure(f"{self.name} did not boot ({state or 'no systemd'}): {console[-2000:]}")
            leader = self.cgroup.leader()
            if leader is not None:
                state = run(*in_host(leader, ["systemctl", "is-system-running", "--wait"]), check=False).strip()
            time.sleep(0.05)
        if state == "degraded":
            failed = self.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
            raise Failure(f"{self.name} has booted with failed units: {failed}")
        # All units run; now check that ssh answers from outside.
        if not wait_until(lambda: network.answers(self.address), max(1.0, deadline - time.monotonic())):
            raise Failure(f"{self.name} has booted, but ssh does not respond at {self.address}")

    def run(self, *command: str) -> str:
        """Run a command in the host as root, without ssh, and return its output."""
        leader = self.cgroup.leader()
        if leader is None:
            raise Failure(f"{self.name} is not running")
        return run(*in_host(leader, command))

    def keep(self, owner: Process | None) -> None:
        """Run the host until it powers off or its owner ends; reboot it when it asks for a reboot."""
        watched = owner.open() if owner else None
        if owner and watched is None:
            return
        cgroup = self.cgroup
        while True:
            cgroup.make()
            joined = [str(folder / "cgroup.procs") for folder in cgroup.folders]
            # Use the unified hierarchy even if the machine has the old one.
            variables = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
            nspawn = subprocess.Popen(["sh", "-c", JOIN, "sh", *joined, "--", *self._nspawn()], env=variables)
            if not _ends_before(nspawn.pid, watched):
                nspawn.kill()
                nspawn.wait()
                return
            if nspawn.wait() != REBOOT:
                # The host has powered off. Keep its files until the owner ends.
                if watched is not None:
                    select.select([watched], [], [])
                return

    def _nspawn(self) -> list[str]:
        return [
            find("systemd-nspawn") or "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={self.root}",
            f"--machine={self.label}",
            f"--hostname={self.name}",
            f"--network-namespace-path={self.folder / 'netns'}",
            # No machine manager and no unit, because the machine itself may not run systemd.
            "--register=no",
            "--keep-unit",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=pipe",
        ]

    def remove(self) -> None:
        """Stop the host and remove every trace of it, also after an incomplete boot or removal."""
        keeper = Process.read(self.folder / "keeper")
        if keeper and keeper.alive() and keeper.pid != os.getpid():
            # Kill the whole process group, since a process may not have joined the control group yet.
            os.killpg(keeper.pid, signal.SIGKILL)
            wait_until(lambda: not keeper.alive(), 5)
        self.cgroup.remove()
        network.disconnect(self.label)
        self._remove_files_of_nspawn()
        remove(self.folder)

    def _remove_files_of_nspawn(self) -> None:
        """Remove the files that systemd-nspawn leaves behind when it is killed."""
        if self.root.is_dir():
            disk = self.root.stat()
            (NSPAWN / "locks" / f"inode-{disk.st_dev}:{disk.st_ino}").unlink(missing_ok=True)
        for leftover in NSPAWN.glob(f"*/{self.label}"):
            remove(leftover)


def _ends_before(pid: int, other: int | None) -> bool:
    """Wait until a child process or a watched process ends; return whether the child ended first."""
    child = os.pidfd_open(pid)
    try:
        ready, _out, _err = select.select([child] if other is None else [child, other], [], [])
        return child in ready
    finally:
        os.close(child)


def known_labels() -> set[str]:
    """Return the labels of all hosts with a control group or an interface, even without a folder."""
    interfaces = {path.name for path in Path("/sys/class/net").glob(f"{LABEL}[0-9]*")}
    return interfaces | set(Cgroup.all(f"{LABEL}[0-9]*"))


def remove_forgotten(label: str) -> None:
    """Remove the remains of a host whose folder no longer exists."""
    Cgroup(label).remove()
    network.disconnect(label)
    for leftover in NSPAWN.glob(f"*/{label}"):
        remove(leftover)
