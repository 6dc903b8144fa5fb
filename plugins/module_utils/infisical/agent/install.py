# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent on a host: this library, its command, user, credentials, jobs and units, brought to what is wanted."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import pkgutil
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

from ..core import files, systemd
from ..core.errors import (
    ConfigurationError,
    InfisicalError,
    MissingLibrary,
    PartialFailure,
    StorageFailed,
    after_writing,
    error_class,
)
from ..core.model import Settings, parse_json
from ..core.plan import named
from ..core.version import VERSION
from . import config, credentials, report, schedule, units
from .deliver import LOCK, File, Record, check_all_delivered, recorded, withdraw
from .host import Done, Host
from .notify import command_words

USER = "infisical-sync"
LIBRARY = "/usr/local/lib/infisical-sync"
UNITS = "/etc/systemd/system"
CRON = "/etc/cron.d"

_OLDEST_PYTHON = (3, 9)
_JOB_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}\Z")


class Job(NamedTuple):
    """One scheduled sync: every so many minutes, with the options of [sync] by name, and the files it delivers."""

    name: str
    minutes: int
    options: Mapping[str, Any]
    files: tuple[File, ...] = ()

    @property
    def default_directory(self) -> str:
        """Where its files are by default: in memory."""
        return f"{units.RUNTIME}/{self.name}"


@dataclass(frozen=True)
class Agent:
    """What a host is to have.

    `credentials` is how secrets of the agent itself are kept: `auto`, `encrypted` for the key `credential_key` of the
    machine, or `file`; `rotate_key` seals the vaults with a new key. `notify_reminder` and `rate_limit_jitter` are in
    seconds.
    """

    settings: Settings
    jobs: tuple[Job, ...]
    python: str = "/usr/bin/python3"
    scheduler: str = "auto"
    credentials: str = "auto"
    credential_key: str = "host"
    notify_command: str = ""
    notify_webhook_url: str = field(default="", repr=False)
    notify_reminder: float = 86_400.0
    metrics_directory: str = ""
    rate_limit_jitter: float = 120.0
    rotate_key: bool = False


class Facts(NamedTuple):
    """What kind of host it is: systemd's major version (0 for none), and the machine's id."""

    systemd: int
    machine_id: str


@dataclass
class Installed(Done):
    """What was done, and besides: the version of the library, which jobs have something new or have not synced well
    yet, so that a sync is due, and how many listings that takes."""

    version: str = ""
    due: list[str] = field(default_factory=list)
    requests: int = 0


def facts() -> Facts:
    """What kind of host this is."""
    return Facts(systemd.version(), systemd.machine_id())


def checked(agent: Agent) -> Agent:
    """The same with its jobs' files in one spelling. Raises ConfigurationError naming the option that is wrong."""
    settings = agent.settings
    for name in ("client_id", "client_secret"):
        if not getattr(settings, name):
            raise ConfigurationError(
                name, "not given. The agent logs in with the universal auth of a machine identity."
            )
        if "\n" in getattr(settings, name):
            raise ConfigurationError(name, "holds more than one line.")
    if settings.auth_method != "universal_auth":
        raise ConfigurationError("auth_method", "must be universal_auth: a token would expire on the host.")
    if "@" in settings.proxy:
        raise ConfigurationError("proxy", "must not hold a user or password: the agent's jobs are not kept secret.")
    if not agent.jobs:
        raise ConfigurationError("jobs", "is empty. Name a job, or remove the agent with state: absent.")
    if not re.match(r"/[^\s]*\Z", agent.python):
        raise ConfigurationError("python", f"'{agent.python}' is no absolute path without blanks.")
    for name, text in (
        *((name, getattr(settings, name)) for name in ("url", "ca_path", "proxy")),
        *((name, getattr(agent, name)) for name in ("notify_command", "notify_webhook_url", "metrics_directory")),
    ):
        if "\n" in text or "\r" in text:
            raise ConfigurationError(name, "holds more than one line.")
    command_words(agent.notify_command)
    for name in ("notify_reminder", "rate_limit_jitter"):
        if not 0 <= getattr(agent, name) < math.inf:
            raise ConfigurationError(name, f"must be a number, 0 or more, not {getattr(agent, name):g}.")
    if agent.metrics_directory and not agent.metrics_directory.startswith("/"):
        raise ConfigurationError("metrics_directory", f"'{agent.metrics_directory}' is no absolute path.")
    taken: dict[str, str] = {}
    for job in agent.jobs:
        if not _JOB_NAME.match(job.name):
            raise ConfigurationError(
                "jobs", f"'{job.name}' is no name of a job: that has letters, digits, '_', '-' and '.', at most 63."
            )
        schedule.calendar(job.minutes)
        if not job.options.get("environment"):
            raise ConfigurationError("jobs", f"{job.name}: environment is not given. Set it to an environment's slug.")
        # A dot and an underscore are the same in the name of a file for cron.
        for place in (f"job {job.name.replace('.', '_')}", *(file.path for file in job.files)):
            if place in taken:
                raise ConfigurationError("jobs", f"{place} stands there twice ({taken[place]} and {job.name}).")
            taken[place] = job.name
        for name, text, is_listed in _texts(job):
            if "\n" in text or "\r" in text:
                raise ConfigurationError("jobs", f"{job.name}: {name} holds more than one line.")
            if text != text.strip():
                raise ConfigurationError("jobs", f"{job.name}: {name} begins or ends with a blank: '{text}'.")
            # An empty pattern or project would be lost on the way to the host, and nothing there stands for all.
            if is_listed and (not text or "," in text):
                raise ConfigurationError("jobs", f"{job.name}: {name} has an entry that is empty or holds a comma.")
    return agent


def _texts(job: Job) -> Iterator[tuple[str, str, bool]]:
    """The texts of a job's options and files: name, text, and whether it is an entry of a list."""
    for options in (job.options, *(file._asdict() for file in job.files)):
        for name, value in options.items():
            is_list = isinstance(value, tuple)
            for part in value if is_list else [value]:
                yield name, str(part), is_list


def apply(agent: Agent, found: Facts, *, check: bool = False) -> Installed:
    """Bring the host to what `agent` says, as root; in check mode only say what would change. Raises InfisicalError,
    with the changes that were made before it in `details`.

    A second time it changes nothing. Jobs of before that are not in it any more are removed, with what they delivered,
    but for their vaults.
    """
    agent = checked(agent)
    host = Host(check)
    with _alone(check), _changes_reported(host):
        return _applied(host, agent, found)


def _applied(host: Host, agent: Agent, found: Facts) -> Installed:
    if not host.check:  # in check mode nobody has installed anything
        _check_python(agent.python)
    uses_systemd = found.systemd > 0 if agent.scheduler == "auto" else agent.scheduler == "systemd"
    if uses_systemd and not found.systemd:
        raise ConfigurationError("scheduler", "systemd does not run this host. Set scheduler: cron.")
    version = found.systemd if uses_systemd else 0
    credentials.encrypted_by(version, agent.credentials)  # a wrong option is refused before anything changes
    user = host.user(USER, units.STATE)
    done = Installed(**vars(host.done), version=_install(host, agent.python))
    host.directory(units.CONFIGURATION, 0o755)
    host.directory(config.JOBS, 0o750, (0, user[1]))
    host.directory(units.STATE, 0o700, user)
    host.directory(units.DELIVERIES, 0o700)
    for job in agent.jobs:
        host.directory(f"{units.STATE}/{job.name}", 0o700, user)
    if agent.metrics_directory:
        host.directory_of_root(agent.metrics_directory)
    kept = credentials.keep(host, _wanted(agent), credentials.Machine(version, found.machine_id, user))
    # Not before the credentials are there: applications still use what is removed here.
    _make_way(host, agent.jobs)
    for directory in (directory for job in agent.jobs for directory in _outside(job)):
        host.directory_of_root(directory)
    around = units.Surroundings(version, found.machine_id, USER, kept.paths, kept.encrypted)
    if host.file(systemd.INSTALLED_MACHINE_ID, found.machine_id + "\n", 0o644) and version and not host.check:
        # What told at boot that this is another machine is not wrong any more.
        host.run("systemctl", "reset-failed", units.MOVED.format("*"))
    for job in agent.jobs:
        done.warnings += credentials.set_aside(host, job.name, kept)
        metrics = _metrics_file(job.name)
        if metrics and os.path.dirname(metrics) != os.path.normpath(agent.metrics_directory):
            host.absent(metrics)
        changed = host.file(config.job_file(job.name), _configuration(job, agent, around), 0o640, (0, user[1]))
        wanted = {file.path for file in job.files}
        _withdraw(host, job.name, [path for path in Record(_record_file(job.name)).files if path not in wanted])
        last = report.read(_report_file(job.name))
        if changed or kept.renewed or last.failed or not last.ended or not credentials.vault_of(job.name).exists():
            done.due.append(job.name)
            done.requests += len(job.options.get("project_ids", ())) or 1
    _schedule(host, agent, around)
    credentials.forget(host, kept)
    _remove_jobs(host, {job.name for job in agent.jobs})
    done.warnings += _about_swap(agent.jobs)
    return done


def _wanted(agent: Agent) -> credentials.Wanted:
    values = {"infisical_client_id": agent.settings.client_id, "infisical_client_secret": agent.settings.client_secret}
    if agent.notify_webhook_url:
        values["infisical_webhook_url"] = agent.notify_webhook_url
    encoded = {name: text.encode("utf-8") for name, text in values.items()}
    return credentials.Wanted(agent.credentials, agent.credential_key, agent.rotate_key, encoded)


def _about_swap(jobs: Sequence[Job]) -> list[str]:
    """What is in memory may be written to swap, and is then on a disk in clear."""
    if not any(file.path.startswith("/run/") for job in jobs for file in job.files):
        return []
    try:
        with open("/proc/swaps", encoding="utf-8", errors="replace") as stream:
            used = [line.split()[0] for line in stream.readlines()[1:] if line.strip()]
    except OSError:
        return []
    # A mapped device is taken for an encrypted one, and zram is memory itself.
    plain = [path for path in used if not path.startswith(("/dev/dm-", "/dev/mapper/", "/dev/zram"))]
    if not plain:
        return []
    where = ", ".join(plain)
    return [f"This host swaps to {where}, where delivered secrets may end up in clear: encrypt swap, or turn it off."]


def remove(*, remove_vault: bool, check: bool = False) -> Done:
    """Take the agent off the host, as root, with all that it delivered; its vaults and keys stay unless `remove_vault`.

    Raises InfisicalError, with the changes that were made before it in `details`.
    """
    host = Host(check)
    with _alone(check), _changes_reported(host):
        return _removed(host, remove_vault)


def _removed(host: Host, remove_vault: bool) -> Done:
    _remove_jobs(host, set())
    for name in units.NAMES:
        host.absent(f"{UNITS}/{name}", unit=True)
    host.reload_units()
    credentials.remove(host, keep_key=not remove_vault)
    host.absent(units.COMMAND)
    for path in (LIBRARY, units.RUNTIME, units.REPORTS, units.DELIVERIES, config.JOBS):
        host.tree_absent(path)
    if remove_vault:
        for path in (units.STATE, units.CONFIGURATION):
            host.tree_absent(path)
        host.user_absent(USER)
    return host.done


_LOCK = "/run/infisical-agent.lock"
_LOCK_WAIT = 300.0
"""Seconds to wait for another run that changes the agent of this host."""


@contextlib.contextmanager
def _alone(check: bool) -> Iterator[None]:
    """Keep other runs out, which would write the same files. Check mode writes nothing."""
    if check:
        yield
        return
    busy = (
        f"Another run changes the agent of this host, and did not end within {_LOCK_WAIT:g} seconds. Let it finish."
    )  # fmt: skip
    with files.held(_LOCK, _LOCK_WAIT, busy, f"{_LOCK} cannot be locked"):
        yield


@contextlib.contextmanager
def _changes_reported(host: Host) -> Iterator[None]:
    """Let an InfisicalError from inside report the changes of the host before it."""
    try:
        yield
    except InfisicalError as error:
        changes, warnings = host.done.changes, host.done.warnings
        error.details = {"changed": False, **error.details, "changes": changes, "warnings": warnings}
        before = ""
        if changes and host.check:
            before = f"Changes that a run would make before this error: {len(changes)}."
        elif changes:
            before = f"Changes made before this error: {len(changes)} (the last one may be incomplete)."
            if host.withdrawn:
                before += f" Delivered files removed: {named(host.withdrawn)}."
        with after_writing(before, changed=True):
            raise


# Install


def sources() -> dict[str, bytes]:
    """This library's files by path ("core/errors.py"), from wherever it runs, also from the archive Ansible sends."""
    library = (__package__ or "").rpartition(".")[0]
    found = {"__init__.py": pkgutil.get_data(library, "__init__.py")}
    for module in pkgutil.walk_packages(import_module(library).__path__, f"{library}."):
        name = module.name[len(library) + 1 :].replace(".", "/")
        path = f"{name}/__init__.py" if module.ispkg else f"{name}.py"
        found[path] = pkgutil.get_data(library, path)
    missing = [path for path, data in found.items() if data is None]
    if missing:
        names = ", ".join(missing)
        raise StorageFailed(f"The library cannot be read from where it runs: {names}.")
    return {path: data for path, data in found.items() if data is not None}


_LAUNCHER = """\
#!{python} -IB
# Written by the role scheduled_sync of keyfleet.infisical.
import os
import sys

# The version of now, also for what is imported after another one has been installed.
sys.path.insert(0, os.path.realpath("{library}/current"))
from infisical.cli.main import main

raise SystemExit(main())
"""


def _install(host: Host, python: str) -> str:
    """The library in a folder of its own for each version, and the command; the version."""
    library = sources()
    digest = hashlib.sha256(python.encode() + b"".join(name.encode() + library[name] for name in sorted(library)))
    version = f"{VERSION}-{digest.hexdigest()[:12]}"
    versions = f"{LIBRARY}/versions"
    folder = f"{versions}/{version}"
    for path in (LIBRARY, versions):
        host.directory(path, 0o755)
    if not os.path.isdir(folder) and host.note(f"version {version} is installed"):
        unfinished = f"{folder}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        with host.explained(folder):
            for name, data in library.items():
                path = f"{unfinished}/infisical/{name}"
                os.makedirs(os.path.dirname(path), exist_ok=True)
                files.write_atomic(path, data, 0o644)
            os.chmod(unfinished, 0o755)  # noqa: S103
        # Not at each start, and nobody but root could keep it.
        host.run(python, "-I", "-m", "compileall", "-q", "-s", unfinished, "-p", folder, unfinished)
        with host.explained(folder):
            for path, folders, names in os.walk(unfinished):
                for each in (*folders, *names):
                    os.chmod(os.path.join(path, each), 0o755 if each in folders else 0o644)
            os.rename(unfinished, folder)
    before = os.path.basename(os.path.realpath(f"{LIBRARY}/current"))
    if host.link(f"{LIBRARY}/current", f"versions/{version}"):
        # Whatever runs now may import more of the version before.
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(versions):
                if name not in (version, before):
                    host.tree_absent(f"{versions}/{name}")
    host.file(units.COMMAND, _LAUNCHER.format(python=python, library=LIBRARY), 0o755)
    return version


def python(path: str) -> tuple[tuple[int, ...], list[str]]:
    """The version (major, minor) of a Python, empty where it cannot be started, and which libraries it lacks."""
    program = (
        "import sys, importlib.util as u\n"
        "sys.stdout.write('%d %d ' % sys.version_info[:2])\n"
        "sys.stdout.write(' '.join(n for n in ('requests', 'cryptography') if u.find_spec(n) is None))"
    )
    try:
        ended = systemd.run([path, "-I", "-c", program])
    except systemd.CannotRun:
        return (), []
    words = ended.out.decode("utf-8", "replace").split()
    if ended.status != 0 or len(words) < 2 or not (words[0].isdigit() and words[1].isdigit()):
        return (), []
    return (int(words[0]), int(words[1])), words[2:]


def _check_python(path: str) -> None:
    """Raise ConfigurationError where the agent's Python is too old or lacks a library."""
    version, missing = python(path)
    if version < _OLDEST_PYTHON:
        raise ConfigurationError("python", f"'{path}' is not Python 3.9 or later on this host. Name another one.")
    if missing:
        raise MissingLibrary(missing[0], path)


def _report_file(job: str) -> str:
    return f"{units.REPORTS}/{job}/result.json"


# Configuration and schedule


def _configuration(job: Job, agent: Agent, around: units.Surroundings) -> str:
    """A job's configuration file."""
    settings = agent.settings
    state = f"{units.STATE}/{job.name}"
    server = {
        name: getattr(settings, name)
        for name in ("url", "ca_path", "validate_certs", "proxy", "allow_http", "timeout", "api_version",
                     "rate_limit_wait", "server_error_wait", "connection_wait", "max_wait",
                     "max_response_size")
        if getattr(settings, name) != getattr(Settings(), name)
    }  # fmt: skip
    vault: dict[str, Any] = {"path": f"{state}/{credentials.VAULT_FILE}"}
    notify: dict[str, Any] = {"state_file": f"{state}/notify.json", "reminder": agent.notify_reminder}
    if around.encrypted:
        vault["key_credential"] = credentials.KEY
    else:
        # A service of systemd's finds its own copies first.
        vault["key_file"] = around.credentials[credentials.KEY]
        server["client_id_file"] = around.credentials["infisical_client_id"]
        server["client_secret_file"] = around.credentials["infisical_client_secret"]
        if agent.notify_webhook_url:
            notify["webhook_url_file"] = around.credentials["infisical_webhook_url"]
    if agent.notify_command:
        notify["command"] = agent.notify_command
    deliver = {"record_file": _record_file(job.name), "runtime_directory": job.default_directory}
    if agent.metrics_directory:
        deliver["metrics_directory"] = agent.metrics_directory
    sections: dict[str, Mapping[str, Any]] = {
        "infisical": server,
        "vault": vault,
        "sync": {"job": job.name, **job.options},
        "agent": {"result_file": _report_file(job.name), "login_file": f"{units.STATE}/login.json",
                  "interval": schedule.interval_text(job.minutes), "rate_limit_jitter": agent.rate_limit_jitter},
        "deliver": deliver,
        "notify": notify,
    }  # fmt: skip
    for number, file in enumerate(job.files, 1):
        sections[f"file {number}"] = {**file._asdict(), "mode": f"{file.mode:04o}"}
    lines = ["# Written by the role scheduled_sync of keyfleet.infisical."]
    for section, options in sections.items():
        shown = {name: _shown(value) for name, value in options.items()}
        lines += ["", f"[{section}]", *(f"{name} = {text}" for name, text in shown.items() if text)]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return ", ".join(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _outside(job: Job) -> list[str]:
    """The directories, outside of what lies in memory, that the files of a job lie in."""
    return sorted({file.directory for file in job.files if not file.directory.startswith("/run/")})


def _schedule(host: Host, agent: Agent, around: units.Surroundings) -> None:
    if not around.version:
        for job in agent.jobs:
            _without_timer(host, job.name)
        for name in units.NAMES:
            host.absent(f"{UNITS}/{name}", unit=True)
        host.reload_units()
        # What cron runs as root there must not be led elsewhere by the agent's user, whose the directory was.
        if os.path.lexists(units.REPORTS):
            host.directory(units.REPORTS, 0o755)
            for job in agent.jobs:
                if os.path.islink(os.path.dirname(_report_file(job.name))):
                    host.absent(os.path.dirname(_report_file(job.name)))
        for job in agent.jobs:
            host.file(f"{CRON}/{_cron_name(job.name)}", _cron(job, around.machine_id), 0o644)
        return
    for job in agent.jobs:
        host.absent(f"{CRON}/{_cron_name(job.name)}")
    for name, text in units.services(around).items():
        host.file(f"{UNITS}/{name}", text, 0o644, unit=True)
    restarted = []
    for job in agent.jobs:
        directories = [file.directory for file in job.files]
        timing = units.Timing(job.name, job.minutes, (*directories, *filter(None, [agent.metrics_directory])))
        if host.file(f"{UNITS}/{units.timer_of(job.name)}", units.timer(timing, around), 0o644, unit=True):
            restarted.append(units.timer_of(job.name))
        folder = f"{UNITS}/infisical-deliver@{job.name}.service.d"
        text = units.writable(timing)
        if text:
            host.directory(folder, 0o755)
            host.file(f"{folder}/paths.conf", text, 0o644, unit=True)
        else:
            host.absent(f"{folder}/paths.conf", unit=True)
    timers = [units.timer_of(job.name) for job in agent.jobs]
    host.reload_units([*timers, *(name for job in agent.jobs for name in units.of_job(job.name))])
    enabled = [*timers, *(name for job in agent.jobs for name in units.at_boot(job.name))]
    for name in _not(host, "is-enabled", "enabled", enabled):
        if host.note(f"{name} is enabled"):
            host.run("systemctl", "enable", "--quiet", name)
    stopped = _not(host, "is-active", "active", timers)
    for name in timers:
        if name in stopped and host.note(f"{name} is started"):
            host.run("systemctl", "start", name)
        elif name in restarted and not host.check:
            host.run("systemctl", "restart", name)


def _not(host: Host, question: str, answer: str, names: Sequence[str]) -> list[str]:
    """The units of which systemd does not say this."""
    try:
        said = systemd.run(["systemctl", question, *names]).out.decode("utf-8", "replace").splitlines()
    except systemd.CannotRun as error:
        raise StorageFailed(f"The program systemctl {error}.") from None
    # In check mode on a fresh host, systemd knows none of them and may say less than a line each.
    said = [line for line in said if line]
    return list(names) if len(said) != len(names) else [name for name, line in zip(names, said) if line != answer]


def _cron_name(job: str) -> str:
    # cron takes no file with a dot in its name.
    return "infisical-sync-" + job.replace(".", "_")


def _cron(job: Job, machine_id: str) -> str:
    """A line of cron: the sync as the agent's user at the host's own second, then, as root, what comes after it."""
    shift = schedule.offset(machine_id, job.name, job.minutes)
    end = f"--config {config.job_file(job.name)} >/dev/null"
    as_user = f"runuser -u {USER} -- {units.COMMAND}"
    steps = [f"sleep {shift % 60}", *map(" ".join, _in_memory(job.name)), f"{as_user} sync {end}",
             f"{units.COMMAND} deliver {end}", f"{as_user} notify {end}"]  # fmt: skip
    return (
        "# Written by the role scheduled_sync of keyfleet.infisical.\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        f"{schedule.cron(job.minutes, shift)} root {'; '.join(steps)}\n"
    )


def _in_memory(job: str) -> list[list[str]]:
    """What makes a job's directories in memory, which without systemd nobody else does."""
    report_directory = os.path.dirname(_report_file(job))
    return [["install", "-d", f"{units.RUNTIME}/{job}"], ["install", "-d", "-m", "700", "-o", USER, report_directory]]


def _remove_jobs(host: Host, wanted: set[str]) -> None:
    """Take away the jobs that are there and not wanted, with their timers and deliveries; their vaults stay."""
    gone = [name for name in jobs_there() if name not in wanted]
    for job in gone:
        _without_timer(host, job)
        _withdraw(host, job, Record(_record_file(job)).files)
        metrics = _metrics_file(job)
        for path in (*filter(None, [metrics]), f"{CRON}/{_cron_name(job)}", config.job_file(job)):
            host.absent(path)
        host.absent(_record_file(job))
        if not host.check:
            lock = _record_file(job) + LOCK
            with host.explained(lock), contextlib.suppress(FileNotFoundError):
                os.unlink(lock)
        for path in (f"{units.RUNTIME}/{job}", f"{units.REPORTS}/{job}"):
            host.tree_absent(path)
    host.reload_units()


def _without_timer(host: Host, job: str) -> None:
    """Take away what runs a job by systemd, but for the templates that all jobs share."""
    timer, folder = f"{UNITS}/{units.timer_of(job)}", f"{UNITS}/infisical-deliver@{job}.service.d"
    if os.path.exists(timer) and host.note(f"the timer of the job {job} is stopped"):
        host.run("systemctl", "disable", "--quiet", "--now", units.timer_of(job), *units.at_boot(job))
        # What still runs would deliver again, and keep the agent's user from being removed. One after the other,
        # because the end of one starts the next; one that is not there is stopped already.
        names = units.of_job(job)
        for command in (*(["stop", name] for name in names), ["reset-failed", *names]):
            with contextlib.suppress(systemd.CannotRun):
                systemd.run(["systemctl", *command])
    for path in (timer, f"{folder}/paths.conf"):
        host.absent(path, unit=True)
    host.tree_absent(folder)


def _metrics_file(job: str) -> str:
    """Where the job that is there leaves its metrics, empty for nowhere."""
    try:
        directory = config.Settled({}, {}, config.job_file(job)).first(("deliver", "metrics_directory"))
    except ConfigurationError:
        return ""
    return report.metrics_file(directory, job) if directory else ""


def jobs_there() -> list[str]:
    """The names of the host's jobs, also of those of which little is left."""
    found = set(config.installed_jobs())
    with contextlib.suppress(OSError):
        matches = (re.fullmatch(r"infisical-sync@(.+)\.timer", name) for name in os.listdir(UNITS))
        found.update(match[1] for match in matches if match)
    return sorted(found)


def _record_file(job: str) -> str:
    return f"{units.DELIVERIES}/{job}.json"


def _make_way(host: Host, jobs: Sequence[Job]) -> None:
    """Remove each delivered file in whose place a directory is to be, and each directory in whose place a file is.

    No delivery could: its sandbox lets it write where its files of now are.
    """
    wanted = [file for job in jobs for file in job.files]
    directories = {path for file in wanted for path in _and_above(file.directory)}
    singles = {file.path for file in wanted if file.format != "files"}
    for job in jobs_there():
        delivered = Record(_record_file(job)).files.items()
        for path, entry in delivered:
            if path in singles:
                check_all_delivered(path, entry)
        in_the_way = {True: singles, False: directories}
        _withdraw(host, job, [path for path, entry in delivered if path in in_the_way[entry["format"] == "files"]])


def _and_above(path: str) -> Iterator[str]:
    while path != "/":
        yield path
        path = os.path.dirname(path)


def _withdraw(host: Host, job: str, paths: Iterable[str]) -> None:
    """Remove what a job has delivered to these paths.

    Its next delivery could not: the sandbox lets it write where its files of now are.
    """
    gone = [path for path in paths if path not in host.withdrawn]
    if host.check or not gone:
        _note_withdrawn(host, gone)
        return
    with recorded(_record_file(job)) as record:
        done = withdraw(record, [path for path in gone if path in record.files])
        _note_withdrawn(
            host, [path for path in gone if path not in done.problems
                   or any(removed.startswith(path + "/") for removed in done.removed)],
        )  # fmt: skip
        failure = done.failure()
        with after_writing(str(failure or "")):
            record.write()
    if failure:
        raise failure


def _note_withdrawn(host: Host, paths: Sequence[str]) -> None:
    host.withdrawn.update(paths)
    for path in paths:
        host.note(f"{path}, which was delivered, is removed")


# Using it


def sync_now(job: str) -> report.Report:
    """Run a cycle of a job now, as root, and what comes after it, and wait for both; what it came to.

    Raises InfisicalError where there is no such job, and where it could not be run at all.
    """
    _check_there(job)
    path = _report_file(job)
    before = report.read(path)
    if os.path.exists(f"{UNITS}/{units.timer_of(job)}"):
        sync, deliver = (["systemctl", "start", f"infisical-{what}@{job}.service"] for what in ("sync", "deliver"))
        # A start joins a cycle that runs, and that may have read before what is to be had now has changed.
        commands = [*([sync] * _runs(sync[-1])), sync, deliver]
    else:
        end = ["--config", config.job_file(job)]
        as_user = ["runuser", "-u", USER, "--", units.COMMAND]
        commands = [*_in_memory(job), [*as_user, "sync", *end], [units.COMMAND, "deliver", *end]]
    said = []
    for command in commands:
        try:
            said.append(systemd.run(command, seconds=units.SECONDS_OF_A_CYCLE).said)
        except systemd.CannotRun as error:
            raise StorageFailed(f"The program {command[0]} {error}.") from None
    after = report.read(path)
    if after == before:
        raise StorageFailed(f"The sync of the job {job} left no report: {said[-2] or 'see its journal'}"
        )  # fmt: skip
    return after


def _runs(unit: str) -> bool:
    try:
        return systemd.run(["systemctl", "is-active", unit]).out.strip() == b"activating"
    except systemd.CannotRun:
        return False  # the next command tells


def jobs_to_sync(named: Sequence[str] | None, *, check: bool = False) -> Sequence[str]:
    """The jobs that are named, or all of the host for None. Raises ConfigurationError if that is none: who syncs after
    a leak must not take it for done. In `check` mode a host may have none yet."""
    jobs = jobs_there() if named is None else named
    if jobs or (check and named is None):
        return jobs
    raise ConfigurationError(
        "jobs", "this host has no job of the agent, so nothing was synced. Run the role scheduled_sync on it, or leave "
        "the host out." if named is None else "must name at least one job (got none). Leave it out for all jobs."
    )  # fmt: skip


def sync_all(jobs: Sequence[str]) -> dict[str, Any]:
    """Run a cycle of each job; the result as plain data. Raises InfisicalError where any of them fails, after all have
    run, with the same in `details`."""
    for job in jobs:
        _check_there(job)
    reports = {job: _tried(job) for job in jobs}
    result = {
        "changed": any(
            number for report in reports.values() for what, number in report.counts.items() if what != "unchanged"
        ),
        "reports": {job: asdict(report) for job, report in reports.items()},
    }
    failed = [report for report in reports.values() if report.failed]
    if failed:
        names = ", ".join(f"{report.job} ({report.conclusion})" for report in failed)
        kind = PartialFailure if len(failed) < len(reports) else error_class(failed[0].conclusion)
        error = kind(f"These jobs failed to sync: {names}. {failed[0].message}", hint="")
        error.details = result
        raise error
    return result


def _check_there(job: str) -> None:
    there = jobs_there()
    if job not in there:
        raise ConfigurationError(
            "jobs", f"there is no job '{job}' on this host. There are: {', '.join(there) or 'none'}."
        )  # fmt: skip


def _tried(job: str) -> report.Report:
    """What a cycle came to, also where it could not be run."""
    try:
        return sync_now(job)
    except InfisicalError as error:
        return report.Report(job, conclusion=error.conclusion, message=str(error))


_STATUS = ("vault", "problem", "generation", "secrets", "environment", "secret_path", "job", "last_sync", "age_seconds",
           "environment_checked", "last_error", "error_count", "pull_count", "push_count")  # fmt: skip
"""Keys of a job's status, which are null if it cannot be read."""


def status() -> list[dict[str, Any]]:
    """The status of each job, as `infisical-sync status --json` reports it. A job whose status cannot be read has the
    same keys, with `failed`, and why in `conclusion`, `message` and `last_cycle`. Raises InfisicalError if that is so
    for every job."""
    found: list[dict[str, Any]] = []
    silent: list[InfisicalError] = []
    for job in config.installed_jobs():
        try:
            ended = systemd.run([units.COMMAND, "status", "--json", "--config", config.job_file(job)])
            about = {"failed": False, "conclusion": None, "message": None, "hint": None, **parse_json(ended.out)}
        except (systemd.CannotRun, ValueError, TypeError):
            error = StorageFailed(
                f"{units.COMMAND} does not report the status of the job {job}. Run the role scheduled_sync again.",
            )
            silent.append(error)
            about = {"failed": True, "conclusion": error.conclusion, "message": str(error), "hint": error.hint}
        if about["failed"]:
            cycle = report.Report(job, conclusion=about["conclusion"], message=about["message"])
            about = {**dict.fromkeys(_STATUS), "projects": [], "last_cycle": asdict(cycle), **about}
        found.append({"name": job, **about})
    if silent and len(silent) == len(found):
        raise silent[0]
    return found
