# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real systemd hosts for tests, the demo and the bench: Debian booted by systemd-nspawn, reached over ssh.

No container engine, and no systemd on the machine itself. `python3 tests/hosts --help` says how to use it by hand.
"""
