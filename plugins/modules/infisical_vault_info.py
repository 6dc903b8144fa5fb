#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_vault_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.2.0
short_description: List entries in a local vault
description:
  - Lists the entries in an encrypted vault on the task's host, or a single entry, with version, origin and time.
  - Values are returned only if O(read_values=true). Ansible then hides the output of the task, but a registered
    variable contains the values.
  - The module does not connect to Infisical.
options:
  name:
    description:
      - The name of a single entry to return. By default, all entries are returned.
      - If no entry has this name, the result is an empty list, not an error. However, a missing vault is an error.
    type: raw
  read_values:
    description: Return the values of the entries.
    type: bool
    default: false
  state_file:
    description:
      - The absolute path of the job's state file on the task's host. With this file, the task detects that the vault
        was replaced with an older copy, and fails.
      - The default is C(infisical_sync_state.json) in the directory of the vault.
    type: path
extends_documentation_fragment:
  - keyfleet.infisical.vault
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
attributes:
  action_group:
    support: none
    details: The module does not have the options for the connection to Infisical.
    membership: []
  async:
    support: partial
    details:
      - O(read_values=true) is refused with C(async), because Ansible would store the values in a file that other users
        can read.
seealso:
  - module: keyfleet.infisical.infisical_vault
  - module: keyfleet.infisical.infisical_sync
  - plugin: keyfleet.infisical.infisical_vault
    plugin_type: lookup
    description: For a vault on the controller.
"""

EXAMPLES = r"""
- name: List the entries in a vault
  keyfleet.infisical.infisical_vault_info:
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
  register: vault
  become: true

- name: Print the name and version of each entry
  ansible.builtin.debug:
    msg: "{{ item.name }} version {{ item.version }} since {{ item.synced_at }}"
  loop: "{{ vault.secrets }}"
  loop_control:
    label: "{{ item.name }}"

- name: Read a password from the host's vault
  keyfleet.infisical.infisical_vault_info:
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
    name: DB_PASSWORD
    read_values: true
  register: db_password
  become: true
"""

RETURN = r"""
secrets:
  description:
    - The entries, sorted by name.
    - For an entry that was added manually, C(version) is V(0), C(secret_name) is its name in the vault, and C(id),
      C(project_id), C(environment), C(path) and C(job) are empty.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: DB_PASSWORD, secret_name: DB_PASSWORD, version: 3, id: 9d0b2f0e-5d4e-4b43-8a55-2b7a4b8f6b11,
      project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d, environment: prod, path: /app, job: default,
      synced_at: "2026-01-15T10:30:00Z"}
  contains:
    name: {description: The name of the entry in the vault., type: str}
    secret_name: {description: The name of the secret in Infisical., type: str}
    version: {description: The version of the secret in Infisical., type: int}
    id: {description: The id of the secret in Infisical., type: str}
    project_id: {description: The id of the project in Infisical., type: str}
    environment: {description: The slug of the environment in Infisical., type: str}
    path: {description: The path of the folder in Infisical., type: str}
    job: {description: The name of the job that pulled the entry., type: str}
    synced_at: {description: The time in UTC at which this version was written to the vault., type: str}
    value: {description: The value of the entry., returned: if O(read_values=true), type: str}
generation:
  description: The generation of the vault, which increases by one with each write.
  returned: success
  type: int
  sample: 12
vault_id:
  description: The id of the vault, which never changes.
  returned: success
  type: str
  sample: 0f1e2d3c4b5a69788796a5b4c3d2e1f0
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: Always V(null)., returned: failure, type: int}
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils import local_vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import check_name, pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, InfisicalModule, run_module


def work(module: InfisicalModule) -> dict[str, Any]:
    """List the entries."""
    options = module.params
    vault, _state, _key_created = local_vault.open_local(module, options["state_file"])
    contents = vault.read()
    if options["name"] is None:
        found = sorted(contents.secrets.items())
    else:
        name = check_name(options["name"])
        secret = contents.get(name)
        found = [] if secret is None else [(name, secret)]
    secrets = []
    for name, secret in found:
        value = {"value": secret.value} if options["read_values"] else {}
        secrets.append({**(local_vault.describe_entry(secret, name) or {}), **value})
    return {
        "changed": False,
        "secrets": secrets,
        "generation": contents.generation,
        "vault_id": contents.vault_id,
        "msg": f"{pluralize(len(secrets), 'secret')} in {vault.path}, generation {contents.generation}.",
    }


DEFINITION = Definition(
    work,
    {"name": {"type": "raw"}, "read_values": {"type": "bool", "default": False}, **local_vault.VAULT_OPTIONS},
    shared=False,
)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
