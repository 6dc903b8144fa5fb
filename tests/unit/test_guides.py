# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in the manual are valid, and use only modules, options and variables that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("yaml")
pytest.importorskip("ansible")

import yaml
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import LOGIN_METHODS, OPTIONS
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import options

CHECKOUT = Path(__file__).parents[2]
GUIDES = sorted((CHECKOUT / "docs/docsite/rst").glob("*.rst"))
NAMES = [guide.name for guide in GUIDES]
ROLE = yaml.safe_load((CHECKOUT / "roles/scheduled_sync/meta/argument_specs.yml").read_text("utf-8"))
ROLE_OPTIONS = ROLE["argument_specs"]["main"]["options"]
BY_VARIABLE = {name: option for option in OPTIONS for name in option.environment}
# Variables that are not options of a connection.
OTHER_VARIABLES = {"INFISICAL_CONFIG", "INFISICAL_IMPORT_MODULES"}


def read_examples(name: str, language: str) -> Iterator[str]:
    """Yield the code blocks of a guide in a language."""
    text = (CHECKOUT / "docs/docsite/rst" / name).read_text("utf-8")
    for match in re.finditer(rf"^( *)\.\. code-block:: {language}\n\n((?:\1 +.*\n|\n)+)", text, re.MULTILINE):
        yield textwrap.dedent(match[2])


def find_example(name: str, language: str, comment: str) -> str:
    """Return the code block that starts with a comment."""
    (found,) = (block for block in read_examples(name, language) if block.startswith(f"# {comment}\n"))
    return found


def find_tasks(node: Any) -> Iterator[dict[str, Any]]:
    """Yield all mappings in an example, which include its plays and tasks."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from find_tasks(child)


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_yaml_use_existing_options(name: str) -> None:
    for block in read_examples(name, "yaml"):
        for task in find_tasks(yaml.safe_load(block)):
            for key, arguments in task.items():
                module = re.fullmatch(r"keyfleet\.infisical\.(\w+)", str(key))
                if module and isinstance(arguments, dict):
                    known = {**options.load_definitions(module[1]), **options.SHARED}
                    assert set(arguments) <= set(known), f"{module[1]} in {block}"
                elif str(key).startswith("scheduled_sync_"):
                    assert key in ROLE_OPTIONS, block
                elif str(key).startswith("infisical_"):
                    assert key[len("infisical_") :] in {*options.SHARED, *options.VAULT}, block


@pytest.mark.parametrize("name", NAMES)
def test_environment_variables_in_guides_exist(name: str) -> None:
    text = (CHECKOUT / "docs/docsite/rst" / name).read_text("utf-8")
    unknown = set(re.findall(r"\bINFISICAL_[A-Z][A-Z_]*[A-Z]\b", text)) - set(BY_VARIABLE) - OTHER_VARIABLES
    assert not unknown


def test_guide_lists_the_variables_of_other_tools() -> None:
    text = (CHECKOUT / "docs/docsite/rst/guide_logins.rst").read_text("utf-8")
    row = r"^   \* - ``(\w+)``\n     - ``(INFISICAL_\w+)``\n     - ``(INFISICAL_\w+)``(?:, only for .*)?$"
    expected = [(option.name, *option.environment) for option in OPTIONS if option.vendor]
    assert re.findall(row, text, re.MULTILINE) == expected


def test_credential_type_sets_known_variables() -> None:
    inputs = yaml.safe_load(find_example("guide_pipelines.rst", "yaml", "Input configuration"))
    injectors = yaml.safe_load(find_example("guide_pipelines.rst", "yaml", "Injector configuration"))
    fields = {field["id"]: field for field in inputs["fields"]}
    used = {}
    for variable, template in injectors["env"].items():
        option = BY_VARIABLE[variable]
        used[option.name] = field = fields[re.fullmatch(r"\{\{ (\w+) \}\}", template)[1]]
        assert field["id"] == option.name
        assert field.get("secret", False) == option.secret
        assert option.environment[0] == variable
    assert list(used) == list(fields)
    assert set(inputs["required"]) <= set(fields)
    assert set(fields["auth_method"]["choices"]) <= set(LOGIN_METHODS)


def test_empty_fields_of_a_credential_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    injectors = yaml.safe_load(find_example("guide_pipelines.rst", "yaml", "Injector configuration"))
    given = {"url": "https://infisical.example.com", "auth_method": "oidc_auth", "identity_id": "id", "jwt": "token"}
    for variable, template in injectors["env"].items():
        monkeypatch.setenv(variable, given.get(template.strip("{ }"), ""))
    assert options.resolve({}, {}, lambda value: value, options.SHARED) == given


@pytest.mark.parametrize("comment", [".github/workflows/deploy.yml", ".gitlab-ci.yml"])
def test_jobs_set_the_options_of_a_login(comment: str) -> None:
    job = yaml.safe_load(find_example("guide_pipelines.rst", "yaml", comment))
    job = job["jobs"]["deploy"] if "jobs" in job else job["deploy"]
    variables = {**job.get("env", {}), **job.get("variables", {}), **job.get("id_tokens", {})}
    exported = re.findall(r"export (\w+)=", "".join(step.get("run", "") for step in job.get("steps", [])))
    given = {BY_VARIABLE[variable].name for variable in (*variables, *exported)}
    assert {"url", "auth_method", "identity_id", "project_id", "environment"} < given
    assert given & {"jwt", "jwt_path"}
    assert variables["INFISICAL_AUTH_METHOD"] in LOGIN_METHODS


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "jq"))), reason="needs bash and jq")
@pytest.mark.parametrize(("response", "output"), [('{"value": "e30.e30.c2ln"}', "600 e30.e30.c2ln"), ("{}", "")])
def test_github_job_stores_the_token_for_its_user(tmp_path: Path, response: str, output: str) -> None:
    job = yaml.safe_load(find_example("guide_pipelines.rst", "yaml", ".github/workflows/deploy.yml"))["jobs"]["deploy"]
    (step,) = (step for step in job["steps"] if step.get("shell") == "bash")
    for program, body in {
        "curl": f'case "$*" in *"Bearer request-token http://x/?a=b&audience=infisical"*) echo \'{response}\';; esac',
        "ansible-playbook": 'stat -c %a "$INFISICAL_JWT_PATH"; cat "$INFISICAL_JWT_PATH"',
    }.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / program).chmod(0o755)
    # GitHub runs steps with `shell: bash` like this.
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    run = subprocess.run(
        command,
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "RUNNER_TEMP": str(tmp_path),
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-token",
            "ACTIONS_ID_TOKEN_REQUEST_URL": "http://x/?a=b",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (" ".join(run.stdout.split()), bool(run.returncode)) == (output, not output)


def test_plugin_for_workload_identity_returns_the_token() -> None:
    namespace: dict[str, Any] = {}
    exec(find_example("guide_pipelines.rst", "python", "job_identity.py"), namespace)
    plugin = namespace["plugin"]
    names = [field["id"] for field in plugin.inputs["fields"]]
    assert plugin.backend(**{**dict.fromkeys(names, ""), "workload_identity_token": "e30.e30.c2ln"}) == "e30.e30.c2ln"
    assert set(plugin.inputs["required"]) < set(names)
    assert "job_identity:plugin" in find_example("guide_pipelines.rst", "toml", "pyproject.toml")
