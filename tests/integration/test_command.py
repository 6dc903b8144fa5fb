# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command infisical-sync, run as a process: what it does, says and ends with, and what it never shows."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.keyfleet.infisical.plugins.module_utils import infisical
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.config import (
    CONFIG_FILES,
    CREDENTIALS,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli import main as cli
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli.parser import Command, make_parser
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import model
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import OPTIONS
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import STATE_FILE
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.store import Vault
from dev_server.client import DevServer
from integration.shop import PROFILES, PROJECT, SEED
from integration.tokens import REVOKE, check_revoked, living, log_in

ROOM = Path(str(infisical.__file__)).parent
CHECKOUT = ROOM.parents[2]
MANUAL = CHECKOUT / "docs" / "docsite" / "rst" / "infisical-sync.1.rst"
CANARY = "Canary7f3a9c21"
SECONDS = 60


class Host:
    """A host with the command, a vault's folder, and nothing of ours in its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vault = folder / "secrets.vault"
        self.key = folder / "vault.key"
        self.state = folder / STATE_FILE
        self.home = folder / "home"
        self.home.mkdir()
        self.module = f"{infisical.__name__}.cli.main"
        self.python = sys.executable
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOM.parents[5]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "INFISICAL_VAULT_PATH": str(self.vault),
            "INFISICAL_KEY_FILE": str(self.key),
        }

    def command(self, *arguments: object) -> list[str]:
        return [self.python, "-m", self.module, *map(str, arguments)]

    def start(self, *arguments: object, **more: Any) -> subprocess.Popen[bytes]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(self.command(*arguments), env=self.environment, **{**pipes, **more})

    def raw(self, *arguments: object, given: str | bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run the command, whatever it ends with."""
        return subprocess.run(
            self.command(*arguments),
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            env=self.environment,
            timeout=SECONDS,
            check=False,
        )

    def run(self, *arguments: object, given: str | bytes = b"", code: int = 0) -> str:
        """Run the command, which must end with `code`; its report, or where it fails its report and error."""
        ended = self.raw(*arguments, given=given)
        assert ended.returncode == code, (ended.stdout, ended.stderr)
        return (ended.stdout + (ended.stderr if code else b"")).decode()

    def data(self, *arguments: object, code: int = 0) -> Any:
        """What the command reports as JSON."""
        ended = self.raw(*arguments, "--json")
        assert ended.returncode == code, (ended.stdout, ended.stderr)
        return json.loads(ended.stdout)

    def values(self) -> dict[str, str]:
        """Everything in the vault."""
        return dict(json.loads(self.run("vault", "export", "--format", "json")))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.run("vault", "keygen")
    return made


@pytest.fixture
def client(host: Host, server: DevServer) -> Host:
    """A host that is set up to sync the root folder of the shop's project."""
    host.environment.update(
        INFISICAL_URL=server.url,
        INFISICAL_CLIENT_ID="admin-id",
        INFISICAL_CLIENT_SECRET="admin-client-secret",
        INFISICAL_PROJECT_ID=PROJECT,
        INFISICAL_ENVIRONMENT="dev",
        INFISICAL_SECRET_PATH="/app",
        INFISICAL_CONNECTION_WAIT="0.1",
        INFISICAL_SERVER_ERROR_WAIT="0.1",
        INFISICAL_RATE_LIMIT_WAIT="0.1",
    )
    return host


def config(host: Host, text: str, mode: int = 0o600) -> Path:
    """A configuration file where the command looks for one."""
    path = host.home / ".config" / "infisical-sync" / "config.ini"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


# Single entries


@pytest.mark.parametrize("value", ["plain", "", "\n", "two\nlines\n", "tab\tnul\0 é 🔑\r\n", " spaces ", "x" * 200_000])
def test_value_is_stored_byte_for_byte(host: Host, value: str) -> None:
    assert host.run("vault", "set", "NAME", given=value) == "created: NAME\n"
    assert host.raw("vault", "get", "NAME").stdout == value.encode()


def test_set_reads_a_file_and_strips_the_final_newline(host: Host) -> None:
    host.run("vault", "set", "A", "--strip-newline", given="value\n\n")
    host.run("vault", "set", "B", "--strip-newline", "--file", private(host.folder / "value", "windows\r\n"))
    assert host.values() == {"A": "value\n", "B": "windows"}


def test_set_and_delete_report_changes_and_check_makes_none(host: Host) -> None:
    host.run("vault", "set", "FIRST", given="1")
    before = host.vault.read_bytes()
    assert host.run("vault", "set", "A", "--check", given="1") == "would create: A\n"
    assert host.vault.read_bytes() == before
    assert host.run("vault", "set", "A", given="1") == "created: A\n"
    assert host.run("vault", "set", "A", "--check", given="1") == "unchanged: A\n"
    before = host.vault.read_bytes()
    assert host.run("vault", "set", "A", given="1") == "unchanged: A\n"
    assert host.run("vault", "delete", "A", "--check") == "would delete: A\n"
    assert host.vault.read_bytes() == before
    assert host.run("vault", "delete", "A") == "deleted: A\n"
    assert "Entry 'A' does not exist" in host.run("vault", "delete", "A", code=9)
    assert "Entry 'A' does not exist" in host.run("vault", "get", "A", code=9)
    assert host.values() == {"FIRST": "1"}


def test_value_as_an_argument_is_refused_and_not_quoted(host: Host) -> None:
    for arguments in (["NAME", CANARY], ["NAME", f"-{CANARY}"], ["NAME", f"--value={CANARY}"]):
        said = host.run("vault", "set", *arguments, given="x", code=2)
        assert "never an argument" in said
        assert CANARY not in said
    assert not host.vault.exists()


def test_binary_value_is_refused(host: Host) -> None:
    assert "UTF-8" in host.run("vault", "set", "A", given=b"\xff" + CANARY.encode(), code=2)
    assert not host.vault.exists()


def test_list_prints_names_and_origins_but_no_values(client: Host) -> None:
    client.run("vault", "set", "OWN", given=CANARY)
    client.run("sync")
    text = client.run("vault", "list")
    assert [line.split()[0] for line in text.splitlines()] == ["NAME", "DB_PASSWORD", "DB_USER", "OWN"]
    rows = client.data("vault", "list")
    assert [(row["name"], row["project"], row["environment"], row["path"], row["job"]) for row in rows] == [
        ("DB_PASSWORD", PROJECT, "dev", "/app", "default"),
        ("DB_USER", PROJECT, "dev", "/app", "default"),
        ("OWN", "", "", "", ""),
    ]
    assert CANARY not in text + json.dumps(rows)
    assert "seeded password" not in text + json.dumps(rows)


def test_terminal_output_has_a_newline_and_no_control_characters(host: Host) -> None:
    host.run("vault", "set", "A", given="value")
    host.run("vault", "set", "\x85\u202eB", given="x")
    main, side = pty.openpty()
    subprocess.run(host.command("vault", "get", "A"), stdout=side, env=host.environment, check=True)
    assert os.read(main, 100) == b"value\r\n"
    os.close(side)
    os.close(main)
    assert "\\x85\\u202eB" in host.run("vault", "list")


def test_value_is_prompted_twice_without_echo_on_a_terminal(host: Host) -> None:
    for second, code in (("other", 2), (CANARY, 0)):
        main, side = pty.openpty()
        running = host.start("vault", "set", "A", stdin=side, stderr=side, start_new_session=True)
        said = b""
        for answer in (CANARY, second):
            said += until(main, said.count(b": ") + 1)
            os.write(main, answer.encode() + b"\n")
        running.communicate(timeout=SECONDS)
        while select.select([main], [], [], 0)[0]:
            said += os.read(main, 1000)
        assert running.returncode == code, said
        assert CANARY.encode() not in said
        os.close(side)
        os.close(main)
    assert host.values() == {"A": CANARY}


def until(descriptor: int, prompts: int) -> bytes:
    """What a terminal shows until it shows one more prompt."""
    said = b""
    while b": " not in said:
        assert select.select([descriptor], [], [], SECONDS)[0], (said, prompts)
        said += os.read(descriptor, 1000)
    return said


# Keys


def test_keygen_keeps_an_existing_key(host: Host) -> None:
    before = host.key.read_bytes()
    assert stat.S_IMODE(host.key.stat().st_mode) == 0o600
    assert "already exists" in host.run("vault", "keygen")
    assert host.key.read_bytes() == before
    host.key.unlink()
    said = host.run("vault", "set", "A", given="x", code=2)
    assert f"infisical-sync vault keygen --key-file '{host.key}'" in said
    del host.environment["INFISICAL_KEY_FILE"]
    assert "--key-file" in host.run("vault", "get", "A", code=2)


def test_rekey_can_switch_to_a_passphrase_key_or_new_data_key(host: Host) -> None:
    host.run("vault", "set", "A", given="1")
    host.run("vault", "set", "A", given="2")
    phrase = private(host.folder / "phrase", "correct horse\n")
    host.run("vault", "rekey", "--new-passphrase-file", phrase)
    host.run("vault", "get", "A", code=6)
    del host.environment["INFISICAL_KEY_FILE"]
    assert host.run("vault", "get", "A", "--passphrase-file", phrase) == "2"
    host.run("vault", "keygen", "--key-file", host.folder / "new.key")
    host.run("vault", "rekey", "--passphrase-file", phrase, "--new-key-file", host.folder / "new.key", "--data")
    host.environment["INFISICAL_KEY_FILE"] = str(host.folder / "new.key")
    assert host.run("vault", "get", "A") == "2"
    assert not Path(f"{host.vault}.previous").exists()
    host.run("vault", "rekey", "--data")
    generation = host.data("vault", "verify")["generation"]
    assert generation == 5
    assert json.loads(host.state.read_text())["generation"] == generation
    assert "--new-key-file" in host.run("vault", "rekey", code=2)


def test_rekey_to_the_current_key_or_passphrase_is_refused(host: Host) -> None:
    host.run("vault", "set", "A", given="1")
    copy = private(host.folder / "copy.key", "")
    copy.write_bytes(host.key.read_bytes())
    phrase = private(host.folder / "phrase", "correct horse\n")
    before = host.vault.read_bytes()
    for more in ([], ["--data"]):
        said = host.run("vault", "rekey", "--new-key-file", copy, *more, code=2)
        assert f"new_key_file: the vault {host.vault} already has the key" in said and "--data alone" in said
    assert host.vault.read_bytes() == before
    assert "has a new data key: generation 2" in host.run("vault", "rekey", "--data")
    assert "has a new key and a new data key" in host.run("vault", "rekey", "--new-passphrase-file", phrase, "--data")
    del host.environment["INFISICAL_KEY_FILE"]
    host.environment["INFISICAL_PASSPHRASE_FILE"] = str(phrase)
    assert "new_passphrase_file: the vault" in host.run("vault", "rekey", "--new-passphrase-file", phrase, code=2)
    assert "has a new key: generation 4" in host.run("vault", "rekey", "--new-key-file", copy)


def test_error_about_the_new_key_names_the_new_option(host: Host) -> None:
    host.run("vault", "set", "A", given="1")
    before = host.vault.read_bytes()
    words = private(host.folder / "phrase", "correct horse\n")
    for phrase in (host.folder / "none", private(host.folder / "empty", ""), private(host.folder / "few", "short\n")):
        said = host.run("vault", "rekey", "--new-passphrase-file", phrase, code=2)
        assert "infisical-sync: new_passphrase_file: " in said and "set --new-key-file" in said
        assert "--key-file" not in said
    for key in (host.folder / "none", words):
        said = host.run("vault", "rekey", "--new-key-file", key, code=2)
        assert "infisical-sync: new_key_file: " in said and "restore" not in said
        assert "hint: Create a key with: infisical-sync vault keygen --key-file PATH" in said
    said = host.run("vault", "rekey", "--new-key-file", host.key, "--new-passphrase-file", words, code=2)
    assert "--new-key-file and --new-passphrase-file cannot be used together" in said and "key_credential" not in said
    assert host.vault.read_bytes() == before


def test_rekey_of_a_missing_vault_beside_another_is_reported(host: Host) -> None:
    host.run("vault", "set", "A", given="1")
    host.run("vault", "keygen", "--key-file", host.folder / "new.key")
    typo = host.folder / "typo.vault"
    for words in (("--data",), ("--new-key-file", host.folder / "new.key")):
        assert f"The vault {typo} does not exist." in host.run("vault", "rekey", "--vault", typo, *words, code=6)


def test_error_explains_why_a_vault_cannot_be_opened(host: Host) -> None:
    assert "does not exist" in host.run("vault", "get", "A", code=6)
    host.run("vault", "set", "A", given=CANARY)
    older = host.vault.read_bytes()
    host.run("vault", "set", "A", given="x")
    newest = host.vault.read_bytes()
    host.vault.write_bytes(older)
    assert "generation" in host.run("vault", "get", "A", code=6)
    host.vault.write_bytes(newest[:-1] + bytes([newest[-1] ^ 1]))
    assert CANARY not in host.run("vault", "verify", code=6)
    host.vault.write_bytes(newest)
    host.vault.chmod(0o644)
    assert "chmod" in host.run("vault", "get", "A", code=6)
    host.vault.chmod(0o600)
    host.run("vault", "keygen", "--key-file", host.folder / "wrong.key")
    host.run("vault", "get", "A", "--key-file", host.folder / "wrong.key", code=6)
    assert host.run("vault", "verify") == f"{host.vault} is intact: 1 secret, generation 2\n"


def test_set_writes_the_generation_to_the_state_file(host: Host) -> None:
    host.run("vault", "set", "A", given="1")
    assert json.loads(host.state.read_text())["generation"] == 1


# Export and exec


def test_exported_values_are_unchanged_in_a_shell_and_in_json(host: Host) -> None:
    values = {"A": "one", "B": 'two\nlines with "quotes" and $HOME `id` \\', "C": ""}
    for name, value in values.items():
        host.run("vault", "set", name, given=value)
    exported = host.folder / "env"
    host.run("vault", "export", "--output", exported)
    assert exported.read_text() == host.run("vault", "export")
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    said = subprocess.run(
        ["sh", "-c", '. "$1"; printf "%s|%s|%s" "$A" "$B" "$C"', "sh", exported], capture_output=True, check=True
    )
    assert said.stdout.decode() == "|".join(values.values())
    assert host.values() == values


@pytest.mark.parametrize("words", [["vault", "export"], ["exec", "--", "true"]])
def test_unsafe_names_are_refused_unless_allowed(host: Host, words: list[str]) -> None:
    for name in ("LD_PRELOAD", "PATH", "my-key", "FINE"):
        host.run("vault", "set", name, given=CANARY)
    said = host.run(*words, code=2)
    assert "'LD_PRELOAD'" in said
    assert "'PATH'" in said
    assert "'my-key'" in said
    assert "FINE" not in said
    assert CANARY not in said
    host.run(
        words[0], *words[1:2][: words[0] == "vault"], "--allow", "LD_PRELOAD", "--allow", "PATH", *words[1:], code=2
    )
    host.run("vault", "delete", "LD_PRELOAD")
    host.run("vault", "delete", "PATH")
    at = 2 if words[0] == "vault" else 1
    host.run(*words[:at], "--allow", "my-key", *words[at:])


def test_program_gets_the_secrets_but_not_our_configuration(host: Host) -> None:
    host.run("vault", "set", "DB_PASSWORD", given="two\nlines")
    host.environment.update(
        INFISICAL_CLIENT_SECRET=CANARY,
        INFISICAL_TOKEN=CANARY,
        INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET=CANARY,
        CREDENTIALS_DIRECTORY=str(host.folder / "none"),
        OTHER="kept",
    )
    shown = host.run("exec", "--", "env", "-0")
    environment = dict(entry.split("=", 1) for entry in shown.split("\0") if entry)
    assert environment["DB_PASSWORD"] == "two\nlines"
    assert environment["OTHER"] == "kept"
    assert not [name for name in environment if name.startswith("INFISICAL_") or name == "CREDENTIALS_DIRECTORY"]
    assert CANARY not in shown


def test_names_option_selects_entries_for_exec_and_export(host: Host) -> None:
    for name in ("DB_HOST", "DB_PASSWORD", "FLAG", "MAKEFLAGS"):
        host.run("vault", "set", name, given=f"{name} in clear")
    assert "Select other names with --names" in host.run("exec", "--", "true", code=2)
    shown = host.run("exec", "--names", "DB_*", "--names", "FLAG", "--", "env")
    assert "DB_HOST=DB_HOST in clear\n" in shown and "FLAG=" in shown and "MAKEFLAGS" not in shown
    assert "'MAKEFLAGS'" in host.run("exec", "--names", "*", "--", "true", code=2)
    assert "MAKEFLAGS=" in host.run("exec", "--names", "MAKE*", "--allow", "MAKEFLAGS", "--", "env")
    exported = host.run("vault", "export", "--names", "DB_*", "--format", "env_file")
    assert exported == "DB_HOST=DB_HOST in clear\nDB_PASSWORD=DB_PASSWORD in clear\n"
    assert host.run("vault", "export", "--names", "FLAG") == 'FLAG="FLAG in clear"\n'
    for words in (["exec", "--names", "NO_*", "--", "true"], ["vault", "export", "--names", "NO_*"]):
        assert "matches 'NO_*'" in host.run(*words, code=2)


def test_exec_returns_the_exit_code_of_its_program(host: Host) -> None:
    host.run("vault", "set", "A", given="x")
    assert host.run("exec", "--", "sh", "-c", 'printf "%s" "$A $1 $2"; exit 42', "sh", "--", "-v", code=42) == "x -- -v"
    assert "not found" in host.run("exec", "--", "no-such-program", code=127)
    assert "cannot be run" in host.run("exec", "--", host.key, code=126)
    assert "two dashes" in host.run("exec", "true", code=2)
    assert "two dashes" in host.run("exec", "--", code=2)
    # A program must not inherit that Python ignores this signal.
    ended = host.raw("exec", "--", "sh", "-c", "kill -PIPE $$; echo survived")
    assert ended.returncode == -signal.SIGPIPE


def test_nul_byte_is_accepted_only_in_json(host: Host) -> None:
    host.run("vault", "set", "A", given=f"{CANARY}\0")
    for words in (["vault", "export"], ["vault", "export", "--format", "env_file"], ["exec", "--", "true"]):
        said = host.run(*words, code=2)
        assert "NUL" in said
        assert CANARY not in said
    assert host.values() == {"A": f"{CANARY}\0"}


# Sync and push


@pytest.mark.parametrize("profile", PROFILES)
def test_sync_runs_as_planned_and_is_unchanged_the_second_time(client: Host, server: DevServer, profile: str) -> None:
    plan = client.run("sync", "--check")
    assert plan == (
        "+ DB_PASSWORD (version 1)\n+ DB_USER (version 1)\nwould pull: 2 created, 0 updated, 0 deleted, 0 unchanged\n"
    )
    assert not client.vault.exists()
    assert client.run("sync") == "pulled: 2 created, 0 updated, 0 deleted, 0 unchanged (generation 1)\n"
    assert client.values() == {"DB_PASSWORD": "seeded password", "DB_USER": "shop"}
    assert client.run("sync") == "pulled: 0 created, 0 updated, 0 deleted, 2 unchanged (generation 1)\n"
    server.put_secret(PROJECT, "dev", "/app", "DB_USER", "new")
    server.put_secret(PROJECT, "dev", "/app", "ADDED", "x")
    server.delete_secret(PROJECT, "dev", "/app", "DB_PASSWORD")
    before = client.vault.read_bytes()
    names = "+ ADDED (version 1)\n- DB_PASSWORD (version 1)\n~ DB_USER (version 1 -> version 2)\n"
    assert client.run("sync", "--prune", "--check").startswith(names + "would pull: 1 created, 1 updated, 1 deleted")
    assert client.vault.read_bytes() == before
    assert client.run("sync", "--prune", "-v").startswith(names + "pulled: 1 created, 1 updated, 1 deleted")
    assert client.values() == {"ADDED": "x", "DB_USER": "new"}


def test_sync_prints_its_report_as_json(client: Host) -> None:
    result = client.data("sync")
    assert result["changed"] is True
    assert result["counts"] == {"created": 2, "updated": 0, "deleted": 0, "unchanged": 0}
    assert result["created"] == ["DB_PASSWORD", "DB_USER"]
    assert result["generation"] == 1
    assert client.data("sync")["changed"] is False


@pytest.mark.parametrize("given", ["dotenv", "json", "stdin", "vault"])
def test_push_runs_as_planned_and_is_unchanged_the_second_time(client: Host, server: DevServer, given: str) -> None:
    values = {"ONE": "first", "TWO": "two\nlines $x"}
    text = json.dumps(values) if given in ("json", "stdin") else 'ONE="first"\nTWO="two\nlines \\$x"\n'
    source = {"stdin": "-", "vault": "vault"}.get(given, str(private(client.folder / "source", text)))
    typed = text if given == "stdin" else ""
    if given == "vault":
        for name, value in values.items():
            client.run("vault", "set", name, given=value)
    words = ["push", "--from", source]
    said = client.run(*words, "--check", given=typed)
    assert said == "+ ONE (version 1)\n+ TWO (version 1)\nwould push: 2 created, 0 updated, 0 deleted, 0 unchanged\n"
    assert "ONE" not in server.values(PROJECT, "dev", "/app")
    assert client.run(*words, given=typed) == "pushed: 2 created, 0 updated, 0 deleted, 0 unchanged\n"
    stored = server.values(PROJECT, "dev", "/app")
    assert {name: stored[name] for name in values} == {name: [value] for name, value in values.items()}
    assert client.run(*words, given=typed) == "pushed: 0 created, 0 updated, 0 deleted, 2 unchanged\n"


def test_sync_options_do_not_make_a_push_prune_or_normalize(client: Host, server: DevServer) -> None:
    client.environment["INFISICAL_SYNC_PRUNE"] = "true"
    client.run("push", "--from", "-", "--normalize-names", given="my-key=1\nDB_USER=shop\n")
    assert sorted(server.values(PROJECT, "dev", "/app")) == ["DB_PASSWORD", "DB_USER", "MY_KEY"]
    client.environment["INFISICAL_PUSH_PRUNE"] = "true"
    client.run("push", "--from", "-", given="MY_KEY=1\n")
    assert sorted(server.values(PROJECT, "dev", "/app")) == ["MY_KEY"]
    client.run("push", "--from", "-", "--no-prune", "--create-path", "--secret-path", "/new", given="A=1\n")
    assert server.values(PROJECT, "dev", "/new") == {"A": ["1"]}


def test_invalid_source_error_names_the_file_and_quotes_nothing(client: Host) -> None:
    assert "cannot be read" in client.run("push", "--from", client.folder / "none", code=2)
    for text in (f'A="{CANARY}', f'{{"A": "{CANARY}"', f'{{"A": {{"b": "{CANARY}"}}}}'):
        assert CANARY not in client.run("push", "--from", "-", given=text, code=2)


# Exit codes


def exit_codes() -> set[int]:
    found, left = set(), [InfisicalError]
    while left:
        kind = left.pop()
        found.add(kind.exit_code)
        left += kind.__subclasses__()
    return found


def test_help_explains_every_exit_code() -> None:
    assert all(f"\n  {code}  " in cli.CODES for code in {0, 9, *exit_codes()})


def test_every_kind_of_error_has_its_own_exit_code(
    client: Host, server: DevServer, seeded: Callable[..., None]
) -> None:
    client.run("sync")
    before = client.vault.read_bytes()
    assert "dev" in client.run("sync", "--environment", "mistyped", "--prune", code=2)
    assert "no-such-option" in client.run("sync", "--no-such-option", code=2)
    client.environment["INFISICAL_CLIENT_SECRET"] = CANARY
    assert CANARY not in client.run("sync", code=3)
    client.environment["INFISICAL_CLIENT_SECRET"] = "admin-client-secret"
    said = client.run("sync", "--url", "http://127.0.0.1:9", code=4)
    assert "Waiting 0.1 s" in said
    server.delete_secret(PROJECT, "dev", "/app", "DB_USER")
    server.delete_secret(PROJECT, "dev", "/app", "DB_PASSWORD")
    assert "set --allow-empty for this run" in client.run("sync", "--prune", code=5)
    assert client.vault.read_bytes() == before
    client.run("sync", "--key-file", private(client.folder / "wrong", "x" * 32), code=6)
    with open(f"{client.vault}.cycle.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another sync" in client.run("sync", "--lock-wait", "0.1", code=7)
    seeded()
    result = client.raw("sync", "--project-ids", f"{PROJECT},no-such-project", "--json")
    assert result.returncode == 8, result
    failed = json.loads(result.stdout)
    assert failed["failed"] is True
    assert list(failed["failed_projects"]) == ["no-such-project"]
    assert b"no-such-project" in result.stderr
    assert client.values() == {"DB_PASSWORD": "seeded password", "DB_USER": "shop"}


OF_COMMAND = {
    "push": ("--from", "-"), "vault set": ("NAME",), "vault get": ("NAME",), "vault delete": ("NAME",),
    "vault rekey": ("--data",), "exec": ("--", "true"),
}  # fmt: skip
"""What a command needs to get as far as its configuration file."""


def takes_json(command: Command) -> bool:
    return "--json" in make_parser(command).format_help()


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: " ".join(command.words))
def test_every_command_reports_a_failure_as_text_and_json(host: Host, command: Command) -> None:
    missing = host.folder / "missing.ini"
    words, rest = list(command.words), ("--config", missing, *OF_COMMAND.get(" ".join(command.words), ()))
    reports_jobs = command.words == ("metadata",)  # and what is wrong with each, which is not a failure
    said = host.run(*words, *rest, code=0 if reports_jobs else 2)
    assert f"'{missing}' cannot be read" in said and "Traceback" not in said and "Unexpected" not in said
    if takes_json(command):
        told = json.loads(host.raw(*words, "--json", *rest).stdout)
        assert f"'{missing}' cannot be read" in (told["jobs"][0]["problem"] if reports_jobs else told["message"])


REJECTED = {"status": 403, "method": "PATCH", "error": "PermissionDenied", "message": "You are not allowed to"}


@pytest.mark.parametrize(
    ("words", "identity", "source", "code", "report"),
    [
        (("push", "--from", "-"), "viewer", {"NEW": "x"}, 3, ""),
        (("push", "--from", "-"), "viewer", {"NEW": "x", "DB_USER": "y"}, 3, ""),
        (("push", "--from", "-", "--prune", "--max-delete-percent", "100"), "viewer", {"NEW": "x"}, 3, ""),
        (("push", "--from", "-"), "admin", {"NEW": "x", "DB_USER": "y"}, 8, "partly pushed: 1 created"),
        (("push", "--from", "-", "--verbose"), "admin", {"NEW": "x", "DB_USER": "y"}, 8, "+ NEW"),
        (("sync", "--project-ids", f"{PROJECT},no-such-project"), "admin", {}, 8, "partly pulled: 2 created"),
        (
            ("sync", "--project-ids", f"{PROJECT},no-such-project", "--check"),
            "admin",
            {},
            8,
            "would partly pull: 2 created",
        ),
        (("sync",), "no-access", {}, 3, ""),
    ],
)
def test_partial_sync_or_push_reports_the_changes_made(
    client: Host,
    server: DevServer,
    words: tuple[str, ...],
    identity: str,
    source: dict[str, str],
    code: int,
    report: str,
) -> None:
    client.environment["INFISICAL_CLIENT_ID"] = f"{identity}-id"
    client.environment["INFISICAL_CLIENT_SECRET"] = f"{identity}-client-secret"
    for more in ((), ("--json",)):
        server.seed(SEED)
        if identity == "admin":
            server.arm(**REJECTED, kind="status", times=10)
        client.vault.unlink(missing_ok=True)
        client.state.unlink(missing_ok=True)
        ended = client.raw(*words, *more, given=json.dumps(source))
        server.disarm()
        assert ended.returncode == code, ended
        assert b"Unexpected" not in ended.stderr and b"Traceback" not in ended.stderr
        if more:
            told = json.loads(ended.stdout)
            problem = told["message"].removesuffix(told["hint"]).strip()
            assert told["failed"] is True and problem in ended.stderr.decode() and told["hint"] in ended.stderr.decode()
            assert (told["conclusion"] == "partial") == (code == 8)
        else:
            assert report in ended.stdout.decode() and bool(ended.stdout) == bool(report)
            assert ("partly pulled" in ended.stdout.decode()) == client.vault.exists()


def test_unknown_command_error_lists_the_commands(host: Host) -> None:
    for words in ([], ["snyc"], ["vault"], ["vault", "show"], ["--config", "x", "sync"]):
        said = host.run(*words, code=2)
        assert "vault get" in said
        assert "--help" in said
    assert "options follow the command" in host.run("--config", "x", "sync", code=2)
    assert "VALUE" not in host.run("status", "--token=VALUE", code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sync --recursive true", "unexpected argument. An option such as --prune takes no value"),
        ("sync --recursive=true", "--recursive takes no value."),
        ("sync --url true true", "unexpected argument."),
        ("sync --chek", "unknown option: --chek."),
        ("sync --chek -x true", "unknown option: --chek, -x."),
        ("sync --url", "--url needs a value."),
        ("sync --url --check", "--url needs a value."),
        ("sync --recursive --no-recursive", "--no-recursive cannot be used together with --recursive."),
        ("status shop", "unexpected argument."),
        ("vault get", "required but not given: NAME."),
        ("vault get A B", "unexpected argument."),
        ("vault export --format yaml", "--format must be one of: "),
        ("exec true -- true", "unexpected argument."),
        ("push", "required but not given: --from."),
    ],
)
def test_invalid_command_line_error_explains_the_problem(host: Host, words: str, message: str) -> None:
    said = host.run(*words.split(), code=2)
    assert f"infisical-sync: {message}" in said and "hint: See: infisical-sync" in said


def test_help_lists_every_command_and_its_options(host: Host) -> None:
    top = host.run("--help")
    for command in cli.COMMANDS:
        assert f"  {' '.join(command.words)} " in top
        said = host.run(*command.words, "--help")
        assert f"usage: infisical-sync {' '.join(command.words)}" in said
        for section in command.sections:
            assert all(option.long in said for option in OPTIONS if option.section == section and option.long)
    assert "--token " not in host.run("sync", "--help")


def test_version_command_prints_the_collection_version(host: Host) -> None:
    galaxy = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text("utf-8")) if (CHECKOUT / "galaxy.yml").exists() else {}
    version = (
        galaxy.get("version") or json.loads((CHECKOUT / "MANIFEST.json").read_text())["collection_info"]["version"]
    )
    assert host.run("--version") == f"infisical-sync {version}\n"


def test_interrupted_command_ends_soon_and_changes_no_vault(client: Host, server: DevServer) -> None:
    client.run("sync")
    before = client.vault.read_bytes()
    server.clear_requests()
    server.arm("timeout", seconds=30)  # a delayed login would create a token during a later test
    # A shell that runs the tests in the background has made its children ignore the signal.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    running = client.start("sync", stdin=subprocess.DEVNULL, **heard)
    deadline = time.monotonic() + SECONDS
    while not server.requests("login") and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, said = running.communicate(timeout=10)
    assert (running.returncode, out, said) == (130, b"", b"infisical-sync: interrupted\n")
    assert client.vault.read_bytes() == before


@pytest.mark.parametrize(("words", "code"), [(["sync"], 0), (["sync", "--check"], 0), (["push", "--from", "-"], 0),
                                             (["sync", "--secret-path", "/missing"], 2)])  # fmt: skip
def test_command_leaves_no_token(client: Host, server: DevServer, words: list[str], code: int) -> None:
    client.run(*words, given="{}", code=code)
    check_revoked(server, 1)


def test_command_does_not_revoke_a_given_token(client: Host, server: DevServer) -> None:
    token = private(client.folder / "token", log_in(server))
    client.environment.update(INFISICAL_AUTH_METHOD="token", INFISICAL_TOKEN_FILE=str(token))
    client.run("sync")
    assert server.requests(REVOKE) == []
    assert living(server) == ["admin"]


def test_program_of_exec_starts_without_a_token(client: Host, server: DevServer) -> None:
    client.run("sync")
    server.clear_requests()
    server.revoke_tokens()
    client.run("exec", "--", "true")
    assert server.requests() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_command_leaves_no_token(client: Host, server: DevServer, number: signal.Signals) -> None:
    server.arm("delay", seconds=30, path="/secrets")

    def hear() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    running = client.start("sync", stdin=subprocess.DEVNULL, preexec_fn=hear)
    deadline = time.monotonic() + SECONDS
    while not server.requests("/secrets") and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(number)
    out, said = running.communicate(timeout=10)
    silent = number != signal.SIGINT
    assert (running.returncode, out) == (-number if silent else 130, b"")
    assert said == (b"" if silent else b"infisical-sync: interrupted\n")
    check_revoked(server, 1)


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_failed_revocation_is_printed_with_verbose(client: Host, server: DevServer, status: int) -> None:
    client.environment["INFISICAL_RATE_LIMIT_WAIT"] = client.environment["INFISICAL_SERVER_ERROR_WAIT"] = str(SECONDS)
    for words in ([], ["--verbose"]):
        server.arm("status", status=status, path=REVOKE, times=1)
        ended = client.raw("sync", *words)
        assert ended.returncode == 0
        assert (b"Could not revoke the access token" in ended.stderr) == bool(words)
    assert len(server.requests(REVOKE)) == 2


@pytest.mark.parametrize("command", [["set", "B"], ["delete", "A"]], ids=lambda words: words[0])
def test_missing_vault_directory_is_reported(host: Host, command: list[str]) -> None:
    host.environment["INFISICAL_VAULT_PATH"] = str(host.home / "gone" / "secrets.vault")
    said = host.run("vault", *command, given="value", code=6)
    assert f"'{host.home}/gone' is not a directory, or does not exist" in said
    assert "state_file" not in said


def test_closed_pipe_is_not_an_error_but_a_full_disk_is(host: Host) -> None:
    host.run("vault", "set", "A", given="x" * 1_000_000)
    running = host.start("vault", "get", "A", stdin=subprocess.DEVNULL)
    assert running.stdout is not None
    running.stdout.read(1)
    running.stdout.close()
    assert running.stderr is not None
    assert (running.stderr.read(), running.wait(SECONDS)) == (b"", 141)
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            host.command("vault", "get", "A"), stdout=full, stderr=subprocess.PIPE, env=host.environment, check=False
        )
    assert ended.returncode == 6
    assert b"No space left" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_unexpected_exception_shows_no_text_or_traceback(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_vault: Vault) -> None:
        raise RuntimeError(CANARY)

    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Vault, "read", fail)
    assert cli.main(["vault", "get", "A"]) == 1
    printed = capsys.readouterr()
    assert "Unexpected RuntimeError" in printed.err
    assert CANARY not in printed.out + printed.err
    assert "Traceback" not in printed.err


# Configuration


def test_option_sources_have_the_documented_precedence(host: Host) -> None:
    credentials = host.folder / "credentials"
    credentials.mkdir()
    shutil.copy(host.key, private(credentials / "infisical_vault_key", "", 0o600))
    host.run("vault", "set", "A", given="x")
    path = config(host, "[vault]\nkey_file = /nowhere/in/file\n")

    def used() -> str:
        return "no error" if host.raw("vault", "get", "A").returncode == 0 else host.run("vault", "get", "A", code=2)

    host.environment["INFISICAL_KEY_FILE"] = "/nowhere/in/environment"
    host.environment["CREDENTIALS_DIRECTORY"] = str(credentials)
    assert host.run("vault", "get", "A", "--key-file", host.key) == "x"
    assert "/nowhere/in/environment" in used()
    del host.environment["INFISICAL_KEY_FILE"]
    assert used() == "no error"
    del host.environment["CREDENTIALS_DIRECTORY"]
    assert "/nowhere/in/file" in used()
    elsewhere = private(host.folder / "other.ini", "[vault]\nkey_file = /nowhere/elsewhere\n")
    host.environment["INFISICAL_CONFIG"] = str(elsewhere)
    assert "/nowhere/elsewhere" in used()
    assert "/nowhere/in/file" in host.run("vault", "get", "A", "--config", path, code=2)


def test_sync_runs_with_only_a_file_and_systemd_credentials(client: Host) -> None:
    credentials = client.folder / "credentials"
    credentials.mkdir()
    private(credentials / "infisical_client_id", "admin-id\n", 0o400)
    private(credentials / "infisical_client_secret", "admin-client-secret\n", 0o400)
    (credentials / "infisical_vault_key").write_bytes(client.key.read_bytes())
    (credentials / "infisical_vault_key").chmod(0o400)
    url, vault = client.environment["INFISICAL_URL"], client.environment["INFISICAL_VAULT_PATH"]
    client.environment = {
        name: value for name, value in client.environment.items() if not name.startswith("INFISICAL_")
    }
    client.environment["CREDENTIALS_DIRECTORY"] = str(credentials)
    config(
        client,
        f"[infisical]\nurl = {url}\nenvironment = prod\n\n[vault]\npath = {vault}\n\n[sync]\n# of the shop\n"
        f"project_ids = {PROJECT},\nenvironment = dev\nsecret_path = /app\nkey_format = shop/{{key}}\nprune = yes\n",
        0o644,
    )
    assert client.run("sync").startswith("pulled: 2 created")
    assert sorted(client.values()) == ["shop/DB_PASSWORD", "shop/DB_USER"]
    assert client.run("sync", "--secret-path", "/", "--key-format", "{key}", "--max-delete-percent", "100").startswith(
        "pulled: 50 created, 0 updated, 2 deleted"
    )


@pytest.mark.root
def test_systemd_credentials_are_recognized_through_a_symlink(client: Host) -> None:
    credentials, link = client.folder / "credentials", client.folder / "link"
    credentials.mkdir()
    link.symlink_to(credentials)
    secret = private(credentials / "secret", "admin-client-secret\n", 0o440)
    (credentials / "key").write_bytes(client.key.read_bytes())
    (credentials / "key").chmod(0o440)
    del client.environment["INFISICAL_CLIENT_SECRET"]
    client.environment["INFISICAL_KEY_FILE"] = str(link / "key")
    words = ["sync", "--client-secret-file", link / "secret"]
    assert "chmod 600" in client.run(*words, code=2)
    for directory in (f"{credentials}", f"{link}", f"{credentials}/"):
        client.environment["CREDENTIALS_DIRECTORY"] = directory
        assert client.run(*words).startswith("pulled: ")
    secret.unlink()
    secret.symlink_to(private(client.folder / "elsewhere", "admin-client-secret\n"))
    assert "link" in client.run(*words, code=2)


def test_client_secret_or_token_is_read_from_a_private_file(client: Host) -> None:
    del client.environment["INFISICAL_CLIENT_SECRET"]
    secret = private(client.folder / "secret", "admin-client-secret\n")
    assert client.run("sync", "--client-secret-file", secret).startswith("pulled: 2 created")
    secret.chmod(0o644)
    assert "chmod 600" in client.run("sync", "--client-secret-file", secret, code=2)
    link = client.folder / "link"
    secret.chmod(0o600)
    link.symlink_to(secret)
    assert "link" in client.run("sync", "--client-secret-file", link, code=2)
    assert "does not exist" in client.run("sync", "--client-secret-file", client.folder / "none", code=2)
    token = private(client.folder / "token", "eyJmYWtl.fake.fake\n")
    said = client.run("sync", "--auth-method", "token", "--token-file", token, code=3)
    assert "fake" not in said


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (f"[infisical]\nclient_secret = {CANARY}\n", 0o644, "chmod 600"),
        (f"[infisical]\ntoken = {CANARY}\n", 0o640, "chmod 600"),
        (f"[vault]\npassphrase = {CANARY}\n", 0o604, "chmod 600"),
        ("[infisical]\nurl = https://x\n", 0o666, "chmod go-w"),
        ("[infisicall]\nurl = x\n", 0o600, "[infisical], [vault], [sync], [push]"),
        ("[infisical]\nurll = x\n", 0o600, "'urll'"),
        ("[DEFAULT]\nurl = x\n", 0o600, "[DEFAULT]"),
        (f"{CANARY}\n", 0o600, "[section]"),
        (f"[infisical]\n{CANARY}\n", 0o600, "line 2"),
        (f"[infisical]\nurl = x\nurl = {CANARY}\n", 0o600, "line 3"),
        ("[vault]\nkey_file = relative/key\n", 0o600, "absolute"),
        ("[vault]\nlock_wait = soon\n", 0o600, "lock_wait: must be a number."),
        ("[vault]\nlock_wait = nan\n", 0o600, "lock_wait"),
        ("[sync]\nprune = perhaps\n", 0o600, "prune: must be true or false."),
        ("[sync]\nprune_scope = all\n", 0o600, "prune_scope: must be one of job, vault (got 'all')."),
        ("[infisical]\nauth_method = magic\n", 0o600, "universal_auth, token"),
    ],
)
def test_invalid_configuration_file_error_explains_the_problem(client: Host, text: str, mode: int, words: str) -> None:
    config(client, text, mode)
    del client.environment["INFISICAL_KEY_FILE"]
    said = client.run("sync", "--key-file", client.key, code=2)
    assert words in said
    assert CANARY not in said


@pytest.mark.parametrize("name", ["URL", "CLIENT_ID", "CLIENT_SECRET", "ENVIRONMENT", "VAULT_PATH", "KEY_FILE"])
def test_missing_option_error_lists_the_ways_to_set_it(client: Host, name: str) -> None:
    del client.environment[f"INFISICAL_{name}"]
    said = client.run("sync", code=2)
    assert f"INFISICAL_{name}" in said
    assert "configuration file" in said
    assert "ansible" not in said


def test_our_variables_override_the_vendors_variables(client: Host) -> None:
    client.environment["INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET"] = "wrong"
    assert client.run("sync").startswith("pulled")
    client.environment["INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET"] = client.environment.pop("INFISICAL_CLIENT_SECRET")
    assert client.run("sync").startswith("pulled")


# Status


def test_status_is_complete_without_a_network(client: Host, server: DevServer) -> None:
    def offline(**more: str) -> Any:
        kept = dict(client.environment)
        for name in [name for name in kept if name not in ("INFISICAL_VAULT_PATH", "INFISICAL_KEY_FILE")]:
            if name.startswith("INFISICAL_"):
                del client.environment[name]
        try:
            return client.run("status"), client.data("status")
        finally:
            client.environment = kept

    text, found = offline()
    assert "last sync:   never" in text
    assert "does not exist" in text
    assert (found["secrets"], found["last_sync"], found["error_count"]) == (None, None, 0)
    client.run("sync")
    text, found = offline()
    assert "secrets:     2 (generation 1)" in text
    assert re.search(r"last sync:   2\d\d\d-\S+Z \(\d+ s ago\)", text)
    assert (found["secrets"], found["projects"], found["environment"]) == (2, [PROJECT], "dev")
    assert found["age_seconds"] < SECONDS
    client.run("sync", "--url", "http://127.0.0.1:9", code=4)
    text, found = offline()
    assert found["error_count"] == 1
    assert "127.0.0.1:9" in text
    assert "2 pulled, 0 pushed, 1 errors" in text


# What it never shows, and who it is


def test_reading_a_value_does_not_import_the_client(host: Host) -> None:
    host.run("vault", "set", "A", given="x")
    program = (
        f"import sys; from {host.module} import main; code = main(['vault', 'get', 'A']);"
        "print(code, *sorted(name.rsplit('.')[-1] for name in sys.modules if name.split('.')[0] == 'requests'"
        f" or name.startswith('{infisical.__name__}.')))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, env=host.environment, check=True)
    assert ended.stdout.decode().startswith("x0 ")
    loaded = set(ended.stdout.decode().split()[1:])
    assert "vault" in loaded
    assert not loaded & {"requests", "client", "sync"}


def test_package_can_be_copied_and_run_under_another_name(host: Host) -> None:
    host.run("vault", "set", "A", given="x")
    shutil.copytree(ROOM, host.folder / "lib" / "infisical", ignore=shutil.ignore_patterns("__pycache__"))
    host.environment["PYTHONPATH"] = str(host.folder / "lib")
    host.module = "infisical.cli.main"
    assert host.run("vault", "get", "A") == "x"
    host.run("vault", "get", "B", code=9)


def test_values_are_neither_in_process_arguments_nor_in_errors(client: Host, server: DevServer) -> None:
    server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", CANARY)
    private(client.folder / "secret", "admin-client-secret\n")
    del client.environment["INFISICAL_CLIENT_SECRET"]
    seen: list[bytes] = []
    for words, given in (
        (["sync", "-v", "--client-secret-file", client.folder / "secret"], b""),
        (["vault", "set", "MINE"], CANARY.encode()),
        (["vault", "list"], b""),
        (["vault", "verify"], b""),
        (["status", "--json"], b""),
        (["push", "--from", "vault", "--client-secret-file", client.folder / "secret", "--json"], b""),
        (["exec", "--", "sleep", "0.2"], b""),
    ):
        running = client.start(*words)
        assert running.stdin is not None
        process = Path(f"/proc/{running.pid}")
        for _look in range(40):
            with contextlib.suppress(ProcessLookupError):  # it may have ended
                seen.append((process / "cmdline").read_bytes())
                # A program that exec runs has the secrets there, which is what it is for.
                seen.append((process / "environ").read_bytes() if words[0] != "exec" else b"")
            time.sleep(0.005)
        out, error = running.communicate(given, timeout=SECONDS)
        assert running.returncode == 0, (words, error)
        seen += [out, error]
    for path in client.folder.rglob("*"):
        if path.is_file() and path.name != "secret":
            seen.append(path.read_bytes())
    assert client.values()["MINE"] == CANARY
    for text in seen:
        assert CANARY.encode() not in text
        assert b"admin-client-secret" not in text


def test_progress_is_printed_only_on_a_terminal(client: Host, server: DevServer) -> None:
    assert client.raw("sync").stderr == b""
    main, side = pty.openpty()
    subprocess.run(client.command("sync"), stdout=subprocess.DEVNULL, stderr=side, env=client.environment, check=True)
    said = os.read(main, 10_000)
    os.close(side)
    os.close(main)
    assert b"\r\x1b[KReading" in said
    assert said.endswith(b"\r\x1b[K")


NOBODY = 54321
"""A user without a name."""


@pytest.fixture
def owned(needs_root: None) -> Iterator[Path]:
    """A folder that belongs to NOBODY."""
    path = Path(tempfile.mkdtemp(prefix="owned_"))
    path.chmod(0o700)
    os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


def as_nobody(command: list[str], environment: Mapping[str, str]) -> int:
    """Whether NOBODY can run this, as an exit code."""
    try:
        return subprocess.run(
            command, env=environment, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False
        ).returncode
    except OSError:
        return 126


@pytest.fixture
def public(client: Host) -> Host:
    """The client with a Python and libraries that every user can read; this one's may be in root's home."""
    libraries = sysconfig.get_path("purelib")
    client.environment["PYTHONPATH"] += os.pathsep + libraries
    version = ".".join(map(str, sys.version_info[:2]))
    program = (
        f"import sys, requests, cryptography, {client.module}; assert '%d.%d' % sys.version_info[:2] == '{version}'"
    )
    for python in (sys.executable, f"/usr/bin/python{version}"):
        # Resolved, because a link that cannot be followed to its end would find another Python.
        resolved = os.path.realpath(python)
        if os.path.exists(resolved) and as_nobody([resolved, "-c", program], client.environment) == 0:
            client.python = resolved
            return client
    pytest.skip(f"no Python {version} here that all users can read")


def test_root_reads_the_key_and_switches_to_the_vaults_owner(public: Host, owned: Path) -> None:
    public.environment["INFISICAL_VAULT_PATH"] = str(owned / "secrets.vault")
    assert as_nobody(["cat", str(public.key)], public.environment) != 0
    assert public.run("sync").startswith("pulled: 2 created")
    public.run("vault", "set", "MINE", given="x")
    assert public.run("vault", "get", "MINE") == "x"
    assert public.run("exec", "--", "id", "-u") == f"{NOBODY}\n"
    assert public.run("exec", "--", "id", "-G") == f"{NOBODY}\n"
    found = {path.name: path.stat().st_uid for path in owned.iterdir()}
    assert {"secrets.vault", "secrets.vault.lock", STATE_FILE} <= set(found)
    assert set(found.values()) == {NOBODY}
    assert public.key.stat().st_uid == 0


def test_error_names_a_python_that_the_owner_cannot_read(client: Host, owned: Path) -> None:
    lib = owned.parent / f"{owned.name}_lib"
    shutil.copytree(ROOM, lib / "infisical", ignore=shutil.ignore_patterns("__pycache__"))
    try:
        lib.chmod(0o700)
        client.environment.update(PYTHONPATH=str(lib), INFISICAL_VAULT_PATH=str(owned / "secrets.vault"))
        client.module = "infisical.cli.main"
        assert "all users can read" in client.run("vault", "set", "A", given="x", code=2)
        assert list(owned.iterdir()) == []
    finally:
        shutil.rmtree(lib)


@pytest.mark.root
def test_root_stays_root_if_it_owns_the_vault(host: Host) -> None:
    host.run("vault", "set", "A", given="x")
    assert host.run("exec", "--", "id", "-u") == "0\n"


# What others may do to it


@pytest.mark.parametrize(
    "words",
    [
        ["vault", "set", "A", f"--strip-newline={CANARY}"],
        ["vault", "export", "--format", CANARY],
        ["vault", "get", "A", f"-p{CANARY}"],
        ["vault", "delete", "A", f"--{CANARY}"],
        ["sync", f"--client-secret={CANARY}"],
        ["sync", "--passphrase", CANARY],
        ["sync", f"--prune={CANARY}"],
        ["sync", "--prune", CANARY],
        ["sync", f"--url={CANARY}", "x"],
        ["sync", "x", CANARY],
        ["exec", CANARY, "--", "true"],
        ["vault", CANARY],
        [CANARY],
    ],
)
def test_error_never_quotes_a_value_from_the_command_line(host: Host, words: list[str]) -> None:
    assert CANARY not in host.run(*words, code=2)


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        (["vault", "list"], ">&-", 6),
        (["vault", "get", "A"], ">&-", 6),
        (["vault", "get", "--help"], ">&-", 0),
        (["vault", "set", "B"], "<&-", 2),
        (["push", "--from", "-"], "<&-", 2),
        (["vault", "get", "NONE"], "2>&-", 9),
    ],
)
def test_closed_standard_stream_causes_no_traceback(client: Host, words: list[str], closed: str, code: int) -> None:
    client.run("vault", "set", "A", given="x")
    line = f'exec "$@" {closed}'
    ended = subprocess.run(
        ["sh", "-c", line, "sh", *client.command(*words)],
        env=client.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert "Unexpected" not in ended.stderr


def test_program_gets_exact_values_with_any_locale(host: Host) -> None:
    host.run("vault", "set", "A", given="é漢🔑")
    host.environment.update(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", OURS="kept")
    ended = host.raw("exec", "--", "sh", "-c", 'printf "%s %s" "$A" "$OURS"')
    assert ended.stdout.decode() == "é漢🔑 kept"
    assert host.raw("vault", "get", "A").stdout.decode() == "é漢🔑"


def test_exec_with_an_empty_program_name_is_refused(host: Host) -> None:
    host.run("vault", "set", "A", given="x")
    assert "exec -- PROGRAM" in host.run("exec", "--", "", code=2)


def test_configuration_file_of_another_user_is_refused(host: Host) -> None:
    host.run("vault", "set", "A", given="x")
    path = config(host, f"[vault]\npath = {host.vault}\n", 0o620)
    assert "chmod go-w" in host.run("status", code=2)
    path.chmod(0o644)
    host.run("status")
    if os.geteuid() == 0:
        os.chown(path, 54321, -1)
        assert "belongs to user 54321" in host.run("status", code=2)


def test_dev_null_is_an_empty_configuration(host: Host) -> None:
    host.run("vault", "set", "A", given="x")
    config(host, "[vault]\nlock_wait = wrong\n")
    host.run("vault", "verify", code=2)
    host.run("vault", "verify", "--config", "/dev/null")


def test_byte_order_mark_in_the_configuration_file_is_ignored(host: Host) -> None:
    config(host, f"\ufeff[vault]\npath = {host.vault}\n")
    del host.environment["INFISICAL_VAULT_PATH"]
    host.run("vault", "set", "A", given="x")
    assert host.vault.exists()


def test_all_projects_overrides_a_configured_project(client: Host, server: DevServer) -> None:
    document = {**SEED, "projects": [*SEED["projects"], {**SEED["projects"][0], "id": "second", "slug": "second"}]}
    document["identities"] = [
        {**one, "permissions": {PROJECT: "admin", "second": "admin"}} if one["name"] == "admin" else one
        for one in SEED["identities"]
    ]
    server.seed(document)
    assert client.data("sync", "--check")["projects"] == [PROJECT]
    assert sorted(client.data("sync", "--check", "--project-ids", "all")["projects"]) == ["second", PROJECT]


def test_push_takes_the_hash_key_from_the_vault(client: Host) -> None:
    client.run("vault", "set", "UNRELATED", given="x")
    source = private(client.folder / "source.env", "PUSHED=value\n")
    state = client.folder / "pushed.json"
    words = ["push", "--from", source, "--state-file", state, "--state-hash", "hmac-sha256"]
    assert "1 created" in client.run(*words)
    found = json.loads(state.read_text("utf-8"))
    assert found["state_hash"] == "hmac-sha256"
    assert found["secrets"]["PUSHED"]["hash"] != model.hash_secret("PUSHED", "value")
    del client.environment["INFISICAL_KEY_FILE"]
    assert "key_file" in client.run(*words, code=2)


def test_root_can_get_the_status_without_the_key(public: Host, owned: Path) -> None:
    public.environment["INFISICAL_VAULT_PATH"] = str(owned / "secrets.vault")
    public.run("sync")
    public.key.unlink()
    found = public.data("status")
    assert found["secrets"] is None
    assert found["problem"]
    assert found["last_sync"]
    public.run("sync", code=2)


def test_metadata_command_of_root_runs_as_the_vaults_owner(public: Host, owned: Path) -> None:
    public.environment["INFISICAL_VAULT_PATH"] = str(owned / "secrets.vault")
    public.run("sync")
    [job] = public.data("metadata")["jobs"]
    assert (sorted(row[0] for row in job["secrets"]), job["problem"]) == (["DB_PASSWORD", "DB_USER"], None)
    assert "seeded password" not in json.dumps(job)
    assert {path.stat().st_uid for path in owned.iterdir()} == {NOBODY}
    public.key.unlink()
    [job] = public.data("metadata")["jobs"]
    assert (job["secrets"], bool(job["problem"]), job["project_ids"]) == ([], True, [PROJECT])


# The manual


def test_manual_page_is_complete() -> None:
    page = MANUAL.read_text("utf-8")
    for command in cli.COMMANDS:
        assert f"``{' '.join(command.words)}" in page
        for action in make_parser(command)._actions:
            if action.help != argparse.SUPPRESS and action.option_strings:
                assert any(f"``{option}" in page for option in action.option_strings), action.option_strings
    for option in OPTIONS:
        assert f"``{option.name}``" in page
    for option in OPTIONS:
        if option.section in ("infisical", "vault"):
            assert all(f"``{variable}``" in page for variable in option.environment), option.environment
    for name in CREDENTIALS:
        assert f"``{name}``" in page
    for path in CONFIG_FILES:
        assert f"``{path}``" in page
    codes = {0, 9, 126, 127, 130, 141, *exit_codes()}
    assert {int(code) for code in re.findall(r"^(\d+)$", page, re.MULTILINE)} == codes


@pytest.mark.parametrize("option", ["--project-id=", "--project-ids=,", "--job=", "--environment= "])
def test_empty_option_is_refused(client: Host, option: str) -> None:
    said = client.run("sync", option, code=2)
    assert f"{option.split('=')[0]} must not " in said
    assert not client.vault.exists()


def test_empty_path_for_an_export_prints_no_secret(host: Host) -> None:
    host.run("vault", "set", "A", given=CANARY)
    before = sorted(host.folder.iterdir())
    for path in ("", "  ", f"{host.folder}/new/", f"{host.folder}/."):
        said = host.run("vault", "export", "--output", path, code=2)
        assert "output" in said
        assert CANARY not in said
    assert sorted(host.folder.iterdir()) == before


def test_rekey_and_keygen_refuse_an_empty_path(host: Host) -> None:
    host.run("vault", "set", "A", given="x")
    before = host.vault.read_bytes()
    assert "--new-key-file must not be empty" in host.run("vault", "rekey", "--new-key-file", "", "--data", code=2)
    assert host.vault.read_bytes() == before
    assert "must be the path of a file" in host.run("vault", "keygen", "--key-file", f"{host.folder}/keys/", code=2)
    assert not (host.folder / "keys").exists()


def test_status_command_counts_secrets_pushed_from_the_vault(client: Host) -> None:
    client.run("vault", "set", "PUSHED", given="x")
    client.run("push", "--from", "vault")
    assert json.loads(client.run("status", "--json"))["push_count"] == 1


def test_exec_error_names_an_entry_too_large_for_an_environment(host: Host) -> None:
    host.run("vault", "set", "LARGE", given="x" * 1_000_000)
    assert "128 KiB" in host.run("exec", "--", "sh", "-c", "true", code=126)


@pytest.mark.parametrize("option", ["vault", "key_file", "state_file"])
def test_export_does_not_overwrite_vault_files(host: Host, option: str) -> None:
    host.run("vault", "set", "A", given="value")
    host.run("vault", "set", "A", given="newer")
    state = host.vault.with_name(STATE_FILE)
    own = {"vault": [host.vault, Path(f"{host.vault}.previous")], "key_file": [host.key], "state_file": [state]}[option]
    for path in own:
        before = path.read_bytes()
        assert "belongs to the vault" in host.run("vault", "export", "--output", path, code=2)
        assert path.read_bytes() == before
    assert host.values() == {"A": "newer"}


def test_export_does_not_overwrite_configuration_files(host: Host) -> None:
    host.run("vault", "set", "A", given="value")
    ini, secret = host.folder / "mine.ini", host.folder / "client-secret"
    secret.write_text("CANARY-client-secret")
    ini.write_text(f"[infisical]\nclient_secret_file = {secret}\n[file 1]\npath = {host.folder}/app.env\n")
    before = ini.read_bytes()
    for path in (ini, secret, host.folder / "app.env"):
        text = host.run("vault", "export", "--config", ini, "--output", path, code=2)
        assert "belongs to the vault or its configuration" in text
    assert (ini.read_bytes(), secret.read_text()) == (before, "CANARY-client-secret")
    assert not (host.folder / "app.env").exists()


def test_export_does_not_overwrite_vault_files_through_a_link(host: Host) -> None:
    (host.folder / "link").symlink_to(host.folder)
    host.run("vault", "set", "A", given="one")
    host.run("vault", "set", "A", given="two")
    before = host.vault.read_bytes(), host.key.read_bytes(), host.state.read_bytes()
    for path in (host.vault, f"{host.vault}.previous", host.key, host.state):
        name = Path(path).name
        for spelled in (host.folder / "link" / name, f"{host.folder}//{name}", f"{host.folder}/link/./link/{name}"):
            assert "belongs to the vault" in host.run("vault", "export", "--output", spelled, code=2)
    assert (host.vault.read_bytes(), host.key.read_bytes(), host.state.read_bytes()) == before


def test_export_overwrites_only_regular_files(host: Host) -> None:
    host.run("vault", "set", "A", given=CANARY)
    regular, link, pipe, folder = (host.folder / name for name in ("regular", "link", "pipe", "folder"))
    regular.write_text("old", "utf-8")
    regular.chmod(0o644)
    link.symlink_to(regular)
    dangling = host.folder / "dangling"
    dangling.symlink_to(host.folder / "nowhere")
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (link, dangling, pipe, folder):
        before = path.lstat()
        said = host.run("vault", "export", "--output", path, code=2)
        assert f"'{path}' is not a regular file" in said
        assert "redirect standard output" in said
        assert CANARY not in said
        assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert regular.read_text("utf-8") == "old"
    host.run("vault", "export", "--output", regular)
    assert regular.read_text("utf-8") == f'A="{CANARY}"\n'
    assert stat.S_IMODE(regular.stat().st_mode) == 0o600
    assert "is not a directory" in host.run("vault", "export", "--output", regular / "below", code=6)
