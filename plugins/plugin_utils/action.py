# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of all action plugins: resolves the options, shares one login in each run, and hides secret values."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.json_utils import _filter_non_json_lines  # no public API in ansible-core 2.18 to 2.21
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import errors
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    CERTIFICATE_OPTIONS,
    LOGIN_OPTIONS,
    Settings,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.redact import describe_unexpected
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import connection, options, run_cache, run_end, worker

_GROUP = "group/keyfleet.infisical.infisical"
"""The name of our action group in `module_defaults`."""


class InfisicalAction(ActionBase):
    """Runs the module that has the same name as the action plugin, with the resolved options.

    Check mode, diff, become, async and delegation work as with any module.
    """

    _supports_check_mode = True
    _supports_async = True

    writes = False
    """True if the module writes to Infisical, so that the run's cached listings become stale."""
    shared = True
    """True if the module has the shared options."""
    hands_over = False
    """True if the module gets the client ID and secret, because the host must log in without the controller."""
    ships_library = False
    """True if the module installs the library from the archive in which Ansible sends it, so that the module must not
    run in the worker process."""
    vault = False
    """True if the module has the options for a vault."""
    values_option = ""
    """The option with which the module returns values. If it is set, the task's output is hidden."""
    hidden_output_hint = "Run the task with {option}: false to see the output."
    """The hint if the output of such a task is not a valid result. `{option}` is the name in `values_option`."""
    texts: tuple[str, ...] = ()
    """The module's own options that must be strings. Other types, such as an unquoted date in YAML, are
    refused. Otherwise, JSON would turn them into strings."""
    mappings: tuple[str, ...] = ()
    """The module's own options that must map names to strings."""

    own: options.Definitions
    """The documented options of the module, without the shared options."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Read the documentation of the module with the same name, and import what its tasks need, once in each run.

        Ansible creates the class before it forks. Otherwise, each fork would import the client and the HTTP library
        again.
        """
        super().__init_subclass__(**kwargs)
        run_end.exit_on_signals()
        if cls.shared:
            with contextlib.suppress(Exception):  # the task that needs it reports the error
                connection.load()
        cls.own = options.load_definitions(cls.__module__.rpartition(".")[2])

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        problem: dict[str, Any] = {}
        try:
            result.update(self._run_module(task_vars or {}))
        except errors.InfisicalError as error:
            problem = error.as_failure()
        except AnsibleError:
            raise
        except Exception as error:  # the error's text may contain a secret
            problem = errors.InfisicalError(describe_unexpected(error)).as_failure()
        if problem:
            result.update(self.build_failure(problem))
        if not _returns_invocation(task_vars or {}):
            result.pop("invocation", None)
        return result

    def build_failure(self, problem: dict[str, Any]) -> dict[str, Any]:
        """Return the task's result for an error on the controller (see `InfisicalError.as_failure`)."""
        return {"failed": True, **problem}

    def connects(self, arguments: dict[str, Any]) -> bool:
        """Return whether the module connects to Infisical with these arguments."""
        return self.shared

    def is_writing(self, arguments: dict[str, Any]) -> bool:
        """Return whether the module writes to Infisical with these arguments."""
        return self.writes

    def _run_module(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        arguments = self._check_arguments()
        if self.vault:
            arguments.update(options.resolve(arguments, task_vars, self._templar.template, options.VAULT))
        wrap_async = bool(self._task.async_val) and not getattr(self._connection, "has_native_async", False)
        self._refuse_shown_values(arguments, wrap_async)
        if not self.connects(arguments):
            # Do not send shared options from `module_defaults`, such as a client secret, to the host.
            own = {name: value for name, value in arguments.items() if not (self.shared and name in options.NAMES)}
            return self._execute(own, task_vars, wrap_async)
        shared = options.resolve(arguments, task_vars, self._templar.template, options.SHARED)
        settings = Settings.from_options(shared)
        arguments.update(shared)
        if self.hands_over:
            return self._execute(arguments, task_vars, wrap_async)
        return self._execute_shared(arguments, settings, task_vars, wrap_async)

    def _execute_shared(
        self, arguments: dict[str, Any], settings: Settings, task_vars: dict[str, Any], wrap_async: bool
    ) -> dict[str, Any]:
        """Run the module with the run's login. If the module writes, mark the cached listings as stale."""
        result: dict[str, Any] = {}
        try:
            result = self._execute_with_token(arguments, settings, task_vars, wrap_async)
        finally:  # even after a timeout or a lost connection, the module may have written
            if self.is_writing(arguments) and not self._task.check_mode:
                seconds = float(self._task.async_val) if wrap_async else may_write_later(result)
                run_cache.forget(settings.project_id, volatile_for=seconds)
        return result

    def _arguments(self) -> dict[str, Any]:
        """Return the task's arguments, without those from `module_defaults` that are for other modules in the group."""
        given = dict(self._task.args)
        defaults = {name for each in self._task.module_defaults or () for name in each.get(_GROUP) or ()}
        foreign = defaults & set(given) - set(self.own) - (options.NAMES if self.shared else frozenset())
        if foreign:
            foreign &= {name for path in options.MODULES.glob("*.py") for name in options.load_definitions(path.stem)}
        return {name: value for name, value in given.items() if name not in foreign}

    def _check_arguments(self) -> dict[str, Any]:
        """Check the types of the task's arguments, and return the arguments."""
        own = self._arguments()
        options.check_types(own, self.own)
        for name in self.texts:
            if own.get(name) is not None:
                own[name] = options.as_text(name, own[name])
        for name in self.mappings:
            if own.get(name) is not None:
                own[name] = options.as_texts(name, own[name])
        return own

    def validate_options(self) -> dict[str, Any]:
        """Convert the task's own arguments to their documented types, for an action plugin without a module."""
        own = {name: value for name, value in self._arguments().items() if not (self.shared and name in options.NAMES)}
        options.check_types(own, self.own)
        # Dictionaries may be large, so do not copy or search them.
        large = {name: own.pop(name) for name in list(own) if self.own.get(name, {}).get("type") in ("dict", "raw")}
        specification = {
            name: {key: option[key] for key in ("type", "required", "default") if key in option}
            for name, option in self.own.items()
            if name not in large and name not in options.NAMES
        }
        checked = ArgumentSpecValidator(specification).validate(own)
        if checked.error_messages:
            raise errors.ConfigurationError("arguments", f"{checked.error_messages[0]}.")
        return {**checked.validated_parameters, **large}

    def controller_path(self, path: str) -> str:
        """Return an absolute path on the controller. Relative paths are relative to the playbook's directory."""
        return str(self._loader.path_dwim(os.path.expanduser(path)))

    def _execute_with_token(
        self, arguments: dict[str, Any], settings: Settings, task_vars: dict[str, Any], wrap_async: bool
    ) -> dict[str, Any]:
        """Run the module with the run's token, so that the credentials stay on the controller.

        The host gets the credentials only if the controller cannot reach the server. If the host reports that the token
        was rejected, the module runs again with a new token, but never with the credentials, because a compromised host
        could report anything.
        """
        cache = run_cache.RunCache(settings)
        token = cache.token()
        if token is not None:
            login = set(LOGIN_OPTIONS)
            if settings.auth_method != "tls_cert_auth" or self._connection.ansible_name == "ansible.builtin.local":
                # The server may demand the certificate for TLS. With tls_cert_auth, only the controller has it.
                login -= set(CERTIFICATE_OPTIONS)
            without = {name: value for name, value in arguments.items() if name not in login}
            with_token = {**without, "auth_method": "token", "token": token}
            result = self._execute(with_token, task_vars, wrap_async)
            if result.get("conclusion") != errors.TokenRejected.conclusion:
                return result
            another = cache.token(rejected=token)
            return result if another is None else self._execute({**with_token, "token": another}, task_vars, wrap_async)
        cache.refuse_rejected()
        result = self._execute(arguments, task_vars, wrap_async)
        cache.note_rejected(result)
        return result

    def _refuse_shown_values(self, arguments: dict[str, Any], wrap_async: bool) -> None:
        if wrap_async and self._returns_values(arguments):
            raise errors.ConfigurationError(
                self.values_option,
                "must be false in a task with async, because Ansible stores the result in a file that other users can "
                "read.",
                hint="Run the task without async.",
            )

    def _returns_values(self, arguments: Mapping[str, Any]) -> bool:
        return bool(self.values_option) and boolean(arguments.get(self.values_option, False), strict=False)

    def _parse_returned_data(self, res: dict[str, Any], *profile: Any) -> dict[str, Any]:
        """Parse the result like ActionBase, but without its warning, which quotes any output after the result."""
        if self._returns_values(self._task.args):
            with contextlib.suppress(ValueError):  # if there is no result, _without_values hides the output
                res = {**res, "stdout": _filter_non_json_lines(res.get("stdout", ""), objects_only=True)[0]}
        parsed: dict[str, Any] = super()._parse_returned_data(res, *profile)
        return parsed

    def _execute(self, arguments: dict[str, Any], task_vars: dict[str, Any], wrap_async: bool) -> dict[str, Any]:
        returns_values = self._returns_values(arguments)
        if returns_values:
            # At -vvv, the ssh connection prints a module's result unless its play context has no_log. The play context
            # is a copy for this task.
            self._connection._play_context.no_log = True
        result: dict[str, Any]
        if worker.is_possible(self, task_vars, wrap_async):
            self._display.vvv("The module runs in Ansible's worker process.", host=task_vars.get("inventory_hostname"))
            result = worker.run(self, arguments)
        else:
            result = self._execute_module(
                module_name=self._task.resolved_action or self._task.action,
                module_args=dict(arguments),
                task_vars=task_vars,
                wrap_async=wrap_async,
            )
            if not wrap_async:
                self._remove_tmp_path(self._connection._shell.tmpdir)
        if not returns_values:
            return result
        if result.get("failed"):
            return _without_values(result, self.hidden_output_hint.format(option=self.values_option))
        self._task.no_log = True
        result["_ansible_no_log"] = True
        return result


def _returns_invocation(task_vars: Mapping[str, Any]) -> bool:
    """Return whether a task's result contains its arguments. Before ansible-core 2.21, it always does."""
    try:
        return bool(C.config.get_config_value("INJECT_INVOCATION", variables=dict(task_vars)))
    except Exception:  # the setting does not exist
        return True


def may_write_later(result: Mapping[str, Any]) -> float:
    """Return the seconds for which a write may still take effect after the task has ended with this result.

    The result is empty if the task was interrupted, for example by `timeout`.
    """
    lost = errors.error_class(str(result.get("conclusion"))) in (errors.Unreachable, errors.ServerFailed)
    return 0.0 if result and not (result.get("failed") and lost) else _UNCERTAIN_SECONDS


_UNCERTAIN_SECONDS = 60.0
"""Servers and their gateways usually end a request within this time."""

_OF_FAILURES = (*errors.InfisicalError("").as_failure(), "failed", "changed", "warnings", "deprecations")


def _without_values(result: Mapping[str, Any], hint: str) -> dict[str, Any]:
    """Remove the values from the failure of a module that returns values.

    If the failure was not reported by the module itself, it contains the module's output, which may include values.
    Then it is replaced by an error with `hint`.
    """
    conclusion = str(result.get("conclusion"))
    if errors.error_class(conclusion).conclusion == conclusion and not {"module_stdout", "module_stderr"} & set(result):
        return {name: result[name] for name in _OF_FAILURES if name in result}
    code = result.get("rc")
    ended = f" (exit code {code})" if isinstance(code, int) else ""
    error = errors.InfisicalError(
        f"The output of the module is not a valid result{ended}. The output is hidden, because it may contain values.",
        hint=hint,
    )
    return {"failed": True, **error.as_failure()}
