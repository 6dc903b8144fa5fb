# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with the proof of an identity, such as tokens and private keys, which other programs write."""

from __future__ import annotations

import os
import stat

from ..core import files
from ..core.errors import ConfigurationError

LARGEST = 65_536
"""Maximum size of such a file in bytes. A larger file is something else."""


def read_proof(path: str, option: str, *, private: bool = True) -> bytes:
    """Return the content of a file that proves an identity. `option` is the option that contains the path.

    Links are followed, because Kubernetes mounts tokens as links. Raises ConfigurationError, which never quotes the
    content, if the path is relative, if the file is missing, empty, too large, or not a regular file, or if it is
    `private` and `refuse_shared` refuses it.
    """
    path = os.path.expanduser(path)
    if not os.path.isabs(path):
        raise ConfigurationError(option, f"must be an absolute path (got '{path}').")
    try:
        with open(path, "rb", opener=files.open_regular) as stream:
            if private:
                refuse_shared(path, option, os.fstat(stream.fileno()))
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigurationError(
            option, f"'{path}' does not exist on the host that logs in.",
            hint="Check the path. For lookups and modules, the controller logs in, and for the agent its host.",
        ) from None  # fmt: skip
    except OSError as error:
        hint = "Check the path, and whether the user who logs in can read the file."
        raise ConfigurationError(option, f"'{path}' cannot be read: {error.strerror}.", hint=hint) from None
    if not content.strip():
        raise ConfigurationError(option, f"'{path}' is empty.", hint="Check the program that writes this file.")
    if len(content) > LARGEST:
        raise ConfigurationError(
            option, f"'{path}' must have at most {LARGEST} bytes.", hint="Check the path: this is another file."
        )
    return content


def refuse_shared(path: str, option: str, status: os.stat_result) -> None:
    """Raise ConfigurationError if other users have access to a file whose mode this user can change.

    A file of another user or on a read-only file system has the mode that its platform has chosen. For example,
    Kubernetes mounts tokens for all users of a container. OpenSSH has the same rule for the owner of a private key.
    """
    if status.st_uid != os.geteuid() or not status.st_mode & 0o077:
        return
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return
    raise ConfigurationError(
        option, f"users other than its owner have rights to '{path}' (mode {stat.S_IMODE(status.st_mode):04o}).",
        hint=f"Find out who may have read it, then run: chmod 600 '{path}'",
    )  # fmt: skip
