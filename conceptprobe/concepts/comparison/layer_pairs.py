"""Which indices can be compared, and which of their layers stand at the same place."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from conceptprobe.concepts.errors import ContrastError
from conceptprobe.indexing import Index
from conceptprobe.indexing.storage.faiss_files import unit
from conceptprobe.indexing.storage.manifest import SourceEntry

DECODING = ("background", "fast_decode")
SAMPLE = 1024  # images that features are compared over


def check_comparable(indices: Sequence[Index], pooling: str | None = None) -> str:
    """Indices of the same images with lists of the same length, and the pooling that all have.

    Raises:
        ContrastError: There are fewer than two, or they differ in a way that would show as a difference of models.
    """
    if len(indices) < 2:
        raise ContrastError(f"{len(indices)} index given: a contrast needs two or more")
    first = indices[0]
    for other in indices[1:]:
        for what, own, its in (
            ("images", *(named(index.manifest.source) for index in (first, other))),
            *((key, *(str(getattr(index.manifest.source, key)) for index in (first, other))) for key in DECODING),
            ("k", str(first.manifest.k), str(other.manifest.k)),
        ):
            if own != its:
                raise ContrastError(
                    f"{first.path} and {other.path} differ in {what}: {own} and {its}. What is compared must be the "
                    "models alone: build both indices over the same images with the same k"
                )
        if not first.images["id"].equals(other.images["id"]):
            mine, its_own = set(first.images["id"]), set(other.images["id"])
            only = sorted(mine ^ its_own)
            raise ContrastError(
                f"{first.path} and {other.path} hold other images: {len(only)} are in one alone, such as "
                f"{', '.join(only[:3])} (see Index.skipped); build both where all images can be read"
            )
    shared = [p for p in first.manifest.pooling if all(p in i.manifest.pooling for i in indices)]
    if pooling is None and shared:
        return shared[0]
    if pooling not in shared:
        raise ContrastError(f"pooling {pooling!r}: the indices share {', '.join(shared) or 'none'}; build with it")
    return pooling


def named(source: SourceEntry) -> str:
    """An image source of a manifest, with enough of its fingerprint to tell it from others."""
    return f"{source.spec} ({source.fingerprint[:12]})"


def side_by_side(indices: Sequence[Index], given: Iterable[Sequence[str]] | None = None) -> tuple[tuple[str, ...], ...]:
    """The layers of several indices that are compared: by name where all have the same ones, else by their relative
    depth among the indexed layers, which must then be of one site, such as `blocks.{i}.mlp.hidden`.

    Args:
        indices: The indices.
        given: For each place the layer of each index, where they are to be others.

    Returns:
        For each place the layer of each index.

    Raises:
        ContrastError: A layer is not there, or the layers cannot be paired.
    """
    if given is not None:
        places = tuple(tuple(place) for place in given)
        for place in places:
            if len(place) != len(indices):
                raise ContrastError(
                    f"{' = '.join(place)}: {len(place)} layers for {len(indices)} indices; give one each"
                )
            for index, layer in zip(indices, place, strict=True):
                if layer not in index.layers:
                    raise ContrastError(f"{index.path} has no layer {layer!r}; it has {', '.join(index.layers)}")
        if not places:
            raise ContrastError("no layers to compare were given")
        return places
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
        tuple(index.layers[-(-(place + 1) * len(index.layers) // count) - 1] for index in indices)
        for place in range(count)
    )


def place_name(layers: Sequence[str]) -> str:
    """What the layers of one place are called together."""
    return layers[0] if len(set(layers)) == 1 else " | ".join(layers)


def site(layer: str) -> str:
    """A layer's name without the number of its block."""
    return re.sub(r"^blocks\.\d+\.", "blocks.*.", layer)


def feature_vectors(index: Index, layer: str, images: int = SAMPLE) -> np.ndarray:
    """Every feature's activations on the same images, centred and scaled to length one, float32 [f,n]: an inner product
    of two features is Pearson's r, of one model or of two over the same images. A feature that does not vary is zeros.

    Args:
        index: An index with vectors.
        layer: One of its layers.
        images: At most so many, chosen by the hash of their ids.

    Raises:
        IndexingError: The index was built without vectors.
        MissingFaissError: FAISS is not installed.
    """
    values_nf = index.activations(layer, index.sampled_rows(images))
    spans_f = np.ptp(values_nf, axis=0)
    return unit(np.where(spans_f > 0, values_nf - values_nf.mean(0), 0).T)
