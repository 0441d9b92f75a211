"""The contrasts of a report: tables, words, and which features match."""

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
    """A contrast with the models of the report that it is of.

    Attributes:
        models: The model of the report that each of its models is; -1 where it is not in the report.
    """

    contrast: Contrast
    models: tuple[int, ...]

    @property
    def model_of(self) -> Mapping[str, int]:
        """The model of the report of each name in the contrast's tables."""
        return dict(zip(self.contrast.settings["models"], self.models, strict=True))


def make_contrasts(contrasts: Sequence[Contrast], models: Sequence[ReportModel]) -> tuple[ReportContrast, ...]:
    """Bring contrasts together with the models that they are of.

    Raises:
        ReportError: One is of other indices.
    """
    return tuple(ReportContrast(own, tuple(contrast_models(own, models))) for own in contrasts)


def match_table(contrast: ReportContrast, models: Sequence[ReportModel]) -> pd.DataFrame:
    """The matches of a contrast, in numbers of the report: model_a, model_b, side (0: the feature is of the first),
    feature, other, r, p, q, mutual, matched; only those between models of the report."""
    frame = contrast.contrast.matches
    columns = ("model_a", "model_b", "side", "feature", "other", "r", "p", "q", "mutual", "matched")
    parts = [pd.DataFrame({name: [] for name in columns})]
    first = contrast.models[0]
    for name, part in frame.groupby("model_b", sort=False) if len(frame) else ():
        second = contrast.model_of[str(name)]
        if first < 0 or second < 0:
            continue
        for at, side in enumerate(("a", "b")):
            own = part[part["side"] == side]
            ends = (models[first], models[second]) if side == "a" else (models[second], models[first])
            parts.append(
                pd.DataFrame(
                    {
                        "model_a": first, "model_b": second, "side": at,
                        "feature": own["layer"].map(ends[0].starts) + own["feature"],
                        "other": own["other_layer"].map(ends[1].starts) + own["other_feature"],
                        **{column: own[column] for column in ("r", "p", "q", "mutual", "matched")},
                    }
                )
            )  # fmt: skip
    return pd.concat(parts[1:] or parts, ignore_index=True)


def match_rows(tables: Sequence[pd.DataFrame]) -> dict[int, list[list[Any]]]:
    """For each feature its counterparts: [other, r, q, mutual, matched, number of the contrast]."""
    found: dict[int, list[list[Any]]] = {}
    for at, table in enumerate(tables):
        columns = [table[name].tolist() for name in ("feature", "other", "r", "q", "mutual", "matched")]
        for feature, other, r, q, mutual, matched in zip(*columns, strict=True):
            own = [int(other), number(r), number(q), bool(mutual), bool(matched), at]
            found.setdefault(int(feature), []).append(own)
    return found


def matches_data(table: pd.DataFrame) -> list[Json]:
    """The matches of each pair of models."""
    return [
        {
            "model_a": int(model_a), "model_b": int(model_b),
            "feature": packed(own["feature"], "i4"), "other": packed(own["other"], "i4"),
            **{name: floats(own[name]) for name in ("r", "p", "q")},
            **{name: packed(own[name].astype(np.int64), "u1") for name in ("mutual", "matched", "side")},
        }
        for (model_a, model_b), own in table.groupby(["model_a", "model_b"], sort=False)
    ]  # fmt: skip


def contrast_data(
    contrast: ReportContrast, models: Sequence[ReportModel], concepts: ReportConcepts, files: Sequence[Json]
) -> Json:
    """Everything of a contrast but its matches.

    Args:
        files: For each pair of models with matches model_a, model_b, file.
    """
    own, settings = contrast.contrast, contrast.contrast.settings
    return {
        "models": list(contrast.models),
        "names": [shorten(name) for name in settings["models"]],
        "words": own.text().split("\n"),
        "caveats": list(own.caveats),
        "places": settings["layers"],
        "place_names": [pair_name(pair) for pair in settings["layers"]],
        "settings": {name: settings.get(name) for name in SETTINGS},
        "differences": rows_of(own.frame, contrast.model_of, ("model_a", "model_b")),
        "models_table": rows_of(own.models, contrast.model_of, ("model",)),
        "states": list(STATES),
        "concepts": holders_data(contrast, models, concepts),
        "matches": list(files),
    }


def rows_of(frame: pd.DataFrame, model_of: Mapping[str, int], models: Sequence[str]) -> list[Json]:
    """A table as records, with models by their numbers in the report; the layer is called `place`."""
    frame = frame.assign(**{column: frame[column].map(model_of) for column in models})
    frame = frame.rename(columns={"layer": "place"})
    columns = [[plain(value) for value in frame[name].tolist()] for name in frame]
    return [dict(zip(frame, row, strict=True)) for row in zip(*columns, strict=True)]


def holders_data(contrast: ReportContrast, models: Sequence[ReportModel], concepts: ReportConcepts) -> Json:
    """Which model has a feature for which concept, column by column."""
    frame = contrast.contrast.concepts
    first = frame[frame["model"] == contrast.contrast.settings["models"][0]]
    names = first["concept"].tolist()
    sides = []
    for name, number_ in contrast.model_of.items():
        own = frame[frame["model"] == name].set_index("concept").reindex(names)
        starts = models[number_].starts if number_ >= 0 else {}
        feature = own["layer"].map(starts) + own["feature"].astype("Float64")
        sides.append(
            {
                "model": number_,
                "state": packed(own["state"].map({state: at for at, state in enumerate(STATES)}), "u1"),
                "held": integers(own["held"]),
                "feature": integers(feature.fillna(-1).to_numpy(np.float64)),
                "hits": integers(own["hits"]),
                "k": int(own["k"].iloc[0]),
                **{column: floats(own[column]) for column in ("llr", "q", "power")},
                "sure": packed(own["sure"].astype(np.int64), "u1"),
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
