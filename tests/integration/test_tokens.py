# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No token outlives the run, the module or the command that has logged in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dev_server.client import DevServer
from integration.controller import LOOKUP, WORKER, Controller
from integration.leaks import Canary, leaks, places
from integration.shop import PROJECT, SEED, login_of
from integration.tokens import LOGIN, REVOKE, check_revoked, living, log_in

LOOK_UP = f"ansible.builtin.debug: {{msg: \"{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}\"}}"
SECONDS = 60


@pytest.mark.core
def test_lookups_leave_no_token(ansible: Controller, server: DevServer) -> None:
    ansible.tasks(f"- {LOOK_UP}\n- {LOOK_UP}", hosts=6, arguments=["-f", "3"]).succeeded()
    check_revoked(server, 1)
    assert server.requests()[-1]["path"].endswith("/revoke")


@pytest.mark.core
def test_modules_leave_no_token(ansible: Controller, server: DevServer) -> None:
    ansible.tasks(
        "- keyfleet.infisical.infisical_secret: {name: '{{ inventory_hostname }}', value: a}", hosts=6
    ).succeeded()
    check_revoked(server, 1)


def test_separate_modules_leave_no_token(ansible: Controller, server: DevServer) -> None:
    ansible.variables["infisical_import_modules"] = False
    ansible.tasks(f"- keyfleet.infisical.infisical_secret: {{name: A, value: a}}\n- {LOOK_UP}", hosts=2).succeeded()
    check_revoked(server, 1)


def test_free_strategy_leaves_no_token(ansible: Controller, server: DevServer) -> None:
    ansible.play(f"""
        - {{hosts: all, gather_facts: false, strategy: free, tasks: [{{{LOOK_UP}}}]}}
    """, hosts=3).succeeded()  # fmt: skip
    check_revoked(server, 1)


def test_lookup_in_the_main_process_leaves_no_token(ansible: Controller, server: DevServer) -> None:
    ansible.play(f"""
        - {{hosts: all, gather_facts: false, name: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}", tasks: []}}
    """, extra=ansible.variables).succeeded()  # fmt: skip
    check_revoked(server, 1)


@pytest.mark.parametrize("module", ["infisical_secret", "infisical_status_info", "infisical_project_info"])
def test_ad_hoc_module_leaves_no_token(ansible: Controller, server: DevServer, module: str) -> None:
    arguments = ["-a", "name=A value=b"] if module == "infisical_secret" else []
    ansible.run("ansible", ["all", "-m", f"keyfleet.infisical.{module}", *arguments], hosts=3).succeeded()
    check_revoked(server, 1)


@pytest.mark.core
def test_console_leaves_no_token(ansible: Controller, server: DevServer) -> None:
    commands = f"keyfleet.infisical.infisical_secret name=A value=b\ndebug msg={{{{ lookup('{LOOKUP}', 'A') }}}}\n"
    ansible.run("ansible-console", ["all"], typed=commands).succeeded()
    check_revoked(server, 1)


@pytest.mark.core
@pytest.mark.parametrize("task", [LOOK_UP, "keyfleet.infisical.infisical_secret: {name: A, value: b}"])
def test_failed_play_leaves_no_token(ansible: Controller, server: DevServer, task: str) -> None:
    assert ansible.tasks(f"- {task}\n- ansible.builtin.fail:", hosts=2).rc == 2
    check_revoked(server, 1)


def test_each_identity_of_a_run_leaves_no_token(ansible: Controller, server: DevServer) -> None:
    ansible.tasks(f"- {LOOK_UP}", hosts={"a": login_of("admin"), "b": login_of("viewer")}, variables={
        name: value for name, value in ansible.variables.items() if "client" not in name
    }).succeeded()  # fmt: skip
    check_revoked(server, 2)


def test_replaced_token_is_revoked_too(ansible: Controller, server: DevServer) -> None:
    ansible.tasks(f"""
        - {LOOK_UP}
        - ansible.builtin.uri: {{url: "{{{{ infisical_url }}}}/_control/tokens/revoke", method: POST}}
        - keyfleet.infisical.infisical_secret: {{name: A, value: b}}
    """).succeeded()
    check_revoked(server, 2)


def test_given_token_stays_valid(ansible: Controller, server: DevServer) -> None:
    token = log_in(server)
    ansible.tasks(
        f"- {LOOK_UP}\n- keyfleet.infisical.infisical_secret: {{name: A, value: b}}\n"
        "- keyfleet.infisical.infisical_status_info:",
        extra={"infisical_auth_method": "token", "infisical_token": token},
    ).succeeded()
    assert server.requests(LOGIN) == server.requests(REVOKE) == []
    assert living(server) == ["admin"]


def test_run_without_a_login_sends_no_revocation(ansible: Controller, server: DevServer) -> None:
    ansible.tasks(f"- {LOOK_UP}", extra={"infisical_client_secret": "wrong"})
    assert server.requests(REVOKE) == []


@pytest.mark.core
@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_failed_revocation_is_a_debug_line(ansible: Controller, server: DevServer, status: int) -> None:
    for arguments in ([], ["-vvv"]):
        server.seed(SEED)
        server.arm("status", status=status, path=REVOKE, times=None, headers={"Retry-After": "60"})
        started = time.monotonic()
        run = ansible.tasks(f"- {LOOK_UP}", arguments=arguments).succeeded()
        assert time.monotonic() - started < SECONDS
        assert ("Could not revoke the access token" in run.text) == bool(arguments)
        assert len(server.requests(REVOKE)) == 1
        assert "Traceback" not in run.text


@pytest.mark.parametrize("task", [LOOK_UP, "keyfleet.infisical.infisical_secret: {name: A, value: b}"])
def test_revocation_leaks_no_token(ansible: Controller, server: DevServer, task: str) -> None:
    server.arm("status", status=500, path=REVOKE)
    log = {"ANSIBLE_LOG_PATH": str(ansible.folder / "log"), "ANSIBLE_DEBUG": "true"}
    run = ansible.tasks(f"- {task}", arguments=["-vvvv"], environment=log, watch=True).succeeded()
    assert "Could not revoke the access token" in run.text
    assert leaks([Canary("admin-client-secret")], places(ansible, run)) == {}


@pytest.mark.parametrize("in_worker", [True, False])
@pytest.mark.parametrize("project", [PROJECT, "missing"])
def test_module_that_logs_in_itself_leaves_no_token(
    ansible: Controller, server: DevServer, in_worker: bool, project: str
) -> None:
    server.arm("cut_before", path=LOGIN, times=2)  # the controller cannot log in
    ansible.variables.update(infisical_import_modules=in_worker, infisical_project_id=project)
    run = ansible.tasks("- {name: write, keyfleet.infisical.infisical_secret: {name: A, value: b}}")
    assert (run.rc == 0) == (project == PROJECT), run.text
    assert [entry["status"] for entry in server.requests(LOGIN)][2:] == [200]
    assert len(server.requests(REVOKE)) == 1
    assert living(server) == []


@pytest.mark.skipif(not WORKER, reason="the module runs in a separate process anyway")
def test_terminated_module_leaves_no_token(ansible: Controller, server: DevServer) -> None:
    server.arm("cut_before", path=LOGIN, times=2)
    server.arm("delay", seconds=30, path="/secrets", times=1)
    ansible.variables["infisical_import_modules"] = False

    def during(process: subprocess.Popen[bytes]) -> None:
        wait_for(server, "/secrets", process)
        start = f"{ansible.python}\0{ansible.folder}/remote/".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # another process has ended
                found += [int(path.parent.name)] if path.read_bytes().startswith(start) else []
        [module] = found
        os.kill(module, signal.SIGTERM)

    task, by_file = "- keyfleet.infisical.infisical_secret: {name: A, value: b}", {"ANSIBLE_PIPELINING": "false"}
    run = ansible.tasks(task, during=during, environment=by_file)
    assert run.rc != 0
    assert living(server) == []


def wait_for(server: DevServer, path: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server has received a request with a matching path."""
    end = time.monotonic() + SECONDS
    while not server.requests(path):
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.05)


def interrupt(server: DevServer, number: signal.Signals, *, group: bool) -> Callable[[subprocess.Popen[bytes]], None]:
    """Return a function that sends a signal when the run has logged in and executes its next task."""

    def during(process: subprocess.Popen[bytes]) -> None:
        wait_for(server, "/started$", process)
        (os.killpg if group else os.kill)(process.pid, number)

    return during


PAUSE = """
- ansible.builtin.uri: {url: "{{ infisical_url }}/started", status_code: [200, 404]}
- ansible.builtin.command: sleep 60
"""


@pytest.mark.core
@pytest.mark.parametrize("task", [LOOK_UP, "keyfleet.infisical.infisical_secret: {name: A, value: b}"])
@pytest.mark.parametrize(
    ("number", "group"),
    [
        pytest.param(signal.SIGINT, True, id="Ctrl-C"),
        pytest.param(signal.SIGINT, False, id="SIGINT for the main process"),
        pytest.param(signal.SIGTERM, False, id="SIGTERM"),
        pytest.param(signal.SIGHUP, True, id="closed terminal"),
    ],
)
def test_interrupted_run_leaves_no_token(
    ansible: Controller, server: DevServer, task: str, number: signal.Signals, group: bool
) -> None:
    started = time.monotonic()
    run = ansible.tasks(f"- {task}\n" + PAUSE, hosts=2, during=interrupt(server, number, group=group))
    assert run.rc != 0
    assert time.monotonic() - started < SECONDS
    check_revoked(server, 1)
