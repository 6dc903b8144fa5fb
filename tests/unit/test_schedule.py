# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When jobs run: intervals, their places in systemd's calendar and in a crontab, and how many hosts a limit bears."""

from __future__ import annotations

import datetime
import math
import re
import shutil
import subprocess
from collections import Counter

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import schedule
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError

MINUTES_A_DAY = 24 * 60
BASE = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
ANALYZE = shutil.which("systemd-analyze") or ""


def offsets(minutes: int) -> list[int]:
    """First, last and some between, in seconds."""
    last = minutes * 60 - 1
    return sorted({0, 7, min(59, last), min(60, last), last // 3, last - 60 if last > 60 else 0, last})


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("1m", 1), ("15m", 15), ("60m", 60), ("1h", 60), ("120m", 120), ("6h", 360), ("24h", 1440), ("1d", 1440)],
)
def test_an_interval_is_read_in_minutes_hours_or_days(text: str, minutes: int) -> None:
    assert schedule.interval_minutes(text) == minutes


def test_every_interval_that_divides_an_hour_or_a_day_in_hours_is_taken_and_written_back_the_same() -> None:
    divide = [*(m for m in range(1, 61) if 60 % m == 0), *(60 * h for h in range(2, 25) if 24 % h == 0)]
    assert list(schedule.INTERVALS) == divide
    for minutes in divide:
        assert schedule.interval_minutes(schedule.interval_text(minutes)) == minutes
        assert schedule.interval_minutes(f"{minutes}m") == minutes


@pytest.mark.parametrize(
    "text", ["", "15", "90s", "1w", "m", "1.5h", "-5m", "15 m", " 15m", "15m\n", "1h30m", "\u0661m"]
)
def test_what_is_no_interval_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"such as 15m, 6h or 1d") as refused:
        schedule.interval_minutes(text)
    assert refused.value.option == "interval"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("0m", "Take 1m."), ("7m", "Take 6m or 10m."), ("45m", "Take 30m or 1h."), ("90m", "Take 1h or 2h."),
        ("5h", "Take 4h or 6h."), ("18h", "Take 12h or 1d."), ("2d", "Take 1d."), ("999999d", "Take 1d."),
    ],
)  # fmt: skip
def test_an_interval_that_has_no_fixed_places_is_refused_and_its_neighbours_are_named(text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(named)) as refused:
        schedule.interval_minutes(text)
    assert refused.value.option == "interval"
    assert f"'{text}'" in str(refused.value)


@pytest.mark.parametrize(
    ("minutes", "expression"),
    [
        (1, "*-*-* *:*:00 UTC"), (15, "*-*-* *:00/15:00 UTC"), (60, "*-*-* *:00:00 UTC"),
        (360, "*-*-* 00/6:00:00 UTC"), (1440, "*-*-* 00:00:00 UTC"),
    ],
)  # fmt: skip
def test_a_calendar_starts_at_the_hour_or_at_midnight(minutes: int, expression: str) -> None:
    assert schedule.calendar(minutes) == expression


def test_the_longest_delay_leaves_time_to_start_within_the_interval() -> None:
    assert [schedule.longest_delay(minutes) for minutes in (1, 15, 1440)] == [58, 898, 86398]


def test_a_shifted_calendar_has_the_offset_in_it() -> None:
    assert schedule.shifted_calendar(1, 59) == "*-*-* *:*:59 UTC"
    assert schedule.shifted_calendar(15, 14 * 60 + 59) == "*-*-* *:14/15:59 UTC"
    assert schedule.shifted_calendar(60, 61) == "*-*-* *:01:01 UTC"
    assert schedule.shifted_calendar(360, 5 * 3600 + 7 * 60 + 8) == "*-*-* 05/6:07:08 UTC"
    assert schedule.shifted_calendar(1440, 86399) == "*-*-* 23:59:59 UTC"


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("minutes", schedule.INTERVALS)
def test_systemd_reads_a_calendar_as_one_run_an_interval_at_the_offset(minutes: int) -> None:
    expressions = [schedule.shifted_calendar(minutes, offset) for offset in offsets(minutes)]
    number = MINUTES_A_DAY // minutes + 1
    command = [ANALYZE, "calendar", "--base-time", f"{BASE - datetime.timedelta(seconds=1):%Y-%m-%d %H:%M:%S} UTC"]
    said = subprocess.run(
        [*command, "--iterations", str(number), *expressions],
        capture_output=True,
        text=True,
        check=True,
        env={"TZ": "Europe/Berlin", "LC_ALL": "C"},
    ).stdout
    runs = [
        datetime.datetime.strptime(found, "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
        for found in re.findall(r"\(in UTC\): \w{3} ([0-9-]{10} [0-9:]{8}) UTC", said)
    ]
    wanted = [
        BASE + datetime.timedelta(minutes=minutes * place, seconds=offset)
        for offset in offsets(minutes)
        for place in range(number)
    ]
    assert runs == wanted


def due(field: str, span: int) -> set[int]:
    """What a field of a crontab's line stands for (crontab(5)), with `span` the numbers that it may have."""
    if field == "*":
        return set(range(span))
    found = re.fullmatch(r"(\d+)(?:-(\d+)/(\d+))?", field)
    assert found
    first = int(found[1])
    last, step = (int(found[2]), int(found[3])) if found[2] else (first, 1)
    assert first <= last < span
    return set(range(first, last + 1, step))


@pytest.mark.parametrize("minutes", schedule.INTERVALS)
def test_cron_starts_one_run_an_interval_in_the_minute_of_the_offset(minutes: int) -> None:
    for offset in offsets(minutes):
        minute, hour, *rest = schedule.cron(minutes, offset).split(" ")
        assert rest == ["*", "*", "*"]
        started = sorted(60 * h + m for h in due(hour, 24) for m in due(minute, 60))
        assert started == list(range(offset // 60, MINUTES_A_DAY, minutes))


@pytest.mark.parametrize("offset", [-1, 900])
def test_an_offset_outside_the_interval_is_refused(offset: int) -> None:
    for make in (schedule.shifted_calendar, schedule.cron):
        with pytest.raises(ConfigurationError, match="do not lie within 15m"):
            make(15, offset)


def test_an_interval_that_is_not_taken_gets_no_place_anywhere() -> None:
    for make in (schedule.shifted_calendar, schedule.cron, lambda minutes, _offset: schedule.calendar(minutes)):
        with pytest.raises(ConfigurationError, match="Take 6m or 10m"):
            make(7, 0)


def test_an_offset_is_the_same_each_time_and_another_for_each_host_and_job() -> None:
    assert schedule.offset("a" * 32, "default", 15) == schedule.offset("a" * 32, "default", 15) == 303
    assert len({schedule.offset(host, job, 1440) for host in ("a", "b", "ab") for job in ("a", "b", "")}) == 9


@pytest.mark.parametrize("minutes", [1, 15, 60, 1440])
def test_offsets_are_spread_evenly_over_the_interval(minutes: int) -> None:
    hosts, parts = 6000, 60
    found = [schedule.offset(f"{host:032x}", "job", minutes) for host in range(hosts)]
    assert min(found) >= 0
    assert max(found) < minutes * 60
    counts = Counter(offset * parts // (minutes * 60) for offset in found)
    # Chi-square with 59 degrees of freedom: above 110 once in twenty thousand.
    assert sum((counts[part] - hosts / parts) ** 2 / (hosts / parts) for part in range(parts)) < 110


LIMITS = (1, 7, 40, 60, 120, 200, 600, 1200, 12000)
REQUESTS = (1, 2, 3, 5, 10, 41)


def test_a_fleet_never_uses_more_than_three_fifths_of_a_limit_on_average() -> None:
    for limit in LIMITS:
        for requests in REQUESTS:
            assert 0 <= schedule.bearable(limit, requests) <= limit * 3 / 5


def test_where_chance_evens_out_the_whole_share_is_used_and_where_it_does_not_less() -> None:
    assert schedule.bearable(120, 1) == 72.0
    assert schedule.bearable(1200, 10) == 720.0
    shares = [schedule.bearable(limit, 1) / limit for limit in (10, 20, 40, 60, 120)]
    assert shares == sorted(shares)
    assert shares[2] < 0.4
    bursts = [schedule.bearable(120, requests) for requests in REQUESTS]
    assert bursts == sorted(bursts, reverse=True)


def test_at_the_bearable_average_a_minute_exceeds_the_limit_once_in_ten_million() -> None:
    for limit, requests in ((40, 1), (60, 3), (120, 5), (1200, 41)):
        average = schedule.bearable(limit, requests) / requests
        at_most = math.fsum(
            math.exp(n * math.log(average) - average - math.lgamma(n + 1)) for n in range(limit // requests + 1)
        )
        assert 1 - at_most == pytest.approx(1e-7, rel=1e-3)


def test_a_host_that_exceeds_the_limit_by_itself_is_never_borne() -> None:
    assert schedule.bearable(10, 11) == 0
    assert schedule.shortest_interval(1, 11, 10) is None
    assert schedule.shortest_interval(0, 11, 10) == 1


def test_few_hosts_that_may_all_be_due_at_once_are_borne() -> None:
    assert schedule.most_hosts(40, 10, 15) == 4
    # But not more than three fifths on average: each of them is due in every minute.
    assert schedule.most_hosts(40, 10, 1) == 2


def test_no_limit_bears_every_fleet_at_every_interval() -> None:
    assert schedule.bearable(0, 5) == math.inf
    assert schedule.most_hosts(0, 5, 1) is None
    assert schedule.shortest_interval(1_000_000, 5, 0) == 1
    schedule.check_load(1_000_000, 5, 1, 0)


def test_the_shortest_interval_is_the_first_that_passes_the_check() -> None:
    for hosts in (0, 1, 4, 5, 30, 100, 1000, 20_000, 10**6):
        for limit in LIMITS:
            for requests in REQUESTS:
                passing = []
                for minutes in schedule.INTERVALS:
                    try:
                        schedule.check_load(hosts, requests, minutes, limit)
                        passing.append(minutes)
                    except ConfigurationError as error:
                        assert error.option == "interval"
                # And what is longer passes too.
                shortest = schedule.shortest_interval(hosts, requests, limit)
                assert passing == [m for m in schedule.INTERVALS if shortest is not None and m >= shortest]


def test_a_thousand_hosts_every_quarter_of_an_hour_are_borne_by_120_requests_a_minute() -> None:
    schedule.check_load(1000, 1, 15, 120)
    assert schedule.shortest_interval(1000, 1, 120) == 15


def test_a_load_that_is_too_much_is_refused_with_the_interval_that_would_do() -> None:
    with pytest.raises(ConfigurationError) as refused:
        schedule.check_load(1000, 2, 15, 120)
    assert str(refused.value) == (
        "interval: 1000 hosts with 2 requests each every 15m are too many for a rate_limit of 120 requests a minute, "
        "which bears 429 hosts then. Set interval to 1h or longer, or raise rate_limit here and at the server."
    )


def test_a_load_that_no_interval_bears_is_refused_with_what_else_would_help() -> None:
    with pytest.raises(ConfigurationError, match=r"No interval would do: once a day, it bears 22833\.") as refused:
        schedule.check_load(50_000, 1, 15, 40)
    assert refused.value.option == "interval"
    assert "several addresses" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "arguments"), [("hosts", (-1, 1, 1)), ("requests", (1, 0, 1)), ("rate_limit", (1, 1, -1))]
)
def test_numbers_that_make_no_sense_are_refused_by_name(name: str, arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        schedule.shortest_interval(*arguments)
    assert refused.value.option == name
