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
  - Runs jobs that M(keyfleet.infisical.infisical_agent) has installed, one after the other. Waits for the syncs and the
    delivery of the files, and returns the reports of the syncs.
  - The host logs in with its own credentials. The module must run as root.
extends_documentation_fragment:
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  jobs:
    description:
      - The names of the jobs. By default, all jobs of the host. The task fails if there is none.
    type: list
    elements: str
  rate_limit:
    description:
      - Requests per minute that Infisical allows for one address. The hosts of a run start one after the other, so that
        they use half of it together. With V(0), all hosts start at once.
    type: int
    default: 0
  requests:
    description: The number of listings of a host, one for each project of each job, without its login.
    type: int
    default: 1
attributes:
  action:
    details:
      - The action lets the hosts start one after the other if O(rate_limit) is set.
  action_group:
    support: none
    details:
      - The module does not connect to Infisical and does not accept the shared options.
    membership: []
  check_mode:
    support: partial
    details:
      - In check mode nothing is started, and the task reports a change, because only a sync can find out. A job that
        does not exist is accepted, because a previous task may create it. If the host has no job and O(jobs) is not
        set, the task warns.
  diff_mode:
    support: none
    details:
      - The module returns the number of changed secrets, but not their names.
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: Deliver a rotated secret now
  keyfleet.infisical.infisical_agent_sync:
    jobs: [shop]
  become: true
"""

RETURN = r"""
reports:
  description:
    - The report of each sync by job, as in RV(keyfleet.infisical.infisical_agent_info#module:jobs[].last_cycle). The
      task fails if the C(conclusion) of one is not V(ok).
  returned: if a sync was started
  type: dict
  sample:
    shop: {conclusion: ok, counts: {created: 0, updated: 1, deleted: 0, unchanged: 11}, generation: 8}
conclusion:
  description: The cause of the failure in one word. The guide to troubleshooting lists all conclusions.
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
  description: Always V(null), because the module does not connect to Infisical.
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
    "This host has no job of the agent. Outside check mode, this task fails unless a previous task installs a job."
)


def work(module: InfisicalModule) -> dict[str, Any]:
    """Sync the jobs one after the other."""
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
