# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the identity of a host may read, whether that is more than its jobs need, and what is exposed after a leak."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    IdentityMissing,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import documents, revocation, rows
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.access import (
    Access,
    Need,
    parse_access,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    AgentVault,
    Graph,
    Hold,
    HostIdentity,
    JobScope,
    KnownSecret,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.snapshot import Snapshot

NOW, TIME = 1_768_471_200.0, "2026-01-15T10:00:00Z"
READ = ("describeSecret", "readValue")


def may(path: Any, environment: Any = "prod", *, action: Any = READ, **more: Any) -> dict[str, Any]:
    """A permission on secrets, as the server returns it."""
    where = {"environment": environment, "secretPath": path}
    conditions = {
        name: one if isinstance(one, dict) else {"$eq": one} for name, one in where.items() if one is not None
    }
    actions = list(action) if isinstance(action, tuple) else action
    return {"subject": "secrets", "action": actions, "conditions": conditions, "inverted": False, **more}


def access(*permissions: dict[str, Any], roles: tuple[str, ...] = ("no-access",)) -> Access:
    return parse_access(roles, permissions)


SHOP = Need(Location("p1", "prod", "/shop"))
BELOW = Need(Location("p1", "prod", "/shop"), True)


@pytest.mark.parametrize(
    ("permissions", "need"),
    [
        ([], SHOP),
        ([may("/shop")], SHOP),
        ([may("/shop")], BELOW),
        ([may("/shop"), may({"$glob": "/shop/**"})], BELOW),
        ([may("/shop/db")], BELOW),
        ([may({"$glob": "/shop/d*"})], BELOW),
        ([may({"$in": ["/shop", "/shop/db"]})], BELOW),
        ([may({"$glob": "/**"})], Need(Location("p1", "prod"), True)),
        ([may("/admin", inverted=True)], SHOP),
    ],
)
def test_grants_that_a_job_needs_keep_least_privilege(permissions: list[dict[str, Any]], need: Need) -> None:
    assert access(*permissions).find_excess([need]) == []


@pytest.mark.parametrize(
    ("permission", "excess"),
    [
        (may("/admin"), "read prod:/admin"),
        (may("/shop", "dev"), "read dev:/shop"),
        (may("/shop", None), "read *:/shop"),
        (may(None), "read prod:/**"),
        (may("/shopping"), "read prod:/shopping"),
        (may("/"), "read prod:/"),
        (may({"$glob": "/sh*"}), "read prod:/sh*"),
        (may({"$in": ["/shop", "/x"]}), "read prod:/x"),
        (may({"$glob": "/shop/**"}), "read prod:/shop and below"),
        (may("/shop", action=[*READ, "create", "edit", "delete"]), "write prod:/shop"),
        (
            may("/shop", action=["edit"]),
            'edit on secrets if {"environment": {"$eq": "prod"}, "secretPath": {"$eq": "/shop"}}',
        ),
        (may({"$ne": "/x"}, None), 'describeSecret, readValue on secrets if {"secretPath": {"$ne": "/x"}}'),
        ({"subject": "identity", "action": "create"}, "create on identity"),
    ],
)
def test_grants_beyond_a_job_are_named(permission: dict[str, Any], excess: str) -> None:
    assert access(may("/shop"), permission).find_excess([SHOP]) == [excess]


def test_a_role_that_allows_anything_is_named() -> None:
    assert access(roles=("no-access",)).find_excess([]) == []
    assert access(roles=("viewer", "no-access")).find_excess([SHOP]) == ["role viewer"]


@pytest.mark.parametrize(
    ("given", "path", "expected"),
    [
        (access(may("/shop")), "/shop", True),
        (access(may("/shop")), "/shop/db", False),
        (access(may({"$glob": "/shop/**"})), "/shop/db", True),
        (access(may("/shop", "dev")), "/shop", False),
        (access(), "/shop", False),
        (access(roles=("admin",)), "/shop", True),
        # A condition that is not understood counts as met, but a denial as not given.
        (access(may({"$ne": "/other"})), "/shop", True),
        (access(may("/shop"), may("/shop", inverted=True)), "/shop", True),
        (access(may("/other", inverted=True)), "/shop", False),
        (access({"subject": "identity", "action": "create"}), "/shop", False),
    ],
)
def test_identity_may_read_what_its_grants_allow(given: Access, path: str, expected: bool) -> None:
    assert given.may_read(Location("p1", "prod", path)) is expected


def secret(path: str, name: str, **more: Any) -> dict[str, KnownSecret]:
    location = Location("p1", "prod", path)
    return {fleet.secret_id(location, name): KnownSecret(location, name, 1, TIME, **more)}


SECRETS = {
    **secret("/shop", "DB"),
    **secret("/shop", "OLD", gone=True),
    **secret("/shop", "NEW"),
    **secret("/admin", "ROOT"),
}
DB, NEW, OLD = "p1/prod/shop/DB", "p1/prod/shop/NEW", "p1/prod/shop/OLD"
SCOPE = JobScope(("p1",), "prod", "/shop")


def host(name: str, *held: str, **more: Any) -> AgentVault:
    holds = tuple(Hold(id_, 1, TIME) for id_ in held)
    return AgentVault(**{"host": name, "job": "shop", "scope": SCOPE, "answered_at": TIME, "holds": holds, **more})


def graph_of(*vaults: AgentVault, **identities: HostIdentity) -> Graph:
    return Graph(TIME, {}, SECRETS, {vault.id: vault for vault in vaults}, {}, identities)


OWN = HostIdentity(
    "universal_auth", "i1", "2026-01-25T22:00:00Z", "i1", "host:web1", "p1", TIME, (), access(may("/shop"))
)


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (OWN, "kept"),
        (replace(OWN, access=access(may("/shop"), may("/common"))), "exceeded"),
        (replace(OWN, access=access(may("/common")), imports=(Location("p1", "prod", "/common"),)), "kept"),
        (replace(OWN, access=None), "unknown"),
        (replace(OWN, reported_id="i2"), "shared"),
        (HostIdentity(checked_at=TIME), "shared"),
        (HostIdentity(), "unknown"),
        (replace(OWN, project="p2"), "exceeded"),
    ],
)
def test_least_privilege_is_kept_exceeded_shared_or_unknown(identity: HostIdentity, expected: str) -> None:
    graph = graph_of(host("web1"), web1=identity)
    [row] = rows.ask(graph, NOW, question="identities")
    assert row["least_privilege"] == expected
    assert bool(row["excess"]) is (expected == "exceeded")
    assert Snapshot(graph, NOW).summary()[f"least_privilege_{expected}"] == 1


def test_days_left_are_full_days_until_the_client_secret_expires() -> None:
    graph = graph_of(host("web1"), host("web2"), web1=OWN)
    assert [row["days_left"] for row in rows.ask(graph, NOW, question="identities")] == [10, None]
    assert Snapshot(graph, NOW + 11 * 86_400).days_left("web1") == -1


def test_identities_are_unchanged_after_writing_and_reading() -> None:
    identity = replace(
        OWN, imports=(Location("p1", "prod", "/common"),), access=access(may("/shop"), may({"$ne": "/x"}))
    )
    graph = graph_of(host("web1", DB), web1=identity)
    document = json.loads(json.dumps(documents.render_graph(graph)))
    assert documents.parse_graph(document).identities == graph.identities
    del document["identities"]
    assert documents.parse_graph(document).identities == {}


def test_host_changes_only_its_own_part_of_an_identity() -> None:
    graph = graph_of(host("web1", DB), web1=OWN)
    answered = fleet.merge_hosts(graph, {"web1": fleet.HostAnswer((host(""),), {})}, TIME)
    assert answered.identities["web1"] == replace(OWN, auth_method="", reported_id="", expires_at=None)
    assert fleet.merge_hosts(graph, {"web1": None}, TIME).identities == graph.identities
    assert fleet.merge_hosts(graph, {}, TIME, forget_absent=True).identities == {}


def exposed(graph: Graph, name: str = "web1", **reads: Access) -> list[dict[str, Any]]:
    return revocation.find_exposed(graph, NOW, name, {project: [one] for project, one in reads.items()})


def test_exposed_secrets_are_those_held_and_those_readable() -> None:
    graph = graph_of(host("web1", DB, OLD), host("web2", DB), host("web3", NEW))
    found = exposed(graph, p1=access(may("/shop")))
    assert [(row["id"], row["held"], row["readable"], row["also_on"]) for row in found] == [
        (DB, True, True, ["web2"]), (OLD, True, True, []), (NEW, False, True, ["web3"]),
    ]  # fmt: skip
    plain = [
        {key: value for key, value in row.items() if key not in ("held", "readable")} for row in found if row["held"]
    ]
    assert plain == rows.ask(graph, NOW, question="exposed", host="web1")
    assert {row["host"] for row in found} == {"web1"}


def test_readable_is_unknown_without_the_access_of_an_identity() -> None:
    assert [row["readable"] for row in exposed(graph_of(host("web1", DB)))] == [None]
    # A host that is not in the graph has no vaults, but its identity may read secrets.
    assert [row["id"] for row in exposed(graph_of(), "gone", p1=access(may("/shop")))] == [DB, NEW]


def test_vault_with_unknown_content_is_exposed_without_a_secret() -> None:
    [row] = exposed(graph_of(host("web1", silent=True)))
    assert (row["id"], row["state"], row["held"], row["job"]) == ("", "unknown", False, "shop")
    assert revocation.find_rotation([row], {"web1"}) == []


def test_rotation_lists_each_secret_once_with_the_other_hosts() -> None:
    graph = graph_of(host("web1", DB), host("web2", DB), host("web3", DB))
    both = [*exposed(graph, p1=access(may("/shop"))), *exposed(graph, "web2")]
    found = revocation.find_rotation(both, {"web1", "web2"})
    assert [(row["id"], row["held"], row["hosts"]) for row in found] == [(DB, True, ["web3"]), (NEW, False, [])]


def test_host_with_a_shared_identity_is_explained() -> None:
    for graph in (graph_of(host("web1", DB)), Graph()):
        error = revocation.explain_missing(["web1"], graph, ["web1"], {})
        assert isinstance(error, IdentityMissing)
        assert error.problem.startswith("web1 has no separate identity. Its identity may have been revoked before")
        assert "If the agent uses the identity that all hosts share, the shared client secret is" in error.problem
        assert error.hint.startswith("Check first whether it was revoked before")


def test_unknown_host_error_names_the_host() -> None:
    error = revocation.explain_missing(["web1", "wbe2"], graph_of(host("web1", DB)), [], {})
    assert isinstance(error, ConfigurationError)
    assert "(got 'wbe2')" in error.problem


def test_deleted_identity_is_remembered_in_the_graph() -> None:
    graph = graph_of(host("web1", DB), host("web2"), web1=OWN, web2=HostIdentity(checked_at=TIME))
    known = revocation.recall(graph, "web1")
    assert known is not None
    assert known.access == {"p1": [OWN.access]}
    assert known.describe() == "web1: its identity was deleted before."
    assert revocation.recall(graph, "web2") is revocation.recall(graph, "web9") is None
