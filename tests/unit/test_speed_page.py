# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual's page about speed shows the figures of the published run."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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
    published = json.loads((DOCS / speed_page.RESULTS).read_text("utf-8"))
    page = (DOCS / speed_page.PAGE).read_text("utf-8")
    assert page == speed_page.insert(page, speed_page.render_tables(published))
    assert (DOCS / speed_page.CURVES).read_text("utf-8") == speed_page.render_curves(published)


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


OVER = [
    _row("ratio", 1.0, 2.1, requests=1, at_most=2),
    _row("peak", None, 150.1, at_most=150),
    _row("many requests", requests=13, at_most=12),
]
WITHIN = [
    _row("slow, but not for its floor", 9.0, 18.0, requests=9, at_most=2),
    _row("light", None, 150.0, requests=151, at_most=150),
    _row("few requests", requests=12, at_most=12),
    _row("no limit", 1.0, 99.0, requests=99),
]


def test_table_marks_rows_over_their_limit() -> None:
    text = speed_page.render_tables({**RESULTS, "topics": [{"title": "Both", "rows": [*OVER, *WITHIN]}]})
    marked = re.findall(r"\* - (.+) \(\*\*over the limit\*\*\)\n", text)
    assert marked == [row["what"] for row in OVER]


BENCH = """\
import sys
sys.path.insert(0, {folder!r})
import bench, row
points = [(10, 1, 2.0), (10, 50, 9.0), (20, 1, 9.0), (20, 50, None)]
bench.TOPICS = {{
    "one": ("Lookups", lambda: [row.Row(f"{{y}} of {{x}}", 1.0, {measured}, 1, limit, x, y) for x, y, limit in points]),
    "two": ("Memory", lambda: [row.Row("peak in MB", None, 61.2, None, 60)]),
}}
bench.main()
"""

OVER_LIMIT = "bench: these rows exceed their limits:\n  1 of 10\n  peak in MB\n"


def _run_bench(docs: Path, measured: float, *arguments: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("ansible", reason="the bench runs playbooks")
    program = BENCH.format(folder=str(DOCS.parent / "tests" / "bench"), measured=measured)
    command = [sys.executable, "-c", program, "--json", str(docs / "run.json"), "--docs", str(docs), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_bench_fails_if_a_row_exceeds_its_limit(docs: Path) -> None:
    done = _run_bench(docs, 2.5)
    assert (done.returncode, done.stderr) == (1, OVER_LIMIT)
    assert done.stdout.count(" over the limit\n") == 2
    done = _run_bench(docs, 2.0, "--only", "one")
    assert (done.returncode, done.stderr) == (0, "")
    assert "over the limit" not in done.stdout


def test_bench_publishes_rows_over_their_limit(docs: Path) -> None:
    done = _run_bench(docs, 2.5, "--publish")
    assert (done.returncode, done.stderr) == (1, OVER_LIMIT)
    page = (docs / speed_page.PAGE).read_text("utf-8")
    assert page.count("**over the limit**") == 2
    assert (docs / speed_page.CURVES).exists()


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
