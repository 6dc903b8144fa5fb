# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of the agent's systemd units: what runs, when, as which user, and with access to what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from .schedule import compute_delay, format_interval, render_calendar

USER = "infisical-sync"
UNITS = "/etc/systemd/system"
COMMAND = "/usr/local/bin/infisical-sync"
CONFIGURATION = "/etc/infisical-sync"
STATE = "/var/lib/infisical-sync"
DELIVERIES = "/var/lib/infisical-deliver"
RUNTIME = "/run/infisical-sync"
REPORTS = "/run/infisical-agent"
"""Delivered files (RUNTIME) and the reports of the last cycles (REPORTS) are in memory, so a full disk does not affect
them."""

OLDEST_SYSTEMD = 249
DECRYPTS_CREDENTIALS = 250
"""The systemd versions that introduced OnSuccess= (249) and LoadCredentialEncrypted= (250), according to systemd's
NEWS."""

SECONDS_OF_A_CYCLE = 1800
"""The maximum duration of a sync, including all its waits."""


class UnitContext(NamedTuple):
    """The facts that the units depend on: the machine ID, the paths of the agent's credentials, whether these are
    encrypted, and the paths of plain files that a login needs. Both are keyed by the name of the credential."""

    machine_id: str
    credentials: Mapping[str, str]
    encrypted: bool
    files: Mapping[str, str] = MappingProxyType({})


def report_file(job: str) -> str:
    """Return the path of the report on a job's last cycle."""
    return f"{REPORTS}/{job}/result.json"


def record_file(job: str) -> str:
    """Return the path of the record of a job's deliveries."""
    return f"{DELIVERIES}/{job}.json"


# Privileges that no service of the agent needs. Sources: systemd.exec(5), and `systemd-analyze security`.
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
    # Never write memory to a disk.
    "LimitCORE=0",
    "MemorySwapMax=0",
)
_OF_A_USER = ("CapabilityBoundingSet=", "AmbientCapabilities=", "SystemCallFilter=~@privileged @resources")
_WITH_NETWORK = ("RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",)
_WITHOUT_NETWORK = ("PrivateNetwork=yes", "IPAddressDeny=any", "RestrictAddressFamilies=AF_UNIX")
_LOGIN = ("infisical_client_id", "infisical_client_secret", "infisical_password", "infisical_jwt_key")
"""The credentials that contain the agent's own secrets for the login."""
_DIRECTORIES = (
    "StateDirectory=infisical-sync infisical-sync/%i",
    "StateDirectoryMode=0700",
    "RuntimeDirectory=infisical-agent infisical-agent/%i",
    "RuntimeDirectoryMode=0700",
    "RuntimeDirectoryPreserve=yes",
)
_DELIVERY_DIRECTORIES = (
    "StateDirectory=infisical-deliver",
    "StateDirectoryMode=0700",
    "RuntimeDirectory=infisical-sync infisical-sync/%i",
    "RuntimeDirectoryMode=0755",
    "RuntimeDirectoryPreserve=yes",
)

NAMES = tuple(f"infisical-{name}@.service" for name in ("sync", "deliver", "notify", "ready", "moved"))
"""The templates of all services. Each job is an instance."""

MOVED = "infisical-moved@{}.service"


def list_boot_services(job: str) -> list[str]:
    """Return a job's services that start at boot. Files in memory are lost at boot, and the disk may be another
    machine's copy."""
    return [f"infisical-deliver@{job}.service", MOVED.format(job)]


def list_services(job: str) -> list[str]:
    """Return a job's services, each before the services that start when it ends."""
    return [name.replace("@", f"@{job}") for name in NAMES]


def name_timer(job: str) -> str:
    """Return the name of a job's timer."""
    return f"infisical-sync@{job}.timer"


def render_services(context: UnitContext) -> dict[str, str]:
    """Return the service templates: {name: text}."""
    start = f"{COMMAND} {{}} --config {CONFIGURATION}/jobs/%i.ini"
    # On a machine with another ID, systemd deletes the host's key as soon as a unit opens a credential.
    here = [f"ConditionHost={context.machine_id}"] if context.encrypted else []
    elsewhere = f"ConditionHost=!{context.machine_id}" if context.encrypted else "ConditionPathExists=!/"
    # A killed sync does not write a report. `finish` writes one from the result that systemd passes.
    finish = f"ExecStopPost=/bin/sh -c '[ \"$$SERVICE_RESULT\" = success ] || exec {start.format('finish')}'"
    after_sync, after_delivery = (
        [f"{event}=infisical-{name}@%i.service" for event in ("OnSuccess", "OnFailure")]
        for name in ("deliver", "notify")
    )
    # No limit on starts, because a user may start many cycles.
    often = "StartLimitIntervalSec=0"
    user = (*_OF_A_USER, f"User={USER}")
    client = (*user, *_WITH_NETWORK, *_DIRECTORIES)
    services: dict[str, tuple[str, list[str], list[str]]] = {
        "sync": (
            "Sync of secrets from Infisical: %i",
            # A running delivery may already have read the vault. If the sync ended before this delivery, systemd would
            # not start another delivery.
            [*here, often, "Wants=network-online.target", "After=network-online.target infisical-deliver@%i.service",
             *after_sync],
            [*client, f"TimeoutStartSec={SECONDS_OF_A_CYCLE}", finish,
             *_load_credentials(context, *_LOGIN, "infisical_vault_key"), *_load_files(context.files)],
        ),
        "deliver": (
            "Delivery of secrets from the vault to applications: %i",
            [*here, often, *after_delivery],
            [*_WITHOUT_NETWORK, "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER",
             "SystemCallFilter=@chown", *_DELIVERY_DIRECTORIES, f"ReadWritePaths=-{REPORTS}/%i",
             *_load_credentials(context, "infisical_vault_key")],
        ),
        "notify": (
            "Notification of a failed sync or its recovery: %i",
            [*here, often],
            [*client, *_load_credentials(context, "infisical_webhook_url")],
        ),
        "ready": (
            "First delivery of secrets after boot: %i",
            ["Wants=infisical-deliver@%i.service", "After=infisical-deliver@%i.service"],
            [*user, *_WITHOUT_NETWORK, "RemainAfterExit=yes", "TimeoutStartSec=infinity"],
        ),
        "moved": (
            "Check that the agent was installed on this machine: %i",
            [elsewhere],
            [*client, f"ExecStopPost={start.format('notify')}"],
        ),
    }  # fmt: skip
    boot = [("Install", ["WantedBy=multi-user.target"])]
    return {
        f"infisical-{name}@.service": _render(
            ("Unit", [f"Description={description}", "Documentation=man:infisical-sync(1)", *unit]),
            ("Service", ["Type=oneshot", *_SANDBOX, *service, f"ExecStart={start.format(name)}"]),
            *(boot if name in ("deliver", "moved") else []),
        )
        for name, (description, unit, service) in services.items()
    }


def render_timer(job: str, minutes: int) -> str:
    """Return a job's timer. The machine ID determines the delay within the interval (FixedRandomDelay=)."""
    return _render(
        ("Unit", [f"Description=Sync of secrets from Infisical every {format_interval(minutes)}: {job}"]),
        ("Timer", [f"OnCalendar={render_calendar(minutes)}", f"RandomizedDelaySec={compute_delay(minutes)}",
                   "FixedRandomDelay=yes", "AccuracySec=1s", "Persistent=yes"]),
        ("Install", ["WantedBy=timers.target"]),
    )  # fmt: skip


def render_write_paths(job: str, directories: Iterable[str]) -> str:
    """Return the drop-in that lets a job's delivery write to these directories, or empty if it needs none."""
    own = f"{RUNTIME}/{job}"
    outside = [path for path in directories if path != own and not path.startswith(own + "/")]
    if not outside:
        return ""
    # Directories in memory do not exist after a boot, and systemd ignores a missing path after "-". So allow all of
    # /run.
    paths = dict.fromkeys("/run" if path.startswith("/run/") else f"-{path}" for path in outside)
    return _render(("Service", [f"ReadWritePaths={_escape(path)}" for path in sorted(paths)]))


def _load_credentials(context: UnitContext, *names: str) -> list[str]:
    verb = "LoadCredentialEncrypted" if context.encrypted else "LoadCredential"
    return [f"{verb}={name}:{context.credentials[name]}" for name in names if name in context.credentials]


def _load_files(paths: Mapping[str, str]) -> list[str]:
    """Return the settings that copy files for each start of a service, also files that only root can read.

    If a file is missing, the service gets a copy that contains only a newline (SetCredential=, whose value must not be
    empty), so that the sync can report the problem.
    """
    found = []
    for name, path in paths.items():
        found += [f"LoadCredential={name}:{path.replace('%', '%%')}", f"SetCredential={name}:\\n"]
    return found


def _render(*sections: tuple[str, Sequence[str]]) -> str:
    blocks = ("\n".join([f"[{name}]", *lines]) + "\n" for name, lines in sections)
    return "# Written by the role scheduled_sync of keyfleet.infisical.\n" + "\n".join(blocks)


def _escape(path: str) -> str:
    """Quote a path for a list setting, in which systemd interprets spaces, quotes and specifiers
    (systemd.syntax(7))."""
    quoted = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return quoted if re.fullmatch(r"[\w./%+,:@-]+", quoted) else f'"{quoted}"'
