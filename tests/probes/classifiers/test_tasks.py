from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conceptprobe.images import ImageSource, load_images
from conceptprobe.probes import ProbeError
from conceptprobe.probes.classifiers.tasks import choose_task, split_task, split_units
from conceptprobe.probes.framework.images import ProbeImages, choose_images
from conceptprobe.probes.framework.run_settings import RunSettings


@pytest.fixture(scope="module")
def emoji() -> ImageSource:
    return load_images("mini:emoji")


def labelled(source: ImageSource, n: int, label: str = "label") -> ProbeImages:
    return choose_images(source, RunSettings(n=n, label=label), among={*source.table[label].to_pylist()})


def test_labels_with_too_few_images_give_way_to_their_groups(emoji: ImageSource) -> None:
    """512 images of 98 sub-groups are about five each, of nine groups 57."""
    images = labelled(emoji, 512)
    task = choose_task(images)
    assert (task.column, len(task.classes)) == ("group", 9)
    assert [task.classes[i] for i in task.targets_n] == emoji.table["group"].take(images.rows).to_pylist()
    assert choose_task(labelled(emoji, 1500)).column == "subgroup"


def test_what_is_not_the_same_for_all_images_of_a_label_is_no_group_of_labels(emoji: ImageSource) -> None:
    """An emoji is drawn in several styles, under several licences."""
    images = choose_images(emoji, RunSettings(n=40), among={*emoji.table["label"].to_pylist()})
    with pytest.raises(ProbeError, match="fewer than 10 a label"):
        choose_task(images)  # style and licence would have enough images
    assert choose_task(images, "licence").column == "licence"


def test_labels_with_enough_images_are_told_themselves(emoji: ImageSource) -> None:
    images = labelled(emoji, 200, "style")
    task = choose_task(images)
    assert (task.column, task.classes) == ("style", tuple(sorted({*emoji.table["style"].to_pylist()})))
    assert task.units == images.ids  # an emoji's name does not determine its style


@pytest.mark.parametrize("label", ["label", "group"])
def test_an_emoji_told_by_its_group_is_on_one_side_in_all_its_drawings(emoji: ImageSource, label: str) -> None:
    images = labelled(emoji, 512, label)
    task = choose_task(images)
    split = split_task(task, 0, 0.5)
    names = np.array(emoji.table["label"].take(images.rows).to_pylist())
    assert task.units == tuple(names)
    assert not {*names[split.test_n]} & {*names[split.learnt_n]}
    assert not {*names[split.train_n]} & {*names[split.validation_n]}
    assert len(names) > len({*names})


def test_units_are_what_together_names(emoji: ImageSource) -> None:
    images = labelled(emoji, 60)
    assert choose_task(images, "group", "style").units == tuple(emoji.table["style"].take(images.rows).to_pylist())


def test_every_image_is_on_one_side_of_about_its_share() -> None:
    split = split_units([str(i) for i in range(4000)], 0, 0.4)
    sides = np.stack([split.train_n, split.validation_n, split.test_n])
    assert (sides.sum(0) == 1).all()
    np.testing.assert_allclose(sides.mean(1), (0.45, 0.15, 0.4), atol=0.03)


def test_a_side_depends_on_the_seed_and_the_unit_and_not_on_other_images() -> None:
    many, few = [str(i) for i in range(200)], [str(i) for i in range(0, 200, 3)]
    assert split_units(many, 1, 0.5).test_n[::3].tolist() == split_units(few, 1, 0.5).test_n.tolist()
    assert split_units(many, 1, 0.5).test_n.tolist() != split_units(many, 2, 0.5).test_n.tolist()


def test_versions_of_an_image_are_on_its_side() -> None:
    split = split_units([str(i) for i in range(20)], 0, 0.5)
    assert split.repeat(4).test_n.reshape(4, -1).tolist() == [split.test_n.tolist()] * 4


@pytest.mark.parametrize(
    ("target", "together", "message"),
    [
        ("colour", None, "no column 'colour'"),
        ("tags", None, "no column 'tags' of one value an image"),
        ("group", "grupo", "group"),
        ("style", None, "all 60 images have the same style, 'noto'"),
    ],
)
def test_bad_columns_are_refused(target: str, together: str | None, message: str) -> None:
    images = labelled(load_images("mini:emoji/noto"), 60)
    with pytest.raises(ProbeError, match=message):
        choose_task(images, target, together)


def test_images_without_a_value_are_counted(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    table = pd.DataFrame({"path": ["a.png", "b.png", "c.png"], "label": ["x", "y", "y"], "kind": ["p", None, None]})
    table.to_csv(tmp_path / "images.csv", index=False)
    images = choose_images(load_images(f"table:{tmp_path / 'images.csv'}"), RunSettings(), among={"x", "y"})
    with pytest.raises(ProbeError, match=r"2 of 3 images of .* have no kind"):
        choose_task(images, "kind")
    with pytest.raises(ProbeError, match="cannot be split"):
        split_units(["a", "a", "a"], 0, 0.5)
