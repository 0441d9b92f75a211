"""The recipes of the taxonomy, the word list and the nouns, on a small excerpt of WordNet."""

import json
from pathlib import Path

import pytest
from timm.data import ImageNetInfo

import imagenet_taxonomy
import words
from conceptprobe.concepts.sets.taxonomy import read_taxonomy
from wordnet import PARTS, WORDNET, Synset, read_counts, read_exceptions, read_senses, read_synsets

NOUNS = """\
  1 This software and database is being provided to you, the LICENSEE, by
00001740 03 n 01 entity 0 001 ~ 01503061 n 0000 | that which is perceived
01503061 05 n 01 bird 0 001 @ 00001740 n 0000 | warm-blooded egg-laying vertebrates; "a | b"
02012849 05 n 01 crane 5 001 @ 01503061 n 0000 | large long-necked wading bird
03126707 06 n 02 crane 4 lifting_crane 0 002 @ 00001740 n 0000 + 01974062 v 0101 | lifts heavy objects
08863723 15 n 02 Canada 0 crane 1 001 @i 00001740 n 0000 | a nation
04272054 06 n 01 spectacles 0 002 @ 00001740 n 0000 ;u 06295235 n 0000 | optical instrument
06295235 10 n 02 plural 0 plural_form 0 001 @ 00001740 n 0000 | the form of a word for more than one
"""


@pytest.fixture
def synsets(tmp_path: Path) -> dict[str, Synset]:
    (tmp_path / "data.noun").write_text(NOUNS)
    return read_synsets(tmp_path / "data.noun")


def test_synsets(synsets: dict[str, Synset]) -> None:
    assert synsets["03126707"] == Synset(6, ("crane", "lifting crane"), ("00001740",), False, ())
    assert synsets["08863723"] == Synset(15, ("Canada", "crane"), ("00001740",), True, ())
    assert synsets["04272054"].usage == ("06295235",)
    assert synsets["00001740"].broader == ()
    assert len(synsets) == 7


def test_senses_counts_and_exceptions(tmp_path: Path) -> None:
    (tmp_path / "index.noun").write_text("  1 licence\ncrane n 2 3 @ ~ + 2 1 03126707 02012849  \n")
    (tmp_path / "cntlist.rev").write_text("crane%1:05:00:: 2 3\ncrane%1:06:00:: 1 4\ncrane%2:38:00:: 1 1\n")
    (tmp_path / "noun.exc").write_text("axes ax axis\nmen man\n")
    assert read_senses(tmp_path / "index.noun") == {"crane": ("03126707", "02012849")}
    assert read_counts(tmp_path / "cntlist.rev") == {("crane", "noun"): 7, ("crane", "verb"): 1}
    assert read_exceptions(tmp_path / "noun.exc") == {"axes": ("ax", "axis"), "men": ("man",)}


def test_a_taxonomy_names_each_node_apart(synsets: dict[str, Synset], tmp_path: Path) -> None:
    short = {"02012849": "crane bird", "03126707": "bird"}
    table = imagenet_taxonomy.taxonomy(["03126707", "02012849"], synsets, short)
    path = tmp_path / "taxonomy.json"
    path.write_text(imagenet_taxonomy.as_text(table))
    assert json.loads(path.read_text()) == table
    tree = read_taxonomy(path)
    assert tree.classes == ("n03126707", "n02012849")
    assert tree.shown == {
        "n03126707": "crane", "n02012849": "crane bird", "n01503061": "bird", "n00001740": "entity",
    }  # fmt: skip
    assert tree.names["n03126707"] == ("crane", "lifting crane", "bird")
    assert set(tree.edges) == {("n00001740", "n03126707"), ("n01503061", "n02012849"), ("n00001740", "n01503061")}


def test_a_broader_node_called_like_a_class_shows_what_is_above_it(synsets: dict[str, Synset]) -> None:
    table = imagenet_taxonomy.taxonomy(["02012849"], synsets, {"02012849": "wader"})
    assert table["names"]["n01503061"] == ["bird"]
    alike = synsets | {"01503061": Synset(5, ("crane",), ("00001740",), False, ())}
    table = imagenet_taxonomy.taxonomy(["02012849"], alike, {})
    assert table["names"]["n01503061"] == ["crane (entity)", "crane"]


@pytest.mark.skipif(not WORDNET.is_dir(), reason="WordNet is not installed")
def test_the_shipped_taxonomy_is_what_the_recipe_makes() -> None:
    classes = [label.removeprefix("n") for label in ImageNetInfo("imagenet-1k").label_names()]
    short = dict(zip(classes, imagenet_taxonomy.IMAGENET_CLASSNAMES, strict=True))
    table = imagenet_taxonomy.taxonomy(classes, read_synsets(WORDNET / "data.noun"), short)
    assert imagenet_taxonomy.as_text(table) == imagenet_taxonomy.OUT.read_text(encoding="utf-8")


def dictionary() -> words.Dictionary:
    """Each word as: part of speech, uses in the tagged texts, topic of its first meaning, usage domain."""
    entries = {
        "dog": [("noun", 42, 5, ""), ("verb", 2, 38, "")],
        "bear": [("noun", 1, 5, ""), ("verb", 83, 31, "")],
        "hold": [("verb", 60, 35, ""), ("noun", 4, 4, "")],
        "holding": [("noun", 1, 21, "")],
        "red": [("adj", 69, 0, ""), ("noun", 17, 7, "")],
        "glass": [("noun", 30, 6, "")],
        "glasses": [("noun", 4, 6, "plural")],
        "man": [("noun", 900, 18, "")],
        "men": [("noun", 1, 14, "")],
        "quickly": [("adv", 50, 2, "")],
        "slur": [("noun", 0, 18, "ethnic slur")],
        "can": [("noun", 2, 6, ""), ("verb", 10, 40, "")],
        "frisbee": [("noun", 0, 6, "")],
        "rare": [("noun", 0, 6, "")],
    }
    senses: dict[str, dict[str, tuple[str, ...]]] = {part: {} for part in PARTS}
    synsets: dict[str, dict[str, Synset]] = {part: {} for part in PARTS}
    counts = {}
    for word, meanings in entries.items():
        for part, uses, topic, usage in meanings:
            senses[part][word] = (word,)
            synsets[part][word] = Synset(topic, (word,), (), False, (usage,) if usage else ())
            counts[word, part] = uses
    synsets["noun"] |= {usage: Synset(10, (usage,), (), False, ()) for usage in ("plural", "ethnic slur")}
    exceptions: dict[str, dict[str, tuple[str, ...]]] = {part: {} for part in PARTS}
    exceptions["noun"] = {"men": ("man",), "oxen": ("ox",)}
    sizes = dict.fromkeys(entries, 20) | {"red": 10, "unknown": 10}
    del sizes["rare"]
    return words.Dictionary(senses, synsets, counts, exceptions, sizes, frozenset({"frisbee"}))


def test_english_words_are_base_forms_by_size_then_use() -> None:
    assert words.english(dictionary()) == ["red", "man", "bear", "hold", "dog", "glass"]


def test_nouns_are_what_words_mostly_are_or_things_seen() -> None:
    singular, irregular = words.nouns(dictionary())
    assert singular == ["bear", "dog", "frisbee", "glass", "glasses", "man"]
    assert irregular == {"men": "man"}


def test_size_classes_are_the_smallest(tmp_path: Path) -> None:
    (tmp_path / "english-words.20").write_text("Dog\ncafé\n", encoding="utf-8")
    (tmp_path / "english-words.10").write_text("dog\n")
    (tmp_path / "american-words.10").write_text("color\n")
    (tmp_path / "english-upper.10").write_text("Munich\n")
    sizes = words.read_sizes(tmp_path, "english-words", "american-words")
    assert sizes == {"dog": 10, "café": 20, "color": 10}
