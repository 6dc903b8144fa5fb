# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Grants and their permissions, plans for identities, and client secrets that are valid for long enough."""

from __future__ import annotations

import base64
import itertools
import json
import random
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import identities
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identity_methods import (
    METHOD_ROUTES,
    MethodSettings,
    changed_settings,
    parse_settings,
    render_settings,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    Ambiguous,
    ConfigurationError,
    InfisicalError,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities import client_secrets
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.apply import choose
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import (
    Grant,
    check_grant,
    covers,
    from_permissions,
    normalize,
    to_permissions,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.plan import (
    Change,
    Current,
    Desired,
    plan,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.project_identity import (
    build_settings,
    describe_client_secret,
    refuse_private_keys,
)
from dev_server import grants as server

READ = {"subject": "secrets", "action": ["describeSecret", "readValue"]}
RECORDED = {**READ, "conditions": {"environment": {"$eq": "dev"}, "secretPath": {"$in": ["/app", "/deep/er/est"]}}}
PATHS = ("/", "/app", "/app/db", "/app/db/old", "/application", "/web")
GRANTS = [
    Grant(environment, path, recursive, access)
    for environment in ("dev", "prod", "*")
    for path in ("/", "/app", "/app/**", "/app/*", "/a?p", "/**")
    for recursive in (False, True)
    for access in ("read", "write")
    if not (recursive and path not in ("/", "/app"))
]


def random_grants(seed: int) -> list[Grant]:
    chooser = random.Random(seed)
    return chooser.sample(GRANTS, chooser.randrange(5))


def server_allows(permissions: list[dict[str, Any]], action: str, environment: str, path: str) -> bool:
    stored = [{"inverted": False, **one} for one in permissions]
    return server.allows(
        server.Privilege("keyfleet", "p", stored, 0.0, 0.0).grants(), action, "secrets", path, environment
    )


@pytest.mark.parametrize("seed", range(200))
def test_grants_survive_a_round_trip(seed: int) -> None:
    grants = random_grants(seed)
    found = from_permissions(to_permissions(grants))
    assert (found.grants, found.foreign) == (normalize(grants), ())
    assert to_permissions(found.grants) == to_permissions(reversed(grants))


@pytest.mark.parametrize("seed", range(200))
def test_server_allows_what_the_grants_cover(seed: int) -> None:
    grants = random_grants(seed)
    permissions = to_permissions(grants)
    for environment, path in itertools.product(("dev", "prod", "stage"), PATHS):
        assert covers(grants, environment, path) == server_allows(permissions, "read", environment, path), path
        writes = [one for one in grants if one.access == "write"]
        assert covers(writes, environment, path) == server_allows(permissions, "edit", environment, path), path


def test_permissions_have_the_recorded_form() -> None:
    assert to_permissions([Grant("dev", "/app", True)]) == [
        {**READ, "conditions": {"secretPath": {"$eq": "/app"}, "environment": {"$eq": "dev"}}},
        {**READ, "conditions": {"secretPath": {"$glob": "/app/**"}, "environment": {"$eq": "dev"}}},
    ]
    assert from_permissions([{**RECORDED, "inverted": False}]).grants == (
        Grant("dev", "/app"),
        Grant("dev", "/deep/er/est"),
    )


def test_missing_condition_means_everything() -> None:
    [grant] = from_permissions([READ]).grants
    assert all(grant.covers(environment, path) for environment in ("dev", "prod") for path in PATHS)


FOREIGN: dict[str, dict[str, Any]] = {
    "inverted": {**READ, "inverted": True},
    "other subject": {**READ, "subject": "secret-folders"},
    "names only": {**READ, "action": ["describeSecret"]},
    "other condition": {**READ, "conditions": {"secretName": {"$eq": "A"}}},
    "other operator": {**READ, "conditions": {"secretPath": {"$ne": "/app"}}},
    "two operators": {**READ, "conditions": {"secretPath": {"$eq": "/app", "$glob": "/**"}}},
    "braces": {**READ, "conditions": {"secretPath": {"$glob": "/{app,web}/**"}}},
    "exact path with a star": {**READ, "conditions": {"secretPath": {"$eq": "/app/*"}}},
    "glob of environments": {**READ, "conditions": {"environment": {"$glob": "d*"}}},
    "no list": {**READ, "conditions": {"secretPath": {"$in": []}}},
    "unknown key": {**READ, "more": 1},
}


@pytest.mark.parametrize("permission", FOREIGN.values(), ids=FOREIGN)
def test_foreign_permission_is_shown_and_not_misread(permission: dict[str, Any]) -> None:
    found = from_permissions([permission])
    assert (found.grants, found.foreign) == ((), (permission,))
    current = Current(IDENTITY, privilege=identities.Privilege("1", "keyfleet", (permission,)))
    [change] = plan(current, Desired(grants=(Grant("dev"),)))
    assert (change.before or {})["other_permissions"] == [permission]


@pytest.mark.parametrize(
    "given",
    [
        {"environment": "dev prod", "path": "/"},
        {"environment": "", "path": "/"},
        {"environment": "dev", "path": "app"},
        {"environment": "dev", "path": "/app/../x"},
        {"environment": "dev", "path": "/{a,b}"},
        {"environment": "dev", "path": "/app/**", "recursive": True},
        {"environment": "dev", "path": "/", "access": "admin"},
    ],
)
def test_invalid_grant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_grant(**given)
    assert "must" in caught.value.problem and "(got " in caught.value.problem


IDENTITY = identities.Identity("i1", "web1", "p1", (("host", "web1"),))
SETTINGS = MethodSettings({"access_token_ttl": 900, "access_token_trusted_ips": ("0.0.0.0/0", "::/0")}, "client")


def test_plan_creates_everything_in_order() -> None:
    desired = Desired("web1", {"host": "web1"}, "viewer", None, {"universal_auth": {}}, (Grant("dev"),))
    assert [change.part for change in plan(Current(), desired)] == ["identity", "role", "universal_auth", "grants"]
    assert all(change.before is None for change in plan(Current(), desired))


def test_plan_of_the_current_state_is_empty() -> None:
    privilege = identities.Privilege("1", "keyfleet", tuple(to_permissions([Grant("dev", "/app", True)])))
    current = Current(IDENTITY, ("viewer",), {"universal_auth": SETTINGS}, privilege)
    grants = (Grant("dev", "/app"), Grant("dev", "/app/**"))
    methods = {"universal_auth": {"access_token_ttl": 900, "access_token_trusted_ips": ["::/0", "0.0.0.0/0"]}}
    assert plan(current, Desired("web1", {"host": "web1"}, "viewer", False, methods, grants)) == ()
    assert plan(current, Desired()) == ()


def test_plan_contains_only_the_parts_that_differ() -> None:
    current = Current(IDENTITY, ("viewer",), {"universal_auth": SETTINGS}, None)
    desired = Desired("web2", {"host": "web1"}, "admin", None, {"universal_auth": {"access_token_ttl": 60}}, ())
    assert plan(current, desired) == (
        Change("identity", {"name": "web1"}, {"name": "web2"}),
        Change("role", {"role": "viewer"}, {"role": "admin"}),
        Change("universal_auth", {"access_token_ttl": 900}, {"access_token_ttl": 60}),
    )


def test_temporary_privilege_is_replaced() -> None:
    privilege = identities.Privilege("1", "keyfleet", tuple(to_permissions([Grant("dev")])), temporary=True)
    assert len(plan(Current(IDENTITY, privilege=privilege), Desired(grants=(Grant("dev"),)))) == 1


def test_fingerprint_changes_with_grants_and_settings_only() -> None:
    desired = Desired("web1", {"a": "b"}, methods={"universal_auth": {}}, grants=(Grant("dev", "/app", True),))
    same = Desired("web1", {}, methods={"universal_auth": {}}, grants=(Grant("dev", "/app/**"), Grant("dev", "/app")))
    assert desired.fingerprint() == same.fingerprint()
    others = [Desired("web1"), Desired("web1", grants=()), Desired("web1", methods={"universal_auth": {}})]
    assert len({desired.fingerprint(), *(one.fingerprint() for one in others)}) == 4


def test_identity_of_a_shared_name_is_ours_or_ambiguous() -> None:
    ours = identities.Identity("i2", "web1", "p1", (("managed_by", "keyfleet.infisical"),))
    assert choose([IDENTITY, ours], "web1") is ours
    assert choose([IDENTITY], "web1") is IDENTITY
    assert choose([IDENTITY, ours], "web2") is None
    for several in ([IDENTITY, IDENTITY], [ours, ours]):
        with pytest.raises(Ambiguous, match=f"{several[0].id}, {several[1].id}"):
            choose(several, "web1")


CREATED = "2026-11-28T10:00:00.000Z"
CREATED_SECONDS = 1795860000.0


def client_secret(**fields: Any) -> identities.ClientSecret:
    return identities.ClientSecret(**{"id": "s1", "description": "web1", "created_at": CREATED, "ttl": 90, **fields})


def test_valid_client_secret_is_found_by_its_remaining_time() -> None:
    def is_found(one: identities.ClientSecret, min_left: float, after: float = 0) -> bool:
        return client_secrets.find_valid([one], "web1", CREATED_SECONDS + after, min_left) is one

    assert is_found(client_secret(), 30, after=60)
    assert not is_found(client_secret(), 30, after=61)
    assert not is_found(client_secret(), 0, after=90)
    assert is_found(client_secret(ttl=0), 1e9)
    assert not is_found(client_secret(revoked=True), 0)
    assert not is_found(client_secret(uses=2, uses_limit=2), 0)
    assert is_found(client_secret(uses=1, uses_limit=2), 0)
    assert not is_found(client_secret(description="web2"), 0)
    assert not is_found(client_secret(created_at="unknown"), 0)


def test_client_secret_that_lives_longest_is_chosen() -> None:
    short, long = client_secret(), client_secret(id="s2", ttl=900)
    assert client_secrets.find_valid([short, long, short], "web1", CREATED_SECONDS, 0) is long


def token(claims: Any) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.eA"


def test_claims_of_a_token_are_read() -> None:
    found = identities.parse_claims(token({"identityId": "i1", "clientSecretId": "s1"}))
    assert (found.identity_id, found.client_secret_id) == ("i1", "s1")


@pytest.mark.parametrize(
    "text", ["", "st.x", token([1]), token({"identityId": 5}), token({"identityId": "a\n"}), "a.é.b"]
)
def test_token_without_claims_is_ignored(text: str) -> None:
    assert identities.parse_claims(text) == identities.LoginClaims()


@pytest.mark.parametrize("method", METHOD_ROUTES)
def test_settings_are_equal_after_a_round_trip(method: str) -> None:
    values: dict[str, Any] = {}
    for one in METHOD_ROUTES[method].fields:
        kinds = {
            "whole": 7,
            "text": " t ",
            "names": ["b", "a"],
            "nullable": ["b"],
            "texts": ["k2", "k1"],
            "pairs": {"a": "b"},
        }
        values[one.name] = {**kinds, "addresses": ["10.0.0.0/8", "::1"]}[one.kind]
    parsed = parse_settings(method, render_settings(method, values))
    assert changed_settings(method, parsed.values, values) == {}
    for name in values:
        assert list(changed_settings(method, parsed.values, {name: type(values[name])()})) == [name]
        missing = {other: value for other, value in parsed.values.items() if other != name}
        assert list(changed_settings(method, missing, values)) == [name]


@pytest.mark.parametrize("value", [True, "900", -1.5, [900], {}])
def test_setting_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(InfisicalError) as caught:
        parse_settings("universal_auth", {"accessTokenTTL": value})
    assert caught.value.conclusion == "not_json"


CANARY = "Canary2f6c01"
PUBLIC_KEY = f"-----BEGIN PUBLIC KEY-----\n{CANARY}==\n-----END PUBLIC KEY-----\n"
PRIVATE_KEY = PUBLIC_KEY.replace("PUBLIC", "PRIVATE")
CERTIFICATE = PUBLIC_KEY.replace("PUBLIC KEY", "CERTIFICATE")
REQUIRED_PEM = {"jwt_auth": "public_keys", "tls_cert_auth": "ca_certificate"}
NOT_PEM = ["", CANARY, PRIVATE_KEY, PRIVATE_KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"), f"{CANARY}\n{PUBLIC_KEY}"]


@pytest.mark.parametrize("method", REQUIRED_PEM)
@pytest.mark.parametrize("text", [*NOT_PEM, PUBLIC_KEY + PRIVATE_KEY, CERTIFICATE + PRIVATE_KEY])
def test_text_other_than_the_public_part_is_refused(method: str, text: str) -> None:
    option = REQUIRED_PEM[method]
    valid = PUBLIC_KEY if method == "jwt_auth" else CERTIFICATE
    for given in (text, text + valid, valid + text) if text else (text,):
        with pytest.raises(ConfigurationError, match=rf"{method}\.{option}: must ") as caught:
            build_settings(method, {option: [valid, given] if method == "jwt_auth" else given})
        assert CANARY not in str(caught.value)


def test_public_parts_are_accepted() -> None:
    accepted: dict[str, dict[str, Any]] = {
        "jwt_auth": {"public_keys": [PUBLIC_KEY, PUBLIC_KEY.strip()]},
        "tls_cert_auth": {"ca_certificate": CERTIFICATE * 2},
        "oidc_auth": {"ca_certificate": ""},
    }
    for method, given in accepted.items():
        assert build_settings(method, {**given, "subject": None}) == given


def test_list_of_public_keys_must_not_be_empty() -> None:
    with pytest.raises(ConfigurationError, match=r"jwt_auth\.public_keys: must be a non-empty list"):
        build_settings("jwt_auth", {"public_keys": []})


@pytest.mark.parametrize("given", [f'{{"public_keys": ["{PRIVATE_KEY}"]}}', {"a": [{PRIVATE_KEY: 1}]}, [PRIVATE_KEY]])
def test_private_key_is_found_at_any_depth(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="must not contain a private key") as caught:
        refuse_private_keys("jwt_auth", given)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("ttl", [10**12, 10**400])
def test_huge_lifetime_is_shown(ttl: int) -> None:
    shown = describe_client_secret(client_secret(ttl=ttl), CREATED_SECONDS)
    assert (shown["expires_at"], shown["valid"]) == ("9999-12-31T23:59:59Z", True)


@pytest.mark.parametrize("option", ["audiences", "allowed_common_names"])
@pytest.mark.parametrize("element", ["a,b", "", " ", ","])
def test_element_with_a_comma_is_refused(option: str, element: str) -> None:
    method, valid = (
        ("jwt_auth", {"public_keys": [PUBLIC_KEY]})
        if option == "audiences"
        else ("tls_cert_auth", {"ca_certificate": CERTIFICATE})
    )
    with pytest.raises(ConfigurationError, match=rf"{method}\.{option}: must be a list of .* without commas"):
        build_settings(method, {**valid, option: ["x", element]})


def test_claims_are_compared_as_the_server_stores_them() -> None:
    stored = {"claims": {"a": "x, y"}}
    assert changed_settings("jwt_auth", stored, {"claims": {"a": "x,y "}}) == {}
    assert changed_settings("jwt_auth", stored, {"claims": {"a": "x"}}) == {"claims": {"a": "x"}}


def test_claim_of_another_type_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"jwt_auth\.claims\.k: must be a string"):
        build_settings("jwt_auth", {"public_keys": [PUBLIC_KEY], "claims": {"k": 1}})
