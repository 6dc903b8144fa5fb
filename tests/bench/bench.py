# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the costs of the collection: numbers of requests, and times as a ratio to a floor from the same run.

The floor of a listing is the bare GET and JSON parse; the floor of a playbook is the same playbook with a constant in
place of the lookup, or with a module that does nothing. Each time is the best of several rounds that
alternate between the floor and the measured code. The table is printed, and written as JSON to the file in `--json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fleet_graph
import requests
import rollout
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

LISTED = 10_000
PUSHED = 1_000
HOSTS, TASKS, FORKS = 20, 10, 5
WRITTEN = 20
LOOKUP = "keyfleet.infisical.infisical_secret"
PACKAGE = "ansible_collections.keyfleet.infisical.plugins.module_utils.infisical"


def best(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """Return the shortest time of each function; run them alternately so that all see the same load."""
    times: list[list[float]] = [[] for _round in runs]
    for _round in range(rounds):
        for place, run in enumerate(runs):
            started = time.perf_counter()
            run()
            times[place].append(time.perf_counter() - started)
    return [min(of_one) for of_one in times]


class Static:
    """A server that responds to every GET with the same bytes, so that its own time is negligible."""

    def __init__(self, number: int) -> None:
        # About 460 bytes for each secret, as on real servers.
        project = str(uuid.UUID(int=number))
        secrets = [
            {
                "id": str(uuid.UUID(int=place)),
                "workspace": project,
                "environment": "dev",
                "version": 1,
                "type": "shared",
                "secretKey": f"APP_SETTING_{place:05}",
                "secretValue": f"value {place} {'x' * 60}",
                "secretComment": "",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "updatedAt": "2026-01-01T00:00:00.000Z",
                "secretPath": "/",
                "tags": [],
                "secretValueHidden": False,
                "secretMetadata": [],
            }
            for place in range(number)
        ]
        self.body = json.dumps({"secrets": secrets, "imports": []}).encode()
        self.etag = ""
        static = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One write for header and body, because a second small packet would wait for an acknowledgement.
            wbufsize = -1

            def do_GET(self) -> None:
                same = bool(static.etag) and self.headers.get("If-None-Match") == static.etag
                self.send_response(304 if same else 200)
                if static.etag:
                    self.send_header("ETag", static.etag)
                if not same:
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(static.body)))
                self.end_headers()
                self.wfile.write(b"" if same else static.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.settings = Settings(url=self.url, auth_method="token", token="t", api_version="v4")
        self.session = requests.Session()
        self.session.trust_env = False

    def close(self) -> None:
        self._server.shutdown()

    def get_and_parse(self) -> Any:
        """Get and parse the list; this is the floor of every listing."""
        return json.loads(self.session.get(f"{self.url}/api/v4/secrets", timeout=30).content)


def listing(static: Static) -> Row:
    """A folder of many secrets, read through the library."""
    reader = Store(connect(static.settings), Location("p", "dev"))

    def read() -> None:
        if len(merge(reader.listing()).secrets) != LISTED:
            sys.exit("bench: the library does not list all secrets of the server")

    floor, measured = best(7, static.get_and_parse, read)
    return Row(f"list {LISTED:,} secrets through the library (floor: GET and JSON parse)", floor, measured, 1)


def pulls(static: Static, folder: Path) -> list[Row]:
    """Measure pulls of many secrets: into a new vault, and unchanged, with and without an ETag."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    make_key_file(str(folder / "key"))
    job = Pull(project_ids=("p",), environment="dev")
    seal, fresh = AESGCM(bytes(32)), [0]

    def floor() -> None:
        static.get_and_parse()
        sealed = seal.encrypt(os.urandom(12), static.body, None)
        with open(folder / "floor", "wb") as stream:
            stream.write(sealed)
            stream.flush()
            os.fsync(stream.fileno())

    def pull_into(name: str, created: int) -> None:
        path = folder / name
        path.mkdir(exist_ok=True)
        # With a new connection, as in each cycle of a host.
        outcome = pull(connect(static.settings), *open_vault(str(path / "vault"), KeyFile(str(folder / "key"))), job)
        if len(outcome.created) != created or outcome.unchanged != LISTED - created:
            sys.exit(f"bench: wrong result of a pull of {LISTED}: {outcome.summary()}")

    def first() -> None:
        fresh[0] += 1
        pull_into(f"fresh{fresh[0]}", LISTED)

    rows = []
    static.etag = '"bench"'  # real servers send an ETag too
    times = best(9, floor, first)
    what = f"pull {LISTED:,} secrets into a fresh vault (floor: GET, JSON parse, one AES-GCM, one fsynced file)"
    rows.append(Row(what, *times, 1, 2.0))
    times = best(9, first, lambda: pull_into("fresh1", 0))
    rows.append(Row("the same unchanged, with an ETag (floor: the first pull)", *times, 1, 0.2))
    static.etag = ""
    pull_into("untagged", LISTED)
    times = best(9, static.get_and_parse, lambda: pull_into("untagged", 0))
    rows.append(Row("the same unchanged, from a server without ETags (floor: GET and JSON parse)", *times, 1, 2.0))
    return rows


def memory(static: Static, folder: Path) -> Row:
    """Measure the peak memory of a process that pulls."""
    program = (
        "import re, sys\n"
        f"from {PACKAGE}.client import api\nfrom {PACKAGE}.core import model\n"
        f"from {PACKAGE}.sync import job, pull\nfrom {PACKAGE}.vault import keys, session as local\n"
        "settings = model.Settings(url=sys.argv[1], auth_method='token', token='t', api_version='v4')\n"
        "opened = local.open_vault(sys.argv[2], keys.KeyFile(sys.argv[3]))\n"
        "pull.pull(api.connect(settings), *opened, job.Pull(project_ids=('p',), environment='dev'))\n"
        # VmHWM is for this program only; ru_maxrss would include the memory of the process before its exec.
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])\n"
    )
    command = [sys.executable, "-c", program, static.url, str(folder / "measured"), str(folder / "key")]
    kilobytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return Row(f"peak memory in MB of a process that pulls {LISTED:,} secrets", None, kilobytes / 1024, None, 100)


def vault_get(folder: Path) -> Row:
    """Measure `vault get` against a Python process with the same imports."""
    vault, state = open_vault(str(folder / "small"), KeyFile(str(folder / "key")), str(folder / "small.json"))
    put(vault, state, "KEY", "value")
    arguments = ["vault", "get", "KEY", "--vault", vault.path, "--key-file", str(folder / "key")]
    arguments += ["--state-file", state.path]
    command = [sys.executable, "-m", f"{PACKAGE}.cli.main", *arguments]
    # With byte-compiled modules, as for an installed command.
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    listing = (
        f"import runpy, sys\nsys.argv[1:] = {arguments!r}\n"
        f"try:\n    runpy.run_module('{PACKAGE}.cli.main', run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "standard = [name for name in sys.modules if name.split('.')[0] in sys.stdlib_module_names]\n"
        "sys.stderr.write(' '.join(standard))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True, env=variables
    ).stderr.split()
    modules = [name for name in loaded if name not in ("__main__", "runpy")]
    bare = "".join(f"import {name}\n" for name in modules)
    bare += "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\n"
    if (
        "requests" in modules
        or subprocess.run(command, capture_output=True, text=True, check=True, env=variables).stdout.strip() != "value"
    ):
        sys.exit("bench: vault get does not print the value")
    times = best(
        15,
        lambda: subprocess.run([sys.executable, "-c", bare], check=True, capture_output=True, env=variables),
        lambda: subprocess.run(command, check=True, capture_output=True, env=variables),
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


def playbook(server: DevServer, folder: Path, tasks: str, hosts: int) -> Callable[[], None]:
    """Return a function that runs tasks on a number of hosts."""
    path = folder / f"{abs(hash(tasks))}.yml"
    path.write_text(f"- hosts: all\n  gather_facts: false\n  connection: local\n  tasks:\n{tasks}", "utf-8")
    inventory = folder / "hosts"
    inventory.write_text("".join(f"host{number:02}\n" for number in range(hosts)), "utf-8")
    shared = {
        "infisical_url": server.url,
        "infisical_client_id": "demo-client-id",
        "infisical_client_secret": "demo-client-secret",
        "infisical_project_id": "demo-project",
        "infisical_environment": "dev",
        "ansible_python_interpreter": sys.executable,
    }
    variables = folder / "variables.json"
    variables.write_text(json.dumps(shared), "utf-8")
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [str(program), "-i", str(inventory), "-f", str(FORKS), "-e", f"@{variables}", str(path)]

    def run() -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"bench: a playbook failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    return run


def pluralize(server: DevServer, run: Callable[[], None]) -> int:
    server.clear_requests()
    run()
    return len(server.requests())


def lookups(server: DevServer, folder: Path) -> Row:
    def tasks(value: str) -> str:
        return "".join(f'    - ansible.builtin.assert:\n        that: "{value}"\n' for _round in range(TASKS))

    subject = playbook(server, folder, tasks(f"lookup('{LOOKUP}', 'LOG_LEVEL') == 'debug'"), HOSTS)
    floor = playbook(server, folder, tasks("'debug' == 'debug'"), HOSTS)
    number = pluralize(server, subject)
    times = best(3, floor, subject)
    return Row(f"{HOSTS} hosts x {TASKS} tasks with a lookup each (floor: with a constant)", *times, number)


def template(server: DevServer, folder: Path) -> Row:
    for number in range(50):
        server.put_secret("demo-project", "dev", "/", f"KEY_{number}", f"value {number}")
    names = ", ".join(f"'KEY_{number}'" for number in range(50))
    each = f"{{% for name in [{names}] %}}{{{{ lookup('{LOOKUP}', name) }}}} {{% endfor %}}"
    task = f'    - ansible.builtin.debug:\n        msg: "{each}"\n'
    return Row(
        "50 lookups of 50 secrets in one template", None, None, pluralize(server, playbook(server, folder, task, 1))
    )


def writes(server: DevServer, folder: Path) -> tuple[Row, Row]:
    def tasks(module: str) -> str:
        return f'    - {module}\n      loop: "{{{{ range({WRITTEN}) | list }}}}"\n'

    module = f'{LOOKUP}:\n        name: "WRITTEN_{{{{ item }}}}"\n        value: "value {{{{ item }}}}"'
    subject = playbook(server, folder, tasks(module), 1)
    floor = playbook(server, folder, tasks("ansible.builtin.ping:"), 1)
    first, again = pluralize(server, subject), pluralize(server, subject)

    def create() -> None:
        for number in range(WRITTEN):
            server.delete_secret("demo-project", "dev", "/", f"WRITTEN_{number}")
        subject()

    pings, created, unchanged = best(3, floor, create, subject)
    return (
        Row(f"{WRITTEN} secrets created by a loop (floor: as many ansible.builtin.ping)", pings, created, first, 2.0),
        Row(f"{WRITTEN} unchanged secrets in a loop (floor: the same)", pings, unchanged, again, 0.5),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the table as JSON to this file")
    options = parser.parse_args()
    static = Static(LISTED)
    rows = [listing(static)]
    with tempfile.TemporaryDirectory(prefix="bench_") as folder:
        rows += [*pulls(static, Path(folder)), memory(static, Path(folder)), vault_get(Path(folder)), *pushes()]
    static.close()
    with DevServer() as server, tempfile.TemporaryDirectory(prefix="bench_") as folder:
        rows += [template(server, Path(folder)), lookups(server, Path(folder)), *writes(server, Path(folder))]
    rows += [*fleet_graph.rows(), *rollout.rows()]
    print(f"{'':98} {'floor':>8} {'measured':>8} {'ratio':>6} {'at most':>8} {'requests':>9}")
    for row in rows:
        floor, measured = (f"{t:.3f}" if t is not None else "" for t in (row.floor, row.measured))
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        at_most = f"{row.at_most:g}" if row.at_most is not None else ""
        number = "" if row.requests is None else row.requests
        print(f"{row.what:98} {floor:>8} {measured:>8} {ratio:>6} {at_most:>8} {number:>9}")
    if options.json:
        options.json.write_text(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=2), "utf-8")
        print(f"Wrote the table as JSON to {options.json}")


if __name__ == "__main__":
    main()
