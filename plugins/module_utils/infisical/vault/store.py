# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault: all secrets of a host in one sealed file that is replaced as a whole; vault_format.rst has its format."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..core import files
from ..core.errors import (
    ConfigurationError,
    InfisicalError,
    MissingLibrary,
    NewerVault,
    NotAVault,
    OlderGeneration,
    StorageFailed,
    TooLarge,
    ValueHidden,
    VaultDamaged,
    VaultMissing,
    WrongKey,
)
from ..core.model import Secret, check_name, check_value, is_text, is_whole, parse_json
from ..core.plan import Change, Plan
from ..core.times import now
from . import keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"KFVAULT\n"
FORMAT = 1

LARGEST = 1 << 30
"""Bytes of the largest vault file: a gibibyte, within what AES-GCM seals at once."""

NEW_COST = (15, 8, 1)
"""The scrypt cost of new vaults: log2 N, r, p. 32 MiB of memory and about 60 ms."""

_HEADER = struct.Struct(">8sHBBBB16s16sQ16s12s48s12s")
_FIXED = 46
"""Bytes of the header up to the salt: what the data key is wrapped for, and stays as long as the wrapping does."""
_TAG = 16
_KINDS: tuple[keys.Kind, ...] = ("key", "passphrase")
_LAST_GENERATION = (1 << 64) - 1

# An entry: value, where it is from (an index), name in Infisical or None for the same, id, version, time.
_Row = Sequence[Any]
_Origin = tuple[str, str, str, str]
_place_of: Callable[[Secret], tuple[str, str, str]] = attrgetter("project_id", "environment", "secret_path")


class _Header(NamedTuple):
    kind: keys.Kind
    cost: tuple[int, int, int]
    vault_id: bytes
    salt: bytes
    generation: int
    check: bytes
    wrap_nonce: bytes
    wrapped: bytes
    data_nonce: bytes

    def packed(self) -> bytes:
        return _HEADER.pack(
            MAGIC, FORMAT, _KINDS.index(self.kind), *self.cost, self.vault_id, self.salt, self.generation, self.check,
            self.wrap_nonce, self.wrapped, self.data_nonce,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Contents:
    """One generation of a vault. `jobs` has a record a job, `hash_key` (32 bytes) keys the hashes of a state file.

    The entries are parsed when they are first asked for, which raises InfisicalError (VAULT_DAMAGED) where they are
    not what the format says.
    """

    vault_id: str
    generation: int
    jobs: dict[str, dict[str, Any]] = field(repr=False)
    hash_key: bytes = field(repr=False)
    origins: tuple[_Origin, ...] = field(repr=False)
    count: int
    path: str
    _text: bytes = field(repr=False)

    @cached_property
    def rows(self) -> dict[str, _Row]:
        """The entries as they are stored, for who writes the next generation."""
        rows = _line(self._text)
        if not isinstance(rows, dict) or len(rows) != self.count or not _are_rows(rows, len(self.origins)):
            raise _damaged(self.path, "what is sealed in it is not what its format says")
        object.__setattr__(self, "_text", b"")  # ten thousand entries are some megabytes
        return rows

    @cached_property
    def secrets(self) -> dict[str, Secret]:
        """All entries by their names in the vault."""
        return {name: self._secret(name, row) for name, row in self.rows.items()}

    def of_job(self, job: str) -> dict[str, tuple[str, int, str]]:
        """What the state file knows of a job's entries: {name: (value, version, synced_at)}."""
        own = {number for number, origin in enumerate(self.origins) if origin[0] == job}
        return {name: (row[0], row[4], row[5]) for name, row in self.rows.items() if row[1] in own}

    def get(self, name: str) -> Secret | None:
        """The entry of this name, None where there is none."""
        row = self.rows.get(name)
        return None if row is None else self._secret(name, row)

    def _secret(self, name: str, row: _Row) -> Secret:
        value, origin, key, id_, version, synced_at = row
        job, project_id, environment, secret_path = self.origins[origin]
        return Secret(
            name if key is None else key, value, version, id_, secret_path, environment,
            project_id=project_id, job=job, synced_at=synced_at,
        )  # fmt: skip


class _Opened(NamedTuple):
    header: _Header
    data_key: bytes
    text: bytes
    contents: Contents


class Draft:
    """A vault that is being written: nobody else writes it meanwhile. `contents` is the present generation."""

    def __init__(self, vault: Vault, opened: _Opened) -> None:
        self.contents = opened.contents
        self._vault = vault
        self._header = opened.header
        self._data_key = opened.data_key

    def apply(self, plan: Plan, *, job: str = "", record: Mapping[str, Any] | None = None) -> Contents:
        """Write one generation with the changes of `plan`, and `record` (of JSON) as the record of `job`.

        What is written belongs to `job` (empty for a person) from now on, and was synced now.

        The record of every other job whose entries a change touches is dropped, because what it says of them (such as
        the ETag of their listing) is no longer so. Nothing is written where there are no changes and the record is
        None or the one that is stored. Raises InfisicalError (STORAGE, CONFIGURATION, HIDDEN); the old generation then
        stays.
        """
        before = self.contents
        touched = {change.before.job for change in plan.changes if change.before is not None}
        jobs = {name: stored for name, stored in before.jobs.items() if name == job or name not in touched}
        if record is not None:
            jobs[job] = json.loads(json.dumps(record))
        if not plan.changes and jobs == before.jobs:
            return before
        if before.generation >= _LAST_GENERATION:
            raise _damaged(self._vault.path, "its generation is the last one that can be counted")
        origins, rows = _changed(before, plan, job, now())
        head, text = _encoded(jobs, origins, rows)
        sealed = self._header._replace(generation=before.generation + 1)
        self._vault._replace(sealed, self._data_key, head + b"\n" + text)
        after = Contents(
            before.vault_id, sealed.generation, jobs, before.hash_key, origins, len(rows), before.path, b""
        )
        after.__dict__["rows"] = rows
        self.contents = after
        return after


class Vault:
    """A vault file at `path`, opened with what `keys` gives.

    `lock_wait` is how many seconds a writer waits for another one. `newest(vault_id)` gives the highest generation of
    a vault (its id in hex) that is known elsewhere, 0 where none is; a file with a lower one is refused.

    Every method raises InfisicalError, whose message names the file and what to do, and never a value:
    VAULT_MISSING, UNSAFE_FILE, NOT_A_VAULT, NEWER_VAULT, WRONG_KEY, VAULT_DAMAGED, OLDER_GENERATION, STORAGE, and
    BUSY for writers. Readers take no lock, and see all of one generation.
    """

    def __init__(
        self,
        path: str,
        keys: keys.KeySource,
        *,
        lock_wait: float = 30.0,
        newest: Callable[[str], int] | None = None,
    ) -> None:
        if not path:
            raise ConfigurationError("vault_path", "is empty: name the vault's file.")
        self.path = os.path.abspath(path)
        self.previous = self.path + ".previous"
        self._keys = keys
        self._lock_wait = lock_wait
        self._newest = newest
        self._stretched: tuple[tuple[object, ...], bytes] | None = None

    def own_files(self) -> tuple[str, ...]:
        """The paths of the vault's files: itself, the generation before, and the locks of writers and of cycles."""
        return tuple(self.path + end for end in ("", ".previous", ".lock", ".cycle.lock"))

    def exists(self) -> bool:
        """Whether there is something at the vault's path, or the generation before, from which to bring it back."""
        return os.path.lexists(self.path) or os.path.lexists(self.previous)

    def read(self) -> Contents:
        """The present generation."""
        return self._open().contents

    @contextlib.contextmanager
    def writing(self, *, create: bool = False) -> Iterator[Draft]:
        """Hold the lock of the vault's writers, with the present generation; where there is none and `create`, a new
        vault, which becomes a file with the first `apply`."""
        with self._locked(create=create):
            yield Draft(self, self._new() if create and not self.exists() else self._open())

    def put(self, name: str, value: str, *, check: bool = False) -> Plan:
        """Store one value on a person's behalf, in a new vault where there is none; `check` only tells the plan.

        An entry that has this value already stays as it is, also with the job that it belongs to.
        """
        name, value = check_name(name), check_value(value)

        def plan(contents: Contents) -> Plan:
            before = contents.get(name)
            if before is not None and before.value == value:
                return Plan((), (name,))
            after = Secret(name, value, synced_at=now())
            return Plan((Change("update" if before else "create", name, before, after),), ())

        return self._change(plan, check=check, create=True)

    def remove(self, name: str, *, check: bool = False) -> Plan:
        """Remove one entry; no change where there is none of this name. `check` only tells the plan."""

        def plan(contents: Contents) -> Plan:
            before = contents.get(name)
            return Plan((Change("delete", name, before),) if before else (), ())

        return self._change(plan, check=check, create=False)

    def _change(self, plan: Callable[[Contents], Plan], *, check: bool, create: bool) -> Plan:
        if check:
            if create and not self.exists():
                return plan(self._new().contents)
            return plan(self.read())
        with self.writing(create=create) as draft:
            planned = plan(draft.contents)
            draft.apply(planned)
            return planned

    def verify(self) -> Contents:
        """The present generation, after everything in it and in the one before, if that is there, has been read."""
        before: Contents | None = None
        problem: InfisicalError | None = None
        if os.path.lexists(self.previous):
            try:
                before = self._open(self.previous).contents
                before.rows  # noqa: B018
            except InfisicalError as error:
                problem = error
        try:
            contents = self.read()
            contents.rows  # noqa: B018
        except InfisicalError as error:
            also = ""
            if problem is not None:
                also = f" The generation before is no help either. {problem}"
            elif before is not None:
                also = f" {self.previous} has been read completely: it is whole, and is generation {before.generation}."
            raise error.reworded(f"{error}{also}", "") from None
        if problem is not None:
            raise problem.reworded(
                f"The vault {self.path} itself is whole (generation {contents.generation}), but the generation before "
                f"it, which is kept for emergencies, is not. {problem} The next change of the vault replaces it.",
                "",
            )
        return contents

    def uses(self, key: keys.KeySource) -> bool:
        """Whether this is the key or passphrase by which the vault is opened."""
        return key == self._keys

    def rekey(self, new: keys.KeySource, *, data: bool = False) -> None:
        """Seal the vault for another key or passphrase, also the generation before; from then on this object uses it.

        With `data`, the entries too are sealed under a new data key, and the generation before is removed: whoever had
        the old key and an old file can then read nothing of what is written later.

        Where it fails, the message says which key opens what, and this object uses the one that opens the vault.
        """
        keys.check_new_key(new)
        same = self.uses(new)
        with self._locked(create=False):
            opened = self._open()
            data_key = _random(keys.KEY_BYTES) if data else opened.data_key
            header = self._wrapped(new, opened.header.vault_id, data_key)
            generation = opened.header.generation
            sealed = _sealed(header._replace(generation=generation + 1), data_key, opened.text)
            before = b"" if data else _sealed(header._replace(generation=generation), data_key, opened.text)
            had_previous = os.path.lexists(self.previous)

            def before_rename() -> None:
                # When the new vault is whole on the disk, so that a full disk cannot come between the two.
                if not data:
                    files.write_atomic(self.previous, before, owner=files.owner_of(self.path))
                elif had_previous:
                    os.unlink(self.previous)

            try:
                self._write(self.path, sealed, before_rename)
            except BaseException as error:
                stands = self._stands(self.path, sealed)
                if stands:
                    self._keys = new
                elif stands is False and before and self._stands(self.previous, before) is not False:
                    # The way back of a vault with the old key is not to be one that only the new key opens.
                    with contextlib.suppress(OSError):
                        files.keep(self.path, self.previous, owner=files.owner_of(self.path))
                if not isinstance(error, InfisicalError):
                    raise
                told = self._opened_by(stands, before, had_previous, same=same)
                raise error.reworded(f"{error} {told}", "") from None
            self._keys = new

    def _opened_by(self, stands: bool | None, before: bytes, had_previous: bool, *, same: bool) -> str:
        """Which key opens what, after a rekey that failed."""
        if same:
            kept = {None: "Whether its data key has changed could not be found out.", True: "It has a new data key.",
                    False: "It keeps its data key."}  # fmt: skip
            told = f"{kept[stands]} It opens with the same key or passphrase as before."
        elif stands is None:
            return (
                "Whether the old or the new key or passphrase opens it could not be found out: keep both, and try both."
            )
        elif stands:
            told = (
                "It is sealed anew, and opens with the new key or passphrase only. Keep the old one too, until the "
                "vault has been changed once more. To run it again, give the new one as the present one."
            )
        else:
            told = "It opens with the old key or passphrase, as before, and not with the new one."
            if before and self._stands(self.previous, before) is not False:
                told += f" But {self.previous} may open with the new one only, until the next change replaces it."
        if had_previous and not os.path.lexists(self.previous):
            told += f" The generation before, {self.previous}, has been removed."
        return told

    # Opening

    def _open(self, path: str = "") -> _Opened:
        """The file at `path`, the vault by default. Raises InfisicalError."""
        if path or self._newest is None:
            return self._opened(path or self.path)
        opened = self._opened(self.path)
        known = self._newest(opened.contents.vault_id)
        if opened.header.generation < known:
            # A writer may have ended between the reading and the asking: what is known was written before it was asked.
            opened = self._opened(self.path)
        if opened.header.generation < known:
            raise OlderGeneration(
                f"The vault {self.path} is generation {opened.header.generation}, but generation {known} of it has "
                "been here: somebody put an old file back, and secrets that have been replaced since would be used "
                "again. Put the newer file back; or if the old one is meant, as after restoring a backup, move the "
                "state file aside, which knows of the newer one, and run a sync.",
            )
        return opened

    def _opened(self, path: str) -> _Opened:
        cipher = _cipher()
        raw = self._raw(path)
        header = self._header(path, raw)
        packed = raw[: _HEADER.size]
        for wrapping in self._wrappings(self._keys, header, path):
            if hmac.compare_digest(_check_value(wrapping, header.salt), header.check):
                break
        else:
            given = "passphrase" if header.kind == "passphrase" else "key"
            raise WrongKey(
                f"Wrong key or passphrase: the vault {path} was made with another {given}. Give the one that it was "
                "made with, or that it got from its last rekey. Without it nobody can read the vault: then move it "
                "away, and let a sync make a new one.",
            )
        from cryptography.exceptions import InvalidTag

        try:
            data_key = cipher(_wrapping_key(wrapping, header.salt)).decrypt(
                header.wrap_nonce, header.wrapped, packed[:_FIXED]
            )
            # A copy, because cryptography 3.4 takes no memoryview.
            text = cipher(data_key).decrypt(header.data_nonce, raw[_HEADER.size :], packed)
        except InvalidTag:
            raise _damaged(path, "the key is right, but the file is not as it was written") from None
        if header.generation == 0:
            raise _damaged(path, "its generation is 0")
        contents = _parsed(path, header, data_key, text)
        return _Opened(header, data_key, text, contents)

    def _raw(self, path: str) -> bytes:
        try:
            raw = files.read_private(path, "vault", most=LARGEST + 1, begins=MAGIC)
        except FileNotFoundError:
            raise self._missing(path) from None
        if not raw.startswith(MAGIC):
            raise NotAVault(
                f"The file {path} is not a vault{'' if raw else ', it is empty'}, and is left as it is. Name the "
                f"vault's path, or if a vault is to be there, move this file away.{_way_back(path)}",
            )
        if len(raw) > LARGEST:
            raise _damaged(path, f"it is larger than the {LARGEST >> 20} MiB that a vault can have")
        return raw

    def _missing(self, path: str) -> InfisicalError:
        way_back = _way_back(path)
        return VaultMissing(
            f"There is no vault at {path}. "
            + (
                f"But there was one.{way_back} To begin anew instead, move that file away."
                if way_back
                else "Check the path; a vault is made by the first sync, or by storing a first value with "
                "infisical-sync vault set."
            ),
        )

    def _header(self, path: str, raw: bytes) -> _Header:
        version = int.from_bytes(raw[8:10], "big") if len(raw) >= 10 else 0
        if version > FORMAT:
            raise NewerVault(
                f"The vault {path} has format {version}, and this version of keyfleet.infisical knows formats up to "
                f"{FORMAT}. Use the version that wrote it, or a later one. The vault is left as it is.",
            )
        if len(raw) < _HEADER.size + _TAG:
            raise _damaged(path, f"it ends after {len(raw)} bytes")
        _magic, _version, kind, n_log2, r, p, *rest = _HEADER.unpack_from(raw)
        cost = (n_log2, r, p)
        if version != FORMAT or kind >= len(_KINDS):
            raise _damaged(path, "its header names a format or a kind of key that does not exist")
        if _KINDS[kind] == "key" and cost != (0, 0, 0):
            raise _damaged(path, "its header names a cost of scrypt, although it is sealed with a key")
        if _KINDS[kind] == "passphrase" and not keys.is_allowed_cost(*cost):
            raise _damaged(
                path,
                f"its header asks for an absurd cost of scrypt (N=2^{n_log2}, r={r}, p={p}), which is refused, because "
                "computing it could use up this machine",
            )
        return _Header(_KINDS[kind], cost, *rest)

    def _wrappings(self, source: keys.KeySource, header: _Header, path: str) -> tuple[bytes, ...]:
        """The secrets, one or two, from which keys that wrap the data key are derived; a new vault takes the first."""
        if source.kind != header.kind:
            needed, given = ("a passphrase", "a key") if header.kind == "passphrase" else ("a key", "a passphrase")
            options = {"a passphrase": "passphrase or passphrase_file", "a key": "key_file or key_credential"}[needed]
            raise WrongKey(
                f"Wrong key: the vault {path} is sealed with {needed}, and {given} was given. Give {options} instead.",
            )
        secret = source.secret()
        if header.kind == "key":
            return keys.keys_in(secret)
        # Reading, writing and verifying would each compute it again.
        asked = (secret, header.salt, header.cost)
        if self._stretched is None or self._stretched[0] != asked:
            try:
                self._stretched = (asked, keys.stretch(secret, header.salt, *header.cost))
            except MemoryError:
                n_log2, r, _p = header.cost
                raise StorageFailed(
                    f"The passphrase of the vault {path} needs {(128 * r << n_log2) >> 20} MiB of memory for scrypt "
                    "(its header says so), and there is less. Raise the memory limit, or open it on another machine "
                    "and rekey it.",
                ) from None
        return (self._stretched[1],)

    # Writing

    @contextlib.contextmanager
    def _locked(self, *, create: bool) -> Iterator[None]:
        if not create:
            # Before a lock file is left beside nothing. What else may be wrong is told by the lock.
            with contextlib.suppress(PermissionError):
                try:
                    os.lstat(self.path)
                except (FileNotFoundError, NotADirectoryError):
                    raise self._missing(self.path) from None
        lock = self.path + ".lock"
        busy = (
            f"Another process is writing the vault {self.path}, and was not done within {self._lock_wait:g} seconds. "
            "Nothing was changed. Wait for it and run this again, or set a larger lock_wait; 'fuser "
            f"-v {lock}' tells which process it is."
        )
        cannot = f"The vault {self.path} cannot be locked"
        with files.held(lock, self._lock_wait, busy, cannot, owner=files.owner_of(self.path)):
            files.sweep(self.path, self.previous)
            yield

    def _new(self) -> _Opened:
        """A vault that is no file yet: generation 0, without entries."""
        problem = files.unwritable(os.path.dirname(self.path))
        if problem is not None:
            raise files.explained(problem, f"The vault {self.path} cannot be made", self.path)
        keys.check_new_key(self._keys)
        vault_id, data_key = _random(16), _random(keys.KEY_BYTES)
        header = self._wrapped(self._keys, vault_id, data_key)
        contents = Contents(vault_id.hex(), 0, {}, _hash_key(data_key, vault_id), (), 0, self.path, b"{}")
        return _Opened(header, data_key, b"", contents)

    def _wrapped(self, source: keys.KeySource, vault_id: bytes, data_key: bytes) -> _Header:
        """A header of generation 0 with the data key wrapped for `source`."""
        cipher = _cipher()
        cost = NEW_COST if source.kind == "passphrase" else (0, 0, 0)
        salt, nonce = _random(16), _random(12)
        header = _Header(source.kind, cost, vault_id, salt, 0, bytes(16), nonce, bytes(48), bytes(12))
        wrapping = self._wrappings(source, header, self.path)[0]
        wrapped = cipher(_wrapping_key(wrapping, salt)).encrypt(nonce, data_key, header.packed()[:_FIXED])
        return header._replace(check=_check_value(wrapping, salt), wrapped=wrapped)

    def _replace(self, header: _Header, data_key: bytes, text: bytes) -> None:
        """Write a generation; the present one becomes the one before."""
        if len(text) > LARGEST - _HEADER.size - _TAG:
            raise TooLarge(
                f"The vault {self.path} would be larger than {LARGEST >> 20} MiB, and was left as it is.",
                hint="Sync fewer secrets into one vault.",
            )

        def before_rename() -> None:
            if os.path.lexists(self.path):
                files.keep(self.path, self.previous, owner=files.owner_of(self.path))

        self._write(self.path, _sealed(header, data_key, text), before_rename)

    def _write(self, path: str, sealed: bytes, before_rename: Callable[[], None]) -> None:
        ready = False

        def last() -> None:
            nonlocal ready
            before_rename()
            ready = True

        try:
            files.write_atomic(path, sealed, owner=files.owner_of(self.path), before_rename=last)
        except OSError as error:
            explained = files.explained(error, f"The vault {self.path} cannot be written", path)
            holds = self._holds(sealed) if ready else "The vault is whole, and holds what it held before."
            raise explained.reworded(f"{explained} {holds}", "") from None

    def _holds(self, sealed: bytes) -> str:
        """What the vault holds after a write that failed: the last step may fail after the new file is in place."""
        stands = self._stands(self.path, sealed)
        if stands is None:
            return "Whether the vault holds the new entries or what it held before could not be found out."
        if stands:
            return "The vault is whole, and holds the new entries, which a loss of power now could undo."
        return "The vault is whole, and holds what it held before."

    @staticmethod
    def _stands(path: str, sealed: bytes) -> bool | None:
        """Whether the file at `path` is this one, None where it cannot be read."""
        try:
            return files.read_regular(path) == sealed
        except FileNotFoundError:
            return False
        except OSError:
            return None


def _random(count: int) -> bytes:
    """`count` random bytes; the one place, so that a test can write the vectors of the format's page."""
    return os.urandom(count)


def _cipher() -> type[AESGCM]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise MissingLibrary("cryptography") from None
    return AESGCM


def _check_value(wrapping: bytes, salt: bytes) -> bytes:
    return keys.derive(wrapping, salt, b"keyfleet vault check", 16)


def _wrapping_key(wrapping: bytes, salt: bytes) -> bytes:
    return keys.derive(wrapping, salt, b"keyfleet vault wrap", 32)


def _hash_key(data_key: bytes, vault_id: bytes) -> bytes:
    return keys.derive(data_key, vault_id, b"keyfleet vault state hash", 32)


def _sealed(header: _Header, data_key: bytes, text: bytes) -> bytes:
    header = header._replace(data_nonce=_random(12))
    packed = header.packed()
    return packed + _cipher()(data_key).encrypt(header.data_nonce, text, packed)


def _damaged(path: str, problem: str) -> InfisicalError:
    return VaultDamaged(
        f"The vault {path} is damaged: {problem}. It is left as it is.{_way_back(path) or _no_way_back(path)}",
    )


def _way_back(path: str) -> str:
    """How to use the generation before, where there is one."""
    previous = path + ".previous"
    if path.endswith(".previous") or not os.path.lexists(previous):
        return ""
    return (
        f" The generation before it is in {previous}. To go back to that, run: cp -p '{previous}' '{path}'; then move "
        "the state file aside, which knows the newer generation, and run a sync."
    )


def _no_way_back(path: str) -> str:
    if path.endswith(".previous"):
        return ""
    return (
        f" There is no {path}.previous to go back to. Restore a backup; or run: mv '{path}' '{path}.damaged', and let "
        "a sync make a new vault. What was only in this one is lost."
    )


def _parsed(path: str, header: _Header, data_key: bytes, text: bytes) -> Contents:
    first, newline, entries = text.partition(b"\n")
    try:
        head = _line(first)
        jobs, origins, count = head["jobs"], head["origins"], head["count"]
        sound = (
            newline == b"\n"
            and isinstance(jobs, dict)
            and all(isinstance(record, dict) for record in jobs.values())
            and isinstance(origins, list)
            and all(isinstance(origin, list) and [type(part) for part in origin] == [str] * 4 for origin in origins)
            and is_whole(count)
        )
    except (TypeError, KeyError):
        sound = False
    if not sound:
        raise _damaged(path, "what is sealed in it is not what its format says")
    return Contents(
        header.vault_id.hex(), header.generation, jobs, _hash_key(data_key, header.vault_id),
        tuple(tuple(origin) for origin in origins), count, path, entries,
    )  # fmt: skip


def _line(raw: bytes) -> Any:
    """One of the two lines of the text, None if it is not an object as JSON, with nothing around it."""
    try:
        return parse_json(raw) if raw[:1] == b"{" and raw[-1:] == b"}" else None
    except ValueError:
        return None


def _are_rows(rows: dict[str, Any], origins: int) -> bool:
    """Whether all entries have the types of the format, looked at column by column because that is quick."""
    if not rows:
        return True
    if not set(map(type, rows.values())) <= {list, tuple} or set(map(len, rows.values())) != {6}:
        return False
    values, indices, own_keys, ids, versions, times = (list(column) for column in zip(*rows.values()))
    return (
        all(map(is_text, (values, ids, times)))
        and {int} == set(map(type, indices)) == set(map(type, versions))
        and set(map(type, own_keys)) <= {str, type(None)}
        and 0 <= min(indices) <= max(indices) < origins
    )


def _changed(before: Contents, plan: Plan, job: str, time: str) -> tuple[tuple[_Origin, ...], dict[str, _Row]]:
    """The origins and entries after the changes of a plan, which `job` makes at `time`."""
    rows = dict(before.rows)
    for change in plan.changes:
        if change.after is None:
            rows.pop(change.key, None)
    written = [(change.key, change.after) for change in plan.changes if change.after is not None]
    index = {origin: number for number, origin in enumerate(before.origins)}
    places = list(map(_place_of, [secret for _name, secret in written]))
    number_of = {place: index.setdefault((job, *place), len(index)) for place in dict.fromkeys(places)}
    rows.update({
        name: [
            secret.value, number_of[place], None if secret.key == name else secret.key, secret.id, secret.version, time
        ]
        for (name, secret), place in zip(written, places)
    })  # fmt: skip
    origins = list(index)
    used = sorted({row[1] for row in rows.values()})
    if len(used) < len(origins):
        place_of = {old: new for new, old in enumerate(used)}
        rows = {name: (row[0], place_of[row[1]], *row[2:]) for name, row in rows.items()}
        origins = [origins[old] for old in used]
    return tuple(origins), rows


def _encoded(
    jobs: dict[str, dict[str, Any]], origins: tuple[_Origin, ...], rows: dict[str, _Row]
) -> tuple[bytes, bytes]:
    """The two lines that are sealed. Raises InfisicalError for what could not be read again, before it is written."""
    if not _are_rows(rows, len(origins)):
        unknown = [name for name, row in rows.items() if row[0] is None]
        if unknown:
            raise ValueHidden(f"The value of '{unknown[0]}' is not known, and was not stored. Nothing was changed.")
        wrong = next((name for name, row in rows.items() if not _are_rows({name: row}, len(origins))), "")
        raise ConfigurationError(f"{wrong!r}", "an entry of a vault has text as value, id and time, and a number as "
                                 "version. Nothing was changed.")  # fmt: skip
    head = {"jobs": jobs, "origins": origins, "count": len(rows)}
    try:
        return _json(head), _json(rows)
    except UnicodeEncodeError:
        # Its text and context would quote what is around the place.
        pass
    for name, row in rows.items():
        check_value(row[0], f"the value of {name!r}")
        for part in (name, *(part for part in row[2:] if isinstance(part, str))):
            check_value(part, f"the name, id or time of {name!r}")
    raise ConfigurationError("job", "a project, environment, path or job is no Unicode text. Nothing was changed.")


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), check_circular=False).encode("utf-8")
