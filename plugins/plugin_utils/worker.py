# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module in Ansible's worker process, with the same result as on a host, if that host is the controller."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ansible import constants as C
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase
from ansible_collections.keyfleet.infisical.plugins.module_utils import module as modules
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import WrongUse
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import connection, options

if TYPE_CHECKING:
    from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction

_PACKAGE = "ansible_collections.keyfleet.infisical.plugins.modules"


def is_possible(action: InfisicalAction, task_vars: Mapping[str, Any], wrap_async: bool) -> bool:
    """Return whether the task's module would run on the controller anyway, as the same user and with the same
    environment variables, and the task does not set another Python.

    Raises ConfigurationError if the option `import_modules` is invalid. After any other error, for example because a
    new ansible-core has changed a private API, the module runs in a separate process.
    """
    resolved = options.resolve({}, task_vars, action._templar.template, options.WORKER)
    if action.ships_library or not resolved.get("import_modules", True):
        return False
    try:
        return _would_run_here(action, task_vars, wrap_async)
    except Exception:  # see above
        return False


def _would_run_here(action: InfisicalAction, task_vars: Mapping[str, Any], wrap_async: bool) -> bool:
    """Decide for `is_possible`. Raises MissingLibrary, the errors of templates, and any exception if a private API of
    Ansible has changed."""
    task, via = action._task, action._connection
    if (
        wrap_async
        or via.ansible_name != "ansible.builtin.local"
        or via.become is not None
        or any(task.environment or ())
        or multiprocessing.parent_process() is None  # the main process runs several tasks
    ):
        return False
    variables = task_vars["ansible_delegated_vars"][task.delegate_to] if task.delegate_to else task_vars
    setting = action._templar.template(C.config.get_config_value("INTERPRETER_PYTHON", variables=variables))
    interpreter = str(setting or "").strip()
    if interpreter and not interpreter.startswith("auto"):
        return _is_this_python(interpreter)
    _import_libraries(action)
    return True


def _import_libraries(action: InfisicalAction) -> None:
    """Import the third-party libraries that the module needs. Raises MissingLibrary or ImportError.

    If no interpreter is set, Ansible would search for one, which may have a library that this Python does not have.
    """
    if action.shared:
        connection.load()
    if action.vault:
        import cryptography  # noqa: F401


def _is_this_python(interpreter: str) -> bool:
    """Return whether the path leads to the Python of this process, in the same directory.

    Do not resolve a link in the last part of the path: the link in a virtual environment leads to the same file as the
    link in another one, but Python finds its libraries from the directory of the link.
    """
    same_directory = os.path.realpath(os.path.dirname(interpreter)) == os.path.realpath(os.path.dirname(sys.executable))
    return same_directory and os.path.realpath(interpreter) == os.path.realpath(sys.executable)


def run(action: ActionBase, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run the module of the task in this process, and return its result.

    Relative paths are relative to the directory of the playbook, as they are for a module on the controller.
    """
    name = action._task.resolved_action or action._task.action
    definition: modules.Definition = import_module(f"{_PACKAGE}.{name.rpartition('.')[2]}").DEFINITION
    given = options.as_plain(arguments)
    known = given.pop(modules.KNOWN, None)
    checked = definition.validate(given)
    params = checked.validated_parameters
    warnings: dict[str, None] = {}
    module = modules.InfisicalModule(
        params, lambda text: warnings.update({text: None}), action._display.vvv, check_mode=action._task.check_mode,
        diff_mode=action._task.diff, known=known,
    )  # fmt: skip
    if checked.error_messages:
        problem = checked.errors.msg
        if isinstance(checked.errors[0], UnsupportedError):
            problem = f"Unsupported parameters for ({name}) module: {problem}"
        result = modules.fail(WrongUse(problem))
    else:
        with contextlib.chdir(action._loader.get_basedir()):
            result = definition.perform(module)
    if warnings:
        result["warnings"] = list(warnings)
    result = {"invocation": modules.invocation(definition.specification, params), **result}
    plain: dict[str, Any] = json.loads(json.dumps(result))
    return plain
