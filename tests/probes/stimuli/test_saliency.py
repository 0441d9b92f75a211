from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conceptprobe.images import load_images
from conceptprobe.models import load_model
from conceptprobe.probes.framework.images import choose_images
from conceptprobe.probes.framework.run_settings import RunSettings
from conceptprobe.probes.stimuli.grid import cell_means, upsample
from conceptprobe.probes.stimuli.saliency import attention_saliency, mask_saliency, rank_cells, top_cells


def test_cells_cover_the_image_where_the_grid_does_not_divide_it() -> None:
    cells = torch.arange(9).reshape(1, 3, 3)
    pixels = upsample(cells, (7, 8))
    assert pixels[0, :, 0].tolist() == [0, 0, 0, 3, 3, 6, 6]
    assert pixels[0, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert cell_means(pixels, (3, 3)).tolist() == [list(range(9))]


def test_a_cell_is_as_salient_as_the_object_covers_it(tmp_path: Path) -> None:
    """An image whose left half, and of the quarter beside it the upper half, is opaque; and one without a mask."""
    alpha = np.zeros((48, 48), np.uint8)
    alpha[:, :24] = 255
    alpha[:24, 24:36] = 255
    half = Image.new("RGB", (48, 48), "red")
    half.putalpha(Image.fromarray(alpha))
    half.save(tmp_path / "a.png")
    Image.new("RGB", (48, 48), "blue").save(tmp_path / "b.png")
    images = choose_images(load_images(f"folder:{tmp_path}"), RunSettings())
    found = mask_saliency(images, load_model("mini:clip"), (1, 4))
    np.testing.assert_allclose(found, [[1, 1, 0.5, 0], [1, 1, 1, 1]], atol=0.03)


@pytest.mark.parametrize("head", [None, 1])
def test_attention_is_that_of_the_last_cls_in_the_cells(head: int | None) -> None:
    model = load_model("mini:clip")
    images = choose_images(load_images("mini:emoji/noto"), RunSettings(n=4))
    found = attention_saliency(model, images, (6, 6), head)
    with torch.no_grad():
        probs = model.capture(images.pixels(model) / 255, "blocks.5.attn.probs")["blocks.5.attn.probs"][:, :, 0, 1:]
    expected = (probs.mean(1) if head is None else probs[:, head]).double().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    coarse = attention_saliency(model, images, (3, 3), head)
    by_hand = expected.reshape(4, 3, 2, 3, 2).mean((2, 4)).reshape(4, 9)
    np.testing.assert_allclose(coarse, by_hand, atol=1e-6)


def test_equal_cells_come_in_an_order_of_the_image_alone() -> None:
    flat = np.ones((3, 50))
    order = rank_cells(flat, ("a", "b", "c"), 0)
    assert order[1].tolist() == rank_cells(flat[:1], ("b",), 0)[0].tolist()
    assert order[0].tolist() != order[1].tolist()
    assert sorted(order[0].tolist()) == list(range(50))


def test_six_of_ten_equal_cells_hold_six_tenths() -> None:
    flat = np.full((1, 10), 0.1)
    order = rank_cells(flat, ("a",), 0)
    assert [int(top_cells(flat, order, share).sum()) for share in (0, 0.6, 0.61, 1)] == [0, 6, 7, 10]
    assert top_cells(np.zeros((1, 10)), order, 0.5).sum() == 0
