"""A distillation token beside the class token: its loss, a small student, and the tokens of distilled models.

Sources: Touvron et al. 2021, arXiv 2012.12877; for shape, Naseer et al. 2021, arXiv 2105.10497.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from conceptprobe.models import VisionModel
from conceptprobe.probes.framework.batches import pixel_batches

WIDEST_HEAD = 64
BATCH = 64


def distillation_loss(
    class_logits_bc: Tensor,
    token_logits_bc: Tensor,
    targets_b: Tensor,
    teacher_logits_bc: Tensor,
    *,
    alpha: float = 0.5,
    tau: float = 1.0,
) -> Tensor:
    """The loss of distillation into a token, the mean over images.

    It is (1 - alpha) cross-entropy of the class token + alpha tau^2 KL(teacher || token), with the logits of teacher
    and token divided by tau (Naseer et al. 2021, section 3.2; Hinton et al. 2015, arXiv 1503.02531). DeiT's public code
    also divides the second term by the number of classes, which gives it less weight.
    """
    cross_entropy = F.cross_entropy(class_logits_bc, targets_b)
    token, teacher = (F.log_softmax(logits_bc / tau, -1) for logits_bc in (token_logits_bc, teacher_logits_bc))
    divergence = F.kl_div(token, teacher, reduction="batchmean", log_target=True)
    return (1 - alpha) * cross_entropy + alpha * tau**2 * divergence


class TwoTokens(nn.Module):
    """One transformer block with a class token and a second token, and a linear classifier on each, as in DeiT.

    The block reads the tokens of a frozen model.

    Args:
        width: The width of the frozen tokens.
        classes: The number of classes.
        seed: Seed of the weights; the global random state stays as it was.
    """

    def __init__(self, width: int, classes: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.tokens_2c = nn.Parameter(0.02 * torch.randn(2, width))
            self.norm_in, self.norm_mlp, self.norm_out = (nn.LayerNorm(width) for _ in range(3))
            heads = next(n for n in range(max(1, width // WIDEST_HEAD), 0, -1) if width % n == 0)
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            self.heads = nn.ModuleList([nn.Linear(width, classes) for _ in range(2)])

    def forward(self, frozen_btc: Tensor) -> tuple[Tensor, Tensor]:
        """The two tokens as the classifiers read them [b,2,c], and their logits [b,2,classes]."""
        added_b2c = self.tokens_2c.expand(len(frozen_btc), -1, -1)
        keys_btc = self.norm_in(torch.cat([added_b2c, frozen_btc], 1))
        read_b2c = added_b2c + self.attention(keys_btc[:, :2], keys_btc, keys_btc, need_weights=False)[0]
        read_b2c = self.norm_out(read_b2c + self.mlp(self.norm_mlp(read_b2c)))
        return read_b2c, torch.stack([head(read_b2c[:, i]) for i, head in enumerate(self.heads)], 1)


def train(
    frozen_ntc: Tensor,
    targets_n: Tensor,
    teacher_logits_nc: Tensor,
    *,
    loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    steps: int,
    rate: float,
    seed: int,
    device: torch.device,
) -> tuple[TwoTokens, np.ndarray]:
    """Train a student by AdamW on batches of 64, in passes over all images.

    Args:
        frozen_ntc: The frozen model's tokens of the images.
        targets_n: The class of each image.
        teacher_logits_nc: The teacher's logits.
        loss: Takes the logits of both tokens, the targets and the teacher's logits.
        steps: How many batches.
        rate: The learning rate.
        seed: Seed of the weights and of the batches.
        device: Where the student is trained.

    Returns:
        The student, and the loss at each step, float32 [steps].
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    student = TwoTokens(frozen_ntc.shape[2], teacher_logits_nc.shape[1], seed).to(device)
    optimiser = torch.optim.AdamW(student.parameters(), lr=rate)
    losses, left = [], torch.empty(0, dtype=torch.int64, device="cpu")
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(steps):
            if not len(left):
                left = torch.randperm(len(frozen_ntc), generator=generator, device="cpu")
            batch, left = left[:BATCH], left[BATCH:]
            _, logits_b2c = student(frozen_ntc[batch].to(device))
            value = loss(
                logits_b2c[:, 0], logits_b2c[:, 1], targets_n[batch].to(device), teacher_logits_nc[batch].to(device)
            )
            optimiser.zero_grad()
            torch.autograd.backward(value)
            optimiser.step()
            losses.append(float(value.detach()))
    return student, np.array(losses, np.float32)


def read_tokens(student: TwoTokens, frozen_ntc: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A student's two tokens [n,2,c] and their logits [n,2,classes]."""
    device = student.tokens_2c.device
    with torch.inference_mode():
        outputs = [student(batch.to(device)) for batch in torch.split(frozen_ntc, BATCH)]
    tokens, logits = (torch.cat(values).cpu().numpy() for values in zip(*outputs, strict=True))
    return tokens, logits


@dataclass(frozen=True, eq=False)
class Token:
    """One of the two tokens of a distilled model.

    Attributes:
        name: Which of the two.
        value_nc: The token after the final norm.
        logits_nc: The logits of its classifier.
    """

    name: str
    value_nc: Tensor
    logits_nc: Tensor


def distilled_tokens(model: VisionModel, levels_nchw: Tensor) -> tuple[Token, ...]:
    """The class token and the distillation token of timm's distilled DeiT models; none of other models.

    Args:
        model: The model.
        levels_nchw: uint8, as `ProbeImages.pixels` returns them.
    """
    module = model.module
    if not isinstance(module, VisionTransformerDistilled):
        return ()
    with torch.inference_mode():
        tokens = []
        for _, pixels_bchw in pixel_batches(model, levels_nchw, BATCH):
            tokens.append(model.capture(pixels_bchw, "final")["final"][:, :2])
        final_n2c = torch.cat(tokens)
        return tuple(
            Token(name, final_n2c[:, i].float(), head(final_n2c[:, i]).float())
            for i, (name, head) in enumerate((("class token", module.head), ("distillation token", module.head_dist)))
        )
