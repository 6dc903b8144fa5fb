# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the options for a local vault, its key, and writing to it."""

from __future__ import annotations

from ansible_collections.keyfleet.infisical.plugins.doc_fragments.auth import plugin_options


class ModuleDocFragment:
    """Modules extend `keyfleet.infisical.vault` and, if they write, `keyfleet.infisical.vault.write`. Plugins extend
    `keyfleet.infisical.vault.plugins`."""

    DOCUMENTATION = r"""
options:
  vault_path:
    description:
      - The absolute path of the vault, which is an encrypted file. The directory of the vault must exist and belong to
        the user who opens the vault.
      - Required. It can be set as an argument, an Ansible variable, an environment variable, or in C(ansible.cfg).
    type: path
  key_file:
    description:
      - A file that contains the vault key, which is 32 random bytes. Other users must not be able to read the file.
      - One of O(key_file), O(key_credential), O(passphrase) and O(passphrase_file) is required. If an argument sets one
        of these options, values of the others in variables, the environment and C(ansible.cfg) are ignored.
    type: path
  key_credential:
    description:
      - The name of a systemd credential that contains the vault key.
      - The credential is read from the directory in E(CREDENTIALS_DIRECTORY). Root can also read it from
        C(/etc/credstore.encrypted), where C(systemd-creds) decrypts it.
    type: str
  passphrase:
    description:
      - The passphrase of the vault. For a new vault, it must have at least 8 characters.
      - Opening a vault with a key file is faster.
    type: str
  passphrase_file:
    description:
      - A file that contains the passphrase of the vault. Other users must not be able to read the file.
      - One newline at the end of the file is ignored. All other bytes are part of the passphrase, so the file must not
        start with a byte-order mark.
    type: path
notes:
  - The options for the vault can be set as arguments, as variables such as C(infisical_vault_path), as environment
    variables, or in C(ansible.cfg). These places are read on the controller, but the paths are on the task's host.
requirements:
  - cryptography >= 3.4.8
"""

    WRITE = r"""
options:
  create_key:
    description:
      - Create O(key_file) if it does not exist. However, if the vault already exists, a missing key file is an error,
        because a new key could not open the vault.
      - Keep a copy of the key elsewhere if the vault contains entries that are not in Infisical.
    type: bool
    default: false
  lock_wait:
    description:
      - The maximum time in seconds to wait while another process writes to the vault. If this time is exceeded, the
        task fails without changing anything.
    type: float
    default: 30.0
"""

    PLUGINS: str = plugin_options(DOCUMENTATION)
