# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes share the run cache. The cache is encrypted with the credentials, and becomes stale after a write."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ansible")
pytest.importorskip("aiohttp")

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    CredentialsRejected,
    InfisicalError,
    Unreachable,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    Known,
    Location,
    Secret,
    Settings,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import metadata
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import run_cache, sealed_files
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.run_cache import RunCache, forget
from dev_server.client import DevServer
from dev_server.seed import DEFAULT_SEED

PROJECT = "demo-project"
SCOPE = Location(PROJECT, "dev", "/app")
LOGIN, LIST = "universal-auth/login", "/secrets$"
CANARY = "correct horse battery staple"


@pytest.fixture(scope="module")
def _process() -> Iterator[DevServer]:
    with DevServer() as process:
        yield process


@pytest.fixture
def server(_process: DevServer) -> DevServer:
    """A test server with the default seed."""
    _process.seed(DEFAULT_SEED)
    return _process


@pytest.fixture
def settings(server: DevServer) -> Settings:
    """The settings for the identity in the default seed."""
    return _settings(server)


def _settings(server: DevServer, **more: Any) -> Settings:
    options = {"url": server.url, "client_id": "demo-client-id", "client_secret": "demo-client-secret", **more}
    return Settings.from_options({"server_error_wait": 0.0, "connection_wait": 0.0, **options})


def counts(server: DevServer) -> tuple[int, int]:
    """Return the numbers of logins and listings."""
    return len(server.requests(LOGIN)), len(server.requests(LIST))


def _password(settings: Settings, directory: Path) -> str | None:
    return RunCache(settings, directory=directory).values(SCOPE, ["DB_PASSWORD"]).values["DB_PASSWORD"]


def _outcome(settings: Settings, directory: Path) -> str | None:
    """Return the password, or the conclusion of the error."""
    try:
        return _password(settings, directory)
    except InfisicalError as error:
        return error.conclusion


def _in_processes(number: int, work: Any, *arguments: Any) -> list[Any]:
    """Return the results of `work` in `number` processes that start at once."""
    context = multiprocessing.get_context("fork")
    results: Any = context.Queue()
    processes = [context.Process(target=lambda: results.put(work(*arguments))) for _process in range(number)]
    for process in processes:
        process.start()
    found = [results.get(timeout=30) for _process in processes]
    for process in processes:
        process.join()
    return found


def test_simultaneous_processes_share_one_login_and_listing(
    server: DevServer, settings: Settings, tmp_path: Path
) -> None:
    server.arm("delay", seconds=0.3, path=LIST)
    assert _in_processes(8, _password, settings, tmp_path) == [CANARY] * 8
    assert counts(server) == (1, 1)


def test_cache_files_are_encrypted_and_private(settings: Settings, tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    cache = RunCache(settings, directory=directory)
    cache.values(SCOPE, ())
    token = cache.token()
    assert token and directory.stat().st_mode & 0o777 == 0o700
    files = list(directory.iterdir())
    assert len([file for file in files if file.suffix == ".sealed"]) >= 2
    for file in files:
        content = file.read_bytes() + file.name.encode()
        assert file.stat().st_mode & 0o777 == 0o600
        for secret in (CANARY, "DB_PASSWORD", "demo-client-secret", token):
            assert secret.encode() not in content


def test_cache_is_not_shared_with_other_credentials(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    RunCache(settings, directory=tmp_path).values(SCOPE, ())
    with pytest.raises(InfisicalError) as caught:
        RunCache(_settings(server, client_secret="another"), directory=tmp_path).values(SCOPE, ())
    assert caught.value.conclusion == "credentials_rejected"


def test_renamed_cache_file_counts_as_missing(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    RunCache(settings, directory=tmp_path).values(SCOPE, ())
    [token] = tmp_path.glob("token-*.sealed")
    [version] = tmp_path.glob("version-*.sealed")
    token.write_bytes(version.read_bytes())
    assert RunCache(settings, directory=tmp_path).token() is not None
    assert counts(server) == (2, 1)


def test_write_makes_all_cached_listings_of_the_project_stale(
    server: DevServer, settings: Settings, tmp_path: Path
) -> None:
    cache = RunCache(settings, directory=tmp_path)
    cache.values(SCOPE, ())
    cache.value(SCOPE, "DB_PASSWORD")
    server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", "new")
    assert _password(settings, tmp_path) == CANARY
    forget("another-project", tmp_path)
    assert _password(settings, tmp_path) == CANARY
    forget(PROJECT, tmp_path)
    assert _password(settings, tmp_path) == "new"
    assert cache.value(SCOPE, "DB_PASSWORD").values["DB_PASSWORD"] == "new"
    assert len(server.requests(LOGIN)) == 1


def test_write_during_a_listing_makes_that_listing_stale(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    server.arm("delay", seconds=0.6, path=LIST)
    context = multiprocessing.get_context("fork")
    reader = context.Process(target=_password, args=(settings, tmp_path))
    reader.start()
    deadline = 100
    while not server.requests(LIST) and deadline:
        reader.join(0.02)
        deadline -= 1
    forget(PROJECT, tmp_path)
    reader.join()
    _password(settings, tmp_path)
    assert counts(server) == (1, 2)


@pytest.mark.parametrize(("mode", "expected"), [("run", (1, 1)), ("none", (1, 2)), ("task", (1, 2))])
def test_cache_mode_determines_listings_and_cache_files(
    server: DevServer, settings: Settings, tmp_path: Path, mode: Any, expected: tuple[int, int]
) -> None:
    for _time in range(2):
        RunCache(settings, mode, directory=tmp_path).values(SCOPE, ())
    assert counts(server) == expected
    assert bool(list(tmp_path.glob("version-*.sealed"))) == (mode == "run")


def test_cache_mode_task_keeps_listings_only_in_memory(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    def twice() -> int:
        return sum(len(RunCache(settings, "task", directory=tmp_path).values(SCOPE, ()).values) for _time in range(2))

    assert _in_processes(2, twice) == [4, 4]
    assert counts(server) == (1, 2)


def test_rejected_credentials_are_sent_by_only_one_process(server: DevServer, tmp_path: Path) -> None:
    wrong = _settings(server, client_secret="wrong")

    def attempt() -> str:
        try:
            return str(RunCache(wrong, directory=tmp_path).token())
        except InfisicalError as error:
            return error.conclusion

    assert _in_processes(4, attempt) == ["credentials_rejected"] * 4
    assert counts(server) == (1, 0)


def test_rejected_login_of_a_host_fails_later_tasks(settings: Settings, tmp_path: Path) -> None:
    rejected = CredentialsRejected("Invalid credentials. Check them.", hint="Check them.", status=401)
    RunCache(settings, directory=tmp_path).note_rejected({"failed": True, **rejected.as_failure()})
    with pytest.raises(CredentialsRejected) as caught:
        RunCache(settings, directory=tmp_path).refuse_rejected()
    assert caught.value.as_failure() == rejected.as_failure()


def test_other_error_of_a_host_does_not_fail_later_tasks(settings: Settings, tmp_path: Path) -> None:
    RunCache(settings, directory=tmp_path).note_rejected(InfisicalError("Unexpected.").as_failure())
    RunCache(settings, directory=tmp_path).refuse_rejected()


def test_unreachable_server_is_contacted_only_once(tmp_path: Path) -> None:
    settings = Settings.from_options(
        {"url": "http://127.0.0.1:9", "client_id": "x", "client_secret": "x", "connection_wait": 60.0}
    )
    assert RunCache(settings, directory=tmp_path).token() is None
    noted = list(tmp_path.glob("no_way-*.sealed"))
    assert len(noted) == 1
    # Another attempt to connect would write this file again.
    [failure] = tmp_path.glob("token-failure-*.sealed")
    failure.unlink()
    assert RunCache(settings, directory=tmp_path).token() is None
    assert not failure.exists()


def test_silent_metadata_service_is_queried_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_options({"url": "http://127.0.0.1:9", "auth_method": "gcp_auth", "identity_id": "x"})
    monkeypatch.setattr(metadata, "_CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        for seconds in (0, 59, 2):
            passed = time.time() + seconds
            monkeypatch.setattr(time, "time", lambda passed=passed: passed)
            with pytest.raises(Unreachable, match=r"no response within 0\.3 seconds"):
                RunCache(settings, directory=tmp_path).api().tokens.current()
        silent.setblocking(False)
        for _number in range(2):
            silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
    RunCache(settings, directory=tmp_path).refuse_rejected()  # a host may have a metadata service


def test_waiting_processes_share_one_failed_request(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    patient = replace(settings, connection_wait=1.0)
    server.arm("cut_before", path=LIST, times=100)

    assert _in_processes(6, _outcome, patient, tmp_path) == ["unreachable"] * 6
    # One request and one retry in total, instead of two for each process.
    assert counts(server) == (1, 2)
    server.disarm()
    assert _outcome(settings, tmp_path) == CANARY


def test_identity_does_not_wait_for_another_identitys_login(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_files, "LOCK_TIMEOUT", 0.2)
    other = replace(settings, client_id="another", client_secret="another")
    with sealed_files.SealedFiles(other, tmp_path).lock("token"):
        assert _outcome(other, tmp_path) == "unreachable", "a process with the same identity must wait"
        assert _password(settings, tmp_path) == CANARY


def test_rejected_token_is_replaced_for_all_processes(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    first = RunCache(settings, directory=tmp_path).token()
    server.revoke_tokens()
    assert _password(settings, tmp_path) == CANARY
    second = RunCache(settings, directory=tmp_path).token()
    assert second not in (None, first)
    assert len(server.requests(LOGIN)) == 2
    assert RunCache(settings, directory=tmp_path).token(rejected=str(first)) == second
    assert len(server.requests(LOGIN)) == 2
    assert RunCache(settings, directory=tmp_path).token(rejected=str(second)) != second
    assert len(server.requests(LOGIN)) == 3


def test_expired_token_is_renewed_before_a_request(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    assert RunCache(settings, directory=tmp_path).token() is not None
    [kept] = tmp_path.glob("token-*.sealed")
    sealed = sealed_files.SealedFiles(settings, tmp_path)
    sealed.note("token", {**sealed.recall("token"), "expires_at": 1.0})
    assert kept.exists()
    assert _password(settings, tmp_path) == CANARY
    assert counts(server) == (2, 1)
    assert {entry["status"] for entry in server.requests()} == {200}


def test_temporary_error_is_not_cached(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    server.arm("status", status=500, times=2, path=LIST)
    with pytest.raises(InfisicalError):
        _password(settings, tmp_path)
    assert _password(settings, tmp_path) == CANARY


@pytest.mark.parametrize(
    ("answer", "conclusion"),
    [
        ({"status": 403, "error": "PermissionDenied", "message": "You are not allowed to readValue on secrets"},
         "forbidden"),
        ({"status": 404, "error": "NotFound", "message": "Folder with path '/app' was not found"},
         "scope_missing"),
        ({"status": 422, "error": "ValidationFailure", "message": "no"}, "invalid"),
    ],
    ids=["forbidden", "missing", "invalid"],
)  # fmt: skip
def test_refused_listing_is_cached_until_the_next_write(
    server: DevServer, settings: Settings, tmp_path: Path, answer: dict[str, Any], conclusion: str
) -> None:
    server.arm("status", path=LIST, **answer)
    assert [_outcome(settings, tmp_path) for _time in range(3)] == [conclusion] * 3
    assert _in_processes(2, _outcome, settings, tmp_path) == [conclusion] * 2
    assert counts(server) == (1, 1)
    with pytest.raises(InfisicalError) as kept:
        _password(settings, tmp_path)
    assert answer["message"] in str(kept.value) and kept.value.status == answer["status"]
    forget(PROJECT, tmp_path)
    assert _outcome(settings, tmp_path) == CANARY


@pytest.mark.parametrize(("seconds", "conclusion", "lists"), [(55, "forbidden", 1), (65, CANARY, 2)])
def test_refused_listing_is_cached_for_one_minute(
    server: DevServer,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    conclusion: str,
    lists: int,
) -> None:
    server.arm("status", status=403, error="PermissionDenied", path=LIST)
    now = time.time()
    monkeypatch.setattr(run_cache.time, "time", lambda: now)
    assert _outcome(settings, tmp_path) == "forbidden"
    monkeypatch.setattr(run_cache.time, "time", lambda: now + seconds)
    assert [_outcome(settings, tmp_path) for _time in range(2)] == [conclusion] * 2
    assert counts(server) == (1, lists)


def test_refused_listing_is_retried_for_writes_after_a_minute(
    server: DevServer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.arm("status", status=403, error="PermissionDenied", path=LIST, times=2)  # with values, and without
    now = time.time()
    monkeypatch.setattr(run_cache.time, "time", lambda: now)
    assert [_known(settings, tmp_path) for _time in range(3)] == [None] * 3
    assert counts(server) == (1, 2)
    monkeypatch.setattr(run_cache.time, "time", lambda: now + 65)
    assert [_known(settings, tmp_path) for _time in range(3)] == [CANARY] * 3
    assert counts(server) == (1, 3)


def test_cache_mode_task_keeps_a_refused_listing(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    server.arm("status", status=403, error="PermissionDenied", path=LIST)

    def twice() -> list[str]:
        outcomes = []
        for _time in range(2):
            try:
                RunCache(settings, "task", directory=tmp_path).values(SCOPE, ())
            except InfisicalError as error:
                outcomes.append(error.conclusion)
        return outcomes

    assert _in_processes(1, twice) == [["forbidden"] * 2]
    assert counts(server) == (1, 1)


def _known(settings: Settings, directory: Path, key: str = "DB_PASSWORD", **how: Any) -> Any:
    known = RunCache(settings, directory=directory).known(SCOPE, key, **{"lists": True, "check": False, **how})
    return None if known is None else known.secret and known.secret.value


def test_cached_writes_are_valid_until_another_identity_writes(
    server: DevServer, settings: Settings, tmp_path: Path
) -> None:
    cache = RunCache(settings, directory=tmp_path)
    assert _known(settings, tmp_path) == CANARY
    assert cache.known(SCOPE, "NEW", lists=True, check=False) == Known(None)
    cache.note_secret(SCOPE, "NEW", Known(Secret("NEW", "noted")))
    forget(PROJECT, tmp_path, writer=cache.writer)
    assert (_known(settings, tmp_path), _known(settings, tmp_path, "NEW")) == (CANARY, "noted")
    cache.note_secret(SCOPE, "NEW", None)
    assert _known(settings, tmp_path, "NEW") is None
    assert counts(server) == (1, 1)
    server.put_secret(PROJECT, "dev", "/app", "NEW", "pushed")
    forget(PROJECT, tmp_path)
    assert _known(settings, tmp_path, "NEW") == "pushed"
    assert counts(server) == (1, 2)


def test_cached_result_of_an_older_write_is_not_used(settings: Settings, tmp_path: Path) -> None:
    cache = RunCache(settings, directory=tmp_path)
    began = cache.note_secret(SCOPE, "DB_PASSWORD", None)
    forget(PROJECT, tmp_path)
    cache.note_secret(SCOPE, "DB_PASSWORD", Known(Secret("DB_PASSWORD", "older")), began)
    assert _known(settings, tmp_path) == CANARY


def test_cache_is_not_used_during_an_async_task(settings: Settings, tmp_path: Path) -> None:
    forget(PROJECT, tmp_path, volatile_for=60)
    assert RunCache(settings, directory=tmp_path).known(SCOPE, "DB_PASSWORD", lists=True, check=False) is None


def test_failed_listing_is_not_retried_immediately(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    server.arm("status", status=500, path=LIST, times=2)
    cache = RunCache(settings, directory=tmp_path)
    for _time in range(3):
        assert cache.known(SCOPE, "DB_PASSWORD", lists=True, check=False) is None
    assert counts(server) == (1, 2)


def test_hidden_secrets_are_found_without_read_permission(server: DevServer, tmp_path: Path) -> None:
    server.seed({**DEFAULT_SEED, "identities": [{
        "name": "blind", "client_id": "blind", "client_secret": "x", "permissions": {PROJECT: ["describe", "create"]},
    }]})  # fmt: skip
    server.arm("status", status=403, error="PermissionDenied", path=LIST)
    blind = _settings(server, client_id="blind", client_secret="x")
    found = RunCache(blind, directory=tmp_path).known(SCOPE, "DB_PASSWORD", lists=True, check=False)
    assert found is not None and found.secret is not None
    assert (found.secret.value, found.secret.hidden, found.secret.version) == (None, True, 1)


def test_cached_secret_keeps_all_its_fields(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    server.put_secret(
        PROJECT, "dev", "/app", "FULL", "é\n", comment="c", tags=["database"], metadata=[{"key": "k", "value": "v"}]
    )

    def read() -> Known | None:
        return RunCache(settings, directory=tmp_path).known(SCOPE, "FULL", lists=True, check=False)

    fetched = read()
    assert _in_processes(1, read) == [fetched]
    assert fetched is not None and fetched.secret is not None
    full = fetched.secret
    assert (full.value, full.comment, full.tags, full.metadata) == ("é\n", "c", ("database",), (("k", "v"),))
    assert counts(server) == (1, 1)


@pytest.mark.parametrize("writers", ["ab", "abb", "abab", "abba", "aab", "abcc", "ab-", "bb"])
def test_each_write_by_another_identity_makes_the_cache_stale(
    server: DevServer, settings: Settings, tmp_path: Path, writers: str
) -> None:
    ours = RunCache(settings, directory=tmp_path)
    for number, writer in enumerate(writers):
        assert _known(settings, tmp_path) is not None  # lists what is stored now
        if writer == "a":
            forget(PROJECT, tmp_path, writer=ours.writer)
        else:
            server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", f"{writer}{number}")
            forget(PROJECT, tmp_path, writer=writer.strip("-"))
            assert _known(settings, tmp_path) == f"{writer}{number}"
    assert counts(server) == (1, 1 + len(writers.replace("a", "")))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


def _fill_disk(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass


@pytest.mark.root
def test_full_disk_means_that_nothing_is_cached(server: DevServer, settings: Settings, disk: Path) -> None:
    _fill_disk(disk)
    assert _password(settings, disk / "cache") == CANARY
    server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", "new")
    assert _password(settings, disk / "cache") == "new"
    assert _known(settings, disk / "cache") is None
    forget(PROJECT, disk / "cache")


@pytest.mark.root
def test_write_makes_the_cache_stale_even_if_the_disk_is_full(
    server: DevServer, settings: Settings, disk: Path
) -> None:
    cache = RunCache(settings, directory=disk)
    assert (_password(settings, disk), _known(settings, disk)) == (CANARY, CANARY)
    cache.value(SCOPE, "DB_PASSWORD")
    _fill_disk(disk)
    for value in ("new", "newer"):
        server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", value)
        forget(PROJECT, disk)
        assert (_password(settings, disk), _known(settings, disk)) == (value, value)
        assert cache.value(SCOPE, "DB_PASSWORD").values == {"DB_PASSWORD": value}


@pytest.mark.root
def test_own_write_that_cannot_be_recorded_is_unknown(settings: Settings, disk: Path) -> None:
    cache = RunCache(settings, directory=disk)
    cache.note_secret(SCOPE, "DB_PASSWORD", Known(Secret("DB_PASSWORD", "first")))
    assert _known(settings, disk) == "first"
    _fill_disk(disk)
    cache.note_secret(SCOPE, "DB_PASSWORD", Known(Secret("DB_PASSWORD", "second")))
    assert _known(settings, disk) in (CANARY, None, "second")


def test_interrupted_fetch_leaves_nothing_behind(server: DevServer, settings: Settings, tmp_path: Path) -> None:
    server.arm("delay", seconds=20.0, path=LIST)
    context = multiprocessing.get_context("fork")
    reader = context.Process(target=_password, args=(settings, tmp_path))
    reader.start()
    while not server.requests(LIST):
        reader.join(0.02)
    os.kill(reader.pid or 0, signal.SIGINT)
    reader.join()
    assert not list(tmp_path.glob("*.table"))
    assert _password(settings, tmp_path) == CANARY
    assert counts(server) == (1, 2)
