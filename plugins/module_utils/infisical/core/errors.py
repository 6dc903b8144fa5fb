# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of this library.

InfisicalError                            exit code 1
├── Conflict, SecretMissing, RouteMissing, RequestInvalid, TooLarge
├── WrongUse ── ConfigurationError                  2
├── MissingLibrary, ScopeMissing, IdentityMissing   2
├── AccessError                                     3
│   └── CredentialsRejected, LockedOut, TokenRejected, Forbidden
├── NetworkError                                    4
│   └── Unreachable (MetadataUnreachable), CertificateInvalid, Redirected, NotJson, RateLimited, ServerFailed
├── RefusedError                                    5
│   └── GuardStopped, Ambiguous, ValueHidden
├── LocalError                                      6
│   └── VaultMissing, WrongKey, KeyLost, VaultDamaged, NotAVault, NewerVault, OlderGeneration, UnsafeFile,
│       StorageFailed
├── Busy                                            7
├── PartialFailure                                  8
└── EntryMissing                                    9
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any


class InfisicalError(Exception):
    """An error that a person can act on: `problem` describes what happened, and `hint` what to do about it.

    Neither text contains a secret. Each class has a `conclusion`, a short name for the error that is part of the
    modules' results, an `exit_code` for the command, and a default `hint`. `status` is the HTTP status if there was a
    response.

    `uncertain` is true if a write may have taken effect although no response confirms it. `wait` is then the number of
    seconds to wait before reading. `after_loss` is true if the same request was sent before, got no response, and may
    have taken effect. `details` contains the changes before the error, as keys of the result.
    """

    conclusion = "unexpected"
    exit_code = 1
    hint = ""

    def __init__(
        self, problem: str, *, hint: str | None = None, status: int | None = None, uncertain: bool = False
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        if hint is not None:
            self.hint = hint
        self.status = status
        self.uncertain = uncertain
        self.wait = 0.0
        self.after_loss = False
        self.details: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.problem} {self.hint}" if self.hint else self.problem

    def as_failure(self) -> dict[str, Any]:
        """Return the error as the result of a failed task."""
        return {
            **self.details,
            "msg": str(self),
            "problem": self.problem,
            "conclusion": self.conclusion,
            "hint": self.hint,
            "http_status": self.status,
        }

    def reworded(self, problem: str, hint: str | None = None) -> InfisicalError:
        """Return a copy of the error with another problem and, if one is given, another hint."""
        other = self.__class__.__new__(self.__class__, problem)
        other.__dict__.update(self.__dict__, problem=problem, hint=self.hint if hint is None else hint)
        return other


class Conflict(InfisicalError):
    conclusion = "conflict"
    hint = "Run this again. It already exists: another writer has created it at the same time."


class SecretMissing(InfisicalError):
    conclusion = "secret_missing"
    hint = "Check secret_path and the name (names are case-sensitive)."


class RouteMissing(InfisicalError):
    conclusion = "route_missing"
    hint = "Check url. If it is correct, this version of Infisical does not support the operation."


class RequestInvalid(InfisicalError):
    conclusion = "invalid"
    hint = (
        "Correct the option that the server's message mentions. If the message is hidden, check the characters of the "
        "name."
    )


class TooLarge(InfisicalError):
    conclusion = "too_large"
    hint = "Shorten the value: a request may have at most 1 MiB."


class WrongUse(InfisicalError):
    conclusion = "configuration"
    exit_code = 2


class ConfigurationError(WrongUse):
    """An option is missing or invalid; `option` is its name."""

    def __init__(self, option: str, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"{option}: {problem}", hint=hint)
        self.option = option


class MissingLibrary(InfisicalError):
    """A Python library is not installed for the interpreter `python`, by default the one that is running."""

    conclusion = "missing_library"
    exit_code = 2

    def __init__(self, library: str, python: str = sys.executable) -> None:
        super().__init__(
            f"The Python library '{library}' is missing for {python}.",
            hint=f"Install it there, from the distribution (package python3-{library}) or with: "
            f"{python} -m pip install {library}",
        )


class ScopeMissing(InfisicalError):
    """A project, environment or folder does not exist, or this identity cannot see it."""

    conclusion = "scope_missing"
    exit_code = 2
    hint = "Check project_id, environment and secret_path."


class IdentityMissing(InfisicalError):
    """A machine identity, or one of its login methods, client secrets or privileges, does not exist."""

    conclusion = "identity_missing"
    exit_code = 2
    hint = "Check project_id, and the name or the id of the machine identity."


class AccessError(InfisicalError):
    exit_code = 3


class CredentialsRejected(AccessError):
    conclusion = "credentials_rejected"
    hint = (
        "Check client_id and client_secret. The login is not retried, because three failures lock the identity for "
        "everybody."
    )


class LockedOut(AccessError):
    conclusion = "locked_out"
    hint = (
        "Find the host or task whose failed logins have locked the identity, and correct its client_secret (for LDAP "
        "auth: password). Then wait 5 minutes (the default), or remove the lockout in the identity's auth method in "
        "Infisical."
    )


class TokenRejected(AccessError):
    conclusion = "token_rejected"
    hint = (
        "If the access token has expired, was revoked or has no uses left, set a new token, or set auth_method and its "
        "options to log in."
    )


class Forbidden(AccessError):
    conclusion = "forbidden"


class NetworkError(InfisicalError):
    exit_code = 4


class Unreachable(NetworkError):
    conclusion = "unreachable"


class MetadataUnreachable(Unreachable):
    """The metadata service of a cloud cannot be used, so there is no proof for a login."""


class CertificateInvalid(NetworkError):
    conclusion = "certificate"


class Redirected(NetworkError):
    conclusion = "redirected"
    hint = "Set url to the server's own address. Redirects are not followed, because the token would be sent elsewhere."


class NotJson(NetworkError):
    conclusion = "not_json"
    hint = "Check url and proxy: the response is not from an Infisical API."


class RateLimited(NetworkError):
    conclusion = "rate_limited"
    hint = "Send fewer requests at once, or set a larger rate_limit_wait, because a request is retried only once."


class ServerFailed(NetworkError):
    conclusion = "server_error"
    hint = (
        "See the log of the server. If it recovers later, set a larger server_error_wait: one retry follows this wait."
    )


class RefusedError(InfisicalError):
    """Nothing was changed, because the result was probably not intended."""

    exit_code = 5


class GuardStopped(RefusedError):
    conclusion = "guard"


class Ambiguous(RefusedError):
    conclusion = "ambiguous"


class ValueHidden(RefusedError):
    conclusion = "hidden"


class LocalError(InfisicalError):
    exit_code = 6


class VaultMissing(LocalError):
    conclusion = "vault_missing"


class WrongKey(LocalError):
    conclusion = "wrong_key"


class KeyLost(LocalError):
    conclusion = "key_lost"


class VaultDamaged(LocalError):
    conclusion = "vault_damaged"


class NotAVault(LocalError):
    conclusion = "not_a_vault"


class NewerVault(LocalError):
    conclusion = "newer_vault"


class OlderGeneration(LocalError):
    conclusion = "older_generation"


class UnsafeFile(LocalError):
    conclusion = "unsafe_file"


class StorageFailed(LocalError):
    conclusion = "storage"


class Busy(InfisicalError):
    conclusion = "busy"
    exit_code = 7
    hint = "Wait until the other process has ended, and run this again."


class PartialFailure(InfisicalError):
    conclusion = "partial"
    exit_code = 8


class EntryMissing(InfisicalError):
    """The vault has no entry with this name."""

    conclusion = "entry_missing"
    exit_code = 9

    def __init__(self, name: str, vault: str) -> None:
        super().__init__(f"Entry '{name}' does not exist in {vault}.", hint="Run: infisical-sync vault list")


def error_class(conclusion: str) -> type[InfisicalError]:
    """Return the class with this conclusion, or InfisicalError if there is none."""
    left: list[type[InfisicalError]] = [InfisicalError]
    while left:
        found = left.pop()
        if found.conclusion == conclusion and found is not ConfigurationError:
            return found
        left += found.__subclasses__()
    return InfisicalError


def rebuild_error(conclusion: str, problem: str, *, hint: str = "", status: int | None = None) -> InfisicalError:
    """Return an error that was reported as data. An unknown conclusion, such as one of systemd's, is kept."""
    kind = error_class(conclusion)
    if kind is InfisicalError and conclusion != InfisicalError.conclusion:
        kind = StorageFailed
    error = kind.__new__(kind, problem)
    InfisicalError.__init__(error, problem, hint=hint, status=status)
    error.conclusion = conclusion
    return error


@contextlib.contextmanager
def after_writing(done: str, **details: Any) -> Iterator[None]:
    """Context manager: prepend `done`, a report of the changes so far, to the problem of an InfisicalError.

    `details` are added to the details of the error. They include `changed`, which is true unless the error sets it. If
    `done` is empty, nothing has been written yet, and the error is not changed.
    """
    try:
        yield
    except InfisicalError as error:
        if not done:
            raise
        later = error.reworded(f"{done} {error.problem}")
        later.details = {"changed": True, **error.details, **details}
        raise later from None


def join_hints(hints: Iterable[str]) -> str:
    """Return the different hints of several errors as one text."""
    return " ".join(dict.fromkeys(filter(None, hints)))


def no_project(project_id: str) -> InfisicalError:
    return ScopeMissing(
        f"Project '{project_id}' does not exist, or this machine identity has no access to it.",
        hint="Check project_id (the id, not the name or slug), or add the identity to the project.",
    )


def no_environment(environment: str, project_id: str, slugs: Iterable[str], hint: str = "") -> InfisicalError:
    """Return the error for a missing environment; `slugs` are the project's environments."""
    return ScopeMissing(
        f"Project {project_id} has no environment '{environment}'. Its environments are: {', '.join(slugs) or 'none'}.",
        hint=hint,
    )
