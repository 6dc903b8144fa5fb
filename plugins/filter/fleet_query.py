# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_query
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Find out which hosts have which secrets
description:
  - Selects rows about hosts and their secrets from the graph file of M(keyfleet.infisical.infisical_fleet_report).
  - The result is the same list that M(keyfleet.infisical.infisical_fleet_info) returns as C(rows).
positional: _input, query
options:
  _input:
    description:
      - The graph from M(keyfleet.infisical.infisical_fleet_report), either as the text of the graph file or as parsed
        data.
    type: raw
    required: true
  query:
    description:
      - The same as O(keyfleet.infisical.infisical_fleet_info#module:query). Set either O(query) or O(question).
    type: str
  question:
    description: The same as O(keyfleet.infisical.infisical_fleet_info#module:question).
    type: str
    choices: [exposed, rotate, held_by, behind, missing, late, identities]
  host:
    description: The same as O(keyfleet.infisical.infisical_fleet_info#module:host).
    type: str
  secret:
    description: The same as O(keyfleet.infisical.infisical_fleet_info#module:secret).
    type: str
seealso:
  - module: keyfleet.infisical.infisical_fleet_info
"""

EXAMPLES = r"""
- name: Print the hosts that have an outdated version of a secret
  ansible.builtin.debug:
    msg: >-
      {{ lookup('ansible.builtin.file', 'fleet/graph.json')
         | keyfleet.infisical.fleet_query(question='behind')
         | selectattr('name', 'eq', 'DB_PASSWORD') | map(attribute='host') | unique }}

- name: Print the names of all secrets
  ansible.builtin.debug:
    msg: >-
      {{ lookup('ansible.builtin.file', 'fleet/graph.json')
         | keyfleet.infisical.fleet_query('type=secret') | map(attribute='name') }}
"""

RETURN = r"""
_value:
  description: The rows that answer O(question) or O(query). Each row is a dictionary.
  type: list
  elements: dict
"""

import time
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.garbage import pause_garbage_collection
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.rows import ask
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_graph


def fleet_query(
    graph: Any, query: Any = "", question: Any = "", host: Any = "", secret: Any = ""
) -> list[dict[str, Any]]:
    """Return the rows that answer a query or a question."""
    given = {"query": query, "question": question, "host": host, "secret": secret}
    for name, value in given.items():
        if not isinstance(value, str):
            raise AnsibleFilterError(f"keyfleet.infisical.fleet_query: {name} must be a string.")
    try:
        with pause_garbage_collection():
            parsed = fleet_graph.parse_graph(graph, "graph")
            return ask(parsed, time.time(), **{name: str(given[name]) for name in given})
    except InfisicalError as error:
        raise AnsibleFilterError(f"keyfleet.infisical.fleet_query: {error}") from None


class FilterModule:
    """Provides the filter `fleet_query`."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        return {"fleet_query": fleet_query}
