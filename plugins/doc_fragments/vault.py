# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the options for a local vault, its key, and writing to it."""

from __future__ import annotations

from ansible_collections.keyfleet.infisical.plugins.doc_fragments.auth import plugin_options


class ModuleDocFragment:
    """For modules `keyfleet.infisical.vault`, with `.write` if they write; for plugins `.plugins`."""

    DOCUMENTATION = r"""
options:
  vault_path:
    description:
      - The absolute path of the vault, an encrypted file. Its directory must exist and belong to the user who opens it.
      - Required, as an argument or by another source of options.
    type: path
  key_file:
    description:
      - A file with the key of the vault, 32 random bytes. Other users must not be able to read it.
      - One of O(key_file), O(key_credential), O(passphrase) and O(passphrase_file) is required. If an argument sets one
        of them, the other sources of options are not searched for the rest.
    type: path
  key_credential:
    description:
      - The name of a systemd credential with the key of the vault. It is read from E(CREDENTIALS_DIRECTORY), or by root
        from C(/etc/credstore.encrypted) with C(systemd-creds).
    type: str
  passphrase:
    description:
      - The passphrase of the vault, for a new vault at least 8 characters. A key file opens the vault faster.
    type: str
  passphrase_file:
    description:
      - A file with the passphrase of the vault. Other users must not be able to read it.
      - One newline at its end is ignored. All other bytes count, so the file must not start with a byte-order mark.
    type: path
requirements:
  - cryptography >= 3.4.8
"""

    WRITE = r"""
options:
  create_key:
    description:
      - Create a missing O(key_file). If the vault already exists, a missing key is an error, because no other key can
        open the vault.
      - Keep a copy of the key elsewhere if the vault contains entries that Infisical does not have.
    type: bool
    default: false
  lock_wait:
    description:
      - The time in seconds to wait for another process that writes to the vault. After that, the task fails without a
        change.
    type: float
    default: 30.0
"""

    PLUGINS: str = plugin_options(DOCUMENTATION)
