import numpy as np
import pandas as pd
import pytest

from conceptprobe.report.gallery import collect_gallery, describe_images, tag_rates


def test_images_are_numbered_once_for_all_indices_and_layers(make_index):
    acts = np.random.default_rng(0).normal(size=(18, 5))
    first = make_index(acts, k=3, layers=("a", "b"))
    second = make_index(-acts, k=3)
    gallery = collect_gallery([first, second])

    used = {
        image
        for index in (first, second)
        for image in index.images["id"].iloc[index.top_rows(index.layers[0])[0].ravel()]
    }
    assert gallery.frame["id"].tolist() == sorted(used)
    assert len(gallery.sources) == 1
    for index, numbers in zip((first, second), gallery.numbers, strict=True):
        rows = np.flatnonzero(numbers >= 0)
        assert gallery.frame["id"].iloc[numbers[rows]].tolist() == index.images["id"].iloc[rows].tolist()


def test_short_lists_and_unlisted_features_add_no_images(make_index):
    index = make_index(np.eye(18)[:, :4], k=1)
    index.top_rows("blocks.0.mlp.hidden")[0][0] = -1
    gallery = collect_gallery([index], features_per_layer=3)
    assert gallery.frame["id"].tolist() == index.images["id"].iloc[[1, 2]].tolist()


def test_the_same_ids_of_different_sources_stay_apart(make_index):
    first, second = make_index(np.ones((18, 2))), make_index(np.ones((18, 2)))
    second.manifest.source["fingerprint"] = "other"
    gallery = collect_gallery([first, second])
    assert len(gallery.frame) == 36
    assert len(gallery.sources) == 2


def test_an_image_is_called_by_label_then_caption_then_id():
    images = pd.DataFrame(
        {"id": ["a", "b", "c", "d"], "label": ["cat", None, "", float("nan")], "caption": ["x", "a cat", None, " "]}
    )
    described = describe_images(images)
    assert described["name"].tolist() == ["cat", "a cat", "c", "d"]
    assert described["group"].tolist() == ["cat", "b", "c", "d"]
    assert described["tags"].tolist() == [()] * 4


def test_tag_rates_weigh_every_label_the_same():
    images = pd.DataFrame(
        {
            "id": list("abcd"),
            "label": ["cat", "cat", "cat", "dog"],
            "tags": [np.array(["pet", "pet"]), ["pet"], None, ["pet", "loud"]],
        }
    )
    assert tag_rates(images) == pytest.approx({"pet": (2 / 3 + 1) / 2, "loud": 1 / 2})
