#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_secret
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: Keep a secret in Infisical
description:
  - Makes one secret of an Infisical project present, with the value that is given, or absent.
  - The value is never shown, neither in results nor with C(--diff).
  - A server that keeps values without outer white space is told nothing new by a value that differs in that only, so
    that nothing is reported as changed.
  - On a path under an approval policy the server stores nothing before somebody has approved. The result then has
    RV(approval_pending=true).
options:
  name:
    description:
      - The name of the secret. Names are case-sensitive.
      - Names of more than 100 characters, and the name V(batch), need a server with batch routes.
    type: raw
    required: true
  value:
    description:
      - The value. It must be a string. YAML turns V(0123), V(1e3), V(yes) and the like into something else, so quote
        it.
      - Required if O(state=present).
    type: raw
  state:
    description:
      - Whether the secret is there.
    type: str
    choices: [present, absent]
    default: present
  comment:
    description:
      - A comment for whoever looks at the secret. Left as it is where not given.
    type: str
  tags:
    description:
      - Slugs of tags. The secret has exactly these tags then, and V([]) takes all away. Left as they are where not
        given.
      - The tags must exist in the project.
    type: list
    elements: str
  metadata:
    description:
      - Keys and values, all of them strings. The secret has exactly these then. Left as they are where not given.
      - Older servers keep no metadata. A warning says so.
      - A value that is encrypted in Infisical stays encrypted.
    type: dict
  encrypted_metadata:
    description:
      - Keys of O(metadata) with values that Infisical is to keep encrypted. They are never shown.
      - A value that is encrypted already stays so without this. To make it plain again, write O(metadata) without the
        key first.
    type: list
    elements: str
    version_added: 0.3.0
  update_value:
    description:
      - With V(always), a stored value that differs is replaced.
      - With V(on_create), the value is stored when the secret is created and left alone after that, which is right for
        generated passwords.
    type: str
    choices: [always, on_create]
    default: always
  create_path:
    description:
      - Whether to make the folder of O(secret_path), and those above it, where they are missing. Otherwise a missing
        folder is an error.
    type: bool
    default: false
  overwrite_rotated:
    description:
      - Whether to replace or delete a secret that Infisical rotates by itself, which breaks the rotation.
      - Without it, the task fails with RV(conclusion=guard), names the secrets and changes nothing.
    type: bool
    default: false
    version_added: 0.3.0
  normalize_name:
    description:
      - Whether to write O(name) in upper case, and to make every run of characters outside of C([A-Z0-9_]) one
        underscore.
    type: bool
    default: false
  state_file:
    description:
      - An absolute path on the task's host, for an identity that may write secrets but not read them.
      - The file keeps a hash of what was last written, which tells whether a value is a new one. Without it such an
        identity writes the secret on every run.
      - If the identity may see names (C(Describe Secret)), a comment, tags and metadata are compared too, and a value
        that somebody else has changed is written again.
      - One file belongs to one project, environment and path. Its directory must exist.
    type: path
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
notes:
  - In one run of Ansible, the controller lists a folder once for all tasks that write to it, from the second such task
    on, and at once for a task with a loop. A secret that the listing shows to be unchanged costs no request and no
    module run on the host. A secret that differs is written without being read before.
  - The run knows what its own tasks have written. It does not see what somebody else changes after the listing, unless
    that conflicts with a write. The next run does.
  - The listing is not used by tasks with C(async), nor if the controller cannot reach the server. A secret that it
    lacks is looked for by itself before O(state=absent) reports that nothing has changed.
seealso:
  - module: keyfleet.infisical.infisical_secret_info
  - module: keyfleet.infisical.infisical_folder
  - plugin: keyfleet.infisical.infisical_secret
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: API key is stored
  keyfleet.infisical.infisical_secret:
    url: https://infisical.example.com
    client_id: "{{ my_client_id }}"
    client_secret: "{{ my_client_secret }}"
    project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    environment: prod
    name: API_KEY
    value: "{{ api_key }}"
    comment: Key of the payment service

- name: Secrets of the application are managed
  hosts: app_servers
  module_defaults:
    group/keyfleet.infisical.infisical:
      url: https://infisical.example.com
      project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
      environment: prod
      secret_path: /app
  tasks:
    - name: Password is generated once and then left alone
      keyfleet.infisical.infisical_secret:
        name: DB_PASSWORD
        value: "{{ lookup('ansible.builtin.password', '/dev/null', length=32) }}"
        update_value: on_create
        create_path: true
      delegate_to: localhost
      run_once: true

    - name: Settings are stored
      keyfleet.infisical.infisical_secret:
        name: "{{ item }}"
        value: "{{ app_settings[item] }}"
        tags: [app]
      loop: "{{ app_settings.keys() | list }}" # names alone, because Ansible shows the items of a loop
      delegate_to: localhost
      run_once: true

    - name: Old key is gone
      keyfleet.infisical.infisical_secret:
        name: API_KEY_OLD
        state: absent
      delegate_to: localhost
      run_once: true

    - name: Host's own key is stored by an identity that may not read
      keyfleet.infisical.infisical_secret:
        name: "{{ inventory_hostname }}_host_key"
        normalize_name: true
        value: "{{ host_key }}"
        state_file: /var/lib/infisical/host_key.json
"""

RETURN = r"""
action:
  description: What was done, or in check mode would be. V(null) where nothing had to be.
  returned: success
  type: str
  sample: update
secret:
  description: The secret as it is stored now, or in check mode would be. V(null) where it is absent.
  returned: success
  type: dict
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
        - A value that is encrypted in Infisical is V(null).
      returned: success
      type: dict
      sample: {owner: platform, pin: null}
    encrypted_metadata:
      description: The keys of RV(secret.metadata) with values that are encrypted in Infisical.
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
approval_pending:
  description: Whether the change waits for an approval in Infisical. Nothing is stored yet then.
  returned: success
  type: bool
  sample: false
approval_id:
  description: The id of the approval request, V(null) where there is none.
  returned: success
  type: str
  sample: 5b9f9f6e-3f2b-4c39-8f07-0d2b1c4e6a11
diff:
  description: Name, path and version before and after. Empty where the secret is not there.
  returned: success
  type: dict
  sample:
    before: {name: DB_PASSWORD, path: /app, version: 2}
    after: {name: DB_PASSWORD, path: /app, version: 3}
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

from typing import TYPE_CHECKING, Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.remote import Remote, Report
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    Known,
    Location,
    Secret,
    check_keys,
    check_metadata,
    check_name,
    check_value,
    normalize_name,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import StateFile
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import (
    InfisicalModule,
    described,
    difference,
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
REQUIRED_IF = [("state", "present", ("value",))]


def desired_secret(options: Mapping[str, Any]) -> Secret:
    """The secret that the options describe; its value is None if it is to be absent. Raises ConfigurationError."""
    name = check_name(options["name"])
    if options["normalize_name"]:
        name = normalize_name(name)
    if options["state"] == "absent":
        return Secret(name)
    metadata = check_metadata(options["metadata"])
    return Secret(
        name,
        check_value(options["value"]),
        comment=options["comment"],
        tags=None if options["tags"] is None else tuple(options["tags"]),
        metadata=metadata,
        encrypted_metadata=check_keys(options["encrypted_metadata"], metadata),
    )


def work(module: InfisicalModule) -> dict[str, Any]:
    """Bring the secret to its desired state."""
    options, scope = module.params, module.scope()
    desired = desired_secret(options)
    known = None if module.known is None else Known.from_row(module.known["secret"])
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
    return result_of(report, scope, desired.key, check=module.check_mode)


def result_of(report: Report, scope: Location, name: str, *, check: bool) -> dict[str, Any]:
    """The task's result; its `warnings` are to be shown."""
    return {
        "changed": report.action is not None,
        "action": report.action,
        "secret": described(report.after, scope),
        "approval_pending": bool(report.approval_id),
        "approval_id": report.approval_id or None,
        "msg": summary(f"Secret {name}", report.action, check=check),
        "diff": difference(report.before, report.after),
        "warnings": list(report.warnings),
    }


def main() -> None:
    """Run the module."""
    InfisicalModule(argument_spec=ARGUMENTS, required_if=REQUIRED_IF).run(work)


if __name__ == "__main__":
    main()
