# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exception that ends a make target with one line for the person who typed it."""

from __future__ import annotations

# The exit status of a target that cannot run on this machine.
UNAVAILABLE = 3


class Failure(Exception):
    """A target failed; the message is a remedy or the name of the failed step."""


class Unavailable(Failure):
    """A target cannot run on this machine; the message names the missing requirement."""
