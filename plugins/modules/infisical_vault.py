#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_vault
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.2.0
short_description: Manage an entry in a local vault
description:
  - Creates, updates or deletes one entry in an encrypted vault on the task's host.
  - With O(push=true), the secret in Infisical is changed too.
  - The value of the entry never appears in results or in the output of C(--diff).
  - Entries that this module writes do not belong to a job. A pull therefore deletes them only with
    C(prune_scope=vault). However, if a pull finds a secret with the same name in Infisical, it replaces the entry. To
    keep a value permanently, store it in Infisical too, with O(push=true).
options:
  name:
    description: The name of the entry. Names are case-sensitive.
    type: raw
    required: true
  value:
    description:
      - The value of the entry, which must be a string. Quote values such as V(0123), V(1e3) or V(yes), because YAML
        would convert them to other types.
      - Required if O(state=present).
    type: raw
  state:
    description: Whether the entry must exist. V(present) also creates the vault if it does not exist.
    type: str
    choices: [present, absent]
    default: present
  push:
    description:
      - Before the vault is changed, apply the same O(state) and O(value) to the secret with this name in Infisical. The
        options O(project_id), O(environment) and O(secret_path) select its folder.
      - If the secret in Infisical cannot be changed, the vault stays unchanged. The task opens and locks the vault
        before it changes Infisical, so that a vault that cannot be used is detected in time.
      - If Infisical was changed but the vault could not be written, the task fails with RV(conclusion=partial). Run the
        task again to complete the change.
      - If the server strips white space at the start and end of the value, the vault stores the stripped value too.
      - If the change must be approved in Infisical, the vault stays unchanged. After the approval, the next pull
        updates the vault.
      - With V(false), the options for the connection to Infisical are not used.
    type: bool
    default: false
  create_path:
    description: With O(push=true), create the folder O(secret_path) and its parents in Infisical if they do not exist.
    type: bool
    default: false
  overwrite_rotated:
    description:
      - With O(push=true), allow the task to replace or delete a secret that Infisical rotates. This breaks the
        rotation.
      - By default, such a task fails with RV(conclusion=guard) and changes nothing.
    type: bool
    default: false
    version_added: 0.3.0
  state_file:
    description:
      - The absolute path of the job's state file on the task's host. With this file, the task detects that the vault
        was replaced with an older copy, and fails.
      - The default is C(infisical_sync_state.json) in the directory of the vault.
    type: path
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.vault
  - keyfleet.infisical.vault.write
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
notes:
  - The Python library requests is needed only with O(push=true).
seealso:
  - module: keyfleet.infisical.infisical_sync
  - module: keyfleet.infisical.infisical_vault_info
  - plugin: keyfleet.infisical.infisical_vault
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Store a password only in the host's vault
  keyfleet.infisical.infisical_vault:
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
    create_key: true
    name: CONSOLE_PASSWORD
    value: "{{ console_password }}"
  become: true

- name: Store a new API key in Infisical and in the host's vault
  keyfleet.infisical.infisical_vault:
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
    name: API_KEY
    value: "{{ api_key }}"
    push: true
    project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    environment: prod

- name: Delete an old password from the host's vault
  keyfleet.infisical.infisical_vault:
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
    name: CONSOLE_PASSWORD_OLD
    state: absent
"""

RETURN = r"""
action:
  description: The change that was made to the vault or, in check mode, would be made. V(null) if there is no change.
  returned: success
  type: str
  sample: create
entry:
  description:
    - The entry after the task or, in check mode, after the planned change. V(null) if the entry does not exist.
    - The keys are the same as in C(secrets), which M(keyfleet.infisical.infisical_vault_info) returns.
  returned: success
  type: dict
  sample:
    {name: DB_PASSWORD, secret_name: DB_PASSWORD, version: 3, id: 9d0b2f0e-5d4e-4b43-8a55-2b7a4b8f6b11,
    project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d, environment: prod, path: /app, job: default,
    synced_at: "2026-01-15T10:30:00Z"}
pushed:
  description:
    - The change that was made to the secret in Infisical or, in check mode, would be made. V(null) if there is no
      change.
  returned: success, and with RV(conclusion=partial)
  type: str
  sample: update
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
key_created:
  description: Whether O(key_file) was created or, in check mode, would be created.
  returned: success, and on failure if the key was created before
  type: bool
  sample: false
diff:
  description:
    - The name, version and time of the entry before and after the task. Empty if the entry does not exist at that time.
  returned: success
  type: dict
  sample:
    before: {}
    after: {name: DB_PASSWORD, version: 0, synced_at: "2026-01-15T10:30:00Z"}
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils import local_vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.remote import Remote, WriteResult
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import errors, model
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import StateFile
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.store import Vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import (
    Definition,
    InfisicalModule,
    run_module,
    summary,
)


def work(module: InfisicalModule) -> dict[str, Any]:
    """Make the entry match its desired state. If `push` is set, change Infisical first."""
    options = module.params
    name = model.check_name(options["name"])
    value = model.check_value(options["value"]) if options["state"] == "present" else None
    vault, state, key_created = local_vault.open_local(module, options["state_file"], create_key=value is not None)
    with local_vault.after_key(module, key_created):
        before, report = None, WriteResult(None)
        if options["push"]:
            before = check_vault(vault, state, name, create=value is not None, check=module.check_mode)
            report = push_secret(module, name, value)
            if value is not None:
                value = choose_stored(value, report, before)
        for warning in report.warnings:
            module.warn(warning)
        try:
            # If the change needs an approval, it is not stored yet, so the next pull would remove it from the vault.
            if report.approval_id:
                edit = local.Edit(None, before, before)
            else:
                edit = write_entry(vault, state, name, value, module.check_mode)
        except errors.InfisicalError as error:
            raise error if module.check_mode else as_partial_failure(report, name, error) from None
    change, before, after = edit
    return {
        "changed": change is not None or report.action is not None or key_created,
        "action": None if change is None else change.action,
        "entry": local_vault.describe_entry(after, name),
        "pushed": report.action,
        "approval_pending": bool(report.approval_id),
        "approval_id": report.approval_id or None,
        "key_created": key_created,
        "msg": summary(f"Entry {name}", None if change is None else change.action, check=module.check_mode),
        "diff": {"before": describe_state(before, name), "after": describe_state(after, name)},
    }


def check_vault(vault: Vault, state: StateFile, name: str, *, create: bool, check: bool) -> model.Secret | None:
    """Return the entry before anything is pushed. Raises InfisicalError if the vault could not be written after the
    push."""
    if not create and not vault.exists():
        return None
    if check:
        return vault.read().get(name) if vault.exists() else None
    with vault.writing(create=create) as draft:
        state.check()
        return draft.contents.get(name)


def push_secret(module: InfisicalModule, name: str, value: str | None) -> WriteResult:
    """Make the secret in Infisical match the entry's desired state. If `value` is None, the secret must be absent."""
    more = {name: module.params[name] for name in ("create_path", "overwrite_rotated")}
    remote = Remote(module.api(), module.scope(), **more)
    if value is None:
        return remote.remove(name, check=module.check_mode)
    return remote.put(model.Secret(name, value), check=module.check_mode)


def choose_stored(value: str, report: WriteResult, before: model.Secret | None) -> str:
    """Return the value to store in the vault, so that the next pull does not change it. Most servers strip white space.

    This is the value read from the server, otherwise the value in the vault, otherwise the stripped value. The response
    to a write contains no value.
    """
    for known in (report.after if report.action is None else None, before):
        if known is not None and known.value is not None and model.same_value(known.value, value):
            return known.value
    return model.canonical_value(value)


def as_partial_failure(report: WriteResult, name: str, error: errors.InfisicalError) -> errors.InfisicalError:
    """Return a PartialFailure if Infisical was changed but the vault or its state file was not, otherwise `error`."""
    if report.action is None:
        return error
    follows = "" if error.details.get("changed") else " The vault was not changed."
    partial = errors.PartialFailure(
        f"'{name}' was changed in Infisical ({report.action}).{follows} {error.problem}",
        hint=f"{error.hint} Then run the task again.".strip(),
    )
    partial.details = {"changed": True, "pushed": report.action}
    return partial


def write_entry(vault: Vault, state: StateFile, name: str, value: str | None, check: bool) -> local.Edit:
    """Make the vault's entry match its desired state. If the vault does not exist, the entry is absent."""
    if value is not None:
        return local.put(vault, state, name, value, check=check)
    return local.remove(vault, state, name, check=check) if vault.exists() else local.Edit(None, None, None)


def describe_state(secret: model.Secret | None, name: str) -> dict[str, Any]:
    """Return an entry without its value, for `--diff`."""
    return {} if secret is None else {"name": name, "version": secret.version, "synced_at": secret.synced_at}


DEFINITION = Definition(
    work,
    {
        "name": {"type": "raw", "required": True},
        "value": {"type": "raw", "no_log": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "push": {"type": "bool", "default": False},
        "create_path": {"type": "bool", "default": False},
        "overwrite_rotated": {"type": "bool", "default": False},
        **local_vault.VAULT_OPTIONS,
        **local_vault.WRITE_OPTIONS,
    },
    required_if=[("state", "present", ("value",))],
)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
