# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file that knows AnsibleModule: the shared argument spec, exceptions made failures, results kept whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

from .infisical.client.api import Api, connect
from .infisical.core.errors import InfisicalError
from .infisical.core.model import Location, Secret, Settings
from .infisical.core.redact import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SHARED_OPTIONS: dict[str, dict[str, Any]] = {
    "url": {"type": "str"},
    "auth_method": {"type": "str", "choices": ["universal_auth", "token"], "default": "universal_auth"},
    "client_id": {"type": "str"},
    "client_secret": {"type": "str", "no_log": True},
    "token": {"type": "str", "no_log": True},
    "project_id": {"type": "str"},
    "environment": {"type": "str"},
    "secret_path": {"type": "str", "default": "/", "no_log": False},
    "ca_path": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "proxy": {"type": "str", "no_log": True},
    "allow_http": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 30.0},
    "api_version": {"type": "str", "choices": ["auto", "v3", "v4"], "default": "auto"},
    "rate_limit_wait": {"type": "float", "default": 60.0},
    "server_error_wait": {"type": "float", "default": 30.0},
    "connection_wait": {"type": "float", "default": 10.0},
    "max_wait": {"type": "float", "default": 300.0},
    "max_response_size": {"type": "float", "default": 64.0},
}
"""Every module takes all of them, else `module_defaults` of the action group would fail for some."""

KNOWN = "_known"
"""The argument by which an action gives its module what the controller has found out; no option, and never a value."""

_MASKED = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


class InfisicalModule(AnsibleModule):
    """An AnsibleModule that leaves by `run` alone, with results that are whole and hold no secret.

    AnsibleModule censors every occurrence of a secret's text in a result: a secret `1` would blank counts, a secret
    `prod` names. Results are built without values instead, so that censoring is turned off, and `invocation` is made
    here from the options that the argument spec knows. With `shared` false, the module never talks to Infisical.
    `known` is what the action has found out already, None if it has not.
    """

    def __init__(self, argument_spec: dict[str, dict[str, Any]], *, shared: bool = True, **kwargs: Any) -> None:
        self._specification = {**(SHARED_OPTIONS if shared else {}), **argument_spec}
        super().__init__(argument_spec=self._specification, supports_check_mode=True, **kwargs)

    def _load_params(self) -> None:
        super()._load_params()
        self.known: dict[str, Any] | None = self.params.pop(KNOWN, None)

    def run(self, work: Callable[[InfisicalModule], dict[str, Any]]) -> None:
        """Do the work and leave with its result, or with what went wrong and what was done before.

        `warnings` in a result become the task's. No exception gets out.
        """
        failure: dict[str, Any] = {}
        result: dict[str, Any] = {}
        try:
            result = work(self)
        except InfisicalError as error:
            failure = {
                **error.details,
                "msg": str(error),
                "conclusion": error.conclusion,
                "hint": error.hint,
                "http_status": error.status,
            }
        except Exception as error:  # its text may hold a secret
            failure = {"msg": unexpected(error), "conclusion": "unexpected", "hint": "", "http_status": None}
        for text in (failure or result).pop("warnings", ()):
            self.warn(text)
        # Outside of the handlers: fail_json adds the traceback of an exception that is being handled.
        if failure:
            self.fail_json(**failure)
        self.exit_json(**result)

    def exit_json(self, **kwargs: Any) -> None:
        """AnsibleModule.exit_json with the result kept whole."""
        super().exit_json(**self._whole(kwargs))

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        """AnsibleModule.fail_json with the result kept whole; it comes here by itself with options that it refuses."""
        super().fail_json(
            msg, **self._whole({"conclusion": "configuration", "hint": "", "http_status": None, **kwargs})
        )

    def _whole(self, result: dict[str, Any]) -> dict[str, Any]:
        self.no_log_values: set[str] = set()
        return {"invocation": invocation(self._specification, getattr(self, "params", None) or {}), **result}

    def settings(self) -> Settings:
        """The shared options, checked."""
        return Settings.from_options(self.params)

    def scope(self) -> Location:
        """The scope that the shared options name."""
        return self.settings().scope()

    def api(self) -> Api:
        """The API; every wait becomes a warning of the task."""
        return connect(self.settings(), log=self.warn)


def invocation(specification: dict[str, dict[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a result shows of the arguments that an argument specification knows."""
    return {"module_args": {name: _shown(specification[name], given[name]) for name in specification if name in given}}


def _shown(option: dict[str, Any], value: Any) -> Any:
    return _MASKED if option.get("no_log") and value is not None else value


def described(secret: Secret | None, scope: Location, *, values: bool = False) -> dict[str, Any] | None:
    """A secret as modules return it: everything but the value; None where the server does not tell something.

    Encrypted metadata have their values only if `values` are returned.
    """
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
    """What became of something, for `msg`; `action` is create, update, delete or None for nothing."""
    done = f"{'would be ' if check else ''}{action}d" if action else "unchanged"
    return f"{what}: {done}."


def difference(before: Secret | None, after: Secret | None) -> dict[str, dict[str, Any]]:
    """Two states of a secret for `--diff`: name, path and version, never the value; nothing where there is none."""
    return {"before": _identified(before), "after": _identified(after)}


def _identified(secret: Secret | None) -> dict[str, Any]:
    return {} if secret is None else {"name": secret.key, "path": secret.secret_path, "version": secret.version}
