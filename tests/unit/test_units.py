# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's units: what is in them for each version of systemd and what is not, and that systemd reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import units
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.schedule import INTERVALS
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.units import Surroundings, Timing
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import systemd

VERSIONS = (240, 247, 249, 252, 257)
MACHINE = "0123456789abcdef0123456789abcdef"
NAMES = ("infisical_client_id", "infisical_client_secret", "infisical_vault_key", "infisical_webhook_url")
SYNC, DELIVER, NOTIFY, READY, MOVED = units.NAMES
ANALYZE = shutil.which("systemd-analyze") or ""


def around(version: int, *, encrypted: bool | None = None, webhook: bool = True) -> Surroundings:
    """A host with this systemd, whose credentials are encrypted where they can be."""
    encrypted = version >= units.DECRYPTS_CREDENTIALS if encrypted is None else encrypted
    store = "/etc/credstore.encrypted" if encrypted else "/etc/infisical-sync/credentials"
    names = NAMES if webhook else NAMES[:-1]
    return Surroundings(version, MACHINE, "infisical-sync", {name: f"{store}/{name}" for name in names}, encrypted)


def lines(text: str, name: str) -> list[str]:
    """The values of all lines `name=`."""
    return [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(f"{name}=")]


def timer(version: int, minutes: int = 15) -> str:
    return units.timer(Timing("shop", minutes, ()), around(version))


@pytest.mark.parametrize("version", VERSIONS)
def test_there_is_a_template_for_each_service(version: int) -> None:
    assert tuple(units.services(around(version))) == units.NAMES


@pytest.mark.parametrize("version", VERSIONS)
def test_every_service_is_sandboxed_writes_no_core_and_is_not_swapped(version: int) -> None:
    for text in units.services(around(version)).values():
        for line in (
            "Type=oneshot", "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes",
            "PrivateDevices=yes", "MemoryDenyWriteExecute=yes", "SystemCallErrorNumber=EPERM", "LimitCORE=0",
            "MemorySwapMax=0", "UMask=0077", "SystemCallFilter=@system-service", "RestrictNamespaces=yes",
        ):  # fmt: skip
            assert line in text.splitlines()


@pytest.mark.parametrize("version", VERSIONS)
def test_only_deliveries_run_as_root_and_without_most_of_its_rights(version: int) -> None:
    found = units.services(around(version))
    assert lines(found[DELIVER], "User") == []
    assert lines(found[DELIVER], "CapabilityBoundingSet") == ["CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER"]
    assert lines(found[DELIVER], "PrivateNetwork") == ["yes"]
    assert lines(found[DELIVER], "RestrictAddressFamilies") == ["AF_UNIX"]
    for name in set(units.NAMES) - {DELIVER}:
        assert lines(found[name], "User") == ["infisical-sync"]
        assert lines(found[name], "CapabilityBoundingSet") == [""]
        assert "~@privileged @resources" in lines(found[name], "SystemCallFilter")
    for name in (SYNC, NOTIFY, MOVED):
        assert lines(found[name], "PrivateNetwork") == []
        assert lines(found[name], "RestrictAddressFamilies") == ["AF_INET AF_INET6 AF_UNIX"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_delivery_comes_after_every_sync_and_a_notification_after_every_delivery(version: int) -> None:
    found = units.services(around(version))
    for before, after in ((SYNC, "infisical-deliver@%i.service"), (DELIVER, "infisical-notify@%i.service")):
        started = [f"+-/bin/systemctl start --no-block {after}"]
        at_end = [line for line in lines(found[before], "ExecStopPost") if "systemctl" in line]
        if version >= 249:
            assert lines(found[before], "OnFailure") == lines(found[before], "OnSuccess") == [after]
            assert at_end == []
        else:
            assert "OnSuccess" not in found[before] and "OnFailure" not in found[before]
            assert at_end == started
    for name in (DELIVER, NOTIFY):
        assert lines(found[name], "StartLimitIntervalSec") == ["0"]
    for name in (NOTIFY, READY):
        assert not any(word in found[name] for word in ("OnFailure", "OnSuccess", "ExecStopPost"))


@pytest.mark.parametrize(
    ("result", "called"),
    [("success", ""), ("timeout", "finish --config /etc/infisical-sync/jobs/shop.ini\n"),
     ("exit-code", "finish --config /etc/infisical-sync/jobs/shop.ini\n")],
)  # fmt: skip
def test_a_sync_that_did_not_succeed_is_finished_by_a_report_and_no_other_is(
    tmp_path: Path, result: str, called: str
) -> None:
    command = lines(units.services(around(252))[SYNC], "ExecStopPost")[0]
    script = re.fullmatch(r"/bin/sh -c '(.*)'", command)
    assert script is not None
    program = tmp_path / "infisical-sync"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    program.chmod(0o755)
    text = script[1].replace("$$", "$").replace("%i", "shop").replace(units.COMMAND, str(program))
    subprocess.run(["/bin/sh", "-c", text], env={"SERVICE_RESULT": result}, check=True)
    assert ((tmp_path / "called").read_text() if (tmp_path / "called").exists() else "") == called


@pytest.mark.parametrize("version", VERSIONS)
def test_credentials_come_from_systemd_as_well_as_it_can(version: int) -> None:
    found = units.services(around(version))
    verb = "LoadCredentialEncrypted" if version >= 250 else "LoadCredential"
    store = "/etc/credstore.encrypted" if version >= 250 else "/etc/infisical-sync/credentials"
    expected = {
        SYNC: NAMES[:3], DELIVER: NAMES[2:3], NOTIFY: NAMES[3:], READY: (), MOVED: ()
    }  # fmt: skip
    for name, text in found.items():
        loaded = lines(text, verb)
        assert loaded == ([f"{each}:{store}/{each}" for each in expected[name]] if version >= 247 else [])
        assert text.count("LoadCredential") == len(loaded)


def test_files_are_loaded_where_credentials_are_not_encrypted() -> None:
    text = units.services(around(257, encrypted=False))[SYNC]
    assert "LoadCredentialEncrypted" not in text
    assert len(lines(text, "LoadCredential")) == 3


def test_without_a_webhook_no_credential_of_one_is_loaded() -> None:
    assert "webhook" not in "".join(units.services(around(257, webhook=False)).values())


@pytest.mark.parametrize("version", VERSIONS)
def test_on_another_machine_no_unit_opens_an_encrypted_credential(version: int) -> None:
    found = units.services(around(version))
    for name, text in found.items():
        if "LoadCredentialEncrypted" in text:
            assert lines(text, "ConditionHost") == [MACHINE], name
    moved = [f"!{MACHINE}"] if version >= 250 else []
    assert lines(found[MOVED], "ConditionHost") == moved
    assert lines(found[MOVED], "ConditionPathExists") == ([] if moved else ["!/"])


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_delivered_stays_after_the_service_and_is_there_after_a_boot(version: int) -> None:
    found = units.services(around(version))
    assert "RuntimeDirectoryPreserve=yes" in found[DELIVER]
    assert lines(found[DELIVER], "RuntimeDirectory") == ["infisical-sync", "infisical-sync/%i"]
    assert lines(found[DELIVER], "RuntimeDirectoryMode") == ["0755"]
    assert lines(found[SYNC], "RuntimeDirectoryMode") == ["0700"]
    assert [name for name, text in found.items() if "[Install]" in text] == [DELIVER, MOVED]
    assert units.at_boot("shop") == ["infisical-deliver@shop.service", "infisical-moved@shop.service"]
    assert lines(found[READY], "After") == lines(found[READY], "Wants") == ["infisical-deliver@%i.service"]
    assert lines(found[READY], "TimeoutStartSec") == ["infinity"]


@pytest.mark.parametrize("version", VERSIONS)
def test_no_unit_names_a_secret_or_another_program(version: int) -> None:
    for name, text in units.services(around(version)).items():
        command = "/usr/local/bin/infisical-sync {} --config /etc/infisical-sync/jobs/%i.ini"
        assert lines(text, "ExecStart") == [command.format(name.split("-")[1].split("@")[0])]
        assert "Environment" not in text and "SetCredential" not in text


@pytest.mark.parametrize("version", VERSIONS)
def test_a_timer_spreads_the_hosts_over_the_interval_and_always_the_same_way(version: int) -> None:
    text = timer(version)
    assert lines(text, "AccuracySec") == ["1s"] and lines(text, "Persistent") == ["yes"]
    assert lines(text, "WantedBy") == ["timers.target"]
    if version >= 247:
        assert lines(text, "OnCalendar") == ["*-*-* *:00/15:00 UTC"]
        assert lines(text, "RandomizedDelaySec") == ["898"] and lines(text, "FixedRandomDelay") == ["yes"]
    else:
        assert "RandomizedDelay" not in text and "FixedRandomDelay" not in text
        assert timer(version) == text
        other = around(version)._replace(machine_id="f" * 32)
        assert units.timer(Timing("shop", 15, ()), other) != text
    assert "OnUnitActiveSec" not in text


# Directories


@pytest.mark.parametrize(
    ("directories", "expected"),
    [
        ((), []),
        (("/run/infisical-sync/shop", "/run/infisical-sync/shop/deep"), []),
        (("/srv/app",), ["-/srv/app"]),
        (("/srv/app", "/srv/app"), ["-/srv/app"]),
        (("/run/app", "/run/other/x"), ["/run"]),
        (("/run/infisical-sync/other",), ["/run"]),
        (("/run/infisical-sync/shop2",), ["/run"]),
        (("/srv/100%i",), ["-/srv/100%%i"]),
        (("/srv/my app",), ['"-/srv/my app"']),
        (('/srv/a"b\\c',), ['"-/srv/a\\"b\\\\c"']),
        (("/srv/it's",), ['"-/srv/it\'s"']),
        (("/srv/a\tb",), ['"-/srv/a\tb"']),
    ],
)
def test_a_delivery_may_write_where_its_files_lie(directories: tuple[str, ...], expected: list[str]) -> None:
    assert lines(units.writable(Timing("shop", 15, directories)), "ReadWritePaths") == expected


def test_without_directories_outside_nothing_is_added() -> None:
    assert units.writable(Timing("shop", 15, ("/run/infisical-sync/shop",))) == ""


# What systemd says


def verified(folder: Path, texts: dict[str, str]) -> str:
    """What systemd-analyze complains of in these units."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    # Its conditions, paths and programs belong to another host.
    names = [name.replace("@.", "@shop.") for name in texts if "/" not in name]
    for name in names:
        if not (folder / name).exists():
            (folder / name).write_text((folder / name.replace("@shop.", "@.")).read_text("utf-8"), "utf-8")
    ended = subprocess.run(
        [ANALYZE, "verify", "--man=no", *(str(folder / name) for name in names)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    ours = [line for line in (ended.stdout + ended.stderr).splitlines() if "infisical" in line]
    return "\n".join(line for line in ours if "is not executable" not in line)


def this_version() -> int:
    found = re.match(rb"systemd (\d+)", systemd.run(["systemctl", "--version"]).out)
    return int(found[1]) if found else 0


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("version", VERSIONS)
def test_systemd_reads_all_units_without_a_word(tmp_path: Path, version: int) -> None:
    if version > this_version():
        pytest.skip(f"this is systemd {this_version()}")
    texts = {
        **units.services(around(version)),
        units.timer_of("shop"): timer(version),
        "infisical-deliver@.service.d/paths.conf": units.writable(
            Timing("shop", 15, ("/srv/app", "/run/app", "/srv/my app", "/srv/it's", '/srv/a"b\\c', "/srv/100%i"))
        ),
    }
    assert verified(tmp_path, texts) == ""


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")
def test_systemd_would_say_what_is_wrong(tmp_path: Path) -> None:
    texts = units.services(around(240))
    texts[SYNC] = texts[SYNC].replace("PrivateTmp=yes", "PrivateTnp=yes")
    texts["infisical-deliver@.service.d/paths.conf"] = "[Service]\nReadWritePaths=-/srv/it's\n"
    said = verified(tmp_path, texts)
    assert "PrivateTnp" in said and "paths.conf:2" in said


@pytest.mark.parametrize("version", [240, 252])
def test_every_interval_has_a_timer(version: int) -> None:
    for minutes in INTERVALS:
        (when,) = lines(timer(version, minutes), "OnCalendar")
        assert when.startswith("*-*-* ") and when.endswith(" UTC")
