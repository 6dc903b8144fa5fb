# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs on the host, encrypting credentials, and refusing credentials on another machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import systemd
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from unit.programs import Programs

MACHINE, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
CANARY = b"CANARY\0binary\n\xff"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the machine id files of a host on which the agent was installed."""
    for name, text in (("MACHINE_ID", MACHINE), ("INSTALLED_MACHINE_ID", MACHINE)):
        (tmp_path / name).write_text(text + "\n")
        monkeypatch.setattr(systemd, name, str(tmp_path / name))
    return tmp_path


# Programs


def test_program_gets_input_and_returns_status_and_output(programs: Programs) -> None:
    programs.put("echoing", "cat; echo one >&2; echo ' two' >&2; exit 7")
    assert systemd.run(["echoing", "a b", "$(id)"], data=CANARY) == (7, CANARY, "one two")
    assert programs.calls() == ["echoing a b $(id)"]


def test_long_error_output_is_truncated(programs: Programs) -> None:
    programs.put("chatty", "head -c 100000 /dev/zero | tr '\\0' x >&2; printf '\\377' >&2")
    assert systemd.run(["chatty"]).said == "x" * 300


def test_missing_or_hanging_program_is_reported(programs: Programs) -> None:
    with pytest.raises(systemd.CannotRun, match="cannot be started"):
        systemd.run(["no-such-program-here"])
    programs.put("endless", "exec sleep 60")
    began = time.monotonic()
    with pytest.raises(systemd.CannotRun, match="did not end in time"):
        systemd.run(["endless"], seconds=0.2)
    assert time.monotonic() - began < 10


def test_program_gets_only_the_specified_environment(programs: Programs) -> None:
    programs.put("shows", 'echo "$HOME:$A"')
    assert systemd.run([str(programs.folder / "shows")], environment={"A": "1"}).out == b":1\n"


# Credentials


@pytest.mark.parametrize(
    ("key", "arguments"),
    [("host", "--with-key=host"), ("tpm2", "--with-key=tpm2 --tpm2-pcrs="),
     ("host+tpm2", "--with-key=host+tpm2 --tpm2-pcrs=")],
)  # fmt: skip
def test_credential_to_encrypt_is_passed_on_standard_input(programs: Programs, key: str, arguments: str) -> None:
    programs.put("systemd-creds", "tr A-Y B-Z")
    assert systemd.encrypt("shop", b"CANARY", with_key=key) == b"DBOBSZ"
    assert programs.calls() == [f"systemd-creds encrypt --name=shop {arguments} - -"]


def test_credential_is_decrypted_from_its_file(programs: Programs, machine: Path) -> None:
    programs.put("systemd-creds", 'cat "$3"')
    (machine / "sealed").write_bytes(CANARY)
    assert systemd.decrypt("shop", str(machine / "sealed")) == CANARY
    assert programs.calls() == [f"systemd-creds decrypt --name=shop {machine}/sealed -"]


def test_credential_is_read_from_the_store_by_default(programs: Programs, machine: Path) -> None:
    programs.put("systemd-creds", "printf x")
    assert systemd.decrypt("shop") == b"x"
    assert programs.calls() == ["systemd-creds decrypt --name=shop /etc/credstore.encrypted/shop -"]


@pytest.mark.parametrize("action", ["encrypted", "decrypted"])
def test_systemd_creds_error_does_not_quote_the_input(programs: Programs, machine: Path, action: str) -> None:
    programs.put("systemd-creds", "cat; echo 'TPM2 is not there' >&2; exit 1")
    with pytest.raises(InfisicalError, match=f"'shop' cannot be {action}.*TPM2 is not there") as caught:
        systemd.encrypt("shop", CANARY) if action == "encrypted" else systemd.decrypt("shop")
    assert caught.value.conclusion == "storage"
    assert "CANARY" not in f"{caught.value} {caught.value!r}"


def test_missing_systemd_creds_is_reported(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine))
    with pytest.raises(InfisicalError, match="systemd-creds cannot be started"):
        systemd.encrypt("shop", CANARY)


# Machines


@pytest.mark.parametrize(
    ("text", "found"),
    [(MACHINE, MACHINE), (MACHINE + "\n", MACHINE), ("", ""), ("uninitialized\n", ""), (MACHINE[:-1], ""),
     (MACHINE + "0", ""), (MACHINE.upper(), ""), ("\xff" * 32, "")],
)  # fmt: skip
def test_machine_id_has_32_hexadecimal_digits(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "id").write_bytes(text.encode("latin-1"))
    assert systemd.machine_id(str(tmp_path / "id")) == found


def test_missing_machine_id_is_returned_as_empty_text(tmp_path: Path) -> None:
    assert systemd.machine_id(str(tmp_path / "id")) == ""


def test_credential_is_not_decrypted_on_another_machine(programs: Programs, machine: Path) -> None:
    programs.put("systemd-creds", "printf x")
    systemd.refuse_other_machine()
    (machine / "MACHINE_ID").write_text(OTHER)
    with pytest.raises(InfisicalError, match=f"installed on the machine {MACHINE}, and this is {OTHER}") as caught:
        systemd.decrypt("shop")
    assert caught.value.conclusion == "key_lost"
    assert "Run the role scheduled_sync again" in str(caught.value)
    assert programs.calls() == []


def test_machine_id_is_only_checked_if_an_agent_is_installed(programs: Programs, machine: Path) -> None:
    (machine / "INSTALLED_MACHINE_ID").unlink()
    (machine / "MACHINE_ID").write_text(OTHER)
    programs.put("systemd-creds", "printf x")
    assert systemd.decrypt("shop") == b"x"
