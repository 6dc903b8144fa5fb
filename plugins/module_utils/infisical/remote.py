# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Infisical as a store: read a scope, bring one secret or folder to what is wanted, and say what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .api import Api, Folder, Listing, Written
from .errors import Conclusion, ConfigurationError, InfisicalError, no_project
from .model import LONGEST_NAME_IN_PATH, Scope, Secret, same_value, trim
from .plan import Action, Change, build
from .state import StateFile

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
class Merged:
    """The secrets of a listing by name, and what a person should know about how they were chosen."""

    secrets: dict[str, Secret]
    warnings: tuple[str, ...] = ()


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

    A name that a server lists twice in one folder is taken from the newest row, with a warning. Raises InfisicalError
    (AMBIGUOUS) where a recursive listing has one name in several folders with different values.
    """
    chosen, warnings = _by_name(listing.secrets)
    for imported in reversed(listing.imports):
        more, more_warnings = _by_name(imported.secrets)
        warnings += more_warnings
        for key, secret in more.items():
            chosen.setdefault(key, secret)
    return Merged(chosen, tuple(warnings))


def listed(listing: Listing) -> Overview:
    """Every secret of a recursive listing and of what it imports, once for each environment, path and name."""
    chosen: dict[tuple[str, str, str], Secret] = {}
    warnings: list[str] = []
    folders: dict[tuple[str, str], list[Secret]] = {}
    for secret in (*listing.secrets, *(inner for imported in listing.imports for inner in imported.secrets)):
        folders.setdefault((secret.environment, secret.secret_path), []).append(secret)
    for place, secrets in folders.items():
        # Several folders may import the same one: its rows are the same then.
        by_name, more_warnings = _by_name({secret.id or str(n): secret for n, secret in enumerate(secrets)}.values())
        warnings += more_warnings
        chosen.update({(*place, key): secret for key, secret in by_name.items()})
    return Overview(tuple(chosen[place] for place in sorted(chosen)), tuple(warnings))


def _by_name(secrets: Iterable[Secret]) -> tuple[dict[str, Secret], list[str]]:
    chosen: dict[str, Secret] = {}
    warnings: list[str] = []
    for secret in secrets:
        other = chosen.get(secret.key)
        if other is None:
            chosen[secret.key] = secret
        elif other.secret_path != secret.secret_path:
            if other.value != secret.value or secret.hidden:
                paths = " and ".join(sorted((other.secret_path, secret.secret_path)))
                raise InfisicalError(
                    Conclusion.AMBIGUOUS,
                    f"The secret '{secret.key}' has different values in {paths}. Name the folder that is meant as "
                    "secret_path, without recursive.",
                )
            chosen[secret.key] = min(other, secret, key=lambda one: one.secret_path)
        else:
            chosen[secret.key] = max(other, secret, key=lambda one: (one.updated_at, one.version))
            warnings.append(
                f"The server lists the secret '{secret.key}' twice in {secret.secret_path}: the newest is used. "
                "Delete it and write it again to be rid of the other."
            )
    return chosen, warnings


class Remote:
    """One scope of an Infisical. Methods raise InfisicalError with the environments and folders that do exist."""

    def __init__(self, api: Api, scope: Scope, *, create_path: bool = False, state: StateFile | None = None) -> None:
        self.api = api
        self.scope = scope
        self.create_path = create_path
        self.state = state

    # Reading

    def listing(
        self,
        *,
        recursive: bool = False,
        include_imports: bool = False,
        expand_references: bool = False,
        view_values: bool = True,
    ) -> Listing:
        """Everything in the scope. An empty answer is looked into, because real servers answer a mistyped
        environment or path with one."""
        try:
            listing = self.api.list_secrets(
                self.scope,
                recursive=recursive,
                include_imports=include_imports,
                expand_references=expand_references,
                view_values=view_values,
            )
        except InfisicalError as error:
            raise self._explained(error) from None
        if not listing.secrets and not listing.imports:
            problem = self.problem()
            if problem is not None:
                raise problem
        return listing

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
            return merged(self.listing(**reading)).secrets.get(key)
        try:
            return self.api.get_secret(self.scope, key, **reading)
        except InfisicalError as error:
            if error.conclusion is Conclusion.SECRET_MISSING:
                return None
            raise

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
            return Overview(() if found is None else (found,))
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
        except InfisicalError as error:
            if error.conclusion not in _CANNOT_TELL:
                raise
            project = None
        else:
            if project is None:
                return no_project(scope.project_id)
            slugs = [environment.slug for environment in project.environments]
            if scope.environment not in slugs:
                return InfisicalError(
                    Conclusion.SCOPE_MISSING,
                    f"There is no environment '{scope.environment}' in project {scope.project_id}. Its environments "
                    f"are: {', '.join(slugs) or 'none'}. Set environment to one of these slugs.",
                )
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
            if error.conclusion in _CANNOT_TELL:
                return None
            raise
        if existing is not None:
            return None
        return InfisicalError(
            Conclusion.SCOPE_MISSING,
            f"There is no folder '{self.scope.secret_path}' in environment '{self.scope.environment}' of project "
            f"{self.scope.project_id}. Check secret_path, or make the folder: create_path: true where a secret is "
            "written, or the module keyfleet.infisical.infisical_folder.",
        )

    def _folder(self) -> Folder | None:
        """The folder of the scope's path, None where it or a parent is missing; asked of its parent."""
        path = self.scope.secret_path
        parent = replace(self.scope, secret_path=path.rpartition("/")[0] or "/")
        try:
            return next((folder for folder in self.api.folders(parent) if folder.path == path), None)
        except InfisicalError as error:
            if error.conclusion is Conclusion.SCOPE_MISSING:
                return None
            raise

    def _explained(self, error: InfisicalError) -> InfisicalError:
        """The same error, or what `problem` found where something of the scope is missing."""
        if error.conclusion is not Conclusion.SCOPE_MISSING:
            return error
        return self.problem() or error

    # Writing secrets

    def put(self, wanted: Secret, *, update_value: UpdateValue = "always", check: bool = False) -> Report:
        """Make the secret be as `wanted` (value not None): create, on conflict update; nothing is sent in check mode.

        With `update_value` `on_create` a stored value stays as it is, also one that another writer stores meanwhile.
        Where the identity may not read values, the state file tells whether this one is the one last written; without
        a state file it is written every time.
        """
        make_path = False
        if self.state is not None:
            self.state.check()
        try:
            before = self._found_with_tags(wanted)
        except InfisicalError as error:
            if error.conclusion is Conclusion.FORBIDDEN:
                return self._put_unread(wanted, update_value, check)
            if error.conclusion is not Conclusion.SCOPE_MISSING:
                raise
            self._check_creatable(error)
            before, make_path = None, True
        change = self._change(before, wanted, update_value)
        if change is None:
            return self._report(None, before, before, wanted, update_value)
        if check:
            self._tag_ids(wanted.tags)
            expected = self._expected(before, change.after or wanted)
            return self._report(change.action, before, expected, wanted, update_value)
        if make_path:
            self._make_folder()
        try:
            return self._written(change, wanted, update_value)
        except InfisicalError as error:
            lost = error.uncertain
            if not lost and error.conclusion not in (Conclusion.CONFLICT, Conclusion.SECRET_MISSING):
                raise
            if lost:
                self.api.transport.pause(error)
        return self._settle(change, wanted, update_value, lost)

    def _settle(self, change: Change, wanted: Secret, update_value: UpdateValue, lost: bool) -> Report:
        """After another writer was quicker, or an answer was lost: look what is there now, and do what is left."""
        now = self._found_with_tags(wanted)
        left = self._change(now, wanted, update_value)
        if left is None:
            ours = lost and now is not None and now.value is not None and same_value(now.value, wanted.value or "")
            return self._report("create" if ours else None, change.before, now, wanted, update_value)
        if now is None and change.action == "create" and not lost:
            # It conflicts with what this server does not show.
            if update_value == "on_create":
                return self._report(None, None, self._expected(None, wanted), wanted, update_value)
            left = Change("update", wanted.key, after=wanted)
        return self._written(left, wanted, update_value)

    def remove(self, key: str, *, check: bool = False) -> Report:
        """Make the secret be absent; nothing is sent in check mode."""
        before: Secret | None = None
        if self.state is not None:
            self.state.check()
        try:
            before = self._found(key, view_values=False)
        except InfisicalError as error:
            if error.conclusion is Conclusion.FORBIDDEN:
                before = Secret(key)  # may not read: deleting tells whether it was there
            elif error.conclusion is Conclusion.SCOPE_MISSING:
                self._check_environment()  # in a folder that is missing, the secret is absent
            else:
                raise
        if check:
            return Report(None) if before is None else Report("delete", before)
        deleted, approval_id = (False, "") if before is None else self._delete(key)
        if self.state is not None and not approval_id:
            self.state.forget(key)
        return Report("delete", before, approval_id=approval_id) if deleted else Report(None)

    def _delete(self, key: str) -> tuple[bool, str]:
        """Whether there was something to delete, and the id of the approval that the deletion waits for."""
        try:
            if needs_batch(key):
                return True, self._batch("DELETE", Secret(key)).approval_id
            return True, self.api.delete_secret(self.scope, key).approval_id
        except InfisicalError as error:
            if error.conclusion is not Conclusion.SECRET_MISSING:
                raise self._explained(error) from None
            # Where the first answer was lost, it is we who deleted it.
            return error.after_loss, ""

    def _found_with_tags(self, wanted: Secret) -> Secret | None:
        found = self._found(wanted.key)
        if found is None or wanted.tags is None or found.tags is not None:
            return found
        # Servers of 2024 tell a secret's tags in a listing only.
        listed = merged(self.listing()).secrets.get(wanted.key)
        return replace(found, tags=listed.tags if listed is not None else ())

    def _check_creatable(self, error: InfisicalError) -> None:
        """Let a missing folder pass where it is to be made; raise what is missing otherwise, explained."""
        if not self.create_path:
            raise self._explained(error) from None
        self._check_environment()

    def _change(self, before: Secret | None, wanted: Secret, update_value: UpdateValue) -> Change | None:
        """What is to be done, None where nothing is."""
        target = wanted if before is None or update_value == "always" else replace(wanted, value=None)
        if before is not None and self._is_recalled(before, target):
            before = replace(before, value=target.value, hidden=False)
        changes = build({} if before is None else {wanted.key: before}, {wanted.key: target}).changes
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
            warnings = (_UNREADABLE,)
        unchanged = Report(None, after=self._placed(Secret(wanted.key)), warnings=warnings)
        if check:
            problem = self.problem()
            if problem is not None:
                self._check_creatable(problem)
            return unchanged if known else Report("update", after=self._placed(wanted), warnings=warnings)
        change = Change("create", wanted.key, after=wanted)
        try:
            report = self._created_unseen(change, wanted, update_value)
        except InfisicalError as error:
            if error.conclusion is not Conclusion.CONFLICT:
                raise
            if known:
                return unchanged
            report = self._written(replace(change, action="update"), wanted, update_value)
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
            self.state.record(target.key, target.value, stored.version if stored is not None else 0)
        after = self._expected(change.before, target)
        if stored is not None:
            # As far as the answer of a write tells: servers leave out what they do not keep, and some leave out tags.
            after = replace(
                after,
                version=stored.version,
                id=stored.id,
                metadata=stored.metadata,
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
            warnings.append(_UNREADABLE)
        told = before or after
        if wanted.metadata and told is not None and told.metadata is None:
            warnings.append("metadata: this server does not keep metadata of secrets.")
        return Report(action, before, after, warnings=tuple(warnings))

    def _placed(self, secret: Secret) -> Secret:
        return replace(secret, environment=self.scope.environment, secret_path=self.scope.secret_path)

    def _expected(self, before: Secret | None, target: Secret) -> Secret:
        """What would be stored: what is None in `target` stays as it is in `before`."""
        base = before or Secret(target.key)
        return replace(
            self._placed(target),
            version=base.version + 1,
            id=base.id,
            comment=base.comment if target.comment is None else trim(target.comment),
            tags=base.tags if target.tags is None else tuple(sorted(target.tags)),
            metadata=base.metadata if target.metadata is None else target.metadata,
            created_at=base.created_at,
        )

    def _create(self, secret: Secret) -> Written:
        tag_ids = self._tag_ids(secret.tags)
        try:
            return self._create_once(secret, tag_ids)
        except InfisicalError as error:
            if error.conclusion is not Conclusion.SCOPE_MISSING:
                raise
            self._check_creatable(error)
        self._make_folder()
        return self._create_once(secret, tag_ids)

    def _create_once(self, secret: Secret, tag_ids: Sequence[str] | None) -> Written:
        if needs_batch(secret.key):
            return self._batch("POST", secret, tag_ids)
        return self.api.create_secret(self.scope, secret, tag_ids)

    def _update(self, secret: Secret, before: Secret | None) -> Written:
        tag_ids = self._tag_ids(secret.tags)
        if secret.value is None and before is not None and before.metadata is None:
            # Servers that know no metadata want the value with every update; to others nothing is written back.
            secret = replace(secret, value=before.value)
        if needs_batch(secret.key):
            return self._batch("PATCH", secret, tag_ids)
        return self.api.update_secret(self.scope, secret, tag_ids)

    def _batch(self, method: str, secret: Secret, tag_ids: Sequence[str] | None = None) -> Written:
        try:
            return self.api.batch(method, self.scope, [secret], tag_ids)
        except InfisicalError as error:
            if error.conclusion not in (Conclusion.ROUTE_MISSING, Conclusion.INVALID):
                raise
            refused = error
        raise InfisicalError(
            refused.conclusion,
            f"name: {refused} A name of more than {LONGEST_NAME_IN_PATH} characters, and the names 'batch', '.' and "
            "'..', need the server's batch routes. Where it has none, use another name.",
            status=refused.status,
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
            self.api.delete_folder(self.scope, folder.id)
        except InfisicalError as error:
            if error.conclusion is not Conclusion.SCOPE_MISSING:
                raise
            return error.after_loss  # gone: by us where the first answer was lost, else by another writer
        return True

    def _make_folder(self) -> bool:
        """Make the folder of the scope's path; false where another writer was quicker."""
        try:
            self.api.create_folder(self.scope)
        except InfisicalError as error:
            if error.conclusion is not Conclusion.CONFLICT:
                raise
            return False
        return True

    def _existing_folder(self) -> Folder | None:
        try:
            return self._folder()
        except InfisicalError as error:
            if error.conclusion is not Conclusion.ROUTE_MISSING:
                raise
        raise InfisicalError(Conclusion.ROUTE_MISSING, f"{self.api.transport.settings.url} has no routes for folders.")


_CANNOT_TELL = frozenset((Conclusion.FORBIDDEN, Conclusion.ROUTE_MISSING, Conclusion.INVALID))

_UNCOMPARED = (
    "The identity may not read this secret, so comment, tags and metadata cannot be compared: they are written "
    "together with a new value only."
)
_UNREADABLE = (
    "The identity may not read this secret, so it is written on every run and reported as changed. Give state_file, "
    "or let the identity read it."
)
