# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_query
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Ask the metadata graph of a fleet
description:
  - The rows of a metadata graph that fit a query, as M(keyfleet.infisical.infisical_fleet_info) gives them.
  - "L(The guide to the fleet,ansible_collections.keyfleet.infisical.docsite.guide_fleet) describes the language and the
    rows."
positional: _input, query
options:
  _input:
    description:
      - The graph that M(keyfleet.infisical.infisical_fleet_report) has written, as the text of its file, or as data.
    type: raw
    required: true
  query:
    description:
      - The query, such as V(type=secret state=unused).
    type: str
    required: true
seealso:
  - module: keyfleet.infisical.infisical_fleet_info
"""

EXAMPLES = r"""
- name: Hosts that do not have the current version of a secret
  ansible.builtin.debug:
    msg: >-
      {{ lookup('ansible.builtin.file', 'fleet/graph.json')
         | keyfleet.infisical.fleet_query('relation=synced_to state=behind name=DB_PASSWORD')
         | map(attribute='host') | unique }}
"""

RETURN = r"""
_value:
  description: The rows, each a dictionary.
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_graph


def fleet_query(graph: Any, query: Any) -> list[dict[str, Any]]:
    """The rows of a graph that fit a query."""
    if not isinstance(query, str):
        raise AnsibleFilterError("keyfleet.infisical.fleet_query: query must be a string.")
    try:
        return fleet_graph.ask(fleet_graph.graph_of(graph, "graph"), str(query))
    except InfisicalError as error:
        raise AnsibleFilterError(f"keyfleet.infisical.fleet_query: {error}") from None


class FilterModule:
    """The filter, by its name."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        return {"fleet_query": fleet_query}
