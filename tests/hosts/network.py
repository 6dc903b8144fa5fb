# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge of all hosts and the network namespace of each host, without access to the internet."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from failure import Failure

from .machine import run

BRIDGE = "kf-hosts"
NETWORK = "10.213.0"
CONTROLLER = f"{NETWORK}.1"
# Each IP address has a fixed hardware address, because neighbours remember it longer than a host lives. The bridge has
# one too; otherwise it would take the lowest of its interfaces, which changes with the hosts.
HARDWARE = "02:6b:66:00:00"
CONTROLLER_MAC = f"{HARDWARE}:01"
# The last part of a host's address; it is also in the names of the host's interfaces and control groups.
NUMBERS = range(11, 251)


def has_bridge() -> bool:
    return Path("/sys/class/net", BRIDGE).exists()


def make_bridge() -> None:
    """Make the bridge with the controller's address if it is missing. The caller holds the lock."""
    if not has_bridge():
        for route in json.loads(run("ip", "-json", "-4", "route", "show", "root", f"{NETWORK}.0/24") or "[]"):
            raise Failure(f"the hosts need the network {NETWORK}.0/24, but {route.get('dev')} uses it already")
        run("ip", "link", "add", BRIDGE, "address", CONTROLLER_MAC, "type", "bridge")
    run("ip", "address", "replace", f"{CONTROLLER}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def remove_bridge() -> None:
    if has_bridge():
        run("ip", "link", "delete", BRIDGE, check=False)


def connect(label: str, number: int, namespace: Path) -> None:
    """Make a network namespace, mounted on a file, with an interface host0 on the bridge."""
    namespace.touch()
    run("unshare", f"--net={namespace}", "true")
    inside = ["nsenter", f"--net={namespace}", "ip"]
    peer = ["type", "veth", "peer", "name", label, "netns", os.getpid()]
    run(*inside, "link", "add", "host0", "address", f"{HARDWARE}:{number:02x}", *peer)
    # Neighbours may remember another hardware address, from a host of another version of this program.
    run("ip", "neighbour", "flush", "dev", BRIDGE, "to", f"{NETWORK}.{number}")
    run("ip", "link", "set", label, "master", BRIDGE, "up")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "address", "add", f"{NETWORK}.{number}/24", "dev", "host0")
    run(*inside, "link", "set", "host0", "up")


def answers(address: str, port: int = 22) -> bool:
    """Return whether an ssh server responds at a host's address."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def disconnect(label: str) -> None:
    if Path("/sys/class/net", label).exists():
        run("ip", "link", "delete", label, check=False)
