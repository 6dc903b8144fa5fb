# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet report's page: one HTML file that asks nobody for anything, and works from a disk.

Names of hosts, secrets and projects are not trusted. They get into the page as text through the template's escaping,
and as JSON in which no character can end the element around it; the page's script puts them in as text only. Its
content security policy allows nothing but the style and the script whose hashes it states.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from array import array
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import shown
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fleet_drawing
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_view import (
    Column,
    Row,
    State,
    VaultState,
    View,
    duration,
    summary,
)
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

ASSETS = Path(__file__).parent / "fleet_report"

MOST_LISTED = 200
"""How many rows a table that is to be read and printed has, and how many names a list; what is beyond is counted."""

_LARGEST = 2**32 - 1

require = fleet_drawing.require


def headline(seen: View) -> str:
    """The page's summary in one line, for a terminal."""
    return shown("; ".join(sentence.text for sentence in summary(seen)))


def page(seen: View) -> str:
    """The page of a view. Raises MissingLibrary."""
    style, script = _asset("page.css"), _asset("page.js")
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(ago=lambda time: f"{duration(seen.now - time)} ago" if time else "never", utc=_utc)
    html: str = environment.get_template("page.html.j2").render(
        view=seen,
        sentences=summary(seen),
        counts=seen.counts,
        troubles=seen.troubles,
        vaults_in_trouble=[row for row in seen.rows if row.state is not VaultState.OK],
        drawing=fleet_drawing.drawing(seen),
        box=fleet_drawing,
        data=_data(seen),
        most=MOST_LISTED,
        State=State,
        VaultState=VaultState,
        style=Markup(style),  # noqa: S704 - ours
        script=Markup(script),  # noqa: S704 - ours
        policy="; ".join(
            (
                "default-src 'none'",
                f"script-src {_hash(script)}",
                f"style-src {_hash(style)}",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
    )
    return html


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The source expression (Content Security Policy, level 3) of exactly this style or script."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%d %H:%M UTC") if time else "never"


def _data(seen: View) -> dict[str, Any]:
    """What the page's script works with; the names of rows and columns as JSON, what the cells say as packed numbers.

    `cells` is base64 of zlib of: columns, versions and times of sync (32 bits each, little-endian, one after the other
    for all cells), then states (8 bits each). A row has as many cells as it says, in the order of the rows.
    """
    places = {place: number for number, place in enumerate(dict.fromkeys(_place(one) for one in seen.columns))}
    return {
        "now": int(seen.now),
        "places": list(places),
        "columns": [
            [column.name, places[_place(column)], column.version, int(column.updated), int(column.gone)]
            for column in seen.columns
        ],
        "rows": [
            [
                row.host,
                row.job,
                int(row.state),
                int(row.last_sync),
                None if row.intervals is None else round(row.intervals, 1),
                row.why,
                len(row.cells),
            ]
            for row in seen.rows
        ],
        "cells": b64encode(_packed(seen.rows)).decode("ascii"),
    }


def _place(column: Column) -> tuple[str, str, str, str]:
    return (column.project, *column.place)


def _packed(rows: Sequence[Row]) -> bytes:
    cells = [cell for row in rows for cell in row.cells]

    def numbers(values: Iterable[float]) -> bytes:
        # Four bytes everywhere that CPython runs on.
        packed = array("I", [min(max(int(value), 0), _LARGEST) for value in values])
        if sys.byteorder == "big":
            packed.byteswap()
        return packed.tobytes()

    whole = b"".join(
        (
            numbers(cell.column for cell in cells),
            numbers(cell.version for cell in cells),
            numbers(cell.synced for cell in cells),
            bytes(cell.state for cell in cells),
        )
    )
    return zlib.compress(whole, 9)
