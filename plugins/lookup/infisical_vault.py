# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: infisical_vault
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.2.0
short_description: Read secrets from a local vault
description:
  - Reads values from an encrypted vault on the controller. Use M(keyfleet.infisical.infisical_sync) to fill the vault.
  - The lookup does not connect to Infisical, so playbooks work even if Infisical is unavailable.
  - Values are returned exactly as they are stored, even if they look like a template, JSON, a list, a number or a
    boolean.
options:
  _terms:
    description:
      - The names of the entries to read. Names are case-sensitive.
      - Without any names, the lookup returns one mapping that contains all entries, with their names as keys. An empty
        list of names returns an empty list.
    type: list
    elements: str
  on_missing:
    description:
      - What to do if an entry does not exist. V(error) fails, V(warn) omits the entry and prints a warning, and V(skip)
        omits the entry without a warning.
      - Not used if O(default) is set. If the vault does not exist or cannot be opened, the lookup always fails.
    type: str
    choices: [error, warn, skip]
    default: error
  default:
    description: The value to return for an entry that does not exist.
    type: raw
  state_file:
    description:
      - The absolute path of the job's state file on the controller. With this file, the lookup detects that the vault
        was replaced with an older copy, and fails.
      - The default is C(infisical_sync_state.json) in the directory of the vault.
    type: str
extends_documentation_fragment:
  - keyfleet.infisical.vault.plugins
notes:
  - The vault, its key and the state file are on the controller. The user who runs Ansible must be able to read them.
    For a vault on a managed host, use M(keyfleet.infisical.infisical_vault_info).
  - The lookup opens the vault each time it is evaluated. This takes about a tenth of a second with a passphrase, and a
    few milliseconds with a key.
  - With ansible-core 2.18, M(ansible.builtin.set_fact) converts the strings V(true), V(false), V(yes) and V(no) to
    booleans unless C(jinja2_native) is set. Templates, task arguments and variables are not affected. Newer versions
    never convert these strings.
  - Set C(no_log) on tasks whose output would show a value.
seealso:
  - module: keyfleet.infisical.infisical_sync
  - module: keyfleet.infisical.infisical_vault_info
  - plugin: keyfleet.infisical.infisical_secret
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Pull secrets into a vault on the controller
  keyfleet.infisical.infisical_sync:
    environment: prod
    vault_path: /home/deploy/infisical/prod.vault
    key_file: /home/deploy/infisical/prod.key
    create_key: true
  delegate_to: localhost
  run_once: true

- name: Create a configuration file that contains a secret
  ansible.builtin.template:
    src: app.conf.j2 # contains {{ lookup('keyfleet.infisical.infisical_vault', 'DB_PASSWORD') }}
    dest: /etc/app/app.conf
    mode: "0600"
  no_log: true
  vars:
    infisical_vault_path: /home/deploy/infisical/prod.vault
    infisical_key_file: /home/deploy/infisical/prod.key

- name: Read several entries as a list, in the order of the given names
  ansible.builtin.set_fact:
    credentials: "{{ query('keyfleet.infisical.infisical_vault', 'DB_USER', 'DB_PASSWORD', vault_path=path) }}"
  no_log: true
  vars:
    path: /home/deploy/infisical/prod.vault
    infisical_key_file: /home/deploy/infisical/prod.key

- name: Read an entry, or use a default if it does not exist
  ansible.builtin.debug:
    msg: "{{ lookup('keyfleet.infisical.infisical_vault', 'FEATURE_FLAG', default='off') }}"
"""

RETURN = r"""
_raw:
  description:
    - The values, in the same order as the requested names.
    - Without any names, one mapping of all names to their values.
  type: list
  elements: raw
"""

import os
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.plugin_utils import startup

# isort: split
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import NotGiven, check_name
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.keys import key_source
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.session import open_vault
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import options
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.lookup import InfisicalLookup

startup.skip_documentation(__name__)


class LookupModule(InfisicalLookup):
    """Returns values in the order of the names, or a mapping of all entries."""

    name = "infisical_vault"
    definitions = options.VAULT

    def find(self, terms: list[Any]) -> list[Any]:
        names = [check_name(term, "_terms") for term in terms]
        given = {name: self._on_this_host(name, value) for name, value in self.shared.items()}
        path = given.pop("vault_path", "")
        if not path:
            raise NotGiven("vault_path", "an absolute path on the controller")
        state_file = os.path.expanduser(self.own["state_file"] or "")
        vault, _state = open_vault(path, key_source(**given), state_file, warn=self.warn)
        values = vault.read().values()
        if not names:
            return [dict(sorted(values.items()))]
        return [value for name in names for value in self._value_or_missing(values.get(name), name, path)]

    def _value_or_missing(self, value: str | None, name: str, path: str) -> list[Any]:
        if value is not None:
            return [value]
        return self.missing(
            f"Entry '{name}' does not exist in the vault {path}.",
            "Check the name (names are case-sensitive), or set on_missing or default.",
        )

    @staticmethod
    def _on_this_host(name: str, value: str) -> str:
        return os.path.expanduser(value) if options.VAULT[name].get("type") == "path" else value
