#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_folder
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: Manage a folder in Infisical
description: Creates or deletes a folder in an Infisical environment. Missing parent folders are created too.
options:
  secret_path:
    description:
      - The path of the folder, starting with a slash. The root folder V(/) always exists and cannot be managed.
  state:
    description: Whether the folder must exist.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - Delete the folder even if it contains secrets or other folders. These are deleted too. If Infisical rotates one
        of the secrets, the deletion ends its rotation.
      - Only used if O(state=absent).
    type: bool
    default: false
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
seealso:
  - module: keyfleet.infisical.infisical_secret
"""

EXAMPLES = r"""
- name: Create a folder for the application
  keyfleet.infisical.infisical_folder:
    environment: prod
    secret_path: /app/database

- name: Delete the old application's folder and all secrets in it
  keyfleet.infisical.infisical_folder:
    environment: prod
    secret_path: /old-app
    state: absent
    force: true
"""

RETURN = r"""
path:
  description: The path of the folder.
  returned: success
  type: str
  sample: /app/database
diff:
  description: The path and state of the folder before and after the task.
  returned: success
  type: dict
  sample:
    before: {path: /app/database, state: absent}
    after: {path: /app/database, state: present}
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.remote import Remote
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import (
    Definition,
    InfisicalModule,
    run_module,
    summary,
)


def work(module: InfisicalModule) -> dict[str, Any]:
    """Create or delete the folder."""
    state, scope = module.params["state"], module.scope()
    remote = Remote(module.api(), scope)
    if state == "absent":
        changed = remote.remove_folder(force=module.params["force"], check=module.check_mode)
    else:
        changed = remote.put_folder(check=module.check_mode)
    after = {"path": scope.secret_path, "state": state}
    other = {"present": "absent", "absent": "present"}[state]
    return {
        "changed": changed,
        "path": scope.secret_path,
        "msg": summary(
            f"Folder {scope.secret_path}",
            {"present": "create", "absent": "delete"}[state] if changed else None,
            check=module.check_mode,
        ),
        "diff": {"before": {**after, "state": other} if changed else after, "after": after},
    }


DEFINITION = Definition(
    work,
    {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "force": {"type": "bool", "default": False},
    },
)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
