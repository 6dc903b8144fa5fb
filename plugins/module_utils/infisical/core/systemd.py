# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running other programs, and the host's systemd: its version and its credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .errors import KeyLost, StorageFailed

CREDSTORE = "/etc/credstore.encrypted"
"""The directory with encrypted credentials, one file for each (systemd.exec(5), LoadCredentialEncrypted=)."""

MACHINE_ID = "/etc/machine-id"

INSTALLED_MACHINE_ID = "/etc/infisical-sync/machine-id"
"""The file with the id of the machine for which the agent's credentials were encrypted."""

_SECONDS = 60.0
"""Default time limit for a program in seconds. It is long because a TPM is slow."""

_LONGEST_WORDS = 300
"""Maximum number of characters quoted from a program's error output."""


class Ended(NamedTuple):
    """A program's exit status, its output, and its error output as one line of limited length."""

    status: int
    out: bytes
    said: str


class CannotRun(StorageFailed):
    """A program could not be started, or did not end in time."""


def run(
    command: Sequence[str],
    *,
    data: bytes = b"",
    seconds: float = _SECONDS,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a program with `data` (bytes) as standard input, for at most `seconds`. Raises CannotRun.

    `environment` is the program's complete environment, by default a copy of this process's environment.
    """
    import subprocess

    try:
        # The library does not depend on Ansible, so it cannot use AnsibleModule.run_command.
        ended = subprocess.run(  # pylint: disable=ansible-bad-function
            list(command), input=data, capture_output=True, timeout=seconds, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise CannotRun(f"{command[0]} did not end in time.") from None
    except OSError:
        raise CannotRun(f"{command[0]} cannot be started.") from None
    said = " ".join(ended.stderr.decode("utf-8", "replace").split())[:_LONGEST_WORDS]
    return Ended(ended.returncode, ended.stdout, said)


def version() -> int:
    """Return the major version of the running systemd, or 0 if the host does not run systemd (sd_booted(3))."""
    if not os.path.isdir("/run/systemd/system"):
        return 0
    try:
        found = re.match(rb"systemd (\d+)", run(["systemctl", "--version"]).out)
    except CannotRun:
        return 0
    return int(found[1]) if found else 0


def machine_id(path: str = "") -> str:
    """Return the machine id (32 hexadecimal digits, machine-id(5)) in the file `path`, by default this machine's id.

    Return an empty text if the file has no valid id.
    """
    try:
        with open(path or MACHINE_ID, encoding="ascii", errors="replace") as stream:
            found = stream.read(64).strip()
    except OSError:
        return ""
    return found if re.fullmatch(r"[0-9a-f]{32}", found) else ""


def refuse_other_machine() -> None:
    """Raise KeyLost if the agent was installed on a machine with another id.

    In that case, nothing must be decrypted, because systemd would delete the key for the host's credentials.
    """
    installed = machine_id(INSTALLED_MACHINE_ID)
    if installed and installed != machine_id():
        raise KeyLost(
            f"The key is lost: the agent was installed on the machine {installed}, and this is {machine_id()}, which "
            "cannot decrypt the other machine's credentials. Delivered files stay until the next boot.",
            hint="Run the role scheduled_sync again: it moves the old vault aside, makes a new key, and pulls.",
        )


def encrypt(name: str, data: bytes, *, with_key: str = "host") -> bytes:
    """Encrypt `data` as the credential `name` with this machine's key `host`, `tpm2` or `host+tpm2` (systemd-creds(1)).

    A TPM key is not bound to any PCR, so that it survives a firmware or kernel update. Raises StorageFailed.
    """
    pcrs = ["--tpm2-pcrs="] if "tpm2" in with_key else []
    command = ["systemd-creds", "encrypt", f"--name={name}", f"--with-key={with_key}", *pcrs, "-", "-"]
    return _creds(command, data, f"The credential '{name}' cannot be encrypted").out


def decrypt(name: str, path: str = "", *, own: bool = False) -> bytes:
    """Decrypt the credential `name` from `path`, by default from /etc/credstore.encrypted. Only root can do this.

    Raises KeyLost if the agent was installed on another machine, and StorageFailed with the message from systemd-creds.
    If `own`, this machine is known to have encrypted the credential.
    """
    if not own:
        refuse_other_machine()
    source = path or f"{CREDSTORE}/{name}"
    command = ["systemd-creds", "decrypt", f"--name={name}", source, "-"]
    return _creds(command, b"", f"The credential '{name}' cannot be decrypted from {source}").out


def _creds(command: Sequence[str], data: bytes, problem: str) -> Ended:
    try:
        ended = run(command, data=data)
    except CannotRun as error:
        raise error.reworded(f"{problem}: {error.problem}") from None
    if ended.status != 0:
        raise StorageFailed(f"{problem}: systemd-creds reports: {ended.said or 'no reason given'}")
    return ended
