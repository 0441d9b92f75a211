"""What goes on a page: pure functions from indices to plain dataclasses."""

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from conceptprobe.report.gallery import TOP_IMAGES, Gallery, tag_rates

if TYPE_CHECKING:
    from conceptprobe.indexing import Index

SHOWN_STACKS = 8
"""Stacks that a card shows before it is expanded; shared tags are counted over these."""
SHARED_TAGS = 3
EXAMPLES = 6
FINGERPRINT_DIGITS = 12


@dataclass(frozen=True)
class Stack:
    """Top images of one label, best first: gallery numbers and activations."""

    images: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class SharedTag:
    """A tag that is more common among a feature's first stacks than in the source. A description, not a test.

    Attributes:
        count: Stacks whose best image has the tag, of `of`.
        rate: Share of the source's labels with the tag.
        bits: `of` times the Kullback-Leibler divergence of count/of from rate, in bits; the order of the tags.
    """

    tag: str
    count: int
    of: int
    rate: float
    bits: float


@dataclass(frozen=True)
class Card:
    """One live feature."""

    feature: int
    max: float
    firing_rate: float
    stacks: tuple[Stack, ...]
    tags: tuple[SharedTag, ...]


@dataclass(frozen=True)
class Column:
    """The features of one layer of one model.

    Attributes:
        key: Name of the column in links: the model's spec, numbered where two indices share it.
        width: Features of the layer, of which `len(cards) + len(dead)` are in the report.
    """

    key: str
    fingerprint: str
    pooling: str
    width: int
    cards: tuple[Card, ...]
    dead: tuple[int, ...]


@dataclass(frozen=True)
class LayerPage:
    layer: str
    file: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class LayerRow:
    """One layer of one model in the overview's table."""

    layer: str
    file: str
    key: str
    width: int
    dead: int
    firing_rate: float


@dataclass(frozen=True)
class RunSummary:
    """What one index was made from."""

    key: str
    model: str
    model_fingerprint: str
    source: str
    source_fingerprint: str
    background: str
    layers: tuple[str, ...]
    pooling: tuple[str, ...]
    k: int
    counts: Mapping[str, int]
    versions: Mapping[str, str]
    written: str
    command: str


def column_keys(indices: Sequence["Index"]) -> list[str]:
    """One name for each index: its model's spec, with a number behind it from the second time on."""
    seen: Counter[str] = Counter()
    keys = []
    for index in indices:
        spec = index.manifest.model["spec"]
        seen[spec] += 1
        keys.append(spec if seen[spec] == 1 else f"{spec} ({seen[spec]})")
    return keys


def layer_names(indices: Sequence["Index"]) -> list[str]:
    """All layers in the order of the indices, each once."""
    return list(dict.fromkeys(layer for index in indices for layer in index.layers))


def layer_file(layer: str, position: int) -> str:
    """A file name without anything that a URL or a file system minds; the position keeps it unique."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in layer)
    return f"{position:03d}-{safe[:80]}"


def make_layer_pages(
    indices: Sequence["Index"], gallery: Gallery, features_per_layer: int | None = None
) -> list[LayerPage]:
    rates = [tag_rates(index.images) for index in indices]
    keys = column_keys(indices)
    pages = []
    for position, layer in enumerate(layer_names(indices)):
        columns = tuple(
            make_column(index, layer, key, gallery, number, rate, features_per_layer)
            for index, key, number, rate in zip(indices, keys, gallery.numbers, rates, strict=True)
            if layer in index.layers
        )
        pages.append(LayerPage(layer, layer_file(layer, position), columns))
    return pages


def make_column(
    index: "Index",
    layer: str,
    key: str,
    gallery: Gallery,
    number_n: np.ndarray,
    rates: Mapping[str, float],
    features_per_layer: int | None,
) -> Column:
    rows_fk, values_fk = (array[:, :TOP_IMAGES] for array in index.top_rows(layer))
    stats = index.stats(layer)
    groups, tags = gallery.frame["group"].tolist(), gallery.frame["tags"].tolist()
    cards, dead = [], []
    for feature in range(len(rows_fk))[:features_per_layer]:
        row = stats.iloc[feature]
        if row["dead"]:
            dead.append(feature)
            continue
        listed = rows_fk[feature] >= 0
        stacks = stack_images(number_n[rows_fk[feature][listed]], values_fk[feature][listed], groups)
        shown = [tags[stack.images[0]] for stack in stacks[:SHOWN_STACKS]]
        cards.append(Card(feature, float(row["max"]), float(row["firing_rate"]), stacks, shared_tags(shown, rates)))
    fingerprint = index.manifest.model["fingerprint"][:FINGERPRINT_DIGITS]
    return Column(key, fingerprint, index.manifest.pooling[0], len(rows_fk), tuple(cards), tuple(dead))


def stack_images(numbers: np.ndarray, values: np.ndarray, groups: Sequence[str]) -> tuple[Stack, ...]:
    """One stack for each distinct label, in the order of its best image; further images of the label behind it."""
    stacks: dict[str, list[tuple[int, float]]] = {}
    for number, value in zip(numbers.tolist(), values.tolist(), strict=True):
        stacks.setdefault(groups[number], []).append((number, value))
    return tuple(Stack(*(tuple(part) for part in zip(*images, strict=True))) for images in stacks.values())


def shared_tags(tags_of_stacks: Sequence[Sequence[str]], rates: Mapping[str, float]) -> tuple[SharedTag, ...]:
    """The tags most over-represented among a feature's first stacks, relative to the source."""
    of = len(tags_of_stacks)
    counts = Counter(tag for tags in tags_of_stacks for tag in tags)
    shared = [
        SharedTag(tag, count, of, rates[tag], of * divergence(count / of, rates[tag]))
        for tag, count in counts.items()
        if count >= 2 and count / of > rates[tag]
    ]
    return tuple(sorted(shared, key=lambda tag: (-tag.bits, tag.tag))[:SHARED_TAGS])


def divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of one Bernoulli rate from another, in bits; p > q > 0."""
    return p * math.log2(p / q) + ((1 - p) * math.log2((1 - p) / (1 - q)) if p < 1 else 0.0)


def pick_examples(pages: Sequence[LayerPage]) -> LayerPage | None:
    """For the overview: of the deepest layer, the features with the strongest shared tags, no tag twice a model."""

    def strongest(column: Column) -> tuple[Card, ...]:
        chosen: list[Card] = []
        shown: set[str] = set()
        for card in sorted((card for card in column.cards if card.tags), key=lambda card: -card.tags[0].bits):
            tags = {shared.tag for shared in card.tags}
            if tags.isdisjoint(shown):
                chosen.append(card)
                shown |= tags
        return tuple(chosen[:EXAMPLES])

    deepest = replace(pages[-1], columns=tuple(replace(c, cards=strongest(c), dead=()) for c in pages[-1].columns))
    return deepest if any(column.cards for column in deepest.columns) else None


def make_layer_rows(indices: Sequence["Index"]) -> list[LayerRow]:
    """The overview's table, grouped by layer; counts are over all features of the index."""
    rows = []
    for position, layer in enumerate(layer_names(indices)):
        for index, key in zip(indices, column_keys(indices), strict=True):
            if layer in index.layers:
                stats = index.stats(layer)
                firing = float(stats["firing_rate"].median())
                rows.append(
                    LayerRow(layer, layer_file(layer, position), key, len(stats), int(stats["dead"].sum()), firing)
                )
    return rows


def make_run_summaries(indices: Sequence["Index"]) -> list[RunSummary]:
    runs = []
    for index, key in zip(indices, column_keys(indices), strict=True):
        manifest = index.manifest
        runs.append(
            RunSummary(
                key=key,
                model=manifest.model["spec"],
                model_fingerprint=manifest.model["fingerprint"][:FINGERPRINT_DIGITS],
                source=manifest.source["spec"],
                source_fingerprint=manifest.source["fingerprint"][:FINGERPRINT_DIGITS],
                background=manifest.source["background"],
                layers=tuple(index.layers),
                pooling=tuple(manifest.pooling),
                k=manifest.k,
                counts=manifest.counts,
                versions=manifest.versions,
                written=written_at(index),
                command=build_command(index),
            )
        )
    return runs


def written_at(index: "Index") -> str:
    """When the index was finished; its files hold no date, so that the same build gives the same bytes."""
    seconds = (index.path / "manifest.json").stat().st_mtime
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def build_command(index: "Index") -> str:
    """The command that makes this index again."""
    manifest = index.manifest
    words = ["conceptprobe", "index", "build", "--model", manifest.model["spec"], "--images", manifest.source["spec"]]
    words += [word for layer in index.layers for word in ("--layers", layer)]
    words += [word for pooling in manifest.pooling for word in ("--pooling", pooling)]
    words += ["--k", str(manifest.k), "--batch-size", str(manifest.batch_size)]
    words += ["--background", str(manifest.source["background"])]
    words += ["--fast-decode"] if "fast_decode" in manifest.source else []
    words += ["--out", index.path.name]
    return shlex.join(words)
