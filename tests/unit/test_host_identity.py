# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity of a host: its grants, its metadata, and the decision about what must change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import Identity
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import Grant
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.held import NOTHING, HeldIdentity
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.host import (
    JWT_AUTH,
    OF_HOST,
    UNIVERSAL_AUTH,
    HostEntry,
    HostPlan,
    describe_inputs,
    describe_removal,
    describe_state,
    digest_machine,
    find_folders,
    find_grants,
    find_known,
    find_project,
    is_owned,
    make_desired,
    make_plan,
    read_entry,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.plan import OURS

DAY = 86_400
NOW = 1_800_000_000.0
TTL = 90 * DAY
GRANTS = (Grant("prod", "/app"),)
STATE = describe_state(make_desired("web1", UNIVERSAL_AUTH, GRANTS))
DESIRED = HostEntry("", "web1", desired=STATE, machine="m1")
STORED = DESIRED._replace(id="id-1")
HELD = HeldIdentity("id-1", "client-1", "secret-1", int(NOW) + TTL, UNIVERSAL_AUTH)


def decide(
    *entries: HostEntry, held: HeldIdentity = HELD, desired: HostEntry = DESIRED, now: float = NOW, ttl: float = TTL
) -> HostPlan:
    return make_plan(entries, held, desired, now=now, ttl=ttl)


def summarize(plan: HostPlan) -> tuple[str, bool, bool, int]:
    return ("" if plan.entry is None else plan.entry.id), plan.adjusts, plan.mints, len(plan.spare)


def job(path: str = "/app", *, project: str = "p", **options: Any) -> dict[str, Any]:
    usual = {"environment": "prod", "secret_path": path, "recursive": False, "include_imports": True}
    return {"project_ids": (project,), **usual, **options}


def read(metadata: dict[str, str], name: str = "host:web1", protected: bool = False) -> HostEntry | None:
    return read_entry(Identity("id", name, "p", tuple(metadata.items()), protected))


def follow_nothing(grant: Grant) -> Iterable[Grant]:
    return ()


def describe(jobs: dict[str, dict[str, Any]], *imports: str) -> str:
    return describe_inputs(make_desired("web1", UNIVERSAL_AUTH, find_folders(jobs)), imports)


# Decisions


def test_unchanged_host_needs_nothing() -> None:
    plan = decide(STORED)
    assert summarize(plan) == ("id-1", False, False, 0)
    assert plan.reasons == ()


def test_host_without_identity_gets_one() -> None:
    plan = decide(held=NOTHING)
    assert summarize(plan) == ("", False, True, 0)
    assert plan.reasons == ("the identity host:web1 is created",)


def test_deleted_identity_is_created_again() -> None:
    assert summarize(decide(held=HELD)) == ("", False, True, 0)


def test_other_jobs_adjust_the_identity() -> None:
    other = DESIRED._replace(desired=describe_state(make_desired("web1", UNIVERSAL_AUTH, ())))
    plan = decide(STORED, desired=other)
    assert summarize(plan) == ("id-1", True, False, 0)
    assert plan.reasons == ("the identity host:web1 is adjusted to the jobs of the host",)


@pytest.mark.parametrize(
    ("left", "mints"), [(90, False), (31, False), (30.1, False), (29.9, True), (0, True), (-5, True)]
)
def test_secret_is_replaced_after_two_thirds(left: float, mints: bool) -> None:
    held = HELD._replace(expires_at=int(NOW + left * DAY))
    assert summarize(decide(STORED, held=held)) == ("id-1", False, mints, 0)


def test_shorter_lifetime_replaces_the_secret() -> None:
    assert decide(STORED, ttl=30 * DAY).mints
    assert not decide(STORED, ttl=120 * DAY).mints


def test_unknown_expiry_replaces_the_secret() -> None:
    assert decide(STORED, held=HELD._replace(expires_at=0)).mints


def test_interrupted_rotation_is_completed() -> None:
    plan = decide(STORED._replace(rotation="a1"))
    assert summarize(plan) == ("id-1", False, True, 0)
    assert "interrupted" in plan.reasons[0]


def test_rejected_host_gets_a_new_secret() -> None:
    plan = decide(STORED, held=HELD._replace(rejected=True))
    assert summarize(plan) == ("id-1", False, True, 0)


@pytest.mark.parametrize(
    "held",
    [
        NOTHING,
        HELD._replace(identity_id="another"),
        HELD._replace(auth_method=JWT_AUTH),
        HELD._replace(identity_id=""),
    ],
)
def test_host_without_credential_gets_a_new_one(held: HeldIdentity) -> None:
    plan = decide(STORED, held=held)
    assert summarize(plan) == ("id-1", True, True, 0)
    assert "the host does not have it" in plan.reasons[-1]


def test_held_identity_of_another_host_is_not_used() -> None:
    lying = HELD._replace(identity_id="id-of-web2")
    assert decide(STORED, held=lying).entry == STORED


def test_spare_identities_are_deleted() -> None:
    spare = STORED._replace(id="id-0")
    plan = decide(spare, STORED)
    assert summarize(plan) == ("id-1", False, False, 1)
    assert plan.spare == (spare,)
    assert summarize(decide(spare, STORED, held=NOTHING)) == ("id-0", True, True, 1)


def test_other_login_method_needs_another_identity() -> None:
    by_key = DESIRED._replace(desired=describe_state(make_desired("web1", JWT_AUTH, GRANTS, "PEM")))
    plan = decide(STORED, desired=by_key)
    assert summarize(plan) == ("", False, False, 1)


def test_own_key_needs_no_client_secret() -> None:
    by_key = DESIRED._replace(desired=describe_state(make_desired("web1", JWT_AUTH, GRANTS, "PEM")))
    held = HeldIdentity("id-1", auth_method=JWT_AUTH)
    assert summarize(decide(by_key._replace(id="id-1"), held=held, desired=by_key)) == ("id-1", False, False, 0)
    new_key = DESIRED._replace(desired=describe_state(make_desired("web1", JWT_AUTH, GRANTS, "PEM 2")))
    assert summarize(decide(by_key._replace(id="id-1"), held=held, desired=new_key)) == ("id-1", True, False, 0)


def test_key_of_a_deleted_identity_is_refused() -> None:
    by_key = DESIRED._replace(desired=describe_state(make_desired("web1", JWT_AUTH, GRANTS, "PEM")))
    held = HeldIdentity("id-1", auth_method=JWT_AUTH, public_key="PEM")
    for left in ((), (by_key._replace(id="id-2"),)):
        with pytest.raises(ConfigurationError, match="the key pair of the identity id-1") as caught:
            decide(*left, desired=by_key, held=held)
        assert "-e scheduled_sync_rotate_key=true" in caught.value.hint
    # A host with a new key pair has no note.
    assert summarize(decide(desired=by_key, held=HeldIdentity(public_key="PEM 2"))) == ("", False, False, 0)
    # A client secret of a deleted identity is useless.
    assert summarize(decide(held=HELD)) == ("", False, True, 0)


def test_host_without_the_secret_of_the_last_rotation_gets_one() -> None:
    plan = decide(STORED._replace(client_secret="secret-2"))
    assert summarize(plan) == ("id-1", False, True, 0)
    assert "two runs" in plan.reasons[0]
    assert not decide(STORED._replace(client_secret="secret-1")).reasons


def test_identity_of_another_inventory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="belongs to the inventory 'east'"):
        decide(STORED._replace(inventory="east"))
    with pytest.raises(ConfigurationError, match=r"belongs to the inventory 'east' \(got 'west'\)"):
        decide(STORED._replace(inventory="east"), desired=DESIRED._replace(inventory="west"))


def test_other_machine_of_the_same_name_is_refused() -> None:
    for label in ("", "east"):  # an identity without a label may belong to an inventory without a label
        with pytest.raises(ConfigurationError, match="another machine that is also called 'web1'") as caught:
            decide(STORED, desired=DESIRED._replace(machine="m2", inventory=label), held=NOTHING)
        assert "identity_inventory" not in caught.value.hint


@pytest.mark.parametrize(
    ("inventory", "machine", "label", "owned"),
    [
        ("", "m1", "", True),
        ("", "m1", "east", True),
        ("", "m2", "", False),
        ("", "m2", "east", False),
        ("", "", "", False),
        ("", "", "east", False),
        ("east", "m2", "east", True),
        ("east", "m1", "", False),
        ("east", "m1", "west", False),
    ],
)
def test_identity_of_another_machine_is_not_owned(inventory: str, machine: str, label: str, owned: bool) -> None:
    entry = STORED._replace(inventory=inventory, machine=machine)
    assert is_owned(entry, DESIRED._replace(inventory=label)) is owned
    assert not is_owned(STORED, DESIRED._replace(machine=""))


def test_labelled_inventory_allows_a_new_machine() -> None:
    stored, desired = STORED._replace(inventory="east"), DESIRED._replace(inventory="east", machine="m2")
    assert summarize(decide(stored, desired=desired, held=NOTHING)) == ("id-1", True, True, 0)


def test_label_is_added_to_an_identity_without_one() -> None:
    assert summarize(decide(STORED, desired=DESIRED._replace(inventory="east"))) == ("id-1", True, False, 0)


# Metadata


@pytest.mark.parametrize("host", ["web1", "wéb 1", "a:b/c", "[::1]", "{{ x }}", "x" * 250, "'\"\\"])
def test_metadata_are_read_as_written(host: str) -> None:
    entry = HostEntry("id", host, "east", "universal_auth:abc", "m1", "a1", "secret-1", "renamed", True, "i1")
    assert read(entry.metadata(), "renamed", True) == entry
    assert read(HostEntry("id", host).metadata(), "") == HostEntry("id", host)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"host": "web1"},
        {"managed_by": OF_HOST},
        {"managed_by": "x", "host": "web1"},
        # Playbooks create identities with infisical_identity, and `host` is a likely key of their metadata.
        {"managed_by": OURS, "host": "web1", "inventory": "east"},
    ],
)
def test_foreign_identities_are_ignored(metadata: dict[str, str]) -> None:
    assert read(metadata) is None


def test_messages_have_the_real_name_of_an_identity() -> None:
    spare = STORED._replace(id="id-0", stored_name="renamed")
    assert describe_removal([spare]) == ["the identity renamed (id-0) is removed, because it is not used"]


def test_machine_id_is_not_stored() -> None:
    assert digest_machine("") == ""
    assert len(digest_machine("3f1b0c9a8d7e4f6a9b8c7d6e5f4a3b2c")) == 32
    assert "3f1b0c9a" not in digest_machine("3f1b0c9a8d7e4f6a9b8c7d6e5f4a3b2c")


# Grants


def test_each_job_gets_its_folder() -> None:
    jobs = {"a": job("/app"), "b": job("/db", recursive=True), "c": job("/app"), "d": job("/app", environment="dev")}
    assert find_grants(find_folders(jobs), follow_nothing) == (
        Grant("dev", "/app"), Grant("prod", "/app"), Grant("prod", "/db", True)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("paths", "left"),
    [
        ((("/app", True), ("/app/x", False)), [("/app", True)]),
        ((("/app", True), ("/app", False)), [("/app", True)]),
        ((("/app", True), ("/app/x", True)), [("/app", True)]),
        ((("/", True), ("/app", True), ("/x/y", False)), [("/", True)]),
        ((("/app", True), ("/application", False)), [("/app", True), ("/application", False)]),
        ((("/app", False), ("/app/x", False)), [("/app", False), ("/app/x", False)]),
    ],
)
def test_included_grants_are_left_out(paths: Any, left: Any) -> None:
    jobs = {str(number): job(path, recursive=recursive) for number, (path, recursive) in enumerate(paths)}
    assert [(one.path, one.recursive) for one in find_grants(find_folders(jobs), follow_nothing)] == left


def test_imported_folders_are_granted() -> None:
    asked: list[Grant] = []

    def follow(grant: Grant) -> Iterable[Grant]:
        asked.append(grant)
        return (Grant("shared", "/common"),)

    app, common = Grant("prod", "/app", True), Grant("shared", "/common")
    jobs = {"a": job("/app", recursive=True), "b": job("/db", include_imports=False)}
    assert find_grants(find_folders(jobs), follow) == (app, Grant("prod", "/db"), common)
    assert asked == [app]


def test_one_job_with_imports_is_enough() -> None:
    jobs = {"a": job("/app"), "b": job("/app", include_imports=False)}
    assert find_folders(jobs) == {Grant("prod", "/app"): True}


def test_inputs_depend_on_jobs_and_imports() -> None:
    jobs = {"a": job("/app")}
    assert len({describe(jobs), describe(jobs, "/common"), describe({"a": job("/db")}), describe({})}) == 4
    assert describe(jobs, "/common") == describe({"b": job("/app")}, "/common")


def test_known_inputs_give_the_desired_state() -> None:
    stored = STORED._replace(inputs="i1")
    assert find_known([DESIRED, stored], "i1") == STATE
    assert find_known([DESIRED, stored], "i2") == ""
    assert find_known([], "i1") == ""


def test_other_inputs_alone_change_nothing() -> None:
    assert decide(STORED._replace(inputs="i1"), desired=DESIRED._replace(inputs="i2")).reasons == ()


@pytest.mark.parametrize("path", ["/a*", "/a?", "/a{b}", "/[a]", "/!(a)"])
def test_patterns_in_a_path_are_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="must not contain"):
        find_folders({"a": job(path)})


def test_projects_of_jobs_must_be_the_same() -> None:
    assert find_project({"a": job(), "b": job("/b")}) == "p"
    with pytest.raises(ConfigurationError, match=r"one project.*got p in 'a', q in 'b'"):
        find_project({"a": job(), "b": job(project="q")})
    with pytest.raises(ConfigurationError, match="all in 'a'"):
        find_project({"a": job(project="all")})


def test_state_depends_on_grants_method_and_key() -> None:
    states = {
        describe_state(make_desired("web1", UNIVERSAL_AUTH, GRANTS)),
        describe_state(make_desired("web1", UNIVERSAL_AUTH, (Grant("prod", "/app", True),))),
        describe_state(make_desired("web1", JWT_AUTH, GRANTS, "one")),
        describe_state(make_desired("web1", JWT_AUTH, GRANTS, "two")),
    }
    assert len(states) == 4
    assert describe_state(make_desired("web1", UNIVERSAL_AUTH, GRANTS[::-1])) in states
