# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent on a host that a folder simulates: installation, changes, moved disks, key rotation and removal."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="the vault needs cryptography")

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import (
    config,
    credentials,
    install,
    library,
    report,
    units,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import host as hosts
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import jobs as agent_jobs
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.deliver import (
    File,
    Record,
    deliver,
    open_record,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.host import Changes, HostFacts
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.spec import Agent, Job, check_agent
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files, systemd
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    Busy,
    ConfigurationError,
    InfisicalError,
    StorageFailed,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.version import VERSION
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from unit.programs import Programs

LIBRARY = Path(str(install.__file__)).parents[1]
MACHINE, OTHER_MACHINE = "0123456789abcdef" * 2, "fedcba9876543210" * 2
SECRET, WEBHOOK = "CANARY-client-secret", "https://hooks.example.com/CANARY-webhook"
SETTINGS = Settings(url="https://infisical.example.com", client_id="id-of-the-fleet", client_secret=SECRET)
SHOP = Job("shop", 15, {"environment": "prod", "project_ids": ("p1", "p2"), "prune": True, "max_delete_percent": 30.0})
AGENT = Agent(SETTINGS, (SHOP,))
"""`AGENT` has a fast substitute for Python. `REAL` has a Python that runs the installed command."""
REAL = replace(AGENT, python=sys.executable)

CREDS = """
name=${2#--name=}
case "$1" in
encrypt) printf '%s %s ' "$name" "$(cat /proc/sys/kernel/random/uuid)"; base64 -w0 ;;
decrypt) read -r sealed_for nonce data < "$3"
    [ "$sealed_for" = "$name" ] || { echo "Embedded credential name does not match" >&2; exit 1; }
    printf %s "$data" | base64 -d ;;
esac
"""
SYSTEMCTL = """
state={folder}/systemd; mkdir -p "$state"
verb=$1; shift
for unit in "$@"; do
    case "$unit" in --*) continue ;; esac
    case "$verb" in
    is-enabled) [ -e "$state/enabled $unit" ] && echo enabled || echo disabled ;;
    is-active) [ -e "$state/active $unit" ] && echo active || echo inactive ;;
    enable) touch "$state/enabled $unit" ;;
    start|restart) touch "$state/active $unit" ;;
    disable) rm -f "$state/enabled $unit" "$state/active $unit" ;;
    show) [ -e "$state/changed since" ] && echo yes || echo no ;;
    esac
done
"""


class Host:
    """A host whose paths are in a folder, with a simulated systemd that stores which units are enabled and active."""

    def __init__(self, root: Path, programs: Programs) -> None:
        self.root, self.programs = root, programs
        self.facts = HostFacts(252, MACHINE)
        programs.put("python", 'case "$*" in *compileall*) ;; *) echo "3 11 " ;; esac')
        programs.put("systemd-creds", CREDS)
        programs.put("systemctl", SYSTEMCTL.format(folder=programs.folder))

    def apply(self, wanted: Agent = AGENT, *, check: bool = False) -> install.InstallResult:
        if wanted.python == Agent.python:
            wanted = replace(wanted, python=str(self.programs.folder / "python"))
        return install.apply(wanted, self.facts, check=check)

    def same_in_check_mode(self, wanted: Agent) -> install.InstallResult:
        """Run, and assert that check mode changed nothing before and predicted the same changes."""
        before = self.everything()
        foretold = self.apply(wanted, check=True)
        assert self.everything() == before, "check mode has changed something"
        done = self.apply(wanted)
        assert foretold.lines == done.lines
        assert (foretold.diffs, foretold.due, foretold.version) == (done.diffs, done.due, done.version)
        return done

    def settled(self, wanted: Agent = AGENT) -> None:
        """Assert that neither check mode nor a run changes anything."""
        for check in (True, False):
            assert self.apply(wanted, check=check).lines == []

    def everything(self) -> dict[str, Any]:
        """Return all files with their contents, owners, modes and times, and the state of systemd."""
        found: dict[str, Any] = {}
        for path in sorted([*self.root.rglob("*"), *(self.programs.folder / "systemd").glob("*")]):
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content)
        return found

    def path(self, name: str) -> Path:
        """Return the path on this machine for a path of the host."""
        return self.root / name.lstrip("/")

    def what(self, name: str) -> tuple[int, int, int]:
        found = self.path(name).lstat()
        return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)

    @property
    def active(self) -> list[str]:
        return sorted(path.name for path in (self.programs.folder / "systemd").glob("*"))

    def fill(self, job: str = "shop", key: bytes | None = None) -> None:
        """Create the results of a first sync: a vault and the report of a success."""
        key = key or self.key()
        vault, state = local.open_vault(f"{units.STATE}/{job}/secrets.vault", credentials.HeldKey(key))
        local.put(vault, state, "A", "CANARY-value")
        (self.path(f"run/infisical-agent/{job}")).mkdir(parents=True, exist_ok=True)
        report.write(units.report_file(job), report.CycleReport(job, ended="2026-01-15T10:30:00Z"))

    def key(self) -> bytes:
        encrypted = self.path("etc/credstore.encrypted/infisical_vault_key")
        if encrypted.exists():
            return systemd.decrypt("infisical_vault_key", str(encrypted))
        return self.path("etc/infisical-sync/credentials/infisical_vault_key").read_bytes()


@pytest.fixture
def host(room: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    places = {
        units: {"COMMAND": "usr/local/bin/infisical-sync", "CONFIGURATION": "etc/infisical-sync",
                "STATE": "var/lib/infisical-sync", "DELIVERIES": "var/lib/infisical-deliver",
                "RUNTIME": "run/infisical-sync", "REPORTS": "run/infisical-agent", "UNITS": "etc/systemd/system"},
        library: {"LIBRARY": "usr/local/lib/infisical-sync"},
        hosts: {"_LOCK": "run/infisical-agent.lock"},
        config: {"JOBS": "etc/infisical-sync/jobs", "SERVICES_CREDENTIALS": "run/credentials"},
        systemd: {"CREDSTORE": "etc/credstore.encrypted", "INSTALLED_MACHINE_ID": "etc/infisical-sync/machine-id",
                  "MACHINE_ID": "etc/machine-id"},
    }  # fmt: skip
    for module, names in places.items():
        for name, path in names.items():
            monkeypatch.setattr(module, name, str(room / path))
        for name, value in vars(module).items():
            if isinstance(value, str) and value.startswith("/") and not name.startswith("__"):
                assert value.startswith(str(room)), f"{name} lies on this machine: {value}"
    monkeypatch.setattr(units, "USER", "nobody")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a library's files take seconds to reach a busy disk
    for folder in ("usr/local/bin", "usr/local/lib", "etc/systemd/system", "run", "var/lib"):
        (room / folder).mkdir(parents=True)
    (room / "etc/machine-id").write_text(MACHINE + "\n")
    (room / "run/infisical-agent.lock").touch()
    yield Host(room, programs)


# Installing


def test_check_mode_predicts_changes_and_second_run_makes_none(host: Host) -> None:
    done = host.same_in_check_mode(AGENT)
    assert f"{config.JOBS}/shop.ini is created" in done.lines and done.due == ["shop"]
    assert host.active == [
        "active infisical-sync@shop.timer", "enabled infisical-deliver@shop.service",
        "enabled infisical-moved@shop.service", "enabled infisical-sync@shop.timer",
    ]  # fmt: skip
    host.programs.calls()
    before = host.everything()
    host.settled()
    assert host.everything() == before
    called = [call for call in host.programs.calls() if call.startswith(("systemctl", "systemd-creds", "useradd"))]
    assert called and not [call for call in called if not re.match("systemctl (is-|show )|systemd-creds decrypt", call)]


@pytest.mark.parametrize("version", [249, 252, 257])
def test_check_mode_predicts_changes_for_every_systemd_version(host: Host, version: int) -> None:
    host.facts = HostFacts(version, MACHINE)
    wanted = replace(AGENT, notify_webhook_url=WEBHOOK, metrics_directory=str(host.path("srv/metrics")))
    host.same_in_check_mode(wanted)
    host.settled(wanted)


def test_installed_command_runs_with_the_configured_python(host: Host) -> None:
    done = host.apply(REAL)
    command = subprocess.run([units.COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert command.stdout == f"infisical-sync {VERSION}\n"
    assert done.version.startswith(f"{VERSION}-")
    assert host.what("usr/local/bin/infisical-sync") == (0, 0, 0o755)
    folder = host.path("usr/local/lib/infisical-sync/current/infisical")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.py")} == set(library.read_sources())
    assert len(list(folder.rglob("__pycache__/*.pyc"))) == len(library.read_sources())
    assert all(stat.S_IMODE(path.stat().st_mode) in (0o644, 0o755) for path in folder.rglob("*"))


def test_restrictive_umask_does_not_restrict_library_files(host: Host) -> None:
    before = os.umask(0o077)
    try:
        host.apply(replace(REAL, jobs=(SHOP._replace(files=(File(str(host.path("srv/a/b/app.env"))),)),)))
    finally:
        os.umask(before)
    for path in (
        "usr/local/lib/infisical-sync/current/infisical/cli/main.py",
        "usr/local/bin/infisical-sync",
        "srv/a/b",
    ):
        found = host.path(path).resolve()
        while found != host.root:
            assert found.stat().st_mode & 0o005 >= 4, found
            found = found.parent


def test_installed_library_is_identical_to_the_source() -> None:
    assert library.read_sources() == {
        str(path.relative_to(LIBRARY)): path.read_bytes() for path in LIBRARY.rglob("*.py")
    }


def test_upgrade_keeps_only_the_current_and_previous_version(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [host.apply().version]
    for text in (b"# second\n", b"# third\n"):
        found = {**library.read_sources(), "core/errors.py": (LIBRARY / "core/errors.py").read_bytes() + text}
        monkeypatch.setattr(library, "read_sources", lambda found=found: found)
        versions.append(host.same_in_check_mode(AGENT).version)
        host.settled()
    folder = host.path("usr/local/lib/infisical-sync")
    assert os.readlink(folder / "current") == f"versions/{versions[2]}"
    assert sorted(path.name for path in (folder / "versions").iterdir()) == sorted(versions[1:])


def test_interrupted_installation_is_completed_by_the_next_run(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    version = host.apply(check=True).version
    unfinished = host.path(f"usr/local/lib/infisical-sync/versions/{version}.unfinished/infisical")
    unfinished.mkdir(parents=True)
    (unfinished / "half.py").write_text("half")
    host.apply()
    assert [path.name for path in host.path("usr/local/lib/infisical-sync/versions").iterdir()] == [version]
    host.settled()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo '3 8 '", "must be Python 3.9 or later"),
        ("exit 1", "must be Python 3.9 or later"),
        ("echo 'three nine'", "must be Python 3.9 or later"),
        ("echo '3 11 requests cryptography'", "'requests' is missing for"),
    ],
)
def test_unsuitable_python_is_refused_before_any_change(host: Host, script: str, words: str) -> None:
    host.programs.put("old-python", script)
    before = host.everything()
    with pytest.raises(InfisicalError, match=words) as refused:
        host.apply(replace(AGENT, python=str(host.programs.folder / "old-python")))
    assert "old-python" in str(refused.value)
    assert host.everything() == before


@pytest.mark.parametrize(("version", "words"), [(0, "systemd does not run this host"), (248, "this host runs 248")])
def test_host_with_systemd_older_than_249_is_refused(host: Host, version: int, words: str) -> None:
    host.facts, before = HostFacts(version, MACHINE), host.everything()
    for check in (True, False):
        with pytest.raises(InfisicalError, match=f"requires systemd 249 or later, and {words}") as refused:
            host.apply(check=check)
        assert refused.value.conclusion == "configuration"
    assert host.everything() == before


def test_two_runs_cannot_change_one_host_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_LOCK_WAIT", 0.05)
    with files.lock_file(hosts._LOCK, 1):
        for run in (host.apply, lambda: install.remove(remove_vault=False)):
            with pytest.raises(InfisicalError, match="Another run") as refused:
                run()
            assert refused.value.conclusion == "busy"
        host.apply(check=True)


# Credentials


def test_encrypted_credentials_are_never_stored_as_plain_text(host: Host) -> None:
    host.apply(replace(AGENT, notify_webhook_url=WEBHOOK))
    kept = {path: path.read_bytes() for path in host.root.rglob("*") if path.is_file() and not path.is_symlink()}
    key = host.key()
    assert len(key) == keys.KEY_BYTES
    for path, content in kept.items():
        if LIBRARY.name not in path.parts:
            assert b"CANARY" not in content and key not in content and b"id-of-the-fleet" not in content, path
    assert "CANARY" not in "".join(host.programs.calls())
    for name in ("client_id", "client_secret", "webhook_url", "vault_key"):
        assert host.what(f"etc/credstore.encrypted/infisical_{name}") == (0, 0, 0o600)
    assert systemd.decrypt("infisical_client_secret").decode() == SECRET
    assert not host.path("etc/infisical-sync/credentials").exists()


def test_systemd_249_credentials_are_files_that_root_owns(host: Host) -> None:
    host.facts = HostFacts(249, MACHINE)
    host.apply(replace(AGENT, notify_webhook_url=WEBHOOK))
    folder = "etc/infisical-sync/credentials"
    for name in ("infisical_client_id", "infisical_client_secret", "infisical_vault_key", "infisical_webhook_url"):
        assert host.what(f"{folder}/{name}") == (0, 0, 0o600)
    assert host.path(f"{folder}/infisical_client_secret").read_text() == SECRET
    settled = config.SyncConfig({}, {}, f"{config.JOBS}/shop.ini")
    assert settled.get(("infisical", "client_secret_file")) == str(host.path(f"{folder}/infisical_client_secret"))
    assert settled.get(("vault", "key_file")) == str(host.path(f"{folder}/infisical_vault_key"))
    assert settled.get(("notify", "webhook_url_file")) == str(host.path(f"{folder}/infisical_webhook_url"))


def test_new_client_secret_causes_a_sync(host: Host) -> None:
    host.apply()
    host.fill()
    assert host.apply().due == []
    wanted = replace(AGENT, settings=replace(SETTINGS, client_secret="CANARY-new"))
    done = host.same_in_check_mode(wanted)
    assert done.lines == [f"{systemd.CREDSTORE}/infisical_client_secret is changed"]
    assert done.due == ["shop"] and not done.diffs
    host.settled(wanted)


def test_removing_the_webhook_removes_its_credential(host: Host) -> None:
    host.apply(replace(AGENT, notify_webhook_url=WEBHOOK))
    host.same_in_check_mode(AGENT)
    assert not host.path("etc/credstore.encrypted/infisical_webhook_url").exists()
    host.settled()


@pytest.mark.parametrize(("before", "after"), [("file", "encrypted"), ("encrypted", "file")])
def test_changing_the_credential_storage_keeps_the_vault_key(host: Host, before: str, after: str) -> None:
    host.apply(replace(AGENT, credentials=before))
    key = host.key()
    host.fill()
    wanted = replace(AGENT, credentials=after)
    done = host.same_in_check_mode(wanted)
    assert host.key() == key and not done.warnings
    host.settled(wanted)
    left = {
        path.name for path in host.root.rglob("infisical_*") if path.is_file() and "credentials" in str(path.parent)
    }
    assert bool(left) == (after == "file")
    assert bool(list(host.path("etc/credstore.encrypted").iterdir())) == (after == "encrypted")


def test_encrypted_credentials_require_systemd_250(host: Host) -> None:
    host.facts = HostFacts(249, MACHINE)
    with pytest.raises(ConfigurationError, match="Set credentials: file") as refused:
        host.apply(replace(AGENT, credentials="encrypted"), check=True)
    assert refused.value.option == "credentials"


def test_copied_credentials_are_not_decrypted_on_another_machine(host: Host) -> None:
    host.apply()
    key = host.key()
    host.fill()
    host.facts = HostFacts(252, OTHER_MACHINE)
    host.path("etc/machine-id").write_text(OTHER_MACHINE + "\n")
    host.programs.calls()
    done = host.apply()
    assert not [call for call in host.programs.calls() if "decrypt" in call]
    assert done.due == ["shop"]
    assert "moved aside" in done.warnings[0] and "its key is lost" in done.warnings[0]
    assert host.key() != key
    there = sorted(path.name.split("Z")[0] for path in host.path("var/lib/infisical-sync/shop").glob("*.vault*"))
    assert not [name for name in there if "lost" not in name and not name.endswith(".lock")]
    host.fill()
    host.settled()


def test_vault_key_is_not_replaced_if_systemd_creds_fails(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.apply()
    host.fill()
    key, before = host.key(), host.everything()
    run = systemd.run

    def slow(command: Any, **options: Any) -> systemd.Ended:
        if command[0] == "systemd-creds":
            raise systemd.CannotRun("systemd-creds did not end in time.")
        return run(command, **options)

    with monkeypatch.context() as patched, pytest.raises(InfisicalError, match="systemd-creds did not end in time"):
        patched.setattr(systemd, "run", slow)
        host.apply()
    assert host.key() == key and host.everything() == before
    host.settled()


def test_damaged_vault_is_moved_aside(host: Host) -> None:
    host.apply()
    host.fill()
    path = host.path("var/lib/infisical-sync/shop/secrets.vault")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    foretold = host.apply(check=True)
    assert path.exists()
    done = host.apply()
    assert not path.exists() and len(done.warnings) == len(foretold.warnings) == 1
    assert done.due == ["shop"] and len(done.lines) == len(foretold.lines) > 0


def test_vault_key_can_be_rotated(host: Host) -> None:
    host.apply()
    key = host.key()
    host.fill()
    done = host.same_in_check_mode(replace(AGENT, rotate_key=True))
    assert host.key() != key
    assert local.open_vault(f"{units.STATE}/shop/secrets.vault", credentials.HeldKey(host.key()))[0].read().count == 1
    assert any("sealed with a new key" in change for change in done.lines) and not done.warnings
    host.settled()
    assert keys.split_keys(host.key()) == (host.key(),)


STEPS = ("rename", "unlink", "link", "symlink", "mkdir", "rmdir")
"""Functions that change names of files. Each call is a step, and a run is interrupted before one of the steps."""


def loaded(host: Host) -> bytes:
    """Return the vaults' key as the services load it."""
    unit = host.path("etc/systemd/system/infisical-deliver@.service").read_text()
    line = re.search("^(LoadCredential.*)=infisical_vault_key:(.*)$", unit, re.M)
    assert line is not None
    is_encrypted = line[1] == "LoadCredentialEncrypted"
    return systemd.decrypt("infisical_vault_key", line[2]) if is_encrypted else Path(line[2]).read_bytes()


def opened(host: Host, jobs: tuple[Job, ...]) -> list[int]:
    """Return the number of entries in each vault. Assert that all credentials of the units exist."""
    for unit in host.path("etc/systemd/system").glob("*.service"):
        for path in re.findall("^LoadCredential.*?:(.*)$", unit.read_text(), re.M):
            assert os.path.exists(path), f"{unit.name} loads {path}"
    vaults = [(f"{units.STATE}/{job.name}/secrets.vault", loaded(host)) for job in jobs]
    return [local.open_vault(path, credentials.HeldKey(key))[0].read().count for path, key in vaults]


def ends_before(step: int, run: Any, monkeypatch: pytest.MonkeyPatch, how: str) -> bool:
    """Return whether `run` was interrupted before a step, by a signal or by a full disk."""
    left = [step]

    def pluralize(real: Any) -> Any:
        def call(*arguments: Any, **names: Any) -> Any:
            left[0] -= 1
            if left[0] == -1 or (left[0] < 0 and how == "full disk"):
                if how == "kill":
                    os._exit(9)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **names)

        return call

    if how == "kill":
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with monkeypatch.context() as patched:
        for name in STEPS:
            patched.setattr(os, name, pluralize(getattr(os, name)))
        try:
            run()
        except InfisicalError:
            assert how != "kill"
        finally:
            if how == "kill":
                os._exit(0)
    return left[0] < 0


@pytest.mark.parametrize("how", ["kill", "full disk"])
@pytest.mark.parametrize(
    ("version", "before", "after"),
    [(252, "auto", "auto"), (249, "auto", "auto"), (252, "file", "encrypted"),
     (252, "encrypted", "file")],
)  # fmt: skip
def test_every_vault_opens_after_each_step_of_a_key_rotation(
    host: Host, monkeypatch: pytest.MonkeyPatch, version: int, before: str, after: str, how: str
) -> None:
    host.facts = HostFacts(version, MACHINE)
    jobs = (SHOP, SHOP._replace(name="till"))
    wanted = replace(AGENT, jobs=jobs, credentials=before)
    host.apply(wanted)
    for job in jobs:
        host.fill(job.name)
    ended, step = True, 0
    while ended:
        old = loaded(host)
        rotation = replace(wanted, credentials=after, rotate_key=True)
        ended = ends_before(step, lambda wanted=rotation: host.apply(wanted), monkeypatch, how)
        assert opened(host, jobs) == [1, 1], f"step {step}"
        completed = host.apply(rotation if step == 0 else replace(rotation, rotate_key=False))
        assert not completed.warnings and opened(host, jobs) == [1, 1], f"after step {step}"
        assert keys.split_keys(loaded(host)) == (loaded(host),)
        host.settled(replace(rotation, rotate_key=False))
        if step == 0:
            assert loaded(host) != old
        host.apply(wanted)
        step += 1
    assert step > 5


def test_vault_that_cannot_be_rekeyed_keeps_the_old_key(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = (SHOP, SHOP._replace(name="till"))
    wanted = replace(AGENT, jobs=jobs)
    host.apply(wanted)
    for job in jobs:
        host.fill(job.name)
    real = credentials.rekey

    def busy(vault: Any, *arguments: Any, **names: Any) -> Any:
        if "shop" in os.path.realpath(vault.path):
            raise Busy("Another process is writing the vault.")
        return real(vault, *arguments, **names)

    with monkeypatch.context() as patched:
        patched.setattr(credentials, "rekey", busy)
        done = host.apply(replace(wanted, rotate_key=True))
    assert len(done.warnings) == 1 and "shop/secrets.vault" in done.warnings[0]
    assert opened(host, jobs) == [1, 1]
    done = host.same_in_check_mode(wanted)
    assert not done.warnings and opened(host, jobs) == [1, 1]
    host.settled(wanted)


def test_interrupted_move_of_an_unreadable_vault_is_completed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.apply()
    host.fill(key=bytes(32))
    vault = host.path("var/lib/infisical-sync/shop/secrets.vault")
    shutil.copy2(vault, f"{vault}.previous")
    real, moves = os.rename, []

    def dying(source: Any, *arguments: Any, **names: Any) -> None:
        if ".lost-" in str(arguments[:1]):
            if moves:
                raise KeyboardInterrupt
            moves.append(source)
        real(source, *arguments, **names)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "rename", dying)
        host.apply()
    assert len(moves) == 1
    host.apply()
    assert not vault.exists() and not Path(f"{vault}.previous").exists()
    host.settled()


# What the agent's user puts in root's way


def placed(host: Host, name: str) -> Path:
    """Replace a directory that the agent's user can rename with a link. Return the link's target."""
    target, path = host.path("etc/of-root"), host.path(name)
    target.mkdir()
    (target / "precious").write_text("x")
    if path.exists():
        shutil.move(path, f"{path}.moved")
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)
    return target


@pytest.mark.parametrize("ending", ["absent", "other job"])
def test_link_in_place_of_the_reports_directory_is_removed(host: Host, ending: str) -> None:
    host.apply()
    host.fill()
    target = placed(host, "run/infisical-agent/shop")
    if ending == "absent":
        install.remove(remove_vault=False)
    else:
        host.same_in_check_mode(replace(AGENT, jobs=(SHOP._replace(name="till"),)))
    assert not os.path.lexists(host.path("run/infisical-agent/shop"))
    assert (target / "precious").exists() and config.list_jobs() != ["shop"]


def test_key_rotation_does_not_follow_links(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent's user places the link at the most harmful moment."""
    host.apply()
    host.fill()
    folder, target = host.path("var/lib/infisical-sync/shop"), host.path("etc/of-root")
    target.mkdir()
    real = credentials.rekey

    def swapped(*arguments: Any, **names: Any) -> Any:
        folder.rename(f"{folder}.moved")
        folder.symlink_to(target)
        try:
            return real(*arguments, **names)
        finally:
            folder.unlink()
            Path(f"{folder}.moved").rename(folder)

    with monkeypatch.context() as patched:
        patched.setattr(credentials, "rekey", swapped)
        done = host.apply(replace(AGENT, rotate_key=True))
    assert list(target.iterdir()) == [] and not done.warnings
    assert opened(host, (SHOP,)) == [1]


def test_metrics_directory_owned_by_another_user_is_refused(host: Host) -> None:
    host.path("srv").mkdir()
    os.chown(host.path("srv"), 65534, 0)
    wanted = replace(AGENT, metrics_directory=str(host.path("srv/metrics")))
    for check in (True, False):
        with pytest.raises(InfisicalError, match="Nothing is written below"):
            host.apply(wanted, check=check)
    assert list(host.path("srv").iterdir()) == [] and config.list_jobs() == []


# Jobs


def test_removing_a_job_keeps_only_its_vault(host: Host) -> None:
    srv = host.path("srv/till.env")
    till = SHOP._replace(name="till.2", files=(File(str(srv)),))
    both = replace(AGENT, jobs=(SHOP, till))
    host.same_in_check_mode(both)
    host.fill("till.2")
    srv.write_text("x")
    record = Record(f"{units.DELIVERIES}/till.2.json")
    record.files[str(srv)] = {"format": "dotenv", "names": ["till.env"]}
    record.write()
    host.fill()
    host.programs.calls()
    done = host.same_in_check_mode(AGENT)
    stopped = [call for call in host.programs.calls() if call.startswith("systemctl stop ")]
    assert stopped == [
        f"systemctl stop infisical-{what}@till.2.service" for what in ("sync", "deliver", "notify", "ready", "moved")
    ]
    assert f"delivered files at {srv} are removed" in done.lines
    assert not srv.exists()
    left = list(host.root.rglob("*till.2*"))
    assert left == [host.path("var/lib/infisical-sync/till.2")]
    assert not [unit for unit in host.active if "till.2" in unit]
    host.settled()


def test_file_with_a_new_path_is_removed_from_its_old_path(host: Host) -> None:
    """The installation removes it, because the next delivery's sandbox does not include the old path."""
    before, after = host.path("etc/till/one.env"), host.path("srv/two.env")
    host.apply(replace(AGENT, jobs=(SHOP._replace(files=(File(str(before)),)),)))
    host.fill()
    before.write_text("x")
    record = Record(f"{units.DELIVERIES}/shop.json")
    record.files[str(before)] = {"format": "dotenv", "names": ["one.env"]}
    record.write()
    wanted = replace(AGENT, jobs=(SHOP._replace(files=(File(str(after)),)),))
    done = host.same_in_check_mode(wanted)
    assert f"delivered files at {before} are removed" in done.lines and done.due == ["shop"]
    assert not before.exists() and Record(f"{units.DELIVERIES}/shop.json").files == {}


@pytest.mark.parametrize("name", ["shop", "till"])
@pytest.mark.parametrize(
    ("before", "after", "path"),
    [("dotenv", "files", "srv/x"), ("files", "dotenv", "srv/x"), ("dotenv", "dotenv", "srv/x/y.env")],
)
def test_changed_format_replaces_a_file_with_a_directory(
    host: Host, name: str, before: str, after: str, path: str
) -> None:
    old, new = host.path("srv/x"), host.path(path)
    host.apply(replace(AGENT, jobs=(SHOP._replace(files=(File(str(old), before),)),)))
    host.fill()
    with open_record(f"{units.DELIVERIES}/shop.json") as record:
        assert not deliver({"A": "1"}, [File(str(old), before)], record).problems
    wanted = replace(AGENT, jobs=(SHOP._replace(name=name, files=(File(str(new), after),)),))
    host.same_in_check_mode(wanted)
    assert new.is_dir() == (after == "files") and not new.is_file()
    with open_record(f"{units.DELIVERIES}/{name}.json") as record:
        assert not deliver({"A": "1"}, [File(str(new), after)], record).problems
    if name == "shop":
        host.settled(wanted)


def test_full_disk_error_lists_the_files_already_removed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = host.path("srv/x")
    host.apply(replace(AGENT, jobs=(SHOP._replace(files=(File(str(path)),)),)))
    host.fill()
    with open_record(f"{units.DELIVERIES}/shop.json") as record:
        assert not deliver({"A": "1"}, [File(str(path))], record).problems

    def full(*arguments: object, **names: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_atomic", full)
    with pytest.raises(InfisicalError, match=r"Delivered files removed: .*srv/x\. The record .* disk is full"):
        host.apply(replace(AGENT, jobs=(SHOP._replace(files=(File(str(path), "files"),)),)))
    assert not path.exists()


def test_refused_format_change_removes_nothing(host: Host) -> None:
    path = host.path("srv/x")
    host.apply(replace(AGENT, jobs=(SHOP._replace(files=(File(str(path), "files"),)),)))
    host.fill()
    with open_record(f"{units.DELIVERIES}/shop.json") as record:
        assert not deliver({"A": "1"}, [File(str(path), "files")], record).problems
    (path / "FOREIGN").write_text("x")
    wanted = replace(AGENT, jobs=(SHOP._replace(files=(File(str(path), "dotenv"),)),))
    with pytest.raises(InfisicalError, match="FOREIGN") as caught:
        host.apply(wanted)
    assert caught.value.conclusion == "unsafe_file"
    assert sorted(one.name for one in path.iterdir()) == ["A", "FOREIGN"]


def delivered(host: Host, *formats: str) -> tuple[Path, ...]:
    """Deliver files in these formats with the job shop, and return their paths."""
    wanted = [File(str(host.path(f"srv/{number}/x")), each) for number, each in enumerate(formats)]
    host.apply(replace(AGENT, jobs=(SHOP._replace(files=tuple(wanted)),)))
    host.fill()
    with open_record(f"{units.DELIVERIES}/shop.json") as record:
        assert not deliver({"A": "1", "B": "2"}, wanted, record).problems
    return tuple(Path(file.path) for file in wanted)


def full(*arguments: Any, **names: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_delivered_files_stay_if_credentials_cannot_be_written(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = delivered(host, "files")
    wanted = replace(AGENT, settings=replace(SETTINGS, client_secret="another"), jobs=(
        SHOP._replace(files=(File(str(path), "json"),)),))  # fmt: skip
    monkeypatch.setattr(files, "write_atomic", full)
    with pytest.raises(InfisicalError, match="disk is full") as caught:
        host.apply(wanted)
    assert (path / "A").read_text() == "1"
    assert "removed" not in str(caught.value)


@pytest.mark.parametrize("what", ["units", "systemctl", "job", "agent"])
def test_error_reports_the_changes_already_made(host: Host, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    (path,) = delivered(host, "files")
    wanted = replace(AGENT, jobs=(SHOP._replace(minutes=60, files=(File(str(path), "json"),)),))
    if what == "units":
        (host.path("etc/systemd/system") / units.name_timer("shop")).unlink()
        real = files.write_atomic
        monkeypatch.setattr(
            files,
            "write_atomic",
            lambda name, *rest, **names: (full if "/system/" in name else real)(name, *rest, **names),
        )
    else:
        host.programs.put("systemctl", "echo broken >&2; exit 1")
    if what == "job":
        wanted = replace(AGENT, jobs=(SHOP._replace(name="till"),))
    with pytest.raises(InfisicalError, match=r"disk is full|broken") as caught:
        install.remove(remove_vault=False) if what == "agent" else host.apply(wanted)
    details, said = caught.value.details, str(caught.value)
    assert details["changed"] is True
    assert said.startswith(
        f"Changes made before this error: {len(details['changes'])} (the last one may be incomplete)."
    )
    is_removed = what in ("units", "systemctl")
    assert path.exists() != is_removed
    assert (f"Delivered files removed: {path}." in said) == is_removed
    assert (f"delivered files at {path} are removed" in details["changes"]) == is_removed


def test_error_in_check_mode_reports_what_would_change(host: Host) -> None:
    (path,) = delivered(host, "files")
    (path / "FOREIGN").touch()
    wanted = replace(AGENT, settings=replace(SETTINGS, client_secret="another"), jobs=(
        SHOP._replace(files=(File(str(path), "json"),)),))  # fmt: skip
    with pytest.raises(InfisicalError, match="Changes that a run would make before this error: 1") as caught:
        host.apply(wanted, check=True)
    assert caught.value.details["changes"] == [f"{systemd.CREDSTORE}/infisical_client_secret is changed"]


def test_error_before_any_change_reports_no_change(host: Host) -> None:
    host.programs.put("python", "exit 1")
    with pytest.raises(ConfigurationError, match=r"^python: ") as caught:
        host.apply()
    assert caught.value.details == {"changed": False, "changes": [], "warnings": []}


def test_error_includes_the_warnings_of_an_unfinished_rotation(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.apply()
    host.fill()

    def busy(*arguments: Any, **names: Any) -> None:
        raise Busy("Another process is writing the vault.")

    monkeypatch.setattr(credentials, "rekey", busy)
    monkeypatch.setattr(systemd, "encrypt", lambda name, *rest, **names: busy())
    monkeypatch.setattr(credentials, "_write_key", lambda *arguments: None)
    with pytest.raises(InfisicalError) as caught:
        host.apply(replace(AGENT, rotate_key=True))
    assert "shop/secrets.vault could not be sealed" in caught.value.details["warnings"][0]


def test_unwritable_record_error_lists_removals_and_problems(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = delivered(host, "dotenv", "files")
    other.chmod(0o777)
    real = files.write_atomic
    monkeypatch.setattr(
        files, "write_atomic", lambda name, *rest, **names: (full if "deliver" in name else real)(name, *rest, **names)
    )
    with pytest.raises(InfisicalError) as caught:
        host.apply()
    said = str(caught.value)
    assert not one.exists() and (other / "A").exists()
    assert f"Delivered files removed: {one}." in said
    assert f"Nothing is written below {other}" in said and re.search(r"The record .* disk is full", said)
    assert [change for change in caught.value.details["changes"] if "delivered files" in change] == [
        f"delivered files at {one} are removed"
    ]


@pytest.mark.parametrize("how", ["busy", "problem"])
def test_existing_file_is_not_reported_as_removed(host: Host, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    (path,) = delivered(host, "dotenv")
    if how == "busy":
        monkeypatch.setattr(
            "ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.deliver._LOCK_WAIT", 0.0
        )
    else:
        path.parent.chmod(0o777)
    lock = f"{units.DELIVERIES}/shop.json.lock"
    with (
        files.lock_file(lock, 1) if how == "busy" else contextlib.nullcontext(),
        pytest.raises(InfisicalError) as caught,
    ):
        host.apply()
    assert path.exists()
    assert "removed" not in str(caught.value) and "delivered files" not in str(caught.value.details)


def test_timer_is_restarted_if_its_interval_changes(host: Host) -> None:
    host.apply()
    host.programs.calls()
    (host.programs.folder / "systemd" / "changed since").touch()
    host.apply(replace(AGENT, jobs=(SHOP._replace(minutes=60),)))
    called = host.programs.calls()
    assert called.index("systemctl daemon-reload") < called.index("systemctl restart infisical-sync@shop.timer")


def test_new_units_are_enabled_together_without_a_reload(host: Host) -> None:
    """systemd reads the files of units that it has not loaded."""
    host.apply()
    called = host.programs.calls()
    names = "infisical-sync@shop.timer infisical-deliver@shop.service infisical-moved@shop.service"
    assert [call for call in called if "enable " in call] == [f"systemctl enable --quiet --no-reload {names}"]
    assert "systemctl daemon-reload" not in called


def test_units_from_an_interrupted_run_are_reloaded(host: Host) -> None:
    """The run ended after the change and before the reload."""
    host.apply()
    since = host.programs.folder / "systemd" / "changed since"
    since.touch()
    assert host.same_in_check_mode(AGENT).lines == ["systemd reloads its units"]
    assert "systemctl daemon-reload" in host.programs.calls()
    since.unlink()
    host.settled()


def test_stopped_or_disabled_timer_is_repaired(host: Host) -> None:
    host.apply()
    for name in ("active infisical-sync@shop.timer", "enabled infisical-sync@shop.timer"):
        (host.programs.folder / "systemd" / name).unlink()
    done = host.same_in_check_mode(AGENT)
    assert done.lines == ["infisical-sync@shop.timer is enabled", "infisical-sync@shop.timer is started"]


@pytest.mark.parametrize("mess", ["mode", "owner", "content", "link"])
def test_manual_change_is_repaired(host: Host, mess: str) -> None:
    host.apply()
    path = host.path("etc/infisical-sync/jobs/shop.ini")
    before = (host.what(str(path.relative_to(host.root))), path.read_text())
    if mess == "mode":
        path.chmod(0o666)
    elif mess == "owner":
        os.chown(path, 65534, 0)
    elif mess == "content":
        path.write_text("[sync]\njob = other\n")
    else:
        current = host.path("usr/local/lib/infisical-sync/current")
        current.unlink()
        current.symlink_to("versions/elsewhere")
    assert len(host.same_in_check_mode(AGENT).lines) == 1
    assert (host.what(str(path.relative_to(host.root))), path.read_text()) == before
    host.settled()


def test_diff_shows_configuration_and_units_but_no_credentials(host: Host) -> None:
    done = host.apply(replace(AGENT, notify_webhook_url=WEBHOOK), check=True)
    shown = {Path(path).name for path, _before, _after in done.diffs}
    assert {"shop.ini", "infisical-sync@.service", "infisical-sync@shop.timer"} <= shown
    assert "CANARY" not in repr(done.diffs) + repr(done.lines) + repr(done)


def test_job_configuration_is_read_back_as_written(host: Host) -> None:
    options = {
        "environment": "prod", "project_ids": ("p1", "p2"), "secret_path": "/a b/%(x)s", "recursive": True,
        "include_imports": False, "expand_references": True, "key_format": "{project}_{key}", "normalize_names": True,
        "precedence": ("p2", "/a"), "prune": True, "max_delete_percent": 12.5, "state_hash": "hmac-sha256",
    }  # fmt: skip
    wanted_files = (
        File(str(host.path("srv/app.env")), "dotenv", "nobody", "root", 0o440, ("DB_*", "X"), ("PATH",),
             ("app.service", "b.service"), ("c.service",)),
        File(str(host.path("srv/it's 100%/values")), "files"),
    )  # fmt: skip
    server = replace(
        SETTINGS, ca_path="/etc/ca.pem", timeout=7.5, validate_certs=False, max_wait=60.0, max_response_size=8.0
    )
    wanted = replace(
        AGENT,
        settings=server,
        jobs=(Job("shop", 15, options, wanted_files),),
        notify_command="tell --to 'all of us' $x%",
        notify_reminder=7200.0,
        rate_limit_jitter=0.0,
        metrics_directory=str(host.path("srv/metrics")),
    )
    host.apply(wanted)
    settled = config.SyncConfig({}, {}, f"{config.JOBS}/shop.ini")
    assert settled.get_files() == list(wanted_files)
    assert settled.get_section("sync") == {"job": "shop", **options}
    assert settled.get_section("infisical") == {
        "url": SETTINGS.url, "ca_path": "/etc/ca.pem", "timeout": 7.5, "validate_certs": False, "max_wait": 60.0,
        "max_response_size": 8.0,
    }  # fmt: skip
    assert settled.get_section("notify") == {
        "state_file": f"{units.STATE}/shop/notify.json", "command": wanted.notify_command, "reminder": 7200.0
    }  # fmt: skip
    assert settled.get_section("agent") == {
        "result_file": f"{units.REPORTS}/shop/result.json", "login_file": f"{units.STATE}/login.json",
        "interval": "15m", "rate_limit_jitter": 0.0,
    }  # fmt: skip
    assert settled.get_section("deliver") == {
        "record_file": f"{units.DELIVERIES}/shop.json", "runtime_directory": f"{units.RUNTIME}/shop",
        "metrics_directory": wanted.metrics_directory,
    }  # fmt: skip
    assert host.what("etc/infisical-sync/jobs/shop.ini") == (0, 65534, 0o640)


@pytest.mark.parametrize(
    ("swaps", "path", "told"),
    [
        ("/dev/sda2 partition 8 0 -2", "/run/x/app.env", "/dev/sda2"),
        ("/dev/dm-1 partition 8 0 -2\n/swapfile file 8 0 -3", "/run/x/app.env", "/swapfile"),
        ("/dev/dm-1 partition 8 0 -2\n/dev/zram0 partition 8 0 -3", "/run/x/app.env", ""),
        ("", "/run/x/app.env", ""),
        ("/dev/sda2 partition 8 0 -2", "/srv/app.env", ""),
    ],
)
def test_unencrypted_swap_causes_a_warning_for_files_in_memory(
    monkeypatch: pytest.MonkeyPatch, swaps: str, path: str, told: str
) -> None:
    text = f"Filename Type Size Used Priority\n{swaps}\n"
    monkeypatch.setattr(install, "open", lambda *arguments, **names: io.StringIO(text), raising=False)
    warnings = install._warn_of_swap([SHOP._replace(files=(File(path),))])
    assert len(warnings) == bool(told)
    assert not told or f"swaps to {told}," in warnings[0]


# Removing


@pytest.mark.parametrize("version", [249, 252])
def test_removing_the_agent_keeps_the_vaults_and_their_key(host: Host, version: int) -> None:
    host.facts = HostFacts(version, MACHINE)
    job = SHOP._replace(files=(File(str(host.path("srv/app.env"))),))
    wanted = replace(AGENT, jobs=(job,), notify_webhook_url=WEBHOOK)
    host.apply(wanted)
    host.fill()
    before = host.everything()
    foretold = install.remove(remove_vault=False, check=True)
    assert host.everything() == before
    done = install.remove(remove_vault=False)
    assert foretold == done and done.lines
    assert host.active == []
    left = {str(path.relative_to(host.root)) for path in host.root.rglob("*") if path.is_file()}
    kept = "etc/credstore.encrypted" if version == 252 else "etc/infisical-sync/credentials"
    assert f"{kept}/infisical_vault_key" in left
    assert "var/lib/infisical-sync/shop/secrets.vault" in left
    assert not [name for name in left if re.search("client|webhook|jobs|usr|systemd|deliver", name)]
    assert install.remove(remove_vault=False) == Changes()
    key = host.key()
    host.apply(wanted)
    assert host.key() == key
    assert local.open_vault(f"{units.STATE}/shop/secrets.vault", credentials.HeldKey(key))[0].read().count == 1


def test_removing_the_agent_and_its_vaults_leaves_nothing(host: Host, programs: Programs) -> None:
    programs.put("userdel")
    host.apply(replace(AGENT, notify_webhook_url=WEBHOOK))
    host.fill()
    foretold = install.remove(remove_vault=True, check=True)
    assert install.remove(remove_vault=True) == foretold
    assert programs.calls()[-1] == "userdel nobody"
    left = {str(path.relative_to(host.root)) for path in host.root.rglob("*") if path.is_file()}
    assert left <= {"etc/machine-id", "run/infisical-agent.lock"}


# What is refused


def refusal(wanted: Agent) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        check_agent(wanted)
    assert str(refused.value).startswith(f"{refused.value.option}: ") and "CANARY" not in str(refused.value)
    return refused.value


@pytest.mark.parametrize(
    ("option", "change", "words"),
    [
        ("client_id", {"settings": {"client_id": ""}}, "is required"),
        ("client_secret", {"settings": {"client_secret": ""}}, "is required"),
        ("client_secret", {"settings": {"client_secret": "CANARY\nCANARY"}}, "must be a single line"),
        ("auth_method", {"settings": {"auth_method": "token"}}, "must not be token"),
        ("proxy", {"settings": {"proxy": "http://CANARY:CANARY@proxy:3128"}}, "user or password"),
        ("ca_path", {"settings": {"ca_path": "/etc/a\n[agent]"}}, "must be a single line"),
        ("proxy", {"settings": {"proxy": "http://p\nx"}}, "must be a single line"),
        ("jobs", {"jobs": ()}, "state: absent"),
        ("python", {"python": "python3"}, "must be an absolute path"),
        ("python", {"python": "/usr/bin/my python"}, "must be an absolute path"),
        ("python", {"python": "/usr/bin/python3\n"}, "must be an absolute path"),
        ("notify_webhook_url", {"notify_webhook_url": "https://CANARY\nx"}, "must be a single line"),
        ("notify_command", {"notify_command": "tell 'us"}, "unclosed quote"),
        ("notify_command", {"notify_command": "tell\nus"}, "must be a single line"),
        ("notify_reminder", {"notify_reminder": -1.0}, "0 or more"),
        ("notify_reminder", {"notify_reminder": float("nan")}, "0 or more"),
        ("rate_limit_jitter", {"rate_limit_jitter": -1.0}, "0 or more"),
        ("rate_limit_jitter", {"rate_limit_jitter": float("inf")}, "0 or more"),
        ("metrics_directory", {"metrics_directory": "metrics"}, "must be an absolute path"),
        ("metrics_directory", {"metrics_directory": "/a\nb"}, "must be a single line"),
    ],
)
def test_invalid_option_error_names_the_option(option: str, change: dict[str, Any], words: str) -> None:
    settings = replace(SETTINGS, **change.pop("settings", {}))
    error = refusal(replace(AGENT, settings=settings, **change))
    assert error.option == option and words in str(error)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "a name must have"),
        ({"name": "-x"}, "a name must have"),
        ({"name": "../x"}, "a name must have"),
        ({"name": "a b"}, "a name must have"),
        ({"name": "a%b"}, "a name must have"),
        ({"name": "x\n"}, "a name must have"),
        ({"name": "x" * 64}, "a name must have"),
        ({"options": {}}, "environment: is required"),
        ({"options": {"environment": "prod", "secret_path": "/a\nprune = true"}}, "must be a single line"),
        ({"options": {"environment": "prod", "project_ids": ("a", "b\rc")}}, "must be a single line"),
        ({"files": (File("/srv/a.env"), File("/srv/a.env"))}, "/srv/a.env is used by both"),
        ({"files": (File("/srv/a.env", names=("A\nB",)),)}, "must be a single line"),
        # An undefined variable must not select everything.
        ({"options": {"environment": "prod", "project_ids": ("",)}}, "project_ids: has an entry that is empty"),
        ({"files": (File("/srv/a.env", names=("",)),)}, "names: has an entry that is empty"),
        ({"files": (File("/srv/a.env", names=("A,B",)),)}, "names: has an entry that is empty or contains a comma"),
        ({"files": (File("/srv/a.env", names=("A", " ")),)}, "must not begin or end with a space"),
        ({"options": {"environment": "prod", "secret_path": "/a "}}, "secret_path: must not begin or end with a space"),
    ],
)
def test_invalid_job_option_is_refused(change: dict[str, Any], words: str) -> None:
    error = refusal(replace(AGENT, jobs=(SHOP._replace(**change),)))
    assert error.option == "jobs" and words in str(error)
    assert "name" in change or str(error).startswith("jobs: shop: ") or "used by both" in words


def test_two_jobs_with_the_same_name_are_refused() -> None:
    error = refusal(replace(AGENT, jobs=(SHOP, SHOP)))
    assert error.option == "jobs" and "the name shop" in str(error)


def test_error_about_two_jobs_with_the_same_path_names_both_jobs() -> None:
    jobs = (SHOP._replace(files=(File("/srv/a.env"),)), SHOP._replace(name="till", files=(File("/srv/a.env"),)))
    error = refusal(replace(AGENT, jobs=jobs))
    assert "/srv/a.env is used by both 'shop' and 'till'" in str(error)


def test_valid_agent_options_are_accepted() -> None:
    job = SHOP._replace(name="A_b-9.c", files=(File("/srv/a.env"), File("/srv/b", "files")))
    wanted = replace(
        AGENT, jobs=(job,), notify_command="tell 'all of us'"
    )  # fmt: skip
    assert check_agent(wanted) is None


def test_repr_of_agent_options_contains_no_credentials() -> None:
    assert "CANARY" not in repr(replace(AGENT, notify_webhook_url=WEBHOOK))


# Using it


def test_sync_now_waits_and_returns_the_new_report(host: Host) -> None:
    host.apply()
    host.fill()
    path = units.report_file("shop")
    host.programs.put("systemctl", f"sed -i 's/2026-01-15/2026-01-16/' '{path}'")
    host.programs.calls()
    found = agent_jobs.sync_now("shop")
    assert found.ended == "2026-01-16T10:30:00Z"
    assert host.programs.calls() == [
        "systemctl is-active infisical-sync@shop.service",
        "systemctl start infisical-sync@shop.service", "systemctl start infisical-deliver@shop.service",
    ]  # fmt: skip


def test_sync_now_starts_a_new_sync_after_a_running_one(host: Host) -> None:
    """The running sync may have read the secrets before the change."""
    host.apply()
    path, busy = units.report_file("shop"), host.programs.folder / "busy"
    host.fill()
    busy.touch()
    host.programs.put(
        "systemctl", f"""
        case "$*" in
        is-active*) [ -e '{busy}' ] && echo activating || echo inactive ;;
        *sync@*) day=16; [ -e '{busy}' ] || day=17; sed -i "s/2026-01-../2026-01-$day/" '{path}'; rm -f '{busy}' ;;
        esac"""
    )  # fmt: skip
    assert agent_jobs.sync_now("shop").ended == "2026-01-17T10:30:00Z"


def test_sync_without_a_report_returns_the_result_from_systemd(host: Host) -> None:
    host.apply()
    host.fill()
    host.programs.put("systemctl", "echo 'Unit is masked.' >&2; exit 1")
    with pytest.raises(InfisicalError, match="Unit is masked"):
        agent_jobs.sync_now("shop")


@pytest.mark.parametrize("conclusion", ["missing_library", "oom-kill"])
def test_sync_of_all_jobs_keeps_conclusion_and_hint(
    host: Host, monkeypatch: pytest.MonkeyPatch, conclusion: str
) -> None:
    host.apply()
    failed = report.CycleReport("shop", conclusion=conclusion, problem="Failed.", hint="Do it.")
    monkeypatch.setattr(agent_jobs, "sync_now", lambda job: failed)
    with pytest.raises(InfisicalError) as caught:
        agent_jobs.sync_all(["shop"])
    assert (caught.value.conclusion, caught.value.hint) == (conclusion, "Do it.")
    assert str(caught.value) == f"These jobs failed to sync: shop ({conclusion}). shop: Failed. Do it."
    found = caught.value.details["reports"]["shop"]
    assert (found["conclusion"], found["message"], found["hint"]) == (conclusion, "Failed. Do it.", "Do it.")


def test_sync_of_all_jobs_reports_the_problem_of_each(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.apply(replace(AGENT, jobs=(SHOP, SHOP._replace(name="till"))))
    reports = {
        "shop": report.CycleReport("shop", conclusion="unreachable", problem="No server.", hint="Start it."),
        "till": report.CycleReport("till", conclusion="vault_damaged", problem="Damaged.", hint="Restore it."),
    }
    monkeypatch.setattr(agent_jobs, "sync_now", reports.__getitem__)
    with pytest.raises(InfisicalError) as caught:
        agent_jobs.sync_all(["shop", "till"])
    assert caught.value.problem.endswith("till (vault_damaged). shop: No server. till: Damaged.")
    assert caught.value.hint == "Start it. Restore it."


def test_failing_job_does_not_stop_the_others(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.apply(replace(AGENT, jobs=(SHOP, SHOP._replace(name="till"))))

    def one_of_them(job: str) -> report.CycleReport:
        if job == "shop":
            raise StorageFailed("systemctl did not end in time.")
        return report.CycleReport(job, ended="2026-01-15T10:30:00Z", counts={"created": 1})

    monkeypatch.setattr(agent_jobs, "sync_now", one_of_them)
    with pytest.raises(InfisicalError, match=r"shop \(storage\)\. shop: systemctl") as refused:
        agent_jobs.sync_all(["shop", "till"])
    assert refused.value.conclusion == "partial" and refused.value.details["changed"]
    assert refused.value.details["reports"]["till"]["conclusion"] == "ok"
    with pytest.raises(ConfigurationError, match="this host has no job 'bank'"):
        agent_jobs.sync_all(["till", "bank"])


def test_unknown_job_error_names_the_jobs(host: Host) -> None:
    host.apply(replace(AGENT, jobs=(SHOP, SHOP._replace(name="till"))))
    with pytest.raises(ConfigurationError, match="Its jobs are: shop, till") as refused:
        agent_jobs.sync_all(["shop", "bank"])
    assert refused.value.option == "jobs"


def test_sync_now_with_an_empty_list_of_jobs_is_refused(host: Host) -> None:
    for named, words in ((None, "this host has no job"), ([], "must name at least one job")):
        with pytest.raises(ConfigurationError, match=words):
            agent_jobs.choose_jobs(named)
    assert agent_jobs.choose_jobs(None, check=True) == []
    with pytest.raises(ConfigurationError, match="must name at least one job"):
        agent_jobs.choose_jobs([], check=True)
    host.apply()
    assert agent_jobs.choose_jobs(None) == ["shop"]
    assert agent_jobs.choose_jobs(["till"]) == ["till"]


def test_status_is_keyed_by_job_name(host: Host) -> None:
    host.apply(replace(REAL, credentials="file", jobs=(SHOP, SHOP._replace(name="till"))))
    for job in ("shop", "till"):
        host.fill(job)
    shop, till = agent_jobs.read_status()
    assert (shop["name"], shop["secrets"], shop["last_cycle"]["ended"]) == ("shop", 1, "2026-01-15T10:30:00Z")
    assert (till["name"], till["generation"]) == ("till", 1)


def test_job_without_status_does_not_hide_the_other_jobs(host: Host) -> None:
    host.apply(replace(REAL, credentials="file", jobs=(SHOP, SHOP._replace(name="till"))))
    for job in ("shop", "till"):
        host.fill(job)
    command = host.path("usr/local/bin/infisical-sync")
    command.rename(real := command.with_name("real"))
    command.write_text(f'#!/bin/sh\ncase "$*" in *shop*) exit 1;; esac\nexec {real} "$@"\n')
    command.chmod(0o755)
    shop, till = agent_jobs.read_status()
    assert (shop["name"], shop["failed"], shop["conclusion"]) == ("shop", True, "storage")
    assert shop["hint"] == shop["last_cycle"]["hint"] == "Run the role scheduled_sync again."
    assert shop["message"] == shop["last_cycle"]["message"]
    assert shop["message"].endswith(shop["hint"])
    assert (till["name"], till["secrets"], till["failed"]) == ("till", 1, False)


def documented(file: str, start: str, end: str) -> str:
    """Return the expression between two texts in a file of the collection."""
    text = (Path(install.__file__).parents[4] / file).read_text("utf-8")
    return text.split(start, 1)[1].split(end, 1)[0]


@pytest.mark.parametrize("how", ["silent", "wrong configuration"])
def test_documented_expressions_work_for_a_job_without_status(host: Host, how: str) -> None:
    jinja2 = pytest.importorskip("jinja2")
    host.apply(replace(REAL, credentials="file", jobs=(SHOP, SHOP._replace(name="till"))))
    for job in ("shop", "till"):
        host.fill(job)
    if how == "silent":
        command = host.path("usr/local/bin/infisical-sync")
        command.rename(real := command.with_name("real"))
        command.write_text(f'#!/bin/sh\ncase "$*" in *shop*) exit 1;; esac\nexec {real} "$@"\n')
        command.chmod(0o755)
    else:
        Path(config.job_file("shop")).write_text("[wrong]\n")
    shop, till = jobs = agent_jobs.read_status()
    assert set(shop) == set(till)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    for file in ("docs/docsite/rst/guide_scheduled_sync.rst", "plugins/modules/infisical_agent_info.py"):
        failed = environment.compile_expression(
            documented(file, 'msg: "{{ agent.jobs', "}}").join(["agent.jobs", "|list"])
        )
        assert failed(agent={"jobs": jobs}) == ["shop"]
    summary = environment.from_string(documented("playbooks/rollout.yml", "rollout_lines: >-", "run_once"))
    lines = summary.render(ansible_play_hosts=["web1"], hostvars={"web1": {"rollout_agent": {"jobs": jobs}}})
    assert f"web1: shop: {shop['conclusion']}, {shop['message'][:20]}" in lines
    assert "web1: till: ok, 1 secrets, generation 1, " in lines


def test_missing_command_is_reported_with_a_hint(host: Host) -> None:
    host.apply()
    host.path("usr/local/bin/infisical-sync").unlink()
    with pytest.raises(InfisicalError, match="Run the role scheduled_sync again"):
        agent_jobs.read_status()


def test_installation_does_not_wait_for_a_running_sync(host: Host) -> None:
    """An installation and a sync use different locks."""
    host.apply()
    host.fill()
    with files.lock_file(f"{units.STATE}/shop/secrets.vault.cycle.lock", 1):
        began = time.monotonic()
        host.settled()
    assert time.monotonic() - began < 30
    shutil.rmtree(host.path("usr/local/lib/infisical-sync"))
    assert host.apply().lines
