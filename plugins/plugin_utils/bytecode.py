# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets Python cache the bytecode of the collection's files. Plugins import this module before the others.

Ansible's own importer of collections compiles each file in every process, and Ansible starts a process for each task
and host. Python writes the cache beside the files, as it does for plugins, or does without if it cannot write there.
"""

from __future__ import annotations

import os
import sys
from importlib.util import spec_from_file_location
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_PREFIX = __name__.rpartition("plugin_utils.")[0]
_PLUGINS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class _Finder:
    """Finds the files below `plugins`. Directories without `__init__.py` are left to Ansible."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if not name.startswith(_PREFIX):
            return None
        path = os.path.join(_PLUGINS, *name[len(_PREFIX) :].split("."))
        if os.path.isfile(f"{path}.py"):
            return spec_from_file_location(name, f"{path}.py")
        if os.path.isfile(os.path.join(path, "__init__.py")):
            return spec_from_file_location(name, os.path.join(path, "__init__.py"), submodule_search_locations=[path])
        return None


sys.meta_path.insert(0, _Finder)
