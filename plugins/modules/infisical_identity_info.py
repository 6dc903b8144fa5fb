#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_identity_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.4.0
short_description: Get the machine identities of an Infisical project
description:
  - Lists the machine identities that belong to a project, in one request for each 100 identities.
  - With O(details=true), also returns their roles, login methods, grants and client secrets. This takes up to 10
    requests for each identity.
  - The identity that logs in for this task needs permission to read the machine identities of the project.
options:
  name:
    description: Return only the identities with this name. Names are not unique.
    type: str
  id:
    description:
      - Return only the identity with this id. If it is set, O(name) is not used.
      - This is not the option O(identity_id), which is the identity that logs in.
    type: str
  details:
    description: Whether to return the roles, login methods, grants and client secrets of each identity.
    type: bool
    default: false
  environment:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
  secret_path:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
seealso:
  - module: keyfleet.infisical.infisical_identity
"""

EXAMPLES = r"""
- name: List the identities of the project
  keyfleet.infisical.infisical_identity_info:
  register: all

- name: Print the names of the identities of hosts
  ansible.builtin.debug:
    msg: "{{ all.identities | selectattr('host') | map(attribute='name') | sort }}"

- name: Get the grants and client secrets of one identity
  keyfleet.infisical.infisical_identity_info:
    name: ci-shop
    details: true
  register: shop
"""

RETURN = r"""
identities:
  description: The identities, sorted by name and id. Empty if there is no such identity.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 2f1d7f0e-4f3e-4b0a-8f6b-6f0f3a1f7c55
      name: ci-shop
      project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
      metadata: {managed_by: keyfleet.infisical}
      delete_protection: false
      created_at: "2026-01-15T10:30:00.000Z"
      host: ""
  contains:
    id: {description: The id of the identity., type: str}
    name: {description: The name of the identity., type: str}
    project_id: {description: The id of the project., type: str}
    metadata: {description: The metadata., type: dict}
    delete_protection: {description: Whether Infisical refuses to delete the identity., type: bool}
    created_at: {description: The time of its creation., type: str}
    host:
      description:
        - The name of the host for which the role P(keyfleet.infisical.scheduled_sync#role) has created the identity.
          Empty for all other identities.
      type: str
    roles:
      description: The slugs of its roles in the project.
      returned: if O(details=true)
      type: list
      elements: str
    login_methods:
      description:
        - The settings of its login methods, by the names of the options of
          M(keyfleet.infisical.infisical_identity). Login methods that this module does not have are left out.
      returned: if O(details=true)
      type: dict
    grants:
      description: The grants, in the form of the option of M(keyfleet.infisical.infisical_identity).
      returned: if O(details=true)
      type: list
      elements: dict
    other_permissions:
      description: Permissions in the privilege C(keyfleet) that are not grants, as Infisical returns them.
      returned: if O(details=true)
      type: list
      elements: dict
    other_privileges:
      description: The slugs of its additional privileges other than C(keyfleet).
      returned: if O(details=true)
      type: list
      elements: str
    client_secrets:
      description: The client secrets of universal auth, without their texts.
      returned: if O(details=true)
      type: list
      elements: dict
      contains:
        client_secret_id: {description: The id of the client secret., type: str}
        description: {description: The description., type: str}
        created_at: {description: The time of its creation., type: str}
        expires_at: {description: The end of its lifetime or V(null)., type: str}
        ttl: {description: The lifetime in seconds; V(0) means no limit., type: int}
        num_uses: {description: The number of logins with it., type: int}
        num_uses_limit: {description: The number of logins that it allows; V(0) means no limit., type: int}
        revoked: {description: Whether it is revoked., type: bool}
        valid: {description: Whether it can be used to log in now., type: bool}
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import IdentityApi
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identity_methods import METHOD_ROUTES
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.apply import find
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import from_permissions
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.host import read_entry
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.plan import SLUG
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, InfisicalModule, run_module
from ansible_collections.keyfleet.infisical.plugins.module_utils.project_identity import (
    SELECTION,
    describe_client_secret,
    describe_grants,
    describe_identity,
    describe_method,
    project_of,
)

if TYPE_CHECKING:
    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import Identity


def work(module: InfisicalModule) -> dict[str, Any]:
    """List the identities."""
    project_id, identity_id = project_of(module), module.params["id"] or ""
    api = IdentityApi(module.api())
    if identity_id:
        found = [one for one in [find(api, project_id, identity_id=identity_id)] if one is not None]
    else:
        found = api.identities(project_id, module.params["name"] or "")
    found.sort(key=lambda one: (one.name, one.id))
    return {
        "changed": False,
        "identities": [{**_describe(one), **_read(module, api, one)} for one in found],
        "msg": f"Found {len(found):,} machine {'identity' if len(found) == 1 else 'identities'}.",
    }


def _describe(identity: Identity) -> dict[str, Any]:
    entry = read_entry(identity)
    return {**(describe_identity(identity) or {}), "host": "" if entry is None else entry.host}


def _read(module: InfisicalModule, api: IdentityApi, identity: Identity) -> dict[str, Any]:
    """Return the details of one identity, or none if they are not requested."""
    if not module.params["details"]:
        return {}
    methods = {name: api.method(identity.id, name) for name in METHOD_ROUTES}
    listed = api.privileges(identity.project_id, identity.id)
    ours = [api.privilege(one.id) for one in listed if one.slug == SLUG]
    permissions = from_permissions(one for privilege in ours for one in privilege.permissions or ())
    now = api.api.transport.clock.time()
    secrets = api.client_secrets(identity.id) if methods["universal_auth"] is not None else []
    return {
        "roles": list(api.roles(identity.project_id, identity.id)),
        "login_methods": {name: describe_method(one) for name, one in methods.items() if one is not None},
        "grants": describe_grants(permissions),
        "other_permissions": [dict(one) for one in permissions.foreign],
        "other_privileges": sorted(one.slug for one in listed if one.slug != SLUG),
        "client_secrets": [describe_client_secret(one, now) for one in secrets],
    }


DEFINITION = Definition(work, {**SELECTION, "details": {"type": "bool", "default": False}})


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
