# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a sync or, in check mode, its expected result, and the errors of a sync that is incomplete."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InfisicalError, PartialFailure, join_hints
from ..core.model import pluralize
from ..core.plan import Action, Plan, join_names


@dataclass(frozen=True)
class Outcome:
    """The names, versions (before, after) and counts of a sync, but never a value.

    `generation` is the vault's generation after a pull. `failed` contains the projects that could not be read, by id,
    with the reason. `approvals` contains the ids of pending approvals.
    """

    direction: str
    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    unchanged: int = 0
    versions: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    generation: int = 0
    projects: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    approvals: tuple[str, ...] = ()

    @classmethod
    def from_plan(cls, direction: str, plan: Plan, **more: Any) -> Outcome:
        """Return the outcome of applying a plan; `more` contains further fields, or replaces `unchanged`."""
        names: dict[Action, list[str]] = {"create": [], "update": [], "delete": []}
        versions: dict[str, tuple[int | None, int | None]] = {}
        for action, key, before, after in plan.changes:
            names[action].append(key)
            versions[key] = (None if before is None else before.version, None if after is None else after.version)
        created, updated, deleted = map(tuple, names.values())
        more = {"unchanged": len(plan.unchanged), **more}
        return cls(direction, created, updated, deleted, versions=versions, **more)

    @property
    def changed(self) -> bool:
        return bool(self.created or self.updated or self.deleted)

    @property
    def counts(self) -> dict[str, int]:
        return {
            "created": len(self.created),
            "updated": len(self.updated),
            "deleted": len(self.deleted),
            "unchanged": self.unchanged,
        }

    def summary(self) -> str:
        return ", ".join(f"{number} {word}" for word, number in self.counts.items())

    def as_result(self) -> dict[str, Any]:
        """Return the outcome as plain data, for a module's result and the command's JSON output."""
        versions = sorted(self.versions.items())
        return {
            "changed": self.changed,
            "direction": self.direction,
            "counts": self.counts,
            "created": list(self.created),
            "updated": list(self.updated),
            "deleted": list(self.deleted),
            "generation": self.generation,
            "projects": list(self.projects),
            "failed_projects": dict(self.failed),
            "approvals": list(self.approvals),
            "warnings": list(self.warnings),
            "diff": {
                "before": {name: before for name, (before, _after) in versions if before is not None},
                "after": {name: after for name, (_before, after) in versions if after is not None},
            },
        }


def partial_pull(outcome: Outcome, failed: Mapping[str, InfisicalError], *, check: bool) -> PartialFailure:
    """Return the error for a pull of some projects. `failed` contains the others, which could not be read, by id."""
    were, was = ("would be", "would be") if check else ("were", "was")
    reasons = " ".join(f"Project {project_id}: {error.problem}" for project_id, error in failed.items())
    error = PartialFailure(
        f"{len(failed)} of {len(outcome.projects)} projects could not be read, so nothing {was} pruned. The other "
        f"projects {were} pulled ({outcome.summary()}). {reasons}",
        hint=join_hints(error.hint for error in failed.values()),
        status=next(iter(failed.values())).status,
    )
    error.details = outcome.as_result()
    return error


def partial_push(
    cause: InfisicalError,
    outcome: Outcome,
    written: Collection[str],
    not_written: Collection[str],
    failed: Mapping[str, str],
) -> InfisicalError:
    """Return the error for a push that is incomplete.

    `cause` stopped the push or, if some secrets were refused individually, is the first of their errors. `failed`
    contains these secrets ({name: message}).
    """
    total = sum(len(names) for names in (outcome.created, outcome.updated, outcome.deleted, not_written))
    problem = f"{len(written)} of {total} changes were written"
    if written:
        problem += f" ({join_names(written)})"
    if outcome.approvals:
        problem += f", {pluralize(len(outcome.approvals), 'approval')} pending"
    if not_written:
        problem += f", not written: {join_names(not_written)}"
    problem += f". {cause.problem}"
    hint = " ".join(filter(None, (cause.hint, "Run this again to write the rest." if not_written else "")))
    error = PartialFailure(problem, hint=hint, status=cause.status) if written else cause.reworded(problem, hint)
    error.details = {**outcome.as_result(), "written": list(written), "not_written": list(not_written)}
    error.details["errors"] = dict(failed)
    return error
