# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run costs at the server: one login and one listing, over tasks, hosts and forks; and never a second wrong
login."""

from __future__ import annotations

from typing import Any

import pytest
from dev_server.client import DevServer
from integration.controller import LOOKUP, Controller
from integration.shop import PROFILES, PROJECT, login_of

LOGIN = "/universal-auth/login$"
LISTS = "/secrets(/raw)?$"
SECRETS = "/secrets"


def count(server: DevServer, path: str) -> int:
    """How many requests there were whose path the expression finds."""
    return len(server.requests(path))


@pytest.mark.parametrize("profile", PROFILES)
def test_50_lookups_in_one_template_are_two_requests(ansible: Controller, server: DevServer, profile: str) -> None:
    names = range(50)
    text = "\n".join(f"{{{{ lookup('{LOOKUP}', 'SECRET_{number}') }}}}" for number in names)
    (ansible.folder / "fifty.j2").write_text(text, "utf-8")
    if profile == "2024":  # otherwise it is asked once for the routes that it does not have
        ansible.variables["infisical_api_version"] = "v3"

    ansible.tasks("""
        - ansible.builtin.template: {src: fifty.j2, dest: "{{ playbook_dir }}/fifty", mode: "0600"}
    """).succeeded()

    assert (ansible.folder / "fifty").read_text("utf-8").splitlines() == [f"value {number}" for number in names]
    assert [(entry["method"], entry["status"]) for entry in server.requests()] == [("POST", 200), ("GET", 200)]


@pytest.mark.once
def test_20_hosts_with_10_lookups_each_are_one_login_and_one_listing(ansible: Controller, server: DevServer) -> None:
    one = "- ansible.builtin.debug: {msg: \"{{ lookup('%s', 'SECRET_%d') }} for {{ inventory_hostname }}\"}"

    run = ansible.tasks("\n".join(one % (LOOKUP, number) for number in range(10)), hosts=20, arguments=["-f", "5"])

    assert run.succeeded().text.count("value 9 for host") == 20
    assert (count(server, LOGIN), count(server, LISTS), count(server, "")) == (1, 1, 2)


def test_a_server_without_the_newest_routes_is_asked_for_them_once_a_run(
    ansible: Controller, server: DevServer
) -> None:
    server.use_profile("2024")
    ansible.tasks(
        f"""
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
        - name: another folder
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'DB_USER', secret_path='/app') }}}}"}}
    """,
        hosts=3,
    ).succeeded()

    assert (count(server, LOGIN), count(server, "/v4/"), count(server, LISTS)) == (1, 1, 3)


def test_a_written_secret_is_looked_up_anew_by_every_host(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks(
        f"""
        - name: before
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
        - name: "written when SECRET_1 was {{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"
          keyfleet.infisical.infisical_secret: {{name: SECRET_1, value: new}}
          when: inventory_hostname == 'host2'
        - name: after
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
        - name: unchanged
          keyfleet.infisical.infisical_secret: {{name: SECRET_1, value: new}}
          when: inventory_hostname == 'host1'
        - name: created
          keyfleet.infisical.infisical_secret: {{name: CREATED, value: created, secret_path: /new, create_path: true}}
          run_once: true
          delegate_to: host3
        - name: look up created
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'CREATED', secret_path='/new', fetch=fetch) }}}}"}}
          vars: {{fetch: "{{{{ 'one' if inventory_hostname == 'host1' else 'list' }}}}"}}
        - name: deleted
          keyfleet.infisical.infisical_secret: {{name: CREATED, state: absent, secret_path: /new}}
          run_once: true
        - name: look up deleted
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'CREATED', secret_path='/new', default='gone') }}}}"}}
    """,
        hosts=3,
    ).succeeded()

    for host in ("host1", "host2", "host3"):
        assert run.result("before", host)["msg"] == "value 1"
        assert run.result("after", host)["msg"] == "new"
        assert run.result("look up created", host)["msg"] == "created"
        assert run.result("look up deleted", host)["msg"] == "gone"
    assert count(server, LOGIN) == 1


def test_check_mode_leaves_the_cache_as_it_is(ansible: Controller, server: DevServer) -> None:
    ansible.tasks(
        f"""
        - ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
        - keyfleet.infisical.infisical_secret: {{name: SECRET_1, value: new}}
        - ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
    """,
        arguments=["--check"],
    ).succeeded()

    assert (count(server, LOGIN), count(server, LISTS)) == (1, 1)


@pytest.mark.parametrize(
    ("cache", "lists"),
    [
        pytest.param("run", 1, id="run: once in all"),
        pytest.param("task", 4, id="task: once for each of 2 tasks on 2 hosts"),
        pytest.param("none", 8, id="none: for each of 8 lookups"),
    ],
)
def test_cache_says_how_long_listings_are_kept_and_the_login_is_shared(
    ansible: Controller, server: DevServer, cache: str, lists: int
) -> None:
    two = " ".join(f"{{{{ lookup('{LOOKUP}', 'SECRET_{number}', cache='{cache}') }}}}" for number in (1, 2))
    ansible.tasks(
        f"""
        - ansible.builtin.set_fact: {{first: "{two}"}}
        - ansible.builtin.set_fact: {{second: "{two}"}}
    """,
        hosts=2,
    ).succeeded()

    assert (count(server, LOGIN), count(server, LISTS)) == (1, lists)


def test_fetch_one_requests_each_name_once_a_run_and_no_listing(ansible: Controller, server: DevServer) -> None:
    ansible.tasks(
        f"""
        - ansible.builtin.debug: {{msg: "{{{{ query('{LOOKUP}', 'SECRET_1', 'SECRET_2', fetch='one') }}}}"}}
        - ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_2', fetch='one') }}}}"}}
    """,
        hosts=3,
    ).succeeded()

    paths = sorted(entry["path"] for entry in server.requests(SECRETS))
    assert paths == ["/api/v4/secrets/SECRET_1", "/api/v4/secrets/SECRET_2"]
    assert count(server, LOGIN) == 1


def test_identities_and_environments_of_one_run_do_not_share(ansible: Controller, server: DevServer) -> None:
    server.put_secret(PROJECT, "prod", "/", "SECRET_1", "of production")
    run = ansible.tasks(
        f"""
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
          ignore_errors: true
    """,
        hosts={
            "admin": {},
            "viewer": login_of("viewer"),
            "stranger": login_of("no-access"),
            "impostor": {"infisical_client_secret": "wrong"},
            "production": {"infisical_environment": "prod"},
        },
        arguments=["-f", "1"],
    ).succeeded()

    assert [run.result("lookup", host)["msg"] for host in ("admin", "viewer", "production")] == [
        "value 1", "value 1", "of production",
    ]  # fmt: skip
    assert "lacks 'Read Value'" in run.failure("lookup", "stranger")["msg"]
    assert "client_secret" in run.failure("lookup", "impostor")["msg"]
    logins = [(entry["identity"], entry["status"]) for entry in server.requests(LOGIN)]
    assert logins == [("admin", 200), ("viewer", 200), ("no-access", 200), ("admin", 401)] or logins == [
        ("admin", 200), ("viewer", 200), ("no-access", 200), (None, 401),
    ]  # fmt: skip


@pytest.mark.once
def test_modules_on_many_hosts_and_lookups_log_in_once(ansible: Controller, server: DevServer) -> None:
    ansible.tasks(
        f"""
        - keyfleet.infisical.infisical_secret: {{name: "{{{{ 'OF_' ~ inventory_hostname }}}}", value: "{{{{ item }}}}"}}
          loop: [a, b, b]
        - keyfleet.infisical.infisical_secret_info:
        - keyfleet.infisical.infisical_folder: {{secret_path: "/of/{{{{ inventory_hostname }}}}"}}
        - ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'OF_host4') }}}}"}}
    """,
        hosts=4,
    ).succeeded()

    assert count(server, LOGIN) == 1
    assert server.values(PROJECT, "dev")["OF_host4"] == ["b"]


@pytest.mark.parametrize("profile", PROFILES)
def test_wrong_credentials_are_tried_once_in_a_run(
    ansible: Controller, server: DevServer, shop: dict[str, Any], profile: str
) -> None:
    run = ansible.tasks(
        f"""
        - name: module
          keyfleet.infisical.infisical_secret: {{name: X, value: x}}
          ignore_errors: true
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
          ignore_errors: true
        - name: another module
          keyfleet.infisical.infisical_secret_info:
          ignore_errors: true
    """,
        hosts=5,
        variables={**shop, "infisical_client_secret": "wrong-client-secret"},
    ).succeeded()

    assert count(server, "") == 1, server.requests()
    for task in ("module", "lookup", "another module"):
        for host in range(1, 6):
            message = run.failure(task, f"host{host}")["msg"]
            assert "Check client_id and client_secret" in message and "wrong-client-secret" not in message
    assert {result["conclusion"] for result in run.results("module")} == {"credentials_rejected"}


def test_a_locked_identity_is_said_to_be_locked_and_not_tried_again(ansible: Controller, server: DevServer) -> None:
    wrong = ansible.variables | {"infisical_client_secret": "wrong"}
    for _attempt in range(3):
        ansible.tasks("- keyfleet.infisical.infisical_secret_info:", variables=wrong)
    server.clear_requests()

    run = ansible.tasks(
        f"""
        - name: module
          keyfleet.infisical.infisical_secret_info:
          ignore_errors: true
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
          ignore_errors: true
    """,
        hosts=2,
    ).succeeded()

    assert count(server, "") == 1
    assert run.failure("module", "host1")["conclusion"] == "locked_out"
    for task in ("module", "lookup"):
        assert "lift the lock-out" in run.failure(task, "host2")["msg"]


def test_a_revoked_token_costs_one_more_login(ansible: Controller, server: DevServer) -> None:
    revoke = (
        "import urllib.request as r;"
        f"r.urlopen(r.Request('{server.url}/_control/tokens/revoke', b'{{}}', method='POST'))"
    )
    run = ansible.tasks(
        f"""
        - keyfleet.infisical.infisical_secret_info:
        - ansible.builtin.command: {{argv: ["{{{{ ansible_python_interpreter }}}}", -c, "{revoke}"]}}
          run_once: true
        - name: module
          keyfleet.infisical.infisical_secret: {{name: "AFTER_{{{{ inventory_hostname }}}}", value: x}}
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
    """,
        hosts=2,
        arguments=["-f", "1"],
    ).succeeded()

    assert run.result("lookup", "host2")["msg"] == "value 1"
    assert count(server, LOGIN) <= 3
