# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all our lookups do: resolve the options, refuse unknown ones, and give values exactly as they are."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
    SecretMissing,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import NotGiven
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.redact import unexpected
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import options
from jinja2.exceptions import UndefinedError

try:  # ansible-core 2.18: text that native Jinja leaves alone
    from ansible.utils.native_jinja import NativeJinjaText as _Exact
except ImportError:
    _Exact = str


class InfisicalLookup(LookupBase):
    """A lookup whose `find` does the work; `self.shared` holds its `definitions` that are set, by name.

    They are the options that are looked up in variables, the environment and ansible.cfg too, and have the names of
    the same options of the modules. The lookup's own ones come by `get_option`; `on_missing` and `default` are among
    them.
    """

    definitions: options.Definitions = options.SHARED
    shared: dict[str, Any]

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        problem = ""
        found: list[Any] = []
        try:
            kwargs.pop("wantlist", None)  # ansible-core 2.18 hands it on where the lookup is used as `with_…`
            self._check_names(kwargs)
            self.shared = options.resolve(kwargs, variables or {}, self._templar.template, self.definitions)
            # With defaults, or Ansible would look the others up once more, and refuse one that is set to nothing.
            defaults = {name: definition.get("default") for name, definition in self.definitions.items()}
            self.set_options(direct={**defaults, **kwargs, **self.shared, **self._own(kwargs)})
            names = [options.as_text("_terms", term) for term in self._flatten(terms)]
            # An empty list of names, as a variable may hold it, asks for nothing; no terms at all ask for everything.
            found = [_exact(value) for value in self.find(names)] if names or not terms else []
        except NotGiven as error:
            problem = str(error.of_lookup())
        except InfisicalError as error:
            problem = str(error)
        except (AnsibleError, UndefinedError):  # the latter on ansible-core 2.18, for a variable that does not exist
            raise
        except Exception as error:  # its text may hold a secret
            problem = unexpected(error)
        # Outside of the handlers, so that the first exception does not hang on this one.
        if problem:
            raise AnsibleLookupError(problem)
        return found

    def find(self, terms: list[Any]) -> list[Any]:
        """What the lookup returns for its terms. May raise InfisicalError."""
        raise NotImplementedError

    def missing(self, problem: str) -> list[Any]:
        """What stands in place of a name that does not exist, as the options `default` and `on_missing` want it.

        Raises InfisicalError with `problem`, where that is what they want.
        """
        default = self.get_option("default")
        if default is not None:
            return [default]
        if self.get_option("on_missing") == "error":
            raise SecretMissing(problem, hint="")
        if self.get_option("on_missing") == "warn":
            self.warn(problem)
        return []

    def warn(self, text: str) -> None:
        """Tell whoever runs the playbook."""
        Display().warning(text)

    def log(self, text: str) -> None:
        """Tell whoever runs the playbook why it takes so long."""
        Display().v(text)

    def _own(self, given: dict[str, Any]) -> dict[str, Any]:
        """The lookup's own options, checked: Ansible would take any text for a boolean `false`."""
        definitions = self.option_definitions
        checked = (
            set(given) - set(self.definitions) - {name for name in given if definitions[name].get("type") == "raw"}
        )
        return {name: options.converted(name, definitions[name], given[name]) for name in checked}

    def _check_names(self, given: dict[str, Any]) -> None:
        known = {name for name in self.option_definitions if not name.startswith("_")}
        for name in sorted(set(given) - known):
            raise ConfigurationError(name, f"no such option. The options are: {', '.join(sorted(known))}.")


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _exact(inner) for key, inner in value.items()}
    return _Exact(value) if isinstance(value, str) else value
