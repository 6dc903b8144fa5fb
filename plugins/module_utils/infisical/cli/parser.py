# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: the definition of a command, its argparse parser, and the parsing of its arguments."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..core.errors import WrongUse
from ..core.options import BY_PLACE, OPTIONS, Option

if TYPE_CHECKING:
    from .console import Console
    from .session import Session

    Argument = tuple[tuple[str, ...], dict[str, Any]]


def argument(*names: str, **parameters: Any) -> Argument:
    """Return an argument of a command. The parameters are the same as for `ArgumentParser.add_argument`."""
    return names, parameters


class Command(NamedTuple):
    """A command with the options in the configuration sections `sections`."""

    words: tuple[str, ...]
    help: str
    run: Callable[[Session], int | None]
    """Run the command and return its exit code. None means 0."""
    sections: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()
    description: str = ""
    report_part: Callable[[Console, Mapping[str, Any]], None] = lambda console, details: None
    """Print what was done before an error, from the error's details."""
    each_job: bool = False
    """True if the command runs for each job of the agent unless a job is given."""
    combine: Callable[[Console, Sequence[Mapping[str, Any]], bool], None] | None = None
    """Print one report about all jobs, including failed jobs, from each job's JSON. The last parameter is true with
    `--json`."""
    program: bool = False
    """True if the words after -- are a program to run."""
    refusal: str = ""
    """The error message for an unknown argument that must not be quoted."""


NAME = argument("name", metavar="NAME", help="name of the entry in the vault")
CHECK = argument("--check", action="store_true", help="report what would change, and change nothing")
JSON = argument("--json", action="store_true", help="print the report as JSON")

_GROUPS = {"infisical": "server", "vault": "vault", "sync": "job", "push": "writing"}
_METAVARS = {"file": "PATH", "path": "PATH", "float": "NUMBER", "list": "A,B"}
_UNSET = " (an unset shell variable can be the cause)"

_TRANSLATIONS = (
    # argparse quotes the argument in the first two.
    (r"(?s)\Aargument (\S+): ignored explicit argument .*", r"\1 takes no value"),
    (r"(?s)\Aargument (\S+): invalid choice: .* \(choose from (.*)\)", r"\1 must be one of: \2"),
    (r"\Aargument (\S+): expected one argument", r"\1 needs a value"),
    (r"\Aargument (\S+): must not ", r"\1 must not "),
    (r"\Aargument (\S+): not allowed with argument (\S+)", r"\1 cannot be used together with \2"),
    (r"\Athe following arguments are required: (.*)", r"required but not given: \1"),
)
"""Patterns of argparse's error messages, each with a clearer message."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register("type", None, _check_filled)  # the type of every argument that names no other

    def error(self, message: str) -> Any:
        for pattern, words in _TRANSLATIONS:
            message = re.sub(pattern, words, message)
        raise WrongUse(f"{message}.", hint=f"See: {self.prog} --help")


def _check_filled(text: str) -> str:
    """Refuse an empty argument, because it is usually a mistake, such as an unset shell variable."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must not be empty{_UNSET}")
    return text


def _check_entries(text: str) -> str:
    """Refuse a list with an empty entry. Dropping the entry would change the list's meaning: an empty list may select
    everything."""
    if not all(part.strip() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"must not contain an empty entry{_UNSET}")
    return text


def list_options(command: Command) -> list[Option]:
    """Return the options that a command takes as arguments. If two options have the same spelling, the option from the
    later section is used: for example, `push` has its own `--state-file`."""
    options = (option for option in OPTIONS if option.long and option.section in command.sections)
    return list({option.long: option for option in options}.values())


def make_parser(command: Command) -> argparse.ArgumentParser:
    """Return the parser of one command. Creating the parsers of all commands would take longer than opening a vault."""
    name = "infisical-sync " + " ".join(command.words)
    positional = [f" {more['metavar']}" for names, more in command.arguments if not names[0].startswith("-")]
    parser = _Parser(
        prog=name,
        usage=f"{name} [options]{''.join(positional)}{' -- PROGRAM [ARGUMENT ...]' if command.program else ''}",
        description=f"{command.help[0].upper()}{command.help[1:]}. {command.description}".strip(),
        epilog="For other ways to set these options, and for exit codes, see: infisical-sync --help",
        allow_abbrev=False,
    )
    for names, more in command.arguments:
        parser.add_argument(*names, **more)
    parser.add_argument("--config", metavar="PATH", help="the configuration file")
    if "sync" not in command.sections:
        parser.add_argument("--job", dest="sync.job", metavar="TEXT", help="name of an agent job on this host")
    groups = {section: parser.add_argument_group(_GROUPS[section]) for section in command.sections}
    for option in list_options(command):
        _add_option(groups[option.section], option)
    return parser


def _add_option(parser: Any, option: Option) -> None:
    destination, help_text = ".".join(option.place), option.description.replace("%", "%%")
    if option.type == "bool":
        group = parser.add_mutually_exclusive_group()
        group.add_argument(option.long, dest=destination, action="store_const", const="true", help=help_text)
        group.add_argument("--no-" + option.long[2:], dest=destination, action="store_const", const="false",
                           help="the opposite" if option.default else argparse.SUPPRESS)  # fmt: skip
        return
    metavar = "|".join(option.choices) or _METAVARS.get(option.type, "TEXT")
    # The configuration converts the text of an option, whatever its source.
    check = _check_entries if option.type == "list" else None
    parser.add_argument(option.long, dest=destination, metavar=metavar, help=help_text, type=check)


def choose_command(commands: Sequence[Command], words: Sequence[str]) -> Command:
    """Return the command that the first words select. Raises WrongUse."""
    for command in commands:
        if tuple(words[: len(command.words)]) == command.words:
            return command
    problem = "unknown command; options follow the command." if words else "no command is given."
    group = [command for command in commands if words and command.words[0] == words[0]]
    known = ", ".join(" ".join(command.words) for command in group or commands)
    raise WrongUse(problem, hint=f"Use one of: {known}. See: infisical-sync --help")


def parse(command: Command, words: Sequence[str]) -> argparse.Namespace:
    """Return a command's arguments. `given` contains its options as {(section, name): text}, and `program` the words
    after --. Raises WrongUse, and SystemExit after --help."""
    words, program = list(words[len(command.words) :]), []
    if command.program and "--" in words:
        place = words.index("--")
        words, program = words[:place], words[place + 1 :]
    parser = make_parser(command)
    parsed, unknown = parser.parse_known_args(words)
    if command.program and not (program and program[0]):
        raise WrongUse(
            "no program is given.", hint="Put the program after two dashes: infisical-sync exec -- PROGRAM ARGUMENT"
        )
    if unknown:
        raise WrongUse(command.refusal or _explain_unknown(unknown), hint=f"See: {parser.prog} --help")
    parsed.program = program
    parsed.given = {
        place: value for place, value in ((tuple(name.split(".")), value) for name, value in vars(parsed).items())
        if place in BY_PLACE and value is not None
    }  # fmt: skip
    return parsed


def _explain_unknown(unknown: Iterable[str]) -> str:
    """Return an error that quotes only option names, because any other word may contain a secret value."""
    found = [re.match(r"--[a-z][a-z_-]*(?==|\Z)|-[A-Za-z]\Z", word) for word in unknown]
    names = [match[0] for match in found if match]
    if names:
        return f"unknown option: {', '.join(names)}."
    return "unexpected argument. An option such as --prune takes no value; its opposite is --no-prune."
