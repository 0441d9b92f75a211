from pathlib import Path

import pytest

from conceptprobe.indexing import IndexingError
from conceptprobe.indexing.recipe import make_recipe, read_recipe

GOOD = {"model": "mini:clip", "images": "mini:emoji", "layers": "final", "out": "x"}
RECIPES = sorted((Path(__file__).parents[2] / "indices").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_recipes_that_come_along_are_valid(path: Path) -> None:
    assert make_recipe(read_recipe(path)).out == f"indices/{path.stem}"


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 4


def test_a_text_is_a_list_of_one() -> None:
    assert make_recipe({**GOOD, "pooling": "cls"}).pooling == ("cls",)
    assert make_recipe(GOOD).layers == ("final",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"poolin": "mean"}, "did you mean 'pooling'"),
        ({"model": None}, "needs model"),
        ({"k": "100"}, "k is '100': input should be a valid integer"),
        ({"k": True}, "valid integer"),
        ({"layers": [1]}, r"layers\.0 is 1: input should be a valid string"),
        ({"vectors": 1}, "valid boolean"),
    ],
)
def test_bad_settings_are_named(change: dict, message: str) -> None:
    with pytest.raises(IndexingError, match=message):
        make_recipe({**GOOD, **change})


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match="No such file"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("model = ")
    with pytest.raises(IndexingError, match="not TOML"):
        read_recipe(tmp_path / "bad.toml")
