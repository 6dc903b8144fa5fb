# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command infisical-sync: options in, one call into the library, the report out; every import waits for its use."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..agent.config import (
    BY_PLACE,
    CONFIG_FILES,
    JOBS,
    OPTIONS,
    Layer,
    Option,
    Settled,
    installed_jobs,
    job_file,
    job_of,
    path_of_file,
    secret_text,
)
from ..core.errors import (
    ConfigurationError,
    InfisicalError,
    StorageFailed,
)
from ..core.model import shown
from ..core.version import VERSION

if TYPE_CHECKING:
    from ..sync.outcome import Outcome
    from ..vault.keys import KeySource
    from ..vault.state import StateFile
    from ..vault.store import Vault

OK, FAILED, USAGE, NOT_FOUND = 0, 1, 2, 9
CANNOT_EXECUTE, COMMAND_NOT_FOUND, INTERRUPTED, BROKEN_PIPE = 126, 127, 130, 141

CODES = """\
exit codes:
  0  done; with status, whatever the last sync came to
  1  the server refuses what was asked, or something unforeseen
  2  wrong use or configuration, also a project, environment or path that
     does not exist
  3  the login or the permission: rejected, locked out, forbidden
  4  the network: unreachable, certificate, rate limit, server error
  5  the guard: too much would be deleted, names clash, values are hidden
  6  the vault: missing, wrong key, damaged, unsafe permissions, disk full
  7  another sync or writer holds the vault
  8  partly done: the message says what is done and what is not
  9  there is no entry of that name in the vault
exec ends with the code of the program it runs; 127 where it is not found,
126 where it cannot be run. 130 stands for an interrupt, 141 for output that
nobody reads any more."""


def _required(settled: Settled, options: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise ConfigurationError, with the ways to set it, for the first of these options that is not there."""
    for name in names:
        if options.get(name):
            continue
        option = BY_PLACE["infisical", name]
        _refuse_incomplete(settled, name)
        ways = [option.long] if option.flag else []
        ways += [option.environment[0], f"{name} under [infisical] in the configuration file"]
        if ("infisical", name + "_file") in BY_PLACE:
            ways.insert(len(ways) - 1, f"--{name.replace('_', '-')}-file")
            ways.insert(len(ways) - 1, f"the systemd credential infisical_{name}")
        raise ConfigurationError(name, f"not given ({option.help}). Set it by {', '.join(ways[:-1])} or {ways[-1]}.")


def _refuse_incomplete(settled: Settled, name: str) -> None:
    """Raise ConfigurationError for an option that the file of a job of the agent lacks: no other way to set it counts
    for the job's services, and the role writes the file."""
    if settled.installed:
        variable = {"environment": "environment of the job in scheduled_sync_jobs", "url": "infisical_url",
                    "project_id": "infisical_project_id", "client_id": "scheduled_sync_client_id",
                    "client_secret": "scheduled_sync_client_secret"}.get(name)  # fmt: skip
        hint = f"Set {variable}, and run" if variable else "Run"
        raise ConfigurationError(
            name, f"not given in {settled.installed}. {hint} the role scheduled_sync again: it writes this file."
        )


# The vault


def _key(settled: Settled) -> KeySource:
    from ..vault.keys import KEY_OPTIONS, key_source

    given = settled.group("vault", KEY_OPTIONS)
    if not given:
        _refuse_incomplete(settled, "key_file")
        raise ConfigurationError(
            "key_file", "not given. Set --key-file, --key-credential or --passphrase-file, the environment variable of "
            "the same name (INFISICAL_KEY_FILE), the systemd credential infisical_vault_key, or key_file under [vault] "
            "in the configuration file. A new key is made by: infisical-sync vault keygen --key-file PATH"
        )  # fmt: skip
    return key_source(**given, credentials=settled.credentials)


def _opened(settled: Settled, say: Console, *further: KeySource, tolerant: bool = False) -> tuple[Vault, StateFile]:
    """The vault and its state file; as root, from now on as the vault's owner. `further` keys are read before that."""
    from ..vault.session import open_vault

    path = _vault_path(settled)
    keys = _key(settled)
    become_owner(path, (keys, *further), tolerant=tolerant)
    state_file = settled.first(("vault", "state_file")) or ""
    return open_vault(path, keys, state_file, lock_wait=_lock_wait(settled), warn=say.warn)


def _vault_path(settled: Settled) -> str:
    path = settled.first(("vault", "path"))
    if not path:
        _refuse_incomplete(settled, "vault")
        raise ConfigurationError(
            "vault", "not given. Set --vault, INFISICAL_VAULT_PATH, or path under [vault] in the configuration file."
        )
    return str(path)


def _lock_wait(settled: Settled) -> float:
    seconds = settled.first(("vault", "lock_wait"))
    if seconds is not None and not 0 <= seconds <= 86400:
        raise ConfigurationError("lock_wait", f"{seconds:g} is no number of seconds between 0 and 86400.")
    return 30.0 if seconds is None else float(seconds)


def become_owner(path: str, keys: Iterable[KeySource] = (), *, tolerant: bool = False) -> None:
    """As root, read the keys, which may be for root alone, and then become whoever owns the vault `path`, or its
    directory where there is no vault yet: so that neither the vault nor anything beside it ends up as root's.

    For good, with the owner's groups; everybody else stays who they are. Raises InfisicalError, but not for a key that
    cannot be read if `tolerant`.
    """
    if os.geteuid() != 0:
        return
    try:
        # Of a link it is the link's owner who counts: who may place one must not choose whom it leads to.
        info = os.lstat(path) if os.path.lexists(path) else os.stat(os.path.dirname(path))
    except OSError:
        return  # the vault's own error says more
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
    if unreadable:  # what is imported from now on would be missing, and the error about that misleading
        raise ConfigurationError(
            "vault", f"'{path}' belongs to user {name or info.st_uid}, who root becomes to open it, and who cannot "
            f"read {unreadable}. Run this with a Python, and from a place, that all users can read."
        )  # fmt: skip


# Output


class Console:
    """What is said: reports on standard output; warnings, progress and errors on standard error."""

    def __init__(self, *, json: bool = False, verbose: bool = False) -> None:
        self.json = json
        self.verbose = verbose
        self.check = False
        """Whether nothing is written: what is reported would be done."""
        self.job = ""
        """The job that everything is about, if the command works on several."""
        self.flags: Mapping[str, str] = {}
        """What advice calls the options of the command by, and how one types them."""
        self.partly: Callable[[Console, Mapping[str, Any]], None] = lambda say, details: None
        """Report what the command did before it failed, from the error's details; of most, nothing is known."""
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._progress = False

    def out(self, text: str) -> None:
        """A line of the report."""
        _write((text + "\n").encode("utf-8", "backslashreplace"))

    def data(self, value: Any) -> None:
        """The report as JSON."""
        import json

        self.out(json.dumps(value, indent=2, ensure_ascii=False))

    def warn(self, text: str) -> None:
        """A warning."""
        self.error(f"warning: {text}")

    def error(self, text: str) -> None:
        """A line on standard error."""
        self.clear()
        if sys.stderr is not None:  # it was closed by whoever started this
            about = f"{self.job}: " if self.job else ""
            sys.stderr.write(f"infisical-sync: {shown(about + self.advised(text))}\n")
            sys.stderr.flush()

    def advised(self, text: str) -> str:
        """The text, with each option that it advises to set spelled as one types it: advice is written for YAML."""
        return _ADVICE.sub(self._typed, text)

    def _typed(self, found: re.Match[str]) -> str:
        verb, name, value = found.groups()
        flag = self.flags.get(name)
        if flag is None:
            return found[0]
        if BY_FLAG[flag] == "bool":
            return verb + (f"--no-{flag[2:]}" if value == "false" else flag)
        return verb + flag + (f" {value}" if value else "")

    def log(self, text: str) -> None:
        """What is going on: in place on a terminal, where one watches; elsewhere only what explains a long silence."""
        if self._terminal:
            width = max(20, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
            line = shown(text)
            sys.stderr.write("\r\x1b[K" + (line if len(line) <= width else line[: width - 1] + "…"))
            sys.stderr.flush()
            self._progress = True
        elif text.startswith("Waiting "):
            self.error(text)

    def clear(self) -> None:
        """Take the progress line away."""
        if self._progress:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._progress = False


_ADVICE = re.compile(
    r"\b((?:[Ss]et|[Rr]aise|[Gg]ive|[Uu]se) (?:an?other |a larger |a longer )?)([a-z_]+)(?:: ([a-z_]+))?\b"
)


def _write(data: bytes) -> None:
    """Bytes to standard output, at once. Raises BrokenPipeError, and InfisicalError (STORAGE) where it is full."""
    if sys.stdout is None:
        raise StorageFailed("Standard output is closed, and was to be written.")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        with contextlib.suppress(OSError):  # or the interpreter complains of it once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StorageFailed(
            f"Standard output cannot be written: {error.strerror}. What is there is not complete."
        ) from None


def _report(say: Console, outcome: Outcome, check: bool) -> None:
    say.clear()
    for text in outcome.warnings:
        say.warn(text)
    if say.json:
        say.data(outcome.as_result())
        return
    if check or say.verbose:
        _report_names(say, outcome.as_result())
    verb = {"pull": ("pulled", "would pull"), "push": ("pushed", "would push")}[outcome.direction][check]
    generation = f" (generation {outcome.generation})" if outcome.direction == "pull" and outcome.generation else ""
    say.out(f"{verb}: {outcome.summary()}{generation}")
    for approval in outcome.approvals:
        say.out(f"waits for approval: {approval}")


def _report_partly(say: Console, details: Mapping[str, Any]) -> None:
    """What a sync or push did before its error, or with --check would do, if the error says so."""
    if not details.get("changed") or "counts" not in details:
        return
    if say.check or say.verbose:
        _report_names(say, details)
    counts = ", ".join(f"{number} {word}" for word, number in details["counts"].items())
    verb = "push" if details["direction"] == "push" else "pull"
    say.out(f"would partly {verb}: {counts}" if say.check else f"partly {verb}ed: {counts}")


def _report_names(say: Console, result: Mapping[str, Any]) -> None:
    before, after = result["diff"]["before"], result["diff"]["after"]
    signs = {**dict.fromkeys(result["created"], "+"), **dict.fromkeys(result["updated"], "~")}
    signs.update(dict.fromkeys(result["deleted"], "-"))
    for name in sorted(signs):
        versions = [f"version {known[name]}" for known in (before, after) if known.get(name)]
        said = " -> ".join(versions if len(set(versions)) > 1 else versions[:1])
        say.out(f"{signs[name]} {shown(name)}" + (f" ({said})" if said else ""))


# Commands


def _sync(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..agent.cycle import report_cycle

    job, result_file = settled.first(("sync", "job")) or "default", settled.first(("agent", "result_file")) or ""
    if result_file and not settled.group("infisical", ("client_id", "client_id_file")):
        # Not for the report: nothing is wrong with the agent.
        raise ConfigurationError(
            "client_id",
            f"the credentials of the agent's job '{job}' are for its service alone. Run as root: systemctl start "
            f"infisical-sync@{job}.service",
        )
    with report_cycle("" if arguments.check else result_file, job, os.environ) as reporter:
        reporter.outcome = _pulled(settled, arguments, say)
    _report(say, reporter.outcome, arguments.check)
    return OK


def _pulled(settled: Settled, arguments: argparse.Namespace, say: Console) -> Outcome:
    from ..agent.login_backoff import BackoffLogin
    from ..client.api import connect
    from ..client.auth import Login
    from ..core.model import Settings
    from ..sync.job import Pull
    from ..sync.pull import pull

    options = settled.server("sync")
    _require_login(settled, options)
    _required(settled, options, ["environment"])
    settings = Settings.from_options(options)
    job = {name: value for name, value in settled.section("sync").items() if name not in ("environment", "secret_path")}
    project_ids = settled.first(("sync", "project_ids"), ("infisical", "project_id")) or ()
    project_ids = (project_ids,) if isinstance(project_ids, str) else project_ids
    job["project_ids"] = project_ids
    wanted = Pull(environment=settings.environment, secret_path=settings.secret_path, **job)
    login_file = settled.first(("agent", "login_file"))
    api = connect(
        settings,
        tokens=(lambda transport: BackoffLogin(transport, login_file)) if login_file else Login,
        log=say.log,
        rate_limit_jitter=settled.first(("agent", "rate_limit_jitter")) or 0.0,
    )
    vault, state = _opened(settled, say)
    return pull(api, vault, state, wanted, check=arguments.check, lock_wait=_lock_wait(settled), log=say.log)


def _require_login(settled: Settled, options: Mapping[str, Any]) -> None:
    by_token = options.get("auth_method") == "token"
    _required(settled, options, ["url", *(["token"] if by_token else ["client_id", "client_secret"])])


def _push(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..client.api import connect
    from ..core.model import Settings
    from ..sync.job import Push
    from ..sync.push import open_state, push
    from ..vault.state import HMAC, SHA256

    options = settled.server("push")
    _require_login(settled, options)
    _required(settled, options, ["project_id", "environment"])
    settings = Settings.from_options(options)
    elsewhere = ("project_id", "environment", "secret_path", "state_file", "state_hash")
    job = Push(**{name: value for name, value in settled.section("push").items() if name not in elsewhere})
    api = connect(settings, log=say.log)
    # A source of root's is read before root becomes the vault's owner.
    source = {} if arguments.source == "vault" else _source(arguments.source)
    path, state_hash = settled.first(("push", "state_file")), settled.first(("push", "state_hash")) or SHA256
    vault, vault_state = None, None
    if arguments.source == "vault" or (path and state_hash == HMAC):
        vault, vault_state = _opened(settled, say)
    if vault is not None and arguments.source == "vault":
        source = _values(vault)
    else:
        vault_state = None
    state = open_state(path or "", settings.scope(), state_hash=state_hash, vault=vault, warn=say.warn)
    outcome = push(
        api, settings.scope(), source, job, state=state, vault_state=vault_state, check=arguments.check, log=say.log
    )
    _report(say, outcome, arguments.check)
    return OK


def _source(source: str) -> dict[str, str]:
    from ..sync.push import parse_source, read_source

    if source == "-":
        return parse_source(_text(_stdin(), "from"), "standard input")
    return read_source(os.path.abspath(os.path.expanduser(source)), may_be_pipe=True)


def _stdin() -> bytes:
    if sys.stdin is None:
        raise ConfigurationError("standard input", "is closed, and was to be read.")
    return sys.stdin.buffer.read()


def _text(raw: bytes, option: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(
            option, "what was given is no UTF-8 text. Encode binary data, for instance with base64."
        ) from None


def _status(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..vault.session import status

    vault, state = _opened(settled, say, tolerant=True)  # a host that has lost its key still tells the rest
    found = status(vault, state)
    found["job"] = found["job"] or settled.first(("sync", "job"))  # it may not have synced yet
    result_file = settled.first(("agent", "result_file"))
    if result_file:
        from dataclasses import asdict

        from ..agent.report import read

        found["last_cycle"] = asdict(read(result_file))
    if say.json:
        say.data(found)
        return OK
    for line in _status_lines(found):
        say.out(line)
    return OK


def _status_lines(found: Mapping[str, Any]) -> Iterator[str]:
    secrets = "unknown" if found.get("secrets") is None else found["secrets"]
    last, age = found.get("last_sync"), found.get("age_seconds")
    error = found.get("last_error")
    yield f"vault:       {found['vault']}"
    if found.get("problem"):
        yield f"problem:     {shown(found['problem'])}"
    yield f"secrets:     {secrets} (generation {found['generation']})"
    yield f"projects:    {', '.join(shown(project) for project in found['projects']) or 'none'}"
    seen = found.get("environment_checked")
    yield f"environment: {shown(found['environment'] or 'none')}" + (f" (last seen {shown(str(seen))})" if seen else "")
    yield "last sync:   " + ("never" if last is None else f"{last}" + ("" if age is None else f" ({_age(age)} ago)"))
    yield "last error:  " + ("none" if not error else f"{error.get('time')}: {shown(str(error.get('message')))}")
    cycle = found.get("last_cycle")
    if cycle and cycle["ended"]:
        # What the state file could not take up stands in the report alone.
        told = ("", found.get("problem"), (error or {}).get("message"))
        more = "" if cycle["message"] in told else f": {shown(cycle['message'])}"
        yield f"last cycle:  {cycle['ended']}: {shown(cycle['conclusion'])}{more}"
    if cycle and cycle["next_login"]:
        yield f"next login:  {shown(cycle['next_login'])}"
    yield f"counts:      {found['pull_count']} pulled, {found['push_count']} pushed, {found['error_count']} errors"


def _metadata(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    """All jobs in one document; their configuration files are in `arguments.configs`."""
    from ..fleet import host_metadata as metadata
    from ..vault.session import open_vault

    names = {config: job_of(config) for config in arguments.configs}
    keys: dict[KeySource, KeySource] = {}
    opened: dict[str, tuple[Settled, str, KeySource]] = {}
    problems: dict[str, str] = {}
    for config in names:
        try:
            own = Settled(_given(arguments), os.environ, config)
            names[config] = own.first(("sync", "job")) or names[config] or "default"
            key = _key(own)
            opened[config] = (own, _vault_path(own), keys.setdefault(key, key))
        except Exception as error:
            names[config], problems[config] = names[config] or "default", _in_words(error)
    if opened:
        # Root reads all keys while it can. The jobs of an agent belong to one user.
        become_owner(next(iter(opened.values()))[1], keys, tolerant=True)
    told = []
    for config, job in names.items():
        try:
            if config not in opened:
                told.append(metadata.unknown(job, problems[config]))
                continue
            own, path, key = opened[config]
            vault, state = open_vault(path, key, own.first(("vault", "state_file")) or "", warn=say.warn)
            told.append(metadata.of_job(job, own, vault, state))
        except Exception as error:
            told.append(metadata.unknown(job, _in_words(error)))
    if say.json:
        import json

        say.out(json.dumps(metadata.document(VERSION, told), separators=(",", ":")))
        return OK
    for about in told:
        last, held = about["last_sync"] or "never", len(about["secrets"])
        problem = f", {about['problem']}" if about["problem"] else ""
        say.out(shown(f"{about['job']}: {held} secrets (generation {about['generation']}), last sync {last}{problem}"))
    return OK


def _age(seconds: int) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}s"
    return f"{seconds} seconds"


def _vault_get(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    vault, _state = _opened(settled, say)
    secret = vault.read().get(arguments.name)
    if secret is None:
        return _no_entry(say, arguments.name, vault.path)
    newline = b"\n" if sys.stdout is not None and sys.stdout.isatty() else b""
    _write((secret.value or "").encode("utf-8") + newline)
    return OK


def _no_entry(say: Console, name: str, path: str) -> int:
    say.error(f"There is no entry '{name}' in {path}. See: infisical-sync vault list")
    return NOT_FOUND


def _vault_set(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..vault.session import put

    value = _value(arguments)
    vault, state = _opened(settled, say)
    plan = put(vault, state, arguments.name, value, check=arguments.check)
    _report_entry(say, arguments, [change.action for change in plan.changes])
    return OK


def _value(arguments: argparse.Namespace) -> str:
    """A value from a file, a terminal (twice, unseen) or standard input, to the byte."""
    if arguments.file:
        try:
            with open(os.path.expanduser(arguments.file), "rb") as stream:
                raw = stream.read()
        except OSError as error:
            raise ConfigurationError("file", f"'{arguments.file}' cannot be read: {error.strerror}.") from None
        value = _text(raw, "file")
    elif sys.stdin is not None and sys.stdin.isatty():
        return _asked()
    else:
        value = _text(_stdin(), "value")
    if arguments.strip_newline and value.endswith("\n"):
        value = value[: -2 if value.endswith("\r\n") else -1]
    return value


def _asked() -> str:
    """A value typed twice on the terminal, unseen."""
    import getpass
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            value = getpass.getpass("Value: ", sys.stderr)
            again = getpass.getpass("The same again: ", sys.stderr)
        except getpass.GetPassWarning:
            raise ConfigurationError(
                "value", "this terminal would show it. Give it by standard input or --file."
            ) from None
        except EOFError:
            raise ConfigurationError("value", "none was given. Nothing was changed.") from None
    if value != again:
        raise ConfigurationError("value", "the two are not the same. Nothing was changed.")
    return value


def _deliver(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..agent import cycle
    from ..vault.session import open_vault

    job, path = settled.first(("sync", "job")) or "default", _vault_path(settled)
    if os.geteuid() != 0:
        raise ConfigurationError("user", "only root delivers files to others. Run this as root.")
    record_file = settled.first(("deliver", "record_file"))
    if not record_file:
        raise ConfigurationError("record_file", "not given under [deliver] in the configuration file.")
    work = cycle.DeliveryPaths(
        settled.files(),
        record_file,
        settled.first(("deliver", "runtime_directory")) or "",
        settled.first(("deliver", "metrics_directory")) or "",
        settled.first(("agent", "result_file")) or "",
    )
    # Root stays root: it is other users who get the files.
    vault, state = open_vault(path, _key(settled), settled.first(("vault", "state_file")) or "", warn=say.warn)
    done = cycle.deliver(vault, state, job, work).as_result()
    if say.json:
        say.data(done)
        return OK
    if not done["changed"]:
        say.out("delivered: nothing has changed" if vault.exists() else "delivered: nothing, there is no vault yet")
    _report_delivery(say, done)
    return OK


def _report_delivery(say: Console, done: Mapping[str, Any]) -> None:
    for word in ("written", "removed", "notified", "unknown"):
        for name in done.get(word, ()):
            say.out(f"{word}: {shown(name)}")


def _notify(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    import socket
    from dataclasses import replace

    from ..agent import report as reports
    from ..agent.notify import Channel, notify

    job, state_file = settled.first(("sync", "job")) or "default", settled.first(("notify", "state_file"))
    if not state_file:
        raise ConfigurationError("state_file", "not given under [notify] in the configuration file.")
    webhook = settled.group("notify", ("webhook_url", "webhook_url_file"))
    if "webhook_url_file" in webhook:
        webhook["webhook_url"] = secret_text(webhook["webhook_url_file"], "webhook_url_file", settled.credentials)
    reminder = settled.first(("notify", "reminder"))
    channel = Channel(
        command=settled.first(("notify", "command")) or "",
        webhook_url=webhook.get("webhook_url", ""),
        reminder=Channel.reminder if reminder is None else reminder,
        ca_path=settled.first(("infisical", "ca_path")) or "",
        proxy=settled.first(("infisical", "proxy")) or "",
        allow_http=bool(settled.first(("infisical", "allow_http"))),
    )
    report = replace(reports.read(settled.first(("agent", "result_file")) or ""), job=job)
    kind = notify(state_file, socket.gethostname(), report, channel, _last_sync(settled))
    say.out(f"notification sent: {kind}" if kind else "no notification needed")
    return OK


def _last_sync(settled: Settled) -> str:
    """When a sync last succeeded, also before this boot; empty where that is not known."""
    from ..vault.state import StateFile, path_beside

    path = settled.first(("vault", "state_file"))
    try:
        head = StateFile(path or path_beside(_vault_path(settled))).head()
    except InfisicalError:
        return ""
    return str(head.get("last_sync") or "")


def _finish(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..agent.cycle import finish

    finish(settled.first(("agent", "result_file")) or "", settled.first(("sync", "job")) or "", os.environ)
    return OK


def _moved(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    """Say that this is another machine than the one the agent was installed on, in the report and to who is told."""
    from ..agent.cycle import report_cycle
    from ..core.systemd import refuse_other_machine

    with report_cycle(settled.first(("agent", "result_file")) or "", settled.first(("sync", "job")) or "", os.environ):
        refuse_other_machine()
    return OK


def _ready(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..agent.cycle import wait_for_delivery

    wait_for_delivery(settled.first(("deliver", "runtime_directory")) or "")
    return OK


_DONE = {"create": ("created", "would create"), "update": ("updated", "would update"),
         "delete": ("deleted", "would delete")}  # fmt: skip


def _report_entry(say: Console, arguments: argparse.Namespace, actions: Sequence[str]) -> None:
    action = actions[0] if actions else None
    if say.json:
        say.data({"name": arguments.name, "changed": bool(actions), "action": action})
    else:
        say.out(f"{_DONE[action][arguments.check] if action else 'unchanged'}: {shown(arguments.name)}")


def _vault_delete(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..vault.session import remove

    vault, state = _opened(settled, say)
    plan = remove(vault, state, arguments.name, check=arguments.check)
    if not plan.changes:
        return _no_entry(say, arguments.name, vault.path)
    _report_entry(say, arguments, ["delete"])
    return OK


_COLUMNS = ("name", "version", "project", "environment", "path", "job", "since")


def _vault_list(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    vault, _state = _opened(settled, say)
    rows = [
        {
            "name": name,
            "key": secret.key,
            "version": secret.version,
            "project": secret.project_id,
            "environment": secret.environment,
            "path": secret.secret_path if secret.project_id else "",
            "job": secret.job,
            "since": secret.synced_at,
        }
        for name, secret in sorted(vault.read().secrets.items())
    ]
    if say.json:
        say.data(rows)
        return OK
    table = [tuple(column.upper() for column in _COLUMNS)]
    table += [tuple(shown(str(row[column] or "-")) for column in _COLUMNS) for row in rows]
    widths = [max(len(line[place]) for line in table) for place in range(len(_COLUMNS))]
    for line in table:
        say.out("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    return OK


def _vault_export(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    path = arguments.output and path_of_file("output", arguments.output)
    vault, state = _opened(settled, say)
    values = _chosen_values(vault, arguments.names)
    if arguments.format == "json":
        import json

        text = json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    else:
        from ..core import dotenv

        _check_names(values, arguments.allow, "export them with --format json")
        text = dotenv.dump(values) if arguments.format == "dotenv" else dotenv.dump_env_file(values)
    if path is None:
        _write(text.encode("utf-8"))
        return OK
    from ..core import files

    own = [*vault.own_files(), state.path, state.path + ".lock", *settled.paths()]
    if any(files.is_same_place(path, other) for other in own):
        raise ConfigurationError(
            "output", f"'{path}' belongs to the vault or is named by its configuration, and would be lost. Name "
            "another file."
        )  # fmt: skip
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise ConfigurationError(
                    "output", f"'{path}' is a symbolic link or no regular file, and would be replaced. Name the file "
                    "itself, or redirect standard output."
                )  # fmt: skip
        files.write_atomic(path, text.encode("utf-8"))
    except OSError as error:
        raise StorageFailed(f"'{path}' cannot be written: {error.strerror}. Its directory must exist and be "
            "writable for the vault's owner."
        ) from None  # fmt: skip
    return OK


def _values(vault: Vault) -> dict[str, str]:
    return {name: secret.value or "" for name, secret in vault.read().secrets.items()}


def _chosen_values(vault: Vault, patterns: Sequence[str]) -> dict[str, str]:
    """The values whose names fit the patterns. Raises ConfigurationError for a pattern that no name fits."""
    from ..core.dotenv import matching

    values = _values(vault)
    for pattern in patterns:
        if not matching(values, [pattern]):
            raise ConfigurationError("names", f"no entry of {vault.path} has a name like '{pattern}'.")
    return matching(values, patterns)


def _check_names(values: Mapping[str, str], allowed: Sequence[str], otherwise: str) -> None:
    """Raise ConfigurationError naming what does not go into an environment unless it is allowed by name."""
    from ..core import dotenv

    refused = dotenv.refused(values, allowed)
    if not refused:
        return
    said = "; ".join(f"'{name}', because {reason}" for name, reason in sorted(refused.items())[:10])
    more = f"; and {len(refused) - 10} more" if len(refused) > 10 else ""
    raise ConfigurationError("allow", f"refused as environment variables: {said}{more}. Allow each by name with "
                             f"--allow NAME, or {otherwise}.")  # fmt: skip


def _vault_verify(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    vault, _state = _opened(settled, say)
    contents = vault.verify()
    number = len(contents.secrets)
    if say.json:
        say.data({"vault": vault.path, "generation": contents.generation, "secrets": number})
    else:
        say.out(f"{vault.path} is whole: {number} secrets, generation {contents.generation}")
    return OK


def _vault_rekey(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..vault.keys import key_source
    from ..vault.session import rekey

    paths = {name: getattr(arguments, f"new_{name}") for name in ("key_file", "passphrase_file")}
    given = {name: os.path.abspath(os.path.expanduser(path)) for name, path in paths.items() if path}
    if not given and not arguments.data:
        raise ConfigurationError(
            "new_key_file", "not given. Set --new-key-file or --new-passphrase-file, --data to change the data key, or "
            "both. A new key is made by: infisical-sync vault keygen --key-file PATH"
        )  # fmt: skip
    new = key_source(**given, credentials=settled.credentials) if given else _key(settled)
    vault, state = _opened(settled, say, new)
    contents = rekey(vault, state, new, data=arguments.data)
    say.out(f"{vault.path} is sealed anew: generation {contents.generation}")
    if given:
        say.error("From now on only the new key opens the vault. Change the configuration before the next sync.")
    return OK


def _vault_keygen(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..vault.keys import make_key_file

    path = settled.first(("vault", "key_file"))
    if not path:
        raise ConfigurationError("key_file", "not given. Set --key-file to the path of the new key.")
    if make_key_file(path):
        say.out(f"made a key: {path}")
        say.error("Keep a copy of it elsewhere: without it nothing opens the vault.")
    else:
        say.out(f"left as it is: {path} is there already")
    return OK


_OWN = (b"INFISICAL_",)


def _exec(settled: Settled, arguments: argparse.Namespace, say: Console) -> int:
    from ..core import dotenv

    vault, _state = _opened(settled, say)
    values = _chosen_values(vault, arguments.names)
    _check_names(values, arguments.allow, "choose the others with --names")
    for name, value in values.items():
        if not name or "=" in name or "\0" in name:
            raise ConfigurationError("names", f"'{name}' cannot be the name of an environment variable.")
        dotenv.check_value(name, value)
    # In bytes, because what Python would make of text hangs on the locale.
    environment = {
        name: value
        for name, value in os.environb.items()
        if not name.startswith(_OWN) and name != b"CREDENTIALS_DIRECTORY"
    }
    secrets = {name.encode("utf-8"): value.encode("utf-8") for name, value in values.items()}
    return _run(arguments.program, {**environment, **secrets}, say)


def _run(program: Sequence[str], environment: Mapping[bytes, bytes], say: Console) -> int:
    """Become the program; the code to end with where that fails."""
    import signal

    say.clear()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and a program would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(program[0], list(program), dict(environment))  # noqa: S606 - that is what exec is for
    except (FileNotFoundError, NotADirectoryError):
        say.error(f"'{program[0]}' was not found.")
        return COMMAND_NOT_FOUND
    except OSError as error:
        large = " One entry may have 128 KiB there, and all of them together a limited size." * (
            error.errno == errno.E2BIG
        )
        say.error(f"'{program[0]}' cannot be run: {error.strerror}.{large}")
        return CANNOT_EXECUTE


# The command line


class Usage(Exception):
    """The command line is wrong; the text says how, without quoting an argument."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register("type", None, _filled)  # the type of every argument that names no other

    def error(self, message: str) -> Any:
        for pattern, words in _OF_ARGPARSE:
            message = re.sub(pattern, words, message)
        raise Usage(message + ".")


def _filled(text: str) -> str:
    """Refuse an empty argument: it is a mistake, such as an unset shell variable, and must never count as not given."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must not be empty{_UNSET}")
    return text


def _filled_list(text: str) -> str:
    """Refuse a list with an empty entry: what is left of the list would be another choice, and none means all."""
    if not all(part.strip() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"must not have an empty entry{_UNSET}")
    return text


_UNSET = " (an unset shell variable is one reason)"

_OF_ARGPARSE = (
    # argparse quotes the argument in the first two.
    (r"(?s)\Aargument (\S+): ignored explicit argument .*", r"\1 takes no value"),
    (r"(?s)\Aargument (\S+): invalid choice: .* \(choose from (.*)\)", r"\1 must be one of: \2"),
    (r"\Aargument (\S+): expected one argument", r"\1 needs a value"),
    (r"\Aargument (\S+): must not ", r"\1 must not "),
    (r"\Aargument (\S+): not allowed with argument (\S+)", r"\1 cannot be used together with \2"),
    (r"\Athe following arguments are required: (.*)", r"missing: \1"),
)
"""What argparse says of a wrong command line, and what we say."""


class Command(NamedTuple):
    """A command: its words, what it does, which sections' options it takes, and what it takes besides."""

    words: tuple[str, ...]
    help: str
    run: Callable[[Settled, argparse.Namespace, Console], int]
    sections: tuple[str, ...]
    more: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    description: str = ""
    partly: Callable[[Console, Mapping[str, Any]], None] = lambda say, details: None
    """Report what was done before an error, from the error's details."""


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the entry in the vault")


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="say what would change, and change nothing")


def _as_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="report as JSON")


def _names_and_allow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--names", action="append", default=[], metavar="PATTERN",
                        help="entries by pattern: 'DB_*'; may be given more than once; default all")  # fmt: skip
    parser.add_argument("--allow", action="append", default=[], metavar="NAME",
                        help="a name that is refused otherwise, such as PATH; may be given more than once")  # fmt: skip


def _for_cycle(parser: argparse.ArgumentParser) -> None:
    _check(parser)
    _as_json(parser)
    parser.add_argument("--verbose", "-v", action="store_true", help="name what was created, updated and deleted")


def _for_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", required=True, metavar="FILE|-|vault",
                        help="a JSON object or dotenv file, - for standard input, or the word vault")  # fmt: skip
    _for_cycle(parser)


def _for_set(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--file", metavar="PATH", help="take the value from this file, not from standard input")
    parser.add_argument("--strip-newline", action="store_true", help="leave one newline at the value's end away")
    _check(parser)
    _as_json(parser)


def _for_delete(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    _check(parser)
    _as_json(parser)


def _for_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("dotenv", "env_file", "json"), default="dotenv", help="default dotenv")
    parser.add_argument("--output", metavar="PATH", help="write this file, for its owner only, not standard output")
    _names_and_allow(parser)


def _for_rekey(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--new-key-file", metavar="PATH", help="file with the new key (see vault keygen)")
    parser.add_argument("--new-passphrase-file", metavar="PATH", help="file with the new passphrase")
    parser.add_argument("--data", action="store_true",
                        help="change the data key too, and remove the generation before")  # fmt: skip


COMMANDS: tuple[Command, ...] = (
    Command(("sync",), "pull secrets from Infisical into the vault", _sync, ("infisical", "vault", "sync"), _for_cycle,
            "Pulls the secrets of one project, several, or all that the identity can see into the vault: all of it as "
            "one generation, or nothing. Where a project fails, the others are still pulled, and nothing is deleted.",
            _report_partly),
    Command(("push",), "write secrets from a file or the vault to Infisical", _push, ("infisical", "vault", "push"),
            _for_push, "Brings a folder of Infisical to what the source holds. Run again after an error, it does the "
            "rest.", _report_partly),
    Command(("status",), "say what the vault holds and how the last sync went", _status, ("vault",), _as_json,
            "Needs no network. Ends with 0 whatever the last sync came to."),
    Command(("metadata",), "say which secrets the jobs hold in which version, never values", _metadata, ("vault",),
            _as_json, "Needs no network. All jobs of the agent make one document, which the fleet's metadata graph is "
            "built from."),
    Command(("vault", "set"), "put one entry into the vault", _vault_set, ("vault",), _for_set,
            "The value comes from standard input, byte for byte, from --file, or unseen from the terminal. It is never "
            "an argument, because other users see these. The vault is made where there is none."),
    Command(("vault", "get"), "write the value of one entry, and nothing else", _vault_get, ("vault",), _name,
            "A newline follows on a terminal only."),
    Command(("vault", "list"), "names and origin of all entries, never values", _vault_list, ("vault",), _as_json),
    Command(("vault", "delete"), "delete one entry from the vault", _vault_delete, ("vault",), _for_delete,
            "An entry that a job pulls comes back with its next sync."),
    Command(("vault", "export"), "write values as dotenv, env_file or JSON", _vault_export, ("vault",), _for_export,
            "The dotenv lines are in double quotes and read back the same in sh and as an EnvironmentFile of systemd. "
            "The lines of an env_file have no quotes, for docker run --env-file."),
    Command(("vault", "verify"), "read everything in the vault and the generation before", _vault_verify, ("vault",),
            _as_json),
    Command(("vault", "rekey"), "seal the vault with another key", _vault_rekey, ("vault",), _for_rekey),
    Command(("vault", "keygen"), "make a new key file; one that is there is left as it is", _vault_keygen, ()),
    Command(("exec",), "run a program with the secrets in its environment", _exec, ("vault",), _names_and_allow,
            "Everything behind -- is the program and its arguments. INFISICAL_* and CREDENTIALS_DIRECTORY are taken "
            "out of its environment."),
    Command(("deliver",), "write the files of a job for applications, where they differ", _deliver, ("vault",),
            _as_json,
            "For root, and for jobs that the role scheduled_sync has set up. Units are reloaded or restarted after a "
            "change.", _report_delivery),
    Command(("finish",), "report a sync that was killed", _finish, ()),
    Command(("notify",), "notify of a failed sync or its recovery", _notify, ()),
    Command(("ready",), "wait until the files of a job have been delivered since the boot", _ready, ()),
    Command(("moved",), "fail where the agent was installed on another machine", _moved, ()),
)  # fmt: skip
"""All commands, in the order in which they are documented."""

BY_FLAG = {option.long: option.kind for option in OPTIONS if option.flag}
"""The kinds of the options that the command line takes."""
_GROUPS = {"infisical": "server", "vault": "vault", "sync": "job", "push": "writing"}


def parser_of(command: Command) -> argparse.ArgumentParser:
    """The parser of one command; the others' are not made, because that takes longer than to open a vault."""
    name = "infisical-sync " + " ".join(command.words)
    usage = f"{name} [options]{' NAME' if command.more in (_name, _for_set, _for_delete) else ''}"
    parser = _Parser(
        prog=name,
        usage=usage + (" -- PROGRAM [ARGUMENT ...]" if command.run is _exec else ""),
        description=f"{command.help[0].upper()}{command.help[1:]}. {command.description}".strip(),
        epilog="The other ways to set these options, and the exit codes: infisical-sync --help",
        allow_abbrev=False,
    )
    command.more(parser)
    parser.add_argument("--config", metavar="PATH", help="the configuration file")
    if "sync" not in command.sections:
        _add(parser, BY_PLACE["sync", "job"]._replace(help="name of a job that the agent of this host runs"))
    if command.run is _vault_keygen:
        _add(parser, BY_PLACE["vault", "key_file"])
    for section in command.sections:
        group = parser.add_argument_group(_GROUPS[section])
        for option in OPTIONS:
            if option.section == section and option.flag and not _shadowed(command, option):
                _add(group, option)
    return parser


def _flags(command: Command) -> dict[str, str]:
    """How one types the options of a command, by their names."""
    taken = [option for option in OPTIONS if option.flag and option.section in command.sections]
    return {"vault_path" if option.long == "--vault" else option.name: option.long for option in taken}


def _shadowed(command: Command, option: Option) -> bool:
    """Whether another option of the command already has this one's flag: `push` has two state files, and writes one."""
    return command.words == ("push",) and option.place == ("vault", "state_file")


def _add(parser: Any, option: Option) -> None:
    # The texts are converted in one place, wherever they come from.
    destination = ".".join(option.place)
    if option.kind == "bool":
        group = parser.add_mutually_exclusive_group()
        group.add_argument(option.long, dest=destination, action="store_const", const="true", help=option.help)
        group.add_argument("--no-" + option.long[2:], dest=destination, action="store_const", const="false",
                           help="the opposite" if option.on else argparse.SUPPRESS)  # fmt: skip
        return
    metavar = {"file": "PATH", "path": "PATH", "number": "NUMBER", "list": "A,B"}.get(option.kind, "TEXT")
    if option.choices:
        metavar = "|".join(option.choices)
    parser.add_argument(option.long, dest=destination, metavar=metavar, help=option.help.replace("%", "%%"),
                        type=_filled_list if option.kind == "list" else None)  # fmt: skip


_TOP = """\
usage: infisical-sync COMMAND [options]
       infisical-sync COMMAND --help
       infisical-sync --version

Keeps an encrypted vault on this host in step with Infisical.

commands:
{commands}

Each option is taken from the first of these that has it: the command line;
the file of --config; the environment (--key-file is INFISICAL_KEY_FILE,
--vault INFISICAL_VAULT_PATH, --prune of sync INFISICAL_SYNC_PRUNE, --prune of
push INFISICAL_PUSH_PRUNE);
systemd credentials called infisical_client_id, infisical_client_secret,
infisical_token, infisical_vault_key and infisical_webhook_url; and without
--config, the file of INFISICAL_CONFIG or the first that exists of
  {files}
A file has the sections [infisical], [vault], [sync] and [push].

The agent's jobs have their files, with [agent], [deliver], [notify] and
[file N] too, in
  {jobs}
For a job of the agent (--job, or --config with its file) the environment does
not count.

Client secret, token and passphrase are never arguments. Set
INFISICAL_CLIENT_SECRET, or put them into a file and give its path with
--client-secret-file, --token-file or --passphrase-file.

{codes}
"""


def _top_help() -> str:
    commands = "\n".join(f"  {' '.join(command.words):<14} {command.help}" for command in COMMANDS)
    return _TOP.format(commands=commands, files="\n  ".join(CONFIG_FILES), jobs=JOBS, codes=CODES)


def _chosen(words: Sequence[str]) -> tuple[Command, list[str]]:
    """The command that the arguments begin with, and the other arguments. Raises Usage."""
    for command in COMMANDS:
        length = len(command.words)
        if tuple(words[:length]) == command.words:
            return command, list(words[length:])
    group = [command for command in COMMANDS if words and command.words[0] == words[0] and len(command.words) > 1]
    known = ", ".join(" ".join(command.words) for command in group or COMMANDS)
    problem = "this is no command" if words else "no command is given"
    if words and words[0].startswith("-"):
        problem = "the command comes first, and its options behind it"
    raise Usage(f"{problem}. There are: {known}.")


def _parsed(command: Command, words: list[str]) -> argparse.Namespace:
    program: list[str] = []
    if command.run is _exec:
        if "--" not in words and not {"-h", "--help"} & set(words):
            raise Usage("give the program behind two dashes: infisical-sync exec -- PROGRAM ARGUMENT ...")
        place = words.index("--") if "--" in words else len(words)
        words, program = words[:place], words[place + 1 :]
    parsed, unknown = parser_of(command).parse_known_args(words)
    if unknown and command.run is _vault_set:
        # Not quoted: it may be the value.
        raise Usage(
            "there is an argument too many, or an option that is not known. A value is never an argument, because "
            "other users can see it there: give it by standard input or --file."
        )
    if unknown:
        raise Usage(_unexpected(command, words, unknown))
    if command.run is _exec and not (program and program[0]):
        raise Usage("give the program behind two dashes: infisical-sync exec -- PROGRAM ARGUMENT ...")
    parsed.program = program
    return parsed


def _unexpected(command: Command, words: Sequence[str], unknown: Sequence[str]) -> str:
    """Which words of the command line are too many. Only what can be an option's name is quoted: any other word may be,
    or end in, a value."""
    names = [found[0] for found in (re.match(r"--[a-z][a-z-]*(?==|\Z)|-[A-Za-z]\Z", word) for word in unknown) if found]
    if names:
        return f"unknown option: {', '.join(names)}."
    said, left = [], list(unknown)
    for number in range(len(words), 0, -1):  # from the end, where a word cannot be the value of an option before it
        if not left or words[number - 1] != left[-1]:
            continue
        left.pop()
        before = words[number - 2] if number > 1 else ""
        flag = re.fullmatch(r"--[a-z][a-z-]*|-[a-z]", before) and before not in unknown
        opposite = f" (its opposite is --no-{before[2:]})" if BY_FLAG.get(before) == "bool" else ""
        said.append(
            f"{before} takes no value{opposite}" if flag
            else f"argument {number} after '{' '.join(command.words)}' is unexpected"
        )  # fmt: skip
    return "; ".join(reversed(said)) + "."


def _given(parsed: argparse.Namespace) -> Layer:
    """What of the options stands on the command line."""
    texts = {}
    for name, value in vars(parsed).items():
        section, dot, option = name.partition(".")
        if dot and value is not None:
            texts[section, option] = value
    return texts


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, the process's own by default; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    say = Console()
    return _guarded(say, lambda: _dispatch(words, say))


def _guarded(say: Console, work: Callable[[], int]) -> int:
    """Do the work and report whatever goes wrong; the exit code."""
    try:
        return work()
    except InfisicalError as error:
        with _quiet(say):
            _report_error(say, error)
        return error.exit_code
    except BrokenPipeError:
        # What is left in the buffer has nobody to read it either.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        with _quiet(say):
            say.error("interrupted")
        return INTERRUPTED
    except Exception as error:
        message = _in_words(error)
        with _quiet(say):
            say.error(message)
            if say.json:
                say.data(_failure(say, "unexpected", message))
        return FAILED


@contextlib.contextmanager
def _quiet(say: Console) -> Iterator[None]:
    """An error that cannot be told must not hide the exit code."""
    with contextlib.suppress(OSError, InfisicalError):
        yield


def _dispatch(words: list[str], say: Console) -> int:
    if words in (["--help"], ["-h"], ["help"]):
        say.out(_top_help().rstrip("\n"))
        return OK
    if words == ["--version"]:
        say.out(f"infisical-sync {VERSION}")
        return OK
    try:
        command, rest = _chosen(words)
        parsed = _parsed(command, rest)
    except Usage as error:
        say.error(f"{error} See: infisical-sync{_help_of(words)} --help")
        return USAGE
    except SystemExit:  # --help of a command was written
        if sys.stdout is not None:
            sys.stdout.flush()
        return OK
    say.json = getattr(parsed, "json", False)
    say.verbose = getattr(parsed, "verbose", False)
    say.check = getattr(parsed, "check", False)
    say.partly = command.partly
    given = _given(parsed)
    configs = parsed.configs = _configs(command, parsed, given)
    if command.run is _metadata:  # it reads them all itself, so that one that is wrong hides no other
        configs = [os.devnull]
    if len(configs) == 1:
        settled = Settled(given, os.environ, configs[0])
        if not settled.installed:  # what the services of a job do is set by the role
            say.flags = _flags(command)
        return command.run(settled, parsed, say)
    return _each(command, configs, parsed, given, say)


def _each(command: Command, configs: Sequence[str], parsed: argparse.Namespace, given: Layer, say: Console) -> int:
    """Run a command for each job, whatever comes of the others; the highest of their exit codes."""
    import json

    codes: list[int] = []
    found: list[dict[str, Any]] = []
    for config in configs:
        if codes and not say.json:
            say.out("")
        say.job = os.path.basename(config)[:-4]
        code, text = _in_child(command, config, parsed, given, say)
        codes.append(code)
        if say.json:
            try:
                found.append(json.loads(text))
            except ValueError:  # it was killed
                found.append(_failure(say, "unexpected", f"The report on this job is missing (exit code {code})."))
    if say.json:
        say.data(found)
    return max(codes)


def _in_child(
    command: Command, config: str, parsed: argparse.Namespace, given: Layer, say: Console
) -> tuple[int, bytes]:
    """Run a command in a process of its own; its exit code, and with --json its report. For root becomes the owner of
    a vault for good, and could not read the key of the next one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        if say.json:
            sys.stdout = os.fdopen(writer, "w", encoding="utf-8")
        os._exit(_guarded(say, lambda: command.run(Settled(given, os.environ, config), parsed, say)))
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (code if code >= 0 else FAILED), text


def _configs(command: Command, parsed: argparse.Namespace, given: Layer) -> list[str]:
    """The configuration file of this call, empty for the usual one; of `status` and `metadata`, that of every job of
    the agent, where nothing else is named. Raises ConfigurationError where it could be that of several jobs."""
    if parsed.config:
        return [os.path.expanduser(parsed.config)]
    job, jobs = given.get(("sync", "job"), ""), installed_jobs()
    if ("vault", "path") in given:
        return [""]
    if job in jobs:
        return [job_file(job)]
    if any(os.environ.get(name, "").strip() for name in ("INFISICAL_CONFIG", "INFISICAL_VAULT_PATH")):
        return [""]
    usual = command.run is not _metadata and any(os.access(os.path.expanduser(name), os.R_OK) for name in CONFIG_FILES)
    if job or not jobs or usual:
        return [""]
    if len(jobs) > 1 and command.run not in (_status, _metadata):
        raise ConfigurationError("job", f"this host has several: {', '.join(jobs)}. Name one with --job.")
    return [job_file(job) for job in jobs]


def _help_of(words: Sequence[str]) -> str:
    try:
        return "".join(" " + word for word in _chosen(words)[0].words)
    except Usage:
        return ""


def _in_words(error: Exception) -> str:
    """What went wrong; of an error that nobody foresaw, nothing that may be secret."""
    from ..core.redact import unexpected

    return str(error) if isinstance(error, InfisicalError) else unexpected(error)


def _report_error(say: Console, error: InfisicalError) -> None:
    """The error in a person's words; with --json also as data, together with what was done before it."""
    say.clear()
    for text in error.details.get("warnings", ()):
        say.warn(text)
    if say.json:
        hint = {"hint": say.advised(error.hint)}
        say.data({**_failure(say, error.conclusion, say.advised(str(error)), error.details), **hint})
    else:
        say.partly(say, error.details)
    say.error(error.problem)
    if error.hint:
        say.error(f"hint: {error.hint}")


def _failure(say: Console, conclusion: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An error as data; of several jobs, with the job's name."""
    job = {"job": say.job} if say.job else {}
    return {**job, **(details or {}), "failed": True, "conclusion": conclusion, "message": message}


if __name__ == "__main__":
    raise SystemExit(main())
