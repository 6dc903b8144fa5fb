# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options on the controller: which source wins, what types come out, and that no refusal quotes a secret."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("ansible")

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import SHARED_OPTIONS
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import options

CANARY = "Canary5f1c2a9e7b"


def resolve(direct: dict[str, Any], variables: dict[str, Any] | None = None) -> dict[str, Any]:
    """`options.resolve` where templating puts text in brackets, so that it shows."""
    return options.resolve(direct, variables or {}, lambda value: f"<{value}>" if isinstance(value, str) else value)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in options.NAMES:
        monkeypatch.delenv(f"INFISICAL_{name.upper()}", raising=False)


def test_the_documented_options_are_those_of_every_module() -> None:
    assert set(options.NAMES) == set(SHARED_OPTIONS)


def test_the_defaults_are_left_to_whoever_uses_the_options() -> None:
    assert resolve({}) == {}


def test_an_argument_wins_over_a_variable_and_that_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_ENVIRONMENT", "from environment")
    variables = {"infisical_environment": "from variable"}
    assert resolve({"environment": "argument"}, variables)["environment"] == "argument"
    assert resolve({"environment": None}, variables)["environment"] == "<from variable>"
    assert resolve({}, {"unrelated": "x"})["environment"] == "from environment"


def test_ambient_auth_method_does_not_replace_a_named_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_AUTH_METHOD", "token")
    assert resolve({"client_id": "x", "client_secret": "y"}) == {"client_id": "x", "client_secret": "y"}
    assert resolve({"url": "x"})["auth_method"] == "token"
    assert resolve({"client_id": "x", "auth_method": "token"})["auth_method"] == "token"


def test_only_variables_are_templated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_URL", "{{ x }}")
    resolved = resolve({"project_id": "{{ x }}"}, {"infisical_environment": "{{ x }}"})
    assert resolved == {"url": "{{ x }}", "project_id": "{{ x }}", "environment": "<{{ x }}>"}


def test_a_variable_that_is_not_asked_for_is_not_templated() -> None:
    def refuse(value: Any) -> Any:
        raise AssertionError(f"templated {value}")

    variables = {"infisical_url": "{{ undefined }}", "other": "{{ x }}"}
    assert options.resolve({"url": "x"}, variables, refuse) == {"url": "x"}


def test_our_environment_variables_win_over_the_vendors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_UNIVERSAL_AUTH_CLIENT_ID", "vendor's")
    assert resolve({})["client_id"] == "vendor's"
    monkeypatch.setenv("INFISICAL_CLIENT_ID", "ours")
    assert resolve({})["client_id"] == "ours"


def test_every_option_has_an_environment_variable_of_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_MAX_WAIT", "5")
    assert resolve({}) == {"max_wait": 5.0}


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("validate_certs", "no", False),
        ("validate_certs", "true", True),
        ("allow_http", 1, True),
        ("timeout", "2.5", 2.5),
        ("timeout", 3, 3.0),
        ("environment", "", ""),
    ],
)
def test_types(name: str, given: Any, wanted: Any) -> None:
    resolved = resolve({name: given})[name]
    assert (resolved, type(resolved)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("validate_certs", "perhaps"),
        ("timeout", "soon"),
        ("environment", True),
        ("environment", 1.5),
        ("project_id", ["x"]),
        ("client_secret", 12),
        ("client_secret", [CANARY]),
        ("token", {CANARY: CANARY}),
        ("proxy", [CANARY]),
    ],
)
def test_what_has_another_type_is_refused_by_name_and_not_quoted(name: str, given: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve({name: given})
    assert caught.value.option == name
    assert CANARY not in str(caught.value)
