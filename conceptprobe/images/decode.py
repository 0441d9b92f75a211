"""Decode the bytes of an image to pixels: RGB, upright, with alpha blended on a background.

Every source decodes here. Colour profiles are ignored, and only the first frame of an animation or a multi-page file is
read.
"""

import hashlib
import io
import threading
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageColor, UnidentifiedImageError

from conceptprobe.images.errors import SourceError, UnreadableImageError

try:
    import simplejpeg
except ImportError:  # the extra `fast`
    simplejpeg = None

DECODING = 1  # part of a source's fingerprint; incremented when a change here changes pixels

IMAGE_EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)  # in lower case
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # no format that runs a program, such as EPS

ORIENTATION = 0x0112  # EXIF tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image.

    Attributes:
        image: RGB, upright, with alpha blended on the background.
        mask: The alpha channel, mode L, or None if the image is opaque.
        content_hash: SHA-256 of the raw bytes; of the decoded pixels if a dataset has no bytes.
    """

    image: Image.Image
    mask: Image.Image | None
    content_hash: str


def parse_background(colour: str) -> tuple[int, int, int]:
    """RGB of a colour name or a hex value.

    Raises:
        SourceError: The colour is neither, or it is transparent.
    """
    try:
        rgb = ImageColor.getrgb(colour)
    except (ValueError, AttributeError, TypeError) as error:
        raise SourceError(
            f"background={colour!r} is not a colour: give a name such as white, black or gray, or hex such as #808080"
        ) from error
    if len(rgb) != 3:
        raise SourceError(f"background={colour!r} is transparent: give a colour without alpha, such as #808080")
    return rgb


def decode_image(
    data: bytes | Image.Image, background: tuple[int, int, int], *, least: int | None = None
) -> LoadedImage:
    """Decode a file's bytes, or convert an image that a dataset opened to the same form.

    Args:
        data: The file's bytes or the opened image.
        background: RGB on which transparent pixels are blended.
        least: If set, JPEG bytes may be decoded at 1/2, 1/4 or 1/8 of their size as long as no side gets shorter.

    Raises:
        UnreadableImageError: The image is truncated, empty, not an image, larger than `PIL.Image.MAX_IMAGE_PIXELS`, or
            of a kind whose pixels have no defined range.
    """
    try:
        with _QUIET:
            pixels = _plain_pixels(data, least)
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything at all on corrupt data
        raise UnreadableImageError(_reason(error)) from error
    if isinstance(data, bytes):
        content_hash = hashlib.sha256(data).hexdigest()
    else:
        content_hash = hashlib.sha256(f"{pixels.mode} {pixels.size} ".encode() + pixels.tobytes()).hexdigest()
    if pixels.mode == "RGB":
        return LoadedImage(pixels, None, content_hash)
    alpha = pixels.getchannel("A")
    image = Image.new("RGB", pixels.size, background)
    image.paste(pixels.convert("RGB"), mask=alpha)
    return LoadedImage(image, alpha, content_hash)


def is_plain_jpeg(data: bytes) -> bool:
    """Whether any JPEG decoder returns the pixels of `decode_image`, because none are rotated, converted or refused."""
    return _plain_jpeg_size(data) is not None


def decode_plain_jpeg(data: bytes, *, least: int) -> np.ndarray | None:
    """The pixels of `decode_image`, uint8 [h,w,3], decoded faster; None if simplejpeg is missing or fails."""
    if simplejpeg is None or not (size := _plain_jpeg_size(data)):
        return None
    step = next(step for step in (8, 4, 2, 1) if min(size) // least >= step or step == 1)
    width, height = (-(-side // step) if step > 1 else 0 for side in size)
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, min_width=width, min_height=height)
    except ValueError:
        return None
    return pixels


def _plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a complete, upright JPEG in grey or usual colours within the size limit, else None."""
    file = io.BytesIO(data)
    try:
        with _QUIET:
            image = Image.open(file, formats=("JPEG",))
            upright = _orientation(image) not in UPRIGHT
            whole = data.rfind(b"\xff\xd9") > file.tell()  # an end marker that is not that of a preview in the header
    except Exception:  # decode_image reports what is wrong
        return None
    small = Image.MAX_IMAGE_PIXELS is None or image.width * image.height <= Image.MAX_IMAGE_PIXELS
    usual = image.mode in ("L", "RGB") and image.info.get("adobe_transform", 1) == 1
    return image.size if whole and upright and small and usual else None


def _plain_pixels(data: bytes | Image.Image, least: int | None) -> Image.Image:
    """Upright RGB, or RGBA if some pixel is not opaque."""
    if isinstance(data, bytes):
        if not data:
            raise UnreadableImageError("empty file")
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    else:
        image = data
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise UnreadableImageError(f"decompression bomb: {image.width} x {image.height} pixels, the limit is {limit}")
    if least is not None and isinstance(data, bytes):
        image.draft(None, (least, least))  # None keeps the mode of the file
    image.load()  # before the orientation is read: PIL rotates a TIFF while it loads
    turn = UPRIGHT.get(_orientation(image))
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or (
        image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info
    ):
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (255, 255):
            image = image.convert("RGB")
    elif image.mode == "I" or image.mode.startswith("I;16"):
        image = _from_16_bit(image).convert("RGB")
    elif image.mode == "F":
        raise UnreadableImageError("floating-point pixels have no defined white: store 8 or 16 bit")
    else:
        image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # the pixels behind a broken EXIF block may be good
        return None


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255; PIL's own conversion clips."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImageError("32-bit pixels have no defined white: store 8 or 16 bit")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return f"decompression bomb: {text.removesuffix(', could be decompression bomb DOS attack.')}"
    if isinstance(error, OSError) and "truncated" in text.lower():
        return "truncated"
    return f"corrupt: {text or type(error).__name__}"[:160]


class _Quiet:
    """Silences warnings while any thread decodes; `warnings.catch_warnings` alone mixes the filters of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._caught.__exit__(None, None, None)


_QUIET = _Quiet()
