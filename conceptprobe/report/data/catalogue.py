"""The table of all features of a report, which the explorer shows, filters and sorts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from conceptprobe.concepts.naming.namer import CONCEPTS, WORDS
from conceptprobe.concepts.scoring.verdicts import POSITIVE, VERDICTS, Verdict, counted_verdicts
from conceptprobe.display.text import shorten
from conceptprobe.report.collect.concept_tables import ConceptTable
from conceptprobe.report.collect.concepts import ReportConcepts
from conceptprobe.report.collect.models import ReportModel
from conceptprobe.report.pictures.gallery import Gallery
from conceptprobe.report.scripts import Interner, Json, floats, integers, packed

CARD_IMAGES = 6
CARD_CONCEPTS = 3
DEAD, TESTED, VISUALIZED, NAMED, MATCHED, NO_IMAGE = (1 << bit for bit in range(6))
SCORED = ("llr", "p", "q", "abstraction", "effective_leaves", "largest_leaf_share")
COHERENCE = ("clarity", "monosemanticity", "redundancy")


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The features of all models, in order of model, layer and index.

    Attributes:
        frame: One row a feature: model, layer, feature, verdict (its position in VERDICTS), flags,
            concept_0 to concept_2 (numbers; -1 past the end), hits, llr, p, q, abstraction, effective_leaves,
            largest_leaf_share, clarity, monosemanticity, redundancy, word, auc, named, named_auc (words and numbers of
            `words`), match, r, firing_rate, max, top_0 to top_5 (images), vis.
        words: The distinct names of features.
    """

    frame: pd.DataFrame
    words: tuple[str, ...]

    def held_by(self, concepts: int, models: int) -> np.ndarray:
        """The number of features of each model with a verdict for a concept, int64 [c,m]."""
        meant = self.frame["verdict"].isin([VERDICTS.index(name) for name in POSITIVE])
        return count_pairs(self.frame.loc[meant, "concept_0"], self.frame.loc[meant, "model"], concepts, models)

    def listed_by(self, concepts: int, models: int) -> np.ndarray:
        """The number of features of each model that have a concept among their first three, int64 [c,m]."""
        counts = np.zeros((concepts, models), np.int64)
        for rank in range(CARD_CONCEPTS):
            counts += count_pairs(self.frame[f"concept_{rank}"], self.frame["model"], concepts, models)
        return counts


def count_pairs(concept: pd.Series, model: pd.Series, concepts: int, models: int) -> np.ndarray:
    """Count the features of each concept and model, int64 [c,m]; a concept of -1 is none."""
    known = concept >= 0
    flat = concept[known].to_numpy() * models + model[known].to_numpy()
    return np.bincount(flat, minlength=concepts * models).reshape(concepts, models)


def make_catalogue(
    models: Sequence[ReportModel],
    gallery: Gallery,
    concepts: ReportConcepts,
    tables: Mapping[int, ConceptTable],
    matches: pd.DataFrame,
    visualized: Mapping[int, int],
) -> Catalogue:
    """Assemble the table.

    Args:
        models: The models of the report.
        gallery: The images of the report.
        concepts: The concepts of the report.
        tables: The concept table of each layer, by the number of its first feature.
        matches: The matches of the first contrast: feature, other (numbers), r, matched.
        visualized: The number of the first visualization of each feature that has one, by the feature's number.
    """
    if not models:
        return Catalogue(pd.DataFrame(columns=["model", "verdict", "concept_0", "llr"]), ())
    words = Interner()
    frames = [
        layer_frame(model, layer, gallery, concepts, tables.get(start), words)
        for model in models
        for layer, start in model.starts.items()
    ]
    frame = pd.concat(frames, ignore_index=True)
    frame["match"], frame["r"] = -1, np.nan
    if len(matches):
        at = matches["feature"].to_numpy()
        frame.loc[at, "match"], frame.loc[at, "r"] = matches["other"].to_numpy(), matches["r"].to_numpy()
        frame.loc[at[matches["matched"].to_numpy(bool)], "flags"] |= MATCHED
    frame["vis"] = pd.Series(visualized, dtype=np.int64).reindex(frame.index, fill_value=-1)
    frame.loc[frame["vis"] >= 0, "flags"] |= VISUALIZED
    frame.loc[(frame["word"] >= 0) | (frame["named"] >= 0), "flags"] |= NAMED
    return Catalogue(frame, tuple(words.values))


def layer_frame(
    model: ReportModel,
    layer: str,
    gallery: Gallery,
    concepts: ReportConcepts,
    table: ConceptTable | None,
    words: Interner,
) -> pd.DataFrame:
    """The rows of the table of one layer."""
    stats = model.index.stats(layer, model.pooling)
    width = len(stats)
    rows_fk = model.index.lists(layer, "top", model.pooling).rows
    top = np.full((width, CARD_IMAGES), -1)
    top[:, : rows_fk.shape[1]] = gallery.of_rows(model.number, rows_fk[:, :CARD_IMAGES])
    dead = stats["dead"].to_numpy()
    frame = pd.DataFrame(
        {
            "model": model.number, "layer": layer, "feature": np.arange(width),
            "verdict": np.where(dead, VERDICTS.index(Verdict.DEAD), VERDICTS.index(Verdict.UNTESTED)),
            "flags": DEAD * dead + NO_IMAGE * (top[:, 0] < 0), "firing_rate": stats["firing_rate"], "max": stats["max"],
            **{f"top_{rank}": top[:, rank] for rank in range(CARD_IMAGES)},
            **dict.fromkeys((*SCORED, *COHERENCE), np.nan), "hits": -1,
        }
    )  # fmt: skip
    own = np.full((width, CARD_CONCEPTS), -1)
    if table is not None:
        own[:] = table.concept_ft[:, :CARD_CONCEPTS]
        frame["llr"] = table.llr_ft[:, 0]
        frame["hits"] = np.where(own[:, 0] >= 0, table.hits_ft[:, 0], -1)
    if model.scores is not None and layer in model.scores.settings["layers"]:
        scores = model.scores.frame[model.scores.frame["layer"] == layer].sort_values("feature")
        scored = concepts.positions([None if pd.isna(name) else name for name in scores["concept"]])
        own = scored_first(scored, own)
        frame["verdict"] = counted_verdicts(scores).map({name: at for at, name in enumerate(VERDICTS)}).to_numpy()
        frame["flags"] += TESTED * scores["tested"].to_numpy(bool)
        frame["hits"] = np.where(scored >= 0, scores["hits"], -1)
        for name in (*SCORED, *COHERENCE):
            frame[name] = scores[name].to_numpy(np.float64)
    for rank in range(CARD_CONCEPTS):
        frame[f"concept_{rank}"] = own[:, rank]
    return frame.assign(**name_columns(model, layer, width, words))


def scored_first(scored_f: np.ndarray, own_ft: np.ndarray) -> np.ndarray:
    """Move the scored concept of each feature to the front; the others keep their order."""
    joined = np.concatenate([scored_f[:, None], np.where(own_ft == scored_f[:, None], -1, own_ft)], axis=1)
    order = np.argsort(joined < 0, axis=1, kind="stable")
    return np.take_along_axis(joined, order, 1)[:, : own_ft.shape[1]]


def name_columns(model: ReportModel, layer: str, width: int, words: Interner) -> dict[str, np.ndarray]:
    """The columns with the name by words and the name by concepts of each feature, and the AUC of both."""
    columns = {"word": np.full(width, -1), "named": np.full(width, -1)}
    columns |= {"auc": np.full(width, np.nan), "named_auc": np.full(width, np.nan)}
    if model.names is not None and layer in model.names.settings["layers"]:
        frame = model.names.frame
        kept = frame[(frame["layer"] == layer) & (frame["rank"] == 1) & ~frame["abstained"].astype(bool)]
        for source, name, area in ((WORDS, "word", "auc"), (CONCEPTS, "named", "named_auc")):
            named = kept[(kept["source"] == source) & kept["word"].notna()]
            at = named["feature"].to_numpy()
            columns[name][at] = words.positions([shorten(word) for word in named["word"]])
            columns[area][at] = named["auc"]
    return columns


def catalogue_data(catalogue: Catalogue) -> Json:
    """The data of the table as packed columns; a column without a known value is left out."""
    frame = catalogue.frame
    columns: Json = {
        "verdict": integers(frame["verdict"]),
        "flags": packed(frame["flags"], "u1"),
        "concept": integers(frame[[f"concept_{rank}" for rank in range(CARD_CONCEPTS)]]),
        "hits": integers(frame["hits"]),
        "top": integers(frame[[f"top_{rank}" for rank in range(CARD_IMAGES)]]),
    }
    columns |= {name: integers(frame[name]) for name in ("word", "named", "match", "vis")}
    for name in (*SCORED, *COHERENCE, "auc", "named_auc", "r", "firing_rate", "max"):
        columns[name] = floats(frame[name])
    known = {name: is_known(frame[name]).any() for name in columns if name in frame}
    known["concept"] = is_known(frame["concept_0"]).any()
    return {
        "words": list(catalogue.words),
        "columns": {name: column for name, column in columns.items() if known.get(name, True)},
    }


def is_known(column: pd.Series) -> pd.Series:
    """Which values of a column are not missing."""
    return column >= 0 if column.dtype.kind == "i" else column.notna()
