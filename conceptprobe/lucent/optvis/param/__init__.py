"""Parametrizations: functions that return parameters, and a function for the images."""

from conceptprobe.lucent.optvis.param.color import to_valid_rgb
from conceptprobe.lucent.optvis.param.cppn import CompositeActivation, cppn
from conceptprobe.lucent.optvis.param.images import image
from conceptprobe.lucent.optvis.param.lowres import lowres_tensor
from conceptprobe.lucent.optvis.param.spatial import fft_image, pixel_image, rfft2d_freqs

__all__ = [
    "CompositeActivation",
    "cppn",
    "fft_image",
    "image",
    "lowres_tensor",
    "pixel_image",
    "rfft2d_freqs",
    "to_valid_rgb",
]
