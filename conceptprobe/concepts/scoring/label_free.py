"""Whether a feature's images have more in common than their looks, without any label.

A scorer, a model of another family, says how much alike they are in meaning. Meaning and looks go together, so a list
is held against lists that looks alone would give, or where only lists are known, lists that look as much alike.
"""

import os
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy.stats import false_discovery_control

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.looks.descriptors import describe_images
from conceptprobe.concepts.looks.look_alikes import draw_look_alikes
from conceptprobe.concepts.looks.method import ALIKE, PREDICTED
from conceptprobe.concepts.looks.predicted import VisualNull
from conceptprobe.concepts.statistics.coherence import mean_cosine
from conceptprobe.images import ImagesLike, as_images
from conceptprobe.indexing import Index
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.indexing.source import source_of
from conceptprobe.models import ModelLike, VisionModel, as_model
from conceptprobe.models.errors import SpecError
from conceptprobe.models.spec import ModelSpec
from conceptprobe.search.embeddings import CACHE, embed_images

LEAST_K = 8
SAMPLE = 100_000
MINI = {"clip": "text", "supervised": "labels", "distilled": "images"}
WORDS = {
    "text": ("clip", "siglip", "openai", "laion", "datacomp", "webli", "dfn"),
    "images": ("dino", "lvd", "mae", "ijepa", "moco", "simclr", "aim"),
}


def score_without_labels(
    index: IndexLike,
    scorer: ModelLike,
    *,
    k: int = 20,
    layers: str | Sequence[str] | None = None,
    pooling: str | None = None,
    images: ImagesLike | None = None,
    draws: int = 20_000,
    matches: int = 1_000,
    sample: int = SAMPLE,
    seed: int = 0,
    cache: str | os.PathLike[str] | None = CACHE,
    progress: bool = False,
) -> pd.DataFrame:
    """Test each feature for meaning beyond looks: S - E[S|V].

    S is the mean cosine of the pairs of its top images in the scorer's space, V that in the space of `describe_images`.
    E[S|V] is the mean S of lists that looks alone would give the feature (`VisualNull`), where the index has vectors,
    the pooling is its first and all images are looked at; else of the lists of look-alikes (`draw_look_alikes`) whose
    V is nearest to its own, which takes a look that goes with a meaning for that meaning too often. S - V would mean
    nothing: the two have different scales.

    Args:
        index: A finished index.
        scorer: A model with an embedding that learned from something else than the index's model.
        k: How many top images are looked at, at most the k of the index and half the images.
        layers: By default all.
        pooling: By default the index's first.
        images: Where the images are now, if not where the index was built from.
        draws: Lists of look-alikes, where they are needed.
        matches: How many lists each feature is held against.
        sample: Where there are more images than this, as many drawn at random and those in the features' lists are
            embedded, described and drawn from, and no others.
        seed: Where the draws come from.
        cache: The directory that keeps embeddings and descriptors; None keeps nothing.
        progress: Show bars on stderr.

    Returns:
        One row a feature: feature, layer, index, pooling, scorer, looks (which lists it is held against: predicted or
        alike), coherence_semantic (S), coherence_visual (V), excess (S - E[S|V]), p (share of those lists with an S as
        large), q (Benjamini and Hochberg over the layer's live features), dead. Dead features, and those with fewer
        than k images, have no excess, p and q.

    Raises:
        ConceptError: The scorer learned from the same as the index's model, or k, draws or matches is out of range.
        IndexingError: The index has no such layer or pooling, or its images are not to be had.
    """
    index = as_index(index)
    scorer = as_model(scorer)
    images = None if images is None else as_images(images)
    refuse_kin(scorer, index)
    layers = index.choose_layers(layers)
    pooling = index.pooling if pooling is None else pooling
    most = min(index.manifest.k, len(index.images) // 2)
    if not 2 <= k <= most:
        raise ConceptError(f"k is {k}: this index allows 2 to {most}, half its images or the length of its lists")
    if not 1 <= matches <= draws:
        raise ConceptError(f"matches is {matches} and draws {draws}: each feature is held against 1 to all the draws")
    lists = {layer: index.top_rows(layer, pooling)[0][:, :k].astype(np.int64) for layer in layers}
    rng = np.random.default_rng(seed)
    rows = sampled_images(list(lists.values()), len(index.images), sample, rng)
    source = source_of(index, images)
    looks_nv = describe_images(source, rows, cache=cache, progress=progress)
    meanings_nd = embed_images(scorer, source, rows, cache=cache, progress=progress)
    known = index.keeps_activations(pooling) and len(index.images) <= sample
    predicted = VisualNull(looks_nv, seed=seed) if known else None
    bank = None if known else draw_look_alikes(looks_nv, k, draws, rng)
    frames = []
    for layer, rows_fk in lists.items():
        dead_f = index.stats(layer, pooling)["dead"].to_numpy()
        local_fk = np.where(rows_fk >= 0, np.searchsorted(rows, rows_fk), -1)
        semantic_f, visual_f = mean_cosine(meanings_nd, local_fk), mean_cosine(looks_nv, local_fk)
        tested = np.flatnonzero(~dead_f & (rows_fk >= 0).all(1))
        excess_f, p_f, q_f = (np.full(len(rows_fk), np.nan) for _ in range(3))
        if predicted is not None and len(tested):
            acts_nf = np.concatenate([acts_bf[:, tested] for acts_bf in index.activation_blocks(layer)])
            compared = predicted.compare(
                acts_nf, local_fk[tested], partial(mean_cosine, meanings_nd), rng, draws=matches
            )
            excess_f[tested], p_f[tested] = semantic_f[tested] - compared.mean_f, compared.p_f
        elif bank is not None and len(tested):
            meaning_d = mean_cosine(meanings_nd, bank.rows_dk)
            matched_fm = meaning_d[bank.matched(visual_f[tested], matches)[:, None] + np.arange(matches)]
            excess_f[tested] = semantic_f[tested] - matched_fm.mean(1)
            p_f[tested] = (1 + (matched_fm >= semantic_f[tested, None]).sum(1)) / (1 + matches)
        q_f[tested] = false_discovery_control(p_f[tested]) if len(tested) else np.nan
        frames.append(
            pd.DataFrame({
                "feature": np.arange(len(rows_fk)), "layer": layer, "index": index.path.name, "pooling": pooling,
                "scorer": scorer.spec, "looks": PREDICTED if known else ALIKE, "coherence_semantic": semantic_f,
                "coherence_visual": visual_f, "excess": excess_f, "p": p_f, "q": q_f, "dead": dead_f,
            })
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def sampled_images(lists: Sequence[np.ndarray], images: int, size: int, generator: Generator) -> np.ndarray:
    """Rows to look at, ascending: all, or where there are more than `size` a random choice and those of the lists."""
    if images <= size:
        return np.arange(images)
    chosen = generator.choice(images, size, replace=False)
    return np.unique(np.concatenate([chosen, *(rows[rows >= 0] for rows in lists)]))


def refuse_kin(scorer: VisionModel, index: Index) -> None:
    """Refuse a scorer that learned from what the index's model learned from: it finds meaning where the other does.

    Raises:
        ConceptError: It is the same model, or both learned from text, or both from labels, or both from images alone.
    """
    target = index.manifest.model
    shared = learned_from(scorer.spec) & learned_from(target.spec)
    if scorer.fingerprint == target.fingerprint or shared:
        why = f"both learned from {', '.join(sorted(shared))}" if shared else "they are the same model"
        raise ConceptError(
            f"{scorer.spec} cannot judge {target.spec}: {why}, so that it would agree with it. Give a scorer that "
            "learned from something else: of text (open_clip), labels (a timm or torchvision classifier) and images "
            "alone (DINO, MAE)"
        )


def learned_from(spec: str) -> frozenset[str]:
    """What a model learned from, by its spec: text, labels, images alone; empty where that cannot be told."""
    try:
        parsed = ModelSpec.parse(spec)
    except SpecError:
        return frozenset()
    if parsed.is_random:
        return frozenset()
    if parsed.family == "mini":
        return frozenset([MINI[parsed.architecture]])
    if parsed.family == "open_clip":
        return frozenset(["text"])
    name = parsed.architecture if parsed.path else parsed.text
    found = {kind for kind, words in WORDS.items() if any(word in name.lower() for word in words)}
    return frozenset(found | ({"labels"} if not found or "_ft_" in name else set()))
