# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the modules, of the command infisical-sync and of its configuration files, each defined once."""

from __future__ import annotations

import math
import os
import re
from typing import Any, NamedTuple

from .errors import ConfigurationError


class Option(NamedTuple):
    """An option: the key `name` in the section [`section`] of a configuration file.

    The section `file` stands for the numbered sections [file 1], [file 2] and so on.
    """

    section: str
    name: str
    type: str
    """An Ansible type, or `file` (a path that is not a directory), `octal`, or `command` (one or more lines of
    text)."""
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    """True if it may contain a credential. It is then not a command-line option, because other users can see
    arguments."""
    flag: bool = True
    """True if it is a command-line option, unless it is a secret."""
    vendor: tuple[str, ...] = ()
    """The environment variables of Infisical's own tools, which are read if our variable is not set."""

    @property
    def place(self) -> tuple[str, str]:
        return self.section, self.name

    @property
    def argument(self) -> str:
        """The option's name as a module argument."""
        return "vault_path" if self.place == ("vault", "path") else self.name

    @property
    def long(self) -> str:
        """The option's name on the command line, or empty text if it is not a command-line option."""
        if self.secret or not self.flag or self.section in _JOB_SECTIONS:
            return ""
        return "--vault" if self.place == ("vault", "path") else "--" + self.name.replace("_", "-")

    @property
    def environment(self) -> tuple[str, ...]:
        """The option's environment variables. The first one that is set is used."""
        if self.section in _JOB_SECTIONS:
            return ()
        prefix = "" if self.section in ("infisical", "vault") else self.section.upper() + "_"
        return (f"INFISICAL_{prefix}{self.argument.upper()}", *self.vendor)

    @property
    def description(self) -> str:
        """The help text, including the default."""
        if not self.default:
            return self.help
        default = f"{self.default:g}" if self.type == "float" else str(self.default)
        return f"{self.help}; default {default.lower() if self.type == 'bool' else default}"


_JOB_SECTIONS = ("agent", "deliver", "notify", "file")
"""Sections in the configuration files of the agent's jobs. Their options can be set only in a file."""

LOGIN_METHODS = (
    "universal_auth", "token", "oidc_auth", "jwt_auth", "kubernetes_auth", "aws_auth", "azure_auth", "gcp_auth",
    "tls_cert_auth", "ldap_auth", "spiffe_auth",
)  # fmt: skip

_PRUNE = "delete entries that are no longer in the source"
_PERCENT = "fail if prune would delete more than this percentage of ten or more entries"
_EMPTY = "allow prune to delete entries even if the source is empty; max_delete_percent still applies"
_NORMALIZE = "convert names to upper case with underscores, such as my-key to MY_KEY"
_HASHES = ("sha256", "hmac-sha256")
_OVERRIDE = "overrides the same key in the section [infisical]"

OPTIONS: tuple[Option, ...] = (
    Option("infisical", "url", "str", "URL of the server, such as https://infisical.example.com"),
    Option("infisical", "auth_method", "str", "login method", "universal_auth", LOGIN_METHODS),
    Option("infisical", "client_id", "str", "client id of the machine identity",
           vendor=("INFISICAL_UNIVERSAL_AUTH_CLIENT_ID",)),
    Option("infisical", "client_id_file", "file", "file that contains the client id"),
    Option("infisical", "client_secret", "str", "client secret of the machine identity", secret=True,
           vendor=("INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET",)),
    Option("infisical", "client_secret_file", "file", "file that contains the client secret"),
    Option("infisical", "token", "str", "access token, if auth_method is token", secret=True),
    Option("infisical", "token_file", "file", "file that contains the access token"),
    Option("infisical", "identity_id", "str", "id of the machine identity, for all login methods except universal_auth "
           "and token", vendor=("INFISICAL_MACHINE_IDENTITY_ID",)),
    Option("infisical", "jwt", "str", "JSON web token that proves the identity", secret=True,
           vendor=("INFISICAL_OIDC_AUTH_JWT",)),
    Option("infisical", "jwt_path", "file", "file that contains the JSON web token, which is read at each login",
           vendor=("INFISICAL_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH",)),
    Option("infisical", "jwt_key_file", "file", "file with a private key that signs a JSON web token at each login, "
           "for jwt_auth"),
    Option("infisical", "jwt_subject", "str", "subject of the JSON web tokens that jwt_key_file signs", flag=False),
    Option("infisical", "username", "str", "user name, if auth_method is ldap_auth",
           vendor=("INFISICAL_LDAP_USERNAME",)),
    Option("infisical", "password", "str", "password, if auth_method is ldap_auth", secret=True,
           vendor=("INFISICAL_LDAP_PASSWORD",)),
    Option("infisical", "password_file", "file", "file that contains the password"),
    Option("infisical", "client_cert", "file", "PEM file with the TLS client certificate"),
    Option("infisical", "client_key", "file", "PEM file with the private key of client_cert; default client_cert"),
    Option("infisical", "organization_slug", "str", "slug of the organization, if the identity is in several",
           vendor=("INFISICAL_AUTH_ORGANIZATION_SLUG",)),
    Option("infisical", "project_id", "str", "id of the project"),
    Option("infisical", "environment", "str", "slug of the environment, such as prod"),
    Option("infisical", "secret_path", "str", "path of the folder in Infisical", "/"),
    Option("infisical", "ca_path", "path", "file or directory with trusted certificate authorities"),
    Option("infisical", "validate_certs", "bool", "verify the server's TLS certificate", True),
    Option("infisical", "proxy", "str", "URL of a proxy, which may contain a password", secret=True),
    Option("infisical", "allow_http", "bool", "allow http:// URLs of other machines; secrets are then sent "
           "unencrypted", False),
    Option("infisical", "timeout", "float", "maximum seconds to wait for a connection, and for a response", 30.0),
    Option("infisical", "api_version", "str", "version of the server's API", "auto", ("auto", "v3", "v4")),
    Option("infisical", "rate_limit_wait", "float", "seconds before a rate-limited request is retried", 60.0),
    Option("infisical", "server_error_wait", "float", "seconds before a request is retried after a server error", 30.0),
    Option("infisical", "connection_wait", "float", "seconds before a request is retried after a failed connection",
           10.0),
    Option("infisical", "max_wait", "float", "maximum seconds before a retry if the server sets the delay", 300.0),
    Option("infisical", "max_response_size", "float", "maximum size of a response in MiB, after decompression", 64.0),
    Option("vault", "path", "file", "path of the vault, an encrypted file"),
    Option("vault", "key_file", "file", "file that contains the vault's 32-byte key"),
    Option("vault", "key_credential", "str", "name of a systemd credential that contains the vault's key"),
    Option("vault", "passphrase", "str", "passphrase of the vault", secret=True),
    Option("vault", "passphrase_file", "file", "file that contains the vault's passphrase"),
    Option("vault", "state_file", "file", "path of the state file; default infisical_sync_state.json in the "
           "vault's directory"),
    Option("vault", "lock_wait", "float", "maximum seconds to wait while another process writes to the vault", 30.0),
    Option("sync", "job", "str", "name of the job, which is stored with each entry that it pulls", "default"),
    Option("sync", "project_ids", "list", "comma-separated ids of the projects, instead of project_id; the value all, "
           "or setting neither option, selects all projects that the identity can see"),
    Option("sync", "environment", "str", _OVERRIDE, flag=False),
    Option("sync", "secret_path", "str", _OVERRIDE, flag=False),
    Option("sync", "recursive", "bool", "include secrets in subfolders", False),
    Option("sync", "include_imports", "bool", "include secrets that the folder imports", True),
    Option("sync", "expand_references", "bool", "let the server replace references to other secrets in values", False),
    Option("sync", "key_format", "str", "format of names in the vault, with the placeholders {key}, {path} and "
           "{project}", "{key}"),
    Option("sync", "normalize_names", "bool", _NORMALIZE, False),
    Option("sync", "precedence", "list", "comma-separated project ids and paths; if several secrets would get the same "
           "name, the first match is used", ()),
    Option("sync", "prune", "bool", _PRUNE, False),
    Option("sync", "prune_scope", "str", "whether prune deletes only entries of this job, or any entry in the vault",
           "job", ("job", "vault")),
    Option("sync", "max_delete_percent", "float", _PERCENT, 30.0),
    Option("sync", "allow_empty", "bool", _EMPTY, False),
    Option("sync", "state_hash", "str", "hash algorithm for values in the state file", "sha256", _HASHES),
    Option("push", "project_id", "str", _OVERRIDE, flag=False),
    Option("push", "environment", "str", _OVERRIDE, flag=False),
    Option("push", "secret_path", "str", _OVERRIDE, flag=False),
    Option("push", "normalize_names", "bool", _NORMALIZE, False),
    Option("push", "create_path", "bool", "create the folder if it does not exist", False),
    Option("push", "prune", "bool", _PRUNE, False),
    Option("push", "max_delete_percent", "float", _PERCENT, 30.0),
    Option("push", "allow_empty", "bool", _EMPTY, False),
    Option("push", "overwrite_rotated", "bool", "allow replacing or deleting secrets that Infisical rotates", False),
    Option("push", "state_file", "file", "file with hashes of pushed values, for identities that can write but not "
           "read; default none"),
    Option("push", "state_hash", "str", "hash algorithm for that file; hmac-sha256 uses a key from the vault", "sha256",
           _HASHES),
    Option("agent", "result_file", "file", "file with the result of a sync, which deliver, notify and status read"),
    Option("agent", "login_file", "file", "file in which the host's jobs record a refused login"),
    Option("agent", "interval", "str", "interval between two syncs, such as 15m"),
    Option("agent", "rate_limit_jitter", "float", "maximum random seconds added to each wait for a rate limit", 0.0),
    Option("deliver", "record_file", "file", "file that lists the delivered files"),
    Option("deliver", "runtime_directory", "path", "directory of a file that marks a delivery since the last boot"),
    Option("deliver", "metrics_directory", "path", "directory that the node exporter's textfile collector reads"),
    Option("notify", "state_file", "file", "file that records the last notification"),
    Option("notify", "command", "command", "command with arguments that receives JSON on standard input"),
    Option("notify", "webhook_url", "str", "URL to which JSON is sent with HTTP POST", secret=True),
    Option("notify", "webhook_url_file", "file", "file that contains webhook_url"),
    Option("notify", "reminder", "float", "seconds after which a lasting failure is reported again, 0 for never",
           86400.0),
    Option("file", "path", "path", "path of the file, or of the directory if format is files"),
    Option("file", "format", "str", "format of the file", "dotenv"),
    Option("file", "owner", "str", "user that owns the file", "root"),
    Option("file", "group", "str", "group that owns the file; default the owner's primary group"),
    Option("file", "mode", "octal", "mode of the file", 0o400),
    Option("file", "names", "list", "patterns that select secrets by name", ()),
    Option("file", "allow", "list", "unsafe names to allow", ()),
    Option("file", "reload", "list", "systemd units to reload after a change", ()),
    Option("file", "restart", "list", "systemd units to restart after a change", ()),
)  # fmt: skip
"""All options, in the order in which the manual page lists them."""

FILE_ONLY = ("client_id_file", "client_secret_file", "token_file", "password_file", "jwt_key_file", "jwt_subject")
"""The options for the login that modules and plugins do not have."""

_VENDOR_METHODS = {
    "kubernetes": "kubernetes_auth", "azure": "azure_auth", "gcp-id-token": "gcp_auth", "aws-iam": "aws_auth",
    "token-auth": "token", "token_auth": "token",
}  # fmt: skip
"""The login methods for which Infisical's own tools have names that differ from ours by more than hyphens."""

BY_PLACE = {option.place: option for option in OPTIONS}

_VARIABLES_OF_METHODS = {
    "INFISICAL_OIDC_AUTH_JWT": "oidc_auth",
    "INFISICAL_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH": "kubernetes_auth",
}
"""The environment variables of Infisical's own tools that are for one login method. Other methods do not read them."""

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def argument_spec(section: str, without: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Return a section's options as module arguments for AnsibleModule."""
    spec: dict[str, dict[str, Any]] = {}
    for option in OPTIONS:
        if option.section == section and option.name not in without:
            argument = spec[option.argument] = {"type": option.type, "no_log": option.secret}
            if option.type == "file":
                argument["type"] = "path"
            if option.type == "list":
                argument["elements"] = "str"
            if option.choices:
                argument["choices"] = list(option.choices)
            if option.default is not None:
                argument["default"] = list(option.default) if option.type == "list" else option.default
    return spec


def convert(option: Option, text: str, origin: str = "") -> Any:
    """Convert an option's text to its type. A list becomes a tuple, and a path becomes absolute.

    `origin` describes the source of the text in an error. Raises ConfigurationError, which quotes only a short word in
    place of a choice, because any other text may be a misplaced secret.
    """
    stripped = text.strip()
    if option.type == "bool":
        if stripped.lower() not in _BOOLEANS:
            raise ConfigurationError(option.name, f"must be true or false{origin}.")
        return _BOOLEANS[stripped.lower()]
    if option.type == "list":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if option.type in ("float", "octal"):
        try:
            number = float(text) if option.type == "float" else int(text, 8)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            meaning = "a number" if option.type == "float" else "an octal number"
            raise ConfigurationError(option.name, f"must be {meaning}{origin}.")
        return number
    if option.type == "file":
        return check_file_path(option.name, text)
    if option.type == "path":
        return os.path.abspath(os.path.expanduser(text))
    if option.choices and stripped not in option.choices:
        got = f" (got '{stripped}')" if re.fullmatch("[A-Za-z_-]{1,20}", stripped) else ""
        raise ConfigurationError(option.name, f"must be one of {', '.join(option.choices)}{got}{origin}.")
    return stripped if option.choices else text


def is_read(variable: str, auth_method: str) -> bool:
    """Return whether an environment variable is read for a login with this method."""
    return _VARIABLES_OF_METHODS.get(variable, auth_method) == auth_method


def list_variables(name: str, auth_method: str) -> list[str]:
    """Return the environment variables that are set for an option of the connection."""
    names = BY_PLACE["infisical", name].environment
    return [variable for variable in names if is_read(variable, auth_method) and os.environ.get(variable, "").strip()]


def read_variable(name: str, text: str) -> str:
    """Return the text of an option's environment variable, with the login methods of Infisical's own tools renamed."""
    if name != "auth_method":
        return text
    return _VENDOR_METHODS.get(text.strip(), text.strip().replace("-", "_"))


def check_file_path(name: str, text: str) -> str:
    """Return the absolute path of a file. Raises ConfigurationError for the path of a directory, such as `keys/`."""
    if os.path.basename(text) in ("", ".", ".."):
        raise ConfigurationError(
            name, f"must be the path of a file (got '{text}').", hint="Add a file name to the path."
        )
    return os.path.abspath(os.path.expanduser(text))
