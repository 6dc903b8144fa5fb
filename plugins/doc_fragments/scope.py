# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the options for the location of secrets: project, environment and path."""

from __future__ import annotations

from ansible_collections.keyfleet.infisical.plugins.doc_fragments.auth import plugin_options


class ModuleDocFragment:
    """For modules `keyfleet.infisical.scope`, for plugins `keyfleet.infisical.scope.plugins`."""

    DOCUMENTATION = r"""
options:
  project_id:
    description: The project's id, which is displayed on its settings page. The project's name or slug is not accepted.
    type: str
  environment:
    description:
      - The slug of the environment, such as V(dev) or V(prod).
      - There is no default, to prevent accidental changes in production.
    type: str
  secret_path:
    description: The path of the folder in Infisical, starting with a slash.
    type: str
    default: /
"""

    PLUGINS: str = plugin_options(DOCUMENTATION)
