# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A vault on a test host, with its key and state file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.plan import build
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.keys import KeyFile, make_key_file
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import STATE_FILE
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.store import Vault

LOOKUP = "keyfleet.infisical.infisical_vault"


@dataclass(frozen=True)
class LocalVault:
    """A vault in a folder of its own. Its files do not exist until a run creates them."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "secrets.vault"

    @property
    def key(self) -> Path:
        return self.folder / "vault.key"

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables of a host that uses the vault."""
        return {"infisical_vault_path": str(self.path), "infisical_key_file": str(self.key)}

    @property
    def arguments(self) -> str:
        """Return the same as arguments of a task, for the inside of a YAML mapping in braces."""
        return f"vault_path: {self.path}, key_file: {self.key}"

    def open(self) -> Vault:
        """Open the vault with the library."""
        return local.open_vault(str(self.path), KeyFile(str(self.key)))[0]

    def values(self) -> dict[str, str | None]:
        """Return the contents of the vault."""
        return {name: secret.value for name, secret in self.open().read().secrets.items()}

    def hold(self, values: Mapping[str, str], job: str = "") -> LocalVault:
        """Add these values to the vault and return it."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        make_key_file(str(self.key))
        with self.open().writing(create=True) as draft:
            wanted = {name: Secret(name, value) for name, value in values.items()}
            draft.apply(build(draft.contents.secrets, wanted), job=job)
        return self

    def state(self) -> dict[str, Any]:
        """Return the contents of the state file."""
        return dict(json.loads((self.folder / STATE_FILE).read_text("utf-8")))
