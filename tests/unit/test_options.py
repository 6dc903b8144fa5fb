# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options on the controller: the precedence of sources, the types of values, and errors that quote no secret."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ansible")

from ansible import constants as C
from ansible.module_utils.common.yaml import yaml_load
from ansible.parsing.plugin_docs import read_docstring
from ansible_collections.keyfleet.infisical.plugins.doc_fragments.attributes import (
    ModuleDocFragment as AttributesFragment,
)
from ansible_collections.keyfleet.infisical.plugins.doc_fragments.auth import ModuleDocFragment as AuthFragment
from ansible_collections.keyfleet.infisical.plugins.doc_fragments.scope import ModuleDocFragment as ScopeFragment
from ansible_collections.keyfleet.infisical.plugins.doc_fragments.vault import ModuleDocFragment as VaultFragment
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import OPTIONS, argument_spec
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login.methods import method_for
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.job import Pull, Push
from ansible_collections.keyfleet.infisical.plugins.module_utils.local_vault import VAULT_OPTIONS, WRITE_OPTIONS
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import SHARED_OPTIONS
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import action, options

CANARY = "Canary5f1c2a9e7b"


def resolve(direct: dict[str, Any], variables: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call `options.resolve` with templating that puts text in angle brackets, to make it visible."""

    def template(value: Any) -> Any:
        return f"<{value}>" if isinstance(value, str) else value

    return options.resolve(direct, variables or {}, template, options.SHARED)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in options.NAMES:
        monkeypatch.delenv(f"INFISICAL_{name.upper()}", raising=False)


def describe(definition: dict[str, Any]) -> tuple[Any, ...]:
    """Return the parts of an option that must be equal in the documentation and the table of options."""
    default = definition.get("default")
    return definition.get("type"), definition.get("choices"), list(default) if isinstance(default, tuple) else default


def test_documented_options_match_the_option_table() -> None:
    shared = {**yaml_load(AuthFragment.DOCUMENTATION)["options"], **yaml_load(ScopeFragment.DOCUMENTATION)["options"]}
    vault = yaml_load(VaultFragment.DOCUMENTATION)["options"]
    write = yaml_load(VaultFragment.WRITE)["options"]
    for documented, spec in (
        (shared, SHARED_OPTIONS),
        ({**vault, "state_file": {"type": "path"}}, VAULT_OPTIONS),
        (write, WRITE_OPTIONS),
    ):
        assert {name: describe(one) for name, one in documented.items()} == {
            name: describe(one) for name, one in spec.items()
        }


@pytest.mark.parametrize("section", ["sync", "push"])
def test_documented_sync_options_match_the_option_table(section: str) -> None:
    documented = options.load_definitions("infisical_sync")
    spec = {name: one for name, one in argument_spec(section).items() if name not in SHARED_OPTIONS}
    if section == "push":
        spec.pop("state_file")  # documented for both directions
    assert {name: describe(documented[name]) for name in spec} == {name: describe(one) for name, one in spec.items()}


def test_documented_option_sources_match_the_option_table() -> None:
    table = {option.argument: option for option in OPTIONS if option.section in ("infisical", "vault")}
    fragments = (AuthFragment, ScopeFragment, VaultFragment)
    documented = {name: one for each in fragments for name, one in yaml_load(each.PLUGINS)["options"].items()}
    assert set(documented) == {*options.SHARED, *options.VAULT}
    for name, definition in documented.items():
        assert [entry["name"] for entry in definition["env"]] == [*reversed(table[name].environment)]
        assert definition["vars"] == [{"name": f"infisical_{name}"}]
        assert definition["ini"] == [{"section": "infisical", "key": name}]
        assert ("type" in definition) != table[name].secret


@pytest.mark.parametrize(("section", "kind"), [("infisical", Settings), ("sync", Pull), ("push", Push)])
def test_dataclass_defaults_match_the_option_table(section: str, kind: Any) -> None:
    defaults = {field.name: field.default for field in fields(kind)}
    for option in OPTIONS:
        if option.section == section and option.name in defaults and option.default is not None:
            assert (option.name, defaults[option.name]) == (option.name, option.default)


def test_resolved_options_do_not_include_defaults() -> None:
    assert resolve({}) == {}


def test_argument_overrides_variable_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_ENVIRONMENT", "from environment")
    variables = {"infisical_environment": "from variable"}
    assert resolve({"environment": "argument"}, variables)["environment"] == "argument"
    assert resolve({"environment": None}, variables)["environment"] == "<from variable>"
    assert resolve({}, {"unrelated": "x"})["environment"] == "from environment"


def test_auth_method_variable_is_ignored_for_explicit_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_AUTH_METHOD", "token")
    assert resolve({"client_id": "x", "client_secret": "y"}) == {"client_id": "x", "client_secret": "y"}
    monkeypatch.setenv("INFISICAL_CLIENT_ID", "ambient")
    assert resolve({"url": "x"})["auth_method"] == "token"
    assert resolve({"client_id": "x", "auth_method": "token"})["auth_method"] == "token"


def test_auth_method_variable_is_ignored_for_ansible_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_AUTH_METHOD", "token")
    identity = {"infisical_client_id": "x", "infisical_client_secret": "y"}
    assert "auth_method" not in resolve({}, identity)
    with pytest.raises(ConfigurationError, match=r"got '<token>'"):  # the variable, as it was templated
        resolve({}, {**identity, "infisical_auth_method": "token"})


def test_only_ansible_variables_are_templated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_URL", "{{ x }}")
    resolved = resolve({"project_id": "{{ x }}"}, {"infisical_environment": "{{ x }}"})
    assert resolved == {"url": "{{ x }}", "project_id": "{{ x }}", "environment": "<{{ x }}>"}


def test_unused_variable_is_not_templated() -> None:
    def refuse(value: Any) -> Any:
        raise AssertionError(f"templated {value}")

    variables = {"infisical_url": "{{ undefined }}", "other": "{{ x }}"}
    assert options.resolve({"url": "x"}, variables, refuse, options.SHARED) == {"url": "x"}


def test_our_environment_variable_overrides_infisicals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_UNIVERSAL_AUTH_CLIENT_ID", "vendor's")
    assert resolve({})["client_id"] == "vendor's"
    monkeypatch.setenv("INFISICAL_CLIENT_ID", "ours")
    assert resolve({})["client_id"] == "ours"


@pytest.mark.parametrize("empty", ["", " "])
def test_empty_variable_is_ignored(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    monkeypatch.setenv("INFISICAL_CLIENT_ID", empty)
    monkeypatch.setenv("INFISICAL_UNIVERSAL_AUTH_CLIENT_ID", "vendor's")
    monkeypatch.setenv("INFISICAL_URL", "from environment")
    for name in ("INFISICAL_TIMEOUT", "INFISICAL_VALIDATE_CERTS", "INFISICAL_API_VERSION", "INFISICAL_KEY_FILE"):
        monkeypatch.setenv(name, empty)
    resolved = options.resolve({}, {"infisical_url": empty}, lambda value: value, options.SHARED)
    assert resolved == {"client_id": "vendor's", "url": "from environment"}
    assert options.resolve({}, {"infisical_key_file": empty}, lambda value: value, options.VAULT) == {}


def test_unset_option_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    manager = C.config.get_config_value_and_origin

    def count(name: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(name)
        return manager(name, *args, **kwargs)

    monkeypatch.setattr(C.config, "get_config_value_and_origin", count)
    assert resolve({}) == {}
    assert sorted(asked) == sorted(options.NAMES)


def test_empty_argument_overrides_other_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_PROXY", "http://proxy.example.com")
    assert resolve({"proxy": ""}) == {"proxy": ""}


def test_number_in_an_environment_variable_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_value_is_converted_to_the_documented_type(name: str, given: Any, wanted: Any) -> None:
    resolved = resolve({name: given})[name]
    assert (resolved, type(resolved)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("validate_certs", "perhaps"),
        ("timeout", "soon"),
        ("timeout", True),
        ("environment", True),
        ("environment", 1.5),
        ("project_id", ["x"]),
        ("client_secret", 12),
        ("client_secret", [CANARY]),
        ("token", {CANARY: CANARY}),
        ("proxy", [CANARY]),
    ],
)
def test_wrong_type_error_names_the_option_but_not_the_value(name: str, given: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve({name: given})
    assert caught.value.option == name
    assert CANARY not in str(caught.value)


def test_options_are_loaded_for_modules_with_action_plugins() -> None:
    rooms = [Path(str(action.__file__)).parents[1] / room for room in ("action", "modules")]
    names = [path.stem for path in rooms[0].glob("infisical_*.py")]
    modules = {path.stem for path in rooms[1].glob("infisical_*.py")}
    assert len(names) > 10 and set(names) == modules
    own = {name: options.load_definitions(name) for name in names}
    assert {"mode", "path"} <= set(own["infisical_agent"]["jobs"]["suboptions"]["files"]["suboptions"])
    for name, definition in {**VAULT_OPTIONS, **WRITE_OPTIONS}.items():
        assert own["infisical_vault"][name]["type"] == definition["type"]


@pytest.mark.parametrize(
    ("definition", "given"),
    [
        ({"type": "str"}, 420),
        ({"type": "str"}, False),
        ({"type": "str"}, date(2026, 1, 15)),
        ({"type": "path"}, 1.5),
        ({}, 12),
        ({"type": "int"}, True),
        ({"type": "float"}, False),
        ({"type": "list", "elements": "str"}, ["a", 12]),
        ({"type": "list", "elements": "path"}, 12),
        ({"type": "list", "elements": "int"}, [1, True]),
        ({"type": "dict"}, {"a": date(2026, 1, 15)}),
        ({"type": "dict"}, {"a": [{"b": date(2026, 1, 15)}]}),
        ({"type": "dict"}, {date(2026, 1, 15): "a"}),
        ({"type": "dict", "suboptions": {"mode": {"type": "str"}}}, {"mode": 420}),
        ({"type": "list", "elements": "dict", "suboptions": {"a": {"type": "str"}}}, [{"a": "x"}, {"a": False}]),
    ],
)
def test_string_that_yaml_converted_is_refused(definition: dict[str, Any], given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^option.*: must be a") as caught:
        options.check_types({"option": given}, {"option": definition})
    assert "2026" not in str(caught.value).replace("(a key)", "")


@pytest.mark.parametrize(
    ("definition", "given"),
    [
        ({"type": "str"}, None),
        ({"type": "str"}, "0644"),
        ({"type": "bool"}, True),
        ({"type": "int"}, "12"),
        ({"type": "float"}, 12),
        ({"type": "list", "elements": "str"}, "a,b"),
        ({"type": "list", "elements": "str"}, ["a"]),
        ({"type": "dict"}, {"a": {"value": "x", "encrypted": True}}),
        ({"type": "raw"}, date(2026, 1, 15)),
    ],
)
def test_value_of_the_documented_type_is_accepted(definition: dict[str, Any], given: Any) -> None:
    options.check_types({"option": given, "unknown": 1}, {"option": definition})


def test_unquoted_file_mode_error_shows_a_valid_mode() -> None:
    with pytest.raises(ConfigurationError) as caught:
        jobs = [{"name": "shop", "files": [{"path": "/etc/shop.env", "mode": 0o644}]}]
        options.check_types({"jobs": jobs}, options.load_definitions("infisical_agent"))
    assert str(caught.value) == (
        "jobs: shop: files: /etc/shop.env: mode: must be a quoted string like '0644' (got the number 420)."
    )


def test_invalid_number_error_names_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"max_response_size: must be a number\.\Z"):
        resolve({"max_response_size": "lots"})
    monkeypatch.setenv("INFISICAL_TIMEOUT", CANARY)
    with pytest.raises(ConfigurationError, match=r"must be a number \(set by env: INFISICAL_TIMEOUT\)") as caught:
        resolve({})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("given", [["a"], [1], [None], "a"])
def test_error_about_a_list_of_mappings_names_the_option(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="jobs: must be a mapping"):
        options.check_types({"jobs": given}, options.load_definitions("infisical_agent"))
    options.check_types({"jobs": ["name=shop", '{"name": "till"}']}, options.load_definitions("infisical_agent"))


def test_error_about_a_null_value_says_null() -> None:
    with pytest.raises(ConfigurationError, match=r"secrets: A: must be a string \(got null\)\.\Z"):
        options.as_texts("secrets", {"A": None})


def test_documented_action_plugins_exist() -> None:
    shared = yaml_load(AttributesFragment.DOCUMENTATION)["attributes"]["action"]
    documented = {}
    for path in options.MODULES.glob("*.py"):
        documentation = read_docstring(str(path))["doc"]
        assert "keyfleet.infisical.attributes" in documentation["extends_documentation_fragment"]
        own = documentation.get("attributes", {}).get("action", {})
        documented[path.stem] = {**shared, **own}["support"]
    plugins = (options.MODULES.parent / "action").glob("*.py")
    assert documented == {path.stem: "full" for path in plugins}


def test_plain_data_is_like_data_from_json() -> None:
    class Text(str):
        """Stands for the types of Ansible, such as unsafe text in ansible-core 2.18."""

        def __str__(self) -> str:  # pylint: disable=invalid-str-returned
            return self

    class Items(dict):  # type: ignore[type-arg]
        """Stands for the mappings of Ansible."""

    keys = Items({2: True, True: Text("c"), None: [Items()]})
    given = {Text("a"): Text("b"), "list": (1, None, 0.5), "keys": keys}
    plain = options.as_plain(given)
    assert plain == json.loads(json.dumps(given))
    assert {each.__class__ for each in (*plain, plain["a"], plain["keys"]["true"])} == {str}
    assert plain["keys"].__class__ is dict
    assert options.as_plain({date(2026, 1, 2): date(2026, 1, 2)}) == {"2026-01-02": "2026-01-02"}


OTHER = {"CLIENT_ID": "env", "CLIENT_SECRET": "env", "TOKEN": "env", "MACHINE_IDENTITY_ID": "env", "JWT": "env"}


@pytest.fixture
def _other_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that sets options of several login methods."""
    for name, value in OTHER.items():
        monkeypatch.setenv(f"INFISICAL_{name}", value)


@pytest.mark.usefixtures("_other_identity")
@pytest.mark.parametrize("source", ["arguments", "variables"])
def test_identity_excludes_another_identity_from_the_environment(source: str) -> None:
    def resolve_from(**given: str) -> dict[str, Any]:
        if source == "arguments":
            return resolve(given)
        variables = {f"infisical_{name}": value for name, value in given.items()}
        return options.resolve({}, variables, lambda value: value, options.SHARED)

    assert resolve_from(identity_id="ours") == {"identity_id": "ours", "jwt": "env"}
    assert resolve_from(identity_id="ours", jwt_path="/jwt") == {"identity_id": "ours", "jwt_path": "/jwt"}
    assert resolve_from(client_id="ours") == {
        "client_id": "ours", "client_secret": "env", "token": "env", "identity_id": "env", "jwt": "env",
    }  # fmt: skip
    assert set(resolve_from(project_id="p").values()) == {"p", "env"}


@pytest.mark.usefixtures("_other_identity")
def test_identity_without_a_method_is_refused() -> None:
    given = {"url": "https://infisical.example.com", **resolve({"identity_id": "ours"})}
    with pytest.raises(ConfigurationError, match="identity_id is given, but universal_auth does not use it"):
        method_for(Settings.from_options(given))


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("universal-auth", "universal_auth"), ("universal_auth", "universal_auth"), ("oidc-auth", "oidc_auth"),
        ("jwt-auth", "jwt_auth"), ("ldap-auth", "ldap_auth"), ("kubernetes", "kubernetes_auth"),
        ("azure", "azure_auth"), ("gcp-id-token", "gcp_auth"), ("aws-iam", "aws_auth"), ("token-auth", "token"),
        (" aws_auth ", "aws_auth"),
    ],
)  # fmt: skip
def test_environment_accepts_the_names_of_infisicals_tools(
    monkeypatch: pytest.MonkeyPatch, text: str, method: str
) -> None:
    monkeypatch.setenv("INFISICAL_AUTH_METHOD", text)
    assert resolve({}) == {"auth_method": method}
    if text.strip() != method:
        with pytest.raises(ConfigurationError, match="auth_method: must be one of"):
            resolve({"auth_method": text})


def test_unknown_method_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFISICAL_AUTH_METHOD", "gcp-iam")
    with pytest.raises(ConfigurationError, match="auth_method: must be one of universal_auth, token, oidc_auth"):
        resolve({})


@pytest.mark.parametrize(
    ("variable", "option"),
    [
        ("MACHINE_IDENTITY_ID", "identity_id"), ("OIDC_AUTH_JWT", "jwt"), ("JWT", "jwt"), ("TOKEN", "token"),
        ("KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH", "jwt_path"), ("LDAP_USERNAME", "username"),
        ("LDAP_PASSWORD", "password"), ("AUTH_ORGANIZATION_SLUG", "organization_slug"),
        ("CLIENT_CERT", "client_cert"), ("CLIENT_KEY", "client_key"),
    ],
)  # fmt: skip
def test_variable_of_infisicals_tools_sets_the_option(
    monkeypatch: pytest.MonkeyPatch, variable: str, option: str
) -> None:
    direct = {"auth_method": METHOD_OF_VARIABLE[variable]} if variable in METHOD_OF_VARIABLE else {}
    monkeypatch.setenv(f"INFISICAL_{variable}", "x")
    assert resolve(direct) == {**direct, option: "x"}


METHOD_OF_VARIABLE = {"OIDC_AUTH_JWT": "oidc_auth", "KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH": "kubernetes_auth"}


@pytest.mark.parametrize("variable", METHOD_OF_VARIABLE)
def test_variable_of_another_login_method_is_ignored(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(f"INFISICAL_{variable}", "x")
    assert resolve({"auth_method": "spiffe_auth"}) == {"auth_method": "spiffe_auth"}
    assert resolve({}) == {}
