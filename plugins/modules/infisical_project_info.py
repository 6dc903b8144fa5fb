#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_project_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: Tell which Infisical projects and environments can be seen
description:
  - Lists the projects that the machine identity can see, with their environments, or the one that O(project_id) names.
  - Some older servers do not list projects to machine identities. O(project_id) is required there.
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  environment:
    description:
      - Not used. It is accepted so that C(module_defaults) of the action group work.
  secret_path:
    description:
      - Not used. It is accepted so that C(module_defaults) of the action group work.
seealso:
  - module: keyfleet.infisical.infisical_status_info
"""

EXAMPLES = r"""
- name: Projects are known
  keyfleet.infisical.infisical_project_info:
    url: https://infisical.example.com
    client_id: "{{ my_client_id }}"
    client_secret: "{{ my_client_secret }}"
  register: infisical

- name: Environments of each project
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
  contains:
    id:
      description: The id, which is what O(project_id) of all modules takes.
      returned: success
      type: str
      sample: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    name:
      description: The name.
      returned: success
      type: str
      sample: Web shop
    slug:
      description: The slug, empty where the server does not tell it.
      returned: success
      type: str
      sample: web-shop
    environments:
      description: The environments, in the server's order.
      returned: success
      type: list
      elements: dict
      contains:
        slug:
          description: The slug, which is what O(environment) of all modules takes.
          returned: success
          type: str
          sample: prod
        name:
          description: The name.
          returned: success
          type: str
          sample: Production
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
