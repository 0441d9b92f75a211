"""Everything that is kept of one layer while images stream by."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save

from conceptprobe.indexing.loader import Batch
from conceptprobe.indexing.moments import Moments
from conceptprobe.indexing.pooling import pool
from conceptprobe.indexing.sample import Sample
from conceptprobe.indexing.topk import TopK
from conceptprobe.indexing.vectors import FlatIndexWriter, unit, write_flat
from conceptprobe.models import Layer

NEIGHBOUR_SAMPLE = 1024  # images on which features are compared with each other


class LayerReducer:
    """Top lists and statistics of a layer for every pooling, image vectors for the first.

    Args:
        sample_rows: Rows of the images whose values are all kept, for quantiles and neighbours.
        folder: Where the layer's files go; also holds what is too large for memory meanwhile.
        vectors: Whether to write FAISS files.
        state: A state of the same layer to go on from; None to begin.
    """

    def __init__(
        self, layer: Layer, pooling: Sequence[str], k: int, sample_rows: np.ndarray, folder: Path, *, vectors: bool,
        device: torch.device, state: dict[str, torch.Tensor] | None = None,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.layer, self.folder = layer, folder
        # MPS has neither float64 nor a 64-bit top-k: there the pooled values, which are few, come to the CPU.
        self.device = device = torch.device("cpu") if device.type == "mps" else device
        self.top = {p: TopK(layer.width, k, positions=p == "max", device=device) for p in pooling}
        self.moments = {p: Moments(layer.width, device=device) for p in pooling}
        self.sample = {p: Sample(sample_rows, layer.width, folder / f"sample-{p}.npy") for p in pooling}
        for name, reducer in self._stateful.items():
            if state is not None:
                prefix = f"{name}."
                own = {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}
                reducer.load_state_dict(own)
        rows = int(state["vectors"]) if state is not None and vectors else 0
        self.vectors = FlatIndexWriter(folder / "images.faiss", layer.width, rows) if vectors else None

    @property
    def _stateful(self) -> dict[str, TopK | Moments]:
        top = {f"{pooling}.top": reducer for pooling, reducer in self.top.items()}
        return {**top, **{f"{pooling}.moments": reducer for pooling, reducer in self.moments.items()}}

    def add(self, acts: torch.Tensor, batch: Batch, rows: np.ndarray) -> None:
        """Take in the activations of a whole batch; only its good places count."""
        good = torch.from_numpy(batch.good).to(self.device)
        rows_b = torch.from_numpy(rows).to(self.device)
        for number, pooling in enumerate(self.top):
            pooled = pool(acts, self.layer, pooling)
            values = pooled.values_bf.to(self.device)[good]
            positions = None if pooled.positions_bf is None else pooled.positions_bf.to(self.device)[good]
            self.moments[pooling].add(values, batch.number)
            self.sample[pooling].add(values, rows)
            self.top[pooling].add(values, rows_b, positions)
            if number == 0 and self.vectors is not None:
                self.vectors.add(np.nan_to_num(values.cpu().numpy(), nan=0.0, posinf=0.0, neginf=0.0))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What `state` takes to go on from here. Files are flushed; what they gain later is not missed."""
        for sample in self.sample.values():
            sample.flush()
        state = {
            f"{name}.{key}": t for name, reducer in self._stateful.items() for key, t in reducer.state_dict().items()
        }
        if self.vectors is not None:
            state["vectors"] = torch.tensor(self.vectors.flush(), device="cpu")
        return state

    def write(self, new_row: np.ndarray) -> None:
        """Write the layer's files. `new_row` maps rows of the listing to rows of the images that were indexed."""
        top, stats = {}, {}
        for pooling in self.top:
            lists = self.top[pooling].result()
            rows = lists.rows_fk.cpu().numpy()
            top[f"{pooling}.rows"] = np.where(rows >= 0, new_row[rows], -1)
            top[f"{pooling}.values"] = lists.values_fk.cpu().numpy()
            if lists.positions_fk is not None:
                top[f"{pooling}.positions"] = lists.positions_fk.cpu().numpy()
            for name, value in self.moments[pooling].result().items():
                stats[f"{pooling}.{name}"] = value.cpu().numpy()
            stats[f"{pooling}.quantiles"] = self.sample[pooling].quantiles()
        (self.folder / "top.safetensors").write_bytes(save(top))  # save_file would make it readable by its owner only
        (self.folder / "stats.safetensors").write_bytes(save(stats))
        if self.vectors is not None:
            self.vectors.close()
            values = next(iter(self.sample.values())).values_nf
            spread = np.linspace(0, len(values) - 1, min(len(values), NEIGHBOUR_SAMPLE)).round().astype(int)
            write_flat(self.folder / "features.faiss", unit(centred(values[spread]).T))

    @property
    def files(self) -> list[Path]:
        """The files that `state_dict` relies on."""
        samples = [self.folder / f"sample-{pooling}.npy" for pooling in self.sample]
        return samples if self.vectors is None else [*samples, self.folder / "images.faiss"]

    def discard_samples(self) -> None:
        """Remove the files that only a build in progress needs."""
        for sample in self.sample.values():
            sample.discard()


def centred(values_nf: np.ndarray) -> np.ndarray:
    """Values minus each feature's mean; what is not finite counts as the mean, so it adds nothing to a product."""
    finite = np.where(np.isfinite(values_nf), values_nf, np.nan)
    mean = np.nansum(finite, 0) / np.maximum((~np.isnan(finite)).sum(0), 1)
    return np.nan_to_num(finite - mean).astype(np.float32)
