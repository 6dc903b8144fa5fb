# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A demo with a test server: writes secrets, reads them in a template and pulls them into an encrypted vault. If this
machine can boot systemd hosts, it also rolls out the agent to two hosts.

Each step has an expected result, and the demo fails if the result differs. The Python that runs it needs ansible-core,
requests, cryptography and aiohttp.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fleet
from dev_server.client import DevServer
from steps import count_changed, expect, login, play

COLLECTION = Path(__file__).resolve().parents[2]
PROJECT, ENVIRONMENT, SECRET_PATH = "demo-project", "dev", "/quickstart"
CLIENT_SECRET = "demo-client-secret"
SEED: dict[str, Any] = {
    "projects": [
        {
            "id": PROJECT,
            "name": "Demo",
            "slug": "demo",
            "environments": [{"slug": ENVIRONMENT, "name": "Development"}, {"slug": "prod", "name": "Production"}],
        }
    ],
    "identities": [
        {
            "name": "demo",
            "client_id": "demo-client-id",
            "client_secret": CLIENT_SECRET,
            "permissions": {PROJECT: "admin"},
        }
    ],
}
FIRST = ("APP_NAME", "DB_HOST", "DB_PASSWORD", "DB_PORT", "FEATURE_FLAGS", "GREETING")


class Demo:
    """The steps on this machine with their expected results; files are made in `folder`."""

    def __init__(self, server: DevServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.vault = ["--vault", str(folder / "secrets.vault"), "--key-file", str(folder / "vault.key")]

    def run(self) -> None:
        self.quickstart("Write secrets and read them in a template", changed=4)
        requests = Counter(f"{entry['method']} {entry['path']}" for entry in self.server.requests())
        self.quickstart("The same again", changed=0)
        self.sync("Pull the folder into a new vault", created=FIRST)
        self.sync("The same again", unchanged=6)
        self.change_the_server()
        plan = {"created": ["LOG_LEVEL"], "updated": ["GREETING"], "deleted": ["FEATURE_FLAGS"], "unchanged": 4}
        self.sync("Plan a pull with prune", "--check", "-e", "sync_prune=true", **plan)
        self.sync("Pull with prune", "-e", "sync_prune=true", **plan)
        self.sync("The same again", "-e", "sync_prune=true", unchanged=6)
        self.list_vault()
        print("\nRequests of the first step:")
        for request, count in sorted(requests.items()):
            print(f"  {count:3} {request}")
        print(f"The vault, its key, the state file and the rendered template are in {self.folder}.")

    def quickstart(self, step: str, *, changed: int) -> None:
        rendered = self.folder / "quickstart.env"
        output = self.play(step, "keyfleet.infisical.quickstart", "-e", f"quickstart_file={rendered}")
        expect(step, "changed", count_changed(output), changed)
        expect(step, "secrets in the template", len(rendered.read_text("utf-8").splitlines()), len(FIRST))

    def sync(
        self,
        step: str,
        *options: str,
        created: Iterable[str] = (),
        updated: Iterable[str] = (),
        deleted: Iterable[str] = (),
        unchanged: int = 0,
    ) -> None:
        place = ["-e", f"sync_folder={self.folder}", "-e", f"sync_path={SECRET_PATH}"]
        output = self.play(step, "keyfleet.infisical.sync", *place, *options)
        for word, names in (("created", created), ("updated", updated), ("deleted", deleted)):
            expect(step, word, find_result(output, word).split(), sorted(names))
        expect(step, "unchanged", find_result(output, "unchanged"), str(unchanged))
        expect(step, "changed", count_changed(output), int(any((created, updated, deleted))))

    def change_the_server(self) -> None:
        print("\n== On the server: change GREETING, delete FEATURE_FLAGS, add LOG_LEVEL", flush=True)
        self.server.put_secret(PROJECT, ENVIRONMENT, SECRET_PATH, "GREETING", "Hello again")
        self.server.put_secret(PROJECT, ENVIRONMENT, SECRET_PATH, "LOG_LEVEL", "info")
        self.server.delete_secret(PROJECT, ENVIRONMENT, SECRET_PATH, "FEATURE_FLAGS")

    def list_vault(self) -> None:
        step = "List the vault, which never shows values"
        print(f"\n== {step}", flush=True)
        package = "ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli.main"
        command = [sys.executable, "-m", package, "vault", "list", *self.vault]
        subprocess.run(command, check=True)
        listed = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout
        names = sorted(entry["name"] for entry in json.loads(listed))
        expect(step, "names", names, sorted({*FIRST, "LOG_LEVEL"} - {"FEATURE_FLAGS"}))

    def play(self, step: str, playbook: str, *options: str) -> str:
        """Run a playbook on this machine with the demo's login."""
        own = ["--diff", "-e", f"ansible_python_interpreter={sys.executable}"]
        about = {**login(self.server.url, SEED), "INFISICAL_ENVIRONMENT": ENVIRONMENT}
        return play(step, playbook, *own, *options, **about)


def find_result(output: str, word: str) -> str:
    """Return the text that the playbook sync.yml prints after a word."""
    found = re.search(rf'"{word}: ([^"]*)"', output)
    if found is None:
        sys.exit(f"demo: the output of the playbook lacks '{word}:'")
    return found[1]


def find_collection() -> None:
    """Make Ansible and Python use the collection that contains the demo."""
    if COLLECTION.parts[-3:] == ("ansible_collections", "keyfleet", "infisical"):
        for name in ("ANSIBLE_COLLECTIONS_PATH", "PYTHONPATH"):
            before = [os.environ[name]] if os.environ.get(name) else []
            os.environ[name] = os.pathsep.join([str(COLLECTION.parents[2]), *before])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="folder for the files of the demo (default: a temporary folder)")
    parser.add_argument("--no-hosts", action="store_true", help="skip the rollout to two systemd hosts")
    arguments = parser.parse_args()
    needed = {"ansible": "ansible-core", "requests": "requests", "cryptography": "cryptography", "aiohttp": "aiohttp"}
    missing = [package for name, package in needed.items() if not importlib.util.find_spec(name)]
    if missing:
        sys.exit(f"demo: {sys.executable} lacks packages. Run: {sys.executable} -m pip install {' '.join(missing)}")
    find_collection()
    folder: Path = (arguments.folder or Path(tempfile.mkdtemp(prefix="infisical-demo-"))).resolve() / "made"
    # Start with an empty folder, because files of another version would change the results.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    with DevServer(seed=SEED) as server:
        print(f"The test server listens at {server.url}.", flush=True)
        Demo(server, folder).run()
    if not arguments.no_hosts:
        fleet.run(folder)


if __name__ == "__main__":
    main()
