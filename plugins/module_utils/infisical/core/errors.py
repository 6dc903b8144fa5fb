# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an answer means: the exceptions, and the one table from (status, text) to a conclusion."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

_LONGEST_MESSAGE = 4096
"""Characters of a server's message that are searched for what it means."""

BODY_LIMIT = 1024 * 1024
"""The largest request body in bytes that real servers take; a larger one is 413 or, on some, 500."""


class Conclusion(str, Enum):
    """What went wrong, in one word. Part of the modules' return values, so the names are kept."""

    CONFIGURATION = "configuration"
    MISSING_LIBRARY = "missing_library"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    REDIRECTED = "redirected"
    NOT_JSON = "not_json"
    CONFLICT = "conflict"
    SECRET_MISSING = "secret_missing"
    SCOPE_MISSING = "scope_missing"
    ROUTE_MISSING = "route_missing"
    TOKEN_REJECTED = "token_rejected"
    CREDENTIALS_REJECTED = "credentials_rejected"
    LOCKED_OUT = "locked_out"
    FORBIDDEN = "forbidden"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    HIDDEN = "hidden"
    AMBIGUOUS = "ambiguous"
    GUARD = "guard"
    BUSY = "busy"
    PARTIAL = "partial"
    VAULT_MISSING = "vault_missing"
    WRONG_KEY = "wrong_key"
    KEY_LOST = "key_lost"
    VAULT_DAMAGED = "vault_damaged"
    NOT_A_VAULT = "not_a_vault"
    NEWER_VAULT = "newer_vault"
    OLDER_GENERATION = "older_generation"
    UNSAFE_FILE = "unsafe_file"
    STORAGE = "storage"


class InfisicalError(Exception):
    """Something a person can act on: `str()` says what was tried, what came back and what to do, never a value.

    `conclusion` is the error in one word; `status` the HTTP status where there was an answer; `uncertain` is true
    where a write may have taken effect although no answer says so, and `wait` then the seconds to let pass before
    looking. `after_loss` is true where the same request was sent before without an answer, and may have taken effect.
    `details` is what a report holds beside the message: names and counts of what was done before the error. `problem`
    is the message without `advice`, which is for when nothing more is tried.
    """

    def __init__(
        self,
        conclusion: Conclusion,
        problem: str,
        *,
        advice: str = "",
        status: int | None = None,
        uncertain: bool = False,
    ) -> None:
        super().__init__(f"{problem} {advice}" if advice else problem)
        self.problem = problem
        self.conclusion = conclusion
        self.status = status
        self.uncertain = uncertain
        self.wait = 0.0
        self.after_loss = False
        self.details: dict[str, Any] = {}


class ConfigurationError(InfisicalError):
    """An option is missing or wrong; `option` is its name."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(Conclusion.CONFIGURATION, f"{option}: {problem}")
        self.option = option


class MissingLibrary(InfisicalError):
    """A Python library is not installed for the interpreter `python`, by default the one that runs this."""

    def __init__(self, library: str, python: str = sys.executable) -> None:
        super().__init__(
            Conclusion.MISSING_LIBRARY,
            f"The Python library '{library}' is missing for {python}. Install it there, from the "
            f"distribution (package python3-{library}) or with: {python} -m pip install {library}",
        )
        self.library = library


@contextlib.contextmanager
def after_writing(done: str, **details: Any) -> Iterator[None]:
    """Let an InfisicalError from inside begin with `done`: what has been written before it, in whole sentences.

    For the second of two writes: whoever reads its error must learn of the first. `details` are added to its own, with
    `changed` true. An empty `done` is for when nothing has been written yet: the error stays as it is.
    """
    try:
        yield
    except InfisicalError as error:
        if not done:
            raise
        told = InfisicalError(error.conclusion, f"{done} {error}", status=error.status)
        told.details = {"changed": True, **error.details, **details}
        raise told from None


class Operation(str, Enum):
    """What a request wanted. Some answers mean different things for different operations."""

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
    OTHER = "other"


@dataclass(frozen=True)
class Validator:
    """What tells whether an answer is still the one that was read before; empty where that cannot be told.

    `etag` is the server's (RFC 9110, 8.8.3), `digest` the SHA-256 of the body in hex, for servers that give no ETag.
    Both let a guessed body be tested, so they are kept as the secrets are.
    """

    etag: str = field(default="", repr=False)
    digest: str = field(default="", repr=False)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer: status, headers (names in any case), body in bytes; `sent` is the size of the request's body.

    `known` is what was asked for again: an answer that is `unchanged` is a success, and its body is not looked into.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    operation: Operation = Operation.OTHER
    sent: int = 0
    known: Validator | None = None

    def header(self, name: str) -> str:
        """A header's value, whatever the case of its name; empty where there is none."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    @cached_property
    def validator(self) -> Validator:
        """What to ask with for this answer again."""
        return Validator(self.header("etag"), hashlib.sha256(self.body).hexdigest())

    @property
    def unchanged(self) -> bool:
        """Whether this is what is `known` already: the server says so (304), or it is the same body once more."""
        if self.known is None:
            return False
        if self.status == 304:
            return bool(self.known.etag)
        return self.status == 200 and bool(self.known.digest) and self.known.digest == self.validator.digest

    @cached_property
    def data(self) -> dict[str, Any] | None:
        """The body as a JSON object, or None where it is none; parsed once, because a listing is long."""
        try:
            data = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return data if isinstance(data, dict) else None

    def text(self) -> str:
        """The server's own words: `error` and `message`, in one line; empty where the body is not JSON."""
        data = self.data or {}
        message = data.get("message")
        if isinstance(message, list):
            message = "; ".join(_issue(one) for one in message)
        text = ": ".join(part for part in map(_words, (data.get("error"), message)) if part)
        return text.encode("utf-8", "replace").decode("utf-8")

    @property
    def is_unicode(self) -> bool:
        """Whether all text in the body is; JSON can hold halves of characters, which nothing can store."""
        if b"\\u" not in self.body and b"\xed" not in self.body:  # as nearly always
            return True
        try:
            json.dumps(self.data, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            return False
        return True


def _words(part: Any) -> str:
    if isinstance(part, str):
        return part
    return json.dumps(part) if part else ""


def _issue(issue: Any) -> str:
    """One of the things that a validation found wrong, `{path: […], message}`, as `path: message`."""
    if not isinstance(issue, dict) or not isinstance(issue.get("message"), str):
        return json.dumps(issue)
    path = issue.get("path")
    place = ".".join(map(str, path)) if isinstance(path, list) else ""
    said = issue["message"].rstrip(".")
    return f"{place}: {said}" if place else str(said)


class _Row(NamedTuple):
    statuses: tuple[int, ...]
    text: str
    operations: tuple[Operation, ...]
    conclusion: Conclusion


def _row(statuses: tuple[int, ...], text: str, conclusion: Conclusion, *operations: Operation) -> _Row:
    return _Row(statuses, text, operations, conclusion)


_NAMED = (Operation.GET, Operation.UPDATE, Operation.DELETE)

# A pattern begins where the message begins, after the word of `error`, because a name that the message quotes may hold
# any words. These have a hint of their own below.
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
_NO_METHOD = rf"{_AT}\w+ auth method not found for identity"

# Read from the top, the first row that fits decides. Sources: the API reference, a server of September 2024, recorded
# answers of July 2026, and the vendor's tests of October 2026; they disagree, so a row names the text if the status
# alone would mislead.
_PLAIN_ROWS = (
    _row((429,), "", Conclusion.RATE_LIMITED),
    _row((413,), "", Conclusion.TOO_LARGE),
)
_JSON_ROWS = (
    _row((401, 403), rf"{_AT}this identity auth method is temporarily locked", Conclusion.LOCKED_OUT),
    _row((400, 403, 422), r"^Validation(Failure|Error)", Conclusion.INVALID),
    _row((400,), _PLAN, Conclusion.INVALID),
    _row((403,), rf"{_AT}invalid credentials", Conclusion.CREDENTIALS_REJECTED),
    _row((404,), _NO_METHOD, Conclusion.CREDENTIALS_REJECTED),
    _row((400, 401, 403), "", Conclusion.CREDENTIALS_REJECTED, Operation.LOGIN),
    _row((400,), _OTHER_TYPE, Conclusion.INVALID),
    _row((401, 403), r"^PermissionDenied", Conclusion.FORBIDDEN),
    _row((403,), _NOT_A_MEMBER, Conclusion.FORBIDDEN),
    _row((403,), _REFERENCE, Conclusion.FORBIDDEN),
    _row((403,), _USERS_ONLY, Conclusion.FORBIDDEN),
    _row((403,), rf"^TokenError|{_AT}(failed to renew .*access token|you are not allowed to access this resource)",
         Conclusion.TOKEN_REJECTED),
    _row((400,), _USED_UP, Conclusion.TOKEN_REJECTED),
    _row((500,), rf"{_AT}(jwt (expired|malformed)|invalid (signature|token))", Conclusion.TOKEN_REJECTED),
    _row((401,), "", Conclusion.TOKEN_REJECTED),
    _row((403,), "", Conclusion.FORBIDDEN),
    _row((409,), "", Conclusion.CONFLICT),
    _row((400,), rf"{_AT}(secret|folder) (with .* )?already exist", Conclusion.CONFLICT),
    _row((404,), rf"{_AT}route \S+ not found", Conclusion.ROUTE_MISSING),
    _row((400, 404), _TAG, Conclusion.INVALID),
    _row((400, 404), rf"{_AT}(project|folder|environment) (not found|with .* not found)", Conclusion.SCOPE_MISSING),
    _row((400, 404), rf"{_AT}(secrets? (not found|not exist|does not exist|with .* not found)"
         r"|one or more secrets does not exist)", Conclusion.SECRET_MISSING),
    _row((404,), "", Conclusion.SECRET_MISSING, *_NAMED),
    _row((404,), "", Conclusion.SCOPE_MISSING, Operation.CREATE, Operation.LIST, Operation.NAMES, Operation.BATCH),
    # Servers of 2026 write `Not Found` of a route, and `NotFound` of all else.
    _row((404,), r"^NotFound: ", Conclusion.SCOPE_MISSING),
    _row((404,), "", Conclusion.ROUTE_MISSING),
)  # fmt: skip


def conclude(answer: Answer) -> Conclusion | None:
    """What an answer means; None where it is the success that was asked for (2xx with a JSON object, or unchanged)."""
    if answer.unchanged:
        return None
    if 300 <= answer.status < 400:
        return Conclusion.REDIRECTED
    data = answer.data
    rows = _PLAIN_ROWS if data is None else _PLAIN_ROWS + _JSON_ROWS
    text = answer.text()
    for row in rows:
        if answer.status not in row.statuses or (row.operations and answer.operation not in row.operations):
            continue
        # Compiled when first needed: whoever only reads a vault needs none of them.
        if not row.text or _says(row.text, text):
            return row.conclusion
    if answer.status >= 500:
        return Conclusion.TOO_LARGE if answer.sent > BODY_LIMIT else Conclusion.SERVER_ERROR
    if data is None:
        return Conclusion.NOT_JSON
    if not 200 <= answer.status < 300:
        return Conclusion.INVALID
    return None if answer.is_unicode else Conclusion.NOT_JSON


def is_used_up(answer: Answer) -> bool:
    """Whether a token was rejected because it has no uses left."""
    return _says(_USED_UP, answer.text())


def _says(pattern: str, text: str) -> bool:
    # Messages are short. In a long text some patterns would search for minutes.
    return re.search(pattern, text[:_LONGEST_MESSAGE], re.IGNORECASE) is not None


_REMEDIES: dict[Conclusion, str] = {
    Conclusion.REDIRECTED: "Redirects are not followed, because they would carry the token elsewhere: set url to the "
    "address that the server itself uses.",
    Conclusion.NOT_JSON: "What answered does not speak the Infisical API, or a proxy stands in front of it: check url "
    "and proxy.",
    Conclusion.CONFLICT: "It already exists, because somebody else wrote it at the same time: run it again.",
    Conclusion.SECRET_MISSING: "Check its name (names are case-sensitive) and secret_path.",
    Conclusion.SCOPE_MISSING: "Check project_id, environment and secret_path.",
    Conclusion.ROUTE_MISSING: "The server does not have this route: check url, or the server is too old for this.",
    Conclusion.TOKEN_REJECTED: "The access token is expired, revoked or used up: give a new token, or client_id and "
    "client_secret, with which a new one is fetched.",
    Conclusion.CREDENTIALS_REJECTED: "Check client_id and client_secret. They are not tried again: some servers lock "
    "the identity for everybody after three failures.",
    Conclusion.LOCKED_OUT: "Too many logins with a wrong client secret, from whichever host, have locked this "
    "identity: correct the client_secret that is wrong, and wait (5 minutes by default) or lift the lock-out in "
    "Infisical under the identity's universal auth.",
    Conclusion.INVALID: "The server refuses the request as it is.",
    Conclusion.TOO_LARGE: "The server takes at most 1 MiB a request, and a little less than that for a value.",
    # Said before the one repeat, with the wait for it, and after it too.
    Conclusion.RATE_LIMITED: "The server's rate limit is reached. It is asked twice at most: send fewer requests at "
    "once, or set a larger rate_limit_wait.",
    Conclusion.SERVER_ERROR: "The server failed. It is asked twice at most, server_error_wait apart: its own log says "
    "why.",
}

_PERMISSIONS: dict[Operation, str] = {
    Operation.LIST: "'Read Value' on 'Secrets' of this environment and path",
    Operation.NAMES: "'Describe Secret', or 'Read Value' where a server has not that, on 'Secrets' of this environment "
    "and path",
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
    """The permission that the server names, in the words of its user interface, else the one that is usually needed."""
    named = _REFUSED.search(said)
    if named is None or named[1] not in _ACTIONS or named[2] not in _SUBJECTS:
        return _PERMISSIONS.get(operation, "a role that allows this")
    return f"'{_ACTIONS[named[1]]}' on {_SUBJECTS[named[2]]}"


# What to do about one answer, if its conclusion alone does not tell.
_HINTS = (
    (_NOT_A_MEMBER, "Add the machine identity to the project: in the project, Access Control, Machine Identities. Or "
     "check project_id."),
    (_OTHER_TYPE, "Set project_id to a project of the type secret-manager."),
    (_PLAN, "The plan of this Infisical does not include it. Upgrade the plan, or do without it."),
    (_REFERENCE, "Grant the machine identity 'Read Value' on the path of the secret that is referred to, or set "
     "expand_references: false."),
    (_SPENT, "Create a new client secret for this machine identity in Infisical, and set client_secret to it."),
    (_TAG, "Create the tag in the project, or correct tags."),
    (_USERS_ONLY, "Infisical allows this to users only, not to machine identities."),
    (_NO_SCOPE, "Set project_id and environment."),
    (_NO_METHOD, "Add this auth method to the machine identity in Infisical, or set another auth_method."),
)  # fmt: skip


def remedy(conclusion: Conclusion, operation: Operation, said: str = "") -> str:
    """What a person can do about it, in a sentence or two; `said` are the server's words."""
    for pattern, hint in _HINTS:
        if _says(pattern, said):
            return hint
    if conclusion is Conclusion.FORBIDDEN:
        permission = _permission(operation, said)
        return (
            f"The machine identity lacks {permission}. Grant it in Infisical: in the project, Access Control, Machine "
            "Identities, the identity's role."
        )
    return _REMEDIES[conclusion]


def no_project(project_id: str) -> InfisicalError:
    """The error about a project that is not there, or not for this identity."""
    return InfisicalError(
        Conclusion.SCOPE_MISSING,
        f"There is no project '{project_id}' that this machine identity can see. Check project_id (the id, not the "
        "name or slug), and that the identity is a member of the project.",
    )


def no_environment(environment: str, project_id: str, slugs: Iterable[str], advice: str = "") -> InfisicalError:
    """The error about an environment that a project has not: it has those with these slugs."""
    there_are = ", ".join(slugs) or "none"
    return InfisicalError(
        Conclusion.SCOPE_MISSING,
        f"There is no environment '{environment}' in project {project_id}. Its environments are: {there_are}.",
        advice=advice,
    )
