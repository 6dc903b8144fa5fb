# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the command infisical-sync: every option once, and the places where it is looked for."""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import ConfigurationError, InfisicalError
from ..vault.state import STATE_FILE

if TYPE_CHECKING:
    from .deliver import File


class Option(NamedTuple):
    """A setting: where it stands in the configuration file, what it is, and whether the command line takes it.

    Credentials and anything that may hold one have no flag: other users see a command line.
    """

    section: str
    name: str
    kind: str
    help: str
    flag: bool = True
    variables: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    on: bool = False
    """Whether a bool is true by default."""

    @property
    def place(self) -> tuple[str, str]:
        """Section and name."""
        return self.section, self.name

    @property
    def long(self) -> str:
        """The option as one types it."""
        return "--vault" if self.place == ("vault", "path") else "--" + self.name.replace("_", "-")

    @property
    def environment(self) -> tuple[str, ...]:
        """The environment variables that are read, the first one that is set counts."""
        if self.variables:
            return self.variables
        prefix = "INFISICAL_" if self.section in ("infisical", "vault") else f"INFISICAL_{self.section.upper()}_"
        return (prefix + self.name.upper(),)


_PRUNE = "delete what the source no longer holds"
_PERCENT = "refuse to prune more than this share of ten entries or more; default 30"
_EMPTY = "let prune delete although the source holds nothing; max_delete_percent counts all the same"
_NORMALIZE = "make names upper case with underscores (my-key becomes MY_KEY)"

OPTIONS: tuple[Option, ...] = (
    Option("infisical", "url", "text", "address of the server, such as https://infisical.example.com"),
    Option("infisical", "auth_method", "text", "how to log in; default universal_auth",
           choices=("universal_auth", "token")),
    Option("infisical", "client_id", "text", "client id of the machine identity",
           variables=("INFISICAL_CLIENT_ID", "INFISICAL_UNIVERSAL_AUTH_CLIENT_ID")),
    Option("infisical", "client_id_file", "file", "file with the client id"),
    Option("infisical", "client_secret", "text", "client secret of the machine identity", flag=False,
           variables=("INFISICAL_CLIENT_SECRET", "INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET")),
    Option("infisical", "client_secret_file", "file", "file with the client secret"),
    Option("infisical", "token", "text", "access token, for auth_method token", flag=False),
    Option("infisical", "token_file", "file", "file with the access token"),
    Option("infisical", "project_id", "text", "id of the project"),
    Option("infisical", "environment", "text", "slug of the environment, such as prod; there is no default"),
    Option("infisical", "secret_path", "text", "path of the folder; default /"),
    Option("infisical", "ca_path", "path", "certificate authorities to trust, a file or directory"),
    Option("infisical", "validate_certs", "bool", "verify the server's certificate; default true", on=True),
    Option("infisical", "proxy", "text", "URL of a proxy, which may hold its password", flag=False),
    Option("infisical", "allow_http", "bool", "allow http:// to another machine: secrets pass unencrypted"),
    Option("infisical", "timeout", "number", "seconds to wait for a connection and for a whole answer; default 30"),
    Option("infisical", "api_version", "text", "version of the server's routes; default auto",
           choices=("auto", "v3", "v4")),
    Option("infisical", "rate_limit_wait", "number", "seconds before the repeat of a rate-limited request; default 60"),
    Option("infisical", "server_error_wait", "number", "seconds before the repeat after a server error; default 30"),
    Option("infisical", "connection_wait", "number", "seconds before the repeat after a lost connection; default 10"),
    Option("infisical", "max_wait", "number", "longest wait in seconds that a server may ask for; default 300"),
    Option("infisical", "max_response_size", "number", "largest answer in MiB that is read, also unpacked; default 64"),
    Option("vault", "path", "file", "the vault's file", variables=("INFISICAL_VAULT_PATH",)),
    Option("vault", "key_file", "file", "file with the vault's 32-byte key"),
    Option("vault", "key_credential", "text", "name of a systemd credential with the vault's key"),
    Option("vault", "passphrase", "text", "the vault's passphrase", flag=False),
    Option("vault", "passphrase_file", "file", "file with the vault's passphrase"),
    Option("vault", "state_file", "file", f"the state file; default {STATE_FILE} beside the vault"),
    Option("vault", "lock_wait", "number", "seconds to wait for another sync or writer; default 30"),
    Option("sync", "job", "text", "name of the job, by which it knows its own entries; default default"),
    Option("sync", "project_ids", "list", "ids of the projects, separated by commas, in place of project_id; all, or "
           "without any, all that the identity can see"),
    Option("sync", "environment", "text", "in place of the one under [infisical]", flag=False),
    Option("sync", "secret_path", "text", "in place of the one under [infisical]", flag=False),
    Option("sync", "recursive", "bool", "folders below the path too"),
    Option("sync", "include_imports", "bool", "what the folder imports too; default true", on=True),
    Option("sync", "expand_references", "bool", "values with their references replaced by the server"),
    Option("sync", "key_format", "text", "names in the vault, made of {key}, {path} and {project}; default {key}"),
    Option("sync", "normalize_names", "bool", _NORMALIZE),
    Option("sync", "precedence", "list", "project ids and paths, separated by commas: whose secret wins where several "
           "get one name"),
    Option("sync", "prune", "bool", _PRUNE),
    Option("sync", "prune_scope", "text", "delete entries of this job only, or any in the vault; default job",
           choices=("job", "vault")),
    Option("sync", "max_delete_percent", "number", _PERCENT),
    Option("sync", "allow_empty", "bool", _EMPTY),
    Option("sync", "state_hash", "text", "hash of values in the state file; default sha256",
           choices=("sha256", "hmac-sha256")),
    Option("push", "project_id", "text", "in place of the one under [infisical]", flag=False),
    Option("push", "environment", "text", "in place of the one under [infisical]", flag=False),
    Option("push", "secret_path", "text", "in place of the one under [infisical]", flag=False),
    Option("push", "normalize_names", "bool", _NORMALIZE),
    Option("push", "create_path", "bool", "make the folder where it is missing"),
    Option("push", "prune", "bool", _PRUNE),
    Option("push", "max_delete_percent", "number", _PERCENT),
    Option("push", "allow_empty", "bool", _EMPTY),
    Option("push", "overwrite_rotated", "bool", "replace or delete secrets too that Infisical rotates by itself"),
    Option("push", "state_file", "file", "file with hashes of what was pushed, for identities that may write but not "
           "read; default none"),
    Option("push", "state_hash", "text", "hash of values in that file, hmac-sha256 with a key from the vault; default "
           "sha256", choices=("sha256", "hmac-sha256")),
    Option("agent", "result_file", "file", "file that keeps what a sync came to, for deliver and notify", flag=False),
    Option("agent", "login_file", "file", "file by which the jobs of a host remember that a login was refused, and do "
           "not repeat it", flag=False),
    Option("agent", "interval", "text", "how often the job runs, such as 15m, to tell when it is late", flag=False),
    Option("agent", "rate_limit_jitter", "number", "seconds to wait at random on top of what a rate limit asks for; "
           "default 0", flag=False),
    Option("deliver", "record_file", "file", "file that keeps what was delivered", flag=False),
    Option("deliver", "runtime_directory", "path", "directory that says that all has been delivered since the boot",
           flag=False),
    Option("deliver", "metrics_directory", "path", "directory of the node exporter's textfile collector; default none",
           flag=False),
    Option("notify", "state_file", "file", "file that keeps what was told last", flag=False),
    Option("notify", "command", "text", "program with arguments that gets JSON on standard input", flag=False),
    Option("notify", "webhook_url", "text", "URL that JSON is sent to, which is a secret", flag=False),
    Option("notify", "webhook_url_file", "file", "file with that URL", flag=False),
    Option("notify", "reminder", "number", "seconds after which a failure that goes on is told again, 0 for never; "
           "default 86400", flag=False),
)  # fmt: skip
"""Everything that can be configured, in the order in which it is documented."""

FILE_OPTIONS = ("path", "format", "owner", "group", "mode", "names", "allow", "reload", "restart")
"""What stands in a section [file …] of a job of the agent: the fields of deliver.File, lists separated by commas."""

_OF_SEVERAL_LINES = ("command", "names", "allow", "reload", "restart")
"""Options besides lists whose value may go on in the next line, if that is indented."""

_FILE_SECTION = "file "

BY_PLACE = {option.place: option for option in OPTIONS}
_SECRETS = (("infisical", "client_secret"), ("infisical", "token"), ("infisical", "proxy"), ("vault", "passphrase"),
            ("notify", "webhook_url"))  # fmt: skip
"""What a configuration file that others can read must not hold."""
CREDENTIALS = {
    "infisical_client_id": ("infisical", "client_id_file"),
    "infisical_client_secret": ("infisical", "client_secret_file"),
    "infisical_token": ("infisical", "token_file"),
    "infisical_vault_key": ("vault", "key_credential"),
    "infisical_webhook_url": ("notify", "webhook_url_file"),
}
"""Files in $CREDENTIALS_DIRECTORY (systemd.exec, LoadCredential=), and the option that each stands for."""

CONFIG_FILES = ("~/.config/infisical-sync/config.ini", "/etc/infisical-sync/config.ini")
"""Where the configuration file is looked for; the first one that is there and readable is the only one read."""

JOBS = "/etc/infisical-sync/jobs"
"""Where the agent's jobs are configured, each in a file of its name."""

SERVICES_CREDENTIALS = "/run/credentials"
"""Where systemd puts the credentials of services, each in a directory of its unit's name."""

_PATHS = ("file", "path")
"""Kinds of options that are a path: a `path` may be that of a directory."""

_LONGEST_CREDENTIAL = 65536
"""Bytes of a credential in a file of its own: a longer one is the wrong file."""

Layer = Mapping[tuple[str, str], str]


class _OfVariable(str):
    """An option's text from the environment."""

    variable = ""


_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Settled:
    """The settings of one call, by precedence: the command line; the file that the caller names as `config`; the
    environment and systemd's credentials; the usual file. For a job of the agent, nothing in the environment counts but
    the credentials that systemd hands to the job's own services."""

    def __init__(self, given: Layer, environ: Mapping[str, str], config: str = "") -> None:
        path = config or environ.get("INFISICAL_CONFIG", "").strip() or _usual_file()
        self._layers: tuple[Layer, ...]
        found = _from_file(path)
        job = job_of(path)
        self._explicit: tuple[Layer, ...] = (given, found) if config and not job else (given,)
        if job:
            environ = _of_service(environ, job)
            self._layers = (given, _from_credentials(environ), found)
        elif config:
            self._layers = (given, found, _from_environment(environ), _from_credentials(environ))
        else:
            self._layers = (given, _from_environment(environ), _from_credentials(environ), found)
        self.credentials = environ.get("CREDENTIALS_DIRECTORY", "")
        """The directory of systemd's credentials that counts, empty for none."""
        self._path = path
        self.installed = path if job else ""
        """The configuration file, if it is that of a job of the agent."""
        self._file = found

    def first(self, *places: tuple[str, str]) -> Any:
        """The value of the first of `places`, the most specific one first, that any layer has, converted; None if none
        has. What the caller has named explicitly beats a more specific place elsewhere."""
        for layers in (*((layer,) for layer in self._explicit), self._layers):
            for place in places:
                for layer in layers:
                    if layer.get(place):
                        return converted(BY_PLACE[place], layer[place])
        return None

    def group(self, section: str, names: Sequence[str]) -> dict[str, Any]:
        """What the first layer has that has any of these options: they stand for each other."""
        for layer in self._layers:
            found = {name: layer[section, name] for name in names if layer.get((section, name))}
            if found:
                return {name: converted(BY_PLACE[section, name], value) for name, value in found.items()}
        return {}

    def paths(self) -> list[str]:
        """Every file and directory that is named by an option, and the configuration file itself."""
        named = (self.first(option.place) for option in OPTIONS if option.kind in _PATHS)
        delivered = (
            value
            for (section, name), value in self._file.items()
            if section.startswith(_FILE_SECTION) and name == "path"
        )
        return [path for path in (self._path, *named, *delivered) if path]

    def section(self, section: str) -> dict[str, Any]:
        """All options of a section that are set somewhere."""
        values = {option.name: self.first(option.place) for option in OPTIONS if option.section == section}
        return {name: value for name, value in values.items() if value is not None}

    def server(self, section: str) -> dict[str, Any]:
        """The shared options (see Settings) for a command that has a section of its own in the file."""
        options = self.section("infisical")
        options["auth_method"] = self._auth_method()
        for name in ("project_id", "environment", "secret_path"):
            places = [place for place in ((section, name), ("infisical", name)) if place in BY_PLACE]
            options[name] = self.first(*places)
        for name in ("client_id", "client_secret", "token"):
            group = self.group("infisical", (name, name + "_file"))
            options.pop(name + "_file", None)
            if name not in group and group:
                group[name] = secret_text(group[name + "_file"], name + "_file", self.credentials)
            options[name] = group.get(name)
        return options

    def _auth_method(self) -> str | None:
        """The id or secret of a machine identity that the caller has named explicitly is logged in with, whatever a
        later layer says. One in the environment replaces no `auth_method`."""
        by_identity = ("client_id", "client_id_file", "client_secret", "client_secret_file")
        for layer in self._explicit:
            if layer.get(("infisical", "auth_method")):
                break
            if any(layer.get(("infisical", name)) for name in by_identity):
                return None
        method: str | None = self.first(("infisical", "auth_method"))
        return method

    def files(self) -> list[File]:
        """The files that a job delivers, from its configuration file alone. Raises ConfigurationError."""
        from .deliver import File, check_file

        sections: dict[str, dict[str, str]] = {}
        for (section, name), value in self._file.items():
            if section.startswith(_FILE_SECTION) and value:
                sections.setdefault(section, {})[name] = value
        found = []
        for section, options in sections.items():
            given: dict[str, Any] = dict(options)
            for name in ("names", "allow", "reload", "restart"):
                if name in given:
                    given[name] = tuple(part.strip() for part in given[name].split(",") if part.strip())
            try:
                given["mode"] = int(given.get("mode", "0400"), 8)
            except ValueError:
                raise ConfigurationError("files", f"[{section}]: the mode is no octal number.") from None
            found.append(check_file(File(**{"path": "", **given})))
        return found


def installed_jobs() -> list[str]:
    """The names of the agent's jobs on this host that this user may read, by name."""
    try:
        names = sorted(os.listdir(JOBS))
    except OSError:
        return []
    return [name[:-4] for name in names if name.endswith(".ini") and os.access(job_file(name[:-4]), os.R_OK)]


def job_file(job: str) -> str:
    """Where a job of the agent is configured."""
    return os.path.join(JOBS, job + ".ini")


def job_of(path: str) -> str:
    """The job of the agent that a configuration file is of, however its path is spelled; empty if it is of none.

    Either end of a link may lie among the jobs.
    """
    for spelled in filter(None, (path and os.path.abspath(path), path and os.path.realpath(path))):
        with contextlib.suppress(OSError):
            if os.path.samefile(os.path.dirname(spelled), JOBS):
                return os.path.basename(spelled)[: -len(".ini")]
    return ""


def _of_service(environ: Mapping[str, str], job: str) -> dict[str, str]:
    """What of the environment counts for a job of the agent: the credentials of the job's own services.

    systemd names the directory after the unit (systemd.exec(5), CREDENTIALS_DIRECTORY). Only root can make one there,
    and so nobody else can put another key or login in the place of the job's.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    own = re.fullmatch(rf"{SERVICES_CREDENTIALS}/infisical-[a-z]+@{re.escape(job)}\.service", directory)
    return {"CREDENTIALS_DIRECTORY": directory} if own else {}


def _from_environment(environ: Mapping[str, str]) -> Layer:
    found = {}
    for option in OPTIONS:
        variable = next((name for name in option.environment if environ.get(name, "").strip()), "")
        if variable:
            found[option.place] = text = _OfVariable(environ[variable])
            text.variable = variable
    return found


def _from_credentials(environ: Mapping[str, str]) -> Layer:
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    if not directory:
        return {}
    there = {name: place for name, place in CREDENTIALS.items() if os.path.exists(os.path.join(directory, name))}
    return {
        place: name if place == ("vault", "key_credential") else os.path.join(directory, name)
        for name, place in there.items()
    }


def _usual_file() -> str:
    """The first of the usual configuration files that exists, empty for none."""
    usual = (os.path.expanduser(name) for name in CONFIG_FILES)
    # One that is for the agent only must not keep others from using vaults of their own.
    return next((name for name in usual if os.access(name, os.R_OK)), "")


def _from_file(path: str) -> Layer:
    """What a configuration file says, nothing for an empty path."""
    if not path:
        return {}
    import configparser

    from ..core import files

    try:
        # A caller may name a pipe; what lies among the jobs is for everybody who asks about all of them.
        with open(path, encoding="utf-8-sig", opener=files.open_regular if job_of(path) else None) as stream:
            info = os.fstat(stream.fileno())
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigurationError("config", f"'{path}' cannot be read: {reason}.") from None
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(text)
    except configparser.Error as error:
        # Its own text quotes the line, which may be a credential.
        line = getattr(error, "lineno", None) or next((number for number, _text in getattr(error, "errors", ())), None)
        where = f", line {line}" if line else ""
        raise ConfigurationError(
            "config", f"'{path}'{where} is wrong ({type(error).__name__}). Write it as name = value below [section]."
        ) from None
    return _checked_file(path, parser, info)


def _checked_file(path: str, parser: Mapping[str, Mapping[str, str]], info: os.stat_result) -> Layer:
    known: dict[str, list[str]] = {}
    for option in OPTIONS:
        known.setdefault(option.section, []).append(option.name)
    found: dict[tuple[str, str], str] = {}
    for section, values in parser.items():
        if not section:
            continue
        if section.startswith(_FILE_SECTION):
            known[section] = list(FILE_OPTIONS)
        if section not in known:
            raise ConfigurationError(
                "config", f"'{path}' has a section [{section}]. Known are {', '.join(f'[{name}]' for name in known)}."
            )
        for name, value in values.items():
            if name not in known[section]:
                raise ConfigurationError(
                    "config", f"'{path}' has '{name}' in [{section}]. Known there are {', '.join(known[section])}."
                )
            found[section, name] = value
            _check_lines(path, section, name, value)
            if value and _is_path(section, name) and not value.startswith(("/", "~")):
                raise ConfigurationError(
                    "config", f"'{path}': {name} in [{section}] must be an absolute path, or begin with ~."
                )
    if not stat.S_ISREG(info.st_mode):
        return found  # /dev/null, or a pipe that a shell has made
    # It says where credentials are read from, and where they are sent to.
    if info.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            "config", f"'{path}' belongs to user {info.st_uid}, and this runs as user {os.geteuid()}. Run: chown "
            f"{os.geteuid()} '{path}', if it is what it should be."
        )  # fmt: skip
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError("config", f"'{path}' can be written by others. Run: chmod go-w '{path}'")
    held = [name for section, name in _SECRETS if found.get((section, name))]
    if held and info.st_mode & 0o077:
        raise ConfigurationError(
            "config", f"'{path}' holds {', '.join(held)} and is readable by others. Run: chmod 600 '{path}', or put "
            "it into a file of its own (client_secret_file, token_file, passphrase_file)."
        )  # fmt: skip
    return found


def _check_lines(path: str, section: str, name: str, value: str) -> None:
    """Refuse an indented line, which is not quoted, where it was meant to begin something new: the file's format makes
    it a part of the value above. Only lists and commands may go on in the next line."""
    option = BY_PLACE.get((section, name))
    may_go_on = name in _OF_SEVERAL_LINES or (option is not None and option.kind == "list")
    names = "|".join(sorted({option.name for option in OPTIONS} | set(FILE_OPTIONS)))
    if any(not may_go_on or re.match(rf"\[|({names})\s*[=:]", line) for line in value.split("\n")[1:]):
        raise ConfigurationError(
            "config", f"'{path}': the line below '{name}' in [{section}] is indented, which makes it a part of that "
            "option. Begin each option and section at the start of a line."
        )  # fmt: skip


def _is_path(section: str, name: str) -> bool:
    option = BY_PLACE.get((section, name))
    return name == "path" if option is None else option.kind in _PATHS


def converted(option: Option, text: str) -> Any:
    """An option's text as what it is: str, bool, float or a tuple of str.

    Raises ConfigurationError, which does not quote what may be a secret in the wrong place.
    """
    origin = f" (set by the environment variable {text.variable})" if isinstance(text, _OfVariable) else ""
    if option.kind == "bool":
        word = text.strip().lower()
        if word not in _WORDS:
            raise ConfigurationError(option.name, f"must be true or false{origin}.")
        return _WORDS[word]
    if option.kind == "number":
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not math.isfinite(number):
            raise ConfigurationError(option.name, f"must be a number{origin}.")
        return number
    if option.kind == "list":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if option.kind == "file":
        return path_of_file(option.name, text)
    if option.kind == "path":
        return os.path.abspath(os.path.expanduser(text))
    if option.choices and text.strip() not in option.choices:
        raise ConfigurationError(option.name, f"must be one of {', '.join(option.choices)}{origin}.")
    return text.strip() if option.choices else text


def path_of_file(option: str, text: str) -> str:
    """The absolute path of a file. Raises ConfigurationError for the spelling of a directory, such as one with a slash
    at its end, which would be lost."""
    if os.path.basename(text) in ("", ".", ".."):
        raise ConfigurationError(option, f"must be the path of a file (got '{text}'). Add the name of the file.")
    return os.path.abspath(os.path.expanduser(text))


def secret_text(path: str, option: str, credentials: str) -> str:
    """The one line of a file that holds a credential, and is safe to: only its owner reads it, or systemd put it into
    the directory `credentials`.

    Raises ConfigurationError, which never quotes it.
    """
    from ..core import files
    from ..vault.keys import is_credential

    most = _LONGEST_CREDENTIAL + 1
    try:
        raw = files.read_private(path, "file", most=most, credential=is_credential(path, credentials))
    except FileNotFoundError:
        raise ConfigurationError(option, f"'{path}' does not exist.") from None
    except InfisicalError as error:
        raise ConfigurationError(option, str(error)) from None
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(raw) > _LONGEST_CREDENTIAL:
        raise ConfigurationError(option, f"'{path}' must hold the credential in one line, and nothing else.")
    return text
