# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired state of the agent on a host: jobs and options, their validation, and the jobs' configuration files.
Nothing here changes the host."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core.errors import ConfigurationError
from ..core.model import Settings
from ..identities.held import NOTHING, HeldIdentity
from . import schedule, units
from .config import CREDENTIALS
from .deliver import File, check_file
from .held_identity import login_file
from .host_login import check_login
from .notify import command_words
from .own_key import JWT_KEY

VAULT_FILE = "secrets.vault"
VAULT_KEY = "infisical_vault_key"
"""The name of the credential that contains the vaults' key."""

_DEFAULT_NAMES = {"dotenv": "secrets.env", "env_file": "secrets.list", "json": "secrets.json", "files": "secrets"}

_JOB_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}\Z")


class Job(NamedTuple):
    """A scheduled sync: its interval in minutes, its [sync] options keyed by name, and the files that it delivers."""

    name: str
    minutes: int
    options: Mapping[str, Any]
    files: tuple[File, ...] = ()


@dataclass(frozen=True)
class Agent:
    """The desired agent on a host. `notify_reminder` and `rate_limit_jitter` are in seconds.

    `credentials` is how the agent's own secrets are stored: `auto`, `encrypted` (with the machine's key
    `credential_key`), or `file`. If `rotate_key` is true, the vaults are sealed with a new key. `identity` is the
    content of the host's note. If the settings contain no client secret for it, the host keeps its stored one.
    """

    settings: Settings
    jobs: tuple[Job, ...]
    python: str = "/usr/bin/python3"
    credentials: str = "auto"
    credential_key: str = "host"
    notify_command: str = ""
    notify_webhook_url: str = field(default="", repr=False)
    notify_reminder: float = 86_400.0
    metrics_directory: str = ""
    rate_limit_jitter: float = 120.0
    rotate_key: bool = False
    identity: HeldIdentity = NOTHING


def make_job(given: dict[str, Any], settings: Settings) -> Job:
    """Return the job for an entry of the option `jobs`."""
    own = ("name", "interval", "files")
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    options["project_ids"] = options["project_ids"] or ((settings.project_id,) if settings.project_id else ())
    options["environment"] = options["environment"] or settings.environment
    options["secret_path"] = options["secret_path"] or settings.secret_path
    with name_job(given["name"]):
        if not options["project_ids"]:
            hint = "Set it for the job, or set project_id for all jobs."
            raise ConfigurationError("project_ids", "is required.", hint=hint)
        return Job(
            given["name"],
            schedule.parse_interval(given["interval"]),
            {name: value for name, value in options.items() if name not in own},
            tuple(_make_file(each, given["name"]) for each in given["files"]),
        )


def _make_file(given: dict[str, Any], name: str) -> File:
    """Return the file for an entry of the suboption `files` of the job `name`."""
    options: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    options["path"] = options["path"] or f"{units.RUNTIME}/{name}/{_DEFAULT_NAMES[options['format']]}"
    options["group"] = options["group"] or ""
    try:
        options["mode"] = int(options["mode"], 8)
    except ValueError:
        raise ConfigurationError(
            "files", f"{options['path']}: mode must be an octal number (got '{options['mode']}').",
        ) from None  # fmt: skip
    return check_file(File(**options))


def check_agent(agent: Agent) -> None:
    """Raise ConfigurationError for the first invalid option."""
    _check_options(agent)
    if not agent.jobs:
        raise ConfigurationError(
            "jobs", "must not be empty.", hint="Add a job, or set state: absent to remove the agent."
        )
    users: dict[str, str] = {}
    for job in agent.jobs:
        if not _JOB_NAME.match(job.name):
            raise ConfigurationError(
                "jobs", f"a name must have 1 to 63 letters, digits, '_', '-' and '.', and not start with '-' or '.' "
                f"(got '{job.name}').",
            )  # fmt: skip
        with name_job(job.name):
            _check_job(job)
        for item in (f"the name {job.name}", *(file.path for file in job.files)):
            if item in users:
                raise ConfigurationError("jobs", f"{item} is used by both '{users[item]}' and '{job.name}'.")
            users[item] = job.name


def _check_options(agent: Agent) -> None:
    settings = agent.settings
    check_login(settings, keeps_secret=bool(agent.identity.client_secret_id))
    if "@" in settings.proxy:
        raise ConfigurationError(
            "proxy", "must not contain a user or password, because all users of the host can read it."
        )
    if not re.match(r"/[^\s]*\Z", agent.python):
        raise ConfigurationError("python", f"must be an absolute path without spaces (got '{agent.python}').")
    if agent.metrics_directory and not agent.metrics_directory.startswith("/"):
        raise ConfigurationError("metrics_directory", f"must be an absolute path (got '{agent.metrics_directory}').")
    for name in ("client_id", "client_secret", "url", "ca_path", "proxy", "identity_id", "jwt_path", "username",
                 "password", "client_cert", "client_key", "organization_slug"):  # fmt: skip
        _check_line(name, getattr(settings, name))
    for name in ("notify_command", "notify_webhook_url", "metrics_directory"):
        _check_line(name, getattr(agent, name))
    command_words(agent.notify_command)
    for name in ("notify_reminder", "rate_limit_jitter"):
        if not 0 <= getattr(agent, name) < math.inf:
            raise ConfigurationError(name, f"must be a number, 0 or more (got {getattr(agent, name):g}).")


def _check_job(job: Job) -> None:
    if not job.options.get("environment"):
        raise ConfigurationError("environment", "is required.", hint="Set it to an environment's slug.")
    for options in (job.options, *(file._asdict() for file in job.files)):
        for name, value in options.items():
            is_list = isinstance(value, tuple)
            for text in map(str, value if is_list else [value]):
                _check_line(name, text)
                if text != text.strip():
                    raise ConfigurationError(name, f"must not begin or end with a space (got '{text}').")
                # An empty entry would be lost in the configuration file, and an empty list means everything.
                if is_list and (not text or "," in text):
                    raise ConfigurationError(name, "has an entry that is empty or contains a comma.")


def _check_line(option: str, text: str) -> None:
    if "\n" in text or "\r" in text:
        raise ConfigurationError(option, "must be a single line.")


@contextlib.contextmanager
def name_job(job: str) -> Iterator[None]:
    """Context manager: name the job in a ConfigurationError about one of its options."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError("jobs", f"{job}: {error.problem}", hint=error.hint) from None


def render_job(job: Job, agent: Agent, context: units.UnitContext) -> str:
    """Return the text of a job's configuration file."""
    settings = agent.settings
    state = f"{units.STATE}/{job.name}"
    server: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("url", "ca_path", "validate_certs", "proxy", "allow_http", "timeout", "api_version",
                     "rate_limit_wait", "server_error_wait", "connection_wait", "max_wait",
                     "max_response_size", "auth_method", "identity_id", "username", "organization_slug", "jwt_path",
                     "client_cert", "client_key")
        if getattr(settings, name) != getattr(Settings(), name)
    }  # fmt: skip
    vault: dict[str, Any] = {"path": f"{state}/{VAULT_FILE}"}
    notify = {"state_file": f"{state}/notify.json", "reminder": agent.notify_reminder, "command": agent.notify_command}
    if context.encrypted:
        vault["key_credential"] = VAULT_KEY
    else:
        # For commands that a user runs. A service gets its own copies from systemd, which take precedence.
        vault["key_file"] = context.credentials[VAULT_KEY]
        notify["webhook_url_file"] = context.credentials.get("infisical_webhook_url", "")
        for name, (section, option) in CREDENTIALS.items():
            if section == "infisical" and name in context.credentials:
                server[option] = context.credentials[name]
    if JWT_KEY in context.credentials:
        server["jwt_subject"] = settings.identity_id
    # Empty options are left out.
    sections: dict[str, Mapping[str, Any]] = {
        "infisical": server,
        "vault": vault,
        "sync": {"job": job.name, **job.options},
        "agent": {"result_file": units.report_file(job.name), "login_file": login_file(),
                  "interval": schedule.format_interval(job.minutes), "rate_limit_jitter": agent.rate_limit_jitter},
        "deliver": {"record_file": units.record_file(job.name), "runtime_directory": f"{units.RUNTIME}/{job.name}",
                    "metrics_directory": agent.metrics_directory},
        "notify": notify,
    }  # fmt: skip
    for number, file in enumerate(job.files, 1):
        sections[f"file {number}"] = {**file._asdict(), "mode": f"{file.mode:04o}"}
    lines = ["# Written by the role scheduled_sync of keyfleet.infisical."]
    for section, options in sections.items():
        shown = {name: _format(value) for name, value in options.items()}
        lines += ["", f"[{section}]", *(f"{name} = {text}" for name, text in shown.items() if text)]
    return "\n".join(lines) + "\n"


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return ", ".join(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
