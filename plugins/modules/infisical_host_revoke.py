#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_host_revoke
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.4.0
short_description: Revoke the access of compromised hosts
description:
  - Revokes the access of hosts to Infisical, and lists the secrets that are exposed. Each host must have a machine
    identity of its own (R(scheduled syncs,ansible_collections.keyfleet.infisical.docsite.guide_scheduled_sync)). The
    access of all other hosts stays unchanged.
  - The module first revokes all client secrets of the host's identity, which ends their access tokens at once. Then
    it deletes the identity, which also ends the tokens of other login methods, such as C(jwt_auth). When the role
    C(scheduled_sync) runs on the host again, it creates a new identity, so remove the host from the role's hosts until
    the host is clean.
  - Nothing runs on the hosts, so they can be unreachable or compromised.
  - The module finds an identity by the metadata that the role has stored with it, or by the name C(host:) followed by
    the name of the host.
  - If a host does not have an identity of its own, the module revokes the other hosts, and then fails. The host may
    have been revoked before, or may use a client secret that other hosts use too; the message describes what to do.
  - If the exposed secrets cannot be listed after the revocation, the module fails, and the message contains the grants
    of the deleted identities.
  - The module does not create new values for secrets, because only their owners can do that.
  - The task always runs on the controller. The playbook C(keyfleet.infisical.revoke_host) runs this module.
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  hosts:
    description:
      - The names of the compromised hosts, as in the inventory. Patterns are not accepted. A host does not need to be
        in the inventory if it has an identity.
    type: list
    elements: str
    required: true
  project_ids:
    description:
      - The ids of the projects in which the identities of the hosts are searched. The default is O(project_id). If
        neither is set, all projects that the login can see are searched.
    type: list
    elements: str
  identity_inventory:
    description:
      - The label of the inventory that the hosts belong to. Required if hosts of several inventories in a project have
        the same name.
    type: str
  graph_file:
    description:
      - The path of the graph file that M(keyfleet.infisical.infisical_fleet_report) has written. It is used to list the
        secrets in the vaults of the hosts. If the file does not exist or is invalid, only the secrets that the hosts
        could read are listed.
      - A relative path is relative to the directory of the playbook.
    type: path
notes:
  - The login needs the role C(admin) in the project of the identities.
  - An access token of O(ignore:hosts) that was created before the revocation is refused by Infisical from then on. What
    a compromised host has already read stays known to the attacker, so rotate the secrets in RV(rotate).
attributes:
  action:
    details:
      - The action plugin does all of the work on the controller.
  async:
    support: none
  diff_mode:
    support: none
    details:
      - The result contains all changes.
  idempotent:
    support: partial
    details:
      - After a revocation, the module finds no identity. If O(graph_file) shows that the host had one, the module
        changes nothing and lists the exposed secrets again. Otherwise, it fails.
seealso:
  - module: keyfleet.infisical.infisical_fleet_report
  - module: keyfleet.infisical.infisical_fleet_info
"""

EXAMPLES = r"""
- name: Revoke the access of a stolen host
  keyfleet.infisical.infisical_host_revoke:
    hosts: [web1]
    graph_file: fleet/graph.json
  register: revoked

- name: Print the secrets that need a new value
  ansible.builtin.debug:
    msg: "{{ revoked.rotate | map(attribute='id') }}"
"""

RETURN = r"""
hosts:
  description: The hosts, with their identities before the revocation. In check mode, nothing was revoked.
  returned: success, or after a failed revocation
  type: list
  elements: dict
  sample:
    - host: web1
      identities:
        - id: 5f2d9c1e-7a3b-4c8d-9e0f-1a2b3c4d5e6f
          name: "host:web1"
          project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
      client_secrets: 1
  contains:
    host: {description: The name of the host., type: str}
    identities:
      description: The deleted identities. Empty if they were deleted before.
      type: list
      elements: dict
      contains:
        id: {description: The id of the identity., type: str}
        name: {description: The name of the identity., type: str}
        project_id: {description: The id of the identity's project., type: str}
    client_secrets: {description: The number of revoked client secrets., type: int}
exposed:
  description:
    - A row for each secret that a host had in its vaults, or could read in Infisical. A row has the same keys as for
      the question V(exposed) of M(keyfleet.infisical.infisical_fleet_info), and also C(held) and C(readable).
    - C(held) is true if the graph shows the secret in a vault of the host, or V(null) if the content of its vaults is
      unknown. C(readable) is true if the identity of the host was allowed to read the secret, or V(null) if this is
      unknown.
    - If the content of a vault is unknown, its row has no secret and the state C(unknown). A row with the state
      C(readable) is for a secret that no vault of the host had.
  returned: success, or after a failed revocation
  type: list
  elements: dict
  sample:
    - {id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d/prod/shop/DB_PASSWORD, name: DB_PASSWORD,
      project: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d, project_name: Shop, environment: prod, path: /shop, host: web1,
      job: shop, version: 4, current_version: 4, state: current, behind_seconds: null,
      synced_at: "2026-01-12T08:15:00Z", also_on: [web2, web3], held: true, readable: true}
rotate:
  description:
    - A row for each secret in RV(exposed), with the other hosts that have the secret in a vault, and C(held), which is
      true if a revoked host had it in a vault.
  returned: success, or after a failed revocation
  type: list
  elements: dict
  sample:
    - {id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d/prod/shop/DB_PASSWORD, name: DB_PASSWORD,
      project: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d, project_name: Shop, environment: prod, path: /shop, held: true,
      hosts: [web2, web3]}
graph_time:
  description: The time of the last update of O(graph_file), in UTC. Empty if there is no graph.
  returned: success, or after a failed revocation
  type: str
  sample: "2026-01-15T10:30:00Z"
problems:
  description: Messages about data that could not be read. The task prints the same messages as warnings.
  returned: success, or after a failed revocation
  type: list
  elements: str
  sample: []
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""
