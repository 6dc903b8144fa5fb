# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the command infisical-sync: the sources of its options, and their precedence."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigurationError, InfisicalError
from ..core.options import BY_PLACE, OPTIONS, convert, is_read, read_variable

if TYPE_CHECKING:
    from .deliver import File

CREDENTIALS = {
    "infisical_client_id": ("infisical", "client_id_file"),
    "infisical_client_secret": ("infisical", "client_secret_file"),
    "infisical_token": ("infisical", "token_file"),
    "infisical_password": ("infisical", "password_file"),
    "infisical_jwt": ("infisical", "jwt_path"),
    "infisical_jwt_key": ("infisical", "jwt_key_file"),
    "infisical_client_cert": ("infisical", "client_cert"),
    "infisical_client_key": ("infisical", "client_key"),
    "infisical_vault_key": ("vault", "key_credential"),
    "infisical_webhook_url": ("notify", "webhook_url_file"),
}
"""The option that each file in $CREDENTIALS_DIRECTORY sets (systemd.exec(5), LoadCredential=)."""

CONFIG_FILES = ("~/.config/infisical-sync/config.ini", "/etc/infisical-sync/config.ini")
"""The default configuration files. The command uses the first readable file."""

JOBS = "/etc/infisical-sync/jobs"
"""The directory with the configuration files of the agent's jobs."""

SERVICES_CREDENTIALS = "/run/credentials"
"""The directory in which systemd creates a credentials directory for each service."""

_PATHS = ("file", "path")
_MULTILINE = ("list", "command")
"""Types of options whose value may continue on an indented line."""

_LONGEST_CREDENTIAL = 65536
"""Maximum size of a credential file in bytes. A larger file is not a credential."""

Layer = Mapping[tuple[str, str], str]
"""The options that one source sets: {(section, name): text}."""


class SyncConfig:
    """The options of one call of the command.

    Sources, in order of precedence: the command line; the file in `config`; the environment and systemd's credentials;
    the default file. A job of the agent ignores the environment, except for the credentials that systemd loads for the
    job's own services.
    """

    def __init__(self, given: Layer, environ: Mapping[str, str], config: str = "") -> None:
        # Skip a file that only the agent can read, so that other users can work with their own vaults.
        usual = next((path for path in map(os.path.expanduser, CONFIG_FILES) if os.access(path, os.R_OK)), "")
        self.path = config or environ.get("INFISICAL_CONFIG", "").strip() or usual
        self._file = _read_file(self.path)
        job = find_job(self.path)
        self.job_file = self.path if job else ""
        """The path of the configuration file if it belongs to a job of the agent, otherwise empty."""
        if job:
            environ = _select_credentials(environ, job)
        self.credentials = environ.get("CREDENTIALS_DIRECTORY", "")
        """The directory with systemd's credentials, or empty if there is none."""
        self._variables = _find_variables(environ)
        self._environment = {place: environ[name] for place, name in self._variables.items()}
        ambient = (self._environment, _list_credentials(self.credentials))
        named = bool(config) and not job
        self._explicit: tuple[Layer, ...] = (given, self._file) if named else (given,)
        self._layers: tuple[Layer, ...] = (given, self._file, *ambient) if named else (given, *ambient, self._file)

    def get(self, *places: tuple[str, str]) -> Any:
        """Return the converted value of the first option in `places` that is set, or None.

        Pass the most specific option first. The command line and a file given with `--config` take precedence: any of
        the options that is set there overrides all options from other sources.
        """
        for layers in (*((layer,) for layer in self._explicit), self._layers):
            for place in places:
                for layer in layers:
                    if layer.get(place):
                        return self._convert(place, layer)
        return None

    def get_group(self, section: str, names: Sequence[str]) -> dict[str, Any]:
        """Return the options set by the first source that sets any of `names`, which are mutually exclusive."""
        for layer in self._layers:
            found = {name: self._convert((section, name), layer) for name in names if layer.get((section, name))}
            if found:
                return found
        return {}

    def _convert(self, place: tuple[str, str], layer: Layer) -> Any:
        is_variable = layer is self._environment
        origin = f" (set by the environment variable {self._variables[place]})" if is_variable else ""
        text = read_variable(place[1], layer[place]) if is_variable else layer[place]
        return convert(BY_PLACE[place], text, origin)

    def get_section(self, section: str) -> dict[str, Any]:
        """Return all options in a section that are set."""
        values = {option.name: self.get(option.place) for option in OPTIONS if option.section == section}
        return {name: value for name, value in values.items() if value is not None}

    def get_server_options(self, section: str) -> dict[str, Any]:
        """Return the fields of Settings for a command whose options are in `section` of the file."""
        options = self.get_section("infisical")
        options["auth_method"] = self._get_auth_method()
        for name in ("project_id", "environment", "secret_path"):
            places = [place for place in ((section, name), ("infisical", name)) if place in BY_PLACE]
            options[name] = self.get(*places)
        self._skip_variables(options["auth_method"] or BY_PLACE["infisical", "auth_method"].default)
        proofs = ("jwt", "jwt_path", "jwt_key_file")
        options.update({**dict.fromkeys(proofs), **self.get_group("infisical", proofs)})
        for name in ("client_id", "client_secret", "token", "password"):
            group = self.get_group("infisical", (name, name + "_file"))
            options.pop(name + "_file", None)
            if group and name not in group:
                group[name] = read_credential(group[name + "_file"], name + "_file", self.credentials)
            options[name] = group.get(name)
        if self._is_explicit("identity_id") and not self._is_explicit("client_id", "client_secret", "token"):
            # Otherwise, a login with another identity from the environment would succeed.
            options.update(dict.fromkeys(("client_id", "client_secret", "token")))
        return options

    def _skip_variables(self, auth_method: str) -> None:
        """Do not use environment variables that are for other login methods."""
        for place, variable in self._variables.items():
            if not is_read(variable, auth_method):
                self._environment.pop(place, None)

    def _is_explicit(self, *names: str) -> bool:
        """Return whether the command line or the `config` file sets one of the options, or the file that contains
        it."""
        places = [("infisical", name + suffix) for name in names for suffix in ("", "_file")]
        return any(layer.get(place) for layer in self._explicit for place in places)

    def _get_auth_method(self) -> str | None:
        """Return the option `auth_method`, or None if the command line or the `config` file sets a machine identity.

        Such an identity takes precedence over an `auth_method` from a later source. An identity from the environment
        does not.
        """
        identity = ("client_id", "client_id_file", "client_secret", "client_secret_file")
        for layer in self._explicit:
            if layer.get(("infisical", "auth_method")):
                break
            if any(layer.get(("infisical", name)) for name in identity):
                return None
        method: str | None = self.get(("infisical", "auth_method"))
        return method

    def name_sources(self, text: str) -> str:
        """Return a message with the paths of the configured files instead of the copies that systemd has made."""
        for name, place in CREDENTIALS.items():
            if self.credentials and self._file.get(place):
                text = text.replace(os.path.join(self.credentials, name), self._file[place])
        return text

    def get_files(self) -> list[File]:
        """Return the files that a job delivers. Raises ConfigurationError."""
        from .deliver import File, check_file

        sections: dict[str, dict[str, Any]] = {}
        for (section, name), text in self._file.items():
            if _kind(section) == "file" and text:
                value = convert(BY_PLACE["file", name], text, f" (in [{section}] of {self.path})")
                sections.setdefault(section, {"path": ""})[name] = value
        return [check_file(File(**options)) for options in sections.values()]

    def list_paths(self) -> list[str]:
        """Return the configuration file, and every file and directory that an option refers to."""
        named = [self.get(option.place) for option in OPTIONS if option.type in _PATHS]
        delivered = [text for (section, name), text in self._file.items() if (_kind(section), name) == ("file", "path")]
        return [path for path in (self.path, *named, *delivered) if path]


def list_jobs() -> list[str]:
    """Return the names of those agent jobs on this host whose configuration the current user can read."""
    try:
        names = sorted(os.listdir(JOBS))
    except OSError:
        return []
    return [name[:-4] for name in names if name.endswith(".ini") and os.access(job_file(name[:-4]), os.R_OK)]


def job_file(job: str) -> str:
    """Return the path of a job's configuration file."""
    return os.path.join(JOBS, job + ".ini")


def find_job(path: str) -> str:
    """Return the name of the job whose configuration file is `path`, or empty if `path` is not a job's file.

    If `path` is a link, either the link or its target must be in the directory of job files.
    """
    for spelling in filter(None, (path and os.path.abspath(path), path and os.path.realpath(path))):
        with contextlib.suppress(OSError):
            if os.path.samefile(os.path.dirname(spelling), JOBS):
                return os.path.basename(spelling)[: -len(".ini")]
    return ""


def _kind(section: str) -> str:
    """Return the name under which the option table lists the options of a section in a file, or empty if unknown."""
    if section.startswith("file "):
        return "file"
    return section if section != "file" and any(option.section == section for option in OPTIONS) else ""


def _select_credentials(environ: Mapping[str, str], job: str) -> dict[str, str]:
    """Return the part of the environment that a job of the agent uses: the credentials of the job's own services.

    systemd names the credentials directory after the unit (systemd.exec(5), CREDENTIALS_DIRECTORY). Only root can
    create it, so no other user can replace the job's key or login.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    own = re.fullmatch(rf"{SERVICES_CREDENTIALS}/infisical-[a-z]+@{re.escape(job)}\.service", directory)
    return {"CREDENTIALS_DIRECTORY": directory} if own else {}


def _find_variables(environ: Mapping[str, str]) -> Layer:
    """Return the environment variable of each option that is set by one."""
    found = {option.place: [name for name in option.environment if environ.get(name, "").strip()] for option in OPTIONS}
    return {place: names[0] for place, names in found.items() if names}


def _list_credentials(directory: str) -> Layer:
    paths = {place: os.path.join(directory, name) for name, place in CREDENTIALS.items()} if directory else {}
    return {
        place: os.path.basename(path) if place == ("vault", "key_credential") else path
        for place, path in paths.items()
        if os.path.exists(path)
    }


def _read_file(path: str) -> Layer:
    if not path:
        return {}
    import configparser

    from ..core import files

    try:
        # The `config` file may be a pipe. A pipe in the directory of job files would block every process that reads all
        # jobs.
        with open(path, encoding="utf-8-sig", opener=files.open_regular if find_job(path) else None) as stream:
            info = os.fstat(stream.fileno())
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError("config", f"'{path}' cannot be read: {reason}.") from None
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(text)
    except configparser.Error as error:
        # The exception's text quotes the line, which may contain a credential.
        line = getattr(error, "lineno", None) or next((number for number, _text in getattr(error, "errors", ())), None)
        where = f", line {line}" if line else ""
        raise ConfigurationError(
            "config",
            f"'{path}'{where} is invalid ({type(error).__name__}).",
            hint="Write: name = value below [section].",
        ) from None
    found = {(section, name): value for section, values in parser.items() if section for name, value in values.items()}
    for section in parser.sections():
        if not _kind(section):
            known = ", ".join(f"[{name}]" for name in dict.fromkeys(option.section for option in OPTIONS))
            raise ConfigurationError(
                "config", f"'{path}' has an unknown section [{section}].",
                hint=f"Use one of {known.replace('[file]', '[file 1]')}.",
            )  # fmt: skip
    for (section, name), value in found.items():
        _check_key(path, section, name, value)
    if stat.S_ISREG(info.st_mode):  # not /dev/null or a shell's pipe
        _check_access(path, info, found)
    return found


def _check_key(path: str, section: str, name: str, value: str) -> None:
    option = BY_PLACE.get((_kind(section), name))
    if option is None:
        known = ", ".join(option.name for option in OPTIONS if option.section == _kind(section))
        raise ConfigurationError(
            "config", f"'{path}' has an unknown key '{name}' in [{section}].", hint=f"Use one of {known}."
        )
    # An indented line continues the value above it, even if it was meant as an option or a section.
    names = "|".join({option.name for option in OPTIONS})
    more = value.split("\n")[1:]
    if any(option.type not in _MULTILINE or re.match(rf"\[|({names})\s*[=:]", line) for line in more):
        raise ConfigurationError(
            "config", f"'{path}': the line below '{name}' in [{section}] is indented, so the line would continue "
            f"'{name}'.", hint="Start each option and section at the beginning of a line.",
        )  # fmt: skip
    if value and option.type in _PATHS and not value.startswith(("/", "~")):
        raise ConfigurationError(
            "config", f"'{path}': {name} in [{section}] must be an absolute path, or start with ~."
        )


def _check_access(path: str, info: os.stat_result, found: Layer) -> None:
    # The file controls where credentials are read from and sent to.
    if info.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            "config", f"'{path}' belongs to user {info.st_uid}, but this command runs as user {os.geteuid()}.",
            hint=f"Check its content, and run: chown {os.geteuid()} '{path}'",
        )  # fmt: skip
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError("config", f"Others can write to '{path}'.", hint=f"Run: chmod go-w '{path}'")
    secrets = [option.name for option in OPTIONS if option.secret and found.get(option.place)]
    if secrets and info.st_mode & 0o077:
        raise ConfigurationError(
            "config", f"'{path}' contains {', '.join(secrets)}, and others can read it.",
            hint=f"Run: chmod 600 '{path}', or use client_secret_file, token_file, jwt_path, password_file, "
            "passphrase_file or webhook_url_file.",
        )  # fmt: skip


def read_credential(path: str, option: str, credentials: str) -> str:
    """Return the single line in a credential file. Only the file's owner may have access to it, unless the file is in
    systemd's directory `credentials`. Raises ConfigurationError, which never quotes the content."""
    from ..core import files
    from ..vault.keys import is_credential

    most = _LONGEST_CREDENTIAL + 1
    try:
        raw = files.read_private(path, "file", most=most, credential=is_credential(path, credentials))
    except FileNotFoundError:
        raise ConfigurationError(option, f"'{path}' does not exist.") from None
    except InfisicalError as error:
        raise ConfigurationError(option, error.problem, hint=error.hint) from None
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(raw) > _LONGEST_CREDENTIAL or len(text.splitlines()) > 1:
        raise ConfigurationError(option, f"'{path}' must contain only the credential, on one line.")
    return text
