"""Choosing the names of a layer's features on one half of the images, and testing them on the other."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import false_discovery_control
from torch import Tensor

from conceptprobe.concepts.naming.held_out import Halves, Ranks
from conceptprobe.concepts.naming.settings import SHORTEST
from conceptprobe.concepts.naming.soft_wpmi import SHARPNESS, best_words, log_normaliser
from conceptprobe.concepts.naming.vocabulary import Vocabulary
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.enrichment import Enrichment
from conceptprobe.indexing import Index

WORDS, CONCEPTS = "words", "concepts"
TOP_WORDS = 5
MIN_CONCEPT_K, MAX_CONCEPT_K = 8, 20
SCORER_IMAGES = 20  # test images that stand for a word without labelled ones
MIN_IMAGES = 2
COLUMNS = (
    "layer", "feature", "pooling", "source", "rank", "word", "score", "auc", "p", "q", "abstained", "tested_on",
    "images", "reason",
)  # fmt: skip


class Name(NamedTuple):
    """A row of `FeatureNames.frame`, before q-values are known."""

    feature: int
    source: str
    rank: int
    word: str | None
    score: float = np.nan
    auc: float = np.nan
    p: float = np.nan
    tested_on: str | None = None
    images: int = 0
    reason: str = ""


class Namer:
    """Chooses and tests the names of a layer's features.

    Args:
        vocabulary: The words in the scorer's space.
        halves: Which images choose names and which test them.
        rows: Rows of the images whose embeddings are known, ascending.
        vectors_nd: The embeddings of these images, of length one.
        concepts: The concepts over all images, or None to name by words alone.
        q: The false discovery rate of names.
    """

    def __init__(
        self, vocabulary: Vocabulary, halves: Halves, rows: np.ndarray, vectors_nd: Tensor,
        concepts: ConceptSet | None, q: float,
    ) -> None:  # fmt: skip
        self.vocabulary, self.rows, self.vectors_nd = vocabulary, rows, vectors_nd
        self.tests, self.concepts, self.q = halves.tests, concepts, q
        self.test_vectors = vectors_nd[torch.from_numpy(np.searchsorted(rows, self.tests)).to(vectors_nd.device)]
        self.normaliser = log_normaliser(self.test_vectors, vocabulary.vectors_md)
        self._scorer_images: dict[int, np.ndarray] = {}
        self.concept_k, self.enrichment = None, None
        if concepts is not None:
            choosing = replace(concepts, members_nc=concepts.members_nc[np.flatnonzero(halves.chooses_n)])
            self.choosing_row_n = np.cumsum(halves.chooses_n) - 1
            sizes = choosing.sizes[concepts.is_leaf]
            median = np.median(sizes) if len(sizes) else MIN_CONCEPT_K
            self.concept_k = int(np.clip(median, MIN_CONCEPT_K, MAX_CONCEPT_K))
            self.enrichment = Enrichment(choosing, self.concept_k)
            self.members_cn = concepts.members_nc[self.tests].T.tocsr()
            names = [(name, at) for at, name in enumerate(concepts.names)]
            aliases = [(alias, concepts.position(name)) for name, more in concepts.aliases.items() for alias in more]
            self.concept_of_word: dict[str, int] = {}
            for name, at in names + aliases:
                self.concept_of_word.setdefault(name.removeprefix(f"{concepts.kinds[at]}:").casefold(), at)

    def label(self, index: Index, layer: str, pooling: str, lists_fk: np.ndarray) -> pd.DataFrame:
        """The rows of `FeatureNames.frame` for a layer.

        Args:
            index: An index with vectors.
            layer: One of its layers.
            pooling: The pooling of its vectors.
            lists_fk: The top images of each feature in the choosing half, int64 [f,k]; -1 past the end.
        """
        dead = index.stats(layer, pooling)["dead"].to_numpy()
        lengths = (lists_fk >= 0).sum(1)
        live = np.flatnonzero(~dead & (lengths >= SHORTEST))
        ranks = Ranks(index.activations(layer, self.tests))
        names = [
            Name(feature, WORDS, 1, None, reason="dead" if dead[feature] else "short list")
            for feature in np.flatnonzero(dead | (lengths < SHORTEST)).tolist()
        ]
        if len(live):
            names += self._name_by_words(live, lists_fk[live], ranks)
            names += self._name_by_concepts(live, lists_fk[live], lengths[live], ranks)
        frame = pd.DataFrame(names, columns=Name._fields).assign(layer=layer, pooling=pooling, q=np.nan)
        for _, part in frame[frame["p"].notna()].groupby(["source", "rank"]):
            frame.loc[part.index, "q"] = false_discovery_control(part["p"])
        frame["abstained"] = ~(frame["q"] <= self.q)
        frame.loc[frame["abstained"] & (frame["reason"] == ""), "reason"] = "not better than chance"
        order = ["feature", "source", "rank"]
        return frame.sort_values(order, ascending=[True, False, True], ignore_index=True)[list(COLUMNS)]

    def _name_by_words(self, live: np.ndarray, lists_fk: np.ndarray, ranks: Ranks) -> Iterator[Name]:
        positions = np.where(lists_fk >= 0, np.searchsorted(self.rows, lists_fk), -1)
        lists = torch.from_numpy(positions).to(self.vectors_nd.device)
        used, local = torch.unique(lists.clamp(min=0), return_inverse=True)
        local = torch.where(lists >= 0, local, -1)
        scores_ft, words_ft = best_words(self.vectors_nd[used], self.vocabulary.vectors_md, local, TOP_WORDS)
        for feature, scores, words in zip(live.tolist(), scores_ft.tolist(), words_ft.tolist(), strict=True):
            for rank, (score, word) in enumerate(zip(scores, words, strict=True), start=1):
                text = self.vocabulary.words[word]
                images, tested_on = self._labelled_images(text), "labels"
                if images is None:
                    images, tested_on = self._best_images(word), "scorer"
                yield self._test(Name(feature, WORDS, rank, text, score, tested_on=tested_on), images, ranks)

    def _name_by_concepts(
        self, live: np.ndarray, lists_fk: np.ndarray, lengths: np.ndarray, ranks: Ranks
    ) -> Iterator[Name]:
        if self.concepts is None or self.enrichment is None:
            return
        long = lengths >= self.concept_k
        best = self.enrichment.best(self.choosing_row_n[lists_fk[long, : self.concept_k]])
        for feature, at, llr in zip(live[long].tolist(), best.concept_f.tolist(), best.llr_f.tolist(), strict=True):
            if at < 0:
                yield Name(feature, CONCEPTS, 1, None, llr, reason="no concept")
            else:
                name = Name(feature, CONCEPTS, 1, self.concepts.names[at], llr, tested_on="labels")
                yield self._test(name, self._concept_images(at), ranks)

    @staticmethod
    def _test(name: Name, images: np.ndarray, ranks: Ranks) -> Name:
        others = ranks.ranks_fn.shape[1] - len(images)
        if min(len(images), others) < MIN_IMAGES:
            return name._replace(images=len(images), reason="too few test images")
        separation = ranks.separate(name.feature, images)
        return name._replace(auc=separation.auc, p=separation.p, images=len(images))

    def _concept_images(self, concept: int) -> np.ndarray:
        """Positions of a concept's images among the test images."""
        images: np.ndarray = self.members_cn.indices[
            self.members_cn.indptr[concept] : self.members_cn.indptr[concept + 1]
        ]
        return images

    def _labelled_images(self, word: str) -> np.ndarray | None:
        """The test images of the concept of that name, where there are enough."""
        at = self.concept_of_word.get(word.casefold()) if self.concepts is not None else None
        images = None if at is None else self._concept_images(at)
        return images if images is not None and len(images) >= MIN_IMAGES else None

    def _best_images(self, word: int) -> np.ndarray:
        """The test images that the scorer finds most like a word, compared with all words."""
        if word not in self._scorer_images:
            cosines = self.test_vectors.double() @ self.vocabulary.vectors_md[word].double()
            best = torch.topk(SHARPNESS * cosines - self.normaliser, SCORER_IMAGES).indices
            self._scorer_images[word] = best.cpu().numpy()
        return self._scorer_images[word]
