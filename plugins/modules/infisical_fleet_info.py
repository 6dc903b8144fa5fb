#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_fleet_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Ask the metadata graph of a fleet
description:
  - Answers a query from the graph that M(keyfleet.infisical.infisical_fleet_report) keeps in a file. Neither Infisical
    nor a host is asked.
  - "L(The guide to the fleet,ansible_collections.keyfleet.infisical.docsite.guide_fleet) describes the language and the
    rows."
  - The task is done on the controller, whichever host it is for.
extends_documentation_fragment:
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  graph_file:
    description:
      - The graph's file on the controller. A path that is relative begins at the playbook's folder.
    type: path
    required: true
  query:
    description:
      - Words of the form C(key=value), quoted as in a shell. One of them is C(type=) with V(service),
        V(secret_project), V(secret), V(agent_vault) or V(source), C(relation=) with V(belongs_to), V(hosted_by),
        V(synced_to) or V(missing_on), C(rotate=) with the name or id of a secret, or C(exposed=) with the name of a
        host.
      - The others choose among the rows by what they have under a key. Values may be patterns, such as V(DB_*); a key
        that is given more than once may have any of its values.
      - V(intervals=3) with V(type=agent_vault) says after how many intervals without a sync a vault is late, by default
        two.
    type: str
    required: true
attributes:
  action:
    details:
      - The action does all of the work, on the controller.
  action_group:
    support: none
    details:
      - The module does not talk to Infisical, and takes none of the shared options.
    membership: []
  async:
    support: none
seealso:
  - module: keyfleet.infisical.infisical_fleet_report
  - plugin: keyfleet.infisical.fleet_query
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Hosts whose vault is behind, and for how long
  keyfleet.infisical.infisical_fleet_info:
    graph_file: fleet/graph.json
    query: relation=synced_to state=behind
  register: behind

- name: Where a leaked secret is to be rotated
  keyfleet.infisical.infisical_fleet_info:
    graph_file: fleet/graph.json
    query: rotate=DB_PASSWORD environment=prod
  register: places
"""

RETURN = r"""
rows:
  description: The rows that fit, each a dictionary. Which keys they have hangs on what O(query) asks for.
  returned: success
  type: list
  elements: dict
  sample:
    - source: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d/prod/shop/DB_PASSWORD
      target: web1/shop
      host: web1
      job: shop
      name: DB_PASSWORD
      path: /shop
      environment: prod
      project: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
      version: 3
      current_version: 4
      synced_at: "2026-01-12T08:15:00Z"
      state: behind
      behind_seconds: 5400
problems:
  description:
    - What Infisical could not be asked for when the graph was last brought up to date, a sentence each; the same as the
      task's warning. What an answer says of these may be old.
  returned: success
  type: list
  elements: str
  sample: []
unknown_hosts:
  description:
    - Hosts with a vault of which nobody knows what it holds, because they do not answer, or it cannot be opened. The
      task warns of them too. They may have what O(query) asks for.
  returned: success
  type: list
  elements: str
  sample: []
count:
  description: How many there are.
  returned: success
  type: int
  sample: 1
time:
  description: The time of the graph, in UTC. What is older than something is counted from now, not from then.
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
  sample: Check project_id, environment and secret_path.
  version_added: 0.3.0
http_status:
  description: Always V(null), because Infisical is not asked.
  returned: failure
  type: int
  sample: null
"""
