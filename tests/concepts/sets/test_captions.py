import pytest

from conceptprobe.concepts.sets.captions import nouns, singular


@pytest.mark.parametrize(
    ("plural", "expected"),
    [
        ("men", "man"), ("women", "woman"), ("children", "child"), ("feet", "foot"), ("teeth", "tooth"),
        ("geese", "goose"), ("mice", "mouse"), ("knives", "knife"), ("wolves", "wolf"), ("leaves", "leaf"),
        ("elves", "elf"), ("loaves", "loaf"), ("oxen", "ox"), ("cacti", "cactus"), ("sheep", "sheep"),
        ("policemen", "policeman"), ("buses", "bus"), ("boxes", "box"), ("benches", "bench"), ("dishes", "dish"),
        ("ponies", "pony"), ("dogs", "dog"), ("potatoes", "potato"),
    ],
)  # fmt: skip
def test_plurals(plural: str, expected: str) -> None:
    assert singular(plural) == expected


@pytest.mark.parametrize("word", ["bus", "gas", "glass", "glasses", "scissors", "pants", "stairs", "people", "dress"])
def test_words_that_look_like_plurals(word: str) -> None:
    assert singular(word) == word


@pytest.mark.parametrize(
    "word", ["running", "holding", "sits", "red", "large", "the", "in", "can", "does", "is", "left"]
)
def test_words_that_are_mostly_no_nouns(word: str) -> None:
    assert singular(word) is None


def test_nouns_of_a_caption() -> None:
    caption = "Two men and a woman's dog are sitting on red benches; the men, in T-shirts, hold a teddy bear."
    assert nouns(caption) == ["man", "woman", "dog", "bench", "shirt", "teddy", "bear"]
    assert nouns("") == nouns("12:30 — ?!") == []
