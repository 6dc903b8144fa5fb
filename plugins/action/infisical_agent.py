# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_agent with the controller's options and credentials, which the host stores."""

from __future__ import annotations

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    hands_over = True
    ships_library = True
    texts = ("notify_webhook_url",)

    def connects(self, arguments: dict[str, Any]) -> bool:
        """Return whether the task needs the connection options. A task that removes the agent does not."""
        return arguments.get("state") != "absent"
