"""JPEGs decoded on a GPU, a batch at a time, by nvJPEG as torchvision brings it."""

import io
import warnings
from collections.abc import Sequence
from functools import cache

import torch
from PIL import Image


@cache
def has_nvjpeg(device: torch.device) -> bool:
    """Whether this device decodes JPEGs: it is tried on one."""
    if device.type != "cuda":
        return False
    jpeg = io.BytesIO()
    Image.new("RGB", (16, 16)).save(jpeg, "JPEG")
    try:
        return decode_jpegs([torch.frombuffer(jpeg.getbuffer(), dtype=torch.uint8)], device)[0].shape == (3, 16, 16)
    except (ImportError, RuntimeError, AttributeError):  # torchvision was built without it
        return False


def decode_jpegs(jpegs: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Pixels [3,h,w], uint8 on `device`, of each JPEG's bytes.

    Raises:
        RuntimeError: One of them cannot be decoded; which one is not known.
    """
    from torchvision.io import ImageReadMode, decode_jpeg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it names a package that would have to be installed
        result: list[torch.Tensor] = decode_jpeg(list(jpegs), mode=ImageReadMode.RGB, device=device)
        return result
