"""Images that a small network computes from coordinates (Stanley 2007)."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from conceptprobe.lucent.optvis.param.device import device


class CompositeActivation(nn.Module):
    """The arc tangent and its square, each scaled to about unit variance, which doubles the channels."""

    def forward(self, values: Tensor) -> Tensor:
        """Twice as many channels."""
        bent = torch.atan(values)
        return torch.cat([bent / 0.67, bent * bent / 0.6], 1)


def cppn(
    size: int,
    num_output_channels: int = 3,
    num_hidden_channels: int = 24,
    num_layers: int = 8,
    activation_fn: Callable[[], nn.Module] = CompositeActivation,
    normalize: bool = False,
) -> tuple[Iterator[nn.Parameter], Callable[[], Tensor]]:
    """The weights of a network of 1 x 1 convolutions, and a function for its image [1,c,size,size] in [0,1].

    Args:
        size: Height and width of the image.
        num_output_channels: Channels of the image.
        num_hidden_channels: Channels of the hidden layers.
        num_layers: Number of layers.
        activation_fn: Makes the activation between two layers, which must double the channels.
        normalize: Normalise each channel after each convolution.
    """
    reach = 3**0.5
    along = torch.linspace(-reach, reach, size, device="cpu")
    coordinates = torch.stack(torch.meshgrid(along, along, indexing="ij"))[None].to(device())
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(num_layers):
        inputs = 2 if number == 0 else 2 * num_hidden_channels
        is_last = number == num_layers - 1
        outputs = num_output_channels if is_last else num_hidden_channels
        layer = nn.Conv2d(inputs, outputs, 1, device="cpu")
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        if is_last:
            nn.init.zeros_(layer.weight)  # a grey start
        else:
            nn.init.normal_(layer.weight, 0, inputs**-0.5)
        layers[f"conv{number}"] = layer
        if normalize:
            layers[f"norm{number}"] = nn.InstanceNorm2d(outputs)
        layers["output" if is_last else f"actv{number}"] = nn.Sigmoid() if is_last else activation_fn()
    network = nn.Sequential(layers).to(device())
    return network.parameters(), lambda: network(coordinates)
