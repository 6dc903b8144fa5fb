# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to change: a pure comparison of what is stored with what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .model import Secret, same_value, trim

Action = Literal["create", "update", "delete"]


@dataclass(frozen=True)
class Change:
    """One secret to create (no `before`), update, or delete (no `after`)."""

    action: Action
    key: str
    before: Secret | None = None
    after: Secret | None = None


@dataclass(frozen=True)
class Plan:
    """The changes, sorted by name, and the names that stay as they are."""

    changes: tuple[Change, ...]
    unchanged: tuple[str, ...]


def differs(stored: Secret, wanted: Secret) -> bool:
    """Whether writing `wanted` would change `stored`; what is None in `wanted` is left alone.

    A stored value that is hidden counts as different, because nothing says that it is the same. Metadata that the
    server does not keep (None in its answer) counts as equal, because writing them would change nothing.
    """
    return (
        (wanted.value is not None and (stored.value is None or not same_value(stored.value, wanted.value)))
        or (wanted.comment is not None and trim(wanted.comment) != trim(stored.comment or ""))
        or (wanted.tags is not None and set(wanted.tags) != set(stored.tags or ()))
        or (
            wanted.metadata is not None
            and stored.metadata is not None
            and sorted(wanted.metadata) != sorted(stored.metadata)
        )
    )


def build(current: Mapping[str, Secret], desired: Mapping[str, Secret], *, prune: bool = False) -> Plan:
    """The plan that makes `current` ({name: Secret}) into `desired`; names only in `current` go if `prune`."""
    changes = []
    unchanged = []
    for key in sorted({*current, *desired}):
        before, after = current.get(key), desired.get(key)
        if after is None:
            if prune:
                changes.append(Change("delete", key, before=before))
            else:
                unchanged.append(key)
        elif before is None:
            changes.append(Change("create", key, after=after))
        elif differs(before, after):
            changes.append(Change("update", key, before, after))
        else:
            unchanged.append(key)
    return Plan(tuple(changes), tuple(unchanged))
