# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The direction of imports between the packages, and that the library imports with the standard library alone."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils import infisical

LIBRARY = Path(str(infisical.__file__)).parent
# A package imports only from itself and from packages on its left.
PACKAGES = ("core", "vault", "login", "client", "identities", "sync", "agent", "fleet", "cli")
MODULES = sorted(str(path.relative_to(LIBRARY)) for path in LIBRARY.rglob("*.py"))
LIBRARIES = {"client": {"requests"}, "vault": {"cryptography"}, "login": {"cryptography"}}
LONGEST_FILE = 500


class Import(NamedTuple):
    """An imported module: its name with leading dots, and whether the file imports it outside of functions."""

    name: str
    at_once: bool


def imports(module: str) -> Iterator[Import]:
    def visit(node: ast.AST, at_once: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (Import("." * node.level + name, at_once) for name in names)
        at_once = at_once and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        at_once = at_once and not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_once)

    return visit(ast.parse((LIBRARY / module).read_text("utf-8")), True)


def is_standard(name: str) -> bool:
    """Return whether a module is in the standard library of the running Python."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin in (None, "built-in", "frozen"):
        return spec is not None and spec.origin is not None
    origin = Path(str(spec.origin)).resolve()
    return Path(sysconfig.get_path("stdlib")).resolve() in origin.parents and "site-packages" not in origin.parts


def test_list_of_packages_is_complete() -> None:
    assert {path.name for path in LIBRARY.iterdir() if path.name != "__pycache__"} == {"__init__.py", *PACKAGES}


@pytest.mark.parametrize("module", MODULES)
def test_package_imports_only_from_lower_layers(module: str) -> None:
    if module == "__init__.py":
        assert {name for name, _at_once in imports(module)} == {"sys"}
        return
    package = module.split("/")[0]
    allowed = PACKAGES[: PACKAGES.index(package)]
    for name, _at_once in imports(module):
        if name.startswith("."):
            assert not name.startswith("...")
            assert not name.startswith("..") or name[2:].split(".")[0] in allowed, f"{module} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_architecture_page_lists_all_files(package: str) -> None:
    page = (LIBRARY.parents[2] / "docs" / "architecture.md").read_text("utf-8")
    [row] = re.findall(rf"^\| `{package}/` \| (.*)", page, re.MULTILINE)
    files = {path.stem for path in (LIBRARY / package).glob("*.py")} - {"__init__"}
    assert set(re.findall(r"`(\w+)`", row)) == files


@pytest.mark.parametrize("module", MODULES)
def test_every_file_is_within_the_length_limit(module: str) -> None:
    assert len((LIBRARY / module).read_text("utf-8").splitlines()) <= LONGEST_FILE


def test_imports_are_not_circular() -> None:
    files = {module[:-3] for module in MODULES}
    left: dict[str, set[str]] = {}
    for module in MODULES:
        package = module.split("/")[0]
        names = (name for name, at_once in imports(module) if at_once)
        paths = {name[2:].replace(".", "/") if name.startswith("..") else f"{package}/{name[1:]}" for name in names}
        left[module[:-3]] = paths & files
    while left:
        free = {module for module, needs in left.items() if not needs & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {module: needs for module, needs in left.items() if module not in free}


@pytest.mark.parametrize("module", MODULES)
def test_third_party_packages_are_imported_only_in_functions(module: str) -> None:
    for name, at_once in imports(module):
        top = name.split(".")[0]
        if top and not is_standard(top):
            assert top in LIBRARIES.get(module.split("/")[0], set()), f"{module} imports {name}"
            assert not at_once, f"{module} imports {name} outside a function"


def test_library_can_be_imported_without_third_party_packages(tmp_path: Path) -> None:
    names = (module[:-3].replace("/", ".") for module in MODULES)
    program = "import sys; sys.path.insert(0, sys.argv[1])\n" + "".join(f"import infisical.{name}\n" for name in names)
    (tmp_path / "infisical").symlink_to(LIBRARY)
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
