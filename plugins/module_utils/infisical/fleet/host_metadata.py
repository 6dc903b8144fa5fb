# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata about a host's jobs for the graph: names, versions and times, but never a value, hash or fingerprint."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable
from typing import Any

from ..agent import config, report, units
from ..agent.config import SyncConfig
from ..agent.held_identity import read_note
from ..agent.schedule import parse_interval
from ..core import systemd
from ..core.errors import InfisicalError, StorageFailed
from ..core.model import check_path, check_url, parse_json
from ..core.times import format_time
from ..core.version import VERSION
from ..sync.job import ALL
from ..vault.state import StateFile
from ..vault.store import Vault
from .documents import METADATA_SCHEMA
from .documents import VERSION as SCHEMA_VERSION


def document(jobs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return this host's metadata document, which the guide to the fleet report describes."""
    return {
        "schema": METADATA_SCHEMA,
        "version": SCHEMA_VERSION,
        "host": socket.gethostname(),
        "time": format_time(time.time()),
        "agent": VERSION,
        "identity": _describe_identity(),
        "jobs": list(jobs),
    }


def _describe_identity() -> dict[str, Any]:
    """Return the identity that the agent uses. `expires_at` is the time at which its client secret expires, or None."""
    held = read_note()
    return {
        "identity_id": held.identity_id,
        "client_id": held.client_id,
        "auth_method": held.auth_method,
        "expires_at": format_time(held.expires_at) if held.expires_at else None,
    }


def of_host() -> str:
    """Return the output of `infisical-sync metadata --json` for all jobs of this host, on one line. Raises
    InfisicalError."""
    if not config.list_jobs():
        return json.dumps(document([]))
    # Remove variables that would override the configuration of the jobs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFISICAL_")}
    try:
        ended = systemd.run([units.COMMAND, "metadata", "--json"], environment=environment)
        if isinstance(parse_json(ended.out), dict):
            return ended.out.decode("ascii").strip()
    except (systemd.CannotRun, ValueError):
        pass
    raise StorageFailed(
        f"{units.COMMAND} did not print the metadata of this host.", hint="Run the role scheduled_sync again."
    )


def of_job(job: str, settled: SyncConfig, vault: Vault, state: StateFile) -> dict[str, Any]:
    """Return the metadata of a job, whatever its state."""
    found = _configured(job, settled)
    try:
        head = state.head()
    except InfisicalError as error:
        return {**found, "problem": str(error)}
    found.update(
        project_ids=found["project_ids"] or head["project_ids"],
        generation=head.get("generation", 0),
        environment_checked=head.get("environment_checked"),
        **_last(settled, head),
    )
    # The vault does not exist before the first sync or after it was removed.
    if vault.exists():
        try:
            found.update(_held(job, vault))
        except InfisicalError as error:
            found["problem"] = str(error)
    return found


def unknown(job: str, problem: str) -> dict[str, Any]:
    """Return the metadata of a job whose configuration or vault cannot be read."""
    return {
        "job": job, "service": "", "project_ids": [], "environment": "", "secret_path": "/", "recursive": False,
        "key_format": "{key}", "normalize_names": False, "interval_minutes": 0, "last_sync": None,
        "environment_checked": None, "ended": None,
        "conclusion": "", "message": "", "generation": 0, "problem": problem, "files": [], "places": [], "secrets": [],
    }  # fmt: skip


def _configured(job: str, settled: SyncConfig) -> dict[str, Any]:
    """Return the metadata from a job's configuration. Invalid options are skipped, because the sync reports them."""
    found = {**unknown(job, ""), "problem": None}
    given: Any = settled.get(("sync", "project_ids"), ("infisical", "project_id")) or ()
    ids = [given] if isinstance(given, str) else list(given)
    found["project_ids"] = [] if ids == [ALL] else ids
    found["service"] = settled.get(("infisical", "url")) or ""
    found["environment"] = settled.get(("sync", "environment"), ("infisical", "environment")) or ""
    path = settled.get(("sync", "secret_path"), ("infisical", "secret_path")) or "/"
    with contextlib.suppress(InfisicalError):
        found["service"] = check_url(found["service"], allow_http=True)
    with contextlib.suppress(InfisicalError):
        found["secret_path"] = check_path(path)
    found["recursive"] = bool(settled.get(("sync", "recursive")))
    found["key_format"] = settled.get(("sync", "key_format")) or "{key}"
    found["normalize_names"] = bool(settled.get(("sync", "normalize_names")))
    with contextlib.suppress(InfisicalError):
        found["interval_minutes"] = parse_interval(settled.get(("agent", "interval")) or "")
    found["files"] = [
        {"path": file.path, "format": file.format, "owner": file.owner, "names": list(file.names)}
        for file in settled.get_files()
    ]
    return found


def _last(settled: SyncConfig, head: dict[str, Any]) -> dict[str, Any]:
    """Return the result of the last cycle, from the agent's report or, if there is none, from the state file."""
    last_sync = head.get("last_sync")
    last = report.read(settled.get(("agent", "result_file")) or "")
    if last.ended:
        return {"last_sync": last_sync, "ended": last.ended, "conclusion": last.conclusion, "message": last.message}
    error = head.get("last_error") or {}
    if str(error.get("time", "")) > str(last_sync or ""):
        message = str(error.get("message", ""))
        return {"last_sync": last_sync, "ended": str(error["time"]), "conclusion": "failed", "message": message}
    return {"last_sync": last_sync, "ended": last_sync, "conclusion": "ok" if last_sync else "", "message": ""}


def _held(job: str, vault: Vault) -> dict[str, Any]:
    """Return the job's secrets in the vault, without entries that were added manually."""
    contents = vault.read()
    places: dict[tuple[str, str, str], int] = {}
    rows = []
    for name, secret in contents.secrets.items():
        if secret.job == job:
            place = (secret.project_id, secret.environment, secret.secret_path)
            number = places.setdefault(place, len(places))
            key = None if secret.key == name else secret.key
            rows.append([name, number, key, secret.version, secret.synced_at, secret.id])
    return {"generation": contents.generation, "places": [list(place) for place in places], "secrets": rows}
