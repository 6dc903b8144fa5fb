# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is notified of a failure, and when: at once of each new conclusion, again after a while, and of the recovery."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..client.transport import post_json
from ..core import files, systemd
from ..core.errors import ConfigurationError, InfisicalError, PartialFailure, Unreachable, after_writing
from ..core.model import parse_json
from ..core.times import parse_time
from .report import OK, Report

_COMMAND_SECONDS = 60.0
_LARGEST = 1 << 20
"""Bytes that are read of what has been told."""


@dataclass(frozen=True)
class Told:
    """The notifications since the job last succeeded: each conclusion with the time of its last notification, none if
    nothing is known to be wrong; and when the first of these failures was. Times are as in a Report."""

    since: str = ""
    told_at: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Channel:
    """How one is told: a program with its arguments, which gets JSON on standard input, or the URL of a webhook, or
    both. `reminder` is the number of seconds after which a failure that goes on is told again, 0 for never."""

    command: str = ""
    webhook_url: str = field(default="", repr=False)
    reminder: float = 86_400.0
    ca_path: str = ""
    proxy: str = field(default="", repr=False)
    allow_http: bool = False


def event(told: Told, report: Report, reminder: float) -> str:
    """The notification that is due after this cycle: `failure`, `reminder`, `recovery`, or none (empty).

    Each conclusion counts for itself, so that a job that alternates between two sends no more than one notification of
    each within `reminder` seconds.
    """
    if not report.ended:
        return ""  # a delivery at boot, before the first cycle: nothing is known yet
    if not report.failed:
        return "recovery" if told.told_at else ""
    if report.conclusion not in told.told_at:
        return "failure"
    last, now = parse_time(told.told_at[report.conclusion]), parse_time(report.ended)
    if reminder and last is not None and now is not None and not 0 <= now - last < reminder:
        return "reminder"
    return ""


def document(kind: str, host: str, told: Told, report: Report, last_success: str) -> dict[str, Any]:
    """What is sent: names, words and counts, never a value. `text` is the sentence that chat programs show."""
    since = told.since or report.ended
    words = {
        "failure": f"failed ({report.conclusion})" + f"; it has been failing since {since}" * bool(told.told_at),
        "reminder": f"has been failing since {since} ({report.conclusion})",
        "recovery": f"works again; it had failed since {since} ({', '.join(told.told_at)})",
    }[kind]
    return {
        "event": kind,
        "text": f"Sync of secrets '{report.job}' on {host} {words}." + (f" {report.message}" * bool(report.message)),
        "host": host,
        "job": report.job,
        "conclusion": report.conclusion,
        "message": report.message,
        "counts": report.counts,
        "since": since,
        "time": report.ended,
        "last_success": last_success,
    }


def tell(path: str, host: str, report: Report, channel: Channel, last_success: str = "") -> str:
    """Tell what there is to tell and remember it in the file `path`; the event, empty for none. `last_success` is when
    a sync last succeeded, empty for never.

    Raises InfisicalError where it could not be told; it is tried again after the next cycle.
    """
    told = read(path)
    kind = event(told, report, channel.reminder)
    if not kind:
        # Room for what is to be remembered when the disk is full.
        if not os.path.exists(path):
            _keep(path, told)
        return ""
    about = document(kind, host, told, report, last_success)
    ways = bool(channel.command.strip()) + bool(channel.webhook_url)
    problems = [problem for problem in (_by_command(channel, about), _by_webhook(channel, about)) if problem]
    if problems and len(problems) == ways:
        raise Unreachable(f"The {kind} could not be told: {'; '.join(problems)}.")
    told_at = {**told.told_at, report.conclusion: report.ended}
    after = Told() if kind == "recovery" else Told(about["since"], told_at)
    partly = f"The {kind} was told by one of two ways only: {problems[0]}." if problems else ""
    with after_writing(partly or (f"The {kind} was told." if ways else "")):
        _keep(path, after)
    if partly:
        raise PartialFailure(partly)
    return kind


def _keep(path: str, told: Told) -> None:
    try:
        files.write_note(path, json.dumps(asdict(told), indent=2).encode("utf-8"))
    except OSError as error:
        raise files.explained(error, f"What has been told cannot be kept in {path}", path) from None


def read(path: str) -> Told:
    """What was told last; nothing where the file is missing or damaged."""
    try:
        found = parse_json(files.read_regular(path, most=_LARGEST))
        since, told_at = found["since"], found["told_at"]
        if isinstance(told_at, str):  # as version 0.3 kept it: the last notification only
            told_at = {} if found["conclusion"] == OK else {found["conclusion"]: told_at}
        # A time that cannot be read would keep the reminder away for good.
        is_sound = all(parse_time(time) is not None for time in (since, *told_at.values()))
        return Told(since, told_at) if is_sound else Told()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Told()


def command_words(command: str) -> list[str]:
    """The program and its arguments, none where nothing is named. Raises ConfigurationError."""
    try:
        return shlex.split(command)
    except ValueError:
        raise ConfigurationError("notify_command", "has a quote that is never closed.") from None


def _by_command(channel: Channel, about: Mapping[str, Any]) -> str:
    """Why the program did not take it, empty where it did or there is none."""
    try:
        words = command_words(channel.command)
    except ConfigurationError as error:
        if not channel.webhook_url:
            raise
        return str(error)
    if not words:
        return ""
    try:
        # With an end of line, so that a shell's `read` takes it, and a file that it is appended to has a line for each.
        ended = systemd.run(words, data=json.dumps(about).encode("utf-8") + b"\n", seconds=_COMMAND_SECONDS)
    except systemd.CannotRun as error:
        return f"{words[0]} {error}"
    return "" if ended.status == 0 else f"{words[0]} ended with {ended.status}: {ended.said or 'it says nothing'}"


def _by_webhook(channel: Channel, about: Mapping[str, Any]) -> str:
    """Why the webhook did not take it, empty where it did or there is none."""
    if not channel.webhook_url:
        return ""
    try:
        post_json(
            channel.webhook_url, about, ca_path=channel.ca_path, proxy=channel.proxy, allow_http=channel.allow_http
        )  # fmt: skip
    except InfisicalError as error:
        return str(error)
    return ""
