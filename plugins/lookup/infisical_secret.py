# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: infisical_secret
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: Read secrets from Infisical
description:
  - Reads the values of secrets in a folder of an Infisical project. The lookup runs on the controller.
  - During a playbook run, the lookup logs in once and lists each folder once. All tasks, hosts and lookups of the run
    use the same list. If a task changes the project with M(keyfleet.infisical.infisical_secret), the folder is listed
    again.
  - Values are returned exactly as they are stored, even if they look like a template, JSON, a list, a number or a
    boolean.
options:
  _terms:
    description:
      - The names of the secrets to read. Names are case-sensitive.
      - Without any names, the lookup returns one mapping that contains all secrets, with their names as keys. An empty
        list of names returns an empty list.
    type: list
    elements: str
  fetch:
    description:
      - V(list) reads all secrets in the folder with one request, regardless of the number of names.
      - V(one) reads each secret with a separate request. Use it if the identity is not allowed to list the folder, or
        if Infisical's audit log must show which secrets were read.
    type: str
    choices: [list, one]
    default: list
  recursive:
    description:
      - Include secrets in subfolders of O(secret_path). Only allowed if O(fetch=list).
      - If a requested name has different values in several folders, the lookup fails.
    type: bool
    default: false
  include_imports:
    description:
      - Include secrets that the folder imports from other folders.
      - If several secrets have the same name, the folder's own secret takes precedence over imported secrets, and later
        imports take precedence over earlier ones.
    type: bool
    default: true
  expand_references:
    description:
      - Let the server replace references in values, such as V(${OTHER_SECRET}), with the values of the referenced
        secrets.
      - This is off by default, because it damages values that contain V(${) for another reason.
      - If the referenced secret does not exist, most servers insert an empty string. Servers from late 2026 keep the
        reference instead, and the lookup prints a warning.
      - Servers from late 2026 can also return a referenced multi-line value in quotes, with V(\\n) instead of each line
        break. The lookup restores the original value and prints a warning.
    type: bool
    default: false
  on_missing:
    description:
      - What to do if a secret does not exist. V(error) fails, V(warn) omits the secret and prints a warning, and
        V(skip) omits the secret without a warning.
      - Not used if O(default) is set.
    type: str
    choices: [error, warn, skip]
    default: error
  default:
    description: The value to return for a secret that does not exist.
    type: raw
  cache:
    description:
      - How long the lookup keeps the list of secrets in a folder.
      - V(run) keeps the list for all tasks and hosts of this playbook run. The list is stored in encrypted files in
        Ansible's temporary directory, which Ansible removes at the end of the run. Changes by others are visible only
        in the next run, unless a task of this run writes to the same project. Errors, such as a missing permission or
        folder, are kept for one minute.
      - V(task) keeps the list in memory for one task on one host.
      - V(none) requests the list each time.
      - This option does not affect the login. All tasks and hosts of a run always share one login.
    type: str
    choices: [run, task, none]
    default: run
extends_documentation_fragment:
  - keyfleet.infisical.auth.plugins
  - keyfleet.infisical.scope.plugins
requirements:
  - requests >= 2.25.1 on the controller
  - cryptography >= 3.4.8 on the controller, which ansible-core requires too
notes:
  - With ansible-core 2.18, M(ansible.builtin.set_fact) converts the strings V(true), V(false), V(yes) and V(no) to
    booleans unless C(jinja2_native) is set. Templates, task arguments and variables are not affected. Newer versions
    never convert these strings.
  - If the lookup is used in C(vars), Ansible evaluates it each time the variable is used. With O(cache=run), this does
    not cause more requests.
  - Set C(no_log) on tasks whose output would show a value.
seealso:
  - module: keyfleet.infisical.infisical_secret_info
  - module: keyfleet.infisical.infisical_secret
"""

EXAMPLES = r"""
- name: Create a configuration file that contains a secret
  ansible.builtin.template:
    src: app.conf.j2 # contains {{ lookup('keyfleet.infisical.infisical_secret', 'DB_PASSWORD') }}
    dest: /etc/app/app.conf
    mode: "0600"
  no_log: true
  vars:
    infisical_url: https://infisical.example.com
    infisical_project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    infisical_environment: prod

- name: Read several secrets as a list, in the order of the given names
  ansible.builtin.set_fact:
    credentials: "{{ query('keyfleet.infisical.infisical_secret', 'DB_USER', 'DB_PASSWORD', secret_path='/app') }}"
  no_log: true

- name: Read all secrets in a folder as a mapping of names to values
  ansible.builtin.set_fact:
    settings: "{{ lookup('keyfleet.infisical.infisical_secret', secret_path='/app') }}"
  no_log: true

- name: Read a secret, or use a default if it does not exist
  ansible.builtin.debug:
    msg: "{{ lookup('keyfleet.infisical.infisical_secret', 'FEATURE_FLAG', default='off') }}"
"""

RETURN = r"""
_raw:
  description:
    - The values, in the same order as the requested names.
    - Without any names, one mapping of all names to their values.
  type: list
  elements: raw
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import startup

# isort: split
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fast_path import (
    FastPath,
    protect_from_jinja,
    run_directory,
)

startup.skip_documentation(__name__)


class LookupModule(LookupBase):
    """Returns values in the order of the names, or a mapping of all secrets."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        fast = found = None
        try:
            fast = FastPath(kwargs, variables or {}, self._templar.template, run_directory())
            names = self._flatten(terms)
            found = fast.find(names) if names else None
        except Exception:  # noqa: S110 - the slow path reports it
            pass
        if found is None:
            from ansible_collections.keyfleet.infisical.plugins.plugin_utils import secret_lookup

            lookup = secret_lookup.SecretLookup(self._loader, self._templar, fast)
            return lookup.run(terms, variables if fast is None else fast.variables, **kwargs)
        values, warnings = found
        for warning in warnings:
            Display().warning(warning)
        return [protect_from_jinja(value) for value in values]
