# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cycle between Infisical and a vault: read both sides, plan, guard, apply, record; the same for a push."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import string
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Callable

from ..client.api import Api, Listing, Project
from ..client.preflight import visible_projects
from ..client.remote import UNREADABLE, Remote, listed, merged, needs_batch
from ..core import dotenv, files
from ..core.answers import Operation, Validator, hint_for
from ..core.errors import (
    Ambiguous,
    CertificateInvalid,
    ConfigurationError,
    CredentialsRejected,
    Forbidden,
    GuardStopped,
    InfisicalError,
    LockedOut,
    MissingLibrary,
    NotJson,
    PartialFailure,
    Redirected,
    RequestInvalid,
    ScopeMissing,
    SecretMissing,
    TokenRejected,
    TooLarge,
    Unreachable,
    ValueHidden,
    WrongUse,
    after_writing,
    error_class,
    no_environment,
    no_project,
)
from ..core.model import Location, Secret, check_name, check_path, check_value, normalize_name, pluralize
from ..core.plan import Action, Change, Plan, build, differs_in_vault, guard, guard_empty, named
from ..core.times import now, parse_time
from ..vault.session import STATE_BEHIND
from ..vault.state import HMAC, SHA256, StateFile
from ..vault.store import Contents, Vault

ALL = "all"
"""What stands in `project_ids` for all that the identity can see."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class Pull:
    """What a job pulls, and into which names; the fields are options of the same names.

    `project_ids` empty, or `all` alone, means all that the identity can see. `precedence` holds project ids and secret
    paths: where several secrets would get one name, the one that the earliest of these fits wins. `max_delete_percent`
    is the share of the job's entries that pruning may delete.
    """

    job: str = "default"
    project_ids: tuple[str, ...] = ()
    environment: str = ""
    secret_path: str = "/"
    recursive: bool = False
    include_imports: bool = True
    expand_references: bool = False
    key_format: str = "{key}"
    normalize_names: bool = False
    precedence: tuple[str, ...] = ()
    prune: bool = False
    prune_scope: str = "job"
    max_delete_percent: float = 30.0
    allow_empty: bool = False
    state_hash: str = SHA256

    def scope(self, project_id: str) -> Location:
        """The scope of one of the projects."""
        return Location(project_id, self.environment, self.secret_path)


@dataclass(frozen=True)
class Push:
    """How a push writes; the fields are options of the same names."""

    normalize_names: bool = False
    create_path: bool = False
    prune: bool = False
    max_delete_percent: float = 30.0
    allow_empty: bool = False
    overwrite_rotated: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a cycle did, or in check mode would do: names, versions (before, after) and counts, never a value.

    `generation` is the vault's after a pull; `failed` says by project id why it could not be read; `approvals` are
    the ids of approvals that writes wait for; `not_modified` is true where the server said so in place of a listing.
    """

    direction: str
    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    unchanged: int = 0
    versions: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    generation: int = 0
    projects: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    approvals: tuple[str, ...] = ()
    not_modified: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything was written, or in check mode would be."""
        return bool(self.created or self.updated or self.deleted)

    @property
    def counts(self) -> dict[str, int]:
        """How many were created, updated, deleted and left unchanged."""
        return {
            "created": len(self.created),
            "updated": len(self.updated),
            "deleted": len(self.deleted),
            "unchanged": self.unchanged,
        }

    def summary(self) -> str:
        """The counts in words."""
        return ", ".join(f"{number} {word}" for word, number in self.counts.items())

    def as_result(self) -> dict[str, Any]:
        """The same as plain data, for a module's result and the command's JSON."""
        versions = sorted(self.versions.items())
        return {
            "changed": self.changed,
            "direction": self.direction,
            "counts": self.counts,
            "created": list(self.created),
            "updated": list(self.updated),
            "deleted": list(self.deleted),
            "generation": self.generation,
            "projects": list(self.projects),
            "failed_projects": dict(self.failed),
            "approvals": list(self.approvals),
            "warnings": list(self.warnings),
            "diff": {
                "before": {name: before for name, (before, _after) in versions if before is not None},
                "after": {name: after for name, (_before, after) in versions if after is not None},
            },
        }


def _outcome(direction: str, plan: Plan, **more: Any) -> Outcome:
    names: dict[Action, list[str]] = {"create": [], "update": [], "delete": []}
    versions: dict[str, tuple[int | None, int | None]] = {}
    for action, key, before, after in plan.changes:
        names[action].append(key)
        versions[key] = (None if before is None else before.version, None if after is None else after.version)
    created, updated, deleted = map(tuple, names.values())
    return Outcome(direction, created, updated, deleted, len(plan.unchanged), versions, **more)


# Pull


def pull(
    api: Api,
    vault: Vault,
    state: StateFile,
    job: Pull,
    *,
    check: bool = False,
    lock_wait: float = 30.0,
    log: Log | None = None,
) -> Outcome:
    """Bring the vault to what Infisical has, as one generation; in check mode only say what would change.

    A project that cannot be read is reported while the others are pulled, and nothing is pruned then: InfisicalError
    (PARTIAL) with `details`. Raises InfisicalError, among others GUARD, AMBIGUOUS, HIDDEN, and BUSY where another
    cycle of this vault runs on for `lock_wait` seconds; the vault is then as it was.
    """
    job = _checked(job)
    with _alone(vault.path, lock_wait, check), _uncollected():
        try:
            return _Cycle(api, vault, state, job, check, log or (lambda text: None)).run()
        except InfisicalError as error:
            # What is wrong with the state file is none of its job's errors: as a rule the file is another one's.
            if not check and not (isinstance(error, ConfigurationError) and error.option == "state_file"):
                with contextlib.suppress(InfisicalError):  # what went wrong first is what matters
                    state.failed(str(error), now())
            raise


def _checked(job: Pull) -> Pull:
    """The job with its options checked and the path in one spelling. Raises ConfigurationError."""
    if not job.environment:
        raise ConfigurationError(
            "environment", "not given. Set it to an environment's slug; there is no default, so that nobody takes "
            "production's secrets by accident."
        )  # fmt: skip
    if not job.job:
        raise ConfigurationError("job", "must not be empty: by this name the job knows its own entries in the vault.")
    for option, choices in (("prune_scope", ("job", "vault")), ("state_hash", (SHA256, HMAC))):
        if getattr(job, option) not in choices:
            raise ConfigurationError(option, f"'{getattr(job, option)}' is not one of {', '.join(choices)}.")
    _check_percent(job.max_delete_percent)
    _format_parts(job.key_format)
    if ALL in job.project_ids and len(job.project_ids) > 1:
        raise ConfigurationError("project_ids", f"'{ALL}' stands for all projects, and alone.")
    project_ids = () if job.project_ids == (ALL,) else job.project_ids
    return replace(job, project_ids=project_ids, secret_path=check_path(job.secret_path))


def _check_percent(percent: float) -> None:
    if not 0 <= percent <= 100:
        raise ConfigurationError("max_delete_percent", f"{percent:g} is no percentage between 0 and 100.")


@contextlib.contextmanager
def _alone(path: str, lock_wait: float, check: bool) -> Iterator[None]:
    """Keep other cycles of this vault out. Check mode writes nothing, and so needs no lock."""
    if check:
        yield
        return
    busy = (
        f"Another sync of {path} is running, and did not end within {lock_wait:g} seconds, so this one did not start. "
        "Let it finish, or set a longer lock_wait."
    )
    cannot = f"The vault {path} cannot be locked for a sync"
    with files.held(path + ".cycle.lock", lock_wait, busy, cannot, owner=files.owner_of(path)):
        yield


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from looking through thousands of new objects again and again: a quarter of the time
    of a long first pull. Nothing here makes garbage that only the collector finds."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


_CHECK_EVERY = 3600.0
"""Seconds between two looks for an environment whose listing does not change."""

# A project that fails for one of these reasons fails as the others would: they are not asked.
_FOR_ALL = (
    Unreachable,
    CertificateInvalid,
    Redirected,
    NotJson,
    CredentialsRejected,
    LockedOut,
    TokenRejected,
    WrongUse,
    MissingLibrary,
)


@dataclass
class _Cycle:
    """One pull: reads, then plans and applies under the vault's lock."""

    api: Api
    vault: Vault
    state: StateFile
    job: Pull
    check: bool
    log: Log
    warnings: list[str] = field(default_factory=list)
    failed: dict[str, InfisicalError] = field(default_factory=dict)
    lacking: dict[str, InfisicalError] = field(default_factory=dict)
    asked: dict[Location, str] = field(default_factory=dict)
    """What `_unseen` has found, because the plan is made before the vault is locked and again under the lock."""
    shares: bool = False
    """Whether another job holds something that this one would hold too."""
    checks: dict[str, str] = field(default_factory=dict)
    """What the state file is to keep of the look for the environment: when it was found, and when it was looked for."""

    def run(self) -> Outcome:
        if not self.check:
            self.state.check()
        owner = self.state.head().get("job")
        if owner not in (None, self.job.job):
            raise ConfigurationError(
                "state_file", f"'{self.state.path}' is the state file of the job '{owner}'. Set state_file to a file "
                f"of its own for the job '{self.job.job}'."
            )  # fmt: skip
        before = self.vault.read() if self.vault.exists() else None  # a wrong key shows before anything is asked
        if before is None and self.state.head().get("generation"):
            self.warnings.append(f"The vault {self.vault.path} was gone: a new one is made.")
        projects = self._projects()
        config = self._config(projects)
        known = _validators(before, self.job.job, config)
        listings = self._read(projects, known)
        may_be_cached = all(
            listing.validator == known.get(project_id) for project_id, listing in (listings or {}).items()
        )
        if may_be_cached:
            self._check_environment(projects)
        if listings is None and before is not None:
            return self._not_modified(before, projects)
        listings = listings or {}
        if self.failed and not listings:
            raise next(iter(self.failed.values()))
        if self.lacking and len(self.lacking) == len(projects):
            raise next(iter(self.lacking.values()))
        desired = self._desired({project.id: project for project in projects}, listings)
        if self.check:
            plan = self._plan(before, desired, listings)
            if not plan.changes and not may_be_cached:
                self._check_environment(projects)
            return self._reported(self._outcome(plan, before, projects))
        if before is not None and self.job.prune:
            self._plan(before, desired, listings)  # so that nothing is asked while others wait for the vault's lock
        with self.vault.writing(create=True) as draft:
            plan = self._plan(draft.contents, desired, listings)
            record = self._record(draft.contents, plan, config, listings, len(desired))
            after = draft.apply(plan, job=self.job.job, record=record)
        if not may_be_cached:
            if plan.changes:
                self.checks = _found_now()  # an answer from a cache brings nothing new
            else:
                self._check_environment(projects)
        outcome = self._outcome(plan, after, projects)
        done = f"The vault {self.vault.path} holds what was pulled ({outcome.summary()})."
        with after_writing(f"{done} {STATE_BEHIND}", **outcome.as_result()):
            self._write_state(after, projects, sum(change.action != "delete" for change in plan.changes))
        return self._reported(outcome)

    # Reading

    def _projects(self) -> list[Project]:
        if not self.job.project_ids:
            visible = visible_projects(self.api)
            if not visible:
                raise ScopeMissing(
                    "This machine identity is a member of no project, so there is nothing to pull.",
                    hint="Make it a member, or name the projects in project_ids.",
                )
            return visible
        ids = list(dict.fromkeys(self.job.project_ids))
        if "project" not in _format_parts(self.job.key_format):
            return [Project(project_id, "", "", ()) for project_id in ids]
        found = []
        for project_id in ids:
            project = self.api.project(project_id)
            if project is None:
                raise no_project(project_id)
            found.append(project)
        return found

    def _config(self, projects: Sequence[Project]) -> str:
        """A digest of everything that decides what a listing becomes: validators count for the same only."""
        settings = self.api.transport.settings
        named_ = sorted([project.id, project.slug, project.name] for project in projects)
        about = [settings.url, named_, asdict(self.job)]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode("utf-8")).hexdigest()

    def _read(self, projects: Sequence[Project], known: Mapping[str, Validator]) -> dict[str, Listing] | None:
        """The listings by project id; None where the server has nothing new in any. Failures go to `failed`.

        As soon as one project has something new, all are read whole, because which of two secrets gets a name may
        hang on both.
        """
        listings: dict[str, Listing] = {}
        same: list[Project] = []
        # What somebody put there by hand is to go with prune_scope vault, whatever the server says.
        conditional = {project.id for project in projects} == set(known) and not self._prunes_all
        for project in projects:
            listing = self._listing(project, known[project.id] if conditional else None)
            if listing is not None:
                listings[project.id] = listing
            elif project.id not in self.failed:
                same.append(project)
            conditional = conditional and not listings and not self.failed
        if projects and len(same) == len(projects):
            return None
        for project in same:
            listing = self._listing(project, None)
            if listing is not None:
                listings[project.id] = listing
        return listings

    def _listing(self, project: Project, known: Validator | None) -> Listing | None:
        """A project's listing; None where nothing is new since `known`, or where reading failed."""
        stopped = next((error for error in self.failed.values() if isinstance(error, _FOR_ALL)), None)
        if stopped is not None:
            self.failed[project.id] = stopped
            return None
        self.log(f"Reading {self.job.scope(project.id)}")
        try:
            self._check_listed(project)
            listing = Remote(self.api, self.job.scope(project.id)).listing(
                recursive=self.job.recursive,
                include_imports=self.job.include_imports,
                expand_references=self.job.expand_references,
                known=known,
            )
            if listing is not None:
                self._refuse_hidden(listing, project)
        except InfisicalError as error:
            if not isinstance(error, ScopeMissing) or self.job.project_ids:
                self.failed[project.id] = error
                return None
            # Of all projects, not every one need have the environment and the path.
            self.lacking[project.id] = error
            return None if known == Validator() else Listing(())
        return listing

    def _check_listed(self, project: Project) -> None:
        """Raise InfisicalError (SCOPE_MISSING) if the project was read in this cycle, and lacks the environment."""
        slugs = [environment.slug for environment in project.environments]
        if _was_read(project) and self.job.environment not in slugs:
            raise no_environment(self.job.environment, project.id, slugs, "Set environment to one of these slugs.")

    def _check_environment(self, projects: Sequence[Project]) -> None:
        """Look now and then whether the environment of an unchanged listing is still there: servers of 2026 answer for
        a deleted one from a cache for as long as somebody asks. Raises InfisicalError (SCOPE_MISSING).

        At most one request an hour, unless the environment is missing; none if this cycle has read the projects, or the
        server is of before that cache. What keeps the answer away is not this pull's error.
        """
        if self.failed:
            return
        if self.api.version == "v3" or all(map(_was_read, projects)):
            self.checks = _found_now()
            return
        head = self.state.head()
        if head.get("environment") == self.job.environment and _is_recent(head.get("environment_asked")):
            return
        self.checks = {"environment_asked": now()}
        try:
            found = {project.id: project for project in self.api.projects()}
        except InfisicalError as error:
            self.log(f"Whether the environment '{self.job.environment}' is still there is not known: {error}")
            return
        for project in projects:
            if project.id not in found:
                raise no_project(project.id)
            self._check_listed(found[project.id])
        self.checks = _found_now()

    def _refuse_hidden(self, listing: Listing, project: Project) -> None:
        rows = (listing.secrets, *(imported.secrets for imported in listing.imports))
        hidden = {secret.key for secrets in rows for secret in secrets if secret.value is None}
        if hidden:
            raise ValueHidden(
                f"The server hides values in {self.job.scope(project.id)} ({named(hidden)}), and a hidden value is "
                f"never stored. {hint_for(Forbidden, Operation.LIST)}",
            )

    # Deciding

    def _desired(self, projects: Mapping[str, Project], listings: Mapping[str, Listing]) -> dict[str, Secret]:
        """What the vault is to hold of this job, by the vault's names. Raises InfisicalError (AMBIGUOUS)."""
        if len(listings) == 1 and self.job.key_format == "{key}" and not self.job.normalize_names:
            [listing] = listings.values()
            if not self.job.recursive:
                one_each = merged(listing)
                self.warnings += one_each.warnings
                return one_each.secrets
        found: dict[str, list[Secret]] = {}
        for project_id, listing in listings.items():
            for name, secrets in self._of_project(projects[project_id], listing).items():
                found.setdefault(name, []).extend(secrets)
        return {name: self._chosen(name, secrets) for name, secrets in found.items()}

    def _of_project(self, project: Project, listing: Listing) -> dict[str, list[Secret]]:
        """The secrets of a project by the vault's names: its own before imported ones, the last import first."""
        names: dict[str, list[Secret]] = {}
        self.warnings += listing.warnings
        for secrets in (listing.secrets, *(imported.secrets for imported in reversed(listing.imports))):
            newest = listed(Listing(secrets))
            self.warnings += [text for text in newest.warnings if text not in self.warnings]
            tier: dict[str, list[Secret]] = {}
            for secret in newest.secrets:
                name = vault_name(self.job, secret, project)
                if name not in names:
                    tier.setdefault(name, []).append(secret)
            names.update(tier)
        return names

    def _chosen(self, name: str, secrets: Sequence[Secret]) -> Secret:
        if len(secrets) == 1:
            return secrets[0]
        best = min(_rank(secret, self.job.precedence) for secret in secrets)
        first = [secret for secret in secrets if _rank(secret, self.job.precedence) == best]
        if len({secret.value for secret in first}) == 1:
            return min(first, key=lambda one: (one.project_id, one.secret_path, one.key))
        one = first[0]
        other = next(secret for secret in first if secret.value != one.value)
        raise Ambiguous(
            f"Nothing was changed: two secrets with different values would both be '{name}' in the vault: "
            f"{_place(one)}, and {_place(other)}. Tell them apart by key_format (with {{path}} or {{project}}), or say "
            "in precedence which comes first.",
        )

    def _plan(self, contents: Contents | None, desired: Mapping[str, Secret], listings: Mapping[str, Listing]) -> Plan:
        """The plan, guarded."""
        current = {} if contents is None else contents.secrets
        job, failed = self.job, self.failed
        if failed:
            # What a project that could not be read has put there stays, whoever else would take its name.
            kept = {name for name, held in current.items() if held.job == job.job and held.project_id in failed}
            desired = {name: secret for name, secret in desired.items() if name not in kept}
        desired = self._left_to_others(current, desired)
        deletable = self._deletable(current) if job.prune and not failed else {}
        if deletable:
            self._guard_empty(deletable, listings)

        def differs(stored: Secret, wanted: Secret) -> bool:
            return stored.job != job.job or differs_in_vault(stored, wanted)

        plan = build(current, desired, prune=lambda held: bool(deletable) and self._owns(held), differs=differs)
        guard(plan, len(deletable), self._where(), max_delete_percent=job.max_delete_percent)
        if contents is not None:
            self._guard_moved(plan, contents.jobs.get(job.job, {}).get("source"))
            self._guard_unseen(plan, listings)
        return replace(plan, unchanged=tuple(name for name in plan.unchanged if name in desired))

    def _left_to_others(self, current: Mapping[str, Secret], desired: Mapping[str, Secret]) -> Mapping[str, Secret]:
        """`desired` without what another job holds. Raises InfisicalError (AMBIGUOUS) where the values differ."""
        if self.job.prune_scope == "vault":
            return desired
        others = {name for name, held in current.items() if held.job not in ("", self.job.job)} & desired.keys()
        self.shares = bool(others)
        for name in sorted(others):
            if current[name].value != desired[name].value:
                raise Ambiguous(
                    f"Nothing was changed: '{name}' in the vault belongs to the job '{current[name].job}' "
                    f"({_place(current[name])}), and this job has another value for it ({_place(desired[name])}). Tell "
                    "them apart by key_format, or let this job take over the whole vault by prune_scope: vault.",
                )
        by_hand = {name for name, held in current.items() if not held.job} & desired.keys()
        replaced = [name for name in by_hand if current[name].value != desired[name].value]
        if replaced:
            text = f"What was put into the vault by hand is replaced by what was pulled: {named(replaced)}."
            self.warnings += [text] if text not in self.warnings else []
        return {name: secret for name, secret in desired.items() if name not in others} if others else desired

    @property
    def _prunes_all(self) -> bool:
        return self.job.prune and self.job.prune_scope == "vault"

    def _owns(self, held: Secret) -> bool:
        return self.job.prune_scope == "vault" or held.job == self.job.job

    def _deletable(self, current: Mapping[str, Secret]) -> dict[str, Secret]:
        return {name: held for name, held in current.items() if self._owns(held)}

    def _guard_empty(self, deletable: Mapping[str, Secret], listings: Mapping[str, Listing]) -> None:
        """Refuse to prune on the word of a project that came back empty."""
        empty = [project_id for project_id, listing in listings.items() if not _holds_something(listing)]
        if not self.job.project_ids:  # of all projects, one that is seen no more has no listing
            empty += sorted({held.project_id for held in deletable.values() if held.job} - set(listings))
        for project_id in empty:
            held = sum(secret.project_id == project_id for secret in deletable.values())
            guard_empty(
                held if any(map(_holds_something, listings.values())) else len(deletable),
                str(self.job.scope(project_id)),
                self._where(),
                allow_empty=self.job.allow_empty,
            )

    def _guard_moved(self, plan: Plan, source: dict[str, Any] | None) -> None:
        """Refuse to delete because the job pulls from elsewhere now: rather two jobs have one name."""
        deleted = [change.key for change in plan.changes if change.action == "delete"]
        this = self._source()
        if source is None or not deleted or self.job.max_delete_percent == 100:
            return
        places = ("environment", "secret_path")
        common = set(source["project_ids"]) & set(this["project_ids"])
        other = bool(source["project_ids"] and this["project_ids"]) and not common
        if not other and all(source[name] == this[name] for name in places):
            return
        raise GuardStopped(
            f"Nothing was changed: the job '{self.job.job}' pulled from {_source_in_words(source)} last, and now from "
            f"{_source_in_words(this)}. Prune would "
            f"delete {len(deleted)} entries ({named(deleted)}). If these are two jobs, give each its own name in job; "
            "if the job has moved, set max_delete_percent: 100 for this run.",
        )

    def _guard_unseen(self, plan: Plan, listings: Mapping[str, Listing]) -> None:
        """Refuse to delete all that came from a folder unless a secret of it is really gone: a list silently leaves out
        what the identity may not read (assumed of imports, which may then be there without secrets, or not at all). One
        request for each such folder."""
        gone: dict[Location, str] = {}
        for change in plan.changes:
            held = change.before
            if change.action == "delete" and held is not None and held.job == self.job.job:
                scope = Location(held.project_id, held.environment, held.secret_path)
                if scope not in gone or needs_batch(gone[scope]):
                    gone[scope] = held.key
        if not gone or self.job.max_delete_percent == 100:
            return
        imported: set[Location] = set()
        for project_id, listing in listings.items():
            imported |= {Location(project_id, one.environment, one.secret_path) for one in listing.imports}
            for secrets in (listing.secrets, *(one.secrets for one in listing.imports)):
                for secret in secrets:
                    gone.pop(Location(project_id, secret.environment, secret.secret_path), None)
        for scope, key in gone.items():
            asked = scope in imported or self._lists(scope)
            if scope.project_id not in listings or not (asked or self.job.include_imports):
                continue
            if scope not in self.asked:
                self.asked[scope] = self._unseen(scope, key, asked)
            reason = self.asked[scope]
            if reason:
                lost = sum(change.action == "delete" for change in plan.changes)
                raise GuardStopped(
                    f"Nothing was changed: prune would delete {lost} entries of {self._where()}, among them all of "
                    f"{scope}, which {reason}. Grant the identity 'Read Value' there; or if these entries are to go, "
                    "set max_delete_percent: 100 for this run.",
                )

    def _lists(self, scope: Location) -> bool:
        """Whether the job lists a folder itself, and does not import it."""
        root = self.job.secret_path
        below = self.job.recursive and scope.secret_path.startswith(root.rstrip("/") + "/")
        return scope.environment == self.job.environment and (below or scope.secret_path == root)

    def _unseen(self, scope: Location, key: str, listed: bool) -> str:
        """Why a secret that no listing has may be there, empty if it is not. If its folder is not `listed`, it may be
        there to be read: it is imported no longer."""
        try:
            # Servers look at the permission before the secret, so that any name shows whether the folder may be read.
            self.api.get_secret(scope, "A" if needs_batch(key) else key)
        except InfisicalError as error:
            if isinstance(error, (SecretMissing, ScopeMissing)):
                return ""
            if not isinstance(error, Forbidden):
                raise
            return "the identity may not read"
        return "is still there, although the list leaves it out" if listed else ""

    def _source(self) -> dict[str, Any]:
        job = self.job
        return {"environment": job.environment, "secret_path": job.secret_path, "project_ids": sorted(job.project_ids)}

    def _where(self) -> str:
        return f"the vault {self.vault.path}" + (f" (job {self.job.job})" if self.job.prune_scope == "job" else "")

    # Recording

    def _record(
        self, contents: Contents, plan: Plan, config: str, listings: Mapping[str, Listing], count: int
    ) -> dict[str, Any] | None:
        """What the vault keeps of this cycle; None where there is nothing new to keep.

        An order of the listing that changes by itself is not worth a write, so that it is the entries that decide.
        """
        stored = contents.jobs.get(self.job.job, {})
        if not plan.changes and (self.failed or (stored.get("config") == config and stored.get("count") == count)):
            return None
        if self.failed:
            return {"source": self._source()}  # the ETags of before do not go with the entries of now
        # What another job holds may go with that job, and is to come back then although nothing is new here.
        validators = {
            project_id: asdict(listing.validator) for project_id, listing in listings.items() if not self.shares
        }
        return {"config": config, "count": count, "source": self._source(), "validators": validators}

    def _not_modified(self, contents: Contents, projects: Sequence[Project]) -> Outcome:
        count = contents.jobs[self.job.job]["count"]
        if not self.check:
            self._touch_state(contents, projects)
        return Outcome(
            "pull",
            unchanged=count,
            generation=contents.generation,
            projects=tuple(project.id for project in projects),
            warnings=tuple(self.warnings),
            not_modified=True,
        )

    def _about(self, contents: Contents, projects: Sequence[Project]) -> dict[str, Any]:
        return {
            "environment": self.job.environment,
            "generation": contents.generation,
            "job": self.job.job,
            "project_ids": [project.id for project in projects],
            "secret_path": self.job.secret_path,
            "vault": self.vault.path,
            "vault_id": contents.vault_id,
            **({} if self.failed else {"last_sync": now()}),
            **self.checks,
        }

    def _touch_state(self, contents: Contents, projects: Sequence[Project]) -> None:
        """Note the time where the state file knows the rest already."""
        head, about = self.state.head(), self._about(contents, projects)
        times = {"last_sync": about["last_sync"], **self.checks}
        known = {name: value for name, value in about.items() if name != "generation" and name not in times}
        same = all(head.get(name) == value for name, value in known.items())
        newer = isinstance(head.get("generation"), int) and head["generation"] >= about["generation"]
        if same and newer and head.get("state_hash") == self.job.state_hash and self.state.is_whole():
            self.state.update(**times)
        else:
            self._write_state(contents, projects, 0)

    def _write_state(self, contents: Contents, projects: Sequence[Project], pulled: int) -> None:
        self.state.hash_key = contents.hash_key if self.job.state_hash == HMAC else None
        self.state.rewrite(self._about(contents, projects), contents.of_job(self.job.job), pulled)

    def _outcome(self, plan: Plan, contents: Contents | None, projects: Sequence[Project]) -> Outcome:
        return _outcome(
            "pull",
            plan,
            generation=0 if contents is None else contents.generation,
            projects=tuple(project.id for project in projects),
            warnings=tuple(self.warnings),
            failed={project_id: str(error) for project_id, error in self.failed.items()},
        )

    def _reported(self, outcome: Outcome) -> Outcome:
        """The outcome. Raises InfisicalError (PARTIAL) where a project could not be read."""
        if not self.failed:
            return outcome
        done = "would be" if self.check else "was"
        reasons = " ".join(f"Project {project_id}: {error}" for project_id, error in self.failed.items())
        first = next(iter(self.failed.values()))
        partial = PartialFailure(
            f"{len(self.failed)} of {len(outcome.projects)} projects could not be read, so nothing {done} pruned; what "
            f"the others hold {done} taken ({outcome.summary()}). {reasons}",
            status=first.status,
        )
        partial.details = outcome.as_result()
        raise partial


def _was_read(project: Project) -> bool:
    """Whether the server has described a project, which otherwise has its id alone."""
    return bool(project.name or project.slug)


def _found_now() -> dict[str, str]:
    found = now()
    return {"environment_checked": found, "environment_asked": found}


def _is_recent(asked: Any) -> bool:
    then = parse_time(str(asked))
    return then is not None and 0 <= time.time() - then < _CHECK_EVERY


def _validators(contents: Contents | None, job: str, config: str) -> dict[str, Validator]:
    record = {} if contents is None else contents.jobs.get(job, {})
    if record.get("config") != config:
        return {}
    return {project_id: Validator(**fields) for project_id, fields in record["validators"].items()}


def _source_in_words(source: Mapping[str, Any]) -> str:
    projects = ", ".join(source["project_ids"]) or "all that it saw"
    return f"environment {source['environment']}, path {source['secret_path']}, projects {projects}"


def _holds_something(listing: Listing) -> bool:
    return bool(listing.secrets) or any(imported.secrets for imported in listing.imports)


def _place(secret: Secret) -> str:
    scope = Location(secret.project_id, secret.environment, secret.secret_path)
    return f"'{secret.key}' of {scope}"


def _rank(secret: Secret, precedence: Sequence[str]) -> int:
    for rank, entry in enumerate(precedence):
        below = secret.secret_path == entry or secret.secret_path.startswith(entry.rstrip("/") + "/")
        if entry == secret.project_id or (entry.startswith("/") and below):
            return rank
    return len(precedence)


_FIELDS = ("key", "path", "project")


def _format_parts(key_format: str) -> dict[str, str]:
    """The fields of a key format, in order: {field: the text before it}; what follows the last one is under "".

    Raises ConfigurationError where it is none, or lacks {key}.
    """
    try:
        parsed = list(string.Formatter().parse(key_format))
    except ValueError:
        raise ConfigurationError("key_format", f"'{key_format}' has an unmatched brace.") from None
    if "{{" in key_format or "}}" in key_format:
        raise ConfigurationError("key_format", f"'{key_format}' must not hold doubled braces.")
    parts: dict[str, str] = {}
    for text, name, specification, conversion in parsed:
        known = name in _FIELDS and name not in parts and not specification and not conversion
        if name is not None and not known:
            raise ConfigurationError(
                "key_format", f"'{key_format}' may hold {{key}}, {{path}} and {{project}}, each once, and nothing else "
                "in braces."
            )  # fmt: skip
        parts[name or ""] = text
    if "key" not in parts:
        raise ConfigurationError("key_format", f"'{key_format}' must hold {{key}}.")
    return parts


def vault_name(job: Pull, secret: Secret, project: Project) -> str:
    """The name that `job` gives a secret in the vault, by `key_format` and `normalize_names`.

    `{path}` is the secret's path without outer slashes; at the root, the text between it and the next field goes too.
    """
    values = {
        "key": secret.key,
        "path": secret.secret_path.strip("/"),
        "project": project.slug or project.name or project.id,
    }
    name, after_empty = "", False
    for part, text in _format_parts(job.key_format).items():
        name += "" if after_empty else text
        name += values.get(part, "")
        after_empty = part == "path" and not values["path"]
    return normalize_name(name, "key_format") if job.normalize_names else name


# Push


def scope_state(
    path: str, scope: Location, *, state_hash: str = SHA256, vault: Vault | None = None, warn: Log | None = None
) -> StateFile | None:
    """The state file of what is pushed to a scope, None for an empty path. Raises ConfigurationError."""
    if not path:
        return None
    if state_hash == HMAC and vault is None:
        raise ConfigurationError("state_hash", f"{HMAC} takes its key from a vault: give vault_path, or use {SHA256}.")
    hash_key = vault.read().hash_key if state_hash == HMAC and vault is not None else None
    return StateFile(path, scope, warn, hash_key=hash_key)


def read_source(path: str, *, may_be_pipe: bool = False) -> dict[str, str]:
    """Secrets from a regular file, {name: value}: a JSON object of strings, or dotenv if it does not begin like JSON.
    With `may_be_pipe`, a pipe that a shell has made is read too.

    Raises ConfigurationError (source_file), which never quotes a value.
    """
    try:
        opener = None if may_be_pipe else files.open_regular
        with open(path, encoding="utf-8", newline="", opener=opener) as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigurationError("source_file", f"'{path}' cannot be read: {reason}.") from None
    return parse_source(text, path)


def parse_source(text: str, path: str) -> dict[str, str]:
    """Secrets from the text of a file, as `read_source`; `path` is for messages."""
    text = text[1:] if text.startswith("\ufeff") else text  # a byte-order mark, as editors of Windows write it
    if not text.lstrip().startswith(("{", "[")):
        return dotenv.parse(text)
    try:
        # As pairs, for of two with one name a dict would keep the second one without a word.
        pairs: _Pairs = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        raise ConfigurationError("source_file", f"'{path}' begins like JSON and is none.") from None
    if not isinstance(pairs, _Pairs):
        raise ConfigurationError(
            "source_file", f"'{path}' must hold one JSON object of names and strings, or dotenv (got a JSON list)."
        )
    names = [name for name, _value in pairs]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise ConfigurationError("source_file", f"'{path}' holds {named(twice)} more than once.")
    found = {name: {} if isinstance(value, _Pairs) else value for name, value in pairs}
    return {name: check_value(value, f"source_file: {name}") for name, value in found.items()}


class _Pairs(list[tuple[str, Any]]):
    """A JSON object by its names and values."""


def push(
    api: Api,
    scope: Location,
    source: Mapping[str, str],
    job: Push,
    *,
    state: StateFile | None = None,
    vault_state: StateFile | None = None,
    check: bool = False,
    log: Log | None = None,
) -> Outcome:
    """Bring a scope of Infisical to what `source` ({name: value}) holds; in check mode only say what would change.

    `state` knows what was pushed there before, for identities that may not read; `vault_state`, of the vault that is
    the source, counts what is pushed.

    Raises InfisicalError: ConfigurationError, AMBIGUOUS, GUARD and whatever the server answers before anything is
    written; PARTIAL with the names written and not written after that, and `details`. Run again, it does the rest.
    """
    _check_percent(job.max_delete_percent)
    desired = _wanted(source, job.normalize_names)
    remote = Remote(api, scope, create_path=job.create_path, overwrite_rotated=job.overwrite_rotated, state=state)
    if state is not None:
        state.check()
    try:
        listing = _scope_listing(remote)
    except InfisicalError as error:
        if not isinstance(error, Forbidden) or job.prune:
            raise
        return _push_unread(remote, desired, check, vault_state)
    stored = merged(listing or Listing(()))
    current, warnings = _recalled(stored.secrets, desired, state), list(stored.warnings)
    if state is None and any(stored.secrets[key].hidden for key in desired if key in stored.secrets):
        warnings.append(UNREADABLE)
    if job.prune and not desired:
        guard_empty(len(current), "the source", str(scope), allow_empty=job.allow_empty)
    plan = build(current, desired, prune=job.prune)
    guard(plan, len(current), str(scope), max_delete_percent=job.max_delete_percent)
    remote.guard_rotated(plan.changes)
    plan = replace(plan, unchanged=tuple(name for name in plan.unchanged if name in desired))
    expected = _outcome("push", _with_versions(plan), projects=(scope.project_id,), warnings=tuple(warnings))
    if check or not plan.changes:
        if not current:
            _check_place(remote)
        return expected
    tell = log or (lambda text: None)
    applied = remote.apply(
        plan,
        log=lambda done, total: tell(f"Wrote {done} of {total} changes to {scope}"),
        make_path=listing is None,
    )
    done = {*applied.written, *applied.pending}
    left = [change.key for change in plan.changes if change.key not in done]
    outcome = replace(
        _outcome("push", replace(_with_versions(plan, applied.versions), changes=tuple(
            change for change in _with_versions(plan, applied.versions).changes if change.key in done
        ))),
        projects=(scope.project_id,),
        warnings=tuple(warnings),
        approvals=applied.approvals,
    )  # fmt: skip
    if applied.error is not None:
        if isinstance(applied.error, ScopeMissing) and not done:
            raise applied.error  # to run it again would not help
        with contextlib.suppress(InfisicalError):  # what was not written matters more than the count
            _count_pushed(vault_state, applied.written, outcome, scope)
        raise _unfinished(applied.error, outcome, applied.written, left, applied.failed)
    _count_pushed(vault_state, applied.written, outcome, scope)
    return outcome


def _count_pushed(vault_state: StateFile | None, names: Collection[str], outcome: Outcome, scope: Location) -> None:
    """Count what was pushed from a vault."""
    if vault_state is None or not names:
        return
    written = f"Wrote {pluralize(len(names), 'change')} to {scope}. Only the count of pushes was not saved."
    with after_writing(written, **outcome.as_result()):
        vault_state.pushed(len(names))


def _wanted(source: Mapping[str, str], normalize: bool) -> dict[str, Secret]:
    """The source as a store. Raises InfisicalError (AMBIGUOUS) where two names become one."""
    desired: dict[str, Secret] = {}
    given: dict[str, str] = {}
    for name, value in source.items():
        option = f"secrets, the name {name!r}"
        key = normalize_name(check_name(name, option), option) if normalize else check_name(name, option)
        if key in desired:
            raise Ambiguous(
                f"Nothing was changed: '{given[key]}' and '{name}' would both be written as '{key}'. Rename one of "
                "them" + (", or leave normalize_names off." if normalize else "."),
            )
        given[key] = name
        desired[key] = Secret(key, check_value(value, f"secrets: {name}"))
    return desired


def _scope_listing(remote: Remote) -> Listing | None:
    """What the scope holds; None if its folder is missing and is to be made.

    An empty listing is not looked into: the writes that follow report a missing environment or folder by themselves,
    and every request counts if the identity's tokens allow a few uses only.
    """
    try:
        return remote.stored(explain=False)
    except ScopeMissing as error:
        if not remote.create_path:
            raise remote.problem() or error from None
        return None


def _check_place(remote: Remote) -> None:
    """Raise what is missing of the scope, because no write will report it; a folder that would be made may be."""
    path = "/" if remote.create_path else remote.scope.secret_path
    problem = Remote(remote.api, replace(remote.scope, secret_path=path)).problem()
    if problem is not None:
        raise problem


def _recalled(
    stored: Mapping[str, Secret], desired: Mapping[str, Secret], state: StateFile | None
) -> dict[str, Secret]:
    """What is stored, with hidden values that the state file proves to be the ones wanted."""
    if state is None or not any(secret.hidden for secret in stored.values()):
        return dict(stored)
    return {
        key: secret._replace(value=desired[key].value, hidden=False)
        if secret.hidden and key in desired and state.holds(key, desired[key].value, secret.version)
        else secret
        for key, secret in stored.items()
    }


def _with_versions(plan: Plan, told: Mapping[str, int] | None = None) -> Plan:
    """The plan with the versions that the writes make, or have made as far as the server told."""

    def after(change: Change) -> Secret | None:
        if change.after is None:
            return None
        expected = (change.before.version if change.before is not None else 0) + 1
        return change.after._replace(version=(told or {}).get(change.key, expected))

    return replace(plan, changes=tuple(change._replace(after=after(change)) for change in plan.changes))


def _push_unread(remote: Remote, desired: Mapping[str, Secret], check: bool, vault_state: StateFile | None) -> Outcome:
    """Write one by one for an identity that may write and not even see names."""
    changes: list[Change] = []
    unchanged: list[str] = []
    approvals: list[str] = []
    warnings: list[str] = []
    pending: set[str] = set()
    failed: dict[str, InfisicalError] = {}
    for key, secret in sorted(desired.items()):
        try:
            report = remote.put(secret, check=check)
        except InfisicalError as error:
            failed[key] = error
            if not isinstance(error, (RequestInvalid, TooLarge)):
                break
            continue
        warnings += [text for text in report.warnings if text not in warnings]
        if report.approval_id:
            approvals.append(report.approval_id)
            pending.add(key)
        if report.action is None:
            unchanged.append(key)
        else:
            changes.append(Change(report.action, key, report.before, report.after))
    outcome = _outcome(
        "push",
        Plan(tuple(changes), tuple(unchanged)),
        approvals=tuple(approvals),
        warnings=tuple(warnings),
        projects=(remote.scope.project_id,),
    )
    done = [change.key for change in changes if change.key not in pending]
    counting = None if check else vault_state
    if failed:
        with contextlib.suppress(InfisicalError):
            _count_pushed(counting, done, outcome, remote.scope)
        left = sorted(set(desired) - {change.key for change in changes} - set(unchanged))
        said = {key: str(error) for key, error in failed.items()}
        raise _unfinished(next(reversed(failed.values())), outcome, done, left, said, check=check)
    _count_pushed(counting, done, outcome, remote.scope)
    return outcome


def _unfinished(
    error: InfisicalError,
    outcome: Outcome,
    done: Sequence[str],
    left: Sequence[str],
    failed: Mapping[str, str],
    *,
    check: bool = False,
) -> InfisicalError:
    """The error of a push that was stopped on its way: what was written, or in check mode would be, what was not, and
    why."""
    total = sum(len(names) for names in (outcome.created, outcome.updated, outcome.deleted, left))
    partial = (PartialFailure if done else error_class(error.conclusion))(
        f"{len(done)} of {total} changes {'would be' if check else 'were'} written"
        + (f" ({named(done)})" if done else "")
        + (f"; {len(outcome.approvals)} approvals are waited for" if outcome.approvals else "")
        + (
            f"; {'would not be' if check else 'not'} written: {named(left)}"
            + ("" if check else ". Run it again to do the rest")
            if left
            else "; the state file does not know it"
        )
        + f". {error}",
        hint="",
        status=error.status,
    )
    partial.details = {**outcome.as_result(), "written": list(done), "not_written": list(left), "errors": dict(failed)}
    return partial
