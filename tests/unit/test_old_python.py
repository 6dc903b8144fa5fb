# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python that is too old gets one sentence, from every module and from the installed command."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils import infisical

pytest.importorskip("ansible", reason="modules need ansible-core")

LIBRARY = Path(str(infisical.__file__)).parent
COLLECTION = LIBRARY.parents[2]
FILES = sorted((COLLECTION / "plugins/modules").glob("*.py"))
MODULES = [path for path in FILES if "def main" in path.read_text("utf-8")]  # the others document an action
RUN = """
import runpy, sys
import ansible.module_utils.basic
sys.version_info, sys.version = (3, 8, 20, "final", 0), "3.8.20 (default)"
sys.path[:0] = sys.argv[1:2]
for path in sys.argv[2:]:
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as error:
        print(error, file=sys.stderr)
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_every_module_reports_the_required_python() -> None:
    ended = run(COLLECTION.parents[2], *MODULES)
    results = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(results) == len(MODULES) > 10, ended.stderr
    for result in results:
        assert result["failed"] and result["conclusion"] == "configuration" and result["http_status"] is None
        assert result["problem"] == "keyfleet.infisical needs Python 3.9 or later, and this is Python 3.8.20."
        assert result["msg"] == f"{result['problem']} {result['hint']}"


def test_command_reports_the_required_python(tmp_path: Path) -> None:
    (tmp_path / "infisical").symlink_to(LIBRARY)
    launcher = tmp_path / "launcher.py"
    launcher.write_text("from infisical.cli.main import main\n")
    ended = run(tmp_path, launcher)
    assert ended.stdout == ""
    assert ended.stderr == "keyfleet.infisical needs Python 3.9 or later, and this is Python 3.8.20.\n"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_python_3_8_can_parse_every_module(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), feature_version=(3, 8))


def test_python_3_6_can_parse_the_version_check() -> None:
    ast.parse((LIBRARY / "__init__.py").read_text("utf-8"), feature_version=(3, 6))
