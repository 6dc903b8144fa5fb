# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: properties that are checked for every small store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import plan
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret, canonical_value

NAMES = ("B", "A", "a")
VALUES = ("", "x", " x\n")


def stores(values: tuple[str, ...]) -> Iterator[dict[str, Secret]]:
    """Return every store of up to three names, each absent or with one of the values."""
    for chosen in itertools.product((None, *values), repeat=len(NAMES)):
        yield {
            name: Secret(name, value, comment="", tags=(), metadata=())
            for name, value in zip(NAMES, chosen)
            if value is not None
        }


STORED = tuple({canonical_value(value) for value in VALUES} | {"y"})
PAIRS = [(current, desired) for current in stores(STORED) for desired in stores(VALUES)]


def applied(current: dict[str, Secret], changes: plan.Plan) -> dict[str, Secret]:
    """Return the content of a server that trims values, after a plan."""
    result = dict(current)
    for change in changes.changes:
        if change.after is None:
            del result[change.key]
        else:
            result[change.key] = change.after._replace(value=canonical_value(change.after.value or ""))
    return result


@pytest.mark.parametrize("prune", [True, False])
def test_plan_is_empty_after_it_was_applied(prune: bool) -> None:
    for current, desired in PAIRS:
        after = applied(current, plan.build(current, desired, prune=prune))
        assert plan.build(after, desired, prune=prune).changes == ()


@pytest.mark.parametrize("prune", [True, False])
def test_plan_contains_every_name_once_and_in_order(prune: bool) -> None:
    for current, desired in PAIRS:
        built = plan.build(current, desired, prune=prune)
        changed = [change.key for change in built.changes]
        assert changed == sorted(changed)
        assert list(built.unchanged) == sorted(built.unchanged)
        assert sorted([*changed, *built.unchanged]) == sorted({*current, *desired})


@pytest.mark.parametrize("prune", [True, False])
def test_action_depends_on_whether_a_name_is_stored_or_desired(prune: bool) -> None:
    for current, desired in PAIRS:
        for change in plan.build(current, desired, prune=prune).changes:
            wanted = {(False, True): "create", (True, True): "update", (True, False): "delete"}
            assert change.action == wanted[change.key in current, change.key in desired]
            assert change.before == current.get(change.key)
            assert change.after == desired.get(change.key)
            assert prune or change.action != "delete"


def test_plan_does_not_depend_on_the_input_order() -> None:
    for current, desired in PAIRS[::7]:
        turned = plan.build(dict(reversed(current.items())), dict(reversed(desired.items())), prune=True)
        assert turned == plan.build(current, desired, prune=True)


def test_pruning_leaves_exactly_the_desired_names() -> None:
    for current, desired in PAIRS:
        assert set(applied(current, plan.build(current, desired, prune=True))) == set(desired)


STORED_SECRET = Secret("A", "x", version=3, comment="c", tags=("one", "two"), metadata=(("k", "v"), ("l", "w")))


@pytest.mark.parametrize(
    "wanted",
    [
        Secret("A", "x"),
        Secret("A"),
        Secret("A", " x ", comment=" c ", tags=("two", "one"), metadata=(("l", "w"), ("k", "v"))),
    ],
)
def test_unset_or_reordered_fields_are_not_changes(wanted: Secret) -> None:
    assert not plan.differs(STORED_SECRET, wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        Secret("A", "y"),
        Secret("A", ""),
        Secret("A", "x", comment=""),
        Secret("A", "x", comment="d"),
        Secret("A", "x", tags=()),
        Secret("A", "x", tags=("one",)),
        Secret("A", "x", metadata=()),
        Secret("A", "x", metadata=(("k", "v"), ("l", "z"))),
    ],
)
def test_each_field_that_is_set_can_cause_a_change(wanted: Secret) -> None:
    assert plan.differs(STORED_SECRET, wanted)


def test_hidden_value_counts_as_changed() -> None:
    hidden = STORED_SECRET._replace(value=None, hidden=True)
    assert plan.differs(hidden, Secret("A", "x"))
    assert not plan.differs(hidden, Secret("A"))


def test_metadata_that_the_server_cannot_store_is_not_a_change() -> None:
    assert not plan.differs(STORED_SECRET._replace(metadata=None), Secret("A", "x", metadata=(("k", "v"),)))
