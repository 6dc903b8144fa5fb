# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity of a host: the grants that its jobs need, its metadata, and what must change. Sends no requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..client.identities import Identity
from ..core.errors import ConfigurationError
from ..login import jwt
from .grants import Grant, check_grant, fingerprint, normalize
from .held import NOTHING, HeldIdentity
from .plan import MANAGED_BY, OURS, Desired

UNIVERSAL_AUTH, JWT_AUTH = "universal_auth", "jwt_auth"

OF_HOST = f"{OURS}/host"
"""The value of the metadata key `managed_by` of a host's identity. Identities that infisical_identity has created have
another value, so that the role never mistakes them for a host's."""

_METADATA = ("host", "inventory", "desired", "inputs", "machine", "rotation", "client_secret")
"""The other metadata keys, which are fields of HostEntry."""

NEW_KEY_HINT = (
    "Make sure that nobody else has access to the host, and then run the role once with "
    "-e scheduled_sync_rotate_key=true, which gives the host a new key pair."
)

TOKEN_SECONDS = 3600
"""Lifetime of a host's access tokens. A sync that takes longer logs in again."""

_DAY = 86_400.0
_ROTATE_BELOW = 1 / 3
"""A client secret is replaced when less than this share of its lifetime is left."""


class HostEntry(NamedTuple):
    """An identity of a host on the server, as the list of the project's identities contains it.

    `inventory` is the label of the host's inventory, or empty. `desired` describes the state that a run has
    completed (see `describe_state`), and `inputs` what it was made from (see `describe_inputs`). `machine` is a
    digest of the host's machine id. `rotation` is the random mark of the run that is replacing the client secret,
    or empty. `client_secret` is the id of the client secret that the last complete rotation has given to the host,
    or empty. `stored_name` is empty for an identity that does not exist yet.
    """

    id: str
    host: str
    inventory: str = ""
    desired: str = ""
    machine: str = ""
    rotation: str = ""
    client_secret: str = ""
    stored_name: str = ""
    delete_protection: bool = False
    inputs: str = ""

    @property
    def name(self) -> str:
        """The name of the identity."""
        return self.stored_name or f"host:{self.host}"

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the identity, without empty values, which servers refuse."""
        return {MANAGED_BY: OF_HOST, **{name: getattr(self, name) for name in _METADATA if getattr(self, name)}}

    def has_state_of(self, desired: HostEntry) -> bool:
        """Return whether the metadata equal the desired ones, apart from a rotation and the inputs."""
        mine = self._replace(rotation="", client_secret="", inputs=desired.inputs)
        return mine.metadata() == desired.metadata()


def read_entry(identity: Identity) -> HostEntry | None:
    """Return the host's identity, or None if the role did not create this identity for a host."""
    found = dict(identity.metadata)
    if found.get(MANAGED_BY) != OF_HOST or not found.get("host"):
        return None
    texts = {name: found.get(name, "") for name in _METADATA}
    return HostEntry(
        identity.id, **texts, stored_name=identity.name, delete_protection=identity.delete_protection
    )  # fmt: skip


def identity_of(entry: HostEntry, project_id: str) -> Identity:
    """Return the identity of an entry in a project."""
    return Identity(entry.id, entry.name, project_id, delete_protection=entry.delete_protection)


class HostPlan(NamedTuple):
    """What must change so that a host has its identity.

    `entry` is its identity on the server, or None if it must be created. If `adjusts` is true, its login method, grants
    and metadata must be compared with the desired ones. If `mints` is true, the host needs a new client secret. `spare`
    are other identities of this host, which must be deleted. `reasons` has a line for each other change.
    """

    entry: HostEntry | None
    adjusts: bool
    mints: bool
    spare: tuple[HostEntry, ...]
    reasons: tuple[str, ...]


def describe_removal(spare: Iterable[HostEntry]) -> list[str]:
    """Return a line for each deleted identity of a host."""
    return [f"the identity {one.name} ({one.id}) is removed, because it is not used" for one in spare]


def make_plan(
    entries: Sequence[HostEntry], held: HeldIdentity, desired: HostEntry, *, now: float, ttl: float
) -> HostPlan:
    """Compare the identities of a host on the server with the desired one, which has no id yet.

    `now` is in seconds since the epoch, and `ttl` is the lifetime of a client secret in seconds. The login method is
    part of `desired.desired`. Raises ConfigurationError if an identity belongs to another host of the same name, or if
    the host has the key pair of an identity that was deleted.
    """
    for one in entries:
        check_owner(one, desired)
    method = method_of(desired)
    if method == held.auth_method == JWT_AUTH and held.identity_id not in ("", *(one.id for one in entries)):
        raise ConfigurationError(
            "identity", f"the host '{desired.host}' has the key pair of the identity {held.identity_id}, which is not "
            "in the project any more. If the identity was revoked, the key may have leaked, so it is not used again.",
            hint=NEW_KEY_HINT,
        )  # fmt: skip
    has_secrets = method == UNIVERSAL_AUTH
    usable = [entry for entry in entries if method_of(entry) == method]
    entry = next((one for one in usable if one.id == held.identity_id), usable[0] if usable else None)
    spare = tuple(one for one in entries if one != entry)
    if entry is None:
        return HostPlan(None, False, has_secrets, spare, (f"the identity {desired.name} is created",))
    is_held = held.identity_id == entry.id and held.auth_method == method
    is_same = entry.has_state_of(desired)
    why = find_reason(entry, held if is_held else NOTHING, now, ttl) if has_secrets else ""
    reasons = []
    if not is_same:
        reasons.append(f"the identity {entry.name} is adjusted to the jobs of the host")
    elif not is_held:
        reasons.append(f"the identity {entry.name} is given to the host again")
    if why:
        reasons.append(f"the client secret of {entry.name} is replaced, because {why}")
    return HostPlan(entry, not (is_same and is_held), bool(why), spare, tuple(reasons))


def find_reason(entry: HostEntry, held: HeldIdentity, now: float, ttl: float) -> str:
    """Return why a host that holds `held` needs a new client secret, or an empty text if it needs none."""
    if not held.client_secret_id:
        return "the host does not have it"
    if held.rejected:
        return "the server has rejected the login of the host"
    if entry.rotation:
        return "an earlier run was interrupted"
    if entry.client_secret not in ("", held.client_secret_id):
        return "two runs have replaced it at the same time"
    left = held.expires_at - now
    if left < ttl * _ROTATE_BELOW:
        return f"it is valid for only {max(0.0, left) / _DAY:.1f} more days"
    return "its lifetime exceeds client_secret_ttl" if left > ttl + _DAY else ""


def check_owner(entry: HostEntry, desired: HostEntry) -> None:
    """Raise ConfigurationError if an identity belongs to a host of the same name in another inventory, or to another
    machine."""
    if entry.inventory not in ("", desired.inventory):
        raise ConfigurationError(
            "identity_inventory", f"the identity {entry.name} ({entry.id}) belongs to the inventory "
            f"'{entry.inventory}' (got '{desired.inventory}').",
            hint="Use the label of the inventory that has the host. If both inventories have such a host, rename one, "
            "or use another project.",
        )  # fmt: skip
    if not entry.inventory and entry.machine and desired.machine and entry.machine != desired.machine:
        raise ConfigurationError(
            "identity", f"the identity {entry.name} ({entry.id}) belongs to another machine that is also called "
            f"'{entry.host}'.",
            hint="If the machine was reinstalled or replaced, delete the identity, and run the role again. If another "
            "inventory has such a host, rename one, or use another project.",
        )  # fmt: skip


def is_owned(entry: HostEntry, desired: HostEntry) -> bool:
    """Return whether an identity certainly belongs to a host: it has the label of the host's inventory or, without a
    label, the host's machine id."""
    return bool(entry.inventory or entry.machine) and (
        entry.inventory == desired.inventory if entry.inventory else entry.machine == desired.machine
    )


# The desired state


def make_desired(host: str, method: str, grants: Iterable[Grant], public_key: str = "") -> Desired:
    """Return the desired identity of a host without its metadata. `public_key` (PEM) is the host's key for jwt_auth."""
    settings: dict[str, Any] = {"access_token_ttl": TOKEN_SECONDS, "access_token_max_ttl": TOKEN_SECONDS}
    if method == JWT_AUTH:
        # The subject is not bound: the key belongs to this identity alone, and a binding would need its id.
        settings.update(public_keys=(public_key,), issuer=jwt.ISSUER, audiences=(jwt.AUDIENCE,))
    return Desired(name=HostEntry("", host).name, methods={method: settings}, grants=tuple(grants))


def describe_state(desired: Desired) -> str:
    """Return the login method and a digest of a host's desired identity, for its metadata."""
    return f"{next(iter(desired.methods))}:{desired.fingerprint()[:32]}"


def describe_inputs(jobs: Desired, imports: Any) -> str:
    """Return a digest of everything that the desired state of a host depends on.

    `jobs` is the desired identity without the grants for imported folders, and `imports` a JSON document with the
    imports of the environments. While the digest stays the same, the imports of the host's folders need not be read.
    """
    return fingerprint([jobs.fingerprint(), imports])[:32]


def find_known(entries: Iterable[HostEntry], inputs: str) -> str:
    """Return the desired state of a host from an earlier run with these inputs, or an empty text."""
    return next((one.desired for one in entries if one.inputs == inputs), "")


def method_of(entry: HostEntry) -> str:
    """Return the login method of an identity, from its metadata."""
    return entry.desired.partition(":")[0]


def digest_machine(machine_id: str) -> str:
    """Return a digest of a machine id, or an empty text. The id itself is confidential (see machine-id(5))."""
    return hashlib.sha256(f"{OURS}:{machine_id}".encode()).hexdigest()[:32] if machine_id else ""


def find_project(jobs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the id of the project of all jobs, which are options keyed by the job's name.

    Raises ConfigurationError if there are several projects: an identity of a project cannot see another one.
    """
    users = {project_id: name for name, options in jobs.items() for project_id in options["project_ids"]}
    if len(users) == 1 and "all" not in users:
        return str(next(iter(users)))
    named = ", ".join(f"{project_id} in '{name}'" for project_id, name in sorted(users.items()))
    raise ConfigurationError(
        "project_ids", f"must be one project, and the same for all jobs, if identity is per_host (got {named}).",
        hint="Move the folders to one project, or set identity: shared.",
    )  # fmt: skip


def find_folders(jobs: Mapping[str, Mapping[str, Any]]) -> dict[Grant, bool]:
    """Return the grants for the folders of jobs with these options, and whether their imports are needed too.

    Jobs are keyed by name. Raises ConfigurationError for an invalid path.
    """
    found: dict[Grant, bool] = {}
    for name, options in jobs.items():
        path = options["secret_path"]
        if "*" in path or "?" in path:
            raise ConfigurationError("jobs", f"{name}: secret_path must not contain * or ? (got '{path}').")
        grant = check_grant(options["environment"], path, bool(options["recursive"]))
        found[grant] = found.get(grant, False) or bool(options["include_imports"])
    return found


def find_grants(folders: Mapping[Grant, bool], follow: Callable[[Grant], Iterable[Grant]]) -> tuple[Grant, ...]:
    """Return exactly the grants that the jobs of a host need.

    `folders` is what `find_folders` returns. `follow` returns the folders that a folder imports, directly or through
    other imports. If the grant is recursive, it also returns the imports of all folders below.
    """
    found = {*folders, *(imported for one, needed in folders.items() if needed for imported in follow(one))}
    wide = [grant for grant in found if grant.recursive]
    return normalize(one for one in found if not any(_includes(other, one) for other in wide))


def _includes(wide: Grant, one: Grant) -> bool:
    """Return whether a recursive grant includes another one, which it does not equal."""
    below = f"{wide.path.rstrip('/')}/"
    is_below = one.path.startswith(below) and one.path != wide.path
    return wide.environment == one.environment and (is_below or (one.path == wide.path and not one.recursive))
