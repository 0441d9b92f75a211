import dataclasses
import json

import pytest
import torch

from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.optimization.presets import PRESETS, Preset, get_preset
from conceptprobe.visualization.parametrizations.parametrizations import Fourier, Phase, Pixels
from conceptprobe.visualization.transforms.views import make_views


def test_the_four_recipes() -> None:
    assert list(PRESETS) == ["fourier", "ghiasi", "maco", "accentuate"]
    kinds = {name: type(preset.parametrization) for name, preset in PRESETS.items()}
    assert kinds == {"fourier": Fourier, "ghiasi": Pixels, "maco": Phase, "accentuate": Fourier}
    for name, preset in PRESETS.items():
        assert preset.name == name


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_it_describes_every_number_in_json(preset: Preset) -> None:
    told = preset.describe()
    assert json.loads(json.dumps(told)) == told
    assert set(told) == {field.name for field in dataclasses.fields(Preset)}
    assert "arXiv" in told["citation"] or "doi" in told["citation"]


def test_numbers_of_ghiasi() -> None:
    told = PRESETS["ghiasi"].describe()
    assert told["steps"] == 400
    assert told["views"] == 8
    assert told["learning_rate"] == 0.1
    assert told["betas"] == [0.5, 0.99]
    assert told["schedule"] == "cosine"
    assert told["regularizers"] == [{"name": "TotalVariation", "weight": 0.0005, "on": "views"}]
    assert told["transforms"][0] == {"name": "Roll", "pixels": 32, "of": 224}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_its_views_have_the_model_s_size_and_a_gradient(preset: Preset) -> None:
    size = preset.image_size((32, 48))
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    views = make_views(preset.transforms, images, generators, preset.views, (32, 48), 0.5)
    assert views.shape == (2, preset.views, 3, 32, 48)
    (gradient,) = torch.autograd.grad(views.sum(), images)
    assert gradient.abs().sum() > 0


def test_the_size_follows_the_model_unless_it_is_given() -> None:
    assert PRESETS["fourier"].image_size((48, 64)) == (48, 64)
    assert PRESETS["maco"].image_size((224, 224)) == (512, 512)
    assert dataclasses.replace(PRESETS["maco"], size=(30, 40)).image_size((224, 224)) == (30, 40)


def test_presets_are_found_by_name() -> None:
    assert get_preset("maco") is PRESETS["maco"]
    own = dataclasses.replace(PRESETS["fourier"], steps=3)
    assert get_preset(own) is own
    with pytest.raises(VisualizeError, match="'lucid': choose fourier, ghiasi, maco, accentuate"):
        get_preset("lucid")
