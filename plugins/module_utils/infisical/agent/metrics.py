# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's metrics, for the textfile collector of Prometheus' node exporter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.times import parse_time

if TYPE_CHECKING:
    from .report import CycleReport


def metrics_file(directory: str, job: str) -> str:
    """Return the path of a job's metrics file."""
    return os.path.join(directory, f"infisical_sync_{job}.prom")


def render_metrics(report: CycleReport, head: Mapping[str, Any], secrets: int | None, generation: int) -> str:
    """Return a job's metrics from its report, the head of its state file, and its vault's number of secrets and
    generation.

    Unknown values are left out.
    """
    ended = report.ended
    metrics: dict[str, tuple[str, str, Any]] = {
        "last_success_timestamp_seconds": (
            "gauge", "Time of the last successful sync.", parse_time(str(head.get("last_sync")))
        ),
        "last_cycle_timestamp_seconds": ("gauge", "Time of the end of the last cycle.", parse_time(ended)),
        "last_cycle_failed": ("gauge", "Whether the last cycle failed.", int(report.failed) if ended else None),
        "last_error": ("gauge", "1 if the last cycle failed, labeled with the reason.", 1 if report.failed else None),
        "duration_seconds": ("gauge", "Duration of the last cycle.", report.seconds if ended else None),
        "secrets": ("gauge", "Number of entries in the vault.", secrets),
        "generation": ("gauge", "Number of the vault's generation. Each write increases it.", generation or None),
        "pulled_total": ("counter", "Number of secrets pulled.", head.get("pull_count")),
        "pushed_total": ("counter", "Number of secrets pushed.", head.get("push_count")),
    }  # fmt: skip
    lines = []
    for name, (kind, help_, number) in metrics.items():
        value = _format_number(number)
        if value:
            cause = f',conclusion="{_escape(report.conclusion)}"' if name == "last_error" else ""
            lines += [
                f"# HELP infisical_sync_{name} {help_}",
                f"# TYPE infisical_sync_{name} {kind}",
                f'infisical_sync_{name}{{sync_job="{_escape(report.job)}"{cause}}} {value}',
            ]
    return "".join(line + "\n" for line in lines)


def _format_number(value: Any) -> str:
    """Return a number as text, or an empty text if it is not a number: files that other users write may contain
    anything."""
    try:
        return f"{value:.15g}"
    except (TypeError, ValueError, OverflowError):
        return ""


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
