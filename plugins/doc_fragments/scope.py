# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the options that say where secrets lie: project, environment and path."""

from __future__ import annotations

from ansible_collections.keyfleet.infisical.plugins.doc_fragments.auth import plugin_options


class ModuleDocFragment:
    """For modules `keyfleet.infisical.scope`, for plugins `keyfleet.infisical.scope.plugins`."""

    DOCUMENTATION = r"""
options:
  project_id:
    description:
      - The id of the project, as its settings page shows it. Not its name or slug.
    type: str
  environment:
    description:
      - The slug of the environment, such as V(dev) or V(prod).
      - There is no default, so that nobody writes to production by accident.
    type: str
  secret_path:
    description:
      - The path of the folder, beginning with a slash.
    type: str
    default: /
"""

    PLUGINS: str = plugin_options(DOCUMENTATION)
