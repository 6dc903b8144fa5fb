#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_agent_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Tell what a host has for the agent, and how its jobs go
description:
  - Tells what the role P(keyfleet.infisical.scheduled_sync#role) looks at before it changes anything. And where the
    agent is installed, how the last sync of each job went, as C(infisical-sync status --json) does.
  - It does not ask Infisical. It has to run as root to tell of jobs.
extends_documentation_fragment:
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  python:
    description: The Python that runs the agent, or is to.
    type: path
    default: /usr/bin/python3
attributes:
  action:
    support: none
    details: []
  action_group:
    support: none
    details:
      - The module does not talk to Infisical, and takes none of the shared options.
    membership: []
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: Jobs of all hosts are known
  keyfleet.infisical.infisical_agent_info:
  become: true
  register: agent

- name: Hosts that could not sync are named
  ansible.builtin.debug:
    msg: "{{ agent.jobs | selectattr('last_cycle.conclusion', 'ne', 'ok') | map(attribute='name') }}"
"""

RETURN = r"""
machine_id:
  description: The machine's id, empty where there is none.
  returned: success
  type: str
  sample: 3f1b0c9a8d7e4f6a9b8c7d6e5f4a3b2c
systemd_version:
  description: The version of the systemd that runs the host, V(0) where none does.
  returned: success
  type: int
  sample: 257
python_version:
  description: The version of O(python), empty where it cannot be started.
  returned: success
  type: str
  sample: "3.11"
missing_libraries:
  description: The libraries that O(python) lacks.
  returned: success
  type: list
  elements: str
  sample: [cryptography]
jobs:
  description:
    - How each job goes, by name, never with a value. RV(jobs[].last_cycle) is the report of the last sync, the rest is
      what C(infisical-sync status --json) tells.
  returned: success
  type: list
  elements: dict
  sample:
    - name: shop
      secrets: 12
      generation: 7
      last_cycle: {conclusion: ok, ended: "2026-01-15T10:30:00Z"}
conclusion:
  description: What went wrong, in one word. The guide to errors lists all of them.
  returned: failure
  type: str
  sample: storage
http_status:
  description: Always V(null), because Infisical is not asked.
  returned: failure
  type: int
  sample: null
"""

import os
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical import agent
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule


def work(module: InfisicalModule) -> dict[str, Any]:
    """Tell what there is."""
    found = agent.facts()
    version, missing = agent.python(module.params["python"])
    return {
        "changed": False,
        "machine_id": found.machine_id,
        "systemd_version": found.systemd,
        "python_version": ".".join(map(str, version)),
        "missing_libraries": missing,
        "jobs": agent.status() if os.geteuid() == 0 else [],
    }


def main() -> None:
    """Run the module."""
    spec: dict[str, dict[str, Any]] = {"python": {"type": "path", "default": "/usr/bin/python3"}}
    InfisicalModule(argument_spec=spec, shared=False).run(work)


if __name__ == "__main__":
    main()
