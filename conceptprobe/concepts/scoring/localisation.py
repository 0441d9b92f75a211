"""How few features of a layer tell whether an image is of a concept, by sparse linear probes on held-out images."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass
from sklearn.linear_model import orthogonal_mp_gram
from sklearn.metrics import roc_auc_score

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.display import figures, html
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.output.tables import load_tables, save_tables
from conceptprobe.validation import CONFIG, make_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "localisation"
FEATURES = (1, 2, 4, 8, 16)
IMAGES = 20_000
MIN_POSITIVE = 4
HEADS = ("layer", "features", "concepts", "median AUC", "quartiles", "median of the worse half")


@checked_dataclass(frozen=True, kw_only=True, config=CONFIG)
class LocalisationSettings:
    """Settings of `localise`.

    Attributes:
        features: Numbers of features that probes have.
        group: Column of `Index.images` whose values are kept together in a half; None splits by images.
        images: The largest number of images to use.
        seed: Seed of the split.
    """

    features: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = FEATURES
    group: str | None = "label"
    images: Annotated[int, Field(ge=2 * MIN_POSITIVE)] = IMAGES
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, eq=False, repr=False)
class Localisation:
    """How localised concepts are in the layers of a model.

    Attributes:
        frame: One row for each concept, layer and number of features: concept, layer, features (how many), auc (mean of
            the two halves, each tested on the probe of the other), auc_low (the worse of the two), chosen (the features
            of the first half's probe, in the order in which they were chosen), positives (images of the concept),
            groups (how many groups these images are of), split (`groups` or `images`).
        left_out: One row for each concept with too few images in a half: concept, split, positives.
        settings: model, source, layers, features, images (how many were used), group, seed.
    """

    frame: pd.DataFrame
    left_out: pd.DataFrame
    settings: dict[str, Any]

    def __repr__(self) -> str:
        return (
            f"Localisation({self.settings['model']}: {self.frame['concept'].nunique()} concepts in "
            f"{len(self.settings['layers'])} layers, {len(self.left_out)} left out)"
        )

    def __len__(self) -> int:
        return len(self.frame)

    def _repr_html_(self) -> str:
        rows = [
            [
                str(row.layer), str(row.features), str(row.concepts), html.number(row.median_auc),
                f"{html.number(row.lower_quartile)} to {html.number(row.upper_quartile)}",
                html.number(row.median_auc_low),
            ]
            for row in self.summary().itertuples()
        ]  # fmt: skip
        notes = ["An AUC is over images of the half that a probe was not fitted to: 0.5 is chance, 1 is perfect."]
        if len(self.left_out):
            notes.append(f"{html.count_of(len(self.left_out), 'concept')} had too few images in a half.")
        return html.block(f"{self.settings['model']}: how localised concepts are", html.table(HEADS, rows), notes)

    def summary(self) -> pd.DataFrame:
        """The AUCs of each layer and number of features over the concepts.

        The columns are layer, features, concepts, median_auc, lower_quartile, upper_quartile, median_auc_low.
        """
        groups = self.frame.groupby(["layer", "features"], sort=False)
        return pd.DataFrame(
            {
                "concepts": groups.size(),
                "median_auc": groups["auc"].median(),
                "lower_quartile": groups["auc"].quantile(0.25),
                "upper_quartile": groups["auc"].quantile(0.75),
                "median_auc_low": groups["auc_low"].median(),
            }
        ).reset_index()

    def figure(self) -> "Figure":
        """The median AUC by the number of features as a matplotlib figure, a line for each layer; needs `plots`.

        Raises:
            DisplayError: matplotlib is not installed.
        """
        return figures.localisation_figure(self.summary())

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `probes.parquet`, `left_out.parquet` and `localisation.json`; equal results give equal bytes.

        Args:
            folder: Missing, empty, or an earlier localisation, which is replaced.

        Raises:
            OutputError: The folder holds something else, or cannot be written.
        """
        return save_tables(folder, NAME, {"probes": self.frame, "left_out": self.left_out}, self.settings)


def load_localisation(folder: str | os.PathLike[str]) -> Localisation:
    """Read what `Localisation.save` wrote.

    Raises:
        OutputError: The folder holds no localisation, or it is damaged or of another version.
    """
    tables, settings = load_tables(
        folder, NAME, ("probes", "left_out"), command="localise(INDEX, CONCEPTS).save('{folder}')"
    )
    frame = tables["probes"]
    frame["chosen"] = [chosen.tolist() for chosen in frame["chosen"]]
    return Localisation(frame, tables["left_out"], settings)


@dataclass(frozen=True, eq=False)
class Split:
    """Two halves of the images, and the concepts that are probed on them.

    Attributes:
        name: `groups` or `images`: what the halves share none of.
        first_n: Which images are in the first half, bool [n].
        concepts: Positions of the concepts with enough images in both halves, int64 [c].
        rare: Positions of the others, int64.
    """

    name: str
    first_n: np.ndarray
    concepts: np.ndarray
    rare: np.ndarray


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
    (Pati, Rezaiifar & Krishnaprasad 1993, doi 10.1109/ACSSC.1993.342465): features are chosen one at a time, each the
    one that best explains what the others do not, and all weights are fitted anew by least squares, which for two
    classes is Fisher's direction. Probes of few neurons as a yardstick: Gurnee et al. 2023, arXiv 2305.01610. Each half
    is the training half once, and the two AUCs are averaged.

    The halves share no group, so that a probe of a broad concept is tested on objects that it was not trained on, and
    renderings of one object cannot leak. A concept of a single group, such as a label, cannot be split this way: its
    images are split, and the column `split` says so.

    Args:
        index: An index with vectors.
        concepts: Concepts over its images.
        names: Names of the concepts to probe; by default all.
        layers: A name or several; by default all layers of the index.
        features: Numbers of features that probes have.
        group: Column of `Index.images` whose values are kept together in a half; None splits by images.
        images: The largest number of images to use, chosen by the hash of their ids.
        seed: Seed of the split.

    Raises:
        ConceptError: A setting is out of range, there is no such column, or no concept has enough images in both
            halves.
        IndexingError: The index was built without vectors.
    """
    settings = make_settings(
        LocalisationSettings, {"features": tuple(features), "group": group, "images": images, "seed": seed},
        what="localisation", error=ConceptError,
    )  # fmt: skip
    index = as_index(index)
    layers = index.choose_layers(layers)
    if group is not None and group not in index.images:
        raise ConceptError(f"no column {group!r} to split by; there are {', '.join(index.images.columns)}, or None")
    rows = index.sampled_rows(images)
    groups_n = np.arange(len(rows)) if group is None else pd.factorize(index.images[group].iloc[rows])[0]
    columns = np.arange(len(concepts)) if names is None else np.array([concepts.position(name) for name in names])
    chosen_names = [concepts.names[column] for column in columns]
    targets_nc = concepts.members_nc[rows][:, columns].toarray()
    splits = split_images(targets_nc, groups_n, np.random.default_rng(seed))
    left_out = pd.DataFrame(
        [(chosen_names[at], split.name, int(targets_nc[:, at].sum())) for split in splits for at in split.rare],
        columns=["concept", "split", "positives"],
    )
    if len(left_out) == len(columns):
        some = "; ".join(
            f"{row.concept}: a half of the {row.split} has fewer than {MIN_POSITIVE} of its {row.positives} images here"
            for row in left_out.head(3).itertuples()
        )
        raise ConceptError(f"no concept can be probed: {some}. Give concepts of more images or groups")
    records: list[dict[str, Any]] = []
    for layer in layers:
        values_nf = index.activations(layer, rows)
        for split in splits:
            for record in probe_both_ways(values_nf, targets_nc, groups_n, split, settings.features):
                records.append({"concept": chosen_names[record.pop("at")], "layer": layer, **record})
    model, source = index.manifest.model, index.manifest.source
    about = {
        "model": model.spec, "source": source.spec, "layers": list(layers), "features": list(settings.features),
        "images": len(rows), "group": group, "seed": seed,
    }  # fmt: skip
    return Localisation(pd.DataFrame(records), left_out, about)


def split_images(targets_nc: np.ndarray, groups_n: np.ndarray, rng: np.random.Generator) -> tuple[Split, Split]:
    """Split the images into halves by groups, and for concepts of a single group by images.

    Args:
        targets_nc: Which image is of which concept, 0 and 1.
        groups_n: The group of each image, int [n].
        rng: The generator of the splits.
    """
    several_c = np.array([len(np.unique(groups_n[target_n > 0])) > 1 for target_n in targets_nc.T], bool)
    splits = []
    for name, of_n, chosen in (
        ("groups", groups_n, np.flatnonzero(several_c)),
        ("images", np.arange(len(groups_n)), np.flatnonzero(~several_c)),
    ):
        first_n = halves(of_n, rng)
        fewest = np.minimum(targets_nc[first_n][:, chosen].sum(0), targets_nc[~first_n][:, chosen].sum(0))
        enough = fewest >= MIN_POSITIVE
        splits.append(Split(name, first_n, chosen[enough], chosen[~enough]))
    return splits[0], splits[1]


def probe_both_ways(
    values_nf: np.ndarray, targets_nc: np.ndarray, groups_n: np.ndarray, split: Split, features: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Probe the concepts of a split on each half and test them on the other; rows of `Localisation.frame`.

    Args:
        values_nf: Activations.
        targets_nc: Which image is of which concept, 0 and 1.
        groups_n: The group of each image, int [n].
        split: The halves and the concepts.
        features: Numbers of features.
    """
    if not len(split.concepts):
        return
    forth, back = (
        probe(values_nf[train], targets_nc[train][:, split.concepts], values_nf[~train],
              targets_nc[~train][:, split.concepts], features)
        for train in (split.first_n, ~split.first_n)
    )  # fmt: skip
    for number, at in enumerate(split.concepts.tolist()):
        positive_n = targets_nc[:, at] > 0
        for step, count in enumerate(features):
            aucs = forth.auc_cm[number, step], back.auc_cm[number, step]
            yield {
                "at": at, "features": count, "auc": float(np.mean(aucs)), "auc_low": float(min(aucs)),
                "chosen": forth.chosen_cm[number][:count].tolist(), "positives": int(positive_n.sum()),
                "groups": len(np.unique(groups_n[positive_n])), "split": split.name,
            }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Probes:
    """Probes of some concepts, tested on held-out images.

    Attributes:
        auc_cm: Area under the ROC curve by number of features, float64 [c,m].
        chosen_cm: The chosen features, in order, int64 [c,most]; -1 where there are fewer.
    """

    auc_cm: np.ndarray
    chosen_cm: np.ndarray


def probe(
    train_nf: np.ndarray, train_nc: np.ndarray, test_nf: np.ndarray, test_nc: np.ndarray, features: Sequence[int]
) -> Probes:
    """Fit probes with different numbers of features on some images, and test them on others.

    Args:
        train_nf: Activations of the training images.
        train_nc: Which training image is of which concept, 0 and 1.
        test_nf: Activations of the test images.
        test_nc: Which test image is of which concept.
        features: Numbers of features; at most the number of features that vary is used.
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
    """Which images are in a random half of the groups, bool [n]."""
    count = int(groups_n.max()) + 1
    first_g = rng.permutation(count) < count // 2
    result: np.ndarray = first_g[groups_n]
    return result
