# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library and the command `infisical-sync` on a host, and the Python interpreter that runs them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pkgutil
import shutil
from importlib import import_module

from ..core import files, systemd
from ..core.errors import ConfigurationError, MissingLibrary, StorageFailed
from ..core.version import VERSION
from . import units
from .host import Host

LIBRARY = "/usr/local/lib/infisical-sync"

_OLDEST_PYTHON = (3, 9)


def read_sources() -> dict[str, bytes]:
    """Return the files of this library, which can be in the archive that Ansible sends: {path: content}, with paths
    such as `core/errors.py`."""
    library = (__package__ or "").rpartition(".")[0]
    found = {"__init__.py": pkgutil.get_data(library, "__init__.py")}
    for module in pkgutil.walk_packages(import_module(library).__path__, f"{library}."):
        name = module.name[len(library) + 1 :].replace(".", "/")
        path = f"{name}/__init__.py" if module.ispkg else f"{name}.py"
        found[path] = pkgutil.get_data(library, path)
    missing = [path for path, data in found.items() if data is None]
    if missing:
        problem = f"Cannot read these files of the collection's Python library: {', '.join(missing)}."
        raise StorageFailed(problem, hint="Install the collection again.")
    return {path: data for path, data in found.items() if data is not None}


_LAUNCHER = """\
#!{python} -IB
# Written by the role scheduled_sync of keyfleet.infisical.
import os
import sys

# Resolve the link, so that later imports get the same version even if another version is installed meanwhile.
sys.path.insert(0, os.path.realpath("{library}/current"))
from infisical.cli.main import main

raise SystemExit(main())
"""


def install_library(host: Host, python: str) -> str:
    """Install the command, and the library with each version in its own folder. Return the version."""
    library = read_sources()
    digest = hashlib.sha256(python.encode() + b"".join(name.encode() + library[name] for name in sorted(library)))
    version = f"{VERSION}-{digest.hexdigest()[:12]}"
    versions = f"{LIBRARY}/versions"
    folder = f"{versions}/{version}"
    for path in (LIBRARY, versions):
        host.directory(path, 0o755)
    if not os.path.isdir(folder) and host.note(f"version {version} is installed"):
        unfinished = f"{folder}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        with host.explain_errors(folder):
            for name, data in library.items():
                path = f"{unfinished}/infisical/{name}"
                os.makedirs(os.path.dirname(path), exist_ok=True)
                files.write_atomic(path, data, 0o644)
            os.chmod(unfinished, 0o755)  # noqa: S103
        # Compile now, because only root can store the compiled files.
        host.run(python, "-I", "-m", "compileall", "-q", "-s", unfinished, "-p", folder, unfinished)
        with host.explain_errors(folder):
            for path, folders, names in os.walk(unfinished):
                for each in (*folders, *names):
                    os.chmod(os.path.join(path, each), 0o755 if each in folders else 0o644)
            os.rename(unfinished, folder)
    before = os.path.basename(os.path.realpath(f"{LIBRARY}/current"))
    if host.link(f"{LIBRARY}/current", f"versions/{version}"):
        # Keep the previous version, because a running process may still import from it.
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(versions):
                if name not in (version, before):
                    host.absent(f"{versions}/{name}", tree=True)
    host.file(units.COMMAND, _LAUNCHER.format(python=python, library=LIBRARY), 0o755)
    return version


def inspect_python(path: str) -> tuple[tuple[int, ...], list[str]]:
    """Return an interpreter's version as (major, minor), and the libraries that it lacks. The version is empty if it
    cannot be started."""
    program = (
        "import sys, importlib.util as u\n"
        "sys.stdout.write('%d %d ' % sys.version_info[:2])\n"
        "sys.stdout.write(' '.join(n for n in ('requests', 'cryptography') if u.find_spec(n) is None))"
    )
    try:
        ended = systemd.run([path, "-I", "-c", program])
    except systemd.CannotRun:
        return (), []
    words = ended.out.decode("utf-8", "replace").split()
    if ended.status != 0 or len(words) < 2 or not (words[0].isdigit() and words[1].isdigit()):
        return (), []
    return (int(words[0]), int(words[1])), words[2:]


def check_python(path: str) -> None:
    """Raise InfisicalError if this Python interpreter is too old for the agent or lacks a library."""
    version, missing = inspect_python(path)
    if version < _OLDEST_PYTHON:
        raise ConfigurationError(
            "python", f"must be Python 3.9 or later (got '{path}').", hint="Set the path of another interpreter."
        )
    if missing:
        raise MissingLibrary(missing[0], path)
