"""Check an index: every hash, every invariant, and some images run through the model again."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file

from conceptprobe.display import html
from conceptprobe.images import ImagesLike, as_images
from conceptprobe.indexing.index import Index
from conceptprobe.indexing.reducers.topk import TopK
from conceptprobe.indexing.storage.checkpoint import STATE, load_state
from conceptprobe.indexing.storage.factory import EXACT
from conceptprobe.indexing.storage.faiss_files import has_faiss, map_flat, read_faiss
from conceptprobe.indexing.storage.layout import layer_folder
from conceptprobe.indexing.storage.manifest import Manifest, damaged_files
from conceptprobe.indexing.verification.invariants import list_problems, problem, stats_problems, strip_problems
from conceptprobe.indexing.verification.rerun import ReadArrays, rerun
from conceptprobe.models import ModelLike, as_model
from conceptprobe.output.tables import load_tables, save_tables

RERUN = 16
_VALUES = 1 << 22  # of vectors that are read at once


RESULT = "verification"  # the name of its JSON file


@dataclass(frozen=True)
class Verification:
    """The result of checking an index.

    Attributes:
        path: The index.
        problems: Everything that is wrong, a sentence each; empty for an index without faults.
        checked: Everything that was checked, a phrase each.
    """

    path: Path
    problems: tuple[str, ...]
    checked: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def frame(self) -> pd.DataFrame:
        """One row a check or problem: result (`checked` or `wrong`), text."""
        rows = [("checked", text) for text in self.checked] + [("wrong", text) for text in self.problems]
        return pd.DataFrame(rows, columns=["result", "text"], dtype="str")

    def summary(self) -> pd.DataFrame:
        """One row for the index: index, ok, checked, wrong (numbers of checks and problems)."""
        row = {"index": str(self.path), "ok": self.ok, "checked": len(self.checked), "wrong": len(self.problems)}
        return pd.DataFrame([row])

    def _repr_html_(self) -> str:
        title = f"{self.path}: {'nothing wrong' if self.ok else html.count_of(len(self.problems), 'problem')}"
        return html.block(title, html.table(["result", "text"], self.frame.to_numpy().tolist()))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `checks.parquet` and `verification.json`; equal results give equal bytes.

        Raises:
            OutputError: The folder holds something else, or cannot be written.
        """
        return save_tables(folder, RESULT, {"checks": self.frame}, {"index": str(self.path)})


def load_verification(folder: str | os.PathLike[str]) -> Verification:
    """Read a verification that `Verification.save` wrote.

    Raises:
        OutputError: The folder holds no verification, or a damaged one, or one of another version.
    """
    tables, about = load_tables(folder, RESULT, ("checks",), command="conceptprobe index verify INDEX --out {folder}")
    texts = tables["checks"].groupby("result")["text"].apply(tuple)
    return Verification(Path(about["index"]), texts.get("wrong", ()), texts.get("checked", ()))


def verify_index(
    path: str | os.PathLike[str], *, model: ModelLike | None = None, images: ImagesLike | None = None,
    images_again: int = RERUN,
) -> Verification:  # fmt: skip
    """Check the files, the arrays and some values of an index.

    Every file must have its hash; counts, orders, ranges and statistics must agree with each other, and top lists with
    the stored activations where those are exact; and images that are run again must give the listed values.

    Args:
        path: An index.
        model: The model to run images through; by default what the manifest names.
        images: Where to find the images; by default where the manifest says.
        images_again: How many images to run; 0 for none.

    Raises:
        IndexingError: There is no index, or one of another version.
    """
    model = None if model is None else as_model(model)
    images = None if images is None else as_images(images)
    path = Path(path).resolve()
    index = Index(path, Manifest.read(path))
    problems = list(_file_problems(index))
    checked = [f"{len(index.manifest.files)} files"]
    if problems or index.manifest.part is not None:  # what is damaged cannot be read, and a shard holds no lists
        return Verification(path, tuple(problems), tuple(checked))
    arrays = cache(lambda layer, kind: load_file(layer_folder(path, layer) / f"{kind}.safetensors"))
    problems += _readable("images", _image_problems(index))
    vectors = index.manifest.vectors and has_faiss()
    for layer in index.layers:
        problems += _readable(layer, _layer_problems(index, layer, arrays, vectors=vectors))
    features = sum(map(index.width, index.layers))
    checked.append(f"lists and statistics of {features} features, pooled by {' and '.join(index.manifest.pooling)}")
    if index.manifest.vectors and not vectors:
        checked.append("vectors only by their hashes: FAISS is not installed")
    if problems:
        return Verification(path, tuple(problems), tuple(checked))
    again = rerun(index, arrays, images_again, model=model, images=images)
    ran = f"{again.images} images run again, {again.values} values"
    checked.append(f"no image run again: {again.note}" if again.note else ran)
    return Verification(path, again.problems, tuple(checked))


def _readable(what: str, problems: Iterator[str]) -> Iterator[str]:
    """Problems; what cannot be read although its hash is right, or lacks an array, is one too."""
    try:
        yield from problems
    except Exception as error:  # whatever the readers of the formats raise
        yield f"{what}: cannot be read ({type(error).__name__}: {error})"


def _file_problems(index: Index) -> Iterator[str]:
    yield from damaged_files(index.path, index.manifest)
    for name in Manifest.other_files(index.path):
        yield f"{name} is not a file of the index"


def _image_problems(index: Index) -> Iterator[str]:
    counts, images, skipped = index.manifest.counts, index.images, index.skipped
    if counts.listed != counts.indexed + counts.skipped:
        yield f"counts do not add up: {counts}"
    for name, table, count in (("images", images, counts.indexed), ("skipped", skipped, counts.skipped)):
        if len(table) != count:
            yield f"{name}.parquet has {len(table)} rows, the manifest counts {count}"
        ids = table["id"].to_numpy(object)
        if (ids[1:] <= ids[:-1]).any():
            yield f"{name}.parquet: ids are out of order, or one is there twice"
    if both := set(images["id"]) & set(skipped["id"]):
        yield f"{len(both)} images are both indexed and skipped, such as {min(both)!r}"
    if not index.manifest.model.external and not images["content_hash"].str.fullmatch("[0-9a-f]{64}").all():
        yield "images.parquet: a content hash is none"
    if not skipped["reason"].str.len().all():
        yield "skipped.parquet: a reason is missing"


def _layer_problems(index: Index, layer: str, arrays: ReadArrays, *, vectors: bool) -> Iterator[str]:
    manifest, images = index.manifest, index.manifest.counts.indexed
    grid, width = manifest.layers[layer].grid, index.width(layer)
    patches = None if grid is None else int(np.prod(grid))
    kinds = {"top": manifest.k, **({"bottom": manifest.bottom} if manifest.bottom else {})}
    for pooling in manifest.pooling:
        what = f"{layer}, {pooling}"
        stats, strips, *lists = (_of(arrays(layer, kind), pooling) for kind in ("stats", "strips", *kinds))
        if stats["mean"].shape != (width,) or any(
            own["rows"].shape != (width, k) for own, k in zip(lists, kinds.values(), strict=True)
        ):
            yield f"{what}: arrays are of another shape than the manifest says"
            continue
        for kind, own in zip(kinds, lists, strict=True):
            yield from list_problems(
                f"{what}, {kind}", own, count_f=stats["count"], images=images, patches=patches, lowest=kind == "bottom"
            )
        bottom = lists[1] if manifest.bottom else None
        yield from stats_problems(f"{what}, statistics", stats, lists[0], bottom, images=images)
        yield from strip_problems(f"{what}, strips", strips, stats, images=images, patches=patches)
    if vectors:
        yield from _vector_problems(index, layer, arrays)
    if manifest.growable:
        yield from _state_problems(index, layer, arrays)


def _of(arrays: dict[str, np.ndarray], pooling: str) -> dict[str, np.ndarray]:
    prefix = f"{pooling}."
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def _vector_problems(index: Index, layer: str, arrays: ReadArrays) -> Iterator[str]:
    """FAISS files, and top lists against the vectors that they were made with."""
    folder, pooling = layer_folder(index.path, layer), index.pooling
    width, images = index.width(layer), index.manifest.counts.indexed
    for name, rows, wide in (("images", images, width), ("features", width, None)):
        found = read_faiss(folder / f"{name}.faiss")
        if found.ntotal != rows or (wide is not None and found.d != wide):
            yield f"{layer}, {name}.faiss: {found.ntotal} vectors of {found.d} numbers, where {rows} of {wide} belong"
            return
    if index.manifest.faiss != EXACT:
        return
    stats, top = _of(arrays(layer, "stats"), pooling), _of(arrays(layer, "top"), pooling)
    vectors = map_flat(folder / "images.faiss", width, images)
    best = TopK(width, index.manifest.k)
    total_f = np.zeros(width)
    step = max(1, _VALUES // width)
    for start in range(0, images, step):
        block = np.array(vectors[start : start + step])
        best.add(torch.from_numpy(block), torch.arange(start, start + len(block)))
        total_f += block.sum(0, dtype=np.float64)
    whole = stats["nonfinite"] == 0  # what is not finite is 0 among the vectors
    again = best.result()
    differ = (again.rows_fk.numpy() != top["rows"]) | ~np.isclose(again.values_fk.numpy(), top["values"], 0, 0, True)
    yield from problem(f"{layer}, {pooling}", whole & differ.any(1), "the top list is not that of the image vectors")
    near = np.isclose(total_f / images, stats["mean"], 1e-6, 1e-9 + 1e-6 * stats["std"])
    yield from problem(f"{layer}, {pooling}", whole & ~near, "the mean is not that of the image vectors")


def _state_problems(index: Index, layer: str, arrays: ReadArrays) -> Iterator[str]:
    state = load_state(index.path / STATE)
    if state is None or layer not in state.layers:
        yield f"{STATE} cannot be read"
        return
    if len(state.bad) != (skipped := index.manifest.counts.skipped):
        yield f"{STATE} knows of {len(state.bad)} skipped images, the manifest of {skipped}"
    for pooling in index.manifest.pooling:
        best = TopK(index.width(layer), index.manifest.k)
        best.load_state_dict({"keys": state.layers[layer][f"{pooling}.top.keys"]})
        same = np.isclose(best.result().values_fk.numpy(), _of(arrays(layer, "top"), pooling)["values"], 0, 0, True)
        yield from problem(f"{layer}, {pooling}, {STATE}", ~same.all(1), "the top list is another")
