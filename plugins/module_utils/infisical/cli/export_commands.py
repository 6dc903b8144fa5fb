# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that pass values to other programs: `vault export` and `exec`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.errors import ConfigurationError
from ..core.options import check_file_path
from .console import Console, write
from .parser import Command, argument

if TYPE_CHECKING:
    from ..vault.state import StateFile
    from ..vault.store import Vault
    from .session import Session

CANNOT_EXECUTE, COMMAND_NOT_FOUND = 126, 127
"""Exit codes of `exec`, the same as a shell's."""


def export(session: Session) -> None:
    from ..core import dotenv

    arguments = session.arguments
    path = arguments.output and check_file_path("output", arguments.output)
    vault, state = session.open_vault()
    values = select_values(vault, arguments.names)
    if arguments.format == "json":
        import json

        text = json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    else:
        check_names(values, arguments.allow, "Export all with --format json.")
        text = dotenv.dump(values) if arguments.format == "dotenv" else dotenv.dump_env_file(values)
    if path:
        write_export(session, path, text.encode("utf-8"), vault, state)
    else:
        write(text.encode("utf-8"))


def write_export(session: Session, path: str, data: bytes, vault: Vault, state: StateFile) -> None:
    """Write a file that only its owner can read. Refuse to replace any file that is not an export."""
    from ..core import files

    own = [*vault.own_files(), state.path, state.path + ".lock", *session.config.list_paths()]
    if any(files.is_same_place(path, other) for other in own):
        raise ConfigurationError(
            "output", f"'{path}' belongs to the vault or its configuration, and would be overwritten.",
            hint="Use another file.",
        )  # fmt: skip
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise ConfigurationError(
            "output", f"'{path}' is not a regular file, and would be replaced.",
            hint="Use the real path of the file, or redirect standard output to it.",
        )  # fmt: skip
    try:
        files.write_atomic(path, data)
    except OSError as error:
        raise files.explain(error, f"'{path}' cannot be written", path) from None


def run_program(session: Session) -> int:
    from ..core import dotenv

    vault, _state = session.open_vault()
    values = select_values(vault, session.arguments.names)
    hint = "Select other names with --names."
    check_names(values, session.arguments.allow, hint)
    for name, value in values.items():
        if not name or "=" in name or "\0" in name:
            raise ConfigurationError("names", f"'{name}' cannot be the name of an environment variable.", hint=hint)
        dotenv.check_value(name, value)
    # Use bytes, because the encoding of text would depend on the locale.
    environment = {
        name: value
        for name, value in os.environb.items()
        if not name.startswith(b"INFISICAL_") and name != b"CREDENTIALS_DIRECTORY"
    }
    environment.update((name.encode("utf-8"), value.encode("utf-8")) for name, value in values.items())
    return replace_process(session.arguments.program, environment, session.console)


def replace_process(program: Sequence[str], environment: Mapping[bytes, bytes], console: Console) -> int:
    """Replace this process with the program. Return an exit code if that fails."""
    import signal

    console.clear()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these; do not pass that on
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(program[0], list(program), dict(environment))  # noqa: S606 - that is what exec is for
    except (FileNotFoundError, NotADirectoryError):
        console.print_error(f"'{program[0]}' was not found.")
        return COMMAND_NOT_FOUND
    except OSError as error:
        console.print_error(f"'{program[0]}' cannot be run: {error.strerror}.")
        if error.errno == errno.E2BIG:
            console.print_error(
                "hint: Select fewer or smaller entries with --names; each entry can have up to 128 KiB."
            )
        return CANNOT_EXECUTE


def select_values(vault: Vault, patterns: Sequence[str]) -> dict[str, str]:
    """Return the values whose names match one of the patterns, or all values if there are no patterns. Raises
    ConfigurationError if a pattern does not match any name."""
    from ..core import dotenv

    values = vault.read().values()
    for pattern in patterns:
        if not dotenv.select(values, [pattern]):
            problem = f"no entry in {vault.path} matches '{pattern}'."
            raise ConfigurationError("names", problem, hint="To list the names, run: infisical-sync vault list")
    return dotenv.select(values, patterns)


def check_names(names: Iterable[str], allowed: Sequence[str], alternative: str) -> None:
    """Raise ConfigurationError if a name is unsafe for an environment variable and not in `allowed`. `alternative` is
    the last sentence of the hint."""
    from ..core import dotenv

    refused = sorted(dotenv.find_unsafe(names, allowed).items())
    if refused:
        reasons = "; ".join(f"'{name}', because {reason}" for name, reason in refused[:10])
        more = f"; and {len(refused) - 10} more" if len(refused) > 10 else ""
        raise ConfigurationError(
            "allow", f"refused as environment variables: {reasons}{more}.",
            hint=f"Allow each name with --allow NAME. {alternative}",
        )  # fmt: skip


_SELECTION = (
    argument("--names", action="append", default=[], metavar="PATTERN",
             help="only entries that match this pattern, such as 'DB_*'; can be repeated"),
    argument("--allow", action="append", default=[], metavar="NAME",
             help="allow a name that would otherwise be refused, such as PATH; can be repeated"),
)  # fmt: skip

COMMANDS = (
    Command(
        ("vault", "export"), "print values as dotenv, env_file or JSON", export, ("vault",),
        (
            argument("--format", choices=("dotenv", "env_file", "json"), default="dotenv", help="default dotenv"),
            argument("--output", metavar="PATH", help="write to this file (only its owner can read it)"),
            *_SELECTION,
        ),
        "The dotenv format has quotes, for sh and for EnvironmentFile= in systemd. The env_file format has no quotes, "
        "for docker run --env-file.",
    ),
    Command(
        ("exec",), "run a program with the secrets in its environment", run_program, ("vault",), _SELECTION,
        "The words after -- are the program and its arguments. INFISICAL_* and CREDENTIALS_DIRECTORY are removed from "
        "the program's environment.", program=True,
    ),
)  # fmt: skip
