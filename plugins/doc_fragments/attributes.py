# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of what all modules have in common: action group, action plugin, platform, async."""

from __future__ import annotations


class ModuleDocFragment:
    """`keyfleet.infisical.attributes`; with `.info` for modules that change nothing, `.change` for the others."""

    DOCUMENTATION = r"""
options: {}
attributes:
  action:
    description: Has an action plugin of the same name, which runs on the controller.
    support: full
    details:
      - The action looks up the options that are not given as arguments. The work is done on the task's host.
  action_group:
    description:
      - Use C(group/keyfleet.infisical.infisical) in C(module_defaults) to set options for all modules. A module takes
        those that it has.
    support: full
    membership:
      - keyfleet.infisical.infisical
  async:
    description: Can be used with the C(async) keyword.
    support: full
  platform:
    description: The operating systems on which the module can run.
    support: full
    platforms: posix
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and tell what would be changed, without changing it.
    support: full
    details:
      - The module changes nothing, and does the same in check mode.
  diff_mode:
    description: Tells what was changed, or in check mode would be, when in diff mode.
    support: N/A
    details:
      - The module changes nothing.
  idempotent:
    description: Run again with the same options, the module changes nothing more.
    support: full
    details:
      - The module changes nothing.
"""

    CHANGE = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and tell what would be changed, without changing it.
    support: full
  diff_mode:
    description: Tells what was changed, or in check mode would be, when in diff mode.
    support: full
    details:
      - The difference shows names, paths and versions, never values.
  idempotent:
    description: Run again with the same options, the module changes nothing more.
    support: full
"""
