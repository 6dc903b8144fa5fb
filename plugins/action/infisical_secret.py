# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_secret, unless the run already knows that the secret is unchanged."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import remote
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.apply import expect
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import model
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import KNOWN, invocation
from ansible_collections.keyfleet.infisical.plugins.modules import infisical_secret as module
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import run_cache
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction, may_write_later
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.options import as_plain

SPECIFICATION = module.DEFINITION.specification


@dataclass(frozen=True)
class Desired:
    """The desired state in a task. `secret` has no value if it must be absent."""

    scope: model.Location
    secret: model.Secret
    update_value: remote.UpdateValue
    overwrite_rotated: bool

    def target(self, before: model.Secret | None) -> model.Secret:
        """Return the secret to write if the stored secret is `before`."""
        keeps_value = before is not None and self.update_value == "on_create"
        return self.secret._replace(value=None) if keeps_value else self.secret


class ActionModule(InfisicalAction):
    """See InfisicalAction. If the secret is known to be unchanged, returns the result without running the module.
    Otherwise, passes what the run knows about the secret to the module.

    The module never gets a stored value. If the run knows nothing about the secret, the module reads it.
    """

    writes = True
    texts = ("name", "value")

    def _execute_shared(
        self, arguments: dict[str, Any], settings: model.Settings, task_vars: dict[str, Any], wrap_async: bool
    ) -> dict[str, Any]:
        options, desired = _build_desired(arguments, settings)
        cache = run_cache.RunCache(settings)
        reachable = settings.auth_method == "token" or cache.token() is not None
        if wrap_async or desired is None or not reachable:
            return super()._execute_shared(arguments, settings, task_vars, wrap_async)
        # Do not list a whole folder for a single secret.
        lists = self._task.loop is not None or cache.note_task(desired.scope)
        report = self._unchanged(cache, desired, self._known(cache, desired, lists))
        if report is None:
            with self._alone(cache, desired):
                known = self._known(cache, desired, lists)  # again, because another task may have written it
                report = self._unchanged(cache, desired, known)
                if report is None:
                    return self._write(arguments, cache, desired, known, task_vars)
        result = module.build_result(report, desired.scope, desired.secret.key, check=self._task.check_mode)
        result["invocation"] = invocation(SPECIFICATION, options)
        return {name: value for name, value in result.items() if name != "warnings" or value}

    def _known(self, cache: run_cache.RunCache, desired: Desired, lists: bool) -> model.Known | None:
        known = cache.known(desired.scope, desired.secret.key, lists=lists, check=self._task.check_mode)
        if known is None or (known.secret is None and desired.secret.value is None):
            return None  # the secret may exist even if no listing contains it
        return known

    def _unchanged(
        self, cache: run_cache.RunCache, desired: Desired, known: model.Known | None
    ) -> remote.WriteResult | None:
        if known is None or known.secret is None or desired.secret.value is None:
            return None
        stored = remote.Remote(cache.api(), desired.scope, overwrite_rotated=desired.overwrite_rotated)
        return stored.compare(known.secret, desired.secret, desired.update_value)

    def _alone(self, cache: run_cache.RunCache, desired: Desired) -> contextlib.AbstractContextManager[None]:
        if self._task.check_mode:
            return contextlib.nullcontext()
        return cache.writing(desired.scope, desired.secret.key)

    def _write(
        self,
        arguments: dict[str, Any],
        cache: run_cache.RunCache,
        desired: Desired,
        known: model.Known | None,
        task_vars: dict[str, Any],
    ) -> dict[str, Any]:
        """Run the module, and record the stored secret for later tasks."""
        added: dict[str, Any] = {}
        if known is not None:
            added["api_version"] = cache.api().version or cache.settings.api_version
            if not _needs_value(desired, known):
                added[KNOWN] = {"secret": _without_values(desired, known).row()}
        if self._task.check_mode:
            return self._execute_with_token({**arguments, **added}, cache.settings, task_vars, wrap_async=False)
        scope, key = desired.scope, desired.secret.key
        generation = cache.note_secret(scope, key, None)
        result: dict[str, Any] = {}
        try:
            result = self._execute_with_token({**arguments, **added}, cache.settings, task_vars, wrap_async=False)
        finally:  # even after a timeout or a lost connection, the module may have written
            cache.note_secret(scope, key, _stored_after(result, desired, known), generation)
            if result.get("failed") or result.get("changed", True):
                run_cache.forget(scope.project_id, volatile_for=may_write_later(result), writer=cache.writer)
        return result


def _build_desired(arguments: dict[str, Any], settings: model.Settings) -> tuple[dict[str, Any], Desired | None]:
    """Return the module's options and the desired state. The state is None if the module will reject the options."""
    result = module.DEFINITION.validate(as_plain(arguments))
    options: dict[str, Any] = result.validated_parameters
    if result.error_messages:
        return options, None
    try:
        secret, scope = module.build_desired(options), settings.scope()
    except ConfigurationError:
        return options, None
    return options, Desired(scope, secret, options["update_value"], options["overwrite_rotated"])


def _needs_value(desired: Desired, known: model.Known) -> bool:
    """Return whether the module needs the stored value. It writes the value back to servers without metadata, and
    compares it with a value that Infisical rotates and that must not change."""
    if known.secret is not None and known.secret.rotated:
        return True
    keeps_value = desired.secret.value is not None and desired.target(known.secret).value is None
    return keeps_value and known.secret is not None and known.secret.metadata is None


def _without_values(desired: Desired, known: model.Known) -> model.Known:
    """Remove secret values, except those that the task passes to the module anyway."""
    secret = known.secret
    if secret is None:
        return known
    given = set(desired.secret.metadata or ())
    metadata = secret.metadata and tuple(
        (key, "" if key in secret.encrypted_metadata and (key, value) not in given else value)
        for key, value in secret.metadata
    )
    return model.Known(secret._replace(value=None, metadata=metadata))


def _stored_after(result: dict[str, Any], desired: Desired, known: model.Known | None) -> model.Known | None:
    """Return the secret that the module has stored, or None if it is unknown."""
    if result.get("failed") or "action" not in result:
        return None
    if result.get("approval_pending"):
        return known
    if desired.secret.value is None:
        return model.Known(None)
    before = None if known is None else known.secret
    stored = result.get("secret")
    as_planned = known is not None and result["action"] == ("create" if before is None else "update")
    if not as_planned or not isinstance(stored, dict) or not isinstance(stored.get("version"), int):
        return None
    if not stored["version"]:
        return None
    after = expect(desired.scope, before, desired.target(before))
    after = after._replace(
        version=stored["version"],
        id=str(stored.get("id") or ""),
        metadata=None if stored.get("metadata") is None else after.metadata or (),
        created_at=str(stored.get("created_at") or ""),
        updated_at=str(stored.get("updated_at") or ""),
    )
    if after.value is None and before is not None:
        after = after._replace(value=before.value, hidden=before.hidden)
    return model.Known(after)
