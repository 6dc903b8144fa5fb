# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of all modules: shared options, errors as failures, and results without secret values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

from .infisical.client.api import Api, connect
from .infisical.core.errors import InfisicalError
from .infisical.core.model import Location, Secret, Settings
from .infisical.core.options import argument_spec
from .infisical.core.redact import describe_unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SHARED_OPTIONS = argument_spec("infisical", without=("client_id_file", "client_secret_file", "token_file"))
"""Every module takes all of them, else `module_defaults` of the action group would fail for some."""

KNOWN = "_known"
"""An internal argument: what the action plugin knows about the secret, without its value."""

_MASKED = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


class InfisicalModule(AnsibleModule):
    """An AnsibleModule that ends in `run`, with results that contain no secret and are not censored.

    AnsibleModule replaces each occurrence of a secret's text in a result: a secret `1` would change counts, a secret
    `prod` would change names. So results are built without values, and censoring is off. With `shared` false, the
    module does not connect to Infisical. `known` is what the action plugin knows about the secret, or None.
    """

    def __init__(self, argument_spec: dict[str, dict[str, Any]], *, shared: bool = True, **kwargs: Any) -> None:
        self._specification = {**(SHARED_OPTIONS if shared else {}), **argument_spec}
        self._settings: Settings | None = None
        super().__init__(argument_spec=self._specification, supports_check_mode=True, **kwargs)

    def _load_params(self) -> None:
        super()._load_params()
        self.known: dict[str, Any] | None = self.params.pop(KNOWN, None)

    def run(self, work: Callable[[InfisicalModule], dict[str, Any]]) -> None:
        """Exit with the result of `work`, or fail with its error. `warnings` of the result become the task's."""
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
        except Exception as error:  # its text may contain a secret
            failure = {"msg": describe_unexpected(error), "conclusion": "unexpected", "hint": "", "http_status": None}
        for text in (failure or result).pop("warnings", ()):
            self.warn(text)
        # Outside of the handlers, because fail_json adds the traceback of the current exception.
        if failure:
            self.fail_json(**failure)
        self.exit_json(**result)

    def exit_json(self, **kwargs: Any) -> None:
        """Exit with an uncensored result."""
        super().exit_json(**self._uncensor(kwargs))

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        """Fail with an uncensored result. AnsibleModule calls this for invalid options too."""
        failure = {"conclusion": "configuration", "hint": "", "http_status": None, **kwargs}
        super().fail_json(msg, **self._uncensor(failure))

    def _uncensor(self, result: dict[str, Any]) -> dict[str, Any]:
        self.no_log_values: set[str] = set()
        return {"invocation": invocation(self._specification, getattr(self, "params", None) or {}), **result}

    def settings(self) -> Settings:
        """Return the validated shared options. Raises ConfigurationError."""
        if self._settings is None:
            self._settings = Settings.from_options(self.params)
        return self._settings

    def scope(self) -> Location:
        """Return the project, environment and path of the shared options."""
        return self.settings().scope()

    def api(self) -> Api:
        """Return the API. Each wait becomes a warning of the task."""
        return connect(self.settings(), log=self.warn)


def invocation(specification: dict[str, dict[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the specification for a result, with secret ones masked."""
    masked = {name for name in given if specification.get(name, {}).get("no_log") and given[name] is not None}
    return {
        "module_args": {name: _MASKED if name in masked else given[name] for name in specification if name in given}
    }


def describe(secret: Secret | None, scope: Location, *, values: bool = False) -> dict[str, Any] | None:
    """Return a secret for a result, without its value, and without encrypted metadata unless `values` is true."""
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
    """Return a message about a change; `action` is create, update, delete or None."""
    done = f"{'would be ' if check else ''}{action}d" if action else "unchanged"
    return f"{what}: {done}."


def difference(before: Secret | None, after: Secret | None) -> dict[str, dict[str, Any]]:
    """Return two states of a secret for `--diff`, without the value."""
    states = {"before": before, "after": after}
    return {
        when: {} if secret is None else {"name": secret.key, "path": secret.secret_path, "version": secret.version}
        for when, secret in states.items()
    }
