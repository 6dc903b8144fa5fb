# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets as environment variables: the text of a dotenv file, written and read, and the names that are refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from .errors import ConfigurationError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# No shell gives one of these a meaning. As a command's name, which is what a shell takes a line for whose name is no
# variable's, none of them can do harm.
_WRITABLE = re.compile(r"[A-Za-z0-9_.:/@%+,-]+\Z")

_LOADS_CODE = "it makes programs load code that it names"
_STARTS_CODE = "a shell runs what it names"
_SHELL_OWN = "it changes how a shell reads, or belongs to the shell itself"
_OWN = "infisical-sync takes its own configuration and credentials from it"

# Whoever may write a secret in Infisical is not thereby allowed to run code on every host that reads it. A name that
# ends in an asterisk stands for all that begin so.
_DANGEROUS = {
    "LD_*": _LOADS_CODE,
    "PYTHON*": _LOADS_CODE,
    "GCONV_PATH": _LOADS_CODE,
    "NODE_OPTIONS": _LOADS_CODE,
    "NODE_PATH": _LOADS_CODE,
    "PERL5DB": _LOADS_CODE,
    "PERL5LIB": _LOADS_CODE,
    "PERL5OPT": _LOADS_CODE,
    "PERLLIB": _LOADS_CODE,
    "RUBYLIB": _LOADS_CODE,
    "RUBYOPT": _LOADS_CODE,
    "JAVA_TOOL_OPTIONS": _LOADS_CODE,
    "PATH": "it decides which program a name starts",
    "BASH_ENV": _STARTS_CODE,
    "ENV": _STARTS_CODE,
    "PROMPT_COMMAND": _STARTS_CODE,
    "PS0": _STARTS_CODE,
    "PS1": _STARTS_CODE,
    "PS2": _STARTS_CODE,
    "PS4": _STARTS_CODE,
    "IFS": _SHELL_OWN,
    "SHELLOPTS": _SHELL_OWN,
    "BASHOPTS": _SHELL_OWN,
    "BASH_VERSINFO": _SHELL_OWN,
    "EUID": _SHELL_OWN,
    "PPID": _SHELL_OWN,
    "UID": _SHELL_OWN,
    "OPTIND": _SHELL_OWN,
    "_": _SHELL_OWN,
    "INFISICAL_*": _OWN,
    "CREDENTIALS_DIRECTORY": _OWN,
}
_EXACT = {name: reason for name, reason in _DANGEROUS.items() if not name.endswith("*")}
_PREFIXES = tuple((name[:-1], reason) for name, reason in _DANGEROUS.items() if name.endswith("*"))


def refused(names: Iterable[str], allowed: Collection[str] = ()) -> dict[str, str]:
    """The names among `names` that do not go into an environment, with the reason of each; those in `allowed` do."""
    found = {}
    for name in names:
        reason = "" if name in allowed else _problem(name)
        if reason:
            found[name] = reason
    return found


def _problem(name: str) -> str:
    if not _VARIABLE.match(name):
        return "it is no name of a variable, which has letters, digits and underscores only, and no digit first"
    by_prefix = (reason for prefix, reason in _PREFIXES if name.startswith(prefix))
    return _EXACT.get(name) or next(by_prefix, "")


def dump(values: Mapping[str, str]) -> str:
    """`values` ({name: value}) as a dotenv file, sorted by name, that `sh`, bash and systemd read back the same.

    Raises ConfigurationError, naming the secret, for what no such file can hold. Which names are safe to have in an
    environment is not decided here: see `refused`.
    """
    for name, value in values.items():
        if not _WRITABLE.match(name):
            raise ConfigurationError("names", f"'{name}' cannot be written as a variable. Export it as JSON.")
        check_value(name, value)
    # Within double quotes sh (POSIX, 2.2.3) and systemd's EnvironmentFile take a backslash away before these four and
    # before a newline, and keep it before anything else; so every backslash is doubled, and a newline stays as it is.
    return "".join(f'{name}="{_SPECIAL.sub(_ESCAPED, value)}"\n' for name, value in sorted(values.items()))


_SPECIAL = re.compile(r'(["\\$`])')
_ESCAPED = r"\\\1"


def check_value(name: str, value: str) -> None:
    """Raise ConfigurationError where a value cannot be in an environment; the message has the name only."""
    if "\0" in value:
        raise ConfigurationError(
            "names", f"the value of '{name}' holds a NUL byte, which no environment can. Export it as JSON."
        )


_BLANK = re.compile(r"[ \t\r\f\v]*(?:#[^\n]*)?(?:\n|\Z)")
_NAME = re.compile(r"[ \t\r\f\v]*(?:export[ \t]+)?([^\s=#'\"`$\\]+)[ \t]*=")
_QUOTE_FOLLOWS = re.compile(r"[ \t]*(?=[\"'])")
_PART = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"|' + r"'([^']*)'|\\([^\n])", re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\$`\n])')
_PLAIN = re.compile(r"[^\n]*")
_COMMENT = re.compile(r"[ \t]#")


def parse(text: str) -> dict[str, str]:
    """The values of a dotenv file, {name: value}: what `dump` writes, and what is common besides.

    That is `export` before a name, comments, values in single quotes or none. Nothing is expanded: `$` stands for
    itself. Within double quotes a backslash is taken away before `"`, `\\`, `$` and a backtick, and stands for itself
    before anything else, as in `sh`; together with a newline it is nothing. Raises ConfigurationError naming the
    line, never what stands there, for it may be a piece of a value.
    """
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    position = 1 if text.startswith("\ufeff") else 0
    while position < len(text):
        blank = _BLANK.match(text, position)
        if blank is not None:
            position = blank.end()
            continue
        line = text.count("\n", 0, position) + 1
        begin = _NAME.match(text, position)
        if begin is None:
            raise _wrong(line, "does not begin with a name and an equals sign")
        name = begin[1]
        if name in values:
            raise _wrong(line, f"sets '{name}' again, which line {lines[name]} has set")
        values[name], position = _value(text, begin.end(), line)
        lines[name] = line
    return values


def _value(text: str, position: int, line: int) -> tuple[str, int]:
    """The value that begins at `position`, and where the next line begins."""
    quoted = _QUOTE_FOLLOWS.match(text, position)
    if quoted is None:
        plain = _PLAIN.match(text, position)
        end = position if plain is None else plain.end()
        return _COMMENT.split(text[position:end], maxsplit=1)[0].strip(" \t\r\f\v"), end + 1
    position = quoted.end()
    parts = []
    while True:
        part = _PART.match(text, position)
        if part is None:
            break
        double, single, escaped = part.groups()
        parts.append(_ESCAPE.sub(_unescaped, double) if double is not None else single or escaped or "")
        position = part.end()
    end_of_line = _BLANK.match(text, position)
    if end_of_line is None:
        unclosed = text[position] in "\"'"
        raise _wrong(line, "begins a quote that is never closed" if unclosed else "has text behind the closing quote")
    return "".join(parts), end_of_line.end()


def _unescaped(found: re.Match[str]) -> str:
    return "" if found[1] == "\n" else found[1]


def _wrong(line: int, problem: str) -> ConfigurationError:
    return ConfigurationError("source_file", f"line {line} {problem}. Write it as NAME=\"value\", with a backslash "
                              "before every \" \\ $ and backtick in the value.")  # fmt: skip
