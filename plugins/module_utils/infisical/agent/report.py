# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of an agent's cycle, which the notification, the metrics and the command `status` use."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..core import files
from ..core.errors import InfisicalError
from ..core.model import is_whole, parse_json
from ..core.times import parse_time

OK = "ok"
"""The conclusion of a successful cycle."""

_LONGEST = 1 << 20
"""The maximum size of a report in bytes."""

_LONGEST_WORD, _MOST_COUNTS, _MOST_SECONDS = 255, 20, 1e9
"""The maximum length of a job name, invocation ID or conclusion, and the maximum number of counts and of seconds."""


@dataclass(frozen=True)
class CycleReport:
    """The result of a job's cycle, without secret values.

    `conclusion` is `ok`, or the conclusion of an error with this `problem` and `hint`. `invocation_id` is the ID that
    systemd gave this run of the service. `ended` is the end of the cycle, and `next_login` is when the next login
    attempt is allowed. Both are ISO 8601 times in UTC, or empty. `seconds` is the duration.
    """

    job: str = ""
    invocation_id: str = ""
    ended: str = ""
    seconds: float = 0.0
    conclusion: str = OK
    problem: str = ""
    hint: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    generation: int = 0
    next_login: str = ""

    @property
    def failed(self) -> bool:
        return self.conclusion != OK

    @property
    def message(self) -> str:
        """The problem and the hint, or empty after a success."""
        return f"{self.problem} {self.hint}".strip()

    def with_error(self, error: InfisicalError, **others: Any) -> CycleReport:
        """Return a copy of the report with an error and with `others` ({field: value})."""
        return replace(self, conclusion=error.conclusion, problem=error.problem, hint=error.hint, **others)

    def as_result(self) -> dict[str, Any]:
        """Return the report as plain data, with `message` instead of `problem`."""
        result = {**asdict(self), "message": self.message}
        del result["problem"]
        return result


def read(path: str) -> CycleReport:
    """Return the report at `path`, or an empty report if the file is missing or damaged.

    Every field is checked, because the agent's unprivileged user writes the file and root reads it.
    """
    try:
        raw = files.read_regular(path, most=_LONGEST + 1)
        found = parse_json(raw) if len(raw) <= _LONGEST else None
    except (OSError, ValueError):
        return CycleReport()
    if not isinstance(found, dict):
        return CycleReport()
    known = {f.name: found[f.name] for f in fields(CycleReport) if f.name in found}
    return CycleReport(**known) if all(map(_is_valid, known, known.values())) else CycleReport()


def _is_valid(name: str, value: Any) -> bool:
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
    return name in ("problem", "hint") or len(value) <= _LONGEST_WORD


def _is_count(value: Any) -> bool:
    return is_whole(value) and 0 <= value < 1 << 64


def write(path: str, report: CycleReport) -> None:
    """Replace the report at `path`. Raises OSError.

    Root writes reports too, in a directory that belongs to the agent's user. A link in that directory must not redirect
    the write.
    """
    document = json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n"
    folder, name = os.path.split(os.path.abspath(path))
    owner = files.owner_of(path) or files.owner_of(folder)
    with files.open_directory(folder) as directory:
        files.write_atomic(name, document.encode("utf-8", "replace"), durable=False, owner=owner, directory=directory)
