"""An image source as a sequence."""

import numpy as np
import pytest

from conceptprobe.images import UnknownImageError, load_images


def test_a_source_is_a_sequence_of_images_with_what_is_known_of_them() -> None:
    images = load_images("mini:emoji/noto")
    skull = images["noto/1F480"]
    assert (skull.id, skull.label, skull.image.mode) == ("noto/1F480", "skull", "RGB")
    assert isinstance(skull.tags, tuple)
    assert skull == images[images.row_of("noto/1F480")]
    assert images[-1].id == images[len(images) - 1].id == images[np.int64(len(images) - 1)].id
    assert [image.id for image in images] == images.table["id"].to_pylist()
    np.testing.assert_array_equal(skull.image, images.load(skull.row).image)
    assert repr(skull) == "SourceImage('noto/1F480', label='skull')"


def test_positions_and_ids_that_are_not_there() -> None:
    images = load_images("mini:emoji/noto")
    for position in (len(images), -len(images) - 1):
        with pytest.raises(IndexError, match=f"of {len(images)} images"):
            images[position]
    with pytest.raises(UnknownImageError, match="nearest ids"):
        images["noto/none"]
    with pytest.raises(TypeError):
        images[1.5]  # type: ignore[index]


def test_what_a_source_does_not_know_is_empty(tmp_path, write_images) -> None:
    write_images(tmp_path, ["a.png"])
    (image,) = load_images(f"folder:{tmp_path}")
    assert (image.label, image.caption, image.tags) == (None, None, ())
