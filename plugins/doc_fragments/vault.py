# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the options that say which local vault to open, with which key, and how to write to it."""

from __future__ import annotations

from ansible_collections.keyfleet.infisical.plugins.doc_fragments.auth import plugin_options


class ModuleDocFragment:
    """For modules `keyfleet.infisical.vault`, for those that write `.write` too, for plugins `.plugins`."""

    DOCUMENTATION = r"""
options:
  vault_path:
    description:
      - The absolute path of the vault, an encrypted file. Its directory must exist and belong to the user who opens it.
      - It is required, here or by one of the other ways to set it.
    type: path
  key_file:
    description:
      - A file with the vault's key, 32 random bytes that nobody else may read.
      - One of O(key_file), O(key_credential), O(passphrase) and O(passphrase_file) is required. Where a task or
        lookup names one of them itself, the others are not looked up anywhere else.
    type: path
  key_credential:
    description:
      - The name of a systemd credential that holds the vault's key. It is taken from the directory that
        E(CREDENTIALS_DIRECTORY) names; as root otherwise from C(/etc/credstore.encrypted) by C(systemd-creds).
    type: str
  passphrase:
    description:
      - The vault's passphrase. A new vault needs at least 8 characters. A key file is quicker to open, and no weaker
        than its 32 bytes.
    type: str
  passphrase_file:
    description:
      - A file with the vault's passphrase that nobody else may read. One newline at its end does not count. Every other
        byte does, also a byte-order mark, so write the file without one.
    type: path
requirements:
  - cryptography >= 3.4.8
"""

    WRITE = r"""
options:
  create_key:
    description:
      - Whether to make the O(key_file) where it is missing, as long as there is no vault either. The key of a vault
        that is there is never made anew, because nothing would open the vault then.
      - Keep a copy of the key elsewhere if the vault holds what Infisical does not.
    type: bool
    default: false
  lock_wait:
    description:
      - Seconds to wait for another process that is writing to the vault. After that the task fails, and has changed
        nothing.
    type: float
    default: 30.0
"""

    PLUGINS: str = plugin_options(DOCUMENTATION)
