# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_agent_info, which needs no options for a connection."""

from __future__ import annotations

from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    shared = False
