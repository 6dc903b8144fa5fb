# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command infisical-sync makes of its arguments before it does anything."""

from __future__ import annotations

import argparse
import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils import infisical
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import config
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli import main as cli
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli.console import Console
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli.parser import Command, make_parser, parse
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import systemd
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    GuardStopped,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import (
    BY_PLACE,
    OPTIONS,
    convert,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.keys import make_key_file

ARGUMENTS = [
    pytest.param(command, action, id=f"{'-'.join(command.words)}-{(action.option_strings or [action.metavar])[0]}")
    for command in cli.COMMANDS
    for action in make_parser(command)._actions
    if action.nargs != 0
]
"""Every argument of every command that takes a value."""

USAGE = 2


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine is read, or written by an argument that counts although it must not."""
    for name in [name for name in os.environ if name.startswith(("INFISICAL_", "CREDENTIALS_DIRECTORY"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(config, "CONFIG_FILES", ())
    monkeypatch.setattr(cli, "CONFIG_FILES", ())
    monkeypatch.setattr(config, "JOBS", str(tmp_path / "jobs"))
    monkeypatch.chdir(tmp_path)


def words_with(command: Command, action: argparse.Action, value: str) -> list[str]:
    """A command line that is right but for this value."""
    words = list(command.words)
    for other in make_parser(command)._actions:
        text = value if other.dest == action.dest else "x"
        if other.dest == action.dest or other.required:
            words += [*other.option_strings[:1], text]
    return [*words, "--", "true"] if command.program else words


@pytest.mark.parametrize("value", ["", "  "], ids=["empty", "blank"])
@pytest.mark.parametrize(("command", "action"), ARGUMENTS)
def test_empty_argument_error_names_the_argument(
    command: Command, action: argparse.Action, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words_with(command, action, value)) == USAGE
    name = action.option_strings[0] if action.option_strings else action.metavar
    said = capsys.readouterr()
    assert f"infisical-sync: {name} must not " in said.err
    assert "an unset shell variable" in said.err
    assert said.out == ""


def test_empty_entry_in_a_list_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for value in (",", "a,,b", "a,", ", b"):
        assert cli.main(["sync", "--project-ids", value]) == USAGE
        assert "--project-ids must not contain an empty entry" in capsys.readouterr().err


def test_empty_arguments_are_passed_to_the_program() -> None:
    command = next(command for command in cli.COMMANDS if command.program)
    assert parse(command, ["exec", "--", "echo", "", " "]).program == ["echo", "", " "]


@pytest.mark.parametrize("text", ["there/", "/", ".", "a/..", "a/."])
def test_file_path_that_ends_like_a_directory_is_refused(text: str) -> None:
    for place in (("vault", "path"), ("vault", "key_file"), ("push", "state_file"), ("agent", "result_file")):
        with pytest.raises(ConfigurationError, match="must be the path of a file"):
            convert(BY_PLACE[place], text)
    for place in (("infisical", "ca_path"), ("deliver", "metrics_directory")):
        assert convert(BY_PLACE[place], "/there/") == "/there"


@pytest.mark.parametrize("own", [False, True], ids=["foreign", "own"])
def test_job_key_is_accepted_only_from_the_jobs_own_unit(
    own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = tmp_path / "run"
    directory = (services if own else tmp_path) / "infisical-sync@shop.service"
    directory.mkdir(parents=True)
    assert make_key_file(str(directory / "infisical_vault_key"))
    (tmp_path / "jobs").mkdir()
    vault = tmp_path / "vault"
    (tmp_path / "jobs" / "shop.ini").write_text(f"[vault]\npath = {vault}\nkey_credential = infisical_vault_key\n")
    (tmp_path / "value").write_text("x")
    monkeypatch.setattr(config, "SERVICES_CREDENTIALS", str(services))
    monkeypatch.setattr(systemd, "CREDSTORE", str(tmp_path / "none"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    monkeypatch.setenv("PATH", str(tmp_path))  # so that no key of this machine is decrypted
    code = cli.main(["vault", "set", "A", "--file", str(tmp_path / "value"), "--job", "shop"])
    assert (code, vault.exists()) == ((cli.OK, True) if own else (USAGE, False))


def job_without(tmp_path: Path, text: str) -> str:
    (tmp_path / "jobs").mkdir()
    path = tmp_path / "jobs" / "shop.ini"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (
            ["status"],
            "[vault]\npath = /v\n",
            "key_file: not set in {}.\ninfisical-sync: hint: Set it with the role scheduled_sync",
        ),
        (
            ["status"],
            "[vault]\nkey_file = /k\n",
            "vault_path: not set in {}.\ninfisical-sync: hint: Set it with the role scheduled_sync",
        ),
        (
            ["sync"],
            "[infisical]\nclient_id = x\n",
            "url: not set in {}.\ninfisical-sync: hint: Set it with the role scheduled_sync",
        ),
        (
            ["push", "--from", "-"],
            "[infisical]\n",
            "url: not set in {}.\ninfisical-sync: hint: Set it with the role scheduled_sync",
        ),
    ],
)
def test_hint_for_a_missing_job_option_names_the_role(
    words: list[str], text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = job_without(tmp_path, text)
    assert cli.main([*words, "--job", "shop"]) == USAGE
    error = capsys.readouterr().err
    assert said.format(path) in error
    assert "INFISICAL_" not in error


def refusing(message: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Run a command that ends with this message."""

    def refuse(*arguments: object) -> int:
        raise GuardStopped(message)

    commands = [command._replace(run=refuse) if command.words == words[:1] else command for command in cli.COMMANDS]
    monkeypatch.setattr(cli, "COMMANDS", tuple(commands))
    assert cli.main(list(words)) == 5


@pytest.mark.parametrize(
    ("advice", "typed"),
    [
        ("Leave it out, or set overwrite_rotated: true for this run.", "set --overwrite-rotated for this run."),
        ("If so, set a larger max_delete_percent for this run.", "set a larger --max-delete-percent for this run."),
        ("Set validate_certs: false.", "Set --no-validate-certs."),
        ("Set max_delete_percent: 100 for this run.", "Set --max-delete-percent 100 for this run."),
        ("Set a different state_file for each.", "Set a different --state-file for each."),
        ("Set auth_method: token to use it.", "Set --auth-method token to use it."),
        ("Check url, proxy and timeout, and more.", "Check --url, proxy and --timeout, and more."),
        ("Set project_id and environment.", "Set --project-id and --environment."),
        ("raise max_response_size.", "raise --max-response-size."),
        ("Give vault_path, or use sha256.", "Give --vault, or use sha256."),
        ("Set one of key_file or key_credential.", "Set one of --key-file or --key-credential."),
        ("Set vault_path, or set state_hash: sha256.", "Set --vault, or set --state-hash sha256."),
        ("Set expand_references: false.", "Set expand_references: false."),  # push has no such option
    ],
)
def test_hint_names_options_as_command_line_arguments(
    advice: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing(advice, monkeypatch, "push", "--from", "-")
    assert typed in capsys.readouterr().err
    job_without(tmp_path, "[vault]\npath = /v\n")
    monkeypatch.undo()
    monkeypatch.setattr(config, "JOBS", str(tmp_path / "jobs"))
    refusing(advice, monkeypatch, "push", "--from", "-", "--job", "shop")
    assert advice in capsys.readouterr().err  # the role's spelling, for a job of the agent


def test_error_shows_name_but_not_value_of_invalid_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, option in (
        ("INFISICAL_TIMEOUT", "timeout: must be a number"),
        ("INFISICAL_VALIDATE_CERTS", "validate_certs: must be true or false"),
        ("INFISICAL_API_VERSION", "api_version: must be one of auto, v3, v4"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "Canary5f1c2a9e7b")
            assert cli.main(["sync", "--url", "https://x"]) == USAGE
        error = capsys.readouterr().err
        assert f"{option} (set by the environment variable {variable})." in error
        assert "Canary" not in error


def hints() -> Iterator[str]:
    """Yield the texts of every hint in the library."""
    for path in sorted(Path(infisical.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (isinstance(node, ast.keyword) and node.arg == "hint") or (
                isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "hint"
            ):
                found = ast.walk(node.value)
                yield from (part.value for part in found if isinstance(part, ast.Constant) and " " in str(part.value))


def test_every_option_in_a_hint_is_translated() -> None:
    console = Console()
    console.flags = {option.argument: option.long for option in OPTIONS if option.long}
    names = "|".join(name for name in console.flags if "_" in name)
    found = list(hints())
    assert len(found) > 100
    left = [hint for hint in found if re.search(rf"(?<![\w.{{-])({names})(?![\w(\[])", console.translate(hint))]
    assert left == []
