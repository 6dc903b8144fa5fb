# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cycle of the agent came to: kept for the notification, the metrics and `status`, which come after it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..core import files
from ..core.model import is_whole, parse_json
from ..core.times import parse_time

OK = "ok"
"""The conclusion of a cycle that did what it should."""

_LONGEST = 1 << 20
"""Bytes of a report: a longer one is none."""

_LONGEST_WORD, _MOST_COUNTS, _MOST_SECONDS = 255, 20, 1e9
"""Characters of a job, invocation id or conclusion; counts of a cycle; seconds that one can take."""


@dataclass(frozen=True)
class Report:
    """One cycle of one job. Times are ISO 8601 in UTC, `seconds` how long it took; never a value.

    `conclusion` is `ok`, or what went wrong in one word; `invocation_id` is systemd's for this run of the service,
    `next_login` before when nobody logs in again, empty for at any time.
    """

    job: str = ""
    invocation_id: str = ""
    ended: str = ""
    seconds: float = 0.0
    conclusion: str = OK
    message: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    generation: int = 0
    next_login: str = ""

    @property
    def failed(self) -> bool:
        """Whether the cycle did not do what it should."""
        return self.conclusion != OK


def read(path: str) -> Report:
    """The report at `path`; an empty one, with no time, where there is none or it is damaged.

    It is the agent's user who writes it, and root who reads it too: nothing in it is taken for what it is not.
    """
    try:
        raw = files.read_regular(path, most=_LONGEST + 1)
        found = parse_json(raw) if len(raw) <= _LONGEST else None
    except (OSError, ValueError):
        return Report()
    if not isinstance(found, dict):
        return Report()
    known = {f.name: found[f.name] for f in fields(Report) if f.name in found}
    return Report(**known) if all(map(_is_sound, known, known.values())) else Report()


def _is_sound(name: str, value: Any) -> bool:
    """Whether a field of a report is what `write` puts there."""
    if name == "counts":
        return isinstance(value, dict) and len(value) <= _MOST_COUNTS and all(map(_is_count, value.values()))
    if name == "generation":
        return _is_count(value)
    if name == "seconds":
        return type(value) in (int, float) and 0 <= value < _MOST_SECONDS
    if not isinstance(value, str):
        return False
    if name in ("ended", "next_login"):
        return not value or parse_time(value) is not None
    return name == "message" or len(value) <= _LONGEST_WORD


def _is_count(value: Any) -> bool:
    return is_whole(value) and 0 <= value < 1 << 64


def write(path: str, report: Report, *, durable: bool = True) -> None:
    """Put the report in place of the one at `path`. Raises OSError.

    Root writes it too, in a directory of the agent's user, who must not lead it elsewhere by a link.
    """
    document = json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n"
    folder, name = os.path.split(os.path.abspath(path))
    owner = files.owner_of(path) or files.owner_of(folder)
    with files.opened(folder) as directory:
        files.write_atomic(name, document.encode("utf-8", "replace"), durable=durable, owner=owner, directory=directory)


def metrics_file(directory: str, job: str) -> str:
    """The path of a job's metrics."""
    return os.path.join(directory, f"infisical_sync_{job}.prom")


_METRICS = (
    ("last_success_timestamp_seconds", "gauge", "When a cycle last did what it should."),
    ("last_cycle_timestamp_seconds", "gauge", "When the last cycle ended."),
    ("last_cycle_failed", "gauge", "Whether the last cycle failed."),
    ("last_error", "gauge", "1 with what went wrong in the last cycle, if it failed."),
    ("duration_seconds", "gauge", "How long the last cycle took."),
    ("secrets", "gauge", "Entries in the vault."),
    ("generation", "gauge", "Generation of the vault."),
    ("pulled_total", "counter", "Secrets that were pulled."),
    ("pushed_total", "counter", "Secrets that were pushed."),
)


def metrics(report: Report, head: Mapping[str, Any], secrets: int | None, generation: int) -> str:
    """The text for the textfile collector of Prometheus' node exporter, from a report, a state file's head and the
    vault's number of entries and generation. What is not known is left out."""
    known: dict[str, Any] = {
        "last_success_timestamp_seconds": parse_time(str(head.get("last_sync"))),
        "last_cycle_timestamp_seconds": parse_time(report.ended),
        "last_cycle_failed": int(report.failed) if report.ended else None,
        "last_error": 1 if report.failed else None,
        "duration_seconds": report.seconds if report.ended else None,
        "secrets": secrets,
        "generation": generation or None,
        "pulled_total": head.get("pull_count"),
        "pushed_total": head.get("push_count"),
    }
    lines = []
    for name, kind, help_ in _METRICS:
        value = _number(known[name])
        if not value:
            continue
        labels = f'sync_job="{_label(report.job)}"' + (
            f',conclusion="{_label(report.conclusion)}"' * (name == "last_error")
        )
        lines += [f"# HELP infisical_sync_{name} {help_}", f"# TYPE infisical_sync_{name} {kind}"]
        lines.append(f"infisical_sync_{name}{{{labels}}} {value}")
    return "".join(line + "\n" for line in lines)


def _number(value: Any) -> str:
    """A number's text, empty for what is none: files that others than root write may say anything."""
    try:
        return f"{value:.15g}"
    except (TypeError, ValueError, OverflowError):
        return ""


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
