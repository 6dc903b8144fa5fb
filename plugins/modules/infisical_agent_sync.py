#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_agent_sync
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Trigger a sync on a host
description:
  - Runs sync jobs that M(keyfleet.infisical.infisical_agent) has installed, one after another. The module waits until
    each sync has ended and its files are delivered, and returns a report of each sync.
  - The host logs in to Infisical with its own credentials. The module must run as root.
extends_documentation_fragment:
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  jobs:
    description: Names of the jobs to run. By default, all jobs of the host run. The task fails if the host has no jobs.
    type: list
    elements: str
  rate_limit:
    description:
      - The number of requests per minute that Infisical allows from one IP address. The hosts start their syncs one
        after another, so that together they use only half of this limit.
      - With V(0), all hosts start at once.
    type: int
    default: 0
  requests:
    description:
      - The number of requests that the host needs to list secrets. Each job needs one request for each of its projects.
        The login is not counted.
      - Only used to calculate the delay between hosts if O(rate_limit) is set.
    type: int
    default: 1
attributes:
  action:
    details: If O(rate_limit) is set, the action plugin makes the hosts start one after another.
  action_group:
    support: none
    details: The module does not connect to Infisical and does not accept the shared options.
    membership: []
  check_mode:
    support: partial
    details:
      - In check mode, no sync starts and the task always reports a change, because only a sync can determine the
        changes.
      - A job that does not exist is accepted in check mode, because an earlier task might create it. If the host has no
        jobs and O(jobs) is not set, the task prints a warning.
  diff_mode:
    support: none
    details: The module returns the number of changed secrets, but not their names.
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: Sync the job shop now, to deliver a rotated secret
  keyfleet.infisical.infisical_agent_sync:
    jobs: [shop]
  become: true
"""

RETURN = r"""
reports:
  description:
    - The report of each sync, keyed by job name. The content of a report is described in
      RV(keyfleet.infisical.infisical_agent_info#module:jobs[].last_cycle).
    - The task fails if the C(conclusion) of any report is not V(ok).
  returned: if a sync was started
  type: dict
  sample:
    shop: {conclusion: ok, counts: {created: 0, updated: 1, deleted: 0, unchanged: 11}, generation: 8}
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: Always V(null)., returned: failure, type: int}
"""

import os
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import jobs as agent_jobs
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, InfisicalModule, run_module

NO_JOB_YET = "The agent has no jobs on this host. Without check mode, this task fails unless an earlier task adds jobs."


def work(module: InfisicalModule) -> dict[str, Any]:
    """Sync the jobs one after the other."""
    if os.geteuid() != 0:
        raise ConfigurationError("become", "must be true, because only root can start the agent's syncs.")
    jobs = agent_jobs.choose_jobs(module.params["jobs"], check=module.check_mode)
    if module.check_mode:
        warnings = [] if jobs else [NO_JOB_YET]
        msg = f"{pluralize(len(jobs), 'job')} would sync."
        return {"changed": True, "reports": {}, "msg": msg, "warnings": warnings}
    return {**agent_jobs.sync_all(jobs), "msg": f"{pluralize(len(jobs), 'job')} synced."}


DEFINITION = Definition(
    work,
    {
        "jobs": {"type": "list", "elements": "str"},
        "rate_limit": {"type": "int", "default": 0},
        "requests": {"type": "int", "default": 1},
    },
    shared=False,
)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
