import numpy as np
import torch

from emoji_images import Emoji, backgrounds, caption, class_names, load_emoji, random_views
from train import CLIP, DISTIL, SUPERVISED, Schedule, order, views_of


def test_both_twins_see_the_same_views_in_the_same_order() -> None:
    emoji = load_emoji()
    emoji = Emoji(emoji.table[:100], emoji.rgba_nchw[:100])
    rows, views = views_of(emoji, 64, 128)
    halves = [views_of(emoji, start, 64) for start in (64, 128)]
    np.testing.assert_array_equal(rows, np.concatenate([half[0] for half in halves]))
    assert torch.equal(views, torch.cat([half[1] for half in halves]))
    assert CLIP.samples == SUPERVISED.samples
    assert CLIP.head_only == SUPERVISED.head_only


def test_an_epoch_is_a_permutation() -> None:
    for epoch in range(3):
        assert sorted(order(37, 37 * epoch, 37)) == list(range(37))
    assert (order(37, 0, 37) != order(37, 37, 37)).any()
    np.testing.assert_array_equal(order(37, 30, 20), order(37, 0, 60)[30:50])


def test_the_split() -> None:
    emoji = load_emoji()
    train = emoji.where(emoji.table["seen_style"] & emoji.table["seen_emoji"])
    assert len(train) == 9583
    assert not set(train.table["style"]) & {"noto-v1", "emojione-v1"}
    assert len(class_names(emoji)) == 1616
    assert {"skull", "headstone", "coffin", "mirror ball", "radio"} <= set(class_names(emoji))


def test_views_and_backgrounds_are_pixels_and_differ() -> None:
    emoji = load_emoji()
    for seed in range(3):
        views = random_views(emoji.rgba_nchw[:32], 48, torch.Generator().manual_seed(seed))
        assert views.shape == (32, 3, 48, 48)
        assert views.min() >= 0
        assert views.max() <= 1
    again = random_views(emoji.rgba_nchw[:32], 48, torch.Generator().manual_seed(2))
    assert torch.equal(views, again)
    behind = backgrounds(500, 48, torch.Generator().manual_seed(0))
    white = (behind == 1).flatten(1).all(1).float().mean()
    assert 0.13 < white < 0.27  # a fifth; four standard deviations


def test_captions_are_made_of_the_name_and_the_tags() -> None:
    rng = np.random.default_rng(0)
    texts = [caption("skull", ["bone", "death", "face"], rng) for _ in range(600)]
    assert all(set(text.split(", ")) <= {"skull", "bone", "death", "face"} for text in texts)
    without = sum("skull" not in text for text in texts)
    bare = texts.count("skull")
    assert 60 < without < 140
    assert 150 < bare < 250
    assert caption("alone", [], rng) == "alone"


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    schedule = Schedule(samples=1000, batch=10, lr=1.0, head_only=200, rise=100, fall=300)
    rates = [schedule.lr_at(step) for step in range(schedule.steps)]
    assert rates[0] == 0.1
    assert rates[10] == rates[19] == 1.0
    assert rates[20] == 0.1  # rises again when the trunk joins
    assert rates[60] == 1.0
    assert rates[85] == 0.5
    assert 0 < rates[-1] < 0.04
    assert DISTIL.head_only == 0
