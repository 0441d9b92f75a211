"""Features of two models that fire on the same images, and what correlation two features reach that do not match."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy.stats import false_discovery_control

from conceptprobe.concepts.comparison.layer_pairs import SAMPLE, check_comparable, feature_vectors, side_by_side
from conceptprobe.concepts.errors import ContrastError
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.indexing.storage.faiss_files import unit

DRAWS = 50
CHUNK = 4096
NEARLY_ONE = 1 - 1e-6


@dataclass(frozen=True, eq=False)
class Matches:
    """Every feature's best counterpart in the other model.

    Attributes:
        frame: One row for each feature that varies, of both models: side (a or b), layer, feature, other_layer,
            other_feature, r (Pearson's, over images), mutual (each is the other's best), p_permuted, p_mixture, p (the
            larger), q (Benjamini-Hochberg over the features of the layer), matched (mutual, and q at most the rate on
            both sides).
        settings: images, draws, rate, seed.
    """

    frame: pd.DataFrame
    settings: dict[str, Any]

    def __repr__(self) -> str:
        parts = [
            f"{layer}: {int(rows['matched'].sum())} of {len(rows)}"
            for layer, rows in self.frame[self.frame["side"] == "a"].groupby("layer", sort=False)
        ]
        return f"Matches({'; '.join(parts)})"


def match_features(
    index_a: IndexLike,
    index_b: IndexLike,
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    images: int = SAMPLE,
    draws: int = DRAWS,
    rate: float = 0.05,
    seed: int = 0,
) -> Matches:
    """Match the features of two models by the correlation of their activations over the same images.

    Two nulls say what the best correlation of a feature without a counterpart is. `permuted`: the other model's images
    are shuffled, so only extreme values can meet by chance. `mixture`: the other model's features are replaced with as
    many random linear mixtures of them, which respond to all that the model responds to, such as brightness, but
    whose axes mean nothing (the test of a privileged basis; compare Kornblith et al. 2019, arXiv 1905.00414). A
    feature's best correlation r is held against those that it reaches in the draws: arctanh r less their mean, over
    their standard deviation, and the features' draws pooled.

    Args:
        index_a: An index with vectors.
        index_b: Another one over the same images.
        pairs: Pairs of layers, as for `contrast`.
        images: How many images to compare over, at most.
        draws: Draws of each null.
        rate: False discovery rate.
        seed: Where the draws come from.

    Raises:
        ContrastError: The indices cannot be compared.
        IndexingError: An index was built without vectors.
    """
    index_a, index_b = as_index(index_a), as_index(index_b)
    check_comparable([index_a, index_b])
    firsts = [index.pooling for index in (index_a, index_b)]
    if firsts[0] != firsts[1]:
        raise ContrastError(f"vectors are of the first pooling, which is {firsts[0]} and {firsts[1]}: build with one")
    rng = np.random.default_rng(seed)
    tables = []
    for layer_a, layer_b in side_by_side([index_a, index_b], pairs):
        vectors = feature_vectors(index_a, layer_a, images), feature_vectors(index_b, layer_b, images)
        table = match_vectors(*vectors, rng, draws=draws, rate=rate)
        for side, own, other in (("a", layer_a, layer_b), ("b", layer_b, layer_a)):
            table.loc[table["side"] == side, ["layer", "other_layer"]] = own, other
        tables.append(table)
    frame = pd.concat(tables, ignore_index=True)
    columns = ["side", "layer", "feature", "other_layer", "other_feature"]
    frame = frame[columns + [name for name in frame if name not in columns]]
    return Matches(frame, {"images": images, "draws": draws, "rate": rate, "seed": seed})


def match_vectors(
    a_fn: np.ndarray, b_gn: np.ndarray, rng: Generator, *, draws: int = DRAWS, rate: float = 0.05
) -> pd.DataFrame:
    """The frame of `Matches` but for the layers, from features as centred vectors of length one."""
    varies_a, varies_b = np.flatnonzero(a_fn.any(1)), np.flatnonzero(b_gn.any(1))
    a_fn, b_gn = a_fn[varies_a], b_gn[varies_b]
    r_a, best_a, r_b, best_b = best_pairs(a_fn, b_gn)
    permuted_a, permuted_b, mixture_a, mixture_b = (np.empty((draws, len(x))) for x in (a_fn, b_gn, a_fn, b_gn))
    for draw in range(draws):
        permuted_a[draw], _, permuted_b[draw], _ = best_pairs(a_fn, b_gn[:, rng.permutation(b_gn.shape[1])])
        mixture_a[draw] = best_pairs(a_fn, mixtures(b_gn, rng))[0]
        mixture_b[draw] = best_pairs(b_gn, mixtures(a_fn, rng))[0]
    sides = []
    for side, own, other, r, best, back, permuted, mixture in (
        ("a", varies_a, varies_b, r_a, best_a, best_b, permuted_a, mixture_a),
        ("b", varies_b, varies_a, r_b, best_b, best_a, permuted_b, mixture_b),
    ):
        p_permuted, p_mixture = pooled_p(r, permuted), pooled_p(r, mixture)
        p = np.maximum(p_permuted, p_mixture)
        table = {
            "side": side, "feature": own, "other_feature": other[best], "r": r,
            "mutual": back[best] == np.arange(len(own)), "p_permuted": p_permuted, "p_mixture": p_mixture, "p": p,
            "q": false_discovery_control(p) if len(p) else p,
        }  # fmt: skip
        sides.append(pd.DataFrame(table))
    passes_a, passes_b = (table["mutual"].to_numpy() & (table["q"].to_numpy() <= rate) for table in sides)
    sides[0]["matched"] = passes_a & passes_b[best_a]
    sides[1]["matched"] = passes_b & passes_a[best_b]
    return pd.concat(sides, ignore_index=True)


def best_pairs(a_fn: np.ndarray, b_gn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The largest product of each row of `a` with those of `b`, and with which; the same for the rows of `b`."""
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


def mixtures(vectors_fn: np.ndarray, rng: Generator) -> np.ndarray:
    """As many random linear mixtures of features as there are features, of length one."""
    weights = rng.standard_normal((len(vectors_fn), len(vectors_fn)), np.float32)
    return unit(weights @ vectors_fn)


def pooled_p(r_f: np.ndarray, null_df: np.ndarray) -> np.ndarray:
    """p of each feature's best correlation, float64 [f]: draws of all features, standardised by feature, pooled."""
    z_f, z_df = (np.arctanh(np.clip(r.astype(np.float64), -NEARLY_ONE, NEARLY_ONE)) for r in (r_f, null_df))
    mean, std = z_df.mean(0), np.maximum(z_df.std(0, ddof=1), 1e-9)
    pool = np.sort(((z_df - mean) / std).ravel())
    scale = np.sqrt(1 + 1 / len(null_df))  # the mean is an estimate, from which the feature's own value is independent
    above = len(pool) - np.searchsorted(pool, (z_f - mean) / std / scale)
    return (1 + above) / (1 + len(pool))
