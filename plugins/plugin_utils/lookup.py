# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of all lookups: resolves and checks the options, and returns values unchanged."""

from __future__ import annotations

from functools import cache
from typing import Any

from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import errors
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import IN_MODULE_DEFAULTS
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.redact import describe_unexpected
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import options
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fast_path import protect_from_jinja
from jinja2.exceptions import UndefinedError


class InfisicalLookup(LookupBase):
    """A lookup whose subclass implements `find`.

    `self.shared` contains the options in `definitions`, keyed by name. They can also be set by variables, the
    environment and ansible.cfg. `self.own` contains the other options, such as `on_missing` and `default`.
    """

    name: str
    """The name of the lookup, whose documentation contains the types of its own options."""
    definitions: options.Definitions = options.SHARED
    shared: dict[str, Any]
    own: dict[str, Any]

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        problem = ""
        found: list[Any] = []
        try:
            kwargs.pop("wantlist", None)  # passed by ansible-core 2.18 for `with_…`
            documented = _load_definitions(self.name)
            self._check_names(kwargs, {*documented, *self.definitions})
            self.shared = options.resolve(kwargs, variables or {}, self.evaluate, self.definitions)
            self.own = {name: _convert(name, definition, kwargs.get(name)) for name, definition in documented.items()}
            names = [options.as_text("_terms", term) for term in self._flatten(terms)]
            # An empty list of names, for example from a variable, returns nothing. If no terms are given at all,
            # everything is returned.
            found = [protect_from_jinja(value) for value in self.find(names)] if names or not terms else []
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

    def evaluate(self, value: Any) -> Any:
        """Return the value of a variable, which can be a template."""
        return self._templar.template(value)

    def missing(self, problem: str, hint: str) -> list[Any]:
        """Handle a missing name as `default` and `on_missing` specify: return the result, or raise SecretMissing."""
        if self.own["default"] is not None:
            return [self.own["default"]]
        if self.own["on_missing"] == "error":
            raise errors.SecretMissing(problem, hint=hint)
        if self.own["on_missing"] == "warn":
            self.warn(f"{problem} {hint}")
        return []

    def warn(self, text: str) -> None:
        """Print a warning."""
        Display().warning(text)

    def log(self, text: str) -> None:
        """Print a message at verbosity 1, such as the reason for a delay."""
        Display().v(text)

    @staticmethod
    def _check_names(given: dict[str, Any], known: set[str]) -> None:
        for name in sorted(set(given) - known):
            raise errors.ConfigurationError(
                name, "is not an option of this lookup.", hint=f"The options are: {', '.join(sorted(known))}."
            )


@cache
def _load_definitions(name: str) -> options.Definitions:
    definitions = options.load_definitions(name, "lookup")
    del definitions["_terms"]
    return definitions


def _convert(name: str, definition: dict[str, Any], given: Any) -> Any:
    """Return an option's value or default. Ansible would read any unknown text as the boolean `false`."""
    if given is None:
        return definition.get("default")
    return given if definition.get("type") == "raw" else options.convert(name, definition, given)
