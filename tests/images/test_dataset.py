import numpy as np
import pytest
import torch
from PIL import Image

from conceptprobe.images import SourceError, UnreadableImageError, load_images


class Items(torch.utils.data.Dataset):
    def __init__(self, items, **attributes):
        self.items = items
        self.reads = 0
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.reads += 1
        if isinstance(self.items[i], Exception):
            raise self.items[i]
        return self.items[i]


def image(i):
    return Image.new("RGB", (2, 2), (i, 0, 0))


def test_images_without_labels():
    source = load_images(Items([image(i) for i in range(12)]))
    assert source.table.to_pydict() == {"id": [f"{i:09d}" for i in range(12)]}
    assert [source.load(row).image.getpixel((0, 0))[0] for row in range(12)] == list(range(12))
    assert source.spec == "dataset:Items"


def test_own_ids_decide_the_order():
    source = load_images(Items([image(0), image(1), image(2)], ids=[30, 10, 20]))
    assert source.table["id"].to_pylist() == ["10", "20", "30"]
    assert [source.load(row).image.getpixel((0, 0))[0] for row in range(3)] == [1, 2, 0]


@pytest.mark.parametrize("wrap", [int, np.int64, torch.tensor])
def test_targets_and_classes_are_read_without_the_images(wrap):
    dataset = Items(
        [(image(i), i % 2) for i in range(6)], targets=[wrap(i % 2) for i in range(6)], classes=["cat", "dog"]
    )
    assert load_images(dataset).table["label"].to_pylist() == ["cat", "dog"] * 3
    assert dataset.reads == 1


def test_labels_of_items_alone():
    dataset = Items([(image(0), "cat"), (image(1), 7), OSError("gone")])
    assert load_images(dataset).table["label"].to_pylist() == ["cat", "7", None]


@pytest.mark.parametrize("target", [image(0), {"boxes": []}, torch.zeros(3), 0.5])
def test_what_is_no_label_gives_no_column(target):
    dataset = Items([(image(i), target) for i in range(3)])
    assert load_images(dataset).table.column_names == ["id"]
    assert dataset.reads == 1


def test_bad_items_are_bad_images():
    source = load_images(Items([image(0), ValueError("no\nluck"), torch.zeros(3, 2, 2)]))
    with pytest.raises(UnreadableImageError, match="dataset: ValueError: no"):
        source.load(1)
    with pytest.raises(UnreadableImageError, match="dataset: Tensor instead of a PIL image"):
        source.load(2)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Items([]), "is empty"),
        (Items([torch.zeros(3, 2, 2)]), "must be PIL images or start with one, not Tensor"),
        (Items([()]), "must be PIL images"),
        (Items([image(0)], ids=[1, 2]), "1 items and 2 ids"),
        (5, "int is not an image source"),
        (Items([image(0), image(1)], ids=["a", "a"]), "1 rows repeat the id"),
    ],
)
def test_bad_datasets(dataset, message):
    with pytest.raises(SourceError, match=message):
        load_images(dataset)


def test_alpha_of_an_opened_image():
    loaded = load_images([Image.new("RGBA", (1, 1), (9, 9, 9, 0))], background="red").load(0)
    assert loaded.image.getpixel((0, 0)) == (255, 0, 0)
    assert loaded.mask.getpixel((0, 0)) == 0


def test_a_bad_first_item_is_a_bad_image_too():
    source = load_images(Items([OSError("gone"), (image(1), 0), (image(2), 1)], classes=["cat", "dog"]))
    assert source.table["label"].to_pylist() == [None, "cat", "dog"]
    assert source.load(1).image.getpixel((0, 0))[0] == 1
    with pytest.raises(UnreadableImageError, match="OSError: gone"):
        source.load(0)
    with pytest.raises(SourceError, match="none of the first 2 items of Items can be read: check the error"):
        load_images(Items([OSError("gone"), OSError("gone")]))


def test_a_reason_names_no_address():
    source = load_images(Items([image(0), OSError(f"cannot identify image file {object()}")]))
    with pytest.raises(UnreadableImageError, match=r"file <object object>$"):
        source.load(1)
