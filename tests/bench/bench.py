# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection costs, as requests counted and as ratios to a floor that is measured in the same run.

The floor of a listing is the bare GET and JSON parse; the floor of a playbook is the same playbook with a constant in
place of the lookup, or with a module that does nothing. Each time is the best of several rounds, floor and subject in
turn. The table goes to the terminal, and as JSON to the file that `--json` names.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.api import connect
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.model import Scope, Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.remote import Remote, merged
from dev_server.client import DevServer

LISTED = 10_000
HOSTS, TASKS, FORKS = 20, 10, 5
WRITTEN = 20
LOOKUP = "keyfleet.infisical.infisical_secret"


@dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds, `None` where only requests are counted."""

    what: str
    floor: float | None
    measured: float | None
    requests: int | None

    @property
    def ratio(self) -> float | None:
        return None if self.floor is None or self.measured is None else self.measured / self.floor


def best(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """The shortest time of each, run in turn so that all see the same machine."""
    times: list[list[float]] = [[] for _round in runs]
    for _round in range(rounds):
        for place, run in enumerate(runs):
            started = time.perf_counter()
            run()
            times[place].append(time.perf_counter() - started)
    return [min(of_one) for of_one in times]


def listing() -> Row:
    """A folder of many secrets, read through the library, from a server that answers with ready bytes."""
    secrets = [
        {
            "id": f"id-{number}",
            "workspace": "p",
            "environment": "dev",
            "version": 1,
            "type": "shared",
            "secretKey": f"KEY_{number}",
            "secretValue": f"value {number} {'x' * 60}",
            "secretComment": "",
            "secretPath": "/",
            "tags": [],
            "createdAt": "2026-01-01T00:00:00.000Z",
            "updatedAt": "2026-01-01T00:00:00.000Z",
        }
        for number in range(LISTED)
    ]
    body = json.dumps({"secrets": secrets, "imports": []}).encode()

    class Static(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Header and body in one piece: two small ones would wait for each other's acknowledgement.
        wbufsize = -1

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Static)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    session = requests.Session()
    session.trust_env = False
    remote = Remote(connect(Settings(url=url, auth_method="token", token="t")), Scope("p", "dev"))
    floor, measured = best(
        7,
        lambda: json.loads(session.get(f"{url}/api/v4/secrets", timeout=30).content),
        lambda: merged(remote.listing()),
    )
    server.shutdown()
    return Row(f"list {LISTED:,} secrets through the library (floor: GET and JSON parse)", floor, measured, 1)


def playbook(server: DevServer, folder: Path, tasks: str, hosts: int) -> Callable[[], None]:
    """A run of these tasks on so many hosts."""
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


def counted(server: DevServer, run: Callable[[], None]) -> int:
    server.clear_requests()
    run()
    return len(server.requests())


def lookups(server: DevServer, folder: Path) -> Row:
    def tasks(value: str) -> str:
        return "".join(f'    - ansible.builtin.assert:\n        that: "{value}"\n' for _round in range(TASKS))

    subject = playbook(server, folder, tasks(f"lookup('{LOOKUP}', 'LOG_LEVEL') == 'debug'"), HOSTS)
    floor = playbook(server, folder, tasks("'debug' == 'debug'"), HOSTS)
    number = counted(server, subject)
    times = best(3, floor, subject)
    return Row(f"{HOSTS} hosts x {TASKS} tasks with a lookup each (floor: with a constant)", *times, number)


def template(server: DevServer, folder: Path) -> Row:
    for number in range(50):
        server.put_secret("demo-project", "dev", "/", f"KEY_{number}", f"value {number}")
    names = ", ".join(f"'KEY_{number}'" for number in range(50))
    each = f"{{% for name in [{names}] %}}{{{{ lookup('{LOOKUP}', name) }}}} {{% endfor %}}"
    task = f'    - ansible.builtin.debug:\n        msg: "{each}"\n'
    return Row(
        "50 lookups of 50 secrets in one template", None, None, counted(server, playbook(server, folder, task, 1))
    )


def writes(server: DevServer, folder: Path) -> tuple[Row, Row]:
    def tasks(module: str) -> str:
        return f'    - {module}\n      loop: "{{{{ range({WRITTEN}) | list }}}}"\n'

    module = f'{LOOKUP}:\n        name: "WRITTEN_{{{{ item }}}}"\n        value: "value {{{{ item }}}}"'
    subject = playbook(server, folder, tasks(module), 1)
    floor = playbook(server, folder, tasks("ansible.builtin.ping:"), 1)
    first, again = counted(server, subject), counted(server, subject)
    times = best(3, floor, subject)
    return (
        Row(f"{WRITTEN} secrets created by a loop", None, None, first),
        Row(f"{WRITTEN} unchanged secrets in a loop (floor: as many ansible.builtin.ping)", *times, again),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    rows = [listing()]
    with DevServer() as server, tempfile.TemporaryDirectory(prefix="bench_") as folder:
        rows += [template(server, Path(folder)), lookups(server, Path(folder)), *writes(server, Path(folder))]
    print(f"{'':76} {'floor s':>9} {'s':>9} {'ratio':>6} {'requests':>9}")
    for row in rows:
        floor, measured = (f"{t:.3f}" if t is not None else "" for t in (row.floor, row.measured))
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        print(f"{row.what:76} {floor:>9} {measured:>9} {ratio:>6} {row.requests:>9}")
    if options.json:
        options.json.write_text(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=2), "utf-8")
        print(f"The same as JSON is in {options.json}")


if __name__ == "__main__":
    main()
