# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Infisical as a store: read a scope, bring one secret or folder to what is wanted, and say what is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Callable, Literal, overload

from ..core.answers import BODY_LIMIT, Validator
from ..core.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InfisicalError,
    RequestInvalid,
    RouteMissing,
    ScopeMissing,
    SecretMissing,
    TooLarge,
    after_writing,
    no_environment,
    no_project,
)
from ..core.model import (
    LONGEST_NAME_IN_PATH,
    Known,
    Location,
    Merged,
    Secret,
    check_name,
    check_value,
    same_value,
    trim,
)
from ..core.plan import Action, Change, Plan, build, differs, guard_rotated, named
from ..vault.state import StateFile
from . import references
from .api import Api, Folder, Listing, Written, batch_bytes

UpdateValue = Literal["always", "on_create"]


@dataclass(frozen=True)
class Report:
    """What was done to one secret, or in check mode would be: `action` is None where nothing had to be.

    `after` is the secret as stored, in check mode as it would be, with the next version. With an `approval_id` nothing
    is stored yet.
    """

    action: Action | None
    before: Secret | None = None
    after: Secret | None = None
    approval_id: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Applied:
    """What came of a plan, by name: every change of it is in one of `written`, `pending`, `failed` and `left`.

    `written` are done, by us or meanwhile by another writer; `versions` has those that the server told, not those of
    deleted secrets. `pending` wait for the `approvals` (ids). `failed` ({name: message}) were refused each on its own
    account. `left` are not known to be written, because `error` ended everything before; without any, `error` is that
    of the first of `failed`, None where there is none.
    """

    written: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    error: InfisicalError | None = None
    versions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Overview:
    """Secrets in the order of their environment, path and name, and what a person should know about them."""

    secrets: tuple[Secret, ...]
    warnings: tuple[str, ...] = ()


def needs_batch(key: str) -> bool:
    """Whether a name cannot stand in a request's path: too long for it, the name of the batch route, or one that
    HTTP libraries resolve as a place (RFC 3986, 5.2.4)."""
    return len(key) > LONGEST_NAME_IN_PATH or key in ("batch", ".", "..")


def merged(listing: Listing) -> Merged:
    """One secret for each name: a folder's own before imported ones, and of several imports the last one first.

    A name that a server lists twice in one folder is taken from the newest row, with a warning. One that a recursive
    listing has in several folders is among the secrets only where its values are the same.
    """
    chosen, warnings, ambiguous = _by_name(listing.secrets)
    for imported in reversed(listing.imports):
        more, more_warnings, more_ambiguous = _by_name(imported.secrets)
        warnings += more_warnings
        ambiguous.update({key: message for key, message in more_ambiguous.items() if key not in chosen})
        chosen = {**more, **chosen}
    for key in ambiguous:
        del chosen[key]
    return Merged(chosen, (*listing.warnings, *warnings), ambiguous)


def listed(listing: Listing) -> Overview:
    """Every secret of a recursive listing and of what it imports, once for each environment, path and name."""
    chosen: dict[tuple[str, str, str], Secret] = {}
    warnings: list[str] = []
    folders: dict[tuple[str, str], list[Secret]] = {}
    for secret in (*listing.secrets, *(inner for imported in listing.imports for inner in imported.secrets)):
        folders.setdefault((secret.environment, secret.secret_path), []).append(secret)
    for place, secrets in folders.items():
        # Several folders may import the same one: its rows are the same then.
        rows = {secret.id or str(n): secret for n, secret in enumerate(secrets)}.values()
        by_name, more_warnings, _none = _by_name(rows)
        warnings += more_warnings
        chosen.update({(*place, key): secret for key, secret in by_name.items()})
    return Overview(tuple(chosen[place] for place in sorted(chosen)), (*listing.warnings, *warnings))


def _every(listing: Listing) -> list[Secret]:
    return [*listing.secrets, *(secret for imported in listing.imports for secret in imported.secrets)]


def _place(secret: Secret) -> references.Place:
    return secret.environment, secret.secret_path, secret.key


def _by_name(secrets: Collection[Secret]) -> tuple[dict[str, Secret], list[str], dict[str, str]]:
    chosen = {secret.key: secret for secret in secrets}
    if len(chosen) == len(secrets):
        return chosen, [], {}
    chosen = {}
    warnings: list[str] = []
    ambiguous: dict[str, str] = {}
    for secret in secrets:
        other = chosen.get(secret.key)
        if other is None:
            chosen[secret.key] = secret
        elif other.secret_path != secret.secret_path:
            if other.value != secret.value or secret.hidden:
                paths = " and ".join(sorted((other.secret_path, secret.secret_path)))
                ambiguous[secret.key] = (
                    f"The secret '{secret.key}' has different values in {paths}. Name the folder that is meant as "
                    "secret_path, without recursive."
                )
            chosen[secret.key] = min(other, secret, key=lambda one: one.secret_path)
        else:
            chosen[secret.key] = max(other, secret, key=lambda one: (one.updated_at, one.version))
            warnings.append(
                f"The server lists the secret '{secret.key}' twice in {secret.secret_path}: the newest is used. "
                "Delete it and write it again to be rid of the other."
            )
    return chosen, warnings, ambiguous


class Remote:
    """One scope of an Infisical. Methods raise InfisicalError with the environments and folders that do exist.

    `warnings` are what a person should know of the values that `find` has returned.
    """

    def __init__(
        self,
        api: Api,
        scope: Location,
        *,
        create_path: bool = False,
        overwrite_rotated: bool = False,
        state: StateFile | None = None,
    ) -> None:
        self.api = api
        self.scope = scope
        self.create_path = create_path
        self.overwrite_rotated = overwrite_rotated
        self.state = state
        self._names_refused = False
        self.warnings: list[str] = []

    # Reading

    @overload
    def listing(
        self,
        *,
        recursive: bool = ...,
        include_imports: bool = ...,
        expand_references: bool = ...,
        view_values: bool = ...,
    ) -> Listing: ...

    @overload
    def listing(
        self,
        *,
        recursive: bool = ...,
        include_imports: bool = ...,
        expand_references: bool = ...,
        view_values: bool = ...,
        known: Validator | None,
    ) -> Listing | None: ...

    def listing(
        self,
        *,
        recursive: bool = False,
        include_imports: bool = False,
        expand_references: bool = False,
        view_values: bool = True,
        known: Validator | None = None,
    ) -> Listing | None:
        """Everything in the scope; None where nothing has changed since the listing of which `known` is the validator.

        An empty answer is looked into, because real servers answer a mistyped environment or path with one.
        """
        try:
            listing = self.api.list_secrets(
                self.scope,
                recursive=recursive,
                include_imports=include_imports,
                expand_references=expand_references,
                view_values=view_values,
                known=known,
            )
        except InfisicalError as error:
            raise self._explained(error) from None
        if listing is not None and not listing.secrets and not listing.imports:
            problem = self.problem()
            if problem is not None:
                raise problem
        if listing is None or not (expand_references and view_values):
            return listing

        def read_raw() -> Listing:
            return self.api.list_secrets(self.scope, recursive=recursive, include_imports=include_imports)

        return self._restored(listing, read_raw)

    def _restored(self, listing: Listing, read_raw: Callable[[], Listing]) -> Listing:
        """The listing with its values as they are where they are kept: a value of several lines that comes through a
        reference may be quoted.

        `read_raw` is called only if a value looks so. What it has in place of the value is looked up, to be sure.
        """
        secrets = _every(listing)
        unresolved = [secret.key for secret in secrets if references.is_unresolved(secret.value)]
        quoted = [secret for secret in secrets if secret.quotes_lines and references.is_quoted(secret.value)]
        restored: dict[Secret, str] = {}
        assumed: list[str] = []
        if quoted:
            texts: dict[references.Place, str | None] = {_place(secret): secret.value for secret in _every(read_raw())}
            for secret in quoted:
                value = secret.value or ""
                if not references.may_be_quoted_of(value, texts.get(_place(secret)) or ""):
                    continue
                text = self._referred(secret, texts)
                if text == value:
                    continue  # the quotes are part of the text that it refers to
                if text is None or not references.is_quoted_of(value, text):
                    text = references.unquoted(value)
                    assumed.append(secret.key)
                restored[secret] = text
        found = [secret.key for secret in restored if secret.key not in assumed]
        warnings = references.warnings(self.scope, unresolved, found, assumed)

        def mend(rows: Iterable[Secret]) -> tuple[Secret, ...]:
            return tuple(row._replace(value=restored.get(row, row.value)) for row in rows)

        if restored:
            imports = tuple(replace(one, secrets=mend(one.secrets)) for one in listing.imports)
            listing = replace(listing, secrets=mend(listing.secrets), imports=imports)
        return replace(listing, warnings=(*listing.warnings, *warnings))

    def _referred(self, secret: Secret, texts: dict[references.Place, str | None]) -> str | None:
        """The text that a secret refers to, also by way of others; None if that cannot be read, or one of them is more
        than one reference. `texts` are raw values by place, to which those that are looked up are added."""
        place: references.Place | None = _place(secret)
        for _step in range(references.DEEPEST):
            if place is None:
                return None
            if place not in texts:
                texts[place] = self._raw(*place)
            text = texts[place]
            if text is None or not references.is_unresolved(text):
                return text
            place = references.target(text, *place[:2])
        return None

    def _raw(self, environment: str, path: str, key: str) -> str | None:
        scope = replace(self.scope, environment=environment, secret_path=path)
        try:
            return self.api.get_secret(scope, key).value
        except InfisicalError:
            return None  # it need not be for this identity to read

    def find(
        self,
        key: str,
        *,
        include_imports: bool = False,
        expand_references: bool = False,
        view_values: bool = True,
    ) -> Secret | None:
        """One secret, None where there is none: by one request, except for a name that does not fit into a path."""
        try:
            return self._found(
                key,
                include_imports=include_imports,
                expand_references=expand_references,
                view_values=view_values,
            )
        except InfisicalError as error:
            raise self._explained(error) from None

    def _found(self, key: str, **reading: bool) -> Secret | None:
        if needs_batch(key):
            listed = merged(self.listing(**reading))
            self.warnings += listed.warnings
            return listed.secrets.get(key)
        try:
            found = self.api.get_secret(self.scope, key, **reading)
        except InfisicalError as error:
            if isinstance(error, SecretMissing):
                return None
            raise
        if not (reading.get("expand_references") and reading.get("view_values", True)):
            return found

        def read_raw() -> Listing:
            return Listing((self.api.get_secret(self.scope, key, **{**reading, "expand_references": False}),))

        listing = self._restored(Listing((found,)), read_raw)
        self.warnings += listing.warnings
        return listing.secrets[0]

    def overview(
        self,
        key: str = "",
        *,
        recursive: bool = False,
        include_imports: bool = False,
        expand_references: bool = False,
        view_values: bool = False,
    ) -> Overview:
        """The secrets of the scope, or those of one name: none where there is no such secret."""
        if key and not recursive:
            found = self.find(
                key, include_imports=include_imports, expand_references=expand_references, view_values=view_values
            )
            return Overview(() if found is None else (found,), tuple(self.warnings))
        listing = self.listing(
            recursive=recursive,
            include_imports=include_imports,
            expand_references=expand_references,
            view_values=view_values,
        )
        if recursive:
            every = listed(listing)
            return replace(every, secrets=tuple(secret for secret in every.secrets if key in ("", secret.key)))
        one_each = merged(listing)
        ordered = sorted(one_each.secrets.values(), key=lambda one: (one.environment, one.secret_path, one.key))
        return Overview(tuple(ordered), one_each.warnings)

    def problem(self) -> InfisicalError | None:
        """Why the scope may look empty or missing: an unknown project, environment or folder; None where all exist.

        What the identity may not see, or the server cannot tell, is not called missing.
        """
        scope = self.scope
        try:
            project = self.api.project(scope.project_id)
        except _CANNOT_TELL:
            project = None
        else:
            if project is None:
                return no_project(scope.project_id)
            slugs = [environment.slug for environment in project.environments]
            if scope.environment not in slugs:
                advice = "Set environment to one of these slugs."
                return no_environment(scope.environment, scope.project_id, slugs, advice)
        return self._folder_problem()

    def _check_environment(self) -> None:
        """Raise what is missing of project and environment, whatever the path."""
        problem = Remote(self.api, replace(self.scope, secret_path="/")).problem()
        if problem is not None:
            raise problem

    def _folder_problem(self) -> InfisicalError | None:
        if self.scope.secret_path == "/":
            return None
        try:
            existing = self._folder()
        except InfisicalError as error:
            if isinstance(error, _CANNOT_TELL):
                return None
            raise
        if existing is not None:
            return None
        return ScopeMissing(
            f"There is no folder '{self.scope.secret_path}' in environment '{self.scope.environment}' of project "
            f"{self.scope.project_id}.{self._nearest_folders()}",
            hint="Check secret_path, or make the folder: create_path: true if a secret is written, or the module "
            "keyfleet.infisical.infisical_folder.",
        )

    def _nearest_folders(self) -> str:
        """A sentence about the folders in the nearest parent that has any, empty if nothing tells."""
        parent = self.scope.secret_path
        while parent != "/":
            parent = parent.rpartition("/")[0] or "/"
            try:
                folders = self.api.folders(replace(self.scope, secret_path=parent))
            except InfisicalError as error:
                if not isinstance(error, ScopeMissing):
                    return ""
                continue
            # Servers of 2026 give an empty list for a parent that is missing.
            if folders:
                return f" Folders in '{parent}': {named(folder.name for folder in folders)}."
        return ""

    def _folder(self) -> Folder | None:
        """The folder of the scope's path, None where it or a parent is missing; asked of its parent."""
        path = self.scope.secret_path
        parent = replace(self.scope, secret_path=path.rpartition("/")[0] or "/")
        try:
            return next((folder for folder in self.api.folders(parent) if folder.path == path), None)
        except InfisicalError as error:
            if isinstance(error, ScopeMissing):
                return None
            raise

    def _explained(self, error: InfisicalError) -> InfisicalError:
        """The same error, or what `problem` found where something of the scope is missing."""
        if not isinstance(error, ScopeMissing):
            return error
        return self.problem() or error

    # Writing secrets

    def put(
        self,
        wanted: Secret,
        *,
        update_value: UpdateValue = "always",
        check: bool = False,
        known: Known | None = None,
    ) -> Report:
        """Make the secret be as `wanted` (value not None): create, on conflict update; nothing is sent in check mode.

        With `update_value` `on_create` a stored value stays as it is, also one that another writer stores meanwhile.
        Where the identity may not read values, the state file tells whether this one is the one last written; without
        a state file it is written every time. With `known`, the secret is not read before it is written.

        Raises InfisicalError, GUARD if Infisical rotates the value that would be replaced.
        """
        make_path = False
        if self.state is not None:
            self.state.check()
        try:
            before = self._before(wanted) if known is None else known.secret
        except InfisicalError as error:
            if isinstance(error, Forbidden):
                return self._put_unread(wanted, update_value, check)
            if not isinstance(error, ScopeMissing):
                raise
            self._check_creatable(error)
            before, make_path = None, True
        change = self._change(before, wanted, update_value)
        if change is None:
            return self._report(None, before, before, wanted, update_value)
        if check:
            self._tag_ids(wanted.tags)
            expected = self.expected(before, change.after or wanted)
            return self._report(change.action, before, expected, wanted, update_value)
        if make_path:
            self._make_folder()
        try:
            return self._written(change, wanted, update_value)
        except InfisicalError as error:
            lost = error.uncertain
            if not lost and not isinstance(error, (Conflict, SecretMissing)):
                raise
            if lost:
                self.api.transport.pause(error)
        return self._settle(change, wanted, update_value, lost)

    def unchanged(self, before: Secret, wanted: Secret, update_value: UpdateValue = "always") -> Report | None:
        """What `put` reports if `before` is stored and nothing has to be done, else None. Nothing is sent."""
        if self._change(before, wanted, update_value) is not None:
            return None
        return self._report(None, before, before, wanted, update_value)

    def _settle(self, change: Change, wanted: Secret, update_value: UpdateValue, lost: bool) -> Report:
        """After another writer was quicker, or an answer was lost: look what is there now, and do what is left."""
        now = self._before(wanted)
        left = self._change(now, wanted, update_value)
        if left is None:
            ours = lost and now is not None and now.value is not None and same_value(now.value, wanted.value or "")
            return self._report("create" if ours else None, change.before, now, wanted, update_value)
        if now is None and change.action == "create" and not lost:
            # It conflicts with what this server does not show.
            if update_value == "on_create":
                return self._report(None, None, self.expected(None, wanted), wanted, update_value)
            left = Change("update", wanted.key, after=wanted)
        return self._written(left, wanted, update_value)

    def remove(self, key: str, *, check: bool = False, known: Known | None = None) -> Report:
        """Make the secret be absent; nothing is sent in check mode. With `known`, it is not looked for before.

        Raises InfisicalError, GUARD if Infisical rotates it.
        """
        before: Secret | None = None
        if self.state is not None:
            self.state.check()
        try:
            before = self._found(key, view_values=False) if known is None else known.secret
        except InfisicalError as error:
            if isinstance(error, Forbidden):
                before = Secret(key)  # may not read: deleting tells whether it was there
            elif isinstance(error, ScopeMissing):
                self._check_environment()  # in a folder that is missing, the secret is absent
            else:
                raise
        if before is not None:
            self.guard_rotated([Change("delete", key, before)])
        if check:
            return Report(None) if before is None else Report("delete", before)
        deleted, approval_id = (False, "") if before is None else self._delete(key)
        if self.state is not None and not approval_id:
            with after_writing(f"'{key}' was deleted from {self.scope}. {_NOT_NOTED}" if deleted else ""):
                self.state.forget(key)
        # What waits for an approval is still there.
        return Report("delete", before, before if approval_id else None, approval_id) if deleted else Report(None)

    def _delete(self, key: str) -> tuple[bool, str]:
        """Whether there was something to delete, and the id of the approval that the deletion waits for."""
        try:
            if needs_batch(key):
                return True, self._batch("DELETE", Secret(key)).approval_id
            return True, self.api.delete_secret(self.scope, key).approval_id
        except InfisicalError as error:
            if not isinstance(error, SecretMissing):
                raise self._explained(error) from None
            # Where the first answer was lost, it is we who deleted it.
            return error.after_loss, ""

    def guard_rotated(self, changes: Iterable[Change]) -> None:
        """Refuse changes that would break a rotation of Infisical's own: InfisicalError (GUARD)."""
        guard_rotated(changes, overwrite_rotated=self.overwrite_rotated)

    def apply(self, plan: Plan, *, log: Callable[[int, int], None] | None = None, make_path: bool = False) -> Applied:
        """Make the changes of a plan, of which each name is the secret's in Infisical: in batches where the server has
        them, else one by one. `log` is told how many of how many are done. `make_path` makes the scope's folder first.

        Raises ConfigurationError where a name, a value or the state file is wrong, and InfisicalError (GUARD) if it
        would break a rotation, before anything is sent; any other error is in the result. What is left or failed is
        done by applying a new plan.
        """
        self.guard_rotated(plan.changes)
        if self.state is not None:
            self.state.check()
        for change in plan.changes:
            if change.action == "create":  # what is stored already may have a name that we would not give
                check_name(change.key)
            if change.after is not None and change.after.value is not None:
                check_value(change.after.value, f"the value of '{change.key}'")
        return _Application(self, plan, log or (lambda done, total: None), make_path).run()

    def _before(self, wanted: Secret) -> Secret | None:
        """What is stored now; its value is hidden if the identity may see the secret and not read it.

        Raises InfisicalError, FORBIDDEN if it may not see it either.
        """
        try:
            return self._found_with_tags(wanted)
        except InfisicalError as error:
            if not isinstance(error, Forbidden) or self._names_refused:
                raise
        try:
            found = self._found_with_tags(wanted, view_values=False)
        except InfisicalError as error:
            self._names_refused = isinstance(error, Forbidden)
            raise
        return None if found is None else hide(found)

    def _found_with_tags(self, wanted: Secret, *, view_values: bool = True) -> Secret | None:
        found = self._found(wanted.key, view_values=view_values)
        if found is None or wanted.tags is None or found.tags is not None:
            return found
        # Servers of 2024 tell a secret's tags in a listing only.
        listed = merged(self.listing(view_values=view_values)).secrets.get(wanted.key)
        return found._replace(tags=listed.tags if listed is not None else ())

    def stored(self, *, explain: bool = True) -> Listing:
        """The folder's own secrets as a writer compares them: with hidden values if the identity may see the secrets
        and not read them. Without `explain`, an empty answer is not looked into.

        Raises InfisicalError, FORBIDDEN if it may not see them either.
        """
        listing = self.listing if explain else partial(self.api.list_secrets, self.scope)
        try:
            return listing()
        except Forbidden:
            pass
        try:
            seen = listing(view_values=False)
        except InfisicalError as error:
            self._names_refused = isinstance(error, Forbidden)
            raise
        return replace(seen, secrets=tuple(map(hide, seen.secrets)))

    def _check_creatable(self, error: InfisicalError) -> None:
        """Let a missing folder pass where it is to be made; raise what is missing otherwise, explained."""
        if not self.create_path:
            raise self._explained(error) from None
        self._check_environment()

    def _change(self, before: Secret | None, wanted: Secret, update_value: UpdateValue) -> Change | None:
        """What is to be done, None where nothing is."""
        target = wanted if before is None or update_value == "always" else wanted._replace(value=None)
        if before is not None and self._is_recalled(before, target):
            before = before._replace(value=target.value, hidden=False)
        if before is not None and before.rotated and not differs(before, Secret(wanted.key, target.value)):
            target = target._replace(value=None)  # it may be rotated before we write
        changes = build({} if before is None else {wanted.key: before}, {wanted.key: target}).changes
        self.guard_rotated(changes)
        return changes[0] if changes else None

    def _is_recalled(self, before: Secret, target: Secret) -> bool:
        """Whether the state file proves that a hidden value is the one wanted."""
        return before.hidden and self.state is not None and self.state.holds(target.key, target.value, before.version)

    def _put_unread(self, wanted: Secret, update_value: UpdateValue, check: bool) -> Report:
        """Create, on conflict update, for an identity that may write but not read.

        A conflict says that the secret is there; the state file says whether its value is the one wanted.
        """
        known = update_value == "on_create" or (self.state is not None and self.state.holds(wanted.key, wanted.value))
        warnings: tuple[str, ...] = ()
        if known and not (wanted.comment is None and wanted.tags is None and wanted.metadata is None):
            warnings = (_UNCOMPARED,)
        if self.state is None and update_value == "always":
            warnings = (UNREADABLE,)
        unchanged = Report(None, after=self._placed(Secret(wanted.key)), warnings=warnings)
        if check:
            problem = self.problem()
            if problem is not None:
                self._check_creatable(problem)
            return unchanged if known else Report("update", after=self._placed(wanted), warnings=warnings)
        change = Change("create", wanted.key, after=wanted)
        try:
            report = self._created_unseen(change, wanted, update_value)
        except Conflict:
            if known:
                return unchanged
            report = self._written(change._replace(action="update"), wanted, update_value)
        return replace(report, warnings=(*report.warnings, *warnings))

    def _created_unseen(self, change: Change, wanted: Secret, update_value: UpdateValue) -> Report:
        """Create, and once more where the first answer was lost; what the first one stored is then a conflict."""
        try:
            return self._written(change, wanted, update_value)
        except InfisicalError as error:
            if not error.uncertain:
                raise
            self.api.transport.pause(error)
        return self._written(change, wanted, update_value)

    def _written(self, change: Change, wanted: Secret, update_value: UpdateValue) -> Report:
        """Send one change, note it in the state file, and tell what is stored then."""
        target = change.after or wanted
        written = self._create(target) if change.action == "create" else self._update(target, change.before)
        if written.approval_id:
            return Report(change.action, change.before, change.before, written.approval_id)
        stored = written.secret
        if self.state is not None and target.value is not None:
            with after_writing(f"'{target.key}' was written to {self.scope}. {_NOT_NOTED}"):
                self.state.record(target.key, target.value, stored.version if stored is not None else 0)
        after = self.expected(change.before, target)
        if stored is not None:
            # As far as the answer of a write tells: servers leave out what they do not keep, and some leave out tags.
            after = after._replace(
                version=stored.version,
                id=stored.id,
                metadata=after.metadata if stored.metadata is None and self.api.version == "v4" else stored.metadata,
                encrypted_metadata=tuple(sorted({*after.encrypted_metadata, *stored.encrypted_metadata})),
                created_at=stored.created_at,
                updated_at=stored.updated_at,
            )
        return self._report(change.action, change.before, after, wanted, update_value)

    def _report(
        self,
        action: Action | None,
        before: Secret | None,
        after: Secret | None,
        wanted: Secret,
        update_value: UpdateValue,
    ) -> Report:
        """A report with what a person should be warned of."""
        warnings = []
        if before is not None and before.hidden and self.state is None and update_value == "always":
            warnings.append(UNREADABLE)
        told = before or after
        if wanted.metadata and told is not None and told.metadata is None:
            warnings.append("metadata: this server does not keep metadata of secrets.")
        return Report(action, before, after, warnings=tuple(warnings))

    def _placed(self, secret: Secret) -> Secret:
        return secret._replace(environment=self.scope.environment, secret_path=self.scope.secret_path)

    def expected(self, before: Secret | None, target: Secret) -> Secret:
        """What would be stored: what is None in `target` stays as it is in `before`."""
        base = before or Secret(target.key)
        return self._placed(target)._replace(
            version=base.version + 1,
            id=base.id,
            comment=base.comment if target.comment is None else trim(target.comment),
            tags=base.tags if target.tags is None else tuple(sorted(target.tags)),
            metadata=base.metadata if target.metadata is None else target.metadata,
            encrypted_metadata=_encrypted(target, before),
            created_at=base.created_at,
        )

    def _create(self, secret: Secret) -> Written:
        tag_ids = self._tag_ids(secret.tags)
        try:
            return self._create_once(secret, tag_ids)
        except ScopeMissing as error:
            self._check_creatable(error)
        self._make_folder()
        return self._create_once(secret, tag_ids)

    def _create_once(self, secret: Secret, tag_ids: Sequence[str] | None) -> Written:
        if needs_batch(secret.key):
            return self._batch("POST", secret, tag_ids)
        return self.api.create_secret(self.scope, secret, tag_ids)

    def _update(self, secret: Secret, before: Secret | None) -> Written:
        tag_ids = self._tag_ids(secret.tags)
        secret = _whole(secret, before)
        if needs_batch(secret.key):
            return self._batch("PATCH", secret, tag_ids)
        return self.api.update_secret(self.scope, secret, tag_ids)

    def _batch(self, method: str, secret: Secret, tag_ids: Sequence[str] | None = None) -> Written:
        try:
            return self.api.batch(method, self.scope, [secret], tag_ids)
        except (RouteMissing, RequestInvalid) as error:
            refused = error
        raise refused.reworded(
            f"name: {refused} A name of more than {LONGEST_NAME_IN_PATH} characters, and the names 'batch', '.' and "
            "'..', need the server's batch routes. Where it has none, use another name.",
            "",
        )

    def _tag_ids(self, slugs: Sequence[str] | None) -> list[str] | None:
        if not slugs:
            return None if slugs is None else []
        ids = self.api.tags(self.scope.project_id)
        missing = sorted(set(slugs) - set(ids))
        if missing:
            raise ConfigurationError(
                "tags",
                f"the project has no tag {', '.join(missing)}. Its tags are: {', '.join(sorted(ids)) or 'none'}. Make "
                "the tag in the project's settings first.",
            )
        return [ids[slug] for slug in sorted(set(slugs))]

    # Folders

    def put_folder(self, *, check: bool = False) -> bool:
        """Make the scope's folder be there, with its parents; true where it was (would be) made."""
        if self.scope.secret_path == "/":
            raise ConfigurationError("secret_path", "'/' is the root of the environment and always there.")
        if self._existing_folder() is not None:
            return False
        self._check_environment()
        return True if check else self._make_folder()

    def remove_folder(self, *, force: bool = False, check: bool = False) -> bool:
        """Make the scope's folder be absent; true where it was (would be) deleted.

        Raises ConfigurationError where it holds secrets or folders, unless `force`.
        """
        if self.scope.secret_path == "/":
            raise ConfigurationError("secret_path", "'/' is the root of the environment and cannot be deleted.")
        folder = self._existing_folder()
        if folder is None:
            # A mistyped environment has no such folder either.
            self._check_environment()
            return False
        if not force:
            secrets = len(self.api.list_secrets(self.scope, recursive=True, view_values=False).secrets)
            folders = len(self.api.folders(self.scope))
            if secrets or folders:
                raise ConfigurationError(
                    "force",
                    f"the folder '{self.scope.secret_path}' holds {secrets} secrets and {folders} folders, which would "
                    "go with it. Set force: true to delete them all.",
                )
        if check:
            return True
        try:
            self.api.delete_folder(self.scope, folder.id, force=force)
        except InfisicalError as error:
            if not force and isinstance(error, RequestInvalid) and error.status == 400:
                raise ConfigurationError(
                    "force",
                    f"the folder '{self.scope.secret_path}' holds something that this identity may not see, and that "
                    "would go with it. Set force: true to delete it all.",
                ) from None
            if not isinstance(error, ScopeMissing):
                raise
            return error.after_loss  # gone: by us where the first answer was lost, else by another writer
        return True

    def _make_folder(self) -> bool:
        """Make the folder of the scope's path; false where another writer was quicker."""
        try:
            self.api.create_folder(self.scope)
        except Conflict:
            return False
        return True

    def _existing_folder(self) -> Folder | None:
        try:
            return self._folder()
        except RouteMissing:
            pass
        raise RouteMissing(f"{self.api.transport.settings.url} has no routes for folders.", hint="")


def hide(secret: Secret) -> Secret:
    """The secret without its value, which the server was not asked for."""
    return secret._replace(value=None, hidden=True)


def _whole(secret: Secret, before: Secret | None) -> Secret:
    """What is sent to update `before`: metadata that are encrypted stay so."""
    if secret.metadata is not None:
        secret = secret._replace(encrypted_metadata=_encrypted(secret, before))
    if secret.value is None and before is not None and before.metadata is None:
        # Servers that know no metadata want the value with every update; to others nothing is written back.
        return secret._replace(value=before.value)
    return secret


def _encrypted(target: Secret, before: Secret | None) -> tuple[str, ...]:
    """The keys of the metadata that are encrypted when `target` is written over `before`."""
    stored = () if before is None else before.encrypted_metadata
    if target.metadata is None:
        return stored
    return tuple(sorted({key for key, _value in target.metadata} & {*target.encrypted_metadata, *stored}))


_METHODS: dict[Action, str] = {"create": "POST", "update": "PATCH", "delete": "DELETE"}
_MOST: dict[Action, int] = {"create": 1000, "update": 1000, "delete": 500}
"""Secrets in one batch: real servers take a second for that many deletions, and their time-outs are not known."""
_ROOM = BODY_LIMIT - 16 * 1024
"""Bytes of a batch's body that secrets may take; what is left is for the scope."""

_OTHER_WRITER = (Conflict, SecretMissing)
_OWN_FAULT = (RequestInvalid, TooLarge, *_OTHER_WRITER)
"""Conclusions about one secret, that say nothing of the next one."""


class _Application:
    """A plan on its way to the server: how it is cut into requests, what to do where one is refused, and the account.

    A batch is stored as a whole or not at all. One that meets another writer's changes, or whose answer is lost, is
    looked into, and what is left of it sent once more (`settle`); of one that is refused the bad secrets are found by
    halving it.
    """

    def __init__(self, remote: Remote, plan: Plan, log: Callable[[int, int], None], make_path: bool) -> None:
        self.remote = remote
        self.make_path = make_path
        self.api = remote.api
        self.log = log
        self.todo = {change.key: change for change in plan.changes}
        self.total = len(self.todo)
        self.written: list[str] = []
        self.pending: list[str] = []
        self.approvals: list[str] = []
        self.failed: dict[str, InfisicalError] = {}
        self.versions: dict[str, int] = {}
        self.unsaved: dict[str, tuple[str, int]] = {}
        self.gone: list[str] = []
        self.made_folder = False

    def run(self) -> Applied:
        """Send everything that can be sent."""
        error: InfisicalError | None = None
        try:
            if self.make_path:
                self._make_folder()
            # Deletions last: what ends early leaves too much rather than too little.
            for action in _METHODS:
                if action == "delete" and self.failed:  # one of them may have been to take the place of what would go
                    break
                self._send_all(action, list(self.todo.values()))
        except InfisicalError as fatal:
            error = fatal
        if error is not None:
            error = self._explained(error)
        return Applied(
            tuple(sorted(self.written)),
            tuple(sorted(self.pending)),
            tuple(self.approvals),
            {name: str(refused) for name, refused in sorted(self.failed.items())},
            tuple(sorted(set(self.todo) - set(self.failed))),
            error or next(iter(self.failed.values()), None),
            self.versions,
        )

    def _explained(self, error: InfisicalError) -> InfisicalError:
        try:
            return self.remote._explained(error)
        except InfisicalError:
            return error

    def _chunks(self, action: Action, changes: Iterable[Change]) -> Iterator[list[Change]]:
        """Those of `changes` that are an `action`, in as many batches as they need."""
        chunk: list[Change] = []
        used = 0
        for change in [change for change in changes if change.action == action]:
            size = batch_bytes(self._target(change))
            tagged = change.after is not None and change.after.tags is not None  # a batch has one set of tags for all
            if chunk and (len(chunk) == _MOST[action] or used + size > _ROOM or tagged):
                yield chunk
                chunk, used = [], 0
            chunk.append(change)
            used += size if not tagged else _ROOM
        if chunk:
            yield chunk

    @staticmethod
    def _target(change: Change) -> Secret:
        return Secret(change.key) if change.after is None else _whole(change.after, change.before)

    def _send_all(self, action: Action, changes: Iterable[Change]) -> None:
        for chunk in self._chunks(action, changes):
            try:
                self._send(chunk, settle=True)
            finally:
                self._save()

    def _save(self) -> None:
        state = self.remote.state
        if state is not None:
            state.record_many(self.unsaved)
            state.forget_many(self.gone)
        self.unsaved, self.gone = {}, []

    def _send(self, chunk: list[Change], *, settle: bool) -> None:
        if len(chunk) == 1 or self.api.has_batches is False:
            self._send_each(chunk, settle=settle)
            return
        try:
            self._batch(chunk)
        except InfisicalError as error:
            refused = error
        else:
            return
        if refused.uncertain and settle:
            self.api.transport.pause(refused)
            self._settle(chunk)
        elif isinstance(refused, _OTHER_WRITER):
            if settle:
                self._settle(chunk)
            else:
                self._send_each(chunk, settle=False)
        elif isinstance(refused, RouteMissing):
            self._send_each(chunk, settle=settle)
        elif isinstance(refused, TooLarge):
            self._halve(chunk, settle=settle)
        elif isinstance(refused, RequestInvalid):
            self._find_bad(chunk, settle=settle)
        elif (
            isinstance(refused, ScopeMissing)
            and chunk[0].action == "create"
            and self.remote.create_path
            and not self.made_folder
        ):
            self._make_folder()
            self._send(chunk, settle=settle)
        else:
            raise refused

    def _make_folder(self) -> None:
        """Make the scope's folder, once. Whether its environment exists is reported by the server's answer."""
        self.made_folder = True
        self.remote._make_folder()

    def _batch(self, chunk: list[Change]) -> None:
        secrets = [self._target(change) for change in chunk]
        written = self.api.batch(_METHODS[chunk[0].action], self.remote.scope, secrets)
        versions = {secret.key: secret.version for secret in written.secrets}
        for change in chunk:
            self._note(change, versions.get(change.key, 0), written.approval_id)
        self._tell()

    def _halve(self, chunk: list[Change], *, settle: bool) -> None:
        middle = (len(chunk) + 1) // 2
        for half in (chunk[:middle], chunk[middle:]):
            if half:
                self._send(half, settle=settle)

    def _find_bad(self, chunk: list[Change], *, settle: bool) -> None:
        """Write what is good in a chunk that is refused as a whole.

        A server without batch routes may take `batch` for a name and refuse it too, so one secret shows which it is:
        the first or, as that may be the bad one, the last.
        """
        for probe in (chunk[0], chunk[-1]):
            if self.api.has_batches is None:
                try:
                    self._batch([probe])
                except (*_OWN_FAULT, RouteMissing):
                    pass
                else:
                    chunk = [change for change in chunk if change is not probe]
        if self.api.has_batches:
            self._halve(chunk, settle=settle)
            return
        self._send_each(chunk, settle=settle)
        if not any(change.key in self.failed for change in chunk):
            self.api.has_batches = False

    def _send_each(self, chunk: list[Change], *, settle: bool) -> None:
        for change in chunk:
            try:
                self._send_one(change, settle=settle)
            except InfisicalError as error:
                missing = isinstance(error, RouteMissing) and needs_batch(change.key)
                if not isinstance(error, _OWN_FAULT) and not missing:
                    raise
                self.failed[change.key] = error
            self._tell()

    def _send_one(self, change: Change, *, settle: bool) -> None:
        """One change by the secret's own route: create, on conflict update; update, on missing create."""
        remote, target = self.remote, self._target(change)
        if change.action == "delete":
            _deleted, approval_id = remote._delete(change.key)
            self._note(change, 0, approval_id)
            return
        creates = change.action == "create"
        try:
            written = remote._create(target) if creates else remote._update(target, change.before)
        except InfisicalError as error:
            lost = error.uncertain and settle
            if not lost and not isinstance(error, Conflict if creates else SecretMissing):
                raise
            if lost:
                self.api.transport.pause(error)
        else:
            self._note(change, written.secret.version if written.secret else 0, written.approval_id)
            return
        if lost:
            self._settle([change])
            return
        written = remote._update(target, None) if creates else remote._create(target)
        self._note(change, written.secret.version if written.secret else 0, written.approval_id)

    def _settle(self, chunk: list[Change]) -> None:
        """After another writer was quicker, or an answer was lost: look what is there now, and do what is left."""
        try:
            now = merged(self.remote.stored(explain=False)).secrets
        except Forbidden:
            now = None
        if now is None:
            self._send_each(chunk, settle=False)
            return
        left: list[Change] = []
        for change in chunk:
            stored = now.get(change.key)
            current = {} if stored is None else {change.key: stored}
            changes = build(current, {} if change.after is None else {change.key: change.after}, prune=True).changes
            if changes:
                left.extend(changes)
            else:
                self._note(change, 0 if stored is None else stored.version)
        self.remote.guard_rotated(left)
        self._tell()
        for action in _METHODS:
            group = [change for change in left if change.action == action]
            if group:
                self._send(group, settle=False)

    def _note(self, change: Change, version: int, approval_id: str = "") -> None:
        name, value = change.key, self._target(change).value
        self.todo.pop(name, None)
        self.failed.pop(name, None)
        if approval_id:
            self.pending.append(name)
            if approval_id not in self.approvals:
                self.approvals.append(approval_id)
            return
        self.written.append(name)
        if change.after is None:
            self.gone.append(name)
            return
        if version:
            self.versions[name] = version
        if value is not None:
            self.unsaved[name] = (value, version)

    def _tell(self) -> None:
        self.log(len(self.written) + len(self.pending) + len(self.failed), self.total)


_CANNOT_TELL = (Forbidden, RouteMissing, RequestInvalid)

_NOT_NOTED = "Only its state file could not be written."
_UNCOMPARED = (
    "The identity may not read this secret, so comment, tags and metadata cannot be compared: they are written "
    "together with a new value only."
)
UNREADABLE = (
    "The identity may not read this secret, so it is written on every run and reported as changed. Give state_file, "
    "or let the identity read it."
)
"""The warning of a write that would change nothing perhaps, for one secret and for many."""
