"""The contrasts of a report: their tables, their summaries, and the matched features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from conceptprobe.concepts.comparison.contrast import Contrast
from conceptprobe.concepts.comparison.layer_pairs import pair_name
from conceptprobe.display.text import shorten
from conceptprobe.report.collect.concepts import ReportConcepts
from conceptprobe.report.collect.models import ReportModel, contrast_models
from conceptprobe.report.scripts import Json, floats, integers, number, packed, plain

STATES = ("none", "enriched", "held")
SETTINGS = ("pooling", "k", "q", "images", "resamples", "seed", "source")


@dataclass(frozen=True, eq=False)
class ReportContrast:
    """A contrast, matched with the models of the report.

    Attributes:
        contrast: The contrast.
        models: The number in the report of each model of the contrast; -1 if the model is not in the report.
    """

    contrast: Contrast
    models: tuple[int, ...]

    @property
    def model_of(self) -> Mapping[str, int]:
        """The number in the report of each model name in the contrast's tables."""
        return dict(zip(self.contrast.settings["models"], self.models, strict=True))


def make_contrasts(contrasts: Sequence[Contrast], models: Sequence[ReportModel]) -> tuple[ReportContrast, ...]:
    """Match contrasts with the models of the report.

    Raises:
        ReportError: A contrast compares other indices.
    """
    return tuple(ReportContrast(contrast, tuple(contrast_models(contrast, models))) for contrast in contrasts)


def match_table(contrast: ReportContrast, models: Sequence[ReportModel]) -> pd.DataFrame:
    """The matches of a contrast between models of the report, with models and features by their numbers.

    Returns:
        One row a match: model_a, model_b, side (0 if the feature belongs to the first model, else 1), feature, other,
        r, p, q, mutual, matched.
    """
    frame = contrast.contrast.matches
    columns = ("model_a", "model_b", "side", "feature", "other", "r", "p", "q", "mutual", "matched")
    tables = [pd.DataFrame({name: [] for name in columns})]
    first = contrast.models[0]
    for name, pairs in frame.groupby("model_b", sort=False) if len(frame) else ():
        second = contrast.model_of[str(name)]
        if first < 0 or second < 0:
            continue
        for at, side in enumerate(("a", "b")):
            rows = pairs[pairs["side"] == side]
            ends = (models[first], models[second]) if side == "a" else (models[second], models[first])
            tables.append(
                pd.DataFrame(
                    {
                        "model_a": first, "model_b": second, "side": at,
                        "feature": rows["layer"].map(ends[0].starts) + rows["feature"],
                        "other": rows["other_layer"].map(ends[1].starts) + rows["other_feature"],
                        **{column: rows[column] for column in ("r", "p", "q", "mutual", "matched")},
                    }
                )
            )  # fmt: skip
    return pd.concat(tables[1:] or tables, ignore_index=True)


def match_rows(tables: Sequence[pd.DataFrame]) -> dict[int, list[list[Any]]]:
    """The counterparts of each feature: [other, r, q, mutual, matched, number of the contrast]."""
    rows: dict[int, list[list[Any]]] = {}
    for at, table in enumerate(tables):
        columns = [table[name].tolist() for name in ("feature", "other", "r", "q", "mutual", "matched")]
        for feature, other, r, q, mutual, matched in zip(*columns, strict=True):
            row = [int(other), number(r), number(q), bool(mutual), bool(matched), at]
            rows.setdefault(int(feature), []).append(row)
    return rows


def matches_data(table: pd.DataFrame) -> list[Json]:
    """The data of the matches of each pair of models."""
    return [
        {
            "model_a": int(model_a), "model_b": int(model_b),
            "feature": packed(rows["feature"], "i4"), "other": packed(rows["other"], "i4"),
            **{name: floats(rows[name]) for name in ("r", "p", "q")},
            **{name: packed(rows[name].astype(np.int64), "u1") for name in ("mutual", "matched", "side")},
        }
        for (model_a, model_b), rows in table.groupby(["model_a", "model_b"], sort=False)
    ]  # fmt: skip


def contrast_data(
    contrast: ReportContrast, models: Sequence[ReportModel], concepts: ReportConcepts, files: Sequence[Json]
) -> Json:
    """The data of a contrast, without its matches.

    Args:
        contrast: The contrast.
        models: The models of the report.
        concepts: The concepts of the report.
        files: The files of the matches: model_a, model_b, file.
    """
    result, settings = contrast.contrast, contrast.contrast.settings
    return {
        "models": list(contrast.models),
        "names": [shorten(name) for name in settings["models"]],
        "words": result.text().split("\n"),
        "caveats": list(result.caveats),
        "places": settings["layers"],
        "place_names": [pair_name(pair) for pair in settings["layers"]],
        "settings": {name: settings.get(name) for name in SETTINGS},
        "differences": records(result.frame, contrast.model_of, ("model_a", "model_b")),
        "models_table": records(result.models, contrast.model_of, ("model",)),
        "states": list(STATES),
        "concepts": held_concepts_data(contrast, models, concepts),
        "matches": list(files),
    }


def records(frame: pd.DataFrame, model_of: Mapping[str, int], models: Sequence[str]) -> list[Json]:
    """The rows of a table as records, with models by their numbers in the report; the layer is called `place`."""
    frame = frame.assign(**{column: frame[column].map(model_of) for column in models})
    frame = frame.rename(columns={"layer": "place"})
    columns = [[plain(value) for value in frame[name].tolist()] for name in frame]
    return [dict(zip(frame, row, strict=True)) for row in zip(*columns, strict=True)]


def held_concepts_data(contrast: ReportContrast, models: Sequence[ReportModel], concepts: ReportConcepts) -> Json:
    """Which model has a feature for which concept, column by column."""
    frame = contrast.contrast.concepts
    first = frame[frame["model"] == contrast.contrast.settings["models"][0]]
    names = first["concept"].tolist()
    sides = []
    for name, number_ in contrast.model_of.items():
        rows = frame[frame["model"] == name].set_index("concept").reindex(names)
        starts = models[number_].starts if number_ >= 0 else {}
        feature = rows["layer"].map(starts) + rows["feature"].astype("Float64")
        sides.append(
            {
                "model": number_,
                "state": packed(rows["state"].map({state: at for at, state in enumerate(STATES)}), "u1"),
                "held": integers(rows["held"]),
                "feature": integers(feature.fillna(-1).to_numpy(np.float64)),
                "hits": integers(rows["hits"]),
                "k": int(rows["k"].iloc[0]),
                **{column: floats(rows[column]) for column in ("llr", "q", "power")},
                "sure": packed(rows["sure"].astype(np.int64), "u1"),
            }
        )
    return {
        "name": [shorten(name) for name in names],
        "kind": first["kind"].tolist(),
        "size": first["size"].tolist(),
        "number": [concepts.numbers.get(name, -1) for name in names],
        "at_leaf_level": first["at_leaf_level"].astype(int).tolist(),
        "models": sides,
    }
