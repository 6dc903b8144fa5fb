# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends notifications when a job starts to fail, fails for another reason, keeps failing, and recovers."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..core import files, systemd
from ..core.errors import ConfigurationError, InfisicalError, PartialFailure, Unreachable, after_writing, join_hints
from ..core.model import parse_json
from ..core.times import parse_time
from .report import CycleReport

_COMMAND_SECONDS = 60.0
_LARGEST = 1 << 20
"""The maximum size of a notification record in bytes."""


@dataclass(frozen=True)
class NotificationRecord:
    """The notifications since a job's last success: the time of the last notification for each conclusion, and the time
    of the first failure. The record is empty if no failure was reported. Times have the format of CycleReport."""

    since: str = ""
    notified_at: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Channel:
    """The recipient of notifications: a program that reads JSON from its standard input, a webhook, or both.

    `command` is the program with its arguments. `reminder` is the number of seconds after which a failure that persists
    is reported again, or 0 for never.
    """

    command: str = ""
    webhook_url: str = field(default="", repr=False)
    reminder: float = 86_400.0
    ca_path: str = ""
    proxy: str = field(default="", repr=False)
    allow_http: bool = False


def choose_event(record: NotificationRecord, report: CycleReport, reminder: float) -> str:
    """Return the event to send after this cycle: `failure`, `reminder`, `recovery`, or an empty text for none.

    The time of the last notification is stored for each conclusion, such as `unreachable`. So a job that alternates
    between two conclusions sends at most one notification of each within `reminder` seconds.
    """
    if not report.ended:
        return ""  # a delivery at boot, before the first cycle
    if not report.failed:
        return "recovery" if record.notified_at else ""
    if report.conclusion not in record.notified_at:
        return "failure"
    last, now = parse_time(record.notified_at[report.conclusion]), parse_time(report.ended)
    is_due = reminder and last is not None and now is not None and not 0 <= now - last < reminder
    return "reminder" if is_due else ""


def build_document(
    event: str, host: str, record: NotificationRecord, report: CycleReport, last_success: str
) -> dict[str, Any]:
    """Return the notification as JSON data without secret values. `text` is the sentence that chat programs display."""
    since = record.since or report.ended
    words = {
        "failure": f"failed ({report.conclusion})." + f" It has been failing since {since}." * bool(record.notified_at),
        "reminder": f"has been failing since {since} ({report.conclusion}).",
        "recovery": f"succeeded again. It had been failing since {since}, with {', '.join(record.notified_at)}.",
    }[event]
    return {
        "event": event,
        "text": f"Sync job '{report.job}' on {host} {words} {report.message}".rstrip(),
        "host": host,
        "job": report.job,
        "conclusion": report.conclusion,
        "message": report.message,
        "hint": report.hint,
        "counts": report.counts,
        "since": since,
        "time": report.ended,
        "last_success": last_success,
    }


def notify(path: str, host: str, report: CycleReport, channel: Channel, last_success: str = "") -> str:
    """Send a notification if one is due, and record it in the file `path`. Return the event, or an empty text for none.

    `last_success` is the time of the last successful sync, or empty for never. Raises InfisicalError if the
    notification could not be sent. The next cycle then tries again. If only one of two channels failed, PartialFailure
    is raised, and the notification is not sent again.
    """
    record = read(path)
    event = choose_event(record, report, channel.reminder)
    if not event:
        if not os.path.exists(path):
            _write(path, record)  # reserves space for a later record on a full disk
        return ""
    content = build_document(event, host, record, report, last_success)
    channels = ((_run_command, channel.command), (_post, channel.webhook_url))
    senders = [send for send, option in channels if option.strip()]
    errors: list[InfisicalError] = []
    for send in senders:
        try:
            send(channel, content)
        except InfisicalError as error:
            errors.append(error)
    problems = "; ".join(error.problem.rstrip(".") for error in errors)
    hint = join_hints(error.hint for error in errors)
    if errors and len(errors) == len(senders):
        raise errors[0].reworded(f"Could not send the notification ({event}): {problems}.", hint)
    partly = f"Sent the notification ({event}) by only one of two channels: {problems}." if errors else ""
    with after_writing(partly or (f"Sent the notification ({event})." if senders else "")):
        notified_at = {**record.notified_at, report.conclusion: report.ended}
        _write(path, NotificationRecord() if event == "recovery" else NotificationRecord(content["since"], notified_at))
    if partly:
        raise PartialFailure(partly, hint=hint)
    return event


def _write(path: str, record: NotificationRecord) -> None:
    with files.explain_errors(f"The notification record {path} cannot be written", path):
        files.write_note(path, json.dumps(asdict(record), indent=2).encode("utf-8"))


def read(path: str) -> NotificationRecord:
    """Return the notification record, or an empty record if the file is missing or damaged."""
    try:
        found = parse_json(files.read_regular(path, most=_LARGEST))
        record = NotificationRecord(found["since"], found["notified_at"])
        # An invalid time would suppress reminders forever.
        is_valid = all(parse_time(time) is not None for time in (record.since, *record.notified_at.values()))
        return record if is_valid else NotificationRecord()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return NotificationRecord()


def command_words(command: str) -> list[str]:
    """Return the program and its arguments. Raises ConfigurationError for an unclosed quote."""
    try:
        return shlex.split(command)
    except ValueError:
        raise ConfigurationError("notify_command", "contains an unclosed quote.", hint="Close the quote.") from None


def _run_command(channel: Channel, content: Mapping[str, Any]) -> None:
    words = command_words(channel.command)
    try:
        # The newline completes the line for a shell's `read`, and puts each notification on its own line in a file.
        ended = systemd.run(words, data=json.dumps(content).encode("utf-8") + b"\n", seconds=_COMMAND_SECONDS)
    except systemd.CannotRun as error:
        raise Unreachable(error.problem) from None
    if ended.status != 0:
        raise Unreachable(f"{words[0]} ended with status {ended.status}: {ended.said or 'no error message'}")


def _post(channel: Channel, content: Mapping[str, Any]) -> None:
    from ..client.transport import post_json

    post_json(channel.webhook_url, content, ca_path=channel.ca_path, proxy=channel.proxy, allow_http=channel.allow_http)
