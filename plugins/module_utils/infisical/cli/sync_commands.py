# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands for syncing between Infisical and the vault: `sync`, `push` and `status`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigurationError
from ..core.model import escape
from ..core.times import format_duration, format_time
from .parser import CHECK, JSON, Command, argument

if TYPE_CHECKING:
    from ..identities.held import HeldIdentity
    from ..sync.outcome import Outcome
    from .console import Console
    from .session import Session


def sync(session: Session) -> None:
    from ..agent.cycle import report_cycle

    job, result_file, check = session.get("sync", "job"), session.get("agent", "result_file"), session.arguments.check
    if result_file and session.get("vault", "key_credential") and not session.config.credentials:
        # Do not write this error to the job's report, because the agent works.
        raise ConfigurationError(
            "credentials", f"only the service of the agent's job '{job}' can read the job's credentials.",
            hint=f"Run as root: systemctl start infisical-sync@{job}.service",
        )  # fmt: skip
    with report_cycle("" if check else result_file, job, os.environ) as reporter:
        try:
            reporter.outcome = pull(session)
        except ConfigurationError as error:
            raise error.reworded(*map(session.config.name_sources, (error.problem, error.hint))) from None
    report_outcome(session.console, reporter.outcome)


def pull(session: Session) -> Outcome:
    from ..agent.login_backoff import BackoffLogin
    from ..client.auth import Login
    from ..core.model import Settings
    from ..sync.job import Pull
    from ..sync.pull import pull as pull_into

    settings = Settings.from_options(session.get_server_options("sync", "environment"))
    project_ids = session.config.get(("sync", "project_ids"), ("infisical", "project_id")) or ()
    options = {
        **session.config.get_section("sync"),
        "environment": settings.environment,
        "secret_path": settings.secret_path,
        "project_ids": (project_ids,) if isinstance(project_ids, str) else project_ids,
    }
    login_file = session.get("agent", "login_file")
    api = session.connect(
        settings,
        tokens=(lambda transport: BackoffLogin(transport, login_file)) if login_file else Login,
        rate_limit_jitter=session.get("agent", "rate_limit_jitter"),
    )
    vault, state = session.open_vault()
    return pull_into(
        api, vault, state, Pull(**options), check=session.arguments.check, lock_wait=session.get("vault", "lock_wait"),
        log=session.console.log,
    )  # fmt: skip


def push(session: Session) -> None:
    from ..core.model import Settings
    from ..sync import push as library
    from ..sync.job import Push
    from ..vault.state import HMAC

    console, check = session.console, session.arguments.check
    settings = Settings.from_options(session.get_server_options("push", "project_id", "environment"))
    options = session.config.get_section("push")
    for name in ("project_id", "environment", "secret_path", "state_file", "state_hash"):
        options.pop(name, None)
    api = session.connect(settings)
    from_vault = session.arguments.source == "vault"
    # As root, read the source before switching to the vault's owner, who may be unable to read it.
    source = {} if from_vault else read_source(session.arguments.source)
    path, state_hash = session.get("push", "state_file"), session.get("push", "state_hash")
    vault = vault_state = None
    if from_vault or (path and state_hash == HMAC):
        vault, vault_state = session.open_vault()
        if from_vault:
            source = vault.read().values()
    outcome = library.push(
        api,
        settings.scope(),
        source,
        Push(**options),
        state=library.open_state(path, settings.scope(), state_hash=state_hash, vault=vault, warn=console.warn),
        vault_state=vault_state if from_vault else None,
        check=check,
        log=console.log,
    )
    report_outcome(console, outcome)


def read_source(source: str) -> dict[str, str]:
    from ..sync import push as library

    if source == "-":
        return library.parse_source(decode(read_input(), "from"), "standard input")
    return library.read_source(os.path.abspath(os.path.expanduser(source)), may_be_pipe=True)


def read_input() -> bytes:
    if sys.stdin is None:
        raise ConfigurationError("standard input", "is closed, but the command must read from it.")
    return sys.stdin.buffer.read()


def decode(raw: bytes, option: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(
            option, "must be UTF-8 text.", hint="Encode binary data, for example with base64."
        ) from None


def report_outcome(console: Console, outcome: Outcome) -> None:
    console.clear()
    for text in outcome.warnings:
        console.warn(text)
    result = outcome.as_result()
    if console.json:
        console.print_json(result)
        return
    print_result(console, result)
    for approval in outcome.approvals:
        console.print(f"waits for approval: {approval}")


def report_partial_outcome(console: Console, details: Mapping[str, Any]) -> None:
    """Print what was done before an error or, with --check, what would have been done."""
    if details.get("changed") and "counts" in details:
        print_result(console, details, "partly ")


def print_result(console: Console, result: Mapping[str, Any], partly: str = "") -> None:
    before, after = result["diff"]["before"], result["diff"]["after"]
    signs = {name: sign for key, sign in (("created", "+"), ("updated", "~"), ("deleted", "-")) for name in result[key]}
    for name in sorted(signs) if console.check or console.verbose else ():
        versions = [f"version {known[name]}" for known in (before, after) if known.get(name)]
        text = " -> ".join(dict.fromkeys(versions))
        console.print(f"{signs[name]} {escape(name)}" + (f" ({text})" if text else ""))
    verb = f"would {partly}{result['direction']}" if console.check else f"{partly}{result['direction']}ed"
    counts = ", ".join(f"{number} {word}" for word, number in result["counts"].items())
    generation = f" (generation {result['generation']})" if result.get("generation") else ""
    console.print(f"{verb}: {counts}{generation}")


def status(session: Session) -> None:
    from ..vault.session import status as describe

    vault, state = session.open_vault(tolerant=True)  # the state file is readable even if the key is lost
    found = describe(vault, state)
    found["job"] = found["job"] or session.config.get(("sync", "job"))  # if it has not synced yet
    result_file = session.get("agent", "result_file")
    if result_file:
        from ..agent.report import read

        found["last_cycle"] = read(result_file).as_result()
    if session.console.json:
        session.console.print_json(found)
        return
    for line in _format_status(found):
        session.console.print(line)
    if result_file:
        from ..agent.held_identity import read_note

        for line in _format_identity(read_note()):
            session.console.print(line)


def _format_identity(held: HeldIdentity) -> Iterator[str]:
    """Yield lines about the identity that the agent of this host uses."""
    if held.auth_method:
        yield f"login:       {held.auth_method}" + (f", identity {held.identity_id}" if held.identity_id else "")
    if held.expires_at:
        yield f"             the client secret expires at {format_time(held.expires_at)}"


def _format_status(found: Mapping[str, Any]) -> Iterator[str]:
    secrets = "unknown" if found.get("secrets") is None else found["secrets"]
    last, age = found.get("last_sync"), found.get("age_seconds")
    error, seen = found.get("last_error") or {}, found.get("environment_checked")
    yield f"vault:       {found['vault']}"
    if found.get("problem"):
        yield f"problem:     {escape(found['problem'])}"
    yield f"secrets:     {secrets} (generation {found['generation']})"
    yield f"projects:    {', '.join(escape(project) for project in found['projects']) or 'none'}"
    yield f"environment: {escape(found['environment'] or 'none')}" + (
        f" (last seen {escape(str(seen))})" if seen else ""
    )
    yield f"last sync:   {last or 'never'}" + ("" if age is None else f" ({format_duration(age)} ago)")
    yield "last error:  " + (f"{error.get('time')}: {escape(str(error.get('message')))}" if error else "none")
    cycle = found.get("last_cycle")
    if cycle and cycle["ended"]:
        message = f": {escape(cycle['message'])}" if cycle["message"] else ""
        yield f"last cycle:  {cycle['ended']}: {escape(cycle['conclusion'])}{message}"
    if cycle and cycle["next_login"]:
        yield f"next login:  {escape(cycle['next_login'])}"
    yield f"counts:      {found['pull_count']} pulled, {found['push_count']} pushed, {found['error_count']} errors"


_VERBOSE = argument("--verbose", "-v", action="store_true",
                    help="list what was created, updated and deleted; print debug messages")  # fmt: skip
_FROM = argument("--from", dest="source", required=True, metavar="FILE|-|vault",
                 help="a JSON object or dotenv file, - for standard input, or the word vault")  # fmt: skip

COMMANDS = (
    Command(
        ("sync",), "pull secrets from Infisical into the vault", sync, ("infisical", "vault", "sync"),
        (CHECK, JSON, _VERBOSE),
        "Pulls from one project, several, or all that the identity can see. All changes become one new generation of "
        "the vault, or nothing changes. If a project fails, the others are still pulled, and nothing is deleted.",
        report_partial_outcome,
    ),
    Command(
        ("push",), "write secrets from a file or the vault to Infisical", push, ("infisical", "vault", "push"),
        (_FROM, CHECK, JSON, _VERBOSE),
        "Makes a folder in Infisical match the source. After an error, run it again to complete the push.",
        report_partial_outcome,
    ),
    Command(
        ("status",), "report the content of the vault and the last sync", status, ("vault",), (JSON,),
        "Needs no network. The exit code is 0 even if the last sync failed.", each_job=True,
    ),
)  # fmt: skip
