# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floors of the library: who may import whom, and that neither Ansible nor a library is needed to import it."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils import infisical
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical import agent

ROOM = Path(str(infisical.__file__)).parent
FLOORS = {
    "errors": 1,
    "model": 1,
    "redact": 1,
    "files": 1,
    "dotenv": 1,
    "systemd": 1,
    "wire": 1,
    "transport": 2,
    "plan": 2,
    "schedule": 2,
    "state": 2,
    "keys": 2,
    "report": 2,
    "auth": 3,
    "vault": 3,
    "deliver": 3,
    "references": 3,
    "host": 2,
    "notify": 3,
    "gate": 4,
    "units": 3,
    "local": 4,
    "api": 4,
    "remote": 5,
    "preflight": 5,
    "config": 5,
    "sync": 6,
    "credentials": 6,
    "fleet": 2,
    "fleet_query": 3,
    "inquiry": 6,
    "metadata": 7,
    "cycle": 7,
    "cli": 8,
    "agent": 9,
    "__main__": 9,
}
MODULES = sorted(path.stem for path in ROOM.glob("*.py") if path.stem != "__init__")
THIRD_PARTY = {"wire": {"requests"}, "transport": {"requests"}, "keys": {"cryptography"}, "vault": {"cryptography"}}


def is_standard(name: str) -> bool:
    """Whether a module belongs to the Python that runs this; on 3.9, the oldest for the library, that says most."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin in (None, "built-in", "frozen"):
        return spec is not None and spec.origin is not None
    origin = Path(str(spec.origin)).resolve()
    return Path(sysconfig.get_path("stdlib")).resolve() in origin.parents and "site-packages" not in origin.parts


def imports(module: str) -> list[tuple[str, int, bool, bool]]:
    """(name, dots before it, inside a function, for type checking only) of every import of a module."""
    found: list[tuple[str, int, bool, bool]] = []

    def visit(node: ast.AST, in_function: bool, for_types: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, 0, in_function, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found.extend((name, node.level, in_function, for_types) for name in names)
        in_function = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for_types = for_types or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, in_function, for_types)

    visit(ast.parse((ROOM / f"{module}.py").read_text("utf-8")), False, False)
    return found


def rooms_below(module: str) -> set[str]:
    return {name.split(".")[0] for name, dots, _function, _types in imports(module) if dots}


def test_every_room_has_its_floor() -> None:
    assert set(FLOORS) <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_from_lower_floors_only(module: str) -> None:
    # On the lowest floor the rooms may know each other; that there is no circle is tested apart.
    allowed = {name for name, floor in FLOORS.items() if floor < FLOORS[module] or floor == FLOORS[module] == 1}
    assert rooms_below(module) <= allowed
    assert all(dots <= 1 for _name, dots, _function, _types in imports(module))


def test_a_host_gets_what_the_agent_needs_and_nothing_that_ansible_would_not_send_along() -> None:
    reached, left = {"__init__"}, {"agent"}
    while left:
        room = left.pop()
        reached.add(room)
        left |= rooms_below(room) - reached
    assert set(agent.ROOMS) == reached


def test_floors_are_documented() -> None:
    lines = (ROOM.parents[2] / "docs" / "architecture.md").read_text("utf-8").splitlines()
    rows = [line.split("|")[1:3] for line in lines if re.match(r"\| \d+ \|", line)]
    documented = {name: int(floor) for floor, rooms in rows for name in re.findall(r"`(\w+)\.py`", rooms)}
    assert documented == FLOORS


def test_there_is_no_circle() -> None:
    left = {module: rooms_below(module) for module in MODULES}
    while left:
        free = {module for module, needs in left.items() if not needs & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {module: needs for module, needs in left.items() if module not in free}


@pytest.mark.parametrize("module", MODULES)
def test_a_room_knows_nothing_of_ansible_and_guards_every_library(module: str) -> None:
    for name, dots, in_function, for_types in imports(module):
        top = name.split(".")[0]
        if dots or is_standard(top):
            continue
        assert top in THIRD_PARTY.get(module, set()), f"{module} imports {name}"
        assert in_function or for_types, f"{module} imports {name} outside a function"


def test_the_library_can_be_imported_where_no_library_is_installed(tmp_path: Path) -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1])\n" + "".join(
        f"from infisical import {module}\n" for module in MODULES
    )
    (tmp_path / "infisical").symlink_to(ROOM)
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
