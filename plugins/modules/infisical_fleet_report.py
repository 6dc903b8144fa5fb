#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_fleet_report
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Report which hosts have which versions of secrets
description:
  - Maintains a graph of a fleet's metadata in a file on the controller. The graph contains the Infisical servers, their
    projects and secrets, and the vaults of the hosts' jobs. It records which vault has contained which version of a
    secret, and since when.
  - The graph never contains values, hashes of values, or any other data that is derived from values.
  - The data come from O(hosts), and from Infisical, which lists the names and versions of secrets without their values.
    If a server sends the values anyway, they are discarded.
  - If a host did not respond, its last known data are kept and marked with their age. If Infisical cannot list some
    secrets, their last known data are kept, and the task prints a warning.
  - A secret that was deleted in Infisical remains in the graph until no vault contains it.
  - The task always runs on the controller. The playbook C(keyfleet.infisical.fleet_report) collects the data from the
    hosts and runs this module.
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  hosts:
    description:
      - The metadata of each host, keyed by the host's name in the inventory. The module
        M(keyfleet.infisical.infisical_agent_info) returns the metadata of a host as C(metadata). At least one host is
        required.
      - Use V(null) or an empty string for a host that did not respond. A host with invalid metadata is treated like a
        host that did not respond, and the task prints a warning.
    type: dict
    required: true
  forget_absent_hosts:
    description:
      - Remove hosts that are not in O(hosts) from the graph. By default, their last known data are kept, so that the
        report can be updated for some of the hosts.
    type: bool
    default: false
  max_identities:
    description:
      - The maximum number of machine identities whose grants are read in one run. The identities that were read longest
        ago are read first. For each identity, three requests are sent one after another. V(0) means that identities are
        neither listed nor read.
      - If the login is not allowed to see the identities of a project, or if Infisical does not have them, the report
        shows whether least privilege is kept as C(unknown).
    type: int
    default: 1000
    version_added: 0.4.0
  identity_inventory:
    description:
      - The label of the inventory that the hosts belong to. Required if hosts of several inventories in a project have
        the same name.
    type: str
    version_added: 0.4.0
  graph_file:
    description:
      - The path of the graph file on the controller, in JSON format. If the file exists, the graph is updated.
        Otherwise, a new graph is created.
      - For this option, O(csv_file) and O(html_file), a relative path is relative to the directory of the playbook. A
        missing directory is created if its parent exists. Only its owner can access the new directory.
      - During an update, a lock file in the same directory makes other runs wait. Its name is the name of the graph
        file followed by C(.lock).
    type: path
    required: true
  csv_file:
    description:
      - The path of a CSV file for a table with one row for each host, job and secret.
      - Text that a spreadsheet program could interpret as a formula is prefixed with an apostrophe.
    type: path
  html_file:
    description:
      - The path of an HTML file for the report. The page is self-contained and sends no requests.
    type: path
  mode:
    description:
      - The mode of the files as a quoted octal number. By default, only the owner can read the files, because the names
        of secrets and hosts are sensitive.
    type: raw
    default: "0600"
notes:
  - In a play with C(serial), hosts of later batches are treated as hosts that did not respond. Collect the metadata of
    all hosts before, in a play without C(serial).
  - The machine identity should have access to all projects that the fleet's jobs pull from. If the server has a
    separate permission to read values, the identity does not need it. To check least privilege, it needs a role that
    can read the identities of the project.
attributes:
  action:
    details:
      - The action plugin does all of the work on the controller.
  async:
    support: none
  diff_mode:
    details:
      - The output of C(--diff) shows how the numbers in RV(summary) change.
  idempotent:
    details:
      - The graph also contains the times at which hosts last responded. They are updated on each run, but do not count
        as a change.
seealso:
  - module: keyfleet.infisical.infisical_fleet_info
  - module: keyfleet.infisical.infisical_agent_info
"""

EXAMPLES = r"""
- name: Get the metadata of the vaults on each host
  keyfleet.infisical.infisical_agent_info:
    metadata: true
  become: true
  register: answer
  ignore_errors: true
  ignore_unreachable: true

- name: Update the graph file and the CSV and HTML reports
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
  description: One line that summarizes what needs attention.
  returned: success
  type: str
  sample: "2 of 12 hosts are behind on DB_PASSWORD for 2 h: web1, web2"
summary:
  description:
    - The numbers of objects in the graph.
    - C(held) is the number of secrets in all vaults. A secret in several vaults is counted several times. The same
      applies to C(behind), C(gone), C(unknown) and C(missing).
    - Of the secrets in vaults, C(behind) have an older version than in Infisical, C(gone) were deleted in Infisical,
      and C(unknown) have a version that Infisical has not listed.
    - C(missing) is the number of secrets that a job should have pulled, but that are not in its vault.
    - C(vaults_stale) is the number of vaults that have not been synced for two sync intervals.
    - C(least_privilege_kept) is the number of hosts with an identity that may only read what the host's jobs pull. The
      identities of C(least_privilege_exceeded) may do more, and C(least_privilege_shared) use the identity of other
      hosts.
  returned: success
  type: dict
  sample: {services: 1, projects: 2, secrets: 40, secrets_unused: 1, secrets_gone: 0, hosts: 12, vaults: 14,
    vaults_ok: 12, vaults_failed: 0, vaults_stale: 1, vaults_never: 0, vaults_silent: 1, held: 260, behind: 2, gone: 0,
    unknown: 0, missing: 1, least_privilege_kept: 11, least_privilege_exceeded: 0, least_privilege_shared: 1,
    least_privilege_unknown: 0}
time:
  description: The time of the graph's last update, in UTC.
  returned: success
  type: str
  sample: "2026-01-15T10:30:00Z"
problems:
  description:
    - Messages about data that hosts or Infisical did not provide. The task prints the same messages as warnings.
  returned: success
  type: list
  elements: str
  sample: []
diff:
  description: The values of RV(summary) before and after the update.
  returned: in diff mode
  type: dict
  sample:
    before: {behind: 0}
    after: {behind: 2}
written:
  description: Paths of the files that were written before another file could not be written.
  returned: when O(csv_file) or O(html_file) was written before a failure
  type: list
  elements: str
  sample: []
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""
