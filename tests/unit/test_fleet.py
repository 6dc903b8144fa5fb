# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata graph: what hosts and servers tell becomes one document, however often and in whichever order."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    Graph,
    Listed,
    ListedSecret,
    Place,
    Project,
)

URL = "https://infisical.example.com"
BEFORE, NOW = "2026-01-14T10:00:00Z", "2026-01-15T10:00:00Z"
ROOT, SHOP = Place("p1", "prod", "/"), Place("p1", "prod", "/shop")
SYNCED = "2026-01-15T09:50:00Z"


def job(**more: Any) -> dict[str, Any]:
    """What a host tells of a job."""
    return {
        "job": "shop", "service": URL, "project_ids": ["p1"], "environment": "prod", "secret_path": "/shop",
        "recursive": False, "key_format": "{key}", "normalize_names": False, "interval_minutes": 15,
        "last_sync": SYNCED, "ended": SYNCED, "conclusion": "ok", "message": "", "generation": 7, "problem": None,
        "files": [{"path": "/run/shop/env", "format": "dotenv", "owner": "shop", "names": ["DB_*"]}],
        "places": [["p1", "prod", "/shop"]],
        "secrets": [["DB_PASSWORD", 0, None, 3, SYNCED, "id-1"], ["API", 0, "api-key", 1, SYNCED, "id-2"]],
        **more,
    }  # fmt: skip


def metadata(*jobs: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": fleet.METADATA_SCHEMA, "version": 1, "host": "web", "time": NOW, "agent": "0.3.0", "jobs": list(jobs)
    }  # fmt: skip


def told(*jobs: dict[str, Any], time: str = NOW) -> fleet.HostAnswer:
    return fleet.parsed_answer(metadata(*(jobs or (job(),))), time)


def listed(*rows: tuple[Any, ...], **more: Any) -> Listed:
    return Listed(**{"place": ROOT, "secrets": [ListedSecret(*row) for row in rows], **more})


ON_SERVER = (
    ("/shop", "DB_PASSWORD", 4, "2026-01-15T08:00:00.123Z", "id-1"),
    ("/shop", "api-key", 1, "2026-01-01T00:00:00Z", "id-2"),
    ("/other", "UNUSED", 1, "2026-01-01T00:00:00Z", "id-3"),
)


def asked(graph: Graph, *listings: Listed, time: str = NOW) -> Graph:
    return fleet.with_server(graph, URL, [Project("p1", "Shop", "shop", "")], listings or [listed(*ON_SERVER)], time)


@pytest.fixture
def graph() -> Graph:
    return asked(fleet.with_hosts(Graph(), {"web1": told(), "web2": told()}, NOW))


def secret(graph: Graph, name: str) -> fleet.KnownSecret:
    return next(one for one in graph.secrets.values() if one.name == name)


def test_a_graph_is_the_same_after_it_was_written_and_read(graph: Graph) -> None:
    document = json.loads(json.dumps(fleet.document(graph)))
    assert fleet.parsed(document) == graph
    assert fleet.document(fleet.parsed(document)) == document


def test_the_document_is_as_the_manual_describes_it(graph: Graph) -> None:
    document = fleet.document(graph)
    assert document["services"] == [{"id": URL}]
    assert document["projects"] == [{"id": "p1", "name": "Shop", "slug": "shop", "service": URL}]
    assert document["secrets"][1] == {
        "id": "p1/prod/shop/DB_PASSWORD", "project": "p1", "environment": "prod", "path": "/shop",
        "name": "DB_PASSWORD", "version": 4, "updated_at": "2026-01-15T08:00:00Z", "gone": False,
        "infisical_id": "id-1",
    }  # fmt: skip
    vault = document["vaults"][0]
    assert (vault["id"], vault["agent"], vault["answered_at"], vault["silent"]) == ("web1/shop", "0.3.0", NOW, False)
    # The name in the vault stands there where it is another one.
    assert vault["holds"] == [[1, 3, SYNCED], [2, 1, SYNCED, "API"]]


def test_the_host_is_the_inventorys_and_not_what_it_calls_itself(graph: Graph) -> None:
    assert {vault.host for vault in graph.vaults.values()} == {"web1", "web2"}


def test_merging_again_changes_nothing(graph: Graph) -> None:
    again = asked(fleet.with_hosts(graph, {"web1": told(), "web2": told()}, NOW))
    assert fleet.document(again) == fleet.document(graph)
    later = asked(fleet.with_hosts(graph, {"web2": told(time="x"), "web1": told(time="x")}, "x"), time="x")
    assert fleet.same_facts(graph, later)
    assert fleet.document(later) != fleet.document(graph)


def test_one_new_version_is_no_longer_the_same(graph: Graph) -> None:
    changed = asked(graph, listed(("/shop", "DB_PASSWORD", 5, NOW, "id-1"), *ON_SERVER[1:]))
    assert not fleet.same_facts(graph, changed)
    assert not fleet.same_facts(graph, asked(graph, Listed(ROOT, problem="forbidden")))
    assert not fleet.same_facts(graph, fleet.with_hosts(graph, {"web1": None}, NOW))


def test_what_the_server_has_told_counts_more_than_what_a_host_says(graph: Graph) -> None:
    claimed = told(job(secrets=[["DB_PASSWORD", 0, None, 99, SYNCED, "mine"]]))
    assert fleet.with_hosts(graph, {"web1": claimed}, NOW).secrets == {**graph.secrets}


def test_the_order_in_which_hosts_answer_makes_no_difference() -> None:
    other = told(job(places=[["p1", "prod", "/shop/"]], project_ids=["p1", "p1"]))
    one = fleet.with_hosts(Graph(), {"web1": told(), "evil": other}, NOW)
    two = fleet.with_hosts(Graph(), {"evil": other, "web1": told()}, NOW)
    assert json.dumps(fleet.document(one)) == json.dumps(fleet.document(two))
    # Another spelling of a folder is the same folder.
    assert {place.path for place in (secret.place for secret in one.secrets.values())} == {"/shop"}
    assert one.vaults["evil/shop"].scope.project_ids == ("p1",)


def test_what_nobody_asks_for_any_more_is_forgotten(graph: Graph) -> None:
    elsewhere = told(job(project_ids=["p2"], places=[], secrets=[]))
    after = fleet.with_hosts(graph, {"web1": elsewhere, "web2": elsewhere}, NOW)
    assert (list(after.secrets), list(after.sources), list(after.projects)) == ([], [], ["p2"])


def test_the_clock_of_a_host_that_is_ahead_is_put_right() -> None:
    ahead = {**metadata(job()), "time": "2026-01-15T13:00:00Z"}
    [vault] = fleet.parsed_answer(ahead, "2026-01-15T10:00:00Z").vaults
    assert (vault.last_sync, vault.ended) == ("2026-01-15T06:50:00Z", "2026-01-15T06:50:00Z")
    assert {hold.synced_at for hold in vault.holds} == {"2026-01-15T06:50:00Z"}
    [behind] = fleet.parsed_answer({**ahead, "time": "2026-01-15T09:55:00Z"}, "2026-01-15T10:00:00Z").vaults
    assert behind.last_sync == SYNCED


def test_time_of_the_environment_check_is_kept_and_optional() -> None:
    [vault] = told(job(environment_checked=SYNCED)).vaults
    assert vault.environment_checked == SYNCED
    [vault] = told(job()).vaults
    assert vault.environment_checked is None


def test_a_sync_that_is_yet_to_come_is_of_a_clock_that_was_wrong() -> None:
    [vault] = told(job(last_sync="2031-01-01T00:00:00Z")).vaults
    assert vault.last_sync is None


def test_what_a_host_says_for_people_holds_nothing_that_a_terminal_obeys() -> None:
    [vault] = told(job(message="\x1b[31m\u009b31m\u202e", problem="a\nb")).vaults
    assert (vault.message, vault.problem) == ("\\x1b[31m\\x9b31m\\u202e", "a\\nb")


@pytest.mark.parametrize("time", ["", "garbage", "99999-01-01T00:00:00Z", "1969-12-31T00:00:00Z"])
def test_a_time_of_the_last_sync_that_is_none_is_none(time: str) -> None:
    [vault] = told(job(last_sync=time)).vaults
    assert vault.last_sync is None


def test_a_long_message_is_cut() -> None:
    [vault] = told(job(message="x" * 10_000, problem="y" * 10_000)).vaults
    assert (len(vault.message), len(str(vault.problem))) == (fleet.LONGEST + 1, fleet.LONGEST + 1)


def test_a_secret_that_was_made_anew_is_known_by_its_id_after_the_graph_was_kept(graph: Graph) -> None:
    anew = asked(graph, listed(("/shop", "DB_PASSWORD", 3, NOW, "id-9"), *ON_SERVER[1:]))
    again = fleet.parsed(json.loads(json.dumps(fleet.document(anew))))
    assert again == anew
    assert fleet.document(anew)["vaults"][0]["holds"][0] == [1, 3, SYNCED, None, "id-1"]
    assert {hold.id for vault in again.vaults.values() for hold in vault.holds} == {"id-1", "id-2"}
    assert secret(again, "DB_PASSWORD").id == "id-9"


def test_a_host_that_does_not_answer_keeps_what_was_known_with_its_age(graph: Graph) -> None:
    later = fleet.with_hosts(graph, {"web1": None, "web2": told(time="later")}, "later")
    silent, other = later.vaults["web1/shop"], later.vaults["web2/shop"]
    assert (silent.silent, silent.answered_at, silent.holds) == (True, NOW, graph.vaults["web1/shop"].holds)
    assert (other.silent, other.answered_at) == (False, "later")
    back = fleet.with_hosts(later, {"web1": told()}, NOW)
    assert not back.vaults["web1/shop"].silent


def test_a_host_that_never_answered_is_there_until_it_does() -> None:
    never = fleet.with_hosts(Graph(), {"web1": None}, NOW)
    assert [(vault.host, vault.job, vault.silent, vault.answered_at) for vault in never.vaults.values()] == [
        ("web1", "", True, None)
    ]
    assert fleet.document(fleet.with_hosts(never, {"web1": None}, NOW)) == fleet.document(never)
    assert list(fleet.with_hosts(never, {"web1": told()}, NOW).vaults) == ["web1/shop"]


def test_a_host_without_any_job_is_there_too(graph: Graph) -> None:
    without = fleet.parsed_answer(metadata(), NOW)
    after = fleet.with_hosts(graph, {"web1": without, "web3": without}, NOW)
    assert {id_: (vault.message, vault.silent) for id_, vault in after.vaults.items() if not vault.job} == {
        "web1/": ("The host has no job.", False), "web3/": ("The host has no job.", False)
    }  # fmt: skip
    assert fleet.parsed(fleet.document(after)) == after
    assert set(fleet.with_hosts(after, {"web1": told()}, NOW).vaults) == {"web1/shop", "web2/shop", "web3/"}


def test_hosts_that_were_not_asked_stay_unless_they_are_to_be_forgotten(graph: Graph) -> None:
    assert fleet.with_hosts(graph, {"web2": told()}, NOW).vaults == graph.vaults
    assert list(fleet.with_hosts(graph, {"web2": told()}, NOW, forget_absent=True).vaults) == ["web2/shop"]


def test_a_job_that_a_host_no_longer_has_is_forgotten(graph: Graph) -> None:
    after = fleet.with_hosts(graph, {"web1": told(job(job="other"))}, NOW)
    assert set(after.vaults) == {"web1/other", "web2/shop"}


def test_a_vault_that_cannot_be_opened_holds_what_it_was_known_to_hold(graph: Graph) -> None:
    closed = told(job(problem="wrong key", places=[], secrets=[]))
    after = fleet.with_hosts(graph, {"web1": closed}, NOW).vaults["web1/shop"]
    assert (after.problem, after.holds) == ("wrong key", graph.vaults["web1/shop"].holds)
    emptied = fleet.with_hosts(graph, {"web1": told(job(places=[], secrets=[]))}, NOW)
    assert emptied.vaults["web1/shop"].holds == ()
    # Where the job's configuration cannot be read either, it still has its files.
    nothing = {"service": "", "project_ids": [], "environment": "", "secret_path": "/", "interval_minutes": 0,
               "last_sync": None, "ended": None, "conclusion": "", "generation": 0, "files": [], "places": [],
               "secrets": []}  # fmt: skip
    lost = fleet.with_hosts(graph, {"web1": told(job(problem="no config", **nothing))}, "later").vaults["web1/shop"]
    known = graph.vaults["web1/shop"]
    assert (lost.problem, lost.answered_at) == ("no config", NOW)
    assert (lost.files, lost.scope, lost.last_sync, lost.holds) == (
        known.files, known.scope, known.last_sync, known.holds
    )  # fmt: skip


def test_a_secret_that_is_gone_stays_as_long_as_a_vault_holds_it(graph: Graph) -> None:
    after = asked(graph, listed(ON_SERVER[1]))
    assert secret(after, "DB_PASSWORD").gone
    assert not secret(after, "api-key").gone
    # Nobody held it.
    assert "UNUSED" not in {one.name for one in after.secrets.values()}
    without = job(secrets=[["API", 0, "api-key", 1, SYNCED, "id"]])
    dropped = fleet.with_hosts(after, {"web1": told(without), "web2": told(without)}, NOW)
    assert [one.name for one in dropped.secrets.values()] == ["api-key"]
    assert not secret(asked(after), "DB_PASSWORD").gone


def test_what_cannot_be_listed_stays_as_it_was_known(graph: Graph) -> None:
    after = asked(graph, Listed(ROOT, problem="forbidden"), time="later")
    assert after.secrets == graph.secrets
    source = after.sources[ROOT]
    assert (source.listed_at, source.problem) == (NOW, "forbidden")
    assert asked(after).sources[ROOT].problem is None


def test_a_problem_of_a_folder_is_told_of_until_its_environment_is_asked_again(graph: Graph) -> None:
    deep = SHOP._replace(path="/shop/deep")
    troubled = asked(graph, Listed(ROOT, problem="forbidden"), Listed(deep, problem="forbidden"))
    assert {place.path for place, source in troubled.sources.items() if source.problem} == {"/", "/shop/deep"}
    other = asked(troubled, listed(place=Place("p2", "prod", "/")))
    assert [source.problem for source in other.sources.values()] == ["forbidden", "forbidden"]
    well = asked(troubled)
    assert [(source.place, source.problem) for source in well.sources.values()] == [(ROOT, None)]


def test_a_listing_says_nothing_of_other_places_nor_of_folders_that_it_leaves_out(graph: Graph) -> None:
    for quiet in (
        listed(place=Place("p1", "dev", "/")),
        listed(place=Place("p1", "prod", "/sho")),
        listed(place=ROOT, recursive=False),
        listed(left_out=frozenset(["/shop"])),
    ):
        assert not secret(asked(graph, quiet), "DB_PASSWORD").gone
    for telling in (listed(place=SHOP, recursive=False), listed(place=ROOT)):
        assert secret(asked(graph, telling), "DB_PASSWORD").gone


def test_without_a_server_the_highest_version_held_is_the_current_one() -> None:
    newer = told(job(secrets=[["DB_PASSWORD", 0, None, 5, SYNCED, "id"]]))
    graph = fleet.with_hosts(Graph(), {"web1": told(), "web2": newer}, NOW)
    assert secret(graph, "DB_PASSWORD")[2:5] == (5, None, False)
    after = fleet.with_hosts(graph, {"web2": told()}, NOW)
    assert secret(after, "DB_PASSWORD").version == 3
    assert secret(asked(after), "DB_PASSWORD").version == 4


def test_of_a_secret_that_a_server_lists_twice_the_newest_counts(graph: Graph) -> None:
    twice = (("/shop", "DB_PASSWORD", 9, "2025-01-01T00:00:00Z"), ON_SERVER[0])
    for rows in (twice, twice[::-1]):
        assert secret(asked(graph, listed(*rows)), "DB_PASSWORD").version == 4


def test_the_server_is_asked_once_for_each_environment_that_is_pulled_or_held() -> None:
    imported = job(places=[["p1", "prod", "/shop"], ["p1", "shared", "/a"]],
                   secrets=[["X", 1, None, 1, SYNCED, "id"]], project_ids=["p1", "p2"])  # fmt: skip
    graph = fleet.with_hosts(Graph(), {"web1": told(imported), "web2": told()}, NOW)
    assert fleet.places_to_ask(graph) == {
        ROOT: [SHOP],
        Place("p1", "shared", "/"): [Place("p1", "shared", "/a")],
        Place("p2", "prod", "/"): [Place("p2", "prod", "/shop")],
    }


def test_two_hosts_or_secrets_never_share_an_id_whatever_their_names() -> None:
    assert fleet.secret_id(Place("p", "e", "/a"), "b/c") != fleet.secret_id(Place("p", "e", "/a/b"), "c")
    assert fleet.secret_id(Place("p", "e", "/a"), "b%2Fc") != fleet.secret_id(Place("p", "e", "/a"), "b/c")
    assert fleet.AgentVault("a/b", "c").id != fleet.AgentVault("a", "b/c").id


HOSTILE = (
    "<script>alert(1)</script>", '"onload="', "=1+1", "a\nb", "a/b", "%2F", "\u202e", "é", "'; --", ""
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_what_they_are(name: str) -> None:
    answer = told(job(job=name, message=name, secrets=[[name, 0, name + "x", 1, SYNCED, "id"]]))
    graph = asked(fleet.with_hosts(Graph(), {name: answer}, NOW), listed(("/shop", name + "x", 1, NOW)))
    document = json.loads(json.dumps(fleet.document(graph)))
    assert fleet.parsed(document) == graph
    assert document["vaults"][0]["host"] == name
    assert document["secrets"][0]["name"] == name + "x"


def damaged(document: dict[str, Any], path: list[Any], value: Any) -> dict[str, Any]:
    """A copy with something else at a place; an ellipsis takes it away."""
    copy = deepcopy(document)
    inner: Any = copy
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["secrets"], None),
        (["secrets", 0], []),
        (["secrets", 0, "version"], "4"),
        (["secrets", 0, "version"], True),
        (["secrets", 0, "gone"], 1),
        (["projects", 0, "name"], ...),
        (["vaults", 0, "holds", 0, 0], 99),
        (["vaults", 0, "holds", 0, 0], -1),
        (["vaults", 0, "holds", 0, 1], "3"),
        (["vaults", 0, "holds", 0], [0]),
        (["vaults", 0, "holds"], {}),
        (["vaults", 0, "scope", "project_ids"], "p1"),
        (["vaults", 0, "scope"], None),
        (["vaults", 0, "files", 0, "names"], [1]),
        (["sources", 0, "path"], 1),
    ],
)
def test_a_damaged_document_is_refused_and_says_what_to_do(graph: Graph, path: list[Any], value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"is damaged: .* Move it away"):
        fleet.parsed(damaged(fleet.document(graph), path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["jobs"], {}),
        (["jobs", 0, "secrets", 0], ["A", 0, None, 1, SYNCED]),
        (["jobs", 0, "secrets", 0, 1], 1),
        (["jobs", 0, "secrets", 0, 1], -1),
        (["jobs", 0, "secrets", 0, 0], 5),
        (["jobs", 0, "secrets", 0, 2], 5),
        (["jobs", 0, "secrets", 0, 3], None),
        (["jobs", 0, "secrets", 0, 3], -1),
        (["jobs", 0, "places", 0], ["p1", "prod"]),
        (["jobs", 0, "places", 0, 1], 7),
        (["jobs", 0, "interval_minutes"], 1.5),
        (["jobs", 0, "last_sync"], 5),
        (["jobs", 0, "places", 0, 2], "/s\ud800x"),
        (["jobs", 0, "conclusion"], "\udfff"),
        (["agent"], ...),
        (["time"], ...),
        (["jobs", 0, "secrets", 0, 5], None),
        (["jobs"], [job(), job()]),
        (["jobs"], [job(job=str(number)) for number in range(fleet.MOST_JOBS + 1)]),
        (["jobs", 0, "project_ids"], ["p"] * (fleet.MOST_PROJECTS + 1)),
        (["jobs", 0, "secrets"], [["A", 0, None, 1, SYNCED, ""]] * (fleet.MOST_SECRETS + 1)),
        (["time"], "soon"),
        (["jobs", 0, "places"], [["p1", "prod", "/shop"]] * (fleet.MOST_PLACES + 1)),
        (["jobs", 0, "files"], [job()["files"][0]] * fleet.MOST_FILES),
        (["jobs", 0, "places", 0, 0], "x" * (fleet.LONGEST_PART + 1)),
        (["jobs", 0, "secrets", 0, 5], "x" * (fleet.LONGEST_PART + 1)),
        (["jobs", 0, "secrets", 0, 0], "x" * (fleet.LONGEST + 1)),
        (["jobs", 0, "secrets", 1, 2], "x" * (fleet.LONGEST + 1)),
        (["jobs", 0, "places", 0, 2], "/" + "x" * (fleet.LONGEST + 1)),
        (["jobs", 0, "conclusion"], "x" * (fleet.LONGEST + 1)),
        (["jobs", 0, "files", 0, "path"], "/" + "x" * (fleet.LONGEST + 1)),
    ],
)
def test_what_is_no_metadata_is_refused(path: list[Any], value: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not what a host tells"):
        fleet.parsed_answer(damaged(metadata(job()), path, value), NOW)


def test_a_short_answer_cannot_make_a_large_graph() -> None:
    place = ["\u4e00" * 200, "\u4e00" * 200, "/" + "\u4e00" * 900]
    rows = [[f"S{number}", 0, None, 1, SYNCED, ""] for number in range(3000)]
    with pytest.raises(ConfigurationError, match="the names in it are too long"):
        told(job(places=[place], secrets=rows))


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "1969-12-31T23:59:59Z"])
def test_a_time_that_leads_out_of_the_years_that_can_be_written_is_none(time: str) -> None:
    assert fleet.parse_time(time) is None and fleet.normalize_time(time) is None


@pytest.mark.parametrize("data", [None, [], "text", {}, {"schema": "other", "version": 1}])
def test_another_document_is_refused(data: Any) -> None:
    with pytest.raises(ConfigurationError, match="no document of the schema"):
        fleet.parsed(data)
    with pytest.raises(ConfigurationError, match="no document of the schema"):
        fleet.parsed_answer(data, NOW)


@pytest.mark.parametrize("version", [None, "1", 0, True])
def test_a_document_without_a_version_is_refused(graph: Graph, version: Any) -> None:
    with pytest.raises(ConfigurationError, match="no version"):
        fleet.parsed({**fleet.document(graph), "version": version})


def test_a_newer_document_is_refused_with_what_to_do(graph: Graph) -> None:
    with pytest.raises(ConfigurationError, match=r"version 2 of its schema, and 1 is the latest.*Update"):
        fleet.parsed({**fleet.document(graph), "version": 2})
    with pytest.raises(ConfigurationError, match="Update"):
        fleet.parsed_answer({**metadata(job()), "version": 2}, NOW)


def test_keys_that_are_not_known_are_ignored(graph: Graph) -> None:
    document = fleet.document(graph)
    document["new"] = document["vaults"][0]["new"] = document["secrets"][0]["new"] = {"a": 1}
    assert fleet.parsed(document) == graph
    assert told(job(new=1)).vaults == told().vaults


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("2026-01-15T10:00:00.999Z", "2026-01-15T10:00:00Z"),
        ("2026-01-15T12:00:00+02:00", "2026-01-15T10:00:00Z"),
        ("yesterday", None),
        ("", None),
        (None, None),
        (5, None),
        ("2026-01-15T10:00:00Z" * 50, None),
    ],
)
def test_a_time_is_brought_to_one_form(given: Any, text: str | None) -> None:
    assert fleet.normalize_time(given) == text
