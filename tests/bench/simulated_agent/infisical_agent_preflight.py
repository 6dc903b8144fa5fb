# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin infisical_agent_preflight with simulated hosts (see infisical_agent beside it)."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.action import infisical_agent_preflight


class ActionModule(infisical_agent_preflight.ActionModule):
    def _execute(self, arguments: dict[str, Any], task_vars: dict[str, Any], wrap_async: bool) -> dict[str, Any]:
        if os.environ["KEYFLEET_CONTROLLERS_SECRET"] in json.dumps(arguments):
            raise AssertionError("the host gets the client secret of the controller")
        file = hashlib.sha256(task_vars["inventory_hostname"].encode()).hexdigest()
        path = Path(os.environ["KEYFLEET_SIMULATED_HOSTS"], f"{file}.json")
        note = json.loads(path.read_text("utf-8"))["note"] if path.exists() else {}
        return {"changed": False, "identity": {**note, "machine_id": file[:32]}, "msg": "The sync agent can run."}
