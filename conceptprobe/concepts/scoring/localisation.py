"""How few features of a layer tell whether an image is of a concept: sparse linear probes on images apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import orthogonal_mp_gram
from sklearn.metrics import roc_auc_score

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.indexing.index import IndexLike, as_index

FEATURES = (1, 2, 4, 8, 16)
IMAGES = 20_000
MIN_POSITIVE = 4


@dataclass(frozen=True, eq=False)
class Localisation:
    """How localised concepts are in the layers of a model.

    Attributes:
        frame: One row for each concept, layer and number of features: concept, layer, features (how many), auc (mean of
            the two halves, each tested on the other's probe), auc_low (the worse of the two), chosen (the features that
            the probe of the first half took, in order), positives (images), groups (how many the concept's images are
            of), split (`groups` or `images`).
        settings: images, group, seed.
        left_out: Why a concept has no rows, by its name.
    """

    frame: pd.DataFrame
    settings: dict[str, Any]
    left_out: dict[str, str]


def localise(
    index: IndexLike,
    concepts: ConceptSet,
    *,
    names: Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    features: Sequence[int] = FEATURES,
    group: str | None = "label",
    images: int = IMAGES,
    seed: int = 0,
) -> Localisation:
    """Fit linear probes with few features for each concept and layer.

    A probe is orthogonal matching pursuit on activations that are standardised with the training half's statistics
    (Pati, Rezaiifar & Krishnaprasad 1993, doi 10.1109/ACSSC.1993.342465): features are taken one at a time, each the
    one that best explains what the others leave, and all weights are fitted anew by least squares, which for two
    classes is Fisher's direction. Probes of few neurons as a yardstick: Gurnee et al. 2023, arXiv 2305.01610. The two
    halves change places, and the AUC is averaged.

    The halves share no group, so that a probe of a broad concept is tested on objects that it was not trained on, and
    renderings of one object cannot leak. A concept of a single group, such as a label itself, cannot be split so: its
    images are split, and `split` says so.

    Args:
        index: An index with vectors.
        concepts: Over its images.
        names: Which concepts; by default all.
        layers: A name or several; by default all of the index.
        features: Numbers of features.
        group: Column of `Index.images` that the halves are split by; None for images.
        images: At most so many, chosen by the hash of their ids.
        seed: Of the split.

    Raises:
        ConceptError: There is no such column, or no concept has enough images in both halves.
        IndexingError: The index was built without vectors.
    """
    index = as_index(index)
    chosen_layers = index.choose_layers(layers)
    if group is not None and group not in index.images:
        raise ConceptError(f"no column {group!r} to split by; there are {', '.join(index.images.columns)}, or None")
    rows = index.sampled_rows(images)
    groups_n = np.arange(len(rows)) if group is None else pd.factorize(index.images[group].iloc[rows])[0]
    columns = np.arange(len(concepts)) if names is None else np.array([concepts.position(name) for name in names])
    targets_nc = concepts.members_nc[rows][:, columns].toarray()
    rng = np.random.default_rng(seed)
    many = np.array([len(np.unique(groups_n[targets_nc[:, at] > 0])) > 1 for at in range(len(columns))])
    splits = {
        "groups": (halves(groups_n, rng), np.flatnonzero(many)),
        "images": (halves(np.arange(len(rows)), rng), np.flatnonzero(~many)),
    }
    tested: dict[str, np.ndarray] = {}
    left_out = {}
    for split, (first_n, chosen) in splits.items():
        fewest = np.minimum(targets_nc[first_n][:, chosen].sum(0), targets_nc[~first_n][:, chosen].sum(0))
        tested[split] = chosen[fewest >= MIN_POSITIVE]
        for at in chosen[fewest < MIN_POSITIVE]:
            left_out[concepts.names[columns[at]]] = (
                f"a half of the {split} has fewer than {MIN_POSITIVE} of its {int(targets_nc[:, at].sum())} images here"
            )
    if not any(len(chosen) for chosen in tested.values()):
        raise ConceptError(f"no concept can be probed: {'; '.join(f'{n}: {w}' for n, w in list(left_out.items())[:3])}")
    records: list[dict[str, Any]] = []
    for layer in chosen_layers:
        values_nf = index.activations(layer, rows)
        for split, chosen in tested.items():
            if not len(chosen):
                continue
            first_n = splits[split][0]
            forth, back = (
                probe(values_nf[train], targets_nc[train][:, chosen], values_nf[~train], targets_nc[~train][:, chosen],
                      features)
                for train in (first_n, ~first_n)
            )  # fmt: skip
            for number, at in enumerate(chosen):
                positive = targets_nc[:, at] > 0
                for step, count in enumerate(features):
                    aucs = forth.auc_cm[number, step], back.auc_cm[number, step]
                    records.append(
                        {
                            "concept": concepts.names[columns[at]], "layer": layer, "features": count,
                            "auc": float(np.mean(aucs)), "auc_low": float(min(aucs)),
                            "chosen": forth.chosen_cm[number][:count].tolist(), "positives": int(positive.sum()),
                            "groups": len(np.unique(groups_n[positive])), "split": split,
                        }
                    )  # fmt: skip
    settings = {"images": len(rows), "group": group, "seed": seed}
    return Localisation(pd.DataFrame(records), settings, left_out)


@dataclass(frozen=True, eq=False)
class Probes:
    """Probes of some concepts, tried on other images.

    Attributes:
        auc_cm: Area under the ROC curve by number of features, float64 [c,m].
        chosen_cm: The features taken, in order, int64 [c,most].
    """

    auc_cm: np.ndarray
    chosen_cm: np.ndarray


def probe(
    train_nf: np.ndarray, train_nc: np.ndarray, test_nf: np.ndarray, test_nc: np.ndarray, features: Sequence[int]
) -> Probes:
    """Fit probes by the number of their features on some images, and test them on others.

    Args:
        train_nf: Activations.
        train_nc: Which image is of which concept, 0 and 1.
        test_nf: Activations of other images.
        test_nc: What they are of.
        features: Numbers of features; those above the number that vary count as that.
    """
    mean_f, std_f = train_nf.mean(0, dtype=np.float64), train_nf.std(0, dtype=np.float64)
    varies = np.flatnonzero(std_f > 0)
    train, test = (((values - mean_f) / np.where(std_f > 0, std_f, 1))[:, varies] for values in (train_nf, test_nf))
    gram_ff = train.T @ train
    products_fc = train.T @ (train_nc - train_nc.mean(0))
    most = min(max(features), len(varies))
    auc_cm = np.empty((train_nc.shape[1], len(features)))
    chosen_cm = np.empty((train_nc.shape[1], most), np.int64)
    for at in range(train_nc.shape[1]):
        path_fm = orthogonal_mp_gram(gram_ff, products_fc[:, at], n_nonzero_coefs=most, return_path=True)
        path_fm = path_fm.reshape(len(varies), -1)
        taken = np.argmax(path_fm != 0, axis=1)  # the step at which each feature comes in
        used = np.flatnonzero((path_fm != 0).any(1))
        order = used[np.argsort(taken[used], kind="stable")]
        chosen_cm[at] = np.pad(varies[order], (0, most - len(order)), constant_values=-1)
        steps = np.minimum(features, path_fm.shape[1]) - 1
        scores_nm = test[:, order] @ path_fm[order][:, steps]
        auc_cm[at] = [roc_auc_score(test_nc[:, at] > 0, scores_n) for scores_n in scores_nm.T]
    return Probes(auc_cm, chosen_cm)


def halves(groups_n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random half of the groups, as the images in it, bool [n]."""
    count = int(groups_n.max()) + 1
    first_g = rng.permutation(count) < count // 2
    return first_g[groups_n]
