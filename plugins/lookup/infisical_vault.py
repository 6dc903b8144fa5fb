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
  - Reads values from an encrypted vault on the controller, which M(keyfleet.infisical.infisical_sync) fills.
  - Infisical is not asked, so that playbooks keep running while it is away.
  - Values come out byte for byte as they are stored, also those that look like a template, JSON, a list, a number or
    a boolean.
options:
  _terms:
    description:
      - Names in the vault. They are case-sensitive.
      - Without a name, the result is one mapping of all names to their values. An empty list of names gives nothing.
    type: list
    elements: str
  on_missing:
    description:
      - What to do about a name that does not exist.
      - V(error) fails, V(warn) leaves it out with a warning, and V(skip) leaves it out.
      - Not used where O(default) is given. A vault that is missing or cannot be opened is an error in any case.
    type: str
    choices: [error, warn, skip]
    default: error
  default:
    description:
      - The value of a name that does not exist.
    type: raw
  state_file:
    description:
      - The state file of the vault's job, where it is not C(infisical_sync_state.json) beside the vault. It tells an
        older vault that was put back.
    type: str
extends_documentation_fragment:
  - keyfleet.infisical.vault.plugins
notes:
  - The vault, its key and the state file are on the controller, and the user who runs Ansible opens them. For a vault
    on a managed host, use M(keyfleet.infisical.infisical_vault_info).
  - The vault is opened once for each time that the lookup is evaluated. With a passphrase that takes about a tenth of
    a second, with a key a few milliseconds.
  - On ansible-core 2.18, a value stays as it is in templates, arguments and variables, but M(ansible.builtin.set_fact)
    makes a boolean of V(true), V(false), V(yes) and V(no) unless C(jinja2_native) is set. From 2.19 on, values stay as
    they are everywhere.
  - What a task does with a value is up to the task. Set C(no_log) on tasks whose output would show it.
seealso:
  - module: keyfleet.infisical.infisical_sync
  - module: keyfleet.infisical.infisical_vault_info
  - plugin: keyfleet.infisical.infisical_secret
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Controller's vault holds the secrets of production
  keyfleet.infisical.infisical_sync:
    environment: prod
    vault_path: /home/deploy/infisical/prod.vault
    key_file: /home/deploy/infisical/prod.key
    create_key: true
  delegate_to: localhost
  run_once: true

- name: Configuration is rendered with two secrets
  ansible.builtin.template:
    src: app.conf.j2 # holds {{ lookup('keyfleet.infisical.infisical_vault', 'DB_PASSWORD') }}
    dest: /etc/app/app.conf
    mode: "0600"
  no_log: true
  vars:
    infisical_vault_path: /home/deploy/infisical/prod.vault
    infisical_key_file: /home/deploy/infisical/prod.key

- name: Several values in the order of their names
  ansible.builtin.set_fact:
    credentials: "{{ query('keyfleet.infisical.infisical_vault', 'DB_USER', 'DB_PASSWORD', vault_path=path) }}"
  no_log: true
  vars:
    path: /home/deploy/infisical/prod.vault
    infisical_key_file: /home/deploy/infisical/prod.key

- name: An entry that may not be there
  ansible.builtin.debug:
    msg: "{{ lookup('keyfleet.infisical.infisical_vault', 'FEATURE_FLAG', default='off') }}"
"""

RETURN = r"""
_raw:
  description:
    - The values, in the order of the names.
    - Without a name, one mapping of all names to their values.
  type: list
  elements: raw
"""

import os
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    NotGiven,
    Secret,
    check_name,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.keys import key_source
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.session import open_vault
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import options
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.lookup import InfisicalLookup


class LookupModule(InfisicalLookup):
    """Values of entries in the order of their names, or a mapping of all."""

    definitions = options.VAULT

    def find(self, terms: list[Any]) -> list[Any]:
        names = [check_name(term, "_terms") for term in terms]
        given = {name: self._on_this_host(name, value) for name, value in self.shared.items()}
        path = given.pop("vault_path", "")
        if not path:
            raise NotGiven("vault_path", "an absolute path on the controller")
        state_file = os.path.expanduser(self.get_option("state_file") or "")
        vault, _state = open_vault(path, key_source(**given), state_file, warn=self.warn)
        contents = vault.read()
        if not names:
            return [{name: secret.value for name, secret in sorted(contents.secrets.items())}]
        return [value for name in names for value in self._value_or_missing(contents.get(name), name, path)]

    def _value_or_missing(self, secret: Secret | None, name: str, path: str) -> list[Any]:
        if secret is not None:
            return [secret.value]
        return self.missing(
            f"There is no entry '{name}' in the vault {path}. Check the name (names are case-sensitive), or set "
            "on_missing or default."
        )

    @staticmethod
    def _on_this_host(name: str, value: str) -> str:
        return os.path.expanduser(value) if options.VAULT[name].get("type") == "path" else value
