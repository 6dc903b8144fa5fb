# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a cycle before and after the sync: the report, the delivery of files and metrics, and its end."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable

from ..core.errors import ConfigurationError, InfisicalError, after_writing
from ..core.redact import describe_unexpected
from ..core.times import now
from . import report as reports
from .report import CycleReport

if TYPE_CHECKING:
    from ..sync.outcome import Outcome
    from ..vault.state import StateFile
    from ..vault.store import Vault
    from .deliver import Delivery, File

_POLL = 0.5
"""Seconds between checks for the first delivery."""


class Reporter:
    """Receives the outcome of a sync, for the report."""

    outcome: Outcome | None = None


@contextlib.contextmanager
def report_cycle(path: str, job: str, environ: Mapping[str, str]) -> Iterator[Reporter]:
    """Context manager: run a sync, and then write its report to the file `path`. An empty `path` means no report.

    `environ` contains the ID that systemd gave this run of the service. If the report cannot be written, an error of
    the sync takes precedence. If the sync succeeded, the error about the report is raised.
    """
    reporter, started = Reporter(), time.monotonic()
    report = CycleReport(job=job, invocation_id=environ.get("INVOCATION_ID", ""))
    try:
        yield reporter
    except Exception as error:
        if isinstance(error, InfisicalError):
            known = ("counts", "generation", "next_login")
            report = report.with_error(error, **{name: error.details[name] for name in known if name in error.details})
        else:
            report = report.with_error(InfisicalError(describe_unexpected(error)))
        with contextlib.suppress(InfisicalError):
            _write(path, report, started)
        raise
    done, details = "", {}
    if reporter.outcome is not None:
        report = replace(report, counts=reporter.outcome.counts, generation=reporter.outcome.generation)
        done, details = "The sync succeeded.", reporter.outcome.as_result()
    with after_writing(done, **details):
        _write(path, report, started)


def _write(path: str, report: CycleReport, started: float) -> None:
    if not path:
        return
    from ..core import files

    with files.explain_errors(f"The report {path} cannot be written", path):
        reports.write(path, replace(report, ended=now(), seconds=round(time.monotonic() - started, 3)))


@dataclass(frozen=True)
class DeliveryPaths:
    """The files that a job delivers, and the paths of its record, mark, metrics and report. All but the record are
    optional."""

    files: list[File]
    record_file: str
    runtime_directory: str
    metrics_directory: str = ""
    result_file: str = ""


def deliver(vault: Vault, state: StateFile, job: str, paths: DeliveryPaths) -> Delivery:
    """Update a job's files and metrics from its vault. If the vault does not exist, the files stay unchanged.

    Raises InfisicalError if the vault cannot be opened, or if a file cannot be written. In the second case, `details`
    contains the delivery. If the last sync succeeded, the error replaces the sync's report.
    """
    from .deliver import DELIVERED, Delivery, after_delivery, open_record
    from .deliver import deliver as deliver_files
    from .metrics import metrics_file, render_metrics

    report = replace(reports.read(paths.result_file), job=job)
    secrets, generation, done, problem = None, 0, Delivery(), None
    try:
        if vault.exists():
            with open_record(paths.record_file) as record:
                contents = vault.read()
                secrets, generation = contents.count, contents.generation
                done = deliver_files(contents.values(), paths.files, record)
                failure = done.failure()
                if failure:
                    failure.details = done.as_result()
                    raise failure
            if paths.runtime_directory:
                with after_delivery(done):
                    _publish(os.path.join(paths.runtime_directory, DELIVERED), f"{generation}\n")
    except InfisicalError as error:
        problem = error
        if paths.result_file and not report.failed:
            report = report.with_error(error, ended=now())
            with contextlib.suppress(OSError):
                reports.write(paths.result_file, report)
    if paths.metrics_directory:
        try:
            with after_delivery(done):
                text = render_metrics(report, state.head(), secrets, generation)
                _publish(metrics_file(paths.metrics_directory, job), text, "The metrics ")
        except InfisicalError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return done


def _publish(path: str, text: str, what: str = "") -> None:
    """Write a world-readable file into a directory that root owns. Errors are prefixed with `what`."""
    from ..core import files

    folder, name = os.path.split(path)
    with files.explain_errors(f"{what}{path} cannot be written", path), files.directory_of_root(folder) as directory:
        files.write_atomic(name, text.encode("utf-8", "replace"), 0o644, durable=False, directory=directory)


def wait_for_delivery(directory: str, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait, with no time limit, until the job's files have been delivered since the last boot."""
    from .deliver import DELIVERED

    if not directory:
        raise ConfigurationError("runtime_directory", "must be set under [deliver] in the configuration file.")
    while not os.path.exists(os.path.join(directory, DELIVERED)):
        sleep(_POLL)


def finish(path: str, job: str, environ: Mapping[str, str]) -> CycleReport:
    """Return the report of the service run that has just ended. If the run was terminated before it wrote a report,
    write one from systemd's variables, such as $SERVICE_RESULT (systemd.exec(5))."""
    found = reports.read(path)
    invocation = environ.get("INVOCATION_ID", "")
    if found.ended and found.invocation_id == invocation:
        return found
    result, status = environ.get("SERVICE_RESULT", "unknown"), environ.get("EXIT_STATUS", "")
    report = CycleReport(
        job=job,
        invocation_id=invocation,
        conclusion=result,
        problem=f"The sync ended without a report (systemd: {result}, status {status}).",
        hint=f"Run: journalctl -u infisical-sync@{job}.service",
    )
    _write(path, report, time.monotonic())
    return report
