#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_project_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: List Infisical projects and their environments
description:
  - Lists the projects that the machine identity can access, with their environments. If O(project_id) is set, only this
    project is listed.
  - Some older servers cannot list the projects of a machine identity. For these servers, set O(project_id).
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  environment:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
  secret_path:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
seealso:
  - module: keyfleet.infisical.infisical_status_info
"""

EXAMPLES = r"""
- name: List all projects that the identity can access
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
    id: {description: The id of the project. Use it as the option O(project_id) of all modules., type: str}
    name: {description: The name of the project., type: str}
    slug: {description: The slug of the project. Empty if the server does not return it., type: str}
    environments:
      description: The environments of the project, in the order in which the server returned them.
      type: list
      elements: dict
      contains:
        slug: {description: The slug of the environment. Use it as the option O(environment) of all modules., type: str}
        name: {description: The name of the environment., type: str}
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""

from dataclasses import asdict
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.preflight import visible_projects
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, InfisicalModule, run_module


def work(module: InfisicalModule) -> dict[str, Any]:
    """List the projects."""
    projects = visible_projects(module.api(), module.settings().project_id)
    return {
        "changed": False,
        "projects": [asdict(one) for one in sorted(projects, key=lambda one: (one.name, one.id))],
        "msg": f"This machine identity has access to {pluralize(len(projects), 'project')}.",
    }


DEFINITION = Definition(work)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
