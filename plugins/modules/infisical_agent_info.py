#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_agent_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Get the status of the sync jobs on a host
description:
  - Returns the result of each job's last sync and the state of its vault. The command C(infisical-sync status --json)
    prints the same data on the host.
  - The result also contains facts about the host. The role P(keyfleet.infisical.scheduled_sync#role) checks these facts
    before it installs the agent.
  - The module does not connect to Infisical. It returns jobs only if it runs as root; for other users, RV(jobs) is
    empty.
extends_documentation_fragment:
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  python:
    description:
      - The path of the Python interpreter that runs the agent. RV(python_version) and RV(missing_libraries) describe
        this interpreter.
    type: path
    default: /usr/bin/python3
  metadata:
    description:
      - Return RV(metadata) instead of RV(jobs). M(keyfleet.infisical.infisical_fleet_report) creates the fleet report
        from this data.
      - The task fails if it does not run as root.
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
- name: Get the status of the host's jobs
  keyfleet.infisical.infisical_agent_info:
  become: true
  register: agent

- name: List the jobs whose last sync failed
  ansible.builtin.debug:
    msg: "{{ agent.jobs | selectattr('last_cycle.conclusion', 'ne', 'ok') | map(attribute='name') }}"
"""

RETURN = r"""
machine_id:
  description: The host's machine id. Empty if the host does not have one.
  returned: success
  type: str
  sample: 3f1b0c9a8d7e4f6a9b8c7d6e5f4a3b2c
systemd_version:
  description: The version of systemd on the host. V(0) if the host was not booted with systemd.
  returned: success
  type: int
  sample: 257
python_version:
  description: The version of the interpreter O(python). Empty if the interpreter cannot be started.
  returned: success
  type: str
  sample: "3.11"
missing_libraries:
  description: Names of the libraries that the agent needs and that the interpreter O(python) does not have.
  returned: success
  type: list
  elements: str
  sample: [cryptography]
jobs:
  description:
    - The status of each job, sorted by name. Values of secrets are not included.
    - If the status of a job cannot be read, C(failed) is V(true) and all keys are still present. C(last_cycle) then
      contains the C(conclusion) and C(message) of the error, C(projects) is empty, and unknown keys are V(null).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name of the job.
      type: str
      sample: shop
    failed:
      description: Whether reading the status of the job failed.
      type: bool
      sample: false
    conclusion:
      description: The category of the error if the status cannot be read, otherwise V(null).
      type: str
      sample: null
    message:
      description: The error message if the status cannot be read, otherwise V(null).
      type: str
      sample: null
    vault:
      description: The path of the job's vault.
      type: str
      sample: /var/lib/infisical-sync/shop/secrets.vault
    problem:
      description: The reason why the vault cannot be opened, or V(null) if it can be opened.
      type: str
      sample: null
    secrets:
      description: The number of entries in the vault, or V(null) if the vault cannot be opened.
      type: int
      sample: 12
    generation:
      description: The generation of the vault, which increases with each write. V(0) if the vault does not exist yet.
      type: int
      sample: 7
    projects:
      description: Ids of the projects in the last successful sync.
      type: list
      elements: str
      sample: [7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d]
    environment:
      description: The slug of the environment in the last successful sync.
      type: str
      sample: prod
    secret_path:
      description: The path of the Infisical folder in the last successful sync.
      type: str
      sample: /shop
    last_sync:
      description: The time of the last successful sync in UTC, or V(null) if no sync has succeeded yet.
      type: str
      sample: "2026-01-15T10:30:00Z"
    age_seconds:
      description: The number of seconds since the last successful sync.
      type: int
      sample: 240
    environment_checked:
      description:
        - The last time in UTC at which a sync confirmed that the environment exists, or V(null) if none has.
        - After an environment is deleted, some servers still return its secrets from a cache. A sync therefore checks
          once an hour whether the environment exists.
      type: str
      sample: "2026-01-15T10:00:00Z"
    last_error:
      description:
        - The C(time) and C(message) of the last error, or V(null) if there has been none. A later successful sync does
          not remove it.
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
        - The report of the last sync.
        - C(conclusion) is V(ok) or the category of the error. C(message) describes the error, and ends with the
          C(hint), which says what to do.
        - C(ended) is the time at which the sync ended, C(seconds) is its duration, and C(counts) contains the numbers
          of changed and unchanged entries.
        - C(next_login) is set only if Infisical refused a login. The host does not log in again before this time.
      type: dict
      sample:
        conclusion: ok
        message: ""
        hint: ""
        ended: "2026-01-15T10:30:00Z"
        seconds: 0.2
        counts: {created: 0, updated: 1, deleted: 0, unchanged: 11}
        generation: 7
        next_login: ""
metadata:
  description:
    - The names and versions of the secrets in all job vaults, without values or hashes of values.
    - The data is a JSON string, because Ansible is slow with structured data from a thousand hosts. The guide to the
      fleet report describes the format.
  returned: if O(metadata=true)
  type: str
  sample: '{"schema":"keyfleet.infisical/metadata","version":1,"host":"web1","jobs":[]}'
  version_added: 0.3.0
conclusion:
  description: The category of the error, such as V(storage). The troubleshooting guide explains all categories.
  returned: failure
  type: str
  sample: storage
hint:
  description: How to fix the error. Empty if C(msg) already explains it.
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

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.jobs import list_jobs, read_status
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.library import inspect_python
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import systemd
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.host_metadata import of_host
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule


def work(module: InfisicalModule) -> dict[str, Any]:
    """Return facts about the host, and the status of its jobs."""
    root, wants_metadata = os.geteuid() == 0, module.params["metadata"]
    if wants_metadata and not root:
        raise ConfigurationError("become", "must be true: only root can open the vaults of the host's jobs.")
    version, missing = inspect_python(module.params["python"])
    return {
        "changed": False,
        "machine_id": systemd.machine_id(),
        "systemd_version": systemd.version(),
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
