# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of universal auth and token auth: logins, tokens, client secrets and lockouts."""

from __future__ import annotations

import secrets
from typing import Any

from .calls import Answer, Call
from .identities import ClientSecret, Identity, Token
from .profiles import ecmascript_trim
from .reading import Reader
from .refusals import Conclusion, Refusal
from .shapes import timestamp
from .store import new_id

ANY_ADDRESS = [{"type": "ipv4", "prefix": 0, "ipAddress": "0.0.0.0"}, {"type": "ipv6", "prefix": 0, "ipAddress": "::"}]


def log_in(call: Call) -> Answer:
    reader = Reader(call.body)
    client_id, client_secret = reader.text("clientId"), reader.text("clientSecret")
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
            "expiresIn": token.identity.token_ttl,
            "accessTokenMaxTTL": token.identity.token_max_ttl,
            "tokenType": "Bearer",
            **more,
        }
    )


def find_managed(call: Call, action: str) -> Identity:
    """Return the identity named in the path, if the caller may manage it."""
    if call.identity is None or not call.identity.manages_identities:
        call.forbid(action, "identity")
    wanted = call.segments["identity"]
    for identity in call.directory.identities.values():
        if identity.id == wanted:
            return identity
    raise Refusal(Conclusion.IDENTITY_MISSING, identity=wanted)


def create_client_secret(call: Call) -> Answer:
    identity = find_managed(call, "create")
    reader = Reader(call.body)
    description, uses, ttl = reader.text("description", ""), reader.whole("numUsesLimit"), reader.whole("ttl")
    reader.check()
    now = call.store.clock()
    made = ClientSecret(secrets.token_hex(32), now, uses, ttl, description, updated=now)
    identity.client_secrets.append(made)
    return Answer({"clientSecret": made.text, "clientSecretData": show_client_secret(identity, made)})


def list_client_secrets(call: Call) -> Answer:
    identity = find_managed(call, "read")
    return Answer({"clientSecretData": [show_client_secret(identity, one) for one in identity.client_secrets]})


def revoke_client_secret(call: Call) -> Answer:
    identity = find_managed(call, "delete")
    for one in identity.client_secrets:
        if one.id == call.segments["secret"]:
            one.revoked, one.updated = True, call.store.clock()
            return Answer({"clientSecretData": show_client_secret(identity, one)})
    raise Refusal(Conclusion.IDENTITY_MISSING, identity=call.segments["secret"])


def show_client_secret(identity: Identity, one: ClientSecret) -> dict[str, Any]:
    return {
        "id": one.id,
        "createdAt": timestamp(one.created),
        "updatedAt": timestamp(one.updated),
        "description": one.description,
        "clientSecretPrefix": one.text[:4],
        "clientSecretNumUses": one.uses,
        "clientSecretNumUsesLimit": one.most_uses,
        "clientSecretTTL": one.ttl,
        "identityUAId": identity.method_id,
        "isClientSecretRevoked": one.revoked,
    }


def attach_token_method(call: Call) -> Answer:
    """Turn on token auth for an identity. The limits of its tokens do not change."""
    identity, now = find_managed(call, "edit"), timestamp(call.store.clock())
    return Answer(
        {
            "identityTokenAuth": {
                "id": new_id(),
                "accessTokenTTL": identity.token_ttl,
                "accessTokenMaxTTL": identity.token_max_ttl,
                "accessTokenNumUsesLimit": identity.token_uses,
                "accessTokenTrustedIps": ANY_ADDRESS,
                "createdAt": now,
                "updatedAt": now,
                "identityId": identity.id,
                "accessTokenPeriod": 0,
            }
        }
    )


def create_token(call: Call) -> Answer:
    identity = find_managed(call, "create")
    reader = Reader(call.body)
    name = reader.text("name", "")
    reader.check()
    token, now = call.directory.issue(identity), timestamp(call.store.clock())
    shown = {
        "id": token.id,
        "accessTokenTTL": identity.token_ttl,
        "accessTokenMaxTTL": identity.token_max_ttl,
        "accessTokenNumUses": token.uses,
        "accessTokenNumUsesLimit": identity.token_uses,
        "accessTokenLastUsedAt": None,
        "accessTokenLastRenewedAt": None,
        "isAccessTokenRevoked": token.revoked,
        "identityUAClientSecretId": None,
        "identityId": identity.id,
        "createdAt": now,
        "updatedAt": now,
        "name": name,
        "authMethod": "token-auth",
        "accessTokenPeriod": 0,
        "subOrganizationId": None,
    }
    return show_token(token, tokenData=shown)


def show_method(call: Call) -> Answer:
    identity = find_managed(call, "read")
    lockout = call.directory.lockout
    return Answer(
        {
            "identityUniversalAuth": {
                "id": identity.method_id,
                "clientId": identity.client_id,
                "accessTokenTTL": identity.token_ttl,
                "accessTokenMaxTTL": identity.token_max_ttl,
                "accessTokenNumUsesLimit": identity.token_uses,
                "clientSecretTrustedIps": ANY_ADDRESS,
                "accessTokenTrustedIps": ANY_ADDRESS,
                "createdAt": timestamp(identity.created),
                "updatedAt": timestamp(identity.created),
                "identityId": identity.id,
                "accessTokenPeriod": 0,
                "lockoutEnabled": lockout is not None,
                "lockoutThreshold": lockout.after if lockout else 3,
                "lockoutDurationSeconds": lockout.seconds if lockout else 300,
                "lockoutCounterResetSeconds": 30,
            }
        }
    )


def clear_lockouts(call: Call) -> Answer:
    identity = find_managed(call, "edit")
    locked = identity.locked_until > call.store.clock()
    identity.locked_until, identity.bad_secrets = 0.0, 0
    return Answer({"deleted": int(locked)})


def who_am_i(call: Call) -> Answer:
    organisation = {"id": call.directory.organisation, "name": "Test", "slug": "test"}
    return Answer({"identityDetails": {"organization": organisation}})
