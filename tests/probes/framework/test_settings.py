"""Every setting of every probe: what is refused, in which words, and what is converted."""

import dataclasses
from typing import Any

import pytest

from conceptprobe.models import VisionModel
from conceptprobe.probes import PROBES, ProbeError, run_probe
from conceptprobe.probes.framework.settings import make_probe_settings

C_VALUES = [
    ({"test": 1.5}, "test is 1.5: input should be less than 1"),
    ({"test": 0}, "test is 0: input should be greater than 0"),
    ({"c_values": ()}, "c_values is (): tuple should have at least 1 item"),
    ({"c_values": (0.0,)}, "c_values.0 is 0.0: input should be greater than 0"),
    ({"together": 3}, "together is 3: input should be a valid string"),
]
PATCH = [
    ({"patch": 0.0}, "patch is 0.0: input should be greater than 0"),
    ({"patch": 1.5}, "patch is 1.5: input should be less than or equal to 1"),
]
NONSENSE: dict[str, list[tuple[dict[str, Any], str]]] = {
    "adversarial": [
        ({"epsilons": (300.0,)}, "epsilons.0 is 300.0: input should be less than or equal to 255"),
        ({"epsilons": (-1,)}, "epsilons.0 is -1: input should be greater than or equal to 0"),
        ({"epsilons": ()}, "epsilons is (): tuple should have at least 1 item"),
        ({"attacks": ("cw",)}, "attacks.0 is 'cw': input should be 'fgsm' or 'pgd'"),
        ({"attacks": ()}, "attacks and features are both empty: name at least one of either"),
        ({"steps": 0}, "steps is 0: input should be greater than 0"),
        ({"features": "blocks.3.mlp.hidden:5"}, "features is 'blocks.3.mlp.hidden:5': input should be a valid tuple"),
        ({"goals": "lower"}, "goals is 'lower': input should be a valid tuple"),
        ({"goals": ("melt",)}, "goals.0 is 'melt': input should be 'lower' or 'raise'"),
        ({"shown": -1}, "shown is -1: input should be greater than or equal to 0"),
    ],
    "attention_distance": [({"renormalise": 1}, "renormalise is 1: input should be a valid boolean")],
    "background": [({"fill": "blue"}, "fill is 'blue': input should be 'mean', 'black' or 'white'")],
    "block_readout": [
        *C_VALUES,
        ({"linear": "yes"}, "linear is 'yes': input should be a valid boolean"),
        ({"last": 1}, "last is 1: input should be greater than or equal to 2"),
        ({"target": 3}, "target is 3: input should be a valid string"),
    ],
    "cls_attention": [
        ({"mass": 1.0}, "mass is 1.0: input should be less than 1"),
        ({"token": "cls"}, "token is 'cls': input should be a valid integer"),
        ({"token": -1}, "token is -1: input should be greater than or equal to 0"),
        ({"shown": -1}, "shown is -1: input should be greater than or equal to 0"),
    ],
    "corruption": [
        ({"corruptions": ("fogg",)}, "no corruption 'fogg'. Did you mean fog"),
        ({"corruptions": ("fog", "fog")}, "corruptions is ('fog', 'fog'): 'fog' is listed twice: list each value once"),
        ({"corruptions": "fog"}, "corruptions is 'fog': input should be a valid tuple"),
        ({"severities": (6,)}, "severities.0 is 6: input should be less than or equal to 5"),
        ({"severities": 3}, "severities is 3: input should be a valid tuple"),
        ({"folder": "/nowhere"}, "/nowhere is not a folder: give the folder that holds ImageNet-C"),
    ],
    "cutout": [
        ({"shares": (-0.1,)}, "shares.0 is -0.1: input should be greater than or equal to 0"),
        ({"draws": 0}, "draws is 0: input should be greater than 0"),
    ],
    "frequency": [
        ({"radii": (-1.0,)}, "radii.0 is -1.0: input should be greater than or equal to 0"),
        ({"radii": (float("nan"),)}, "radii.0 is nan: input should be a finite number"),
        ({"radii": ()}, "radii is (): tuple should have at least 1 item"),
        ({"heat_map": -1}, "heat_map is -1: input should be greater than or equal to 0"),
        ({"norm": 0}, "norm is 0: input should be greater than 0"),
    ],
    "lesion": [
        ({"parts": ("head",)}, "parts.0 is 'head': input should be 'attention', 'mlp' or 'block'"),
        ({"parts": ()}, "parts and features are both empty: name at least one of either"),
        ({"together": (1.5,)}, "together.0 is 1.5: input should be less than 1"),
        ({"features": (7,)}, "features.0 is 7: input should be a valid string"),
        ({"draws": 0}, "draws is 0: input should be greater than 0"),
    ],
    "local_attention": [
        ({"radii": (-1,)}, "radii.0 is -1: input should be greater than or equal to 0"),
        ({"radii": (0.5,)}, "radii.0 is 0.5: input should be a valid integer"),
        ({"radii": (True,)}, "radii.0 is True: input should be a valid integer"),
        ({"relay": 0}, "relay is 0: input should be a valid boolean"),
    ],
    "occlusion": [
        ({"kinds": ("saliant",)}, "kinds.0 is 'saliant': input should be 'random', 'salient', 'non-salient' or 'token"),
        ({"kinds": ()}, "kinds is (): tuple should have at least 1 item"),
        ({"shares": (2.0,)}, "shares.0 is 2.0: input should be less than or equal to 1"),
        ({"shares": 0.5}, "shares is 0.5: input should be a valid tuple"),
        ({"shares": ("half",)}, "shares.0 is 'half': input should be a valid number"),
        ({"grid": (0, 2)}, "grid.0 is 0: input should be greater than 0"),
        ({"grid": (2,)}, "grid.1 is missing"),
        ({"draws": 1.5}, "draws is 1.5: input should be a valid integer"),
        ({"guide": 1}, "guide is 1: input should be a valid string"),
        ({"head": -1}, "head is -1: input should be greater than or equal to 0"),
        ({"mass": 0.5}, "mass is 0.5: input should be a valid boolean"),
        ({"token_shares": (2.0,)}, "token_shares.0 is 2.0: input should be less than or equal to 1"),
        ({"blocks": (-1,)}, "blocks.0 is -1: input should be greater than or equal to 0"),
    ],
    "patch_size": [
        ({"probes": ()}, "probes is (): tuple should have at least 1 item"),
        ({"probes": ("lesion",)}, "probes.0 is 'lesion': input should be 'attention_distance', 'background'"),
        ({"probes": ("shuffle", "shuffle")}, "'shuffle' is listed twice: list each value once"),
    ],
    "rotation": C_VALUES,
    "shape_bias": [*PATCH, ({"stimuli": "found"}, "stimuli is 'found': input should be 'made' or 'given'")],
    "shape_distillation": [
        *PATCH,
        ({"alpha": 1.5}, "alpha is 1.5: input should be less than or equal to 1"),
        ({"tau": 0.0}, "tau is 0.0: input should be greater than 0"),
        ({"steps": -3}, "steps is -3: input should be greater than 0"),
        ({"rate": float("inf")}, "rate is inf: input should be a finite number"),
        ({"column": None}, "column is None: input should be a valid string"),
    ],
    "shuffle": [
        ({"grids": (3,)}, "grids.0 is 3: input should be a valid tuple"),
        ({"grids": ((0, 2),)}, "grids.0.0 is 0: input should be greater than 0"),
        ({"draws": 0}, "draws is 0: input should be greater than 0"),
    ],
    "transfer": [
        *C_VALUES,
        ({"target": 3}, "target is 3: input should be a valid string"),
        ({"k": -1}, "k is -1: input should be greater than or equal to 0"),
        ({"temperature": 0.0}, "temperature is 0.0: input should be greater than 0"),
    ],
    "zero_shot": [
        ({"prompts": "{}"}, "prompts is '{}': input should be a valid tuple"),
        ({"prompts": ("{}", "{}")}, "'{}' is listed twice: list each value once"),
        ({"prompts": ("a photo",)}, "templates are texts with {} for the class name, or openai or simple"),
    ],
}


@pytest.mark.parametrize(
    ("probe", "values", "message"),
    [(probe, values, message) for probe, faults in NONSENSE.items() for values, message in faults],
)
def test_nonsense_is_refused_in_one_line_before_any_work(
    probe: str, values: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("visit", "capture"):
        monkeypatch.setattr(VisionModel, name, lambda *args: pytest.fail("it computed"))
    with pytest.raises(ProbeError) as error:
        run_probe(probe, "no:model", "no images", **values)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("probe", PROBES)
def test_every_setting_of_every_probe_is_tried(probe: str) -> None:
    names = [field.name for field in dataclasses.fields(PROBES[probe].settings)]
    assert {name for values, _ in NONSENSE[probe] for name in values} == {*names}
    for name in names:
        with pytest.raises(ProbeError, match=f"^the probe {probe}: {name} is "):
            make_probe_settings(PROBES[probe], {name: {"a set"}})


def test_lists_are_taken_for_tuples_and_whole_numbers_for_decimal_ones() -> None:
    made = make_probe_settings(PROBES["occlusion"], {"shares": [0, 0.5, 1], "grid": [2, 3], "head": None})
    assert (made.shares, made.grid, made.head) == ((0.0, 0.5, 1.0), (2, 3), None)
    assert all(isinstance(share, float) for share in made.shares)
