# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test hosts with systemd work, and leave nothing behind, even if they are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "tools")]

from failure import Failure  # noqa: E402
from hosts import host as host_module  # noqa: E402
from hosts import network  # noqa: E402
from hosts.command import OWNER  # noqa: E402
from hosts.group import Group, HostSpec, groups, sweep  # noqa: E402
from hosts.host import Host, known_labels  # noqa: E402
from hosts.machine import Cgroup, Process, find_obstacle, run, wait_until  # noqa: E402

reason = find_obstacle()
if reason:
    pytest.skip(reason, allow_module_level=True)

TWO = [HostSpec("one", "bookworm"), HostSpec("two", "trixie")]
COMMAND = [sys.executable, str(TESTS / "hosts")]
SECONDS_TO_VANISH = 10.0


@pytest.fixture
def group() -> Iterator[Group]:
    with Group(f"test-{os.getpid()}") as made:
        yield made


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    """A process that can own hosts."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def traces(group: Group, hosts: list[Host]) -> list[str]:
    """Return everything on the machine that belongs to a group or its hosts."""
    labels = {host.label for host in hosts}
    found = [f"group {each.name}" for each in groups() if each.name == group.name]
    found += [f"control group or interface {label}" for label in labels & known_labels()]
    found += [str(path) for label in labels for path in Path("/run/systemd/nspawn").glob(f"*/{label}")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{group.name}/" in line]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(f"/{group.name}/".encode() in word or group.name.encode() == word for word in words):
            found.append(f"process {words}")
    return found


def test_hosts_run_their_release_and_accept_ssh(group: Group) -> None:
    inventory = group.up(TWO)["all"]["hosts"]
    for name, release in (("one", "VERSION_CODENAME=bookworm"), ("two", "VERSION_CODENAME=trixie")):
        reached = inventory[name]
        options = [*reached["ansible_ssh_common_args"].split(), "-o", "ControlPath=none"]
        command = ["ssh", *options, "-i", reached["ansible_private_key_file"]]
        question = "hostname; cat /etc/os-release; systemctl is-system-running; sudo whoami; cat /proc/1/comm"
        answer = subprocess.run(
            [*command, f"{reached['ansible_user']}@{reached['ansible_host']}", question],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert {name, release, "running", "root", "systemd"} <= set(answer)


def test_hosts_stay_reachable_while_others_start_and_stop(group: Group) -> None:
    def hardware_addresses() -> tuple[str, str]:
        bridge = Path("/sys/class/net", network.BRIDGE, "address").read_text("ascii").strip()
        return bridge, json.loads(group.host("one").run("ip", "-json", "link", "show", "host0"))[0]["address"]

    group.up(TWO[1:])
    group.up(TWO)
    before = hardware_addresses()
    group.down(["two"])
    assert hardware_addresses() == before
    number = group.host("one").number
    with Group(f"{group.name}-again") as again:
        again.up(TWO[1:])
        assert hardware_addresses() == before
    assert before[1] == f"{network.HARDWARE}:{number:02x}"


def test_reused_address_does_not_delay_ssh(group: Group) -> None:
    group.up(TWO)
    address = group.host("one").address
    group.down(["one"])
    wrong = ["lladdr", "02:00:00:00:00:99", "nud", "reachable"]
    run("ip", "neighbour", "replace", address, *wrong, "dev", network.BRIDGE)
    group.up(TWO)
    assert network.answers(group.host("one").address)
    assert wait_until(lambda: "02:00:00:00:00:99" not in run("ip", "neighbour", "show", address), 5)


def test_hosts_cannot_reach_the_internet(group: Group) -> None:
    group.up(TWO[:1])
    assert "default" not in group.host("one").run("ip", "route")


def test_machine_ids_are_random_unless_set(group: Group) -> None:
    cloned = "0123456789abcdef0123456789abcdef"
    group.up([*TWO, HostSpec("three", "trixie", cloned), HostSpec("four", "trixie", cloned)])
    ids = {host.name: host.run("cat", "/etc/machine-id").strip() for host in group.hosts()}
    assert ids["one"] != ids["two"]
    assert ids["three"] == ids["four"] == cloned


def test_host_keeps_its_disk_after_a_reboot(group: Group) -> None:
    group.up(TWO[:1])
    host = group.host("one")
    before = host.cgroup.leader()
    host.run("touch", "/etc/kept")
    host.run("systemctl", "--no-block", "reboot")

    def is_back() -> bool:
        if host.cgroup.leader() in (None, before):
            return False
        try:
            return host.run("systemctl", "is-active", "ssh.service") == "active\n"
        except Failure:
            return False

    assert wait_until(is_back, 30)
    host.run("test", "-e", "/etc/kept")


def test_up_command_boots_only_missing_hosts(group: Group) -> None:
    group.up(TWO[:1])
    leader = group.host("one").cgroup.leader()
    assert set(group.up(TWO)["all"]["hosts"]) == {"one", "two"}
    assert group.host("one").cgroup.leader() == leader


def test_down_command_removes_everything(group: Group) -> None:
    group.up(TWO)
    hosts = group.hosts()
    assert traces(group, hosts)
    group.down()
    assert traces(group, hosts) == []


def test_host_that_does_not_boot_is_removed_completely(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "SECONDS_TO_BOOT", 0.0)
    with pytest.raises(Failure, match="did not boot"):
        group.up(TWO)
    assert traces(group, []) == []


def test_hosts_stop_when_their_owner_process_ends(group: Group, owner: subprocess.Popen[bytes]) -> None:
    group.up(TWO, Process.of(owner.pid))
    group.serve("{}", owner=Process.of(owner.pid))
    hosts = group.hosts()
    owner.kill()
    owner.wait()
    assert wait_until(lambda: not traces(group, hosts), SECONDS_TO_VANISH), traces(group, hosts)


def test_sweep_removes_hosts_left_by_killed_processes(group: Group, owner: subprocess.Popen[bytes]) -> None:
    group.up(TWO, Process.of(owner.pid))
    hosts = group.hosts()
    for host in hosts:
        keeper = Process.read(host.folder / "keeper")
        assert keeper
        os.killpg(keeper.pid, signal.SIGKILL)
    owner.kill()
    owner.wait()
    assert all(host.cgroup.leader() for host in hosts)  # systemd-nspawn has ended, its hosts have not
    assert group.name in sweep()
    assert traces(group, hosts) == []


def test_sweep_keeps_hosts_of_a_running_owner(group: Group, owner: subprocess.Popen[bytes]) -> None:
    group.up(TWO[:1], Process.of(owner.pid))
    assert group.name not in sweep()
    assert group.host("one").cgroup.leader()


def test_processes_are_listed_while_control_groups_disappear() -> None:
    cgroup = Cgroup(f"kftest-{os.getpid()}")
    cgroup.make()
    ended = threading.Event()

    def make_and_remove() -> None:
        while not ended.is_set():
            for folder in cgroup.folders:
                Path(folder, "outer", "inner").mkdir(parents=True)
                Path(folder, "outer", "inner").rmdir()
                Path(folder, "outer").rmdir()

    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(make_and_remove)
        try:
            assert [cgroup.processes() for _turn in range(2000)] == [[]] * 2000
        finally:
            ended.set()
            making.result()
            cgroup.remove()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.9])
def test_interrupted_up_command_leaves_nothing(
    group: Group, owner: subprocess.Popen[bytes], number: signal.Signals, seconds: float
) -> None:
    command = [*COMMAND, "up", group.name, "one=bookworm", "two=trixie"]
    variables = {**os.environ, OWNER: str(owner.pid)}
    with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        process.wait(30)
        hosts = group.hosts()
        owner.kill()
        owner.wait()
        sweep()
    assert wait_until(lambda: not traces(group, hosts), SECONDS_TO_VANISH), traces(group, hosts)


def test_command_reports_an_error_in_one_line() -> None:
    for words, sentence in (
        (["up", "Not a name", "one"], "the name of a group must match [a-z0-9][a-z0-9_-]{0,40} (got 'Not a name')"),
        (["up", "test-wrong", "one=potato"], "the release of a host must be one of bookworm, trixie (got potato)"),
        (["up", "test-wrong", "one=trixie=12"], "a machine id must have 32 hexadecimal digits (got '12')"),
        (["up", "test-wrong", "one", "one"], "two hosts of the group have the name 'one'"),
        (["enter", "test-wrong", "one"], "host 'one' of group 'test-wrong' does not exist"),
        (["refuse", "test-wrong"], "the test server is not running"),
    ):
        ended = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (1, f"hosts: {sentence}\n")


def test_inventory_is_json(group: Group) -> None:
    group.up(TWO[:1])
    printed = subprocess.run([*COMMAND, "inventory", group.name], capture_output=True, check=True).stdout
    assert json.loads(printed) == group.inventory()
