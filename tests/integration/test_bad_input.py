# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input is reported with the option or a hint, and changes nothing on the server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils import module
from dev_server.client import DevServer
from integration.controller import LOOKUP, Controller
from integration.shop import PROJECT, login_of

NOT_AN_ADDRESS = "http://127.0.0.1:9"
"""The discard port, on which nothing listens."""

EVERYWHERE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    # name: options, and words in the message
    "empty url": ({"url": ""}, ("url: not given", "INFISICAL_URL")),
    "empty client id": ({"client_id": ""}, ("client_id: not given", "infisical_client_id")),
    "empty client secret": ({"client_secret": " "}, ("client_secret: not given", "[infisical]")),
    "no token": ({"auth_method": "token"}, ("token: not given",)),
    "unknown way to log in": ({"auth_method": "kerberos"}, ("kerberos", "universal_auth")),
    "empty project": ({"project_id": ""}, ("project_id: not given",)),
    "empty environment": ({"environment": ""}, ("environment: not given", "it has no default")),
    "path without a slash": ({"secret_path": "app"}, ("secret_path", "must start with a slash")),
    "path with dots": ({"secret_path": "/app/../x"}, ("secret_path", "..")),
    "url with a route": ({"url": "https://vault.example.com/api/v4"}, ("url", "must end after the host and port")),
    "url with a query": ({"url": "https://vault.example.com?x=1"}, ("url", "Remove the ? or #")),
    "size of answers": ({"max_response_size": 0}, ("max_response_size", "must be more than 0", "(got 0)")),
    "url without a scheme": ({"url": "vault.example.com"}, ("url", "scheme is not http")),
    "url with a user": ({"url": "https://me:x@vault.example.com"}, ("url", "user name or a password")),
    "plain http": ({"url": "http://192.0.2.1"}, ("url", "unencrypted", "allow_http: true")),
    "timeout": ({"timeout": "soon"}, ("timeout", "must be a number")),
    "boolean": ({"validate_certs": "perhaps"}, ("validate_certs", "true or false")),
    "API version": ({"api_version": "v5"}, ("v5", "v4")),
    "no such CA": ({"ca_path": "/no/such/ca.pem"}, ("ca_path", "does not exist")),
    "server is down": ({"url": NOT_AN_ADDRESS}, (NOT_AN_ADDRESS, "connection was refused")),
    "proxy is down": ({"proxy": NOT_AN_ADDRESS}, ("proxy",)),
    "unknown project": ({"project_id": "nowhere"}, ("Project 'nowhere'", "project_id")),
    "unknown environment": ({"environment": "devv"}, ("environment 'devv'", "dev, prod")),
    "missing folder": ({"secret_path": "/nowhere"}, ("Folder '/nowhere'", "secret_path")),
    "no permission": (
        {"client_id": "no-access-id", "client_secret": "no-access-client-secret"}, ("on 'Secrets'", "Grant"),
    ),
}  # fmt: skip

FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    # name of the secret: the server's fault, options, and words in the message
    "HTML": ({"kind": "html"}, {}, ("not from an Infisical API", "Check url")),
    "MALFORMED": ({"kind": "malformed"}, {}, ("Check url",)),
    "CUT": ({"kind": "cut_before"}, {}, ("connection was closed before the response was complete", "server is up")),
    "CUT_LATER": (
        {"kind": "cut_middle"},
        {},
        ("connection was closed before the response was complete", "server is up"),
    ),
    "SLOW": ({"kind": "delay", "seconds": 3}, {"timeout": 0.2}, ("no complete response within the timeout", "timeout")),
    "REDIRECT": ({"kind": "redirect"}, {}, ("HTTP 302", "Set url")),
    "LIMITED": ({"kind": "status", "status": 429, "message": "Rate limit"}, {}, ("HTTP 429", "rate_limit_wait")),
    "BROKEN": ({"kind": "status", "status": 503}, {}, ("HTTP 503", "server_error_wait")),
}

MODULES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "no name": ("secret", {"value": "x"}, ("name",)),
    "empty name": ("secret", {"name": " ", "value": "x"}, ("name", "must not be empty")),
    "long name": ("secret", {"name": "L" * 501, "value": "x"}, ("name", "got 501", "500")),
    "control character": ("secret", {"name": "A\x07B", "value": "x"}, ("name", "control character")),
    "name that is a number": ("secret", {"name": 12, "value": "x"}, ("name", "must be a string", "Quote it")),
    "nothing to normalize": ("secret", {"name": "--", "value": "x", "normalize_name": True}, ("name", "no letter")),
    "colon": ("secret", {"name": "A:B", "value": "x"}, ("A:B",)),
    "no value": ("secret", {"name": "X"}, ("value",)),
    "number": ("secret", {"name": "X", "value": 123}, ("value", "must be a string, not int", "Quote it")),
    "float": ("secret", {"name": "X", "value": 1.1}, ("value", "must be a string, not float")),
    "boolean value": ("secret", {"name": "X", "value": True}, ("value", "must be a string, not bool")),
    "list": ("secret", {"name": "X", "value": ["x"]}, ("value", "must be a string, not list")),
    "mapping": ("secret", {"name": "X", "value": {"x": "x"}}, ("value", "must be a string, not dict")),
    "large value": ("secret", {"name": "X", "value": "{{ 'x' * 1100000 }}"}, ("1 MiB",)),
    "unknown tag": ("secret", {"name": "X", "value": "x", "tags": ["nope"]}, ("tags", "nope", "database, web")),
    "metadata": ("secret", {"name": "X", "value": "x", "metadata": {"a": [1]}}, ("metadata",)),
    "relative state file": ("secret", {"name": "X", "value": "x", "state_file": "s.json"}, ("state_file", "absolute")),
    "state": ("secret", {"name": "X", "value": "x", "state": "gone"}, ("state", "present, absent")),
    "update_value": ("secret", {"name": "X", "value": "x", "update_value": "never"}, ("update_value", "on_create")),
    "unknown option": ("secret", {"name": "X", "value": "x", "vlaue": "x"}, ("vlaue",)),
    "root as a folder": ("folder", {"secret_path": "/"}, ("secret_path", "root")),
    "folder in no environment": ("folder", {"secret_path": "/x", "environment": "devv"}, ("devv", "dev, prod")),
    "folder that is not empty": ("folder", {"secret_path": "/app", "state": "absent"}, ("force: true", "2 secrets")),
    "project of another": ("project_info", {"project_id": "nowhere"}, ("nowhere", "project_id")),
}
LOOKUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown option": ("'SECRET_1', enviroment='dev'", ("enviroment", "is not an option", "environment")),
    "unknown fetch": ("'SECRET_1', fetch='some'", ("fetch", "some")),
    "unknown on_missing": ("'SECRET_1', on_missing='ignore'", ("on_missing", "ignore")),
    "unknown cache": ("'SECRET_1', cache='forever'", ("cache", "forever")),
    "one without a name": ("fetch='one'", ("fetch", "requires names of secrets")),
    "one and recursive": ("'SECRET_1', fetch='one', recursive=true", ("recursive", "fetch: list")),
    "empty name": ("''", ("must not be empty",)),
    "number": ("12", ("must be a string, not int",)),
    "long name": ("'L' * 501", ("got 501",)),
    "missing secret": ("'NOT_THERE'", ("Secret 'NOT_THERE' does not exist", "on_missing or default")),
}


def _task(name: str, module: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, module: arguments, "ignore_errors": True})


def _as_arguments(options: dict[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in options.items())


def _lookup(arguments: str) -> dict[str, str]:
    return {"msg": f"{{{{ lookup('{LOOKUP}', {arguments}) }}}}"}


def _secrets(server: DevServer) -> Any:
    return server.state()["projects"]


def _words_missing(run: Any, name: str, words: tuple[str, ...]) -> list[str]:
    message = " ".join(str(run.failure(name)["msg"]).split())
    return [f"{name}: no '{word}' in '{message}'" for word in words if word not in message]


def test_modules_refuse_bad_input(ansible: Controller, server: DevServer) -> None:
    before = _secrets(server)
    for name, (fault, _options, _words) in FAULTS.items():
        server.arm(**fault, times=2, path=f"/{name}$")
    wrong = [
        *((name, "secret", {"name": "X", "value": "x", **options}, words) for name, (options, words) in
          EVERYWHERE.items()),
        *((name, "secret", {"name": name, "value": "x", **options}, words) for name, (_fault, options, words) in
          FAULTS.items()),
        *((f"module: {name}", *row) for name, row in MODULES.items()),
    ]  # fmt: skip
    tasks = [_task(name, f"keyfleet.infisical.infisical_{module}", options) for name, module, options, _words in wrong]

    run = ansible.tasks("\n".join(f"- {task}" for task in tasks)).succeeded()

    problems = [line for name, _module, _options, words in wrong for line in _words_missing(run, name, words)]
    assert not problems, "\n".join(problems)
    assert _secrets(server) == before
    assert run.changed == 0


@pytest.mark.core
def test_lookups_refuse_bad_input(ansible: Controller, server: DevServer) -> None:
    for name, (fault, _options, _words) in FAULTS.items():
        server.arm(**fault, times=2, path=f"/{name}$")
    wrong = [
        *((name, f"'SECRET_1'{_as_arguments(options)}", words) for name, (options, words) in EVERYWHERE.items()),
        *((name, f"'{name}', fetch='one'{_as_arguments(options)}", words) for name, (_fault, options, words) in
          FAULTS.items()),
        *((f"lookup: {name}", *row) for name, row in LOOKUPS.items()),
    ]  # fmt: skip
    tasks = [_task(name, "ansible.builtin.debug", _lookup(arguments)) for name, arguments, _words in wrong]

    run = ansible.tasks("\n".join(f"- {task}" for task in tasks)).succeeded()

    problems = [line for name, _arguments, words in wrong for line in _words_missing(run, name, words)]
    assert not problems, "\n".join(problems)


CHANGED_BY_YAML: dict[str, tuple[str, str]] = {
    # name: the task, and its message
    "mode of a file of a job": (
        "infisical_agent: {jobs: [{name: shop, files: [{path: /etc/shop.env, mode: 0644}]}]}",
        "jobs: shop: files: /etc/shop.env: mode: must be a quoted string like '0644' (got the number 420).",
    ),
    "mode of a report": (
        "infisical_fleet_report: {graph_file: new.json, hosts: {}, mode: 0640}",
        "mode: must be a quoted string like '0644' (got the number 416).",
    ),
    "interval": ("infisical_agent: {jobs: [{name: shop, interval: 1:30}]}", "jobs: shop: interval: must be a string"),
    "job that is no mapping": ("infisical_agent: {jobs: [a]}", "jobs: must be a mapping of names to values"),
    "name of a job": ("infisical_agent: {jobs: [{name: no}]}", "jobs: name: must be a string, not bool"),
    "unit": (
        "infisical_agent: {jobs: [{name: shop, files: [{names: [NO]}]}]}", "jobs: shop: files: names: must be a string",
    ),
    "names of jobs": ("infisical_sync: {job: 2026-01-15}", "job: must be a string, not date. Quote it"),
    "project ids": ("infisical_sync: {project_ids: [1234567890]}", "project_ids: must be a string, not int"),
    "single project id": ("infisical_sync: {project_ids: 1.0e+3}", "project_ids: must be a string"),
    "path": ("infisical_sync: {source_file: 0777, direction: push}", "source_file: must be a string, not int"),
    "percentage": ("infisical_sync: {max_delete_percent: yes}", "max_delete_percent: must be a number, not true"),
    "lock_wait": ("infisical_vault: {name: A, value: x, lock_wait: on}", "lock_wait: must be a number, not true"),
    "state file": ("infisical_vault_info: {state_file: 12}", "state_file: must be a string, not int"),
    "time-out": ("infisical_secret_info: {timeout: yes}", "timeout: must be a number"),
    "environment": ("infisical_secret_info: {environment: on}", "environment: must be a string, not bool"),
    "name of a secret": ("infisical_secret_info: {name: NO}", "name: must be a string, not bool"),
    "date as a value": ("infisical_secret: {name: A, value: 2026-01-15}", "value: must be a string, not date"),
    "version as a comment": ("infisical_secret: {name: A, value: x, comment: 1.10}", "comment: must be a string, not"),
    "tag": ("infisical_secret: {name: A, value: x, tags: [on]}", "tags: must be a string, not bool"),
    "date in metadata": (
        "infisical_secret: {name: A, value: x, metadata: {until: 2026-01-15}}", "metadata: until: must be a string",
    ),
    "secrets of a push": (
        "infisical_sync: {direction: push, secrets: {A: 0123}}", "secrets: A: must be a string, not int",
    ),
    "query": ("infisical_fleet_info: {graph_file: x, query: 12}", "query: must be a string, not int"),
    "graph file": ("infisical_fleet_info: {graph_file: 1.5, query: x}", "graph_file: must be a string, not float"),
    "jobs to sync": ("infisical_agent_sync: {jobs: [no]}", "jobs: must be a string, not bool"),
    "rate limit": ("infisical_agent_sync: {rate_limit: yes}", "rate_limit: must be a number, not true"),
}  # fmt: skip


def test_values_that_yaml_converted_are_refused(ansible: Controller, server: DevServer) -> None:
    before = _secrets(server)
    tasks = [
        f"- name: {name}\n  keyfleet.infisical.{task}\n  ignore_errors: true"
        for name, (task, _words) in CHANGED_BY_YAML.items()
    ]
    lookups = {
        "lookup of a name": "2026",
        "lookup in an environment": "'SECRET_1', environment=true",
        "lookup with a time-out": "'SECRET_1', timeout=true",
    }
    tasks += [
        f"- name: {name}\n  ansible.builtin.debug: {{msg: \"{{{{ lookup('{LOOKUP}', {terms}) }}}}\"}}\n"
        "  ignore_errors: true"
        for name, terms in lookups.items()
    ]
    run = ansible.tasks("\n".join(tasks)).succeeded()

    problems = [
        line for name, (_task, words) in CHANGED_BY_YAML.items() for line in _words_missing(run, name, (words,))
    ]
    assert not problems, "\n".join(problems)
    assert all("must be a" in run.failure(name)["msg"] for name in lookups)
    assert _secrets(server) == before and run.changed == 0


EVERY_MODULE = {
    "infisical_status_info": "is available and accepted the login.",
    "infisical_status_info: {url: http://127.0.0.1:9}": "http://127.0.0.1:9",
    "infisical_status_info: {url: wrong}": "'wrong' has no host",
    "infisical_project_info": "access to 1 project.",
    "infisical_secret_info": "50 secrets in project",
    "infisical_secret: {name: A, value: x}": "Secret A: created.",
    "infisical_folder: {secret_path: /new}": "Folder /new: created.",
    "infisical_host_revoke: {hosts: [nobody]}": "(got 'nobody')",
    "infisical_identity: {name: web1, universal_auth: {}}": "Identity web1: created.",
    "infisical_identity_info": "Found 1 machine identity.",
    "infisical_client_secret: {name: web1, description: a, state: revoked}": ": unchanged.",
    "infisical_sync": "Pull: 51 created, 0 updated",
    "infisical_vault: {name: B, value: x}": "Entry B: created.",
    "infisical_vault_info": "52 secrets in",
    'infisical_fleet_report: {graph_file: graph.json, hosts: {web1: ""}}': "host",
    "infisical_fleet_info: {graph_file: graph.json, question: behind}": "0 rows.",
    "infisical_agent: {jobs: [{name: shop}]}": "",
    "infisical_agent_preflight": "",
    "infisical_agent_sync: {jobs: [shop]}": "1 job would sync.",
    "infisical_agent_info": "on this host.",
}


def test_every_failed_result_has_a_message_for_failed_when(ansible: Controller, server: DevServer) -> None:
    modules = {path.stem for path in Path(str(module.__file__)).parents[1].glob("modules/infisical_*.py")}
    assert {task.partition(":")[0] for task in EVERY_MODULE} == modules
    ansible.variables |= {
        "infisical_vault_path": f"{ansible.folder}/vault",
        "infisical_key_file": f"{ansible.folder}/key",
    }
    (ansible.folder / "key").write_bytes(bytes(range(32)))
    (ansible.folder / "key").chmod(0o600)
    tasks = [
        f"- name: task {number}\n  keyfleet.infisical.{task}{'' if ':' in task else ':'}\n"
        f"  check_mode: {'agent' in task}\n  failed_when: true\n  ignore_errors: true"
        for number, task in enumerate(EVERY_MODULE)
    ]
    run = ansible.tasks("\n".join(tasks)).succeeded()
    assert "Unknown error" not in run.text
    found = {task: run.failure(f"task {number}")["msg"] for number, task in enumerate(EVERY_MODULE)}
    assert not {
        task: found[task] for task, words in EVERY_MODULE.items() if not found[task] or words not in found[task]
    }


def test_failed_task_changes_the_exit_status(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks("- keyfleet.infisical.infisical_secret: {name: X, value: 12}")
    assert run.rc == 2 and run.recap["host1"]["failures"] == 1
    lookup = ansible.tasks(f"- ansible.builtin.debug: {{msg: \"{{{{ lookup('{LOOKUP}', 'NOT_THERE') }}}}\"}}")
    assert lookup.rc == 2


def test_missing_option_error_names_the_option(ansible: Controller, server: DevServer, shop: dict[str, Any]) -> None:
    hosts = {}
    for name in ("url", "client_id", "client_secret", "project_id", "environment"):
        hosts[name] = {key: value for key, value in shop.items() if key != f"infisical_{name}"}
    run = ansible.tasks(
        f"""
        - name: module
          keyfleet.infisical.infisical_secret: {{name: X, value: x}}
          ignore_errors: true
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
          ignore_errors: true
    """,
        hosts=hosts,
        variables={},
    ).succeeded()

    for name in hosts:
        for task in ("module", "lookup"):
            message = run.failure(task, name)["msg"]
            assert f"{name}: not given." in message and f"variable infisical_{name}" in message
            assert ("module_defaults" in message) == (task == "module")
        assert run.result("module", name)["conclusion"] == "configuration"


@pytest.mark.oldest
def test_untrusted_certificate_is_refused(ansible: Controller, shop: dict[str, Any]) -> None:
    started = time.monotonic()
    with DevServer(tls=True) as server:
        shop |= {"infisical_url": server.url, "infisical_project_id": "demo-project", "ca": server.ca_path}
        shop |= {"infisical_client_id": "demo-client-id", "infisical_client_secret": "demo-client-secret"}
        run = ansible.tasks(
            f"""
            - name: module
              keyfleet.infisical.infisical_secret: {{name: X, value: x}}
              ignore_errors: true
            - name: lookup
              ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'LOG_LEVEL') }}}}"}}
              ignore_errors: true
            - name: module with its authority
              keyfleet.infisical.infisical_secret: {{name: X, value: x, ca_path: "{{{{ ca }}}}"}}
            - name: lookup with its authority
              ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'LOG_LEVEL', ca_path=ca) }}}}"}}
            - name: unverified
              keyfleet.infisical.infisical_secret_info: {{validate_certs: false}}
        """,
            variables=shop,
        ).succeeded()
        assert server.values("demo-project", "dev")["X"] == ["x"]

    for task in ("module", "lookup"):
        message = run.failure(task)["msg"]
        assert "certificate cannot be verified" in message and "ca_path" in message
    assert run.result("lookup with its authority")["msg"] == "debug"
    assert time.monotonic() - started < 120


@pytest.mark.parametrize("missing", ("requests", "cryptography"))
@pytest.mark.oldest
def test_missing_library_error_names_library_and_python(
    ansible: Controller, server: DevServer, tmp_path_factory: pytest.TempPathFactory, missing: str
) -> None:
    library = tmp_path_factory.mktemp("library")
    (library / f"{missing}.py").write_text(f"raise ImportError('no {missing}')\n", "utf-8")
    run = ansible.tasks(
        f"""
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
          ignore_errors: true
        - name: module
          keyfleet.infisical.infisical_secret_info:
          ignore_errors: true
    """,
        environment={"PYTHONPATH": str(library)},
    ).succeeded()

    message = run.failure("lookup")["msg"]
    assert f"'{missing}' is missing for" in message and f"-m pip install {missing}" in message
    if missing == "requests":
        assert run.failure("module")["conclusion"] == "missing_library"
        assert str(Path(ansible.python).name)[:6] in run.failure("module")["msg"]
    else:
        assert not run.result("module").get("failed"), "a module has no need of it"


def test_missing_write_permission_error_names_the_permission(ansible: Controller, server: DevServer) -> None:
    ansible.variables |= login_of("viewer")
    before = _secrets(server)
    run = ansible.tasks("""
        - name: create
          keyfleet.infisical.infisical_secret: {name: X, value: x}
          ignore_errors: true
        - name: update
          keyfleet.infisical.infisical_secret: {name: SECRET_1, value: x}
          ignore_errors: true
        - name: delete
          keyfleet.infisical.infisical_secret: {name: SECRET_1, state: absent}
          ignore_errors: true
        - name: read
          keyfleet.infisical.infisical_secret_info: {name: SECRET_1}
    """).succeeded()

    for name, permission in (("create", "'Create'"), ("update", "'Modify'"), ("delete", "'Remove'")):
        failure = run.failure(name)
        assert f"Grant {permission} on 'Secrets'" in failure["msg"] and "Access Control" in failure["msg"]
        assert (failure["conclusion"], failure["http_status"]) == ("forbidden", 403)
    assert len(run.result("read")["secrets"]) == 1
    assert _secrets(server) == before
    assert PROJECT in run.failure("create")["msg"]
