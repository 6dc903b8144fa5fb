# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications: one for each conclusion, a reminder, the recovery, and no URL in any message."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import notify
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.notify import (
    Channel,
    NotificationRecord,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.report import CycleReport
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import transport
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import times
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
)
from unit.programs import Programs
from unit.web import Web

pytest.importorskip("requests", reason="webhooks need requests")

NOON = 1_800_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR
PATH = "/services/CANARY-path?token=CANARY-query"


def at(seconds: float) -> str:
    return times.format_time(NOON + seconds)


def failed(after: float = 0, conclusion: str = "unreachable") -> CycleReport:
    return CycleReport(
        job="shop",
        ended=at(after),
        conclusion=conclusion,
        problem="Could not read.",
        hint="Check url.",
        counts={"updated": 0},
    )


def good(after: float = 0) -> CycleReport:
    return CycleReport(job="shop", ended=at(after), counts={"updated": 2})


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


# Events


def told(*at_: float, conclusion: str = "unreachable", **others: float) -> NotificationRecord:
    """Return a record: times of the first failure, of its last notification, and of notifications of others."""
    since, last = (*at_, *at_)[:2]
    return NotificationRecord(at(since), {conclusion: at(last), **{name: at(time) for name, time in others.items()}})


@pytest.mark.parametrize(
    ("told", "report", "event"),
    [
        (NotificationRecord(), good(), ""),
        (NotificationRecord(), failed(), "failure"),
        (told(0), failed(1), ""),
        (told(0), failed(DAY - 1), ""),
        (told(0), failed(DAY), "reminder"),
        (told(0), good(1), "recovery"),
        (told(0), good(9 * DAY), "recovery"),
        # Another thing fails.
        (told(0), failed(1, "guard"), "failure"),
        (told(0, guard=1), failed(2), ""),
        (told(0, guard=1), failed(2, "guard"), ""),
        (told(0, guard=HOUR), failed(DAY), "reminder"),
        (told(0, guard=HOUR), failed(DAY, "guard"), ""),
        (told(0, guard=HOUR), failed(DAY + HOUR, "guard"), "reminder"),
        # The clock was set back, so the age is unknown.
        (told(0), failed(-HOUR), "reminder"),
        (told(0, -HOUR), failed(-HOUR + 1), ""),
        (told(0), good(-HOUR), "recovery"),
    ],
)
def test_event_depends_on_the_report_and_the_last_notification(
    told: NotificationRecord, report: CycleReport, event: str
) -> None:
    assert notify.choose_event(told, report, DAY) == event


def test_conclusion_is_sent_once_if_reminders_are_off() -> None:
    assert notify.choose_event(told(0), failed(365 * DAY), 0) == ""
    assert notify.choose_event(told(0), failed(1, "vault_damaged"), 0) == "failure"


def test_alternating_conclusions_are_sent_once_each(tmp_path: Path, web: Web) -> None:
    channel = Channel(webhook_url=web.url + PATH)
    cycles = [failed(n * 900, ("unreachable", "server_error")[n % 2]) for n in range(96 * 2)]
    for cycle in [*cycles, failed(2 * DAY, "guard"), good(2 * DAY + 1)]:
        notify.notify(str(tmp_path / "notified.json"), "web1", cycle, channel)
    sent = [(request.document["event"], request.document["conclusion"]) for request in web.requests]
    assert sent == [
        ("failure", "unreachable"), ("failure", "server_error"), ("reminder", "unreachable"),
        ("reminder", "server_error"), ("failure", "guard"), ("recovery", "ok"),
    ]  # fmt: skip
    texts = [str(request.document["text"]) for request in web.requests]
    assert f"failed (guard). It has been failing since {at(0)}." in texts[4]
    assert f"since {at(0)}, with unreachable, server_error, guard." in texts[5]
    assert {request.document["since"] for request in web.requests} == {at(0)}


def test_failure_that_lasts_two_days_causes_two_reminders(tmp_path: Path, web: Web) -> None:
    channel, events = Channel(webhook_url=web.url + PATH), []
    cycles = [good(0), *(failed(n * HOUR) for n in range(1, 51)), good(51 * HOUR), good(52 * HOUR)]
    for cycle in cycles:
        events.append(notify.notify(str(tmp_path / "notified.json"), "web1", cycle, channel))
    assert {n: event for n, event in enumerate(events) if event} == {
        1: "failure", 25: "reminder", 49: "reminder", 51: "recovery"
    }  # fmt: skip
    sent = [request.document for request in web.requests]
    assert [document["event"] for document in sent] == ["failure", "reminder", "reminder", "recovery"]
    assert {document["since"] for document in sent} == {at(HOUR)}


def test_notification_contains_the_documented_fields(tmp_path: Path, web: Web) -> None:
    channel = Channel(webhook_url=web.url + PATH)
    notify.notify(str(tmp_path / "notified.json"), "web1", failed(), channel, at(-HOUR))
    notify.notify(str(tmp_path / "notified.json"), "web1", good(60), channel, at(60))
    assert [request.document for request in web.requests] == [
        {
            "event": "failure",
            "text": "Sync job 'shop' on web1 failed (unreachable). Could not read. Check url.",
            "host": "web1",
            "job": "shop",
            "conclusion": "unreachable",
            "message": "Could not read. Check url.",
            "hint": "Check url.",
            "counts": {"updated": 0},
            "since": at(0),
            "time": at(0),
            "last_success": at(-HOUR),
        },
        {
            "event": "recovery",
            "text": f"Sync job 'shop' on web1 succeeded again. It had been failing since {at(0)}, with unreachable.",
            "host": "web1",
            "job": "shop",
            "conclusion": "ok",
            "message": "",
            "hint": "",
            "counts": {"updated": 2},
            "since": at(0),
            "time": at(60),
            "last_success": at(60),
        },
    ]
    assert web.requests[0].path == PATH
    assert web.requests[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "7", '{"since": "x"}', '{"since": "x", "notified_at": [1]}',
        '{"since": "x", "notified_at": {"a": 1}}',
        '{"since": "2026-01-15T10:30:00Z", "notified_at": {"unreachable": "x"}}',
        '{"since": "x", "notified_at": {"unreachable": "2026-01-15T10:30:00Z"}}',
        '{"since": "2026-01-15T10:30:00Z", "notified_at": "2026-01-15T10:30:00Z"}',
        '{"since": 5, "notified_at": {}}', '{"since": "\\ud800", "notified_at": {}}', "\xff", "[" * 100_000,
    ],
)  # fmt: skip
def test_damaged_notification_record_counts_as_empty(tmp_path: Path, web: Web, text: str) -> None:
    path = tmp_path / "notified.json"
    path.write_bytes(text.encode("latin-1"))
    channel = Channel(webhook_url=web.url)
    assert notify.notify(str(path), "web1", good(), channel) == ""
    assert notify.notify(str(path), "web1", failed(), channel) == "failure"
    assert notify.read(str(path)) == told(0)


def test_notification_record_is_private_and_has_no_url(tmp_path: Path, web: Web) -> None:
    notify.notify(str(tmp_path / "notified.json"), "web1", failed(), Channel(webhook_url=web.url + PATH))
    assert (tmp_path / "notified.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "notified.json").read_text()) == asdict(told(0))


def test_notification_record_is_updated_without_a_channel(tmp_path: Path) -> None:
    for channel in (Channel(), Channel(command="  ")):
        path = str(tmp_path / "notified.json")
        assert [notify.notify(path, "web1", cycle, channel) for cycle in (failed(), failed(1), good(2))] == [
            "failure", "", "recovery"
        ]  # fmt: skip


# A command


def test_command_gets_the_notification_on_standard_input(tmp_path: Path, programs: Programs) -> None:
    programs.put("tell-us", f"cat > '{tmp_path}/got'")
    channel = Channel(command="tell-us --room 'all of us' '$HOME;id'")
    assert notify.notify(str(tmp_path / "notified.json"), "web1", failed(), channel) == "failure"
    assert programs.calls() == ["tell-us --room all of us $HOME;id"]
    assert json.loads((tmp_path / "got").read_text())["event"] == "failure"


def test_failed_command_is_retried_after_the_next_cycle(tmp_path: Path, programs: Programs) -> None:
    path, channel = str(tmp_path / "notified.json"), Channel(command="tell-us")
    programs.put("tell-us", "echo 'no route' >&2; exit 3")
    for cycle in (failed(), failed(1)):
        with pytest.raises(InfisicalError, match="tell-us ended with status 3: no route") as caught:
            notify.notify(path, "web1", cycle, channel)
        assert caught.value.conclusion == "unreachable"
    programs.put("tell-us")
    assert notify.notify(path, "web1", failed(2), channel) == "failure"
    assert len(programs.calls()) == 3


def test_missing_command_error_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(InfisicalError, match="/no/such/program cannot be started"):
        notify.notify(str(tmp_path / "notified.json"), "web1", failed(), Channel(command="/no/such/program -x"))


def test_command_is_terminated_after_its_timeout(
    tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_COMMAND_SECONDS", 0.2)
    programs.put("tell-us", "exec sleep 60")
    began = time.monotonic()
    with pytest.raises(InfisicalError, match="did not end in time"):
        notify.notify(str(tmp_path / "notified.json"), "web1", failed(), Channel(command="tell-us"))
    assert time.monotonic() - began < 10


def test_unclosed_quote_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        notify.notify(str(tmp_path / "notified.json"), "web1", failed(), Channel(command="tell-us 'all"))
    assert refused.value.option == "notify_command"


def test_successful_channel_is_not_retried_if_the_other_fails(tmp_path: Path, programs: Programs, web: Web) -> None:
    path, channel = str(tmp_path / "notified.json"), Channel(command="tell-us", webhook_url=web.url + PATH)
    programs.put("tell-us", "exit 1")
    with pytest.raises(InfisicalError, match="by only one of two channels: tell-us ended with status 1") as caught:
        notify.notify(path, "web1", failed(), channel)
    assert caught.value.conclusion == "partial"
    assert notify.notify(path, "web1", failed(1), channel) == ""
    assert len(web.requests) == 1


def test_invalid_command_does_not_block_the_webhook(tmp_path: Path, web: Web) -> None:
    path, channel = str(tmp_path / "notified.json"), Channel(command="tell-us 'all", webhook_url=web.url + PATH)
    with pytest.raises(
        InfisicalError, match="by only one of two channels: notify_command: contains an unclosed quote"
    ) as caught:
        notify.notify(path, "web1", failed(), channel)
    assert caught.value.hint == "Close the quote."
    assert len(web.requests) == 1


def test_two_failed_channels_are_both_retried(tmp_path: Path, programs: Programs, web: Web) -> None:
    path, channel = str(tmp_path / "notified.json"), Channel(command="tell-us", webhook_url=web.url + PATH)
    programs.put("tell-us", "exit 1")
    web.status = 500
    for _turn in range(2):
        with pytest.raises(InfisicalError, match=r"tell-us ended with status 1.*; the webhook responded with HTTP 500"):
            notify.notify(path, "web1", failed(), channel)
    assert (len(programs.calls()), len(web.requests)) == (2, 2)


@pytest.mark.parametrize(
    ("command", "message"),
    [("", r"^Sent the notification \(failure\)\. The notification record .* cannot be written"),
     ("tell-us", r"by only one of two channels: tell-us ended with status 1.*\. The notification record .* cannot be")],
)  # fmt: skip
def test_unwritable_notification_record_is_reported(
    tmp_path: Path, web: Web, programs: Programs, command: str, message: str
) -> None:
    programs.put("tell-us", "exit 1")
    channel = Channel(command=command, webhook_url=web.url)
    with pytest.raises(InfisicalError, match=message):
        notify.notify(str(tmp_path / "missing" / "notified.json"), "web1", failed(), channel)
    assert len(web.requests) == 1


def test_unwritable_record_is_an_error_without_a_channel(tmp_path: Path) -> None:
    with pytest.raises(InfisicalError, match=r"^The notification record .* cannot be written") as caught:
        notify.notify(str(tmp_path / "missing" / "notified.json"), "web1", failed(), Channel())
    assert not caught.value.details


# A webhook


def posted(url: str, **options: Any) -> InfisicalError:
    """Return the error of a refused post, after a check that it does not contain the URL."""
    usual: dict[str, Any] = {"ca_path": "", "proxy": "", "allow_http": False}
    with pytest.raises(InfisicalError) as caught:
        transport.post_json(url, {"text": "é"}, **{**usual, **options})
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "CANARY" not in f"{seen} {seen!r}"
        seen = seen.__context__
    return caught.value


@pytest.mark.parametrize("status", [301, 302, 400, 404, 429, 500, 503])
def test_webhook_error_status_is_reported_and_not_retried(web: Web, status: int) -> None:
    web.status, web.headers = status, {"Location": web.url + "/CANARY", "Retry-After": "0"}
    web.document = {"message": "CANARY"}
    error = posted(web.url + PATH)
    assert str(error) == f"the webhook responded with HTTP {status}"
    assert error.conclusion == "unreachable"
    assert len(web.requests) == 1


def test_every_2xx_status_is_a_success(web: Web) -> None:
    for web.status in (200, 201, 202, 204):
        transport.post_json(web.url + PATH, {"text": "é"}, ca_path="", proxy="", allow_http=False)
    assert [request.document for request in web.requests] == [{"text": "é"}] * 4


def test_webhook_response_body_is_not_awaited(web: Web) -> None:
    web.headers = {"Content-Length": "1000"}
    began = time.monotonic()
    transport.post_json(web.url + PATH, {}, ca_path="", proxy="", allow_http=False)
    assert time.monotonic() - began < 5


def test_silent_webhook_times_out(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_WEBHOOK_SECONDS", 0.2)
    web.go_on.clear()
    assert "did not respond: no complete response within the timeout" in str(posted(web.url + PATH))


def test_unreachable_webhook_is_reported_without_its_url() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    error = posted(f"http://127.0.0.1:{port}{PATH}")
    assert "the webhook cannot be reached" in str(error) and str(port) not in str(error)
    assert "cannot be reached" in str(posted("https://CANARY.invalid/"))


def test_tls_failure_is_reported_without_the_url(web: Web) -> None:
    assert "did not respond: the TLS connection failed" in str(posted(web.url.replace("http:", "https:") + PATH))


@pytest.mark.parametrize(
    "url",
    ["", "CANARY", "ftp://CANARY/", "http://CANARY.example.com/", "https://", "https:///CANARY", "http://[CANARY/",
     "file:///CANARY"],
)  # fmt: skip
def test_invalid_webhook_url_is_refused(url: str) -> None:
    error = posted(url)
    assert isinstance(error, ConfigurationError)
    assert error.option == "notify_webhook_url"


def test_http_to_another_host_needs_allow_http() -> None:
    assert "cannot be reached" in str(posted("http://CANARY.invalid/", allow_http=True))


def test_proxy_in_the_environment_is_ignored(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    transport.post_json(web.url + PATH, {}, ca_path="", proxy="", allow_http=False)
    assert len(web.requests) == 1


def test_missing_ca_path_error_names_the_path() -> None:
    assert "ca_path" in str(posted("https://127.0.0.1:1/CANARY", ca_path="/no/such/ca.pem"))


def test_configured_proxy_is_used(web: Web) -> None:
    transport.post_json("http://hooks.invalid/x", {}, ca_path="", proxy=web.url, allow_http=True)
    assert web.requests[0].path == "http://hooks.invalid/x"


def test_repr_of_a_channel_hides_its_url() -> None:
    assert "CANARY" not in repr(Channel(webhook_url=f"https://hooks.example.com{PATH}"))
