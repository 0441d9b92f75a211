"""Which indices can be compared, and which of their layers are compared with each other."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from conceptprobe.concepts.errors import ContrastError
from conceptprobe.indexing import Index
from conceptprobe.indexing.storage.faiss_files import unit
from conceptprobe.indexing.storage.manifest import SourceEntry

DECODING = ("background", "fast_decode")
SAMPLE = 1024  # images over which features are compared


def check_comparable(indices: Sequence[Index], pooling: str | None = None) -> str:
    """Check that indices are of the same images with lists of the same length, and choose a pooling that all have.

    Raises:
        ContrastError: There are fewer than two, or they differ in a way that would show as a difference of models.
    """
    if len(indices) < 2:
        raise ContrastError(f"{len(indices)} index was given: a contrast needs two or more")
    first = indices[0]
    for other in indices[1:]:
        for what, ours, theirs in (
            ("images", *(source_name(index.manifest.source) for index in (first, other))),
            *((key, *(str(getattr(index.manifest.source, key)) for index in (first, other))) for key in DECODING),
            ("k", str(first.manifest.k), str(other.manifest.k)),
        ):
            if ours != theirs:
                raise ContrastError(
                    f"{first.path} and {other.path} differ in {what}: {ours} and {theirs}. Only the models may differ: "
                    "build both indices over the same images with the same k"
                )
        if not first.images["id"].equals(other.images["id"]):
            different = sorted(set(first.images["id"]) ^ set(other.images["id"]))
            raise ContrastError(
                f"{first.path} and {other.path} hold different images: {len(different)} are in only one of them, such "
                f"as {', '.join(different[:3])} (see Index.skipped); build both where all images can be read"
            )
    shared = [p for p in first.manifest.pooling if all(p in i.manifest.pooling for i in indices)]
    if pooling is None and shared:
        return shared[0]
    if pooling not in shared:
        raise ContrastError(
            f"pooling is {pooling!r}, but the indices share {', '.join(shared) or 'none'}: give a shared one, or build "
            "the indices with it"
        )
    return pooling


def source_name(source: SourceEntry) -> str:
    """An image source of a manifest, with enough of its fingerprint to tell it from others."""
    return f"{source.spec} ({source.fingerprint[:12]})"


def pair_layers(indices: Sequence[Index], pairs: Iterable[Sequence[str]] | None = None) -> tuple[tuple[str, ...], ...]:
    """Find the layers of several indices that are compared with each other.

    Layers of the same name are compared where all indices have the same layers. Otherwise layers are compared that are
    at the same relative depth among the indexed ones; they must then be of one site, such as `blocks.{i}.mlp.hidden`.

    Args:
        indices: The indices.
        pairs: The layers that a user wants compared, one of each index in each tuple.

    Returns:
        One layer of each index in each tuple.

    Raises:
        ContrastError: An index lacks a layer, or the layers cannot be paired.
    """
    if pairs is not None:
        chosen = tuple(tuple(pair) for pair in pairs)
        for pair in chosen:
            if len(pair) != len(indices):
                raise ContrastError(
                    f"the pair {'='.join(pair)!r} has {len(pair)} layers for {len(indices)} indices: give one of each"
                )
            for index, layer in zip(indices, pair, strict=True):
                if layer not in index.layers:
                    raise ContrastError(f"{index.path} has no layer {layer!r}; it has {', '.join(index.layers)}")
        if not chosen:
            raise ContrastError("pairs is empty: give at least one pair of layers, or leave pairs out")
        return chosen
    if all(set(index.layers) == set(indices[0].layers) for index in indices):
        return tuple((layer,) * len(indices) for layer in indices[0].layers)
    if len({site(layer) for index in indices for layer in index.layers}) > 1:
        has = "; ".join(f"{index.path} has {', '.join(index.layers)}" for index in indices)
        raise ContrastError(
            f"the layers do not pair: {has}. Say which belong together with pairs=[(LAYER_A, LAYER_B), ...], on the "
            "command line --pair LAYER_A=LAYER_B"
        )
    count = min(len(index.layers) for index in indices)
    return tuple(
        tuple(index.layers[-(-(number + 1) * len(index.layers) // count) - 1] for index in indices)
        for number in range(count)
    )


def pair_name(pair: Sequence[str]) -> str:
    """One name for layers that are compared: `a | b` where their names differ."""
    return pair[0] if len(set(pair)) == 1 else " | ".join(pair)


def site(layer: str) -> str:
    """A layer's name without the number of its block."""
    return re.sub(r"^blocks\.\d+\.", "blocks.*.", layer)


def feature_vectors(index: Index, layer: str, images: int = SAMPLE) -> np.ndarray:
    """Every feature's activations on the same images, centred and scaled to length one, float32 [f,n].

    An inner product of two such vectors is Pearson's r, for features of one model or of two models over the same
    images. The vector of a feature that does not vary is zero.

    Args:
        index: An index with vectors.
        layer: One of its layers.
        images: The largest number of images; they are chosen by the hash of their ids.

    Raises:
        IndexingError: The index was built without vectors.
        MissingFaissError: FAISS is not installed.
    """
    values_nf = index.activations(layer, index.sampled_rows(images))
    spans_f = np.ptp(values_nf, axis=0)
    return unit(np.where(spans_f > 0, values_nf - values_nf.mean(0), 0).T)
