# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of secrets in the vault, and the choice between several secrets that would get the same name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..client.listing import merge_each_folder
from ..client.parsing import Listing, Project
from ..core.errors import Ambiguous
from ..core.model import Location, Secret, normalize_name
from .job import KEY_FORMAT, Pull, parse_key_format


def make_name(job: Pull, secret: Secret, project: Project) -> str:
    """Return a secret's name in the vault.

    `{path}` has no leading or trailing slash. If it is empty, the text between it and the next field is omitted too.
    """
    values = {
        "key": secret.key,
        "path": secret.secret_path.strip("/"),
        "project": project.slug or project.name or project.id,
    }
    name, after_empty = "", False
    for part, text in parse_key_format(job.key_format).items():
        name += "" if after_empty else text
        name += values.get(part, "")
        after_empty = part == "path" and not values["path"]
    return normalize_name(name, "key_format") if job.normalize_names else name


def rank(job: Pull, secret: Secret) -> int:
    """Return the index of the first entry in `precedence` that matches, or its length if none matches."""
    for index, entry in enumerate(job.precedence):
        below = secret.secret_path == entry or secret.secret_path.startswith(entry.rstrip("/") + "/")
        if entry == secret.project_id or (entry.startswith("/") and below):
            return index
    return len(job.precedence)


def choose(job: Pull, name: str, secrets: Sequence[Secret]) -> Secret:
    """Return the secret that gets the name. Raises Ambiguous if several candidates have different values."""
    if len(secrets) == 1:
        return secrets[0]
    best = min(rank(job, secret) for secret in secrets)
    first, *others = [secret for secret in secrets if rank(job, secret) == best]
    for other in others:
        if other.value != first.value:
            raise Ambiguous(
                f"Nothing was changed: two secrets with different values would both be named '{name}' in the vault: "
                f"{describe(first)}, and {describe(other)}.",
                hint="Set key_format to a text with {path} or {project}, or set precedence.",
            )
    return min([first, *others], key=lambda secret: (secret.project_id, secret.secret_path, secret.key))


def name_secrets(job: Pull, read: Sequence[tuple[Project, Listing]]) -> tuple[dict[str, Secret], list[str]]:
    """Return the secrets in all listings, keyed by their names in the vault, and warnings. Raises Ambiguous.

    Within a project, the folder's own secrets win over imported ones, and later imports win over earlier ones.
    """
    warnings = [text for _project, listing in read for text in listing.warnings]
    if job.key_format == KEY_FORMAT and not job.normalize_names:
        every = [secret for _project, listing in read for secrets in group(listing) for secret in secrets]
        by_key = {secret.key: secret for secret in every}
        if len(by_key) == len(every):  # the usual case
            return by_key, warnings
    found: dict[str, list[Secret]] = {}
    for project, listing in read:
        names: dict[str, list[Secret]] = {}
        for secrets in group(listing):
            newest = merge_each_folder(Listing(secrets))
            warnings += [text for text in newest.warnings if text not in warnings]
            tier: dict[str, list[Secret]] = {}
            for secret in newest.secrets:
                tier.setdefault(make_name(job, secret, project), []).append(secret)
            names = {**tier, **names}
        for name, candidates in names.items():
            found.setdefault(name, []).extend(candidates)
    return {name: choose(job, name, secrets) for name, secrets in found.items()}, warnings


def group(listing: Listing) -> Iterator[tuple[Secret, ...]]:
    """Yield a listing's secrets by priority: the folder's own secrets, then the imports, starting with the last."""
    yield listing.secrets
    yield from (imported.secrets for imported in reversed(listing.imports))


def locate(secret: Secret) -> Location:
    """Return the folder that a secret comes from."""
    return Location(secret.project_id, secret.environment, secret.secret_path)


def describe(secret: Secret) -> str:
    """Return a secret's key and location in words."""
    return f"'{secret.key}' of {locate(secret)}"
