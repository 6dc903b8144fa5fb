# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run sends one login and one listing for all tasks, hosts and forks, and never repeats a rejected login."""

from __future__ import annotations

from typing import Any

import pytest
from dev_server.client import DevServer
from integration.controller import LOOKUP, Controller
from integration.shop import PROFILES, PROJECT, login_of

LOGIN = "/universal-auth/login$"
REVOKE = "/auth/token/revoke$"
LISTS = "/secrets(/raw)?$"
SECRETS = "/secrets"


def count(server: DevServer, path: str) -> int:
    """Return the number of requests with a matching path."""
    return len(server.requests(path))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.core
def test_50_lookups_in_one_template_send_three_requests(ansible: Controller, server: DevServer, profile: str) -> None:
    names = range(50)
    text = "\n".join(f"{{{{ lookup('{LOOKUP}', 'SECRET_{number}') }}}}" for number in names)
    (ansible.folder / "fifty.j2").write_text(text, "utf-8")
    if profile == "2024":  # otherwise, missing routes are requested once
        ansible.variables["infisical_api_version"] = "v3"

    ansible.tasks("""
        - ansible.builtin.template: {src: fifty.j2, dest: "{{ playbook_dir }}/fifty", mode: "0600"}
    """).succeeded()

    assert (ansible.folder / "fifty").read_text("utf-8").splitlines() == [f"value {number}" for number in names]
    sent = [(entry["method"], entry["status"]) for entry in server.requests()]
    assert sent == [("POST", 200), ("GET", 200), ("POST", 200)]  # the last one revokes the token


def test_200_lookups_on_20_hosts_send_one_login_and_one_listing(ansible: Controller, server: DevServer) -> None:
    one = "- ansible.builtin.debug: {msg: \"{{ lookup('%s', 'SECRET_%d') }} for {{ inventory_hostname }}\"}"

    run = ansible.tasks("\n".join(one % (LOOKUP, number) for number in range(10)), hosts=20, arguments=["-f", "5"])

    assert run.succeeded().text.count("value 9 for host") == 20
    assert (count(server, LOGIN), count(server, LISTS), count(server, REVOKE), count(server, "")) == (1, 1, 1, 3)


def test_missing_routes_are_requested_once_in_a_run(ansible: Controller, server: DevServer) -> None:
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


def test_lookup_returns_a_just_written_secret_on_each_host(ansible: Controller, server: DevServer) -> None:
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


def test_check_mode_keeps_the_cache(ansible: Controller, server: DevServer) -> None:
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
def test_cache_option_affects_listings_but_not_the_login(
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


ITEMS = 8  # each item needs half a second of CPU time
LOOP = """
    - name: loop
      keyfleet.infisical.infisical_secret: {name: "LOOPED_{{ item }}", value: "looped {{ item }}", tags: [web]}
      loop: "{{ range(ITEMS) | list }}"
""".replace("ITEMS", str(ITEMS))
WITHOUT_TAGS = LOOP.replace(", tags: [web]", "")


def methods(server: DevServer, path: str = "/secrets") -> list[str]:
    """Return the methods of the requests with a matching path, by default of requests for secrets."""
    return [entry["method"] for entry in server.requests(path)]


@pytest.mark.parametrize("profile", PROFILES)
def test_loop_sends_one_listing_and_one_write_per_item(ansible: Controller, server: DevServer, profile: str) -> None:
    if profile == "2024":  # otherwise, missing routes are requested once
        ansible.variables["infisical_api_version"] = "v3"
    first = ansible.tasks(WITHOUT_TAGS).succeeded()
    assert methods(server, "") == ["POST", "GET", *["POST"] * ITEMS, "POST"]  # the last one revokes the token
    assert [item["action"] for item in first.items("loop")] == ["create"] * ITEMS

    server.clear_requests()
    second = ansible.tasks(WITHOUT_TAGS).succeeded()
    assert methods(server, "") == ["POST", "GET", "POST"]
    assert [item["changed"] for item in second.items("loop")] == [False] * ITEMS
    stored = [
        [(item["secret"]["id"], item["secret"]["version"]) for item in run.items("loop")] for run in (first, second)
    ]
    assert stored[0] == stored[1]

    server.clear_requests()
    ansible.tasks(WITHOUT_TAGS.replace('"looped', '"again')).succeeded()
    assert methods(server, "") == ["POST", "GET", *["PATCH"] * ITEMS, "POST"]
    assert server.values(PROJECT, "dev")["LOOPED_7"] == ["again 7"]


def test_missing_routes_are_requested_once_in_a_loop(ansible: Controller, server: DevServer) -> None:
    server.use_profile("2024")
    ansible.tasks(WITHOUT_TAGS).succeeded()
    assert methods(server, "/v4/") == ["GET"]


def test_task_without_a_loop_sends_no_listing(ansible: Controller, server: DevServer) -> None:
    ansible.tasks("- keyfleet.infisical.infisical_secret: {name: SINGLE, value: x}").succeeded()
    assert methods(server) == ["GET", "POST"] and count(server, LISTS) == 0


@pytest.mark.parametrize("arguments", [(), ("--check",)], ids=["run", "check mode"])
def test_second_task_without_a_loop_sends_one_listing(
    ansible: Controller, server: DevServer, arguments: tuple[str, ...]
) -> None:
    tasks = "\n".join(
        f"- keyfleet.infisical.infisical_secret: {{name: SECRET_{number}, value: value {number}}}"
        for number in range(5)
    )
    run = ansible.tasks(tasks, arguments=arguments).succeeded()
    assert run.changed == 0
    assert [entry["path"].rpartition("/")[2] for entry in server.requests(SECRETS)] == ["SECRET_0", "secrets"]


@pytest.mark.oldest
def test_secret_written_earlier_in_the_run_is_not_read_again(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks(
        LOOP
        + LOOP.replace("name: loop", "name: again")
        + """
    - name: commented
      keyfleet.infisical.infisical_secret: {name: LOOPED_3, value: looped 3, comment: three}
    - name: kept
      keyfleet.infisical.infisical_secret: {name: LOOPED_3, value: other, update_value: on_create, comment: three}
    - name: gone
      keyfleet.infisical.infisical_secret: {name: LOOPED_4, state: absent}
    - name: made again
      keyfleet.infisical.infisical_secret: {name: LOOPED_4, value: looped 4}
    """
    ).succeeded()

    assert [item["changed"] for item in run.items("again")] == [False] * ITEMS
    done = [run.result(name)["action"] for name in ("commented", "kept", "gone", "made again")]
    assert done == ["update", None, "delete", "create"]
    assert methods(server) == ["GET", *["POST"] * ITEMS, "PATCH", "DELETE", "POST"]
    assert run.result("commented")["diff"]["after"] == {"name": "LOOPED_3", "path": "/", "version": 2}
    assert run.result("kept")["secret"]["tags"] == ["web"] and run.result("kept")["secret"]["version"] == 2


def test_change_by_another_writer_during_a_run_is_not_lost(ansible: Controller, server: DevServer) -> None:
    place = {"project": PROJECT, "environment": "dev", "path": "/"}
    server.arm("write_first", method="POST", path="/LOOPED_0$", secret={**place, "key": "LOOPED_0", "value": "theirs"})
    server.arm(
        "write_first", method="POST", path="/LOOPED_1$", secret={**place, "key": "LOOPED_1", "value": "looped 1"}
    )
    server.put_secret(PROJECT, "dev", "/", "LOOPED_2", "old")
    server.arm("delete_first", method="PATCH", path="/LOOPED_2$", secret={**place, "key": "LOOPED_2"})
    run = ansible.tasks(WITHOUT_TAGS + WITHOUT_TAGS.replace("name: loop", "name: again")).succeeded()

    assert [item["action"] for item in run.items("loop")][:4] == ["update", None, "create", "create"]
    assert [item["changed"] for item in run.items("again")] == [False] * ITEMS
    assert {*map(tuple, server.values(PROJECT, "dev").values())} >= {(f"looped {number}",) for number in range(ITEMS)}


def test_loop_after_a_push_sees_its_changes(ansible: Controller, server: DevServer) -> None:
    push = """
    - keyfleet.infisical.infisical_sync: {direction: push, secrets: {LOOPED_7: pushed}}
    """
    run = ansible.tasks(WITHOUT_TAGS + push + WITHOUT_TAGS.replace("name: loop", "name: again")).succeeded()
    assert [number for number, item in enumerate(run.items("again")) if item["changed"]] == [7]
    assert server.values(PROJECT, "dev")["LOOPED_7"] == ["looped 7"]


def test_secret_is_read_again_after_a_failed_write(ansible: Controller, server: DevServer) -> None:
    server.arm("status", status=422, method="POST", path="/LOOPED_5$", error="ValidationFailure", message="no")
    tasks = WITHOUT_TAGS + "      ignore_errors: true\n" + WITHOUT_TAGS.replace("name: loop", "name: again")
    run = ansible.tasks(tasks).succeeded()
    assert [number for number, item in enumerate(run.items("again")) if item["changed"]] == [5]
    assert [entry["path"] for entry in server.requests(SECRETS) if entry["method"] == "GET"][1:] == [
        "/api/v4/secrets/LOOPED_5"
    ]


def test_deletion_is_attempted_even_if_the_secret_is_not_listed(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks("""
        - name: absent
          keyfleet.infisical.infisical_secret: {name: "{{ item }}", state: absent}
          loop: [SECRET_1, SECRET_2, NOT_THERE]
    """).succeeded()
    assert [item["changed"] for item in run.items("absent")] == [True, True, False]
    assert methods(server) == ["GET", "DELETE", "DELETE", "GET"]
    assert server.requests("/NOT_THERE$")


def test_20_hosts_write_one_secret_once(ansible: Controller, server: DevServer) -> None:
    tasks = """
        - keyfleet.infisical.infisical_secret: {name: SHARED, value: the same, secret_path: /new, create_path: true}
          loop: [1]
    """
    run = ansible.tasks(tasks, hosts=20, arguments=["-f", "10"]).succeeded()
    assert run.changed == 1
    assert server.values(PROJECT, "dev", "/new") == {"SHARED": ["the same"]}
    assert methods(server) == ["GET", "POST", "POST"]  # the first POST fails, because the folder is missing
    assert count(server, LOGIN) == 1


def test_write_by_another_identity_is_seen_in_the_same_run(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks("""
        - name: first
          keyfleet.infisical.infisical_secret: {name: "{{ item }}", value: ours}
          loop: [Z1, Z2]
        - keyfleet.infisical.infisical_secret:
            {name: Z1, value: theirs, client_id: writer-id, client_secret: writer-client-secret}
        - name: again
          keyfleet.infisical.infisical_secret: {name: "{{ item }}", value: ours}
          loop: [Z1, Z2]
    """).succeeded()
    assert [item["changed"] for item in run.items("again")] == [True, False]
    assert server.values(PROJECT, "dev")["Z1"] == ["ours"]


def test_second_write_by_another_identity_is_seen(ansible: Controller, server: DevServer) -> None:
    server.put_secret(PROJECT, "dev", "/", "Z1", "ours")
    theirs = """
        - keyfleet.infisical.infisical_secret:
            {name: %s, value: theirs, client_id: writer-id, client_secret: writer-client-secret}
    """
    ours = """
        - name: %s
          keyfleet.infisical.infisical_secret: {name: Z1, value: ours}
          loop: [1]
    """
    run = ansible.tasks(theirs % "Z0" + ours % "before" + theirs % "Z1" + ours % "after").succeeded()
    assert [run.items(name)[0]["changed"] for name in ("before", "after")] == [False, True]
    assert server.values(PROJECT, "dev")["Z1"] == ["ours"]


def test_loop_creates_a_missing_folder_once(ansible: Controller, server: DevServer) -> None:
    tasks = WITHOUT_TAGS.replace('{{ item }}"}', '{{ item }}", secret_path: /a/b, create_path: true}')
    assert ansible.tasks(tasks, arguments=["--check"]).succeeded().items("loop")[ITEMS - 1]["action"] == "create"
    server.clear_requests()
    run = ansible.tasks(tasks).succeeded()
    assert [item["action"] for item in run.items("loop")] == ["create"] * ITEMS
    assert methods(server) == ["GET", *["POST"] * (ITEMS + 1)]
    assert methods(server, "/folders") == ["POST"]


def test_loop_with_a_wrong_path_fails_like_a_single_task(ansible: Controller, server: DevServer) -> None:
    loop = WITHOUT_TAGS.replace(f"range({ITEMS})", "range(2)")
    for more, arguments in (("environment: dve", ["--check"]), ("environment: dve", []), ("secret_path: /nope", [])):
        run = ansible.tasks(loop.replace('}}"}', f'}}}}", {more}}}'), arguments=arguments)
        [first, *_others] = run.items("loop")
        assert first["conclusion"] == "scope_missing" and first["hint"], first
    assert not any(entry["method"] == "POST" and entry["status"] == 200 for entry in server.requests(SECRETS))


def test_writes_of_async_tasks_are_not_cached(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks("""
        - name: early
          keyfleet.infisical.infisical_secret: {name: "SECRET_{{ item }}", value: new}
          loop: [1, 2]
        - name: in the background
          keyfleet.infisical.infisical_secret: {name: SECRET_1, value: background}
          async: 30
          poll: 1
        - name: late
          keyfleet.infisical.infisical_secret: {name: SECRET_1, value: new}
          loop: [1]
    """).succeeded()
    assert run.items("late")[0]["changed"]
    assert server.values(PROJECT, "dev")["SECRET_1"] == ["new"]


def test_50_refused_lookups_in_one_template_send_one_listing(ansible: Controller, server: DevServer) -> None:
    ansible.variables |= login_of("no-access")
    names = " ".join(f"{{{{ lookup('{LOOKUP}', 'SECRET_{number}', errors='ignore') }}}}" for number in range(50))
    (ansible.folder / "fifty.j2").write_text(names, "utf-8")
    ansible.tasks("""
        - ansible.builtin.template: {src: fifty.j2, dest: "{{ playbook_dir }}/fifty", mode: "0600"}
    """).succeeded()
    sent = [(entry["method"], entry["status"]) for entry in server.requests()]
    assert sent == [("POST", 200), ("GET", 403), ("POST", 200)]  # the last one revokes the token


def test_fetch_one_requests_each_name_once(ansible: Controller, server: DevServer) -> None:
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


def test_identities_and_environments_do_not_share_cached_secrets(ansible: Controller, server: DevServer) -> None:
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
    assert "Grant 'Describe Secret'" in run.failure("lookup", "stranger")["msg"]
    assert "client_secret" in run.failure("lookup", "impostor")["msg"]
    logins = [(entry["identity"], entry["status"]) for entry in server.requests(LOGIN)]
    assert logins == [("admin", 200), ("viewer", 200), ("no-access", 200), ("admin", 401)] or logins == [
        ("admin", 200), ("viewer", 200), ("no-access", 200), (None, 401),
    ]  # fmt: skip


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
def test_wrong_credentials_are_sent_once_in_a_run(
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


def test_locked_identity_is_reported_and_not_retried(ansible: Controller, server: DevServer) -> None:
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
        assert "remove the lockout" in run.failure(task, "host2")["msg"]


def test_revoked_token_causes_one_more_login(ansible: Controller, server: DevServer) -> None:
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
