# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the attributes of all modules: action group, action plugin, platform, async."""

from __future__ import annotations


class ModuleDocFragment:
    """`keyfleet.infisical.attributes`; with `.info` for modules that change nothing, `.change` for the others."""

    DOCUMENTATION = r"""
options: {}
attributes:
  action:
    description: Has an action plugin with the same name, which runs on the controller.
    support: full
    details:
      - The action plugin looks up the values of options that the task does not set. The module runs on the task's host.
        If that host is the controller, the module can run in Ansible's worker process;
        R(the guide,ansible_collections.keyfleet.infisical.docsite.guide_secrets.worker) lists the conditions.
  action_group:
    description:
      - Use C(group/keyfleet.infisical.infisical) in C(module_defaults) to set options for all modules. Each module
        ignores options that it does not have.
    support: full
    membership:
      - keyfleet.infisical.infisical
  async:
    description: Can be used with the C(async) keyword.
    support: full
  platform:
    description: The operating systems of the hosts on which the module can run.
    support: full
    platforms: posix
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the planned changes without applying them.
    support: full
    details: The module changes nothing, so check mode makes no difference.
  diff_mode:
    description: Returns details about changes in diff mode.
    support: N/A
    details: The module changes nothing.
  idempotent:
    description: Changes nothing if it runs again with the same options.
    support: full
    details: The module changes nothing.
"""

    CHANGE = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the planned changes without applying them.
    support: full
  diff_mode:
    description: Returns details about changes in diff mode, including planned changes in check mode.
    support: full
    details: The details include names, paths and versions, but never values.
  idempotent:
    description: Changes nothing if it runs again with the same options.
    support: full
"""
