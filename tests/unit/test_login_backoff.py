# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delays of logins after rejected credentials and after a lockout."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import login_backoff
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.login_backoff import BackoffLogin
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.transport import Clock, Transport
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import parse_time
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import jwt
from unit.web import Web

pytest.importorskip("requests", reason="logins need requests")

HOUR = 3600.0
REJECTED = 401, {"error": "UnauthorizedError", "message": "Invalid credentials"}
LOCKED = (
    401,
    {
        "error": "UnauthorizedError",
        "message": "This identity auth method is temporarily locked, please try again later",
    },
)
GOOD = 200, {"accessToken": "CANARY-token", "expiresIn": 600}


class Time(Clock):
    """A clock that moves only when the test sets it."""

    now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Fleet:
    """Cycles of one host against a server. Each cycle has its own login object."""

    def __init__(self, web: Web, path: Path) -> None:
        self.web, self.path, self.clock = web, path, Time()
        self.given: dict[str, Any] = {"client_id": "id", "client_secret": "CANARY-secret"}

    def answer(self, answer: tuple[int, dict[str, Any]]) -> None:
        self.web.status, self.web.document = answer

    def login(self) -> BackoffLogin:
        waits = {"rate_limit_wait": 0.0, "server_error_wait": 0.0, "connection_wait": 0.0}
        settings = Settings.from_options({"url": self.web.url, **waits, **self.given})
        return BackoffLogin(Transport(settings, clock=self.clock), str(self.path))

    def cycle(self) -> str:
        """Return the token, or the conclusion of the error."""
        try:
            return self.login().current()
        except InfisicalError as error:
            assert "CANARY" not in str(error)
            self.error = error
            return error.conclusion

    @property
    def logins(self) -> int:
        """Return the number of logins on the server since the last call."""
        found, self.web.requests = len(self.web.requests), []
        return found


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Web() as web:
        yield Fleet(web, tmp_path / "login.json")


def test_successful_login_empties_the_login_record(fleet: Fleet) -> None:
    fleet.answer(GOOD)
    assert [fleet.cycle(), fleet.cycle()] == ["CANARY-token"] * 2
    assert fleet.logins == 2
    assert json.loads(fleet.path.read_text()) == {}


def test_rejected_login_is_retried_after_1_2_4_to_24_hours(fleet: Fleet) -> None:
    fleet.answer(REJECTED)
    waited = []
    for _turn in range(8):
        assert fleet.cycle() == "credentials_rejected"
        assert fleet.logins == 1
        sent_at, until = fleet.clock.now, parse_time(fleet.error.details["next_login"])
        assert until is not None
        for there in (1.0, (until - sent_at) / 2, until - sent_at - 1):
            fleet.clock.now = sent_at + there
            assert fleet.cycle() == "credentials_rejected"
            assert "Login skipped until" in str(fleet.error) and "Invalid credentials" in str(fleet.error)
            assert fleet.error.details["next_login"] in str(fleet.error)
        assert fleet.logins == 0
        waited.append((until - sent_at) / HOUR)
        fleet.clock.now = until
    assert waited == [1, 2, 4, 8, 16, 24, 24, 24]


def test_wrong_credentials_cause_five_logins_in_a_day(fleet: Fleet) -> None:
    fleet.answer(REJECTED)
    for _cycle in range(24 * 4):
        fleet.cycle()
        fleet.clock.now += 15 * 60
    assert fleet.logins == 5


@pytest.mark.parametrize("change", [{"client_secret": "CANARY-other"}, {"client_id": "other"}])
def test_login_with_changed_credentials_is_not_delayed(fleet: Fleet, change: dict[str, str]) -> None:
    fleet.answer(REJECTED)
    fleet.cycle()
    fleet.answer(GOOD)
    fleet.given |= change
    assert fleet.cycle() == "CANARY-token"
    assert fleet.logins == 2


def test_login_to_another_server_is_not_delayed(fleet: Fleet) -> None:
    fleet.answer(REJECTED)
    fleet.cycle()
    fleet.given["url"] = fleet.web.url.replace("127.0.0.1", "localhost")
    fleet.answer(GOOD)
    assert fleet.cycle() == "CANARY-token"


def test_different_wrong_credentials_wait_only_one_hour(fleet: Fleet) -> None:
    fleet.answer(REJECTED)
    for _turn in range(3):
        fleet.cycle()
        fleet.clock.now += 24 * HOUR
    fleet.given["client_secret"] = "CANARY-other"
    fleet.cycle()
    assert parse_time(fleet.error.details["next_login"]) == fleet.clock.now + HOUR


def test_successful_login_resets_the_delay(fleet: Fleet) -> None:
    for _turn in range(2):
        fleet.answer(REJECTED)
        fleet.cycle()
        assert parse_time(fleet.error.details["next_login"]) == fleet.clock.now + HOUR
        fleet.clock.now += HOUR
        fleet.answer(GOOD)
        assert fleet.cycle() == "CANARY-token"


def test_delay_after_a_lockout_has_a_random_part(fleet: Fleet) -> None:
    fleet.answer(LOCKED)
    waits = set()
    for _turn in range(20):
        assert fleet.cycle() == "locked_out"
        until = parse_time(fleet.error.details["next_login"])
        assert until is not None
        wait = until - fleet.clock.now
        assert login_backoff.LOCK_OUT - 1 <= wait <= 2 * login_backoff.LOCK_OUT
        fleet.clock.now = until - 1
        assert fleet.cycle() == "locked_out"
        assert "Login skipped until" in str(fleet.error)
        assert fleet.logins == 1
        waits.add(wait)
        fleet.clock.now = until + 1
    assert len(waits) > 10


def test_lockout_does_not_shorten_the_login_delay(fleet: Fleet) -> None:
    waits = []
    for answer in (REJECTED, REJECTED, LOCKED, REJECTED):
        fleet.answer(answer)
        fleet.cycle()
        until = parse_time(fleet.error.details["next_login"])
        assert until is not None
        waits.append((until - fleet.clock.now) / HOUR)
        fleet.clock.now = until + 1
    assert (waits[0], waits[1], waits[3]) == (1, 2, 4)


def test_login_is_not_blocked_if_the_clock_is_set_back(fleet: Fleet) -> None:
    fleet.answer(REJECTED)
    fleet.cycle()
    fleet.clock.now -= 365 * 24 * HOUR
    fleet.answer(GOOD)
    assert fleet.cycle() == "CANARY-token"


@pytest.mark.parametrize("answer", [(500, {}), (429, {}), (404, {"message": "Route GET:/x not found"}), (200, {})])
def test_failure_other_than_a_rejection_is_retried_next_cycle(fleet: Fleet, answer: tuple[int, dict[str, Any]]) -> None:
    fleet.answer(answer)
    fleet.cycle()
    assert "next_login" not in fleet.error.details
    assert not fleet.path.exists()
    fleet.answer(GOOD)
    assert fleet.cycle() == "CANARY-token"


def test_server_error_does_not_reset_the_delay(fleet: Fleet) -> None:
    fleet.answer(REJECTED)
    fleet.cycle()
    fleet.clock.now += HOUR
    fleet.answer((500, {}))
    fleet.cycle()
    fleet.answer(REJECTED)
    fleet.cycle()
    assert parse_time(fleet.error.details["next_login"]) == fleet.clock.now + 2 * HOUR


def test_rejected_login_is_sent_once_per_process(fleet: Fleet) -> None:
    fleet.answer(REJECTED)
    login = fleet.login()
    for _turn in range(3):
        with pytest.raises(InfisicalError):
            login.current()
        with pytest.raises(InfisicalError):
            login.renew("old")
    assert fleet.logins == 1


def test_two_jobs_at_the_same_time_send_one_login(fleet: Fleet) -> None:
    fleet.answer(REJECTED)
    fleet.web.go_on.clear()
    ended: list[str] = []

    def cycle() -> None:
        try:
            ended.append(fleet.login().current())
        except InfisicalError as error:
            ended.append(error.conclusion)

    jobs = [threading.Thread(target=cycle) for _job in range(3)]
    for job in jobs:
        job.start()
    deadline = time.monotonic() + 10
    while not fleet.web.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    fleet.web.go_on.set()
    for job in jobs:
        job.join()
    assert ended == ["credentials_rejected"] * 3
    assert fleet.logins == 1


def test_wait_for_another_jobs_login_times_out(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_backoff, "_LOCK_WAIT", 0.1)
    with files.lock_file(f"{fleet.path}.lock", 1):
        assert fleet.cycle() == "busy"
    assert fleet.logins == 0


def test_login_record_is_private_and_has_no_credentials(fleet: Fleet) -> None:
    fleet.answer((401, {"message": "Invalid credentials CANARY-secret"}))
    fleet.cycle()
    kept = fleet.path.read_text("utf-8")
    assert "CANARY" not in kept and json.loads(kept)["conclusion"] == "credentials_rejected"
    assert fleet.path.stat().st_mode & 0o777 == 0o600
    first = json.loads(kept)
    fleet.clock.now += HOUR
    fleet.cycle()
    second = json.loads(fleet.path.read_text("utf-8"))
    assert first["credential"] != second["credential"], "a hash without a new salt tells that nothing has changed"


@pytest.mark.parametrize(
    "damage",
    [
        "", "{", "[]", "null", "[" * 100_000, {"until": "soon"}, {"until": float("inf")}, {"until": True},
        {"count": "many"}, {"count": True}, {"conclusion": "no such"}, {"salt": None}, {"message": ["x"]},
        {"message": "\ud800"},
    ],
    ids=lambda damage: str(damage)[:40].encode("ascii", "backslashreplace").decode(),
)  # fmt: skip
def test_damaged_login_record_is_replaced(fleet: Fleet, damage: Any) -> None:
    fleet.answer(REJECTED)
    fleet.cycle()
    kept = json.loads(fleet.path.read_text())
    fleet.path.write_text(damage if isinstance(damage, str) else json.dumps({**kept, **damage}))
    assert fleet.cycle() == "credentials_rejected"
    assert fleet.logins == 2
    assert parse_time(fleet.error.details["next_login"]) == fleet.clock.now + HOUR
    fleet.cycle()
    assert fleet.logins == 0


def test_full_disk_does_not_hide_the_result_of_a_login(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **names: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomic", full)
    fleet.answer(REJECTED)
    assert fleet.cycle() == "credentials_rejected"
    fleet.answer(GOOD)
    assert fleet.cycle() == "CANARY-token"


def test_login_is_not_sent_if_the_record_directory_is_missing(fleet: Fleet) -> None:
    fleet.path = fleet.path.parent / "missing" / "login.json"
    fleet.answer(GOOD)
    assert fleet.cycle() == "storage"
    assert "The login record" in str(fleet.error)
    assert fleet.logins == 0


def test_method_that_cannot_lock_out_is_not_delayed(fleet: Fleet) -> None:
    token = jwt.sign(jwt.generate_key()[0], "host:web1", fleet.clock.now)
    fleet.given = {"auth_method": "jwt_auth", "identity_id": "id", "jwt": token}
    fleet.answer(REJECTED)
    assert [fleet.cycle(), fleet.cycle()] == ["credentials_rejected"] * 2
    assert fleet.logins == 2
    fleet.given = {"auth_method": "ldap_auth", "identity_id": "id", "username": "u", "password": "CANARY"}
    assert [fleet.cycle(), fleet.cycle()] == ["credentials_rejected"] * 2
    assert fleet.logins == 1
    fleet.given["password"] = "CANARY-2"
    fleet.cycle()
    assert fleet.logins == 1
