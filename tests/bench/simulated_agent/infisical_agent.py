# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin infisical_agent with simulated hosts: instead of the module, it does what the module and a first
sync would do, with the same requests. A host is a JSON file in the folder KEYFLEET_SIMULATED_HOSTS."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.action import infisical_agent
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import host_login
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.spec import make_job
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import connect
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import KNOWN
from ansible_collections.keyfleet.infisical.plugins.modules.infisical_agent import DEFINITION


class SimulatedHost:
    """The state of a host: `secret` and `note` of its identity, and the `digest` of its configuration."""

    def __init__(self, name: str) -> None:
        file = hashlib.sha256(name.encode()).hexdigest()
        self.path = Path(os.environ["KEYFLEET_SIMULATED_HOSTS"], f"{file}.json")
        self.machine_id = file[:32]
        self.state: dict[str, Any] = {"secret": "", "note": {}, "digest": ""}
        if self.path.exists():
            self.state = json.loads(self.path.read_text("utf-8"))

    def save(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.state), "utf-8")
        part.replace(self.path)  # a killed run leaves the old or the new state

    def install(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do what the module infisical_agent does. Raises InfisicalError if the login is not accepted."""
        given = arguments.pop(KNOWN)["host_identity"]
        jobs = DEFINITION.validate(arguments).validated_parameters["jobs"]
        digest = hashlib.sha256(json.dumps([jobs, given["client_secret_id"]]).encode()).hexdigest()
        if digest == self.state["digest"]:
            return {"changed": False, "changes": [], "due": [], "requests": 0, "msg": "0 changes."}
        note = {name: given[name] for name in ("identity_id", "client_id", "client_secret_id", "expires_at")}
        self.state = {
            "secret": arguments.get("client_secret") or self.state["secret"],
            "note": {**note, "auth_method": "universal_auth"},
            "digest": digest,
        }
        self.save()
        settings = host_login.make_settings({**arguments, "client_secret": self.state["secret"]}, given)
        reports: dict[str, Any] = {}
        with contextlib.closing(connect(settings)) as api:
            for job in (make_job(one, settings) for one in jobs):
                location = settings.scope()
                read = {name: job.options[name] for name in ("recursive", "include_imports")}
                found = api.list_secrets(type(location)(location.project_id, location.environment,
                                                        job.options["secret_path"]), **read)  # fmt: skip
                reports[job.name] = {"conclusion": "ok", "secrets": sorted(one.key for one in found.secrets)}
        return {"changed": True, "changes": ["the agent is installed"], "due": list(reports), "requests": len(reports),
                "reports": reports, "msg": "1 change."}  # fmt: skip


class ActionModule(infisical_agent.ActionModule):
    def _execute_in_turn(
        self, arguments: dict[str, Any], task_vars: dict[str, Any], wrap_async: bool
    ) -> dict[str, Any]:
        host = SimulatedHost(task_vars["inventory_hostname"])
        if task_vars.get("simulated_unreachable"):
            return {"unreachable": True, "msg": "The host is switched off."}
        leaked = {"token", "held_identity", "identity_id"} & set(arguments)
        if leaked or os.environ["KEYFLEET_CONTROLLERS_SECRET"] in json.dumps(arguments):
            raise AssertionError(f"the host gets the login of the controller: {sorted(leaked)}")
        if arguments.get("state") == "absent":
            host.path.unlink(missing_ok=True)
            machine_id = task_vars.get("simulated_machine", host.path.stem[:32])
            return {"changed": True, "changes": ["the agent is removed"], "machine_id": machine_id, "msg": "1 change."}
        if self._task.check_mode:
            return {"changed": False, "changes": [], "due": [], "requests": 0, "msg": "0 changes."}
        if task_vars.get("simulated_sync_failure"):
            return {"failed": True, "reports": {}, "changed": True, "requests": 0, "msg": "The sync failed."}
        try:
            return host.install(arguments)
        except InfisicalError as error:
            return {**error.as_failure(), "failed": True, "reports": {}, "changed": True, "requests": 0}
