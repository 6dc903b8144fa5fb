# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands for the vault: `vault set`, `get`, `list`, `delete`, `verify`, `rekey` and `keygen`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigurationError, EntryMissing
from ..core.model import escape, pluralize
from .console import write
from .parser import CHECK, JSON, NAME, Command, argument
from .sync_commands import decode, read_input

if TYPE_CHECKING:
    from ..core.model import Secret
    from ..vault.keys import KeySource
    from .session import Session

_COLUMNS = ("name", "version", "project", "environment", "path", "job", "since")
"""The columns of `vault list`: keys of `describe_entry`. With --json, `vault list` prints all keys."""


def describe_entry(name: str, secret: Secret) -> dict[str, Any]:
    return {
        "name": name,
        "key": secret.key,
        "version": secret.version,
        "project": secret.project_id,
        "environment": secret.environment,
        "path": secret.secret_path if secret.project_id else "",
        "job": secret.job,
        "since": secret.synced_at,
    }


def list_entries(session: Session) -> None:
    vault, _state = session.open_vault()
    rows = [describe_entry(name, secret) for name, secret in sorted(vault.read().secrets.items())]
    if session.console.json:
        session.console.print_json(rows)
        return
    table = [[column.upper() for column in _COLUMNS]]
    table += [[escape(str(row[column] or "-")) for column in _COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table)]
    for line in table:
        session.console.print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def get_entry(session: Session) -> None:
    vault, _state = session.open_vault()
    secret = vault.read().get(session.arguments.name)
    if secret is None:
        raise EntryMissing(session.arguments.name, vault.path)
    newline = b"\n" if sys.stdout is not None and sys.stdout.isatty() else b""
    write((secret.value or "").encode("utf-8") + newline)


def set_entry(session: Session) -> None:
    from ..vault.session import put

    value = read_value(session)
    vault, state = session.open_vault()
    change = put(vault, state, session.arguments.name, value, check=session.arguments.check).change
    report_entry(session, change.action if change else None)


def read_value(session: Session) -> str:
    """Return a value, byte for byte, from a file, from standard input, or typed on a terminal."""
    arguments = session.arguments
    if arguments.file:
        try:
            with open(os.path.expanduser(arguments.file), "rb") as stream:
                value = decode(stream.read(), "file")
        except OSError as error:
            raise ConfigurationError("file", f"'{arguments.file}' cannot be read: {error.strerror}.") from None
    elif sys.stdin is not None and sys.stdin.isatty():
        return prompt_value()
    else:
        value = decode(read_input(), "value")
    if arguments.strip_newline and value.endswith("\n"):
        value = value[: -2 if value.endswith("\r\n") else -1]
    return value


def prompt_value() -> str:
    """Return a value that the user types twice on the terminal. The value is not shown."""
    from getpass import getpass

    again: str | None
    try:
        value, again = getpass("Value: ", sys.stderr), getpass("Repeat the value: ", sys.stderr)
    except EOFError:
        value, again = "", None
    if value != again:
        raise ConfigurationError("value", "the two inputs differ. Nothing was changed.")
    return value


def report_entry(session: Session, action: str | None) -> None:
    name = session.arguments.name
    if session.console.json:
        session.console.print_json({"name": name, "changed": action is not None, "action": action})
    else:
        done = f"would {action}" if session.arguments.check else f"{action}d"
        session.console.print(f"{done if action else 'unchanged'}: {escape(name)}")


def delete_entry(session: Session) -> None:
    from ..vault.session import remove

    vault, state = session.open_vault()
    if remove(vault, state, session.arguments.name, check=session.arguments.check).change is None:
        raise EntryMissing(session.arguments.name, vault.path)
    report_entry(session, "delete")


def verify(session: Session) -> None:
    vault, _state = session.open_vault()
    contents = vault.verify()
    number = len(contents.secrets)
    if session.console.json:
        session.console.print_json({"vault": vault.path, "generation": contents.generation, "secrets": number})
    else:
        session.console.print(
            f"{vault.path} is intact: {pluralize(number, 'secret')}, generation {contents.generation}"
        )


def rekey(session: Session) -> None:
    from ..vault.session import rekey as seal

    arguments = session.arguments
    paths = {"key_file": arguments.new_key_file, "passphrase_file": arguments.new_passphrase_file}
    given = {name: os.path.abspath(os.path.expanduser(path)) for name, path in paths.items() if path}
    if not given and not arguments.data:
        raise ConfigurationError(
            "new_key_file", "not given.", hint="Set --new-key-file or --new-passphrase-file, --data to change the data "
            "key, or both. Create a key with: infisical-sync vault keygen --key-file PATH",
        )  # fmt: skip
    if len(given) > 1:
        raise ConfigurationError(
            "new_key_file", "--new-key-file and --new-passphrase-file cannot be used together.", hint="Set only one."
        )
    new = read_new_key(session, given) if given else session.get_key()
    vault, state = session.open_vault(new)
    if given and vault.is_opened_by(new):
        [name] = given
        raise ConfigurationError(
            f"new_{name}", f"the vault {vault.path} already has the key or passphrase in '{given[name]}'.",
            hint="Set a file with another key or passphrase. To change only the data key, set --data alone.",
        )  # fmt: skip
    contents = seal(vault, state, new, data=arguments.data)
    changed = " and ".join(["a new key"] * bool(given) + ["a new data key"] * arguments.data)
    session.console.print(f"{vault.path} has {changed}: generation {contents.generation}")
    if given:
        session.console.print_error(
            "Only the new key opens the vault now. Change the configuration before the next sync."
        )


def read_new_key(session: Session, given: Mapping[str, str]) -> KeySource:
    """Return the source of the new key. Errors name the option of `vault rekey`, not the option of the current
    key."""
    from ..vault.keys import SHORTEST_PASSPHRASE, check_new_key, key_source

    new = key_source(**given, credentials=session.config.credentials)
    try:
        new.secret()
        check_new_key(new)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"new_{next(iter(given))}", error.problem[len(f"{error.option}: ") :],
            hint="Create a key with: infisical-sync vault keygen --key-file PATH" if new.kind == "key" else
            f"Write a passphrase of at least {SHORTEST_PASSPHRASE} characters to the file, or set --new-key-file.",
        ) from None  # fmt: skip
    return new


def make_key(session: Session) -> None:
    from ..vault.keys import make_key_file

    path = session.require("vault", "key_file")
    if make_key_file(path):
        session.console.print(f"created: {path}")
        session.console.print_error("Keep a copy of the key elsewhere: without the key, nothing can open the vault.")
    else:
        session.console.print(f"unchanged: {path} already exists")


COMMANDS = (
    Command(
        ("vault", "set"), "store one entry in the vault", set_entry, ("vault",),
        (
            NAME,
            argument("--file", metavar="PATH", help="read the value from this file instead of standard input"),
            argument("--strip-newline", action="store_true", help="remove one newline at the end of the value"),
            CHECK,
            JSON,
        ),
        "The value is read byte for byte from standard input or --file, or typed on the terminal without echo. A value "
        "is never an argument, because other users can see arguments. Creates the vault if necessary.",
        refusal="unknown option or unexpected argument. A value is never an argument, because other users can see "
        "arguments; use standard input or --file.",
    ),
    Command(
        ("vault", "get"), "print only the value of one entry", get_entry, ("vault",), (NAME,),
        "On a terminal, a newline is added.",
    ),
    Command(
        ("vault", "list"), "list names and origins of all entries, never values", list_entries, ("vault",), (JSON,)
    ),
    Command(
        ("vault", "delete"), "delete one entry from the vault", delete_entry, ("vault",), (NAME, CHECK, JSON),
        "If the entry belongs to a job, the next sync restores it.",
    ),
    Command(("vault", "verify"), "check the vault and its previous generation", verify, ("vault",), (JSON,)),
    Command(
        ("vault", "rekey"), "encrypt the vault with another key", rekey, ("vault",),
        (
            argument("--new-key-file", metavar="PATH", help="file with the new key (see vault keygen)"),
            argument("--new-passphrase-file", metavar="PATH", help="file with the new passphrase"),
            argument("--data", action="store_true",
                     help="also change the key of the entries, and remove the previous generation"),
        ),
    ),
    Command(
        ("vault", "keygen"), "create a key file; an existing file is not changed", make_key,
        arguments=(argument("--key-file", dest="vault.key_file", metavar="PATH", help="the new file"),),
    ),
)  # fmt: skip
