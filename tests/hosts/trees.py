# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base trees: the initial disk of a host, made once for each Debian release and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from environments import cache_folder, locked
from failure import Failure

from .machine import find, remove, run

SUITES = ("bookworm", "trixie")
# Hosts cannot reach the internet, so the packages that the role installs are here already.
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "libnss-systemd",
    "sudo",
    "python3",
    "python3-apt",
    "python3-venv",
    "python3-requests",
    "python3-cryptography",
    "openssh-server",
    "cron",
    "iproute2",
    "ca-certificates",
)
USER = "deploy"
# Timers that would start at unexpected times.
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer")
# All its processes and mounts end with the process that started it.
ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
HOOKS = (
    'rm -f "$1/etc/hostname" "$1/var/lib/systemd/random-seed" "$1/var/lib/systemd/credential.secret"',
    ': > "$1/etc/machine-id"',
    f'chroot "$1" useradd --create-home --shell /bin/bash {USER}',
    f'echo "{USER} ALL=(ALL) NOPASSWD: ALL" > "$1/etc/sudoers.d/{USER}"',
    f'chroot "$1" systemctl mask --quiet {" ".join(MASKED)}',
    # Without this, sshd waits for the DNS name of each client.
    'echo "UseDNS no" > "$1/etc/ssh/sshd_config.d/hosts.conf"',
)


def base_tree(suite: str) -> Path:
    """Return the folder of a release's base tree; make it if it is missing."""
    if suite not in SUITES:
        raise Failure(f"the release of a host must be one of {', '.join(SUITES)} (got {suite})")
    recipe = hashlib.sha256(repr((PACKAGES, USER, HOOKS, platform.machine())).encode()).hexdigest()[:12]
    rooms = cache_folder() / "hosts"
    made = rooms / f"{suite}-{recipe}"
    with locked(rooms / f"{suite}.lock"):
        if made.exists():
            return made
        # Remove unfinished trees only: a running host may still use the tree of an older recipe.
        unfinished = rooms / f"{suite}.unfinished"
        remove(unfinished)
        try:
            unfinished.mkdir()
            _build(suite, unfinished)
            (unfinished / "tree").replace(made)
        finally:
            remove(unfinished)
    return made


def _build(suite: str, room: Path) -> None:
    started = time.monotonic()
    print(f"Making the base tree of Debian's {suite} (first time only)", file=sys.stderr, flush=True)
    command = [find("mmdebstrap") or "mmdebstrap", "--mode=root", "--variant=minbase", "--include", ",".join(PACKAGES)]
    command += [f"--customize-hook={hook}" for hook in HOOKS]
    # Without a mirror of the machine, mmdebstrap uses its default.
    command += [suite, str(room / "tree"), *_mirrors()]
    temporary = room / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [*ALONE, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise Failure(f"mmdebstrap could not make the base tree of {suite}: see its messages above")
    (room / "tree").chmod(0o755)
    print(f"Created the base tree in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _mirrors() -> list[str]:
    """Return the Debian mirror in the apt configuration of this machine, if there is one."""
    targets = run(
        "apt-get", "indextargets", "--format", "$(ORIGIN)|$(COMPONENT)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"
    )
    for line in targets.splitlines():
        origin, component, label, uri = line.split("|")
        if (origin, component, label) == ("Debian", "main", "Debian"):
            return [uri]
    return []
