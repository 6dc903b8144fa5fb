#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_fleet_report
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Report which host holds which secret in which version
description:
  - Keeps the metadata graph of a fleet in a file on the controller. It has the Infisical servers, their projects and
    secrets, the vaults of the hosts' jobs, and which vault has held which secret in which version since when. It never
    has a value, a hash of one, or anything else that is derived from one.
  - The graph is made from O(hosts), and from the names and versions that Infisical lists with values hidden. If a
    server does not hide values, they are dropped with its answer.
  - A host that did not answer keeps its last known state, marked with its age. So do secrets that Infisical does not
    list this time, with a warning. A secret that was deleted in Infisical stays as long as a vault holds it.
  - The task runs on the controller, whichever host it is for. The playbook C(keyfleet.infisical.fleet_report) asks
    the hosts and runs it.
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  hosts:
    description:
      - The metadata of each host, as RV(keyfleet.infisical.infisical_agent_info#module:metadata) returns it, by the
        host's name in the inventory. At least one host is required. V(null) or an empty text stands for a host that
        did not answer.
      - A host whose metadata is not valid counts as one that did not answer, with a warning.
    type: dict
    required: true
  forget_absent_hosts:
    description:
      - Remove hosts from the graph that are not in O(hosts). By default they keep their last known state, so that a run
        for some hosts keeps the others.
    type: bool
    default: false
  graph_file:
    description:
      - The file of the graph on the controller, in JSON. An existing graph is updated; otherwise a new one is made.
      - A relative path starts at the folder of the playbook. A missing folder is created for its owner only, if the
        folder above it exists. Both apply to the other files too.
      - During an update, a file beside it, whose name ends with C(.lock), makes other runs wait.
    type: path
    required: true
  csv_file:
    description:
      - A file for a table in CSV with a row for each host, job and secret, and its state.
      - A text that a spreadsheet would take for a formula begins with an apostrophe.
    type: path
  html_file:
    description:
      - A file for the report as a page for a browser. The page is one file that makes no request.
    type: path
  mode:
    description:
      - The mode of the files, in octal digits and quotes. Not everybody should read the names of secrets and hosts.
    type: raw
    default: "0600"
  project_id:
    description:
      - Not used. It is accepted so that C(module_defaults) of the action group work.
  environment:
    description:
      - Not used. It is accepted so that C(module_defaults) of the action group work.
  secret_path:
    description:
      - Not used. It is accepted so that C(module_defaults) of the action group work.
notes:
  - In a play with C(serial), hosts of later batches count as hosts that did not answer. Ask all hosts first, in a play
    of its own or in one without C(serial).
  - The identity should see all projects of the fleet's jobs. If the server has a separate permission to read values,
    the identity does not need it.
attributes:
  action:
    details:
      - The action does all of the work, on the controller.
  async:
    support: none
  diff_mode:
    details:
      - The difference shows how many there are of everything.
  idempotent:
    details:
      - The times of the last answers are written every time, and do not count as a change.
seealso:
  - module: keyfleet.infisical.infisical_fleet_info
  - module: keyfleet.infisical.infisical_agent_info
"""

EXAMPLES = r"""
- name: Get the metadata of the host's vaults
  keyfleet.infisical.infisical_agent_info:
    metadata: true
  become: true
  register: answer
  ignore_errors: true
  ignore_unreachable: true

- name: Update graph, table and page
  keyfleet.infisical.infisical_fleet_report:
    hosts: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'answer')
      | map(attribute='metadata', default=''))) }}"
    graph_file: fleet/graph.json
    csv_file: fleet/report.csv
    html_file: fleet/report.html
  run_once: true
"""

RETURN = r"""
headline:
  description: What needs attention, in one line.
  returned: success
  type: str
  sample: "2 of 12 hosts are behind on DB_PASSWORD for 2 h: web1, web2"
summary:
  description:
    - The size of the graph. C(held) counts pairs of a vault and a secret that it holds. Of these, C(behind) have an
      older version than Infisical, C(gone) were deleted in Infisical, and C(unknown) have a version that Infisical has
      not listed. C(missing) counts pairs of a vault and a secret that its job should have pulled. C(vaults_stale) have
      not synced for two intervals.
  returned: success
  type: dict
  sample:
    services: 1
    projects: 2
    secrets: 40
    secrets_unused: 1
    secrets_gone: 0
    hosts: 12
    vaults: 14
    vaults_ok: 12
    vaults_failed: 0
    vaults_stale: 1
    vaults_never: 0
    vaults_silent: 1
    held: 260
    behind: 2
    gone: 0
    unknown: 0
    missing: 1
time:
  description: The time of the graph, in UTC.
  returned: success
  type: str
  sample: "2026-01-15T10:30:00Z"
problems:
  description: What hosts and Infisical did not answer, in sentences; the same as the task's warnings.
  returned: success
  type: list
  elements: str
  sample: []
diff:
  description: The C(before) and C(after) of RV(summary).
  returned: in diff mode
  type: dict
  sample:
    before: {behind: 0}
    after: {behind: 2}
written:
  description: The files that were written before another one could not be written.
  returned: when O(csv_file) or O(html_file) was written before a failure
  type: list
  elements: str
  sample: []
conclusion:
  description: What went wrong, in one word. The guide to errors lists all of them.
  returned: failure
  type: str
  sample: credentials_rejected
hint:
  description: What to do about the failure. Empty if the message says it all.
  returned: failure
  type: str
  sample: Check project_id, environment and secret_path.
  version_added: 0.3.0
http_status:
  description: The status of the server's answer, V(null) if it did not answer.
  returned: failure
  type: int
  sample: 401
"""
