"""Whether a feature's images share a concept only because they look alike."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.looks.descriptors import describe_images
from conceptprobe.concepts.looks.look_alikes import LookAlikes, draw_look_alikes
from conceptprobe.concepts.looks.method import ALIKE, PREDICTED, LooksMethod
from conceptprobe.concepts.looks.predicted import VisualNull
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.coherence import mean_cosine
from conceptprobe.concepts.statistics.enrichment import Best, Enrichment
from conceptprobe.concepts.statistics.nulls import TOLERANCE
from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource
from conceptprobe.indexing import Index
from conceptprobe.indexing.activations import activations_of
from conceptprobe.indexing.source import source_of
from conceptprobe.indexing.storage.faiss_files import unit

MOST_IMAGES = 100_000
MATCHES = 1_000
LISTS = 20_000
DRAWS = 1_000
SORTS = 2


@dataclass(frozen=True, eq=False)
class Bank:
    """Lists of images that look alike, with the best concept of each.

    Attributes:
        descriptors_nv: What images look like, rows of length one, float32 [n,v].
        look_alikes: The lists.
        best: The best concept of each list.
    """

    descriptors_nv: np.ndarray
    look_alikes: LookAlikes
    best: Best


@dataclass(frozen=True, eq=False)
class LooksTest:
    """The test of an index's features against what its images look like; made by `prepare_looks_test`.

    Attributes:
        index: The index.
        method: How looks are tested, or why they are not.
        predicted: The null distribution where the activations of all images are known.
        bank: The null distribution where only the lists are.
    """

    index: Index
    method: LooksMethod
    predicted: VisualNull | None = None
    bank: Bank | None = None

    def p_values(
        self,
        layer: str,
        lists_fk: np.ndarray,
        best: Best,
        enrichment: Enrichment,
        chosen_f: np.ndarray,
        rng: Generator,
    ) -> np.ndarray:
        """p-values of some features of a layer, float64 [f]; NaN for the others, and where looks are not tested.

        Args:
            layer: The layer's name.
            lists_fk: Top lists of the layer's features, int64 [f,k].
            best: The best concept of each list.
            enrichment: The statistic of the test, for lists of k images.
            chosen_f: Which features to test, bool [f].
            rng: The generator of the draws.
        """
        result = np.full(len(lists_fk), np.nan)
        chosen = np.flatnonzero(chosen_f)
        if not len(chosen):
            return result
        if self.predicted is not None:
            acts_nf = np.concatenate([acts_bf[:, chosen] for acts_bf in activations_of(self.index, layer)])
            compared = self.predicted.compare(acts_nf, lists_fk[chosen], enrichment.best_llr, rng, draws=DRAWS)
            result[chosen] = compared.p_f
        elif self.bank is not None:
            result[chosen] = p_look_alike(
                Best(best.concept_f[chosen], best.hits_f[chosen], best.llr_f[chosen]),
                mean_cosine(self.bank.descriptors_nv, lists_fk[chosen]),
                self.bank.look_alikes, self.bank.best, enrichment.concepts,
            )  # fmt: skip
        return result


def prepare_looks_test(
    index: Index,
    concepts: ConceptSet,
    visual: np.ndarray | str | None,
    *,
    k: int,
    pooling: str,
    images: ImageSource | None,
    seed: int,
    progress: bool,
) -> LooksTest:
    """Choose and prepare the null distribution of looks.

    Args:
        index: The index.
        concepts: The concepts over its images.
        visual: `auto`, an array with a row for each image, or None; see `score_features`.
        k: Length of the lists.
        pooling: The pooling whose lists are tested.
        images: The images, if not those that the index names.
        seed: Seed of the draws.
        progress: Whether to show a bar on stderr.

    Raises:
        ConceptError: visual is none of these.
        ConceptProbeError: The images that the user gave cannot be read.
    """
    if visual is None:
        return LooksTest(index, LooksMethod(reason="off"))
    if isinstance(visual, str):
        if visual != "auto":
            raise ConceptError(f"visual is {visual!r}: it must be 'auto', None, or an array with a row for each image")
        try:
            descriptors_nv = describe_images(source_of(index, images), progress=progress)
        except ConceptProbeError as error:
            if images is not None:
                raise
            return LooksTest(index, LooksMethod(reason="unreadable", error=str(error)))
    else:
        if visual.ndim != 2 or len(visual) != len(index.images) or not np.isfinite(visual).all():
            raise ConceptError(
                f"visual has shape {visual.shape}: it must be finite, with {len(index.images)} rows, one for each image"
            )
        descriptors_nv = unit(np.asarray(visual, np.float32))
    space: Literal["default", "array"] = "default" if isinstance(visual, str) else "array"
    if index.manifest.vectors and pooling == index.manifest.pooling[0] and len(index.images) <= MOST_IMAGES:
        null = VisualNull(descriptors_nv, seed=seed)
        return LooksTest(index, LooksMethod(PREDICTED, space), predicted=null)
    rng = np.random.default_rng([seed, k])
    rows = np.arange(len(index.images))
    if len(rows) > MOST_IMAGES:
        rows = np.sort(rng.choice(len(rows), MOST_IMAGES, replace=False))
    sampled = draw_look_alikes(descriptors_nv[rows], k, LISTS, rng)
    look_alikes = LookAlikes(rows[sampled.rows_dk], sampled.coherence_d)
    best = Enrichment(concepts, k).best(look_alikes.rows_dk)
    return LooksTest(index, LooksMethod(ALIKE, space), bank=Bank(descriptors_nv, look_alikes, best))


def p_look_alike(
    best: Best, coherence_f: np.ndarray, look_alikes: LookAlikes, drawn: Best, concepts: ConceptSet
) -> np.ndarray:
    """p-values against lists of images that look as much alike as a feature's images do, float64 [f].

    A match counts as no weaker when its best concept is of the same sort, at leaf level or broader, with a ratio at
    least as large. The sort is that of the feature's concept, so the share of such matches is doubled for the two
    sorts.

    Args:
        best: The best concepts of the features.
        coherence_f: How much alike the features' images look, by `mean_cosine` of the same descriptors.
        look_alikes: Lists of the same length.
        drawn: The best concepts of these lists.
        concepts: The concepts of both.
    """
    first_f = look_alikes.matched(coherence_f, MATCHES)
    matches = min(MATCHES, len(look_alikes))
    at_leaf_level = np.append(concepts.at_leaf_level, False)
    leaf_d = at_leaf_level[drawn.concept_f]
    result = np.empty(len(coherence_f))
    for feature, (first, llr) in enumerate(zip(first_f.tolist(), best.llr_f.tolist(), strict=True)):
        matched = slice(first, first + matches)
        same_sort = leaf_d[matched] == at_leaf_level[best.concept_f[feature]]
        result[feature] = (1 + np.sum(same_sort & (drawn.llr_f[matched] >= llr - TOLERANCE))) / (1 + matches)
    return np.minimum(1, SORTS * result)
