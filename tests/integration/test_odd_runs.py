# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unusual runs: rejected credentials, empty lists, dates, and one server with two addresses."""

from __future__ import annotations

from typing import Any

import pytest
from dev_server.client import DevServer
from integration.controller import LOOKUP, Controller
from integration.shop import PROFILES, PROJECT, SEED, login_of

LOGIN = "/universal-auth/login$"


def logins(server: DevServer) -> int:
    return len(server.requests(LOGIN))


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param(
            "- keyfleet.infisical.infisical_status_info:\n"
            "  register: status\n  until: status.login_accepted\n  retries: 3\n  delay: 0\n  ignore_errors: true",
            id="status_info",
        ),
        pytest.param(
            f"- ansible.builtin.debug: {{msg: \"{{{{ lookup('{LOOKUP}', 'SECRET_1', cache='none') }}}}\"}}",
            id="lookup without a cache",
        ),
        pytest.param("- keyfleet.infisical.infisical_secret: {name: A, value: b}\n  async: 30\n  poll: 1", id="async"),
    ],
)
def test_wrong_credentials_are_sent_once_for_five_hosts(ansible: Controller, server: DevServer, tasks: str) -> None:
    ansible.tasks(tasks, hosts=5, extra={"infisical_client_secret": "wrong"})
    assert logins(server) == 1


def test_status_info_returns_option_and_login_errors(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks("""
        - {name: well, keyfleet.infisical.infisical_status_info: }
        - {name: timeout, keyfleet.infisical.infisical_status_info: {timeout: abc}}
        - {name: nothing, keyfleet.infisical.infisical_status_info: {timeout: 0}}
        - {name: method, keyfleet.infisical.infisical_status_info: {auth_method: foo}}
        - {name: down, keyfleet.infisical.infisical_status_info: {url: "http://127.0.0.1:9"}}
        - {name: secret, keyfleet.infisical.infisical_status_info: {client_secret: wrong}}
    """).succeeded()

    assert run.result("well")["login_accepted"]
    for name, option in (("timeout", "timeout"), ("nothing", "timeout"), ("method", "auth_method")):
        assert run.result(name)["conclusion"] == "configuration"
        assert option in run.result(name)["message"]
    assert (run.result("down")["reachable"], run.result("down")["conclusion"]) == (False, "unreachable")
    assert (run.result("secret")["reachable"], run.result("secret")["login_accepted"]) == (True, False)


def test_single_server_error_does_not_cause_another_login(ansible: Controller, server: DevServer) -> None:
    server.arm("status", status=503, path=LOGIN, times=1)
    ansible.tasks("- keyfleet.infisical.infisical_secret_info:", hosts=6).succeeded()
    assert logins(server) == 2


def test_revoked_token_is_renewed_once_for_all_hosts(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks(
        """
        - {keyfleet.infisical.infisical_secret_info: {name: SECRET_1}}
        - ansible.builtin.uri: {url: "{{ infisical_url }}/_control/tokens/revoke", method: POST}
          run_once: true
        - {name: after, keyfleet.infisical.infisical_secret_info: {name: SECRET_1}}
    """,
        hosts=4,
    ).succeeded()
    assert logins(server) == 2
    assert {result["invocation"]["module_args"]["auth_method"] for result in run.results("after")} == {"token"}


def test_host_gets_no_credentials_if_all_tokens_are_rejected(ansible: Controller, server: DevServer) -> None:
    server.arm("status", status=403, error="TokenError", message="rejected", path="/secrets", times=20)
    run = ansible.tasks("- {name: refused, keyfleet.infisical.infisical_secret_info: {name: SECRET_1}}")
    failure = run.failure("refused")
    assert failure["conclusion"] == "token_rejected"
    assert failure["invocation"]["module_args"]["auth_method"] == "token"
    assert failure["invocation"]["module_args"]["client_secret"] is None
    assert logins(server) == 2


def seed_few(server: DevServer, uses: int) -> None:
    """Seed the server with an identity whose tokens can be used `uses` times."""
    server.seed({**SEED, "identities": [{**SEED["identities"][0], "token_uses": uses}]})


PUSH = """
    - name: push
      keyfleet.infisical.infisical_sync:
        direction: push
        secret_path: /new
        create_path: true
        secrets: {A: one, B: two, C: three}
"""


@pytest.mark.parametrize("profile", PROFILES)
def test_push_succeeds_with_three_uses_per_token(ansible: Controller, server: DevServer, profile: str) -> None:
    seed_few(server, 3)
    run = ansible.tasks(PUSH).succeeded()
    assert run.result("push")["changed"]
    assert logins(server) <= 3
    assert server.values(PROJECT, "dev", "/new") == {"A": ["one"], "B": ["two"], "C": ["three"]}


def test_failed_push_reports_that_tokens_allow_a_single_use(ansible: Controller, server: DevServer) -> None:
    seed_few(server, 1)
    failure = ansible.tasks(PUSH).failure("push")
    assert failure["conclusion"] == "token_rejected"
    assert "The identity's tokens allow 1 use, and this needs more." in failure["msg"]
    assert "maximum number of uses" in failure["msg"]
    assert logins(server) == 2


def test_lookup_is_up_to_date_after_an_uncertain_write(ansible: Controller, server: DevServer) -> None:
    look = f"{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"
    server.arm("delay", method="PATCH", seconds=5, times=2)
    run = ansible.tasks(f"""
        - {{name: before, ansible.builtin.debug: {{msg: "{look}"}}}}
        - keyfleet.infisical.infisical_secret: {{name: SECRET_1, value: late}}
          timeout: 2
          ignore_errors: true
        - {{name: too early, ansible.builtin.debug: {{msg: "{look}"}}}}
        - ansible.builtin.wait_for: {{timeout: 5}}
        - {{name: late, ansible.builtin.debug: {{msg: "{look}"}}}}
        - keyfleet.infisical.infisical_secret: {{name: SECRET_1, value: async}}
          async: 30
          poll: 0
          register: job
        - {{name: meanwhile, ansible.builtin.debug: {{msg: "{look}"}}}}
        - ansible.builtin.async_status: {{jid: "{{{{ job.ansible_job_id }}}}"}}
          register: done
          until: done is finished
          retries: 40
          delay: 0.5
        - {{name: async, ansible.builtin.debug: {{msg: "{look}"}}}}
    """).succeeded()
    assert [run.result(name)["msg"] for name in ("before", "late", "meanwhile", "async")] == [
        "value 1",
        "late",
        "late",
        "async",
    ]


@pytest.mark.core
def test_undefined_variable_error_names_the_variable(ansible: Controller) -> None:
    run = ansible.tasks(f"""
        - {{name: undefined, ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'A', environment=nope) }}}}"}}}}
    """)
    assert "'nope' is undefined" in run.failure("undefined")["msg"]


def test_empty_list_of_names_returns_an_empty_list(ansible: Controller) -> None:
    run = ansible.tasks(f"""
        - {{name: empty, ansible.builtin.debug: {{msg: "{{{{ query('{LOOKUP}', []) }}}}"}}}}
        - {{name: all, ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}') | length }}}}"}}}}
        - name: with
          ansible.builtin.debug: {{msg: "{{{{ item }}}}"}}
          with_{LOOKUP}: [SECRET_1, SECRET_2]
    """).succeeded()
    assert run.result("empty")["msg"] == []
    assert int(run.result("all")["msg"]) == 50
    assert [item["msg"] for item in run.items("with")] == ["value 1", "value 2"]


@pytest.mark.core
def test_unquoted_yaml_values_are_refused_and_not_stored(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks("""
        - {name: date, keyfleet.infisical.infisical_secret: {name: A, value: 2026-01-01}, ignore_errors: true}
        - {name: time, keyfleet.infisical.infisical_secret: {name: A, value: 2026-01-01 10:00:00}, ignore_errors: true}
        - {name: name, keyfleet.infisical.infisical_secret: {name: 2026-01-01, value: x}, ignore_errors: true}
        - {name: slug, keyfleet.infisical.infisical_secret: {name: A, value: x, environment: 010}, ignore_errors: true}
    """)
    for task, option in (("date", "value"), ("time", "value"), ("name", "name"), ("slug", "environment")):
        assert run.failure(task)["msg"].startswith(f"{option}: must be a string, not ")
        assert "Quote it" in run.failure(task)["msg"]
    assert "A" not in server.values(PROJECT, "dev")


@pytest.mark.parametrize("poll", [pytest.param(0, marks=pytest.mark.core), 1])
def test_async_task_with_values_is_refused(ansible: Controller, server: DevServer, poll: int) -> None:
    run = ansible.tasks(f"""
        - {{name: kept, keyfleet.infisical.infisical_secret_info: {{read_values: true}}, async: 30, poll: {poll}}}
    """)
    assert run.failure("kept")["msg"].startswith("read_values: ")
    assert server.requests() == []


def test_lookup_sees_writes_through_another_address(ansible: Controller, server: DevServer) -> None:
    look = f"{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"
    run = ansible.tasks(
        f"""
        - {{name: before, ansible.builtin.debug: {{msg: "{look}"}}}}
        - keyfleet.infisical.infisical_secret:
            {{name: SECRET_1, value: new, url: "{{{{ infisical_url | replace('127.0.0.1', 'localhost') }}}}",
             project_id: "{PROJECT} "}}
        - {{name: after, ansible.builtin.debug: {{msg: "{look}"}}}}
    """
    ).succeeded()
    assert (run.result("before")["msg"], run.result("after")["msg"]) == ("value 1", "new")


def test_invalid_boolean_of_the_lookup_is_refused(ansible: Controller) -> None:
    run = ansible.tasks(f"""
        - {{name: typo, ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', recursive='ture') }}}}"}}}}
    """)
    assert "recursive: must be true or false" in str(run.failure("typo"))


def test_file_that_is_not_a_state_file_is_kept(ansible: Controller, server: DevServer) -> None:
    other = ansible.folder / "app.json"
    other.write_text('{"my": "config"}', "utf-8")
    run = ansible.tasks(f"""
        - name: other
          keyfleet.infisical.infisical_secret: {{name: A, value: b, state_file: "{other}"}}
          ignore_errors: true
        - name: nowhere
          keyfleet.infisical.infisical_secret: {{name: A, value: b, state_file: "{other}.d/x"}}
    """)
    assert "is not a state file" in run.failure("other")["msg"]
    assert "must be a directory" in run.failure("nowhere")["msg"]
    assert other.read_text("utf-8") == '{"my": "config"}'
    assert "A" not in server.values(PROJECT, "dev")


def test_check_mode_without_read_access_prints_a_warning(ansible: Controller, server: DevServer) -> None:
    state = ansible.folder / "state.json"
    write = f"keyfleet.infisical.infisical_secret: {{name: A, value: b, state_file: '{state}'"
    run = ansible.tasks(
        f"""
        - {{name: nowhere, {write}, secret_path: /nowhere}}, check_mode: true, ignore_errors: true}}
        - {{name: new, {write}}}}}
        - {{name: comment, {write}, comment: new}}}}
    """,
        extra=login_of("writer"),
    )
    assert run.failure("nowhere")["conclusion"] == "scope_missing"
    assert run.result("new")["changed"]
    assert not run.result("comment")["changed"]
    assert "cannot be compared" in run.text


def quickstart(ansible: Controller, *arguments: str) -> dict[str, int]:
    variables: dict[str, Any] = {f"INFISICAL_{name[10:].upper()}": str(v) for name, v in ansible.variables.items()}
    run = ansible.run(
        "ansible-playbook",
        ["keyfleet.infisical.quickstart", "-e", f"quickstart_file={ansible.folder / 'quickstart.env'}", *arguments],
        environment=variables,
        variables={},
        extra={"ansible_python_interpreter": ansible.python},
    )
    return dict(run.succeeded().recap["localhost"])


def test_quick_start_example_is_idempotent_and_cleans_up(ansible: Controller, server: DevServer) -> None:
    quickstart(ansible, "--check", "--diff")
    assert not (ansible.folder / "quickstart.env").exists()
    assert server.values(PROJECT, "dev", "/quickstart") == {}
    assert quickstart(ansible)["changed"] == 4
    assert len((ansible.folder / "quickstart.env").read_text("utf-8").splitlines()) == 6
    assert quickstart(ansible, "-v")["changed"] == 0
    quickstart(ansible, "-e", "quickstart_state=absent")
    assert not (ansible.folder / "quickstart.env").exists()
    assert server.values(PROJECT, "dev", "/quickstart") == {}
