# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible accepts the plays and tasks in the manual."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml
from integration.controller import Controller

MANUAL = Path(__file__).parents[2] / "docs/docsite/rst"


def test_ansible_accepts_all_examples(ansible: Controller) -> None:
    """Plays are checked as they are, and tasks in a play of their own."""
    plays: list[dict[str, Any]] = []
    for guide in sorted(MANUAL.glob("*.rst")):
        blocks = re.findall(r"^\.\. code-block:: yaml\n\n((?: +.*\n|\n)+)", guide.read_text("utf-8"), re.MULTILINE)
        for block in map(textwrap.dedent, blocks):
            example = yaml.safe_load(block)
            if not isinstance(example, list):
                continue
            if "hosts" in example[0]:
                plays += example
            elif "name" in example[0] and len(example[0]) > 1:
                plays.append({"hosts": "localhost", "tasks": example})
    assert len(plays) > 10
    ansible.play(yaml.safe_dump(plays), arguments=["--syntax-check"]).succeeded()
