"""Soft weighted pointwise mutual information between a feature's top images and words (CLIP-Dissect, Oikarinen and
Weng 2023).

For image i and word c, P_ic = softmax over words of 10 cos(i, c). Image i at rank r of a feature's list of k is in the
feature's set of images with probability p_r = 0.998 - (0.998 - 0.97) r / k, and S_fc = sum_r log(1 + p_r (P_ic - 1)):
how likely the word is given the images. What a word scores with all features alike says nothing of one of them, so it
is taken away: score_fc = S_fc - (logsumexp_f S_fc - log F). The authors' code adds 1e-7 to what the logarithm takes,
and so does this.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

MAX_LIST = 100
SHARPNESS = 10.0
FIRST, LAST = 0.998, 0.97
LEAST = 1e-7
CELLS = 2**24  # of float64 at once: 128 MiB


def log_normaliser(images_nd: Tensor, words_md: Tensor) -> Tensor:
    """log sum over words of exp(10 cos), float64 [n]; a softmax over all words without a row of n x m at once."""
    step = max(1, CELLS // len(words_md))
    parts = [torch.logsumexp(SHARPNESS * (part.double() @ words_md.double().T), 1) for part in images_nd.split(step)]
    return torch.cat(parts)


def soft_wpmi(images_nd: Tensor, words_md: Tensor, lists_fk: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Scores of a few words at a time, for every feature.

    Memory grows with the images that are in some list, not with words times images.

    Args:
        images_nd: Embeddings of length one of the images in the lists.
        words_md: Embeddings of length one of the words.
        lists_fk: Rows of `images_nd`, best first, int64 with k <= 100; -1 past the end of a list. An empty list scores
            0 before what all features share is taken away.

    Yields:
        Which words, and their scores float64 [f,words]; higher is better.
    """
    k = lists_fk.shape[1]
    assert k <= MAX_LIST, f"lists of {k}: the product of as many probabilities would underflow"
    normaliser = log_normaliser(images_nd, words_md)
    lengths = (lists_fk >= 0).sum(1)
    step = max(1, CELLS // max(len(images_nd), len(lists_fk)))
    for start in range(0, len(words_md), step):
        words = words_md[start : start + step].double()
        prob_nm = torch.exp(SHARPNESS * (images_nd.double() @ words.T) - normaliser[:, None])
        likelihood_fm = prob_nm.new_ones(len(lists_fk), len(words))
        for rank in range(k):
            here = lists_fk[:, rank] >= 0
            p = FIRST - (FIRST - LAST) * rank / lengths[here, None].double()
            likelihood_fm[here] *= 1 + p * (prob_nm[lists_fk[here, rank]] - 1) + LEAST
        scores_fm = likelihood_fm.log()
        yield slice(start, start + len(words)), scores_fm - (scores_fm.logsumexp(0) - math.log(len(lists_fk)))


def best_words(images_nd: Tensor, words_md: Tensor, lists_fk: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The `top` words of every feature by `soft_wpmi`, best first: scores float64 [f,top] and positions int64."""
    best = images_nd.new_empty(len(lists_fk), 0, dtype=torch.float64)
    which = lists_fk.new_empty(len(lists_fk), 0)
    for words, scores_fm in soft_wpmi(images_nd, words_md, lists_fk):
        joined = torch.cat([best, scores_fm], 1)
        place = torch.arange(words.start, words.stop, device=which.device).expand(len(lists_fk), -1)
        order = torch.sort(joined, dim=1, descending=True, stable=True).indices[:, :top]
        best, which = joined.gather(1, order), torch.cat([which, place], 1).gather(1, order)
    return best, which
