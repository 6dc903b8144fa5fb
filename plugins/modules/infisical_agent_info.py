#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_agent_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Get the status of the jobs of a host
description:
  - Returns the result of the last sync of each job and the state of its vault, as C(infisical-sync status --json)
    prints them on the host.
  - Also returns the facts of the host that the role P(keyfleet.infisical.scheduled_sync#role) checks before it installs
    the agent.
  - The module does not connect to Infisical. It must run as root to return jobs; for other users, RV(jobs) is empty.
extends_documentation_fragment:
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  python:
    description: The Python of the agent, for RV(python_version) and RV(missing_libraries).
    type: path
    default: /usr/bin/python3
  metadata:
    description:
      - Return RV(metadata), from which M(keyfleet.infisical.infisical_fleet_report) makes the report of a fleet,
        instead of RV(jobs). The task fails if it does not run as root.
    type: bool
    default: false
    version_added: 0.3.0
attributes:
  action:
    support: none
    details: []
  action_group:
    support: none
    details:
      - The module does not connect to Infisical and does not accept the shared options.
    membership: []
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: Get the status of the jobs
  keyfleet.infisical.infisical_agent_info:
  become: true
  register: agent

- name: List the jobs whose last sync failed
  ansible.builtin.debug:
    msg: "{{ agent.jobs | selectattr('last_cycle.conclusion', 'ne', 'ok') | map(attribute='name') }}"
"""

RETURN = r"""
machine_id:
  description: The machine's id, empty if the host has no machine id.
  returned: success
  type: str
  sample: 3f1b0c9a8d7e4f6a9b8c7d6e5f4a3b2c
systemd_version:
  description: The version of the systemd that runs the host, V(0) if systemd does not run it.
  returned: success
  type: int
  sample: 257
python_version:
  description: The version of O(python), empty if it cannot be started.
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
    - The status of each job, sorted by name, without values of secrets.
    - A job whose status cannot be read has C(failed=true) and the same keys. Its C(last_cycle) has the C(conclusion)
      and C(message) of the error, its C(projects) is empty, and its unknown keys are V(null).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name of the job.
      type: str
      sample: shop
    failed:
      description: Whether the status of the job cannot be read.
      type: bool
      sample: false
    conclusion:
      description: The reason why the status cannot be read, in one word; else V(null).
      type: str
      sample: null
    message:
      description: The reason why the status cannot be read, in a sentence; else V(null).
      type: str
      sample: null
    vault:
      description: The path of its vault.
      type: str
      sample: /var/lib/infisical-sync/shop/secrets.vault
    problem:
      description: The reason why the vault cannot be opened, else V(null).
      type: str
      sample: null
    secrets:
      description: The number of entries in the vault, V(null) if it cannot be opened.
      type: int
      sample: 12
    generation:
      description: The generation of the vault, V(0) if the vault does not exist yet.
      type: int
      sample: 7
    projects:
      description: The ids of the projects of the last successful sync.
      type: list
      elements: str
      sample: [7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d]
    environment:
      description: The slug of the environment of the last successful sync.
      type: str
      sample: prod
    secret_path:
      description: The path of the folder of the last successful sync.
      type: str
      sample: /shop
    last_sync:
      description: The time of the last successful sync in UTC, V(null) for never.
      type: str
      sample: "2026-01-15T10:30:00Z"
    age_seconds:
      description: The seconds since the last successful sync.
      type: int
      sample: 240
    environment_checked:
      description:
        - The time in UTC at which a sync last checked that the environment exists, V(null) for never. A server may
          answer for a deleted environment from a cache, so a sync checks this once an hour.
      type: str
      sample: "2026-01-15T10:00:00Z"
    last_error:
      description: The last error with its C(time) and C(message), even if a later sync succeeded; else V(null).
      type: dict
      sample: null
    error_count:
      description: The number of failed syncs since the state file was created.
      type: int
      sample: 0
    pull_count:
      description: The number of pulled secrets since the state file was created.
      type: int
      sample: 47
    push_count:
      description: The number of pushed secrets since the state file was created.
      type: int
      sample: 0
    last_cycle:
      description:
        - The report of the last sync. Its C(conclusion) is V(ok) or the cause of the failure in one word, and
          C(message) has the details. C(ended) is the time of its end, C(seconds) its duration, and C(counts) the
          numbers of changes. If a login was refused, the host does not log in again before C(next_login).
      type: dict
      sample:
        conclusion: ok
        message: ""
        ended: "2026-01-15T10:30:00Z"
        seconds: 0.2
        counts: {created: 0, updated: 1, deleted: 0, unchanged: 11}
        generation: 7
        next_login: ""
metadata:
  description:
    - The names and versions of the secrets in the vaults of all jobs, without values or hashes of values. It is a text
      in JSON, because structured data of a thousand hosts would be slow. The guide to the fleet report describes it.
  returned: if O(metadata=true)
  type: str
  sample: '{"schema":"keyfleet.infisical/metadata","version":1,"host":"web1","jobs":[]}'
  version_added: 0.3.0
conclusion:
  description: The cause of the failure in one word. The guide to troubleshooting lists all conclusions.
  returned: failure
  type: str
  sample: storage
hint:
  description: What to do about the failure. Empty if the message says it all.
  returned: failure
  type: str
  sample: Check project_id, environment and secret_path.
  version_added: 0.3.0
http_status:
  description: Always V(null), because the module does not connect to Infisical.
  returned: failure
  type: int
  sample: null
"""

import os
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.host import gather_facts
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.jobs import list_jobs, read_status
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.library import inspect_python
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.host_metadata import of_host
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule


def work(module: InfisicalModule) -> dict[str, Any]:
    """Return facts about the host, and the status of its jobs."""
    root, wants_metadata = os.geteuid() == 0, module.params["metadata"]
    if wants_metadata and not root:
        raise ConfigurationError("become", "must be true: only root can open the vaults of the host's jobs.")
    facts = gather_facts()
    version, missing = inspect_python(module.params["python"])
    return {
        "changed": False,
        "machine_id": facts.machine_id,
        "systemd_version": facts.systemd,
        "python_version": ".".join(map(str, version)),
        "missing_libraries": missing,
        "jobs": read_status() if root and not wants_metadata else [],
        **({"metadata": of_host()} if wants_metadata else {}),
        "msg": f"The agent has {pluralize(len(list_jobs()), 'job')} on this host.",
    }


def main() -> None:
    """Run the module."""
    spec: dict[str, dict[str, Any]] = {
        "python": {"type": "path", "default": "/usr/bin/python3"},
        "metadata": {"type": "bool", "default": False},
    }
    InfisicalModule(argument_spec=spec, shared=False).run(work)


if __name__ == "__main__":
    main()
