# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the hosts, which Molecule's playbooks and people use."""

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
from .group import Group, Wanted
from .host import Host
from .machine import Process, in_host
from .trees import SUITES, base_tree

OWNER = "KEYFLEET_HOSTS_OWNER"
# A regular expression that fits nothing.
NONE = "(?!)"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="hosts", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)

    def command(name: str, what: str, group: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what)
        if group:
            added.add_argument("group", help="name of the group of hosts")
        return added

    added = command("build", "make the base trees that are not there yet", group=False)
    added.add_argument("suites", nargs="*", metavar="SUITE", help=f"{' or '.join(SUITES)} (default: all)")
    added = command("up", "boot the hosts of a group that are not there yet; print an inventory of Ansible's")
    added.add_argument("hosts", nargs="+", metavar="NAME[=SUITE[=MACHINE_ID]]", help="what to boot")
    added = command("serve", "start the group's test server; print its url and control_url")
    added.add_argument("--seed", default="-", metavar="FILE", help="what it holds, as JSON (default: standard input)")
    added.add_argument("options", nargs="*", help="more options of the test server, after --")
    command("refuse", "make the test server refuse connections; what it holds stays")
    command("listen", "make the test server take connections again")
    command("inventory", "print the inventory of a group")
    added = command("enter", "run a command in a host, past ssh")
    added.add_argument("host")
    added.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    command("disks", "print each path that hosts have changed on their disks, with a hash of what is there")
    added = command("watch", "run a command and keep what could be seen of it: --printed=FILE --seen=FILE -- COMMAND")
    added.add_argument("--printed", type=Path, required=True, metavar="FILE", help="for what it prints")
    added.add_argument("--seen", type=Path, required=True, metavar="FILE", help="for arguments and environments")
    added.add_argument("--apart", default=NONE, metavar="REGEX", help="control groups that are not looked at")
    added.add_argument("words", nargs="+", metavar="COMMAND")
    added = command("search", "print where canaries are on the hosts, in their memory and their journals")
    added.add_argument("--canary", action="append", required=True, metavar="TEXT", help="letters and digits")
    added.add_argument("--meant", default=NONE, metavar="REGEX", help="HOST:/PATH where one is meant to be")
    added.add_argument("--file", action="append", default=[], type=Path, metavar="FILE", help="what else to search")
    added = command("down", "remove a group, or the named hosts of it")
    added.add_argument("names", nargs="*", metavar="NAME")
    command("list", "print all groups and hosts", group=False)
    added = command("sweep", "remove what dead runs have left", group=False)
    added.add_argument("--all", action="store_true", help="and everything that is in use")
    return made


def _owner() -> Process | None:
    """The process whose end is the end of the hosts too, if the environment names one."""
    named = os.environ.get(OWNER)
    if not named:
        return None
    found = Process.of(int(named))
    if found is None:
        raise Failure(f"the process {named} of {OWNER} has ended")
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
        wanted.append(Wanted(name, suite or SUITES[0], machine_id or None))
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
        raise Failure(f"{options.host} does not run")
    command = in_host(leader, options.words or ["bash", "--login"])
    os.execv(command[0], command)


def disks(options: argparse.Namespace) -> None:
    _print({host.name: witness.disk(host) for host in Group(options.group).hosts()})


def watch(options: argparse.Namespace) -> None:
    hosts = Group(options.group).hosts()
    status = witness.watched(hosts, options.words, options.printed, options.seen, options.apart)
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
    """Keep one host, as its own process; `Host.boot` starts it."""
    group, name, *rest = arguments
    owner = Process(int(rest[0]), int(rest[1])) if rest else None
    host: Host = Group(group).host(name)
    host.keep(owner)
    if owner and not owner.alive():
        # The first keeper that gets here removes the group, and with it the others.
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
