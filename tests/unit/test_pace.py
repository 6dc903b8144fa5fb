# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a run start their syncs one after another, to stay below a rate limit."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ansible")

from ansible import constants
from ansible_collections.keyfleet.infisical.plugins.action import infisical_agent as action
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import StorageFailed
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import KNOWN
from ansible_collections.keyfleet.infisical.plugins.modules import infisical_agent as module
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import pace
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction

JOBS = [{"name": "shop"}, {"name": "till", "project_ids": ["p1", "p2"]}, {"name": "bank", "project_ids": "p1,p2,p3"}]


@pytest.fixture(autouse=True)
def _run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))


def test_hosts_start_one_after_another() -> None:
    started = time.monotonic()
    waits = [pace.take_turn(1000.0) for _host in range(3)]
    passed = time.monotonic() - started
    assert waits[0] == 0
    assert 1000 - passed <= waits[1] <= 1000 and 2000 - passed <= waits[2] <= 2000


def test_next_host_does_not_wait_for_a_returned_turn() -> None:
    started = time.monotonic()
    pace.take_turn(1000.0)
    pace.take_turn(600.0)
    pace.return_turn(600.0)
    wait = pace.take_turn(1.0)
    assert 1000 - (time.monotonic() - started) <= wait <= 1000


@pytest.mark.parametrize(
    ("jobs", "number"), [(JOBS, 6), ([], 1), (None, 1), ("shop", 1), (["shop"], 1), ([{"project_ids": 3}], 1)]
)
def test_requests_of_jobs_are_counted(jobs: Any, number: int) -> None:
    assert action.count_requests(jobs) == number


@pytest.mark.parametrize(
    ("result", "wrap_async", "seconds"),
    [
        ({"reports": {}, "requests": 2}, False, 4.0),
        ({"changed": False}, False, 0.0),  # no job needed a sync
        ({"ansible_job_id": "1"}, True, 12.0),
    ],
)
def test_agent_keeps_the_part_of_its_turn_that_it_used(
    monkeypatch: pytest.MonkeyPatch, result: dict[str, Any], wrap_async: bool, seconds: float
) -> None:
    passed: list[dict[str, Any]] = []
    monkeypatch.setattr(InfisicalAction, "_execute", lambda self, arguments, *rest: passed.append(arguments) or result)
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task = SimpleNamespace(check_mode=False)
    arguments = {"jobs": JOBS, "sync": True, "rate_limit": 60}
    started = time.monotonic()
    assert plugin._execute(arguments, {}, wrap_async) is result
    assert passed == [{**arguments, KNOWN: {"sync_delay": 0.0}}]
    wait = pace.take_turn(1.0)
    assert seconds - (time.monotonic() - started) <= wait <= seconds


@pytest.mark.parametrize(
    ("given", "check_mode"),
    [({"sync": False}, False), ({"rate_limit": 0}, False), ({"state": "absent"}, False), ({}, True)],
)
def test_agent_without_a_sync_takes_no_turn(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], check_mode: bool
) -> None:
    monkeypatch.setattr(InfisicalAction, "_execute", lambda self, arguments, *rest: arguments)
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task = SimpleNamespace(check_mode=check_mode)
    arguments = {"jobs": JOBS, "sync": True, "rate_limit": 60, **given}
    assert plugin._execute(arguments, {}, False) == arguments
    assert pace.take_turn(1.0) == 0


@pytest.mark.parametrize(
    ("method", "kept"),
    [({}, {"client_id", "client_secret"}), ({"host_auth_method": "jwt_auth"}, {"identity_id", "jwt_path"}),
     ({"auth_method": "token"}, set())],
)  # fmt: skip
def test_host_gets_no_login_that_only_the_controller_uses(
    monkeypatch: pytest.MonkeyPatch, method: dict[str, str], kept: set[str]
) -> None:
    monkeypatch.setattr(InfisicalAction, "_execute", lambda self, arguments, *rest: arguments)
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task = SimpleNamespace(check_mode=False)
    names = ("client_id", "client_secret", "token", "jwt", "jwt_path", "identity_id", "username", "password")
    sent = plugin._execute({**dict.fromkeys(names, "canary"), **method, "url": "u"}, {}, False)
    assert set(sent) - {"url", "auth_method", "host_auth_method"} == kept


INSTALLED = {"changed": False, "changes": [], "due": ["shop"], "requests": 1, "msg": "0 changes."}


def test_agent_waits_for_its_turn_and_then_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    synced = {"changed": True, "reports": {"shop": {"conclusion": "ok"}}}
    monkeypatch.setattr(module.time, "sleep", events.append)
    monkeypatch.setattr(module.jobs, "sync_all", lambda due, grants: events.append(due) or synced)
    found = module.sync_due(INSTALLED, SimpleNamespace(check_mode=False, known={"sync_delay": 1.5}))
    assert events == [1.5, ["shop"]]
    assert found == {**INSTALLED, **synced, "msg": "0 changes. 1 job synced."}


def test_agent_in_check_mode_does_not_sync() -> None:
    found = module.sync_due(INSTALLED, SimpleNamespace(check_mode=True, known=None))
    assert found == {**INSTALLED, "changed": True, "msg": "0 changes. 1 job would sync."}


@pytest.mark.parametrize("changed", [True, False])
def test_failed_sync_keeps_the_result_of_the_installation(monkeypatch: pytest.MonkeyPatch, changed: bool) -> None:
    def fail(due: list[str], grants: Any) -> None:
        error = StorageFailed("These jobs failed to sync: shop (storage).")
        error.details = {"changed": False, "reports": {"shop": {"conclusion": "storage"}}}
        raise error

    monkeypatch.setattr(module.jobs, "sync_all", fail)
    with pytest.raises(StorageFailed) as caught:
        module.sync_due({**INSTALLED, "changed": changed}, SimpleNamespace(check_mode=False, known=None))
    result = caught.value.as_failure()
    assert (result["changed"], result["due"], result["conclusion"]) == (changed, ["shop"], "storage")
    assert result["reports"]["shop"]["conclusion"] == "storage" and result["msg"] == str(caught.value)
