# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine identity may read, and whether that is more than the jobs of its host need."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.model import Location
from ..identities.grants import Grant, covers, from_permissions
from ..identities.plan import NO_ACCESS

_WILDCARD = re.compile(r"[*?]")


class Need(NamedTuple):
    """A folder that a job pulls, with its subfolders if `recursive` is true."""

    location: Location
    recursive: bool = False


class Access(NamedTuple):
    """The roles of an identity in its project, its grants, and its other permissions as JSON texts."""

    roles: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def is_wide(self) -> bool:
        """True if a role, or a permission that is not a grant, may allow to read any secret of the project."""
        permissions = map(json.loads, self.foreign)
        reads = any(one.get("subject") == "secrets" and not one.get("inverted") for one in permissions)
        return reads or any(role != NO_ACCESS for role in self.roles)

    def may_read(self, location: Location) -> bool:
        """Return whether the identity may read the secrets in a folder.

        A role and a permission that is not a grant count as allowing everything, because after a leak, a secret too
        many in a list costs less than one too few.
        """
        return self.is_wide or covers(self.grants, location.environment, location.secret_path)

    def find_excess(self, needs: Iterable[Need]) -> list[str]:
        """Return what the identity may do besides reading these folders of its project, in a few words each."""
        wanted = tuple(needs)
        found = [f"role {role}" for role in self.roles if role != NO_ACCESS]
        found += [str(grant) for grant in self.grants if grant.access != "read" or not _is_needed(grant, wanted)]
        found += [_describe(one) for one in map(json.loads, self.foreign) if not one.get("inverted")]
        return list(dict.fromkeys(found))


def parse_access(roles: Iterable[str], permissions: Iterable[Mapping[str, Any]]) -> Access:
    """Return the access that roles and the permissions of all privileges give."""
    found = from_permissions(permissions)
    return Access(tuple(roles), found.grants, tuple(json.dumps(one, sort_keys=True) for one in found.foreign))


def _is_needed(grant: Grant, needs: Sequence[Need]) -> bool:
    """Return whether jobs pull every folder that a grant covers."""
    folders = [(place.secret_path, recursive) for place, recursive in needs if place.environment == grant.environment]
    return all(any(_is_within(folder, path, recursive) for folder, recursive in folders) for path in grant.paths())


def _is_within(folder: str, path: str, recursive: bool) -> bool:
    """Return whether a path, which can be a glob, matches only a folder or, if `recursive` is true, its subfolders."""
    wildcard = _WILDCARD.search(path)
    if wildcard is None and path == folder:
        return True
    # A glob matches only paths below the folder before its first wildcard.
    start = path[: wildcard.start()].rpartition("/")[0] if wildcard else path
    return recursive and f"{start}/".startswith(f"{folder.rstrip('/')}/")


def _describe(permission: Mapping[str, Any]) -> str:
    """Return a permission that is not a grant in a few words."""
    action, conditions = permission.get("action"), permission.get("conditions")
    actions = ", ".join(map(str, action)) if isinstance(action, list) else action
    where = f" if {json.dumps(conditions, sort_keys=True)}" if conditions else ""
    return f"{actions} on {permission.get('subject')}{where}"
