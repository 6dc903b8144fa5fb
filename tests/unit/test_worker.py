# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decision whether a module can run in the worker process, and the arguments that it gets there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("ansible")

from ansible_collections.keyfleet.infisical.plugins.plugin_utils import worker


def test_only_the_running_python_counts_as_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python3.11").symlink_to(sys.executable)
        (tmp_path / name / "bin" / "python").symlink_to("python3.11")
    (tmp_path / "linked").symlink_to(tmp_path / "one")
    (tmp_path / "one" / "bin" / "tool").write_text("#!/bin/sh")
    monkeypatch.setattr(sys, "executable", f"{tmp_path}/one/bin/python")

    same = ("", "auto", "auto_silent", "one/bin/python", "one/bin/python3.11", "linked/bin/python")
    another = ("other/bin/python", "one/bin/tool", "none/bin/python", "undefined")
    for name in (*same, *another):
        path = f"{tmp_path}/{name}" if "/" in name else name
        assert (name, worker._runs_this_python(path)) == (name, name in same)


def test_arguments_become_plain_data() -> None:
    class Text(str):
        """Stands for the types of Ansible."""

    plain = worker.as_plain({Text("a"): Text("b"), "list": (1, None), "keys": {1: True}})
    assert plain == {"a": "b", "list": [1, None], "keys": {"1": True}}
    assert {each.__class__ for each in (*plain, plain["a"])} == {str}
