"""Features of two models that fire on the same images, tested against features without a counterpart."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from pydantic import Field
from pydantic.dataclasses import dataclass as settings_dataclass
from scipy.stats import false_discovery_control

from conceptprobe.concepts.comparison.layer_pairs import SAMPLE, check_comparable, feature_vectors, pair_layers
from conceptprobe.concepts.errors import ContrastError
from conceptprobe.display import figures, html
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.indexing.storage.faiss_files import unit
from conceptprobe.intervals import wilson_interval
from conceptprobe.output.tables import load_tables, save_tables
from conceptprobe.validation import CONFIG, make_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "matches"
DRAWS = 50
CHUNK = 4096
NEARLY_ONE = 1 - 1e-6
EXAMPLES = 5
COLUMNS = ("layer", "side", "count", "of", "share", "low", "high", "median_r")


@settings_dataclass(frozen=True, config=CONFIG)
class MatchSettings:
    """The settings of `match_features`, which says what each of them is."""

    images: Annotated[int, Field(ge=2)]
    draws: Annotated[int, Field(ge=2)]
    q: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, eq=False, repr=False)
class Matches:
    """The best counterpart of every feature in another model.

    Attributes:
        frame: One row for each feature that varies, of both models: side (a or b), layer, feature, other_layer,
            other_feature, r (Pearson's, over images), mutual (each is the other's best), p_permuted, p_mixture, p (the
            larger of the two), q (Benjamini-Hochberg over the features of the layer), matched (mutual, and q is small
            enough on both sides).
        settings: How they were made.
    """

    frame: pd.DataFrame
    settings: dict[str, Any]

    def __repr__(self) -> str:
        rows = self.summary().query("side == 'a'").itertuples()
        return f"Matches({'; '.join(f'{row.layer}: {row.count} of {row.of}' for row in rows)})"

    def __len__(self) -> int:
        return len(self.frame)

    def _repr_html_(self) -> str:
        heads = ("layer", "model", "matched", "share", "median r")
        models = dict(zip(("a", "b"), self.settings["models"], strict=True))
        rows = [
            [row.layer, models[row.side], f"{row.count:,} of {row.of:,}", html.percent(row.share),
             html.number(row.median_r)]
            for row in self.summary().itertuples()
        ]  # fmt: skip
        best = self.frame[(self.frame["side"] == "a") & self.frame["matched"]].nlargest(EXAMPLES, "r")
        examples = [
            [f"{row.layer}:{row.feature}", f"{row.other_layer}:{row.other_feature}", html.number(row.r),
             html.number(row.q)]
            for row in best.itertuples()
        ]  # fmt: skip
        body = html.table(heads, rows)
        if examples:
            body += html.heading("Strongest matches") + html.table((*models.values(), "r", "q"), examples)
        note = f"A pair matches if each is the other's best and q ≤ {self.settings['q']:g} on both sides."
        return html.block(f"Matches of {' and '.join(models.values())}", body, [note])

    def figure(self) -> "Figure":
        """The share of matched features by layer as a matplotlib figure; needs the extra `plots`."""
        summary = self.summary().assign(verdict="matched")
        names = zip(("a", "b"), self.settings["models"], strict=True)
        return figures.shares_figure([(name, summary[summary["side"] == side]) for side, name in names], ("matched",))

    def summary(self) -> pd.DataFrame:
        """How many features of each layer are matched: layer, side, count, of, share, low, high, median_r.

        Shares are of the features that vary; median_r is the median correlation of those that are matched. The 95 %
        intervals are Wilson's (1927), for features drawn independently; redundant features are not.
        """
        return summarise_matches(self.frame)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `matches.parquet` and `matches.json`; equal matches give equal bytes."""
        return save_tables(folder, NAME, {"matches": self.frame}, self.settings)


def load_matches(folder: str | os.PathLike[str]) -> Matches:
    """Read what `Matches.save` wrote.

    Raises:
        OutputError: The folder holds no matches, or damaged ones, or ones of another version.
    """
    tables, settings = load_tables(
        folder, NAME, ("matches",), command="match_features(INDEX_A, INDEX_B).save('{folder}')"
    )
    return Matches(tables["matches"], settings)


def summarise_matches(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `Matches.summary`."""
    rows = []
    for (layer, side), part in frame.groupby(["layer", "side"], sort=False):
        count, total = int(part["matched"].sum()), len(part)
        interval = wilson_interval(count / total, total)
        rows.append((layer, side, count, total, count / total, *interval, part.loc[part["matched"], "r"].median()))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def match_features(
    index_a: IndexLike,
    index_b: IndexLike,
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    images: int = SAMPLE,
    draws: int = DRAWS,
    q: float = 0.05,
    seed: int = 0,
) -> Matches:
    """Match the features of two models by the correlation of their activations over the same images.

    Two null distributions say how large the best correlation of a feature without a counterpart is. `permuted`: the
    other model's images are shuffled, so only extreme values can meet by chance. `mixture`: the other model's features
    are replaced with equally many random linear mixtures of them, which respond to everything that the model responds
    to, such as brightness, but whose axes mean nothing (the test of a privileged basis; compare Kornblith et al. 2019,
    arXiv 1905.00414). A feature's best correlation r is compared with those that it reaches in the draws: arctanh r
    minus their mean, over their standard deviation, with the draws of all features pooled.

    Args:
        index_a: An index with vectors, or its path.
        index_b: An index of another model over the same images, with vectors.
        pairs: Pairs of layers, as in `contrast`.
        images: The largest number of images to compare over.
        draws: The number of draws of each null distribution.
        q: The false discovery rate of the matches.
        seed: The seed of all random draws.

    Raises:
        ContrastError: A setting is out of range, or the indices cannot be compared.
        IndexingError: An index was built without vectors.
    """
    values = {"images": images, "draws": draws, "q": q, "seed": seed}
    settings = make_settings(MatchSettings, values, what="match_features", error=ContrastError)
    indices = as_index(index_a), as_index(index_b)
    check_comparable(indices)
    pooling_a, pooling_b = (index.pooling for index in indices)
    if pooling_a != pooling_b:
        raise ContrastError(
            f"vectors are of the first pooling of an index, which is {pooling_a} and {pooling_b} here: build both "
            "indices with the same first pooling"
        )
    rng = np.random.default_rng(settings.seed)
    tables = []
    for pair in pair_layers(indices, pairs):
        a_fn, b_gn = (feature_vectors(index, layer, images) for index, layer in zip(indices, pair, strict=True))
        table = match_vectors(a_fn, b_gn, rng, draws=settings.draws, q=settings.q)
        for side, layers in (("a", pair), ("b", pair[::-1])):
            table.loc[table["side"] == side, ["layer", "other_layer"]] = layers
        tables.append(table)
    frame = pd.concat(tables, ignore_index=True)
    columns = ["side", "layer", "feature", "other_layer", "other_feature"]
    frame = frame[columns + [name for name in frame if name not in columns]]
    return Matches(frame, {"models": [index.manifest.model.spec for index in indices], **values})


def match_vectors(
    a_fn: np.ndarray, b_gn: np.ndarray, rng: Generator, *, draws: int = DRAWS, q: float = 0.05
) -> pd.DataFrame:
    """The rows of `Matches.frame` for two layers, without the layers' names.

    Args:
        a_fn: The features of one model as centred vectors of length one, see `feature_vectors`.
        b_gn: The features of the other model, over the same images.
        rng: The source of the draws.
        draws: The number of draws of each null distribution.
        q: The false discovery rate of the matches.
    """
    varies_a, varies_b = np.flatnonzero(a_fn.any(1)), np.flatnonzero(b_gn.any(1))
    a_fn, b_gn = a_fn[varies_a], b_gn[varies_b]
    r_a, best_a, r_b, best_b = best_pairs(a_fn, b_gn)
    permuted_a, permuted_b, mixture_a, mixture_b = (np.empty((draws, len(x))) for x in (a_fn, b_gn, a_fn, b_gn))
    for draw in range(draws):
        permuted_a[draw], _, permuted_b[draw], _ = best_pairs(a_fn, b_gn[:, rng.permutation(b_gn.shape[1])])
        mixture_a[draw] = best_pairs(a_fn, random_mixtures(b_gn, rng))[0]
        mixture_b[draw] = best_pairs(b_gn, random_mixtures(a_fn, rng))[0]
    sides = []
    for side, features, others, r, best, back, permuted, mixture in (
        ("a", varies_a, varies_b, r_a, best_a, best_b, permuted_a, mixture_a),
        ("b", varies_b, varies_a, r_b, best_b, best_a, permuted_b, mixture_b),
    ):
        p_permuted, p_mixture = pooled_p(r, permuted), pooled_p(r, mixture)
        p = np.maximum(p_permuted, p_mixture)
        table = {
            "side": side, "feature": features, "other_feature": others[best], "r": r,
            "mutual": back[best] == np.arange(len(features)), "p_permuted": p_permuted, "p_mixture": p_mixture, "p": p,
            "q": false_discovery_control(p) if len(p) else p,
        }  # fmt: skip
        sides.append(pd.DataFrame(table))
    passes_a, passes_b = (table["mutual"].to_numpy() & (table["q"].to_numpy() <= q) for table in sides)
    sides[0]["matched"] = passes_a & passes_b[best_a]
    sides[1]["matched"] = passes_b & passes_a[best_b]
    return pd.concat(sides, ignore_index=True)


def best_pairs(a_fn: np.ndarray, b_gn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each row of `a` the largest product with a row of `b`, and which row that is; then the same for `b`."""
    r_a, best_a = np.empty(len(a_fn), np.float32), np.empty(len(a_fn), np.int64)
    r_b, best_b = np.full(len(b_gn), -np.inf, np.float32), np.zeros(len(b_gn), np.int64)
    for start in range(0, len(a_fn), CHUNK):
        products = a_fn[start : start + CHUNK] @ b_gn.T
        chunk = slice(start, start + len(products))
        best_a[chunk] = products.argmax(1)
        r_a[chunk] = products.max(1)
        top = products.max(0)
        larger = top > r_b
        best_b[larger] = start + products.argmax(0)[larger]
        r_b[larger] = top[larger]
    return r_a, best_a, r_b, best_b


def random_mixtures(vectors_fn: np.ndarray, rng: Generator) -> np.ndarray:
    """Equally many random linear mixtures of features as there are features, of length one."""
    weights = rng.standard_normal((len(vectors_fn), len(vectors_fn)), np.float32)
    return unit(weights @ vectors_fn)


def pooled_p(r_f: np.ndarray, null_df: np.ndarray) -> np.ndarray:
    """The p-value of each feature's best correlation, float64 [f].

    Draws are standardised for each feature and pooled over the features.
    """
    z_f, z_df = (np.arctanh(np.clip(r.astype(np.float64), -NEARLY_ONE, NEARLY_ONE)) for r in (r_f, null_df))
    mean, std = z_df.mean(0), np.maximum(z_df.std(0, ddof=1), 1e-9)
    pool = np.sort(((z_df - mean) / std).ravel())
    scale = np.sqrt(1 + 1 / len(null_df))  # the mean is an estimate, from which the feature's own value is independent
    above: np.ndarray = len(pool) - np.searchsorted(pool, (z_f - mean) / std / scale)
    p_f: np.ndarray = (1 + above) / (1 + len(pool))
    return p_f
