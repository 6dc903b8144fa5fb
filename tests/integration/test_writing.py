# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that write are tested in four steps: check mode reports a change without making it, a run makes the change,
and then check mode and another run report no change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dev_server.client import DevServer
from integration.controller import Controller, Run
from integration.shop import PROFILES, PROJECT, login_of

EVERYWHERE, CURRENT = ("2024", "2026-07"), ("2026-07",)

OPTIONS = (
    # name of the task, servers that support it, module, arguments
    ("value of a new one", EVERYWHERE, "secret", "{name: NEW, value: new}"),
    ("value of an old one", EVERYWHERE, "secret", "{name: SECRET_1, value: changed}"),
    ("value that is empty", EVERYWHERE, "secret", "{name: EMPTY, value: ''}"),
    ("value that looks like a template", EVERYWHERE, "secret", "{name: BRACES, value: !unsafe '{{ x }}'}"),
    ("value that looks like JSON", EVERYWHERE, "secret", "{name: JSON, value: '{\"a\": [1]}'}"),
    ("comment", EVERYWHERE, "secret", "{name: SECRET_2, value: value 2, comment: ' of two '}"),
    ("tags", EVERYWHERE, "secret", "{name: SECRET_3, value: value 3, tags: [web, database]}"),
    ("no tags", EVERYWHERE, "secret", "{name: TAGGED, value: tagged, tags: []}"),
    ("metadata", CURRENT, "secret", "{name: SECRET_4, value: value 4, metadata: {owner: platform}}"),
    ("create_path", EVERYWHERE, "secret", "{name: DEEP, value: x, secret_path: /not/yet, create_path: true}"),
    ("normalize_name", EVERYWHERE, "secret", "{name: db-host.name, value: x, normalize_name: true}"),
    ("on_create, new", EVERYWHERE, "secret", "{name: GENERATED, value: '{{ random }}', update_value: on_create}"),
    ("on_create, comment", EVERYWHERE, "secret", "{name: SECRET_6, value: '{{ random }}', update_value: on_create, "
     "comment: six}"),
    ("absent", EVERYWHERE, "secret", "{name: SECRET_7, state: absent}"),
    ("absent, normalized", EVERYWHERE, "secret", "{name: secret-8, state: absent, normalize_name: true}"),
    ("name that does not fit into a path", EVERYWHERE, "secret", f"{{name: {'L' * 101}, value: long}}"),
    ("name of the batch route", EVERYWHERE, "secret", "{name: batch, value: x}"),
    ("folder", EVERYWHERE, "folder", "{secret_path: /made/by/task}"),
    ("folder, absent", EVERYWHERE, "folder", "{secret_path: /empty, state: absent}"),
    ("folder, absent, force", EVERYWHERE, "folder", "{secret_path: /full, state: absent, force: true}"),
)  # fmt: skip
RANDOM = "{{ lookup('ansible.builtin.password', '/dev/null') }}"


def stored(server: DevServer) -> list[dict[str, Any]]:
    """Return all folders with their secrets."""
    environments = server.state()["projects"][0]["environments"]
    return [{"environment": place["slug"], **folder} for place in environments for folder in place["folders"]]


def secrets_of(server: DevServer, path: str = "/", environment: str = "dev") -> dict[str, dict[str, Any]]:
    """Return the secrets in a folder, keyed by name."""
    for folder in stored(server):
        if (folder["environment"], folder["path"]) == (environment, path):
            return {secret["key"]: secret for secret in folder["secrets"]}
    return {}


@pytest.mark.parametrize("profile", PROFILES)
def test_every_option_is_idempotent_and_has_check_mode(
    ansible: Controller, server: DevServer, seeded: Callable[..., None], profile: str
) -> None:
    seeded(
        secrets=[
            {"environment": "dev", "key": "TAGGED", "value": "tagged", "tags": ["web"]},
            {"environment": "dev", "path": "/full/below", "key": "X", "value": "x"},
        ],
        folders=[{"environment": "dev", "path": "/empty"}],
    )
    wanted = [(name, module, arguments) for name, servers, module, arguments in OPTIONS if profile in servers]
    tasks = "\n".join(
        f"- name: {json.dumps(name)}\n  keyfleet.infisical.infisical_{module}: {arguments}"
        for name, module, arguments in wanted
    )
    names = [name for name, _module, _arguments in wanted]
    before = stored(server)

    def step(*arguments: str) -> Run:
        return ansible.tasks(tasks, variables={**ansible.variables, "random": RANDOM}, arguments=arguments).succeeded()

    check = step("--check", "--diff")
    assert [name for name in names if not check.result(name)["changed"]] == []
    assert stored(server) == before
    run = step("--diff")
    assert [name for name in names if not run.result(name)["changed"]] == []
    after = stored(server)
    again = step("--check")
    assert [name for name in names if again.result(name)["changed"]] == []
    last = step()
    assert [name for name in names if last.result(name)["changed"]] == []
    assert stored(server) == after

    for name in names:
        assert check.result(name).get("action") == run.result(name).get("action"), name
        assert check.result(name)["diff"] == run.result(name)["diff"], name
    _look_at(secrets_of(server), run, profile)
    if profile in EVERYWHERE:
        paths = {folder["path"] for folder in after if folder["environment"] == "dev"}
        assert {"/made/by/task", "/not/yet"} <= paths and not {"/empty", "/full", "/full/below"} & paths


def _look_at(secrets: dict[str, dict[str, Any]], run: Run, profile: str) -> None:
    expected = {
        "NEW": "new",
        "SECRET_1": "changed",
        "EMPTY": "",
        "BRACES": "{{ x }}",
        "JSON": '{"a": [1]}',
        "DB_HOST_NAME": "x",
    }
    assert {key: secrets[key]["value"] for key in expected} == expected
    assert len(secrets["GENERATED"]["value"]) == 20
    assert not {"SECRET_7", "SECRET_8"} & set(secrets)
    changed = run.result("value of an old one")
    assert (changed["action"], changed["secret"]["name"], changed["secret"]["version"]) == ("update", "SECRET_1", 2)
    assert changed["diff"]["before"] == {"name": "SECRET_1", "path": "/", "version": 1}
    assert changed["diff"]["after"] == {"name": "SECRET_1", "path": "/", "version": 2}
    assert run.result("absent")["secret"] is None
    if profile in EVERYWHERE:
        assert secrets["SECRET_2"]["comment"] == "of two"
        assert (secrets["SECRET_6"]["value"], secrets["SECRET_6"]["comment"]) == ("value 6", "six")
        assert sorted(secrets["SECRET_3"]["tags"]) == ["database", "web"] and secrets["TAGGED"]["tags"] == []
        assert secrets["L" * 101]["value"] == "long" and secrets["batch"]["value"] == "x"
    if profile in CURRENT:
        assert [(row["key"], row["value"]) for row in secrets["SECRET_4"]["metadata"]] == [("owner", "platform")]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.oldest
def test_write_only_identity_is_idempotent_with_a_state_file(
    ansible: Controller, server: DevServer, profile: str
) -> None:
    ansible.variables |= login_of("writer")
    state_file = ansible.folder / "state.json"
    tasks = f"""
        - name: new
          keyfleet.infisical.infisical_secret: {{name: NEW, value: "new\\n", state_file: "{state_file}"}}
        - name: old
          keyfleet.infisical.infisical_secret: {{name: SECRET_1, value: changed, state_file: "{state_file}"}}
    """
    before = stored(server)

    def changes(*arguments: str) -> list[bool]:
        run = ansible.tasks(tasks, arguments=arguments).succeeded()
        return [run.result(name)["changed"] for name in ("new", "old")]

    assert changes("--check") == [True, True]
    assert stored(server) == before and not state_file.exists()
    assert changes() == [True, True]
    after = stored(server)
    assert changes("--check") == [False, False]
    assert changes() == [False, False]
    assert stored(server) == after
    assert {key: secret["version"] for key, secret in secrets_of(server).items() if key in ("NEW", "SECRET_1")} == {
        "NEW": 1, "SECRET_1": 2,
    }  # fmt: skip
    assert state_file.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(state_file.read_text("utf-8"))["secrets"]) == {"NEW", "SECRET_1"}

    without = ansible.tasks("- name: old\n  keyfleet.infisical.infisical_secret: {name: SECRET_1, value: changed}")
    assert without.succeeded().result("old")["changed"]
    assert "is not allowed to read what it writes" in " ".join(without.text.split())


ODD = {
    # the desired state, and the state that a real server stores
    "plain": ("plain", "plain"),
    "outer blanks": ("  a b  ", "a b"),
    "tabs": ("\ta\tb\t", "a\tb"),
    "no-break spaces": ("\u00a0a\u00a0b\u00a0", "a\u00a0b"),
    "byte-order marks": ("\ufeffa\ufeffb\ufeff", "a\ufeffb"),
    "control characters": ("\x01a\x1f\x7f", "\x01a\x1f\x7f"),
    "separators that Python strips": ("\x1ca\x1d\x85", "\x1ca\x1d\x85"),
    "final newline": ("a\n", "a\n"),
    "final newlines": ("a\n\n\n", "a\n"),
    "final carriage return": ("a\r\n", "a\n"),
    "many lines": ("-----BEGIN-----\nabc\n-----END-----\n", "-----BEGIN-----\nabc\n-----END-----\n"),
    "nothing but blanks": ("   ", ""),
    "nothing but a newline": ("\n", "\n"),
    "line separators": ("\u2028a\u2029", "a"),
    "wide blanks": ("\u3000a\u2003", "a"),
    "not trimmed": ("\u200ba\u180e", "\u200ba\u180e"),
    "unicode": ("pässwörd ✓ 🗝", "pässwörd ✓ 🗝"),
    "quotes": ('it\'s "quoted" \\ back', 'it\'s "quoted" \\ back'),
    "looks like a number": ("0123", "0123"),
    "shell": ("$(id) `id` %(x)s ${", "$(id) `id` %(x)s ${"),
}


@pytest.mark.parametrize("profile", PROFILES)
def test_second_loop_over_20_secrets_is_unchanged(ansible: Controller, server: DevServer, profile: str) -> None:
    assert len(ODD) == 20
    wanted = {f"LOOPED_{number}": sent for number, (sent, _stored) in enumerate(ODD.values())}
    tasks = """
        - name: all of them
          keyfleet.infisical.infisical_secret: {name: "{{ item.key }}", value: "{{ item.value }}"}
          loop: "{{ wanted | dict2items }}"
          loop_control: {label: "{{ item.key }}"}
    """
    first = ansible.tasks(tasks, extra={"wanted": wanted}).succeeded()
    versions = {key: secret["version"] for key, secret in secrets_of(server).items()}
    second = ansible.tasks(tasks, extra={"wanted": wanted}).succeeded()

    assert [item["changed"] for item in first.items("all of them")] == [True] * 20
    assert [item["changed"] for item in second.items("all of them")] == [False] * 20
    assert second.changed == 0
    secrets = secrets_of(server)
    assert [secrets[key]["value"] for key in wanted] == [kept for _sent, kept in ODD.values()]
    assert {key: secret["version"] for key, secret in secrets.items()} == versions


def test_write_awaiting_approval_stores_nothing(
    ansible: Controller, server: DevServer, seeded: Callable[..., None]
) -> None:
    seeded(approvals=[{"environment": "dev", "path": "/app"}])
    before = stored(server)
    run = ansible.tasks("""
        - name: create
          keyfleet.infisical.infisical_secret: {name: NEW, value: x, secret_path: /app}
        - name: update
          keyfleet.infisical.infisical_secret: {name: DB_USER, value: x, secret_path: /app}
        - name: delete
          keyfleet.infisical.infisical_secret: {name: DB_USER, state: absent, secret_path: /app}
    """).succeeded()

    for name, version in (("create", None), ("update", 1), ("delete", 1)):
        result = run.result(name)
        assert result["changed"] and result["approval_pending"] and result["approval_id"], name
        assert (result["secret"] and result["secret"]["version"]) == version, name
    assert stored(server) == before


@pytest.mark.parametrize("profile", PROFILES)
def test_metadata_option_on_an_old_server_causes_a_warning(
    ansible: Controller, server: DevServer, profile: str
) -> None:
    task = """
        - name: metadata
          keyfleet.infisical.infisical_secret: {name: SECRET_1, value: value 1, metadata: {owner: platform}}
    """
    changes = [ansible.tasks(task).succeeded() for _time in range(2)]
    assert [run.result("metadata")["changed"] for run in changes] == [profile == "2026-07", False]
    for run in changes:
        assert ("does not keep metadata" in run.text) == (profile == "2024")


def test_task_value_is_stored_despite_a_concurrent_writer(ansible: Controller, server: DevServer) -> None:
    place = {"project": PROJECT, "environment": "dev", "path": "/"}
    server.arm("write_first", method="POST", path="RACE_CREATE", secret={**place, "key": "RACE_CREATE", "value": "x"})
    server.arm("delete_first", method="PATCH", path="SECRET_1$", secret={**place, "key": "SECRET_1"})
    run = ansible.tasks("""
        - name: create
          keyfleet.infisical.infisical_secret: {name: RACE_CREATE, value: ours}
        - name: update
          keyfleet.infisical.infisical_secret: {name: SECRET_1, value: ours}
    """).succeeded()

    assert (run.result("create")["action"], run.result("update")["action"]) == ("update", "create")
    values = server.values(PROJECT, "dev")
    assert (values["RACE_CREATE"], values["SECRET_1"]) == (["ours"], ["ours"])


@pytest.mark.core
@pytest.mark.oldest
def test_writes_work_with_async_delegation_until_and_loops(ansible: Controller, server: DevServer) -> None:
    server.arm("status", status=500, times=2, method="POST", path="/FLAKY$")
    run = ansible.tasks(
        """
        - name: async
          keyfleet.infisical.infisical_secret: {name: BY_ASYNC, value: x}
          async: 30
          poll: 1
        - name: async again
          keyfleet.infisical.infisical_secret: {name: BY_ASYNC, value: x}
          async: 30
          poll: 1
        - name: delegated
          keyfleet.infisical.infisical_secret: {name: DELEGATED, value: x}
          delegate_to: host2
          run_once: true
        - name: until
          keyfleet.infisical.infisical_secret: {name: FLAKY, value: x}
          register: flaky
          until: flaky is succeeded
          retries: 3
          delay: 0
          vars: {infisical_server_error_wait: 0}
    """,
        hosts=["host1"],
    ).succeeded()

    assert (run.result("async")["changed"], run.result("async again")["changed"]) == (True, False)
    assert run.result("async")["secret"]["name"] == "BY_ASYNC"
    assert run.result("until")["attempts"] == 2
    values = server.values(PROJECT, "dev")
    assert [values[name] for name in ("BY_ASYNC", "DELEGATED", "FLAKY")] == [["x"]] * 3

    before = stored(server)
    check = ansible.tasks(
        """
        - name: async
          keyfleet.infisical.infisical_secret: {name: BY_CHECK, value: x}
          async: 30
          poll: 1
        - name: loop
          keyfleet.infisical.infisical_secret: {name: "{{ item }}", state: absent}
          loop: [BY_ASYNC, NOT_THERE]
    """,
        arguments=["--check"],
    )
    assert [item["changed"] for item in check.items("loop")] == [True, False]
    assert stored(server) == before


def test_folder_with_contents_is_not_removed_without_force(ansible: Controller, server: DevServer) -> None:
    run = ansible.tasks("""
        - name: full
          keyfleet.infisical.infisical_folder: {secret_path: /app, state: absent}
          ignore_errors: true
        - name: root
          keyfleet.infisical.infisical_folder: {secret_path: /, state: absent, force: true}
          ignore_errors: true
    """).succeeded()

    assert "contains 2 secrets and 0 folders" in run.failure("full")["msg"] and "force" in run.failure("full")["msg"]
    assert "root" in run.failure("root")["msg"]
    assert set(secrets_of(server, "/app")) == {"DB_USER", "DB_PASSWORD"}


@pytest.mark.oldest
def test_damaged_state_file_is_moved_aside(ansible: Controller, server: DevServer, tmp_path: Path) -> None:
    state_file = tmp_path / "state.json"
    ansible.variables |= login_of("writer")
    task = f'- keyfleet.infisical.infisical_secret: {{name: NEW, value: x, state_file: "{state_file}"}}'
    ansible.tasks(task).succeeded()
    whole = state_file.read_bytes()
    state_file.write_bytes(whole[: len(whole) // 2])

    run = ansible.tasks(task).succeeded()
    assert "was damaged, and has been moved to" in " ".join(run.text.split())
    (damaged,) = tmp_path.glob("state.json.damaged-*")
    assert damaged.read_bytes() == whole[: len(whole) // 2]
    assert ansible.tasks(task).succeeded().changed == 0

    state_file.write_text("somebody's notes", "utf-8")
    refused = ansible.tasks(task)
    assert refused.rc == 2 and "is not a state file" in " ".join(refused.text.split())
    assert state_file.read_text("utf-8") == "somebody's notes"


def test_rotated_secrets_are_not_changed(ansible: Controller, server: DevServer, tmp_path: Path) -> None:
    for name in ("ROTATED", "TURNED", "SPUN"):
        server.put_secret(PROJECT, "dev", "/", name, "theirs", rotated=True)
    before = stored(server)
    vault = f"vault_path: {tmp_path}/v, key_file: {tmp_path}/k, create_key: true"
    tasks = f"""
        - name: single
          keyfleet.infisical.infisical_secret: {{name: ROTATED, value: ours}}
          ignore_errors: true
        - name: loop
          keyfleet.infisical.infisical_secret: {{name: "{{{{ item }}}}", value: ours}}
          loop: [ROTATED, TURNED]
          ignore_errors: true
        - name: absent
          keyfleet.infisical.infisical_secret: {{name: "{{{{ item }}}}", state: absent}}
          loop: [ROTATED]
          ignore_errors: true
        - name: push
          keyfleet.infisical.infisical_sync: {{direction: push, secrets: {{ROTATED: ours, NEW: x}}}}
          ignore_errors: true
        - name: vault
          keyfleet.infisical.infisical_vault: {{name: ROTATED, value: ours, push: true, {vault}}}
          ignore_errors: true
    """
    for arguments in (["--check"], []):
        run = ansible.tasks(tasks, arguments=arguments).succeeded()
        failures = [run.failure("single"), *run.items("loop"), *run.items("absent")]
        for failure in (*failures, run.failure("push"), run.failure("vault")):
            assert failure["conclusion"] == "guard" and "overwrite_rotated: true" in failure["msg"], failure
        assert stored(server) == before

    allowed = ansible.tasks(f"""
        - keyfleet.infisical.infisical_secret: {{name: "{{{{ item }}}}", value: ours, overwrite_rotated: true}}
          loop: [ROTATED]
        - keyfleet.infisical.infisical_sync: {{direction: push, secrets: {{TURNED: ours}}, overwrite_rotated: true}}
        - keyfleet.infisical.infisical_vault: {{name: SPUN, value: ours, push: true, overwrite_rotated: true, {vault}}}
    """).succeeded()
    assert allowed.changed == 3
    values = server.values(PROJECT, "dev")
    assert [values[name] for name in ("ROTATED", "TURNED", "SPUN")] == [["ours"]] * 3


def test_host_receives_new_values_but_no_stored_values(ansible: Controller, seeded: Callable[..., None]) -> None:
    pin = {"key": "pin", "value": "storedpin", "encrypted": True}
    seeded(secrets=[{"environment": "dev", "key": "A", "value": "storedvalue", "metadata": [pin]}])
    run = ansible.tasks(
        """
        - name: write
          keyfleet.infisical.infisical_secret: {name: A, value: newvalue, metadata: {pin: newpin}}
          loop: [1]
        """,
        environment={
            "ANSIBLE_KEEP_REMOTE_FILES": "true",
            "ANSIBLE_PIPELINING": "false",
            "INFISICAL_IMPORT_MODULES": "false",
        },
    ).succeeded()
    assert run.items("write")[0]["action"] == "update"
    sent = b"".join(path.read_bytes() for path in (ansible.folder / "remote").rglob("*.py"))
    assert b"newvalue" in sent and b"newpin" in sent and b"_known" in sent
    assert b"storedvalue" not in sent and b"storedpin" not in sent
