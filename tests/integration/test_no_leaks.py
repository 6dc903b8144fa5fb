# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run leaks no secret in output, results and files with -vvvv --diff, even if it fails."""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dev_server.client import DevServer
from integration.controller import LOOKUP, WORKER, Controller, Run
from integration.leaks import Canary, leaks, places
from integration.shop import PROJECT, SEED

SECRET, OLD_SECRET, CLIENT_SECRET, TOKEN = (
    Canary(f"Canary{number}x5f1c2a9e7b") for number in ("Secret", "OldSecret", "ClientSecret", "Token")
)
CANARIES = (SECRET, OLD_SECRET, CLIENT_SECRET, TOKEN)
SHORT = ("1", "true", "prod", "D")
LOUD = ("-vvvv", "--diff")


@pytest.fixture
def planted(server: DevServer, shop: dict[str, Any]) -> dict[str, Any]:
    """Start a server with canaries; return the variables of hosts that use it."""
    document: dict[str, Any] = copy.deepcopy(SEED)
    project, admin = document["projects"][0], document["identities"][0]
    project["secrets"] += [
        {"environment": "dev", "path": "/canary", "key": "OLD", "value": str(OLD_SECRET)},
        {
            "environment": "dev",
            "path": "/encrypted",
            "key": "OLD",
            "value": str(OLD_SECRET),
            "metadata": [{"key": "pin", "value": str(OLD_SECRET), "encrypted": True}, {"key": "owner", "value": "me"}],
        },
        {"environment": "dev", "path": "/canary", "key": "SAME", "value": str(SECRET)},
        *({"environment": "dev", "path": "/short", "key": f"S_{value}", "value": value} for value in SHORT),
    ]
    admin["client_secret"] = CLIENT_SECRET.plain
    document["tokens"] = [{"identity": "admin", "token": TOKEN.plain}]
    server.seed(document)
    variables = {
        **shop,
        "infisical_client_secret": CLIENT_SECRET.plain,
        "infisical_secret_path": "/canary",
        # As a value of a vault file or another lookup, which is not in the task.
        "secret_parts": [SECRET.core[:9], SECRET.core[9:]],
        "secret": str(SECRET).replace(SECRET.core, "{{ secret_parts | join }}").replace("{{ end", "{{ '{{ end' }}"),
        "given_token": TOKEN.plain,
    }
    assert SECRET.core not in json.dumps({**variables, "infisical_client_secret": ""})
    return variables


EVERYTHING = f"""
    - name: created
      keyfleet.infisical.infisical_secret: {{name: NEW, value: "{{{{ secret }}}}"}}
    - name: updated
      keyfleet.infisical.infisical_secret: {{name: OLD, value: "{{{{ secret }}}}", comment: of the test}}
    - name: unchanged
      keyfleet.infisical.infisical_secret: {{name: SAME, value: "{{{{ secret }}}}"}}
    - name: by lookup
      keyfleet.infisical.infisical_secret: {{name: COPY, value: "{{{{ lookup('{LOOKUP}', 'SAME') }}}}"}}
    - name: in check mode
      keyfleet.infisical.infisical_secret: {{name: UNSEEN, value: "{{{{ secret }}}}"}}
      check_mode: true
    - name: with a state file
      keyfleet.infisical.infisical_secret:
        name: STATE
        value: "{{{{ secret }}}}"
        state_file: "{{{{ playbook_dir }}}}/state.json"
    - name: async
      keyfleet.infisical.infisical_secret: {{name: ASYNC, value: "{{{{ secret }}}}"}}
      async: 60
      poll: 1
    - name: deleted
      keyfleet.infisical.infisical_secret: {{name: COPY, state: absent}}
    - name: in a loop
      keyfleet.infisical.infisical_secret: {{name: "S_{{{{ item }}}}", value: "{{{{ item }}}}", secret_path: /short}}
      loop: ["1", "true", prod, D]
    - name: encrypted metadata
      keyfleet.infisical.infisical_secret:
        name: "{{{{ item }}}}"
        value: "{{{{ secret }}}}"
        secret_path: /encrypted
        metadata: {{pin: "{{{{ secret }}}}", owner: you}}
        encrypted_metadata: "{{{{ ['pin'] if item == 'NEW' else omit }}}}"
      loop: [OLD, NEW, NEW]
    - name: comment beside encrypted metadata
      keyfleet.infisical.infisical_secret:
        {{name: OLD, value: x, secret_path: /encrypted, comment: new, update_value: on_create}}
    - name: list encrypted metadata
      keyfleet.infisical.infisical_secret_info: {{secret_path: /encrypted}}
    - name: read encrypted metadata
      keyfleet.infisical.infisical_secret_info: {{secret_path: /encrypted, read_values: true}}
      register: encrypted
    - name: encrypted metadata are there
      ansible.builtin.assert:
        that: encrypted.secrets | map(attribute='metadata') | map(attribute='pin') | list == [secret, secret]
    - name: folder
      keyfleet.infisical.infisical_folder: {{secret_path: /canary/below}}
    - name: listed
      keyfleet.infisical.infisical_secret_info:
    - name: listed by a given token
      keyfleet.infisical.infisical_secret_info: {{auth_method: token, token: "{{{{ given_token }}}}"}}
    - name: short values
      keyfleet.infisical.infisical_secret_info: {{secret_path: /short, read_values: true}}
      register: short
    - name: values
      keyfleet.infisical.infisical_secret_info: {{read_values: true}}
      register: with_values
    - name: values in check mode
      keyfleet.infisical.infisical_secret_info: {{read_values: true, name: OLD}}
      check_mode: true
    - name: registered values are there
      ansible.builtin.assert:
        that:
          - with_values.secrets | selectattr('name', 'eq', 'SAME') | map(attribute='value') | list == [secret]
          - short.secrets | map(attribute='value') | sort == ['1', 'D', 'prod', 'true']
          - lookup('{LOOKUP}', 'SAME') == secret
    - name: projects
      keyfleet.infisical.infisical_project_info:
    - name: status
      keyfleet.infisical.infisical_status_info:
"""
FAILURES = f"""
    - name: value of another type
      keyfleet.infisical.infisical_secret: {{name: NEW, value: ["{{{{ secret }}}}"]}}
    - name: unknown option
      keyfleet.infisical.infisical_secret: {{name: NEW, value: "{{{{ secret }}}}", no_such_option: "{{{{ secret }}}}"}}
    - name: wrong choice
      keyfleet.infisical.infisical_secret: {{name: NEW, value: "{{{{ secret }}}}", state: wrong}}
    - name: without a name
      keyfleet.infisical.infisical_secret: {{value: "{{{{ secret }}}}"}}
    - name: wrong environment
      keyfleet.infisical.infisical_secret: {{name: NEW, value: "{{{{ secret }}}}", environment: nowhere}}
    - name: server repeats the value
      keyfleet.infisical.infisical_secret: {{name: ECHO, value: "{{{{ secret }}}}"}}
    - name: values that cannot be read
      keyfleet.infisical.infisical_secret_info: {{read_values: true, environment: nowhere}}
    - name: wrong token
      keyfleet.infisical.infisical_secret_info: {{auth_method: token, token: "{{{{ given_token }}}}x"}}
    - name: token of another type
      keyfleet.infisical.infisical_secret_info: {{auth_method: token, token: ["{{{{ given_token }}}}"]}}
    - name: client secret of another type
      keyfleet.infisical.infisical_secret_info: {{client_secret: {{a: "{{{{ infisical_client_secret }}}}"}}}}
    - name: wrong client secret
      keyfleet.infisical.infisical_secret_info: {{client_secret: "{{{{ infisical_client_secret }}}}x"}}
    - name: proxy with a password
      keyfleet.infisical.infisical_secret_info: {{proxy: "http://user:{{{{ given_token }}}}@127.0.0.1:9"}}
    - name: lookup of what is not there
      ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'NOT_THERE', token=given_token) }}}}"}}
    - name: lookup with a wrong client secret
      ansible.builtin.debug:
        msg: "{{{{ lookup('{LOOKUP}', 'SAME', client_secret=infisical_client_secret ~ 'y') }}}}"
    - name: lookup with a client secret of another type
      ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SAME', client_secret=[given_token]) }}}}"}}
    - name: lookup through a proxy with a password
      ansible.builtin.debug:
        msg: "{{{{ lookup('{LOOKUP}', 'SAME', proxy='http://u:' ~ given_token ~ '@127.0.0.1:9', cache='none') }}}}"
    - name: argument by a lookup that fails
      keyfleet.infisical.infisical_secret:
        name: "{{{{ lookup('{LOOKUP}', 'NOT_THERE') }}}}"
        value: "{{{{ secret }}}}"
"""


def _ignoring_errors(tasks: str) -> str:
    return tasks.replace("    - name: ", "    - ignore_errors: true\n      name: ")


def _loud(ansible: Controller, tasks: str, variables: dict[str, Any], **options: Any) -> Run:
    environment = {
        "ANSIBLE_INJECT_INVOCATION": "true",
        "ANSIBLE_LOG_PATH": str(ansible.folder / "log"),
        "ANSIBLE_PIPELINING": "false",  # so that modules lie in files while they run
        **options.pop("environment", {}),
    }
    return ansible.tasks(
        tasks, variables=variables, environment=environment, arguments=LOUD, watch=True, **options
    ).succeeded()


@pytest.mark.core
@pytest.mark.oldest
def test_successful_tasks_leak_nothing_and_results_are_complete(
    ansible: Controller, planted: dict[str, Any], server: DevServer
) -> None:
    run = _loud(ansible, EVERYTHING, planted)

    assert leaks(CANARIES, places(ansible, run)) == {}
    assert len((ansible.folder / "log").read_bytes()) > 10_000
    assert server.values(PROJECT, "dev", "/canary")["NEW"] == [str(SECRET)]
    assert (run.result("updated")["secret"]["version"], run.result("updated")["diff"]["after"]) == (
        2, {"name": "OLD", "path": "/canary", "version": 2},
    )  # fmt: skip
    for secret in run.result("list encrypted metadata")["secrets"]:
        assert (secret["metadata"], secret["encrypted_metadata"]) == ({"owner": "you", "pin": None}, ["pin"])
    assert [item["changed"] for item in run.items("encrypted metadata")] == [True, True, False]
    listed = run.result("listed")["secrets"]
    assert {secret["name"] for secret in listed} == {"ASYNC", "NEW", "OLD", "SAME", "STATE"}
    assert all("value" not in secret for secret in listed)
    for name in ("values", "values in check mode", "short values"):
        assert "censored" in run.result(name), run.result(name)
    assert (run.result("projects")["projects"][0]["environments"][1]) == {"slug": "prod", "name": "Production"}


def test_short_values_are_not_masked_in_results(ansible: Controller, planted: dict[str, Any]) -> None:
    planted |= {"infisical_secret_path": "/short", "infisical_environment": "prod", "infisical_timeout": 1}
    run = ansible.tasks(
        """
        - name: written
          keyfleet.infisical.infisical_secret:
            name: "D_{{ item }}_1"
            value: "{{ item }}"
            comment: prod 1 true D
            create_path: true
          loop: ["1", "true", prod, D]
        - name: listed
          keyfleet.infisical.infisical_secret_info:
        - name: projects
          keyfleet.infisical.infisical_project_info:
    """,
        variables=planted,
        environment={"ANSIBLE_INJECT_INVOCATION": "true"},  # from ansible-core 2.21 on, not shown by default
    ).succeeded()

    for item, value in zip(run.items("written"), SHORT, strict=True):
        secret, options = item["secret"], item["invocation"]["module_args"]
        assert item["changed"] is True and secret["name"] == f"D_{value}_1"
        assert (secret["version"], secret["environment"], secret["comment"]) == (1, "prod", "prod 1 true D")
        assert (options["value"], options["token"]) == ("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER",) * 2
        assert (options["environment"], options["timeout"], options["create_path"]) == ("prod", 1.0, True)
    assert [secret["name"] for secret in run.result("listed")["secrets"]] == [
        "D_1_1", "D_D_1", "D_prod_1", "D_true_1",
    ]  # fmt: skip
    assert [place["slug"] for place in run.result("projects")["projects"][0]["environments"]] == ["dev", "prod"]


@pytest.mark.parametrize("no_log", [pytest.param(False, marks=pytest.mark.core), True])
def test_failed_tasks_leak_nothing(
    ansible: Controller, planted: dict[str, Any], server: DevServer, no_log: bool
) -> None:
    server.arm("status", status=400, path="ECHO", method="POST", message=f"refused: {SECRET}")
    names = [line.split("name: ")[1] for line in FAILURES.splitlines() if line.startswith("    - name: ")]
    tasks = _ignoring_errors(FAILURES)
    if no_log:
        tasks = tasks.replace("- ignore_errors: true", "- no_log: true\n      ignore_errors: true")

    run = _loud(ansible, tasks, planted)

    assert leaks(CANARIES, places(ansible, run)) == {}
    for name in names:
        run.failure(name)
    if not no_log:
        assert "must be a string, not list" in run.result("value of another type")["msg"]
        assert "refused: ********" in run.result("server repeats the value")["msg"]


STANDINS = {
    "when it is imported": "raise RuntimeError({message!r})",
    "when it sends": """
class exceptions:
    class RequestException(Exception): pass
class packages:
    class urllib3:
        class exceptions:
            class HTTPError(Exception): pass
        class connectionpool:
            class HTTPConnectionPool:
                class ConnectionCls: pass
            HTTPSConnectionPool = HTTPConnectionPool
class adapters:
    class HTTPAdapter: pass
class Request:
    def __init__(self, *arguments, **options): pass
class Session:
    proxies = None
    class cookies:
        def set_policy(policy): pass
    def mount(self, scheme, adapter): pass
    def prepare_request(self, request): return request
    def send(self, *arguments, **options):
        try:
            raise ValueError({message!r}, options)
        except ValueError as error:
            raise RuntimeError({message!r}, arguments, options) from error
""",
}
WITH_STANDIN = """
    - name: module
      keyfleet.infisical.infisical_secret: {name: NEW, value: "{{ secret }}"}
    - name: values
      keyfleet.infisical.infisical_secret_info: {read_values: true}
    - name: status
      keyfleet.infisical.infisical_status_info:
    - name: by token
      keyfleet.infisical.infisical_secret_info: {auth_method: token, token: "{{ given_token }}", read_values: true}
"""
LOOKUP_WITH_STANDIN = f"""
    - name: lookup
      ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SAME') }}}}"}}
"""


@pytest.mark.parametrize("where", ("host", "controller"))
@pytest.mark.parametrize(
    "standin", [pytest.param(name, marks=pytest.mark.core if "imported" in name else ()) for name in STANDINS]
)
def test_unexpected_exception_leaks_nothing(
    ansible: Controller, planted: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, standin: str, where: str
) -> None:
    library = tmp_path_factory.mktemp("library")
    (library / "requests.py").write_text(STANDINS[standin].format(message=f"{SECRET} {CLIENT_SECRET} {TOKEN}"), "utf-8")
    environment = {}
    if where == "host":
        planted["ansible_python_interpreter"] = _python_with(library, ansible)
    else:
        environment = {"PYTHONPATH": str(library)}
    tasks = _ignoring_errors(WITH_STANDIN + (LOOKUP_WITH_STANDIN if where == "controller" else ""))
    silent = tasks.replace("name: ", "name: silent ").replace("- ignore_errors", "- no_log: true\n      ignore_errors")

    run = _loud(ansible, tasks + silent.replace("name: silent NEW", "name: NEW"), planted, environment=environment)

    assert leaks(CANARIES, places(ansible, run)) == {}
    # Only the library of the module uses a given token.
    assert ("The module runs in Ansible's worker process." in run.text) == (where == "controller" and WORKER)
    for name in ("module", "values", "by token", *(() if where == "host" else ("lookup",))):
        assert "Unexpected RuntimeError at" in run.failure(name)["msg"]
        assert "censored" in run.failure(f"silent {name}")


def _python_with(library: Path, ansible: Controller) -> str:
    """Return a Python for modules that imports from `library` first."""
    python = library / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={library} exec {ansible.python} "$@"\n', "utf-8")
    python.chmod(0o755)
    return str(python)


BROKEN_OUTPUT = {
    # a host whose modules print this instead of their result
    "line-that-ends-like-a-result": 'printf "%s\\n{session closed}\\n" "$out"',
    "result-twice": 'printf "%s\\n%s\\n" "$out" "$out"',
    "result-cut-off": 'printf "%s" "${out%?}"',
    "traceback": 'printf "Traceback (most recent call last):\\n%s\\n" "$out" >&2; code=1',
    "traceback-on-standard-output": 'printf "Traceback (most recent call last):\\n%s!\\n" "$out"; code=1',
    "result-in-a-line-behind-it": 'printf "%s\\nsession closed: %s.\\n" "$out" "$out"',
}
WRAPPER = """#!/bin/sh
out=$({python} "$@"); code=$?
case "$out" in *'"invocation"'*) {print} ;; *) printf "%s\\n" "$out" ;; esac
exit $code
"""
OF_BROKEN_OUTPUT = """
    - name: values
      keyfleet.infisical.infisical_secret_info: {read_values: true}
    - name: values of a vault
      keyfleet.infisical.infisical_vault_info: {read_values: true}
    - name: in a loop
      keyfleet.infisical.infisical_secret_info: {read_values: true, name: "{{ item }}"}
      loop: [OLD, SAME]
    - name: without values
      keyfleet.infisical.infisical_secret_info:
    - name: value in the arguments
      keyfleet.infisical.infisical_secret: {name: NEW, value: "{{ secret }}"}
"""


@pytest.mark.core
def test_invalid_module_output_leaks_nothing(ansible: Controller, planted: dict[str, Any]) -> None:
    planted |= {"infisical_vault_path": f"{ansible.folder}/vault", "infisical_key_file": f"{ansible.folder}/key"}
    (ansible.folder / "key").write_bytes(os.urandom(32))
    (ansible.folder / "key").chmod(0o600)
    ansible.tasks(
        """
        - keyfleet.infisical.infisical_vault: {name: OWN, value: "{{ secret }}"}
    """,
        variables=planted,
    ).succeeded()
    hosts = {}
    for broken, command in BROKEN_OUTPUT.items():
        wrapper = ansible.folder / broken
        wrapper.write_text(WRAPPER.format(python=ansible.python, print=command), "utf-8")
        wrapper.chmod(0o755)
        hosts[broken] = {"ansible_python_interpreter": str(wrapper)}

    run = _loud(ansible, _ignoring_errors(OF_BROKEN_OUTPUT), planted, hosts=hosts)

    assert leaks(CANARIES, places(ansible, run)) == {}
    for name, broken in itertools.product(("values", "values of a vault"), BROKEN_OUTPUT):
        if broken == "result-in-a-line-behind-it":
            assert "censored" in run.result(name, broken)
        else:
            failure = run.failure(name, broken)
            assert "read_values: false to see the output" in failure["msg"]
            assert failure["conclusion"] == "unexpected" and "module_stdout" not in failure
    assert "session closed" in run.failure("without values", "line-that-ends-like-a-result")["module_stdout"]


SYSLOG = """
LOG_INFO = LOG_USER = LOG_PID = LOG_AUTH = 0
def openlog(*arguments): pass
def syslog(*arguments):
    with open({path!r}, "a") as stream:
        stream.write(repr(arguments))
"""


@pytest.mark.core
@pytest.mark.oldest
def test_system_log_contains_no_secret(
    ansible: Controller, planted: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    library, log = tmp_path_factory.mktemp("library"), ansible.folder / "system_log"
    (library / "syslog.py").write_text(SYSLOG.format(path=str(log)), "utf-8")
    ansible.tasks(
        """
        - keyfleet.infisical.infisical_secret: {name: NEW, value: "{{ secret }}"}
        - keyfleet.infisical.infisical_secret_info: {read_values: true}
    """,
        variables={**planted, "ansible_python_interpreter": _python_with(library, ansible)},
        environment={"ANSIBLE_NO_TARGET_SYSLOG": "false"},
    ).succeeded()

    written = log.read_bytes()
    if b"Invoked with" not in written:
        pytest.fail(f"the stand-in of the system log was not used: {written!r}")
    assert leaks(CANARIES, {"system log": written}) == {}


def test_leak_search_finds_a_leak_in_every_place(ansible: Controller, planted: dict[str, Any]) -> None:
    run = _loud(
        ansible,
        f"""
        - ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'OLD') }}}}"}}
        - ansible.builtin.command: {{argv: [sleep, "0.5", "--", "0"]}}
          environment: {{LEAK: "{{{{ given_token }}}}"}}
          ignore_errors: true
        - ansible.builtin.copy: {{content: "{{{{ secret | b64encode }}}}", dest: "{{{{ playbook_dir }}}}/in_base64"}}
          no_log: true
        - ansible.builtin.copy: {{content: "{{{{ secret | to_json }}}}", dest: "{{{{ playbook_dir }}}}/in_json"}}
          no_log: true
        - ansible.builtin.copy: {{content: "{{{{ secret | urlencode }}}}", dest: "{{{{ playbook_dir }}}}/in_url"}}
          no_log: true
    """,
        planted,
    )

    found = places(ansible, run)
    assert {
        "printed", "shown to callbacks", "log", "arguments and environments", "in_base64", "in_json", "in_url",
    } <= set(leaks(CANARIES, found))  # fmt: skip
    assert "in_base64" in leaks([SECRET], found) and "printed" in leaks([OLD_SECRET], found)
    assert leaks([CLIENT_SECRET], found) == {}


@pytest.fixture
def ssh(needs_root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Return the variables of a host: this machine, through a real sshd with its own keys."""
    programs = [shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("sshd", "ssh", "ssh-keygen")]
    if not all(programs):
        pytest.skip("a connection by ssh takes sshd and ssh")
    folder = tmp_path_factory.mktemp("ssh")
    for key in ("host", "user"):
        subprocess.run([str(programs[2]), "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "PermitRootLogin": "prohibit-password",
        "UsePAM": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in lines.items()), "utf-8")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    daemon = subprocess.Popen([str(programs[0]), "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(folder / "user"),
            "ansible_ssh_args": "-o ControlMaster=no -o IdentitiesOnly=yes -F /dev/null",
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        }
    finally:
        daemon.terminate()
        daemon.wait()


def _wait_for(port: int) -> None:
    for _attempt in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip("sshd does not start here")


OVER_SSH = """
    - name: written
      keyfleet.infisical.infisical_secret: {name: NEW, value: "{{ secret }}"}
    - name: values
      keyfleet.infisical.infisical_secret_info: {read_values: true}
    - name: not there
      keyfleet.infisical.infisical_secret_info: {read_values: true, environment: nowhere}
      ignore_errors: true
"""


@pytest.mark.parametrize("pipelining", ("true", "false"))
def test_nothing_leaks_over_ssh(
    ansible: Controller, planted: dict[str, Any], ssh: dict[str, Any], pipelining: str
) -> None:
    run = _loud(ansible, OVER_SSH, {**planted, **ssh}, environment={"ANSIBLE_PIPELINING": pipelining})

    assert "SSH: EXEC ssh" in run.text
    assert leaks(CANARIES, places(ansible, run)) == {}
    assert run.result("written")["changed"]
