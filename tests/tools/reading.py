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
# Markup that is invisible in the rendered manual.
MARKUP = [
    (re.compile(r":[a-z:]+:`([^`<]*?)\s*<[^`>]*>`"), r"\1"),
    (re.compile(r":[a-z:]+:`([^`]*)`"), r"\1"),
    (re.compile(r"\b[OVMPCBIEU]\(([^)]*)\)"), r"\1"),
    (re.compile(r"`+|\*\*|:(?=:$)"), ""),
]


def _plain(text: str) -> str:
    for pattern, replacement in MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


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
        print(f"{number:3}. [{item.kind}] {item.path}:{item.line}\n     {_plain(item.text)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
