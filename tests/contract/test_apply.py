# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applying a plan: batches and their limits, other writers, lost responses, refused secrets, remaining changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import count_batch_bytes
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.apply import Applied
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.listing import merge
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.remote import Remote
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.answers import BODY_LIMIT
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.plan import Plan, build
from contract.targets import ENVIRONMENT, PROJECT, Controlled, Target, error_of

BATCH = "/batch"
VALUE = "cAnAry-value-of-"


def wanted(count: int, value: str = VALUE) -> dict[str, str]:
    return {f"NAME_{n:04d}": f"{value}{n}" for n in range(count)}


def plan_of(store: Remote, values: Mapping[str, str], prune: bool = False) -> Plan:
    current = merge(store.api.list_secrets(store.location)).secrets
    return build(current, {name: Secret(name, value) for name, value in values.items()}, prune=prune)


def push(store: Remote, values: Mapping[str, str], prune: bool = False) -> Applied:
    return store.apply(plan_of(store, values, prune))


def done(applied: Applied) -> tuple[str, ...]:
    """Return the written names, and check that there was no error."""
    assert (applied.error, applied.failed, applied.left, applied.pending, applied.approvals) == (None, {}, (), (), ())
    return applied.written


def stored(target: Target) -> dict[str, str | None]:
    store = target.remote()
    return {name: secret.value for name, secret in merge(store.api.list_secrets(store.location)).secrets.items()}


def version(target: Target) -> str:
    """Return the API version to configure, so that no detection requests are counted."""
    return "v3" if target.kind == "2024" else "v4"


def texts(applied: Applied, *more: object) -> str:
    error = applied.error
    return " ".join(map(repr, (applied, error, vars(error) if error else "", *more))) + str(error)


# Effects of a plan


def test_second_run_of_a_plan_changes_nothing(target: Target) -> None:
    done(push(target.remote(), {"GONE_A": "1", "GONE_B": "2", "OLD_A": "1", "OLD_B": "2", "SAME": "3"}))
    values = {"OLD_A": "x", "OLD_B": "y", "SAME": "3", "NEW_A": "1", "NEW_B": ""}
    told: list[tuple[int, int]] = []
    store = target.remote()
    applied = store.apply(plan_of(store, values, prune=True), log=lambda count, total: told.append((count, total)))
    assert done(applied) == ("GONE_A", "GONE_B", "NEW_A", "NEW_B", "OLD_A", "OLD_B")
    assert applied.versions == {"NEW_A": 1, "NEW_B": 1, "OLD_A": 2, "OLD_B": 2}
    assert stored(target) == values
    assert told == ([(2, 6), (4, 6), (6, 6)])
    assert plan_of(store, values, prune=True).changes == ()


def test_empty_plan_sends_no_requests(controlled: Controlled) -> None:
    assert controlled.remote().apply(Plan((), ("A",))) == Applied()
    assert controlled.server.requests() == []


@pytest.mark.kinds("2024", "2026-07")
def test_thousand_new_secrets_take_few_requests(controlled: Controlled) -> None:
    values = wanted(1000, "v" * 100)
    assert len(done(push(controlled.remote(), values))) == 1000
    assert len(controlled.server.requests()) <= 6
    assert stored(controlled) == values


@pytest.mark.kinds("2024")
def test_missing_batch_route_is_requested_only_once(controlled: Controlled) -> None:
    store = controlled.remote(api_version="v3")
    plan = plan_of(store, wanted(5))
    controlled.server.arm("status", status=404, message="Route POST:/x not found", path=BATCH, times=None)
    controlled.server.clear_requests()
    assert len(done(store.apply(plan))) == 5
    assert len(done(push(store, wanted(5, "new")))) == 5
    assert controlled.methods() == [*["POST"] * 6, "GET", *["PATCH"] * 5]


@pytest.mark.kinds("2024", "2026-07")
def test_single_change_does_not_use_the_batch_route(controlled: Controlled) -> None:
    for values in ({"A": "one"}, {"A": "two"}, {}):
        done(push(controlled.remote(), values, prune=True))
    assert controlled.server.requests(BATCH) == []


@pytest.mark.kinds("2024", "2026-07")
def test_names_that_only_batches_accept_can_be_written(target: Target) -> None:
    names = ["batch", "A" * 101, "B" * 500]
    for values in (dict.fromkeys(names, "one"), dict.fromkeys(names, "two"), {}):
        done(push(target.remote(), values, prune=True))
        assert stored(target) == values
    done(push(target.remote(), {"batch": "one"}))
    assert stored(target) == {"batch": "one"}


# Limits


@pytest.mark.kinds("2024", "2026-07")
def test_batches_stay_within_the_servers_size_limit(controlled: Controlled) -> None:
    # Characters of different lengths in JSON, UTF-8 and ASCII, and one value that almost exceeds the limit alone.
    values = {f"BIG_{n}": f"{n}" + unit * 60_000 for n, unit in enumerate(('"', "\u20ac", "\x01", "a", "\U0001f511"))}
    values["HUGE"] = "h" * 1_040_000
    assert done(push(controlled.remote(), values)) == tuple(sorted(values))
    assert stored(controlled) == values
    assert 413 not in [status for _method, status in controlled.sent()]
    assert len(controlled.methods("POST")) <= len(values)


@pytest.mark.kinds("2024", "2026-07")
def test_batches_stay_within_the_limit_of_secrets(controlled: Controlled) -> None:
    values = wanted(1200, "")
    store = controlled.remote(api_version=version(controlled))
    done(push(store, values))
    done(push(store, {}, prune=True))
    sizes = {"POST": [], "DELETE": []}  # type: dict[str, list[int]]
    for entry in controlled.server.requests(BATCH):
        sizes[entry["method"]].append(len(entry["body"]["secrets"]))
    assert sizes == {"POST": [1000, 200], "DELETE": [500, 500, 200]}


def test_computed_size_of_a_secret_matches_the_request_body() -> None:
    sent = '{"secretKey": "A", "secretValue": "\\"\u20ac\U0001f511"}, '
    assert count_batch_bytes(Secret("A", '"\u20ac\U0001f511')) == len(sent.encode("utf-8"))
    assert count_batch_bytes(Secret("A")) == len('{"secretKey": "A"}, ')


@pytest.mark.kinds("2024", "2026-07")
def test_batch_that_the_server_finds_too_large_is_halved(controlled: Controlled) -> None:
    controlled.server.arm("status", status=413, path=BATCH, times=3)
    assert len(done(push(controlled.remote(), wanted(16)))) == 16
    assert stored(controlled) == wanted(16)
    sizes = [len(entry["body"]["secrets"]) for entry in controlled.server.requests(BATCH)]
    assert sizes == [16, 8, 4, 2, 2, 4, 8]


def test_too_large_value_does_not_stop_other_secrets(controlled: Controlled) -> None:
    values = {"A": "one", "B": "b" * BODY_LIMIT, "C": "three"}
    applied = push(controlled.remote(), values)
    assert applied.written == ("A", "C")
    assert list(applied.failed) == ["B"]
    assert applied.error is not None
    assert applied.error.conclusion == "too_large"
    assert applied.left == ()
    assert "bbb" not in texts(applied)


# Other writers


def test_secret_created_by_another_writer_is_updated(controlled: Controlled) -> None:
    store = controlled.remote(api_version=version(controlled))
    plan = plan_of(store, wanted(20))
    controlled.put("NAME_0007", "theirs")
    controlled.put("NAME_0008", wanted(20)["NAME_0008"])
    controlled.server.clear_requests()
    assert done(store.apply(plan)) == tuple(wanted(20))
    assert stored(controlled) == wanted(20)
    assert [one["version"] for one in controlled.stored("NAME_0007")] == [2]
    assert [one["version"] for one in controlled.stored("NAME_0008")] == [1]
    assert controlled.methods()[:4] == ["POST", "GET", "POST", "PATCH"]


@pytest.mark.parametrize(("theirs", "methods"), [("one", ["POST", "GET"]), ("other", ["POST", "GET", "PATCH"])])
def test_conflict_of_a_single_change_is_resolved_by_a_lookup(
    controlled: Controlled, theirs: str, methods: list[str]
) -> None:
    store = controlled.remote(api_version=version(controlled))
    plan = build({}, {"A": Secret("A", "one")})
    controlled.put("A", theirs)
    controlled.server.clear_requests()
    assert done(store.apply(plan)) == ("A",)
    assert controlled.methods() == methods
    assert stored(controlled) == {"A": "one"}


@pytest.mark.kinds("2024", "2026-07")
def test_second_conflict_of_a_batch_is_resolved_one_by_one(controlled: Controlled) -> None:
    store = controlled.remote(api_version=version(controlled))
    plan = plan_of(store, wanted(4))
    for name in ("NAME_0001", "NAME_0002"):
        theirs = {"project": PROJECT, "environment": ENVIRONMENT, "path": "/", "key": name, "value": "theirs"}
        controlled.server.arm("write_first", method="POST", path=BATCH, secret=theirs)
    controlled.server.clear_requests()
    assert len(done(store.apply(plan))) == 4
    # The second listing shows that another writer created 0001. 0002 is found when it is created separately.
    assert controlled.methods() == ["POST", "GET", "POST", "POST", "POST", "PATCH", "POST", "PATCH"]
    assert stored(controlled) == wanted(4)


@pytest.mark.kinds("2024", "2026-07", "2026-10")
def test_secret_deleted_by_another_writer_is_not_an_error(controlled: Controlled) -> None:
    for name, value in (("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")):
        controlled.put(name, value)
    store = controlled.remote(api_version=version(controlled))
    plan = plan_of(store, {"A": "new", "B": "new"}, prune=True)
    for name in ("A", "C"):
        controlled.server.delete_secret(PROJECT, ENVIRONMENT, "/", name)
    assert done(store.apply(plan)) == ("A", "B", "C", "D")
    assert stored(controlled) == {"A": "new", "B": "new"}


def test_duplicate_name_on_the_server_is_updated_and_deleted(controlled: Controlled) -> None:
    for name in ("A", "B"):
        controlled.put(name, "one")
        controlled.put(name, "two", repeat=True)
    store = controlled.remote()
    done(store.apply(plan_of(store, {"A": "three", "C": "new"}, prune=True)))
    assert "three" in [one["value"] for one in controlled.stored("A")]
    assert controlled.stored("B") == []
    done(push(store, {}, prune=True))
    assert controlled.stored("A") == []


# Lost responses


@pytest.mark.parametrize("took_effect", [True, False])
def test_lost_create_requests_are_looked_up_before_a_retry(controlled: Controlled, took_effect: bool) -> None:
    store = controlled.remote(api_version=version(controlled))
    plan = plan_of(store, wanted(10))
    controlled.server.arm("cut_before", after_handling=took_effect, method="POST", path=BATCH)
    controlled.server.clear_requests()
    applied = store.apply(plan)
    assert done(applied) == tuple(wanted(10))
    assert set(applied.versions.values()) == {1}
    assert stored(controlled) == wanted(10)
    assert controlled.clock.waits == [10]
    assert {one["version"] for name in wanted(10) for one in controlled.stored(name)} == {1}
    assert controlled.methods()[: 2 if took_effect else 3] == (["POST", "GET", "POST"])[: 2 if took_effect else 3]


@pytest.mark.kinds("2024", "2026-07")
@pytest.mark.parametrize("took_effect", [True, False])
def test_lost_update_and_delete_requests_are_completed(controlled: Controlled, took_effect: bool) -> None:
    for name in ("A", "B", "C", "D"):
        controlled.put(name, "old")
    for method in ("PATCH", "DELETE"):
        controlled.server.arm("cut_before", after_handling=took_effect, method=method, path=BATCH)
    assert done(push(controlled.remote(), {"A": "new", "B": "new"}, prune=True)) == ("A", "B", "C", "D")
    assert stored(controlled) == {"A": "new", "B": "new"}


def test_next_push_completes_a_push_with_a_server_error(controlled: Controlled) -> None:
    store = controlled.remote(api_version=version(controlled))
    big = {name: "v" * 300_000 + name for name in wanted(6)}
    plan = plan_of(store, big)
    controlled.server.arm("delay", seconds=0, method="POST", path=BATCH)  # the first batch is still well
    controlled.server.arm("status", status=500, method="POST", path=BATCH, times=None)
    applied = store.apply(plan)
    assert applied.error is not None
    assert applied.error.conclusion == "server_error"
    assert sorted((*applied.written, *applied.left)) == sorted(big)
    assert applied.failed == {}
    assert stored(controlled) == {name: big[name] for name in applied.written}
    assert applied.written == ("NAME_0000", "NAME_0001", "NAME_0002")
    controlled.server.disarm()
    assert done(push(store, big)) == applied.left
    assert stored(controlled) == big


# Refused secrets


@pytest.mark.kinds("2026-07")
def test_refused_secret_does_not_stop_other_secrets(controlled: Controlled) -> None:
    bad = "NAME_0013:x"
    store = controlled.remote(api_version="v4")
    plan = plan_of(store, {**wanted(40), bad: VALUE})
    controlled.server.clear_requests()
    applied = store.apply(plan)
    assert (applied.written, list(applied.failed), applied.left) == (tuple(wanted(40)), [bad], ())
    assert applied.error is not None
    assert applied.error.conclusion == "invalid"
    assert f"'{bad}'" in applied.failed[bad]
    assert VALUE not in texts(applied, controlled.log)
    assert len(controlled.methods()) < 20
    assert plan_of(store, wanted(40)).changes == ()


@pytest.mark.kinds("2024", "2026-07")
def test_refused_batch_without_an_invalid_secret_is_split(controlled: Controlled) -> None:
    controlled.server.arm("status", status=422, error="ValidationFailure", method="POST", path=BATCH)
    store = controlled.remote()
    assert len(done(push(store, wanted(41)))) == 41
    sizes = [len(entry["body"]["secrets"]) for entry in controlled.server.requests(BATCH)]
    assert sizes == [41, 1, 20, 20]
    assert store.api.has_batches


@pytest.mark.kinds("2026-07")
def test_references_are_written_unresolved(controlled: Controlled) -> None:
    values = {
        "A": "${B}", "B": "${C}", "C": "c", "D": "${E}" + "d" * 600_000, "E": "e" * 600_000, "F:": "f", "G": "${NONE}",
    }  # fmt: skip
    applied = push(controlled.remote(), values)
    assert applied.written == ("A", "B", "C", "D", "E", "G")
    assert sorted(applied.failed) == ["F:"]


def test_forbidden_write_stops_the_push_and_names_the_permission(controlled: Controlled) -> None:
    controlled.put("A", "old")
    applied = push(controlled.remote("viewer"), {**wanted(5), "A": "new"})
    assert applied.error is not None
    assert applied.error.conclusion == "forbidden"
    assert applied.left == ("A", *wanted(5))
    assert (applied.written, applied.failed) == ((), {})
    assert "Machine Identities" in str(applied.error)
    assert VALUE not in texts(applied)


def test_identity_without_list_permission_resolves_a_conflict(controlled: Controlled) -> None:
    controlled.put("NAME_0001", "theirs")
    plan = build({}, {name: Secret(name, value) for name, value in wanted(4).items()})
    assert len(done(controlled.remote("writer").apply(plan))) == 4
    assert stored(controlled) == wanted(4)


def test_missing_folder_is_created_only_with_create_path(controlled: Controlled) -> None:
    plan = build({}, {name: Secret(name, value) for name, value in wanted(4).items()})
    applied = controlled.remote(path="/new/one").apply(plan)
    assert "Folder '/new/one' does not exist" in str(applied.error)
    assert len(done(controlled.remote(path="/new/one", create_path=True).apply(plan))) == 4
    assert len(controlled.stored("NAME_0003", "/new/one")) == 1
    wrong = controlled.remote(path="/new/one", environment="none", create_path=True).apply(plan)
    assert "no environment 'none'" in str(wrong.error)
    assert wrong.left == tuple(wanted(4))
    assert applied.error is not None
    assert applied.error.conclusion == "scope_missing"
    assert applied.left == tuple(wanted(4))


@pytest.mark.kinds("2024", "2026-07")
@pytest.mark.parametrize("values", [{"A": "new", "B": "new"}, {}], ids=["updates", "deletes"])
def test_folder_deleted_during_a_push_is_reported_as_missing(controlled: Controlled, values: dict[str, str]) -> None:
    for name in ("A", "B"):
        controlled.put(name, "old", "/app/db")
    store = controlled.remote(path="/app/db", create_path=True)
    plan = plan_of(store, values, prune=True)
    store.remove_folder(force=True)
    applied = store.apply(plan)
    assert "Folder '/app/db' does not exist" in str(applied.error)
    assert applied.left == ("A", "B")


@pytest.mark.kinds("2026-07")
def test_change_awaiting_approval_is_pending_and_not_written(controlled: Controlled, tmp_path: Path) -> None:
    controlled.put("OLD_A", "1", "/guarded")
    controlled.put("OLD_B", "1", "/guarded")
    store = controlled.remote(path="/guarded", state_file=str(tmp_path / "state.json"))
    applied = push(store, {**wanted(3), "OLD_A": "2"}, prune=True)
    assert applied.pending == (*wanted(3), "OLD_A", "OLD_B")
    assert (applied.written, applied.versions, applied.error) == ((), {}, None)
    approvals = controlled.server.state()["approvals"]
    assert sorted(applied.approvals) == sorted(one["id"] for one in approvals)
    assert sorted(len(one["keys"]) for one in approvals) == [1, 1, 3]
    assert store.state is not None
    assert not store.state.holds("OLD_A", "2")


# The state file


@pytest.mark.parametrize("change", [{"A": 1}, {"A": "\udc80cAnAry"}, {"A\nB": "x"}, {"": "x"}], ids=repr)
def test_invalid_names_and_values_are_refused_before_sending(controlled: Controlled, change: dict[str, Any]) -> None:
    plan = build({}, {name: Secret(name, value) for name, value in {**wanted(3), **change}.items()})
    error = error_of(controlled.remote().apply, plan)
    assert isinstance(error, ConfigurationError)
    assert "cAnAry" not in str(error)
    assert controlled.server.requests() == []


def test_state_file_is_updated_after_writes_and_deletions(target: Target, tmp_path: Path) -> None:
    store = target.remote(state_file=str(tmp_path / "state.json"))
    assert store.state is not None
    done(push(store, {"A": "one", "B": "two", "C": "three"}))
    assert store.state.holds("A", "one", 1)
    done(push(store, {"A": "new", "D": "four"}, prune=True))
    assert store.state.holds("A", "new", 2)
    assert store.state.holds("D", "four", 1)
    assert not store.state.holds("B", "two")
    assert VALUE not in (tmp_path / "state.json").read_text("utf-8")


def test_unusable_state_file_prevents_all_requests(controlled: Controlled, tmp_path: Path) -> None:
    store = controlled.remote(state_file=str(tmp_path / "none" / "state.json"))
    error = error_of(store.apply, build({}, {"A": Secret("A", "one")}))
    assert error.conclusion == "configuration"
    assert controlled.server.requests() == []


def test_state_file_contains_secrets_written_before_an_error(controlled: Controlled, tmp_path: Path) -> None:
    store = controlled.remote(state_file=str(tmp_path / "state.json"), api_version=version(controlled))
    controlled.put("OLD_A", "old")
    controlled.put("OLD_B", "old")
    plan = plan_of(store, {"A": "one", "B": "two", "OLD_A": "new", "OLD_B": "new"})
    controlled.server.arm("status", status=403, error="PermissionDenied", method="PATCH", times=None)
    applied = store.apply(plan)
    assert applied.left == ("OLD_A", "OLD_B")
    assert applied.written == ("A", "B")
    assert store.state is not None
    assert store.state.holds("B", "two", 1)
    assert not store.state.holds("OLD_A", "new")


# Messages


@pytest.mark.kinds("2024", "2026-07")
def test_batch_error_is_short_and_names_the_first_secrets(controlled: Controlled) -> None:
    applied = push(controlled.remote("viewer"), wanted(900))
    assert "900 secrets ('NAME_0000', 'NAME_0001', 'NAME_0002', …)" in str(applied.error)
    assert len(str(applied.error)) < 800


def test_missing_folder_error_lists_the_existing_folders(controlled: Controlled) -> None:
    for path, words in (
        ("/app/dbb", "Folders in '/app': db. "),
        ("/app/nothing/below/it", "Folders in '/app': db. "),
        ("/ap/db", "Folders in '/': app, guarded, importing. "),
        ("/app/db/x", "Folders in '/app': db. "),
    ):
        assert words in str(error_of(controlled.remote(path=path).listing))
    for n in range(12):
        controlled.remote(path=f"/many/n{n:02d}").put_folder()
    message = str(error_of(controlled.remote(path="/many/x").listing))
    assert "n00, n01, n02, n03, n04, n05, n06, n07, n08, n09 and 2 more. " in message


FAULTS: dict[str, dict[str, Any]] = {
    **{str(code): {"kind": "status", "status": code} for code in (400, 401, 403, 404, 409, 413, 422, 429, 500)},
    "already exist": {"kind": "status", "status": 400, "message": f"Secret already exist: {VALUE}0"},
    "html": {"kind": "html"},
    "malformed": {"kind": "malformed"},
    "cut in the middle": {"kind": "cut_middle"},
}


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_failed_push_leaks_no_value_and_reports_every_name(controlled: Controlled, fault: dict[str, Any]) -> None:
    for name in ("OLD_A", "OLD_B", "OLD_C"):
        controlled.put(name, VALUE + "old")
    store = controlled.remote(timeout=2)
    values = dict.fromkeys(("A", "B", "OLD_A", "OLD_B"), f"{VALUE}0")
    plan = plan_of(store, values, prune=True)
    said = {"message": f"the value {VALUE}0 is not welcome", **fault} if fault["kind"] == "status" else fault
    for method in ("POST", "PATCH"):
        controlled.server.arm(**said, method=method, path="/secrets", times=3)
    if "message" not in fault:
        controlled.server.arm(**fault, method="DELETE", path="/secrets", times=3)
    applied = store.apply(plan)
    assert VALUE not in texts(applied, *controlled.log, *applied.failed.values())
    named = [*applied.written, *applied.pending, *applied.failed, *applied.left]
    assert sorted(named) == sorted(change.key for change in plan.changes)
    controlled.server.disarm()
    if applied.error is not None:
        assert isinstance(applied.error, InfisicalError)
        push(store, values, prune=True)
    assert stored(controlled) == values


# More refused secrets


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("bad", ["A:FIRST", "NAME_0150:", "ZZ:LAST"])
def test_refused_name_in_a_batch_is_found_with_few_requests(controlled: Controlled, bad: str) -> None:
    applied = push(controlled.remote(), {**wanted(300), bad: VALUE})
    assert (applied.written, list(applied.failed)) == (tuple(wanted(300)), [bad])
    assert len(controlled.methods()) < 25


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("names", [("A", "B:"), ("A:", "B"), ("A:", "B:"), ("A:", "B", "C"), ("A:", "B", "C:")])
def test_refused_names_do_not_stop_the_rest_of_a_small_batch(controlled: Controlled, names: tuple[str, ...]) -> None:
    applied = push(controlled.remote(), dict.fromkeys(names, VALUE))
    good = tuple(name for name in names if ":" not in name)
    assert (applied.written, tuple(applied.failed)) == (good, tuple(name for name in names if name not in good))
    assert tuple(sorted(stored(controlled))) == good


@pytest.mark.kinds("2024")
def test_stored_secret_with_an_invalid_name_can_be_pruned(controlled: Controlled) -> None:
    controlled.put("WITH\nNEWLINE", "one")
    controlled.put("OTHER", "two")
    done(push(controlled.remote(), {"A": "three"}, prune=True))
    assert stored(controlled) == {"A": "three"}


@pytest.mark.kinds("2026-07")
def test_each_secret_of_a_plan_keeps_its_own_tags(controlled: Controlled) -> None:
    wanted_tags = {"A": ("web",), "B": ("database",), "C": ("web",), "D": None, "E": None}
    values = dict.fromkeys(wanted_tags, "x") | {"A": "${D}"}
    desired = {name: Secret(name, values[name], tags=tags) for name, tags in wanted_tags.items()}
    done(controlled.remote().apply(build({}, desired)))
    assert [controlled.stored(name)[0]["tags"] for name in wanted_tags] == [["web"], ["database"], ["web"], [], []]


# Errors at any point


@pytest.mark.parametrize("count", [1, 4])
def test_identity_without_read_permission_overwrites_a_secret(controlled: Controlled, count: int) -> None:
    plan = build({}, {name: Secret(name, value) for name, value in wanted(count).items()})
    for name in list(wanted(count))[:2]:
        controlled.put(name, "theirs")
    assert done(controlled.remote("hidden").apply(plan)) == tuple(wanted(count))
    assert stored(controlled) == wanted(count)


@pytest.mark.parametrize("successes", [0, 1, 2, 3])
def test_secrets_reported_as_written_are_stored(controlled: Controlled, successes: int) -> None:
    values = {f"NAME_{n}": "x" * 300_000 + str(n) for n in range(9)}
    store = controlled.remote()
    plan = plan_of(store, values)
    refusal = {"kind": "status", "status": 403, "error": "PermissionDenied", "times": None}
    controlled.server.arm("delay", seconds=0, times=successes + 1, method="POST", path="/secrets")
    controlled.server.arm(**refusal, method="POST", path="/secrets")
    applied = store.apply(plan)
    assert set(applied.written) == set(stored(controlled))
    assert tuple(sorted((*applied.written, *applied.left))) == tuple(values)
    controlled.server.disarm()
    assert done(push(store, values)) == applied.left
    assert stored(controlled) == values


LOST: dict[str, dict[str, Any]] = {
    "cut in the middle": {"kind": "cut_middle"},
    "500, stored": {"kind": "status", "status": 500, "after_handling": True},
    "502, not stored": {"kind": "html", "status": 502},
}


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
def test_every_action_is_completed_after_one_lost_response(
    controlled: Controlled, fault: dict[str, Any], count: int
) -> None:
    for name in wanted(count):
        controlled.put(name + "_UPDATED", "old")
        controlled.put(name + "_DELETED", "old")
    values = {**wanted(count), **{f"{name}_UPDATED": value for name, value in wanted(count).items()}}
    store = controlled.remote()
    plan = plan_of(store, values, prune=True)
    for method in ("POST", "PATCH", "DELETE"):
        controlled.server.arm(**fault, method=method, path="/secrets")
    assert len(done(store.apply(plan))) == 3 * count
    assert stored(controlled) == values
    assert {one["version"] for name in wanted(count) for one in controlled.stored(name)} == {1}


@pytest.mark.kinds("2024", "2026-07")
def test_batches_are_filled_up_to_the_servers_limit(controlled: Controlled) -> None:
    values = {name: "x" * 9_000 + name for name in wanted(300)}
    done(push(controlled.remote(), values))
    assert stored(controlled) == values
    batches = controlled.server.requests(BATCH)
    assert {entry["status"] for entry in batches} == {200}
    assert len(batches) == 3


@pytest.mark.kinds("2024")
def test_without_batch_routes_only_names_that_need_them_fail(controlled: Controlled) -> None:
    store = controlled.remote(api_version="v3")
    controlled.server.arm("status", status=404, message="Route POST:/x not found", path=BATCH, times=None)
    applied = push(store, {**wanted(3), "A" * 101: VALUE})
    assert (applied.written, list(applied.failed)) == (tuple(wanted(3)), ["A" * 101])
    assert "Use another name" in applied.failed["A" * 101]


@pytest.mark.kinds("2024", "2026-07")
def test_folder_still_missing_after_creation_is_created_once(controlled: Controlled) -> None:
    message = "Folder not found"
    store = controlled.remote(path="/new", create_path=True)
    plan = build({}, {name: Secret(name, value) for name, value in wanted(3).items()})
    controlled.server.arm("status", status=404, message=message, method="POST", path=BATCH, times=None)
    applied = store.apply(plan)
    assert applied.error is not None
    assert applied.error.conclusion == "scope_missing"
    assert applied.left == tuple(wanted(3))
    assert controlled.sent("/folders").count(("POST", 200)) == 1
