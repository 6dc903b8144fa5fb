# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: the quick start playbook against a test server, twice, and what the server saw of it.

What the server holds at the end is kept for the next demo, so that this finds everything in place.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dev_server.client import DevServer

PROJECT = "demo-project"
CLIENT_SECRET = "demo-client-secret"
PLAYBOOK = "keyfleet.infisical.quickstart"


def seed(secrets: list[dict[str, Any]]) -> dict[str, Any]:
    """A server with one project and one identity, and the secrets of the demo before."""
    folders = sorted({secret["path"] for secret in secrets} - {"/"})
    return {
        "projects": [
            {
                "id": PROJECT,
                "name": "Demo",
                "slug": "demo",
                "environments": [{"slug": "dev", "name": "Development"}, {"slug": "prod", "name": "Production"}],
                "folders": [{"environment": "dev", "path": path} for path in folders],
                "secrets": secrets,
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


def stored(server: DevServer) -> list[dict[str, Any]]:
    """The secrets in the environment dev, as a seed has them."""
    environments = server.state()["projects"][0]["environments"]
    folders = next(one["folders"] for one in environments if one["slug"] == "dev")
    return [
        {"environment": "dev", "path": folder["path"], **{name: secret[name] for name in ("key", "value", "comment")}}
        for folder in folders
        for secret in folder["secrets"]
    ]


def play(server: DevServer, folder: Path) -> int:
    """Run the playbook as a user would, and return how many tasks it says it changed. Exits where it fails."""
    variables = {
        **os.environ,
        "INFISICAL_URL": server.url,
        "INFISICAL_CLIENT_ID": "demo-client-id",
        "INFISICAL_CLIENT_SECRET": CLIENT_SECRET,
        "INFISICAL_PROJECT_ID": PROJECT,
        "INFISICAL_ENVIRONMENT": "dev",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_FORCE_COLOR": "true" if sys.stdout.isatty() else "false",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [str(program), PLAYBOOK, "--diff", "-e", f"quickstart_file={folder / 'quickstart.env'}"]
    command += ["-e", f"ansible_python_interpreter={sys.executable}"]
    output = []
    with subprocess.Popen(command, env=variables, text=True, stdout=subprocess.PIPE) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            output.append(line)
    if process.returncode:
        sys.exit(f"demo: {PLAYBOOK} failed with {process.returncode}; its output stands above")
    changed = re.search(r"\bchanged=(\d+)", "".join(output))
    if changed is None:
        sys.exit("demo: the playbook's summary has no changed=N")
    return int(changed[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the demo keeps what it makes")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = folder / "secrets.json"
    before = json.loads(kept.read_text("utf-8")) if kept.exists() else []

    with DevServer(seed=seed(before)) as server:
        print(f"A test server answers as an Infisical at {server.url}.\n\n== First run", flush=True)
        first = play(server, folder)
        requests = Counter(f"{entry['method']} {entry['path']}" for entry in server.requests())
        print("== The same again", flush=True)
        second = play(server, folder)
        kept.touch(mode=0o600)
        kept.write_text(json.dumps(stored(server)), "utf-8")

    rendered = (folder / "quickstart.env").read_text("utf-8").splitlines()
    print(f"First run: changed={first}. Second run: changed={second}.")
    print(f"The template read {len(rendered)} secrets into {folder / 'quickstart.env'} (mode 0600).")
    print("The server saw in the first run:")
    for request, count in sorted(requests.items()):
        print(f"  {count:3} {request}")
    if second:
        sys.exit("demo: the second run changed something, and should not have")
    if before and first:
        sys.exit("demo: everything was in place from the demo before, and the first run changed something all the same")


if __name__ == "__main__":
    main()
