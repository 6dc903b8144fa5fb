# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints the state of this host's agent as JSON after all its services have ended. The arguments are further files.

The output contains hashes of files, never values.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

STATE = Path("/var/lib/infisical-sync")
JOBS = Path("/etc/infisical-sync/jobs")
METRICS = Path("/var/lib/node-exporter")
SECONDS = 30


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def wait() -> None:
    """Wait for the services that a cycle has started."""
    deadline = time.monotonic() + SECONDS
    while said("systemctl", "list-jobs", "--no-legend", "infisical-*", "app*") and time.monotonic() < deadline:
        time.sleep(0.1)


def look(path: Path) -> dict[str, object] | None:
    """Return the hash of a file and the attributes that change if it is written again, or None if it does not exist."""
    try:
        info = path.stat()
    except FileNotFoundError:
        return None
    about = {
        "owner": pwd.getpwuid(info.st_uid).pw_name,
        "mode": f"{info.st_mode & 0o7777:04o}",
        "inode": info.st_ino,
        "changed": info.st_mtime_ns,
    }
    if path.is_dir():
        return {**about, "names": sorted(os.listdir(path))}
    return {**about, "hash": hashlib.sha256(path.read_bytes()).hexdigest()}


def job(name: str) -> dict[str, object]:
    command = ["infisical-sync", "status", "--job", name]
    return {
        "status": json.loads(said(*command, "--json") or "{}"),
        "lines": said(*command).splitlines(),
        "vault": look(STATE / name / "secrets.vault"),
        "names": sorted(path.name for path in (STATE / name).glob("*")),
    }


def metrics() -> dict[str, float]:
    """{"secrets{sync_job="app"}": 3.0}: all metrics of all jobs, without the prefix that they share."""
    found = {}
    for path in METRICS.glob("*.prom"):
        for line in path.read_text("utf-8").splitlines():
            if not line.startswith("#"):
                name, _blank, value = line.rpartition(" ")
                found[name.removeprefix("infisical_sync_")] = float(value)
    return found


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


def main() -> None:
    wait()
    document = {
        "jobs": {path.stem: job(path.stem) for path in sorted(JOBS.glob("*.ini"))},
        "files": {path: look(Path(path)) for path in sys.argv[1:]},
        "told": [json.loads(line) for line in lines(STATE / "told")],
        "reloads": len(lines(Path("/var/lib/app-reloads"))),
        "metrics": metrics(),
        "vaults": sorted(path.parent.name for path in STATE.glob("*/secrets.vault")),
        "failed_units": said("systemctl", "list-units", "--failed", "--plain", "--no-legend").split(),
        "host_key": look(Path("/var/lib/systemd/credential.secret")),
    }
    json.dump(document, sys.stdout)


main()
