# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that starts other programs, and what the host's systemd is asked: version, credentials, units."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .errors import KeyLost, StorageFailed

CREDSTORE = "/etc/credstore.encrypted"
"""Where systemd looks for encrypted credentials by name (systemd.exec(5), LoadCredentialEncrypted=)."""

MACHINE_ID = "/etc/machine-id"

INSTALLED_MACHINE_ID = "/etc/infisical-sync/machine-id"
"""The id of the machine for which the agent's credentials were encrypted."""

_SECONDS = 60.0
"""How long a program may take; a TPM is slow."""

_LONGEST_WORDS = 300
"""Characters of a program's own words that are quoted."""


class Ended(NamedTuple):
    """How a program ended: its exit status, standard output, and standard error in one line of bounded length."""

    status: int
    out: bytes
    said: str


class CannotRun(Exception):
    """A program could not be started, or did not end in time; `str()` completes the sentence "it …"."""


class NoAnswer(StorageFailed):
    """systemd-creds could not be asked, so that nothing is known of the credential."""


def run(
    command: Sequence[str],
    *,
    data: bytes = b"",
    seconds: float = _SECONDS,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a program with `data` (bytes) on its standard input; at most `seconds`. Raises CannotRun.

    `environment` is all that it gets, by default this process's own.
    """
    import subprocess

    try:
        # The library knows nothing of AnsibleModule and its run_command.
        ended = subprocess.run(  # pylint: disable=ansible-bad-function
            list(command), input=data, capture_output=True, timeout=seconds, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise CannotRun("did not end in time") from None
    except OSError:
        raise CannotRun("cannot be started") from None
    said = " ".join(ended.stderr.decode("utf-8", "replace").split())[:_LONGEST_WORDS]
    return Ended(ended.returncode, ended.stdout, said)


def version() -> int:
    """The major version of the systemd that runs this host, 0 where none does (sd_booted(3))."""
    if not os.path.isdir("/run/systemd/system"):
        return 0
    try:
        found = re.match(rb"systemd (\d+)", run(["systemctl", "--version"]).out)
    except CannotRun:
        return 0
    return int(found[1]) if found else 0


def machine_id(path: str = "") -> str:
    """The id of this machine, or the one in another file: 32 hexadecimal digits (machine-id(5)); empty for none."""
    try:
        with open(path or MACHINE_ID, encoding="ascii", errors="replace") as stream:
            found = stream.read(64).strip()
    except OSError:
        return ""
    return found if re.fullmatch(r"[0-9a-f]{32}", found) else ""


def refuse_other_machine() -> None:
    """Raise InfisicalError (KEY_LOST) where the agent was installed on a machine of another id.

    systemd deletes the key of the host's credentials as soon as it is asked to open one there, so it is not asked.
    """
    installed = machine_id(INSTALLED_MACHINE_ID)
    if installed and installed != machine_id():
        raise KeyLost(
            f"The key is lost: the agent was installed on the machine {installed}, and this is {machine_id()}. The "
            "credentials of that machine, and with them the vault's key, cannot be opened here. Files that have been "
            "delivered stay until the next boot. Run the role scheduled_sync again: it moves the old vault aside, "
            "makes a new key, and pulls.",
        )


def encrypted(name: str, data: bytes, *, with_key: str = "host") -> bytes:
    """`data` (bytes) as a credential of that name, encrypted with the key `host`, `tpm2` or `host+tpm2` of this machine
    (systemd-creds(1)). A TPM's key is bound to no PCR, so that an update of firmware or kernel does not lose it.

    Raises InfisicalError (STORAGE).
    """
    pcrs = ["--tpm2-pcrs="] if "tpm2" in with_key else []
    command = ["systemd-creds", "encrypt", f"--name={name}", f"--with-key={with_key}", *pcrs, "-", "-"]
    return _creds(command, data, f"The credential '{name}' cannot be encrypted").out


def decrypted(name: str, path: str = "") -> bytes:
    """The credential of that name from its file, by default in /etc/credstore.encrypted. Root alone can do this.

    Raises InfisicalError: KEY_LOST on another machine than it was made on, STORAGE with what systemd-creds says.
    """
    refuse_other_machine()
    source = path or f"{CREDSTORE}/{name}"
    command = ["systemd-creds", "decrypt", f"--name={name}", source, "-"]
    return _creds(command, b"", f"The credential '{name}' cannot be decrypted from {source}").out


def _creds(command: Sequence[str], data: bytes, problem: str) -> Ended:
    try:
        ended = run(command, data=data)
    except CannotRun as error:
        raise NoAnswer(f"{problem}: systemd-creds {error}.") from None
    if ended.status != 0:
        raise StorageFailed(f"{problem}: systemd-creds says: {ended.said or 'no reason given'}")
    return ended
