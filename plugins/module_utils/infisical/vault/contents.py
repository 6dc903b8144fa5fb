# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of one generation of a vault (entries and job records) and their encoding; see vault_format.rst."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Callable

from ..core.errors import ConfigurationError, ValueHidden
from ..core.model import Secret, check_value, is_whole, parse_json
from ..core.plan import Plan
from .format import Malformed

Row = Sequence[Any]
"""A stored entry: value, index of its origin, key in Infisical (None if it equals the name), id, version, and time."""
Rows = dict[str, Row]
Origin = tuple[str, str, str, str]
"""Job, project, environment and path of an entry."""

_WRONG_TEXT = "its decrypted text does not follow the format"


@dataclass(frozen=True, eq=False)
class Contents:
    """One generation of a vault.

    `jobs` contains one record for each job, keyed by job. `hash_key` (32 bytes) is the key for the hashes in a state
    file. The entries are parsed on first access, which raises VaultDamaged if they do not follow the format.
    """

    vault_id: str
    generation: int
    jobs: dict[str, dict[str, Any]] = field(repr=False)
    hash_key: bytes = field(repr=False)
    origins: tuple[Origin, ...] = field(repr=False)
    count: int
    _load: Callable[[], Rows] = field(repr=False)

    @cached_property
    def rows(self) -> Rows:
        """The entries in their stored form."""
        return self._load()

    @cached_property
    def secrets(self) -> dict[str, Secret]:
        """All entries, keyed by their names in the vault."""
        return {name: self._secret(name, row) for name, row in self.rows.items()}

    def values(self) -> dict[str, str]:
        """Return all entries as {name: value}, without creating Secret objects."""
        return {name: row[0] for name, row in self.rows.items()}

    def of_job(self, job: str) -> dict[str, tuple[str, int, str]]:
        """Return a job's entries for the state file: {name: (value, version, synced_at)}."""
        own = {number for number, origin in enumerate(self.origins) if origin[0] == job}
        return {name: (row[0], row[4], row[5]) for name, row in self.rows.items() if row[1] in own}

    def get(self, name: str) -> Secret | None:
        row = self.rows.get(name)
        return None if row is None else self._secret(name, row)

    def _secret(self, name: str, row: Row) -> Secret:
        value, origin, key, id_, version, synced_at = row
        job, project_id, environment, secret_path = self.origins[origin]
        return Secret(
            name if key is None else key, value, version, id_, secret_path, environment,
            project_id=project_id, job=job, synced_at=synced_at,
        )  # fmt: skip


def change_entries(before: Contents, plan: Plan, job: str, time: str) -> tuple[tuple[Origin, ...], Rows]:
    """Return the origins and entries after `job` has applied `plan` at `time`."""
    rows = dict(before.rows)
    numbers = {origin: number for number, origin in enumerate(before.origins)}
    for _action, name, _before, secret in plan.changes:
        if secret is None:
            rows.pop(name, None)
            continue
        origin = (job, secret.project_id, secret.environment, secret.secret_path)
        number = numbers.setdefault(origin, len(numbers))
        own_key = None if secret.key == name else secret.key
        rows[name] = (secret.value, number, own_key, secret.id, secret.version, time)
    used = sorted({row[1] for row in rows.values()})
    origins = list(numbers)
    if len(used) < len(origins):
        number_of = {old: new for new, old in enumerate(used)}
        rows = {name: (row[0], number_of[row[1]], *row[2:]) for name, row in rows.items()}
        origins = [origins[old] for old in used]
    return tuple(origins), rows


def encode(jobs: dict[str, dict[str, Any]], origins: Sequence[Origin], rows: Rows) -> bytes:
    """Return the text to seal. Raises ValueHidden or ConfigurationError for an invalid entry."""
    for name, row in rows.items():
        if row[0] is None:
            raise ValueHidden(f"Nothing was changed: the value of '{name}' is hidden, so it cannot be stored.")
        if not _is_row(row, len(origins)):
            raise ConfigurationError(
                f"{name!r}", "the entry's value, id and time must be text, and its version must be a number."
            )
    head = {"jobs": jobs, "origins": origins, "count": len(rows)}
    try:
        return _dump(head) + b"\n" + _dump(rows)
    except UnicodeEncodeError:
        pass  # the exception's text would quote a value
    for name, row in rows.items():
        check_value(row[0], f"the value of {name!r}")
        for part in (name, *(part for part in row[2:] if isinstance(part, str))):
            check_value(part, f"the name, id or time of {name!r}")
    raise ConfigurationError("job", "its project, environment, path or name is not valid Unicode text.")


def decode_head(text: bytes) -> tuple[dict[str, dict[str, Any]], tuple[Origin, ...], int, bytes]:
    """Return the jobs, the origins, the number of entries, and the text of the entries. Raises Malformed."""
    first, newline, entries = text.partition(b"\n")
    head = _parse_line(first)
    jobs, origins, count = head.get("jobs"), head.get("origins"), head.get("count")
    if not (
        newline
        and isinstance(jobs, dict)
        and all(isinstance(record, dict) for record in jobs.values())
        and isinstance(origins, list)
        and all(isinstance(origin, list) and [type(part) for part in origin] == [str] * 4 for origin in origins)
        and is_whole(count)
    ):
        raise Malformed(_WRONG_TEXT)
    return jobs, tuple(tuple(origin) for origin in origins), count, entries


def decode_rows(entries: bytes, origins: int, count: int) -> Rows:
    """Parse the entries from their text. Raises Malformed.

    `count` is the expected number of entries, and `origins` is the number of origins that they can refer to.
    """
    rows: Rows = _parse_line(entries)
    if len(rows) != count or not all(_is_row(row, origins) for row in rows.values()):
        raise Malformed(_WRONG_TEXT)
    return rows


def _is_row(row: Any, origins: int) -> bool:
    if not isinstance(row, (list, tuple)) or len(row) != 6:
        return False
    value, number, own_key, id_, version, time = row
    return (
        isinstance(value, str)
        and is_whole(number)
        and 0 <= number < origins
        and (own_key is None or isinstance(own_key, str))
        and isinstance(id_, str)
        and is_whole(version)
        and isinstance(time, str)
    )


def _parse_line(raw: bytes) -> Any:
    """Return the JSON object in a line. Raises Malformed if the line is not exactly one JSON object."""
    try:
        if raw[:1] == b"{" and raw[-1:] == b"}":
            return parse_json(raw)
    except ValueError:
        pass
    raise Malformed(_WRONG_TEXT)


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), check_circular=False).encode("utf-8")
