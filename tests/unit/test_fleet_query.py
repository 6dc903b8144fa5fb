# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to the graph: every kind of row, the language, and the table that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import rows as fleet_query
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    AgentVault,
    DeliveredFile,
    Graph,
    Hold,
    JobScope,
    KnownSecret,
    Place,
    Project,
    Source,
)

MANUAL = Path(__file__).parents[2] / "docs/docsite/rst/guide_fleet.rst"
URL = "https://infisical.example.com"
NOW = fleet.parse_time("2026-01-15T12:00:00Z") or 0.0
SHOP, ROOT = Place("p1", "prod", "/shop"), Place("p1", "prod", "/")
SCOPE = JobScope(("p1",), "prod", "/shop", recursive=True)
FRESH, OLD = "2026-01-15T11:50:00Z", "2026-01-15T10:00:00Z"
DB, API, LOST, FREE = (fleet.secret_id(SHOP, name) for name in ("DB_PASSWORD", "API_KEY", "LOST", "FREE"))
ELSEWHERE = fleet.secret_id(ROOT, "ELSEWHERE")


def vault(host: str, *holds: Hold, **more: Any) -> AgentVault:
    usual: dict[str, Any] = {
        "service": URL, "scope": SCOPE, "interval_minutes": 15, "last_sync": FRESH, "ended": FRESH, "conclusion": "ok",
        "generation": 3, "answered_at": FRESH,
        "files": (DeliveredFile("/run/a", "dotenv", "app", ("DB_*",)), DeliveredFile("/run/b", "json", "root")),
    }  # fmt: skip
    return AgentVault(host, "shop", holds=holds, **{**usual, **more})


@pytest.fixture
def graph() -> Graph:
    secrets = {
        DB: KnownSecret(SHOP, "DB_PASSWORD", 4, "2026-01-15T11:00:00Z"),
        API: KnownSecret(SHOP, "API_KEY", 2, "2026-01-01T00:00:00Z"),
        LOST: KnownSecret(SHOP, "LOST", 1, "2026-01-01T00:00:00Z", gone=True),
        FREE: KnownSecret(SHOP, "FREE", 1, "2026-01-15T11:59:00Z"),
        ELSEWHERE: KnownSecret(ROOT, "ELSEWHERE", 1, "2026-01-01T00:00:00Z"),
    }
    held = Hold(API, 2, OLD)
    vaults = [
        vault("web1", Hold(DB, 4, FRESH), held, Hold(FREE, 1, FRESH)),
        vault("web2", Hold(DB, 3, OLD), held, Hold(LOST, 1, OLD), last_sync=OLD),
        vault("web3", held, conclusion="forbidden", message="Could not list.", files=()),
        vault("web4", last_sync=None, conclusion="", ended=None),
        vault("web5", held, silent=True),
        vault("web6", held, Hold(DB, 4, FRESH, "db"), Hold(FREE, 1, FRESH), problem="wrong key"),
    ]
    return Graph(
        "2026-01-15T12:00:00Z",
        {"p1": Project("p1", "Shop", "shop", URL)},
        secrets,
        {one.id: one for one in vaults},
        {ROOT: Source(ROOT, "2026-01-15T11:00:00Z", "forbidden")},
    )


def ask(graph: Graph, query: str) -> list[dict[str, Any]]:
    return fleet_query.ask(graph, query, NOW)


def column(rows: list[dict[str, Any]], key: str) -> list[Any]:
    return [row[key] for row in rows]


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        *((f"type={name}", kind) for name, kind in fleet_query.TYPES.items()),
        *((f"relation={name}", kind) for name, kind in fleet_query.RELATIONS.items()),
        ("rotate=*", fleet_query.QUESTIONS["rotate"]),
        ("exposed=*", fleet_query.QUESTIONS["exposed"]),
    ],
)
def test_every_row_has_the_keys_that_are_told(graph: Graph, query: str, kind: fleet_query.Kind) -> None:
    rows = ask(graph, query)
    assert rows
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(kind.keys))}


def test_services_and_projects_are_counted(graph: Graph) -> None:
    assert ask(graph, "type=service") == [{"id": URL, "projects": 1}]
    assert ask(graph, "type=secret_project") == [
        {"id": "p1", "name": "Shop", "slug": "shop", "service": URL, "secrets": 5, "vaults": 6}
    ]
    assert ask(graph, "relation=hosted_by") == [{"source": "p1", "target": URL}]


def test_secrets_are_held_unused_or_gone(graph: Graph) -> None:
    rows = {row["name"]: (row["state"], row["hosts"]) for row in ask(graph, "type=secret")}
    assert rows == {
        "DB_PASSWORD": ("held", 3),
        "API_KEY": ("held", 5),
        "LOST": ("gone", 1),
        "FREE": ("held", 2),
        "ELSEWHERE": ("unused", 0),
    }
    assert column(ask(graph, "type=secret state=unused"), "id") == [ELSEWHERE]


def test_every_secret_belongs_to_its_project(graph: Graph) -> None:
    assert column(ask(graph, "relation=belongs_to target=p1"), "source") == list(graph.secrets)


def test_the_state_of_a_vault_is_the_first_thing_to_act_on(graph: Graph) -> None:
    rows = {row["host"]: row for row in ask(graph, "type=agent_vault")}
    assert {host: row["state"] for host, row in rows.items()} == {
        "web1": "ok", "web2": "stale", "web3": "failed", "web4": "never", "web5": "silent", "web6": "failed"
    }  # fmt: skip
    assert (rows["web2"]["age_seconds"], rows["web2"]["intervals"]) == (7200, 8.0)
    assert (rows["web2"]["behind"], rows["web2"]["missing"], rows["web2"]["secrets"]) == (1, 1, 3)
    assert (rows["web3"]["conclusion"], rows["web3"]["message"]) == ("forbidden", "Could not list.")
    assert (rows["web4"]["last_sync"], rows["web4"]["intervals"]) == (None, None)
    assert rows["web6"]["message"] == "wrong key"


def test_one_may_say_after_how_many_intervals_a_vault_is_stale(graph: Graph) -> None:
    assert column(ask(graph, "type=agent_vault state=stale"), "host") == ["web2"]
    assert column(ask(graph, "type=agent_vault state=stale intervals=8"), "host") == []
    assert column(ask(graph, "type=agent_vault state=stale intervals=0.5"), "host") == ["web1", "web2"]


def test_a_host_whose_name_is_a_pattern_is_asked_for_as_one(graph: Graph) -> None:
    odd = vault("web[1]", Hold(LOST, 1, OLD))
    graph = replace(graph, vaults={**graph.vaults, odd.id: odd})
    assert set(column(ask(graph, "exposed=web[1]"), "host")) == {"web1"}
    assert set(column(ask(graph, "exposed=web[[]1]"), "host")) == {"web[1]"}
    assert set(column(ask(graph, "relation=synced_to host=web[[]1]"), "host")) == {"web[1]"}


def test_a_sync_in_the_future_was_just_now(graph: Graph) -> None:
    [row] = ask(
        replace(graph, vaults={"web1/shop": vault("web1", last_sync="2026-01-16T00:00:00Z")}), "type=agent_vault"
    )
    assert (row["age_seconds"], row["intervals"], row["late"]) == (0, 0.0, False)


def test_who_is_late_is_told_whatever_else_is_wrong(graph: Graph) -> None:
    late = replace(graph.vaults["web3/shop"], last_sync=OLD)
    graph = replace(graph, vaults={**graph.vaults, late.id: late})
    assert column(ask(graph, "type=agent_vault late=true"), "host") == ["web2", "web3", "web4"]
    assert column(ask(graph, "type=agent_vault late=True intervals=8"), "host") == ["web4"]
    assert column(ask(graph, "type=agent_vault late=false state=failed"), "host") == ["web6"]
    assert {type(row["late"]) for row in ask(graph, "type=agent_vault")} == {bool}


def test_nobody_is_said_to_be_current_before_an_infisical_has_told(graph: Graph) -> None:
    untold = replace(graph, secrets={**graph.secrets, DB: KnownSecret(SHOP, "DB_PASSWORD", 4)})
    rows = ask(untold, "relation=synced_to name=DB_PASSWORD")
    assert [(row["host"], row["state"], row["behind_seconds"]) for row in rows] == [
        ("web1", "unknown", None), ("web2", "behind", None), ("web6", "unknown", None)
    ]  # fmt: skip
    assert (fleet_query.summary(untold, NOW)["unknown"], fleet_query.summary(untold, NOW)["behind"]) == (2, 1)


def test_a_secret_that_was_deleted_and_made_again_is_another_one_whatever_its_version(graph: Graph) -> None:
    def state(version: int, held: Hold) -> str:
        anew = KnownSecret(SHOP, "DB_PASSWORD", version, FRESH, id="new")
        changed = replace(graph, secrets={**graph.secrets, DB: anew}, vaults={"web1/shop": vault("web1", held)})
        [row] = ask(changed, "relation=synced_to")
        return str(row["state"])

    for version in (1, 4, 9):
        assert state(version, Hold(DB, 4, OLD, None, "old")) == "behind"
    assert state(4, Hold(DB, 4, OLD, None, "new")) == "current"
    # A server may not tell ids, and a host whose agent is older neither.
    assert state(4, Hold(DB, 4, OLD)) == "current"
    # Nobody but the host knows that version: it is newer than the last listing, or the server was put back.
    assert state(3, Hold(DB, 4, OLD, None, "new")) == "unknown"


def test_what_infisical_did_not_tell_is_told(graph: Graph) -> None:
    assert ask(graph, "type=source") == [
        {"project": "p1", "project_name": "Shop", "environment": "prod", "path": "/", "problem": "forbidden",
         "listed_at": "2026-01-15T11:00:00Z", "age_seconds": 3600}
    ]  # fmt: skip
    assert fleet_query.problems(graph) == ["forbidden (1 place)"]
    places = [Place("p1", f"env{number}", "/") for number in range(9)]
    sources = {place: Source(place, FRESH, f"no {place.environment}\x1b") for place in places[:5]}
    # What was never listed may be what a host has made up, and is not to hide the rest.
    sources.update({place: Source(place, None, "ALL IS WELL") for place in places[5:]})
    assert fleet_query.problems(replace(graph, sources=sources)) == [
        "no env0\\x1b (1 place)", "no env1\\x1b (1 place)", "no env2\\x1b (1 place)", "2 more reasons",
        "4 places never listed (the query type=source says why)",
    ]  # fmt: skip
    assert fleet_query.problems(replace(graph, sources={})) == []


def test_who_is_behind_and_for_how_long_is_told(graph: Graph) -> None:
    [row] = ask(graph, "relation=synced_to state=behind")
    assert (row["host"], row["version"], row["current_version"], row["behind_seconds"]) == ("web2", 3, 4, 3600)
    assert column(ask(graph, "relation=synced_to state=gone"), "name") == ["LOST"]
    assert {row["behind_seconds"] for row in ask(graph, "relation=synced_to state=current")} == {None}


def test_what_a_job_should_have_and_has_not_is_missing(graph: Graph) -> None:
    rows = [(row["host"], row["name"]) for row in ask(graph, "relation=missing_on")]
    assert ("web4", "API_KEY") in rows
    assert ("web2", "FREE") in rows
    assert {row["behind_seconds"] for row in ask(graph, "relation=missing_on name=FREE")} == {60}
    # What is not in the job's folder, or not in Infisical any more, is not missing.
    assert {name for _host, name in rows} == {"DB_PASSWORD", "API_KEY", "FREE"}
    assert not [row for row in rows if row[0] in ("web1", "web6")]


def test_of_secrets_with_one_name_in_the_vault_one_that_is_held_stands_for_all(graph: Graph) -> None:
    deep = Place("p1", "prod", "/shop/deep")
    twin = {fleet.secret_id(deep, "API_KEY"): KnownSecret(deep, "API_KEY", 1, FRESH)}
    wider = replace(graph, secrets={**graph.secrets, **twin})
    assert [row["path"] for row in ask(wider, "relation=missing_on host=web1")] == []
    apart = replace(SCOPE, key_format="{path}_{key}")
    wider = replace(wider, vaults={"web1/shop": replace(graph.vaults["web1/shop"], scope=apart)})
    assert [row["path"] for row in ask(wider, "relation=missing_on host=web1")] == ["/shop/deep"]
    normal = replace(SCOPE, normalize_names=True)
    names = {id_: KnownSecret(SHOP, name, 1, FRESH) for id_, name in ((API, "API_KEY"), (FREE, "api-key"))}
    held = replace(graph.vaults["web3/shop"], scope=normal, holds=(Hold(FREE, 1, FRESH, "API_KEY"),))
    assert ask(replace(graph, secrets=names, vaults={held.id: held}), "relation=missing_on") == []
    flat = replace(apart, recursive=False)
    wider = replace(wider, vaults={"web1/shop": replace(graph.vaults["web1/shop"], scope=flat)})
    assert ask(wider, "relation=missing_on") == []


def test_what_must_be_rotated_and_where_names_each_host_job_and_file(graph: Graph) -> None:
    rows = [(row["host"], row["file"], row["state"]) for row in ask(graph, "rotate=DB_PASSWORD")]
    assert rows == [
        ("web1", "/run/a", "current"),
        ("web1", "/run/b", "current"),
        ("web2", "/run/a", "behind"),
        ("web2", "/run/b", "behind"),
        # In this vault its name is another one, which the patterns of the first file do not fit.
        ("web6", "/run/b", "current"),
    ]
    assert ask(graph, f"rotate={DB}") == ask(graph, "rotate=DB_PASSWORD")
    assert [(row["host"], row["file"]) for row in ask(graph, "rotate=API_KEY host=web3")] == [("web3", "")]
    [nowhere] = ask(graph, "rotate=ELSEWHERE")
    assert (nowhere["host"], nowhere["state"]) == ("", "unused")


def test_what_a_leaked_host_exposes_is_told_with_who_has_the_same(graph: Graph) -> None:
    rows = {row["name"]: row["also_on"] for row in ask(graph, "exposed=web2")}
    assert rows == {"DB_PASSWORD": ["web1", "web6"], "API_KEY": ["web1", "web3", "web5", "web6"], "LOST": []}
    assert column(ask(graph, "exposed=web2 also_on=web3"), "name") == ["API_KEY"]
    both = {row["name"]: row["also_on"] for row in ask(graph, "exposed=web[12]")}
    assert both == {"DB_PASSWORD": ["web6"], "API_KEY": ["web3", "web5", "web6"], "FREE": ["web6"], "LOST": []}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("rotate=NO_SUCH", "there is no secret 'NO_SUCH'"),
        ("rotate=DB_PASSWORD path=/", "no secret 'DB_PASSWORD' fits what is asked of its path"),
        ("rotate=DB_PASSWORD path=/till", "there is no path '/till'"),
        ("type=secret project_name=Till", "there is no project_name 'Till'"),
        ("exposed=web1 also_on=web9", "there is no host 'web9'"),
        ("rotate=DB_PASSWORD environment=stage", "there is no environment 'stage'"),
        ("rotate=DB_PASSWORD job=till", "there is no job 'till'"),
        ("exposed=web1 job=till", "there is no job 'till'"),
        ("relation=missing_on project=p2", "there is no project 'p2'"),
        ("relation=missing_on environment=prd", "there is no environment 'prd'"),
        ("relation=synced_to name=DB_PASSWRD", "there is no secret 'DB_PASSWRD'"),
        ("relation=synced_to state=behind host=", "there is no host ''"),
        ("relation=belongs_to target=p2", "there is no project 'p2'"),
        ("relation=hosted_by target=https://other", "there is no service 'https://other'"),
        ("relation=synced_to target=web1/till", "there is no vault 'web1/till'"),
        ("relation=missing_on target=web1/till", "there is no vault 'web1/till'"),
        ("rotate=DB_PASSWORD host=web9", "there is no host 'web9'"),
        ("exposed=web9", "there is no host 'web9'"),
        ("relation=missing_on host=web[89]", "there is no host"),
        ("relation=synced_to state=behnd", "state cannot be 'behnd', only: current, behind, gone, unknown"),
        ("relation=synced_to state=missing", "state cannot be 'missing'"),
        ("type=agent_vault state=stale state=late", "state cannot be 'late', only: silent, failed, never, stale, ok"),
        ("type=secret state=behind", "state cannot be 'behind', only: held, unused, gone"),
        ("type=agent_vault late=yes", "late cannot be 'yes', only: true, false"),
    ],
)
def test_what_can_fit_nothing_is_an_error_and_no_good_news(graph: Graph, query: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        ask(graph, query)


def test_an_answer_may_be_empty_where_that_is_one(graph: Graph) -> None:
    for query in (
        "rotate=DB_PASSWORD host=web3",
        "rotate=DB_PASSWORD state=gone",
        "exposed=web4",
        "exposed=web2 name=FREE",
        "relation=synced_to state=behind host=web1",
        "relation=synced_to state=[bg]* host=web1",
        "type=secret name=NO_SUCH",
    ):
        assert ask(graph, query) == [], query


@pytest.mark.parametrize(
    "nothing",
    [
        AgentVault("web9", "", silent=True),
        vault("web9", problem="wrong key", answered_at=FRESH),
        vault("web9", silent=True, last_sync=None),
    ],
)
def test_a_host_of_which_nothing_is_known_does_not_seem_to_have_nothing(graph: Graph, nothing: AgentVault) -> None:
    graph = replace(graph, vaults={**graph.vaults, nothing.id: nothing})
    [*_rows, row] = ask(graph, "rotate=DB_PASSWORD")
    assert (row["host"], row["name"], row["state"], row["file"]) == ("web9", "", "unknown", "")
    # Whatever is asked of the secret, such a vault may have it.
    assert "web9" in column(ask(graph, "rotate=DB_PASSWORD project=p1 environment=prod file=/run/a"), "host")
    assert "web9" not in column(ask(graph, "rotate=DB_PASSWORD host=web1"), "host")
    assert fleet_query.unknown_hosts(graph) == ["web9"]
    [row] = ask(graph, "exposed=web9")
    assert (row["host"], row["name"], row["state"], row["also_on"]) == ("web9", "", "unknown", [])
    assert "web9" in column(ask(graph, "exposed=web* state=unknown"), "host")
    assert ask(graph, "exposed=web9 name=DB_PASSWORD") == [row]
    assert ask(graph, "exposed=web9 state=current") == []


def test_every_state_can_be_asked_for(graph: Graph) -> None:
    for first, kind in (
        *((f"type={name}", kind) for name, kind in fleet_query.TYPES.items()),
        *((f"relation={name}", kind) for name, kind in fleet_query.RELATIONS.items()),
        ("rotate=*", fleet_query.QUESTIONS["rotate"]),
        ("exposed=*", fleet_query.QUESTIONS["exposed"]),
    ):
        assert bool(kind.states) == ("state" in kind.keys)
        for state in kind.states:
            assert {row["state"] for row in ask(graph, f"{first} state={state}")} <= {state}
        assert {row["state"] for row in ask(graph, first) if "state" in row} <= set(kind.states)


def test_values_are_patterns_and_a_key_twice_means_either(graph: Graph) -> None:
    assert column(ask(graph, "type=secret name=*_*"), "name") == ["DB_PASSWORD", "API_KEY"]
    assert column(ask(graph, "type=secret name=FREE name=LOST"), "name") == ["LOST", "FREE"]
    assert column(ask(graph, "type=secret name=FREE name=LOST state=gone"), "name") == ["LOST"]
    assert column(ask(graph, "type=agent_vault last_sync="), "host") == ["web4"]
    assert column(ask(graph, "type=secret version=4"), "name") == ["DB_PASSWORD"]
    assert ask(graph, "type=secret name=db_password") == []


@pytest.mark.parametrize(
    "name", ["two words", "it's", '"quoted"', "a=b", "back\\slash", "<script>", "new\nline", "star*[x]", "é"]
)
def test_any_name_can_be_asked_for_in_quotes(name: str) -> None:
    id_ = fleet.secret_id(SHOP, name)
    graph = Graph("", {}, {id_: KnownSecret(SHOP, name, 1, FRESH), FREE: KnownSecret(SHOP, "FREE", 1, FRESH)}, {})
    import shlex

    pattern = re.sub(r"([*?\[])", r"[\1]", name)
    assert column(ask(graph, f"type=secret name={shlex.quote(pattern)}"), "name") == [name]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "names none of type=service, type=secret_project, .*relation=missing_on, rotate=SECRET, exposed=HOST"),
        ("state=held", "names none of"),
        ("type=secret relation=belongs_to", "more than one"),
        ("type=secret type=service", "more than one"),
        ("type=secrets", "no type 'secrets'. There is type=service"),
        ("relation=owns", "no relation 'owns'"),
        ("type=secret colour=red", "'colour' is no key of these rows. They have: id, name, project"),
        ("type=secret intervals=3", "'intervals' is no key"),
        ("type=secret name='x", "quote or backslash"),
        ("type=secret x", "'x' is not of the form key=value"),
        ("type=agent_vault intervals=soon", "one number greater than 0"),
        ("type=agent_vault intervals=0", "one number greater than 0"),
        ("type=agent_vault intervals=nan", "one number greater than 0"),
    ],
)
def test_a_query_that_is_none_says_what_there_is(graph: Graph, query: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ask(graph, query)


# The table


def cells(graph: Graph) -> list[list[str]]:
    return list(csv.reader(io.StringIO(fleet_query.table(graph, NOW).decode("utf-8"), newline="")))


def test_the_table_has_a_row_for_each_host_job_and_secret_with_its_state(graph: Graph) -> None:
    head, *rows = cells(graph)
    assert tuple(head) == fleet_query.COLUMNS
    found = [dict(zip(head, row)) for row in rows]
    assert {len(row) for row in rows} == {len(head)}
    behind = [row for row in found if row["state"] == "behind"]
    assert [(row["host"], row["name"], row["version"], row["current_version"]) for row in behind] == [
        ("web2", "DB_PASSWORD", "3", "4")
    ]
    counts = fleet_query.summary(graph, NOW)
    assert sum(row["state"] == "missing" for row in found) == counts["missing"] == 8
    assert len(found) == counts["held"] + counts["missing"]
    assert {row["host"]: row["vault_state"] for row in found}["web3"] == "failed"


def test_a_vault_without_any_secret_has_a_row_too() -> None:
    silent = AgentVault("web9", "", silent=True)
    [_head, row] = cells(Graph("", {}, {}, {silent.id: silent}))
    assert row[:3] == ["web9", "", "silent"]


def test_a_formula_behind_another_separator_is_none_either() -> None:
    names = [*(f"a{sign}=1+1" for sign in ";,|\t\r\n"), 'a;"=1"', "a; =1", "a\t -1", "a;'+1", "a,;@x", ";=1", "\n=1"]
    graph = Graph("", {}, {}, {one.id: one for one in (AgentVault(name, "", silent=True) for name in names)})
    text = fleet_query.table(graph, NOW).decode("utf-8")
    for separator in ";\t|,":
        found = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        formulas = [cell for row in found for cell in row if cell.lstrip().startswith(("=", "+", "-", "@"))]
        assert not formulas, separator
    for line in re.split("[\r\n]+", text):
        assert not line.startswith(("=", "+", "-", "@"))


def test_a_long_name_made_of_separators_costs_no_more_than_another() -> None:
    name = "; " * 100_000
    assert fleet_query.cell(name + "x") == name + "x"
    assert fleet_query.cell(name + "=") == name + "'="


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1", '=HYPERLINK("x")', "-")


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_of_the_table_is_taken_for_a_formula(name: str) -> None:
    place = Place(name, name, "/" + name)
    id_ = fleet.secret_id(place, name)
    odd = AgentVault(
        name, name, service=name, conclusion=name, message=name, last_sync=name, holds=(Hold(id_, 1, name),)
    )
    graph = Graph("", {name: Project(name, name, name, name)}, {id_: KnownSecret(place, name, 1, FRESH)}, {odd.id: odd})
    _head, row = cells(graph)
    assert row.count(fleet_query.cell(name)) == 8
    assert not [text for text in row if text.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))]


def test_other_texts_of_the_table_stay_as_they_are(graph: Graph) -> None:
    for name in ('<script>"', "a,b", "two\nlines", "a=b", "1", "é"):
        assert fleet_query.cell(name) == name
        one = AgentVault(name, "")
        assert cells(Graph("", {}, {}, {one.id: one}))[1][0] == name


def test_the_summary_counts_what_one_acts_on(graph: Graph) -> None:
    counts = dict(fleet_query.summary(graph, NOW))
    assert counts == {
        "services": 1, "projects": 1, "secrets": 5, "secrets_unused": 1, "secrets_gone": 1, "hosts": 6, "vaults": 6,
        "vaults_ok": 1, "vaults_failed": 2, "vaults_stale": 1, "vaults_never": 1, "vaults_silent": 1, "held": 11,
        "behind": 1, "gone": 1, "unknown": 0, "missing": 8,
    }  # fmt: skip


def test_the_manual_has_every_kind_of_row_with_every_key() -> None:
    page = MANUAL.read_text("utf-8")
    kinds = {
        **{f"type={name}": kind for name, kind in fleet_query.TYPES.items()},
        **{f"relation={name}": kind for name, kind in fleet_query.RELATIONS.items()},
        **{f"{name}=": kind for name, kind in fleet_query.QUESTIONS.items()},
    }
    for word, kind in kinds.items():
        [row] = [
            line
            for line in re.findall(r"(?ms)^   \* - (``.*?)(?=^   \* - |\n\n)", page)
            if f"``{word}``" in line.split("\n")[0]
        ]
        assert set(re.findall(r"``([a-z_]+)``", row)) >= set(kind.keys), word
    for name in fleet_query.COLUMNS:
        assert f"``{name}``" in page
