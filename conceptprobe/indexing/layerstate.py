"""The lists and running statistics of one layer: an associative state that can be merged, stored and gone on with."""

import torch

from conceptprobe.indexing.manifest import Manifest
from conceptprobe.indexing.moments import Moments
from conceptprobe.indexing.pooling import Pooled
from conceptprobe.indexing.topk import TopK


class LayerState:
    """What is known of a layer's features after any set of batches; merging gives the state of the union, to the bit.

    Args:
        width: Number of features.
        plan: Says which poolings and how long the lists are.
        state: What `state_dict` gave, to go on from there; None to begin.
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
            for kind, own in (("top", self.top), ("bottom", self.bottom))
            for pooling, lists in own.items()
        }

    @property
    def _reducers(self) -> dict[str, TopK | Moments]:
        return {**self._lists, **{f"{pooling}.moments": moments for pooling, moments in self.moments.items()}}

    def add(self, pooling: str, pooled: Pooled, rows_b: torch.Tensor, batch: int) -> None:
        """Take in batch number `batch`: what was pooled of its images, and their rows, int64 [b]."""
        self.moments[pooling].add(pooled.values_bf, batch)
        for own in (self.top, self.bottom):
            if pooling in own:
                own[pooling].add(pooled.values_bf, rows_b, pooled.positions_bf)

    def merge(self, other: "LayerState") -> None:
        """Take in the state of other batches."""
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
        return {f"{name}.{key}": tensor for name, own in states.items() for key, tensor in own.items()}
