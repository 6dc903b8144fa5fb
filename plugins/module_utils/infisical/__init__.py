# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client library for Infisical that does not depend on Ansible; see docs/architecture.md for its rules.

Every module and the installed command import this file first. It rejects Python versions that cannot import the rest,
so this file itself must be valid in Python 3.6.
"""

import sys

if sys.version_info < (3, 9):  # noqa: UP036
    _PROBLEM = f"keyfleet.infisical needs Python 3.9 or later, and this is Python {sys.version.split()[0]}."
    if __name__ != "infisical":  # the package's name in the installed command; otherwise an Ansible module runs
        _HINT = "Set ansible_python_interpreter or, for the role, scheduled_sync_python to a later version."
        sys.stdout.write(
            f'{{"failed": true, "msg": "{_PROBLEM} {_HINT}", "problem": "{_PROBLEM}", "hint": "{_HINT}", '
            '"conclusion": "configuration", "http_status": null}\n'
        )
    raise SystemExit(_PROBLEM)
