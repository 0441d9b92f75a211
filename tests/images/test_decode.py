import hashlib
import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conceptprobe.images import SourceError, UnreadableImageError
from conceptprobe.images.decode import decode_image, parse_background

WHITE = (255, 255, 255)

# What a viewer does with each orientation, on a [h,w,c] array, after the EXIF standard's table (row 0, column 0).
REFERENCE = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


def pixels(data, background=WHITE):
    loaded = decode_image(data, background)
    assert loaded.image.mode == "RGB"
    return np.asarray(loaded.image)


def with_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", REFERENCE)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_exactly(photo, encode, orientation, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(photo, kind, exif=with_orientation(orientation), **options)
    np.testing.assert_array_equal(pixels(data), REFERENCE[orientation](np.asarray(photo)))


@pytest.mark.parametrize("orientation", REFERENCE)
def test_jpeg_orientation_equals_turning_the_unturned_decode(photo, encode, orientation):
    flat = pixels(encode(photo, "JPEG", quality=95))
    turned = pixels(encode(photo, "JPEG", quality=95, exif=with_orientation(orientation)))
    np.testing.assert_array_equal(turned, REFERENCE[orientation](flat))


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_orientation_outside_the_standard_is_upright(photo, encode, orientation):
    np.testing.assert_array_equal(pixels(encode(photo, "PNG", exif=with_orientation(orientation))), np.asarray(photo))


def test_mask_turns_with_the_image(photo, encode):
    alpha = np.full((12, 20), 255, np.uint8)
    alpha[0, 0] = 0
    photo.putalpha(Image.fromarray(alpha))
    loaded = decode_image(encode(photo, "PNG", exif=with_orientation(6)), WHITE)
    assert loaded.image.size == loaded.mask.size == (12, 20)
    np.testing.assert_array_equal(np.asarray(loaded.mask), np.rot90(alpha, -1))


def test_broken_exif_leaves_the_image_readable(photo, encode):
    data = encode(photo, "PNG", exif=b"Exif\0\0garbage that is no TIFF block")
    np.testing.assert_array_equal(pixels(data), np.asarray(photo))


def test_cmyk(encode):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    red, green, blue = pixels(encode(image, "JPEG", quality=100))[8, 8].astype(int)
    assert red > 250
    assert green < 5
    assert blue < 5
    np.testing.assert_array_equal(pixels(encode(image, "TIFF")), np.broadcast_to([255, 0, 0], (16, 16, 3)))


def test_palette_without_transparency(photo, encode):
    palette = photo.quantize(16)
    loaded = decode_image(encode(palette, "PNG"), WHITE)
    assert loaded.mask is None
    np.testing.assert_array_equal(np.asarray(loaded.image), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_one_transparent_index(encode, kind):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    loaded = decode_image(encode(image, kind, transparency=1), (10, 20, 30))
    np.testing.assert_array_equal(np.asarray(loaded.image), [[[255, 0, 0], [10, 20, 30]]])
    np.testing.assert_array_equal(np.asarray(loaded.mask), [[255, 0]])


def test_palette_with_alpha_a_colour(encode):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    loaded = decode_image(encode(image, "PNG", transparency=bytes([255, 51])), WHITE)
    np.testing.assert_array_equal(np.asarray(loaded.image), [[[255, 0, 0], [204, 255, 204]]])  # a fifth of green
    np.testing.assert_array_equal(np.asarray(loaded.mask), [[255, 51]])


@pytest.mark.parametrize(("mode", "key", "kept", "hidden"), [("L", 7, 9, 7), ("RGB", (1, 2, 3), (9, 9, 9), (1, 2, 3))])
def test_colour_key_transparency(encode, mode, key, kept, hidden):
    image = Image.new(mode, (2, 1))
    image.putdata([kept, hidden])
    loaded = decode_image(encode(image, "PNG", transparency=key), WHITE)
    np.testing.assert_array_equal(np.asarray(loaded.image), [[[9, 9, 9], [255, 255, 255]]])
    np.testing.assert_array_equal(np.asarray(loaded.mask), [[255, 0]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(encode, kind):
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    expected = np.round(values / 257).astype(np.uint8)
    got = pixels(encode(Image.fromarray(values), kind))
    np.testing.assert_array_equal(got, np.repeat(expected[..., None], 3, axis=-1))


def test_16_bit_colour_keeps_the_high_byte():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = struct.pack(">6H", 0, 255, 256, 32768, 65279, 65535)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(pixels(data), [[[0, 0, 1], [128, 254, 255]]])


def test_big_endian_16_bit_grey(encode):
    image = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 65535, 257))
    np.testing.assert_array_equal(pixels(encode(image, "TIFF"))[0, :, 0], [255, 1])


def test_16_bit_grey_is_turned_upright(encode):
    values = (np.arange(6, dtype=np.uint16) * 257).reshape(2, 3)
    data = encode(Image.fromarray(values), "PNG", exif=with_orientation(6))
    np.testing.assert_array_equal(pixels(data)[..., 0], np.rot90(np.arange(6).reshape(2, 3), -1))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_laid_on_the_background(encode, mode):
    image = Image.new("RGBA", (3, 1))
    image.putdata([(100, 100, 100, 255), (100, 100, 100, 0), (100, 100, 100, 51)])
    loaded = decode_image(encode(image.convert(mode), "PNG"), (200, 0, 0))
    np.testing.assert_array_equal(np.asarray(loaded.image), [[[100, 100, 100], [200, 0, 0], [180, 20, 20]]])
    np.testing.assert_array_equal(np.asarray(loaded.mask), [[255, 0, 51]])
    assert loaded.mask.mode == "L"


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_opaque_alpha_is_no_mask(encode, mode):
    loaded = decode_image(encode(Image.new("RGBA", (2, 2), (9, 8, 7, 255)).convert(mode), "PNG"), WHITE)
    assert loaded.mask is None


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_1_bit(encode, kind):
    image = Image.new("1", (2, 1))
    image.putdata([0, 255])
    np.testing.assert_array_equal(pixels(encode(image, kind)), [[[0, 0, 0], [255, 255, 255]]])


def test_8_bit_grey(encode):
    np.testing.assert_array_equal(pixels(encode(Image.new("L", (1, 1), 77), "PNG")), [[[77, 77, 77]]])


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_animation_gives_its_first_frame(encode, kind, options):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    np.testing.assert_array_equal(pixels(data), np.asarray(frames[0]))


def test_a_camera_file_of_several_jpegs_gives_the_first(encode):
    data = encode(
        Image.new("RGB", (8, 8), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")]
    )
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert pixels(data)[0, 0].tolist() == [254, 0, 0]


def test_hash_is_of_the_raw_bytes(photo, encode):
    data = encode(photo, "PNG")
    assert decode_image(data, WHITE).content_hash == hashlib.sha256(data).hexdigest()


def test_hash_of_an_opened_image_is_of_its_pixels(photo, encode):
    opened = [Image.open(io.BytesIO(encode(photo, kind))) for kind in ("PNG", "BMP")]
    hashes = {decode_image(image, WHITE).content_hash for image in opened}
    assert len(hashes) == 1
    photo.putpixel((3, 3), (0, 0, 0))
    assert decode_image(photo, WHITE).content_hash not in hashes
    assert decode_image(photo.resize((10, 24)), WHITE).content_hash != decode_image(photo, WHITE).content_hash


def test_hash_of_an_opened_image_does_not_depend_on_the_background():
    image = Image.new("RGBA", (2, 2), (1, 2, 3, 4))
    assert decode_image(image, WHITE).content_hash == decode_image(image, (0, 0, 0)).content_hash


def reason(data):
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(data, WHITE)
    assert "0x" not in str(caught.value), "a reason with an address differs from run to run"
    return str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_truncated(encode, kind, capfd):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, kind)
    assert reason(data[: len(data) // 2])
    assert reason(data[:-200])
    assert capfd.readouterr() == ("", "")


def test_truncated_jpeg_says_so(photo, encode):
    data = encode(photo.resize((300, 300)), "JPEG")
    assert reason(data[: len(data) // 2]) == "truncated"


def test_empty_and_foreign_files():
    assert reason(b"") == "empty file"
    assert reason(b"<html>404</html>") == "not an image"
    assert reason(b"\0" * 1000) == "not an image"


def test_postscript_is_not_run():
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n") == "not an image"


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))


@pytest.mark.parametrize("width", [60, 200])  # beyond the limit, where PIL only warns; and beyond twice the limit
def test_decompression_bomb(monkeypatch, width):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    assert reason(png_header(width, 100)).startswith("decompression bomb")


def test_pixels_without_a_range(encode):
    assert "floating-point" in reason(encode(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))
    assert "32-bit" in reason(encode(Image.fromarray(np.full((2, 2), 70_000, np.int32)), "TIFF"))


@pytest.mark.filterwarnings("error")
def test_no_warning_escapes_and_filters_are_restored(monkeypatch, photo, encode):
    before = list(warnings.filters)
    data = encode(photo.quantize(8), "PNG", transparency=bytes(range(8)), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    threads = [threading.Thread(target=lambda: [decode_image(data, WHITE) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@pytest.mark.filterwarnings("error")
@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 400),
)
def test_corrupt_bytes_decode_or_give_a_reason(kind, edits, cut):
    out = io.BytesIO()
    Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(out, kind)
    data = bytearray(out.getvalue())
    for at, value in edits:
        data[at % len(data)] = value
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, 1_000_000
    try:
        result = decode_image(bytes(data[: len(data) - cut]), WHITE).image.mode
    except UnreadableImageError as error:
        result = str(error)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    assert 0 < len(result) <= 160


def test_backgrounds():
    assert parse_background("white") == parse_background("#fff") == parse_background("#FFFFFF") == WHITE
    assert parse_background("#102030") == (16, 32, 48)


@pytest.mark.parametrize("colour", ["whiet", "", "#12345678", None, (1, 2, 3)])
def test_bad_backgrounds(colour):
    with pytest.raises(SourceError, match="#808080"):
        parse_background(colour)
