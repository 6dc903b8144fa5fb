# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slow path of the lookup infisical_secret: checks all options, and fetches the secrets if necessary."""

from __future__ import annotations

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import errors, model
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.answers import Operation, hint_for
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fast_path import FastPath
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.lookup import InfisicalLookup
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.run_cache import RunCache, Values


class SecretLookup(InfisicalLookup):
    """Returns values in the order of the names, or a mapping of all secrets. `fast` is the fast path for the same
    options."""

    name = "infisical_secret"

    def __init__(self, loader: Any, templar: Any, fast: FastPath | None) -> None:
        super().__init__(loader, templar)
        self._fast = fast

    def evaluate(self, value: Any) -> Any:
        """Return the value of a variable. The fast path has evaluated the variables."""
        return value if self._fast is not None else super().evaluate(value)

    def find(self, terms: list[Any]) -> list[Any]:
        names = [model.check_name(term, "_terms") for term in terms]
        settings = model.Settings.from_options(self.shared)
        scope = settings.scope()
        cache = RunCache(settings, self.own["cache"], log=self.log)
        read = self._each if self.own["fetch"] == "one" else self._all
        found = read(cache, scope, names)
        for warning in found.warnings:
            self.warn(warning)
        model.refuse_ambiguous(found.ambiguous, names or found.ambiguous)
        if not names:
            return [{key: _visible(key, value, scope) for key, value in sorted(found.values.items())}]
        return [value for name in names for value in self._value_or_missing(found.values, name, scope)]

    def _all(self, cache: RunCache, scope: model.Location, names: list[str]) -> Values:
        reading = {"recursive": self.own["recursive"], **self._reading()}
        found = cache.values(scope, names, **reading)
        if self._fast is not None:
            cache.keep(self._fast, scope, **reading)
        return found

    def _each(self, cache: RunCache, scope: model.Location, names: list[str]) -> Values:
        if not names:
            raise errors.ConfigurationError(
                "fetch", "'one' requires names of secrets in the lookup.", hint="Set fetch to 'list' to read all."
            )
        if self.own["recursive"]:
            raise errors.ConfigurationError(
                "recursive", "requires fetch: list, because a name does not identify a folder."
            )
        found = [cache.value(scope, name, **self._reading()) for name in dict.fromkeys(names)]
        values = {key: value for one in found for key, value in one.values.items()}
        return Values(values, tuple(dict.fromkeys(warning for one in found for warning in one.warnings)))

    def _reading(self) -> dict[str, bool]:
        return {name: self.own[name] for name in ("include_imports", "expand_references")}

    def _value_or_missing(self, values: dict[str, str | None], name: str, scope: model.Location) -> list[str]:
        if name in values:
            return [_visible(name, values[name], scope)]
        return self.missing(
            f"Secret '{name}' does not exist in {scope}.",
            "Check the name (names are case-sensitive) and secret_path, or set on_missing or default.",
        )


def _visible(name: str, value: str | None, scope: model.Location) -> str:
    if value is None:
        raise errors.ValueHidden(
            f"The server hides the value of '{name}' in {scope}.", hint=hint_for(errors.Forbidden, Operation.GET)
        )
    return value
