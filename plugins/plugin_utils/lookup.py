# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of all lookups: resolves and checks the options, and returns values unchanged."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import errors
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import IN_MODULE_DEFAULTS
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.redact import describe_unexpected
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import options
from jinja2.exceptions import UndefinedError

try:  # ansible-core 2.18: text that native Jinja does not convert
    from ansible.utils.native_jinja import NativeJinjaText as _Exact
except ImportError:
    _Exact = str


class InfisicalLookup(LookupBase):
    """A lookup whose subclass implements `find`.

    `self.shared` contains the options in `definitions`, keyed by name. They can also be set by variables, the
    environment and ansible.cfg. Other options, such as `on_missing` and `default`, are read with `get_option`.
    """

    definitions: options.Definitions = options.SHARED
    shared: dict[str, Any]

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        problem = ""
        found: list[Any] = []
        try:
            kwargs.pop("wantlist", None)  # passed by ansible-core 2.18 for `with_…`
            self._check_names(kwargs)
            self.shared = options.resolve(kwargs, variables or {}, self._templar.template, self.definitions)
            # Pass the defaults, because Ansible would look up missing options again, and would reject an empty value.
            defaults = {name: definition.get("default") for name, definition in self.definitions.items()}
            self.set_options(direct={**defaults, **kwargs, **self.shared, **self._own(kwargs)})
            names = [options.as_text("_terms", term) for term in self._flatten(terms)]
            # An empty list of names, for example from a variable, returns nothing. If no terms are given at all,
            # everything is returned.
            found = [_exact(value) for value in self.find(names)] if names or not terms else []
        except errors.InfisicalError as error:
            problem = str(error).replace(IN_MODULE_DEFAULTS, "")
        except (AnsibleError, UndefinedError):  # UndefinedError on ansible-core 2.18, for an undefined variable
            raise
        except Exception as error:  # the error's text may contain a secret
            problem = describe_unexpected(error)
        # Raise outside of the handlers, so that the new error has no cause, which could contain a secret.
        if problem:
            raise AnsibleLookupError(problem)
        return found

    def find(self, terms: list[Any]) -> list[Any]:
        """Return the result for the terms. Can raise InfisicalError."""
        raise NotImplementedError

    def missing(self, problem: str, hint: str) -> list[Any]:
        """Handle a missing name as `default` and `on_missing` specify: return the result, or raise SecretMissing."""
        default = self.get_option("default")
        if default is not None:
            return [default]
        if self.get_option("on_missing") == "error":
            raise errors.SecretMissing(problem, hint=hint)
        if self.get_option("on_missing") == "warn":
            self.warn(f"{problem} {hint}")
        return []

    def warn(self, text: str) -> None:
        """Print a warning."""
        Display().warning(text)

    def log(self, text: str) -> None:
        """Print a message at verbosity 1, such as the reason for a delay."""
        Display().v(text)

    def _own(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the lookup's own options. They are converted here, because Ansible reads any unknown text as the
        boolean `false`."""
        definitions = {name: self.option_definitions[name] for name in given if name not in self.definitions}
        return {
            name: options.convert(name, definition, given[name])
            for name, definition in definitions.items()
            if definition.get("type") != "raw"
        }

    def _check_names(self, given: dict[str, Any]) -> None:
        known = {name for name in self.option_definitions if not name.startswith("_")}
        for name in sorted(set(given) - known):
            raise errors.ConfigurationError(
                name, "is not an option of this lookup.", hint=f"The options are: {', '.join(sorted(known))}."
            )


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _exact(inner) for key, inner in value.items()}
    return _Exact(value) if isinstance(value, str) else value
