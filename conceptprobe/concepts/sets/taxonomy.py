"""Taxonomies: directed acyclic graphs of any depth that say which concept is broader than which."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from pathlib import Path
from typing import Any

from conceptprobe.concepts.errors import ConceptError

FORMATS = (
    "a .csv with the columns broader,narrower, or a .json list of such pairs, or a .json object with `edges` (pairs) "
    "and optionally `names` (names of an id, the first is shown) and `classes` (ids by class number)"
)


@dataclass(frozen=True, repr=False)
class Taxonomy:
    """Nodes, and which node is broader than which; a node may have several broader ones.

    Attributes:
        edges: Pairs of nodes (broader, narrower).
        names: Names of each node, of which the first is shown; a node without names is shown as it is.
        classes: Nodes by class number, where a data set numbers its classes.
        kind: Kind of the concepts whose nodes are not labels.

    Raises:
        ConceptError: The edges have a cycle, which the message names.
    """

    edges: tuple[tuple[str, str], ...]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    kind: str = "taxonomy"

    def __post_init__(self) -> None:
        refuse_cycle(self.edges)

    def __repr__(self) -> str:
        return f"Taxonomy({len(self.nodes)} nodes, {len(self.edges)} edges)"

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """All nodes, in the order of the edges."""
        return tuple(dict.fromkeys([*self.classes, *(node for edge in self.edges for node in edge)]))

    @cached_property
    def parents(self) -> Mapping[str, tuple[str, ...]]:
        """The nodes directly above each node that has any."""
        parents: dict[str, list[str]] = {}
        for broader, narrower in dict.fromkeys(self.edges):
            parents.setdefault(narrower, []).append(broader)
        return {node: tuple(above) for node, above in parents.items()}

    @cached_property
    def shown(self) -> Mapping[str, str]:
        """The unique name that is shown for each node: nodes with the same name show their id too."""
        first = {node: self.names.get(node, (node,))[0] for node in self.nodes}
        times = Counter(first.values())
        return {node: name if times[name] == 1 else f"{name} ({node})" for node, name in first.items()}

    @cached_property
    def _named(self) -> Mapping[str, set[str]]:
        """The nodes with each name."""
        nodes: dict[str, set[str]] = {}
        for node in self.nodes:
            for name in (self.shown[node], *self.names.get(node, (node,))):
                nodes.setdefault(_plain(name), set()).add(node)
        return nodes

    def above(self, node: str) -> list[str]:
        """The node and all broader ones, each before the nodes that are broader than it."""
        seen, waiting = {node}, [node]
        while waiting:
            new = set(self.parents.get(waiting.pop(), ())) - seen
            seen |= new
            waiting += new
        return sorted(seen, key=self._rank.__getitem__)

    @cached_property
    def _rank(self) -> Mapping[str, int]:
        narrow_last = TopologicalSorter({node: self.parents.get(node, ()) for node in self.nodes}).static_order()
        return {node: -at for at, node in enumerate(narrow_last)}

    def match(self, labels: Iterable[str]) -> dict[str, str]:
        """Find the node of each label; labels without a node are left out.

        A label is a node, or the name of one, or several of its names with commas between them. Classes come before
        other nodes. Of a label with folders, the last folder counts too. Case and `_` do not matter in names. If all
        labels are numbers, they are class numbers.
        """
        labels = list(labels)
        if self.classes and all(label.isdecimal() for label in labels):
            return {label: self.classes[int(label)] for label in labels if int(label) < len(self.classes)}
        nodes = ((label, self._find(label) or self._find(label.rpartition("/")[2])) for label in labels)
        return {label: node for label, node in nodes if node is not None}

    def _find(self, text: str) -> str | None:
        if text in self.shown:
            return text
        name = _plain(text)
        parts = [name] if name in self._named else name.split(", ")
        nodes = set.intersection(*(self._named.get(part, set()) for part in parts))
        nodes = nodes & set(self.classes) or nodes
        if len(nodes) == 1:
            return nodes.pop()
        return next((node for node in nodes if _plain(self.shown[node]) == name), None)


def imagenet() -> Taxonomy:
    """The WordNet 3.0 nouns above the 1,000 classes of ImageNet (Miller 1995; Deng et al. 2009)."""
    return read_taxonomy(Path(str(files("conceptprobe.concepts"))) / "data" / "imagenet.json")


def folders(labels: Iterable[str]) -> Taxonomy:
    """The taxonomy of nested folders: `animals/cats` is narrower than `animals`."""
    edges: dict[tuple[str, str], None] = {}
    for label in labels:
        while "/" in label:
            above = label.rpartition("/")[0]
            edges[above, label] = None
            label = above
    return Taxonomy(tuple(edges), kind="folder")


def read_taxonomy(path: str | os.PathLike[str]) -> Taxonomy:
    """Read a taxonomy from a file.

    Args:
        path: A .csv with the columns `broader` and `narrower`; or a .json, either a list of pairs [broader, narrower]
            or an object with `edges` and optionally `names` (id -> names, the first is shown) and `classes` (ids by
            class number).

    Raises:
        ConceptError: There is no such file, it has another format, or its edges have a cycle.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConceptError(f"there is no taxonomy {path}: give imagenet, folders, columns:NAME,..., or {FORMATS}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content: Any = json.loads(text) if path.suffix.lower() == ".json" else _csv_edges(text)
        if isinstance(content, list):
            content = {"edges": content}
        edges = tuple((_name(broader), _name(narrower)) for broader, narrower in content["edges"])
        names = {
            node: tuple(map(_name, [names] if isinstance(names, str) else names))
            for node, names in content.get("names", {}).items()
        }
        classes = tuple(map(_name, content.get("classes", ())))
    except (ValueError, TypeError, KeyError, AttributeError, csv.Error) as error:
        raise ConceptError(f"{path} is not a taxonomy ({type(error).__name__}: {error}): give {FORMATS}") from error
    if not edges:
        raise ConceptError(f"{path} has no edges: give {FORMATS}")
    return Taxonomy(edges, names, classes)


def refuse_cycle(edges: Iterable[tuple[str, str]]) -> None:
    """Check that pairs (broader, narrower) have no cycle.

    Raises:
        ConceptError: They have one, which the message names.
    """
    graph: dict[str, list[str]] = {}
    for broader, narrower in edges:
        graph.setdefault(narrower, []).append(broader)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = " > ".join(error.args[1])
        raise ConceptError(
            f"the taxonomy has a cycle, {cycle}, which makes concepts broader than themselves: remove an edge"
        ) from error


def _csv_edges(text: str) -> list[tuple[str, str]]:
    return [(row["broader"], row["narrower"]) for row in csv.DictReader(text.splitlines())]


def _name(value: object) -> str:
    if not isinstance(value, str | int) or not (name := str(value).strip()):
        raise ValueError(f"{value!r} is not a name")
    return name


def _plain(name: str) -> str:
    return name.replace("_", " ").casefold()
