# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One vault through modules, lookup and command: entries, options, errors and leaks."""

from __future__ import annotations

import copy
import inspect
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils import local_vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import OPTIONS
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.keys import Passphrase
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import options
from dev_server.client import DevServer
from integration.controller import Controller, Run
from integration.leaks import Canary, leaks, places
from integration.shop import PROFILES, PROJECT, SEED
from integration.test_lookup import EXACT
from integration.test_sync import files_below, four_steps
from integration.vaults import LOOKUP, LocalVault

VAULT = "keyfleet.infisical.infisical_vault"
INFO = "keyfleet.infisical.infisical_vault_info"
SYNC = "keyfleet.infisical.infisical_sync"
COMMAND = "ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli.main"
PASSPHRASE = "long enough to open"
MEBIBYTES_OF_A_FILE = 4
"""What a host with a limit may write into one file: more than Ansible's own files take."""
ODD_NAMES = ("1", "with blank", "a/b/c", "ünïcödé", "{{ x }}", "N" * 300)


@pytest.fixture
def vault(ansible: Controller) -> LocalVault:
    """The vault of the variables of the hosts. It does not exist yet."""
    place = LocalVault(ansible.folder / "vault")
    place.folder.mkdir(mode=0o700)
    ansible.variables |= place.variables
    return place


@pytest.fixture
def alone(ansible: Controller, vault: LocalVault) -> LocalVault:
    """The same on hosts without any option for Infisical."""
    ansible.variables = dict(vault.variables)
    return vault


def test_every_option_is_idempotent_and_has_check_mode(
    ansible: Controller, server: DevServer, vault: LocalVault
) -> None:
    vault.hold({"OLD": "old", "GOES": "old", "PUSHED": "old", "GOES_TOO": "old", "SAME": "same"})
    other = LocalVault(ansible.folder / "other")
    other.folder.mkdir(mode=0o700)
    server.put_secret(PROJECT, "dev", "/app", "GOES_TOO", "old")
    tasks = {
        "new": f"{VAULT}: {{name: NEW, value: new}}",
        "value": f"{VAULT}: {{name: OLD, value: changed}}",
        "empty value": f"{VAULT}: {{name: EMPTY, value: ''}}",
        "value that looks like a template": f"{VAULT}: {{name: BRACES, value: !unsafe '{{{{ x }}}}'}}",
        "name that looks like a number": f"{VAULT}: {{name: '0123', value: x}}",
        "absent": f"{VAULT}: {{name: GOES, state: absent}}",
        "push": f"{VAULT}: {{name: PUSHED, value: pushed, push: true, secret_path: /made, create_path: true}}",
        "push of what only Infisical lacks": f"{VAULT}: {{name: SAME, value: same, push: true}}",
        "push, absent": f"{VAULT}: {{name: GOES_TOO, state: absent, push: true, secret_path: /app}}",
        "create_key": f"{VAULT}: {{name: A, value: a, create_key: true, {other.arguments}}}",
    }
    run = four_steps(
        ansible,
        "\n".join(f"- name: {name}\n  {task}" for name, task in tasks.items()),
        list(tasks),
        lambda: (files_below(vault.folder), files_below(other.folder), server.state()["projects"]),
    )

    assert vault.values() == {
        "NEW": "new", "OLD": "changed", "EMPTY": "", "BRACES": "{{ x }}", "0123": "x", "PUSHED": "pushed",
        "SAME": "same",
    }  # fmt: skip
    assert other.values() == {"A": "a"}
    assert server.values(PROJECT, "dev", "/made") == {"PUSHED": ["pushed"]}
    assert server.values(PROJECT, "dev", "/app").keys() == {"DB_USER", "DB_PASSWORD"}
    assert server.values(PROJECT, "dev")["SAME"] == ["same"]
    assert {name: (run.result(name)["action"], run.result(name)["pushed"]) for name in tasks} == {
        "new": ("create", None),
        "value": ("update", None),
        "empty value": ("create", None),
        "value that looks like a template": ("create", None),
        "name that looks like a number": ("create", None),
        "absent": ("delete", None),
        "push": ("update", "create"),
        "push of what only Infisical lacks": (None, "create"),
        "push, absent": ("delete", "delete"),
        "create_key": ("create", None),
    }
    assert run.result("new")["diff"]["before"] == {} and run.result("new")["diff"]["after"]["name"] == "NEW"
    assert run.result("absent")["entry"] is None and run.result("value")["entry"]["job"] == ""


@pytest.mark.core
@pytest.mark.oldest
def test_modules_lookup_and_command_share_a_vault(ansible: Controller, server: DevServer, vault: LocalVault) -> None:
    environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}

    def command(*arguments: str, given: str = "") -> str:
        ended = subprocess.run(
            [ansible.python, "-m", COMMAND, *arguments, "--vault", str(vault.path), "--key-file", str(vault.key)],
            input=given.encode(), capture_output=True, env=environment, timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr.decode()
        return ended.stdout.decode()

    ansible.tasks(f"""
        - {SYNC}: {{secret_path: /app, create_key: true}}
        - {VAULT}: {{name: BY_MODULE, value: "module's"}}
    """).succeeded()
    names = {"BY_MODULE", "DB_PASSWORD", "DB_USER"}
    assert {entry["name"] for entry in json.loads(command("vault", "list", "--json"))} == names
    assert command("vault", "get", "BY_MODULE") == "module's"
    assert command("vault", "get", "DB_PASSWORD") == "seeded password"
    command("vault", "set", "BY_COMMAND", given="command's\n")
    command("vault", "delete", "DB_USER")

    run = ansible.tasks(f"""
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}') }}}}"}}
        - name: info
          {INFO}:
        - name: unchanged
          {VAULT}: {{name: BY_COMMAND, value: "command's\\n"}}
        - name: deleted by module
          {VAULT}: {{name: BY_COMMAND, state: absent}}
        - name: what was deleted by hand comes back
          {SYNC}: {{secret_path: /app, prune: true}}
    """).succeeded()
    assert run.result("lookup")["msg"] == {
        "BY_COMMAND": "command's\n", "BY_MODULE": "module's", "DB_PASSWORD": "seeded password",
    }  # fmt: skip
    by_name = {entry["name"]: entry for entry in run.result("info")["secrets"]}
    assert list(by_name) == ["BY_COMMAND", "BY_MODULE", "DB_PASSWORD"]
    pulled = by_name["DB_PASSWORD"]
    assert (pulled["job"], pulled["project_id"], pulled["environment"]) == ("default", PROJECT, "dev")
    assert (pulled["path"], pulled["version"], by_name["BY_COMMAND"]["job"]) == ("/app", 1, "")
    assert run.result("unchanged")["changed"] is False
    assert run.result("deleted by module")["changed"] is True
    assert run.result("what was deleted by hand comes back")["created"] == ["DB_USER"]
    assert {entry["name"] for entry in json.loads(command("vault", "list", "--json"))} == names
    assert vault.state()["generation"] == vault.open().verify().generation


def test_lookup_returns_exact_names_and_values(ansible: Controller, alone: LocalVault) -> None:
    held = {f"V{number}": value for number, value in enumerate(EXACT)} | {name: f"of {name}" for name in ODD_NAMES}
    alone.hold(held)
    ansible.tasks(
        f"""
        - ansible.builtin.copy:
            content: "{{{{ lookup('{LOOKUP}') | to_json }}}}"
            dest: "{{{{ playbook_dir }}}}/mapping"
        - ansible.builtin.copy:
            content: "{{{{ query('{LOOKUP}', *(names | from_json)) | to_json }}}}"
            dest: "{{{{ playbook_dir }}}}/list"
    """,
        variables={**ansible.variables, "names": json.dumps([name for name in held if name != "{{ x }}"])},
    ).succeeded()

    assert json.loads((ansible.folder / "mapping").read_text("utf-8")) == held
    assert json.loads((ansible.folder / "list").read_text("utf-8")) == [
        value for name, value in held.items() if name != "{{ x }}"
    ]


def test_missing_name_in_lookup_follows_default_and_on_missing(ansible: Controller, alone: LocalVault) -> None:
    alone.hold({"A": "a", "B": "b"})
    looks = {
        "in order": "'B', 'A', 'B'",
        "default": "'A', 'X', default='none'",
        "empty default": "'X', default=''",
        "skip": "'X', 'A', on_missing='skip'",
        "warn": "'X', on_missing='warn'",
        "no names": "[]",
        "error": "'X'",
        "wrong choice": "'X', on_missing='ignore'",
        "shared option": "'A', url='https://infisical.example.com'",
        "number": "12",
        "no such vault": "'A', vault_path='/not/there'",
        "relative": "'A', vault_path='vault'",
        "two keys": "'A', key_file='/k', passphrase='p'",
    }
    run = ansible.tasks(
        "\n".join(
            f"- name: {name}\n  ansible.builtin.debug: {{msg: \"{{{{ query('{LOOKUP}', {arguments}) }}}}\"}}\n"
            "  ignore_errors: true"
            for name, arguments in looks.items()
        )
    ).succeeded()

    assert {name: run.result(name)["msg"] for name in list(looks)[:6]} == {
        "in order": ["b", "a", "b"], "default": ["a", "none"], "empty default": [""], "skip": ["a"], "warn": [],
        "no names": [],
    }  # fmt: skip
    assert "Entry 'X' does not exist" in run.text.partition("TASK [warn]")[2].partition("TASK [no names]")[0]
    for name, said in {
        "error": f"Entry 'X' does not exist in the vault {alone.path}",
        "wrong choice": "on_missing: must be one of error, warn, skip (got 'ignore')",
        "shared option": "url: is not an option of this lookup. The options are: default, key_credential, key_file,",
        "number": "_terms: must be a string",
        "no such vault": "/not/there",
        "relative": "must be an absolute path",
        "two keys": "key_file",
    }.items():
        assert said in run.failure(name)["msg"], run.failure(name)["msg"]


def test_vault_options_can_come_from_every_documented_source(ansible: Controller, server: DevServer) -> None:
    by_passphrase = {"infisical_passphrase": PASSPHRASE}
    vaults = {name: LocalVault(ansible.folder / name).hold({"WHERE": name}) for name in ("one", "two", "three", "four")}
    vaults["two"].open().rekey(Passphrase(PASSPHRASE))
    tasks = f"""
        - name: module
          {INFO}: {{name: WHERE, read_values: true}}
          register: found
        - name: found
          ansible.builtin.debug: {{msg: "{{{{ [found.secrets[0].value, lookup('{LOOKUP}', 'WHERE')] }}}}"}}
    """

    def found(tasks: str = tasks, **options: Any) -> list[str]:
        return list(ansible.tasks(tasks, **{"variables": {}, **options}).succeeded().result("found")["msg"])

    one, two, three, four = (vaults[name] for name in ("one", "two", "three", "four"))
    by_environment = {"INFISICAL_VAULT_PATH": str(three.path), "INFISICAL_KEY_FILE": str(three.key)}
    ini = f"[infisical]\nvault_path = {four.path}\nkey_file = {four.key}\n"
    assert found(config=ini) == ["four", "four"]
    assert found(config=ini, environment=by_environment) == ["three", "three"]
    assert found(variables={"folder": str(one.folder), "infisical_vault_path": "{{ folder }}/secrets.vault",
                            "infisical_key_file": "{{ folder }}/vault.key"}, environment=by_environment) == [
        "one", "one",
    ]  # fmt: skip
    # A key set by the task takes precedence over keys from other sources.
    named = tasks.replace("read_values: true", f"read_values: true, {one.arguments}").replace(
        "'WHERE'", f"'WHERE', vault_path='{one.path}', key_file='{one.key}'"
    )
    assert found(named, variables=by_passphrase, environment=by_environment) == ["one", "one"]
    assert found(variables={**by_passphrase, "infisical_vault_path": str(two.path)}) == ["two", "two"]
    assert server.requests() == []


def test_only_a_push_connects_to_infisical(ansible: Controller, server: DevServer, vault: LocalVault) -> None:
    run = ansible.tasks(
        f"""
        - name: entry
          {VAULT}: {{name: A, value: a, create_key: true}}
        - name: list
          {INFO}:
        - name: list with a shared option
          {INFO}: {{url: "{server.url}"}}
          ignore_errors: true
        - name: pushed
          {VAULT}: {{name: A, value: a, push: true}}
        - name: looked up in Infisical
          ansible.builtin.debug: {{msg: "{{{{ lookup('keyfleet.infisical.infisical_secret', 'A') }}}}"}}
        - name: pushed again
          {VAULT}: {{name: A, value: b, push: true}}
        - name: and looked up again
          ansible.builtin.debug: {{msg: "{{{{ lookup('keyfleet.infisical.infisical_secret', 'A') }}}}"}}
    """,
        environment={"ANSIBLE_INJECT_INVOCATION": "true"},  # from ansible-core 2.21 on, not shown by default
    ).succeeded()

    assert run.result("entry")["invocation"]["module_args"]["url"] is None
    assert "Unsupported parameters" in run.failure("list with a shared option")["msg"]
    assert len(server.requests("/universal-auth/login$")) == 1
    assert [run.result(name)["msg"] for name in ("looked up in Infisical", "and looked up again")] == ["a", "b"]


def test_failed_or_pending_push_keeps_the_vault(
    ansible: Controller, server: DevServer, seeded: Callable[..., None], vault: LocalVault
) -> None:
    seeded(approvals=[{"environment": "dev", "path": "/app"}])
    vault.hold({"A": "old"})
    run = ansible.tasks(f"""
        - name: wrong environment
          {VAULT}: {{name: A, value: new, push: true, environment: nowhere}}
          ignore_errors: true
        - name: approval
          {VAULT}: {{name: A, value: new, push: true, secret_path: /app}}
    """).succeeded()

    assert run.failure("wrong environment")["conclusion"] == "scope_missing"
    pending = run.result("approval")
    assert (pending["changed"], pending["approval_pending"], pending["pushed"]) == (True, True, "create")
    assert pending["approval_id"] and pending["action"] is None
    assert vault.values() == {"A": "old"}


def test_restored_older_vault_is_detected_by_every_state_file(ansible: Controller, alone: LocalVault) -> None:
    alone.hold({"A": "a"})
    state = alone.folder / "job.json"
    older = alone.path.read_bytes()
    ansible.tasks(f"""
        - {VAULT}: {{name: A, value: b, state_file: {state}}}
    """).succeeded()
    alone.path.write_bytes(older)
    run = ansible.tasks(f"""
        - name: module
          {VAULT}: {{name: A, value: c, state_file: {state}}}
          ignore_errors: true
        - name: info
          {INFO}: {{state_file: {state}}}
          ignore_errors: true
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'A', state_file='{state}') }}}}"}}
          ignore_errors: true
        - name: another state file
          {INFO}:
    """).succeeded()

    for name in ("module", "info"):
        assert run.failure(name)["conclusion"] == "older_generation"
    assert "an older file with outdated secrets was restored" in run.failure("lookup")["msg"]
    assert alone.path.read_bytes() == older


def test_unwritable_vault_prevents_a_push(ansible: Controller, server: DevServer, vault: LocalVault) -> None:
    vault.hold({"A": "old"})
    ansible.variables["infisical_secret_path"] = "/app"
    run = ansible.tasks(f"""
        - name: no directory
          {VAULT}: {{name: DB_USER, value: new, push: true, vault_path: /not/there/vault}}
          ignore_errors: true
        - name: no directory for the state
          {VAULT}: {{name: DB_USER, value: new, push: true, state_file: /not/there/state.json}}
          ignore_errors: true
        - name: nor for an entry alone
          {VAULT}: {{name: A, state: absent, state_file: /not/there/state.json}}
          ignore_errors: true
    """).succeeded()

    assert run.failure("no directory")["conclusion"] == "storage"
    for name in ("no directory for the state", "nor for an entry alone"):
        assert "state_file: '/not/there'" in run.failure(name)["msg"]
    assert vault.values() == {"A": "old"}
    assert server.values(PROJECT, "dev", "/app")["DB_USER"] == ["shop"]


def test_partial_push_is_completed_by_the_next_run(ansible: Controller, server: DevServer, vault: LocalVault) -> None:
    vault.hold({"BIG": "x" * (MEBIBYTES_OF_A_FILE + 1) * 2**20})
    small = ansible.folder / "python"
    small.write_text(f'#!/bin/sh\nulimit -f {MEBIBYTES_OF_A_FILE * 2048}\nexec {ansible.python} "$@"\n', "utf-8")
    small.chmod(0o700)
    task = f"{VAULT}: {{name: DB_USER, value: new, push: true, secret_path: /app}}"
    run = ansible.tasks(f"""
        - name: first
          {task}
          vars: {{ansible_python_interpreter: {small}}}
          ignore_errors: true
        - name: entry alone
          {VAULT}: {{name: A, value: a}}
          vars: {{ansible_python_interpreter: {small}}}
          ignore_errors: true
        - name: second
          {task}
    """).succeeded()

    first, second = run.failure("first"), run.result("second")
    assert (first["conclusion"], first["changed"], first["pushed"]) == ("partial", True, "update")
    assert run.failure("entry alone")["conclusion"] == "storage"
    assert (second["changed"], second["action"], second["pushed"]) == (True, "create", None)
    assert server.values(PROJECT, "dev", "/app")["DB_USER"] == ["new"]
    assert vault.values().keys() == {"BIG", "DB_USER"}


def test_every_vault_or_key_error_has_its_conclusion(ansible: Controller, alone: LocalVault) -> None:
    alone.hold({"A": "a"})
    first = alone.path.read_bytes()
    cases: dict[str, tuple[str, str]] = {"missing": ("vault_path: /not/there/vault", "vault_missing")}

    def case(name: str, conclusion: str, content: bytes = first, mode: int = 0o600) -> Path:
        place = LocalVault(ansible.folder / name)
        place.folder.mkdir(mode=0o700)
        place.path.write_bytes(content)
        place.path.chmod(mode)
        cases[name] = (f"vault_path: {place.path}", conclusion)
        return place.folder

    (case("wrong_key", "wrong_key") / "other.key").write_bytes(b"k" * 32)
    (ansible.folder / "wrong_key" / "other.key").chmod(0o600)
    cases["wrong_key"] = (cases["wrong_key"][0] + f", key_file: {ansible.folder}/wrong_key/other.key", "wrong_key")
    case("passphrase", "wrong_key")
    cases["passphrase"] = (cases["passphrase"][0] + f", passphrase: {PASSPHRASE}", "wrong_key")
    case("damaged", "vault_damaged", first[:-1] + bytes([first[-1] ^ 1]))
    case("newer", "newer_vault", first[:8] + b"\x00\x02" + first[10:])
    case("no_vault", "not_a_vault", b"something else entirely\n" * 20)
    case("readable", "unsafe_file", mode=0o644)
    (case("link", "unsafe_file") / "secrets.vault").unlink()
    (ansible.folder / "link" / "secrets.vault").symlink_to(alone.path)
    older = case("older", "older_generation")
    (older / "infisical_sync_state.json").write_text(json.dumps({
        "environment": "dev", "project_ids": [], "secrets": {}, "generation": 99,
        "vault_id": alone.open().read().vault_id,
    }), "utf-8")  # fmt: skip
    (older / "infisical_sync_state.json").chmod(0o600)

    before = {path: content for path, content in files_below(ansible.folder).items() if "secrets.vault" in path}
    run = ansible.tasks(
        "\n".join(
            f"- name: {name}, {module}\n  keyfleet.infisical.{module}: {{{arguments}{more}}}\n  ignore_errors: true"
            for name, (arguments, _conclusion) in cases.items()
            for module, more in (("infisical_vault_info", ""), ("infisical_vault", ", name: A, value: b"))
            if (name, module) != ("missing", "infisical_vault")
        )
    ).succeeded()
    for name, (_arguments, conclusion) in cases.items():
        results = [run.failure(f"{name}, infisical_vault_info")]
        if name != "missing":
            results.append(run.failure(f"{name}, infisical_vault"))
        assert [result["conclusion"] for result in results] == [conclusion] * len(results), (name, results)
    after = {path: content for path, content in files_below(ansible.folder).items() if "secrets.vault" in path}
    assert after == before


@pytest.mark.oldest
def test_bad_input_error_names_the_option(ansible: Controller, alone: LocalVault) -> None:
    alone.hold({"A": "a"})
    cases = (
        (f"{VAULT}: {{name: A, value: 012}}", "value: must be a string, not int"),
        (f"{VAULT}: {{name: A, value: [x]}}", "value: must be a string, not list"),
        (f"{VAULT}: {{name: 12, value: x}}", "name: must be a string, not int"),
        (f"{VAULT}: {{name: ' ', value: x}}", "name: must not be empty"),
        (f"{VAULT}: {{name: A}}", "state is present but all of the following are missing: value"),
        (f"{VAULT}: {{name: A, value: x, passphrase: 12}}", "passphrase: must be a string"),
        (f"{VAULT}: {{name: A, value: x, vault_path: relative}}", "vault_path: must be an absolute path"),
        (f"{VAULT}: {{name: A, value: x, push: true}}", "url: not given"),
        (f"{VAULT}: {{name: A, value: x, key_file: /k, passphrase: long enough}}", "key_file"),
        (f"{INFO}: {{name: [A]}}", "name: must be a string, not list"),
        (f"{INFO}: {{state_file: relative}}", "state_file: must be an absolute path"),
    )
    run = ansible.tasks(
        "\n".join(f"- name: '{n}'\n  {task}\n  ignore_errors: true" for n, (task, _said) in enumerate(cases))
    ).succeeded()
    for number, (task, said) in enumerate(cases):
        failure = run.failure(str(number))
        assert (failure["conclusion"], said in failure["msg"]) == ("configuration", True), (task, failure["msg"])
    assert alone.values() == {"A": "a"}


# Leaks

SECRET, OLD_SECRET, CLIENT_SECRET, PASSPHRASE_CANARY = (
    Canary(f"Canary{number}x7d3e1b8f42") for number in ("Value", "Pulled", "ClientSecret", "Passphrase")
)
CANARIES = (SECRET, OLD_SECRET, CLIENT_SECRET, PASSPHRASE_CANARY)

LOUD_TASKS = f"""
    - name: pulled
      {SYNC}: {{create_key: true}}
    - name: plan
      {SYNC}: {{secret_path: /canary, recursive: true}}
      check_mode: true
    - name: pulled under a passphrase
      {SYNC}:
        vault_path: "{{{{ playbook_dir }}}}/vault/second.vault"
        passphrase: "{{{{ passphrase }}}}"
        state_file: "{{{{ playbook_dir }}}}/vault/second.json"
        state_hash: hmac-sha256
    - name: pushed
      {SYNC}: {{direction: push, secret_path: /pushed, create_path: true, secrets: {{A: "{{{{ secret }}}}"}}}}
    - name: pushed from the vault, async
      {SYNC}: {{direction: push, secret_path: /pushed, from_vault: true}}
      async: 60
      poll: 1
    - name: entry
      {VAULT}: {{name: BY_HAND, value: "{{{{ secret }}}}"}}
    - name: entry updated and pushed
      {VAULT}: {{name: BY_HAND, value: "{{{{ secret }}}}.", push: true}}
    - name: listed
      {INFO}:
    - name: values
      {INFO}: {{read_values: true}}
      register: values
    - name: looked up
      ansible.builtin.assert:
        that:
          - lookup('{LOOKUP}', 'BY_HAND') == secret ~ '.'
          - values.secrets | selectattr('name', 'eq', 'BY_HAND') | map(attribute='value') | first == secret ~ '.'
    - name: values that would be shown later
      {INFO}: {{read_values: true}}
      async: 60
      poll: 0
      ignore_errors: true
    - name: value of another type
      {SYNC}: {{direction: push, secrets: {{A: ["{{{{ secret }}}}"]}}}}
      ignore_errors: true
    - name: secrets of another type
      {SYNC}: {{direction: push, secrets: ["{{{{ secret }}}}"]}}
      ignore_errors: true
    - name: unknown option
      {VAULT}: {{name: X, value: "{{{{ secret }}}}", no_such_option: "{{{{ secret }}}}"}}
      ignore_errors: true
    - name: wrong passphrase
      {INFO}: {{passphrase: "{{{{ passphrase }}}}!", vault_path: "{{{{ playbook_dir }}}}/vault/second.vault"}}
      ignore_errors: true
    - name: passphrase of another type
      {INFO}: {{passphrase: ["{{{{ passphrase }}}}"]}}
      ignore_errors: true
    - name: lookup with a wrong passphrase
      ansible.builtin.debug:
        msg: "{{{{ lookup('{LOOKUP}', passphrase=passphrase ~ 'x') }}}}"
      vars: {{infisical_vault_path: "{{{{ playbook_dir }}}}/vault/second.vault"}}
      ignore_errors: true
    - name: source that is no dotenv
      {SYNC}: {{direction: push, source_file: "{{{{ source }}}}"}}
      ignore_errors: true
    - name: push that the server refuses
      {SYNC}: {{direction: push, secret_path: /pushed, secrets: {{ECHO: "{{{{ secret }}}}"}}}}
      ignore_errors: true
"""
FAILED = (
    "values that would be shown later", "value of another type", "secrets of another type", "unknown option",
    "wrong passphrase", "passphrase of another type", "lookup with a wrong passphrase", "source that is no dotenv",
    "push that the server refuses",
)  # fmt: skip


@pytest.fixture
def planted(server: DevServer, shop: dict[str, Any]) -> dict[str, Any]:
    """Start a server with canaries; return the variables of hosts that use it."""
    document: dict[str, Any] = copy.deepcopy(SEED)
    document["projects"][0]["secrets"] += [
        {"environment": "dev", "path": "/canary", "key": "PULLED", "value": str(OLD_SECRET)},
        {"environment": "dev", "path": "/canary/below", "key": "SHORT", "value": "1"},
    ]
    document["identities"][0]["client_secret"] = CLIENT_SECRET.plain
    server.seed(document)
    server.arm("status", status=400, path="ECHO", method="POST", message=f"refused: {SECRET}")
    return {
        **shop,
        "infisical_client_secret": CLIENT_SECRET.plain,
        "infisical_secret_path": "/canary",
        # As a value that another lookup gives: whoever writes the task never sees it.
        "secret_parts": [SECRET.core[:9], SECRET.core[9:]],
        "secret": str(SECRET).replace(SECRET.core, "{{ secret_parts | join }}").replace("{{ end", "{{ '{{ end' }}"),
        "passphrase_parts": [PASSPHRASE_CANARY.core[:9], PASSPHRASE_CANARY.core[9:]],
        "passphrase": "{{ passphrase_parts | join }}.plain",
    }


@pytest.mark.core
def test_values_leak_nowhere_outside_the_encrypted_vault(
    ansible: Controller, server: DevServer, planted: dict[str, Any], vault: LocalVault, tmp_path_factory: Any
) -> None:
    source = tmp_path_factory.mktemp("source") / "source"
    source.write_text(f'A="{SECRET.core}\n', "utf-8")
    run = _loud(ansible, LOUD_TASKS, {**planted, **vault.variables, "source": str(source)})

    assert leaks(CANARIES, places(ansible, run)) == {}
    assert {"secrets.vault", "second.vault", "infisical_sync_state.json", "second.json"} <= {
        path.name for path in ansible.left()
    }
    assert vault.values() == {"PULLED": str(OLD_SECRET), "BY_HAND": f"{SECRET}."}
    for name in FAILED:
        run.failure(name)
    assert "censored" in run.result("values")
    assert run.result("plan")["created"] == ["SHORT"]


def _loud(ansible: Controller, tasks: str, variables: dict[str, Any]) -> Run:
    environment = {
        "ANSIBLE_INJECT_INVOCATION": "true",
        "ANSIBLE_LOG_PATH": str(ansible.folder / "log"),
        "ANSIBLE_PIPELINING": "false",  # so that modules lie in files while they run
    }
    arguments = ("-vvvv", "--diff")
    return ansible.tasks(
        tasks, variables=variables, environment=environment, arguments=arguments, watch=True
    ).succeeded()


def test_leak_search_finds_a_value_that_a_task_printed(
    ansible: Controller, planted: dict[str, Any], vault: LocalVault
) -> None:
    vault.hold({"SHOWN": str(OLD_SECRET)})
    look = f"- ansible.builtin.debug: {{msg: \"{{{{ lookup('{LOOKUP}', 'SHOWN') }}}}\"}}"
    run = _loud(ansible, look, {**planted, **vault.variables})
    assert {"printed", "shown to callbacks", "log"} <= set(leaks(CANARIES, places(ansible, run)))


@pytest.mark.parametrize("profile", PROFILES)
def test_pushed_value_with_white_space_is_unchanged_next_time(
    ansible: Controller, server: DevServer, vault: LocalVault, profile: str
) -> None:
    rounds = "\n".join(
        f"""
        - name: entries, round {number}
          {VAULT}: {{name: "{{{{ item.name }}}}", value: "{{{{ item.value }}}}", push: true}}
          loop: "{{{{ entries }}}}"
        - name: held, round {number}
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}') }}}}"}}
        - name: pull, round {number}
          {SYNC}: {{}}
        """
        for number in (1, 2)
    )
    server.put_secret(PROJECT, "dev", "/trimmed", "THERE", " y ")
    vault.hold({"HELD": " z "})
    pushed = {"NEW": " x ", "NEWLINE": " x\n\n", "THERE": " y ", "HELD": " z "}
    entries = [{"name": name, "value": value} for name, value in pushed.items()]
    variables = {**ansible.variables, "infisical_secret_path": "/trimmed", "entries": entries}
    run = ansible.tasks(rounds, variables=variables).succeeded()

    assert [item["action"] for item in run.items("entries, round 1")] == ["create", "create", "create", None]
    # The value read from the server, or the value in the vault, or the stripped value is stored.
    assert run.result("held, round 1")["msg"] == {"NEW": "x", "NEWLINE": "x\n", "THERE": " y ", "HELD": " z "}
    stored = {name: values[0] for name, values in server.values(PROJECT, "dev", "/trimmed").items()}
    assert stored["NEW"] != pushed["NEW"]
    assert vault.values() == stored
    assert [(item["action"], item["pushed"]) for item in run.items("entries, round 2")] == [(None, None)] * len(pushed)
    assert [run.result(f"{task}, round 2")["changed"] for task in ("entries", "pull")] == [False, False]


def test_key_options_are_the_same_in_modules_lookup_and_command() -> None:
    known = set(keys.KEY_OPTIONS)
    assert set(inspect.signature(keys.key_source).parameters) - {"credentials"} == known  # the directory of systemd
    assert set(options.VAULT) - {"vault_path"} == known
    assert set(local_vault.VAULT_OPTIONS) - {"vault_path", "state_file"} == known
    assert {option.name for option in OPTIONS if option.section == "vault"} - {
        "path", "state_file", "lock_wait",
    } == known  # fmt: skip
