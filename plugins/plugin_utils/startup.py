# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shortens the start of plugins. Ansible starts a process for each task and host, and loads plugins again in it.

Lookups import this module before the other files of the collection, so that Python caches the bytecode of these files.
Ansible's own importer of collections compiles them in every process. Python writes the cache next to the files, as it
does for plugins, or does without a cache if it cannot write there.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from importlib.util import spec_from_file_location
from typing import TYPE_CHECKING

from ansible import constants as C

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_PREFIX = __name__.rpartition("plugin_utils.")[0]
_PLUGINS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class _Finder:
    """Finds the files below `plugins`. Directories without `__init__.py` are left to Ansible.

    Ansible's `import_redirection` in meta/runtime.yml has no effect on these files.
    """

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


def _install() -> None:
    """Put the finder before Ansible's."""
    names = [type(finder).__name__ for finder in sys.meta_path]
    ansible = names.index("_AnsibleCollectionFinder") if "_AnsibleCollectionFinder" in names else len(names)
    sys.meta_path.insert(ansible, _Finder)


_install()


def skip_documentation(plugin: str) -> None:
    """Do not let Ansible parse the documentation of a lookup in a worker process. `plugin` is its `__name__`.

    Ansible does so to find the options of the lookup, but our lookups resolve their options themselves.
    """
    if multiprocessing.parent_process() is not None:
        with contextlib.suppress(Exception):  # a later version of Ansible may have another way
            C.config.initialize_plugin_configuration_definitions("lookup", plugin, {})
