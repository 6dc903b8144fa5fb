# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine identities and their client secrets in playbooks: check mode, idempotence, refusals and leaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dev_server.client import DevServer
from integration.controller import Controller, Run
from integration.leaks import Canary, leaks, places
from integration.shop import PROJECT, login_of

PREFIX = "keyfleet.infisical.infisical_"
PEM = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"
CA = PEM.replace("PUBLIC KEY", "CERTIFICATE")

STEPS: dict[str, tuple[dict[str, Any], list[str]]] = {
    # name: arguments besides the name, and the parts of the identity that change
    "new": (
        {"role": "viewer", "metadata": {"team": "web"}, "universal_auth": {}},
        ["identity", "role", "universal_auth"],
    ),
    "metadata": ({"metadata": {"team": "shop", "tier": "1"}}, ["identity"]),
    "no metadata": ({"metadata": {}}, ["identity"]),
    "role": ({"role": "no-access"}, ["role"]),
    "protected": ({"delete_protection": True}, ["identity"]),
    "unprotected": ({"delete_protection": False}, ["identity"]),
    "limits": (
        {"universal_auth": {"access_token_ttl": 600, "access_token_max_ttl": 900, "access_token_num_uses_limit": 3}},
        ["universal_auth"],
    ),
    "grants": (
        {"grants": [{"environment": "dev", "path": "/app", "recursive": True}, {"environment": "prod", "path": "/a*"}]},
        ["grants"],
    ),
    "other grants": ({"grants": [{"environment": "*", "access": "write"}]}, ["grants"]),
    "no grants": ({"grants": []}, ["grants"]),
    "jwt_auth": (
        {
            "jwt_auth": {
                "public_keys": [PEM],
                "issuer": "i",
                "audiences": ["b", "a"],
                "subject": "s",
                "claims": {"x": "y"},
            }
        },
        ["jwt_auth"],
    ),
    "other key": ({"jwt_auth": {"public_keys": [PEM.replace("MIIB", "MIIC")]}}, ["jwt_auth"]),
    "tls_cert_auth": ({"tls_cert_auth": {"ca_certificate": CA, "allowed_common_names": ["web1"]}}, ["tls_cert_auth"]),
    "aws_auth": ({"aws_auth": {"allowed_account_ids": ["1", "2"]}}, ["aws_auth"]),
    "kubernetes_auth": (
        {"kubernetes_auth": {"kubernetes_host": "https://k.example", "allowed_namespaces": ["web"]}},
        ["kubernetes_auth"],
    ),
    "oidc_auth": (
        {"oidc_auth": {"discovery_url": "https://ci.example", "issuer": "https://ci.example"}},
        ["oidc_auth"],
    ),
}


def _task(name: str, module: str, arguments: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    return {"name": name, PREFIX + module: arguments, **keywords}


def _play(ansible: Controller, tasks: list[dict[str, Any]], **options: Any) -> Run:
    return ansible.play(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]), **options)


def _writes(server: DevServer) -> list[str]:
    sent = server.requests("/identit|privilege")
    return [one["method"] for one in sent if one["method"] != "GET" and "/login" not in one["path"]]


def test_each_option_is_idempotent_and_has_check_mode(ansible: Controller, server: DevServer) -> None:
    tasks = []
    for step, (arguments, _parts) in STEPS.items():
        for mode in ("would change", "changes", "would stay", "stays"):
            task = {"name": "web1", **arguments}
            tasks.append(_task(f"{step}: {mode}", "identity", task, check_mode="would" in mode, diff=True))
    run = _play(ansible, tasks).succeeded()
    for step, (_arguments, parts) in STEPS.items():
        would, changes, stay, stays = (
            run.result(f"{step}: {mode}") for mode in ("would change", "changes", "would stay", "stays")
        )
        assert [one["changed"] for one in (would, changes, stay, stays)] == [True, True, False, False], step
        assert would["diff"] == changes["diff"], step
        assert sorted({*would["diff"]["before"], *would["diff"]["after"]}) == sorted(parts), step
        assert stay["diff"] == stays["diff"] == {"before": {}, "after": {}}
        assert stay["identity"] == stays["identity"] == changes["identity"]
    assert run.result("new: would change")["identity"] is None
    assert run.result("new: changes")["identity"]["metadata"] == {"team": "web", "managed_by": "keyfleet.infisical"}
    assert run.result("no metadata: stays")["identity"]["metadata"] == {"managed_by": "keyfleet.infisical"}
    assert run.result("new: changes")["client_id"] and run.result("role: changes")["client_id"] is None
    assert run.result("grants: stays")["grants"] == [
        {"environment": "dev", "path": "/app", "recursive": True, "access": "read"},
        {"environment": "prod", "path": "/a*", "recursive": False, "access": "read"},
    ]
    # A new identity takes three requests, and every other step one.
    assert len(_writes(server)) == len(STEPS) + 2


def test_identity_is_renamed_and_deleted_by_its_id(ansible: Controller, server: DevServer) -> None:
    by_id = {"id": "{{ made.identity.id }}"}
    run = _play(
        ansible,
        [
            _task("made", "identity", {"name": "web1"}, register="made"),
            _task("renamed", "identity", {**by_id, "name": "web2"}),
            _task("listed", "identity_info", {}),
            _task("would go", "identity", {**by_id, "state": "absent"}, check_mode=True),
            _task("goes", "identity", {**by_id, "state": "absent"}),
            _task("would be gone", "identity", {**by_id, "state": "absent"}, check_mode=True),
            _task("is gone", "identity", {"name": "web2", "state": "absent"}),
            _task("missing", "identity", {**by_id, "role": "viewer"}, ignore_errors=True),
            _task("empty", "identity_info", {}),
        ],
    ).succeeded()
    assert [one["name"] for one in run.result("listed")["identities"]] == ["web2"]
    assert [run.result(name)["changed"] for name in ("would go", "goes", "would be gone", "is gone")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert run.failure("missing")["conclusion"] == "identity_missing"
    assert run.result("empty")["identities"] == []


@pytest.mark.oldest
def test_client_secret_is_created_once_and_logs_in(ansible: Controller, server: DevServer) -> None:
    login = {"client_id": "{{ made.client_id }}", "client_secret": "{{ new.client_secret }}"}
    present = {"name": "web1", "description": "host", "ttl": 3600}
    grants = [{"environment": "dev", "path": "/app"}]
    made = {"name": "web1", "universal_auth": {}, "grants": grants}
    run = _play(
        ansible,
        [
            _task("identity", "identity", made, register="made"),
            _task("would create", "client_secret", present, check_mode=True, no_log=True, register="planned"),
            _task("creates", "client_secret", present, no_log=True, register="new"),
            _task("would stay", "client_secret", present, check_mode=True, no_log=True, register="stays"),
            _task("shown without no_log", "client_secret", present),
            _task("too short", "client_secret", {**present, "renew_before": 3599}, no_log=True, register="renewed"),
            _task("log in", "secret_info", {"secret_path": "/app", **login}),
            _task("elsewhere", "secret_info", {"secret_path": "/", "environment": "prod", **login}, ignore_errors=True),
            _task("details", "identity_info", {"name": "web1", "details": True}),
            {
                "name": "check",
                "ansible.builtin.assert": {
                    "that": [
                        "planned is changed and planned.client_secret is none and planned.client_secret_id is none",
                        "new is changed and new.client_secret | length > 20",
                        "stays is not changed and stays.client_secret is none",
                        "stays.client_secret_id == new.client_secret_id and stays.expires_at == new.expires_at",
                        "renewed is not changed or renewed.client_secret != new.client_secret",
                    ]
                },
                "no_log": True,
            },
        ],
    ).succeeded()
    shown = run.result("shown without no_log")
    assert (shown["changed"], shown["client_secret"], bool(shown["client_secret_id"])) == (False, None, True)
    assert [secret["name"] for secret in run.result("log in")["secrets"]] == ["DB_PASSWORD", "DB_USER"]
    [details] = run.result("details")["identities"]
    assert {one["description"] for one in details["client_secrets"]} == {"host"}
    assert all(one["valid"] and "client_secret" not in one for one in details["client_secrets"])
    assert (details["roles"], details["grants"]) == (
        ["no-access"],
        [{**grants[0], "recursive": False, "access": "read"}],
    )
    assert set(details["login_methods"]) == {"universal_auth"}


def _secrets_of(server: DevServer, run: Run, task: str) -> dict[str, bool]:
    [identity] = run.result(task)["identities"]
    return {one["client_secret_id"]: one["revoked"] for one in identity["client_secrets"]}


def test_client_secret_is_rotated_and_revoked(ansible: Controller, server: DevServer) -> None:
    host = {"name": "web1", "description": "host"}
    details = {"name": "web1", "details": True}
    run = _play(
        ansible,
        [
            _task("identity", "identity", {"name": "web1", "universal_auth": {}}),
            _task("other", "client_secret", {"name": "web1", "description": "other"}, no_log=True),
            _task("first", "client_secret", host, no_log=True, register="first"),
            _task("would rotate", "client_secret", {**host, "state": "rotated"}, no_log=True, check_mode=True),
            _task("before", "identity_info", details),
            _task("rotates", "client_secret", {**host, "state": "rotated"}, no_log=True, register="second"),
            _task("after", "identity_info", details),
            _task("kept", "client_secret", {**host, "state": "revoked", "keep": ["{{ second.client_secret_id }}"]}),
            _task("would revoke", "client_secret", {**host, "state": "revoked"}, check_mode=True),
            _task("revokes", "client_secret", {**host, "state": "revoked"}),
            _task("stays revoked", "client_secret", {**host, "state": "revoked"}),
            _task("end", "identity_info", details),
            _task("unknown id", "client_secret", {"name": "web1", "client_secret_id": "x", "state": "revoked"}),
            _task("unknown kept", "client_secret", {**host, "state": "revoked", "keep": ["y"]}),
            {
                "name": "ids",
                "ansible.builtin.assert": {
                    "that": [
                        "second.revoked == [first.client_secret_id] and second.not_revoked == []",
                        "second.client_secret != first.client_secret",
                    ]
                },
                "no_log": True,
            },
        ],
    ).succeeded()
    assert sorted(_secrets_of(server, run, "before").values()) == [False, False]
    assert sorted(_secrets_of(server, run, "after").values()) == [False, False, True]
    assert sorted(_secrets_of(server, run, "end").values()) == [False, True, True]
    assert [run.result(one)["changed"] for one in ("kept", "would revoke", "revokes", "stays revoked")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert len(run.result("revokes")["revoked"]) == 1
    assert run.result("would revoke")["msg"] == "Client secrets of identity web1: 1 would be revoked."
    for task, id_ in {"unknown id": "client_secret_id: ", "unknown kept": "keep: "}.items():
        [warning] = run.result(task)["warnings"]
        assert warning.startswith(id_) and "has no client secret with the id" in warning


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "no no_log": ("client_secret", {"name": "web1", "description": "new"}, {}, "no_log: must be true"),
    "no no_log in check mode": (
        "client_secret", {"name": "web1", "description": "new"}, {"check_mode": True}, "no_log: must be true",
    ),
    "rotated without no_log": (
        "client_secret", {"name": "web1", "description": "new", "state": "rotated"}, {}, "no_log: must be true",
    ),
    "async": (
        "client_secret", {"name": "web1", "description": "new"}, {"no_log": True, "async": 9, "poll": 1},
        "async: must not be set",
    ),
    "no description": ("client_secret", {"name": "web1"}, {"no_log": True}, "description: must be set"),
    "negative ttl": ("client_secret", {"name": "web1", "description": "a", "ttl": -1}, {"no_log": True}, "(got -1)"),
    "huge ttl": (
        "client_secret", {"name": "web1", "description": "a", "ttl": 10**11}, {"no_log": True}, "at most 315360000",
    ),
    "empty role": ("identity", {"name": "a", "role": ""}, {}, "role: must not be empty. Set role to the slug"),
    "role without a hint": ("identity", {"name": "a", "role": "nope"}, {"check_mode": False}, "such as viewer."),
    "renewal after the end": (
        "client_secret", {"name": "web1", "description": "a", "ttl": 9, "renew_before": 9}, {"no_log": True}, "(got 9)",
    ),
    "no identity": ("client_secret", {"name": "web9", "description": "a"}, {"no_log": True}, "has no identity with"),
    "no universal auth": (
        "client_secret", {"name": "bare", "description": "a"}, {"no_log": True}, "Failed to find universal auth",
    ),
    "neither name nor id": ("identity", {"role": "viewer"}, {}, "name: must be set if id is not."),
    "path without slash": ("identity", {"name": "a", "grants": [{"environment": "dev", "path": "x"}]}, {}, "(got 'x')"),
    "grant without environment": ("identity", {"name": "a", "grants": [{"path": "/"}]}, {}, "environment"),
    "metadata of another type": ("identity", {"name": "a", "metadata": {"a": 1}}, {}, "must be a string"),
    "lifetime above maximum": (
        "identity", {"name": "a", "universal_auth": {"access_token_ttl": 9, "access_token_max_ttl": 8}}, {}, "(got 9)",
    ),
    "key is missing": ("identity", {"name": "a", "jwt_auth": {"subject": "s"}}, {}, "public_keys"),
    "unknown role": ("identity", {"name": "a", "role": "nope"}, {"check_mode": False}, "Role with slug 'nope'"),
    "empty metadata": ("identity", {"name": "a", "metadata": {"a": " "}}, {}, "empty keys or values (got 'a')"),
    "paid addresses": (
        "identity",
        {"name": "b", "universal_auth": {"access_token_trusted_ips": ["10.0.0.0/8"]}},
        {},
        "plan restriction",
    ),
    "viewer": ("identity", {"name": "web2"}, {"vars": login_of("viewer")}, "the role 'admin'"),
    "viewer deletes": (
        "identity", {"name": "web1", "state": "absent"}, {"vars": login_of("viewer")},
        "Give the role 'admin' to the machine identity that is logged in (",
    ),
}  # fmt: skip


def test_bad_input_is_refused_with_a_message(ansible: Controller, server: DevServer) -> None:
    tasks = [
        _task("identity", "identity", {"name": "web1", "universal_auth": {}}),
        _task("bare", "identity", {"name": "bare"}),
        *(
            _task(name, module, arguments, ignore_errors=True, **{"register": f"r{number}", **keywords})
            for number, (name, (module, arguments, keywords, _words)) in enumerate(REFUSED.items())
        ),
        *(
            {"name": f"why {name}", "ansible.builtin.debug": {"msg": f"{{{{ r{number}.msg }}}}"}}
            for number, name in enumerate(REFUSED)
        ),
    ]
    run = _play(ansible, tasks).succeeded()
    said = {name: run.result(f"why {name}")["msg"] for name in REFUSED}
    assert {name: said[name] for name, (*_task, words) in REFUSED.items() if words not in said[name]} == {}
    assert [one for one in server.requests("/client-secrets$") if one["method"] == "POST"] == []


def test_unreadable_result_hint_rotates_the_client_secret(ansible: Controller, server: DevServer) -> None:
    python = ansible.folder / "python"
    python.write_text(f'#!/bin/sh\nout=$({ansible.python} "$@"); printf "%s" "${{out%?}}"\n', "utf-8")
    python.chmod(0o755)
    new = {"name": "web1", "description": "a"}
    broken = {"ansible_python_interpreter": str(python)}
    run = _play(
        ansible,
        [
            _task("identity", "identity", {"name": "web1", "universal_auth": {}}),
            _task("new", "client_secret", new, no_log=True, vars=broken, register="r", ignore_errors=True),
            {"name": "why", "ansible.builtin.debug": {"msg": "{{ r.hint }}"}},
            _task("rotated", "client_secret", {**new, "state": "rotated"}, no_log=True, register="rotated"),
            {"name": "revoked", "ansible.builtin.debug": {"msg": "{{ rotated.revoked }}"}},
        ],
        environment={"INFISICAL_IMPORT_MODULES": "false"},
    ).succeeded()
    assert "Run the task with state: rotated, which revokes" in run.result("why")["msg"]
    assert "no_log" not in run.result("why")["msg"]
    assert len(run.result("revoked")["msg"]) == 1


def test_setting_no_target_syslog_is_not_no_log(ansible: Controller, server: DevServer) -> None:
    run = _play(
        ansible,
        [
            _task("identity", "identity", {"name": "web1", "universal_auth": {}}),
            _task("new", "client_secret", {"name": "web1", "description": "a"}, ignore_errors=True),
        ],
        config="[defaults]\nno_target_syslog = true\n",
        environment={"INFISICAL_IMPORT_MODULES": "false"},
    ).succeeded()
    assert "no_log: must be true" in run.failure("new")["msg"]


def test_identities_of_one_name_are_listed_with_their_ids(ansible: Controller, server: DevServer) -> None:
    create = {
        "name": "by hand",
        "ansible.builtin.uri": {
            "url": f"{server.url}/api/v1/projects/{PROJECT}/identities",
            "method": "POST",
            "body_format": "json",
            "body": {"name": "web1"},
            "headers": {"Authorization": "Bearer {{ login.json.accessToken }}"},
        },
        "loop": [1, 2],
        "register": "made",
    }
    log_in = {
        "name": "log in",
        "ansible.builtin.uri": {
            "url": f"{server.url}/api/v1/auth/universal-auth/login",
            "method": "POST",
            "body_format": "json",
            "body": {"clientId": "admin-id", "clientSecret": "admin-client-secret"},
        },
        "register": "login",
    }
    run = _play(
        ansible,
        [
            log_in,
            create,
            _task("ambiguous", "identity", {"name": "web1", "role": "viewer"}, ignore_errors=True),
            _task("by id", "identity", {"id": "{{ made.results[1].json.identity.id }}", "metadata": {"a": "b"}}),
            _task(
                "ours",
                "identity",
                {"id": "{{ made.results[0].json.identity.id }}", "metadata": {"managed_by": "keyfleet.infisical"}},
            ),
            _task("by metadata", "identity", {"name": "web1", "role": "viewer"}),
        ],
    ).succeeded()
    ids = [item["json"]["identity"]["id"] for item in run.items("by hand")]
    failure = run.failure("ambiguous")
    assert failure["conclusion"] == "ambiguous" and all(one in failure["msg"] for one in ids)
    assert run.result("by id")["identity"]["id"] == ids[1]
    assert run.result("by metadata")["identity"]["id"] == ids[0]


def test_own_identity_and_login_are_not_removed(ansible: Controller, server: DevServer) -> None:
    own = {
        "vars": {"infisical_client_id": "{{ made.client_id }}", "infisical_client_secret": "{{ new.client_secret }}"}
    }
    made = {"name": "manager", "role": "admin", "universal_auth": {}}
    run = _play(
        ansible,
        [
            _task("identity", "identity", made, register="made"),
            _task("new", "client_secret", {"name": "manager", "description": "a"}, no_log=True, register="new"),
            _task("delete", "identity", {"name": "manager", "state": "absent"}, ignore_errors=True, **own),
            _task("revoke", "client_secret", {"name": "manager", "description": "a", "state": "revoked"},
                  ignore_errors=True, **own),
            _task("lower", "identity", {"name": "manager", "role": "viewer"}, ignore_errors=True, **own),
            _task("would lower", "identity", {"name": "manager", "role": "viewer"}, ignore_errors=True,
                  check_mode=True, **own),
            _task("still there", "identity_info", {"name": "manager", "details": True}, **own),
        ],
    ).succeeded()  # fmt: skip
    for task in ("delete", "revoke", "lower", "would lower"):
        assert run.failure(task)["conclusion"] == "guard"
        assert "Log in as another identity" in run.failure(task)["hint"]
    assert list(_secrets_of(server, run, "still there").values()) == [False]


@pytest.mark.parametrize("profile", ["2024"])
def test_older_server_is_refused(ansible: Controller, server: DevServer, profile: str) -> None:
    tasks = {
        "identity": {"name": "web1"},
        "client_secret": {"name": "web1", "description": "a"},
        "identity_info": {},
    }
    run = _play(
        ansible,
        [_task(module, module, arguments, ignore_errors=True) for module, arguments in tasks.items()],
    ).succeeded()
    for module in tasks:
        assert run.failure(module)["conclusion"] == "route_missing"
        assert "cannot manage the identities of a project" in run.failure(module)["msg"]
    assert _writes(server) == []


@pytest.mark.parametrize("way", ["true", "false"])
def test_new_client_secret_leaks_nowhere(
    ansible: Controller, server: DevServer, tmp_path_factory: pytest.TempPathFactory, way: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    host = {"name": "web1", "description": "host"}

    def keep(registered: str) -> dict[str, Any]:
        arguments = {"content": f"{{{{ {registered}.client_secret }}}}", "dest": f"{outside}/{registered}"}
        return {"name": f"keep {registered}", "ansible.builtin.copy": arguments, "no_log": True}

    tasks = [
        _task("identity", "identity", {"name": "web1", "universal_auth": {}}),
        _task("first", "client_secret", host, no_log=True, register="first"),
        keep("first"),
        _task("again", "client_secret", host),
        _task("second", "client_secret", {**host, "state": "rotated"}, no_log=True, register="second"),
        keep("second"),
        _task("details", "identity_info", {"name": "web1", "details": True}),
        _task("fails", "client_secret", {**host, "state": "rotated"}, no_log=True, ignore_errors=True),
        _task("revoked", "client_secret", {**host, "state": "revoked"}),
        _task("absent", "identity", {"name": "web1", "state": "absent"}),
    ]
    run = _play(
        ansible,
        tasks,
        arguments=["-vvvv", "--diff"],
        watch=True,
        environment={
            "ANSIBLE_INJECT_INVOCATION": "true",
            "ANSIBLE_LOG_PATH": str(ansible.folder / "log"),
            "ANSIBLE_PIPELINING": "false",
            "INFISICAL_IMPORT_MODULES": way,
        },
    ).succeeded()
    secrets = [Path(outside, name).read_text("utf-8") for name in ("first", "second")]
    assert len(set(secrets)) == 2 and all(len(secret) == 64 for secret in secrets)
    assert leaks([Canary(secret) for secret in secrets], places(ansible, run)) == {}
    assert run.result("again")["client_secret"] is None
    assert "changed" in run.result("first")


@pytest.mark.parametrize("way", ["true", "false"])
def test_private_key_is_refused_and_leaks_nowhere(ansible: Controller, server: DevServer, way: str) -> None:
    canary = Canary("CanaryKey8e31d7")
    (ansible.folder / "vars.json").write_text(json.dumps({"key": PEM.replace("MIIB", canary.core)}), "utf-8")
    private = "{{ (lookup('file', playbook_dir ~ '/vars.json') | from_json).key | replace('PUBLIC', 'PRIVATE') }}"
    settings = {
        "public": {"jwt_auth": {"public_keys": [private]}},
        "text": {"jwt_auth": "{{ {'public_keys': [" + private.strip("{} ") + "]} | to_json }}"},
        "ca": {"tls_cert_auth": {"ca_certificate": private}},
        "other ca": {"kubernetes_auth": {"kubernetes_host": "https://k.example", "ca_certificate": private}},
    }
    run = _play(
        ansible,
        [_task(name, "identity", {"name": "web1", **one}, ignore_errors=True) for name, one in settings.items()],
        arguments=["-vvvv", "--diff"],
        watch=True,
        environment={
            "ANSIBLE_INJECT_INVOCATION": "true",
            "ANSIBLE_LOG_PATH": str(ansible.folder / "log"),
            "INFISICAL_IMPORT_MODULES": way,
        },
    ).succeeded()
    (ansible.folder / "vars.json").unlink()
    for name in settings:
        assert "must not contain a private key" in run.failure(name)["problem"]
    assert _writes(server) == []
    assert leaks([canary], places(ansible, run)) == {}


@pytest.mark.core
def test_error_of_a_task_with_no_log_is_printed(ansible: Controller, server: DevServer) -> None:
    run = _play(ansible, [_task("fails", "client_secret", {"name": "web9", "description": "a"}, no_log=True)])
    assert "has no identity with the name 'web9'" in " ".join(run.text.split())
