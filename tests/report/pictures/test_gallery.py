import numpy as np
import pandas as pd
import pytest

from conceptprobe.report.collect.concepts import collect_concepts
from conceptprobe.report.collect.models import make_models
from conceptprobe.report.pictures.gallery import collect_gallery, describe_images, first_of_equals, images_data

LAYER = "blocks.0.mlp.hidden"


def collect(*indices):
    models = make_models(indices)
    return collect_gallery(models, collect_concepts(models))


def test_images_are_numbered_once_for_all_indices_and_layers(make_index, make_source):
    acts = np.random.default_rng(0).normal(size=(18, 5))
    source = make_source()
    first = make_index(acts, k=3, layers=("a", "b"), source=source)
    second = make_index(-acts, k=3, spec="other", source=source)
    gallery = collect(first, second)
    assert len(gallery.sources) == 1
    assert gallery.frame["id"].is_unique
    assert sorted(gallery.frame["label"]) == gallery.frame["label"].tolist()
    for number, index in enumerate((first, second)):
        for layer in index.layers:
            lists = index.lists(layer)
            shown = gallery.frame["id"].to_numpy()[gallery.of_rows(number, lists.rows)]
            assert shown.tolist() == index.images["id"].to_numpy()[lists.rows].tolist()
    listed = {
        id_ for index in (first, second) for id_ in index.images["id"].iloc[index.lists(index.layers[0]).rows.ravel()]
    }
    assert set(gallery.frame["id"][gallery.frame["top"]]) == listed


def test_only_images_that_are_shown_are_numbered(make_index):
    index = make_index(np.eye(18)[:, :4], k=1, drop=("label", "tags"))
    gallery = collect(index)
    strip = index.lists(LAYER, "strips").rows
    rows = np.union1d(np.union1d(index.lists(LAYER).rows, strip[strip >= 0]), gallery.random[0])
    assert gallery.frame["id"].tolist() == index.images["id"].iloc[rows].tolist()
    assert len(gallery.random[0]) == 16
    assert (gallery.of_rows(0, np.array([[-1, int(rows[0])]])) == [[-1, 0]]).all()


def test_the_same_ids_of_different_sources_stay_apart(make_index):
    first, second = make_index(np.ones((18, 2))), make_index(np.ones((18, 2)), tags=dict.fromkeys(
        ("skull", "coffin", "guitar", "radio", "cat", "education"), ()
    ))  # fmt: skip
    gallery = collect(first, second)
    assert len(gallery.frame) == 36
    assert len(gallery.sources) == 2


def test_what_is_empty_is_not_known():
    images = pd.DataFrame(
        {"id": ["a", "b", "c", "d"], "label": ["cat", None, "", float("nan")], "caption": ["x", "a cat", None, " "]}
    )
    described = describe_images(images)
    assert described["label"].tolist() == ["cat", None, None, None]
    assert described["caption"].tolist() == ["x", "a cat", None, None]
    assert described["tags"].tolist() == [()] * 4


def test_a_tag_counts_once():
    images = pd.DataFrame({"id": list("abc"), "tags": [np.array(["pet", "pet"]), None, ["loud", "pet"]]})
    assert describe_images(images)["tags"].tolist() == [("pet",), (), ("loud", "pet")]


@pytest.mark.parametrize(
    ("contents", "sources", "first"),
    [
        (["x", "y", "x", "x"], [0, 0, 0, 0], [-1, -1, 0, 0]),
        (["x", "x", "x", "x"], [0, 1, 0, 1], [-1, -1, 0, 1]),
        ([None, None, "x", None], [0, 0, 0, 0], [-1, -1, -1, -1]),
    ],
)
def test_images_of_equal_content_name_the_first(contents, sources, first):
    frame = pd.DataFrame({"content": contents, "source": sources})
    assert first_of_equals(frame).tolist() == first


def test_images_of_one_label_share_its_text(make_index):
    gallery = collect(make_index(np.random.default_rng(0).normal(size=(18, 5))))
    data = images_data(gallery, np.full((18, 2), 255), None)
    assert data["labels"] == ["cat", "coffin", "education", "guitar", "radio", "skull"]
    assert data["tag_names"] == ["animal", "death", "school", "music", "face"]
    assert [[data["tag_names"][tag] for tag in tags] for tags in data["tag_lists"]] == [
        ["animal"], ["death"], ["school"], ["music"], ["death", "face"]
    ]  # fmt: skip
