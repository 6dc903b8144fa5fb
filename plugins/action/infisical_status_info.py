# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_status_info with the controller's options, and reports errors in these options."""

from __future__ import annotations

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    def build_failure(self, problem: dict[str, Any]) -> dict[str, Any]:
        """Return the error as a result that is not failed, like the module does."""
        return {
            **problem,
            "changed": False,
            "api_url": "",
            "reachable": problem["http_status"] is not None,
            "status_message": "",
            "login_accepted": False,
            "message": problem["msg"],
        }
