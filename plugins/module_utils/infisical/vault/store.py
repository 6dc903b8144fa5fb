# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault: a host's secrets in one sealed file. Each write replaces the file, and keeps the previous generation."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from ..core import files
from ..core.errors import (
    ConfigurationError,
    InfisicalError,
    NewerVault,
    NotAVault,
    OlderGeneration,
    StorageFailed,
    TooLarge,
    WrongKey,
)
from ..core.model import Secret, check_name, check_value
from ..core.plan import Plan, build
from ..core.times import now
from . import format as vault_format
from . import keys
from .contents import Contents, Rows, change_entries, decode_head, decode_rows, encode
from .format import FORMAT, MAGIC, OVERHEAD, Header, seal
from .problems import damaged, missing, report_damage, way_back

LARGEST = 1 << 30
"""Maximum size of a vault file in bytes: 1 GiB, which AES-GCM can seal in one call."""

_LAST_GENERATION = (1 << 64) - 1


@dataclass(frozen=True)
class _Opened:
    header: Header
    data_key: bytes = field(repr=False)
    text: bytes = field(repr=False)
    contents: Contents


class Draft:
    """A vault that is locked for writing. `contents` is the current generation."""

    def __init__(self, vault: Vault, opened: _Opened) -> None:
        self.contents = opened.contents
        self._vault = vault
        self._header = opened.header
        self._data_key = opened.data_key

    def apply(self, plan: Plan, *, job: str = "", record: Mapping[str, Any] | None = None) -> Contents:
        """Write one generation with the changes in `plan`, and store `record` (JSON data) as the record of `job`.

        From then on, the changed entries belong to `job` (empty for a manual change), with the current time. If a
        changed entry belonged to another job, the record of that job is dropped, because the record (such as the ETag
        of a listing) no longer describes that job's entries. If there are no changes, and `record` is None or equals
        the stored record, nothing is written. Raises InfisicalError, such as StorageFailed, ConfigurationError or
        ValueHidden; the old generation then stays.
        """
        before = self.contents
        touched = {change.before.job for change in plan.changes if change.before is not None}
        jobs = {name: stored for name, stored in before.jobs.items() if name == job or name not in touched}
        if record is not None:
            jobs[job] = json.loads(json.dumps(record))
        if not plan.changes and jobs == before.jobs:
            return before
        if before.generation >= _LAST_GENERATION:
            raise damaged(self._vault.path, "its generation number cannot be increased any further")
        origins, rows = change_entries(before, plan, job, now())
        header = self._header._replace(generation=before.generation + 1)
        self._vault._replace(header, self._data_key, encode(jobs, origins, rows))
        self.contents = Contents(
            before.vault_id, header.generation, jobs, before.hash_key, origins, len(rows), lambda: rows
        )
        return self.contents


class Vault:
    """The vault file at `path`, which is opened with `keys`.

    `lock_wait` is the number of seconds to wait for another writer. `recorded()` returns a vault's id in hex and its
    highest generation, as recorded in the state file. An older generation of this vault is refused.

    Every method raises InfisicalError: VaultMissing, UnsafeFile, NotAVault, NewerVault, WrongKey, VaultDamaged,
    OlderGeneration, StorageFailed and, for writers, Busy. The message contains the file's path, but no value. Readers
    take no lock, and always read one complete generation.
    """

    def __init__(
        self,
        path: str,
        keys: keys.KeySource,
        *,
        lock_wait: float = 30.0,
        recorded: Callable[[], tuple[str, int]] = lambda: ("", 0),
    ) -> None:
        if not path:
            raise ConfigurationError("vault_path", "must not be empty.")
        self.path = os.path.abspath(path)
        self.previous = self.path + ".previous"
        self._keys = keys
        self._lock_wait = lock_wait
        self._recorded = recorded
        self._stretched: tuple[tuple[object, ...], bytes] | None = None

    def own_files(self) -> tuple[str, ...]:
        """Return the paths of the vault, its previous generation, and its locks for writers and for syncs."""
        return tuple(self.path + end for end in ("", ".previous", ".lock", ".cycle.lock"))

    def exists(self) -> bool:
        """Return whether the vault or its previous generation exists."""
        return os.path.lexists(self.path) or os.path.lexists(self.previous)

    def check_exists(self) -> None:
        """Raise VaultMissing if the vault does not exist, even if its previous generation does."""
        with contextlib.suppress(PermissionError):
            try:
                os.lstat(self.path)
            except (FileNotFoundError, NotADirectoryError):
                raise missing(self.path) from None

    def is_opened_by(self, source: keys.KeySource) -> bool:
        """Return whether this key or passphrase opens the vault. Raises InfisicalError if the vault cannot be read."""
        try:
            Vault(self.path, source).read()
        except WrongKey:
            return False
        return True

    def read(self) -> Contents:
        """Return the current generation."""
        return self._open().contents

    @contextlib.contextmanager
    def writing(self, *, create: bool = False) -> Iterator[Draft]:
        """Context manager: hold the writers' lock.

        If there is no vault and `create` is true, the first `apply` creates the file.
        """
        with self._locked(create=create):
            yield Draft(self, self._new() if create and not self.exists() else self._open())

    def put(self, name: str, value: str, *, check: bool = False) -> tuple[Plan, Contents]:
        """Store one value for a user, not for a sync. Create the vault if it does not exist.

        An entry that already has this value still belongs to its job. Returns the plan and the contents after it. With
        `check`, nothing is written, and the returned contents are the ones before the plan.
        """
        return self._change(check_name(name), check_value(value), check)

    def remove(self, name: str, *, check: bool = False) -> tuple[Plan, Contents]:
        """Remove one entry for a user if it exists. `check` and the result are the same as for `put`."""
        return self._change(name, None, check)

    def _change(self, name: str, value: str | None, check: bool) -> tuple[Plan, Contents]:
        def plan(contents: Contents) -> Plan:
            before = contents.get(name)
            current = {} if before is None else {name: before}
            desired = {} if value is None else {name: Secret(name, value, synced_at=now())}
            return build(current, desired, prune=True, differs=lambda stored, wanted: stored.value != wanted.value)

        create = value is not None
        if check:
            contents = self._new().contents if create and not self.exists() else self.read()
            return plan(contents), contents
        with self.writing(create=create) as draft:
            planned = plan(draft.contents)
            return planned, draft.apply(planned)

    def verify(self) -> Contents:
        """Read everything in the current and, if it exists, the previous generation. Returns the current generation."""

        def attempt(path: str = "") -> Contents | InfisicalError:
            try:
                contents = self._open(path).contents
                contents.rows  # noqa: B018
            except InfisicalError as error:
                return error
            return contents

        previous = attempt(self.previous) if os.path.lexists(self.previous) else None
        current = attempt()
        if isinstance(current, InfisicalError):
            also = ""
            if isinstance(previous, InfisicalError):
                also = f" Its previous generation cannot be used either. {previous.problem}"
            elif previous is not None:
                also = f" Its previous generation, {self.previous}, is intact (generation {previous.generation})."
            raise current.reworded(current.problem + also)
        if isinstance(previous, InfisicalError):
            raise previous.reworded(
                f"The vault {self.path} is intact (generation {current.generation}), but its previous generation is "
                f"not. {previous.problem}",
                f"{previous.hint} The next change of the vault replaces the previous generation.".strip(),
            )
        return current

    def rekey(self, new: keys.KeySource, *, data: bool = False) -> Contents:
        """Seal the vault and its previous generation with another key or passphrase, which this object then uses.

        With `data`, the entries get a new data key too, and the previous generation is removed. The old key, together
        with an old file, then cannot open anything that is written later. If the rekey fails, the message states which
        key opens the vault, and this object uses that key.
        """
        keys.check_new_key(new)
        with self._locked(create=False):
            opened = self._open()
            data_key = vault_format.random_bytes(keys.KEY_BYTES) if data else opened.data_key
            header = self._wrapped(new, opened.header.vault_id, data_key)
            generation = opened.header.generation
            sealed = seal(header._replace(generation=generation + 1), data_key, opened.text)
            before = b"" if data else seal(header._replace(generation=generation), data_key, opened.text)

            def before_rename() -> None:
                # The new vault is already on the disk here, so a full disk cannot stop the rekey between the two files.
                if not data:
                    files.write_atomic(self.previous, before, owner=files.owner_of(self.path))
                elif os.path.lexists(self.previous):
                    os.unlink(self.previous)

            had_previous = os.path.lexists(self.previous)
            try:
                self._write(sealed, before_rename)
            except InfisicalError as error:
                is_new = _is_content(self.path, sealed)
                if is_new is False and before and _is_content(self.previous, before) is not False:
                    # The vault still has the old key, so its previous generation must not need the new one.
                    with contextlib.suppress(OSError):
                        files.keep(self.path, self.previous, owner=files.owner_of(self.path))
                is_removed = had_previous and not os.path.lexists(self.previous)
                lost = f" The previous generation, {self.previous}, was removed." if is_removed else ""
                if new == self._keys:
                    raise error.reworded(error.problem + lost) from None
                which = {True: "new", False: "old", None: "old or the new"}[is_new]
                self._keys = new if is_new else self._keys
                raise error.reworded(
                    f"{error.problem} The vault opens with the {which} key or passphrase.{lost}",
                    f"{error.hint} Keep both the old and the new one until a rekey has succeeded.".strip(),
                ) from None
            self._keys = new
            return self._contents(self.path, header._replace(generation=generation + 1), data_key, opened.text)

    # Opening

    def _open(self, path: str = "") -> _Opened:
        """Open the file at `path`, by default the vault."""
        if path:
            return self._open_file(path)
        try:
            vault_id, known = self._recorded()  # before the vault is read, because a writer writes the vault first
        except InfisicalError:
            self._open_file(self.path)  # both files are in one directory: the error of the vault explains more
            raise
        opened = self._open_file(self.path)
        if opened.contents.vault_id == vault_id and opened.header.generation < known:
            raise OlderGeneration(
                f"The vault {self.path} is generation {opened.header.generation}, but its state file records "
                f"generation {known}: an older file with outdated secrets was restored.",
                hint="Restore the newer file. To keep the older one, move the state file aside, and sync.",
            )
        return opened

    def _open_file(self, path: str) -> _Opened:
        try:
            raw = files.read_private(path, "vault", most=LARGEST + 1, begins=MAGIC)
        except FileNotFoundError:
            raise missing(path) from None
        if not raw.startswith(MAGIC):
            raise NotAVault(
                f"The file {path} is not a vault{'' if raw else ' (it is empty)'}.",
                hint=f"Check vault_path. If the path is correct, move the file away.{way_back(path)}",
            )
        if len(raw) > LARGEST:
            raise damaged(path, f"it is larger than {LARGEST >> 20} MiB, the maximum size of a vault")
        version = vault_format.read_version(raw)
        if version > FORMAT:
            raise NewerVault(
                f"The vault {path} has format {version}, but this version of keyfleet.infisical supports formats up to "
                f"{FORMAT}.",
                hint="Use the version of keyfleet.infisical that wrote the vault, or a later one.",
            )
        with report_damage(path):
            header = vault_format.read_header(raw)
        for wrapping in self._wrappings(self._keys, header, path):
            if vault_format.is_wrapped_by(header, wrapping):
                break
        else:
            raise WrongKey(
                f"Wrong key or passphrase for the vault {path}.",
                hint=f"Use the {header.kind} that the vault was created with, or that its last rekey set. If this "
                f"{header.kind} is lost, move {self.path} and, if it exists, {self.previous} away, and sync.",
            )
        with report_damage(path):
            data_key, text = vault_format.unseal(raw, header, wrapping)
            return _Opened(header, data_key, text, self._contents(path, header, data_key, text))

    @staticmethod
    def _contents(path: str, header: Header, data_key: bytes, text: bytes) -> Contents:
        jobs, origins, count, entries = decode_head(text)

        def load() -> Rows:
            with report_damage(path):
                return decode_rows(entries, len(origins), count)

        hash_key = vault_format.derive_hash_key(data_key, header.vault_id)
        return Contents(header.vault_id.hex(), header.generation, jobs, hash_key, origins, count, load)

    def _wrappings(self, source: keys.KeySource, header: Header, path: str) -> tuple[bytes, ...]:
        """Return the one or two secrets that may wrap the data key. A new vault is sealed with the first one."""
        if source.kind != header.kind:
            options = "key_file or key_credential" if header.kind == "key" else "passphrase or passphrase_file"
            raise WrongKey(
                f"Wrong key: the vault {path} is sealed with a {header.kind}, but a {source.kind} was given.",
                hint=f"Set {options} instead.",
            )
        secret = source.secret()
        if header.kind == "key":
            return keys.split_keys(secret)
        # The result is cached, because reading, writing and verifying need the same one.
        parameters = (secret, header.salt, header.cost)
        if self._stretched is None or self._stretched[0] != parameters:
            try:
                self._stretched = (parameters, keys.stretch(secret, header.salt, *header.cost))
            except MemoryError:
                n_log2, r, _p = header.cost
                raise StorageFailed(
                    f"There is not enough memory to check the passphrase of the vault {path}: scrypt needs "
                    f"{(128 * r << n_log2) >> 20} MiB.",
                    hint="Raise the memory limit, or rekey the vault on another machine.",
                ) from None
        return (self._stretched[1],)

    # Writing

    @contextlib.contextmanager
    def _locked(self, *, create: bool) -> Iterator[None]:
        if not create:
            self.check_exists()  # first, so that no lock file is left beside a missing vault
        lock = self.path + ".lock"
        busy = (
            f"Nothing was changed: another process is writing the vault {self.path}, and did not finish within "
            f"{self._lock_wait:g} seconds."
        )
        hint = f"Run this again later, set a larger lock_wait, or find the process: fuser -v {lock}"
        cannot = f"The vault {self.path} cannot be locked"
        with files.hold_lock(lock, self._lock_wait, busy, cannot, hint=hint, owner=files.owner_of(self.path)):
            files.sweep(self.path, self.previous)
            yield

    def _new(self) -> _Opened:
        """Return a vault with generation 0, which has no file yet."""
        problem = files.find_write_problem(os.path.dirname(self.path))
        if problem is not None:
            raise files.explain(problem, f"The vault {self.path} cannot be created", self.path)
        keys.check_new_key(self._keys)
        vault_id, data_key = vault_format.random_bytes(16), vault_format.random_bytes(keys.KEY_BYTES)
        header = self._wrapped(self._keys, vault_id, data_key)
        return _Opened(header, data_key, b"", self._contents(self.path, header, data_key, encode({}, (), {})))

    def _wrapped(self, source: keys.KeySource, vault_id: bytes, data_key: bytes) -> Header:
        header = vault_format.new_header(source.kind, vault_id)
        return vault_format.wrap(header, self._wrappings(source, header, self.path)[0], data_key)

    def _replace(self, header: Header, data_key: bytes, text: bytes) -> None:
        """Write a generation, and keep the current file as the previous one."""
        if len(text) > LARGEST - OVERHEAD:
            raise TooLarge(
                f"Nothing was changed: the vault {self.path} would be larger than {LARGEST >> 20} MiB.",
                hint="Sync fewer secrets into one vault.",
            )

        def before_rename() -> None:
            if os.path.lexists(self.path):
                files.keep(self.path, self.previous, owner=files.owner_of(self.path))

        self._write(seal(header, data_key, text), before_rename)

    def _write(self, sealed: bytes, before_rename: Callable[[], None]) -> None:
        ready = False

        def last() -> None:
            nonlocal ready
            before_rename()
            ready = True

        try:
            files.write_atomic(self.path, sealed, owner=files.owner_of(self.path), before_rename=last)
        except OSError as error:
            explained = files.explain(error, f"The vault {self.path} cannot be written", self.path)
            # The last step may fail after the new file is in place.
            outcome = {
                None: "It is not known whether the vault was changed.",
                True: "The vault is intact and contains the changes, but a power failure could undo them.",
                False: "The vault is intact and was not changed.",
            }[_is_content(self.path, sealed) if ready else False]
            raise explained.reworded(f"{explained.problem} {outcome}") from None


def _is_content(path: str, sealed: bytes) -> bool | None:
    """Return whether the file at `path` contains exactly `sealed`, or None if it cannot be read."""
    try:
        return files.read_regular(path) == sealed
    except FileNotFoundError:
        return False
    except OSError:
        return None
