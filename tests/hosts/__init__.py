# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real systemd hosts for tests, the demo and the bench: Debian booted by systemd-nspawn, reached over ssh.

Needs neither a container engine nor systemd on the machine itself. `python3 tests/hosts --help` shows the commands.
In a program with tests/ and tests/tools/ on its path:

    with Group(f"demo-{os.getpid()}") as group:
        inventory = group.up([HostSpec("web1", "bookworm"), HostSpec("web2", "trixie")], Process.of(os.getpid()))
        with DevServer(seed=SEED, arguments=("--host", CONTROLLER)) as server:
            ...  # json.dumps(inventory) is a file for ansible-playbook -i
"""
