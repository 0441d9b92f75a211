import pytest
from open_clip.tokenizer import SimpleTokenizer

from conceptprobe.mini.architecture import data_path
from conceptprobe.mini.tokenizer import MiniTokenizer, UnknownWordError

TEXTS = ["skull, death", "mirror ball", "flag: Åland Islands"]


def test_is_clips_tokenizer_up_to_a_renaming_that_keeps_the_order() -> None:
    mini, clip = MiniTokenizer.from_texts(TEXTS, 24), SimpleTokenizer(context_length=24)
    ours, theirs = mini(TEXTS), clip(TEXTS)
    names = {0: 0} | dict(enumerate(mini.token_ids, start=1))
    assert [[names[i] for i in row] for row in ours.tolist()] == theirs.tolist()
    assert (ours.argmax(1) == theirs.argmax(1)).all()  # where CLIP's text tower pools


def test_long_texts_are_cut_and_still_end() -> None:
    mini = MiniTokenizer.from_texts(TEXTS, 6)
    ids = mini([" ".join(["skull"] * 50)])
    assert ids.shape == (1, 6)
    assert ids[0, -1] == mini.vocabulary_size - 1


def test_words_that_were_never_seen_are_named() -> None:
    with pytest.raises(UnknownWordError, match="'zyzzyva'"):
        MiniTokenizer.from_texts(TEXTS, 24)(["skull zyzzyva"])


def test_the_shipped_vocabulary_writes_every_name_and_tag() -> None:
    import pandas as pd

    table = pd.read_parquet(data_path("emoji.parquet"))
    mini = MiniTokenizer.load(data_path("vocabulary.json"))
    texts = sorted({*table["name"], *(tag for tags in table["tags"] for tag in tags)})
    assert (mini(texts) > 0).sum(1).min() >= 3


def test_saved_and_loaded(tmp_path) -> None:
    mini = MiniTokenizer.from_texts(TEXTS, 24)
    mini.save(tmp_path / "v.json")
    assert MiniTokenizer.load(tmp_path / "v.json").token_ids == mini.token_ids
