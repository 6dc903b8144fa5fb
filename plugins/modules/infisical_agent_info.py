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
  action_group:
    support: none
    details: The module does not connect to Infisical and does not accept the shared options.
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
identity:
  description: The machine identity that the agent uses. Texts are empty if they are unknown.
  returned: success
  type: dict
  version_added: 0.4.0
  contains:
    identity_id: {description: The id of the machine identity., type: str}
    client_id: {description: The client id., type: str}
    client_secret_id: {description: The id of the client secret., type: str}
    expires_at:
      description:
        - The time in seconds since the epoch at which the client secret expires. V(0) if it does not expire, or if the
          time is unknown.
      type: int
    auth_method: {description: The login method., type: str}
  sample:
    {identity_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d, client_id: "", client_secret_id: "", expires_at: 0,
    auth_method: jwt_auth}
jobs:
  description:
    - The status of each job, sorted by name. Values of secrets are not included.
    - If the status of a job cannot be read, C(failed) is V(true) and all keys are still present. C(last_cycle) then
      contains the C(conclusion) and C(message) of the error, C(projects) is empty, and keys without a known value
      are V(null).
  returned: success
  type: list
  elements: dict
  sample:
    - {name: shop, failed: false, conclusion: null, message: null, vault: /var/lib/infisical-sync/shop/secrets.vault,
      problem: null, secrets: 12, generation: 7, projects: [7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d], environment: prod,
      secret_path: /shop, last_sync: "2026-01-15T10:30:00Z", age_seconds: 240,
      environment_checked: "2026-01-15T10:00:00Z", last_error: null, error_count: 0, pull_count: 47, push_count: 0,
      last_cycle: {conclusion: ok, message: "", ended: "2026-01-15T10:30:00Z", seconds: 0.2,
      counts: {created: 0, updated: 1, deleted: 0, unchanged: 11}, generation: 7, next_login: ""}}
  contains:
    name: {description: The name of the job., type: str}
    failed: {description: Whether reading the status of the job failed., type: bool}
    conclusion: {description: The category of the error if the status cannot be read., type: str}
    message: {description: The error message if the status cannot be read., type: str}
    hint: {description: How to fix the error if the status cannot be read., type: str, version_added: 0.3.0}
    vault: {description: The path of the job's vault., type: str}
    problem: {description: The reason why the vault cannot be opened., type: str}
    secrets: {description: The number of entries in the vault. V(null) if it cannot be opened., type: int}
    generation:
      description: The generation of the vault, which increases with each write. V(0) if the vault does not exist yet.
      type: int
    projects: {description: Ids of the projects in the last successful sync., type: list, elements: str}
    environment: {description: The slug of the environment in the last successful sync., type: str}
    secret_path: {description: The path of the Infisical folder in the last successful sync., type: str}
    last_sync: {description: The time of the last successful sync in UTC. V(null) if none has succeeded., type: str}
    age_seconds: {description: The number of seconds since the last successful sync., type: int}
    environment_checked:
      description:
        - The last time in UTC at which a sync confirmed that the environment exists, or V(null) if none has.
        - After an environment is deleted, some servers still return its secrets from a cache. A sync therefore checks
          once an hour whether the environment exists.
      type: str
    last_error:
      description:
        - The C(time) and C(message) of the last error, or V(null) if there has been none. A later successful sync does
          not remove it.
      type: dict
    error_count: {description: The number of failed syncs since the state file was created., type: int}
    pull_count: {description: The number of pulled secrets since the state file was created., type: int}
    push_count: {description: The number of pushed secrets since the state file was created., type: int}
    last_cycle:
      description:
        - The report of the last sync.
        - C(conclusion) is V(ok) or the category of the error. C(message) describes the error, and ends with the
          C(hint), which says what to do.
        - C(ended) is the time at which the sync ended, C(seconds) is its duration, and C(counts) contains the numbers
          of changed and unchanged entries.
        - C(next_login) is set only if Infisical refused a login. The host does not log in again before this time.
      type: dict
metadata:
  description:
    - The names and versions of the secrets in all job vaults, without values or hashes of values.
    - The data is a JSON string, because Ansible is slow with structured data from a thousand hosts. The guide to the
      fleet report describes the format.
  returned: if O(metadata=true)
  type: str
  sample: '{"schema":"keyfleet.infisical/metadata","version":1,"host":"web1","jobs":[]}'
  version_added: 0.3.0
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: Always V(null)., returned: failure, type: int}
"""

import os
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.held_identity import read_note
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.jobs import list_jobs, read_status
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.library import inspect_python
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import systemd
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.host_metadata import of_host
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, InfisicalModule, run_module


def work(module: InfisicalModule) -> dict[str, Any]:
    """Return facts about the host, and the status of its jobs."""
    root, wants_metadata = os.geteuid() == 0, module.params["metadata"]
    if wants_metadata and not root:
        raise ConfigurationError("become", "must be true, because only root can open the vaults of the host's jobs.")
    version, missing = inspect_python(module.params["python"])
    return {
        "changed": False,
        "machine_id": systemd.machine_id(),
        "systemd_version": systemd.version(),
        "python_version": ".".join(map(str, version)),
        "missing_libraries": missing,
        "identity": read_note().as_data(),
        "jobs": read_status() if root and not wants_metadata else [],
        **({"metadata": of_host()} if wants_metadata else {}),
        "msg": f"The agent has {pluralize(len(list_jobs()), 'job')} on this host.",
    }


DEFINITION = Definition(
    work,
    {
        "python": {"type": "path", "default": "/usr/bin/python3"},
        "metadata": {"type": "bool", "default": False},
    },
    shared=False,
)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
