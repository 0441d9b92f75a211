"""Images, in the way most scripts ask for them."""

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
    """Parameters of a batch of images [batch,channels,h,w] in [0,1], and the function that gives the images.

    Args:
        sd: Standard deviation of the parameters at the start, 0.01.
        decorrelate: Of independent colours, if `channels` is None.
        fft: Of frequencies and not of pixels.
    """
    shape = [batch or 1, channels or 3, h or w, w]
    params, image_f = fft_image(shape, sd=sd) if fft else pixel_image(shape, sd=sd)
    return params, to_valid_rgb(image_f, decorrelate=decorrelate and not channels)
