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
  - Reads the values of secrets from one folder of an Infisical project, on the controller.
  - In one run of Ansible, the login and the listing of a folder are requested once, however many tasks, hosts and
    lookups need them. A secret that a task of the same run wrote with M(keyfleet.infisical.infisical_secret) is read
    again.
  - Values come out byte for byte as they are stored, also those that look like a template, JSON, a list, a number or
    a boolean.
options:
  _terms:
    description:
      - Names of secrets. They are case-sensitive.
      - Without a name, the result is one mapping of all names to their values. An empty list of names gives nothing.
    type: list
    elements: str
  fetch:
    description:
      - V(list) requests a whole folder at once and picks the names from it, which takes one request for any number of
        names.
      - V(one) requests each name by itself, for identities that may read single secrets only, and for an audit log
        that says which secrets have been read.
    type: str
    choices: [list, one]
    default: list
  recursive:
    description:
      - Also read the folders below O(secret_path).
      - A name that has different values in several folders is an error where it is asked for, or all names are.
      - Only with O(fetch=list).
    type: bool
    default: false
  include_imports:
    description:
      - Also read what the folder imports from other folders.
      - A secret of the folder itself comes before an imported one, and of several imports the last one comes first.
    type: bool
    default: true
  expand_references:
    description:
      - Let the server replace references such as V(${OTHER_SECRET}) in a value with what they refer to.
      - A reference to something that does not exist becomes empty then, which is why this is off unless asked for. A
        value that holds the characters V(${) for another reason would be damaged.
      - Servers of late 2026 leave such a reference as it is, which is warned of. A text of several lines that arrives
        quoted, because of its multi-line encoding in Infisical, is restored with a warning.
    type: bool
    default: false
  on_missing:
    description:
      - What to do about a name that does not exist.
      - V(error) fails, V(warn) leaves it out with a warning, and V(skip) leaves it out.
      - Not used where O(default) is given.
    type: str
    choices: [error, warn, skip]
    default: error
  default:
    description:
      - The value of a name that does not exist.
    type: raw
  cache:
    description:
      - How long listings are kept.
      - V(run) shares them among all tasks and hosts of this run of Ansible, in files in Ansible's own temporary folder
        that are sealed with a key made from the credentials and are gone when the run ends. What somebody else changes
        in Infisical is not seen before the next run, unless a task of this run writes to the same project.
      - With V(run), a refusal, such as for a missing permission or folder, is kept for one minute only.
      - V(task) keeps them in memory for one task on one host.
      - V(none) keeps nothing and requests a listing each time.
      - The login is shared by the whole run in every case.
    type: str
    choices: [run, task, none]
    default: run
extends_documentation_fragment:
  - keyfleet.infisical.auth.plugins
  - keyfleet.infisical.scope.plugins
requirements:
  - requests >= 2.25.1 on the controller
  - cryptography >= 3.4.8 on the controller, which ansible-core has anyway
notes:
  - On ansible-core 2.18, a value stays as it is in templates, arguments and variables, but M(ansible.builtin.set_fact)
    makes a boolean of V(true), V(false), V(yes) and V(no) unless C(jinja2_native) is set. From 2.19 on, values stay as
    they are everywhere.
  - A value that is looked up in C(vars) is looked up again each time the variable is used. That costs no request with
    O(cache=run).
  - What a task does with a value is up to the task. Set C(no_log) on tasks whose output would show it.
seealso:
  - module: keyfleet.infisical.infisical_secret_info
  - module: keyfleet.infisical.infisical_secret
"""

EXAMPLES = r"""
- name: Configuration is rendered with two secrets
  ansible.builtin.template:
    src: app.conf.j2 # holds {{ lookup('keyfleet.infisical.infisical_secret', 'DB_PASSWORD') }}
    dest: /etc/app/app.conf
    mode: "0600"
  no_log: true
  vars:
    infisical_url: https://infisical.example.com
    infisical_project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    infisical_environment: prod

- name: Several secrets in the order of their names
  ansible.builtin.set_fact:
    credentials: "{{ query('keyfleet.infisical.infisical_secret', 'DB_USER', 'DB_PASSWORD', secret_path='/app') }}"
  no_log: true

- name: All secrets of a folder as a mapping
  ansible.builtin.set_fact:
    settings: "{{ lookup('keyfleet.infisical.infisical_secret', secret_path='/app') }}"
  no_log: true

- name: A secret that may not be there yet
  ansible.builtin.debug:
    msg: "{{ lookup('keyfleet.infisical.infisical_secret', 'FEATURE_FLAG', default='off') }}"
"""

RETURN = r"""
_raw:
  description:
    - The values, in the order of the names.
    - Without a name, one mapping of all names to their values.
  type: list
  elements: raw
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.answers import Operation, hint_for
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    Forbidden,
    ValueHidden,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    Location,
    Merged,
    Secret,
    Settings,
    check_name,
)
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.lookup import InfisicalLookup
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.run_cache import RunCache


class LookupModule(InfisicalLookup):
    """Values of secrets in the order of their names, or a mapping of all."""

    def find(self, terms: list[Any]) -> list[Any]:
        names = [check_name(term, "_terms") for term in terms]
        settings = Settings.from_options(self.shared)
        scope = settings.scope()
        cache = RunCache(settings, self.get_option("cache"), log=self.log)
        read = self._each if self.get_option("fetch") == "one" else self._all
        found = read(cache, scope, names)
        for warning in found.warnings:
            self.warn(warning)
        found.check(names or found.ambiguous)
        if not names:
            return [{key: _value(secret, scope) for key, secret in sorted(found.secrets.items())}]
        return [value for name in names for value in self._value_or_missing(found.secrets.get(name), name, scope)]

    def _all(self, cache: RunCache, scope: Location, _names: list[str]) -> Merged:
        return cache.secrets(scope, recursive=self.get_option("recursive"), **self._reading())

    def _each(self, cache: RunCache, scope: Location, names: list[str]) -> Merged:
        if not names:
            raise ConfigurationError("fetch", "'one' needs the names of the secrets. Use 'list' to read them all.")
        if self.get_option("recursive"):
            raise ConfigurationError("recursive", "needs fetch: list, because a name alone does not say which folder.")
        found = [cache.secret(scope, name, **self._reading()) for name in dict.fromkeys(names)]
        secrets = {key: secret for one in found for key, secret in one.secrets.items()}
        return Merged(secrets, tuple(dict.fromkeys(warning for one in found for warning in one.warnings)))

    def _reading(self) -> dict[str, bool]:
        return {name: self.get_option(name) for name in ("include_imports", "expand_references")}

    def _value_or_missing(self, secret: Secret | None, name: str, scope: Location) -> list[str]:
        if secret is not None:
            return [_value(secret, scope)]
        return self.missing(
            f"There is no secret '{name}' in {scope}. Check the name (names are case-sensitive) and secret_path, or "
            "set on_missing or default."
        )


def _value(secret: Secret, scope: Location) -> str:
    if secret.value is None:
        raise ValueHidden(
            f"The server hides the value of '{secret.key}' in {scope}. {hint_for(Forbidden, Operation.GET)}",
        )
    return secret.value
