import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError
from conceptprobe.probes.classifiers.categories import CATEGORIES, CategoryHead, category_head
from conceptprobe.probes.framework.imagenet_classes import imagenet_synsets


def test_the_sixteen_have_the_classes_of_the_public_code() -> None:
    sizes = {name: len(numbers) for name, numbers in CATEGORIES.items()}
    assert sizes == {
        "airplane": 1, "bear": 4, "bicycle": 2, "bird": 49, "boat": 5, "bottle": 7, "car": 3, "cat": 6, "chair": 4,
        "clock": 3, "dog": 109, "elephant": 2, "keyboard": 2, "knife": 1, "oven": 1, "truck": 8,
    }  # fmt: skip
    numbers = [number for of in CATEGORIES.values() for number in of]
    assert len({*numbers}) == len(numbers) == 207
    assert list(CATEGORIES) == sorted(CATEGORIES)


def test_their_numbers_are_those_of_the_wordnet_ids() -> None:
    synsets = imagenet_synsets()
    assert [synsets[i] for i in CATEGORIES["airplane"]] == ["n02690373"]
    assert [synsets[i] for i in CATEGORIES["elephant"]] == ["n02504013", "n02504458"]
    assert [synsets[i] for i in CATEGORIES["oven"]] == ["n04111531"]
    assert all("n02085620" <= synsets[i] <= "n02113978" for i in CATEGORIES["dog"])
    assert [synsets[i] for i in CATEGORIES["truck"]] == [
        "n03345487", "n03417042", "n03770679", "n03796401", "n03930630", "n03977966", "n04461696", "n04467665",
    ]  # fmt: skip


def test_a_group_has_the_mean_probability_of_its_classes() -> None:
    scores_bc = torch.from_numpy(3 * np.random.default_rng(0).standard_normal((8, 6))).float()
    members = ((0, 2, 3), (4,), (1, 5))
    head = CategoryHead("native", "logits", ("a", "b", "c"), torch.arange(6), None, members)
    mean_bg = np.stack([scores_bc.softmax(1).numpy()[:, list(group)].mean(1) for group in members], 1)
    found_bg = head(scores_bc).numpy()
    np.testing.assert_array_equal(found_bg.argmax(1), mean_bg.argmax(1))
    np.testing.assert_allclose(
        np.exp(found_bg) / np.exp(found_bg).sum(1, keepdims=True), mean_bg / mean_bg.sum(1, keepdims=True), rtol=1e-5
    )


def test_many_classes_do_not_win_by_their_number() -> None:
    scores_bc = torch.tensor([[0.0, 0.0, 0.0, 0.5]])  # together the three are more probable than the one
    head = CategoryHead("native", "logits", ("three", "one"), torch.arange(4), None, ((0, 1, 2), (3,)))
    assert head(scores_bc).argmax(1).tolist() == [1]


def test_a_subset_keeps_the_groups() -> None:
    scores_bc = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 5))).float()
    head = CategoryHead("native", "logits", ("a", "b", "c"), torch.arange(5), None, ((0, 1), (2,), (3, 4)))
    some = head.subset([2, 0])
    assert some.classes == ("c", "a")
    assert torch.equal(some(scores_bc), head(scores_bc)[:, [2, 0]])
    with pytest.raises(ProbeError, match="from 0 to 2"):
        head.subset([3])


@pytest.mark.slow
def test_a_text_tower_takes_the_place_of_a_classifier_of_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip, "IMAGENET_CLASSNAMES", ["skull", "pizza"] * 500)  # words that the mini model knows
    head = category_head(load_model("mini:clip"))
    assert (head.kind, head.layer, len(head.classes)) == ("zero-shot", "embedding", 16)
    assert head(torch.ones(2, 192)).shape == (2, 16)


def test_other_classifiers_are_refused() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    model = VisionModel.wrap(
        module, layers=["1"], image_size=8, mean=(0, 0, 0), std=(1, 1, 1), class_names=["tench", "shark"], name="two"
    )
    with pytest.raises(ProbeError, match="two is no classifier of ImageNet"):
        category_head(model)
