#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_fleet_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Find out which hosts have which secrets
description:
  - Answers questions about a fleet of hosts from the graph file that M(keyfleet.infisical.infisical_fleet_report)
    writes. The module does not connect to Infisical or to the hosts.
  - "R(The guide to the fleet report,ansible_collections.keyfleet.infisical.docsite.guide_fleet) describes the rows."
  - The task always runs on the controller.
extends_documentation_fragment:
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  graph_file:
    description:
      - The path of the graph file on the controller. A relative path is relative to the directory of the playbook.
    type: path
    required: true
  question:
    description:
      - The question to answer. Set either O(question) or O(query).
      - V(exposed) returns the secrets on O(host) and, for each secret, the other hosts that have it.
      - V(rotate) returns the hosts, jobs and files that contain O(secret).
      - V(held_by) returns the vaults that contain O(secret), with its version in each vault.
      - V(behind) returns the vaults that contain an older version of a secret than Infisical.
      - V(missing) returns the vaults that do not contain a secret that their job should have pulled.
      - V(late) returns the vaults that have never been synced successfully, or not for the last two sync intervals.
      - V(identities) returns the machine identity of each host, and whether it may read more than the host's jobs need.
    type: str
    choices: [exposed, rotate, held_by, behind, missing, late, identities]
  host:
    description:
      - The name of a host in the inventory. Required if O(question=exposed).
    type: str
  secret:
    description:
      - The name of a secret, or its id in the graph. A name selects the secrets with this name in all projects,
        environments and folders.
      - Required if O(question=rotate) or O(question=held_by).
    type: str
  query:
    description:
      - V(type=secret) returns all secrets.
      - V(type=secret_project) returns all projects.
      - V(relation=belongs_to target=ID) returns the secrets of the project with this id.
    type: str
attributes:
  action:
    details:
      - The action plugin does all of the work on the controller.
  action_group:
    support: none
    details:
      - The module does not connect to Infisical and does not accept the shared options.
    membership: []
  async:
    support: none
seealso:
  - module: keyfleet.infisical.infisical_fleet_report
  - plugin: keyfleet.infisical.fleet_query
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Get the hosts that have an outdated secret
  keyfleet.infisical.infisical_fleet_info:
    graph_file: fleet/graph.json
    question: behind
  register: behind

- name: Find all hosts and files that contain a leaked secret
  keyfleet.infisical.infisical_fleet_info:
    graph_file: fleet/graph.json
    question: rotate
    secret: DB_PASSWORD
  register: leaked

- name: Get all secrets
  keyfleet.infisical.infisical_fleet_info:
    graph_file: fleet/graph.json
    query: type=secret
  register: secrets

- name: Print the names of secrets that no host has
  ansible.builtin.debug:
    msg: "{{ secrets.rows | selectattr('state', 'eq', 'unused') | map(attribute='name') }}"
"""

RETURN = r"""
rows:
  description:
    - The rows that answer O(question) or O(query). Each row is a dictionary. The guide to the fleet report lists the
      keys.
  returned: success
  type: list
  elements: dict
  sample:
    - {id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d/prod/shop/DB_PASSWORD, name: DB_PASSWORD,
      project: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d, project_name: Shop, environment: prod, path: /shop, host: web1,
      job: shop, version: 3, current_version: 4, state: behind, behind_seconds: 5400,
      synced_at: "2026-01-12T08:15:00Z"}
problems:
  description:
    - Messages about projects, environments and folders that Infisical could not list when the graph was last updated.
      Rows about their secrets may be outdated.
  returned: success
  type: list
  elements: str
  sample: []
unknown_hosts:
  description:
    - Names of hosts that have a vault with unknown content, because the host did not respond or the vault cannot be
      opened. Such a vault could contain any secret.
  returned: success
  type: list
  elements: str
  sample: []
count:
  description: The number of rows.
  returned: success
  type: int
  sample: 1
time:
  description:
    - The time of the graph's last update, in UTC. Ages and delays in RV(rows) refer to the time of the task instead.
  returned: success
  type: str
  sample: "2026-01-15T10:30:00Z"
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: Always V(null)., returned: failure, type: int}
"""
