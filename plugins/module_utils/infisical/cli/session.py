# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of the command: its options, and its vault, which is opened as the vault's owner."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..agent.config import CREDENTIALS, SyncConfig
from ..core.errors import ConfigurationError, InfisicalError
from ..core.options import BY_PLACE

if TYPE_CHECKING:
    import argparse

    from ..client.api import Api
    from ..core.model import Settings
    from ..vault.keys import KeySource
    from ..vault.state import StateFile
    from ..vault.store import Vault
    from .console import Console


class Session:
    def __init__(self, config: SyncConfig, arguments: argparse.Namespace, console: Console) -> None:
        self.config = config
        self.arguments = arguments
        self.console = console
        self._api: Api | None = None

    def get(self, section: str, name: str) -> Any:
        """Return the value of an option, or its default, or an empty text if it has neither."""
        value = self.config.get((section, name))
        default = BY_PLACE[section, name].default
        return value if value is not None else "" if default is None else default

    def require(self, section: str, name: str) -> str:
        """Return the value of an option. Raises ConfigurationError if it is not set."""
        value = self.get(section, name)
        if not value:
            raise self.explain_missing(section, name)
        return str(value)

    def explain_missing(self, section: str, name: str, more: str = "") -> ConfigurationError:
        """Return the error for an option that is not set. Its hint lists the ways to set the option, and ends with
        `more`."""
        option, file_option = BY_PLACE[section, name], BY_PLACE.get((section, name + "_file"))
        if self.config.job_file:  # a job's services ignore all other sources
            return ConfigurationError(
                option.argument, f"not set in {self.config.job_file}.",
                hint="Set it with the role scheduled_sync, which writes this file.",
            )  # fmt: skip
        ways = [option.long, file_option.long if file_option else "", *option.environment[:1]]
        ways += [f"the systemd credential {credential}" for credential, place in CREDENTIALS.items()
                 if file_option and place == file_option.place]  # fmt: skip
        ways = [*filter(None, ways), f"{name} under [{section}] in the configuration file"]
        return ConfigurationError(
            option.argument, f"not set ({option.help}).",
            hint=f"Set {', '.join(ways[:-1])}{' or ' if ways[1:] else ''}{ways[-1]}{more}.",
        )  # fmt: skip

    def get_server_options(self, section: str, *required: str) -> dict[str, Any]:
        """Return the fields of Settings. Raises ConfigurationError if the login or an option in `required` is not
        set."""
        from ..core.model import NotGiven, Settings
        from ..login.methods import method_for

        options = self.config.get_server_options(section)
        try:
            method_for(Settings.from_options(options))
        except NotGiven as error:
            more = "; or set INFISICAL_JWT or, for jwt_auth, --jwt-key-file" if error.option == "jwt_path" else ""
            raise self.explain_missing("infisical", error.option, more) from None
        for name in required:
            if not options.get(name):
                raise self.explain_missing("infisical", name)
        return options

    def connect(self, settings: Settings, **options: Any) -> Api:
        """Return the API of the server in `settings`. `options` are arguments of `client.api.connect`."""
        from ..client.api import connect

        self._api = connect(settings, log=self.console.log, debug=self.console.debug, **options)
        return self._api

    def close(self) -> None:
        """Revoke the token if the command logged in."""
        if self._api is not None:
            self._api.close()

    def get_key(self) -> KeySource:
        """Return the source of the vault's key. The key is not read yet."""
        from ..vault.keys import KEY_OPTIONS, key_source

        given = self.config.get_group("vault", KEY_OPTIONS)
        if not given:
            raise self.explain_missing(
                "vault", "key_file", ", or one of key_credential and passphrase_file in the same ways, or the systemd "
                "credential infisical_vault_key. Create a key with: infisical-sync vault keygen --key-file PATH",
            )  # fmt: skip
        return key_source(**given, credentials=self.config.credentials)

    def open_vault(
        self, *more_keys: KeySource, tolerant: bool = False, as_owner: bool = True
    ) -> tuple[Vault, StateFile]:
        """Return the vault and its state file. Root first reads the keys, and then permanently switches to the vault's
        owner."""
        from ..vault.session import open_vault

        path, key, state_file = self.require("vault", "path"), self.get_key(), self.get("vault", "state_file")
        if as_owner:
            become_owner(path, (key, *more_keys), tolerant=tolerant)
        return open_vault(path, key, state_file, lock_wait=self.get("vault", "lock_wait"), warn=self.console.warn)


def become_owner(path: str, keys: Iterable[KeySource] = (), *, tolerant: bool = False) -> None:
    """As root, read the keys and then permanently switch to the user and groups of the vault's owner.

    If the vault `path` does not exist yet, switch to the owner of its directory. So no file next to the vault will
    belong to root. Other users than root do not switch. Raises InfisicalError. If `tolerant` is true, an unreadable key
    is not an error.
    """
    if os.geteuid() != 0:
        return
    try:
        # If the vault is a link, switch to the link's owner, so that the creator of a link cannot select another user.
        info = os.lstat(path) if os.path.lexists(path) else os.stat(os.path.dirname(path))
    except OSError:
        return  # opening the vault gives a better error
    if info.st_uid == 0:
        return
    for key in keys:
        with contextlib.suppress(*([InfisicalError] if tolerant else [])):
            key.secret()
    import pwd

    try:
        user = pwd.getpwuid(info.st_uid)
        name, group = user.pw_name, user.pw_gid
    except KeyError:
        name, group = "", info.st_gid
    os.setgroups(os.getgrouplist(name, group) if name else [group])
    os.setresgid(group, group, group)
    os.setresuid(info.st_uid, info.st_uid, info.st_uid)
    unreadable = next((file for file in (os.__file__, __file__) if not os.access(file, os.R_OK)), "")
    if unreadable:  # otherwise, a later import would fail with a misleading error
        raise ConfigurationError(
            "vault_path", f"root switches to user {name or info.st_uid}, the owner of '{path}', who cannot read "
            f"{unreadable}.", hint="Use a Python installation and a copy of the command that all users can read.",
        )  # fmt: skip
