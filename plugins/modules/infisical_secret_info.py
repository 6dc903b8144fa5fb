#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_secret_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: Tell which secrets Infisical has
description:
  - Lists the secrets of a folder of an Infisical project, or one of them, with version, path, comment, tags and
    metadata.
  - Values are read on request only, with O(read_values=true). The output of the task is hidden then, and a registered
    variable holds them.
options:
  name:
    description:
      - The name of one secret. Without it, all are listed.
      - A name that does not exist is an empty list, not an error.
    type: raw
  recursive:
    description:
      - Whether to list the folders below O(secret_path) too. A name may come once for each folder then.
    type: bool
    default: false
  include_imports:
    description:
      - Whether to list what the folder imports from other folders too. The path and environment of an imported secret
        are those of the folder that it comes from.
      - A secret of the folder itself comes before an imported one of the same name, and of several imports the last
        one comes first. With O(recursive=true), all of them are listed.
    type: bool
    default: false
  expand_references:
    description:
      - Whether the server replaces references such as V(${OTHER_SECRET}) in values with what they refer to. A reference
        to something that does not exist becomes empty then.
      - Servers of late 2026 leave such a reference as it is, which is warned of. A text of several lines that arrives
        quoted, because of its multi-line encoding in Infisical, is restored with a warning.
    type: bool
    default: false
  read_values:
    description:
      - Whether to read the values too, those of encrypted metadata among them.
      - Newer servers are otherwise asked not to send them. Older ones send them all the same, and they are dropped.
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
      - O(read_values=true) is refused, because Ansible would keep the values in a file that other users can read.
seealso:
  - module: keyfleet.infisical.infisical_secret
  - plugin: keyfleet.infisical.infisical_secret
    plugin_type: lookup
    description: Usually the better way to read values.
"""

EXAMPLES = r"""
- name: Secrets of the application are known
  keyfleet.infisical.infisical_secret_info:
    environment: prod
    secret_path: /app
    recursive: true
  register: app_secrets

- name: Each secret's path, name and version
  ansible.builtin.debug:
    msg: "{{ item.path }} {{ item.name }} version {{ item.version }}"
  loop: "{{ app_secrets.secrets }}"
  loop_control:
    label: "{{ item.name }}"

- name: Certificate is read once for all hosts
  keyfleet.infisical.infisical_secret_info:
    environment: prod
    name: TLS_CERTIFICATE
    read_values: true
  register: certificate
  delegate_to: localhost
  run_once: true

- name: Certificate is in place
  ansible.builtin.copy:
    content: "{{ certificate.secrets[0].value }}"
    dest: /etc/ssl/certs/app.pem
    mode: "0644"
  no_log: true # else --diff shows it
"""

RETURN = r"""
secrets:
  description: The secrets, sorted by environment, path and name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name of the secret.
      returned: success
      type: str
      sample: DB_PASSWORD
    version:
      description: The version, which every write raises by one. V(0) where it is not known.
      returned: success
      type: int
      sample: 3
    id:
      description: The id of the secret.
      returned: success
      type: str
      sample: 9d0b2f0e-5d4e-4b43-8a55-2b7a4b8f6b11
    project_id:
      description: The id of the project.
      returned: success
      type: str
      sample: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    environment:
      description: The slug of the environment.
      returned: success
      type: str
      sample: prod
    path:
      description: The path of the folder.
      returned: success
      type: str
      sample: /app
    comment:
      description: The comment.
      returned: success
      type: str
      sample: Written by Ansible
    tags:
      description: The slugs of the tags, V(null) where the server does not tell them.
      returned: success
      type: list
      elements: str
      sample: [database]
    metadata:
      description:
        - The metadata, V(null) where the server does not keep any.
        - A value that is encrypted in Infisical is V(null) unless O(read_values=true).
      returned: success
      type: dict
      sample: {owner: platform, pin: null}
    encrypted_metadata:
      description: The keys of RV(secrets[].metadata) with values that are encrypted in Infisical.
      returned: success
      type: list
      elements: str
      sample: [pin]
    created_at:
      description: When the secret was created, as the server says it.
      returned: success
      type: str
      sample: "2026-01-15T10:30:00.000Z"
    updated_at:
      description: When the secret was last written, as the server says it.
      returned: success
      type: str
      sample: "2026-01-15T10:30:00.000Z"
    value:
      description: The value, V(null) where the server hides it from this identity.
      returned: if O(read_values=true)
      type: str
      sample: correct horse battery staple
    value_hidden:
      description: Whether the server hides the value from this identity.
      returned: if O(read_values=true)
      type: bool
      sample: false
conclusion:
  description: What went wrong, in one word. The guide to errors lists all of them.
  returned: failure
  type: str
  sample: forbidden
hint:
  description: What to do about the failure. Empty if the message says it all.
  returned: failure
  type: str
  sample: Check project_id, environment and secret_path.
  version_added: 0.3.0
http_status:
  description: The status of the server's answer, V(null) where there was none.
  returned: failure
  type: int
  sample: 403
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.remote import Remote
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import check_name, pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule, described


def work(module: InfisicalModule) -> dict[str, Any]:
    """List the secrets."""
    options, scope = module.params, module.scope()
    overview = Remote(module.api(), scope).overview(
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
        secrets.append({**(described(secret, scope, values=options["read_values"]) or {}), **values})
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
