# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install, change or remove the agent on a host, including its library, user, credentials, jobs and units."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from ..core import systemd
from ..core.errors import ConfigurationError, after_writing
from . import config, credentials, library, metrics, report, units
from .credential_files import can_encrypt
from .deliver import LOCK, Record, check_all_delivered, open_record, withdraw
from .held_identity import note_file
from .host import Changes, Host, HostFacts, change_host
from .host_login import list_files
from .jobs import list_jobs
from .spec import Agent, Job, check_agent, render_job


@dataclass
class InstallResult(Changes):
    """The changes, and three facts: the library's version, the jobs that need a sync, and the number of listings that
    these syncs request. A job needs a sync if it is new or changed, or if its last sync failed."""

    version: str = ""
    due: list[str] = field(default_factory=list)
    requests: int = 0


def apply(agent: Agent, facts: HostFacts, *, check: bool = False) -> InstallResult:
    """As root, make the host match the desired state `agent`. In check mode, only report what would change.

    A second run changes nothing. Jobs that are not in `agent` are removed together with the files that they delivered.
    Their vaults are kept. Raises InfisicalError, with the changes made before the error in `details`.
    """
    check_agent(agent)
    facts.check()
    result = InstallResult()
    host = Host(check, result)
    with change_host(host):
        _apply(host, result, agent, facts)
    return result


def _apply(host: Host, result: InstallResult, agent: Agent, facts: HostFacts) -> None:
    encrypts = can_encrypt(facts.systemd, agent.credentials)
    if not host.check:  # in check mode, the libraries may not be installed yet
        library.check_python(agent.python)
    user = host.user(units.USER, units.STATE)
    result.version = library.install_library(host, agent.python)
    host.directory(units.CONFIGURATION, 0o755)
    host.directory(config.JOBS, 0o750, (0, user[1]))
    host.directory(units.STATE, 0o700, user)
    host.directory(units.DELIVERIES, 0o700)
    for job in agent.jobs:
        host.directory(f"{units.STATE}/{job.name}", 0o700, user)
    if agent.metrics_directory:
        host.directory_of_root(agent.metrics_directory)
    stored = credentials.store(host, agent, facts.machine_id, encrypted=encrypts)
    # Remove files only after the credentials are stored: if storing them fails, applications still have their files.
    _make_way(host, agent.jobs)
    directories = {file.directory for job in agent.jobs for file in job.files}
    for directory in sorted(directories):
        if not directory.startswith("/run/"):  # in memory
            host.directory_of_root(directory)
    context = units.UnitContext(facts.machine_id, stored.paths, encrypts, list_files(agent.settings))
    if host.file(systemd.INSTALLED_MACHINE_ID, facts.machine_id + "\n", 0o644) and not host.check:
        # At boot, these units failed, because the disk had been moved to this machine. The installation has fixed that.
        host.run("systemctl", "reset-failed", units.MOVED.format("*"))
    for job in agent.jobs:
        result.warnings += credentials.move_lost_vault(host, job.name, stored)
        metrics = _find_metrics_file(job.name)
        if metrics and os.path.dirname(metrics) != os.path.normpath(agent.metrics_directory):
            host.absent(metrics)
        changed = host.file(config.job_file(job.name), render_job(job, agent, context), 0o640, (0, user[1]))
        paths = {file.path for file in job.files}
        _withdraw(host, job.name, [path for path in Record(units.record_file(job.name)).files if path not in paths])
        last = report.read(units.report_file(job.name))
        has_vault = credentials.open_job_vault(job.name).exists()
        if changed or stored.changed or last.failed or not last.ended or not has_vault:
            result.due.append(job.name)
            result.requests += len(job.options.get("project_ids", ())) or 1
    _install_units(host, agent, context)
    credentials.remove(host, keep=stored.paths.values())
    _remove_jobs(host, [name for name in list_jobs() if name not in {job.name for job in agent.jobs}])
    result.warnings += _warn_of_swap(agent.jobs)


def _warn_of_swap(jobs: Sequence[Job]) -> list[str]:
    """Return a warning if delivered files, which are in memory, could be swapped to a disk as plain text."""
    if not any(file.path.startswith("/run/") for job in jobs for file in job.files):
        return []
    try:
        with open("/proc/swaps", encoding="utf-8", errors="replace") as stream:
            used = [line.split()[0] for line in stream.readlines()[1:] if line.strip()]
    except OSError:
        return []
    # Mapped devices are assumed to be encrypted, and zram is in memory.
    plain = [path for path in used if not path.startswith(("/dev/dm-", "/dev/mapper/", "/dev/zram"))]
    if not plain:
        return []
    return [
        f"This host swaps to {', '.join(plain)}, which may store delivered secrets as plain text. Encrypt swap, or "
        "turn it off."
    ]


def remove(*, remove_vault: bool, check: bool = False) -> Changes:
    """As root, remove the agent and all files that it delivered. The vaults and their key are kept unless
    `remove_vault` is true.

    Raises InfisicalError, with the changes made before the error in `details`.
    """
    host = Host(check)
    with change_host(host):
        _remove_jobs(host, list_jobs())
        for name in units.NAMES:
            host.absent(f"{units.UNITS}/{name}", unit=True)
        host.reload_units()
        host.absent(note_file())
        credentials.remove(host, keep_key=not remove_vault)
        host.absent(units.COMMAND)
        for path in (library.LIBRARY, units.RUNTIME, units.REPORTS, units.DELIVERIES, config.JOBS):
            host.absent(path, tree=True)
        if remove_vault:
            for path in (units.STATE, units.CONFIGURATION):
                host.absent(path, tree=True)
            host.user_absent(units.USER)
    return host.changes


def _install_units(host: Host, agent: Agent, context: units.UnitContext) -> None:
    for name, text in units.render_services(context).items():
        host.file(f"{units.UNITS}/{name}", text, 0o644, unit=True)
    changed = []
    for job in agent.jobs:
        timer = units.name_timer(job.name)
        if host.file(f"{units.UNITS}/{timer}", units.render_timer(job.name, job.minutes), 0o644, unit=True):
            changed.append(timer)
        directories = [*(file.directory for file in job.files), *filter(None, [agent.metrics_directory])]
        folder = f"{units.UNITS}/infisical-deliver@{job.name}.service.d"
        text = units.render_write_paths(job.name, directories)
        if text:
            host.directory(folder, 0o755)
            host.file(f"{folder}/paths.conf", text, 0o644, unit=True)
        else:
            host.absent(f"{folder}/paths.conf", unit=True)
    timers = [units.name_timer(job.name) for job in agent.jobs]
    enabled = [*timers, *(name for job in agent.jobs for name in units.list_boot_services(job.name))]
    host.enable_units(_find_units_not("is-enabled", "enabled", enabled))
    host.reload_units([*timers, *(name for job in agent.jobs for name in units.list_services(job.name))])
    stopped = _find_units_not("is-active", "active", timers)
    for name in stopped:
        host.note(f"{name} is started")
    restarted = [name for name in timers if name in stopped or name in changed]
    if restarted and not host.check:
        host.run("systemctl", "restart", *restarted)


def _find_units_not(query: str, state: str, names: Sequence[str]) -> list[str]:
    """Return the units for which `systemctl QUERY` does not print `state`."""
    lines = systemd.run(["systemctl", query, *names]).out.decode("utf-8", "replace").split()
    # On a host without the agent, check mode queries units that do not exist yet, and systemctl may print fewer lines.
    return list(names) if len(lines) != len(names) else [name for name, line in zip(names, lines) if line != state]


def _remove_jobs(host: Host, jobs: Sequence[str]) -> None:
    """Remove jobs with their timers and delivered files. Their vaults are kept."""
    for job in jobs:
        _remove_timer(host, job)
        record = units.record_file(job)
        _withdraw(host, job, Record(record).files)
        for path in (*filter(None, [_find_metrics_file(job)]), config.job_file(job), record):
            host.absent(path)
        if not host.check:
            lock = record + LOCK
            with host.explain_errors(lock), contextlib.suppress(FileNotFoundError):
                os.unlink(lock)
        for path in (f"{units.RUNTIME}/{job}", f"{units.REPORTS}/{job}"):
            host.absent(path, tree=True)
    host.reload_units()


def _remove_timer(host: Host, job: str) -> None:
    """Stop a job's services and remove its units. The templates, which all jobs share, are kept."""
    name = units.name_timer(job)
    timer, folder = f"{units.UNITS}/{name}", f"{units.UNITS}/infisical-deliver@{job}.service.d"
    if os.path.exists(timer) and host.note(f"the timer of job {job} is stopped"):
        host.run("systemctl", "disable", "--quiet", "--now", name, *units.list_boot_services(job))
        # A running service would deliver again, and would prevent the removal of the agent's user. Stop the services in
        # order, because the end of one service starts the next. A service that does not exist counts as stopped.
        names = units.list_services(job)
        for command in (*(["stop", name] for name in names), ["reset-failed", *names]):
            with contextlib.suppress(systemd.CannotRun):
                systemd.run(["systemctl", *command])
    for path in (timer, folder):
        host.absent(path, unit=True, tree=True)


def _find_metrics_file(job: str) -> str:
    """Return the path of an installed job's metrics file, or empty if the job writes no metrics."""
    try:
        directory = config.SyncConfig({}, {}, config.job_file(job)).get(("deliver", "metrics_directory"))
    except ConfigurationError:
        return ""
    return metrics.metrics_file(directory, job) if directory else ""


def _make_way(host: Host, jobs: Sequence[Job]) -> None:
    """Remove each delivered file that a directory will replace, and each delivered directory that a file will replace.

    A delivery cannot do this, because its sandbox allows writing only to the directories of its current files.
    """
    wanted = [file for job in jobs for file in job.files]
    directories = {str(path) for file in wanted for path in PurePath(file.directory, "x").parents}
    singles = {file.path for file in wanted if file.format != "files"}
    for job in list_jobs():
        replaced = []
        for path, entry in Record(units.record_file(job)).files.items():
            is_directory = entry["format"] == "files"
            if path in (singles if is_directory else directories):
                replaced.append(path)
                if is_directory:
                    check_all_delivered(path, entry["names"])
        _withdraw(host, job, replaced)


def _withdraw(host: Host, job: str, paths: Iterable[str]) -> None:
    """Remove the files that a job delivered to these paths. The job's next delivery cannot remove them, because its
    sandbox does not allow writing there."""
    paths = [path for path in paths if path not in host.withdrawn]
    if host.check or not paths:
        _note_withdrawn(host, paths)
        return
    with open_record(units.record_file(job)) as record:
        done = withdraw(record, [path for path in paths if path in record.files])
        _note_withdrawn(
            host, [path for path in paths if path not in done.problems
                   or any(removed.startswith(path + "/") for removed in done.removed)],
        )  # fmt: skip
        failure = done.failure()
        with after_writing(failure.problem if failure else ""):
            record.write()
    if failure:
        raise failure


def _note_withdrawn(host: Host, paths: Sequence[str]) -> None:
    host.withdrawn.update(paths)
    for path in paths:
        host.note(f"delivered files at {path} are removed")
