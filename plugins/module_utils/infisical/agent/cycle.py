# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent does around a sync: report it, deliver files, tell who wants to know, wait for a first delivery."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable

from ..core.errors import ConfigurationError, InfisicalError, after_writing
from ..core.redact import unexpected
from ..core.times import format_time
from . import report as reports

if TYPE_CHECKING:
    from ..sync.outcome import Outcome
    from ..vault.state import StateFile
    from ..vault.store import Vault
    from .deliver import Delivery, File, Record
    from .notify import Channel
    from .report import Report

_POLL = 0.5
"""Seconds between two looks for a first delivery."""


class Reporter:
    """Takes the outcome of a sync, for the report."""

    outcome: Outcome | None = None


@contextlib.contextmanager
def reported(path: str, job: str, environ: Mapping[str, str]) -> Iterator[Reporter]:
    """Write the report of what happens inside to the file `path`, also where it fails; no file for an empty path.

    `environ` has the invocation id that systemd gives a service. Where the report cannot be written, what happened
    counts; after a success it is raised as InfisicalError (STORAGE).
    """
    reporter, started = Reporter(), time.monotonic()
    about = reports.Report(job=job, invocation_id=environ.get("INVOCATION_ID", ""))
    try:
        yield reporter
    except Exception as error:
        failed = replace(about, conclusion="unexpected", message=unexpected(error))
        if isinstance(error, InfisicalError):
            counts, generation = error.details.get("counts", {}), error.details.get("generation", 0)
            failed = replace(
                about, conclusion=error.conclusion, message=str(error), counts=counts, generation=generation,
                next_login=error.details.get("next_login", ""),
            )  # fmt: skip
        with contextlib.suppress(OSError, InfisicalError):
            _write(path, failed, started)
        raise
    outcome = reporter.outcome
    if outcome is not None:
        about = replace(about, counts=outcome.counts, generation=outcome.generation)
    done, details = ("", {}) if outcome is None else ("The sync is done.", outcome.as_result())
    with after_writing(done, **details):
        _write(path, about, started)


def _write(path: str, report: Report, started: float) -> None:
    if not path:
        return
    ended = format_time(time.time())
    try:
        seconds = round(time.monotonic() - started, 3)
        reports.write(path, replace(report, ended=ended, seconds=seconds), durable=False)
    except OSError as error:
        from ..core import files

        raise files.explained(error, f"The report {path} cannot be written", path) from None


@dataclass(frozen=True)
class Delivering:
    """What `deliver` works with: where it keeps its record, says that it is done, and leaves metrics (or not)."""

    files: list[File]
    record_file: str
    runtime_directory: str
    metrics_directory: str = ""
    result_file: str = ""


def deliver(vault: Vault, state: StateFile, job: str, work: Delivering) -> Delivery:
    """Bring the job's files and metrics to what the vault holds. Without a vault, files stay as they are.

    Raises InfisicalError where the vault cannot be opened, or where files or metrics could not be written: PARTIAL with
    what was done in `details`. The report of the cycle then says so too, unless the sync had failed before.
    """
    from .deliver import DELIVERED, Delivery, after_delivery, recorded

    report = replace(reports.read(work.result_file), job=job)
    secrets, generation, done, problem = None, 0, Delivery(), None
    try:
        if vault.exists():
            with recorded(work.record_file) as record:
                contents = vault.read()
                secrets, generation = contents.count, contents.generation
                values = {name: secret.value or "" for name, secret in contents.secrets.items()}
                done = _delivered(values, work.files, record)
            if work.runtime_directory:
                with after_delivery(done):
                    _published(os.path.join(work.runtime_directory, DELIVERED), f"{generation}\n")
    except InfisicalError as error:
        problem = error
        if work.result_file and not report.failed:
            ended = format_time(time.time())
            report = replace(report, conclusion=error.conclusion, message=str(error), ended=ended)
            with contextlib.suppress(OSError):
                reports.write(work.result_file, report, durable=False)
    if work.metrics_directory:
        try:
            with after_delivery(done):
                text = reports.metrics(report, state.head(), secrets, generation)
                _published(reports.metrics_file(work.metrics_directory, job), text, "The metrics ")
        except InfisicalError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return done


def _delivered(values: Mapping[str, str], wanted: Sequence[File], record: Record) -> Delivery:
    from .deliver import deliver

    done = deliver(values, wanted, record)
    failure = done.failure()
    if failure:
        failure.details = done.as_result()
        raise failure
    return done


def _published(path: str, text: str, what: str = "") -> None:
    """Put text in place of a file that everybody may read, in a directory that root alone may change; `what` it is, for
    a message. Raises InfisicalError."""
    from ..core import files

    folder, name = os.path.split(path)
    try:
        with files.directory_of_root(folder) as directory:
            files.write_atomic(name, text.encode("utf-8", "replace"), 0o644, durable=False, directory=directory)
    except OSError as error:
        raise files.explained(error, f"{what}{path} cannot be written", path) from None


def wait_for_delivery(directory: str, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until the job's files have been delivered since the last boot, however long it takes."""
    from .deliver import DELIVERED

    if not directory:
        raise ConfigurationError("runtime_directory", "not given under [deliver] in the configuration file.")
    while not os.path.exists(os.path.join(directory, DELIVERED)):
        sleep(_POLL)


def finish(path: str, job: str, environ: Mapping[str, str]) -> Report:
    """The report of the run of the service that has just ended, made of what systemd knows (systemd.exec(5),
    $SERVICE_RESULT) where it left none: it was killed, or ran out of time or memory."""
    found = reports.read(path)
    invocation = environ.get("INVOCATION_ID", "")
    if found.ended and found.invocation_id == invocation:
        return found
    result, status = environ.get("SERVICE_RESULT", "unknown"), environ.get("EXIT_STATUS", "")
    report = reports.Report(
        job=job, invocation_id=invocation, conclusion=result,
        message=f"The sync left no report: the result of its service is '{result}', its exit status '{status}'. See "
        "its journal.",
    )  # fmt: skip
    _write(path, report, time.monotonic())
    return report


def notify(state_file: str, report: Report, channel: Channel, last_success: str = "") -> str:
    """Tell what there is to tell of the report, and when a sync last succeeded; the event, empty for none. Raises
    InfisicalError."""
    from .notify import tell

    return tell(state_file, socket.gethostname(), report, channel, last_success)
