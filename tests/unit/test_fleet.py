# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata graph: answers of hosts and servers are merged into one document, in any order, any number of times."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import normalize_time, parse_time
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import documents
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    FolderListing,
    Graph,
    KnownProject,
    KnownSecret,
)

URL = "https://infisical.example.com"
BEFORE, NOW = "2026-01-14T10:00:00Z", "2026-01-15T10:00:00Z"
ROOT, SHOP = Location("p1", "prod", "/"), Location("p1", "prod", "/shop")
SYNCED = "2026-01-15T09:50:00Z"


def job(**more: Any) -> dict[str, Any]:
    """The metadata of a job."""
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
        "schema": documents.METADATA_SCHEMA, "version": 1, "host": "web", "time": NOW, "agent": "0.3.0",
        "jobs": list(jobs),
    }  # fmt: skip


def answer(*jobs: dict[str, Any], time: str = NOW) -> fleet.HostAnswer:
    return documents.parse_host(metadata(*(jobs or (job(),))), time)


def listed(*rows: tuple[Any, ...], **more: Any) -> FolderListing:
    secrets = [
        KnownSecret(Location("p1", "prod", path), name, version, updated_at, id=id_)
        for path, name, version, updated_at, id_ in rows
    ]
    return FolderListing(**{"location": ROOT, "secrets": secrets, **more})


ON_SERVER = (
    ("/shop", "DB_PASSWORD", 4, "2026-01-15T08:00:00Z", "id-1"),
    ("/shop", "api-key", 1, "2026-01-01T00:00:00Z", "id-2"),
    ("/other", "UNUSED", 1, "2026-01-01T00:00:00Z", "id-3"),
)


def asked(graph: Graph, *listings: FolderListing, time: str = NOW) -> Graph:
    return fleet.merge_server(graph, URL, [KnownProject("p1", "Shop", "shop")], listings or [listed(*ON_SERVER)], time)


@pytest.fixture
def graph() -> Graph:
    return asked(fleet.merge_hosts(Graph(), {"web1": answer(), "web2": answer()}, NOW))


def secret(graph: Graph, name: str) -> fleet.KnownSecret:
    return next(one for one in graph.secrets.values() if one.name == name)


def test_graph_is_unchanged_after_writing_and_reading(graph: Graph) -> None:
    document = json.loads(json.dumps(documents.render_graph(graph)))
    assert documents.parse_graph(document) == graph
    assert documents.render_graph(documents.parse_graph(document)) == document
    assert json.loads(documents.dump_graph(graph)) == document


def test_graph_document_matches_the_manual(graph: Graph) -> None:
    document = documents.render_graph(graph)
    assert document["services"] == [{"id": URL}]
    assert document["projects"] == [{"id": "p1", "name": "Shop", "slug": "shop", "service": URL}]
    assert document["secrets"][1] == {
        "id": "p1/prod/shop/DB_PASSWORD", "project": "p1", "environment": "prod", "path": "/shop",
        "name": "DB_PASSWORD", "version": 4, "updated_at": "2026-01-15T08:00:00Z", "gone": False,
        "infisical_id": "id-1",
    }  # fmt: skip
    vault = document["vaults"][0]
    assert (vault["id"], vault["agent"], vault["answered_at"], vault["silent"]) == ("web1/shop", "0.3.0", NOW, False)
    # The name in the vault follows if it differs.
    assert vault["holds"] == [[1, 3, SYNCED], [2, 1, SYNCED, "API"]]


def test_host_is_identified_by_its_inventory_name(graph: Graph) -> None:
    assert {vault.host for vault in graph.vaults.values()} == {"web1", "web2"}


def test_merging_the_same_metadata_again_changes_nothing(graph: Graph) -> None:
    again = asked(fleet.merge_hosts(graph, {"web1": answer(), "web2": answer()}, NOW))
    assert documents.render_graph(again) == documents.render_graph(graph)
    later = asked(fleet.merge_hosts(graph, {"web2": answer(time="x"), "web1": answer(time="x")}, "x"), time="x")
    assert fleet.is_same(graph, later)
    assert documents.render_graph(later) != documents.render_graph(graph)


def test_hosts_and_updates_share_their_secrets(graph: Graph) -> None:
    one, other = answer(), answer()
    assert all(one.secrets[id_] is other.secrets[id_] for id_ in one.secrets)
    again = fleet.merge_hosts(graph, {"web1": one, "web2": None}, NOW)
    assert again.vaults["web1/shop"].holds is graph.vaults["web1/shop"].holds


def test_new_version_or_problem_changes_the_graph(graph: Graph) -> None:
    changed = asked(graph, listed(("/shop", "DB_PASSWORD", 5, NOW, "id-1"), *ON_SERVER[1:]))
    assert not fleet.is_same(graph, changed)
    assert not fleet.is_same(graph, asked(graph, FolderListing(ROOT, problem="forbidden")))
    assert not fleet.is_same(graph, fleet.merge_hosts(graph, {"web1": None}, NOW))


def test_listing_from_infisical_overrides_a_hosts_metadata(graph: Graph) -> None:
    claimed = answer(job(secrets=[["DB_PASSWORD", 0, None, 99, SYNCED, "mine"]]))
    assert fleet.merge_hosts(graph, {"web1": claimed}, NOW).secrets == {**graph.secrets}


def test_order_of_hosts_does_not_change_the_graph() -> None:
    other = answer(job(places=[["p1", "prod", "/shop/"]], project_ids=["p1", "p1"]))
    one = fleet.merge_hosts(Graph(), {"web1": answer(), "evil": other}, NOW)
    two = fleet.merge_hosts(Graph(), {"evil": other, "web1": answer()}, NOW)
    assert json.dumps(documents.render_graph(one)) == json.dumps(documents.render_graph(two))
    # Another spelling of a folder is the same folder.
    assert {secret.location.secret_path for secret in one.secrets.values()} == {"/shop"}
    assert one.vaults["evil/shop"].scope.project_ids == ("p1",)


def test_unused_projects_and_listings_are_removed_from_the_graph(graph: Graph) -> None:
    elsewhere = answer(job(project_ids=["p2"], places=[], secrets=[]))
    after = fleet.merge_hosts(graph, {"web1": elsewhere, "web2": elsewhere}, NOW)
    assert (list(after.secrets), list(after.sources), list(after.projects)) == ([], [], ["p2"])


def test_times_from_a_fast_host_clock_are_corrected() -> None:
    ahead = {**metadata(job()), "time": "2026-01-15T13:00:00Z"}
    [vault] = documents.parse_host(ahead, "2026-01-15T10:00:00Z").vaults
    assert (vault.last_sync, vault.ended) == ("2026-01-15T06:50:00Z", "2026-01-15T06:50:00Z")
    assert {hold.synced_at for hold in vault.holds} == {"2026-01-15T06:50:00Z"}
    [behind] = documents.parse_host({**ahead, "time": "2026-01-15T09:55:00Z"}, "2026-01-15T10:00:00Z").vaults
    assert behind.last_sync == SYNCED


def test_host_data_without_an_environment_check_are_accepted() -> None:
    [vault] = answer(job(environment_checked=SYNCED)).vaults
    assert vault.environment_checked == SYNCED
    [vault] = answer(job()).vaults
    assert vault.environment_checked is None


def test_sync_time_in_the_future_becomes_unknown() -> None:
    [vault] = answer(job(last_sync="2031-01-01T00:00:00Z")).vaults
    assert vault.last_sync is None


def test_control_characters_from_a_host_are_escaped() -> None:
    [vault] = answer(job(message="\x1b[31m\u009b31m\u202e", problem="a\nb")).vaults
    assert (vault.message, vault.problem) == ("\\x1b[31m\\x9b31m\\u202e", "a\\nb")


@pytest.mark.parametrize("time", ["", "garbage", "99999-01-01T00:00:00Z", "1969-12-31T00:00:00Z"])
def test_invalid_time_of_the_last_sync_becomes_unknown(time: str) -> None:
    [vault] = answer(job(last_sync=time)).vaults
    assert vault.last_sync is None


def test_long_message_is_shortened() -> None:
    [vault] = answer(job(message="x" * 10_000, problem="y" * 10_000)).vaults
    assert (len(vault.message), len(str(vault.problem))) == (
        documents.LONGEST_MESSAGE + 1,
        documents.LONGEST_MESSAGE + 1,
    )


def test_graph_keeps_old_and_new_id_of_a_recreated_secret(graph: Graph) -> None:
    anew = asked(graph, listed(("/shop", "DB_PASSWORD", 3, NOW, "id-9"), *ON_SERVER[1:]))
    again = documents.parse_graph(json.loads(json.dumps(documents.render_graph(anew))))
    assert again == anew
    assert documents.render_graph(anew)["vaults"][0]["holds"][0] == [1, 3, SYNCED, None, "id-1"]
    assert {hold.id for vault in again.vaults.values() for hold in vault.holds} == {"id-1", "id-2"}
    assert secret(again, "DB_PASSWORD").id == "id-9"


def test_host_that_does_not_respond_keeps_its_last_vaults(graph: Graph) -> None:
    later = fleet.merge_hosts(graph, {"web1": None, "web2": answer(time="later")}, "later")
    silent, other = later.vaults["web1/shop"], later.vaults["web2/shop"]
    assert (silent.silent, silent.answered_at, silent.holds) == (True, NOW, graph.vaults["web1/shop"].holds)
    assert (other.silent, other.answered_at) == (False, "later")
    back = fleet.merge_hosts(later, {"web1": answer()}, NOW)
    assert not back.vaults["web1/shop"].silent


def test_host_that_never_responded_has_an_empty_vault() -> None:
    never = fleet.merge_hosts(Graph(), {"web1": None}, NOW)
    assert [(vault.host, vault.job, vault.silent, vault.answered_at) for vault in never.vaults.values()] == [
        ("web1", "", True, None)
    ]
    assert documents.render_graph(fleet.merge_hosts(never, {"web1": None}, NOW)) == documents.render_graph(never)
    assert list(fleet.merge_hosts(never, {"web1": answer()}, NOW).vaults) == ["web1/shop"]


def test_host_without_jobs_is_reported_with_an_empty_vault(graph: Graph) -> None:
    without = documents.parse_host(metadata(), NOW)
    after = fleet.merge_hosts(graph, {"web1": without, "web3": without}, NOW)
    assert {id_: (vault.message, vault.silent) for id_, vault in after.vaults.items() if not vault.job} == {
        "web1/": ("The host has no job.", False), "web3/": ("The host has no job.", False)
    }  # fmt: skip
    assert documents.parse_graph(documents.render_graph(after)) == after
    assert set(fleet.merge_hosts(after, {"web1": answer()}, NOW).vaults) == {"web1/shop", "web2/shop", "web3/"}


def test_hosts_outside_the_run_stay_unless_forget_absent_is_set(graph: Graph) -> None:
    assert fleet.merge_hosts(graph, {"web2": answer()}, NOW).vaults == graph.vaults
    assert list(fleet.merge_hosts(graph, {"web2": answer()}, NOW, forget_absent=True).vaults) == ["web2/shop"]


def test_removed_job_is_removed_from_the_graph(graph: Graph) -> None:
    after = fleet.merge_hosts(graph, {"web1": answer(job(job="other"))}, NOW)
    assert set(after.vaults) == {"web1/other", "web2/shop"}


def test_unreadable_vault_keeps_its_last_known_secrets(graph: Graph) -> None:
    closed = answer(job(problem="wrong key", places=[], secrets=[]))
    after = fleet.merge_hosts(graph, {"web1": closed}, NOW).vaults["web1/shop"]
    assert (after.problem, after.holds) == ("wrong key", graph.vaults["web1/shop"].holds)
    emptied = fleet.merge_hosts(graph, {"web1": answer(job(places=[], secrets=[]))}, NOW)
    assert emptied.vaults["web1/shop"].holds == ()
    # If the configuration of the job cannot be read either, its last known files stay.
    nothing = {"service": "", "project_ids": [], "environment": "", "secret_path": "/", "interval_minutes": 0,
               "last_sync": None, "ended": None, "conclusion": "", "generation": 0, "files": [], "places": [],
               "secrets": []}  # fmt: skip
    lost = fleet.merge_hosts(graph, {"web1": answer(job(problem="no config", **nothing))}, "later").vaults["web1/shop"]
    known = graph.vaults["web1/shop"]
    assert (lost.problem, lost.answered_at) == ("no config", NOW)
    assert (lost.files, lost.scope, lost.last_sync, lost.holds) == (
        known.files, known.scope, known.last_sync, known.holds
    )  # fmt: skip


def test_deleted_secret_stays_while_a_vault_contains_it(graph: Graph) -> None:
    after = asked(graph, listed(ON_SERVER[1]))
    assert secret(after, "DB_PASSWORD").gone
    assert not secret(after, "api-key").gone
    # No vault held it.
    assert "UNUSED" not in {one.name for one in after.secrets.values()}
    without = job(secrets=[["API", 0, "api-key", 1, SYNCED, "id"]])
    dropped = fleet.merge_hosts(after, {"web1": answer(without), "web2": answer(without)}, NOW)
    assert [one.name for one in dropped.secrets.values()] == ["api-key"]
    assert not secret(asked(after), "DB_PASSWORD").gone


def test_failed_listing_keeps_the_last_known_secrets(graph: Graph) -> None:
    after = asked(graph, FolderListing(ROOT, problem="forbidden"), time="later")
    assert after.secrets == graph.secrets
    source = after.sources[ROOT]
    assert (source.listed_at, source.problem) == (NOW, "forbidden")
    assert asked(after).sources[ROOT].problem is None


def test_folder_problem_stays_until_the_next_listing(graph: Graph) -> None:
    deep = Location("p1", "prod", "/shop/deep")
    troubled = asked(graph, FolderListing(ROOT, problem="forbidden"), FolderListing(deep, problem="forbidden"))
    assert {location.secret_path for location, source in troubled.sources.items() if source.problem} == {
        "/",
        "/shop/deep",
    }
    other = asked(troubled, listed(location=Location("p2", "prod", "/")))
    assert [source.problem for source in other.sources.values()] == ["forbidden", "forbidden"]
    well = asked(troubled)
    assert [(source.location, source.problem) for source in well.sources.values()] == [(ROOT, None)]


def test_listing_one_location_keeps_the_data_of_others(graph: Graph) -> None:
    for quiet in (
        listed(location=Location("p1", "dev", "/")),
        listed(location=Location("p1", "prod", "/sho")),
        listed(location=ROOT, recursive=False),
        listed(left_out=frozenset(["/shop"])),
    ):
        assert not secret(asked(graph, quiet), "DB_PASSWORD").gone
    for telling in (listed(location=SHOP, recursive=False), listed(location=ROOT)):
        assert secret(asked(graph, telling), "DB_PASSWORD").gone


def test_highest_version_on_hosts_is_current_without_a_listing() -> None:
    newer = answer(job(secrets=[["DB_PASSWORD", 0, None, 5, SYNCED, "id"]]))
    graph = fleet.merge_hosts(Graph(), {"web1": answer(), "web2": newer}, NOW)
    assert secret(graph, "DB_PASSWORD")[2:5] == (5, None, False)
    after = fleet.merge_hosts(graph, {"web2": answer()}, NOW)
    assert secret(after, "DB_PASSWORD").version == 3
    assert secret(asked(after), "DB_PASSWORD").version == 4


def test_newest_secret_is_used_if_a_name_is_listed_twice(graph: Graph) -> None:
    twice = (("/shop", "DB_PASSWORD", 9, "2025-01-01T00:00:00Z", "id-1"), ON_SERVER[0])
    for rows in (twice, twice[::-1]):
        assert secret(asked(graph, listed(*rows)), "DB_PASSWORD").version == 4


def test_every_environment_is_listed_once() -> None:
    imported = job(places=[["p1", "prod", "/shop"], ["p1", "shared", "/a"]],
                   secrets=[["X", 1, None, 1, SYNCED, "id"]], project_ids=["p1", "p2"])  # fmt: skip
    graph = fleet.merge_hosts(Graph(), {"web1": answer(imported), "web2": answer()}, NOW)
    assert fleet.locations_to_list(graph) == {
        ROOT: [SHOP],
        Location("p1", "shared", "/"): [Location("p1", "shared", "/a")],
        Location("p2", "prod", "/"): [Location("p2", "prod", "/shop")],
    }


def test_different_names_never_have_the_same_id() -> None:
    assert fleet.secret_id(Location("p", "e", "/a"), "b/c") != fleet.secret_id(Location("p", "e", "/a/b"), "c")
    assert fleet.secret_id(Location("p", "e", "/a"), "b%2Fc") != fleet.secret_id(Location("p", "e", "/a"), "b/c")
    assert fleet.AgentVault("a/b", "c").id != fleet.AgentVault("a", "b/c").id


HOSTILE = (
    "<script>alert(1)</script>", '"onload="', "=1+1", "a\nb", "a/b", "%2F", "\u202e", "é", "'; --", ""
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_names_with_special_characters_stay_unchanged(name: str) -> None:
    found = answer(job(job=name, message=name, secrets=[[name, 0, name + "x", 1, SYNCED, "id"]]))
    graph = asked(fleet.merge_hosts(Graph(), {name: found}, NOW), listed(("/shop", name + "x", 1, NOW, "id")))
    document = json.loads(json.dumps(documents.render_graph(graph)))
    assert documents.parse_graph(document) == graph
    assert document["vaults"][0]["host"] == name
    assert document["secrets"][0]["name"] == name + "x"


def damaged(document: dict[str, Any], path: list[Any], value: Any) -> dict[str, Any]:
    """A copy with another value at a path; an ellipsis removes the entry."""
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
def test_damaged_document_is_refused_with_a_hint(graph: Graph, path: list[Any], value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"is damaged: .* Move it away"):
        documents.parse_graph(damaged(documents.render_graph(graph), path, value))


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
        (["jobs", 0, "job"], "x" * 501),
        (["time"], "soon"),
        (["jobs", 0, "places"], [["p1", "prod", "/shop"]] * documents.MOST_LOCATIONS),
        (["jobs", 0, "project_ids"], ["p"] * documents.MOST_LOCATIONS),
        (
            ["jobs"],
            [
                job(job=str(number), project_ids=[], places=[], secrets=[])
                for number in range(documents.MOST_LOCATIONS + 1)
            ],
        ),
        (["jobs", 0, "message"], "x" * documents.MOST_BYTES),
    ],
)
def test_invalid_metadata_is_refused(path: list[Any], value: Any) -> None:
    with pytest.raises(ConfigurationError, match="metadata: is invalid"):
        documents.parse_host(damaged(metadata(job()), path, value), NOW)


@pytest.mark.parametrize("long", ["path", "job", "twice"])
def test_metadata_with_too_long_names_is_refused(long: str) -> None:
    name = "\u4e00" * 2000
    rows = [["S" if long == "twice" else f"S{number}", 0, None, 1, SYNCED, ""] for number in range(50_000)]
    place = ["p1", "prod", "/" if long == "job" else f"/{name}"]
    with pytest.raises(ConfigurationError, match="the names in the document are too long"):
        answer(job(job=name[:400] if long == "job" else "shop", places=[place], secrets=rows))


def test_document_with_the_maximum_of_locations_is_accepted() -> None:
    places = [["p1", "prod", f"/{number}"] for number in range(documents.MOST_LOCATIONS - 1)]
    assert answer(job(places=places)).vaults


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "1969-12-31T23:59:59Z"])
def test_time_outside_the_supported_years_becomes_none(time: str) -> None:
    assert parse_time(time) is None and normalize_time(time) is None


@pytest.mark.parametrize("data", [None, [], "text", {}, {"schema": "other", "version": 1}])
def test_document_with_another_schema_is_refused(data: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a document with the schema"):
        documents.parse_graph(data)
    with pytest.raises(ConfigurationError, match="must be a document with the schema"):
        documents.parse_host(data, NOW)


@pytest.mark.parametrize("version", [None, "1", 0, True])
def test_document_without_version_is_refused(graph: Graph, version: Any) -> None:
    with pytest.raises(ConfigurationError, match="must contain the version"):
        documents.parse_graph({**documents.render_graph(graph), "version": version})


def test_newer_document_is_refused_with_a_hint(graph: Graph) -> None:
    with pytest.raises(ConfigurationError, match=r"schema version 2, but the latest supported version is 1\. Update"):
        documents.parse_graph({**documents.render_graph(graph), "version": 2})
    with pytest.raises(ConfigurationError, match="Update"):
        documents.parse_host({**metadata(job()), "version": 2}, NOW)


def test_unknown_keys_are_ignored(graph: Graph) -> None:
    document = documents.render_graph(graph)
    document["new"] = document["vaults"][0]["new"] = document["secrets"][0]["new"] = {"a": 1}
    assert documents.parse_graph(document) == graph
    assert answer(job(new=1)).vaults == answer().vaults


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
def test_time_is_normalized_to_utc_seconds(given: Any, text: str | None) -> None:
    assert normalize_time(given) == text
