# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the test hosts, for Molecule's playbooks and for people."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from failure import Failure

from . import group as groups
from . import witness
from .group import Group, HostSpec
from .host import Host
from .machine import Process, in_host
from .trees import SUITES, base_tree

OWNER = "KEYFLEET_HOSTS_OWNER"
# A regular expression without any match.
NONE = "(?!)"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="hosts", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)

    def command(name: str, what: str, group: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what)
        if group:
            added.add_argument("group", help="name of the group of hosts")
        return added

    added = command("build", "make the missing base trees", group=False)
    added.add_argument("suites", nargs="*", metavar="SUITE", help=f"{' or '.join(SUITES)} (default: all)")
    added = command("up", "boot the missing hosts of a group; print an Ansible inventory")
    added.add_argument("hosts", nargs="+", metavar="NAME[=SUITE[=MACHINE_ID]]", help="the hosts to boot")
    added = command("serve", "start the group's test server; print its url and control_url")
    added.add_argument("--seed", default="-", metavar="FILE", help="initial contents as JSON (default: standard input)")
    added.add_argument("options", nargs="*", help="options of the test server, after --")
    command("refuse", "make the test server refuse connections; keep its data")
    command("listen", "make the test server accept connections again")
    command("inventory", "print the inventory of a group")
    added = command("enter", "run a command in a host, without ssh")
    added.add_argument("host")
    added.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    command("disks", "print each path that hosts changed on their disks, with a hash of its content")
    added = command("watch", "run a command, and record its output, arguments and environments")
    added.add_argument("--printed", type=Path, required=True, metavar="FILE", help="file for the output")
    added.add_argument("--seen", type=Path, required=True, metavar="FILE", help="file for arguments and environments")
    added.add_argument("--apart", default=NONE, metavar="REGEX", help="control groups to leave out")
    added.add_argument("words", nargs="+", metavar="COMMAND")
    added = command("search", "search for canaries on the disks, in memory and in the journals of the hosts")
    added.add_argument(
        "--canary", action="append", required=True, metavar="TEXT", help="a planted secret, of letters and digits"
    )
    added.add_argument("--meant", default=NONE, metavar="REGEX", help="places (HOST:/PATH) that may hold a canary")
    added.add_argument("--file", action="append", default=[], type=Path, metavar="FILE", help="another file to search")
    added = command("down", "remove a group, or only the named hosts")
    added.add_argument("names", nargs="*", metavar="NAME")
    command("list", "print all groups and hosts", group=False)
    added = command("sweep", "remove the hosts of runs that have ended", group=False)
    added.add_argument("--all", action="store_true", help="also remove hosts that are in use")
    return made


def _owner() -> Process | None:
    """Return the process named in the environment, with which the hosts end; None without a name."""
    named = os.environ.get(OWNER)
    if not named:
        return None
    found = Process.of(int(named))
    if found is None:
        raise Failure(f"the process in {OWNER} has ended: {named}")
    return found


def _print(document: object) -> None:
    print(json.dumps(document, indent=2))


def build(options: argparse.Namespace) -> None:
    for suite in options.suites or SUITES:
        print(base_tree(suite))


def up(options: argparse.Namespace) -> None:
    wanted = []
    for text in options.hosts:
        name, suite, machine_id = (*text.split("=", 2), "", "")[:3]
        wanted.append(HostSpec(name, suite or SUITES[0], machine_id or None))
    _print(Group(options.group).up(wanted, _owner()))


def serve(options: argparse.Namespace) -> None:
    if options.seed == "-":
        seed = sys.stdin.read()
    else:
        with open(options.seed, encoding="utf-8") as file:
            seed = file.read()
    _print(Group(options.group).serve(seed, options.options, _owner()))


def refuse(options: argparse.Namespace) -> None:
    Group(options.group).server.listen(False)


def listen(options: argparse.Namespace) -> None:
    Group(options.group).server.listen(True)


def inventory(options: argparse.Namespace) -> None:
    _print(Group(options.group).inventory())


def enter(options: argparse.Namespace) -> None:
    leader = Group(options.group).host(options.host).cgroup.leader()
    if leader is None:
        raise Failure(f"{options.host} is not running")
    command = in_host(leader, options.words or ["bash", "--login"])
    os.execv(command[0], command)


def disks(options: argparse.Namespace) -> None:
    _print({host.name: witness.disk(host) for host in Group(options.group).hosts()})


def watch(options: argparse.Namespace) -> None:
    hosts = Group(options.group).hosts()
    status = witness.run_watched(hosts, options.words, options.printed, options.seen, options.apart)
    if status:
        raise SystemExit(status)


def search(options: argparse.Namespace) -> None:
    _print(witness.search(Group(options.group).hosts(), options.canary, options.meant, options.file))


def down(options: argparse.Namespace) -> None:
    Group(options.group).down(options.names)


def show(options: argparse.Namespace) -> None:
    for group in groups.groups():
        owner = group.owner()
        print(f"{group.name}{f' (of process {owner.pid})' if owner else ''}")
        for host in group.hosts():
            state = "runs" if host.cgroup.leader() is not None else "is off"
            print(f"  {host.name} {host.address} {host.suite} {state}")


def sweep(options: argparse.Namespace) -> None:
    for name in groups.sweep(options.all):
        print(f"removed {name}")


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "build": build,
    "up": up,
    "serve": serve,
    "refuse": refuse,
    "listen": listen,
    "inventory": inventory,
    "enter": enter,
    "disks": disks,
    "watch": watch,
    "search": search,
    "down": down,
    "list": show,
    "sweep": sweep,
}


def keep(arguments: Sequence[str]) -> None:
    """Supervise one host; `Host.boot` starts this as a process."""
    group, name, *rest = arguments
    owner = Process(int(rest[0]), int(rest[1])) if rest else None
    host: Host = Group(group).host(name)
    host.keep(owner)
    if owner and not owner.alive():
        # The first supervisor that gets here removes the whole group, with the other supervisors.
        Group(group).down()


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit status."""
    try:
        if arguments[:1] == ["keep"]:
            keep(arguments[1:])
        else:
            options = parser().parse_args(arguments)
            COMMANDS[options.command](options)
    except (Failure, OSError) as failure:
        sys.stderr.write(f"hosts: {failure}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
