"""Whether images are still the ones that were indexed."""

from pathlib import Path

from PIL import Image

from conceptprobe.images import load_images
from conceptprobe.indexing.contents import changed_images, content_hash, is_hash


def test_changed_images_are_those_of_other_content_and_those_that_cannot_be_read(tmp_path: Path) -> None:
    for row in range(4):
        Image.new("RGB", (8, 8), (row, 0, 0)).save(tmp_path / f"{row}.png")
    images = load_images(f"folder:{tmp_path}")
    hashes = [content_hash(images, row) for row in range(4)]
    assert all(map(is_hash, hashes))
    assert list(changed_images(images, range(4), hashes)) == []
    Image.new("RGB", (8, 8), (99, 0, 0)).save(tmp_path / "1.png")
    (tmp_path / "3.png").unlink()
    (first, now), (second, reason) = changed_images(images, [1, 2, 3], hashes[1:])
    assert (first, second) == (0, 2)
    assert now == content_hash(images, 1)
    assert not is_hash(reason)


def test_a_file_that_is_no_image_has_a_hash_but_cannot_be_decoded(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"no image")
    images = load_images(f"folder:{tmp_path}")
    assert is_hash(content_hash(images, 0))
    assert not is_hash(content_hash(images, 0, decode=True))
