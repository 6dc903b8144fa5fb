# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module infisical_identity with the controller's options."""

from __future__ import annotations

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identity_methods import METHOD_ROUTES
from ansible_collections.keyfleet.infisical.plugins.module_utils.project_identity import refuse_private_keys
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.action import InfisicalAction


class ActionModule(InfisicalAction):
    """See InfisicalAction. A private key never leaves the controller, because the module's arguments are logged."""

    def _check_arguments(self) -> dict[str, Any]:
        arguments = super()._check_arguments()
        for method in METHOD_ROUTES:
            refuse_private_keys(method, arguments.get(method))
        return arguments
