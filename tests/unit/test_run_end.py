# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exit handlers and the signal handler that revoke the run's tokens."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ansible")
pytest.importorskip("requests", reason="revocations need requests")

from ansible.utils.display import Display
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.auth import Token
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import connection, run_end
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_files import SealedFiles
from unit.web import Web

CANARY = "Canary7f3a9c21"
SIGNALS = [signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


@pytest.fixture
def handler() -> Iterator[None]:
    """Restore the handlers of the signals."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, restored in before.items():
        signal.signal(number, restored)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The exit handlers that are registered during the test, with their arguments. They are not run."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(atexit, "register", lambda *call: calls.append(call))
    return calls


def settings_of(web: Web) -> Settings:
    return Settings(url=web.url, allow_http=True, client_id="id", client_secret=CANARY, jwt=CANARY, password=CANARY)


def test_main_process_revokes_the_token_at_exit(web: Web, registered: list[tuple[Any, ...]], handler: None) -> None:
    run_end.revoke_at_end(settings_of(web), Token("token"))
    [(function, *arguments)] = registered
    assert web.requests == []
    function(*arguments)
    assert len(web.requests) == 1


def test_fork_of_the_main_process_revokes_nothing(web: Web, registered: list[tuple[Any, ...]], handler: None) -> None:
    run_end.revoke_at_end(settings_of(web), Token("token"))
    [(function, *arguments)] = registered
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert web.requests == []


def test_expired_token_of_a_run_is_not_revoked(web: Web, registered: list[tuple[Any, ...]], handler: None) -> None:
    run_end.revoke_at_end(settings_of(web), Token("token", time.time() - 60))
    [(function, *arguments)] = registered
    function(*arguments)
    assert web.requests == []


def test_worker_passes_no_login_secret_to_the_main_process(web: Web) -> None:
    reader, writer = multiprocessing.Pipe(duplex=False)

    def work() -> None:
        setattr(Display(), "display", lambda text, **options: writer.send_bytes(pickle.dumps(options)))  # noqa: B010
        run_end.revoke_at_end(settings_of(web), Token("token of the run"))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    message = reader.recv_bytes()
    process.join()
    assert b"token of the run" in message
    assert CANARY.encode() not in message


def test_failed_registration_is_only_a_debug_message(web: Web, tmp_path: Path) -> None:
    """The login works even if another version of Ansible rejects the arguments with which a worker process registers
    the revocation."""
    web.document = {"accessToken": "token-of-the-run", "expiresIn": 60}
    reader, writer = multiprocessing.Pipe(duplex=False)

    def reject(text: str, **options: Any) -> None:
        raise TypeError(f"newline must be a bool (got {options['newline']} and {CANARY})")

    def work() -> None:
        setattr(Display(), "display", reject)  # noqa: B010
        setattr(Display(), "vvv", writer.send)  # noqa: B010
        shared = SealedFiles(settings_of(web), tmp_path)
        writer.send(connection.connect_shared(settings_of(web), shared, None).tokens.current())
        writer.send(shared.recall("token")["value"])

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == 0
    debug, used, noted = (reader.recv() for _message in range(3))
    assert debug.startswith("The access token of this run will not be revoked: Unexpected TypeError at")
    assert CANARY not in debug
    assert used == noted == "token-of-the-run"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("other", [signal.SIG_IGN, lambda number, frame: None], ids=["ignored", "handled"])
def test_signal_handler_of_others_is_kept(other: Any, number: signal.Signals, handler: None) -> None:
    signal.signal(number, other)
    run_end.exit_on_signals()
    assert signal.getsignal(number) is other


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_ends_the_main_process_like_an_error(number: signal.Signals, handler: None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    run_end.exit_on_signals()
    with pytest.raises(SystemExit) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.code == 128 + number
    os.kill(os.getpid(), signal.SIGHUP)  # the shell repeats the signal of the kernel
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_ends_a_fork_as_before(number: signal.Signals, handler: None) -> None:
    signal.signal(number, signal.SIG_DFL)
    run_end.exit_on_signals()
    started = multiprocessing.get_context("fork").Event()

    def work() -> None:
        started.set()
        time.sleep(60)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    assert started.wait(60)  # Python ignores signals at the beginning of a fork
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == -number
