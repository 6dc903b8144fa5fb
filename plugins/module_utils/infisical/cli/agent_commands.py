# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that the agent's services run: `metadata`, `deliver`, `finish`, `notify`, `ready` and `moved`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..agent.config import read_credential
from ..core.errors import ConfigurationError, InfisicalError
from ..core.model import escape, pluralize
from .parser import JSON, Command

if TYPE_CHECKING:
    from .console import Console
    from .session import Session


def describe_job(session: Session) -> None:
    from ..fleet import host_metadata

    vault, state = session.open_vault(tolerant=True)
    job = session.get("sync", "job")
    session.console.print_json(host_metadata.of_job(job, session.config, vault, state))


def print_metadata(console: Console, jobs: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print one document for all jobs. If a job cannot be read, its entry contains the reason."""
    from ..fleet import host_metadata

    found = [
        host_metadata.unknown(each.get("job", "default"), each["message"]) if each.get("failed") else dict(each)
        for each in jobs
    ]
    if as_json:
        console.print_json(host_metadata.document(found), one_line=True)
        return
    for each in found:
        problem = f", {each['problem']}" if each["problem"] else ""
        text = f"{each['job']}: {pluralize(len(each['secrets']), 'secret')} (generation {each['generation']})"
        console.print(escape(f"{text}, last sync {each['last_sync'] or 'never'}{problem}"))


def deliver(session: Session) -> None:
    from ..agent import cycle

    if os.geteuid() != 0:
        raise ConfigurationError("user", "only root can deliver files to other users.", hint="Run this as root.")
    work = cycle.DeliveryPaths(
        session.config.get_files(),
        session.require("deliver", "record_file"),
        session.get("deliver", "runtime_directory"),
        session.get("deliver", "metrics_directory"),
        session.get("agent", "result_file"),
    )
    vault, state = session.open_vault(as_owner=False)
    done = cycle.deliver(vault, state, session.get("sync", "job"), work).as_result()
    if session.console.json:
        session.console.print_json(done)
        return
    if not done["changed"]:
        session.console.print(
            "delivered: " + ("unchanged" if vault.exists() else "nothing, the vault does not exist yet")
        )
    report_delivery(session.console, done)


def report_delivery(console: Console, done: Mapping[str, Any]) -> None:
    for word in ("written", "removed", "notified", "unknown"):
        for name in done.get(word, ()):
            console.print(f"{word}: {escape(name)}")


def notify(session: Session) -> None:
    import socket
    from dataclasses import replace

    from ..agent import report as reports
    from ..agent.notify import Channel
    from ..agent.notify import notify as send

    state_file = session.require("notify", "state_file")
    webhook = session.config.get_group("notify", ("webhook_url", "webhook_url_file"))
    if "webhook_url_file" in webhook:
        path, credentials = webhook["webhook_url_file"], session.config.credentials
        webhook["webhook_url"] = read_credential(path, "webhook_url_file", credentials)
    channel = Channel(
        command=session.get("notify", "command"),
        webhook_url=webhook.get("webhook_url", ""),
        reminder=session.get("notify", "reminder"),
        ca_path=session.get("infisical", "ca_path"),
        proxy=session.get("infisical", "proxy"),
        allow_http=session.get("infisical", "allow_http"),
    )
    report = replace(reports.read(session.get("agent", "result_file")), job=session.get("sync", "job"))
    kind = send(state_file, socket.gethostname(), report, channel, _get_last_sync(session))
    session.console.print(f"notification sent: {kind}" if kind else "no notification needed")


def _get_last_sync(session: Session) -> str:
    """Return the time of the last successful sync, even if that was before this boot, or empty if it is unknown."""
    from ..vault.state import StateFile, path_beside

    try:
        path = session.get("vault", "state_file") or path_beside(session.require("vault", "path"))
        return str(StateFile(path).head().get("last_sync") or "")
    except InfisicalError:
        return ""


def finish(session: Session) -> None:
    from ..agent import cycle

    cycle.finish(session.get("agent", "result_file"), session.config.get(("sync", "job")) or "", os.environ)


def check_machine(session: Session) -> None:
    """Fail if this is not the machine on which the agent was installed, and record that in the report."""
    from ..agent.cycle import report_cycle
    from ..core.systemd import refuse_other_machine

    with report_cycle(session.get("agent", "result_file"), session.config.get(("sync", "job")) or "", os.environ):
        refuse_other_machine()


def wait_for_delivery(session: Session) -> None:
    from ..agent import cycle

    cycle.wait_for_delivery(session.require("deliver", "runtime_directory"))


COMMANDS = (
    Command(
        ("metadata",), "report names and versions of the jobs' secrets, never values", describe_job, ("vault",),
        (JSON,), "Needs no network. With --json, prints one document for all jobs of the agent, for the fleet report.",
        combine=print_metadata,
    ),
    Command(
        ("deliver",), "write a job's files if they differ", deliver, ("vault",), (JSON,),
        "Only for root, and for jobs of the role scheduled_sync. Reloads or restarts units after a change.",
        report_delivery,
    ),
    Command(("finish",), "write the report of a sync that was killed", finish),
    Command(("notify",), "send a notification of a failed sync or its recovery", notify),
    Command(("ready",), "wait until a job's files have been delivered after boot", wait_for_delivery),
    Command(("moved",), "fail if the agent was installed on another machine", check_machine),
)  # fmt: skip
