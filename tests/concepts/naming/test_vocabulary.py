from pathlib import Path

import pytest

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.naming.vocabulary import clean_words, word_list


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("mini", 5285, {"skull", "coffin", "guitar", "death", "music", "face with tears of joy"}),
        ("imagenet", 1858, {"tench", "acoustic guitar", "crane bird", "musical instrument", "dog", "entity"}),
        ("english", 20_000, {"death", "music", "dog", "red", "run", "laptop", "morbid", "coffin", "skateboard"}),
    ],
)
def test_lists_that_come_with_the_package(name: str, count: int, some: set[str]) -> None:
    words = word_list(name)
    assert len(words) == count
    assert some <= set(words)
    assert clean_words(words) == words


def test_english_is_commonest_first_and_without_forms_and_function_words() -> None:
    words = word_list("english")
    assert words.index("dog") < words.index("poodle")
    assert not {"dogs", "running", "children", "the", "and", "which", "quickly", "munich"} & set(words)


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffskull\n\n  grave   stone \r\nSkull\n---\n7\n", encoding="utf-8")
    assert word_list(path) == word_list(str(path)) == ("skull", "grave stone", "7")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, r"there is no word list .*words\.txt: give mini, imagenet, english"),
        (b"", "has no words"),
        (b"\n - \n", "has no words"),
        (b"caf\xe9\n", r"is not a text in UTF-8"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "words.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConceptError, match=message):
        word_list(path)
