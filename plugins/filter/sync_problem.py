# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: sync_problem
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Why a rate limit does not bear the jobs of a fleet
description:
  - What is wrong with the interval of jobs, in a sentence that names the interval that would do; empty where nothing
    is.
  - The requests of all jobs are added up, one for each project that a job names, as if each ran as often as the one
    that runs most.
positional: _input
options:
  _input:
    description:
      - The jobs, as M(keyfleet.infisical.infisical_agent) takes them.
    type: list
    elements: dict
    required: true
  hosts:
    description: How many hosts run them and reach Infisical through one address.
    type: int
    required: true
  rate_limit:
    description: Requests a minute that the server allows one address, V(0) for no limit.
    type: int
    required: true
seealso:
  - plugin: keyfleet.infisical.sync_interval
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Infisical's rate limit bears the fleet
  ansible.builtin.assert:
    that: problem == ''
    fail_msg: "{{ problem }}"
  vars:
    problem: "{{ jobs | keyfleet.infisical.sync_problem(hosts=400, rate_limit=120) }}"
    jobs:
      - {name: shop, interval: 5m}
"""

RETURN = r"""
_value:
  description: The sentence, or an empty text.
  type: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.schedule import (
    check_jobs,
    interval_minutes,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError


def sync_problem(jobs: Any, hosts: Any, rate_limit: Any) -> str:
    """What keeps so many hosts from running these jobs, empty for nothing."""
    if not isinstance(jobs, Sequence) or not all(isinstance(job, Mapping) for job in jobs):
        raise AnsibleFilterError("keyfleet.infisical.sync_problem: jobs must be a list of mappings.")
    try:
        loads = [(interval_minutes(str(job.get("interval", "15m"))), _projects(job)) for job in jobs]
        check_jobs(loads, int(hosts), int(rate_limit))
    except ConfigurationError as error:
        return str(error)
    return ""


def _projects(job: Mapping[str, Any]) -> int:
    """How many projects a job names; without any, it is the one of all jobs."""
    named = job.get("project_ids") or [""]
    # The module takes a text with commas for a list, as all of Ansible does.
    return len(named.split(",") if isinstance(named, str) else named)


class FilterModule:
    """The filter, by its name."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"sync_problem": sync_problem}
