# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that only read, against each kind of server, and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from dev_server.client import DevServer
from integration.controller import Controller
from integration.shop import PROFILES, PROJECT, login_of

READING = """
    - name: status
      keyfleet.infisical.infisical_status_info:
    - name: status without a login
      keyfleet.infisical.infisical_status_info: {client_secret: wrong}
    - name: status of nothing
      keyfleet.infisical.infisical_status_info: {url: "http://127.0.0.1:9"}
    - name: status without a URL
      keyfleet.infisical.infisical_status_info: {url: ""}
    - name: one project
      keyfleet.infisical.infisical_project_info:
    - name: projects
      keyfleet.infisical.infisical_project_info:
      ignore_errors: true
      vars: {infisical_project_id: ""}
    - name: all
      keyfleet.infisical.infisical_secret_info: {secret_path: /app}
    - name: one
      keyfleet.infisical.infisical_secret_info: {secret_path: /app, name: DB_USER}
    - name: none
      keyfleet.infisical.infisical_secret_info: {secret_path: /app, name: NOT_THERE}
    - name: values
      keyfleet.infisical.infisical_secret_info: {secret_path: /app, read_values: true}
      register: with_values
    - name: registered
      ansible.builtin.assert:
        that: with_values.secrets | map(attribute='value') | list == ['seeded password', 'shop']
"""


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.core
@pytest.mark.oldest
def test_every_info_module_returns_its_results_and_no_changes(
    ansible: Controller, server: DevServer, profile: str
) -> None:
    before = server.state()["projects"]
    run = ansible.tasks(READING, arguments=["--diff"]).succeeded()

    assert run.changed == 0 and server.state()["projects"] == before
    status = run.result("status")
    assert (status["reachable"], status["login_accepted"], status["conclusion"]) == (True, True, None)
    assert status["status_message"] == "Ok" and status["api_url"].startswith(server.url)
    refused = run.result("status without a login")
    assert (refused["reachable"], refused["login_accepted"]) == (True, False)
    assert refused["conclusion"] == "credentials_rejected" and "client_secret" in refused["message"]
    nothing = run.result("status of nothing")
    assert (nothing["reachable"], nothing["login_accepted"], nothing["conclusion"]) == (False, False, "unreachable")
    assert run.result("status without a URL")["conclusion"] == "configuration"

    environments = [{"slug": "dev", "name": "Development"}, {"slug": "prod", "name": "Production"}]
    (project,) = run.result("one project")["projects"]
    assert (project["id"], project["name"], project["environments"]) == (PROJECT, "Shop", environments)
    if profile == "2024":
        assert "Set project_id" in run.failure("projects")["msg"]
    else:
        assert run.result("projects")["projects"] == [project]

    secrets = run.result("all")["secrets"]
    assert [(secret["name"], secret["version"], secret["path"]) for secret in secrets] == [
        ("DB_PASSWORD", 1, "/app"), ("DB_USER", 1, "/app"),
    ]  # fmt: skip
    assert all("value" not in secret and secret["project_id"] == PROJECT for secret in secrets)
    assert [secret["name"] for secret in run.result("one")["secrets"]] == ["DB_USER"]
    assert run.result("none")["secrets"] == []
    assert set(run.result("values")) & {"secrets", "invocation"} == set()
    assert "seeded password" not in run.text + run.record


@pytest.mark.parametrize("profile", PROFILES)
def test_info_lists_subfolders_imports_tags_and_comments(
    ansible: Controller, seeded: Callable[..., None], profile: str
) -> None:
    seeded(
        secrets=[
            {"environment": "dev", "path": "/app/deep", "key": "DB_USER", "value": "", "tags": ["web"], "comment": "c"},
            {"environment": "dev", "path": "/shared", "key": "IMPORTED", "value": "x"},
        ],
        imports=[{"environment": "dev", "path": "/app", "from_environment": "dev", "from_path": "/shared"}],
    )
    run = ansible.tasks("""
        - name: below
          keyfleet.infisical.infisical_secret_info: {secret_path: /app, recursive: true}
        - name: imports
          keyfleet.infisical.infisical_secret_info: {secret_path: /app, include_imports: true}
    """).succeeded()

    below = run.result("below")["secrets"]
    assert [(secret["path"], secret["name"]) for secret in below] == [
        ("/app", "DB_PASSWORD"), ("/app", "DB_USER"), ("/app/deep", "DB_USER"),
    ]  # fmt: skip
    assert (below[2]["tags"], below[2]["comment"]) == (["web"], "c")
    imports = [(secret["path"], secret["name"]) for secret in run.result("imports")["secrets"]]
    assert imports == [("/app", "DB_PASSWORD"), ("/app", "DB_USER"), ("/shared", "IMPORTED")]


def test_hidden_values_are_reported_as_hidden(ansible: Controller, server: DevServer) -> None:
    ansible.variables |= login_of("hidden")
    run = ansible.tasks("""
        - name: names
          keyfleet.infisical.infisical_secret_info: {secret_path: /app}
        - name: values
          keyfleet.infisical.infisical_secret_info: {secret_path: /app, read_values: true}
          register: with_values
        - ansible.builtin.assert:
            that:
              - with_values.secrets | map(attribute='value_hidden') | list == [true, true]
              - with_values.secrets | map(attribute='value') | list == [none, none]
        - name: lookup
          ansible.builtin.debug:
            msg: "{{ lookup('keyfleet.infisical.infisical_secret', 'DB_USER', secret_path='/app') }}"
          ignore_errors: true
    """).succeeded()

    assert [secret["name"] for secret in run.result("names")["secrets"]] == ["DB_PASSWORD", "DB_USER"]
    message = run.failure("lookup")["msg"]
    assert "hides the value of 'DB_USER'" in message and "<hidden-by-infisical>" not in run.text


@pytest.mark.core
def test_info_module_works_on_the_ansible_command_line(
    ansible: Controller, server: DevServer, shop: dict[str, Any]
) -> None:
    names = {key.removeprefix("infisical_").upper(): str(value) for key, value in shop.items() if "wait" not in key}
    arguments = ["localhost", "-m", "keyfleet.infisical.infisical_secret_info", "-a", "secret_path=/app"]
    run = ansible.run(
        "ansible",
        arguments,
        hosts=["localhost"],
        variables={},
        environment={f"INFISICAL_{name}": value for name, value in names.items()},
    ).succeeded()

    assert run.text.startswith("localhost | SUCCESS =>")
    shown = json.loads(run.text.split("=>", 1)[1])
    assert [secret["name"] for secret in shown["secrets"]] == ["DB_PASSWORD", "DB_USER"]
    assert shop["infisical_client_secret"] not in run.text
