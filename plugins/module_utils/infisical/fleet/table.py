# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as a CSV table in which a spreadsheet cannot find formulas."""

from __future__ import annotations

import csv
import io
import re
from functools import lru_cache

from .rows import held_rows, missing_rows
from .snapshot import Snapshot

COLUMNS = (
    "host", "job", "vault_state", "project", "project_name", "environment", "path", "name", "version",
    "current_version", "state", "behind_seconds", "synced_at", "last_sync",
)  # fmt: skip

_SIGN = "[=+@\uff1d\uff0b\uff20\uff0d-]"
"""The characters that can start a formula, including their full-width forms."""
_FORMULA = re.compile(rf"\s*{_SIGN}|[\t\r\n]")
_END_OF_CELL = re.compile(r"[;,|\t\r\n]")
_BEFORE = r"[\s\"';,|]"
_RUN_BEFORE_SIGN = re.compile(f"(?<!{_BEFORE}){_BEFORE}+(?={_SIGN})")


@lru_cache(maxsize=1 << 16)
def escape(text: str) -> str:
    """Return a text with an apostrophe before everything that a spreadsheet could interpret as a formula.

    This includes formulas inside the text, because in many countries spreadsheets do not separate cells by commas.
    """
    text = _RUN_BEFORE_SIGN.sub(lambda run: run[0] + "'" * bool(_END_OF_CELL.search(run[0])), text)
    return "'" + text if _FORMULA.match(text) else text


def render_table(snapshot: Snapshot) -> bytes:
    """Return the CSV (RFC 4180, UTF-8) with a row for each secret that a job's vault contains or lacks.

    A vault that neither contains nor lacks any secret gets one row without a secret.
    """
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "utf-8", errors="replace", newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for vault in snapshot.graph.vaults.values():
        about = {
            "host": vault.host, "job": vault.job, "vault_state": snapshot.state_of_vault(vault),
            "last_sync": vault.last_sync,
        }  # fmt: skip
        for row in [*held_rows(snapshot, vault), *missing_rows(snapshot, vault)] or [{}]:
            row.update(about)
            cells = map(row.get, COLUMNS)
            writer.writerow([escape(cell) if isinstance(cell, str) else cell for cell in cells])
    stream.flush()
    return raw.getvalue()
