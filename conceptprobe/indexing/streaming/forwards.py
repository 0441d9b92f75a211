"""Batches through the model and pooled: one after the other on a GPU, side by side on a CPU."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from conceptprobe.indexing.reducers.pooling import Pooled, pool_each
from conceptprobe.indexing.streaming.loader import Batch
from conceptprobe.models import Layer, VisionModel
from conceptprobe.models.hooks import is_changing

LANES = 2  # batches side by side: each takes the memory of a forward

PooledLayers = dict[str, dict[str, Pooled]]


def pooled_batches(
    model: VisionModel, layers: Sequence[Layer], poolings: Sequence[str], batches: Iterable[Batch]
) -> Generator[tuple[Batch, PooledLayers]]:
    """Every batch, in order, with what was pooled of its images by layer and pooling; nothing of a batch without any.

    On a CPU, LANES batches run side by side, each on its share of torch's threads, while the caller decodes images and
    reduces on one more. So no thread waits for the others at the small operations between large products, and none is
    idle while the caller works. The values are those of one batch after the other on as many threads as a lane has.
    """
    layer_of = {layer.name: layer for layer in layers}
    alone = model.device.type != "cpu" or not model.concurrent or is_changing(model, layers)
    threads = torch.get_num_threads()
    lanes = 1 if alone else min(LANES, threads)

    with model.visiting(list(layer_of)) as visit:

        def run(batch: Batch) -> PooledLayers:
            found: PooledLayers = {}
            if len(batch.good):
                with torch.inference_mode():
                    visit(
                        batch.pixels_bchw.to(model.dtype),
                        lambda name, acts: found.update({name: pool_each(acts, layer_of[name], poolings)}),
                    )
            return found

        if lanes == 1:
            for batch in batches:
                yield batch, run(batch)
            return
        pool = ThreadPoolExecutor(lanes, "lane", torch.set_num_threads, (threads // lanes,))
        waiting: deque[tuple[Batch, Future[PooledLayers]]] = deque()
        with _threads(1), pool:
            try:
                for batch in batches:
                    waiting.append((batch, pool.submit(run, batch)))
                    if len(waiting) > lanes:
                        first, found = waiting.popleft()
                        yield first, found.result()
                while waiting:
                    first, found = waiting.popleft()
                    yield first, found.result()
            finally:
                pool.shutdown(cancel_futures=True)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for torch in this thread, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
