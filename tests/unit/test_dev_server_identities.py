# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the test server's identities of a project: management, privileges, client secrets and living tokens.

The recorded answers are in test_recording.py; this file tests what follows from them.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

pytest.importorskip("aiohttp", reason="the test server needs aiohttp, see requirements/dev_server.txt")
if sys.version_info < (3, 11):
    pytest.skip("the test server needs Python 3.11 or later", allow_module_level=True)

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from dev_server.client import DevServer  # noqa: E402

SEED: dict[str, Any] = {
    "projects": [
        {
            "id": "shop",
            "slug": "shop-slug",
            "environments": [{"slug": "dev"}, {"slug": "prod"}],
            "secrets": [
                {"environment": environment, "path": path, "key": key, "value": f"{environment} {key}"}
                for environment in ("dev", "prod")
                for path, key in (("/", "ROOT"), ("/app", "APP"), ("/app/web", "WEB"), ("/other", "OTHER"))
            ],
            "imports": [
                {"environment": "dev", "path": "/app", "from_environment": "dev", "from_path": "/other"},
                {"environment": "dev", "path": "/app", "from_environment": "prod", "from_path": "/app"},
            ],
        },
        {"id": "bank", "environments": [{"slug": "dev"}]},
    ],
    "identities": [
        {
            "name": name,
            "client_id": f"{name}-id",
            "client_secret": f"{name}-secret",
            "permissions": permissions,
            "manages_identities": name == "organisation",
        }
        for name, permissions in {
            "admin": {"shop": "admin"},
            "member": {"shop": "member"},
            "viewer": {"shop": "viewer"},
            "banker": {"bank": "admin"},
            "organisation": {},
        }.items()
    ],
    "tokens": [
        {"identity": name, "token": f"{name}-token"} for name in ("admin", "member", "viewer", "banker", "organisation")
    ],
}
IDENTITIES = "/api/v1/projects/shop/identities"
PRIVILEGES = "/api/v2/identity-project-additional-privilege"
READ = ["describeSecret", "readValue"]


@dataclass
class Reply:
    status: int
    body: Any


@dataclass
class Person:
    """A client with a token."""

    server: DevServer
    token: str = ""

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.server.url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            response = urllib.request.urlopen(request, timeout=10)
        except urllib.error.HTTPError as error:
            response = error
        return Reply(response.status, json.loads(response.read()))

    def ok(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        reply = self.call(method, path, body, **query)
        assert reply.status == 200, reply.body
        return reply.body

    def refused(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        reply = self.call(method, path, body, **query)
        return reply.status, reply.body["message"]

    def keys(self, path: str, environment: str = "dev", **query: Any) -> list[str]:
        scope = {"projectId": "shop", "environment": environment, "secretPath": path}
        return sorted(item["secretKey"] for item in self.ok("GET", "/api/v4/secrets", **scope, **query)["secrets"])


@pytest.fixture(scope="module")
def running() -> Iterator[DevServer]:
    with DevServer(seed=SEED) as server:
        yield server


@pytest.fixture
def server(running: DevServer) -> DevServer:
    running.seed(SEED)
    running.use_profile("2026-07")
    return running


@pytest.fixture
def admin(server: DevServer) -> Person:
    return Person(server, "admin-token")


def make(admin: Person, name: str = "host:web1", **more: Any) -> str:
    return str(admin.ok("POST", IDENTITIES, {"name": name, **more})["identity"]["id"])


def method_of(identity: str) -> str:
    return f"/api/v1/auth/universal-auth/identities/{identity}"


def make_login(admin: Person, identity: str, **settings: Any) -> tuple[str, str, str]:
    """Attach universal auth; return client id, client secret and the client secret's id."""
    client_id = admin.ok("POST", method_of(identity), settings)["identityUniversalAuth"]["clientId"]
    made = admin.ok("POST", f"{method_of(identity)}/client-secrets", {"description": "first"})
    return client_id, made["clientSecret"], made["clientSecretData"]["id"]


def log_in(admin: Person, client_id: str, client_secret: str) -> Person:
    body = {"clientId": client_id, "clientSecret": client_secret}
    return Person(admin.server, admin.ok("POST", "/api/v1/auth/universal-auth/login", body)["accessToken"])


def make_host(admin: Person, *conditions: dict[str, Any]) -> Person:
    """Return a logged-in identity that may read secrets under these conditions."""
    identity = make(admin)
    if conditions:
        grant(admin, identity, *conditions)
    return log_in(admin, *make_login(admin, identity)[:2])


def grant(admin: Person, identity: str, *conditions: dict[str, Any], slug: str = "keyfleet") -> Any:
    body = {
        "identityId": identity,
        "projectId": "shop",
        "slug": slug,
        "type": {"isTemporary": False},
        "permissions": [{"subject": "secrets", "action": READ, "conditions": one} for one in conditions],
    }
    return admin.ok("POST", PRIVILEGES, body)["privilege"]


# --- identities -----------------------------------------------------------------------------------------------------


def test_identities_are_listed_in_pages(admin: Person) -> None:
    for number in range(25):
        make(admin, f"host:web{number:02}")
    make(admin, "other")
    assert len(admin.ok("GET", IDENTITIES)["identities"]) == 20
    page = admin.ok("GET", IDENTITIES, offset=20, limit=100, search="WEB")
    assert [one["name"] for one in page["identities"]] == [f"host:web{number}" for number in range(20, 25)]
    assert page["totalCount"] == 25
    assert admin.refused("GET", IDENTITIES, limit=101)[0] == 422


def test_metadata_is_replaced(admin: Person) -> None:
    identity = make(admin, metadata=[{"key": "host", "value": "web1"}])
    changed = admin.ok("PATCH", f"{IDENTITIES}/{identity}", {"metadata": [{"key": "rotation", "value": "started"}]})
    assert [(item["key"], item["value"]) for item in changed["identity"]["metadata"]] == [("rotation", "started")]
    admin.ok("PATCH", f"{IDENTITIES}/{identity}", {"name": "host:web2"})
    found = admin.ok("GET", f"{IDENTITIES}/{identity}")["identity"]
    assert (found["name"], len(found["metadata"])) == ("host:web2", 1)
    assert admin.refused("PATCH", f"{IDENTITIES}/{identity}", {"metadata": [{"key": "a", "value": ""}]})[0] == 422


def test_protected_identity_is_not_deleted(admin: Person) -> None:
    path = f"{IDENTITIES}/{make(admin, hasDeleteProtection=True)}"
    assert admin.refused("DELETE", path)[0] == 400
    admin.ok("PATCH", path, {"hasDeleteProtection": False})
    admin.ok("DELETE", path)


@pytest.mark.parametrize(
    ("name", "action"),
    [("viewer", "You are not allowed to create on identity"), ("banker", "You are not a member of this project")],
)
def test_others_may_not_manage_identities(name: str, action: str, server: DevServer) -> None:
    status, message = Person(server, f"{name}-token").refused("POST", IDENTITIES, {"name": "x"})
    assert (status, message[: len(action)]) == (403, action)


@pytest.mark.parametrize("name", ["member", "organisation"])
def test_members_and_organisation_manage_identities(name: str, server: DevServer) -> None:
    person = Person(server, f"{name}-token")
    identity = make(person)
    make_login(person, identity)
    grant(person, identity, {"environment": {"$eq": "dev"}})
    person.ok("DELETE", f"{IDENTITIES}/{identity}")


def test_project_admin_may_not_manage_other_identities(admin: Person) -> None:
    [viewer] = [one["id"] for one in admin.server.state()["identities"] if one["name"] == "viewer"]
    assert admin.refused("GET", method_of(viewer)) == (403, "You are not allowed to read on identity")
    assert admin.refused("GET", f"{IDENTITIES}/{viewer}") == (404, f"Identity with id {viewer} not found")


def test_older_servers_have_no_identity_routes(admin: Person) -> None:
    admin.server.use_profile("2024")
    status, message = admin.refused("GET", IDENTITIES)
    assert (status, message) == (404, f"Route GET:{IDENTITIES} not found")


# --- universal auth and tokens --------------------------------------------------------------------------------------


def test_settings_exist_only_while_the_method_is_attached(admin: Person) -> None:
    identity = make(admin)
    assert admin.refused("GET", method_of(identity))[0] == 404
    assert admin.refused("POST", f"{method_of(identity)}/client-secrets", {})[0] == 404
    host = log_in(admin, *make_login(admin, identity)[:2])
    admin.ok("DELETE", method_of(identity))
    assert admin.refused("GET", method_of(identity))[0] == 404
    assert host.refused("GET", "/api/v1/projects")[0] == 401


def test_token_has_the_limits_of_its_login(admin: Person) -> None:
    identity = make(admin)
    client_id, client_secret, _id = make_login(admin, identity, accessTokenTTL=60, accessTokenMaxTTL=60)
    host = log_in(admin, client_id, client_secret)
    admin.ok("PATCH", method_of(identity), {"accessTokenTTL": 600, "accessTokenMaxTTL": 600})
    later = log_in(admin, client_id, client_secret)
    admin.server.advance(61)
    assert host.call("GET", "/api/v1/projects").status == 403
    assert later.call("GET", "/api/v1/projects").status == 200
    assert admin.refused("PATCH", method_of(identity), {"accessTokenTTL": 601})[0] == 400


def test_revoking_a_client_secret_ends_only_its_tokens(admin: Person) -> None:
    identity = make(admin)
    client_id, first, first_id = make_login(admin, identity)
    second = admin.ok("POST", f"{method_of(identity)}/client-secrets", {})["clientSecret"]
    old, new = log_in(admin, client_id, first), log_in(admin, client_id, second)
    admin.ok("POST", f"{method_of(identity)}/client-secrets/{first_id}/revoke")
    assert old.refused("GET", "/api/v1/projects") == (401, "Failed to authorize: client secret has been revoked")
    assert new.call("GET", "/api/v1/projects").status == 200


def test_client_secret_ends_with_its_ttl_and_uses(admin: Person) -> None:
    identity = make(admin)
    client_id, _first, _id = make_login(admin, identity)
    limits = {"ttl": 100}, {"numUsesLimit": 1}
    texts = [admin.ok("POST", f"{method_of(identity)}/client-secrets", one)["clientSecret"] for one in limits]
    for text in texts:
        log_in(admin, client_id, text)
    admin.server.advance(100)
    for text in texts:
        body = {"clientId": client_id, "clientSecret": text}
        assert admin.refused("POST", "/api/v1/auth/universal-auth/login", body)[0] == 401


def test_living_tokens_are_listed_until_they_end(server: DevServer) -> None:
    server.revoke_tokens()
    assert server.living_tokens() == []
    admin = log_in(Person(server), "admin-id", "admin-secret")
    identity = make(admin)
    client_id, client_secret, secret_id = make_login(admin, identity, accessTokenTTL=60, accessTokenMaxTTL=60)
    revoked, _expired = [log_in(admin, client_id, client_secret) for _round in range(2)]
    assert sorted(one["identity"] for one in server.living_tokens()) == ["admin", "host:web1", "host:web1"]
    assert {one["client_secret"] for one in server.living_tokens() if one["identity"] != "admin"} == {secret_id}
    admin.ok("POST", "/api/v1/auth/token/revoke", {"accessToken": revoked.token})
    assert [one["identity"] for one in server.living_tokens()] == ["admin", "host:web1"]
    server.advance(60)
    assert [one["identity"] for one in server.living_tokens()] == ["admin"]
    log_in(admin, client_id, client_secret)
    admin.ok("DELETE", f"{IDENTITIES}/{identity}")
    assert [one["identity"] for one in server.living_tokens()] == ["admin"]


# --- privileges -----------------------------------------------------------------------------------------------------

DEV, PROD = {"environment": {"$eq": "dev"}}, {"environment": {"$eq": "prod"}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ({"$eq": "/app"}, ["APP"]),
        ("/app", ["APP"]),
        ({"$glob": "/app/**"}, ["WEB"]),
        ({"$glob": "/{app,other}"}, ["APP", "OTHER"]),
        ({"$glob": "/*"}, ["APP", "OTHER", "ROOT"]),
        ({"$glob": "/**"}, ["APP", "OTHER", "ROOT", "WEB"]),
        ({"$in": ["/", "/app/web"]}, ["ROOT", "WEB"]),
        ({"$ne": "/app"}, ["OTHER", "ROOT", "WEB"]),
        ({"$regex": "/app"}, []),
    ],
)
def test_conditions_limit_what_is_listed(path: Any, expected: list[str], admin: Person) -> None:
    host = make_host(admin, {"secretPath": path, **DEV})
    assert host.keys("/", recursive="true") == expected
    assert host.keys("/", "prod", recursive="true") == []


def test_grant_counts_in_its_environment_only(admin: Person) -> None:
    host = make_host(admin, {"secretPath": {"$eq": "/app"}, **DEV}, {"secretPath": {"$eq": "/other"}, **PROD})
    scope = {"projectId": "shop", "environment": "prod"}
    assert (host.keys("/app"), host.keys("/app", "prod")) == (["APP"], [])
    assert host.call("GET", "/api/v4/secrets/OTHER", **scope, secretPath="/other").status == 200
    assert host.call("GET", "/api/v4/secrets/APP", **scope, secretPath="/app").status == 403
    body = {**scope, "secretPath": "/other", "secretValue": "x"}
    assert host.refused("PATCH", "/api/v4/secrets/OTHER", body) == (403, "You are not allowed to edit on secrets")


def test_unreadable_import_is_listed_without_secrets(admin: Person) -> None:
    host = make_host(admin, {"secretPath": {"$eq": "/app"}, **DEV}, {"secretPath": {"$eq": "/app"}, **PROD})
    scope = {"projectId": "shop", "environment": "dev", "secretPath": "/app"}
    imports = host.ok("GET", "/api/v4/secrets", **scope)["imports"]
    assert [[one["secretKey"] for one in item["secrets"]] for item in imports] == [[], ["APP"]]


def test_inverted_permission_takes_rights_away(admin: Person) -> None:
    identity = make(admin, roles=[{"role": "viewer"}])
    denied = {"subject": "secrets", "action": READ, "conditions": {"secretPath": "/app"}, "inverted": True}
    body = {"identityId": identity, "projectId": "shop", "slug": "x", "type": {"isTemporary": False}}
    admin.ok("POST", PRIVILEGES, {**body, "permissions": [denied]})
    host = log_in(admin, *make_login(admin, identity)[:2])
    assert host.keys("/", recursive="true") == ["OTHER", "ROOT", "WEB"]


def test_secrets_privilege_does_not_cover_folders(admin: Person) -> None:
    identity = make(admin)
    body = {"identityId": identity, "projectId": "shop", "slug": "x", "type": {"isTemporary": False}}
    admin.ok("POST", PRIVILEGES, {**body, "permissions": [{"subject": "secrets", "action": "create"}]})
    host = log_in(admin, *make_login(admin, identity)[:2])
    folder = {"projectId": "shop", "environment": "dev", "name": "new", "path": "/"}
    assert host.refused("POST", "/api/v2/folders", folder) == (403, "You are not allowed to create on secret-folders")


def test_new_grant_is_visible_after_15_seconds(admin: Person) -> None:
    host = make_host(admin)
    [identity] = [one["id"] for one in admin.ok("GET", IDENTITIES)["identities"]]
    scope = {"projectId": "shop", "environment": "dev", "secretPath": "/app"}
    assert host.call("GET", "/api/v4/secrets", **scope).status == 403
    privilege = grant(admin, identity, {"secretPath": {"$eq": "/app"}, **DEV})
    admin.server.advance(14)
    assert host.call("GET", "/api/v4/secrets", **scope).status == 403
    admin.server.advance(1)
    assert host.keys("/app") == ["APP"]
    admin.ok("DELETE", f"{PRIVILEGES}/{privilege['id']}")
    assert host.keys("/app") == ["APP"]
    admin.server.advance(15)
    assert host.call("GET", "/api/v4/secrets", **scope).status == 403


def test_permission_cache_can_be_turned_off(admin: Person) -> None:
    admin.server.seed({**SEED, "settings": {"permission_cache": 0}})
    host = make_host(admin)
    [identity] = [one["id"] for one in admin.ok("GET", IDENTITIES)["identities"]]
    assert host.call("GET", "/api/v4/secrets", projectId="shop", environment="dev").status == 403
    grant(admin, identity, {"secretPath": {"$eq": "/"}})
    assert host.keys("/") == ["ROOT"]


def test_privilege_is_found_by_id_and_slug(admin: Person) -> None:
    identity = make(admin)
    privilege = grant(admin, identity, DEV)
    assert admin.ok("GET", f"{PRIVILEGES}/{privilege['id']}")["privilege"] == privilege
    query = {"identityId": identity, "projectSlug": "shop-slug"}
    assert admin.ok("GET", f"{PRIVILEGES}/slug/keyfleet", **query)["privilege"] == privilege
    assert admin.refused("GET", f"{PRIVILEGES}/slug/other", **query)[0] == 404
    assert admin.refused("GET", f"{PRIVILEGES}/{identity}")[0] == 404
    viewer = Person(admin.server, "viewer-token")
    assert viewer.refused("DELETE", f"{PRIVILEGES}/{privilege['id']}")[0] == 403


def test_membership_shows_and_changes_roles(admin: Person) -> None:
    path = f"/api/v1/projects/shop/memberships/identities/{make(admin)}"
    assert [one["role"] for one in admin.ok("GET", path)["identityMembership"]["roles"]] == ["no-access"]
    admin.ok("PATCH", path, {"roles": [{"role": "viewer"}]})
    assert [one["role"] for one in admin.ok("GET", path)["identityMembership"]["roles"]] == ["viewer"]
    assert admin.refused("PATCH", path, {"roles": [{"role": "made-up"}]})[0] == 404
