#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_fleet_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Ask which host holds which secret
description:
  - Answers a question from the graph that M(keyfleet.infisical.infisical_fleet_report) keeps in a file. It sends no
    request to Infisical or to a host.
  - "L(The guide to the fleet report,ansible_collections.keyfleet.infisical.docsite.guide_fleet) describes the rows."
  - The task runs on the controller, whichever host it is for.
extends_documentation_fragment:
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  graph_file:
    description:
      - The graph file on the controller. A relative path starts at the folder of the playbook.
    type: path
    required: true
  question:
    description:
      - The question to answer. Set either this or O(query).
      - V(exposed) returns the secrets on O(host), with the other hosts that hold them.
      - V(rotate) returns the hosts, jobs and files with O(secret).
      - V(held_by) returns the vaults that hold O(secret), in which version.
      - V(behind) returns the vaults that hold an older version than Infisical.
      - V(missing) returns the vaults that lack a secret of their job.
      - V(late) returns the vaults without a successful sync for two intervals.
    type: str
    choices: [exposed, rotate, held_by, behind, missing, late]
  host:
    description:
      - A host's name in the inventory. Required with O(question=exposed).
    type: str
  secret:
    description:
      - A secret's name, or its id in the graph. A name finds the secrets with this name in all locations.
      - Required with O(question=rotate) and O(question=held_by).
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
      - The action does all of the work, on the controller.
  action_group:
    support: none
    details:
      - The module sends no request to Infisical, and does not use the shared options.
    membership: []
  async:
    support: none
seealso:
  - module: keyfleet.infisical.infisical_fleet_report
  - plugin: keyfleet.infisical.fleet_query
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Get the hosts that are behind
  keyfleet.infisical.infisical_fleet_info:
    graph_file: fleet/graph.json
    question: behind
  register: behind

- name: Find every host and file with a leaked secret
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

- name: Print the names of secrets that no host holds
  ansible.builtin.debug:
    msg: "{{ secrets.rows | selectattr('state', 'eq', 'unused') | map(attribute='name') }}"
"""

RETURN = r"""
rows:
  description: The rows of the answer, each a dictionary. The guide lists their keys.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d/prod/shop/DB_PASSWORD
      name: DB_PASSWORD
      project: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
      project_name: Shop
      environment: prod
      path: /shop
      host: web1
      job: shop
      version: 3
      current_version: 4
      state: behind
      behind_seconds: 5400
      synced_at: "2026-01-12T08:15:00Z"
problems:
  description: What Infisical did not list at the last update of the graph, in sentences. Answers about it may be old.
  returned: success
  type: list
  elements: str
  sample: []
unknown_hosts:
  description:
    - Hosts with a vault whose content is unknown, because the host does not answer or the vault cannot be opened. Any
      secret may be on them.
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
  description: The time of the graph, in UTC. Ages and lateness are relative to the time of the task.
  returned: success
  type: str
  sample: "2026-01-15T10:30:00Z"
conclusion:
  description: What went wrong, in one word. The guide to errors lists all of them.
  returned: failure
  type: str
  sample: configuration
hint:
  description: What to do about the failure. Empty if the message says it all.
  returned: failure
  type: str
  sample: Write it with infisical_fleet_report.
  version_added: 0.3.0
http_status:
  description: Always V(null), because no request is sent.
  returned: failure
  type: int
  sample: null
"""
