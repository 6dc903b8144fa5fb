# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the figures of a benchmark's run into the manual: tables in guide_speed.rst, and curves in guide_speed.svg.

    python3 tests/bench/speed_page.py docs

draws them again from docs/bench.json, the JSON of the published run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Results = Mapping[str, Any]
"""The JSON of a run: `date`, `machine`, `versions`, and `topics` with a `title` and `rows`."""

RESULTS = "bench.json"
PAGE = "docsite/rst/guide_speed.rst"
CURVES = "docsite/rst/guide_speed.svg"
BEGIN = "..\n  The following is written by make bench.\n\n"
END = "..\n  The preceding is written by make bench.\n"
HEADER = ("", "Floor", "Measured", "Ratio", "At most", "Requests")
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
# The size of a chart, and the distance of its axes from its left and lower edge.
WIDTH, HEIGHT, LEFT, BELOW, ABOVE, RIGHT = 460, 300, 56, 44, 40, 118


def exceeds(row: Mapping[str, Any]) -> bool:
    """Return whether a row exceeds its limit, which is for the first figure that the row has: ratio, measured figure,
    or requests."""
    figure = next((row[name] for name in ("ratio", "measured", "requests") if row[name] is not None), None)
    return row["at_most"] is not None and figure is not None and figure > row["at_most"]


def figures(row: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    """Return the figures of a row as text: floor, measured, ratio, limit, requests."""
    floor, measured = ("" if row[name] is None else _number(row[name]) for name in ("floor", "measured"))
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    at_most = "" if row["at_most"] is None else f"{row['at_most']:g}"
    return floor, measured, ratio, at_most, "" if row["requests"] is None else str(row["requests"])


def render_tables(results: Results) -> str:
    """Return the generated part of the page as reStructuredText."""
    machine, versions = results["machine"], results["versions"]
    used = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [
        f"Measured on {results['date']} on a machine with {machine['cores']} cores ({machine['processor']}) and",
        f"{machine['memory_gb']} GB of memory, with {used}.",
        "",
        f".. image:: {Path(CURVES).name}",
        "   :alt: Time of a play by the number of lookups, and by the number of secrets in the folder",
    ]
    for topic in results["topics"]:
        lines += ["", f".. list-table:: {topic['title']}", "   :header-rows: 1", "   :widths: 50 10 10 10 10 10", ""]
        for cells in (HEADER, *map(_cells, topic["rows"])):
            lines += [f"   {'  -' if place else '* -'} {cell}".rstrip() for place, cell in enumerate(cells)]
    return "\n".join(lines) + "\n\n"


def render_curves(results: Results) -> str:
    """Return the curves as SVG: the time of a play by the number of lookups, and by the size of the folder."""
    points = [row for topic in results["topics"] for row in topic["rows"] if row["size"] is not None]
    sizes, counts = sorted({row["size"] for row in points}), sorted({row["count"] for row in points})
    time = {(row["size"], row["count"]): row["measured"] for row in points}
    floor = {row["count"]: row["floor"] for row in points}
    top = max([*time.values(), *floor.values()])
    by_count = _Chart("Seconds by number of lookups", counts, counts, top)
    by_size = _Chart("Seconds by secrets in the folder", range(len(sizes)), sizes, top)
    by_count.draw("lookup('env')", "#666666", [floor[count] for count in counts], dashed=True)
    for color, size in zip(COLORS, sizes):
        by_count.draw(f"{size:,} secrets", color, [time[size, count] for count in counts])
    for color, count in zip(COLORS, counts):
        name = f"{count} lookup{'' if count == 1 else 's'}"
        by_size.draw(name, color, [time[size, count] for size in sizes])
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" width="{2 * WIDTH}"'
            f' height="{HEIGHT}" font-family="sans-serif" font-size="12" role="img">',
            "<title>Time of a play with lookups</title>",
            f'<rect width="{2 * WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            *by_count.render(0),
            *by_size.render(WIDTH),
            "</svg>\n",
        ]
    )


def insert(page: str, tables: str) -> str:
    """Return the page with the generated part replaced."""
    before, _begin, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE} lacks the comments around the generated part")
    return f"{before}{BEGIN}{tables}{END}{after}"


def publish(results: Results, docs: Path) -> None:
    """Write the JSON of a run, and draw its tables and curves."""
    (docs / RESULTS).write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    page = docs / PAGE
    page.write_text(insert(page.read_text("utf-8"), render_tables(results)), "utf-8")
    (docs / CURVES).write_text(render_curves(results), "utf-8")
    print(f"Updated {RESULTS}, {PAGE} and {CURVES} in {docs}")


class _Chart:
    """A chart with lines. `places` are the positions of the points on the horizontal axis, `labels` their names."""

    def __init__(self, title: str, places: Iterable[float], labels: Iterable[int], top: float) -> None:
        self._places = list(places)
        self._step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if top <= step * 6)
        self._top = self._step * (int(top / self._step) + 1)
        self._lines: list[str] = []
        self._names: list[tuple[float, str, str]] = []
        self._lines.append(f'<text x="{LEFT}" y="20" font-size="14">{title}</text>')
        for step in range(round(self._top / self._step) + 1):
            y = self._y(step * self._step)
            self._lines.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
            self._text(LEFT - 8, y + 4, f"{step * self._step:g}", "end")
        for place, label in zip(self._places, labels):
            self._text(self._x(place), HEIGHT - BELOW + 18, f"{label:,}", "middle")

    def draw(self, name: str, color: str, values: list[float], dashed: bool = False) -> None:
        """Draw a line through one value for each place."""
        spots = [(self._x(place), self._y(value)) for place, value in zip(self._places, values)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._lines.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"{dashes}/>')
        self._lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in spots]
        self._names.append((spots[-1][1], name, color))

    def render(self, left: int) -> list[str]:
        """Return the chart as SVG, `left` pixels to the right. Names are beside the ends of their lines."""
        floor = ABOVE
        for y, name, color in sorted(self._names):
            floor = max(floor + 15, y + 4)
            self._lines.append(f'<text x="{WIDTH - RIGHT + 8}" y="{floor:.1f}" fill="{color}">{name}</text>')
        return [f'<g transform="translate({left} 0)">', *self._lines, "</g>"]

    def _text(self, x: float, y: float, text: str, anchor: str) -> None:
        self._lines.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#333333">{text}</text>')

    def _x(self, place: float) -> float:
        first, last = self._places[0], self._places[-1]
        return LEFT + (place - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def _y(self, seconds: float) -> float:
        return HEIGHT - BELOW - seconds / self._top * (HEIGHT - BELOW - ABOVE)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["what"] + (" (**over the limit**)" if exceeds(row) else ""), *figures(row)


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    publish(json.loads((folder / RESULTS).read_text("utf-8")), folder)
