# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login methods: each checks its options, and reads the proof of the identity for each login."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Union

from ..core.errors import ConfigurationError, CredentialsRejected
from ..core.model import Settings, require
from ..core.options import list_variables
from .proof import Proof

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
"""The file in which Kubernetes mounts the token of a pod's service account."""


@dataclass(frozen=True)
class LoginRequest:
    """The body of a login at `path`. `what` completes the sentence "Could not …". No message may quote `secrets`.

    If the server rejects the login without a known reason, the hint is `hint`. In any case, `facts` are added to the
    hint: sentences about the identity and its proof.
    """

    path: str
    what: str
    body: Mapping[str, Any] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    hint: str
    facts: str


_IDENTITY_ID = ("identity_id", "the id of the machine identity")


class LoginMethod:
    """A login with a request to the server.

    Raises ConfigurationError if an option is missing or contradicts another one.
    """

    renewable = True
    name: str
    """The method's name in the path of its route."""
    title: str
    """The method's name in messages, as in Infisical's web interface."""
    required: tuple[tuple[str, str], ...] = (_IDENTITY_ID,)
    """The required options, each with the meaning of its value."""
    locks_out = False
    """True if the server locks the identity after several rejected logins."""
    hint = "Compare the settings of the identity's auth method in Infisical with its proof."
    """What to do if the server rejects the login."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        for option, meaning in self.required:
            require(settings, option, meaning)

    def prepare(self, now: float) -> LoginRequest:
        """Return the login at `now`, in seconds since the epoch. Raises InfisicalError if there is no proof."""
        proof, settings = self.prove(now), self.settings
        body, facts = dict(proof.fields), proof.facts
        if _IDENTITY_ID in self.required:
            body["identityId"] = settings.identity_id
            facts = f"The identity is {settings.identity_id}. {facts}".rstrip()
        if settings.organization_slug:
            body["organizationSlug"] = settings.organization_slug
        path, what = f"/api/v1/auth/{self.name}/login", f"log in with {self.title}"
        return LoginRequest(path, what, body, proof.secrets, self.hint, facts)

    def prove(self, now: float) -> Proof:
        """Return the proof for a login at `now`. Raises InfisicalError."""
        raise NotImplementedError


class UniversalAuth(LoginMethod):
    """Login with a machine identity's client id and client secret."""

    name, title = "universal-auth", "universal auth"
    required = (
        ("client_id", "the client id of the machine identity's universal auth"),
        ("client_secret", "a client secret of the same machine identity"),
    )
    locks_out = True
    hint = CredentialsRejected.hint

    def __init__(self, settings: Settings) -> None:
        if not (settings.client_id or settings.client_secret):
            if settings.token:
                raise ConfigurationError(
                    "auth_method", "a token is given, but not used.", hint="Set auth_method: token."
                )
            unused = [name for name in ("identity_id", "jwt", "jwt_path", "username") if getattr(settings, name)]
            if unused:
                raise ConfigurationError(
                    "auth_method", f"{unused[0]} is given, but universal_auth does not use it.",
                    hint="Set auth_method to the login method of the identity, such as oidc_auth.",
                )  # fmt: skip
        super().__init__(settings)

    def prove(self, now: float) -> Proof:
        secret = self.settings.client_secret
        return Proof({"clientId": self.settings.client_id, "clientSecret": secret}, (secret,))


class OidcAuth(LoginMethod):
    """Login with a JSON web token from the options or from a file, which is read for each login."""

    name, title = "oidc-auth", "OIDC auth"
    sources: tuple[str, ...] = ("jwt", "jwt_path")
    """The options that can be the source of the token. Exactly one of them must be set."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        given = [option for option in self.sources if getattr(settings, option)]
        if len(given) > 1:
            variables = [name for option in given for name in list_variables(option, settings.auth_method)]
            found = f" The environment contains {' and '.join(variables)}." if variables else ""
            raise ConfigurationError(
                given[0], f"must not be set together with {' and '.join(given[1:])}.",
                hint=f"Set only one of them.{found}",
            )  # fmt: skip
        if not given:
            require(settings, "jwt_path", "the path of a file that contains the token; or set jwt")

    def prove(self, now: float) -> Proof:
        from . import jwt

        token = self._read_token(now)
        claims = jwt.check(token, next(option for option in self.sources if getattr(self.settings, option)), now)
        return Proof({"jwt": token}, (token,), jwt.describe(claims))

    def _read_token(self, now: float) -> str:
        from .proof_files import read_proof

        settings = self.settings
        return settings.jwt or read_proof(settings.jwt_path, "jwt_path").decode("utf-8-sig", "replace").strip()


class JwtAuth(OidcAuth):
    """Login with a JSON web token, also with one that this process signs for each login."""

    name, title = "jwt-auth", "JWT auth"
    sources = ("jwt", "jwt_path", "jwt_key_file")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.jwt_key_file:
            require(settings, "jwt_subject", "the subject of the signed tokens")

    def _read_token(self, now: float) -> str:
        settings = self.settings
        if not settings.jwt_key_file:
            return super()._read_token(now)
        from . import jwt
        from .proof_files import read_proof

        return jwt.sign(read_proof(settings.jwt_key_file, "jwt_key_file"), settings.jwt_subject, now)


class SpiffeAuth(OidcAuth):
    """Login with a JWT-SVID, which a SPIFFE helper usually writes to a file."""

    name, title = "spiffe-auth", "SPIFFE auth"


class KubernetesAuth(OidcAuth):
    """Login with the token of a service account in Kubernetes, by default the token of this pod."""

    name, title = "kubernetes-auth", "Kubernetes auth"

    def __init__(self, settings: Settings) -> None:
        if not (settings.jwt or settings.jwt_path):
            settings = replace(settings, jwt_path=SERVICE_ACCOUNT_TOKEN)
        super().__init__(settings)


class AwsAuth(LoginMethod):
    """Login with the credentials of an AWS principal, which sign a request to AWS."""

    name, title = "aws-auth", "AWS auth"

    def prove(self, now: float) -> Proof:
        from .aws import sign_identity_request

        return sign_identity_request(now)


class AzureAuth(LoginMethod):
    """Login with a token of the machine's managed identity in Azure."""

    name, title = "azure-auth", "Azure auth"

    def prove(self, now: float) -> Proof:
        from . import jwt
        from .metadata import read_azure_token

        token = read_azure_token()
        return Proof({"jwt": token}, (token,), jwt.describe(jwt.read_claims(token)))


class GcpAuth(LoginMethod):
    """Login with an identity token of the machine's service account in Google Cloud."""

    name, title = "gcp-auth", "GCP auth"

    def prove(self, now: float) -> Proof:
        from . import jwt
        from .metadata import read_gcp_token

        token = read_gcp_token(self.settings.identity_id)
        return Proof({"jwt": token}, (token,), jwt.describe(jwt.read_claims(token)))


class TlsCertAuth(LoginMethod):
    """Login with a TLS client certificate, which a proxy in front of the server passes on."""

    name, title = "tls-cert-auth", "TLS certificate auth"
    required = (_IDENTITY_ID, ("client_cert", "the path of a PEM file with the client certificate"))

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if not settings.url.startswith("https://"):
            raise ConfigurationError("url", "must start with https:// for tls_cert_auth.")

    def prove(self, now: float) -> Proof:
        from . import certificates

        pair = certificates.find_pair(self.settings)
        return Proof({}, (), certificates.describe(pair[0]) if pair else "")


class LdapAuth(LoginMethod):
    """Login with a user name and a password of a directory service."""

    name, title = "ldap-auth", "LDAP auth"
    required = (_IDENTITY_ID, ("username", "the user's name in the directory"), ("password", "the user's password"))
    locks_out = True
    hint = (
        "Check username and password. The login is not retried, because three failures lock the identity for everybody."
    )

    def prove(self, now: float) -> Proof:
        settings = self.settings
        return Proof({"username": settings.username, "password": settings.password}, (settings.password,))


class GivenToken:
    """An access token from the options. There is no login."""

    renewable = False
    required = (("token", "an access token, for auth_method: token"),)
    locks_out = False

    def __init__(self, settings: Settings) -> None:
        for option, meaning in self.required:
            self.token = require(settings, option, meaning)
        if not can_be_sent(self.token):
            raise ConfigurationError("token", "contains white space or other characters that are not allowed.")


Method = Union[LoginMethod, GivenToken]
METHODS: dict[str, type[Method]] = {
    "universal_auth": UniversalAuth,
    "token": GivenToken,
    "oidc_auth": OidcAuth,
    "jwt_auth": JwtAuth,
    "kubernetes_auth": KubernetesAuth,
    "aws_auth": AwsAuth,
    "azure_auth": AzureAuth,
    "gcp_auth": GcpAuth,
    "tls_cert_auth": TlsCertAuth,
    "ldap_auth": LdapAuth,
    "spiffe_auth": SpiffeAuth,
}


def method_for(settings: Settings) -> Method:
    """Return the login method that the option `auth_method` selects. Raises ConfigurationError."""
    if settings.auth_method not in METHODS:
        names = ", ".join(sorted(METHODS))
        raise ConfigurationError("auth_method", f"must be one of {names} (got {settings.auth_method}).")
    return METHODS[settings.auth_method](settings)


def can_be_sent(token: str) -> bool:
    """Return whether a token can be sent in a header."""
    return token.isascii() and token.isprintable() and bool(token) and " " not in token
