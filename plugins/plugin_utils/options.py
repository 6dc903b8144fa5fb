# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolves options from arguments, Ansible variables, the environment and ansible.cfg, and checks their types."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible import constants as C
from ansible.module_utils.common.validation import check_type_bool, check_type_dict, check_type_float
from ansible.parsing.plugin_docs import read_docstring
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import NULL
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import (
    FILE_ONLY,
    OPTIONS,
    argument_spec,
    is_read,
    read_variable,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.keys import KEY_OPTIONS

try:  # since ansible-core 2.19, values from YAML have Ansible's own types
    from ansible.module_utils.datatag import native_type_name as _type_name

    _HINT = ""
except ImportError:
    _HINT = (
        ' If the value comes from a template, end it with "| string", because this ansible-core converts the result.'
    )

    def _type_name(value: object) -> str:
        return type(value).__name__


if TYPE_CHECKING:
    from collections.abc import Callable

_CONFIG = ("lookup", "keyfleet.infisical.shared_options")
"""The name of our option definitions in Ansible's configuration manager. No plugin has this name."""

_PLUGINS = Path(__file__).parents[1]
MODULES = _PLUGINS / "modules"
"""The directory of our modules. Their documentation contains the types of their options."""

Definitions = dict[str, dict[str, Any]]
"""Options keyed by name, each with the keys `type`, `choices` and `default`, as in documentation."""

SHARED: Definitions = argument_spec("infisical", without=FILE_ONLY)
"""The options for the connection, the login, and the location of secrets."""
VAULT: Definitions = argument_spec("vault", without=("state_file", "lock_wait"))
"""The options for the vault and its key."""
NAMES = frozenset(SHARED)
"""The names of the shared options."""

_FRAGMENTS: dict[str, Definitions] = {
    "keyfleet.infisical.vault": VAULT,
    "keyfleet.infisical.vault.write": {"create_key": {"type": "bool"}, "lock_wait": {"type": "float"}},
    "keyfleet.infisical.host_login": {
        name: {"type": "str"} for name in ("identity", "host_auth_method", "credentials", "credential_key")
    },
}
"""The options in documentation fragments, except the shared options."""

WORKER: Definitions = {"import_modules": {"type": "bool"}}
"""The option of the action plugins that no module has."""

_ENVIRONMENT = {
    "import_modules": ("INFISICAL_IMPORT_MODULES",),
    **{option.argument: option.environment for option in OPTIONS if option.section in ("infisical", "vault")},
}
"""The environment variables of each option, the preferred variable first."""

# Do not pass `type` and `choices`, because the manager reads any unknown text as the boolean `false`, and its errors
# quote invalid values.
C.config.initialize_plugin_configuration_definitions(
    *_CONFIG, {name: {"ini": [{"section": "infisical", "key": name}]} for name in (*SHARED, *VAULT, *WORKER)}
)


def resolve(
    direct: Mapping[str, Any],
    variables: Mapping[str, Any],
    template: Callable[[Any], Any],
    definitions: Definitions,
) -> dict[str, Any]:
    """Return the options in `definitions` that are set, {name: value}, converted to their documented types.

    Sources, in order of precedence: `direct` (the arguments of a task or lookup), Ansible variables (templated by
    `template`), the controller's environment, and ansible.cfg. None means not set. Outside `direct`, an empty text also
    means not set, because CI systems export empty variables. If `direct` contains a vault key, other vault keys are
    ignored. Raises ConfigurationError, and the errors of `template`.
    """
    resolved: dict[str, Any] = {}
    chosen = any(direct.get(name) is not None for name in KEY_OPTIONS)
    overridden = _find_overridden(name for name in definitions if direct.get(name) is not None)
    by_variables = _find_overridden(name for name in definitions if not _is_empty(variables.get(f"infisical_{name}")))
    for name, definition in definitions.items():
        value, origin = direct.get(name), ""
        if value is None:
            if (chosen and name in KEY_OPTIONS) or name in overridden:
                continue
            variable = f"infisical_{name}"
            value = template(variables[variable]) if variable in variables else None
            origin = f"var: {variable}"
            if _is_empty(value):
                if name in by_variables:
                    continue
                value, origin = _look_up(name, resolved.get("auth_method") or SHARED["auth_method"]["default"])
        if value is not None:
            resolved[name] = convert(name, definition, value, origin)
    return resolved


_OVERRIDES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    # Log in with this identity even if a later source sets another login method.
    (("client_id", "client_secret"), ("auth_method",)),
    # Do not log in with another identity from a later source if no source sets a login method for this identity.
    (("identity_id",), ("client_id", "client_secret", "token")),
    (("jwt", "jwt_path"), ("jwt", "jwt_path")),
)
"""Pairs of options. If a source sets one of the first, the second are not read from the sources after it."""


def _find_overridden(names: Iterable[str]) -> set[str]:
    """Return the options that are not read from the sources after a source that sets the options `names`."""
    given = set(names)
    return {name for chosen, later in _OVERRIDES if given.intersection(chosen) for name in later}


def _look_up(name: str, auth_method: str) -> tuple[Any, str]:
    """Return an option's value from the environment or ansible.cfg, and its source."""
    for variable in _ENVIRONMENT[name]:
        if is_read(variable, auth_method) and not _is_empty(os.environ.get(variable)):
            return read_variable(name, os.environ[variable]), f"env: {variable}"
    value, origin = C.config.get_config_value_and_origin(name, plugin_type=_CONFIG[0], plugin_name=_CONFIG[1])
    return None if _is_empty(value) else value, str(origin)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


_TYPES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "bool": (check_type_bool, "true or false"),
    "float": (check_type_float, "a number"),
}
_NUMBERS = ("int", "float")


def convert(name: str, definition: Mapping[str, Any], value: Any, origin: str = "") -> Any:
    """Return an option's value converted to its documented type: bool, float or str. `origin` is its source, for
    errors.

    In paths, `~` is not expanded, because it depends on the host that opens the path. Raises ConfigurationError if the
    value has another type or is not one of the choices. The error never quotes a secret.
    """
    wanted = definition.get("type", "str")
    if wanted in _TYPES:
        check, meaning = _TYPES[wanted]
        try:
            if wanted == "bool" or not isinstance(value, bool):
                return check(value)
        except (TypeError, ValueError):
            pass
        raise ConfigurationError(name, f"must be {meaning}{f' (set by {origin})' if origin else ''}.")
    text = as_text(name, value)
    choices = definition.get("choices")
    if choices and text not in choices:
        raise ConfigurationError(name, f"must be one of {', '.join(choices)} (got '{text}').")
    return text


def load_definitions(name: str, kind: str = "modules") -> Definitions:
    """Return the documented options of a module or another kind of plugin, without the shared options."""
    # Parse the file, because importing the module and the library would take twenty times as long.
    documentation = read_docstring(str(_PLUGINS / kind / f"{name}.py"))["doc"]
    found: Definitions = dict(documentation.get("options") or {})
    for fragment in documentation.get("extends_documentation_fragment", ()):
        found.update(_FRAGMENTS.get(fragment, {}))
    return found


def check_types(given: Mapping[str, Any], definitions: Definitions, within: str = "") -> None:
    """Refuse unquoted values that YAML has converted, before Ansible converts them to text. Otherwise, 0644 would
    become 420, `no` False, 1:30 90, and a date would change its format.

    `within` is the option that contains `given`. Raises ConfigurationError, without quoting a value.
    """
    for name, value in given.items():
        definition = definitions.get(name)
        if definition is not None and value is not None:
            _check_type(f"{within}{name}", definition, value)


def _check_type(label: str, definition: Mapping[str, Any], value: Any) -> None:
    wanted, parts = definition.get("type", "str"), definition.get("suboptions")
    if wanted in ("str", "path"):
        as_text(label, value)
    elif wanted in _NUMBERS and isinstance(value, bool):
        raise ConfigurationError(label, "must be a number, not true or false.")
    elif wanted == "list":
        # Ansible splits text at commas, and turns a single value into a list.
        of_one = not isinstance(value, Sequence) or isinstance(value, str)
        for entry in [value] if of_one else value:
            _check_type(label, {**definition, "type": definition.get("elements", "raw")}, entry)
    elif wanted == "dict":
        try:
            value = value if isinstance(value, Mapping) else check_type_dict(value)
        except (TypeError, ValueError):
            raise ConfigurationError(label, "must be a mapping of names to values.") from None
        if parts:
            called = next((value[name] for name in ("name", "path") if isinstance(value.get(name), str)), "")
            check_types(value, parts, f"{label}: {called}: " if called else f"{label}: ")
        else:
            _check_tree(label, value)


def _check_tree(label: str, value: Any) -> None:
    """Refuse values at any depth that JSON would silently convert to text, such as dates."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_tree(f"{label} (a key)", name)
            _check_tree(f"{label}: {name}", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            _check_tree(label, inner)
    elif not (value is None or isinstance(value, (bool, int, float))):
        as_text(label, value)


def as_text(name: str, value: Any) -> str:
    """Return an option's value if it is a string. YAML converts unquoted values such as 0123 and 2026-01-01, so any
    other type raises ConfigurationError, without quoting the value."""
    if getattr(value, "__ENCRYPTED__", False):  # ansible-vault on ansible-core 2.18; later versions pass text
        value = str(value)
    if isinstance(value, str):
        return value
    if name.split(": ")[-1] == "mode" and isinstance(value, (int, float)):
        raise ConfigurationError(name, f"must be a quoted string like '0644' (got the number {value}).")
    if value is None:
        raise ConfigurationError(name, NULL)
    raise ConfigurationError(name, f"must be a string, not {_type_name(value)}.", hint=f"Quote it in YAML.{_HINT}")


def as_texts(name: str, value: Any) -> dict[str, str]:
    """Return an option's value if it maps names to strings. Otherwise, raise ConfigurationError, without quoting a
    value."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(name, f"must be a mapping of names to strings, not {_type_name(value)}.")
    return {
        as_text(f"{name} (the name of a secret)", key): as_text(f"{name}: {key}", inner) for key, inner in value.items()
    }


def as_plain(given: Any) -> Any:
    """Return a copy of data without the types of Ansible, as a module gets it from Ansible in JSON: without tuples, and
    with text as the keys of mappings."""
    if isinstance(given, Mapping):
        # In JSON, the key `true` becomes "true".
        return {
            as_plain(key) if isinstance(key, str) else json.dumps(key, default=str).strip('"'): as_plain(value)
            for key, value in given.items()
        }
    if isinstance(given, (list, tuple)):
        return [as_plain(value) for value in given]
    if isinstance(given, bool) or given is None:
        return given
    for kind in (int, float):
        if isinstance(given, kind):
            return kind(given)
    # `str` alone returns the unsafe text of ansible-core 2.18 unchanged.
    return str.__str__(given if isinstance(given, str) else str(given))
