# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The prose check finds forbidden wording in each kind of text, and accepts correct English."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture
def prose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # noqa: ANN201
    """The module of the tool; the working directory is an empty folder."""
    pytest.importorskip("yaml")  # modules run without PyYAML
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.chdir(tmp_path)
    import prose

    yield prose
    sys.modules.pop("prose")


def _faults(prose, name: str, text: str) -> list[str]:  # noqa: ANN001
    Path(name).write_text(text, encoding="utf-8")
    return [fault for item in prose.collect((name,)) for fault in prose.find_faults(item)]


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.py", 'raise ValueError(\n    f"{name} is no valid name"\n)\n', "a.py:2: message: 'is no"),
        ("a.py", '"""One.\n\nIt is no\nvalid name."""\n', "a.py:3: docstring: 'is no"),
        ("a.py", "x = 1\n# This is\n# no valid comment.\n", "a.py:2: comment: 'is no"),
        (
            "a.py",
            'DOCUMENTATION = r"""\noptions:\n  a:\n    description: It is no number.\n"""\n',
            "a.py:4: option: 'is no",
        ),
        ("test_a.py", "def test_name_is_no_number(): ...\n", "test_a.py:1: test: 'is no"),
        ("a.yml", "---\n- name: Error is told of\n", "a.yml:2: task: 'told"),
        ("a.rst", "Title\n=====\n\n* One.\n* Two, where\n  there is one.\n", "a.rst:5: manual: 'where there"),
        ("a.md", "One,\nmade anew.\n", "a.md:2: manual: 'anew"),
    ],
)
def test_prose_fault_is_reported_with_its_line(prose, name: str, text: str, place: str) -> None:  # noqa: ANN001
    assert [fault[: len(place)] for fault in _faults(prose, name, text)] == [place]


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no vault, and it is no longer needed.",
        "The folder where it is installed stands for itself.",
        "The two cannot be told apart by name.",
        "The bearer token is not the one that was given.",
    ],
)
def test_correct_english_has_no_faults(prose, sentence: str) -> None:  # noqa: ANN001
    assert _faults(prose, "a.rst", sentence) == []


def test_code_in_the_manual_is_not_checked(prose) -> None:  # noqa: ANN001
    assert _faults(prose, "a.rst", ".. code-block:: text\n\n   It is no prose.\n\nProse::\n\n   It is told.\n") == []


def test_test_name_over_60_characters_is_a_fault(prose) -> None:  # noqa: ANN001
    assert len(_faults(prose, "test_a.py", f"def test_{'a' * 60}(): ...\n")) == 1
