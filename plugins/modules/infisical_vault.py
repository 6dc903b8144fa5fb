#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_vault
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.2.0
short_description: Keep an entry in a local vault
description:
  - Makes one entry of the encrypted vault on the task's host present, with the value that is given, or absent.
  - With O(push=true) the secret is written to Infisical too, at once.
  - The value is never shown, neither in results nor with C(--diff).
  - An entry that is written here belongs to no job. No pull prunes it, unless with C(prune_scope=vault). A pull that
    finds a secret for its name takes the entry over, though. What is to last belongs into Infisical, for which there is
    O(push=true).
options:
  name:
    description:
      - The name of the entry. Names are case-sensitive.
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
      - Whether the entry is there. With O(state=present), a vault that is missing is made.
    type: str
    choices: [present, absent]
    default: present
  push:
    description:
      - Whether to bring the secret of the same name in Infisical to the same O(state) first, in the folder that
        O(project_id), O(environment) and O(secret_path) name.
      - Infisical comes first and the vault after it, so that a failure there leaves the vault as it was. A vault that
        cannot be opened or locked is found before anything is sent. If the vault cannot be written after all, the task
        fails with RV(conclusion=partial), and running it again does the rest.
      - Servers trim white space around values. The vault gets the value as the server holds it.
      - Where the change waits for an approval in Infisical, the vault is left as it is too, and the next pull brings
        the value once it is approved.
      - The other shared options are used with O(push=true) alone. Otherwise nobody logs in.
    type: bool
    default: false
  create_path:
    description:
      - Whether O(push=true) makes the folder of O(secret_path), and those above it, where they are missing.
    type: bool
    default: false
  overwrite_rotated:
    description:
      - Whether O(push=true) may replace or delete a secret that Infisical rotates by itself, which breaks the rotation.
      - Without it, the task fails with RV(conclusion=guard), names the secrets and changes nothing.
    type: bool
    default: false
    version_added: 0.3.0
  state_file:
    description:
      - The state file of the vault's job, an absolute path on the task's host, where it is not
        C(infisical_sync_state.json) beside the vault. It tells an older vault that was put back.
    type: path
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.vault
  - keyfleet.infisical.vault.write
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
notes:
  - The options of the vault are looked up like the shared ones, so that C(infisical_vault_path) and
    C(infisical_key_file) may stand in the inventory. Their paths are on the task's host.
  - The Python library requests is needed with O(push=true) alone.
seealso:
  - module: keyfleet.infisical.infisical_sync
  - module: keyfleet.infisical.infisical_vault_info
  - plugin: keyfleet.infisical.infisical_vault
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Password that Infisical does not have is in the host's vault
  keyfleet.infisical.infisical_vault:
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
    create_key: true
    name: CONSOLE_PASSWORD
    value: "{{ console_password }}"
  become: true

- name: New key is in Infisical and in the host's vault
  keyfleet.infisical.infisical_vault:
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
    name: API_KEY
    value: "{{ api_key }}"
    push: true
    project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    environment: prod

- name: Old password is gone
  keyfleet.infisical.infisical_vault:
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
    name: CONSOLE_PASSWORD_OLD
    state: absent
"""

RETURN = r"""
action:
  description: What was done to the vault, or in check mode would be. V(null) where nothing had to be.
  returned: success
  type: str
  sample: create
entry:
  description: The entry as the vault holds it now, or in check mode would. V(null) where it is absent.
  returned: success
  type: dict
  contains:
    name:
      description: The name in the vault.
      returned: success
      type: str
      sample: DB_PASSWORD
    secret_name:
      description: The name in Infisical, where the entry comes from there.
      returned: success
      type: str
      sample: DB_PASSWORD
    version:
      description: The version in Infisical. V(0) for an entry that was written by hand.
      returned: success
      type: int
      sample: 3
    id:
      description: The id in Infisical, empty for an entry that was written by hand.
      returned: success
      type: str
      sample: 9d0b2f0e-5d4e-4b43-8a55-2b7a4b8f6b11
    project_id:
      description: The id of the project, empty for an entry that was written by hand.
      returned: success
      type: str
      sample: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    environment:
      description: The slug of the environment, empty for an entry that was written by hand.
      returned: success
      type: str
      sample: prod
    path:
      description: The path of the folder, empty for an entry that was written by hand.
      returned: success
      type: str
      sample: /app
    job:
      description: The job that has put the entry there, empty for one that was written by hand.
      returned: success
      type: str
      sample: default
    synced_at:
      description: When the vault took this version, in UTC.
      returned: success
      type: str
      sample: "2026-01-15T10:30:00Z"
pushed:
  description: What was done to the secret in Infisical, or in check mode would be. V(null) where nothing had to be.
  returned: success, and with RV(conclusion=partial)
  type: str
  sample: update
approval_pending:
  description: Whether the change waits for an approval in Infisical. Nothing is stored yet then, also not in the vault.
  returned: success
  type: bool
  sample: false
approval_id:
  description: The id of the approval request, V(null) where there is none.
  returned: success
  type: str
  sample: 5b9f9f6e-3f2b-4c39-8f07-0d2b1c4e6a11
key_created:
  description: Whether O(key_file) was made, or in check mode would be.
  returned: success, and if it was made before a failure
  type: bool
  sample: false
diff:
  description: Name, version and time of the entry before and after. Empty where it is not there.
  returned: success
  type: dict
  sample:
    before: {}
    after: {name: DB_PASSWORD, version: 0, synced_at: "2026-01-15T10:30:00Z"}
conclusion:
  description: What went wrong, in one word. The guide to errors lists all of them.
  returned: failure
  type: str
  sample: wrong_key
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

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.remote import Remote, Report
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    InfisicalError,
    PartialFailure,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    Secret,
    canonical_value,
    check_name,
    check_value,
    same_value,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.plan import Change, Plan
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import StateFile
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.store import Vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.local_vault import (
    VAULT_OPTIONS,
    WRITE_OPTIONS,
    after_key,
    described_entry,
    opened,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule, summary


def work(module: InfisicalModule) -> dict[str, Any]:
    """Bring the entry to the state that is wanted, in Infisical first if asked to."""
    options = module.params
    name = check_name(options["name"])
    value = check_value(options["value"]) if options["state"] == "present" else None
    vault, state, key_created = opened(module, options["state_file"], create_key=value is not None)
    with after_key(module, key_created):
        before = vault.read().get(name) if vault.exists() else None  # a wrong key shows before anything is sent
        if not module.check_mode and (value is not None or before is not None):
            with vault.writing(create=value is not None):
                state.check()  # what could not be written shows before anything is
        report = pushed(module, name, value) if options["push"] else Report(None)
        if options["push"] and value is not None:
            value = settled(value, report, before)
        for warning in report.warnings:
            module.warn(warning)
        try:
            # What waits for an approval is not there yet, and the next pull would take it out of the vault again.
            change = None if report.approval_id else written(vault, state, name, value, module.check_mode)
        except InfisicalError as error:
            raise error if module.check_mode else half_done(report, name, error) from None
    after = before if change is None else change.after
    return {
        "changed": change is not None or report.action is not None or key_created,
        "action": None if change is None else change.action,
        "entry": described_entry(after, name),
        "pushed": report.action,
        "approval_pending": bool(report.approval_id),
        "approval_id": report.approval_id or None,
        "key_created": key_created,
        "msg": summary(f"Entry {name}", None if change is None else change.action, check=module.check_mode),
        "diff": {"before": identified(before, name), "after": identified(after, name)},
    }


def pushed(module: InfisicalModule, name: str, value: str | None) -> Report:
    """Bring the secret in Infisical to the same state; a value of None is for absent."""
    more = {name: module.params[name] for name in ("create_path", "overwrite_rotated")}
    remote = Remote(module.api(), module.scope(), **more)
    if value is None:
        return remote.remove(name, check=module.check_mode)
    return remote.put(Secret(name, value), check=module.check_mode)


def settled(value: str, report: Report, before: Secret | None) -> str:
    """What the vault is to hold of a pushed value, so that the next pull leaves it alone: servers trim, and some don't.

    That is what the server has told that it holds, else what the vault holds already, else what real servers make of
    it. The answer to a write tells no value.
    """
    for told in (report.after if report.action is None else None, before):
        if told is not None and told.value is not None and same_value(told.value, value):
            return told.value
    return canonical_value(value)


def half_done(report: Report, name: str, error: InfisicalError) -> InfisicalError:
    """What to say if Infisical was written and the vault or its state file was not; else the error itself."""
    if report.action is None:
        return error
    follows = "" if error.details.get("changed") else " The vault could not follow; run the task again when it can."
    partial = PartialFailure(f"'{name}' was changed in Infisical ({report.action}).{follows} {error}")
    partial.details = {"changed": True, "pushed": report.action}
    return partial


def written(vault: Vault, state: StateFile, name: str, value: str | None, check: bool) -> Change | None:
    """Bring the entry of the vault to the state; what changed. An entry of a vault that is not there is absent."""
    if value is not None:
        plan = local.put(vault, state, name, value, check=check)
    else:
        plan = local.remove(vault, state, name, check=check) if vault.exists() else Plan((), ())
    return plan.changes[0] if plan.changes else None


def identified(secret: Secret | None, name: str) -> dict[str, Any]:
    """What `--diff` shows of an entry."""
    return {} if secret is None else {"name": name, "version": secret.version, "synced_at": secret.synced_at}


def main() -> None:
    """Run the module."""
    module = InfisicalModule(
        argument_spec={
            "name": {"type": "raw", "required": True},
            "value": {"type": "raw", "no_log": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "push": {"type": "bool", "default": False},
            "create_path": {"type": "bool", "default": False},
            "overwrite_rotated": {"type": "bool", "default": False},
            **VAULT_OPTIONS,
            **WRITE_OPTIONS,
        },
        required_if=[("state", "present", ("value",))],
    )
    module.run(work)


if __name__ == "__main__":
    main()
