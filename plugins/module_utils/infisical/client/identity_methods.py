# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the login methods of an identity: the one table of their names here and in the server's API."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.model import is_whole, trim
from .parsing import parse_text, unknown_shape


class Field(NamedTuple):
    """A setting: its name in our options and in the API.

    `kind` is the type of its value: `whole` (an integer, 0 is unlimited), `text`, `names` (a list, which the API has as
    text with commas), `nullable` (the same, but null for an empty list), `texts` (a list of texts), `pairs` (a mapping
    of texts) or `addresses` (a list of IP addresses and networks). The order of a list has no meaning.
    """

    name: str
    key: str
    kind: str


class MethodRoute(NamedTuple):
    """A login method: the name in its path, the key of its settings in a response, and its settings.

    `defaults` is sent when the method is attached, and `fixed` whenever settings are written.
    """

    path: str
    key: str
    fields: tuple[Field, ...]
    defaults: Mapping[str, Any] = {}
    fixed: Mapping[str, Any] = {}


@dataclass(frozen=True)
class MethodSettings:
    """The settings of one login method of an identity, keyed by the names of our options.

    A setting is missing if the response does not contain it. `client_id` is empty unless the method is universal auth.
    """

    values: Mapping[str, Any]
    client_id: str = ""


_LIMITS = (
    Field("access_token_ttl", "accessTokenTTL", "whole"),
    Field("access_token_max_ttl", "accessTokenMaxTTL", "whole"),
    Field("access_token_num_uses_limit", "accessTokenNumUsesLimit", "whole"),
    Field("access_token_trusted_ips", "accessTokenTrustedIps", "addresses"),
)
_UNBOUND = {"boundIssuer": "", "boundAudiences": "", "boundClaims": {}, "boundSubject": ""}
_BOUND = (
    Field("issuer", "boundIssuer", "text"),
    Field("audiences", "boundAudiences", "names"),
    Field("subject", "boundSubject", "text"),
    Field("claims", "boundClaims", "pairs"),
)

# Recorded: universal_auth, and attaching jwt_auth and tls_cert_auth. Everything else is from the vendor's published
# documentation and sources, and assumed.
METHOD_ROUTES: dict[str, MethodRoute] = {
    "universal_auth": MethodRoute("universal-auth", "identityUniversalAuth", (
        *_LIMITS, Field("client_secret_trusted_ips", "clientSecretTrustedIps", "addresses"),
    )),
    "jwt_auth": MethodRoute("jwt-auth", "identityJwtAuth", (
        *_LIMITS, Field("public_keys", "publicKeys", "texts"), *_BOUND,
    ), _UNBOUND, {"configurationType": "static"}),
    "tls_cert_auth": MethodRoute("tls-cert-auth", "identityTlsCertAuth", (
        *_LIMITS,
        Field("ca_certificate", "caCertificate", "text"),
        Field("allowed_common_names", "allowedCommonNames", "nullable"),
    )),
    "aws_auth": MethodRoute("aws-auth", "identityAwsAuth", (
        *_LIMITS,
        Field("sts_endpoint", "stsEndpoint", "text"),
        Field("allowed_principal_arns", "allowedPrincipalArns", "names"),
        Field("allowed_account_ids", "allowedAccountIds", "names"),
    ), {"stsEndpoint": "https://sts.amazonaws.com/", "allowedPrincipalArns": "", "allowedAccountIds": ""}),
    "kubernetes_auth": MethodRoute("kubernetes-auth", "identityKubernetesAuth", (
        *_LIMITS,
        Field("kubernetes_host", "kubernetesHost", "text"),
        Field("ca_certificate", "caCert", "text"),
        Field("allowed_namespaces", "allowedNamespaces", "names"),
        Field("allowed_service_accounts", "allowedNames", "names"),
        Field("allowed_audience", "allowedAudience", "text"),
    ), {"caCert": "", "allowedNamespaces": "", "allowedNames": "", "allowedAudience": ""}),
    "oidc_auth": MethodRoute("oidc-auth", "identityOidcAuth", (
        *_LIMITS,
        Field("discovery_url", "oidcDiscoveryUrl", "text"),
        Field("ca_certificate", "caCert", "text"),
        *_BOUND,
    ), {"caCert": "", **_UNBOUND}),
}  # fmt: skip
"""The login methods whose settings can be managed, keyed by the values of `auth_method`."""


def parse_settings(method: str, row: Mapping[str, Any]) -> MethodSettings:
    """Return the settings in a response. Raises NotJson."""
    present = (one for one in METHOD_ROUTES[method].fields if one.key in row)
    return MethodSettings({one.name: _parse(one, row[one.key]) for one in present}, parse_text(row, "clientId"))


def render_settings(method: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request with these settings (keyed by the names of our options)."""
    return {one.key: _render(one, values[one.name]) for one in METHOD_ROUTES[method].fields if one.name in values}


def complete_settings(method: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings to send for a change: the stored ones, with the `wanted` ones in their place.

    Assumed: some methods reset a setting that is not sent. Stored addresses are not sent: they need a paid plan.
    """
    addresses = {one.name for one in METHOD_ROUTES[method].fields if one.kind == "addresses"}
    return {**{name: value for name, value in stored.items() if name not in addresses}, **wanted}


def changed_settings(method: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in `wanted` that differ from the stored ones.

    A setting that the server did not return counts as different, because it may differ.
    """
    fields = (one for one in METHOD_ROUTES[method].fields if one.name in wanted)
    return {
        one.name: wanted[one.name]
        for one in fields
        if one.name not in stored or _comparable(one, stored[one.name]) != _comparable(one, wanted[one.name])
    }


_EMPTY: dict[str, Any] = {
    "whole": 0, "text": "", "names": (), "nullable": (), "texts": (), "pairs": {}, "addresses": (),
}  # fmt: skip


def _parse(one: Field, value: Any) -> Any:
    if value is None:
        return _EMPTY[one.kind]
    if one.kind == "whole" and is_whole(value):
        return value
    if one.kind == "text" and isinstance(value, str):
        return value
    if one.kind in ("names", "nullable") and isinstance(value, str):
        return tuple(name for name in map(str.strip, value.split(",")) if name)
    if one.kind == "texts" and isinstance(value, list) and all(isinstance(text, str) for text in value):
        return tuple(value)
    if one.kind == "pairs" and isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return dict(value)
    if one.kind == "addresses" and isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return tuple(map(_parse_address, value))
    raise unknown_shape(f"read '{one.key}' in the settings of a login method")


def _parse_address(row: Mapping[str, Any]) -> str:
    address, prefix = row.get("ipAddress"), row.get("prefix")
    if not isinstance(address, str) or (prefix is not None and not is_whole(prefix)):
        raise unknown_shape("read a trusted IP address in the settings of a login method")
    return address if prefix is None else f"{address}/{prefix}"


def _render(one: Field, value: Any) -> Any:
    if one.kind in ("names", "nullable"):
        return ",".join(value) or (None if one.kind == "nullable" else "")
    if one.kind == "texts":
        return list(value)
    if one.kind == "addresses":
        return [{"ipAddress": address} for address in value]
    return dict(value) if one.kind == "pairs" else value


def _comparable(one: Field, value: Any) -> Any:
    """Return a value in a form that is equal for values with the same meaning."""
    if one.kind == "addresses":
        return sorted(map(_network, value))
    if one.kind in ("names", "nullable", "texts"):
        return sorted(set(map(trim, value)))
    if one.kind == "pairs":  # the server separates the allowed values of a claim by a comma and a space (assumed)
        return {key: ",".join(map(trim, texts.split(","))) for key, texts in value.items()}
    return trim(value) if one.kind == "text" else value


def _network(address: str) -> str:
    try:
        return str(ipaddress.ip_network(address, strict=False))
    except ValueError:
        return address
