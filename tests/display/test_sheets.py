"""Sheets of images: what stands where, by the pixels."""

import numpy as np
import pytest
from PIL import Image

from conceptprobe.display.sheets import CLEAR, GAP, LINE, PAPER, draw_contact_sheet, draw_grid, fit_square

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(colour: tuple[int, int, int], width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def test_images_stand_in_rows_in_the_middle_of_cells_of_the_largest_size() -> None:
    grid = np.asarray(draw_grid([plain(RED, 6, 4), None, plain(GREEN, 2, 8), plain(BLUE, 6, 8)], 2, gap=3))
    assert grid.shape == (8 + 3 + 8, 6 + 3 + 6, 3)
    expected = np.full(grid.shape, 255, np.uint8)
    expected[2:6, 0:6] = RED
    expected[11:19, 2:4] = GREEN
    expected[11:19, 9:15] = BLUE
    np.testing.assert_array_equal(grid, expected)


def test_cells_can_be_square_and_empty_ones_clear() -> None:
    grid = draw_grid([None, plain(RED, 4, 2)], 2, rows=3, square=True, background=CLEAR)
    assert grid.mode == "RGBA"
    assert grid.size == (8, 12)
    levels = np.asarray(grid)
    assert (levels[1:3, 4:8] == (*RED, 255)).all()
    assert levels[..., 3].sum() == 8 * 255
    assert draw_grid([], 4, rows=4).size == (4, 4)


def test_a_contact_sheet_has_captions_below_its_images() -> None:
    sheet = np.asarray(draw_contact_sheet([plain(RED, 40, 30), plain(GREEN, 40, 30)], [("a", "b"), ("c", "d")], 1))
    step = 30 + 2 * LINE + 4 + GAP
    assert sheet.shape == (2 * step + GAP, 40 + 2 * GAP, 3)
    for number, colour in enumerate((RED, GREEN)):
        top = GAP + number * step
        assert (sheet[top : top + 30, GAP : GAP + 40] == colour).all()
        caption = sheet[top + 30 : top + step, GAP : GAP + 40]
        assert (caption < 200).any()
        assert (sheet[top + step - GAP : top + step] == PAPER).all()


@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_contact_sheet_is_nearly_square_and_cuts_long_names(count: int) -> None:
    sheet = draw_contact_sheet([plain(RED, 50, 50)] * count, [("x" * 500, "")] * count)
    assert 0.5 < sheet.width / sheet.height < 2
    assert (np.asarray(sheet)[:, -GAP:] == PAPER).all()


def test_an_image_is_scaled_into_a_square() -> None:
    square = np.asarray(fit_square(plain(RED, 40, 20), 10))
    assert square.shape == (10, 10, 3)
    assert (square[2:7] == RED).all()
    assert (square[:2] == PAPER).all()
    assert (square[8:] == PAPER).all()
