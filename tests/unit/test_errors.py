# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The meaning of responses: every row of the table of known responses, for each kind of server."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import answers, errors
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.answers import (
    Answer,
    Operation,
    Validator,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
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

Op = Operation
ALL = tuple(Operation)
SECRET_ROUTES = (Op.LIST, Op.GET, Op.CREATE, Op.UPDATE, Op.DELETE, Op.BATCH)
WITH_TOKEN = (*SECRET_ROUTES, Op.FOLDER, Op.PROJECT, Op.IDENTITY)

# (conclusion, kind of server, operations, status, error, message): one entry for each known response.
ROWS: list[tuple[type[InfisicalError], str, tuple[Operation, ...], int, str, Any]] = [
    # already exists
    (Conflict, "reference", (Op.CREATE,), 409, "Conflict", "Secret exists"),
    (Conflict, "2024", (Op.CREATE,), 400, "BadRequest", "Secret already exist"),
    (Conflict, "2024", (Op.BATCH,), 400, "BadRequest", "Secret already exist: A,B"),
    (Conflict, "2026-07", (Op.CREATE,), 400, "BadRequest", "Secret already exists"),
    (Conflict, "2026-07", (Op.BATCH,), 400, "BadRequest", "Secret already exists: B2"),
    (Conflict, "2026-10", (Op.CREATE, Op.BATCH), 400, "BadRequest",
     "Secret already exists: 'B' in path '/' of environment 'dev'"),
    (Conflict, "2026-07", (Op.FOLDER,), 400, "BadRequest", "Folder with name 'app' already exists in path '/'"),
    # identities
    (RequestInvalid, "2026-07", (Op.IDENTITY,), 404, "NotFound", "Role with slug 'nope' not found"),
    (ScopeMissing, "2026-07", (Op.IDENTITY,), 404, "NotFound", "Project with ID 'nope' not found"),
    (IdentityMissing, "2026-07", (Op.IDENTITY,), 404, "NotFound", "Identity with id role not found"),
    # rename onto an existing name
    (Conflict, "2026-07", (Op.UPDATE,), 400, "BadRequest", "Secret with the new name already exists"),
    # secret missing
    (SecretMissing, "reference", (Op.GET, Op.UPDATE), 404, "Not Found", "Not found"),
    (SecretMissing, "2024", (Op.GET, Op.UPDATE), 400, "BadRequest", "Secret not found"),
    (SecretMissing, "2026-07", (Op.GET,), 404, "NotFound", "Secret with name 'NOPE' not found"),
    (SecretMissing, "2026-07", (Op.UPDATE,), 404, "NotFound", "Secret with name NOPE not found"),
    (SecretMissing, "reference", (Op.DELETE,), 404, "Not Found", "Not found"),
    (SecretMissing, "2024", (Op.DELETE,), 404, "NotFound", "Secret not found"),
    (SecretMissing, "2026-07", (Op.DELETE,), 404, "NotFound", "Secret not found"),
    # missing in a batch
    (SecretMissing, "2024", (Op.BATCH,), 400, "BadRequest", "Secret not exist: A"),
    (SecretMissing, "2026-07", (Op.BATCH,), 404, "NotFound", "Secret does not exist: MISSING, M2 in path /"),
    (SecretMissing, "2026-07", (Op.BATCH,), 404, "NotFound", "One or more secrets does not exist: B1"),
    (SecretMissing, "2026-07", (Op.BATCH,), 404, "NotFound", "One or more secrets does not exist: "),
    (RequestInvalid, "2026-10", (Op.BATCH,), 400, "BadRequest", "Each secret can only be deleted once per request: A"),
    # folder or environment missing
    (ScopeMissing, "reference", (Op.CREATE, Op.LIST), 404, "Not Found", "Not found"),
    (ScopeMissing, "2024", (Op.CREATE, Op.UPDATE, Op.DELETE, Op.GET, Op.BATCH), 400, "BadRequest",
     "Folder not found for the given environment slug & secret path"),
    *((ScopeMissing, "2026-07", (operation,), 404, word,
       "Folder with path '/nope' in environment with slug 'dev' not found")
      for operation, word in ((Op.CREATE, "CreateSecret"), (Op.UPDATE, "UpdateSecret"), (Op.DELETE, "DeleteSecret"),
                              (Op.GET, "GetSecretByName"), (Op.BATCH, "CreateManySecret"))),
    (ScopeMissing, "2026-07", (Op.BATCH,), 404, "NotFound",
     "Folder with path '/nope' in environment 'dev' not found"),
    (ScopeMissing, "2026-07", (Op.LIST, Op.NAMES), 404, "SecretPathNotFound",
     "Folder with path '/nope' in environment 'dev' was not found. Please ensure the environment slug and secret path "
     "is correct."),
    (ScopeMissing, "2026-10", (Op.GET, Op.LIST, Op.NAMES), 404, "NotFound", "Environment not found"),
    (ScopeMissing, "2026-07", (Op.FOLDER,), 404, "NotFound", "Environment with slug 'nope' not found"),
    (ScopeMissing, "2026-07", (Op.FOLDER,), 404, "NotFound",
     "Environment with slug 'nope' in project with ID 'p' not found"),
    (ScopeMissing, "2026-07", (Op.FOLDER,), 404, "NotFound", "Folder with ID 'nope' not found"),
    (RequestInvalid, "2026-07", (Op.FOLDER,), 400, "deleteFolder",
     'Cannot delete folder "app" because it contains resources. Use forceDelete=true to delete it forcefully.'),
    # project missing
    (ScopeMissing, "reference", (Op.CREATE, Op.LIST), 404, "Not Found", "Project not found"),
    (ScopeMissing, "2024", WITH_TOKEN, 400, "BadRequest", "Project not found during bot lookup."),
    (ScopeMissing, "2026-07", WITH_TOKEN, 404, "NotFound", "Project with ID 'p' not found during bot lookup. "
     "Are you sure you are using the correct project ID?"),
    # project of another type, no project given, tag missing, plan
    (RequestInvalid, "2026-07", WITH_TOKEN, 400, "BadRequest",
     "The project is of type cert-manager. Operations of type secret-manager are not allowed."),
    (RequestInvalid, "2026-07", (Op.LIST,), 400, "BadRequest", "Missing project id or environment"),
    (RequestInvalid, "2026-07", (Op.CREATE, Op.UPDATE, Op.BATCH), 404, "NotFound", "Tag not found. Found "),
    (RequestInvalid, "2026-07", WITH_TOKEN, 400, "BadRequest",
     "Failed to create lease due to plan restriction. Upgrade plan to create dynamic secret."),
    # no such route
    (RouteMissing, "2024", ALL, 404, "Not Found", "Route GET:/api/v4/secrets not found"),
    (RouteMissing, "2026-07", ALL, 404, "Not Found", "Route POST:/api/v9/secrets/A%20B?x=1 not found"),
    # token expired, revoked, used up, malformed
    (TokenRejected, "reference", WITH_TOKEN, 401, "Unauthorized", "Token expired"),
    (TokenRejected, "2024", WITH_TOKEN, 403, "UnauthorizedError",
     "Failed to renew MI access token due to TTL expiration"),
    (TokenRejected, "2024", WITH_TOKEN, 403, "UnauthorizedError", "You are not allowed to access this resource"),
    (TokenRejected, "2024", WITH_TOKEN, 400, "BadRequest",
     "Unable to use the access token: number of uses limit reached"),
    *((TokenRejected, "2024", WITH_TOKEN, 500, "Internal Server Error", text)
      for text in ("jwt expired", "jwt malformed", "invalid signature", "invalid token")),
    *((TokenRejected, "2026-07", WITH_TOKEN, 401, "UnauthorizedError", text)
      for text in ("Token missing", "Failed to authorize: token has been revoked",
                   "Failed to authorize: token usage limit reached",
                   "Failed to authorize: client secret has been revoked")),
    *((TokenRejected, "2026-07", WITH_TOKEN, 403, "TokenError", text)
      for text in ("Your token has expired. Please re-authenticate.", "invalid signature",
                   "The provided access token is malformed. Please use a valid token or generate a new one and try "
                   "again.")),
    (TokenRejected, "2026-10", WITH_TOKEN, 401, "UnauthorizedError", "You are not allowed to access this resource"),
    # allowed only for users
    (Forbidden, "2026-07", WITH_TOKEN, 403, "Forbidden access to /api/v1/x",
     "You are not allowed to access this resource"),
    # bad client id or secret
    (CredentialsRejected, "reference", (Op.LOGIN,), 401, "Unauthorized", "Not authorized"),
    (CredentialsRejected, "2024", (Op.LOGIN,), 403, "UnauthorizedError", "Invalid credentials"),
    *((CredentialsRejected, "2026-07", (Op.LOGIN,), 401, "UnauthorizedError", text)
      for text in ("Invalid credentials", "Access denied due to expired client secret",
                   "Access denied due to client secret usage limit reached")),
    (RateLimited, "2026-10", (Op.LOGIN,), 429, "TooManyRequests", "Failed to acquire lock: rate limit exceeded"),
    (LockedOut, "2026-07", (Op.LOGIN,), 401, "UnauthorizedError",
     "This identity auth method is temporarily locked, please try again later"),
    # no permission
    (Forbidden, "reference", WITH_TOKEN, 403, "Forbidden", "No"),
    (Forbidden, "2024", WITH_TOKEN, 401, "PermissionDenied", "You are not allowed to create on secrets"),
    (Forbidden, "2024", WITH_TOKEN, 403, "UnauthorizedError", "Identity not in project"),
    *((Forbidden, "2026-07", WITH_TOKEN, 403, "PermissionDenied", f"You are not allowed to {what}")
      for what in ("create on secrets", "describeSecret on secrets", "readValue on secrets", "edit on secrets",
                   "delete on secrets", "create on secret-folders", "create on identity")),
    (Forbidden, "2026-07", WITH_TOKEN, 403, "ProjectMembershipNotFound",
     "You are not a member of this project with ID p. Please assign this identity to the project with the appropriate "
     "permissions, then try again."),
    (Forbidden, "2026-07", (Op.GET,), 403, "ForbiddenReadSecretError",
     "You do not have permission to view secret value on secret with name 'FIRST'"),
    *((Forbidden, "2026-10", (Op.GET, Op.LIST), 403, "ForbiddenError", text)
      for text in ("Failed to expand one or more secret references",
                   "You cannot read 'B' in '/x', which is referenced by secret 'A' in '/'")),
    # invalid request
    (RequestInvalid, "reference", WITH_TOKEN, 400, "Bad Request", "Wrong"),
    (RequestInvalid, "2024", ALL, 403, "ValidationFailure", [{"path": ["environment"], "message": "Required"}]),
    (RequestInvalid, "2026-07", ALL, 422, "ValidationFailure", [{"path": ["environment"], "message": "Required"}]),
    (RequestInvalid, "2026-10", ALL, 400, "ValidationError", "environment is required"),
    (RequestInvalid, "2026-07", (Op.CREATE,), 400, "BadRequest", "Must be user to create personal secret"),
    # too large
    (TooLarge, "2024", ALL, 413, "Payload Too Large", "Request body is too large"),
    # rate limited
    *((RateLimited, kind, ALL, 429, "Too Many Requests", "Rate limit exceeded")
      for kind in ("reference", "2024", "2026-07")),
    # server error
    (ServerFailed, "reference", ALL, 500, "Internal Server Error", ""),
    (ServerFailed, "reference", ALL, 503, "Service Unavailable", ""),
    (ServerFailed, "2024", ALL, 500, "Internal Server Error", "Something went wrong"),
    # also malformed JSON, and a name of more than 500 in a batch
    (ServerFailed, "2026-07", ALL, 500, "InternalServerError", "Something went wrong"),
    (ServerFailed, "2026-07", (Op.BATCH,), 500, "Create", "Something went wrong"),
]  # fmt: skip


def body(status: int, error: str, message: Any, **more: Any) -> bytes:
    return json.dumps({"statusCode": status, "message": message, "error": error, **more}).encode()


def cases() -> Iterator[Any]:
    for conclusion, kind, operations, status, error, message in ROWS:
        more = {"reqId": "req-1"} if kind.startswith("2026") else {}
        for operation in operations:
            answer = Answer(status, {}, body(status, error, message, **more), operation)
            name = f"{conclusion}-{kind}-{operation.value}-{status}-{str(message)[:40]}"
            yield pytest.param(answer, conclusion, id=name)


@pytest.mark.parametrize(("answer", "conclusion"), list(cases()))
def test_every_known_response_maps_to_its_conclusion(answer: Answer, conclusion: type[InfisicalError]) -> None:
    assert answers.conclude(answer) is conclusion


def test_empty_listing_from_a_2024_server_is_a_success() -> None:
    assert answers.conclude(Answer(200, {}, b'{"secrets": [], "imports": []}', Op.LIST)) is None


# (status, beginning of error and message): the meaning of recorded errors. A 500 has two possible conclusions, because
# only the size of the request distinguishes them.
RECORDED: dict[tuple[int, str], type[InfisicalError] | tuple[type[InfisicalError], type[InfisicalError]]] = {
    (400, "BadRequest: Additional privilege"): Conflict,
    (400, "BadRequest: Failed to add IP access range"): RequestInvalid,
    (400, "BadRequest: Failed to add universal auth"): Conflict,
    (400, "BadRequest: Failed to create"): RequestInvalid,
    (400, "BadRequest: Folder with name"): Conflict,
    (400, "BadRequest: Missing TLS certificate"): CredentialsRejected,
    (400, "BadRequest: Missing project id"): RequestInvalid,
    (400, "BadRequest: Must be user"): RequestInvalid,
    (400, "BadRequest: Secret already exists"): Conflict,
    (400, "BadRequest: Secret with the new name"): Conflict,
    (400, "deleteFolder: "): RequestInvalid,
    (401, "UnauthorizedError: Access denied"): CredentialsRejected,
    (401, "UnauthorizedError: Failed to authorize"): TokenRejected,
    (401, "UnauthorizedError: Invalid credentials"): CredentialsRejected,
    (401, "UnauthorizedError: This identity auth method is temporarily locked"): LockedOut,
    (401, "UnauthorizedError: Token missing"): TokenRejected,
    (403, "Forbidden access to "): Forbidden,
    (403, "ForbiddenError: Access denied"): CredentialsRejected,
    (403, "ForbiddenReadSecretError: "): Forbidden,
    (403, "PermissionDenied: "): Forbidden,
    (403, "ProjectMembershipNotFound: "): Forbidden,
    (403, "TokenError: "): TokenRejected,
    (404, "CreateManySecret: "): ScopeMissing,
    (404, "CreateSecret: "): ScopeMissing,
    (404, "DeleteManySecret: "): ScopeMissing,
    (404, "DeleteSecret: "): ScopeMissing,
    (404, "GetSecretByName: "): ScopeMissing,
    (404, "NotFound: AWS auth method"): CredentialsRejected,
    (404, "NotFound: Azure auth method"): CredentialsRejected,
    (404, "NotFound: Environment with slug"): ScopeMissing,
    (404, "NotFound: Failed to find universal auth"): IdentityMissing,
    (404, "NotFound: Folder with "): ScopeMissing,
    (404, "NotFound: GCP auth method"): CredentialsRejected,
    (404, "NotFound: Identity with id"): IdentityMissing,
    (404, "NotFound: JWT auth method"): CredentialsRejected,
    (404, "NotFound: Kubernetes auth method"): CredentialsRejected,
    (404, "NotFound: OIDC auth method"): CredentialsRejected,
    (404, "NotFound: One or more secrets does not exist"): SecretMissing,
    (404, "NotFound: Project with "): ScopeMissing,
    (404, "NotFound: SPIFFE auth method"): CredentialsRejected,
    (404, "NotFound: Secret "): SecretMissing,
    (404, "NotFound: Tag "): RequestInvalid,
    (404, "Not Found: Route "): RouteMissing,
    (404, "SecretPathNotFound: "): ScopeMissing,
    (404, "UpdateSecret: "): ScopeMissing,
    (422, "ValidationFailure: "): RequestInvalid,
    (500, "Create: "): ServerFailed,
    (500, "InternalServerError: "): (ServerFailed, TooLarge),
}
RECORDING = json.loads((Path(__file__).parents[1] / "recordings" / "server-2026-07.json").read_text("utf-8"))
BY_METHOD = {"GET": Op.GET, "POST": Op.CREATE, "PATCH": Op.UPDATE, "DELETE": Op.DELETE}


def operation_of(request: dict[str, Any]) -> Operation:
    """Return the client's name for the operation of a recorded request."""
    path = request["path"]
    if path.endswith("/login"):
        return Op.LOGIN
    if path in ("/api/v4/secrets", "/api/v3/secrets/raw"):
        return Op.LIST
    if path == "/api/v4/secrets/batch" and request["method"] != "GET":
        return Op.BATCH
    if path.startswith(("/api/v4/secrets/", "/api/v3/secrets/raw/")):
        return BY_METHOD[request["method"]]
    if "/identities" in path or "privilege" in path:
        return Op.IDENTITY
    for root, operation in (("/folders", Op.FOLDER), ("/projects", Op.PROJECT), ("/workspace", Op.PROJECT)):
        if root in path:
            return operation
    return Op.OTHER


def size_of(request: dict[str, Any]) -> int:
    """Return the size of a recorded request before the recording shortened its long parts."""
    long = re.findall(r"<(\d+) (?:characters|bytes)", json.dumps(request))
    return int(long[0]) if long else len(json.dumps(request))


def test_every_recorded_error_has_the_expected_conclusion() -> None:
    seen = set()
    for exchange in RECORDING["exchanges"]:
        response = exchange["response"]
        if response["status"] < 400:
            continue
        request = exchange["request"]
        content = json.dumps(response["body"]).encode()
        answer = Answer(response["status"], {}, content, operation_of(request), size_of(request))
        [key] = [key for key in RECORDED if key[0] == answer.status and answer.text().startswith(key[1])]
        expected = RECORDED[key]
        if isinstance(expected, tuple):
            expected = expected[answer.sent > answers.BODY_LIMIT]
        assert answers.conclude(answer) is expected, (exchange["group"], exchange["name"], answer.text())
        seen.add(key)
    assert seen == RECORDED.keys()


HINTS = [
    (Forbidden, "ProjectMembershipNotFound: You are not a member of this project with ID p.", "Add the machine"),
    (Forbidden, "UnauthorizedError: Identity not in project", "Add the machine identity to the project"),
    (Forbidden, "ForbiddenError: Failed to expand one or more secret references", "expand_references: false"),
    (Forbidden, "ForbiddenError: 'B', which is referenced by secret 'A' in '/'", "expand_references: false"),
    (Forbidden, "Forbidden access to /api/v1/x: You are not allowed to access this resource", "as a user"),
    (Forbidden, "PermissionDenied: You are not allowed to describeSecret on secrets", "'Describe Secret'"),
    (Forbidden, "PermissionDenied: You are not allowed to readValue on secrets", "'Read Value'"),
    (RequestInvalid, "BadRequest: The project is of type cert-manager. Operations of", "secret-manager"),
    (RequestInvalid, "BadRequest: Failed to create lease due to plan restriction. Upgrade plan to", "Upgrade the plan"),
    (RequestInvalid, "NotFound: Tag not found. Found ", "Create the tag"),
    (RequestInvalid, "BadRequest: Missing project id or environment", "Set project_id and environment"),
    (CredentialsRejected, "UnauthorizedError: Access denied due to expired client secret", "new client secret"),
    (CredentialsRejected, "UnauthorizedError: Access denied due to client secret usage limit reached", "new client"),
    (CredentialsRejected, "NotFound: JWT auth method not found for identity, did", "auth_method"),
]


@pytest.mark.parametrize(("conclusion", "said", "hint"), HINTS)
def test_every_special_cause_has_its_own_hint(conclusion: type[InfisicalError], said: str, hint: str) -> None:
    assert hint in answers.hint_for(conclusion, Op.GET, said)


@pytest.mark.parametrize(
    "name", ["due to plan restriction", "tag not found", "already exist", "identity not in project"]
)
def test_quoted_name_does_not_change_hint_or_conclusion(name: str) -> None:
    message = f"Secret with name '{name}' not found"
    assert answers.conclude(Answer(404, {}, body(404, "NotFound", message), Op.GET)) is SecretMissing
    assert "case-sensitive" in answers.hint_for(SecretMissing, Op.GET, f"NotFound: {message}")


def test_only_the_start_of_a_long_message_is_searched() -> None:
    # Some patterns take quadratic time: 38 seconds for 250 kB.
    for place, found in ((4000, True), (5000, False)):
        text = "failed to " + "x" * place + " due to plan restriction"
        assert ("plan" in answers.hint_for(RequestInvalid, Op.LIST, text)) is found


@pytest.mark.parametrize(("status", "expected"), [(200, NotJson), (400, RequestInvalid), (500, ServerFailed)])
def test_lone_surrogate_invalidates_only_a_success(status: int, expected: type[InfisicalError]) -> None:
    content = b'{"message": "Something about \\ud83d"}'
    assert answers.conclude(Answer(status, {}, content, Op.LIST)) is expected


QUOTED = sorted({said.partition(": ")[2] for _conclusion, said, _hint in HINTS}
                | {"Invalid credentials", "jwt expired", "Access token number of uses limit reached",
                   "Failed to authorize: token usage limit reached", "Route x not found", "Tag not found"})  # fmt: skip


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_quoted_words_do_not_change_the_conclusion(status: int) -> None:
    for operation in ALL:
        for quoted in QUOTED:
            found = [
                answers.conclude(
                    Answer(status, {}, body(status, "BadRequest", f"Imports of '{name}' are odd"), operation)
                )
                for name in ("x", quoted)
            ]
            assert found[0] is found[1], quoted
            assert not answers.is_used_up(
                Answer(status, {}, body(status, "BadRequest", f"About '{quoted}'"), operation)
            )


@pytest.mark.parametrize("operation", ALL)
@pytest.mark.parametrize("status", [200, 201])
def test_2xx_response_with_a_json_object_is_a_success(status: int, operation: Operation) -> None:
    assert answers.conclude(Answer(status, {}, b"{}", operation)) is None


NO_JSON_OBJECT = {
    "html": b"<!DOCTYPE html><html><body>Welcome</body></html>",
    "empty": b"",
    "truncated": b'{"secrets": [{"secretKey": "A", "secre',
    "list": b'["Invalid credentials", "jwt expired"]',
    "string": b'"Secret already exist"',
    "null": b"null",
    "no text": b"\xff\xfe\x00",
    "deep": b"[" * 200_000,
}


@pytest.mark.parametrize("content", NO_JSON_OBJECT.values(), ids=NO_JSON_OBJECT)
@pytest.mark.parametrize(
    ("status", "conclusion"),
    [
        (200, NotJson),
        (201, NotJson),
        (204, NotJson),
        (403, NotJson),
        (404, NotJson),
        (413, TooLarge),
        (429, RateLimited),
        (500, ServerFailed),
        (502, ServerFailed),
        (503, ServerFailed),
        (504, ServerFailed),
        (301, Redirected),
        (302, Redirected),
        (308, Redirected),
    ],
)
def test_response_without_a_json_object_is_never_a_success(
    status: int, conclusion: type[InfisicalError], content: bytes
) -> None:
    for operation in ALL:
        assert answers.conclude(Answer(status, {}, content, operation)) is conclusion


def test_status_500_after_an_oversized_request_means_too_large() -> None:
    content = body(500, "Internal Server Error", "Something went wrong")
    assert answers.conclude(Answer(500, {}, content, Op.CREATE, sent=1024 * 1024 + 1)) is TooLarge
    assert answers.conclude(Answer(500, {}, content, Op.CREATE, sent=1024 * 1024)) is ServerFailed


@pytest.mark.parametrize(
    "name", ["project not found", "folder with x", "route x not found", "already exist", "jwt expired", "secret"]
)
def test_secret_name_in_a_message_does_not_change_conclusion(name: str) -> None:
    content = body(404, "NotFound", f"Secret with name '{name}' not found")
    assert answers.conclude(Answer(404, {}, content, Op.GET)) is SecretMissing


@pytest.mark.parametrize("name", ["secret not found", "project not found", "route x not found"])
def test_folder_name_in_a_message_does_not_change_conclusion(name: str) -> None:
    content = body(404, "NotFound", f"Folder with path '/{name}' in environment with slug 'dev' not found")
    assert answers.conclude(Answer(404, {}, content, Op.GET)) is ScopeMissing


@pytest.mark.parametrize("status", [402, 405, 406, 410, 418])
def test_unknown_status_means_an_invalid_request(status: int) -> None:
    assert answers.conclude(Answer(status, {}, body(status, "Odd", "Odd"), Op.GET)) is RequestInvalid


def test_response_header_names_are_case_insensitive() -> None:
    answer = Answer(429, {"Retry-After": "5"}, b"")
    assert answer.header("retry-after") == "5"
    assert answer.header("x-none") == ""


def test_server_error_and_message_are_joined_into_one_line() -> None:
    assert Answer(400, {}, body(400, "BadRequest", "No")).text() == "BadRequest: No"
    assert Answer(422, {}, body(422, "V", [{"message": "Required"}])).text() == "V: Required"
    issues = [
        {"code": "custom", "path": ["secretName"], "message": "No colon."},
        {"path": ["secrets", 3, "secretValue"], "message": "Required"},
        {"path": [], "message": "Expected object"},
        ["odd"],
    ]
    assert Answer(422, {}, body(422, "V", issues)).text() == (
        'V: secretName: No colon; secrets.3.secretValue: Required; Expected object; ["odd"]'
    )
    assert Answer(400, {}, b'{"statusCode": 400}').text() == ""
    assert Answer(400, {}, b"<html>").text() == ""
    assert Answer(400, {}, b'{"error": {"code": true}, "message": {"a": "b"}}').text() == '{"code": true}: {"a": "b"}'
    assert Answer(400, {}, b'{"error": false, "message": "No"}').text() == "No"


@pytest.mark.parametrize(
    ("said", "permission"),
    [
        ("PermissionDenied: You are not allowed to describeSecret on secrets", "'Describe Secret' on 'Secrets'"),
        ("PermissionDenied: You are not allowed to readValue on secrets", "'Read Value' on 'Secrets'"),
        ("PermissionDenied: You are not allowed to create on secret-folders", "'Create' on 'Secret Folders'"),
        ("PermissionDenied: You are not allowed to fly on secrets", "'Read Value' on 'Secrets'"),
        ("PermissionDenied: You are not allowed to create on clouds", "'Read Value' on 'Secrets'"),
        ("", "'Read Value' on 'Secrets'"),
    ],
)
def test_error_names_the_permission_from_the_response(said: str, permission: str) -> None:
    assert f"Grant {permission} of this" in answers.hint_for(Forbidden, Operation.GET, said)


def test_error_names_the_role_that_manages_identities() -> None:
    said = "PermissionDenied: You are not allowed to create on identity"
    assert "role 'admin'" in answers.hint_for(Forbidden, Operation.IDENTITY, said)


ANSWERED = [
    NotJson, Redirected, Conflict, SecretMissing, ScopeMissing, IdentityMissing, RouteMissing, TokenRejected,
    CredentialsRejected, LockedOut, Forbidden, RequestInvalid, TooLarge, RateLimited, ServerFailed,
]  # fmt: skip


@pytest.mark.parametrize("conclusion", ANSWERED)
def test_every_error_has_a_hint_for_each_operation(conclusion: type[InfisicalError]) -> None:
    for operation in ALL:
        assert len(answers.hint_for(conclusion, operation)) > 20


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        (Op.LIST, "'Read Value' on 'Secrets'"),
        (Op.GET, "'Read Value' on 'Secrets'"),
        (Op.CREATE, "'Create' on 'Secrets'"),
        (Op.UPDATE, "'Modify' on 'Secrets'"),
        (Op.DELETE, "'Remove' on 'Secrets'"),
        (Op.FOLDER, "'Secret Folders'"),
        (Op.PROJECT, "membership in the project"),
    ],
)
def test_missing_permission_error_names_where_to_grant_it(operation: Operation, permission: str) -> None:
    advice = answers.hint_for(Forbidden, operation)
    assert permission in advice
    assert "Access Control" in advice


def test_missing_library_error_names_python_and_package() -> None:
    import sys

    message = str(errors.MissingLibrary("requests"))
    assert sys.executable in message
    assert "python3-requests" in message
    assert "-m pip install requests" in message


def test_repr_of_a_response_omits_its_body() -> None:
    assert "SECRET-x" not in repr(Answer(200, {}, b"SECRET-x"))


BODY = b'{"secrets": []'  # not JSON, so that a parser would fail
DIGEST = hashlib.sha256(BODY).hexdigest()


def asked_again(status: int, known: Validator | None, body: bytes = BODY) -> Answer:
    return Answer(status, {"ETag": '"2"'}, body, Operation.LIST, known=known)


@pytest.mark.parametrize(
    "answer",
    [
        asked_again(304, Validator('"1"'), b""),
        asked_again(304, Validator('"1"', DIGEST), b""),
        asked_again(200, Validator("", DIGEST)),
        asked_again(200, Validator('"1"', DIGEST)),
    ],
)
def test_not_modified_response_is_a_success_and_not_parsed(answer: Answer) -> None:
    assert answer.unchanged
    assert answers.conclude(answer) is None
    assert "_parsed" not in vars(answer)


@pytest.mark.parametrize(
    ("answer", "conclusion"),
    [
        (asked_again(304, None, b""), Redirected),
        (asked_again(304, Validator(), b""), Redirected),
        (asked_again(304, Validator("", hashlib.sha256(b"").hexdigest()), b""), Redirected),
        (asked_again(301, Validator('"1"', DIGEST)), Redirected),
        (asked_again(200, None), NotJson),
        (asked_again(200, Validator()), NotJson),
        (asked_again(200, Validator('"2"')), NotJson),
        (asked_again(200, Validator('"2"', DIGEST[::-1])), NotJson),
        (asked_again(200, Validator("", DIGEST), BODY + b" "), NotJson),
        (asked_again(503, Validator('"1"', DIGEST)), ServerFailed),
        (asked_again(206, Validator('"1"', DIGEST)), NotJson),
    ],
)
def test_status_decides_the_conclusion_of_an_unknown_text(answer: Answer, conclusion: type[InfisicalError]) -> None:
    assert not answer.unchanged
    assert answers.conclude(answer) is conclusion


def test_validator_combines_etag_and_body_digest() -> None:
    assert asked_again(200, Validator()).validator == Validator('"2"', DIGEST)
    assert Answer(200, {}, BODY, known=Validator()).validator == Validator("", DIGEST)
    assert Answer(200, {"ETag": "2"}, BODY).validator == Validator()  # nobody needs it
    assert "2" not in repr(asked_again(200, Validator()).validator)


def list_classes() -> list[type[InfisicalError]]:
    found, left = [], [InfisicalError]
    while left:
        kind = left.pop()
        found.append(kind)
        left += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", list_classes())
def test_error_of_every_class_can_be_rebuilt_from_its_fields(kind: type[InfisicalError]) -> None:
    error = errors.rebuild_error(kind.conclusion, "Problem.", hint="Hint.", status=400)
    assert (error.conclusion, error.problem, error.hint, error.status) == (kind.conclusion, "Problem.", "Hint.", 400)
    assert str(error) == "Problem. Hint." and isinstance(error, InfisicalError)


def test_unknown_conclusion_is_kept() -> None:
    error = errors.rebuild_error("oom-kill", "Killed.")
    assert (error.conclusion, error.exit_code) == ("oom-kill", 6)
