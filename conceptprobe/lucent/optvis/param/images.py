"""The parametrization of images that most scripts use."""

from conceptprobe.lucent.optvis.param.color import to_valid_rgb
from conceptprobe.lucent.optvis.param.spatial import Parameters, fft_image, pixel_image


def image(
    w: int,
    h: int | None = None,
    sd: float | None = None,
    batch: int | None = None,
    decorrelate: bool = True,
    fft: bool = True,
    channels: int | None = None,
) -> Parameters:
    """Parameters of a batch of images [batch,channels,h,w] in [0,1], and a function for the images.

    Args:
        w: Width.
        h: Height; by default the width.
        sd: Standard deviation of the parameters at the start; 0.01 by default.
        batch: Number of images; 1 by default.
        decorrelate: Use decorrelated colours; without effect if `channels` is given.
        fft: Use frequencies instead of pixels.
        channels: Number of channels; 3 by default.
    """
    shape = [batch or 1, channels or 3, h or w, w]
    params, image_f = fft_image(shape, sd=sd) if fft else pixel_image(shape, sd=sd)
    return params, to_valid_rgb(image_f, decorrelate=decorrelate and not channels)
