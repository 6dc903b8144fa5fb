# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine identities with their permissions, logins, lockouts and tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from .refusals import Conclusion, Refusal
from .store import new_id

ACTIONS = frozenset({"describe", "read", "create", "edit", "delete"})


@dataclass(frozen=True)
class Grant:
    """Actions allowed at paths or globs such as `/app/**`, or everywhere if there are no paths."""

    actions: frozenset[str]
    paths: tuple[str, ...] = ()

    def allows(self, action: str, path: str | None) -> bool:
        """Return whether the action is allowed at the path, or at any path if it is None."""
        return action in self.actions and (path is None or not self.paths or any(self.covers(path)))

    def covers(self, path: str) -> Iterator[bool]:
        for own in self.paths:
            # On a real server `/app/**` does not cover `/app` itself.
            yield path.startswith(own.removesuffix("**")) if own.endswith("/**") else path == own


ROLES: Mapping[str, tuple[Grant, ...]] = {
    "admin": (Grant(ACTIONS),),
    "viewer": (Grant(frozenset({"describe", "read"})),),
    "writer": (Grant(frozenset({"create", "edit"})),),
    "names-only": (Grant(frozenset({"describe"})),),
    # May read values only at a path that does not exist. Lists hide the values, while names-only is refused.
    "hidden": (Grant(frozenset({"describe"})), Grant(frozenset({"read"}), ("/readable",))),
    "no-access": (),
}


@dataclass(frozen=True)
class Lockout:
    after: int
    seconds: float


@dataclass
class ClientSecret:
    """A client secret of an identity. A limit or lifetime (in seconds) of 0 means unlimited."""

    text: str
    created: float
    most_uses: int = 0
    ttl: int = 0
    description: str = ""
    id: str = field(default_factory=new_id)
    uses: int = 0
    revoked: bool = False
    updated: float = 0.0


@dataclass
class Identity:
    name: str
    client_id: str
    client_secrets: list[ClientSecret]
    # Project id to grants. The identity is a member of exactly these projects.
    permissions: dict[str, tuple[Grant, ...]]
    token_ttl: int
    token_max_ttl: int
    token_uses: int
    # Whether the identity may manage the identities of the organisation.
    manages_identities: bool = False
    id: str = field(default_factory=new_id)
    method_id: str = field(default_factory=new_id)
    created: float = 0.0
    logins: int = 0
    bad_secrets: int = 0
    locked_until: float = 0.0

    def may(self, action: str, project: str, path: str | None = None) -> bool:
        """Return whether the identity may do this at a path of a project, or at any path if it is None."""
        return any(grant.allows(action, path) for grant in self.permissions.get(project, ()))


@dataclass
class Token:
    text: str
    identity: Identity
    created: float
    id: str = field(default_factory=new_id)
    uses: int = 0
    revoked: bool = False


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Directory:
    """All identities and tokens; times are seconds of the given clock."""

    clock: Callable[[], float]
    lockout: Lockout | None = None
    identities: dict[str, Identity] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    # The id of the organisation of all identities.
    organisation: str = field(default_factory=new_id)

    def add(self, identity: Identity) -> None:
        self.identities[identity.client_id] = identity

    def log_in(self, client_id: str, client_secret: str, locks_out: bool) -> Token:
        """Return a new token. A locked identity is refused before its client secret is checked."""
        identity = self.identities.get(client_id)
        if identity is None:
            raise Refusal(Conclusion.BAD_CREDENTIALS)
        lockout = self.lockout if locks_out else None
        if lockout and identity.locked_until > self.clock():
            raise Refusal(Conclusion.LOCKED_OUT)
        given = [one for one in identity.client_secrets if one.text == client_secret and not one.revoked]
        if not given:
            identity.bad_secrets += 1
            if lockout and identity.bad_secrets >= lockout.after:
                identity.locked_until = self.clock() + lockout.seconds
                identity.bad_secrets = 0
            raise Refusal(Conclusion.BAD_CREDENTIALS)
        if given[0].ttl and self.clock() >= given[0].created + given[0].ttl:
            raise Refusal(Conclusion.CLIENT_SECRET_EXPIRED)
        if given[0].most_uses and given[0].uses >= given[0].most_uses:
            raise Refusal(Conclusion.CLIENT_SECRET_USED_UP)
        identity.bad_secrets = 0
        identity.logins += 1
        given[0].uses += 1
        return self.issue(identity)

    def issue(self, identity: Identity, text: str | None = None) -> Token:
        """Issue a token for the identity: the given text, or a signed JWT."""
        token = Token(text or "", identity, self.clock())
        if text is None:
            token.text = self.sign(token)
        self.tokens[token.text] = token
        return token

    def sign(self, token: Token) -> str:
        claims = {
            "identityId": token.identity.id,
            "identityAccessTokenId": token.id,
            "authTokenType": "identityAccessToken",
            "iat": int(token.created),
        }
        if token.identity.token_max_ttl:
            claims["exp"] = int(token.created) + token.identity.token_max_ttl
        parts = ({"alg": "HS256", "typ": "JWT"}, claims)
        signed = ".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
        return f"{signed}.{self.signature(signed)}"

    def signature(self, signed: str) -> str:
        return encode(hmac.new(self.key, signed.encode(), hashlib.sha256).digest())

    def check_form(self, text: str) -> None:
        """Refuse a text that is not a JWT of this server, with checks in the order of a JWT library."""
        parts = text.split(".")
        if len(parts) != 3:
            raise Refusal(Conclusion.TOKEN_MALFORMED)
        try:
            for part in parts[:2]:
                json.loads(decode(part))
        except ValueError:
            raise Refusal(Conclusion.TOKEN_UNREADABLE) from None
        if not hmac.compare_digest(parts[2].encode(), self.signature(f"{parts[0]}.{parts[1]}").encode()):
            raise Refusal(Conclusion.TOKEN_FORGED)

    def authenticate(self, text: str) -> Identity:
        """Return the identity of a token and count one use. Raises Refusal."""
        token = self.known(text)
        identity, age = token.identity, self.clock() - token.created
        if identity.token_max_ttl and age >= identity.token_max_ttl:
            raise Refusal(Conclusion.TOKEN_EXPIRED)
        if token.revoked:
            raise Refusal(Conclusion.TOKEN_REVOKED)
        if identity.token_uses and token.uses >= identity.token_uses:
            raise Refusal(Conclusion.TOKEN_USED_UP)
        if identity.token_ttl and age >= identity.token_ttl:
            raise Refusal(Conclusion.TOKEN_OUTLIVED)
        token.uses += 1
        return identity

    def known(self, text: str) -> Token:
        """Return a token even if it is no longer valid. Raises Refusal if it was never issued."""
        if text not in self.tokens:
            self.check_form(text)
            raise Refusal(Conclusion.TOKEN_REVOKED)
        return self.tokens[text]

    def revoke_all(self) -> int:
        """Revoke all tokens and return how many were valid."""
        live = [token for token in self.tokens.values() if not token.revoked]
        for token in live:
            token.revoked = True
        return len(live)
