# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_sync with the controller's options. A push marks cached listings as stale."""

from __future__ import annotations

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    vault = True
    mappings = ("secrets",)

    def is_writing(self, arguments: dict[str, Any]) -> bool:
        """Return whether the task writes to Infisical. Only a push does."""
        return bool(arguments.get("direction") == "push")
