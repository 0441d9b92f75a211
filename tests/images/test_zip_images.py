import os
import pickle
import random
import zipfile

import numpy as np
import pytest
from PIL import Image

from conceptprobe.images import SourceError, UnreadableImageError, load_images
from conceptprobe.images import zip as zip_module


@pytest.fixture
def png(encode):
    return lambda i: encode(Image.new("RGB", (4, 3), (i, 255 - i, 7)), "PNG")


def write_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_folders_inside_give_labels(tmp_path, write_images, png, method):
    members = {name: png(i) for i, name in enumerate(["dog/b.png", "cat/wild/a.PNG", "top.png", "schön/ß.png"])}
    others = {".x.png": b"", "__MACOSX/cat/._a.png": b"", "cat/.cache/y.png": b"", "notes.txt": b"", "empty/": b""}
    source = load_images(f"folder:{write_zip(tmp_path / 'set.zip', members | others, method)}")
    for name, data in members.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    unpacked = load_images(f"folder:{tmp_path / 'set'}")
    assert source.table.equals(unpacked.table)
    assert source.table["label"].to_pylist() == ["cat/wild", "dog", "schön", None]
    sent = pickle.loads(pickle.dumps(source))
    for row in range(4):
        assert sent.reader.read(row) == source.reader.read(row) == unpacked.reader.read(row)


def test_sidecar(tmp_path, png):
    members = {"a/1.png": png(1), "a/2.png": png(2), "a/metadata.csv": "file_name,label,text\n2.png,skull,two\n"}
    source = load_images(f"folder:{write_zip(tmp_path / 'set.zip', members)}")
    assert source.table.to_pydict() == {
        "id": ["a/1.png", "a/2.png"],
        "label": [None, "skull"],
        "caption": [None, "two"],
    }


def test_order_of_members_does_not_matter_and_content_does(tmp_path, png):
    members = {f"{i % 3}/{i:02}.png": png(i) for i in range(20)}
    names = list(members)
    reference = load_images(f"folder:{write_zip(tmp_path / 'a.zip', members)}")
    random.Random(0).shuffle(names)
    shuffled = load_images(
        f"folder:{write_zip(tmp_path / 'b.zip', {n: members[n] for n in names}, zipfile.ZIP_STORED)}"
    )
    assert shuffled.fingerprint == reference.fingerprint
    assert [shuffled.reader.read(row) for row in range(20)] == [reference.reader.read(row) for row in range(20)]
    changed = members["0/03.png"][:-1] + b"?"  # of the same size
    other = load_images(f"folder:{write_zip(tmp_path / 'c.zip', members | {'0/03.png': changed})}")
    assert other.fingerprint != reference.fingerprint


def test_bad_members(tmp_path, png, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    big = (tmp_path / "noise.png").read_bytes()
    members = {"0.png": b"", "1.png": png(1)[:50], "2.png": b"<html>", "3.png": big, "4.png": png(4), "5.png": png(5)}
    path = write_zip(tmp_path / "set.zip", members)
    source = load_images(f"folder:{path}")
    data = bytearray(path.read_bytes())
    data[source.reader.offset[3] + 500] ^= 255  # inside the packed member
    data[source.reader.offset[5]] ^= 255  # its header
    path.write_bytes(data)
    reasons = ["empty file", "truncated", "not an image", "zip: damaged member"]
    for row, reason in [*enumerate(reasons), (5, "zip: the file has changed since it was listed")]:
        with pytest.raises(UnreadableImageError, match=reason):
            source.load(row)
    assert source.load(4).image.getpixel((0, 0))[0] == 4
    monkeypatch.setattr(zip_module, "LARGEST", 10)
    with pytest.raises(UnreadableImageError, match=r"decompression bomb: [0-9]+ bytes, the limit is 10"):
        source.load(4)
    os.unlink(path)
    with pytest.raises(UnreadableImageError, match="file is missing"):
        source.load(2)


def test_a_member_that_unpacks_to_more_than_it_says(tmp_path):
    path = write_zip(tmp_path / "set.zip", {"a.png": b"\0" * 100_000})
    reader = load_images(f"folder:{path}").reader
    reader.size[:] = 1000
    with pytest.raises(UnreadableImageError, match="damaged member"):
        reader.read(0)


def test_zip_files_that_are_refused(tmp_path, png):
    with pytest.raises(SourceError, match="no image under"):
        load_images(f"folder:{write_zip(tmp_path / 'a.zip', {'a.txt': b''})}")
    with pytest.raises(SourceError, match=r"a\.png is packed by method 14: .*deflate"):
        load_images(f"folder:{write_zip(tmp_path / 'a.zip', {'a.png': png(0)}, zipfile.ZIP_LZMA)}")
    path = write_zip(tmp_path / "a.zip", {"a.png": png(0)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.png is encrypted"):
        load_images(f"folder:{path}")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match="not a folder and not a zip file"):
        load_images(f"folder:{path}")
