# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as a CSV table in which a spreadsheet cannot find formulas."""

from __future__ import annotations

import io
import re
from typing import Any

from .rows import identity_rows, row_of
from .snapshot import Snapshot

_IDENTITY = ("identity", "days_left", "least_privilege")
_SECRET = ("project", "project_name", "environment", "path", "name")

_SIGN = "[=+@\uff1d\uff0b\uff20\uff0d-]"
"""The characters that can start a formula, including their full-width forms."""
_FORMULA = re.compile(rf"\s*{_SIGN}|[\t\r\n]")
_END_OF_CELL = re.compile(r"[;,|\t\r\n]")
_BEFORE = r"[\s\"';,|]"
_RUN_BEFORE_SIGN = re.compile(f"(?<!{_BEFORE}){_BEFORE}+(?={_SIGN})")
_HARMLESS = re.compile(r"\w[\w:.-]*", re.ASCII)
_SPECIAL = re.compile(r'[",\r\n]')
_END = "\r\n"


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
    # The csv module would quote the texts of a secret again in the row of each vault, which takes three times as long.
    secrets = {id_: _render_secret(snapshot, id_) for id_ in snapshot.graph.secrets}
    identities = {row["host"]: _join(*(row[name] for name in _IDENTITY)) for row in identity_rows(snapshot)}
    table = io.BytesIO()
    names = ("version", "current_version", "state", "behind_seconds", "synced_at", _join("last_sync", *_IDENTITY))
    table.write(_render_row("host,job,vault_state", _join(*_SECRET), *names).encode("ascii"))
    for vault in snapshot.graph.vaults.values():
        head = _join(vault.host, vault.job, snapshot.state_of_vault(vault))
        tail = f"{_render(vault.last_sync)},{identities[vault.host]}"
        rows = []
        for hold in vault.holds:
            secret, current, age = secrets[hold.secret]
            state = snapshot.state_of_hold(hold)
            behind = age if state == "behind" else ""
            synced = _render(hold.synced_at)
            rows.append(_render_row(head, secret, hold.version, current, state, behind, synced, tail))
        for id_ in snapshot.missing(vault):
            secret, current, age = secrets[id_]
            rows.append(_render_row(head, secret, "", current, "missing", age, "", tail))
        if not rows:
            rows = [_render_row(head, "," * (len(_SECRET) - 1), "", "", "", "", "", tail)]
        table.write("".join(rows).encode("utf-8", "replace"))
    return table.getvalue()


def _render_row(
    vault: str, secret: str, version: int | str, current: str, state: str, behind: str, synced: str, tail: str
) -> str:
    """Return a line of the table. `vault` contains three cells, `secret` the cells of _SECRET, and `tail` the time of
    the last sync and the cells of _IDENTITY."""
    return f"{vault},{secret},{version},{current},{state},{behind},{synced},{tail}{_END}"


def _render_secret(snapshot: Snapshot, id_: str) -> tuple[str, str, str]:
    """Return the cells of a secret that are the same for all vaults: _SECRET, current version, and age."""
    row = row_of(snapshot, None, id_, None, "missing")
    return _join(*(row[name] for name in _SECRET)), _render(row["current_version"]), _render(row["behind_seconds"])


def _join(*cells: Any) -> str:
    return ",".join(map(_render, cells))


def _render(cell: Any) -> str:
    """Return a cell as text, with the quotes that it needs in a CSV."""
    text = "" if cell is None else str(cell)
    if isinstance(cell, str) and not _HARMLESS.fullmatch(text):  # hundreds of thousands of times are harmless
        text = escape(text)
        if _SPECIAL.search(text):
            return '"{}"'.format(text.replace('"', '""'))
    return text
