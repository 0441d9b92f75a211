import numpy as np
import pytest
import torch
from PIL import Image

from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.protocols.background import Masked


def test_each_pixel_is_shown_in_one_of_the_two_and_filled_in_the_other() -> None:
    pixels = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    masks = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    fill = torch.tensor([0.1, 0.2, 0.3])
    object_only, rest = (Masked(shown, fill)(pixels, np.arange(2)) for shown in (masks, ~masks))
    assert torch.equal(object_only + rest, (pixels + fill[:, None, None]).where(masks[:, None], rest + object_only))
    assert (object_only.permute(0, 2, 3, 1)[~masks] == fill).all()
    assert (rest.permute(0, 2, 3, 1)[masks] == fill).all()


def test_a_mask_that_shows_everything_changes_nothing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for label in ("skull", "pizza"):
        for part, image in (("images", Image.effect_noise((48, 48), 80)), ("masks", Image.new("L", (48, 48), 255))):
            (tmp_path / part / label).mkdir(parents=True)
            image.save(tmp_path / part / label / "a.png")
    result = run_probe("background", "mini:supervised", f"folder:{tmp_path / 'images'}", masks=tmp_path / "masks")
    values = result.frame[result.frame["metric"] == "probability"].pivot_table(
        index="image", columns="series", values="value"
    )
    assert values["foreground only"].tolist() == values["clean"].tolist()


@pytest.mark.slow
def test_it_runs_on_the_alpha_channels_of_the_emoji() -> None:
    result = run_probe("background", ["mini:clip", "mini:supervised"], "mini:emoji", n=8)
    assert {*result.curves["series"]} == {"clean", "foreground only", "background only"}
    assert "%" in result.caveats[0]


def test_images_without_masks_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for label in ("skull", "pizza"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (48, 48)).save(tmp_path / label / "a.png")
    with pytest.raises(ProbeError, match="no alpha channel"):
        run_probe("background", "mini:supervised", f"folder:{tmp_path}")


def test_images_without_an_alpha_channel_are_left_out_and_counted(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for label, mode in (("skull", "RGBA"), ("pizza", "RGBA"), ("ghost", "RGB")):
        (tmp_path / label).mkdir()
        Image.new(mode, (48, 48)).save(tmp_path / label / "a.png")
    result = run_probe("background", "mini:supervised", f"folder:{tmp_path}")
    assert {*result.frame["image"]} == {"skull/a.png", "pizza/a.png"}
    assert result.about["images"] == 2
    assert result.caveats[-1] == "Left out for want of an alpha channel: 1 of 3 images."
