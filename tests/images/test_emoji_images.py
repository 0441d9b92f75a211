import numpy as np
import pyarrow.compute as pc
import pytest

from conceptprobe.images import SourceError, load_images

STYLES = {
    "emojione": "CC-BY-4.0",
    "emojione-v1": "CC-BY-SA-4.0",
    "fluent-emoji": "MIT",
    "fluent-emoji-flat": "MIT",
    "fxemoji": "Apache-2.0",
    "noto": "Apache-2.0",
    "noto-v1": "Apache-2.0",
    "openmoji": "CC-BY-SA-4.0",
    "twemoji": "CC-BY-4.0",
}


@pytest.fixture(scope="module")
def emoji():
    return load_images("mini:emoji")


def test_counts(emoji):
    assert len(emoji) == 12_359
    assert emoji.table.column_names == ["id", "label", "tags", "subgroup", "group", "style", "licence", "hexcode"]
    assert len(emoji.table["label"].unique()) == 1_914
    assert len(emoji.table["hexcode"].unique()) == 1_914
    assert all(column.null_count == 0 for column in emoji.table.columns)


def test_styles_and_their_licences(emoji):
    assert set(zip(emoji.table["style"].to_pylist(), emoji.table["licence"].to_pylist(), strict=True)) == set(
        STYLES.items()
    )


def test_skull(emoji):
    row = emoji.row_of("noto/1F480")
    known = emoji.table.slice(row, 1).to_pylist()[0]
    assert known["label"] == "skull"
    assert known["hexcode"] == "1F480"
    assert {"dead", "death"} <= set(known["tags"])
    loaded = emoji.load(row)
    assert loaded.image.size == loaded.mask.size == (64, 64)
    assert loaded.image.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.mask.getextrema() == (0, 255)
    assert 0.3 < np.asarray(loaded.mask).mean() / 255 < 0.9


def test_ids_are_style_and_hexcode(emoji):
    joined = pc.binary_join_element_wise(emoji.table["style"], emoji.table["hexcode"], "/")
    assert joined.equals(emoji.table["id"])


def test_a_sample_of_every_style_has_a_mask(emoji):
    for style in STYLES:
        row = emoji.table["style"].index(style).as_py()
        assert emoji.load(row).mask is not None


def test_some_styles_only(emoji):
    some = load_images("mini:emoji/twemoji,noto")
    rows = pc.indices_nonzero(pc.is_in(emoji.table["style"], pc.cast(["noto", "twemoji"], "string")))
    assert some.table.equals(emoji.subset(rows.to_pylist()).table)
    assert some.fingerprint == emoji.subset(rows.to_pylist()).fingerprint


@pytest.mark.parametrize("spec", ["mini:clip", "mini:emoji/noto,notto", "mini:emojis"])
def test_what_does_not_exist(spec):
    with pytest.raises(SourceError, match=r"styles: emojione, .*twemoji"):
        load_images(spec)
