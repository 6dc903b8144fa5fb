# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: sync_interval
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.3.0
short_description: Tell the shortest interval at which a rate limit bears a fleet
description:
  - Computes how often hosts may sync with Infisical without running into its rate limit, when all of them reach it
    through the same address.
  - The fleet then uses at most 60 % of the limit on average, and less where there are few hosts with many requests,
    because chance brings more of them into one minute. The guide about load says why, and how it was simulated.
  - Nothing is asked, neither Infisical nor a host.
positional: _input, requests, rate_limit
options:
  _input:
    description:
      - How many hosts sync, or a list of their names.
    type: raw
    required: true
  requests:
    description:
      - How many requests a host sends each time, without its login. A sync sends one for each project and path, and
        one more where it has to find out the projects.
    type: int
    default: 1
  rate_limit:
    description:
      - How many requests a minute the server allows an address. It counts reads and logins apart.
      - V(0) stands for a server without a limit.
    type: int
    required: true
seealso:
  - ref: ansible_collections.keyfleet.infisical.docsite.guide_load
    description: How many hosts a rate limit bears, with the numbers for common limits.
"""

EXAMPLES = r"""
- name: Interval for a thousand hosts
  ansible.builtin.debug:
    msg: "{{ 1000 | keyfleet.infisical.sync_interval(rate_limit=120) }}"
  # 15m

- name: Interval for the hosts of a group, which sync two paths each
  ansible.builtin.set_fact:
    shortest: "{{ groups['app_servers'] | keyfleet.infisical.sync_interval(requests=2, rate_limit=120) }}"
"""

RETURN = r"""
_value:
  description:
    - The interval as text, from C(1m) to C(1d). It divides an hour or a day.
    - An error where not even once a day would do.
  type: str
"""

from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.schedule import (
    DAY,
    check_load,
    interval_text,
    shortest_interval,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError


def sync_interval(hosts: Any, requests: Any = 1, rate_limit: Any = None) -> str:
    """The shortest interval as text for so many hosts, or a list of them."""
    if isinstance(hosts, Sequence) and not isinstance(hosts, (str, bytes)):
        hosts = len(hosts)
    try:
        load = _number("hosts", hosts), _number("requests", requests)
        limit = _number("rate_limit", rate_limit)
        minutes = shortest_interval(*load, limit)
        if minutes is None:
            minutes = DAY
            check_load(*load, minutes, limit)
    except ConfigurationError as error:
        raise AnsibleFilterError(f"keyfleet.infisical.sync_interval: {error}") from error
    return interval_text(minutes)


def _number(name: str, value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ConfigurationError(name, "not given." if value is None else "it must be a whole number.")


class FilterModule:
    """The filter, by its name."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"sync_interval": sync_interval}
