# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of hosts that are made and removed together; `sweep` removes the groups of dead runs."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from failure import Failure

from . import host, network
from .host import Host
from .machine import LOCK, NAME, ROOM, Process, find_obstacle, hold_lock, remove, run
from .server import GroupServer
from .trees import USER, base_tree

KEY = ROOM / ".key"


@dataclass(frozen=True)
class HostSpec:
    """A host to make: name, Debian release, and machine id (32 hexadecimal digits, or None for a random one)."""

    name: str
    suite: str
    machine_id: str | None = None


class Group:
    """A group of hosts, which need not exist yet.

    As a context manager it removes the group at the end of the block.
    """

    def __init__(self, name: str) -> None:
        if not NAME.fullmatch(name):
            raise Failure(f"the name of a group must match {NAME.pattern} (got {name!r})")
        self.name = name
        self.folder = ROOM / name

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_error: object) -> None:
        self.down()

    @property
    def server(self) -> GroupServer:
        return GroupServer(self.folder / "server")

    def hosts(self) -> list[Host]:
        """Return the existing hosts, sorted by name."""
        folders = sorted((self.folder / "hosts").glob("*"))
        return [found for found in map(Host.read, folders) if found]

    def host(self, name: str) -> Host:
        for found in self.hosts():
            if found.name == name:
                return found
        raise Failure(f"host {name!r} of group {self.name!r} does not exist")

    def up(self, wanted: Sequence[HostSpec], owner: Process | None = None) -> dict[str, Any]:
        """Boot the missing hosts in parallel; return an Ansible inventory of the whole group.

        The group ends with the process `owner`, if given. If a host does not boot, all new hosts are removed.
        """
        reason = find_obstacle()
        if reason:
            raise Failure(reason)
        _check(wanted)
        trees = {suite: base_tree(suite) for suite in sorted({each.suite for each in wanted})}
        with self._changing(owner):
            there = {found.name: found for found in self.hosts()}
            new: list[Host] = []
            try:
                for each in wanted:
                    if each.name in there:
                        if there[each.name].cgroup.leader() is not None:
                            continue
                        there[each.name].remove()
                    new.append(self._reserve(each))
                self._boot(new, trees, owner)
            except BaseException:
                for made in new:
                    made.remove()
                raise
        return self.inventory()

    def _reserve(self, wanted: HostSpec) -> Host:
        with hold_lock(LOCK):
            taken = {found.number for group in groups() for found in group.hosts()}
            taken |= {int(label.removeprefix(host.LABEL)) for label in host.known_labels()}
            free = next((number for number in network.NUMBERS if number not in taken), None)
            if free is None:
                raise Failure("all addresses for hosts are in use")
            made = Host(self.name, wanted.name, wanted.suite, free, wanted.machine_id or secrets.token_hex(16))
            made.folder.mkdir(parents=True)
            made.write()
        return made

    @staticmethod
    def _boot(new: Sequence[Host], trees: Mapping[str, Path], owner: Process | None) -> None:
        if not new:
            return
        public = KEY.with_suffix(".pub").read_text("ascii")
        with ThreadPoolExecutor(len(new)) as pool:
            # Wait for all, because one failure removes all of them.
            booting = [pool.submit(each.boot, trees[each.suite], public, owner) for each in new]
        for future in booting:
            future.result()

    def serve(self, seed: str, arguments: Sequence[str] = (), owner: Process | None = None) -> dict[str, Any]:
        """Start the group's test server with a seed as JSON unless it runs; return its `url` and `control_url`."""
        reason = find_obstacle()
        if reason:
            raise Failure(reason)
        with self._changing(owner):
            return self.server.start(seed, list(arguments))

    @contextmanager
    def _changing(self, owner: Process | None) -> Iterator[None]:
        """Lock the group for a change, and make its folder, the bridge and the ssh key."""
        if owner and not owner.alive():
            raise Failure("the owner of these hosts has ended")
        with self._held():
            with hold_lock(LOCK):
                (self.folder / "hosts").mkdir(parents=True, exist_ok=True)
                (self.folder / "cp").mkdir(exist_ok=True)
                if owner:
                    owner.write(self.folder / "owner")
                network.make_bridge()
                if not KEY.exists():
                    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "keyfleet-hosts", "-f", KEY)
            try:
                yield
            finally:
                self._leave()

    @contextmanager
    def _held(self) -> Iterator[None]:
        # Beside the folder, because the lock is held while the folder is removed.
        lock = ROOM / f".{self.name}.lock"
        with hold_lock(lock):
            try:
                yield
            finally:
                if not self.folder.exists():
                    lock.unlink()
                    _tidy()

    def _leave(self) -> None:
        """Remove the group if it has neither a host nor a running server."""
        with hold_lock(LOCK):
            process = self.server.process()
            if not self.hosts() and not (process and process.alive()):
                remove(self.folder)

    def down(self, names: Sequence[str] = ()) -> None:
        """Remove the group, or only the named hosts, without a trace. Missing hosts are ignored."""
        if not self.folder.exists():
            return
        with self._held():
            gone = [found for found in self.hosts() if not names or found.name in names]
            if not names:
                self.server.stop()
                self._end_connections()
            if gone:
                with ThreadPoolExecutor(len(gone)) as pool:
                    list(pool.map(Host.remove, gone))
            if not names:
                remove(self.folder)
            self._leave()

    def _end_connections(self) -> None:
        # Ansible keeps ssh connections open for a minute, and would use them for the next host at the same address.
        for path in (self.folder / "cp").glob("*"):
            command = ["ssh", "-o", f"ControlPath={path}", "-O", "exit", "host"]
            try:
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False)
            except subprocess.TimeoutExpired:
                continue

    def owner(self) -> Process | None:
        return Process.read(self.folder / "owner")

    def inventory(self) -> dict[str, Any]:
        """Return an Ansible inventory of all hosts of the group, as a mapping for `json.dumps`."""
        return {"all": {"hosts": {found.name: self.variables(found) for found in self.hosts()}}}

    def variables(self, found: Host) -> dict[str, Any]:
        """Return the variables with which Ansible reaches a host."""
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o LogLevel=ERROR"
        return {
            "ansible_host": found.address,
            "ansible_user": USER,
            "ansible_private_key_file": str(KEY),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_become_method": "ansible.builtin.sudo",
            "ansible_control_path_dir": str(self.folder / "cp"),
            "ansible_ssh_common_args": f"{options} -o ControlMaster=auto -o ControlPersist=60s",
        }


def _check(wanted: Sequence[HostSpec]) -> None:
    names = [each.name for each in wanted]
    for each in wanted:
        if not NAME.fullmatch(each.name) or "_" in each.name:
            raise Failure(f"the name of a host must match {NAME.pattern}, without an underscore (got {each.name!r})")
        if names.count(each.name) > 1:
            raise Failure(f"two hosts of the group have the name {each.name!r}")
        if each.machine_id is not None and not (
            len(each.machine_id) == 32 and set(each.machine_id) <= set("0123456789abcdef")
        ):
            raise Failure(f"a machine id must have 32 hexadecimal digits (got {each.machine_id!r})")


def _tidy() -> None:
    """Remove the bridge, key and lock of the groups if no group is left."""
    with hold_lock(LOCK):
        if groups():
            return
        network.remove_bridge()
        for path in (KEY, KEY.with_suffix(".pub"), LOCK):
            path.unlink(missing_ok=True)
        # The lock of another group may still be here; its holder will remove the folder.
        with suppress(OSError):
            ROOM.rmdir()


def groups() -> list[Group]:
    """Return all groups on this machine, including the groups of other checkouts."""
    return [Group(path.name) for path in sorted(ROOM.glob("[!.]*")) if path.is_dir()]


def sweep(everything: bool = False) -> list[str]:
    """Remove all groups whose owner has ended, or every group, and the remains of unknown hosts.

    Returns the names of the removed groups and hosts.
    """
    gone = []
    for group in groups():
        owner = group.owner()
        if everything or (owner and not owner.alive()):
            group.down()
            gone.append(group.name)
    if not ROOM.exists() and not host.known_labels():
        return gone
    with hold_lock(LOCK):
        remembered = {found.label for group in groups() for found in group.hosts()}
        for label in sorted(host.known_labels() - remembered):
            host.remove_forgotten(label)
            gone.append(label)
    _tidy()
    return gone
