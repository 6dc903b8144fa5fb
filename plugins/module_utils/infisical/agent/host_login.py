# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login of a host's agent: the options of each method, and which secrets and files its units load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..core.errors import ConfigurationError
from ..core.model import CERTIFICATE_OPTIONS, PROOF_OPTIONS, Settings
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
    "tls_cert_auth": ("identity_id", *CERTIFICATE_OPTIONS),
    "ldap_auth": ("identity_id", "username", "password"),
}
"""The login options of each method. All but `jwt_path` and `client_key` are required. A token or a JSON web token
without a file would expire on the host."""


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
    unused = list_proofs(arguments) - set(_OPTIONS.get(get_method(arguments), ()))
    return {name: value for name, value in arguments.items() if name not in unused}


def strip_login(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for a host with its own identity: nothing that proves the identity of the controller."""
    proofs = list_proofs(arguments)
    own = {name: value for name, value in arguments.items() if name not in proofs and name != "held_identity"}
    return select_options(own)


def list_proofs(arguments: Mapping[str, Any]) -> set[str]:
    """Return the options that prove the identity of the controller.

    A client certificate is one of them only with `tls_cert_auth`. Otherwise, it is for TLS, and the host presents its
    own certificate from the same path.
    """
    is_proof = arguments.get("auth_method") == "tls_cert_auth"
    return {*PROOF_OPTIONS, *(CERTIFICATE_OPTIONS if is_proof else ())}


def make_settings(arguments: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of the host's agent. `given` is the host's own identity from the action plugin, if any.

    Raises ConfigurationError.
    """
    given = given or {}
    own = {name: given[name] for name in ("identity_id", "client_id") if given.get(name)}
    settings = Settings.from_options(select_options({**arguments, **own}))
    if settings.auth_method == "kubernetes_auth" and not settings.jwt_path:
        return replace(settings, jwt_path=SERVICE_ACCOUNT_TOKEN)
    return settings


def describe_identity(settings: Settings, given: Mapping[str, Any]) -> HeldIdentity:
    """Return the identity for the host's note: `given` by the action plugin, or else from the settings.

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
        optional = {"client_key", "jwt_path" if method == "jwt_auth" else "", "client_secret" if keeps_secret else ""}
        if name not in optional and not getattr(settings, name):
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
