# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks an artifact as Galaxy does on an upload, and checks its requirements with ansible-builder."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from environments import Environment
from failure import Failure


def check(used: Environment, built: Path, variables: Mapping[str, str]) -> None:
    """Raise Failure if galaxy-importer reports anything, or if the requirements cannot be installed."""
    with tempfile.TemporaryDirectory(prefix="keyfleet-galaxy-") as name:
        folder = Path(name)
        # Without this path, because ansible-galaxy would find the staged collection and skip the artifact.
        own = {**variables, "ANSIBLE_COLLECTIONS_PATH": name, "PYTHONPATH": ""}
        # The importer's ansible-lint run takes minutes, and make ansible-lint is stricter.
        own["GALAXY_IMPORTER_RUN_ANSIBLE_LINT"] = "false"
        output = _output([used.python, "-m", "galaxy_importer.main", built], folder, own)
        if re.search(r"^(WARNING|ERROR|CRITICAL): ", output, re.MULTILINE):
            raise Failure(f"galaxy-importer reports problems:\n{output}")
        print(output.splitlines()[-1])
        _check_requirements(used, built, folder, own)


def _check_requirements(used: Environment, built: Path, folder: Path, variables: Mapping[str, str]) -> None:
    """Install the requirements that ansible-builder finds in the collection and its execution environment file."""
    galaxy, builder = used.tool("ansible-galaxy"), used.tool("ansible-builder")
    _output([galaxy, "collection", "install", "--offline", "-p", folder, built], folder, variables)
    definition = folder / "ansible_collections/keyfleet/infisical/meta/execution-environment.yml"
    _output([builder, "create", "--file", definition, "--context", "context"], folder, variables)
    _output([builder, "introspect", "--write-pip", "scanned.txt", folder], folder, variables)
    _output([used.interpreter.executable, "-m", "venv", "fresh"], folder, variables)
    pip = ["fresh/bin/python", "-m", "pip", "install", "--disable-pip-version-check"]
    _output([*pip, "-r", "context/_build/requirements.txt", "-r", "scanned.txt"], folder, variables)
    _output(["fresh/bin/python", "-c", "import cryptography, requests"], folder, variables)
    print("the requirements that ansible-builder finds install in a fresh environment")


def _output(command: Sequence[str | Path], folder: Path, variables: Mapping[str, str]) -> str:
    """Run a program and return its output. Raises Failure with the output."""
    done = subprocess.run(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        words = " ".join(Path(word).name for word in command[:3])
        raise Failure(f"{words} … ended with {done.returncode}:\n{done.stdout}")
    return done.stdout
