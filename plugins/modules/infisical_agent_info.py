#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_agent_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Tell how the jobs of the agent go on a host
description:
  - Tells how the last sync of each job went, and what its vault holds, as C(infisical-sync status --json) does on the
    host.
  - Tells besides what the role P(keyfleet.infisical.scheduled_sync#role) has to know of a host before it installs the
    agent.
  - Infisical is not asked. The module has to run as root to tell of jobs; for others, RV(jobs) is empty.
extends_documentation_fragment:
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  python:
    description: The Python that is looked at, which runs the agent or is to run it.
    type: path
    default: /usr/bin/python3
  metadata:
    description:
      - Whether to return RV(metadata) too, from which M(keyfleet.infisical.infisical_fleet_report) makes the report of
        a fleet. RV(jobs) is empty then. The task fails where it is not root who runs it.
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
      - The module does not talk to Infisical, and takes none of the shared options.
    membership: []
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: How the jobs go
  keyfleet.infisical.infisical_agent_info:
  become: true
  register: agent

- name: Jobs whose last sync failed
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
    - How each job goes, in the order of their names, never with a value.
    - A job whose status cannot be read has C(failed=true) and the same keys. C(last_cycle) then has the C(conclusion)
      and C(message) of that error, C(projects) is empty, and the keys below that are not known are V(null).
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
      description: Why the status cannot be read, in one word, V(null) if it can.
      type: str
      sample: null
    message:
      description: Why the status cannot be read, in a sentence, V(null) if it can.
      type: str
      sample: null
    vault:
      description: The path of its vault.
      type: str
      sample: /var/lib/infisical-sync/shop/secrets.vault
    problem:
      description: Why the vault cannot be opened, V(null) where it can.
      type: str
      sample: null
    secrets:
      description: The number of entries in the vault, V(null) where it cannot be opened.
      type: int
      sample: 12
    generation:
      description: The generation of the vault, V(0) where there is none yet.
      type: int
      sample: 7
    projects:
      description: The ids of the projects of the last sync that succeeded.
      type: list
      elements: str
      sample: [7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d]
    environment:
      description: The slug of the environment of the last sync that succeeded.
      type: str
      sample: prod
    secret_path:
      description: The path of the folder of the last sync that succeeded.
      type: str
      sample: /shop
    last_sync:
      description: When a sync last succeeded, in UTC, V(null) for never.
      type: str
      sample: "2026-01-15T10:30:00Z"
    age_seconds:
      description: The seconds since then.
      type: int
      sample: 240
    environment_checked:
      description:
        - When a sync last saw that the environment still exists, in UTC, V(null) for never. While nothing changes,
          a server may answer for a deleted environment from a cache, so a sync checks this once an hour.
      type: str
      sample: "2026-01-15T10:00:00Z"
    last_error:
      description: The last error with its C(time) and C(message), also where a sync has succeeded since, else V(null).
      type: dict
      sample: null
    error_count:
      description: The number of syncs that failed, since the state file is there.
      type: int
      sample: 0
    pull_count:
      description: The number of secrets that were pulled, since the state file is there.
      type: int
      sample: 47
    push_count:
      description: The number of secrets that were pushed, since the state file is there.
      type: int
      sample: 0
    last_cycle:
      description:
        - The report of the last sync. Its C(conclusion) is V(ok), or says in one word what went wrong, and C(message)
          says it in a sentence. C(ended) is the time, C(seconds) how long it took, and C(counts) what it changed.
          Before C(next_login), if that is not empty, nobody logs in again, because a login was refused.
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
    - Which secrets the vaults of all jobs hold, in which version, with no value and nothing that is made of one; as a
      text in JSON, because those of a thousand hosts would be slow as data. The guide to the fleet describes it.
  returned: if O(metadata=true)
  type: str
  sample: '{"schema":"keyfleet.infisical/metadata","version":1,"host":"web1","jobs":[]}'
  version_added: 0.3.0
conclusion:
  description: What went wrong, in one word. The guide to errors lists all of them.
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
  description: Always V(null), because Infisical is not asked.
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
    """Return the facts of the host and the status of its jobs."""
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
