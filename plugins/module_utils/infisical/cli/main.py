# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command infisical-sync: selects the subcommand and its configuration, runs the subcommand, and reports errors."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable

from ..agent.config import CONFIG_FILES, JOBS, SyncConfig, find_job, job_file, list_jobs
from ..core.errors import ConfigurationError, InfisicalError
from ..core.redact import describe_unexpected
from ..core.termination import unwind_on_signals
from ..core.version import VERSION
from . import agent_commands, export_commands, sync_commands, vault_commands
from .console import Console, discard_output
from .parser import Command, choose_command, list_options, parse
from .session import Session

if TYPE_CHECKING:
    import argparse

OK, INTERRUPTED, BROKEN_PIPE = 0, 130, 141

COMMANDS: tuple[Command, ...] = (
    *sync_commands.COMMANDS,
    *vault_commands.COMMANDS,
    *export_commands.COMMANDS,
    *agent_commands.COMMANDS,
)

CODES = """\
exit codes:
  0  success ("status" returns 0 even if the last sync failed)
  1  the server refused the request, or an unexpected error
  2  invalid usage or configuration, or a project, environment or path
     that does not exist
  3  login or permission: rejected, locked out, forbidden
  4  network: unreachable, certificate, rate limit, server error
  5  guard: too much would be deleted, names clash, values are hidden
  6  vault: missing, wrong key, damaged, unsafe permissions, disk full
  7  the vault is locked by another sync or writer
  8  only partly done: the message reports what was done and what was not
  9  the vault has no entry of that name
"exec" returns the exit code of its program; 127 if the program was not found,
126 if it cannot be run. 130 means interrupted, 141 that the output was closed."""

_HELP = """\
usage: infisical-sync COMMAND [options]
       infisical-sync COMMAND --help
       infisical-sync --version

Sync secrets from Infisical into an encrypted vault on this host.

commands:
{commands}

Sources of an option, in order of precedence:
  the command line
  the file given with --config
  environment variables, such as INFISICAL_KEY_FILE for --key-file,
    INFISICAL_SYNC_PRUNE for sync --prune, INFISICAL_PUSH_PRUNE for push --prune
  systemd credentials
  without --config: the file in INFISICAL_CONFIG, or the first of
    {files}
For a job of the agent (--job, or --config with a file in {jobs}),
the environment is ignored. A client secret, token or passphrase is never an
argument. The manual page describes all options in detail.

{codes}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, or by default the arguments of the process, and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    console = Console()
    return run_guarded(console, lambda: run(words, console))


def run_guarded(console: Console, work: Callable[[], int | None]) -> int:
    """Do the work, report any error, and return the exit code."""
    try:
        return work() or OK
    except BrokenPipeError:
        discard_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            console.print_error("interrupted")
        return INTERRUPTED
    except Exception as error:  # the error's text may contain a secret
        failure = error if isinstance(error, InfisicalError) else InfisicalError(describe_unexpected(error))
        # Even if reporting the error fails, return its exit code.
        with contextlib.suppress(OSError, InfisicalError):
            console.report_error(failure)
        return failure.exit_code


def run(words: list[str], console: Console) -> int | None:
    if words in (["--help"], ["-h"]):
        lines = "\n".join(f"  {' '.join(command.words):<14} {command.help}" for command in COMMANDS)
        console.print(_HELP.format(commands=lines, files="\n    ".join(CONFIG_FILES), jobs=JOBS, codes=CODES))
        return OK
    if words == ["--version"]:
        console.print(f"infisical-sync {VERSION}")
        return OK
    command = choose_command(COMMANDS, words)
    try:
        parsed = parse(command, words)
    except SystemExit:  # after --help of a command
        if sys.stdout is not None:
            sys.stdout.flush()
        return OK
    for name in ("json", "verbose", "check"):
        setattr(console, name, getattr(parsed, name, False))
    console.report_part = command.report_part
    configs = choose_configs(command, parsed)
    if len(configs) > 1 or command.combine:
        return run_for_each(command, configs, parsed, console)
    return run_with(command, configs[0], parsed, console)


def run_with(command: Command, path: str, parsed: argparse.Namespace, console: Console) -> int | None:
    config = SyncConfig(parsed.given, os.environ, path)
    if not config.job_file:  # a job's options are set by the role
        console.flags = {option.argument: option.long for option in list_options(command)}
    session = Session(config, parsed, console)
    with unwind_on_signals():
        try:
            return command.run(session)
        finally:
            session.close()


def choose_configs(command: Command, parsed: argparse.Namespace) -> list[str]:
    """Return the configuration file, or an empty path for the default file, or the files of all jobs.

    Raises ConfigurationError if the command works on a single job, but the host has several.
    """
    if parsed.config:
        return [os.path.expanduser(parsed.config)]
    job, jobs = parsed.given.get(("sync", "job"), ""), list_jobs()
    if ("vault", "path") in parsed.given:
        return [""]
    if job in jobs:
        return [job_file(job)]
    if any(os.environ.get(name, "").strip() for name in ("INFISICAL_CONFIG", "INFISICAL_VAULT_PATH")):
        return [""]
    own = not command.combine and any(os.access(os.path.expanduser(name), os.R_OK) for name in CONFIG_FILES)
    if job or not jobs or own:
        return [""]
    if len(jobs) > 1 and not (command.each_job or command.combine):
        raise ConfigurationError(
            "job", f"this host has several jobs: {', '.join(jobs)}.", hint="Select a job with --job."
        )
    return [job_file(job) for job in jobs]


def run_for_each(command: Command, configs: Sequence[str], parsed: argparse.Namespace, console: Console) -> int:
    """Run a command for each job, even after a job has failed, and return the highest exit code."""
    import json

    codes: list[int] = []
    found: list[dict[str, Any]] = []
    as_json, console.json = console.json, console.json or command.combine is not None
    for config in configs:
        if codes and not console.json:
            console.print("")
        console.job = find_job(config)
        code, text = run_in_child(command, config, parsed, console)
        codes.append(code)
        if console.json:
            try:
                found.append(json.loads(text))
            except ValueError:  # the process was killed
                found.append(
                    console.describe_failure(
                        InfisicalError(f"The command for this job ended without a report (exit code {code}).")
                    )
                )
    if command.combine:
        command.combine(console, found, as_json)
        return OK
    if console.json:
        console.print_json(found)
    return max(codes)


def run_in_child(command: Command, config: str, parsed: argparse.Namespace, console: Console) -> tuple[int, bytes]:
    """Run a command in its own process. Return its exit code and, with --json, its report.

    A separate process is necessary because root permanently switches to the vault's owner, who could not read the key
    of the next vault.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        if console.json:
            sys.stdout = os.fdopen(writer, "w", encoding="utf-8")
        os._exit(run_guarded(console, lambda: run_with(command, config, parsed, console)))
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (code if code >= 0 else InfisicalError.exit_code), text


if __name__ == "__main__":
    raise SystemExit(main())
