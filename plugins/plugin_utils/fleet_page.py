# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report page: one HTML file that can be opened from a disk and makes no network requests.

Names of hosts, secrets and projects are untrusted. So the template escapes them, and the script treats them only as
text. The content security policy allows only the style and the script whose hashes it lists.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import escape
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import format_duration
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_view import LAGS, SOON, STATES, View, summary
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

ASSETS = Path(__file__).parent / "fleet_report"

MOST_CELLS = 5000
"""The maximum number of cells (hosts × secrets) in the matrix. A larger matrix is not shown."""
MOST_ROWS = 5000
"""The maximum number of rows for hosts, and also for secrets."""


def headline(view: View) -> str:
    """Return the page's summary in one line, for a terminal."""
    return escape("; ".join(sentence.text for sentence in summary(view)))


def page(view: View) -> str:
    """Return the page for a view."""
    style, script = _asset("page.css"), _asset("page.js")
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(ago=lambda time: f"{format_duration(view.now - time)} ago", utc=_utc)
    secrets = view.secrets[:MOST_ROWS]
    columns = {secret.id: number for number, secret in enumerate(secrets)}
    hosts = [(host, _line(host.cells, columns)) for host in view.hosts[:MOST_ROWS]]
    html: str = environment.get_template("page.html.j2").render(
        view=view,
        sentences=summary(view),
        secrets=secrets,
        hosts=[(host, cells, _run_lengths(cells)) for host, cells in hosts],
        has_matrix=0 < len(view.hosts) * len(view.secrets) <= MOST_CELLS,
        most_cells=MOST_CELLS,
        states=STATES,
        soon=SOON,
        lags={code: f"−{lag}" if lag else "↻" for lag, code in enumerate(LAGS)},
        style=Markup(style),  # noqa: S704 - ours
        script=Markup(script),  # noqa: S704 - ours
        policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; "
        "form-action 'none'",
    )
    return html


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the source expression (Content Security Policy, level 3) that allows exactly this style or script."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _line(cells: Mapping[str, str], columns: Mapping[str, int]) -> str:
    """Return a host's cells as text with one code per column, or a dot if the host does not have the secret."""
    line = ["."] * len(columns)
    for id_, code in cells.items():
        if id_ in columns:
            line[columns[id_]] = code
    return "".join(line)


def _run_lengths(cells: str) -> str:
    """Return cells with a number before a code for the length of a run of equal cells, such as "12cB3."."""
    return re.sub(r"(.)\1+", lambda run: f"{len(run[0])}{run[1]}", cells)
