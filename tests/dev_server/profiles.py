# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of server: what each can do, and its words for each conclusion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from .refusals import Conclusion

C = Conclusion

# Assumed: the recorded server on a paid plan.
PAID = frozenset({"2026-07-paid"})
CURRENT = PAID | {"2026-07", "2026-10"}
REAL = CURRENT | {"2024"}
ALL = REAL | {"reference"}

# The white space that ECMAScript's String.prototype.trim removes; Python's str.strip removes another set.
ECMASCRIPT_SPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


@dataclass(frozen=True)
class Wording:
    """Status, `error` and `message` of a conclusion; facts of the refusal replace names in braces."""

    status: int
    error: str
    message: str


@dataclass(frozen=True)
class NameRule:
    """The names that a server accepts for a new secret."""

    pattern: re.Pattern[str]
    message: str


@dataclass(frozen=True)
class Profile:
    """One kind of server."""

    name: str
    wordings: Mapping[Conclusion, Wording]
    name_rule: NameRule
    imports_parameter: str = "include_imports"
    # Whether a read includes imports and expands references by default.
    reads_all_by_default: bool = False
    created_status: int = 200
    # The body of a list of a missing folder or environment; None if the server refuses the request.
    list_of_nothing: Mapping[str, Any] | None = None
    always_lists_imports: bool = False
    deletes_by_query: bool = False
    trims_values: bool = True
    update_needs_value: bool = True
    batch_may_repeat: bool = False
    # Whether a name that occurs twice in a batch is written once, with its last value.
    batch_writes_a_name_once: bool = False
    batch_has_modes: bool = False
    # Whether a batch that deletes a name twice is refused for this reason.
    deletes_a_name_once: bool = False
    # Whether a list of the folders of a missing path is empty and not refused.
    lists_missing_folders: bool = False
    # Whether the creation of an existing folder is refused.
    refuses_known_folders: bool = False
    # Whether a read reports a missing environment as such, and not as a missing folder.
    names_missing_environments: bool = False
    has_project_types: bool = False
    # Whether an unknown or circular reference, or a chain that is too long, stays in the value unresolved.
    keeps_unknown_references: bool = False
    knows_tags: bool = True
    knows_metadata: bool = False
    knows_approvals: bool = False
    hides_values: bool = False
    locks_out: bool = False
    sends_limit_headers: bool = True
    lists_issues: bool = True
    names_requests: bool = False
    # The server's words for actions, if they differ from ours.
    action_words: Mapping[str, str] = field(default_factory=dict)
    folder_name: re.Pattern[str] = field(default=re.compile(r"[^/]+"))

    def wording(self, conclusion: Conclusion) -> Wording:
        """Return this server's words for a conclusion, or its words for the more general conclusion."""
        return self.wordings.get(conclusion) or self.wording(MORE_GENERAL[conclusion])

    def stored_value(self, value: str) -> str:
        """Return the value as this server stores it."""
        if not self.trims_values:
            return value
        return ecmascript_trim(value) + ("\n" if value.endswith("\n") else "")


MORE_GENERAL: Mapping[Conclusion, Conclusion] = {
    C.RENAMED_ONTO_ANOTHER: C.EXISTS,
    C.SECRET_MISSING_ON_UPDATE: C.SECRET_MISSING,
    C.MISSING_IN_BATCH_ON_DELETE: C.MISSING_IN_BATCH,
    C.NAME_TOO_LONG: C.SERVER_ERROR,
    C.FOLDER_MISSING_IN_BATCH: C.FOLDER_MISSING,
    C.LISTED_FOLDER_MISSING: C.FOLDER_MISSING,
    C.ENVIRONMENT_OF_FOLDERS_MISSING: C.FOLDER_MISSING,
    C.ENVIRONMENT_OF_NEW_FOLDER_MISSING: C.FOLDER_MISSING,
    C.FOLDER_TO_DELETE_MISSING: C.FOLDER_MISSING,
    C.CLIENT_SECRET_EXPIRED: C.BAD_CREDENTIALS,
    C.TOKEN_OF_REVOKED_CLIENT_SECRET: C.TOKEN_REVOKED,
    C.INVALID_READ: C.INVALID,
}


def ecmascript_trim(text: str) -> str:
    """Return the text without outer white space, as ECMAScript trims it."""
    return text.strip(ECMASCRIPT_SPACE)


def plain(status: int, message: str) -> Wording:
    """Return a wording with the standard phrase of the status as its `error`."""
    return Wording(status, HTTPStatus(status).phrase, message)


REFERENCE = Profile(
    name="reference",
    wordings={
        C.EXISTS: plain(409, "Secret already exists{listed}"),
        C.SECRET_MISSING: plain(404, "Secret {name} not found"),
        C.SECRET_MISSING_ON_DELETE: plain(404, "Secret {name} not found"),
        C.MISSING_IN_BATCH: plain(404, "Secret {missing} not found"),
        C.FOLDER_MISSING: plain(404, "Folder {path} not found in environment {environment}"),
        C.FOLDER_HOLDS_SOMETHING: plain(400, "Folder {name} is not empty"),
        C.PROJECT_MISSING: plain(404, "Project not found"),
        C.TAG_MISSING: plain(404, "Tag not found"),
        C.ROUTE_MISSING: plain(404, "Route {route} not found"),
        C.NOT_FOR_IDENTITIES: plain(403, "Forbidden"),
        C.TOKEN_MISSING: plain(401, "Token missing"),
        C.TOKEN_OUTLIVED: plain(401, "Token expired"),
        C.TOKEN_EXPIRED: plain(401, "Token expired"),
        C.TOKEN_REVOKED: plain(401, "Token invalid"),
        C.TOKEN_USED_UP: plain(401, "Token used up"),
        C.TOKEN_MALFORMED: plain(401, "Token invalid"),
        C.TOKEN_UNREADABLE: plain(401, "Token invalid"),
        C.TOKEN_FORGED: plain(401, "Token invalid"),
        C.BAD_CREDENTIALS: plain(401, "Invalid credentials"),
        C.CLIENT_SECRET_USED_UP: plain(401, "Invalid credentials"),
        C.LOCKED_OUT: plain(401, "Locked"),
        C.NOT_A_MEMBER: plain(403, "The identity has no access to the project"),
        C.FORBIDDEN: plain(403, "The identity has no permission to {action} {subject}"),
        C.INVALID: plain(400, "{summary}"),
        C.NOT_JSON: plain(400, "Body is not valid JSON"),
        C.NOT_DECLARED_JSON: plain(415, "Content-Type is not application/json"),
        C.TOO_LARGE: plain(413, "Request body is too large"),
        C.RATE_LIMITED: plain(429, "Rate limit exceeded"),
        C.SERVER_ERROR: plain(500, "Something went wrong"),
    },
    name_rule=NameRule(re.compile(r"[A-Z0-9_]+"), "Only A-Z, 0-9 and _ are allowed"),
    imports_parameter="includeImports",
    created_status=201,
    always_lists_imports=True,
    deletes_by_query=True,
    trims_values=False,
    knows_tags=False,
    sends_limit_headers=False,
    lists_issues=False,
)

Y2024 = Profile(
    name="2024",
    wordings={
        C.EXISTS: Wording(400, "BadRequest", "Secret already exist{listed}"),
        C.SECRET_MISSING: Wording(400, "BadRequest", "Secret not found"),
        C.SECRET_MISSING_ON_DELETE: Wording(404, "NotFound", "Secret not found"),
        # As on real servers, lists the existing names, although the message says the opposite.
        C.MISSING_IN_BATCH: Wording(400, "BadRequest", "Secret not exist: {present}"),
        C.FOLDER_MISSING: Wording(400, "BadRequest", "Folder not found for the given environment slug & secret path"),
        # Never used: the folder routes of this server delete every folder.
        C.FOLDER_HOLDS_SOMETHING: Wording(400, "BadRequest", "Folder is not empty"),
        C.PROJECT_MISSING: Wording(400, "BadRequest", "Project not found during bot lookup."),
        C.TAG_MISSING: Wording(400, "BadRequest", "Tag not found"),
        C.ROUTE_MISSING: plain(404, "Route {route} not found"),
        C.NOT_FOR_IDENTITIES: Wording(403, "UnauthorizedError", "You are not allowed to access this resource"),
        C.TOKEN_MISSING: Wording(403, "UnauthorizedError", "You are not allowed to access this resource"),
        C.TOKEN_OUTLIVED: Wording(403, "UnauthorizedError", "Failed to renew MI access token due to TTL expiration"),
        C.TOKEN_EXPIRED: plain(500, "jwt expired"),
        C.TOKEN_REVOKED: Wording(403, "UnauthorizedError", "You are not allowed to access this resource"),
        C.TOKEN_USED_UP: Wording(400, "BadRequest", "Access token number of uses limit reached"),
        C.TOKEN_MALFORMED: plain(500, "jwt malformed"),
        C.TOKEN_UNREADABLE: plain(500, "invalid token"),
        C.TOKEN_FORGED: plain(500, "invalid signature"),
        C.BAD_CREDENTIALS: Wording(403, "UnauthorizedError", "Invalid credentials"),
        C.CLIENT_SECRET_USED_UP: Wording(403, "UnauthorizedError", "Client secret number of uses limit reached"),
        C.LOCKED_OUT: Wording(403, "UnauthorizedError", "Invalid credentials"),
        C.NOT_A_MEMBER: Wording(403, "UnauthorizedError", "Identity not in project"),
        C.FORBIDDEN: Wording(401, "PermissionDenied", "You are not allowed to {action} on {subject}"),
        C.INVALID: Wording(403, "ValidationFailure", "{summary}"),
        C.NOT_JSON: plain(400, "Body is not valid JSON"),
        C.NOT_DECLARED_JSON: plain(415, "Content-Type is not application/json"),
        C.TOO_LARGE: Wording(413, "Payload Too Large", "Request body is too large"),
        C.RATE_LIMITED: plain(429, "Rate limit exceeded, retry in {seconds} seconds"),
        C.SERVER_ERROR: plain(500, "Something went wrong"),
    },
    name_rule=NameRule(re.compile(r".+", re.DOTALL), "Required"),
    # Only this `imports` key shows that the folder is missing; an existing folder has it only on request.
    list_of_nothing={"secrets": [], "imports": []},
    batch_may_repeat=True,
)

Y2026_07 = Profile(
    name="2026-07",
    # All recorded, except for the wordings marked as assumed.
    wordings={
        C.EXISTS: Wording(400, "BadRequest", "Secret already exists{listed}"),
        C.RENAMED_ONTO_ANOTHER: Wording(400, "BadRequest", "Secret with the new name already exists"),
        C.SECRET_MISSING: Wording(404, "NotFound", "Secret with name '{name}' not found"),
        C.SECRET_MISSING_ON_UPDATE: Wording(404, "NotFound", "Secret with name {name} not found"),
        C.SECRET_MISSING_ON_DELETE: Wording(404, "NotFound", "Secret not found"),
        C.MISSING_IN_BATCH: Wording(404, "NotFound", "Secret does not exist: {missing} in path {path}"),
        # As on real servers, lists the existing names, although the message says the opposite.
        C.MISSING_IN_BATCH_ON_DELETE: Wording(404, "NotFound", "One or more secrets does not exist: {present}"),
        C.NAME_TOO_LONG: Wording(500, "Create", "Something went wrong"),
        C.FOLDER_MISSING: Wording(
            404, "{operation}", "Folder with path '{path}' in environment with slug '{environment}' not found"
        ),
        C.FOLDER_MISSING_IN_BATCH: Wording(
            404, "NotFound", "Folder with path '{path}' in environment '{environment}' not found"
        ),
        C.LISTED_FOLDER_MISSING: Wording(
            404,
            "SecretPathNotFound",
            "Folder with path '{path}' in environment '{environment}' was not found. "
            "Please ensure the environment slug and secret path is correct.",
        ),
        C.ENVIRONMENT_OF_FOLDERS_MISSING: Wording(404, "NotFound", "Environment with slug '{environment}' not found"),
        C.ENVIRONMENT_OF_NEW_FOLDER_MISSING: Wording(
            404, "NotFound", "Environment with slug '{environment}' in project with ID '{project}' not found"
        ),
        C.FOLDER_EXISTS: Wording(400, "BadRequest", "Folder with name '{name}' already exists in path '{path}'"),
        C.FOLDER_TO_DELETE_MISSING: Wording(404, "NotFound", "Folder with ID '{folder}' not found"),
        C.FOLDER_HOLDS_SOMETHING: Wording(
            400,
            "deleteFolder",
            'Cannot delete folder "{name}" because it contains resources. '
            "Use forceDelete=true to delete it forcefully.",
        ),
        C.NO_SCOPE: Wording(400, "BadRequest", "Missing project id or environment"),
        C.PERSONAL: Wording(400, "BadRequest", "Must be user to create personal secret"),
        C.PROJECT_MISSING: Wording(
            404,
            "NotFound",
            "Project with ID '{project}' not found during bot lookup. "
            "Are you sure you are using the correct project ID?",
        ),
        C.PROJECT_SLUG_MISSING: Wording(404, "NotFound", "Project with slug '{slug}' not found"),
        # The message is observed, its `error` is assumed.
        C.OTHER_TYPE: Wording(
            400,
            "BadRequest",
            "The project is of type {type}. Operations of type secret-manager are not allowed.",
        ),
        C.TAG_MISSING: Wording(404, "NotFound", "Tag not found. Found "),
        C.TAG_SLUG_MISSING: Wording(404, "NotFound", "Tag with slug '{slug}' not found"),
        C.IDENTITY_MISSING: Wording(404, "NotFound", "Identity with id {identity} not found"),
        C.IDENTITY_PROTECTED: Wording(400, "BadRequest", "Identity has delete protection"),  # assumed
        C.UNIVERSAL_AUTH_MISSING: Wording(
            404, "NotFound", "Failed to find universal auth for identity with ID {identity}"
        ),
        # Recorded for logins; assumed for a token of token auth.
        C.METHOD_MISSING: Wording(
            404, "NotFound", "{method} auth method not found for identity, did you configure {settings}?"
        ),
        # Assumed, in the words of universal auth.
        C.METHOD_NOT_ATTACHED: Wording(404, "NotFound", "Failed to find {method} for identity with ID {identity}"),
        C.JWT_MALFORMED: Wording(401, "UnauthorizedError", "Access denied: Invalid JWT"),  # assumed
        # Recorded for jwt-auth; assumed for the other methods with a JWT.
        C.JWT_UNVERIFIED: Wording(
            401, "UnauthorizedError", "Access denied: JWT verification failed with all keys. Errors - {errors}"
        ),
        # Recorded for the audience and the subject of jwt-auth; assumed for everything else.
        C.PROOF_REFUSED: Wording(401, "UnauthorizedError", "Access denied: {what}"),
        C.PROOF_FORBIDDEN: Wording(403, "ForbiddenError", "Access denied: {what}"),
        C.CERTIFICATE_MISSING: Wording(400, "BadRequest", "Missing TLS certificate in header"),
        C.CERTIFICATE_REFUSED: Wording(401, "UnauthorizedError", "Access denied: {reason}."),  # assumed
        C.AWS_REFUSED: Wording(401, "UnauthorizedError", "Access denied: AWS STS: {reason}"),  # assumed
        # Recorded for universal auth; assumed for the other methods.
        C.METHOD_ATTACHED: Wording(400, "BadRequest", "Failed to add {method} to already configured identity"),
        C.CLIENT_SECRET_MISSING: Wording(404, "NotFound", "Client secret with ID '{secret}' not found"),  # assumed
        C.TTL_OVER_MAXIMUM: Wording(400, "BadRequest", "Access token TTL cannot be greater than max TTL"),  # assumed
        C.ADDRESS_PLAN: Wording(
            400,
            "BadRequest",
            "Failed to add IP access range to service token due to plan restriction. "
            "Upgrade plan to add IP access range.",
        ),
        C.ROLE_MISSING: Wording(404, "NotFound", "Role with slug '{role}' not found"),  # assumed
        C.ROLE_PLAN: Wording(
            400,
            "BadRequest",
            "Failed to create custom role due to plan RBAC restriction. "
            "Upgrade to Infisical Enterprise plan to create custom roles.",
        ),
        C.PRIVILEGE_EXISTS: Wording(400, "BadRequest", "Additional privilege with name {slug} exists"),
        # Assumed.
        C.PRIVILEGE_MISSING: Wording(404, "NotFound", "Identity privilege with {key} '{privilege}' not found"),
        C.PLAN: Wording(400, "BadRequest", "Failed to {action} due to plan restriction. Upgrade plan to {wanted}."),
        C.ROUTE_MISSING: plain(404, "Route {route} not found"),
        C.NOT_FOR_IDENTITIES: Wording(403, "Forbidden access to {url}", "You are not allowed to access this resource"),
        C.TOKEN_MISSING: Wording(401, "UnauthorizedError", "Token missing"),
        # Assumed for a token older than its TTL and younger than its maximum TTL.
        C.TOKEN_OUTLIVED: Wording(403, "TokenError", "Your token has expired. Please re-authenticate."),
        C.TOKEN_EXPIRED: Wording(403, "TokenError", "Your token has expired. Please re-authenticate."),
        C.TOKEN_REVOKED: Wording(401, "UnauthorizedError", "Failed to authorize: token has been revoked"),
        C.TOKEN_OF_REVOKED_CLIENT_SECRET: Wording(
            401, "UnauthorizedError", "Failed to authorize: client secret has been revoked"
        ),
        C.TOKEN_USED_UP: Wording(401, "UnauthorizedError", "Failed to authorize: token usage limit reached"),
        C.TOKEN_MALFORMED: Wording(
            403,
            "TokenError",
            "The provided access token is malformed. Please use a valid token or generate a new one and try again.",
        ),
        C.TOKEN_UNREADABLE: Wording(403, "TokenError", "invalid token"),  # assumed
        C.TOKEN_FORGED: Wording(403, "TokenError", "invalid signature"),
        C.BAD_CREDENTIALS: Wording(401, "UnauthorizedError", "Invalid credentials"),
        C.CLIENT_SECRET_EXPIRED: Wording(401, "UnauthorizedError", "Access denied due to expired client secret"),
        C.CLIENT_SECRET_USED_UP: Wording(
            401, "UnauthorizedError", "Access denied due to client secret usage limit reached"
        ),
        C.LOCKED_OUT: Wording(
            401,
            "UnauthorizedError",
            "This identity auth method is temporarily locked, please try again later",
        ),
        C.NOT_A_MEMBER: Wording(
            403,
            "ProjectMembershipNotFound",
            "You are not a member of this project with ID {project}. "
            "Please assign this identity to the project with the appropriate permissions, then try again.",
        ),
        C.FORBIDDEN: Wording(403, "PermissionDenied", "You are not allowed to {action} on {subject}"),
        C.VALUE_FORBIDDEN: Wording(
            403,
            "ForbiddenReadSecretError",
            "You do not have permission to view secret value on secret with name '{name}'",
        ),
        # The message is from the vendor's tests of October 2026; assumed for this version.
        C.REFERENCE_FORBIDDEN: Wording(
            403,
            "ForbiddenError",
            "Failed to expand one or more secret references: you do not have permission to read secret '{reference}', "
            "which is referenced by secret '{name}'",
        ),
        C.INVALID: Wording(422, "ValidationFailure", "{summary}"),
        C.NOT_JSON: Wording(500, "InternalServerError", "Something went wrong"),
        C.NOT_DECLARED_JSON: plain(
            415, "Content-Type is not application/json"
        ),  # Assumed. Only the size of the request distinguishes this answer from a server error.
        C.TOO_LARGE: Wording(500, "InternalServerError", "Something went wrong"),
        C.RATE_LIMITED: plain(
            429, "Rate limit exceeded, retry in {seconds} seconds"
        ),  # assumed: only the cloud has a limit
        C.SERVER_ERROR: Wording(500, "InternalServerError", "Something went wrong"),
    },
    name_rule=NameRule(re.compile(r"[^:/]+"), "Secret name cannot contain colon or forward slash."),
    imports_parameter="includeImports",
    reads_all_by_default=True,
    always_lists_imports=True,
    update_needs_value=False,
    batch_may_repeat=True,
    batch_has_modes=True,
    batch_writes_a_name_once=True,
    lists_missing_folders=True,
    refuses_known_folders=True,
    has_project_types=True,
    knows_metadata=True,
    knows_approvals=True,
    hides_values=True,
    locks_out=True,
    names_requests=True,
    action_words={"describe": "describeSecret", "read": "readValue"},
    folder_name=re.compile(r"[A-Za-z0-9_-]+"),
)

# From the vendor's own tests of October 2026, not observed. Everything else is assumed unchanged.
Y2026_10 = replace(
    Y2026_07,
    name="2026-10",
    wordings={
        **Y2026_07.wordings,
        C.EXISTS: Wording(
            400, "BadRequest", "Secret already exists: {quoted} in path '{path}' of environment '{environment}'"
        ),
        C.MISSING_IN_BATCH_ON_DELETE: Wording(404, "NotFound", "One or more secrets does not exist: {missing}"),
        C.TWICE_IN_BATCH: Wording(400, "BadRequest", "Each secret can only be deleted once per request: {names}"),
        C.ENVIRONMENT_MISSING: Wording(404, "NotFound", "Environment not found"),
        **dict.fromkeys(
            (C.TOKEN_MISSING, C.TOKEN_REVOKED, C.TOKEN_OF_REVOKED_CLIENT_SECRET, C.TOKEN_USED_UP),
            Wording(401, "UnauthorizedError", "You are not allowed to access this resource"),
        ),
        C.INVALID_READ: Wording(400, "ValidationError", "{summary}"),
    },
    keeps_unknown_references=True,
    deletes_a_name_once=True,
    names_missing_environments=True,
)

Y2026_07_PAID = replace(Y2026_07, name="2026-07-paid")

PROFILES: Mapping[str, Profile] = {
    profile.name: profile for profile in (REFERENCE, Y2024, Y2026_07, Y2026_07_PAID, Y2026_10)
}
