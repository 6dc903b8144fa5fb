# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers are asked for the metadata graph, and that no value comes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import collect as inquiry
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import rows as fleet_query
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    AgentVault,
    Graph,
    Hold,
    JobScope,
)
from contract.targets import ENVIRONMENT, PROJECT, Controlled, error_of

TIME = "2026-01-15T10:00:00Z"
CANARY = "Canary5b81f0"
ROOT = fleet.Place(PROJECT, ENVIRONMENT, "/")


def graph_of(*scopes: JobScope, holds: tuple[tuple[str, str], ...] = ()) -> Graph:
    """A host with a job for each scope, the first of which holds these (path, name)."""
    secrets = {}
    for path, name in holds:
        place = ROOT._replace(path=path)
        secrets[fleet.secret_id(place, name)] = fleet.KnownSecret(place, name)
    found = [AgentVault("", f"job{number}", scope=scope) for number, scope in enumerate(scopes)]
    found[0] = AgentVault("", "job0", scope=scopes[0], holds=tuple(Hold(id_, 1, TIME) for id_ in secrets))
    return fleet.with_hosts(Graph(), {"web1": fleet.HostAnswer(tuple(found), secrets)}, TIME)


def scope(path: str = "/app", *, project: str = PROJECT, environment: str = ENVIRONMENT, **more: Any) -> JobScope:
    return JobScope((project,), environment, path, **more)


def asked(
    target: Controlled, graph: Graph, who: str = "", *, by: Api | None = None, **options: Any
) -> tuple[Graph, inquiry.Inquiry]:
    connected = by or target.api(who, **options)
    found = inquiry.inquire(connected, graph)
    url = connected.transport.settings.url
    return fleet.with_server(graph, url, found.projects, found.listings, TIME), found


def versions(graph: Graph) -> dict[tuple[str, str], tuple[int, bool]]:
    return {(one.place.path, one.name): (one.version, one.gone) for one in graph.secrets.values()}


def test_names_versions_and_times_come_and_values_stay_or_are_dropped(controlled: Controlled) -> None:
    controlled.put("A", CANARY, "/app")
    controlled.put("A", CANARY + "2", "/app")
    controlled.put("B", CANARY, "/app/db")
    after, found = asked(controlled, graph_of(scope()))
    assert versions(after) == {("/app", "A"): (2, False), ("/app/db", "B"): (1, False)}
    assert all(one.updated_at and one.updated_at.endswith("Z") for one in after.secrets.values())
    assert after.projects[PROJECT].name == "Contract"
    assert CANARY not in repr((after, found)) + str(fleet.document(after))
    listings = [entry for entry in controlled.server.requests("/secrets") if entry["status"] == 200]
    assert [entry["query"]["viewSecretValue"] for entry in listings] == ["false"]
    # Servers before that parameter send values whatever one asks for.
    assert [entry["returned_values"] for entry in listings] == [controlled.kind != "2026-07"]


@pytest.mark.kinds("2026-07")
def test_an_identity_that_may_not_read_values_suffices(controlled: Controlled) -> None:
    controlled.put("A", CANARY, "/app")
    after, found = asked(controlled, graph_of(scope()), "hidden")
    assert versions(after) == {("/app", "A"): (1, False)}
    assert found.warnings == []


def test_one_listing_serves_all_jobs_of_an_environment(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    asked(controlled, graph_of(scope("/app"), scope("/app/db"), scope("/", recursive=True)))
    assert len([entry for entry in controlled.server.requests("/secrets") if entry["status"] == 200]) == 1


def test_a_secret_that_was_deleted_is_gone(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    before, _found = asked(controlled, graph_of(scope(), holds=(("/app", "A"), ("/app", "B"))))
    assert versions(before) == {("/app", "A"): (1, False), ("/app", "B"): (1, True)}


def test_a_folder_that_was_deleted_is_gone_with_its_secrets(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    after, found = asked(controlled, graph_of(scope(), holds=(("/app", "A"), ("/no/such", "B"))))
    assert versions(after)["/no/such", "B"] == (1, True)
    assert found.warnings == []


@pytest.mark.kinds("2026-07")
def test_a_folder_that_a_listing_leaves_out_in_silence_is_asked_for_by_itself(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    controlled.put("A", "1", "/app")
    graph = graph_of(scope("/"), holds=(("/app", "A"), ("/guarded", "B")))
    by = controlled.api()
    whole = by.list_secrets

    def list_and_forbid_the_next(*arguments: Any, **options: Any) -> Any:
        found = whole(*arguments, **options)
        controlled.server.arm("status", status=403, error="PermissionDenied", method="GET", path="/secrets")
        return found

    monkeypatch.setattr(by, "list_secrets", list_and_forbid_the_next)
    after, found = asked(controlled, graph, by=by)
    assert versions(after)["/guarded", "B"] == (1, False)
    assert "path /guarded stay as they were known" in found.warnings[0]


@pytest.mark.kinds("2026-07")
def test_a_folder_that_does_answer_keeps_its_secrets(controlled: Controlled, monkeypatch: pytest.MonkeyPatch) -> None:
    controlled.put("A", "1", "/app")
    controlled.put("B", "1", "/hidden")
    by = controlled.api()
    whole = by.list_secrets

    def list_without_the_hidden(scope: Any, **options: Any) -> Any:
        found = whole(scope, **options)
        seen = tuple(one for one in found.secrets if one.secret_path != "/hidden" or not options["recursive"])
        return replace(found, secrets=seen)

    monkeypatch.setattr(by, "list_secrets", list_without_the_hidden)
    graph = graph_of(scope("/"), holds=(("/app", "A"), ("/hidden", "B"), ("/hidden", "C")))
    after, found = asked(controlled, graph, by=by)
    assert versions(after) == {("/app", "A"): (1, False), ("/hidden", "B"): (1, False), ("/hidden", "C"): (1, True)}
    assert found.warnings == []


@pytest.mark.kinds("2026-07")
def test_a_secret_that_was_made_anew_is_another_one(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    known, _found = asked(controlled, graph_of(scope(), holds=(("/app", "A"),)))
    [id_], [before] = known.secrets, known.secrets.values()
    [vault] = known.vaults.values()
    held = replace(known, vaults={vault.id: replace(vault, holds=(Hold(id_, 1, TIME, None, before.id),))})
    states = [fleet_query.ask(held, "relation=synced_to", 0.0)[0]["state"]]
    controlled.server.delete_secret(PROJECT, ENVIRONMENT, "/app", "A")
    controlled.put("A", "2", "/app")
    after, _found = asked(controlled, held)
    states.append(fleet_query.ask(after, "relation=synced_to", 0.0)[0]["state"])
    assert before.id and versions(after) == {("/app", "A"): (1, False)}
    assert states == ["current", "behind"]


def invented(number: int = 300) -> tuple[tuple[str, str], ...]:
    return tuple((f"/!{each:03}", "B") for each in range(number))


def beside(graph: Graph, host: str, *scopes: JobScope) -> Graph:
    """The same with another host that has a job for each of these scopes."""
    vaults = tuple(AgentVault("", f"job{number}", scope=scope) for number, scope in enumerate(scopes))
    return fleet.with_hosts(graph, {host: fleet.HostAnswer(vaults)}, TIME)


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("root", ["seen", "forbidden"])
def test_a_host_cannot_make_the_report_ask_for_any_number_of_folders(controlled: Controlled, root: str) -> None:
    controlled.put("A", "1", "/app")
    known, _found = asked(controlled, graph_of(scope("/"), holds=(("/app", "A"), ("/deleted", "B"), *invented())))
    # What a server has told of before is asked for first, whatever hosts name besides.
    told = {
        id_: one._replace(gone=False, updated_at=TIME) if one.place.path == "/deleted" else one
        for id_, one in known.secrets.items()
    }
    known = replace(known, secrets=told)
    if root == "forbidden":
        controlled.server.arm("status", status=403, error="PermissionDenied", method="GET", path="/secrets")
    before = len(controlled.server.requests())
    after, found = asked(controlled, known)
    assert len(controlled.server.requests()) - before <= inquiry.MOST_IN_VAIN + 5
    assert versions(after)["/app", "A"] == (1, False)
    assert versions(after)["/deleted", "B"] == (1, True)
    assert f"have named {inquiry.MOST_IN_VAIN} other projects" in found.warnings[0]
    assert len(found.warnings) <= 2
    assert fleet_query.problems(after)


def test_a_host_that_invents_projects_keeps_no_other_from_being_asked_for(controlled: Controlled) -> None:
    controlled.put("Z", "1", "/app")
    odd = ["", ".", "..", "x" * 255, *(f"!{number}" for number in range(300))]
    graph = beside(graph_of(scope(), holds=(("/app", "Z"),)), "evil", *(scope(project=id_) for id_ in odd))
    after, found = asked(controlled, graph)
    assert versions(after) == {("/app", "Z"): (1, False)}
    assert [one.updated_at is None for one in after.secrets.values()] == [False]
    assert len(controlled.server.requests()) <= 3 * inquiry.MOST_IN_VAIN + 8
    assert len(found.warnings) <= 21
    assert "more warnings like these" in found.warnings[-1]
    assert not [entry for entry in controlled.server.requests("/secrets") if "!" in str(entry["query"])]


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize(
    ("fault", "before", "listings"),
    [("429", False, 2), ("500", True, 4), ("500", False, 6), ("403", True, 3), ("403", False, 3)],
)
def test_a_server_that_cannot_answer_now_is_not_asked_on(
    controlled: Controlled, fault: str, before: bool, listings: int
) -> None:
    slugs = [ENVIRONMENT, "prod", "staging"]
    graph = beside(beside(graph_of(scope("/")), "web2", scope("/", environment="prod")), "web3",
                   scope("/", environment="staging"))  # fmt: skip
    if before:
        for slug in slugs:
            controlled.put("A", "1", "/", slug)
        graph, _found = asked(controlled, graph)
    sent = len(controlled.server.requests("/secrets"))
    controlled.server.arm("status", status=int(fault), error="Fault", method="GET", path="/secrets", times=None)
    _after, found = asked(controlled, graph)
    assert len(controlled.server.requests("/secrets")) - sent == listings
    # Two failures for what it has told of are the server's own, others may be some host's doing.
    stops = fault == "429" or (fault == "500" and before)
    assert ("cannot answer now" in found.warnings[0]) == stops
    assert len(found.listings) == 3


@pytest.mark.kinds("2026-07")
def test_where_the_whole_environment_may_not_be_seen_the_jobs_own_folders_are_listed(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    controlled.put("B", "1", "/guarded")
    controlled.server.arm("status", status=403, error="PermissionDenied", method="GET", path="/secrets")
    graph = graph_of(scope("/app"), scope("/app/db"), scope("/importing"), holds=(("/app", "A"), ("/other", "C")))
    after, found = asked(controlled, graph)
    assert versions(after)["/app", "A"] == (1, False)
    assert ("/guarded", "B") not in versions(after)
    assert {one.place.path for one in found.listings} >= {"/app", "/importing"}
    assert found.warnings == []
    assert "/app/db" not in {one.place.path for one in found.listings}


def test_a_place_that_does_not_exist_is_told_and_stays_as_it_was_known(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    after, found = asked(
        controlled, graph_of(scope(), scope(environment="no-such"), scope(project="no-such"), holds=(("/app", "A"),))
    )
    assert versions(after)["/app", "A"] == (1, False)
    assert len(found.warnings) == 2
    assert all("stay as they were known" in text for text in found.warnings)
    assert {source.place.environment for source in after.sources.values() if source.problem} == {"no-such", ENVIRONMENT}


def test_an_identity_without_permission_leaves_all_as_it_was_known(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    before = graph_of(scope(), holds=(("/app", "A"),))
    after, found = asked(controlled, before, "nobody")
    assert versions(after) == versions(before)
    assert found.warnings


def test_an_infisical_that_is_not_reached_is_told_once_and_asked_no_more(controlled: Controlled) -> None:
    before = graph_of(scope(), scope(environment="prod"), holds=(("/app", "A"),))
    after, found = asked(controlled, before, url="http://127.0.0.1:1", connection_wait=0.0)
    assert versions(after) == versions(before)
    assert len(found.warnings) == 1
    assert "not reached" in found.warnings[0]
    assert {source.problem is None for source in after.sources.values()} == {False}


def test_credentials_that_are_rejected_end_it(controlled: Controlled) -> None:
    connected = controlled.api(client_secret="wrong")
    error = error_of(inquiry.inquire, connected, graph_of(scope()))
    assert error.conclusion == "credentials_rejected"


def test_a_token_that_is_rejected_ends_it(controlled: Controlled) -> None:
    connected = controlled.api(auth_method="token", token="none")
    error = error_of(inquiry.inquire, connected, graph_of(scope()))
    assert error.conclusion == "token_rejected"


@pytest.mark.kinds("2026-07")
def test_a_list_of_projects_that_fails_is_told_and_the_rest_is_asked_for(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    controlled.server.arm("status", status=400, error="BadRequest", method="GET", path="/projects")
    after, found = asked(controlled, graph_of(scope(), holds=(("/app", "A"),)))
    assert versions(after) == {("/app", "A"): (1, False)}
    assert [one.updated_at is None for one in after.secrets.values()] == [False]
    assert "Names of projects stay as they were known" in found.warnings[0]


@pytest.mark.kinds("2026-07")
def test_an_identity_without_any_project_lists_nothing(controlled: Controlled, monkeypatch: pytest.MonkeyPatch) -> None:
    by = controlled.api()
    monkeypatch.setattr(by, "projects", list)
    _after, found = asked(controlled, graph_of(scope()), by=by)
    assert "does not exist, or this machine identity" in found.warnings[0]
    assert controlled.server.requests("/secrets") == []


def test_a_graph_without_vaults_asks_nothing(controlled: Controlled) -> None:
    found = inquiry.inquire(controlled.api(), Graph())
    assert (found.projects, found.listings, found.warnings) == ([], [], [])
    assert controlled.server.requests() == []
