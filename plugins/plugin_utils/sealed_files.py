# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted files that all processes of an Ansible run share, and locks between these processes."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import math
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import errors, files
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_table import get_run_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LOCK_TIMEOUT = 900.0
"""Seconds to wait for a lock. The holder of a lock needs less time for its requests, including retries. The waiting
processes use the results of these requests."""

FINAL = (errors.CredentialsRejected, errors.LockedOut)
"""After one of these errors, no task in the run logs in again, because three failures lock the identity for
everybody."""

METADATA_SECONDS = 60.0
"""Seconds after which the metadata service of a cloud is queried again if it did not respond."""

_NONCE = 12
"""Length of an AES-GCM nonce in bytes (NIST SP 800-38D, 8.2.1)."""

_OPENED: dict[str, tuple[tuple[int, int, int], Any]] = {}
"""The decrypted files keyed by path, each with the file's inode, modification time and size."""

_T = TypeVar("_T")


class SealedFiles:
    """JSON documents keyed by name, in files that only the credentials of one identity can decrypt."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        identity = json.dumps(settings.identity())
        if not settings.secret():  # the options can be guessed, also if they contain a password
            identity += get_run_secret()
        self._directory = directory
        self._cipher = _make_cipher(identity, directory)
        self.tag = make_tag(identity)

    def recall(self, name: str) -> Any:
        """Return the document with this name, or None. A file that cannot be decrypted counts as missing."""
        from cryptography.exceptions import InvalidTag

        path = self.path(name)
        try:
            status = path.stat()
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            opened = _OPENED.get(str(path))
            if opened is not None and opened[0] == version:
                return opened[1]
            sealed = files.read_regular(str(path))
        except OSError:
            return None
        try:
            content = json.loads(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], path.name.encode()))
        except (InvalidTag, ValueError):  # ValueError for a file that is shorter than a nonce
            return None
        _OPENED[str(path)] = (version, content)
        return content

    def note(self, name: str, content: Any) -> None:
        """Write the document with this name. If the disk is full, remove the older document instead."""
        if self.recall(name) == content:
            return
        make_private(self._directory)
        path = self.path(name)
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, json.dumps(content).encode(), path.name.encode())
        try:
            files.write_atomic(str(path), sealed, durable=False)
        except OSError:
            path.unlink(missing_ok=True)

    def once(self, name: str, look: Callable[[], _T | None], fetch: Callable[[], _T]) -> _T:
        """Return the result of `look` or, if that is None, of `fetch`. One process calls `fetch`, while the others wait
        and then call `look` again.

        An error of `fetch` is also raised in the waiting processes. A final error is also raised in all later
        processes, and a metadata service's error for `METADATA_SECONDS`, because its timeout would delay each task.
        """
        asked = time.time()
        found = look()
        if found is not None:
            return found
        with self.lock(name):
            found = look()
            if found is not None:
                return found
            self.raise_final(name, asked)
            try:
                return fetch()
            except errors.InfisicalError as error:
                self.note_failure(name, error)
                raise

    def raise_final(self, name: str, asked: float = math.inf) -> None:
        """Raise the error recorded under this name if the error is final or applies at `asked`."""
        failed = self.recall(f"{name}-failure")
        if failed is not None and (failed["final"] or failed["until"] >= asked):
            raise error_from_result(failed)

    def note_failure(self, name: str, error: errors.InfisicalError) -> None:
        """Record an error for the processes that wait for this name. A final error applies to all later processes
        too."""
        later = METADATA_SECONDS if isinstance(error, errors.MetadataUnreachable) else 0.0
        failure = {**error.as_failure(), "until": time.time() + later, "final": isinstance(error, FINAL)}
        self.note(f"{name}-failure", failure)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        make_private(self._directory)
        try:
            with files.lock_file(f"{self.path(name)}.lock", LOCK_TIMEOUT):
                yield
        except files.LockTimeout:
            raise errors.Unreachable(
                f"Another task of this run has waited for Infisical for more than {LOCK_TIMEOUT:g} seconds.",
                hint="Check that the server is available, or set lower timeouts and waits.",
            ) from None

    def path(self, name: str, kind: str = "sealed") -> Path:
        """Return the path of a file of this identity."""
        return self._directory / f"{name}-{self.tag}.{kind}"


def error_from_result(result: Mapping[str, Any]) -> errors.InfisicalError:
    """Return the error that a result reports (see `InfisicalError.as_failure`). The result may come from a host."""
    problem, hint = str(result.get("problem") or ""), str(result.get("hint") or "")
    return errors.rebuild_error(str(result["conclusion"]), problem, hint=hint, status=result.get("http_status"))


def make_private(directory: Path) -> None:
    """Create a directory that only its owner can open."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_tag(*parts: str) -> str:
    """Return a short hash for use in a file name."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _make_cipher(identity: str, directory: Path) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise errors.MissingLibrary("cryptography") from None
    # The directory exists for one run only, so the files of another run cannot be decrypted. This is the extraction
    # step of HKDF (RFC 5869, 2.2); importing it would take longer than everything else.
    return AESGCM(hmac.digest(str(directory).encode(), identity.encode(), "sha256"))
