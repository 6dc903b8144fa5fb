# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual's page about speed shows the figures of the published run."""

from __future__ import annotations

import copy
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from bench import speed_page

DOCS = Path(__file__).parents[2] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


def _row(what: str, floor: float | None = None, measured: float | None = None, **more: Any) -> dict[str, Any]:
    ratio = None if floor is None or measured is None else measured / floor
    row = {"what": what, "floor": floor, "measured": measured, "ratio": ratio, "requests": None, "at_most": None}
    return {**row, "size": None, "count": None, **more}


RESULTS: dict[str, Any] = {
    "date": "2026-01-02",
    "machine": {"cores": 2, "processor": "Some processor", "memory_gb": 8},
    "versions": {"keyfleet.infisical": "1.2.3", "Python": "3.11.4"},
    "topics": [
        {
            "title": "Lookups",
            "rows": [
                _row(f"{count} of {size}", 0.5, 0.5 + count / 1000, requests=2, at_most=2.0, size=size, count=count)
                for count in (1, 500)
                for size in (10, 50_000)
            ],
        },
        {"title": "Memory", "rows": [_row("peak in MB", None, 61.234, at_most=150)]},
    ],
}


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with a page without figures."""
    page = tmp_path / speed_page.PAGE
    page.parent.mkdir(parents=True)
    page.write_text(f"Before\n\n{speed_page.BEGIN}outdated figures\n{speed_page.END}\nAfter\n", "utf-8")
    return tmp_path


def test_manual_shows_the_published_run() -> None:
    results, page = DOCS / speed_page.RESULTS, (DOCS / speed_page.PAGE).read_text("utf-8")
    published = json.loads(results.read_text("utf-8")) if results.exists() else None
    assert page == speed_page.insert(page, speed_page.render_tables(published) if published else "")
    curves = DOCS / speed_page.CURVES
    assert (curves.read_text("utf-8") if curves.exists() else None) == (
        speed_page.render_curves(published) if published else None
    )


def test_publish_replaces_figures_only(docs: Path) -> None:
    speed_page.publish(RESULTS, docs)
    page = (docs / speed_page.PAGE).read_text("utf-8")
    assert page.startswith(f"Before\n\n{speed_page.BEGIN}Measured on 2026-01-02 ")
    assert page.endswith(f"\n\n{speed_page.END}\nAfter\n")
    assert "outdated figures" not in page
    assert json.loads((docs / speed_page.RESULTS).read_text("utf-8")) == RESULTS
    speed_page.publish(RESULTS, docs)
    assert (docs / speed_page.PAGE).read_text("utf-8") == page


def test_table_shows_every_row() -> None:
    text = speed_page.render_tables(RESULTS)
    assert "2 cores (Some processor) and\n8 GB of memory, with keyfleet.infisical 1.2.3, Python 3.11.4." in text
    assert "   * - 500 of 50000\n     - 0.500\n     - 1.000\n     - 2.00\n     - 2\n     - 2\n" in text
    assert "   * - peak in MB\n     -\n     - 61.2\n     -\n     - 150\n     -\n" in text
    assert text.count(".. list-table::") == 2


def test_page_without_marks_is_rejected() -> None:
    with pytest.raises(ValueError, match="lacks the comments"):
        speed_page.insert("A page", "tables")


def test_curves_show_every_point() -> None:
    drawing = ElementTree.fromstring(speed_page.render_curves(RESULTS))
    # Two charts: lines for two sizes and the floor, and lines for two counts; each line has two points.
    assert len(drawing.findall(f".//{SVG}circle")) == (2 + 1 + 2) * 2
    texts = [text.text for text in drawing.iter(f"{SVG}text")]
    assert {"10 secrets", "50,000 secrets", "lookup('env')", "1 lookup", "500 lookups"} <= set(texts)


def test_higher_time_is_higher_in_the_chart() -> None:
    def highest(results: dict[str, Any]) -> float:
        drawing = speed_page.render_curves(results)
        return min(float(y) for y in re.findall(r'cy="([\d.]+)"', drawing))

    # The scale has the same top for both.
    changed = copy.deepcopy(RESULTS)
    changed["topics"][0]["rows"][-1]["measured"] = 1.05
    assert highest(changed) < highest(RESULTS)
