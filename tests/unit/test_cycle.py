# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps before and after a sync: its report, a report from systemd, the delivery, and the wait for it."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import cycle, report
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.cycle import DeliveryPaths
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.deliver import DELIVERED, File
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.notify import (
    Channel,
    NotificationRecord,
    notify,
    read,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.report import CycleReport
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import times
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    CredentialsRejected,
    InfisicalError,
    PartialFailure,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.outcome import Outcome
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from unit.programs import Programs

THIS, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def result(tmp_path: Path) -> str:
    return str(tmp_path / "result.json")


# The report


def test_failed_sync_is_reported_and_raises_an_error(result: str) -> None:
    error = PartialFailure("One project failed.", hint="Try again.")
    error.details = {"counts": {"updated": 3}, "generation": 8}
    with pytest.raises(InfisicalError) as raised, cycle.report_cycle(result, "shop", {"INVOCATION_ID": THIS}):
        raise error
    assert raised.value is error
    found = report.read(result)
    assert (found.job, found.invocation_id, found.conclusion) == ("shop", THIS, "partial")
    assert (found.problem, found.hint, found.message) == (
        "One project failed.", "Try again.", "One project failed. Try again."
    )  # fmt: skip
    assert (found.counts, found.generation) == ({"updated": 3}, 8)
    assert times.parse_time(found.ended) is not None and found.seconds >= 0


def test_time_of_the_next_login_is_reported(result: str) -> None:
    error = CredentialsRejected("Rejected.")
    error.details = {"next_login": "2026-01-15T11:30:00Z"}
    with pytest.raises(InfisicalError), cycle.report_cycle(result, "shop", {}):
        raise error
    assert report.read(result).next_login == "2026-01-15T11:30:00Z"


def test_report_of_an_unexpected_error_omits_its_text(result: str) -> None:
    with pytest.raises(RuntimeError), cycle.report_cycle(result, "shop", {}):
        raise RuntimeError("CANARY")
    found = report.read(result)
    assert found.conclusion == "unexpected" and "RuntimeError" in found.message
    assert "CANARY" not in Path(result).read_text("utf-8")


def test_interrupted_sync_is_not_reported_as_a_success(result: str) -> None:
    with pytest.raises(KeyboardInterrupt), cycle.report_cycle(result, "shop", {}):
        raise KeyboardInterrupt
    assert report.read(result) == CycleReport()


def test_report_is_not_written_if_its_path_is_empty(tmp_path: Path) -> None:
    with cycle.report_cycle("", "shop", {}):
        pass
    assert not list(tmp_path.iterdir())


def test_sync_fails_if_its_report_cannot_be_written(tmp_path: Path) -> None:
    path = str(tmp_path / "missing" / "result.json")
    with pytest.raises(InfisicalError, match="One project failed"), cycle.report_cycle(path, "shop", {}):
        raise PartialFailure("One project failed.")
    with pytest.raises(InfisicalError, match=r"^The report .* cannot be written"), cycle.report_cycle(path, "shop", {}):
        pass  # the command moved syncs nothing
    with (
        pytest.raises(InfisicalError, match=r"^The sync succeeded\. The report .* cannot be written"),
        cycle.report_cycle(path, "shop", {}) as reporter,
    ):
        reporter.outcome = Outcome("pull", created=("A",))


def test_counts_of_a_success_are_reported(result: str) -> None:
    outcome = Outcome("pull", created=("A", "B"), unchanged=4, generation=3)
    with cycle.report_cycle(result, "shop", {}) as reporter:
        reporter.outcome = outcome
    found = report.read(result)
    assert (found.conclusion, found.counts, found.generation) == ("ok", outcome.counts, 3)


# A sync that left no report


def ended(result: str, status: str = "1") -> dict[str, str]:
    return {"INVOCATION_ID": THIS, "SERVICE_RESULT": result, "EXIT_STATUS": status}


def test_existing_report_from_this_run_is_kept(result: str) -> None:
    written = CycleReport("shop", THIS, "2026-01-15T10:45:00Z", 1.0, "unreachable", "No response.")
    report.write(result, written)
    assert cycle.finish(result, "shop", ended("exit-code", "4")) == written
    assert report.read(result) == written


@pytest.mark.parametrize(
    ("how", "status"),
    [("timeout", "15"), ("oom-kill", "9"), ("core-dump", "11"), ("signal", "KILL"), ("exit-code", "1")],
)
def test_report_of_a_killed_run_contains_the_result_from_systemd(result: str, how: str, status: str) -> None:
    report.write(result, CycleReport("shop", OTHER, "2026-01-15T10:30:00Z", counts={"updated": 3}))
    cycle.finish(result, "shop", ended(how, status))
    found = report.read(result)
    assert (found.conclusion, found.invocation_id, found.job, found.counts) == (how, THIS, "shop", {})
    assert f"systemd: {how}, status {status}" in found.message and "journalctl" in found.message
    assert times.parse_time(found.ended) is not None


def test_no_recovery_is_sent_before_the_first_cycle(tmp_path: Path, result: str) -> None:
    told = tmp_path / "told.json"
    told.write_text('{"since": "2026-01-15T10:30:00Z", "notified_at": {"unreachable": "2026-01-15T10:30:00Z"}}')
    assert notify(str(told), "web1", report.read(result), Channel()) == ""
    assert read(str(told)) == NotificationRecord("2026-01-15T10:30:00Z", {"unreachable": "2026-01-15T10:30:00Z"})


# Delivery


class Job:
    """A job with a vault in a temporary folder."""

    def __init__(self, room: Path) -> None:
        self.room = room
        self._open(bytes(range(32)))
        (room / "run").mkdir()
        (room / "metrics").mkdir()
        self.work = DeliveryPaths(
            [File(str(room / "app.env"))], str(room / "record.json"), str(room / "run"), str(room / "metrics"),
            str(room / "result.json"),
        )  # fmt: skip

    def _open(self, key: bytes) -> None:
        path = self.room / "key"
        path.write_bytes(key)
        path.chmod(0o600)
        self.vault, self.state = local.open_vault(str(self.room / "secrets.vault"), keys.KeyFile(str(path)))

    def lose_key(self) -> None:
        """Replace the key, as on a disk that was moved to another machine."""
        self._open(b"x" * 32)

    def put(self, name: str, value: str) -> None:
        local.put(self.vault, self.state, name, value)

    def deliver(self, **changes: Any) -> dict[str, Any]:
        done = cycle.deliver(self.vault, self.state, "shop", replace(self.work, **changes))
        return done.as_result()

    @property
    def metrics(self) -> str:
        return (self.room / "metrics" / "infisical_sync_shop.prom").read_text("utf-8")

    @property
    def mark(self) -> Path:
        return self.room / "run" / DELIVERED


@pytest.fixture
def job(room: Path) -> Job:
    return Job(room)


def test_delivery_writes_the_vault_generation_to_its_marker(job: Job) -> None:
    job.put("A", "1")
    assert job.deliver() == {
        "changed": True,
        "written": [str(job.room / "app.env")],
        "removed": [],
        "notified": [],
        "unknown": [],
    }
    assert (job.room / "app.env").read_text() == 'A="1"\n'
    assert job.mark.read_text() == "1\n" and job.mark.stat().st_mode & 0o777 == 0o644
    job.put("A", "2")
    job.deliver()
    assert job.mark.read_text() == "2\n"
    assert not job.deliver()["changed"]


def test_marker_error_reports_the_files_already_written(job: Job) -> None:
    job.put("A", "1")
    (job.room / "run").rmdir()
    with pytest.raises(InfisicalError, match=r"^Files written: 1, removed: 0\. .*run/\.delivered cannot be") as failed:
        job.deliver()
    assert failed.value.details["written"] == [str(job.room / "app.env")]


def test_missing_vault_delivers_nothing_and_writes_no_marker(job: Job) -> None:
    (job.room / "app.env").write_text("of before\n")
    assert not job.deliver()["changed"]
    assert (job.room / "app.env").read_text() == "of before\n"
    assert not job.mark.exists()


def test_unreadable_vault_keeps_files_and_updates_metrics(job: Job) -> None:
    job.put("A", "1")
    job.deliver()
    job.lose_key()
    report.write(job.work.result_file, CycleReport("shop", THIS, "2026-01-15T10:45:00Z", conclusion="wrong_key"))
    with pytest.raises(InfisicalError) as caught:
        job.deliver()
    assert caught.value.conclusion == "wrong_key"
    assert (job.room / "app.env").read_text() == 'A="1"\n'
    assert 'conclusion="wrong_key"} 1' in job.metrics and "_secrets{" not in job.metrics


def test_report_of_a_failed_sync_survives_a_failed_delivery(job: Job) -> None:
    job.put("A", "1")
    bad = [File(str(job.room / "b.env"), owner="no-such-user")]
    sync = CycleReport("shop", THIS, "2026-01-15T10:45:00Z", 1.5, counts={"updated": 1}, generation=1)
    report.write(job.work.result_file, sync)
    with pytest.raises(InfisicalError):
        job.deliver(files=bad)
    found = report.read(job.work.result_file)
    assert (found.conclusion, found.counts, found.invocation_id) == ("configuration", {"updated": 1}, THIS)
    assert "no-such-user" in found.message and 'conclusion="configuration"} 1' in job.metrics
    report.write(job.work.result_file, replace(sync, conclusion="unreachable", problem="No response."))
    with pytest.raises(InfisicalError):
        job.deliver(files=bad)
    assert report.read(job.work.result_file).message == "No response."


def test_metrics_can_be_read_by_everybody(job: Job) -> None:
    job.put("A", "CANARY")
    job.deliver()
    path = job.room / "metrics" / "infisical_sync_shop.prom"
    assert path.stat().st_mode & 0o777 == 0o644
    assert 'infisical_sync_secrets{sync_job="shop"} 1\n' in job.metrics and "CANARY" not in job.metrics


def test_invalid_report_does_not_block_metrics(job: Job) -> None:
    job.put("A", "1")
    Path(job.work.result_file).write_text('{"job": "x", "ended": "2026-01-15T10:45:00Z", "conclusion": "\\ud800"}')
    job.deliver()
    assert "conclusion=" not in job.metrics
    assert 'infisical_sync_secrets{sync_job="shop"} 1' in job.metrics


def test_missing_metrics_directory_does_not_block_delivery(job: Job) -> None:
    job.put("A", "1")
    with pytest.raises(
        InfisicalError, match=r"^Files written: 1, removed: 0\. The metrics .* cannot be written"
    ) as caught:
        job.deliver(metrics_directory=str(job.room / "missing"))
    assert caught.value.details["written"] == [str(job.room / "app.env")]
    assert job.mark.exists()


@pytest.mark.parametrize("how", ["owner", "mode", "link"])
def test_metrics_directory_that_others_can_write_to_is_refused(job: Job, how: str) -> None:
    job.put("A", "1")
    elsewhere, metrics = job.room / "elsewhere", job.room / "metrics"
    elsewhere.mkdir()
    if how == "link":
        metrics.rmdir()
        metrics.symlink_to(elsewhere)
    elif how == "owner":
        os.chown(metrics, 65534, 0)
    else:
        metrics.chmod(0o1777)
    with pytest.raises(InfisicalError, match=f"Nothing is written below {metrics}") as caught:
        job.deliver()
    assert caught.value.conclusion == "unsafe_file"
    assert [*elsewhere.iterdir(), *metrics.iterdir()] == []
    assert (job.room / "app.env").exists() and job.mark.exists()


def test_lost_key_is_reported_before_a_missing_metrics_directory(job: Job) -> None:
    job.put("A", "1")
    job.lose_key()
    with pytest.raises(InfisicalError) as caught:
        job.deliver(metrics_directory=str(job.room / "missing"))
    assert caught.value.conclusion == "wrong_key"


def test_several_delivery_problems_become_a_partial_failure(job: Job) -> None:
    job.put("A", "1")
    bad = [File(str(job.room / name), owner="no-such-user") for name in ("b.env", "c.env")]
    with pytest.raises(InfisicalError) as one:
        job.deliver(files=[*job.work.files, bad[0]])
    assert one.value.conclusion == "configuration"
    assert one.value.details == {
        "changed": True, "written": [str(job.room / "app.env")], "removed": [], "notified": [], "unknown": []
    }  # fmt: skip
    assert not job.mark.exists()
    with pytest.raises(InfisicalError) as several:
        job.deliver(files=[*job.work.files, *bad])
    assert several.value.conclusion == "partial"
    assert "b.env" in str(several.value) and "c.env" in str(several.value)
    job.deliver()
    assert job.mark.exists()


def test_units_are_notified_once_for_each_change(job: Job, programs: Programs) -> None:
    programs.put("systemctl")
    wanted = [File(str(job.room / "app.env"), restart=("app.service",))]
    for value in ("1", "1", "2", "2"):
        job.put("A", value)
        job.deliver(files=wanted)
    assert programs.calls() == ["systemctl --no-block try-restart -- app.service"] * 2


# Waiting


def test_wait_for_delivery_ends_after_the_first_delivery(tmp_path: Path) -> None:
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            (tmp_path / DELIVERED).write_text("1\n")

    cycle.wait_for_delivery(str(tmp_path), sleep)
    cycle.wait_for_delivery(str(tmp_path), sleep)
    assert len(waits) == 3 and all(0 < seconds <= 1 for seconds in waits)


def test_wait_for_delivery_includes_a_missing_directory(tmp_path: Path) -> None:
    waiting = threading.Thread(target=cycle.wait_for_delivery, args=(str(tmp_path / "run"),))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    os.mkdir(tmp_path / "run")
    (tmp_path / "run" / DELIVERED).touch()
    waiting.join(10)
    assert not waiting.is_alive()


def test_wait_for_delivery_requires_a_runtime_directory() -> None:
    with pytest.raises(ConfigurationError) as refused:
        cycle.wait_for_delivery("")
    assert refused.value.option == "runtime_directory"
