# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options come from arguments, Ansible variables, the controller's environment, and ansible.cfg."""

from __future__ import annotations

import ast
import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.keyfleet.infisical.plugins.module_utils import module
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import SHARED_OPTIONS
from dev_server.client import DevServer
from dev_server.tls import Authority, write_private
from integration.controller import LOOKUP, Controller
from integration.shop import PROJECT, SEED

SOURCES = ("argument", "variable", "environment", "ini")
WHICH = f"""
    - name: module
      keyfleet.infisical.infisical_secret_info: {{name: WHICH}}
    - name: lookup
      ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'WHICH') }}}}"}}
"""
WHICH_BY_ARGUMENT = f"""
    - name: module by argument
      keyfleet.infisical.infisical_secret_info: {{name: WHICH, environment: argument}}
    - name: lookup by argument
      ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'WHICH', environment='argument') }}}}"}}
"""


@pytest.fixture
def with_sources(server: DevServer) -> DevServer:
    """The server with an environment for each source. Its secret WHICH is the name of the source."""
    document: dict[str, Any] = copy.deepcopy(SEED)
    project = document["projects"][0]
    project["environments"] += [{"slug": source} for source in SOURCES]
    project["secrets"] += [{"environment": source, "key": "WHICH", "value": source} for source in SOURCES]
    server.seed(document)
    return server


@pytest.mark.core
def test_option_sources_have_the_documented_precedence(
    ansible: Controller, with_sources: DevServer, shop: dict[str, Any]
) -> None:
    del shop["infisical_environment"]
    hosts = {"has_variable": {"infisical_environment": "variable"}, "has_none": {}}
    config = "[infisical]\nenvironment = ini\n"

    run = ansible.tasks(
        WHICH_BY_ARGUMENT + WHICH,
        hosts=hosts,
        variables=shop,
        environment={"INFISICAL_ENVIRONMENT": "environment"},
        config=config,
    ).succeeded()
    only_ini = ansible.tasks(WHICH, hosts=["has_none"], variables=shop, config=config).succeeded()

    def used(run: Any, task: str, host: str) -> tuple[str, str]:
        module, lookup = run.result(f"module{task}", host), run.result(f"lookup{task}", host)
        return module["secrets"][0]["environment"], lookup["msg"]

    for host in hosts:
        assert used(run, " by argument", host) == ("argument", "argument")
    assert used(run, "", "has_variable") == ("variable", "variable")
    assert used(run, "", "has_none") == ("environment", "environment")
    assert used(only_ini, "", "has_none") == ("ini", "ini")


def test_empty_option_sources_are_ignored(ansible: Controller, with_sources: DevServer, shop: dict[str, Any]) -> None:
    del shop["infisical_environment"]
    config = "[infisical]\nenvironment = ini\nca_path =\ntimeout =\nvalidate_certs =\n"
    empty = dict.fromkeys(
        ("INFISICAL_ENVIRONMENT", "INFISICAL_TIMEOUT", "INFISICAL_VALIDATE_CERTS", "INFISICAL_PROXY"), ""
    )
    for variables in (shop, {**shop, "infisical_environment": "", "infisical_max_wait": ""}):
        run = ansible.tasks(WHICH, variables=variables, environment=empty, config=config).succeeded()
        assert run.result("module")["secrets"][0]["environment"] == run.result("lookup")["msg"] == "ini"


def test_all_options_can_come_from_environment_or_ini(ansible: Controller, server: DevServer) -> None:
    options = {
        "url": server.url + "/api/",
        "client_id": "admin-id",
        "client_secret": "admin-client-secret",
        "project_id": PROJECT,
        "environment": "dev",
        "secret_path": "/app",
    }
    tasks = f"""
        - keyfleet.infisical.infisical_secret: {{name: DB_USER, value: shop}}
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'DB_USER') }}}}"}}
    """
    own = {f"INFISICAL_{name.upper()}": value for name, value in options.items()}
    vendors = {
        name.replace("INFISICAL_CLIENT", "INFISICAL_UNIVERSAL_AUTH_CLIENT"): value for name, value in own.items()
    }
    assert len(set(vendors) - set(own)) == 2
    wrong_vendors = dict.fromkeys(set(vendors) - set(own), "wrong")

    for environment in (own, vendors, {**own, **wrong_vendors}):
        assert ansible.tasks(tasks, variables={}, environment=environment).succeeded().changed == 0
    ini = "[infisical]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
    assert ansible.tasks(tasks, variables={}, config=ini).succeeded().result("lookup")["msg"] == "shop"


@pytest.mark.core
def test_only_ansible_variables_are_templated_and_decrypted(
    ansible: Controller, server: DevServer, shop: dict[str, Any]
) -> None:
    del shop["infisical_client_secret"], shop["infisical_environment"]
    password = ansible.folder / "vault_password"
    password.write_text("of the vault", "utf-8")
    encrypted = VaultLib([("default", VaultSecret(b"of the vault"))]).encrypt("admin-client-secret").decode()
    lines = "\n".join(" " * 12 + line for line in encrypted.splitlines())
    play = f"""
    - hosts: all
      gather_facts: false
      vars:
        slug: dev
        infisical_environment: "{{{{ slug if slug != 'prod' else omit }}}}"
        infisical_secret_path: "/{{{{ ['a', 'pp'] | join }}}}"
        infisical_client_secret: %s
      tasks:
        - name: module
          keyfleet.infisical.infisical_secret_info: {{name: DB_USER}}
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'DB_USER') }}}}"}}
    """
    vaulted = play % f"!vault |\n{lines}"
    templated = (play % '"{{ stored }}"').replace("vars:", f"vars:\n        stored: !vault |\n{lines}")
    for playbook in (vaulted, templated):
        run = ansible.play(playbook, arguments=["--vault-password-file", str(password)], variables=shop).succeeded()
        assert [secret["name"] for secret in run.result("module")["secrets"]] == ["DB_USER"]
        assert run.result("lookup")["msg"] == "shop"

    run = ansible.tasks(
        """
        - name: module
          keyfleet.infisical.infisical_secret_info: {client_secret: admin-client-secret}
          ignore_errors: true
    """,
        variables=shop,
        environment={"INFISICAL_ENVIRONMENT": "{{ 'dev' }}"},
    ).succeeded()
    assert "{{ 'dev' }}" in run.failure("module")["msg"]


OTHER_USER = "nobody"
LIBRARIES = ("requests", "urllib3", "idna", "certifi", "charset_normalizer")
MISLEADING = "INFISICAL_URL=http://127.0.0.1:9 INFISICAL_PROJECT_ID=wrong INFISICAL_ENVIRONMENT=wrong"


@pytest.fixture
def home_of_other(needs_root: None) -> Iterator[Path]:
    """A folder of another user with a Python whose environment sets another Infisical."""
    system_python = Path("/usr/bin/python3")
    if not shutil.which("su") or not system_python.exists():
        pytest.skip(f"to run modules as {OTHER_USER} takes su and {system_python}")
    script = "import sys, importlib.util as u; print(*(u.find_spec(name).origin for name in sys.argv[1:]), sep='\\n')"
    command = [os.environ.get("KEYFLEET_MODULE_PYTHON", sys.executable), "-c", script, *LIBRARIES]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip("the libraries of the modules' Python are others than those that can be copied for another user")
    home = Path("/var/tmp") / f"keyfleet-{os.getpid()}"
    try:
        for origin in map(Path, answer.stdout.split()):
            # Without compiled libraries, which only work with the Python they were compiled for.
            ignored = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(origin.parent, home / "libraries" / origin.parent.name, ignore=ignored)
        python = home / "python"
        python.write_text(
            f'#!/bin/sh\nexec env {MISLEADING} PYTHONPATH={home}/libraries {system_python} "$@"\n', "utf-8"
        )
        python.chmod(0o755)
        (home / "own").mkdir()
        shutil.chown(home / "own", OTHER_USER)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.core
def test_delegated_module_uses_the_controllers_options(
    ansible: Controller, server: DevServer, shop: dict[str, Any], home_of_other: Path
) -> None:
    del shop["infisical_environment"], shop["infisical_client_id"], shop["infisical_project_id"]
    state_file = home_of_other / "own" / "state.json"
    run = ansible.tasks(
        f"""
        - name: environment there
          ansible.builtin.command: "{{{{ ansible_python_interpreter }}}} -c 'import os; print(os.environ)'"
        - name: written
          keyfleet.infisical.infisical_secret: {{name: BY_OTHER, value: x, state_file: "{state_file}"}}
        - name: read
          keyfleet.infisical.infisical_secret_info: {{name: BY_OTHER}}
    """,
        hosts={
            "other": {
                "ansible_become": True,
                "ansible_become_method": "su",
                "ansible_become_user": OTHER_USER,
                "ansible_become_flags": "-s /bin/sh",
                "ansible_python_interpreter": str(home_of_other / "python"),
            }
        },
        variables=shop,
        environment={
            "INFISICAL_PROJECT_ID": PROJECT,
            "INFISICAL_ENVIRONMENT": "prod",
            "ANSIBLE_PIPELINING": "false",
            "ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp",
        },
        config="[infisical]\nclient_id = admin-id\nenvironment = dev\n",
    ).succeeded()

    assert "'INFISICAL_PROJECT_ID': 'wrong'" in run.result("environment there")["stdout"]
    assert state_file.owner() == OTHER_USER
    assert server.values(PROJECT, "prod")["BY_OTHER"] == ["x"]
    assert [secret["name"] for secret in run.result("read")["secrets"]] == ["BY_OTHER"]


def test_every_module_in_the_group_has_all_shared_options() -> None:
    room = Path(str(module.__file__)).parents[1]
    runtime = yaml.safe_load((room.parent / "meta" / "runtime.yml").read_text("utf-8"))
    group, taking = set(runtime["action_groups"]["infisical"]), set()
    for path in (room / "modules").glob("*.py"):
        text = path.read_text("utf-8")
        made = next(
            (call for call in ast.walk(ast.parse(text))
             if isinstance(call, ast.Call) and ast.unparse(call.func) == "Definition"),
            None,
        )  # fmt: skip
        if made is None:  # no module runs, and the action plugin accepts the documented options
            takes = "  - keyfleet.infisical.auth\n" in text
        else:
            takes = not any(word.arg == "shared" and ast.unparse(word.value) == "False" for word in made.keywords)
        if takes:
            taking.add(path.stem)
        assert (room / "action" / path.name).exists()
    assert group == taking


@pytest.mark.core
def test_group_module_defaults_accept_every_shared_option(
    ansible: Controller, server: DevServer, shop: dict[str, Any]
) -> None:
    certificate = ansible.folder / "client.pem"
    write_private(certificate, b"".join(Authority.make("Fleet CA").issue("web1")))
    defaults = {
        "url": server.url,
        "auth_method": "universal_auth",
        "client_id": "admin-id",
        "client_secret": "admin-client-secret",
        **dict.fromkeys(("token", "identity_id", "jwt", "jwt_path", "username", "password"), "unused"),
        "client_cert": str(certificate),
        "client_key": str(certificate),
        "organization_slug": "lab",
        "project_id": PROJECT,
        "environment": "dev",
        "secret_path": "/app/new",
        "ca_path": "/etc/ssl/certs",
        "validate_certs": True,
        "allow_http": True,
        "timeout": 20,
        "api_version": "v4",
        "rate_limit_wait": 1,
        "server_error_wait": 1.5,
        "connection_wait": 0,
        "max_wait": 10,
        "max_response_size": 8,
    }
    assert set(defaults) == set(SHARED_OPTIONS) - {"proxy"}
    of_some = {
        "create_path": True,
        "lock_wait": 20,
        "vault_path": "/no/such/vault",
        "recursive": False,
        "csv_file": "x",
    }
    defaults |= of_some
    module_defaults = "".join(f"          {name}: {value!r}\n" for name, value in defaults.items())
    run = ansible.play(
        f"""
    - hosts: all
      gather_facts: false
      module_defaults:
        group/keyfleet.infisical.infisical:
{module_defaults}
      tasks:
        - keyfleet.infisical.infisical_status_info:
          register: status
          failed_when: not status.login_accepted
        - keyfleet.infisical.infisical_project_info:
        - keyfleet.infisical.infisical_folder:
        - keyfleet.infisical.infisical_identity: {{name: web1, universal_auth: {{}}}}
        - keyfleet.infisical.infisical_identity_info:
        - keyfleet.infisical.infisical_client_secret: {{name: web1, description: host}}
          no_log: true
        - keyfleet.infisical.infisical_secret: {{name: BY_DEFAULTS, value: x}}
        - name: read
          keyfleet.infisical.infisical_secret_info:
        - name: fleet
          keyfleet.infisical.infisical_fleet_report:
            {{hosts: {{web1: ""}}, graph_file: graph.json, csv_file: fleet.csv}}
        - name: argument before defaults
          keyfleet.infisical.infisical_secret_info: {{secret_path: /app}}
        - name: agent
          keyfleet.infisical.infisical_agent: {{jobs: [{{name: shop}}]}}
          become: false
          check_mode: true
          ignore_errors: true
""",
        variables={},
    ).succeeded()

    agent = run.result("agent")
    assert agent["changed"] or "systemd" in agent["msg"]
    assert [secret["name"] for secret in run.result("read")["secrets"]] == ["BY_DEFAULTS"]
    names = [secret["name"] for secret in run.result("argument before defaults")["secrets"]]
    assert names == ["DB_PASSWORD", "DB_USER"]


def test_unknown_option_in_module_defaults_is_refused(ansible: Controller, server: DevServer) -> None:
    run = ansible.play(
        """
    - hosts: all
      gather_facts: false
      module_defaults:
        group/keyfleet.infisical.infisical: {create_pth: true}
      tasks:
        - name: folder
          keyfleet.infisical.infisical_folder: {secret_path: /new}
          ignore_errors: true
"""
    ).succeeded()
    assert "create_pth" in run.failure("folder")["msg"]
