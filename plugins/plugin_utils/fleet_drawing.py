# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where services, projects, secrets and vaults stand in the report's drawn graph; igraph decides, the template draws.

A large fleet is drawn in groups: secrets by their folder, vaults by the job and what they hold.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import MissingLibrary
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_view import Row, State, VaultState, View

MOST_NODES = 24
"""How many nodes a layer has before they are drawn in groups."""
MOST_EDGES = 120
"""How many relations between two layers a person can still follow."""

NODE_WIDTH, NODE_HEIGHT, ROW, GAP = 200.0, 38.0, 48.0, 96.0
"""In the drawing's units, which are pixels on a wide screen."""

_TROUBLE = (State.BEHIND, State.MISSING, State.GONE)


@dataclass
class Node:
    """An entity, or a group of them. `host`, `secret` and `project` are the page's filters that show it alone."""

    label: str
    detail: str
    title: str
    kind: str
    trouble: int = 0
    host: str = ""
    secret: str = ""
    project: str = ""
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Edge:
    """That two nodes belong together, by how many secrets, of which `trouble` are not as they should be."""

    source: Node
    target: Node
    count: int
    trouble: int

    @property
    def width(self) -> float:
        """How wide the line is: a little wider each time the count doubles."""
        return self._width(self.count)

    @property
    def trouble_width(self) -> float:
        """How wide that in the middle of it is which stands for what is in trouble."""
        return self._width(self.trouble)

    @staticmethod
    def _width(count: int) -> float:
        return round(min(1.5 + log2(count) / 3, 8), 2) if count else 0

    @property
    def path(self) -> str:
        """The curve from the source's right side to the target's left, in SVG's words."""
        start, end = self.source.x + NODE_WIDTH, self.target.x
        top, bottom = (node.y + NODE_HEIGHT / 2 for node in (self.source, self.target))
        middle = (start + end) / 2
        return f"M{start:g} {top:g}C{middle:g} {top:g} {middle:g} {bottom:g} {end:g} {bottom:g}"


@dataclass(frozen=True)
class Drawing:
    """The graph in its places. `grouped` is whether entities are drawn in groups."""

    nodes: Sequence[Node] = ()
    edges: Sequence[Edge] = ()
    width: float = 0.0
    height: float = 0.0
    grouped: bool = False


def require() -> None:
    """Raise MissingLibrary if what lays out the graph is not installed for this Python."""
    _igraph()


def _igraph() -> Any:
    try:
        import igraph
    except ImportError:
        raise MissingLibrary("igraph") from None
    return igraph


def quoted(*words: str) -> str:
    """Words for a filter of the page that must fit exactly; a quotation mark in one is written twice."""
    return " ".join(f'"{word.replace(chr(34), chr(34) * 2)}"' for word in words if word)


@dataclass
class _Layer:
    """Nodes by a key; what is beyond the first few is one node, which `rest` names by their number."""

    rest: Callable[[int], Node]
    most: int = MOST_NODES
    nodes: dict[Hashable, Node] = field(default_factory=dict)

    def shown(self, weights: Mapping[Hashable, int]) -> dict[Hashable, Node]:
        """The node of each key: the `most` heaviest have their own."""
        if len(self.nodes) <= self.most:
            return dict(self.nodes)
        ranked = sorted(self.nodes, key=lambda key: (-self.nodes[key].trouble, -weights.get(key, 0), str(key)))
        own, others = ranked[: self.most - 1], ranked[self.most - 1 :]
        rest = self.rest(len(others))
        rest.trouble = sum(self.nodes[key].trouble for key in others)
        return {**{key: self.nodes[key] for key in own}, **dict.fromkeys(others, rest)}


def drawing(view: View) -> Drawing:
    """The graph of a view, in as many nodes as can be read. Raises MissingLibrary."""
    few_secrets, few_vaults = len(view.columns) <= MOST_NODES, len(view.rows) <= MOST_NODES
    for by_secret, by_vault in ((True, True), (True, False), (False, True), (False, False)):
        if (by_secret and not few_secrets) or (by_vault and not few_vaults):
            continue
        layers, links = _graph(view, by_secret, by_vault)
        fits = all(len(layer.nodes) <= layer.most for layer in layers)
        if fits and max(map(len, links), default=0) <= MOST_EDGES:
            break
    return _placed(layers, links, grouped=not (by_secret and by_vault and fits))


def _graph(view: View, by_secret: bool, by_vault: bool) -> tuple[list[_Layer], list[dict[Any, list[int]]]]:
    """Four layers, and between each and the next the relations: (key, key) → [secrets, of which in trouble]."""
    services = _Layer(lambda count: Node(f"{count} more services", "", "", "service"))
    projects = _Layer(lambda count: Node(f"{count} more projects", "", "", "project"))
    secrets = _Layer(lambda count: Node(f"{count} more {'secrets' if by_secret else 'folders'}", "", "", "secret"))
    vaults = _Layer(lambda count: Node(f"{count} more {'vaults' if by_vault else 'groups'}", "", "", "vault"))
    hosted: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    belongs: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    synced: dict[Any, list[int]] = defaultdict(lambda: [0, 0])

    for service in view.services:
        services.nodes[service] = Node(service.split("://", 1)[-1], "service", service, "service")
    keys: list[Hashable] = []
    sizes: Counter[Hashable] = Counter()
    for column in view.columns:
        project: Hashable = (column.project,)
        if project not in projects.nodes:
            title = f"{column.project_name} ({column.project})"
            projects.nodes[project] = Node(column.project_name, "", title, "project", project=column.project)
        key: Hashable = (column.project, column.environment, column.path, column.name if by_secret else None)
        where = f"{column.environment} {column.path}"
        if by_secret:
            words = quoted(*column.words)
            secrets.nodes[key] = Node(column.name, where, f"{column.project_name} {where}", "secret", secret=words)
        elif key not in secrets.nodes:
            words = quoted(*column.place)
            secrets.nodes[key] = Node(where, "", f"{column.project_name} {where}", "secret", secret=words)
        keys.append(key)
        sizes[key] += 1
        sizes[project] += 1
        if column.service:
            hosted[column.service, project][0] += 1
        belongs[project, key][0] += 1
    for layer in (projects, *(() if by_secret else (secrets,))):
        for key, node in layer.nodes.items():
            node.detail = pluralize(sizes[key], "secret")

    groups: dict[Hashable, list[Row]] = defaultdict(list)
    # A group's number: what tells it from the others may be thousands of folders.
    numbers: dict[Hashable, int] = {}
    for row in view.rows:
        has = Counter([keys[cell.column] for cell in row.cells])
        trouble = Counter([keys[cell.column] for cell in row.cells if cell.state in _TROUBLE])
        is_well = not trouble and row.state is VaultState.OK
        alike = (row.host, row.job) if by_vault else (row.job, is_well, frozenset(has))
        vault: Hashable = numbers.setdefault(alike, len(numbers))
        groups[vault].append(row)
        for key, count in has.items():
            synced[key, vault][0] += count
            synced[key, vault][1] += trouble[key]
            secrets.nodes[key].trouble += trouble[key]
        if vault not in vaults.nodes:
            vaults.nodes[vault] = Node("", "", "", "vault")
        vaults.nodes[vault].trouble += not is_well
    for vault, rows in groups.items():
        _name(vaults.nodes[vault], rows)
    return [services, projects, secrets, vaults], [dict(hosted), dict(belongs), dict(synced)]


def _name(node: Node, rows: Sequence[Row]) -> None:
    hosts = list(dict.fromkeys(row.host for row in rows))
    job = rows[0].job
    if len(hosts) == 1:
        node.label, node.detail = hosts[0], f"job {job}" if job else ""
        node.host = quoted(hosts[0], job)
    else:
        node.label = pluralize(len(hosts), "host")
        node.detail = ", ".join(filter(None, (f"job {job}" if job else "", "something to do" if node.trouble else "")))
        node.host = quoted(job)
    named = ", ".join(hosts[:20]) + (f" and {len(hosts) - 20:,} more" if len(hosts) > 20 else "")
    node.title = named


def _placed(layers: Sequence[_Layer], links: Sequence[Mapping[Any, Sequence[int]]], grouped: bool) -> Drawing:
    """Put the nodes into the columns of their layers, so that few relations cross."""
    shown: list[dict[Hashable, Node]] = []
    for number, layer in enumerate(layers):
        weights: Counter[Hashable] = Counter()
        for between, end in ((number - 1, 1), (number, 0)):
            if 0 <= between < len(links):
                for pair, (count, _trouble) in links[between].items():
                    weights[pair[end]] += count
        shown.append(layer.shown(weights))
    nodes, numbers, layer_of = _numbered(shown)
    if not nodes:
        return Drawing()
    merged: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for left, right, relations in zip(shown, shown[1:], links):
        for (source, target), (count, trouble) in relations.items():
            counts = merged[numbers[id(left[source])], numbers[id(right[target])]]
            counts[0] += count
            counts[1] += trouble
    places = _igraph().Graph(n=len(nodes), edges=list(merged), directed=True)
    # The second coordinate is the layer; an empty one would otherwise close up.
    across = [place[0] for place in places.layout_sugiyama(layers=layer_of).coords[: len(nodes)]]
    lowest = min(across)
    for node, layer_number, place in zip(nodes, layer_of, across):
        node.x = layer_number * (NODE_WIDTH + GAP)
        node.y = round((place - lowest) * ROW, 1)
    _keep_together(nodes, layer_of, list(merged), by_title=grouped)
    return Drawing(
        nodes=_in_reading_order(nodes),
        edges=[Edge(nodes[one], nodes[other], *counts) for (one, other), counts in sorted(merged.items())],
        width=len(layers) * (NODE_WIDTH + GAP) - GAP,
        height=max(node.y for node in nodes) + NODE_HEIGHT,
        grouped=grouped,
    )


def _keep_together(
    nodes: Sequence[Node], layer_of: Sequence[int], edges: Sequence[tuple[int, int]], by_title: bool
) -> None:
    """Put what belongs to one project side by side, in the places of its layer.

    To the layout the folders are all the same where each vault has something of each, so that it mixes them.
    """
    parent = {target: source for source, target in edges}
    for layer in (1, 2):
        members = [number for number in range(len(nodes)) if layer_of[number] == layer]
        places = sorted(nodes[number].y for number in members)
        members.sort(
            key=lambda number: (
                nodes[parent[number]].y if number in parent else -1,
                nodes[number].title if by_title else "",
                nodes[number].y,
            )
        )
        for number, place in zip(members, places):
            nodes[number].y = place


def _numbered(shown: Iterable[Mapping[Hashable, Node]]) -> tuple[list[Node], dict[int, int], list[int]]:
    nodes: list[Node] = []
    numbers: dict[int, int] = {}
    layer_of: list[int] = []
    for layer, by_key in enumerate(shown):
        for node in by_key.values():
            if id(node) not in numbers:
                numbers[id(node)] = len(nodes)
                nodes.append(node)
                layer_of.append(layer)
    return nodes, numbers, layer_of


def _in_reading_order(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: (node.x, node.y))
