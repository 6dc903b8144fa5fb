# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault stays intact despite killed writers, a full disk, a write limit, or many processes at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import plan
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import store as vault

KILLS = 300
ENTRIES = 500
SECONDS = float(os.environ.get("KEYFLEET_VAULT_SECONDS", "4"))
"""Seconds for which the eight processes run. A minute is a better test than the default."""

Start = Callable[..., "subprocess.Popen[str]"]

# Both sides build the same two sets; half of the names are in both.
SETS = f"""
def complete_set(letter):
    first = 0 if letter == "a" else {ENTRIES // 2}
    return {{
        f"NAME_{{number}}": Secret(f"NAME_{{number}}", f"{{letter}} {{number}} " + letter * 50, 1, f"id {{number}}",
                                  environment="prod", project_id="p", job="default")
        for number in range(first, first + {ENTRIES})
    }}
"""
HEAD = """
import os, random, signal, sys, time
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import plan
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import store as vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret
"""
WRITE = (
    HEAD
    + SETS
    + """
opened = vault.Vault(sys.argv[1], keys.KeyFile(sys.argv[2]))
SETS = {letter: complete_set(letter) for letter in "ab"}

def write(letter):
    with opened.writing(create=True) as draft:
        draft.apply(
            plan.build(draft.contents.secrets, SETS[letter], prune=True, differs=plan.differs_in_vault), job="default"
        )

def other():
    return "ba"["NAME_0" not in opened.read().secrets]
"""
)

# Starting Python takes longer than a write, so one process that has loaded everything forks the writers.
FORK_WRITERS = (
    WRITE
    + """
write("a")
started = time.monotonic()
write("b")
print(time.monotonic() - started, flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        letter = other()
        while True:
            write(letter)
            letter = "ba"[letter == "b"]
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""
)

# Die before the n-th step of a write, for each n until a write succeeds.
DIE_AT_EACH_STEP = (
    WRITE
    + """
write("a")
print("ready", flush=True)
STEPS = ("open", "link", "rename", "unlink", "fsync", "fchmod", "close")
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        left = int(line)
        def pluralize(name, call):
            def step(*arguments, **options):
                global left
                left -= 1
                if left == 0:
                    os.write(1, (name + "\\n").encode())
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)
            return step
        letter = other()
        for name in STEPS:
            setattr(os, name, pluralize(name, getattr(os, name)))
        write(letter)
        os.write(1, b"through\\n")
        os._exit(0)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""
)

LIMITED = (
    WRITE
    + """
import resource
write("a")
size = os.path.getsize(sys.argv[1])
for limit in (0, 1, 141, 142, size // 2, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write("b")
    except InfisicalError as error:
        # The limit does not apply to a pipe.
        print(error.conclusion, "LimitFSIZE=" in str(error), "was not changed" in str(error), flush=True)
    assert "NAME_0" in opened.verify().secrets
    assert not [name for name in os.listdir(os.path.dirname(sys.argv[1])) if name.startswith(".")]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write("b")
print("written", flush=True)
"""
)

INCREMENT = (
    HEAD
    + """
opened, state = local.open_vault(sys.argv[1], keys.KeyFile(sys.argv[2]), lock_wait=60)
end, done = time.monotonic() + float(sys.argv[3]), 0
while time.monotonic() < end:
    with opened.writing() as draft:
        now = draft.contents.secrets
        token = f"{os.getpid()} {done}"
        wanted = {
            "COUNTER": now["COUNTER"]._replace(value=str(int(now["COUNTER"].value) + 1)),
            "LEFT": now["LEFT"]._replace(value=token),
            "RIGHT": now["RIGHT"]._replace(value=token),
        }
        after = draft.apply(plan.build(now, wanted, differs=plan.differs_in_vault), job="default")
        done += 1
    state.update(vault_id=after.vault_id, generation=after.generation)
    # Pause, because a process that requests the lock again immediately usually gets it.
    time.sleep(random.uniform(0, 0.01))
print(done, flush=True)
"""
)
READ = (
    HEAD
    + """
opened, _state = local.open_vault(sys.argv[1], keys.KeyFile(sys.argv[2]))
end, done, counter, generation = time.monotonic() + float(sys.argv[3]), 0, 0, 0
while time.monotonic() < end:
    contents = opened.read()
    assert contents.get("LEFT").value == contents.get("RIGHT").value, "a mix"
    now = int(contents.get("COUNTER").value)
    assert now >= counter and contents.generation >= generation, "back in time"
    assert now + 1 == contents.generation, "entries of one generation under the header of another"
    counter, generation, done = now, contents.generation, done + 1
print(done, flush=True)
"""
)


@pytest.fixture
def key(tmp_path: Path) -> keys.KeyFile:
    keys.make_key_file(str(tmp_path / "key"))
    return keys.KeyFile(str(tmp_path / "key"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "vaults").mkdir()
    return tmp_path / "vaults"


def complete_set(letter: str) -> dict[str, str]:
    names: dict[str, dict[str, Secret]] = {}
    exec(SETS, {"Secret": Secret}, names)
    return {name: str(secret.value) for name, secret in names["complete_set"](letter).items()}  # type: ignore[operator]


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return line.strip()


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def left_over(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(".")]


def state_of(directory: Path) -> set[tuple[str, int]]:
    """Return the names and inodes in a directory, which change as soon as a writer begins to write."""
    return {(entry.name, entry.inode()) for entry in os.scandir(directory)}


def wait_for_change(directory: Path, before: set[tuple[str, int]]) -> None:
    end = time.monotonic() + 60
    while state_of(directory) == before:
        assert time.monotonic() < end, "the writer has not written anything"


def test_killed_writer_leaves_the_old_or_new_secrets(directory: Path, key: keys.KeyFile, start: Start) -> None:
    path = directory / "vault"
    launcher = start(FORK_WRITERS, path, key.path)
    longest = 2 * float(line_of(launcher))
    sets = {letter: complete_set(letter) for letter in "ab"}
    made = vault.Vault(str(path), key)
    generation, chance, seen = made.read().generation, random.Random(3), Counter[str]()
    for turn in range(KILLS):
        untouched = state_of(directory)
        tell(launcher, "go")
        writer = int(line_of(launcher))
        # Half of the writers are killed after they have begun to write.
        if turn % 2:
            wait_for_change(directory, untouched)
        time.sleep(chance.uniform(0, longest))
        os.kill(writer, signal.SIGKILL)
        assert line_of(launcher) == "dead"
        contents = made.verify()
        held = {name: secret.value for name, secret in contents.secrets.items()}
        letter = next((letter for letter in "ab" if held == sets[letter]), "neither")
        assert letter == "ba"[contents.generation % 2]  # "a" came first, and then in turns
        assert contents.generation >= generation
        seen[letter] += 1
        seen["before the first write" if contents.generation == generation else "after a write"] += 1
        seen["within a write"] += bool(left_over(directory))
        # However busy the machine is: about seven of ten of the others live long enough to write.
        if turn % 2 == 0:
            longest *= 0.9 if contents.generation > generation else 1.3
        generation = contents.generation
    # Otherwise, all kills were too early or too late to prove anything.
    for moment in ("a", "b", "before the first write", "after a write", "within a write"):
        assert seen[moment] >= KILLS // 100, seen
    made.put("LATER", "v")
    assert left_over(directory) == []
    print(dict(seen), f"{generation} generations")


def test_kill_before_any_step_leaves_the_old_or_new_secrets(directory: Path, key: keys.KeyFile, start: Start) -> None:
    path = directory / "vault"
    launcher = start(DIE_AT_EACH_STEP, path, key.path)
    assert line_of(launcher) == "ready"
    sets = {letter: complete_set(letter) for letter in "ab"}
    made = vault.Vault(str(path), key)
    steps: list[str] = []
    seen: list[int] = []
    for step in range(1, 100):
        before = made.read()
        tell(launcher, str(step))
        steps.append(line_of(launcher))
        assert line_of(launcher) == "dead"
        contents = made.verify()
        assert {name: secret.value for name, secret in contents.secrets.items()} == sets["ba"[contents.generation % 2]]
        assert contents.generation - before.generation in (0, 1)
        seen.append(contents.generation - before.generation)
        if steps[-1] == "through":
            break
    assert {"open", "fsync", "link", "rename", "unlink"} <= set(steps)
    assert steps[-1] == "through"
    assert seen == sorted(seen)  # up to some step the old set, and from there on the new one
    assert seen[0] == 0 < seen[-2]
    assert left_over(directory) == []


@pytest.fixture
def small_disk(needs_root: None, tmp_path: Path) -> Iterator[Path]:
    """A disk of half a mebibyte."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(mounted)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {ended.stderr.strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_full_disk_is_reported_and_keeps_the_old_secrets(small_disk: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(small_disk / "vault"), key)
    small = {"A": Secret("A", "a" * 150_000)}
    with made.writing(create=True) as draft:
        draft.apply(plan.build({}, small))
    for size in (520_000, 400_000):
        changes = plan.build(small, {"A": Secret("A", "b" * size)})
        with pytest.raises(InfisicalError) as caught, made.writing() as draft:
            draft.apply(changes)
        assert caught.value.conclusion == "storage"
        assert "the disk is full" in str(caught.value)
        assert "is intact and was not changed" in str(caught.value)
        assert made.verify().secrets["A"].value == "a" * 150_000
        assert left_over(small_disk) == []
    with pytest.raises(OSError, match="No space"), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass
    for act in (lambda: made.put("B", "v"), lambda: made.rekey(keys.Passphrase("long enough"))):
        with pytest.raises(InfisicalError, match="disk is full"):
            act()
        assert made.verify().generation == 1
    (small_disk / "filler").unlink()
    made.put("B", "v")
    assert made.verify().generation == 2
    assert left_over(small_disk) == []


def test_vault_on_a_read_only_disk_can_be_read_but_not_written(small_disk: Path, key: keys.KeyFile) -> None:
    made = vault.Vault(str(small_disk / "vault"), key)
    made.put("A", "1")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    another = vault.Vault(str(small_disk / "another"), key)
    acts: tuple[Callable[[], object], ...] = (
        lambda: made.put("A", "2"),
        lambda: made.remove("A"),
        lambda: another.put("A", "2"),
        lambda: another.put("A", "2", check=True),
    )
    for act in acts:
        with pytest.raises(InfisicalError, match="read-only file system") as caught:
            act()
        assert caught.value.conclusion == "storage"
    assert made.verify().secrets["A"].value == "1"
    assert made.put("A", "2", check=True)[0].changes


def test_file_size_limit_is_reported_and_keeps_the_old_secrets(
    directory: Path, key: keys.KeyFile, start: Start
) -> None:
    output, errors = start(LIMITED, directory / "vault", key.path).communicate(timeout=60)
    assert output.splitlines() == ["storage True True"] * 6 + ["written"], errors
    assert {
        name: secret.value for name, secret in vault.Vault(str(directory / "vault"), key).verify().secrets.items()
    } == (complete_set("b"))


def test_eight_concurrent_processes_lose_and_mix_no_updates(directory: Path, key: keys.KeyFile, start: Start) -> None:
    made = vault.Vault(str(directory / "vault"), key)
    first = {
        name: Secret(name, value, job="default") for name, value in (("COUNTER", "0"), ("LEFT", ""), ("RIGHT", ""))
    }
    with made.writing(create=True) as draft:
        draft.apply(plan.build({}, first), job="default")
    programs = [INCREMENT] * 4 + [READ] * 4
    running = [start(program, made.path, key.path, SECONDS) for program in programs]
    done = []
    for process in running:
        output, errors = process.communicate(timeout=SECONDS + 60)
        assert process.returncode == 0, errors
        done.append(int(output))
    contents = made.verify()
    counter = contents.get("COUNTER")
    assert counter is not None
    assert counter.value == str(sum(done[:4]))
    assert contents.generation == 1 + sum(done[:4])
    assert min(done) >= SECONDS, "some hardly ran"
    assert left_over(directory) == []
    print(f"{sum(done[:4])} writes, {sum(done[4:])} reads in {SECONDS:g} seconds")
