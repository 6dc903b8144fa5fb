# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the test server as a process: the meaning of its answers, and its control interface."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

pytest.importorskip("aiohttp", reason="the test server needs aiohttp, see requirements/dev_server.txt")
if sys.version_info < (3, 11):
    pytest.skip("the test server needs Python 3.11 or later", allow_module_level=True)

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from dev_server.client import DevServer  # noqa: E402

PROFILES = ("reference", "2024", "2026-07")
ROLES = ("admin", "viewer", "writer", "hidden", "names-only", "no-access")
NO_BREAK_SPACE, BYTE_ORDER_MARK, FILE_SEPARATOR, NEXT_LINE = "\u00a0", "\ufeff", "\x1c", "\x85"

SEED: dict[str, Any] = {
    "projects": [
        {
            "id": "shop",
            "name": "Shop",
            "slug": "shop-slug",
            "environments": [{"slug": "dev", "name": "Development"}, {"slug": "prod", "name": "Production"}],
            "folders": [{"environment": "dev", "path": "/app/web"}, {"environment": "dev", "path": "/guarded"}],
            "tags": [{"slug": "db", "name": "Database"}],
            "secrets": [
                {"environment": "dev", "key": "ONE", "value": "one"},
                {"environment": "dev", "key": "TWO", "value": "two", "tags": ["db"], "comment": "a comment"},
                {
                    "environment": "dev",
                    "key": "OWNED",
                    "value": "owned",
                    "metadata": [{"key": "owner", "value": "me"}],
                },
                {"environment": "dev", "path": "/app", "key": "ONE", "value": "one in app"},
                {"environment": "dev", "path": "/app/web", "key": "DEEP", "value": "deep"},
                {"environment": "dev", "path": "/guarded", "key": "OLD", "value": "old"},
                {"environment": "prod", "path": "/", "key": "SHARED", "value": "from prod"},
                {"environment": "prod", "path": "/more", "key": "SHARED", "value": "from more"},
            ],
            "imports": [
                {"environment": "dev", "path": "/app", "from_environment": "prod", "from_path": "/"},
                {"environment": "dev", "path": "/app", "from_environment": "prod", "from_path": "/more"},
            ],
            "approvals": [{"environment": "dev", "path": "/guarded"}],
        },
        {"id": "other", "environments": [{"slug": "dev"}]},
        {"id": "certificates", "type": "cert-manager"},
    ],
    "identities": [
        {
            "name": role,
            "client_id": f"{role}-id",
            "client_secret": f"{role}-secret",
            "permissions": {"shop": role},
        }
        for role in ROLES
    ]
    + [
        {
            "name": "one-folder",
            "client_id": "one-folder-id",
            "client_secret": "one-folder-secret",
            "permissions": {
                "shop": [{"actions": ["describe", "read"], "paths": ["/app"]}],
                "certificates": "viewer",
            },
        },
        {
            "name": "short",
            "client_id": "short-id",
            "client_secret": "short-secret",
            "permissions": {"shop": ["read"]},
            "token_ttl": 100,
            "token_max_ttl": 200,
        },
        {
            "name": "thrifty",
            "client_id": "thrifty-id",
            "client_secret": "thrifty-secret",
            "permissions": {"shop": ["read"]},
            "token_uses": 2,
            "client_secret_uses": 1,
        },
    ],
    "tokens": [{"identity": role, "token": f"{role}-token"} for role in (*ROLES, "one-folder")],
}


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def message(self) -> Any:
        return self.body["message"]


@dataclass
class Talk:
    """A client that uses the routes and parameters of the server's current profile."""

    server: DevServer
    profile: str = "2026-07"
    token: str | None = "admin-token"

    @property
    def root(self) -> str:
        return "/api/v3/secrets/raw" if self.profile == "2024" else "/api/v4/secrets"

    @property
    def batch_root(self) -> str:
        return "/api/v3/secrets/batch/raw" if self.profile == "2024" else "/api/v4/secrets/batch"

    @property
    def project(self) -> str:
        return "workspaceId" if self.profile == "2024" else "projectId"

    def as_(self, token: str | None) -> Talk:
        return Talk(self.server, self.profile, token)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        own = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        own |= {} if data is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(self.server.url + path, data, {**own, **(headers or {})}, method=method)
        try:
            response = urllib.request.urlopen(request, timeout=10)
        except urllib.error.HTTPError as error:
            response = error
        text = response.read()
        found = {name.lower(): value for name, value in response.headers.items()}
        try:
            return Reply(response.status, json.loads(text), found)
        except ValueError:
            return Reply(response.status, text, found)

    def scope(self, **more: Any) -> dict[str, Any]:
        return {self.project: "shop", "environment": "dev", "secretPath": "/", **more}

    def list(self, **query: str) -> Reply:
        return self.call("GET", f"{self.root}?{urlencode(self.scope(**query))}")

    def get(self, name: str, **query: str) -> Reply:
        return self.call("GET", f"{self.root}/{quote(name, safe='')}?{urlencode(self.scope(**query))}")

    def create(self, name: str, value: Any = "v", **body: Any) -> Reply:
        return self.call("POST", f"{self.root}/{quote(name, safe='')}", self.scope(secretValue=value, **body))

    def update(self, name: str, value: Any = "v", **body: Any) -> Reply:
        return self.call("PATCH", f"{self.root}/{quote(name, safe='')}", self.scope(secretValue=value, **body))

    def delete(self, name: str, **more: Any) -> Reply:
        scope = self.scope(**more)
        return self.call("DELETE", f"{self.root}/{quote(name, safe='')}?{urlencode(scope)}", scope)

    def batch(self, method: str, secrets: dict[str, str] | list[tuple[str, str]], **body: Any) -> Reply:
        pairs = secrets.items() if isinstance(secrets, dict) else secrets
        items = [{"secretKey": key, "secretValue": value} for key, value in pairs]
        return self.call(method, self.batch_root, self.scope(secrets=items, **body))

    def log_in(self, client_id: str, client_secret: str) -> Reply:
        body = {"clientId": client_id, "clientSecret": client_secret}
        return self.as_(None).call("POST", "/api/v1/auth/universal-auth/login", body)

    def logged_in(self, name: str) -> Talk:
        return self.as_(self.log_in(f"{name}-id", f"{name}-secret").body["accessToken"])

    def stored(self, path: str = "/") -> dict[str, list[str]]:
        return self.server.values("shop", "dev", path)


@pytest.fixture(scope="module")
def server() -> Iterator[DevServer]:
    with DevServer(seed=SEED) as running:
        yield running


@pytest.fixture
def talk(server: DevServer) -> Talk:
    """A reset server with the profile 2026-07."""
    server.seed(SEED)
    server.use_profile("2026-07")
    return Talk(server)


@pytest.fixture
def talk_to(talk: Talk) -> Callable[[str], Talk]:
    def in_profile(profile: str) -> Talk:
        talk.server.use_profile(profile)
        return Talk(talk.server, profile)

    return in_profile


def each_profile(*profiles: str) -> Any:
    return pytest.mark.parametrize("profile", profiles or PROFILES)


def names(reply: Reply) -> list[str]:
    return [secret["secretKey"] for secret in reply.body["secrets"]]


# --- "What an answer means" -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One row: a conclusion, a request that leads to it, and (status, error, message) by profile."""

    name: str
    act: Callable[[Talk], Reply]
    said: dict[str, tuple[int, str | None, str | None]]


def forged(talk: Talk) -> Reply:
    head, claims, signature = (talk.logged_in("admin").token or "").split(".")
    return talk.as_(f"{head}.{claims}.{signature[::-1]}").list()


def revoked(talk: Talk) -> Reply:
    talk.server.revoke_tokens()
    return talk.list()


def used_up(talk: Talk) -> Reply:
    thrifty = talk.logged_in("thrifty")
    assert [thrifty.list().status for _round in range(2)] == [200, 200]
    return thrifty.list()


def aged(seconds: int) -> Callable[[Talk], Reply]:
    def act(talk: Talk) -> Reply:
        short = talk.logged_in("short")
        talk.server.advance(seconds)
        return short.list()

    return act


def locked(talk: Talk) -> Reply:
    for _round in range(3):
        assert talk.log_in("admin-id", "wrong").status == 401
    return talk.log_in("admin-id", "admin-secret")


def over_rate(talk: Talk) -> Reply:
    talk.server.seed({**SEED, "settings": {"rate_limit": {"secrets": 2, "login": 1, "window": 60}}})
    assert [talk.list().status for _round in range(2)] == [200, 200]
    return talk.list()


def refers_to_what_is_hidden(talk: Talk) -> Reply:
    talk.server.put_secret("shop", "dev", "/app", "LINK", "${dev.ONE}")
    return talk.as_("one-folder-token").list(secretPath="/app")


def broken(talk: Talk) -> Reply:
    talk.server.arm("status", status=500)
    return talk.list()


UNREADABLE = ".".join(base64.urlsafe_b64encode(text).decode() for text in (b"no", b"json", b"here"))
TOO_LARGE = "x" * (1024 * 1024)

ROWS = (
    Row(
        "already exists",
        lambda t: t.create("ONE"),
        {
            "reference": (409, None, None),
            "2024": (400, None, "Secret already exist"),
            "2026-07": (400, None, "Secret already exists"),
            "2026-10": (400, None, "Secret already exists: 'ONE' in path '/' of environment 'dev'"),
        },
    ),
    Row(
        "already exists (batch)",
        lambda t: t.batch("POST", {"ONE": "", "NEW": "", "TWO": ""}),
        {
            "2024": (400, None, "Secret already exist: ONE,TWO"),
            "2026-07": (400, None, "Secret already exists: ONE,TWO"),
            "2026-10": (400, None, "Secret already exists: 'ONE', 'TWO' in path '/' of environment 'dev'"),
        },
    ),
    Row(
        "secret missing (get)",
        lambda t: t.get("NONE"),
        {
            "reference": (404, None, None),
            "2024": (400, None, "Secret not found"),
            "2026-07": (404, None, "Secret with name 'NONE' not found"),
        },
    ),
    Row(
        "secret missing (patch)",
        lambda t: t.update("NONE"),
        {
            "reference": (404, None, None),
            "2024": (400, None, "Secret not found"),
            "2026-07": (404, None, "Secret with name NONE not found"),
        },
    ),
    Row(
        "secret missing (delete)",
        lambda t: t.delete("NONE"),
        {
            "reference": (404, None, None),
            "2024": (404, None, "Secret not found"),
            "2026-07": (404, None, "Secret not found"),
        },
    ),
    Row(
        "missing in a batch (patch)",
        lambda t: t.batch("PATCH", {"ONE": "", "NONE": "", "NOR": "", "TWO": ""}),
        {
            "2024": (400, None, "Secret not exist: ONE,TWO"),
            "2026-07": (404, None, "Secret does not exist: NONE, NOR in path /"),
        },
    ),
    Row(
        "missing in a batch (delete)",
        lambda t: t.batch("DELETE", {"ONE": "", "NONE": "", "TWO": ""}),
        {
            "2024": (400, None, "Secret not exist: ONE,TWO"),
            "2026-07": (404, None, "One or more secrets does not exist: ONE,TWO"),
            "2026-10": (404, None, "One or more secrets does not exist: NONE"),
        },
    ),
    Row(
        "twice in a batch (delete)",
        lambda t: t.batch("DELETE", [("ONE", ""), ("ONE", "")]),
        {
            "2026-07": (404, None, "One or more secrets does not exist: ONE"),
            "2026-10": (400, None, "Each secret can only be deleted once per request: ONE"),
        },
    ),
    Row(
        "environment missing (get)",
        lambda t: t.get("ONE", environment="none"),
        {"2026-10": (404, None, "Environment not found")},
    ),
    Row(
        "environment missing (list)",
        lambda t: t.list(environment="none"),
        {"2026-07": (404, "SecretPathNotFound", None), "2026-10": (404, None, "Environment not found")},
    ),
    Row(
        "reference that may not be read",
        refers_to_what_is_hidden,
        {
            "2026-07": (403, None, None),
            "2026-10": (403, None, None),
        },
    ),
    Row(
        "project of another type",
        lambda t: t.as_("one-folder-token").list(projectId="certificates"),
        {
            "2026-07": (
                400,
                None,
                "The project is of type cert-manager. Operations of type secret-manager are not allowed.",
            )
        },
    ),
    Row(
        "folder exists",
        lambda t: t.call("POST", "/api/v2/folders", {**t.scope(), "path": "/", "name": "app"}),
        {"2026-07": (400, None, "Folder with name 'app' already exists in path '/'")},
    ),
    *(
        Row(
            f"{what} missing ({name})",
            lambda t, act=act, scope=scope: act(t, scope),  # type: ignore[misc]
            {
                "reference": (404, None, None),
                "2024": (400, None, "Folder not found for the given environment slug & secret path"),
                "2026-07": (
                    404,
                    None,
                    "Folder with path '{secretPath}' in environment with slug '{environment}' not found".format(
                        **{"secretPath": "/", "environment": "dev", **scope}
                    ),
                ),
            },
        )
        for what, scope in (("folder", {"secretPath": "/none"}), ("environment", {"environment": "none"}))
        for name, act in (
            ("create", lambda t, scope: t.create("NEW", **scope)),
            ("patch", lambda t, scope: t.update("ONE", **scope)),
            ("delete", lambda t, scope: t.delete("ONE", **scope)),
            ("get", lambda t, scope: t.get("ONE", **scope)),
        )
    ),
    *(
        Row(
            f"project missing ({name})",
            act,
            {
                "reference": (404, None, None),
                "2024": (400, None, "Project not found during bot lookup."),
                "2026-07": (404, None, None),
            },
        )
        for name, act in (
            ("list", lambda t: t.list(**{t.project: "none"})),
            ("create", lambda t: t.create("NEW", **{t.project: "none"})),
        )
    ),
    Row(
        "no such route",
        lambda t: t.call("GET", "/api/v9/secrets"),
        {
            "reference": (404, None, None),
            "2024": (404, None, "Route GET:/api/v9/secrets not found"),
            "2026-07": (404, None, "Route GET:/api/v9/secrets not found"),
        },
    ),
    Row(
        "older server",
        lambda t: t.call("GET", "/api/v4/secrets"),
        {"2024": (404, None, "Route GET:/api/v4/secrets not found")},
    ),
    Row(
        "token older than its TTL",
        aged(150),
        {
            "reference": (401, None, None),
            "2024": (403, None, "Failed to renew MI access token due to TTL expiration"),
            "2026-07": (403, "TokenError", None),
        },
    ),
    Row(
        "token expired",
        aged(250),
        {"reference": (401, None, None), "2024": (500, None, "jwt expired"), "2026-07": (403, "TokenError", None)},
    ),
    Row(
        "token revoked",
        revoked,
        {
            "reference": (401, None, None),
            "2024": (403, None, "You are not allowed to access this resource"),
            "2026-07": (401, "UnauthorizedError", None),
        },
    ),
    Row(
        "token used up",
        used_up,
        {
            "reference": (401, None, None),
            "2024": (400, None, "Access token number of uses limit reached"),
            "2026-07": (401, "UnauthorizedError", None),
        },
    ),
    Row(
        "token malformed",
        lambda t: t.as_("nonsense").list(),
        {"reference": (401, None, None), "2024": (500, None, "jwt malformed"), "2026-07": (403, "TokenError", None)},
    ),
    Row(
        "token unreadable",
        lambda t: t.as_(UNREADABLE).list(),
        {"reference": (401, None, None), "2024": (500, None, "invalid token"), "2026-07": (403, "TokenError", None)},
    ),
    Row(
        "token forged",
        forged,
        {
            "reference": (401, None, None),
            "2024": (500, None, "invalid signature"),
            "2026-07": (403, "TokenError", None),
        },
    ),
    *(
        Row(
            f"bad client {what}",
            act,
            {
                "reference": (401, None, None),
                "2024": (403, None, "Invalid credentials"),
                "2026-07": (401, "UnauthorizedError", None),
            },
        )
        for what, act in (
            ("id", lambda t: t.log_in("none", "admin-secret")),
            ("secret", lambda t: t.log_in("admin-id", "wrong")),
        )
    ),
    Row(
        "locked out",
        locked,
        {
            "2026-07": (
                401,
                "UnauthorizedError",
                "This identity auth method is temporarily locked, please try again later",
            )
        },
    ),
    Row(
        "no permission",
        lambda t: t.as_("viewer-token").create("NEW"),
        {
            "reference": (403, None, None),
            "2024": (401, "PermissionDenied", "You are not allowed to create on secrets"),
            "2026-07": (403, "PermissionDenied", None),
        },
    ),
    Row(
        "not in the project",
        lambda t: t.list(**{t.project: "other"}),
        {
            "reference": (403, None, None),
            "2024": (403, None, "Identity not in project"),
            "2026-07": (403, "ProjectMembershipNotFound", None),
        },
    ),
    Row(
        "may see names, not values (list)",
        lambda t: t.as_("names-only-token").list(),
        {"2026-07": (403, "PermissionDenied", "You are not allowed to readValue on secrets")},
    ),
    Row(
        "may see names, not values (get)",
        lambda t: t.as_("names-only-token").get("ONE"),
        {"2026-07": (403, "ForbiddenReadSecretError", None)},
    ),
    *(
        Row(
            f"invalid request ({name})",
            act,
            {
                "reference": (400, None, None),
                "2024": (403, "ValidationFailure", None),
                "2026-07": (422, "ValidationFailure", None),
            },
        )
        for name, act in (
            ("value is a number", lambda t: t.create("NEW", 1)),
            ("value is missing", lambda t: t.call("POST", f"{t.root}/NEW", t.scope())),
            ("True", lambda t: t.list(recursive="True")),
            ("1", lambda t: t.list(recursive="1")),
            (
                "login without a secret",
                lambda t: t.call("POST", "/api/v1/auth/universal-auth/login", {"clientId": "x"}),
            ),
        )
    ),
    *(
        Row(
            f"invalid request (no {name})",
            act,
            {
                "reference": (400, None, None),
                "2024": (403, "ValidationFailure", None),
                "2026-07": (400, "BadRequest", "Missing project id or environment"),
            },
        )
        for name, act in (
            ("environment", lambda t: t.call("GET", f"{t.root}?{t.project}=shop")),
            ("project", lambda t: t.call("GET", f"{t.root}?environment=dev")),
        )
    ),
    Row(
        "invalid request to read",
        lambda t: t.list(recursive="True"),
        {"2026-10": (400, "ValidationError", None)},
    ),
    Row(
        "invalid request (DELETE without a body)",
        lambda t: t.call("DELETE", f"{t.root}/ONE?{urlencode(t.scope())}"),
        {"2024": (403, "ValidationFailure", None), "2026-07": (422, "ValidationFailure", None)},
    ),
    Row(
        "too large",
        lambda t: t.create("NEW", TOO_LARGE),
        {"2024": (413, None, None), "2026-07": (500, None, "Something went wrong")},
    ),
    Row(
        "rate limited",
        over_rate,
        {"reference": (429, None, None), "2024": (429, None, None), "2026-07": (429, None, None)},
    ),
    Row(
        "server error",
        broken,
        {
            "reference": (500, None, None),
            "2024": (500, None, "Something went wrong"),
            "2026-07": (500, None, "Something went wrong"),
        },
    ),
)


@pytest.mark.parametrize(
    ("row", "profile"),
    [pytest.param(row, profile, id=f"{row.name}, {profile}") for row in ROWS for profile in row.said],
)
def test_every_conclusion_has_a_response_in_every_profile(
    row: Row, profile: str, talk_to: Callable[[str], Talk]
) -> None:
    status, error, message = row.said[profile]
    reply = row.act(talk_to(profile))
    assert reply.status == status
    assert reply.body["statusCode"] == status
    assert error in (None, reply.body["error"])
    assert message in (None, reply.message)
    assert isinstance(reply.body["error"], str)
    assert isinstance(reply.message, list if reply.body["error"] == "ValidationFailure" else str)
    # As recorded, the answer for an unknown route lacks the request's id.
    assert ("reqId" in reply.body) == (profile.startswith("2026") and row.name != "no such route")


@pytest.mark.parametrize("scope", [{"secretPath": "/none"}, {"environment": "none"}])
def test_2024_server_returns_empty_list_for_a_missing_folder(
    scope: dict[str, str], talk_to: Callable[[str], Talk]
) -> None:
    reply = talk_to("2024").list(**scope)
    assert (reply.status, reply.body) == (200, {"secrets": [], "imports": []})


def test_2024_server_returns_imports_only_if_requested(talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to("2024")
    assert "imports" not in talk.list().body
    assert "imports" in talk.list(include_imports="true").body


def test_reference_server_returns_not_found_for_a_missing_folder(talk_to: Callable[[str], Talk]) -> None:
    assert talk_to("reference").list(secretPath="/none").status == 404


def test_token_is_checked_before_anything_else(talk: Talk) -> None:
    assert talk.as_("nonsense").create("NEW", 1, projectId="none").body["error"] == "TokenError"
    assert talk.as_(None).list().status == 401
    assert talk.as_("viewer-token").create("NEW", secretPath="/none").status == 403


# --- secrets --------------------------------------------------------------------------------------------------------


@each_profile()
def test_secret_is_created_read_updated_and_deleted(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    created = talk.create("NEW", "first", secretComment=" why ")
    assert created.status == (201 if profile == "reference" else 200)
    assert talk.get("NEW").body["secret"]["secretValue"] == "first"
    assert talk.get("NEW").body["secret"]["secretComment"] == "why"
    assert talk.update("NEW", "second").body["secret"]["version"] == 2
    assert talk.update("NEW", "second").body["secret"]["version"] == 3
    assert talk.get("NEW").body["secret"]["secretComment"] == "why"
    first = talk.get("NEW", version="1").body["secret"]
    assert (first["version"], first["secretValue"]) == (1, "first")
    assert talk.get("NEW", version="9").status in (400, 404)
    assert talk.stored()["NEW"] == ["second"]
    assert talk.delete("NEW").status == 200
    assert "NEW" not in talk.stored()


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("  a ", "a"),
        ("a\n", "a\n"),
        ("a\n\n", "a\n"),
        ("a\r\n", "a\n"),
        ("\n", "\n"),
        ("", ""),
        ("\ta b\t", "a b"),
        (f"{NO_BREAK_SPACE}a{BYTE_ORDER_MARK}", "a"),
        ("\u2028a\u3000", "a"),
        (f"{FILE_SEPARATOR}a{NEXT_LINE}", f"{FILE_SEPARATOR}a{NEXT_LINE}"),
    ],
)
def test_values_are_trimmed_like_ecmascript_strings(sent: str, stored: str, talk_to: Callable[[str], Talk]) -> None:
    for profile in PROFILES:
        talk = talk_to(profile)
        expected = sent if profile == "reference" else stored
        talk.create(f"V_{profile.upper()}", sent)
        assert talk.stored()[f"V_{profile.upper()}"] == [expected]
        talk.update("ONE", sent)
        assert talk.stored()["ONE"] == [expected]
        if profile != "reference":
            talk.batch("PATCH", {"TWO": sent})
            assert talk.stored()["TWO"] == [expected]


@each_profile("2024", "2026-07")
def test_names_are_trimmed_and_can_contain_any_character(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    assert talk.create("  Ünï.code-name 1 ").status == 200
    assert "Ünï.code-name 1" in talk.stored()
    assert talk.create("Ünï.code-name 1").message.startswith("Secret already exist")
    assert talk.create(" ").body["error"] == "ValidationFailure"


def test_only_2024_server_accepts_colons_and_slashes_in_names(talk_to: Callable[[str], Talk]) -> None:
    assert talk_to("2024").create("a/b:c").status == 200
    assert talk_to("2024").get("a/b:c").body["secret"]["secretKey"] == "a/b:c"
    assert [talk_to("2026-07").create(name).status for name in ("a/c", "a:c")] == [422, 422]
    assert talk_to("2026-07").batch("POST", {"a/c": "v"}).status == 422


def test_reference_names_are_capitals_digits_and_underscores(talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to("reference")
    assert [talk.create(name).status for name in ("lower", "A-B", "A B", "A_1")] == [400, 400, 400, 201]


@each_profile()
def test_name_over_100_characters_is_not_found_in_a_path(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    assert talk.create("A" * 100).status in (200, 201)
    assert talk.create("A" * 101).message.startswith("Route POST:/api/")
    assert talk.get("A" * 101).status == 404


@each_profile("2024", "2026-07")
def test_batches_accept_long_names_and_a_secret_named_batch(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    assert talk.batch("POST", {"A" * 400: "long", "batch": "b"}).status == 200
    assert talk.stored()["A" * 400] == ["long"]
    assert talk.stored()["batch"] == ["b"]
    assert talk.create("batch").body["error"] == "ValidationFailure"
    assert talk.call("POST", f"{talk.root}/batch", talk.scope(secrets=[])).body["error"] == "ValidationFailure"


def test_reference_server_does_not_support_batches(talk_to: Callable[[str], Talk]) -> None:
    assert talk_to("reference").batch("POST", {"NEW": "v"}).status == 400
    assert "NEW" not in talk_to("reference").stored()


@each_profile("2024", "2026-07")
def test_batch_is_stored_completely_or_not_at_all(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    before = talk.stored()
    assert talk.batch("POST", {"NEW": "v", "ONE": "v"}).status == 400
    assert talk.batch("PATCH", {"ONE": "changed", "NONE": "v"}).status in (400, 404)
    assert talk.batch("DELETE", {"ONE": "", "NONE": ""}).status in (400, 404)
    assert talk.stored() == before
    assert talk.batch("PATCH", {"ONE": "1", "TWO": "2"}).status == 200
    assert names(talk.batch("DELETE", {"ONE": "", "TWO": ""})) == ["ONE", "TWO"]
    assert list(talk.stored()) == ["OWNED"]


@pytest.mark.parametrize(
    ("mode", "status", "stored"),
    [
        ("failOnNotFound", 404, {"ONE": ["one"]}),
        ("upsert", 200, {"ONE": ["1"], "NONE": ["0"]}),
        ("ignore", 200, {"ONE": ["1"]}),
    ],
)
def test_current_server_supports_modes_of_a_batch_update(
    mode: str, status: int, stored: dict[str, list[str]], talk: Talk
) -> None:
    assert talk.batch("PATCH", {"ONE": "1", "NONE": "0"}, mode=mode).status == status
    assert {key: value for key, value in talk.stored().items() if key in ("ONE", "NONE")} == stored
    assert talk.batch("PATCH", {"ONE": "1"}, mode="other").status == 422


def test_2024_batch_stores_and_deletes_duplicate_names(talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to("2024")
    assert talk.batch("POST", [("TWIN", "a"), ("TWIN", "b")]).status == 200
    assert talk.stored()["TWIN"] == ["a", "b"]
    assert names(talk.list()).count("TWIN") == 2
    assert talk.delete("TWIN").status == 200
    assert "TWIN" not in talk.stored()
    assert names(talk_to("2026-07").batch("POST", [("TWIN", "a"), ("TWIN", "b")])) == ["TWIN"]
    assert talk_to("2026-07").stored()["TWIN"] == ["b"]


def test_current_server_accepts_updates_without_a_value(talk_to: Callable[[str], Talk]) -> None:
    body = {"environment": "dev", "secretComment": "new"}
    assert talk_to("2026-07").call("PATCH", "/api/v4/secrets/TWO", {"projectId": "shop", **body}).status == 200
    assert talk_to("2026-07").get("TWO").body["secret"]["secretComment"] == "new"
    assert talk_to("2026-07").stored()["TWO"] == ["two"]
    assert talk_to("2024").call("PATCH", "/api/v3/secrets/raw/TWO", {"workspaceId": "shop", **body}).status == 403


def test_tags_are_set_by_id_and_found_by_slug(talk_to: Callable[[str], Talk]) -> None:
    for profile, path, key in (
        ("2024", "/api/v1/workspace/shop/tags", "workspaceTags"),
        ("2026-07", "/api/v1/workspace/shop/tags", "workspaceTags"),
        ("2026-07", "/api/v1/projects/shop/tags", "tags"),
    ):
        talk = talk_to(profile)
        (tag,) = talk.call("GET", path).body[key]
        assert tag["slug"] == "db"
        talk.update("ONE", "one", tagIds=[tag["id"]])
        talk.update("ONE", "one")
        assert sorted(names(talk.list(tagSlugs="db"))) == ["ONE", "TWO"]
        talk.update("ONE", "one", tagIds=[])
        assert names(talk.list(tagSlugs="db")) == ["TWO"]
        assert talk.update("ONE", "one", tagIds=["none"]).message.startswith("Tag not found")
        assert ("tags" in talk.get("TWO").body["secret"]) == (profile == "2026-07")
    assert talk_to("reference").call("GET", "/api/v1/workspace/shop/tags").status == 404


def test_only_current_servers_support_metadata(talk_to: Callable[[str], Talk]) -> None:
    items = [{"key": "tier", "value": "1"}]
    assert talk_to("2026-07").create("NEW", secretMetadata=items).status == 200
    assert talk_to("2026-07").get("NEW").body["secret"]["secretMetadata"] == [{**items[0], "isEncrypted": False}]
    assert names(talk_to("2026-07").list(metadataFilter="key=tier,value=1")) == ["NEW"]
    assert names(talk_to("2026-07").list(metadataFilter="key=owner,value=you")) == []
    assert talk_to("2024").update("NEW", "v", secretMetadata=[]).status == 200
    assert "secretMetadata" not in talk_to("2024").get("NEW").body["secret"]
    assert talk_to("2026-07").get("NEW").body["secret"]["secretMetadata"] != []


# --- reading --------------------------------------------------------------------------------------------------------


@each_profile()
def test_recursive_list_returns_every_secret_with_its_path(profile: str, talk_to: Callable[[str], Talk]) -> None:
    found = talk_to(profile).list(recursive="true").body["secrets"]
    places = sorted((secret["secretPath"], secret["secretKey"]) for secret in found)
    assert ("/", "ONE") in places
    assert ("/app", "ONE") in places
    assert ("/app/web", "DEEP") in places
    assert len(places) == 6


@each_profile()
def test_list_order_is_not_the_creation_order(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    created = [f"K{number}" for number in range(8)]
    for name in created:
        talk.create(name)
    listed = [name for name in names(talk.list()) if name in created]
    assert sorted(listed) == created
    assert listed != created
    assert names(talk.list()) == names(talk.list())


@pytest.mark.parametrize(
    ("profile", "name"), [("reference", "includeImports"), ("2024", "include_imports"), ("2026-07", "includeImports")]
)
def test_imports_are_listed_in_each_profiles_format(profile: str, name: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    other = {"includeImports", "include_imports"} - {name}
    reply = talk.list(secretPath="/app", **{name: "true"})
    assert names(reply) == ["ONE"]
    imports = reply.body["imports"]
    assert [(link["environment"], link["secretPath"], names(Reply(200, link))) for link in imports] == [
        ("prod", "/", ["SHARED"]),
        ("prod", "/more", ["SHARED"]),
    ]
    # Real servers of 2026 include imports by default.
    off = {name: "false"} if profile == "2026-07" else {}
    assert not talk.list(secretPath="/app", **{other.pop(): "true"}, **off).body.get("imports")
    assert talk.get("SHARED", secretPath="/app", **{name: "true"}).body["secret"]["secretValue"] == "from more"
    assert talk.get("SHARED", secretPath="/app", **off).status in (400, 404)
    talk.server.put_secret("shop", "dev", "/app", "SHARED", "own")
    assert talk.get("SHARED", secretPath="/app", **{name: "true"}).body["secret"]["secretValue"] == "own"


@each_profile()
def test_references_are_resolved_on_request(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    talk.server.put_secret("shop", "dev", "/", "REF", "${ONE} ${dev.app.web.DEEP} ${prod.SHARED} ${NONE}.")
    talk.server.put_secret("shop", "dev", "/", "OVER", "<${REF}>")
    talk.server.put_secret("shop", "dev", "/", "ROUND", "${ROUND}x")
    off = {"expandSecretReferences": "false"} if profile == "2026-07" else {}
    assert talk.get("REF", **off).body["secret"]["secretValue"].startswith("${ONE}")
    expanded = {"expandSecretReferences": "true"}
    assert talk.get("OVER", **expanded).body["secret"]["secretValue"] == "<one deep from prod .>"
    listed = {secret["secretKey"]: secret["secretValue"] for secret in talk.list(**expanded).body["secrets"]}
    assert listed["REF"] == "one deep from prod ."
    assert "$" not in listed["ROUND"]


@pytest.mark.parametrize("profile", ["2024", "2026-07", "2026-10"])
def test_reference_to_a_missing_secret_is_accepted(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    assert talk.create("NEW", "a-${NONE}").status == 200
    assert talk.update("ONE", "${ONE}").status == 200
    kept = profile == "2026-10"
    for name, literal, empty in (("NEW", "a-${NONE}", "a-"), ("ONE", "${ONE}", "")):
        shown = talk.get(name, expandSecretReferences="true").body["secret"]["secretValue"]
        assert shown == (literal if kept else empty)


def test_multi_line_reference_is_quoted_if_encoding_is_skipped(talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to("2026-07")
    talk.create("PEM", "l1\nl2", skipMultilineEncoding=True)
    talk.create("LINK", "${PEM}", skipMultilineEncoding=True)
    talk.server.put_secret("shop", "dev", "/", "SEEDED", "${PEM}", skip_multiline_encoding=True)
    talk.create("PLAIN", "${PEM}")
    expanded = {"expandSecretReferences": "true"}
    assert {name: talk.get(name, **expanded).body["secret"]["secretValue"] for name in ("PEM", "LINK", "SEEDED")} == {
        "PEM": "l1\nl2",
        "LINK": '"l1\\nl2"',
        "SEEDED": '"l1\\nl2"',
    }
    assert talk.get("PLAIN", **expanded).body["secret"]["secretValue"] == "l1\nl2"
    assert talk.get("PEM").body["secret"]["skipMultilineEncoding"] is True


def test_rotated_secrets_and_encrypted_metadata_are_marked(talk: Talk) -> None:
    metadata = [{"key": "pin", "value": "1", "encrypted": True}]
    talk.server.put_secret("shop", "dev", "/", "ONE", "one", rotated=True, metadata=metadata)
    shown = talk.get("ONE").body["secret"]
    assert shown["isRotatedSecret"] is True
    assert shown["secretMetadata"] == [{"key": "pin", "value": "1", "isEncrypted": True}]
    assert talk.get("TWO").body["secret"]["isRotatedSecret"] is False


def test_deleted_environment_is_still_listed_from_the_cache(talk: Talk) -> None:
    before = talk.list()
    etag = {"If-None-Match": before.headers["etag"]}
    path = f"{talk.root}?{urlencode(talk.scope())}"
    talk.server.delete_environment("shop", "dev", cached=True)
    assert talk.call("GET", path, headers=etag).status == 304
    assert talk.list().body == before.body
    assert talk.get("ONE").status == 404
    assert talk.call("GET", "/api/v2/folders?projectId=shop&environment=dev").status == 404
    [shop] = talk.call("GET", "/api/v1/projects").body["projects"]
    assert [environment["slug"] for environment in shop["environments"]] == ["prod"]
    talk.server.delete_environment("shop", "dev")
    assert talk.call("GET", path, headers=etag).status != 304
    with pytest.raises(ValueError, match=r"^environment: environment 'dev' does not exist"):
        talk.server.delete_environment("shop", "dev")


def test_folder_with_contents_is_deleted_only_with_force(talk: Talk) -> None:
    scope = {"projectId": "shop", "environment": "dev", "path": "/"}
    assert "forceDelete=true" in talk.call("DELETE", "/api/v2/folders/app", scope).message
    assert talk.stored("/app")["ONE"] == ["one in app"]
    assert talk.call("DELETE", "/api/v2/folders/app", {**scope, "forceDelete": True}).status == 200
    assert talk.stored("/app") == {}


def test_values_are_hidden_with_only_the_describe_permission(talk_to: Callable[[str], Talk]) -> None:
    for talk, query in (
        (talk_to("2026-07").as_("hidden-token"), {}),
        (talk_to("2026-07").as_("names-only-token"), {"viewSecretValue": "false"}),
        (talk_to("2026-07"), {"viewSecretValue": "false"}),
    ):
        for secret in talk.list(**query).body["secrets"]:
            assert (secret["secretValueHidden"], secret["secretValue"]) == (True, "<hidden-by-infisical>")
    shown = talk_to("2026-07").get("ONE").body["secret"]
    assert (shown["secretValueHidden"], shown["secretValue"]) == (False, "one")
    for profile, status in (("2024", 401), ("reference", 403)):
        assert talk_to(profile).as_("hidden-token").list().status == status
        assert talk_to(profile).as_("hidden-token").get("ONE").status == status


def test_writer_can_write_but_not_read(talk: Talk) -> None:
    writer = talk.as_("writer-token")
    assert writer.create("NEW", "hers").status == 200
    assert writer.update("ONE", "hers").body["secret"]["secretValueHidden"] is True
    assert talk.stored()["NEW"] == ["hers"]
    assert [writer.get("ONE").status, writer.list().status, writer.delete("ONE").status] == [403, 403, 403]
    assert talk.as_("no-access-token").list().status == 403


def test_2024_server_returns_the_written_value_to_a_writer(talk_to: Callable[[str], Talk]) -> None:
    written = talk_to("2024").as_("writer-token").create("NEW", "hers").body["secret"]
    assert written["secretValue"] == "hers"
    assert "secretValueHidden" not in written


def test_reference_server_deletes_without_a_request_body(talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to("reference")
    assert talk.call("DELETE", f"{talk.root}/ONE?{urlencode(talk.scope())}").status == 200
    assert "ONE" not in talk.stored()


def test_approval_policy_delays_changes(talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to("2026-07")
    place = {"secretPath": "/guarded"}
    for reply in (
        talk.create("NEW", **place),
        talk.update("OLD", "new", **place),
        talk.delete("OLD", **place),
        talk.batch("POST", {"NEW": "v"}, **place),
        talk.batch("DELETE", {"OLD": ""}, **place),
    ):
        assert reply.status == 200
        assert list(reply.body) == ["approval"]
        assert reply.body["approval"]["id"]
    assert talk.stored("/guarded") == {"OLD": ["old"]}
    assert len(talk.server.state()["approvals"]) == 5
    assert talk.update("NONE", **place).status == 404
    assert "secret" in talk_to("2024").update("OLD", "new", **place).body


@each_profile()
def test_list_response_has_an_etag(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    path = f"{talk.root}?{urlencode(talk.scope())}"
    etag = talk.call("GET", path).headers["etag"]
    same = talk.call("GET", path, headers={"If-None-Match": etag})
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", etag)
    assert talk.server.requests()[-1]["returned_values"] is False
    talk.update("ONE", "changed")
    assert talk.call("GET", path, headers={"If-None-Match": etag}).status == 200


# --- projects and folders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "path", "status", "key"),
    [
        ("reference", "/api/v1/workspace", 200, "workspaces"),
        ("reference", "/api/v1/projects", 404, None),
        ("2024", "/api/v1/workspace", 403, None),
        ("2024", "/api/v1/workspace/shop", 200, "workspace"),
        ("2024", "/api/v1/workspace/other", 403, None),
        ("2024", "/api/v1/projects", 404, None),
        ("2026-07", "/api/v1/projects", 200, "projects"),
        ("2026-07", "/api/v1/projects/shop", 200, "project"),
        ("2026-07", "/api/v1/projects/none", 404, None),
        ("2026-07", "/api/v1/workspace", 200, "workspaces"),
        ("2026-07", "/api/v1/workspace/shop", 200, "workspace"),
    ],
)
def test_projects_are_listed_on_each_profiles_route(
    profile: str, path: str, status: int, key: str | None, talk_to: Callable[[str], Talk]
) -> None:
    reply = talk_to(profile).call("GET", path)
    assert reply.status == status
    if key:
        found = reply.body[key]
        (project,) = found if isinstance(found, list) else [found]
        assert (project["id"], project["name"]) == ("shop", "Shop")
        assert [(e["slug"], e["name"]) for e in project["environments"]] == [
            ("dev", "Development"),
            ("prod", "Production"),
        ]


@pytest.mark.parametrize(
    ("profile", "root", "project"),
    [
        ("2024", "/api/v1/folders", "workspaceId"),
        ("2026-07", "/api/v1/folders", "workspaceId"),
        ("2026-07", "/api/v2/folders", "projectId"),
    ],
)
def test_folders_are_created_with_parents_deleted_with_contents(
    profile: str, root: str, project: str, talk_to: Callable[[str], Talk]
) -> None:
    talk = talk_to(profile)
    scope = {project: "shop", "environment": "dev"}

    def listed(**query: str) -> list[str]:
        reply = talk.call("GET", f"{root}?{urlencode({**scope, **query})}")
        return sorted(folder["name"] for folder in reply.body["folders"])

    made = talk.call("POST", root, {**scope, "name": "c", "path": "/a/b"}).body["folder"]
    assert made["name"] == "c"
    again = talk.call("POST", root, {**scope, "name": "c", "path": "/a/b"})
    assert again.status == 400 if profile == "2026-07" else again.body["folder"]["id"] == made["id"]
    assert listed() == ["a", "app", "guarded"]
    assert listed(path="/a/b") == ["c"]
    recursive = ["a", "app", "b", "c", "guarded", "web"]
    assert listed(recursive="true") == (recursive if root == "/api/v2/folders" else ["a", "app", "guarded"])
    assert talk.create("INSIDE", secretPath="/a/b/c").status == 200
    assert talk.call("DELETE", f"{root}/a", {**scope, "path": "/", "forceDelete": True}).status == 200
    assert listed() == ["app", "guarded"]
    assert talk.stored("/a/b/c") == {}
    web = talk.call("GET", f"{root}?{urlencode({**scope, 'path': '/app'})}").body["folders"][0]
    assert talk.call("DELETE", f"{root}/{web['id']}", {**scope, "path": "/app", "forceDelete": True}).status == 200
    missing = 404 if profile == "2026-07" else 400
    assert talk.call("DELETE", f"{root}/a", {**scope, "path": "/"}).status == missing
    nothing = talk.call("GET", f"{root}?{urlencode({**scope, 'path': '/none'})}")
    assert nothing.body == {"folders": []} if profile == "2026-07" else nothing.status == missing
    assert talk.call("POST", root, {**scope, "environment": "none", "name": "c"}).status == missing
    assert talk.call("POST", root, {**scope, "name": "a/b"}).body["error"] == "ValidationFailure"
    assert talk.as_("viewer-token").call("POST", root, {**scope, "name": "d"}).body["error"] == "PermissionDenied"


def test_reference_server_has_no_folder_routes(talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to("reference")
    assert talk.call("GET", "/api/v1/folders?workspaceId=shop&environment=dev").status == 404
    assert talk_to("2024").call("GET", "/api/v2/folders?projectId=shop&environment=dev").status == 404


def test_current_server_supports_the_deprecated_secret_routes(talk: Talk) -> None:
    reply = talk.call("GET", "/api/v3/secrets/raw/ONE?workspaceId=shop&environment=dev")
    assert reply.body["secret"]["secretValue"] == "one"


# --- logins and tokens ----------------------------------------------------------------------------------------------


@each_profile()
def test_login_returns_a_valid_token(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    reply = talk.log_in(" short-id\t", f"{NO_BREAK_SPACE}short-secret\n")
    assert reply.status == 200
    assert (reply.body["expiresIn"], reply.body["accessTokenMaxTTL"], reply.body["tokenType"]) == (100, 200, "Bearer")
    assert talk.as_(reply.body["accessToken"]).list().status == 200


def test_lockout_affects_one_identity_and_expires(talk: Talk) -> None:
    assert "locked" in locked(talk).message
    assert talk.log_in("viewer-id", "viewer-secret").status == 200
    talk.server.advance(299)
    assert "locked" in talk.log_in("admin-id", "admin-secret").message
    talk.server.advance(2)
    assert talk.log_in("admin-id", "admin-secret").status == 200


def test_successful_login_resets_the_count_of_failed_logins(talk: Talk) -> None:
    for secret in ("wrong", "wrong", "admin-secret", "wrong", "wrong"):
        talk.log_in("admin-id", secret)
    assert talk.log_in("admin-id", "admin-secret").status == 200


@each_profile("reference", "2024")
def test_older_servers_do_not_lock_out_identities(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    for _round in range(4):
        talk.log_in("admin-id", "wrong")
    assert talk.log_in("admin-id", "admin-secret").status == 200


def test_lockout_can_be_configured_and_turned_off(talk: Talk) -> None:
    talk.server.seed({**SEED, "settings": {"lockout": {"after": 1, "seconds": 10}}})
    talk.log_in("admin-id", "wrong")
    assert "locked" in talk.log_in("admin-id", "admin-secret").message
    talk.server.seed({**SEED, "settings": {"lockout": None}})
    for _round in range(4):
        talk.log_in("admin-id", "wrong")
    assert talk.log_in("admin-id", "admin-secret").status == 200


@pytest.mark.parametrize(("profile", "status"), [("reference", 401), ("2024", 403), ("2026-07", 401)])
def test_client_secret_with_a_use_limit_is_rejected_once_used_up(
    profile: str, status: int, talk_to: Callable[[str], Talk]
) -> None:
    talk = talk_to(profile)
    assert [talk.log_in("thrifty-id", "thrifty-secret").status for _round in range(2)] == [200, status]


@each_profile("2024", "2026-07")
def test_token_can_be_revoked(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile).logged_in("admin")
    other = talk.logged_in("admin")
    assert talk.call("POST", "/api/v1/auth/token/revoke", {"accessToken": talk.token}).status == 200
    assert talk.list().status in (401, 403)
    assert other.list().status == 200


# --- limits ---------------------------------------------------------------------------------------------------------


def test_rate_limits_apply_per_method_route_and_time_window(talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to("2024")
    limited = over_rate(talk)
    assert 1 <= int(limited.headers["retry-after"]) <= 60
    assert limited.headers["x-ratelimit-limit"] == "2"
    assert limited.headers["x-ratelimit-remaining"] == "0"
    assert int(limited.headers["x-ratelimit-reset"]) <= 60
    assert talk.get("ONE").headers["x-ratelimit-remaining"] == "1"
    assert [talk.call("GET", "/api/status").status for _round in range(5)] == [200] * 5
    assert [talk.log_in("admin-id", "admin-secret").status for _round in range(2)] == [200, 429]
    talk.server.advance(60)
    assert talk.list().status == 200


def test_reference_server_sends_no_retry_after_header(talk_to: Callable[[str], Talk]) -> None:
    assert "retry-after" not in over_rate(talk_to("reference")).headers


def test_rate_limit_is_off_unless_the_seed_sets_it(talk: Talk) -> None:
    assert {talk.list().status for _round in range(60)} == {200}


@each_profile("2024", "2026-07")
def test_value_just_under_the_body_limit_is_stored(profile: str, talk_to: Callable[[str], Talk]) -> None:
    talk = talk_to(profile)
    assert talk.create("BIG", "x" * 1_048_000).status == 200
    assert len(talk.stored()["BIG"][0]) == 1_048_000
    assert talk.create("NEW", TOO_LARGE).status == (500 if profile == "2026-07" else 413)
    assert "NEW" not in talk.stored()


def test_body_that_is_not_json_is_refused(talk: Talk) -> None:
    assert talk.call("POST", f"{talk.root}/NEW", b'{"projectId":').status == 500
    assert talk.call("POST", f"{talk.root}/NEW", b"a=b", {"Content-Type": "text/plain"}).status == 415
    assert talk.call("POST", f"{talk.root}/NEW", b"[]").status == 422


def test_any_text_is_returned_as_stored(talk: Talk) -> None:
    value = "".join(map(chr, range(33, 0x300))) + "\U0001f511\ud800\0end"
    assert talk.create("TEXT", value).status == 200
    assert talk.get("TEXT").body["secret"]["secretValue"] == value


# --- faults ---------------------------------------------------------------------------------------------------------


def test_status_fault_affects_the_specified_number_of_requests(talk: Talk) -> None:
    talk.server.arm("status", status=503, times=2, headers={"Retry-After": "7"})
    first = talk.list()
    assert (first.status, first.body["statusCode"], first.headers["retry-after"]) == (503, 503, "7")
    assert "reqId" in first.body
    assert [talk.list().status, talk.list().status] == [503, 200]


def test_injected_http_status_can_follow_a_stored_change(talk: Talk) -> None:
    talk.server.arm("status", status=400, error="BadRequest", message="no", method="POST", after_handling=True)
    assert talk.list().status == 200
    assert (talk.create("NEW").message, talk.stored()["NEW"]) == ("no", ["v"])


def test_fault_affects_only_matching_paths_until_disarmed(talk: Talk) -> None:
    talk.server.arm("status", status=502, path="/secrets/TWO$", times=None)
    assert [talk.get("ONE").status, talk.get("TWO").status, talk.get("TWO").status] == [200, 502, 502]
    talk.server.disarm()
    assert talk.get("TWO").status == 200


def test_html_and_redirect_faults_replace_the_api_response(talk: Talk) -> None:
    talk.server.arm("html")
    page = talk.create("NEW")
    assert (page.status, page.headers["content-type"].split(";")[0]) == (200, "text/html")
    assert page.body.startswith(b"<!DOCTYPE html>")
    assert "NEW" not in talk.stored()
    talk.server.arm("redirect", status=307, headers={"Location": f"{talk.server.url}/api/status"})
    connection = http.client.HTTPConnection(talk.server.url.removeprefix("http://"))
    connection.request("GET", "/api/v4/secrets")
    response = connection.getresponse()
    assert (response.status, response.headers["Location"]) == (307, f"{talk.server.url}/api/status")
    connection.close()


def test_malformed_json_fault_sends_a_complete_http_response(talk: Talk) -> None:
    talk.server.arm("malformed")
    reply = talk.list()
    assert reply.status == 200
    assert isinstance(reply.body, bytes)
    assert len(reply.body) == int(reply.headers["content-length"])


def test_connection_can_be_cut_before_the_response(talk: Talk) -> None:
    talk.server.arm("cut_before")
    with pytest.raises(http.client.RemoteDisconnected):
        talk.create("LOST")
    assert "LOST" not in talk.stored()
    talk.server.arm("cut_before", after_handling=True)
    with pytest.raises(http.client.RemoteDisconnected):
        talk.create("KEPT")
    assert talk.stored()["KEPT"] == ["v"]
    assert talk.server.requests()[-1]["status"] is None


def test_connection_can_be_cut_in_the_middle_of_a_body(talk: Talk) -> None:
    whole = len(json.dumps(talk.list().body, separators=(",", ":")))
    talk.server.arm("cut_middle")
    with pytest.raises(http.client.IncompleteRead) as cut:
        talk.list()
    assert len(cut.value.partial) == whole // 2


def test_held_request_gets_no_response_but_delayed_request_does(talk: Talk) -> None:
    talk.server.arm("timeout", seconds=0.3)
    started = time.monotonic()
    with pytest.raises(http.client.RemoteDisconnected):
        talk.list()
    assert time.monotonic() - started >= 0.3
    talk.server.arm("delay", seconds=0.3)
    started = time.monotonic()
    assert talk.list().status == 200
    assert time.monotonic() - started >= 0.3


def test_fault_can_write_or_delete_before_the_request(talk: Talk) -> None:
    place = {"project": "shop", "environment": "dev", "path": "/"}
    talk.server.arm("write_first", method="POST", secret={**place, "key": "NEW", "value": "theirs"})
    assert talk.create("NEW", "ours").message == "Secret already exists"
    assert talk.stored()["NEW"] == ["theirs"]
    talk.server.arm("delete_first", method="PATCH", secret={**place, "key": "ONE"})
    assert talk.update("ONE").status == 404


@pytest.mark.parametrize(
    ("fault", "field"),
    [
        ({"kind": "none"}, "kind"),
        ({"kind": "status", "times": 0}, "times"),
        ({"kind": "status", "status": "500"}, "status"),
        ({"kind": "status", "path": "("}, "path"),
        ({"kind": "delay", "seconds": "1"}, "seconds"),
        ({"kind": "write_first"}, "secret"),
        ({"kind": "delete_first", "secret": {"value": "x"}}, "secret.value"),
        ({"kind": "status", "when": 1}, "when"),
    ],
)
def test_invalid_fault_is_refused(fault: dict[str, Any], field: str, talk: Talk) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        talk.server.control("POST", "/faults", fault)
    assert talk.list().status == 200


# --- control --------------------------------------------------------------------------------------------------------


def test_request_log_contains_no_values_or_credentials(talk: Talk) -> None:
    talk.server.clear_requests()
    talk.log_in("admin-id", "admin-secret")
    talk.server.arm("status", status=500)
    talk.list()
    talk.as_("hidden-token").list(recursive="true")
    talk.batch("POST", {"a b": "canary"})
    talk.call("POST", "/api/v1/auth/token/revoke", {"accessToken": "admin-token"})
    log = talk.server.requests()
    assert [entry["n"] for entry in log] == [1, 2, 3, 4, 5]
    assert [entry["status"] for entry in log] == [200, 500, 200, 200, 200]
    assert [entry["identity"] for entry in log] == ["admin", None, "hidden", "admin", None]
    assert [entry["fault"] for entry in log] == [None, "status", None, None, None]
    assert [entry["returned_values"] for entry in log] == [False, False, False, True, False]
    assert log[0]["body"] == {"clientId": "admin-id", "clientSecret": "***"}
    assert log[2]["query"]["recursive"] == "true"
    assert log[3]["body"]["secrets"] == [{"secretKey": "a b", "secretValue": "***"}]
    assert log[4]["body"] == {"accessToken": "***"}
    assert [entry["path"] for entry in talk.server.requests("/batch$")] == ["/api/v4/secrets/batch"]


def test_path_is_logged_as_sent(talk: Talk) -> None:
    talk.get("a/b c")
    assert talk.server.requests()[-1]["path"] == "/api/v4/secrets/a%2Fb%20c"


def test_reset_and_seed_replace_the_complete_state(talk: Talk) -> None:
    talk.create("NEW", "stored")
    talk.log_in("admin-id", "admin-secret")
    talk.server.advance(1000)
    talk.server.arm("html", times=None)
    state = talk.server.state()
    assert state["now"] > time.time() + 900
    assert [identity["logins"] for identity in state["identities"] if identity["name"] == "admin"] == [1]
    talk.server.reset()
    assert "NEW" not in talk.stored()
    assert talk.list().status == 200
    assert len(talk.server.requests()) == 1
    assert talk.server.state()["now"] < time.time() + 900
    talk.server.seed({"projects": [{"id": "p"}]})
    assert [project["id"] for project in talk.server.state()["projects"]] == ["p"]


def test_control_requests_can_change_secrets(talk: Talk) -> None:
    talk.server.put_secret("shop", "dev", "/", "ONE", " untrimmed ")
    talk.server.put_secret("shop", "dev", "/brand/new", "ONE", "a", comment="c", tags=["db"])
    talk.server.put_secret("shop", "dev", "/brand/new", "ONE", "b", repeat=True)
    assert talk.get("ONE").body["secret"]["version"] == 2
    assert talk.stored()["ONE"] == [" untrimmed "]
    assert talk.stored("/brand/new") == {"ONE": ["a", "b"]}
    assert talk.server.delete_secret("shop", "dev", "/brand/new", "ONE") == 2
    with pytest.raises(ValueError, match=r"^environment: environment 'none' does not exist"):
        talk.server.put_secret("shop", "none", "/", "ONE", "v")


def test_invalid_control_request_is_rejected(talk: Talk) -> None:
    with pytest.raises(ValueError, match="unknown control request"):
        talk.server.control("GET", "/nothing")
    with pytest.raises(ValueError, match=r"^profile: "):
        talk.server.use_profile("1999")
    with pytest.raises(ValueError, match=r"^advance: "):
        talk.server.advance(-1)


BAD_SEEDS: tuple[tuple[Any, str], ...] = (
    ([], "the seed: must be an object"),
    ({"project": []}, "project: unknown key"),
    ({"projects": {}}, "projects: must be a list"),
    ({"projects": [{"name": "x"}]}, r"projects\[0\].id: is missing"),
    ({"projects": [{"id": "p"}, {"id": "p"}]}, r"projects\[1\].id: 'p' is used twice"),
    ({"projects": [{"id": "p", "environments": [{"slug": 1}]}]}, r"projects\[0\].environments\[0\].slug: must be a st"),
    (
        {"projects": [{"id": "p", "secrets": [{"environment": "dev", "key": "K", "value": "v"}]}]},
        r"projects\[0\].secrets\[0\].environment: environment 'dev' does not exist",
    ),
    (
        {"projects": [{"id": "p", "environments": [{"slug": "d"}], "secrets": [{"environment": "d", "key": "K"}]}]},
        r"projects\[0\].secrets\[0\].value: is missing",
    ),
    (
        {"projects": [{"id": "p", "environments": [{"slug": "d"}], "folders": [{"environment": "d", "path": "a"}]}]},
        r"projects\[0\].folders\[0\].path: must begin with /",
    ),
    (
        {"identities": [{"client_id": "i", "client_secret": "s", "permissions": {"p": "admin"}}]},
        r"identities\[0\].permissions.p: project 'p' does not exist",
    ),
    (
        {
            "projects": [{"id": "p"}],
            "identities": [{"client_id": "i", "client_secret": "s", "permissions": {"p": "god"}}],
        },
        r"identities\[0\].permissions.p: must be a role",
    ),
    ({"tokens": [{"identity": "i", "token": "t"}]}, r"tokens\[0\].identity: identity 'i' does not exist"),
    ({"settings": {"rate_limit": {"secrets": 0}}}, "settings.rate_limit.secrets: must be a whole number"),
    ({"settings": {"lockout": {"before": 1}}}, "settings.lockout.before: unknown key"),
)


@pytest.mark.parametrize(("seed", "message"), BAD_SEEDS)
def test_malformed_seed_error_names_the_key(seed: Any, message: str, talk: Talk) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        talk.server.seed(seed)
    assert talk.stored()["ONE"] == ["one"]


# --- the process ----------------------------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TESTS / "dev_server"), "--port", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_bad_input_exits_with_status_2_and_a_message(tmp_path: Path) -> None:
    broken, wrong = tmp_path / "broken.json", tmp_path / "wrong.json"
    broken.write_text("{")
    wrong.write_text('{"projects": [{}]}')
    for arguments, sentence in (
        (("--profile", "1999"), "invalid choice: '1999'"),
        (("--seed", str(tmp_path / "none.json")), "cannot be read: No such file"),
        (("--seed", str(broken)), "is not JSON"),
        (("--seed", str(wrong)), "projects[0].id: is missing"),
        (("--tls-cert", "x"), "--tls-cert and --tls-key must be used together"),
        (("--tls-cert", str(broken), "--tls-key", str(broken)), f"--tls-cert {broken}"),
        (("--port", "99999"), "cannot listen on 127.0.0.1 port 99999"),
        (("--ready-file", str(tmp_path / "none" / "ready")), "--ready-file"),
    ):
        ended = run(*arguments)
        assert (ended.returncode, sentence in ended.stderr, "Traceback" in ended.stderr) == (2, True, False), ended


def test_server_prints_its_url_and_ends_on_sigterm(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, str(TESTS / "dev_server"), "--port", "0", "--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        document = json.loads(ready.read_text())
        assert line == f"Listening on {document['url']} (profile 2026-07)\n"
        assert document["pid"] == process.pid
        assert document["profile"] == "2026-07"
        with urllib.request.urlopen(f"{document['control_url']}/profile", timeout=5) as response:
            assert json.load(response) == {"profile": "2026-07"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_simulated_outage_refuses_connections_and_keeps_the_data() -> None:
    with DevServer() as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=5)
        connection.request("GET", "/api/status")
        connection.getresponse().read()
        server.put_secret("demo-project", "dev", "/app", "NEW", "stored before")
        server.refuse()
        with pytest.raises(urllib.error.URLError, match="Connection refused"):
            urllib.request.urlopen(f"{server.url}/api/status", timeout=5)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            connection.request("GET", "/api/status")
            connection.getresponse()
        server.refuse()
        server.listen()
        assert server.values("demo-project", "dev", "/app")["NEW"] == ["stored before"]
        assert len(server.requests("/api/status")) == 1


def test_default_seed_contains_a_demo_project(tmp_path: Path) -> None:
    with DevServer() as server:
        talk = Talk(server).log_in("demo-client-id", "demo-client-secret")
        token = talk.body["accessToken"]
        projects = Talk(server, token=token).call("GET", "/api/v1/projects").body["projects"]
        assert [project["id"] for project in projects] == ["demo-project"]
        assert [environment["slug"] for environment in projects[0]["environments"]] == ["dev", "staging", "prod"]
        assert "DB_PASSWORD" in server.values("demo-project", "dev", "/app")


def test_https_is_verified_with_the_servers_own_ca() -> None:
    with DevServer(tls=True) as server:
        assert server.url.startswith("https://127.0.0.1:")
        server.arm("cut_middle")
        context = ssl.create_default_context(cafile=server.ca_path)
        with pytest.raises(http.client.IncompleteRead):
            urllib.request.urlopen(f"{server.url}/api/status", timeout=5, context=context).read()
        with urllib.request.urlopen(f"{server.url}/api/status", timeout=5, context=context) as response:
            assert json.load(response)["message"] == "Ok"
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(f"{server.url}/api/status", timeout=5)


def test_server_can_be_stopped_while_a_request_is_held() -> None:
    with DevServer() as server:
        server.arm("timeout", seconds=60)
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
        connection.request("GET", "/api/status")
        while not server.requests():
            time.sleep(0.01)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 5
        assert server.process.returncode == 0
        connection.close()


def test_failed_start_reports_its_reason() -> None:
    with pytest.raises(RuntimeError, match=r"^the test server did not start: .*nothing: unknown key"):
        DevServer(seed={"nothing": 1})
