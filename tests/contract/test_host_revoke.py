# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revoking the access of compromised hosts, and reading the identities of all hosts for the fleet report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api, connect
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import (
    Identity,
    IdentityApi,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import errors
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import graph as fleet
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import revocation
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import (
    AgentVault,
    Graph,
    JobScope,
    KnownProject,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.host_identities import ask_identities
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.snapshot import Snapshot
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import (
    Grant,
    to_permissions,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import jwt
from contract.targets import PROJECT, SEED, Controlled, error_of

TIME, LATER = "2026-01-15T10:00:00Z", "2026-01-15T11:00:00Z"
CANARY = "Canary81c0d2"
PRIVILEGES = "/api/v2/identity-project-additional-privilege"

pytestmark = pytest.mark.kinds("2026-07")


@dataclass
class Fleet:
    """Hosts with an identity each, which may read the folder /app."""

    target: Controlled
    admin: IdentityApi

    def add(self, host: str, *grants: Grant, **metadata: str) -> Identity:
        """Create the identity of a host like the role, without a login method."""
        given = {"managed_by": "keyfleet.infisical/host", "host": host, **metadata}
        made = self.admin.create(PROJECT, f"host:{host}", given.items())
        self.admin.create_privilege(PROJECT, made.id, "keyfleet", to_permissions(grants or [Grant("dev", "/app")]))
        return made

    def log_in(self, identity: Identity) -> Api:
        """Give an identity a client secret, and return a client that has used it."""
        if self.admin.method(identity.id, "universal_auth") is None:
            self.admin.attach_method(identity.id, "universal_auth", {})
        settings = self.admin.method(identity.id, "universal_auth")
        assert settings is not None
        secret = self.admin.create_client_secret(identity.id, "of the agent", 3600).secret
        return self.check(self.target.api(client_id=settings.client_id, client_secret=secret))

    def log_in_with_key(self, identity: Identity) -> Api:
        """Give an identity a public key, and return a client that has logged in with the private key."""
        private, public = jwt.generate_key()
        settings = {"public_keys": [public], "issuer": "keyfleet.infisical", "audiences": ["infisical"]}
        self.admin.attach_method(identity.id, "jwt_auth", {**settings, "subject": identity.name})
        token = jwt.sign(private, identity.name, time.time())
        login = {"auth_method": "jwt_auth", "identity_id": identity.id, "jwt": token}
        # The token is valid by the clock of the server, not by the clock of the test.
        return self.check(connect(replace(self.target.settings, client_id="", client_secret="", **login)))

    def check(self, client: Api) -> Api:
        self.target.opened.append(client)
        assert reads(client)
        return client


def reads(client: Api) -> bool:
    """Return whether the client's living token can list the folder of the hosts; no new login is made."""
    with_token = connect(replace(client.transport.settings, auth_method="token", token=client.tokens.current()))
    try:
        return len(with_token.list_secrets(Location(PROJECT, "dev", "/app")).secrets) > 0
    except errors.TokenRejected:
        return False
    finally:
        with_token.transport.close()


@pytest.fixture
def hosts(controlled: Controlled) -> Fleet:
    controlled.put("DB", CANARY, "/app")
    controlled.put("ROOT", CANARY, "/")
    return Fleet(controlled, IdentityApi(controlled.api()))


def revoke(
    hosts: Fleet, *names: str, who: str = "", check: bool = False, projects: Sequence[str] = (), inventory: str = ""
) -> list[revocation.Revocation]:
    revoker = revocation.Revoker(hosts.target.api(who), inventory=inventory)
    return revoker.revoke(revoker.find(names, projects), check=check)


def left(hosts: Fleet) -> list[str]:
    return sorted(one.name for one in hosts.admin.identities(PROJECT) if one.name.startswith("host:"))


@pytest.mark.parametrize("method", ["log_in", "log_in_with_key"])
def test_living_tokens_of_a_revoked_host_are_refused_at_once(hosts: Fleet, method: str) -> None:
    clients = {name: getattr(hosts, method)(hosts.add(name)) for name in ("web1", "web2", "web10")}
    [done] = revoke(hosts, "web1")
    assert {name: reads(client) for name, client in clients.items()} == {"web1": False, "web2": True, "web10": True}
    assert done.client_secrets == (method == "log_in")
    assert left(hosts) == ["host:web10", "host:web2"]
    assert error_of(clients["web1"].tokens.renew, "").conclusion == "credentials_rejected"


def test_client_secrets_are_revoked_before_the_deletion(hosts: Fleet) -> None:
    made = hosts.add("web1")
    clients = [hosts.log_in(made), hosts.log_in(made)]
    revoked = hosts.admin.client_secrets(made.id)[0]
    hosts.admin.revoke_client_secret(made.id, revoked.id)
    hosts.target.server.clear_requests()
    assert (
        revoke(hosts, "web1")[0].describe() == f"web1: 1 client secret revoked, identity host:web1 ({made.id}) deleted."
    )
    sent = [entry["path"].rpartition("/")[2] for entry in hosts.target.server.requests("") if entry["method"] != "GET"]
    assert sent == ["login", "revoke", made.id]
    assert not any(map(reads, clients))


def test_check_mode_reads_everything_and_changes_nothing(hosts: Fleet) -> None:
    client = hosts.log_in(hosts.add("web1"))
    hosts.target.server.clear_requests()
    [done] = revoke(hosts, "web1", check=True)
    assert "1 client secret would be revoked, identity host:web1" in done.describe(check=True)
    assert {entry["method"] for entry in hosts.target.server.requests("") if "login" not in entry["path"]} == {"GET"}
    assert reads(client)


def test_all_identities_of_a_host_are_revoked(hosts: Fleet) -> None:
    clients = [hosts.log_in(hosts.add("web1")) for _number in range(2)]
    [done] = revoke(hosts, "web1")
    assert (len(done.deleted), done.client_secrets) == (2, 2)
    assert not any(map(reads, clients))


def test_identity_is_found_by_metadata_only(hosts: Fleet) -> None:
    hosts.admin.change(PROJECT, hosts.add("web1").id, name="renamed")
    # Its name refers to web1, but it belongs to another host.
    hosts.admin.change(PROJECT, hosts.add("web3").id, name="host:web1")
    # These identities were not created by the role.
    hosts.admin.create(PROJECT, "host:web2")
    hosts.admin.create(PROJECT, "host:web4", [("managed_by", "keyfleet.infisical"), ("host", "web1")])
    [done] = revoke(hosts, "web1")
    assert [one.name for one in done.deleted] == ["renamed"]
    assert left(hosts) == ["host:web1", "host:web2", "host:web4"]


def test_host_of_two_inventories_needs_a_label(hosts: Fleet) -> None:
    clients = {label: hosts.log_in(hosts.add("web1", inventory=label)) for label in ("east", "west")}
    error = error_of(revoke, hosts, "web1")
    assert isinstance(error, errors.Ambiguous)
    assert "inventory 'east'" in error.problem
    assert "Nothing was changed" in error.problem
    revoke(hosts, "web1", inventory="west")
    assert {label: reads(client) for label, client in clients.items()} == {"east": True, "west": False}


def test_nothing_is_changed_if_an_identity_is_protected(hosts: Fleet) -> None:
    clients = {name: hosts.log_in(made) for name in ("web1", "web2") for made in [hosts.add(name)]}
    [protected] = hosts.admin.identities(PROJECT, "host:web2")
    hosts.admin.change(PROJECT, protected.id, delete_protection=True)
    for check in (True, False):
        hosts.target.server.clear_requests()
        error = error_of(revoke, hosts, "web1", "web2", check=check)
        assert isinstance(error, errors.GuardStopped)
        assert "Nothing was changed" in error.problem
        assert protected.id in error.problem and "is protected from deletion" in error.problem
        assert not [entry for entry in hosts.target.server.requests("/identities") if entry["method"] != "GET"]
    assert left(hosts) == ["host:web1", "host:web2"]
    assert all(map(reads, clients.values()))
    hosts.admin.change(PROJECT, protected.id, delete_protection=False)
    assert len(revoke(hosts, "web1", "web2")) == 2


def test_login_without_the_right_changes_nothing(hosts: Fleet) -> None:
    client = hosts.log_in(hosts.add("web1"))
    for who in ("viewer", "nobody"):
        error = error_of(revoke, hosts, "web1", who=who)
        assert isinstance(error, errors.Forbidden)
        assert "admin" in error.hint
    assert reads(client)


@pytest.mark.kinds("2024")
def test_old_server_is_refused_before_anything_is_changed(controlled: Controlled) -> None:
    revoker = revocation.Revoker(controlled.api())
    error = error_of(revoker.find, ["web1"], [PROJECT])
    assert isinstance(error, errors.RouteMissing)
    assert "cannot manage the identities of a project" in error.problem
    assert set(controlled.methods("")) <= {"GET", "POST"}
    assert not controlled.sent("/revoke")


def test_interrupted_revocation_is_finished_by_another_run(hosts: Fleet) -> None:
    clients = [hosts.log_in(hosts.add(name)) for name in ("web1", "web2")]
    hosts.target.server.arm("status", status=403, error="PermissionDenied", method="DELETE", path="/identities/")
    error = error_of(revoke, hosts, "web1", "web2")
    assert "web1: 1 client secret revoked. Could not delete the identity" in error.problem
    assert error.details["changed"] is True
    assert error.hint.endswith("Then run this again for web1, web2.")
    # The tokens of the client secret have ended although the identity is still there.
    assert [reads(client) for client in clients] == [False, True]
    revoke(hosts, "web1", "web2")
    assert left(hosts) == []


def test_readable_secrets_are_listed_by_name_without_values(hosts: Fleet) -> None:
    hosts.add("web1", Grant("dev", "/app", recursive=True), Grant("prod", "/app"))
    hosts.target.put("DEEP", CANARY, "/app/db")
    revoker = revocation.Revoker(hosts.target.api())
    revoked = revoker.revoke(revoker.find(["web1"], []), check=False)
    graph = revoker.list_readable(Graph(), revoked)
    found = revocation.find_exposed(graph, 0.0, "web1", revoked[0].access)
    assert [(row["project_name"], row["environment"], row["path"], row["name"]) for row in found] == [
        ("Contract", "dev", "/app", "DB"), ("Contract", "dev", "/app/db", "DEEP"),
    ]  # fmt: skip
    assert revoker.warnings == []
    assert CANARY not in repr((graph, revoked, found))


def test_role_exposes_the_whole_project(hosts: Fleet) -> None:
    made = hosts.add("web1")
    hosts.admin.change_roles(PROJECT, made.id, ["viewer"])
    hosts.target.put("PROD", CANARY, "/", "prod")
    revoker = revocation.Revoker(hosts.target.api())
    revoked = revoker.revoke(revoker.find(["web1"], [PROJECT]), check=False)
    found = revocation.find_exposed(revoker.list_readable(Graph(), revoked), 0.0, "web1", revoked[0].access)
    assert {row["name"] for row in found} == {"DB", "ROOT", "PROD"}


def test_unreadable_grants_do_not_stop_the_revocation(hosts: Fleet) -> None:
    client = hosts.log_in(hosts.add("web1"))
    hosts.target.server.arm("status", status=403, error="PermissionDenied", method="GET", path="additional-privilege")
    revoker = revocation.Revoker(hosts.target.api())
    [done] = revoker.revoke(revoker.find(["web1"], []), check=False)
    assert not reads(client)
    assert done.access == {}
    assert "Could not find out what web1 was allowed to read" in revoker.warnings[0]
    assert revoker.unlisted == [f"web1: unknown secrets of project {PROJECT}"]


@pytest.mark.parametrize(("environment", "path"), [("dev", "/secrets"), ("*", "/projects")])
def test_unlisted_access_is_described_by_its_grants(hosts: Fleet, environment: str, path: str) -> None:
    hosts.add("web1", Grant(environment, "/app", recursive=True))
    revoker = revocation.Revoker(hosts.target.api())
    revoked = revoker.revoke(revoker.find(["web1"], [PROJECT]), check=False)
    hosts.target.server.arm("status", status=403, error="PermissionDenied", method="GET", path=path, times=9)
    assert revoker.list_readable(Graph(), revoked).secrets == {}
    assert revoker.unlisted == [f"web1: read {environment}:/app and below in project {PROJECT}"]


def test_identity_of_another_inventory_is_named(hosts: Fleet) -> None:
    made = hosts.add("web1", inventory="west")
    revoker = revocation.Revoker(hosts.target.api(), inventory="east")
    assert revoker.find(["web1", "web2"], []) == {"web1": [], "web2": []}
    error = revocation.explain_missing(["web1", "web2"], Graph(), ["web2"], revoker.elsewhere)
    assert f"web1 has an identity of another inventory: host:web1 ({made.id}" in error.problem
    assert "web2 has no separate identity. Its identity may have been revoked before" in error.problem


# The identities in the fleet report


def graph_of(jobs: Mapping[str, JobScope | None]) -> Graph:
    answers = {
        host: fleet.HostAnswer(() if scope is None else (AgentVault("", "shop", scope=scope),), {})
        for host, scope in jobs.items()
    }
    return fleet.merge_server(
        fleet.merge_hosts(Graph(), answers, TIME), "http://x", [KnownProject(PROJECT, "Contract")], [], TIME
    )


APP = JobScope((PROJECT,), "dev", "/app")


def asked(hosts: Fleet, graph: Graph, *, who: str = "", most: int = 100, time: str = TIME) -> Graph:
    found = ask_identities(hosts.target.api(who), graph, time, most=most)
    assert found.warnings == []
    return replace(graph, identities=found.identities)


def kept(graph: Graph) -> dict[str, str]:
    snapshot = Snapshot(graph, 0.0)
    return {host: snapshot.least_privilege(host) for host in sorted({vault.host for vault in graph.vaults.values()})}


def test_report_compares_grants_with_the_jobs_of_each_host(hosts: Fleet) -> None:
    hosts.add("web1")
    hosts.add("web2", Grant("dev", "/app"), Grant("prod", "/"))
    hosts.admin.change_roles(PROJECT, hosts.add("web3").id, ["viewer"])
    extra = hosts.add("web4")
    hosts.admin.create_privilege(PROJECT, extra.id, "by-hand", [{"subject": "identity", "action": ["create"]}])
    names = ("web1", "web2", "web3", "web4", "web5")
    graph = asked(hosts, graph_of({**dict.fromkeys(names, APP), "web6": None}))
    assert kept(graph) == {
        "web1": "kept", "web2": "exceeded", "web3": "exceeded", "web4": "exceeded", "web5": "shared", "web6": "unknown",
    }  # fmt: skip
    assert Snapshot(graph, 0.0).excess["web3"] == ["role viewer"]
    assert Snapshot(graph, 0.0).excess["web4"] == ["create on identity"]


def test_grants_for_imported_folders_are_needed(hosts: Fleet) -> None:
    hosts.target.server.seed(imports_seed())
    hosts = Fleet(hosts.target, IdentityApi(hosts.target.api()))
    for name in ("web1", "web2"):
        hosts.add(name, Grant("dev", "/importing"), Grant("dev", "/app"), Grant("prod", "/far"))
    hosts.add("web3", Grant("dev", "/importing"), Grant("dev", "/other"))
    importing = JobScope((PROJECT,), "dev", "/importing")
    hosts.target.server.clear_requests()
    graph = asked(hosts, graph_of(dict.fromkeys(("web1", "web2", "web3"), importing)))
    assert kept(graph) == {"web1": "kept", "web2": "kept", "web3": "exceeded"}
    # Each folder is requested once for all hosts.
    assert len(hosts.target.sent("/secret-imports")) == 3


def imports_seed() -> dict[str, Any]:
    seed = deepcopy(SEED)
    seed["projects"][0]["folders"].append({"environment": "prod", "path": "/far"})
    seed["projects"][0]["imports"] = [
        {"environment": "dev", "path": "/importing", "from_environment": "dev", "from_path": "/app"},
        {"environment": "dev", "path": "/app", "from_environment": "prod", "from_path": "/far"},
    ]
    return seed


def test_identities_that_were_read_longest_ago_are_read_first(hosts: Fleet) -> None:
    names = [f"web{number}" for number in range(5)]
    for name in names:
        hosts.add(name)
    graph = graph_of(dict.fromkeys(names, APP))
    hosts.target.server.clear_requests()
    graph = asked(hosts, graph, most=3)
    assert list(kept(graph).values()).count("kept") == 3
    # A listing, and three requests for each identity.
    assert len(hosts.target.sent("/api/v[12]/(projects|identity)")) == 1 + 3 * 3
    graph = asked(hosts, graph, most=3, time=LATER)
    assert set(kept(graph).values()) == {"kept"}
    assert sorted(one.checked_at or "" for one in graph.identities.values()) == [TIME] * 2 + [LATER] * 3


def test_login_without_the_right_leaves_identities_unknown(hosts: Fleet) -> None:
    hosts.add("web1")
    graph = graph_of({"web1": APP})
    assert kept(asked(hosts, graph, who="nobody")) == {"web1": "unknown"}
    # The last known state stays.
    assert kept(asked(hosts, asked(hosts, graph), who="nobody")) == {"web1": "kept"}


@pytest.mark.kinds("2024")
def test_old_server_leaves_identities_unknown(controlled: Controlled) -> None:
    graph = graph_of({"web1": APP})
    found = ask_identities(controlled.api(), graph, TIME, most=10)
    assert (found.warnings, kept(replace(graph, identities=found.identities))) == ([], {"web1": "unknown"})


def test_deleted_identity_is_replaced_by_a_new_one(hosts: Fleet) -> None:
    first = hosts.add("web1", Grant("prod", "/"))
    graph = asked(hosts, graph_of({"web1": APP}))
    assert kept(graph) == {"web1": "exceeded"}
    hosts.admin.delete(PROJECT, first.id)
    assert kept(asked(hosts, graph)) == {"web1": "shared"}
    second = hosts.add("web1")
    graph = asked(hosts, graph)
    assert kept(graph) == {"web1": "kept"}
    assert graph.identities["web1"].id == second.id


def test_failing_server_adds_a_warning_and_keeps_the_last_state(hosts: Fleet) -> None:
    hosts.add("web1")
    graph = asked(hosts, graph_of({"web1": APP}))
    hosts.target.server.arm("status", status=500, times=10, path="/memberships/")
    found = ask_identities(hosts.target.api(), graph, LATER, most=10)
    assert "Could not read the identities of all hosts" in found.warnings[0]
    assert found.identities == graph.identities
