"""The data of the features of a layer, in chunks: everything that a feature's page shows."""

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
    """What other results say of the features of a layer.

    Attributes:
        table: Their concepts; None where nothing is known of the images.
        matches: For each feature that has some its counterparts in other models, as rows.
        visualizations: For each feature that has some its visualizations.
    """

    table: ConceptTable | None
    matches: Mapping[int, Rows] | None
    visualizations: Mapping[int, list[Json]] | None


def feature_chunks(model: ReportModel, layer: str, gallery: Gallery, extras: Extras) -> Iterator[tuple[str, Json]]:
    """The data of the features of a layer, 64 a chunk."""
    index = model.index
    stats = index.stats(layer, model.pooling)
    poolings = [model.pooling, *(pooling for pooling in index.manifest.pooling if pooling != model.pooling)]
    lists = {kind: list_arrays(model, layer, kind, poolings, gallery) for kind in kinds_of(index)}
    has_vectors = index.keeps_activations(model.pooling)
    histograms = count_activations(index, layer, stats) if has_vectors else None
    random_fn = index.activations(layer, gallery.random[model.number]).T if has_vectors else None
    neighbours = neighbour_rows(index, layer) if index.keeps_activations() else None
    scores, curve, names = score_rows(model, layer), curve_rows(model, layer), name_rows(model, layer)
    for key, part in model.chunks(layer):
        data = {
            "model": model.number,
            "layer": index.layers.index(layer),
            "first": part.start,
            "count": part.stop - part.start,
            "lists": [cut_lists(own, part) for own in lists["top"]],
            "bottom": [cut_lists(own, part) for own in lists.get("bottom", [])],
            "strip": [cut_lists(own, part) for own in lists["strips"]],
            "random": None if random_fn is None else floats(random_fn[part]),
            "stats": stats_data(stats.iloc[part]),
            "histogram": None if histograms is None else histogram_data(histograms, part),
            "scores": cut_rows(scores, part),
            "curve": cut_rows(curve, part),
            "table": None if extras.table is None else table_rows(extras.table, part),
            "table_k": model.table_k,
            "names": of_features(names, part),
            "neighbours": cut_rows(neighbours, part),
            "matches": of_features(extras.matches, part),
            "visualizations": of_features(extras.visualizations, part),
        }
        yield f"features/{key}", data


def kinds_of(index: Index) -> tuple[Kind, ...]:
    return ("top", "strips", "bottom") if index.manifest.bottom else ("top", "strips")


def list_arrays(
    model: ReportModel, layer: str, kind: Kind, poolings: Sequence[str], gallery: Gallery
) -> list[dict[str, Any]]:
    """The lists of a kind by each pooling, with the images by their numbers in the gallery."""
    found = []
    for pooling in poolings:
        own = model.index.lists(layer, kind, pooling)
        cut = slice(None) if kind == "strips" else np.s_[:, :TOP_IMAGES]
        images = gallery.of_rows(model.number, own.rows[cut])
        positions = None if own.positions is None else np.where(images >= 0, own.positions[cut], -1)
        found.append({"pooling": pooling, "images": images, "values": own.values[cut], "positions": positions})
    return found


def cut_lists(lists: Mapping[str, Any], part: slice) -> Json:
    positions = lists["positions"]
    return {
        "pooling": lists["pooling"],
        "images": integers(lists["images"][part]),
        "values": floats(lists["values"][part]),
        "positions": None if positions is None else integers(positions[part]),
    }


def cut_rows(rows: Sequence[Any] | None, part: slice) -> list[Any] | None:
    return None if rows is None else list(rows[part])


def of_features(found: Mapping[int, list[Any]] | None, part: slice) -> list[list[Any]] | None:
    """What there is of each of some features; an empty list where there is nothing of one."""
    return None if found is None else [found.get(feature, []) for feature in range(part.start, part.stop)]


def stats_data(stats: pd.DataFrame) -> Json:
    quantiles = [f"q{round(level * 100):02d}" for level in QUANTILES]
    return {
        **{name: packed(stats[name], "i4") for name in COUNTS},
        **{name: floats(stats[name]) for name in MOMENTS},
        "levels": list(QUANTILES),
        "quantiles": floats(stats[quantiles]),
    }


def histogram_data(histograms: Histograms, part: slice) -> Json:
    return {"images": histograms.images, "counts": integers(histograms.counts_fb[part])}


def score_rows(model: ReportModel, layer: str) -> list[Json] | None:
    """What the scores say of every feature of a layer; None where they say nothing."""
    if model.scores is None or layer not in model.scores.settings["layers"]:
        return None
    frame = model.scores.frame[model.scores.frame["layer"] == layer].sort_values("feature")
    columns = [[plain(value) for value in frame[name].tolist()] for name in SCORE_COLUMNS]
    return [dict(zip(SCORE_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]


def curve_rows(model: ReportModel, layer: str) -> list[Rows] | None:
    """The scores by other lengths of the lists."""
    if model.scores is None or layer not in model.scores.settings["layers"]:
        return None
    frame = model.scores.curve[model.scores.curve["layer"] == layer].sort_values(["feature", "k"])
    own = by_feature(frame, CURVE_COLUMNS)
    return [own.get(feature, []) for feature in range(model.widths[layer])]


def name_rows(model: ReportModel, layer: str) -> dict[int, Rows] | None:
    """The names of the features of a layer."""
    if model.names is None or layer not in model.names.settings["layers"]:
        return None
    frame = model.names.frame
    return by_feature(frame[frame["layer"] == layer].sort_values("feature", kind="stable"), NAME_COLUMNS)


def by_feature(frame: pd.DataFrame, columns: Sequence[str]) -> dict[int, Rows]:
    """The rows of each feature, of a table sorted by feature."""
    parts = [[plain(value) for value in frame[name].tolist()] for name in columns]
    found: dict[int, Rows] = {}
    for feature, row in zip(frame["feature"].tolist(), zip(*parts, strict=True), strict=True):
        found.setdefault(feature, []).append(list(row))
    return found


def table_rows(table: ConceptTable, part: slice) -> list[Rows]:
    columns = [
        own[part].tolist()
        for own in (table.concept_ft, table.hits_ft, table.llr_ft, table.p_ft, table.q_ft, table.enrichment_ft)
    ]
    return [
        [
            [concept, hits, number(llr), number(p), number(q), number(enrichment)]
            for concept, hits, llr, p, q, enrichment in zip(*own, strict=True)
            if concept >= 0
        ]
        for own in zip(*columns, strict=True)
    ]


def neighbour_rows(index: Index, layer: str) -> list[Rows]:
    features, r = (array.tolist() for array in index.neighbour_lists(layer))
    return [
        [[f, number(value)] for f, value in zip(*own, strict=True) if f >= 0] for own in zip(features, r, strict=True)
    ]
