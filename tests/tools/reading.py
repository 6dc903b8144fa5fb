# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints a random sample of the project's prose for a blind reading: reading.py SEED."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

from prose import Item, collect

SAMPLE = {"manual": 40, "option": 30, "message": 30, "test": 20, "docstring": 20}
FOLDERS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "roles", "plugins", "tests")
# Links are shown by their text, and code between single quotes, because readers see another font.
MARKUP = [
    (re.compile(r"#(?:module|lookup|filter|role|playbook)\b:"), " "),
    (re.compile(r"#(?:module|lookup|filter|role|playbook)\b"), ""),
    (re.compile(r":[a-z:]+:`([^`<]*?)\s*<[^`>]*>`"), r"\1"),
    (re.compile(r":[a-z:]+:`([^`]*)`"), r"\1"),
    (re.compile(r"\b[OVMPCER]V?\(([^)]*)\)|`+([^`]+)`+"), r"'\1\2'"),
    (re.compile(r"\*\*|:(?=:$)"), ""),
]
# The line above a description or docstring that names what it describes.
OWNER = {"option": re.compile(r"^( *)([\w.]+):( |$)"), "docstring": re.compile(r"^( *)((?:async )?(?:def|class) .*)")}


def _plain(text: str) -> str:
    for pattern, replacement in MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def _owner(item: Item) -> str:
    """Return the name of the option, or the signature of the function, that an item describes."""
    pattern = OWNER.get(item.kind)
    if pattern is None:
        return ""
    lines = Path(item.path).read_text("utf-8").splitlines()[: item.line]
    attribute = re.match(r" *([\w.]+)(: | = )", lines[-2])
    if item.kind == "docstring" and attribute:
        return f"{attribute[1]}: "  # the attribute or constant above
    indent = len(lines[-1]) - len(lines[-1].lstrip())
    for line in reversed(lines):
        match = pattern.match(line)
        if match and match[2] != "description" and (len(match[1]) < indent or item.kind == "docstring"):
            return f"{match[2].rstrip(':')}: "
    return ""


def sentences(item: Item) -> list[Item]:
    """Split a paragraph of the manual into sentences; omit headings and cells of a word or two."""
    found = re.finditer(r"\S.*?(?:[.!?:](?=\s+[A-Z`*])|$)", item.text, re.DOTALL)
    lines = [(match.group(), item.line + item.text.count("\n", 0, match.start())) for match in found]
    return [
        Item(item.path, line, item.kind, text)
        for text, line in lines
        if re.search(r"(\S+\s+){3}.*[.!?:]$", text, re.DOTALL)
    ]


def draw(items: list[Item], seed: str) -> list[Item]:
    """Return the sample for a seed: the number of items in SAMPLE for each kind, or all items of the kind."""
    chooser = random.Random(seed)
    chosen: list[Item] = []
    for kind, count in SAMPLE.items():
        # Take messages and docstrings from the product, and not from tests and tools.
        of_kind = [
            item for item in items if item.kind == kind and (kind == "test" or not item.path.startswith("tests"))
        ]
        if kind == "message":
            # Take whole sentences, because parts are hard to judge.
            of_kind = [item for item in of_kind if re.search(r"(\S+\s+){3}.*[.!?]$", item.text, re.DOTALL)]
        if kind == "manual":
            of_kind = [sentence for item in of_kind for sentence in sentences(item)]
        chosen += chooser.sample(of_kind, min(count, len(of_kind)))
    return chosen


def main(arguments: list[str]) -> int:
    """Print the numbered items of the sample with kind and place."""
    if len(arguments) != 1:
        sys.stderr.write("usage: reading.py SEED\n")
        return 2
    items = list(collect(tuple(folder for folder in FOLDERS if Path(folder).exists())))
    for number, item in enumerate(draw(items, arguments[0]), 1):
        print(f"{number:3}. [{item.kind}] {item.path}:{item.line}\n     {_owner(item)}{_plain(item.text)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
