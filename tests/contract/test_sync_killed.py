# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Syncs killed at any instant: the vault holds exactly the old or exactly the new, and the next sync goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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
JOB = Pull(project_ids=("p",), environment="dev", prune=True, max_delete_percent=100)

# Lists another set with every request: the round's number is every value, and the names differ by the round's parity.
SERVER = f"""
import http.server, json
round_ = 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def do_GET(self):
        global round_
        round_ += 1
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


def one_round(values: dict[str, str | None]) -> int:
    """The round that a vault holds; fails where it holds a mix, or not all of a round."""
    [text] = set(values.values())
    assert text is not None
    number = int(text.removeprefix("round "))
    assert set(values) == {f"KEY_{n + number % 2}" for n in range(SECRETS)}
    return number


def test_a_sync_killed_at_any_instant_leaves_all_of_the_old_or_all_of_the_new(tmp_path: Path, url: str) -> None:
    key = str(tmp_path / "key")
    keys.make_key_file(key)
    settings = Settings(url=url, auth_method="token", token="t", api_version="v4")

    def cycle() -> None:
        opened = local.open_vault(str(tmp_path / "vault"), keys.KeyFile(key))
        pull(api.connect(settings), *opened, JOB)

    started = time.monotonic()
    for _round in range(3):
        cycle()
    longest = time.monotonic() - started
    chance = random.Random(4711)
    generations, states, midway = [], set(), 0
    for _kill in range(KILLS):
        child = os.fork()
        if child == 0:
            while True:
                cycle()
        time.sleep(chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        midway += any(name.startswith(".vault.") for name in os.listdir(tmp_path))
        vault, state = local.open_vault(str(tmp_path / "vault"), keys.KeyFile(key))
        contents = vault.verify()
        assert one_round({name: secret.value for name, secret in contents.secrets.items()}) > 0
        # However busy the machine is: about seven of ten live long enough to write.
        longest *= 0.9 if generations and contents.generation > generations[-1] else 1.3
        generations.append(contents.generation)
        states.add(contents.generation - state.head()["generation"])
    assert generations == sorted(generations)
    # Kills came before, in and after the writing, else they show nothing.
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
