# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Push from a source to Infisical: read the source and the folder, plan, check, write, and count the changes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Callable

from ..client.api import Api
from ..client.apply import Application, Applied
from ..client.listing import merge
from ..client.parsing import Listing
from ..client.remote import UNREADABLE, Remote
from ..core import dotenv, files
from ..core.errors import (
    Ambiguous,
    ConfigurationError,
    Forbidden,
    InfisicalError,
    ScopeMissing,
    after_writing,
)
from ..core.model import Location, Secret, check_name, check_value, normalize_name, pluralize
from ..core.plan import Change, Plan, build, check_percent, guard, guard_empty, join_names
from ..vault.state import HMAC, SHA256, StateFile
from ..vault.store import Vault
from .job import Push
from .outcome import Outcome, partial_push


def open_state(
    path: str,
    location: Location,
    *,
    state_hash: str = SHA256,
    vault: Vault | None = None,
    warn: Callable[[str], None] | None = None,
) -> StateFile | None:
    """Return the state file for pushes to a location, or None if `path` is empty. Raises ConfigurationError."""
    if not path:
        return None
    if state_hash == HMAC and vault is None:
        raise ConfigurationError(
            "state_hash",
            f"{HMAC} requires a vault, which contains the key.",
            hint=f"Set vault_path, or set state_hash: {SHA256}.",
        )
    hash_key = vault.read().hash_key if state_hash == HMAC and vault is not None else None
    return StateFile(path, location, warn, hash_key=hash_key)


def read_source(path: str, *, may_be_pipe: bool = False) -> dict[str, str]:
    """Return the secrets in a file: a JSON object of strings, or dotenv if the file does not begin like JSON.

    The file must be a regular file. With `may_be_pipe`, it can also be a pipe. Raises ConfigurationError, which never
    quotes a value.
    """
    try:
        opener = None if may_be_pipe else files.open_regular
        with open(path, encoding="utf-8", newline="", opener=opener) as stream:
            text = stream.read()
    except UnicodeDecodeError:
        raise ConfigurationError("source_file", f"'{path}' is not valid UTF-8.") from None
    except OSError as error:
        raise ConfigurationError("source_file", f"'{path}' cannot be read: {error.strerror}.") from None
    return parse_source(text, path)


def parse_source(text: str, path: str) -> dict[str, str]:
    """Return the secrets in a file's text, in the formats of `read_source`; `path` is for messages."""
    text = text[1:] if text.startswith("\ufeff") else text  # editors on Windows write a byte-order mark
    if not text.lstrip().startswith(("{", "[")):
        return dotenv.parse(text)
    try:
        # Objects become tuples of pairs, because a dict would silently drop the first of two equal names.
        pairs = json.loads(text, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        raise ConfigurationError("source_file", f"'{path}' begins like JSON, but is not valid JSON.") from None
    if not isinstance(pairs, tuple):
        raise ConfigurationError(
            "source_file",
            f"'{path}' must contain a JSON object of names and strings, or dotenv text (got a JSON list).",
        )
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        twice = join_names(name for name in found if names.count(name) > 1)
        raise ConfigurationError("source_file", f"'{path}' contains {twice} more than once.")
    return {
        name: check_value({} if isinstance(value, tuple) else value, f"source_file: {name}")
        for name, value in found.items()
    }


def push(
    api: Api,
    location: Location,
    source: Mapping[str, str],
    job: Push,
    *,
    state: StateFile | None = None,
    vault_state: StateFile | None = None,
    check: bool = False,
    log: Callable[[str], None] | None = None,
) -> Outcome:
    """Make a location in Infisical match `source` ({name: value}). Check mode only plans.

    `state` records what was pushed before, for identities without permission to read. If the source is a vault,
    `vault_state` is the vault's state file, which counts pushed secrets.

    Raises InfisicalError. If some changes were already written, the error is PartialFailure with `details`, and another
    push writes the rest.
    """
    check_percent(job.max_delete_percent)
    desired = _desire(source, job.normalize_names)
    remote = Remote(api, location, create_path=job.create_path, overwrite_rotated=job.overwrite_rotated, state=state)

    def report(done: int, total: int) -> None:
        if log is not None:
            log(f"Wrote {done} of {total} changes to {location}")

    if state is not None:
        state.check()
    listing, can_look = None, True
    try:
        # If the listing is empty, it is not checked whether the location exists: the writes that follow report a
        # missing location, and the identity's tokens may allow only few uses.
        listing = remote.stored()
    except ScopeMissing as error:
        if not job.create_path:
            raise remote.problem() or error from None
    except Forbidden:
        if job.prune:
            raise
        can_look = False
    if can_look:
        plan, applied, warnings = _write(remote, listing, desired, job, check, report)
    else:
        plan, applied, warnings = _write_unseen(remote, desired, check, report)
    plan = _set_versions(plan, applied.versions)
    done = {*applied.written, *applied.pending}
    outcome = Outcome.from_plan(
        "push",
        replace(plan, changes=tuple(change for change in plan.changes if change.key in done)),
        projects=(location.project_id,),
        warnings=tuple(warnings),
        approvals=applied.approvals,
    )
    if vault_state is not None and applied.written and not check:
        count = len(applied.written)
        written = (
            f"Wrote {pluralize(count, 'change')} to {location}. Only the number of pushed secrets could not be saved "
            "in the state file."
        )
        lesser = () if applied.error is None else (InfisicalError,)  # unwritten secrets matter more
        with contextlib.suppress(*lesser), after_writing(written, **outcome.as_result()):
            vault_state.count_pushed(count)
    if applied.error is None:
        return outcome
    if not done and not applied.failed:
        raise applied.error  # nothing was written, and the error is not about a single secret
    left = sorted({*applied.failed, *applied.left})
    raise partial_push(applied.error, outcome, applied.written, left, applied.failed)


def _desire(source: Mapping[str, str], normalize: bool) -> dict[str, Secret]:
    """Return the desired secrets by name. Raises Ambiguous if two names become the same."""
    desired: dict[str, Secret] = {}
    given: dict[str, str] = {}
    for name, value in source.items():
        option = f"secrets, the name {name!r}"
        key = check_name(name, option)
        key = normalize_name(key, option) if normalize else key
        if key in desired:
            raise Ambiguous(
                f"Nothing was changed: '{given[key]}' and '{name}' would both be written as '{key}'.",
                hint="Rename one of the two secrets" + (", or set normalize_names: false." if normalize else "."),
            )
        given[key] = name
        desired[key] = Secret(key, check_value(value, f"secrets: {name}"))
    return desired


def _write(
    remote: Remote,
    listing: Listing | None,
    desired: Mapping[str, Secret],
    job: Push,
    check: bool,
    log: Callable[[int, int], None],
) -> tuple[Plan, Applied, list[str]]:
    """Write the difference between the listing (None if the folder is missing) and the desired secrets.

    Returns the plan, its result and warnings.
    """
    scope, state = remote.location, remote.state
    stored = merge(listing or Listing(()))
    current, warnings = _recall(stored.secrets, desired, state), list(stored.warnings)
    if state is None and any(stored.secrets[key].hidden for key in desired if key in stored.secrets):
        warnings.append(UNREADABLE)
    if job.prune and not desired:
        hint = "Check the source of the push."
        guard_empty(len(current), "the source", str(scope), allow_empty=job.allow_empty, hint=hint)
    plan = build(current, desired, prune=job.prune)
    guard(plan, len(current), str(scope), max_delete_percent=job.max_delete_percent)
    remote.guard_rotated(plan.changes)
    plan = replace(plan, unchanged=tuple(name for name in plan.unchanged if name in desired))
    if check or not plan.changes:
        if not current:  # no write follows that would report a missing location
            remote.check_location()
        applied = Applied(written=tuple(change.key for change in plan.changes))
    else:
        applied = remote.apply(plan, log=log, make_path=listing is None)
    return plan, applied, warnings


def _recall(stored: Mapping[str, Secret], desired: Mapping[str, Secret], state: StateFile | None) -> dict[str, Secret]:
    """Return the stored secrets. If the state file proves that a hidden value is the desired one, it is filled in."""
    if state is None:
        return dict(stored)
    return {
        key: secret._replace(value=desired[key].value, hidden=False)
        if secret.hidden and key in desired and state.holds(key, desired[key].value, secret.version)
        else secret
        for key, secret in stored.items()
    }


def _set_versions(plan: Plan, versions: Mapping[str, int]) -> Plan:
    """Return the plan with the versions that the server returned or, if it returned none, the next versions."""

    def set_version(change: Change) -> Change:
        if change.after is None:
            return change
        expected = (change.before.version if change.before is not None else 0) + 1
        return change._replace(after=change.after._replace(version=versions.get(change.key, expected)))

    return replace(plan, changes=tuple(map(set_version, plan.changes)))


def _write_unseen(
    remote: Remote, desired: Mapping[str, Secret], check: bool, log: Callable[[int, int], None]
) -> tuple[Plan, Applied, list[str]]:
    """Write secrets for an identity that is allowed to write, but not even to see names; see `_write`.

    Each secret is sent, because only the server's response shows whether the secret exists.
    """
    state = remote.state
    warnings = [UNREADABLE] if desired and state is None else []
    if check or not desired:
        remote.check_location()
    if check:
        unchanged = {key for key, secret in desired.items() if state is not None and state.holds(key, secret.value)}
        changes = [Change("update", key, None, secret) for key, secret in desired.items() if key not in unchanged]
        return Plan(tuple(changes), tuple(unchanged)), Applied(tuple(change.key for change in changes)), warnings
    application = Application(remote, can_look=False, log=log)
    applied = application.run(Change("create", key, None, secret) for key, secret in sorted(desired.items()))
    unchanged = {key for key, done in application.done.items() if done.action is None}
    changes = [done.change for key, done in sorted(application.done.items()) if key not in unchanged]
    written = tuple(key for key in applied.written if key not in unchanged)
    return Plan(tuple(changes), tuple(unchanged)), replace(applied, written=written), warnings
