"""Attention probabilities and heads, where an implementation hides them.

Both ways give the model the same output as before, up to the rounding of another order of additions, and only while a
layer that needs them is in use.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from conceptprobe.models.errors import ModelError
from conceptprobe.models.layers import Tokens
from conceptprobe.models.sites import AS_IS, TIME_FIRST, Placed, Site


@contextmanager
def unfused(attention: Any) -> Iterator[None]:
    """timm attention writes its probabilities out, and passes them through `attn_drop`."""
    fused = attention.fused_attn
    attention.fused_attn = False
    try:
        yield
    finally:
        attention.fused_attn = fused


class SpelledOutAttention:
    """`nn.MultiheadAttention`, which neither calls its out_proj nor shows its probabilities, step by step.

    Its own weights are used. `probs` [B,heads,T,T] and `heads` [B,T,C] are modules that every such tensor passes; they
    are no part of the model, so its state dict and its module tree stay as they are.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        self.attention = attention
        self.probs = nn.Identity()
        self.heads = nn.Identity()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The attention module computes itself through this object."""
        before = self.attention.__dict__.get("forward")
        self.attention.__dict__["forward"] = self.forward
        try:
            yield
        finally:
            if before is None:
                del self.attention.__dict__["forward"]
            else:
                self.attention.__dict__["forward"] = before

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, None]:
        attention = self.attention
        if attn_mask is not None or query is not key or key is not value:
            raise ModelError("only self-attention without a mask can be taken apart into probabilities and heads")
        x_btc = query if attention.batch_first else query.transpose(0, 1)
        qkv = F.linear(x_btc, attention.in_proj_weight, attention.in_proj_bias)
        # [B,T,3,heads,d] -> three of [B,heads,T,d]
        q, k, v = qkv.unflatten(-1, (3, attention.num_heads, attention.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
        probs = (q * attention.head_dim**-0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
        probs = self.probs(F.dropout(probs, attention.dropout, attention.training))
        heads = self.heads((probs @ v).transpose(1, 2).flatten(2))
        out = F.linear(heads, attention.out_proj.weight, attention.out_proj.bias)
        return (out if attention.batch_first else out.transpose(0, 1)), None


def multihead_layers(block: str, attention: nn.MultiheadAttention, tokens: Tokens) -> list[Placed]:
    """The layers of a block's `nn.MultiheadAttention`, in the order of its forward."""
    spelled_out = SpelledOutAttention(attention)
    shown = spelled_out.in_place
    width = attention.embed_dim
    layout = AS_IS if attention.batch_first else TIME_FIRST
    return [
        Placed(
            tokens.layer(f"{block}.attn.probs", attention.num_heads, "attention"),
            Site(spelled_out.probs, exposing=shown),
        ),
        Placed(tokens.layer(f"{block}.attn.heads", width), Site(spelled_out.heads, exposing=shown)),
        Placed(tokens.layer(f"{block}.attn.out", width), Site(attention, layout=layout)),
    ]
