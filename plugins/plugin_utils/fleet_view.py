# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of the report page: a row for each secret and each host, and sentences about what needs attention."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import format_duration, parse_time
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import AgentVault, Graph
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.rows import Row, identity_rows
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.snapshot import (
    Snapshot,
    problems,
    unknown_hosts,
)

NAMED = 3
"""The maximum number of secrets per state that are described in separate sentences, and of hosts in a sentence."""

SOON = 14
"""A client secret that expires in fewer days needs attention, because its host will no longer sync."""

LAGS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The cell codes of outdated secrets: B for one version behind, up to Z for 25 or more; A if the secret was created
again.

The code of every other state is the state's first letter. In the state `stale`, the version was current at the last
sync, but that sync is too long ago to be sure. In the state `unknown`, Infisical has not listed the version.
"""
STATES = {
    **dict.fromkeys(reversed(LAGS), "behind"),
    "m": "missing", "g": "gone", "u": "unknown", "s": "stale", "c": "current",
}  # fmt: skip
"""The state for each cell code, most urgent first."""
URGENCY = ("failed", "silent", "never", "stale", "behind", "missing", "gone", "unknown", "unused", "ok")


@dataclass(frozen=True)
class Job:
    """A job's vault on a host. `note` describes a problem in a few words. `problem` describes it in a sentence, which
    may be the host's own text. `last_sync` is in seconds since the epoch, or 0 for never."""

    name: str
    state: str
    note: str
    problem: str
    last_sync: float


class Identity(NamedTuple):
    """A host's machine identity: its name or id, whether it keeps least privilege (kept, exceeded, shared or unknown),
    what it may do beyond that, and the days until its client secret expires, or None if it does not."""

    name: str
    least_privilege: str
    excess: str
    days_left: int | None


@dataclass(frozen=True)
class Host:
    """A host, and the state of each secret in its vaults. `cells` maps a secret's ID to the
    code of its state (see `LAGS`)."""

    name: str
    jobs: Sequence[Job]
    cells: Mapping[str, str] = field(repr=False)
    counts: Counter[str]
    identity: Identity

    @property
    def state(self) -> str:
        """The most urgent state of the host's jobs and secrets."""
        return min([*(job.state for job in self.jobs), *self.counts.keys() - {"current"}], key=URGENCY.index)


class Secret(NamedTuple):
    """A secret, the time of its last update in seconds since the epoch (0 if unknown), and its hosts grouped by
    state."""

    id: str
    name: str
    project: str
    environment: str
    path: str
    version: int
    updated: float
    hosts: Mapping[str, Sequence[str]]

    @property
    def state(self) -> str:
        """The secret's most urgent state on any host. It is `stale` only if no host is known to have the current
        version."""
        urgent = [state for state in ("behind", "missing", "gone", "unknown") if state in self.hosts]
        calm = "ok" if "current" in self.hosts else "stale" if self.hosts else "unused"
        return [*urgent, calm][0]

    @property
    def held(self) -> int:
        """The number of hosts that have the secret, in any version."""
        return sum(len(hosts) for state, hosts in self.hosts.items() if state != "missing")


class Sentence(NamedTuple):
    """A sentence about something that needs attention: its kind (bad, warn, note or good), the hosts, and a search text
    for their rows."""

    text: str
    kind: str
    hosts: Sequence[str] = ()
    find: str = ""


@dataclass(frozen=True)
class View:
    """Everything that the page shows at the time `now`. `unknown` is the number of hosts with vaults of unknown
    content."""

    now: float
    services: Sequence[str]
    hosts: Sequence[Host]
    secrets: Sequence[Secret]
    problems: Sequence[str]
    unknown: int


def view(graph: Graph, now: float) -> View:
    """Return what the page shows of a graph at the time `now` (seconds since the epoch). Rows that need attention come
    first."""
    snapshot = Snapshot(graph, now)
    identities = {row["host"]: _identity(row) for row in identity_rows(snapshot)}
    vaults: dict[str, list[AgentVault]] = defaultdict(list)
    for vault in graph.vaults.values():
        vaults[vault.host].append(vault)
    hosts = [_host(snapshot, name, vaults[name], identities[name]) for name in sorted(vaults, key=_natural)]
    secrets = sorted(_secrets(graph, hosts), key=lambda one: (_natural(one.name), one[2:5]))
    return View(
        now=now,
        services=list(map(_plain, graph.services)),
        hosts=sorted(hosts, key=lambda one: (URGENCY.index(one.state), -one.counts["behind"], -one.counts["missing"])),
        secrets=sorted(
            secrets, key=lambda one: (URGENCY.index(one.state), -len(one.hosts.get(one.state, ())), -one.held)
        ),
        problems=problems(graph),
        unknown=len(unknown_hosts(graph)),
    )


def _identity(row: Row) -> Identity:
    name, excess = row["identity"] or row["identity_id"], "; ".join(row["excess"])
    return Identity(_plain(name), row["least_privilege"], _plain(excess), row["days_left"])


def _host(snapshot: Snapshot, name: str, vaults: Sequence[AgentVault], identity: Identity) -> Host:
    urgency = {code: number for number, code in enumerate(STATES)}
    cells: dict[str, str] = {}
    for vault in vaults:
        for id_, code in _cells(snapshot, vault):
            if id_ not in cells or urgency[code] < urgency[cells[id_]]:
                cells[id_] = code
    jobs = sorted((_job(snapshot, vault) for vault in vaults), key=lambda job: (URGENCY.index(job.state), job.name))
    return Host(_plain(name), jobs, cells, Counter(map(STATES.__getitem__, cells.values())), identity)


def _cells(snapshot: Snapshot, vault: AgentVault) -> Iterable[tuple[str, str]]:
    is_unsure = vault.silent or vault.problem is not None or snapshot.is_late(vault)
    for hold in vault.holds:
        state = snapshot.state_of_hold(hold)
        if state == "behind":
            lag = snapshot.graph.secrets[hold.secret].version - hold.version
            yield hold.secret, LAGS[min(max(lag, 0), len(LAGS) - 1)]
        else:
            yield hold.secret, "s" if is_unsure and state == "current" else state[0]
    for id_ in snapshot.missing(vault):
        yield id_, "m"


def _job(snapshot: Snapshot, vault: AgentVault) -> Job:
    state, note = snapshot.state_of_vault(vault), ""
    message = vault.problem or ("" if vault.conclusion == "ok" else vault.message)
    if state == "silent" and vault.answered_at:
        note = f"last response {format_duration(snapshot.age(vault.answered_at) or 0)} ago"
    elif state == "stale":
        note = f"last sync {snapshot.intervals_since(vault) or 0:,.0f} intervals ago"
    elif state == "never" and not vault.job:
        note, message = "no job", ""
    elif state == "failed" and vault.problem is not None:
        note = "the vault cannot be opened"
    elif state == "failed":
        # The host controls this text, so it must not look like a sentence of the summary.
        note = vault.conclusion if re.fullmatch(r"[a-z][a-z_-]{1,30}", vault.conclusion) else "unknown reason"
    problem = ": ".join(filter(None, (note, message)))
    return Job(_plain(vault.job), state, note, _plain(problem), parse_time(vault.last_sync) or 0)


def _secrets(graph: Graph, hosts: Iterable[Host]) -> Iterable[Secret]:
    found: dict[str, dict[str, list[str]]] = {id_: {} for id_ in graph.secrets}
    for host in hosts:
        for id_, code in host.cells.items():
            found[id_].setdefault(STATES[code], []).append(host.name)
    for id_, secret in graph.secrets.items():
        location, project = secret.location, graph.projects.get(secret.location.project_id)
        yield Secret(
            id=id_,
            name=_plain(secret.name),
            project=_plain((project and (project.name or project.slug)) or location.project_id),
            environment=_plain(location.environment),
            path=_plain(location.secret_path),
            version=secret.version,
            updated=parse_time(secret.updated_at) or 0,
            hosts=found[id_],
        )


_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _plain(text: str) -> str:
    """Return a text with direction-changing characters (such as right-to-left marks) escaped and lone surrogates
    replaced."""
    valid = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _TURNS.sub(lambda turn: f"\\u{ord(turn[0]):04x}", valid)


def _natural(name: str) -> str:
    """Return a sort key that sorts web2 before web10."""
    return re.sub("[0-9]+", lambda digits: digits[0].zfill(12), name)


# Sentences


def summary(view: View) -> list[Sentence]:
    """Return what needs attention, most urgent first, or a single positive sentence if nothing does."""
    if not view.hosts:
        return [Sentence("No host has reported a vault yet.", "note")]
    sentences = [
        *_secrets_in(view, "behind", "warn", "are behind on"),
        *_secrets_in(view, "missing", "warn", "are missing"),
        *_jobs_in(view),
        *_identities_in(view),
        *_secrets_in(view, "gone", "note", "still have"),
    ]
    unlisted = sum("unknown" in secret.hosts for secret in view.secrets)
    if unlisted:
        text = f"{pluralize(unlisted, 'secret')} {_agree(unlisted, 'have')} a version unknown to Infisical"
        sentences.append(Sentence(text, "bad", find="unknown"))
    if not sentences and not view.problems:
        held = pluralize(sum(secret.held > 0 for secret in view.secrets), "secret")
        who = "The only host is" if len(view.hosts) == 1 else f"All {len(view.hosts):,} hosts are"
        sentences = [Sentence(f"{who} up to date: {held}", "good")]
    sentences += _least_privilege(view)
    unused = sum(secret.state == "unused" for secret in view.secrets)
    if unused:
        but = f", except perhaps {pluralize(view.unknown, 'host')} with unknown content" if view.unknown else ""
        text = f"{pluralize(unused, 'secret')} {_agree(unused, 'are')} on no host{but}"
        sentences.append(Sentence(text, "note", find="unused"))
    if view.problems:
        text = f"Infisical did not list everything, so more may be behind: {'; '.join(view.problems)}"
        sentences.append(Sentence(text, "bad"))
    return sentences


def _secrets_in(view: View, state: str, kind: str, verb: str) -> Iterable[Sentence]:
    secrets = sorted((secret for secret in view.secrets if state in secret.hosts), key=lambda s: -len(s.hosts[state]))
    names = Counter(secret.name for secret in view.secrets)
    for secret in secrets[:NAMED]:
        place = f" ({secret.environment} {secret.path})" if names[secret.name] > 1 else ""
        tail = ", which was deleted in Infisical" if state == "gone" else ""
        if state == "behind" and secret.updated:
            tail = f" for {format_duration(view.now - secret.updated)}"
        yield _sentence(view, secret.hosts[state], kind, f"{verb} {secret.name}{place}{tail}", secret.name)
    rest = list(dict.fromkeys(host for secret in secrets[NAMED:] for host in secret.hosts[state]))
    if rest:
        yield _sentence(view, rest, kind, f"{verb} {pluralize(len(secrets) - NAMED, 'more secret')}", state)


def _jobs_in(view: View) -> Iterable[Sentence]:
    verbs = {
        "stale": "are stale",
        "failed": "failed to sync",
        "silent": "did not respond",
        "never": "have never synced",
    }
    for state, verb in verbs.items():
        jobs = [(host.name, job.note) for host in view.hosts for job in host.jobs if job.state == state]
        if jobs:
            notes = [note for note, _count in Counter(note for _host, note in jobs if note).most_common(NAMED + 1)]
            said = ", ".join([*notes[:NAMED], *["…"] * (len(notes) > NAMED)])
            hosts = list(dict.fromkeys(host for host, _note in jobs))
            yield _sentence(view, hosts, "bad", f"{verb} ({said})" if said else verb, state)


def _identities_in(view: View) -> Iterable[Sentence]:
    days = {host.name: host.identity.days_left for host in view.hosts if host.identity.days_left is not None}
    expired = [host for host, left in days.items() if left < 0]
    soon = [host for host, left in days.items() if 0 <= left < SOON]
    for hosts, kind, what, find in (
        (expired, "bad", "have an expired client secret", "expired"),
        (soon, "warn", f"have a client secret that expires within {SOON} days", ""),
        (_hosts_with(view, "exceeded"), "warn", "are allowed more than their jobs need", "exceeded"),
    ):
        if hosts:
            yield _sentence(view, hosts, kind, what, find)


def _least_privilege(view: View) -> Iterable[Sentence]:
    """Yield the line about least privilege, unless no host has an identity of its own."""
    number = Counter(host.identity.least_privilege for host in view.hosts)
    if number["kept"] and not number["exceeded"]:
        text = f"Least privilege kept by {number['kept']:,} of {pluralize(len(view.hosts), 'host')}"
        rest = [f"{number[state]:,} {what}" for state, what in _UNCHECKED.items() if number[state]]
        yield Sentence(f"{text} ({', '.join(rest)})" if rest else text, "good")


_UNCHECKED = {"shared": "with a shared identity", "unknown": "not checked"}


def _hosts_with(view: View, state: str) -> list[str]:
    return [host.name for host in view.hosts if host.identity.least_privilege == state]


def _sentence(view: View, hosts: Sequence[str], kind: str, what: str, find: str) -> Sentence:
    names = f": {', '.join(hosts)}" if len(hosts) <= NAMED else ""
    share = f"{len(hosts):,} of {pluralize(len(view.hosts), 'host')}"
    return Sentence(f"{share} {_agree(len(hosts), what)}{names}", kind, hosts, find)


def _agree(count: int, text: str) -> str:
    """Return a text with its first verb in the singular if the count is 1."""
    singular = {"are": "is", "have": "has"}
    return re.sub(r"\b(are|have)\b", lambda verb: singular[verb[0]], text, count=1) if count == 1 else text
