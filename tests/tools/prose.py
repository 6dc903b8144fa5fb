# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collects the project's prose, and checks its spelling and wording: prose.py check [FOLDER or FILE ...]."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

# The folders and files that make check reads.
CLEAN = (
    *("docs", "extensions", "meta", "playbooks", "plugins", "requirements", "roles", "tests"),
    *("changelogs/fragments", ".github", "galaxy.yml", "Makefile", "pyproject.toml"),
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"),
)
# Pattern, better wording. A blank in a pattern matches a line break too.
PATTERNS = [
    (r"(?<!there )\b(is|are|was|were) no (?!longer|more|less|later|earlier|fewer|better|worse|different)", "is not a"),
    (r"\bwhere (there|nothing|nobody|none|no one|neither)\b", "if, when"),
    (r"(?:(?<=^)|(?<=[.:;!?] ))Where (?!to\b|do\b|does\b|is\b|are\b|can\b)", "If, When"),
    (r"\b(told|tells|telling)\b(?!.{0,40}\bapart)|\btell (of|how|whether|that|who|what)\b", "report, return, show"),
    (r"\b(stands?|stood) (there|here|above|below|beside|behind|at|in(?! for))\b", "is, are"),
    (r"\b(gives?|gave) (no|none|nothing)\b|\b(has|have|had|holds?|knows?|takes?) none\b", "has no …, returns no …"),
    (r"\bthat of (the|a|an|its|their|each|this)\b|\bthose of\b", "repeat the noun"),
    (r"\bwhat (is|was|are) (wanted|meant|there|due|to)\b", "a noun: desired state, content, …"),
    (r"\b(is|are) (not to (?!the\b|a\b)|to be\b)", "must (not), will"),
    (r"\b(anew|all the same|of which|per cent|for ever)\b", "again; anyway; a new sentence; percent; forever"),
    (r"\b(bears?|bore|borne|mend(s|ed|ing)?)\b", "support, allow; fix"),
    (r"\b(is|are|was|were) asked\b(?! (for|to)\b)", "query, send a request to"),
    (r"\b(knows?|speaks?|spoke) of\b", "know, list, mention"),
    (r"\b(where it (did|does|would|is|was)|as it would( be)?)(?=[.,;])", "complete the clause"),
    (r"\b(it|they|that|file|vault|key|folder|directory) (is|are) there\b", "exists"),
    (r"\b(is|was|are) meant(?=[.,;:])|\bthat (is|was) meant\b", "intended"),
]
RULES = [(re.compile(pattern, re.IGNORECASE), better) for pattern, better in PATTERNS]
# (file, words) of correct English that a pattern finds.
ALLOWED: set[tuple[str, str]] = set()
SKIPPED = {".git", ".build", ".cache", "recordings", "__pycache__", "output", "prose.py"}
LICENCE = re.compile(r"Copyright \(c\)|GNU General Public|SPDX-License|noqa|type: ignore")
# File and name of a string that is YAML.
YAML = re.compile(r"doc_fragments/.* \w| (DOCUMENTATION|RETURN|EXAMPLES)$")
PROSE_KEYS = {"description", "short_description", "notes", "msg", "fail_msg", "success_msg", "details", "synopsis"}


@dataclass(frozen=True)
class Item:
    """A piece of prose: the file and line where it starts, its kind, and its text with the file's line breaks."""

    path: str
    line: int
    kind: str  # manual, option, task, message, test, docstring or comment
    text: str


def collect(folders: tuple[str, ...]) -> Iterator[Item]:
    """Yield the prose of all files below the folders, which may be single files too."""
    for start in map(Path, folders):
        if not start.exists():
            raise SystemExit(f"{start} does not exist")
        for path in [start, *sorted(start.rglob("*"))]:
            if path.suffix in READERS and not SKIPPED & set(path.parts):
                yield from READERS[path.suffix](str(path), path.read_text(encoding="utf-8"))


def _clean(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n"))


def _manual(name: str, text: str) -> Iterator[Item]:
    """Yield the paragraphs of reStructuredText or Markdown, without code."""
    block: list[str] = []
    start, column, skipped_from, fenced = 1, 0, -1, False
    for number, line in enumerate([*text.split("\n"), ""], 1):
        body = line.lstrip()
        indent = len(line) - len(body)
        if body.startswith("```"):
            fenced = not fenced
        hidden = fenced or body.startswith("```") or (skipped_from >= 0 and (not body or indent > skipped_from))
        if not hidden:
            skipped_from = -1
        directive = re.match(r"\.\. (\S+)::|\.\.(\s|$)", body) if not hidden else None
        bullet = re.match(r"(\* - |[*+-] |#\. |\d+\. |\| )+|", body)
        starts = bool(bullet and bullet.group())
        ends = hidden or directive or not body or body.startswith(":widths") or starts or (block and indent != column)
        if ends and block:
            yield Item(name, start, "manual", _clean("\n".join(block)))
            block = []
        if directive and directive.group(1) not in ("note", "warning", "list-table", "tip", "important"):
            skipped_from = indent
        if hidden or directive or not body or re.match(r":[a-z-]+:( |$)|(\W)\2*$", body):
            continue
        if not block:
            start, column = number, indent + (len(bullet.group()) if bullet else 0)
        block.append(body[bullet.end() if bullet else 0 :])
        if body.endswith("::"):
            skipped_from = indent


def _yaml(name: str, text: str, first: int = 1, comments: bool = True) -> Iterator[Item]:
    """Yield descriptions, messages, names of tasks and comments of YAML."""
    for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
        yield from _yaml_node(name, document, first, "")
    if comments:
        lines = enumerate(text.split("\n"), 1)
        yield from _comments(name, [(n, line.split("# ", 1)[1]) for n, line in lines if re.search(r"(^|\s)# ", line)])


def _yaml_node(name: str, node: yaml.Node | None, first: int, key: str) -> Iterator[Item]:
    if isinstance(node, yaml.MappingNode):
        for entry, value in node.value:
            yield from _yaml_node(name, value, first, str(entry.value))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _yaml_node(name, value, first, key)
    elif isinstance(node, yaml.ScalarNode) and " " in node.value:
        line = first + node.start_mark.line
        if key == "name":
            yield Item(name, line, "task", node.value)
        elif key in PROSE_KEYS or "changelogs" in name:
            yield Item(name, line, "message" if key.endswith("msg") else "option", _clean(node.value))


def _comments(name: str, lines: list[tuple[int, str]]) -> Iterator[Item]:
    """Yield comments on adjacent lines as one."""
    block: list[str] = []
    start = 0
    for number, text in [*lines, (-1, "")]:
        if LICENCE.search(text):
            continue
        if block and number != start + len(block):
            yield Item(name, start, "comment", _clean("\n".join(block)))
            block = []
        start = start if block else number
        block.append(text)


def _python(name: str, text: str) -> Iterator[Item]:
    """Yield docstrings, comments, names of tests, documentation in YAML, and strings that read as a sentence."""
    seen: set[ast.AST] = set()
    for node in ast.walk(ast.parse(text)):  # outer nodes first
        value = getattr(node, "value", None)
        target = ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else ""
        if isinstance(node, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str):
            seen.add(value)
            yield Item(name, node.lineno, "docstring", _clean(value.value))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            yield Item(name, node.lineno, "test", node.name)
        elif isinstance(value, ast.Constant) and YAML.search(f"{name} {target}"):
            seen.add(value)
            yield from _yaml(name, str(value.value), value.lineno, comments=False)
        elif isinstance(node, (ast.JoinedStr, ast.Constant)) and node not in seen:
            seen.update(ast.walk(node))
            sentence = _sentence(node)
            if len(re.findall(r"[a-z]{2,} ", sentence)) > 1 and not Path(name).name.startswith("test_"):
                yield Item(name, node.lineno, "message", sentence)
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    yield from _comments(name, [(t.start[0], t.string.lstrip("#: ")) for t in found if t.type == tokenize.COMMENT])


def _sentence(node: ast.AST) -> str:
    """Return the text of a string, with the expressions of an f-string in braces."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_sentence(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"{{{ast.unparse(node.value)}}}"
    return str(node.value) if isinstance(node, ast.Constant) else ""


READERS = {".rst": _manual, ".md": _manual, ".yml": _yaml, ".yaml": _yaml, ".py": _python}


def find_faults(item: Item) -> Iterator[str]:
    """Yield a line for each part of an item that a pattern forbids: place, the words, better wording."""
    text = item.text.replace("_" if item.kind == "test" else "\n", " ")
    for rule, better in RULES:
        for match in rule.finditer(text):
            words, line = match.group().strip(), item.line + item.text.count("\n", 0, match.start())
            if (item.path, words) not in ALLOWED:
                yield f"{item.path}:{line}: {item.kind}: '{words}' (better: {better})"
    if item.kind == "test" and len(item.text) > 60:
        yield f"{item.path}:{item.line}: test: {len(item.text)} characters (better: at most 60)"


def check(folders: tuple[str, ...]) -> int:
    """Print the faults of folders of the working directory and return the exit status."""
    faults = [fault for item in collect(folders) for fault in find_faults(item)]
    print("\n".join(faults), f"prose: {len(faults)} faults in {', '.join(folders)}", sep="\n")
    return subprocess.call([sys.executable, "-m", "codespell_lib", *folders]) or int(bool(faults))


if __name__ == "__main__":
    if sys.argv[1:2] != ["check"]:
        raise SystemExit("usage: prose.py check [FOLDER or FILE ...]")
    raise SystemExit(check(tuple(sys.argv[2:]) or CLEAN))
