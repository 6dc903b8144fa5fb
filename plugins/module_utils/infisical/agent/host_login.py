# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login of a host's agent: the options of each method, and which secrets and files its units load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..core.errors import ConfigurationError
from ..core.model import Settings
from ..core.options import LOGIN_METHODS
from ..identities.held import HeldIdentity
from ..login.methods import SERVICE_ACCOUNT_TOKEN

HOST_METHODS = tuple(method for method in LOGIN_METHODS if method != "token")

SHARED, PER_HOST = "shared", "per_host"

ARGUMENTS: dict[str, dict[str, Any]] = {
    "identity": {"type": "str", "choices": [SHARED, PER_HOST], "default": SHARED},
    "host_auth_method": {"type": "str", "choices": list(HOST_METHODS)},
    "credentials": {"type": "str", "choices": ["auto", "encrypted", "file"], "default": "auto", "no_log": False},
    "credential_key": {
        "type": "str",
        "choices": ["host", "tpm2", "host+tpm2"],
        "default": "host",
        "no_log": False,
    },
}
"""The options that the modules infisical_agent and infisical_agent_preflight share."""

HOST_IDENTITY: dict[str, dict[str, Any]] = {
    "identity_id": {"type": "str", "default": ""},
    "client_id": {"type": "str", "default": ""},
    "client_secret_id": {"type": "str", "default": "", "no_log": False},
    "expires_at": {"type": "int", "default": 0},
    "grant_wait": {"type": "float", "default": 0.0},
    "changed_grants": {"type": "bool", "default": False},
}
"""The suboptions of `host_identity`, which the action plugin passes to the module infisical_agent."""

_FILES = {"jwt_path": "infisical_jwt", "client_cert": "infisical_client_cert", "client_key": "infisical_client_key"}
"""The options that are files on the host, and the names under which systemd passes them to the agent."""

_WITH_JWT = ("identity_id", "jwt_path")
_OPTIONS: dict[str, tuple[str, ...]] = {
    "universal_auth": ("client_id", "client_secret"),
    "oidc_auth": _WITH_JWT,
    "jwt_auth": _WITH_JWT,
    "kubernetes_auth": _WITH_JWT,
    "spiffe_auth": _WITH_JWT,
    "aws_auth": ("identity_id",),
    "azure_auth": ("identity_id",),
    "gcp_auth": ("identity_id",),
    "tls_cert_auth": ("identity_id", "client_cert"),
    "ldap_auth": ("identity_id", "username", "password"),
}
"""The login options of each method. All but `jwt_path` are required. A token or a JSON web token without a file would
expire on the host."""

_LOGIN_OPTIONS = ("token", "jwt", "client_id", "client_secret", "username", "password", *_WITH_JWT)
"""The options that are removed for a method that does not use them. Any method can use a client certificate."""


def get_method(arguments: Mapping[str, Any]) -> str:
    """Return the login method of the host's agent."""
    shared = "universal_auth" if arguments.get("identity") == PER_HOST else arguments.get("auth_method")
    return str(arguments.get("host_auth_method") or shared or "universal_auth")


def has_own_key(arguments: Mapping[str, Any]) -> bool:
    """Return whether the agent signs JSON web tokens with the host's own key."""
    return get_method(arguments) == "jwt_auth" and not arguments.get("jwt_path")


def select_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for a login of the host, whose `auth_method` is the host's method."""
    return {**strip_unused(arguments), "auth_method": get_method(arguments)}


def strip_unused(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments without the login options that the host's method does not use.

    Thus the controller's own credentials stay on the controller.
    """
    unused = set(_LOGIN_OPTIONS) - set(_OPTIONS.get(get_method(arguments), ()))
    return {name: value for name, value in arguments.items() if name not in unused}


def make_settings(arguments: Mapping[str, Any]) -> Settings:
    """Return the settings of the host's agent. Raises ConfigurationError."""
    given = arguments.get("host_identity") or {}
    own = {name: given[name] for name in ("identity_id", "client_id") if given.get(name)}
    settings = Settings.from_options(select_options({**arguments, **own}))
    if settings.auth_method == "kubernetes_auth" and not settings.jwt_path:
        return replace(settings, jwt_path=SERVICE_ACCOUNT_TOKEN)
    return settings


def describe_identity(settings: Settings, given: Mapping[str, Any]) -> HeldIdentity:
    """Return the identity for the host's note: `given` by the option `host_identity`, or else from the settings.

    The note does not contain the client id of a shared identity, which is stored like a secret.
    """
    names = ("identity_id", "client_id", "client_secret_id", "expires_at")
    known = {name: given[name] for name in names if given.get(name)}
    return HeldIdentity(**{"identity_id": settings.identity_id, "auth_method": settings.auth_method, **known})


def check_login(settings: Settings, *, keeps_secret: bool = False) -> None:
    """Raise ConfigurationError if the agent cannot log in with these options. With `keeps_secret`, the host keeps the
    client secret that it has."""
    method = settings.auth_method
    if method not in HOST_METHODS:
        raise ConfigurationError(
            "auth_method", "must not be token, because a token would expire on the host.",
            hint=f"Set host_auth_method to one of {', '.join(HOST_METHODS)}.",
        )  # fmt: skip
    for name in _OPTIONS[method]:
        is_optional = (name == "jwt_path" and method == "jwt_auth") or (name == "client_secret" and keeps_secret)
        if not is_optional and not getattr(settings, name):
            raise ConfigurationError(
                name, f"is required for {method} of a host's agent.", hint=f"Set it to the {name} that the hosts use."
            )
    for name in _FILES:
        path = getattr(settings, name)
        if path and not path.startswith("/"):
            raise ConfigurationError(name, f"must be an absolute path (got '{path}').")


def list_files(settings: Settings) -> dict[str, str]:
    """Return the files that systemd copies for each sync: {credential: path}."""
    return {credential: getattr(settings, name) for name, credential in _FILES.items() if getattr(settings, name)}
