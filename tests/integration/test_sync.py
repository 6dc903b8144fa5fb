# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module infisical_sync in real playbooks: pulls into vaults, pushes from everything, plans, guards, failures."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import SHARED_OPTIONS
from dev_server.client import DevServer
from dev_server.tls import Authority, write_private
from integration.controller import LOOKUP, Controller, Run
from integration.shop import PROFILES, PROJECT, SEED, login_of
from integration.vaults import LocalVault

OTHER_PROJECT = "other-project"
SYNC = "keyfleet.infisical.infisical_sync"
MANY = {f"KEY_{number:02}": f"value {number}" for number in range(12)}
APP = {"DB_USER": "shop", "DB_PASSWORD": "seeded password"}
MINE = {"BY_HAND": "mine"}


def document() -> dict[str, Any]:
    """The seed with folders for each option, and a second project."""
    seed: dict[str, Any] = copy.deepcopy(SEED)
    project = seed["projects"][0]
    project["secrets"] += [
        {"environment": "dev", "path": path, "key": key, "value": value}
        for path, key, value in (
            ("/tree", "A", "a"),
            ("/tree/deep", "B", "b"),
            ("/both/x", "K", "1"),
            ("/both/y", "K", "2"),
            ("/importing", "OWN", "own"),
            ("/references", "BASE", "base"),
            ("/references", "MADE", "${BASE}-x"),
            ("/names", "my_key", "1"),
            ("/names", "other-key", "2"),
            ("/pruned", "STAYS", "old"),
            ("/pruned", "GOES", "old"),
            ("/emptied", "GOES", "old"),
            *(("/many", name, value) for name, value in MANY.items()),
        )
    ]
    project["folders"].append({"environment": "dev", "path": "/empty"})
    project["imports"] = [{"environment": "dev", "path": "/importing", "from_environment": "dev", "from_path": "/app"}]
    seed["projects"].append(
        {
            "id": OTHER_PROJECT,
            "name": "Other",
            "slug": "other",
            "environments": [{"slug": "dev", "name": "Development"}],
            "secrets": [{"environment": "dev", "path": "/app", "key": "DB_USER", "value": "other"}],
        }
    )
    seed["identities"][0]["permissions"][OTHER_PROJECT] = "admin"
    return seed


@pytest.fixture
def vault(ansible: Controller, server: DevServer) -> LocalVault:
    """Return the vault that the hosts' variables name; it does not exist yet. The server holds `document`."""
    server.seed(document())
    place = LocalVault(ansible.folder / "vault")
    place.folder.mkdir(mode=0o700)
    ansible.variables |= place.variables
    return place


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file but the locks, which are empty and stay."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.core
@pytest.mark.oldest
def test_new_vault_is_filled_as_planned_and_then_unchanged(
    ansible: Controller, server: DevServer, vault: LocalVault, profile: str
) -> None:
    run = ansible.tasks(
        f"""
        - name: plan
          {SYNC}: {{secret_path: /app, create_key: true}}
          check_mode: true
        - name: nothing is there
          ansible.builtin.find: {{paths: "{vault.folder}", hidden: true}}
        - name: pull
          {SYNC}: {{secret_path: /app, create_key: true}}
        - name: again
          {SYNC}: {{secret_path: /app, create_key: true}}
        - name: plan again
          {SYNC}: {{secret_path: /app}}
          check_mode: true
        - name: changed at the server
          {SYNC}: {{direction: push, secret_path: /app, secrets: {{DB_USER: new, ADDED: added}}}}
        - name: pull of the change
          {SYNC}: {{secret_path: /app}}
    """,
        arguments=["--diff"],
    ).succeeded()

    plan, pull, change = (run.result(name) for name in ("plan", "pull", "pull of the change"))
    assert run.result("nothing is there")["files"] == []
    for result in (plan, pull):
        assert (result["changed"], result["key_created"]) == (True, True)
        assert result["counts"] == {"created": 2, "updated": 0, "deleted": 0, "unchanged": 0}
        assert result["created"] == ["DB_PASSWORD", "DB_USER"]
        assert result["diff"] == {"before": {}, "after": {"DB_PASSWORD": 1, "DB_USER": 1}}
    assert (plan["generation"], pull["generation"], pull["projects"]) == (0, 1, [PROJECT])
    for name in ("again", "plan again"):
        result = run.result(name)
        assert (result["changed"], result["key_created"], result["generation"]) == (False, False, 1)
        assert result["counts"] == {"created": 0, "updated": 0, "deleted": 0, "unchanged": 2}
        assert result["diff"] == {"before": {}, "after": {}}
    assert (change["created"], change["updated"]) == (["ADDED"], ["DB_USER"])
    assert change["diff"] == {"before": {"DB_USER": 1}, "after": {"ADDED": 1, "DB_USER": 2}}
    assert vault.values() == {"ADDED": "added", "DB_USER": "new", "DB_PASSWORD": "seeded password"}
    assert vault.state()["pull_count"] == 4
    assert '"DB_USER": 2' in run.text and "seeded password" not in run.text


PULLS: tuple[tuple[str, str, dict[str, str], dict[str, str]], ...] = (
    # name of the task, its arguments, what the job has put into the vault before, what the vault holds then
    ("recursive, key_format", "secret_path: /both, recursive: true, key_format: '{project}/{path}/{key}'", {},
     {"shop/both/x/K": "1", "shop/both/y/K": "2", **MINE}),
    ("precedence", "secret_path: /both, recursive: true, precedence: [/both/y]", {}, {"K": "2", **MINE}),
    ("imports", "secret_path: /importing", {}, {"OWN": "own", **APP, **MINE}),
    ("include_imports", "secret_path: /importing, include_imports: false", {}, {"OWN": "own", **MINE}),
    ("expand_references", "secret_path: /references, expand_references: true", {},
     {"BASE": "base", "MADE": "base-x", **MINE}),
    ("normalize_names", "secret_path: /names, normalize_names: true", {}, {"MY_KEY": "1", "OTHER_KEY": "2", **MINE}),
    ("project_ids", f"secret_path: /app, project_ids: [{PROJECT}, {OTHER_PROJECT}], key_format: '{{project}}_{{key}}'",
     {}, {"shop_DB_USER": "shop", "shop_DB_PASSWORD": "seeded password", "other_DB_USER": "other", **MINE}),
    ("prune", "secret_path: /app, prune: true", {"GONE": "old"}, {**APP, **MINE}),
    ("prune_scope", "secret_path: /app, prune: true, prune_scope: vault", {"GONE": "old"}, APP),
    ("job", "secret_path: /app, prune: true, job: second", {"GONE": "old"}, {**APP, **MINE, "GONE": "old"}),
    ("max_delete_percent", "secret_path: /app, prune: true, max_delete_percent: 100", MANY, {**APP, **MINE}),
    ("allow_empty", "secret_path: /empty, prune: true, allow_empty: true", {"GONE": "old"}, MINE),
    ("state_hash", "secret_path: /app, state_hash: hmac-sha256", {}, {**APP, **MINE}),
)  # fmt: skip


def test_every_pull_option_is_idempotent_and_has_check_mode(
    ansible: Controller, server: DevServer, vault: LocalVault
) -> None:
    vaults = {}
    tasks = ""
    for number, (name, arguments, before, _after) in enumerate(PULLS):
        place = LocalVault(vault.folder / str(number)).hold(MINE).hold(before, "default")
        vaults[name] = place
        tasks += f"- name: {name}\n  {SYNC}: {{{place.arguments}, {arguments}}}\n"
    four_steps(ansible, tasks, [name for name, *_rest in PULLS], lambda: files_below(vault.folder))

    wanted = {name: after for name, _arguments, _before, after in PULLS}
    assert {name: place.values() for name, place in vaults.items()} == wanted
    assert vaults["state_hash"].state()["state_hash"] == "hmac-sha256"
    hashes = [place.state()["secrets"]["DB_USER"]["hash"] for place in (vaults["prune"], vaults["state_hash"])]
    assert hashes[0] != hashes[1]
    assert {entry.job for entry in vaults["job"].open().read().secrets.values()} == {"", "default", "second"}


def four_steps(ansible: Controller, tasks: str, names: list[str], look: Any) -> Run:
    """Check mode says changed and `look` sees no difference, a run changes, and then both say unchanged."""

    def changed(*arguments: str) -> tuple[Run, list[str]]:
        run = ansible.tasks(tasks, arguments=arguments).succeeded()
        return run, [name for name in names if run.result(name)["changed"]]

    before = look()
    check, would_change = changed("--check")
    assert would_change == names
    assert look() == before
    run, has_changed = changed()
    assert has_changed == names
    for name in names:
        assert run.result(name)["diff"].keys() == {"before", "after"}
        planned, done = (
            {what: result.get(what) for what in ("created", "updated", "deleted", "counts", "action", "pushed")}
            for result in (check.result(name), run.result(name))
        )
        assert planned == done, name
    assert changed("--check")[1] == []
    assert changed()[1] == []
    return run


PUSHES: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    # name of the task, its path, its arguments, what the folder holds then
    ("mapping", "/app", "secrets: {A: a, B: '{{ braces }}'}", {"A": "a", "B": "{{ x }}", **APP}),
    ("dotenv", "/two", "create_path: true, source_file: '{{ playbook_dir }}/source.env'",
     {"A": 'a "b" $c', "LINES": "1\n2"}),
    ("JSON", "/three", "create_path: true, source_file: '{{ playbook_dir }}/source.json'",
     {"A": "a", "NUMBER": "0123"}),
    ("vault, normalize_names", "/four", "from_vault: true, create_path: true, normalize_names: true",
     {"BY_HAND": "mine", "MY_KEY": ""}),
    ("prune", "/pruned", "prune: true, secrets: {STAYS: new}", {"STAYS": "new"}),
    ("allow_empty", "/emptied", "prune: true, allow_empty: true, secrets: {}", {}),
    ("max_delete_percent", "/many", "prune: true, max_delete_percent: 100, secrets: {KEY_00: value 0}",
     {"KEY_00": "value 0"}),
)  # fmt: skip


def test_every_push_option_is_idempotent_and_has_check_mode(
    ansible: Controller, server: DevServer, vault: LocalVault
) -> None:
    (ansible.folder / "source.env").write_text('A="a \\"b\\" \\$c"\nLINES="1\n2"\n', "utf-8")
    (ansible.folder / "source.json").write_text('{"A": "a", "NUMBER": "0123"}', "utf-8")
    vault.hold({**MINE, "my-key": ""})
    ansible.variables["braces"] = "{{ '{{ x }}' }}"
    tasks = "\n".join(
        f"- name: {name}\n  {SYNC}: {{direction: push, secret_path: {path}, {arguments}}}"
        for name, path, arguments, _after in PUSHES
    )
    four_steps(ansible, tasks, [name for name, *_rest in PUSHES], lambda: server.state()["projects"])

    for name, path, _arguments, after in PUSHES:
        assert server.values(PROJECT, "dev", path) == {key: [value] for key, value in after.items()}, name


GUARDED = f"""
    - name: first
      {SYNC}: {{secret_path: /many, create_key: true}}
    - name: wrong environment
      {SYNC}: {{secret_path: /many, prune: true, environment: pord}}
    - name: wrong path
      {SYNC}: {{secret_path: /mnay, prune: true}}
    - name: empty folder
      {SYNC}: {{secret_path: /empty, prune: true}}
    - name: second project is not there
      {SYNC}: {{secret_path: /app, prune: true, project_ids: [{PROJECT}, no-project]}}
    - name: too many
      {SYNC}: {{secret_path: /app, prune: true}}
    - name: values are hidden
      {SYNC}: {{secret_path: /app, prune: true, client_id: hidden-id, client_secret: hidden-client-secret}}
    - name: two values for one name
      {SYNC}: {{secret_path: /both, recursive: true, prune: true}}
    - name: push deletes too many
      {SYNC}: {{direction: push, secret_path: /many, prune: true, secrets: {{KEY_00: x}}}}
    - name: push of nothing
      {SYNC}: {{direction: push, secret_path: /many, prune: true, secrets: {{}}}}
    - name: push of two names that become one
      {SYNC}: {{direction: push, secret_path: /many, normalize_names: true, secrets: {{my_key: x, my-key: y}}}}
"""


def test_pull_with_too_many_deletions_is_refused(ansible: Controller, server: DevServer, vault: LocalVault) -> None:
    run = ansible.tasks(GUARDED.replace("- name:", "- ignore_errors: true\n      name:")).succeeded()

    names = [line.split("name: ")[1] for line in GUARDED.splitlines() if line.startswith("    - name: ")]
    failures = {name: run.failure(name) for name in names if name != "first"}
    assert {name: result["conclusion"] for name, result in failures.items()} == {
        "wrong environment": "scope_missing",
        "wrong path": "scope_missing",
        "empty folder": "guard",
        "second project is not there": "partial",
        "too many": "guard",
        "values are hidden": "hidden",
        "two values for one name": "ambiguous",
        "push deletes too many": "guard",
        "push of nothing": "guard",
        "push of two names that become one": "ambiguous",
    }
    assert "dev, prod" in failures["wrong environment"]["msg"]
    assert "many" in failures["wrong path"]["msg"].partition("Folders in '/':")[2]
    assert "allow_empty" in failures["empty folder"]["msg"]
    assert "12 of 14 entries" in failures["too many"]["msg"] and "max_delete_percent" in failures["too many"]["msg"]
    assert "11 of 12" in failures["push deletes too many"]["msg"]
    partial = failures["second project is not there"]
    assert list(partial["failed_projects"]) == ["no-project"]
    assert (partial["created"], partial["deleted"]) == (["DB_PASSWORD", "DB_USER"], [])
    # The one project that could be read was taken.
    assert vault.values() == {**MANY, **APP}
    assert vault.state()["error_count"] == 7
    assert server.values(PROJECT, "dev", "/many") == {name: [value] for name, value in MANY.items()}


def test_partial_push_reports_progress_and_is_completed_later(
    ansible: Controller, server: DevServer, vault: LocalVault
) -> None:
    server.use_profile("reference")  # it has no batches
    server.seed(document())
    server.arm("status", status=422, path="C_FAILS", method="POST", error="ValidationFailure", times=1)
    task = f"""
        {SYNC}: {{direction: push, secret_path: /app, secrets: {{A: a, B: b, C_FAILS: c, D: d}}}}
    """
    run = ansible.tasks(f"""
    - name: first
      {task.strip()}
      ignore_errors: true
    - name: second
      {task.strip()}
    """).succeeded()

    first, second = run.failure("first"), run.result("second")
    assert (first["conclusion"], first["changed"]) == ("partial", True)
    assert (first["written"], first["not_written"]) == (["A", "B", "D"], ["C_FAILS"])
    assert (first["created"], list(first["errors"])) == (["A", "B", "D"], ["C_FAILS"])
    assert second["created"] == ["C_FAILS"]
    assert {"A", "B", "C_FAILS", "D"} <= set(server.values(PROJECT, "dev", "/app"))


@pytest.mark.oldest
def test_push_without_read_permission_compares_with_state_file(
    ansible: Controller, server: DevServer, vault: LocalVault
) -> None:
    ansible.variables |= login_of("writer")
    vault.hold(MINE)
    state, keyed_state = vault.folder / "push.json", vault.folder / "hmac.json"
    source = "direction: push, secrets: {NEW: new, SECRET_1: other}"
    task = f"{SYNC}: {{{source}, state_file: {state}}}"
    keyed = f"{SYNC}: {{{source}, state_file: {keyed_state}, state_hash: hmac-sha256}}"
    run = ansible.tasks(f"""
        - name: first
          {task}
        - name: again
          {task}
        - name: and check mode
          {task}
          check_mode: true
        - name: hashed with the vault's key
          {keyed}
        - name: hashed with the vault's key again
          {keyed}
    """).succeeded()

    assert [run.result(name)["changed"] for name in ("first", "again", "and check mode")] == [True, False, False]
    assert run.result("hashed with the vault's key again")["changed"] is False
    assert server.values(PROJECT, "dev")["SECRET_1"] == ["other"]
    assert state.stat().st_mode & 0o777 == 0o600
    by_itself, by_key = (json.loads(path.read_text("utf-8")) for path in (state, keyed_state))
    assert (by_itself["state_hash"], by_key["state_hash"]) == ("sha256", "hmac-sha256")
    assert by_itself["secrets"]["NEW"]["hash"] == hashlib.sha256(b"NEW:new").hexdigest()
    assert by_key["secrets"]["NEW"]["hash"] != by_itself["secrets"]["NEW"]["hash"]


def test_locked_vault_is_reported_as_busy_but_can_be_read(
    ansible: Controller, server: DevServer, vault: LocalVault
) -> None:
    vault.hold(MINE)
    wait = "lock_wait: 0.25"
    cycle = files.lock_file(f"{vault.path}.cycle.lock", 1)
    with vault.open().writing(), cycle:
        run = ansible.tasks(f"""
            - name: sync
              {SYNC}: {{secret_path: /app, {wait}}}
              ignore_errors: true
            - name: entry
              keyfleet.infisical.infisical_vault: {{name: A, value: a, push: true, {wait}}}
              ignore_errors: true
            - name: plan
              {SYNC}: {{secret_path: /app}}
              check_mode: true
            - name: list
              keyfleet.infisical.infisical_vault_info:
        """).succeeded()

    for name in ("sync", "entry"):
        assert run.failure(name)["conclusion"] == "busy"
        assert "within 0.25 seconds" in run.failure(name)["msg"]
    assert run.result("plan")["created"] == ["DB_PASSWORD", "DB_USER"]
    assert [entry["name"] for entry in run.result("list")["secrets"]] == list(MINE)
    assert "A" not in server.values(PROJECT, "dev")
    assert vault.values() == MINE


def test_push_makes_cached_listings_stale_but_pull_does_not(
    ansible: Controller, server: DevServer, vault: LocalVault
) -> None:
    look = f"ansible.builtin.debug: {{msg: \"{{{{ lookup('{LOOKUP}', 'DB_USER', secret_path='/app') }}}}\"}}"
    run = ansible.tasks(f"""
        - name: before
          {look}
        - name: pull
          {SYNC}: {{secret_path: /tree, create_key: true}}
        - name: after the pull
          {look}
        - name: push
          {SYNC}: {{direction: push, secret_path: /app, secrets: {{DB_USER: pushed}}}}
        - name: after the push
          {look}
    """).succeeded()

    assert [run.result(name)["msg"] for name in ("before", "after the pull", "after the push")] == [
        "shop", "shop", "pushed",
    ]  # fmt: skip
    listings = [entry for entry in server.requests("/secrets$") if entry["method"] == "GET"]
    assert len(listings) == 4  # two lookups, the pull, and the push that looks before it writes
    assert len(server.requests("/universal-auth/login$")) == 1


REFUSED: tuple[tuple[str, str, str], ...] = (
    ("secrets: {A: b}", "configuration", "secrets: is only allowed with direction: push"),
    ("direction: push, project_ids: [a]", "configuration", "project_ids: is only allowed with direction: pull"),
    ("direction: push, secrets: {A: 012}", "configuration", "secrets: A: must be a string, not int"),
    ("direction: push, secrets: {A: {B: c}}", "configuration", "secrets: A: must be a string, not dict"),
    ("direction: push, secrets: A=b", "configuration", "secrets: must be a mapping of names to strings, not "),
    ("direction: push, secrets: {A: b}, source_file: /x", "configuration", "(got secrets and source_file;"),
    ("direction: push, source_file: /not/there", "configuration", "'/not/there' cannot be read"),
    ("direction: push, secrets: {A: b}, secret_path: /not/there", "scope_missing", "'/not/there' does not exist"),
    ("direction: push, from_vault: true", "vault_missing", "secrets.vault"),
    ("direction: push, prune: true", "configuration", "secrets, source_file or from_vault: true (got none;"),
    ("direction: push, prune: true, secrets: null", "configuration", "null counts as not set"),
    ("direction: push, prune: true, secrets: '{{ undefined_ | default(omit) }}'", "configuration", "(got none;"),
    ("direction: push, prune: true, from_vault: false", "configuration", "(got none;"),
    ("direction: push, source_file: /x, from_vault: true", "configuration", "(got source_file and from_vault;"),
    ("direction: push, secrets: {A: b}, from_vault: true", "configuration", "(got secrets and from_vault;"),
    ("from_vault: true", "configuration", "from_vault: is only allowed with direction: push"),
    ("project_ids: []", "configuration", "project_ids: must not be an empty list"),
    ("create_key: true, key_file: null, passphrase: long enough", "configuration", "create_key: needs key_file"),
    ("key_file: /not/there/key", "configuration", "/not/there/key"),
    ("vault_path: relative.vault, create_key: true", "configuration", "must be an absolute path"),
    ("vault_path: /not/there/vault, create_key: true", "storage", "/not/there"),
    ("key_format: '{name}'", "configuration", "key_format"),
    ("max_delete_percent: 101", "configuration", "max_delete_percent: must be between 0 and 100 (got 101)"),
    ("lock_wait: -1", "configuration", "lock_wait: must be between"),
    ("job: ''", "configuration", "job: must not be empty"),
    ("direction: sideways", "configuration", "value of direction must be one of: pull, push"),
)


def test_bad_input_error_names_the_option_and_changes_nothing(
    ansible: Controller, server: DevServer, vault: LocalVault
) -> None:
    del ansible.variables["infisical_key_file"]
    key = f"key_file: {vault.key}"
    tasks = "\n".join(
        f"- name: '{number}'\n  {SYNC}: {{{arguments}{'' if 'key_file' in arguments else ', ' + key}}}\n"
        "  ignore_errors: true"
        for number, (arguments, _conclusion, _said) in enumerate(REFUSED)
    )
    run = ansible.tasks(tasks).succeeded()

    for number, (arguments, conclusion, said) in enumerate(REFUSED):
        failure = run.failure(str(number))
        assert (failure["conclusion"], said in failure["msg"]) == (conclusion, True), (arguments, failure["msg"])
    assert server.values(PROJECT, "dev").keys() == {f"SECRET_{number}" for number in range(50)}
    assert not vault.path.exists()


@pytest.mark.oldest
def test_failed_task_reports_the_key_that_was_created(ansible: Controller, vault: LocalVault) -> None:
    key = vault.folder / "new"
    task = f"{{vault_path: {vault.folder}/other, key_file: {key}, create_key: true"
    run = ansible.tasks(f"""
        - name: pull
          {SYNC}: {task}, secret_path: /none/such}}
          ignore_errors: true
        - name: key is removed
          ansible.builtin.file: {{path: {key}, state: absent}}
        - name: entry
          keyfleet.infisical.infisical_vault: {task}, state_file: /not/there, name: A, value: b}}
          ignore_errors: true
    """)
    for name in ("pull", "entry"):
        failure = run.failure(name)
        assert failure["msg"].startswith(f"The key file {key} was created. "), failure["msg"]
        assert (failure["changed"], failure["key_created"]) == (True, True)


def test_lost_key_is_not_replaced_if_the_vault_exists(ansible: Controller, vault: LocalVault) -> None:
    vault.hold(MINE)
    vault.key.rename(vault.folder / "saved")
    run = ansible.tasks(f"""
        - name: key is lost
          {SYNC}: {{secret_path: /app, create_key: true}}
          ignore_errors: true
    """)
    failure = run.failure("key is lost")
    assert failure["conclusion"] == "wrong_key" and "Restore the key file" in failure["msg"]
    assert not vault.key.exists()
    (vault.folder / "saved").rename(vault.key)
    assert vault.values() == MINE


def test_group_module_defaults_accept_every_shared_option(
    ansible: Controller, server: DevServer, vault: LocalVault
) -> None:
    certificate = ansible.folder / "client.pem"
    write_private(certificate, b"".join(Authority.make("Fleet CA").issue("web1")))
    defaults = {
        "url": server.url, "auth_method": "universal_auth", "client_id": "admin-id",
        "client_secret": "admin-client-secret", "client_cert": str(certificate), "client_key": str(certificate),
        **dict.fromkeys(("token", "identity_id", "jwt", "jwt_path", "username", "password"), "unused"),
        "organization_slug": "lab", "project_id": PROJECT, "environment": "dev",
        "secret_path": "/app", "ca_path": "/etc/ssl/certs", "validate_certs": True, "allow_http": True, "timeout": 20,
        "api_version": "v4", "rate_limit_wait": 1, "server_error_wait": 1.5, "connection_wait": 0, "max_wait": 10,
        "max_response_size": 8,
    }  # fmt: skip
    assert set(defaults) == set(SHARED_OPTIONS) - {"proxy"}
    run = ansible.play(
        f"""
    - hosts: all
      gather_facts: false
      module_defaults:
        group/keyfleet.infisical.infisical: {json.dumps(defaults)}
      tasks:
        - name: pull
          {SYNC}: {{create_key: true}}
        - name: other project, though the defaults name one
          {SYNC}: {{project_ids: [{OTHER_PROJECT}]}}
        - name: all projects, though the defaults name one
          {SYNC}: {{project_ids: all, precedence: [{OTHER_PROJECT}]}}
        - name: entry
          keyfleet.infisical.infisical_vault: {{name: BY_HAND, value: mine}}
        - name: entry that is pushed
          keyfleet.infisical.infisical_vault: {{name: PUSHED, value: everywhere, push: true}}
        - name: list
          keyfleet.infisical.infisical_vault_info:
    """,
        variables=vault.variables,
        environment={"ANSIBLE_INJECT_INVOCATION": "true"},  # from ansible-core 2.21 on, not shown by default
    ).succeeded()
    without_server = run.result("entry")["invocation"]["module_args"]
    assert (without_server["url"], without_server["client_id"], without_server["client_secret"]) == (None, None, None)
    assert server.values(PROJECT, "dev", "/app")["PUSHED"] == ["everywhere"]
    assert run.result("all projects, though the defaults name one")["projects"] == [PROJECT, OTHER_PROJECT]
    assert [entry["name"] for entry in run.result("list")["secrets"]] == [
        "BY_HAND", "DB_PASSWORD", "DB_USER", "PUSHED",
    ]  # fmt: skip
    assert vault.values()["DB_USER"] == "other"
