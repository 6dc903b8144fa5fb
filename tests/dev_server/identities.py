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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .grants import Grant, Privilege
from .proofs import Trust
from .refusals import Conclusion, Refusal
from .store import new_id

UNIVERSAL_AUTH = "universal-auth"
# The lifetime of a token in seconds, if neither a method nor a seed sets it.
DAYS_30 = 2_592_000


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
class Method:
    """A login method that is attached to an identity, with the limits of its tokens (seconds; 0 is unlimited)."""

    name: str
    created: float
    token_ttl: int = DAYS_30
    token_max_ttl: int = DAYS_30
    token_uses: int = 0
    # The settings of the method itself, as the API names them.
    settings: dict[str, Any] = field(default_factory=dict)
    updated: float = 0.0
    id: str = field(default_factory=new_id)
    bad_secrets: int = 0
    locked_until: float = 0.0


@dataclass
class Identity:
    name: str
    # Project id to grants of the identity's roles. The identity is a member of exactly these projects.
    permissions: dict[str, tuple[Grant, ...]]
    created: float
    # The project that the identity belongs to; empty for an identity of the organisation.
    project: str = ""
    roles: tuple[str, ...] = ()
    # Items with `key`, `value` and `id`.
    metadata: list[dict[str, str]] = field(default_factory=list)
    # Whether the identity is protected from deletion.
    protected: bool = False
    # Whether the identity may manage all identities of the organisation and their privileges in all projects.
    manages_identities: bool = False
    client_id: str = field(default_factory=new_id)
    client_secrets: list[ClientSecret] = field(default_factory=list)
    methods: dict[str, Method] = field(default_factory=dict)
    privileges: list[Privilege] = field(default_factory=list)
    id: str = field(default_factory=new_id)
    # The id of its membership and of its roles in its project.
    membership: str = field(default_factory=new_id)
    updated: float = 0.0
    logins: int = 0
    last_login: tuple[str, float] | None = None
    # Project id to the end of the cache and the cached grants.
    cached: dict[str, tuple[float, tuple[Grant, ...]]] = field(default_factory=dict)

    def grants(self, project: str, now: float, cache_seconds: float) -> tuple[Grant, ...]:
        """Return the grants in a project, from the cache if the last look-up is younger than `cache_seconds`."""
        end, grants = self.cached.get(project, (0.0, ()))
        if now >= end:
            own = (privilege for privilege in self.privileges if privilege.project == project)
            grants = self.permissions.get(project, ()) + tuple(grant for one in own for grant in one.grants())
            self.cached[project] = now + cache_seconds, grants
        return grants


@dataclass
class Token:
    """A token with the limits of its method at the time of its issue (seconds; 0 is unlimited)."""

    text: str
    identity: Identity
    method: Method
    created: float
    client_secret: ClientSecret | None = None
    id: str = field(default_factory=new_id)
    uses: int = 0
    revoked: bool = False

    def __post_init__(self) -> None:
        self.ttl, self.max_ttl = self.method.token_ttl, self.method.token_max_ttl
        self.most_uses = self.method.token_uses

    def refusal(self, now: float) -> Conclusion | None:
        """Return why a server refuses the token, or None if it is valid."""
        age = now - self.created
        if self.max_ttl and age >= self.max_ttl:
            return Conclusion.TOKEN_EXPIRED
        if self.client_secret and self.client_secret.revoked:
            return Conclusion.TOKEN_OF_REVOKED_CLIENT_SECRET
        # Assumed for a detached method, and for a deleted identity without a client secret.
        if self.revoked or self.identity.methods.get(self.method.name) is not self.method:
            return Conclusion.TOKEN_REVOKED
        if self.most_uses and self.uses >= self.most_uses:
            return Conclusion.TOKEN_USED_UP
        if self.ttl and age >= self.ttl:
            return Conclusion.TOKEN_OUTLIVED
        return None


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Directory:
    """All identities and tokens; times are seconds of the given clock."""

    clock: Callable[[], float]
    lockout: Lockout | None = None
    # The seconds that a server uses the permissions of an identity without looking for changes. Recorded: a new
    # grant was not visible at once, but 15 seconds later. Assumed: the cache begins with the identity's first request,
    # so an identity that sent none sees a new grant at once.
    cache_seconds: float = 15.0
    identities: dict[str, Identity] = field(default_factory=dict)
    by_client_id: dict[str, Identity] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    trust: Trust = field(default_factory=Trust)
    # The id of the organisation of all identities.
    organisation: str = field(default_factory=new_id)

    def add(self, identity: Identity) -> None:
        self.identities[identity.id] = self.by_client_id[identity.client_id] = identity

    def find(self, identity_id: str) -> Identity:
        if identity_id not in self.identities:
            raise Refusal(Conclusion.IDENTITY_MISSING, identity=identity_id)
        return self.identities[identity_id]

    def delete(self, identity: Identity) -> None:
        """Delete an identity; its tokens die at once."""
        del self.identities[identity.id], self.by_client_id[identity.client_id]
        self.detach(identity, *identity.methods)

    def detach(self, identity: Identity, *methods: str) -> None:
        """Take login methods from an identity; the tokens of these methods die at once."""
        for name in methods:
            del identity.methods[name]
            if name == UNIVERSAL_AUTH:
                for one in identity.client_secrets:
                    one.revoked = True

    def log_in(self, client_id: str, client_secret: str, locks_out: bool) -> Token:
        """Return a new token. A locked identity is refused before its client secret is checked."""
        identity = self.by_client_id.get(client_id)
        method = identity.methods.get(UNIVERSAL_AUTH) if identity else None
        if identity is None or method is None:
            raise Refusal(Conclusion.BAD_CREDENTIALS)
        lockout = self.lockout if locks_out else None
        if lockout and method.locked_until > self.clock():
            raise Refusal(Conclusion.LOCKED_OUT)
        given = [one for one in identity.client_secrets if one.text == client_secret and not one.revoked]
        if not given:
            self.count_bad_secret(method, lockout)
            raise Refusal(Conclusion.BAD_CREDENTIALS)
        if given[0].ttl and self.clock() >= given[0].created + given[0].ttl:
            raise Refusal(Conclusion.CLIENT_SECRET_EXPIRED)
        if given[0].most_uses and given[0].uses >= given[0].most_uses:
            raise Refusal(Conclusion.CLIENT_SECRET_USED_UP)
        given[0].uses += 1
        return self.accept(identity, method, given[0])

    def count_bad_secret(self, method: Method, lockout: Lockout | None) -> None:
        method.bad_secrets += 1
        if lockout and method.bad_secrets >= lockout.after:
            method.locked_until = self.clock() + lockout.seconds
            method.bad_secrets = 0

    def accept(self, identity: Identity, method: Method, client_secret: ClientSecret | None = None) -> Token:
        """Count a successful login and return its token."""
        method.bad_secrets = 0
        identity.logins += 1
        identity.last_login = method.name, self.clock()
        return self.issue(identity, method, client_secret)

    def issue(
        self, identity: Identity, method: Method, client_secret: ClientSecret | None = None, text: str | None = None
    ) -> Token:
        """Issue a token for the identity: the given text, or a signed JWT."""
        token = Token(text or "", identity, method, self.clock(), client_secret)
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
        if token.client_secret:
            claims["clientSecretId"] = token.client_secret.id
        if token.max_ttl:
            claims["exp"] = int(token.created) + token.max_ttl
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
        conclusion = token.refusal(self.clock())
        if conclusion is not None:
            raise Refusal(conclusion)
        token.uses += 1
        return token.identity

    def living(self) -> list[Token]:
        """Return the tokens that the server still accepts."""
        now = self.clock()
        return [token for token in self.tokens.values() if token.refusal(now) is None]

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
