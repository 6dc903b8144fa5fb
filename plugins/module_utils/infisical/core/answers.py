# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The meaning of a server's response: the one table that maps its status and text to an error class."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from .errors import (
    Conflict,
    CredentialsRejected,
    Forbidden,
    IdentityMissing,
    InfisicalError,
    LockedOut,
    NotJson,
    RateLimited,
    Redirected,
    RequestInvalid,
    RouteMissing,
    ScopeMissing,
    SecretMissing,
    ServerFailed,
    TokenRejected,
    TooLarge,
)

_LONGEST_MESSAGE = 4096
"""Maximum number of characters of a server's message that are compared with the patterns below."""

BODY_LIMIT = 1024 * 1024
"""Maximum size in bytes of a request body. Real servers reject a larger one with 413 or, in some versions, 500."""


class Operation(str, Enum):
    """The kind of a request. The meaning of some responses depends on it."""

    LOGIN = "login"
    LIST = "list"
    NAMES = "names"
    GET = "get"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    BATCH = "batch"
    FOLDER = "folder"
    PROJECT = "project"
    IDENTITY = "identity"
    OTHER = "other"


@dataclass(frozen=True)
class Validator:
    """Identifies an earlier response, so that an unchanged one can be detected. Empty if that is not possible.

    `etag` is the server's ETag (RFC 9110, 8.8.3). `digest` is the SHA-256 of the body in hex, for servers without
    ETags. With either of them, a guess of the body can be verified, so they are as confidential as the secrets.
    """

    etag: str = field(default="", repr=False)
    digest: str = field(default="", repr=False)


@dataclass
class Answer:
    """An HTTP response: status, headers (names in any case) and body in bytes.

    `sent` is the size of the request body. `known` identifies the response to an earlier, equal request. An `unchanged`
    response is a success, and its body is not parsed. `validator` identifies this response. It is empty if `known` is
    None.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    operation: Operation = Operation.OTHER
    sent: int = 0
    known: Validator | None = None
    validator: Validator = field(init=False, default_factory=Validator)

    def __post_init__(self) -> None:
        if self.known is not None:
            self.validator = Validator(self.header("etag"), hashlib.sha256(self.body).hexdigest())

    def header(self, name: str) -> str:
        """Return the value of a header, ignoring the case of its name. Empty if the header is missing."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    @property
    def unchanged(self) -> bool:
        """True if the response equals the `known` one: it has status 304 or the same body."""
        if self.known is None:
            return False
        if self.status == 304:
            return bool(self.known.etag)
        return self.status == 200 and bool(self.known.digest) and self.known.digest == self.validator.digest

    @property
    def data(self) -> dict[str, Any] | None:
        """The body as a JSON object, or None if it is not one."""
        return self._parsed[0]

    @property
    def is_unicode(self) -> bool:
        """True if all text in the body is valid Unicode, or if it is not JSON."""
        return self._parsed[1]

    @cached_property
    def _parsed(self) -> tuple[dict[str, Any] | None, bool]:
        # A listing can be long. So it is parsed only once, and not kept in memory as bytes, text and objects together.
        body, self.body = self.body, b""
        try:
            text = body.decode("utf-8-sig", "surrogatepass")
            del body
            data = json.loads(text)
        except (ValueError, RecursionError):
            return None, True
        return data if isinstance(data, dict) else None, _is_unicode(text, data)

    def text(self) -> str:
        """Return the server's message: `error` and `message` in one line. Empty if the body is not a JSON object."""
        data = self.data or {}
        message = data.get("message")
        if isinstance(message, list):
            message = "; ".join(_issue(one) for one in message)
        text = ": ".join(part for part in map(_words, (data.get("error"), message)) if part)
        return text.encode("utf-8", "replace").decode("utf-8")


def _is_unicode(text: str, data: Any) -> bool:
    """Return whether all text in `data` is valid Unicode. JSON can contain lone surrogates, which cannot be stored."""
    escaped = "\\" in text and "\\u" in text  # a search for one character is ten times as fast
    if text.isascii() and not escaped:  # almost always
        return True
    try:
        (json.dumps(data, ensure_ascii=False) if escaped else text).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _words(part: Any) -> str:
    if isinstance(part, str):
        return part
    return json.dumps(part) if part else ""


def _issue(issue: Any) -> str:
    """Return one validation error, `{path: […], message}`, as `path: message`."""
    if not isinstance(issue, dict) or not isinstance(issue.get("message"), str):
        return json.dumps(issue)
    path = issue.get("path")
    place = ".".join(map(str, path)) if isinstance(path, list) else ""
    said = issue["message"].rstrip(".")
    return f"{place}: {said}" if place else str(said)


class _Row(NamedTuple):
    statuses: tuple[int, ...]
    text: str
    error: type[InfisicalError]
    operations: tuple[Operation, ...] = ()


_NAMED = (Operation.GET, Operation.UPDATE, Operation.DELETE)
_LOCATED = (Operation.CREATE, Operation.LIST, Operation.NAMES, Operation.BATCH)

# A pattern matches only at the beginning of the message, after the text of `error`. Elsewhere, the message may quote a
# name, which can contain any words. Most of these patterns have their own hints in _HINTS.
_AT = r"^([^:]+: )?"
_NOT_A_MEMBER = rf"^ProjectMembershipNotFound: |{_AT}identity not in project"
_OTHER_TYPE = rf"{_AT}the project is of type "
_PLAN = rf"{_AT}failed to .* due to plan .*restriction"
_REFERENCE = rf"{_AT}(failed to expand one or more secret references|.* which is referenced by secret )"
_SPENT = rf"{_AT}access denied due to (expired client secret|client secret usage limit reached)"
_TAG = rf"{_AT}tag (not found|with slug .* not found)"
_USED_UP = (
    rf"{_AT}((unable to use the )?access token:? number of uses limit reached"
    "|failed to authorize: token usage limit reached)"
)
_USERS_ONLY = r"^Forbidden access to "
_NO_SCOPE = rf"{_AT}missing project id or environment"
_NO_METHOD = rf"{_AT}[\w ]+ auth method not found for identity"
_NO_LDAP = rf"{_AT}route \w+:/api/v1/auth/ldap-auth/login not found"
_NO_LOGIN = rf"{_AT}route \w+:/api/v1/auth/[\w-]+/login not found"
_DENIED = rf"{_AT}access denied: "
_SUBJECT = f"{_DENIED}(subject not allowed|token has no subject)"
_AUDIENCE = f"{_DENIED}token (audience not allowed|has no audience)"
_ISSUER = f"{_DENIED}issuer mismatch"
_CLAIM = f"{_DENIED}(claim mismatch|token has no )"
_JWT_TIME = f"{_DENIED}.*jwt (expired|not active)"
_SIGNATURE = f"{_DENIED}.*invalid signature"
_NO_CERTIFICATE = rf"{_AT}missing tls certificate in header"
_OTHER_CA = f"{_DENIED}certificate not issued by the provided ca"
_CERTIFICATE_TIME = f"{_DENIED}certificate (has expired|not yet valid)"
_COMMON_NAME = f"{_DENIED}.*common name not allowed"
_AWS_TIME = f"{_DENIED}.*signature (expired|not yet current)"  # assumed, as the next one
_AWS_SIGNATURE = f"{_DENIED}.*signaturedoesnotmatch"
_AWS_PRINCIPAL = f"{_DENIED}aws (principal arn|account id) not allowed"

# The first row that matches decides. Sources: the API reference, a server from September 2024, responses recorded in
# July 2026, and the vendor's tests from October 2026. The sources disagree, so a row includes a text if the status
# alone would be ambiguous.
_PLAIN_ROWS = (
    _Row((429,), "", RateLimited),
    _Row((413,), "", TooLarge),
)
_JSON_ROWS = (
    _Row((401, 403), rf"{_AT}this identity auth method is temporarily locked", LockedOut),
    _Row((400, 403, 422), r"^Validation(Failure|Error)", RequestInvalid),
    _Row((400,), _PLAN, RequestInvalid),
    _Row((403,), rf"{_AT}invalid credentials", CredentialsRejected),
    _Row((404,), _NO_METHOD, CredentialsRejected),
    _Row((404,), r"^NotFound: ", CredentialsRejected, (Operation.LOGIN,)),
    _Row((400, 401, 403), "", CredentialsRejected, (Operation.LOGIN,)),
    _Row((400,), _OTHER_TYPE, RequestInvalid),
    _Row((401, 403), r"^PermissionDenied", Forbidden),
    _Row((403,), _NOT_A_MEMBER, Forbidden),
    _Row((403,), _REFERENCE, Forbidden),
    _Row((403,), _USERS_ONLY, Forbidden),
    _Row((403,), rf"^TokenError|{_AT}(failed to renew .*access token|you are not allowed to access this resource)",
         TokenRejected),
    _Row((400,), _USED_UP, TokenRejected),
    _Row((500,), rf"{_AT}(jwt (expired|malformed)|invalid (signature|token))", TokenRejected),
    _Row((401,), "", TokenRejected),
    _Row((403,), "", Forbidden),
    _Row((409,), "", Conflict),
    _Row((400,), rf"{_AT}(secret|folder) (with .* )?already exist", Conflict),
    _Row((400,), rf"{_AT}(failed to add .* auth to already configured|additional privilege with name .* exists)",
         Conflict, (Operation.IDENTITY,)),
    _Row((404,), rf"{_AT}route \S+ not found", RouteMissing),
    _Row((400, 404), _TAG, RequestInvalid),
    _Row((400, 404), rf"{_AT}(project|folder|environment) (not found|with .* not found)", ScopeMissing),
    _Row((400, 404), rf"{_AT}(secrets? (not found|not exist|does not exist|with .* not found)"
         r"|one or more secrets does not exist)", SecretMissing),
    _Row((404,), "", SecretMissing, _NAMED),
    _Row((404,), "", ScopeMissing, _LOCATED),
    _Row((404,), rf"{_AT}role (with .* )?not found", RequestInvalid, (Operation.IDENTITY,)),
    _Row((404,), r"^NotFound: ", IdentityMissing, (Operation.IDENTITY,)),
    # Servers from 2026 write `Not Found` for a missing route, and `NotFound` for everything else.
    _Row((404,), r"^NotFound: ", ScopeMissing),
    _Row((404,), "", RouteMissing),
)  # fmt: skip


def conclude(answer: Answer) -> type[InfisicalError] | None:
    """Return the error class for a response, or None for a success.

    A success has a 2xx status and a JSON object, or is unchanged.
    """
    if answer.unchanged:
        return None
    if 300 <= answer.status < 400:
        return Redirected
    data = answer.data
    rows = _PLAIN_ROWS if data is None else _PLAIN_ROWS + _JSON_ROWS
    text = answer.text()
    for row in rows:
        if answer.status not in row.statuses or (row.operations and answer.operation not in row.operations):
            continue
        # Patterns are compiled on first use, because reading a vault does not need them.
        if not row.text or _says(row.text, text):
            return row.error
    if answer.status >= 500:
        return TooLarge if answer.sent > BODY_LIMIT else ServerFailed
    if data is None:
        return NotJson
    if not 200 <= answer.status < 300:
        return RequestInvalid
    return None if answer.is_unicode else NotJson


def is_used_up(answer: Answer) -> bool:
    """Return whether a token was rejected because it has no uses left."""
    return _says(_USED_UP, answer.text())


def _says(pattern: str, text: str) -> bool:
    # In a long text, matching some of the patterns would take minutes.
    return re.search(pattern, text[:_LONGEST_MESSAGE], re.IGNORECASE) is not None


_PERMISSIONS: dict[Operation, str] = {
    Operation.LIST: "'Read Value' on 'Secrets' of this environment and path",
    Operation.NAMES: "'Describe Secret' (or 'Read Value' on older servers) on 'Secrets' of this environment and path",
    Operation.GET: "'Read Value' on 'Secrets' of this environment and path",
    Operation.CREATE: "'Create' on 'Secrets' of this environment and path",
    Operation.UPDATE: "'Modify' on 'Secrets' of this environment and path",
    Operation.DELETE: "'Remove' on 'Secrets' of this environment and path",
    Operation.BATCH: "'Create', 'Modify' or 'Remove' on 'Secrets' of this environment and path",
    Operation.FOLDER: "'Create', 'Modify' or 'Remove' on 'Secret Folders' of this environment and path",
    Operation.PROJECT: "membership in the project",
}


_REFUSED = re.compile(r"not allowed to (\w+) on ([\w-]+)")
_ACTIONS = {
    "describeSecret": "Describe Secret",
    "readValue": "Read Value",
    "create": "Create",
    "edit": "Modify",
    "delete": "Remove",
}
_SUBJECTS = {
    "secrets": "'Secrets' of this environment and path",
    "secret-folders": "'Secret Folders' of this environment and path",
    "secret-imports": "'Secret Imports' of this environment and path",
    "tags": "'Tags' of this project",
}


def _permission(operation: Operation, said: str) -> str:
    """Return the missing permission under its name in Infisical's web interface.

    If the server's message does not mention a permission, the usual one for the operation is returned.
    """
    named = _REFUSED.search(said)
    if named is None or named[1] not in _ACTIONS or named[2] not in _SUBJECTS:
        return _PERMISSIONS.get(operation, "a role that allows this")
    return f"'{_ACTIONS[named[1]]}' on {_SUBJECTS[named[2]]}"


# Hints for specific messages. For all other messages, the error class has the hint.
_HINTS = (
    (_NOT_A_MEMBER, "Add the machine identity to the project: in the project, under Access Control > Machine "
     "Identities. Or check project_id."),
    (_OTHER_TYPE, "Set project_id to a project of the type secret-manager."),
    (_PLAN, "Upgrade the plan of this Infisical, which does not include this feature, or omit the option."),
    (_REFERENCE, "Grant the machine identity 'Read Value' on the path of the referenced secret, or set "
     "expand_references: false."),
    (_SPENT, "Create a new client secret for this machine identity in Infisical, and set client_secret to it."),
    (_TAG, "Create the tag in the project, or correct the option tags."),
    (_USERS_ONLY, "Do this as a user: Infisical does not allow machine identities to do it."),
    (_NO_SCOPE, "Set project_id and environment."),
    (_NO_METHOD, "Add this auth method to the machine identity in Infisical, or set another auth_method or "
     "identity_id."),
    (_NO_LDAP, "Upgrade the plan of this Infisical, which does not include LDAP auth, or set another auth_method."),
    (_NO_LOGIN, "Set another auth_method: this version of Infisical does not have this login."),
    (_SUBJECT, "Set the subject in the identity's auth method in Infisical to the token's, or use another token."),
    (_AUDIENCE, "Add the token's audience to the identity's auth method in Infisical, or get a token for an audience "
     "that it allows."),
    (_ISSUER, "Set the issuer in the identity's auth method in Infisical to the token's, or use another token."),
    (_CLAIM, "Compare the required claims in the identity's auth method in Infisical with the token's claims."),
    (_JWT_TIME, "Provide a new token. If the token is new, correct the clock of this host or of the server."),
    (_SIGNATURE, "Add the public key of the token's issuer to the identity's auth method in Infisical, or use a token "
     "that the key in this method has signed."),
    (_NO_CERTIFICATE, "Let the proxy in front of Infisical request client certificates, and pass them on in the header "
     "that Infisical reads (IDENTITY_TLS_CERT_AUTH_CLIENT_CERTIFICATE_HEADER_KEY). Check that url leads to this "
     "proxy."),
    (_OTHER_CA, "Set client_cert to a certificate of the CA in the identity's TLS certificate auth, or change the CA "
     "there."),
    (_CERTIFICATE_TIME, "Renew client_cert, or correct the clock of the server."),
    (_COMMON_NAME, "Add the certificate's common name to the identity's TLS certificate auth in Infisical, or set "
     "client_cert to another certificate."),
    (_AWS_TIME, "Correct the clock of this host: AWS accepts signatures for a few minutes only."),
    (_AWS_SIGNATURE, "Correct AWS_SECRET_ACCESS_KEY, which does not belong to AWS_ACCESS_KEY_ID."),
    (_AWS_PRINCIPAL, "Add the AWS principal or its account to the identity's AWS auth in Infisical, or log in as "
     "another principal."),
)  # fmt: skip


def hint_for(error: type[InfisicalError], operation: Operation, said: str = "") -> str:
    """Return the hint for a failed request; `said` is the server's message."""
    for pattern, hint in _HINTS:
        if _says(pattern, said):
            return hint
    if error is Forbidden and operation is Operation.IDENTITY:
        return (
            "Give the role 'admin' to the machine identity that is logged in: in the project, under Access Control > "
            "Machine Identities."
        )
    if error is Forbidden:
        permission = _permission(operation, said)
        return (
            f"Grant {permission} to the machine identity in Infisical: in the project, under Access Control > "
            "Machine Identities, in the identity's role."
        )
    return error.hint
