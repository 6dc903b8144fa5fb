# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guards that refuse to prune a vault if a listing is probably incomplete, or if the job's source has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..client.api import Api, needs_batch
from ..client.parsing import Listing
from ..core.errors import Forbidden, GuardStopped, ScopeMissing, SecretMissing
from ..core.model import Location, Secret
from ..core.plan import guard_empty, join_names
from .job import Pull
from .naming import group, locate


@dataclass
class PruneGuard:
    """The checks before a pull prunes entries. Each check raises GuardStopped. Messages call the vault `target`."""

    api: Api
    job: Pull
    listings: Mapping[str, Listing]
    target: str
    unseen: dict[Location, str] = field(default_factory=dict)
    """Cached results of `_explain_unseen`, because the plan is made twice: before and after the vault is locked."""

    def check_empty(self, deletable: list[Secret]) -> None:
        """Refuse to prune if a project's listing is empty."""
        full = {id_ for id_, listing in self.listings.items() if any(group(listing))}
        empty = [id_ for id_ in self.listings if id_ not in full]
        if not self.job.project_ids:  # a project that the identity no longer sees has no listing
            empty += sorted({entry.project_id for entry in deletable if entry.job} - set(self.listings))
        for project_id in empty:
            held = sum(entry.project_id == project_id for entry in deletable) if full else len(deletable)
            guard_empty(
                held, str(self.job.locate(project_id)), self.target, allow_empty=self.job.allow_empty,
                hint="Check environment, secret_path and the identity's permissions.",
            )  # fmt: skip

    def check_deleted(self, deleted: Mapping[str, Secret], old: dict[str, Any] | None) -> None:
        """Refuse to delete entries if the job has a new source, or if the server left out a folder.

        `deleted` contains the entries, keyed by name. `old` is the source from which the job pulled before.
        """
        if not deleted or self.job.max_delete_percent == 100:
            return
        new = self.job.source()
        if old is not None and _has_moved(old, new):
            raise GuardStopped(
                f"Nothing was changed: the job '{self.job.job}' last pulled from {_describe(old)}, and now pulls from "
                f"{_describe(new)}. Prune would delete {len(deleted)} entries ({join_names(deleted)}).",
                hint="Set a different job for each source. If this job's source has moved, set max_delete_percent: 100 "
                "for this run.",
            )
        for location, key in self._find_gone(deleted.values()).items():
            if location not in self.unseen:
                self.unseen[location] = self._explain_unseen(location, key)
            if self.unseen[location]:
                raise GuardStopped(
                    f"Nothing was changed: prune would delete {len(deleted)} entries of {self.target}, including all "
                    f"entries of {location}, which {self.unseen[location]}.",
                    hint="Grant the identity 'Read Value' there. To delete these entries, set max_delete_percent: 100 "
                    "for this run.",
                )

    def _find_gone(self, deleted: Iterable[Secret]) -> dict[Location, str]:
        """Return the folders that have no secrets left, each with the key of one deleted secret."""
        gone: dict[Location, str] = {}
        for entry in deleted:
            location = locate(entry)
            if entry.job == self.job.job and (location not in gone or needs_batch(gone[location])):
                gone[location] = entry.key
        if gone:
            for listing in self.listings.values():
                for location in {locate(secret) for secrets in group(listing) for secret in secrets}:
                    gone.pop(location, None)
        return gone

    def _explain_unseen(self, location: Location, key: str) -> str:
        """Return why a folder that no listing contains may still have secrets, or empty text if it has no secrets.

        A server silently omits secrets that the identity is not allowed to read. We assume the same for imports, which
        may then be listed without secrets, or not at all. This method requests the secret `key`.
        """
        listing, job = self.listings.get(location.project_id), self.job
        if listing is None:
            return ""
        inside = job.recursive and location.secret_path.startswith(job.secret_path.rstrip("/") + "/")
        is_listed = (
            location.environment == job.environment and (inside or location.secret_path == job.secret_path)
        ) or any(
            (one.environment, one.secret_path) == (location.environment, location.secret_path)
            for one in listing.imports
        )
        if not is_listed and not job.include_imports:
            return ""
        try:
            # Servers check the permission before they look up the secret, so any name shows whether the identity is
            # allowed to read the folder.
            self.api.get_secret(location, "A" if needs_batch(key) else key)
        except (SecretMissing, ScopeMissing):
            return ""
        except Forbidden:
            return "the identity is not allowed to read"
        # A folder outside of the listing is no longer imported, so it is normal that its secrets exist.
        return "still contains secrets, although the server does not list them" if is_listed else ""


def _has_moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether two sources have no project in common, or differ in environment or path."""
    ids, new_ids = set(old["project_ids"]), set(new["project_ids"])
    has_other_projects = bool(ids and new_ids) and not ids & new_ids
    return has_other_projects or any(old[name] != new[name] for name in ("environment", "secret_path"))


def _describe(source: Mapping[str, Any]) -> str:
    projects = ", ".join(source["project_ids"]) or "all"
    return f"environment {source['environment']}, path {source['secret_path']}, projects {projects}"
