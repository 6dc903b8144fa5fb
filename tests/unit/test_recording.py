# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replays the recorded requests against the profile 2026-07 and compares its answers with the real server's."""

from __future__ import annotations

import base64
import copy
import json
import re
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
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
from dev_server.tls import Authority  # noqa: E402

RECORDING: dict[str, Any] = json.loads((TESTS / "recordings" / "server-2026-07.json").read_text("utf-8"))

# Groups of routes that the collection does not use yet.
NOT_COVERED = (
    "life of a secret",
    "webhooks",
)

# Values that differ from the recorded server: the name of its organisation, the beginning of a secret, and an
# encrypted certificate.
CHOSEN = frozenset({"clientSecretPrefix", "organization", "encryptedCaCertificate"})

DAYS_30 = 2_592_000
PROJECT, OTHER_PROJECT = "<id-1>", "<id-43>"

PERMISSIONS: Mapping[str, Any] = {
    "admin": "admin",
    "member": "member",
    "viewer": "viewer",
    "no-access": "no-access",
    "stranger": None,
    # The group `privileges` grants these three more.
    "names-only": "no-access",
    "write-only": "no-access",
    "one-folder": "no-access",
    "few-uses": "viewer",
    "short": "viewer",
    "revoked": "viewer",
    "right": None,
    "locked": None,
    "spent": None,
    "expired": None,
    "hosts": None,
    "organisation": None,
}
MORE: Mapping[str, Mapping[str, Any]] = {
    "few-uses": {"token_uses": 2},
    "short": {"token_ttl": 1, "token_max_ttl": 1},
    "spent": {"client_secret_uses": 1},
    "expired": {"client_secret_ttl": 1},
    "organisation": {"manages_identities": True},
}
# The client ids in the recording and their identities.
CLIENT_IDS = {"<id-8>": "right", "<id-9>": "locked", "<id-12>": "spent", "<id-13>": "expired", "<id-18>": "hosts"}
IDENTITY_IDS = {
    "<id-3>": "names-only",
    "<id-5>": "write-only",
    "<id-7>": "one-folder",
    "<id-11>": "locked",
    "<id-14>": "hosts",
    "<id-35>": "admin",
}
# The seconds that passed between recorded requests.
PAUSES = {"list by the new identity in its folder, 15 s later": 15}


def seed() -> dict[str, Any]:
    environments = [
        {"slug": "dev", "name": "Development"},
        {"slug": "staging", "name": "Staging"},
        {"slug": "prod", "name": "Production"},
    ]
    ids = {project: str(uuid.uuid4()) for project in (PROJECT, OTHER_PROJECT)}
    return {
        "projects": [
            {"id": ids[PROJECT], "name": "Recorded", "slug": "recorded-4a761a", "environments": environments},
            {"id": ids[OTHER_PROJECT], "name": "Of others", "environments": environments},
        ],
        "identities": [
            {
                "name": name,
                "client_id": str(uuid.uuid4()),
                "client_secret": f"{name}-secret",
                "permissions": {ids[PROJECT]: given} if given else {},
                "token_ttl": DAYS_30,
                "token_max_ttl": DAYS_30,
                **MORE.get(name, {}),
            }
            for name, given in PERMISSIONS.items()
        ],
    }


class Proofs:
    """A private key and a CA of our own, because the recording has no private keys."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        self.key, self.other_key = (rsa.generate_private_key(65537, 2048) for _each in range(2))
        self.public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.authority = Authority.make("Lab CA")
        self.certificate = quote(self.authority.issue("web1")[0])

    def replace(self, part: Any) -> Any:
        """Replace the recorder's key and CA in a part of an exchange."""
        text = json.dumps(part)
        for name, own in (("PUBLIC KEY", self.public), ("CERTIFICATE", self.authority.pem)):
            pattern = rf"-----BEGIN {name}-----.*?-----END {name}-----\\n"
            text = re.sub(pattern, json.dumps(own.decode())[1:-1].replace("\\", "\\\\"), text)
        return json.loads(text)

    def jwt(self, name: str) -> str:
        """Return the JWT of a recorded login with jwt-auth."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        claims = {"iss": "https://issuer.example", "aud": "infisical", "sub": "host:web1", "exp": time.time() + 3600}
        more: dict[str, dict[str, object]] = {
            "jwt-auth, another subject": {"sub": "host:web2"},
            "jwt-auth, another audience": {"aud": "other"},
            "jwt-auth, expired": {"exp": time.time() - 3600},
        }
        claims.update(more.get(name, {}))
        key = self.other_key if name == "jwt-auth, bad signature" else self.key
        parts = ({"alg": "RS256", "typ": "JWT"}, claims)
        signed = ".".join(encode(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{encode(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Difference(AssertionError):
    """An answer that differs from the recorded answer."""


@dataclass
class Replay:
    """Sends the recorded requests to a server and keeps the values of the recording's placeholders."""

    server: DevServer
    seed: dict[str, Any] = field(default_factory=seed)
    known: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    client_secrets: dict[str, str] = field(default_factory=dict)
    made_secret: str = ""
    proofs: Proofs = field(default_factory=Proofs)

    def prepare(self) -> None:
        """Prepare the server's state at the start of the recording: identities, tokens and earlier requests."""
        self.server.seed(self.seed)
        identities = {identity["name"]: identity for identity in self.seed["identities"]}
        self.known = dict(zip((PROJECT, OTHER_PROJECT), (project["id"] for project in self.seed["projects"])))
        self.known |= {mark: identities[name]["client_id"] for mark, name in CLIENT_IDS.items()}
        ids = {identity["name"]: identity["id"] for identity in self.server.state()["identities"]}
        self.known |= {mark: ids[name] for mark, name in IDENTITY_IDS.items()}
        self.client_secrets = {identity["client_id"]: identity["client_secret"] for identity in identities.values()}
        # The first logins of the others are in the recording.
        for name in sorted(set(PERMISSIONS) - {"right", "locked", "expired"}):
            self.tokens[name] = self.log_in(identities[name])
        self.server.advance(10)

    def log_in(self, identity: Mapping[str, str]) -> str:
        body = {"clientId": identity["client_id"], "clientSecret": identity["client_secret"]}
        _status, _headers, answer = self.send("POST", "/api/v1/auth/universal-auth/login", json.dumps(body).encode())
        return str(answer["accessToken"])

    def send(
        self, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], Any]:
        request = urllib.request.Request(self.server.url + path, data, dict(headers or {}), method=method)
        if data is not None and not request.has_header("Content-type"):
            request.add_header("Content-Type", "application/json")
        try:
            response = urllib.request.urlopen(request, timeout=20)
        except urllib.error.HTTPError as error:
            response = error
        text = response.read()
        return response.status, response.headers, json.loads(text) if text else ""

    def run(self, exchange: Mapping[str, Any]) -> None:
        """Send a recorded request. Raises Difference if the answer differs from the recorded answer."""
        exchange = self.proofs.replace(exchange)
        request, expected = exchange["request"], exchange["response"]
        if exchange["name"] == "with the ETag of before a write":
            # The recorder wrote this secret without recording the request.
            body = {"projectId": self.known[PROJECT], "environment": "dev", "secretValue": "value2"}
            admin = {"Authorization": f"Bearer {self.tokens['admin']}"}
            self.send("PATCH", "/api/v4/secrets/FIRST", json.dumps(body).encode(), admin)
        if exchange["as"] == "host" and "host" not in self.tokens:
            # The recorder logged in as the new identity without recording the request.
            self.tokens["host"] = self.log_in({"client_id": self.known["<id-86>"], "client_secret": self.made_secret})
        if exchange["name"] in PAUSES:
            self.server.advance(PAUSES[exchange["name"]])
        path = quote(self.real(request["path"]), safe="/%")
        if request.get("query"):
            path += "?" + urlencode({name: self.real(text) for name, text in request["query"].items()})
        status, headers, body = self.send(request["method"], path, self.data(exchange), self.headers(exchange))
        where = f"{exchange['group']} | {exchange['name']} | {exchange['as']}"
        if status != expected["status"]:
            raise Difference(f"{where}: status {status} instead of {expected['status']}: {body}")
        self.compare(where, expected["body"], body)
        if "etag" in headers:
            self.etags[self.question(exchange)] = headers["etag"]
        if isinstance(body, dict) and "clientSecretData" in body and "clientSecret" in body:
            self.made_secret = body["clientSecret"]

    def data(self, exchange: Mapping[str, Any]) -> bytes | None:
        request = exchange["request"]
        if "raw" in request:
            return str(request["raw"]).encode()
        if "body" not in request:
            return None
        body = request["body"]
        if isinstance(body, str):  # a value of this number of bytes
            return json.dumps({"secrets": "x" * int(re.findall(r"\d+", body)[0])}).encode()
        body = self.real(body)
        if "accessToken" in body:
            body["accessToken"] = self.tokens["revoked" if "revoke" in exchange["name"] else "admin"]
        if body.get("jwt") == "<token>":
            body["jwt"] = self.proofs.jwt(exchange["name"])
        if body.get("clientSecret") == "<hidden>":
            revoked = exchange["name"] == "login with a revoked client secret"
            known = self.made_secret if revoked else self.client_secrets.get(body["clientId"])
            body["clientSecret"] = known or self.made_secret
        return json.dumps(body).encode()

    def question(self, exchange: Mapping[str, Any]) -> str:
        """Return the identity and request that an ETag belongs to."""
        return json.dumps([exchange["as"], exchange["request"]["path"], exchange["request"].get("query")])

    def headers(self, exchange: Mapping[str, Any]) -> dict[str, str]:
        request = exchange["request"]
        headers = dict(request.get("headers", {}))
        if "If-None-Match" in headers:
            headers["If-None-Match"] = self.etags[self.question(exchange)]
        if headers.get("x-identity-tls-cert-auth-client-cert") == "<URL-encoded PEM>":
            headers["x-identity-tls-cert-auth-client-cert"] = self.proofs.certificate
        if exchange["name"] != "no token":
            token = TOKENS.get(exchange["name"], self.tokens[exchange["as"] or "organisation"])
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def real(self, part: Any) -> Any:
        """Replace the placeholders in a part of a request by their values."""
        if isinstance(part, dict):
            return {name: self.real(item) for name, item in part.items()}
        if isinstance(part, list):
            return [self.real(item) for item in part]
        if isinstance(part, str):
            if long := re.fullmatch(r"<(\d+) characters>", part):
                return "x" * int(long[1])
            return re.sub(r"<id-\d+>", lambda mark: self.known.setdefault(mark[0], str(uuid.uuid4())), part)
        return part

    def compare(self, where: str, expected: Any, found: Any) -> None:
        """Compare names, types and values recursively; a placeholder must have the same value everywhere."""
        if isinstance(expected, dict):
            if not isinstance(found, dict) or expected.keys() != found.keys():
                raise Difference(f"{where}: {sorted(expected)} expected, found {found}")
            for name, item in expected.items():
                if name not in CHOSEN:
                    self.compare(f"{where}.{name}", item, found[name])
        elif isinstance(expected, list):
            if not isinstance(found, list) or len(expected) != len(found):
                raise Difference(f"{where}: {len(expected)} items expected, found {found}")
            for place, (item, other) in enumerate(zip(in_order(expected), in_order(found))):
                self.compare(f"{where}[{place}]", item, other)
        elif isinstance(expected, str):
            self.compare_text(where, expected, found)
        elif type(expected) is not type(found) or expected != found:
            raise Difference(f"{where}: {expected!r} expected, found {found!r}")

    def compare_text(self, where: str, expected: str, found: Any) -> None:
        if not isinstance(found, str):
            raise Difference(f"{where}: {expected!r} expected, found {found!r}")
        pattern = "".join(self.pattern(piece) for piece in re.split(r"(<[a-z0-9 -]+>)", expected))
        match = re.fullmatch(pattern, found, re.DOTALL)
        if match is None:
            raise Difference(f"{where}: {expected!r} expected, found {found[:200]!r}")
        for name, text in match.groupdict().items():
            self.known[f"<{name.replace('_', '-')}>"] = text

    def pattern(self, piece: str) -> str:
        """Return the regular expression for a piece of a recorded text; it captures the value of a new placeholder."""
        if piece in self.known:
            return re.escape(self.known[piece])
        if re.fullmatch(r"<id-\d+>", piece):
            return f"(?P<{piece[1:-1].replace('-', '_')}>[0-9a-f-]{{36}})"
        if long := re.fullmatch(r"<(\d+) characters>", piece):
            return f".{{{long[1]}}}"
        return PLACEHOLDERS.get(piece, re.escape(piece))


PLACEHOLDERS = {
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "<token>": r"[\w.-]+",
    "<req>": r"req-\w+(?:-\w+)*",
    "<hidden>": r"[0-9a-f]{64}",
}
TOKENS = {
    "malformed token": "malformed",
    "token of a well-formed JWT with another signature": ".".join(
        encode(part) for part in (b'{"alg":"HS256"}', b'{"iat":1}', b"signature")
    ),
}


def in_order(items: list[Any]) -> list[Any]:
    """Sort a list by the names of its items, because the order of servers differs."""

    def key(item: Any) -> str:
        names = ("secretKey", "secretPath", "relativePath", "slug", "name", "clientSecretNumUses")
        return json.dumps([item.get(name) for name in names]) if isinstance(item, dict) else ""

    return sorted(items, key=key)


@pytest.fixture(scope="module")
def server() -> Iterator[DevServer]:
    with DevServer("2026-07") as running:
        yield running


def replay(server: DevServer, exchanges: list[dict[str, Any]]) -> int:
    """Replay the covered exchanges in order and return the number of compared exchanges."""
    run = Replay(server)
    run.prepare()
    covered = [exchange for exchange in exchanges if exchange["group"] not in NOT_COVERED]
    for exchange in covered:
        run.run(exchange)
    return len(covered)


def test_test_server_profiles_respond_like_the_recorded_server(
    server: DevServer, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = replay(server, RECORDING["exchanges"])
    with capsys.disabled():
        print(f"\n{compared} of {len(RECORDING['exchanges'])} recorded exchanges compared; not covered: {NOT_COVERED}")
    assert compared == 321


def test_groups_that_are_not_covered_exist_in_the_recording() -> None:
    assert set(NOT_COVERED) <= {exchange["group"] for exchange in RECORDING["exchanges"]}


def change_status(response: dict[str, Any]) -> None:
    response["status"] += 1


def change_message(response: dict[str, Any]) -> None:
    response["body"]["message"] += "."


def change_error(response: dict[str, Any]) -> None:
    response["body"]["error"] = "Other"


def change_value(response: dict[str, Any]) -> None:
    response["body"]["secret"]["secretValue"] += "x"


def change_shape(response: dict[str, Any]) -> None:
    response["body"]["secret"]["more"] = None


def change_id(response: dict[str, Any]) -> None:
    response["body"]["secret"]["id"] = PROJECT


@pytest.mark.parametrize(
    ("group", "name", "change"),
    [
        ("get", "there", change_status),
        ("get", "missing", change_message),
        ("get", "missing", change_error),
        ("get", "there", change_value),
        ("get", "there", change_shape),
        ("get", "there", change_id),
        ("batch", "create over 1 MiB", change_status),
    ],
)
def test_replay_fails_if_a_recorded_response_is_changed(
    group: str, name: str, change: Callable[[dict[str, Any]], None], server: DevServer
) -> None:
    exchanges = copy.deepcopy(RECORDING["exchanges"])
    [chosen] = [exchange for exchange in exchanges if (exchange["group"], exchange["name"]) == (group, name)]
    change(chosen["response"])
    with pytest.raises(Difference, match=re.escape(f"{group} | {name} | ")):
        replay(server, exchanges)
