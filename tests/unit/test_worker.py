# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decision whether a module can run in the worker process."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ansible")

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import worker


def test_only_the_running_python_counts_as_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python3.11").symlink_to(sys.executable)
        (tmp_path / name / "bin" / "python").symlink_to("python3.11")
    (tmp_path / "linked").symlink_to(tmp_path / "one")
    (tmp_path / "one" / "bin" / "tool").write_text("#!/bin/sh")
    monkeypatch.setattr(sys, "executable", f"{tmp_path}/one/bin/python")

    same = ("one/bin/python", "one/bin/python3.11", "linked/bin/python")
    another = ("other/bin/python", "one/bin/tool", "none/bin/python")
    for name in (*same, *another):
        assert (name, worker._is_this_python(f"{tmp_path}/{name}")) == (name, name in same)


class Parts(SimpleNamespace):
    """Stands for an action plugin and its parts, which Ansible makes in a worker process."""


@pytest.fixture
def action(monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setattr(worker.multiprocessing, "parent_process", Parts)
    monkeypatch.delenv("INFISICAL_IMPORT_MODULES", raising=False)
    return Parts(
        _task=Parts(environment=[], delegate_to=None),
        _connection=Parts(ansible_name="ansible.builtin.local", become=None),
        _templar=Parts(template=str),
        ships_library=False,
        shared=True,
        vault=True,
    )


def is_possible(action: Parts, **variables: Any) -> bool:
    return worker.is_possible(action, variables, wrap_async=False)


@pytest.mark.parametrize(("library", "need"), [("requests", "shared"), ("cryptography", "vault")])
def test_automatic_python_must_have_the_libraries(
    action: Parts, monkeypatch: pytest.MonkeyPatch, library: str, need: str
) -> None:
    automatic, same = {"ansible_python_interpreter": "auto"}, {"ansible_python_interpreter": sys.executable}
    assert is_possible(action, **automatic)
    monkeypatch.setitem(sys.modules, library, None)
    assert not is_possible(action, **automatic)
    assert is_possible(action, **same)  # the module reports the missing library
    setattr(action, need, False)
    assert is_possible(action, **automatic)


def test_unknown_parts_of_ansible_lead_to_a_process(action: Parts) -> None:
    assert is_possible(action)
    action._task.delegate_to = "localhost"
    assert is_possible(action, ansible_delegated_vars={"localhost": {}})
    assert not is_possible(action, ansible_delegated_vars={"other": {}})
    assert not is_possible(action)
    action._task.delegate_to = None
    del action._connection.become
    assert not is_possible(action)


def test_invalid_option_is_reported_in_any_case(action: Parts) -> None:
    action.ships_library = True
    assert not is_possible(action)
    with pytest.raises(ConfigurationError, match="must be true or false"):
        is_possible(action, infisical_import_modules="perhaps")
