# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_secret if something has to be written, as far as the run knows what is stored."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.remote import (
    Remote,
    Report,
    UpdateValue,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    Known,
    Location,
    Secret,
    Settings,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import KNOWN, SHARED_OPTIONS, invocation
from ansible_collections.keyfleet.infisical.plugins.modules.infisical_secret import (
    ARGUMENTS,
    REQUIRED_IF,
    desired_secret,
    result_of,
)
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import run_cache
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction

SPECIFICATION = {**SHARED_OPTIONS, **ARGUMENTS}


@dataclass(frozen=True)
class Desired:
    """The state that a task describes: `secret` has no value if it is to be absent."""

    scope: Location
    secret: Secret
    update_value: UpdateValue
    overwrite_rotated: bool

    def target(self, before: Secret | None) -> Secret:
        """What is written if `before` is stored."""
        keeps_value = before is not None and self.update_value == "on_create"
        return self.secret._replace(value=None) if keeps_value else self.secret


class ActionModule(InfisicalAction):
    """See InfisicalAction. Decides by itself that a secret is unchanged; else tells the module what is stored.

    The module never gets a stored value. It is run as if nothing was known where the run cannot find out.
    """

    writes = True
    texts = ("name", "value")

    def _execute_shared(
        self, arguments: dict[str, Any], settings: Settings, task_vars: dict[str, Any], wrap_async: bool
    ) -> dict[str, Any]:
        options = _validated(arguments)
        cache = run_cache.RunCache(settings)
        reachable = settings.auth_method == "token" or cache.token() is not None
        if wrap_async or options is None or not reachable:
            return super()._execute_shared(arguments, settings, task_vars, wrap_async)
        desired = Desired(
            settings.scope(), desired_secret(options), options["update_value"], options["overwrite_rotated"]
        )
        # To write one secret, a whole folder is not listed.
        lists = self._task.loop is not None or cache.begun(desired.scope)
        report = self._unchanged(cache, desired, self._known(cache, desired, lists))
        if report is None:
            with self._alone(cache, desired):
                known = self._known(cache, desired, lists)  # another task may have written it meanwhile
                report = self._unchanged(cache, desired, known)
                if report is None:
                    return self._write(arguments, cache, desired, known, task_vars)
        result = result_of(report, desired.scope, desired.secret.key, check=self._task.check_mode)
        result["invocation"] = invocation(SPECIFICATION, options)
        return {name: value for name, value in result.items() if name != "warnings" or value}

    def _known(self, cache: run_cache.RunCache, desired: Desired, lists: bool) -> Known | None:
        known = cache.known(desired.scope, desired.secret.key, lists=lists, check=self._task.check_mode)
        if known is None or (known.secret is None and desired.secret.value is None):
            return None  # that a listing lacks a secret does not prove that it is gone
        return known

    def _unchanged(self, cache: run_cache.RunCache, desired: Desired, known: Known | None) -> Report | None:
        if known is None or known.secret is None or desired.secret.value is None:
            return None
        remote = Remote(cache.api(), desired.scope, overwrite_rotated=desired.overwrite_rotated)
        return remote.unchanged(known.secret, desired.secret, desired.update_value)

    def _alone(self, cache: run_cache.RunCache, desired: Desired) -> contextlib.AbstractContextManager[None]:
        if self._task.check_mode:
            return contextlib.nullcontext()
        return cache.writing(desired.scope, desired.secret.key)

    def _write(
        self,
        arguments: dict[str, Any],
        cache: run_cache.RunCache,
        desired: Desired,
        known: Known | None,
        task_vars: dict[str, Any],
    ) -> dict[str, Any]:
        """Run the module, and note what is stored then for the tasks that follow."""
        told: dict[str, Any] = {}
        if known is not None:
            told["api_version"] = cache.api().version or cache.settings.api_version
            if not _needs_value(desired, known):
                told[KNOWN] = {"secret": _without_values(desired, known).row()}
        if self._task.check_mode:
            return self._execute_with_token({**arguments, **told}, cache.settings, task_vars, wrap_async=False)
        scope, key = desired.scope, desired.secret.key
        generation = cache.note_secret(scope, key, None)
        result: dict[str, Any] = {}
        try:
            result = self._execute_with_token({**arguments, **told}, cache.settings, task_vars, wrap_async=False)
        finally:  # also after a timeout or a lost connection: something may have been written
            cache.note_secret(scope, key, _stored_after(result, desired, known, cache), generation)
            if result.get("failed") or result.get("changed", True):
                run_cache.forget(scope.project_id, writer=cache.writer)
        return result


def _validated(arguments: dict[str, Any]) -> dict[str, Any] | None:
    """The options as the module gets them, None if it will refuse them."""
    checked = ArgumentSpecValidator(SPECIFICATION, required_if=REQUIRED_IF).validate(arguments)
    if checked.error_messages:
        return None
    options: dict[str, Any] = checked.validated_parameters
    try:
        desired_secret(options)
        Settings.from_options(options).scope()
    except ConfigurationError:
        return None
    return options


def _needs_value(desired: Desired, known: Known) -> bool:
    """Whether the module needs the stored value: to write it back, as servers want it that know no metadata, or to
    compare it, because a value that Infisical rotates may stay only as it is."""
    if known.secret is not None and known.secret.rotated:
        return True
    keeps_value = desired.secret.value is not None and desired.target(known.secret).value is None
    return keeps_value and known.secret is not None and known.secret.metadata is None


def _without_values(desired: Desired, known: Known) -> Known:
    """What is known without anything secret, but for what the task itself has given to the module."""
    secret = known.secret
    if secret is None:
        return known
    given = set(desired.secret.metadata or ())
    metadata = secret.metadata and tuple(
        (key, "" if key in secret.encrypted_metadata and (key, value) not in given else value)
        for key, value in secret.metadata
    )
    return Known(secret._replace(value=None, metadata=metadata))


def _stored_after(
    result: dict[str, Any], desired: Desired, known: Known | None, cache: run_cache.RunCache
) -> Known | None:
    """What is stored after the module has run, None if its result leaves that open."""
    if result.get("failed") or "action" not in result:
        return None
    if result.get("approval_pending"):
        return known
    if desired.secret.value is None:
        return Known(None)
    before = None if known is None else known.secret
    told = result.get("secret")
    as_planned = known is not None and result["action"] == ("create" if before is None else "update")
    if not as_planned or not isinstance(told, dict) or not isinstance(told.get("version"), int) or not told["version"]:
        return None
    after = Remote(cache.api(), desired.scope).expected(before, desired.target(before))
    after = after._replace(
        version=told["version"],
        id=str(told.get("id") or ""),
        metadata=None if told.get("metadata") is None else after.metadata or (),
        created_at=str(told.get("created_at") or ""),
        updated_at=str(told.get("updated_at") or ""),
    )
    if after.value is None and before is not None:
        after = after._replace(value=before.value, hidden=before.hidden)
    return Known(after)
