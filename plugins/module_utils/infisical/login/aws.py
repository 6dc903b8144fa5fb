# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of an identity in AWS: a signed request `GetCallerIdentity`, which Infisical sends to AWS."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from time import gmtime, strftime
from urllib.parse import quote, urlsplit

from ..core.errors import ConfigurationError, InfisicalError
from ..core.model import escape
from .metadata import Service, fetch, parse_json, read_text
from .proof import Proof
from .proof_files import read_proof

BODY = "Action=GetCallerIdentity&Version=2011-06-15"
_TYPE = "application/x-www-form-urlencoded; charset=utf-8"

_HINT = (
    "Use aws_auth only on a machine in AWS that has an IAM role, or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
    "AWS_REGION. In a container, allow two network hops to the metadata service of the instance."
)
_INSTANCE = Service("AWS instance metadata service", _HINT, "AWS_EC2_METADATA_SERVICE_ENDPOINT")
_CONTAINER_VARIABLES = {
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": ("http://169.254.170.2", "/v2/credentials"),
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": ("", "http://169.254.170.23/v1/credentials"),
}
"""The variables with the address of a container's credentials, each with the beginning that its value lacks, and an
example."""
_CONTAINER_HOSTS = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")
"""The hosts, besides this machine, that the AWS SDKs accept in AWS_CONTAINER_CREDENTIALS_FULL_URI without TLS."""


@dataclass(frozen=True)
class Credentials:
    """`session_token` is empty for permanent credentials. `source` completes the sentence "The AWS credentials are
    from …"."""

    key_id: str
    secret: str = field(repr=False)
    session_token: str = field(repr=False)
    source: str


def sign_identity_request(now: float) -> Proof:
    """Return a signed request as the proof of a login at `now`, in seconds since the epoch.

    The credentials are from the environment, the container, or the instance, in this order. Raises InfisicalError.
    """
    instance = _Instance()
    credentials = find_credentials(instance)
    region = _find_region(instance)
    headers = encode(json.dumps(sign(credentials, region, now)))
    fields = {"iamHttpRequestMethod": "POST", "iamRequestBody": encode(BODY), "iamRequestHeaders": headers}
    secrets = filter(None, (credentials.secret, credentials.session_token, headers))
    return Proof(fields, tuple(secrets), f"The AWS credentials are from {credentials.source}.")


def _find_region(instance: _Instance) -> str:
    variable = next((name for name in ("AWS_REGION", "AWS_DEFAULT_REGION") if os.environ.get(name)), "")
    try:
        region = os.environ[variable] if variable else instance.read_region()
    except InfisicalError as error:
        hint = "Set AWS_REGION to the region in the STS endpoint of the identity's AWS auth, such as eu-central-1."
        raise error.reworded(f"AWS_REGION is not set. {error.problem}", hint) from None
    if not re.fullmatch("[a-z0-9-]{1,63}", region):
        problem = f"must be the name of a region, such as eu-central-1 (got '{escape(region)}')."
        raise ConfigurationError(variable or "AWS_REGION", problem)
    return region


def encode(text: str) -> str:
    """Return text in UTF-8 and base64."""
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def sign(credentials: Credentials, region: str, now: float, body: str = BODY) -> dict[str, str]:
    """Return the headers of a signed request to AWS STS (Signature Version 4)."""
    moment = strftime("%Y%m%dT%H%M%SZ", gmtime(now))
    host = f"sts.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    signed = {"content-type": _TYPE, "host": host, "x-amz-date": moment}
    if credentials.session_token:
        signed["x-amz-security-token"] = credentials.session_token
    names, scope = ";".join(signed), f"{moment[:8]}/{region}/sts/aws4_request"
    lines = ["POST", "/", "", *(f"{name}:{value}" for name, value in signed.items()), "", names, _hash(body)]
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, _hash("\n".join(lines))))
    key = ("AWS4" + credentials.secret).encode("utf-8")
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode("utf-8"), "sha256")
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope}, SignedHeaders={names}, "
        f"Signature={key.hex()}",
        "X-Amz-Date": moment,
        "Host": host,
        "Content-Type": _TYPE,
        "Content-Length": str(len(body.encode("utf-8"))),
    }  # fmt: skip
    if credentials.session_token:
        headers["X-Amz-Security-Token"] = credentials.session_token
    return headers


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def find_credentials(instance: _Instance) -> Credentials:
    """Return the credentials from the environment, the container or the instance. Raises InfisicalError."""
    environ = os.environ
    key_id, secret = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
    if key_id and secret:
        token = environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN") or ""
        return Credentials(key_id, secret, token, "the environment variable AWS_ACCESS_KEY_ID")
    if key_id or secret:
        given, other = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")[:: 1 if key_id else -1]
        raise ConfigurationError(other, f"must be set, because {given} is set.")
    for variable, (host, example) in _CONTAINER_VARIABLES.items():
        if environ.get(variable):
            service = Service("AWS container credentials service", _HINT, variable, example)
            return _read_container(host + environ[variable], service)
    return instance.read_credentials()


def _read_container(url: str, service: Service) -> Credentials:
    """Return the credentials of a container in ECS or of a pod in EKS."""
    _refuse_other_hosts(url)
    headers, path = {}, os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    token = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    if path:
        token = read_proof(path, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").decode("utf-8", "replace").strip()
    if token:
        headers["Authorization"] = token
    reply = fetch(url, service, "credentials", headers=headers)
    return _make_credentials(parse_json(reply, service, *_NAMES), "the container credentials service")


def _refuse_other_hosts(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_near = host in ("localhost", *_CONTAINER_HOSTS) or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_near = False
        parts = urlsplit("")
    if not is_near and parts.scheme != "https":
        raise ConfigurationError(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI", "must be a URL with https://, or of a service on this host."
        )


_NAMES = ("AccessKeyId", "SecretAccessKey", "Token")


def _make_credentials(found: Mapping[str, str], source: str) -> Credentials:
    key_id, secret, token = (found[name] for name in _NAMES)
    return Credentials(key_id, secret, token, source)


class _Instance:
    """The metadata service of an EC2 instance, version 2."""

    def __init__(self) -> None:
        self._url = (os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254").rstrip("/")

    @cached_property
    def _headers(self) -> dict[str, str]:
        if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise ConfigurationError(
                "AWS_EC2_METADATA_DISABLED", "is true, but the environment contains no AWS credentials and region.",
                hint="Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.",
            )  # fmt: skip
        asked = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        url = f"{self._url}/latest/api/token"
        reply = fetch(url, _INSTANCE, "a session token", method="PUT", headers=asked)
        return {"X-aws-ec2-metadata-token": read_text(reply, _INSTANCE)}

    def read_credentials(self) -> Credentials:
        """Return the temporary credentials of the instance's role. Raises InfisicalError."""
        url, missing = f"{self._url}/latest/meta-data/iam/security-credentials/", "Attach a role to this instance."
        roles = fetch(url, _INSTANCE, "the name of the role", headers=self._headers, missing=missing)
        role = read_text(roles, _INSTANCE)
        reply = fetch(url + quote(role, safe=""), _INSTANCE, "credentials", headers=self._headers, missing=missing)
        return _make_credentials(parse_json(reply, _INSTANCE, *_NAMES), f"the instance's role {role}")

    def read_region(self) -> str:
        """Return the region of the instance. Raises InfisicalError."""
        url = f"{self._url}/latest/dynamic/instance-identity/document"
        reply = fetch(url, _INSTANCE, "the region", headers=self._headers, missing="Set AWS_REGION.")
        return parse_json(reply, _INSTANCE, "region")["region"]
