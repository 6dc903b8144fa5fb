# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of a task for a host with its own identity: it changes the identity before and after the module
runs on the host. All tasks and forks of a run share one list of the identities, and one reading of each folder's
imports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import host_login, spec
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import (
    Identity,
    IdentityApi,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    Forbidden,
    InfisicalError,
    RequestInvalid,
    RouteMissing,
    ScopeMissing,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities import provision
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.apply import (
    check_removal,
    remove,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import Grant, normalize
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.held import parse_held
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.host import (
    JWT_AUTH,
    UNIVERSAL_AUTH,
    HostEntry,
    HostPlan,
    check_owner,
    describe_inputs,
    describe_removal,
    describe_state,
    digest_machine,
    find_folders,
    find_grants,
    find_known,
    find_project,
    identity_of,
    is_owned,
    make_desired,
    make_plan,
    read_entry,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.imports import FolderImports
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import KNOWN
from ansible_collections.keyfleet.infisical.plugins.modules import infisical_agent
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import connection, fast_path
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.sealed_files import (
    SealedFiles,
    error_from_result,
    make_tag,
)

_DAY = 86_400
_LONGEST_TTL = 3650

_FOR_ALL = (Forbidden, ScopeMissing, RouteMissing, RequestInvalid)
"""Errors that are the same for all tasks of a run, so that only one of them sends the request."""

Execute = Callable[[dict[str, Any]], dict[str, Any]]
"""Runs the module on the host with these arguments, and returns its result."""


class ProjectIdentities:
    """The hosts' identities of a project, and the imports of its folders, as all forks of a run share them."""

    def __init__(self, settings: Settings, project_id: str) -> None:
        self.project_id = project_id
        self._files = SealedFiles(settings, Path(fast_path.run_directory()))
        self.api = IdentityApi(connection.connect_shared(settings, self._files, None))
        self.imports = FolderImports(
            self.api, project_id, lambda name, fetch: self._once(make_tag(name[0], *name[1:]), fetch)
        )

    def find(self, host: str) -> list[HostEntry]:
        """Return the identities of a host, from the run's list unless a task of this run has changed them."""
        changed = self._files.recall(self._name(host))
        if changed is None:
            return [HostEntry(*row) for row in self.read_all().get(host, ())]
        if changed["known"]:
            return [HostEntry(*row) for row in changed["entries"]]
        found = self.api.identities(self.project_id, HostEntry("", host).name)
        return [HostEntry(*row) for row in _group(found).get(host, ())]

    def note(self, host: str, entries: Iterable[HostEntry] | None) -> None:
        """Record the identities of a host for later tasks of the run. None means that they are being changed."""
        self._files.note(self._name(host), {"known": entries is not None, "entries": [list(e) for e in entries or ()]})

    def read_all(self) -> dict[str, list[list[Any]]]:
        """Return the fields of all hosts' identities in the project, keyed by the host's name."""
        listed: dict[str, list[list[Any]]] = self._once(
            make_tag("identities", self.project_id), lambda: _group(self.api.identities(self.project_id))
        )
        return listed

    def _once(self, name: str, fetch: Callable[[], Any]) -> Any:
        """Return what one process of the run has fetched, or raise its error."""

        def look() -> Any:
            found = self._files.recall(name)
            if isinstance(found, dict) and "refused" in found:
                raise error_from_result(found["refused"])
            return found

        def fetch_and_note() -> Any:
            try:
                found = fetch()
            except _FOR_ALL as error:
                self._files.note(name, {"refused": error.as_failure()})
                raise
            self._files.note(name, found)
            return found

        return self._files.once(name, look, fetch_and_note)

    def _name(self, host: str) -> str:
        return make_tag("identity", self.project_id, host)


def _group(identities: Iterable[Identity]) -> dict[str, list[list[Any]]]:
    found: dict[str, list[list[Any]]] = {}
    for identity in identities:
        entry = read_entry(identity)
        if entry is not None:
            found.setdefault(entry.host, []).append(list(entry))
    return found


def check_server(settings: Settings) -> None:
    """Raise InfisicalError if the identities of the project cannot be listed, before anything is changed."""
    if settings.project_id:
        ProjectIdentities(settings, settings.project_id).read_all()


def install(
    arguments: Mapping[str, Any], host: str, execute: Execute, *, check: bool, diff: bool
) -> dict[str, Any]:  # fmt: skip
    """Install the agent with the identity of the host, and return the result of the task. In check mode, nothing is
    changed. Raises InfisicalError."""
    validated = infisical_agent.DEFINITION.validate(arguments)
    if validated.error_messages:
        return execute(host_login.strip_login(arguments))  # the module reports the error
    task = _Installation(arguments, validated.validated_parameters, host, check=check, diff=diff)
    return {**task.run(execute), "project_id": task.identities.project_id}


class _Installation:
    """One task that installs the agent. `options` are its validated arguments."""

    def __init__(
        self, arguments: Mapping[str, Any], options: dict[str, Any], host: str, *, check: bool, diff: bool
    ) -> None:
        self.arguments = arguments
        self.host = host
        self.check, self.diff = check, diff
        self.warnings: list[str] = []
        self.method = host_login.get_method(arguments)
        held = arguments.get("held_identity")
        _check_options(arguments, options, self.method)
        self.ttl = options["client_secret_ttl"] * _DAY
        settings = Settings.from_options(arguments)
        jobs = {job.name: job.options for job in (spec.make_job(given, settings) for given in options["jobs"])}
        project_id = find_project(jobs)
        self.identities = ProjectIdentities(settings, project_id)
        self.held = parse_held(held)
        if self.method == JWT_AUTH and not (self.held.public_key or check):
            raise ConfigurationError(
                "held_identity", "has no public key of the host.",
                hint="Run infisical_agent_preflight with host_auth_method: jwt_auth first.",
            )  # fmt: skip
        self.entry = HostEntry(
            "", host, options["identity_inventory"] or "",
            machine=digest_machine(str((held or {}).get("machine_id") or "")),
        )  # fmt: skip
        self.entries = self.identities.find(host)
        self._decide(find_folders(jobs))
        self.work = provision.Provisioner(self.identities.api, project_id, self.entry, self.desired, self.ttl)

    def _decide(self, folders: Mapping[Grant, bool]) -> None:
        """Find the desired identity and what must change.

        The imports of the folders are read only if the identity must be created or adjusted, or if its inputs differ.
        """
        imports = self.identities.imports
        problems = [imports.find_problem(one.environment, one.path) for one in folders]
        self.warnings += [f"The grant of this host has no effect yet: {one}" for one in problems if one]
        self.desired = make_desired(self.host, self.method, folders, self.held.public_key)
        followed = sorted([*astuple(one)] for one, needed in folders.items() if needed)
        read = imports.summarize(environment for environment, *_rest in followed)
        inputs = describe_inputs(self.desired, [followed, read])
        self.entry = self.entry._replace(inputs=inputs, desired=find_known(self.entries, inputs))
        if self.entry.desired:
            self.plan = self._compare()
        if not self.entry.desired or self.adjusts:
            self.desired = replace(self.desired, grants=find_grants(folders, self._follow))
            self.entry = self.entry._replace(desired=describe_state(self.desired))
            self.plan = self._compare()

    def _compare(self) -> HostPlan:
        return make_plan(self.entries, self.held, self.entry, now=time.time(), ttl=self.ttl)

    def _follow(self, grant: Grant) -> Iterable[Grant]:
        location = Location(self.identities.project_id, grant.environment, grant.path)
        followed = self.identities.imports.follow(location, grant.recursive)
        return [Grant(one.environment, one.secret_path) for one in followed]

    @property
    def adjusts(self) -> bool:
        """Whether the grants of the identity may change. Otherwise, `desired` lacks the imported folders."""
        return self.plan.entry is None or self.plan.adjusts

    def run(self, execute: Execute) -> dict[str, Any]:
        changes = bool(self.plan.reasons or self.plan.spare)
        if self.check:
            self.work.check(self.plan)
            diff = self._describe_grants(self._read_grants()) if self.diff and self.adjusts else []
            return self._describe(execute(self._hand_over(self._predict())), self.plan.spare, diff)
        if changes:
            self.identities.note(self.host, None)
        delivery = self.work.prepare(self.plan, self.held)
        result = execute(self._hand_over(provision.hand_over(delivery)))
        reports = result.get("reports")
        is_installed = not (result.get("failed") or result.get("unreachable")) or reports is not None
        try:
            done = self.work.finish(self.plan, delivery, installed=is_installed, worked=_has_worked(reports))
        except InfisicalError as error:
            text = "The agent is installed, but the identity of the host could not be completed: "
            raise error.reworded(text + error.problem, error.hint or "Run the task again.") from error
        if done is None:
            self.warnings.append(
                f"Another run is changing the identity {self.entry.name}. The next run completes this."
            )
        if is_installed and (changes or done != self.plan.entry):
            self.identities.note(self.host, None if done is None or self.plan.spare else [done])
        grants = delivery.before.permissions.grants if delivery.before.identity else ()
        diff = self._describe_grants(grants) if self.diff and self.adjusts else []
        return self._describe(result, delivery.removed, diff)

    def _predict(self) -> dict[str, Any]:
        """Return what a run would hand over, for check mode. The new values are unknown."""
        entry, held, mints = self.plan.entry, self.held, self.plan.mints
        identity = {
            "identity_id": entry.id if entry else "new",
            "client_id": (held.client_id if entry else "") or "new",
            "client_secret_id": "new" if mints else held.client_secret_id,
            "expires_at": int(time.time()) + self.ttl if mints else held.expires_at,
        }
        return {"host_identity": identity, **({"client_secret": "new"} if mints else {})}

    def _hand_over(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for the module: no login option of the controller, and the identity of the host."""
        secret = {name: value for name, value in given.items() if name == "client_secret"}
        return {**host_login.strip_login(self.arguments), **secret, KNOWN: {"host_identity": given["host_identity"]}}

    def _read_grants(self) -> Iterable[Any]:
        return self.work.read(self.plan.entry).permissions.grants if self.plan.entry else ()

    def _describe_grants(self, before: Iterable[Any]) -> list[dict[str, str]]:
        texts = ["".join(f"{one}\n" for one in normalize(grants)) for grants in (before, self.desired.grants or ())]
        if texts[0] == texts[1]:
            return []
        header = f"grants of {self.entry.name}"
        return [{"before_header": header, "after_header": header, "before": texts[0], "after": texts[1]}]

    def _describe(
        self, result: dict[str, Any], removed: Iterable[HostEntry], diff: list[dict[str, str]]
    ) -> dict[str, Any]:
        """Add the changes of the identity to the module's result."""
        return describe(result, [*self.plan.reasons, *describe_removal(removed)], self.warnings, diff)


def remove_identity(arguments: Mapping[str, Any], host: str, execute: Execute, *, check: bool) -> dict[str, Any]:
    """Remove the agent from the host, and then its identity, and return the result of the task.

    An identity that may belong to another machine of the same name is kept, with a warning.
    """
    settings = Settings.from_options(arguments)
    if not settings.project_id:
        raise ConfigurationError("project_id", "is required to remove the identity of a host.")
    identities = ProjectIdentities(settings, settings.project_id)
    label = str(arguments.get("identity_inventory") or "")
    found = [(entry, identity_of(entry, settings.project_id)) for entry in identities.find(host)]
    for entry, identity in found:
        check_owner(entry, HostEntry("", host, label))
        check_removal(identities.api, identity)
    result = execute({name: value for name, value in arguments.items() if name in ("state", "remove_vault")})
    if result.get("failed") or result.get("unreachable"):
        return result
    machine = digest_machine(str(result.get("machine_id") or ""))
    lines, warnings = [], []
    for entry, identity in found:
        if not is_owned(entry, HostEntry("", host, label, machine=machine)):
            warnings.append(
                f"The identity {entry.name} ({entry.id}) is kept, because it may belong to another machine that is "
                f"also called '{host}'. If it belongs to this machine, delete it in Infisical."
            )
            continue
        lines.append(f"the identity {entry.name} ({entry.id}) is removed")
        if not check:
            identities.note(host, None)
            remove(identities.api, identity)
    return describe(result, lines, warnings)


def describe(
    result: dict[str, Any],
    reasons: Iterable[str],
    warnings: Iterable[str] = (),
    diff: Iterable[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Return a module's result with the changes of the host's identity."""
    lines, texts, diffs = list(reasons), list(warnings), list(diff)
    if lines:
        result["changed"] = True
        result["changes"] = [*lines, *result.get("changes", ())]
        first = "; ".join(lines)
        result["msg"] = f"{first[:1].upper()}{first[1:]}. {result.get('msg', '')}".strip()
    if texts:
        result["warnings"] = [*result.get("warnings", ()), *texts]
    if diffs:
        result["diff"] = [*diffs, *result.get("diff", ())]
    return result


def _has_worked(reports: Any) -> bool:
    """Return whether a sync on the host has worked with the credential that it has now."""
    return isinstance(reports, Mapping) and any(
        isinstance(one, Mapping) and one.get("conclusion") == "ok" for one in reports.values()
    )


def _check_options(arguments: Mapping[str, Any], options: Mapping[str, Any], method: str) -> None:
    if method not in (UNIVERSAL_AUTH, JWT_AUTH):
        raise ConfigurationError(
            "host_auth_method", f"must be {UNIVERSAL_AUTH} or {JWT_AUTH} if identity is per_host (got {method})."
        )
    if not isinstance(arguments.get("held_identity"), Mapping):
        raise ConfigurationError(
            "held_identity", "is required if identity is per_host.",
            hint="Set it to the key identity in the result of infisical_agent_preflight.",
        )  # fmt: skip
    if not options["sync"]:
        raise ConfigurationError(
            "sync", "must be true if identity is per_host, because older client secrets are revoked after a sync."
        )
    ttl = options["client_secret_ttl"]
    if not 1 <= ttl <= _LONGEST_TTL:
        raise ConfigurationError(
            "client_secret_ttl", f"must be a number of days between 1 and {_LONGEST_TTL} (got {ttl})."
        )
