# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only way to write secrets: split a plan into requests, send them, and handle other writers and lost responses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Callable, NamedTuple

from ..core.answers import BODY_LIMIT
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
)
from ..core.model import LONGEST_NAME_IN_PATH, Location, Secret, same_value, trim
from ..core.plan import Action, Change, build, differs, guard_rotated
from ..vault.state import StateFile
from .api import Api, count_batch_bytes, needs_batch
from .listing import Store, merge
from .missing import explain
from .parsing import Written

_MOST: dict[Action, int] = {"create": 1000, "update": 1000, "delete": 500}
"""Maximum number of secrets in one batch. Real servers take a second for 500 deletions. Their timeouts are unknown."""
_ROOM = BODY_LIMIT - 16 * 1024
"""Number of bytes for the secrets in a batch's body. The rest is for the location."""

_OWN_FAULT = (RequestInvalid, TooLarge, Conflict, SecretMissing)
"""Errors about a single secret, after which other secrets can still be written."""


@dataclass(frozen=True)
class Applied:
    """The result of applying a plan. The name of each change is in one of `written`, `pending`, `failed` and `left`.

    `written` contains changes that are done, by us or by another writer in the meantime. `versions` contains the
    versions that the server returned, except for deleted secrets. `pending` contains changes that wait for an approval,
    and `approvals` the ids of these approvals. `failed` ({name: message}) contains changes that were refused
    individually. `left` contains changes that are not known to be written, because `error` ended the run. If no error
    ended the run, `error` is the first of the failures, or None.
    """

    written: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    error: InfisicalError | None = None
    versions: dict[str, int] = field(default_factory=dict)


class Done(NamedTuple):
    """A change that is done. `action` is None if another writer had already made the change, or if none was necessary.

    `stored` is the secret in the server's response. That is the response to the write if the change was `sent`,
    otherwise the response to the last read.
    """

    change: Change
    action: Action | None
    stored: Secret | None = None
    approval_id: str = ""
    sent: bool = True


def plan_one(
    before: Secret | None, wanted: Secret | None, *, keep_value: bool = False, state: StateFile | None = None
) -> Change | None:
    """Return the change from `before` to `wanted` (None means absent), or None if no change is necessary.

    With `keep_value`, a stored value is kept. A hidden value counts as equal to `wanted` if the state file proves it.
    """
    if wanted is None:
        return None if before is None else Change("delete", before.key, before)
    if before is None:
        return Change("create", wanted.key, after=wanted)
    if keep_value:
        wanted = wanted._replace(value=None)
    if before.hidden and state is not None and state.holds(wanted.key, wanted.value, before.version):
        before = before._replace(value=wanted.value, hidden=False)
    if before.rotated and not differs(before, Secret(wanted.key, wanted.value)):
        wanted = wanted._replace(value=None)  # Infisical may rotate it before we write
    return next(iter(build({wanted.key: before}, {wanted.key: wanted}).changes), None)


def expect(location: Location, before: Secret | None, target: Secret) -> Secret:
    """Return the expected secret after the write. Fields that are None in `target` stay as they are in `before`."""
    base = before or Secret(target.key)
    return target._replace(
        environment=location.environment,
        secret_path=location.secret_path,
        version=base.version + 1,
        id=base.id,
        comment=base.comment if target.comment is None else trim(target.comment),
        tags=base.tags if target.tags is None else tuple(sorted(target.tags)),
        metadata=base.metadata if target.metadata is None else target.metadata,
        encrypted_metadata=_keep_encrypted(target, before),
        created_at=base.created_at,
    )


def find_tag_ids(api: Api, project_id: str, slugs: Sequence[str] | None) -> list[str] | None:
    """Return the ids of tags, or None for None. Raises ConfigurationError if the project does not have one of the
    tags."""
    if not slugs:
        return None if slugs is None else []
    ids = api.tags(project_id)
    missing = sorted(set(slugs) - set(ids))
    if missing:
        raise ConfigurationError(
            "tags",
            f"the project has no tag {', '.join(missing)}. Its tags are: {', '.join(sorted(ids)) or 'none'}.",
            hint="Create the tag in the project's settings first.",
        )
    return [ids[slug] for slug in sorted(set(slugs))]


@dataclass(eq=False)
class Application:
    """Sends changes to the server. Each object is for one `run` only.

    A batch is stored completely or not at all. If another writer was faster, or if a response is lost, the stored
    secrets are read, and the remaining changes are sent once more. If a batch is refused, it is split in halves to find
    the invalid secrets. With `keep_value`, a stored value is kept. `can_look` is false if the identity is not even
    allowed to see names.
    """

    store: Store
    keep_value: bool = False
    can_look: bool = True
    log: Callable[[int, int], None] | None = None
    done: dict[str, Done] = field(default_factory=dict)
    failed: dict[str, InfisicalError] = field(default_factory=dict)
    _todo: dict[str, Change] = field(default_factory=dict)
    _wanted: dict[str, Secret | None] = field(default_factory=dict)
    _unsaved: list[Done] = field(default_factory=list)
    _made_folder: bool = False

    def __post_init__(self) -> None:
        self.api, self.location, self.state = self.store.api, self.store.location, self.store.state

    def run(self, changes: Iterable[Change], *, wanted: Secret | None = None, make_path: bool = False) -> Applied:
        """Send everything that can be sent.

        `wanted` is the desired state for a single change, if it has more fields than the change itself.
        """
        self._todo = {change.key: change for change in changes}
        self._wanted = {key: wanted or change.after for key, change in self._todo.items()}
        error: InfisicalError | None = None
        try:
            if make_path:
                self._make_folder()
            # Deletions come last, so that a run that ends early leaves too many secrets rather than too few.
            for action in _MOST:
                if action == "delete" and self.failed:  # a failed secret may replace one to delete
                    break
                for chunk in self._cut(action, self._todo.values()):
                    try:
                        self._send(chunk, look=True)
                    finally:
                        self._save()
        except InfisicalError as fatal:
            error = fatal
        if error is not None:
            with contextlib.suppress(InfisicalError):
                error = explain(self.api, self.location, error, writes=True)
        stored = {name: done.stored for name, done in self.done.items() if done.change.after is not None}
        return Applied(
            tuple(sorted(name for name, done in self.done.items() if not done.approval_id)),
            tuple(sorted(name for name, done in self.done.items() if done.approval_id)),
            tuple(dict.fromkeys(done.approval_id for done in self.done.values() if done.approval_id)),
            {name: str(refused) for name, refused in sorted(self.failed.items())},
            tuple(sorted(set(self._todo) - set(self.done) - set(self.failed))),
            error or next(iter(self.failed.values()), None),
            {name: secret.version for name, secret in stored.items() if secret is not None and secret.version},
        )

    def _cut(self, action: Action, changes: Iterable[Change]) -> Iterator[list[Change]]:
        """Split the changes with this `action` into batches."""
        chunk: list[Change] = []
        used = 0
        for change in [change for change in changes if change.action == action]:
            tagged = change.after is not None and change.after.tags is not None  # all of a batch gets the same tags
            size = _ROOM if tagged else count_batch_bytes(_complete(change))
            if chunk and (len(chunk) == _MOST[action] or used + size > _ROOM):
                yield chunk
                chunk, used = [], 0
            chunk.append(change)
            used += size
        if chunk:
            yield chunk

    def _send(self, chunk: list[Change], *, look: bool) -> None:
        if len(chunk) == 1 or self.api.has_batches is False:
            self._send_each(chunk, look=look)
            return
        try:
            self._request(chunk)
        except (Conflict, SecretMissing):
            left = self._find_left(chunk, lost=False) if look else None
        except RouteMissing:
            self._send_each(chunk, look=look)
            return
        except TooLarge:
            self._halve(chunk, look=look)
            return
        except RequestInvalid:
            self._find_bad(chunk, look=look)
            return
        except InfisicalError as error:
            if not (error.uncertain and look):
                raise
            self.api.transport.pause(error)
            left = self._find_left(chunk, lost=True)
        else:
            self._report_progress()
            return
        if left is None:
            self._send_each(chunk, look=False)
            return
        self._report_progress()
        for action in _MOST:
            group = [change for change in left if change.action == action]
            if group:
                self._send(group, look=False)

    def _halve(self, chunk: list[Change], *, look: bool) -> None:
        middle = (len(chunk) + 1) // 2
        for half in (chunk[:middle], chunk[middle:]):
            if half:
                self._send(half, look=look)

    def _find_bad(self, chunk: list[Change], *, look: bool) -> None:
        """Find the invalid secrets in a refused batch, and write the others.

        The refusal can have another cause: a server without batch routes treats `batch` as a secret's name. To find out
        whether the server has batch routes, a batch with only the first secret is sent and, if it is refused too, a
        batch with only the last secret.
        """
        for probe in (chunk[0], chunk[-1]):
            if self.api.has_batches is None:
                try:
                    self._request([probe], probe=True)
                except (*_OWN_FAULT, RouteMissing):
                    continue
                self._report_progress()
                chunk = [change for change in chunk if change is not probe]
        if self.api.has_batches:
            self._halve(chunk, look=look)
            return
        self._send_each(chunk, look=look)
        if not any(change.key in self.failed for change in chunk):
            self.api.has_batches = False

    def _send_each(self, chunk: list[Change], *, look: bool) -> None:
        for change in chunk:
            try:
                self._send_one(change, look=look)
            except _OWN_FAULT as error:
                self.failed[change.key] = error
            except RouteMissing as error:
                if not needs_batch(change.key):
                    raise
                self.failed[change.key] = error
            self._report_progress()

    def _send_one(self, change: Change, *, look: bool) -> None:
        """Send one change.

        If another writer was faster, or if the response is lost, read the secret and send the remaining change.
        """
        lost = False
        try:
            self._request([change])
            return
        except SecretMissing as error:
            if change.action == "create":
                raise
            if change.action == "delete":  # by us if an earlier response was lost
                self._note(Done(change, "delete" if error.after_loss else None, sent=False))
                return
        except Conflict:
            if change.action != "create":
                raise
        except InfisicalError as error:
            if not (error.uncertain and look):
                raise
            self.api.transport.pause(error)
            lost = True
        left = self._find_left([change], lost=lost) if look else None
        if left == []:
            return
        if left and (lost or left[0].action != "create" or change.action != "create"):
            self._send_one(left[0], look=False)
        elif lost:
            self._send_one(change, look=False)
        else:
            self._write_over(change)

    def _write_over(self, change: Change) -> None:
        """Update a secret that cannot be created, or create one that cannot be updated, without reading it first."""
        wanted = self._wanted[change.key]
        if wanted is None or change.action != "create":
            self._request([Change("create", change.key, after=wanted)])
            return
        recalled = not self.can_look and self.state is not None and self.state.holds(change.key, wanted.value)
        if self.keep_value or recalled:
            self._note(Done(change, None, sent=False))
        else:
            self._request([Change("update", change.key, after=wanted)])

    def _find_left(self, chunk: list[Change], *, lost: bool) -> list[Change] | None:
        """Read the stored secrets, note the changes that are done, and return the remaining changes.

        Returns None if the identity is not allowed to see the secrets. `lost` is true if our own write, whose response
        was lost, may have made the changes.
        """
        if not self.can_look:
            return None
        try:
            now = self._look(chunk)
        except Forbidden:
            self.can_look = False
            return None
        left = []
        for change in chunk:
            wanted, stored = self._wanted[change.key], now.get(change.key)
            more = plan_one(stored, wanted, keep_value=self.keep_value, state=self.state)
            if more is not None:
                left.append(more)
            else:
                ours = lost and wanted is not None and _has_value(stored, wanted)
                self._note(Done(change, "create" if ours else None, stored, sent=False))
        guard_rotated(left, overwrite_rotated=self.store.overwrite_rotated)
        return left

    def _look(self, chunk: list[Change]) -> dict[str, Secret]:
        if len(chunk) > 1:
            return merge(self.store.stored()).secrets
        found = self.store.read_stored(self._wanted[chunk[0].key] or Secret(chunk[0].key))
        return {} if found is None else {found.key: found}

    def _request(self, chunk: list[Change], *, probe: bool = False) -> None:
        """Send changes with the same action in one request, and note them. A missing folder is created, once."""
        secrets = [_complete(change) for change in chunk]
        tag_ids = find_tag_ids(self.api, self.location.project_id, secrets[0].tags)
        action = chunk[0].action
        batch = probe or len(chunk) > 1
        try:
            written = self._write(action, secrets, tag_ids, batch=batch)
        except ScopeMissing:
            if action != "create" or not self.store.create_path or self._made_folder:
                raise
            self._make_folder()
            written = self._write(action, secrets, tag_ids, batch=batch)
        stored = {secret.key: secret for secret in written.secrets}
        for change in chunk:
            self._note(Done(change, action, stored.get(change.key), written.approval_id))

    def _write(self, action: Action, secrets: list[Secret], tag_ids: list[str] | None, *, batch: bool) -> Written:
        if not batch and not needs_batch(secrets[0].key):
            return self.api.write(action, self.location, secrets[0], tag_ids)
        try:
            return self.api.batch(action, self.location, secrets, tag_ids)
        except (RouteMissing, RequestInvalid) as error:
            if batch:
                raise
            raise error.reworded(
                f"name: {error.problem} A name of more than {LONGEST_NAME_IN_PATH} characters, and the names "
                "'batch', '.' and '..', need the server's batch routes, which old servers lack.",
                "Use another name, or update Infisical.",
            ) from None

    def _make_folder(self) -> None:
        # The server's response to the write shows whether the environment exists.
        self._made_folder = True
        with contextlib.suppress(Conflict):  # another writer was faster
            self.api.create_folder(self.location)

    def _note(self, done: Done) -> None:
        self.done[done.change.key] = done
        self._unsaved.append(done)

    def _save(self) -> None:
        """Record the changes that are done in the state file."""
        unsaved, self._unsaved = [done for done in self._unsaved if not done.approval_id], []
        if self.state is None:
            return
        written: dict[str, tuple[str, int]] = {}
        for change, _action, stored, _approval, sent in unsaved:
            after = change.after
            if after is not None and after.value is not None and (sent or _has_value(stored, after)):
                written[change.key] = after.value, stored.version if stored is not None else 0
        self.state.record(written)
        self.state.forget(done.change.key for done in unsaved if done.change.after is None)

    def _report_progress(self) -> None:
        if self.log is not None:
            self.log(len(self.done) + len(self.failed), len(self._todo))


def _has_value(stored: Secret | None, wanted: Secret) -> bool:
    """Return whether the stored secret is known to have the value of `wanted`."""
    return stored is not None and stored.value is not None and same_value(stored.value, wanted.value or "")


def _complete(change: Change) -> Secret:
    """Return the secret to send for a change. Encrypted metadata stay encrypted."""
    secret, before = change.after, change.before
    if secret is None:
        return Secret(change.key)
    if secret.metadata is not None:
        secret = secret._replace(encrypted_metadata=_keep_encrypted(secret, before))
    if secret.value is None and before is not None and before.metadata is None:
        # Servers without metadata need the value in each update. On other servers, a value that was read is never
        # written back.
        return secret._replace(value=before.value)
    return secret


def _keep_encrypted(target: Secret, before: Secret | None) -> tuple[str, ...]:
    """Return the keys of the metadata that are encrypted after `target` is written over `before`."""
    stored = () if before is None else before.encrypted_metadata
    if target.metadata is None:
        return stored
    return tuple(sorted({key for key, _value in target.metadata} & {*target.encrypted_metadata, *stored}))
