#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_vault_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.2.0
short_description: Tell what a local vault holds
description:
  - Lists the entries of the encrypted vault on the task's host, or one of them, with version, origin and time.
  - Values are read on request only, with O(read_values=true). The output of the task is hidden then, and a registered
    variable holds them.
  - Nothing is asked of Infisical, and nobody logs in.
options:
  name:
    description:
      - The name of one entry. Without it, all are listed.
      - A name that does not exist is an empty list, not an error. A vault that does not exist is an error.
    type: raw
  read_values:
    description:
      - Whether to return the values too.
    type: bool
    default: false
  state_file:
    description:
      - The state file of the vault's job, an absolute path on the task's host, where it is not
        C(infisical_sync_state.json) beside the vault. It tells an older vault that was put back.
    type: path
extends_documentation_fragment:
  - keyfleet.infisical.vault
  - keyfleet.infisical.attributes.info
attributes:
  action:
    description: Has an action plugin of the same name, which runs on the controller.
    support: full
    details:
      - The action looks up the options of the vault that are not given as arguments. The work is done on the task's
        host.
  async:
    description: Can be used with the C(async) keyword.
    support: partial
    details:
      - O(read_values=true) is refused, because Ansible would keep the values in a file that other users can read.
  platform:
    description: The operating systems on which the module can run.
    support: full
    platforms: posix
notes:
  - The module is in no action group, because it takes none of the options that say which Infisical to talk to.
  - The options of the vault are looked up on the controller, like those of the other modules. The paths are on the
    task's host.
seealso:
  - module: keyfleet.infisical.infisical_vault
  - module: keyfleet.infisical.infisical_sync
  - plugin: keyfleet.infisical.infisical_vault
    plugin_type: lookup
    description: For a vault on the controller.
"""

EXAMPLES = r"""
- name: Entries of the vault are known
  keyfleet.infisical.infisical_vault_info:
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
  register: vault
  become: true

- name: Each entry's name and version
  ansible.builtin.debug:
    msg: "{{ item.name }} version {{ item.version }} since {{ item.synced_at }}"
  loop: "{{ vault.secrets }}"
  loop_control:
    label: "{{ item.name }}"

- name: Password is read on the host that has it
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
  description: The entries, sorted by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name in the vault.
      returned: success
      type: str
      sample: DB_PASSWORD
    secret_name:
      description: The name in Infisical, where the entry comes from there.
      returned: success
      type: str
      sample: DB_PASSWORD
    version:
      description: The version in Infisical. V(0) for an entry that was written by hand.
      returned: success
      type: int
      sample: 3
    id:
      description: The id in Infisical, empty for an entry that was written by hand.
      returned: success
      type: str
      sample: 9d0b2f0e-5d4e-4b43-8a55-2b7a4b8f6b11
    project_id:
      description: The id of the project, empty for an entry that was written by hand.
      returned: success
      type: str
      sample: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    environment:
      description: The slug of the environment, empty for an entry that was written by hand.
      returned: success
      type: str
      sample: prod
    path:
      description: The path of the folder, empty for an entry that was written by hand.
      returned: success
      type: str
      sample: /app
    job:
      description: The job that has put the entry there, empty for one that was written by hand.
      returned: success
      type: str
      sample: default
    synced_at:
      description: When the vault took this version, in UTC.
      returned: success
      type: str
      sample: "2026-01-15T10:30:00Z"
    value:
      description: The value.
      returned: when O(read_values=true)
      type: str
      sample: not shown here
generation:
  description: The generation of the vault, which every write raises by one.
  returned: success
  type: int
  sample: 12
vault_id:
  description: The vault's own id, which it keeps as long as it exists.
  returned: success
  type: str
  sample: 0f1e2d3c4b5a69788796a5b4c3d2e1f0
conclusion:
  description: What went wrong, in one word. The guide to errors lists all of them.
  returned: failure
  type: str
  sample: vault_missing
hint:
  description: What to do about the failure. Empty if the message says it all.
  returned: failure
  type: str
  sample: Check project_id, environment and secret_path.
  version_added: 0.3.0
http_status:
  description: V(null), because no server is asked.
  returned: failure
  type: int
  sample: null
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import check_name, pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.local_vault import (
    VAULT_OPTIONS,
    described_entry,
    opened,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule


def work(module: InfisicalModule) -> dict[str, Any]:
    """List the entries."""
    options = module.params
    vault, _state, _key_created = opened(module, options["state_file"])
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
        secrets.append({**(described_entry(secret, name) or {}), **value})
    return {
        "changed": False,
        "secrets": secrets,
        "generation": contents.generation,
        "vault_id": contents.vault_id,
        "msg": f"{pluralize(len(secrets), 'secret')} in {vault.path}, generation {contents.generation}.",
    }


def main() -> None:
    """Run the module."""
    module = InfisicalModule(
        argument_spec={"name": {"type": "raw"}, "read_values": {"type": "bool", "default": False}, **VAULT_OPTIONS},
        shared=False,
    )
    module.run(work)


if __name__ == "__main__":
    main()
