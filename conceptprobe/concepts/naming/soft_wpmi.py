"""Soft weighted pointwise mutual information between a feature's top images and words.

This is the score of CLIP-Dissect (Oikarinen and Weng 2023). For image i and word c, P_ic = softmax over words of
10 cos(i, c). Image i at rank r of a feature's list of k belongs to the feature with probability
p_r = 0.998 - (0.998 - 0.97) r / k. S_fc = sum_r log(1 + p_r (P_ic - 1)) says how likely the word is for these images. A
score that a word has with all features says nothing about one of them, so it is subtracted:
score_fc = S_fc - (logsumexp_f S_fc - log F). Like the authors' code, this adds 1e-7 to the argument of the logarithm.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

MAX_LIST = 100
SHARPNESS = 10.0
FIRST, LAST = 0.998, 0.97
LEAST = 1e-7
CELLS = 2**24  # float64 values at once: 128 MiB


def log_normaliser(images_nd: Tensor, words_md: Tensor) -> Tensor:
    """The logarithm of the sum of exp(10 cos) over words, float64 [n]; computed without an array of n x m."""
    step = max(1, CELLS // len(words_md))
    chunks = (images_nd[start : start + step] for start in range(0, len(images_nd), step))
    return torch.cat([torch.logsumexp(SHARPNESS * (chunk.double() @ words_md.double().T), 1) for chunk in chunks])


def soft_wpmi(images_nd: Tensor, words_md: Tensor, lists_fk: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Score a few words at a time for every feature.

    Memory grows with the number of images that are in some list, and not with words times images.

    Args:
        images_nd: Embeddings of length one of the images in the lists.
        words_md: Embeddings of length one of the words.
        lists_fk: Rows of `images_nd`, best first, int64 with k <= 100; -1 past the end of a list. An empty list scores
            0 before the score that all features share is subtracted.

    Yields:
        Which words, and their scores, float64 [f,words]; higher is better.
    """
    k = lists_fk.shape[1]
    assert k <= MAX_LIST, f"lists of {k}: the product of so many probabilities would underflow"
    normaliser = log_normaliser(images_nd, words_md)
    lengths = (lists_fk >= 0).sum(1)
    step = max(1, CELLS // max(len(images_nd), len(lists_fk)))
    for start in range(0, len(words_md), step):
        words = words_md[start : start + step].double()
        prob_nm = torch.exp(SHARPNESS * (images_nd.double() @ words.T) - normaliser[:, None])
        likelihood_fm = prob_nm.new_ones(len(lists_fk), len(words))
        for rank in range(k):
            filled = lists_fk[:, rank] >= 0
            p = FIRST - (FIRST - LAST) * rank / lengths[filled, None].double()
            likelihood_fm[filled] *= 1 + p * (prob_nm[lists_fk[filled, rank]] - 1) + LEAST
        scores_fm = likelihood_fm.log()
        yield slice(start, start + len(words)), scores_fm - (scores_fm.logsumexp(0) - math.log(len(lists_fk)))


def best_words(images_nd: Tensor, words_md: Tensor, lists_fk: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The `top` words of every feature by `soft_wpmi`, best first: scores float64 [f,top] and positions int64."""
    best = images_nd.new_empty(len(lists_fk), 0, dtype=torch.float64)
    which = lists_fk.new_empty(len(lists_fk), 0)
    for words, scores_fm in soft_wpmi(images_nd, words_md, lists_fk):
        joined = torch.cat([best, scores_fm], 1)
        numbers = torch.arange(words.start, words.stop, device=which.device).expand(len(lists_fk), -1)
        order = torch.sort(joined, dim=1, descending=True, stable=True).indices[:, :top]
        best, which = joined.gather(1, order), torch.cat([which, numbers], 1).gather(1, order)
    return best, which
