# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries and questions about the graph, the states of secrets and vaults, and the table without formulas."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import format_time, parse_time
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import rows, table
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    AgentVault,
    DeliveredFile,
    Graph,
    Hold,
    JobScope,
    KnownProject,
    KnownSecret,
    Source,
    secret_id,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.snapshot import (
    Snapshot,
    problems,
    unknown_hosts,
)

MANUAL = Path(__file__).parents[2] / "docs/docsite/rst/guide_fleet.rst"
URL = "https://infisical.example.com"
NOW = parse_time("2026-01-15T12:00:00Z") or 0.0
SHOP, ROOT = Location("p1", "prod", "/shop"), Location("p1", "prod", "/")
SCOPE = JobScope(("p1",), "prod", "/shop", recursive=True)
FRESH, OLD = "2026-01-15T11:50:00Z", "2026-01-15T10:00:00Z"
DB, API, LOST, FREE = (secret_id(SHOP, name) for name in ("DB_PASSWORD", "API_KEY", "LOST", "FREE"))
ELSEWHERE = secret_id(ROOT, "ELSEWHERE")


def vault(host: str, *holds: Hold, **more: Any) -> AgentVault:
    usual: dict[str, Any] = {
        "service": URL, "scope": SCOPE, "interval_minutes": 15, "last_sync": FRESH, "ended": FRESH, "conclusion": "ok",
        "generation": 3, "answered_at": FRESH,
        "files": (DeliveredFile("/run/a", "dotenv", "app", ("DB_*",)), DeliveredFile("/run/b", "json", "root")),
    }  # fmt: skip
    return AgentVault(host, "shop", holds=holds, **{**usual, **more})


def with_vaults(graph: Graph, *vaults: AgentVault) -> Graph:
    return replace(graph, vaults={**graph.vaults, **{one.id: one for one in vaults}})


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
        {"p1": KnownProject("p1", "Shop", "shop", URL)},
        secrets,
        {one.id: one for one in vaults},
        {ROOT: Source(ROOT, "2026-01-15T11:00:00Z", "forbidden")},
    )


def ask(graph: Graph, question: str, **argument: str) -> list[dict[str, Any]]:
    return rows.ask(graph, NOW, question=question, **argument)


def query(graph: Graph, text: str) -> list[dict[str, Any]]:
    return rows.ask(graph, NOW, query=text)


def column(found: list[dict[str, Any]], key: str) -> list[Any]:
    return [row[key] for row in found]


ARGUMENTS = {"": {}, "host": {"host": "web2"}, "secret": {"secret": "DB_PASSWORD"}}


def keys_of(graph: Graph, question: str) -> set[str]:
    """The keys of a question's rows, including the rows of a vault with unknown content."""
    needs = rows.QUESTIONS[question][1]
    found = ask(with_vaults(graph, vault("web9", problem="wrong key")), question, **ARGUMENTS[needs])
    [keys] = {frozenset(row) for row in found}
    return set(keys)


def test_all_rows_of_a_question_have_the_same_keys(graph: Graph) -> None:
    usual = {"id", "name", "project", "project_name", "environment", "path", "host", "job", "version",
             "current_version", "state", "behind_seconds", "synced_at"}  # fmt: skip
    assert {question: keys_of(graph, question) for question in rows.QUESTIONS} == {
        "exposed": {*usual, "also_on"}, "rotate": {*usual, "file", "format", "owner"}, "held_by": usual,
        "behind": usual, "missing": usual,
        "late": {"host", "job", "state", "conclusion", "message", "last_sync", "age_seconds", "intervals",
                 "environment_checked", "answered_at"},
        "identities": {"host", "kind", "identity", "identity_id", "project", "auth_method", "expires_at", "days_left",
                       "least_privilege", "excess", "checked_at"},
    }  # fmt: skip


def test_project_rows_count_secrets_and_vaults(graph: Graph) -> None:
    assert query(graph, "type=secret_project") == [
        {"id": "p1", "name": "Shop", "slug": "shop", "service": URL, "secrets": 5, "vaults": 6}
    ]


def test_secret_state_is_held_unused_or_gone(graph: Graph) -> None:
    found = query(graph, "type=secret")
    assert {row["name"]: (row["state"], row["hosts"]) for row in found} == {
        "DB_PASSWORD": ("held", 3),
        "API_KEY": ("held", 5),
        "LOST": ("gone", 1),
        "FREE": ("held", 2),
        "ELSEWHERE": ("unused", 0),
    }
    assert found[0] == {
        "id": DB, "name": "DB_PASSWORD", "project": "p1", "project_name": "Shop", "environment": "prod",
        "path": "/shop", "version": 4, "updated_at": "2026-01-15T11:00:00Z", "hosts": 3, "state": "held",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["relation=belongs_to target=p1", "target='p1' relation=belongs_to"])
def test_every_secret_belongs_to_its_project(graph: Graph, text: str) -> None:
    assert query(graph, text) == [{"source": id_, "target": "p1"} for id_ in graph.secrets]


def test_vault_has_its_most_urgent_state(graph: Graph) -> None:
    snapshot = Snapshot(graph, NOW)
    assert {one.host: snapshot.state_of_vault(one) for one in graph.vaults.values()} == {
        "web1": "ok", "web2": "stale", "web3": "failed", "web4": "never", "web5": "silent", "web6": "failed"
    }  # fmt: skip


def test_late_vaults_are_returned_whatever_their_state(graph: Graph) -> None:
    late = with_vaults(graph, replace(graph.vaults["web3/shop"], last_sync=OLD))
    found = {row["host"]: row for row in ask(late, "late")}
    assert {host: row["state"] for host, row in found.items()} == {"web2": "stale", "web3": "failed", "web4": "never"}
    assert (found["web2"]["age_seconds"], found["web2"]["intervals"]) == (7200, 8.0)
    assert (found["web3"]["conclusion"], found["web3"]["message"]) == ("forbidden", "Could not list.")
    assert (found["web4"]["last_sync"], found["web4"]["intervals"]) == (None, None)
    locked = ask(with_vaults(graph, vault("web6", problem="wrong key", last_sync=OLD)), "late")
    assert {row["host"]: row["message"] for row in locked}["web6"] == "wrong key"


@pytest.mark.parametrize(("age", "late"), [(1800, False), (1830, True), (-86400, False)])
def test_vault_is_late_if_last_sync_is_over_two_intervals_ago(age: int, late: bool) -> None:
    one = vault("web1", last_sync=format_time(NOW - age))
    assert Snapshot(Graph(), NOW).is_late(one) == late
    assert Snapshot(Graph(), NOW).age(one.last_sync) == max(0, age)


def test_version_is_unknown_before_infisical_lists_it(graph: Graph) -> None:
    unlisted = replace(graph, secrets={**graph.secrets, DB: KnownSecret(SHOP, "DB_PASSWORD", 4)})
    found = ask(unlisted, "held_by", secret="DB_PASSWORD")
    assert [(row["host"], row["state"], row["behind_seconds"]) for row in found] == [
        ("web1", "unknown", None), ("web2", "behind", None), ("web6", "unknown", None)
    ]  # fmt: skip
    summary = Snapshot(unlisted, NOW).summary()
    assert (summary["unknown"], summary["behind"]) == (2, 1)


def test_deleted_and_recreated_secret_counts_as_another_secret(graph: Graph) -> None:
    def state(version: int, held: Hold) -> str:
        again = KnownSecret(SHOP, "DB_PASSWORD", version, FRESH, id="new")
        return Snapshot(replace(graph, secrets={DB: again}), NOW).state_of_hold(held)

    for version in (1, 4, 9):
        assert state(version, Hold(DB, 4, OLD, None, "old")) == "behind"
    assert state(4, Hold(DB, 4, OLD, None, "new")) == "current"
    # Servers and older agents may not report ids.
    assert state(4, Hold(DB, 4, OLD)) == "current"
    # Only the host knows this version: it is newer than the last listing, or the server was restored from a backup.
    assert state(3, Hold(DB, 4, OLD, None, "new")) == "unknown"


def test_problems_explain_which_locations_were_not_listed(graph: Graph) -> None:
    assert problems(graph) == ["forbidden (1 location)"]
    locations = [Location("p1", f"env{number}", "/") for number in range(9)]
    sources = {one: Source(one, FRESH, f"no {one.environment}\x1b") for one in locations[:5]}
    # A host may have invented locations that were never listed. They must not hide the rest.
    sources.update({one: Source(one, None, "ALL IS WELL") for one in locations[5:]})
    assert problems(replace(graph, sources=sources)) == [
        "no env0\\x1b (1 location)", "no env1\\x1b (1 location)", "no env2\\x1b (1 location)", "2 more reasons",
        "4 locations never listed (the reasons are in the graph file, under sources)",
    ]  # fmt: skip
    assert problems(replace(graph, sources={})) == []


def test_row_of_an_outdated_secret_contains_the_delay(graph: Graph) -> None:
    [row] = ask(graph, "behind")
    assert row == {
        "id": DB, "name": "DB_PASSWORD", "project": "p1", "project_name": "Shop", "environment": "prod",
        "path": "/shop", "host": "web2", "job": "shop", "version": 3, "current_version": 4, "state": "behind",
        "behind_seconds": 3600, "synced_at": OLD,
    }  # fmt: skip


def test_held_by_also_returns_vaults_of_deleted_secrets(graph: Graph) -> None:
    [lost] = ask(graph, "held_by", secret="LOST")
    assert (lost["host"], lost["state"], lost["behind_seconds"]) == ("web2", "gone", None)
    assert column(ask(graph, "held_by", secret=DB), "host") == ["web1", "web2", "web6"]
    assert ask(graph, "held_by", secret="ELSEWHERE") == []


def missing(graph: Graph) -> list[tuple[str, str]]:
    return [(row["host"], row["path"] + "/" + row["name"]) for row in ask(graph, "missing")]


def test_secret_in_a_jobs_scope_but_not_its_vault_is_missing(graph: Graph) -> None:
    found = missing(graph)
    assert ("web4", "/shop/API_KEY") in found and ("web2", "/shop/FREE") in found
    assert {row["behind_seconds"] for row in ask(graph, "missing") if row["name"] == "FREE"} == {60}
    # A secret outside the job's folder, or deleted in Infisical, is not missing.
    assert {name for _host, name in found} == {"/shop/DB_PASSWORD", "/shop/API_KEY", "/shop/FREE"}
    assert not [host for host, _name in found if host in ("web1", "web6")]


def test_secret_is_not_missing_if_its_name_is_in_the_vault(graph: Graph) -> None:
    deep = Location("p1", "prod", "/shop/deep")
    twin = {secret_id(deep, "API_KEY"): KnownSecret(deep, "API_KEY", 1, FRESH)}
    one = graph.vaults["web1/shop"]
    wider = replace(graph, secrets={**graph.secrets, **twin}, vaults={one.id: one})
    assert missing(wider) == []
    apart = replace(SCOPE, key_format="{path}_{key}")
    wider = with_vaults(wider, replace(one, scope=apart))
    assert missing(wider) == [("web1", "/shop/deep/API_KEY")]
    assert missing(with_vaults(wider, replace(one, scope=replace(apart, recursive=False)))) == []
    normal = replace(SCOPE, normalize_names=True)
    names = {id_: KnownSecret(SHOP, name, 1, FRESH) for id_, name in ((API, "API_KEY"), (FREE, "api-key"))}
    held = replace(graph.vaults["web3/shop"], scope=normal, holds=(Hold(FREE, 1, FRESH, "API_KEY"),))
    assert missing(replace(graph, secrets=names, vaults={held.id: held})) == []


def test_rotate_returns_every_host_job_and_file(graph: Graph) -> None:
    found = ask(graph, "rotate", secret="DB_PASSWORD")
    assert [(row["host"], row["file"], row["state"]) for row in found] == [
        ("web1", "/run/a", "current"),
        ("web1", "/run/b", "current"),
        ("web2", "/run/a", "behind"),
        ("web2", "/run/b", "behind"),
        # The secret has another name in this vault, which the patterns of the first file do not match.
        ("web6", "/run/b", "current"),
    ]
    assert ask(graph, "rotate", secret=DB) == found
    assert ("web3", "") in [(row["host"], row["file"]) for row in ask(graph, "rotate", secret="API_KEY")]
    [nowhere] = ask(graph, "rotate", secret="ELSEWHERE")
    assert (nowhere["host"], nowhere["state"]) == ("", "unused")


def test_exposed_lists_other_hosts_with_the_same_secret(graph: Graph) -> None:
    found = {row["name"]: row["also_on"] for row in ask(graph, "exposed", host="web2")}
    assert found == {"DB_PASSWORD": ["web1", "web6"], "API_KEY": ["web1", "web3", "web5", "web6"], "LOST": []}
    assert ask(graph, "exposed", host="web4") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "question: must be set if query is not set, and only then."),
        ({"question": "late", "query": "type=secret"}, "question: must be set if query is not set, and only then."),
        (
            {"question": "lost"},
            "question: must be one of exposed, rotate, held_by, behind, missing, late, identities (got 'lost').",
        ),
        ({"question": "exposed"}, "host: is required for the question exposed."),
        ({"question": "rotate"}, "secret: is required for the question rotate."),
        ({"question": "held_by", "host": "web1", "secret": "LOST"}, "host: must not be set with the question held_by."),
        ({"question": "behind", "host": "web1"}, "host: must not be set with the question behind."),
        ({"query": "type=secret", "secret": "LOST"}, "secret: must not be set with query."),
        ({"question": "exposed", "host": "web9"}, "host: must be a host in the graph (got 'web9')."),
        ({"question": "exposed", "host": "web*"}, "host: must be a host in the graph (got 'web*')."),
        ({"question": "rotate", "secret": "NO"}, "secret: must be the name or id of a secret in the graph (got 'NO')."),
        ({"question": "held_by", "secret": "db_password"}, "(got 'db_password')."),
        ({"query": "relation=belongs_to target=p2"}, "target must be the id of a project in the graph (got 'p2')."),
        ({"query": "type=secret state=unused"}, "(got 'type=secret state=unused'). Use question for other questions"),
        ({"query": "relation=belongs_to"}, "query: must be type=secret, type=secret_project or relation=belongs_to"),
        ({"query": "type=agent_vault"}, "query: must be type=secret"),
        ({"query": "type='secret"}, "query: must be type=secret"),
    ],
)
def test_invalid_query_error_states_the_rule(graph: Graph, given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        rows.ask(graph, NOW, **given)


@pytest.mark.parametrize(
    "unknown",
    [
        AgentVault("web9", "", silent=True),
        vault("web9", problem="wrong key", answered_at=FRESH),
        vault("web9", silent=True, last_sync=None),
    ],
)
def test_vault_with_unknown_content_is_in_every_result(graph: Graph, unknown: AgentVault) -> None:
    graph = with_vaults(graph, unknown)
    assert unknown_hosts(graph) == ["web9"]
    for question in ("rotate", "held_by"):
        *_rows, row = ask(graph, question, secret="DB_PASSWORD")
        assert (row["host"], row["name"], row["state"], row.get("file", "")) == ("web9", "", "unknown", "")
    [row] = ask(graph, "exposed", host="web9")
    assert (row["host"], row["name"], row["state"], row["also_on"]) == ("web9", "", "unknown", [])
    assert "web9" not in column(ask(graph, "exposed", host="web1"), "host")


# The table

COLUMNS = [
    "host", "job", "vault_state", "project", "project_name", "environment", "path", "name", "version",
    "current_version", "state", "behind_seconds", "synced_at", "last_sync", "identity", "days_left",
    "least_privilege",
]  # fmt: skip


def cells(graph: Graph) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table.render_table(Snapshot(graph, NOW)).decode("utf-8"), newline="")))


def test_table_has_a_row_for_each_host_job_and_secret(graph: Graph) -> None:
    head, *lines = cells(graph)
    assert head == COLUMNS
    found = [dict(zip(head, row)) for row in lines]
    assert {len(row) for row in lines} == {len(head)}
    behind = [row for row in found if row["state"] == "behind"]
    assert [(row["host"], row["name"], row["version"], row["current_version"]) for row in behind] == [
        ("web2", "DB_PASSWORD", "3", "4")
    ]
    counts = Snapshot(graph, NOW).summary()
    assert sum(row["state"] == "missing" for row in found) == counts["missing"] == 8
    assert len(found) == counts["held"] + counts["missing"]
    assert {row["host"]: row["vault_state"] for row in found}["web3"] == "failed"


def test_table_has_the_same_cells_as_the_rows_of_questions(graph: Graph) -> None:
    recreated = vault("web7", Hold(API, 2, OLD, None, "id-1"), Hold(FREE, 2, FRESH))
    secrets = {**graph.secrets, API: graph.secrets[API]._replace(id="id-2")}
    graph = replace(with_vaults(graph, recreated, AgentVault("web9", "", silent=True)), secrets=secrets)
    snapshot = Snapshot(graph, NOW)
    expected = []
    for one in graph.vaults.values():
        missing = [row for row in ask(graph, "missing") if (row["host"], row["job"]) == (one.host, one.job)]
        for row in [*rows.held_rows(snapshot, one), *missing] or [{"host": one.host}]:
            full = {**row, "vault_state": snapshot.state_of_vault(one), "last_sync": one.last_sync}
            own = next(each for each in ask(graph, "identities") if each["host"] == one.host)
            full.update({name: own[name] for name in ("identity", "days_left", "least_privilege")})
            expected.append(["" if full.get(name) is None else str(full[name]) for name in COLUMNS])
    found = cells(graph)[1:]
    assert found == expected
    states = {row[COLUMNS.index("state")] for row in found}
    assert states == {"current", "behind", "gone", "unknown", "missing", ""}


def test_vault_without_secrets_has_a_row() -> None:
    silent = AgentVault("web9", "", silent=True)
    [_head, row] = cells(Graph("", {}, {}, {silent.id: silent}))
    assert row[:3] == ["web9", "", "silent"]


def test_table_quotes_cells_like_the_csv_module() -> None:
    for name in ('say "hi"', "a,b", "a\nb", "a\rb", "a;b", " a ", "é", "", '"'):
        expected = io.StringIO()
        csv.writer(expected).writerow(["web1", name, "silent"])
        silent = AgentVault("web1", name, silent=True)
        text = table.render_table(Snapshot(Graph("", {}, {}, {silent.id: silent}), NOW)).decode("utf-8")
        assert text.partition("\r\n")[2] == expected.getvalue().replace("\r\n", ",,,,,,,,,,,,,,unknown\r\n"), name


def test_table_replaces_lone_surrogates() -> None:
    odd = AgentVault("web\ud800", "", silent=True)
    assert cells(Graph("", {}, {}, {odd.id: odd}))[1][0] == "web?"


def test_formula_after_any_separator_is_escaped() -> None:
    names = [*(f"a{sign}=1+1" for sign in ";,|\t\r\n"), 'a;"=1"', "a; =1", "a\t -1", "a;'+1", "a,;@x", ";=1", "\n=1"]
    graph = Graph("", {}, {}, {one.id: one for one in (AgentVault(name, "", silent=True) for name in names)})
    text = table.render_table(Snapshot(graph, NOW)).decode("utf-8")
    for separator in ";\t|,":
        found = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        formulas = [cell for row in found for cell in row if cell.lstrip().startswith(("=", "+", "-", "@"))]
        assert not formulas, separator
    for line in re.split("[\r\n]+", text):
        assert not line.startswith(("=", "+", "-", "@"))


def test_long_run_of_separators_is_escaped_quickly() -> None:
    name = "; " * 100_000
    assert table.escape(name + "x") == name + "x"
    assert table.escape(name + "=") == name + "'="


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1", '=HYPERLINK("x")', "-")


@pytest.mark.parametrize("name", FORMULAS)
def test_formula_in_any_column_is_escaped(name: str) -> None:
    location = Location(name, name, "/" + name)
    id_ = secret_id(location, name)
    odd = AgentVault(
        name, name, service=name, conclusion=name, message=name, last_sync=name, holds=(Hold(id_, 1, name),)
    )
    graph = Graph(
        "", {name: KnownProject(name, name, name, name)}, {id_: KnownSecret(location, name, 1, FRESH)}, {odd.id: odd}
    )
    _head, row = cells(graph)
    assert row.count(table.escape(name)) == 8
    assert not [text for text in row if text.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))]


def test_table_cells_without_formulas_stay_unchanged(graph: Graph) -> None:
    for name in ('<script>"', "a,b", "two\nlines", "a=b", "1", "é"):
        assert table.escape(name) == name
        one = AgentVault(name, "")
        assert cells(Graph("", {}, {}, {one.id: one}))[1][0] == name


def test_summary_counts_every_state(graph: Graph) -> None:
    counts = Snapshot(graph, NOW).summary()
    assert counts == {
        "services": 1, "projects": 1, "secrets": 5, "secrets_unused": 1, "secrets_gone": 1, "hosts": 6, "vaults": 6,
        "vaults_ok": 1, "vaults_failed": 2, "vaults_stale": 1, "vaults_never": 1, "vaults_silent": 1, "held": 11,
        "behind": 1, "gone": 1, "unknown": 0, "missing": 8, "least_privilege_kept": 0, "least_privilege_exceeded": 0,
        "least_privilege_shared": 0, "least_privilege_unknown": 6,
    }  # fmt: skip


def test_manual_describes_every_query_and_key(graph: Graph) -> None:
    page = MANUAL.read_text("utf-8")
    usual = keys_of(graph, "held_by")
    described = {f"question: {name}": keys_of(graph, name) - usual for name in rows.QUESTIONS}
    described["question: held_by"] = usual
    for text in ("type=secret", "type=secret_project"):
        described[f"query: {text}"] = set(query(graph, text)[0])
    for words, keys in described.items():
        [entry] = re.findall(rf"(?ms)^   \* - ``{words}``.*?(?=^   \* - |\n\n)", page)
        assert set(re.findall(r"``([a-z_]+)``", entry)) >= keys, words
    for name in COLUMNS:
        assert f"``{name}``" in page
