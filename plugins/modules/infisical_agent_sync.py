#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_agent_sync
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Let the agent of a host sync now
description:
  - Starts the syncs of jobs that M(keyfleet.infisical.infisical_agent) has set up, one after the other, waits until
    they and the delivery of files have ended, and reports what the syncs came to.
  - It is the host that logs in, with its own credentials. The module has to run as root.
extends_documentation_fragment:
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  jobs:
    description:
      - The names of the jobs, by default all of the host. At least one is needed, so the task fails on a host without
        the agent or without a job.
    type: list
    elements: str
  rate_limit:
    description:
      - Requests a minute that Infisical allows one address. The hosts of a run then start one after the other, so far
        apart that they use 60 percent of it together. With V(0) all of them start at once.
    type: int
    default: 0
  requests:
    description: How many listings a host asks for, one for each project of each job. Its login is counted apart.
    type: int
    default: 1
attributes:
  action:
    details:
      - The action lets the hosts wait for their turn.
  action_group:
    support: none
    details:
      - The module does not talk to Infisical, and takes none of the shared options.
    membership: []
  check_mode:
    support: partial
    details:
      - In check mode nothing is started, and the task says that it would change something, since only Infisical
        knows. A job that does not exist yet is accepted, because a task before may make it. If the host has no job
        and O(jobs) is not given, a warning says so.
  diff_mode:
    support: none
    details:
      - The names that changed are not told, only how many.
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: A secret that was rotated reaches the host now
  keyfleet.infisical.infisical_agent_sync:
    jobs: [shop]
  become: true
"""

RETURN = r"""
reports:
  description:
    - What each sync came to, by job, as RV(keyfleet.infisical.infisical_agent_info#module:jobs[].last_cycle) has it.
      The C(conclusion) of each is V(ok), else the task fails.
  returned: always, once a sync was started
  type: dict
  sample:
    shop: {conclusion: ok, counts: {created: 0, updated: 1, deleted: 0, unchanged: 11}, generation: 8}
conclusion:
  description: What went wrong, in one word. The guide to errors lists all of them.
  returned: failure
  type: str
  sample: unreachable
hint:
  description: What to do about the failure. Empty if the message says it all.
  returned: failure
  type: str
  sample: Check project_id, environment and secret_path.
  version_added: 0.3.0
http_status:
  description: Always V(null), because it is the agent that asks Infisical.
  returned: failure
  type: int
  sample: null
"""

import os
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import jobs as agent_jobs
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule

NO_JOB_YET = (
    "This host has no job of the agent. Outside check mode, this task fails here unless a task before it makes a job."
)


def work(module: InfisicalModule) -> dict[str, Any]:
    """Sync one job after the other."""
    if os.geteuid() != 0:
        raise ConfigurationError("become", "must be true: only root can start the agent's syncs.")
    jobs = agent_jobs.choose_jobs(module.params["jobs"], check=module.check_mode)
    if module.check_mode:
        warnings = [] if jobs else [NO_JOB_YET]
        msg = f"{pluralize(len(jobs), 'job')} would sync."
        return {"changed": True, "reports": {}, "msg": msg, "warnings": warnings}
    return {**agent_jobs.sync_all(jobs), "msg": f"{pluralize(len(jobs), 'job')} synced."}


def main() -> None:
    """Run the module."""
    spec: dict[str, dict[str, Any]] = {
        "jobs": {"type": "list", "elements": "str"},
        "rate_limit": {"type": "int", "default": 0},
        "requests": {"type": "int", "default": 1},
    }
    InfisicalModule(argument_spec=spec, shared=False).run(work)


if __name__ == "__main__":
    main()
