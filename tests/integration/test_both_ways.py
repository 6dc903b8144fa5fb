# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module has the same result in Ansible's worker process and in a separate process."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.options import MODULES
from dev_server.client import DevServer
from integration.controller import CORE, MODULE_PYTHON, SECONDS_FOR_A_TASK, Controller, Run
from integration.shop import PROJECT, SEED, login_of

PREFIX = "keyfleet.infisical.infisical_"
ON_CONTROLLER = ("fleet_info", "fleet_report", "host_revoke")
"""These have no module, so there is only one way to run them."""
NOTICE = "The module runs in Ansible's worker process."
OF_A_MOMENT = (
    "id", "vault_id", "created_at", "updated_at", "synced_at", "token", "time", "client_id", "client_secret_id",
    "expires_at", "revoked",
)  # fmt: skip
"""Keys whose values differ between any two runs."""

VAULT = {"vault_path": "{{ room }}/vault", "key_file": "{{ room }}/key"}
CHECK = {"check_mode": True}
TASKS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    # module, arguments, and keywords of the task
    ("secret", {"name": "NEW", "value": "x", "tags": ["web"], "comment": "é"}, CHECK),
    ("secret", {"name": "NEW", "value": "x", "tags": ["web"], "comment": "é"}, {}),
    ("secret", {"name": "NEW", "value": "x"}, {}),
    ("secret", {"name": "NEW", "value": "{{ 'template' }}", "metadata": {"a": "b"}, "tags": "web,database"}, {}),
    ("secret", {"name": "NEW", "value": "y", "state_file": "{{ room }}/state.json"}, {"no_log": True}),
    ("secret", {"name": "IN_LOOP_{{ item }}", "value": "{{ item }}"}, {"loop": [1, 2]}),
    ("secret", {"name": "NEW", "state": "absent"}, CHECK),
    ("secret", {"name": "NEW", "state": "absent", "update_value": "on_create"}, {}),
    ("secret", {"name": "X"}, {}),
    ("secret", {"value": "x"}, {}),
    ("secret", {"name": "X", "value": "x", "state": "gone"}, {}),
    ("secret", {"name": "X", "value": "x", "create_path": "perhaps"}, {}),
    ("secret", {"name": "X", "value": "x", "metadata": "not a mapping"}, {}),
    ("secret", {"name": "X", "value": "x", "vlaue": "x", "other": {"1": 2}}, {}),
    ("secret", {"name": "X", "value": "x", "tags": ["nope"]}, {}),
    ("secret", {"name": "X", "value": "x", "environment": "devv"}, {}),
    ("secret", {"name": "X", "value": "x", "state_file": "state.json"}, {}),
    ("secret", {"name": "BROKEN", "value": "x"}, {}),
    ("secret", {"name": "X", "value": "x"}, {"vars": login_of("viewer")}),
    ("secret", {"name": "X", "value": "x", "client_secret": "wrong", "client_id": "writer-id"}, {}),
    ("secret", {"name": "X", "value": "x", "url": "http://127.0.0.1:9"}, {}),
    ("secret_info", {}, {}),
    ("secret_info", {"name": "SECRET_1", "read_values": True}, {}),
    ("secret_info", {"name": ""}, {}),
    ("secret_info", {"read_values": True, "environment": "devv"}, {}),
    ("secret_info", {"recursive": "no", "unknown": 1}, {}),
    ("secret_info", {"auth_method": "token", "token": "wrong"}, {}),
    ("folder", {"secret_path": "/tmp/new"}, CHECK),
    ("folder", {"secret_path": "/tmp"}, {}),
    ("folder", {"secret_path": "/tmp", "state": "absent"}, {}),
    ("folder", {"secret_path": "/app", "state": "absent", "force": "maybe"}, {}),
    ("folder", {"secret_path": "/app", "state": "absent"}, {}),
    ("project_info", {}, {}),
    ("project_info", {"project_id": "nowhere"}, {}),
    ("status_info", {}, {}),
    ("status_info", {"url": "http://127.0.0.1:9"}, {}),
    ("sync", {**VAULT, "create_key": True}, CHECK),
    ("sync", {**VAULT, "create_key": True, "precedence": "a,b"}, {}),
    ("sync", {**VAULT, "prune": True}, {}),
    ("sync", {"vault_path": "relative/../vault", "key_file": "{{ room }}/key"}, {}),
    ("sync", {**VAULT, "project_ids": []}, {}),
    ("sync", {**VAULT, "prune_scope": "everything"}, {}),
    ("sync", {"direction": "push", "secrets": {"PUSHED": "x"}, "secret_path": "/app"}, CHECK),
    ("sync", {"direction": "push", "secrets": {"PUSHED": "x"}, "secret_path": "/app"}, {}),
    ("sync", {"direction": "push", "source_file": "{{ room }}/missing.env"}, {}),
    ("sync", {"direction": "push", "source_file": "~/{{ playbook_dir | basename }}.env", "secret_path": "/app"}, {}),
    ("vault", {**VAULT, "name": "OWN", "value": "x"}, CHECK),
    ("vault", {**VAULT, "name": "OWN", "value": "x"}, {}),
    ("vault", {**VAULT, "name": "OWN", "value": "x", "push": True, "lock_wait": "7"}, {}),
    ("vault", {**VAULT, "name": "OWN", "state": "absent", "push": True}, {}),
    ("vault", {**VAULT, "name": "OWN"}, {}),
    ("vault", {"name": "OWN", "value": "x", "vault_path": "{{ room }}/none", "key_file": "{{ room }}/none"}, {}),
    ("vault", {**VAULT, "name": "OWN", "value": "x", "lock_wait": -1}, {}),
    ("vault_info", VAULT, {}),
    ("vault_info", {**VAULT, "read_values": True, "name": "SECRET_1"}, {}),
    ("vault_info", {**VAULT, "key_file": "{{ room }}/missing", "read_values": True}, {}),
    ("vault_info", {"vault_path": ""}, {}),
    ("identity", {"name": "web1", "universal_auth": {}, "grants": [{"environment": "dev"}]}, CHECK),
    ("identity", {"name": "web1", "universal_auth": {}, "grants": [{"environment": "dev"}]}, {}),
    ("identity", {"name": "web1", "universal_auth": {"access_token_ttl": "60"}, "metadata": {"a": "b"}}, {}),
    ("identity", {"name": "web1", "universal_auth": {"ttl": 1}}, {}),
    ("identity", {"id": "missing", "role": "viewer"}, {}),
    ("identity", {"name": "web1", "role": "viewer"}, {"vars": login_of("no-access")}),
    ("identity_info", {"details": True}, {}),
    ("client_secret", {"name": "web1", "description": "host"}, {}),
    ("client_secret", {"name": "web1", "description": "host"}, {"no_log": True}),
    ("client_secret", {"name": "web1", "description": "host", "state": "revoked"}, {}),
    ("client_secret", {"name": "web1", "ttl": "soon"}, {"no_log": True}),
    ("identity", {"name": "web1", "state": "absent"}, {}),
    ("agent", {"jobs": [{"name": "shop", "interval": "7m"}]}, CHECK),
    ("agent", {"jobs": [{"interval": "15m", "extra": 1}]}, CHECK),
    ("agent", {"jobs": [{"name": "shop", "files": [{"format": "xml"}]}]}, CHECK),
    ("agent", {"state": "absent"}, CHECK),
    ("agent_info", {"python": "/nowhere/python"}, {}),
    ("agent_info", {"metadata": "maybe"}, {}),
    ("agent_preflight", {}, {}),
    ("agent_preflight", {"require_reachable": "maybe"}, {}),
    ("agent_sync", {"jobs": ["missing"]}, CHECK),
    ("agent_sync", {"jobs": ["missing"], "requests": "many"}, {}),
)


def _run(ansible: Controller, server: DevServer, room: Path, way: str) -> Run:
    """Run all tasks from the same start."""
    server.seed(SEED)
    server.arm("status", status=400, path="BROKEN", method="POST", message="refused: x", times=1)
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    (ansible.folder / "home" / f"{ansible.folder.name}.env").write_text("IN_HOME=1\n", "utf-8")
    tasks = [
        {"name": f"task {number}", PREFIX + module: arguments, "ignore_errors": True, "diff": True, **keywords}
        for number, (module, arguments, keywords) in enumerate(TASKS)
    ]
    play = [{"hosts": "all", "gather_facts": False, "tasks": tasks, "vars": {"room": str(room)}}]
    # Some of Ansible's messages list a set, whose order depends on the hash seed.
    environment = {"ANSIBLE_INJECT_INVOCATION": "true", "INFISICAL_IMPORT_MODULES": way, "PYTHONHASHSEED": "0"}
    limit = SECONDS_FOR_A_TASK * len(tasks)
    return ansible.play(json.dumps(play), arguments=["-vvv"], environment=environment, seconds=limit).succeeded()


def _comparable(value: Any, key: str = "") -> Any:
    """Return a result without what differs between any two runs, and without the keys that Ansible adds and removes."""
    if isinstance(value, Mapping):
        return {
            name: _comparable(inner, name) for name, inner in value.items() if not name.startswith(("_ansible", "ansi"))
        }
    if isinstance(value, list):
        return [_comparable(inner, key) for inner in value]
    if key in OF_A_MOMENT and value is not None:
        return type(value).__name__
    return value


def _files_of(run: Run) -> set[str]:
    """Return the names of the modules that Ansible sent."""
    return {Path(path).name for path in re.findall(r"^Using module file (\S+)", run.text, flags=re.MULTILINE)}


def _is_secret_free(text: str) -> bool:
    return re.search(r"client-secret|eyJ", text) is None


same_python = pytest.mark.skipif(sys.executable != MODULE_PYTHON, reason="modules run with another Python than Ansible")


@same_python
@pytest.mark.core
def test_results_are_the_same_both_ways(ansible: Controller, server: DevServer) -> None:
    assert {module for module, _arguments, _keywords in TASKS} == {
        path.stem.removeprefix("infisical_") for path in MODULES.glob("infisical_*.py")
    } - set(ON_CONTROLLER)
    room = ansible.folder / "room"
    apart = _run(ansible, server, room, "false")
    left_apart = server.values(PROJECT, "dev"), server.values(PROJECT, "dev", "/app")
    here = _run(ansible, server, room, "true")

    assert NOTICE in here.text and NOTICE not in apart.text
    assert _files_of(here) == {"infisical_agent.py"}  # it installs the library that Ansible sends
    assert _files_of(apart) == {f"infisical_{module}.py" for module, _arguments, _keywords in TASKS}
    assert (server.values(PROJECT, "dev"), server.values(PROJECT, "dev", "/app")) == left_apart
    assert len(here.events) == len(apart.events) >= len(TASKS)
    for ours, theirs in zip(here.events, apart.events, strict=True):
        task = TASKS[int(theirs.task.split()[1])]
        assert (theirs.task, theirs.status, task, _comparable(theirs.result)) == (
            ours.task, ours.status, task, _comparable(ours.result),
        )  # fmt: skip
    assert _is_secret_free(here.text)
    assert sum(event.status == "failed" for event in here.events) > len(TASKS) / 3
    assert sum(event.result.get("changed", False) for event in here.events) > 10


def _tasks_in_worker(run: Run) -> set[str]:
    """Return the names of the tasks whose module ran in the worker process."""
    parts = re.split(r"^TASK \[(.*?)\] \*+$", run.text, flags=re.MULTILINE)
    return {name for name, output in zip(parts[1::2], parts[2::2], strict=True) if NOTICE in output}


@same_python
@pytest.mark.core
def test_worker_runs_only_modules_that_would_run_the_same(ansible: Controller, server: DevServer) -> None:
    python, links = Path(sys.executable), ansible.folder / "links"
    links.mkdir()
    (links / "python").symlink_to(python)
    (ansible.folder / "linked").symlink_to(python.parent)
    run = ansible.tasks(
        f"""
        - name: delegated
          keyfleet.infisical.infisical_status_info:
          delegate_to: localhost
        - name: automatic Python
          keyfleet.infisical.infisical_status_info:
          vars: {{ansible_connection: local, ansible_python_interpreter: auto_silent}}
        - name: same Python
          keyfleet.infisical.infisical_status_info:
          vars:
            ansible_connection: local
            ansible_python_interpreter: "{{{{ '{ansible.folder}' }}}}/linked/{python.name}"
        - name: loop
          keyfleet.infisical.infisical_secret: {{name: "A_{{{{ item }}}}", value: x}}
          delegate_to: localhost
          loop: [1, 2]
        - name: link to the same Python in another directory
          keyfleet.infisical.infisical_status_info:
          vars: {{ansible_connection: local, ansible_python_interpreter: {links}/python}}
        - name: environment
          keyfleet.infisical.infisical_status_info:
          delegate_to: localhost
          environment: {{LANG: C}}
        - name: async
          keyfleet.infisical.infisical_status_info:
          delegate_to: localhost
          async: 60
          poll: 1
        - name: become
          keyfleet.infisical.infisical_status_info:
          delegate_to: localhost
          become: true
          become_method: ansible.builtin.su
          vars: {{ansible_su_exe: /bin/false}}
        - name: connection
          keyfleet.infisical.infisical_status_info:
          ignore_unreachable: true
        - name: turned off
          keyfleet.infisical.infisical_status_info:
          delegate_to: localhost
          vars: {{infisical_import_modules: false}}
        - name: invalid
          keyfleet.infisical.infisical_status_info:
          delegate_to: localhost
          vars: {{infisical_import_modules: perhaps}}
    """.replace("        - name:", "        - ignore_errors: true\n          name:"),
        hosts={"remote": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}},
        arguments=["-vvv"],
        environment={"INFISICAL_IMPORT_MODULES": "true"},
    )

    assert _tasks_in_worker(run) == {"delegated", "automatic Python", "same Python", "loop"}
    assert set(server.values(PROJECT, "dev")) >= {"A_1", "A_2"}
    for name in ("delegated", "automatic Python", "same Python", "environment", "async", "turned off"):
        assert run.result(name)["login_accepted"], name
    assert "must be true or false (set by var: infisical_import_modules)" in run.result("invalid")["msg"]


@same_python
def test_relative_paths_start_at_the_playbook(ansible: Controller, server: DevServer) -> None:
    (ansible.folder / "below").mkdir()
    (ansible.folder / "below" / "own.env").write_text("FROM_FILE=1\n", "utf-8")
    tasks = [{PREFIX + "sync": {"direction": "push", "source_file": "own.env", "secret_path": "/app"}}]
    play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    (ansible.folder / "below" / "play.yml").write_text(json.dumps(play), "utf-8")
    for setting, worker in (("", True), ("[infisical]\nimport_modules = no\n", False)):
        server.seed(SEED)
        run = ansible.run(
            "ansible-playbook", ["below/play.yml", "-vvv"], config=setting, environment={"INFISICAL_IMPORT_MODULES": ""}
        ).succeeded()

        assert (NOTICE in run.text) == worker
        assert server.values(PROJECT, "dev", "/app")["FROM_FILE"] == ["1"]


@pytest.mark.core
def test_both_ways_return_the_invocation_only_if_ansible_does(ansible: Controller) -> None:
    found = set()
    for way in ("true", "false"):
        run = ansible.tasks(
            """
            - {name: ping, ansible.builtin.ping: {}}
            - {name: read, keyfleet.infisical.infisical_secret_info: {name: SECRET_1}}
            - {name: write, keyfleet.infisical.infisical_secret: {name: SECRET_1, value: value 1}, loop: [1]}
            """,
            environment={"INFISICAL_IMPORT_MODULES": way},
        ).succeeded()
        results = [run.result("ping"), run.result("read"), *run.items("write")]
        found |= {"invocation" in result for result in results}
    assert found == {CORE < (2, 21)}


@same_python
@pytest.mark.core
def test_timeout_ends_a_write_and_nothing_else(ansible: Controller, server: DevServer) -> None:
    server.arm("delay", seconds=20, path="SLOW", method="POST", times=1)
    run = ansible.tasks(
        """
        - name: slow
          keyfleet.infisical.infisical_secret: {name: "{{ item }}", value: x}
          loop: [FIRST, SLOW, LAST]
          # The other items may be slow on a busy machine.
          timeout: "{{ 4 if item == 'SLOW' else 120 }}"
          ignore_errors: true
        - name: again
          keyfleet.infisical.infisical_secret: {name: "{{ item }}", value: x}
          loop: [FIRST, SLOW, LAST]
    """,
        environment={"INFISICAL_IMPORT_MODULES": "true"},
    ).succeeded()

    slow, again = run.items("slow"), run.items("again")
    assert ["timedout" in item for item in slow] == [False, True, False]
    assert [item["changed"] for item in again][::2] == [False, False]
    assert {"FIRST", "SLOW", "LAST"} <= set(server.values(PROJECT, "dev"))
