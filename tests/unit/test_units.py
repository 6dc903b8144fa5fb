# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's units, with encrypted credentials and with files. A real systemd verifies them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import units
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.schedule import INTERVALS
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.units import UnitContext
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import systemd

MACHINE = "0123456789abcdef0123456789abcdef"
NAMES = ("infisical_client_id", "infisical_client_secret", "infisical_vault_key", "infisical_webhook_url")
SYNC, DELIVER, NOTIFY, READY, MOVED = units.NAMES
ANALYZE = shutil.which("systemd-analyze") or ""


def context(encrypted: bool = True, *, webhook: bool = True) -> UnitContext:
    store = "/etc/credstore.encrypted" if encrypted else "/etc/infisical-sync/credentials"
    names = NAMES if webhook else NAMES[:-1]
    return UnitContext(MACHINE, {name: f"{store}/{name}" for name in names}, encrypted)


def lines(text: str, name: str) -> list[str]:
    """Return the values of all lines that begin with `name=`."""
    return [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(f"{name}=")]


@pytest.mark.parametrize("encrypted", [True, False])
def test_every_service_has_a_template(encrypted: bool) -> None:
    assert tuple(units.render_services(context(encrypted))) == units.NAMES


@pytest.mark.parametrize("encrypted", [True, False])
def test_every_service_is_sandboxed_without_core_dumps_or_swap(encrypted: bool) -> None:
    for text in units.render_services(context(encrypted)).values():
        for line in (
            "Type=oneshot", "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes",
            "PrivateDevices=yes", "MemoryDenyWriteExecute=yes", "SystemCallErrorNumber=EPERM", "LimitCORE=0",
            "MemorySwapMax=0", "UMask=0077", "SystemCallFilter=@system-service", "RestrictNamespaces=yes",
        ):  # fmt: skip
            assert line in text.splitlines()


@pytest.mark.parametrize("encrypted", [True, False])
def test_only_deliveries_run_as_root_with_few_capabilities(encrypted: bool) -> None:
    found = units.render_services(context(encrypted))
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


@pytest.mark.parametrize("encrypted", [True, False])
def test_services_run_in_the_order_sync_delivery_notification(encrypted: bool) -> None:
    found = units.render_services(context(encrypted))
    for before, after in ((SYNC, "infisical-deliver@%i.service"), (DELIVER, "infisical-notify@%i.service")):
        assert lines(found[before], "OnFailure") == lines(found[before], "OnSuccess") == [after]
    for name in (DELIVER, NOTIFY):
        assert lines(found[name], "StartLimitIntervalSec") == ["0"]
    for name in (NOTIFY, READY):
        assert not any(word in found[name] for word in ("OnFailure", "OnSuccess", "ExecStopPost"))


@pytest.mark.parametrize(
    ("result", "called"),
    [("success", ""), ("timeout", "finish --config /etc/infisical-sync/jobs/shop.ini\n"),
     ("exit-code", "finish --config /etc/infisical-sync/jobs/shop.ini\n")],
)  # fmt: skip
def test_only_a_failed_sync_runs_the_finish_command(tmp_path: Path, result: str, called: str) -> None:
    command = lines(units.render_services(context())[SYNC], "ExecStopPost")[0]
    script = re.fullmatch(r"/bin/sh -c '(.*)'", command)
    assert script is not None
    program = tmp_path / "infisical-sync"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    program.chmod(0o755)
    text = script[1].replace("$$", "$").replace("%i", "shop").replace(units.COMMAND, str(program))
    subprocess.run(["/bin/sh", "-c", text], env={"SERVICE_RESULT": result}, check=True)
    assert ((tmp_path / "called").read_text() if (tmp_path / "called").exists() else "") == called


@pytest.mark.parametrize("encrypted", [True, False])
def test_units_load_encrypted_or_file_credentials(encrypted: bool) -> None:
    found = units.render_services(context(encrypted))
    verb = "LoadCredentialEncrypted" if encrypted else "LoadCredential"
    store = "/etc/credstore.encrypted" if encrypted else "/etc/infisical-sync/credentials"
    expected = {
        SYNC: NAMES[:3], DELIVER: NAMES[2:3], NOTIFY: NAMES[3:], READY: (), MOVED: ()
    }  # fmt: skip
    for name, text in found.items():
        loaded = lines(text, verb)
        assert loaded == [f"{each}:{store}/{each}" for each in expected[name]]
        assert text.count("LoadCredential") == len(loaded)


def test_files_are_loaded_if_credentials_are_not_encrypted() -> None:
    text = units.render_services(context(False))[SYNC]
    assert "LoadCredentialEncrypted" not in text
    assert len(lines(text, "LoadCredential")) == 3


@pytest.mark.parametrize("encrypted", [True, False])
def test_only_syncs_get_the_files_of_a_login(encrypted: bool) -> None:
    found = units.render_services(context(encrypted)._replace(files={"infisical_jwt": "/run/100% token"}))
    assert "infisical_jwt:/run/100%% token" in lines(found[SYNC], "LoadCredential")
    assert lines(found[SYNC], "SetCredential") == ["infisical_jwt:\\n"]
    assert not any("infisical_jwt" in text for name, text in found.items() if name != SYNC)


def test_webhook_credential_is_not_loaded_without_a_webhook() -> None:
    assert "webhook" not in "".join(units.render_services(context(webhook=False)).values())


@pytest.mark.parametrize("encrypted", [True, False])
def test_encrypted_credential_is_not_opened_on_another_machine(encrypted: bool) -> None:
    found = units.render_services(context(encrypted))
    for name, text in found.items():
        if "LoadCredentialEncrypted" in text:
            assert lines(text, "ConditionHost") == [MACHINE], name
    moved = [f"!{MACHINE}"] if encrypted else []
    assert lines(found[MOVED], "ConditionHost") == moved
    assert lines(found[MOVED], "ConditionPathExists") == ([] if moved else ["!/"])


@pytest.mark.parametrize("encrypted", [True, False])
def test_delivered_files_remain_after_the_service_stops(encrypted: bool) -> None:
    found = units.render_services(context(encrypted))
    assert "RuntimeDirectoryPreserve=yes" in found[DELIVER]
    assert lines(found[DELIVER], "RuntimeDirectory") == ["infisical-sync infisical-sync/%i"]
    assert lines(found[DELIVER], "RuntimeDirectoryMode") == ["0755"]
    assert lines(found[SYNC], "RuntimeDirectoryMode") == ["0700"]
    assert [name for name, text in found.items() if "[Install]" in text] == [DELIVER, MOVED]
    assert units.list_boot_services("shop") == ["infisical-deliver@shop.service", "infisical-moved@shop.service"]
    assert lines(found[READY], "After") == lines(found[READY], "Wants") == ["infisical-deliver@%i.service"]
    assert lines(found[READY], "TimeoutStartSec") == ["infinity"]


@pytest.mark.parametrize("encrypted", [True, False])
def test_units_contain_no_secrets_and_run_only_the_sync_command(encrypted: bool) -> None:
    for name, text in units.render_services(context(encrypted)).items():
        command = "/usr/local/bin/infisical-sync {} --config /etc/infisical-sync/jobs/%i.ini"
        assert lines(text, "ExecStart") == [command.format(name.split("-")[1].split("@")[0])]
        assert "Environment" not in text and "SetCredential" not in text


def test_every_host_has_its_own_fixed_timer_delay() -> None:
    text = units.render_timer("shop", 15)
    assert lines(text, "AccuracySec") == ["1s"] and lines(text, "Persistent") == ["yes"]
    assert lines(text, "WantedBy") == ["timers.target"]
    assert lines(text, "OnCalendar") == ["*-*-* *:00/15:00 UTC"]
    assert lines(text, "RandomizedDelaySec") == ["898"] and lines(text, "FixedRandomDelay") == ["yes"]
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
def test_delivery_can_write_to_the_directories_of_its_files(directories: tuple[str, ...], expected: list[str]) -> None:
    assert lines(units.render_write_paths("shop", directories), "ReadWritePaths") == expected


def test_runtime_directory_needs_no_write_path() -> None:
    assert units.render_write_paths("shop", ("/run/infisical-sync/shop",)) == ""


# Verification by systemd


def verified(folder: Path, texts: dict[str, str]) -> str:
    """Return the lines about our units that `systemd-analyze verify` prints."""
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
@pytest.mark.parametrize("encrypted", [True, False])
def test_systemd_accepts_every_unit(tmp_path: Path, encrypted: bool) -> None:
    if this_version() < units.OLDEST_SYSTEMD + encrypted:
        pytest.skip(f"this is systemd {this_version()}")
    proofs = {"infisical_jwt": "/run/my token/100%:i", "infisical_client_cert": "/etc/host.pem"}
    texts = {
        **units.render_services(context(encrypted)._replace(files=proofs)),
        units.name_timer("shop"): units.render_timer("shop", 15),
        "infisical-deliver@.service.d/paths.conf": units.render_write_paths(
            "shop", ("/srv/app", "/run/app", "/srv/my app", "/srv/it's", '/srv/a"b\\c', "/srv/100%i")
        ),
    }
    assert verified(tmp_path, texts) == ""


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")
def test_systemd_reports_an_invalid_unit(tmp_path: Path) -> None:
    texts = units.render_services(context())
    texts[SYNC] = texts[SYNC].replace("PrivateTmp=yes", "PrivateTnp=yes")
    texts["infisical-deliver@.service.d/paths.conf"] = "[Service]\nReadWritePaths=-/srv/it's\n"
    said = verified(tmp_path, texts)
    assert "PrivateTnp" in said and "paths.conf:2" in said


def test_every_interval_has_a_timer() -> None:
    for minutes in INTERVALS:
        (when,) = lines(units.render_timer("shop", minutes), "OnCalendar")
        assert when.startswith("*-*-* ") and when.endswith(" UTC")
