import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conceptprobe.images import load_images
from conceptprobe.models import VisionModel
from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.protocols.rotation import Rotation, turn_by


class Corners(nn.Module):
    """The mean of each quarter of an image [B,12], and of the whole of it [B,3]."""

    def __init__(self) -> None:
        super().__init__()
        self.quarters, self.whole = nn.Identity(), nn.Identity()

    def forward(self, pixels_bchw: Tensor) -> Tensor:
        quarters_b = self.quarters(nn.functional.adaptive_avg_pool2d(pixels_bchw, 2).flatten(1))
        return self.whole(quarters_b.unflatten(1, (3, 4)).mean(2))


@pytest.fixture(scope="module")
def corners() -> VisionModel:
    return VisionModel.wrap(
        Corners(), layers=("quarters", "whole"), image_size=8, mean=(0.0,) * 3, std=(1.0,) * 3, name="corners"
    )


class BrightTopLeft:
    """Noisy images that are bright at the top left."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, number: int) -> object:
        from PIL import Image

        pixels = np.random.default_rng(number).integers(0, 100, (8, 8, 3), np.uint8)
        pixels[:4, :4] += 120
        return Image.fromarray(pixels)


def test_features_that_say_where_is_bright_tell_the_turn_and_those_that_do_not_are_at_chance(
    corners: VisionModel,
) -> None:
    """All four turns of an image have the same mean, so that exactly one of four answers is right."""
    from conceptprobe.images import ImageSource
    from conceptprobe.images.dataset import list_dataset

    table, reader = list_dataset(BrightTopLeft())
    result = run_probe("rotation", corners, ImageSource("bright", table, reader), n=None)
    by_layer = result.curves.set_index("x")["value"]
    assert by_layer.to_dict() == {0.0: 1.0, 1.0: 0.25}
    assert (result.frame[result.frame["x"] == 1].groupby("image")["value"].sum() == 1).all()


def test_turns_are_by_quarters_and_four_are_none() -> None:
    pixels = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    numbers = np.arange(2)
    assert turn_by(0)(pixels, numbers).equal(pixels)
    assert turn_by(2)(pixels, numbers).equal(pixels.flip(2, 3))
    assert turn_by(1)(turn_by(3)(pixels, numbers), numbers).equal(pixels)
    assert turn_by(1)(pixels, numbers)[..., 0, 0].equal(pixels[..., 0, -1])  # counter-clockwise


@pytest.mark.slow
def test_each_image_to_test_is_asked_in_its_four_turns_at_every_block() -> None:
    result = run_probe("rotation", ["mini:clip", "mini:supervised"], "mini:emoji", n=24, c_values=(0.1,))
    assert result.about["models"][0]["layers"] == [f"blocks.{i}.resid" for i in range(6)]
    counts = result.frame.groupby(["model", "x", "image"])["draw"].agg(sorted)
    assert (counts.map(tuple) == (0, 1, 2, 3)).all()
    tested = result.frame["image"].nunique()
    assert (result.curves["n"] == tested).all()
    assert f"tested on {tested} others" in result.caveats[0]
    assert result.artifacts["mini:clip/c"].tolist() == [0.1] * 6


@pytest.mark.slow
def test_images_can_be_kept_together_by_a_column() -> None:
    source = load_images("mini:emoji")
    result = run_probe("rotation", "mini:clip", source, n=40, layers="embedding", together="style", c_values=(0.1,))
    tested = {id_.partition("/")[0] for id_ in result.frame["image"]}
    rows = np.sort(np.random.default_rng(0).choice(len(source), 40, replace=False))
    drawn = [id_ for id_ in source.table["id"].take(rows).to_pylist() if id_.partition("/")[0] in tested]
    assert {*result.frame["image"]} == {*drawn}  # all images of a style are tested, or none


@pytest.mark.parametrize(
    ("options", "message"),
    [({"together": "colour"}, "no column 'colour'"), ({"n": 2}, "cannot be split")],
)
def test_bad_input_is_refused_before_any_compute(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    with pytest.raises(ProbeError, match=message):
        run_probe("rotation", "mini:clip", "mini:emoji", **options)  # type: ignore[arg-type]


def test_only_squares_can_be_turned() -> None:
    oblong = VisionModel.wrap(
        Corners(), layers=("whole",), image_size=(8, 12), mean=(0.0,) * 3, std=(1.0,) * 3, name="oblong"
    )
    with pytest.raises(ProbeError, match="only squares"):
        run_probe("rotation", oblong, "mini:emoji", n=24)
    assert Rotation().test == 0.5
