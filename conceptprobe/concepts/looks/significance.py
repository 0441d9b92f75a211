"""Whether a feature's images share a concept only because they look alike."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.looks.descriptors import describe_images
from conceptprobe.concepts.looks.look_alikes import LookAlikes, draw_look_alikes
from conceptprobe.concepts.looks.predicted import VisualNull
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.coherence import mean_cosine
from conceptprobe.concepts.statistics.enrichment import Best, Enrichment
from conceptprobe.concepts.statistics.nulls import TOLERANCE
from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource
from conceptprobe.indexing import Index
from conceptprobe.indexing.source import source_of
from conceptprobe.indexing.storage.faiss_files import unit

MOST_IMAGES = 100_000
MATCHES = 1_000
LISTS = 20_000
DRAWS = 1_000
SORTS = 2


@dataclass(frozen=True, eq=False)
class Bank:
    """Lists of images that look alike, with the best concept of each."""

    descriptors_nv: np.ndarray
    look_alikes: LookAlikes
    best: Best


@dataclass(frozen=True, eq=False)
class Looks:
    """How an index's features are held against what its images look like.

    Attributes:
        how: In words; or why they are not.
        predicted: The null where the activations of all images are known.
        bank: The null where only the lists are.
    """

    how: str
    predicted: VisualNull | None = None
    bank: Bank | None = None

    def p_values(
        self,
        index: Index,
        layer: str,
        lists_fk: np.ndarray,
        best: Best,
        enrichment: Enrichment,
        asked_f: np.ndarray,
        rng: Generator,
    ) -> np.ndarray:
        """p-values of the features asked about, float64 [f]; NaN for the others."""
        result = np.full(len(lists_fk), np.nan)
        asked = np.flatnonzero(asked_f)
        if not len(asked):
            return result
        if self.predicted is not None:
            acts_nf = np.concatenate([acts_bf[:, asked] for acts_bf in index.activation_blocks(layer)])
            compared = self.predicted.compare(acts_nf, lists_fk[asked], enrichment.best_llr, rng, draws=DRAWS)
            result[asked] = compared.p_f
        elif self.bank is not None:
            result[asked] = p_look_alike(
                Best(best.concept_f[asked], best.hits_f[asked], best.llr_f[asked]),
                mean_cosine(self.bank.descriptors_nv, lists_fk[asked]),
                self.bank.look_alikes, self.bank.best, enrichment.concepts,
            )  # fmt: skip
        return result


def look_at(
    index: Index,
    concepts: ConceptSet,
    *,
    k: int,
    pooling: str,
    visual: np.ndarray | str | None,
    images: ImageSource | None,
    seed: int,
    progress: bool,
) -> Looks:
    """Choose and prepare the null; see `score_features`."""
    if visual is None:
        return Looks("left out on demand")
    if isinstance(visual, str):
        if visual != "auto":
            raise ConceptError(f"visual is {visual!r}: it must be 'auto', None, or an array with a row an image")
        try:
            descriptors_nv = describe_images(source_of(index, images), progress=progress)
        except ConceptProbeError as error:
            if images is not None:
                raise
            return Looks(f"left out, as the images cannot be read: {error}")
        what = "colours and gradients"
    else:
        if visual.ndim != 2 or len(visual) != len(index.images) or not np.isfinite(visual).all():
            raise ConceptError(
                f"visual has shape {visual.shape}: it must be finite, with {len(index.images)} rows, one an image"
            )
        descriptors_nv, what = unit(np.asarray(visual, np.float32)), "descriptors that were given"
    if index.keeps_activations(pooling) and len(index.images) <= MOST_IMAGES:
        return Looks(f"activations predicted from {what}", predicted=VisualNull(descriptors_nv, seed=seed))
    rng = np.random.default_rng([seed, k])
    rows = np.arange(len(index.images))
    if len(rows) > MOST_IMAGES:
        rows = np.sort(rng.choice(len(rows), MOST_IMAGES, replace=False))
    sampled = draw_look_alikes(descriptors_nv[rows], k, LISTS, rng)
    look_alikes = LookAlikes(rows[sampled.rows_dk], sampled.coherence_d)
    best = Enrichment(concepts, k).best(look_alikes.rows_dk)
    return Looks(f"lists alike in {what}", bank=Bank(descriptors_nv, look_alikes, best))


def p_look_alike(
    best: Best, coherence_f: np.ndarray, look_alikes: LookAlikes, drawn: Best, concepts: ConceptSet
) -> np.ndarray:
    """p-values against lists of images that look as much alike as a feature's own, float64 [f].

    A match counts as no weaker when its best concept is of the same sort, at leaf level or broader, with a ratio at
    least as large. The sort is the feature's own, so the share of such matches is doubled for the two sorts.

    Args:
        best: The best concepts of the features.
        coherence_f: How much alike the features' images look, by `mean_cosine` of the same descriptors.
        look_alikes: Lists of the same length.
        drawn: The best concepts of these.
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
