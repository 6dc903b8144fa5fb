# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a pull and of a push, and the rules for them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ..core.errors import ConfigurationError
from ..core.model import Location, Secret, check_path
from ..core.plan import check_percent
from ..vault.state import SHA256

ALL = "all"
"""The value of `project_ids` that selects every project that the identity can see."""

KEY_FORMAT = "{key}"
"""The default of the option `key_format`."""


@cache
def parse_key_format(key_format: str) -> dict[str, str]:
    """Return the fields of a key format in order, each with the text before it.

    The text after the last field has the key `""`. Raises ConfigurationError if the key format is not valid.
    """
    parts = re.split(r"\{(key|path|project)\}", key_format)
    texts, fields = parts[::2], parts[1::2]
    if "key" not in fields or len(set(fields)) < len(fields) or re.search(r"[{}]", "".join(texts)):
        raise ConfigurationError(
            "key_format",
            "must contain {key}, can contain {path} and {project}, each only once, and must not contain other braces "
            f"(got '{key_format}').",
        )
    return dict(zip([*fields, ""], texts))


@dataclass(frozen=True)
class Pull:
    """The options of a job that pulls. The fields are the options with the same names.

    If `project_ids` is empty or contains only `all`, it selects every project that the identity can see.
    `precedence` lists project ids and secret paths; a secret that matches an earlier entry wins. `max_delete_percent`
    is the share of the job's entries that pruning is allowed to delete.
    """

    job: str = "default"
    project_ids: tuple[str, ...] = ()
    environment: str = ""
    secret_path: str = "/"
    recursive: bool = False
    include_imports: bool = True
    expand_references: bool = False
    key_format: str = KEY_FORMAT
    normalize_names: bool = False
    precedence: tuple[str, ...] = ()
    prune: bool = False
    prune_scope: str = "job"
    max_delete_percent: float = 30.0
    allow_empty: bool = False
    state_hash: str = SHA256

    def check(self) -> Pull:
        """Return the job with `secret_path` and `project_ids` normalized. Raises ConfigurationError."""
        if not self.environment:
            raise ConfigurationError(
                "environment",
                "must be set. There is no default, to prevent accidental pulls from production.",
                hint="Set it to the slug of an environment.",
            )
        if not self.job:
            raise ConfigurationError("job", "must not be empty, because the vault stores it with each entry.")
        check_percent(self.max_delete_percent)
        parse_key_format(self.key_format)
        if ALL in self.project_ids and len(self.project_ids) > 1:
            raise ConfigurationError("project_ids", f"must be either '{ALL}' or project ids (got both).")
        project_ids = () if self.project_ids == (ALL,) else self.project_ids
        return replace(self, project_ids=project_ids, secret_path=check_path(self.secret_path))

    def locate(self, project_id: str) -> Location:
        return Location(project_id, self.environment, self.secret_path)

    def owns(self, entry: Secret) -> bool:
        """Return whether pruning is allowed to delete an entry in the vault."""
        return self.prune_scope == "vault" or entry.job == self.job

    def source(self) -> dict[str, Any]:
        """Return the job's source in the form in which the vault stores it."""
        return {
            "environment": self.environment,
            "secret_path": self.secret_path,
            "project_ids": sorted(self.project_ids),
        }


@dataclass(frozen=True)
class Push:
    """The options of a push. The fields are the options with the same names."""

    normalize_names: bool = False
    create_path: bool = False
    prune: bool = False
    max_delete_percent: float = 30.0
    allow_empty: bool = False
    overwrite_rotated: bool = False
