"""Every family of sources treats the same bytes alike, good or bad, whole or scaled while decoding."""

import hashlib
import io
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conceptprobe.images import UnreadableImageError, load_images
from conceptprobe.images.decode import decode_image

LIMIT = 64 * 64
FAMILIES = ("folder", "zip", "wds", "hf", "datasets", "table")


@pytest.fixture
def images(encode):
    """Bytes by name, in the order of the ids, and what is to be said of those that are bad."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    jpeg, png = (encode(Image.fromarray(noise), kind) for kind in ("JPEG", "PNG"))
    cmyk = encode(Image.fromarray(noise).convert("CMYK"), "JPEG")
    files = {
        "a-good.jpg": jpeg,
        "b-empty.jpg": b"",
        "c-cut.jpg": jpeg[: len(jpeg) // 2],
        "d-cut.png": png[: len(png) // 2],
        "e-page.jpg": b"<html>404</html>",
        "f-bomb.jpg": encode(Image.new("RGB", (65, 64)), "JPEG"),
        "g-bomb.png": encode(Image.new("RGB", (200, 64)), "PNG"),  # beyond twice the limit, where PIL itself refuses
        "h-float.tif": encode(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"),
        "i-good.png": png,
        "j-good.jpg": cmyk,
    }
    bomb = "decompression bomb: 65 x 64 pixels, the limit is 4096"
    reasons = {
        "b-empty.jpg": "empty file",
        "c-cut.jpg": "truncated",
        "d-cut.png": "truncated",
        "e-page.jpg": "not an image",
        "f-bomb.jpg": bomb,
        "g-bomb.png": "decompression bomb: Image size (12800 pixels) exceeds limit of 8192 pixels",
        "h-float.tif": "floating-point pixels have no defined white: store 8 or 16 bit",
    }
    return files, reasons


def write(family, root, files):
    """Put the images into a source of this family; its spec, and the files or folders whose loss takes them all."""
    if family in ("folder", "table"):
        for name, data in files.items():
            (root / name).write_bytes(data)
        if family == "table":
            (root / "t.csv").write_text("\n".join(["path", *files]))
        return (f"folder:{root}" if family == "folder" else f"table:{root / 't.csv'}"), [root / name for name in files]
    if family == "zip":
        with zipfile.ZipFile(root / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return f"folder:{root / 'x.zip'}", [root / "x.zip"]
    if family == "wds":
        with tarfile.open(root / "x.tar", "w") as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return f"wds:{root / 'x.tar'}", [root / "x.tar"]
    rows = [{"bytes": data, "path": None} for data in files.values()]
    if family == "hf":
        struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        pq.write_table(pa.table({"image": pa.array(rows, struct)}), root / "x.parquet", row_group_size=3)
        return f"hf:{root / 'x.parquet'}", [root / "x.parquet"]
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(decode=False)})
    datasets.Dataset.from_dict({"image": rows}, features=features).save_to_disk(root / "x")
    return f"hf:{root / 'x'}", []


def outcomes(source, least):
    """Hash or reason of every image."""
    said = []
    for row in range(len(source)):
        try:
            said.append(source.load(row, least=least).content_hash)
        except UnreadableImageError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize("family", FAMILIES)
def test_one_way_of_decoding(family, tmp_path, encode, photo):
    turned = Image.Exif()
    turned[0x0112] = 6
    clear = photo.copy()
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    files = {
        "a-turned.jpg": encode(photo, "JPEG", exif=turned),
        "b-cmyk.jpg": encode(photo.convert("CMYK"), "JPEG"),
        "c-palette.png": encode(photo.quantize(8), "PNG", transparency=3),
        "d-16-bit.png": encode(Image.fromarray(np.arange(0, 65_000, 1000, dtype=np.uint16).reshape(5, 13)), "PNG"),
        "e-alpha.webp": encode(clear, "WEBP", lossless=True),
        "f-animated.gif": encode(photo, "GIF", save_all=True, append_images=[photo.rotate(180)]),
        "g-large.jpg": encode(photo.resize((256, 128)), "JPEG"),
    }
    spec, _ = write(family, tmp_path, files)
    source = load_images(spec, background="#204060")
    for least in (None, 16):
        for row, data in enumerate(files.values()):
            loaded, expected = source.load(row, least=least), decode_image(data, (32, 64, 96), least=least)
            assert loaded.content_hash == expected.content_hash
            assert loaded.image.tobytes() == expected.image.tobytes()
            assert (loaded.mask is None) == (expected.mask is None) == (row not in (2, 4))


@pytest.mark.parametrize("family", FAMILIES)
def test_bad_images(family, tmp_path, images, monkeypatch):
    files, reasons = images
    spec, _ = write(family, tmp_path, files)
    expected = [reasons.get(name, hashlib.sha256(data).hexdigest()) for name, data in files.items()]
    source = load_images(spec)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", LIMIT)
    assert outcomes(source, None) == expected
    assert outcomes(source, 16) == expected


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "datasets"])
@pytest.mark.parametrize("least", [None, 16])
def test_files_that_vanish_or_may_not_be_read(family, tmp_path, images, least, monkeypatch):
    files, _ = images
    spec, places = write(family, tmp_path, files)
    source = load_images(spec)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("io.open", refuse)
        assert outcomes(source, least) == ["Permission denied"] * len(files)
    for place in places:
        place.unlink()
    assert outcomes(source, least) == ["file is missing"] * len(files)


@pytest.mark.parametrize("least", [None, 16])
def test_a_dataset_whose_images_are_bad(images, least, monkeypatch):
    files, reasons = images
    opened = {name: Image.open(io.BytesIO(data)) for name, data in files.items() if name[0] in "acdfhij"}
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", LIMIT)
    said = dict(zip(opened, outcomes(load_images(list(opened.values())), least), strict=True))
    assert {name: said[name] for name in opened if name in reasons} == {
        name: reasons[name] for name in opened if name in reasons
    }
    assert all(len(said[name]) == 64 for name in opened if name not in reasons)
