"""Attention probabilities and heads, for implementations that hide them.

While a layer that needs them is in use, the model computes the same output by another order of additions.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from conceptprobe.models.errors import ModelError
from conceptprobe.models.hook_points import AS_IS, TIME_FIRST, HookedLayer, HookPoint
from conceptprobe.models.layers import Tokens

_LOCK = threading.Lock()


class AttentionChange(ABC):
    """A change of an attention module that several threads may need at once: the first makes it, the last undoes it."""

    def __init__(self) -> None:
        self._users = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within the context the attention module is changed."""
        with _LOCK:
            if self._users == 0:
                self.make()
            self._users += 1
        try:
            yield
        finally:
            with _LOCK:
                self._users -= 1
                if self._users == 0:
                    self.undo()

    @abstractmethod
    def make(self) -> None:
        """Change the module."""

    @abstractmethod
    def undo(self) -> None:
        """Restore the module."""


class UnfusedAttention(AttentionChange):
    """Timm's attention computes its probabilities and passes them through `attn_drop`."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.attention = attention

    def make(self) -> None:
        """Switch fused attention off."""
        self._fused = self.attention.fused_attn
        self.attention.fused_attn = False

    def undo(self) -> None:
        """Switch fused attention back on if it was on."""
        self.attention.fused_attn = self._fused


class SpelledOutAttention(AttentionChange):
    """An `nn.MultiheadAttention` computed step by step; PyTorch's own calls no out_proj and shows no probabilities.

    It uses the same weights. `probs` [B,heads,T,T] and `heads` [B,T,C] are modules through which these tensors pass.
    They are not part of the model, so its state dict and its module tree stay unchanged.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.attention = attention
        self.probs = nn.Identity()
        self.heads = nn.Identity()

    def make(self) -> None:
        """Let the attention module run this object's `forward`."""
        self._before = self.attention.__dict__.get("forward")
        self.attention.__dict__["forward"] = self.forward

    def undo(self) -> None:
        """Give the attention module its former `forward`."""
        if self._before is None:
            del self.attention.__dict__["forward"]
        else:
            self.attention.__dict__["forward"] = self._before

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, None]:
        """Self-attention without a mask; the arguments are those of `nn.MultiheadAttention`."""
        attention = self.attention
        if attn_mask is not None or query is not key or key is not value:
            raise ModelError("attention probabilities and heads can be shown only of self-attention without a mask")
        x_btc = query if attention.batch_first else query.transpose(0, 1)
        qkv = F.linear(x_btc, attention.in_proj_weight, attention.in_proj_bias)
        # [B,T,3,heads,d] -> three of [B,heads,T,d]
        q, k, v = qkv.unflatten(-1, (3, attention.num_heads, attention.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
        probs = (q * attention.head_dim**-0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
        probs = self.probs(F.dropout(probs, attention.dropout, attention.training))
        heads = self.heads((probs @ v).transpose(1, 2).flatten(2))
        out = F.linear(heads, attention.out_proj.weight, attention.out_proj.bias)
        return (out if attention.batch_first else out.transpose(0, 1)), None


def multihead_layers(block: str, attention: nn.MultiheadAttention, tokens: Tokens) -> list[HookedLayer]:
    """The layers of a block's `nn.MultiheadAttention`, in forward order."""
    spelled_out = SpelledOutAttention(attention)
    width = attention.embed_dim
    layout = AS_IS if attention.batch_first else TIME_FIRST
    return [
        HookedLayer(
            tokens.layer(f"{block}.attn.probs", attention.num_heads, "attention"),
            HookPoint(spelled_out.probs, exposing=spelled_out),
        ),
        HookedLayer(tokens.layer(f"{block}.attn.heads", width), HookPoint(spelled_out.heads, exposing=spelled_out)),
        HookedLayer(tokens.layer(f"{block}.attn.out", width), HookPoint(attention, layout=layout)),
    ]
