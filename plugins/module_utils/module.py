# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules share: their definition, the interface to their options and to Infisical, and how to run them.

A module runs on the task's host (`run_module`) or, if that host is the controller, in Ansible's worker process
(`plugin_utils/worker.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from .infisical.core.errors import InfisicalError, WrongUse
from .infisical.core.model import Location, Secret, Settings
from .infisical.core.options import FILE_ONLY, argument_spec
from .infisical.core.redact import describe_unexpected
from .infisical.core.termination import unwind_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible.module_utils.common.arg_spec import ValidationResult

    from .infisical.client.api import Api

SHARED_OPTIONS = argument_spec("infisical", without=FILE_ONLY)
"""Every module accepts all of these options. Otherwise, `module_defaults` for the action group would fail for some
modules."""

KNOWN = "_known"
"""An internal argument with which an action plugin passes data to its module. It contains no secret values."""

_MASKED = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


class InfisicalModule:
    """What the work of a module needs: its validated options in `params`, the modes of the task, and the API.

    `warn` adds a warning to the task's result, and `debug` prints or logs a line for debugging. `known` are the data
    from the action plugin, or None.
    """

    def __init__(
        self,
        params: dict[str, Any],
        warn: Callable[[str], None],
        debug: Callable[[str], None],
        *,
        check_mode: bool,
        diff_mode: bool,
        known: dict[str, Any] | None = None,
    ) -> None:
        self.params = params
        self.warn = warn
        self.debug = debug
        self.check_mode = check_mode
        self.diff_mode = diff_mode
        self.known = known
        self._settings: Settings | None = None
        self._api: Api | None = None

    def settings(self) -> Settings:
        """Return the validated shared options. Raises ConfigurationError."""
        if self._settings is None:
            self._settings = Settings.from_options(self.params)
        return self._settings

    def scope(self) -> Location:
        """Return the project, environment and path of the shared options."""
        return self.settings().scope()

    def api(self) -> Api:
        """Return the API. Each wait is reported as a warning of the task."""
        from .infisical.client.api import connect

        if self._api is None:
            self._api = connect(self.settings(), log=self.warn, debug=self.debug)
        return self._api

    def close(self) -> None:
        """Revoke the token if the module logged in. A token that was given stays valid."""
        if self._api is not None:
            self._api.close()


@dataclass(frozen=True)
class Definition:
    """A module: the function that does its work, its own options, and its condition for required options.

    If `shared` is false, the module has no connection options, because it does not connect to Infisical.
    """

    work: Callable[[InfisicalModule], dict[str, Any]]
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    required_if: Sequence[tuple[str, Any, tuple[str, ...]]] = ()
    shared: bool = True

    @property
    def specification(self) -> dict[str, dict[str, Any]]:
        """The module's options, as AnsibleModule takes them."""
        return {**(SHARED_OPTIONS if self.shared else {}), **self.arguments}

    def validate(self, arguments: Mapping[str, Any]) -> ValidationResult:
        """Check and convert plain arguments like AnsibleModule. The result has the parameters and the errors."""
        return ArgumentSpecValidator(self.specification, required_if=self.required_if).validate(arguments)

    def perform(self, module: InfisicalModule) -> dict[str, Any]:
        """Return the result of the work, or its error as the result of a failed task. The `warnings` of both are
        passed to `module.warn`."""
        try:
            result = self.work(module)
        except InfisicalError as error:
            result = fail(error)
        except Exception as error:  # its text may contain a secret
            result = fail(InfisicalError(describe_unexpected(error)))
        finally:
            module.close()
        for text in result.pop("warnings", ()):
            module.warn(text)
        return result


def fail(error: InfisicalError) -> dict[str, Any]:
    """Return the result of a task that has failed with this error."""
    return {**error.as_failure(), "failed": True}


def run_module(definition: Definition) -> None:
    """Run a module on the task's host: read its arguments, print its result, and exit."""
    host = _ModuleOnHost(definition)
    module = InfisicalModule(
        host.params, host.warn, host.debug, check_mode=host.check_mode, diff_mode=host._diff, known=host.known
    )  # fmt: skip
    with unwind_on_signals():
        result = definition.perform(module)
    # Fail outside of the handlers, because fail_json would add the traceback of the current exception.
    if result.pop("failed", False):
        host.fail_json(**result)
    host.exit_json(**result)


class _ModuleOnHost(AnsibleModule):
    """An AnsibleModule that returns uncensored results without secret values.

    AnsibleModule would censor every occurrence of a secret's text in a result. So a secret `1` would change counts, and
    a secret `prod` would change names. Therefore, results are built without values, and censoring is off.
    """

    def __init__(self, definition: Definition) -> None:
        self._specification = definition.specification
        super().__init__(
            argument_spec=self._specification, supports_check_mode=True, required_if=definition.required_if or None
        )

    def _load_params(self) -> None:
        super()._load_params()
        self.known: dict[str, Any] | None = self.params.pop(KNOWN, None)

    def add_path_info(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Add nothing: `path` in a result is a folder in Infisical, but AnsibleModule would look for it on the host."""
        return kwargs

    def exit_json(self, **kwargs: Any) -> None:
        """Exit with a result that is not censored."""
        super().exit_json(**self._uncensor(kwargs))

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        """Fail with a result that is not censored. AnsibleModule also calls this for invalid options."""
        failure = {**WrongUse(msg).as_failure(), **kwargs}
        super().fail_json(**self._uncensor(failure))

    def _uncensor(self, result: dict[str, Any]) -> dict[str, Any]:
        self.no_log_values: set[str] = set()
        return {"invocation": invocation(self._specification, getattr(self, "params", None) or {}), **result}


def invocation(specification: dict[str, dict[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in the specification, for a result. Secret arguments are masked."""
    masked = {name for name in given if specification.get(name, {}).get("no_log") and given[name] is not None}
    return {
        "module_args": {name: _MASKED if name in masked else given[name] for name in specification if name in given}
    }


def describe(secret: Secret | None, scope: Location, *, values: bool = False) -> dict[str, Any] | None:
    """Return a secret as result data without its value, or None. `values` includes the values of encrypted metadata."""
    if secret is None:
        return None
    hidden = () if values else secret.encrypted_metadata
    return {
        "name": secret.key,
        "version": secret.version,
        "id": secret.id,
        "project_id": scope.project_id,
        "environment": secret.environment or scope.environment,
        "path": secret.secret_path,
        "comment": secret.comment or "",
        "tags": None if secret.tags is None else list(secret.tags),
        "metadata": None
        if secret.metadata is None
        else {key: None if key in hidden else value for key, value in secret.metadata},
        "encrypted_metadata": list(secret.encrypted_metadata),
        "created_at": secret.created_at,
        "updated_at": secret.updated_at,
    }


def summary(what: str, action: str | None, *, check: bool) -> str:
    """Return a message about a change. `action` is create, update, delete or None."""
    done = f"{'would be ' if check else ''}{action}d" if action else "unchanged"
    return f"{what}: {done}."


def difference(before: Secret | None, after: Secret | None) -> dict[str, dict[str, Any]]:
    """Return the states of a secret before and after a change, for `--diff`, without values."""
    states = {"before": before, "after": after}
    return {
        when: {} if secret is None else {"name": secret.key, "path": secret.secret_path, "version": secret.version}
        for when, secret in states.items()
    }
