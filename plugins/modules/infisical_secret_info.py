#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_secret_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: List secrets of Infisical
description:
  - Lists the secrets of a folder of an Infisical project, or one of them, with version, path, comment, tags and
    metadata.
  - Values are returned only with O(read_values=true). Ansible then hides the output of the task, but a registered
    variable contains the values.
options:
  name:
    description:
      - The name of one secret. If not set, all secrets are listed.
      - A name that does not exist returns an empty list and is not an error.
    type: raw
  recursive:
    description:
      - Include the folders below O(secret_path). A name can then occur once in each folder.
    type: bool
    default: false
  include_imports:
    description:
      - Include secrets that the folder imports. They have the path and environment of the folder that contains them.
      - If a name occurs more than once, the folder's own secret takes precedence, followed by the last import. With
        O(recursive=true), all of them are listed.
    type: bool
    default: false
  expand_references:
    description:
      - Let the server replace references such as V(${OTHER_SECRET}) in values. A reference to a missing secret becomes
        empty.
      - Servers of late 2026 keep such a reference, and the task prints a warning. If such a server returns a multi-line
        value in quotes, the quotes are removed with a warning.
    type: bool
    default: false
  read_values:
    description:
      - Return the values, including the values of encrypted metadata.
      - Otherwise, newer servers do not send values, and the values from older servers are discarded.
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
      - O(read_values=true) is refused, because Ansible would store the values in a file that other users can read.
seealso:
  - module: keyfleet.infisical.infisical_secret
  - plugin: keyfleet.infisical.infisical_secret
    plugin_type: lookup
    description: Usually the better way to read values.
"""

EXAMPLES = r"""
- name: List the secrets of the application
  keyfleet.infisical.infisical_secret_info:
    environment: prod
    secret_path: /app
    recursive: true
  register: app_secrets

- name: Print path, name and version of each secret
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
  no_log: true # otherwise, --diff prints it
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
    name:
      description: The name of the secret.
      type: str
    version:
      description: The version, which increases by one with each write. V(0) if unknown.
      type: int
    id:
      description: The id of the secret.
      type: str
    project_id:
      description: The id of the project.
      type: str
    environment:
      description: The slug of the environment.
      type: str
    path:
      description: The path of the folder.
      type: str
    comment:
      description: The comment.
      type: str
    tags:
      description: The slugs of the tags, V(null) if the server does not return them.
      type: list
      elements: str
    metadata:
      description:
        - The metadata, V(null) if the server does not support metadata.
        - Values that are encrypted in Infisical are V(null) unless O(read_values=true).
      type: dict
    encrypted_metadata:
      description: The keys of RV(secrets[].metadata) whose values are encrypted in Infisical.
      type: list
      elements: str
    created_at:
      description: When the secret was created.
      type: str
    updated_at:
      description: When the secret was last written.
      type: str
    value:
      description: The value, V(null) if the server hides it from this identity.
      returned: if O(read_values=true)
      type: str
    value_hidden:
      description: Whether the server hides the value from this identity.
      returned: if O(read_values=true)
      type: bool
conclusion:
  description: The kind of error in one word. See the guide to errors for all of them.
  returned: failure
  type: str
  sample: forbidden
hint:
  description: What to do about the error. Empty if C(msg) says it all.
  returned: failure
  type: str
  version_added: 0.3.0
http_status:
  description: The HTTP status of the server's answer, V(null) without an answer.
  returned: failure
  type: int
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.listing import Store
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import check_name, pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule, describe


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


def main() -> None:
    """Run the module."""
    module = InfisicalModule(
        argument_spec={
            "name": {"type": "raw"},
            "recursive": {"type": "bool", "default": False},
            "include_imports": {"type": "bool", "default": False},
            "expand_references": {"type": "bool", "default": False},
            "read_values": {"type": "bool", "default": False},
        },
    )
    module.run(work)


if __name__ == "__main__":
    main()
