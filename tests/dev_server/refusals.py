# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reasons to refuse a request; a profile has the words for each."""

from __future__ import annotations

import enum
from typing import Any


class Conclusion(enum.Enum):
    """A reason to refuse a request; `profiles.py` has the words for each kind of server."""

    EXISTS = "already exists"
    SECRET_MISSING = "secret missing"
    RENAMED_ONTO_ANOTHER = "rename onto an existing name"
    SECRET_MISSING_ON_UPDATE = "secret missing on update"
    SECRET_MISSING_ON_DELETE = "secret missing on delete"
    MISSING_IN_BATCH = "missing in a batch"
    MISSING_IN_BATCH_ON_DELETE = "missing in a batch on delete"
    TWICE_IN_BATCH = "named twice in a batch"
    NAME_TOO_LONG = "name of more than 500 in a batch"
    FOLDER_MISSING = "folder or environment missing"
    FOLDER_MISSING_IN_BATCH = "folder or environment missing in an update by batch"
    LISTED_FOLDER_MISSING = "folder or environment of a list missing"
    ENVIRONMENT_MISSING = "environment missing, where a server says so"
    ENVIRONMENT_OF_FOLDERS_MISSING = "environment of a list of folders missing"
    ENVIRONMENT_OF_NEW_FOLDER_MISSING = "environment of a new folder missing"
    FOLDER_EXISTS = "folder exists"
    FOLDER_TO_DELETE_MISSING = "folder to delete missing"
    FOLDER_HOLDS_SOMETHING = "folder holds something"
    NO_SCOPE = "no environment or project given"
    PERSONAL = "personal secret of a machine identity"
    PROJECT_SLUG_MISSING = "no project of that slug"
    TAG_SLUG_MISSING = "no tag of that slug"
    IDENTITY_MISSING = "no identity of that id"
    IDENTITY_PROTECTED = "identity with delete protection"
    UNIVERSAL_AUTH_MISSING = "identity without universal auth"
    METHOD_MISSING = "identity without the method of the login"
    METHOD_NOT_ATTACHED = "settings of a method that is not attached"
    JWT_MALFORMED = "JWT of another form"
    JWT_UNVERIFIED = "JWT with a bad signature, or expired"
    PROOF_REFUSED = "valid proof that the settings do not allow"
    PROOF_FORBIDDEN = "valid proof of another subject or issuer"
    CERTIFICATE_MISSING = "no client certificate"
    CERTIFICATE_REFUSED = "client certificate not allowed"
    AWS_REFUSED = "signed request to AWS not valid"
    METHOD_ATTACHED = "login method attached already"
    CLIENT_SECRET_MISSING = "no client secret of that id"
    TTL_OVER_MAXIMUM = "TTL of tokens above their maximum TTL"
    ADDRESS_PLAN = "plan without trusted addresses"
    ROLE_MISSING = "no role of that slug"
    ROLE_PLAN = "plan without custom roles"
    PRIVILEGE_EXISTS = "privilege of that slug exists"
    PRIVILEGE_MISSING = "no privilege of that id or slug"
    OTHER_TYPE = "project of another type"
    PLAN = "plan does not have it"
    PROJECT_MISSING = "project missing"
    TAG_MISSING = "tag missing"
    ROUTE_MISSING = "no such route"
    NOT_FOR_IDENTITIES = "not for machine identities"
    TOKEN_MISSING = "token missing"
    TOKEN_OUTLIVED = "token older than its TTL"
    TOKEN_EXPIRED = "token older than its maximum TTL"
    TOKEN_REVOKED = "token revoked"
    TOKEN_OF_REVOKED_CLIENT_SECRET = "client secret of the token revoked"
    TOKEN_USED_UP = "token used up"
    TOKEN_MALFORMED = "token malformed"
    TOKEN_UNREADABLE = "token unreadable"
    TOKEN_FORGED = "token with a wrong signature"
    BAD_CREDENTIALS = "bad client id or secret"
    CLIENT_SECRET_EXPIRED = "client secret expired"
    CLIENT_SECRET_USED_UP = "client secret used up"
    LOCKED_OUT = "locked out"
    NOT_A_MEMBER = "identity not in the project"
    FORBIDDEN = "no permission"
    VALUE_FORBIDDEN = "may see the secret, not its value"
    REFERENCE_FORBIDDEN = "may not read what a secret refers to"
    INVALID = "invalid request"
    INVALID_READ = "invalid request to read secrets"
    NOT_JSON = "body is not JSON"
    NOT_DECLARED_JSON = "body of another media type"
    TOO_LARGE = "too large"
    RATE_LIMITED = "rate limited"
    SERVER_ERROR = "server error"


class Refusal(Exception):
    """A refused request: its conclusion and the facts for its message, which are never values of secrets."""

    def __init__(self, conclusion: Conclusion, **facts: Any) -> None:
        super().__init__(conclusion.value)
        self.conclusion = conclusion
        self.facts = facts


class Issues(Refusal):
    """An invalid request, with one issue for each invalid parameter."""

    def __init__(self, issues: list[dict[str, Any]], conclusion: Conclusion) -> None:
        summary = "; ".join(f"{'.'.join(map(str, issue['path']))}: {issue['message']}" for issue in issues)
        super().__init__(conclusion, issues=issues, summary=summary)
