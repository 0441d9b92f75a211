"""Name features by words, and by the concepts of their images; test each name on images that did not choose it."""

import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import track
from scipy.stats import false_discovery_control
from torch import Tensor

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.naming.held_out import Ranks, restrict, split_images
from conceptprobe.concepts.naming.soft_wpmi import MAX_LIST, SHARPNESS, best_words, log_normaliser
from conceptprobe.concepts.naming.vocabulary import Vocabulary, read_words
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.concepts.statistics.enrichment import Enrichment
from conceptprobe.images import ImagesLike, as_images
from conceptprobe.indexing import Index
from conceptprobe.indexing.activations import image_vectors
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.indexing.source import source_of
from conceptprobe.models import ModelLike, as_model
from conceptprobe.output.tables import load_tables, save_tables
from conceptprobe.search.embeddings import CACHE
from conceptprobe.search.features import embed_needed

NAME = "names"
WORDS, CONCEPTS = "words", "concepts"
TOP = 5
SHORTEST = 4  # images of a list that lie in the choosing half
LEAST_K, MOST_K = 8, 20  # of those, how many a concept is chosen by
SHOWN = 20  # test images that stand for a word without images of its own
LEAST_SHOWN = 2
TEST_IMAGES, TEST_VALUES = 2**15, 2**27  # at most so many test images, and so many of their activations in memory
COLUMNS = (
    "layer", "feature", "pooling", "source", "rank", "word", "score", "auc", "p", "q", "abstained", "tested_on",
    "images", "reason",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class FeatureNames:
    """What the features of an index may be called.

    Attributes:
        frame: One row a name: layer, feature, pooling, source (words or concepts), rank (from 1), word, score
            (soft-WPMI of a word, log-likelihood ratio of a concept), auc, p, q, abstained, tested_on (labels or
            scorer), images (that it was tested on), reason (why there is no name). docs/names.md says what each is.
        settings: How they were made.
    """

    frame: pd.DataFrame
    settings: dict[str, Any]

    def __repr__(self) -> str:
        counts = self.counts()
        named = ", ".join(f"{row.named} of {row.tested} by {row.source}" for row in counts.itertuples())
        return f"FeatureNames({self.settings['model']}, scorer {self.settings['scorer']}: {named})"

    def counts(self) -> pd.DataFrame:
        """One row a source: how many features it could be tested for, how many are named, their median AUC."""
        first = self.frame[(self.frame["rank"] == 1) & self.frame["auc"].notna()]
        groups = first.groupby("source", sort=False)
        return pd.DataFrame(
            {
                "tested": groups.size(),
                "named": groups["abstained"].agg(lambda column: int((~column).sum())),
                "median_auc": groups["auc"].median(),
            }
        ).reset_index()

    def table(self) -> pd.DataFrame:
        """One row a feature: layer, feature, word, word_auc, concept, concept_auc; None where it has no such name."""
        first = self.frame[self.frame["rank"] == 1]
        first = first.assign(word=first["word"].where(~first["abstained"]))
        sides = [
            first.loc[first["source"] == source, ["layer", "feature", "word", "auc"]].rename(columns=columns)
            for source, columns in ((WORDS, {"auc": "word_auc"}), (CONCEPTS, {"word": "concept", "auc": "concept_auc"}))
        ]
        joined = sides[0].merge(sides[1], on=["layer", "feature"], how="left")
        said = joined[["word", "concept"]].astype(object)
        return joined.assign(**said.where(said.notna(), None))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `names.parquet` and `names.json`; equal names give equal bytes."""
        return save_tables(folder, NAME, {"names": self.frame}, self.settings)


def load_names(folder: str | os.PathLike[str]) -> FeatureNames:
    """Read what `FeatureNames.save` wrote.

    Raises:
        OutputError: The folder holds no names, or damaged ones, or of another version.
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

    A hash cuts the images into halves. One chooses: the five words with the highest soft-WPMI for those of a feature's
    top images that lie in it, and the concept that explains them best. The other tests: is the feature more active on
    the images of the name than on the rest? The images of a word are those of the concept of that name where there is
    one, else the 20 that the scorer finds the word in most. The q-values are Benjamini and Hochberg's over the features
    of a layer, for each source and rank. docs/names.md has the formulas and what was measured.

    Args:
        index: A finished index with vectors; its first pooling, which they are of, is the one that is named.
        words: A list by name or file (see `word_list`), or the words themselves.
        scorer: Any model with an image and a text encoder.
        concepts: Over the index's images; by default all that its source knows, or none.
        layers: By default all.
        templates: Sentences for the scorer, `{}` where the word goes; the embeddings of a word in them are averaged.
        k: Top images that are looked at, both halves together, at most 100 as in CLIP-Dissect; by default as many as
            the index keeps of those.
        q: False discovery rate of names.
        seed: Makes other halves.
        images: Where the images are now, if not where the index was built from.
        cache: Where embeddings are kept; None keeps none.
        progress: Show bars on stderr.

    Raises:
        ConceptError: A setting is out of range, the scorer reads none of the words, or the concepts are not over the
            images of the index.
        IndexingError: The index has no vectors, no such layer, or its images are gone.
        ModelError: The scorer has no text encoder.
    """
    index = as_index(index)
    scorer = as_model(scorer)
    images = None if images is None else as_images(images)
    layers = index.choose_layers(layers)
    k = min(MAX_LIST, index.manifest.k) if k is None else k
    pooling = index.manifest.pooling[0]
    _check(index, layers, templates, k, q)
    concepts = _concepts(index, concepts)
    vocabulary = read_words(scorer, words, templates)
    source = source_of(index, images)
    width = max(index.manifest.layers[layer]["width"] for layer in layers)
    contents = index.images["content_hash"].fillna(index.images["id"]).to_numpy()
    halves = split_images(contents, seed, min(TEST_IMAGES, max(2048, TEST_VALUES // width)))
    if len(halves.tests) <= SHOWN or halves.chooses_n.sum() <= SHOWN:
        raise ConceptError(f"{index.path} has {len(contents)} images: too few to cut into halves and test names on one")
    lists = {layer: restrict(index.top_rows(layer, pooling)[0][:, :k], halves.chooses_n) for layer in layers}
    needed = np.unique(np.concatenate([halves.tests, *(rows[rows >= 0] for rows in lists.values())]))
    # MPS has no float64: there what the scorer gives is compared on the CPU.
    device = torch.device("cpu") if scorer.device.type == "mps" else scorer.device
    vectors_nd = torch.tensor(embed_needed(scorer, source, needed, cache=cache, progress=progress), device=device)
    namer = _Namer(vocabulary, needed, vectors_nd, halves.chooses_n, halves.tests, concepts, q)
    steps = track(layers, f"names of {index.path.name}", console=Console(stderr=True), disable=not progress)
    frames = [namer.label(index, layer, pooling, lists[layer]) for layer in steps]
    manifest = index.manifest
    settings = {
        "model": manifest.model["spec"], "source": manifest.source["spec"],
        "scorer": scorer.spec,
        "fingerprints": {
            "model": manifest.model["fingerprint"], "source": manifest.source["fingerprint"],
            "scorer": scorer.fingerprint,
        },
        "layers": list(layers), "pooling": pooling, "k": k, "q": q, "seed": seed, "templates": list(templates),
        "word_list": os.fspath(words) if isinstance(words, str | os.PathLike) else None,
        "words": len(vocabulary.words), "unread_words": list(vocabulary.unread),
        "concepts": None if concepts is None else len(concepts), "concept_k": namer.concept_k,
        "choosing_images": int(halves.chooses_n.sum()), "test_images": len(halves.tests),
        "versions": {name: importlib.metadata.version(name) for name in ("conceptprobe", "numpy", "scipy", "torch")},
    }  # fmt: skip
    return FeatureNames(pd.concat(frames, ignore_index=True), settings)


def _check(index: Index, layers: tuple[str, ...], templates: Sequence[str], k: int, q: float) -> None:
    for layer in layers:
        index.top_rows(layer)
    if not index.manifest.vectors:
        raise ConceptError(
            f"{index.path} keeps no vectors, and names are tested on each image's activations: build one with vectors"
        )
    if not 2 * SHORTEST <= k <= min(MAX_LIST, index.manifest.k):
        raise ConceptError(
            f"k is {k}: it must be from {2 * SHORTEST} to {MAX_LIST}, and {index.path} keeps lists of "
            f"{index.manifest.k}"
        )
    if not 0 < q < 1:
        raise ConceptError(f"q is {q}: a false discovery rate is between 0 and 1")
    if isinstance(templates, str) or not templates or not all("{}" in template for template in templates):
        raise ConceptError(f"templates is {templates!r}: give sentences with {{}} where the word goes")


def _concepts(index: Index, concepts: ConceptSet | None) -> ConceptSet | None:
    if concepts is None:
        try:
            return concepts_of(index)
        except ConceptError:  # nothing is known of the images: words remain
            return None
    if concepts.members_nc.shape[0] != len(index.images):
        raise ConceptError(
            f"the concepts are over {concepts.members_nc.shape[0]} images, {index.path} has {len(index.images)}: make "
            "them with concepts_of(index), or with ConceptSet.from_sets(sets, index.images['id'])"
        )
    return concepts


class _Namer:
    """Chooses and tests the names of a layer's features.

    Args:
        needed: Rows of the images whose embeddings `vectors_nd` are, ascending.
        chooses_n, tests: See `Halves`.
    """

    def __init__(
        self, vocabulary: Vocabulary, needed: np.ndarray, vectors_nd: Tensor, chooses_n: np.ndarray, tests: np.ndarray,
        concepts: ConceptSet | None, q: float,
    ) -> None:  # fmt: skip
        self.vocabulary, self.needed, self.vectors_nd = vocabulary, needed, vectors_nd
        self.tests, self.concepts, self.q = tests, concepts, q
        self.test_vectors = vectors_nd[torch.from_numpy(np.searchsorted(needed, tests)).to(vectors_nd.device)]
        self.normaliser = log_normaliser(self.test_vectors, vocabulary.vectors_md)
        self._shown: dict[int, np.ndarray] = {}
        self.concept_k, self.enrichment = None, None
        if concepts is not None:
            chosen_by = replace(concepts, members_nc=concepts.members_nc[np.flatnonzero(chooses_n)])
            self.place_n = np.cumsum(chooses_n) - 1
            sizes = chosen_by.sizes[concepts.is_leaf]
            self.concept_k = int(np.clip(np.median(sizes) if len(sizes) else LEAST_K, LEAST_K, MOST_K))
            self.enrichment = Enrichment(chosen_by, self.concept_k)
            self.members_cn = concepts.members_nc[tests].T.tocsr()
            own = [(name, at) for at, name in enumerate(concepts.names)]
            others = [(alias, concepts.position(name)) for name, more in concepts.aliases.items() for alias in more]
            self.concept_called: dict[str, int] = {}
            for name, at in own + others:
                self.concept_called.setdefault(name.removeprefix(f"{concepts.kinds[at]}:").casefold(), at)

    def label(self, index: Index, layer: str, pooling: str, lists_fk: np.ndarray) -> pd.DataFrame:
        dead = index.stats(layer, pooling)["dead"].to_numpy()
        lengths = (lists_fk >= 0).sum(1)
        live = np.flatnonzero(~dead & (lengths >= SHORTEST))
        ranks = Ranks(image_vectors(index, layer, self.tests))
        rows = [
            (f, WORDS, 1, None, np.nan, np.nan, np.nan, None, 0, "dead" if dead[f] else "short list")
            for f in np.flatnonzero(dead | (lengths < SHORTEST)).tolist()
        ]
        if len(live):
            rows += self._by_words(live, lists_fk[live], ranks)
            rows += self._by_concepts(live, lists_fk[live], lengths[live], ranks)
        names = ["feature", "source", "rank", "word", "score", "auc", "p", "tested_on", "images", "reason"]
        frame = pd.DataFrame(rows, columns=names).assign(layer=layer, pooling=pooling, q=np.nan)
        for _, part in frame[frame["p"].notna()].groupby(["source", "rank"]):
            frame.loc[part.index, "q"] = false_discovery_control(part["p"])
        frame["abstained"] = ~(frame["q"] <= self.q)
        frame.loc[frame["abstained"] & (frame["reason"] == ""), "reason"] = "not better than chance"
        order = ["feature", "source", "rank"]
        return frame.sort_values(order, ascending=[True, False, True], ignore_index=True)[list(COLUMNS)]

    def _by_words(self, live: np.ndarray, lists_fk: np.ndarray, ranks: Ranks) -> list[tuple]:
        places = np.where(lists_fk >= 0, np.searchsorted(self.needed, lists_fk), -1)
        lists = torch.from_numpy(places).to(self.vectors_nd.device)
        used, local = torch.unique(lists.clamp(min=0), return_inverse=True)
        local = torch.where(lists >= 0, local, -1)
        scores, which = best_words(self.vectors_nd[used], self.vocabulary.vectors_md, local, TOP)
        rows = []
        for feature, own_scores, own in zip(live.tolist(), scores.tolist(), which.tolist(), strict=True):
            for rank, (score, word) in enumerate(zip(own_scores, own, strict=True), start=1):
                name = self.vocabulary.words[word]
                images, tested_on = self._labelled(name), "labels"
                if images is None:
                    images, tested_on = self._shown_in(word), "scorer"
                rows.append((feature, WORDS, rank, name, score, *self._test(ranks, feature, images, tested_on)))
        return rows

    def _by_concepts(self, live: np.ndarray, lists_fk: np.ndarray, lengths: np.ndarray, ranks: Ranks) -> list[tuple]:
        if self.concepts is None or self.enrichment is None:
            return []
        long = lengths >= self.concept_k
        best = self.enrichment.best(self.place_n[lists_fk[long, : self.concept_k]])
        rows = []
        for feature, at, llr in zip(live[long].tolist(), best.concept_f.tolist(), best.llr_f.tolist(), strict=True):
            if at < 0:
                rows.append((feature, CONCEPTS, 1, None, llr, np.nan, np.nan, None, 0, "no concept"))
            else:
                tested = self._test(ranks, feature, self._images_of(at), "labels")
                rows.append((feature, CONCEPTS, 1, self.concepts.names[at], llr, *tested))
        return rows

    @staticmethod
    def _test(ranks: Ranks, feature: int, images: np.ndarray, tested_on: str) -> tuple:
        others = ranks.ranks_fn.shape[1] - len(images)
        if min(len(images), others) < LEAST_SHOWN:
            return np.nan, np.nan, tested_on, len(images), "too few test images"
        found = ranks.separate(feature, images)
        return found.auc, found.p, tested_on, len(images), ""

    def _images_of(self, concept: int) -> np.ndarray:
        """Places among the test images of a concept's."""
        return self.members_cn.indices[self.members_cn.indptr[concept] : self.members_cn.indptr[concept + 1]]

    def _labelled(self, word: str) -> np.ndarray | None:
        """Places of the images of the concept of that name, where there are enough."""
        at = self.concept_called.get(word.casefold()) if self.concepts is not None else None
        images = None if at is None else self._images_of(at)
        return images if images is not None and len(images) >= LEAST_SHOWN else None

    def _shown_in(self, word: int) -> np.ndarray:
        """Places of the images in which the scorer finds a word most, against all words."""
        if word not in self._shown:
            cosines = self.test_vectors.double() @ self.vocabulary.vectors_md[word].double()
            best = torch.topk(SHARPNESS * cosines - self.normaliser, SHOWN).indices
            self._shown[word] = best.cpu().numpy()
        return self._shown[word]
