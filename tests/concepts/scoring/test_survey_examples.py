"""The survey's examples on the mini images: what the recipe does, here on a part of the images and planted lists."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.user_sets import beside_labels, read_sets, sets_of
from conceptprobe.images import load_images
from conceptprobe.indexing import Index, build_index
from conceptprobe.models import load_model
from survey.examples import THEMES, Example, K, examine, main, p_of_difference

pytestmark = pytest.mark.slow

LAYER = "blocks.5.mlp.hidden"
OTHERS = 700


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> list[Index]:
    """Indices of the twins over the images of the themes, and as many others as make a background."""
    source = load_images("mini:emoji")
    labels = np.array(source.table["label"].to_pylist())
    of_theme = np.isin(labels, [label for entries in read_sets(THEMES).values() for label in entries])
    others = np.random.default_rng(0).choice(np.flatnonzero(~of_theme), OTHERS, replace=False)
    images = source.subset(np.union1d(np.flatnonzero(of_theme), others))
    folder = tmp_path_factory.mktemp("indices")
    return [
        build_index(load_model(f"mini:{name}", device="cpu"), images, LAYER, folder / name, k=20, workers=0)
        for name in ("clip", "supervised")
    ]


@pytest.fixture(scope="module")
def themes(twins: list[Index]) -> dict[str, list[str]]:
    return sets_of(read_sets(THEMES), twins[0].images)


def plant(index: Index, lists: dict[int, np.ndarray]) -> Index:
    """The index with some features' lists replaced."""
    planted = Index(index.path, index.manifest)
    rows_fk, values_fk = (array.copy() for array in index.top_rows(LAYER))
    for feature, rows in lists.items():
        rows_fk[feature, : len(rows)] = rows
    planted.top_rows = lambda layer, pooling=None: (rows_fk, values_fk)  # type: ignore[method-assign]
    return planted


def test_the_themes_are_the_emoji_that_they_name(themes: dict[str, list[str]], twins: list[Index]) -> None:
    labels = twins[0].images.set_index("id")["label"]
    assert {name: len(ids) for name, ids in themes.items()} == {"death": 50, "music": 183}
    assert set(labels[themes["death"]]) == set(read_sets(THEMES)["death"])
    assert len(set(labels[themes["music"]])) == 26


def test_a_planted_theme_is_found_and_told_from_a_planted_object(
    twins: list[Index], themes: dict[str, list[str]]
) -> None:
    images = twins[0].images
    rows = np.flatnonzero(images["id"].isin(themes["death"]))
    one_each = rows[np.unique(images["label"].iloc[rows], return_index=True)[1]]
    skulls = np.flatnonzero(images["label"] == "skull")[:K]
    index = plant(twins[0], {5: one_each[:K], 6: one_each[::-1][:K], 7: skulls})
    frame = examine(index, "death", themes["death"], draws=20_000, visual=None).frame.set_index("feature")
    assert frame.loc[[5, 6, 7], "found"].all()
    assert frame.loc[[5, 6, 7], "thematic"].tolist() == [True, True, False]
    assert frame.loc[[5, 6, 7], "objects"].tolist() == [8, 8, 1]
    assert frame.loc[[5, 6], "hits"].tolist() == [K, K]
    music = examine(index, "music", themes["music"], draws=20_000, visual=None).frame.set_index("feature")
    assert not music.loc[[5, 6, 7], "found"].any()


def test_features_with_other_lists_are_not_found(twins: list[Index], themes: dict[str, list[str]]) -> None:
    rng = np.random.default_rng(1)
    width = twins[0].width(LAYER)
    random = {at: rng.choice(len(twins[0].images), K, replace=False) for at in range(width)}
    example = examine(plant(twins[0], random), "music", themes["music"], draws=20_000, visual=None)
    assert example.frame["found"].mean() <= 0.01
    assert example.frame["p_random"].min() > 1e-5


def test_p_of_a_difference() -> None:
    def example(found: list[int]) -> Example:
        frame = {"layer": "layer", "found": found, "firing_rate": np.linspace(0, 1, 100), "cluster": np.arange(100)}
        return Example("model", "theme", pd.DataFrame(frame))

    none, some = example([0] * 100), example([1, 0, 0, 0, 0] * 20)
    assert p_of_difference(some, none, "found") < 0.001
    assert p_of_difference(some, some, "found") == 1


@pytest.mark.slow  # holds features against looks
def test_the_recipe_tells_what_it_finds(twins: list[Index], capsys: pytest.CaptureFixture[str]) -> None:
    main([str(index.path) for index in twins])
    told = capsys.readouterr().out
    for theme in ("death", "music"):
        for model in ("mini:clip", "mini:supervised"):
            assert f"{theme}, {model}: " in told
            assert f"{theme}, {model}: AUC of linear probes" in told
        assert f"{theme}: the models' shares differ with p " in told


def test_sets_are_of_labels_or_ids(twins: list[Index], tmp_path: Path) -> None:
    images = twins[0].images
    first = images["id"].iloc[0]
    assert sets_of({"own": [first, "skull"]}, images)["own"] == [first, *images.loc[images["label"] == "skull", "id"]]
    with pytest.raises(ConceptError, match="'skul' is neither a label nor an image id"):
        sets_of({"own": ["skul"]}, images)
    concepts = beside_labels({"skull": ["skull", "coffin"], "death": ["skull", "coffin", "headstone"]}, images)
    assert {"skull", "set:skull", "death"} <= set(concepts.names)
    assert not concepts.is_leaf[concepts.position("death")]
    assert concepts.is_leaf[concepts.position("coffin")]


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "not an object"), ("{}", "not an object"), ('{"a": []}', "'a' is not a list"), ("{", "read as JSON")],
)
def test_files_of_sets_that_are_none_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sets.json"
    path.write_text(text)
    with pytest.raises(ConceptError, match=message):
        read_sets(path)
    with pytest.raises(ConceptError, match="cannot be read"):
        read_sets(tmp_path / "none.json")
