#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_project_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: List projects and environments of Infisical
description:
  - Lists the projects that the machine identity can access, with their environments. With O(project_id), lists only
    this project.
  - Some older servers do not list projects for machine identities. They need O(project_id).
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  environment:
    description:
      - Not used. Accepted for C(module_defaults) of the action group.
  secret_path:
    description:
      - Not used. Accepted for C(module_defaults) of the action group.
seealso:
  - module: keyfleet.infisical.infisical_status_info
"""

EXAMPLES = r"""
- name: List the projects
  keyfleet.infisical.infisical_project_info:
    url: https://infisical.example.com
    client_id: "{{ my_client_id }}"
    client_secret: "{{ my_client_secret }}"
  register: infisical

- name: Print the environments of each project
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.environments | map(attribute='slug') | join(', ') }}"
  loop: "{{ infisical.projects }}"
  loop_control:
    label: "{{ item.id }}"
"""

RETURN = r"""
projects:
  description: The projects, sorted by name.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
      name: Web shop
      slug: web-shop
      environments: [{slug: prod, name: Production}]
  contains:
    id:
      description: The id, for the option O(project_id) of all modules.
      type: str
    name:
      description: The name.
      type: str
    slug:
      description: The slug, empty if the server does not return it.
      type: str
    environments:
      description: The environments, in the server's order.
      type: list
      elements: dict
      contains:
        slug:
          description: The slug, for the option O(environment) of all modules.
          type: str
        name:
          description: The name.
          type: str
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

from dataclasses import asdict
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.preflight import visible_projects
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule


def work(module: InfisicalModule) -> dict[str, Any]:
    """List the projects."""
    projects = visible_projects(module.api(), module.settings().project_id)
    return {
        "changed": False,
        "projects": [asdict(one) for one in sorted(projects, key=lambda one: (one.name, one.id))],
        "msg": f"This machine identity has access to {pluralize(len(projects), 'project')}.",
    }


def main() -> None:
    """Run the module."""
    InfisicalModule(argument_spec={}).run(work)


if __name__ == "__main__":
    main()
