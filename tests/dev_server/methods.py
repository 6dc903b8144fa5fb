# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login methods besides universal auth and token auth: their settings, and logins with a verified proof.

Recorded: the answers of jwt-auth and tls-cert-auth, and the logins of an identity without the method. Assumed:
everything else, in the words of the recorded methods.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from .calls import Answer, Call, Route
from .grants import glob
from .identities import Identity, Method
from .logins import find_managed, read_method, show_limits, show_token
from .profiles import CURRENT, PAID
from .proofs import audiences, split_jwt, verify_caller, verify_certificate, verify_jwt
from .reading import Reader
from .refusals import Conclusion, Refusal

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """A login method: its names, its settings with their defaults, and the verification of a proof."""

    slug: str
    title: str
    # The key of the settings in answers.
    key: str
    settings: Mapping[str, Any]
    # Reads the proof from the body and returns the verification, which raises Refusal.
    read: Callable[[Call, Reader], Callable[[Identity, Method], None]]
    required: tuple[str, ...] = ()
    profiles: frozenset[str] = CURRENT
    show: Callable[[Settings], Settings] = field(default=dict)
    configure: str = ""


def refuse(what: str, forbidden: bool = False) -> Refusal:
    """Return the refusal of a proof that is valid, but not allowed."""
    return Refusal(Conclusion.PROOF_FORBIDDEN if forbidden else Conclusion.PROOF_REFUSED, what=what)


def words(listed: str | None) -> list[str]:
    """Split a setting such as `web1, web2`."""
    return [word.strip() for word in (listed or "").split(",") if word.strip()]


def matches(value: Any, *wanted: str) -> bool:
    """Return whether a claim has one of the wanted values, which may be globs."""
    values = value if isinstance(value, list) else [value]
    return any(str(one) == word or glob(word).fullmatch(str(one)) for one in values for word in wanted)


def check_claims(claims: Settings, settings: Settings) -> None:
    """Check issuer, subject, audience and other claims of a JWT. Recorded for subject and audience."""
    if settings["boundIssuer"] and claims.get("iss") != settings["boundIssuer"]:
        raise refuse("issuer mismatch", forbidden=True)
    if settings["boundSubject"] and not matches(claims.get("sub", ""), settings["boundSubject"]):
        raise refuse("subject not allowed", forbidden=True)
    if settings["boundAudiences"] and not matches(audiences(claims), *words(settings["boundAudiences"])):
        raise refuse("token audience not allowed")
    for name, wanted in settings["boundClaims"].items():
        if name not in claims or not matches(claims[name], *words(str(wanted))):
            raise refuse(f"claim mismatch for field {name}")


def read_jwt(verify: Callable[[Call, str, Settings, Identity], None]) -> Any:
    """Return the reader of a login that sends a JWT."""

    def read(call: Call, reader: Reader) -> Callable[[Identity, Method], None]:
        text = reader.text("jwt")
        return lambda identity, method: verify(call, text, method.settings, identity)

    return read


def keys_of(call: Call, *issuers: str) -> list[str]:
    return [key for issuer in issuers for key in call.directory.trust.issuer_keys.get(issuer, ())]


def verify_jwt_auth(call: Call, text: str, settings: Settings, identity: Identity) -> None:
    static = settings["configurationType"] == "static"
    keys = settings["publicKeys"] if static else keys_of(call, settings["jwksUrl"])
    check_claims(verify_jwt(text, keys, call.store.clock()), settings)


def verify_oidc(call: Call, text: str, settings: Settings, identity: Identity) -> None:
    keys = keys_of(call, settings["oidcDiscoveryUrl"])
    check_claims(verify_jwt(text, keys, call.store.clock()), settings)


def verify_kubernetes(call: Call, text: str, settings: Settings, identity: Identity) -> None:
    claims = verify_jwt(text, keys_of(call, settings["kubernetesHost"]), call.store.clock())
    account = re.fullmatch(r"system:serviceaccount:([^:]+):([^:]+)", str(claims.get("sub", "")))
    if account is None:
        raise refuse("K8s service account token invalid")
    for what, name, value in (("namespace", "allowedNamespaces", account[1]), ("name", "allowedNames", account[2])):
        if settings[name] and value not in words(settings[name]):
            raise refuse(f"K8s {what} not allowed")
    if settings["allowedAudience"] and settings["allowedAudience"] not in audiences(claims):
        raise refuse("K8s audience not allowed")


def verify_azure(call: Call, text: str, settings: Settings, identity: Identity) -> None:
    claims = verify_jwt(text, keys_of(call, f"https://sts.windows.net/{settings['tenantId']}/"), call.store.clock())
    if claims.get("tid") != settings["tenantId"]:
        raise refuse("Azure tenant not allowed")
    if settings["resource"].rstrip("/") not in [one.rstrip("/") for one in audiences(claims)]:
        raise refuse("token audience not allowed")
    allowed = words(settings["allowedServicePrincipalIds"])
    if allowed and claims.get("oid") not in allowed:
        raise refuse("Azure service principal not allowed")


def verify_gcp(call: Call, text: str, settings: Settings, identity: Identity) -> None:
    claims = verify_jwt(text, keys_of(call, "https://accounts.google.com"), call.store.clock())
    # The audience of the token is the id of the identity.
    if identity.id not in audiences(claims):
        raise refuse("token audience not allowed")
    engine = claims.get("google", {}).get("compute_engine", {})
    for what, name, value in (
        ("service account", "allowedServiceAccounts", claims.get("email")),
        ("project", "allowedProjects", engine.get("project_id")),
        ("zone", "allowedZones", engine.get("zone")),
    ):
        if settings[name] and value not in words(settings[name]):
            raise refuse(f"GCP {what} not allowed")


def verify_spiffe(call: Call, text: str, settings: Settings, identity: Identity) -> None:
    _header, claims = split_jwt(text)
    domain = settings["trustDomain"]
    if not str(claims.get("sub", "")).startswith(f"spiffe://{domain}/"):
        raise refuse("SPIFFE trust domain not allowed", forbidden=True)
    claims = verify_jwt(text, keys_of(call, domain), call.store.clock())
    if not matches(claims["sub"], *words(settings["allowedSpiffeIds"])):
        raise refuse("SPIFFE ID not allowed", forbidden=True)
    if not matches(audiences(claims), *words(settings["allowedAudiences"])):
        raise refuse("token audience not allowed")


def read_aws(call: Call, reader: Reader) -> Callable[[Identity, Method], None]:
    http_method = reader.text("iamHttpRequestMethod")
    body, headers = reader.text("iamRequestBody"), reader.text("iamRequestHeaders")

    def verify(identity: Identity, method: Method) -> None:
        if http_method != "POST":
            raise Refusal(Conclusion.AWS_REFUSED, reason="InvalidRequest")
        caller = verify_caller(body, headers, call.directory.trust.aws, call.store.clock())
        accounts, arns = (words(method.settings[name]) for name in ("allowedAccountIds", "allowedPrincipalArns"))
        if accounts and caller.account not in accounts:
            raise refuse("AWS account ID not allowed")
        # The session of a role counts as the role.
        role = re.sub(r"^arn:(aws[\w-]*):sts::(\d+):assumed-role/([^/]+)/.*$", r"arn:\1:iam::\2:role/\3", caller.arn)
        patterns = [re.escape(arn).replace(r"\*", ".*") for arn in arns]
        if arns and not any(re.fullmatch(pattern, one) for pattern in patterns for one in (role, caller.arn)):
            raise refuse("AWS principal ARN not allowed")

    return verify


def read_certificate(call: Call, reader: Reader) -> Callable[[Identity, Method], None]:
    """Take the certificate from the header of the proxy. As recorded, a missing certificate comes before all else."""
    if not call.certificate:
        raise Refusal(Conclusion.CERTIFICATE_MISSING)

    def verify(identity: Identity, method: Method) -> None:
        name = verify_certificate(call.certificate, method.settings["caCertificate"], call.store.clock())
        allowed = words(method.settings["allowedCommonNames"])
        if allowed and name not in allowed:
            raise Refusal(Conclusion.CERTIFICATE_REFUSED, reason="TLS Certificate Auth common name not allowed")

    return verify


def read_ldap(call: Call, reader: Reader) -> Callable[[Identity, Method], None]:
    username, password = reader.text("username"), reader.text("password")

    def verify(identity: Identity, method: Method) -> None:
        lockout = call.directory.lockout
        if lockout and method.locked_until > call.store.clock():
            raise Refusal(Conclusion.LOCKED_OUT)
        if not password or call.directory.trust.ldap_users.get(username) != password:
            call.directory.count_bad_secret(method, lockout)
            raise Refusal(Conclusion.BAD_CREDENTIALS)

    return verify


def show_certificate_settings(settings: Settings) -> Settings:
    """Return the settings as recorded: the CA is only shown encrypted, which these bytes stand for."""
    shown = hide("caCertificate", "accessTokenPeriod")(settings)
    data = [byte ^ 0x5A for byte in settings["caCertificate"].encode()]
    return {**shown, "encryptedCaCertificate": {"type": "Buffer", "data": data}}


def hide(*names: str) -> Callable[[Settings], Settings]:
    return lambda settings: {name: value for name, value in settings.items() if name not in names}


LISTS = frozenset(
    {
        "boundAudiences",
        "allowedPrincipalArns",
        "allowedAccountIds",
        "allowedServicePrincipalIds",
        "allowedServiceAccounts",
        "allowedProjects",
        "allowedZones",
    }
)
BOUND = {"boundIssuer": "", "boundAudiences": "", "boundClaims": {}, "boundSubject": ""}

KINDS = (
    Kind(
        "jwt-auth",
        "JWT",
        "identityJwtAuth",
        {"configurationType": "static", "jwksUrl": "", "jwksCaCert": "", "publicKeys": [], **BOUND},
        read_jwt(verify_jwt_auth),
        ("configurationType",),
    ),
    Kind(
        "oidc-auth",
        "OIDC",
        "identityOidcAuth",
        {"oidcDiscoveryUrl": "", "caCert": "", **BOUND},
        read_jwt(verify_oidc),
        ("oidcDiscoveryUrl", "boundIssuer"),
    ),
    Kind(
        "kubernetes-auth",
        "Kubernetes",
        "identityKubernetesAuth",
        {
            "kubernetesHost": "",
            "caCert": "",
            "tokenReviewerJwt": None,
            "tokenReviewMode": "api",
            "allowedNamespaces": "",
            "allowedNames": "",
            "allowedAudience": "",
        },
        read_jwt(verify_kubernetes),
        ("kubernetesHost",),
    ),
    Kind(
        "azure-auth",
        "Azure",
        "identityAzureAuth",
        {"tenantId": "", "resource": "https://management.azure.com/", "allowedServicePrincipalIds": ""},
        read_jwt(verify_azure),
        ("tenantId",),
        configure="Azure Auth",
    ),
    Kind(
        "gcp-auth",
        "GCP",
        "identityGcpAuth",
        {"type": "gce", "allowedServiceAccounts": "", "allowedProjects": "", "allowedZones": ""},
        read_jwt(verify_gcp),
    ),
    Kind(
        "aws-auth",
        "AWS",
        "identityAwsAuth",
        {
            "type": "iam",
            "stsEndpoint": "https://sts.amazonaws.com/",
            "allowedPrincipalArns": "",
            "allowedAccountIds": "",
        },
        read_aws,
    ),
    Kind(
        "tls-cert-auth",
        "TLS Certificate",
        "identityTlsCertAuth",
        {"caCertificate": "", "allowedCommonNames": None, "allowedSubjectAltNames": None},
        read_certificate,
        ("caCertificate",),
        show=show_certificate_settings,
    ),
    Kind(
        "spiffe-auth",
        "SPIFFE",
        "identitySpiffeAuth",
        {"trustDomain": "", "allowedSpiffeIds": "", "allowedAudiences": "", "configurationType": "static"},
        read_jwt(verify_spiffe),
        ("trustDomain", "allowedSpiffeIds", "allowedAudiences"),
    ),
    Kind(
        "ldap-auth",
        "LDAP",
        "identityLdapAuth",
        {"url": "", "bindDN": "", "bindPass": "", "searchBase": "", "searchFilter": "(uid={{username}})"},
        read_ldap,
        ("url",),
        # The recorded server, on the free plan, lacks these routes. Assumed: a paid plan has them.
        profiles=PAID,
        show=hide("bindDN", "bindPass"),
    ),
)


def read_settings(call: Call, kind: Kind, method: Method, attach: bool) -> None:
    """Read the settings and limits of a body into a method."""
    reader = Reader({} if call.body is None else call.body)
    read_own_settings(reader, kind, method, attach)
    read_method(call, method, reader)


def read_own_settings(reader: Reader, kind: Kind, method: Method, attach: bool) -> None:
    settings = {**kind.settings, **method.settings}
    for name, default in kind.settings.items():
        if name not in reader.source:
            if attach and name in kind.required:
                reader.text(name)
        elif isinstance(default, list):
            settings[name] = list(reader.texts(name) or ())
        elif isinstance(default, dict):
            settings[name] = {key: respace(str(value)) for key, value in reader.part(name).source.items()}
        elif default is not None or reader.source[name] is not None:
            settings[name] = respace(reader.text(name)) if name in LISTS else reader.text(name)
    method.settings = settings


def respace(listed: str) -> str:
    """Return a list such as `a,b` as `a, b`. Assumed: real servers store lists and claims like this."""
    return ", ".join(word.strip() for word in listed.split(","))


def attach(kind: Kind, call: Call) -> Answer:
    identity = find_managed(call, "create")
    if kind.slug in identity.methods:
        raise Refusal(Conclusion.METHOD_ATTACHED, method=f"{kind.title} auth")
    now = call.store.clock()
    method = Method(kind.slug, now, updated=now)
    read_settings(call, kind, method, attach=True)
    identity.methods[kind.slug] = method
    return show(kind, identity, method)


def find(kind: Kind, call: Call, action: str) -> tuple[Identity, Method]:
    identity = find_managed(call, action)
    if kind.slug not in identity.methods:
        raise Refusal(Conclusion.METHOD_NOT_ATTACHED, method=f"{kind.title} auth", identity=identity.id)
    return identity, identity.methods[kind.slug]


def get(kind: Kind, call: Call) -> Answer:
    """Return the settings. Assumed: here, unlike in recorded answers to writes, a CA is shown as it was sent."""
    identity, method = find(kind, call, "read")
    answer = show(kind, identity, method)
    if "caCertificate" in method.settings:
        answer.body[kind.key]["caCertificate"] = method.settings["caCertificate"]
    return answer


def change(kind: Kind, call: Call) -> Answer:
    identity, method = find(kind, call, "edit")
    changed = replace(method, settings=dict(method.settings))
    read_settings(call, kind, changed, attach=False)
    method.settings, method.updated = changed.settings, call.store.clock()
    method.token_ttl, method.token_max_ttl = changed.token_ttl, changed.token_max_ttl
    method.token_uses = changed.token_uses
    return show(kind, identity, method)


def detach(kind: Kind, call: Call) -> Answer:
    """Take a method from an identity. Assumed: the tokens of its logins die at once."""
    identity, method = find(kind, call, "delete")
    call.directory.detach(identity, kind.slug)
    return show(kind, identity, method)


def show(kind: Kind, identity: Identity, method: Method) -> Answer:
    return Answer({kind.key: kind.show({**show_limits(identity, method), **method.settings})})


def log_in(kind: Kind, call: Call) -> Answer:
    """Verify a proof and return a token. The answer is the same for an identity that does not exist."""
    reader = Reader(call.body)
    identity_id = reader.text("identityId")
    reader.optional_text("organizationSlug")
    verify = kind.read(call, reader)
    reader.check()
    identity = call.directory.identities.get(identity_id)
    method = identity.methods.get(kind.slug) if identity else None
    if identity is None or method is None:
        configure = kind.configure or f"{kind.title} auth"
        raise Refusal(Conclusion.METHOD_MISSING, method=kind.title, settings=configure)
    verify(identity, method)
    call.identity = identity
    return show_token(call.directory.accept(identity, method))


def log_in_to_oci(call: Call) -> Answer:
    """Answer like the recorded server to a login that lacks the fields of OCI."""
    reader = Reader(call.body)
    reader.text("userOcid")
    reader.part("headers")
    reader.check()
    raise Refusal(Conclusion.METHOD_MISSING, method="OCI", settings="OCI auth")


def log_in_to_alibaba(call: Call) -> Answer:
    """Answer like the recorded server to a login that lacks the fields of Alibaba Cloud."""
    reader = Reader(call.body)
    for name, literal in (
        ("Action", "'GetCallerIdentity'"),
        ("Format", "'JSON'"),
        ("Version", ""),
        ("AccessKeyId", ""),
        ("SignatureMethod", "'HMAC-SHA1'"),
        ("Timestamp", ""),
        ("SignatureVersion", "'1.0'"),
        ("SignatureNonce", ""),
        ("Signature", ""),
    ):
        if name not in reader.source:
            facts = {"expected": literal or "string", "received": "undefined"}
            reader.issue("invalid_type", "Required", name, **facts)
    reader.check()
    raise Refusal(Conclusion.METHOD_MISSING, method="Alibaba Cloud", settings="Alibaba Cloud auth")


def routes_of(kind: Kind) -> tuple[Route, ...]:
    root, profiles = f"/api/v1/auth/{kind.slug}", kind.profiles
    settings = f"{root}/identities/{{identity}}"
    return (
        Route("POST", f"{root}/login", partial(log_in, kind), profiles, limit="login", needs_token=False),
        Route("POST", settings, partial(attach, kind), profiles),
        Route("GET", settings, partial(get, kind), profiles),
        Route("PATCH", settings, partial(change, kind), profiles),
        Route("DELETE", settings, partial(detach, kind), profiles),
    )


ROUTES = (
    *(route for kind in KINDS for route in routes_of(kind)),
    Route("POST", "/api/v1/auth/oci-auth/login", log_in_to_oci, CURRENT, limit="login", needs_token=False),
    Route("POST", "/api/v1/auth/alicloud-auth/login", log_in_to_alibaba, CURRENT, limit="login", needs_token=False),
)
