"""The exact top images of every feature, kept while images stream by.

A value and its image's row are packed into one integer whose order is the order of the list: larger values first, of
equal values the smaller row first. All keys differ, so the k largest are one set in one order however the images were
cut into batches and shards; `merge` is associative and commutative.
"""

from dataclasses import dataclass

import numpy as np
import torch

EMPTY = torch.iinfo(torch.int64).min
_LOW = 0xFFFFFFFF


@dataclass(frozen=True)
class TopLists:
    """Rows int64 [f,k], values float32 [f,k], positions int32 [f,k] or None; -1, NaN, -1 past the end of a list."""

    rows_fk: torch.Tensor
    values_fk: torch.Tensor
    positions_fk: torch.Tensor | None


def pack(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Float32 values and rows below 2^32 as int64 keys; NaN and infinities become EMPTY."""
    bits = (values + 0.0).view(torch.int32)  # + 0.0 makes -0.0 and 0.0 one value
    bits ^= (bits >> 31) & 0x7FFFFFFF  # now in the order of the values
    keys = bits.long().bitwise_left_shift_(32).bitwise_or_(_LOW - rows)
    return keys.masked_fill_(~torch.isfinite(values), EMPTY)


def unpack(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The values and rows of keys; NaN and -1 for EMPTY."""
    ordered = (keys >> 32).int()
    values = torch.where(ordered >= 0, ordered, ordered ^ 0x7FFFFFFF).view(torch.float32)
    empty = keys == EMPTY
    return values.masked_fill(empty, torch.nan), (_LOW - (keys & _LOW)).masked_fill(empty, -1)


def _descending(keys: torch.Tensor) -> torch.Tensor:
    """Every row sorted; on a CPU by numpy, which is eight times as fast at it as `torch.topk`."""
    if keys.device.type != "cpu":
        return keys.sort(1, descending=True).values
    return torch.from_numpy(np.sort(keys.numpy(), axis=1)).flip(1)


def _descending_order(keys: torch.Tensor) -> torch.Tensor:
    """What sorts every row."""
    if keys.device.type != "cpu":
        return keys.sort(1, descending=True).indices
    return torch.from_numpy(np.argsort(keys.numpy(), axis=1)).flip(1)


class TopK:
    """The k largest values of every feature, or the k smallest.

    Args:
        features: Number of features f.
        k: Length of a list.
        positions: Whether every value comes with the patch that gave it.
        lowest: List the smallest values first; of equal values still the smaller row first.
    """

    def __init__(
        self, features: int, k: int, *, positions: bool = False, lowest: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.lowest = lowest
        self.keys_fk = torch.full((features, k), EMPTY, dtype=torch.int64, device=device)
        self.positions_fk = torch.full((features, k), -1, dtype=torch.int32, device=device) if positions else None

    def add(self, values_bf: torch.Tensor, rows_b: torch.Tensor, positions_bf: torch.Tensor | None = None) -> None:
        """Take in a batch: values float32 [b,f], rows int64 [b] that were never added before, positions int32 [b,f]."""
        keys_fb = pack(-values_bf if self.lowest else values_bf, rows_b[:, None]).T
        self._take(keys_fb, None if positions_bf is None else positions_bf.T)

    def merge(self, other: "TopK") -> None:
        """Take in the lists of other images."""
        self._take(other.keys_fk.to(self.keys_fk.device), other.positions_fk)

    def _take(self, keys_fb: torch.Tensor, positions_fb: torch.Tensor | None) -> None:
        changed = (keys_fb.amax(1) > self.keys_fk[:, -1]).nonzero()[:, 0]  # few, once the lists have filled
        if not len(changed):
            return
        joined, k = torch.cat([self.keys_fk[changed], keys_fb[changed]], 1), self.keys_fk.shape[1]
        if self.positions_fk is None:
            self.keys_fk[changed] = _descending(joined)[:, :k]
            return
        assert positions_fb is not None, "this reducer keeps positions: every batch must bring them"
        places = torch.cat([self.positions_fk[changed], positions_fb[changed].to(self.positions_fk)], 1)
        order = _descending_order(joined)[:, :k]
        self.keys_fk[changed] = joined.gather(1, order)
        self.positions_fk[changed] = places.gather(1, order)

    def result(self) -> TopLists:
        """The lists, sorted."""
        values, rows = unpack(self.keys_fk)
        return TopLists(rows, 0.0 - values if self.lowest else values, self._positions())

    def renumber(self, new_rows: torch.Tensor) -> None:
        """Give every row n the number new_rows[n], int64; the order of the rows must stay."""
        values, rows = unpack(self.keys_fk)
        self.keys_fk = torch.where(rows < 0, EMPTY, pack(values, new_rows[rows]))

    def _positions(self) -> torch.Tensor | None:
        """Places that are empty hold -1, whatever came with a value that is not finite."""
        return None if self.positions_fk is None else self.positions_fk.masked_fill(self.keys_fk == EMPTY, -1)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything as tensors."""
        positions = self._positions()
        return {"keys": self.keys_fk} if positions is None else {"keys": self.keys_fk, "positions": positions}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what `state_dict` gave."""
        self.keys_fk = state["keys"].to(self.keys_fk.device)
        self.positions_fk = state["positions"].to(self.keys_fk.device) if "positions" in state else None
