# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is notified: of each conclusion, a reminder, the recovery, and nothing in between; and no URL in any word."""

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
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.notify import Channel, Told
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.report import Report
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


def failed(after: float = 0, conclusion: str = "unreachable") -> Report:
    return Report(job="shop", ended=at(after), conclusion=conclusion, message="Could not read.", counts={"updated": 0})


def good(after: float = 0) -> Report:
    return Report(job="shop", ended=at(after), counts={"updated": 2})


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


# Events


def told(*at_: float, conclusion: str = "unreachable", **others: float) -> Told:
    """That there was a first failure, of which one was told last at some time, and of others."""
    since, last = (*at_, *at_)[:2]
    return Told(at(since), {conclusion: at(last), **{name: at(time) for name, time in others.items()}})


@pytest.mark.parametrize(
    ("told", "report", "event"),
    [
        (Told(), good(), ""),
        (Told(), failed(), "failure"),
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
        # The clock was set back: nobody knows how long ago it was.
        (told(0), failed(-HOUR), "reminder"),
        (told(0, -HOUR), failed(-HOUR + 1), ""),
        (told(0), good(-HOUR), "recovery"),
    ],
)
def test_what_there_is_to_tell_after_a_cycle(told: Told, report: Report, event: str) -> None:
    assert notify.event(told, report, DAY) == event


def test_without_a_reminder_each_conclusion_is_told_once() -> None:
    assert notify.event(told(0), failed(365 * DAY), 0) == ""
    assert notify.event(told(0), failed(1, "vault_damaged"), 0) == "failure"


def test_alternating_conclusions_send_no_storm(tmp_path: Path, web: Web) -> None:
    channel = Channel(webhook_url=web.url + PATH)
    cycles = [failed(n * 900, ("unreachable", "server_error")[n % 2]) for n in range(96 * 2)]
    for cycle in [*cycles, failed(2 * DAY, "guard"), good(2 * DAY + 1)]:
        notify.tell(str(tmp_path / "told.json"), "web1", cycle, channel)
    sent = [(request.document["event"], request.document["conclusion"]) for request in web.requests]
    assert sent == [
        ("failure", "unreachable"), ("failure", "server_error"), ("reminder", "unreachable"),
        ("reminder", "server_error"), ("failure", "guard"), ("recovery", "ok"),
    ]  # fmt: skip
    texts = [str(request.document["text"]) for request in web.requests]
    assert f"failed (guard); it has been failing since {at(0)}." in texts[4]
    assert f"since {at(0)} (unreachable, server_error, guard)." in texts[5]
    assert {request.document["since"] for request in web.requests} == {at(0)}


def test_a_failure_of_two_days_is_told_at_its_beginning_once_a_day_and_at_its_end(tmp_path: Path, web: Web) -> None:
    channel, events = Channel(webhook_url=web.url + PATH), []
    cycles = [good(0), *(failed(n * HOUR) for n in range(1, 51)), good(51 * HOUR), good(52 * HOUR)]
    for cycle in cycles:
        events.append(notify.tell(str(tmp_path / "told.json"), "web1", cycle, channel))
    assert {n: event for n, event in enumerate(events) if event} == {
        1: "failure", 25: "reminder", 49: "reminder", 51: "recovery"
    }  # fmt: skip
    sent = [request.document for request in web.requests]
    assert [document["event"] for document in sent] == ["failure", "reminder", "reminder", "recovery"]
    assert {document["since"] for document in sent} == {at(HOUR)}


def test_what_is_sent_names_host_job_conclusion_counts_and_times(tmp_path: Path, web: Web) -> None:
    channel = Channel(webhook_url=web.url + PATH)
    notify.tell(str(tmp_path / "told.json"), "web1", failed(), channel, at(-HOUR))
    notify.tell(str(tmp_path / "told.json"), "web1", good(60), channel, at(60))
    assert [request.document for request in web.requests] == [
        {
            "event": "failure",
            "text": "Sync of secrets 'shop' on web1 failed (unreachable). Could not read.",
            "host": "web1",
            "job": "shop",
            "conclusion": "unreachable",
            "message": "Could not read.",
            "counts": {"updated": 0},
            "since": at(0),
            "time": at(0),
            "last_success": at(-HOUR),
        },
        {
            "event": "recovery",
            "text": f"Sync of secrets 'shop' on web1 works again; it had failed since {at(0)} (unreachable).",
            "host": "web1",
            "job": "shop",
            "conclusion": "ok",
            "message": "",
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
        "", "{", "[]", "7", '{"since": "x"}', '{"since": "x", "told_at": [1]}', '{"since": "x", "told_at": {"a": 1}}',
        '{"since": "2026-01-15T10:30:00Z", "told_at": {"unreachable": "x"}}',
        '{"since": "x", "told_at": {"unreachable": "2026-01-15T10:30:00Z"}}',
        '{"since": "2026-01-15T10:30:00Z", "told_at": "2026-01-15T10:30:00Z"}',
        '{"conclusion": "unreachable", "since": "x", "told_at": "x"}',
        '{"conclusion": [], "since": "2026-01-15T10:30:00Z", "told_at": "2026-01-15T10:30:00Z"}',
        '{"since": 5, "told_at": {}}', '{"since": "\\ud800", "told_at": {}}', "\xff", "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_state_counts_as_nothing_told(tmp_path: Path, web: Web, text: str) -> None:
    path = tmp_path / "told.json"
    path.write_bytes(text.encode("latin-1"))
    channel = Channel(webhook_url=web.url)
    assert notify.tell(str(path), "web1", good(), channel) == ""
    assert notify.tell(str(path), "web1", failed(), channel) == "failure"
    assert notify.read(str(path)) == told(0)


@pytest.mark.parametrize(("conclusion", "event"), [("unreachable", "recovery"), ("ok", "")])
def test_state_of_the_last_release_is_read(tmp_path: Path, web: Web, conclusion: str, event: str) -> None:
    path, before = tmp_path / "told.json", at(0) if event else ""
    path.write_text(json.dumps({"conclusion": conclusion, "since": before, "told_at": before}))
    assert notify.read(str(path)) == (told(0) if event else Told())
    assert notify.tell(str(path), "web1", good(1), Channel(webhook_url=web.url)) == event


def test_what_was_told_is_kept_for_its_owner_and_has_no_url(tmp_path: Path, web: Web) -> None:
    notify.tell(str(tmp_path / "told.json"), "web1", failed(), Channel(webhook_url=web.url + PATH))
    assert (tmp_path / "told.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "told.json").read_text()) == asdict(told(0))


def test_without_a_way_to_tell_the_state_goes_on_all_the_same(tmp_path: Path) -> None:
    for channel in (Channel(), Channel(command="  ")):
        path = str(tmp_path / "told.json")
        assert [notify.tell(path, "web1", cycle, channel) for cycle in (failed(), failed(1), good(2))] == [
            "failure", "", "recovery"
        ]  # fmt: skip


# A command


def test_a_command_gets_the_document_on_its_standard_input_and_words_as_a_shell_takes_them(
    tmp_path: Path, programs: Programs
) -> None:
    programs.put("tell-us", f"cat > '{tmp_path}/got'")
    channel = Channel(command="tell-us --room 'all of us' '$HOME;id'")
    assert notify.tell(str(tmp_path / "told.json"), "web1", failed(), channel) == "failure"
    assert programs.calls() == ["tell-us --room all of us $HOME;id"]
    assert json.loads((tmp_path / "got").read_text())["event"] == "failure"


def test_a_command_that_fails_is_tried_again_after_the_next_cycle(tmp_path: Path, programs: Programs) -> None:
    path, channel = str(tmp_path / "told.json"), Channel(command="tell-us")
    programs.put("tell-us", "echo 'no route' >&2; exit 3")
    for cycle in (failed(), failed(1)):
        with pytest.raises(InfisicalError, match="tell-us ended with 3: no route") as caught:
            notify.tell(path, "web1", cycle, channel)
        assert caught.value.conclusion == "unreachable"
    programs.put("tell-us")
    assert notify.tell(path, "web1", failed(2), channel) == "failure"
    assert len(programs.calls()) == 3


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InfisicalError, match="/no/such/program cannot be started"):
        notify.tell(str(tmp_path / "told.json"), "web1", failed(), Channel(command="/no/such/program -x"))


def test_a_command_that_does_not_end_is_ended(
    tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_COMMAND_SECONDS", 0.2)
    programs.put("tell-us", "exec sleep 60")
    began = time.monotonic()
    with pytest.raises(InfisicalError, match="did not end in time"):
        notify.tell(str(tmp_path / "told.json"), "web1", failed(), Channel(command="tell-us"))
    assert time.monotonic() - began < 10


def test_a_quote_that_is_never_closed_is_a_matter_of_the_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        notify.tell(str(tmp_path / "told.json"), "web1", failed(), Channel(command="tell-us 'all"))
    assert refused.value.option == "notify_command"


def test_one_of_two_ways_that_fails_is_told_and_the_other_is_not_repeated(
    tmp_path: Path, programs: Programs, web: Web
) -> None:
    path, channel = str(tmp_path / "told.json"), Channel(command="tell-us", webhook_url=web.url + PATH)
    programs.put("tell-us", "exit 1")
    with pytest.raises(InfisicalError, match="by one of two ways only: tell-us ended with 1") as caught:
        notify.tell(path, "web1", failed(), channel)
    assert caught.value.conclusion == "partial"
    assert notify.tell(path, "web1", failed(1), channel) == ""
    assert len(web.requests) == 1


def test_wrong_command_does_not_keep_the_webhook_from_being_called(tmp_path: Path, web: Web) -> None:
    path, channel = str(tmp_path / "told.json"), Channel(command="tell-us 'all", webhook_url=web.url + PATH)
    with pytest.raises(InfisicalError, match="by one of two ways only: notify_command: has a quote"):
        notify.tell(path, "web1", failed(), channel)
    assert len(web.requests) == 1


def test_two_of_two_ways_that_fail_are_both_tried_again(tmp_path: Path, programs: Programs, web: Web) -> None:
    path, channel = str(tmp_path / "told.json"), Channel(command="tell-us", webhook_url=web.url + PATH)
    programs.put("tell-us", "exit 1")
    web.status = 500
    for _turn in range(2):
        with pytest.raises(InfisicalError, match=r"tell-us ended with 1.*; the webhook answered HTTP 500"):
            notify.tell(path, "web1", failed(), channel)
    assert (len(programs.calls()), len(web.requests)) == (2, 2)


@pytest.mark.parametrize(
    ("command", "message"),
    [("", "The failure was told. What has been told cannot be kept"),
     ("tell-us", r"by one of two ways only: tell-us ended with 1.*\. What has been told cannot be kept")],
)  # fmt: skip
def test_where_it_cannot_be_remembered_that_is_said(
    tmp_path: Path, web: Web, programs: Programs, command: str, message: str
) -> None:
    programs.put("tell-us", "exit 1")
    channel = Channel(command=command, webhook_url=web.url)
    with pytest.raises(InfisicalError, match=message):
        notify.tell(str(tmp_path / "missing" / "told.json"), "web1", failed(), channel)
    assert len(web.requests) == 1


def test_nothing_is_called_told_without_a_way_to_tell(tmp_path: Path) -> None:
    with pytest.raises(InfisicalError, match=r"^What has been told cannot be kept") as caught:
        notify.tell(str(tmp_path / "missing" / "told.json"), "web1", failed(), Channel())
    assert not caught.value.details


# A webhook


def posted(url: str, **options: Any) -> InfisicalError:
    """What a refused post says, which is nothing of its URL."""
    usual: dict[str, Any] = {"ca_path": "", "proxy": "", "allow_http": False}
    with pytest.raises(InfisicalError) as caught:
        transport.post_json(url, {"text": "é"}, **{**usual, **options})
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "CANARY" not in f"{seen} {seen!r}"
        seen = seen.__context__
    return caught.value


@pytest.mark.parametrize("status", [301, 302, 400, 404, 429, 500, 503])
def test_an_answer_that_is_no_success_is_told_by_its_number_and_asked_once(web: Web, status: int) -> None:
    web.status, web.headers = status, {"Location": web.url + "/CANARY", "Retry-After": "0"}
    web.document = {"message": "CANARY"}
    error = posted(web.url + PATH)
    assert str(error) == f"the webhook answered HTTP {status}"
    assert error.conclusion == "unreachable"
    assert len(web.requests) == 1


def test_every_answer_of_two_hundred_and_more_is_a_success(web: Web) -> None:
    for web.status in (200, 201, 202, 204):
        transport.post_json(web.url + PATH, {"text": "é"}, ca_path="", proxy="", allow_http=False)
    assert [request.document for request in web.requests] == [{"text": "é"}] * 4


def test_nobody_waits_for_the_rest_of_an_answer(web: Web) -> None:
    web.headers = {"Content-Length": "1000"}
    began = time.monotonic()
    transport.post_json(web.url + PATH, {}, ca_path="", proxy="", allow_http=False)
    assert time.monotonic() - began < 5


def test_a_webhook_that_does_not_answer_is_left_alone_in_time(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_WEBHOOK_SECONDS", 0.2)
    web.go_on.clear()
    assert "did not answer: no whole answer within the timeout" in str(posted(web.url + PATH))


def test_a_webhook_that_cannot_be_reached_is_told_without_its_url() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    error = posted(f"http://127.0.0.1:{port}{PATH}")
    assert "the webhook cannot be reached" in str(error) and str(port) not in str(error)
    assert "cannot be reached" in str(posted("https://CANARY.invalid/"))


def test_an_address_that_speaks_no_tls_is_told_without_its_url(web: Web) -> None:
    assert "did not answer: the TLS connection failed" in str(posted(web.url.replace("http:", "https:") + PATH))


@pytest.mark.parametrize(
    "url",
    ["", "CANARY", "ftp://CANARY/", "http://CANARY.example.com/", "https://", "https:///CANARY", "http://[CANARY/",
     "file:///CANARY"],
)  # fmt: skip
def test_what_is_no_https_url_is_refused_by_the_options_name(url: str) -> None:
    error = posted(url)
    assert isinstance(error, ConfigurationError)
    assert error.option == "notify_webhook_url"


def test_http_to_another_machine_is_sent_where_it_is_allowed() -> None:
    assert "cannot be reached" in str(posted("http://CANARY.invalid/", allow_http=True))


def test_the_environment_decides_nothing(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    transport.post_json(web.url + PATH, {}, ca_path="", proxy="", allow_http=False)
    assert len(web.requests) == 1


def test_a_ca_path_that_is_not_there_is_named() -> None:
    assert "ca_path" in str(posted("https://127.0.0.1:1/CANARY", ca_path="/no/such/ca.pem"))


def test_a_proxy_is_used_where_one_is_set(web: Web) -> None:
    transport.post_json("http://hooks.invalid/x", {}, ca_path="", proxy=web.url, allow_http=True)
    assert web.requests[0].path == "http://hooks.invalid/x"


def test_a_channel_does_not_show_its_url() -> None:
    assert "CANARY" not in repr(Channel(webhook_url=f"https://hooks.example.com{PATH}"))
