"""Count, mean, spread, range and firing rate of every feature, to the same bits for any cut into shards.

Adding floats depends on the order, so sums are not simply added up. Each batch gives one leaf, numbered by its place
in the global order; two leaves 2j and 2j+1 of a level become leaf j of the next, and no other two are ever joined.
However the batches are dealt out to reducers, the tree is the same; over a run of batches it holds at most two nodes a
level.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Node:
    """Finite values only: how many, their mean, the sum of squared distances from it (float64 [f] each)."""

    count: torch.Tensor
    mean: torch.Tensor
    m2: torch.Tensor

    def join(self, right: "Node") -> "Node":
        """Chan, Golub and LeVeque (1979), doi 10.1007/978-3-642-51461-6_3."""
        count = self.count + right.count
        share = right.count / count.clamp(min=1)
        delta = right.mean - self.mean
        return Node(count, self.mean + delta * share, self.m2 + right.m2 + delta**2 * self.count * share)


class Moments:
    """Statistics of every feature over a stream of batches; each batch is numbered and added once."""

    def __init__(self, features: int, *, device: torch.device | str = "cpu") -> None:
        self.nodes: dict[tuple[int, int], Node] = {}  # (level, number)
        self.minimum = torch.full((features,), torch.inf, device=device)
        self.maximum = torch.full((features,), -torch.inf, device=device)
        self.firing = torch.zeros(features, dtype=torch.int64, device=device)
        self.nonfinite = torch.zeros(features, dtype=torch.int64, device=device)

    def add(self, values_bf: torch.Tensor, batch: int) -> None:
        """Take in batch number `batch`: values float32 [b,f]. NaN and infinities are counted, nothing else."""
        missing = ~torch.isfinite(values_bf)
        some = bool(missing.any())

        def instead(values: torch.Tensor, other: float) -> torch.Tensor:
            return values.masked_fill(missing, other) if some else values

        values = instead(values_bf, 0)
        exact = values.double()
        count = len(values_bf) - missing.sum(0)
        mean = exact.sum(0) / count.clamp(min=1)
        m2 = instead(exact.sub_(mean), 0).square_().sum(0)
        self._place(0, batch, Node(count.double(), mean, m2))
        self.minimum = torch.minimum(self.minimum, instead(values_bf, torch.inf).amin(0))
        self.maximum = torch.maximum(self.maximum, instead(values_bf, -torch.inf).amax(0))
        self.firing += (values > 0).sum(0)
        self.nonfinite += len(values_bf) - count

    def skip_batch(self, batch: int) -> None:
        """Batch number `batch` has no image: its place is taken, so that others are joined across it."""
        nothing = torch.zeros_like(self.minimum, dtype=torch.float64)
        self._place(0, batch, Node(nothing, nothing, nothing))

    def merge(self, other: "Moments") -> None:
        """Take in the statistics of other batches."""
        for (level, number), node in other.nodes.items():
            self._place(level, number, node)
        self.minimum = torch.minimum(self.minimum, other.minimum)
        self.maximum = torch.maximum(self.maximum, other.maximum)
        self.firing += other.firing
        self.nonfinite += other.nonfinite

    def _place(self, level: int, number: int, node: Node) -> None:
        assert (level, number) not in self.nodes, f"batch {number << level} was added twice"
        while (level, number ^ 1) in self.nodes:
            sibling = self.nodes.pop((level, number ^ 1))
            node = node.join(sibling) if number % 2 == 0 else sibling.join(node)
            level, number = level + 1, number // 2
        self.nodes[level, number] = node

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything as tensors."""
        keys = sorted(self.nodes)
        state = {name: getattr(self, name) for name in ("minimum", "maximum", "firing", "nonfinite")}
        if keys:
            state["nodes"] = torch.tensor(keys, device="cpu")
            for name in ("count", "mean", "m2"):
                state[f"nodes.{name}"] = torch.stack([getattr(self.nodes[key], name) for key in keys])
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what `state_dict` gave."""
        device = self.minimum.device
        for name in ("minimum", "maximum", "firing", "nonfinite"):
            setattr(self, name, state[name].to(device))
        columns = [state[f"nodes.{name}"].to(device) for name in ("count", "mean", "m2")] if "nodes" in state else []
        keys = state["nodes"].tolist() if "nodes" in state else []
        self.nodes = {(level, number): Node(*(c[i] for c in columns)) for i, (level, number) in enumerate(keys)}

    def result(self) -> dict[str, torch.Tensor]:
        """`count`, `nonfinite`, `mean`, `std` (population), `min`, `max`, `firing_rate` (share above 0), each [f].

        A feature without any finite value has NaN everywhere but in the counts.
        """
        features, device = self.minimum.shape, self.minimum.device
        zero = torch.zeros(features, dtype=torch.float64, device=device)
        total = Node(zero, zero, zero)
        for key in sorted(self.nodes, key=lambda key: key[1] << key[0]):
            total = total.join(self.nodes[key])
        nothing = total.count == 0
        return {
            "count": total.count.long(),
            "nonfinite": self.nonfinite,
            "mean": total.mean.masked_fill(nothing, torch.nan),
            "std": (total.m2 / total.count).sqrt(),
            "min": self.minimum.masked_fill(nothing, torch.nan),
            "max": self.maximum.masked_fill(nothing, torch.nan),
            "firing_rate": self.firing / total.count,
        }
