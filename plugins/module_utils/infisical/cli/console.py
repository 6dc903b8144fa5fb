# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of the command: results on standard output; warnings, progress and errors on standard error."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, Callable

from ..core.errors import InfisicalError, StorageFailed
from ..core.model import escape

_OPTION = r"\b([a-z_]+)(?:: ([a-z0-9_-]+))?\b"
_ADVICE = re.compile(
    r"\b(?:[Ss]et|[Rr]aise|[Gg]ive|[Uu]se|[Cc]heck|[Cc]orrect) "
    rf"(?:another |a different |a larger |a longer |one of )?{_OPTION}"
    rf"(?:(?:, (?:and |or )?| and | or )(?!set\b){_OPTION})*"
)
"""An option in advice, or several in a list. Elsewhere, the same word may not be an option."""


class Console:
    def __init__(self) -> None:
        self.json = self.verbose = self.check = False
        """The command-line options with the same names."""
        self.job = ""
        """The job that the current output is about, if the command works on several jobs."""
        self.flags: Mapping[str, str] = {}
        """The command-line spelling of each option name in messages."""
        self.report_part: Callable[[Console, Mapping[str, Any]], None] = lambda console, details: None
        """Print what the command did before an error, from the error's details."""
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._progress = False

    def print(self, text: str) -> None:
        write((text + "\n").encode("utf-8", "backslashreplace"))

    def print_json(self, value: Any, *, one_line: bool = False) -> None:
        import json

        form: Any = {"separators": (",", ":")} if one_line else {"indent": 2, "ensure_ascii": False}
        self.print(json.dumps(value, **form))

    def warn(self, text: str) -> None:
        self.print_error(f"warning: {text}")

    def debug(self, text: str) -> None:
        """With --verbose, print a message that is only of interest for debugging."""
        if self.verbose:
            self.print_error(text)

    def print_error(self, text: str) -> None:
        self.clear()
        if sys.stderr is not None:  # None if the caller has closed it
            job = f"{self.job}: " if self.job else ""
            sys.stderr.write(f"infisical-sync: {escape(job + self.translate(text))}\n")
            sys.stderr.flush()

    def report_error(self, error: InfisicalError) -> None:
        """Print an error and its hint, and what was done before the error. With --json, print them as data too."""
        self.clear()
        for text in error.details.get("warnings", ()):
            self.warn(text)
        if self.json:
            self.print_json(self.describe_failure(error))
        else:
            self.report_part(self, error.details)
        self.print_error(error.problem)
        if error.hint:
            self.print_error(f"hint: {error.hint}")

    def describe_failure(self, error: InfisicalError) -> dict[str, Any]:
        """Return an error as data, including the job's name if the command works on several jobs."""
        texts = {"message": self.translate(str(error)), "problem": error.problem, "hint": self.translate(error.hint)}
        job = {"job": self.job} if self.job else {}
        return {**job, **error.details, "failed": True, "conclusion": error.conclusion, **texts}

    def translate(self, text: str) -> str:
        """Return a hint that names options as in YAML, with the options in their command-line spelling."""
        return _ADVICE.sub(lambda advice: re.sub(_OPTION, self._translate_option, advice[0]), text)

    def _translate_option(self, found: re.Match[str]) -> str:
        name, value = found.groups()
        flag = self.flags.get(name)
        if flag is None:
            return found[0]
        if value in ("true", "false"):
            return flag if value == "true" else f"--no-{flag[2:]}"
        return flag + (f" {value}" if value else "")

    def log(self, text: str) -> None:
        """On a terminal, show progress on one line that is overwritten. Otherwise, print only explanations for long
        waits."""
        if self._terminal:
            width = max(20, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
            line = escape(text)
            sys.stderr.write("\r\x1b[K" + (line if len(line) <= width else line[: width - 1] + "…"))
            sys.stderr.flush()
            self._progress = True
        elif text.startswith("Waiting "):
            self.print_error(text)

    def clear(self) -> None:
        """Remove the progress line."""
        if self._progress:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._progress = False


def write(data: bytes) -> None:
    """Write to standard output and flush it. Raises BrokenPipeError, and StorageFailed for any other error."""
    if sys.stdout is None:
        raise StorageFailed("Standard output is closed, but the command must write to it.")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise StorageFailed(f"Standard output is incomplete: {error.strerror}.") from None


def discard_output() -> None:
    """Redirect standard output to /dev/null. Otherwise, the interpreter would report the error again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
