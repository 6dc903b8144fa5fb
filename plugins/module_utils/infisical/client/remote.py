# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One location in Infisical as a store: read it, and change secrets or the folder to a desired state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Literal

from ..core.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    RequestInvalid,
    RouteMissing,
    ScopeMissing,
    after_writing,
)
from ..core.model import Known, Secret, check_name, check_value, pluralize
from ..core.plan import Action, Change, Plan, guard_rotated
from .apply import Application, Applied, Done, expect, find_tag_ids, plan_one
from .listing import Store
from .missing import check_environment, explain, find_folder
from .parsing import Folder

UpdateValue = Literal["always", "on_create"]

UNREADABLE = (
    "The identity is not allowed to read what it writes, so each run writes it and reports a change. Set state_file, "
    "or allow the identity to read."
)
"""The warning for writes that possibly change nothing."""

_UNCOMPARED = (
    "The identity is not allowed to read this secret, so comment, tags and metadata cannot be compared. They are only "
    "written together with a new value."
)


@dataclass(frozen=True)
class WriteResult:
    """The result of a write or, in check mode, the expected result. `action` is None if no change was necessary.

    `after` is the secret as stored or, in check mode, as expected, with the next version. With an `approval_id`,
    nothing is stored yet.
    """

    action: Action | None
    before: Secret | None = None
    after: Secret | None = None
    approval_id: str = ""
    warnings: tuple[str, ...] = ()


class Remote(Store):
    """One location, for reading and writing.

    With `create_path`, a missing folder is created. With `overwrite_rotated`, changes may break a rotation by
    Infisical. `state` is the state file for an identity without permission to read.
    """

    writes = True

    # Secrets

    def put(
        self,
        wanted: Secret,
        *,
        update_value: UpdateValue = "always",
        check: bool = False,
        known: Known | None = None,
    ) -> WriteResult:
        """Make a secret match `wanted`, which has a value. Check mode writes nothing.

        The secret is created or, if it exists, updated. If `update_value` is `on_create`, a stored value is kept, even
        if another writer has stored it in the meantime. If the identity is not allowed to read values, the state file
        shows whether the value was the last one written. Without a state file, the value is written every time. With
        `known`, the secret is not read before it is written.

        Raises GuardStopped if Infisical rotates the value that would be replaced.
        """
        keep_value = update_value == "on_create"
        before, can_look, make_path = None, True, False
        if self.state is not None:
            self.state.check()
        try:
            before = self.read_stored(wanted) if known is None else known.secret
        except Forbidden:
            can_look = False
        except ScopeMissing as error:
            if not self.create_path:
                raise explain(self.api, self.location, error, writes=True) from None
            check_environment(self.api, self.location)
            make_path = True
        unread = () if can_look else self._warn_unread(wanted, keep_value)
        change = plan_one(before, wanted, keep_value=keep_value, state=self.state)
        if change is None:
            return WriteResult(None, before, before, warnings=self._warn(before, wanted, keep_value))
        self.guard_rotated([change])
        if check and not can_look:
            self.check_location()
            recalled = self._recall(wanted, keep_value)
            after = self._place(Secret(wanted.key) if recalled else wanted)
            return WriteResult(None if recalled else "update", after=after, warnings=unread)
        if check:
            find_tag_ids(self.api, self.location.project_id, wanted.tags)
            after = expect(self.location, before, change.after or wanted)
            return WriteResult(change.action, before, after, warnings=self._warn(before or after, wanted, keep_value))
        done = self._apply_one(change, wanted, keep_value=keep_value, can_look=can_look, make_path=make_path)
        before = done.change.before
        if done.approval_id:
            return WriteResult(done.action, before, before, done.approval_id)
        stored = self._find_after(done)
        warnings = (*self._warn(before or stored, wanted, keep_value), *unread)
        return WriteResult(done.action, before, stored or self._place(Secret(wanted.key)), warnings=warnings)

    def compare(self, before: Secret, wanted: Secret, update_value: UpdateValue = "always") -> WriteResult | None:
        """Return the result of `put` if `before` is stored and no change is necessary, otherwise None.

        Sends no request.
        """
        keep_value = update_value == "on_create"
        change = plan_one(before, wanted, keep_value=keep_value, state=self.state)
        if change is None:
            return WriteResult(None, before, before, warnings=self._warn(before, wanted, keep_value))
        self.guard_rotated([change])
        return None

    def remove(self, key: str, *, check: bool = False, known: Known | None = None) -> WriteResult:
        """Delete a secret if it exists. Check mode deletes nothing. With `known`, the secret is not read first.

        Raises GuardStopped if Infisical rotates the secret.
        """
        before: Secret | None = None
        if self.state is not None:
            self.state.check()
        try:
            before = self._find(key, view_values=False) if known is None else known.secret
        except Forbidden:
            before = Secret(key)  # the deletion shows whether it exists
        except ScopeMissing:
            check_environment(self.api, self.location)  # in a missing folder, the secret is absent
        if before is None:
            if self.state is not None and not check:
                self.state.forget([key])
            return WriteResult(None)
        change = Change("delete", key, before)
        self.guard_rotated([change])
        if check:
            return WriteResult("delete", before)
        done = self._apply_one(change, None)
        if done.action is None:
            return WriteResult(None)
        # A secret whose deletion waits for an approval is still stored.
        return WriteResult("delete", before, before if done.approval_id else None, done.approval_id)

    def apply(self, plan: Plan, *, log: Callable[[int, int], None] | None = None, make_path: bool = False) -> Applied:
        """Make the changes in `plan`, in batches if the server supports them, otherwise one by one.

        The names in `plan` are the names in Infisical. `log` is called with the number of changes that are done and the
        total number. `make_path` creates the folder first. Before anything is sent, this method raises
        ConfigurationError for an invalid name, value or state file, and GuardStopped if a change would break a
        rotation. Any other error is in the result. For the changes that are left or failed, make a new plan.
        """
        self.guard_rotated(plan.changes)
        if self.state is not None:
            self.state.check()
        for change in plan.changes:
            if change.action == "create":  # a stored secret may have a name that we refuse
                check_name(change.key)
            if change.after is not None and change.after.value is not None:
                check_value(change.after.value, f"the value of '{change.key}'")
        return Application(self, log=log).run(plan.changes, make_path=make_path)

    def guard_rotated(self, changes: Iterable[Change]) -> None:
        """Raise GuardStopped if a change would break a rotation by Infisical."""
        guard_rotated(changes, overwrite_rotated=self.overwrite_rotated)

    def _apply_one(
        self,
        change: Change,
        wanted: Secret | None,
        *,
        keep_value: bool = False,
        can_look: bool = True,
        make_path: bool = False,
    ) -> Done:
        application = Application(self, keep_value=keep_value, can_look=can_look)
        applied = application.run([change], wanted=wanted, make_path=make_path)
        done = application.done.get(change.key)
        if applied.error is not None:
            verb = "was written to" if wanted is not None else "was deleted from"
            saved = f"'{change.key}' {verb} {self.location}, but the state file could not be written."
            with after_writing(saved if done is not None and done.action is not None else ""):
                raise applied.error
        return application.done[change.key]

    def _find_after(self, done: Done) -> Secret | None:
        """Return the secret as stored after a write, or None if it exists but cannot be seen."""
        change, _action, stored, _approval, sent = done
        if not sent:
            return stored
        after = expect(self.location, change.before, change.after or Secret(change.key))
        if stored is None:
            return after
        # Responses omit fields that the server does not store, and some omit tags.
        keeps_metadata = stored.metadata is None and self.api.version == "v4"
        return after._replace(
            version=stored.version,
            id=stored.id,
            metadata=after.metadata if keeps_metadata else stored.metadata,
            encrypted_metadata=tuple(sorted({*after.encrypted_metadata, *stored.encrypted_metadata})),
            created_at=stored.created_at,
            updated_at=stored.updated_at,
        )

    def _warn(self, stored: Secret | None, wanted: Secret, keep_value: bool) -> tuple[str, ...]:
        if stored is None:
            return ()
        warnings = []
        if stored.hidden and self.state is None and not keep_value:
            warnings.append(UNREADABLE)
        if wanted.metadata and stored.metadata is None:
            warnings.append("metadata: this server does not keep metadata of secrets.")
        return tuple(warnings)

    # Secrets that the identity is allowed to write, but not to see

    def _recall(self, wanted: Secret, keep_value: bool) -> bool:
        """Return True if an existing secret needs no write: its value is kept, or the state file records this value."""
        return keep_value or (self.state is not None and self.state.holds(wanted.key, wanted.value))

    def _warn_unread(self, wanted: Secret, keep_value: bool) -> tuple[str, ...]:
        if self.state is None and not keep_value:
            return (UNREADABLE,)
        compares = (wanted.comment, wanted.tags, wanted.metadata) != (None, None, None)
        return (_UNCOMPARED,) if compares and self._recall(wanted, keep_value) else ()

    def _place(self, secret: Secret) -> Secret:
        return secret._replace(environment=self.location.environment, secret_path=self.location.secret_path)

    # The folder

    def put_folder(self, *, check: bool = False) -> bool:
        """Create the folder and its parents. Returns whether it was created or, in check mode, would be created."""
        if self.location.secret_path == "/":
            raise ConfigurationError(
                "secret_path", "'/' is the root of the environment, which always exists.", hint="Name a folder."
            )
        if self._find_folder() is not None:
            return False
        check_environment(self.api, self.location)
        if not check:
            try:
                self.api.create_folder(self.location)
            except Conflict:  # another writer was faster
                return False
        return True

    def remove_folder(self, *, force: bool = False, check: bool = False) -> bool:
        """Delete the folder. Returns whether it was deleted or, in check mode, would be deleted.

        Raises ConfigurationError if the folder contains secrets or folders, unless `force` is true.
        """
        if self.location.secret_path == "/":
            raise ConfigurationError("secret_path", "'/' is the root of the environment and cannot be deleted.")
        folder = self._find_folder()
        if folder is None:
            check_environment(self.api, self.location)  # a mistyped environment has no such folder either
            return False
        if not force:
            secrets = len(self.api.list_secrets(self.location, recursive=True, view_values=False).secrets)
            folders = len(self.api.folders(self.location))
            if secrets or folders:
                content = f"{pluralize(secrets, 'secret')} and {pluralize(folders, 'folder')}"
                raise self._explain_content(f"{content}, which would be deleted with it")
        if check:
            return True
        try:
            self.api.delete_folder(self.location, folder.id, force=force)
        except RequestInvalid as error:
            if force or error.status != 400:
                raise
            raise self._explain_content("something that this identity is not allowed to see") from None
        except ScopeMissing as error:
            return error.after_loss  # deleted by us if an earlier response was lost, otherwise by another writer
        return True

    def _explain_content(self, content: str) -> ConfigurationError:
        problem = f"the folder '{self.location.secret_path}' contains {content}."
        return ConfigurationError("force", problem, hint="Set force: true to delete it with everything in it.")

    def _find_folder(self) -> Folder | None:
        try:
            return find_folder(self.api, self.location)
        except RouteMissing:
            pass
        raise RouteMissing(f"{self.api.transport.settings.url} has no routes for folders.", hint="")
