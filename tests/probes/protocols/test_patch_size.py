import functools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conceptprobe.images import load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, ProbeResult, run_probe
from conceptprobe.probes.framework.result import make_differences
from conceptprobe.probes.protocols.patch_size import COMPARED, at_patch_size, facts, patch_pixels

SMALL, LARGE = "timm:vit_tiny_patch16_224@random#64", "timm:vit_small_patch32_224@random#64"
LABELS = ("skull", "pizza", "ghost", "guitar")


@functools.cache
def load(spec: str) -> VisionModel:
    return load_model(spec)


def ask(probe: str, models: tuple[str, ...], **options: Any) -> ProbeResult:
    classes = load(models[0]).class_names[: len(LABELS)]
    options |= {"classes": classes, "class_map": dict(zip(LABELS, classes, strict=True))}
    return run_probe(probe, [load(spec) for spec in models], load_images("mini:emoji/noto"), n=8, **options)


@pytest.mark.slow
def test_patch_sizes_are_in_pixels_and_facts_tell_what_else_differs() -> None:
    assert (patch_pixels(load(SMALL)), patch_pixels(load(LARGE))) == (16, 32)
    assert facts(load(LARGE)).startswith(
        f"{LARGE}: patches of 32 pixels, 2 x 2 of them in images of 64 x 64; 12 blocks of width 384, "
    )


@pytest.mark.slow
def test_it_is_the_same_probes_with_the_patch_size_as_x() -> None:
    result = ask("patch_size", (SMALL, LARGE), probes=("attention_distance", "shuffle"))
    assert {(row.model, row.x) for row in result.curves.itertuples()} == {(SMALL, 16), (LARGE, 32)}
    assert result.curves.groupby(["model", "metric", "series"]).size().max() == 1
    shuffled = COMPARED["shuffle"].settings
    alone = ask("shuffle", (SMALL, LARGE), grids=shuffled.grids, draws=shuffled.draws)
    for model in (SMALL, LARGE):
        for series, own, x in (("clean", "clean", 0), ("shuffle: shuffled 16", "shuffled", 16)):
            for metric in ("correct", "probability"):
                found = value_of(result.curves, model=model, metric=metric, series=series)
                assert found == value_of(alone.curves, model=model, metric=metric, series=own, x=x)
    assert {*result.survival["series"]} == {"shuffle: shuffled 4", "shuffle: shuffled 16"}
    assert {*result.survival["x"]} == {16, 32}
    assert "all else was the same" in result.caveats[0]
    assert {facts(load(SMALL)), facts(load(LARGE))} < {*result.caveats}


def value_of(curves: pd.DataFrame, **point: Any) -> float:
    (value,) = curves[functools.reduce(np.logical_and, (curves[name] == is_ for name, is_ in point.items()))]["value"]
    return float(value)


@pytest.mark.slow
def test_differences_are_paired_by_image_over_the_patch_sizes() -> None:
    result = ask("patch_size", (SMALL, LARGE), probes=("attention_distance",))
    distance = ask("attention_distance", (SMALL,))
    found = value_of(result.curves, model=SMALL, series="attention_distance: mean of heads 7")
    assert found == value_of(distance.curves, model=SMALL, series="mean of heads", x=7)
    (row,) = result.differences[result.differences["series"] == "attention_distance: mean of heads 0"].itertuples()
    assert (row.first, row.second, row.x, row.n) == (SMALL, LARGE, -16, 8)
    values = result.frame[result.frame["series"] == row.series].pivot_table(
        index="image", columns="model", values="value"
    )
    assert row.value == pytest.approx((values[SMALL] - values[LARGE]).mean())


def test_models_with_an_x_of_their_own_are_compared_all_the_same() -> None:
    rows = pd.DataFrame(
        {"model": model, "metric": "m", "series": "s", "x": x, "draw": 0, "image": f"i{image}", "value": value + image}
        for model, x, value in (("a", 8.0, 5.0), ("b", 16.0, 2.0))
        for image in range(3)
    )
    assert make_differences(rows).empty
    (row,) = make_differences(rows, x_of_model=True).itertuples()
    assert (row.x, row.value, row.n) == (-8, 3, 3)


def test_a_part_keeps_its_own_x_in_the_name_of_the_series() -> None:
    table = pd.DataFrame({"series": ["clean", "random", "random"], "x": [0.0, 0.5, 0.9], "value": [1, 2, 3]})
    found = at_patch_size(table, "occlusion", 16)
    assert found["series"].tolist() == ["clean", "occlusion: random 0.5", "occlusion: random 0.9"]
    assert found["x"].tolist() == [16, 16, 16]
    assert at_patch_size(table[1:2], "occlusion", 16, keep_x=False)["series"].tolist() == ["occlusion: random"]


def test_occlusion_drops_the_same_pixels_for_all_models() -> None:
    assert COMPARED["occlusion"].settings.grid == (14, 14)


@pytest.mark.slow
def test_every_part_runs() -> None:
    result = ask("patch_size", (SMALL, LARGE), probes=tuple(COMPARED))
    parts = {series.split(":")[0] for series in result.curves["series"]}
    assert parts == {"clean", *COMPARED}
    jaccard = result.curves[result.curves["metric"] == "jaccard"]
    assert {*jaccard["series"]} == {
        f"cls_attention: {name}"
        for name in (
            "best head (oracle)",
            "best random (oracle)",
            "fixed head",
            "mean map",
            "centre",
            "best patches",
        )
    }
    assert {*result.survival["series"].str.split(":").str[0]} == {"background", "cutout", "occlusion", "shuffle"}


@pytest.mark.slow
def test_only_what_the_parts_need_is_asked_for() -> None:
    """Models without classes, as those of DINO, can be asked where they look."""
    models = ("mini:distilled", "timm:vit_small_patch14_dinov2@random#56")
    result = run_probe(
        "patch_size", models, "mini:emoji", n=4, layers=(), probes=("attention_distance", "cls_attention")
    )
    assert {*result.curves["x"]} == {8, 14}
    assert all(model["head"] is None for model in result.about["models"])
    result = run_probe("patch_size", models, "mini:emoji", n=4, layers=(), probes=("shuffle",))
    assert {*result.curves["metric"]} == {"cosine", "r"}


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (("mini:clip",), r"got mini:clip \(8 pixels\): give two or more"),
        (("mini:clip", "mini:supervised"), r"mini:clip \(8 pixels\), mini:supervised \(8 pixels\)"),
        (("mini:clip", "timm:resnet18@random"), "timm:resnet18@random has no patches"),
    ],
)
def test_models_whose_patches_do_not_differ_are_refused_before_any_compute(
    monkeypatch: pytest.MonkeyPatch, models: tuple[str, ...], message: str
) -> None:
    for name in ("visit", "encode_text"):
        monkeypatch.setattr(VisionModel, name, lambda *args: pytest.fail("it computed"))
    with pytest.raises(ProbeError, match=message):
        run_probe("patch_size", models, "mini:emoji", n=4)
