# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared options and those of a vault: from arguments, Ansible variables, the environment and ansible.cfg."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible import constants as C
from ansible.module_utils.common.validation import check_type_bool, check_type_float
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.keyfleet.infisical.plugins.doc_fragments.auth import ModuleDocFragment as AuthFragment
from ansible_collections.keyfleet.infisical.plugins.doc_fragments.scope import ModuleDocFragment as ScopeFragment
from ansible_collections.keyfleet.infisical.plugins.doc_fragments.vault import ModuleDocFragment as VaultFragment
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.keys import KEY_OPTIONS

try:  # from ansible-core 2.19 on, what comes from YAML has types of Ansible's own
    from ansible.module_utils.datatag import native_type_name as _type_name

    _HINT = ""
except ImportError:
    _HINT = " Where a template gives text that looks like that, this ansible-core makes it that: add the filter string."

    def _type_name(value: object) -> str:
        return type(value).__name__


if TYPE_CHECKING:
    from collections.abc import Callable

_CONFIG = ("lookup", "keyfleet.infisical.shared_options")
"""Under which name Ansible's configuration manager knows our definitions; no plugin is called so."""

Definitions = dict[str, dict[str, Any]]
"""Options by name, as the doc fragments for plugins have them: what is documented is what is done."""

SHARED: Definitions = {**yaml_load(AuthFragment.PLUGINS)["options"], **yaml_load(ScopeFragment.PLUGINS)["options"]}
"""Which Infisical, which login, and where in it."""
VAULT: Definitions = yaml_load(VaultFragment.PLUGINS)["options"]
"""Which vault, and with which key."""
NAMES = frozenset(SHARED)
"""The names of all shared options."""

# Without type and choices, because the manager takes any text for a boolean `false`, and quotes what it refuses.
C.config.initialize_plugin_configuration_definitions(
    *_CONFIG,
    {
        name: {key: definition[key] for key in ("env", "ini", "vars") if key in definition}
        for name, definition in {**SHARED, **VAULT}.items()
    },
)


def resolve(
    direct: Mapping[str, Any],
    variables: Mapping[str, Any],
    template: Callable[[Any], Any],
    definitions: Definitions = SHARED,
) -> dict[str, Any]:
    """The options of `definitions` that are set anywhere, {name: value}, of the types documented; None counts as not
    set. A key of a vault that is named in `direct` keeps the other keys from being looked up elsewhere.

    First come `direct` (a task's or lookup's own arguments), then Ansible variables, which are templated by
    `template`, then the controller's environment and ansible.cfg, which are taken as they are. Raises
    ConfigurationError naming the option, and whatever `template` raises.
    """
    resolved = {}
    chosen = any(direct.get(name) is not None for name in KEY_OPTIONS)
    # An identity that a task names is one to log in with, whatever the environment says of another way.
    by_identity = direct.get("client_id") is not None or direct.get("client_secret") is not None
    for name, definition in definitions.items():
        value = direct.get(name)
        if value is None:
            if (chosen and name in KEY_OPTIONS) or (by_identity and name == "auth_method"):
                continue
            known = {entry["name"] for entry in definition.get("vars", ())}
            templated = {key: template(variables[key]) for key in known if key in variables}
            value, _origin = C.config.get_config_value_and_origin(
                name, plugin_type=_CONFIG[0], plugin_name=_CONFIG[1], variables=templated
            )
        if value is not None:
            resolved[name] = converted(name, definition, value)
    return resolved


_TYPES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "bool": (check_type_bool, "true or false"),
    "float": (check_type_float, "a number of seconds"),
}


def converted(name: str, definition: Mapping[str, Any], value: Any) -> Any:
    """An option's value as its documentation has it: true or false, a number, or else a string.

    Paths stay as they are written, because `~` is for the host that opens them. Raises ConfigurationError for another
    type or choice; a value that may be secret is not quoted.
    """
    wanted = definition.get("type", "str")
    if wanted in _TYPES:
        convert, meaning = _TYPES[wanted]
        try:
            return convert(value)
        except (TypeError, ValueError):
            pass
        raise ConfigurationError(name, f"must be {meaning}.")
    text = as_text(name, value)
    choices = definition.get("choices")
    if choices and text not in choices:
        raise ConfigurationError(name, f"'{text}' is not one of {', '.join(choices)}.")
    return text


def as_text(name: str, value: Any) -> str:
    """An option's value that must be a string, for YAML turns 0123 and 2026-01-01 into something else.

    Raises ConfigurationError without quoting it.
    """
    if getattr(value, "__ENCRYPTED__", False):  # ansible-vault on ansible-core 2.18; newer ones hand over text
        value = str(value)
    if isinstance(value, str):
        return value
    raise ConfigurationError(name, f"must be a string, not {_type_name(value)}: quote it in YAML.{_HINT}")


def as_texts(name: str, value: Any) -> dict[str, str]:
    """An option's value that must be a mapping of names to strings.

    Raises ConfigurationError without quoting a value.
    """
    if not isinstance(value, Mapping):
        raise ConfigurationError(name, f"must be a mapping of names to strings, not {_type_name(value)}.")
    return {
        as_text(f"{name} (the name of a secret)", key): as_text(f"{name}: {key}", inner) for key, inner in value.items()
    }
