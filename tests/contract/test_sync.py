# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls into real vaults, with guards and state files, and pushes, against each kind of server."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.remote import UNREADABLE
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.job import Pull, Push
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.outcome import Outcome
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.pull import pull
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.push import (
    open_state,
    push,
    read_source,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import state
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.keys import KeyFile, make_key_file
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import STATE_FILE
from contract.targets import ENVIRONMENT, PROJECT, SEED, Controlled, error_of

JOB = Pull(project_ids=(PROJECT,), environment=ENVIRONMENT)
OTHER_PROJECT = "other-project"
REAL_KINDS = pytest.mark.kinds("2024", "2026-07")


class Site:
    """A server, and a host with a vault."""

    def __init__(self, controlled: Controlled, folder: Path) -> None:
        self.controlled = controlled
        self.folder = folder
        self.key = str(folder / "vault.key")
        make_key_file(self.key)
        self.path = str(folder / "secrets.vault")
        self.state_path = folder / STATE_FILE
        self.warnings: list[str] = []

    def opened(self, job: str = "default") -> tuple[Any, Any]:
        state_file = "" if job == "default" else str(self.folder / f"{job}.json")
        return local.open_vault(self.path, KeyFile(self.key), state_file, warn=self.warnings.append, lock_wait=2)

    def pull(self, job: Pull = JOB, who: str = "", api: Api | None = None, **options: Any) -> Outcome:
        return pull(api or self.controlled.api(who), *self.opened(job.job), job, **options)

    def pull_error(self, job: Pull = JOB, who: str = "", **options: Any) -> InfisicalError:
        return error_of(self.pull, job, who, **options)

    def is_unchanged(self, job: Pull = JOB, **options: Any) -> bool:
        """Pull, and return whether the server sent no list, because nothing has changed."""
        self.listings()
        outcome = self.pull(job, **options)
        return not outcome.changed and set(self.listings()) == {304}

    def values(self) -> dict[str, str | None]:
        vault, _state = self.opened()
        return {name: secret.value for name, secret in vault.read().secrets.items()}

    def put(self, name: str, value: str) -> None:
        local.put(*self.opened(), name, value)

    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.state_path.read_text()))

    def identity(self) -> tuple[int, int]:
        """Return the identity of the vault file, which changes with each write."""
        found = os.stat(self.path)
        return found.st_ino, found.st_mtime_ns

    def store(self, values: Mapping[str, str], path: str = "/", **fields: Any) -> None:
        for key, value in values.items():
            self.controlled.put(key, value, path, **fields)

    def delete(self, key: str, path: str = "/") -> None:
        self.controlled.server.delete_secret(PROJECT, ENVIRONMENT, path, key)

    def listings(self) -> list[int | None]:
        """Return the HTTP statuses of the listings since the last call."""
        found = [entry["status"] for entry in self.controlled.server.requests(r"/secrets(/raw)?(\?|$)")]
        self.controlled.server.clear_requests()
        return [status for status in found if status != 404]


@pytest.fixture
def site(controlled: Controlled, tmp_path: Path) -> Site:
    return Site(controlled, tmp_path)


def two_projects(controlled: Controlled, **second: Any) -> None:
    [project] = SEED["projects"]
    other = {
        "id": OTHER_PROJECT,
        "name": "Other",
        "slug": "other",
        "environments": [{"slug": ENVIRONMENT, "name": "Development"}],
        **second,
    }
    identities = [{**one, "permissions": {**one["permissions"]}} for one in SEED["identities"]]
    identities[0]["permissions"][OTHER_PROJECT] = "admin"
    controlled.server.seed({**SEED, "projects": [project, other], "identities": identities})
    controlled.server.use_profile(controlled.kind)


def put_other(controlled: Controlled, key: str, value: str) -> None:
    controlled.server.put_secret(OTHER_PROJECT, ENVIRONMENT, "/", key, value)


# Pull


def test_new_vault_is_filled_and_next_pull_changes_nothing(site: Site) -> None:
    site.store({"A": "one", "B": "two\n", "C": ""})
    first = site.pull()
    assert (first.created, first.unchanged, first.generation, first.changed) == (("A", "B", "C"), 0, 1, True)
    assert site.values() == {"A": "one", "B": "two\n", "C": ""}
    before = site.identity()
    again = site.pull()
    assert (again.changed, again.unchanged, again.generation) == (False, 3, 1)
    assert site.identity() == before


def test_pulled_changes_are_written_as_one_vault_generation(site: Site) -> None:
    site.store({"A": "one", "B": "two"})
    site.pull()
    site.store({"A": "other", "C": "three"})
    site.delete("B")
    outcome = site.pull()
    assert (outcome.created, outcome.updated, outcome.deleted) == (("C",), ("A",), ())
    assert (outcome.versions["A"], outcome.generation) == ((1, 2), 2)
    assert site.values() == {"A": "other", "B": "two", "C": "three"}


def test_unchanged_pull_with_an_etag_transfers_no_listing(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    assert site.is_unchanged()


def test_deleted_entry_is_restored_if_the_server_is_unchanged(site: Site) -> None:
    site.store({"A": "one", "B": "two"})
    site.pull()
    local.remove(*site.opened(), "A")
    site.listings()
    assert site.pull().created == ("A",)
    assert site.listings() == [200]
    assert site.values() == {"A": "one", "B": "two"}


def test_manually_changed_entry_is_corrected(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    site.put("A", "by hand")
    assert site.pull().updated == ("A",)
    assert site.values() == {"A": "one"}


def test_manual_entry_keeps_the_etag_valid(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    site.put("MINE", "by hand")
    assert site.is_unchanged()
    assert site.values() == {"A": "one", "MINE": "by hand"}


def test_changed_job_options_cause_a_full_listing(site: Site) -> None:
    site.store({"A": "one", "B": "two"})
    site.pull()
    site.delete("B")
    site.pull()
    outcome = site.pull(replace(JOB, prune=True))
    assert outcome.deleted == ("B",)


def test_check_mode_returns_the_plan_and_changes_nothing(site: Site) -> None:
    site.store({"A": "one"})
    planned = site.pull(check=True)
    assert (planned.created, planned.changed) == (("A",), True)
    assert sorted(os.listdir(site.folder)) == ["vault.key"]
    site.pull()
    site.store({"A": "other", "B": "two"})
    before, state = site.identity(), site.state()
    planned = site.pull(check=True)
    assert (planned.created, planned.updated) == (("B",), ("A",))
    assert (site.identity(), site.state()) == (before, state)


def test_pruning_keeps_manual_entries_and_other_jobs_entries(site: Site) -> None:
    site.store({"A": "one", "B": "two"})
    site.store({"X": "x"}, "/app/db")
    site.pull()
    site.pull(replace(JOB, job="app", secret_path="/app/db"))
    site.put("MINE", "by hand")
    site.delete("B")
    outcome = site.pull(replace(JOB, prune=True))
    assert outcome.deleted == ("B",)
    assert site.values() == {"A": "one", "X": "x", "MINE": "by hand"}
    outcome = site.pull(replace(JOB, prune=True, prune_scope="vault"))
    assert outcome.deleted == ("MINE", "X")


def test_nothing_is_pruned_by_default(site: Site) -> None:
    site.store({"A": "one", "B": "two"})
    site.pull()
    site.delete("B")
    assert not site.pull().changed
    assert "B" in site.values()


@pytest.mark.parametrize("deleted, refused", [(3, False), (4, True)])
def test_pruning_stops_above_max_delete_percent(site: Site, deleted: int, refused: bool) -> None:
    names = [f"KEY_{number}" for number in range(10)]
    site.store(dict.fromkeys(names, "value"))
    site.pull()
    for name in names[:deleted]:
        site.delete(name)
    job = replace(JOB, prune=True)
    if refused:
        error = site.pull_error(job)
        assert error.conclusion == "guard"
        assert "4 of 10" in str(error) and "max_delete_percent" in str(error)
        assert len(site.values()) == 10
        job = replace(job, max_delete_percent=40)
    assert len(site.pull(job).deleted) == deleted


@pytest.mark.parametrize(
    "job, said",
    [
        (replace(JOB, environment="prd"), "dev, prod"),
        (replace(JOB, secret_path="/ap"), "app, guarded"),
    ],
)
def test_mistyped_location_error_lists_existing_locations(site: Site, job: Pull, said: str) -> None:
    site.store({"A": "one"})
    site.pull()
    error = site.pull_error(replace(job, prune=True))
    assert error.conclusion == "scope_missing"
    assert said in str(error)
    assert site.values() == {"A": "one"}


def test_empty_listing_prunes_nothing_without_allow_empty(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    site.delete("A")
    error = site.pull_error(replace(JOB, prune=True))
    assert error.conclusion == "guard"
    assert "allow_empty" in str(error) and "delete 1 entries" in str(error)
    assert site.values() == {"A": "one"}
    assert site.pull(replace(JOB, prune=True, allow_empty=True)).deleted == ("A",)


def test_deleting_all_entries_requires_both_safety_options(site: Site) -> None:
    names = [f"A{number}" for number in range(10)]
    site.store(dict.fromkeys(names, "one"))
    site.pull()
    for name in names:
        site.delete(name)
    job = replace(JOB, prune=True, allow_empty=True)
    assert "max_delete_percent, which still applies" in str(site.pull_error(replace(job, allow_empty=False)))
    assert site.pull_error(job).conclusion == "guard"
    assert len(site.values()) == 10
    assert site.pull(replace(job, max_delete_percent=100)).deleted == tuple(names)


@pytest.mark.kinds("2026-07")
def test_hidden_value_is_not_stored_and_prevents_pruning(site: Site) -> None:
    site.store({"A": "one", "B": "two"})
    site.pull()
    site.delete("B")
    error = site.pull_error(replace(JOB, prune=True), "hidden")
    assert error.conclusion == "hidden"
    assert "(A)" in str(error) and "Read Value" in str(error)
    assert site.values() == {"A": "one", "B": "two"}


def test_failed_project_is_reported_and_prevents_pruning(site: Site) -> None:
    two_projects(site.controlled)
    both = replace(JOB, project_ids=(PROJECT, OTHER_PROJECT), prune=True)
    site.store({"A": "one", "B": "two"})
    put_other(site.controlled, "X", "x")
    site.pull(both)
    site.store({"A": "other"})
    site.delete("B")
    # The second project is not for this identity.
    error = site.pull_error(both, "viewer")
    assert error.conclusion == "partial"
    assert OTHER_PROJECT in str(error) and "nothing was pruned" in str(error)
    assert error.details["updated"] == ["A"] and list(error.details["failed_projects"]) == [OTHER_PROJECT]
    assert site.values() == {"A": "other", "B": "two", "X": "x"}
    assert site.state()["error_count"] == 1
    assert site.pull(both).deleted == ("B",)


def test_old_etags_are_dropped_after_a_partial_pull(site: Site) -> None:
    two_projects(site.controlled)
    both = replace(JOB, project_ids=(PROJECT, OTHER_PROJECT))
    site.store({"A": "one"})
    put_other(site.controlled, "X", "x")
    site.pull(both)
    site.store({"A": "other"})
    site.pull_error(both, "viewer")
    site.listings()
    site.pull(both)
    assert set(site.listings()) == {200}


def test_pull_of_all_projects_reads_every_visible_project(site: Site) -> None:
    if site.controlled.kind == "2024":
        error = site.pull_error(replace(JOB, project_ids=()))
        assert error.conclusion == "forbidden"
        return
    two_projects(site.controlled)
    site.store({"A": "one"})
    put_other(site.controlled, "X", "x")
    everything = replace(JOB, project_ids=())
    outcome = site.pull(everything)
    assert sorted(outcome.projects) == [PROJECT, OTHER_PROJECT]
    assert site.values() == {"A": "one", "X": "x"}
    assert site.is_unchanged(everything)


@pytest.mark.kinds("2026-07")
def test_projects_that_lack_the_environment_are_skipped(site: Site) -> None:
    two_projects(site.controlled, environments=[{"slug": "prod", "name": "Production"}])
    site.store({"A": "one"})
    everything = replace(JOB, project_ids=(), prune=True)
    assert site.pull(everything).created == ("A",)
    assert not site.pull(everything).changed
    error = site.pull_error(replace(everything, environment="nowhere"))
    assert error.conclusion == "scope_missing"
    assert site.values() == {"A": "one"}


@pytest.mark.kinds("2026-07")
def test_project_that_lost_its_environment_is_not_pruned(site: Site) -> None:
    two_projects(site.controlled)
    everything = replace(JOB, project_ids=(), prune=True)
    site.store({"A": "one"})
    put_other(site.controlled, "X", "x")
    site.pull(everything)
    two_projects(site.controlled, environments=[{"slug": "prod", "name": "Production"}])
    site.store({"A": "one"})
    error = site.pull_error(everything)
    assert error.conclusion == "guard"
    assert site.values() == {"A": "one", "X": "x"}


def test_two_values_for_one_name_require_precedence(site: Site) -> None:
    two_projects(site.controlled)
    both = replace(JOB, project_ids=(PROJECT, OTHER_PROJECT))
    site.store({"A": "one"})
    put_other(site.controlled, "A", "other")
    error = site.pull_error(both)
    assert error.conclusion == "ambiguous"
    assert all(word in str(error) for word in (PROJECT, OTHER_PROJECT, "'A'", "precedence", "key_format"))
    assert not os.path.exists(site.path)
    assert site.pull(replace(both, precedence=(OTHER_PROJECT,))).created == ("A",)
    assert site.values() == {"A": "other"}
    put_other(site.controlled, "A", "one")
    site.pull(both)
    assert site.values() == {"A": "one"}


def test_two_jobs_with_the_same_secret_do_not_prune_each_other(site: Site) -> None:
    site.store({"A": "one"})
    site.store({"X": "x"}, "/app/db")
    other = replace(JOB, secret_path="/app/db", prune=True)
    site.pull(replace(JOB, prune=True))
    error = site.pull_error(other)
    assert error.conclusion == "guard"
    assert "job 'default'" in str(error) and "path /app/db" in str(error) and "(A)" in str(error)
    assert error_of(site.pull, other, check=True).conclusion == "guard"
    assert site.values() == {"A": "one"}
    assert site.pull(replace(other, max_delete_percent=100)).deleted == ("A",)
    assert site.pull(replace(other)).changed is False


def test_job_does_not_overwrite_entries_of_another_job(site: Site) -> None:
    site.store({"A": "one", "SAME": "same"})
    site.store({"A": "other", "SAME": "same", "X": "x"}, "/app/db")
    site.pull(replace(JOB, prune=True))
    other = replace(JOB, job="app", secret_path="/app/db", prune=True)
    error = site.pull_error(other)
    assert error.conclusion == "ambiguous"
    assert "'A' in the vault belongs to the job 'default'" in str(error)
    assert site.values() == {"A": "one", "SAME": "same"}
    site.delete("A", "/app/db")
    for expected in (("X",), ()):
        outcome = site.pull(other)
        assert (outcome.created, outcome.updated, outcome.deleted) == (expected, (), ())
        assert not site.pull(replace(JOB, prune=True)).changed
    site.delete("SAME")
    assert site.pull(replace(JOB, prune=True)).deleted == ("SAME",)
    assert site.pull(other).created == ("SAME",)
    site.store({"SAME": "same"})
    site.pull(replace(JOB, prune=True))
    site.delete("SAME", "/app/db")
    assert site.pull(other).deleted == ("SAME",)
    assert site.pull(replace(JOB, prune=True)).created == ("SAME",)
    assert site.pull(replace(other, prune_scope="vault", max_delete_percent=100)).deleted == ("A", "SAME")


def test_manual_entry_is_replaced_with_a_warning(site: Site) -> None:
    site.put("A", "by hand")
    site.store({"A": "one"})
    outcome = site.pull()
    assert outcome.updated == ("A",)
    assert any("manual entries: A" in text for text in outcome.warnings)


def test_state_file_of_another_vault_or_job_is_refused(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    second = local.open_vault(str(site.folder / "second"), KeyFile(site.key))
    error = error_of(local.put, *second, "B", "two")
    assert error.conclusion == "configuration" and site.path in str(error)
    assert error_of(pull, site.controlled.api(), *second, JOB).conclusion == "configuration"
    error = error_of(pull, site.controlled.api(), *site.opened(), replace(JOB, job="app"))
    assert error.conclusion == "configuration" and "job 'default'" in str(error)
    assert site.state()["error_count"] == 0  # the job that owns the file has not failed
    error = error_of(pushed, site, {"A": "x"}, state=open_state(str(site.state_path), SCOPE))
    assert error.conclusion == "configuration" and "of a vault" in str(error)


@pytest.mark.parametrize("text", ["\0" * 800, "garbage", '{"project_ids": null, "secrets": {}}', '{"environment": 7}'])
def test_pull_rebuilds_a_damaged_state_file(site: Site, text: str) -> None:
    site.store({"A": "one"})
    site.pull()
    whole = site.state()
    site.state_path.write_text(text)
    assert site.values() == {"A": "one"}
    assert local.status(*site.opened())["secrets"] == 1
    assert not site.pull().changed
    assert site.state()["secrets"] == whole["secrets"]


def test_damaged_state_entry_is_rebuilt_by_an_unchanged_pull(site: Site) -> None:
    site.store({"A": "one", "B": "two"})
    site.pull()
    whole = site.state_path.read_text()
    site.state_path.write_text(whole.replace('"A": {"hash": "', '"A": {"hash": "0'))
    assert site.is_unchanged()
    assert site.state()["secrets"] == json.loads(whole)["secrets"]


def test_generation_in_the_state_file_never_decreases(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    assert site.is_unchanged(log=lambda _text: site.put("MINE", "by hand"))
    assert site.state()["generation"] == 2
    _vault, state = site.opened()
    state.update(vault_id=site.state()["vault_id"], generation=1)
    assert site.state()["generation"] == 2


def test_prune_scope_vault_removes_manual_entries_when_unchanged(site: Site) -> None:
    site.store({"A": "one"})
    whole = replace(JOB, prune=True, prune_scope="vault", max_delete_percent=100)
    site.pull(whole)
    site.put("MINE", "by hand")
    assert site.pull(whole).deleted == ("MINE",)


@pytest.mark.kinds("2026-07")
def test_project_that_is_no_longer_visible_is_not_pruned(site: Site) -> None:
    two_projects(site.controlled)
    everything = replace(JOB, project_ids=(), prune=True)
    site.store({"A": "one"})
    put_other(site.controlled, "X", "x")
    site.pull(everything)
    error = site.pull_error(everything, "viewer")  # a member of the first project only
    assert error.conclusion == "guard"
    assert OTHER_PROJECT in str(error)
    assert site.values() == {"A": "one", "X": "x"}


def test_lost_vault_is_not_recreated_if_its_backup_exists(site: Site) -> None:
    site.put("HAND", "precious")
    site.store({"A": "one"})
    site.pull()
    os.unlink(site.path)
    for error in (site.pull_error(), site.pull_error(check=True), error_of(site.put, "B", "two")):
        assert error.conclusion == "vault_missing"
        assert f"{site.path}.previous" in str(error)
    os.unlink(f"{site.path}.previous")
    assert site.pull().created == ("A",)


def test_counts_exclude_entries_that_are_not_in_the_source(site: Site) -> None:
    site.put("MINE", "by hand")
    site.store({"A": "one", "B": "two"})
    site.pull()
    site.store({"B": "new"})
    assert site.pull().counts == {"created": 0, "updated": 1, "deleted": 0, "unchanged": 1}
    assert site.pull().counts == {"created": 0, "updated": 0, "deleted": 0, "unchanged": 2}


@pytest.mark.root
def test_files_written_by_root_belong_to_the_vaults_owner(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    for name in os.listdir(site.folder):
        os.chown(site.folder / name, 4711, 4711)
    for name in ("secrets.vault.lock", "secrets.vault.cycle.lock", f"{STATE_FILE}.lock"):
        os.unlink(site.folder / name)
    site.store({"A": "new"})
    site.pull()
    site.put("B", "by hand")
    assert {os.stat(site.folder / name).st_uid for name in os.listdir(site.folder)} == {4711}


def test_all_projects_cannot_be_combined_with_project_ids(site: Site) -> None:
    error = site.pull_error(replace(JOB, project_ids=("all", PROJECT)))
    assert error.conclusion == "configuration"


def test_unusable_state_file_keeps_the_vault_unchanged(site: Site) -> None:
    site.put("A", "one")
    vault, _state = site.opened()
    unusable = local.open_vault(site.path, KeyFile(site.key), str(site.folder / "nowhere" / "state.json"))[1]
    assert error_of(local.put, vault, unusable, "B", "two").conclusion == "configuration"
    assert error_of(local.remove, vault, unusable, "A").conclusion == "configuration"
    assert site.values() == {"A": "one"}


def test_state_file_error_after_a_pull_reports_the_changes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LOCK_TIMEOUT", 0.1)
    site.store({"A": "one"})
    with files.lock_file(f"{site.state_path}.lock", 1):
        error = site.pull_error()
    assert error.conclusion == "configuration"
    assert "contains the pulled secrets (1 created," in str(error)
    assert error.details["created"] == ["A"] and error.details["changed"]
    assert site.values() == {"A": "one"}
    assert site.pull().counts["unchanged"] == 1
    assert list(site.state()["secrets"]) == ["A"]


def test_state_file_error_after_a_write_reports_the_write(
    controlled: Controlled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = controlled.remote(state_file=str(tmp_path / "state.json"))
    assert store.state is not None
    store.put(Secret("A", "one"))

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_atomic", full)
    for act, done in (
        (lambda: store.put(Secret("B", "two")), "'B' was written to"),
        (lambda: store.remove("A"), "'A' was deleted from"),
    ):
        error = error_of(act)
        assert error.conclusion == "storage"
        assert done in str(error) and error.details["changed"] is True
    assert (len(controlled.stored("A")), len(controlled.stored("B"))) == (0, 1)


def test_error_about_the_push_count_reports_the_push(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.store({"A": "one"})
    site.pull()
    vault_state = site.opened()[1]

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_atomic", full)
    error = error_of(push, site.controlled.api(), site.controlled.scope, {"B": "two"}, Push(),
                     vault_state=vault_state)  # fmt: skip
    assert "Wrote 1 change to" in str(error)
    assert error.details["counts"]["created"] == 1
    assert len(site.controlled.stored("B")) == 1


def test_refused_secret_is_reported_if_the_push_count_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.store({"A": "one"})
    site.pull()
    vault_state = site.opened()[1]

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_atomic", full)
    error = error_of(push, site.controlled.api(), site.controlled.scope, {"B": "two", "C:D": "three"}, Push(),
                     vault_state=vault_state)  # fmt: skip
    assert site.controlled.kind == "2024" or "not written: C:D" in str(error)


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("more", [{}, {"recursive": True}, {"normalize_names": True}], ids=str)
def test_pem_value_from_a_reference_is_intact_in_the_vault(site: Site, more: dict[str, Any]) -> None:
    site.store({"PEM": "l1\nl2\n", "BAD": "x"})
    site.store({"LINK": "${PEM}"}, skip_multiline_encoding=True)
    outcome = site.pull(replace(JOB, expand_references=True, **more))
    assert site.values() == {"PEM": "l1\nl2\n", "BAD": "x", "LINK": "l1\nl2\n"}
    [warning] = outcome.warnings
    assert ": LINK." in warning
    assert site.is_unchanged(replace(JOB, expand_references=True, **more))


def test_vault_path_can_be_spelled_in_several_ways(site: Site) -> None:
    (site.folder / "link").symlink_to(site.folder)
    site.store({"A": "one"})
    for n, folder in enumerate((f"{site.folder}//", f"{site.folder}/./", f"{site.folder}/link/", f"{site.folder}/")):
        opened = local.open_vault(f"{folder}secrets.vault", KeyFile(site.key))
        assert pull(site.controlled.api(), *opened, JOB).changed is (n == 0)
        local.put(*opened, f"B{n}", "x")
    assert len(site.values()) == 5


# A folder that the listing omits

WHOLE = replace(JOB, recursive=True, prune=True, max_delete_percent=99)
ONE = r"/secrets(/raw)?/X$"


def emptied(site: Site) -> None:
    """Pull a folder and then delete all of its secrets."""
    site.store({"A": "one"})
    site.store({"X": "x", "Y": "y"}, "/app/db")
    site.pull(WHOLE)
    site.delete("X", "/app/db")
    site.delete("Y", "/app/db")
    site.controlled.server.clear_requests()


@REAL_KINDS
@pytest.mark.parametrize("check", [False, True])
def test_folder_without_read_permission_is_not_pruned(site: Site, check: bool) -> None:
    emptied(site)
    site.controlled.server.arm("status", status=403, error="PermissionDenied", method="GET", path=ONE, times=None)
    error = site.pull_error(WHOLE, check=check)
    assert error.conclusion == "guard"
    assert "path /app/db, which the identity is not allowed to read" in str(error) and "'Read Value'" in str(error)
    assert site.values() == {"A": "one", "X": "x", "Y": "y"}
    assert site.pull(replace(WHOLE, max_delete_percent=100)).deleted == ("X", "Y")


@pytest.mark.kinds("2026-07")
def test_folder_outside_the_permitted_paths_is_not_pruned(site: Site) -> None:
    site.store({"A": "one"}, "/app")
    site.store({"X": "x"}, "/app/db")
    grant = {"actions": ["describe", "read"], "paths": ["/", "/app"]}
    restricted = {**SEED["identities"][1], "permissions": {PROJECT: [grant]}}
    whole = site.pull(WHOLE)
    seed = {**SEED, "identities": [SEED["identities"][0], restricted, *SEED["identities"][2:]]}
    site.controlled.server.seed(seed)
    site.store({"A": "one"}, "/app")
    site.store({"X": "x"}, "/app/db")
    assert whole.created == ("A", "X")
    error = site.pull_error(WHOLE, "viewer")
    assert error.conclusion == "guard"
    assert "path /app/db, which the identity is not allowed to read" in str(error)
    assert site.values() == {"A": "one", "X": "x"}


@REAL_KINDS
def test_existing_folder_missing_from_listing_is_not_pruned(site: Site) -> None:
    emptied(site)
    back = {"project": PROJECT, "environment": ENVIRONMENT, "path": "/app/db", "key": "X", "value": "x"}
    site.controlled.server.arm("write_first", method="GET", path=ONE, secret=back)
    error = site.pull_error(WHOLE)
    assert error.conclusion == "guard"
    assert "still contains secrets" in str(error)
    assert set(site.values()) == {"A", "X", "Y"}


@REAL_KINDS
@pytest.mark.parametrize("folder", [True, False], ids=["empty folder", "no folder"])
def test_emptied_or_deleted_folder_is_pruned_after_one_check(site: Site, folder: bool) -> None:
    emptied(site)
    if not folder:
        site.controlled.remote(path="/app/db").remove_folder(force=True)
        site.controlled.server.clear_requests()
    assert site.pull(WHOLE).deleted == ("X", "Y")
    assert len(site.controlled.server.requests(ONE)) == 1
    assert len(site.controlled.server.requests(r"/secrets/(raw/)?[XYA]$")) == 1


LONG = "L" * 101


@REAL_KINDS
@pytest.mark.parametrize("names", [(LONG,), (".",), ("..",), (LONG, "Y")], ids=["long", "dot", "dots", "both"])
def test_secret_name_that_is_invalid_in_urls_can_be_pruned(site: Site, names: tuple[str, ...]) -> None:
    site.store({"A": "one"})
    site.store(dict.fromkeys(names, "x"), "/app/db")
    site.pull(WHOLE)
    for name in names:
        site.delete(name, "/app/db")
    site.controlled.server.clear_requests()
    assert site.pull(WHOLE).deleted == tuple(sorted(names))
    asked = site.controlled.server.requests(r"/secrets/(raw/)?[AY]$")
    assert [entry["path"].rsplit("/")[-1] for entry in asked] == (["Y"] if "Y" in names else ["A"])


@pytest.mark.kinds("2026-07")
def test_hidden_folder_with_long_names_is_not_pruned(site: Site) -> None:
    site.store({"A": "one"})
    site.store({LONG: "x"}, "/app/db")
    site.pull(WHOLE)
    error = site.pull_error(WHOLE, "root-only")
    assert error.conclusion == "guard"
    assert "path /app/db, which the identity is not allowed to read" in str(error)
    assert set(site.values()) == {"A", LONG}


IMPORTS = [{"environment": "dev", "path": "/importing", "from_environment": "dev", "from_path": "/app/db"}]
IMPORTING = replace(WHOLE, secret_path="/importing", recursive=False)


def importing(site: Site, **project: Any) -> None:
    """Seed the server: /importing imports /app/db, which the viewer is not allowed to read."""
    identities = list(SEED["identities"])
    grant = {"actions": ["describe", "read"], "paths": ["/", "/importing"]}
    identities[1] = {**identities[1], "permissions": {PROJECT: [grant]}}
    projects = [{**SEED["projects"][0], "imports": IMPORTS, **project}]
    site.controlled.server.seed({**SEED, "projects": projects, "identities": identities})
    site.controlled.server.use_profile(site.controlled.kind)
    site.store({"A": "own"}, "/importing")
    site.store({"B": "b", "C": "c"}, "/app/db")


@pytest.mark.kinds("2024", "2026-07", "2026-10")
@pytest.mark.parametrize("gone", [False, True], ids=["listed", "not listed"])
@pytest.mark.parametrize("recursive", [False, True])
def test_imports_without_read_permission_are_not_pruned(site: Site, gone: bool, recursive: bool) -> None:
    job = replace(IMPORTING, recursive=recursive)
    importing(site)
    site.pull(job)
    if gone:
        importing(site, imports=[])
    error = site.pull_error(job, "viewer")
    assert error.conclusion == "guard"
    assert "path /app/db, which the identity is not allowed to read" in str(error)
    assert site.values() == {"A": "own", "B": "b", "C": "c"}
    assert site.pull(replace(job, max_delete_percent=100), "viewer").deleted == ("B", "C")


@REAL_KINDS
@pytest.mark.parametrize("way", ["emptied", "imported no longer", "folder deleted"])
def test_deleted_imports_are_pruned_after_one_check(site: Site, way: str) -> None:
    importing(site)
    site.pull(IMPORTING)
    if way == "emptied":
        site.delete("B", "/app/db")
        site.delete("C", "/app/db")
    elif way == "imported no longer":
        importing(site, imports=[])
    else:
        site.controlled.remote(path="/app/db").remove_folder(force=True)
    site.controlled.server.clear_requests()
    assert site.pull(IMPORTING).deleted == ("B", "C")
    assert len(site.controlled.server.requests(r"/secrets/(raw/)?[ABC]$")) == 1


@REAL_KINDS
def test_prune_within_an_import_sends_no_extra_request(site: Site) -> None:
    importing(site)
    site.pull(IMPORTING)
    site.delete("C", "/app/db")
    site.controlled.server.clear_requests()
    assert site.pull(IMPORTING).deleted == ("C",)
    assert not site.controlled.server.requests(r"/secrets/(raw/)?[ABC]$")


@REAL_KINDS
def test_prune_within_a_folder_sends_no_extra_request(site: Site) -> None:
    site.store({"X": "x", "Y": "y"}, "/app/db")
    site.pull(WHOLE)
    site.delete("Y", "/app/db")
    site.controlled.server.clear_requests()
    assert site.pull(WHOLE).deleted == ("Y",)
    assert not site.controlled.server.requests(r"/secrets/(raw/)?[XY]$")


# Deleted environments that the server's cache hides


def later(site: Site) -> None:
    """Set the time of the last environment check to more than an hour ago."""
    site.opened()[1].update(environment_asked="2026-01-01T00:00:00Z", environment_checked="2026-01-01T00:00:00Z")


def asked_for_projects(site: Site) -> int:
    found = len(site.controlled.server.requests(r"/api/v1/(projects|workspace)"))
    site.controlled.server.clear_requests()
    return found


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("prune", [False, True], ids=["304", "cached 200"])
def test_deleted_environment_is_detected_despite_server_cache(site: Site, prune: bool) -> None:
    job = replace(JOB, prune=prune, prune_scope="vault" if prune else "job")
    site.store({"A": "one"})
    site.pull(job)
    site.pull(job)
    site.controlled.server.delete_environment(PROJECT, ENVIRONMENT, cached=True)
    assert site.is_unchanged(job) is not prune
    later(site)
    for check in (True, False, False):
        error = site.pull_error(job, check=check)
        assert error.conclusion == "scope_missing"
        assert "no environment 'dev'" in str(error) and "prod, staging" in str(error)
    assert site.values() == {"A": "one"}
    assert site.state()["environment_checked"] == "2026-01-01T00:00:00Z"
    assert "no environment 'dev'" in local.status(*site.opened())["last_error"]["message"]


@pytest.mark.kinds("2026-07")
def test_environment_is_checked_even_if_the_vault_has_changed(site: Site) -> None:
    job = replace(JOB, prune=True, prune_scope="vault")
    site.store({"A": "one"})
    site.pull(job)
    site.pull(job)
    site.controlled.server.delete_environment(PROJECT, ENVIRONMENT, cached=True)
    site.put("STRAY", "by hand")
    later(site)
    assert site.pull_error(job).conclusion == "scope_missing"
    assert site.values() == {"A": "one", "STRAY": "by hand"}


@pytest.mark.kinds("2026-07")
def test_environment_is_checked_once_an_hour_by_one_request(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    assert asked_for_projects(site) == 0
    later(site)
    found = []
    for _turn in range(3):
        site.pull()
        found.append(asked_for_projects(site))
    assert found == [1, 0, 0]
    checked = local.status(*site.opened())["environment_checked"]
    assert checked > "2026-01-01T00:00:00Z"
    site.opened()[1].update(environment_asked="2099-01-01T00:00:00Z")  # by a clock that was wrong
    site.pull()
    assert asked_for_projects(site) == 1


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("fault", [{"status": 403, "error": "PermissionDenied"}, {"status": 422}])
def test_pull_succeeds_if_the_environment_check_is_refused(site: Site, fault: dict[str, Any]) -> None:
    site.store({"A": "one"})
    site.pull()
    later(site)
    site.controlled.server.arm("status", path="/api/v1/(projects|workspace)", times=None, **fault)
    assert site.is_unchanged()
    asked_for_projects(site)
    assert not site.pull().changed
    assert asked_for_projects(site) == 0
    assert site.state()["environment_checked"] == "2026-01-01T00:00:00Z"


@pytest.mark.kinds("2026-07")
def test_pull_of_all_projects_detects_a_deleted_environment(site: Site) -> None:
    two_projects(site.controlled)
    everything = replace(JOB, project_ids=(), prune=True)
    site.store({"A": "one"})
    put_other(site.controlled, "X", "x")
    site.pull(everything)
    site.pull(everything)
    assert site.state()["environment_checked"]
    site.controlled.server.delete_environment(OTHER_PROJECT, ENVIRONMENT, cached=True)
    assert site.pull_error(everything).conclusion == "guard"
    assert site.values() == {"A": "one", "X": "x"}


@pytest.mark.kinds("2024")
def test_servers_of_2024_need_no_check_of_the_environment(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    later(site)
    site.pull()
    assert asked_for_projects(site) == 0
    assert site.state()["environment_checked"] > "2026-01-01T00:00:00Z"


@REAL_KINDS
def test_key_format_can_include_path_and_project(site: Site) -> None:
    two_projects(site.controlled)
    site.store({"A": "root"})
    site.store({"A": "db"}, "/app/db")
    put_other(site.controlled, "A", "other")
    job = replace(JOB, project_ids=(PROJECT, OTHER_PROJECT), recursive=True, key_format="{project}/{path}/{key}")
    site.pull(job)
    assert site.values() == {"contract/A": "root", "contract/app/db/A": "db", "other/A": "other"}
    outcome = site.pull(replace(job, normalize_names=True, prune=True, max_delete_percent=100))
    assert outcome.created == ("CONTRACT_A", "CONTRACT_APP_DB_A", "OTHER_A")
    assert len(outcome.deleted) == 3
    site.pull(replace(JOB, job="paths", recursive=True, precedence=("/app", "/")))
    assert site.values()["A"] == "db"


@pytest.mark.parametrize(
    "key_format", ["{key", "{name}", "PREFIX", "{key!r}", "{key:>9}", "{key}{key}", "{}", "x{{{key}}}y"]
)
def test_invalid_key_format_is_refused(site: Site, key_format: str) -> None:
    error = site.pull_error(replace(JOB, key_format=key_format))
    assert error.conclusion == "configuration"
    assert str(error).startswith("key_format")


@pytest.mark.kinds("2024", "2026-07")
def test_own_secrets_override_imports_and_last_import_wins(site: Site) -> None:
    [project] = SEED["projects"]
    imports = [
        {"environment": "dev", "path": "/importing", "from_environment": "dev", "from_path": source}
        for source in ("/app/db", "/guarded")
    ]
    site.controlled.server.seed({**SEED, "projects": [{**project, "imports": imports}]})
    site.controlled.server.use_profile(site.controlled.kind)
    site.store({"A": "own"}, "/importing")
    site.store({"A": "first", "B": "first", "C": "first"}, "/app/db")
    site.store({"A": "last", "B": "last"}, "/guarded")
    job = replace(JOB, secret_path="/importing")
    site.pull(job)
    assert site.values() == {"A": "own", "B": "last", "C": "first"}
    site.pull(replace(job, recursive=True))
    assert site.values() == {"A": "own", "B": "last", "C": "first"}
    site.pull(replace(job, include_imports=False, prune=True, max_delete_percent=100))
    assert site.values() == {"A": "own"}


@pytest.mark.kinds("2024")
def test_newest_of_two_duplicates_is_used_with_a_warning(site: Site) -> None:
    site.store({"A": "older"})
    site.controlled.server.advance(60)
    site.store({"A": "newer"}, repeat=True)
    for job in (JOB, replace(JOB, job="again", recursive=True)):
        outcome = site.pull(job)
        assert any("'A' twice" in text for text in outcome.warnings)
        assert site.values() == {"A": "newer"}


def test_new_version_with_the_same_value_is_an_update(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    remote = site.controlled.remote()
    [secret] = remote.listing().secrets
    remote.api.write("update", remote.location, secret._replace(value="one", comment=None, tags=None, metadata=None))
    outcome = site.pull()
    assert outcome.versions == {"A": (1, 2)}


def test_manual_write_during_a_pull_is_kept(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    site.store({"B": "two"})
    outcome = site.pull(log=lambda _text: site.put("MINE", "by hand"))
    assert outcome.created == ("B",)
    assert site.values() == {"A": "one", "B": "two", "MINE": "by hand"}


def test_second_pull_waits_and_then_reports_busy(site: Site) -> None:
    site.store({"A": "one"})
    with files.lock_file(site.path + ".cycle.lock", 1):
        error = site.pull_error(lock_wait=0.1)
    assert error.conclusion == "busy"
    assert "lock_wait" in str(error)
    assert site.pull().created == ("A",)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 429},
        {"kind": "cut_middle"},
        {"kind": "cut_before"},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
def test_server_error_keeps_the_vault_and_is_counted(site: Site, fault: dict[str, Any]) -> None:
    site.store({"A": "one"})
    site.pull()
    before = site.identity()
    site.store({"A": "other"})
    site.controlled.server.arm(
        fault["kind"], times=2, path="/secrets", **{k: v for k, v in fault.items() if k != "kind"}
    )
    error = site.pull_error(replace(JOB, prune=True))
    assert error.conclusion in ("server_error", "rate_limited", "unreachable")
    assert site.identity() == before
    state = site.state()
    assert state["error_count"] == 1 and state["last_error"]["message"] == str(error)
    site.controlled.server.disarm()
    assert site.pull().updated == ("A",)


def test_unreachable_server_keeps_the_vault_unchanged(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    away = site.controlled.api(url="http://127.0.0.1:9")
    error = error_of(site.pull, JOB, api=away)
    assert error.conclusion == "unreachable"
    assert site.values() == {"A": "one"}


def test_restored_older_vault_generation_is_detected(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    shutil.copy2(site.path, site.folder / "backup")
    site.store({"A": "other"})
    site.pull()
    shutil.copy2(site.folder / "backup", site.path)
    error = site.pull_error()
    assert error.conclusion == "older_generation"
    assert error_of(site.values).conclusion == "older_generation"


# State


def test_state_file_hash_equals_sha256sum(site: Site) -> None:
    site.store({"KEY": "the value $with 'quotes'"})
    site.pull()
    state = site.state()
    command = ["sh", "-c", 'printf %s "$1" | sha256sum', "sh", "KEY:the value $with 'quotes'"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    assert state["secrets"]["KEY"]["hash"] == printed
    assert state["secrets"]["KEY"]["version"] == 1
    assert (state["project_ids"], state["environment"], state["secret_path"]) == ([PROJECT], ENVIRONMENT, "/")
    assert (state["pull_count"], state["push_count"], state["error_count"]) == (1, 0, 0)


def test_hmac_state_hashes_cannot_be_computed_without_the_key(site: Site) -> None:
    site.store({"KEY": "value"})
    site.pull()
    guessable = site.state()["secrets"]["KEY"]["hash"]
    keyed = replace(JOB, state_hash="hmac-sha256")
    assert not site.pull(keyed).changed
    state = site.state()
    assert state["state_hash"] == "hmac-sha256"
    assert state["secrets"]["KEY"]["hash"] != guessable
    assert len(state["secrets"]["KEY"]["hash"]) == 64


@pytest.mark.parametrize("damage", [lambda text: text[:40], lambda text: text.replace("{", "", 1), lambda text: ""])
def test_damaged_state_file_is_moved_aside_and_rebuilt(site: Site, damage: Callable[[str], str]) -> None:
    site.store({"A": "one", "B": "two"})
    site.pull()
    whole = site.state()
    text = damage(site.state_path.read_text())
    site.state_path.write_text(text)
    outcome = site.pull()
    assert not outcome.changed
    assert site.state()["secrets"] == whole["secrets"]
    assert site.state()["generation"] == whole["generation"]
    aside = list(site.folder.glob("*.damaged-*"))
    assert [path.read_text() for path in aside] == [text]
    assert any("damaged" in warning for warning in site.warnings)


def test_unchanged_pull_updates_only_the_times(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    state = site.state()
    state_of_then = json.dumps({**state, "last_sync": "2026-01-01T00:00:00Z"})
    site.state_path.write_text(state_of_then)
    site.pull()
    times = ("last_sync", "environment_checked", "environment_asked")
    assert site.state() == {**state, **{name: site.state()[name] for name in times if name in state}}
    assert site.state()["last_sync"] > "2026-01-01T00:00:00Z"


def test_status_contains_counts_and_times_and_last_error(site: Site) -> None:
    site.store({"A": "one"})
    site.pull()
    site.controlled.server.arm("status", status=500, times=2, path="/secrets")
    site.pull_error()
    found = local.status(*site.opened())
    assert (found["secrets"], found["generation"], found["projects"], found["problem"]) == (1, 1, [PROJECT], None)
    assert found["age_seconds"] < 60 and found["pull_count"] == 1 and found["error_count"] == 1
    assert "500" in found["last_error"]["message"]
    os.unlink(site.key)
    broken = local.status(*site.opened())
    assert broken["problem"] and broken["last_sync"] == found["last_sync"]


def test_pull_leaks_no_value(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    canary = "canary-4711"
    site.store({"A": canary, "B": "plain"})
    said: list[str] = []
    outcomes: list[Any] = [site.pull(log=said.append)]
    site.store({"A": f"{canary} again"})
    outcomes.append(site.pull(check=True))
    outcomes.append(site.pull())
    two_projects(site.controlled)
    site.store({"A": canary})
    put_other(site.controlled, "A", f"{canary} other")
    outcomes.append(site.pull_error(replace(JOB, project_ids=(PROJECT, OTHER_PROJECT))))
    texts = [repr(outcomes), *(repr(vars(one)) for one in outcomes), *map(str, outcomes), *said, *capfd.readouterr()]
    for name in os.listdir(site.folder):
        texts.append((site.folder / name).read_bytes().decode("latin-1"))
    assert len(texts) > 8
    assert not [text for text in texts if canary in text]


# Push

SCOPE = Location(PROJECT, ENVIRONMENT, "/")


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize("check", [True, False])
def test_push_over_a_rotated_secret_is_refused_without_changes(site: Site, prune: bool, check: bool) -> None:
    site.store({"A": "one", "B": "two"})
    site.controlled.put("ROTATED", "theirs", rotated=True)
    values = {"A": "new", "B": "two"} if prune else {"A": "new", "ROTATED": "ours"}
    before = site.controlled.server.values(PROJECT, ENVIRONMENT)
    error = error_of(pushed, site, values, Push(prune=prune), check=check)
    assert error.conclusion == "guard"
    assert "ROTATED" in str(error) and "overwrite_rotated: true" in str(error)
    assert site.controlled.server.values(PROJECT, ENVIRONMENT) == before
    allowed = pushed(site, values, Push(prune=prune, overwrite_rotated=True), check=check)
    assert (allowed.updated, allowed.deleted) == ((("A",), ("ROTATED",)) if prune else (("A", "ROTATED"), ()))


@pytest.mark.kinds("2026-07")
def test_rotated_secret_with_the_same_value_is_not_pushed(site: Site) -> None:
    site.controlled.put("ROTATED", "same", rotated=True)
    assert pushed(site, {"ROTATED": "same", "A": "one"}).created == ("A",)


VALUES_REFUSED = {
    "status": 403, "error": "PermissionDenied", "message": "You are not allowed to readValue on secrets",
    "method": "GET",
}  # fmt: skip
"""The recorded response to an identity that is allowed to see a secret, but not its value."""


def pushed(site: Site, values: Mapping[str, str], job: Push | None = None, who: str = "", **options: Any) -> Outcome:
    scope = options.pop("scope", SCOPE)
    return push(site.controlled.api(who), scope, values, job or Push(), **options)


def test_push_writes_differences_and_the_next_push_is_unchanged(site: Site) -> None:
    site.store({"A": "one", "B": "two", "OTHER": "x"})
    values = {"A": "one", "B": "new", "C": " blanks \n"}
    planned = pushed(site, values, check=True)
    assert (planned.created, planned.updated, planned.unchanged) == (("C",), ("B",), 1)
    assert site.controlled.server.values(PROJECT, ENVIRONMENT)["B"] == ["two"]
    outcome = pushed(site, values)
    assert (outcome.created, outcome.updated, outcome.deleted, outcome.unchanged) == (("C",), ("B",), (), 1)
    stored = site.controlled.server.values(PROJECT, ENVIRONMENT)
    assert stored["B"] == ["new"] and stored["OTHER"] == ["x"]
    assert not pushed(site, values).changed


def test_two_names_that_normalize_to_the_same_name_are_refused(site: Site) -> None:
    outcome = pushed(site, {"my_key": "one", "db-host": "two"}, Push(normalize_names=True))
    assert outcome.created == ("DB_HOST", "MY_KEY")
    site.controlled.server.clear_requests()
    error = error_of(pushed, site, {"new": "x", "my_key": "one", "MY_KEY": "two"}, Push(normalize_names=True))
    assert error.conclusion == "ambiguous"
    assert "'my_key'" in str(error) and "'MY_KEY'" in str(error)
    assert site.controlled.methods() == []


def test_max_delete_percent_applies_to_a_push(site: Site) -> None:
    names = [f"KEY_{number}" for number in range(12)]
    pushed(site, dict.fromkeys(names, "value"))
    few = dict.fromkeys(names[:6], "value")
    error = error_of(pushed, site, few, Push(prune=True))
    assert error.conclusion == "guard" and "6 of 12" in str(error)
    assert len(site.controlled.server.values(PROJECT, ENVIRONMENT)) == 12
    assert error_of(pushed, site, {}, Push(prune=True, max_delete_percent=100)).conclusion == "guard"
    outcome = pushed(site, few, Push(prune=True, max_delete_percent=50))
    assert len(outcome.deleted) == 6
    assert sorted(site.controlled.server.values(PROJECT, ENVIRONMENT)) == sorted(few)


@REAL_KINDS
def test_push_creates_a_missing_folder_with_create_path(site: Site) -> None:
    deep = replace(SCOPE, secret_path="/new/deep")
    assert error_of(pushed, site, {"A": "one"}, scope=deep).conclusion == "scope_missing"
    assert pushed(site, {"A": "one"}, Push(create_path=True), scope=deep, check=True).created == ("A",)
    assert pushed(site, {"A": "one"}, Push(create_path=True), scope=deep).created == ("A",)
    assert site.controlled.server.values(PROJECT, ENVIRONMENT, "/new/deep") == {"A": ["one"]}
    nowhere = replace(deep, environment="nowhere")
    assert error_of(pushed, site, {"A": "x"}, Push(create_path=True), scope=nowhere).conclusion == "scope_missing"


def test_push_that_wrote_nothing_reports_the_server_error(site: Site) -> None:
    fault = {"status": 403, "error": "PermissionDenied", "message": "not allowed"}
    site.controlled.server.arm("status", method="POST", path="/secrets", times=None, **fault)
    error = error_of(pushed, site, {"A": "one", "B": "two"})
    assert error.conclusion == "forbidden"
    assert "of 2 changes" not in str(error) and "Run this again" not in str(error)


def test_partial_push_reports_progress_and_is_completed_later(site: Site) -> None:
    number = 1500
    values = {f"KEY_{place:04}": "v" * 900 for place in range(number)}
    server = site.controlled.server
    server.arm("delay", seconds=0, method="POST", path="/secrets")  # the first write passes
    server.arm("status", status=403, method="POST", path="/secrets", error="PermissionDenied", message="not allowed")
    error = error_of(pushed, site, values)
    server.disarm()
    assert error.conclusion == "partial"
    stored = set(server.values(PROJECT, ENVIRONMENT))
    assert 0 < len(stored) < number
    assert set(error.details["written"]) == stored
    assert set(error.details["not_written"]) == set(values) - stored
    assert f"{len(stored)} of {number}" in str(error) and "'Create'" in str(error)
    outcome = pushed(site, values)
    assert set(outcome.created) == set(values) - stored
    assert len(server.values(PROJECT, ENVIRONMENT)) == number


def test_unreadable_secrets_are_compared_with_the_state_file(site: Site) -> None:
    def state() -> Any:
        return open_state(str(site.folder / "pushed.json"), SCOPE)

    values = {"A": "one", "B": "two"}
    first = pushed(site, values, who="writer", state=state())
    assert first.changed
    for check in (True, False):
        again = pushed(site, values, who="writer", state=state(), check=check)
        assert (again.changed, again.unchanged) == (False, 2)
    values["B"] = "new"
    assert pushed(site, values, who="writer", state=state()).updated == ("B",)
    assert site.controlled.server.values(PROJECT, ENVIRONMENT) == {"A": ["one"], "B": ["new"]}


SECOND = r"/secrets(/raw)?/(B$|batch)"
"""The requests for the secret B, and for batches, so that each secret is sent by itself."""


@REAL_KINDS
def test_failed_push_by_a_write_only_identity_reports_progress(site: Site) -> None:
    fault = {"status": 422, "error": "ValidationFailure", "message": "too odd"}
    site.controlled.server.arm("status", method="POST", path=SECOND, times=None, **fault)
    error = error_of(pushed, site, {"A": "one", "B": "two"}, who="writer")
    assert error.conclusion == "partial"
    assert "1 of 2 changes were written (A)" in str(error)
    assert "Run this again" in str(error)
    assert error.details["changed"] is True
    assert len(site.controlled.stored("A")) == 1


@pytest.mark.kinds("2026-07")
def test_write_only_identity_pushes_new_secrets_in_one_batch(site: Site) -> None:
    values = {f"KEY_{number}": "v" for number in range(50)}
    planned = pushed(site, values, who="writer", check=True)
    assert (len(planned.updated), planned.warnings) == (50, (UNREADABLE,))
    assert site.controlled.server.values(PROJECT, ENVIRONMENT) == {}
    site.controlled.server.clear_requests()
    outcome = pushed(site, values, who="writer")
    assert (len(outcome.created), outcome.warnings) == (50, (UNREADABLE,))
    assert site.controlled.methods() == ["GET", "GET", "POST"]
    assert pushed(site, {**values, "KEY_7": "new"}, who="writer").versions["KEY_7"] == (None, 2)


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("check", [False, True])
def test_empty_push_by_a_write_only_identity_checks_the_location(site: Site, check: bool) -> None:
    error = error_of(pushed, site, {}, who="writer", scope=replace(SCOPE, environment="nope"), check=check)
    assert error.conclusion == "scope_missing"


@REAL_KINDS
@pytest.mark.parametrize("fails", [False, True])
def test_push_by_a_write_only_identity_is_counted(site: Site, fails: bool) -> None:
    site.put("A", "one")
    vault_state = site.opened()[1]
    values = {"A": "one", "B": "two"}
    pushed(site, values, who="writer", vault_state=vault_state, check=True)
    assert site.state()["push_count"] == 0
    if fails:
        fault = {"status": 422, "error": "ValidationFailure", "times": None}
        site.controlled.server.arm("status", method="POST", path=SECOND, **fault)
        error_of(pushed, site, values, who="writer", vault_state=vault_state)
    else:
        pushed(site, values, who="writer", vault_state=vault_state)
    assert site.state()["push_count"] == (1 if fails else 2)


@pytest.mark.kinds("2026-07")
def test_hidden_values_are_compared_with_the_state_file(site: Site) -> None:
    def state() -> Any:
        return open_state(str(site.folder / "pushed.json"), SCOPE)

    values = {"A": "one", "B": "two"}
    pushed(site, values, who="hidden", state=state())
    assert not pushed(site, values, who="hidden", state=state()).changed


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("with_state", [True, False])
def test_push_without_read_permission_compares_names_in_batches(site: Site, with_state: bool) -> None:
    values = {f"KEY_{number}": f"value {number}" for number in range(50)}
    server = site.controlled.server

    def push_blindly(job: Push | None = None, **options: Any) -> Outcome:
        server.clear_requests()
        server.arm("status", **VALUES_REFUSED, path="/secrets$")
        state = open_state(str(site.folder / "pushed.json"), SCOPE) if with_state else None
        return pushed(site, values, job, who="hidden", state=state, **options)

    assert len(push_blindly().created) == 50
    assert site.controlled.sent() == [("GET", 403), ("GET", 200), ("POST", 200)]
    for check in (True, False):
        again = push_blindly(check=check)
        assert (len(again.updated), again.unchanged) == ((0, 50) if with_state else (50, 0))
        assert [text for text in again.warnings if "state_file" in text] == ([] if with_state else [UNREADABLE])
        writes = [] if check or with_state else ["PATCH"]
        assert site.controlled.methods() == ["GET", "GET", *writes]

    server.put_secret(PROJECT, ENVIRONMENT, "/", "KEY_7", "by a person")
    values.update(KEY_8="new", KEY_50="more")
    changed = push_blindly()
    if with_state:
        assert (changed.created, changed.updated) == (("KEY_50",), ("KEY_7", "KEY_8"))
    assert site.controlled.methods() == ["GET", "GET", "POST", "PATCH"]
    assert server.values(PROJECT, ENVIRONMENT) == {name: [value] for name, value in values.items()}

    del values["KEY_0"]
    assert push_blindly(Push(prune=True)).deleted == ("KEY_0",)


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize(
    "text, problem",
    [
        ('{"A": 1}', "A: must be a string, not int"),
        ('{"A": {"x": "canary-1234"}}', "A: must be a string, not dict"),
        ('{"A": {}, "B": "canary-1234"}', "A: must be a string, not dict"),
        ('{"A": [{"x": "canary-1234"}]}', "A: must be a string, not list"),
        ('{"A": null}', "A: must be a string (got null)."),
        ('\ufeff{"A": 1}', "A: must be a string, not int"),
        ('{"A": "x", "A": "y"}', "more than once"),
        ('{"A": "canary-1234"', "begins like JSON"),
        ('{"A": {"B": "canary-1234"}}', "must be a string"),
        ('[{"A": "canary-1234"}]', "must contain a JSON object of names and strings, or dotenv text (got a JSON list)"),
        (' ["canary-1234"', "begins like JSON"),
    ],
)
def test_error_about_a_source_file_quotes_no_value(site: Site, text: str, problem: str) -> None:
    path = site.folder / "source.json"
    path.write_text(text)
    error = error_of(read_source, str(path))
    assert problem in str(error) and "canary" not in str(error)


@pytest.mark.kinds("2026-07")
def test_push_source_can_be_json_or_dotenv(site: Site) -> None:
    (site.folder / "source.json").write_text('{"A": "one", "B": "two\\n"}')
    assert read_source(str(site.folder / "source.json")) == {"A": "one", "B": "two\n"}
    (site.folder / "source.json").write_text('\ufeff{"A": "one"}', "utf-8")
    assert read_source(str(site.folder / "source.json")) == {"A": "one"}
    (site.folder / ".env").write_text("\ufeffA=one\n", "utf-8")
    assert read_source(str(site.folder / ".env")) == {"A": "one"}
    (site.folder / ".env").write_text('# comment\nA=one\nexport B="t\\"wo"\n')
    assert read_source(str(site.folder / ".env")) == {"A": "one", "B": 't"wo'}
    assert error_of(read_source, str(site.folder / "missing")).conclusion == "configuration"


@pytest.mark.kinds("2026-07")
def test_push_source_can_be_a_pipe_only_if_allowed(site: Site) -> None:
    def write(path: Path) -> None:
        with contextlib.suppress(BrokenPipeError):
            path.write_text("A=one\n")

    for name, may_be_pipe in (("one", False), ("other", True)):
        path = site.folder / name
        os.mkfifo(path)
        threading.Thread(target=write, args=(path,), daemon=True).start()
        if may_be_pipe:
            assert read_source(str(path), may_be_pipe=True) == {"A": "one"}
        else:
            assert "it is not a regular file" in str(error_of(read_source, str(path)))
