#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_secret_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: List secrets in Infisical
description:
  - Lists the secrets in a folder of an Infisical project, or a single secret, with version, path, comment, tags and
    metadata.
  - Values are returned only if O(read_values=true). Ansible then hides the output of the task, but a registered
    variable contains the values.
options:
  name:
    description:
      - The name of a single secret to return. By default, all secrets in the folder are returned.
      - If no secret has this name, the result is an empty list, not an error.
    type: raw
  recursive:
    description:
      - Include secrets in subfolders of O(secret_path). The list can then contain the same name once for each folder.
    type: bool
    default: false
  include_imports:
    description:
      - Include secrets that the folder imports from other folders. The result contains the path and environment from
        which such a secret is imported.
      - If several secrets have the same name, only one is returned. The folder's own secret takes precedence over
        imported secrets, and later imports take precedence over earlier ones. With O(recursive=true), however, all
        secrets with the same name are returned.
    type: bool
    default: false
  expand_references:
    description:
      - Let the server replace references in values, such as V(${OTHER_SECRET}), with the values of the referenced
        secrets. O(keyfleet.infisical.infisical_secret#lookup:expand_references) describes how servers differ.
    type: bool
    default: false
  read_values:
    description:
      - Return the values of the secrets and of their encrypted metadata.
      - If this option is false, values are not requested. Old servers send the values anyway, and the module discards
        them.
    type: bool
    default: false
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
attributes:
  async:
    support: partial
    details:
      - O(read_values=true) is refused with C(async), because Ansible would store the values in a file that other users
        can read.
seealso:
  - module: keyfleet.infisical.infisical_secret
  - plugin: keyfleet.infisical.infisical_secret
    plugin_type: lookup
    description: Usually the better way to read values.
"""

EXAMPLES = r"""
- name: List the application's secrets
  keyfleet.infisical.infisical_secret_info:
    environment: prod
    secret_path: /app
    recursive: true
  register: app_secrets

- name: Print the path, name and version of each secret
  ansible.builtin.debug:
    msg: "{{ item.path }} {{ item.name }} version {{ item.version }}"
  loop: "{{ app_secrets.secrets }}"
  loop_control:
    label: "{{ item.name }}"

- name: Read a certificate once for all hosts
  keyfleet.infisical.infisical_secret_info:
    environment: prod
    name: TLS_CERTIFICATE
    read_values: true
  register: certificate
  delegate_to: localhost
  run_once: true

- name: Install the certificate
  ansible.builtin.copy:
    content: "{{ certificate.secrets[0].value }}"
    dest: /etc/ssl/certs/app.pem
    mode: "0644"
  no_log: true # otherwise, --diff would print the certificate
"""

RETURN = r"""
secrets:
  description: The secrets, sorted by environment, path and name.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: DB_PASSWORD, version: 3, id: 9d0b2f0e-5d4e-4b43-8a55-2b7a4b8f6b11,
      project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d, environment: prod, path: /app, comment: Written by Ansible,
      tags: [database], metadata: {owner: platform, pin: null}, encrypted_metadata: [pin],
      created_at: "2026-01-15T10:30:00.000Z", updated_at: "2026-01-15T10:30:00.000Z"}
  contains:
    name: {description: The name of the secret., type: str}
    version: {description: The version of the secret. V(0) if it is unknown. Each write increases it by one., type: int}
    id: {description: The id of the secret., type: str}
    project_id: {description: The id of the project., type: str}
    environment: {description: The slug of the environment., type: str}
    path: {description: The path of the folder that contains the secret., type: str}
    comment: {description: The comment on the secret., type: str}
    tags: {description: The slugs of the tags or V(null) if the server does not return tags., type: list, elements: str}
    metadata:
      description:
        - The secret's metadata, or V(null) if the server does not support metadata.
        - Values that are encrypted in Infisical are V(null) unless O(read_values=true).
      type: dict
    encrypted_metadata: {description: The keys of encrypted values in the metadata., type: list, elements: str}
    created_at: {description: The time at which the secret was created., type: str}
    updated_at: {description: The time at which the secret was last written., type: str}
    value: {description: The value or V(null) if it is hidden., returned: if O(read_values=true), type: str}
    value_hidden:
      description: Whether the server hides the value from this identity.
      returned: if O(read_values=true)
      type: bool
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.listing import Store
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import check_name, pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import (
    Definition,
    InfisicalModule,
    describe,
    run_module,
)


def work(module: InfisicalModule) -> dict[str, Any]:
    """List the secrets."""
    options, scope = module.params, module.scope()
    overview = Store(module.api(), scope).overview(
        "" if options["name"] is None else check_name(options["name"]),
        recursive=options["recursive"],
        include_imports=options["include_imports"],
        expand_references=options["expand_references"],
        view_values=options["read_values"],
    )
    for warning in overview.warnings:
        module.warn(warning)
    secrets = []
    for secret in overview.secrets:
        values = {"value": secret.value, "value_hidden": secret.hidden} if options["read_values"] else {}
        secrets.append({**(describe(secret, scope, values=options["read_values"]) or {}), **values})
    return {"changed": False, "secrets": secrets, "msg": f"{pluralize(len(secrets), 'secret')} in {scope}."}


DEFINITION = Definition(
    work,
    {
        "name": {"type": "raw"},
        "recursive": {"type": "bool", "default": False},
        "include_imports": {"type": "bool", "default": False},
        "expand_references": {"type": "bool", "default": False},
        "read_values": {"type": "bool", "default": False},
    },
)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
