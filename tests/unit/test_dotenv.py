# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dotenv files: values are read back unchanged, here and in shells, and unsafe names are refused."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import dotenv
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError

MANUAL = Path(__file__).parents[2] / "docs/docsite/rst/infisical-sync.1.rst"
SHELLS = [shell for shell in ("sh", "bash", "dash", "busybox") if shutil.which(shell)]
ODD = [
    "",
    " ",
    "plain",
    "with 'single' and \"double\" quotes",
    "`id` $(id) $HOME ${HOME} $$ $",
    "\\",
    "\\\\",
    "\\n is no newline",
    "ends with a backslash\\",
    "a backslash before a newline\\\nmore",
    "\n",
    "\n\nlines\n\n",
    "line\r\nline\r",
    "\ttabs\t",
    "# no comment",
    "a # no comment",
    "!history! * ? ~ [a-z] {a,b} < > | & ; ( )",
    "é ü 漢 🔑 \u2028 \u00a0 \x85 \u200f",
    "\x01\x07\x08\x1b[31m\x7f\x81",
    "NAME=\"x\"\nOTHER='y'",
    "=",
    'export A="b"',
    "-----BEGIN KEY-----\nabc+/=\n-----END KEY-----\n",
    "x" * 100_000,
]


def odd_values(count: int) -> dict[str, str]:
    """Return reproducible random values of characters that are special in some format."""
    chance = random.Random(4)
    alphabet = "\"\\$`'\n\r\t #=!ab{}()é🔑\x01\x7f"
    return {
        f"RANDOM_{number}": "".join(chance.choice(alphabet) for _place in range(chance.randrange(12)))
        for number in range(count)
    }


VALUES = {**{f"ODD_{number}": value for number, value in enumerate(ODD)}, **odd_values(500)}


def as_systemd(text: str) -> dict[str, str]:
    """Parse double-quoted lines like systemd's EnvironmentFile, according to its documentation."""
    values, name, value, state = {}, "", "", "name"
    for character in text:
        if state == "name":
            if character == "=":
                state = "before"
            elif character != "\n":
                name += character
        elif state == "before":
            assert character in '"\n'
            if character == "\n":
                values[name], name, value, state = value, "", "", "name"
            else:
                state = "quoted"
        elif state == "quoted":
            if character == "\\":
                state = "escape"
            elif character == '"':
                state = "before"
            else:
                value += character
        else:
            value += character if character in '"\\`$' else "" if character == "\n" else "\\" + character
            state = "quoted"
    return values


def test_dotenv_values_parse_back_unchanged() -> None:
    assert dotenv.parse(dotenv.dump(VALUES)) == VALUES


def test_systemd_reads_dotenv_values_unchanged() -> None:
    assert as_systemd(dotenv.dump(VALUES)) == VALUES


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_reads_dotenv_values_unchanged(shell: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(dotenv.dump(VALUES).encode())
    command = [shell, *(["sh"] if shell == "busybox" else []), "-c", 'set -a; . "$1"; exec env -0', "sh"]
    ended = subprocess.run(
        [*command, str(tmp_path / "env")], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert ended.stderr == b""
    found = dict(entry.decode().split("=", 1) for entry in ended.stdout.split(b"\0") if entry)
    assert {name: found.get(name) for name in VALUES} == VALUES


def test_dotenv_lines_are_sorted_and_match_the_manual() -> None:
    assert (
        dotenv.dump({"B": "two\nlines", "A": 'say "$x" `y` \\'}) == 'A="say \\"\\$x\\" \\`y\\` \\\\"\nB="two\nlines"\n'
    )
    assert dotenv.dump({}) == ""


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("\ufeffA=1", {"A": "1"}),
        ("# comment\n\n  # another\nA=1\n", {"A": "1"}),
        ("export A=1\nexport=2\nexport B = 3 \n", {"A": "1", "export": "2", "B": "3"}),
        (
            "A=one two # comment\nB=a#b\nC=#c\nD= # comment\nE=",
            {"A": "one two", "B": "a#b", "C": "#c", "D": "", "E": ""},
        ),
        ("A='single $x \\n \"'\nB='two\nlines' # comment\n", {"A": 'single $x \\n "', "B": "two\nlines"}),
        ("A='it'\"'\"'s'\nB='it'\\''s'\n", {"A": "it's", "B": "it's"}),
        ('A="\\n stays, \\" does not"\r\nB=windows\r\n', {"A": '\\n stays, " does not', "B": "windows"}),
        ('A="joined \\\nline"', {"A": "joined line"}),
        ("A=p$$w0rd\\x\nmy-key.2=b", {"A": "p$$w0rd\\x", "my-key.2": "b"}),
        ("A=b=c==", {"A": "b=c=="}),
    ],
)
def test_common_dotenv_syntax_is_parsed(text: str, values: dict[str, str]) -> None:
    assert dotenv.parse(text) == values


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('A=1\nB="CANARY', 2, "never closed"),
        ("A='CANARY\nCANARY\nB=1", 1, "never closed"),
        ('A="x\ny"\nCANARY\n', 3, "equals sign"),
        ("=CANARY", 1, "equals sign"),
        ('A="x"CANARY', 1, "behind the closing quote"),
        ("A=1\n\nB=2\nA=CANARY", 4, "line 1"),
        ("two words=CANARY", 1, "equals sign"),
    ],
)
def test_invalid_line_error_has_its_number_but_not_its_text(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        dotenv.parse(text)
    assert f"line {line} " in str(caught.value)
    assert words in str(caught.value)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "LD_",
        "PATH",
        "PYTHONPATH",
        "PYTHON",
        "BASH_ENV",
        "ENV",
        "IFS",
        "INFISICAL_URL",
        "UID",
        "NODE_OPTIONS",
        "TAR_OPTIONS",
        "MAKEFLAGS",
        "GIT_SSH_COMMAND",
        "GIT_CONFIG_COUNT",
        "HOME",
        "XDG_CONFIG_HOME",
        "npm_config_script_shell",
        "PIP_INDEX_URL",
        "ANSIBLE_CONFIG",
        "_JAVA_OPTIONS",
        "DBUS_SYSTEM_BUS_ADDRESS",
        "",
        "1A",
        "a-b",
        "a.b",
        "a b",
        "a\n",
        "A\n",
        "é",
        "A=B",
        "BASH_FUNC_x%%",
        "$(id)",
    ],
)
def test_dangerous_name_is_refused_unless_explicitly_allowed(name: str) -> None:
    assert list(dotenv.find_unsafe([name, "DB_PASSWORD"])) == [name]
    assert dotenv.find_unsafe([name], allowed=["DB_PASSWORD", name]) == {}
    assert list(dotenv.find_unsafe([name], allowed=[name + "x", name.lower() + "y"])) == [name]


ORDINARY = [
    "DB_PASSWORD",
    "_x",
    "a1",
    "OLD_PATH",
    "PATHS",
    "LDAP_URL",
    "ENVIRONMENT",
    "path",
    "GIT_TOKEN",
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "NPM_TOKEN",
    "NODE_ENV",
    "CARGO_REGISTRY_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "PGPASSWORD",
    "MYSQL_PASSWORD",
    "TF_VAR_db_password",
    "COMPOSER_AUTH",
    "VAULT_TOKEN",
    "DOCKER_PASSWORD",
    "POETRY_PYPI_TOKEN_PYPI",
    "HTTPS_PROXY",
    "PROMPT_TEMPLATE",
    "MONO_TOKEN",
    "MIX_PUSHER_APP_KEY",
    "SSH_PRIVATE_KEY",
    "GPG_PASSPHRASE",
    "JAVA_KEYSTORE_PASSWORD",
    "RUBY_SECRET",
    "TZ",
    "LANG",
]


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_name_is_accepted(name: str) -> None:
    assert dotenv.find_unsafe([name]) == {}


def test_manual_lists_every_dangerous_name() -> None:
    text = MANUAL.read_text("utf-8")
    section = text[text.index("\nNames in an environment\n===") : text.index("\nOptions of single commands\n===")]
    assert "cannot be complete" in " ".join(section.split())
    listed = section[section.index("\n* what makes") : section.index("\nA value with")]
    names = {name for group in dotenv.DANGEROUS.values() for name in group.split()}
    assert names == set(re.findall("``([^`]+)``", listed))


CONTAINERS = {
    "A": "",
    "B": " blanks \t",
    "C": "'single' \"double\" $HOME `id` \\ #",
    "D": "a=b=c",
    "E": "é\rx",
    "F": "#x",
}


def read_as_docker_does(text: str) -> dict[str, str]:
    """Parse a file like `docker run --env-file` (docker/cli, opts, parseKeyValueFile)."""
    found = {}
    for raw in text.split("\n")[:-1]:
        line = (raw[:-1] if raw.endswith("\r") else raw).lstrip(" \t")
        if line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals and name and not set(name) & set(" \t"), "docker refuses the name"
            found[name] = value
    return found


def test_env_file_values_parse_back_unchanged() -> None:
    text = dotenv.dump_env_file(CONTAINERS)
    assert read_as_docker_does(text) == CONTAINERS
    assert text.startswith("A=\nB= blanks \t\n")


@pytest.mark.parametrize(
    ("value", "words"),
    [("CANARY\nx", "contains a newline"), ("CANARY\0", "contains a NUL byte"),
     ("CANARY\r", "ends with a carriage return"),
     ("é" * 32767, "makes a line of more than 65535 bytes")],
)  # fmt: skip
def test_invalid_env_file_value_is_refused(value: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"the value of 'X' {words}") as caught:
        dotenv.dump_env_file({"X": value})
    assert "CANARY" not in str(caught.value) and "é" not in str(caught.value)
    assert dotenv.dump_env_file({"X": "é" * 32766}).startswith("X=é")


@pytest.mark.parametrize("name", ["#A", "A=B", "A B", " A", "", "A\n", "é"])
def test_invalid_env_file_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written as a variable"):
        dotenv.dump_env_file({name: "x"})


def test_name_patterns_select_entries() -> None:
    values = {"DB_HOST": "1", "DB_PASSWORD": "2", "FLAG": "3", "db_x": "4"}
    assert dotenv.select(values, ()) == values
    assert list(dotenv.select(values, ["DB_*", "FLAG"])) == ["DB_HOST", "DB_PASSWORD", "FLAG"]
    assert dotenv.select(values, ["[!D]*"]) == {"FLAG": "3", "db_x": "4"}


@pytest.mark.parametrize("name", ["a b", "A=B", "A\nB", "$(id)", "`id`", "a;id", "a|id", "a&id", "", "é"])
def test_name_that_a_shell_would_execute_is_never_written(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        dotenv.dump({name: "CANARY"})
    assert "CANARY" not in str(caught.value)


def test_error_about_a_nul_byte_names_the_secret() -> None:
    with pytest.raises(ConfigurationError, match="CERTIFICATE") as caught:
        dotenv.dump({"CERTIFICATE": "CANARY\0"})
    assert "CANARY" not in str(caught.value)
