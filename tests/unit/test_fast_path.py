# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast path of a lookup returns what the slow path would return, or nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ansible")
pytest.importorskip("aiohttp")

from ansible_collections.keyfleet.infisical.plugins.lookup.infisical_secret import LookupModule
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Settings
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fast_path, options, sealed_table
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fast_path import FastPath
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.run_cache import RunCache, forget
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_table import build, make_key
from dev_server.client import DevServer
from dev_server.seed import DEFAULT_SEED

PROJECT = "demo-project"
SCOPE = Location(PROJECT, "dev", "/app")
CANARY = "correct horse battery staple"
VARIABLES = {
    "infisical_client_id": "demo-client-id",
    "infisical_client_secret": "demo-client-secret",
    "infisical_project_id": PROJECT,
    "infisical_environment": "dev",
    "infisical_secret_path": "/app",
}


@pytest.fixture(scope="module")
def _process() -> Iterator[DevServer]:
    with DevServer() as process:
        yield process


@pytest.fixture
def server(_process: DevServer, monkeypatch: pytest.MonkeyPatch) -> DevServer:
    """A test server with the default seed, in an environment without options."""
    for name in [name for name in os.environ if name.startswith("INFISICAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(fast_path, "_OPENED", {})
    _process.seed(DEFAULT_SEED)
    _process.clear_requests()
    return _process


def _fast(server: DevServer, directory: Path, given: dict[str, Any] | None = None, **more: Any) -> FastPath:
    variables = {**VARIABLES, "infisical_url": server.url, **more}
    return FastPath(given or {}, variables, lambda value: value, str(directory))


def _cache(server: DevServer, directory: Path) -> RunCache:
    settings = {**{name[len("infisical_") :]: value for name, value in VARIABLES.items()}, "url": server.url}
    return RunCache(Settings.from_options(settings), directory=directory)


def _fill(server: DevServer, directory: Path, **more: Any) -> None:
    """Read the folder the slow path."""
    cache = _cache(server, directory)
    cache.values(SCOPE, ())
    cache.keep(_fast(server, directory, **more), SCOPE)


def _find(server: DevServer, directory: Path, *names: Any, fresh: bool = True, **more: Any) -> list[str] | None:
    """Return the values by the fast path, in a process that has opened nothing yet if `fresh` is true."""
    if fresh:
        fast_path._OPENED.clear()
    found = _fast(server, directory, **more).find(names)
    return None if found is None else found[0]


def test_names_are_complete() -> None:
    assert sorted(options.NAMES) == list(fast_path.NAMES)


def test_fast_path_sends_no_request(server: DevServer, tmp_path: Path) -> None:
    assert _find(server, tmp_path, "DB_PASSWORD") is None
    _fill(server, tmp_path)
    number = len(server.requests())
    assert _find(server, tmp_path, "DB_PASSWORD") == [CANARY]
    assert _find(server, tmp_path, "DB_PASSWORD", "DB_PASSWORD", fresh=False) == [CANARY, CANARY]
    assert len(server.requests()) == number


@pytest.mark.parametrize("names", [["NONE"], ["DB_PASSWORD", "NONE"], [1], [None], [" DB_PASSWORD"], ["\ud800"]])
def test_other_names_take_the_slow_path(server: DevServer, tmp_path: Path, names: list[Any]) -> None:
    _fill(server, tmp_path)
    assert _find(server, tmp_path, *names) is None


def test_hidden_value_takes_the_slow_path(server: DevServer, tmp_path: Path) -> None:
    key, (table, generation) = make_key(), (tmp_path / "table", tmp_path / "generation")
    table.write_bytes(build({"HIDDEN": fast_path.pack_value(None), "EMPTY": fast_path.pack_value("")}, key, b"folder"))
    generation.write_text("1")
    listing = fast_path.CachedListing(str(generation), "1", str(table), key.hex(), "folder", [])
    _fast(server, tmp_path).keep(listing, "demo-client-secret")
    assert _find(server, tmp_path, "EMPTY") == [""]
    assert _find(server, tmp_path, "HIDDEN") is None


def test_warnings_of_the_listing_are_repeated(server: DevServer, tmp_path: Path) -> None:
    key, (table, generation) = make_key(), (tmp_path / "table", tmp_path / "generation")
    table.write_bytes(build({"A": fast_path.pack_value("a")}, key, b"folder"))
    generation.write_text("1")
    listing = fast_path.CachedListing(str(generation), "1", str(table), key.hex(), "folder", ["Listed twice."])
    _fast(server, tmp_path).keep(listing, "demo-client-secret")
    assert _fast(server, tmp_path).find(["A"]) == (["a"], ["Listed twice."])


def test_variables_that_are_needed_are_evaluated_once(server: DevServer, tmp_path: Path) -> None:
    evaluated: list[str] = []

    def template(value: str) -> str:
        evaluated.append(value)
        return value.strip("{} ")

    variables = {"infisical_url": "{{ url }}", "infisical_environment": "{{ prod }}", "infisical_unknown": "{{ x }}"}
    fast = FastPath({"environment": "dev"}, variables, template, str(tmp_path))
    assert (evaluated, fast.variables) == (["{{ url }}"], {"infisical_url": "url"})


def test_few_listings_are_open_at_once(server: DevServer, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(3 * fast_path._MOST_OPENED):
        _fill(server, tmp_path, infisical_timeout=10 + number)
        assert _find(server, tmp_path, "DB_PASSWORD", fresh=False, infisical_timeout=10 + number) == [CANARY]
    assert len(os.listdir("/proc/self/fd")) - before <= fast_path._MOST_OPENED + 2


def test_values_and_hash_come_from_the_same_evaluation(
    server: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put_secret(PROJECT, "prod", "/app", "DB_PASSWORD", "of prod")
    environments = iter(["prod", "dev", "dev", "prod", "prod", "dev"] * 4)

    class Templar:
        """Evaluates the variable of the environment to another value each time."""

        used = ""

        def template(self, value: Any) -> Any:
            if value != "{{ random }}":
                return value
            self.used = next(environments)
            return self.used

    monkeypatch.setattr(fast_path.C, "DEFAULT_LOCAL_TMP", str(tmp_path))
    templar = Templar()
    lookup = LookupModule(None, templar)
    variables = {**VARIABLES, "infisical_url": server.url, "infisical_environment": "{{ random }}"}
    for _time in range(6):
        found = lookup.run(["DB_PASSWORD"], variables)
        assert found == [CANARY if templar.used == "dev" else "of prod"]


@pytest.mark.parametrize(
    "changed",
    [
        {"infisical_secret_path": "/"},
        {"infisical_environment": "prod"},
        {"infisical_client_secret": "another"},
        {"infisical_timeout": 5},
        {"given": {"recursive": True}},
        {"given": {"cache": "none"}},
        {"given": {"on_missing": "typo"}},
        {"given": {"unknown": 1}},
    ],
    ids=str,
)
def test_other_options_take_the_slow_path(server: DevServer, tmp_path: Path, changed: dict[str, Any]) -> None:
    _fill(server, tmp_path)
    assert _find(server, tmp_path, "DB_PASSWORD", **changed) is None


def test_environment_belongs_to_the_options(server: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(server, tmp_path)
    monkeypatch.setenv("INFISICAL_CA_PATH", "/other")
    assert _find(server, tmp_path, "DB_PASSWORD") is None


def test_default_does_not_matter(server: DevServer, tmp_path: Path) -> None:
    _fill(server, tmp_path)
    assert _find(server, tmp_path, "DB_PASSWORD", given={"default": object()}) == [CANARY]


def test_credential_in_ansible_cfg_takes_the_slow_path(server: DevServer, tmp_path: Path) -> None:
    cache = _cache(server, tmp_path)
    cache.values(SCOPE, ())
    variables = {name: value for name, value in VARIABLES.items() if name != "infisical_client_secret"}
    fast = FastPath({}, {**variables, "infisical_url": server.url}, lambda value: value, str(tmp_path))
    cache.keep(fast, SCOPE)
    assert not list(tmp_path.glob("*.fast"))


def test_write_ends_the_fast_path(server: DevServer, tmp_path: Path) -> None:
    _fill(server, tmp_path)
    assert _find(server, tmp_path, "DB_PASSWORD") == [CANARY]
    server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", "new")
    forget(PROJECT, tmp_path)
    assert _find(server, tmp_path, "DB_PASSWORD", fresh=False) is None
    assert _find(server, tmp_path, "DB_PASSWORD") is None
    _fill(server, tmp_path)
    assert _find(server, tmp_path, "DB_PASSWORD", fresh=False) == ["new"]


def test_listing_of_another_run_is_not_used(server: DevServer, tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    _fill(server, first)
    server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", "new")
    _fill(server, second)
    # Replay all files of the first run, under the names of the second.
    for kind in ("fast", "table"):
        [old], [new] = first.glob(f"*.{kind}"), second.glob(f"*.{kind}")
        new.write_bytes(old.read_bytes())
    assert _find(server, second, "DB_PASSWORD") is None
    assert _cache(server, second).values(SCOPE, ["DB_PASSWORD"]).values == {"DB_PASSWORD": "new"}


@pytest.mark.parametrize("kind", ["fast", "table", "sealed", "generation"])
@pytest.mark.parametrize("content", [b"", b"x", b"x" * 200, None], ids=["empty", "short", "long", "cut"])
def test_damaged_file_counts_as_missing(server: DevServer, tmp_path: Path, kind: str, content: bytes | None) -> None:
    _fill(server, tmp_path)
    for path in tmp_path.glob(f"*.{kind}"):
        path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    server.put_secret(PROJECT, "dev", "/app", "DB_PASSWORD", "new")
    assert _find(server, tmp_path, "DB_PASSWORD") in (None, [CANARY])
    assert _cache(server, tmp_path).values(SCOPE, ["DB_PASSWORD"]).values["DB_PASSWORD"] in (CANARY, "new")
    _fill(server, tmp_path)
    if kind != "generation":
        assert _find(server, tmp_path, "DB_PASSWORD") is not None, "the damage must not last"


def test_cache_files_contain_no_secret(server: DevServer, tmp_path: Path) -> None:
    _fill(server, tmp_path)
    paths = list(tmp_path.iterdir())
    assert {path.suffix for path in paths} >= {".fast", ".table", ".sealed", ".generation"}
    for path in paths:
        content = path.read_bytes() + path.name.encode()
        assert path.stat().st_mode & 0o777 == 0o600
        for text in (CANARY, "DB_PASSWORD", "demo-client-secret", "demo-client-id", "/app"):
            assert text.encode() not in content


def test_hit_imports_neither_the_library_nor_a_client(
    server: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFISICAL_")}
    environment["PYTHONHASHSEED"] = "1"  # stands for the secret that a fork inherits
    printing = f"from {sealed_table.__name__} import get_run_secret; print(get_run_secret())"
    inherited = subprocess.check_output([sys.executable, "-c", printing], env=environment, text=True).strip()
    monkeypatch.setattr(fast_path, "get_run_secret", lambda: inherited)
    _fill(server, tmp_path / "keyfleet.infisical")
    program = (
        "import json, multiprocessing, sys\n"
        "multiprocessing.parent_process = lambda: 'as in a worker process'\n"
        "from ansible.plugins.loader import init_plugin_loader, lookup_loader\n"
        "init_plugin_loader([])\n"
        "from ansible import constants\n"
        "constants.DEFAULT_LOCAL_TMP = sys.argv[1]\n"
        "class Templar:\n    template = staticmethod(lambda value: value)\n"
        "lookup = lookup_loader.get('keyfleet.infisical.infisical_secret', templar=Templar())\n"
        "before = set(sys.modules)\n"
        "assert lookup.run(['DB_PASSWORD'], json.loads(sys.stdin.read())) == [sys.argv[2]]\n"
        "ours = 'ansible_collections.keyfleet.infisical.plugins.'\n"
        "from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fast_path\n"
        "print(type(fast_path.__spec__.loader).__name__)\n"
        "loaded = [name for name in sys.modules if name.startswith((ours, 'requests', 'urllib3'))]\n"
        "print(*loaded, *(set(sys.modules) - before), sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), CANARY],
        input=json.dumps({**VARIABLES, "infisical_url": server.url}),
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "SourceFileLoader" in loaded, "Ansible's own loader does not use bytecode"
    assert "ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_table" in loaded
    library = {name for name in loaded if ".module_utils" in name or ".run_cache" in name}
    assert not library
    assert not {name for name in loaded if name.startswith(("requests", "urllib3"))}
    more = {name for name in loaded if name.startswith("cryptography.")}
    assert more <= {"cryptography.hazmat.primitives.ciphers.aead", "cryptography.exceptions"}
