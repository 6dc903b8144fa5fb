#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_secret
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: Manage a secret in Infisical
description:
  - Creates, updates or deletes one secret in an Infisical project.
  - The value of the secret never appears in results or in the output of C(--diff).
  - Some servers strip white space at the start and end of values. With such servers, a difference only in this white
    space is not a change.
  - If changes to the folder require approval, the server does not store the change before it is approved. The result
    then contains RV(approval_pending=true).
options:
  name:
    description:
      - The name of the secret. Names are case-sensitive.
      - Names longer than 100 characters, and the name V(batch), work only if the server supports batch requests.
    type: raw
    required: true
  value:
    description:
      - The value of the secret, which must be a string. Quote values such as V(0123), V(1e3) or V(yes), because YAML
        would convert them to other types.
      - Required if O(state=present).
    type: raw
  state:
    description: Whether the secret must exist.
    type: str
    choices: [present, absent]
    default: present
  comment:
    description: A comment for people who view the secret in Infisical. If not set, an existing comment is kept.
    type: str
  tags:
    description:
      - The complete list of the secret's tags, as slugs. V([]) removes all tags. If not set, existing tags are kept.
      - The tags must exist in the project.
    type: list
    elements: str
  metadata:
    description:
      - The complete metadata of the secret, as a mapping of keys to strings. If not set, existing metadata are kept.
      - If an older server does not support metadata, the task prints a warning.
      - If a value is encrypted in Infisical, it stays encrypted.
    type: dict
  encrypted_metadata:
    description:
      - Keys in O(metadata) whose values Infisical must encrypt. These values never appear in results.
      - If this option is not set, values that are encrypted in Infisical stay encrypted. To decrypt a value, first
        remove its key from O(metadata) in one task, then add it again in another task.
    type: list
    elements: str
    version_added: 0.3.0
  update_value:
    description:
      - V(always) updates the value in Infisical if it differs from O(value).
      - V(on_create) sets the value only when the secret is created. Use it for generated passwords, for example.
    type: str
    choices: [always, on_create]
    default: always
  create_path:
    description:
      - Create the folder O(secret_path) and its parents if they do not exist. By default, a missing folder is an error.
    type: bool
    default: false
  overwrite_rotated:
    description:
      - Allow the task to replace or delete a secret that Infisical rotates. This breaks the rotation.
      - By default, such a task fails with RV(conclusion=guard) and changes nothing.
    type: bool
    default: false
    version_added: 0.3.0
  normalize_name:
    description:
      - Convert O(name) to upper case. Then replace each sequence of characters other than C([A-Z0-9_]) with one
        underscore.
    type: bool
    default: false
  state_file:
    description:
      - The path of a state file, for identities that can write secrets but cannot read them. It must be an absolute
        path on the task's host, in an existing directory.
      - The file contains a hash of the last written value, so that an unchanged value is not written again. Without
        this file, an identity that cannot read the secret writes it on each run.
      - If the identity has the permission C(Describe Secret), the task also compares the comment, tags and metadata. If
        somebody else has changed the value, the task writes the value again.
      - Use a separate file for each combination of project, environment and path.
    type: path
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
notes:
  - To save requests, the controller lists the secrets in a folder at most once per playbook run. The first task that
    writes to a folder requests only its own secret. A task with a loop, and each later task that writes to the folder,
    use the list.
  - If the list shows that a secret is up to date, the task does not send a request and does not run the module on the
    host.
  - The list includes changes that were made by earlier tasks of the same run. Changes that somebody else makes later
    are detected only if they conflict with a write. Otherwise, the next run detects them.
  - Tasks with C(async) do not use the controller's list, but query the secret from the host. The same applies to all
    tasks if the controller cannot reach the server.
  - If the list does not contain a secret, a task with O(state=absent) still queries this secret before it reports that
    nothing changed.
seealso:
  - module: keyfleet.infisical.infisical_secret_info
  - module: keyfleet.infisical.infisical_folder
  - plugin: keyfleet.infisical.infisical_secret
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Store an API key
  keyfleet.infisical.infisical_secret:
    url: https://infisical.example.com
    client_id: "{{ my_client_id }}"
    client_secret: "{{ my_client_secret }}"
    project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    environment: prod
    name: API_KEY
    value: "{{ api_key }}"
    comment: API key for the payment service

- name: Manage an application's secrets
  hosts: app_servers
  module_defaults:
    group/keyfleet.infisical.infisical:
      url: https://infisical.example.com
      project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
      environment: prod
      secret_path: /app
  tasks:
    - name: Generate a password only if the secret does not exist
      keyfleet.infisical.infisical_secret:
        name: DB_PASSWORD
        value: "{{ lookup('ansible.builtin.password', '/dev/null', length=32) }}"
        update_value: on_create
        create_path: true
      delegate_to: localhost
      run_once: true

    - name: Store the application's settings
      keyfleet.infisical.infisical_secret:
        name: "{{ item }}"
        value: "{{ app_settings[item] }}"
        tags: [app]
      loop: "{{ app_settings.keys() | list }}" # loop over names, because Ansible prints the items
      delegate_to: localhost
      run_once: true

    - name: Delete an API key that is no longer used
      keyfleet.infisical.infisical_secret:
        name: API_KEY_OLD
        state: absent
      delegate_to: localhost
      run_once: true

    - name: Store each host's key, with an identity that cannot read secrets
      keyfleet.infisical.infisical_secret:
        name: "{{ inventory_hostname }}_host_key"
        normalize_name: true
        value: "{{ host_key }}"
        state_file: /var/lib/infisical/host_key.json
"""

RETURN = r"""
action:
  description: The change that was made or, in check mode, would be made. V(null) if there is no change.
  returned: success
  type: str
  sample: update
secret:
  description:
    - The secret after the task or, in check mode, after the planned change. V(null) if the secret does not exist.
    - The keys are the same as in C(secrets), which M(keyfleet.infisical.infisical_secret_info) returns.
  returned: success
  type: dict
  sample:
    {name: DB_PASSWORD, version: 3, id: 9d0b2f0e-5d4e-4b43-8a55-2b7a4b8f6b11,
    project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d, environment: prod, path: /app, comment: Written by Ansible,
    tags: [database], metadata: {owner: platform, pin: null}, encrypted_metadata: [pin],
    created_at: "2026-01-15T10:30:00.000Z", updated_at: "2026-01-15T10:30:00.000Z"}
approval_pending:
  description: Whether the change must still be approved in Infisical. Infisical stores the change after the approval.
  returned: success
  type: bool
  sample: false
approval_id:
  description: The id of the approval request, or V(null) if there is no such request.
  returned: success
  type: str
  sample: 5b9f9f6e-3f2b-4c39-8f07-0d2b1c4e6a11
diff:
  description:
    - The name, path and version of the secret before and after the task. Empty if the secret does not exist at that
      time.
  returned: success
  type: dict
  sample:
    before: {name: DB_PASSWORD, path: /app, version: 2}
    after: {name: DB_PASSWORD, path: /app, version: 3}
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.remote import Remote, WriteResult
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import model
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import StateFile
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import (
    Definition,
    InfisicalModule,
    describe,
    difference,
    run_module,
    summary,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "raw", "required": True},
    "value": {"type": "raw", "no_log": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "comment": {"type": "str"},
    "tags": {"type": "list", "elements": "str"},
    "metadata": {"type": "dict", "no_log": True},
    "encrypted_metadata": {"type": "list", "elements": "str"},
    "update_value": {"type": "str", "choices": ["always", "on_create"], "default": "always"},
    "create_path": {"type": "bool", "default": False},
    "overwrite_rotated": {"type": "bool", "default": False},
    "normalize_name": {"type": "bool", "default": False},
    "state_file": {"type": "path"},
}


def build_desired(options: Mapping[str, Any]) -> model.Secret:
    """Return the desired secret. It has no value if it must be absent. Raises ConfigurationError."""
    name = model.check_name(options["name"])
    if options["normalize_name"]:
        name = model.normalize_name(name)
    if options["state"] == "absent":
        return model.Secret(name)
    metadata = model.check_metadata(options["metadata"])
    return model.Secret(
        name,
        model.check_value(options["value"]),
        comment=options["comment"],
        tags=None if options["tags"] is None else tuple(options["tags"]),
        metadata=metadata,
        encrypted_metadata=model.check_keys(options["encrypted_metadata"], metadata),
    )


def work(module: InfisicalModule) -> dict[str, Any]:
    """Make the stored secret match its desired state."""
    options, scope = module.params, module.scope()
    desired = build_desired(options)
    known = None if module.known is None else model.Known.from_row(module.known["secret"])
    state = StateFile(options["state_file"], scope, module.warn) if options["state_file"] else None
    remote = Remote(
        module.api(),
        scope,
        create_path=options["create_path"],
        overwrite_rotated=options["overwrite_rotated"],
        state=state,
    )
    if desired.value is None:
        report = remote.remove(desired.key, check=module.check_mode, known=known)
    else:
        report = remote.put(desired, update_value=options["update_value"], check=module.check_mode, known=known)
    return build_result(report, scope, desired.key, check=module.check_mode)


def build_result(report: WriteResult, scope: model.Location, name: str, *, check: bool) -> dict[str, Any]:
    """Return the result of the task."""
    return {
        "changed": report.action is not None,
        "action": report.action,
        "secret": describe(report.after, scope),
        "approval_pending": bool(report.approval_id),
        "approval_id": report.approval_id or None,
        "msg": summary(f"Secret {name}", report.action, check=check),
        "diff": difference(report.before, report.after),
        "warnings": list(report.warnings),
    }


DEFINITION = Definition(work, ARGUMENTS, [("state", "present", ("value",))])


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
