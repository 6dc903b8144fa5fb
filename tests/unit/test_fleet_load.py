# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rate limit sees of random fleets, with systemd's own delays; and that the manual's table says the same."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import schedule
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from bench import fleet_load

MANUAL = Path(__file__).parents[2] / "docs/docsite/rst/guide_load.rst"
KEY = bytes(range(16))


def test_siphash_gives_its_authors_vectors_for_each_of_many_heads() -> None:
    head = bytes(range(16))
    # Of the reference's vectors_sip64, those for the first 16 and 63 of the bytes 0, 1, 2 …
    for length, number in ((16, 0x3F2ACC7F57C29BDB), (63, 0x958A324CEB064572)):
        assert fleet_load.siphash(KEY, [head], bytes(range(16, length))) == [number]
    heads = [bytes([n]) * 16 for n in range(5)]
    each = [fleet_load.siphash(KEY, [one], b"tail")[0] for one in heads]
    assert fleet_load.siphash(KEY, heads, b"tail") == each
    assert len(set(each)) == 5


@pytest.mark.parametrize(
    ("machine_id", "unit", "minutes", "microseconds"),
    [
        # NextElapseUSecRealtime of timers with OnCalendar=, RandomizedDelaySec= and FixedRandomDelay=: Debian 12 …
        ("f56b9e4d181548bab50e6bce2a3e5887", "infisical-sync@f.timer", 1, 1795699175215070),
        ("f56b9e4d181548bab50e6bce2a3e5887", "infisical-sync@default.timer", 15, 1795700624496190),
        ("f56b9e4d181548bab50e6bce2a3e5887", "infisical-sync@a\\x2db.timer", 30, 1795701086204868),
        ("f56b9e4d181548bab50e6bce2a3e5887", "infisical-sync@e.timer", 1440, 1795760990382056),
        # … (systemd 252) and Debian 13 (systemd 257).
        ("bdbc17fd46cf433d88b6e41bd974c8c2", "infisical-sync@f.timer", 1, 1795699154661644),
        ("bdbc17fd46cf433d88b6e41bd974c8c2", "infisical-sync@default.timer", 15, 1795700036815807),
        ("bdbc17fd46cf433d88b6e41bd974c8c2", "infisical-sync@a\\x2db.timer", 30, 1795701293668226),
        ("bdbc17fd46cf433d88b6e41bd974c8c2", "infisical-sync@e.timer", 1440, 1795810792471583),
    ],
)
def test_a_delay_is_the_one_that_systemd_gave_on_real_hosts(
    machine_id: str, unit: str, minutes: int, microseconds: int
) -> None:
    delay = microseconds % (minutes * 60 * 10**6) / 10**6
    assert fleet_load.delays([bytes.fromhex(machine_id)], minutes, unit) == [delay]


def test_delays_are_spread_evenly_over_the_interval() -> None:
    hosts, parts = 6000, 60
    found = fleet_load.random_fleet(random.Random(1), hosts, 15, 1).delays
    counts = Counter(int(delay * parts / 900) for delay in found)
    # Chi-square with 59 degrees of freedom: above 110 once in twenty thousand.
    assert sum((counts[part] - hosts / parts) ** 2 / (hosts / parts) for part in range(parts)) < 110


def test_a_sliding_window_refuses_what_exceeds_the_limit_within_any_minute() -> None:
    refused = fleet_load.refused_by_sliding_window
    assert refused([0.0, 59.0, 59.5], 1, 3) == 0
    assert refused([0.0, 59.0, 59.5], 1, 2) == 1
    assert refused([0.0, 59.0, 60.0], 1, 2) == 0
    assert refused([0.0, 59.0], 2, 3) == 1
    assert refused([0.0, 90.0], 4, 3) == 2
    assert refused([], 1, 1) == 0


def test_a_fixed_window_starts_with_the_first_request_after_the_last_one() -> None:
    refused = fleet_load.refused_by_fixed_window
    assert refused([0.0, 59.0, 59.5], 1, 2) == 1
    assert refused([0.0, 59.0, 60.0, 61.0], 1, 2) == 0
    assert refused([0.0, 70.0, 100.0, 129.0, 130.0, 131.0], 1, 2) == 1
    assert refused([], 1, 1) == 0


@pytest.mark.parametrize("hosts", [1000, schedule.most_hosts(120, 1, 15) or 0])
def test_no_host_of_the_fleets_that_are_taken_gets_a_429(hosts: int) -> None:
    assert hosts in (1000, 1080)
    outcome = fleet_load.simulate(hosts, 1, 15, 120, fleets=40, seed=4)
    assert outcome.refused_cycles == 0
    assert outcome.cycles == 40 * hosts * 4


@pytest.mark.parametrize(("limit", "requests", "minutes"), [(40, 1, 15), (40, 5, 60), (60, 2, 30), (120, 10, 5)])
def test_nor_does_one_where_small_numbers_make_bursts_likely(limit: int, requests: int, minutes: int) -> None:
    hosts = schedule.most_hosts(limit, requests, minutes) or 0
    assert fleet_load.simulate(hosts, requests, minutes, limit, fleets=60, seed=4).refused_cycles == 0
    # Three fifths of the limit would be too much here.
    hosts = limit * minutes * schedule.HIGHEST_PERCENT // (100 * requests)
    assert fleet_load.simulate(hosts, requests, minutes, limit, fleets=60, seed=4).refused_fleets > 0


def test_fleets_that_use_the_whole_limit_get_a_429_each() -> None:
    outcome = fleet_load.simulate(1800, 1, 15, 120, fleets=10, seed=4)
    assert outcome.refused_fleets == 10


@pytest.mark.parametrize(("percent", "excess"), [(80, 1.0), (100, 1e-3)])
def test_a_looser_rule_would_be_noticed(monkeypatch: pytest.MonkeyPatch, percent: int, excess: float) -> None:
    monkeypatch.setattr(schedule, "HIGHEST_PERCENT", percent)
    monkeypatch.setattr(schedule, "EXCESS", excess)
    hosts = schedule.most_hosts(120, 1, 15) or 0
    assert fleet_load.simulate(hosts, 1, 15, 120, fleets=40, seed=4).refused_fleets > 0


def test_the_table_in_the_manual_is_what_the_command_prints() -> None:
    assert fleet_load.table() in MANUAL.read_text("utf-8")


def test_the_table_ends_where_the_library_begins_to_refuse() -> None:
    for limit, requests, hosts in fleet_load.rows():
        for minutes, most in zip(fleet_load.INTERVALS, hosts):
            schedule.check_load(most, requests, minutes, limit)
            shortest = schedule.shortest_interval(most, requests, limit)
            assert shortest is not None
            assert shortest <= minutes
            with pytest.raises(ConfigurationError):
                schedule.check_load(most + 1, requests, minutes, limit)
            longer = schedule.shortest_interval(most + 1, requests, limit)
            assert longer is None or longer > minutes
