# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared options and those of a vault: from arguments, Ansible variables, the environment and ansible.cfg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible import constants as C
from ansible.module_utils.common.validation import check_type_bool, check_type_dict, check_type_float
from ansible.module_utils.common.yaml import yaml_load
from ansible.parsing.plugin_docs import read_docstring
from ansible_collections.keyfleet.infisical.plugins.doc_fragments.auth import ModuleDocFragment as AuthFragment
from ansible_collections.keyfleet.infisical.plugins.doc_fragments.scope import ModuleDocFragment as ScopeFragment
from ansible_collections.keyfleet.infisical.plugins.doc_fragments.vault import ModuleDocFragment as VaultFragment
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import NULL
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.keys import KEY_OPTIONS

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

MODULES = Path(__file__).parents[1] / "modules"
"""Where our modules are, whose documentation says of which types their options are."""

Definitions = dict[str, dict[str, Any]]
"""Options by name, as the doc fragments for plugins have them: what is documented is what is done."""

SHARED: Definitions = {**yaml_load(AuthFragment.PLUGINS)["options"], **yaml_load(ScopeFragment.PLUGINS)["options"]}
"""Which Infisical, which login, and where in it."""
VAULT: Definitions = yaml_load(VaultFragment.PLUGINS)["options"]
"""Which vault, and with which key."""
NAMES = frozenset(SHARED)
"""The names of all shared options."""

_SOURCES: dict[str, list[dict[str, Any]]] = {
    # The manager takes the last entry that is there. Each is needed by itself, because an empty one does not count.
    name: [{kind: [entry]} for kind in ("vars", "env", "ini") for entry in reversed(definition.get(kind, ()))]
    for name, definition in {**SHARED, **VAULT}.items()
}
"""Where an option is looked for but in the arguments, the first that is not empty counts."""

# Without type and choices, because the manager takes any text for a boolean `false`, and quotes what it refuses.
C.config.initialize_plugin_configuration_definitions(
    *_CONFIG,
    {
        **{
            name: {key: definition[key] for key in ("env", "ini", "vars") if key in definition}
            for name, definition in {**SHARED, **VAULT}.items()
        },
        **{f"{name} {number}": source for name, all_ in _SOURCES.items() for number, source in enumerate(all_)},
    },
)


def resolve(
    direct: Mapping[str, Any],
    variables: Mapping[str, Any],
    template: Callable[[Any], Any],
    definitions: Definitions = SHARED,
) -> dict[str, Any]:
    """The options of `definitions` that are set anywhere, {name: value}, of the types documented; None counts as not
    set, and so does empty text but in `direct`, since CI systems export variables that have no value. A key of a vault
    that is named in `direct` keeps the other keys from being looked up elsewhere.

    First come `direct` (a task's or lookup's own arguments), then Ansible variables, which are templated by
    `template`, then the controller's environment and ansible.cfg, which are taken as they are. Raises
    ConfigurationError naming the option, and whatever `template` raises.
    """
    resolved = {}
    chosen = any(direct.get(name) is not None for name in KEY_OPTIONS)
    # An identity that a task names is one to log in with, whatever the environment says of another way.
    by_identity = any(direct.get(name) is not None for name in _IDENTITY)
    by_variables = any(
        not _is_empty(variables.get(entry["name"]))
        for name in _IDENTITY
        for entry in definitions.get(name, {}).get("vars", ())
    )
    for name, definition in definitions.items():
        value, origin = direct.get(name), ""
        if value is None:
            if (chosen and name in KEY_OPTIONS) or (by_identity and name == "auth_method"):
                continue
            known = {entry["name"] for entry in definition.get("vars", ())}
            templated = {key: template(variables[key]) for key in known if key in variables}
            if name == "auth_method" and by_variables and all(map(_is_empty, templated.values())):
                continue
            value, origin = _looked_up(name, templated)
            if value is not None and _is_empty(value):
                sources = (_looked_up(f"{name} {number}", templated) for number in range(len(_SOURCES[name])))
                value, origin = next((found for found in sources if not _is_empty(found[0])), (None, ""))
        if value is not None:
            resolved[name] = converted(name, definition, value, origin)
    return resolved


_IDENTITY = ("client_id", "client_secret")


def _looked_up(name: str, variables: Mapping[str, Any]) -> tuple[Any, str]:
    """The value of an option, and where it comes from in Ansible's words, such as `env: INFISICAL_TIMEOUT`."""
    value, origin = C.config.get_config_value_and_origin(
        name, plugin_type=_CONFIG[0], plugin_name=_CONFIG[1], variables=variables
    )
    return value, str(origin)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


_TYPES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "bool": (check_type_bool, "true or false"),
    "float": (check_type_float, "a number"),
}
_NUMBERS = ("int", "float")


def converted(name: str, definition: Mapping[str, Any], value: Any, origin: str = "") -> Any:
    """An option's value as its documentation has it: true or false, a number, or else a string. `origin` is where it
    comes from if not from a task or lookup.

    Paths stay as they are written, because `~` is for the host that opens them. Raises ConfigurationError for another
    type or choice; a value that may be secret is not quoted.
    """
    wanted = definition.get("type", "str")
    if wanted in _TYPES:
        convert, meaning = _TYPES[wanted]
        try:
            if wanted == "bool" or not isinstance(value, bool):
                return convert(value)
        except (TypeError, ValueError):
            pass
        raise ConfigurationError(name, f"must be {meaning}{f' (set by {origin})' if origin else ''}.")
    text = as_text(name, value)
    choices = definition.get("choices")
    if choices and text not in choices:
        raise ConfigurationError(name, f"'{text}' is not one of {', '.join(choices)}.")
    return text


def documented(module: str) -> Definitions:
    """The options of one of our modules but the shared ones, by name, as they are documented."""
    # Not imported, which takes twenty times as long for a module that brings the whole library.
    documentation = read_docstring(str(MODULES / f"{module}.py"))["doc"]
    found: Definitions = dict(documentation.get("options") or {})
    for fragment, text in (("vault", VaultFragment.DOCUMENTATION), ("vault.write", VaultFragment.WRITE)):
        if f"keyfleet.infisical.{fragment}" in documentation.get("extends_documentation_fragment", ()):
            found.update(yaml_load(text)["options"])
    return found


def check_types(given: Mapping[str, Any], definitions: Definitions, within: str = "") -> None:
    """Refuse what YAML has made of text that was not quoted, before Ansible makes text of it again: 0644 would arrive
    as 420, `no` as False, 1:30 as 90, a date in another spelling.

    `within` is the option that has `given` as a part. Raises ConfigurationError without quoting a value.
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
        # Ansible takes text with commas for a list, and a single thing for a list of one.
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
    """Refuse what JSON would make text of without a word, such as a date, anywhere in a value."""
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
    """An option's value that must be a string, for YAML turns 0123 and 2026-01-01 into something else.

    Raises ConfigurationError without quoting it.
    """
    if getattr(value, "__ENCRYPTED__", False):  # ansible-vault on ansible-core 2.18; newer ones hand over text
        value = str(value)
    if isinstance(value, str):
        return value
    if name.split(": ")[-1] == "mode" and isinstance(value, (int, float)):
        raise ConfigurationError(name, f"must be a quoted string like '0644' (got the number {value}).")
    if value is None:
        raise ConfigurationError(name, NULL)
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
