# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data of the page, without a browser: the states of secrets and hosts, and the summary."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import format_duration
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.documents import parse_graph
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_page
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_view import View, view
from page.graphs import INTERVAL, NOW, Graph, format_time, healthy, troubled, with_identities


def view_of(graph: Graph) -> View:
    return view(parse_graph(graph), NOW)


def texts(graph: Graph) -> list[str]:
    return fleet_page.headline(view_of(graph)).split("; ")


def counts(graph: Graph) -> Counter[str]:
    """Count the pairs of a host and a secret by state."""
    found: Counter[str] = Counter()
    for host in view_of(graph).hosts:
        found.update(host.counts)
    return found


def test_fleet_without_problems_is_up_to_date() -> None:
    assert texts(healthy()) == ["All 10 hosts are up to date: 12 secrets"]
    assert texts(healthy(1, 1)) == ["The only host is up to date: 1 secret"]
    shown = view_of(healthy())
    assert {one.state for one in [*shown.hosts, *shown.secrets]} == {"ok"}


def test_summary_reports_expiring_client_secrets_and_excess() -> None:
    found = texts(with_identities(healthy()))
    assert found == [
        "1 of 10 hosts has an expired client secret: web3",
        "1 of 10 hosts has a client secret that expires within 14 days: web2",
        "2 of 10 hosts are allowed more than their jobs need: web7, web8",
    ]


def test_summary_has_a_line_if_least_privilege_is_kept() -> None:
    graph = with_identities(healthy(6))
    for identity in graph["identities"]:
        identity["expires_at"] = None
    assert texts(graph) == ["All 6 hosts are up to date: 12 secrets", "Least privilege kept by 6 of 6 hosts"]
    graph["identities"][0].update(access=None)
    assert texts(graph)[-1] == "Least privilege kept by 5 of 6 hosts (1 not checked)"


def test_secrets_on_hosts_have_the_expected_states() -> None:
    assert counts(troubled()) == {"behind": 3, "missing": 1, "gone": 2, "stale": 22, "current": 84}


def test_version_newer_than_the_listed_version_is_unknown() -> None:
    graph = healthy(1, 1)
    graph["vaults"][0]["holds"][0][1] += 1
    assert counts(graph) == {"unknown": 1}
    [secret] = view_of(graph).secrets
    assert secret.state == "unknown"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "ok"),
        ({"last_sync": format_time(NOW - 2 * INTERVAL)}, "ok"),
        ({"last_sync": format_time(NOW - 2 * INTERVAL - 60)}, "stale"),
        ({"last_sync": None}, "never"),
        ({"conclusion": "locked_out"}, "failed"),
        ({"problem": "The key is not there."}, "failed"),
        ({"silent": True, "conclusion": "locked_out"}, "silent"),
        ({"interval_minutes": 0, "last_sync": format_time(1)}, "ok"),
    ],
)
def test_host_has_the_most_urgent_state_of_its_secrets(changes: dict[str, object], state: str) -> None:
    graph = healthy(1)
    graph["vaults"][0].update(changes)
    [host] = view_of(graph).hosts
    assert (host.state, host.jobs[0].state) == (state, state)


@pytest.mark.parametrize(
    ("scope", "missing"),
    [
        ({"secret_path": "/", "recursive": True}, 12),
        ({"secret_path": "/", "recursive": False}, 0),
        ({"secret_path": "/shop", "recursive": False}, 3),
        ({"secret_path": "/shop", "recursive": True}, 6),
        ({"secret_path": "/sho", "recursive": True}, 0),
        ({"environment": "dev"}, 0),
        ({"project_ids": []}, 0),
    ],
)
def test_secret_outside_a_jobs_scope_is_not_missing(scope: dict[str, object], missing: int) -> None:
    graph = healthy(1)
    graph["vaults"][0]["holds"] = []
    graph["vaults"][0]["scope"].update(scope)
    assert counts(graph)["missing"] == missing


def test_unused_secrets_and_unlisted_locations_are_reported() -> None:
    graph = healthy(2)
    for vault in graph["vaults"]:
        vault["holds"] = vault["holds"][:-1]
        vault["scope"]["recursive"] = False
    graph["sources"] = [
        {"project": "p", "environment": "e", "path": "/", "listed_at": format_time(1), "problem": "forbidden"}
    ]
    assert texts(graph)[-2:] == [
        "1 secret is on no host",
        "Infisical did not list everything, so more may be behind: forbidden (1 location)",
    ]
    assert [secret.name for secret in view_of(graph).secrets if secret.state == "unused"] == ["SESSION_KEY"]


def test_unlisted_version_is_not_shown_as_current() -> None:
    graph = healthy(2, 3)
    graph["secrets"][0]["updated_at"] = None
    assert counts(graph) == {"unknown": 2, "current": 4}
    assert texts(graph) == ["1 secret has a version unknown to Infisical"]


def test_unlisted_location_is_not_reported_as_up_to_date() -> None:
    graph = healthy()
    place = {"project": "project-0", "environment": "prod", "path": "/", "listed_at": format_time(1)}
    graph["sources"] = [{**place, "problem": "forbidden"}]
    assert texts(graph) == ["Infisical did not list everything, so more may be behind: forbidden (1 location)"]
    assert "up to date" not in fleet_page.page(view_of(graph))
    assert "up to date" in fleet_page.page(view_of(healthy()))


def test_contents_of_an_unreadable_vault_are_shown_as_stale() -> None:
    graph = healthy(1, 1)
    graph["vaults"][0]["problem"] = "The key is not there."
    assert counts(graph) == {"stale": 1}
    assert texts(graph) == ["1 of 1 host failed to sync (the vault cannot be opened): web1"]
    [secret] = view_of(graph).secrets
    assert secret.state == "stale"
    graph["vaults"][0].update(problem=None, silent=True)
    assert counts(graph) == {"stale": 1}


def test_text_from_a_host_is_not_part_of_the_summary() -> None:
    graph = healthy(1)
    graph["vaults"][0].update(conclusion="ok; All 1,000 hosts are up to date", message="\u202eNo.")
    assert texts(graph) == ["1 of 1 host failed to sync (unknown reason): web1"]
    [host] = view_of(graph).hosts
    assert host.jobs[0].problem == "unknown reason: \\u202eNo."


def test_unused_secret_summary_mentions_hosts_of_unknown_state() -> None:
    graph = healthy(2, 1)
    graph["vaults"][0].update(silent=True, holds=[], answered_at=None)
    graph["vaults"][1]["holds"] = []
    for vault in graph["vaults"]:
        vault["scope"]["environment"] = "other"
    assert texts(graph)[-1] == "1 secret is on no host, except perhaps 1 host with unknown content"


def test_summary_counts_secrets_if_there_are_more_than_three() -> None:
    graph = healthy(4, 6)
    for number in range(5):
        for vault in graph["vaults"][: number % 2 + 1]:
            vault["holds"][number][1] -= 1
    assert texts(graph)[-1] == "1 of 4 hosts is behind on 2 more secrets: web1"
    assert len([text for text in texts(graph) if "behind" in text]) == 4


def test_summary_shortens_more_than_three_reasons() -> None:
    graph = healthy(4)
    for vault, reason in zip(graph["vaults"], ("forbidden", "locked_out", "storage", "timeout")):
        vault["conclusion"] = reason
    assert texts(graph) == ["4 of 4 hosts failed to sync (forbidden, locked_out, storage, …)"]


def test_secrets_with_the_same_name_are_shown_with_location() -> None:
    graph = troubled()
    graph["secrets"].append({**graph["secrets"][0], "environment": "dev"})
    assert texts(graph)[0] == "3 of 10 hosts are behind on DB_PASSWORD (prod /shop) for 2 h: web1, web2, web3"


def test_hosts_without_a_job_are_reported() -> None:
    graph = healthy(2)
    graph["vaults"][1].update(job="", last_sync=None, conclusion="", message="The host has no job.", holds=[])
    graph["vaults"][1]["scope"]["project_ids"] = []
    assert texts(graph) == ["1 of 2 hosts has never synced (no job): web2"]
    host = view_of(graph).hosts[0]
    assert (host.name, host.state, host.jobs[0].problem) == ("web2", "never", "no job")


def test_headline_has_no_control_characters() -> None:
    graph = troubled()
    graph["secrets"][0]["name"] = "B\u009b31m\x1b[31m"
    assert "B\\x9b31m\\x1b[31m" in texts(graph)[0]


def test_host_that_never_responded_is_reported() -> None:
    graph = healthy(2)
    graph["vaults"][0].update(job="", silent=True, answered_at=None, last_sync=None, holds=[])
    graph["vaults"][0]["scope"]["project_ids"] = []
    assert texts(graph) == ["1 of 2 hosts did not respond: web1"]
    assert "web1" in fleet_page.page(view_of(graph))


def test_host_with_two_jobs_is_counted_once() -> None:
    graph = troubled()
    graph["vaults"].append({**graph["vaults"][0], "job": "other", "id": "web1/other"})
    assert texts(graph)[0] == "3 of 10 hosts are behind on DB_PASSWORD for 2 h: web1, web2, web3"


def test_names_that_look_alike_are_different_hosts() -> None:
    graph = healthy(2)
    for vault, name in zip(graph["vaults"], ("web\u202e", "web\\u202e")):
        vault.update(host=name, id=name)
    assert [host.name for host in view_of(graph).hosts] == ["web\\u202e"] * 2


def test_unknown_graph_keys_are_not_in_the_page() -> None:
    graph = troubled()
    canary = "canary-7c1f"
    for rows in ("services", "projects", "secrets", "vaults"):
        graph[rows][0].update(value=canary, hash=canary, fingerprint=canary)
    assert canary not in fleet_page.page(view_of(graph))


def test_same_graph_produces_the_same_page() -> None:
    graph = troubled(60, 40)
    again = json.loads(json.dumps(graph))
    assert fleet_page.page(view_of(graph)) == fleet_page.page(view_of(again))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_duration_is_shown_in_a_suitable_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
