# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of universal auth and token auth: logins, settings, tokens, client secrets and lockouts."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from .calls import Answer, Call
from .identities import UNIVERSAL_AUTH, ClientSecret, Identity, Method, Token
from .profiles import ecmascript_trim
from .reading import Reader
from .refusals import Conclusion, Refusal
from .shapes import timestamp

TOKEN_AUTH = "token-auth"
ANY_ADDRESS = [{"type": "ipv4", "prefix": 0, "ipAddress": "0.0.0.0"}, {"type": "ipv6", "prefix": 0, "ipAddress": "::"}]


def log_in(call: Call) -> Answer:
    reader = Reader(call.body)
    client_id, client_secret = reader.text("clientId"), reader.text("clientSecret")
    reader.optional_text("organizationSlug")
    reader.check()
    token = call.directory.log_in(
        ecmascript_trim(client_id), ecmascript_trim(client_secret), locks_out=call.profile.locks_out
    )
    call.identity = token.identity
    return show_token(token)


def renew_token(call: Call) -> Answer:
    text = token_text(call)
    call.identity = call.directory.authenticate(text)
    return show_token(call.directory.known(text))


def revoke_token(call: Call) -> Answer:
    """Revoke a token. As on the recorded server, a second call succeeds too."""
    call.directory.known(token_text(call)).revoked = True
    return Answer({"message": "Successfully revoked access token"})


def token_text(call: Call) -> str:
    reader = Reader(call.body)
    text = reader.text("accessToken")
    reader.check()
    return text


def show_token(token: Token, **more: Any) -> Answer:
    return Answer(
        {
            "accessToken": token.text,
            "expiresIn": token.ttl,
            "accessTokenMaxTTL": token.max_ttl,
            "tokenType": "Bearer",
            **more,
        }
    )


def check_management(call: Call, action: str, project_id: str) -> None:
    """Refuse the call if it may not do this with identities of a project, or of the organisation if it is empty."""
    if call.identity is not None and call.identity.manages_identities:
        return
    if not project_id or not call.may(action, call.member(project_id), subject="identity"):
        call.forbid(action, "identity", project_id)


def find_managed(call: Call, action: str) -> Identity:
    """Return the identity named in the path, if the caller may manage it."""
    identity = call.directory.find(call.segments["identity"])
    check_management(call, action, identity.project)
    return identity


def find_with_universal_auth(call: Call, action: str) -> tuple[Identity, Method]:
    """Return a managed identity and its universal auth.

    Recorded for a read of the settings; assumed for the other routes.
    """
    identity = find_managed(call, action)
    if UNIVERSAL_AUTH not in identity.methods:
        raise Refusal(Conclusion.UNIVERSAL_AUTH_MISSING, identity=identity.id)
    return identity, identity.methods[UNIVERSAL_AUTH]


def read_method(call: Call, method: Method, reader: Reader | None = None) -> None:
    """Read the limits of tokens into a method, and check all that the reader has read."""
    reader = reader or Reader({} if call.body is None else call.body)
    method.token_ttl = reader.whole("accessTokenTTL", method.token_ttl)
    method.token_max_ttl = reader.whole("accessTokenMaxTTL", method.token_max_ttl)
    method.token_uses = reader.whole("accessTokenNumUsesLimit", method.token_uses)
    addresses = [reader.records(name) for name in ("clientSecretTrustedIps", "accessTokenTrustedIps")]
    given = [item.text("ipAddress") for items in addresses for item in items or ()]
    reader.check()
    if not {"0.0.0.0", "0.0.0.0/0", "::", "::/0"}.issuperset(given):
        raise Refusal(Conclusion.ADDRESS_PLAN)
    if method.token_ttl > method.token_max_ttl > 0:
        raise Refusal(Conclusion.TTL_OVER_MAXIMUM)


def show_limits(identity: Identity, method: Method) -> dict[str, Any]:
    """Return the fields that the settings of all login methods have."""
    return {
        "id": method.id,
        "accessTokenTTL": method.token_ttl,
        "accessTokenMaxTTL": method.token_max_ttl,
        "accessTokenNumUsesLimit": method.token_uses,
        "accessTokenTrustedIps": ANY_ADDRESS,
        "createdAt": timestamp(method.created),
        "updatedAt": timestamp(method.updated),
        "identityId": identity.id,
        "accessTokenPeriod": 0,
    }


def attach_universal_auth(call: Call) -> Answer:
    identity = find_managed(call, "create")
    if UNIVERSAL_AUTH in identity.methods:
        raise Refusal(Conclusion.METHOD_ATTACHED, method="universal auth")
    now = call.store.clock()
    method = Method(UNIVERSAL_AUTH, now, updated=now)
    read_method(call, method)
    identity.methods[UNIVERSAL_AUTH] = method
    return show_universal_auth(call, identity, method)


def get_universal_auth(call: Call) -> Answer:
    return show_universal_auth(call, *find_with_universal_auth(call, "read"))


def change_universal_auth(call: Call) -> Answer:
    identity, method = find_with_universal_auth(call, "edit")
    changed = replace(method)
    read_method(call, changed)
    # Existing tokens keep their limits and stay valid.
    method.token_ttl, method.token_max_ttl = changed.token_ttl, changed.token_max_ttl
    method.token_uses, method.updated = changed.token_uses, call.store.clock()
    return show_universal_auth(call, identity, method)


def detach_universal_auth(call: Call) -> Answer:
    """Take universal auth from an identity. Assumed: its tokens die at once, and a new one has another client id."""
    identity, method = find_with_universal_auth(call, "delete")
    answer = show_universal_auth(call, identity, method)
    call.directory.detach(identity, UNIVERSAL_AUTH)
    return answer


def show_universal_auth(call: Call, identity: Identity, method: Method) -> Answer:
    lockout = call.directory.lockout
    shown = {
        **show_limits(identity, method),
        "clientId": identity.client_id,
        "clientSecretTrustedIps": ANY_ADDRESS,
        "lockoutEnabled": lockout is not None,
        "lockoutThreshold": lockout.after if lockout else 3,
        "lockoutDurationSeconds": lockout.seconds if lockout else 300,
        "lockoutCounterResetSeconds": 30,
    }
    return Answer({"identityUniversalAuth": shown})


def create_client_secret(call: Call) -> Answer:
    identity, method = find_with_universal_auth(call, "create")
    reader = Reader({} if call.body is None else call.body)
    description, uses, ttl = reader.text("description", ""), reader.whole("numUsesLimit"), reader.whole("ttl")
    reader.check()
    now = call.store.clock()
    made = ClientSecret(secrets.token_hex(32), now, uses, ttl, description, updated=now)
    identity.client_secrets.append(made)
    return Answer({"clientSecret": made.text, "clientSecretData": show_client_secret(method, made)})


def list_client_secrets(call: Call) -> Answer:
    """List the client secrets of an identity. Assumed: revoked client secrets are listed too."""
    identity, method = find_with_universal_auth(call, "read")
    return Answer({"clientSecretData": [show_client_secret(method, one) for one in identity.client_secrets]})


def find_client_secret(call: Call, action: str) -> tuple[Method, ClientSecret]:
    identity, method = find_with_universal_auth(call, action)
    for one in identity.client_secrets:
        if one.id == call.segments["secret"]:
            return method, one
    raise Refusal(Conclusion.CLIENT_SECRET_MISSING, secret=call.segments["secret"])


def get_client_secret(call: Call) -> Answer:
    return Answer({"clientSecretData": show_client_secret(*find_client_secret(call, "read"))})


def revoke_client_secret(call: Call) -> Answer:
    """Revoke a client secret; the tokens of its logins die at once."""
    method, one = find_client_secret(call, "delete")
    one.revoked, one.updated = True, call.store.clock()
    return Answer({"clientSecretData": show_client_secret(method, one)})


def show_client_secret(method: Method, one: ClientSecret) -> dict[str, Any]:
    return {
        "id": one.id,
        "createdAt": timestamp(one.created),
        "updatedAt": timestamp(one.updated),
        "description": one.description,
        "clientSecretPrefix": one.text[:4],
        "clientSecretNumUses": one.uses,
        "clientSecretNumUsesLimit": one.most_uses,
        "clientSecretTTL": one.ttl,
        "identityUAId": method.id,
        "isClientSecretRevoked": one.revoked,
    }


def attach_token_auth(call: Call) -> Answer:
    identity = find_managed(call, "edit")
    if TOKEN_AUTH in identity.methods:
        raise Refusal(Conclusion.METHOD_ATTACHED, method="token auth")
    now = call.store.clock()
    method = Method(TOKEN_AUTH, now, updated=now)
    read_method(call, method)
    identity.methods[TOKEN_AUTH] = method
    return Answer({"identityTokenAuth": show_limits(identity, method)})


def create_token(call: Call) -> Answer:
    identity = find_managed(call, "create")
    reader = Reader({} if call.body is None else call.body)
    name = reader.text("name", "")
    reader.check()
    if TOKEN_AUTH not in identity.methods:
        raise Refusal(Conclusion.METHOD_MISSING, method="Token", settings="Token auth")
    token, now = call.directory.issue(identity, identity.methods[TOKEN_AUTH]), timestamp(call.store.clock())
    shown = {
        "id": token.id,
        "accessTokenTTL": token.ttl,
        "accessTokenMaxTTL": token.max_ttl,
        "accessTokenNumUses": token.uses,
        "accessTokenNumUsesLimit": token.most_uses,
        "accessTokenLastUsedAt": None,
        "accessTokenLastRenewedAt": None,
        "isAccessTokenRevoked": token.revoked,
        "identityUAClientSecretId": None,
        "identityId": identity.id,
        "createdAt": now,
        "updatedAt": now,
        "name": name,
        "authMethod": TOKEN_AUTH,
        "accessTokenPeriod": 0,
        "subOrganizationId": None,
    }
    return show_token(token, tokenData=shown)


def clear_lockouts(call: Call) -> Answer:
    _identity, method = find_with_universal_auth(call, "edit")
    locked = method.locked_until > call.store.clock()
    method.locked_until, method.bad_secrets = 0.0, 0
    return Answer({"deleted": int(locked)})


def who_am_i(call: Call) -> Answer:
    organisation = {"id": call.directory.organisation, "name": "Test", "slug": "test"}
    return Answer({"identityDetails": {"organization": organisation}})
