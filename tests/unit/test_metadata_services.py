# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proofs of identities from metadata services and the environment, with small servers on this machine."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
    Unreachable,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import jwt, metadata, methods
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login.methods import (
    LoginMethod,
    LoginRequest,
)
from unit import metadata_server
from unit.metadata_server import ROLE, MetadataServer, Received, Reply, as_json

NOW = 1_795_903_200.0
"""2026-11-28T22:00:00Z."""

TOKEN = jwt.sign(jwt.generate_key()[0], "cAnAry-not-secret", NOW)
PERMANENT = {"AWS_ACCESS_KEY_ID": "AKIAPERMANENT", "AWS_SECRET_ACCESS_KEY": "cAnAry-of-environment"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GCE_")):
            monkeypatch.delenv(name)
    # A client that used a proxy would fail.
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


Serve = Callable[[Callable[[Received], Reply]], MetadataServer]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server, and make it the metadata service of each cloud."""
    started: list[MetadataServer] = []

    def start(answer: Callable[[Received], Reply]) -> MetadataServer:
        server = MetadataServer(answer)
        started.append(server)
        point_to(monkeypatch, server.address)
        return server

    yield start
    for server in started:
        server.__exit__(None, None, None)


def point_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{address}/")
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://{address}")
    monkeypatch.setenv("GCE_METADATA_HOST", address)


def prepare(name: str, identity_id: str = "identity/1") -> LoginRequest:
    settings = Settings.from_options(
        {"url": "https://infisical.example.com", "auth_method": name, "identity_id": identity_id}
    )
    method = methods.method_for(settings)
    assert isinstance(method, LoginMethod)
    return method.prepare(NOW)


def fail(name: str = "aws_auth") -> InfisicalError:
    with pytest.raises(InfisicalError) as caught:
        prepare(name)
    error = caught.value
    assert isinstance(error, (ConfigurationError, Unreachable))
    assert "cAnAry" not in f"{error!r} {error}" and error.__suppress_context__ | (error.__context__ is None)
    return error


def signed(request: LoginRequest) -> tuple[dict[str, str], str]:
    """Return the headers and the body of the signed request, and check the other fields of the login."""
    assert request.path == "/api/v1/auth/aws-auth/login"
    assert {**request.body, "iamRequestBody": "", "iamRequestHeaders": ""} == {
        "identityId": "identity/1", "iamHttpRequestMethod": "POST", "iamRequestBody": "", "iamRequestHeaders": "",
    }  # fmt: skip
    assert request.body["iamRequestHeaders"] in request.secrets
    body = base64.b64decode(request.body["iamRequestBody"]).decode()
    assert body == "Action=GetCallerIdentity&Version=2011-06-15"
    headers: dict[str, str] = json.loads(base64.b64decode(request.body["iamRequestHeaders"]))
    assert headers["Content-Length"] == str(len(body))
    assert headers["X-Amz-Date"] == "20261128T220000Z"
    return headers, request.facts


# AWS


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_aws_credentials_in_the_environment_need_no_service(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    point_to(monkeypatch, "127.0.0.1:1")
    for name, value in {**PERMANENT, variable: "eu-central-1"}.items():
        monkeypatch.setenv(name, value)
    headers, facts = signed(prepare("aws_auth"))
    assert headers["Host"] == "sts.eu-central-1.amazonaws.com"
    assert "Credential=AKIAPERMANENT/20261128/eu-central-1/sts/aws4_request" in headers["Authorization"]
    assert "X-Amz-Security-Token" not in headers
    assert (
        facts == "The identity is identity/1. The AWS credentials are from the environment variable AWS_ACCESS_KEY_ID."
    )
    monkeypatch.setenv("AWS_SESSION_TOKEN", "cAnAry-session")
    request = prepare("aws_auth")
    assert signed(request)[0]["X-Amz-Security-Token"] == "cAnAry-session"
    assert {"cAnAry-session", "cAnAry-of-environment"} <= set(request.secrets)


def test_aws_instance_gives_role_and_region(serve: Serve) -> None:
    server = serve(metadata_server.aws)
    headers, facts = signed(prepare("aws_auth"))
    assert "Credential=ASIAOFROLE/20261128/eu-west-3/sts" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == ROLE["Token"]
    assert facts.endswith("The AWS credentials are from the instance's role web-role.")
    assert [(one.method, one.path.rpartition("/")[2]) for one in server.requests] == [
        ("PUT", "token"), ("GET", ""), ("GET", "web-role"), ("GET", "document"),
    ]  # fmt: skip


def test_aws_region_in_the_environment_overrides_the_instances(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(metadata_server.aws)
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    assert signed(prepare("aws_auth"))[0]["Host"] == "sts.us-east-2.amazonaws.com"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("variables", "option"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKIA"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": "cAnAry"}, "AWS_ACCESS_KEY_ID"),
        ({**PERMANENT, "AWS_REGION": "evil.example.com/"}, "AWS_REGION"),
        ({**PERMANENT, "AWS_DEFAULT_REGION": "Frankfurt"}, "AWS_DEFAULT_REGION"),
        ({"AWS_EC2_METADATA_DISABLED": "true"}, "AWS_EC2_METADATA_DISABLED"),
        ({**PERMANENT, "AWS_EC2_METADATA_DISABLED": "True"}, "AWS_EC2_METADATA_DISABLED"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "169.254.169.254"}, "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://a b/"}, "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[::1"}, "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/a b"}, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/x"}, "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://[::1"}, "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ],
)
def test_unusable_aws_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], option: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    error = fail()
    assert isinstance(error, ConfigurationError)
    assert error.option == option
    name, value = list(variables.items())[-1]
    quoted = name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_SERVICE_ENDPOINT")
    assert error.problem.endswith(f"(got '{value}').") or not quoted


@pytest.mark.parametrize(
    ("cloud", "variable"),
    [("azure_auth", "AZURE_POD_IDENTITY_AUTHORITY_HOST"), ("gcp_auth", "GCE_METADATA_HOST")],
)
def test_unusable_address_of_a_metadata_service_is_quoted(
    monkeypatch: pytest.MonkeyPatch, cloud: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "a b")
    error = fail(cloud)
    assert error.problem.startswith(f"{variable}: must be the address of the ")
    assert error.problem.endswith("(got 'a b').")


@pytest.mark.parametrize("disabled", ["true", ""])
def test_missing_aws_region_is_reported_first(monkeypatch: pytest.MonkeyPatch, disabled: str) -> None:
    point_to(monkeypatch, "127.0.0.1:1")
    for name, value in {**PERMANENT, "AWS_EC2_METADATA_DISABLED": disabled}.items():
        monkeypatch.setenv(name, value)
    error = fail()
    assert error.problem.startswith("AWS_REGION is not set. ")
    assert error.hint.startswith("Set AWS_REGION to ")


def test_aws_container_credentials_use_the_token_file(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = serve(
        lambda received: as_json(ROLE) if received.headers.get("authorization") == "cAnAry-pod" else Reply(403)
    )
    (tmp_path / "token").write_text("cAnAry-pod\n")
    (tmp_path / "token").chmod(0o600)
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/v1/credentials?a=b")
    assert "HTTP 403" in fail().problem
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    headers, facts = signed(prepare("aws_auth"))
    assert "Credential=ASIAOFROLE/" in headers["Authorization"]
    assert facts.endswith("The AWS credentials are from the container credentials service.")
    assert (server.requests[-1].path, server.requests[-1].query) == ("/v1/credentials", {"a": ["b"]})


def test_aws_instance_without_a_role_is_reported(serve: Serve) -> None:
    def answer(received: Received) -> Reply:
        return Reply(404) if "security-credentials" in received.path else metadata_server.aws(received)

    serve(answer)
    error = fail()
    assert "HTTP 404" in error.problem and error.hint == "Attach a role to this instance."


# Azure and Google Cloud


def test_azure_gives_a_token_for_the_management_api(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(metadata_server.azure(TOKEN))
    request = prepare("azure_auth")
    assert (request.path, request.body) == ("/api/v1/auth/azure-auth/login", {"identityId": "identity/1", "jwt": TOKEN})
    assert "client_id" not in server.requests[-1].query
    monkeypatch.setenv("AZURE_CLIENT_ID", "one&two")
    prepare("azure_auth")
    assert server.requests[-1].query["client_id"] == ["one&two"]


def test_gcp_gives_a_token_for_the_identity(serve: Serve) -> None:
    server = serve(metadata_server.gcp(TOKEN))
    request = prepare("gcp_auth")
    assert (request.path, request.body) == ("/api/v1/auth/gcp-auth/login", {"identityId": "identity/1", "jwt": TOKEN})
    assert server.requests[-1].query["audience"] == ["identity/1"]
    assert request.secrets == (TOKEN,) and "the subject 'cAnAry-not-secret'" in request.facts


# Services that do not respond as they should

CLOUDS = ("aws_auth", "azure_auth", "gcp_auth")


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply(403, b"cAnAry"), "HTTP 403"),
        (Reply(404, b"cAnAry"), "HTTP 404"),
        (Reply(500, b"cAnAry"), "HTTP 500"),
        (Reply(302, b"", {"Location": "http://127.0.0.1:1/cAnAry"}), "HTTP 302"),
        (Reply(200, b"<!doctype html><p>cAnAry</p>"), "HTML"),
        (Reply(200, b"x" * 70_000), "larger than 65536 bytes"),
        (Reply(200, b"cAnAry", {"Content-Length": "70"}), "no complete response within 5 seconds"),
        (Reply(200, b"two\nlines: cAnAry"), ""),
        (Reply(200, b"\xff\xfe cAnAry"), ""),
        (Reply(200, b""), ""),
    ],
    ids=str,
)  # fmt: skip
def test_unusable_response_is_described_but_not_quoted(serve: Serve, cloud: str, reply: Reply, problem: str) -> None:
    server = serve(lambda received: reply)
    error = fail(cloud)
    assert problem in error.problem and error.hint
    assert len(server.requests) == 1, "a request must not be repeated or redirected"


def test_instance_document_without_credentials_is_reported(serve: Serve) -> None:
    serve(lambda received: metadata_server.aws(received, {"Code": "cAnAry", "AccessKeyId": "x"}))
    assert "has no AccessKeyId and SecretAccessKey and Token" in fail().problem


def test_response_without_googles_header_is_refused(serve: Serve) -> None:
    serve(lambda received: Reply(body=TOKEN.encode()))
    assert "no header Metadata-Flavor" in fail("gcp_auth").problem


@pytest.mark.parametrize("cloud", CLOUDS)
def test_closed_port_is_reported_at_once(monkeypatch: pytest.MonkeyPatch, cloud: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        point_to(monkeypatch, f"127.0.0.1:{unused.getsockname()[1]}")
        error = fail(cloud)
    assert "the connection was refused" in error.problem
    assert isinstance(error, Unreachable) and f"only on a machine in {PLACES[cloud]}" in error.hint


PLACES = {"aws_auth": "AWS", "azure_auth": "Azure", "gcp_auth": "Google Cloud"}


def test_silent_service_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "_CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_to(monkeypatch, f"127.0.0.1:{silent.getsockname()[1]}")
        assert "no response within 0.3 seconds" in fail("gcp_auth").problem


def test_service_that_sends_single_bytes_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "_TOTAL_SECONDS", 0.5)
    serve(lambda received: Reply(200, b"x" * 1000, {"Metadata-Flavor": "Google"}, pause=0.05))
    before = time.monotonic()
    assert "no complete response within 0.5 seconds" in fail("gcp_auth").problem
    assert time.monotonic() - before < 25  # all bytes would take 50 seconds


def test_unknown_host_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "metadata.invalid")

    def unknown(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "cAnAry")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "the host name is unknown" in fail("gcp_auth").problem
