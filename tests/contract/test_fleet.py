# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listings of servers for the metadata graph: which requests are sent, and that no value is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import collect, documents
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    AgentVault,
    Graph,
    Hold,
    JobScope,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.snapshot import Snapshot, problems
from contract.targets import ENVIRONMENT, PROJECT, Controlled, error_of

TIME = "2026-01-15T10:00:00Z"
CANARY = "Canary5b81f0"


def graph_of(*scopes: JobScope, holds: tuple[tuple[str, str], ...] = ()) -> Graph:
    """A host with a job for each scope. The first job holds these secrets (path, name)."""
    secrets = {}
    for path, name in holds:
        location = Location(PROJECT, ENVIRONMENT, path)
        secrets[fleet.secret_id(location, name)] = fleet.KnownSecret(location, name)
    found = [AgentVault("", f"job{number}", scope=scope) for number, scope in enumerate(scopes)]
    found[0] = AgentVault("", "job0", scope=scopes[0], holds=tuple(Hold(id_, 1, TIME) for id_ in secrets))
    return fleet.merge_hosts(Graph(), {"web1": fleet.HostAnswer(tuple(found), secrets)}, TIME)


def scope(path: str = "/app", *, project: str = PROJECT, environment: str = ENVIRONMENT, **more: Any) -> JobScope:
    return JobScope((project,), environment, path, **more)


def asked(
    target: Controlled, graph: Graph, who: str = "", *, by: Api | None = None, **options: Any
) -> tuple[Graph, collect.ServerAnswer]:
    connected = by or target.api(who, **options)
    found = collect.ask_server(connected, graph)
    url = connected.transport.settings.url
    return fleet.merge_server(graph, url, found.projects, found.listings, TIME), found


def versions(graph: Graph) -> dict[tuple[str, str], tuple[int, bool]]:
    return {(one.location.secret_path, one.name): (one.version, one.gone) for one in graph.secrets.values()}


def test_graph_contains_names_and_versions_but_no_values(controlled: Controlled) -> None:
    controlled.put("A", CANARY, "/app")
    controlled.put("A", CANARY + "2", "/app")
    controlled.put("B", CANARY, "/app/db")
    after, found = asked(controlled, graph_of(scope()))
    assert versions(after) == {("/app", "A"): (2, False), ("/app/db", "B"): (1, False)}
    assert all(one.updated_at and len(one.updated_at) == len(TIME) for one in after.secrets.values())
    assert after.projects[PROJECT].name == "Contract"
    assert CANARY not in repr((after, found)) + str(documents.render_graph(after))
    listings = [entry for entry in controlled.server.requests("/secrets") if entry["status"] == 200]
    assert [entry["query"]["viewSecretValue"] for entry in listings] == ["false"]
    # Older servers do not know the parameter and send values anyway.
    assert [entry["returned_values"] for entry in listings] == [controlled.kind != "2026-07"]


@pytest.mark.kinds("2026-07")
def test_identity_without_permission_to_read_values_can_list(controlled: Controlled) -> None:
    controlled.put("A", CANARY, "/app")
    after, found = asked(controlled, graph_of(scope()), "hidden")
    assert versions(after) == {("/app", "A"): (1, False)}
    assert found.warnings == []


def test_one_listing_covers_all_jobs_of_an_environment(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    asked(controlled, graph_of(scope("/app"), scope("/app/db"), scope("/", recursive=True)))
    assert len([entry for entry in controlled.server.requests("/secrets") if entry["status"] == 200]) == 1


def test_secret_missing_from_a_listing_is_marked_as_gone(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    before, _found = asked(controlled, graph_of(scope(), holds=(("/app", "A"), ("/app", "B"))))
    assert versions(before) == {("/app", "A"): (1, False), ("/app", "B"): (1, True)}


def test_secrets_of_a_deleted_folder_are_marked_as_gone(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    after, found = asked(controlled, graph_of(scope(), holds=(("/app", "A"), ("/no/such", "B"))))
    assert versions(after)["/no/such", "B"] == (1, True)
    assert found.warnings == []


@pytest.mark.kinds("2026-07")
def test_folder_missing_from_a_recursive_listing_is_requested(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    controlled.put("A", "1", "/app")
    graph = graph_of(scope("/"), holds=(("/app", "A"), ("/guarded", "B")))
    by = controlled.api()
    whole = by.list_changes

    def list_and_forbid_the_next(*arguments: Any, **options: Any) -> Any:
        found = whole(*arguments, **options)
        controlled.server.arm("status", status=403, error="PermissionDenied", method="GET", path="/secrets")
        return found

    monkeypatch.setattr(by, "list_changes", list_and_forbid_the_next)
    after, found = asked(controlled, graph, by=by)
    assert versions(after)["/guarded", "B"] == (1, False)
    assert "path /guarded" in found.warnings[0]


@pytest.mark.kinds("2026-07")
def test_listing_a_folder_keeps_secrets_of_a_listed_subfolder(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_deleted_and_recreated_secret_counts_as_a_new_secret(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    known, _found = asked(controlled, graph_of(scope(), holds=(("/app", "A"),)))
    [id_], [before] = known.secrets, known.secrets.values()
    [vault] = known.vaults.values()

    def state(graph: Graph) -> str:
        [vault] = graph.vaults.values()
        return Snapshot(graph, 0.0).state_of_hold(vault.holds[0])

    held = replace(known, vaults={vault.id: replace(vault, holds=(Hold(id_, 1, TIME, None, before.id),))})
    states = [state(held)]
    controlled.server.delete_secret(PROJECT, ENVIRONMENT, "/app", "A")
    controlled.put("A", "2", "/app")
    after, _found = asked(controlled, held)
    states.append(state(after))
    assert before.id and versions(after) == {("/app", "A"): (1, False)}
    assert states == ["current", "behind"]


def beside(graph: Graph, host: str, *scopes: JobScope) -> Graph:
    """The same with another host that has a job for each of these scopes."""
    vaults = tuple(AgentVault("", f"job{number}", scope=scope) for number, scope in enumerate(scopes))
    return fleet.merge_hosts(graph, {host: fleet.HostAnswer(vaults)}, TIME)


@pytest.mark.kinds("2026-07")
def test_fake_folders_from_a_host_do_not_hide_other_folders(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    invented = tuple((f"/!{number:03}", "B") for number in range(60))
    known, _found = asked(controlled, graph_of(scope(), holds=(("/app", "A"), ("/deleted", "B"), *invented)))
    listed = {
        id_: one._replace(gone=False, updated_at=TIME) if one.location.secret_path == "/deleted" else one
        for id_, one in known.secrets.items()
    }
    controlled.server.arm("status", status=403, error="PermissionDenied", method="GET", path="/secrets")
    before = len(controlled.server.requests("/secrets"))
    after, found = asked(controlled, replace(known, secrets=listed))
    folders = [entry["query"]["secretPath"] for entry in controlled.server.requests("/secrets")[before:]]
    # A folder that the server has listed before comes first.
    assert folders[1:3] == ["/app", "/deleted"] and len(folders) <= len(invented) + 3
    assert versions(after)["/app", "A"] == (1, False)
    assert versions(after)["/deleted", "B"] == (1, True)
    assert found.warnings == []


def test_fake_projects_from_a_host_do_not_hide_other_projects(controlled: Controlled) -> None:
    controlled.put("Z", "1", "/app")
    odd = ["", ".", "..", "x" * 255, *(f"!{number}" for number in range(60))]
    graph = beside(graph_of(scope(), holds=(("/app", "Z"),)), "evil", *(scope(project=id_) for id_ in odd))
    after, found = asked(controlled, graph)
    assert versions(after) == {("/app", "Z"): (1, False)}
    assert [one.updated_at is None for one in after.secrets.values()] == [False]
    assert len(found.warnings) <= 21
    assert "more locations could not be listed" in found.warnings[-1]
    assert not [entry for entry in controlled.server.requests("/secrets") if "!" in str(entry["query"])]
    assert problems(after) == [f"{len(odd)} locations never listed (the reasons are in the graph file, under sources)"]


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize(
    ("fault", "before", "listings"),
    [("429", False, 2), ("500", True, 4), ("500", False, 4), ("403", True, 3), ("403", False, 3)],
)
def test_overloaded_server_gets_no_further_requests(
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
    stops = fault in ("429", "500")
    assert ("overloaded or fails" in found.warnings[0]) == stops
    assert len(found.listings) == 3


@pytest.mark.kinds("2026-07")
def test_folders_are_listed_if_the_root_folder_is_forbidden(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    controlled.put("B", "1", "/guarded")
    controlled.server.arm("status", status=403, error="PermissionDenied", method="GET", path="/secrets")
    graph = graph_of(scope("/app"), scope("/app/db"), scope("/importing"), holds=(("/app", "A"), ("/other", "C")))
    after, found = asked(controlled, graph)
    assert versions(after)["/app", "A"] == (1, False)
    assert ("/guarded", "B") not in versions(after)
    assert {one.location.secret_path for one in found.listings} >= {"/app", "/importing"}
    assert found.warnings == []
    assert "/app/db" not in {one.location.secret_path for one in found.listings}


def test_location_that_does_not_exist_causes_a_warning(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    after, found = asked(
        controlled, graph_of(scope(), scope(environment="no-such"), scope(project="no-such"), holds=(("/app", "A"),))
    )
    assert versions(after)["/app", "A"] == (1, False)
    assert len(found.warnings) == 2
    assert all("or give the machine identity access" in text for text in found.warnings)
    assert {source.location.environment for source in after.sources.values() if source.problem} == {
        "no-such",
        ENVIRONMENT,
    }


def test_graph_stays_unchanged_if_the_identity_has_no_permission(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    before = graph_of(scope(), holds=(("/app", "A"),))
    after, found = asked(controlled, before, "nobody")
    assert versions(after) == versions(before)
    assert found.warnings


def test_unreachable_server_causes_one_warning(controlled: Controlled) -> None:
    before = graph_of(scope(), scope(environment="prod"), holds=(("/app", "A"),))
    after, found = asked(controlled, before, url="http://127.0.0.1:1", connection_wait=0.0)
    assert versions(after) == versions(before)
    assert len(found.warnings) == 1
    assert "Infisical is unreachable" in found.warnings[0]
    assert {source.problem is None for source in after.sources.values()} == {False}


def test_rejected_credentials_raise_an_error(controlled: Controlled) -> None:
    connected = controlled.api(client_secret="wrong")
    error = error_of(collect.ask_server, connected, graph_of(scope()))
    assert error.conclusion == "credentials_rejected"


def test_rejected_token_raises_an_error(controlled: Controlled) -> None:
    connected = controlled.api(auth_method="token", token="none")
    error = error_of(collect.ask_server, connected, graph_of(scope()))
    assert error.conclusion == "token_rejected"


@pytest.mark.kinds("2026-07")
def test_failure_to_list_projects_causes_a_warning(controlled: Controlled) -> None:
    controlled.put("A", "1", "/app")
    controlled.server.arm("status", status=400, error="BadRequest", method="GET", path="/projects")
    after, found = asked(controlled, graph_of(scope(), holds=(("/app", "A"),)))
    assert versions(after) == {("/app", "A"): (1, False)}
    assert [one.updated_at is None for one in after.secrets.values()] == [False]
    assert "Could not update the names of projects" in found.warnings[0]


@pytest.mark.kinds("2026-07")
def test_identity_without_any_project_lists_nothing(controlled: Controlled, monkeypatch: pytest.MonkeyPatch) -> None:
    by = controlled.api()
    monkeypatch.setattr(by, "projects", list)
    _after, found = asked(controlled, graph_of(scope()), by=by)
    assert "does not exist, or this machine identity" in found.warnings[0]
    assert controlled.server.requests("/secrets") == []


def test_graph_without_vaults_sends_no_request(controlled: Controlled) -> None:
    found = collect.ask_server(controlled.api(), Graph())
    assert (found.projects, found.listings, found.warnings) == ([], [], [])
    assert controlled.server.requests() == []
