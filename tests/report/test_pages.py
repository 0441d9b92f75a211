import shlex

import numpy as np
import pytest

from conceptprobe.report.gallery import collect_gallery
from conceptprobe.report.pages import (
    Stack,
    build_command,
    divergence,
    layer_file,
    make_layer_pages,
    make_layer_rows,
    pick_examples,
    shared_tags,
    stack_images,
)


def test_stacks_keep_the_order_of_their_best_image():
    groups = ["skull", "skull", "cat", "radio"]
    stacks = stack_images(np.array([1, 2, 0, 3]), np.array([4.0, 3.0, 2.0, 1.0]), groups)
    assert stacks == (Stack((1, 0), (4.0, 2.0)), Stack((2,), (3.0,)), Stack((3,), (1.0,)))


def test_a_rare_tag_goes_before_a_common_one_of_the_same_count():
    tags = [("death", "thing")] * 7 + [("music", "thing")]
    found = shared_tags(tags, {"death": 0.01, "thing": 0.9, "music": 0.01})
    assert [(tag.tag, tag.count, tag.of) for tag in found] == [("death", 7, 8), ("thing", 8, 8)]
    assert found[0].bits == pytest.approx(7 * np.log2(7 / 8 / 0.01) + 1 * np.log2(1 / 8 / 0.99))


def test_tags_that_are_no_more_common_than_in_the_source_are_left_out():
    assert shared_tags([("thing",), ("thing",), ()], {"thing": 2 / 3}) == ()
    assert shared_tags([], {}) == ()


def test_divergence_is_that_of_two_coins():
    assert divergence(1.0, 0.25) == pytest.approx(2.0)
    assert divergence(0.5, 0.25) == pytest.approx(0.5 * 1 + 0.5 * np.log2(0.5 / 0.75))


def test_every_number_on_a_page_is_that_of_the_index(make_index):
    acts = np.random.default_rng(1).normal(size=(18, 6))
    index = make_index(acts, dead=(2,))
    gallery = collect_gallery([index])
    (page,) = make_layer_pages([index], gallery)
    (column,) = page.columns
    assert column.dead == (2,)
    assert [card.feature for card in column.cards] == [0, 1, 3, 4, 5]
    for card in column.cards:
        shown = sorted(
            ((value, gallery.frame["id"][n]) for s in card.stacks for n, value in zip(s.images, s.values, strict=True)),
            reverse=True,
        )
        expected = sorted(zip(acts[:, card.feature].astype(np.float32), index.images["id"], strict=True), reverse=True)
        assert shown == expected
        assert card.max == acts[:, card.feature].max()
        assert len({gallery.frame["group"][stack.images[0]] for stack in card.stacks}) == len(card.stacks)


def test_a_layer_that_only_one_index_has_gets_one_column(make_index):
    acts = np.ones((18, 2))
    indices = [
        make_index(acts, layers=("a", "b")),
        make_index(acts, layers=("b", "c")),
        make_index(acts, layers=("b",)),
    ]
    pages = make_layer_pages(indices, collect_gallery(indices))
    assert [(page.layer, [column.key for column in page.columns]) for page in pages] == [
        ("a", ["mini:clip"]),
        ("b", ["mini:clip", "mini:clip (2)", "mini:clip (3)"]),
        ("c", ["mini:clip (2)"]),
    ]
    assert [(row.layer, row.key) for row in make_layer_rows(indices)][1:3] == [
        ("b", "mini:clip"),
        ("b", "mini:clip (2)"),
    ]


def test_examples_name_each_tag_once(make_index):
    # Features of cat, coffin, education, guitar, radio, skull; two for music, one for death, one for nothing shared.
    by_label = np.array([[0, 0, 0, 2, 1, 0], [0, 0, 0, 2, 1, 0], [0, 1, 0, 0, 0, 2], [2, 0, 1, 0, 0, 0]]).T
    index = make_index(np.repeat(by_label, 3, axis=0).astype(float), k=6)
    (page,) = make_layer_pages([index], collect_gallery([index]))
    (column,) = pick_examples([page]).columns
    assert [(card.feature, card.tags[0].tag, card.tags[0].count) for card in column.cards] == [
        (0, "music", 2),
        (2, "death", 2),
    ]
    plain = make_index(np.ones((18, 2)), drop=("tags",))
    assert pick_examples(make_layer_pages([plain], collect_gallery([plain]))) is None


@pytest.mark.parametrize("layer", ["blocks.5.mlp.hidden", "module:a/../b", "..", "<img src=x>", "層" * 200, "a b?#%"])
def test_layer_files_are_plain_names(layer):
    name = layer_file(layer, 7)
    assert name.startswith("007-")
    assert not set(name) & set("/\\:<>?#% ")
    assert len(name) < 100


def test_the_command_quotes_what_a_shell_would_split(make_index):
    index = make_index(np.ones((18, 1)), spec="timm:vit@my file.pt", layers=("blocks.0.attn.out", "blocks.1.attn.out"))
    words = shlex.split(build_command(index))
    assert words[:5] == ["conceptprobe", "index", "build", "--model", "timm:vit@my file.pt"]
    assert words[words.index("--layers") :][:4] == ["--layers", "blocks.0.attn.out", "--layers", "blocks.1.attn.out"]
