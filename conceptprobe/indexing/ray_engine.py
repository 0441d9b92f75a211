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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from conceptprobe.errors import ConceptProbeError, FolderBusyError
from conceptprobe.images import ImagesLike, ImageSource, as_images
from conceptprobe.indexing.build import Plan, plan_build, run_build
from conceptprobe.indexing.errors import IndexingError, MissingRayError
from conceptprobe.indexing.index import Index
from conceptprobe.indexing.merge import join_shards, merge_indices
from conceptprobe.indexing.settings import BuildSettings, build_settings, shard_batches
from conceptprobe.indexing.storage.manifest import NAME
from conceptprobe.indexing.streaming.progress import metered
from conceptprobe.models import ModelLike, VisionModel, as_model
from conceptprobe.models.hooks import is_changing
from conceptprobe.output.folder import locked

SHARDS = 64
FAN_IN = 8  # shards that are joined at once
PATIENCE = 60.0  # seconds in which the decoding processes of a killed worker end and let go of its directory


def build_index_on_ray(
    model: ModelLike,
    images: ImagesLike,
    layers: str | Iterable[str],
    out: str | os.PathLike[str],
    *,
    ray_workers: int | None = None,
    shards: int | None = None,
    **settings: Any,
) -> Index:
    """Build an index on the Ray cluster that is connected or that `RAY_ADDRESS` names, else on this machine alone.

    On machines of one kind the bytes are those of `build_index` with the same settings. What is called again after a
    kill goes on from the shards that were complete; they lie in `<out>.shards` until the end.

    Args:
        model: It is sent to the workers, and runs there on the kind of device that it is on here.
        images: As of `build_index`.
        layers: As of `build_index`.
        out: As of `build_index`.
        ray_workers: How many workers; by default as many as the nodes of the cluster have room for when they are idle.
            Each takes a GPU and 1 + `workers` processors where the model is on a GPU, else as many processors as torch
            has threads here, and `workers` more. One that finds no room begins when there is some.
        shards: Pieces of work, at most one a batch; by default 64, or four a worker where that is more, or as many as
            an earlier call of the same kind has left.
        settings: As of `build_index`, without `shard`. `workers` are the decoding processes of each Ray worker, by
            default none; `max_skipped` holds for each shard.

    Raises:
        MissingRayError: Ray is not installed.
        IndexingError: As `build_index`; or the cluster has no room for a worker.
    """
    checked = build_settings(**settings)
    return run_build_on_ray(
        as_model(model), as_images(images), layers, Path(out), checked, ray_workers=ray_workers, shards=shards
    )


def run_build_on_ray(
    model: VisionModel, images: ImageSource, layers: str | Iterable[str], out: Path, settings: BuildSettings, *,
    ray_workers: int | None = None, shards: int | None = None,
) -> Index:  # fmt: skip
    """`build_index_on_ray` by settings that are checked."""
    try:
        import ray
    except ImportError as error:
        raise MissingRayError from error
    if settings.shard is not None:
        raise IndexingError("shard is for a build without Ray: a build on Ray makes its own shards")
    out, workers = out.resolve(), settings.workers or 0
    plan = plan_build(model, images, layers, out, settings)
    cuda, threads = model.device.type == "cuda", torch.get_num_threads()
    processors = (1 if cuda else threads) + workers
    folder = out.with_name(f"{out.name}.shards")
    with ExitStack() as stack:
        stack.enter_context(
            locked(folder, f"another process is building {out} on Ray; wait for it, or choose another directory")
        )
        if not ray.is_initialized():
            where = os.environ.get("RAY_ADDRESS") or "local"
            ray.init(where, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
            stack.callback(ray.shutdown)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = _count_workers(nodes, processors, cuda)
        ray_workers, key = ray_workers or room, _key(plan, model)
        left = max(folder.glob(f"{key}-*"), key=lambda tree: len([*tree.glob(f"*/{NAME}")]), default=None)
        wanted = shards or (max(SHARDS, 4 * ray_workers) if left is None else int(left.name.rpartition("-")[2]))
        count = min(plan.work.batches(plan.manifest.batch_size), wanted)
        tree = Tree.of(folder / f"{key}-{count}", count)
        remote = ray.remote(num_cpus=processors, num_gpus=int(cuda), max_restarts=-1, max_task_retries=-1)(Worker)
        names = [layer.name for layer in plan.layers]
        of_shards = replace(settings, workers=workers, overwrite=False, progress=False, log=None)
        shipped = [ray.put(model), ray.put(images), names, of_shards, threads]
        start = partial(remote.remote, *shipped)
        builds = {path: ("build", (number, count)) for number, path in tree.missing(0)}
        images_of = {path: _images(plan, number, count) for number, path in tree.missing(0)}
        title, done = f"{model.spec} on {images.spec}", len(images) - sum(images_of.values())
        with metered(title, len(images), done=done, show=settings.progress, log=settings.log) as meter:
            for path in _run(start, ray_workers, builds):
                skipped = pq.read_table(path / "skipped.parquet").to_pylist()
                meter.advance(images_of[path], [(row["id"], row["reason"]) for row in skipped])
        for level in range(1, len(tree.levels)):
            joins = {path: ("join", tree.children(level, number)) for number, path in tree.missing(level)}
            for path in _run(start, ray_workers, joins):
                for child in joins[path][1]:
                    shutil.rmtree(child)
        index = merge_indices(tree.levels[-1], out, overwrite=settings.overwrite)
        shutil.rmtree(folder)
        return index


@dataclass(frozen=True)
class Tree:
    """Directories of shards, and of what FAN_IN at a time are joined to, until no more than FAN_IN are left."""

    levels: tuple[tuple[Path, ...], ...]

    @classmethod
    def of(cls, folder: Path, count: int) -> "Tree":
        """The tree of so many shards below a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        levels = [tuple(folder / f"{number}-of-{count}" for number in range(count))]
        while len(levels[-1]) > FAN_IN:
            joins = -(-len(levels[-1]) // FAN_IN)
            levels.append(tuple(folder / f"join-{len(levels)}-{number}" for number in range(joins)))
        return cls(tuple(levels))

    def children(self, level: int, number: int) -> tuple[Path, ...]:
        """What the directory of a level above 0 is made of."""
        return self.levels[level - 1][number * FAN_IN : (number + 1) * FAN_IN]

    def missing(self, level: int) -> list[tuple[int, Path]]:
        """Number and path of each directory that is not there, and in no join that is."""
        return [
            (number, path)
            for number, path in enumerate(self.levels[level])
            if not any((upper[number // FAN_IN**up] / NAME).is_file() for up, upper in enumerate(self.levels[level:]))
        ]


class Worker:
    """What a Ray worker does: it holds the model, builds shards and joins them.

    Args:
        model: Its own copy.
        layers: Names of the layers.
        settings: Of every shard, but for which one it is.
        threads: Threads that torch uses, as in the process that asks: sums may depend on their number.
    """

    def __init__(
        self, model: VisionModel, images: ImageSource, layers: list[str], settings: BuildSettings, threads: int
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
                    run_build(self._model, self._images, self._layers, path, replace(self._settings, shard=of))
            except FolderBusyError as error:
                if time.monotonic() > until:
                    return str(error)
                time.sleep(1)
            except ConceptProbeError as error:
                return str(error)
        return None


def _run(start: Callable[[], Any], workers: int, tasks: Mapping[Path, tuple[str, Any]]) -> Iterator[Path]:
    """Have workers do tasks; yields each directory when it is there.

    A worker gets a task when there is room for it, and makes room when there is none left to do: one that was killed
    and comes again may have lost its place to another.
    """
    import ray

    waiting = list(tasks.items())
    starting = {actor.__ray_ready__.remote(): actor for actor in (start() for _ in range(min(workers, len(tasks))))}
    running: dict[Any, tuple[Path, Any]] = {}

    def assign_task(actor: Any) -> None:
        if waiting:
            path, task = waiting.pop(0)
            running[actor.work.remote(path, *task)] = path, actor
        else:
            ray.kill(actor)

    try:
        while waiting or running:
            (ready,), _ = ray.wait([*running, *starting], num_returns=1)
            if ready in starting:
                assign_task(starting.pop(ready))
                continue
            path, actor = running.pop(ready)
            if (fault := ray.get(ready)) is not None:
                raise IndexingError(fault)
            assign_task(actor)
            yield path
    finally:
        for actor in (*starting.values(), *(actor for _, actor in running.values())):
            ray.kill(actor)


def _count_workers(nodes: Sequence[Mapping[str, float]], processors: int, cuda: bool) -> int:
    """How many workers idle nodes with such resources can hold; none lies on two."""
    workers = 0
    for node in nodes:
        own = int(node.get("CPU", 0) // processors)
        workers += min(own, int(node.get("GPU", 0))) if cuda else own
    if workers < 1:
        have = "; ".join(f"{node.get('CPU', 0):.0f} and {node.get('GPU', 0):.0f}" for node in nodes)
        raise IndexingError(
            f"a worker needs {processors} processors{' and a GPU' if cuda else ''} of one node, and the processors and "
            f"GPUs of the Ray cluster's nodes are {have}: give fewer `workers`, or set OMP_NUM_THREADS to fewer threads"
        )
    return workers


def _images(plan: Plan, number: int, count: int) -> int:
    size, images = plan.manifest.batch_size, len(plan.work.rows)
    first, last = shard_batches((number, count), plan.work.batches(size))
    return min(last * size, images) - first * size


def _key(plan: Plan, model: VisionModel) -> str:
    """A name that only shards of one plan have."""
    text = json.dumps([plan.manifest.to_json(), str(uuid.uuid4()) if is_changing(model, plan.layers) else ""])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
