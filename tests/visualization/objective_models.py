"""Small models for tests of objectives, made by hand."""

import torch
from torch import Tensor, nn

from conceptprobe.models import Tokens, VisionModel

CLASSES = ("tench, Tinca tinca", "crane, bird", "crane, machine", "red fox")


class TokenMixer(nn.Module):
    """Four patches of an 8 x 8 image behind a CLS token; each token sees the mean of all."""

    def __init__(self, time_first: bool) -> None:
        super().__init__()
        self.time_first = time_first
        self.patches = nn.Conv2d(3, 6, 4, stride=4)
        self.cls = nn.Parameter(torch.zeros(1, 1, 6))
        self.hidden = nn.Sequential(nn.Linear(6, 7), nn.GELU())
        self.head = nn.Linear(7, len(CLASSES))

    def forward(self, pixels_bchw: Tensor) -> Tensor:
        patches_bpc = self.patches(pixels_bchw).flatten(2).transpose(1, 2)
        x_btc = torch.cat([self.cls.expand(len(patches_bpc), -1, -1), patches_bpc], 1)
        x_btc = x_btc + x_btc.mean(1, keepdim=True)
        if self.time_first:
            return self.head(self.hidden(x_btc.transpose(0, 1).contiguous())[0])
        return self.head(self.hidden(x_btc)[:, 0])


class TinyCnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))

    def forward(self, pixels_bchw: Tensor) -> Tensor:
        return self.head(self.conv(pixels_bchw))


def random_weights(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for weight in module.parameters():
        weight.data = 0.3 * torch.randn(
            weight.shape, generator=generator, device="cpu"
        )  # GELUs stay within their range
    return module.eval().requires_grad_(False)


def mixer(time_first: bool = False) -> VisionModel:
    return VisionModel.wrap(
        random_weights(TokenMixer(time_first)),
        layers=["hidden"],
        image_size=8,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        tokens=Tokens(prefix=1, cls=0, grid=(2, 2), batch_first=not time_first),
        class_names=CLASSES,
        name="mixer",
    )


def cnn() -> VisionModel:
    return VisionModel.wrap(
        random_weights(TinyCnn()), layers=["conv"], image_size=8, mean=(0.5,) * 3, std=(0.25,) * 3, name="cnn"
    )


def random_pixels(model: VisionModel, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, *model.image_size, generator=generator, device="cpu")
