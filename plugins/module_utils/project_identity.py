# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared code of the modules for machine identities: their options, finding an identity, and their results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .infisical.client.identities import IdentityApi
from .infisical.client.identity_methods import METHOD_ROUTES
from .infisical.core.errors import ConfigurationError, IdentityMissing
from .infisical.core.model import check_metadata, check_name, require
from .infisical.core.times import format_time
from .infisical.identities.apply import find

if TYPE_CHECKING:
    from .infisical.client.identities import ClientSecret, Identity
    from .infisical.client.identity_methods import MethodSettings
    from .infisical.identities.grants import Permissions
    from .module import InfisicalModule

SELECTION: dict[str, dict[str, Any]] = {"id": {"type": "str"}, "name": {"type": "str"}}
"""The options that select an identity."""


_TYPES: dict[str, dict[str, Any]] = {
    "whole": {"type": "int"},
    "text": {"type": "str"},
    "names": {"type": "list", "elements": "str"},
    "nullable": {"type": "list", "elements": "str"},
    "texts": {"type": "list", "elements": "str"},
    "addresses": {"type": "list", "elements": "str"},
    "pairs": {"type": "dict"},
}
_REQUIRED = {
    "jwt_auth": ("public_keys",),
    "tls_cert_auth": ("ca_certificate",),
    "kubernetes_auth": ("kubernetes_host",),
    "oidc_auth": ("discovery_url", "issuer"),
}


def method_arguments() -> dict[str, dict[str, Any]]:
    """Return an option for each login method, with its settings as suboptions."""
    arguments: dict[str, dict[str, Any]] = {}
    for method, route in METHOD_ROUTES.items():
        parts = {
            one.name: {**_TYPES[one.kind], "no_log": False, "required": one.name in _REQUIRED.get(method, ())}
            for one in route.fields
        }
        arguments[method] = {"type": "dict", "options": parts}
    return arguments


_PEM_KINDS = {"public_keys": "PUBLIC KEY", "ca_certificate": "CERTIFICATE"}
_HIDDEN = "The text is not shown, because it may be a secret."


def build_settings(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a login method that are set. Raises ConfigurationError."""
    settings = {name: value for name, value in given.items() if value is not None}
    for name in ("access_token_ttl", "access_token_max_ttl", "access_token_num_uses_limit"):
        if settings.get(name, 0) < 0:
            raise ConfigurationError(f"{method}.{name}", f"must not be negative (got {settings[name]}).")
    ttl, most = settings.get("access_token_ttl", 0), settings.get("access_token_max_ttl", 0)
    if most and ttl > most:
        raise ConfigurationError(
            f"{method}.access_token_ttl", f"must be at most access_token_max_ttl, which is {most} (got {ttl})."
        )
    for name, kind in _PEM_KINDS.items():
        if name in settings:
            _check_pem(f"{method}.{name}", settings[name], kind, required=name in _REQUIRED.get(method, ()))
    if "claims" in settings:
        settings["claims"] = dict(check_metadata(settings["claims"], f"{method}.claims") or ())
    for one in METHOD_ROUTES[method].fields:
        if one.kind in ("names", "nullable") and not all(map(_is_element, settings.get(one.name, ()))):
            raise ConfigurationError(
                f"{method}.{one.name}",
                f"must be a list of non-empty texts without commas (got {settings[one.name]}).",
                hint="Write each text as its own element: Infisical separates them by commas.",
            )
    return settings


def _is_element(text: str) -> bool:
    return bool(text.strip()) and "," not in text


def _check_pem(option: str, given: str | list[str], kind: str, *, required: bool) -> None:
    """Raise ConfigurationError, which never quotes the text, unless all texts consist of PEM blocks of this kind."""
    texts = [given] if isinstance(given, str) else given
    if not required and not any(texts):
        return
    refuse_private_keys(option, texts)
    block = rf"-----BEGIN {kind}-----\s[A-Za-z0-9+/=\s]+-----END {kind}-----\s*"
    if not texts or not all(re.fullmatch(f"({block})+", text.strip()) for text in texts):
        what = f"PEM text that begins with -----BEGIN {kind}-----"
        rule = f"must be {what}" if isinstance(given, str) else f"must be a non-empty list, and each element {what}"
        raise ConfigurationError(option, f"{rule}.", hint=f"Remove everything else from the text. {_HIDDEN}")


def refuse_private_keys(option: str, given: Any) -> None:
    """Raise ConfigurationError, which never quotes a text, if there is a private key anywhere in the value."""
    if isinstance(given, str):
        if "PRIVATE KEY" in given:
            hint = f"Set the public part instead, and do not send the private key to anyone. {_HIDDEN}"
            raise ConfigurationError(option, "must not contain a private key.", hint=hint)
    elif isinstance(given, Mapping):
        for name, value in given.items():
            refuse_private_keys(option, name)
            refuse_private_keys(f"{option}.{name}", value)
    elif isinstance(given, Iterable):
        for value in given:
            refuse_private_keys(option, value)


def project_of(module: InfisicalModule) -> str:
    """Return the id of the project. Raises ConfigurationError."""
    return require(module.settings(), "project_id", "the project's id from its settings page")


def selection(module: InfisicalModule) -> tuple[str, str]:
    """Return the id and the name in the options; one of them can be empty. Raises ConfigurationError."""
    identity_id, name = module.params["id"] or "", module.params["name"] or ""
    if not identity_id and not name:
        raise ConfigurationError("name", "must be set if id is not.", hint="Set the name or the id of the identity.")
    return identity_id, check_name(name) if name else ""


def find_selected(module: InfisicalModule, api: IdentityApi) -> Identity:
    """Return the identity that the options select. Raises IdentityMissing or Ambiguous."""
    identity_id, name = selection(module)
    identity = find(api, project_of(module), identity_id=identity_id, name=name)
    if identity is None:
        raise missing(project_of(module), identity_id, name)
    return identity


def missing(project_id: str, identity_id: str, name: str) -> IdentityMissing:
    """Return the error for an identity that does not exist."""
    which = f"the id {identity_id}" if identity_id else f"the name '{name}'"
    return IdentityMissing(f"Project {project_id} has no identity with {which}.")


def describe_identity(identity: Identity | None) -> dict[str, Any] | None:
    """Return an identity as result data, or None."""
    if identity is None:
        return None
    return {
        "id": identity.id,
        "name": identity.name,
        "project_id": identity.project_id,
        "metadata": dict(identity.metadata),
        "delete_protection": identity.delete_protection,
        "created_at": identity.created_at,
    }


def describe_method(settings: MethodSettings) -> dict[str, Any]:
    """Return the settings of a login method as result data."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.values.items()}
    return {"client_id": settings.client_id, **values} if settings.client_id else values


def describe_grants(permissions: Permissions) -> list[dict[str, Any]]:
    """Return grants as result data, in the form of the option `grants`."""
    return [dict(vars(one)) for one in permissions.grants]


def describe_client_secret(one: ClientSecret, now: float) -> dict[str, Any]:
    """Return a client secret, without its text, as result data. `now` is in seconds since the epoch."""
    left = one.seconds_left(now)
    return {
        "client_secret_id": one.id,
        "description": one.description,
        "created_at": one.created_at,
        "expires_at": None if one.expires_at is None else format_time(one.expires_at),
        "ttl": one.ttl,
        "num_uses": one.uses,
        "num_uses_limit": one.uses_limit,
        "revoked": one.revoked,
        "valid": left > 0,
    }
