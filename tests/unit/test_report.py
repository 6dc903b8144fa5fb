# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a cycle: its file, missing and damaged files, and the metrics."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import metrics, report
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.report import CycleReport
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import times

GOOD = CycleReport("shop", "a" * 32, "2026-01-15T10:30:00Z", 1.25, counts={"created": 2, "unchanged": 10}, generation=7)
BAD = CycleReport("shop", "b" * 32, "2026-01-15T10:45:00Z", 31.5, "unreachable", "No response.", next_login="")


def test_report_is_private_and_read_back_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    report.write(str(path), GOOD)
    assert report.read(str(path)) == GOOD
    assert path.stat().st_mode & 0o777 == 0o600


def test_missing_report_is_read_as_empty(tmp_path: Path) -> None:
    assert report.read(str(tmp_path / "none")) == report.read("") == report.read(str(tmp_path)) == CycleReport()


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "7", '"x"', "[" * 100_000, '{"seconds": "long"}', '{"seconds": []}', '{"counts": 7}',
        '{"counts": {"updated": "many"}}', '{"counts": {"updated": Infinity}}', '{"generation": Infinity}',
        '{"generation": {}}', '{"ended": "2026"}' + " " * (1 << 20), "\xff",
    ],
)  # fmt: skip
def test_damaged_report_is_read_as_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(text.encode("latin-1"))
    assert report.read(str(path)) == CycleReport()


@pytest.mark.parametrize(
    "field",
    [
        {"job": ["x"]}, {"job": "x" * 256}, {"ended": 7}, {"ended": "today"}, {"next_login": "soon"}, {"seconds": True},
        {"seconds": -1}, {"seconds": 1e300}, {"seconds": float("nan")}, {"counts": {"a": "3"}}, {"counts": {"a": True}},
        {"counts": {str(n): n for n in range(21)}}, {"counts": [["a", 3]]}, {"generation": "4"}, {"generation": -1},
        {"generation": 1 << 64}, {"conclusion": None}, {"problem": 5}, {"problem": "\ud800"}, {"hint": "\udcff"},
    ],
    ids=lambda field: str(field)[:40].encode("ascii", "backslashreplace").decode(),
)  # fmt: skip
def test_report_with_an_invalid_field_is_read_as_empty(tmp_path: Path, field: dict[str, Any]) -> None:
    path = tmp_path / "result.json"
    whole = {"job": "shop", "ended": GOOD.ended, "nobody": "knows"}
    path.write_text(json.dumps(whole))
    assert report.read(str(path)) == CycleReport("shop", ended=GOOD.ended)
    path.write_text(json.dumps({**whole, **field}))
    assert report.read(str(path)) == CycleReport()


def test_report_with_a_duplicate_field_is_read_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('{"job": "a", "job": "b"}')
    assert report.read(str(path)) == CycleReport()


def test_report_with_invalid_unicode_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    report.write(str(path), CycleReport("shop", problem="No \udcff."))
    assert report.read(str(path)).message == "No ?."


def test_report_that_is_a_symbolic_link_is_not_read(tmp_path: Path) -> None:
    report.write(str(tmp_path / "real"), GOOD)
    os.symlink(tmp_path / "real", tmp_path / "result.json")
    assert report.read(str(tmp_path / "result.json")) == CycleReport()


def test_report_is_not_written_through_a_linked_directory(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(OSError):
        report.write(str(tmp_path / "link" / "result.json"), GOOD)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.root
def test_report_written_by_root_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    os.chown(tmp_path, 65534, 65534)
    for each in (GOOD, BAD):
        report.write(str(path), each)
        assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (65534, 65534, 0o600)


def test_report_times_are_read_back_unchanged() -> None:
    assert times.format_time(1_800_000_000.9) == "2027-01-15T08:00:00Z"
    assert times.parse_time("2027-01-15T08:00:00Z") == 1_800_000_000
    for text in ("", "yesterday", "2027-01-15", "2027-13-15T08:00:00Z"):
        assert times.parse_time(text) is None


def test_metrics_after_a_success_contain_times_and_counts() -> None:
    head = {"last_sync": GOOD.ended, "pull_count": 47, "push_count": 12}
    assert (
        metrics.render_metrics(GOOD, head, 12, 7)
        == """\
# HELP infisical_sync_last_success_timestamp_seconds Time of the last successful sync.
# TYPE infisical_sync_last_success_timestamp_seconds gauge
infisical_sync_last_success_timestamp_seconds{sync_job="shop"} 1768473000
# HELP infisical_sync_last_cycle_timestamp_seconds Time of the end of the last cycle.
# TYPE infisical_sync_last_cycle_timestamp_seconds gauge
infisical_sync_last_cycle_timestamp_seconds{sync_job="shop"} 1768473000
# HELP infisical_sync_last_cycle_failed Whether the last cycle failed.
# TYPE infisical_sync_last_cycle_failed gauge
infisical_sync_last_cycle_failed{sync_job="shop"} 0
# HELP infisical_sync_duration_seconds Duration of the last cycle.
# TYPE infisical_sync_duration_seconds gauge
infisical_sync_duration_seconds{sync_job="shop"} 1.25
# HELP infisical_sync_secrets Number of entries in the vault.
# TYPE infisical_sync_secrets gauge
infisical_sync_secrets{sync_job="shop"} 12
# HELP infisical_sync_generation Number of the vault's generation. Each write increases it.
# TYPE infisical_sync_generation gauge
infisical_sync_generation{sync_job="shop"} 7
# HELP infisical_sync_pulled_total Number of secrets pulled.
# TYPE infisical_sync_pulled_total counter
infisical_sync_pulled_total{sync_job="shop"} 47
# HELP infisical_sync_pushed_total Number of secrets pushed.
# TYPE infisical_sync_pushed_total counter
infisical_sync_pushed_total{sync_job="shop"} 12
"""
    )


def values(text: str) -> dict[str, str]:
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))  # type: ignore[arg-type]


def test_metrics_after_a_failure_contain_its_conclusion() -> None:
    found = values(metrics.render_metrics(BAD, {"last_sync": GOOD.ended}, None, 0))
    assert found == {
        'infisical_sync_last_success_timestamp_seconds{sync_job="shop"}': "1768473000",
        'infisical_sync_last_cycle_timestamp_seconds{sync_job="shop"}': "1768473900",
        'infisical_sync_last_cycle_failed{sync_job="shop"}': "1",
        'infisical_sync_last_error{sync_job="shop",conclusion="unreachable"}': "1",
        'infisical_sync_duration_seconds{sync_job="shop"}': "31.5",
    }


def test_metrics_before_the_first_cycle_omit_unknown_values() -> None:
    assert metrics.render_metrics(CycleReport(job="shop"), {}, None, 0) == ""
    assert values(metrics.render_metrics(CycleReport(job="shop"), {"pull_count": 0}, 0, 1)) == {
        'infisical_sync_secrets{sync_job="shop"}': "0",
        'infisical_sync_generation{sync_job="shop"}': "1",
        'infisical_sync_pulled_total{sync_job="shop"}': "0",
    }


def test_manipulated_report_cannot_add_lines_to_the_metrics() -> None:
    hostile = CycleReport(
        job='a"} 1\nb{c="\\', ended="x", conclusion='e"\ninfisical_sync_secrets 99\\', seconds=float("inf")
    )
    head = {"last_sync": [], "pull_count": "1\n2", "push_count": 10**400}
    lines = metrics.render_metrics(hostile, head, 3, 4).splitlines()
    assert all(
        line.startswith(("# HELP infisical_sync_", "# TYPE infisical_sync_", "infisical_sync_")) for line in lines
    )
    assert not any(line.startswith("infisical_sync_secrets 99") for line in lines)
    assert 'infisical_sync_secrets{sync_job="a\\"} 1\\nb{c=\\"\\\\"} 3' in lines
    assert not any("pulled" in line or "pushed" in line for line in lines)
