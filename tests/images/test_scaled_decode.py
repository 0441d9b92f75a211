"""JPEGs that are scaled while they are decoded: never below what is asked for, and otherwise the same image."""

import io

import numpy as np
import pytest
from PIL import Image

from conceptprobe.images import SourceError, UnreadableImageError, decode, load_images
from conceptprobe.images.decode import decode_image, decode_plain_jpeg, is_plain_jpeg

WHITE = (255, 255, 255)


@pytest.fixture
def smooth():
    """A picture without detail, so that scaling it in any good way gives nearly the same."""

    def make(width, height):
        x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        bands = [x, y, 0.5 + 0.4 * np.sin(2 * np.pi * x) * np.cos(np.pi * y)]
        return Image.fromarray(np.round(255 * np.stack(bands, -1)).astype(np.uint8))

    return make


def with_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [
        ((500, 375), 256, (500, 375)),  # half would be 250 x 188
        ((512, 600), 256, (256, 300)),
        ((511, 600), 256, (511, 600)),
        ((2000, 1500), 256, (500, 375)),
        ((2048, 2048), 256, (256, 256)),
        ((2047, 2047), 255, (256, 256)),
        ((2400, 2080), 256, (300, 260)),  # 1/8 is the smallest
        ((40, 3000), 256, (40, 3000)),
    ],
)
def test_no_side_is_shorter_than_asked(smooth, encode, size, least, expected):
    image = smooth(*size)
    for turned in (1, 6):
        data = encode(image, "JPEG", quality=95, exif=with_orientation(turned))
        scaled = decode_image(data, WHITE, least=least)
        assert scaled.image.size == (expected if turned == 1 else expected[::-1])
        full = decode_image(data, WHITE)
        assert scaled.content_hash == full.content_hash
        reference = full.image.resize(scaled.image.size, Image.Resampling.BOX, reducing_gap=None)
        difference = np.abs(np.asarray(scaled.image).astype(int) - np.asarray(reference))
        assert difference.mean() < 1.5


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_are_the_same_image(smooth, encode, kind):
    data = encode(smooth(64, 48), kind)
    np.testing.assert_array_equal(decode_image(data, WHITE, least=8).image, decode_image(data, WHITE).image)


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_modes(smooth, encode, mode):
    data = encode(smooth(512, 512).convert(mode), "JPEG", quality=95)
    scaled = decode_image(data, WHITE, least=64).image
    assert (scaled.mode, scaled.size) == ("RGB", (64, 64))
    full = decode_image(data, WHITE).image.resize((64, 64), Image.Resampling.BOX)
    assert np.abs(np.asarray(scaled).astype(int) - np.asarray(full)).mean() < 1.5


def test_an_opened_image_is_not_scaled(smooth, encode):
    image = Image.open(io.BytesIO(encode(smooth(512, 512), "JPEG")))
    assert decode_image(image, WHITE, least=64).image.size == (512, 512)


def test_a_camera_file_of_several_jpegs(smooth, encode):
    data = encode(smooth(512, 512), "MPO", save_all=True, append_images=[Image.new("RGB", (512, 512))])
    assert np.asarray(decode_image(data, WHITE, least=64).image).mean() > 100


def outcome(data, least):
    try:
        return decode_image(data, WHITE, least=least).content_hash
    except UnreadableImageError as error:
        return str(error)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_what_is_bad_is_bad_in_the_same_way(monkeypatch, smooth, encode, options):
    data = encode(smooth(128, 128), "JPEG", **options)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 128 * 128)
    expected = {b"": "empty file", b"<html>": "not an image", data[: len(data) // 2]: "truncated"}
    assert {bad: outcome(bad, 16) for bad in expected} == expected
    assert outcome(encode(smooth(128, 129), "JPEG"), 16).startswith("decompression bomb: 128 x 129 pixels")
    generator = np.random.default_rng(0)
    broken = [data[:cut] for cut in (*range(1, 40), *generator.integers(1, len(data), 60))]
    for _ in range(200):
        changed = bytearray(data)
        for at in generator.integers(2, len(data), 3):
            changed[at] = generator.integers(256)
        broken.append(bytes(changed))
    outcomes = [outcome(bad, None) for bad in broken]
    assert [outcome(bad, 16) for bad in broken] == outcomes
    assert len(set(outcomes)) > 5


def test_which_jpegs_any_decoder_gives_alike(monkeypatch, smooth, encode):
    image = smooth(64, 48)
    data = encode(image, "JPEG")
    thumbnail = encode(image.resize((8, 8)), "JPEG")
    assert is_plain_jpeg(data)
    assert is_plain_jpeg(data + b"behind the end")
    assert is_plain_jpeg(encode(image, "JPEG", progressive=True, exif=with_orientation(1)))
    assert is_plain_jpeg(encode(image.convert("L"), "JPEG"))
    others = [
        data[:-2],  # no end
        data[: len(data) // 2],
        encode(image, "JPEG", comment=thumbnail)[:-100],  # the only end is that of a picture inside
        encode(image, "JPEG", exif=with_orientation(6)),
        encode(image.convert("CMYK"), "JPEG"),
        encode(image, "JPEG", keep_rgb=True),
        encode(image, "PNG"),
        b"",
    ]
    assert [is_plain_jpeg(other) for other in others] == [False] * len(others)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert not is_plain_jpeg(data)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": 30, "subsampling": "4:4:4"},
        {"subsampling": "4:2:2", "optimize": True},
        {"progressive": True},
        {"restart_marker_rows": 1},
    ],
    ids=str,
)
def test_the_faster_decoder_gives_the_same_pixels(encode, options):
    pytest.importorskip("simplejpeg")
    generator = np.random.default_rng(0)
    for width, height in ((64, 48), (333, 257), (17, 65), (1, 1), (600, 1)):
        noise = Image.fromarray(generator.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8))
        image = noise.resize((width, height), Image.Resampling.BICUBIC)
        for data in (encode(image, "JPEG", **options), encode(image.convert("L"), "JPEG", **options)):
            for least in (8, 16, 100, 1000):
                expected = np.asarray(decode_image(data, WHITE, least=least).image)
                np.testing.assert_array_equal(decode_plain_jpeg(data, least=least), expected)


def test_the_faster_decoder_leaves_what_it_cannot_tell(monkeypatch, smooth, encode):
    pytest.importorskip("simplejpeg")
    data = bytearray(encode(smooth(64, 48), "JPEG"))
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(data)
        changed[generator.integers(len(data) // 3, len(data) - 2)] = generator.integers(256)
        pixels = decode_plain_jpeg(bytes(changed), least=16)
        refused += pixels is None
        if pixels is not None:
            np.testing.assert_array_equal(pixels, decode_image(bytes(changed), WHITE, least=16).image)
    assert 0 < refused < 300
    monkeypatch.setattr(decode, "simplejpeg", None)
    assert decode_plain_jpeg(bytes(data), least=16) is None


def test_it_is_part_of_the_fingerprint_and_off_by_default(tmp_path, write_images):
    write_images(tmp_path, ["a.png", "b.png"])
    exact, fast = load_images(f"folder:{tmp_path}"), load_images(f"folder:{tmp_path}", fast_decode=True)
    assert (exact.fast_decode, fast.fast_decode, fast.subset([0]).fast_decode) == (False, True, True)
    assert fast.fingerprint != exact.fingerprint
    assert load_images([Image.new("RGB", (2, 2))], fast_decode=True).fast_decode


def test_a_source_gives_the_whole_image_unless_asked(tmp_path, smooth):
    smooth(800, 600).save(tmp_path / "a.jpg")
    source = load_images(f"folder:{tmp_path}", fast_decode=True)
    assert source.load(0).image.size == (800, 600)
    assert source.load(0, least=100).image.size == (200, 150)
    with pytest.raises(SourceError, match="is not a colour"):
        load_images(f"folder:{tmp_path}", background="whiet", fast_decode=True)
