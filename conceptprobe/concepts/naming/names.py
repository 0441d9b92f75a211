"""Name features by words and by the concepts of their images; every name is tested on images that did not choose it."""

import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.naming.held_out import restrict, split_images
from conceptprobe.concepts.naming.namer import CONCEPTS, SCORER_IMAGES, WORDS, Namer
from conceptprobe.concepts.naming.settings import NamingSettings
from conceptprobe.concepts.naming.vocabulary import read_words
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.display import figures, html
from conceptprobe.display.progress import tracked
from conceptprobe.images import ImagesLike, as_images
from conceptprobe.indexing import Index
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.indexing.source import source_of
from conceptprobe.intervals import wilson_interval
from conceptprobe.models import ModelLike, as_model
from conceptprobe.output.tables import load_tables, save_tables
from conceptprobe.search.embeddings import CACHE
from conceptprobe.search.features import embed_needed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "names"
MAX_TEST_IMAGES, MAX_TEST_VALUES = 2**15, 2**27  # the latter are activations in memory
EXAMPLES = 10
EXAMPLE_HEADS = ("feature", "word", "AUC", "concept", "AUC")
SUMMARY = ("layer", "source", "count", "of", "share", "low", "high", "median_auc")


@dataclass(frozen=True, eq=False, repr=False)
class FeatureNames:
    """Names for the features of an index.

    Attributes:
        frame: One row for each name: layer, feature, pooling, source (words or concepts), rank (from 1), word, score
            (soft-WPMI of a word, log-likelihood ratio of a concept), auc, p, q, abstained, tested_on (labels or
            scorer), images (the number that the name was tested on), reason (why there is no name). docs/names.md
            explains them.
        settings: How they were made.
    """

    frame: pd.DataFrame
    settings: dict[str, Any]

    def __repr__(self) -> str:
        counts = self.summary().groupby("source", sort=False)[["count", "of"]].sum()
        named = ", ".join(f"{row.count} of {row.of} by {row.Index}" for row in counts.itertuples())
        return f"FeatureNames({self.settings['model']}, scorer {self.settings['scorer']}: {named})"

    def __len__(self) -> int:
        return len(self.frame)

    def _repr_html_(self) -> str:
        rows = [
            [
                row.layer,
                row.source,
                f"{row.count:,} of {row.of:,}",
                html.percent(row.share),
                html.number(row.median_auc),
            ]
            for row in self.summary().itertuples()
        ]
        body = html.table(("layer", "names by", "named", "share", "median AUC"), rows)
        best = self.table().dropna(subset="word").nlargest(EXAMPLES, "word_auc")
        if len(best):
            examples = [
                [f"{row.layer}:{row.feature}", row.word, html.number(row.word_auc), row.concept or "–",
                 html.number(row.concept_auc)]
                for row in best.itertuples()
            ]  # fmt: skip
            body += html.heading("Names that separate best") + html.table(EXAMPLE_HEADS, examples)
        settings = self.settings
        note = f"Shares are of the features whose names could be tested; names have q ≤ {settings['q']:g}."
        return html.block(f"{settings['model']}: names by {settings['scorer']}", body, [note])

    def figure(self) -> "Figure":
        """The share of named features by layer as a matplotlib figure; needs the extra `plots`."""
        summary = self.summary().rename(columns={"source": "verdict"})
        return figures.shares_figure([(str(self.settings["model"]), summary)], tuple(summary["verdict"].unique()))

    def summary(self) -> pd.DataFrame:
        """How many features of each layer are named: layer, source, count, of, share, low, high, median_auc.

        Shares are of the features whose name of rank 1 could be tested; median_auc is the median over these. The 95 %
        intervals are Wilson's (1927), for features drawn independently.
        """
        first = self.frame[(self.frame["rank"] == 1) & self.frame["auc"].notna()]
        rows = []
        for (layer, source), part in first.groupby(["layer", "source"], sort=False):
            count, total = int((~part["abstained"]).sum()), len(part)
            interval = wilson_interval(count / total, total)
            rows.append((layer, source, count, total, count / total, *interval, part["auc"].median()))
        return pd.DataFrame(rows, columns=list(SUMMARY))

    def table(self) -> pd.DataFrame:
        """One row for each feature: layer, feature, word, word_auc, concept, concept_auc; no name is None."""
        first = self.frame[self.frame["rank"] == 1]
        first = first.assign(word=first["word"].where(~first["abstained"]))
        by_words, by_concepts = (
            first.loc[first["source"] == source, ["layer", "feature", "word", "auc"]].rename(columns=columns)
            for source, columns in ((WORDS, {"auc": "word_auc"}), (CONCEPTS, {"word": "concept", "auc": "concept_auc"}))
        )
        joined = by_words.merge(by_concepts, on=["layer", "feature"], how="left")
        texts = joined[["word", "concept"]].astype(object)
        return joined.assign(**texts.where(texts.notna(), None))

    def text(self) -> str:
        """The names of each feature with their AUC, and how many features of each layer are named, in lines."""
        table = self.table()
        lines = []
        for row in table[table["word"].notna() | table["concept"].notna()].itertuples():
            names = ((row.word, row.word_auc), (row.concept, row.concept_auc))
            lines.append(
                f"{row.layer}:{row.feature}  {' | '.join(f'{name} ({auc:.2f})' for name, auc in names if name)}"
            )
        for row in self.summary().itertuples():
            lines.append(
                f"{row.layer}, by {row.source}: {row.count:,} of {row.of:,} tested features are named, median AUC "
                f"{row.median_auc:.3f}"
            )
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `names.parquet` and `names.json`; equal names give equal bytes."""
        return save_tables(folder, NAME, {"names": self.frame}, self.settings)


def load_names(folder: str | os.PathLike[str]) -> FeatureNames:
    """Read what `FeatureNames.save` wrote.

    Raises:
        OutputError: The folder holds no names, or damaged ones, or ones of another version.
    """
    tables, settings = load_tables(folder, NAME, ("names",), command="conceptprobe label INDEX --out {folder}")
    return FeatureNames(tables["names"], settings)


def label_features(
    index: IndexLike,
    words: str | os.PathLike[str] | Sequence[str],
    scorer: ModelLike,
    *,
    concepts: ConceptSet | None = None,
    layers: str | Sequence[str] | None = None,
    templates: Sequence[str] = ("{}",),
    k: int | None = None,
    q: float = 0.05,
    seed: int = 0,
    images: ImagesLike | None = None,
    cache: str | os.PathLike[str] | None = CACHE,
    progress: bool = False,
) -> FeatureNames:
    """Name every feature of an index, and abstain where a name does no better than chance.

    A hash splits the images into halves. One half chooses: the five words with the highest soft-WPMI for those of a
    feature's top images that are in it, and the concept that explains them best. The other half tests whether the
    feature is more active on the images of the name than on the rest. The images of a word are those of the concept of
    that name, where there is one, and otherwise the 20 images that the scorer finds most like the word. The q-values
    are Benjamini and Hochberg's over the features of a layer, for each source and rank. docs/names.md has the formulas
    and the measurements.

    Args:
        index: A finished index with vectors, or its path. Names are for its first pooling, which the vectors are of.
        words: The name or file of a word list (see `word_list`), or the words themselves.
        scorer: A model with an image and a text encoder.
        concepts: Concepts over the images of the index; by default all that its image source knows, or none.
        layers: Layers of the index; by default all.
        templates: Sentences for the scorer with `{}` where the word goes; a word's embeddings in them are averaged.
        k: How many top images are looked at, in both halves together, at most 100 as in CLIP-Dissect; by default as
            many of these as the index keeps.
        q: The false discovery rate of names.
        seed: The seed of the split into halves.
        images: Where the images are now, if not where the index was built from.
        cache: The folder that keeps embeddings; None keeps none.
        progress: Show progress bars on stderr.

    Raises:
        ConceptError: A setting is out of range, the scorer can read none of the words, or the concepts are not over the
            images of the index.
        IndexingError: The index has no vectors or no such layer, or its images are gone.
        ModelError: The scorer has no text encoder.
    """
    index = as_index(index)
    scorer = as_model(scorer)
    images = None if images is None else as_images(images)
    layers = index.choose_layers(layers)
    if not index.keeps_activations():
        raise ConceptError(
            f"{index.path} keeps no vectors, but names are tested on the activations of each image: build the index "
            "with vectors"
        )
    settings = NamingSettings.make(index, {"templates": templates, "k": k, "q": q, "seed": seed})
    pooling = index.pooling
    concepts = _fitting_concepts(index, concepts)
    vocabulary = read_words(scorer, words, settings.templates)
    source = source_of(index, images)
    width = max(index.width(layer) for layer in layers)
    contents = index.images["content_hash"].fillna(index.images["id"]).to_numpy()
    halves = split_images(contents, settings.seed, min(MAX_TEST_IMAGES, max(2048, MAX_TEST_VALUES // width)))
    if min(len(halves.tests), halves.chooses_n.sum()) <= SCORER_IMAGES:
        raise ConceptError(
            f"{index.path} has {len(contents)} images: too few to choose names on one half and test them on the other"
        )
    lists = {layer: restrict(index.top_rows(layer, pooling)[0][:, : settings.k], halves.chooses_n) for layer in layers}
    rows = np.unique(np.concatenate([halves.tests, *(rows_fk[rows_fk >= 0] for rows_fk in lists.values())]))
    # MPS has no float64: there the embeddings are compared on the CPU.
    device = torch.device("cpu") if scorer.device.type == "mps" else scorer.device
    vectors_nd = torch.tensor(embed_needed(scorer, source, rows, cache=cache, progress=progress), device=device)
    namer = Namer(vocabulary, halves, rows, vectors_nd, concepts, settings.q)
    steps = tracked(layers, f"names of {index.path.name}", show=progress)
    frames = [namer.label(index, layer, pooling, lists[layer]) for layer in steps]
    manifest = index.manifest
    about = {
        "model": manifest.model.spec, "source": manifest.source.spec,
        "scorer": scorer.spec,
        "fingerprints": {
            "model": manifest.model.fingerprint, "source": manifest.source.fingerprint,
            "scorer": scorer.fingerprint,
        },
        "layers": list(layers), "pooling": pooling, "k": settings.k, "q": settings.q, "seed": settings.seed,
        "templates": list(settings.templates),
        "word_list": os.fspath(words) if isinstance(words, str | os.PathLike) else None,
        "words": len(vocabulary.words), "unread_words": list(vocabulary.unread),
        "concepts": None if concepts is None else len(concepts), "concept_k": namer.concept_k,
        "choosing_images": int(halves.chooses_n.sum()), "test_images": len(halves.tests),
        "versions": {name: importlib.metadata.version(name) for name in ("conceptprobe", "numpy", "scipy", "torch")},
    }  # fmt: skip
    return FeatureNames(pd.concat(frames, ignore_index=True), about)


def _fitting_concepts(index: Index, concepts: ConceptSet | None) -> ConceptSet | None:
    if concepts is None:
        try:
            return concepts_of(index)
        except ConceptError:  # the source knows no concepts: features are named by words alone
            return None
    if concepts.members_nc.shape[0] != len(index.images):
        raise ConceptError(
            f"the concepts are over {concepts.members_nc.shape[0]} images, {index.path} has {len(index.images)}: make "
            "them with concepts_of(index), or with ConceptSet.from_sets(sets, index.images['id'])"
        )
    return concepts
