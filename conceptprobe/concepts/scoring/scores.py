"""Scores of features: which concept each responds to, and whether that makes it an object or a concept."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.scoring.run import ScoreSettings, prepare_run
from conceptprobe.concepts.scoring.verdicts import (
    EXAMPLE_TITLES,
    POSITIVE,
    TESTED,
    VERDICTS,
    Verdict,
    counted_verdicts,
)
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.concepts.statistics.nulls import DRAWS
from conceptprobe.display import figures, html
from conceptprobe.images import ImagesLike, as_images
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.intervals import wilson_interval
from conceptprobe.models import ModelLike, as_model
from conceptprobe.output.tables import load_tables, save_tables
from conceptprobe.validation import make_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "scores"
EXAMPLES = 5
EXAMPLE_HEADS = ("feature", "concept", "images of it", "LLR", "q", "abstraction")


@dataclass(frozen=True, eq=False, repr=False)
class FeatureScores:
    """What the features of an index respond to.

    Attributes:
        frame: One row for each feature: feature, layer, index, pooling, concept, kind, hits, k, size, llr, p_random,
            p_hub, p_visual, p, q, verdict, reason, abstraction, effective_leaves, least_effective_leaves,
            largest_leaf_share, second_concept, second_hits, second_length, p_second, fault, fault_images, clarity,
            monosemanticity, redundancy, firing_rate, dead, tested. docs/concepts.md says what each is.
        curve: One row for each feature and length of its list: feature, layer, k, concept, hits, llr, p, q, verdict;
            tested against random lists alone.
        settings: How they were made.
    """

    frame: pd.DataFrame
    curve: pd.DataFrame
    settings: dict[str, Any]

    def __repr__(self) -> str:
        counts = self.frame["verdict"].value_counts()
        verdicts = ", ".join(f"{counts.get(name, 0)} {name}" for name in VERDICTS if name != Verdict.UNTESTED)
        return f"FeatureScores({self.settings['model']}, k {self.settings['k']}: {verdicts})"

    def __len__(self) -> int:
        return len(self.frame)

    def _repr_html_(self) -> str:
        heads, rows = ["layer", *VERDICTS], []
        for layer, part in self.summary().groupby("layer", sort=False):
            of = part.set_index("verdict")
            cells = [f"{of['count'][name]:,} ({html.percent(of['share'][name])})" for name in VERDICTS]
            rows.append([str(layer), *cells])
        parts = [html.table(heads, rows)]
        for verdict, words in EXAMPLE_TITLES.items():
            best = self.frame[self.frame["verdict"] == verdict].nlargest(EXAMPLES, "llr")
            if len(best):
                parts += [
                    html.heading(words),
                    html.table(EXAMPLE_HEADS, [example_row(row) for row in best.itertuples()]),
                ]
        title = f"{self.settings['model']}: scores at k {self.settings['k']}, q ≤ {self.settings['q']:g}"
        note = f"Shares of {', '.join(TESTED)} are of the tested features, the others of all features."
        return html.block(title, "".join(parts), [note])

    def figure(self, *others: "FeatureScores") -> "Figure":
        """Verdicts by layer as a matplotlib figure, other models beside this one; needs the extra `plots`.

        Args:
            others: Scores of other models.

        Raises:
            DisplayError: matplotlib is not installed.
        """
        tables = [(str(scores.settings["model"]), scores.summary()) for scores in (self, *others)]
        return figures.shares_figure(tables, POSITIVE)

    def summary(self) -> pd.DataFrame:
        """How many features of each layer have each verdict: layer, verdict, count, of, share, low, high.

        Shares are of the tested features; those of `dead` and `untested` are of all. The 95 % intervals are Wilson's
        (1927) for independent features; redundant features are not independent, see `contrast`.
        """
        rows = []
        for layer, part in self.frame.groupby("layer", sort=False):
            counts, tested = counted_verdicts(part).value_counts(), int(part["tested"].sum())
            for verdict in VERDICTS:
                count, of = int(counts.get(verdict, 0)), tested if verdict in TESTED else len(part)
                share = count / of if of else np.nan
                rows.append((layer, verdict.value, count, of, share, *wilson_interval(share, of)))
        return pd.DataFrame(rows, columns=["layer", "verdict", "count", "of", "share", "low", "high"])

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `features.parquet`, `curve.parquet` and `scores.json`; equal scores give equal bytes.

        Args:
            folder: Missing, empty, or earlier scores, which are replaced.

        Raises:
            OutputError: The folder holds something else, or cannot be written.
        """
        return save_tables(folder, NAME, {"features": self.frame, "curve": self.curve}, self.settings)


def example_row(row: Any) -> list[str]:
    """The cells of a feature under `EXAMPLE_HEADS`."""
    return [
        f"{row.layer}:{row.feature}", str(row.concept), f"{row.hits} of {row.k}", html.number(row.llr),
        html.number(row.q), html.number(row.abstraction),
    ]  # fmt: skip


def load_scores(folder: str | os.PathLike[str]) -> FeatureScores:
    """Read what `FeatureScores.save` wrote.

    Raises:
        OutputError: The folder holds no scores, or they are damaged or of another version.
    """
    tables, settings = load_tables(
        folder, NAME, ("features", "curve"), command="conceptprobe score INDEX --out {folder}"
    )
    return FeatureScores(tables["features"], tables["curve"], settings)


def score_features(
    index: IndexLike,
    concepts: ConceptSet | None = None,
    k: int | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    pooling: str | None = None,
    q: float = 0.05,
    draws: int = DRAWS,
    visual: np.ndarray | str | None = "auto",
    scorer: ModelLike | None = None,
    images: ImagesLike | None = None,
    seed: int = 0,
    progress: bool = False,
) -> FeatureScores:
    """Score every feature of an index: which concept explains its top images, and what kind of feature that makes it.

    q-values are Benjamini and Hochberg's over the tested features of a layer, so that the scores of a layer do not
    depend on the other layers. docs/concepts.md has the formulas, and the simulations behind them.

    Args:
        index: A finished index.
        concepts: Concepts over its images, in its order; by default all that its source knows (see `concepts_of`).
        k: How many top images of a feature count, at most the k of the index. By default the median size of a leaf,
            from 8 to 40, and no more than half the images.
        layers: A name or several; by default all layers of the index.
        pooling: By default the first pooling of the index.
        q: False discovery rate of the verdicts object, conceptual and polysemantic.
        draws: Lists in each null distribution.
        visual: How to test whether images share a concept only because they look alike: `auto` describes the images by
            colours and gradients if they can be read, and else leaves the test out, as `settings["looks"]` then says;
            an array, float [n,v], is used as descriptors of the images; None leaves the test out.
        scorer: A model with an embedding, in whose space clarity, monosemanticity and redundancy are measured; without
            one they are NaN. No verdict depends on it.
        images: The images, if they are no longer where the index was built from.
        seed: Seed of every random draw.
        progress: Whether to show bars on stderr.

    Raises:
        ConceptError: The concepts are of other images, or a setting is out of range.
        IndexingError: The index has no such layer or pooling; or its images cannot be read, where there is a scorer.
    """
    settings = make_settings(
        ScoreSettings, {"k": k, "q": q, "draws": draws, "seed": seed}, what="scores", error=ConceptError
    )
    index = as_index(index)
    run = prepare_run(
        index,
        concepts_of(index) if concepts is None else concepts,
        settings,
        layers=layers,
        pooling=pooling,
        visual=visual,
        scorer=None if scorer is None else as_model(scorer),
        images=None if images is None else as_images(images),
        progress=progress,
    )
    shown = track(run.layers, f"scores of {index.path.name}", console=Console(stderr=True), disable=not progress)
    scores = [run.score(layer) for layer in shown]
    return FeatureScores(
        pd.concat([layer.frame for layer in scores], ignore_index=True),
        pd.concat([layer.curve for layer in scores], ignore_index=True),
        run.describe(),
    )
