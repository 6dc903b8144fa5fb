#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_fleet_report
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Tell which host holds which secret in which version
description:
  - Keeps the metadata graph of a fleet in a file on the controller. It has the Infisical, its projects and secrets, the
    vaults of the hosts' jobs, and which vault holds which secret in which version since when; never a value, a hash of
    one, or anything else that is made of one.
  - What is in the graph comes from O(hosts), and from Infisical, which is asked for names and versions with values
    hidden. Where a server does not hide them, they are dropped with its answer.
  - A host that did not answer keeps what was last known of it, marked with its age. So do secrets that Infisical does
    not list this time, with a warning. A secret that is not in Infisical any more stays as long as a vault holds it.
  - The task is done on the controller, whichever host it is for. The playbook C(keyfleet.infisical.fleet_report) asks
    the hosts and calls it.
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  hosts:
    description:
      - What each host told, as RV(keyfleet.infisical.infisical_agent_info#module:metadata) has it, by the host's name
        in the inventory, of at least one. V(null) or an empty text stands for a host that did not answer.
      - What a host told that is no metadata counts as no answer, with a warning.
    type: dict
    required: true
  forget_absent_hosts:
    description:
      - Whether hosts of the graph that are not in O(hosts) are taken out of it. By default they stay as they were
        known, so that a run for some hosts keeps the others.
    type: bool
    default: false
  graph_file:
    description:
      - The graph's file on the controller, JSON. The one that is there is brought up to date; where there is none, the
        graph begins anew.
      - A path that is relative begins at the playbook's folder, and a folder that is not there is made, for its owner
        only, if the one above it is. So it is with the other files.
      - While it is brought up to date, a file beside it, whose name ends with C(.lock), keeps other runs out.
    type: path
    required: true
  csv_file:
    description:
      - A file for a table in CSV with a row for each host, job and secret, and its state.
      - Texts that a spreadsheet would take for a formula have an apostrophe before them.
    type: path
  html_file:
    description:
      - A file for the report as a page for a browser. It is complete in itself, and asks nobody for anything.
      - The Python library igraph is required on the controller then.
    type: path
  mode:
    description:
      - The mode of the files, in octal digits and quotes. Names of secrets and of hosts are not for everybody.
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
requirements:
  - igraph >= 0.10.2, for O(html_file)
notes:
  - Hosts that are not among those of the batch yet, in a play with C(serial), count as hosts that did not answer. Ask
    all hosts first, in a play of its own or in one without C(serial).
  - The identity should see all projects of the fleet's jobs. Names and versions suffice, so that it needs no
    permission to read values where the server tells these apart.
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
      - The times at which hosts and Infisical were asked are written every time, and do not count as a change.
seealso:
  - module: keyfleet.infisical.infisical_fleet_info
  - module: keyfleet.infisical.infisical_agent_info
"""

EXAMPLES = r"""
- name: Metadata of the host's vaults is known
  keyfleet.infisical.infisical_agent_info:
    metadata: true
  become: true
  register: told
  ignore_errors: true
  ignore_unreachable: true

- name: Graph and table are up to date
  keyfleet.infisical.infisical_fleet_report:
    hosts: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'told')
      | map(attribute='metadata', default=''))) }}"
    graph_file: fleet/graph.json
    csv_file: fleet/report.csv
    html_file: fleet/report.html
  run_once: true
"""

RETURN = r"""
headline:
  description: What there is to act on, in one line.
  returned: success
  type: str
  sample: "2 of 12 hosts are behind on DB_PASSWORD for 2 h: web1, web2"
summary:
  description:
    - How many there are of what the graph has. C(held) counts pairs of a vault and a secret that it holds; C(behind)
      those of them with an older version than Infisical has, C(gone) those that Infisical has no more, C(unknown)
      those of which no Infisical has told yet, and C(missing) the pairs of a vault and a secret of its job that it does
      not hold. C(vaults_stale) have not synced for two intervals.
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
  description: What could not be had, a sentence each; the same as the task's warnings.
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
  description: The status of the server's answer, V(null) where there was none.
  returned: failure
  type: int
  sample: 401
"""
