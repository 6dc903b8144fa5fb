# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's modules in real runs: bad input, check mode, a host without systemd, and no secret in results."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from dev_server.client import DevServer
from integration.controller import Controller
from integration.leaks import Canary, leaks, places

pytestmark = pytest.mark.root

AGENT, INFO, SYNC = (f"keyfleet.infisical.infisical_agent{name}" for name in ("", "_info", "_sync"))
PLACES = ("/etc/infisical-sync", "/usr/local/lib/infisical-sync", "/usr/local/bin/infisical-sync",
          "/var/lib/infisical-sync", "/var/lib/infisical-deliver",
          "/etc/systemd/system/infisical-sync@.service", "/run/infisical-agent.lock")  # fmt: skip
CLIENT_SECRET, WEBHOOK = Canary("CanaryClientSecretx2c7d9e4f1a"), Canary("CanaryWebhookx2c7d9e4f1a")
JOB: dict[str, Any] = {"name": "shop", "files": [{"format": "dotenv"}]}


@pytest.fixture(autouse=True)
def _no_agent() -> None:
    there = [path for path in PLACES if os.path.lexists(path)]
    if there:
        pytest.skip(f"an agent is installed on this machine: {there[0]}")


def untouched() -> bool:
    return not any(os.path.lexists(path) for path in PLACES)


def task(name: str, module: str, options: dict[str, Any], **keywords: Any) -> str:
    return "- " + json.dumps({"name": name, module: options, "check_mode": True, "ignore_errors": True, **keywords})


def job(**changes: Any) -> dict[str, Any]:
    return {"jobs": [{**JOB, **changes}]}


def file(**changes: Any) -> dict[str, Any]:
    return job(files=[changes])


WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    # what is wrong: the options that say it, and the words that the message has
    "no jobs": ({}, ("jobs: ", "state: absent")),
    "job without a name": ({"jobs": [{}]}, ("name",)),
    "name of a job": (job(name="a/b"), ("jobs: a name must have 1 to 63 letters", "(got 'a/b')")),
    "two jobs of one name": ({"jobs": [JOB, JOB]}, ("jobs: ", "is used by both")),
    "interval": (job(interval="7m"), ("jobs: shop: interval: 7m does not divide", "Use 6m or 10m")),
    "interval of words": (job(interval="daily"), ("jobs: shop: interval: ", "(got 'daily')", "such as 15m")),
    "environment": ({**job(), "environment": ""}, ("jobs: shop: environment: is required",)),
    "project": ({**job(), "project_id": ""}, ("jobs: shop: project_ids: is required",)),
    "relative file": (file(path="app.env"), ("jobs: shop: files: ", "must be absolute")),
    "root directory": (file(path="/"), ("jobs: shop: files: ", "root directory")),
    "mode": (file(mode="rw"), ("jobs: shop: files: ", "mode must be an octal number (got 'rw')")),
    "mode for everybody": (file(mode="0666"), ("jobs: shop: files: ", "everybody write")),
    "format": (file(format="yaml"), ("format", "dotenv, env_file, json, files")),
    "unit": (file(reload=["app"]), ("jobs: shop: files: ", "not a unit name", "app.service")),
    "two files of one path": (
        job(files=[{"path": "/srv/a"}, {"path": "/srv/a"}]), ("jobs: /srv/a is used by both",)
    ),
    "line in an option": (job(secret_path="/a\nb"), ("jobs: shop: secret_path: must be a single line",)),
    "token": ({**job(), "auth_method": "token", "token": "x"}, ("auth_method: must not be token",)),
    "identity of a method": ({**job(), "host_auth_method": "aws_auth"}, ("identity_id: is required for aws_auth",)),
    "token without a file": (
        {**job(), "auth_method": "oidc_auth", "identity_id": "x", "jwt": "y"}, ("jwt_path: is required for oidc_auth",)
    ),
    "relative token": (
        {**job(), "auth_method": "spiffe_auth", "identity_id": "x", "jwt_path": "svid"},
        ("jwt_path: must be an absolute path (got 'svid')",),
    ),
    "password": (
        {**job(), "auth_method": "ldap_auth", "identity_id": "x", "username": "y"}, ("password: is required for",)
    ),
    "method of the hosts": ({**job(), "host_auth_method": "token"}, ("host_auth_method", "universal_auth, oidc_auth")),
    "client secret": ({**job(), "client_secret": ""}, ("client_secret: is required",)),
    "lines in the client secret": ({**job(), "client_secret": "a\nb"}, ("client_secret: must be a single line",)),
    "url": ({**job(), "url": "infisical.example.com"}, ("url: ", "scheme is not http")),
    "proxy with a password": ({**job(), "proxy": "http://u:p@proxy:1"}, ("proxy: must not contain",)),
    "python": ({**job(), "python": "python3"}, ("python: must be an absolute path",)),
    "command": ({**job(), "notify_command": "tell 'us"}, ("notify_command: ", "unclosed quote")),
    "webhook": ({**job(), "notify_webhook_url": "https://a\nb"}, ("notify_webhook_url: must be a single line",)),
    "webhook that is a number": ({**job(), "notify_webhook_url": 12}, ("notify_webhook_url", "must be a string")),
    "reminder": ({**job(), "notify_reminder": -1}, ("notify_reminder: must be a number, 0 or more",)),
    "jitter": ({**job(), "rate_limit_jitter": -1}, ("rate_limit_jitter: must be a number, 0 or more",)),
    "metrics": ({**job(), "metrics_directory": "metrics\nx"}, ("metrics_directory: ",)),
    "credentials": ({**job(), "credentials": "clear"}, ("credentials", "auto, encrypted, file")),
    "state": ({"state": "gone"}, ("state", "present, absent")),
    "unknown option": ({**job(), "intervall": "1h"}, ("intervall",)),
}  # fmt: skip


def test_bad_input_error_names_the_option(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks("\n".join(task(name, AGENT, options) for name, (options, _words) in WRONG.items())).succeeded()

    problems = []
    for name, (_options, words) in WRONG.items():
        message = " ".join(str(run.failure(name)["msg"]).split())
        problems += [f"{name}: no '{word}' in '{message}'" for word in words if word not in message]
    assert not problems, "\n".join(problems)
    assert run.changed == 0 and untouched()
    assert server.requests() == []


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs this machine")
def test_host_without_systemd_is_refused(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks(
        "\n".join((
            task("systemd", AGENT, job()),
            task("encrypted", AGENT, {**job(), "credentials": "encrypted"}),
            task("outside check mode", AGENT, job(), check_mode=False),
            task("absent", AGENT, {"state": "absent", "remove_vault": True}),
        ))
    ).succeeded()  # fmt: skip

    for name in ("systemd", "encrypted", "outside check mode"):
        found = run.failure(name)
        assert found["msg"].startswith("The agent requires systemd 249 or later, and systemd does not run this host.")
        assert "cron" in found["hint"]
    assert not run.result("absent")["changed"]
    assert untouched() and server.requests() == []


def test_results_contain_neither_client_secret_nor_webhook(
    ansible: Controller, server: DevServer, shop: dict[str, Any]
) -> None:
    shop |= {"infisical_client_secret": CLIENT_SECRET.plain, "webhook": f"https://hooks.example.com/{WEBHOOK.core}"}
    wanted = {**job(), "notify_webhook_url": "{{ webhook }}"}
    run = ansible.tasks(
        "\n".join((
            task("foretold", AGENT, wanted),
            task("refused", AGENT, {**wanted, "python": "python3"}),
            task("two lines", AGENT, {**wanted, "notify_webhook_url": "{{ webhook ~ '\n' ~ webhook }}"}),
            task("list", AGENT, {**wanted, "notify_webhook_url": ["{{ webhook }}"]}),
            task("told", INFO, {}),
            task("job that is not there", SYNC, {"jobs": ["shop"]}),
        )),
        variables=shop,
        arguments=("-vvvv", "--diff"),
        environment={
            "ANSIBLE_LOG_PATH": str(ansible.folder / "log"), "ANSIBLE_PIPELINING": "false",
            "ANSIBLE_INJECT_INVOCATION": "true",
        },
        watch=True,
    ).succeeded()  # fmt: skip

    assert leaks((CLIENT_SECRET, WEBHOOK), places(ansible, run)) == {}
    assert run.result("foretold")["changed"] == os.path.isdir("/run/systemd/system")
    options = run.result("foretold")["invocation"]["module_args"]
    assert options["client_secret"] == options["notify_webhook_url"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    for name in ("refused", "two lines", "list"):
        run.failure(name)
    assert untouched()


@pytest.mark.oldest
def test_agent_info_reports_that_no_agent_is_installed(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks(
        "\n".join((
            task("told", INFO, {"python": sys.executable}),
            task("no such python", INFO, {"python": "/no/such/python"}),
            task("unknown option", INFO, {"url": server.url}),
        ))
    ).succeeded()  # fmt: skip

    told = run.result("told")
    assert told["python_version"] == ".".join(map(str, sys.version_info[:2]))
    assert told["missing_libraries"] == [] and told["jobs"] == [] and not told["changed"]
    machine = Path("/etc/machine-id")
    assert told["machine_id"] == (machine.read_text().strip() if machine.exists() else "")
    assert (told["systemd_version"] > 0) == os.path.isdir("/run/systemd/system")
    assert run.result("no such python")["python_version"] == ""
    assert "url" in run.failure("unknown option")["msg"]


def test_sync_now_refuses_an_unknown_job(ansible: Controller, server: DevServer) -> None:
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "no agent": ({}, "jobs: this host has no job of the agent, so nothing was synced. Run the role"),
        "no jobs": ({"jobs": []}, "jobs: must name at least one job"),
        "no such job": ({"jobs": ["bank"]}, "jobs: this host has no job 'bank'"),
        "rate limit": ({"rate_limit": -1}, "rate_limit: must be a whole number"),
        "requests": ({"requests": "many"}, "requests: must be a whole number"),
        "unknown option": ({"job": "shop"}, "job"),
    }
    run = ansible.tasks(
        "\n".join((
            *(task(name, SYNC, options, check_mode=False) for name, (options, _words) in wrong.items()),
            task("no jobs in check mode", SYNC, {"jobs": []}),
            task("no agent yet", SYNC, {}),
            task("foretold", SYNC, {"jobs": ["shop"]}),
        ))
    ).succeeded()  # fmt: skip

    for name, (_options, words) in wrong.items():
        assert words in run.failure(name)["msg"], name
    assert "jobs: must name at least one job" in run.failure("no jobs in check mode")["msg"]
    for name, warnings in (("no agent yet", ["The agent has no jobs on this host."]), ("foretold", [])):
        foretold = run.result(name)
        assert foretold["changed"] and [text[:35] for text in foretold.get("warnings", [])] == warnings, foretold
    assert untouched()


def test_sync_now_fails_on_a_host_without_an_agent(ansible: Controller, server: DevServer) -> None:
    run = ansible.run("ansible-playbook", ["keyfleet.infisical.sync_now"])
    assert run.rc == 2 and "this host has no job of the agent" in run.text
    assert untouched()


def test_sync_now_in_check_mode_warns_of_a_missing_agent(ansible: Controller, server: DevServer) -> None:
    run = ansible.run("ansible-playbook", ["keyfleet.infisical.sync_now", "--check"]).succeeded()
    assert "The agent has no jobs on this host" in " ".join(run.text.split())
    assert untouched()


@pytest.mark.parametrize(
    "playbook", ["sync_now", "rollout", "sync", pytest.param("fleet_report", marks=pytest.mark.core)]
)
def test_playbook_without_matching_hosts_fails(ansible: Controller, playbook: str) -> None:
    name = f"keyfleet.infisical.{playbook}"
    for arguments, extra in (
        ([], {f"{playbook}_hosts": "no_such_group"}),
        (["--limit", "host1"], {f"{playbook}_hosts": "host2"}),
    ):
        run = ansible.run("ansible-playbook", [name, *arguments], extra=extra, hosts=["host1", "host2"])
        assert run.rc == 2 and "so nothing was done" in run.text, run.text
        assert f"'{extra[f'{playbook}_hosts']}'" in run.text


def test_playbook_can_run_on_the_controller_itself(ansible: Controller) -> None:
    run = ansible.run("ansible-playbook", ["keyfleet.infisical.sync", "--check"], hosts=["host1"])
    assert "so nothing was done" not in run.text and run.results("Pull the secrets into the vault", "localhost")


@pytest.mark.core
def test_role_refuses_fleet_that_uses_over_half_of_rate_limit(ansible: Controller, server: DevServer) -> None:
    fleets: dict[str, tuple[int, int, list[dict[str, Any]], int | None]] = {
        # what it is: hosts, rate limit, jobs, and how many hosts there may be if these are too many
        "as many as possible": (900, 120, [{"name": "a"}], None),
        "one too many": (901, 120, [{"name": "a"}], 900),
        "no limit": (100_000, 0, [{"name": "a", "interval": "1m"}], None),
        "minutes": (301, 120, [{"name": "a", "interval": "5m"}], 300),
        "hours": (7201, 120, [{"name": "a", "interval": "2h"}], 7200),
        "a day": (86401, 120, [{"name": "a", "interval": "1d"}], 86400),
        "two jobs": (226, 120, [{"name": "a", "interval": "5m"}, {"name": "b"}], 225),
        "projects": (451, 120, [{"name": "a", "project_ids": ["x", "y"]}], 450),
        "projects as text": (451, 120, [{"name": "a", "project_ids": "x,y"}], 450),
        "wrong interval": (61, 120, [{"name": "a", "interval": "daily"}], 60),
    }
    role = {"name": "keyfleet.infisical.scheduled_sync", "tasks_from": "preflight"}
    blocks = [
        {
            "block": [{
                "ansible.builtin.include_role": role,
                # Python is checked after the rate limit.
                "vars": {"scheduled_sync_fleet_size": hosts, "scheduled_sync_rate_limit": limit,
                         "scheduled_sync_jobs": jobs, "scheduled_sync_python": "/no/such/python"},
            }],
            "rescue": [{"name": name, "ansible.builtin.debug": {"msg": "{{ ansible_failed_result.msg }}"}}],
        }
        for name, (hosts, limit, jobs, _most) in fleets.items()
    ]  # fmt: skip
    run = ansible.tasks("\n".join("- " + json.dumps(block) for block in blocks)).succeeded()

    for name, (hosts, limit, _jobs, most) in fleets.items():
        words = (
            f"The syncs of {hosts} hosts would use more than half of scheduled_sync_rate_limit ({limit} requests/min). "
            f"Use at most {most} hosts"
        )
        # ansible-core 2.18 does not name the interpreter.
        wanted = [words] if most else ["/no/such/python", "you probably need to set the interpreter"]
        assert any(text in run.result(name)["msg"] for text in wanted), name
    assert untouched()
