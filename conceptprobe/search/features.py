"""Find features by what their top images show: by a text, an image or another feature, in one index or in several.

A scorer, a model that embeds images and mostly also texts, looks at the 10 best images of every feature. How similar
such an image is to the query is standardised over all of them, z; a feature scores log(mean exp(2 z)) / 2 over its own,
so that two or three images that match clearly count more than ten that match a little. docs/names.md compares this with
cosines of mean embeddings.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from PIL.Image import Image

from conceptprobe.feature import FeatureId
from conceptprobe.images import ImagesLike, ImageSource, as_images
from conceptprobe.images.decode import decode_image, parse_background
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index, IndexLike, as_index, check_k
from conceptprobe.indexing.model import model_of
from conceptprobe.indexing.source import source_of
from conceptprobe.models import ModelError, ModelLike, VisionModel, as_model
from conceptprobe.search.embeddings import CACHE, embed_images

LIST = 10
SHARPNESS = 2.0
WHOLE = 65_536  # a source of no more images is embedded whole, and kept for every later question


@dataclass(frozen=True, eq=False)
class _Lists:
    """What a scorer sees in the top images of an index's features.

    Attributes:
        features: layer and feature of those that have top images and are not dead.
        places_fk: Which of the images, best first, int64 [f,k]; -1 past the end.
        vectors_nd: The images' embeddings of length one, float32.
        source: Where they are from.
    """

    features: pd.DataFrame
    places_fk: np.ndarray
    vectors_nd: np.ndarray
    source: ImageSource


def find_features(
    indices: IndexLike | Sequence[IndexLike],
    *,
    text: str | None = None,
    image: str | Image | None = None,
    feature: FeatureId | str | None = None,
    scorer: ModelLike | None = None,
    layers: str | Sequence[str] | None = None,
    pooling: str | None = None,
    k: int = 10,
    images: ImagesLike | None = None,
    cache: str | os.PathLike[str] | None = CACHE,
    progress: bool = False,
) -> pd.DataFrame:
    """The features whose top images are most like a text, an image or another feature's, by a scorer.

    Args:
        indices: One or several, of any models and images.
        text: Asked of the scorer as it is.
        image: The id of an image of the first index, or an image.
        feature: One of the first index; it is not found itself.
        scorer: A model with an embedding, and for a text one that reads text. By default the model of the index.
        layers: Only features of these; by default of all.
        pooling: Whose lists; by default each index's first.
        k: How many.
        images: Where the images of the indices are now, if not where they were built from.
        cache: Where embeddings are kept; None keeps none.
        progress: Show bars on stderr.

    Returns:
        One row a feature, best first: index (which of `indices`), model, layer, feature, score (in standard deviations;
        lists of images that have nothing to do with the query score about 1).

    Raises:
        IndexingError: None or several of text, image and feature were given; the images of an index are gone; or the
            scorer is needed and not given.
        ModelError: The scorer embeds no images.
    """
    listed = (indices,) if isinstance(indices, Index | str | os.PathLike) else tuple(indices)
    indices = tuple(as_index(index) for index in listed)
    scorer = None if scorer is None else as_model(scorer)
    images = None if images is None else as_images(images)
    if not indices or sum(query is not None for query in (text, image, feature)) != 1:
        raise IndexingError("give at least one index, and one of text, image and feature")
    check_k(k)
    query = FeatureId.parse(feature) if feature is not None else None
    if query is not None:
        indices[0].top(query, 1, pooling)
    wanted = (layers,) if isinstance(layers, str) else layers
    if wanted is not None and (unknown := [name for name in wanted if not any(name in i.layers for i in indices)]):
        raise IndexingError(f"no index has a layer {unknown[0]!r}; the first has {', '.join(indices[0].layers)}")
    scorer = _model_of(indices) if scorer is None else scorer
    query_d = None if text is None else _embed_text(scorer, text)  # refuses what it cannot read before images are
    lists = [_embed_lists(index, scorer, pooling, images=images, cache=cache, progress=progress) for index in indices]
    first, itself = lists[0], None
    if query is not None:
        itself = np.flatnonzero((first.features["layer"] == query.layer) & (first.features["feature"] == query.index))
        if not len(itself):
            raise IndexingError(f"{query} is dead or has no top images: nothing can be compared with it")
        places = first.places_fk[itself[0]]
        query_d = first.vectors_nd[places[places >= 0]].mean(0) - first.vectors_nd.mean(0)
    elif image is not None:
        query_d = _embed_image(scorer, image, indices[0], first.source, cache) - first.vectors_nd.mean(0)
    similar = [own.vectors_nd @ query_d for own in lists]
    every = np.concatenate(similar).astype(np.float64)
    frames = []
    for number, (index, own, similar_n) in enumerate(zip(indices, lists, similar, strict=True)):
        z = (similar_n - every.mean()) / (every.std() or 1)
        matches = np.where(own.places_fk >= 0, np.exp(SHARPNESS * z)[own.places_fk], 0).sum(1)
        frame = own.features.assign(score=np.log(matches / (own.places_fk >= 0).sum(1)) / SHARPNESS)
        frame.insert(0, "model", index.manifest.model.spec)
        frame.insert(0, "index", number)
        if itself is not None and own is first:
            frame = frame.drop(index=itself)
        frames.append(frame if wanted is None else frame[frame["layer"].isin(wanted)])
    # a stable sort keeps equal scores in the order of the indices and their features
    return pd.concat(frames).sort_values("score", ascending=False, kind="stable", ignore_index=True).head(k)


def embed_needed(
    scorer: VisionModel, source: ImageSource, rows: np.ndarray, *, cache: str | os.PathLike[str] | None,
    progress: bool = False,
) -> np.ndarray:  # fmt: skip
    """Embeddings of some images of a source, float32 [n,d], of length one; see `embed_images`."""
    if len(source) <= WHOLE:
        result: np.ndarray = embed_images(scorer, source, cache=cache, progress=progress)[rows]
        return result
    return embed_images(scorer, source, rows, cache=cache, progress=progress)


def _embed_lists(
    index: Index, scorer: VisionModel, pooling: str | None, *, images: ImageSource | None,
    cache: str | os.PathLike[str] | None, progress: bool,
) -> _Lists:  # fmt: skip
    lists, features = [], []
    for layer in index.layers:
        rows = index.top_rows(layer, pooling)[0][:, :LIST]
        live = np.flatnonzero(~index.stats(layer, pooling)["dead"].to_numpy() & (rows[:, 0] >= 0))
        lists.append(rows[live])
        features.append(pd.DataFrame({"layer": layer, "feature": live}))
    rows_fk = np.concatenate(lists)
    if not len(rows_fk):
        raise IndexingError(f"{index.path}: every feature is dead, so none can be found")
    needed = np.unique(rows_fk[rows_fk >= 0])
    source = source_of(index, images)
    vectors_nd = embed_needed(scorer, source, needed, cache=cache, progress=progress)
    places_fk = np.where(rows_fk >= 0, np.searchsorted(needed, rows_fk), -1)
    return _Lists(pd.concat(features, ignore_index=True), places_fk, vectors_nd, source)


def _model_of(indices: Sequence[Index]) -> VisionModel:
    models = {index.manifest.model.fingerprint: index.manifest.model.spec for index in indices}
    if len(models) > 1:
        raise IndexingError(
            f"the indices are of different models ({', '.join(models.values())}): give one scorer for all, such as "
            "open_clip:ViT-B-32@openai, or mini:clip for the mini images"
        )
    try:
        return model_of(indices[0])
    except (ModelError, IndexingError) as error:
        raise IndexingError(f"the model of the index cannot be the scorer: give a scorer. {error}") from error


def _embed_text(scorer: VisionModel, text: str) -> np.ndarray:
    try:
        with torch.inference_mode():
            return scorer.encode_text([text])[0].float().cpu().numpy()
    except ModelError as error:
        raise IndexingError(
            f"to find features by a text, give a scorer that reads text, such as open_clip:ViT-B-32@openai, or "
            f"mini:clip for the mini images. {error}"
        ) from error


def _embed_image(
    scorer: VisionModel, image: str | Image, index: Index, source: ImageSource, cache: str | os.PathLike[str] | None
) -> np.ndarray:
    if isinstance(image, str):
        rows = np.flatnonzero(index.images["id"] == image)
        if not len(rows):
            raise IndexingError(f"{image!r} is not an image of {index.path}; see the ids in Index.images")
        result: np.ndarray = embed_needed(scorer, source, rows, cache=cache)[0]
        return result
    shown = decode_image(image, parse_background(index.manifest.source.background)).image
    pixels = scorer.preprocess(shown)[None]
    with torch.inference_mode():
        return scorer.encode_image(pixels.to(scorer.device, scorer.dtype))[0].float().cpu().numpy()
