# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the library and the command: a listing, pulls, memory, `vault get`, and the requests of a push.

The floor of a listing is the bare GET and JSON parse.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import requests
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import connect
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.listing import Store, merge
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.job import Pull, Push
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.pull import pull
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.push import push
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.keys import KeyFile, make_key_file
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.session import open_vault, put
from dev_server.client import DevServer
from row import Row
from static_server import TAGGED, StaticServer
from timing import best

LISTED = 10_000
PATH = f"/{LISTED}"
PUSHED = 1_000
PACKAGE = "ansible_collections.keyfleet.infisical.plugins.module_utils.infisical"


def rows() -> list[Row]:
    """Return the rows of the table."""
    with StaticServer(LISTED) as server, tempfile.TemporaryDirectory(prefix="bench_") as name:
        folder, client = Path(name), Client(server.url)
        return [
            listing(client),
            *pulls(client, folder),
            memory(client, folder),
            vault_get(folder),
            *pushes(),
        ]


class Client:
    """The ways to read the static server: through the library, and the floor."""

    def __init__(self, url: str) -> None:
        self.settings = Settings(url=url, auth_method="token", token="t", api_version="v4")
        self._url = f"{url}/api/v4/secrets?secretPath={PATH}"
        self._session = requests.Session()
        self._session.trust_env = False
        # The frequency of full garbage collections depends on the number of objects at the last one. Start all
        # measurements from the same number, or one of them would include more collections than another.
        listed = self.get_and_parse()
        gc.collect()
        del listed

    def get(self) -> bytes:
        return self._session.get(self._url, timeout=30).content

    def get_and_parse(self) -> Any:
        """Get and parse the list; this is the floor of every listing."""
        return json.loads(self.get())


def listing(client: Client) -> Row:
    """A folder of many secrets, read through the library."""
    reader = Store(connect(client.settings), Location("p", "dev", PATH))

    def read() -> None:
        if len(merge(reader.listing()).secrets) != LISTED:
            sys.exit("bench: the library does not list all secrets of the server")

    floor, measured = best(7, client.get_and_parse, read)
    return Row(f"list {LISTED:,} secrets through the library (floor: GET and JSON parse)", floor, measured, 1)


def pulls(client: Client, folder: Path) -> list[Row]:
    """Measure pulls of many secrets: into a new vault, and unchanged, with and without an ETag."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    make_key_file(str(folder / "key"))
    tagged, untagged = (Pull(project_ids=("p",), environment=name, secret_path=PATH) for name in (TAGGED, "dev"))
    seal, fresh, body = AESGCM(bytes(32)), [0], client.get()

    def floor() -> None:
        client.get_and_parse()
        sealed = seal.encrypt(os.urandom(12), body, None)
        with open(folder / "floor", "wb") as stream:
            stream.write(sealed)
            stream.flush()
            os.fsync(stream.fileno())

    def pull_into(name: str, created: int, job: Pull = tagged) -> None:
        path = folder / name
        path.mkdir(exist_ok=True)
        # With a new connection, as in each cycle of a host.
        outcome = pull(connect(client.settings), *open_vault(str(path / "vault"), KeyFile(str(folder / "key"))), job)
        if len(outcome.created) != created or outcome.unchanged != LISTED - created:
            sys.exit(f"bench: wrong result of a pull of {LISTED}: {outcome.summary()}")

    def first() -> None:
        fresh[0] += 1
        pull_into(f"fresh{fresh[0]}", LISTED)

    rows = []
    times = best(9, floor, first)  # with an ETag, as from real servers
    what = f"pull {LISTED:,} secrets into a fresh vault (floor: GET, JSON parse, one AES-GCM, one fsynced file)"
    rows.append(Row(what, *times, 1, 2.0))
    times = best(9, first, lambda: pull_into("fresh1", 0))
    rows.append(Row("the same unchanged, with an ETag (floor: the first pull)", *times, 1, 0.2))
    pull_into("untagged", LISTED, untagged)
    times = best(9, client.get_and_parse, lambda: pull_into("untagged", 0, untagged))
    rows.append(Row("the same unchanged, from a server without ETags (floor: GET and JSON parse)", *times, 1, 2.0))
    return rows


def memory(client: Client, folder: Path) -> Row:
    """Measure the peak memory of a process that pulls."""
    program = (
        "import re, sys\n"
        f"from {PACKAGE}.client import api\nfrom {PACKAGE}.core import model\n"
        f"from {PACKAGE}.sync import job, pull\nfrom {PACKAGE}.vault import keys, session as local\n"
        "settings = model.Settings(url=sys.argv[1], auth_method='token', token='t', api_version='v4')\n"
        "opened = local.open_vault(sys.argv[2], keys.KeyFile(sys.argv[3]))\n"
        "wanted = job.Pull(project_ids=('p',), environment='dev', secret_path=sys.argv[4])\n"
        "pull.pull(api.connect(settings), *opened, wanted)\n"
        # VmHWM is for this program only; ru_maxrss would include the memory of the process before its exec.
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])\n"
    )
    command = [sys.executable, "-c", program, client.settings.url, str(folder / "measured"), str(folder / "key"), PATH]
    kilobytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return Row(f"peak memory in MB of a process that pulls {LISTED:,} secrets", None, kilobytes / 1024, None, 100)


def vault_get(folder: Path) -> Row:
    """Measure `vault get` against a Python process with the same imports."""
    vault, state = open_vault(str(folder / "small"), KeyFile(str(folder / "key")), str(folder / "small.json"))
    put(vault, state, "KEY", "value")
    arguments = ["vault", "get", "KEY", "--vault", vault.path, "--key-file", str(folder / "key")]
    arguments += ["--state-file", state.path]
    command = [sys.executable, "-m", f"{PACKAGE}.cli.main", *arguments]
    listing = (
        f"import runpy, sys\nsys.argv[1:] = {arguments!r}\n"
        f"try:\n    runpy.run_module('{PACKAGE}.cli.main', run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "standard = [name for name in sys.modules if name.split('.')[0] in sys.stdlib_module_names]\n"
        "sys.stderr.write(' '.join(standard))"
    )
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stderr.split()
    modules = [name for name in loaded if name not in ("__main__", "runpy")]
    bare = "".join(f"import {name}\n" for name in modules)
    bare += "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\n"
    if (
        "requests" in modules
        or subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() != "value"
    ):
        sys.exit("bench: vault get does not print the value")
    times = best(
        15,
        lambda: subprocess.run([sys.executable, "-c", bare], check=True, capture_output=True),
        lambda: subprocess.run(command, check=True, capture_output=True),
    )
    return Row("infisical-sync vault get (floor: Python with the same standard modules and AESGCM)", *times, None, 1.3)


def pushes() -> list[Row]:
    """Count the requests of a push of many new secrets."""
    rows = []
    values = {f"KEY_{number}": f"value {number} {'x' * 60}" for number in range(PUSHED)}
    for profile in ("2024", "2026-07"):
        with DevServer(profile) as server:
            settings = Settings(url=server.url, client_id="demo-client-id", client_secret="demo-client-secret")
            outcome = push(connect(settings), Location("demo-project", "dev"), values, Push())
            if len(outcome.created) != PUSHED:
                sys.exit(f"bench: wrong result of a push of {PUSHED}: {outcome.summary()}")
            number = len(server.requests())
        rows.append(Row(f"push {PUSHED:,} new secrets to a server of kind {profile}", None, None, number, 12))
    return rows
