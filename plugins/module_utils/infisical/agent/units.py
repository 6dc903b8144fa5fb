# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's units for systemd, as text: what runs, when, as whom, and what it can reach."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .schedule import calendar, interval_text, longest_delay, offset, shifted_calendar

COMMAND = "/usr/local/bin/infisical-sync"
CONFIGURATION = "/etc/infisical-sync"
STATE = "/var/lib/infisical-sync"
DELIVERIES = "/var/lib/infisical-deliver"
RUNTIME = "/run/infisical-sync"
REPORTS = "/run/infisical-agent"
"""Where delivered files are, and what the last cycle of a job came to: in memory, which a full disk does not fill."""

FIXED_RANDOM_DELAY = 247
LOADS_CREDENTIALS = 247
ON_SUCCESS = 249
DECRYPTS_CREDENTIALS = 250
"""The versions of systemd since which there are FixedRandomDelay=, LoadCredential=, OnSuccess= and
LoadCredentialEncrypted= (systemd's NEWS)."""

SECONDS_OF_A_CYCLE = 1800
"""How long a sync may take, with all its waits."""


class Surroundings(NamedTuple):
    """What the units depend on: systemd's major version, the machine's id, the agent's user, and each credential with
    the file it lies in, {name: path}, encrypted or not."""

    version: int
    machine_id: str
    user: str
    credentials: Mapping[str, str]
    encrypted: bool


class Timing(NamedTuple):
    """When a job runs: every so many minutes, and which directories its files lie in."""

    job: str
    minutes: int
    directories: tuple[str, ...]


# What nothing of the agent needs. Sources: systemd.exec(5), and `systemd-analyze security`.
_SANDBOX = (
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "ProcSubset=pid",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHome=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProtectSystem=strict",
    "RemoveIPC=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    "SystemCallFilter=@system-service",
    "KeyringMode=private",
    "UMask=0077",
    # What is in memory stays there.
    "LimitCORE=0",
    "MemorySwapMax=0",
)
_OF_A_USER = ("CapabilityBoundingSet=", "AmbientCapabilities=", "SystemCallFilter=~@privileged @resources")
_WITH_NETWORK = ("RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",)
_WITHOUT_NETWORK = ("PrivateNetwork=yes", "IPAddressDeny=any", "RestrictAddressFamilies=AF_UNIX")

NAMES = tuple(
    f"infisical-{name}@.service" for name in ("sync", "deliver", "notify", "ready", "moved")
)  # fmt: skip
"""The templates of all services; their instances are the jobs."""


BOOT = "multi-user.target"
MOVED = "infisical-moved@{}.service"


def at_boot(job: str) -> list[str]:
    """The services of a job that are started at boot: what lies in memory is gone then, and a disk may be a copy."""
    return [f"infisical-deliver@{job}.service", MOVED.format(job)]


def of_job(job: str) -> list[str]:
    """The services of a job, each before those that its end starts."""
    return [name.replace("@", f"@{job}") for name in NAMES]


def timer_of(job: str) -> str:
    """The name of a job's timer."""
    return f"infisical-sync@{job}.timer"


def services(around: Surroundings) -> dict[str, str]:
    """The service templates, {name: text}."""
    start = f"{COMMAND} {{}} --config {CONFIGURATION}/jobs/%i.ini"
    user = f"User={around.user}"
    here, elsewhere = _on_this_machine(around)
    state = (*_directory("State", STATE), f"StateDirectory={os.path.basename(STATE)}/%i",
             *_directory("Runtime", REPORTS), f"RuntimeDirectory={os.path.basename(REPORTS)}/%i",
             "RuntimeDirectoryPreserve=yes")  # fmt: skip
    # Killed, it leaves no report; then this one is made of what systemd knows.
    finish = f"ExecStopPost=/bin/sh -c '[ \"$$SERVICE_RESULT\" = success ] || exec {start.format('finish')}'"
    after_sync, then_deliver = _at_end("infisical-deliver@%i.service", around)
    after_delivery, then_notify = _at_end("infisical-notify@%i.service", around)
    # As often as cycles end, also when many are started by hand.
    often = "StartLimitIntervalSec=0"
    texts = {
        "sync": _unit(
            "Sync of secrets from Infisical: %i",
            [*here, often, "Wants=network-online.target", "After=network-online.target", *after_sync],
            [*_SANDBOX, *_OF_A_USER, *_WITH_NETWORK, user, *state, f"TimeoutStartSec={SECONDS_OF_A_CYCLE}",
             *_loads(around, "infisical_client_id", "infisical_client_secret", "infisical_vault_key"),
             f"ExecStart={start.format('sync')}", finish, *then_deliver],
        ),
        "deliver": _unit(
            "Secrets for applications from the vault: %i",
            [*here, often, *after_delivery],
            [*_SANDBOX, *_WITHOUT_NETWORK, "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER",
             "SystemCallFilter=@chown", *_directory("State", DELIVERIES), *_directory("Runtime", RUNTIME, 0o755),
             f"RuntimeDirectory={os.path.basename(RUNTIME)}/%i", "RuntimeDirectoryPreserve=yes",
             f"ReadWritePaths=-{REPORTS}/%i", *_loads(around, "infisical_vault_key"),
             f"ExecStart={start.format('deliver')}", *then_notify],
            BOOT,
        ),
        "notify": _unit(
            "Notification of a failed sync, or of its recovery: %i",
            [*here, often],
            [*_SANDBOX, *_OF_A_USER, *_WITH_NETWORK, user, *state, *_loads(around, "infisical_webhook_url"),
             f"ExecStart={start.format('notify')}"],
        ),
        "ready": _unit(
            "First delivery of secrets since the boot: %i",
            ["Wants=infisical-deliver@%i.service", "After=infisical-deliver@%i.service"],
            [*_SANDBOX, *_OF_A_USER, *_WITHOUT_NETWORK, user, "RemainAfterExit=yes", "TimeoutStartSec=infinity",
             f"ExecStart={start.format('ready')}"],
        ),
        "moved": _unit(
            "Another machine than the agent was installed on: %i",
            [elsewhere or "ConditionPathExists=!/"],
            [*_SANDBOX, *_OF_A_USER, *_WITH_NETWORK, user, *state, f"ExecStart={start.format('moved')}",
             f"ExecStopPost={start.format('notify')}"],
            BOOT,
        ),
    }  # fmt: skip
    return {f"infisical-{name}@.service": text for name, text in texts.items()}


def _directory(kind: str, path: str, mode: int = 0o700) -> tuple[str, str]:
    """A directory that systemd makes for a service: kind `State` in /var/lib, `Runtime` in /run."""
    return f"{kind}Directory={os.path.basename(path)}", f"{kind}DirectoryMode={mode:04o}"


def _at_end(unit: str, around: Surroundings) -> tuple[list[str], list[str]]:
    """What starts a unit when another one has ended, well or not: lines of its [Unit], and of its [Service]."""
    if around.version >= ON_SUCCESS:
        return [f"OnSuccess={unit}", f"OnFailure={unit}"], []
    return [], [f"ExecStopPost=+-/bin/systemctl start --no-block {unit}"]


def timer(timing: Timing, around: Surroundings) -> str:
    """The timer of a job. With FixedRandomDelay= the machine's id decides where in the interval it runs; older versions
    of systemd get a time of day that has been computed from it."""
    if around.version >= FIXED_RANDOM_DELAY:
        when = [
            f"OnCalendar={calendar(timing.minutes)}",
            f"RandomizedDelaySec={longest_delay(timing.minutes)}",
            "FixedRandomDelay=yes",
        ]
    else:
        shift = offset(around.machine_id, timing.job, timing.minutes)
        when = [f"OnCalendar={shifted_calendar(timing.minutes, shift)}"]
    return _text(
        ("Unit", [f"Description=Sync of secrets from Infisical every {interval_text(timing.minutes)}: {timing.job}"]),
        ("Timer", [*when, "AccuracySec=1s", "Persistent=yes"]),
        ("Install", ["WantedBy=timers.target"]),
    )


def writable(timing: Timing) -> str:
    """What is added to a job's delivery: the directories it writes to besides its own, empty for none."""
    own = f"{RUNTIME}/{timing.job}"
    outside = [path for path in timing.directories if path != own and not path.startswith(own + "/")]
    if not outside:
        return ""
    # What lies in memory is not there yet after a boot.
    paths = dict.fromkeys("/run" if path.startswith("/run/") else f"-{path}" for path in outside)
    return _text(("Service", [f"ReadWritePaths={_escaped(path)}" for path in sorted(paths)]))


def _on_this_machine(around: Surroundings) -> tuple[list[str], str]:
    """Conditions of units that open the host's credentials, and of the one that tells that they must not: systemd
    deletes the host's key when it is asked on a machine of another id."""
    if not around.encrypted:
        return [], ""
    return [f"ConditionHost={around.machine_id}"], f"ConditionHost=!{around.machine_id}"


def _loads(around: Surroundings, *names: str) -> list[str]:
    if around.version < LOADS_CREDENTIALS:
        return []
    verb = "LoadCredentialEncrypted" if around.encrypted else "LoadCredential"
    return [f"{verb}={name}:{around.credentials[name]}" for name in names if name in around.credentials]


def _unit(description: str, unit: Iterable[str], service: Iterable[str], wanted_by: str = "") -> str:
    parts: list[tuple[str, Sequence[str]]] = [
        ("Unit", [f"Description={description}", "Documentation=man:infisical-sync(1)", *unit]),
        ("Service", ["Type=oneshot", *service]),
    ]
    if wanted_by:
        parts.append(("Install", [f"WantedBy={wanted_by}"]))
    return _text(*parts)


def _text(*sections: tuple[str, Sequence[str]]) -> str:
    blocks = ("\n".join([f"[{name}]", *lines]) + "\n" for name, lines in sections)
    return "# Written by the role scheduled_sync of keyfleet.infisical.\n" + "\n".join(blocks)


def _escaped(path: str) -> str:
    """A path in a list of paths: systemd takes blanks and quotes apart, and expands specifiers (systemd.syntax(7))."""
    quoted = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return quoted if re.fullmatch(r"[\w./%+,:@-]+", quoted) else f'"{quoted}"'
