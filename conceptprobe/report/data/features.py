"""The data of the features of a layer, in chunks: all that the page of a feature shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from conceptprobe.indexing import Index
from conceptprobe.indexing.reducers.sample import QUANTILES
from conceptprobe.report.collect.concept_tables import ConceptTable
from conceptprobe.report.collect.layer_vectors import Histograms, count_activations
from conceptprobe.report.collect.models import ReportModel
from conceptprobe.report.pictures.gallery import TOP_IMAGES, Gallery, Kind
from conceptprobe.report.scripts import Json, floats, integers, number, packed, plain

MOMENTS = ("mean", "std", "min", "max", "firing_rate", "high_rate")
COUNTS = ("count", "nonfinite")
SCORE_COLUMNS = (
    "concept", "kind", "hits", "k", "size", "llr", "p_random", "p_hub", "p_visual", "p", "q", "verdict", "reason",
    "abstraction", "effective_leaves", "least_effective_leaves", "largest_leaf_share", "second_concept", "second_hits",
    "second_length", "p_second", "clarity", "monosemanticity", "redundancy", "tested",
)  # fmt: skip
CURVE_COLUMNS = ("k", "concept", "hits", "llr", "p", "q", "verdict")
NAME_COLUMNS = (
    "source", "rank", "word", "score", "auc", "p", "q", "abstained", "tested_on", "images", "reason",
)  # fmt: skip

Rows = list[list[Any]]


@dataclass(frozen=True, eq=False)
class Extras:
    """The concepts, matches and visualizations of the features of a layer.

    Attributes:
        table: The concept table; None if the images have no concepts.
        matches: The counterparts in other models, as rows, of each feature that has some; None without a contrast.
        visualizations: The visualizations of each feature that has some; None without any.
    """

    table: ConceptTable | None
    matches: Mapping[int, Rows] | None
    visualizations: Mapping[int, list[Json]] | None


def feature_chunks(model: ReportModel, layer: str, gallery: Gallery, extras: Extras) -> Iterator[tuple[str, Json]]:
    """The data of the features of a layer, 64 features a chunk."""
    index = model.index
    stats = index.stats(layer, model.pooling)
    poolings = [model.pooling, *(pooling for pooling in index.manifest.pooling if pooling != model.pooling)]
    lists = {kind: list_arrays(model, layer, kind, poolings, gallery) for kind in kinds_of(index)}
    has_vectors = index.keeps_activations(model.pooling)
    histograms = count_activations(index, layer, stats) if has_vectors else None
    random_fn = index.activations(layer, gallery.random[model.number]).T if has_vectors else None
    neighbours = neighbour_rows(index, layer) if index.keeps_activations() else None
    scores, curve, names = score_rows(model, layer), curve_rows(model, layer), name_rows(model, layer)
    for key, chunk in model.chunks(layer):
        data = {
            "model": model.number,
            "layer": index.layers.index(layer),
            "first": chunk.start,
            "count": chunk.stop - chunk.start,
            "lists": [list_data(arrays, chunk) for arrays in lists["top"]],
            "bottom": [list_data(arrays, chunk) for arrays in lists.get("bottom", [])],
            "strip": [list_data(arrays, chunk) for arrays in lists["strips"]],
            "random": None if random_fn is None else floats(random_fn[chunk]),
            "stats": stats_data(stats.iloc[chunk]),
            "histogram": None if histograms is None else histogram_data(histograms, chunk),
            "scores": cut_rows(scores, chunk),
            "curve": cut_rows(curve, chunk),
            "table": None if extras.table is None else table_rows(extras.table, chunk),
            "table_k": model.table_k,
            "names": entries_of_chunk(names, chunk),
            "neighbours": cut_rows(neighbours, chunk),
            "matches": entries_of_chunk(extras.matches, chunk),
            "visualizations": entries_of_chunk(extras.visualizations, chunk),
        }
        yield f"features/{key}", data


def kinds_of(index: Index) -> tuple[Kind, ...]:
    """The kinds of lists that an index has."""
    return ("top", "strips", "bottom") if index.manifest.bottom else ("top", "strips")


def list_arrays(
    model: ReportModel, layer: str, kind: Kind, poolings: Sequence[str], gallery: Gallery
) -> list[dict[str, Any]]:
    """The lists of a kind for each pooling, with the numbers of the images in the gallery."""
    arrays = []
    for pooling in poolings:
        lists = model.index.lists(layer, kind, pooling)
        cut = slice(None) if kind == "strips" else np.s_[:, :TOP_IMAGES]
        images = gallery.of_rows(model.number, lists.rows[cut])
        positions = None if lists.positions is None else np.where(images >= 0, lists.positions[cut], -1)
        arrays.append({"pooling": pooling, "images": images, "values": lists.values[cut], "positions": positions})
    return arrays


def list_data(arrays: Mapping[str, Any], chunk: slice) -> Json:
    """The lists of the features of a chunk, of what `list_arrays` returns."""
    positions = arrays["positions"]
    return {
        "pooling": arrays["pooling"],
        "images": integers(arrays["images"][chunk]),
        "values": floats(arrays["values"][chunk]),
        "positions": None if positions is None else integers(positions[chunk]),
    }


def cut_rows(rows: Sequence[Any] | None, chunk: slice) -> list[Any] | None:
    """The rows of the features of a chunk; None if the layer has no rows."""
    return None if rows is None else list(rows[chunk])


def entries_of_chunk(entries: Mapping[int, list[Any]] | None, chunk: slice) -> list[list[Any]] | None:
    """The entries of each feature in a chunk, an empty list for a feature without any; None if the layer has none."""
    return None if entries is None else [entries.get(feature, []) for feature in range(chunk.start, chunk.stop)]


def stats_data(stats: pd.DataFrame) -> Json:
    """The data of the statistics of some features."""
    quantiles = [f"q{round(level * 100):02d}" for level in QUANTILES]
    return {
        **{name: packed(stats[name], "i4") for name in COUNTS},
        **{name: floats(stats[name]) for name in MOMENTS},
        "levels": list(QUANTILES),
        "quantiles": floats(stats[quantiles]),
    }


def histogram_data(histograms: Histograms, chunk: slice) -> Json:
    """The data of the histograms of the features of a chunk."""
    return {"images": histograms.images, "counts": integers(histograms.counts_fb[chunk])}


def score_rows(model: ReportModel, layer: str) -> list[Json] | None:
    """The scores of every feature of a layer; None if the layer was not scored."""
    if model.scores is None or layer not in model.scores.settings["layers"]:
        return None
    frame = model.scores.frame[model.scores.frame["layer"] == layer].sort_values("feature")
    columns = [[plain(value) for value in frame[name].tolist()] for name in SCORE_COLUMNS]
    return [dict(zip(SCORE_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]


def curve_rows(model: ReportModel, layer: str) -> list[Rows] | None:
    """The scores of every feature of a layer at other list lengths; None if the layer was not scored."""
    if model.scores is None or layer not in model.scores.settings["layers"]:
        return None
    frame = model.scores.curve[model.scores.curve["layer"] == layer].sort_values(["feature", "k"])
    rows = by_feature(frame, CURVE_COLUMNS)
    return [rows.get(feature, []) for feature in range(model.widths[layer])]


def name_rows(model: ReportModel, layer: str) -> dict[int, Rows] | None:
    """The names of the features of a layer; None if the layer was not named."""
    if model.names is None or layer not in model.names.settings["layers"]:
        return None
    frame = model.names.frame
    return by_feature(frame[frame["layer"] == layer].sort_values("feature", kind="stable"), NAME_COLUMNS)


def by_feature(frame: pd.DataFrame, columns: Sequence[str]) -> dict[int, Rows]:
    """The rows of each feature, of a table sorted by feature."""
    cells = [[plain(value) for value in frame[name].tolist()] for name in columns]
    rows: dict[int, Rows] = {}
    for feature, row in zip(frame["feature"].tolist(), zip(*cells, strict=True), strict=True):
        rows.setdefault(feature, []).append(list(row))
    return rows


def table_rows(table: ConceptTable, chunk: slice) -> list[Rows]:
    """The concepts of each feature of a chunk: concept, hits, LLR, p, q, enrichment."""
    columns = [
        values[chunk].tolist()
        for values in (table.concept_ft, table.hits_ft, table.llr_ft, table.p_ft, table.q_ft, table.enrichment_ft)
    ]
    return [
        [
            [concept, hits, number(llr), number(p), number(q), number(enrichment)]
            for concept, hits, llr, p, q, enrichment in zip(*cells, strict=True)
            if concept >= 0
        ]
        for cells in zip(*columns, strict=True)
    ]


def neighbour_rows(index: Index, layer: str) -> list[Rows]:
    """The neighbours of every feature of a layer: feature, r."""
    features, r = (array.tolist() for array in index.neighbour_lists(layer))
    return [
        [[feature, number(value)] for feature, value in zip(*lists, strict=True) if feature >= 0]
        for lists in zip(features, r, strict=True)
    ]
