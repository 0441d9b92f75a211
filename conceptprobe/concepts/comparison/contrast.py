"""The paired comparison of models on the same images: verdict rates, matched features, and concepts."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from conceptprobe.concepts.comparison.caveats import find_caveats
from conceptprobe.concepts.comparison.clusters import THRESHOLD
from conceptprobe.concepts.comparison.settings import Comparison, ContrastSettings
from conceptprobe.concepts.comparison.sides import make_sides
from conceptprobe.concepts.comparison.summary import describe_contrast, summarise
from conceptprobe.concepts.comparison.tables import concept_table, difference_table, match_table, model_table
from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.concepts.scoring.verdicts import POSITIVE
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.display import figures, html
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.output.tables import load_tables, save_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "contrast"
TABLES = {"differences": "frame", "models": "models", "concepts": "concepts", "matches": "matches"}  # attribute by file
HEADS = ("models", "layer", "measure", "first", "second", "difference", "95 % low", "95 % high", "p", "q")


@dataclass(frozen=True, eq=False, repr=False)
class Contrast:
    """How models differ on the same images.

    Attributes:
        frame: The differences, one row for each other model, layer and measure: model_a, model_b, layer (`all` is all
            layers together; `a | b` where the models name the layer differently), measure (a verdict, whose rate among
            the tested features is compared, or `abstraction`), a, b, difference (a - b), low, high (the 95 % interval),
            se, se_images, low_binomial, high_binomial (as if features were independent; for comparison only),
            p (of no difference, by the standard error of the interval) and q (Benjamini-Hochberg over the rows of the
            two models); and another question, whether features of the same layer and a similar firing rate differ:
            matched_difference, matched_low, matched_high, matched_p.
        models: One row for each model, layer and measure: model, layer, measure, value, low, high, counted (the number
            of features that are averaged), features, tested, dead, untested, clusters.
        concepts: One row for each model and concept, with the columns of `concept_states` and two more: power (the
            probability that the model would be found to hold the concept if it had a feature as strong as another
            model's) and sure (the state is `none`, and power is at least 0.8).
        matches: `Matches.frame` of the first model with each other one, and model_b; empty without matching.
        settings: How it was made.
        caveats: Sentences about what limits the comparison.
    """

    frame: pd.DataFrame
    models: pd.DataFrame
    concepts: pd.DataFrame
    matches: pd.DataFrame
    settings: dict[str, Any]
    caveats: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Contrast({' | '.join(self.settings['models'])}, {len(self.settings['layers'])} layers)"

    def _repr_html_(self) -> str:
        rows = []
        for row in self.summary().itertuples():
            unit = 1 if row.measure == "abstraction" else 100
            numbers = (row.a, row.b, row.difference, row.low, row.high)
            rows.append(
                [
                    f"{row.model_a} against {row.model_b}", row.layer, row.measure,
                    *(html.number(unit * value) for value in numbers), html.number(row.p), html.number(row.q),
                ]
            )  # fmt: skip
        table = html.folded(html.count_of(len(rows), "difference"), html.table(HEADS, rows))
        note = "Verdict rates are in percent and their differences in percentage points; abstraction is from 0 to 1."
        return html.block(" against ".join(self.settings["models"]), html.lines(self.text()) + table, [note])

    def figure(self) -> "Figure":
        """The differences with their intervals as a matplotlib figure; needs the extra `plots`."""
        return figures.differences_figure(self.frame, str(self.settings["models"][0]), (*POSITIVE, "abstraction"))

    def summary(self) -> pd.DataFrame:
        """The differences and whether they are shown, that is, whether the interval leaves out 0.

        One row for each other model, layer and measure: model_a, model_b, layer, measure, a, b, difference, low, high,
        shown, p, q, matched_difference, matched_low, matched_high, matched_p.
        """
        return summarise(self.frame)

    def text(self) -> str:
        """The findings in sentences, with their intervals."""
        return describe_contrast(self)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a parquet file for each table, `contrast.json` and `summary.txt`; equal results give equal bytes."""
        tables = {name: getattr(self, attribute) for name, attribute in TABLES.items()}
        about = {"settings": self.settings, "caveats": self.caveats}
        return save_tables(folder, NAME, tables, about, {"summary.txt": f"{self.text()}\n".encode()})


def load_contrast(folder: str | os.PathLike[str]) -> Contrast:
    """Read what `Contrast.save` wrote.

    Raises:
        OutputError: The folder holds no contrast, or a damaged one, or one of another version.
    """
    tables, about = load_tables(
        folder, NAME, tuple(TABLES), command="conceptprobe contrast INDEX_A INDEX_B --out {folder}"
    )
    named = {attribute: tables[name] for name, attribute in TABLES.items()}
    return Contrast(**named, settings=about["settings"], caveats=tuple(about["caveats"]))


def contrast(
    index_a: IndexLike,
    index_b: IndexLike,
    *more: IndexLike,
    concepts: ConceptSet | None = None,
    scores: Sequence[FeatureScores] | None = None,
    pairs: Iterable[Sequence[str]] | None = None,
    pooling: str | None = None,
    k: int | None = None,
    q: float = 0.05,
    resamples: int = 100,
    match: bool = True,
    class_names: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Contrast:
    """Compare models by what their features respond to. docs/contrast.md has the method and its simulations.

    Args:
        index_a: An index, or its path.
        index_b: An index of another model over the same images.
        more: Further indices; each of them is compared with the first one.
        concepts: Concepts over the images, in their order; by default all that the image source knows (see
            `concepts_of`).
        scores: Scores of the indices, in their order, by the same concepts; by default the features are scored here.
        pairs: The layers that are compared with each other, one of each index in each pair. By default those of the
            same name, or those at the same relative depth among the indexed layers.
        pooling: The pooling of the top lists; by default the first that all indices have.
        k: How many top images `score_features` looks at; scores that are given have their own k.
        q: The false discovery rate of `score_features`; scores that are given have their own q.
        resamples: How often the images are resampled.
        match: Whether features are matched across the models, for which the indices need vectors.
        class_names: The classes that each model was trained on, by its spec; by default the models are asked.
        seed: The seed of all random draws.
        progress: Show progress bars on stderr.

    Raises:
        ContrastError: A setting is out of range, the indices are of different images or have lists of different
            lengths, their layers do not pair, or scores are of other indices or concepts.
        ConceptError: There are no concepts, or k is out of range.
    """
    settings = ContrastSettings.make(
        {
            "pooling": pooling, "k": k, "q": q, "resamples": resamples, "match": match, "seed": seed,
            "progress": progress,
        }
    )  # fmt: skip
    indices = tuple(as_index(index) for index in (index_a, index_b, *more))
    comparison = Comparison.make(indices, concepts, scores, pairs, settings)
    sides = make_sides(comparison)
    short = max(side.resamples.short for side in sides)
    plan = comparison.plan
    return Contrast(
        pd.concat([difference_table(comparison, sides[0], side) for side in sides[1:]], ignore_index=True),
        pd.concat([model_table(comparison, side) for side in sides], ignore_index=True),
        concept_table(comparison, sides),
        match_table(comparison),
        {
            "models": list(comparison.names), "layers": [list(pair) for pair in comparison.pairs],
            "pooling": comparison.pooling, "k": comparison.k, "q": comparison.q, "images": plan.images,
            "source": indices[0].manifest.source.spec, "resamples": resamples,
            "resample": {"kept": plan.kept, "k": plan.k}, "cluster_threshold": THRESHOLD, "seed": seed,
            "scores": [score.settings for score in comparison.scores],
        },
        tuple(find_caveats(comparison, short, class_names)),
    )  # fmt: skip
