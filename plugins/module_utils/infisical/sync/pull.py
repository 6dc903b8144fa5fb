# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull from Infisical to the vault: read both sides, plan, check, write one generation, and update the state file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Callable

from ..client.api import Api
from ..client.listing import Store
from ..client.parsing import Listing, Project
from ..client.preflight import visible_projects
from ..core import files
from ..core.answers import Operation, Validator, hint_for
from ..core.errors import (
    Ambiguous,
    ConfigurationError,
    CredentialsRejected,
    Forbidden,
    InfisicalError,
    LockedOut,
    ScopeMissing,
    TokenRejected,
    Unreachable,
    ValueHidden,
    after_writing,
    no_environment,
    no_project,
)
from ..core.garbage import pause_garbage_collection
from ..core.model import Location, Secret
from ..core.plan import Plan, build, differs_in_vault, guard, join_names
from ..core.times import now, parse_time
from ..vault.contents import Contents
from ..vault.session import STATE_BEHIND
from ..vault.state import HMAC, StateFile
from ..vault.store import Vault
from .guards import PruneGuard
from .job import Pull, parse_key_format
from .naming import describe, group, name_secrets
from .outcome import Outcome, partial_pull

_CHECK_EVERY = 3600.0
"""Seconds between two checks that the environment of an unchanged listing still exists."""

_FOR_ALL = (Unreachable, CredentialsRejected, LockedOut, TokenRejected)
"""Errors that every other project would cause too, each after a long wait or with one more failed login."""


def pull(
    api: Api,
    vault: Vault,
    state: StateFile,
    job: Pull,
    *,
    check: bool = False,
    lock_wait: float = 30.0,
    log: Callable[[str], None] | None = None,
) -> Outcome:
    """Make the vault match Infisical by writing one generation. Check mode only plans.

    Raises InfisicalError. If some projects cannot be read, the others are pulled without pruning, and the error is
    PartialFailure with `details`. After any other error, the vault is unchanged, unless the message says that only the
    state file could not be written. Examples are GuardStopped, Ambiguous, ValueHidden, and Busy if another sync of this
    vault takes longer than `lock_wait` seconds.
    """
    job = job.check()
    lock = files.hold_lock(
        vault.path + ".cycle.lock",
        lock_wait,
        f"Nothing was changed: another sync of {vault.path} did not finish within {lock_wait:g} seconds.",
        f"The vault {vault.path} cannot be locked for a sync",
        hint="Let the other sync finish, or set a longer lock_wait.",
        owner=files.owner_of(vault.path),
    )
    with contextlib.nullcontext() if check else lock:
        try:
            # Garbage collection takes a quarter of the CPU time in a first pull of 10,000 secrets (on Python 3.11).
            with pause_garbage_collection():
                return _Cycle(api, vault, state, job, check, log or (lambda text: None)).run()
        except InfisicalError as error:
            # An error about the state file is not recorded in it, because the file may belong to another job.
            if not check and not (isinstance(error, ConfigurationError) and error.option == "state_file"):
                with contextlib.suppress(InfisicalError):  # the first error matters more
                    state.record_error(str(error), now())
            raise


@dataclass
class _Cycle:
    """One pull: read, then plan and write while the vault is locked."""

    api: Api
    vault: Vault
    state: StateFile
    job: Pull
    check: bool
    log: Callable[[str], None]
    guards: PruneGuard = field(init=False)
    projects: list[Project] = field(default_factory=list)
    listings: dict[str, Listing] = field(default_factory=dict)
    failed: dict[str, InfisicalError] = field(default_factory=dict)
    """The errors of the projects that could not be read, by project id."""
    lacking: dict[str, InfisicalError] = field(default_factory=dict)
    """The errors of the projects without the environment or path, by project id, if the job pulls from all projects."""
    warnings: list[str] = field(default_factory=list)
    shares: bool = False
    """True if another job owns entries that this job would also write."""
    checks: dict[str, str] = field(default_factory=dict)
    """The times at which the environment was last requested and last found, for the state file."""

    def __post_init__(self) -> None:
        of_job = f" (job {self.job.job})" if self.job.prune_scope == "job" else ""
        self.guards = PruneGuard(self.api, self.job, self.listings, f"the vault {self.vault.path}{of_job}")

    def run(self) -> Outcome:
        if not self.check:
            self.state.check()
        head = self.state.head()
        if head.get("job") not in (None, self.job.job):
            raise ConfigurationError(
                "state_file",
                f"'{self.state.path}' is the state file of the job '{head['job']}'.",
                hint=f"Set state_file to another file for the job '{self.job.job}'.",
            )
        before = self.vault.read() if self.vault.exists() else None  # report a wrong key before the first request
        if before is None and head.get("generation"):
            self.warnings.append(f"The vault {self.vault.path} no longer exists, so a new vault is created.")
        self.projects = self._find_projects()
        config = self._digest_config()
        stored = {} if before is None else before.jobs.get(self.job.job, {})
        validators = stored["validators"] if stored.get("config") == config else {}
        known = {project_id: Validator(**fields) for project_id, fields in validators.items()}
        has_news = self._read(known)
        may_be_cached = all(listing.validator == known.get(id_) for id_, listing in self.listings.items())
        if may_be_cached:
            self._check_environment()
        if before is not None and not has_news:
            return self._finish(Plan((), ()), before, unchanged=stored["count"])
        if self.failed and not self.listings:
            raise next(iter(self.failed.values()))
        if self.lacking and len(self.lacking) == len(self.projects):
            raise next(iter(self.lacking.values()))
        read = [(project, self.listings[project.id]) for project in self.projects if project.id in self.listings]
        desired, warnings = name_secrets(self.job, read)
        self.warnings += warnings
        if self.check:
            plan, after = self._plan(before, desired), before
        else:
            if before is not None and self.job.prune:
                self._plan(before, desired)  # sends the requests that planning needs before the vault is locked
            with self.vault.writing(create=True) as draft:
                plan = self._plan(draft.contents, desired)
                record = self._make_record(draft.contents, plan, config, len(desired))
                after = draft.apply(plan, job=self.job.job, record=record)
        if not may_be_cached:
            self._check_environment(has_changes=bool(plan.changes))
        return self._finish(plan, after)

    # Reading

    def _find_projects(self) -> list[Project]:
        """Return the projects to pull from. Projects that are not read from the server have only an id."""
        if not self.job.project_ids:
            visible = visible_projects(self.api)
            if not visible:
                raise ScopeMissing(
                    "This machine identity has no access to any project.",
                    hint="Add the identity to a project, or set project_ids.",
                )
            return visible
        ids = dict.fromkeys(self.job.project_ids)
        if "project" not in parse_key_format(self.job.key_format):
            return [Project(project_id, "", "", ()) for project_id in ids]
        return [project for project_id in ids for project in visible_projects(self.api, project_id)]

    def _digest_config(self) -> str:
        """Return a digest of the options and projects. Stored ETags are ignored if they have another digest."""
        projects = sorted([project.id, project.slug, project.name] for project in self.projects)
        about = [self.api.transport.settings.url, projects, asdict(self.job)]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode("utf-8")).hexdigest()

    def _read(self, known: Mapping[str, Validator]) -> bool:
        """Read all projects into `listings` and `failed`. Returns False if nothing has changed in any of them.

        If one project has changed, all are read completely, because names may depend on several projects.
        """
        # With prune_scope vault, manual entries are pruned even if nothing has changed on the server.
        conditional = {project.id for project in self.projects} == set(known) and not (
            self.job.prune and self.job.prune_scope == "vault"
        )
        if conditional and all(self._read_project(project, known[project.id]) for project in self.projects):
            return False
        for project in self.projects:
            if project.id not in self.listings and project.id not in self.failed:
                self._read_project(project, None)
        return True

    def _read_project(self, project: Project, known: Validator | None) -> bool:
        """Read a project into `listings` or `failed`. Returns True instead if nothing has changed since `known`."""
        location = self.job.locate(project.id)
        self.log(f"Reading {location}")
        try:
            self._check_slug(project)
            listing = Store(self.api, location).list_changes(
                known or Validator(),
                recursive=self.job.recursive,
                include_imports=self.job.include_imports,
                expand_references=self.job.expand_references,
            )
            if listing is not None:
                _refuse_hidden(listing, location)
        except _FOR_ALL as error:
            unread = [one.id for one in self.projects if one.id not in self.listings]
            self.failed = {**dict.fromkeys(unread, error), **self.failed}
            return False
        except ScopeMissing as error:
            if self.job.project_ids:
                self.failed[project.id] = error
                return False
            # A pull from all projects skips projects without the environment or path.
            self.lacking[project.id] = error
            listing = None if known == Validator() else Listing(())
        except InfisicalError as error:
            self.failed[project.id] = error
            return False
        if listing is not None:
            self.listings[project.id] = listing
        return listing is None

    def _check_slug(self, project: Project) -> None:
        """Raise ScopeMissing if the project was read from the server, but does not have the environment."""
        slugs = [environment.slug for environment in project.environments]
        if _was_read(project) and self.job.environment not in slugs:
            raise no_environment(self.job.environment, project.id, slugs, "Set environment to one of these slugs.")

    def _check_environment(self, *, has_changes: bool = False) -> None:
        """Raise ScopeMissing if an environment was deleted, even if the server still returns its listing from a cache.

        Servers from 2026 have such a cache. This method sends at most one request per hour, unless the environment is
        missing. It sends no request if the listings contain changes and are therefore not from the cache, if this cycle
        has read the projects, or if the server is too old to have the cache. Other errors of the request do not fail
        the pull.
        """
        if self.failed and not has_changes:
            return
        found = {"environment_checked": now(), "environment_asked": now()}
        if has_changes or self.api.version == "v3" or all(map(_was_read, self.projects)):
            self.checks = found
            return
        head = self.state.head()
        asked = parse_time(str(head.get("environment_asked"))) or 0.0
        if head.get("environment") == self.job.environment and 0 <= time.time() - asked < _CHECK_EVERY:
            return
        self.checks = {"environment_asked": now()}
        try:
            visible = {project.id: project for project in self.api.projects()}
        except InfisicalError as error:
            self.log(f"Could not check that the environment '{self.job.environment}' still exists: {error}")
            return
        for project in self.projects:
            if project.id not in visible:
                raise no_project(project.id)
            self._check_slug(visible[project.id])
        self.checks = found

    # Planning

    def _plan(self, contents: Contents | None, desired: Mapping[str, Secret]) -> Plan:
        """Return the plan after all guards have accepted it."""
        current = {} if contents is None else contents.secrets
        job, failed = self.job, self.failed
        if failed:
            # Entries from a project that could not be read are kept, even if another secret would get the same name.
            kept = {name for name, entry in current.items() if entry.job == job.job and entry.project_id in failed}
            desired = {name: secret for name, secret in desired.items() if name not in kept}
        if job.prune_scope != "vault":
            desired = self._leave_to_others(current, desired)
        deletable = [entry for entry in current.values() if job.owns(entry)] if job.prune and not failed else []
        if deletable:
            self.guards.check_empty(deletable)

        def differs(stored: Secret, wanted: Secret) -> bool:
            return stored.job != job.job or differs_in_vault(stored, wanted)

        plan = build(current, desired, prune=job.owns if deletable else False, differs=differs)
        guard(plan, len(deletable), self.guards.target, max_delete_percent=job.max_delete_percent)
        if contents is not None:
            deleted = {change.key: current[change.key] for change in plan.changes if change.action == "delete"}
            self.guards.check_deleted(deleted, contents.jobs.get(job.job, {}).get("source"))
        return replace(plan, unchanged=tuple(name for name in plan.unchanged if name in desired))

    def _leave_to_others(self, current: Mapping[str, Secret], desired: Mapping[str, Secret]) -> Mapping[str, Secret]:
        """Return `desired` without the entries that belong to another job. Raises Ambiguous if the values differ."""
        names = desired.keys() & current.keys()
        others = {name for name in names if current[name].job not in ("", self.job.job)}
        self.shares = bool(others)
        for name in sorted(others):
            if current[name].value != desired[name].value:
                raise Ambiguous(
                    f"Nothing was changed: '{name}' in the vault belongs to the job '{current[name].job}' "
                    f"({describe(current[name])}), but has another value in this job ({describe(desired[name])}).",
                    hint="Set key_format to give the entries different names. To let this job take over all entries, "
                    "set prune_scope: vault.",
                )
        replaced = [n for n in names if not current[n].job and current[n].value != desired[n].value]
        if replaced:
            text = f"Pulled secrets replace manual entries: {join_names(replaced)}."
            self.warnings += [text] if text not in self.warnings else []
        return {name: secret for name, secret in desired.items() if name not in others} if others else desired

    # Recording

    def _make_record(self, contents: Contents, plan: Plan, config: str, count: int) -> dict[str, Any] | None:
        """Return this cycle's record for the vault, or None to keep the old record.

        The order of a listing may change by itself, so only changed entries, options or counts justify a write.
        """
        stored = contents.jobs.get(self.job.job, {})
        if not plan.changes and (self.failed or (stored.get("config") == config and stored.get("count") == count)):
            return None
        source = self.job.source()
        if self.failed:
            return {"source": source}  # the old ETags do not match the new entries
        # If the other job drops an entry that both jobs share, this job must take it over, even if nothing has changed
        # on the server. So no validators are stored.
        validators = {} if self.shares else {id_: asdict(one.validator) for id_, one in self.listings.items()}
        return {"config": config, "count": count, "source": source, "validators": validators}

    def _finish(self, plan: Plan, contents: Contents | None, **more: int) -> Outcome:
        """Write the state file, and return the outcome with the fields `more`.

        Raises PartialFailure if a project could not be read.
        """
        outcome = Outcome.from_plan(
            "pull",
            plan,
            generation=0 if contents is None else contents.generation,
            projects=tuple(project.id for project in self.projects),
            warnings=tuple(self.warnings),
            failed={project_id: str(error) for project_id, error in self.failed.items()},
            **more,
        )
        if contents is not None and not self.check:
            done = f"The vault {self.vault.path} contains the pulled secrets ({outcome.summary()})."
            with after_writing(f"{done} {STATE_BEHIND}", **outcome.as_result()):
                self._save_state(contents, sum(change.action != "delete" for change in plan.changes))
        if self.failed:
            raise partial_pull(outcome, self.failed, check=self.check)
        return outcome

    def _save_state(self, contents: Contents, pulled: int = 0) -> None:
        """Write the state file. If its entries are up to date and intact, only its head is written."""
        state, job = self.state, self.job
        about = {
            "environment": job.environment,
            "generation": contents.generation,
            "job": job.job,
            "project_ids": [project.id for project in self.projects],
            "secret_path": job.secret_path,
            "vault": self.vault.path,
            "vault_id": contents.vault_id,
            **({} if self.failed else {"last_sync": now()}),
            **self.checks,
        }
        head, (vault_id, generation) = state.head(), state.recorded()
        same = (head.get("job"), head["state_hash"], vault_id) == (job.job, job.state_hash, contents.vault_id)
        if same and generation >= contents.generation and state.is_intact():
            state.update(**about)
        else:
            state.hash_key = contents.hash_key if job.state_hash == HMAC else None
            state.rewrite(about, contents.of_job(job.job), pulled)


def _was_read(project: Project) -> bool:
    """Return whether the project was read from the server; otherwise only its id is known."""
    return bool(project.name or project.slug)


def _refuse_hidden(listing: Listing, location: Location) -> None:
    """Raise ValueHidden if the server hides a value."""
    hidden = {secret.key for secrets in group(listing) for secret in secrets if secret.value is None}
    if hidden:
        raise ValueHidden(
            f"The server hides values in {location} ({join_names(hidden)}). Hidden values are never stored.",
            hint=hint_for(Forbidden, Operation.LIST),
        )
