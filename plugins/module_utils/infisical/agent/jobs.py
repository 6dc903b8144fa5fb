# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's jobs on a host: their names, their status, and how to sync them immediately."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core import systemd
from ..core.errors import (
    ConfigurationError,
    Forbidden,
    GuardStopped,
    InfisicalError,
    PartialFailure,
    StorageFailed,
    join_hints,
    rebuild_error,
)
from ..core.model import parse_json
from . import config, report, units

_STATUS = ("vault", "problem", "generation", "secrets", "environment", "secret_path", "job", "last_sync", "age_seconds",
           "environment_checked", "last_error", "error_count", "pull_count", "push_count")  # fmt: skip
"""The keys that are None in the status of a job whose status cannot be read."""


def list_jobs() -> list[str]:
    """Return the names of the host's jobs, including jobs that were only partly installed or removed."""
    found = set(config.list_jobs())
    with contextlib.suppress(OSError):
        matches = (re.fullmatch(r"infisical-sync@(.+)\.timer", name) for name in os.listdir(units.UNITS))
        found.update(match[1] for match in matches if match)
    return sorted(found)


def choose_jobs(names: Sequence[str] | None, *, check: bool = False) -> Sequence[str]:
    """Return the jobs to sync: those in `names`, or all jobs of the host if `names` is None.

    Raises ConfigurationError if there is no job, because a sync after a leak must not appear to have been done. With
    `check`, a host without jobs is accepted, because they may not be installed yet.
    """
    jobs = list_jobs() if names is None else names
    if jobs or (check and names is None):
        return jobs
    if names is None:
        raise ConfigurationError(
            "jobs", "this host has no job of the agent, so nothing was synced.",
            hint="Run the role scheduled_sync on it, or exclude the host.",
        )  # fmt: skip
    hint = "Omit the option jobs to sync all jobs."
    raise ConfigurationError("jobs", "must name at least one job (got none).", hint=hint)


@dataclass
class Grants:
    """The grants of the host's identity that this run has made. The server applies them at `visible_at` at the latest,
    in seconds of `time.monotonic()`. `is_change` is true if the identity had other grants before.

    `repeated` lists the jobs that were synced again.
    """

    visible_at: float = 0.0
    is_change: bool = False
    repeated: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """Return a part of a message about the repeated syncs, or an empty text."""
        return f" ({', '.join(self.repeated)}: twice, because the grants were new)" if self.repeated else ""

    def wait(self) -> None:
        """Wait until the server has applied the grants."""
        time.sleep(min(max(0.0, self.visible_at - time.monotonic()), _LONGEST_GRANT_WAIT))


_LONGEST_GRANT_WAIT = 60.0


def sync_all(jobs: Sequence[str], grants: Grants | None = None) -> dict[str, Any]:
    """Run a cycle of each job, and return the result as plain data.

    If the server may not have applied new `grants` yet, a sync that was refused or found nothing is repeated once when
    it has. If grants were changed, all syncs wait: an old permission could hide secrets, and prune would delete them.

    If a job fails, the other jobs still run. Then InfisicalError is raised, with the result in `details`. If a job does
    not exist, ConfigurationError is raised before any job runs.
    """
    known = list_jobs()
    for job in jobs:
        if job not in known:
            raise ConfigurationError(
                "jobs", f"this host has no job '{job}'.", hint=f"Its jobs are: {', '.join(known) or 'none'}."
            )
    grants = grants or Grants()
    if grants.is_change:
        grants.wait()
    is_early = time.monotonic() < grants.visible_at
    reports = {job: _try_sync(job) for job in jobs}
    if is_early:
        grants.repeated = [job for job, found in reports.items() if _may_lack_grants(found)]
    if grants.repeated:
        grants.wait()
        reports.update((job, _try_sync(job)) for job in grants.repeated)
    result = {
        "changed": any(
            number for report in reports.values() for kind, number in report.counts.items() if kind != "unchanged"
        ),
        "reports": {job: report.as_result() for job, report in reports.items()},
    }
    failed = [report for report in reports.values() if report.failed]
    if failed:
        names = ", ".join(f"{report.job} ({report.conclusion})" for report in failed)
        reasons = " ".join(f"{report.job}: {report.problem}" for report in failed)
        hint = join_hints(report.hint for report in failed)
        conclusion = failed[0].conclusion if len(failed) == len(reports) else PartialFailure.conclusion
        problem = f"These jobs failed to sync{grants.describe()}: {names}. {reasons}"
        error = rebuild_error(conclusion, problem, hint=hint)
        error.details = result
        raise error
    return result


def sync_now(job: str) -> report.CycleReport:
    """As root, run a job's cycle and its delivery, wait for both, and return the cycle's report.

    Raises InfisicalError if no cycle could run.
    """
    path = units.report_file(job)
    before = report.read(path)
    sync, deliver = (["systemctl", "start", f"infisical-{name}@{job}.service"] for name in ("sync", "deliver"))
    # `systemctl start` joins a cycle that is already running. That cycle may have read the secrets before the change
    # that the caller waits for, so start another cycle after it.
    is_running = systemd.run(["systemctl", "is-active", sync[-1]]).out.strip() == b"activating"
    commands = [sync, sync, deliver] if is_running else [sync, deliver]
    said = [systemd.run(command, seconds=units.SECONDS_OF_A_CYCLE).said for command in commands]
    after = report.read(path)
    if after == before:
        reason = f": {said[-2]}" if said[-2] else "."
        raise StorageFailed(
            f"The sync of the job {job} ended without a report{reason}",
            hint=f"Run: journalctl -u infisical-sync@{job}",
        )
    return after


def _may_lack_grants(found: report.CycleReport) -> bool:
    """Return whether a sync was refused or found no secrets, so that missing grants may be the cause."""
    if found.failed:
        return found.conclusion in (Forbidden.conclusion, GuardStopped.conclusion)
    return not any(found.counts.values())


def _try_sync(job: str) -> report.CycleReport:
    try:
        return sync_now(job)
    except InfisicalError as error:
        return report.CycleReport(job).with_error(error)


def read_status() -> list[dict[str, Any]]:
    """Return the status of each job, as `infisical-sync status --json` prints it.

    If a job's status cannot be read, its entry has the same keys: `failed` is true, and the reason is in `conclusion`,
    `message`, `hint` and `last_cycle`. Raises InfisicalError if no status can be read.
    """
    found: list[dict[str, Any]] = []
    errors: list[InfisicalError] = []
    for job in config.list_jobs():
        try:
            ended = systemd.run([units.COMMAND, "status", "--json", "--config", config.job_file(job)])
            status = {"failed": False, "conclusion": None, "message": None, "hint": None, **parse_json(ended.out)}
        except (systemd.CannotRun, ValueError, TypeError):
            error = StorageFailed(
                f"{units.COMMAND} did not print the status of the job {job}.", hint="Run the role scheduled_sync again."
            )
            errors.append(error)
            status = {"failed": True, "conclusion": error.conclusion, "message": str(error), "hint": error.hint}
        if status["failed"]:
            about = {name: status[name] for name in ("conclusion", "message", "hint")}
            cycle = {**report.CycleReport(job).as_result(), **about}
            status = {**dict.fromkeys(_STATUS), "projects": [], "last_cycle": cycle, **status}
        found.append({"name": job, **status})
    if errors and len(errors) == len(found):
        raise errors[0]
    return found
