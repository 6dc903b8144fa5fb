# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page is made from: states of cells and vaults, the summary, and the drawn graph; no browser is needed."""

from __future__ import annotations

import json
import sys

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import MissingLibrary
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import parsed
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_page
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_drawing import MOST_NODES, drawing
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_view import (
    State,
    VaultState,
    duration,
    view,
)
from page.graphs import INTERVAL, NOW, format_time, healthy, troubled


def texts(graph: dict[str, object]) -> list[str]:
    return fleet_page.headline(view(parsed(graph), NOW)).split("; ")


def test_a_fleet_without_trouble_is_said_to_be_well() -> None:
    assert texts(healthy()) == ["All 10 hosts hold the current version of what belongs there: 12 secrets"]


def test_each_cell_has_the_state_that_fits() -> None:
    counts = view(parsed(troubled()), NOW).counts
    assert counts == {State.BEHIND: 3, State.MISSING: 1, State.GONE: 2, State.STALE: 22, State.CURRENT: 84}


def test_a_newer_version_than_the_server_told_is_not_known() -> None:
    graph = healthy(1, 1)
    graph["vaults"][0]["holds"][0][1] += 1
    assert view(parsed(graph), NOW).counts == {State.UNKNOWN: 1}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, VaultState.OK),
        ({"last_sync": format_time(NOW - 2 * INTERVAL)}, VaultState.OK),
        ({"last_sync": format_time(NOW - 2 * INTERVAL - 60)}, VaultState.STALE),
        ({"last_sync": None}, VaultState.NEVER),
        ({"conclusion": "locked_out"}, VaultState.FAILED),
        ({"problem": "The key is not there."}, VaultState.FAILED),
        ({"silent": True, "conclusion": "locked_out"}, VaultState.SILENT),
        ({"interval_minutes": 0, "last_sync": format_time(1)}, VaultState.OK),
    ],
)
def test_a_vault_has_the_state_that_matters_most(changes: dict[str, object], state: VaultState) -> None:
    graph = healthy(1)
    graph["vaults"][0].update(changes)
    assert view(parsed(graph), NOW).rows[0].state is state


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
def test_what_is_missing_is_in_the_job_s_scope(scope: dict[str, object], missing: int) -> None:
    graph = healthy(1)
    graph["vaults"][0]["holds"] = []
    graph["vaults"][0]["scope"].update(scope)
    assert view(parsed(graph), NOW).counts[State.MISSING] == missing


def test_secrets_on_no_host_and_places_that_could_not_be_asked_are_told() -> None:
    graph = healthy(2)
    for vault in graph["vaults"]:
        vault["holds"] = vault["holds"][:-1]
        vault["scope"]["recursive"] = False
    graph["sources"] = [
        {"project": "p", "environment": "e", "path": "/", "listed_at": format_time(1), "problem": "forbidden"}
    ]
    assert texts(graph)[-2:] == [
        "1 secret is on no host",
        "Infisical did not tell all, so that more may be behind: forbidden (1 place)",
    ]
    assert "SESSION_KEY" in [column.name for column in view(parsed(graph), NOW).unused]


def test_what_no_infisical_has_told_of_is_neither_current_nor_good_news() -> None:
    graph = healthy(2, 3)
    graph["secrets"][0]["updated_at"] = None
    assert view(parsed(graph), NOW).counts == {State.UNKNOWN: 2, State.CURRENT: 4}
    assert texts(graph) == [
        "Whether the version of 1 secret is current is not known: Infisical has told of no such version"
    ]


def test_what_infisical_did_not_tell_is_no_good_news() -> None:
    graph = healthy()
    place = {"project": "project-0", "environment": "prod", "path": "/", "listed_at": format_time(1)}
    graph["sources"] = [{**place, "problem": "forbidden"}]
    assert texts(graph) == ["Infisical did not tell all, so that more may be behind: forbidden (1 place)"]
    shown = fleet_page.page(view(parsed(graph), NOW))
    assert "every host holds what it should" not in shown
    assert "Nothing, as far as is known" in shown
    assert "every host holds what it should" in fleet_page.page(view(parsed(healthy()), NOW))


def test_what_a_vault_held_that_cannot_be_opened_is_stale() -> None:
    graph = healthy(1, 1)
    graph["vaults"][0]["problem"] = "The key is not there."
    assert view(parsed(graph), NOW).counts == {State.STALE: 1}
    assert texts(graph) == ["1 of 1 host fails to sync, the vault cannot be opened: web1"]
    graph["vaults"][0].update(problem=None, silent=True)
    assert view(parsed(graph), NOW).counts == {State.STALE: 1}


def test_what_a_host_calls_its_error_is_no_sentence_of_the_summary() -> None:
    graph = healthy(1)
    graph["vaults"][0].update(conclusion="ok; All 1,000 hosts hold the current version", message="\u202eNo.")
    assert texts(graph) == ["1 of 1 host fails to sync, for a reason of its own: web1"]
    [row] = view(parsed(graph), NOW).rows
    assert row.why.endswith(": \\u202eNo.")


def test_a_secret_on_no_host_may_be_on_one_of_which_nothing_is_known() -> None:
    graph = healthy(2, 1)
    graph["vaults"][0].update(silent=True, holds=[], answered_at=None)
    graph["vaults"][1]["holds"] = []
    graph["vaults"][1]["scope"]["environment"] = "other"
    assert texts(graph)[-1] == "1 secret is on no host but perhaps on 1 host of which nothing is known"


def test_beyond_three_secrets_the_summary_counts() -> None:
    graph = healthy(4, 6)
    for number in range(5):
        for vault in graph["vaults"][: number % 2 + 1]:
            vault["holds"][number][1] -= 1
    assert texts(graph)[-1] == "1 of 4 hosts is behind on 2 more secrets"
    assert len([text for text in texts(graph) if "behind" in text]) == 4


def test_a_host_without_a_job_says_why_there_is_nothing() -> None:
    graph = healthy(1)
    graph["vaults"][0].update(job="", last_sync=None, conclusion="", message="The host has no job.", holds=[])
    graph["vaults"][0]["scope"]["project_ids"] = []
    [row] = view(parsed(graph), NOW).rows
    assert (row.state, row.why) == (VaultState.NEVER, "The host has no job.")


def test_secrets_of_one_name_are_told_apart() -> None:
    graph = troubled()
    graph["secrets"].append({**graph["secrets"][0], "environment": "dev"})
    assert texts(graph)[0] == "3 of 10 hosts are behind on DB_PASSWORD (prod /shop) for 2 h: web1, web2, web3"


def test_hosts_without_a_job_are_told_of_as_such() -> None:
    graph = healthy(2)
    graph["vaults"][1].update(job="", last_sync=None, conclusion="", message="The host has no job.", holds=[])
    graph["vaults"][1]["scope"]["project_ids"] = []
    assert texts(graph) == ["1 of 2 hosts has no job: web2"]


def test_the_headline_holds_nothing_that_a_terminal_obeys() -> None:
    graph = troubled()
    graph["secrets"][0]["name"] = "B\u009b31m\x1b[31m"
    assert "B\\x9b31m\\x1b[31m" in texts(graph)[0]


def test_folders_that_a_host_has_made_up_do_not_hold_up_the_drawing() -> None:
    graph = healthy(30, 2000)
    for number, one in enumerate(graph["secrets"]):
        one["path"] = f"/{number}"
    assert drawing(view(parsed(graph), NOW)).grouped


def test_a_host_that_has_never_answered_is_told_of() -> None:
    graph = healthy(2)
    graph["vaults"][0].update(job="", silent=True, answered_at=None, last_sync=None, holds=[])
    graph["vaults"][0]["scope"]["project_ids"] = []
    assert texts(graph) == ["1 of 2 hosts did not answer: web1"]
    assert "web1" in fleet_page.page(view(parsed(graph), NOW))


def test_a_host_with_two_jobs_is_counted_once() -> None:
    graph = troubled()
    graph["vaults"].append({**graph["vaults"][0], "job": "other", "id": "web1/other"})
    assert texts(graph)[0] == "3 of 10 hosts are behind on DB_PASSWORD for 2 h: web1, web2, web3"


def test_what_the_graph_does_not_describe_stays_out_of_the_page() -> None:
    graph = troubled()
    canary = "canary-7c1f"
    for rows in ("services", "projects", "secrets", "vaults"):
        graph[rows][0].update(value=canary, hash=canary, fingerprint=canary)
    assert canary not in fleet_page.page(view(parsed(graph), NOW))


def test_the_same_graph_gives_the_same_page() -> None:
    graph = troubled(60, 40)
    again = json.loads(json.dumps(graph))
    assert fleet_page.page(view(parsed(graph), NOW)) == fleet_page.page(view(parsed(again), NOW))


def test_a_small_graph_is_drawn_whole_and_a_large_one_in_groups() -> None:
    small = drawing(view(parsed(troubled()), NOW))
    assert (len(small.nodes), small.grouped) == (1 + 1 + 12 + 10, False)
    for hosts, secrets in ((10, 100), (100, 12), (1000, 300)):
        large = drawing(view(parsed(troubled(hosts, secrets)), NOW))
        assert large.grouped
        for kind in ("service", "project", "secret", "vault"):
            assert 1 <= len([node for node in large.nodes if node.kind == kind]) <= MOST_NODES
        places = [(node.x, node.y) for node in large.nodes]
        assert len(set(places)) == len(places)


def test_what_belongs_to_one_project_stands_together() -> None:
    drawn = drawing(view(parsed(troubled(100, 60)), NOW))
    parents = {edge.target.title: edge.source.label for edge in drawn.edges if edge.source.kind == "project"}
    order = [parents[node.title] for node in drawn.nodes if node.kind == "secret"]
    assert len(order) == 16
    assert order == sorted(order)


def test_many_projects_folders_and_jobs_still_fit() -> None:
    graph = healthy(100, 100)
    for number, secret in enumerate(graph["secrets"]):
        secret.update(project=f"other-{number}", path=f"/{number}")
    for number, vault in enumerate(graph["vaults"]):
        vault.update(job=f"job-{number}")
    drawn = drawing(view(parsed(graph), NOW))
    labels = [node.label for node in drawn.nodes]
    assert {"77 more projects", "77 more folders", "77 more groups"} <= set(labels)


def test_without_igraph_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    for call in (fleet_page.require, lambda: fleet_page.page(view(parsed(healthy()), NOW))):
        with pytest.raises(MissingLibrary, match="python3-igraph"):
            call()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_durations_have_two_of_their_unit_at_least(seconds: float, text: str) -> None:
    assert duration(seconds) == text
