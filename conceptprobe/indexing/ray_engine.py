"""Build an index on a Ray cluster: workers that hold the model build shards, which are joined in a tree.

A shard is a directory that is there only when it is complete, so a worker that is killed costs no more than the shard
it was at, and a build that is killed as a whole goes on with the shards that are there. All nodes must see one file
system.
"""

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource
from conceptprobe.indexing.build import Plan, build_index, plan_build
from conceptprobe.indexing.errors import BusyError, IndexingError, MissingRayError
from conceptprobe.indexing.index import Index
from conceptprobe.indexing.manifest import NAME
from conceptprobe.indexing.merge import join_shards, merge_indices
from conceptprobe.indexing.progress import metered
from conceptprobe.indexing.settings import batch_share, is_changing
from conceptprobe.models import VisionModel

SHARDS = 64
FAN = 8  # shards that are joined at once
PATIENCE = 60.0  # seconds in which the decoding processes of a killed worker end and let go of its directory


def build_index_on_ray(
    model: VisionModel,
    images: ImageSource,
    layers: str | Iterable[str],
    out: str | os.PathLike[str],
    *,
    ray_workers: int | None = None,
    shards: int | None = None,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = False,
    log: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Index:
    """Build an index on the Ray cluster that is connected or that `RAY_ADDRESS` names, else on this machine alone.

    On machines of one kind the bytes are those of `build_index` with the same settings. What is called again after a
    kill goes on from the shards that were complete; they lie in `<out>.shards` until the end.

    Args:
        model: It is sent to the workers, and runs there on the kind of device that it is on here.
        ray_workers: How many workers; by default as many as the cluster has room for. Each takes a GPU where the model
            is on one, and 1 + `workers` processors.
        shards: Pieces of work, at most one a batch; by default 64, or four a worker where that is more.
        workers: Processes of each worker that decode images.
        overwrite: Replace an index that is already there; anything else is never replaced.
        progress: Show a bar on stderr.
        log: A file to append JSON lines to.
        settings: More of `build_index`. What `max_skipped` allows, it allows each shard.

    Raises:
        MissingRayError: Ray is not installed.
        IndexingError: As `build_index`; or the cluster has no room for a worker.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingRayError from error
    out = Path(out).resolve()
    plan = plan_build(model, images, layers, out, workers=workers, overwrite=overwrite, **settings)
    cuda = model.device.type == "cuda"
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        ray_workers = ray_workers or _room(ray.cluster_resources(), 1 + workers, cuda)
        count = min(plan.work.batches(plan.manifest.batch_size), shards or max(SHARDS, 4 * ray_workers))
        folder = out.with_name(f"{out.name}.shards")
        tree = Tree.of(folder / _key(plan, model, count), count)
        remote = ray.remote(num_cpus=1 + workers, num_gpus=int(cuda), max_restarts=-1, max_task_retries=-1)(Worker)
        names, options = [layer.name for layer in plan.layers], {**settings, "workers": workers}
        shipped = [ray.put(model), ray.put(images), names, options, torch.get_num_threads()]
        actors = [remote.remote(*shipped) for _ in range(min(ray_workers, count))]
        builds = {path: ("build", (number, count)) for number, path in tree.missing(0)}
        images_of = {path: _images(plan, number, count) for number, path in tree.missing(0)}
        title, done = f"{model.spec} on {images.spec}", len(images) - sum(images_of.values())
        with metered(title, len(images), done=done, show=progress, log=None if log is None else Path(log)) as meter:
            for path in _run(actors, builds):
                skipped = pq.read_table(path / "skipped.parquet").to_pylist()
                meter.advance(images_of[path], [(row["id"], row["reason"]) for row in skipped])
        for level in range(1, len(tree.levels)):
            joins = {path: ("join", tree.children(level, number)) for number, path in tree.missing(level)}
            for path in _run(actors, joins):
                for child in joins[path][1]:
                    shutil.rmtree(child)
        index = merge_indices(tree.levels[-1], out, overwrite=overwrite)
        shutil.rmtree(folder)
        return index
    finally:
        if ours:
            ray.shutdown()


@dataclass(frozen=True)
class Tree:
    """Directories of shards, and of what FAN at a time are joined to, until no more than FAN are left."""

    levels: tuple[tuple[Path, ...], ...]

    @classmethod
    def of(cls, folder: Path, count: int) -> "Tree":
        folder.mkdir(parents=True, exist_ok=True)
        levels = [tuple(folder / f"{number}-of-{count}" for number in range(count))]
        while len(levels[-1]) > FAN:
            joins = -(-len(levels[-1]) // FAN)
            levels.append(tuple(folder / f"join-{len(levels)}-{number}" for number in range(joins)))
        return cls(tuple(levels))

    def children(self, level: int, number: int) -> tuple[Path, ...]:
        """What the directory of a level above 0 is made of."""
        return self.levels[level - 1][number * FAN : (number + 1) * FAN]

    def missing(self, level: int) -> list[tuple[int, Path]]:
        """Number and path of each directory that is not there, and in no join that is."""
        return [
            (number, path)
            for number, path in enumerate(self.levels[level])
            if not any((upper[number // FAN**up] / NAME).is_file() for up, upper in enumerate(self.levels[level:]))
        ]


class Worker:
    """What a Ray worker does: it holds the model, builds shards and joins them.

    Args:
        model: Its own copy.
        layers: Names of the layers.
        settings: Of `build_index`.
        threads: Threads that torch uses, as in the process that asks: sums may depend on their number.
    """

    def __init__(
        self, model: VisionModel, images: ImageSource, layers: list[str], settings: dict[str, Any], threads: int
    ) -> None:
        torch.set_num_threads(threads)
        self._model, self._images, self._layers, self._settings = model, images, layers, settings

    def work(self, path: Path, what: str, of: Any) -> str | None:
        """Make a directory; returns what is wrong where that cannot be done."""
        until = time.monotonic() + PATIENCE
        while not (path / NAME).is_file():  # it is there when only the news of it was lost
            try:
                if what == "join":
                    join_shards(of, path)
                else:
                    build_index(self._model, self._images, self._layers, path, shard=of, **self._settings)
            except BusyError as error:
                if time.monotonic() > until:
                    return str(error)
                time.sleep(1)
            except ConceptProbeError as error:
                return str(error)
        return None


def _run(actors: Sequence[Any], tasks: Mapping[Path, tuple[str, Any]]) -> Iterator[Path]:
    """Have the workers do tasks; yields each directory when it is there."""
    import ray

    waiting, free = list(tasks.items()), list(actors)
    running: dict[Any, tuple[Path, Any]] = {}
    while waiting or running:
        while waiting and free:
            (path, task), actor = waiting.pop(0), free.pop()
            running[actor.work.remote(path, *task)] = path, actor
        (ready,), _ = ray.wait(list(running), num_returns=1)
        path, actor = running.pop(ready)
        if (fault := ray.get(ready)) is not None:
            raise IndexingError(fault)
        free.append(actor)
        yield path


def _room(resources: Mapping[str, float], processors: int, cuda: bool) -> int:
    workers = int(resources.get("CPU", 0) // processors)
    if cuda:
        workers = min(workers, int(resources.get("GPU", 0)))
    if workers < 1:
        raise IndexingError(
            f"the Ray cluster has {resources.get('CPU', 0):.0f} processors and {resources.get('GPU', 0):.0f} GPUs: a "
            f"worker needs {processors} processors{' and a GPU' if cuda else ''}"
        )
    return workers


def _images(plan: Plan, number: int, count: int) -> int:
    size, images = plan.manifest.batch_size, len(plan.work.rows)
    first, last = batch_share((number, count), plan.work.batches(size))
    return min(last * size, images) - first * size


def _key(plan: Plan, model: VisionModel, count: int) -> str:
    """A name that only shards of one plan have."""
    text = json.dumps([asdict(plan.manifest), count, str(uuid.uuid4()) if is_changing(model, plan.layers) else ""])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
