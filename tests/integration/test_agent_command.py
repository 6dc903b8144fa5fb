# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job of the agent as its units run it: sync, deliver, notify, ready and status, and what none of them shows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils import infisical
from dev_server.client import DevServer
from integration.leaks import Canary, leaks
from integration.shop import PROJECT
from integration.tokens import check_revoked, living

pytestmark = pytest.mark.root

ROOM = Path(str(infisical.__file__)).parent
VALUE, WEBHOOK, CLIENT_SECRET = (Canary(f"Canary{name}x8d3e1b7a9c") for name in ("Value", "Webhook", "Secret"))
LOGIN = "/universal-auth/login$"
PROGRAM = """
import sys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli import main as cli
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import config
config.JOBS = sys.argv.pop(1)
raise SystemExit(cli.main())
"""
"""The command, on a host whose jobs are configured in another folder."""


class Hooks:
    """A webhook that keeps what it was sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hooks.sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Nothing is written to the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/{WEBHOOK.core}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def end(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Host:
    """A host with jobs of the agent, each of whose units is a call here. Everything that is printed is kept."""

    def __init__(self, folder: Path, server: DevServer, hooks: Hooks) -> None:
        self.folder, self.server, self.hooks = folder, server, hooks
        self.printed = b""
        self.ambient: dict[str, str] = {}
        self.wanted = (
            f"[file 1]\npath = {folder}/srv/app.env\nmode = 0440\nreload = app.service\nnames = DB_*\n"
            f"[file 2]\npath = {folder}/srv/values\nformat = files\nrestart = app.service\n"
        )
        for name in ("jobs", "bin", "srv", "metrics", "run"):
            (folder / name).mkdir(mode=0o755)
        (folder / "bin" / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\n')
        (folder / "bin" / "systemctl").chmod(0o755)
        self.private("key", bytes(range(32)))
        self.private("client_id", b"admin-id\n")
        self.private("client_secret", b"admin-client-secret\n")
        self.private("webhook", hooks.url.encode())

    def private(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)
        (self.folder / name).chmod(0o600)

    def configure(self, job: str = "shop", **changes: str) -> None:
        """A job's file as the role writes it; `changes` are of the address and path."""
        folder = self.folder
        (folder / "state" / job).mkdir(parents=True, exist_ok=True)
        (folder / "run" / job).mkdir(exist_ok=True)
        text = f"""
            [infisical]
            url = {changes.get("url", self.server.url)}
            client_id_file = {folder}/client_id
            client_secret_file = {folder}/client_secret
            connection_wait = 0.1
            server_error_wait = 0.1
            [vault]
            path = {folder}/state/{job}/secrets.vault
            key_file = {folder}/key
            [sync]
            job = {job}
            environment = dev
            project_ids = {PROJECT}
            secret_path = {changes.get("secret_path", "/app")}
            prune = true
            state_hash = hmac-sha256
            [agent]
            result_file = {folder}/run/{job}/result.json
            login_file = {folder}/state/login.json
            [deliver]
            record_file = {folder}/state/{job}.json
            runtime_directory = {folder}/run/{job}
            metrics_directory = {folder}/metrics
            [notify]
            state_file = {folder}/state/{job}/notify.json
            webhook_url_file = {folder}/webhook
        """
        lines = "\n".join(line.strip() for line in text.splitlines())
        (folder / "jobs" / f"{job}.ini").write_text(f"{lines}\n{self.wanted}", "utf-8")
        (folder / "jobs" / f"{job}.ini").chmod(0o640)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": f"{self.folder}/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOM.parents[5]),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.ambient,
        }
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.folder / "jobs"), *words],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, code: int = 0) -> str:
        """Run the command, which must end with `code`; all that it says."""
        process = self.start(*words)
        out, errors = process.communicate(timeout=60)
        self.printed += out + errors
        assert process.returncode == code, (out, errors)
        return (out + errors).decode()

    def cycle(self, job: str = "shop", sync: int = 0, deliver: int = 0) -> str:
        """What systemd starts at the end of an interval: the sync, the delivery, the notification."""
        said = self.run("sync", "--job", job, code=sync)
        return said + self.run("deliver", "--job", job, code=deliver) + self.run("notify", "--job", job)

    def report(self, job: str = "shop") -> dict[str, Any]:
        return dict(json.loads((self.folder / "run" / job / "result.json").read_text("utf-8")))

    def calls(self) -> list[str]:
        """Return the calls of systemctl since the last call of this method."""
        path = self.folder / "calls"
        if not path.exists():
            return []
        found = path.read_text("utf-8").splitlines()
        path.unlink()
        return found

    def value(self, name: str) -> str:
        return (self.folder / "srv" / "values" / name).read_text("utf-8")


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    made = Hooks()
    yield made
    made.end()


@pytest.fixture
def host(server: DevServer, hooks: Hooks) -> Iterator[Host]:
    """In a folder that root alone can change, with all above it."""
    folder = Path(tempfile.mkdtemp(prefix="keyfleet-test-", dir="/var"))
    folder.chmod(0o755)
    made = Host(folder, server, hooks)
    made.configure()
    yield made
    shutil.rmtree(folder)


def test_changed_secret_is_delivered_and_restarts_its_unit_once(host: Host, server: DevServer) -> None:
    assert "the vault does not exist yet" in host.run("deliver")
    waiting = host.start("ready")
    host.run("sync")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(1)
    said = host.run("deliver")
    assert waiting.wait(20) == 0
    assert host.value("DB_USER") == "shop" and host.value("DB_PASSWORD") == "seeded password"
    assert (host.folder / "srv" / "app.env").read_text() == 'DB_PASSWORD="seeded password"\nDB_USER="shop"\n'
    assert f"written: {host.folder}/srv/values/DB_USER" in said and "notified: app.service" in said
    assert host.calls() == ["--no-block try-restart -- app.service"]

    server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", "another")
    server.put_secret(PROJECT, "dev", "/app", "MODE", "fast")
    server.delete_secret(PROJECT, "dev", "/app", "DB_USER")
    host.cycle()
    assert (host.value("DB_PASSWORD"), host.value("MODE")) == ("another", "fast")
    assert not (host.folder / "srv" / "values" / "DB_USER").exists()
    assert len(host.calls()) == 1

    said = host.cycle()
    assert "delivered: unchanged" in said and "no notification needed" in said
    assert host.calls() == [] and host.hooks.sent == []
    assert (host.report()["conclusion"], host.report()["counts"]["unchanged"]) == ("ok", 2)
    metrics = (host.folder / "metrics" / "infisical_sync_shop.prom").read_text()
    assert 'infisical_sync_secrets{sync_job="shop"} 2\n' in metrics
    assert 'infisical_sync_last_cycle_failed{sync_job="shop"} 0\n' in metrics


def test_callers_environment_does_not_change_a_jobs_options(host: Host, server: DevServer) -> None:
    host.ambient = {
        "INFISICAL_ENVIRONMENT": "prod", "INFISICAL_SYNC_ENVIRONMENT": "prod", "INFISICAL_SECRET_PATH": "/",
        "INFISICAL_URL": "http://127.0.0.1:9", "INFISICAL_PROXY": "http://127.0.0.1:9", "INFISICAL_TOKEN": "ambient",
        "INFISICAL_AUTH_METHOD": "token", "INFISICAL_CLIENT_ID": "ambient", "INFISICAL_CLIENT_SECRET": "ambient",
        "INFISICAL_KEY_FILE": "/nowhere", "INFISICAL_VAULT_PATH": "/nowhere", "INFISICAL_CONFIG": "/nowhere",
        "INFISICAL_DELIVER_RECORD_FILE": "/nowhere/record", "INFISICAL_NOTIFY_COMMAND": "/nowhere/program",
        "INFISICAL_AGENT_RESULT_FILE": "/nowhere/result", "HTTP_PROXY": "http://127.0.0.1:9",
    }  # fmt: skip
    path = f"{host.folder}/bin/../jobs//shop.ini"
    for end in (("--config", path), ("--job", "shop")):
        for command in (["sync"], ["deliver"], ["notify"], ["status"], ["metadata", "--json"], ["vault", "verify"]):
            host.run(*command, *end)
    assert host.value("DB_USER") == "shop"
    listings = server.requests("/secrets")
    assert listings and not [request for request in listings if "prod" in str(request)]
    del host.ambient["INFISICAL_CONFIG"], host.ambient["INFISICAL_VAULT_PATH"]
    host.run("sync")
    host.ambient = {"INFISICAL_CONFIG": path, "INFISICAL_ENVIRONMENT": "prod"}
    host.run("sync")


def test_outage_causes_one_failure_and_one_recovery_notification(host: Host, server: DevServer) -> None:
    host.cycle()
    before = host.value("DB_PASSWORD")
    host.calls()
    host.configure(url="http://127.0.0.1:9")
    for _cycle in range(3):
        host.cycle(sync=4)
    assert host.value("DB_PASSWORD") == before and host.calls() == []
    assert [sent["event"] for sent in host.hooks.sent] == ["failure"]
    assert (host.hooks.sent[0]["job"], host.hooks.sent[0]["conclusion"]) == ("shop", "unreachable")
    assert "last cycle" in host.run("status") and "unreachable" in host.run("status")
    metrics = (host.folder / "metrics" / "infisical_sync_shop.prom").read_text()
    assert 'infisical_sync_last_error{sync_job="shop",conclusion="unreachable"} 1\n' in metrics
    host.configure()
    for _cycle in range(2):
        host.cycle()
    assert [sent["event"] for sent in host.hooks.sent] == ["failure", "recovery"]
    assert "last_error" not in (host.folder / "metrics" / "infisical_sync_shop.prom").read_text()


def test_last_success_is_reported_after_a_reboot(host: Host) -> None:
    host.cycle()
    synced = json.loads(host.run("status", "--json"))["last_sync"]
    (host.folder / "run" / "shop" / "result.json").unlink()  # it lies in memory
    host.configure(url="http://127.0.0.1:9")
    host.cycle(sync=4)
    assert [(sent["event"], sent["last_success"]) for sent in host.hooks.sent] == [("failure", synced)]


def test_wrong_credentials_cause_one_login_per_host(host: Host, server: DevServer) -> None:
    host.configure("till")
    host.private("client_secret", CLIENT_SECRET.plain.encode())
    for _cycle in range(3):
        for job in ("shop", "till"):
            host.cycle(job, sync=3)
    assert len(server.requests(LOGIN)) == 1
    assert sorted(sent["job"] for sent in host.hooks.sent) == ["shop", "till"]
    assert host.report()["next_login"] in host.run("status", "--job", "shop")
    host.private("client_secret", b"admin-client-secret\n")
    for job in ("shop", "till"):
        host.cycle(job)
    assert len(server.requests(LOGIN)) == 3
    assert host.value("DB_USER") == "shop"


def test_cycles_leave_no_token(host: Host, server: DevServer) -> None:
    host.cycle()
    check_revoked(server, 1)
    host.private("client_secret", b"viewer-client-secret\n")
    host.cycle(sync=3)
    assert living(server) == []


def test_failed_file_is_reported_together_with_written_files(host: Host) -> None:
    host.wanted = host.wanted.replace("[file 2]", "[file 2]\nowner = no-such-user")
    host.configure()
    host.run("sync")
    said = host.run("deliver", code=2)
    assert f"written: {host.folder}/srv/app.env" in said and "notified: app.service" in said
    assert "user 'no-such-user' does not exist" in said
    host.run("notify")
    assert [sent["conclusion"] for sent in host.hooks.sent] == ["configuration"]
    ended, _end = json.JSONDecoder().raw_decode(host.run("deliver", "--json", code=2))
    assert (ended["failed"], ended["changed"], ended["written"]) == (True, False, [])
    waiting = host.start("ready")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(1)
    host.wanted = host.wanted.replace("owner = no-such-user", "owner = root")
    host.configure()
    delivered = json.loads(host.run("deliver", "--json"))
    assert delivered["changed"] and delivered["notified"] == ["app.service"]
    assert waiting.wait(20) == 0
    host.cycle()
    assert [sent["event"] for sent in host.hooks.sent] == ["failure", "recovery"]


def test_unsafe_names_leave_the_file_unchanged_and_are_reported(host: Host, server: DevServer) -> None:
    host.cycle()
    server.put_secret(PROJECT, "dev", "/app", "DB_x;$(touch pwned)", str(VALUE))
    server.put_secret(PROJECT, "dev", "/app", "LD_PRELOAD", str(VALUE))
    said = host.cycle(deliver=8)
    assert "DB_x;$(touch pwned)" in said and "refusing to write" in said
    assert sorted(path.name for path in (host.folder / "srv" / "values").iterdir()) == ["DB_PASSWORD", "DB_USER"]
    assert host.hooks.sent[-1]["conclusion"] == "partial"


def test_commands_require_a_job_name_if_the_host_has_several(host: Host) -> None:
    host.configure("till", secret_path="/")
    for command in ("sync", "deliver", "notify", "ready"):
        said = host.run(command, code=2)
        assert "job: this host has several jobs: shop, till." in said and "hint: Select a job with --job." in said
    host.cycle("shop")
    said = host.run("status")
    assert f"{host.folder}/state/shop/secrets.vault" in said and f"{host.folder}/state/till/secrets.vault" in said
    only = host.run("status", "--job", "shop")
    assert "secrets:     2 (generation 1)" in only and "till" not in only
    both = json.loads(host.run("status", "--json"))
    assert [about["job"] for about in both] == ["shop", "till"]
    told = json.loads(host.run("status", "--json", "--job", "shop"))
    assert (told["secrets"], told["last_cycle"]["conclusion"]) == (2, "ok")


KILLED = """
import os
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
status = local.status
local.status = lambda vault, state: os.kill(os.getpid(), 9) if "/shop/" in vault.path else status(vault, state)
"""


@pytest.mark.parametrize(("wrong", "code"), [("[nonsense]", 2), ("[vault]\nlock_wait = -1", 2), ("killed", 1)])
def test_status_lists_all_jobs_if_one_job_is_invalid(
    host: Host, monkeypatch: pytest.MonkeyPatch, wrong: str, code: int
) -> None:
    host.configure("till", secret_path="/")
    host.cycle("till")
    path = host.folder / "jobs" / "shop.ini"
    if code == 2:
        path.write_text(path.read_text().replace("[vault]", wrong))
    else:
        monkeypatch.setitem(globals(), "PROGRAM", KILLED + PROGRAM)
    said = host.run("status", code=code)
    assert "secrets:     50 (generation 1)" in said
    assert "infisical-sync: shop: " in said or wrong == "killed"
    bad, good = json.loads(host.run("status", "--json", code=code).split("\ninfisical-sync: ")[0])
    assert (good["job"], good["secrets"], "failed" in good) == ("till", 50, False)
    assert bad["job"] == "shop" and bad["failed"] is True and bad["message"]
    path.unlink()
    assert json.loads(host.run("status", "--json"))["job"] == "till"


@pytest.mark.parametrize(
    ("command", "option"), [("deliver", "record_file"), ("ready", "runtime_directory"), ("notify", "state_file")]
)
def test_missing_configuration_file_error_names_the_file(host: Host, command: str, option: str) -> None:
    path = host.folder / "jobs" / "shop.ini"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(f"{option} =")]
    path.write_text("\n".join(kept).replace("[notify]\n", "[notify]\nreminder = 1\n"))
    assert f"{option}: not set in {path}" in host.run(command, code=2)


def test_secrets_are_only_in_delivered_files(host: Host, server: DevServer) -> None:
    server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", str(VALUE))
    server.put_secret(PROJECT, "dev", "/app", "SHORT", VALUE.core)
    host.cycle()
    host.run("sync", "--verbose", "--json")
    for words in (("status",), ("status", "--json"), ("deliver", "--json"), ("vault", "list", "--job", "shop")):
        host.run(*words)
    host.private("client_secret", CLIENT_SECRET.plain.encode())
    host.cycle(sync=3)
    host.hooks.end()
    host.private("client_secret", b"admin-client-secret\n")
    host.run("sync")
    host.run("notify", code=4)
    host.wanted = host.wanted.replace("[file 2]", "[file 2]\nowner = no-such-user")
    host.configure()
    host.run("deliver", code=2)
    assert b"the webhook cannot be reached" in host.printed

    canaries = (VALUE, WEBHOOK, CLIENT_SECRET)
    delivered = {str(path): path.read_bytes() for path in (host.folder / "srv").rglob("*") if path.is_file()}
    assert len(leaks(canaries, delivered)) == 3, "the search finds what is there"
    own = {"webhook"}
    places = {
        str(path): path.read_bytes() for path in host.folder.rglob("*")
        if path.is_file() and str(path) not in delivered and path.name not in own
    }  # fmt: skip
    assert len(places) > 10
    told = json.dumps(host.hooks.sent).encode()
    assert told != b"[]"
    assert leaks(canaries, {**places, "printed": host.printed, "told": told}) == {}


def test_killed_sync_is_reported_by_systemd(host: Host) -> None:
    host.cycle()
    environment = {"INVOCATION_ID": "b" * 32, "SERVICE_RESULT": "oom-kill", "EXIT_STATUS": "KILL"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(host.folder / "jobs"), "finish"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOM.parents[5]), **environment}, check=False,
    )  # fmt: skip
    assert ended.returncode == 0
    assert (host.report()["conclusion"], host.report()["invocation_id"]) == ("oom-kill", "b" * 32)
    host.run("deliver")
    host.run("notify")
    assert [sent["conclusion"] for sent in host.hooks.sent] == ["oom-kill"]


def test_reader_never_sees_a_partially_delivered_file(host: Host, server: DevServer) -> None:
    path, seen, stop = host.folder / "srv" / "app.env", set(), threading.Event()
    texts = {letter: letter * 200_000 for letter in "ab"}
    server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", texts["a"])
    host.cycle()

    def read() -> None:
        while not stop.is_set():
            seen.add(hash(path.read_bytes()))
            time.sleep(0.001)

    expected = {hash(path.read_bytes())}
    reader = threading.Thread(target=read)
    reader.start()
    for letter in "bab":
        server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", texts[letter])
        host.cycle()
        expected.add(hash(path.read_bytes()))
    stop.set()
    reader.join()
    assert len(expected) == 2 and seen <= expected
