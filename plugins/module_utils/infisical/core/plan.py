# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a change: a pure comparison of stored and desired secrets, and guards against unintended changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Callable, Literal, NamedTuple

from .errors import ConfigurationError, GuardStopped
from .model import Secret, same_value, trim

Action = Literal["create", "update", "delete"]

FEW = 10
"""If fewer entries than this can be deleted, a percentage means little, and `max_delete_percent` is ignored."""


class Change(NamedTuple):
    """One secret to create (no `before`), update, or delete (no `after`)."""

    action: Action
    key: str
    before: Secret | None = None
    after: Secret | None = None


@dataclass(frozen=True)
class Plan:
    """The changes and the names of unchanged secrets, both sorted by name."""

    changes: tuple[Change, ...]
    unchanged: tuple[str, ...]


def differs(stored: Secret, wanted: Secret) -> bool:
    """Return whether writing `wanted` would change `stored`. Fields of `wanted` that are None are not written.

    A hidden stored value counts as different, because it may differ. If the server does not support metadata (None in
    its response), metadata count as equal, because writing them would change nothing. Encrypted metadata stay encrypted
    even if `wanted` does not list them.
    """
    return (
        (wanted.value is not None and (stored.value is None or not same_value(stored.value, wanted.value)))
        or (wanted.comment is not None and trim(wanted.comment) != trim(stored.comment or ""))
        or (wanted.tags is not None and set(wanted.tags) != set(stored.tags or ()))
        or (
            wanted.metadata is not None
            and stored.metadata is not None
            and (
                sorted(wanted.metadata) != sorted(stored.metadata)
                or not set(wanted.encrypted_metadata) <= set(stored.encrypted_metadata)
            )
        )
    )


_IN_VAULT = attrgetter("value", "version", "id", "key", "secret_path", "environment", "project_id")


def differs_in_vault(stored: Secret, wanted: Secret) -> bool:
    """Return whether `wanted` would change the value, version or origin of the vault entry `stored`."""
    return bool(_IN_VAULT(stored) != _IN_VAULT(wanted))


def build(
    current: Mapping[str, Secret],
    desired: Mapping[str, Secret],
    *,
    prune: bool | Callable[[Secret], bool] = False,
    differs: Callable[[Secret, Secret], bool] = differs,
) -> Plan:
    """Return the plan that changes `current` ({name: Secret}) to `desired` ({name: Secret}).

    Names that are only in `current` are deleted if `prune` is true or returns true for the secret. Otherwise they count
    as unchanged. `differs(stored, wanted)` decides whether a secret is updated.
    """
    changes = []
    unchanged = []
    for key in sorted({*current, *desired}):
        before, after = current.get(key), desired.get(key)
        if before is None:
            changes.append(Change("create", key, None, after))
        elif after is None:
            if prune(before) if callable(prune) else prune:
                changes.append(Change("delete", key, before=before))
            else:
                unchanged.append(key)
        elif differs(before, after):
            changes.append(Change("update", key, before, after))
        else:
            unchanged.append(key)
    return Plan(tuple(changes), tuple(unchanged))


def check_percent(percent: float) -> None:
    """Raise ConfigurationError if `max_delete_percent` is out of range."""
    if not 0 <= percent <= 100:
        raise ConfigurationError("max_delete_percent", f"must be between 0 and 100 (got {percent:g}).")


def guard(plan: Plan, deletable: int, where: str, *, max_delete_percent: float) -> None:
    """Raise GuardStopped if a plan deletes too large a share of the entries.

    `deletable` is the number of entries that could be deleted. `where` describes their location in messages.
    """
    deleted = [change.key for change in plan.changes if change.action == "delete"]
    if deletable >= FEW and len(deleted) * 100 > max_delete_percent * deletable:
        raise GuardStopped(
            f"Nothing was changed: prune would delete {len(deleted)} of {deletable} entries in {where} "
            f"({join_names(deleted)}), more than max_delete_percent ({max_delete_percent:g}).",
            hint="Check that this is the right source; if it is, set a larger max_delete_percent for this run.",
        )


def guard_empty(deletable: int, source: str, where: str, *, allow_empty: bool, hint: str) -> None:
    """Raise GuardStopped if entries would be deleted because the source contains no secrets at all.

    `deletable` is the number of these entries. `source` and `where` describe the source and the target in messages.
    `hint` says how to check the source.
    """
    if deletable and not allow_empty:
        raise GuardStopped(
            f"Nothing was changed: {source} contains no secrets, so prune would delete {deletable} entries of {where}.",
            hint=f"{hint} If the source is empty on purpose, set allow_empty: true for this run. Check "
            "max_delete_percent, which still applies.",
        )


def guard_rotated(changes: Iterable[Change], *, overwrite_rotated: bool) -> None:
    """Raise GuardStopped if a change deletes or replaces a value that Infisical rotates."""
    broken = [
        change.key
        for change in changes
        if change.before is not None
        and change.before.rotated
        and (change.after is None or change.after.value is not None)
    ]
    if broken and not overwrite_rotated:
        raise GuardStopped(
            f"Nothing was changed: Infisical rotates the value of {join_names(broken)}, and a write or deletion would "
            "break the rotation.",
            hint="Do not write or prune it, or set overwrite_rotated: true for this run.",
        )


def join_names(names: Iterable[str], most: int = 10) -> str:
    """Return names for a message: the first `most` names in sorted order, and the number of other names."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
