import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter
from skimage import data

from conceptprobe.indexing import near_copies
from conceptprobe.indexing.near_copies import group_near_copies, group_pairs, thumbnail


def recompressed(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def noisy(image):
    pixels = np.asarray(image) + np.random.default_rng(0).normal(0, 10, (*image.size[::-1], 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


COPIES = {
    "recompressed": lambda image: recompressed(image, 20),
    "mirrored": ImageOps.mirror,
    "mirrored and recompressed": lambda image: recompressed(ImageOps.mirror(image), 50),
    "smaller": lambda image: image.resize((image.width // 2, image.height // 2)),
    "noisy": noisy,
    "darker": lambda image: image.point(lambda value: int(value * 0.85)),
    "cropped": lambda image: ImageOps.crop(image, image.width // 100),
}


@pytest.fixture(scope="module")
def photos():
    pictures = (data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.cat()[:, ::2], data.retina())
    return [Image.fromarray(np.ascontiguousarray(picture)) for picture in pictures]


@pytest.mark.parametrize("kind", COPIES)
def test_a_changed_copy_joins_its_photo_and_no_other(photos, kind):
    photos = photos[:4]
    images = [*photos, *(COPIES[kind](photo) for photo in photos)]
    groups = group_near_copies(np.stack([thumbnail(image) for image in images]))
    assert groups.tolist() == [0, 1, 2, 3] * 2


def test_other_crops_and_colours_of_a_photo_are_other_pictures(photos):
    photo = photos[0]
    width, height = photo.size
    others = [
        photo.crop((0, 0, width // 2, height)),
        photo.crop((width // 2, 0, width, height)),
        ImageOps.invert(photo),
        photo.rotate(90),
    ]
    groups = group_near_copies(np.stack([thumbnail(image) for image in (photo, *others)]))
    assert groups.tolist() == [0, 1, 2, 3, 4]


def test_blank_images_are_one_picture_but_not_that_of_a_faint_pattern():
    blank = np.full((12, 12, 3), 250, np.uint8)
    noise = blank + np.random.default_rng(0).integers(0, 2, blank.shape).astype(np.uint8)
    stripes = blank.copy()
    stripes[::2] -= 16
    groups = group_near_copies(np.stack([blank, stripes, noise, blank // 2]))
    assert groups.tolist() == [0, 1, 0, 3]


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_groups_do_not_depend_on_the_order_of_the_images(images, seed):
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 256, (images, 12, 12, 3)).astype(np.uint8)
    thumbnails = drawn[rng.integers(images, size=images)]
    order = rng.permutation(images)
    groups, shuffled = group_near_copies(thumbnails), group_near_copies(thumbnails[order])
    assert len(set(zip(groups[order].tolist(), shuffled.tolist(), strict=True))) == len(set(groups.tolist()))
    same = (thumbnails[:, None] == thumbnails[None]).all((2, 3, 4))
    assert (groups[:, None] == groups[None])[same].all()
    assert (groups <= np.arange(images)).all()


def test_neighbourhoods_find_the_pairs_that_all_comparisons_find(monkeypatch):
    rng = np.random.default_rng(0)
    drawn = gaussian_filter(rng.normal(size=(1_500, 12, 12, 3)), (0, 2, 2, 0))
    drawn = 128 + 60 * drawn / drawn.std((1, 2, 3), keepdims=True)
    copies = drawn[rng.integers(1_500, size=700)] + rng.normal(0, 6, (700, 12, 12, 3))
    copies[::2] = copies[::2, :, ::-1]
    thumbnails = np.concatenate([drawn, copies]).clip(0, 255).astype(np.uint8)
    every = group_near_copies(thumbnails)
    assert 1_480 < len(np.unique(every)) <= 1_500
    monkeypatch.setattr(near_copies, "COMPARE_ALL", 100)
    assert np.mean(group_near_copies(thumbnails) != every) < 0.002


def test_pairs_that_share_an_image_make_one_group():
    assert group_pairs(np.array([[4, 1, 0], [1, 3, 2]]), 6).tolist() == [0, 1, 0, 1, 1, 5]
    assert group_pairs(np.empty((2, 0), np.int64), 3).tolist() == [0, 1, 2]
