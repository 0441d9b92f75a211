"""The reduction of one layer: a state in memory, and files for what is too large for memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from conceptprobe.indexing.reducers.moments import Moments
from conceptprobe.indexing.reducers.pooling import Pooled
from conceptprobe.indexing.reducers.topk import TopK
from conceptprobe.indexing.storage.factory import EXACT
from conceptprobe.indexing.storage.faiss_files import FlatIndexWriter, map_flat
from conceptprobe.indexing.storage.manifest import Manifest
from conceptprobe.indexing.storage.rowfile import RowFile, Rows, map_rows, merged_blocks
from conceptprobe.indexing.storage.shard import Shard
from conceptprobe.models import Layer


@dataclass(frozen=True)
class BatchRows:
    """The images of a batch.

    Attributes:
        batch: Number of the batch.
        rows: Rows of the listing of the images that were read.
        good: Positions in the batch of the images that were read.
        sampled: Positions in `rows` of the images in the sample.
    """

    batch: int
    rows: np.ndarray
    good: np.ndarray
    sampled: np.ndarray


class LayerReducer:
    """Lists and statistics of a layer for every pooling, the values of sampled images, vectors for the first pooling.

    Args:
        layer: The layer.
        plan: The manifest, which says what to keep.
        folder: The layer's folder.
        device: Where the lists and statistics are.
        state: A `state_dict` to resume from in the same folder; None to begin.
    """

    def __init__(
        self, layer: Layer, plan: Manifest, folder: Path, *, device: torch.device,
        state: dict[str, torch.Tensor] | None = None,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.layer, self.plan, self.folder = layer, plan, folder
        # MPS has neither float64 nor a 64-bit top-k: there the pooled values, which are few, come to the CPU.
        self.device = torch.device("cpu") if device.type == "mps" else device
        self.state = LayerState(layer.width, plan, device=self.device, state=state)
        sampled, vectors = (0 if state is None else int(state.get(name, 0)) for name in ("sampled", "vectors"))
        self.sample = {
            name: RowFile(sample_path(folder, name), layer.width, kind, sampled)
            for name, kind in sample_kinds(plan).items()
        }
        self.vectors = FlatIndexWriter(vectors_path(folder, plan), layer.width, vectors) if plan.vectors else None

    def add(self, batch: Mapping[str, Pooled], arrival: BatchRows) -> None:
        """Reduce a whole batch, pooled in every way; batches come in ascending order."""
        rows_b = torch.from_numpy(arrival.rows).to(self.device)
        places = torch.from_numpy(arrival.good).to(self.device)
        for number, pooling in enumerate(self.plan.pooling):
            pooled = batch[pooling].to(self.device)
            if len(places) != len(pooled.values_bf):
                pooled = pooled[places]
            self.state.add(pooling, pooled, rows_b, arrival.batch)
            vectors = self.vectors if number == 0 else None
            if not len(arrival.sampled) and vectors is None:
                continue
            values = pooled.values_bf.cpu().numpy()
            self.sample[pooling].add(values[arrival.sampled])
            if pooled.positions_bf is not None:
                self.sample[f"{pooling}-positions"].add(pooled.positions_bf.cpu().numpy()[arrival.sampled])
            if vectors is not None:
                vectors.add(as_vectors(values))

    def skip_batch(self, batch: int) -> None:
        """Count a batch of which no image could be read."""
        for moments in self.state.moments.values():
            moments.skip_batch(batch)

    def join(self, shards: Sequence[Shard]) -> None:
        """Join the reductions of shards; this reducer must be empty."""
        width, name = self.layer.width, self.layer.name
        for shard in shards:
            if name in shard.state.layers:
                other = LayerState(width, self.plan, state=shard.state.layers[name])
                if shard.new_rows is not None:
                    other.renumber(shard.new_rows)
                self.state.merge(other)
        for kind, file in self.sample.items():
            paths = [sample_path(shard.folder(name), kind) for shard in shards]
            for block in merged_blocks(
                [
                    Rows(map_rows(path, width, file.dtype, len(shard.sampled)), shard.sampled[shard.kept], shard.kept)
                    for path, shard in zip(paths, shards, strict=True)
                ]
            ):
                file.add(block)
        if self.vectors is not None:
            paths = [vectors_path(shard.folder(name), self.plan) for shard in shards]
            for block in merged_blocks(
                [
                    Rows(map_flat(path, width, len(shard.rows)), shard.rows)
                    for path, shard in zip(paths, shards, strict=True)
                ]
            ):
                self.vectors.add(block)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The state to resume from. Files are flushed; rows that are added to them later do no harm."""
        for file in self.sample.values():
            file.flush()
        state = {**self.state.state_dict(), "sampled": torch.tensor(self.sampled, device="cpu")}
        if self.vectors is not None:
            state["vectors"] = torch.tensor(self.vectors.flush(), device="cpu")
        return state

    @property
    def sampled(self) -> int:
        """How many images of the sample were reduced."""
        return self.sample[self.plan.pooling[0]].rows

    @property
    def sample_files(self) -> list[Path]:
        """The files with the sample's values."""
        return [file.path for file in self.sample.values()]

    @property
    def state_files(self) -> list[Path]:
        """The files that only appending and joining need once the layer is written."""
        spare = self.vectors is not None and self.plan.faiss != EXACT
        return [*self.sample_files, vectors_path(self.folder, self.plan)] if spare else self.sample_files

    @property
    def files(self) -> list[Path]:
        """The files that `state_dict` relies on."""
        return self.sample_files if self.vectors is None else [*self.sample_files, self.vectors.path]

    def close(self) -> None:
        """Close the files, which are then complete."""
        for file in self.sample.values():
            file.close()
        if self.vectors is not None:
            self.vectors.close()


def sample_kinds(plan: Manifest) -> dict[str, type]:
    """The types of the sample's files: values for every pooling, and patches for max pooling."""
    return {
        **dict.fromkeys(plan.pooling, np.float32),
        **{f"{pooling}-positions": np.int32 for pooling in plan.pooling if pooling == "max"},
    }


def sample_path(folder: Path, name: str) -> Path:
    """The path of a file of the sample."""
    return folder / f"sample-{name}.bin"


def vectors_path(folder: Path, plan: Manifest) -> Path:
    """The path of the exact vectors: the exact index, or the data that another index is trained on at the end."""
    return folder / ("images.faiss" if plan.faiss == EXACT else "images.flat")


def as_vectors(values_nf: np.ndarray) -> np.ndarray:
    """Values for FAISS: those that are not finite become 0."""
    result: np.ndarray = np.nan_to_num(values_nf, nan=0.0, posinf=0.0, neginf=0.0)
    return result


class LayerState:
    """Lists and statistics of a layer after any set of batches; merging gives the state of the union, bit for bit.

    Args:
        width: Number of features.
        plan: Says which poolings and how long the lists are.
        device: Where the lists and statistics are.
        state: A `state_dict` to resume from; None to begin.
    """

    def __init__(
        self, width: int, plan: Manifest, *, device: torch.device | str = "cpu",
        state: dict[str, torch.Tensor] | None = None,
    ) -> None:  # fmt: skip
        def lists(k: int, lowest: bool) -> dict[str, TopK]:
            return {p: TopK(width, k, positions=p == "max", lowest=lowest, device=device) for p in plan.pooling}

        self.top = lists(plan.k, False)
        self.bottom = lists(plan.bottom, True) if plan.bottom else {}
        self.moments = {p: Moments(width, device=device) for p in plan.pooling}
        if state is not None:
            for name, reducer in self._reducers.items():
                prefix = f"{name}."
                reducer.load_state_dict(
                    {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
                )

    @property
    def _lists(self) -> dict[str, TopK]:
        return {
            f"{pooling}.{kind}": lists
            for kind, by_pooling in (("top", self.top), ("bottom", self.bottom))
            for pooling, lists in by_pooling.items()
        }

    @property
    def _reducers(self) -> dict[str, TopK | Moments]:
        return {**self._lists, **{f"{pooling}.moments": moments for pooling, moments in self.moments.items()}}

    def add(self, pooling: str, pooled: Pooled, rows_b: torch.Tensor, batch: int) -> None:
        """Take in batch number `batch`: what was pooled of its images, and their rows, int64 [b]."""
        self.moments[pooling].add(pooled.values_bf, batch)
        for lists in (self.top, self.bottom):
            if pooling in lists:
                lists[pooling].add(pooled.values_bf, rows_b, pooled.positions_bf)

    def merge(self, other: "LayerState") -> None:
        """Add the state of other batches."""
        for name, lists in self._lists.items():
            lists.merge(other._lists[name])
        for pooling, moments in self.moments.items():
            moments.merge(other.moments[pooling])

    def renumber(self, new_rows: torch.Tensor) -> None:
        """Give every row n the number new_rows[n], int64; the order of the rows must stay."""
        for lists in self._lists.values():
            lists.renumber(new_rows)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything as tensors."""
        states = {name: reducer.state_dict() for name, reducer in self._reducers.items()}
        return {f"{name}.{key}": tensor for name, tensors in states.items() for key, tensor in tensors.items()}
