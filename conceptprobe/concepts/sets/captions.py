"""The nouns of captions in the singular, by a table of English nouns."""

import re
from functools import cache
from importlib.resources import files

WORD = re.compile(r"[^\W\d_]+")
NO_NOUNS = frozenset({"does"})  # looks like the plural of a noun, but hardly ever is
# Morphy's rules of detachment for nouns, https://wordnet.princeton.edu/documentation/morphy7wn
ENDINGS = (
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
)


def nouns(caption: str) -> list[str]:
    """The nouns of a caption, each once, in the order of the caption."""
    singulars = (singular(word) for word in WORD.findall(caption.lower()))
    return list(dict.fromkeys(noun for noun in singulars if noun))


@cache
def singular(word: str) -> str | None:
    """The singular noun of a lower-case word; None where the word is not, or hardly ever, a noun."""
    known, irregular = _table()
    if word in irregular or word in NO_NOUNS:
        return irregular.get(word)
    endings = [] if word.endswith("ss") else ENDINGS
    forms = [word, *(word.removesuffix(old) + new for old, new in endings if word.endswith(old))]
    return next((form for form in forms if form in known), None)


@cache
def _table() -> tuple[frozenset[str], dict[str, str]]:
    """The singular nouns, and the singular of each irregular plural."""
    lines = (files("conceptprobe.concepts") / "data" / "nouns.txt").read_text(encoding="utf-8").splitlines()
    irregular = dict(line.split() for line in lines if " " in line)
    return frozenset(line for line in lines if " " not in line), irregular
