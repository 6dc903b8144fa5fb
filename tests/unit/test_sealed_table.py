# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table returns the right value, or reports that it is damaged, but never another value."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

import pytest

pytest.importorskip("ansible")

from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_table import Damaged, Table, build, make_key

TAG, OFFSET = 16, 8
PLACE = b"project and path"
# Prefixes of each other, other alphabets, and text that looks like JSON or a path.
NAMES = ["A", "AB", "ABC", "B", "a", "é", "Ünïcode ☃", '"', "\\", "/", "A/B", "a\nb", " ", "x" * 500]
ROWS = {name: f"value of {name}".encode() for name in NAMES} | {"EMPTY": b"", "LONG": bytes(100_000)}


def _table(path: Path, content: bytes, key: bytes, place: bytes = PLACE) -> Table:
    path.write_bytes(content)
    return Table(str(path), key, place)


def _read(
    path: Path, content: bytes, key: bytes, place: bytes = PLACE, rows: dict[str, bytes] = ROWS
) -> dict[str, bytes | None]:
    """Return the rows that a table returns one by one, and check the rows that it returns together."""
    found: dict[str, bytes | None] = {}
    try:
        table = _table(path, content, key, place)
    except Damaged:
        return found
    for name in rows:
        try:
            found[name] = table.get(name)
        except Damaged:
            continue
    with contextlib.suppress(Damaged):
        assert table.read_all() == rows
    return found


def test_table_returns_each_value(tmp_path: Path) -> None:
    key = make_key()
    table = _table(tmp_path / "t", build(ROWS, key, PLACE), key)
    assert {name: table.get(name) for name in ROWS} == ROWS == table.read_all()
    for name in ("", "AA", "ABCD", "C", "é ", "e\u0301", "\ud800"):
        assert table.get(name) is None


def test_empty_table_has_no_values(tmp_path: Path) -> None:
    key = make_key()
    table = _table(tmp_path / "t", build({}, key, PLACE), key)
    assert table.get("A") is None and table.read_all() == {}


def test_table_contains_no_text(tmp_path: Path) -> None:
    content = build(ROWS, make_key(), PLACE)
    for text in (b"value", "Ünïcode".encode(), b"xxxx", PLACE, b"EMPTY"):
        assert text not in content


@pytest.mark.parametrize("other", ["key", "place"])
def test_table_of_another_run_or_folder_returns_nothing(tmp_path: Path, other: str) -> None:
    key = make_key()
    content = build(ROWS, key, PLACE)
    changed = (make_key(), PLACE) if other == "key" else (key, b"project and path/other")
    assert not any(_read(tmp_path / "t", content, *changed).values())


def test_truncated_table_returns_no_wrong_value(tmp_path: Path) -> None:
    key = make_key()
    rows = {name: ROWS[name] for name in NAMES}
    content = build(rows, key, PLACE)
    for length in range(len(content)):
        found = _read(tmp_path / "t", content[:length], key, rows=rows)
        assert all(row == rows[name] for name, row in found.items()), length


def test_changed_byte_never_changes_a_value(tmp_path: Path) -> None:
    key = make_key()
    rows = {name: ROWS[name] for name in NAMES[:6]}
    content = build(rows, key, PLACE)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        found = _read(tmp_path / "t", bytes(changed), key, rows=rows)
        assert all(row == rows[name] for name, row in found.items()), place


def test_swapped_entries_return_no_wrong_value(tmp_path: Path) -> None:
    key = make_key()
    content = build(ROWS, key, PLACE)
    [start] = struct.unpack(">Q", content[8:16])
    for seed in range(300):
        choose = random.Random(seed)
        one, other = choose.sample(range(len(ROWS)), 2)
        changed = bytearray(content)
        # Swap the hashes, the beginnings of the values, or both.
        hashes, offsets = (start, TAG), (start + len(ROWS) * TAG, OFFSET)
        for begin, size in choose.choice([[hashes], [offsets], [hashes, offsets]]):
            first, second = begin + one * size, begin + other * size
            changed[first : first + size] = content[second : second + size]
            changed[second : second + size] = content[first : first + size]
        found = _read(tmp_path / "t", bytes(changed), key)
        assert all(row == ROWS[name] for name, row in found.items()), seed


@pytest.mark.parametrize("count", [0, 1, len(ROWS) - 1, len(ROWS) + 1, 2**40, 2**64 - 1])
def test_table_with_a_wrong_count_returns_no_wrong_value(tmp_path: Path, count: int) -> None:
    key = make_key()
    content = build(ROWS, key, PLACE)
    found = _read(tmp_path / "t", struct.pack(">Q", count) + content[8:], key)
    assert all(row == ROWS[name] for name, row in found.items())


def test_table_of_fifty_thousand_names_returns_each_value(tmp_path: Path) -> None:
    key = make_key()
    rows = {f"NAME_{number}": str(number).encode() for number in range(50_000)}
    table = _table(tmp_path / "t", build(rows, key, PLACE), key)
    assert all(table.get(name) == row for name, row in list(rows.items())[::7])
    assert table.get("NAME_") is None and table.get("NAME_50000") is None
    assert table.read_all() == rows


def test_replaced_file_does_not_affect_an_open_table(tmp_path: Path) -> None:
    key = make_key()
    table = _table(tmp_path / "t", build(ROWS, key, PLACE), key)
    (tmp_path / "new").write_bytes(build({"A": b"another"}, make_key(), PLACE))
    (tmp_path / "new").rename(tmp_path / "t")
    assert table.get("A") == ROWS["A"]
    with pytest.raises(Damaged):
        Table(str(tmp_path / "t"), key, PLACE).get("A")


def test_missing_file_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        Table(str(tmp_path / "t"), make_key(), PLACE)
