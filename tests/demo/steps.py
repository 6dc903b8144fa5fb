# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs playbooks as a user would and compares their results with the expected results."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def play(step: str, playbook: str, *options: str, **variables: str) -> str:
    """Run a playbook with these environment variables and return its output. Exits if it fails."""
    print(f"\n== {step}", flush=True)
    quiet = {
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_FORCE_COLOR": "true" if sys.stdout.isatty() else "false",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    command, output = [str(program), playbook, *options], []
    with subprocess.Popen(
        command, env={**os.environ, **quiet, **variables}, text=True, stdout=subprocess.PIPE
    ) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            output.append(line)
    if process.returncode:
        sys.exit(f"demo: {step}: {playbook} failed with {process.returncode}; see its output above")
    return "".join(output)


def expect(step: str, what: str, reported: object, wanted: object) -> None:
    """Print a result, and exit if it is not the expected result."""
    if reported != wanted:
        sys.exit(f"demo: {step}: {what}: expected {wanted}, got {reported}")
    print(f"demo: {what}: {wanted}, as expected")


def login(url: str, seed: Mapping[str, list[dict[str, str]]]) -> dict[str, str]:
    """Return environment variables with the first identity and project of a seed."""
    identity, project = seed["identities"][0], seed["projects"][0]
    return {
        "INFISICAL_URL": url,
        "INFISICAL_CLIENT_ID": identity["client_id"],
        "INFISICAL_CLIENT_SECRET": identity["client_secret"],
        "INFISICAL_PROJECT_ID": project["id"],
    }


def count_changed(output: str) -> int:
    """Return the number of changed tasks on all hosts, from a playbook's recap."""
    found = re.findall(r"\bchanged=(\d+)", output)
    if not found:
        sys.exit("demo: the recap of the playbook lacks changed=N")
    return sum(map(int, found))
