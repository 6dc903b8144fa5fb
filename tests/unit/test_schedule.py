# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The intervals of jobs, and their notation in systemd timers."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import schedule
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError

MINUTES_A_DAY = 24 * 60
BASE = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
ANALYZE = shutil.which("systemd-analyze") or ""


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("1m", 1), ("15m", 15), ("60m", 60), ("1h", 60), ("120m", 120), ("6h", 360), ("24h", 1440), ("1d", 1440)],
)
def test_interval_can_be_in_minutes_hours_or_days(text: str, minutes: int) -> None:
    assert schedule.parse_interval(text) == minutes


def test_every_even_interval_is_accepted_and_formatted_unchanged() -> None:
    divide = [*(m for m in range(1, 61) if 60 % m == 0), *(60 * h for h in range(2, 25) if 24 % h == 0)]
    assert list(schedule.INTERVALS) == divide
    for minutes in divide:
        assert schedule.parse_interval(schedule.format_interval(minutes)) == minutes
        assert schedule.parse_interval(f"{minutes}m") == minutes


@pytest.mark.parametrize(
    "text", ["", "15", "90s", "1w", "m", "1.5h", "-5m", "15 m", " 15m", "15m\n", "1h30m", "\u0661m"]
)
def test_invalid_interval_error_shows_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"such as 15m, 6h or 1d") as refused:
        schedule.parse_interval(text)
    assert refused.value.option == "interval"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("0m", "Use 1m."), ("7m", "Use 6m or 10m."), ("45m", "Use 30m or 1h."), ("90m", "Use 1h or 2h."),
        ("5h", "Use 4h or 6h."), ("18h", "Use 12h or 1d."), ("2d", "Use 1d."), ("999999d", "Use 1d."),
    ],
)  # fmt: skip
def test_uneven_interval_error_suggests_the_nearest_intervals(text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(named)) as refused:
        schedule.parse_interval(text)
    assert refused.value.option == "interval"
    assert f"interval: {text} does not divide" in str(refused.value)


@pytest.mark.parametrize(
    ("minutes", "expression"),
    [
        (1, "*-*-* *:*:00 UTC"), (15, "*-*-* *:00/15:00 UTC"), (60, "*-*-* *:00:00 UTC"),
        (360, "*-*-* 00/6:00:00 UTC"), (1440, "*-*-* 00:00:00 UTC"),
    ],
)  # fmt: skip
def test_schedule_starts_at_the_hour_or_at_midnight(minutes: int, expression: str) -> None:
    assert schedule.render_calendar(minutes) == expression


def test_longest_random_delay_is_shorter_than_the_interval() -> None:
    assert [schedule.compute_delay(minutes) for minutes in (1, 15, 1440)] == [58, 898, 86398]


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("minutes", schedule.INTERVALS)
def test_systemd_starts_one_run_per_interval(minutes: int) -> None:
    number = MINUTES_A_DAY // minutes + 1
    command = [ANALYZE, "calendar", "--base-time", f"{BASE - datetime.timedelta(seconds=1):%Y-%m-%d %H:%M:%S} UTC"]
    said = subprocess.run(
        [*command, "--iterations", str(number), schedule.render_calendar(minutes)],
        capture_output=True,
        text=True,
        check=True,
        env={"TZ": "Europe/Berlin", "LC_ALL": "C"},
    ).stdout
    runs = [
        datetime.datetime.strptime(found, "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
        for found in re.findall(r"\(in UTC\): \w{3} ([0-9-]{10} [0-9:]{8}) UTC", said)
    ]
    assert runs == [BASE + datetime.timedelta(minutes=minutes * place) for place in range(number)]
