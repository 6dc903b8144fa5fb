# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the files of an installed artifact, and that ansible-doc shows every plugin completely."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from failure import Failure

# The files of an installed collection, without files for development.
SHIPPED: dict[str, set[str]] = {
    ".": {
        "CHANGELOG.rst",
        "CODE_OF_CONDUCT.md",
        "CONTRIBUTING.md",
        "FILES.json",
        "LICENSE",
        "MANIFEST.json",
        "README.md",
        "SECURITY.md",
        "changelogs",
        "docs",
        "extensions",
        "meta",
        "playbooks",
        "plugins",
        "requirements.txt",
        "roles",
        "tests",
    },
    "extensions": set(),
    # config.yml is for ansible-test, which Automation Hub may run on an upload.
    "tests": {"config.yml", "demo", "dev_server"},
}
TYPES = ("module", "lookup", "filter")


def check(installed: Path, ansible_doc: Path, variables: dict[str, str]) -> None:
    """Raise Failure with all faults of the collection in a folder."""
    wrong = []
    for place, shipped in SHIPPED.items():
        names = {path.name for path in (installed / place).iterdir()}
        wrong += [f"{place}/{name} is missing from the artifact" for name in sorted(shipped - names)]
        wrong += [f"{place}/{name} must not be in the artifact" for name in sorted(names - shipped)]
    count = 0
    for kind in TYPES:
        folder = installed / "plugins" / ("modules" if kind == "module" else kind)
        for source in sorted(folder.glob("[!_]*.py")):
            count += 1
            wrong += _documentation(kind, source.stem, ansible_doc, variables)
    if not count:
        wrong.append("the artifact has no plugin")
    if wrong:
        raise Failure("\n  ".join(["the installed artifact is wrong:", *wrong]))
    print(f"ansible-doc shows all {count} plugins of the installed artifact completely")


def _documentation(kind: str, name: str, ansible_doc: Path, variables: dict[str, str]) -> list[str]:
    full_name = f"keyfleet.infisical.{name}"
    data = _shown([ansible_doc, "--type", kind, "--json", full_name], variables)
    page = _shown([ansible_doc, "--type", kind, full_name], variables)
    if not data or not page:
        return [f"{kind} {name}: ansible-doc fails"]
    plugin = json.loads(data)[full_name]
    described = plugin["doc"]
    parts = {
        **{part: described.get(part) for part in ("short_description", "description", "author", "options")},
        **{part: plugin.get(part) for part in ("examples", "return")},
    }
    wrong = [f"{kind} {name}: {part} is missing" for part, text in parts.items() if not text]
    names = [*(described.get("options") or {}), *(plugin.get("return") or {})]
    return wrong + [f"{kind} {name}: {each} is missing from the page" for each in names if each not in page]


def _shown(command: list[str | Path], variables: dict[str, str]) -> str:
    answer = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    # For a plugin without documentation ansible-doc prints a warning and an empty result, with status 0.
    return answer.stdout if answer.returncode == 0 and answer.stdout.strip() not in ("", "{}") else ""
