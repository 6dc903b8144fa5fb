# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Syncs killed at any moment: the vault contains exactly the old or the new secrets, and the next sync works."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import api
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.job import Pull
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.pull import pull
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import keys
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local

KILLS = 300
SECRETS = 500
REMEASURED = 30
"""Kills after which the duration of a sync is measured again, because the load of the machine changes."""
JOB = Pull(project_ids=("p",), environment="dev", prune=True, max_delete_percent=100)

# Each request is a round with other secrets. Its number is in each value, and its parity determines the names.
SERVER = f"""
import http.server, itertools, json
rounds = itertools.count(1)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def do_GET(self):
        round_ = next(rounds)
        body = json.dumps({{"secrets": [
            {{"id": str(n), "version": round_, "environment": "dev", "secretPath": "/",
              "secretKey": f"KEY_{{n + round_ % 2}}", "secretValue": f"round {{round_}}"}}
            for n in range({SECRETS})
        ]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def url() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


def find_round(values: dict[str, str | None]) -> int:
    """Return the round in a vault. Fail if the vault contains a mix of rounds or only a part of a round."""
    [text] = set(values.values())
    assert text is not None
    number = int(text.removeprefix("round "))
    assert set(values) == {f"KEY_{n + number % 2}" for n in range(SECRETS)}
    return number


def start(cycle: Callable[[], None]) -> int:
    """Run cycles in a child process until it is killed; return its id as soon as the first one begins."""
    ready, begun = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(begun, b".")
            while True:
                cycle()
        finally:
            os._exit(1)
    os.close(begun)
    assert os.read(ready, 1) == b"."
    os.close(ready)
    return child


def measure(cycle: Callable[[], None]) -> float:
    """Return the seconds that a cycle takes at present."""
    durations = []
    for _turn in range(3):
        started = time.monotonic()
        cycle()
        durations.append(time.monotonic() - started)
    return sorted(durations)[1]


def test_killed_sync_leaves_the_old_or_new_vault(tmp_path: Path, url: str) -> None:
    key = str(tmp_path / "key")
    keys.make_key_file(key)
    settings = Settings(url=url, auth_method="token", token="t", api_version="v4")

    def cycle() -> None:
        opened = local.open_vault(str(tmp_path / "vault"), keys.KeyFile(key))
        pull(api.connect(settings), *opened, JOB)

    chance = random.Random(4711)
    generations, states, midway, duration = [], set(), 0, 0.0
    for kill in range(KILLS):
        if kill % REMEASURED == 0:
            duration = measure(cycle)
        child = start(cycle)
        # Most children live long enough to write at least once.
        time.sleep(chance.uniform(0, 4 * duration))
        os.kill(child, signal.SIGKILL)
        _child, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the sync failed before it was killed"
        midway += any(name.startswith(".vault.") for name in os.listdir(tmp_path))
        vault, state = local.open_vault(str(tmp_path / "vault"), keys.KeyFile(key))
        contents = vault.verify()
        assert find_round({name: secret.value for name, secret in contents.secrets.items()}) > 0
        generations.append(contents.generation)
        states.add(contents.generation - state.head()["generation"])
    assert generations == sorted(generations)
    # Kills came before, during and after the write, or the test would prove nothing.
    assert len(set(generations)) > KILLS / 2
    assert midway > 0
    assert states >= {0, 1}
    cycle()
    vault, state = local.open_vault(str(tmp_path / "vault"), keys.KeyFile(key))
    contents = vault.verify()
    entries = json.loads(Path(state.path).read_text())["secrets"]
    assert {name: entry["version"] for name, entry in entries.items()} == {
        name: secret.version for name, secret in contents.secrets.items()
    }
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".vault.")]
